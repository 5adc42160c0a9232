//! Whatever bytes arrive, decoding ends without a panic, and nothing beyond the limits comes out of it.

use std::io::Write as _;

use convizit_model::limits::{
    BATCH_BYTES, BATCH_EVENTS, CONTEXT_ENTRIES, KEY_CHARS, LABEL_CHARS, NAME_CHARS, PROPERTIES, URL_CHARS, VALUE_CHARS,
};
use convizit_pipeline::decode;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::batches::full;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Text and maps somewhere around a limit.
fn around(limit: usize) -> impl Strategy<Value = usize> {
    prop_oneof![0..4_usize, limit - 1..limit + 2, limit * 2..limit * 3]
}

fn text(limit: usize) -> impl Strategy<Value = Value> {
    (around(limit), prop_oneof![Just("a"), Just("ä"), Just("語"), Just("\u{1f600}")])
        .prop_map(|(chars, letter)| Value::String(letter.repeat(chars)))
}

fn map(limit: usize) -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        text(VALUE_CHARS),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([1])),
        Just(json!({"a": "b"})),
    ];
    (around(limit), around(KEY_CHARS), value).prop_map(|(entries, key, value)| {
        let key = |n: usize| format!("{n:0key$}");
        (0..entries.min(200)).map(|n| (key(n), if n == 0 { value.clone() } else { json!(n) })).collect()
    })
}

/// A place in the batch and what is put there.
fn change() -> impl Strategy<Value = (&'static str, Value)> {
    let texts = [
        ("/page/url", URL_CHARS),
        ("/page/title", VALUE_CHARS),
        ("/page/type", VALUE_CHARS),
        ("/page/breadcrumb/0", LABEL_CHARS),
        ("/user", 128),
        ("/visitor", 128),
        ("/session/id", 128),
        ("/batch", 64),
        ("/events/0/name", NAME_CHARS),
        ("/events/0/withheld/0/field", LABEL_CHARS),
        ("/events/0/withheld/0/rule", 40),
        ("/events/0/descriptor/label", LABEL_CHARS),
        ("/events/0/descriptor/template", LABEL_CHARS),
        ("/events/0/descriptor/role", 40),
        ("/events/0/descriptor/path", 1024),
        ("/events/0/descriptor/name_value", VALUE_CHARS),
        ("/events/0/descriptor/context/0/name", LABEL_CHARS),
        ("/events/0/descriptor/group/container", LABEL_CHARS),
        ("/events/0/descriptor/outer/path", 1024),
    ];
    let maps = [
        ("/page/product", PROPERTIES),
        ("/page/viewport", PROPERTIES),
        ("/events/0/properties", PROPERTIES),
        ("/events/0/descriptor/properties", PROPERTIES),
        ("/events/0/descriptor/attributes", PROPERTIES),
        ("/events/0/descriptor/name_value", 3),
    ];
    let lists = [
        ("/events", BATCH_EVENTS),
        ("/page/breadcrumb", 12),
        ("/events/0/descriptor/context", CONTEXT_ENTRIES),
        ("/events/0/withheld", PROPERTIES),
        ("/events/0/descriptor/group/signature", 64),
    ];
    prop_oneof![
        prop::sample::select(texts.to_vec()).prop_flat_map(|(place, limit)| (Just(place), text(limit))),
        prop::sample::select(maps.to_vec()).prop_flat_map(|(place, limit)| (Just(place), map(limit))),
        prop::sample::select(lists.to_vec()).prop_flat_map(|(place, limit)| {
            let entry = full().pointer(place).unwrap()[0].clone();
            (Just(place), around(limit).prop_map(move |entries| vec![entry.clone(); entries].into()))
        }),
    ]
}

/// The longest text, key, list and map below a value, and how deep maps nest below one that may hold plain values only.
fn check(value: &Value, chars: usize) -> Result<(), String> {
    match value {
        Value::String(text) if text.chars().count() > chars => Err(format!("a text of {}", text.chars().count())),
        Value::Array(list) if list.len() > BATCH_EVENTS => Err(format!("a list of {}", list.len())),
        Value::Array(list) => list.iter().try_for_each(|value| check(value, chars)),
        Value::Object(map) if map.len() > PROPERTIES => Err(format!("a map of {}", map.len())),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            let chars = match key.as_str() {
                "url" | "referrer" | "canonical" | "path" => URL_CHARS,
                "label" | "template" | "container" | "member" | "field" => LABEL_CHARS,
                _ => VALUE_CHARS,
            };
            let plain = matches!(key.as_str(), "properties" | "attributes" | "product" | "viewport");
            let nested =
                plain && value.as_object().is_some_and(|map| map.values().any(|v| v.is_array() || v.is_object()));
            if key.chars().count() > KEY_CHARS
                || nested
                || (key == "name_value" && (value.is_array() || value.is_object()))
            {
                return Err(format!("a key of {} or a nested value", key.chars().count()));
            }
            check(value, chars)
        }),
        _ => Ok(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_end_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), packed: bool, head: bool) {
        let bytes = if head { [&[0x1f, 0x8b, 8, 0], bytes.as_slice()].concat() } else { bytes };
        let _ = decode(&if packed { gzip(&bytes) } else { bytes });
    }

    #[test]
    fn a_damaged_batch_ends_without_a_panic(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8), packed: bool,
    ) {
        let mut bytes = full().to_string().into_bytes();
        if packed {
            bytes = gzip(&bytes);
        }
        for (at, byte, how) in damages {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(batch) = decode(&bytes) {
            prop_assert_eq!(check(&serde_json::to_value(&batch).unwrap(), URL_CHARS), Ok(()));
        }
    }

    #[test]
    fn what_is_accepted_keeps_every_limit(changes in prop::collection::vec(change(), 1..3), packed: bool) {
        let mut batch = full();
        for (place, value) in changes {
            if let Some(field) = batch.pointer_mut(place) {
                *field = value;
            }
        }
        let json = batch.to_string();
        match decode(&if packed { gzip(json.as_bytes()) } else { json.clone().into_bytes() }) {
            Ok(accepted) => {
                prop_assert!(json.len() <= BATCH_BYTES);
                prop_assert_eq!(check(&serde_json::to_value(&accepted).unwrap(), URL_CHARS), Ok(()));
            }
            Err(error) => prop_assert!(error.to_string().chars().count() < 200, "{}", error),
        }
    }
}

#[test]
fn the_batch_that_is_changed_is_accepted_as_it_is() {
    decode(full().to_string().as_bytes()).unwrap();
}
