//! Stored events at the command line: what a shorter retention takes, and a frame that does not open, which keeps nobody from being
//! exported and erased and is brought back from a backup.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::{NewEvent, Person, ProjectWork, Work};
use convizit_store::{Store, StoreConfig, SystemClock};

use crate::cli::{convizit, fails, ok, with_shop};

/// The installation's store, opened in this process.
fn in_store(folder: &Path, work: impl AsyncFnOnce(&Store)) {
    let data = folder.join("convizit-data");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let keys = open_provider(&ProviderConfig::File { path: data.join("keys") }).unwrap();
        let store = Store::open(StoreConfig::in_folder(&data), keys, Arc::new(SystemClock)).await.unwrap();
        work(&store).await;
        store.close().await;
    });
}

/// By a program of its own: only the store names a driver.
fn behind(folder: &Path, sql: &str) {
    let change = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], 30); c.execute(sys.argv[2]); c.commit()";
    let file = folder.join("convizit-data/data.db");
    assert!(Command::new("python3").args(["-c", change]).arg(file).arg(sql).status().unwrap().success());
}

/// Events of the visitor v1, each in a frame of its own, received so many days ago.
fn with_events(days_ago: &[i64]) -> tempfile::TempDir {
    let folder = with_shop();
    in_store(folder.path(), async |store: &Store| {
        let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
        for (n, days) in (0_u64..).zip(days_ago) {
            let now = store.clock().now().plus_millis(-days * 86_400_000);
            let id = format!("0193a1f0-0000-7000-8000-{n:012}");
            let json = serde_json::json!({
                "id": id, "project": "shop", "source": "convizit", "schema": 1, "name": "Save", "name_state": "published",
                "type": "click", "time": now, "received": now, "visitor": "v1", "session": {"id": "s1", "start": now},
                "user": null, "consent": {"analytics": true, "ads": null, "gpc": false},
                "page": {"url": "https://shop.example/", "path": "/", "title": null, "type": null, "language": null, "referrer": null},
                "properties": {}, "device": {"platform": "web"}, "location": {"country": null, "region": null}
            });
            let event = NewEvent {
                id: id.parse().unwrap(),
                name: 1,
                hour: now.hour(),
                day: now.day(),
                visitor: "v1".to_owned(),
                user: None,
                since: now,
                json: json.to_string().into_bytes(),
            };
            let share = ProjectWork {
                number: shop.number,
                project: shop.id.clone(),
                events: vec![event],
                rows: Vec::new(),
                outcomes: Vec::new(),
                withheld: Vec::new(),
                rulings: Vec::new(),
                quarantined: Vec::new(),
                dropped: Vec::new(),
            };
            store.journal_append("a record".into()).await.unwrap();
            store.commit_work(Work { from: n, to: n + 1, projects: vec![share] }).await.unwrap();
        }
    });
    folder
}

fn spoil_the_second_frame(folder: &Path) {
    behind(folder, "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 2");
}

/// Two events of the visitor v1, of which the second does not open.
fn with_a_damaged_frame() -> tempfile::TempDir {
    let folder = with_events(&[0, 0]);
    spoil_the_second_frame(folder.path());
    folder
}

#[test]
fn what_a_shorter_retention_deletes_is_said_also_where_nobody_is_asked() {
    let folder = with_events(&[10, 10, 3, 0]);
    let set = ["settings", "set", "shop", "retention_days", "5"];
    let what = "keep events of shop for 5 days in place of 60: 2 events of 1 day, all from before ";
    let asked = fails(folder.path(), &set);
    assert!(asked.contains(what) && asked.contains("are deleted within a minute"), "{asked}");
    let said = ok(folder.path(), &[&set[..], &["--yes"]].concat());
    assert!(said.contains(&format!("this will {what}")) && said.contains("saved as version"), "{said}");
    let none = ok(folder.path(), &["settings", "set", "shop", "retention_days", "4", "--dry-run"]);
    assert!(none.contains("for 4 days in place of 5: 2 events"), "nothing was deleted yet: {none}");
}

#[test]
fn an_erasure_that_a_damaged_frame_holds_open_is_named_with_what_to_do() {
    let folder = with_a_damaged_frame();
    let at = folder.path();
    in_store(at, async |store: &Store| {
        let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
        store.erase(&shop, &[Person::Visitor("v1".to_owned())]).await.unwrap();
        assert!(store.upkeep().await.is_err(), "one of the two frames does not open");
    });
    let listed = ok(at, &["erase", "--project", "shop", "--list"]);
    assert!(
        listed.contains("1 id is held by frame shop/2 of ") && listed.contains("or let retention take"),
        "{listed}"
    );
    let words: Vec<&str> = listed.split_whitespace().collect();
    assert!(words.join(" ").contains("(convizit restore --frame shop/2)"), "{listed}");
    assert!(listed.lines().all(|line| line.chars().count() <= 100), "{listed}");
    let doctor = || String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    let told = doctor();
    assert!(told.contains("problem  frame: frame 2 of project shop (events 2 to 2 of "), "{told}");
    assert!(!told.contains("problem  erasures"), "it is not late yet: {told}");
    behind(at, "UPDATE erasures SET made = made - 7200000");
    let told = doctor();
    let late = "problem  erasures: 1 erasure is not carried out within the hour in project shop, the oldest er_";
    assert!(told.contains(late) && told.contains("held by frame shop/2"), "{told}");
    assert!(ok(at, &["notices", "list"]).contains("frame shop/2"));
}

#[test]
fn a_damaged_frame_keeps_nobody_from_being_exported_and_erased() {
    let folder = with_a_damaged_frame();
    let at = folder.path();
    let erase = ["erase", "--project", "shop", "--visitor", "v1"];
    let with = |rest: &[&'static str]| [&erase[..], rest].concat();
    let would = ok(at, &with(&["--dry-run"]));
    assert!(would.contains("1 id and 1 stored event (and perhaps more in 1 frame that does not open)"), "{would}");
    let plan: serde_json::Value = serde_json::from_str(&ok(at, &with(&["--dry-run", "--json"]))).unwrap();
    assert_eq!((&plan["events"], &plan["unreadable_frames"]), (&1.into(), &1.into()));

    let export = ["export", "--project", "shop", "--visitor", "v1"];
    let printed = convizit(at, &export, "");
    assert_eq!(String::from_utf8_lossy(&printed.stdout).lines().count(), 1);
    let error = fails(at, &[&export[..], &["--out", "for-v1"]].concat());
    assert!(error.contains("exported 1 event and passed over 1 frame that may hold more of this visitor"), "{error}");
    assert!(error.contains("events 2 to 2 of project shop cannot be read"), "{error}");
    assert_eq!(std::fs::read_to_string(at.join("for-v1/events.jsonl")).unwrap().lines().count(), 1);
    let error = fails(at, &[&export[..], &["--out", "for-v1"]].concat());
    assert!(error.contains("for-v1/events.csv is there already"), "{error}");

    let erased = ok(at, &with(&["--yes"]));
    let said = "1 stored event (and perhaps more in 1 frame that does not open) of 1 id cannot be read, exported or delivered any more";
    assert!(erased.contains(said), "{erased}");
    assert!(erased.contains("within the hour, but those that may stand in a frame that does not open"), "{erased}");
    let none = convizit(at, &export, "");
    assert!(none.stdout.is_empty(), "what was read before is not any more");
}

#[test]
fn ids_without_anything_stored_are_said_by_their_lines() {
    let folder = with_events(&[0]);
    let at = folder.path();
    std::fs::write(at.join("left.txt"), "v1\n\nnobody\nsomebody\n").unwrap();
    let erase = ["erase", "--project", "shop", "--visitor", "--file", "left.txt", "--dry-run"];
    let output = convizit(at, &erase, "");
    let (said, note) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("would erase 3 ids and 1 stored event from project shop"), "{said}");
    assert!(note.contains("note: 2 of 3 ids have nothing stored: lines 3, 4 of the file"), "{note}");
    let plan: serde_json::Value = serde_json::from_str(&ok(at, &[&erase[..], &["--json"]].concat())).unwrap();
    assert_eq!((&plan["persons"], &plan["ids_without_events"]), (&3.into(), &2.into()));
    let export = convizit(at, &["export", "--project", "shop", "--visitor", "v1", "nobody"], "");
    let note = String::from_utf8_lossy(&export.stderr);
    assert!(export.status.success() && note.contains("1 of 2 ids has nothing stored"), "{note}");
    assert!(!note.contains("nobody"), "an id is said only where it was typed: {note}");
}

#[test]
fn a_damaged_frame_is_named_with_what_brings_it_back() {
    let folder = with_events(&[0, 0]);
    let at = folder.path();
    ok(at, &["backup"]);
    spoil_the_second_frame(at);
    let verified = convizit(at, &["verify"], "");
    let (said, error) = (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    assert_eq!(verified.status.code(), Some(1), "{said}");
    assert!(error.contains("1 problem was found"), "{error}");
    assert!(
        said.contains("Damaged: 1 thing as named above") && said.contains("convizit restore --frame shop/2 brings"),
        "{said}"
    );
    assert!(!said.contains("whole backup:"), "{said}");
    let restore = ["restore", "--frame", "shop/2"];
    let with = |rest: &[&'static str]| [&restore[..], rest].concat();
    assert!(fails(at, &restore).contains("say --yes"));
    let plan: serde_json::Value = serde_json::from_str(&ok(at, &with(&["--dry-run", "--json"]))).unwrap();
    assert_eq!((&plan["frames"][0]["events"], &plan["frames"][0]["erased"]), (&1.into(), &0.into()), "{plan}");
    assert!(fails(at, &["verify"]).contains("1 problem was found"), "nothing was done");
    assert!(
        ok(at, &with(&["--yes"]))
            .contains("Brought back: frame shop/2 (1 event in the numbers 2 to 2) from the backup of ")
    );
    assert!(ok(at, &["verify"]).contains("Everything opens"));
    assert!(fails(at, &with(&["--yes"])).contains("there is nothing to bring back"));
    assert!(ok(at, &["audit", "list", "--act", "frame.restore"]).contains("events 2 to 2"));
}

#[test]
fn frames_that_were_brought_back_before_an_error_are_named() {
    let folder = with_events(&[0, 0, 0]);
    let at = folder.path();
    ok(at, &["backup"]);
    behind(at, "UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first > 1");
    behind(
        at,
        "CREATE TRIGGER stays BEFORE DELETE ON frames WHEN OLD.first = 3 BEGIN SELECT RAISE(ABORT, 'it stays'); END",
    );
    let restore = ["restore", "--frame", "shop/2", "--frame", "shop/3", "--yes"];
    let output = convizit(at, &restore, "");
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Brought back: frame shop/2 ") && !said.contains("shop/3"), "{said}");
    assert!(error.contains("it ended at frame shop/3 ") && error.contains("it stays"), "{error}");
    let log = ok(at, &["audit", "list", "--act", "frame.restore"]);
    assert!(log.contains("events 2 to 2") && !log.contains("events 3 to 3"), "{log}");
}
