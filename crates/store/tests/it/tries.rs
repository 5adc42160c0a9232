//! Tries of an account: bounded over all processes, given back for right answers, and held up by no clock that has jumped.

use convizit_store::Store;

use crate::engines::{DAY, NOON, Place, on_both_engines};

on_both_engines!(
    an_account_gets_at_most_a_hundred_tries_in_any_hour_over_all_processes,
    of_many_at_once_as_many_are_let_in_as_there_are_tries,
    right_answers_cost_nothing_and_a_clock_that_went_back_locks_nobody_out,
);

const ADA: &str = "ada@shop.example";

async fn lets_in(store: &Store, email: &str) -> bool {
    store.take_account_try(email).await.unwrap().is_ok()
}

async fn an_account_gets_at_most_a_hundred_tries_in_any_hour_over_all_processes(place: Place) {
    let stores = [place.open().await, place.open().await];
    let mut let_in: Vec<i64> = Vec::new();
    for second in (0..7200).step_by(30) {
        place.clock.set(NOON + second * 1000);
        for (store, email) in stores.iter().zip([ADA, "Ada@Shop.example "]) {
            // Capitals are no other account, and neither is another process.
            if lets_in(store, email).await {
                let_in.push(second);
            }
        }
    }
    let most =
        let_in.iter().map(|from| let_in.iter().filter(|one| (*from..from + 3600).contains(one)).count()).max().unwrap();
    assert!((60..=100).contains(&most), "{most}");
    assert!(lets_in(&stores[1], "grace@shop.example").await, "another account is not held up");
    for _ in 0..20 {
        lets_in(&stores[0], ADA).await;
    }
    let waits = stores[1].take_account_try(ADA).await.unwrap().unwrap_err();
    assert!((1..=60).contains(&waits), "{waits} seconds");
}

async fn of_many_at_once_as_many_are_let_in_as_there_are_tries(place: Place) {
    let stores = [place.open().await, place.open().await];
    let mut tries = tokio::task::JoinSet::new();
    for n in 0..24 {
        let store = stores[n % 2].clone();
        tries.spawn(async move { lets_in(&store, ADA).await });
    }
    let let_in = tries.join_all().await.into_iter().filter(|one| *one).count();
    assert_eq!(let_in, 10);
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM account_tries").await, 1);
}

async fn right_answers_cost_nothing_and_a_clock_that_went_back_locks_nobody_out(place: Place) {
    let store = place.open().await;
    for _ in 0..30 {
        let one = store.take_account_try(ADA).await.unwrap().unwrap();
        store.give_account_tries_back(one, 1).await.unwrap();
    }
    for _ in 0..9 {
        assert!(lets_in(&store, ADA).await);
    }
    // The last of them makes a sign-in whole: it counts as little as the one before it.
    let last = store.take_account_try(ADA).await.unwrap().unwrap();
    assert!(!lets_in(&store, ADA).await);
    store.give_account_tries_back(last, 2).await.unwrap();
    assert!(lets_in(&store, ADA).await && lets_in(&store, ADA).await && !lets_in(&store, ADA).await);
    place.clock.set(NOON - DAY);
    assert!(lets_in(&store, ADA).await);
    // What is whole again is forgotten.
    place.clock.set(NOON + DAY);
    assert!(lets_in(&store, "grace@shop.example").await);
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM account_tries").await, 1);
}
