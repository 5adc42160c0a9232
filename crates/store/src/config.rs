//! Where an installation's data is, and its bounds.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::backup::BackupConfig;
use crate::journal::Bounds;
use crate::{mark, missing};

/// Where the data is, and its bounds.
#[derive(Clone)]
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
    /// Whether a person accepts that acknowledged batches or audit entries are missing: the start then goes on without them.
    pub accept_gap: bool,
    /// Whether databases are made where nothing of an installation is there. Whoever only looks makes none, not even in a folder whose
    /// first start was cut short. What was there and is missing is never made anew unless `accept_gap` says so.
    pub makes: bool,
    /// Where backups go; `None` makes none, and keeps no copy of keys and erasures.
    pub backup: Option<BackupConfig>,
    /// Whether this process does the installation's upkeep: the one that knows of its backups, since keys are destroyed by it.
    pub upkeep: bool,
}

/// Without the database's address, which holds a password.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, database, journal_bytes, queue_bytes, reserve_bytes, accept_gap, makes, backup, upkeep } =
            self;
        f.debug_struct("StoreConfig")
            .field("folder", folder)
            .field("database", &database.as_ref().map(|_| "…"))
            .field("journal_bytes", journal_bytes)
            .field("queue_bytes", queue_bytes)
            .field("reserve_bytes", reserve_bytes)
            .field("accept_gap", accept_gap)
            .field("makes", makes)
            .field("backup", backup)
            .field("upkeep", upkeep)
            .finish()
    }
}

impl StoreConfig {
    /// The embedded default in this folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let bounds = Bounds::default();
        Self {
            folder: folder.to_owned(),
            database: None,
            journal_bytes: bounds.journal_bytes,
            queue_bytes: bounds.queue_bytes,
            reserve_bytes: bounds.reserve_bytes,
            accept_gap: false,
            makes: true,
            backup: None,
            upkeep: true,
        }
    }

    /// Whether an installation, or what is left of one, is there: asked before opening by whoever must not make one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let databases: &[&str] =
            if self.database.is_some() { &["journal.id"] } else { &[missing::CONTROL, missing::DATA, mark::AUDIT] };
        // One that may not be looked at is there: opening it says why not.
        let is_there = |file: &&str| self.folder.join(file).try_exists().unwrap_or(true);
        databases.iter().chain(&[missing::JOURNAL, mark::JOURNAL, missing::MOVED]).any(is_there)
    }

    /// Whether every database of it is there: for whoever waits for another process that makes them.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let databases: &[&str] =
            if self.database.is_some() { &["journal.id"] } else { &[missing::CONTROL, missing::DATA] };
        !databases.iter().chain(&[missing::JOURNAL]).any(|file| missing::is_absent(&self.folder.join(file)))
    }
}
