//! What people say of controls and groups: excluded, merged, split, switched off, each seen before it holds and undone after.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use convizit_model::{IncidentKind, NewEvent, Outcome, ProjectSettings, ProjectWork, Received, Role, Work};
use convizit_pipeline::{Registry, name_events};
use serde_json::{Value, json};

use crate::incidents::only;
use crate::site::{Answer, Site, Who};

/// A shop that visitors have used: its registry as the worker would have it, its events in the store.
pub(crate) struct Shop {
    pub(crate) site: Site,
    registry: Registry,
    batches: u64,
}

pub(crate) fn button(label: &str, class: &str) -> Value {
    json!({
        "role": "button", "label": label, "labelSource": "content", "template": label, "tag": "button",
        "attributes": {"class": class, "type": "button"}, "path": "main>div>button",
        "context": [{"kind": "section", "name": "Tools"}, {"kind": "main", "name": ""}]
    })
}

/// A button in the card of a list.
pub(crate) fn in_card(label: &str, position: u32) -> Value {
    json!({
        "role": "button", "label": label, "labelSource": "content", "template": label, "tag": "button",
        "attributes": {"class": "buy", "type": "button"}, "path": "main>ul>li>button",
        "context": [{"kind": "section", "name": "All shoes"}, {"kind": "main", "name": ""}],
        "group": {"position": position, "length": 8, "signature": [11, 222, 3333], "container": "All shoes", "member": "card", "path": "button"},
        "properties": {"Product name": format!("Shoe {position}")}
    })
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let mut shop = Self { site: Site::make().await, registry: Registry::default(), batches: 0 };
        for position in 1..=4 {
            shop.click("/shoes", in_card("Add to cart", position)).await;
            shop.click("/shoes", in_card("Compare", position)).await;
        }
        shop.click("/account/orders", button("Download invoice", "private big")).await;
        shop.click("/help", button("Ask a person", "chat")).await;
        shop.click("/help", button("Chat with us", "chat")).await;
        shop
    }

    /// What the worker does with a click.
    pub(crate) async fn click(&mut self, path: &str, descriptor: Value) {
        self.arrive(path, json!({"type": "click", "descriptor": descriptor})).await;
    }

    /// The same of any event.
    pub(crate) async fn arrive(&mut self, path: &str, mut event: Value) {
        static IDS: AtomicU32 = AtomicU32::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let (store, shop) = (&self.site.store, &self.site.shop);
        let now = store.clock().now();
        event["id"] = json!(format!("0193a1f0-0000-7000-8000-{id:012}"));
        event["time"] = json!(now.to_string());
        let received: Received = serde_json::from_value(json!({
            "project": "shop", "number": shop.number, "received": now.to_string(), "clock": 0,
            "visitor": format!("v{}", id % 5), "device": {}, "location": {},
            "batch": {"v": 1, "key": shop.key.as_str(), "batch": format!("tab.{id}"), "sent": now.to_string(),
                "session": {"id": "s"}, "page": {"url": format!("https://shop.example{path}"), "path": path, "language": "en"},
                "events": [event]}
        }))
        .unwrap();
        self.registry.load(&store.decisions_after(shop.number, self.registry.last_decision()).await.unwrap()).unwrap();
        self.registry.meet_decisions(self.batches);
        let named = name_events(received, &mut self.registry);
        let events: Vec<NewEvent> = named
            .into_iter()
            .map(|named| NewEvent {
                id: named.event.id,
                name: named.name,
                hour: now.hour(),
                day: now.day(),
                visitor: named.event.visitor.clone(),
                user: None,
                since: now,
                json: serde_json::to_vec(&named.event).unwrap(),
            })
            .collect();
        let accepted = events.len() as u64;
        let work = ProjectWork {
            number: shop.number,
            project: shop.id.clone(),
            events,
            rows: self.registry.take_changes(),
            outcomes: vec![(Outcome::Accepted, accepted)],
            withheld: Vec::new(),
            rulings: Vec::new(),
            quarantined: Vec::new(),
            dropped: Vec::new(),
        };
        let from = self.batches;
        self.batches += 1;
        store.commit_work(Work { from, to: self.batches, projects: vec![work] }).await.unwrap();
    }

    pub(crate) fn name(&self, text: &str) -> String {
        let names = self.registry.catalogue().names;
        let found = names.iter().find(|name| name.text == text || name.made_as.as_deref() == Some(text));
        found.unwrap_or_else(|| panic!("no name {text} among {names:?}")).id.to_string()
    }

    pub(crate) fn group(&self) -> String {
        self.registry.catalogue().groups[0].id.to_string()
    }

    pub(crate) async fn events(&self) -> i64 {
        self.site.store.last_event(self.site.shop.number).await.unwrap()
    }
}

/// The value of a form's hidden field.
fn field<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let found = answer.text.split(&format!("name=\"{name}\" value=\"")).nth(1);
    found.unwrap_or_else(|| panic!("no field {name} in {}", answer.text)).split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_is_tried_before_it_holds_and_taken_out_again() {
    let shop = Shop::open().await;
    let cookie = shop.site.session(Who::In(Role::Admin)).await;
    let tried = shop.site.get("/p/shop/exclusions?selector=.private", &cookie).await;
    assert_eq!(tried.status, StatusCode::OK);
    for text in
        ["takes out 1 of 5 known controls", "Download invoice", "/account/orders", "Exclude <code>.private</code>"]
    {
        assert!(tried.text.contains(text), "{text}: {}", tried.text);
    }
    let of = async |selector: &str| {
        let selector: String = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        shop.site.get(&format!("/p/shop/exclusions?selector={selector}"), &cookie).await.text
    };
    assert!(of(".chat").await.contains("takes out 2 of 5"));
    assert!(of("main").await.contains("takes out 5 of 5"), "what is inside goes with it");
    assert!(of("form .chat").await.contains("takes out 0 of 5 known controls, and may take out 2 more"));
    assert!(of(".nothing").await.contains("No known control is like this"));
    let wrong = of(".a:::b").await;
    assert!(wrong.contains("id=\"wrong-selector\"") && wrong.contains("value=\".a:::b\""), "{wrong}");

    let form = [("version", field(&tried, "version")), ("kind", "selector"), ("entry", ".private")];
    let added = shop.site.post("/p/shop/exclusions/add", &cookie, &form).await;
    assert_eq!(added.location(), "/p/shop/exclusions?done=excluded", "{}", added.text);
    let saved = shop.site.store.project(&shop.site.shop.id).await.unwrap();
    assert_eq!(saved.settings.exclude_selectors, [".private"]);
    assert_eq!(saved.since[".private"], saved.version, "a tracker with older settings did not know it");
    let page = shop.site.get("/p/shop/exclusions", &cookie).await;
    assert!(
        page.text.contains("by Person admin@shop.example") && page.text.contains("nothing of it since"),
        "{}",
        page.text
    );

    // Somebody with an older page: nothing is saved, and what they entered is still there.
    let stale = [form[0], ("kind", "path"), ("entry", "/help")];
    let answer = shop.site.post("/p/shop/exclusions/add", &cookie, &stale).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        answer.text.contains("Somebody else has saved") && answer.text.contains("value=\"/help\""),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("takes out 2 of the newest 11 events: 1 of their 3 paths"), "{}", answer.text);
    let form = [("version", field(&answer, "version")), ("kind", "path"), ("entry", "/help")];
    assert_eq!(
        shop.site.post("/p/shop/exclusions/add", &cookie, &form).await.location(),
        "/p/shop/exclusions?done=excluded"
    );
    let again = shop.site.post("/p/shop/exclusions/add", &cookie, &form).await;
    assert!(again.text.contains("excluded already"), "{}", again.text);

    let page = shop.site.get("/p/shop/exclusions", &cookie).await;
    let form = [("version", field(&page, "version")), ("kind", "selector"), ("entry", ".private")];
    assert_eq!(
        shop.site.post("/p/shop/exclusions/remove", &cookie, &form).await.location(),
        "/p/shop/exclusions?done=included"
    );
    let page = shop.site.get("/p/shop/exclusions", &cookie).await;
    assert!(page.text.contains("Put back"), "{}", page.text);
    let saved = shop.site.store.project(&shop.site.shop.id).await.unwrap().settings;
    assert!(saved.exclude_selectors.is_empty() && saved.exclude_paths == ["/help"]);
    let entries = shop.site.store.audit_entries(Some("shop"), 10).await.unwrap();
    let saves: Vec<&str> =
        entries.iter().filter(|one| one.act == "settings.save").map(|one| one.subject.as_str()).collect();
    assert_eq!(saves, ["exclude_selectors", "exclude_paths", "exclude_selectors"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_no_samples_tries_by_names_and_counts_alone() {
    let shop = Shop::open().await;
    let (editor, viewer) =
        (shop.site.session(Who::In(Role::Editor)).await, shop.site.session(Who::In(Role::Viewer)).await);
    for path in ["/p/shop/exclusions?selector=.private", "/p/shop/exclusions?path=%2Faccount%2F*"] {
        let tried = shop.site.get(path, &editor).await;
        assert!(tried.text.contains("takes out 1 of"), "{path}: {}", tried.text);
        // The path stands in no cell: where somebody was is a sample.
        assert!(!tried.text.contains("/account/orders"), "{path}: {}", tried.text);
    }
    let tried = shop.site.get("/p/shop/exclusions?selector=.private", &viewer).await;
    assert!(tried.text.contains("Download invoice"), "names are for all");
    assert!(!tried.text.contains("exclusions/add") && !tried.text.contains("/capture\""), "a Viewer looks");
    let split = shop.site.get(&format!("/p/shop/events/{}/split", shop.name("Add to cart")), &editor).await;
    assert!(!split.text.contains("/shoes") && split.text.contains("times only"), "{}", split.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_switch_takes_a_whole_group_out_and_an_undo_brings_it_back() {
    let mut shop = Shop::open().await;
    let cookie = shop.site.session(Who::In(Role::Editor)).await;
    let list = shop.site.get("/p/shop/groups", &cookie).await;
    let group = shop.group();
    assert!(
        list.text.contains(&format!("/p/shop/groups/{group}\"")) && list.text.contains("aria-checked=\"true\""),
        "{}",
        list.text
    );
    let path = format!("/p/shop/groups/{group}");
    let off = shop.site.post(&format!("{path}/capture"), &cookie, &[("captured", "no"), ("back", "exclusions")]).await;
    assert_eq!(off.location(), "/p/shop/exclusions?done=not-captured");
    let before = shop.events().await;
    shop.click("/shoes", in_card("Add to cart", 2)).await;
    shop.click("/shoes", in_card("Compare", 3)).await;
    shop.click("/help", button("Ask a person", "chat")).await;
    assert_eq!(shop.events().await, before + 1, "of the group none, of all else every one");
    let page = shop.site.get("/p/shop/exclusions", &cookie).await;
    assert!(page.text.contains("Switched off") && page.text.contains("by Person editor@shop.example"), "{}", page.text);
    let shown = shop.site.get(&path, &cookie).await;
    assert!(shown.text.contains("no longer captured") && shown.text.contains("not captured"), "{}", shown.text);
    assert!(
        shown.text.contains("Add to cart") && shown.text.contains("Compare"),
        "its controls, with links: {}",
        shown.text
    );
    // Twice the same is no error: somebody else was quicker.
    let twice = shop.site.post(&format!("{path}/capture"), &cookie, &[("captured", "no")]).await;
    assert_eq!(twice.status, StatusCode::SEE_OTHER, "{}", twice.text);

    let undone = shop.site.post("/p/shop/decisions/1/undo", &cookie, &[("back", "exclusions")]).await;
    assert_eq!(undone.location(), "/p/shop/exclusions?done=undone");
    shop.click("/shoes", in_card("Add to cart", 2)).await;
    assert_eq!(shop.events().await, before + 2);

    let renamed =
        shop.site.post(&format!("{path}/rename"), &cookie, &[("text", "Sneaker"), ("seen", "Old name")]).await;
    assert_eq!(renamed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        renamed.text.contains("Somebody has renamed it") && renamed.text.contains("value=\"Sneaker\""),
        "{}",
        renamed.text
    );
    let seen = field(&renamed, "seen").to_owned();
    let renamed =
        shop.site.post(&format!("{path}/rename"), &cookie, &[("text", "Sneaker"), ("seen", seen.as_str())]).await;
    assert_eq!(renamed.location(), format!("{path}?done=renamed"), "{}", renamed.text);
    assert!(shop.site.get(&path, &cookie).await.text.contains("<h1>Sneaker</h1>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controls_are_merged_after_a_look_and_parted_again() {
    let mut shop = Shop::open().await;
    let cookie = shop.site.session(Who::In(Role::Editor)).await;
    let (ask, chat) = (shop.name("Ask a person"), shop.name("Chat with us"));
    let path = format!("/p/shop/events/{ask}/merge");
    let search = shop.site.get(&format!("{path}?like=chat"), &cookie).await;
    assert!(search.text.contains(&format!("into={chat}")) && !search.text.contains("Compare"), "{}", search.text);
    let preview = shop.site.get(&format!("{path}?into={chat}"), &cookie).await;
    assert!(
        preview.text.contains("becomes Chat with us") && preview.text.contains("New events are called"),
        "{}",
        preview.text
    );
    let seen = field(&preview, "seen").to_owned();

    // Somebody decides something in between: it is looked at once more.
    let other = shop.name("Download invoice");
    let between = shop.site.post(&format!("/p/shop/events/{other}/capture"), &cookie, &[("captured", "no")]).await;
    assert_eq!(between.status, StatusCode::SEE_OTHER);
    let stale = shop.site.post(&path, &cookie, &[("into", chat.as_str()), ("seen", seen.as_str())]).await;
    assert_eq!(stale.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        stale.text.contains("decided since you looked") && stale.text.contains("becomes Chat with us"),
        "{}",
        stale.text
    );
    let seen = field(&stale, "seen").to_owned();
    let merged = shop.site.post(&path, &cookie, &[("into", chat.as_str()), ("seen", seen.as_str())]).await;
    assert_eq!(merged.location(), format!("/p/shop/events/{chat}?done=merged"), "{}", merged.text);

    let last = async |shop: &Shop| {
        let number = shop.site.shop.number;
        let last = shop.site.store.last_event(number).await.unwrap();
        let events = shop.site.store.events_after(number, last - 1, 1, usize::MAX).await.unwrap();
        serde_json::from_slice::<Value>(&events[0].json).unwrap()["name"].as_str().unwrap().to_owned()
    };
    shop.click("/help", button("Ask a person", "chat")).await;
    assert_eq!(last(&shop).await, "Chat with us");
    let page = shop.site.get(&format!("/p/shop/events/{chat}"), &cookie).await;
    assert!(page.text.contains("“Ask a person” merged into “Chat with us”"), "{}", page.text);
    let undone = shop.site.post("/p/shop/decisions/2/undo", &cookie, &[("back", chat.as_str())]).await;
    assert_eq!(undone.location(), format!("/p/shop/events/{chat}?done=undone"));
    shop.click("/help", button("Ask a person", "chat")).await;
    assert_eq!(last(&shop).await, "Ask a person");
    let page = shop.site.get(&format!("/p/shop/events/{chat}"), &cookie).await;
    assert!(page.text.contains("Do it again"), "{}", page.text);
    assert_eq!(
        shop.site.post("/p/shop/decisions/3/undo", &cookie, &[("back", chat.as_str())]).await.location(),
        format!("/p/shop/events/{chat}?done=redone")
    );

    // One that is captured and one that is not cannot be one: the preview says so.
    let apart = shop.site.get(&format!("/p/shop/events/{other}/merge?into={chat}"), &cookie).await;
    assert!(apart.text.contains("make them alike first") && !apart.text.contains("name=\"seen\""), "{}", apart.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_names_are_switched_at_once() {
    let mut shop = Shop::open().await;
    let cookie = shop.site.session(Who::In(Role::Editor)).await;
    let (ask, chat) = (shop.name("Ask a person"), shop.name("Chat with us"));
    let none = shop.site.post("/p/shop/events/capture", &cookie, &[("captured", "no")]).await;
    assert!(none.status == StatusCode::UNPROCESSABLE_ENTITY && none.text.contains("Choose one name at least"));
    let both = [("name", ask.as_str()), ("name", chat.as_str()), ("captured", "no")];
    let off = shop.site.post("/p/shop/events/capture", &cookie, &both).await;
    assert!(off.location().ends_with("done=several-not-captured"), "{}", off.text);
    let before = shop.events().await;
    shop.click("/help", button("Ask a person", "chat")).await;
    shop.click("/help", button("Chat with us", "chat")).await;
    assert_eq!(shop.events().await, before);
    let list = shop.site.get("/p/shop/events?state=not-captured", &cookie).await;
    assert!(list.text.contains("Ask a person") && list.text.contains("Chat with us") && !list.text.contains("Compare"));
    let again = shop.site.post("/p/shop/events/capture", &cookie, &both).await;
    assert!(again.text.contains("not captured already") && again.text.contains(" checked"), "{}", again.text);
    let entries = shop.site.store.audit_entries(Some("shop"), 10).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.act == "decision.make").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_a_control_is_split_off() {
    let mut shop = Shop::open().await;
    let cookie = shop.site.session(Who::In(Role::Admin)).await;
    // The author's own id says that it is the same, whatever it says.
    let pay = |label: &str, section: &str| {
        json!({
            "role": "button", "label": label, "labelSource": "content", "template": label, "tag": "button",
            "attributes": {"data-testid": "pay", "type": "button"}, "path": "main>form>button",
            "context": [{"kind": "section", "name": section}]
        })
    };
    shop.click("/pay", pay("Pay", "Payment")).await;
    shop.click("/pay", pay("Buy now", "Order")).await;
    let name = shop.name("Pay");
    let path = format!("/p/shop/events/{name}/split");
    let page = shop.site.get(&path, &cookie).await;
    let link =
        page.text.split("/split?element=").nth(1).unwrap_or_else(|| panic!("{}", page.text)).split('"').next().unwrap();
    let (element, form) = link.split_once("&amp;form=").unwrap();
    let preview = shop.site.get(&format!("{path}?element={element}&form={form}"), &cookie).await;
    assert!(preview.text.contains("becomes a control of its own") && preview.text.contains("el_"), "{}", preview.text);
    let seen = field(&preview, "seen");
    let stale = shop.site.post(&path, &cookie, &[("element", element), ("form", form), ("seen", "99")]).await;
    assert!(stale.status == StatusCode::UNPROCESSABLE_ENTITY && stale.text.contains("decided since you looked"));
    let split = shop.site.post(&path, &cookie, &[("element", element), ("form", form), ("seen", seen)]).await;
    assert_eq!(split.location(), format!("/p/shop/events/{name}?done=split"), "{}", split.text);
    shop.click("/pay", pay("Buy now", "Order")).await;
    assert_ne!(shop.name("Buy now"), name, "its next event has a name of its own");
    let foreign =
        shop.site.post(&path, &cookie, &[("element", "el_0000000000000001"), ("form", "1"), ("seen", "1")]).await;
    assert_eq!(foreign.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", foreign.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_many_names_are_small_and_say_what_to_do_when_empty() {
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Editor)).await;
    for (path, text) in [
        ("/p/shop/groups", "No group is known yet"),
        ("/p/shop/exclusions", "None is excluded yet"),
        ("/p/shop/events", "Nothing has a name yet"),
    ] {
        let page = site.get(path, &cookie).await;
        assert!(page.text.contains(text), "{path}: {}", page.text);
    }
    let many: Vec<String> = (0..200).map(|n| format!(".selector-of-some-length-{n}")).collect();
    let settings = ProjectSettings {
        exclude_paths: (0..200).map(|n| format!("/some/path/{n}/*")).collect(),
        exclude_selectors: many,
        ..site.shop.settings.clone()
    };
    let saved = site.store.save_settings(&site.shop.id, settings).await.unwrap();
    let page = site.get("/p/shop/exclusions", &cookie).await;
    assert!(page.text.len() < 100_000, "{}", page.text.len());
    assert!(page.text.contains("1 to 50 of 200") && page.text.contains("matches nothing known"));
    let full = [("version", saved.version.to_string()), ("kind", "path".to_owned()), ("entry", "/more".to_owned())];
    let full: Vec<(&str, &str)> = full.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = site.post("/p/shop/exclusions/add", &cookie, &full).await;
    assert!(answer.text.contains("there are 200 already"), "{}", answer.text);

    // In a site of its own: what is known of this one was read a moment ago.
    let site = Site::make().await;
    let cookie = site.session(Who::In(Role::Editor)).await;
    let mut shop = Shop { site, registry: Registry::default(), batches: 0 };
    let verbs = ["Open", "Print", "Share", "Copy", "Move", "Close", "Export", "Archive"];
    let things = ["report", "invoice", "folder", "picture", "table", "letter", "budget", "calendar"];
    for (verb, thing) in verbs.iter().flat_map(|verb| things.map(|thing| (verb, thing))) {
        shop.click("/tools", button(&format!("{verb} {thing}"), "tool")).await;
    }
    let page = shop.site.get("/p/shop/events", &cookie).await;
    assert!(page.text.contains("1 to 50 of 64") && page.text.len() < 100_000, "{}", page.text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_show_examples_are_read_as_samples_are() {
    let shop = Shop::open().await;
    let admin = shop.site.session(Who::In(Role::Admin)).await;
    let page = format!("/p/shop/groups/{}", shop.group());
    for _ in 0..210 {
        assert_eq!(shop.site.get(&page, &admin).await.status, StatusCode::OK);
    }
    only(&shop.site, IncidentKind::MassExport).await;
}

/// What stands in a section of a page.
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let from = page.split_once(&format!("<h2 id=\"{id}\">")).unwrap_or_else(|| panic!("no section {id} in {page}")).1;
    from.split_once("</section>").unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn new_names_are_of_what_people_do_and_not_of_what_browsers_measure() {
    let mut shop = Shop::open().await;
    for metric in ["LCP", "INP", "CLS", "FCP", "TTFB"] {
        shop.arrive("/help", json!({"type": "web_vital", "properties": {"Metric": metric, "Value": 7}})).await;
    }
    for kind in ["page_view", "page_leave"] {
        shop.arrive("/help", json!({"type": kind, "properties": {}})).await;
    }
    let cookie = shop.site.session(Who::In(Role::Viewer)).await;
    let page = shop.site.get("/p/shop", &cookie).await.text;
    let new = section(&page, "new");
    assert!(!new.contains("web vital") && !new.contains("page leave"), "{new}");
    let at = |text: &str| new.find(text).unwrap_or_else(|| panic!("no {text} in {new}"));
    assert!(at("Download invoice") < at("page view") && at("Chat with us") < at("page view"), "{new}");
    let all = shop.site.get("/p/shop/events?like=vital", &cookie).await.text;
    assert!(
        all.contains("1 to 5 of 5") || all.matches("web vital</a>").count() == 5,
        "the list of events has all of them: {all}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_the_overview_are_of_one_moment() {
    let mut shop = Shop::open().await;
    let cookie = shop.site.session(Who::In(Role::Viewer)).await;
    for expected in 11..=14 {
        for path in ["/p/shop", "/p/shop/pulse"] {
            let text = shop.site.get(path, &cookie).await.text;
            let tiles: Vec<&str> =
                text.split("class=\"tile\"><strong>").skip(1).map(|tile| tile.split('<').next().unwrap()).collect();
            let accepted = text.split("accepted</th><td class=\"number\">").nth(1).unwrap().split('<').next().unwrap();
            let expected = expected.to_string();
            assert_eq!(
                (tiles[0], tiles[1], accepted),
                (expected.as_str(), expected.as_str(), expected.as_str()),
                "{path}"
            );
        }
        shop.click("/help", button("Ask a person", "chat")).await;
    }
}
