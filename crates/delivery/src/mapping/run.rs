//! A mapping on one event: every operation has an answer for every value, and what comes out is bounded.

use std::borrow::Cow;

use base64::Engine as _;
use convizit_model::{EventId, Timestamp};
use serde_json::{Map, Number, Value};

use super::{Cast, Directive, ITEMS, IdForm, Path, Piece, Root, TimeForm, cut_bytes, cut_chars, slug};

/// What a mapping reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// The event's JSON.
    pub(crate) event: &'a Value,
    /// Settings of the destination that are no secrets.
    pub(crate) settings: &'a Value,
}

/// What may come out of one mapping.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of texts and values together.
    pub(crate) bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 10 }
    }
}

fn find<'a>(path: &Path, input: Input<'a>, item: Option<&'a Value>) -> Option<&'a Value> {
    let root = match path.root {
        Root::Event => input.event,
        Root::Settings => input.settings,
        Root::Item => item?,
    };
    path.steps.iter().try_fold(root, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => None,
    })
}

pub(super) struct Run<'a> {
    input: Input<'a>,
    item: Option<Value>,
    left: usize,
}

impl Directive {
    /// Whether this is the event as it is.
    pub(crate) fn is_event(&self) -> bool {
        matches!(self, Self::Path(Path { root: Root::Event, steps }) if steps.is_empty())
    }

    /// The fields, where this is an object of them.
    pub(crate) fn fields(&self) -> Option<&[(String, Self)]> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }

    /// As `run`, without a copy of what stands in the event.
    pub(crate) fn look<'a>(&self, input: Input<'a>, limits: Limits) -> Option<Cow<'a, Value>> {
        match self {
            Self::Path(path) if path.root != Root::Item => find(path, input, None).map(Cow::Borrowed),
            other => other.run(input, limits).map(Cow::Owned),
        }
    }

    /// What this makes of an event; `None` where all of it is absent, or would be larger than the bound.
    pub(crate) fn run(&self, input: Input<'_>, limits: Limits) -> Option<Value> {
        Run { input, item: None, left: limits.bytes }.value(self)
    }
}

impl super::Condition {
    /// Whether an event is meant.
    pub(crate) fn meets(&self, input: Input<'_>) -> bool {
        self.holds(&mut Run { input, item: None, left: Limits::default().bytes })
    }
}

impl Run<'_> {
    pub(super) fn value(&mut self, directive: &Directive) -> Option<Value> {
        let value = match directive {
            Directive::Const(value) => value.clone(),
            Directive::Path(path) => self.look(path)?.clone(),
            Directive::Object(fields) => {
                let fields = fields.iter().filter_map(|(key, of)| Some((key.clone(), self.value(of)?)));
                // Its fields were counted.
                return Some(Value::Object(fields.collect()));
            }
            Directive::List(items) => return Some(items.iter().filter_map(|of| self.value(of)).collect()),
            Directive::Template(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(plain) => text.push_str(plain),
                        Piece::Of(path) => text.push_str(&self.look(path).and_then(as_text).unwrap_or_default()),
                    }
                    if text.len() > self.left {
                        return None;
                    }
                }
                Value::String(text)
            }
            Directive::If(parts) => {
                let (condition, then, otherwise) = parts.as_ref();
                let of = if condition.holds(self) { Some(then) } else { otherwise.as_ref() };
                return of.and_then(|of| self.value(of));
            }
            Directive::Switch { of, cases, otherwise } => {
                let word = self.value(of).as_ref().and_then(as_text);
                let case = cases.iter().find(|(key, _)| Some(key) == word.as_ref()).map(|(_, of)| of);
                return case.or(otherwise.as_deref()).and_then(|of| self.value(of));
            }
            Directive::Coalesce(any) => {
                return any.iter().find_map(|of| self.value(of).filter(|value| !value.is_null()));
            }
            Directive::Each { of, item } => return self.each(of, item),
            Directive::Pick { of, keys } => self.keep(of, keys, true)?,
            Directive::Omit { of, keys } => self.keep(of, keys, false)?,
            Directive::Keys { of, with, most } => {
                let Value::Object(fields) = self.value(of)? else { return None };
                Value::Object(fields.into_iter().map(|(key, value)| (slug(&key, *with, *most), value)).collect())
            }
            // Both were counted.
            Directive::Keyed { of, key } => {
                return Some(Value::Object([(self.text(key)?, self.value(of)?)].into_iter().collect()));
            }
            Directive::Merge(all) => {
                let mut merged = Map::new();
                for of in all {
                    if let Some(Value::Object(fields)) = self.value(of) {
                        merged.extend(fields);
                    }
                }
                return Some(Value::Object(merged));
            }
            Directive::Flatten { of, with } => {
                let mut flat = Map::new();
                flatten(&self.value(of)?, "", with, &mut flat);
                Value::Object(flat)
            }
            Directive::Case { of, upper } => {
                let text = self.text(of)?;
                Value::String(if *upper { text.to_uppercase() } else { text.to_lowercase() })
            }
            Directive::Cast { of, to } => cast(self.value(of)?, *to)?,
            Directive::Time { of, form } => time(&self.value(of)?, *form)?,
            Directive::Hash { of, digits } => {
                let text = self.text(of)?;
                Value::String(hex(&convizit_keys::sha256(text.as_bytes()), *digits))
            }
            Directive::Truncate { of, most, bytes } => {
                let text = self.text(of)?;
                Value::String(if *bytes { cut_bytes(&text, *most) } else { cut_chars(&text, *most) }.to_owned())
            }
            Directive::Slug { of, with, most } => Value::String(slug(&self.text(of)?, *with, *most)),
            Directive::Join { of, with } => {
                let Value::Array(items) = self.value(of)? else { return None };
                Value::String(items.iter().filter_map(as_text).collect::<Vec<_>>().join(with))
            }
            Directive::Split { of, at } => {
                let text = self.text(of)?;
                text.split(at).map(str::trim).filter(|part| !part.is_empty()).take(ITEMS).collect()
            }
            Directive::Replace { of, pairs } => Value::String(replaced(&self.text(of)?, pairs, self.left)?),
            Directive::Base64(of) => {
                let value = self.value(of)?;
                let text = as_text(&value).or_else(|| serde_json::to_string(&value).ok())?;
                Value::String(base64::engine::general_purpose::STANDARD.encode(text))
            }
            Directive::Query(of) => {
                let Value::Object(fields) = self.value(of)? else { return None };
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                for (key, value) in &fields {
                    if let Some(text) = as_text(value) {
                        query.append_pair(key, &text);
                    }
                }
                Value::String(query.finish())
            }
            Directive::Id { of, form } => Value::String(id(&self.text(of)?, *form)?),
            Directive::TimedId { of, at } => {
                let at: Timestamp = self.text(at)?.parse().ok()?;
                Value::String(hash_uuid(&self.text(of)?, Some(at)))
            }
        };
        let size = size(&value);
        self.left = self.left.checked_sub(size)?;
        Some(value)
    }

    pub(super) fn text(&mut self, of: &Directive) -> Option<String> {
        self.value(of).as_ref().and_then(as_text)
    }

    fn look(&self, path: &Path) -> Option<&Value> {
        find(path, self.input, self.item.as_ref())
    }

    /// Over the items of a list as they are, over an object's fields as `{key, value}`.
    fn each(&mut self, of: &Directive, item: &Directive) -> Option<Value> {
        let items: Vec<Value> = match self.value(of)? {
            Value::Array(items) => items,
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| serde_json::json!({"key": key, "value": value})).collect()
            }
            _ => return None,
        };
        let mut made = Vec::new();
        for one in items.into_iter().take(ITEMS) {
            self.item = Some(one);
            made.extend(self.value(item));
        }
        self.item = None;
        Some(Value::Array(made))
    }

    fn keep(&mut self, of: &Directive, keys: &Directive, named: bool) -> Option<Value> {
        let (Value::Object(fields), Value::Array(keys)) = (self.value(of)?, self.value(keys)?) else { return None };
        let is_named = |key: &str| keys.iter().any(|one| one.as_str() == Some(key));
        Some(Value::Object(fields.into_iter().filter(|(key, _)| is_named(key) == named).collect()))
    }
}

/// `None` where it would be longer than `most` bytes.
fn replaced(text: &str, pairs: &[(String, String)], most: usize) -> Option<String> {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match pairs.iter().find_map(|(from, to)| Some((rest.strip_prefix(from.as_str())?, to))) {
            Some((after, to)) => {
                made.push_str(to);
                rest = after;
            }
            None => {
                made.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        if made.len() > most {
            return None;
        }
    }
    Some(made)
}

/// Bytes that a value holds, without punctuation.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// A text, number or boolean as text; nothing else has one.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn flatten(value: &Value, at: &str, with: &str, into: &mut Map<String, Value>) {
    let below = |step: &str| if at.is_empty() { step.to_owned() } else { format!("{at}{with}{step}") };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(value, &below(key), with, into);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(value, &below(&index.to_string()), with, into);
            }
        }
        plain if !at.is_empty() => {
            into.insert(at.to_owned(), plain.clone());
        }
        _ => {}
    }
}

fn cast(value: Value, to: Cast) -> Option<Value> {
    match to {
        Cast::Text => as_text(&value).map(Value::String),
        Cast::Json => serde_json::to_string(&value).ok().map(Value::String),
        Cast::Number if value.is_number() => Some(value),
        Cast::Number => as_text(&value)?.trim().parse().ok().and_then(Number::from_f64).map(Value::Number),
        Cast::Integer => {
            let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?.trunc();
            // Whole numbers that a JSON reader keeps exactly.
            #[expect(clippy::cast_possible_truncation, reason = "its range was looked at")]
            (number.abs() <= 9_007_199_254_740_991.0).then(|| Value::from(number as i64))
        }
        Cast::Boolean => match as_text(&value)?.as_str() {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
    }
}

fn time(value: &Value, form: TimeForm) -> Option<Value> {
    let at: Timestamp = value.as_str()?.parse().ok()?;
    let millis = at.as_millis();
    Some(match form {
        TimeForm::Seconds => Value::from(millis.div_euclid(1_000)),
        TimeForm::Fraction => {
            let text = format!("{}.{:03}", millis.div_euclid(1_000), millis.rem_euclid(1_000));
            text.parse().ok().and_then(Number::from_f64).map(Value::Number)?
        }
        TimeForm::Millis => Value::from(millis),
        TimeForm::Micros => Value::from(millis.checked_mul(1_000)?),
        TimeForm::Iso => Value::String(at.to_string()),
        TimeForm::Day => Value::String(at.to_string().get(..10)?.to_owned()),
        TimeForm::Hour => Value::String(at.to_string().get(11..13)?.to_owned()),
        TimeForm::IsoSeconds => {
            let text = at.to_string();
            Value::String(text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z")))
        }
    })
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

/// `None` where a text is no event id.
fn id(text: &str, form: IdForm) -> Option<String> {
    const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    match form {
        IdForm::Hex16 => return Some(hex(&convizit_keys::sha256(text.as_bytes()), 16)),
        IdForm::HashUuid => return Some(hash_uuid(text, None)),
        IdForm::Number => {
            let digest = convizit_keys::sha256(text.as_bytes());
            // Seven bytes hold 56 bits; readers of JSON keep 53 exactly.
            let number = digest[..7].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)) >> 3;
            return Some(number.to_string());
        }
        IdForm::Uuid | IdForm::Ulid | IdForm::Hex => {}
    }
    let id: EventId = text.parse().ok()?;
    Some(match form {
        IdForm::Ulid => {
            let bits = u128::from_be_bytes(*id.as_bytes());
            (0..26)
                .rev()
                .map(|place| char::from(CROCKFORD[usize::try_from((bits >> (5 * place)) & 31).unwrap_or(0)]))
                .collect()
        }
        IdForm::Hex => hex(id.as_bytes(), 32),
        _ => id.to_string(),
    })
}

/// A UUID of a text's hash: version 7 where a time stands before it, else version 4.
fn hash_uuid(text: &str, at: Option<Timestamp>) -> String {
    let mut bytes = convizit_keys::sha256(text.as_bytes());
    if let Some(at) = at {
        bytes[..6].copy_from_slice(&at.as_millis().max(0).to_be_bytes()[2..]);
    }
    bytes[6] = (bytes[6] & 0x0f) | if at.is_some() { 0x70 } else { 0x40 };
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let digits = hex(&bytes, 32);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
