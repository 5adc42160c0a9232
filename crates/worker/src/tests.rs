//! From journal to events on a real store: repeats, quarantine among neighbours, restarts, random aborts.

use std::sync::Arc;
use std::time::Duration;

use convizit_model::outcome::{Filter, Refusal};
use convizit_model::{
    Change, Clock, Event, EventId, Notice, NoticeKind, Outcome, Project, ProjectSettings, Received, Timestamp,
};
use convizit_pipeline::{Named, Registry, name_events};
use convizit_store::{Store, StoreConfig, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::watch::{Silences, Watch};
use convizit_keys::{KeyProvider, ProviderConfig, open_provider};

use crate::{Naming, Round, Worker};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    async fn open(&self) -> Store {
        let config = StoreConfig::in_folder(&self.folder.path().join("data"));
        Store::open(config, self.provider(), Arc::new(SystemClock)).await.unwrap()
    }

    /// Changes data.db behind the store's back.
    fn behind(&self, sql: &str) {
        self.behind_in("data", sql);
    }

    /// By a program of its own: only the store names a driver.
    fn behind_in(&self, database: &str, sql: &str) {
        let change = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], 30); c.execute(sys.argv[2]); c.commit()";
        let file = self.folder.path().join(format!("data/{database}.db"));
        let done = std::process::Command::new("python3").args(["-c", change]).arg(file).arg(sql).status().unwrap();
        assert!(done.success());
    }

    fn provider(&self) -> Arc<dyn KeyProvider> {
        open_provider(&ProviderConfig::File { path: self.folder.path().join("keys") }).unwrap()
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
    let mut worker = Worker::new(store.clone(), naming, Silences::default());
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

/// As `stored`, where some were erased.
async fn stored_of(store: &Store, project: i64) -> Vec<EventId> {
    let events = store.events_after(project, 0, 10_000, usize::MAX).await.unwrap();
    let id = |json: &[u8]| serde_json::from_slice::<convizit_model::Event>(json).unwrap().id;
    events.iter().map(|event| id(&event.json)).collect()
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
    let mut worker = Worker::new(store.clone(), name_events, Silences::default());
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
    // On a busy machine one time is not enough for as many transactions.
    for _ in 0..10 {
        work(&store, name_events).await;
        if store.worker_offset().await.unwrap() == store.health().journal_offset {
            break;
        }
    }
    let stored = stored(&store, number).await;
    let differ = (0..answered.len().max(stored.len())).find(|at| stored.get(*at) != answered.get(*at));
    if let Some(at) = differ {
        let (found, expected) = (stored.get(at), answered.get(at));
        panic!("{} stored of {}, which differ from {at} on: {found:?} for {expected:?}", stored.len(), answered.len());
    }
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

/// A clock that a test sets.
#[derive(Debug)]
struct SetClock(std::sync::atomic::AtomicI64);

impl SetClock {
    fn set(&self, millis: i64) {
        self.0.store(millis, std::sync::atomic::Ordering::Release);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(std::sync::atomic::Ordering::Acquire))
    }
}

const NOON: i64 = 1_795_780_800_000;
const HOUR: i64 = 3_600_000;

/// Clicks on controls of these texts, received at a time; ids go on from `first`.
fn clicks(time: i64, first: u64, labels: &[&str]) -> bytes::Bytes {
    let at = Timestamp::from_millis(time).to_string();
    let events: Vec<serde_json::Value> = (first..)
        .zip(labels)
        .map(|(n, label)| {
            serde_json::json!({"id": id(n), "type": "click", "time": at,
                "descriptor": {"role": "button", "label": label, "template": label, "tag": "button", "path": "main>button"}})
        })
        .collect();
    let received = serde_json::json!({
        "project": "shop", "number": 1, "received": at, "clock": 0, "visitor": "v", "device": {}, "location": {},
        "batch": {"v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": at, "session": {"id": "s"}, "events": events}
    });
    received.to_string().into_bytes().into()
}

async fn named(store: &Store, project: i64, number: i64) -> Event {
    let events = store.events_after(project, number - 1, 1, usize::MAX).await.unwrap();
    serde_json::from_slice(&events[0].json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_decide_holds_from_the_next_stretch_on() {
    let place = Place::new();
    let store = place.open().await;
    let shop = project(&store).await;
    let mut worker = Worker::new(store.clone(), name_events, Silences::default());
    let mut round = 0;
    let mut next = async |labels: &[&str]| {
        store.journal_append(clicks(NOON, 10 * (round + 1), labels)).await.unwrap();
        worker.round(round, 0).await.unwrap();
        round += 1;
    };
    next(&["Save", "Cancel"]).await;
    let save = named(&store, shop.number, 1).await;
    let mut registry = Registry::default();
    registry.load(&store.load_state(shop.number).await.unwrap()).unwrap();
    let name = registry.catalogue().names.iter().find(|name| name.text == save.name).unwrap().id;
    // The registry is in the worker's memory: it looks for what was decided since.
    store.decide(&shop, "ada", Change::Rename { name, text: "Keep it".to_owned() }).await.unwrap();
    let cancel = named(&store, shop.number, 2).await.element.unwrap().id;
    store.decide(&shop, "ada", Change::CaptureElement { element: cancel, captured: false }).await.unwrap();
    next(&["Save", "Cancel", "Cancel"]).await;
    let after = named(&store, shop.number, 3).await;
    assert_eq!((after.name.as_str(), after.element.unwrap().id), ("Keep it", save.element.unwrap().id));
    assert_eq!(store.last_event(shop.number).await.unwrap(), 3, "what is not captured is not stored");
    assert_eq!(outcome(&store, shop.number, Outcome::Filtered(Filter::Excluded)).await, 2);
    // Sent again, as by a page that goes: each has had its outcome.
    store.journal_append(clicks(NOON, 20, &["Save", "Cancel", "Cancel"])).await.unwrap();
    worker.round(2, 0).await.unwrap();
    assert_eq!(outcome(&store, shop.number, Outcome::Filtered(Filter::Excluded)).await, 2);
    assert_eq!(outcome(&store, shop.number, Outcome::Repeated).await, 3);
    // A worker that starts anew has the decisions from the store, with the offset from which on they hold.
    let mut registry = Registry::default();
    registry.load(&store.load_state(shop.number).await.unwrap()).unwrap();
    assert_eq!(registry.decisions().iter().map(|decision| decision.from).collect::<Vec<_>>(), [Some(2), Some(2)]);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_a_project_that_fall_silent_are_told_and_their_return_too() {
    let place = Place::new();
    let clock = Arc::new(SetClock(std::sync::atomic::AtomicI64::new(NOON)));
    let config = StoreConfig::in_folder(&place.folder.path().join("data"));
    let store = Store::open(config, place.provider(), clock.clone()).await.unwrap();
    let shop = project(&store).await;
    let mut worker = Worker::new(store.clone(), name_events, Silences::default());
    let mut watch = Watch::default();
    let (mut round, mut first) = (0, 1_u64);
    let mut next = async |time: i64, labels: &[&str]| {
        clock.set(time);
        store.journal_append(clicks(time, first, labels)).await.unwrap();
        first += labels.len() as u64;
        worker.round(round, 0).await.unwrap();
        round += 1;
    };
    let both: Vec<&str> = (0..60).map(|n| if n % 3 == 0 { "Save" } else { "Cancel" }).collect();
    // A day and a few hours, so that there is a day to compare with.
    for hour in 0..30 {
        next(NOON + hour * HOUR, &both).await;
        watch.look(&store).await.unwrap();
    }
    assert!(store.notices(false).await.unwrap().is_empty());
    next(NOON + 30 * HOUR, &["Cancel"; 60]).await;
    watch.look(&store).await.unwrap();
    let told = |notices: Vec<Notice>, kind: NoticeKind| notices.into_iter().find(|notice| notice.kind == kind);
    let notice = told(store.notices(false).await.unwrap(), NoticeKind::SilentName).unwrap();
    assert!(notice.text.contains("convizit project changes shop") && !notice.text.contains("Save"), "{}", notice.text);
    assert_eq!(notice.subject, watch.silences.of(shop.number).1[0].name.to_string());
    // What was said before a restart is known after it.
    watch = Watch::default();
    next(NOON + 30 * HOUR + 1, &["Save"]).await;
    watch.look(&store).await.unwrap();
    assert!(told(store.notices(false).await.unwrap(), NoticeKind::SilentName).is_none(), "it is over");
    // Nothing at all: known within the hour.
    clock.set(NOON + 30 * HOUR + 50 * 60_000);
    watch.look(&store).await.unwrap();
    let notice = told(store.notices(false).await.unwrap(), NoticeKind::SilentProject).unwrap();
    assert_eq!(notice.project, Some(shop.id.clone()));
    watch = Watch::default();
    next(NOON + 31 * HOUR, &both).await;
    watch.look(&store).await.unwrap();
    assert!(told(store.notices(false).await.unwrap(), NoticeKind::SilentProject).is_none());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_forgotten_in_memory_and_in_the_store() {
    let place = Place::new();
    let store = place.open().await;
    let shop = project(&store).await;
    store.journal_append(clicks(NOON, 10, &["Save"])).await.unwrap();
    let mut worker = Worker::new(store.clone(), name_events, Silences::default());
    worker.round(0, 0).await.unwrap();
    let sessions = async || {
        let rows = store.load_all_sessions(shop.number).await.unwrap();
        rows.into_iter().filter(|row| row.expires_day != Some(0)).count()
    };
    assert_eq!(sessions().await, 1);
    let request = store.erase(&shop, &[convizit_model::Person::Visitor("v".to_owned())]).await.unwrap();
    worker.forget(1).await.unwrap();
    assert_eq!(sessions().await, 0, "what was known of the session is overwritten");
    assert_eq!(store.to_forget().await.unwrap(), []);
    let registry = worker.registries.take(shop.number).await.unwrap();
    assert!(!registry.has_session(Registry::session_key("v", "s")));
    assert_eq!(store.worker_offset().await.unwrap(), 1, "the journal's offset stays");
    // A batch that was named before the erasure and committed after it is made anew, without the person.
    store.journal_append(clicks(NOON, 20, &["Save"])).await.unwrap();
    work(&store, name_events).await;
    assert_eq!(store.last_event(shop.number).await.unwrap(), 1, "{request}");
    assert_eq!(outcome(&store, shop.number, Outcome::Filtered(Filter::Erased)).await, 1);
    assert_eq!(sessions().await, 0, "nothing is learned of it either");
    // Nor of what waited in a browser, and is older than the erasure that it comes after.
    let mut late: serde_json::Value = serde_json::from_slice(&clicks(NOON, 30, &["Save"])).unwrap();
    late["received"] = store.clock().now().plus_millis(60_000).to_string().into();
    store.journal_append(late.to_string().into_bytes().into()).await.unwrap();
    work(&store, name_events).await;
    assert_eq!(store.last_event(shop.number).await.unwrap(), 1);
    assert_eq!(outcome(&store, shop.number, Outcome::Filtered(Filter::Erased)).await, 2);
    assert_eq!(sessions().await, 0, "a session is of a person, too");
    store.close().await;
}

/// The same clicks, of another project.
fn of(record: &bytes::Bytes, project: &Project) -> bytes::Bytes {
    let mut received: serde_json::Value = serde_json::from_slice(record).unwrap();
    (received["project"], received["number"]) = (project.id.to_string().into(), project.number.into());
    received.to_string().into_bytes().into()
}

async fn until(seconds: u32, condition: impl AsyncFn() -> bool) {
    for _ in 0..seconds * 20 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within {seconds} s");
}

/// The notice that a project stands still.
async fn stopped(store: &Store) -> Option<Notice> {
    let notices = store.notices(false).await.unwrap();
    assert!(notices.iter().all(|notice| notice.kind != NoticeKind::Lag), "not of all projects: {notices:?}");
    notices.into_iter().find(|notice| notice.kind == NoticeKind::Damaged && notice.subject == "stopped")
}

/// The number of the project's only decision row is moved, so that it does not open.
const SPOIL: &str = "UPDATE state SET key = key + 1000 WHERE kind = 6 AND project = 1";
const MEND: &str = "UPDATE state SET key = key - 1000 WHERE kind = 6 AND project = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_decision_stops_its_project_alone_and_nothing_is_captured_against_it() {
    let place = Place::new();
    let store = place.open().await;
    let shop = project(&store).await;
    let blog = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    store.journal_append(clicks(NOON, 10, &["Save", "Secret"])).await.unwrap();
    work(&store, name_events).await;
    // What was known of a session is learned anew.
    place.behind("UPDATE state SET body = (SELECT body FROM state WHERE kind = 1) WHERE kind = 5");
    store.journal_append(clicks(NOON + 1, 20, &["Save"])).await.unwrap();
    work(&store, name_events).await;
    assert_eq!(store.last_event(shop.number).await.unwrap(), 3);
    let secret = named(&store, shop.number, 2).await.element.unwrap().id;
    store.decide(&shop, "ada", Change::CaptureElement { element: secret, captured: false }).await.unwrap();
    place.behind(SPOIL);
    for n in 0..3 {
        let record = clicks(NOON + 2 + n, 30 + 10 * n.cast_unsigned(), &["Secret", "Save"]);
        store.journal_append(of(&record, &blog)).await.unwrap();
        store.journal_append(record).await.unwrap();
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(ahead(&store, name_events).run(stop.clone()));
    until(20, async || store.last_event(blog.number).await.unwrap() == 6 && stopped(&store).await.is_some()).await;
    let notice = stopped(&store).await.unwrap();
    assert_eq!((notice.project, notice.count), (Some(shop.id.clone()), 1));
    assert!(notice.text.contains("state row 6/") && notice.text.contains("convizit restore"), "{}", notice.text);
    until(20, async || store.worker_offset().await.unwrap() == 8).await;
    assert_eq!(store.last_event(shop.number).await.unwrap(), 3, "nothing is made of it");
    let still = store.stopped_projects().await.unwrap();
    assert_eq!((still.len(), &still[0].project, still[0].records), (1, &shop.id, 3));
    assert!(still[0].why.as_ref().unwrap().contains("state row 6/"), "{still:?}");
    let report = store.verify(&Default::default()).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("state row 6/")), "{:?}", report.problems);
    // It is killed, and begins anew: what waits is known.
    running.abort();
    running.await.ok();
    let running = tokio::spawn(ahead(&store, name_events).run(stop.clone()));
    store.journal_append(clicks(NOON + 9, 70, &["Secret", "Save"])).await.unwrap();
    until(20, async || store.worker_offset().await.unwrap() == 9).await;
    assert_eq!(store.held_records(shop.number, usize::MAX).await.unwrap().len(), 4);
    place.behind(MEND);
    until(30, async || stopped(&store).await.is_none()).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    // In their order, each once, and none that is not captured.
    assert_eq!(stored(&store, shop.number).await, [10, 11, 20, 31, 41, 51, 71].map(id));
    assert_eq!(outcome(&store, shop.number, Outcome::Filtered(Filter::Excluded)).await, 4);
    assert_eq!(outcome(&store, shop.number, Outcome::Accepted).await, 7);
    assert_eq!(store.held_projects().await.unwrap(), [0_i64; 0]);
    assert_eq!(store.stopped_projects().await.unwrap(), []);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_key_stops_its_project_alone_and_who_is_erased_meanwhile_does_not_come_back() {
    for kind in ["project", "day"] {
        let place = Place::new();
        let store = place.open().await;
        let shop = project(&store).await;
        let blog = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
        let now = store.clock().now().as_millis();
        store.journal_append(clicks(now, 10, &["Save"])).await.unwrap();
        work(&store, name_events).await;
        store.close().await;
        let spoil = format!(
            "UPDATE keys SET wrapped = substr(wrapped, 1, length(wrapped) - 1) WHERE project = 1 AND kind = '{kind}'"
        );
        place.behind_in("control", "CREATE TABLE kept AS SELECT * FROM keys");
        place.behind_in("control", &spoil);
        let store = place.open().await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(ahead(&store, name_events).run(stop.clone()));
        for n in 0..3_i64 {
            let mut record: serde_json::Value =
                serde_json::from_slice(&clicks(now + n, 20 + 10 * n.cast_unsigned(), &["Save"])).unwrap();
            record["visitor"] = format!("visitor {n}").into();
            let record = bytes::Bytes::from(record.to_string());
            store.journal_append(of(&record, &blog)).await.unwrap();
            store.journal_append(record).await.unwrap();
        }
        until(20, async || store.last_event(blog.number).await.unwrap() == 3 && stopped(&store).await.is_some()).await;
        until(20, async || store.worker_offset().await.unwrap() == 7).await;
        assert_eq!(store.stopped_projects().await.unwrap()[0].records, 3, "{kind}");
        assert_eq!(store.list_keys().await.unwrap().iter().any(|key| key.state == "damaged"), kind == "project");
        // Other projects are kept up as before.
        store.erase(&blog, &[convizit_model::Person::Visitor("visitor 1".to_owned())]).await.unwrap();
        let erased = store.erase(&shop, &[convizit_model::Person::Visitor("visitor 1".to_owned())]).await;
        // The person's id is sealed with it until every destination was told.
        assert_eq!(erased.is_ok(), kind == "day", "{erased:?}");
        let left = if erased.is_ok() { vec![20, 40] } else { vec![20, 30, 40] };
        until(30, async || {
            store.upkeep().await.ok();
            store.erasures(blog.number).await.unwrap().iter().all(|erasure| erasure.open == 0)
        })
        .await;
        assert_eq!(stored_of(&store, blog.number).await, [20, 40].map(id));
        until(20, async || store.held_records(shop.number, usize::MAX).await.unwrap().len() == left.len()).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        store.close().await;
        // The key is back.
        place.behind_in("control", "UPDATE keys SET wrapped = (SELECT k.wrapped FROM kept k WHERE k.project = keys.project AND k.kind = keys.kind AND k.number = keys.number) WHERE EXISTS (SELECT 1 FROM kept k WHERE k.project = keys.project AND k.kind = keys.kind AND k.number = keys.number)");
        let store = place.open().await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(ahead(&store, name_events).run(stop.clone()));
        until(20, async || stopped(&store).await.is_none()).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        let expected: Vec<EventId> = [10].into_iter().chain(left).map(id).collect();
        assert_eq!(stored_of(&store, shop.number).await, expected, "{kind}");
        assert_eq!(store.held_projects().await.unwrap(), [0_i64; 0]);
        let erased = outcome(&store, shop.number, Outcome::Filtered(Filter::Erased)).await;
        assert_eq!(erased + outcome(&store, shop.number, Outcome::Accepted).await, 4, "{kind}: each has its outcome");
        assert_eq!(store.to_forget().await.unwrap(), [], "{kind}: it is forgotten in what was learned, too");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_waits_and_does_not_open_holds_up_no_other() {
    let place = Place::new();
    let store = place.open().await;
    let shop = project(&store).await;
    let now = store.clock().now().as_millis();
    store.journal_append(clicks(now, 10, &["Save"])).await.unwrap();
    work(&store, name_events).await;
    store.close().await;
    place.behind_in("control", "CREATE TABLE kept AS SELECT * FROM keys");
    let key = "wrapped = substr(wrapped, 1, length(wrapped) - 1) WHERE project = 1 AND kind = 'day'";
    place.behind_in("control", &format!("UPDATE keys SET {key}"));
    let store = place.open().await;
    for first in [20, 30, 40] {
        store.journal_append(clicks(now, first, &["Save"])).await.unwrap();
    }
    work(&store, name_events).await;
    assert_eq!(store.stopped_projects().await.unwrap()[0].records, 3);
    store.close().await;
    place.behind("UPDATE held SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) WHERE journal_offset = (SELECT journal_offset FROM held LIMIT 1 OFFSET 1)");
    place.behind_in("control", "UPDATE keys SET wrapped = (SELECT k.wrapped FROM kept k WHERE k.project = keys.project AND k.kind = keys.kind AND k.number = keys.number) WHERE project = 1 AND kind = 'day'");
    let store = place.open().await;
    work(&store, name_events).await;
    let notices: Vec<Notice> = store.notices(false).await.unwrap();
    assert_eq!(stored_of(&store, shop.number).await, [10, 20, 40].map(id), "{notices:?}");
    assert!(stopped(&store).await.is_none(), "the project goes on");
    let notices: Vec<Notice> = store.notices(false).await.unwrap();
    assert!(
        notices.iter().any(|notice| notice.subject == "held" && notice.text.contains("does not open")),
        "{notices:?}"
    );
    let left = store.stopped_projects().await.unwrap().remove(0);
    assert!(left.records == 1 && left.why.is_some_and(|why| why.contains("does not open")), "it stays, and is named");
    store.erase(&shop, &[convizit_model::Person::User("nobody".to_owned())]).await.unwrap();
    until(30, async || {
        store.upkeep().await.ok();
        store.erasures(shop.number).await.unwrap().iter().all(|erasure| erasure.open == 0)
    })
    .await;
    let found = store.verify(&convizit_store::backup::Progress::default()).await.unwrap();
    assert!(found.problems.iter().any(|problem| problem.contains("that waits for project number 1")), "{found:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_beyond_retention_goes_with_an_outcome_for_each_event() {
    let place = Place::new();
    let store = place.open().await;
    let shop = project(&store).await;
    let now = store.clock().now().as_millis();
    store.journal_append(clicks(now, 10, &["Save"])).await.unwrap();
    work(&store, name_events).await;
    store.close().await;
    place.behind_in(
        "control",
        "UPDATE keys SET wrapped = substr(wrapped, 1, length(wrapped) - 1) WHERE project = 1 AND kind = 'project'",
    );
    let store = place.open().await;
    for (days, first) in [(10, 20), (9, 30), (0, 40)] {
        store.journal_append(clicks(now - days * 24 * HOUR, first, &["Save", "Cancel"])).await.unwrap();
    }
    work(&store, name_events).await;
    store.close().await;
    // One of them does not open, either: it counts as one.
    place.behind("UPDATE held SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) WHERE journal_offset = (SELECT MAX(journal_offset) - 1 FROM held)");
    let store = place.open().await;
    let settings = ProjectSettings { retention_days: 5, ..ProjectSettings::default() };
    store.save_settings(&shop.id, settings).await.unwrap();
    until(30, async || {
        store.upkeep().await.ok();
        store.stopped_projects().await.unwrap()[0].records == 1
    })
    .await;
    assert_eq!(outcome(&store, shop.number, Outcome::Refused(Refusal::Internal)).await, 3);
    assert_eq!(store.held_records(shop.number, usize::MAX).await.unwrap().len(), 1, "what is young still waits");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_of_what_was_learned_stops_nobody_and_is_learned_anew() {
    let place = Place::new();
    let store = place.open().await;
    let shop = project(&store).await;
    let blog = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    let on_blog = |time: i64, first: u64| -> bytes::Bytes {
        let mut received: serde_json::Value = serde_json::from_slice(&clicks(time, first, &["Send"])).unwrap();
        (received["project"], received["number"]) = ("blog".into(), blog.number.into());
        received.to_string().into_bytes().into()
    };
    store.journal_append(clicks(NOON, 10, &["Save", "Cancel"])).await.unwrap();
    store.journal_append(on_blog(NOON, 20)).await.unwrap();
    work(&store, name_events).await;
    let said = async |number: i64| {
        let event = named(&store, shop.number, number).await;
        (event.name, event.element.unwrap().id)
    };
    let (save, cancel) = (said(1).await, said(2).await);
    assert!(save.0 != cancel.0 && save.1 != cancel.1, "{save:?} {cancel:?}");
    // One of the two elements, and one of the two names.
    for kind in [1, 3] {
        place.behind(&format!(
            "UPDATE state SET body = (SELECT body FROM state WHERE kind = 5 LIMIT 1) WHERE project = 1 AND kind = {kind} \
             AND key = (SELECT MIN(key) FROM state WHERE project = 1 AND kind = {kind})"
        ));
    }
    for round in 1..=2_u64 {
        let first = round * 100;
        let time = NOON + HOUR * i64::try_from(round).unwrap();
        store.journal_append(clicks(time, first, &["Cancel", "Save"])).await.unwrap();
        store.journal_append(on_blog(time, first + 50)).await.unwrap();
        work(&store, name_events).await;
        let last = store.last_event(shop.number).await.unwrap();
        assert_eq!(last, 2 + 2 * i64::try_from(round).unwrap(), "no event is lost and none comes twice");
        assert_eq!((said(last - 1).await, said(last).await), (cancel.clone(), save.clone()));
        assert_eq!(store.last_event(blog.number).await.unwrap(), 1 + i64::try_from(round).unwrap());
        let notices = store.notices(false).await.unwrap();
        assert!(notices.iter().all(|notice| notice.kind == NoticeKind::Damaged && notice.count == 1), "{notices:?}");
        assert_eq!(notices.len(), 2, "the controls and the names");
        assert_eq!(notices[0].project, Some(shop.id.clone()));
        let aside: Vec<&str> = store.damaged_rows().await.unwrap().iter().map(|row| row.of).collect();
        assert_eq!(aside, ["controls", "names"]);
    }
    store.close().await;
}
