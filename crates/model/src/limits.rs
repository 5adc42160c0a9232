//! The bounds of what is accepted, in one place: tracker, collector and pipeline keep the same ones.

/// The protocol version that this build speaks.
pub const PROTOCOL: u32 = 1;
/// Bytes of a batch as JSON.
pub const BATCH_BYTES: usize = 64 * 1024;
/// Events in a batch.
pub const BATCH_EVENTS: usize = 100;
/// Nesting of a batch's JSON.
pub const JSON_DEPTH: usize = 12;
/// Characters of a name.
pub const NAME_CHARS: usize = 255;
/// Properties of an event.
pub const PROPERTIES: usize = 50;
/// Characters of a property's key.
pub const KEY_CHARS: usize = 255;
/// Characters of a property's string value.
pub const VALUE_CHARS: usize = 255;
/// Characters of a label.
pub const LABEL_CHARS: usize = 120;
/// Entries of a context chain.
pub const CONTEXT_ENTRIES: usize = 6;
/// Characters of a URL.
pub const URL_CHARS: usize = 2048;
/// Characters of a visitor, session or user id.
pub const ID_CHARS: usize = 128;
/// A clock difference below this many milliseconds is network time and is not corrected.
pub const CLOCK_TOLERANCE_MILLIS: i64 = 5_000;
