//! What a webhook is promised: signed batches in order, the same id at each try, a refused event alone among its neighbours.

use std::time::Duration;

use convizit_model::{DestinationKind, EventType, NoticeKind};
use convizit_store::Standing;

use crate::receiver::Receiver;
use crate::stand::{SECRET, Stand, until};

async fn hooked() -> (Stand, Receiver) {
    let (stand, receiver) = (Stand::new().await, Receiver::start().await);
    stand.add("hook", receiver.kind(), Some(SECRET)).await;
    (stand, receiver)
}

#[tokio::test]
async fn events_come_signed_and_in_order_and_a_new_one_within_a_second() {
    let (stand, receiver) = hooked().await;
    stand.put(&["a", "b"]).await;
    let running = stand.deliver();
    stand.at("hook", 2).await;
    stand.put(&["c"]).await;
    stand.at("hook", 3).await;
    assert_eq!(receiver.taken(), ["a", "b", "c"]);
    running.end().await;
}

#[tokio::test]
async fn a_retry_has_the_same_id_and_events_and_waits_as_asked() {
    let (stand, receiver) = hooked().await;
    receiver.then(503, &[("retry-after", "2")]);
    stand.put(&["a"]).await;
    let running = stand.deliver();
    until(async || receiver.requests().len() == 1).await;
    let asked = tokio::time::Instant::now();
    // Comes between the tries: it must not change the batch.
    stand.put(&["b"]).await;
    stand.at("hook", 2).await;
    assert!(asked.elapsed() >= Duration::from_millis(1900), "{:?}", asked.elapsed());
    let requests = receiver.requests();
    assert_eq!(requests[0].id, requests[1].id);
    assert_eq!(requests[1].names, ["a"]);
    assert_ne!(requests[2].id, requests[1].id);
    running.end().await;
}

#[tokio::test]
async fn a_401_pauses_with_a_notice_and_resuming_sends_what_waited() {
    let (stand, receiver) = hooked().await;
    receiver.then(401, &[]);
    stand.put(&["a"]).await;
    let running = stand.deliver();
    assert!(stand.paused("hook").await.contains("401"));
    until(async || stand.notices().await.iter().any(|notice| notice.kind == NoticeKind::DestinationPaused)).await;
    assert_eq!(stand.state("hook").await.cursor, 0);
    stand.store.pause_destination(&stand.project, "hook", None).await.unwrap();
    stand.at("hook", 1).await;
    assert_eq!(receiver.taken(), ["a"]);
    running.end().await;
}

#[tokio::test]
async fn one_that_takes_nothing_for_long_is_told_and_the_notice_ends_by_itself() {
    let (stand, receiver) = hooked().await;
    receiver.judge(|_| 503);
    stand.put(&["a"]).await;
    let running = stand.deliver();
    until(async || stand.state("hook").await.failing.is_some_and(|failing| failing.times >= 2)).await;
    let state = stand.state("hook").await;
    assert_eq!(state.standing(1), Standing::Failing);
    assert!(state.trouble().unwrap().contains("the receiver answered 503"));
    let told = async || stand.notices().await.into_iter().find(|one| one.kind == NoticeKind::DestinationFailing);
    assert!(told().await.is_none(), "what may pass in minutes calls nobody");
    stand.behind("UPDATE failing_destinations SET since = since - 900000");
    until(async || told().await.is_some()).await;
    let notice = told().await.unwrap();
    assert!(notice.subject == "hook" && notice.text.contains("answered 503"), "{}", notice.text);
    receiver.judge(|_| 204);
    stand.at("hook", 1).await;
    until(async || told().await.is_none()).await;
    assert_eq!(stand.state("hook").await.failing, None);
    running.end().await;
}

#[tokio::test]
async fn a_permission_that_the_operator_took_back_pauses_before_anything_is_dialled() {
    let (stand, receiver) = hooked().await;
    stand.put(&["a"]).await;
    let running = stand.deliver_with(&[]);
    let reason = stand.paused("hook").await;
    assert!(reason.contains("allow_networks") && !reason.contains("127.0.0.1"), "{reason}");
    assert!(receiver.requests().is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_lost_cursor_pauses_and_is_no_removal() {
    let (stand, receiver) = hooked().await;
    stand.put(&["a"]).await;
    let running = stand.deliver();
    stand.at("hook", 1).await;
    stand.behind("DELETE FROM cursors");
    stand.put(&["b"]).await;
    assert!(stand.paused("hook").await.contains("missing from the database"));
    // The notice follows the pause.
    while !stand.notices().await.iter().any(|notice| notice.kind == NoticeKind::DestinationPaused) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // What the reason says to do.
    stand.store.remove_destination(&stand.project, "hook").await.unwrap();
    stand.add("hook", receiver.kind(), Some(SECRET)).await;
    stand.at("hook", 2).await;
    running.end().await;
}

#[tokio::test]
async fn a_413_halves_and_a_422_finds_the_one_refused_event() {
    let (stand, receiver) = hooked().await;
    receiver.judge(|names| match names {
        names if names.len() > 4 => 413,
        names if names.iter().any(|name| name == "e13") => 422,
        _ => 200,
    });
    let names: Vec<String> = (1..=20).map(|number| format!("e{number}")).collect();
    stand.put(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let running = stand.deliver();
    stand.at("hook", 20).await;
    let expected: Vec<String> = names.into_iter().filter(|name| name != "e13").collect();
    assert_eq!(receiver.taken(), expected);
    assert_eq!(stand.state("hook").await.dead, 1);
    until(async || stand.notices().await.iter().any(|notice| notice.kind == NoticeKind::DeadLetters)).await;
    assert!(stand.notices().await.iter().all(|notice| !notice.text.contains("own words")));
    running.end().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (stand, receiver) = hooked().await;
    receiver.then(307, &[("location", "http://127.0.0.1:1/")]);
    stand.put(&["a"]).await;
    let running = stand.deliver();
    assert!(stand.paused("hook").await.contains("redirect"));
    assert_eq!((receiver.requests().len(), stand.state("hook").await.cursor), (1, 0));
    running.end().await;
}

#[tokio::test]
async fn a_private_address_is_never_dialled_unless_the_operator_allowed_it() {
    let (stand, receiver) = hooked().await;
    stand.put(&["a"]).await;
    let by_name = receiver.url.replace("127.0.0.1", "localhost");
    stand.add("named", DestinationKind::Webhook { url: by_name }, Some(SECRET)).await;
    for name in ["hook", "named"] {
        let destination = stand.state(name).await.destination;
        let refused = convizit_delivery::check(&destination, Some(SECRET), &stand.config(&[])).await.unwrap_err();
        assert!(refused.contains("private"), "{refused}");
    }
    let running = stand.deliver_with(&[]);
    // An address may hold a token, and members who may not see it are told why it is paused.
    for name in ["hook", "named"] {
        let reason = stand.paused(name).await;
        assert!(reason.contains("private"), "{reason}");
        assert!(!["127.0.0.1", "localhost", "/hook"].iter().any(|part| reason.contains(part)), "{reason}");
    }
    running.end().await;
    assert!(receiver.requests().is_empty());
    let destination = stand.state("hook").await.destination;
    convizit_delivery::check(&destination, Some(SECRET), &stand.config(&["127.0.0.0/8"])).await.unwrap();
}

#[tokio::test]
async fn a_dead_destination_delays_no_other() {
    let (stand, receiver) = hooked().await;
    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    stand.add("silent", DestinationKind::Webhook { url }, Some(SECRET)).await;
    stand.put(&["a"]).await;
    let running = stand.deliver();
    let started = tokio::time::Instant::now();
    stand.at("hook", 1).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(stand.state("silent").await.cursor, 0);
    let ending = tokio::time::Instant::now();
    running.end().await;
    assert!(ending.elapsed() < Duration::from_secs(7), "stopping took {:?}", ending.elapsed());
    assert_eq!(receiver.taken(), ["a"]);
}

#[tokio::test]
async fn only_the_wanted_types_are_sent_and_a_changed_secret_is_used_at_once() {
    let (stand, receiver) = (Stand::new().await, Receiver::start().await);
    let mut destination = stand.destination("hook", receiver.kind());
    destination.types = vec![EventType::PageView];
    let other = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA==";
    stand.store.save_destination(&destination, Some(other), true).await.unwrap();
    let running = stand.deliver();
    stand.put(&["a", "b"]).await;
    stand.at("hook", 2).await;
    // The receiver knows only this one, and breaks the connection over any other.
    stand.store.save_destination(&destination, Some(SECRET), false).await.unwrap();
    stand.put(&["c", "Viewed shoe"]).await;
    stand.at("hook", 4).await;
    assert_eq!(receiver.taken(), ["Viewed shoe"]);
    running.end().await;
}
