//! SQLite on a disk: nothing captured lies open on it, a failing one loses nothing that was answered, work stays short.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convizit_keys::{ProviderConfig, open_provider, random_text};
use convizit_model::{NewEvent, NoticeKind, Outcome, ProjectSettings, Quarantined, StateKind, StateRow};
use convizit_store::{Store, StoreConfig, StoreError, SystemClock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::engines::{DAY, NOON, Place, event_at, events, stored, within, work};

const CANARY: &str = "canary-Anna-Schmidt";

/// Every file below a folder that holds these bytes.
fn files_with(folder: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A temporary file may be gone by now.
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

fn with_canary(n: u32) -> NewEvent {
    let mut event = event_at(NOON, n, 1);
    let json = String::from_utf8(event.json).unwrap();
    event.json = json.replace("https://shop.example/", &format!("https://shop.example/{CANARY}")).into_bytes();
    event
}

/// A full disk refuses every write, and what only reads must go on all the same.
#[tokio::test(flavor = "multi_thread")]
async fn opening_what_is_there_writes_nothing_into_the_journal() {
    let place = Place::sqlite();
    let (store, _) = place.shop().await;
    store.journal_append(Bytes::from_static(b"record")).await.unwrap();
    // Its own upkeep between commits.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let written = || std::fs::read(place.folder.path().join("journal.db-wal")).unwrap();
    let before = written();
    let second = place.open().await;
    assert_eq!(second.journal_read(0, 1 << 20).await.unwrap().len(), 1);
    assert!(written() == before, "the write-ahead log was written to");
    second.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_the_folder_shows_what_was_captured() {
    let place = Place::sqlite();
    let (store, shop) = place.shop().await;
    for from in 0..30_u64 {
        let label =
            format!("{{\"label\":\"{CANARY}\",\"properties\":{{\"Name\":\"{CANARY}\"}},\"url\":\"/{CANARY}\"}}");
        store.journal_append(Bytes::from(label.clone())).await.unwrap();
        let mut all = work(from, &shop, vec![with_canary(from as u32)]);
        let body = label.into_bytes();
        let kinds = [StateKind::Element, StateKind::Name, StateKind::Session];
        let row = |kind| StateRow { kind, key: from, expires_day: None, body: body.clone() };
        all.projects[0].rows = kinds.map(row).to_vec();
        let subject = format!("item {from}");
        all.projects[0].quarantined = vec![Quarantined { notice: NoticeKind::Quarantined, subject, body }];
        store.commit_work(all).await.unwrap();
    }
    let hook: convizit_model::Destination = serde_json::from_value(serde_json::json!(
        {"project": "shop", "name": "hook", "enabled": true, "kind": "webhook", "url": "https://hooks.example/",
         "processor": {"name": "own", "region": "", "agreement": ""}}
    ))
    .unwrap();
    store.save_destination(&hook, Some(CANARY), false).await.unwrap();
    assert_eq!(files_with(place.folder.path(), CANARY), [""; 0]);
    assert_eq!(files_with(place.folder.path(), "hooks.example"), [""; 0], "where events go is sealed, too");
    assert!(!files_with(place.folder.path(), "retention_days").is_empty(), "what is plain is found");
    place.clock.set(NOON + DAY);
    store.upkeep().await.unwrap();
    store.close().await;
    drop(store);
    assert_eq!(files_with(place.folder.path(), CANARY), [""; 0]);
    let store = place.open().await;
    let events = store.events_after(shop.number, 0, 100, usize::MAX).await.unwrap();
    assert_eq!(events.len(), 30);
    assert!(events.iter().all(|event| String::from_utf8_lossy(&event.json).contains(CANARY)), "it can be read");
}

/// How long the transaction of a full stretch takes: 1,500 events of 40 names with their sessions.
#[tokio::test(flavor = "multi_thread")]
async fn a_workers_transaction_is_short() {
    let place = Place::sqlite();
    let (store, shop) = place.shop().await;
    let mut times = Vec::new();
    for from in 0..40_u64 {
        let first = u32::try_from(from * 1500).unwrap();
        let events = (first..first + 1500).map(|n| event_at(NOON + i64::from(n), n, u64::from(n % 40))).collect();
        let mut full = work(from, &shop, events);
        let session = |key| StateRow { kind: StateKind::Session, key, expires_day: Some(1), body: vec![0; 60] };
        full.projects[0].rows = (from * 150..from * 150 + 150).map(session).collect();
        let start = Instant::now();
        store.commit_work(full).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    let (p50, p90, worst) = (times[20], times[36], times[39]);
    println!(
        "worker transactions of 1,500 events, sealing and sync included: p50 {p50:?}, p90 {p90:?}, worst {worst:?}; bound 20 ms"
    );
    // The bound is the bench's to hold; this catches a statement for each event, which takes ten times as long.
    assert!(p50 < Duration::from_millis(200), "{p50:?}");
}

const CHILD: &str = "CONVIZIT_FAILING_DISK";

/// Lets files grow no further than these bytes: writing beyond fails as on a failing disk.
fn limit(bytes: Option<u64>) {
    let now = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(now.maximum), ..now }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_a_failing_disk() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return live_through_a_failing_disk(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    // In a process of its own: the limit is the process's, and its signal has to be ignored from the start.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "failing_disk::what_was_answered_outlives_a_failing_disk", "--nocapture"])
        .env(CHILD, folder.path())
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

async fn live_through_a_failing_disk(folder: &Path) {
    let keys = open_provider(&ProviderConfig::File { path: folder.join("keys") }).unwrap();
    let open = || Store::open(StoreConfig::in_folder(folder), keys.clone(), Arc::new(SystemClock));
    let noise = || Bytes::from(random_text(30_000).unwrap());
    let store = open().await.unwrap();
    let shop = store.create_project(&"shop".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    store.commit_work(work(0, &shop, events(0..10))).await.unwrap();
    let mut journal = Vec::new();
    // More batches than the worker works off below.
    for _ in 0..120 {
        journal.push(Bytes::from(random_text(100).unwrap()));
        store.journal_append(journal[journal.len() - 1].clone()).await.unwrap();
    }

    let largest =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).max().unwrap();
    limit(Some(largest + 100_000));
    let refused = loop {
        let record = noise();
        match store.journal_append(record.clone()).await {
            Ok(()) => journal.push(record),
            Err(error) => break error,
        }
        assert!(journal.len() < 220, "the limit was not felt");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    assert!(store.health().failing.is_some_and(|why| why.contains("cannot be written")));
    let mut stretch = 1_u32;
    let failed = loop {
        let mut events = events(stretch * 1000..stretch * 1000 + 5);
        for event in &mut events {
            event.json.pop();
            event.json.extend(format!(",\"noise\":\"{}\"}}", random_text(3_000).unwrap()).bytes());
        }
        match store.commit_work(work(u64::from(stretch), &shop, events)).await {
            Ok(()) => stretch += 1,
            Err(error) => break error,
        }
        assert!(stretch < 100, "the limit was not felt");
    };
    assert!(matches!(failed, StoreError::Database { .. }), "{failed:?}");
    store.count(shop.number, Outcome::Withheld, 7);
    let raised = store.raise(NoticeKind::Disk, None, "data", &random_text(5_000_000).unwrap()).await;
    assert!(matches!(raised, Err(StoreError::Database { .. })), "{raised:?}");
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let expected: Vec<i64> = (0..10).chain((1..stretch).flat_map(|n| n * 1000..n * 1000 + 5).map(i64::from)).collect();
    assert_eq!(stored(&store, shop.number, 0).await, expected, "reading goes on");
    assert_eq!(store.worker_offset().await.unwrap(), u64::from(stretch));

    limit(None);
    let record = noise();
    within(Duration::from_secs(10), "the journal", async || store.journal_append(record.clone()).await.is_ok()).await;
    journal.push(record);
    assert_eq!(store.health().failing, None);
    store.commit_work(work(u64::from(stretch), &shop, events(500_000..500_005))).await.unwrap();
    let withheld = async || store.outcomes(shop.number).await.unwrap() == [("withheld".to_owned(), 7)];
    within(Duration::from_secs(3), "the counters", withheld).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(withheld().await, "counted once");
    store.close().await;
    drop(store);

    let store = open().await.unwrap();
    let expected: Vec<i64> = expected.into_iter().chain(500_000..500_005).collect();
    assert_eq!(stored(&store, shop.number, 0).await, expected);
    assert!(store.notices(true).await.unwrap().is_empty(), "what failed is not there");
    let mut sql = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(
        &sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("data.db")),
    )
    .await
    .unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut sql).await.unwrap();
    assert_eq!(sound, "ok");
    let batches = store.journal_read(u64::from(stretch) + 1, usize::MAX).await.unwrap();
    let left: Vec<Bytes> = batches.into_iter().flat_map(|batch| batch.records).collect();
    assert!(journal.ends_with(&left) && !left.is_empty(), "{} of {} records are unread", left.len(), journal.len());
}
