//! Pure stages from received bytes to named events. No IO, no clock, no randomness: what they need is an argument.
//!
//! In the collector: `decode` → `receive` (filter → exclusions → scrub → enrich) → `Received`.
//! In the worker: `name_events`: element → group → name, properties → session, campaign → `Event`.

mod decode;
mod enrich;
mod events;
mod exclude;
mod look;
mod naming;
mod price;
mod receive;
mod registry;
mod scrub;
mod session;

pub use decode::{DecodeError, decode, whole_characters};
pub use enrich::{Countries, Tables};
pub use events::{Named, name_events};
pub use look::{Seen, SeenGroup, SeenState, look};
pub use naming::{Candidate, NameOptions, NamedDescriptor, name_descriptor};
pub use receive::{Compiled, Drift, Request, Taken, is_excluded_path, receive};
pub use registry::{
    Catalogue, CrowdCounts, ElementView, FormView, GroupView, Hit, NameChange, NameView, Registry, Reviewed, Selected,
    Selector, Silence, SiteChange, SiteChangeKind,
};
pub use scrub::{RULES, Witness, first_rule, judge, looks_like_name, scrub_text};
