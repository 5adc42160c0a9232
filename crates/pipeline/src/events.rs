//! In the worker: a received batch becomes named events, in order, learning as it goes.

use convizit_model::limits::{NAME_CHARS, PROPERTIES};
use convizit_model::{
    Descriptor, Event, EventType, PageBlock, Properties, Received, Shown, ShownField, WireEvent, event,
};
use serde_json::Value;

use crate::naming::{self, Pages, Resolved, name_of, resolve};
use crate::registry::Registry;
use crate::session;

/// A named event and its name's id.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The event.
    pub event: Event,
    /// The name's id in the registry, for counts and samples.
    pub name: u64,
}

/// Names the events of a received batch, in order, learning as it goes. Those of controls that people want no events of are
/// left out and counted (`Registry::take_excluded`).
pub fn name_events(mut received: Received, registry: &mut Registry) -> Vec<Named> {
    let events = std::mem::take(&mut received.batch.events);
    let day = received.received.day();
    // A repeat was counted when it came first.
    received.crowd.shown.retain(|shown| events.iter().any(|event| event.id == shown.event));
    registry.see(&received.crowd, &received.visitor, day);
    let page = page_of(&received.batch.page);
    let block = registry.page(&received.batch.page, Some(day));
    let pages = Pages { own: &received.batch.page, template: &block };
    let mut named = Vec::with_capacity(events.len());
    for mut event in events {
        let id = event.id;
        let of_label = |shown: &&Shown| shown.event == id && shown.field == ShownField::Label;
        if let Some(descriptor) = &mut event.descriptor {
            descriptor.fate = received.crowd.shown.iter().find(of_label).map(|shown| shown.fate);
        }
        named.extend(name_event(event, &received, &page, pages, registry));
    }
    named
}

fn name_event(
    mut wire: WireEvent,
    received: &Received,
    page: &event::Page,
    pages: Pages<'_>,
    registry: &mut Registry,
) -> Option<Named> {
    let block = pages.template;
    // An event cannot be later than its arrival; far in the past is a queue that waited for a network.
    let time = wire.time.plus_millis(received.clock).min(received.received);
    let (session, campaign) = session::of_event(received, time, registry);
    if let Some(descriptor) = &mut wire.descriptor {
        naming::complete(descriptor);
    }
    let resolved =
        wire.descriptor.as_ref().map(|descriptor| resolve(registry, descriptor, pages, Some(received.received)));
    if let Some(resolved) = &resolved
        && registry.is_dropped(resolved.element.0, resolved.group.as_ref().map(|group| group.id.0))
    {
        registry.exclude();
        return None;
    }
    let mut properties = merge_properties(wire.descriptor.as_ref(), block, &wire.properties);
    if let (Some(descriptor), Some(resolved)) = (&wire.descriptor, &resolved) {
        item_properties(&mut properties, descriptor, resolved);
    }
    let control = wire.descriptor.as_ref().zip(resolved.as_ref());
    let coded = match wire.kind {
        // A name that was withheld leaves the coded event without one.
        EventType::Coded => Some(wire.name.as_deref().filter(|name| !name.trim().is_empty()).unwrap_or("Coded event")),
        _ => None,
    };
    let name = name_of(registry, wire.kind, block, control, &properties, coded, received.received);
    let id = name.id;
    let (mut text, name_state) = registry
        .count_name(id, &received.visitor, received.received)
        .unwrap_or((name.text, convizit_model::NameState::Provisional));
    if text.chars().count() > NAME_CHARS {
        text = text.chars().take(NAME_CHARS).collect();
    }
    let element = control.map(|(descriptor, resolved)| event::Element {
        id: resolved.element,
        role: descriptor.role.clone(),
        label: descriptor.label.clone(),
        section: descriptor.context.iter().map(|entry| &entry.name).find(|name| !name.is_empty()).cloned(),
    });
    let event = Event {
        id: wire.id,
        project: received.project.clone(),
        source: "convizit".to_owned(),
        schema: 1,
        name: text,
        name_state,
        kind: wire.kind,
        time,
        client_time: (received.clock != 0).then_some(wire.time),
        received: received.received,
        visitor: received.visitor.clone(),
        session,
        user: received.batch.user.clone(),
        consent: received.batch.consent,
        page: page.clone(),
        element,
        group: resolved.and_then(|resolved| resolved.group),
        properties,
        campaign,
        device: received.device.clone(),
        location: received.location.clone(),
        withheld: wire.withheld,
    };
    Some(Named { event, name: id })
}

/// Adds what a control's own text is where it is no part of a name: an item's, one that varies, one of two that are tried.
pub(crate) fn item_properties(properties: &mut Properties, descriptor: &Descriptor, resolved: &Resolved) {
    let has_title = || ["Product name", "Item name"].iter().any(|key| descriptor.properties.contains_key(*key));
    if resolved.is_item && !has_title() {
        let key = if naming::is_choice(descriptor) { "Option" } else { "Item name" };
        let text = if key == "Option" { Some(descriptor.label.clone()) } else { item_name(&descriptor.label, "") };
        if let Some(text) = text {
            properties.insert(key.to_owned(), Value::String(text));
        }
    }
    if resolved.varies && !descriptor.label.is_empty() {
        properties.entry("Text").or_insert_with(|| Value::String(descriptor.label.clone()));
    }
    if resolved.is_variant {
        properties.entry("Variant text").or_insert_with(|| Value::String(descriptor.template.clone()));
    }
}

fn page_of(block: &PageBlock) -> event::Page {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    event::Page {
        url: block.url.clone(),
        path: block.path.clone(),
        title: some(&block.title),
        kind: some(&block.kind),
        language: some(&block.language),
        referrer: some(&block.referrer),
    }
}

/// The control's own properties, then the page's product where the control does not stand on another product, then what the
/// event carries itself; the later wins, the order is that in which a person reads them.
pub(crate) fn merge_properties(descriptor: Option<&Descriptor>, page: &PageBlock, own: &Properties) -> Properties {
    let mut properties = descriptor.map(|descriptor| descriptor.properties.clone()).unwrap_or_default();
    if let Some(text) = properties.get("Item name").and_then(Value::as_str) {
        match item_name(text, descriptor.map_or("", |descriptor| &descriptor.label)) {
            Some(text) => properties.insert("Item name".to_owned(), Value::String(text)),
            None => properties.remove("Item name"),
        };
    }
    let other_product =
        properties.get("Product name").is_some_and(|name| page.product.get("Product name") != Some(name))
            || properties.contains_key("Item name");
    if !other_product {
        for (key, value) in &page.product {
            if !properties.contains_key(key) {
                properties.insert(key.clone(), value.clone());
            }
        }
    }
    if let Some(value) = descriptor.and_then(|descriptor| descriptor.name_value.as_ref())
        && matches!(value, Value::Number(_) | Value::String(_))
        && !properties.contains_key("Value")
    {
        properties.insert("Value".to_owned(), value.clone());
    }
    crate::price::settle(&mut properties);
    for (key, value) in own {
        properties.insert(key.clone(), value.clone());
    }
    while properties.len() > PROPERTIES {
        let Some(last) = properties.keys().next_back().cloned() else { break };
        properties.remove(&last);
    }
    properties
}

/// What the item is called: without the control's own words, without a count behind it, and nothing where no word is left
/// ("Harbour Street Choose this store" → "Harbour Street", "Cart (3)" → "Cart", "☆" → nothing).
fn item_name(text: &str, label: &str) -> Option<String> {
    let mut text = text.trim();
    if !label.is_empty() && text.len() > label.len() {
        let before = text.strip_suffix(label).filter(|rest| !rest.ends_with(char::is_alphanumeric));
        let after = || text.strip_prefix(label).filter(|rest| !rest.starts_with(char::is_alphanumeric));
        text = before.or_else(after).unwrap_or(text).trim();
    }
    if let Some((before, count)) = text.strip_suffix([')', ']']).and_then(|rest| rest.rsplit_once(['(', '[']))
        && !before.trim().is_empty()
        // Four digits are a year.
        && (1..=3).contains(&count.len())
        && count.bytes().all(|byte| byte.is_ascii_digit())
    {
        text = before.trim();
    }
    text.chars().any(char::is_alphanumeric).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use convizit_model::{NameState, StateRow};
    use serde_json::json;

    #[test]
    fn an_item_is_called_by_its_own_words() {
        for (text, label, name) in [
            ("Harbour Street Choose this store", "Choose this store", Some("Harbour Street")),
            ("Cart (3)", "Cart (3)", Some("Cart")),
            ("Size 42", "Size 42", Some("Size 42")),
            ("(3)", "", Some("(3)")),
            ("Dune (1984)", "", Some("Dune (1984)")),
            ("Editorial team", "Edit", Some("Editorial team")),
            ("iPhone 15", "5", Some("iPhone 15")),
            ("☆", "Rate 4 stars", None),
            ("Trail shoe (wide)", "Add", Some("Trail shoe (wide)")),
        ] {
            assert_eq!(item_name(text, label).as_deref(), name, "{text}");
        }
    }

    fn received(sequence: u32, visitor: &str, events: Value) -> Received {
        serde_json::from_value(json!({
            "project": "shop", "number": 1, "received": "2026-11-23T18:00:01.000Z", "clock": 0, "visitor": visitor, "device": {}, "location": {},
            "batch": {"v": 1, "key": "pk_12345678", "batch": format!("tab.{sequence}"), "sent": "2026-11-23T18:00:00.000Z",
                "session": {"id": "s1", "start": "2026-11-23T17:50:00.000Z"},
                "page": {"url": "https://shop.example/p/:id?utm_source=mail", "path": "/p/:id", "type": "Product",
                         "product": {"Product name": "Trail shoe", "Product price": 89.9}},
                "events": events}
        }))
        .unwrap()
    }

    fn click(n: u32, descriptor: &Value) -> Value {
        json!({"id": format!("0193a1f0-0000-7000-8000-{n:012}"), "type": "click", "time": "2026-11-23T18:00:00.000Z", "descriptor": descriptor})
    }

    fn card_button(product: &str, position: u32) -> Value {
        json!({"role": "button", "label": "Add to cart", "labelSource": "content", "template": "Add to cart", "tag": "button",
            "context": [{"kind": "article", "name": product}, {"kind": "section", "name": "All shoes"}],
            "group": {"position": position, "length": 12, "signature": [1, 2, 3], "container": "All shoes", "member": "Product", "path": "div>button"},
            "properties": {"Product name": product, "Product price": 10.5}, "path": "main>ul>li>div>button"})
    }

    fn names(named: &[Named]) -> Vec<&str> {
        named.iter().map(|named| named.event.name.as_str()).collect()
    }

    #[test]
    fn a_button_in_every_card_is_one_control_with_the_cards_properties() {
        let mut registry = Registry::default();
        let events = json!([click(1, &card_button("Trail shoe", 3)), click(2, &card_button("City boot", 4))]);
        let named = name_events(received(1, "v", events), &mut registry);
        assert_eq!(names(&named), ["Add to cart", "Add to cart"]);
        let [a, b] = [&named[0].event, &named[1].event];
        assert_eq!(a.element.as_ref().unwrap().id, b.element.as_ref().unwrap().id);
        assert_eq!(a.group.as_ref().unwrap().name, "Product card");
        assert_eq!((a.group.as_ref().unwrap().position, b.group.as_ref().unwrap().position), (3, 4));
        assert_eq!(b.properties["Product name"], "City boot");
        assert_eq!(b.properties["Product price"], 10.5, "the page's own product stays out of another product's card");
        assert_eq!(a.session.start.to_string(), "2026-11-23T17:50:00.000Z");
        assert_eq!(a.campaign["source"], "mail");
    }

    #[test]
    fn names_follow_the_grammar_and_are_unique() {
        let link = |label: &str, section: &str, kind: &str| {
            json!({"role": "link", "label": label, "labelSource": "content", "template": label, "tag": "a",
                "context": [{"kind": kind, "name": section}], "path": format!("main>{kind}>a")})
        };
        let menu = |label: &str, position: u32| {
            json!({"role": "link", "label": label, "template": label, "tag": "a", "path": "nav>ul>li>a", "properties": {"Item name": label},
                "context": [{"kind": "nav", "name": ""}],
                "group": {"position": position, "length": 5, "signature": [7], "container": "", "member": "li", "path": "a"}})
        };
        let events = json!([
            click(1, &link("Learn more", "Pricing", "section")),
            click(2, &link("Learn more", "Features", "section")),
            click(3, &link("Size chart", "", "section")),
            click(4, &menu("Shoes", 1)),
            click(5, &menu("Coats", 2)),
            click(6, &json!({"role": "button", "label": "Cart (3)", "template": "Cart", "name_value": 3, "tag": "button"})),
            {"id": "0193a1f0-0000-7000-8000-000000000010", "type": "page_view", "time": "2026-11-23T18:00:00.000Z"},
            {"id": "0193a1f0-0000-7000-8000-000000000011", "type": "coded", "name": "Trial started", "time": "2026-11-23T18:00:00.000Z"},
            {"id": "0193a1f0-0000-7000-8000-000000000012", "type": "submit", "time": "2026-11-23T18:00:00.000Z",
             "descriptor": {"role": "form", "label": "Newsletter", "template": "Newsletter", "tag": "form"}},
            {"id": "0193a1f0-0000-7000-8000-000000000013", "type": "change", "time": "2026-11-23T18:00:00.000Z",
             "descriptor": {"role": "combobox", "label": "Country", "template": "Country", "tag": "select"}, "properties": {"Option": "Italy"}}
        ]);
        let named = name_events(received(1, "v", events), &mut Registry::default());
        assert_eq!(
            names(&named),
            [
                "Learn more",
                "Learn more in Features",
                "Size chart click",
                "Menu item click",
                "Menu item click",
                "Cart click",
                "Product page view",
                "Trial started",
                "Newsletter form submit",
                "Country change"
            ]
        );
        assert_eq!(named[5].event.properties["Value"], 3);
    }

    #[test]
    fn a_name_is_published_after_ten_events_of_three_visitors() {
        let mut registry = Registry::default();
        let mut states = Vec::new();
        for n in 0..11 {
            let visitor = format!("v{}", n % 3);
            let named =
                name_events(received(n, &visitor, json!([click(n, &card_button("Trail shoe", 1))])), &mut registry);
            states.push(named[0].event.name_state);
        }
        assert!(states[..9].iter().all(|state| *state == convizit_model::NameState::Provisional));
        assert!(states[9..].iter().all(|state| *state == NameState::Published));
    }

    #[test]
    fn the_same_history_gives_the_same_bytes_also_across_a_restart() {
        let batches: Vec<Received> = (0..40)
            .map(|n| {
                let label = format!("Control {}", char::from(b'a' + u8::try_from(n % 7).unwrap()));
                let plain = json!({"role": "button", "label": label, "template": label, "tag": "button", "path": "main>div>button"});
                received(n, &format!("v{}", n % 5), json!([click(2 * n, &plain), click(2 * n + 1, &card_button("Shoe", 1 + n % 12))]))
            })
            .collect();
        let run = |restart_after: usize| {
            let (mut registry, mut rows) = (Registry::default(), Vec::<StateRow>::new());
            let mut out = Vec::new();
            for (index, batch) in batches.iter().enumerate() {
                if index == restart_after {
                    registry = Registry::default();
                    registry.load(&rows).unwrap();
                }
                out.extend(name_events(batch.clone(), &mut registry).into_iter().map(|named| named.event));
                for change in registry.take_changes() {
                    rows.retain(|row| (row.kind, row.key) != (change.kind, change.key));
                    rows.push(change);
                }
            }
            serde_json::to_string(&out).unwrap()
        };
        let whole = run(usize::MAX);
        for at in [1, 7, 20, 39] {
            assert_eq!(run(at), whole, "restarted after {at}");
        }
    }

    #[test]
    fn without_a_session_the_server_makes_one_of_thirty_minutes() {
        let mut registry = Registry::default();
        let mut session_at = |minutes: i64| {
            let mut batch = received(1, "derived", json!([click(1, &card_button("Shoe", 1))]));
            batch.batch.session = None;
            batch.received = batch.received.plus_millis(minutes * 60_000);
            batch.batch.events[0].time = batch.received;
            name_events(batch, &mut registry).remove(0).event.session
        };
        let first = session_at(0);
        assert_eq!(session_at(29), first);
        assert_eq!(session_at(58), first);
        assert_ne!(session_at(89), first);
    }
}
