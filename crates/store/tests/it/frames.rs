//! Frames: events in order, merged without being seen double or missing, and nothing of a changed byte is believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convizit_model::{NewEvent, Project};
use convizit_store::{Store, StoreError};
use sqlx::Row as _;

use crate::engines::{DAY, NOON, Place, TODAY, event_at, events, on_both_engines, stored, within, work};

on_both_engines!(
    events_come_in_order_and_in_bounds,
    erased_numbers_are_skipped,
    small_frames_are_merged_until_they_are_full_or_the_day_ends,
    a_frame_that_fits_nowhere_holds_no_other_up,
    a_damaged_key_of_a_day_holds_no_other_up,
    a_merge_is_never_seen_half,
    a_changed_byte_is_found,
    large_events_can_be_read_again,
    a_reader_waits_for_the_next_event,
);

const FRAMES: &str = "SELECT COUNT(*) FROM frames";

/// Commits events in stretches of these sizes.
async fn commit(store: &Store, project: &Project, sizes: &[u32]) {
    let mut first = u32::try_from(store.last_event(project.number).await.unwrap()).unwrap();
    for size in sizes {
        let from = store.worker_offset().await.unwrap();
        store.commit_work(work(from, project, events(first..first + size))).await.unwrap();
        first += size;
    }
}

async fn events_come_in_order_and_in_bounds(place: Place) {
    let (store, shop) = place.shop().await;
    commit(&store, &shop, &[1, 700, 2500, 3, 90]).await;
    assert_eq!(stored(&store, shop.number, 0).await, (0..3294).collect::<Vec<_>>());
    for (after, max, expected) in [(0, 5, 0..5), (700, 3, 700..703), (3290, 100, 3290..3294), (3294, 100, 0..0)] {
        let events = store.events_after(shop.number, after, max, usize::MAX).await.unwrap();
        let numbers: Vec<i64> = events.iter().map(|event| event.number).collect();
        assert_eq!(numbers, expected.map(|n| n + 1).collect::<Vec<_>>(), "after {after}");
    }
    let size = store.events_after(shop.number, 0, 1, usize::MAX).await.unwrap()[0].json.len();
    assert_eq!(store.events_after(shop.number, 0, 10, 0).await.unwrap().len(), 1, "one at least");
    let some = store.events_after(shop.number, 0, 1000, size * 10).await.unwrap().len();
    assert!((8..=10).contains(&some), "{some}");
    assert!(store.events_after(shop.number + 1, 0, 10, usize::MAX).await.unwrap().is_empty());
}

async fn erased_numbers_are_skipped(place: Place) {
    let (store, shop) = place.shop().await;
    commit(&store, &shop, &[10, 10, 10, 10]).await;
    let mut sql = place.behind("data").await;
    sqlx::query("DELETE FROM frames WHERE first IN (1, 21)").execute(&mut sql).await.unwrap();
    let expected: Vec<i64> = (10..20).chain(30..40).collect();
    assert_eq!(stored(&store, shop.number, 0).await, expected);
    assert_eq!(stored(&store, shop.number, 20).await, (30..40).collect::<Vec<_>>(), "from inside the gap");
    place.clock.set(NOON + DAY);
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, expected, "a merge keeps to each side of a gap");
    assert_eq!(stored(&store, shop.number, 30).await, (30..40).collect::<Vec<_>>(), "under the numbers that they had");
    assert_eq!(store.last_event(shop.number).await.unwrap(), 40);
}

async fn small_frames_are_merged_until_they_are_full_or_the_day_ends(place: Place) {
    let (store, shop) = place.shop().await;
    commit(&store, &shop, &[1; 7]).await;
    store.upkeep().await.unwrap();
    assert_eq!(place.number(FRAMES).await, 7, "too few to be worth it while more may come");
    commit(&store, &shop, &[150; 15]).await;
    store.upkeep().await.unwrap();
    let sizes = place.number("SELECT MAX(last - first + 1) FROM frames").await;
    assert!((800..=1000).contains(&sizes), "the largest frame has {sizes} events");
    assert_eq!(place.number(FRAMES).await, 2 + 3, "two as full as they get; three of one size wait for more");
    assert_eq!(stored(&store, shop.number, 0).await, (0..2257).collect::<Vec<_>>());
    place.clock.set(NOON + DAY);
    let tomorrow: Vec<NewEvent> = (5000..5003).map(|n| event_at(NOON + DAY, n, 1)).collect();
    for event in tomorrow {
        let from = store.worker_offset().await.unwrap();
        store.commit_work(work(from, &shop, vec![event])).await.unwrap();
    }
    store.upkeep().await.unwrap();
    let yesterday = place.number("SELECT COUNT(*) FROM frames WHERE day = 20780").await;
    assert_eq!(yesterday, 3, "2257 events of a day that is over");
    assert_eq!(place.number("SELECT COUNT(*) FROM frames WHERE day = 20781").await, 3, "of two days are not one frame");
    assert_eq!(stored(&store, shop.number, 0).await, (0..2257).chain(5000..5003).collect::<Vec<_>>());
    assert_eq!(store.samples(shop.number, 1).await.unwrap().len(), 20, "samples are found in merged frames");
}

async fn a_frame_that_fits_nowhere_holds_no_other_up(place: Place) {
    let (store, shop) = place.shop().await;
    // What a burst leaves: small rests between full frames. Then single events.
    commit(&store, &shop, &[1300, 1300, 1300]).await;
    commit(&store, &shop, &[1; 40]).await;
    store.upkeep().await.unwrap();
    let frames = place.number(FRAMES).await;
    assert!(frames <= 6 + 7, "{frames} frames of 3 bursts and 40 events");
    assert_eq!(stored(&store, shop.number, 0).await, (0..3940).collect::<Vec<_>>());
    // Days on which nothing fits must not hold up others either.
    let mut first = 4000;
    for day in 1..20_i64 {
        for size in [900, 600, 900, 600] {
            let events = (first..first + size).map(|n| event_at(NOON + day * DAY, n, 1)).collect();
            first += size;
            store.commit_work(work(store.worker_offset().await.unwrap(), &shop, events)).await.unwrap();
        }
    }
    for n in 100_000..100_010 {
        let from = store.worker_offset().await.unwrap();
        store.commit_work(work(from, &shop, vec![event_at(NOON + 20 * DAY, n, 1)])).await.unwrap();
    }
    place.clock.set(NOON + 21 * DAY);
    store.upkeep().await.unwrap();
    assert_eq!(place.number("SELECT COUNT(*) FROM frames WHERE day = 20800").await, 1);
}

async fn a_damaged_key_of_a_day_holds_no_other_up(place: Place) {
    let (store, shop) = place.shop().await;
    let mut n = 0;
    for day in 0..3_i64 {
        place.clock.set(NOON + day * DAY);
        for _ in 0..4 {
            let from = store.worker_offset().await.unwrap();
            store.commit_work(work(from, &shop, vec![event_at(NOON + day * DAY, n, 1)])).await.unwrap();
            n += 1;
        }
    }
    store.close().await;
    drop(store);
    let mut control = place.behind("control").await;
    for day in [TODAY, TODAY + 1] {
        let find = "SELECT wrapped FROM keys WHERE kind = 'day' AND number = $1";
        let mut wrapped: Vec<u8> = sqlx::query_scalar(find).bind(day).fetch_one(&mut control).await.unwrap();
        *wrapped.last_mut().unwrap() ^= 1;
        let spoil = "UPDATE keys SET wrapped = $1 WHERE kind = 'day' AND number = $2";
        sqlx::query(spoil).bind(wrapped).bind(day).execute(&mut control).await.unwrap();
    }
    place.clock.set(NOON + 3 * DAY);
    let store = place.open_accepting().await;
    let error = store.upkeep().await.unwrap_err().to_string();
    assert!(error.contains("cannot be opened"), "{error}");
    let mut data = place.behind("data").await;
    let mut frames = Vec::new();
    for day in [TODAY, TODAY + 1, TODAY + 2] {
        let count = "SELECT COUNT(*) FROM frames WHERE day = $1";
        frames.push(sqlx::query_scalar::<_, i64>(count).bind(day).fetch_one(&mut data).await.unwrap());
    }
    assert_eq!(frames, [4, 4, 1], "of the days whose keys open not, and of the one that is whole");
}

async fn a_merge_is_never_seen_half(place: Place) {
    let (store, shop) = place.shop().await;
    let merged = Arc::new(AtomicBool::new(false));
    commit(&store, &shop, &[11; 200]).await;
    let readers: Vec<_> = (0..3)
        .map(|n| {
            let (store, merged, number) = (store.clone(), Arc::clone(&merged), shop.number);
            tokio::spawn(async move {
                let mut reads = 0;
                while !merged.load(Ordering::Acquire) || reads == 0 {
                    let after = n * 700;
                    let expected: Vec<i64> = (after..2200).collect();
                    assert_eq!(stored(&store, number, after).await, expected);
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    place.clock.set(NOON + DAY);
    store.upkeep().await.unwrap();
    merged.store(true, Ordering::Release);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert_eq!(place.number(FRAMES).await, 3);
}

async fn a_changed_byte_is_found(place: Place) {
    let (store, shop) = place.shop().await;
    commit(&store, &shop, &[5, 5, 5]).await;
    let mut sql = place.behind("data").await;
    let body: Vec<u8> =
        sqlx::query("SELECT body FROM frames WHERE first = 6").fetch_one(&mut sql).await.unwrap().try_get(0).unwrap();
    let mut put = async |body: Vec<u8>| {
        sqlx::query("UPDATE frames SET body = $1 WHERE first = 6").bind(body).execute(&mut sql).await.unwrap();
    };
    for at in (0..body.len()).step_by(29).chain([body.len() - 1]) {
        let mut changed = body.clone();
        changed[at] ^= 1;
        put(changed).await;
        let error = store.events_after(shop.number, 5, 100, usize::MAX).await.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { first: 6, .. }), "byte {at}: {error}");
        assert!(error.to_string().starts_with("events 6 to 10 of project shop cannot be read ("), "{error}");
    }
    let first: Vec<u8> = sqlx::query("SELECT body FROM frames WHERE first = 1")
        .fetch_one(&mut place.behind("data").await)
        .await
        .unwrap()
        .try_get(0)
        .unwrap();
    put(first).await;
    let error = store.events_after(shop.number, 5, 100, usize::MAX).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "another frame's body opened: {error}");
    put(body).await;
    assert_eq!(stored(&store, shop.number, 0).await.len(), 15);
}

/// The page's product goes into every event of its batch, so small batches can make large events.
async fn large_events_can_be_read_again(place: Place) {
    let (store, shop) = place.shop().await;
    for from in 0..2 {
        let large = |mut event: NewEvent| {
            event.json.pop();
            event.json.extend(format!(", \"large\": \"{}\"}}", "0123456789".repeat(6_000)).bytes());
            event
        };
        let first = u32::try_from(from * 400).unwrap();
        let events = events(first..first + 400).into_iter().map(large).collect();
        store.commit_work(work(from, &shop, events)).await.unwrap();
    }
    assert_eq!(stored(&store, shop.number, 0).await, (0..800).collect::<Vec<_>>());
    place.clock.set(NOON + DAY);
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, (0..800).collect::<Vec<_>>());
}

async fn a_reader_waits_for_the_next_event(place: Place) {
    let (store, shop) = place.shop().await;
    let other = place.open().await;
    let waiting = |store: &Store, after| {
        let (store, number) = (store.clone(), shop.number);
        tokio::spawn(async move { store.wait_for_event(number, after).await })
    };
    let (here, there, later) = (waiting(&store, 0), waiting(&other, 0), waiting(&store, 3));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!here.is_finished() && !there.is_finished());
    commit(&store, &shop, &[3]).await;
    within(Duration::from_millis(300), "an event of this process", async || here.is_finished()).await;
    within(Duration::from_millis(1300), "an event of another process", async || there.is_finished()).await;
    assert!(!later.is_finished());
    commit(&store, &shop, &[1]).await;
    within(Duration::from_millis(300), "the next event", async || later.is_finished()).await;
}
