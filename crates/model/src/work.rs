//! What one stretch of the journal became: everything that the worker's one transaction writes.

use crate::crowd::Ruling;
use crate::event::Event;
use crate::id::{EventId, ProjectId};
use crate::notice::NoticeKind;
use crate::outcome::Outcome;
use crate::time::Timestamp;
use crate::withheld::Withheld;

/// The result of processing the journal batches `from + 1 ..= to`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    /// The offset that the reader stood at; the transaction fails when it stands elsewhere.
    pub from: u64,
    /// The offset of the last batch processed.
    pub to: u64,
    /// What became of it, by project; each project at most once.
    pub projects: Vec<ProjectWork>,
}

/// One project's share of a `Work`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectWork {
    /// The project's number.
    pub number: i64,
    /// The project.
    pub project: ProjectId,
    /// New events in journal order; the store gives them consecutive event numbers.
    pub events: Vec<NewEvent>,
    /// Registry and session rows that are new or changed.
    pub rows: Vec<StateRow>,
    /// Outcomes of the items processed.
    pub outcomes: Vec<(Outcome, u64)>,
    /// What was withheld of the events, for the privacy report.
    pub withheld: Vec<(Withheld, u64)>,
    /// What was decided of texts and places, for the collectors.
    pub rulings: Vec<(u64, Ruling)>,
    /// Items that could not be processed.
    pub quarantined: Vec<Quarantined>,
    /// Ids of items that were processed and are not stored, each with the day of its receipt: sent again they are repeats, and counted so.
    pub dropped: Vec<(EventId, i64)>,
}

/// An event ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id; kept in the seen ids.
    pub id: EventId,
    /// The name's id, for counts and samples.
    pub name: u64,
    /// When it was received, in hours since 1970, for counts.
    pub hour: i64,
    /// When it was received, in days since 1970, for frames and seen ids.
    pub day: i64,
    /// Whose it is: found again, by keyed hashes alone, when it is to be erased or exported.
    pub visitor: String,
    /// The id that the site gave.
    pub user: Option<String>,
    /// The earlier of its own time and its receipt: what was erased up to this time is not stored.
    pub since: Timestamp,
    /// The event as JSON.
    pub json: Vec<u8>,
}

/// A row of a project's state that the pipeline owns and the store only seals: element, group, name, template, session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// Which family.
    pub kind: StateKind,
    /// Key within project and kind.
    pub key: u64,
    /// When it may be forgotten, in days since 1970; `None` keeps it. Of elements, groups, names and templates it is the day on
    /// which they were last seen: they go when their project keeps no event of that day any more.
    pub expires_day: Option<i64>,
    /// The row, serialised by the pipeline. The store seals it.
    pub body: Vec<u8>,
}

/// A state row that does not open any more: what it stood for is learned anew.
#[derive(Debug, Clone, PartialEq)]
pub struct LostRow {
    /// Which family.
    pub kind: StateKind,
    /// Key within project and kind.
    pub key: u64,
    /// Of a name: the newest stored event that has it.
    pub newest: Option<Event>,
}

/// Families of state rows. The numbers are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i64)]
pub enum StateKind {
    /// An element and its keys.
    Element = 1,
    /// A group and its signature.
    Group = 2,
    /// A name: text, state, counts towards publishing.
    Name = 3,
    /// A page template.
    Template = 4,
    /// A session: start, campaign, landing page.
    Session = 5,
    /// A decision about names, elements and groups. People's are written by whoever takes them down, not by the worker.
    Decision = 6,
    /// How often a class word outlived a deploy.
    Class = 7,
    /// Whose texts vary: what the first visitors of a window saw at a place.
    Place = 8,
    /// A text that waits, and who has shown it.
    Waiting = 9,
}

impl StateKind {
    /// The kind of a stored number.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Element,
            2 => Self::Group,
            3 => Self::Name,
            4 => Self::Template,
            5 => Self::Session,
            6 => Self::Decision,
            7 => Self::Class,
            8 => Self::Place,
            9 => Self::Waiting,
            _ => return None,
        })
    }
}

/// An item that failed alone, after its batch had failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The kind of the notice.
    pub notice: NoticeKind,
    /// The event's id, or the batch's offset. Never captured text.
    pub subject: String,
    /// The item, already scrubbed; the store seals it.
    pub body: Vec<u8>,
}
