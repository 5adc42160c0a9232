//! The words that the stages share: ids, times, settings, descriptors, events, outcomes. No IO, no clock, no randomness.

pub mod crowd;
pub mod decision;
pub mod descriptor;
pub mod destination;
pub mod event;
pub mod id;
pub mod limits;
pub mod notice;
pub mod outcome;
pub mod page;
pub mod person;
pub mod received;
pub mod role;
pub mod selector;
pub mod settings;
pub mod time;
pub mod wire;
pub mod withheld;
pub mod work;

pub use crowd::{Crowd, Fate, Ruling, Shown, ShownField};
pub use decision::{Change, Decision, DecisionId, Evidence};
pub use descriptor::{ContextEntry, Descriptor, GroupSketch};
pub use destination::{Destination, DestinationKind};
pub use event::{Device, Event, Location, NameState, Properties, Receipt};
pub use id::{BatchId, ElementId, EventId, GroupId, IdError, NameId, ProjectId, ProjectKey};
pub use notice::{Notice, NoticeKind, NoticeState};
pub use outcome::{Outcome, Refusal};
pub use page::PageBlock;
pub use person::Person;
pub use received::Received;
pub use role::{Action, Role};
pub use settings::{Project, ProjectSettings, SettingsError};
pub use time::{Clock, Timestamp};
pub use wire::{Batch, EventType, WireEvent};
pub use withheld::Withheld;
pub use work::{NewEvent, ProjectWork, Quarantined, StateKind, StateRow, Work};
