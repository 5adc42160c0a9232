//! The drill: a backup is restored into a scratch folder, beside everything that runs, every frame of it is
//! opened, its rows are counted and it is removed.

use std::path::PathBuf;
use std::time::Instant;

use convizit_model::{NoticeKind, Timestamp};
use serde::Serialize;

use super::check::{check, info};
use super::opening::Days;
use super::restore::{close, fill_from, remove};
use super::rows::Sieve;
use super::target::Target;
use super::write::blocking;
use super::{DRILL, Progress, ledger_copy, listed, read_manifest};
use crate::database::Database;
use crate::error::StoreError;
use crate::start::make_folder;
use crate::{Store, disk};

/// Bytes that a drill leaves free.
const RESERVE: u64 = 128 << 20;

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillReport {
    /// When the backup was begun.
    pub made: Timestamp,
    /// Its file.
    pub name: String,
    /// Rows that it holds.
    pub rows: u64,
    /// Events in the frames that were opened, and in those whose key was destroyed since.
    pub events: i64,
    /// Those of them that nobody can read any more, since their keys were destroyed.
    pub gone: i64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// The folder of a drill, which is gone when it has ended, however it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: PathBuf) -> Result<Self, StoreError> {
        remove(&folder)?;
        Ok(Self(folder))
    }

    fn make(&self) -> Result<(), StoreError> {
        make_folder(&self.0)
    }

    /// Bytes that an ordinary user may still write where it is to be.
    fn free_bytes(&self) -> Result<u64, StoreError> {
        let of = self.0.parent().unwrap_or(&self.0);
        disk::free_bytes(of).map_err(|error| StoreError::Database {
            action: "measure free space",
            problem: format!("{}: {error}", of.display()),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(%error, "the scratch folder of a drill was left behind; the next drill removes it");
        }
    }
}

impl Store {
    /// Restores the backup before the newest, or the only one there is, into a scratch folder, opens every frame, and compares what
    /// stands there with what its manifest counts. Either end stands in the audit log. What fails raises a notice where backups are made,
    /// and the next one takes no pack over unread.
    ///
    /// # Errors
    /// `Unusable` that says what is wrong; `Invalid` when there is no backup, or another process works on backups.
    pub async fn drill(&self, progress: &Progress) -> Result<DrillReport, StoreError> {
        let _alone = self.hold("backup.lock", false).await?;
        let drilled = self.drill_now(progress).await;
        let problem = drilled.as_ref().err().map(ToString::to_string);
        let now = self.clock().now();
        let (name, said) = match (&drilled, &problem) {
            (Ok(report), _) => (
                report.name.as_str(),
                format!("restored: {} events and {} rows as counted", report.events, report.rows),
            ),
            (_, problem) => ("", format!("failed: {}", problem.as_deref().unwrap_or_default())),
        };
        self.audit("backup.drill", "", name, said).await?;
        if !self.makes_backups() {
            // Of an installation that makes none, what lies there is another's: whoever asked has the answer.
            return drilled;
        }
        self.set_backup_state(|state| (state.drilled, state.drill_problem) = (Some(now), problem.clone()))?;
        match problem {
            None => self.resolve_notice(NoticeKind::Backup, None, DRILL).await?,
            Some(problem) => {
                let text = format!(
                    "a drill could not restore a backup: {problem}; the next backup writes anew what is damaged"
                );
                self.raise(NoticeKind::Backup, None, DRILL, &text).await?;
            }
        }
        drilled
    }

    async fn drill_now(&self, progress: &Progress) -> Result<DrillReport, StoreError> {
        let started = Instant::now();
        let config = self.backups_at()?;
        let (target, keys) = (Target::open(&config.to, false)?, ledger_copy::place(&config.keys_to)?);
        // A crash may have left it.
        let scratch = Scratch::new(self.0.folder.join("drill"))?;
        let all = listed(&target, self.ring()).await?;
        let unreadable = all.iter().rev().find_map(|backup| backup.manifest.as_ref().err().map(ToString::to_string));
        let mut readable = all.into_iter().rev().filter_map(|backup| Some((backup.name, backup.manifest.ok()?)));
        let (newest, before) = (readable.next(), readable.next());
        let Some((name, _)) = before.or(newest) else {
            return Err(match unreadable {
                Some(problem) => StoreError::Unusable(problem),
                None => StoreError::Invalid(format!("there is no backup in {}: convizit backup", target.shown)),
            });
        };
        let name = &name;
        // As a restore would, from the copy of the keys and not from what this process has in memory.
        let (ledger, ring) = ledger_copy::read(&keys, &**self.keyring().provider()).await?;
        let ring = std::sync::Arc::new(ring);
        let manifest = read_manifest(&target, &ring, name).await?;
        if ledger.sequence < manifest.ledger {
            return Err(StoreError::Unusable("the copy of keys and erasures is older than the backup".to_owned()));
        }
        let days = Days::copied(self, &ledger);
        let gone = check(&target, &ring, (name, &manifest), Some(days), progress).await?;
        // What is restored is about as large as its packs; ingestion is not to meet a full disk for a drill's sake.
        let bytes: u64 = manifest.packs().map(|pack| pack.bytes).sum();
        let (needs, free) = (bytes + bytes / 4 + RESERVE, scratch.free_bytes()?);
        if free < needs {
            return Err(StoreError::Invalid(format!(
                "a drill needs {} MiB of free space in {} for as long as it runs, and there are {}: make room",
                needs >> 20,
                self.0.folder.display(),
                free >> 20
            )));
        }
        scratch.make()?;
        let mut sieve = Sieve::new(&ledger, &manifest);
        let filled = {
            // The migrations' future cannot be moved between threads, and this one can.
            let (folder, runtime) = (scratch.0.clone(), tokio::runtime::Handle::current());
            let (control, data) = blocking(move || runtime.block_on(Database::both(&folder, None))).await?;
            let filled = fill_from((&target, &ring, &manifest), (&control, &data), &mut sieve, progress).await;
            let closed = close((control, data), &scratch.0).await;
            filled.and(closed)
        };
        drop(scratch);
        filled?;
        let info = info(name, &manifest);
        Ok(DrillReport {
            made: info.made,
            name: info.name,
            rows: info.rows,
            events: info.events,
            gone,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}
