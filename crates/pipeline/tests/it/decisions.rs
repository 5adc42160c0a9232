//! What people decide about names, elements and groups: what it does to later events, that it can be undone, and that it holds
//! across a restart.

use std::collections::BTreeMap;

use convizit_model::{
    Change, Decision, DecisionId, ElementId, Event, NameId, NameState, Received, StateKind, StateRow, Timestamp,
};
use convizit_pipeline::{Registry, Silence, SiteChangeKind, name_events};
use serde_json::{Value, json};

const NOON: i64 = 1_795_780_800_000;
const HOUR: i64 = 3_600_000;

/// A project as the worker has it: a registry, and the rows that the store keeps.
#[derive(Default)]
pub(crate) struct Site {
    pub(crate) registry: Registry,
    pub(crate) rows: BTreeMap<(StateKind, u64), StateRow>,
    pub(crate) clicks: u32,
    decided: u64,
    now: i64,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { now: NOON, ..Self::default() }
    }

    pub(crate) fn keep(&mut self) {
        for row in self.registry.take_changes() {
            self.rows.insert((row.kind, row.key), row);
        }
    }

    pub(crate) fn restart(&mut self) {
        self.registry = Registry::default();
        self.registry.load(&self.rows.values().cloned().collect::<Vec<_>>()).unwrap();
    }

    pub(crate) fn click_on(&mut self, page: &Value, descriptor: Value) -> Option<Event> {
        self.clicks += 1;
        let received: Received = serde_json::from_value(json!({
            "project": "shop", "number": 1, "received": Timestamp::from_millis(self.now).to_string(), "clock": 0,
            "visitor": format!("v{}", self.clicks % 5), "device": {}, "location": {},
            "batch": {"v": 1, "key": "pk_12345678", "batch": format!("tab.{}", self.clicks), "sent": "2026-11-26T12:00:00.000Z",
                "session": {"id": "s"}, "page": page,
                "events": [{"id": format!("0193a1f0-0000-7000-8000-{:012}", self.clicks), "type": "click",
                    "time": "2026-11-26T12:00:00.000Z", "descriptor": descriptor}]}
        }))
        .unwrap();
        let event = name_events(received, &mut self.registry).pop().map(|named| named.event);
        self.keep();
        event
    }

    pub(crate) fn click(&mut self, descriptor: Value) -> Event {
        self.click_on(&json!({"url": "https://shop.example/", "path": "/", "language": "en"}), descriptor).unwrap()
    }

    /// As `Store::decide`: a row beside the registry's, which it meets with its next stretch.
    pub(crate) fn decide(&mut self, what: Change) -> DecisionId {
        self.registry.check(&what).unwrap();
        self.decided += 1;
        let id = DecisionId(self.decided);
        let made = Timestamp::from_millis(self.now + i64::try_from(self.decided).unwrap());
        let decision = Decision { id, made, by: "ada".to_owned(), what, from: None, proposed: false, evidence: None };
        let row = StateRow {
            kind: StateKind::Decision,
            key: id.0,
            expires_day: None,
            body: serde_json::to_vec(&decision).unwrap(),
        };
        self.registry.load(&[row]).unwrap();
        self.registry.meet_decisions(7);
        self.keep();
        id
    }

    pub(crate) fn name(&self, text: &str) -> NameId {
        self.registry.catalogue().names.iter().find(|name| name.text == text).unwrap().id
    }
}

pub(crate) fn button(label: &str) -> Value {
    json!({"role": "button", "label": label, "template": label, "labelSource": "content", "tag": "button",
        "path": "main>section>div>button", "attributes": {"class": "btn btn-primary"},
        "context": [{"kind": "section", "name": "Tools"}, {"kind": "main", "name": ""}]})
}

pub(crate) fn card(member: &str, label: &str, position: u32) -> Value {
    json!({"role": "link", "label": label, "template": label, "labelSource": "content", "tag": "a", "path": format!("main>ul>li>{member}>a"),
        "properties": {"Item name": label}, "context": [{"kind": "main", "name": ""}],
        "group": {"position": position, "length": 9, "signature": [1, 2, position.min(1)], "container": "", "member": member, "path": ""}})
}

pub(crate) fn id(event: &Event) -> ElementId {
    event.element.as_ref().unwrap().id
}

#[test]
fn a_renamed_event_has_its_new_name_and_its_old_identity_until_it_is_undone() {
    let mut site = Site::new();
    let before = site.click(button("Export report"));
    let name = site.name(&before.name);
    let rename = Change::Rename { name, text: "Download the report".to_owned() };
    let shown = site.registry.preview(&rename).unwrap();
    assert_eq!((shown.len(), shown[0].after.text.as_str()), (1, "Download the report"));
    assert_eq!(site.click(button("Export report")).name, before.name, "a preview changes nothing");
    let decision = site.decide(rename);
    let after = site.click(button("Export report"));
    assert_eq!((after.name.as_str(), after.name_state), ("Download the report", NameState::Published));
    assert_eq!(id(&after), id(&before));
    site.restart();
    assert_eq!(site.click(button("Export report")).name, "Download the report");
    assert!(
        site.registry
            .check(&Change::Rename { name, text: "mail ada@shop.example".to_owned() })
            .unwrap_err()
            .contains("private")
    );
    let undo = site.decide(Change::Undo { decision });
    assert_eq!(site.click(button("Export report")).name, before.name);
    site.decide(Change::Undo { decision: undo });
    assert_eq!(site.click(button("Export report")).name, "Download the report");
    assert!(site.registry.check(&Change::Undo { decision: undo }).unwrap_err().contains("undone already"));
    assert_eq!(site.registry.decisions()[0].from, Some(7), "it is noted from where on it holds");
}

#[test]
fn a_name_is_given_once() {
    let mut site = Site::new();
    let save = site.click(button("Save")).name;
    let cancel = site.click(button("Cancel")).name;
    let refused =
        site.registry.check(&Change::Rename { name: site.name(&save), text: cancel.to_uppercase() }).unwrap_err();
    assert!(refused.contains("merge the two"), "{refused}");
    site.decide(Change::Rename { name: site.name(&save), text: "Keep".to_owned() });
    // What was given is taken for all that comes later, and so is what it was called before.
    let other = |label: &str| {
        let mut elsewhere = button(label);
        elsewhere["context"] = json!([{"kind": "section", "name": "Billing"}]);
        elsewhere
    };
    assert_eq!(site.click(other("Keep")).name, "Keep click");
    assert_eq!(site.click(other("Save")).name, "Save in Billing");
}

#[test]
fn merged_controls_are_one_and_can_be_parted_again() {
    let mut site = Site::new();
    let (buy, add) = (site.click(button("Buy")), site.click(button("Add to cart")));
    assert_ne!(id(&buy), id(&add));
    let merge = Change::Merge { element: id(&buy), into: id(&add) };
    assert_eq!(site.registry.preview(&merge).unwrap()[0].after.element, Some(id(&add)));
    let decision = site.decide(merge.clone());
    let merged = site.click(button("Buy"));
    assert_eq!((id(&merged), merged.name.as_str()), (id(&add), add.name.as_str()));
    site.restart();
    assert_eq!(id(&site.click(button("Buy"))), id(&add));
    assert!(site.registry.check(&merge).unwrap_err().contains("one element already"));
    let back = Change::Merge { element: id(&add), into: id(&buy) };
    assert!(site.registry.check(&back).unwrap_err().contains("one element already"), "no circle");
    site.decide(Change::Undo { decision });
    let parted = site.click(button("Buy"));
    assert_eq!((id(&parted), parted.name), (id(&buy), buy.name));
}

#[test]
fn a_form_that_was_taken_for_an_element_becomes_one_of_its_own() {
    let mut site = Site::new();
    let mut first = button("Search");
    first["attributes"]["data-testid"] = json!("find");
    let mut second = button("Look up");
    second["attributes"]["data-testid"] = json!("find");
    let (one, other) = (site.click(first.clone()), site.click(second.clone()));
    assert_eq!(id(&one), id(&other), "one id of the author's");
    let forms = &site.registry.catalogue().elements[0].forms;
    assert_eq!(forms.iter().map(|form| form.label.as_str()).collect::<Vec<_>>(), ["Search", "Look up"]);
    assert!(site.registry.check(&Change::Split { element: id(&one), form: 2 }).unwrap_err().contains("forms 1 to 1"));
    let decision = site.decide(Change::Split { element: id(&one), form: 1 });
    let parted = site.click(second.clone());
    assert_ne!(id(&parted), id(&one));
    assert_eq!(parted.name, "Look up click");
    assert_eq!(id(&site.click(first)), id(&one));
    site.restart();
    assert_eq!(id(&site.click(second.clone())), id(&parted));
    assert!(site.registry.catalogue().elements.iter().any(|element| element.id == id(&parted)));
    site.decide(Change::Undo { decision });
    assert_eq!(id(&site.click(second)), id(&one));
}

#[test]
fn groups_that_people_join_have_one_name() {
    let mut site = Site::new();
    let (tile, teaser) = (site.click(card("tile", "Boots", 1)), site.click(card("teaser", "Coats", 2)));
    let (tiles, teasers) = (tile.group.clone().unwrap(), teaser.group.clone().unwrap());
    assert_ne!(tiles.id, teasers.id);
    let decision = site.decide(Change::Regroup { group: teasers.id, into: tiles.id });
    let joined = site.click(card("teaser", "Coats", 2));
    assert_eq!((joined.group.unwrap().id, joined.name.as_str()), (tiles.id, tile.name.as_str()));
    site.decide(Change::RenameGroup { group: tiles.id, text: "Shoe".to_owned() });
    let renamed = site.click(card("tile", "Boots", 1));
    assert_eq!((renamed.group.unwrap().name.as_str(), renamed.name.as_str()), ("Shoe", "Shoe click"));
    site.restart();
    site.decide(Change::Undo { decision });
    assert_eq!(site.click(card("teaser", "Coats", 2)).group.unwrap().id, teasers.id);
}

#[test]
fn what_is_not_captured_makes_no_event_and_is_counted() {
    let mut site = Site::new();
    let page = json!({"url": "https://shop.example/", "path": "/", "language": "en"});
    let (save, tile) = (site.click(button("Save")), site.click(card("tile", "Boots", 1)));
    let element = site.decide(Change::CaptureElement { element: id(&save), captured: false });
    site.decide(Change::CaptureGroup { group: tile.group.unwrap().id, captured: false });
    assert!(site.click_on(&page, button("Save")).is_none());
    assert!(site.click_on(&page, card("tile", "Coats", 4)).is_none());
    assert!(site.click_on(&page, button("Cancel")).is_some());
    assert_eq!(site.registry.take_excluded(), 2);
    assert!(!site.registry.catalogue().names.iter().find(|name| name.text == save.name).unwrap().captured);
    site.restart();
    assert!(site.click_on(&page, button("Save")).is_none());
    site.decide(Change::Undo { decision: element });
    assert!(site.click_on(&page, button("Save")).is_some());
}

#[test]
fn twelve_pages_of_one_template_have_one_button() {
    // No markup and no telling title: only that the same button stands under another heading on each page.
    let mut site = Site::new();
    let names = ["Trail", "City", "Wool", "Rain", "Snow", "Sand", "Hill", "Lake", "Moor", "Reef", "Dune", "Cape"];
    let ids: Vec<ElementId> = names
        .iter()
        .map(|name| {
            let page = json!({"url": format!("https://shop.example/{name}"), "path": format!("/{name}"), "title": "Shop", "language": "en"});
            let mut descriptor = button("Notify me");
            descriptor["context"] = json!([{"kind": "section", "name": format!("{name}wear")}, {"kind": "main", "name": ""}]);
            id(&site.click_on(&page, descriptor).unwrap())
        })
        .collect();
    assert!(ids[2..].iter().all(|other| *other == ids[0]), "{ids:?}");
    let elements = site.registry.catalogue().elements;
    assert_eq!(elements.iter().filter(|element| element.part_of.is_none()).count(), 1);
    // Reversible: the product's own decision can be undone as a person's can.
    let own = site.registry.decisions()[0].id;
    assert_eq!(own.to_string(), "auto-1");
    site.decide(Change::Undo { decision: own });
    assert_eq!(site.registry.catalogue().elements.iter().filter(|element| element.part_of.is_none()).count(), 2);
    // On one page two sections do tell two buttons apart.
    let mut site = Site::new();
    let page = json!({"url": "https://shop.example/", "path": "/", "language": "en"});
    let ids: std::collections::HashSet<ElementId> = ["Pricing", "Features", "Support", "Careers"]
        .iter()
        .map(|section| {
            let mut descriptor = button("Learn more");
            descriptor["context"] = json!([{"kind": "section", "name": section}, {"kind": "main", "name": ""}]);
            id(&site.click_on(&page, descriptor).unwrap())
        })
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_page_that_is_one_of_many_is_called_by_its_template() {
    let mut site = Site::new();
    let mut names = Vec::new();
    for n in 0..40 {
        let slug =
            format!("how-to-lace-boots-part-{}", char::from(b'a' + n % 26).to_string().repeat(1 + usize::from(n / 26)));
        let received: Received = serde_json::from_value(json!({
            "project": "shop", "number": 1, "received": "2026-11-26T12:00:00.000Z", "clock": 0, "visitor": "v", "device": {}, "location": {},
            "batch": {"v": 1, "key": "pk_12345678", "batch": format!("tab.{n}"), "sent": "2026-11-26T12:00:00.000Z", "session": {"id": "s"},
                "page": {"url": format!("https://shop.example/guides/{slug}"), "path": format!("/guides/{slug}")},
                "events": [{"id": format!("0193a1f0-0000-7000-8000-{n:012}"), "type": "page_view", "time": "2026-11-26T12:00:00.000Z"}]}
        }))
        .unwrap();
        let event = name_events(received, &mut site.registry).pop().unwrap().event;
        assert_eq!(event.page.path, format!("/guides/{slug}"), "the event keeps its own address");
        names.push(event.name);
    }
    assert_eq!(names[39], "Guide detail page view");
    site.keep();
    site.restart();
    // Words alone are sections, however many there are.
    let mut site = Site::new();
    for n in 0..60_u8 {
        let page = format!("/{}", char::from(b'a' + n % 26).to_string().repeat(3 + usize::from(n / 26)));
        site.click_on(&json!({"url": format!("https://shop.example{page}"), "path": page}), button("Save")).unwrap();
    }
    let view = site.click_on(&json!({"url": "https://shop.example/about", "path": "/about"}), button("Save")).unwrap();
    assert_eq!(view.page.path, "/about");
}

#[test]
fn a_lost_control_is_found_again_or_proposed_and_nobody_is_asked_twice() {
    let shown = |site: &Site| site.registry.catalogue().elements.len();
    let old = |label: &str, place: &str| {
        json!({"role": "link", "label": label, "template": label, "labelSource": "content", "tag": "a", "path": "main>section>div>a",
            "attributes": {"href": format!("/{place}"), "class": "cta"}, "context": [{"kind": "section", "name": "Offers"}, {"kind": "main", "name": ""}]})
    };
    let mut site = Site::new();
    let lost = site.click(old("See the winter sale", "sale"));
    let name = site.name(&lost.name);
    // A deploy: other words in a section of another name, the same place and address.
    site.now += 5 * HOUR;
    let mut now = old("Winter deals", "sale");
    now["context"] = json!([{"kind": "section", "name": "Season"}, {"kind": "main", "name": ""}]);
    let new = site.click(now.clone());
    assert_ne!(id(&new), id(&lost), "a wrong merge is worse than a split");
    assert_eq!(shown(&site), 2);
    site.now += HOUR;
    let silences = [Silence { name, missing: 40 }];
    let reviewed = site.registry.review(&silences, Timestamp::from_millis(site.now));
    assert_eq!((reviewed.merged, reviewed.proposed), (0, 1), "its sections contradict: a person is asked");
    let proposal = site.registry.decisions()[0].clone();
    assert_eq!(proposal.what, Change::Merge { element: id(&new), into: id(&lost) });
    let evidence = proposal.evidence.unwrap();
    assert!(
        evidence.agree.contains(&"address".to_owned()) && evidence.differ.contains(&"section".to_owned()),
        "{evidence:?}"
    );
    assert_eq!(evidence.missing, 40);
    assert_eq!(id(&site.click(now.clone())), id(&new), "a proposal does not hold");
    assert_eq!(site.registry.review(&silences, Timestamp::from_millis(site.now)).proposed, 0);
    let changes = site.registry.site_changes(Timestamp::from_millis(NOON + HOUR), &silences);
    let kinds: Vec<SiteChangeKind> = changes.iter().map(|change| change.kind).collect();
    assert!(kinds.contains(&SiteChangeKind::New) && kinds.contains(&SiteChangeKind::Lost), "{changes:?}");
    site.decide(proposal.what);
    assert_eq!(id(&site.click(now)), id(&lost));
}

#[test]
fn what_says_something_else_on_the_same_id_is_renamed_or_a_variant() {
    let mut site = Site::new();
    let offer = |label: &str| {
        let mut descriptor = button(label);
        descriptor["attributes"]["data-testid"] = json!("offer");
        descriptor
    };
    site.click(offer("Start free trial"));
    let variant = site.click(offer("Try it for nothing"));
    assert_eq!(variant.properties["Variant text"], "Try it for nothing");
    assert!(!site.click(offer("Start free trial")).properties.contains_key("Variant text"));
    // Days later the first is seen no more: it was renamed, and no test.
    site.now += 3 * 24 * HOUR;
    site.click(offer("Try it for nothing"));
    assert!(!site.click(offer("Try it for nothing")).properties.contains_key("Variant text"));
    let changes = site.registry.site_changes(Timestamp::from_millis(NOON), &[]);
    assert!(changes.iter().any(|change| change.kind == SiteChangeKind::Renamed), "{changes:?}");
}

#[test]
fn a_control_that_is_never_the_same_twice_is_written_no_more_once_its_forms_are_full() {
    let mut site = Site::new();
    let page = json!({"url": "https://shop.example/", "path": "/", "language": "en"});
    let words = [
        "ash", "bay", "cove", "dune", "elm", "fern", "glen", "hill", "isle", "jetty", "kelp", "lake", "moor", "nook",
        "oak", "pine",
    ];
    let click = |site: &mut Site, n: usize| {
        let mut descriptor = button(&format!("{} {} offer", words[n % 16], words[n / 16 % 16]));
        descriptor["attributes"]["data-testid"] = json!("offer");
        site.click_on(&page, descriptor).unwrap()
    };
    let first = id(&click(&mut site, 0));
    for n in 1..40 {
        assert_eq!(id(&click(&mut site, n)), first);
    }
    let before = site.rows[&(StateKind::Element, first.0)].clone();
    site.rows.remove(&(StateKind::Element, first.0));
    assert_eq!(id(&click(&mut site, 77)), first);
    assert!(!site.rows.contains_key(&(StateKind::Element, first.0)), "a row for each event is too many");
    site.rows.insert((StateKind::Element, first.0), before);
    assert_eq!(site.registry.catalogue().elements[0].forms.len(), 12);
}

/// A button under a heading of the page's own, on a page of a blog.
fn on_page(site: &mut Site, slug: &str, heading: &str, label: &str) -> Event {
    let page = json!({"url": format!("https://shop.example/guides/{slug}"), "path": format!("/guides/{slug}"),
        "title": format!("{heading}, a guide"), "language": "en"});
    let mut descriptor = button(label);
    descriptor["context"] = json!([{"kind": "section", "name": heading}, {"kind": "main", "name": ""}]);
    site.click_on(&page, descriptor).unwrap()
}

/// `abc`, another for each number.
fn word(n: u8) -> String {
    (0..3).map(|step| char::from(b'a' + (n / 5_u8.pow(step)) % 5 * 5 + u8::try_from(step).unwrap())).collect()
}

#[test]
fn a_learned_template_changes_neither_identities_nor_published_names() {
    let mut site = Site::new();
    let first = on_page(&mut site, "all-about-larch", "Larchwood", "Remember");
    for _ in 0..30 {
        on_page(&mut site, "all-about-larch", "Larchwood", "Remember");
    }
    let published = on_page(&mut site, "all-about-larch", "Larchwood", "Remember");
    assert_eq!(published.name_state, NameState::Published);
    for n in 0..60 {
        let word = word(n);
        let event = on_page(&mut site, &format!("all-about-{word}"), &format!("{word}wood"), "Remember");
        assert!(n < 2 || id(&event) == id(&first), "page {n}");
        if n % 20 == 19 {
            site.restart();
        }
    }
    let after = on_page(&mut site, "all-about-larch", "Larchwood", "Remember");
    assert_eq!((id(&after), after.name), (id(&first), published.name));
}

#[test]
fn sections_beside_many_articles_stay_pages_of_their_own() {
    let mut site = Site::new();
    let view = |site: &mut Site, path: &str| {
        site.clicks += 1;
        let received: Received = serde_json::from_value(json!({
            "project": "shop", "number": 1, "received": Timestamp::from_millis(site.now).to_string(), "clock": 0,
            "visitor": format!("v{}", site.clicks % 5), "device": {}, "location": {},
            "batch": {"v": 1, "key": "pk_12345678", "batch": format!("tab.{}", site.clicks), "sent": "2026-11-26T12:00:00.000Z",
                "session": {"id": "s"}, "page": {"url": format!("https://shop.example{path}"), "path": path},
                "events": [{"id": format!("0193a1f0-0000-7000-8000-{:012}", site.clicks), "type": "page_view", "time": "2026-11-26T12:00:00.000Z"}]}
        }))
        .unwrap();
        name_events(received, &mut site.registry).pop().unwrap().event.name
    };
    let sections = ["/pricing", "/contact", "/checkout", "/how-we-work-here"];
    let names: Vec<String> =
        sections.iter().map(|path| (0..40).map(|_| view(&mut site, path)).last().unwrap()).collect();
    for n in 0..60 {
        view(&mut site, &format!("/why-we-love-{}", word(n)));
    }
    let after: Vec<String> = sections.iter().map(|path| view(&mut site, path)).collect();
    assert_eq!(after, names, "a published name never changes by itself");
    assert_eq!(view(&mut site, "/careers"), "Careers page view", "a section that is found later is one too");
    assert_eq!(view(&mut site, "/why-we-love-oak-trees"), "Detail page view");
}

#[test]
fn the_product_does_not_undo_what_people_said() {
    let mut site = Site::new();
    let open =
        |site: &Site| site.registry.catalogue().elements.iter().filter(|element| element.part_of.is_none()).count();
    let (a, b) = (on_page(&mut site, "a", "Axwood", "Notify me"), on_page(&mut site, "b", "Bowood", "Notify me"));
    // Merged the other way round than the product would: that holds, and nothing is decided again.
    site.decide(Change::Merge { element: id(&a), into: id(&b) });
    for n in 0..30 {
        let event = on_page(&mut site, &word(n), &format!("{}wood", word(n)), "Notify me");
        assert_eq!(id(&event), id(&b), "page {n}");
    }
    assert_eq!((site.registry.decisions().len(), open(&site)), (1, 1));
    // What a person parted stays parted.
    let mut site = Site::new();
    for heading in ["Axwood", "Bowood", "Cowood"] {
        on_page(&mut site, heading, heading, "Notify me");
    }
    let own = site.registry.decisions()[0].id;
    site.decide(Change::Undo { decision: own });
    on_page(&mut site, "Dewood", "Dewood", "Notify me");
    assert_eq!(open(&site), 2);
    // What is not captured is not captured as a part of something else.
    let mut site = Site::new();
    on_page(&mut site, "Axwood", "Axwood", "Notify me");
    let b = on_page(&mut site, "Bowood", "Bowood", "Notify me");
    site.decide(Change::CaptureElement { element: id(&b), captured: false });
    on_page(&mut site, "Cowood", "Cowood", "Notify me");
    let page = json!({"url": "https://shop.example/guides/Bowood", "path": "/guides/Bowood", "title": "Bowood, a guide", "language": "en"});
    let mut descriptor = button("Notify me");
    descriptor["context"] = json!([{"kind": "section", "name": "Bowood"}, {"kind": "main", "name": ""}]);
    assert!(site.click_on(&page, descriptor).is_none());
}

#[test]
fn merges_make_no_circle() {
    let mut site = Site::new();
    let [a, b, c] = ["Alpha", "Beta", "Gamma"].map(|label| id(&site.click(button(label))));
    let merge = |element, into| Change::Merge { element, into };
    let first = site.decide(merge(a, b));
    let undo = site.decide(Change::Undo { decision: first });
    site.decide(merge(b, c));
    let last = site.decide(merge(c, a));
    assert!(site.registry.check(&Change::Undo { decision: undo }).unwrap_err().contains("cannot hold again"));
    // Two who decide at once are not checked against each other: the later one does not hold.
    let row = Decision {
        id: DecisionId(99),
        made: Timestamp::from_millis(site.now + 99),
        by: "bob".to_owned(),
        what: merge(a, b),
        from: None,
        proposed: false,
        evidence: None,
    };
    let row =
        StateRow { kind: StateKind::Decision, key: 99, expires_day: None, body: serde_json::to_vec(&row).unwrap() };
    site.registry.load(&[row]).unwrap();
    assert!(site.registry.holds(last) && !site.registry.holds(DecisionId(99)));
    assert_eq!(["Alpha", "Beta", "Gamma"].map(|label| id(&site.click(button(label)))), [a, a, a]);
}

#[test]
fn what_is_a_part_is_decided_with_its_whole() {
    let mut site = Site::new();
    let (a, b) = (id(&site.click(button("Alpha"))), id(&site.click(button("Beta"))));
    let tile = site.click(card("tile", "Boots", 1));
    let merge = Change::Merge { element: a, into: b };
    let shown = site.registry.preview(&merge).unwrap();
    assert_eq!((shown[0].before.text.as_str(), shown[0].after.text.as_str()), ("Alpha click", "Beta click"));
    site.decide(merge);
    let refused = site.registry.check(&Change::CaptureElement { element: a, captured: false }).unwrap_err();
    assert!(refused.contains("is part of"), "{refused}");
    let group = tile.group.as_ref().unwrap().id;
    site.decide(Change::CaptureGroup { group, captured: false });
    let refused = site.registry.check(&Change::CaptureElement { element: id(&tile), captured: true }).unwrap_err();
    assert!(refused.contains("say captured of gr_"), "{refused}");
    let (c, name) = (site.click(button("Gamma")), site.name("Beta click"));
    site.decide(Change::CaptureElement { element: b, captured: false });
    let refused = site.registry.check(&Change::Merge { element: id(&c), into: b }).unwrap_err();
    assert!(refused.contains("make them alike first"), "{refused}");
    assert!(site.registry.is_excused(name) && !site.registry.is_excused(site.name("Gamma click")));
    let silent = [Silence { name, missing: 40 }];
    site.now += 24 * HOUR;
    assert_eq!(site.registry.review(&silent, Timestamp::from_millis(site.now)).proposed, 0);
    let changes = site.registry.site_changes(Timestamp::from_millis(0), &silent);
    assert!(changes.iter().all(|change| change.kind != SiteChangeKind::Lost), "what people wanted is not lost");
}

#[test]
fn an_undo_leaves_no_name_behind() {
    let mut site = Site::new();
    let dead = |site: &mut Site, descriptor: Value| {
        site.clicks += 1;
        let received: Received = serde_json::from_value(json!({
            "project": "shop", "number": 1, "received": Timestamp::from_millis(site.now).to_string(), "clock": 0, "visitor": "v",
            "device": {}, "location": {},
            "batch": {"v": 1, "key": "pk_12345678", "batch": format!("tab.{}", site.clicks), "sent": "2026-11-26T12:00:00.000Z",
                "session": {"id": "s"}, "page": {"url": "https://shop.example/", "path": "/", "language": "en"},
                "events": [{"id": format!("0193a1f0-0000-7000-8000-{:012}", site.clicks), "type": "dead_click",
                    "time": "2026-11-26T12:00:00.000Z", "descriptor": descriptor}]}
        }))
        .unwrap();
        name_events(received, &mut site.registry).pop().unwrap().event.name
    };
    let tile = site.click(card("tile", "Boots", 1)).group.unwrap();
    let rename = site.decide(Change::RenameGroup { group: tile.id, text: "Shoe tile".to_owned() });
    assert_eq!(dead(&mut site, card("tile", "Boots", 1)), "Shoe tile dead click");
    site.decide(Change::Undo { decision: rename });
    assert_eq!(dead(&mut site, card("tile", "Boots", 1)), format!("{} dead click", tile.name));
    let again = Change::RenameGroup { group: tile.id, text: "Boot tile".to_owned() };
    site.decide(again);
    assert_eq!(dead(&mut site, card("tile", "Boots", 1)), "Boot tile dead click", "a later name reaches it too");
    let (delta, sigma) = (id(&site.click(button("Delta"))), id(&site.click(button("Sigma"))));
    let merge = site.decide(Change::Merge { element: delta, into: sigma });
    assert_eq!(dead(&mut site, button("Delta")), "Sigma dead click");
    site.decide(Change::Undo { decision: merge });
    assert_eq!(
        [dead(&mut site, button("Sigma")), dead(&mut site, button("Delta"))],
        ["Sigma dead click", "Delta dead click"]
    );
}

#[test]
fn a_name_that_something_once_had_is_given_to_nothing_else() {
    let mut site = Site::new();
    let (alpha, omega) = (site.click(button("Alpha")), site.click(button("Omega")));
    let (alpha, omega) = (site.name(&alpha.name), site.name(&omega.name));
    for text in ["Middle", "Last"] {
        site.decide(Change::Rename { name: alpha, text: text.to_owned() });
    }
    for text in ["Middle", "last", "Alpha click"] {
        let refused = site.registry.check(&Change::Rename { name: omega, text: text.to_owned() }).unwrap_err();
        assert!(refused.contains("is or was the name"), "{text}");
    }
    let tile = site.click(card("tile", "Boots", 1)).group.unwrap();
    let mut other = card("teaser", "Coats", 1);
    other["group"]["signature"] = json!([7, 8, 9]);
    other["context"] = json!([{"kind": "aside", "name": ""}]);
    let teaser = site.click(other).group.unwrap();
    assert_ne!(tile.id, teaser.id);
    site.decide(Change::RenameGroup { group: tile.id, text: "Shoe tile".to_owned() });
    let refused =
        site.registry.check(&Change::RenameGroup { group: teaser.id, text: "Shoe tile".to_owned() }).unwrap_err();
    assert!(refused.contains("is or was the name"), "{refused}");
}

#[test]
fn what_the_tracker_sends_has_its_number_as_a_property() {
    let mut site = Site::new();
    let mut cart = button("Cart (3)");
    cart.as_object_mut().unwrap().remove("template");
    let event = site.click(cart);
    assert_eq!((event.name.as_str(), event.properties["Value"].as_u64()), ("Cart click", Some(3)));
}
