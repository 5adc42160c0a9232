//! A frame that does not open, at the command line: it keeps nobody from being exported and erased.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::{NewEvent, ProjectWork, Work};
use convizit_store::{Store, StoreConfig, SystemClock};

use crate::cli::{convizit, fails, ok, with_shop};

/// Two events of the visitor v1, each in a frame of its own.
fn with_two_frames() -> tempfile::TempDir {
    let folder = with_shop();
    let data = folder.path().join("convizit-data");
    let fill = async {
        let keys = open_provider(&ProviderConfig::File { path: data.join("keys") }).unwrap();
        let store = Store::open(StoreConfig::in_folder(&data), keys, Arc::new(SystemClock)).await.unwrap();
        let shop = store.project(&"shop".parse().unwrap()).await.unwrap();
        let now = store.clock().now();
        for n in 0..2_u64 {
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
        store.close().await;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(fill);
    folder
}

/// As `with_two_frames`, of which the second does not open.
fn with_a_damaged_frame() -> tempfile::TempDir {
    let folder = with_two_frames();
    spoil_the_second_frame(&folder.path().join("convizit-data"));
    folder
}

fn spoil_the_second_frame(data: &Path) {
    // By a program of its own: only the store names a driver.
    let spoil = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], 30); \
                 c.execute('UPDATE frames SET body = (SELECT body FROM frames WHERE first = 1) WHERE first = 2'); c.commit()";
    assert!(Command::new("python3").args(["-c", spoil]).arg(data.join("data.db")).status().unwrap().success());
}

#[test]
fn a_damaged_frame_is_named_with_what_brings_it_back() {
    let folder = with_two_frames();
    let at = folder.path();
    ok(at, &["backup"]);
    spoil_the_second_frame(&at.join("convizit-data"));
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
fn a_damaged_frame_keeps_nobody_from_being_exported_and_erased() {
    let folder = with_a_damaged_frame();
    let at = folder.path();
    let erase = ["erase", "--project", "shop", "--visitor", "v1"];
    let with = |rest: &[&'static str]| [&erase[..], rest].concat();
    let would = ok(at, &with(&["--dry-run"]));
    assert!(would.contains("1 person and 1 stored event (and perhaps more in 1 frame that does not open)"), "{would}");
    let plan: serde_json::Value = serde_json::from_str(&ok(at, &with(&["--dry-run", "--json"]))).unwrap();
    assert_eq!((&plan["events"], &plan["unreadable_frames"]), (&1.into(), &1.into()));

    let export = ["export", "--project", "shop", "--visitor", "v1"];
    let printed = convizit(at, &export, "");
    assert_eq!(String::from_utf8_lossy(&printed.stdout).lines().count(), 1);
    let error = fails(at, &[&export[..], &["--out", "for-v1"]].concat());
    assert!(error.contains("exported 1 event and passed over 1 frame that may hold more of this visitor"), "{error}");
    assert!(error.contains("events 2 to 2 of project number 1 cannot be read"), "{error}");
    assert_eq!(std::fs::read_to_string(at.join("for-v1/events.jsonl")).unwrap().lines().count(), 1);

    let erased = ok(at, &with(&["--yes"]));
    assert!(erased.contains("nothing of it can be read, exported or delivered any more"), "{erased}");
    let none = convizit(at, &export, "");
    assert!(none.stdout.is_empty(), "what was read before is not any more");
}
