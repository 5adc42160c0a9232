//! Bounds of a vendor: names and fields are cut, renamed or left out as the manifest says, and each such change is counted.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::manifest::{Limit, NameLimit, Nested, Style};
use crate::mapping::{cut_bytes, cut_chars, slug};

/// How deep an object is followed.
const DEPTH: usize = 16;

/// What had to be changed in one item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Texts that were cut.
    pub(crate) cut: usize,
    /// Fields that were left out.
    pub(crate) left_out: usize,
    /// Keys or names that were changed.
    pub(crate) renamed: usize,
}

impl Changes {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cut += other.cut;
        self.left_out += other.left_out;
        self.renamed += other.renamed;
    }
}

/// Applies the bounds of a name.
pub(crate) fn bound_name(item: &mut Value, limit: &NameLimit, changes: &mut Changes) {
    let Some(Value::String(name)) = at_mut(item, &limit.at) else { return };
    let mut made = match limit.style {
        Style::Keep => name.clone(),
        Style::Slug => slug(name, '_', limit.max.max(8)),
    };
    if limit.reserved.contains(&made) {
        made.push_str("_event");
    }
    if limit.reserved_prefixes.iter().any(|prefix| made.starts_with(prefix.as_str())) {
        made.insert_str(0, "x_");
    }
    if made.chars().count() > limit.max {
        // Two long names that begin alike stay two.
        made = with_suffix(&made, name, limit.max, limit.style == Style::Slug);
        changes.cut += 1;
    } else if made != *name {
        changes.renamed += 1;
    }
    *name = made;
}

/// Applies the bounds of an object.
pub(crate) fn bound_object(item: &mut Value, limit: &Limit, changes: &mut Changes) {
    let Some(Value::Object(object)) = at_mut(item, &limit.at) else { return };
    let mut flat = Map::new();
    for (key, value) in std::mem::take(object) {
        spread(key, value, limit, 0, &mut flat, changes);
    }
    let mut taken = HashSet::new();
    for (key, value) in flat {
        if limit.count > 0 && object.len() >= limit.count {
            changes.left_out += 1;
            continue;
        }
        let Some(value) = bound_value(&key, value, limit, changes) else {
            changes.left_out += 1;
            continue;
        };
        let mut made = match limit.keys {
            Style::Keep => key.clone(),
            Style::Slug => slug(&key, '_', if limit.key == 0 { 100 } else { limit.key }),
        };
        if limit.reserved.contains(&made)
            || limit.reserved_prefixes.iter().any(|prefix| made.starts_with(prefix.as_str()))
        {
            made.insert_str(0, "x_");
        }
        if limit.key > 0 && made.chars().count() > limit.key {
            made = with_suffix(&made, &key, limit.key, limit.keys == Style::Slug);
        }
        if !taken.insert(made.clone()) {
            let most = if limit.key == 0 { usize::MAX } else { limit.key };
            made = with_suffix(&made, &key, most, limit.keys == Style::Slug);
            taken.insert(made.clone());
        }
        changes.renamed += usize::from(made != key);
        let value = match &limit.wrap {
            Some(inner) => Value::Object(Map::from_iter([(inner.clone(), value)])),
            None => value,
        };
        object.insert(made, value);
    }
}

/// Within `most` characters, four hexadecimal digits of the whole behind it.
fn with_suffix(made: &str, whole: &str, most: usize, slug: bool) -> String {
    let digest = convizit_keys::sha256(whole.as_bytes());
    let kept = cut_chars(made, most.saturating_sub(5));
    let kept = if slug { kept.trim_end_matches('_') } else { kept };
    format!("{kept}{}{:02x}{:02x}", if slug { '_' } else { ' ' }, digest[0], digest[1])
}

fn spread(
    key: String,
    value: Value,
    limit: &Limit,
    depth: usize,
    into: &mut Map<String, Value>,
    changes: &mut Changes,
) {
    match (limit.nested, value) {
        (Nested::Flatten, Value::Object(fields)) if depth < DEPTH => {
            for (inner, value) in fields {
                spread(format!("{key}_{inner}"), value, limit, depth + 1, into, changes);
            }
        }
        (Nested::Flatten, Value::Array(items)) if depth < DEPTH => {
            for (index, value) in items.into_iter().enumerate() {
                spread(format!("{key}_{index}"), value, limit, depth + 1, into, changes);
            }
        }
        (Nested::Text, value @ (Value::Object(_) | Value::Array(_))) => {
            into.insert(key, Value::String(value.to_string()));
        }
        (Nested::Drop | Nested::Flatten, Value::Object(_) | Value::Array(_)) => changes.left_out += 1,
        (_, value) => {
            into.insert(key, value);
        }
    }
}

fn bound_value(key: &str, value: Value, limit: &Limit, changes: &mut Changes) -> Option<Value> {
    let value = match value {
        Value::Null if limit.no_nulls || limit.texts_only => return None,
        Value::Number(number) if limit.texts_only => Value::String(number.to_string()),
        Value::Bool(yes) if limit.texts_only || limit.no_booleans => Value::String(yes.to_string()),
        value => value,
    };
    let Value::String(text) = value else { return Some(value) };
    let characters = limit.longer.get(key).copied().unwrap_or(limit.value);
    let mut kept = text.as_str();
    if characters > 0 {
        kept = cut_chars(kept, characters);
    }
    if limit.value_bytes > 0 {
        kept = cut_bytes(kept, limit.value_bytes);
    }
    changes.cut += usize::from(kept.len() < text.len());
    Some(Value::String(kept.to_owned()))
}

/// What stands at `data.attributes`; the empty path is the whole.
pub(crate) fn at_mut<'v>(value: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    let mut steps = path.split('.').filter(|step| !step.is_empty());
    steps.try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get_mut(step),
        Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
        _ => None,
    })
}

/// What stands at `data.attributes`; the empty path is the whole.
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let mut steps = path.split('.').filter(|step| !step.is_empty());
    steps.try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => None,
    })
}

/// Puts a value at `data.attributes`, making the objects on the way; a list on the way keeps its items.
pub(crate) fn put(into: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            into.insert(path.to_owned(), value);
        }
        Some((step, rest)) => {
            let mut inner = into.entry(step).or_insert_with(|| Value::Object(Map::new()));
            let mut rest = rest;
            if let (Value::Array(_), Some((step, after))) = (&*inner, rest.split_once('.'))
                && let Ok(index) = step.parse::<usize>()
                && inner.get(index).is_some()
            {
                (inner, rest) = (&mut inner[index], after);
            }
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_wrapped_after_their_bounds_and_booleans_become_texts() {
        let limit: Limit = serde_json::from_value(
            json!({"at": "user", "keys": "slug", "key": 24, "value": 3, "wrap": "value", "no_booleans": true, "no_nulls": true}),
        )
        .unwrap();
        let mut item = json!({"user": {"Plan": "professional", "Seats": 5, "Trial": true, "Gone": null}});
        let mut changes = Changes::default();
        bound_object(&mut item, &limit, &mut changes);
        assert_eq!(item, json!({"user": {"plan": {"value": "pro"}, "seats": {"value": 5}, "trial": {"value": "tru"}}}));
        assert_eq!((changes.cut, changes.left_out, changes.renamed), (2, 1, 3));
    }

    #[test]
    fn what_is_put_makes_objects_on_its_way_and_keeps_the_items_of_a_list() {
        let mut body = Map::new();
        put(&mut body, "a.b", json!(1));
        assert_eq!(json!(body), json!({"a": {"b": 1}}));
        let mut body = json!({"parameters": [{"name": "events"}, 7]});
        put(body.as_object_mut().unwrap(), "parameters.0.value", json!("[]"));
        assert_eq!(body, json!({"parameters": [{"name": "events", "value": "[]"}, 7]}));
    }
}
