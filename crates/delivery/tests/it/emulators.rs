//! Connectors against emulators of the systems that they send to: what a route sends is read back by the system's own interface.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convizit_model::{DestinationKind, EventType};
use serde_json::{Value, json};

use crate::objects::hold;
use crate::stand::{Stand, id};

pub(crate) const EVENTS: i64 = 300;
pub(crate) const CANARY: &str = "canary-7f3a";

/// A server of a Python package, until it is dropped.
pub(crate) struct Emulator {
    server: Child,
    pub(crate) address: String,
}

impl Emulator {
    pub(crate) async fn start(program: &Path, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        Self::run(Command::new(program), arguments).await
    }

    pub(crate) async fn run(mut program: Command, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let quiet = Stdio::null;
        program.args(arguments(port)).stdin(quiet()).stdout(quiet()).stderr(quiet());
        let server = program.spawn().unwrap();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "{program:?} does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { server, address: format!("http://127.0.0.1:{port}") }
    }

    /// A call by somebody else.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> (u16, Vec<u8>) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.request(method.parse().unwrap(), format!("{}{path}", self.address)).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// An environment of its own with packages, below the target folder, which is made when it is not there.
pub(crate) fn installed(folder: &str, packages: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let whole = folder.join("whole");
    if !whole.exists() {
        let run = |program: &Path, arguments: &[&OsStr]| {
            let ran = Command::new(program).args(arguments).output().expect("python3 is missing: install python3-venv");
            assert!(ran.status.success(), "{}: install python3-venv", String::from_utf8_lossy(&ran.stderr));
        };
        run(Path::new("python3"), &["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), folder.as_os_str()]);
        let install = ["install", "--quiet"].into_iter().chain(packages.split(' ')).map(OsStr::new);
        run(&folder.join("bin/pip"), &install.collect::<Vec<_>>());
        fs::write(whole, "").unwrap();
    }
    folder
}

pub(crate) fn connector(connector: &str, settings: &[(&str, &str)]) -> DestinationKind {
    let settings: BTreeMap<_, _> = settings.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect();
    DestinationKind::Connector { connector: connector.to_owned(), region: None, settings }
}

/// Every tenth is a page view.
fn name_of(number: i64) -> String {
    if number % 10 == 0 { format!("Viewed {number}") } else { format!("e{number}") }
}

pub(crate) async fn put_all(stand: &Stand) {
    let names: Vec<String> = (1..=EVENTS).map(name_of).collect();
    stand.put(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// All events once more, by a destination that begins anew.
pub(crate) async fn again(stand: &Stand, name: &str, secret: &str) {
    let state = stand.state(name).await;
    stand.store.remove_destination(&stand.project, name).await.unwrap();
    stand.store.save_destination(&state.destination, Some(secret), true).await.unwrap();
    stand.at(name, state.cursor).await;
}

pub(crate) fn ids() -> BTreeSet<String> {
    (1..=EVENTS).map(|number| id(number).to_string()).collect()
}

/// The ids of events in lines of JSON, each of which must stand there once.
pub(crate) fn ids_of(lines: &str) -> BTreeSet<String> {
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: BTreeSet<String> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), events.len(), "an event came twice");
    assert!(events.iter().all(|event| event["source"] == "convizit"));
    found
}

pub(crate) fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// What stands between `<tag>` and `</tag>`, each time.
pub(crate) fn tags(text: &str, tag: &str) -> Vec<String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    text.split(&open).skip(1).map(|piece| piece.split_once(&close).unwrap().0.to_owned()).collect()
}

/// moto, which looks at signatures when it is told to.
struct Aws {
    emulator: Emulator,
    key_id: String,
    secret: String,
}

impl Aws {
    async fn start() -> Self {
        // The tests of keys use the same environment.
        let folder = installed("moto-5.2.5", "moto[server]==5.2.5");
        let on = |port: u16| ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec();
        let emulator = Emulator::start(&folder.join("bin/moto_server"), on).await;
        let mut aws = Self { emulator, key_id: String::new(), secret: String::new() };
        aws.iam("Action=CreateUser&UserName=convizit").await;
        let policy =
            json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let policy: String = url::form_urlencoded::byte_serialize(policy.to_string().as_bytes()).collect();
        aws.iam(&format!("Action=PutUserPolicy&UserName=convizit&PolicyName=all&PolicyDocument={policy}")).await;
        let made = aws.iam("Action=CreateAccessKey&UserName=convizit").await;
        aws.key_id = tags(&made, "AccessKeyId").remove(0);
        aws.secret = tags(&made, "SecretAccessKey").remove(0);
        aws
    }

    async fn call(&self, service: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=test/20261129/eu-central-1/{service}/aws4_request, SignedHeaders=host, Signature=00"
        );
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("authorization", scope.as_str())]).collect();
        let (status, bytes) = self.emulator.call(method, path, &headers, body).await;
        assert_eq!(status, 200, "{method} {path}: {}", String::from_utf8_lossy(&bytes));
        bytes
    }

    async fn iam(&self, form: &str) -> String {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let body = format!("Version=2010-05-08&{form}");
        String::from_utf8(self.call("iam", "POST", "/", &kind, &body).await).unwrap()
    }

    async fn ask(&self, service: &str, target: &str, body: Value) -> Value {
        let kind = if service == "sqs" { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" };
        let headers = [("x-amz-target", target), ("content-type", kind)];
        let answer = self.call(service, "POST", "/", &headers, &body.to_string()).await;
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Whether signatures and rights are looked at from now on.
    async fn verify(&self, yes: bool) {
        let calls = if yes { "0" } else { "1000000" };
        assert_eq!(self.emulator.call("POST", "/moto-api/reset-auth", &[], calls).await.0, 200);
    }

    fn kind(&self, id: &str, settings: &[(&str, &str)]) -> DestinationKind {
        let bucket = settings.iter().find(|(id, _)| *id == "bucket").map_or("", |(_, bucket)| bucket);
        let endpoint = format!("{}/{bucket}", self.emulator.address);
        let own = [("aws_region", "eu-central-1"), ("key_id", &self.key_id), ("endpoint", &endpoint)];
        connector(id, &own.into_iter().chain(settings.iter().copied()).collect::<Vec<_>>())
    }

    /// Messages of a queue that nobody took.
    async fn waiting(&self, queue: &str) -> i64 {
        let asked = json!({"QueueUrl": format!("{}/123456789012/{queue}", self.emulator.address), "AttributeNames": ["ApproximateNumberOfMessages"]});
        let answer = self.ask("sqs", "AmazonSQS.GetQueueAttributes", asked).await;
        answer["Attributes"]["ApproximateNumberOfMessages"].as_str().unwrap().parse().unwrap()
    }

    /// Ten messages of a queue.
    async fn ten(&self, queue: &str) -> Vec<Value> {
        let asked =
            json!({"QueueUrl": format!("{}/123456789012/{queue}", self.emulator.address), "MaxNumberOfMessages": 10});
        let answer = self.ask("sqs", "AmazonSQS.ReceiveMessage", asked).await;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap()).collect()
    }

    /// All objects of a bucket, with their names.
    async fn objects(&self, bucket: &str) -> BTreeMap<String, Vec<u8>> {
        let list = self.call("s3", "GET", &format!("/{bucket}?list-type=2"), &[], "").await;
        let mut objects = BTreeMap::new();
        for key in tags(&String::from_utf8(list).unwrap(), "Key") {
            let path = format!("/{bucket}/{}", key.replace('=', "%3D"));
            objects.insert(key, self.call("s3", "GET", &path, &[], "").await);
        }
        objects
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_takes_what_is_signed_and_leaves_out_repeats_where_it_knows_them() {
    let (stand, aws) = (Stand::new().await, Aws::start().await);
    let place =
        "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>";
    for bucket in ["shop-events", "columns", "fire"] {
        aws.call("s3", "PUT", &format!("/{bucket}"), &[], place).await;
    }
    aws.ask("kinesis", "Kinesis_20131202.CreateStream", json!({"StreamName": "events", "ShardCount": 1})).await;
    let to = json!({"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::fire"});
    let stream = json!({"DeliveryStreamName": "events", "S3DestinationConfiguration": to});
    aws.ask("firehose", "Firehose_20150804.CreateDeliveryStream", stream).await;
    for (queue, attributes) in
        [("events.fifo", json!({"FifoQueue": "true"})), ("events", json!({})), ("caught", json!({}))]
    {
        aws.ask("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": queue, "Attributes": attributes})).await;
    }
    aws.ask("events", "AWSEvents.CreateEventBus", json!({"Name": "shop"})).await;
    let pattern = json!({"source": ["convizit"]}).to_string();
    aws.ask("events", "AWSEvents.PutRule", json!({"Name": "all", "EventBusName": "shop", "EventPattern": pattern}))
        .await;
    let targets = json!([{"Id": "1", "Arn": "arn:aws:sqs:eu-central-1:123456789012:caught"}]);
    aws.ask("events", "AWSEvents.PutTargets", json!({"Rule": "all", "EventBusName": "shop", "Targets": targets})).await;

    aws.verify(true).await;
    let secret = json!({"secret": aws.secret}).to_string();
    let account = ("account", "123456789012");
    let all = [
        ("stream", aws.kind("kinesis", &[("stream", "events")])),
        ("hose", aws.kind("firehose", &[("stream", "events")])),
        ("fifo", aws.kind("sqs", &[account, ("queue", "events.fifo")])),
        ("queue", aws.kind("sqs", &[account, ("queue", "events")])),
        ("bus", aws.kind("eventbridge", &[("bus", "shop")])),
        ("lake", aws.kind("s3", &[("bucket", "shop-events"), ("prefix", "of/shop")])),
        ("columns", aws.kind("s3", &[("bucket", "columns"), ("format", "parquet")])),
    ];
    for (name, kind) in &all {
        let mut destination = stand.destination(name, kind.clone());
        if *name == "fifo" {
            // moto takes long over a FIFO queue of many messages.
            destination.types = vec![EventType::PageView];
        }
        stand.store.save_destination(&destination, Some(&secret), true).await.unwrap();
    }
    put_all(&stand).await;
    let running = stand.deliver();
    for (name, _) in &all {
        stand.at(name, EVENTS).await;
    }

    // What a person did wrong is said, nothing is refused, and nothing holds the credential.
    let missing = [
        ("stream", aws.kind("kinesis", &[("stream", "nobody")]), "Stream nobody"),
        ("hose", aws.kind("firehose", &[("stream", "nobody")]), "nobody"),
        ("fifo", aws.kind("sqs", &[account, ("queue", "nobody.fifo")]), "queue does not exist"),
        ("bus", aws.kind("eventbridge", &[("bus", "nobody")]), "Event bus nobody"),
        ("lake", aws.kind("s3", &[("bucket", "nobody")]), "bucket does not exist"),
    ];
    for (name, kind, _) in &missing {
        stand.add(&format!("{name}-missing"), kind.clone(), Some(&secret)).await;
    }
    let wrong = json!({"secret": CANARY}).to_string();
    for (name, kind) in &all {
        stand.add(&format!("{name}-wrong"), kind.clone(), Some(&wrong)).await;
    }
    for (name, _, word) in &missing {
        let reason = stand.paused(&format!("{name}-missing")).await;
        assert!(
            reason.starts_with("Amazon ") && reason.contains(word) && reason.contains("right?"),
            "{name}: {reason}"
        );
    }
    for (name, _) in &all {
        let reason = stand.paused(&format!("{name}-wrong")).await;
        assert!(reason.contains("answered 403: is the credential right"), "{name}: {reason}");
        assert!(!reason.contains(CANARY), "{reason}");
        assert_eq!(stand.state(&format!("{name}-wrong")).await.dead, 0);
    }
    aws.verify(false).await;

    let shard = json!({"StreamName": "events", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"});
    let shard = aws.ask("kinesis", "Kinesis_20131202.GetShardIterator", shard).await;
    let asked = json!({"ShardIterator": shard["ShardIterator"], "Limit": 10_000});
    let records = aws.ask("kinesis", "Kinesis_20131202.GetRecords", asked).await;
    let records = records["Records"].as_array().unwrap();
    let data = |record: &Value| String::from_utf8(STANDARD.decode(record["Data"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(ids_of(&records.iter().map(data).collect::<Vec<_>>().join("\n")), ids());
    assert!(records.iter().all(|record| record["PartitionKey"] == "v1"));

    let lines: Vec<u8> = aws.objects("fire").await.into_values().flatten().collect();
    assert_eq!(ids_of(&String::from_utf8(lines).unwrap()), ids());

    assert_eq!((aws.waiting("events").await, aws.waiting("events.fifo").await), (300, 30));
    let first: Vec<Value> = aws.ten("events.fifo").await.iter().map(|event| event["name"].clone()).collect();
    assert_eq!(first, (1..=10).map(|ten| Value::from(name_of(ten * 10))).collect::<Vec<_>>(), "in order");

    // What the bus gave to the queue of its rule.
    assert_eq!(aws.waiting("caught").await, EVENTS);
    for event in aws.ten("caught").await {
        assert_eq!((&event["source"], &event["detail-type"]), (&json!("convizit"), &event["detail"]["name"]));
        assert_eq!(event["time"], "2026-11-23T12:01:07Z");
        assert!(ids().contains(event["detail"]["id"].as_str().unwrap()));
    }

    let objects = aws.objects("shop-events").await;
    let names: Vec<&String> = objects.keys().collect();
    assert!(
        names.iter().all(|name| name.starts_with("of/shop/dt=2026-11-23/hr=12/") && name.ends_with(".jsonl.gz")),
        "{names:?}"
    );
    let lines = objects.values().map(|bytes| unpacked(bytes)).collect::<String>();
    assert_eq!(ids_of(&lines), ids());
    let columns = aws.objects("columns").await;
    hold(&columns, &lines);

    // Once more: a FIFO queue and an object's name know it.
    for name in ["fifo", "lake", "columns"] {
        again(&stand, name, &secret).await;
        assert_eq!(stand.state(name).await.dead, 0);
    }
    let seen = aws.waiting("events.fifo").await;
    assert!(seen <= 30, "{seen}");
    assert_eq!(aws.objects("shop-events").await.keys().collect::<Vec<_>>(), names);
    assert_eq!(aws.objects("columns").await, columns);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opensearch_has_a_document_for_each_event_however_often_it_is_sent() {
    let (stand, folder) = (Stand::new().await, installed("osmem-0.1.6", "osmem-server==0.1.6"));
    let library = fs::read_dir(folder.join("lib")).unwrap().next().unwrap().unwrap().path();
    let program = library.join("site-packages/osmem_server/bin/osmem-server");
    let on = |port: u16| vec!["-addr".to_owned(), format!("127.0.0.1:{port}"), "-no-stdin-watch".to_owned()];
    let server = Emulator::start(&program, on).await;
    let json = [("content-type", "application/json")];
    // As the page of the connector says.
    let prepare = convizit_delivery::connectors::find("opensearch", None).unwrap().manifest.meta.prepare.clone();
    let (line, template) = prepare.trim().split_once('\n').unwrap();
    let made = server.call("PUT", &format!("/{}", line.strip_prefix("PUT ").unwrap()), &json, template).await;
    assert_eq!(made.0, 200, "{}", String::from_utf8_lossy(&made.1));

    let kind = connector("opensearch", &[("address", &server.address)]);
    stand.add("search", kind, Some(&json!({"password": ""}).to_string())).await;
    put_all(&stand).await;
    let running = stand.deliver();
    stand.at("search", EVENTS).await;
    again(&stand, "search", &json!({"password": ""}).to_string()).await;
    assert_eq!(stand.state("search").await.dead, 0);

    server.call("POST", "/convizit-events/_refresh", &json, "").await;
    let (status, found) = server.call("GET", "/convizit-events/_search?size=1000", &json, "").await;
    assert_eq!(status, 200);
    let found: Value = serde_json::from_slice(&found).unwrap();
    let hits = found["hits"]["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 300);
    assert_eq!(hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), ids());
    assert_eq!(hits[0]["_source"]["@timestamp"], "2026-11-23T12:01:07.123Z");
    running.end().await;

    // Something that is no such server: nothing is taken for sent.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(|| async { "welcome" })).await });
    stand
        .add("page", connector("opensearch", &[("address", &address)]), Some(&json!({"password": ""}).to_string()))
        .await;
    let running = stand.deliver();
    let reason = stand.paused("page").await;
    assert!(reason.contains("did not answer as it should: is the address right?"), "{reason}");
    running.end().await;
}
