//! What a connector is promised, shown by one whose manifest stands in a folder of the operator's: one file, no Rust.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use convizit_delivery::{DeliveryConfig, preview, test};
use convizit_model::{DestinationKind, Timestamp};
use convizit_store::ReplayState;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::stand::{Stand, until};

const CANARY: &str = "canary-7f3a";
const MANIFEST: &str = r#"
host_setting = "address"
[meta]
id = "ours"
name = "Ours"
group = "analytics"
version = 1
proof = "spec-only"
about = "A vendor of the test's own."
credential = "From the test."
docs = "https://vendor.example/docs"
[[settings]]
id = "address"
label = "Address"
[[settings]]
id = "key"
label = "Key"
secret = true
[auth]
kind = "query"
query = { api_key = "{key}" }
[dedup]
field = "uid"
[rate]
concurrency = 3
[erase]
of = "users"
method = "DELETE"
path = "/people/{id}"
[[send]]
types = ["click", "page_view", "coded"]
path = "/events"
query = { batch = "{batch}" }
[send.batch]
shape = "object"
field = "data.rows"
envelope = { source = "Convizit" }
max_events = 4
max_bytes = 100000
max_item_bytes = 5000
[send.item]
uid = "$.id"
label = { "@slug" = "_", of = "$.name" }
who = "$.visitor"
[send.response]
partial = { parser = "index_list", status = [200], list = "failed", index = "at", reason = "why", rest = "done" }
"#;

#[derive(Debug, Clone)]
struct Request {
    target: String,
    labels: Vec<String>,
}

/// What the vendor says to some labels.
type Judge = Box<dyn Fn(&[String]) -> (u16, Value) + Send>;

#[derive(Clone)]
struct Vendor {
    requests: Arc<Mutex<Vec<Request>>>,
    judge: Arc<Mutex<Judge>>,
    first: Arc<Mutex<VecDeque<(u16, Value)>>>,
    address: String,
}

impl Vendor {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let judge: Judge = Box::new(|_| (200, json!({})));
        let vendor =
            Self { requests: Arc::default(), judge: Arc::new(Mutex::new(judge)), first: Arc::default(), address };
        let app = vendor.clone();
        let router = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let app = app.clone();
            async move { app.answer(&uri, &headers, &body) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        vendor
    }

    fn answer(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
        let target = uri.to_string();
        assert!(target.contains(&format!("api_key={CANARY}")), "no credential: {target}");
        let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
        let rows = parsed["data"]["rows"].as_array().cloned().unwrap_or_default();
        if !rows.is_empty() {
            assert_eq!(
                (parsed["source"].as_str(), headers["content-type"].to_str().unwrap()),
                (Some("Convizit"), "application/json")
            );
        }
        let labels: Vec<String> = rows.iter().map(|row| row["label"].as_str().unwrap().to_owned()).collect();
        let (status, answered) =
            self.first.lock().unwrap().pop_front().unwrap_or_else(|| (self.judge.lock().unwrap())(&labels));
        self.requests.lock().unwrap().push(Request { target, labels });
        Response::builder().status(status).body(answered.to_string().into()).unwrap()
    }

    fn judge(&self, judge: impl Fn(&[String]) -> (u16, Value) + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn labels(&self) -> Vec<String> {
        let mut labels: Vec<String> = self.requests().into_iter().flat_map(|request| request.labels).collect();
        labels.sort();
        labels
    }

    fn kind(&self) -> DestinationKind {
        let settings = BTreeMap::from([("address".to_owned(), self.address.clone())]);
        DestinationKind::Connector { connector: "ours".to_owned(), region: None, settings }
    }
}

/// A stand whose operator has the manifest in a folder, and the vendor.
async fn stand() -> (Stand, Vendor, DeliveryConfig) {
    let (stand, vendor) = (Stand::new().await, Vendor::start().await);
    let folder = stand.folder.path().join("connectors");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("ours.toml"), MANIFEST).unwrap();
    let config = DeliveryConfig { connectors: Some(folder), ..stand.config(&["127.0.0.0/8"]) };
    stand.add("ours", vendor.kind(), Some(&json!({"key": CANARY}).to_string())).await;
    (stand, vendor, config)
}

struct Running(CancellationToken, tokio::task::JoinHandle<Result<(), String>>);

fn deliver(stand: &Stand, config: &DeliveryConfig) -> Running {
    let stop = CancellationToken::new();
    let task = tokio::spawn(convizit_delivery::run(stand.store.clone(), config.clone(), stop.clone()));
    Running(stop, task)
}

impl Running {
    async fn end(self) {
        self.0.cancel();
        self.1.await.unwrap().unwrap();
    }
}

fn names(many: usize) -> Vec<String> {
    (1..=many).map(|number| format!("e{number}")).collect()
}

async fn put(stand: &Stand, names: &[String]) {
    stand.put(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_manifest_in_a_folder_is_a_connector() {
    let (stand, vendor, config) = stand().await;
    put(&stand, &names(10)).await;
    let running = deliver(&stand, &config);
    stand.at("ours", 10).await;
    let mut wanted = names(10);
    wanted.sort();
    assert_eq!(vendor.labels(), wanted);
    // One visitor, so one lane: in order, four at a time, each batch with an id of its own.
    let requests = vendor.requests();
    assert_eq!(requests.iter().map(|request| request.labels.len()).collect::<Vec<_>>(), [4, 4, 2]);
    let batches: std::collections::HashSet<&str> = requests.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(batches.len(), 3);
    running.end().await;
}

#[tokio::test]
async fn a_refusal_inside_a_success_is_a_dead_letter_and_the_others_went() {
    let (stand, vendor, config) = stand().await;
    vendor.judge(|labels| match labels.iter().position(|label| label == "e2") {
        Some(at) => (200, json!({"failed": [{"at": at, "why": "no such label"}]})),
        None => (200, json!({})),
    });
    put(&stand, &names(4)).await;
    let running = deliver(&stand, &config);
    stand.at("ours", 4).await;
    assert_eq!(stand.state("ours").await.dead, 1);
    let letters = stand.store.dead_letters(&stand.project, "ours", 10).await.unwrap();
    assert_eq!((letters[0].number, letters[0].reason.as_str()), (2, "the event itself was not taken (no such label)"));
    assert_eq!(vendor.requests().len(), 1, "nothing was sent twice");
    running.end().await;
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_is_halved_until_the_one_is_found() {
    let (stand, vendor, config) = stand().await;
    vendor.judge(|labels| {
        if labels.iter().any(|label| label == "e3") { (422, json!({"message": "bad row"})) } else { (200, json!({})) }
    });
    put(&stand, &names(4)).await;
    let running = deliver(&stand, &config);
    stand.at("ours", 4).await;
    let letters = stand.store.dead_letters(&stand.project, "ours", 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].number == 3 && letters[0].reason.contains("422 (bad row)"), "{letters:?}");
    running.end().await;
}

#[tokio::test]
async fn a_lane_that_fails_counts_as_failing_while_the_others_go_on() {
    let (stand, vendor, config) = stand().await;
    vendor.judge(|labels| if labels.iter().any(|label| label == "bad") { (503, json!({})) } else { (200, json!({})) });
    stand.put_of(&[("bad", "v1")]).await;
    let running = deliver(&stand, &config);
    until(async || stand.state("ours").await.failing.is_some()).await;
    let since = stand.state("ours").await.failing.unwrap().since;
    for round in 0..5 {
        let name = format!("good{round}");
        let visitors = ["v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"].map(|visitor| (name.as_str(), visitor));
        stand.put_of(&visitors).await;
        until(async || vendor.labels().contains(&name)).await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let failing = stand.state("ours").await.failing;
        assert_eq!(failing.map(|failing| failing.since), Some(since), "round {round}");
    }
    assert_eq!(stand.state("ours").await.cursor, 0);
    let tries = vendor.labels().iter().filter(|label| *label == "bad").count();
    assert!((2..=4).contains(&tries), "{tries} tries: each wait is longer than the one before");
    vendor.judge(|_| (200, json!({})));
    stand.at("ours", 41).await;
    until(async || stand.state("ours").await.failing.is_none()).await;
    running.end().await;
}

#[tokio::test]
async fn a_try_after_a_crash_sends_the_same_request_though_more_events_came() {
    let (stand, vendor, config) = stand().await;
    vendor.judge(|_| (503, json!({})));
    put(&stand, &names(3)).await;
    let running = deliver(&stand, &config);
    until(async || !vendor.requests().is_empty()).await;
    running.1.abort();
    let first = vendor.requests()[0].target.clone();
    put(&stand, &names(5)).await;
    vendor.judge(|_| (200, json!({})));
    let before = vendor.requests().len();
    let running = deliver(&stand, &config);
    stand.at("ours", 8).await;
    let after = &vendor.requests()[before..];
    assert_eq!((after[0].target.as_str(), after[0].labels.len()), (first.as_str(), 3), "{after:?}");
    running.end().await;
}

#[tokio::test]
async fn a_wrong_credential_pauses_and_nothing_that_is_kept_or_said_holds_it() {
    let (stand, vendor, config) = stand().await;
    // Vendors quote what they were given.
    vendor.judge(|_| (401, json!({"message": format!("invalid api key {CANARY}")})));
    put(&stand, &names(1)).await;
    let running = deliver(&stand, &config);
    let reason = stand.paused("ours").await;
    assert!(reason.contains("Ours answered 401") && reason.contains("invalid api key"), "{reason}");
    let (destination, _) = stand.store.destination(&stand.project, "ours").await.unwrap();
    let now = stand.store.clock().now();
    let said = test(&destination, Some(&json!({"key": CANARY}).to_string()), &config, now).await.unwrap_err();
    assert!(said.contains("credential"), "{said}");
    let event = stand.store.events_after(1, 0, 1, 1 << 20).await.unwrap().remove(0);
    let shown = format!("{:?}", preview(&destination, &event, &config).await);
    assert!(shown.contains("data") && shown.contains("e1"), "{shown}");
    for text in [&reason, &said, &shown, &format!("{:?}", stand.notices().await), &format!("{destination:?}")] {
        assert!(!text.contains(CANARY), "{text}");
    }
    running.end().await;
    for file in ["data/data.db", "data/control.db", "data/control.db-wal", "data/data.db-wal"] {
        let bytes = std::fs::read(stand.folder.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{file}");
    }
}

#[tokio::test]
async fn a_replay_leaves_out_what_the_vendor_takes_no_more() {
    let (stand, vendor, config) = stand().await;
    put(&stand, &names(3)).await;
    let running = deliver(&stand, &config);
    stand.at("ours", 3).await;
    let bounded = MANIFEST.replace("[dedup]", "[time]\nmax_age_hours = 1\n[dedup]");
    std::fs::write(stand.folder.path().join("connectors/ours.toml"), bounded).unwrap();
    let always = (Timestamp::from_millis(0), Timestamp::from_millis(4_000_000_000_000));
    stand.store.start_replay(&stand.project, "ours", always).await.unwrap();
    let number = stand.store.project(&stand.project).await.unwrap().number;
    let replay = async || stand.store.replays(number, "ours").await.unwrap().remove(0);
    until(async || replay().await.state == ReplayState::Done).await;
    let done = replay().await;
    assert_eq!((done.sent, done.dead, vendor.labels().len()), (0, 0, 3), "said beforehand, and no dead letters");
    running.end().await;
}
