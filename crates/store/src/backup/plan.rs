//! What a backup would do that was made now: which frames it would open and find damaged, and which older ones would be dropped.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt as _;
use serde::Serialize;

use super::opening::{Damaged, Opener, key_of_day, open_frames};
use super::pack::{Cell, Manifest, PACK_BYTES, Pack, Part, pack_name};
use super::snapshot::Snapshot;
use super::tables::FRAMES;
use super::target::Target;
use super::write::blocking;
use super::{BackupInfo, Progress, VerifyReport, listed};
use crate::Store;
use crate::error::StoreError;

/// What a backup would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupPlan {
    /// The backups that would be dropped, oldest first: none while frames are damaged, or the notice of an accepted gap is open.
    pub drops: Vec<BackupInfo>,
    /// Why the schedule drops no older backup now; `None` where it does.
    pub keeps_all: Option<String>,
    /// Frames, or keys of days, that do not open: it would be made all the same, and end with code 1.
    pub damaged: u64,
    /// Which those are, twenty at most.
    pub problems: Vec<String>,
    /// Sealed rows that do not open, and breaks of the audit log's chain.
    pub damaged_beside: u64,
    /// Which those are, a hundred at most.
    pub problems_beside: Vec<String>,
}

impl Store {
    /// What a backup would do that was made now: opens the frames that it would open, and writes nothing.
    ///
    /// # Errors
    /// `Invalid` when backups are off; `Database` when their place does not answer.
    pub async fn plan_backup(&self, progress: &Progress) -> Result<BackupPlan, StoreError> {
        let damaged = look_for_damage(self, progress).await?;
        let mut beside = VerifyReport::default();
        self.verify_beside(&self.projects().await?, &mut beside).await?;
        let is_whole = damaged.is_none() && beside.problem_count == 0;
        let drops = if is_whole { self.backups_to_drop().await? } else { Vec::new() };
        let keeps_all = self.keeps_all_backups().await?;
        let VerifyReport { problem_count: damaged_beside, problems: problems_beside, .. } = beside;
        Ok(BackupPlan {
            drops,
            keeps_all,
            damaged: damaged.count,
            problems: damaged.said,
            damaged_beside,
            problems_beside,
        })
    }
}

/// How many frames each project's day has, from where to where, how often they were erased from, and their bytes.
pub(super) const FINGERPRINTS: &str = "SELECT project, day, COUNT(*), MIN(first), MAX(last), CAST(SUM(ledger) AS BIGINT), \
                            CAST(SUM(length(body)) AS BIGINT) FROM frames GROUP BY project, day ORDER BY project, day";

/// The frames of a backup by project and day.
pub(super) fn days_of_frames(of: Option<&Manifest>) -> HashMap<(i64, i64), &Part> {
    of.iter()
        .flat_map(|manifest| &manifest.parts)
        .filter(|part| part.table == FRAMES.name)
        .map(|part| ((part.project, part.day), part))
        .collect()
}

/// Whether frames stand as they did in a backup whose packs are there: they are taken over unread.
pub(super) fn is_as_before(part: &Part, fingerprint: [i64; 5], there: &BTreeMap<String, u64>) -> bool {
    part.fingerprint == fingerprint
        && part.packs.iter().all(|pack| there.get(&pack_name(&pack.id)) == Some(&pack.bytes))
}

/// What a backup would find damaged now: it opens the frames that one would open, and writes nothing.
async fn look_for_damage(store: &Store, progress: &Progress) -> Result<Damaged, StoreError> {
    let config = store.makes_backups_at()?;
    // Before the first backup there is no place.
    let (last, there) = match Target::open(&config.to, false) {
        Ok(target) => {
            let last = listed(&target, store.ring()).await?.into_iter().rev().find_map(|backup| backup.manifest.ok());
            (last, target.list("packs").await?)
        }
        Err(_) => (None, BTreeMap::new()),
    };
    let before = days_of_frames(last.as_ref());
    let trusts = store.backup_state().drill_problem.is_none();
    let mut data = Snapshot::of(store.data()).await?;
    let fingerprints = data.all_numbers::<7>(FINGERPRINTS).await?;
    progress.expect(fingerprints.iter().map(|[.., bytes]| bytes.cast_unsigned()).sum());
    let mut damaged = Damaged::default();
    for [project, day, fingerprint @ ..] in fingerprints {
        let is_taken_over =
            trusts && before.get(&(project, day)).is_some_and(|part| is_as_before(part, fingerprint, &there));
        let key = if is_taken_over {
            Err(StoreError::KeyGone { project, day })
        } else {
            store.keyring().day(project, day).await
        };
        let opener = match key {
            Ok(key) => Some(Opener::new(store, (project, day), key)),
            Err(StoreError::KeyGone { .. }) => None,
            Err(error) => {
                damaged.add(key_of_day(store, (project, day), &error));
                None
            }
        };
        let Some(opener) = opener else {
            progress.add(fingerprint[4].cast_unsigned());
            continue;
        };
        let mut rows = data.rows(&FRAMES, Some(("project = $1 AND day = $2", [project, day])));
        let (mut some, mut bytes) = (Vec::new(), 0);
        loop {
            let row = rows.try_next().await?;
            let is_last = row.is_none();
            if let Some(row) = row {
                bytes += row.iter().map(Cell::size).sum::<usize>();
                some.push(row);
            }
            if is_last || bytes >= PACK_BYTES {
                let pack =
                    Pack { table: FRAMES.name.to_owned(), columns: FRAMES.names(), rows: std::mem::take(&mut some) };
                let opener = opener.clone();
                damaged.join(blocking(move || Ok(open_frames(&opener, &pack).damaged)).await?);
                progress.add(std::mem::take(&mut bytes) as u64);
            }
            if is_last {
                break;
            }
        }
    }
    data.end().await?;
    Ok(damaged)
}
