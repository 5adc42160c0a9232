//! Kafka: records by partition to the brokers that lead them, acknowledged by all in-sync replicas; a batch whose answer was lost is
//! known again by the broker. Redpanda, WarpStream and Azure Event Hubs speak the same.
//!
//! The client is ours because a cluster names its brokers itself: each such name goes through the guard, which no client library asks.

mod batch;
mod connection;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::connectors::encode::Record;
use crate::destinations::native::Settings;
use crate::destinations::{Fate, SendError};
use crate::dial::Servers;
use crate::guard::Guard;
use batch::{Producer, batch, partition, size_of};
use connection::{Api, Connection, In, Out};

/// Bytes of a batch before it is compressed: brokers take a megabyte when nobody says otherwise.
const BATCH: usize = 900_000;
/// For the replicas' acknowledgement, in milliseconds.
const ACKNOWLEDGED: i32 = 10_000;
/// Tries of a batch before the whole of it waits, and how long between them: while a partition gets a new leader.
const TRIES: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(300);

pub(crate) struct Kafka {
    settings: Settings,
    servers: Servers,
    guard: Guard,
    /// By their numbers, as the cluster names them.
    brokers: HashMap<i32, (String, u16)>,
    connections: HashMap<i32, Connection>,
    /// The leaders of each topic's partitions.
    topics: HashMap<String, Vec<i32>>,
    producer: Option<Producer>,
    /// The next sequence of each partition.
    sequences: HashMap<Place, i32>,
}

/// A topic's name and a partition of it.
type Place = (String, usize);
/// Batches of records, each of places in the batch that is sent.
type Waiting = BTreeMap<Place, VecDeque<Vec<usize>>>;
/// Batches as they are written.
type Written = Vec<(Place, Vec<u8>)>;

impl Kafka {
    pub(crate) async fn connect(settings: &Settings, servers: &Servers, guard: &Guard) -> Result<Self, SendError> {
        let mut kafka = Self {
            settings: settings.clone(),
            servers: servers.clone(),
            guard: guard.clone(),
            brokers: HashMap::new(),
            connections: HashMap::new(),
            topics: HashMap::new(),
            producer: None,
            sequences: HashMap::new(),
        };
        // A topic that holds values of events is asked for when there is an event.
        let topic = settings.get("topic").to_owned();
        kafka.learn(Some(topic).filter(|topic| !topic.contains('{')).into_iter().collect()).await?;
        Ok(kafka)
    }

    pub(crate) async fn send(&mut self, records: &[Record], fates: &mut [Fate]) -> Result<(), SendError> {
        let mut topics: Vec<String> = records.iter().map(|record| record.place.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        topics.retain(|topic| !self.topics.contains_key(topic));
        if !topics.is_empty() {
            self.learn(topics).await?;
        }
        let mut waiting = self.parted(records);
        let mut tries = 0;
        while !waiting.is_empty() {
            let failure = match self.round(records, &mut waiting, fates).await {
                Ok(None) => continue,
                Ok(Some(failure)) | Err(failure @ SendError::Later { .. }) => failure,
                Err(failure) => return Err(failure),
            };
            tries += 1;
            if tries == TRIES {
                return Err(failure);
            }
            // A partition may have got another leader. What is asked again has the same sequence, so that nothing is there twice.
            self.connections.clear();
            tokio::time::sleep(BETWEEN).await;
            self.learn(waiting.keys().map(|(topic, _)| topic.clone()).collect()).await?;
        }
        Ok(())
    }

    /// Records by partition, in batches that brokers take.
    fn parted(&self, records: &[Record]) -> Waiting {
        let mut waiting = Waiting::new();
        let mut sizes: HashMap<Place, usize> = HashMap::new();
        for (row, record) in records.iter().enumerate() {
            let partitions = self.topics.get(&record.place).map_or(1, Vec::len);
            let key = if record.key.is_empty() { &record.id } else { &record.key };
            let place = (record.place.clone(), partition(key.as_bytes(), partitions));
            let batches = waiting.entry(place.clone()).or_default();
            let bytes = sizes.entry(place).or_default();
            let size = size_of(record);
            match batches.back_mut().filter(|_| *bytes + size <= BATCH) {
                Some(rows) => {
                    rows.push(row);
                    *bytes += size;
                }
                None => {
                    batches.push_back(vec![row]);
                    *bytes = size;
                }
            }
        }
        waiting
    }

    /// Sends the first batch of each partition; what was taken is taken out. A failure that may pass is given back.
    async fn round(
        &mut self,
        records: &[Record],
        waiting: &mut Waiting,
        fates: &mut [Fate],
    ) -> Result<Option<SendError>, SendError> {
        let producer = self.producer().await?;
        let gzip = self.settings.get("compression") == "gzip";
        let mut leaders: BTreeMap<i32, Written> = BTreeMap::new();
        for (place, batches) in &*waiting {
            let leader = self.topics.get(&place.0).and_then(|leaders| leaders.get(place.1)).copied().unwrap_or(-1);
            if leader < 0 {
                return Ok(Some(SendError::later(format!("a partition of the topic {} has no leader now", place.0))));
            }
            let Some(rows) = batches.front() else { continue };
            let of: Vec<&Record> = rows.iter().map(|row| &records[*row]).collect();
            let sequence = self.sequences.get(place).copied().unwrap_or(0);
            let bytes = batch(&of, gzip, producer, sequence)
                .map_err(|error| SendError::later(format!("a batch cannot be compressed: {error}")))?;
            leaders.entry(leader).or_default().push((place.clone(), bytes));
        }
        let all: Vec<i32> = leaders.keys().copied().collect();
        for (leader, batches) in leaders {
            let body = produce(&batches);
            self.connection(leader).await?.write(Api::Produce, &body).await?;
        }
        let mut failure = None;
        for leader in all {
            let answer = self.connection(leader).await?.read().await?;
            for (topic, partition, code) in produced(&answer).ok_or_else(|| self.unreadable())? {
                let place = (topic, partition);
                let Some(batches) = waiting.get_mut(&place) else { continue };
                let Some(rows) = batches.pop_front() else { continue };
                match judge(&self.settings, &place.0, code) {
                    Ok(()) => {
                        let many = i32::try_from(rows.len()).unwrap_or(0);
                        let sequence = self.sequences.entry(place.clone()).or_default();
                        // Behind the largest comes the first.
                        *sequence = i32::try_from((i64::from(*sequence) + i64::from(many)) % (1 << 31)).unwrap_or(0);
                        for row in rows {
                            fates[row] = Fate::Done;
                        }
                    }
                    Err(SendError::TooLarge | SendError::Refused(_)) if rows.len() > 1 => {
                        let behind = rows[rows.len() / 2..].to_vec();
                        batches.push_front(behind);
                        batches.push_front(rows[..rows.len() / 2].to_vec());
                    }
                    Err(SendError::TooLarge) => {
                        fates[rows[0]] = Fate::Refused(format!("larger than the topic {} takes", place.0));
                    }
                    Err(SendError::Refused(reason)) => fates[rows[0]] = Fate::Refused(reason),
                    Err(SendError::Later { reason, after }) => {
                        batches.push_front(rows);
                        failure.get_or_insert(SendError::Later { reason, after });
                    }
                    Err(failure) => return Err(failure),
                }
                if batches.is_empty() {
                    waiting.remove(&place);
                }
            }
        }
        Ok(failure)
    }

    /// Who writes. Where a cluster gives no number, it knows no repeats of this kind.
    async fn producer(&mut self) -> Result<Producer, SendError> {
        if let Some(producer) = self.producer {
            return Ok(producer);
        }
        let mut body = Out::default();
        // No transactions.
        body.i16(-1);
        body.i32(60_000);
        let Some(broker) = self.brokers.keys().next().copied() else { return Err(self.unreadable()) };
        let answer = self.connection(broker).await?.ask(Api::InitProducerId, &body.0).await?;
        let mut answer = In(&answer);
        answer.i32();
        let producer = match (answer.i16(), answer.i64(), answer.i16()) {
            (Some(0), Some(id), Some(epoch)) => Producer { id, epoch },
            (Some(14..=16), ..) => return Err(SendError::later(format!("{} is not ready yet", self.settings.vendor))),
            _ => Producer::NONE,
        };
        self.producer = Some(producer);
        Ok(producer)
    }

    async fn connection(&mut self, broker: i32) -> Result<&mut Connection, SendError> {
        let connection = match self.connections.remove(&broker) {
            Some(connection) => connection,
            None => {
                let (host, port) = self.brokers.get(&broker).cloned().ok_or_else(|| self.unreadable())?;
                let stream = self.servers.dial_one(&host, port, &self.guard).await?;
                Connection::open(stream, &host, self.servers.tls, &self.settings).await?
            }
        };
        Ok(self.connections.entry(broker).or_insert(connection))
    }

    fn unreadable(&self) -> SendError {
        SendError::later(format!("{} answered something that cannot be read", self.settings.vendor))
    }

    /// Asks the cluster for its brokers and the leaders of topics.
    async fn learn(&mut self, topics: Vec<String>) -> Result<(), SendError> {
        let (stream, host) = self.servers.dial(&self.guard).await?;
        let mut connection = Connection::open(stream, &host, self.servers.tls, &self.settings).await?;
        let mut body = Out::default();
        body.len(topics.len());
        for topic in &topics {
            body.string(topic);
        }
        // Whether a topic that is not there may be made is the cluster's own decision.
        body.0.push(1);
        let answer = connection.ask(Api::Metadata, &body.0).await?;
        let (brokers, found) = metadata(&answer).ok_or_else(|| self.unreadable())?;
        self.brokers = brokers.into_iter().collect();
        for Topic { code, name, leaders } in found {
            judge(&self.settings, &name, code)?;
            if leaders.is_empty() {
                return Err(SendError::later(format!("the topic {name} has no partitions yet")));
            }
            self.topics.insert(name, leaders);
        }
        Ok(())
    }
}

/// A topic as a cluster describes it.
#[derive(Debug, PartialEq, Eq)]
struct Topic {
    code: i16,
    name: String,
    /// By partition; -1 where there is none now.
    leaders: Vec<i32>,
}

type Brokers = Vec<(i32, (String, u16))>;

fn metadata(answer: &[u8]) -> Option<(Brokers, Vec<Topic>)> {
    let mut answer = In(answer);
    answer.i32()?;
    let brokers = answer.list(|one| {
        let (number, host, port) = (one.i32()?, one.string()?, one.i32()?);
        one.string()?;
        Some((number, (host, u16::try_from(port).ok()?)))
    })?;
    answer.string()?;
    answer.i32()?;
    let topics = answer.list(|one| {
        let (code, name) = (one.i16()?, one.string()?);
        one.i8()?;
        let partitions = one.list(|one| {
            one.i16()?;
            let (number, leader) = (usize::try_from(one.i32()?).ok()?, one.i32()?);
            one.list(In::i32)?;
            one.list(In::i32)?;
            Some((number, leader))
        })?;
        let mut leaders = vec![-1; partitions.len()];
        for (number, leader) in partitions {
            *leaders.get_mut(number)? = leader;
        }
        Some(Topic { code, name, leaders })
    })?;
    Some((brokers, topics))
}

/// A request to write batches, sorted by topic and partition.
fn produce(batches: &[(Place, Vec<u8>)]) -> Vec<u8> {
    let mut body = Out::default();
    body.i16(-1);
    // All in-sync replicas.
    body.i16(-1);
    body.i32(ACKNOWLEDGED);
    let topics: Vec<_> = batches.chunk_by(|one, other| one.0.0 == other.0.0).collect();
    body.len(topics.len());
    for of in topics {
        body.string(of.first().map_or("", |((topic, _), _)| topic));
        body.len(of.len());
        for ((_, partition), bytes) in of {
            body.len(*partition);
            body.bytes(bytes);
        }
    }
    body.0
}

/// Topic, partition and code of each batch.
fn produced(answer: &[u8]) -> Option<Vec<(String, usize, i16)>> {
    let mut answer = In(answer);
    let topics = answer.list(|one| {
        let topic = one.string()?;
        one.list(|one| {
            let (partition, code) = (usize::try_from(one.i32()?).ok()?, one.i16()?);
            one.i64()?;
            one.i64()?;
            Some((topic.clone(), partition, code))
        })
    })?;
    Some(topics.into_iter().flatten().collect())
}

/// What a code means (kafka.apache.org, "Error Codes").
fn judge(settings: &Settings, topic: &str, code: i16) -> Result<(), SendError> {
    let vendor = &settings.vendor;
    Err(match code {
        // 46: a batch that is there already.
        0 | 46 => return Ok(()),
        10 | 18 => SendError::TooLarge,
        87 => SendError::Refused(format!("the topic {topic} does not take such a record (87)")),
        3 => SendError::later(format!("{vendor} has no topic {topic}, or the user may not see it: make it there")),
        17 => SendError::Pause(format!("{vendor} takes no topic of the name {topic}")),
        29 | 31 | 53 | 30 => SendError::Pause(format!("{vendor} lets this user not write the topic {topic}")),
        34 | 58 => settings.wrong_credentials(),
        35 | 76 => SendError::Pause(format!("{vendor} is too old, or does not take what is sent ({code})")),
        5 | 6 | 8 | 9 => SendError::later(format!("a partition of the topic {topic} changes its leader ({code})")),
        19 | 20 => SendError::later(format!("the topic {topic} has too few replicas in sync now ({code})")),
        _ => SendError::later(format!("{vendor} answered the code {code}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(produced(&[0x7f, 0xff, 0xff, 0xff, 0]).is_none());
    }
}
