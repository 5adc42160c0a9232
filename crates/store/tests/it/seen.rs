//! Repeats are recognised for as long as data is kept, whatever the browser's clock showed.

use std::collections::HashSet;

use convizit_model::{EventId, Project, ProjectSettings};
use convizit_store::Store;

use crate::engines::{DAY, NOON, Place, TODAY, event_at, id_at, on_both_engines, work};

on_both_engines!(
    a_repeat_is_found_over_days,
    an_id_from_the_future_is_found_for_ever,
    an_id_belongs_to_its_project,
    retention_drops_whole_days,
);

async fn seen(store: &Store, project: &Project, ids: &[EventId]) -> HashSet<EventId> {
    store.seen(project.number, ids).await.unwrap()
}

/// Stores events made at `made` and received on `day`.
async fn receive(store: &Store, project: &Project, from: u64, made: &[i64], day: i64) -> Vec<EventId> {
    let events = made.iter().zip(0..).map(|(&millis, n)| {
        let mut event = event_at(millis, n + u32::try_from(from * 1000).unwrap(), 1);
        (event.day, event.hour) = (day, day * 24);
        event
    });
    let events: Vec<_> = events.collect();
    let ids = events.iter().map(|event| event.id).collect();
    store.commit_work(work(from, project, events)).await.unwrap();
    ids
}

async fn a_repeat_is_found_over_days(place: Place) {
    let (store, shop) = place.shop().await;
    let mut ids = Vec::new();
    for day in 0..6 {
        // 130 of the day, some that waited for a network for days, and some of a clock that is nearly a day ahead.
        let today = NOON + day * DAY;
        let made: Vec<i64> =
            (0..130).map(|n| today + n).chain([today - 3 * DAY, today - 40 * DAY, today + DAY, 1]).collect();
        ids.extend(receive(&store, &shop, day as u64, &made, TODAY + day).await);
    }
    let unknown: Vec<EventId> = (0..6).map(|day| id_at(NOON + day * DAY, 999_999)).collect();
    let asked: Vec<EventId> = ids.iter().chain(&unknown).copied().collect();
    assert_eq!(seen(&store, &shop, &asked).await, ids.iter().copied().collect());
    for id in &ids {
        assert_eq!(seen(&store, &shop, &[*id]).await.len(), 1, "{id} alone");
    }
    assert_eq!(seen(&store, &shop, &[]).await, HashSet::new());
    assert_eq!(seen(&store, &shop, &unknown).await, HashSet::new());
}

async fn an_id_from_the_future_is_found_for_ever(place: Place) {
    let (store, shop) = place.shop().await;
    let made: Vec<i64> = [2, 3, 30, 36_500].iter().map(|days| NOON + days * DAY).collect();
    let ids = receive(&store, &shop, 0, &made, TODAY).await;
    for days in [0, 2, 29, 31, 59] {
        // A table of each later day is there as well.
        receive(&store, &shop, store.worker_offset().await.unwrap(), &[NOON + days * DAY], TODAY + days).await;
        assert_eq!(seen(&store, &shop, &ids).await.len(), 4, "after {days} days");
    }
    place.pass_to(NOON + 60 * DAY).await;
    store.upkeep().await.unwrap();
    assert_eq!(seen(&store, &shop, &ids).await.len(), 4);
}

async fn an_id_belongs_to_its_project(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    let ids = receive(&store, &shop, 0, &[NOON, NOON + 1], TODAY).await;
    assert_eq!(seen(&store, &blog, &ids).await, HashSet::new());
    assert_eq!(seen(&store, &shop, &ids).await.len(), 2);
}

async fn retention_drops_whole_days(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = ProjectSettings { retention_days: 10, ..ProjectSettings::default() };
    store.create_project(&"blog".parse().unwrap(), blog.clone()).await.unwrap();
    store.save_settings(&shop.id, ProjectSettings { retention_days: 5, ..blog }).await.unwrap();
    let mut ids = Vec::new();
    for day in 0..4 {
        ids.extend(receive(&store, &shop, day as u64, &[NOON + day * DAY], TODAY + day).await);
    }
    let tables = async || place.number("SELECT COUNT(*) FROM seen_days").await;
    place.pass_to(NOON + 10 * DAY).await;
    store.upkeep().await.unwrap();
    assert_eq!(tables().await, 4, "the longest retention of all projects counts");
    assert_eq!(seen(&store, &shop, &ids).await.len(), 4);
    place.pass_to(NOON + 12 * DAY).await;
    store.upkeep().await.unwrap();
    assert_eq!(tables().await, 2);
    assert_eq!(seen(&store, &shop, &ids).await, ids[2..].iter().copied().collect());
    let gone = sqlx::query("SELECT id FROM seen_20780").fetch_all(&mut place.behind("data").await).await;
    assert!(gone.is_err(), "the day's table is dropped");
}
