//! From journal to events on a real store: repeats, quarantine among neighbours, restarts, random aborts.

use std::sync::Arc;
use std::time::Duration;

use convizit_model::{EventId, Notice, Outcome, Project, ProjectSettings, Received};
use convizit_pipeline::{Named, Registry, name_events};
use convizit_store::{Store, StoreConfig, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::{Naming, Round, Worker};

struct Place {
    folder: tempfile::TempDir,
    keys: Arc<convizit_keys::KeyRing>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Arc::new(convizit_keys::KeyRing::open_or_create(&folder.path().join("keys")).unwrap());
        Self { folder, keys }
    }

    async fn open(&self) -> Store {
        let config = StoreConfig::in_folder(&self.folder.path().join("data"));
        Store::open(config, self.keys.clone(), Arc::new(SystemClock)).await.unwrap()
    }
}

async fn project(store: &Store) -> Project {
    store.create_project(&"shop".parse().unwrap(), ProjectSettings::default()).await.unwrap()
}

fn id(n: u64) -> EventId {
    format!("0193a1f0-0000-7000-8000-{n:012}").parse().unwrap()
}

fn record(ids: &[u64]) -> bytes::Bytes {
    let events: Vec<serde_json::Value> = ids
        .iter()
        .map(|n| {
            serde_json::json!({"id": id(*n), "type": "click", "time": "2026-11-23T18:00:00.000Z",
            "descriptor": {"role": "button", "label": "Add to cart", "template": "Add to cart", "tag": "button"}})
        })
        .collect();
    let received = serde_json::json!({
        "project": "shop", "number": 1, "received": "2026-11-23T18:00:01.000Z", "clock": 0, "visitor": "v", "device": {}, "location": {},
        "batch": {"v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": "2026-11-23T18:00:00.000Z", "session": {"id": "s"}, "events": events}
    });
    received.to_string().into_bytes().into()
}

/// Works off the journal, then stops.
async fn work(store: &Store, naming: Naming) {
    let stop = CancellationToken::new();
    stop.cancel();
    ahead(store, naming).run(stop).await.unwrap();
}

/// A worker that takes a batch at a time and makes the next one while each is committed.
fn ahead(store: &Store, naming: Naming) -> Worker {
    let mut worker = Worker::new(store.clone(), naming);
    (worker.stretch, worker.large) = (1, 0);
    worker
}

async fn stored(store: &Store, project: i64) -> Vec<EventId> {
    let mut ids = Vec::new();
    loop {
        let after = i64::try_from(ids.len()).unwrap();
        let events = store.events_after(project, after, 10_000, usize::MAX).await.unwrap();
        if events.is_empty() {
            return ids;
        }
        assert!(
            events.iter().zip(after + 1..).all(|(event, number)| event.number == number),
            "numbers are consecutive"
        );
        ids.extend(events.iter().map(|event| serde_json::from_slice::<convizit_model::Event>(&event.json).unwrap().id));
    }
}

async fn outcome(store: &Store, project: i64, outcome: Outcome) -> u64 {
    let outcomes = store.outcomes(project).await.unwrap();
    outcomes.iter().find(|(name, _)| name == outcome.as_str()).map_or(0, |(_, items)| *items)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_stored_once_however_often_it_comes() {
    let place = Place::new();
    let store = place.open().await;
    let number = project(&store).await.number;
    store.journal_append(record(&[1, 2, 2, 3])).await.unwrap();
    store.journal_append(record(&[3, 4])).await.unwrap();
    work(&store, name_events).await;
    store.journal_append(record(&[1, 5])).await.unwrap();
    work(&store, name_events).await;
    assert_eq!(stored(&store, number).await, [1, 2, 3, 4, 5].map(id));
    assert_eq!(outcome(&store, number, Outcome::Accepted).await, 5);
    assert_eq!(outcome(&store, number, Outcome::Repeated).await, 3);
    store.close().await;
}

/// A stretch is made while the one before it is committed: the store does not know yet what that one holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_found_in_the_stretch_that_is_not_committed_yet() {
    let place = Place::new();
    let store = place.open().await;
    let number = project(&store).await.number;
    let mut worker = Worker::new(store.clone(), name_events);
    store.journal_append(record(&[1, 2, 3])).await.unwrap();
    let first = worker.make(0, None, false).await.unwrap().unwrap();
    store.journal_append(record(&[2, 4, 3])).await.unwrap();
    let second = worker.make(first.to, Some(&first), false).await.unwrap().unwrap();
    store.commit_prepared(&first.work).await.unwrap();
    store.commit_prepared(&second.work).await.unwrap();
    assert_eq!(stored(&store, number).await, [1, 2, 3, 4].map(id));
    assert_eq!(outcome(&store, number, Outcome::Repeated).await, 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_that_was_made_ahead_and_cannot_be_committed_is_made_anew() {
    let place = Place::new();
    let store = place.open().await;
    let number = project(&store).await.number;
    for ids in [[1, 2], [2, 3], [3, 4]] {
        store.journal_append(record(&ids)).await.unwrap();
    }
    let mut first = ahead(&store, name_events);
    let Ok(Round::At(1)) = first.round(0, 0).await else { panic!("the first batch is committed") };
    assert_eq!(first.ahead.as_ref().map(|stretch| (stretch.after, stretch.to)), Some((1, 2)));
    // Another process is quicker.
    work(&store, name_events).await;
    assert!(first.round(1, 0).await.is_err());
    assert!(first.ahead.is_none());
    store.journal_append(record(&[4, 5])).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    first.run(stop).await.unwrap();
    assert_eq!(stored(&store, number).await, [1, 2, 3, 4, 5].map(id));
    store.close().await;
}

fn fails_at_three(received: Received, registry: &mut Registry) -> Vec<Named> {
    assert!(!received.batch.events.iter().any(|event| event.id == id(3)), "planted");
    name_events(received, registry)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_fails_is_quarantined_and_its_neighbours_are_stored() {
    let place = Place::new();
    let store = place.open().await;
    let number = project(&store).await.number;
    for ids in [[1, 2].as_slice(), &[9, 3, 4], &[5, 6]] {
        store.journal_append(record(ids)).await.unwrap();
    }
    store.journal_append(bytes::Bytes::from_static(b"no record at all")).await.unwrap();
    store.journal_append(record(&[7])).await.unwrap();
    work(&store, fails_at_three).await;
    assert_eq!(stored(&store, number).await, [1, 2, 9, 4, 5, 6, 7].map(id));
    assert_eq!(outcome(&store, number, Outcome::Refused(convizit_model::Refusal::Internal)).await, 1);
    let notices: Vec<Notice> = store.notices(false).await.unwrap();
    assert!(notices.iter().any(|notice| notice.subject == id(3).to_string()), "{notices:?}");
    assert!(notices.iter().any(|notice| notice.subject.starts_with("journal record")), "{notices:?}");
    assert_eq!(store.worker_offset().await.unwrap(), store.health().journal_offset);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aborts_at_random_moments_lose_and_repeat_nothing() {
    let place = Place::new();
    let mut answered: Vec<EventId> = Vec::new();
    let mut number = 0;
    // Deterministic, so that a failure can be run again.
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    for round in 0..25_u64 {
        let store = place.open().await;
        if round == 0 {
            number = project(&store).await.number;
        }
        let worker = tokio::spawn(ahead(&store, name_events).run(CancellationToken::new()));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let abort_after = Duration::from_micros((random >> 33) % 30_000);
        let started = std::time::Instant::now();
        for n in 0..40 {
            let ids = [round * 1000 + n * 2, round * 1000 + n * 2 + 1];
            store.journal_append(record(&ids)).await.unwrap();
            answered.extend(ids.map(id));
            if started.elapsed() > abort_after {
                worker.abort();
            }
        }
        worker.abort();
        worker.await.ok();
        store.close().await;
    }
    let store = place.open().await;
    work(&store, name_events).await;
    assert_eq!(stored(&store, number).await, answered);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_removed_project_are_dropped_and_the_offset_moves_on() {
    let place = Place::new();
    let store = place.open().await;
    let shop = project(&store).await;
    store.journal_append(record(&[1])).await.unwrap();
    store.remove_project(&shop.id).await.unwrap();
    let again = project(&store).await;
    assert_eq!(again.id, shop.id);
    work(&store, name_events).await;
    assert_eq!(store.worker_offset().await.unwrap(), 1);
    assert_eq!(
        stored(&store, again.number).await,
        [],
        "a later project of the same id gets nothing of the removed one"
    );
    store.close().await;
}
