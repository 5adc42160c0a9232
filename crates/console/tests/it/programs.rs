//! What programs do beside renaming and settings: groups, merging, exclusions, drafts, destinations, notices, incidents, each with what
//! is refused.

use axum::http::{Method, StatusCode};
use convizit_model::{Change, Destination, DestinationKind, IncidentKind, NameId, NoticeKind, NoticeState, Role};
use convizit_store::{DeadLetter, ReplayState, Scope};
use serde_json::{Value, json};

use crate::api::{Call, read, send, token};
use crate::capture::{Shop, button, in_card};
use crate::customizer::{draft, names, rename};
use crate::destinations::{Receiver, put};
use crate::incidents::only;
use crate::site::{Answer, Site, Who};

const BASE: &str = "/api/v1/projects/shop";

/// A program with a token.
struct Program<'a> {
    site: &'a Site,
    token: String,
}

impl<'a> Program<'a> {
    async fn with(site: &'a Site, scopes: &[Scope], name: &str) -> Self {
        Self { site, token: token(site, scopes, name).await }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        read(&answer)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let path = format!("{BASE}{path}");
        let call = match body {
            Some(body) => Call::write(&self.token, method, &path, body),
            None => Call { method, ..Call::get(&self.token, &path) },
        };
        send(self.site, call).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// What was done.
    async fn done(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text);
        if answer.text.is_empty() { Value::Null } else { read(&answer) }
    }

    /// The status and the field of what was refused.
    async fn refused(&self, path: &str, body: Value) -> (u16, String) {
        let answer = self.post(path, body).await;
        let field = read(&answer)["field"].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), field)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_one_name_and_one_switch() {
    let mut shop = Shop::open().await;
    let group = shop.group();
    let edits = token(&shop.site, &[Scope::Read, Scope::Capture], "edits").await;
    let sees = token(&shop.site, &[Scope::Read, Scope::Samples], "sees").await;
    let path = format!("{BASE}/groups/{group}");
    let get = async |shop: &Shop, token: &str, path: &str| read(&send(&shop.site, Call::get(token, path)).await);
    let list = get(&shop, &edits, &format!("{BASE}/groups?like=shoes")).await;
    assert_eq!((list["items"][0]["id"].as_str(), list["items"][0]["captured"].as_bool()), (Some(&*group), Some(true)));
    assert_eq!(get(&shop, &edits, &format!("{BASE}/groups?like=nothing")).await["items"], json!([]));
    let shown = get(&shop, &edits, &path).await;
    assert_eq!((&shown["controls"], &shown["group"]["events"]), (&json!(2), &json!(8)), "{shown}");
    let controls = get(&shop, &edits, &format!("{path}/controls?limit=1")).await;
    assert!(controls["items"][0]["said"].is_null() && controls["next"].is_string(), "{controls}");
    let rest = format!("{path}/controls?limit=1&after={}", controls["next"].as_str().unwrap());
    let rest = get(&shop, &sees, &rest).await;
    assert!(rest["items"][0]["said"].is_string() && rest["next"].is_null(), "{rest}");

    let was = shown["group"]["text"].as_str().unwrap().to_owned();
    let text = format!("{path}/rename");
    let give = |seen: &str| Call::write(&edits, Method::POST, &text, json!({"text": "Sneaker", "seen": seen}));
    let stale = send(&shop.site, give("Old name").keyed("k")).await;
    assert_eq!((stale.status, read(&stale)["current"].as_str()), (StatusCode::CONFLICT, Some(&*was)));
    let given = send(&shop.site, give(&was).keyed("k")).await;
    assert_eq!(given.status, StatusCode::OK, "{}", given.text);
    assert_eq!(send(&shop.site, give(&was).keyed("k")).await.text, given.text, "the same key decides once");
    assert_eq!(get(&shop, &edits, &path).await["group"]["text"], "Sneaker");

    let switch = format!("{path}/capture");
    let off = send(&shop.site, Call::write(&edits, Method::POST, &switch, json!({"captured": false}))).await;
    assert_eq!(off.status, StatusCode::OK, "{}", off.text);
    let before = shop.events().await;
    shop.click("/shoes", in_card("Add to cart", 2)).await;
    assert_eq!(shop.events().await, before);
    let listed = get(&shop, &edits, &format!("{BASE}/switched-off")).await;
    let one = &listed["items"][0];
    assert_eq!((one["group"].as_str(), one["called"].as_str()), (Some(&*group), Some("Sneaker")), "{listed}");
    assert_eq!((one["by"].as_str(), &one["decision"]), (Some("token:edits"), &read(&off)["decision"]));
    let undo = format!("{BASE}/decisions/{}/undo", one["decision"].as_str().unwrap());
    assert_eq!(
        send(&shop.site, Call { method: Method::POST, ..Call::get(&edits, &undo) }).await.status,
        StatusCode::OK
    );
    assert_eq!(get(&shop, &edits, &format!("{BASE}/switched-off")).await["items"], json!([]));
    for path in ["/groups/gr_ffffffffffffffff", "/groups/nothing"] {
        let answer = send(&shop.site, Call::get(&edits, &format!("{BASE}{path}"))).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_are_merged_after_a_look_and_several_are_switched_at_once() {
    let shop = Shop::open().await;
    let program = Program::with(&shop.site, &[Scope::Read, Scope::Capture], "edits").await;
    let (ask, chat, card) = (shop.name("Ask a person"), shop.name("Chat with us"), shop.name("Add to cart"));
    let path = format!("/events/{ask}/merge");
    let look = program.get(&format!("{path}?into={chat}")).await;
    assert!(look["names"].as_array().unwrap().iter().any(|one| one["after"] == "Chat with us"), "{look}");
    let foreign = program.refused(&path, json!({"into": "na_ffffffffffffffff"})).await;
    assert_eq!(foreign, (422, "into".to_owned()));
    assert_eq!(program.refused(&path, json!({"into": chat, "seen": 99})).await, (409, "seen".to_owned()));
    assert_eq!(program.refused(&path, json!({"into": ask})).await.0, 422, "with itself");
    let merged = program.done(&path, json!({"into": chat, "seen": look["seen"]})).await;
    let decisions = program.get("/decisions").await;
    assert_eq!(
        (&decisions["items"][0]["id"], &decisions["items"][0]["what"]["change"]),
        (&merged["decision"], &json!("merge"))
    );
    program.done(&format!("/decisions/{}/undo", merged["decision"].as_str().unwrap()), json!({})).await;

    let several = |events: Value, captured: bool| json!({"events": events, "captured": captured});
    let refused = program.refused("/events/capture", several(json!([ask, "na_ffffffffffffffff"]), false)).await;
    assert_eq!(refused, (422, "events[1]".to_owned()));
    assert_eq!(program.refused("/events/capture", several(json!([]), false)).await, (422, "events".to_owned()));
    let off = program.done("/events/capture", several(json!([ask, chat, card]), false)).await;
    assert_eq!(off["decisions"].as_array().unwrap().len(), 3, "{off}");
    assert_eq!(program.refused("/events/capture", several(json!([ask]), false)).await, (422, "events".to_owned()));
    let left_out = program.get("/events?state=not_captured&limit=200").await;
    let texts: Vec<&str> =
        left_out["items"].as_array().unwrap().iter().map(|name| name["text"].as_str().unwrap()).collect();
    assert!(texts.contains(&"Ask a person") && texts.contains(&"Chat with us"), "{texts:?}");
    let wrong = program.ask(Method::GET, "/events?state=lost", None).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let changes = program.get("/site-changes?days=30").await;
    let first = &changes["items"][0];
    assert!(first["change"] == "new" && first["now"].is_null() && first["element"].is_string(), "{changes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_between_two_pages_makes_nothing_come_twice() {
    let mut shop = Shop::open().await;
    let program = Program::with(&shop.site, &[Scope::Read], "reads").await;
    let whole = program.get("/site-changes?limit=200").await["items"].as_array().unwrap().len();
    let first = program.get("/site-changes?limit=2").await;
    shop.site.wait(1000);
    shop.click("/help", button("Call us", "call")).await;
    let program = Program::with(&shop.site, &[Scope::Read], "reads-on").await;
    let mut elements: Vec<Value> = first["items"].as_array().unwrap().clone();
    let mut next = first["next"].clone();
    while let Some(after) = next.as_str() {
        let page = program.get(&format!("/site-changes?limit=2&after={after}")).await;
        elements.extend(page["items"].as_array().unwrap().iter().cloned());
        next = page["next"].clone();
    }
    let mut ids: Vec<&str> = elements.iter().map(|change| change["element"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((elements.len(), ids.len()), (whole, whole), "{elements:?}");
    assert_eq!(program.get("/site-changes?limit=200").await["items"].as_array().unwrap().len(), whole + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_a_control_is_split_off_by_a_program() {
    let mut shop = Shop::open().await;
    // The author's own id says that it is the same, whatever it says.
    for (label, section) in [("Pay", "Payment"), ("Buy now", "Order")] {
        let mut pay = button(label, "pay");
        pay["attributes"] = json!({"data-testid": "pay", "type": "button"});
        pay["context"] = json!([{"kind": "section", "name": section}]);
        shop.click("/pay", pay).await;
    }
    let name = shop.name("Pay");
    let program = Program::with(&shop.site, &[Scope::Read, Scope::Capture], "edits").await;
    let sees = Program::with(&shop.site, &[Scope::Read, Scope::Samples], "sees").await;
    let forms = program.get(&format!("/events/{name}/forms")).await;
    let forms = forms["items"].as_array().unwrap();
    assert!(forms.len() == 2 && forms.iter().all(|form| form["said"].is_null()), "{forms:?}");
    let said = sees.get(&format!("/events/{name}/forms")).await;
    assert_eq!(said["items"][1]["said"]["label"], "Buy now", "{said}");
    let (element, path) = (forms[1]["element"].as_str().unwrap(), format!("/events/{name}/split"));
    let look = program.get(&format!("{path}?element={element}&form=1")).await;
    for (body, refused) in [
        (json!({"element": "el_0000000000000001", "form": 1}), (422, "")),
        (json!({"element": element, "form": 7}), (422, "")),
        (json!({"element": element, "form": 0}), (422, "form")),
        (json!({"element": element, "form": 1, "seen": 99}), (409, "seen")),
        (json!({"element": element, "form": "1"}), (400, "form")),
    ] {
        assert_eq!(program.refused(&path, body.clone()).await, (refused.0, refused.1.to_owned()), "{body}");
    }
    program.done(&path, json!({"element": element, "form": 1, "seen": look["seen"]})).await;
    assert_eq!(program.refused(&path, json!({"element": element, "form": 1})).await.0, 422, "it is split off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_is_tried_set_and_taken_out_by_a_program() {
    let shop = Shop::open().await;
    let site = &shop.site;
    let program = Program::with(site, &[Scope::Read, Scope::Capture], "edits").await;
    let sees = Program::with(site, &[Scope::Read, Scope::Samples], "sees").await;
    let tried = program.get("/exclusions/try?kind=selector&entry=.private").await;
    assert_eq!((&tried["hits"], &tried["of"], &tried["controls"][0]["said"]), (&json!(1), &json!(5), &Value::Null));
    let path = "/exclusions/try?kind=path&entry=/account/*";
    let (without, with) = (program.get(path).await, sees.get(path).await);
    assert_eq!((&without["hits"], &without["paths"]), (&json!(1), &json!([])));
    assert_eq!(with["paths"][0]["path"], "/account/orders");
    let wrong = program.ask(Method::GET, "/exclusions/try?kind=selector&entry=.a:::b", None).await;
    assert_eq!((wrong.status.as_u16(), read(&wrong)["field"].as_str()), (422, Some("entry")));

    let entry = |kind: &str, entry: &str| json!({"kind": kind, "entry": entry});
    let version = site.store.project(&site.shop.id).await.unwrap().version;
    assert_eq!(program.refused("/exclusions", entry("selector", ":::")).await, (422, "entry".to_owned()));
    assert_eq!(program.refused("/exclusions", entry("tag", "p")).await, (400, "kind".to_owned()));
    let saved = program.done("/exclusions", json!({"kind": "selector", "entry": ".private", "version": version})).await;
    assert_eq!(saved["version"], json!(version + 1));
    let stale = program.post("/exclusions", json!({"kind": "path", "entry": "/help", "version": version})).await;
    assert_eq!((stale.status, &read(&stale)["current"]["version"]), (StatusCode::CONFLICT, &json!(version + 1)));
    assert_eq!(program.refused("/exclusions", entry("selector", ".private")).await, (422, "entry".to_owned()));
    let listed = program.get("/exclusions").await;
    let one = &listed["items"][0];
    assert_eq!((&one["entry"], &one["set_by"], &one["known"]), (&json!(".private"), &json!("token:edits"), &json!(1)));
    assert_eq!(program.refused("/exclusions/remove", entry("path", ".private")).await.0, 404);
    program.done("/exclusions/remove", entry("selector", ".private")).await;
    assert_eq!(program.get("/exclusions").await["items"], json!([]));
    assert_eq!(program.get("/exclusions?removed=true").await["items"][0]["removed_by"], "token:edits");
    let entries = site.store.audit_entries(Some("shop"), 20).await.unwrap();
    // No entry is left out where another goes between one page and the next.
    for (kind, text) in [("selector", ".c"), ("path", "/b c"), ("selector", ".a")] {
        program.done("/exclusions", entry(kind, text)).await;
    }
    let first = program.get("/exclusions?limit=2").await;
    let shown: Vec<&str> =
        first["items"].as_array().unwrap().iter().map(|one| one["entry"].as_str().unwrap()).collect();
    assert_eq!(shown, ["/b c", ".a"]);
    program.done("/exclusions/remove", entry("path", "/b c")).await;
    let after = first["next"].as_str().unwrap().replace(' ', "+");
    let rest = program.get(&format!("/exclusions?limit=2&after={after}")).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["items"][0]["entry"]), (1, &json!(".c")), "{rest}");
    assert!(rest["next"].is_null());
    let saves = entries.iter().filter(|entry| entry.act == "settings.save" && entry.actor == "token:edits").count();
    assert_eq!(saves, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_are_published_all_or_none() {
    let site = Site::make().await;
    let names = names(&site).await;
    let [(cart, was, _), (chart, chart_was, chart_out)] = names.as_slice() else { panic!("{names:?}") };
    let program = Program::with(&site, &[Scope::Capture], "edits").await;
    let editor = Who::In(Role::Editor);
    draft(&site, editor, rename(*cart, "Put into basket"), was).await;
    draft(&site, editor, rename(*chart, "Put into basket"), chart_was).await;
    let listed = program.get("/drafts").await;
    let drafts = listed["items"].as_array().unwrap().clone();
    assert!(drafts.len() == 2 && drafts.iter().all(|draft| draft["possible"] == true), "{listed}");
    let first = program.get("/drafts?limit=1").await;
    let rest = program.get(&format!("/drafts?limit=1&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!([&first["items"][0], &rest["items"][0]], [&drafts[0], &drafts[1]], "{rest}");
    assert!(rest["next"].is_null(), "{rest}");
    let seen = |name: &NameId| {
        let draft = drafts.iter().find(|draft| draft["subject"] == name.to_string()).unwrap();
        json!({"subject": draft["subject"], "version": draft["version"]})
    };
    let (first, second) = (seen(cart), seen(chart));
    let made = async || site.store.decisions_after(site.shop.number, 0).await.unwrap().len();
    // Two that want one name: neither is published.
    assert_eq!(
        program.refused("/drafts/publish", json!({"drafts": [first, second]})).await,
        (422, "drafts".to_owned())
    );
    assert_eq!((made().await, site.store.drafts(site.shop.number).await.unwrap().len()), (0, 2));
    let twice = program.refused("/drafts/publish", json!({"drafts": [first, first]})).await;
    assert_eq!(twice, (422, "drafts[1]".to_owned()));
    assert_eq!(program.refused("/drafts/publish", json!({"drafts": []})).await, (422, "drafts".to_owned()));
    let unknown = json!({"drafts": [{"subject": drafts[0]["subject"], "version": 1}]});
    let stale = program.post("/drafts/publish", unknown.clone()).await;
    assert_eq!((stale.status, read(&stale)["current"].as_array().unwrap().len()), (StatusCode::CONFLICT, 2));
    assert_eq!(program.refused("/drafts/discard", unknown).await, (409, "drafts".to_owned()));
    assert_eq!(program.post("/drafts/discard", json!({"drafts": [second]})).await.status, StatusCode::NO_CONTENT);

    // Renamed in the console meanwhile: it is published by whoever says that they have seen it.
    let admin = site.account(Who::In(Role::Admin)).actor();
    site.store.decide(&site.shop, &admin, rename(*cart, "In the bag")).await.unwrap();
    let shown = program.get("/drafts").await;
    assert!(shown["items"][0]["conflict"].is_string() && shown["items"][0]["now"] == "In the bag", "{shown}");
    assert_eq!(program.refused("/drafts/publish", json!({"drafts": [first]})).await.0, 422);
    let mut all_the_same = first.clone();
    all_the_same["now"] = json!("In the bag");
    let (out, _) = draft(&site, editor, chart_out.clone(), "captured").await;
    let (subject, version) = out.split_once(' ').unwrap();
    let out = json!({"subject": subject, "version": version.parse::<i64>().unwrap()});
    let published = program.done("/drafts/publish", json!({"drafts": [all_the_same, out]})).await;
    assert_eq!(published["decisions"].as_array().unwrap().len(), 2);
    assert!(site.store.drafts(site.shop.number).await.unwrap().is_empty());
    let rows = site.store.decisions_after(site.shop.number, 1).await.unwrap();
    assert!(rows.iter().all(|row| String::from_utf8_lossy(&row.body).contains("token:edits")));
    assert!(matches!(chart_out, Change::CaptureElement { captured: false, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_added_changed_tried_and_removed_by_a_program() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    let program = Program::with(&site, &[Scope::Read, Scope::Destinations], "delivers").await;
    let reads = Program::with(&site, &[Scope::Read], "reads").await;
    let dead_end = "http://127.0.0.1:1/hook";
    for (body, refused) in [
        (json!({"kind": "webhook", "name": "My Hook", "url": dead_end}), (422, "name")),
        (json!({"kind": "webhook", "name": "hook"}), (422, "url")),
        (json!({"kind": "webhook", "name": "hook", "url": dead_end}), (422, "url")),
        (json!({"kind": "webhook", "name": "hook", "url": "http://10.0.0.1/"}), (422, "url")),
        (json!({"kind": "postgres", "name": "hook"}), (422, "secret")),
        (json!({"kind": "file", "name": "hook", "path": "/etc/convizit.jsonl"}), (422, "path")),
        (json!({"kind": "stdout", "name": "hook"}), (400, "kind")),
        (json!({"kind": "connector", "name": "hook", "connector": "mixpanl"}), (422, "connector")),
        (json!({"kind": "connector", "name": "hook", "connector": "webhook", "url": dead_end}), (422, "connector")),
        (json!({"kind": "connector", "name": "hook"}), (422, "connector")),
        (json!({"kind": "connector", "name": "hook", "connector": "http"}), (422, "settings.address")),
        (
            json!({"kind": "webhook", "name": "hook", "url": dead_end, "shaping": {"without": ["id"]}}),
            (422, "shaping.without"),
        ),
        (
            json!({"kind": "webhook", "name": "hook", "url": dead_end, "shaping": {"when": {"like": 1}}}),
            (422, "shaping.when"),
        ),
        (
            json!({"kind": "webhook", "name": "hook", "url": dead_end, "shaping": {"percent": 100}}),
            (422, "shaping.percent"),
        ),
        (
            json!({"kind": "webhook", "name": "hook", "url": dead_end, "shaping": {"fields": {"a": 1}}}),
            (422, "shaping.fields"),
        ),
    ] {
        assert_eq!(program.refused("/destinations", body.clone()).await, (refused.0, refused.1.to_owned()), "{body}");
    }
    let good = json!({"kind": "webhook", "name": "hook", "url": receiver.url, "types": ["click"], "hold": true});
    let path = format!("{BASE}/destinations");
    let add = || Call::write(&program.token, Method::POST, &path, good.clone()).keyed("add");
    let added = send(&site, add()).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    let secret = site.store.destination_secret(&site.shop.id, "hook").await.unwrap().unwrap();
    assert_eq!(read(&added)["secret"].as_str(), Some(&*secret));
    assert_eq!(send(&site, add()).await.text, added.text, "the same key adds once, and is told the secret");
    assert_eq!(program.refused("/destinations", good.clone()).await, (422, "name".to_owned()));
    let shown = program.get("/destinations/hook").await;
    assert_eq!((&shown["place"], &shown["destination"]["types"]), (&json!(receiver.url), &json!(["click"])));
    assert!(shown["destination"]["paused"].as_str().unwrap().contains("token:delivers"));
    let without = reads.get("/destinations/hook").await;
    assert!(without["place"].is_null() && !without.to_string().contains("canary"), "{without}");

    let seen = json!({"place": receiver.url, "types": ["click"]});
    let url = format!("{}&second", receiver.url);
    let change = async |body: Value| program.ask(Method::PATCH, "/destinations/hook", Some(body)).await;
    let changed = change(json!({"seen": seen, "url": url, "types": []})).await;
    assert_eq!((changed.status, &read(&changed)["secret"]), (StatusCode::OK, &Value::Null), "{}", changed.text);
    let stale = change(json!({"seen": seen, "types": ["submit"]})).await;
    assert_eq!((stale.status, &read(&stale)["current"]["place"]), (StatusCode::CONFLICT, &json!(url)));
    let renewed = read(&change(json!({"renew": true})).await);
    assert!(renewed["secret"].as_str().is_some_and(|new| new.starts_with("whsec_") && new != secret), "{renewed}");
    let (destination, _) = site.store.destination(&site.shop.id, "hook").await.unwrap();
    assert!(destination.types.is_empty() && destination.kind == DestinationKind::Webhook { url });
    for (body, field) in [(json!({"path": "/tmp/x"}), "path"), (json!({"url": "ftp://x"}), "url")] {
        let answer = change(body).await;
        assert_eq!((answer.status.as_u16(), read(&answer)["field"].as_str()), (422, Some(field)));
    }

    // It was added to wait: it is resumed once it is known who processes what it gets.
    let resume = async || program.post("/destinations/hook/resume", json!({})).await;
    let barred = resume().await;
    assert_eq!(
        (barred.status, read(&barred)["type"].as_str()),
        (StatusCode::CONFLICT, Some("urn:convizit:problem:barred")),
        "{}",
        barred.text
    );
    let entry = |agreement: &str| json!({"processor": {"name": "Hooks Ltd", "region": "eu", "agreement": agreement}});
    let wrong = change(entry("yesterday")).await;
    assert_eq!((wrong.status.as_u16(), read(&wrong)["field"].as_str()), (422, Some("agreement")));
    assert_eq!(change(entry("2026-10-01")).await.status, StatusCode::OK);
    assert_eq!(resume().await.status, StatusCode::NO_CONTENT);
    let entered = &program.get("/destinations/hook").await["destination"];
    assert_eq!((&entered["processor"]["name"], &entered["concern"]), (&json!("Hooks Ltd"), &Value::Null));
    let list = reads.get("/processors").await;
    assert_eq!((&list["items"][0]["destination"], &list["items"][0]["region"]), (&json!("hook"), &json!("eu")));
    let csv = reads.ask(Method::GET, "/processors.csv", None).await;
    assert!(csv.text.contains("shop,hook,webhook,Hooks Ltd,eu,2026-10-01,sending,"), "{}", csv.text);

    let tested = program.done("/destinations/hook/test", json!({})).await;
    assert!(tested["said"].as_str().unwrap().contains("took the event"), "{tested}");
    receiver.answers(401);
    assert_eq!(program.post("/destinations/hook/test", json!({})).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let removed = program.ask(Method::DELETE, "/destinations/hook", None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{}", removed.text);
    assert_eq!(program.ask(Method::DELETE, "/destinations/hook", None).await.status, StatusCode::NOT_FOUND);
    let entries = site.store.audit_entries(Some("shop"), 50).await.unwrap();
    for act in ["destination.save", "destination.test", "destination.remove"] {
        assert!(entries.iter().any(|entry| entry.act == act && entry.actor == "token:delivers"), "{act}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_and_what_it_gets_is_changed_by_a_program() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    let program = Program::with(&site, &[Scope::Read, Scope::Destinations], "delivers").await;
    let reads = Program::with(&site, &[Scope::Read], "reads").await;
    let shaping = json!({
        "without": ["device.brand"], "when": {"exists": "$.visitor"}, "percent": 50, "fields": {"Shop": "$.project"}, "transform": null,
    });
    let add = json!({
        "kind": "connector", "name": "web", "connector": "http",
        "settings": {"address": receiver.host(), "value": "canary-secret"}, "shaping": shaping,
        "processor": {"name": "own"},
    });
    // Looked at before it is added: nothing is saved, nothing is reached, and it needs no secret.
    let mut draft = add.clone();
    draft["settings"] = json!({"address": receiver.host()});
    let looked = program.done("/destination-preview", draft.clone()).await;
    assert!(looked["body"].as_str().unwrap().contains("\"Shop\": \"shop\"") && looked["real"] == false, "{looked}");
    draft["shaping"]["without"] = json!(["visitor"]);
    assert_eq!(program.refused("/destination-preview", draft.clone()).await, (422, "shaping.without".to_owned()));
    assert_eq!(reads.post("/destination-preview", draft).await.status, StatusCode::FORBIDDEN);
    assert_eq!(program.get("/destinations").await["items"], json!([]));
    program.done("/destinations", add).await;
    let shown = program.get("/destinations/web").await;
    assert_eq!((&shown["destination"]["shaping"], &shown["destination"]["state"]), (&shaping, &json!("up_to_date")));
    let place = shown["place"].as_str().unwrap();
    assert!(place.contains(&format!("address {}", receiver.host())), "{shown}");
    assert_eq!((&shown["settings"]["address"], &shown["region"]), (&json!(receiver.host()), &Value::Null));
    assert!(!shown.to_string().contains("canary"), "{shown}");
    let without = reads.get("/destinations/web").await;
    assert!(without["settings"].is_null() && without["place"].is_null(), "{without}");
    let preview = program.get("/destinations/web/preview").await;
    assert!(
        preview["how"].as_str().unwrap().contains("request") || preview["how"].as_str().unwrap().contains("not sent")
    );

    let change = async |body: Value| program.ask(Method::PATCH, "/destinations/web", Some(body)).await;
    let seen = json!({"place": place, "types": [], "shaping": shaping});
    let less = json!({"without": ["location"], "when": null, "percent": null, "fields": {}, "transform": null});
    let changed = change(json!({"seen": seen, "shaping": {"without": ["location"]}})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let stale = change(json!({"seen": seen, "types": ["submit"]})).await;
    assert_eq!((stale.status, &read(&stale)["current"]["shaping"]), (StatusCode::CONFLICT, &less), "{}", stale.text);
    let secret = site.store.destination_secret(&site.shop.id, "web").await.unwrap().unwrap();
    assert!(secret.contains("canary-secret"), "what is not named stays");
    assert_eq!(change(json!({"settings": {"value": null}})).await.status, StatusCode::OK);
    let left = site.store.destination_secret(&site.shop.id, "web").await.unwrap().unwrap_or_default();
    assert!(!left.contains("canary"), "{left}");
    for (body, field) in [
        (json!({"settings": {"address": null}}), "settings.address"),
        (json!({"region": "eu"}), "region"),
        (json!({"url": "http://127.0.0.1/"}), "url"),
        (json!({"shaping": {"when": {"like": 1}}}), "shaping.when"),
    ] {
        let answer = change(body).await;
        assert_eq!((answer.status.as_u16(), read(&answer)["field"].as_str()), (422, Some(field)), "{}", answer.text);
    }
    for _ in 0..2 {
        site.store.delivery_failed(site.shop.number, "web", "HTTP answered 503").await.unwrap();
    }
    let listed = reads.get("/destinations").await;
    let failing = &listed["items"][0];
    assert_eq!((&failing["state"], &failing["failing"]["times"]), (&json!("failing"), &json!(2)), "{listed}");
    assert_eq!(failing["failing"]["reason"], "HTTP answered 503");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_events_and_ranges_are_sent_again_by_a_program() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    let program = Program::with(&site, &[Scope::Read, Scope::Destinations], "delivers").await;
    let sees = Program::with(&site, &[Scope::Read, Scope::Samples], "sees").await;
    let mut add = json!({"kind": "webhook", "name": "hook", "url": receiver.url, "from_start": true});
    assert_eq!(program.post("/destinations", add.clone()).await.status, StatusCode::CONFLICT, "nobody is entered");
    add["processor"] = json!({"name": "own"});
    program.done("/destinations", add).await;
    put(&site, &["Canary of a visitor", "b", "c", "d"]).await;
    let dead = vec![DeadLetter::new(2, "the receiver answered 422"), DeadLetter::new(3, "the receiver answered 400")];
    site.store.advance(&site.shop.id, "hook", 0, 3, dead).await.unwrap();
    let (plain, real) = (program.get("/destinations/hook/preview").await, sees.get("/destinations/hook/preview").await);
    assert!(plain["real"] == false && !plain.to_string().contains("shop.example/"), "{plain}");
    assert!(real["real"] == true && real["fields"].as_array().unwrap().len() == 4, "{real}");

    // Where it goes is for those who may change it.
    let kind = DestinationKind::Postgres { schema: "canary_schema".to_owned() };
    let database =
        Destination { name: "db".to_owned(), kind, ..site.store.destination(&site.shop.id, "hook").await.unwrap().0 };
    site.store.add_destination(&database, Some("postgres://127.0.0.1:1/db"), false).await.unwrap();
    let (plain, real) = (program.get("/destinations/db/preview").await, sees.get("/destinations/db/preview").await);
    assert_eq!(plain["fields"][0], json!({"name": "to", "value": "canary_schema.events"}));
    assert!(real["real"] == true && !real.to_string().contains("canary_schema"), "{real}");

    let page = program.get("/destinations/hook/refused?limit=1").await;
    assert_eq!((&page["items"][0]["number"], &page["next"]), (&json!(3), &json!("3")));
    let rest = program.get("/destinations/hook/refused?limit=1&after=3").await;
    assert_eq!((&rest["items"][0]["number"], &rest["next"]), (&json!(2), &Value::Null));
    for wrong in [json!({}), json!({"numbers": []}), json!({"numbers": [3], "all": true})] {
        for act in ["retry", "drop"] {
            let refused = program.refused(&format!("/destinations/hook/refused/{act}"), wrong.clone()).await;
            assert_eq!(refused, (422, "numbers".to_owned()), "{act} {wrong}");
        }
    }
    let again = program.done("/destinations/hook/refused/retry", json!({"numbers": [3, 77]})).await;
    assert_eq!(
        (&again["events"], site.store.letters_to_retry(site.shop.number, "hook", 9).await.unwrap()),
        (&json!(1), vec![3])
    );
    assert_eq!(program.done("/destinations/hook/refused/drop", json!({"all": true})).await["events"], 2);
    assert!(site.store.dead_letters(&site.shop.id, "hook", 9).await.unwrap().is_empty());

    let from = site.store.clock().now().plus_millis(-3_600_000).to_string();
    let to = site.store.clock().now().plus_millis(60_000).to_string();
    let plan = program.get(&format!("/destinations/hook/replays/plan?from={from}&to={to}")).await;
    assert_eq!((&plan["events"], &plan["exact"], &plan["late"]), (&json!(3), &json!(true), &json!(0)));
    assert!(plan["warning"].as_str().unwrap().contains("twice") && plan["refused"].is_null(), "{plan}");
    assert!(site.store.replays(site.shop.number, "hook").await.unwrap().is_empty(), "it was only counted");
    let path = "/destinations/hook/replays";
    assert_eq!(program.refused(path, json!({"from": "yesterday"})).await, (400, "from".to_owned()));
    assert_eq!(program.refused(path, json!({"from": to, "to": from})).await, (422, "to".to_owned()));
    let old = json!({"from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z", "agreed": true});
    assert_eq!(program.post(path, old).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(program.refused(path, json!({"from": from, "to": to})).await, (409, "agreed".to_owned()));
    assert!(site.store.replays(site.shop.number, "hook").await.unwrap().is_empty(), "nobody has agreed");
    let begun = program.done(path, json!({"from": from, "to": to, "agreed": true})).await;
    assert_eq!((&begun["state"], &begun["last"]), (&json!("open"), &json!(3)));
    assert_eq!(program.get(path).await["items"][0]["id"], begun["id"]);
    let stop = format!("{path}/{}/stop", begun["id"]);
    assert_eq!(program.post(&stop, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(site.store.replays(site.shop.number, "hook").await.unwrap()[0].state, ReplayState::Stopped);
    assert_eq!(program.post(&stop, json!({})).await.status, StatusCode::NOT_FOUND);
    for path in ["/refused", "/replays", "/preview"] {
        let answer = program.ask(Method::GET, &format!("/destinations/none{path}"), None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_marked_and_sent_where_a_program_says() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    let program = Program::with(&site, &[Scope::Read, Scope::Capture, Scope::Settings], "sets").await;
    site.store.raise(NoticeKind::DeadLetters, Some(&site.shop.id), "hook", "hook refused events").await.unwrap();
    let blog = "blog".parse().unwrap();
    site.store.raise(NoticeKind::SilentProject, Some(&blog), "events", "blog is silent").await.unwrap();
    let all = site.store.notices(true).await.unwrap();
    let id = |text: &str| all.iter().find(|notice| notice.text == text).unwrap().id;
    let set = async |id: i64, state: &str| {
        program.ask(Method::PUT, &format!("/notices/{id}"), Some(json!({"state": state}))).await.status
    };
    assert_eq!(set(id("blog is silent"), "resolved").await, StatusCode::NOT_FOUND, "it is of another project");
    assert_eq!(set(id("hook refused events"), "open").await, StatusCode::BAD_REQUEST);
    assert_eq!(set(id("hook refused events"), "seen").await, StatusCode::NO_CONTENT);
    let states = |text: &str, all: &[convizit_model::Notice]| all.iter().find(|one| one.text == text).unwrap().state;
    let now = site.store.notices(true).await.unwrap();
    assert_eq!(states("hook refused events", &now), NoticeState::Seen);
    assert_eq!(states("blog is silent", &now), NoticeState::Open);

    let shown = program.get("/channels").await;
    assert_eq!((&shown["version"], &shown["webhook"]), (&json!(0), &Value::Null));
    let save = async |body: Value| program.ask(Method::PUT, "/channels", Some(body)).await;
    let channels = |version: i64, kinds: Value| {
        json!({
            "version": version, "mail_to": null, "mail_kinds": [], "webhook": receiver.url, "webhook_kinds": kinds,
            "slack": true, "slack_kinds": []
        })
    };
    let wrong = save(channels(0, json!(["dead_letters", "lag"]))).await;
    assert_eq!((wrong.status.as_u16(), read(&wrong)["field"].as_str()), (422, Some("webhook_kinds[1]")));
    let saved = read(&save(channels(0, json!(["dead_letters"]))).await);
    assert!(saved["version"] == 1 && saved["secret"].as_str().unwrap().starts_with("whsec_"), "{saved}");
    let stale = save(channels(0, json!([]))).await;
    assert_eq!((stale.status, &read(&stale)["current"]["version"]), (StatusCode::CONFLICT, &json!(1)));
    let again = read(&save(channels(1, json!([]))).await);
    assert_eq!((&again["version"], &again["secret"]), (&json!(2), &Value::Null), "the same webhook keeps its secret");
    assert_eq!(program.post("/channels/test", json!({"channel": "webhook"})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(receiver.bodies().len(), 1);
    assert_eq!(program.refused("/channels/test", json!({"channel": "slack"})).await, (422, "channel".to_owned()));
    assert_eq!(program.refused("/channels/test", json!({"channel": "mail"})).await.0, 400, "a token has no mailbox");
    program.get("/channels/sends").await;
    let snippet = program.get("/snippet").await;
    assert!(snippet["html"].as_str().unwrap().contains(site.shop.key.as_str()), "{snippet}");
    assert!(snippet["source"].as_str().unwrap().ends_with(".js") && snippet["unreachable"].is_string(), "{snippet}");
    let project = program.get("").await;
    assert!(project["failing"].is_null() && project["hours"].is_array(), "{project}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_seen_to_by_a_program_with_its_own_scope() {
    let site = Site::make().await;
    let editor = site.session(Who::In(Role::Editor)).await;
    let own = site.account(Who::In(Role::Editor)).number;
    site.post(&format!("/p/shop/members/{own}/role"), &editor, &[("role", "admin")]).await;
    let id = only(&site, IncidentKind::RoleEscalation).await.id;
    let program = Program::with(&site, &[Scope::Incidents], "watches").await;
    let path = |act: &str| format!("/incidents/{id}{act}");
    let shown = program.get(&path("")).await;
    assert_eq!((&shown["incident"]["state"], &shown["history"][0]["act"]), (&json!("open"), &json!("open")));
    let owner = site.account(Who::In(Role::Owner)).number;
    let stranger = site.account(Who::Stranger).number;
    let written = |version: i64, text: &str| json!({"version": version, "text": text});
    assert_eq!(program.refused(&path("/resolve"), written(1, "nothing")).await, (422, "text".to_owned()));
    let foreign = json!({"version": 1, "owner": stranger});
    assert_eq!(program.refused(&path("/triage"), foreign).await, (422, "owner".to_owned()), "no member");
    assert_eq!(program.refused(&path("/triage"), json!({"version": 1, "owner": 999})).await, (422, "owner".to_owned()));
    let triage = json!({"version": 1, "owner": owner, "text": "asked the editor"});
    assert_eq!(program.done(&path("/triage"), triage).await["version"], 2);
    let stale = program.post(&path("/note"), written(1, "late")).await;
    assert_eq!((stale.status, &read(&stale)["current"]["version"]), (StatusCode::CONFLICT, &json!(2)));
    assert_eq!(program.done(&path("/note"), written(2, "a stale tab")).await["version"], 3);
    assert_eq!(program.done(&path("/own"), json!({"version": 3, "owner": owner})).await["version"], 4);
    assert_eq!(program.done(&path("/resolve"), written(4, "a stale tab of theirs")).await["version"], 5);
    assert_eq!(program.get("/incidents").await["items"], json!([]));
    assert_eq!(program.get("/incidents?resolved=true").await["items"][0]["owner"], json!(owner));
    let shown = program.get(&path("")).await;
    assert_eq!(shown["history"].as_array().unwrap().last().unwrap()["actor"], "token:watches", "{shown}");

    // Another project's is as if it were not there.
    let blog = site.store.project(&"blog".parse().unwrap()).await.unwrap();
    let theirs = site.store.make_token(Some(&blog), &[Scope::Incidents], "theirs", 30).await.unwrap();
    let path = format!("/api/v1/projects/blog/incidents/{id}");
    assert_eq!(send(&site, Call::get(&theirs, &path)).await.status, StatusCode::NOT_FOUND);

    let audits = Program::with(&site, &[Scope::Audit], "audits").await;
    let verified = audits.done("/audit/verify", json!({})).await;
    assert!(verified["whole"] == true && verified["entries"].as_i64().unwrap() > 10, "{verified}");
    let before = audits.get("/audit?until=2001-01-01T00:00:00Z").await;
    assert_eq!(before["items"], json!([]));
}
