//! Pure stages from received bytes to named events. No IO, no clock, no randomness: what they need is an argument.
//!
//! In the collector: `decode` → `filter` → exclusions → `scrub` → `enrich` (device, country) → `Received`.
//! In the worker: `Received` → page template → element → name, group, properties → session, campaign → `Event`.

use std::net::IpAddr;

use convizit_model::{
    Batch, Descriptor, Event, Outcome, PageBlock, Project, Properties, Received, StateRow, Timestamp,
};

/// Why a body was refused, for a JSON problem that names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct DecodeError {
    /// The path of the field: `events[3].id`; `body` for the whole.
    pub field: String,
    /// What is wrong; never the value.
    pub problem: String,
    /// The outcome to count.
    pub refusal: convizit_model::Refusal,
}

/// Parses a body: gunzips it when it starts with the gzip bytes (bounded), bounds depth and size before parsing, checks every limit.
///
/// # Errors
/// The first field that breaks the protocol.
pub fn decode(body: &[u8]) -> Result<Batch, DecodeError> {
    let _ = body;
    todo!()
}

/// Look-up tables that the collector loads once.
pub struct Tables {}

impl Tables {
    /// The tables vendored in `data/`.
    ///
    /// # Errors
    /// When a table is malformed.
    pub fn vendored() -> Result<Self, String> {
        todo!()
    }

    /// Replaces the country database by another MaxMind-format file (a city database also gives regions).
    ///
    /// # Errors
    /// When the bytes are no such database.
    pub fn with_geo(self, database: Vec<u8>) -> Result<Self, String> {
        let _ = database;
        todo!()
    }
}

/// A project's settings, ready for use.
pub struct Compiled {}

impl Compiled {
    /// Compiles validated settings.
    ///
    /// # Errors
    /// Never for settings that `ProjectSettings::validate` passed.
    pub fn new(project: &Project) -> Result<Self, String> {
        let _ = project;
        todo!()
    }
}

/// What only the collector knows of a request; dropped after `receive`.
pub struct Request<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
    /// `Sec-CH-UA*` headers that were sent, lower-case names.
    pub hints: &'a [(&'a str, &'a str)],
    /// When it arrived.
    pub received: Timestamp,
    /// The visitor for identity mode `none`.
    pub derived_visitor: &'a str,
}

/// What `receive` made of a batch.
pub struct Taken {
    /// The scrubbed batch with the events that are left; `None` when none is.
    pub received: Option<Received>,
    /// Outcomes of the events that ended here.
    pub outcomes: Vec<(Outcome, u64)>,
}

/// Filter, exclusions again, scrub again, device, country, clock correction.
#[must_use]
pub fn receive(batch: Batch, project: &Compiled, tables: &Tables, request: &Request<'_>) -> Taken {
    let _ = (batch, project, tables, request);
    todo!()
}

/// What is known of one project: elements, groups, names, page templates, sessions. Yields its own changes.
#[derive(Debug, Clone, Default)]
pub struct Registry {}

impl Registry {
    /// Takes rows that the store kept.
    ///
    /// # Errors
    /// When a row is not of this version's form.
    pub fn load(&mut self, rows: &[StateRow]) -> Result<(), String> {
        let _ = rows;
        todo!()
    }

    /// The rows that are new or changed since the last call.
    pub fn take_changes(&mut self) -> Vec<StateRow> {
        todo!()
    }

    /// The key of a session's state row.
    #[must_use]
    pub fn session_key(visitor: &str, session: &str) -> u64 {
        let _ = (visitor, session);
        todo!()
    }

    /// Whether the session of this key is in memory.
    #[must_use]
    pub fn has_session(&self, key: u64) -> bool {
        let _ = key;
        todo!()
    }
}

/// A named event and its name's id.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The event.
    pub event: Event,
    /// The name's id in the registry, for counts and samples.
    pub name: u64,
}

/// Names the events of a received batch, in order, learning as it goes.
pub fn name_events(received: Received, registry: &mut Registry) -> Vec<Named> {
    let _ = (received, registry);
    todo!()
}

/// What `convizit name` prints for a line.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct NamedDescriptor {
    /// The name.
    pub name: String,
    /// `el_…`.
    pub element: String,
    /// Group id, name, position, length; null outside a group.
    pub group: Option<convizit_model::event::Group>,
    /// Properties with the page's product merged in.
    pub properties: Properties,
    /// Where the name came from: `action`, `label`, `group`, `fallback`.
    pub name_source: String,
    /// With `--rank`: element and score, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Vec<Candidate>>,
}

/// A candidate of `--rank`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Candidate {
    /// Id of the `--known` line that registered it.
    pub id: String,
    /// Its element.
    pub element: String,
    /// 0 to 1.
    pub score: f64,
}

/// Names one descriptor, registering it when `learn`, with candidates when `rank`. `id` is the line's id.
pub fn name_descriptor(
    registry: &mut Registry,
    id: &str,
    page: &PageBlock,
    descriptor: &Descriptor,
    learn: bool,
    rank: bool,
) -> NamedDescriptor {
    let _ = (registry, id, page, descriptor, learn, rank);
    todo!()
}

/// What the text gate says of a text: the rules that would withhold it; empty when it may pass.
#[must_use]
pub fn scrub_text(text: &str) -> Vec<&'static str> {
    let _ = text;
    todo!()
}
