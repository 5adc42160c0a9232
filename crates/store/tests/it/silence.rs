//! A name that falls silent is found before twenty of its events are missing, and what merely pauses is not.

use convizit_model::NewEvent;
use convizit_store::{SilentName, Store};

use crate::engines::{NOON, Place, event_at, on_both_engines, work};

on_both_engines!(
    a_name_that_stops_is_silent_before_twenty_events_are_missing,
    a_busy_name_is_known_to_be_silent_in_its_first_hour,
    what_comes_at_certain_times_only_pauses
);

const HOUR: i64 = 3_600_000;

/// Stores events of these names, in this order, received at a time.
async fn store_events(place: &Place, store: &Store, shop: &convizit_model::Project, time: i64, names: &[u64]) {
    place.clock.set(time);
    let first = store.last_event(shop.number).await.unwrap();
    let events: Vec<NewEvent> =
        (first + 1..).zip(names).map(|(number, name)| event_at(time, u32::try_from(number).unwrap(), *name)).collect();
    let from = store.worker_offset().await.unwrap();
    store.commit_work(work(from, shop, events)).await.unwrap();
}

async fn silent(store: &Store, shop: &convizit_model::Project) -> Vec<SilentName> {
    let mut expected = store.expect_names(shop.number).await.unwrap();
    store.silent_names(shop.number, &mut expected).await.unwrap()
}

async fn a_name_that_stops_is_silent_before_twenty_events_are_missing(place: Place) {
    let (store, shop) = place.shop().await;
    // One in ten is of the first name, one in a hundred of the third.
    let steady: Vec<u64> = (0..1_000).map(|n| if n % 10 == 0 { 1 } else { 2 + u64::from(n % 100 == 5) }).collect();
    for hour in 0..6 {
        store_events(&place, &store, &shop, NOON + hour * HOUR, &steady).await;
    }
    assert_eq!(silent(&store, &shop).await, []);
    let others = [2_u64; 10];
    let mut told = None;
    let mut learned_once = store.expect_names(shop.number).await.unwrap();
    for ten in 0..25 {
        store_events(&place, &store, &shop, NOON + 6 * HOUR, &others).await;
        let silent = self::silent(&store, &shop).await;
        assert_eq!(store.silent_names(shop.number, &mut learned_once).await.unwrap(), silent);
        if silent.iter().any(|one| one.name == 1) && told.is_none() {
            told = Some((ten, silent[0]));
        }
        assert!(silent.iter().all(|one| one.name == 1), "of the third name two or three are missing: {silent:?}");
    }
    let (after, first) = told.unwrap();
    assert!((14..19).contains(&after), "one in ten was expected: {after}");
    assert!((16..20).contains(&first.missing), "{first:?}");
    // Its next event ends the silence.
    store_events(&place, &store, &shop, NOON + 6 * HOUR, &[1]).await;
    assert_eq!(silent(&store, &shop).await, Vec::<SilentName>::new());
    assert_eq!(store.silent_names(shop.number, &mut learned_once).await.unwrap(), Vec::<SilentName>::new());
}

async fn a_busy_name_is_known_to_be_silent_in_its_first_hour(place: Place) {
    let (store, shop) = place.shop().await;
    // Two hundred of the first name, and forty of the third, which may be one person's.
    let busy: Vec<u64> = (0..1_000).map(|n| if n % 5 == 0 { 1 } else { 2 + u64::from(n % 25 == 1) }).collect();
    store_events(&place, &store, &shop, NOON, &busy).await;
    store_events(&place, &store, &shop, NOON + HOUR / 2, &[2_u64; 70]).await;
    assert_eq!(silent(&store, &shop).await, []);
    store_events(&place, &store, &shop, NOON + HOUR / 2, &[2_u64; 25]).await;
    assert_eq!(silent(&store, &shop).await.iter().map(|one| one.name).collect::<Vec<_>>(), [1]);
    store_events(&place, &store, &shop, NOON + HOUR / 2, &[2_u64; 1_000]).await;
    assert_eq!(silent(&store, &shop).await.iter().map(|one| one.name).collect::<Vec<_>>(), [1]);
}

async fn what_comes_at_certain_times_only_pauses(place: Place) {
    let (store, shop) = place.shop().await;
    let other = [2_u64; 100];
    let noon: Vec<u64> = (0..100).map(|n| 1 + n % 2).collect();
    for hour in 0..3 * 24 {
        let names: &[u64] = if hour % 24 == 0 { &noon } else { &other };
        store_events(&place, &store, &shop, NOON + hour * HOUR, names).await;
        let silent = self::silent(&store, &shop).await;
        // The first day nobody knows that it comes at noon alone.
        assert!(hour < 24 || silent.is_empty(), "{hour}: {silent:?}");
    }
    for hour in 3 * 24..4 * 24 + 18 {
        store_events(&place, &store, &shop, NOON + hour * HOUR, &other).await;
    }
    assert_eq!(silent(&store, &shop).await.len(), 1, "a noon without any is a silence");
}
