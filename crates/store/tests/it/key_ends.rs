//! The end of a living key: whoever seals beside it seals under one that there is, and a provider that is away stops no reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convizit_keys::{Binding, Kek, KeyError, KeyProvider, Later, Secret, Wrapped};
use convizit_model::{Change, ElementId, Person, ProjectSettings, Timestamp};
use convizit_store::{Scope, Store, StoreError};

use crate::destinations::hook;
use crate::engines::{NOON, Place, event_at, events, on_both_engines, stored, within, work};

on_both_engines!(
    whatever_is_sealed_beside_the_end_of_a_key_opens,
    a_provider_that_is_away_stops_no_reading,
    the_end_of_a_key_encryption_key_is_written_down_before,
);

async fn destroy(store: &Store, key: &str) {
    for name in ["anna", "ben"] {
        store.make_token(None, &[Scope::Keys], name, 30).await.ok();
    }
    assert!(!store.destroy_key(key, "anna").await.unwrap());
    assert!(store.destroy_key(key, "ben").await.unwrap());
}

async fn whatever_is_sealed_beside_the_end_of_a_key_opens(place: Place) {
    let (store, shop) = place.shop().await;
    store.commit_work(work(0, &shop, events(0..5))).await.unwrap();
    store.save_destination(&hook(&shop, "first"), Some("its secret"), true).await.unwrap();
    let other = place.open_accepting().await;
    // `store` has the first version in memory when it seals the next four things.
    destroy(&other, "project/shop/1").await;
    store.save_destination(&hook(&shop, "second"), Some("another"), true).await.unwrap();
    store.pause_destination(&shop.id, "first", Some("a test")).await.unwrap();
    store.decide(&shop, "ada", Change::Merge { element: ElementId(1), into: ElementId(2) }).await.unwrap();
    store.erase(&shop, &[Person::Visitor("v".to_owned())]).await.unwrap();
    let fresh = place.open_accepting().await;
    for store in [&store, &other, &fresh] {
        assert_eq!(store.destinations(None).await.unwrap().len(), 2);
        for (destination, secret) in [("first", "its secret"), ("second", "another")] {
            let found = store.destination_secret(&shop.id, destination).await.unwrap();
            assert_eq!(found.as_deref(), Some(secret));
        }
        assert_eq!(store.decisions_after(shop.number, 0).await.unwrap().len(), 1);
        assert_eq!(store.erase_messages(shop.number, "second").await.unwrap()[0].persons.len(), 1);
    }
    let state = fresh.destinations(None).await.unwrap();
    assert!(state.iter().any(|state| state.destination.paused.as_deref() == Some("a test")));
}

/// A provider whose service may be away.
#[derive(Debug)]
struct Away {
    provider: Arc<dyn KeyProvider>,
    is_away: AtomicBool,
    /// Away when it is to destroy something.
    keeps: AtomicBool,
}

impl Away {
    fn of(place: &Place) -> Arc<Self> {
        Arc::new(Self { provider: place.provider(), is_away: AtomicBool::new(false), keeps: AtomicBool::new(false) })
    }

    fn answer<'a, T: Send + 'a>(&'a self, answer: Later<'a, T>) -> Later<'a, T> {
        if self.is_away.load(Ordering::Acquire) { Self::away() } else { answer }
    }

    fn away<'a, T: Send + 'a>() -> Later<'a, T> {
        let error = KeyError::Provider { provider: "a test's".to_owned(), problem: "it is away".to_owned() };
        Box::pin(std::future::ready(Err(error)))
    }
}

impl KeyProvider for Away {
    fn name(&self) -> &'static str {
        self.provider.name()
    }
    fn versions(&self) -> Later<'_, Vec<Kek>> {
        self.answer(self.provider.versions())
    }
    fn wrap<'a>(&'a self, binding: &'a Binding, secret: &'a Secret) -> Later<'a, Wrapped> {
        self.answer(self.provider.wrap(binding, secret))
    }
    fn unwrap<'a>(&'a self, binding: &'a Binding, wrapped: &'a Wrapped) -> Later<'a, Secret> {
        self.answer(self.provider.unwrap(binding, wrapped))
    }
    fn rotate(&self, now: Timestamp) -> Later<'_, Kek> {
        self.answer(self.provider.rotate(now))
    }
    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        // Asked first: the file's key is gone when it answers.
        if self.keeps.load(Ordering::Acquire) { Self::away() } else { self.answer(self.provider.destroy(id)) }
    }
}

async fn a_provider_that_is_away_stops_no_reading(place: Place) {
    let away = Away::of(&place);
    let store = Store::open(place.config(), away.clone(), place.clock.clone()).await.unwrap();
    let shop = store.create_project(&"shop".parse().unwrap(), ProjectSettings::default()).await.unwrap();
    let blog = store.create_project(&"blog".parse().unwrap(), shop.settings.clone()).await.unwrap();
    store.commit_work(work(0, &shop, events(0..5))).await.unwrap();
    store.commit_work(work(1, &blog, events(5..8))).await.unwrap();
    store.save_destination(&hook(&shop, "hook"), None, true).await.unwrap();
    away.is_away.store(true, Ordering::Release);
    let error = store.erase_all(&shop).await.unwrap_err().to_string();
    assert!(error.contains("tried again"), "{error}");
    assert_eq!(stored(&store, shop.number, 0).await, [0_i64; 0], "it is gone from readings");
    assert_eq!(stored(&store, blog.number, 0).await, [5, 6, 7]);
    place.clock.set(NOON + 1);
    let next = work(2, &shop, vec![event_at(NOON + 1, 9, 1)]);
    assert!(matches!(store.commit_work(next.clone()).await, Err(StoreError::Moved { .. } | StoreError::Keys(_))));
    away.is_away.store(false, Ordering::Release);
    within(Duration::from_secs(30), "storing goes on", async || store.commit_work(next.clone()).await.is_ok()).await;
    assert_eq!(stored(&place.open_accepting().await, shop.number, 0).await, [9]);
    assert_eq!(store.destinations(None).await.unwrap().len(), 1);
}

async fn the_end_of_a_key_encryption_key_is_written_down_before(place: Place) {
    let away = Away::of(&place);
    let store = Store::open(place.config(), away.clone(), place.clock.clone()).await.unwrap();
    let first = store.list_keys().await.unwrap()[0].id.clone();
    // As where the process is cut before the provider has answered.
    away.keeps.store(true, Ordering::Release);
    store.rotate_kek().await.unwrap();
    let hour = |hours: i64| place.clock.set(NOON + hours * 3_600_000);
    let said = async || {
        let log = store.audit_entries(None, 100).await.unwrap();
        log.iter().filter(|entry| entry.act == "key.destroy" && entry.subject == first).count()
    };
    hour(1);
    store.upkeep().await.unwrap();
    within(Duration::from_secs(10), "it is in the log", async || said().await > 0).await;
    let is_there = async || away.versions().await.unwrap().iter().any(|kek| kek.id == first);
    assert!(is_there().await, "and is not done");
    away.keeps.store(false, Ordering::Release);
    hour(2);
    store.upkeep().await.unwrap();
    within(Duration::from_secs(10), "it is destroyed", async || !is_there().await).await;
    assert!(said().await >= 2, "each try is");
}
