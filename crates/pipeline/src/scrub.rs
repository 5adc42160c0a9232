//! The text gate on the server: what the tracker let through is checked again before anything is written.
//!
//! Drop on suspicion: on a hit the whole text goes, its place in the structure stays, and a receipt says field and rule.

mod announced;
mod batch;
mod clean;
mod crowd;
mod normal;
mod person;
mod rules;
mod secret;
mod table;
mod web_address;

pub(crate) use batch::scrub_batch;
pub use crowd::Witness;
pub(crate) use crowd::{Places, hold_texts, text_key};
pub use person::looks_like_name;
pub(crate) use web_address::{host_of, path_template, query_of, template};

/// Version of the rules; it stands in every receipt.
pub const RULES: u32 = 2;

/// What the text gate says of a text: the rules that would withhold it; empty when it may pass.
#[must_use]
pub fn scrub_text(text: &str) -> Vec<&'static str> {
    rules::all(text)
}

/// The first rule that withholds this text; none when it may pass.
#[must_use]
pub fn first_rule(text: &str) -> Option<&'static str> {
    clean::remembered(text, rules::first)
}

/// As `first_rule`, whether the text was seen before or not: for measurements.
#[must_use]
pub fn judge(text: &str) -> Option<&'static str> {
    rules::first(text)
}
