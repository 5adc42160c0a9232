//! What was known and whose row is lost: it is itself again where it can be told, and nothing else gets anything of it.

use convizit_model::{Change, ElementId, Event, LostRow, NameState, Received, StateKind};
use convizit_pipeline::name_events;
use serde_json::{Value, json};

use crate::decisions::{Site, button, card, id};

impl Site {
    /// A restart without this row, which does not open.
    fn lose(&mut self, kind: StateKind, key: u64, newest: Option<Event>) {
        self.rows.remove(&(kind, key)).expect("there is such a row");
        self.restart();
        self.registry.lose(&[LostRow { kind, key, newest }]);
    }

    fn view(&mut self, path: &str) -> Event {
        self.clicks += 1;
        let received: Received = serde_json::from_value(json!({
            "project": "shop", "number": 1, "received": "2026-11-26T12:00:00.000Z", "clock": 0, "visitor": "v", "device": {}, "location": {},
            "batch": {"v": 1, "key": "pk_12345678", "batch": format!("tab.{}", self.clicks), "sent": "2026-11-26T12:00:00.000Z",
                "session": {"id": "s"}, "page": {"url": format!("https://shop.example{path}"), "path": path},
                "events": [{"id": format!("0193a1f0-0000-7000-8000-{:012}", self.clicks), "type": "page_view", "time": "2026-11-26T12:00:00.000Z"}]}
        }))
        .unwrap();
        let event = name_events(received, &mut self.registry).pop().unwrap().event;
        self.keep();
        event
    }
}

/// A button that says the same in each section.
fn learn_more(section: &str) -> Value {
    let mut descriptor = button("Learn more");
    descriptor["context"] = json!([{"kind": "section", "name": section}, {"kind": "main", "name": ""}]);
    descriptor
}

#[test]
fn a_control_is_itself_again_with_its_name_and_what_people_decided() {
    let mut site = Site::new();
    let (save, cancel) = (site.click(button("Save")), site.click(button("Cancel")));
    site.decide(Change::Rename { name: site.name(&save.name), text: "Keep it".to_owned() });
    site.decide(Change::CaptureElement { element: id(&cancel), captured: false });
    site.lose(StateKind::Element, id(&save).0, None);
    let again = site.click(button("Save"));
    assert_eq!((id(&again), again.name.as_str()), (id(&save), "Keep it"));
    assert!(site.rows.contains_key(&(StateKind::Element, id(&save).0)), "it is learned anew");
    site.lose(StateKind::Element, id(&cancel).0, None);
    let page = json!({"url": "https://shop.example/", "path": "/", "language": "en"});
    assert!(site.click_on(&page, button("Cancel")).is_none(), "it is not captured, as before");
}

#[test]
fn no_control_is_taken_for_another_while_one_is_lost_that_it_may_be() {
    let mut site = Site::new();
    let notify = |site: &mut Site, name: &str| -> ElementId {
        let page = json!({"url": format!("https://shop.example/{name}"), "path": format!("/{name}"), "title": "Shop", "language": "en"});
        let mut descriptor = button("Notify me");
        descriptor["context"] =
            json!([{"kind": "section", "name": format!("{name}wear")}, {"kind": "main", "name": ""}]);
        id(&site.click_on(&page, descriptor).unwrap())
    };
    let first = notify(&mut site, "Trail");
    notify(&mut site, "City");
    // Another one than these, which the next may be.
    site.registry.lose(&[LostRow { kind: StateKind::Element, key: 7, newest: None }]);
    let third = notify(&mut site, "Wool");
    assert_ne!(third, first, "a wrong merge is worse than a split");
    assert_eq!(notify(&mut site, "Wool"), third, "what has its keys is known");
    site.restart();
    assert_eq!(notify(&mut site, "Rain"), first, "once nothing is lost any more they are one");
}

#[test]
fn forms_that_people_made_elements_of_their_own_are_not_those_of_the_one_that_is_learned_anew() {
    let mut site = Site::new();
    let find = |label: &str| {
        let mut descriptor = button(label);
        descriptor["attributes"]["data-testid"] = json!("find");
        descriptor
    };
    let one = site.click(find("Search"));
    site.click(find("Look up"));
    site.decide(Change::Split { element: id(&one), form: 1 });
    let parted = site.click(find("Look up"));
    site.lose(StateKind::Element, id(&one).0, None);
    assert_ne!(id(&site.click(find("Search"))), id(&one));
    let other = site.click(find("Go and see"));
    assert_ne!(id(&other), id(&parted), "another form than the one that was parted has not its name");
    assert_ne!(other.name, parted.name);
}

#[test]
fn a_group_is_itself_again_and_takes_nothing_of_another() {
    let mut site = Site::new();
    let of = |signature: &[u32], label: &str| {
        let mut descriptor = card("tile", label, 1);
        descriptor["group"]["signature"] = json!(signature);
        descriptor
    };
    let group = |event: Event| event.group.unwrap().id;
    let tiles = group(site.click(of(&[1, 2, 3, 4], "Boots")));
    site.lose(StateKind::Group, tiles.0, None);
    let others = group(site.click(of(&[1, 2, 3, 4, 5], "Coats")));
    assert_ne!(others, tiles);
    assert_eq!(group(site.click(of(&[1, 2, 3, 4], "Boots"))), tiles);
    site.registry.lose(&[LostRow { kind: StateKind::Group, key: 7, newest: None }]);
    assert_ne!(group(site.click(of(&[1, 2, 3, 4, 6], "Hats"))), tiles);
    site.restart();
    assert_eq!(group(site.click(of(&[1, 2, 3, 4, 7], "Caps"))), tiles, "once nothing is lost any more");
}

#[test]
fn a_name_says_again_what_its_events_say_and_nobody_else_takes_it() {
    let mut site = Site::new();
    for _ in 0..12 {
        site.click(learn_more("Pricing"));
    }
    let before = site.click(learn_more("Pricing"));
    assert_eq!(before.name_state, NameState::Published);
    site.lose(StateKind::Name, site.name(&before.name).0, Some(before.clone()));
    let other = site.click(learn_more("Features"));
    assert_ne!(other.name, before.name, "it is the name of another control");
    let after = site.click(learn_more("Pricing"));
    assert_eq!((after.name, after.name_state), (before.name.clone(), NameState::Published));
    let owner = site.registry.catalogue().names.into_iter().find(|name| name.text == before.name).unwrap();
    assert_eq!(owner.element, before.element.map(|element| element.id));
    // Without an event nothing is known of it, and it is made anew.
    let name = site.name(&other.name);
    site.lose(StateKind::Name, name.0, None);
    assert_eq!(site.click(learn_more("Features")).name, other.name);
}

#[test]
fn pages_that_were_one_of_many_are_called_so_still() {
    let mut site = Site::new();
    let path = |n: u8| {
        format!(
            "/guides/how-to-lace-boots-part-{}",
            char::from(b'a' + n % 26).to_string().repeat(1 + usize::from(n / 26))
        )
    };
    for n in 0..40 {
        site.view(&path(n));
    }
    assert_eq!(site.view(&path(40)).name, "Guide detail page view");
    let (_, template) = *site.rows.keys().find(|(kind, _)| *kind == StateKind::Template).unwrap();
    site.lose(StateKind::Template, template, None);
    assert_eq!(site.view(&path(41)).name, "Guide detail page view");
    site.restart();
    assert_eq!(site.view(&path(42)).name, "Guide detail page view", "it is kept");
}
