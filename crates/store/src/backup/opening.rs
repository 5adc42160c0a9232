//! Opening the frames of a pack: a backup that holds what nobody can read must not stand for one that does.

use std::collections::HashMap;
use std::sync::Arc;

use convizit_keys::DataKey;
use convizit_model::ProjectId;

use super::ledger_copy::LedgerCopy;
use super::pack::{Cell, Pack};
use crate::error::StoreError;
use crate::keyring::day_place;
use crate::ledger::ProjectLedger;
use crate::named_keys::date;
use crate::{Store, frames};

/// Frames that are named one by one; more are counted.
const SAID: usize = 20;

/// What does not open.
#[derive(Debug, Default)]
pub(super) struct Damaged {
    /// In sentences, the first ones.
    pub(super) said: Vec<String>,
    pub(super) count: u64,
}

impl Damaged {
    pub(super) fn add(&mut self, what: String) {
        self.count += 1;
        if self.said.len() < SAID {
            self.said.push(what);
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        let more = other.count - other.said.len() as u64;
        other.said.into_iter().for_each(|what| self.add(what));
        self.count += more;
    }

    pub(super) fn is_none(&self) -> bool {
        self.count == 0
    }
}

/// What opens the frames of one project's day.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) key: Arc<DataKey>,
    /// The project's id, where it is known.
    id: Option<ProjectId>,
    day: i64,
    ledger: Option<Arc<ProjectLedger>>,
}

impl Opener {
    pub(super) fn new(store: &Store, (project, day): (i64, i64), key: Arc<DataKey>) -> Self {
        Self { key, id: store.project_id(project), day, ledger: store.ledger().now().of(project) }
    }

    /// Whether a frame was sealed by a key that was destroyed since, though its day has one again.
    pub(super) fn is_gone(&self, last: i64) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.has_ended(self.day, last))
    }
}

/// What stands in a pack of frames of one project's day.
pub(super) struct Opened {
    pub(super) project: i64,
    /// Events that are not erased.
    pub(super) events: i64,
    /// Events, erased ones included, of frames whose key was destroyed: they are not looked at.
    pub(super) gone: i64,
    pub(super) damaged: Damaged,
}

/// How many events a frame holds, without the empty lines in the place of erased ones; or what is wrong with it.
pub(super) fn living(key: &DataKey, project: i64, (first, last): (i64, i64), body: &[u8]) -> Result<i64, String> {
    let lines = frames::open(key, project, first, body).map_err(|error| frames::wrong(&error))?;
    let (mut all, mut events) = (0, 0);
    for line in lines.split(|byte| *byte == b'\n') {
        all += 1;
        events += i64::from(!line.is_empty());
    }
    let expected = last - first + 1;
    if all == expected { Ok(events) } else { Err(format!("it holds {all} lines and not {expected}")) }
}

/// Opens every frame of a pack, which are of one project's day.
pub(super) fn open_frames(opener: &Opener, pack: &Pack) -> Opened {
    let mut opened = Opened { project: 0, events: 0, gone: 0, damaged: Damaged::default() };
    let columns = ["project", "first", "last", "body"].map(|name| pack.at(name));
    for row in &pack.rows {
        let cell = |at: usize| columns.get(at).copied().flatten().and_then(|at| row.get(at)).unwrap_or(&Cell::Null);
        let (project, first, last) = (cell(0).int(), cell(1).int(), cell(2).int());
        opened.project = project;
        if opener.is_gone(last) {
            opened.gone += last - first + 1;
            continue;
        }
        match living(&opener.key, project, (first, last), cell(3).bytes()) {
            Ok(events) => opened.events += events,
            Err(error) => opened.damaged.add(match &opener.id {
                Some(id) => format!("frame {id}/{first}: {error}"),
                None => format!("frame {first} of project number {project}: {error}"),
            }),
        }
    }
    opened
}

/// The key of a day that does not open, in words.
pub(super) fn key_of_day(store: &Store, (project, day): (i64, i64), error: &StoreError) -> String {
    format!("the key of {} of {}: {error}", date(day), store.project_in_words(project))
}

/// Where the keys of days are taken from.
pub(super) enum Days<'a> {
    /// What runs.
    Running(&'a Store),
    /// The copy of the keys, as a restore would, under the keys of projects of what runs.
    Copied(&'a Store, HashMap<(i64, i64), &'a [u8]>),
}

impl<'a> Days<'a> {
    pub(super) fn copied(store: &'a Store, copy: &'a LedgerCopy) -> Self {
        let mut days = HashMap::new();
        for row in copy.table("keys").iter().flat_map(|pack| &pack.rows) {
            // In the order of the table's columns, which reading the copy has looked at.
            let [project, kind, number, _, _, _, wrapped] = row.as_slice() else { continue };
            if kind.text() == "day" {
                days.insert((project.int(), number.int()), wrapped.bytes());
            }
        }
        Self::Copied(store, days)
    }

    /// What opens a project's day; `None` when its key was destroyed.
    pub(super) async fn of(&self, project: i64, day: i64) -> Result<Option<Opener>, StoreError> {
        match self {
            Self::Running(store) => match store.keyring().day(project, day).await {
                Err(StoreError::KeyGone { .. }) => Ok(None),
                key => Ok(Some(Opener::new(store, (project, day), key?))),
            },
            Self::Copied(store, days) => {
                let Some(wrapped) = days.get(&(project, day)) else { return Ok(None) };
                let keys = store.keyring().project(project).await?;
                let key = keys.open_key(day_place(&day.to_be_bytes()), wrapped)?;
                Ok(Some(Opener::new(store, (project, day), Arc::new(key))))
            }
        }
    }
}
