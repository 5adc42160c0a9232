//! What a file is promised: whole lines, each event once after a crash, nothing outside the operator's folders.

use convizit_model::DestinationKind;

use crate::stand::{Stand, id, until};

fn lines(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_half_line_is_taken_off_and_what_the_tail_holds_is_not_repeated() {
    let stand = Stand::new().await;
    let path = stand.folder.path().join("events.jsonl");
    // As a crash leaves it: the first event written, the second cut, the cursor still at the start.
    std::fs::write(&path, format!("{{\"id\":\"{}\",\"name\":\"a\"}}\n{{\"id\":\"{}\",\"na", id(1), id(2))).unwrap();
    stand.add("file", DestinationKind::File { path: path.to_str().unwrap().to_owned() }, None).await;
    stand.put(&["a", "b", "c"]).await;
    let running = stand.deliver();
    stand.at("file", 3).await;
    stand.put(&["d"]).await;
    stand.at("file", 4).await;
    assert_eq!(lines(&path), ["a", "b", "c", "d"]);
    running.end().await;
}

#[tokio::test]
async fn nothing_is_written_outside_the_allowed_folders() {
    let stand = Stand::new().await;
    let outside = tempfile::tempdir().unwrap();
    let inside = stand.folder.path();
    std::os::unix::fs::symlink(outside.path(), inside.join("folder")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x"), inside.join("link")).unwrap();
    for path in [
        outside.path().join("x"),
        inside.join("folder/x"),
        inside.join("link"),
        inside.join("..").join(outside.path().file_name().unwrap()).join("x"),
    ] {
        let destination = stand.destination("file", DestinationKind::File { path: path.to_str().unwrap().to_owned() });
        let refused = convizit_delivery::check(&destination, None, &stand.config(&[])).await.unwrap_err();
        assert!(refused.contains("allow"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    let folder = inside.join("a-folder");
    std::fs::create_dir(&folder).unwrap();
    let destination = stand.destination("file", DestinationKind::File { path: folder.to_str().unwrap().to_owned() });
    let refused = convizit_delivery::check(&destination, None, &stand.config(&[])).await.unwrap_err();
    assert!(refused.contains("a-folder is a folder: name a file in it"), "{refused}");
    let stdout = stand.destination("out", DestinationKind::Stdout { format: Default::default() });
    assert!(convizit_delivery::check(&stdout, None, &stand.config(&[])).await.is_err());
}

#[tokio::test]
async fn one_that_is_paused_and_can_never_erase_holds_no_erasure_open() {
    let stand = Stand::new().await;
    let path = stand.folder.path().join("events.jsonl");
    stand.add("file", DestinationKind::File { path: path.to_str().unwrap().to_owned() }, None).await;
    stand.add("hook", DestinationKind::Webhook { url: "http://127.0.0.1:1/".to_owned() }, None).await;
    for name in ["file", "hook"] {
        stand.store.rest_destination(&stand.project, name).await.unwrap();
    }
    let running = stand.deliver();
    let project = stand.store.project(&stand.project).await.unwrap();
    let request = stand.store.erase(&project, &[convizit_model::Person::Visitor("v".to_owned())]).await.unwrap();
    let told = async |name: &str| {
        let erasure = stand.store.erasure(project.number, &request).await.unwrap().unwrap();
        erasure.destinations.into_iter().find(|told| told.destination == name).unwrap()
    };
    until(async || told("file").await.state == "cannot").await;
    assert!(told("file").await.reason.contains("lines of a file are not taken back"));
    assert_eq!(told("hook").await.state, "open", "it is told once it is resumed");
    running.end().await;
}
