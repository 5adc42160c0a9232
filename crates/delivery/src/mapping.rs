//! The mapping language: what a destination gets of an event, as data. Compiled and checked when it is saved; total and bounded when it runs.
//!
//! Any JSON value is a directive. Text that begins with `$.` is a path (`$.page.url`; `$` is the whole input); an object with one key
//! that begins with `@` is an operation; other objects and lists hold directives; everything else stands for itself. What is absent
//! (a path that leads nowhere) leaves its key out. There are no loops but over what the event holds, no recursion, no input or output,
//! and no access to secrets.

mod compile;
mod condition;
mod run;
mod text;

use serde_json::Value;

pub(crate) use condition::Condition;
pub(crate) use run::{Input, Limits};
pub(crate) use text::{cut_bytes, cut_chars, slug};

/// Operations of one mapping at most, and how deep they may stand in each other.
const NODES: usize = 2_000;
const DEPTH: usize = 24;
/// Items of one list that are mapped.
const ITEMS: usize = 1_000;

/// A mapping that was checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Directive {
    Const(Value),
    Path(Path),
    Object(Vec<(String, Directive)>),
    List(Vec<Directive>),
    Template(Vec<Piece>),
    If(Box<(Condition, Directive, Option<Directive>)>),
    Switch {
        of: Box<Directive>,
        cases: Vec<(String, Directive)>,
        otherwise: Option<Box<Directive>>,
    },
    Coalesce(Vec<Directive>),
    Each {
        of: Box<Directive>,
        item: Box<Directive>,
    },
    /// `keys` make a list.
    Pick {
        of: Box<Directive>,
        keys: Box<Directive>,
    },
    Omit {
        of: Box<Directive>,
        keys: Box<Directive>,
    },
    /// An object with slugs for keys.
    Keys {
        of: Box<Directive>,
        with: char,
        most: usize,
    },
    /// An object with one key, which is not known before.
    Keyed {
        of: Box<Directive>,
        key: Box<Directive>,
    },
    Merge(Vec<Directive>),
    Flatten {
        of: Box<Directive>,
        with: String,
    },
    Case {
        of: Box<Directive>,
        upper: bool,
    },
    Cast {
        of: Box<Directive>,
        to: Cast,
    },
    Time {
        of: Box<Directive>,
        form: TimeForm,
    },
    Hash {
        of: Box<Directive>,
        digits: usize,
    },
    Truncate {
        of: Box<Directive>,
        most: usize,
        bytes: bool,
    },
    Slug {
        of: Box<Directive>,
        with: char,
        most: usize,
    },
    Id {
        of: Box<Directive>,
        form: IdForm,
    },
    /// Texts of a list behind each other.
    Join {
        of: Box<Directive>,
        with: String,
    },
    /// A text as the list of its parts, without the spaces around them.
    Split {
        of: Box<Directive>,
        at: String,
    },
    /// A text with some of its parts replaced, from left to right, once.
    Replace {
        of: Box<Directive>,
        pairs: Vec<(String, String)>,
    },
    /// The text's hash as a UUID that begins with a time.
    TimedId {
        of: Box<Directive>,
        at: Box<Directive>,
    },
    Base64(Box<Directive>),
    /// Fields as a query string: `a=1&b=two%20words`.
    Query(Box<Directive>),
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    root: Root,
    steps: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    /// `$`: the event.
    Event,
    /// `$item`: what `@each` is at.
    Item,
    /// `$settings`: the destination's settings that are no secrets.
    Settings,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Of(Path),
}

/// What a value is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cast {
    Text,
    Number,
    Integer,
    Boolean,
    /// The value written as JSON text.
    Json,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeForm {
    Seconds,
    /// Seconds with three digits behind the point.
    Fraction,
    Millis,
    Micros,
    Iso,
    /// Without fractions of a second.
    IsoSeconds,
    /// The day of UTC: `2026-11-23`.
    Day,
    /// The hour of UTC: `18`.
    Hour,
}

/// How an id is written: `Uuid`, `Ulid` and `Hex` hold the 128 bits of an event's id, the others are made of the SHA-256 of the text,
/// whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdForm {
    Uuid,
    Ulid,
    Hex,
    /// 16 hexadecimal digits.
    Hex16,
    /// A whole number below 2^53, as text.
    Number,
    /// A UUID of the form of random ones (version 4), for vendors that take no other text.
    HashUuid,
}

/// Why a mapping cannot be saved: where in it, what is wrong, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mapping{at}: {what}")]
pub struct MappingError {
    /// As `.properties.price`; empty for the whole.
    pub at: String,
    /// What is wrong and what to write.
    pub what: String,
}

#[cfg(test)]
mod tests;
