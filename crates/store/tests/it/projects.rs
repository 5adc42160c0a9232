//! Projects: made, changed, removed; what another process does is seen within a second.

use std::time::Duration;

use convizit_model::{Project, ProjectId, ProjectSettings};
use convizit_store::{Store, StoreError};

use crate::engines::{Place, on_both_engines, within};

on_both_engines!(
    a_project_is_made_found_changed_and_removed,
    wrong_settings_change_nothing,
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
