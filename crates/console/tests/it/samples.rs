//! Every field of a stored event × seven principals: a canary in each shows in an answer only where the right to see samples is.

use std::collections::BTreeMap;

use axum::http::Method;
use convizit_model::{NewEvent, Outcome, ProjectSettings, ProjectWork, Received, Role, Work};
use convizit_pipeline::{Registry, name_events};
use serde_json::{Value, json};

use crate::roles::{PRINCIPALS, path_of};
use crate::site::{Site, Who};

/// What every member may see of an event, and what is a choice of few words.
const OPEN: [&str; 16] = [
    "id",
    "project",
    "source",
    "schema",
    "name",
    "name_state",
    "type",
    "time",
    "client_time",
    "received",
    "session.start",
    "element.id",
    "group.id",
    "consent.analytics",
    "consent.ads",
    "consent.gpc",
];
/// Of these the pages show something, to whoever may see it.
const SHOWN: [&str; 7] =
    ["page.path", "visitor", "properties.", "properties. key", "withheld.0.field", "form.section", "form.page"];

/// Puts a canary into each field: path of the field → canary.
fn plant(value: &mut Value, path: &str, canaries: &mut BTreeMap<String, String>) {
    if OPEN.contains(&path) {
        return;
    }
    // Six characters: of a visitor's id no more is shown.
    let canary = format!("zq{:02}qz", canaries.len());
    match value {
        Value::String(text) => {
            text.clone_from(&canary);
            canaries.insert(path.to_owned(), canary);
        }
        Value::Number(number) => {
            let digits = 3_914_827_400_u64 + canaries.len() as u64;
            *number = digits.into();
            canaries.insert(path.to_owned(), digits.to_string());
        }
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                plant(inner, &format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), canaries);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter_mut().enumerate() {
                plant(inner, &format!("{path}.{index}"), canaries);
            }
        }
        Value::Bool(_) | Value::Null => {}
    }
}

/// A control that was named by the product itself, and an event of it with a canary in every field. Returns the name's id.
async fn fill(site: &Site, canaries: &mut BTreeMap<String, String>) -> String {
    let now = site.store.clock().now();
    let (section, page) = ("zqformsqz".to_owned(), "/zqformpqz".to_owned());
    let received: Received = serde_json::from_value(json!({
        "project": "shop", "number": site.shop.number, "received": now, "clock": 0, "visitor": "v", "device": {}, "location": {},
        "batch": {"v": 1, "key": site.shop.key, "batch": "tab.1", "sent": now, "session": {"id": "s1", "start": now},
            "page": {"url": format!("https://shop.example{page}"), "path": page},
            "events": [{"id": "0193a1f0-0000-7000-8000-000000000001", "type": "click", "time": now, "descriptor": {
                "role": "button", "label": "Buy now", "labelSource": "content", "template": "Buy now", "tag": "button",
                "context": [{"kind": "section", "name": section}], "group": null, "properties": {}, "path": "main>section>button"}}]}
    }))
    .unwrap();
    let mut registry = Registry::default();
    let named = name_events(received, &mut registry).remove(0);
    let mut event = serde_json::to_value(&named.event).unwrap();
    for (field, text) in [("section", section), ("page", page)] {
        assert!(!named.event.name.contains(&text), "{}", named.event.name);
        canaries.insert(format!("form.{field}"), text);
    }
    let full = json!({
        "user": "", "session": {"id": "", "start": now},
        "page": {"url": "", "path": "", "title": "", "type": "", "language": "", "referrer": ""},
        "element": {"id": event["element"]["id"], "role": "", "label": "", "section": ""},
        "group": {"id": "gr_0000000000000001", "name": "", "position": 0, "length": 0},
        "properties": {"": "", "amount": 0, "list": [""]}, "campaign": {"source": "", "": 0},
        "device": {"platform": "", "os_name": "", "os_version": "", "browser": "", "browser_version": "", "brand": "", "type": ""},
        "location": {"country": "", "region": ""}, "withheld": [{"field": "", "rule": "", "by": "", "rules": 0}]
    });
    for (key, value) in full.as_object().unwrap() {
        event[key] = value.clone();
    }
    plant(&mut event, "", canaries);
    // The keys that a site chose are theirs, too.
    for (map, canary) in [("properties", "zqkeypqz"), ("campaign", "zqkeycqz")] {
        let map_of = event[map].as_object_mut().unwrap();
        let value = map_of.remove("").unwrap();
        map_of.insert(canary.to_owned(), value);
        canaries.insert(format!("{map}. key"), canary.to_owned());
    }
    let parsed: Result<convizit_model::Event, _> = serde_json::from_value(event.clone());
    assert!(parsed.is_ok(), "every field is of the event's form: {parsed:?}");
    let stored = NewEvent {
        id: named.event.id,
        name: named.name,
        hour: now.hour(),
        day: now.day(),
        visitor: "v".to_owned(),
        user: None,
        since: now,
        json: serde_json::to_vec(&event).unwrap(),
    };
    let share = ProjectWork {
        number: site.shop.number,
        project: site.shop.id.clone(),
        events: vec![stored],
        rows: registry.take_changes(),
        outcomes: vec![(Outcome::Accepted, 1)],
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    site.store.commit_work(Work { from: 0, to: 1, projects: vec![share] }).await.unwrap();
    convizit_model::NameId(named.name).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_a_sample_shows_only_where_the_right_to_it_is() {
    let site = Site::make().await;
    let mut canaries = BTreeMap::new();
    let name = fill(&site, &mut canaries).await;
    assert!(canaries.len() >= 30, "{canaries:?}");
    let (mut checks, mut wrong) = (0, Vec::new());
    for samples_from in [Role::Admin, Role::Editor, Role::Viewer] {
        let settings = ProjectSettings { samples_from, ..site.shop.settings.clone() };
        site.store.save_settings(&site.shop.id, settings).await.unwrap();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for row in site.rows.iter().filter(|row| samples_from == Role::Admin || row.method() == Method::GET) {
            let path = path_of(row, "shop", 999).replace("na_0000000000000001", &name);
            for who in PRINCIPALS {
                let cookie = site.session(who).await;
                let answer = match row.method() {
                    Method::POST => site.post(&path, &cookie, &[]).await,
                    _ => site.get(&path, &cookie).await,
                };
                let head: String = answer.headers.values().filter_map(|value| value.to_str().ok()).collect();
                let may = matches!(who, Who::In(role) if role >= samples_from);
                for (field, canary) in &canaries {
                    checks += 1;
                    if answer.text.contains(canary.as_str()) || head.contains(canary.as_str()) {
                        *seen.entry(field.clone()).or_default() += 1;
                        if !may {
                            wrong.push(format!(
                                "{field} in {} {path} by {who:?}, samples from {samples_from:?}",
                                row.method
                            ));
                        }
                    }
                }
            }
        }
        for field in SHOWN {
            // Each of those who may: a row of the table that hides it from them would be wrong, too.
            let who = PRINCIPALS.iter().filter(|who| matches!(who, Who::In(role) if *role >= samples_from)).count();
            assert!(seen.get(field).is_some_and(|times| *times >= who), "{field}: {seen:?}");
        }
    }
    println!("{checks} looks for {} canaries, {} mismatches", canaries.len(), wrong.len());
    assert_eq!(wrong, [""; 0]);
    assert!(checks > 20_000, "{checks}");
}
