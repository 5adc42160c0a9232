//! What was erased after a backup does not come back with it.

use convizit_model::{NewEvent, Person, Project};
use convizit_store::Store;
use convizit_store::backup::Progress;

use crate::backup::{Kept, back_up, commit, fill, hook};
use crate::engines::{DAY, NOON, Place, TODAY, event_at, on_both_engines, stored};

on_both_engines!(
    a_person_who_was_erased_since_does_not_come_back,
    who_was_erased_before_and_came_again_stays,
    who_came_again_before_the_erasure_was_carried_out_stays,
    a_dataset_that_was_erased_since_does_not_come_back,
    a_dataset_that_was_erased_before_is_as_it_was_since,
    frames_of_a_destroyed_key_are_left_out_and_counted,
    what_waited_in_the_journal_is_not_stored_of_who_was_erased,
    a_copy_follows_every_erasure_and_every_key,
    what_only_looks_into_a_backup_leaves_the_copy_to_the_original,
    a_copy_that_is_newer_than_the_database_is_not_written_over,
    a_token_that_was_revoked_does_not_come_back,
    access_that_was_withdrawn_since_is_there_again_and_said,
    erased_events_are_counted_nowhere,
    a_destination_that_the_backup_does_not_know_holds_no_erasure_open,
);

const CANARY: &str = "canary-of-the-erased";

fn of(visitor: &str, n: u32, millis: i64) -> NewEvent {
    let mut event = event_at(millis, n, 1);
    let mut json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
    json["visitor"] = visitor.into();
    if visitor == "a" {
        json["properties"]["said"] = CANARY.into();
    }
    event.json = serde_json::to_vec(&json).unwrap();
    visitor.clone_into(&mut event.visitor);
    event
}

pub(crate) async fn three_visitors(store: &Store, shop: &Project) {
    for n in 0..10_u32 {
        let events = ["a", "b", "c"].iter().zip(n * 3..).map(|(who, n)| of(who, n, NOON - 1000)).collect();
        commit(store, shop, u64::from(n), events).await;
    }
}

pub(crate) fn visitor(id: &str) -> Person {
    Person::Visitor(id.to_owned())
}

pub(crate) fn without_a() -> Vec<i64> {
    (0..30).filter(|n| n % 3 != 0).collect()
}

/// That nothing of who was erased can be read, and what the frames hold when nobody speaks of erasures.
pub(crate) async fn no_canary(place: &Place, kept: &Kept, project: i64) -> Vec<i64> {
    sqlx::query("DELETE FROM erasures").execute(&mut place.behind("data").await).await.unwrap();
    let store = kept.open_restored(place).await;
    let events = store.events_after(project, 0, usize::MAX / 4, usize::MAX).await.unwrap();
    assert!(!events.is_empty());
    for event in events {
        assert!(!String::from_utf8_lossy(&event.json).contains(CANARY));
    }
    for sample in store.samples(project, 1).await.unwrap() {
        assert!(!serde_json::to_string(&sample).unwrap().contains(CANARY));
    }
    stored(&store, project, 0).await
}

async fn a_person_who_was_erased_since_does_not_come_back(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    back_up(&store).await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    // Carried out, told and forgotten: of the person only a hash is left.
    store.upkeep().await.unwrap();
    for forgotten in store.to_forget().await.unwrap() {
        store.forgotten(&forgotten.numbers).await.unwrap();
    }
    kept.place.clock.set(NOON + 1);
    store.upkeep().await.unwrap();
    store.close().await;
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.erased_again, 1);
    assert_eq!(stored(&restored, shop.number, 0).await, without_a());
    assert_eq!(into.number("SELECT COUNT(*) FROM erasures WHERE state = 'open'").await, 0);
    restored.close().await;
    assert_eq!(no_canary(&into, &kept, shop.number).await, without_a());
}

async fn who_was_erased_before_and_came_again_stays(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.upkeep().await.unwrap();
    for forgotten in store.to_forget().await.unwrap() {
        store.forgotten(&forgotten.numbers).await.unwrap();
    }
    commit(&store, &shop, 10, vec![of("b", 30, NOON + 5_000), of("a", 31, NOON + 5_000)]).await;
    back_up(&store).await;
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.erased_again, 0, "the backup was erased already");
    let mut expected = without_a();
    expected.extend([30, 31]);
    assert_eq!(stored(&restored, shop.number, 0).await, expected);
}

async fn who_came_again_before_the_erasure_was_carried_out_stays(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    commit(&store, &shop, 10, vec![of("b", 30, NOON + 5_000), of("a", 31, NOON + 5_000)]).await;
    back_up(&store).await;
    let mut expected = without_a();
    expected.extend([30, 31]);
    assert_eq!(stored(&store, shop.number, 0).await, expected);
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.erased_again, 1);
    assert_eq!(stored(&restored, shop.number, 0).await, expected, "the erasure goes no further than it did");
    // Erased once more since: then all of it goes.
    kept.place.clock.set(NOON + 6_000);
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    let into = kept.fresh();
    let (restored, _) = kept.restore(&into).await;
    expected.pop();
    assert_eq!(stored(&restored, shop.number, 0).await, expected);
}

async fn a_dataset_that_was_erased_since_does_not_come_back(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    let blog = store.create_project(&"blog".parse().unwrap(), shop.settings.clone()).await.unwrap();
    fill(&store, &shop).await;
    commit(&store, &blog, 30, vec![of("b", 500, NOON - 1)]).await;
    back_up(&store).await;
    store.erase_all(&shop).await.unwrap();
    store.upkeep().await.unwrap();
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!((report.left_out_events, report.erased_again), (90, 1));
    assert_eq!(report.left_out.get("frames"), Some(&30));
    assert_eq!(report.left_out.get("state"), Some(&60));
    assert_eq!(report.lost_destinations, ["hook"]);
    assert_eq!(stored(&restored, shop.number, 0).await, [0_i64; 0]);
    assert_eq!(stored(&restored, blog.number, 0).await, [500]);
    assert_eq!(into.number("SELECT COUNT(*) FROM state WHERE project = 1").await, 0);
    // The project goes on; its destination, whose address no key opens any more, is to be added again.
    assert_eq!(restored.destinations(Some(&shop.id)).await.unwrap(), []);
    kept.place.clock.set(NOON + 5_000);
    commit(&restored, &shop, 31, vec![of("b", 90, NOON + 5_000)]).await;
    assert_eq!(stored(&restored, shop.number, 0).await, [90]);
    assert_eq!(restored.verify(&Progress::default()).await.unwrap().problems, [""; 0]);
}

async fn a_dataset_that_was_erased_before_is_as_it_was_since(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.save_destination(&hook(&shop), Some("whsec_c2VjcmV0IG9mIHRoZSBob29rIHRoYXQgaXM="), true).await.unwrap();
    store.erase_all(&shop).await.unwrap();
    kept.place.clock.set(NOON + 5_000);
    commit(&store, &shop, 10, vec![of("b", 31, NOON + 5_000)]).await;
    // Before the frames of the erased are gone.
    back_up(&store).await;
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(stored(&restored, shop.number, 0).await, [31]);
    assert_eq!((report.events, report.left_out_events), (vec![("shop".to_owned(), 1)], 0));
    assert!(restored.destination_secret(&shop.id, "hook").await.unwrap().is_some());
    assert_eq!(restored.verify(&Progress::default()).await.unwrap().problems, [""; 0]);
}

async fn frames_of_a_destroyed_key_are_left_out_and_counted(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    fill(&store, &shop).await;
    back_up(&store).await;
    let day: convizit_model::Timestamp = convizit_model::Timestamp::from_millis((TODAY - 1) * DAY);
    let key = format!("day/shop/{}", &day.to_string()[..10]);
    assert!(!store.destroy_key(&key, "anna").await.unwrap());
    assert!(store.destroy_key(&key, "ben").await.unwrap());
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!((report.left_out_events, report.left_out.get("frames")), (30, Some(&10)));
    assert_eq!(report.events, [("shop".to_owned(), 60)]);
    assert_eq!(stored(&restored, shop.number, 0).await.len(), 60);
    assert_eq!(restored.last_event(shop.number).await.unwrap(), 90, "numbers are not given again");
}

async fn what_waited_in_the_journal_is_not_stored_of_who_was_erased(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.journal_append("of a and b".into()).await.unwrap();
    back_up(&store).await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(report.journal_records, 1);
    let late = vec![of("a", 100, NOON - 1000), of("b", 101, NOON - 1000)];
    restored.commit_work(crate::engines::work(10, &shop, late)).await.unwrap();
    assert_eq!(stored(&restored, shop.number, 20).await.last(), Some(&101));
    assert!(!stored(&restored, shop.number, 20).await.contains(&100));
}

async fn a_copy_follows_every_erasure_and_every_key(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    let copy = || std::fs::read(kept.keys_to().join("ledger-b")).unwrap_or_default();
    let mut last = copy();
    let mut changed = |what: &str| {
        let now = copy();
        assert_ne!(now, last, "{what}");
        last = now;
    };
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    changed("a person was erased");
    store.rotate_kek().await.unwrap();
    changed("keys were wrapped anew");
    store.erase_all(&shop).await.unwrap();
    changed("a dataset was erased");
    // What the worker makes by itself is copied within a second or two.
    let day = NOON + DAY;
    kept.place.clock.set(day);
    commit(&store, &shop, 10, vec![of("b", 31, day)]).await;
    crate::engines::within(std::time::Duration::from_secs(10), "a copy of the new key", async || copy() != last).await;
    assert_eq!(std::fs::read(kept.keys_to().join("ledger-a")).unwrap(), copy());
}

/// Both copies, once a write that was under way has ended.
pub(crate) async fn copies(kept: &Kept) -> [Vec<u8>; 2] {
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    ["ledger-a", "ledger-b"].map(|name| std::fs::read(kept.keys_to().join(name)).unwrap())
}

async fn what_only_looks_into_a_backup_leaves_the_copy_to_the_original(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    back_up(&store).await;
    let into = kept.fresh();
    let (restored, _) = kept.restore(&into).await;
    restored.close().await;
    // The original erases somebody, of whom what looks into the backup does not know.
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.close().await;
    let before = copies(&kept).await;
    let looks = kept.open_beside(&into, false).await;
    looks.make_token(Some(&shop), &[convizit_store::Scope::Read], "looks", 30).await.unwrap();
    // What is copied by itself, within two seconds of the start, too.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let notices = looks.notices(false).await.unwrap();
    assert!(notices.is_empty(), "nothing is wrong with it: {notices:?}");
    looks.close().await;
    assert!(copies(&kept).await == before, "it was written over");
    let again = kept.fresh();
    let (restored, report) = kept.restore(&again).await;
    assert_eq!(report.erased_again, 1);
    restored.close().await;
    // Where it takes the original's place, the copy is its own.
    let goes_on = kept.open_beside(&again, true).await;
    goes_on.make_token(Some(&shop), &[convizit_store::Scope::Read], "goes-on", 30).await.unwrap();
    assert!(copies(&kept).await != before, "it is not written");
    goes_on.close().await;
    let off = kept.open_beside(&again, false).await;
    let before = copies(&kept).await;
    off.make_token(Some(&shop), &[convizit_store::Scope::Read], "off", 30).await.unwrap();
    assert!(copies(&kept).await != before, "backups that are off later have a copy that is true");
}

async fn a_copy_that_is_newer_than_the_database_is_not_written_over(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    back_up(&store).await;
    let into = kept.fresh();
    let (restored, _) = kept.restore(&into).await;
    restored.close().await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.close().await;
    let before = copies(&kept).await;
    let older = kept.open_beside(&into, true).await;
    // However often it tries: a number that it takes in vain must not catch up.
    for name in ["one", "two", "three"] {
        older.make_token(Some(&shop), &[convizit_store::Scope::Read], name, 30).await.unwrap();
    }
    let error = older.back_up(&Progress::default()).await.unwrap_err().to_string();
    assert!(error.contains("nothing was written"), "{error}");
    assert!(copies(&kept).await == before, "it was written over");
    let notices = older.notices(false).await.unwrap();
    assert!(notices.iter().any(|notice| notice.text.contains("may still run")), "{notices:?}");
    // A person says that this one goes on.
    for name in ["ledger-a", "ledger-b"] {
        std::fs::remove_file(kept.keys_to().join(name)).unwrap();
    }
    kept.place.clock.set(NOON + 1);
    back_up(&older).await;
    older.close().await;
    kept.plan(&kept.fresh()).await.unwrap();
}

async fn a_token_that_was_revoked_does_not_come_back(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    let lost = store.make_token(Some(&shop), &[convizit_store::Scope::Erase], "lost-laptop", 30).await.unwrap();
    let desk = store.make_token(Some(&shop), &[convizit_store::Scope::Erase], "desk", 30).await.unwrap();
    back_up(&store).await;
    store.remove_token("lost-laptop").await.unwrap();
    let later = store.make_token(Some(&shop), &[convizit_store::Scope::Export], "later", 30).await.unwrap();
    store.close().await;
    let into = kept.fresh();
    let (restored, _) = kept.restore(&into).await;
    assert_eq!(restored.token(&lost).await.unwrap(), None);
    for living in [desk, later] {
        assert!(restored.token(&living).await.unwrap().is_some());
    }
}

async fn access_that_was_withdrawn_since_is_there_again_and_said(place: Place) {
    const PASSWORD: &str = "copper lantern walks uphill";
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    let link = store.invite_member(&shop, "bob@shop.example", convizit_model::Role::Admin).await.unwrap();
    let bob = store.accept(&link, "", "bob", PASSWORD).await.unwrap();
    back_up(&store).await;
    store.remove_member(&shop, bob.number).await.unwrap();
    store.close().await;
    let into = kept.fresh();
    let (restored, report) = kept.restore(&into).await;
    assert_eq!(restored.role(shop.number, bob.number).await.unwrap(), Some(convizit_model::Role::Admin));
    assert_eq!(report.accounts, 1, "whoever restores is told");
}

async fn erased_events_are_counted_nowhere(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.upkeep().await.unwrap();
    assert_eq!(store.stored_events(shop.number, None, &Progress::default()).await.unwrap().events, 20);
    assert_eq!(back_up(&store).await.events, 20);
    assert_eq!(store.verify_backup(None, &Progress::default()).await.unwrap().events, 20);
    assert_eq!(store.drill(&Progress::default()).await.unwrap().events, 20);
    // Erased after the backup: it counts them, and what came back has them no more.
    store.erase(&shop, &[visitor("b")]).await.unwrap();
    let into = kept.fresh();
    let (_, report) = kept.restore(&into).await;
    assert_eq!(report.events, [("shop".to_owned(), 10)]);
}

async fn a_destination_that_the_backup_does_not_know_holds_no_erasure_open(place: Place) {
    let kept = Kept::of(place);
    let (store, shop) = kept.shop().await;
    three_visitors(&store, &shop).await;
    back_up(&store).await;
    store.save_destination(&hook(&shop), Some("whsec_c2VjcmV0IG9mIHRoZSBob29rIHRoYXQgaXM="), true).await.unwrap();
    store.erase(&shop, &[visitor("a")]).await.unwrap();
    store.upkeep().await.unwrap();
    let told = async |store: &Store| {
        let told = store.erasures(shop.number).await.unwrap().remove(0).destinations.remove(0);
        (told.destination, told.state, told.reason.contains("by hand"))
    };
    assert_eq!(told(&store).await, ("hook".to_owned(), "open".to_owned(), false), "it waits where the destination is");
    let into = kept.fresh();
    let (restored, _) = kept.restore(&into).await;
    assert_eq!(restored.destinations(Some(&shop.id)).await.unwrap(), []);
    assert_eq!(told(&restored).await, ("hook".to_owned(), "cannot".to_owned(), true));
    for forgotten in restored.to_forget().await.unwrap() {
        restored.forgotten(&forgotten.numbers).await.unwrap();
    }
    assert_eq!(into.number("SELECT COUNT(*) FROM erasures WHERE id IS NOT NULL").await, 0, "so the id goes");
}
