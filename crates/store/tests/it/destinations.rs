//! Destinations: their secrets sealed, their cursors moved by one reader, their dead letters kept.

use convizit_model::{
    Destination, DestinationKind, EventType, NoticeKind, Processor, Project, ProjectSettings, ResidencyRule, Shaping,
};
use convizit_store::{DeadLetter, Delivered, DestinationState, Standing, Store, StoreError};
use sqlx::Row as _;

use crate::engines::{DAY, Place, events, on_both_engines, work};

on_both_engines!(
    a_destination_is_made_changed_and_removed_with_all_it_has,
    a_secret_is_sealed_at_its_place,
    one_of_two_readers_moves_a_cursor,
    dead_letters_are_written_with_the_cursor,
    a_paused_destination_says_why,
    one_that_takes_nothing_says_since_when_and_why,
    whether_anything_was_ever_sent_is_known_after_quiet_weeks,
    the_audit_log_says_what_changed_and_no_secret,
    a_destination_goes_on_behind_events_that_cannot_be_read,
    one_that_cannot_be_opened_hides_no_other,
    nothing_is_enabled_before_it_is_known_who_processes_it,
);

pub(crate) fn hook(project: &Project, name: &str) -> Destination {
    Destination {
        project: project.id.clone(),
        name: name.to_owned(),
        enabled: true,
        paused: None,
        processor: Some(Processor::own()),
        shaping: Default::default(),
        types: Vec::new(),
        kind: DestinationKind::Webhook { url: "https://hooks.example/".to_owned() },
    }
}

async fn state(store: &Store, project: &Project, name: &str) -> DestinationState {
    let states = store.destinations(Some(&project.id)).await.unwrap();
    states.into_iter().find(|state| state.destination.name == name).unwrap()
}

fn letters(numbers: std::ops::Range<i64>) -> Vec<DeadLetter> {
    numbers.map(|number| DeadLetter::new(number, format!("status 422 ({number})"))).collect()
}

async fn a_destination_is_made_changed_and_removed_with_all_it_has(place: Place) {
    let (store, shop) = place.shop().await;
    store.commit_work(work(0, &shop, events(0..5))).await.unwrap();
    for (name, problem) in [("", "1 to 64"), ("Hook", "a-z"), (&"x".repeat(65), "1 to 64")] {
        let error = store.save_destination(&hook(&shop, name), None, false).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(ref text) if text.contains(problem)), "{name}: {error}");
    }
    let nowhere = Destination { project: "none".parse().unwrap(), ..hook(&shop, "hook") };
    let error = store.save_destination(&nowhere, None, false).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "project", .. }), "{error}");

    store.save_destination(&hook(&shop, "new"), None, false).await.unwrap();
    store.save_destination(&hook(&shop, "whole"), None, true).await.unwrap();
    assert_eq!((state(&store, &shop, "new").await.cursor, state(&store, &shop, "whole").await.cursor), (5, 0));
    store.advance(&shop.id, "whole", 0, 3, letters(2..3)).await.unwrap();
    let changed = Destination { enabled: false, ..hook(&shop, "whole") };
    store.save_destination(&changed, None, true).await.unwrap();
    let expected = DestinationState { destination: changed, cursor: 3, dead: 1, failing: None };
    assert_eq!(state(&store, &shop, "whole").await, expected, "a change leaves cursor and dead letters");
    assert_eq!(store.destinations(None).await.unwrap().len(), 2);

    store.remove_destination(&shop.id, "whole").await.unwrap();
    assert_eq!(store.destinations(Some(&shop.id)).await.unwrap().len(), 1);
    assert_eq!(store.dead_letters(&shop.id, "whole", 10).await.unwrap().len(), 0);
    let error = store.remove_destination(&shop.id, "whole").await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "destination", .. }), "{error}");
    store.save_destination(&hook(&shop, "whole"), None, false).await.unwrap();
    assert_eq!(state(&store, &shop, "whole").await.cursor, 5, "one of the same name begins anew");
}

async fn a_secret_is_sealed_at_its_place(place: Place) {
    let (store, shop) = place.shop().await;
    let secret = "whsec_canary-of-the-destination";
    store.save_destination(&hook(&shop, "a"), Some(secret), false).await.unwrap();
    store.save_destination(&hook(&shop, "b"), None, false).await.unwrap();
    store.save_destination(&hook(&shop, "a"), None, false).await.unwrap();
    assert_eq!(store.destination_secret(&shop.id, "a").await.unwrap().as_deref(), Some(secret));
    assert_eq!(store.destination_secret(&shop.id, "b").await.unwrap(), None);
    let error = store.destination_secret(&shop.id, "c").await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "destination", .. }), "{error}");

    let mut sql = place.behind("control").await;
    let row = sqlx::query("SELECT body, secret FROM destinations WHERE name = 'a'").fetch_one(&mut sql).await.unwrap();
    let (body, sealed): (Vec<u8>, Vec<u8>) = (row.try_get(0).unwrap(), row.try_get(1).unwrap());
    for bytes in [&body, &sealed] {
        assert!(!bytes.windows(6).any(|bytes| bytes == b"canary" || bytes == b"hooks."));
    }
    sqlx::query("UPDATE destinations SET secret = $1 WHERE name = 'b'").bind(sealed).execute(&mut sql).await.unwrap();
    let error = store.destination_secret(&shop.id, "b").await.unwrap_err();
    assert!(matches!(error, StoreError::Keys(_)), "a secret moved to another row opened: {error}");
    assert!(!error.to_string().contains("canary"));
}

async fn one_of_two_readers_moves_a_cursor(place: Place) {
    let (store, shop) = place.shop().await;
    let other = place.open().await;
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    for from in 0..10 {
        let (a, b) = tokio::join!(
            store.advance(&shop.id, "hook", from, from + 1, letters(from..from + 1)),
            other.advance(&shop.id, "hook", from, from + 1, letters(from + 100..from + 101)),
        );
        let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
        won.unwrap();
        assert!(matches!(lost, Err(StoreError::Moved { .. })), "{lost:?}");
    }
    let end = state(&store, &shop, "hook").await;
    assert_eq!((end.cursor, end.dead), (10, 10), "who lost wrote no dead letter");
}

async fn dead_letters_are_written_with_the_cursor(place: Place) {
    let (store, shop) = place.shop().await;
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    store.advance(&shop.id, "hook", 0, 250, letters(1..251)).await.unwrap();
    assert_eq!(state(&store, &shop, "hook").await.dead, 250);
    let newest = store.dead_letters(&shop.id, "hook", 3).await.unwrap();
    assert_eq!(newest.iter().map(|letter| letter.number).collect::<Vec<_>>(), [250, 249, 248]);
    assert_eq!(newest[0].reason, "status 422 (250)");
    let error = store.advance(&shop.id, "hook", 0, 300, letters(251..300)).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved { ref what } if what.contains("hook")), "{error}");
    let unmoved = state(&store, &shop, "hook").await;
    assert_eq!((unmoved.cursor, unmoved.dead), (250, 250));
}

async fn a_paused_destination_says_why(place: Place) {
    let (store, shop) = place.shop().await;
    store.save_destination(&hook(&shop, "hook"), Some("whsec_x"), false).await.unwrap();
    store.pause_destination(&shop.id, "hook", Some("it answered 410")).await.unwrap();
    assert_eq!(state(&store, &shop, "hook").await.destination.paused.as_deref(), Some("it answered 410"));
    let notices = store.notices(false).await.unwrap();
    assert_eq!(
        (notices.len(), notices[0].kind, notices[0].subject.as_str()),
        (1, NoticeKind::DestinationPaused, "hook")
    );
    assert!(notices[0].text.contains("it answered 410") && notices[0].text.contains("convizit destination resume"));
    store.pause_destination(&shop.id, "hook", None).await.unwrap();
    assert_eq!(state(&store, &shop, "hook").await.destination.paused, None);
    assert!(store.notices(false).await.unwrap().is_empty(), "resuming ends the notice");
    assert_eq!(store.destination_secret(&shop.id, "hook").await.unwrap().as_deref(), Some("whsec_x"));
    // What a person chose calls for nobody, and hides nothing that failed.
    let ada = store.acting_as("account:7");
    ada.rest_destination(&shop.id, "hook").await.unwrap();
    let rests = state(&store, &shop, "hook").await;
    let rest = rests.destination.rest().unwrap();
    assert_eq!((rest.added, rest.actor, rest.on.len()), (false, "account:7", 10));
    assert!(rests.trouble().unwrap().starts_with("paused by account:7 on "));
    assert!(store.notices(false).await.unwrap().is_empty());
    store.pause_destination(&shop.id, "hook", Some("it answered 410")).await.unwrap();
    ada.rest_destination(&shop.id, "hook").await.unwrap();
    assert_eq!(state(&store, &shop, "hook").await.destination.rest(), None);
    store.remove_destination(&shop.id, "hook").await.unwrap();
    assert!(store.notices(false).await.unwrap().is_empty(), "nobody can mend one that was removed");
}

async fn one_that_takes_nothing_says_since_when_and_why(place: Place) {
    let (store, shop) = place.shop().await;
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    store.save_destination(&hook(&shop, "other"), None, true).await.unwrap();
    let began = store.clock().now();
    store.delivery_failed(shop.number, "hook", "the receiver answered 503").await.unwrap();
    place.clock.set(began.as_millis() + 60_000);
    let said = store.delivery_failed(shop.number, "hook", "its name cannot be resolved").await.unwrap();
    assert_eq!((said.since, said.times, said.reason.as_str()), (began, 2, "its name cannot be resolved"));
    assert_eq!(state(&store, &shop, "hook").await.failing, Some(said));
    assert_eq!(state(&store, &shop, "hook").await.standing(5), Standing::Failing);
    assert_eq!(state(&store, &shop, "other").await.failing, None);

    store.raise(NoticeKind::DestinationFailing, Some(&shop.id), "hook", "it takes nothing").await.unwrap();
    store.delivery_recovered(&shop.id, "hook").await.unwrap();
    assert_eq!(state(&store, &shop, "hook").await.failing, None);
    assert!(store.notices(false).await.unwrap().is_empty());
    assert_eq!(store.delivery_failures(shop.number, "hook").await.unwrap().len(), 2, "what went wrong is still told");
    store.delivery_failed(shop.number, "hook", "the receiver answered 401").await.unwrap();
    store.pause_destination(&shop.id, "hook", Some("the receiver answered 401")).await.unwrap();
    assert_eq!(state(&store, &shop, "hook").await.failing, None, "what is paused is not tried");
}

async fn whether_anything_was_ever_sent_is_known_after_quiet_weeks(place: Place) {
    let (store, shop) = place.shop().await;
    let names = ["sent", "tested", "failed", "filtered", "new"];
    for name in names {
        store.save_destination(&hook(&shop, name), None, true).await.unwrap();
    }
    let filtered = Delivered { filtered: 1, ..Delivered::default() };
    store.advance(&shop.id, "sent", 0, 1, Delivered { sent: 1, ..Delivered::default() }).await.unwrap();
    store.took_test(shop.number, "tested").await.unwrap();
    store.delivery_failed(shop.number, "failed", "the receiver answered 503").await.unwrap();
    store.advance(&shop.id, "filtered", 0, 1, filtered.clone()).await.unwrap();
    // Then for two weeks nothing but what they do not want.
    let began = store.clock().now().as_millis();
    for day in 1..=14 {
        place.clock.set(began + day * DAY);
        for (name, from) in [("sent", day), ("tested", day - 1), ("filtered", day)] {
            store.advance(&shop.id, name, from, from + 1, filtered.clone()).await.unwrap();
        }
    }
    for name in names {
        let tried = store.was_tried(shop.number, name).await.unwrap();
        assert_eq!(tried, ["sent", "tested", "failed"].contains(&name), "{name}");
        assert!(store.delivered_by_hour(shop.number, name).await.unwrap().values().all(|sent| *sent == 0), "{name}");
    }
    assert!(matches!(store.took_test(shop.number, "gone").await, Err(StoreError::NotFound { .. })));
}

async fn the_audit_log_says_what_changed_and_no_secret(place: Place) {
    let (store, shop) = place.shop().await;
    let at = |url: &str| DestinationKind::Webhook { url: url.to_owned() };
    let first = Destination { kind: at("https://hooks.example/in?key=canary"), ..hook(&shop, "hook") };
    store.add_destination(&first, Some("whsec_canary"), false).await.unwrap();
    let shaping = Shaping { without: vec!["location".to_owned()], percent: Some(10), ..Shaping::default() };
    let moved = Destination {
        types: vec![EventType::Click],
        shaping,
        kind: at("https://other.example/canary"),
        ..first.clone()
    };
    assert!(store.change_destination(&first, &moved, Some("whsec_canary2")).await.unwrap());
    store.pause_destination(&shop.id, "hook", Some("by hand")).await.unwrap();
    store.remove_destination(&shop.id, "hook").await.unwrap();
    let log = store.audit_entries(Some(shop.id.as_str()), 20).await.unwrap();
    let of = |act: &str| -> Vec<&str> {
        log.iter().filter(|entry| entry.act == act).map(|entry| entry.detail.as_str()).collect()
    };
    let changed = "webhook; types: all → click; left out: nothing → location; visitors of a hundred: all → 10; another address; new credentials";
    assert_eq!(
        of("destination.save"),
        [changed, "webhook; processed by a system of the own organisation; with credentials"]
    );
    assert_eq!((of("destination.pause"), of("destination.remove")), (vec!["webhook"], vec!["webhook"]));
    assert!(!format!("{log:?}").contains("example"), "where it goes is sealed");
    assert!(!format!("{log:?}").contains("canary"));
}

async fn a_destination_goes_on_behind_events_that_cannot_be_read(place: Place) {
    let (store, shop) = place.shop().await;
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    for n in 0..3_u32 {
        store.commit_work(work(u64::from(n), &shop, events(n * 3..n * 3 + 3))).await.unwrap();
    }
    let spoil = "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 4";
    sqlx::query(spoil).execute(&mut place.behind("data").await).await.unwrap();
    let before = store.events_after(shop.number, 0, 100, usize::MAX).await.unwrap();
    assert_eq!(before.len(), 3, "what stands before it is read");
    let error = store.events_after(shop.number, 3, 100, usize::MAX).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { first: 4, last: 6, .. }), "{error}");
    assert_eq!(store.pass_over_damaged(&shop.id, "hook").await.unwrap(), [], "nothing is in its way yet");
    store.advance(&shop.id, "hook", 0, 3, Vec::new()).await.unwrap();
    assert_eq!(store.pass_over_damaged(&shop.id, "hook").await.unwrap(), [(4, 6)]);
    assert_eq!(state(&store, &shop, "hook").await.cursor, 6);
    assert_eq!(store.events_after(shop.number, 6, 100, usize::MAX).await.unwrap().len(), 3);
}

async fn one_that_cannot_be_opened_hides_no_other(place: Place) {
    let (store, shop) = place.shop().await;
    for name in ["one", "two"] {
        store.save_destination(&hook(&shop, name), None, true).await.unwrap();
    }
    let spoil = "UPDATE destinations SET body = (SELECT body FROM destinations WHERE name = 'one') WHERE name = 'two'";
    sqlx::query(spoil).execute(&mut place.behind("control").await).await.unwrap();
    for of in [None, Some(&shop.id)] {
        let all = store.destinations(of).await.unwrap();
        assert_eq!(all.iter().map(|state| state.destination.name.as_str()).collect::<Vec<_>>(), ["one"]);
    }
    let notices = store.notices(false).await.unwrap();
    assert_eq!((notices.len(), notices[0].count, notices[0].subject.as_str()), (1, 1, "two"));
    assert_eq!(store.damaged_destinations(&shop.id).await.unwrap(), ["two"]);
    store.remove_destination(&shop.id, "two").await.unwrap();
    store.add_destination(&hook(&shop, "two"), None, false).await.unwrap();
    assert_eq!(store.damaged_destinations(&shop.id).await.unwrap(), [""; 0]);
    assert_eq!(store.destinations(None).await.unwrap().len(), 2);
}

async fn nothing_is_enabled_before_it_is_known_who_processes_it(place: Place) {
    let (store, shop) = place.shop().await;
    let barred = |done: Result<(), StoreError>, word: &str| {
        let error = done.unwrap_err();
        assert!(matches!(error, StoreError::Barred(ref text) if text.contains(word)), "{error}");
    };
    let bare = Destination { processor: None, ..hook(&shop, "hook") };
    barred(store.add_destination(&bare, None, false).await, "hook has no entry");
    assert!(store.destinations(Some(&shop.id)).await.unwrap().is_empty());
    // It may wait for its entry.
    let held = Destination { paused: Some("not yet".to_owned()), ..bare };
    store.add_destination(&held, None, false).await.unwrap();
    barred(store.pause_destination(&shop.id, "hook", None).await, "hook has no entry");
    let of = |region: &str| Processor::of("Hooks Ltd", region, "2026-10-01").unwrap().unwrap();
    store.enter_processor(&shop.id, "hook", &of("us")).await.unwrap();
    let residency =
        |rule| ProjectSettings { residency: "eu".to_owned(), residency_rule: rule, ..shop.settings.clone() };
    store.save_settings(&shop.id, residency(ResidencyRule::Refuse)).await.unwrap();
    barred(store.pause_destination(&shop.id, "hook", None).await, "keeps data in us");
    store.enter_processor(&shop.id, "hook", &of("eu-west-1")).await.unwrap();
    store.pause_destination(&shop.id, "hook", None).await.unwrap();
    // One that sends is not led away.
    barred(store.enter_processor(&shop.id, "hook", &of("us")).await, "keeps data in us");
    let (seen, _) = store.destination(&shop.id, "hook").await.unwrap();
    let away = Destination { processor: Some(of("us")), ..seen.clone() };
    barred(store.change_destination(&seen, &away, None).await.map(|_| ()), "keeps data in us");
    assert_eq!(store.destination(&shop.id, "hook").await.unwrap().0, seen);
    // Where it is only to be said, nobody is held up.
    store.save_settings(&shop.id, residency(ResidencyRule::Warn)).await.unwrap();
    assert!(store.change_destination(&seen, &away, None).await.unwrap());
    let log = store.audit_entries(Some(shop.id.as_str()), 20).await.unwrap();
    let entered = |act: &str, region: &str| {
        let detail = format!("processed by Hooks Ltd ({region}, agreement of 2026-10-01)");
        log.iter().any(|entry| entry.act == act && entry.subject == "hook" && entry.detail.contains(&detail))
    };
    assert!(entered("destination.processor", "eu-west-1") && entered("destination.save", "us"), "{log:?}");
}
