//! What sending again is promised: beside the live stream, with the same ids, through an end in the middle; and a try beforehand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convizit_delivery::{TEST_NAME, preview, test};
use convizit_model::{DestinationKind, NoticeKind, Timestamp};
use convizit_store::{Replay, ReplayState};

use crate::receiver::Receiver;
use crate::stand::{SECRET, Stand, until};

const ALWAYS: (Timestamp, Timestamp) = (Timestamp::from_millis(0), Timestamp::from_millis(4_000_000_000_000));

async fn hooked() -> (Stand, Receiver) {
    let (stand, receiver) = (Stand::new().await, Receiver::start().await);
    stand.add("hook", receiver.kind(), Some(SECRET)).await;
    (stand, receiver)
}

async fn number(stand: &Stand) -> i64 {
    stand.store.project(&stand.project).await.unwrap().number
}

async fn replay(stand: &Stand) -> Replay {
    stand.store.replays(number(stand).await, "hook").await.unwrap().remove(0)
}

#[tokio::test]
async fn dead_letters_are_sent_again_and_the_cursor_stays() {
    let (stand, receiver) = hooked().await;
    receiver.judge(|names| if names.iter().any(|name| name == "b" || name == "d") { 422 } else { 200 });
    stand.put(&["a", "b", "c", "d"]).await;
    let running = stand.deliver();
    stand.at("hook", 4).await;
    assert_eq!(receiver.taken(), ["a", "c"]);
    // Mended for one of them.
    receiver.judge(|names| if names.iter().any(|name| name == "d") { 422 } else { 200 });
    stand.store.retry_dead_letters(&stand.project, "hook", None).await.unwrap();
    let letters = async || stand.store.dead_letters(&stand.project, "hook", 9).await.unwrap();
    until(async || letters().await.len() == 1 && !letters().await[0].retry).await;
    assert_eq!((letters().await[0].number, letters().await[0].attempts), (4, 2));
    assert_eq!(receiver.taken(), ["a", "c", "b"]);
    stand.put(&["e"]).await;
    stand.at("hook", 5).await;
    receiver.judge(|_| 200);
    stand.store.retry_dead_letters(&stand.project, "hook", Some(&[4])).await.unwrap();
    until(async || letters().await.is_empty()).await;
    assert_eq!(receiver.taken(), ["a", "c", "b", "e", "d"]);
    assert_eq!(stand.state("hook").await.cursor, 5);
    until(async || !stand.notices().await.iter().any(|one| one.kind == NoticeKind::DeadLetters)).await;
    running.end().await;
}

#[tokio::test]
async fn a_replay_goes_on_where_delivery_ended_in_its_middle() {
    let (stand, receiver) = hooked().await;
    let names: Vec<String> = (1..=1000).map(|n| format!("e{n}")).collect();
    stand.put(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let running = stand.deliver();
    stand.at("hook", 1000).await;
    let before = receiver.requests().len();
    // Slow enough to end between its batches.
    receiver.takes(Duration::from_millis(50));
    stand.store.start_replay(&stand.project, "hook", ALWAYS).await.unwrap();
    until(async || receiver.requests().len() > before + 1).await;
    running.end().await;
    let middle = replay(&stand).await;
    assert!(middle.state == ReplayState::Open && middle.done >= 200 && middle.done < 1000, "{middle:?}");
    assert_eq!(stand.state("hook").await.cursor, 1000);
    stand.put(&["new"]).await;
    let running = stand.deliver();
    until(async || replay(&stand).await.state == ReplayState::Done).await;
    stand.at("hook", 1001).await;
    running.end().await;
    let done = replay(&stand).await;
    assert_eq!((done.sent, done.dead), (1000, 0));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for name in receiver.taken() {
        *times.entry(name).or_default() += 1;
    }
    assert!(names.iter().all(|name| times[name] == 2), "each once by itself and once again");
    assert_eq!(times["new"], 1);
}

#[tokio::test]
async fn what_comes_is_not_held_up_by_a_replay_that_fails() {
    let (stand, receiver) = hooked().await;
    stand.put(&["a"]).await;
    let running = stand.deliver();
    stand.at("hook", 1).await;
    let broken = Arc::new(AtomicBool::new(true));
    let now = broken.clone();
    receiver.judge(move |names| if names == ["a"] && now.load(Ordering::SeqCst) { 503 } else { 200 });
    stand.store.start_replay(&stand.project, "hook", ALWAYS).await.unwrap();
    until(async || receiver.requests().iter().any(|request| request.status == 503)).await;
    let started = tokio::time::Instant::now();
    for name in ["b", "c", "d"] {
        stand.put(&[name]).await;
    }
    stand.at("hook", 4).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(replay(&stand).await.state, ReplayState::Open);
    let failures = stand.store.delivery_failures(number(&stand).await, "hook").await.unwrap();
    assert!(failures[0].reason.contains("503"), "{failures:?}");
    broken.store(false, Ordering::SeqCst);
    until(async || replay(&stand).await.state == ReplayState::Done).await;
    assert_eq!(receiver.taken().iter().filter(|name| *name == "a").count(), 2);
    running.end().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_passed_over_and_told() {
    let (stand, receiver) = hooked().await;
    receiver.judge(|names| if names.iter().any(|name| name == "c" || name == "e") { 422 } else { 200 });
    for names in [["a", "b"], ["c", "d"], ["e", "f"]] {
        stand.put(&names).await;
    }
    let running = stand.deliver();
    stand.at("hook", 6).await;
    receiver.judge(|_| 200);
    stand.behind("UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 3");
    stand.store.retry_dead_letters(&stand.project, "hook", None).await.unwrap();
    let letters = async || stand.store.dead_letters(&stand.project, "hook", 9).await.unwrap();
    until(async || letters().await.iter().all(|letter| !letter.retry)).await;
    let left = letters().await;
    assert_eq!(left.iter().map(|letter| letter.number).collect::<Vec<_>>(), [3], "the other was sent");
    assert!(left[0].reason.contains("events 3 to 4"), "{}", left[0].reason);
    let told = async |subject: &str, word: &str| {
        let notices = stand.notices().await;
        notices.iter().any(|one| one.subject == subject && one.text.contains(word))
    };
    until(async || told("hook", "cannot be read").await).await;

    stand.store.start_replay(&stand.project, "hook", ALWAYS).await.unwrap();
    until(async || replay(&stand).await.state == ReplayState::Done).await;
    let done = replay(&stand).await;
    assert_eq!((done.sent, done.dead, done.done), (4, 0, 6));
    assert!(told("hook, replay 1", "events 3 to 4").await);
    assert_eq!(receiver.taken().iter().filter(|name| *name == "f").count(), 2, "what stands behind it is sent");
    let state = stand.state("hook").await;
    assert_eq!((state.cursor, state.destination.paused), (6, None));
    running.end().await;
}

#[tokio::test]
async fn a_test_event_says_what_it_is_and_what_went_wrong() {
    let (stand, receiver) = hooked().await;
    let now = stand.store.clock().now();
    let destination = stand.state("hook").await.destination;
    let local = stand.config(&["127.0.0.0/8"]);
    let said = test(&destination, Some(SECRET), &local, now).await.unwrap();
    assert!(said.contains(TEST_NAME), "{said}");
    assert_eq!(receiver.taken(), [TEST_NAME]);
    for (status, word) in [(401, "secret"), (410, "another address"), (422, "its own log"), (503, "try again")] {
        receiver.then(status, &[]);
        let said = test(&destination, Some(SECRET), &local, now).await.unwrap_err();
        assert!(said.contains(&status.to_string()) && said.contains(word), "{said}");
        assert!(!said.contains("own words") && !said.contains(&receiver.url), "{said}");
    }
    let asked = receiver.requests().len();
    let said = test(&destination, Some(SECRET), &stand.config(&[]), now).await.unwrap_err();
    assert!(said.contains("private"), "{said}");
    assert_eq!(receiver.requests().len(), asked, "the guard holds for a test, too");

    let path = stand.folder.path().join("lines.jsonl");
    std::fs::write(&path, "{\"id\":\"there already\"}\n").unwrap();
    let file = stand.destination("lines", DestinationKind::File { path: path.to_string_lossy().into_owned() });
    test(&file, None, &local, now).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"id\":\"there already\"}\n") && text.contains(TEST_NAME) && text.ends_with("}\n"));
    let outside = stand.destination("out", DestinationKind::File { path: "/etc/convizit.jsonl".to_owned() });
    assert!(test(&outside, None, &local, now).await.unwrap_err().contains("allow_folders"));
    assert_eq!(stand.state("hook").await.cursor, 0, "no event of the project was sent");
}

#[tokio::test]
async fn a_preview_shows_what_would_be_sent() {
    let stand = Stand::new().await;
    stand.put(&["Add to cart"]).await;
    let event = stand.store.events_after(number(&stand).await, 0, 1, 1 << 20).await.unwrap().remove(0);
    let webhook =
        stand.destination("hook", DestinationKind::Webhook { url: "https://hooks.example/canary".to_owned() });
    let config = convizit_delivery::DeliveryConfig::default();
    let shown = preview(&webhook, &event, &config).await;
    assert!(shown.body.contains("\"type\": \"events\"") && shown.body.contains("Add to cart"), "{}", shown.body);
    assert!(shown.fields.iter().any(|(name, _)| name == "webhook-signature"));
    let rows =
        preview(&stand.destination("db", DestinationKind::Postgres { schema: "convizit".to_owned() }), &event, &config)
            .await;
    assert!(rows.fields.contains(&("name".to_owned(), "Add to cart".to_owned())), "{:?}", rows.fields);
    assert!(rows.fields.contains(&("group_position".to_owned(), "3".to_owned())));
    let lines =
        preview(&stand.destination("lines", DestinationKind::File { path: "/x".to_owned() }), &event, &config).await;
    assert_eq!(lines.body.as_bytes(), &event.json[..]);
}
