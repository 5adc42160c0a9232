//! The only door to disk and to SQL. Signatures first; each family of tables has its own file.

pub mod journal;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use convizit_keys::KeyRing;
use convizit_model::{
    Clock, Destination, Event, EventId, Notice, NoticeKind, NoticeState, Outcome, Project, ProjectId, ProjectKey,
    ProjectSettings, StateRow, Timestamp, Work,
};

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the database failed; nothing was written.
    #[error("{action}: {problem}")]
    Database {
        /// The transaction's name.
        action: &'static str,
        /// What the engine said.
        problem: String,
    },
    /// There is no room: the collector answers 503.
    #[error("{0}")]
    Full(String),
    /// A thing that does not exist.
    #[error("there is no {what} {name}")]
    NotFound {
        /// `project`, `destination`, `notice`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// What a person asked for is not possible as it stands.
    #[error("{0}")]
    Invalid(String),
    /// The stored data cannot be used by this build, or is damaged.
    #[error("{0}")]
    Unusable(String),
    /// Another worker has moved the offset, or another reader the cursor.
    #[error("{what} stands elsewhere than expected: somebody else has moved it")]
    Moved {
        /// Which cursor.
        what: String,
    },
    /// Keys.
    #[error(transparent)]
    Keys(#[from] convizit_keys::KeyError),
}

/// Where the data is, and its bounds.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Data folder; made with mode 0700 when missing. Holds journal.db, data.db, control.db and the journal's mark.
    pub folder: PathBuf,
    /// `postgres://…` puts control data and frames into PostgreSQL; the journal stays in SQLite.
    pub database: Option<String>,
    /// The journal grows to this many bytes, then `append` says full. Default 4 GiB.
    pub journal_bytes: u64,
    /// Bytes waiting for the journal's writer, default 16 MiB.
    pub queue_bytes: usize,
    /// Free disk space that the collector never uses, default 64 MiB.
    pub reserve_bytes: u64,
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The store: cheap to clone, shared by every role in the process.
#[derive(Clone)]
pub struct Store {}

/// What the journal holds at one offset.
#[derive(Debug, Clone)]
pub struct JournalBatch {
    /// Consecutive from 1.
    pub offset: u64,
    /// Records in the order of their arrival, each as given to `append`.
    pub records: Vec<Bytes>,
}

/// A stored event with its number.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Consecutive per project from 1; erased numbers are missing.
    pub number: i64,
    /// The event as JSON.
    pub json: Bytes,
}

/// How far a destination has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationState {
    /// The destination.
    pub destination: Destination,
    /// Number of the last event that is delivered, filtered or dead.
    pub cursor: i64,
    /// Events in the dead letters.
    pub dead: i64,
}

/// An event that a destination refused.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its number.
    pub number: i64,
    /// What the destination said, shortened; never event content.
    pub reason: String,
}

/// State of the store for `/healthz`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Why nothing can be written now; `None` when all is well.
    pub failing: Option<String>,
    /// Bytes waiting for the journal's writer.
    pub queue_bytes: u64,
    /// Bytes of the journal's unprocessed batches.
    pub journal_bytes: u64,
    /// Newest journal offset.
    pub journal_offset: u64,
    /// Offset processed by the worker.
    pub worker_offset: u64,
}

#[expect(clippy::unused_async, reason = "signatures of work in progress")]
impl Store {
    /// Opens or makes the data folder and databases, runs migrations, recovers the journal, checks its mark.
    ///
    /// # Errors
    /// A database of a newer schema, a damaged journal, an unwritable folder, pragmas that do not hold: each in one sentence that says what to do.
    pub async fn open(config: StoreConfig, keys: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let _ = (config, keys, clock);
        todo!()
    }

    /// The installation's clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        todo!()
    }

    /// Waits for the writers to finish what they have and closes the databases.
    pub async fn close(&self) {}

    // ---- journal/ ----

    /// Whether the journal's queue takes so many bytes now: asked before parsing.
    ///
    /// # Errors
    /// `Full` with the reason: queue, journal bound, disk reserve, failing disk.
    pub fn journal_has_room(&self, bytes: usize) -> Result<(), StoreError> {
        let _ = bytes;
        todo!()
    }

    /// Appends a record and returns when it is on disk and synced.
    ///
    /// # Errors
    /// `Full` or `Database`; then the record is not in the journal.
    pub async fn journal_append(&self, record: Bytes) -> Result<(), StoreError> {
        let _ = record;
        todo!()
    }

    /// The batches after an offset, oldest first, at most so many bytes (one batch at least).
    ///
    /// # Errors
    /// `Unusable` when a batch is damaged or the chain is broken.
    pub async fn journal_read(&self, after: u64, max_bytes: usize) -> Result<Vec<JournalBatch>, StoreError> {
        let _ = (after, max_bytes);
        todo!()
    }

    /// Returns when the journal has a batch after this offset.
    pub async fn journal_wait(&self, after: u64) {
        let _ = after;
    }

    // ---- worker ----

    /// The offset up to which the journal is processed.
    ///
    /// # Errors
    /// `Database`.
    pub async fn worker_offset(&self) -> Result<u64, StoreError> {
        todo!()
    }

    /// Which of these ids are stored already.
    ///
    /// # Errors
    /// `Database`.
    pub async fn seen(&self, project: i64, ids: &[EventId]) -> Result<HashSet<EventId>, StoreError> {
        let _ = (project, ids);
        todo!()
    }

    /// All state rows of a project but its sessions.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_state(&self, project: i64) -> Result<Vec<StateRow>, StoreError> {
        let _ = project;
        todo!()
    }

    /// The session rows of these keys.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_sessions(&self, project: i64, keys: &[u64]) -> Result<Vec<StateRow>, StoreError> {
        let _ = (project, keys);
        todo!()
    }

    /// Writes frames, seen ids, rows, counts, samples, outcomes, quarantine, notices and the offset in ONE transaction,
    /// then lets the journal drop what is processed. Frames are merged apart, in steps of at most 20 ms.
    ///
    /// # Errors
    /// `Moved` when the offset is not `work.from`; then nothing is written.
    pub async fn commit_work(&self, work: Work) -> Result<(), StoreError> {
        let _ = work;
        todo!()
    }

    // ---- reading events ----

    /// Events after a number, oldest first, at most so many and about so many bytes.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn events_after(
        &self,
        project: i64,
        after: i64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let _ = (project, after, max_events, max_bytes);
        todo!()
    }

    /// Number of a project's newest event, 0 when it has none.
    ///
    /// # Errors
    /// `Database`.
    pub async fn last_event(&self, project: i64) -> Result<i64, StoreError> {
        let _ = project;
        todo!()
    }

    /// Returns when the project has an event after this number.
    pub async fn wait_for_event(&self, project: i64, after: i64) {
        let _ = (project, after);
    }

    /// The newest samples of a name, newest first, at most 20.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn samples(&self, project: i64, name: u64) -> Result<Vec<Event>, StoreError> {
        let _ = (project, name);
        todo!()
    }

    // ---- projects, settings ----

    /// Makes a project with a new random key.
    ///
    /// # Errors
    /// `Invalid` when it exists or the settings are wrong.
    pub async fn create_project(&self, id: &ProjectId, settings: ProjectSettings) -> Result<Project, StoreError> {
        let _ = (id, settings);
        todo!()
    }

    /// All projects, by id.
    ///
    /// # Errors
    /// `Database`.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        todo!()
    }

    /// One project.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, id: &ProjectId) -> Result<Project, StoreError> {
        let _ = id;
        todo!()
    }

    /// The project of a public key, from memory (refreshed at once in this process, within 2 s across processes).
    #[must_use]
    pub fn project_by_key(&self, key: &ProjectKey) -> Option<Arc<Project>> {
        let _ = key;
        todo!()
    }

    /// Validates and saves settings, raising the version.
    ///
    /// # Errors
    /// `Invalid` with the field and what to change; `NotFound`.
    pub async fn save_settings(&self, id: &ProjectId, settings: ProjectSettings) -> Result<Project, StoreError> {
        let _ = (id, settings);
        todo!()
    }

    /// Deletes a project and all that is its own, in steps.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_project(&self, id: &ProjectId) -> Result<(), StoreError> {
        let _ = id;
        todo!()
    }

    /// A number that rises with every change of projects, settings and destinations.
    #[must_use]
    pub fn control_version(&self) -> u64 {
        todo!()
    }

    /// The visitor of identity mode `none`: HMAC under a secret that changes each UTC day, over project, address and user agent.
    #[must_use]
    pub fn derived_visitor(&self, project: i64, address: &str, user_agent: &str, now: Timestamp) -> String {
        let _ = (project, address, user_agent, now);
        todo!()
    }

    // ---- destinations ----

    /// Adds or changes a destination; a new one starts at the newest event, or at the first with `from_start`. The secret is stored sealed.
    ///
    /// # Errors
    /// `Invalid`.
    pub async fn save_destination(
        &self,
        destination: &Destination,
        secret: Option<&str>,
        from_start: bool,
    ) -> Result<(), StoreError> {
        let _ = (destination, secret, from_start);
        todo!()
    }

    /// All destinations of a project, or of all, with their state.
    ///
    /// # Errors
    /// `Database`.
    pub async fn destinations(&self, project: Option<&ProjectId>) -> Result<Vec<DestinationState>, StoreError> {
        let _ = project;
        todo!()
    }

    /// The opened secret of a destination.
    ///
    /// # Errors
    /// `Keys`, `NotFound`.
    pub async fn destination_secret(&self, project: &ProjectId, name: &str) -> Result<Option<String>, StoreError> {
        let _ = (project, name);
        todo!()
    }

    /// Deletes a destination, its cursor and its dead letters.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_destination(&self, project: &ProjectId, name: &str) -> Result<(), StoreError> {
        let _ = (project, name);
        todo!()
    }

    /// Moves a cursor from where it stood, writing refused events as dead letters in the same transaction.
    ///
    /// # Errors
    /// `Moved` when it stands elsewhere.
    pub async fn advance(
        &self,
        project: &ProjectId,
        name: &str,
        from: i64,
        to: i64,
        dead: Vec<DeadLetter>,
    ) -> Result<(), StoreError> {
        let _ = (project, name, from, to, dead);
        todo!()
    }

    /// Pauses a destination with a reason and a notice, or resumes it with `None`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn pause_destination(
        &self,
        project: &ProjectId,
        name: &str,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let _ = (project, name, reason);
        todo!()
    }

    // ---- outcomes, notices, upkeep ----

    /// Adds to the counters of outcomes given before the journal; in memory, saved each second.
    pub fn count(&self, project: i64, outcome: Outcome, items: u64) {
        let _ = (project, outcome, items);
    }

    /// Totals of outcomes of a project.
    ///
    /// # Errors
    /// `Database`.
    pub async fn outcomes(&self, project: i64) -> Result<Vec<(String, u64)>, StoreError> {
        let _ = project;
        todo!()
    }

    /// Raises a notice, or adds to the open one of the same kind, project and subject.
    ///
    /// # Errors
    /// `Database`.
    pub async fn raise(
        &self,
        kind: NoticeKind,
        project: Option<&ProjectId>,
        subject: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        let _ = (kind, project, subject, text);
        todo!()
    }

    /// Notices, newest first; all states with `resolved`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn notices(&self, resolved: bool) -> Result<Vec<Notice>, StoreError> {
        let _ = resolved;
        todo!()
    }

    /// Moves a notice to another state.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_notice(&self, id: i64, state: NoticeState) -> Result<(), StoreError> {
        let _ = (id, state);
        todo!()
    }

    /// Health for `/healthz`, `/readyz` and `/metrics`.
    #[must_use]
    pub fn health(&self) -> Health {
        todo!()
    }

    /// One round of upkeep in steps of at most 20 ms: merges frames, drops days beyond retention, deletes processed journal rows, checkpoints.
    ///
    /// # Errors
    /// `Database`.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        todo!()
    }
}
