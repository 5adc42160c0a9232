//! Transforms in VRL: the process in which they run, what it may take, and that nothing waits for one that cannot end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use convizit_delivery::DeliveryConfig;
use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::{Destination, DestinationKind, EventId, NewEvent, Project, ProjectWork, Shaping, Work};
use convizit_store::{Store, StoreConfig, SystemClock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = env!("CARGO_BIN_EXE_convizit");

async fn store(folder: &Path) -> (Store, Project) {
    let keys = open_provider(&ProviderConfig::File { path: folder.join("keys") }).unwrap();
    let store = Store::open(StoreConfig::in_folder(&folder.join("data")), keys, Arc::new(SystemClock)).await.unwrap();
    let shop = store.create_project(&"shop".parse().unwrap(), Default::default()).await.unwrap();
    (store, shop)
}

/// One event for each of these properties.
async fn put(store: &Store, shop: &Project, all: &[Value]) {
    let now = store.clock().now();
    let events = (1_u128..).zip(all).map(|(number, properties)| {
        let id = EventId::from_bytes((0x0193_a1f0_0000_7000_8000_0000_0000_0000_u128 + number).to_be_bytes()).unwrap();
        let json = json!({"id": id, "project": "shop", "schema": 1, "name": "Add to cart", "type": "click", "time": now, "received": now,
            "visitor": "v1", "consent": {"analytics": true, "ads": false, "gpc": true}, "device": {"platform": "web", "brand": "canary-brand"},
            "properties": properties});
        NewEvent {
            id,
            name: 1,
            hour: now.hour(),
            day: now.day(),
            visitor: "v1".to_owned(),
            user: None,
            since: now,
            json: json.to_string().into_bytes(),
        }
    });
    let work = ProjectWork {
        number: shop.number,
        project: shop.id.clone(),
        events: events.collect(),
        rows: Vec::new(),
        outcomes: Vec::new(),
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    store.commit_work(Work { from: 0, to: 1, projects: vec![work] }).await.unwrap();
}

/// What a file gets through a program of all events, and what it does not get.
async fn delivered(source: &str, all: &[Value], during: impl AsyncFn()) -> (Vec<Value>, Vec<String>) {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let folder = tempfile::tempdir().unwrap();
    let (store, shop) = store(folder.path()).await;
    put(&store, &shop, all).await;
    let path = folder.path().join("lines");
    let destination = Destination {
        project: shop.id.clone(),
        name: "lines".to_owned(),
        enabled: true,
        paused: None,
        processor: None,
        types: Vec::new(),
        shaping: Shaping {
            without: vec!["device.brand".to_owned()],
            transform: Some(source.to_owned()),
            ..Shaping::default()
        },
        kind: DestinationKind::File { path: path.display().to_string() },
    };
    let config = DeliveryConfig {
        allow_folders: vec![folder.path().to_owned()],
        transforms: Some(PROGRAM.into()),
        ..DeliveryConfig::default()
    };
    store.save_destination(&destination, None, true).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(convizit_delivery::run(store.clone(), config, stop.clone()));
    during().await;
    let last = i64::try_from(all.len()).unwrap();
    for _ in 0..6_000 {
        let state = store.destinations(Some(&shop.id)).await.unwrap().remove(0);
        if state.cursor >= last || state.destination.paused.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let state = store.destinations(Some(&shop.id)).await.unwrap().remove(0);
    assert_eq!((state.cursor, &state.destination.paused), (last, &None));
    let dead = store.dead_letters(&shop.id, "lines", 100).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
    store.close().await;
    let lines = std::fs::read_to_string(path).unwrap_or_default();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, dead.into_iter().map(|letter| letter.reason).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_makes_other_events_and_leaves_some_out_and_changes_nobodys_identity() {
    let source = "if .properties.Skip == true { abort }\n\
        .properties.Price = to_float!(.properties.Price) * 2\n.id = \"x\"\n.visitor = \"x\"\ndel(.project)\n.consent.ads = true\n\
        .properties.Brand = .device.brand";
    let all = [json!({"Price": "12.5"}), json!({"Skip": true}), json!({"Price": "canary-price"}), json!({"Price": 3})];
    let (lines, dead) = delivered(source, &all, async || {}).await;
    let prices: Vec<&Value> = lines.iter().map(|event| &event["properties"]["Price"]).collect();
    assert_eq!(prices, [&json!(25.0), &json!(6.0)], "{lines:?}");
    for event in &lines {
        assert_eq!((&event["visitor"], &event["project"]), (&json!("v1"), &json!("shop")), "{event}");
        assert!(event["id"].as_str().is_some_and(|id| id.starts_with("0193a1f0")), "{event}");
        assert_eq!(event["consent"]["ads"], false, "what a person agreed to is not a program's to change");
        assert!(event["properties"]["Brand"].is_null(), "what is left out does not come back: {event}");
    }
    assert!(dead.len() == 1 && dead[0].contains("the transform failed in to_float"), "{dead:?}");
    assert!(!dead[0].contains("canary"), "no message quotes the event");
}

/// What would take all memory or all time takes its own events alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_grows_or_runs_without_an_end_holds_up_nobody_and_takes_no_memory_of_ours() {
    let source = "many = array!(.properties.Many)\n\
        if .properties.Bad == \"grow\" { x = \"a\" * 4000000000\n .properties.Bad = strlen(x) }\n\
        if .properties.Bad == \"double\" { x = \"aaaaaaaaaaaaaaaa\"\n for_each(many) -> |_i, _v| { x = x + x }\n .properties.Bad = x }\n\
        if .properties.Bad == \"run\" { for_each(many) -> |_i, _v| { for_each(many) -> |_j, _w| { for_each(many) -> |_k, y| { .n = y } } } }";
    let many: Vec<u32> = (0..400).collect();
    let all = ["no", "grow", "double", "run", "no"].map(|bad| json!({"Bad": bad, "Many": many}));
    let (lines, dead) = delivered(source, &all, async || {}).await;
    assert_eq!((lines.len(), dead.len()), (2, 3), "{dead:?}");
    assert_eq!(dead.iter().filter(|reason| reason.contains("of a processor")).count(), 1, "{dead:?}");
    assert_eq!(dead.iter().filter(|reason| reason.contains("broke off")).count(), 2, "{dead:?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    assert!(peak < 400_000, "{peak} kB");
}

/// Kills every such process that this test has, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_is_started_again_and_nothing_is_lost() {
    let all: Vec<Value> = (0..3_000).map(|n| json!({"Number": n})).collect();
    let kill = async || {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(15)).await;
            let own = std::process::id().to_string();
            tokio::process::Command::new("pkill")
                .args(["-9", "-P", &own, "-f", "transform-worker"])
                .status()
                .await
                .unwrap();
        }
    };
    let (lines, dead) = delivered(".properties.Next = to_int!(.properties.Number) + 1", &all, kill).await;
    assert_eq!(dead, Vec::<String>::new());
    let next: Vec<i64> = lines.iter().map(|event| event["properties"]["Next"].as_i64().unwrap()).collect();
    assert_eq!(next, (1..=3_000).collect::<Vec<_>>());
}
