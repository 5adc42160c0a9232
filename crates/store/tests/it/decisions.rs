//! What people decide is written once, numbered without gaps, and sealed.

use convizit_model::{Change, Decision, ElementId};

use crate::engines::{Place, on_both_engines};

on_both_engines!(decisions_made_at_once_are_all_there_and_numbered, several_decisions_are_made_together);

async fn decisions_made_at_once_are_all_there_and_numbered(place: Place) {
    let (store, shop) = place.shop().await;
    let version = store.control_version();
    let many = (1..=12_u64).map(|n| {
        let (store, shop) = (store.clone(), shop.clone());
        tokio::spawn(async move {
            let what = Change::Merge { element: ElementId(n), into: ElementId(n + 1) };
            store.decide(&shop, "ada", what).await.unwrap().id.0
        })
    });
    let mut numbers = Vec::new();
    for one in many.collect::<Vec<_>>() {
        numbers.push(one.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    assert!(store.control_version() > version, "the worker looks for them");
    let after = store.decisions_after(shop.number, 10).await.unwrap();
    assert_eq!(after.iter().map(|row| row.key).collect::<Vec<_>>(), [11, 12]);
    let decision: Decision = serde_json::from_slice(&after[0].body).unwrap();
    assert_eq!((decision.by.as_str(), decision.id.0), ("ada", 11));
    assert_eq!(store.load_state(shop.number).await.unwrap().len(), 12);
    let other = store.create_project(&"blog".parse().unwrap(), Default::default()).await.unwrap();
    assert!(store.decisions_after(other.number, 0).await.unwrap().is_empty());
}

async fn several_decisions_are_made_together(place: Place) {
    let (store, shop) = place.shop().await;
    let capture = |n: u64| Change::CaptureElement { element: ElementId(n), captured: false };
    store.decide(&shop, "ada", capture(1)).await.unwrap();
    let made = store.decide_all(&shop, "ada", vec![capture(2), capture(3)]).await.unwrap();
    assert_eq!(made.iter().map(|one| one.id.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(store.decisions_after(shop.number, 0).await.unwrap().len(), 3);
    let entries = store.audit_entries(Some("shop"), 10).await.unwrap();
    let made = entries.iter().filter(|entry| entry.act == "decision.make" && entry.subject == "capture_element");
    let said: Vec<&str> = made.map(|entry| entry.detail.as_str()).collect();
    assert_eq!(said.len(), 3, "each has its entry");
    let newest = format!("element {}, captured false", ElementId(3));
    assert!(said.contains(&newest.as_str()), "{said:?}");
}
