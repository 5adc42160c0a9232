//! Destinations in the pages: added, tried, changed, sent again; and what a Viewer sees of them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use convizit_model::{Destination, DestinationKind, EventId, NewEvent, ProjectWork, Role, Timestamp, Work};
use convizit_store::{DeadLetter, ReplayState};
use serde_json::json;

use crate::site::{Site, Who};

const ADMIN: Who = Who::In(Role::Admin);

/// A receiver on loopback: what came, and the status that it answers.
pub(crate) struct Receiver {
    pub(crate) url: String,
    seen: Arc<Mutex<(u16, Vec<String>)>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=canary", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new((204, Vec::new())));
        let state = seen.clone();
        let app = Router::new().fallback(move |body: Bytes| {
            let state = state.clone();
            async move {
                let mut state = state.lock().unwrap();
                state.1.push(String::from_utf8_lossy(&body).into_owned());
                StatusCode::from_u16(state.0).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    /// Its address without a path.
    pub(crate) fn host(&self) -> String {
        self.url.split("/hook").next().unwrap().to_owned()
    }

    pub(crate) fn answers(&self, status: u16) {
        self.seen.lock().unwrap().0 = status;
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.seen.lock().unwrap().1.clone()
    }
}

pub(crate) async fn put(site: &Site, names: &[&str]) {
    let now = site.store.clock().now();
    let events = names
        .iter()
        .zip(1_u8..)
        .map(|(name, n)| {
            let mut bytes = [n; 16];
            (bytes[6], bytes[8]) = (0x70, 0x80);
            let id = EventId::from_bytes(bytes).unwrap();
            let json = json!({
                "id": id, "project": "shop", "source": "convizit", "schema": 1, "name": name, "name_state": "published",
                "type": "click", "time": now, "received": now, "visitor": "v1", "session": {"id": "s1", "start": now},
                "user": null, "consent": {"analytics": true, "ads": null, "gpc": false},
                "page": {"url": "https://shop.example/", "path": "/", "title": null, "type": null, "language": null, "referrer": null},
                "properties": {}, "device": {"platform": "web"}, "location": {"country": null, "region": null}
            });
            NewEvent {
                id,
                name: 1,
                hour: now.hour(),
                day: now.day(),
                visitor: "v1".to_owned(),
                user: None,
                since: now,
                json: serde_json::to_vec(&json).unwrap(),
            }
        })
        .collect();
    let share = ProjectWork {
        number: site.shop.number,
        project: site.shop.id.clone(),
        events,
        rows: Vec::new(),
        outcomes: Vec::new(),
        withheld: Vec::new(),
        rulings: Vec::new(),
        quarantined: Vec::new(),
        dropped: Vec::new(),
    };
    site.store.commit_work(Work { from: 0, to: 1, projects: vec![share] }).await.unwrap();
}

/// What a form was made from, as it stands in it.
fn seen_in(text: &str) -> String {
    let from = text.find("name=\"seen\" value=\"").unwrap() + 19;
    let value = &text[from..from + text[from..].find('"').unwrap()];
    value.replace("&#34;", "\"").replace("&quot;", "\"").replace("&#38;", "&").replace("&amp;", "&")
}

/// A connector that posts to a receiver, with a secret that it does not need.
pub(crate) async fn connector(site: &Site, address: &str) -> Option<String> {
    let http = convizit_delivery::connectors::find("http", None).unwrap();
    let entered = [("address", address.to_owned()), ("value", "canary-secret".to_owned())];
    let entered = entered.into_iter().map(|(id, value)| (id.to_owned(), value)).collect();
    let (settings, secret) = http.part(None, &entered).unwrap();
    let destination = Destination {
        project: site.shop.id.clone(),
        name: "web".to_owned(),
        enabled: true,
        paused: None,
        types: Vec::new(),
        shaping: Default::default(),
        processor: Some(convizit_model::Processor::own()),
        kind: DestinationKind::Connector { connector: "http".to_owned(), region: None, settings },
    };
    site.store.save_destination(&destination, secret.as_deref(), false).await.unwrap();
    secret
}

/// A destination that is there already.
pub(crate) async fn hook(site: &Site, url: &str) -> Destination {
    let destination = Destination {
        project: site.shop.id.clone(),
        name: "hook".to_owned(),
        enabled: true,
        paused: None,
        processor: Some(convizit_model::Processor::own()),
        shaping: Default::default(),
        types: Vec::new(),
        kind: DestinationKind::Webhook { url: url.to_owned() },
    };
    let secret = convizit_delivery::new_webhook_secret().unwrap();
    site.store.add_destination(&destination, Some(&secret), true).await.unwrap();
    destination
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_added_tried_and_removed_in_the_page() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    let cookie = site.session(ADMIN).await;
    for kind in ["webhook", "postgres", "file"] {
        let form = site.get(&format!("/p/shop/new-destination?kind={kind}"), &cookie).await;
        assert!(form.status == StatusCode::OK && form.text.contains("Check and add"), "{kind}");
    }
    let dead_end = "http://127.0.0.1:1/hook";
    for (fields, field) in [
        (vec![("kind", "webhook"), ("name", "My Hook"), ("url", dead_end)], "name"),
        (vec![("kind", "webhook"), ("name", "hook"), ("url", "")], "url"),
        (vec![("kind", "webhook"), ("name", "hook"), ("url", dead_end)], "url"),
        (vec![("kind", "webhook"), ("name", "hook"), ("url", "http://10.0.0.1/")], "url"),
        (vec![("kind", "postgres"), ("name", "hook"), ("schema", "s"), ("secret", "nonsense")], "secret"),
        (vec![("kind", "file"), ("name", "hook"), ("path", "/etc/convizit.jsonl")], "path"),
    ] {
        let refused = site.post("/p/shop/new-destination", &cookie, &fields).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{fields:?}");
        assert!(refused.text.contains(&format!("id=\"wrong-{field}\"")), "{fields:?} {}", refused.text);
        for (name, value) in fields.iter().filter(|(name, value)| *name != "kind" && !value.is_empty()) {
            assert!(refused.text.contains(&format!("value=\"{value}\"")), "{name} is lost: {}", refused.text);
        }
    }
    let good =
        [("kind", "webhook"), ("name", "hook"), ("url", receiver.url.as_str()), ("types", "click"), ("hold", "yes")];
    let added = site.post("/p/shop/new-destination", &cookie, &good).await;
    assert_eq!(added.status, StatusCode::OK, "{}", added.text);
    let secret = site.store.destination_secret(&site.shop.id, "hook").await.unwrap().unwrap();
    assert!(secret.starts_with("whsec_") && added.text.contains(&secret), "the secret is shown once");
    let page = site.get("/p/shop/destinations/hook", &cookie).await;
    assert!(!page.text.contains(&secret) && page.text.contains("Paused") && page.text.contains("key=canary"));
    let (destination, _) = site.store.destination(&site.shop.id, "hook").await.unwrap();
    assert_eq!(destination.types.len(), 1);
    let again = site.post("/p/shop/new-destination", &cookie, &good).await;
    assert!(again.status == StatusCode::UNPROCESSABLE_ENTITY && again.text.contains("wrong-name"));

    // Added to wait, it is resumed once it is known who processes what it gets.
    let resume = async || site.post("/p/shop/destinations/hook/resume", &cookie, &[]).await;
    let barred = resume().await;
    assert!(
        barred.status == StatusCode::UNPROCESSABLE_ENTITY && barred.text.contains("wrong-processor"),
        "{}",
        barred.text
    );
    let entry = convizit_model::Processor::of("Hooks Ltd", "us", "2026-10-01").unwrap().unwrap();
    site.store.enter_processor(&site.shop.id, "hook", &entry).await.unwrap();
    assert_eq!(resume().await.status, StatusCode::SEE_OTHER);
    let settings = convizit_model::ProjectSettings { residency: "eu".to_owned(), ..site.shop.settings.clone() };
    site.store.save_settings(&site.shop.id, settings).await.unwrap();
    let page = site.get("/p/shop/destinations/hook", &cookie).await;
    assert!(page.text.contains("Hooks Ltd (us, agreement of 2026-10-01)"), "{}", page.text);
    assert!(page.text.contains("keeps data in us") && !page.text.contains("Paused"), "{}", page.text);
    let bare = [("kind", "webhook"), ("name", "bare"), ("url", receiver.url.as_str())];
    let barred = site.post("/p/shop/new-destination", &cookie, &bare).await;
    assert!(
        barred.status == StatusCode::UNPROCESSABLE_ENTITY && barred.text.contains("wrong-processor"),
        "{}",
        barred.text
    );
    let own = [bare.as_slice(), &[("own", "yes")]].concat();
    assert!(site.post("/p/shop/new-destination", &cookie, &own).await.text.contains("whsec_"));
    site.store.remove_destination(&site.shop.id, "bare").await.unwrap();

    let (test, answer) = ("/p/shop/destinations/hook/test", "/p/shop/destinations/hook?tested=yes");
    let tested = site.post(test, &cookie, &[]).await;
    assert_eq!((tested.status, tested.location()), (StatusCode::SEE_OTHER, answer), "{}", tested.text);
    assert!(receiver.bodies()[0].contains(convizit_delivery::TEST_NAME));
    for _ in 0..2 {
        let shown = site.get(answer, &cookie).await;
        assert!(shown.text.contains("The receiver took the event"), "{}", shown.text);
    }
    assert_eq!(receiver.bodies().len(), 1, "the page loaded again sends no second event");
    let other = site.get(answer, &site.session(Who::In(Role::Owner)).await).await;
    assert!(!other.text.contains("The receiver took the event"), "it is told to whoever asked");
    assert!(other.text.contains("not known here any more") && !other.text.contains("did not get there"));
    receiver.answers(401);
    site.post(test, &cookie, &[]).await;
    let shown = site.get(answer, &cookie).await;
    assert!(shown.text.contains("did not get there") && shown.text.contains("signature"), "{}", shown.text);
    let log = site.store.audit_entries(Some("shop"), 9).await.unwrap();
    let tests: Vec<&str> =
        log.iter().filter(|entry| entry.act == "destination.test").map(|entry| entry.detail.as_str()).collect();
    assert!(tests.len() == 2 && tests[0] == "webhook", "{tests:?}");
    assert!(!tests[0].contains("canary"), "{tests:?}");

    let not = site.post("/p/shop/destinations/hook/remove", &cookie, &[("name", "hock")]).await;
    assert!(not.status == StatusCode::UNPROCESSABLE_ENTITY && not.text.contains("wrong-name"));
    let gone = site.post("/p/shop/destinations/hook/remove", &cookie, &[("name", "hook")]).await;
    assert_eq!(gone.location(), "/p/shop/destinations?done=removed");
    assert_eq!(site.get("/p/shop/destinations/hook", &cookie).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_is_tried_at_once_or_says_that_nothing_was_sent_yet() {
    const NOTHING: &str = "Nothing was sent to it yet.";
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    let cookie = site.session(ADMIN).await;
    let form = async |kind: &str| site.get(&format!("/p/shop/new-destination?kind={kind}"), &cookie).await.text;
    assert!(form("http").await.contains("name=\"try\" value=\"yes\" checked"), "by default it is tried");
    assert!(!form("webhook").await.contains("name=\"try\""), "its receiver does not know the secret yet");
    let add = async |name: &str, more: &[(&str, &str)]| {
        let (address, _) = receiver.url.split_once("/hook").unwrap();
        let settings = [("set-address", address), ("set-path", "hook")];
        let fields = [&[("kind", "http"), ("name", name), ("own", "yes")], settings.as_slice()].concat();
        site.post("/p/shop/new-destination", &cookie, &[fields.as_slice(), more].concat()).await
    };
    let page = async |name: &str| site.get(&format!("/p/shop/destinations/{name}"), &cookie).await.text;
    let tried = add("tried", &[("try", "yes")]).await;
    assert_eq!(tried.location(), "/p/shop/destinations/tried?tested=yes&done=destination-added", "{}", tried.text);
    assert!(receiver.bodies().len() == 1 && receiver.bodies()[0].contains(convizit_delivery::TEST_NAME));
    let shown = site.get(tried.location(), &cookie).await.text;
    assert!(shown.contains("took the event") && shown.contains("Added. It gets events"), "{shown}");
    assert!(!shown.contains(NOTHING) && !page("tried").await.contains(NOTHING), "{shown}");

    let untried = add("untried", &[]).await;
    assert_eq!(untried.location(), "/p/shop/destinations/untried?done=destination-added");
    receiver.answers(500);
    assert!(add("failed", &[("try", "yes")]).await.location().contains("tested=yes"));
    let shown = site.get("/p/shop/destinations/failed?tested=yes", &cookie).await.text;
    assert!(shown.contains("did not get there"), "it is added, and its page says what is wrong: {shown}");
    for name in ["untried", "failed"] {
        let shown = page(name).await;
        let button = format!("action=\"/p/shop/destinations/{name}/test\"");
        assert!(shown.contains(NOTHING) && shown.matches(&button).count() == 1, "{name}: {shown}");
        assert!(shown.contains("nothing sent yet") && !shown.contains("up to date"), "{name}: {shown}");
    }
    let list = site.get("/p/shop/destinations", &cookie).await.text;
    assert_eq!((list.matches("nothing sent yet").count(), list.matches("up to date").count()), (2, 1), "{list}");
    // A refused form keeps the choice.
    assert!(!add("Not A Name", &[]).await.text.contains("name=\"try\" value=\"yes\" checked"));

    receiver.answers(204);
    let hook = [("kind", "webhook"), ("name", "hook"), ("url", receiver.url.as_str()), ("own", "yes")];
    let added = site.post("/p/shop/new-destination", &cookie, &hook).await.text;
    assert!(added.contains("whsec_") && added.contains(NOTHING), "{added}");
    assert!(added.contains("as soon as the receiver knows the signing secret"), "{added}");
    site.post("/p/shop/destinations/hook/test", &cookie, &[]).await;
    assert!(!page("hook").await.contains(NOTHING));
    // What it was tried with is no event of a visitor.
    assert!(page("hook").await.contains("0 events sent this hour"));
    assert!(site.store.delivered_by_hour(site.shop.number, "hook").await.unwrap().values().all(|sent| *sent == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_changes_nothing() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    hook(&site, &receiver.url).await;
    put(&site, &["Canary of a visitor"]).await;
    let dead = vec![DeadLetter::new(1, "the receiver answered 422 (no item quoted-letter)")];
    site.store.advance(&site.shop.id, "hook", 0, 1, dead).await.unwrap();
    site.store.delivery_failed(site.shop.number, "hook", "the receiver answered 503 (quoted-failure)").await.unwrap();
    let (viewer, admin) = (site.session(Who::In(Role::Viewer)).await, site.session(ADMIN).await);
    let page = site.get("/p/shop/destinations/hook", &viewer).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("the receiver answered 422") && page.text.contains("made-up event"));
    for hidden in [
        "Canary of a visitor",
        "quoted-letter",
        "quoted-failure",
        "key=canary",
        "Send a test event",
        "Send the chosen",
        "Give",
        "Count them",
        "Remove",
    ] {
        assert!(!page.text.contains(hidden), "a Viewer sees {hidden}");
    }
    // What a receiver says may quote an event: it is for those who see samples.
    for path in ["/p/shop/destinations", "/p/shop/overview", "/p/shop"] {
        assert!(!site.get(path, &viewer).await.text.contains("quoted-"), "{path}");
    }
    let own = site.get("/p/shop/destinations/hook", &admin).await;
    assert!(own.text.contains("quoted-letter") && own.text.contains("quoted-failure"), "{}", own.text);
    assert!(own.text.contains("Canary of a visitor") && own.text.contains("Send the chosen"), "{}", own.text);
    // A part without a control is left out, and what is refused in one is shown there.
    assert!(!page.text.contains("<h2 id=\"replay\">") && own.text.contains("/hook/replay#replay\""), "{}", page.text);
    assert!(own.text.contains("/hook/remove#remove\"") && own.text.contains("/hook/retry#refused\""), "{}", own.text);
    for path in ["test", "pause", "remove", "retry", "drop", "replay", "change"] {
        let answer =
            site.post(&format!("/p/shop/destinations/hook/{path}"), &viewer, &[("all", "yes"), ("name", "hook")]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(site.get("/p/shop/new-destination", &viewer).await.status, StatusCode::FORBIDDEN);
    assert!(receiver.bodies().is_empty());
    assert_eq!(site.store.dead_letters(&site.shop.id, "hook", 9).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_change_a_destination_the_second_sees_it_and_loses_nothing() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    hook(&site, &receiver.url).await;
    let (one, two) = (site.session(ADMIN).await, site.session(Who::In(Role::Owner)).await);
    let path = "/p/shop/destinations/hook/change";
    let form = site.get(path, &one).await;
    assert_eq!(form.status, StatusCode::OK);
    let seen = seen_in(&form.text);
    let url = format!("{}&first", receiver.url);
    let saved = site.post(path, &one, &[("seen", &seen), ("url", &url), ("types", "click")]).await;
    assert_eq!(saved.location(), "/p/shop/destinations/hook?done=destination-changed", "{}", saved.text);
    let mine = format!("{}&second", receiver.url);
    let late = site.post(path, &two, &[("seen", &seen), ("url", &mine), ("types", "submit")]).await;
    assert!(late.status == StatusCode::UNPROCESSABLE_ENTITY && late.text.contains("Somebody else has changed"));
    assert!(late.text.contains("second"), "what was typed is still there");
    let differs =
        late.text.split("It differs from what is there now in: ").nth(1).unwrap().split("</p>").next().unwrap();
    assert!(differs.contains("first") && differs.contains("the types of events, now click."), "{differs}");
    let again = site.post(path, &two, &[("seen", &seen_in(&late.text)), ("url", &mine), ("renew", "yes")]).await;
    assert!(again.status == StatusCode::OK && again.text.contains("whsec_"), "{}", again.text);
    let (destination, _) = site.store.destination(&site.shop.id, "hook").await.unwrap();
    assert_eq!(destination.kind, DestinationKind::Webhook { url: mine });
    assert!(destination.types.is_empty());
    let wrong =
        site.post(path, &two, &[("seen", &seen_in(&site.get(path, &two).await.text)), ("url", "ftp://x")]).await;
    assert!(wrong.status == StatusCode::UNPROCESSABLE_ENTITY && wrong.text.contains("wrong-url"));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_events_and_ranges_are_sent_again_from_the_page() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    hook(&site, &receiver.url).await;
    put(&site, &["a", "b", "c", "d"]).await;
    let dead = vec![DeadLetter::new(2, "the receiver answered 422"), DeadLetter::new(3, "the receiver answered 400")];
    site.store.advance(&site.shop.id, "hook", 0, 3, dead).await.unwrap();
    let cookie = site.session(ADMIN).await;
    let at = |path: &str| format!("/p/shop/destinations/hook/{path}");
    let none = site.post(&at("retry"), &cookie, &[]).await;
    assert!(none.status == StatusCode::UNPROCESSABLE_ENTITY && none.text.contains("choose at least one"));
    let one = site.post(&at("retry"), &cookie, &[("event", "3")]).await;
    assert_eq!(one.location(), "/p/shop/destinations/hook?done=retried");
    assert_eq!(site.store.letters_to_retry(site.shop.number, "hook", 9).await.unwrap(), [3]);
    assert!(site.get("/p/shop/destinations/hook", &cookie).await.text.contains("being sent again"));
    assert_eq!(site.post(&at("drop"), &cookie, &[("all", "yes")]).await.status, StatusCode::SEE_OTHER);
    assert!(site.store.dead_letters(&site.shop.id, "hook", 9).await.unwrap().is_empty());

    let wrong = site.post(&at("replay"), &cookie, &[("from", "yesterday"), ("to", "2026-11-29T10:00")]).await;
    assert!(wrong.status == StatusCode::UNPROCESSABLE_ENTITY && wrong.text.contains("wrong-from"));
    assert!(wrong.text.contains("value=\"2026-11-29T10:00\""), "what was typed is still there");
    let empty = site.post(&at("replay"), &cookie, &[("from", "2001-01-01T00:00"), ("to", "2001-01-02T00:00")]).await;
    assert!(empty.status == StatusCode::UNPROCESSABLE_ENTITY && empty.text.contains("choose another range"));
    let from = site.store.clock().now().plus_millis(-3_600_000).to_string();
    let later = site.store.clock().now().plus_millis(60_000).to_string();
    let counted = site.post(&at("replay"), &cookie, &[("from", &from), ("to", &later)]).await;
    assert_eq!(counted.status, StatusCode::OK);
    assert!(
        counted.text.contains("Send 3 events to hook again?") && counted.text.contains("twice"),
        "{}",
        counted.text
    );
    assert!(site.store.replays(site.shop.number, "hook").await.unwrap().is_empty(), "it was only counted");
    let mut fields = vec![("from", from.as_str()), ("to", &later), ("counted", "yes")];
    let not = site.post(&at("replay"), &cookie, &fields).await;
    assert!(not.status == StatusCode::UNPROCESSABLE_ENTITY && not.text.contains("wrong-agreed"), "{}", not.text);
    assert!(site.store.replays(site.shop.number, "hook").await.unwrap().is_empty(), "nobody has agreed");
    fields.push(("agreed", "yes"));
    let begun = site.post(&at("replay"), &cookie, &fields).await;
    assert_eq!(begun.location(), "/p/shop/destinations/hook?done=replayed", "{}", begun.text);
    let replay = site.store.open_replay(site.shop.number, "hook").await.unwrap().unwrap();
    assert_eq!((replay.from.to_string(), replay.last), (from.clone(), 3));
    assert_eq!(site.post(&at("replay/1/stop"), &cookie, &[]).await.status, StatusCode::SEE_OTHER);
    let stopped = site.store.replays(site.shop.number, "hook").await.unwrap().remove(0);
    assert_eq!(stopped.state, ReplayState::Stopped);
    assert_eq!(site.post(&at("replay/1/stop"), &cookie, &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dataset_is_deleted_by_the_owner_who_types_its_name() {
    let site = Site::make().await;
    put(&site, &["a", "b"]).await;
    let (admin, owner) = (site.session(ADMIN).await, site.session(Who::In(Role::Owner)).await);
    let path = "/p/shop/privacy/delete";
    assert!(!site.get("/p/shop/privacy", &admin).await.text.contains("Delete the dataset"));
    assert_eq!(site.post(path, &admin, &[("name", "shop")]).await.status, StatusCode::FORBIDDEN);
    assert!(site.get("/p/shop/privacy", &owner).await.text.contains("Delete the dataset"));
    let wrong = site.post(path, &owner, &[("name", "Shop")]).await;
    assert!(wrong.status == StatusCode::UNPROCESSABLE_ENTITY && wrong.text.contains("wrong-name"));
    assert!(wrong.text.contains("value=\"Shop\""));
    let list = site.get("/p/shop/privacy/erasures", &owner).await;
    assert!(list.text.contains("Nothing was erased yet"), "{}", list.text);
    site.age_proof();
    assert!(site.get(path, &owner).await.location().starts_with("/account/prove"));
    assert!(site.post(path, &owner, &[("name", "shop")]).await.asks_who_it_is());
    assert_eq!(site.store.events_after(site.shop.number, 0, 9, 1 << 20).await.unwrap().len(), 2);
    let owner = site.session(Who::In(Role::Owner)).await;
    let done = site.post(path, &owner, &[("name", "shop")]).await;
    assert!(done.location().starts_with("/p/shop/privacy/erasures/er_"), "{} {}", done.location(), done.text);
    let receipt = site.get(done.location(), &owner).await;
    assert!(receipt.status == StatusCode::OK && receipt.text.contains("the whole dataset"), "{}", receipt.text);
    assert!(site.store.events_after(site.shop.number, 0, 9, 1 << 20).await.unwrap().is_empty());
    assert!(site.get("/p/shop/privacy/erasures", &owner).await.text.contains("er_"));
    assert_eq!(site.get("/p/shop/privacy/erasures/er_none", &owner).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_filtered_exported_and_verified() {
    let site = Site::make().await;
    let cookie = site.session(ADMIN).await;
    let account = site.account(ADMIN).actor();
    let theirs = site.store.acting_as(&account);
    for n in 0..3 {
        theirs.audit("destination.test", "shop", &format!("=hook{n}"), "").await.unwrap();
    }
    site.store.audit("destination.test", "shop", "other", "").await.unwrap();
    site.store.audit("destination.test", "blog", "canary", "").await.unwrap();
    let rows = |text: &str| text.matches("<tr><td class=\"number\">").count();
    let by_them =
        site.get(&format!("/p/shop/audit?actor={}&act=destination.test", account.replace(':', "%3A")), &cookie).await;
    assert_eq!(rows(&by_them.text), 3, "{}", by_them.text);
    assert_eq!(rows(&site.get("/p/shop/audit?act=destination.test&like=other", &cookie).await.text), 1);
    assert_eq!(rows(&site.get("/p/shop/audit?to=2001-01-01", &cookie).await.text), 0);
    let wrong = site.get("/p/shop/audit?from=soon", &cookie).await;
    assert!(wrong.status == StatusCode::UNPROCESSABLE_ENTITY && wrong.text.contains("wrong-from"));

    let csv = site.post("/p/shop/audit/export", &cookie, &[("format", "csv"), ("act", "destination.test")]).await;
    let lines: Vec<&str> = csv.text.lines().collect();
    assert_eq!(
        (csv.status, lines.len(), lines[0]),
        (StatusCode::OK, 5, "number,time,actor,act,project,subject,detail")
    );
    assert!(csv.text.contains("'=hook0") && !csv.text.contains("canary"), "{}", csv.text);
    let json = site.post("/p/shop/audit/export", &cookie, &[("format", "jsonl"), ("like", "hook")]).await;
    assert_eq!(json.text.lines().count(), 3);
    let first: serde_json::Value = serde_json::from_str(json.text.lines().next().unwrap()).unwrap();
    assert_eq!((first["actor"].as_str(), first["subject"].as_str()), (Some(account.as_str()), Some("=hook2")));
    let of = site.store.audit_entries(Some("shop"), 2).await.unwrap();
    assert!(of.iter().all(|entry| entry.act == "audit.export" && entry.actor == account));
    assert!(of[0].time > Timestamp::from_millis(0));

    let verified = site.post("/p/shop/audit/verify", &cookie, &[]).await;
    assert!(verified.text.contains("is whole"), "{}", verified.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_secret_does_not_follow_another_address() {
    let (site, receiver, other) = (Site::make().await, Receiver::start().await, Receiver::start().await);
    let secret = connector(&site, &receiver.host()).await;
    let (admin, viewer) = (site.session(ADMIN).await, site.session(Who::In(Role::Viewer)).await);
    // Nor does anybody see where it goes who may not change it.
    let page = site.get("/p/shop/destinations/web", &viewer).await;
    assert!(page.text.contains("A POST request") && !page.text.contains(&receiver.host()), "{}", page.text);
    let path = "/p/shop/destinations/web/change";
    let form = site.get(path, &admin).await;
    assert!(!form.text.contains("canary-secret"));
    let seen = seen_in(&form.text);
    let elsewhere = other.host();
    let mut fields = vec![("seen", seen.as_str()), ("set-address", elsewhere.as_str())];
    let refused = site.post(path, &admin, &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    assert!(refused.text.contains("another address: enter the"), "{}", refused.text);
    assert_eq!(site.store.destination_secret(&site.shop.id, "web").await.unwrap(), secret);
    fields.push(("set-value", "another"));
    let saved = site.post(path, &admin, &fields).await;
    assert_eq!(saved.location(), "/p/shop/destinations/web?done=destination-changed", "{}", saved.text);
    assert!(site.store.destination_secret(&site.shop.id, "web").await.unwrap().unwrap().contains("another"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_needed_is_taken_away() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    connector(&site, &receiver.host()).await;
    let (admin, address) = (site.session(ADMIN).await, receiver.host());
    let path = "/p/shop/destinations/web/change";
    let form = site.get(path, &admin).await;
    assert!(form.text.contains("name=\"remove-value\""), "{}", form.text);
    let seen = seen_in(&form.text);
    let fields = [("seen", seen.as_str()), ("set-address", address.as_str())];
    site.post(path, &admin, &fields).await;
    let kept = site.store.destination_secret(&site.shop.id, "web").await.unwrap().unwrap();
    assert!(kept.contains("canary-secret"), "an empty field keeps what is stored");
    let seen = seen_in(&site.get(path, &admin).await.text);
    let fields = [("seen", seen.as_str()), ("set-address", address.as_str()), ("remove-value", "yes")];
    let saved = site.post(path, &admin, &fields).await;
    assert_eq!(saved.location(), "/p/shop/destinations/web?done=destination-changed", "{}", saved.text);
    let left = site.store.destination_secret(&site.shop.id, "web").await.unwrap().unwrap_or_default();
    assert!(!left.contains("canary"), "{left}");
    assert!(!site.get(path, &admin).await.text.contains("name=\"remove-value\""), "there is nothing to take away");
    let page = site.get("/p/shop/destinations/web", &admin).await;
    assert!(page.text.contains("<dt>Address</dt>") && page.text.contains(&address), "{}", page.text);
    let log = site.store.audit_entries(Some("shop"), 9).await.unwrap();
    assert!(log.iter().any(|entry| entry.detail == "http; new credentials"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn less_and_otherwise_is_set_in_the_form_and_shown_before_it_is_saved() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    put(&site, &["Canary of a visitor"]).await;
    let admin = site.session(ADMIN).await;
    let new = "/p/shop/new-destination";
    let address = receiver.host();
    let less = [
        ("kind", "http"),
        ("name", "web"),
        ("own", "yes"),
        ("set-address", address.as_str()),
        ("less", "os"),
        ("without", "properties.Note\r\npage.title"),
        ("when", "{\"of\": \"$.page.path\", \"starts\": \"/\"}"),
        ("percent", "99"),
        ("fields", "Shop = $.project\r\nKind = \"web\""),
    ];
    let with = |name: &'static str, value: &'static str| {
        let others = less.into_iter().filter(move |(known, _)| *known != name);
        others.chain([(name, value)]).collect::<Vec<_>>()
    };
    for (name, value, word) in [
        ("when", "{\"of\"", "no JSON"),
        ("when", "{\"like\": 1}", "no condition"),
        ("without", "page.titel", "no field of an event"),
        ("percent", "200", "1 to 99"),
        ("fields", "Shop = $project", "no path"),
    ] {
        let refused = site.post(new, &admin, &with(name, value)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
        assert!(
            refused.text.contains(&format!("id=\"wrong-{name}\"")) && refused.text.contains(word),
            "{}",
            refused.text
        );
        assert!(refused.text.contains("<details id=\"less\" open>") && refused.text.contains("properties.Note"));
    }
    let mut look = with("percent", "");
    look.push(("look", "yes"));
    let looked = site.post(new, &admin, &look).await;
    assert_eq!(looked.status, StatusCode::OK, "{}", looked.text);
    assert!(looked.text.contains("Canary of a visitor"), "the newest event is shown: {}", looked.text);
    assert!(
        looked.text.contains("&#34;Shop&#34;: &#34;shop&#34;")
            || looked.text.contains("&quot;Shop&quot;: &quot;shop&quot;")
    );
    assert!(site.store.destinations(Some(&site.shop.id)).await.unwrap().is_empty(), "nothing is saved");
    assert!(receiver.bodies().is_empty(), "nothing is sent");

    let added = site.post(new, &admin, &less).await;
    assert_eq!(added.location(), "/p/shop/destinations/web?done=destination-added", "{}", added.text);
    let (destination, _) = site.store.destination(&site.shop.id, "web").await.unwrap();
    let wanted = json!({
        "without": ["device.os_name", "device.os_version", "properties.Note", "page.title"],
        "when": {"of": "$.page.path", "starts": "/"}, "percent": 99, "set": {"Shop": "$.project", "Kind": "web"},
    });
    assert_eq!(serde_json::to_value(&destination.shaping).unwrap(), wanted);
    let page = site.get("/p/shop/destinations/web", &admin).await;
    assert!(page.text.contains("<dd>99</dd>") && page.text.contains("<dd>Shop, Kind</dd>"), "{}", page.text);
    // The same form in short stands on its page: what it does not ask for is kept.
    assert!(page.text.contains("<details id=\"own\">") && page.text.contains("name=\"percent\" value=\"99\""));
    assert!(page.text.contains("name=\"less\" value=\"os\"") && page.text.contains("name=\"set-address\""));
    let viewer = site.get("/p/shop/destinations/web", &site.session(Who::In(Role::Viewer)).await).await;
    assert!(!viewer.text.contains("<details id=\"own\">") && !viewer.text.contains(&address), "{}", viewer.text);
    let path = "/p/shop/destinations/web/change";
    let form = site.get(path, &admin).await;
    assert!(form.text.contains("value=\"os\" checked") && form.text.contains("Shop = $.project"), "{}", form.text);
    let seen = seen_in(&page.text);
    assert_eq!(seen, seen_in(&form.text));
    let saved = site.post(path, &admin, &[("seen", &seen), ("set-address", &address), ("percent", "10")]).await;
    assert_eq!(saved.location(), "/p/shop/destinations/web?done=destination-changed", "{}", saved.text);
    let (destination, _) = site.store.destination(&site.shop.id, "web").await.unwrap();
    assert_eq!(serde_json::to_value(&destination.shaping).unwrap(), json!({"percent": 10}));
    let late = site.post(path, &admin, &[("seen", &seen), ("set-address", &address), ("percent", "20")]).await;
    assert!(late.text.contains("Somebody else has changed"), "{}", late.text);
    let unknown = site.post(new, &admin, &[("kind", "mixpanl"), ("name", "mix")]).await;
    assert!(unknown.text.contains("wrong-connector") && unknown.text.contains("Is it mixpanel?"), "{}", unknown.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_does_not_look_well() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    hook(&site, &receiver.url).await;
    put(&site, &["a"]).await;
    let viewer = site.session(Who::In(Role::Viewer)).await;
    let pages = ["/p/shop/destinations", "/p/shop/destinations/hook"];
    for path in pages {
        assert!(site.get(path, &viewer).await.text.contains("badge good\">sending"));
    }
    let failed = "the receiver cannot be reached: its name does not resolve";
    for (times, badge) in [(1, "badge warn\">waiting"), (2, "badge bad\">failing")] {
        site.store.delivery_failed(site.shop.number, "hook", failed).await.unwrap();
        for path in pages {
            let page = site.get(path, &viewer).await;
            assert!(
                page.text.contains(badge) && page.text.contains("its name does not resolve"),
                "{times}: {}",
                page.text
            );
        }
    }
    site.store.delivery_recovered(&site.shop.id, "hook").await.unwrap();
    let page = site.get("/p/shop/destinations/hook", &viewer).await;
    assert!(page.text.contains("badge good\">sending") && page.text.contains("its name does not resolve"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_one_of_a_few_words_is_chosen_and_not_typed() {
    let site = Site::make().await;
    let cookie = site.session(ADMIN).await;
    let form = site.get("/p/shop/new-destination?kind=http", &cookie).await.text;
    let select = |text: &str| {
        let from = text.split_once("<select id=\"set-format\"").unwrap_or_else(|| panic!("no choice in {text}")).1;
        from.split_once("</select>").unwrap().0.to_owned()
    };
    let choices = select(&form);
    assert!(
        choices.contains("<option selected>array</option><option>lines</option><option>single</option>"),
        "{choices}"
    );
    assert!(form.contains("<input type=\"text\" id=\"set-header\""), "any header of a form is typed");
    // What was chosen stays so where something else is to be changed.
    let fields =
        [("kind", "http"), ("name", "Wrong name"), ("set-address", "https://in.example"), ("set-format", "lines")];
    let refused = site.post("/p/shop/new-destination", &cookie, &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(select(&refused.text).contains("<option selected>lines</option>"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_entries_of_the_audit_log_are_folded_and_the_export_has_them_whole() {
    let site = Site::make().await;
    let cookie = site.session(ADMIN).await;
    let long = format!("begins {} ends", "ü".repeat(5_000));
    site.store.audit("settings.save", "shop", "exclude_paths", long.as_str()).await.unwrap();
    site.store.audit("destination.test", "shop", "hook", "short").await.unwrap();
    let page = site.get("/p/shop/audit", &cookie).await.text;
    let row = page.split("<tr>").find(|row| row.contains("begins")).unwrap();
    assert!(row.contains("<details><summary>begins ü") && row.contains("the export has all of it"), "{row}");
    assert!(row.len() < 4_000, "{}", row.len());
    let short = page.split("<tr>").find(|row| row.contains("<td>short</td>"));
    assert!(short.is_some(), "what fits is not folded: {page}");
    let export = site.post("/p/shop/audit/export", &cookie, &[("format", "jsonl")]).await.text;
    assert!(export.contains(&long));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_a_person_chose_is_no_fault_and_a_page_says_only_what_still_holds() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    hook(&site, &receiver.url).await;
    let cookie = site.session(ADMIN).await;
    let path = "/p/shop/destinations/hook";
    let paused = site.post(&format!("{path}/pause"), &cookie, &[]).await;
    assert_eq!(paused.location(), "/p/shop/destinations/hook?done=paused");
    let page = site.get(path, &cookie).await.text;
    assert!(page.contains("Paused by Person admin@shop.example on 20"), "{page}");
    assert!(site.store.notices(true).await.unwrap().is_empty(), "nobody is called");
    let list = site.post(&format!("{path}/resume"), &cookie, &[("back", "list")]).await;
    assert_eq!(list.location(), "/p/shop/destinations?of=hook&done=resumed");
    assert!(site.get(list.location(), &cookie).await.text.contains("Resumed. What waited"));

    // It fails again at once: what the address says is over.
    site.store
        .pause_destination(&site.shop.id, "hook", Some("it refused the credentials; are they right?"))
        .await
        .unwrap();
    for path in ["/p/shop/destinations?of=hook&done=resumed", "/p/shop/destinations/hook?done=resumed"] {
        let page = site.get(path, &cookie).await.text;
        assert!(!page.contains("Resumed. What waited"), "{page}");
        assert!(page.contains("Paused: it refused the credentials; are they right?") && !page.contains("?."), "{page}");
    }
    let seen = seen_in(&site.get(&format!("{path}/change"), &cookie).await.text);
    let fields = [("seen", seen.as_str()), ("url", receiver.url.as_str()), ("types", "click")];
    let saved = site.post(&format!("{path}/change"), &cookie, &fields).await;
    assert_eq!(saved.location(), "/p/shop/destinations/hook?done=destination-changed", "{}", saved.text);
    let page = site.get(saved.location(), &cookie).await.text;
    assert!(page.contains("Saved. It is still paused: resume it."), "{page}");
    assert!(!page.contains("What is sent from now on goes by it"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_changed_and_is_of_an_agreement_that_holds() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    let mut destination = hook(&site, &receiver.url).await;
    destination.processor = convizit_model::Processor::of("Hooks Ltd", "us", "2026-10-01").unwrap();
    site.store.save_destination(&destination, None, false).await.unwrap();
    let settings = convizit_model::ProjectSettings { residency: "eu".to_owned(), ..site.shop.settings.clone() };
    site.store.save_settings(&site.shop.id, settings).await.unwrap();
    let cookie = site.session(ADMIN).await;
    let page = site.get("/p/shop/destinations/hook", &cookie).await.text;
    assert!(page.contains(">Change it</a>") && !page.contains(">Enter it</a>"), "{page}");
    let page = site.get("/p/shop/settings?done=saved", &cookie).await.text;
    assert!(page.contains("/p/shop/destinations/hook\">hook</a> keeps data in us"), "{page}");
    let new = [("kind", "webhook"), ("name", "late"), ("url", receiver.url.as_str()), ("processor", "Hooks Ltd")];
    let late = [new.as_slice(), &[("processor_region", "eu"), ("agreement", "2999-01-01")]].concat();
    let refused = site.post("/p/shop/new-destination", &cookie, &late).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("id=\"wrong-agreement\"") && refused.text.contains("has not come yet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_that_a_paused_destination_waits() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    hook(&site, &receiver.url).await;
    site.store.rest_destination(&site.shop.id, "hook").await.unwrap();
    let request = site.store.erase(&site.shop, &[convizit_model::Person::User("u1".to_owned())]).await.unwrap();
    let cookie = site.session(ADMIN).await;
    let receipt = site.get(&format!("/p/shop/privacy/erasures/{request}"), &cookie).await.text;
    assert!(receipt.contains("is paused: it waits until it is resumed"), "{receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_empty_field_means_stands_at_it() {
    let site = Site::make().await;
    let cookie = site.session(ADMIN).await;
    // Of all connectors, those that have such a setting.
    let (all, _) = convizit_delivery::connectors::all(None);
    let mut looked = 0;
    for connector in all {
        let meant = connector.manifest.settings.iter().filter(|one| !one.secret && one.words().is_empty());
        let meant: Vec<String> = meant.filter_map(|one| one.default.clone()).filter(|text| !text.is_empty()).collect();
        if meant.is_empty() {
            continue;
        }
        let form = site.get(&format!("/p/shop/new-destination?kind={}", connector.manifest.meta.id), &cookie).await;
        assert!(form.text.contains(" when empty</span>"), "{meant:?}: {}", form.text);
        looked += 1;
    }
    assert!(looked > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_nothing_is_not_in_the_audit_log() {
    let (site, receiver) = (Site::make().await, Receiver::start().await);
    hook(&site, &receiver.url).await;
    let cookie = site.session(ADMIN).await;
    for path in ["retry", "drop"] {
        site.post(&format!("/p/shop/destinations/hook/{path}"), &cookie, &[("event", "7")]).await;
        site.post(&format!("/p/shop/destinations/hook/{path}"), &cookie, &[("all", "yes")]).await;
    }
    let log = site.store.audit_entries(Some("shop"), 50).await.unwrap();
    assert!(
        !log.iter().any(|entry| ["destination.retry", "destination.drop"].contains(&entry.act.as_str())),
        "{log:?}"
    );
}
