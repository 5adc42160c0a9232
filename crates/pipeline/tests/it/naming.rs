//! Names: the same history gives the same events, and a name is short and holds nothing of its items.

use std::collections::BTreeMap;

use convizit_model::{EventType, Received, StateRow};
use convizit_pipeline::{Registry, name_events};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Longest name that is made from a page.
const NAME_CHARS: usize = 60;

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
