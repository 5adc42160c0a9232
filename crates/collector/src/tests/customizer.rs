//! What the customizer on a site asks, as its page meets it: token, origin, names that events will have, drafts and who was quicker.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use convizit_model::{Change, ProjectWork, Received, Role, Work};
use convizit_pipeline::{Registry, name_events};
use convizit_store::{Account, SessionPlace};
use serde_json::{Value, json};

use super::{CHROME, ORIGIN, Site, header, text};

const PASSWORD: &str = "copper lantern walks uphill";

impl Site {
    /// Makes stored names of what the journal holds, as the worker does.
    async fn work(&self) {
        let mut registry = Registry::default();
        let from = self.store.worker_offset().await.unwrap();
        let batches = self.store.journal_read(from, 1 << 20).await.unwrap();
        for record in batches.iter().flat_map(|batch| &batch.records) {
            name_events(serde_json::from_slice::<Received>(record).unwrap(), &mut registry);
        }
        let share = ProjectWork {
            number: self.number,
            project: "shop".parse().unwrap(),
            events: Vec::new(),
            rows: registry.take_changes(),
            outcomes: Vec::new(),
            withheld: Vec::new(),
            rulings: Vec::new(),
            quarantined: Vec::new(),
            dropped: Vec::new(),
        };
        let to = batches.last().unwrap().offset;
        self.store.commit_work(Work { from, to, projects: vec![share] }).await.unwrap();
    }

    async fn editor(&self, name: &str) -> (Account, String) {
        let project = self.store.project(&"shop".parse().unwrap()).await.unwrap();
        let link = self.store.invite_member(&project, &format!("{name}@shop.example"), Role::Editor).await.unwrap();
        let account = self.store.accept(&link, "", name, PASSWORD).await.unwrap();
        let secret = self.store.begin_session(&account, true, &SessionPlace::default(), None).await.unwrap();
        let session = self.store.session(&secret).await.unwrap().unwrap();
        let token = self.store.open_customizer(&project, &session, ORIGIN).await.unwrap();
        (account, token)
    }

    async fn ask(&self, what: &str, origin: Option<&str>, body: &Value) -> Response<Body> {
        let mut request = Request::post(format!("/v1/customizer/{what}")).header("user-agent", CHROME);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        self.call(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn asked(&self, what: &str, body: Value) -> (u16, Value) {
        let response = self.ask(what, Some(ORIGIN), &body).await;
        assert_eq!(header(&response, "access-control-allow-origin"), ORIGIN);
        assert_eq!(header(&response, "access-control-allow-credentials"), "");
        assert_eq!(header(&response, "cache-control"), "no-store");
        (response.status().as_u16(), serde_json::from_str(&text(response).await).unwrap())
    }
}

fn card(product: &str, position: u32) -> Value {
    json!({"role": "button", "label": "Add to cart", "labelSource": "content", "tag": "button",
        "context": [{"kind": "article", "name": product}, {"kind": "section", "name": "All shoes"}],
        "group": {"position": position, "length": 12, "signature": [1, 2, 3], "container": "All shoes", "member": "Product", "path": "div>button"},
        "properties": {"Product name": product}, "path": "main>ul>li>div>button"})
}

fn event(n: u32, descriptor: &Value) -> Value {
    json!({"id": format!("0193a1f0-0000-7000-8000-{n:012}"), "type": "click", "time": "2026-11-23T18:00:00.000Z", "descriptor": descriptor})
}

#[tokio::test]
async fn only_a_token_of_this_origin_is_answered_and_no_other_page_may_read_why() {
    let site = Site::new().await;
    let (_, token) = site.editor("eve").await;
    for what in ["open", "names", "draft"] {
        for (origin, token) in [
            (None, token.as_str()),
            (Some("https://evil.example"), token.as_str()),
            (Some("null"), token.as_str()),
            (Some(ORIGIN), ""),
            (Some(ORIGIN), &token[1..]),
        ] {
            let response = site.ask(what, origin, &json!({"token": token})).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what} {origin:?}");
            assert_eq!(header(&response, "access-control-allow-origin"), "", "{what} {origin:?}");
        }
        let long = site.ask(what, Some(ORIGIN), &json!({"token": token, "more": "x".repeat(70_000)})).await;
        assert_eq!(long.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let (status, opened) = site.asked("open", json!({"token": token, "first": true})).await;
    assert_eq!((status, &opened["project"], &opened["drafts"]), (200, &json!("shop"), &json!([])));
    assert_eq!(site.asked("names", json!({"token": token})).await.0, 400);
    assert_eq!(site.asked("draft", json!({"token": token})).await.0, 400);
    // The console sees that it came up.
    let entries = site.store.audit_entries(Some("shop"), 1).await.unwrap();
    assert_eq!((entries[0].act.as_str(), entries[0].subject.as_str()), ("customizer.begin", ORIGIN));
}

#[tokio::test]
async fn a_removed_member_is_told_so_at_once() {
    let site = Site::new().await;
    let (account, token) = site.editor("eve").await;
    let project = site.store.project(&"shop".parse().unwrap()).await.unwrap();
    site.store.remove_member(&project, account.number).await.unwrap();
    let (status, problem) = site.asked("open", json!({"token": token})).await;
    assert_eq!((status, &problem["type"]), (401, &json!("urn:convizit:problem:revoked")));
}

#[tokio::test]
async fn names_are_those_that_events_have_and_nothing_is_learned_from_looking() {
    let site = Site::new().await;
    let mut batch = site.batch();
    batch["events"] = json!([event(1, &card("Trail shoe", 3))]);
    assert_eq!(site.send(batch.to_string(), Some(ORIGIN)).await.status(), StatusCode::NO_CONTENT);
    site.work().await;
    let (_, token) = site.editor("eve").await;
    batch["token"] = json!(token);
    batch["events"] = json!([
        event(1, &card("City boot", 4)),
        event(2, &json!({"role": "link", "label": "Mail anna.b@mail.example", "tag": "a", "path": "main>a"})),
        event(3, &json!({"role": "button", "label": "Size chart", "tag": "button", "path": "main>button"})),
        {"id": "0193a1f0-0000-7000-8000-000000000004", "type": "page_view", "time": "2026-11-23T18:00:00.000Z"},
    ]);
    let (status, answer) = site.asked("names", batch.clone()).await;
    assert_eq!(status, 200);
    let controls = answer["controls"].as_array().unwrap();
    assert_eq!(controls.len(), 4);
    assert_eq!(controls[0]["text"], "Add to cart");
    assert_eq!(controls[0]["state"], "provisional");
    assert_eq!(controls[0]["properties"]["Product name"], "City boot");
    assert_eq!((&controls[0]["group"]["name"], &controls[0]["group"]["position"]), (&json!("Product card"), &json!(4)));
    assert!(
        controls[0]["name"].is_string() && controls[0]["element"].is_string() && controls[0]["group"]["id"].is_string()
    );
    assert!(!controls[1].to_string().contains("anna"), "{}", controls[1]);
    assert_eq!(controls[1]["withheld"][0]["rule"], "email");
    // Nobody has used it: no identity yet, and none is made by looking.
    assert_eq!(
        (&controls[2]["state"], &controls[2]["element"], &controls[2]["name"]),
        (&json!("new"), &Value::Null, &Value::Null)
    );
    assert!(controls[3].is_null(), "a page is no control");
    assert_eq!(site.asked("names", batch).await.1["controls"][2]["state"], "new");
    assert!(site.store.journal_read(site.store.worker_offset().await.unwrap(), 1 << 20).await.unwrap().is_empty());
}

#[tokio::test]
async fn drafts_wait_and_whoever_is_second_sees_the_first() {
    let site = Site::new().await;
    let mut batch = site.batch();
    batch["events"] = json!([event(1, &card("Trail shoe", 3))]);
    site.send(batch.to_string(), Some(ORIGIN)).await;
    site.work().await;
    let ((_, eve), (_, bob)) = (site.editor("eve").await, site.editor("bob").await);
    batch["token"] = json!(eve);
    let seen = site.asked("names", batch.clone()).await.1["controls"][0].clone();
    let rename = |token: &str, text: &str, before: &str, seen_version: i64| json!({"token": token, "change": {"change": "rename", "name": seen["name"], "text": text}, "before": before, "seen": seen_version});
    // What the registry refuses, as the console would.
    for wrong in ["", " spaces ", "Mail anna.b@mail.example"] {
        assert_eq!(site.asked("draft", rename(&eve, wrong, "Add to cart", 0)).await.0, 422, "{wrong}");
    }
    let (status, saved) = site.asked("draft", rename(&eve, "Put into basket", "Add to cart", 0)).await;
    assert_eq!((status, &saved["draft"]["own"]), (200, &json!(true)));
    let version = saved["draft"]["version"].as_i64().unwrap();
    let (status, theirs) = site.asked("draft", rename(&bob, "Buy", "Add to cart", 0)).await;
    assert_eq!(
        (status, &theirs["draft"]["by"], &theirs["draft"]["change"]["text"]),
        (409, &json!("eve"), &json!("Put into basket"))
    );
    assert_eq!(site.asked("draft", rename(&bob, "Buy", "Add to cart", version)).await.0, 200);
    // A draft changes nothing.
    assert_eq!(site.asked("names", batch.clone()).await.1["controls"][0]["text"], "Add to cart");
    let opened = site.asked("open", json!({"token": eve})).await.1;
    assert_eq!((&opened["drafts"][0]["change"]["text"], &opened["drafts"][0]["by"]), (&json!("Buy"), &json!("bob")));

    // The whole group, out and in again; what is no draft is refused.
    let group = |captured: bool, before: &str, seen_version: i64| json!({"token": eve, "change": {"change": "capture_group", "group": seen["group"]["id"], "captured": captured}, "before": before, "seen": seen_version});
    let (status, out) = site.asked("draft", group(false, "captured", 0)).await;
    assert_eq!(status, 200, "{out}");
    let (_, back) = site.asked("draft", group(true, "captured", out["draft"]["version"].as_i64().unwrap())).await;
    assert!(back["draft"].is_null(), "{back}");
    let merge = json!({"token": eve, "change": {"change": "undo", "decision": 1}, "before": ""});
    assert_eq!(site.asked("draft", merge).await.0, 422);
    let unknown = json!({"token": eve, "change": {"change": "capture_group", "group": "gr_00000000000000ff", "captured": false}, "before": "captured"});
    assert_eq!(site.asked("draft", unknown).await.0, 422);

    // Somebody publishes another name meanwhile: the one on the site learns of it.
    let project = site.store.project(&"shop".parse().unwrap()).await.unwrap();
    let name = serde_json::from_value(seen["name"].clone()).unwrap();
    site.store.decide(&project, "account:1", Change::Rename { name, text: "In the bag".to_owned() }).await.unwrap();
    let version = opened["drafts"][0]["version"].as_i64().unwrap();
    let (status, changed) = site.asked("draft", rename(&eve, "Put into basket", "Add to cart", version)).await;
    assert_eq!((status, &changed["now"]), (409, &json!("In the bag")));
    assert_eq!(site.asked("draft", rename(&eve, "Put into basket", "In the bag", version)).await.0, 200);
}

#[tokio::test]
async fn the_overlay_is_a_script_of_its_own() {
    let site = Site::new().await;
    let overlay = site.get(&format!("/t/{}/overlay.js?en", site.key), &[]).await;
    assert_eq!(overlay.status(), StatusCode::OK);
    let script = text(overlay).await;
    assert!(script.contains("convizit-customizer"));
    for path in [format!("/t/{}.js", site.key), format!("/t/{}/more.js", site.key)] {
        assert!(!text(site.get(&path, &[]).await).await.contains("convizit-customizer"), "{path}");
    }
    assert_eq!(site.get("/t/pk_nobodyhasthis/overlay.js", &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_wait_for_one_reading() {
    let site = Site::new().await;
    let registries = std::sync::Arc::new(crate::customizer::Registries::default());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (registries, store, number) = (registries.clone(), site.store.clone(), site.number);
        asking.spawn(async move { registries.of(&store, number).await.unwrap() });
    }
    let all = asking.join_all().await;
    assert!(all.iter().all(|one| std::sync::Arc::ptr_eq(one, &all[0])), "each read it for itself");
}
