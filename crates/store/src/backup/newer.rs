//! What the audit log that lies in a data folder knows and the backup does not: a restore over it takes these acts back, and says which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use convizit_model::Timestamp;
use futures_util::TryStreamExt as _;
use serde::Serialize;
use sqlx::{AnyConnection, Connection as _, query};

use crate::audit::{self, AuditEntry};
use crate::database::reading;
use crate::error::{Columns as _, During, StoreError};
use crate::missing;

const NAME: &str = "read the audit log that lies there";
/// Entries that are read at once.
const PAGE: i64 = 5_000;
/// Uses of keys, which change nothing.
const USES: [&str; 2] = ["key.wrap", "key.unwrap"];
/// What lets a destination send on, or changes nothing of it.
const HARMLESS: [&str; 6] = [
    "destination.pass_over",
    "destination.replay",
    "destination.resume",
    "destination.retry",
    "destination.stop_replay",
    "destination.test",
];

/// The audit log of a data folder whose installation does not run: of what was moved aside by a restore.
pub struct LyingLog(AnyConnection);

impl LyingLog {
    /// Opens the one of a folder.
    ///
    /// # Errors
    /// `Invalid` when there is no `control.db`, `Database` when it cannot be opened.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(missing::CONTROL);
        if !file.is_file() {
            return Err(StoreError::Invalid(format!(
                "there is no {} in {}, which holds the audit log: name the folder that a restore has moved aside",
                missing::CONTROL,
                folder.display()
            )));
        }
        Ok(Self(reading(&file).await?))
    }

    /// Entries behind a number, oldest first, at most so many.
    ///
    /// # Errors
    /// `Database`.
    pub async fn after(&mut self, number: i64, limit: i64) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = query(
            "SELECT number, time, actor, act, project, subject, detail FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
        )
        .bind(number)
        .bind(limit)
        .fetch_all(&mut self.0)
        .await
        .during(NAME)?;
        audit::read_entries(&rows)
    }

    /// Closes it.
    pub async fn close(self) {
        // Nothing is to be learned from how it closes.
        self.0.close().await.ok();
    }

    /// Whether an entry has this place in the chain.
    async fn has(&mut self, number: i64, chain: &[u8]) -> Result<bool, StoreError> {
        let row = query("SELECT chain FROM audit WHERE number = $1").bind(number).fetch_optional(&mut self.0).await;
        let row = row.during(NAME)?;
        Ok(number == 0 || row.map(|row| row.read::<Vec<u8>>(0)).transpose()?.is_some_and(|found| found == chain))
    }
}

/// What lies there of the audit log and is newer than the backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewerLog {
    /// Entries that the backup does not hold.
    pub entries: u64,
    /// The last of them; 0 where there is none.
    pub last: i64,
    /// What they say was done, and how often: `settings.save`. The uses of keys are among the entries and not here.
    pub acts: BTreeMap<String, u64>,
    /// Why it cannot be read, or is not the log that the backup was made of.
    pub problem: Option<String>,
    /// Destinations that were removed, changed or paused, by project and name.
    #[serde(skip)]
    pub(super) stopped: BTreeSet<(String, String)>,
}

impl NewerLog {
    /// Reads what lies in a folder; `end` is the backup's last entry and its place in the chain. What cannot be read is no reason not to have
    /// the backup back.
    pub(super) async fn look(folder: &Path, end: &(i64, Vec<u8>), made: Timestamp) -> Self {
        let mut newer = Self::default();
        if missing::is_absent(&folder.join(missing::CONTROL)) {
            return newer;
        }
        match LyingLog::open(folder).await {
            Ok(mut log) => {
                if let Err(error) = newer.read(&mut log, end, made).await {
                    newer.problem = Some(error.to_string());
                }
                log.close().await;
            }
            Err(error) => newer.problem = Some(error.to_string()),
        }
        newer
    }

    async fn read(&mut self, log: &mut LyingLog, end: &(i64, Vec<u8>), made: Timestamp) -> Result<(), StoreError> {
        let (number, chain) = end;
        let is_continued = log.has(*number, chain).await?;
        if !is_continued {
            self.problem = Some(format!("its entry {number} is not the one that the backup holds"));
        }
        let mut after = if is_continued { *number } else { 0 };
        loop {
            let entries = log.after(after, PAGE).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = last.number;
            for entry in entries.into_iter().filter(|entry| is_continued || entry.time >= made) {
                self.entries += 1;
                self.last = entry.number;
                if entry.act.starts_with("destination.") && !HARMLESS.contains(&entry.act.as_str()) {
                    self.stopped.insert((entry.project, entry.subject));
                }
                if !USES.contains(&entry.act.as_str()) {
                    *self.acts.entry(entry.act).or_default() += 1;
                }
            }
        }
    }

    /// Whether there is anything to say.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.entries == 0 && self.problem.is_none()
    }

    /// `7 entries, with settings.save ×2, destination.remove`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let entries = missing::counted(self.entries, "entry", "entries");
        let acts: Vec<String> = self
            .acts
            .iter()
            .map(|(act, times)| if *times == 1 { act.clone() } else { format!("{act} ×{times}") })
            .collect();
        if acts.is_empty() { entries } else { format!("{entries} ({})", acts.join(", ")) }
    }
}

/// The last entry of the audit log in a backup, and its place in the chain.
pub(super) async fn end_of(
    target: &super::target::Target,
    ring: &std::sync::Arc<convizit_keys::KeyRing>,
    manifest: &super::pack::Manifest,
) -> Result<(i64, Vec<u8>), StoreError> {
    let progress = super::Progress::default();
    let mut packs = super::check::packs(target, ring, manifest, &progress, |part| part.table == "audit_end");
    let mut end = (0, Vec::new());
    while let Some((_, pack)) = packs.try_next().await? {
        for row in &pack.rows {
            let cell = |name: &str| pack.at(name).and_then(|at| row.get(at));
            end = (
                cell("number").map_or(0, super::pack::Cell::int),
                cell("chain").map(|cell| cell.bytes().to_vec()).unwrap_or_default(),
            );
        }
    }
    Ok(end)
}
