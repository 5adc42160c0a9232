//! The drill: a backup is restored into a scratch folder, beside everything that runs, its rows are counted and it is removed.

use std::time::Instant;

use convizit_model::{NoticeKind, Timestamp};
use serde::Serialize;

use super::check::{check, info};
use super::restore::{close, fill_from, remove};
use super::rows::Sieve;
use super::target::Target;
use super::write::blocking;
use super::{DRILL, Progress, ledger_copy, manifests, read_manifest};
use crate::database::Database;
use crate::error::StoreError;
use crate::{Store, make_folder};

/// What a drill found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrillReport {
    /// When the backup was begun.
    pub made: Timestamp,
    /// Its file.
    pub name: String,
    /// Rows that it holds.
    pub rows: u64,
    /// Events that it holds.
    pub events: i64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Store {
    /// Restores the backup before the newest, or the only one there is, into a scratch folder and compares what stands there with what
    /// its manifest counts. What fails raises a notice, and the next backup takes no pack over unread.
    ///
    /// # Errors
    /// `Unusable` that says what is wrong; `Invalid` when there is no backup, or another process works on backups.
    pub async fn drill(&self, progress: &Progress) -> Result<DrillReport, StoreError> {
        let _alone = self.hold("backup.lock", false).await?;
        let drilled = self.drill_now(progress).await;
        let problem = drilled.as_ref().err().map(ToString::to_string);
        let now = self.clock().now();
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
        let (target, keys) = (Target::open(&config.to, false)?, Target::open(&config.keys_to, false)?);
        let all = manifests(&target).await?;
        let Some((_, name)) = all.iter().rev().nth(1).or(all.last()) else {
            return Err(StoreError::Invalid(format!("there is no backup in {}: convizit backup", target.shown)));
        };
        // As a restore would, from the copy of the keys and not from what this process has in memory.
        let (ledger, ring) = ledger_copy::read(&keys, &**self.keyring().provider()).await?;
        let ring = std::sync::Arc::new(ring);
        let manifest = read_manifest(&target, &ring, name).await?;
        if ledger.sequence < manifest.ledger {
            return Err(StoreError::Unusable("the copy of keys and erasures is older than the backup".to_owned()));
        }
        check(&target, &ring, (name, &manifest), progress).await?;
        let scratch = self.0.folder.join("drill");
        remove(&scratch)?;
        make_folder(&scratch)?;
        let mut sieve = Sieve::new(&ledger, &manifest);
        let filled = {
            // The migrations' future cannot be moved between threads, and this one can.
            let (folder, runtime) = (scratch.clone(), tokio::runtime::Handle::current());
            let (control, data) = blocking(move || runtime.block_on(Database::both(&folder, None))).await?;
            let filled = fill_from((&target, &ring, &manifest), (&control, &data), &mut sieve, progress).await;
            close((control, data), &scratch).await?;
            filled
        };
        remove(&scratch)?;
        filled?;
        let info = info(name, &manifest);
        Ok(DrillReport {
            made: info.made,
            name: info.name,
            rows: info.rows,
            events: info.events,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}
