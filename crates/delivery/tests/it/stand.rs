//! The stand that the tests work on: a store in a temporary folder, a project, its events, delivery running.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use convizit_delivery::DeliveryConfig;
use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::destination::{Destination, DestinationKind};
use convizit_model::{EventId, NewEvent, Notice, ProjectId, ProjectWork, Work};
use convizit_store::{DestinationState, Store, StoreConfig, SystemClock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Stand {
    pub(crate) store: Store,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) project: ProjectId,
    number: i64,
    offset: AtomicU64,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        let keys = open_provider(&ProviderConfig::File { path: folder.path().join("keys") }).unwrap();
        let config = StoreConfig::in_folder(&folder.path().join("data"));
        let store = Store::open(config, keys, Arc::new(SystemClock)).await.unwrap();
        let project: ProjectId = "shop".parse().unwrap();
        let number = store.create_project(&project, Default::default()).await.unwrap().number;
        Self { store, folder, project, number, offset: AtomicU64::new(0) }
    }

    /// Delivery on loopback and in the test's folder, until the guard is dropped.
    pub(crate) fn deliver(&self) -> Running {
        self.deliver_with(&["127.0.0.0/8"])
    }

    pub(crate) fn deliver_with(&self, networks: &[&str]) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(convizit_delivery::run(self.store.clone(), self.config(networks), stop.clone()));
        Running { stop, task }
    }

    pub(crate) fn config(&self, networks: &[&str]) -> DeliveryConfig {
        DeliveryConfig {
            allow_networks: networks.iter().map(|text| (*text).to_owned()).collect(),
            allow_folders: vec![self.folder.path().to_owned()],
            ..DeliveryConfig::default()
        }
    }

    pub(crate) fn destination(&self, name: &str, kind: DestinationKind) -> Destination {
        let project = self.project.clone();
        Destination {
            project,
            name: name.to_owned(),
            enabled: true,
            paused: None,
            processor: Some(convizit_model::Processor::own()),
            types: Vec::new(),
            shaping: Default::default(),
            kind,
        }
    }

    pub(crate) async fn add(&self, name: &str, kind: DestinationKind, secret: Option<&str>) {
        self.store.save_destination(&self.destination(name, kind), secret, true).await.unwrap();
    }

    /// Stores events of these names, one work for all.
    pub(crate) async fn put(&self, names: &[&str]) {
        self.put_of(&names.iter().map(|name| (*name, "v1")).collect::<Vec<_>>()).await;
    }

    /// The same of these visitors.
    pub(crate) async fn put_of(&self, names: &[(&str, &str)]) {
        self.put_with(names, &json!({})).await;
    }

    /// The same with these fields over those that they have.
    pub(crate) async fn put_with(&self, names: &[(&str, &str)], fields: &Value) {
        let from = self.offset.fetch_add(1, Ordering::SeqCst);
        let last = self.store.last_event(self.number).await.unwrap();
        let now = self.store.clock().now();
        let events = names
            .iter()
            .zip(last + 1..)
            .map(|((name, visitor), number)| {
                let id = id(number);
                let mut event = event(&id, name, visitor);
                for (key, value) in fields.as_object().unwrap() {
                    event[key] = value.clone();
                }
                NewEvent {
                    id,
                    name: 1,
                    hour: now.hour(),
                    day: now.day(),
                    visitor: "v".to_owned(),
                    user: None,
                    since: now,
                    json: event.to_string().into_bytes(),
                }
            })
            .collect();
        let project = ProjectWork {
            number: self.number,
            project: self.project.clone(),
            events,
            rows: Vec::new(),
            outcomes: Vec::new(),
            withheld: Vec::new(),
            rulings: Vec::new(),
            quarantined: Vec::new(),
            dropped: Vec::new(),
        };
        self.store.commit_work(Work { from, to: from + 1, projects: vec![project] }).await.unwrap();
    }

    /// Changes data.db behind the store's back, by a program of its own: only the store names a driver here.
    pub(crate) fn behind(&self, sql: &str) {
        let change = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], 30); c.execute(sys.argv[2]); c.commit()";
        let file = self.folder.path().join("data/data.db");
        let done = std::process::Command::new("python3").args(["-c", change]).arg(file).arg(sql).status().unwrap();
        assert!(done.success());
    }

    pub(crate) async fn state(&self, name: &str) -> DestinationState {
        let states = self.store.destinations(None).await.unwrap();
        states.into_iter().find(|state| state.destination.name == name).unwrap()
    }

    /// Waits until the destination's cursor stands at this number.
    pub(crate) async fn at(&self, name: &str, number: i64) {
        until(async || self.state(name).await.cursor == number).await;
    }

    /// Waits until the destination is paused, and gives the reason.
    pub(crate) async fn paused(&self, name: &str) -> String {
        until(async || self.state(name).await.destination.paused.is_some()).await;
        self.state(name).await.destination.paused.unwrap()
    }

    pub(crate) async fn notices(&self) -> Vec<Notice> {
        self.store.notices(false).await.unwrap()
    }
}

/// Delivery at work.
pub(crate) struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), String>>,
}

impl Running {
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Waits until a condition holds, at most 30 s.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not come to hold within 30 s");
}

/// The id of the event of a number.
pub(crate) fn id(number: i64) -> EventId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    (bytes[1], bytes[6], bytes[8]) = (1, 0x70, 0x80);
    EventId::from_bytes(bytes).unwrap()
}

fn event(id: &EventId, name: &str, visitor: &str) -> Value {
    json!({
        "id": id, "project": "shop", "source": "convizit", "schema": 1, "name": name, "name_state": "published",
        "type": if name.starts_with("Viewed") { "page_view" } else { "click" },
        "time": "2026-11-23T12:01:07.123Z", "received": "2026-11-23T12:01:08.000Z", "visitor": visitor,
        "session": {"id": "s1", "start": "2026-11-23T12:00:00.000Z"}, "user": null,
        "consent": {"analytics": true, "ads": null, "gpc": false},
        "page": {"url": "https://shop.example/p/:id", "path": "/p/:id", "title": "Trail shoe", "type": null, "language": "en", "referrer": null},
        "group": {"id": "gr_0000000000000001", "name": "Product card", "position": 3, "length": 12},
        "properties": {"Product price": 89.9, "Selected color": "Red\u{0}"},
        "device": {"platform": "web"}, "location": {"country": "DE", "region": null}
    })
}
