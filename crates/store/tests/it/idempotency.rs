//! Idempotency keys: one of two calls is carried out, its answer is kept sealed for a day, and another call does not get it.

use convizit_store::{Claim, KeyedCall, Store};

use crate::engines::{NOON, Place, on_both_engines};

on_both_engines!(
    a_call_is_carried_out_once_and_answered_alike_for_a_day,
    of_two_at_once_one_is_carried_out,
    a_call_that_was_cut_off_may_come_again,
);

async fn claim(store: &Store, project: &convizit_model::Project, key: &str, call: &str) -> Claim {
    store.claim_key(project, key, call.as_bytes()).await.unwrap()
}

fn first(claim: Claim) -> KeyedCall {
    match claim {
        Claim::New(call) => call,
        other => panic!("{other:?}"),
    }
}

async fn a_call_is_carried_out_once_and_answered_alike_for_a_day(place: Place) {
    let (store, shop) = place.shop().await;
    let store = store.acting_as("token:ci");
    let call = first(claim(&store, &shop, "key-1", "POST /a").await);
    store.keep_answer(&call, b"a link that nobody else may see").await.unwrap();
    assert!(
        matches!(claim(&store, &shop, "key-1", "POST /a").await, Claim::Answered(answer) if answer == b"a link that nobody else may see")
    );
    assert!(matches!(claim(&store, &shop, "key-1", "POST /b").await, Claim::Different));
    // Another caller's key is another key.
    first(claim(&store.acting_as("token:other"), &shop, "key-1", "POST /b").await);
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM idempotency_keys WHERE answer IS NOT NULL").await, 1);
    let plain = "SELECT COUNT(*) FROM idempotency_keys WHERE length(answer) < 50";
    assert_eq!(place.number_of("control", plain).await, 0, "an answer is longer once it is sealed");
    place.clock.set(NOON + 86_400_000 + 1);
    first(claim(&store, &shop, "key-1", "POST /b").await);
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM idempotency_keys").await, 1, "old ones are cleared");
    store.remove_project(&shop.id).await.unwrap();
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM idempotency_keys").await, 0);
}

async fn of_two_at_once_one_is_carried_out(place: Place) {
    let (store, shop) = place.shop().await;
    let (one, two) = tokio::join!(claim(&store, &shop, "key-1", "POST /a"), claim(&store, &shop, "key-1", "POST /a"));
    let new = [&one, &two].into_iter().filter(|claim| matches!(claim, Claim::New(_))).count();
    let running = [&one, &two].into_iter().filter(|claim| matches!(claim, Claim::Running)).count();
    assert_eq!((new, running), (1, 1), "{one:?} {two:?}");
}

async fn a_call_that_was_cut_off_may_come_again(place: Place) {
    let (store, shop) = place.shop().await;
    let call = first(claim(&store, &shop, "key-1", "POST /a").await);
    place.clock.set(NOON + 59_000);
    assert!(matches!(claim(&store, &shop, "key-1", "POST /a").await, Claim::Running));
    place.clock.set(NOON + 61_000);
    first(claim(&store, &shop, "key-1", "POST /a").await);
    // One that was refused changed nothing.
    store.drop_key(&call).await.unwrap();
    first(claim(&store, &shop, "key-1", "POST /b").await);
}
