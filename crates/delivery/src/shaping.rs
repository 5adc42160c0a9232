//! What a destination gets of an event: which events, without which fields, and which fields of a connector are made another way.

use convizit_model::Shaping;
use convizit_store::StoredEvent;
use serde_json::Value;

use crate::mapping::{Condition, Directive, Input, MappingError};
use crate::transform;

/// What every destination gets: without these nothing can be told apart, ordered or erased.
pub(crate) const KEPT: [&str; 8] = ["id", "project", "name", "type", "time", "received", "visitor", "schema"];
/// Fields that an event has beside them; a step behind one of the second list is a name of the site's own.
const FIELDS: [&str; 40] = [
    "source",
    "name_state",
    "client_time",
    "user",
    "withheld",
    "session",
    "session.id",
    "session.start",
    "consent",
    "consent.analytics",
    "consent.ads",
    "consent.gpc",
    "page",
    "page.url",
    "page.path",
    "page.title",
    "page.type",
    "page.language",
    "page.referrer",
    "element",
    "element.id",
    "element.role",
    "element.label",
    "element.section",
    "group",
    "group.id",
    "group.name",
    "group.position",
    "group.length",
    "properties",
    "campaign",
    "device",
    "device.platform",
    "device.os_name",
    "device.os_version",
    "device.browser",
    "device.brand",
    "location",
    "location.country",
    "location.region",
];
const OWN: [&str; 2] = ["properties.", "campaign."];
/// Fields that may be left out, and such of a connector's own.
const MANY: usize = 100;

/// What is wrong with a shaping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ShapingError {
    /// Which part: `without`, `when`, `percent`, `fields` or `transform`.
    pub field: &'static str,
    /// What is wrong, where in it, and what to write.
    pub what: String,
}

impl From<ShapingError> for String {
    fn from(error: ShapingError) -> Self {
        error.what
    }
}

/// A shaping that was checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    when: Option<Condition>,
    percent: Option<u8>,
    without: Vec<Vec<String>>,
    /// Fields of a connector's item.
    pub(crate) set: Vec<(String, Directive)>,
}

impl Shape {
    /// # Errors
    /// What is wrong and what to write.
    pub(crate) fn compile(shaping: &Shaping) -> Result<Self, ShapingError> {
        let wrong = |field: &'static str, what: String| ShapingError { field, what };
        let of = |what: &str, error: MappingError| format!("{what}: {error}");
        let mut without = Vec::new();
        for field in &shaping.without {
            let steps: Vec<String> = field.split('.').map(str::to_owned).collect();
            if KEPT.contains(&field.as_str()) {
                let what = format!("{field} cannot be left out: events are told apart, ordered and erased by it");
                return Err(wrong("without", what));
            }
            let is_known = FIELDS.contains(&field.as_str()) || OWN.iter().any(|own| field.starts_with(own));
            if !is_known || steps.iter().any(String::is_empty) || steps.len() > 8 {
                let what =
                    format!("{field} is no field of an event: write device.brand, page.title or properties.Note");
                return Err(wrong("without", what));
            }
            without.push(steps);
        }
        let mut set = Vec::new();
        for (field, mapping) in &shaping.set {
            if field.split('.').any(str::is_empty) {
                return Err(wrong("fields", format!("{field} is no field: write properties.Shop")));
            }
            let made = Directive::compile(mapping).map_err(|error| wrong("fields", of(field, error)))?;
            set.push((field.clone(), made));
        }
        for (field, many) in [("without", without.len()), ("fields", set.len())] {
            if many > MANY {
                return Err(wrong(field, format!("more than {MANY} fields")));
            }
        }
        if shaping.percent.is_some_and(|percent| !(1..=99).contains(&percent)) {
            return Err(wrong("percent", "percent is a number from 1 to 99".to_owned()));
        }
        if let Some(source) = &shaping.transform {
            transform::check(source).map_err(|what| wrong("transform", what))?;
        }
        let when = shaping.when.as_ref().map(Condition::compile).transpose();
        let when = when.map_err(|error| wrong("when", of("when", error)))?;
        Ok(Self { when, percent: shaping.percent, without, set })
    }

    /// An event without the fields that are left out, whatever else is chosen by.
    pub(crate) fn bared(&self, event: StoredEvent) -> StoredEvent {
        let only = Self { without: self.without.clone(), ..Self::default() };
        only.apply(event.clone()).unwrap_or(event)
    }

    /// What the destination gets of an event; `None` where it gets nothing.
    pub(crate) fn apply(&self, event: StoredEvent) -> Option<StoredEvent> {
        if self.when.is_none() && self.percent.is_none() && self.without.is_empty() {
            return Some(event);
        }
        // One that is not of this version's form is refused where it is sent.
        let Ok(mut value) = serde_json::from_slice::<Value>(&event.json) else { return Some(event) };
        if self.when.as_ref().is_some_and(|when| !when.meets(Input { event: &value, settings: &Value::Null })) {
            return None;
        }
        if let Some(percent) = self.percent {
            let [a, b, ..] = convizit_keys::sha256(value["visitor"].as_str().unwrap_or_default().as_bytes());
            if u16::from_be_bytes([a, b]) % 100 >= u16::from(percent) {
                return None;
            }
        }
        if self.without.is_empty() {
            return Some(event);
        }
        for steps in &self.without {
            remove(&mut value, steps);
        }
        Some(StoredEvent { number: event.number, json: value.to_string().into_bytes().into() })
    }
}

/// Takes a field out, or what stands there becomes null where every event has it.
fn remove(value: &mut Value, steps: &[String]) {
    let Some((last, path)) = steps.split_last() else { return };
    let Some(inner) = path.iter().try_fold(value, |value, step| value.get_mut(step)) else { return };
    if let Value::Object(fields) = inner {
        match fields.get_mut(last) {
            // `device` and `location` are objects of every event.
            Some(Value::Object(of)) if path.is_empty() => of.clear(),
            Some(there) if path.is_empty() && !there.is_array() => *there = Value::Null,
            _ => {
                fields.shift_remove(last);
            }
        }
    }
}

/// An event that has every field, and the same without each field that may be left out, with its name; the last lacks them all.
#[cfg(test)]
pub(crate) fn whole_and_without_each() -> Vec<(&'static str, StoredEvent)> {
    let whole = serde_json::json!({
        "id": "0193a1f0-1b2c-7def-8123-456789abc001", "project": "shop", "source": "convizit", "schema": 1, "name": "Add to cart",
        "name_state": "published", "type": "click", "time": "2026-11-23T12:01:07.123Z", "client_time": "2026-11-23T12:02:07.000Z",
        "received": "2026-11-23T12:01:08.000Z", "visitor": "v1", "session": {"id": "s1", "start": "2026-11-23T12:00:00.000Z"},
        "user": "u1", "consent": {"analytics": true, "ads": true, "gpc": false},
        "page": {"url": "https://shop.example/p", "path": "/p", "title": "Shoe", "type": "Product", "language": "en", "referrer": "https://a.example/"},
        "element": {"id": "el_0000000000000001", "role": "button", "label": "Add", "section": "Card"},
        "group": {"id": "gr_0000000000000001", "name": "Product card", "position": 3, "length": 12},
        "properties": {"Product price": 89.9}, "campaign": {"source": "mail"},
        "device": {"platform": "web", "os_name": "Android", "os_version": "15", "browser": "Chrome", "brand": "Pixel"},
        "location": {"country": "DE", "region": "BE"}, "withheld": [{"field": "page.title", "rule": "email", "by": "browser", "rules": 1}]
    });
    let stored = StoredEvent { number: 7, json: whole.to_string().into_bytes().into() };
    let without = |fields: Vec<String>| {
        let shape = Shape::compile(&Shaping { without: fields, ..Shaping::default() }).unwrap();
        shape.apply(stored.clone()).unwrap()
    };
    let mut cases = vec![("nothing", stored.clone())];
    for field in FIELDS {
        assert!(whole.pointer(&format!("/{}", field.replace('.', "/"))).is_some(), "{field} is missing here");
        cases.push((field, without(vec![field.to_owned()])));
    }
    cases.push(("all", without(FIELDS.map(str::to_owned).to_vec())));
    cases
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(value: &Value) -> StoredEvent {
        StoredEvent { number: 7, json: value.to_string().into_bytes().into() }
    }

    fn shape(value: Value) -> Result<Shape, ShapingError> {
        Shape::compile(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn fields_are_left_out_wherever_they_stand() {
        let event = json!({"id": "1", "user": "u", "device": {"platform": "web", "brand": "Pixel"}, "location": {"country": "DE"},
            "properties": {"Note": "x", "Price": 1}, "withheld": [{"field": "a"}]});
        let of = shape(
            json!({"without": ["device.brand", "location", "properties.Note", "user", "withheld", "properties.nothing"]}),
        )
        .unwrap();
        let made: Value = serde_json::from_slice(&of.apply(stored(&event)).unwrap().json).unwrap();
        assert_eq!(
            made,
            json!({"id": "1", "user": null, "device": {"platform": "web"}, "location": {}, "properties": {"Price": 1}})
        );
    }

    #[test]
    fn a_condition_and_a_share_of_visitors_choose_and_always_the_same() {
        let of = shape(json!({"when": {"of": "$.page.path", "starts": "/shop"}, "percent": 30})).unwrap();
        let event =
            |visitor: usize, path: &str| stored(&json!({"visitor": format!("v{visitor}"), "page": {"path": path}}));
        let taken: Vec<usize> = (0..2_000).filter(|visitor| of.apply(event(*visitor, "/shop/a")).is_some()).collect();
        assert!((500..700).contains(&taken.len()), "{}", taken.len());
        assert!(taken.iter().all(|visitor| of.apply(event(*visitor, "/shop/b")).is_some()));
        assert!((0..100).all(|visitor| of.apply(event(visitor, "/blog")).is_none()));
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (value, field, word) in [
            (json!({"without": ["id"]}), "without", "cannot be left out"),
            (json!({"without": ["device..brand"]}), "without", "no field"),
            (json!({"without": ["device.brnd"]}), "without", "no field"),
            (json!({"when": {"all": [{"exists": "$.user"}, {"like": 1}]}}), "when", "no condition"),
            (json!({"percent": 100}), "percent", "1 to 99"),
            (json!({"set": {"a": {"b": "$b"}}}), "fields", "a: mapping.b: $b is no path"),
        ] {
            let error = shape(value.clone()).unwrap_err();
            assert!(error.field == field && error.what.contains(word), "{value}: {error:?}");
        }
    }
}
