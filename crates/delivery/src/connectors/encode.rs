//! From events to requests, with no network and no secret: the same events give the same bodies, whatever happened between.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use convizit_model::{EventType, Timestamp};
use convizit_store::StoredEvent;
use serde_json::{Map, Value};

use super::columns::{self, Cell, Rows};
use super::manifest::{ColumnType, ConsentRule, Needs, Send, Shape, names_in};
use super::shape::{Changes, bound_name, bound_object, put};
use super::{Compiled, Connector, filled};
use crate::mapping::{Directive, Input, Limits};

/// A request but for its credentials.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// Which `[[send]]` it is of.
    pub(crate) send: usize,
    pub(crate) method: String,
    /// Path and query behind the host, encoded.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Uncompressed; empty of a Parquet file.
    pub(crate) body: Vec<u8>,
    pub(crate) gzip: bool,
    /// Of a Parquet file, which is made when it is sent.
    pub(crate) file: Arc<Rows>,
    /// The events of its items, by their place in the batch.
    pub(crate) rows: Vec<usize>,
    /// The items, for answers that name an item by a field of it; null of a Parquet file, of which no answer does.
    pub(crate) items: Arc<Vec<Value>>,
}

impl Request {
    /// Its body for people to look at: of a Parquet file its rows as lines of JSON.
    pub(crate) fn text(&self) -> String {
        if self.file.is_empty() { String::from_utf8_lossy(&self.body).into_owned() } else { self.file.lines() }
    }
}

/// One event as a protocol takes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Its place in the batch.
    pub(crate) row: usize,
    /// The event's id, by which repeats are known.
    pub(crate) id: String,
    /// The topic, subject, stream or table.
    pub(crate) place: String,
    /// The same with the names of an event's values in place of them: `shop.{name}`. It alone is told and kept.
    pub(crate) place_of: String,
    /// Records of one key stay in order.
    pub(crate) key: String,
    /// When it happened, in milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) item: Value,
    /// The item as JSON.
    pub(crate) body: Vec<u8>,
}

impl Record {
    /// Whether its place is made of what the event says, so that there are as many as a site has names: one that is missing is no
    /// fault of the destination.
    pub(crate) fn is_named(&self) -> bool {
        names_in(&self.place_of).into_iter().any(|name| !matches!(name, "project" | "type"))
    }
}

/// What became of a batch before anything is sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) requests: Vec<Request>,
    /// Where a protocol is spoken, in place of requests.
    pub(crate) records: Vec<Record>,
    /// Events that this destination is not to get.
    pub(crate) skipped: Vec<usize>,
    /// Events that it would refuse, each with the reason.
    pub(crate) refused: Vec<(usize, String)>,
    /// Of each event, by its place in the batch.
    pub(crate) changes: Vec<Changes>,
}

/// What requests are made with beside the events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct With<'a> {
    /// As `settle` gave them.
    pub(crate) settings: &'a BTreeMap<String, String>,
    /// Fields of items that a person has made another way.
    pub(crate) set: &'a [(String, Directive)],
    /// `<project>/<destination>`.
    pub(crate) name: &'a str,
    /// For events that are too old.
    pub(crate) now: Timestamp,
}

/// Place, place as it is told, and headers, by the `[[send]]` and what it takes of an event.
type Places = HashMap<(usize, BTreeMap<String, String>), (String, String, Vec<(String, String)>)>;

/// Events that are encoded beside everything else that the process does; for fewer the way to another thread is longer.
const MANY: usize = 100;

/// `Connector::encode` where it holds up nobody: thousands of events take tens of milliseconds.
pub(crate) async fn encoded(connector: &Arc<Connector>, events: &[StoredEvent], with: With<'_>) -> Encoded {
    if events.len() <= MANY {
        return connector.encode(events, with);
    }
    let (connector, events, now) = (connector.clone(), events.to_vec(), with.now);
    let (settings, set, name) = (with.settings.clone(), with.set.to_vec(), with.name.to_owned());
    let with = move || connector.encode(&events, With { settings: &settings, set: &set, name: &name, now });
    beside(with).await
}

/// Carries out on another thread what computes for long.
pub(crate) async fn beside<T: std::marker::Send + 'static>(
    work: impl FnOnce() -> T + std::marker::Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The process ends, and this with it.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// Items that share a request, as they come in.
struct Open {
    send: usize,
    group: Option<Value>,
    bytes: usize,
    rows: Vec<usize>,
    items: Vec<Value>,
    texts: Vec<String>,
    /// Of a Parquet file, in place of texts.
    cells: Vec<Vec<Cell>>,
    /// The first event.
    first: Value,
}

impl Connector {
    /// The requests for these events.
    pub(crate) fn encode(&self, events: &[StoredEvent], with: With<'_>) -> Encoded {
        let With { settings, set, now, .. } = with;
        let mut encoded = Encoded { changes: vec![Changes::default(); events.len()], ..Encoded::default() };
        let plain = self.plain(settings);
        let mut open: Vec<Open> = Vec::new();
        let mut places = Places::new();
        for (row, stored) in events.iter().enumerate() {
            let Ok(mut event) = serde_json::from_slice::<Value>(&stored.json) else {
                encoded.refused.push((row, "not of this version's form".to_owned()));
                continue;
            };
            let changed = match self.admit(&mut event, now) {
                Admission::Sent { changed } => changed,
                Admission::Skipped => {
                    encoded.skipped.push(row);
                    continue;
                }
                Admission::Refused(reason) => {
                    encoded.refused.push((row, reason));
                    continue;
                }
            };
            let input = Input { event: &event, settings: &plain };
            let kind = event["type"].as_str().unwrap_or_default();
            let Some(index) = self.sends.iter().position(|send| send.takes(kind, input)) else {
                encoded.skipped.push(row);
                continue;
            };
            let (send, compiled) = (&self.manifest.send[index], &self.sends[index]);
            let is_whole =
                set.is_empty() && compiled.item.is_event() && compiled.before.is_none() && send.name.is_none();
            let mut cells: Vec<Cell> = Vec::new();
            let (made, text) = if is_whole && send.limit.is_empty() {
                // Most of what there is to do, for what stands there already.
                let text = match std::str::from_utf8(&stored.json) {
                    Ok(text) if !changed => text.to_owned(),
                    _ => event.to_string(),
                };
                (None, text)
            } else if let Some(of) = compiled.cells.as_ref().filter(|_| set.is_empty()) {
                let as_stored = || std::str::from_utf8(&stored.json).ok().filter(|_| !changed);
                cells = of
                    .iter()
                    .zip(&send.batch.columns)
                    .map(|(of, column)| {
                        let kind = column.kind;
                        match of {
                            Some(of)
                                if of.is_event()
                                    && kind == ColumnType::Json
                                    && let Some(text) = as_stored() =>
                            {
                                Cell::json(text.to_owned())
                            }
                            Some(of) => {
                                let value = of.look(input, Limits::default());
                                let cell = value.as_ref().map_or(Cell::Null, |value| Cell::of(kind, value));
                                let misfits = cell == Cell::Null && value.is_some_and(|value| !value.is_null());
                                encoded.changes[row].left_out += usize::from(misfits);
                                cell
                            }
                            None => Cell::Null,
                        }
                    })
                    .collect();
                (None, String::new())
            } else {
                let Some(mut item) = compiled.item.run(input, Limits::default()) else {
                    encoded.refused.push((row, "the event is larger than a mapping may make it".to_owned()));
                    continue;
                };
                if let Value::Object(fields) = &mut item {
                    for (field, mapping) in set {
                        if let Some(value) = mapping.run(input, Limits::default()) {
                            put(fields, field, value);
                        }
                    }
                }
                if let Some(limit) = &send.name {
                    bound_name(&mut item, limit, &mut encoded.changes[row]);
                }
                for limit in &send.limit {
                    bound_object(&mut item, limit, &mut encoded.changes[row]);
                }
                let before = compiled.before.as_ref().and_then(|before| before.run(input, Limits::default()));
                let text = match before {
                    Some(before) => format!("{before}\n{item}"),
                    None => item.to_string(),
                };
                (Some(item), text)
            };
            if send.batch.shape == Shape::Parquet && cells.is_empty() {
                let (item, columns) = (made.as_ref().unwrap_or(&event), columns::with_own(&send.batch.columns, set));
                for column in columns {
                    let cell = Cell::of(column.kind, &item[&column.name]);
                    encoded.changes[row].left_out += usize::from(cell == Cell::Null && !item[&column.name].is_null());
                    cells.push(cell);
                }
            }
            let size = match send.batch.shape {
                Shape::Parquet => cells.iter().map(Cell::size).sum(),
                // Quoted once more.
                Shape::Text => text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count(),
                _ => text.len(),
            };
            if size > send.batch.max_item_bytes {
                let most = send.batch.max_item_bytes;
                encoded.refused.push((
                    row,
                    format!("with {size} bytes it is larger than the {most} that {} takes", self.manifest.meta.name),
                ));
                continue;
            }
            if send.batch.shape == Shape::Records {
                let mut record = self.record(index, (row, text), input, settings, &mut places);
                record.item = made.unwrap_or(event);
                encoded.records.push(record);
                continue;
            }
            let group = compiled.group_by.as_ref().and_then(|group| group.run(input, Limits::default()));
            let full = |batch: &Open| {
                batch.items.len() >= send.batch.max_events || batch.bytes + size + 1 > send.batch.max_bytes
            };
            let found = open.iter().rposition(|batch| batch.send == index && batch.group == group);
            let place = match found {
                Some(place) if !full(&open[place]) => place,
                _ => {
                    // What surrounds the items is counted with the first of them.
                    let around = compiled.envelope.as_ref().and_then(|of| of.run(input, Limits::default()));
                    let bytes = around.map_or(64, |around| around.to_string().len() + 64);
                    open.push(Open {
                        send: index,
                        group,
                        bytes,
                        rows: vec![],
                        items: vec![],
                        texts: vec![],
                        cells: vec![],
                        first: event.clone(),
                    });
                    open.len() - 1
                }
            };
            let batch = &mut open[place];
            batch.bytes += size + 1;
            batch.rows.push(row);
            if send.batch.shape == Shape::Parquet {
                batch.cells.push(cells);
                batch.items.push(Value::Null);
            } else {
                batch.items.push(made.unwrap_or(event));
                batch.texts.push(text);
            }
        }
        encoded.requests = open.into_iter().map(|batch| self.request(batch, with, &plain)).collect();
        encoded
    }

    fn request(&self, batch: Open, with: With<'_>, plain: &Value) -> Request {
        let With { settings, set, name, .. } = with;
        let (send, compiled) = (&self.manifest.send[batch.send], &self.sends[batch.send]);
        let envelope = compiled
            .envelope
            .as_ref()
            .and_then(|of| of.run(Input { event: &batch.first, settings: plain }, Limits::default()));
        let body = body_of(send, envelope, &batch.texts, &batch.items);
        let file = Rows { columns: columns::with_own(&send.batch.columns, set), cells: batch.cells };
        let of_rows = if file.is_empty() { Vec::new() } else { file.digested() };
        let digest = convizit_keys::sha256(&[name.as_bytes(), b"\n", &body, &of_rows].concat());
        let id: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let mut values = settings.clone();
        values.insert("batch".to_owned(), id);
        values.extend(compiled.path_values(Input { event: &batch.first, settings: plain }));
        let mut target = path_of(&send.path, &values);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in &send.query {
            query.append_pair(key, &filled(value, &values, str::to_owned));
        }
        let query = query.finish();
        if !query.is_empty() {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(&query);
        }
        let mut headers = vec![("content-type".to_owned(), send.content_type.clone())];
        headers.extend(headers_of(send, &values));
        Request {
            send: batch.send,
            method: send.method.clone(),
            target,
            headers,
            body,
            gzip: send.batch.gzip || send.batch.gzip_file,
            file: Arc::new(file),
            rows: batch.rows,
            items: Arc::new(batch.items),
        }
    }

    /// But for its item. Places and headers are made once of the same values: a batch has few of them.
    fn record(
        &self,
        index: usize,
        (row, text): (usize, String),
        input: Input<'_>,
        settings: &BTreeMap<String, String>,
        places: &mut Places,
    ) -> Record {
        let (send, compiled) = (&self.manifest.send[index], &self.sends[index]);
        let of_event = compiled.path_values(input);
        let (place, place_of, headers) = places.entry((index, of_event)).or_insert_with_key(|(_, of_event)| {
            // A setting may name values of the event; these name nothing any more.
            let mut values = settings.clone();
            for value in values.values_mut().filter(|value| value.contains('{')) {
                *value = filled(value, of_event, str::to_owned);
            }
            values.extend(of_event.clone());
            let place = filled(&send.path, &values, str::to_owned);
            (place, filled(&send.path, settings, str::to_owned), headers_of(send, &values))
        });
        let key = compiled.key.as_ref().and_then(|key| key.run(input, Limits::default()));
        Record {
            row,
            id: input.event["id"].as_str().unwrap_or_default().to_owned(),
            place: place.clone(),
            place_of: place_of.clone(),
            key: key.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            time: read_time(input.event, "time").map_or(0, Timestamp::as_millis),
            headers: headers.clone(),
            item: Value::Null,
            body: text.into_bytes(),
        }
    }

    /// Whether an event is sent at all; clamps its time and takes out a user id that the vendor takes for nobody.
    fn admit(&self, event: &mut Value, now: Timestamp) -> Admission {
        let manifest = &self.manifest;
        let consent = &event["consent"];
        let agreed = match manifest.consent {
            ConsentRule::Analytics => consent["analytics"] != Value::Bool(false),
            ConsentRule::Ads => consent["ads"] == Value::Bool(true) && consent["gpc"] != Value::Bool(true),
        };
        if !agreed {
            return Admission::Skipped;
        }
        let mut changed = false;
        if let Some(user) = event["user"].as_str() {
            let identity = &manifest.identity;
            let banned = identity.banned.iter().any(|banned| banned.eq_ignore_ascii_case(user));
            if banned || user.is_empty() || user.chars().count() < identity.least {
                event["user"] = Value::Null;
                changed = true;
            }
        }
        if manifest.identity.needs == Needs::User && event["user"].is_null() {
            return Admission::Skipped;
        }
        let (Some(time), Some(received)) = (read_time(event, "time"), read_time(event, "received")) else {
            return Admission::Refused("its time cannot be read".to_owned());
        };
        let hours = manifest.time.max_age_hours;
        if hours > 0 && now.since(time) > i64::from(hours) * 3_600_000 {
            return Admission::Refused(format!("older than the {hours} hours that {} takes", manifest.meta.name));
        }
        if manifest.time.clamp_future && time.since(received) > 0 {
            event["time"] = Value::String(received.to_string());
            changed = true;
        }
        Admission::Sent { changed }
    }
}

enum Admission {
    Sent {
        /// Whether it is another than the stored one.
        changed: bool,
    },
    Skipped,
    Refused(String),
}

fn read_time(event: &Value, field: &str) -> Option<Timestamp> {
    event[field].as_str().and_then(|text| text.parse().ok())
}

/// The headers of a `[[send]]` that have a value.
fn headers_of(send: &Send, values: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let of = send.headers.iter().map(|(key, value)| (key.to_ascii_lowercase(), filled(value, values, str::to_owned)));
    of.filter(|(_, value)| !value.is_empty()).collect()
}

impl Compiled {
    /// What path and headers may hold of an event.
    fn path_values(&self, input: Input<'_>) -> BTreeMap<String, String> {
        let text = |of: &Directive| match of.run(input, Limits::default()) {
            Some(Value::String(text)) => text,
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => String::new(),
        };
        self.path_values.iter().map(|(id, of)| (id.clone(), text(of))).collect()
    }

    fn takes(&self, kind: &str, input: Input<'_>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|one: &EventType| one.as_str() == kind))
            && self.when.as_ref().is_none_or(|when| when.meets(input))
    }
}

fn body_of(send: &Send, envelope: Option<Value>, texts: &[String], items: &[Value]) -> Vec<u8> {
    let list = || format!("[{}]", texts.join(","));
    match send.batch.shape {
        Shape::Single | Shape::Records => texts.first().cloned().unwrap_or_default().into_bytes(),
        Shape::Array => list().into_bytes(),
        Shape::Ndjson | Shape::Parquet => texts.iter().map(|text| format!("{text}\n")).collect::<String>().into_bytes(),
        Shape::Object | Shape::Text => {
            let mut body = match envelope {
                Some(Value::Object(fields)) => fields,
                _ => Map::new(),
            };
            let items = match send.batch.shape {
                Shape::Text => Value::String(list()),
                _ => Value::Array(items.to_vec()),
            };
            put(&mut body, &send.batch.field, items);
            Value::Object(body).to_string().into_bytes()
        }
    }
}

/// A path with its `{names}` replaced by one step each, and its `{+names}` by steps.
pub(super) fn path_of(path: &str, values: &BTreeMap<String, String>) -> String {
    let steps = |value: &String| value.split('/').map(encode_path).collect::<Vec<_>>().join("/");
    let several = values.iter().map(|(id, value)| (format!("+{id}"), steps(value))).collect();
    filled(&filled(path, values, encode_path), &several, str::to_owned)
}

/// One step of a path: nothing in it ends the step.
pub(super) fn encode_path(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    // Steps that lead elsewhere.
    if text == "." || text == ".." { text.replace('.', "%2E") } else { text }
}
