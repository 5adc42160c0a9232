//! Erasure: gone from every reading at once, then from the bytes; nothing of anybody else is touched.

use convizit_model::outcome::Filter;
use convizit_model::{Destination, DestinationKind, NewEvent, NoticeKind, Outcome, Person, Project};
use convizit_store::Store;
use convizit_store::backup::Progress;

use crate::engines::{DAY, NOON, Place, event_at, on_both_engines, stored, work};

on_both_engines!(
    a_person_is_gone_at_once_and_then_from_the_bytes,
    what_is_still_in_the_journal_never_becomes_an_event,
    what_happens_later_is_kept_and_what_comes_late_is_not,
    what_is_stored_goes_whatever_the_clock_says,
    quarantined_items_of_a_person_go_too,
    users_are_erased_by_the_sites_own_id,
    a_whole_dataset_is_unreadable_at_once_and_others_are_as_they_were,
    another_process_stores_nothing_under_keys_that_are_gone,
    a_dataset_is_erased_behind_a_clock_that_was_set_back,
    a_removed_project_holds_up_nobody_elses_erasure,
    a_damaged_frame_holds_up_nobody_elses_erasure,
    a_damaged_frame_holds_up_those_alone_who_may_be_in_it_and_is_told,
    a_frame_with_a_damaged_filter_holds_everybody_until_retention_takes_it,
    a_changed_bit_of_a_filter_hides_nobody,
    a_damaged_frame_is_named_and_passed_over_where_a_person_is_looked_for,
    a_merge_never_brings_back_what_was_erased,
    destinations_are_asked_and_the_id_goes_when_all_were_told,
    a_frame_of_nobody_else_disappears_and_the_next_is_read,
);

pub(crate) fn of(visitor: &str, user: Option<&str>, n: u32, millis: i64) -> NewEvent {
    let mut event = event_at(millis, n, 1);
    let mut json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
    json["visitor"] = visitor.into();
    json["user"] = user.into();
    event.json = serde_json::to_vec(&json).unwrap();
    (event.visitor, event.user) = (visitor.to_owned(), user.map(str::to_owned));
    event
}

pub(crate) fn visitor(id: &str) -> Person {
    Person::Visitor(id.to_owned())
}

/// Ten works of three events: of a, b and c.
async fn fill(store: &Store, shop: &Project) {
    for n in 0..10_u32 {
        let events = ["a", "b", "c"].iter().zip(n * 3..).map(|(who, n)| of(who, None, n, NOON - 1000)).collect();
        store.commit_work(work(u64::from(n), shop, events)).await.unwrap();
    }
}

fn without_a() -> Vec<i64> {
    (0..30).filter(|n| n % 3 != 0).collect()
}

/// What the frames hold when nobody speaks of erasures any more: the bytes themselves.
async fn in_the_bytes(place: &Place, project: i64) -> Vec<i64> {
    let mut sql = place.behind("data").await;
    sqlx::query("DELETE FROM erasures").execute(&mut sql).await.unwrap();
    let store = place.open_accepting().await;
    stored(&store, project, 0).await
}

async fn open(place: &Place) -> i64 {
    place.number("SELECT COUNT(*) FROM erasures WHERE state = 'open'").await
}

async fn a_person_is_gone_at_once_and_then_from_the_bytes(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await.len(), 30);
    let request = store.erase(&shop, &[visitor("a"), visitor("nobody")]).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, without_a());
    assert_eq!(store.samples(shop.number, 1).await.unwrap().len(), 20 - 6, "of the newest twenty");
    assert_eq!(open(&place).await, 2);
    store.upkeep().await.unwrap();
    assert_eq!(open(&place).await, 0);
    assert_eq!(stored(&store, shop.number, 0).await, without_a());
    let erasures = store.erasures(shop.number).await.unwrap();
    assert_eq!((erasures.len(), erasures[0].persons, erasures[0].open), (1, 2, 0));
    assert_eq!(erasures[0].request, request);
    // Another process, and a restart, know of it.
    let other = place.open_accepting().await;
    assert_eq!(stored(&other, shop.number, 0).await, without_a());
    assert_eq!(in_the_bytes(&place, shop.number).await, without_a());
}

async fn what_is_still_in_the_journal_never_becomes_an_event(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    // Made before the erasure, committed after it.
    let late = vec![of("a", None, 100, NOON - 1000), of("b", None, 101, NOON - 1000)];
    let prepared = store.prepare_work(work(10, &shop, late.clone()), None).await.unwrap();
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    assert!(store.commit_prepared(&prepared).await.is_err(), "it was made without knowing of the erasure");
    let mut again = work(10, &shop, late);
    again.projects[0].outcomes = vec![(Outcome::Accepted, 2)];
    store.commit_work(again).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await.last(), Some(&101));
    assert!(!stored(&store, shop.number, 0).await.contains(&100));
    let outcomes = store.outcomes(shop.number).await.unwrap();
    assert!(outcomes.contains(&(Outcome::Filtered(Filter::Erased).as_str().to_owned(), 1)), "{outcomes:?}");
    assert_eq!(store.last_event(shop.number).await.unwrap(), 31, "it was given no number");
}

async fn what_is_stored_goes_whatever_the_clock_says(place: Place) {
    let (store, shop) = place.shop().await;
    let later = |n: u32| of("a", None, n, NOON + 600_000);
    store.commit_work(work(0, &shop, vec![later(1), of("b", None, 2, NOON)])).await.unwrap();
    // The clock was ten minutes ahead when these came, and is right now.
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [2]);
    store.upkeep().await.unwrap();
    store.commit_work(work(1, &shop, vec![later(3)])).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [2, 3], "what comes after the erasure is kept");
    // Erased once more with the clock set back: the first erasure goes on to hold.
    place.clock.set(NOON - 100_000);
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.commit_work(work(2, &shop, vec![of("a", None, 4, NOON - 1)])).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [2]);
    assert_eq!(in_the_bytes(&place, shop.number).await, [2, 3], "the second is not carried out yet");
}

async fn what_happens_later_is_kept_and_what_comes_late_is_not(place: Place) {
    let (store, shop) = place.shop().await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.upkeep().await.unwrap();
    let events = vec![of("a", None, 1, NOON - 1), of("a", None, 2, NOON), of("a", None, 3, NOON + 1)];
    store.commit_work(work(0, &shop, events)).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [3], "up to the moment of the erasure nothing, later everything");
}

async fn quarantined_items_of_a_person_go_too(place: Place) {
    let (store, shop) = place.shop().await;
    let mut failed = work(0, &shop, Vec::new());
    failed.projects[0].quarantined = ["a", "b"]
        .map(|visitor| convizit_model::Quarantined {
            notice: convizit_model::NoticeKind::Quarantined,
            subject: format!("item of {visitor}"),
            body:
                serde_json::json!({"visitor": visitor, "received": "2025-01-01T00:00:00.000Z", "batch": {"user": null}})
                    .to_string()
                    .into_bytes(),
        })
        .to_vec();
    store.commit_work(failed).await.unwrap();
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.upkeep().await.unwrap();
    assert_eq!(place.number("SELECT COUNT(*) FROM quarantine").await, 1);
}

async fn users_are_erased_by_the_sites_own_id(place: Place) {
    let (store, shop) = place.shop().await;
    let events = vec![
        of("a", Some("17"), 0, NOON - 1),
        of("a", Some("18"), 1, NOON - 1),
        of("a", None, 2, NOON - 1),
        of("17", None, 3, NOON - 1),
    ];
    store.commit_work(work(0, &shop, events)).await.unwrap();
    store.erase(&shop, &[Person::User("17".to_owned())]).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [1, 2, 3]);
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [1, 2, 3]);
}

async fn a_whole_dataset_is_unreadable_at_once_and_others_are_as_they_were(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), shop.settings.clone()).await.unwrap();
    fill(&store, &shop).await;
    store.commit_work(work(10, &blog, vec![of("a", None, 500, NOON - 1)])).await.unwrap();
    store.save_destination(&hook(&shop), Some("whsec_c2VjcmV0IG9mIHRoZSBob29rIHRoYXQgaXM="), true).await.unwrap();
    let keys = "SELECT COUNT(*) FROM keys WHERE project = 1 AND kind = 'day'";
    store.erase_all(&shop).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [0_i64; 0]);
    assert_eq!(place.number_of("control", keys).await, 0, "its keys are destroyed");
    let secret = store.destination_secret(&shop.id, "hook").await.unwrap();
    assert_eq!(secret.as_deref(), Some("whsec_c2VjcmV0IG9mIHRoZSBob29rIHRoYXQgaXM="), "the project goes on");
    place.clock.set(NOON + 5_000);
    store.commit_work(work(11, &shop, vec![of("a", None, 31, NOON + 5_000)])).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [31]);
    assert_eq!(store.last_event(shop.number).await.unwrap(), 31, "numbers go on");
    store.upkeep().await.unwrap();
    assert_eq!(place.number("SELECT COUNT(*) FROM frames WHERE project = 1").await, 1);
    assert_eq!(stored(&store, shop.number, 0).await, [31]);
    assert_eq!(stored(&store, blog.number, 0).await, [500]);
    assert_eq!(open(&place).await, 0);
    let again = place.open_accepting().await;
    assert_eq!(stored(&again, shop.number, 0).await, [31]);
}

async fn another_process_stores_nothing_under_keys_that_are_gone(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    let other = place.open_accepting().await;
    let event = |n| vec![of("b", None, n, NOON + 1)];
    // It has all keys in memory, and something made with them that is not committed yet.
    let prepared = store.prepare_work(work(10, &shop, event(100)), None).await.unwrap();
    other.erase_all(&shop).await.unwrap();
    assert!(store.commit_prepared(&prepared).await.is_err(), "sealed by keys that are gone");
    store.commit_work(work(10, &shop, event(100))).await.unwrap();
    for store in [&store, &other, &place.open_accepting().await] {
        assert_eq!(stored(store, shop.number, 0).await, [100]);
        assert_eq!(store.load_state(shop.number).await.unwrap(), []);
    }
}

async fn a_dataset_is_erased_behind_a_clock_that_was_set_back(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    place.clock.set(NOON - 3_600_000);
    store.erase_all(&shop).await.unwrap();
    let living =
        "SELECT COUNT(*) FROM keys WHERE project = 1 AND (kind = 'day' OR number = 1) AND wrapped_by <> 'destroyed'";
    assert_eq!(place.number_of("control", living).await, 0);
    store.commit_work(work(10, &shop, vec![of("b", None, 50, NOON)])).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [50]);
}

async fn a_removed_project_holds_up_nobody_elses_erasure(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), shop.settings.clone()).await.unwrap();
    fill(&store, &shop).await;
    store.commit_work(work(10, &blog, vec![of("a", None, 500, NOON - 1)])).await.unwrap();
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.remove_project(&shop.id).await.unwrap();
    store.erase(&blog, &[visitor("a")]).await.unwrap();
    let forgotten = store.to_forget().await.unwrap();
    assert_eq!(forgotten.iter().find(|of| of.project == blog.number).unwrap().persons, [visitor("a")]);
    store.upkeep().await.unwrap();
    assert_eq!(open(&place).await, 0);
    let forgotten = store.to_forget().await.unwrap();
    assert_eq!(forgotten.iter().map(|of| of.project).collect::<Vec<_>>(), [blog.number]);
    let keys = "SELECT COUNT(*) FROM keys WHERE project = 1";
    assert_eq!(place.number_of("control", keys).await, 0, "a project that is no more gets no key again");
}

async fn a_damaged_frame_holds_up_nobody_elses_erasure(place: Place) {
    let (store, shop) = place.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), shop.settings.clone()).await.unwrap();
    fill(&store, &shop).await;
    store.commit_work(work(10, &blog, vec![of("a", None, 500, NOON - 1)])).await.unwrap();
    let mut sql = place.behind("data").await;
    sqlx::query("UPDATE frames SET body = $1 WHERE project = 1 AND first = 4")
        .bind(vec![1_u8; 60])
        .execute(&mut sql)
        .await
        .unwrap();
    drop(sql);
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.erase(&blog, &[visitor("a")]).await.unwrap();
    assert!(store.upkeep().await.is_err(), "it is said");
    assert_eq!(place.number("SELECT COUNT(*) FROM frames WHERE project = 2").await, 0);
    assert_eq!(place.number("SELECT COUNT(*) FROM erasures WHERE state = 'open' AND project = 2").await, 0);
    assert_eq!(place.number("SELECT COUNT(*) FROM erasures WHERE state = 'open' AND project = 1").await, 1);
    let rewritten = "SELECT COUNT(*) FROM frames WHERE project = 1 AND ledger > 0";
    assert_eq!(place.number(rewritten).await, 9, "every other frame of the project, too");
}

async fn a_damaged_frame_holds_up_those_alone_who_may_be_in_it_and_is_told(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    store.commit_work(work(10, &shop, vec![of("d", None, 100, NOON - 1000)])).await.unwrap();
    let mut sql = place.behind("data").await;
    let whole: Vec<u8> =
        sqlx::query_scalar("SELECT body FROM frames WHERE first = 4").fetch_one(&mut sql).await.unwrap();
    let mut put = async |body: Vec<u8>| {
        sqlx::query("UPDATE frames SET body = $1 WHERE first = 4").bind(body).execute(&mut sql).await.unwrap();
    };
    put(vec![1; 60]).await;
    let request = store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.erase(&shop, &[visitor("d")]).await.unwrap();
    assert!(store.upkeep().await.is_err(), "it is said");
    let told = async |store: &Store| {
        let notices = store.notices(false).await.unwrap();
        notices.into_iter().filter(|notice| notice.kind == NoticeKind::Damaged).collect::<Vec<_>>()
    };
    // Another process finds the same, and tells nobody again.
    for store in [&store, &place.open_accepting().await] {
        store.upkeep().await.ok();
        let erasures = store.erasures(shop.number).await.unwrap();
        assert_eq!((erasures[0].open, erasures[0].held.len()), (0, 0), "the other is wholly carried out");
        assert_eq!((erasures[1].open, erasures[1].request.as_str()), (1, request.as_str()));
        let held =
            convizit_store::HeldBy { frame: 4, last: 6, day: "2026-11-23".to_owned(), goes: "2027-01-23".to_owned() };
        assert_eq!(erasures[1].held, [held]);
        assert_eq!(store.erasure(shop.number, &request).await.unwrap().as_ref(), Some(&erasures[1]));
        let notices = told(store).await;
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!((notices[0].subject.as_str(), notices[0].count), ("frame 4", 1));
        for what in ["frame shop/4 of 2026-11-23 (events 4 to 6)", "on 2027-01-23", "erase --project shop --list"] {
            assert!(notices[0].text.contains(what), "{what}: {}", notices[0].text);
        }
        let damaged = store.damaged_frames().await.unwrap();
        assert_eq!(damaged.iter().map(|frame| (frame.first, frame.holds)).collect::<Vec<_>>(), [(4, true)]);
    }
    // Once it is restored the erasure ends.
    put(whole).await;
    let later = place.open_accepting().await;
    later.upkeep().await.unwrap();
    assert_eq!(open(&place).await, 0);
    assert!(later.erasures(shop.number).await.unwrap().iter().all(|erasure| erasure.held.is_empty()));
    assert!(told(&later).await.is_empty() && later.damaged_frames().await.unwrap().is_empty());
    assert_eq!(in_the_bytes(&place, shop.number).await, without_a());
}

async fn a_frame_with_a_damaged_filter_holds_everybody_until_retention_takes_it(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    let mut sql = place.behind("data").await;
    sqlx::query("UPDATE frames SET body = $1, filter = $2 WHERE first = 4")
        .bind(vec![1_u8; 60])
        .bind(vec![7_u8; 9])
        .execute(&mut sql)
        .await
        .unwrap();
    store.erase(&shop, &[visitor("nobody")]).await.unwrap();
    store.upkeep().await.ok();
    let erasures = store.erasures(shop.number).await.unwrap();
    assert_eq!((erasures[0].open, erasures[0].held.len()), (1, 1), "nobody knows whether they are in it");
    for day in 1..=62 {
        place.pass_to(NOON + day * DAY).await;
        store.upkeep().await.ok();
    }
    let later = place.open_accepting().await;
    later.upkeep().await.unwrap();
    assert_eq!(open(&place).await, 0);
    assert!(later.damaged_frames().await.unwrap().is_empty());
    assert!(later.notices(false).await.unwrap().iter().all(|notice| notice.kind != NoticeKind::Damaged));
}

async fn a_changed_bit_of_a_filter_hides_nobody(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    let mut sql = place.behind("data").await;
    let mut filter: Vec<u8> =
        sqlx::query_scalar("SELECT filter FROM frames WHERE first = 4").fetch_one(&mut sql).await.unwrap();
    // The last bit of each keyed hash: a list it is all the same.
    let hashes = filter.len() - 8;
    filter[1..hashes].iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 1);
    for (first, filter) in [(4, filter), (7, vec![7, 1, 2]), (10, Vec::new())] {
        let changed = sqlx::query("UPDATE frames SET filter = $1 WHERE first = $2").bind(filter).bind(first);
        assert_eq!(changed.execute(&mut sql).await.unwrap().rows_affected(), 1);
    }
    let report = store.verify(&Progress::default()).await.unwrap();
    assert_eq!(report.damaged_frames, ["shop/4", "shop/7", "shop/10"], "{:?}", report.problems);
    let found = store.persons_stored(&shop, &[visitor("a"), visitor("nobody")]).await.unwrap();
    assert_eq!((found.events, found.without), (10, vec![visitor("nobody")]));
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, without_a());
    store.upkeep().await.unwrap();
    assert_eq!(open(&place).await, 0);
    assert_eq!(in_the_bytes(&place, shop.number).await, without_a());
    let report = store.verify(&Progress::default()).await.unwrap();
    assert_eq!(report.problem_count, 0, "their filters are made anew: {:?}", report.problems);
    // Of somebody else, too, nothing was lost.
    assert_eq!(store.persons_stored(&shop, &[visitor("b")]).await.unwrap().events, 10);
}

async fn a_damaged_frame_is_named_and_passed_over_where_a_person_is_looked_for(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    let spoil = "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 10";
    sqlx::query(spoil).execute(&mut place.behind("data").await).await.unwrap();
    let (mut after, mut numbers, mut unread) = (0, Vec::new(), Vec::new());
    loop {
        let found = store.person_events(&shop, &[visitor("a")], after, 2).await.unwrap();
        numbers.extend(found.events.iter().map(|event| event.number));
        unread.extend(found.unread);
        let Some(next) = found.next else { break };
        after = next;
    }
    assert_eq!(numbers, [1, 4, 7, 13, 16, 19, 22, 25, 28]);
    assert_eq!(unread.len(), 1, "{unread:?}");
    assert!(unread[0].contains("events 10 to 12 of project shop cannot be read"), "{}", unread[0]);
    // Nobody who is in no damaged frame hears of it.
    let other = store.person_events(&shop, &[visitor("nobody")], 0, 2).await.unwrap();
    assert!(other.events.is_empty() && other.unread.is_empty());
}

async fn a_merge_never_brings_back_what_was_erased(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    let other = place.open_accepting().await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    // Both keep up at once, again and again, and one goes on writing.
    for round in 0..6_u32 {
        let events = vec![of("b", None, 1_000 + round, NOON + 1)];
        let (one, two, three) =
            tokio::join!(store.upkeep(), other.upkeep(), store.commit_work(work(u64::from(10 + round), &shop, events)));
        one.unwrap();
        two.unwrap();
        three.unwrap();
    }
    for store in [&store, &other] {
        let found = stored(store, shop.number, 0).await;
        assert_eq!(found.iter().filter(|n| **n < 30).copied().collect::<Vec<_>>(), without_a());
        assert_eq!(found.len(), 26);
    }
    assert_eq!(in_the_bytes(&place, shop.number).await.len(), 26);
}

fn hook(shop: &Project) -> Destination {
    Destination {
        project: shop.id.clone(),
        name: "hook".to_owned(),
        enabled: true,
        paused: None,
        processor: Some(convizit_model::Processor::own()),
        shaping: Default::default(),
        types: Vec::new(),
        kind: DestinationKind::Webhook { url: "https://hooks.example/".to_owned() },
    }
}

async fn destinations_are_asked_and_the_id_goes_when_all_were_told(place: Place) {
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    store.save_destination(&hook(&shop), None, true).await.unwrap();
    let letters = (1..=30).map(|number| convizit_store::DeadLetter::new(number, "status 422"));
    store.advance(&shop.id, "hook", 0, 30, letters.collect::<Vec<_>>()).await.unwrap();
    let request = store.erase(&shop, &[visitor("a")]).await.unwrap();
    let messages = store.erase_messages(shop.number, "hook").await.unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].persons.as_slice(), messages[0].made.as_millis()), ([visitor("a")].as_slice(), NOON));
    store.upkeep().await.unwrap();
    let ids = "SELECT COUNT(*) FROM erasures WHERE id IS NOT NULL";
    assert_eq!(place.number(ids).await, 1, "the destination and the worker are to be told");
    let forgotten = store.to_forget().await.unwrap();
    assert_eq!((forgotten.len(), forgotten[0].persons.as_slice()), (1, [visitor("a")].as_slice()));
    store.forgotten(&forgotten[0].numbers).await.unwrap();
    assert_eq!(place.number(ids).await, 1);
    store.told(shop.number, "hook", &request, None).await.unwrap();
    assert_eq!(place.number(ids).await, 0, "only a keyed hash stays");
    assert_eq!(store.erase_messages(shop.number, "hook").await.unwrap(), []);
    assert_eq!(store.erasures(shop.number).await.unwrap()[0].destinations[0].state, "told");
    let letters = store.dead_letters(&shop.id, "hook", 100).await.unwrap();
    assert_eq!(letters.len(), 20, "dead letters go with their events");
    assert!(letters.iter().all(|letter| letter.reason == "status 422"));
    assert_eq!(place.number("SELECT COUNT(*) FROM dead_letters WHERE reason <> '' OR sealed IS NULL").await, 0);
    // Of several persons one whose id is damaged: the receipt must not say that all were told.
    store.erase(&shop, &[visitor("b"), visitor("c")]).await.unwrap();
    let spoil = "UPDATE erasures SET id = person WHERE number = (SELECT MAX(number) FROM erasures)";
    sqlx::query(spoil).execute(&mut place.behind("data").await).await.unwrap();
    let messages = store.erase_messages(shop.number, "hook").await.unwrap();
    assert_eq!((messages[0].persons.len(), messages[0].unopened), (1, 1));
}

async fn a_frame_of_nobody_else_disappears_and_the_next_is_read(place: Place) {
    let (store, shop) = place.shop().await;
    for n in 0..3_u32 {
        let events =
            (n * 600..(n + 1) * 600).map(|n| of(if n < 1200 { "a" } else { "b" }, None, n, NOON - 1)).collect();
        store.commit_work(work(u64::from(n), &shop, events)).await.unwrap();
    }
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    for _ in 0..2 {
        let next = store.events_after(shop.number, 0, 5, usize::MAX).await.unwrap();
        assert_eq!(next.iter().map(|event| event.number).collect::<Vec<_>>(), [1201, 1202, 1203, 1204, 1205]);
        store.upkeep().await.unwrap();
    }
    assert_eq!(place.number("SELECT COUNT(*) FROM frames").await, 1);
}

/// Dead rows of PostgreSQL hold their bytes until their table is vacuumed.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_what_was_erased_are_vacuumed_and_that_of_ids_once_more() {
    let place = Place::postgres();
    let (store, shop) = place.shop().await;
    fill(&store, &shop).await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    let vacuumed = async |table: &'static str| {
        let mut sql = place.behind("data").await;
        let many = "SELECT CAST(COALESCE(SUM(vacuum_count), 0) AS BIGINT) FROM pg_stat_user_tables WHERE relname = $1";
        sqlx::query_scalar::<_, i64>(many).bind(table).fetch_one(&mut sql).await.unwrap()
    };
    let within = async |table: &'static str, times: i64| {
        crate::engines::within(std::time::Duration::from_secs(5), table, async || vacuumed(table).await == times).await;
    };
    store.upkeep().await.unwrap();
    for table in ["frames", "state", "quarantine", "erasures"] {
        within(table, 1).await;
    }
    // The sealed id goes with the last who is to forget it.
    assert_eq!(place.number("SELECT COUNT(*) FROM erasures WHERE id IS NOT NULL").await, 1);
    for forgotten in store.to_forget().await.unwrap() {
        store.forgotten(&forgotten.numbers).await.unwrap();
    }
    assert_eq!(place.number("SELECT COUNT(*) FROM erasures WHERE id IS NOT NULL").await, 0);
    store.upkeep().await.unwrap();
    within("erasures", 2).await;
    store.upkeep().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(vacuumed("erasures").await, 2, "once");
}
