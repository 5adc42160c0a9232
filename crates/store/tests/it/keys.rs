//! Keys over time: the wrong one stops the start, a rotation pauses nothing, an old one is destroyed, a living one only by two.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use convizit_model::{NoticeKind, StateKind, StateRow};
use convizit_store::{NO_LOGIN, Scope, Store, StoreError};

use crate::engines::{DAY, NOON, Place, TODAY, event_at, events, on_both_engines, stored, within, work};

on_both_engines!(
    without_its_key_nothing_starts_and_nothing_is_overwritten,
    a_rotation_of_the_key_encryption_key_pauses_nothing,
    a_projects_key_is_rotated_in_time_and_the_old_one_destroyed,
    too_old_a_key_seals_nothing_and_goes_on_opening,
    tomorrows_keys_are_made_an_hour_ahead,
    a_living_key_is_destroyed_by_two_people_only,
    two_tokens_of_one_user_of_the_machine_are_one_word,
    where_no_login_is_known_two_tokens_are_two_people,
    a_login_and_none_are_not_two_people,
    a_request_to_destroy_a_key_is_listed_and_withdrawn,
    a_request_that_is_being_carried_out_is_not_withdrawn,
    a_request_stands_again_where_its_key_could_not_be_ended,
    what_another_process_destroys_is_forgotten,
    an_end_of_a_key_that_was_cut_is_carried_out,
    two_installations_do_not_share_a_key_file,
    what_needs_a_key_is_said_before,
    a_list_of_keys_says_what_still_needs_an_old_one,
    retention_destroys_the_keys_of_its_days,
    what_is_moved_to_another_project_does_not_open,
    a_jump_of_the_clock_pauses_retention,
    a_jump_of_the_clock_destroys_no_old_key,
    what_came_while_the_clock_was_set_back_is_kept,
);

fn element(key: u64) -> StateRow {
    StateRow { kind: StateKind::Decision, key, expires_day: None, body: format!("row {key}").into_bytes() }
}

async fn fill(place: &Place) -> (Store, convizit_model::Project) {
    let (store, shop) = place.shop().await;
    let mut first = work(0, &shop, events(0..5));
    first.projects[0].rows = vec![element(1), element(2)];
    store.commit_work(first).await.unwrap();
    (store, shop)
}

/// As the worker does: what was made without knowing of the ledger's newest entry is made anew.
async fn commit(store: &Store, work: convizit_model::Work) {
    if let Err(error) = store.commit_work(work.clone()).await {
        assert!(matches!(error, StoreError::Moved { .. }), "{error}");
        store.commit_work(work).await.unwrap();
    }
}

async fn without_its_key_nothing_starts_and_nothing_is_overwritten(place: Place) {
    let (store, _) = fill(&place).await;
    let id = store.list_keys().await.unwrap()[0].id.clone();
    store.close().await;
    drop(store);
    let file = place.folder.path().join("keys");
    let good = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let error = place.try_open().await.err().unwrap().to_string();
    assert!(error.contains(&id) && error.contains("restore"), "{error}");
    assert!(!file.exists(), "no new key in the place of a lost one");
    // Another installation's.
    let other = Place::sqlite();
    other.open().await.close().await;
    fs::copy(other.folder.path().join("keys"), &file).unwrap();
    let error = place.try_open().await.err().unwrap().to_string();
    assert!(error.contains(&id), "{error}");
    fs::write(&file, good).unwrap();
    let store = place.open_accepting().await;
    assert_eq!(stored(&store, 1, 0).await.len(), 5);
}

async fn a_rotation_of_the_key_encryption_key_pauses_nothing(place: Place) {
    let (store, shop) = fill(&place).await;
    let before = store.list_keys().await.unwrap()[0].id.clone();
    let writer = {
        let (store, shop) = (store.clone(), shop.clone());
        tokio::spawn(async move {
            for n in 1..40_u32 {
                store.commit_work(work(u64::from(n), &shop, events(n * 10..n * 10 + 2))).await.unwrap();
            }
        })
    };
    let mut rewrapped = 0;
    for _ in 0..5 {
        rewrapped += store.rotate_kek().await.unwrap().1;
    }
    writer.await.unwrap();
    assert_eq!(rewrapped, 15, "root, installation and project, five times");
    let keys = store.list_keys().await.unwrap();
    assert_ne!(keys[0].id, before);
    assert_eq!((keys[0].state, keys[0].wraps), ("wraps", 3));
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5 + 39 * 2);
    let kept = store.list_keys().await.unwrap();
    assert_eq!(kept.iter().filter(|key| key.wrapped_by.is_empty()).count(), 1, "old ones are destroyed: {kept:?}");
    store.close().await;
    drop(store);
    let store = place.open_accepting().await;
    assert_eq!(stored(&store, shop.number, 0).await.len(), 83);
    assert_eq!(store.load_state(shop.number).await.unwrap().len(), 2);
    assert_eq!(store.verify_audit(&[]).await.unwrap().problem, None);
}

async fn a_projects_key_is_rotated_in_time_and_the_old_one_destroyed(place: Place) {
    let (store, shop) = fill(&place).await;
    store.save_destination(&crate::destinations::hook(&shop, "hook"), Some("the secret"), true).await.unwrap();
    let states = async |store: &Store| {
        let keys = store.list_keys().await.unwrap();
        keys.into_iter().filter(|key| key.id.starts_with("project/shop/")).map(|key| key.state).collect::<Vec<_>>()
    };
    let note = async |state: &str| {
        let keys = store.list_keys().await.unwrap();
        let mut found = keys.into_iter().filter(|key| key.id.starts_with("project/shop/") && key.state == state);
        found.next().map(|key| key.note).unwrap_or_default()
    };
    assert_eq!(states(&store).await, ["seals"]);
    assert_eq!(note("seals").await, "in use; a new one takes its place on 2027-02-14");
    place.pass_to(NOON + 84 * DAY).await;
    store.upkeep().await.unwrap();
    assert!(note("waits").await.starts_with("seals from 2027-02-15T12:01:"), "{}", note("waits").await);
    assert_eq!(states(&store).await, ["waits", "seals"], "the new one is known everywhere before it seals");
    let log = store.audit_entries(Some("shop"), 50).await.unwrap();
    let rotated = log.iter().find(|entry| entry.act == "key.rotate").expect("every rotation is in the audit log");
    assert_eq!((rotated.actor.as_str(), rotated.subject.as_str()), ("system", "shop"));
    place.pass_to(NOON + 84 * DAY + 11 * 60_000).await;
    store.upkeep().await.unwrap();
    assert_eq!(states(&store).await, ["seals", "destroyed"], "nothing needs the old one any more");
    let secret = store.destination_secret(&shop.id, "hook").await.unwrap();
    assert_eq!(secret.as_deref(), Some("the secret"));
    assert_eq!(store.destinations(None).await.unwrap().len(), 1);
    assert_eq!(store.load_state(shop.number).await.unwrap(), [element(1), element(2)]);
    store.commit_work(work(1, &shop, vec![event_at(NOON + 84 * DAY, 77, 1)])).await.unwrap();
    let store = place.open_accepting().await;
    assert!(stored(&store, shop.number, 0).await.contains(&77));
}

async fn too_old_a_key_seals_nothing_and_goes_on_opening(place: Place) {
    let (store, shop) = fill(&place).await;
    place.clock.set(NOON + 91 * DAY);
    let error = store.commit_work(work(1, &shop, vec![event_at(NOON + 91 * DAY, 9, 1)])).await.unwrap_err();
    assert!(matches!(error, StoreError::Keys(_)) && error.to_string().contains("older than 90 days"), "{error}");
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5, "what it sealed opens");
    // A start makes a new one at once, as long as the key-encryption key may wrap.
    let again = place.open_accepting().await;
    again.commit_work(work(1, &shop, vec![event_at(NOON + 91 * DAY, 9, 1)])).await.unwrap();
    let old = again.list_keys().await.unwrap()[0].id.clone();
    again.close().await;
    store.close().await;
    // After more than a year without the product, a start rotates first.
    place.clock.set(NOON + 500 * DAY);
    let again = place.open_accepting().await;
    assert_ne!(again.list_keys().await.unwrap()[0].id, old);
    again.commit_work(work(2, &shop, vec![event_at(NOON + 500 * DAY, 10, 1)])).await.unwrap();
}

async fn tomorrows_keys_are_made_an_hour_ahead(place: Place) {
    let (store, _) = fill(&place).await;
    let tomorrow =
        "SELECT COUNT(*) FROM keys WHERE kind = 'day' AND number = (SELECT MAX(number) FROM keys WHERE kind = 'day')";
    assert_eq!(place.number_of("control", tomorrow).await, 1);
    let until_midnight = (TODAY + 1) * DAY - NOON;
    place.clock.set(NOON + until_midnight - 70 * 60_000);
    store.upkeep().await.unwrap();
    let days = "SELECT COUNT(*) FROM keys WHERE kind = 'day'";
    assert_eq!(place.number_of("control", days).await, 1);
    place.clock.set(NOON + until_midnight - 50 * 60_000);
    store.upkeep().await.unwrap();
    assert_eq!(place.number_of("control", days).await, 2);
    let provider = store.audit_entries(None, 1000).await.unwrap().len();
    place.clock.set(NOON + until_midnight + 1);
    let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
    store.commit_work(work(1, &shop, vec![event_at(NOON + until_midnight + 1, 50, 1)])).await.unwrap();
    assert_eq!(
        store.audit_entries(None, 1000).await.unwrap().len(),
        provider,
        "midnight asks the provider for nothing"
    );
}

async fn a_living_key_is_destroyed_by_two_people_only(place: Place) {
    let (store, shop) = fill(&place).await;
    let date = convizit_model::Timestamp::from_millis(NOON).to_string();
    let key = format!("day/shop/{}", date.split('T').next().unwrap());
    for name in ["anna", "ben"] {
        store.make_token(None, &[Scope::Keys], name, 30).await.unwrap();
    }
    assert!(!store.destroy_key(&key, "anna").await.unwrap());
    let error = store.destroy_key(&key, "anna").await.unwrap_err().to_string();
    assert!(error.contains("a second person"), "{error}");
    let log = store.audit_entries(Some("shop"), 50).await.unwrap();
    let refused = log.iter().find(|entry| entry.act == "key.refuse").expect("it is written down");
    assert_eq!((refused.actor.as_str(), &refused.subject), ("token:anna", &key));
    assert_eq!(refused.detail, format!("destroy: {error}"), "why");
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5);
    place.clock.set(NOON + 2 * DAY);
    assert!(!store.destroy_key(&key, "ben").await.unwrap(), "anna's word is two days old");
    store.remove_token("ben").await.unwrap();
    assert!(!store.destroy_key(&key, "anna").await.unwrap(), "with his token went what ben has asked for");
    store.make_token(None, &[Scope::Keys], "ben", 30).await.unwrap();
    place.clock.set(NOON + 4 * DAY);
    assert!(!store.destroy_key(&key, "ben").await.unwrap());
    assert!(store.destroy_key(&key, "anna").await.unwrap());
    assert_eq!(stored(&store, shop.number, 0).await, [0_i64; 0], "what it sealed is gone");
    store.commit_work(work(1, &shop, events(5..7))).await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [5, 6], "events of the day that still come get a new key");
    assert!(!store.destroy_key(&key, "anna").await.unwrap(), "which is another one");
    let key = "day/shop/2020-01-01";
    let error = store.destroy_key(key, "anna").await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "key", .. }), "{error}");
}

async fn two_tokens_of_one_user_of_the_machine_are_one_word(place: Place) {
    let (store, shop) = fill(&place).await;
    let day = "day/shop/2026-11-23";
    let (root, mia) = (store.acting_as("os:mia(1001) as root(0)"), store.acting_as("os:mia(1001)"));
    let need = async |store: &Store| store.key_need(day, &convizit_store::backup::Progress::default()).await.unwrap();
    assert!(!root.destroy_key(day, "anna").await.unwrap());
    assert_eq!(store.key_requests().await.unwrap()[0].asked_from, "os:mia(1001)");
    for same in [&root, &mia] {
        assert!(need(same).await.no_second.unwrap().contains("the same user of this machine"));
        let error = same.destroy_key(day, "ben").await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)) && error.to_string().contains("os:mia(1001)"), "{error}");
    }
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5);
    let noa = store.acting_as("os:noa(1002) as root(0)");
    assert_eq!(need(&noa).await.no_second, None);
    assert!(noa.destroy_key(day, "ben").await.unwrap());
    let log = store.audit_entries(None, 50).await.unwrap();
    let from = |act: &str| -> Vec<(&str, &str)> {
        log.iter().filter(|entry| entry.act == act).map(|entry| (entry.actor.as_str(), entry.detail.as_str())).collect()
    };
    assert_eq!(from("key.destroy.ask"), [("token:anna", "from os:mia(1001) as root(0)")]);
    assert_eq!(from("key.destroy"), [("token:ben", "from os:noa(1002) as root(0)")]);
    assert_eq!(from("key.refuse").len(), 2);
}

/// In a container everybody is one user, and two people could never agree.
async fn where_no_login_is_known_two_tokens_are_two_people(place: Place) {
    let (store, shop) = fill(&place).await;
    let day = "day/shop/2026-11-23";
    let store = store.acting_as(&format!("os:root(0){NO_LOGIN}"));
    assert!(!store.destroy_key(day, "anna").await.unwrap());
    assert_eq!(store.key_requests().await.unwrap()[0].asked_from, "");
    let error = store.destroy_key(day, "anna").await.unwrap_err().to_string();
    assert!(error.contains("a token of their own"), "{error}");
    assert!(store.destroy_key(day, "ben").await.unwrap());
    assert_eq!(stored(&store, shop.number, 0).await, [0_i64; 0]);
    let log = store.audit_entries(None, 50).await.unwrap();
    let said = "from os:root(0), and no login is known here";
    for (act, actor) in [("key.destroy.ask", "token:anna"), ("key.destroy", "token:ben")] {
        let entry = log.iter().find(|entry| entry.act == act).unwrap();
        assert_eq!((entry.actor.as_str(), entry.detail.as_str()), (actor, said));
    }
    let refused = log.iter().find(|entry| entry.act == "key.refuse").unwrap();
    assert!(refused.actor == "token:anna" && refused.detail.ends_with(said), "{refused:?}");
}

/// Whoever has logged in can also act where no login is known, as by a service of their own.
async fn a_login_and_none_are_not_two_people(place: Place) {
    let (store, shop) = fill(&place).await;
    let day = "day/shop/2026-11-23";
    let (mia, nobody) = (store.acting_as("os:mia(1001)"), store.acting_as(&format!("os:mia(1001){NO_LOGIN}")));
    for (first, second) in [(&mia, &nobody), (&nobody, &mia)] {
        assert!(!first.destroy_key(day, "anna").await.unwrap());
        let need = second.key_need(day, &convizit_store::backup::Progress::default()).await.unwrap();
        assert!(need.no_second.unwrap().contains("from a login of their own"));
        let error = second.destroy_key(day, "ben").await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)) && error.to_string().contains("os:mia(1001)"), "{error}");
        assert_eq!(stored(&store, shop.number, 0).await.len(), 5);
        first.withdraw_key_request(day).await.unwrap();
    }
    let log = store.audit_entries(None, 50).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.act == "key.refuse").count(), 2);
    // Two who have logged in are.
    assert!(!mia.destroy_key(day, "anna").await.unwrap());
    assert!(store.acting_as("os:noa(1002)").destroy_key(day, "ben").await.unwrap());
}

async fn a_list_of_keys_says_what_still_needs_an_old_one(place: Place) {
    // Without upkeep, which would end what needs it.
    let config = convizit_store::StoreConfig { upkeep: false, ..place.config() };
    let store = Store::open(config, place.provider(), place.clock.clone()).await.unwrap();
    let shop = store.create_project(&"shop".parse().unwrap(), Default::default()).await.unwrap();
    let mut first = work(0, &shop, events(0..5));
    first.projects[0].rows = vec![element(1), element(2)];
    store.commit_work(first).await.unwrap();
    let note = async |id: &str| {
        let keys = store.list_keys().await.unwrap();
        keys.into_iter().find(|key| key.id == id).map(|key| key.note).unwrap_or_default()
    };
    let kek = store.list_keys().await.unwrap()[0].id.clone();
    assert!(note(&kek).await.starts_with("in use; a new one takes its place on 2027-"), "{}", note(&kek).await);
    store.rotate_kek().await.unwrap();
    assert_eq!(note(&kek).await, "nothing needs it: upkeep destroys it within an hour");
    // 60 days behind that day are kept.
    let keys = store.list_project_keys(&shop.id).await.unwrap();
    let day = keys.into_iter().find(|key| key.id == "day/shop/2026-11-23").unwrap();
    assert_eq!(day.note, "in use; destroyed with its events, on 2027-01-23");
    store.rotate_project_key(shop.number).await.unwrap();
    assert!(note("project/shop/1").await.starts_with("in use"), "{}", note("project/shop/1").await);
    assert!(
        note("project/shop/2").await.starts_with("seals from 2026-11-23T12:01"),
        "{}",
        note("project/shop/2").await
    );
    place.clock.set(NOON + 120_000);
    let needed = "only opens; needed by 1 key of days and 2 sealed rows, which upkeep seals anew";
    assert_eq!(note("project/shop/1").await, needed);
    assert!(note("project/shop/2").await.starts_with("in use"), "{}", note("project/shop/2").await);
}

async fn a_request_to_destroy_a_key_is_listed_and_withdrawn(place: Place) {
    let (store, shop) = fill(&place).await;
    let (day, version) = ("day/shop/2026-11-23", "project/shop/1");
    assert_eq!(store.key_requests().await.unwrap(), []);
    assert!(!store.destroy_key(day, "anna").await.unwrap());
    place.clock.set(NOON + 60_000);
    assert!(!store.destroy_key(version, "ben").await.unwrap());
    let asked = store.key_requests().await.unwrap();
    let told: Vec<_> = asked.iter().map(|request| (request.key.as_str(), request.asked_by.as_str())).collect();
    assert_eq!(told, [(day, "anna"), (version, "ben")]);
    assert_eq!(asked[0].until.as_millis(), NOON + DAY);
    store.acting_as("os:cleo").withdraw_key_request(day).await.unwrap();
    assert_eq!(store.key_requests().await.unwrap().len(), 1);
    assert!(!store.destroy_key(day, "ben").await.unwrap(), "his is the first word again");
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5);
    let log = store.audit_entries(Some("shop"), 50).await.unwrap();
    let entry = log.iter().find(|entry| entry.act == "key.destroy.withdraw").unwrap();
    assert_eq!((entry.actor.as_str(), entry.subject.as_str()), ("os:cleo", day));
    assert_eq!(entry.detail, "asked by anna");
    // One that is over is none.
    place.clock.set(NOON + 2 * DAY);
    assert_eq!(store.key_requests().await.unwrap(), []);
    for key in [day, "day/shop/2020-01-01"] {
        let error = store.withdraw_key_request(key).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }
}

/// Whoever is told that nobody asks any more has kept the key.
async fn a_request_that_is_being_carried_out_is_not_withdrawn(place: Place) {
    let (store, shop) = fill(&place).await;
    let day = "day/shop/2026-11-23";
    assert!(!store.destroy_key(day, "anna").await.unwrap());
    // Holds the ledger up, behind the entry of the audit log.
    let mut held = place.behind("data").await;
    sqlx::raw_sql("BEGIN; UPDATE worker SET journal_offset = journal_offset WHERE id = 0")
        .execute(&mut held)
        .await
        .unwrap();
    let destroying = {
        let store = store.clone();
        tokio::spawn(async move { store.destroy_key(day, "ben").await })
    };
    let said = "SELECT COUNT(*) FROM audit WHERE act = 'key.destroy'";
    within(Duration::from_secs(4), "it is begun", async || place.number_of("control", said).await == 1).await;
    let error = store.withdraw_key_request(day).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    sqlx::raw_sql("COMMIT").execute(&mut held).await.unwrap();
    assert!(destroying.await.unwrap().unwrap());
    assert_eq!(stored(&store, shop.number, 0).await, [0_i64; 0]);
}

async fn a_request_stands_again_where_its_key_could_not_be_ended(place: Place) {
    let (store, shop) = fill(&place).await;
    let day = "day/shop/2026-11-23";
    assert!(!store.acting_as("os:anna(1001)").destroy_key(day, "anna").await.unwrap());
    let ben = store.acting_as("os:ben(1002)");
    let asked = store.key_requests().await.unwrap();
    let mut data = place.behind("data").await;
    sqlx::raw_sql("ALTER TABLE worker RENAME TO worker_away").execute(&mut data).await.unwrap();
    let error = ben.destroy_key(day, "ben").await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    sqlx::raw_sql("ALTER TABLE worker_away RENAME TO worker").execute(&mut data).await.unwrap();
    assert_eq!(store.key_requests().await.unwrap(), asked);
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5);
    let log = store.audit_entries(None, 2).await.unwrap();
    let told: Vec<_> = log.iter().map(|entry| (entry.act.as_str(), entry.detail.contains("the key lives"))).collect();
    assert!(told.contains(&("key.destroy", false)) && told.contains(&("key.destroy.ask", true)), "{log:?}");
    assert!(ben.destroy_key(day, "ben").await.unwrap());
    assert_eq!((store.key_requests().await.unwrap(), stored(&store, shop.number, 0).await), (Vec::new(), Vec::new()));
}

async fn what_another_process_destroys_is_forgotten(place: Place) {
    let (store, shop) = fill(&place).await;
    store.commit_work(work(1, &shop, vec![event_at(NOON, 5, 1)])).await.unwrap();
    let other = place.open_accepting().await;
    let date = convizit_model::Timestamp::from_millis(NOON).to_string();
    let key = format!("day/shop/{}", date.split('T').next().unwrap());
    for name in ["anna", "ben"] {
        other.make_token(None, &[Scope::Keys], name, 30).await.unwrap();
    }
    // A day's key first: what comes after is sealed by one that there is.
    let version = store.control_version();
    assert!(!other.destroy_key(&key, "anna").await.unwrap());
    assert!(other.destroy_key(&key, "ben").await.unwrap());
    within(Duration::from_secs(30), "the change is seen", async || store.control_version() > version).await;
    let before = store.last_event(shop.number).await.unwrap();
    place.clock.set(NOON + 1);
    commit(&store, work(2, &shop, vec![event_at(NOON, 6, 1)])).await;
    assert_eq!(stored(&other, shop.number, before).await, [6], "sealed by a key that there is");
    // Then the one that wraps it: what it has sealed is gone, what comes after is sealed by the next, and destinations go on.
    assert_eq!(store.load_state(shop.number).await.unwrap().len(), 2);
    store.save_destination(&crate::destinations::hook(&shop, "hook"), Some("the secret"), true).await.unwrap();
    assert!(!other.destroy_key("project/shop/1", "anna").await.unwrap());
    assert!(other.destroy_key("project/shop/1", "ben").await.unwrap());
    place.clock.set(NOON + 2);
    let mut next = work(3, &shop, vec![event_at(NOON, 7, 1)]);
    next.projects[0].rows = vec![element(3)];
    commit(&store, next).await;
    for store in [&store, &other, &place.open_accepting().await] {
        assert_eq!(store.load_state(shop.number).await.unwrap(), [element(3)]);
        assert_eq!(stored(store, shop.number, 0).await, [7]);
        assert_eq!(store.destinations(None).await.unwrap().len(), 1);
        let secret = store.destination_secret(&shop.id, "hook").await.unwrap();
        assert_eq!(secret.as_deref(), Some("the secret"));
    }
}

/// A process that ends between the ledger and the key leaves nothing that stops delivery: whoever comes next ends the key.
async fn an_end_of_a_key_that_was_cut_is_carried_out(place: Place) {
    let (store, shop) = fill(&place).await;
    store.close().await;
    drop(store);
    let mut sql = place.behind("data").await;
    sqlx::query(
        "INSERT INTO erasures (number, project, kind, person, made, through, request, state, forgotten) \
         VALUES (1, 1, 'day', $1, $2, 5, 'er_cut', 'open', 0)",
    )
    .bind([TODAY.to_be_bytes(), NOON.to_be_bytes()].concat())
    .bind(NOON)
    .execute(&mut sql)
    .await
    .unwrap();
    drop(sql);
    let store = place.open_accepting().await;
    assert_eq!(stored(&store, shop.number, 0).await, [0_i64; 0]);
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM keys WHERE kind = 'day'").await, 0);
    place.clock.set(NOON + 1);
    store.commit_work(work(1, &shop, vec![event_at(NOON, 8, 1)])).await.unwrap();
    let store = place.open_accepting().await;
    assert_eq!(stored(&store, shop.number, 0).await, [8], "a start ends no later key");
    store.upkeep().await.unwrap();
    assert_eq!(place.number("SELECT COUNT(*) FROM frames").await, 1);
    assert_eq!(store.erasures(shop.number).await.unwrap(), [], "it is no erasure of persons");
}

async fn two_installations_do_not_share_a_key_file(place: Place) {
    let (store, _) = fill(&place).await;
    let other = Place::sqlite();
    let opened = Store::open(other.config(), place.provider(), other.clock.clone()).await;
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("of another installation"), "{error}");
    assert_eq!(other.number_of("control", "SELECT COUNT(*) FROM keys").await, 0, "nothing is wrapped by it");
    store.rotate_kek().await.unwrap();
}

async fn retention_destroys_the_keys_of_its_days(place: Place) {
    let (store, shop) = fill(&place).await;
    let days = "SELECT COUNT(*) FROM keys WHERE kind = 'day'";
    place.clock.set(NOON + DAY);
    store.commit_work(work(1, &shop, vec![event_at(NOON + DAY, 50, 1)])).await.unwrap();
    for day in 2..=60 {
        place.clock.set(NOON + day * DAY);
        store.upkeep().await.unwrap();
    }
    assert_eq!(place.number_of("control", days).await, 2, "60 days are kept");
    place.clock.set(NOON + 61 * DAY);
    store.upkeep().await.unwrap();
    assert_eq!(place.number_of("control", days).await, 1);
    assert_eq!(stored(&store, shop.number, 0).await, [50]);
}

async fn what_is_moved_to_another_project_does_not_open(place: Place) {
    let (store, shop) = fill(&place).await;
    let blog = store.create_project(&"blog".parse().unwrap(), shop.settings.clone()).await.unwrap();
    store.commit_work(work(1, &blog, events(10..15))).await.unwrap();
    let mut sql = place.behind("data").await;
    sqlx::raw_sql(
        "UPDATE frames SET body = (SELECT body FROM frames WHERE project = 1) WHERE project = 2; \
         UPDATE state SET project = 2 WHERE project = 1",
    )
    .execute(&mut sql)
    .await
    .unwrap();
    let error = store.events_after(blog.number, 0, 9, usize::MAX).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let error = store.load_state(blog.number).await.unwrap_err();
    assert!(matches!(error, StoreError::Keys(_)), "{error}");
}

async fn a_jump_of_the_clock_pauses_retention(place: Place) {
    let (store, shop) = fill(&place).await;
    store.upkeep().await.unwrap();
    place.clock.set(NOON + 400 * DAY);
    store.upkeep().await.ok();
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5, "nothing goes because of a jump");
    let notice =
        store.notices(false).await.unwrap().into_iter().find(|notice| notice.kind == NoticeKind::Clock).unwrap();
    assert!(notice.text.contains("resolve this notice"), "{}", notice.text);
    place.clock.set(NOON + 60_000);
    store.upkeep().await.unwrap();
    assert!(store.notices(false).await.unwrap().is_empty(), "the clock is back");
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5);
    place.clock.set(NOON + 70 * DAY);
    store.upkeep().await.unwrap();
    let notice =
        store.notices(false).await.unwrap().into_iter().find(|notice| notice.kind == NoticeKind::Clock).unwrap();
    store.set_notice(notice.id, convizit_model::NoticeState::Resolved).await.unwrap();
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await, [0_i64; 0], "a person said that the clock is right");
    // Where nothing would go for it now, something would later.
    place.clock.set(NOON + 75 * DAY);
    store.upkeep().await.unwrap();
    let open = store.notices(false).await.unwrap();
    assert!(open.iter().any(|notice| notice.kind == NoticeKind::Clock), "{open:?}");
}

async fn a_jump_of_the_clock_destroys_no_old_key(place: Place) {
    let (store, shop) = fill(&place).await;
    store.upkeep().await.unwrap();
    store.rotate_project_key(shop.number).await.unwrap();
    let destroyed = "SELECT COUNT(*) FROM keys WHERE project = 1 AND kind = 'project' AND wrapped_by = 'destroyed'";
    for after in [0, 11 * 60_000] {
        place.clock.set(NOON + 100 * DAY + after);
        store.upkeep().await.unwrap();
    }
    assert_eq!(
        place.number_of("control", destroyed).await,
        0,
        "how old it is, and what needs it, the clock does not say"
    );
    place.clock.set(NOON + 12 * 60_000);
    store.upkeep().await.unwrap();
    assert_eq!(place.number_of("control", destroyed).await, 1, "the clock is back, and nothing needs the first");
    assert_eq!(store.load_state(shop.number).await.unwrap().len(), 2);
    assert_eq!(stored(&store, shop.number, 0).await.len(), 5);
}

async fn what_came_while_the_clock_was_set_back_is_kept(place: Place) {
    let (store, shop) = fill(&place).await;
    store.upkeep().await.unwrap();
    place.clock.set(NOON - 100 * DAY);
    store.upkeep().await.unwrap();
    commit(&store, work(1, &shop, vec![event_at(NOON - 100 * DAY, 9, 1)])).await;
    place.clock.set(NOON + 1);
    store.upkeep().await.unwrap();
    assert_eq!(stored(&store, shop.number, 0).await.len(), 6, "received today, though the clock said otherwise");
    let open = store.notices(false).await.unwrap();
    assert!(open.iter().any(|notice| notice.kind == NoticeKind::Clock), "{open:?}");
}

/// The journal's keys go with their hours.
#[tokio::test]
async fn a_journal_key_is_destroyed_with_the_last_batch_of_its_hour() {
    let place = Place::sqlite();
    let (store, shop) = place.shop().await;
    let mut sql = place.behind("journal").await;
    let mut keys =
        async || -> i64 { sqlx::query_scalar("SELECT COUNT(*) FROM keys").fetch_one(&mut sql).await.unwrap() };
    store.journal_append("one".into()).await.unwrap();
    assert_eq!(keys().await, 1);
    place.clock.set(NOON + 3_600_000);
    store.journal_append("two".into()).await.unwrap();
    store.journal_append("three".into()).await.unwrap();
    assert_eq!(keys().await, 2, "one for each hour");
    let records = store.journal_read(0, 1 << 20).await.unwrap();
    assert_eq!(records.len(), 3);
    let clock = Arc::clone(&place.clock);
    for from in 0..2_u64 {
        store.commit_work(work(from, &shop, Vec::new())).await.unwrap();
    }
    clock.set(NOON + 3_700_000);
    store.journal_append("four".into()).await.unwrap();
    within(std::time::Duration::from_secs(5), "the first hour's key is destroyed", async || {
        let mut sql = place.behind("journal").await;
        sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM keys").fetch_one(&mut sql).await.unwrap() == 1
    })
    .await;
    assert_eq!(store.journal_read(2, 1 << 20).await.unwrap().len(), 2);
}

async fn what_needs_a_key_is_said_before(place: Place) {
    let (store, shop) = fill(&place).await;
    let listed = store.list_keys().await.unwrap();
    assert!(listed.iter().any(|key| key.id == "root/installation/1" && key.state == "derives"), "{listed:?}");
    assert!(!listed.iter().any(|key| key.id.starts_with("day/")));
    let day = "day/shop/2026-11-23";
    let keys = store.list_project_keys(&shop.id).await.unwrap();
    let of_day = keys.iter().find(|key| key.id == day).unwrap();
    assert_eq!((of_day.state, of_day.wrapped_by.as_str()), ("seals", "project/shop/1"));
    let need = async |key: &str| store.key_need(key, &convizit_store::backup::Progress::default()).await.unwrap();
    let found = need(day).await;
    assert_eq!((found.frames, found.events, found.days, found.rows, found.asked_by), (1, 5, 1, 0, None));
    let found = need("project/shop/1").await;
    assert_eq!((found.frames, found.events, found.rows), (1, 5, 2));
    assert!(!store.destroy_key(day, "anna").await.unwrap());
    assert_eq!(need(day).await.asked_by.as_deref(), Some("anna"));
    store.rotate_project_key(shop.number).await.unwrap();
    let entries = store.audit_entries(Some("shop"), 10).await.unwrap();
    let acts: Vec<&str> = entries.iter().map(|entry| entry.act.as_str()).collect();
    assert!(acts.contains(&"key.rotate") && acts.contains(&"key.destroy.ask"), "{acts:?}");
}
