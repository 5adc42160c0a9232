//! Names: the same history gives the same events, and a name is short and holds nothing of its items.

use std::collections::BTreeMap;

use convizit_model::{EventType, Received, StateKind, StateRow};
use convizit_pipeline::{Registry, name_events};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Longest name that is made from a page.
const NAME_CHARS: usize = 60;
/// Longest name of all: one that the site's own code gave.
const ANY_NAME_CHARS: usize = 255;

const WORDS: &[&str] = &[
    "Add",
    "cart",
    "Size",
    "chart",
    "Learn more",
    "Newsletter",
    "Trail shoe",
    "Recommended products for you",
    "iPhone 15 Pro",
    "Cart (3)",
    "€ 89.90",
    "Straßenschuhe",
    "見る",
    "Sign up",
    "",
    "2 for 1",
    "Delivery and returns information",
    "12 reviews",
];
/// Texts of items: none of them may be found in a name.
const ITEMS: &[&str] = &["Zephyr", "Quixotic lamp", "Xylophonist 9000", "Jörmungandr 7", "Vuvuzela (12)"];

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(WORDS), 1..4).prop_map(|words| words.join(" ")),
        "[A-Za-z ]{0,110}",
        "\\PC{0,12}",
    ]
    .prop_map(|text| text.chars().take(110).collect())
}

fn context() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(&["section", "nav", "header", "dialog", "form", "article", "footer", "aside"][..]);
    prop::collection::vec((kind, words()).prop_map(|(kind, name)| json!({"kind": kind, "name": name})), 0..4)
        .prop_map(Value::Array)
}

/// A control, alone or in a group whose items have texts of their own.
fn descriptor() -> impl Strategy<Value = Value> {
    let role = prop::sample::select(&["button", "link", "tab", "radio", "combobox", "form", "menuitem", ""][..]);
    let tag = prop::sample::select(&["button", "a", "select", "form", "div", "input:checkbox", "input:submit"][..]);
    let item = prop::option::of((prop::sample::select(ITEMS), 0..3_usize, words(), 1..9_u32, any::<bool>()));
    let attributes = prop_oneof![
        Just(json!({})),
        words().prop_map(|id| json!({"id": id})),
        Just(json!({"data-testid": "checkout-button", "class": "btn btn-primary"})),
        Just(json!({"name": "newsletter2_email", "icon": "arrow-24"})),
    ];
    (role, tag, words(), context(), item, attributes, prop::option::of(any::<u32>())).prop_map(
        |(role, tag, label, context, item, attributes, value)| {
            let mut descriptor = json!({"role": role, "label": label, "template": label, "labelSource": "content", "tag": tag,
                "context": context, "attributes": attributes, "path": format!("main>div>{tag}")});
            if let Some(value) = value {
                descriptor["name_value"] = json!(value);
            }
            if let Some((text, form, container, position, product)) = item {
                let key = if product { "Product name" } else { "Item name" };
                descriptor["properties"] = json!({key: text});
                let (path, member) = (["", "div>a", "button"][form], ["li", "Product", "card"][form]);
                descriptor["group"] = json!({"position": position, "length": 9, "signature": [form, 2, 3], "container": container,
                    "member": member, "path": path});
                if form < 2 {
                    // A card's link or a menu item: its label is the item's text.
                    descriptor["label"] = json!(text);
                    descriptor["template"] = json!(text);
                } else {
                    descriptor["label"] = json!(format!("Add {text} to cart"));
                    descriptor["template"] = descriptor["label"].clone();
                }
            }
            descriptor
        },
    )
}

fn received() -> impl Strategy<Value = Received> {
    let kind = prop::sample::select(EventType::ALL.to_vec());
    let events = prop::collection::vec((kind, prop::option::weighted(0.8, descriptor()), words()), 1..6);
    let kinds =
        prop::sample::select(&["", "Product", "article", "https://schema.org/CollectionPageOfThingsToWear"][..]);
    let path = prop_oneof![
        Just("/p/:id".to_owned()),
        Just("/".to_owned()),
        Just("/sale-2024/shoes24".to_owned()),
        "(/[a-z-]{1,50}){1,2}"
    ];
    (events, kinds, path, 0..5_u8, 0..4_i64, any::<bool>()).prop_map(|(events, kind, path, visitor, hours, session)| {
        let time = format!("2026-11-23T1{hours}:00:00.000Z");
        let events: Vec<Value> = events
            .into_iter()
            .map(|(kind, descriptor, name)| {
                let mut event = json!({"id": "0193a1f0-0000-7000-8000-000000000001", "type": kind, "time": time});
                if kind == EventType::Coded {
                    event["name"] = json!(name);
                } else if let Some(descriptor) = descriptor {
                    event["descriptor"] = descriptor;
                }
                event
            })
            .collect();
        let session = session.then(|| json!({"id": format!("s{hours}")}));
        let batch = json!({"v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": time, "session": session,
            "page": {"url": format!("https://shop.example{path}?utm_source=mail"), "path": path, "type": kind}, "events": events});
        serde_json::from_value(json!({"project": "shop", "number": 1, "received": time, "clock": 0, "visitor": format!("v{visitor}"),
            "device": {}, "location": {}, "batch": batch}))
        .unwrap()
    })
}

/// Events of a history as text; the registry is stored and loaded after these batches, as a restart or a full memory does.
fn run(history: &[Received], restarts: &[usize]) -> Vec<String> {
    let (mut registry, mut rows) = (Registry::default(), BTreeMap::<_, StateRow>::new());
    let mut events = Vec::new();
    for (index, received) in history.iter().enumerate() {
        let named = name_events(received.clone(), &mut registry);
        events.extend(
            named.into_iter().map(|named| format!("{} {}", named.name, serde_json::to_string(&named.event).unwrap())),
        );
        rows.extend(registry.take_changes().into_iter().map(|row| ((row.kind, row.key), row)));
        if restarts.contains(&index) {
            registry = Registry::default();
            registry.load(&rows.values().cloned().collect::<Vec<_>>()).unwrap();
        }
    }
    events
}

/// One event on one control, as the collector hands it on.
fn one(descriptor: &str) -> Received {
    let time = "2026-11-23T10:00:00.000Z";
    let text = format!(
        r#"{{"project": "shop", "number": 1, "received": "{time}", "clock": 0, "visitor": "v", "device": {{}}, "location": {{}},
            "batch": {{"v": 1, "key": "pk_12345678", "batch": "tab.1", "sent": "{time}",
                "page": {{"url": "https://shop.example/shoes", "path": "/shoes", "language": "en"}},
                "events": [{{"id": "0193a1f0-0000-7000-8000-000000000001", "type": "click", "time": "{time}",
                    "descriptor": {descriptor}}}]}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// Identity and name of a control.
fn named(registry: &mut Registry, descriptor: &str) -> (Value, String) {
    let event = name_events(one(descriptor), registry).remove(0).event;
    (json!(event.element)["id"].clone(), event.name)
}

/// Elements that are stored anew or again.
fn stored(registry: &mut Registry) -> Vec<StateRow> {
    registry.take_changes().into_iter().filter(|row| row.kind == StateKind::Element).collect()
}

/// A control with many attributes and classes, and the same one with both in another order. As text: a map in memory may sort.
fn in_two_orders() -> impl Strategy<Value = (String, String)> {
    let values = prop::collection::btree_map(
        prop::sample::select(&["id", "name", "href", "icon", "itemprop", "data-testid", "data-role", "data-kind"][..]),
        words(),
        0..8,
    );
    let classes = prop::collection::btree_set("[a-z]{2,8}(-[a-z]{2,5})?|css-[a-z0-9]{6}", 0..8);
    (descriptor(), values, classes).prop_flat_map(|(mut descriptor, values, classes)| {
        let attributes: Vec<(String, String)> =
            values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let classes: Vec<String> = classes.into_iter().collect();
        descriptor["attributes"] = json!("ATTRIBUTES");
        let text = descriptor.to_string();
        let written = move |mut attributes: Vec<(String, String)>, classes: Vec<String>, first: bool| {
            attributes.insert(if first { 0 } else { attributes.len() }, ("class".to_owned(), classes.join(" ")));
            let pairs: Vec<String> =
                attributes.iter().map(|(key, value)| format!("{}: {}", json!(key), json!(value))).collect();
            text.replace("\"ATTRIBUTES\"", &format!("{{{}}}", pairs.join(", ")))
        };
        let before = written(attributes.clone(), classes.clone(), true);
        (Just(attributes).prop_shuffle(), Just(classes).prop_shuffle(), any::<bool>())
            .prop_map(move |(attributes, classes, first)| (before.clone(), written(attributes, classes, first)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_same_history_gives_the_same_events(
        history in prop::collection::vec(received(), 1..12), restarts in prop::collection::vec(0..12_usize, 0..3),
    ) {
        let events = run(&history, &[]);
        prop_assert_eq!(&run(&history, &[]), &events);
        prop_assert_eq!(&run(&history, &restarts), &events, "restarted after {:?}", restarts);
    }

    #[test]
    fn a_name_is_short_and_holds_nothing_of_its_items(history in prop::collection::vec(received(), 1..8)) {
        let mut registry = Registry::default();
        for received in history {
            let wire = received.batch.events.clone();
            for (named, wire) in name_events(received, &mut registry).into_iter().zip(wire) {
                let name = named.event.name;
                prop_assert!(!name.trim().is_empty());
                prop_assert!(name.chars().count() <= ANY_NAME_CHARS, "{} characters: {name}", name.chars().count());
                if wire.kind == EventType::Coded {
                    continue;
                }
                prop_assert!(name.chars().count() <= NAME_CHARS, "{} characters: {name}", name.chars().count());
                prop_assert!(!name.chars().any(char::is_numeric), "a number: {name}");
                let low = name.to_lowercase();
                for item in ITEMS {
                    let word = item.split(' ').next().unwrap().to_lowercase();
                    prop_assert!(!low.contains(&word), "an item's text: {name}");
                }
            }
        }
    }

    #[test]
    fn a_number_in_any_script_or_shape_is_in_no_name(label in "[A-Za-z]{0,9}[ #:/_.-]?\\d{1,12}[ ,.)%-]{0,2}\\d{0,6}[A-Za-z ]{0,9}", descriptor in descriptor()) {
        let mut descriptor = descriptor;
        descriptor["label"] = json!(label);
        descriptor["template"] = json!(label);
        let (_, name) = named(&mut Registry::default(), &descriptor.to_string());
        let longest = name.split(|c: char| !c.is_numeric()).map(|run| run.chars().count()).max();
        prop_assert!(longest < Some(4), "a number: {name}");
        prop_assert!(name.chars().count() <= NAME_CHARS, "{} characters: {name}", name.chars().count());
    }

    #[test]
    fn the_order_of_attributes_and_classes_is_no_identity((before, after) in in_two_orders(), others in prop::collection::vec(descriptor(), 0..4)) {
        let mut registry = Registry::default();
        for other in others {
            named(&mut registry, &other.to_string());
        }
        let mut same = registry.clone();
        prop_assert_eq!(named(&mut registry, &before), named(&mut same, &after), "from nothing: {} and {}", before, after);
        prop_assert_eq!(named(&mut registry, &before), named(&mut registry, &after), "one after the other: {} and {}", before, after);
    }

    #[test]
    fn the_same_control_again_is_no_new_element(controls in prop::collection::vec(descriptor(), 1..12)) {
        let controls: Vec<String> = controls.iter().map(Value::to_string).collect();
        let mut registry = Registry::default();
        let first: Vec<_> = controls.iter().map(|control| named(&mut registry, control)).collect();
        let mut rows: BTreeMap<_, StateRow> =
            registry.clone().take_changes().into_iter().map(|row| ((row.kind, row.key), row)).collect();
        let known: Vec<u64> = stored(&mut registry).iter().map(|row| row.key).collect();
        let again: Vec<_> = controls.iter().map(|control| named(&mut registry, control)).collect();
        prop_assert_eq!(&again, &first);
        let changed = registry.take_changes();
        for row in &changed {
            prop_assert!(row.kind != StateKind::Element || known.contains(&row.key), "a new element: {:?}", row.key);
        }
        rows.extend(changed.into_iter().map(|row| ((row.kind, row.key), row)));
        let mut reloaded = Registry::default();
        reloaded.load(&rows.into_values().collect::<Vec<_>>()).unwrap();
        let loaded: Vec<_> = controls.iter().map(|control| named(&mut reloaded, control)).collect();
        prop_assert_eq!(&loaded, &first, "after the registry was loaded");
        let fresh = stored(&mut reloaded).into_iter().find(|row| !known.contains(&row.key));
        prop_assert!(fresh.is_none(), "a new element after the registry was loaded: {:?}", fresh);
    }
}

/// More controls than are compared with an unknown one: which of them are the newest must outlive a restart.
#[test]
fn a_restart_forgets_no_order() {
    let letters =
        |n: u32| -> String { format!("{n:04}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect() };
    let control = |n: u32, section: &str| {
        let label = format!("Label {}", letters(n));
        json!({"id": "0193a1f0-0000-7000-8000-000000000001", "type": "click", "time": "2026-11-23T10:00:00.000Z",
            "descriptor": {"role": "button", "label": label, "template": label, "labelSource": "content", "tag": "button",
                "context": [{"kind": "section", "name": section}], "path": format!("main>div>{}>button", letters(n))}})
    };
    let batch = |round: u32, section: &str| -> Received {
        let events: Vec<Value> = (round * 100..round * 100 + 100).map(|n| control(n, section)).collect();
        serde_json::from_value(json!({"project": "shop", "number": 1, "received": "2026-11-23T10:00:01.000Z", "clock": 0, "visitor": "v",
            "device": {}, "location": {}, "batch": {"v": 1, "key": "pk_12345678", "batch": "tab.1",
            "sent": "2026-11-23T10:00:00.000Z", "page": {"url": "https://shop.example/", "path": "/"}, "events": events}}))
        .unwrap()
    };
    // The newest controls again, in a section that has got a name meanwhile.
    let history: Vec<Received> = (0..8).map(|round| batch(round, "")).chain([batch(7, "Moved")]).collect();
    let events = run(&history, &[]);
    let of = |events: &[String]| -> Vec<Value> {
        let json = |event: &String| serde_json::from_str::<Value>(event.split_once(' ').unwrap().1).unwrap();
        events.iter().map(|event| json(event)["element"]["id"].clone()).collect()
    };
    assert_eq!(of(&events)[799], of(&events)[899], "one of the newest is found again");
    assert!(of(&run(&history, &[7])) == of(&events), "other identities after a restart");
    assert!(run(&history, &[7]) == events, "other names after a restart");
}
