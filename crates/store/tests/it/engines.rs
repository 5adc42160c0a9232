//! A store on either engine, in a folder and a database of the test's own, with a clock that the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use convizit_keys::{KeyProvider, ProviderConfig, open_provider};
use convizit_model::{Clock, EventId, NewEvent, Project, ProjectSettings, ProjectWork, Timestamp, Work};
use convizit_store::{Store, StoreConfig, StoreError};
use serde_json::json;
use sqlx::{AnyConnection, Connection as _};

use crate::postgres::Postgres;

/// Runs each promise as a test of its own on SQLite and on PostgreSQL.
macro_rules! on_both_engines {
    ($($promise:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(crate::engines::Place::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(crate::engines::Place::postgres()).await;
            })+
        }
    };
}
pub(crate) use on_both_engines;

/// 2026-11-23, the day on which tests begin.
pub(crate) const TODAY: i64 = 20_780;
pub(crate) const DAY: i64 = 86_400_000;
/// The middle of that day.
pub(crate) const NOON: i64 = TODAY * DAY + DAY / 2;

#[derive(Debug)]
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Release);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Acquire))
    }
}

pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) cluster: Option<Postgres>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let clock = Arc::new(SetClock(AtomicI64::new(NOON)));
        Self { folder: tempfile::tempdir().unwrap(), clock, cluster: None }
    }

    pub(crate) fn postgres() -> Self {
        Self { cluster: Some(Postgres::start()), ..Self::sqlite() }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        let database = self.cluster.as_ref().map(|cluster| cluster.url("convizit"));
        StoreConfig { database, ..StoreConfig::in_folder(self.folder.path()) }
    }

    pub(crate) async fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(self.config(), self.provider(), self.clock.clone()).await
    }

    pub(crate) fn provider(&self) -> Arc<dyn KeyProvider> {
        open_provider(&ProviderConfig::File { path: self.folder.path().join("keys") }).unwrap()
    }

    pub(crate) async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// The same where the journal has nothing of what was stored.
    pub(crate) async fn open_accepting(&self) -> Store {
        let config = StoreConfig { accept_gap: true, ..self.config() };
        Store::open(config, self.provider(), self.clock.clone()).await.unwrap()
    }

    /// A store with a project in it.
    pub(crate) async fn shop(&self) -> (Store, Project) {
        let store = self.open().await;
        let project = store.create_project(&"shop".parse().unwrap(), ProjectSettings::default()).await.unwrap();
        (store, project)
    }

    /// The database behind the store's back: of frames (`data`) or of settings (`control`).
    pub(crate) async fn behind(&self, file: &str) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = match &self.cluster {
            Some(cluster) => cluster.url("convizit"),
            None => format!("sqlite://{}", self.folder.path().join(format!("{file}.db")).display()),
        };
        AnyConnection::connect(&url).await.unwrap()
    }

    /// Lets time pass without a jump of the clock.
    pub(crate) async fn pass_to(&self, millis: i64) {
        self.clock.set(millis);
        let mut sql = self.behind("data").await;
        sqlx::query("UPDATE clock SET seen = $1").bind(millis).execute(&mut sql).await.unwrap();
    }

    /// One number out of the database of frames.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        self.number_of("data", sql).await
    }

    pub(crate) async fn number_of(&self, file: &str, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.behind(file).await).await.unwrap()
    }

    /// Rows of every table that the worker writes: what a failed transaction must leave as it was.
    pub(crate) async fn rows(&self) -> Vec<i64> {
        let mut sql = self.behind("data").await;
        let mut rows = Vec::new();
        for count in [
            "SELECT journal_offset FROM worker",
            "SELECT COALESCE(MAX(last_number), 0) FROM progress",
            "SELECT COUNT(*) FROM frames",
            "SELECT COUNT(*) FROM state",
            "SELECT COUNT(*) FROM counts",
            "SELECT COUNT(*) FROM totals",
            "SELECT COUNT(*) FROM outcomes",
            "SELECT COUNT(*) FROM quarantine",
            "SELECT COUNT(*) FROM notices",
            "SELECT COUNT(*) FROM seen_days",
        ] {
            rows.push(sqlx::query_scalar(count).fetch_one(&mut sql).await.unwrap());
        }
        rows
    }
}

/// Waits until a condition holds; fails after so long.
pub(crate) async fn within(time: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < time, "{what}: not within {time:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An id that a browser made at this time.
pub(crate) fn id_at(millis: i64, n: u32) -> EventId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    (bytes[6], bytes[8]) = (0x70, 0x80);
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    EventId::from_bytes(bytes).unwrap()
}

/// An event made and received at this time, as the worker makes it.
pub(crate) fn event_at(millis: i64, n: u32, name: u64) -> NewEvent {
    let (id, time) = (id_at(millis, n), Timestamp::from_millis(millis));
    let json = json!({
        "id": id, "project": "shop", "source": "convizit", "schema": 1, "name": format!("Name {name}"),
        "name_state": "published", "type": "click", "time": time, "received": time, "visitor": "v",
        "session": {"id": "s", "start": time}, "user": null, "consent": {"analytics": true, "ads": null, "gpc": false},
        "page": {"url": "https://shop.example/", "path": "/", "title": null, "type": null, "language": null, "referrer": null},
        "properties": {"n": n}, "device": {"platform": "web"}, "location": {"country": null, "region": null}
    });
    NewEvent {
        id,
        name,
        hour: time.hour(),
        day: time.day(),
        visitor: "v".to_owned(),
        user: None,
        since: time,
        json: serde_json::to_vec(&json).unwrap(),
    }
}

/// Events of today by number.
pub(crate) fn events(numbers: std::ops::Range<u32>) -> Vec<NewEvent> {
    numbers.map(|n| event_at(NOON + i64::from(n), n, 1)).collect()
}

/// The stretch of one batch after `from` with one project's events.
pub(crate) fn work(from: u64, project: &Project, events: Vec<NewEvent>) -> Work {
    let share = ProjectWork {
        number: project.number,
        project: project.id.clone(),
        events,
        rows: Vec::new(),
        outcomes: Vec::new(),
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    Work { from, to: from + 1, projects: vec![share] }
}

/// The `n` property of every event after a number, checking that the numbers rise.
pub(crate) async fn stored(store: &Store, project: i64, after: i64) -> Vec<i64> {
    let (mut last, mut found) = (after, Vec::new());
    loop {
        let events = store.events_after(project, last, 700, usize::MAX).await.unwrap();
        if events.is_empty() {
            return found;
        }
        for event in events {
            assert!(event.number > last, "event {} after {last}", event.number);
            last = event.number;
            let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
            found.push(json["properties"]["n"].as_i64().unwrap());
        }
    }
}
