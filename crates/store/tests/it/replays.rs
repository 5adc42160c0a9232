//! Sending again: which dead letters and which range, how far it is, and that the cursor stays where it was.

use convizit_model::{Destination, EventType, NoticeKind, Timestamp};
use convizit_store::{DeadLetter, Delivered, FoundEvents, ReplayState, Resent, StoreError};

use crate::destinations::hook;
use crate::engines::{DAY, NOON, Place, event_at, on_both_engines, work};
use crate::erasure::{of, visitor};

on_both_engines!(
    dead_letters_are_sent_again_or_given_up,
    a_replay_is_of_a_range_up_to_the_cursor,
    what_was_erased_is_not_sent_again,
    what_cannot_be_read_holds_up_nothing_else,
    of_two_changes_the_second_sees_the_first,
    how_delivery_went_is_kept_for_a_while_and_sealed,
);

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn numbers(found: &FoundEvents) -> Vec<i64> {
    found.events.iter().map(|event| event.number).collect()
}

async fn dead_letters_are_sent_again_or_given_up(place: Place) {
    let (store, shop) = place.shop().await;
    let id = &shop.id;
    store.commit_work(work(0, &shop, (0..20).map(|n| event_at(NOON, n, 1)).collect())).await.unwrap();
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    let dead = [3, 5, 9, 12].map(|number| DeadLetter::new(number, "status 422")).to_vec();
    let delivered = Delivered { sent: 16, filtered: 0, dead };
    store.advance(id, "hook", 0, 20, delivered).await.unwrap();
    store.raise(NoticeKind::DeadLetters, Some(id), "hook", "refused").await.unwrap();
    let letter = store.dead_letters(id, "hook", 1).await.unwrap().remove(0);
    assert_eq!((letter.number, letter.time, letter.attempts, letter.retry), (12, time(NOON), 1, false));
    assert_eq!(store.dead_letters_before(id, "hook", 9, 10).await.unwrap().len(), 2);

    assert_eq!(store.retry_dead_letters(id, "hook", Some(&[5, 7])).await.unwrap(), 1, "7 was not refused");
    assert_eq!(store.letters_to_retry(shop.number, "hook", 10).await.unwrap(), [5]);
    assert_eq!(store.retry_dead_letters(id, "hook", None).await.unwrap(), 3);
    assert_eq!(store.letters_to_retry(shop.number, "hook", 3).await.unwrap(), [3, 5, 9]);
    let found = store.events_of(shop.number, &[3, 5, 9, 99], 1 << 20).await.unwrap();
    assert_eq!((numbers(&found), found.gone), (vec![3, 5, 9], vec![99]));

    place.clock.set(NOON + 60_000);
    let dead = vec![DeadLetter::new(5, "status 500")];
    let came = Resent { sent: vec![3], dead, gone: vec![9], ..Resent::default() };
    store.resent(shop.number, "hook", came).await.unwrap();
    let left = store.dead_letters(id, "hook", 10).await.unwrap();
    let shown: Vec<_> = left.iter().map(|one| (one.number, one.reason.as_str(), one.attempts, one.retry)).collect();
    assert_eq!(shown, [(12, "status 422", 1, true), (5, "status 500", 2, false)]);
    assert_eq!(left[1].time, time(NOON + 60_000));
    assert_eq!(store.cursor(shop.number, "hook").await.unwrap(), 20, "nothing is sent twice for it");
    assert_eq!(store.delivered_by_hour(shop.number, "hook").await.unwrap()[&time(NOON).hour()], 17);

    let open = async || store.notices(false).await.unwrap().iter().any(|one| one.kind == NoticeKind::DeadLetters);
    assert_eq!(store.drop_dead_letters(id, "hook", Some(&[5])).await.unwrap(), 1);
    assert!(open().await);
    assert_eq!(store.drop_dead_letters(id, "hook", None).await.unwrap(), 1);
    assert!(!open().await, "nothing is left to look at");
    let error = store.retry_dead_letters(id, "hock", None).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "destination", .. }), "{error}");
    let log = store.audit_entries(Some(id.as_str()), 20).await.unwrap();
    let acts: Vec<_> = log.iter().map(|entry| (entry.act.as_str(), entry.detail.as_str())).collect();
    let retried = ("destination.retry", "webhook; 2 dead letters (event 5, 7)");
    assert!(acts.contains(&retried), "{acts:?}");
    assert!(acts.contains(&("destination.drop", "webhook; all dead letters")), "{acts:?}");
}

async fn a_replay_is_of_a_range_up_to_the_cursor(place: Place) {
    let (store, shop) = place.shop().await;
    let (id, number) = (&shop.id, shop.number);
    store
        .commit_work(work(0, &shop, (0..10).map(|n| event_at(NOON - DAY + i64::from(n), n, 1)).collect()))
        .await
        .unwrap();
    store.commit_work(work(1, &shop, (10..30).map(|n| event_at(NOON + i64::from(n), n, 1)).collect())).await.unwrap();
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    store.advance(id, "hook", 0, 25, Vec::new()).await.unwrap();
    let yesterday = (time(NOON - DAY), time(NOON));
    let plan = store.plan_replay(id, "hook", yesterday, None).await.unwrap();
    assert_eq!((plan.events, plan.exact, plan.first), (10, true, 1));
    let today = store.plan_replay(id, "hook", (time(NOON), time(NOON + 60_000)), None).await.unwrap();
    assert_eq!((today.events, today.last), (15, 25), "what is behind the cursor comes by itself");
    let part = store.plan_replay(id, "hook", (time(NOON - DAY + 3), time(NOON - DAY + 5)), None).await.unwrap();
    assert_eq!(part.events, 2, "from the first moment on, and before the last");
    // Of what a vendor takes no more, how many are left out.
    let bounded = store.plan_replay(id, "hook", yesterday, Some(time(NOON - DAY + 4))).await.unwrap();
    assert_eq!((bounded.events, bounded.late), (6, 4));
    let pages = Destination { types: vec![EventType::PageView], ..hook(&shop, "pages") };
    store.save_destination(&pages, None, true).await.unwrap();
    store.advance(id, "pages", 0, 30, Vec::new()).await.unwrap();
    assert_eq!(store.plan_replay(id, "pages", yesterday, None).await.unwrap().events, 0);
    for (range, word) in [((time(5), time(5)), "ends before it begins"), ((time(0), time(9)), "no stored event")] {
        let error = store.start_replay(id, "hook", range).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(ref text) if text.contains(word)), "{error}");
    }

    let replay = store.start_replay(id, "hook", yesterday).await.unwrap();
    assert_eq!((replay.id, replay.done, replay.state), (1, 0, ReplayState::Open));
    assert_eq!(store.open_replay(number, "hook").await.unwrap(), Some(replay.clone()));
    assert_eq!(store.open_replay(number, "pages").await.unwrap(), None);
    let part = |sent: std::ops::RangeInclusive<i64>, through| {
        let dead = vec![DeadLetter::new(through, "status 422")];
        Resent { replay: Some((1, through)), sent: sent.collect(), dead, ..Resent::default() }
    };
    store.resent(number, "hook", part(1..=7, 8)).await.unwrap();
    let now = store.open_replay(number, "hook").await.unwrap().unwrap();
    assert_eq!((now.done, now.sent, now.dead), (8, 7, 1));
    // Another process goes on where this one ended.
    let other = place.open_accepting().await;
    other.resent(number, "hook", part(9..=24, 25)).await.unwrap();
    assert_eq!(store.open_replay(number, "hook").await.unwrap(), None);
    let done = store.replays(number, "hook").await.unwrap().remove(0);
    assert_eq!((done.state, done.sent, done.dead), (ReplayState::Done, 23, 2));
    assert_eq!(store.cursor(number, "hook").await.unwrap(), 25);
    assert_eq!(store.dead_letters(id, "hook", 9).await.unwrap().len(), 2);

    for _ in 0..10 {
        store.start_replay(id, "hook", yesterday).await.unwrap();
    }
    let error = store.start_replay(id, "hook", yesterday).await.unwrap_err();
    assert!(error.to_string().contains("still open"), "{error}");
    store.stop_replay(id, "hook", 5).await.unwrap();
    let error = store.stop_replay(id, "hook", 5).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    assert_eq!(store.replays(number, "hook").await.unwrap().len(), 11);
    store.remove_destination(id, "hook").await.unwrap();
    for table in ["SELECT COUNT(*) FROM replays", "SELECT COUNT(*) FROM deliveries"] {
        assert_eq!(place.number(table).await, 0, "{table}");
    }
    let error = store.resent(number, "hook", Resent::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

async fn what_was_erased_is_not_sent_again(place: Place) {
    let (store, shop) = place.shop().await;
    let events = (0..6).map(|n| of(if n % 2 == 0 { "a" } else { "b" }, None, n, NOON - 60_000)).collect();
    store.commit_work(work(0, &shop, events)).await.unwrap();
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    let dead = (1..=6).map(|number| DeadLetter::new(number, "status 422")).collect::<Vec<_>>();
    store.advance(&shop.id, "hook", 0, 6, dead).await.unwrap();
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    let range = (time(NOON - DAY), time(NOON + DAY));
    assert_eq!(store.plan_replay(&shop.id, "hook", range, None).await.unwrap().events, 3);
    let found = store.events_of(shop.number, &[1, 2, 5, 6], 1 << 20).await.unwrap();
    assert_eq!((numbers(&found), found.gone), (vec![2, 6], vec![1, 5]));
    store.start_replay(&shop.id, "hook", range).await.unwrap();
    store.erase_all(&shop).await.unwrap();
    assert_eq!(store.open_replay(shop.number, "hook").await.unwrap(), None, "nothing is left to be sent");
    assert_eq!(store.dead_letters(&shop.id, "hook", 9).await.unwrap().len(), 0);
}

async fn what_cannot_be_read_holds_up_nothing_else(place: Place) {
    let (store, shop) = place.shop().await;
    for n in 0..4_u32 {
        let who = if n == 1 { "a" } else { "b" };
        let events = (n * 3..n * 3 + 3).map(|n| of(who, None, n, NOON - 60_000)).collect();
        store.commit_work(work(u64::from(n), &shop, events)).await.unwrap();
    }
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    let dead = (1..=12).map(|number| DeadLetter::new(number, "status 422")).collect::<Vec<_>>();
    store.advance(&shop.id, "hook", 0, 12, dead).await.unwrap();
    store.retry_dead_letters(&shop.id, "hook", None).await.unwrap();
    // Erased just before it, so that reading meets the damage first.
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    let spoil = "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 7";
    sqlx::query(spoil).execute(&mut place.behind("data").await).await.unwrap();
    let found = store.events_of(shop.number, &[2, 4, 7, 9, 11], 1 << 20).await.unwrap();
    assert_eq!((numbers(&found), &found.gone[..]), (vec![2, 11], &[4][..]));
    assert_eq!(found.unread.iter().map(|letter| letter.number).collect::<Vec<_>>(), [7, 9]);
    assert!(found.unread[0].reason.contains("events 7 to 9"), "{}", found.unread[0].reason);
    let range = (time(NOON - DAY), time(NOON + DAY));
    let plan = store.plan_replay(&shop.id, "hook", range, None).await.unwrap();
    assert_eq!((plan.events, plan.exact), (6, true), "what is read of it");

    place.clock.set(NOON + 60_000);
    let came = Resent { sent: vec![2, 11], gone: found.gone, unread: found.unread, ..Resent::default() };
    store.resent(shop.number, "hook", came).await.unwrap();
    let left = store.dead_letters(&shop.id, "hook", 20).await.unwrap();
    let unread: Vec<_> = left.iter().filter(|letter| !letter.retry).collect();
    assert_eq!(unread.iter().map(|letter| (letter.number, letter.attempts)).collect::<Vec<_>>(), [(9, 1), (7, 1)]);
    assert!(unread[0].reason.contains("cannot be read") && unread[0].time == time(NOON + 60_000));
    assert_eq!(left.len(), 12 - 3);
}

async fn of_two_changes_the_second_sees_the_first(place: Place) {
    let (store, shop) = place.shop().await;
    store.add_destination(&hook(&shop, "hook"), Some("whsec_x"), false).await.unwrap();
    let error = store.add_destination(&hook(&shop, "hook"), Some("whsec_y"), false).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(ref text) if text.contains("already")), "{error}");
    assert_eq!(store.destination_secret(&shop.id, "hook").await.unwrap().as_deref(), Some("whsec_x"));
    let (seen, _) = store.destination(&shop.id, "hook").await.unwrap();
    store.pause_destination(&shop.id, "hook", Some("by hand")).await.unwrap();
    let clicks = Destination { types: vec![EventType::Click], ..seen.clone() };
    assert!(store.change_destination(&seen, &clicks, None).await.unwrap(), "a pause is no change of it");
    let pages = Destination { types: vec![EventType::PageView], ..seen.clone() };
    assert!(!store.change_destination(&seen, &pages, Some("whsec_z")).await.unwrap());
    let (now, _) = store.destination(&shop.id, "hook").await.unwrap();
    assert_eq!((now.types, now.paused.as_deref()), (clicks.types.clone(), Some("by hand")));
    assert_eq!(store.destination_secret(&shop.id, "hook").await.unwrap().as_deref(), Some("whsec_x"));
    assert!(store.change_destination(&clicks, &pages, Some("whsec_z")).await.unwrap());
    assert_eq!(store.destination_secret(&shop.id, "hook").await.unwrap().as_deref(), Some("whsec_z"));
    store.remove_destination(&shop.id, "hook").await.unwrap();
    let error = store.change_destination(&pages, &clicks, None).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "one that was removed does not come back: {error}");
}

async fn how_delivery_went_is_kept_for_a_while_and_sealed(place: Place) {
    let (store, shop) = place.shop().await;
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    for n in 0..25 {
        let reason = format!("the name canary{n}.example cannot be resolved");
        store.delivery_failed(shop.number, "hook", &reason).await.unwrap();
    }
    let failures = store.delivery_failures(shop.number, "hook").await.unwrap();
    assert_eq!((failures.len(), failures[0].time), (20, time(NOON)));
    assert!(failures[0].reason.contains("canary24") && failures[19].reason.contains("canary5."));
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("SELECT reason FROM delivery_failures")
        .fetch_all(&mut place.behind("data").await)
        .await
        .unwrap();
    assert!(sealed.iter().all(|bytes| !bytes.windows(6).any(|bytes| bytes == b"canary")));
    let took = |sent| Delivered { sent, ..Delivered::default() };
    store.advance(&shop.id, "hook", 0, 1, took(1)).await.unwrap();
    place.pass_to(NOON + 8 * DAY).await;
    store.advance(&shop.id, "hook", 1, 2, took(1)).await.unwrap();
    let hours = store.delivered_by_hour(shop.number, "hook").await.unwrap();
    assert_eq!(hours.into_iter().collect::<Vec<_>>(), [(time(NOON + 8 * DAY).hour(), 1)]);
}
