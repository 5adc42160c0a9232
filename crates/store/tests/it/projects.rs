//! Projects: made, changed, removed; what another process does is seen within a second.

use std::time::Duration;

use convizit_model::{NoticeKind, Project, ProjectId, ProjectSettings};
use convizit_store::{AuditFilter, ExclusionKind, Store, StoreError};

use crate::engines::{DAY, NOON, Place, on_both_engines, within};

on_both_engines!(
    a_project_is_made_found_changed_and_removed,
    wrong_settings_change_nothing,
    settings_of_an_older_version_are_not_saved,
    an_id_that_is_used_again_shows_nothing_of_before,
    who_excluded_what_is_kept_beside_the_settings,
    a_number_is_never_given_twice,
    another_process_sees_a_change_within_a_second,
);

fn id(name: &str) -> ProjectId {
    name.parse().unwrap()
}

async fn make(store: &Store, name: &str) -> Project {
    store.create_project(&id(name), ProjectSettings::default()).await.unwrap()
}

async fn a_project_is_made_found_changed_and_removed(place: Place) {
    let store = place.open().await;
    assert_eq!(store.projects().await.unwrap(), []);
    let (shop, blog) = (make(&store, "shop").await, make(&store, "blog").await);
    assert_ne!(shop.key, blog.key);
    assert_eq!(store.projects().await.unwrap(), [blog.clone(), shop.clone()], "by id");
    assert_eq!(store.project_by_key(&shop.key).as_deref(), Some(&shop));
    let again = store.create_project(&shop.id, ProjectSettings::default()).await.unwrap_err();
    assert!(matches!(again, StoreError::Invalid(ref text) if text.contains("exists already")), "{again}");

    let settings = ProjectSettings { retention_days: 7, ..ProjectSettings::default() };
    let version = store.control_version();
    let changed = store.save_settings(&shop.id, settings.clone()).await.unwrap();
    assert_eq!((changed.version, &changed.key, &changed.settings), (2, &shop.key, &settings));
    assert!(store.control_version() > version);
    assert_eq!(store.project_by_key(&shop.key).unwrap().settings, settings);

    store.remove_project(&shop.id).await.unwrap();
    assert_eq!(store.project_by_key(&shop.key), None);
    assert_eq!(store.projects().await.unwrap(), [blog]);
    for result in [
        store.project(&shop.id).await.err(),
        store.save_settings(&shop.id, settings).await.err(),
        store.remove_project(&shop.id).await.err(),
    ] {
        assert!(matches!(result, Some(StoreError::NotFound { what: "project", .. })), "{result:?}");
    }
}

async fn wrong_settings_change_nothing(place: Place) {
    let store = place.open().await;
    let wrong = ProjectSettings { origins: vec!["shop.example".to_owned()], ..ProjectSettings::default() };
    let error = store.create_project(&id("shop"), wrong.clone()).await.unwrap_err().to_string();
    assert!(error.contains("origins[0]") && error.contains("https://shop.example"), "{error}");
    assert_eq!(store.projects().await.unwrap(), []);
    let shop = make(&store, "shop").await;
    let error = store.save_settings(&shop.id, wrong).await.unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    assert_eq!(store.project(&shop.id).await.unwrap(), shop);
}

async fn a_number_is_never_given_twice(place: Place) {
    let store = place.open().await;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let shop = make(&store, "shop").await;
        numbers.push(shop.number);
        store.remove_project(&shop.id).await.unwrap();
    }
    assert_eq!(numbers, [1, 2, 3]);
    // Of two that make a project of one name at once, one is told.
    let other = place.open().await;
    let (name, settings) = (id("shop"), ProjectSettings::default());
    let (a, b) = tokio::join!(store.create_project(&name, settings.clone()), other.create_project(&name, settings));
    assert_eq!(a.is_ok() as u8 + b.is_ok() as u8, 1, "{a:?} {b:?}");
    let (c, d) = (id("blog"), id("docs"));
    let (c, d) = tokio::join!(
        store.create_project(&c, ProjectSettings::default()),
        other.create_project(&d, ProjectSettings::default())
    );
    assert_ne!(c.unwrap().number, d.unwrap().number);
}

async fn another_process_sees_a_change_within_a_second(place: Place) {
    let (here, shop) = place.shop().await;
    let there = place.open().await;
    // And what the looking itself takes on a busy machine.
    let second = Duration::from_millis(1500);
    let settings = ProjectSettings { retention_days: 7, ..ProjectSettings::default() };
    here.save_settings(&shop.id, settings.clone()).await.unwrap();
    within(second, "a change", async || there.project_by_key(&shop.key).unwrap().settings == settings).await;
    let blog = make(&here, "blog").await;
    within(second, "a new project", async || there.project_by_key(&blog.key).is_some()).await;
    here.remove_project(&blog.id).await.unwrap();
    within(second, "a removal", async || there.project_by_key(&blog.key).is_none()).await;
}

async fn settings_of_an_older_version_are_not_saved(place: Place) {
    let store = place.open().await;
    let shop = make(&store, "shop").await;
    let days = |retention_days| ProjectSettings { retention_days, ..ProjectSettings::default() };
    let saved = store.save_settings_from(&shop.id, shop.version, days(7)).await.unwrap();
    let late = store.save_settings_from(&shop.id, shop.version, days(9)).await.unwrap_err();
    assert!(matches!(late, StoreError::Moved { .. }), "{late}");
    assert_eq!(store.project(&shop.id).await.unwrap(), saved, "nothing of it is saved");
    assert!(store.save_settings_from(&shop.id, saved.version, days(9)).await.is_ok());
}

async fn an_id_that_is_used_again_shows_nothing_of_before(place: Place) {
    let (store, old) = place.shop().await;
    let store = store.acting_as("account:7");
    let shop = Some(&old.id);
    for _ in 0..12 {
        store.audit("access.refuse", "shop", "/p/{project}/settings", "").await.unwrap();
    }
    assert_eq!(store.look_for_incidents().await.unwrap(), 1);
    store.raise(NoticeKind::DeadLetters, shop, "hook", "something happened; do something").await.unwrap();
    let incident = store.incidents(shop, true).await.unwrap().remove(0);
    assert_eq!(store.unseen_notices(shop, true).await.unwrap(), 2);
    store.remove_project(&old.id).await.unwrap();
    // What was under way when it was removed.
    store.raise(NoticeKind::Drift, shop, "tracker", "something happened; do something").await.unwrap();
    make(&store, "shop").await;
    assert_eq!(store.look_for_incidents().await.unwrap(), 0, "its signals are of the old one, too");
    assert_eq!(store.unseen_notices(shop, true).await.unwrap(), 0);
    assert!(store.incidents(shop, true).await.unwrap().is_empty());
    // The installation goes on with what may be an attack, and is told of it.
    let kept = store.incident(None, incident.id).await.unwrap();
    assert_eq!((kept.project, kept.text, kept.state), (None, incident.text, incident.state));
    let notes = store.incident_notes(incident.id).await.unwrap();
    assert!(notes.last().is_some_and(|note| note.text.contains("the project shop")), "{notes:?}");
    let notices = store.notices(true).await.unwrap();
    let [notice] = notices.as_slice() else { panic!("{notices:?}") };
    assert_eq!((notice.kind, notice.project.as_ref()), (NoticeKind::Incident, None));
    // The log of the project begins with it; the whole log has both.
    let log = async |project| {
        let entries = store.audit_log(AuditFilter { project, acts_only: true, ..AuditFilter::default() }, 100).await;
        entries.unwrap().into_iter().map(|entry| entry.act).collect::<Vec<_>>()
    };
    assert_eq!(log(Some("shop")).await, ["project.create"]);
    let whole = log(None).await;
    assert_eq!(whole.iter().filter(|act| *act == "project.create").count(), 2, "{whole:?}");
    // Once more, and then there is none: all of it is found by its id.
    store.remove_project(&old.id).await.unwrap();
    let removed = log(Some("shop")).await;
    assert_eq!(removed.iter().filter(|act| *act == "project.create").count(), 2, "{removed:?}");
}

async fn who_excluded_what_is_kept_beside_the_settings(place: Place) {
    let store = place.open().await;
    let shop = make(&store, "shop").await;
    let (ada, bob) = (store.acting_as("account:1"), store.acting_as("account:2"));
    let of = |selectors: &[&str], paths: &[&str]| ProjectSettings {
        exclude_selectors: selectors.iter().map(|text| (*text).to_owned()).collect(),
        exclude_paths: paths.iter().map(|text| (*text).to_owned()).collect(),
        ..ProjectSettings::default()
    };
    ada.save_settings(&shop.id, of(&[".a", ".b"], &["/x"])).await.unwrap();
    place.clock.set(NOON + DAY);
    bob.save_settings(&shop.id, of(&[".b"], &["/x", "/y"])).await.unwrap();
    type Known = (String, String, i64, Option<(String, i64)>);
    let known = async || -> Vec<Known> {
        let days = |time: convizit_model::Timestamp| (time.as_millis() - NOON) / DAY;
        let mut all: Vec<_> = store
            .exclusions(shop.number)
            .await
            .unwrap()
            .into_iter()
            .map(|one| (one.entry, one.set_by, days(one.set_at), one.removed.map(|(by, at)| (by, days(at)))))
            .collect();
        all.sort();
        all
    };
    let line = |entry: &str, by: &str, day, removed: Option<(&str, i64)>| {
        (entry.to_owned(), by.to_owned(), day, removed.map(|(by, day)| (by.to_owned(), day)))
    };
    let expected = [
        line(".a", "account:1", 0, Some(("account:2", 1))),
        line(".b", "account:1", 0, None),
        line("/x", "account:1", 0, None),
        line("/y", "account:2", 1, None),
    ];
    assert_eq!(known().await, expected);
    assert_eq!(store.exclusions(shop.number).await.unwrap().last().map(|one| one.kind), Some(ExclusionKind::Selector));
    // Put back, and another taken out: what was out for long is forgotten.
    bob.save_settings(&shop.id, of(&[".a"], &["/x", "/y"])).await.unwrap();
    place.clock.set(NOON + 92 * DAY);
    ada.save_settings(&shop.id, of(&[".a"], &["/x"])).await.unwrap();
    let expected = [
        line(".a", "account:2", 1, None),
        line("/x", "account:1", 0, None),
        line("/y", "account:2", 1, Some(("account:1", 92))),
    ];
    assert_eq!(known().await, expected);
    store.remove_project(&shop.id).await.unwrap();
    assert_eq!(store.exclusions(shop.number).await.unwrap(), []);
}
