//! The client against a cluster of the test's own: what it asks for, how much at once, and what it does where a connection breaks.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::connectors::manifest::Protocol;

/// A broker that leads all partitions of the topics that it has.
#[derive(Clone, Default)]
struct Broker {
    topics: Vec<&'static str>,
    partitions: usize,
    /// A request that holds this ends the connection.
    breaks_on: Option<&'static [u8]>,
    /// Bytes of each request to write, and of a request more than which end the connection.
    produced: Arc<Mutex<Vec<usize>>>,
    most: Option<usize>,
    /// A partition that has no leader.
    closed: Option<usize>,
    /// Whether it answers for partitions that nobody asked about, and for others twice.
    lies: bool,
    /// Whether each question for topics lets them be made.
    may_make: Arc<Mutex<Vec<bool>>>,
}

impl Broker {
    async fn start(self) -> Kafka {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let broker = self.clone();
                tokio::spawn(async move {
                    while let Ok(size) = stream.read_i32().await {
                        let mut request = vec![0; usize::try_from(size).unwrap()];
                        stream.read_exact(&mut request).await.unwrap();
                        let Some(answer) = broker.answer(&request, port) else { return };
                        let size = i32::try_from(answer.len() + 4).unwrap();
                        let whole = [&size.to_be_bytes()[..], &request[4..8], &answer].concat();
                        stream.write_all(&whole).await.unwrap();
                    }
                });
            }
        });
        let servers = Servers::parse(&format!("kafka://127.0.0.1:{port}"), Protocol::Kafka).unwrap();
        let settings = Settings::of("Kafka", &[("topic", "{project}"), ("compression", "none")]);
        let guard = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        Kafka::connect(&settings, &servers, (0, Duration::from_secs(15)), &guard).await.unwrap()
    }

    fn answer(&self, request: &[u8], port: u16) -> Option<Vec<u8>> {
        // Behind kind, version, number and the client's name.
        let mut body = In(&request[8..]);
        body.string().unwrap();
        let mut out = Out::default();
        match request[1] {
            0 => {
                self.produced.lock().unwrap().push(request.len());
                let holds = |part: &[u8]| request.windows(part.len()).any(|window| window == part);
                if self.breaks_on.is_some_and(holds) || self.most.is_some_and(|most| request.len() > most) {
                    return None;
                }
                body.i16();
                body.i16();
                body.i32();
                let topics = body
                    .list(|one| {
                        let topic = one.string()?;
                        let partitions = one.list(|one| {
                            let partition = one.i32()?;
                            one.bytes()?;
                            Some(partition)
                        })?;
                        Some((topic, partitions))
                    })
                    .unwrap();
                let partitions = |asked: Vec<i32>| match self.lies {
                    true => asked.iter().chain(&asked).copied().chain([5, 6, 7]).collect(),
                    false => asked,
                };
                out.len(topics.len());
                for (topic, asked) in topics {
                    out.string(&topic);
                    let answered = partitions(asked);
                    out.len(answered.len());
                    for partition in answered {
                        out.i32(partition);
                        out.i16(0);
                        out.0.extend_from_slice(&[0; 16]);
                    }
                }
                out.i32(0);
            }
            3 => {
                let topics = body.list(In::string).unwrap();
                self.may_make.lock().unwrap().push(body.i8() == Some(1));
                out.i32(0);
                out.len(1);
                out.i32(7);
                out.string("127.0.0.1");
                out.i32(port.into());
                out.i16(-1);
                out.i16(-1);
                out.i32(7);
                out.len(topics.len());
                for topic in topics {
                    let is_there = self.topics.contains(&topic.as_str());
                    out.i16(if is_there { 0 } else { 3 });
                    out.string(&topic);
                    out.0.push(0);
                    let partitions = if is_there { self.partitions } else { 0 };
                    out.len(partitions);
                    for partition in 0..partitions {
                        out.i16(0);
                        out.len(partition);
                        out.i32(if self.closed == Some(partition) { -1 } else { 7 });
                        out.len(0);
                        out.len(0);
                    }
                }
            }
            // A producer's number.
            22 => {
                out.i32(0);
                out.i16(0);
                out.0.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9, 0, 0]);
            }
            other => panic!("{other}"),
        }
        Some(out.0)
    }
}

fn record(row: usize, (place, place_of): (&str, &str), body: Vec<u8>) -> Record {
    Record {
        row,
        id: format!("id-{row}"),
        place: place.to_owned(),
        place_of: place_of.to_owned(),
        key: format!("visitor-{row}"),
        time: 0,
        headers: Vec::new(),
        item: serde_json::Value::Null,
        body,
    }
}

const SHOP: (&str, &str) = ("shop", "{project}");

#[tokio::test]
async fn no_request_is_larger_than_a_broker_bears_and_all_of_them_go() {
    let broker = Broker { topics: vec!["shop"], partitions: 8, most: Some(1_000_000), ..Broker::default() };
    let mut kafka = broker.clone().start().await;
    // Four megabytes over eight partitions of one broker, with the largest record that there may be.
    let mut records: Vec<Record> = (0..400).map(|row| record(row, SHOP, vec![b'x'; 7_500])).collect();
    records.push(record(400, SHOP, vec![b'x'; 980_000]));
    let mut fates = vec![Fate::Waiting; records.len()];
    kafka.send(&records, &mut fates).await.unwrap();
    assert!(fates.iter().all(|fate| *fate == Fate::Done));
    let produced = broker.produced.lock().unwrap().clone();
    assert!(produced.len() >= 4 && produced.iter().all(|bytes| *bytes <= 1_000_000), "{produced:?}");
}

#[tokio::test]
async fn what_breaks_the_connection_is_halved_until_it_stands_alone() {
    let broker = Broker { topics: vec!["shop"], partitions: 1, breaks_on: Some(b"poison"), ..Broker::default() };
    let mut kafka = broker.clone().start().await;
    let body = |row: usize| if row == 5 { b"poison".to_vec() } else { b"good".to_vec() };
    let records: Vec<Record> = (0..8).map(|row| record(row, SHOP, body(row))).collect();
    let mut fates = vec![Fate::Waiting; records.len()];
    let failure = kafka.send(&records, &mut fates).await.unwrap_err();
    assert!(matches!(failure, SendError::Later { .. }), "{failure:?}");
    // What stands before it went; it holds up what is behind it in its partition, in order.
    let done: Vec<usize> = (0..8).filter(|row| fates[*row] == Fate::Done).collect();
    assert_eq!(done, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_topic_that_an_event_names_and_that_is_missing_holds_up_that_event_alone_and_is_not_made() {
    let broker = Broker { topics: vec!["shop", "add_to_cart"], partitions: 1, ..Broker::default() };
    let mut kafka = broker.clone().start().await;
    let named = |row, topic: &str| record(row, (topic, "{name}"), b"good".to_vec());
    let records = [named(0, "add_to_cart"), named(1, "canary"), record(2, SHOP, b"good".to_vec())];
    let mut fates = vec![Fate::Waiting; 3];
    kafka.send(&records, &mut fates).await.unwrap();
    let [Fate::Done, Fate::NoPlace(reason), Fate::Done] = fates.as_slice() else { panic!("{fates:?}") };
    assert!(reason.contains("has no topic {name}") && !reason.contains("canary"), "{reason}");
    // At the connecting none is asked for; then that of the settings, then those of names.
    assert_eq!(*broker.may_make.lock().unwrap(), [true, true, false]);
    // One of the settings that is missing holds up all.
    let mut fates = vec![Fate::Waiting; 2];
    let other = [record(0, ("other", "{type}"), b"good".to_vec()), record(1, SHOP, b"good".to_vec())];
    let failure = kafka.send(&other, &mut fates).await.unwrap_err();
    assert!(failure.to_string().contains("has no topic {type}"), "{failure}");
}

#[tokio::test]
async fn a_partition_without_a_leader_holds_up_its_own_records_alone() {
    let broker = Broker { topics: vec!["shop"], partitions: 4, closed: Some(2), ..Broker::default() };
    let mut kafka = broker.clone().start().await;
    let records: Vec<Record> = (0..40).map(|row| record(row, SHOP, b"good".to_vec())).collect();
    let mut fates = vec![Fate::Waiting; records.len()];
    kafka.send(&records, &mut fates).await.unwrap();
    for (record, fate) in records.iter().zip(&fates) {
        match (partition(record.key.as_bytes(), 4), fate) {
            (2, Fate::Again(reason)) => assert_eq!(reason, "a partition of the topic {project} has no leader now"),
            (2, _) | (_, Fate::Again(_)) => panic!("{}: {fate:?}", record.id),
            (_, fate) => assert_eq!(*fate, Fate::Done),
        }
    }
    assert!(fates.iter().any(|fate| matches!(fate, Fate::Again(_))));
}

#[tokio::test]
async fn only_what_was_asked_is_answered_and_once() {
    let broker = Broker { topics: vec!["shop"], partitions: 8, lies: true, ..Broker::default() };
    let mut kafka = broker.clone().start().await;
    // More than one batch a partition: the second of a partition is not done by what is said twice of the first.
    let records: Vec<Record> = (0..400).map(|row| record(row, SHOP, vec![b'x'; 30_000])).collect();
    let mut fates = vec![Fate::Waiting; records.len()];
    kafka.send(&records, &mut fates).await.unwrap();
    assert!(fates.iter().all(|fate| *fate == Fate::Done));
    let sent: usize = broker.produced.lock().unwrap().iter().sum();
    assert!(sent >= 400 * 30_000, "{sent} bytes came");
}

#[test]
fn metadata_is_read_and_what_breaks_off_is_not() {
    let mut out = Out::default();
    out.i32(0);
    out.len(1);
    out.i32(7);
    out.string("broker.example");
    out.i32(9092);
    out.i16(-1);
    out.string("cluster");
    out.i32(7);
    out.len(1);
    out.i16(0);
    out.string("events");
    out.0.push(0);
    out.len(2);
    for (number, leader) in [(1, 7), (0, -1)] {
        out.i16(0);
        out.i32(number);
        out.i32(leader);
        out.len(1);
        out.i32(7);
        out.len(0);
    }
    let (brokers, topics) = metadata(&out.0).unwrap();
    assert_eq!(brokers, [(7, ("broker.example".to_owned(), 9092))]);
    assert_eq!(topics, [Topic { code: 0, name: "events".to_owned(), leaders: vec![-1, 7] }]);
    for cut in 0..out.0.len() {
        assert!(metadata(&out.0[..cut]).is_none(), "{cut}");
    }
    // A number of parts that no answer has room for.
    assert!(produced(&[0x7f, 0xff, 0xff, 0xff, 0], &[]).is_none());
}
