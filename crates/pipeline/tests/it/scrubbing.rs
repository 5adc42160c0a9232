//! Whatever stands wherever in a batch: a private text is withheld whole, and scrubbing twice changes nothing.

use convizit_pipeline::scrub_text;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::batches::{full, taken};

/// A private text, and a piece of it that must not survive.
#[derive(Debug, Clone)]
struct Private {
    text: String,
    piece: String,
}

fn private(text: String, piece: impl Into<String>) -> Private {
    Private { text, piece: piece.into() }
}

fn email() -> impl Strategy<Value = Private> {
    (
        "[a-z]{3,9}",
        prop_oneof![Just("."), Just("_"), Just("-"), Just("+"), Just("")],
        "[a-z]{3,9}",
        "[a-z]{4,10}",
        "(com|example|co\\.uk|museum|de)",
    )
        .prop_map(|(first, dot, last, host, tld)| {
            private(format!("{first}{dot}{last}@{host}.{tld}"), format!("{last}@{host}"))
        })
}

fn phone() -> impl Strategy<Value = Private> {
    ("[1-9][0-9]{1,2}", "[1-9][0-9]{2}", "[0-9]{4}", "[0-9]{4}", 0..6_u8).prop_map(|(country, area, a, b, form)| {
        let text = match form {
            0 => format!("+{country} {area} {a} {b}"),
            1 => format!("+{country}{area}{a}{b}"),
            2 => format!("({area}) {a}-{b}"),
            3 => format!("0{area}/{a}{b}"),
            4 => format!("00{country}.{area}.{a}.{b}"),
            _ => format!("0{area} {a} {b}"),
        };
        private(text, b)
    })
}

/// A card number that passes the check digit of Luhn.
fn card() -> impl Strategy<Value = Private> {
    ("(4|5[1-5])[0-9]{13}", prop_oneof![Just(" "), Just("-"), Just("")]).prop_map(|(digits, separator)| {
        let digits: Vec<u32> = digits.chars().take(15).filter_map(|c| c.to_digit(10)).collect();
        let sum: u32 =
            digits.iter().rev().enumerate().map(|(at, d)| if at % 2 == 0 { d * 2 / 10 + d * 2 % 10 } else { *d }).sum();
        let all: String = digits.iter().chain([&((10 - sum % 10) % 10)]).map(u32::to_string).collect();
        let groups: Vec<String> =
            all.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
        private(groups.join(separator), groups[2].clone())
    })
}

fn iban() -> impl Strategy<Value = Private> {
    (
        prop_oneof![Just("DE"), Just("FR"), Just("GB"), Just("NL")],
        "[0-9]{2}",
        "([A-Z]{4}|[0-9]{4})",
        "[0-9]{4}",
        "[0-9]{4}",
        "[0-9]{4}",
        any::<bool>(),
    )
        .prop_map(|(country, check, bank, a, b, c, spaced)| {
            let text = format!("{country}{check} {bank} {a} {b} {c} 01");
            private(if spaced { text } else { text.replace(' ', "") }, b)
        })
}

fn any_private() -> impl Strategy<Value = Private> {
    let head = prop_oneof![Just(""), Just("Reach me at "), Just("see "), Just("Ref: "), Just("«")];
    let tail = prop_oneof![Just(""), Just(" please"), Just(", thanks"), Just("!"), Just("»")];
    (head, prop_oneof![email(), phone(), card(), iban()], tail)
        .prop_map(|(head, found, tail)| Private { text: format!("{head}{}{tail}", found.text), ..found })
}

/// Every place that holds text. `{}` of an address stands for the text in it.
const PLACES: &[(&str, &str)] = &[
    ("/page/url", "https://shop.example/{}/shoes"),
    ("/page/url", "https://shop.example/shoes?q={}"),
    ("/page/url", "https://shop.example/shoes?utm_source={}&sort={}"),
    ("/page/url", "https://{}@shop.example/shoes"),
    ("/page/url", "https://shop.example/shoes#{}"),
    ("/page/url", "{}"),
    ("/page/referrer", "https://search.example/{}?q={}"),
    ("/page/canonical", "https://shop.example/{}"),
    ("/page/title", "{}"),
    ("/page/type", "{}"),
    ("/page/language", "{}"),
    ("/page/breadcrumb/1", "{}"),
    ("/page/product/Product name", "{}"),
    ("/page/product/Brand", "{}"),
    ("/page/viewport/width", "{}"),
    ("/events/0/name", "{}"),
    ("/events/0/properties/Note", "{}"),
    ("/events/0/properties/Quantity", "{}"),
    ("/events/0/withheld/0/field", "{}"),
    ("/events/0/withheld/0/rule", "{}"),
    ("/events/0/withheld/0/by", "{}"),
    ("/events/0/descriptor/role", "{}"),
    ("/events/0/descriptor/label", "{}"),
    ("/events/0/descriptor/labelSource", "{}"),
    ("/events/0/descriptor/template", "{}"),
    ("/events/0/descriptor/name_value", "{}"),
    ("/events/0/descriptor/tag", "{}"),
    ("/events/0/descriptor/path", "{}"),
    ("/events/0/descriptor/context/0/kind", "{}"),
    ("/events/0/descriptor/context/0/name", "{}"),
    ("/events/0/descriptor/group/container", "{}"),
    ("/events/0/descriptor/group/member", "{}"),
    ("/events/0/descriptor/group/path", "{}"),
    ("/events/0/descriptor/outer/container", "{}"),
    ("/events/0/descriptor/outer/member", "{}"),
    ("/events/0/descriptor/properties/Product name", "{}"),
    ("/events/0/descriptor/properties/Selected color", "{}"),
    ("/events/0/descriptor/attributes/id", "{}"),
    ("/events/0/descriptor/attributes/class", "{}"),
    ("/events/0/descriptor/attributes/href", "/cart/{}?next={}"),
    ("/events/0/descriptor/attributes/data-testid", "{}"),
];

/// Maps, the keys of which are text as well.
const MAPS: &[&str] = &[
    "/page/product",
    "/page/viewport",
    "/events/0/properties",
    "/events/0/descriptor/properties",
    "/events/0/descriptor/attributes",
];

fn put(batch: &mut Value, place: (&str, &str), text: &str) {
    *batch.pointer_mut(place.0).unwrap() = Value::String(place.1.replace("{}", text));
}

/// What is left after the collector; nothing private may stand in it.
fn left(batch: &Value) -> Option<String> {
    taken(batch).map(|mut received| {
        // Hashes, whose digits may be anything.
        received.crowd.shown.clear();
        serde_json::to_string(&received).unwrap()
    })
}

fn without_receipts(batch: &convizit_model::Batch) -> Value {
    let mut batch = serde_json::to_value(batch).unwrap();
    for event in batch["events"].as_array_mut().unwrap() {
        event.as_object_mut().unwrap().remove("withheld");
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_private_text_is_withheld_wherever_it_stands(
        found in any_private(), places in prop::collection::vec(prop::sample::select(PLACES), 1..4),
        key in prop::option::of(prop::sample::select(MAPS)),
    ) {
        let mut batch = full();
        prop_assume!(!left(&batch).unwrap().contains(&found.piece), "the piece is no part of the rest");
        for place in &places {
            // Receipts and the short words of a descriptor have bounds of their own.
            let short = ["/rule", "/by", "/role", "/labelSource", "/kind", "/tag", "/language"].iter().any(|end| place.0.ends_with(end));
            let most = if place.0.ends_with("/by") { 10 } else { 40 };
            prop_assume!(!short || found.text.chars().count() <= most);
            put(&mut batch, *place, &found.text);
        }
        if let Some(map) = key {
            batch.pointer_mut(map).unwrap()[&found.text] = json!(1);
        }
        if let Some(left) = left(&batch) {
            prop_assert!(!left.contains(&found.piece), "{} of {} is left: {}", found.piece, found.text, left);
        }
    }

    #[test]
    fn a_long_number_is_withheld_as_a_text_is(number in 10_000_000_000_u64..u64::MAX / 2, fraction: bool) {
        for place in ["/events/0/properties/Quantity", "/events/0/descriptor/name_value", "/page/viewport/width", "/page/product/Brand", "/events/0/descriptor/attributes/id"] {
            let mut batch = full();
            // The same number as a script without whole numbers would write it.
            let text = if fraction && number < 1 << 53 { format!("{number}.0") } else { number.to_string() };
            *batch.pointer_mut(place).unwrap() = serde_json::from_str(&text).unwrap();
            let left = left(&batch).unwrap();
            prop_assert!(!left.contains(&number.to_string()), "{place}: {left}");
        }
    }

    #[test]
    fn scrubbing_twice_changes_nothing(
        found in any_private(), place in prop::sample::select(PLACES), other in "\\PC{0,30}", at in prop::sample::select(PLACES),
    ) {
        let mut batch = full();
        let fits = |text: &str| text.chars().count() <= 10;
        put(&mut batch, at, if fits(&other) { &other } else { "" });
        prop_assume!(fits(&found.text) || !["/rule", "/by", "/role", "/labelSource", "/kind", "/tag", "/language"].iter().any(|end| place.0.ends_with(end)));
        put(&mut batch, place, &found.text);
        let once = taken(&batch).map(|received| received.batch);
        let Some(once) = once else { return Ok(()) };
        let mut again = serde_json::to_value(&once).unwrap();
        again["visitor"] = json!("visitor");
        let twice = taken(&again).unwrap().batch;
        prop_assert_eq!(without_receipts(&once), without_receipts(&twice));
        prop_assert!(twice.events[0].withheld.len() >= once.events[0].withheld.len());
    }

    #[test]
    fn what_passes_in_the_command_line_face_passes_in_a_batch(text in "[A-Za-z ]{1,30}") {
        prop_assume!(scrub_text(&text).is_empty());
        let mut batch = full();
        put(&mut batch, ("/events/0/properties/Note", "{}"), &text);
        let received = taken(&batch).unwrap();
        prop_assert_eq!(&received.batch.events[0].properties["Note"], &json!(text));
    }
}

#[test]
fn the_batch_that_is_changed_passes_as_it_is() {
    let received = taken(&full()).unwrap();
    let mut expected = full();
    expected.as_object_mut().unwrap().remove("visitor");
    expected["page"]["path"] = json!("/shoes/trail");
    let mut page = serde_json::to_value(&received.batch.page).unwrap();
    let same = |value: &mut Value| serde_json::from_value::<convizit_model::PageBlock>(value.take()).unwrap();
    assert_eq!(same(&mut page), same(&mut expected["page"]));
    assert_eq!(serde_json::to_value(&received.batch.events[0].descriptor).unwrap()["label"], "Add to cart");
    assert_eq!(received.batch.events[0].withheld.len(), 1, "the browser's own receipt");
}
