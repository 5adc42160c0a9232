//! Upkeep: only what is old goes, in steps; what was counted is saved; of a removed project nothing stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use convizit_model::outcome::{Filter, Refusal};
use convizit_model::{
    Destination, DestinationKind, NoticeKind, NoticeState, Outcome, Person, Project, ProjectSettings, Quarantined,
    StateKind, StateRow, Timestamp,
};
use convizit_store::Store;

use crate::engines::{DAY, NOON, Place, TODAY, event_at, events, on_both_engines, stored, within, work};

on_both_engines!(
    retention_drops_only_what_is_old,
    what_a_shorter_retention_takes_is_counted_before_it_goes,
    a_projects_numbers_are_of_one_moment,
    rare_rows_go_with_the_events_of_their_time,
    the_newest_twenty_samples_stay,
    sessions_end_with_their_day,
    old_rows_go_in_steps,
    counters_are_saved_each_second,
    counters_that_cannot_be_saved_are_not_lost,
    of_a_removed_project_nothing_stays,
    two_processes_keep_up_beside_each_other,
    whoever_reads_for_long_holds_up_no_writer,
);

async fn next(store: &Store) -> u64 {
    store.worker_offset().await.unwrap()
}

async fn retention_drops_only_what_is_old(place: Place) {
    let (store, shop) = place.shop().await;
    let week = ProjectSettings { retention_days: 7, ..ProjectSettings::default() };
    let blog = store.create_project(&"blog".parse().unwrap(), week).await.unwrap();
    for day in 0..10_u32 {
        for project in [&shop, &blog] {
            let made = NOON + i64::from(day) * DAY;
            let events = (0..3).map(|n| event_at(made, day * 10 + n, u64::from(day))).collect();
            store.commit_work(work(next(&store).await, project, events)).await.unwrap();
        }
    }
    let on_day = |from: i64| (from..10).flat_map(|day| day * 10..day * 10 + 3).collect::<Vec<_>>();
    place.pass_to(NOON + 9 * DAY).await;
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, on_day(0), "60 days by default");
    assert_eq!(stored(&store, blog.number, 0).await, on_day(2), "7 days before today, and today");
    assert_eq!(store.last_event(blog.number).await.unwrap(), 30, "numbers go on");
    assert_eq!(place.number("SELECT COUNT(*) FROM counts WHERE project = 2").await, 8);
    assert_eq!(place.number("SELECT COUNT(*) FROM counts WHERE project = 1").await, 10);
    for (project, kept) in [(&shop, 30), (&blog, 24)] {
        let by_name = store.events_by_name(project.number).await.unwrap();
        assert_eq!(
            (by_name.len(), by_name.values().sum::<i64>()),
            (kept / 3, kept as i64),
            "sums lose what is dropped"
        );
        let by_hour = store.events_by_hour_from(project.number, 0).await.unwrap();
        assert_eq!((by_hour.len(), by_hour.values().sum::<i64>()), (kept / 3, kept as i64));
    }
    assert_eq!(store.events_of_name(blog.number, 1).await.unwrap(), 0);
    assert_eq!(store.events_of_name(blog.number, 9).await.unwrap(), 3);
    assert_eq!(store.samples(blog.number, 1).await.unwrap(), []);
    assert_eq!(store.samples(blog.number, 9).await.unwrap().len(), 3);
    place.pass_to(NOON + 100 * DAY).await;
    store.upkeep().await.unwrap();
    for table in ["SELECT COUNT(*) FROM frames", "SELECT COUNT(*) FROM counts", "SELECT COUNT(*) FROM totals"] {
        assert_eq!(place.number(table).await, 0, "{table}");
    }
    store.commit_work(work(next(&store).await, &blog, vec![event_at(NOON + 100 * DAY, 500, 1)])).await.unwrap();
    assert_eq!(store.events_after(blog.number, 0, 9, usize::MAX).await.unwrap()[0].number, 31);
}

async fn a_projects_numbers_are_of_one_moment(place: Place) {
    let (store, shop) = place.shop().await;
    assert_eq!(store.counted(shop.number, 0).await.unwrap(), convizit_store::Counted::default());
    for day in 0..3_u32 {
        let made = NOON + i64::from(day) * DAY;
        let events = (0..4).map(|n| event_at(made, day * 10 + n, u64::from(n))).collect();
        store.commit_work(work(next(&store).await, &shop, events)).await.unwrap();
    }
    let counted = store.counted(shop.number, (TODAY + 1) * 24).await.unwrap();
    assert_eq!(counted.events, store.last_event(shop.number).await.unwrap());
    assert_eq!(counted.by_hour, store.events_by_hour_from(shop.number, (TODAY + 1) * 24).await.unwrap());
    assert_eq!((counted.by_hour.len(), counted.by_hour.values().sum::<i64>()), (2, 8));
    assert_eq!(counted.outcomes, store.outcomes(shop.number).await.unwrap());
    // Whatever is stored meanwhile, no number is newer than another: every event is of an hour.
    let (by, of) = (store.clone(), shop.clone());
    let writes = tokio::spawn(async move {
        for n in 100..140 {
            let events = vec![event_at(NOON + 2 * DAY, n, 1)];
            by.commit_work(work(next(&by).await, &of, events)).await.unwrap();
        }
    });
    while !writes.is_finished() {
        let counted = store.counted(shop.number, 0).await.unwrap();
        assert_eq!(counted.events, counted.by_hour.values().sum::<i64>());
    }
    writes.await.unwrap();
}

async fn what_a_shorter_retention_takes_is_counted_before_it_goes(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    // Nothing came on the third of these days.
    for day in [0_u32, 1, 3, 4] {
        let made = NOON + i64::from(day) * DAY;
        place.pass_to(made).await;
        let events = (0..=day).map(|n| event_at(made, day * 10 + n, u64::from(n))).collect();
        store.commit_work(work(next(&store).await, &shop, events)).await.unwrap();
    }
    let takes = async |days: u32| store.events_beyond(shop.number, days).await.unwrap();
    let beyond = takes(2).await;
    assert_eq!((beyond.events, beyond.days), (1 + 2, 2));
    assert_eq!(beyond.oldest.map(Timestamp::day), Some(TODAY));
    assert_eq!(beyond.kept_from.day(), TODAY + 2);
    assert_eq!((takes(3).await.events, takes(3).await.days), (1, 1));
    assert_eq!((takes(4).await.events, takes(4).await.oldest), (0, None));
    assert_eq!(takes(3_650).await.days, 0);
    assert_eq!(store.events_beyond(blog.number, 1).await.unwrap().events, 0);
    let short = ProjectSettings { retention_days: 2, ..shop.settings.clone() };
    store.save_settings(&shop.id, short).await.unwrap();
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await.len(), 4 + 5, "what was counted is gone, and no more");
    assert_eq!(takes(2).await.events, 0);
}

/// What a destination refused, what could not be processed, ids from ahead of their time, notices that are dealt with.
async fn rare_rows_go_with_the_events_of_their_time(place: Place) {
    let (store, shop) = place.shop().await;
    let week = ProjectSettings { retention_days: 7, ..ProjectSettings::default() };
    store.save_settings(&shop.id, week).await.unwrap();
    let mut ahead = event_at(NOON + 3 * DAY, 2, 1);
    (ahead.day, ahead.hour) = (TODAY, TODAY * 24);
    let mut first = work(0, &shop, vec![event_at(NOON, 1, 1), ahead]);
    first.projects[0].quarantined = vec![item("an id")];
    store.commit_work(first).await.unwrap();
    place.pass_to(NOON + 5 * DAY).await;
    let mut later = work(1, &shop, vec![event_at(NOON + 5 * DAY, 3, 1)]);
    later.projects[0].quarantined = vec![item("another id")];
    store.commit_work(later).await.unwrap();
    store.save_destination(&hook(&shop), None, true).await.unwrap();
    let letters = [1, 2, 3].map(|number| convizit_store::DeadLetter::new(number, "status 422"));
    store.advance(&shop.id, "hook", 0, 3, letters.to_vec()).await.unwrap();
    let notice = store.notices(false).await.unwrap().pop().unwrap();
    store.set_notice(notice.id, NoticeState::Resolved).await.unwrap();
    let left = async |day: i64| {
        place.pass_to(NOON + day * DAY).await;
        store.upkeep().await.unwrap();
        [
            place.number("SELECT COUNT(*) FROM dead_letters").await,
            place.number("SELECT COUNT(*) FROM quarantine").await,
            place.number("SELECT COUNT(*) FROM notices").await,
            place.number("SELECT COUNT(*) FROM seen_0").await,
        ]
    };
    assert_eq!(left(7).await, [3, 2, 2, 1]);
    assert_eq!(left(8).await, [1, 1, 1, 1]);
    assert_eq!(left(11).await, [1, 1, 1, 0]);
    assert_eq!(left(13).await, [0, 0, 1, 0], "an open notice stays");
}

async fn the_newest_twenty_samples_stay(place: Place) {
    let (store, shop) = place.shop().await;
    for n in 0..130_u32 {
        let events = vec![event_at(NOON, n * 2, 5), event_at(NOON, n * 2 + 1, 6 + u64::from(n % 2))];
        store.commit_work(work(next(&store).await, &shop, events)).await.unwrap();
    }
    // Eight of another hour, and of that one name only.
    let later = (0..8).map(|n| event_at(NOON + DAY / 24, 260 + n, 5)).collect();
    store.commit_work(work(next(&store).await, &shop, later)).await.unwrap();
    let found = async |name: u64| -> Vec<i64> {
        let samples = store.samples(shop.number, name).await.unwrap();
        samples.iter().map(|event| event.properties["n"].as_i64().unwrap()).collect()
    };
    let expected: Vec<i64> = (260..268).rev().chain((118..130).rev().map(|n| n * 2)).collect();
    assert_eq!(found(5).await, expected);
    assert_eq!(
        found(6).await,
        (110..130)
            .rev()
            .filter(|n| n % 2 == 0)
            .map(|n| n * 2 + 1)
            .chain((90..110).rev().filter(|n| n % 2 == 0).map(|n| n * 2 + 1))
            .collect::<Vec<_>>()
    );
    let longest = place.number("SELECT CAST(MAX(LENGTH(newest)) AS BIGINT) FROM counts").await;
    assert_eq!(longest, 20 * 12, "what is older is not kept");
}

fn session(key: u64, expires: i64) -> StateRow {
    StateRow { kind: StateKind::Session, key, expires_day: Some(expires), body: b"a session".to_vec() }
}

async fn sessions_end_with_their_day(place: Place) {
    let (store, shop) = place.shop().await;
    let mut first = work(0, &shop, Vec::new());
    let element = StateRow { kind: StateKind::Element, key: 1, expires_day: None, body: b"an element".to_vec() };
    first.projects[0].rows = vec![session(1, TODAY - 1), session(2, TODAY), session(3, TODAY + 1), element.clone()];
    store.commit_work(first).await.unwrap();
    store.upkeep().await.unwrap();
    let left = store.load_sessions(shop.number, &[1, 2, 3]).await.unwrap();
    assert_eq!(left, [session(2, TODAY), session(3, TODAY + 1)]);
    place.pass_to(NOON + 4000 * DAY).await;
    store.upkeep().await.unwrap();
    assert_eq!(store.load_sessions(shop.number, &[1, 2, 3]).await.unwrap(), []);
    assert_eq!(store.load_state(shop.number).await.unwrap(), [element], "an element stays");
}

/// Counts rows while `upkeep` runs, and whether values between all and none were seen, as one step after the other shows.
async fn watched(place: &Place, store: &Store, count: &'static str) -> bool {
    let done = Arc::new(AtomicBool::new(false));
    let mut sql = place.behind("data").await;
    let watch = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut values = vec![];
            loop {
                let last = done.load(Ordering::Acquire);
                let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut sql).await.unwrap();
                values.push(rows);
                if last {
                    values.dedup();
                    return values;
                }
            }
        }
    });
    store.upkeep().await.unwrap();
    done.store(true, Ordering::Release);
    let values = watch.await.unwrap();
    assert_eq!(values.last(), Some(&0), "{count}");
    let largest = values.windows(2).map(|pair| pair[0] - pair[1]).max().unwrap_or(0);
    println!("{count}: {} values seen, {largest} rows in the largest step", values.len());
    values.len() > 4
}

/// On a busy machine whoever watches may sleep through it all: what goes in steps is seen to do so one time of five.
async fn goes_in_steps(place: &Place, store: &Store, (fill, count): (&[&'static str], &'static str)) {
    let mut sql = place.behind("data").await;
    for _ in 0..5 {
        for fill in fill {
            sqlx::raw_sql(*fill).execute(&mut sql).await.unwrap();
        }
        if watched(place, store, count).await {
            return;
        }
    }
    panic!("{count} went in one step, five times");
}

async fn old_rows_go_in_steps(place: Place) {
    let (store, _) = place.shop().await;
    // As many rows as a busy site leaves behind: its sessions end at one midnight, its counts with one hour.
    let fill = [
        "INSERT INTO state (project, kind, key, expires, body) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) \
         SELECT 1, 5, i, 20000, CAST('x' AS BYTEA) FROM n",
        "INSERT INTO counts (project, name, hour, events, newest) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) \
         SELECT 1, i, 100, 1, '000000000001' FROM n",
        "INSERT INTO progress (project, last_number) VALUES (1, 6000) ON CONFLICT (project) DO NOTHING",
        "INSERT INTO frames (project, first, last, day, ledger, filter, body) VALUES (1, 1, 6000, 4, 0, CAST('' AS BYTEA), CAST('x' AS BYTEA))",
    ];
    goes_in_steps(&place, &store, (&fill, "SELECT COUNT(*) FROM state")).await;
    assert_eq!(place.number("SELECT COUNT(*) FROM counts").await, 0);
}

fn saved(outcomes: &[(String, u64)], word: &str) -> u64 {
    outcomes.iter().find(|(outcome, _)| outcome == word).map_or(0, |(_, items)| *items)
}

async fn counters_are_saved_each_second(place: Place) {
    let (store, shop) = place.shop().await;
    let other = place.open().await;
    store.count(shop.number, Outcome::Filtered(Filter::Bot), 3);
    store.count(shop.number, Outcome::Filtered(Filter::Bot), 4);
    other.count(shop.number, Outcome::Filtered(Filter::Bot), 10);
    store.count(shop.number, Outcome::Refused(Refusal::TooLarge), 0);
    let both = async || saved(&other.outcomes(shop.number).await.unwrap(), "filtered.bot") == 17;
    within(Duration::from_millis(1300), "what two processes counted", both).await;
    store.count(shop.number, Outcome::Withheld, 5);
    store.close().await;
    let outcomes = other.outcomes(shop.number).await.unwrap();
    assert_eq!(saved(&outcomes, "withheld"), 5, "a stop saves what was counted since");
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
}

async fn counters_that_cannot_be_saved_are_not_lost(place: Place) {
    let (store, shop) = place.shop().await;
    let mut sql = place.behind("data").await;
    sqlx::raw_sql("ALTER TABLE outcomes RENAME TO elsewhere").execute(&mut sql).await.unwrap();
    store.count(shop.number, Outcome::Dropped, 7);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    store.count(shop.number, Outcome::Dropped, 1);
    sqlx::raw_sql("ALTER TABLE elsewhere RENAME TO outcomes").execute(&mut sql).await.unwrap();
    within(Duration::from_secs(3), "the counters", async || {
        saved(&store.outcomes(shop.number).await.unwrap(), "dropped") == 8
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(saved(&store.outcomes(shop.number).await.unwrap(), "dropped"), 8, "saved once");
}

/// A project with a row in every table.
fn item(subject: &str) -> Quarantined {
    Quarantined { notice: NoticeKind::Quarantined, subject: subject.to_owned(), body: b"an item".to_vec() }
}

fn hook(project: &Project) -> Destination {
    Destination {
        project: project.id.clone(),
        name: "hook".to_owned(),
        enabled: true,
        paused: None,
        processor: Some(convizit_model::Processor::own()),
        shaping: Default::default(),
        types: Vec::new(),
        kind: DestinationKind::Webhook { url: "https://hooks.example/".to_owned() },
    }
}

async fn fill(store: &Store, name: &str) -> Project {
    let project = store.create_project(&name.parse().unwrap(), ProjectSettings::default()).await.unwrap();
    store.save_destination(&hook(&project), Some("whsec_x"), true).await.unwrap();
    let mut all = work(next(store).await, &project, events(0..600));
    let share = &mut all.projects[0];
    share.rows = (0..900).map(|key| session(key, TODAY)).collect();
    share.outcomes = vec![(Outcome::Accepted, 600)];
    share.quarantined = vec![item("an id")];
    store.commit_work(all).await.unwrap();
    let letter = convizit_store::DeadLetter::new(1, "status 422");
    store.advance(&project.id, "hook", 0, 1, vec![letter]).await.unwrap();
    project
}

async fn of_a_removed_project_nothing_stays(place: Place) {
    let (store, idle) = place.shop().await;
    let blog = fill(&store, "blog").await;
    let kept = fill(&store, "kept").await;
    // Of a project without an event there are counters and a cursor.
    store.count(idle.number, Outcome::Filtered(Filter::Bot), 3);
    // Number 0 is of records that name no project.
    store.count(0, Outcome::Refused(Refusal::Internal), 1);
    let hook = store.destinations(Some(&blog.id)).await.unwrap().remove(0).destination;
    store.save_destination(&Destination { project: idle.id.clone(), ..hook }, None, true).await.unwrap();
    within(Duration::from_secs(3), "counters", async || !store.outcomes(idle.number).await.unwrap().is_empty()).await;
    store.remove_project(&blog.id).await.unwrap();
    store.remove_project(&idle.id).await.unwrap();
    let mut sql = place.behind("data").await;
    let tables =
        ["frames", "state", "counts", "outcomes", "quarantine", "cursors", "dead_letters", "progress", "totals"];
    let rows = async |sql: &mut sqlx::AnyConnection, number: i64| {
        let mut rows = Vec::new();
        for table in tables {
            let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE project = $1"));
            rows.push(sqlx::query_scalar::<_, i64>(count).bind(number).fetch_one(&mut *sql).await.unwrap());
        }
        rows
    };
    let before = rows(&mut sql, kept.number).await;
    assert_eq!(before, [1, 900, 1, 1, 1, 1, 1, 1, 2]);
    store.upkeep().await.unwrap();
    assert_eq!(rows(&mut sql, blog.number).await, [0; 9]);
    assert_eq!(rows(&mut sql, idle.number).await, [0; 9]);
    assert_eq!(rows(&mut sql, kept.number).await, before);
    assert_eq!(saved(&store.outcomes(0).await.unwrap(), "refused.internal"), 1);
    let control = &mut place.behind("control").await;
    let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM destinations").fetch_one(control).await.unwrap();
    assert_eq!(left, 1);
}

async fn two_processes_keep_up_beside_each_other(place: Place) {
    let (store, shop) = place.shop().await;
    let other = place.open().await;
    for n in 0..120 {
        store.commit_work(work(n, &shop, events(n as u32 * 9..n as u32 * 9 + 9))).await.unwrap();
    }
    place.clock.set(NOON + DAY);
    let (a, b) = tokio::join!(store.upkeep(), other.upkeep());
    a.unwrap();
    b.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, (0..1080).collect::<Vec<_>>());
    store.upkeep().await.unwrap();
    assert_eq!(place.number("SELECT COUNT(*) FROM frames").await, 2);
}

/// As a backup does, which reads the rows of one moment for minutes.
async fn whoever_reads_for_long_holds_up_no_writer(place: Place) {
    let (store, shop) = place.shop().await;
    store.commit_work(work(0, &shop, events(0..50))).await.unwrap();
    let mut reader = place.behind("data").await;
    sqlx::raw_sql("BEGIN").execute(&mut reader).await.unwrap();
    let frames: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM frames").fetch_one(&mut reader).await.unwrap();
    assert_eq!(frames, 1);
    store.erase(&shop, &[Person::Visitor("v".to_owned())]).await.unwrap();
    let keeping = tokio::spawn({
        let store = store.clone();
        async move { store.upkeep().await }
    });
    let mut longest = Duration::ZERO;
    while !keeping.is_finished() {
        let begun = Instant::now();
        store.raise(NoticeKind::Drift, Some(&shop.id), "meanwhile", "a write").await.unwrap();
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    keeping.await.unwrap().unwrap();
    assert!(longest < Duration::from_secs(3), "a write waited for {longest:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.unwrap();
    store.upkeep().await.unwrap();
    assert_eq!(place.number("SELECT COUNT(*) FROM frames").await, 0);
}
