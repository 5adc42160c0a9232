//! The worker's transaction: everything of a stretch is written once, or nothing is.

use std::collections::HashMap;

use convizit_model::{NoticeKind, Outcome, Quarantined, StateKind, StateRow, Work};
use convizit_store::StoreError;
use sqlx::Connection as _;

use crate::engines::{NOON, Place, event_at, events, on_both_engines, stored, work};

on_both_engines!(
    a_stretch_is_written_whole,
    a_moved_offset_writes_nothing,
    counts_of_names_are_added_up_in_steps,
    samples_are_found_across_gaps,
    a_moved_last_number_writes_nothing,
    a_stretch_that_breaks_in_the_middle_writes_nothing,
    of_two_workers_on_one_journal_one_wins,
    state_is_sealed_at_its_place,
    a_damaged_row_is_set_aside_and_told_and_a_decision_is_not,
    where_nothing_opens_no_row_is_set_aside,
);

fn row(kind: StateKind, key: u64, body: &str) -> StateRow {
    StateRow { kind, key, expires_day: None, body: body.as_bytes().to_vec() }
}

/// A stretch of everything that there is.
fn whole(from: u64, shop: &convizit_model::Project) -> Work {
    let first = u32::try_from(from * 1000).unwrap();
    let mut work = work(from, shop, events(first..first + 250));
    let share = &mut work.projects[0];
    share.events.push(event_at(NOON, first + 900, u64::MAX));
    share.rows = (0..150).map(|key| row(StateKind::Element, key, "an element")).collect();
    share.rows.push(row(StateKind::Session, u64::MAX, "a session"));
    share.outcomes = vec![(Outcome::Accepted, 251), (Outcome::Repeated, 3)];
    share.quarantined = vec![Quarantined {
        notice: NoticeKind::Quarantined,
        subject: "0193a1f0".to_owned(),
        body: b"an item".to_vec(),
    }];
    work
}

async fn a_stretch_is_written_whole(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), Default::default()).await.unwrap();
    let mut first = whole(0, &shop);
    first.projects.extend(work(0, &blog, vec![event_at(NOON, 1, 7)]).projects);
    store.commit_work(first).await.unwrap();
    store.commit_work(work(1, &shop, events(250..260))).await.unwrap();
    assert_eq!(store.worker_offset().await.unwrap(), 2);
    let expected: Vec<i64> = (0..250).chain([900]).chain(250..260).collect();
    assert_eq!(stored(&store, shop.number, 0).await, expected);
    assert_eq!((store.last_event(shop.number).await.unwrap(), store.last_event(blog.number).await.unwrap()), (261, 1));
    assert_eq!(stored(&store, blog.number, 0).await, [1]);
    assert_eq!(store.outcomes(shop.number).await.unwrap(), [("accepted".to_owned(), 251), ("repeated".to_owned(), 3)]);
    assert_eq!(store.load_state(shop.number).await.unwrap().len(), 150, "sessions are loaded apart");
    let sessions = store.load_sessions(shop.number, &[1, u64::MAX]).await.unwrap();
    assert_eq!(sessions, [row(StateKind::Session, u64::MAX, "a session")]);
    let notices = store.notices(false).await.unwrap();
    assert_eq!(
        (notices.len(), notices[0].subject.as_str(), notices[0].project.as_ref()),
        (1, "0193a1f0", Some(&shop.id))
    );
    let counts = place.number("SELECT CAST(SUM(events) AS BIGINT) FROM counts WHERE project = 1 AND name = 1").await;
    assert_eq!(counts, 260);
    let hours = place.number("SELECT COUNT(*) FROM counts WHERE project = 1 AND name = 1").await;
    assert_eq!(hours, 1, "260 events of one hour are one row");
    let by_name = store.events_by_name(shop.number).await.unwrap();
    assert_eq!(by_name, HashMap::from([(1, 260), (u64::MAX, 1)]));
    assert_eq!(store.events_by_hour_from(shop.number, 0).await.unwrap().into_values().collect::<Vec<_>>(), [261]);
    assert_eq!(store.events_by_name(blog.number).await.unwrap(), HashMap::from([(7, 1)]));
    let samples = store.samples(shop.number, 1).await.unwrap();
    assert_eq!(samples.len(), 20);
    assert!(samples.iter().zip((240..260).rev()).all(|(event, n)| event.properties["n"] == n), "{samples:?}");
    assert_eq!(store.samples(shop.number, u64::MAX).await.unwrap().len(), 1);
    assert_eq!(store.samples(blog.number, 1).await.unwrap(), []);
}

async fn counts_of_names_are_added_up_in_steps(place: Place) {
    let (store, shop) = place.shop().await;
    let hour = NOON / 3_600_000;
    // In the hours 0, 1, 5, 6, 6 and 13 from noon, and of another name.
    let at = |hours: i64, n: u32, name: u64| event_at(NOON + hours * 3_600_000, n, name);
    let made = [(0, 1), (1, 1), (5, 1), (6, 1), (6, 1), (13, 1), (1, u64::MAX), (1, 3)];
    let made = (0..).zip(made).map(|(n, (hours, name))| at(hours, n, name)).collect();
    store.commit_work(work(0, &shop, made)).await.unwrap();
    let steps = async |from: i64, step: i64| {
        store.events_of_names_from(shop.number, &[1, 2, u64::MAX], (from, step)).await.unwrap()
    };
    let of = |hours: &[(i64, i64)]| hours.iter().map(|(after, events)| (hour + after, *events)).collect();
    let one: HashMap<i64, i64> = of(&[(0, 3), (6, 2), (12, 1)]);
    assert_eq!(steps(hour, 6).await, HashMap::from([(1, one), (u64::MAX, of(&[(0, 1)]))]));
    // What lies before is left out, and steps begin where they are asked for.
    assert_eq!(
        steps(hour + 1, 5).await,
        HashMap::from([(1, of(&[(1, 2), (6, 2), (11, 1)])), (u64::MAX, of(&[(1, 1)]))])
    );
    assert_eq!(steps(hour + 5, 1).await, HashMap::from([(1, of(&[(5, 1), (6, 2), (13, 1)]))]));
}

async fn samples_are_found_across_gaps(place: Place) {
    let (store, shop) = place.shop().await;
    // Of 3 000 events, of which those of one name lie near each other and far apart.
    let ours = [0, 1, 2, 700, 701, 799, 900, 1_500, 2_998, 2_999];
    for (from, batch) in (0..).zip(0..6_u32) {
        let made = (batch * 500..(batch + 1) * 500)
            .map(|n| event_at(NOON + i64::from(n), n, if ours.contains(&n) { 1 } else { 2 }))
            .collect();
        store.commit_work(work(from, &shop, made)).await.unwrap();
    }
    let samples = store.samples(shop.number, 1).await.unwrap();
    let found: Vec<_> = samples.iter().map(|event| event.properties["n"].as_u64().unwrap()).collect();
    assert_eq!(found, ours.iter().rev().map(|n| u64::from(*n)).collect::<Vec<_>>());
}

async fn a_moved_offset_writes_nothing(place: Place) {
    let (store, shop) = place.shop().await;
    store.commit_work(work(0, &shop, events(0..3))).await.unwrap();
    let before = place.rows().await;
    for from in [0, 2, 17] {
        let error = store.commit_work(whole(from, &shop)).await.unwrap_err();
        assert!(matches!(error, StoreError::Moved { ref what } if what.contains("offset")), "{error}");
        assert_eq!(place.rows().await, before, "from {from}");
    }
    assert_eq!(store.worker_offset().await.unwrap(), 1);
}

/// Another worker's transaction, begun before ours and committed while ours waits for it.
async fn a_moved_last_number_writes_nothing(place: Place) {
    let (store, shop) = place.shop().await;
    store.commit_work(work(0, &shop, events(0..3))).await.unwrap();
    let mut other = place.behind("data").await;
    let begin = if place.cluster.is_some() { "BEGIN" } else { "BEGIN IMMEDIATE" };
    let mut moving = other.begin_with(begin).await.unwrap();
    sqlx::query("UPDATE progress SET last_number = 9").execute(&mut *moving).await.unwrap();
    let committing = tokio::spawn({
        let (store, work) = (store.clone(), whole(1, &shop));
        async move { store.commit_work(work).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    moving.commit().await.unwrap();
    let before = place.rows().await;
    let error = committing.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Moved { ref what } if what.contains("project number 1")), "{error}");
    assert_eq!(place.rows().await, before);
    store.commit_work(whole(1, &shop)).await.unwrap();
    assert_eq!(store.last_event(shop.number).await.unwrap(), 9 + 251, "the next try numbers from where it stands");
}

async fn a_stretch_that_breaks_in_the_middle_writes_nothing(place: Place) {
    let (store, shop) = place.shop().await;
    store.commit_work(work(0, &shop, events(0..3))).await.unwrap();
    let before = place.rows().await;
    // The last table that a project writes.
    let mut sql = place.behind("data").await;
    sqlx::raw_sql("ALTER TABLE quarantine RENAME TO elsewhere").execute(&mut sql).await.unwrap();
    let error = store.commit_work(Work { projects: whole(1, &shop).projects, from: 1, to: 2 }).await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    sqlx::raw_sql("ALTER TABLE elsewhere RENAME TO quarantine").execute(&mut sql).await.unwrap();
    assert_eq!(place.rows().await, before);
    let repeated = work(1, &shop, events(2..4));
    store.commit_work(repeated).await.expect_err("an id was stored twice");
    assert_eq!(place.rows().await, before);
    store.commit_work(work(1, &shop, events(3..5))).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [0, 1, 2, 3, 4], "nothing stands in the way of the next try");
}

async fn of_two_workers_on_one_journal_one_wins(place: Place) {
    let (store, shop) = place.shop().await;
    let other = place.open().await;
    let mut expected = Vec::new();
    for round in 0..10_u32 {
        let [a, b] = [round * 10, 1000 + round * 10].map(|n| work(u64::from(round), &shop, events(n..n + 3)));
        let (a, b) = tokio::join!(store.commit_work(a), other.commit_work(b));
        assert_ne!(a.is_ok(), b.is_ok(), "round {round}: {a:?} {b:?}");
        let first = i64::from(if a.is_ok() { round * 10 } else { 1000 + round * 10 });
        expected.extend(first..first + 3);
        let lost = if a.is_ok() { b } else { a };
        assert!(matches!(lost, Err(StoreError::Moved { .. })), "round {round}: {lost:?}");
    }
    assert_eq!(stored(&store, shop.number, 0).await, expected);
    assert_eq!(other.worker_offset().await.unwrap(), 10);
}

async fn state_is_sealed_at_its_place(place: Place) {
    let (store, shop) = place.shop().await;
    let mut first = work(0, &shop, Vec::new());
    first.projects[0].rows = vec![row(StateKind::Name, 1, "one"), row(StateKind::Name, 2, "two")];
    store.commit_work(first).await.unwrap();
    let mut next = work(1, &shop, Vec::new());
    next.projects[0].rows = vec![row(StateKind::Name, 2, "two again")];
    store.commit_work(next).await.unwrap();
    let rows = store.load_state(shop.number).await.unwrap();
    assert_eq!(rows, [row(StateKind::Name, 1, "one"), row(StateKind::Name, 2, "two again")]);
    let mut sql = place.behind("data").await;
    let swap = "UPDATE state SET body = (SELECT other.body FROM state other WHERE other.key = 1) WHERE key = 2";
    sqlx::query(swap).execute(&mut sql).await.unwrap();
    let rows = store.load_state(shop.number).await.unwrap();
    assert_eq!(rows, [row(StateKind::Name, 1, "one")], "a row moved to another key does not open");
    let report = store.verify(&convizit_store::backup::Progress::default()).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("state row 3/2")), "{:?}", report.problems);
}

async fn a_damaged_row_is_set_aside_and_told_and_a_decision_is_not(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), Default::default()).await.unwrap();
    let mut first = work(0, &shop, vec![event_at(NOON, 1, 2), event_at(NOON, 2, 2)]);
    first.projects[0].rows = vec![
        row(StateKind::Element, 1, "one"),
        row(StateKind::Element, 2, "two"),
        row(StateKind::Name, 2, "a name"),
        row(StateKind::Name, 3, "a name without an event"),
        row(StateKind::Decision, 1, "a decision"),
    ];
    store.commit_work(first).await.unwrap();
    let mut sql = place.behind("data").await;
    let spoil = "UPDATE state SET body = (SELECT other.body FROM state other WHERE other.kind = 1 AND other.key = 1) \
                 WHERE kind = 1 AND key = 2 OR kind = 3";
    sqlx::query(spoil).execute(&mut sql).await.unwrap();
    let learned = store.load_learned(shop.number).await.unwrap();
    assert_eq!(learned.rows, [row(StateKind::Element, 1, "one"), row(StateKind::Decision, 1, "a decision")]);
    let lost: Vec<(StateKind, u64)> = learned.lost.iter().map(|lost| (lost.kind, lost.key)).collect();
    assert_eq!(lost, [(StateKind::Element, 2), (StateKind::Name, 2), (StateKind::Name, 3)]);
    let newest: Vec<Option<&str>> =
        learned.lost.iter().map(|lost| lost.newest.as_ref().map(|event| event.name.as_str())).collect();
    assert_eq!(newest, [None, Some("Name 2"), None]);
    // As they were, for whoever wants to compare them.
    assert_eq!(place.number("SELECT COUNT(*) FROM state WHERE project = 1").await, 2);
    assert_eq!(place.number("SELECT COUNT(*) FROM damaged_state WHERE project = 1").await, 3);
    let aside = store.damaged_rows().await.unwrap();
    let named: Vec<(&str, &str)> = aside.iter().map(|row| (row.of, row.row.as_str())).collect();
    assert_eq!(named, [("controls", "1/2"), ("names", "3/2"), ("names", "3/3")]);
    assert_eq!(
        (&aside[0].project, aside[0].goes.as_str()),
        (&shop.id, "2027-01-23"),
        "60 days behind the day of the damage"
    );
    let told: Vec<_> = store.notices(false).await.unwrap();
    let mut subjects: Vec<&str> = told.iter().map(|notice| notice.subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["controls", "names"]);
    assert!(told.iter().all(|notice| notice.kind == NoticeKind::Damaged && notice.project.as_ref() == Some(&shop.id)));
    // A later look finds the same, and tells it once; what is known again is lost no longer.
    let mut next = work(1, &shop, Vec::new());
    next.projects[0].rows = vec![row(StateKind::Element, 2, "two again")];
    store.commit_work(next).await.unwrap();
    let learned = store.load_learned(shop.number).await.unwrap();
    assert_eq!(learned.lost.iter().map(|lost| lost.key).collect::<Vec<_>>(), [2, 3]);
    assert!(store.notices(false).await.unwrap().iter().all(|notice| notice.count == 1));
    assert!(store.load_learned(blog.number).await.unwrap().lost.is_empty());
    // Retention takes them as it would have taken what they were.
    for day in 1..=62 {
        place.pass_to(NOON + day * crate::engines::DAY).await;
        store.upkeep().await.unwrap();
    }
    assert_eq!(place.number("SELECT COUNT(*) FROM damaged_state").await, 0);
    // What people decided is never gone on without.
    sqlx::query("UPDATE state SET key = 7 WHERE kind = 6").execute(&mut sql).await.unwrap();
    assert!(matches!(store.load_learned(shop.number).await, Err(StoreError::Keys(_))));
}

async fn where_nothing_opens_no_row_is_set_aside(place: Place) {
    let (store, shop) = place.shop().await;
    let mut first = work(0, &shop, Vec::new());
    first.projects[0].rows = vec![row(StateKind::Name, 1, "one"), row(StateKind::Name, 2, "two")];
    store.commit_work(first).await.unwrap();
    let mut sql = place.behind("data").await;
    sqlx::query("UPDATE state SET key = key + 5").execute(&mut sql).await.unwrap();
    assert!(matches!(store.load_learned(shop.number).await, Err(StoreError::Keys(_))));
    assert!(store.load_state(shop.number).await.is_err());
    assert_eq!(place.number("SELECT COUNT(*) FROM state").await, 2);
    assert!(store.notices(false).await.unwrap().is_empty());
}
