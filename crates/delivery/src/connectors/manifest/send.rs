//! Which events go where, in what form, and within which bounds.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Response;

/// Which events go where, and in what form.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Types of events; empty for all.
    #[serde(default)]
    pub types: Vec<String>,
    /// A condition of the mapping language.
    #[serde(default)]
    pub when: Option<Value>,
    /// `POST` or `PUT`.
    #[serde(default = "post")]
    pub method: String,
    /// Behind the host; may hold `{settings}`, `{+settings}` whose `/` part steps, `{batch}`, the batch's id, and `{path_values}`.
    /// Of a protocol the topic, subject, stream or table; there a setting may itself hold `{path_values}`, which are those of the event.
    pub path: String,
    /// Further names for path and query: mappings of the first event. With `group_by` they are the same for all of a request.
    #[serde(default)]
    pub path_values: BTreeMap<String, Value>,
    /// Parameters of the address; may hold `{settings}`, `{batch}` and `{path_values}`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers; may hold `{settings}`, `{batch}` and `{path_values}`. One without a value is not sent.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Of a protocol: a mapping to the key whose records stay in order.
    #[serde(default)]
    pub key: Option<Value>,
    /// Of the body.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// How items become a body.
    pub batch: Batch,
    /// The mapping of one event.
    pub item: Value,
    /// Bounds of the name.
    #[serde(default)]
    pub name: Option<NameLimit>,
    /// Bounds of objects in an item.
    #[serde(default)]
    pub limit: Vec<Limit>,
    /// What an answer means.
    #[serde(default)]
    pub response: Response,
}

pub(super) fn post() -> String {
    "POST".to_owned()
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// How items become a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The form.
    pub shape: Shape,
    /// Where the list stands in the body, as `data.attributes.rows`; for `object` and `text`.
    #[serde(default)]
    pub field: String,
    /// The rest of the body: a mapping of the first event.
    #[serde(default)]
    pub envelope: Option<Value>,
    /// For `ndjson`: a mapping whose line stands before each item.
    #[serde(default)]
    pub before: Option<Value>,
    /// Items of one request.
    pub max_events: usize,
    /// Bytes of one request.
    pub max_bytes: usize,
    /// Bytes of one item.
    pub max_item_bytes: usize,
    /// Only events with the same value of this mapping share a request.
    #[serde(default)]
    pub group_by: Option<Value>,
    /// Whether bodies are compressed.
    #[serde(default)]
    pub gzip: bool,
    /// Whether the compressed body is a file of its own, `.gz`: no header speaks of it.
    #[serde(default)]
    pub gzip_file: bool,
    /// For `parquet`: the columns of the file, in their order. Each is a field of the item.
    #[serde(default)]
    pub columns: Vec<Column>,
}

/// A column of a Parquet file. What is absent, null or of another type is null in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The item's field.
    pub name: String,
    /// What is in it.
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

/// What is in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// A text as it is; anything else as JSON.
    Text,
    /// JSON as a text.
    Json,
    /// A time, in milliseconds and UTC.
    Time,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
}

impl ColumnType {
    /// As it is read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "JSON as text",
            Self::Time => "timestamp in milliseconds, UTC",
            Self::Integer => "integer of 64 bits",
            Self::Number => "double",
            Self::Boolean => "boolean",
        }
    }
}

/// How items become a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `[item, item]`
    Array,
    /// An item a line.
    Ndjson,
    /// `{field: [item, item]}`
    Object,
    /// `{field: "[item, item]"}`: JSON in a text, for statements with one parameter.
    Text,
    /// The item itself.
    Single,
    /// A Parquet file with a row for each item.
    Parquet,
    /// Each item a record of its own, as protocols take them; a batch is what is on its way at once.
    Records,
}

/// Bounds of an event's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameLimit {
    /// Where it stands in the item.
    pub at: String,
    /// Characters.
    pub max: usize,
    /// What becomes of it.
    #[serde(default)]
    pub style: Style,
    /// Names that are the vendor's own: they get `_event` behind them.
    #[serde(default)]
    pub reserved: Vec<String>,
    /// Beginnings that are the vendor's own: they get `x_` before them.
    #[serde(default)]
    pub reserved_prefixes: Vec<String>,
}

/// What becomes of a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// It stays as people read it.
    #[default]
    Keep,
    /// `product_price`.
    Slug,
}

/// Bounds of one object in an item.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Where it stands in the item: `properties`, `data.attributes`.
    pub at: String,
    /// Fields; those behind are left out and counted. 0 for no bound.
    #[serde(default)]
    pub count: usize,
    /// Characters of a key; 0 for no bound.
    #[serde(default)]
    pub key: usize,
    /// What becomes of keys.
    #[serde(default)]
    pub keys: Style,
    /// Keys that are the vendor's own: they get `x_` before them.
    #[serde(default)]
    pub reserved: Vec<String>,
    /// Beginnings of keys that are the vendor's own: they get `x_` before them.
    #[serde(default)]
    pub reserved_prefixes: Vec<String>,
    /// Characters of a text; 0 for no bound.
    #[serde(default)]
    pub value: usize,
    /// Bytes of a text; 0 for no bound.
    #[serde(default)]
    pub value_bytes: usize,
    /// Other bounds of texts, by key.
    #[serde(default)]
    pub longer: BTreeMap<String, usize>,
    /// What becomes of objects and lists.
    #[serde(default)]
    pub nested: Nested,
    /// Whether nulls are left out.
    #[serde(default)]
    pub no_nulls: bool,
    /// Whether numbers and booleans become texts.
    #[serde(default)]
    pub texts_only: bool,
    /// Whether booleans become texts, while numbers stay.
    #[serde(default)]
    pub no_booleans: bool,
    /// `value`: each field becomes an object with this one key, `{"value": field}`.
    #[serde(default)]
    pub wrap: Option<String>,
}

/// What becomes of objects and lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nested {
    /// They stay.
    #[default]
    Keep,
    /// `{"a": {"b": 1}}` becomes `{"a_b": 1}`.
    Flatten,
    /// They become JSON in a text.
    Text,
    /// They are left out.
    Drop,
}
