//! Backups: consistent while everything goes on, incremental, sealed, read back after writing, kept by a schedule, and tried.
//!
//! A backup holds the rows of tables, in one form for both engines: packs of rows under keyed hashes of their content, and a
//! manifest that names them and is written last. Wrapped keys and the ledger of erasures are not in it; they have a copy of
//! their own (`ledger_copy`), by which a restored backup is erased again.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use convizit_model::{NoticeKind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::{Store, disk};

pub(crate) mod anew;
mod check;
mod drill;
mod events;
mod keep;
pub(crate) mod ledger_copy;
mod left;
mod mend;
mod newer;
mod opening;
mod owner;
mod pack;
mod place;
mod plan;
mod restore;
pub(crate) mod rows;
mod snapshot;
mod tables;
pub(crate) mod target;
mod verify;
mod write;

pub use drill::DrillReport;
pub use events::StoredEvents;
pub use keep::Keep;
pub use left::LeftJournal;
pub use mend::{FrameId, FramePlan, MendedFrame};
pub use newer::{LyingLog, NewerLog};
pub use plan::BackupPlan;
pub use restore::{Restore, RestoreReport};
pub use verify::VerifyReport;

use pack::{Manifest, open_manifest};
use target::Target;

/// What the backup's notice is about, and the drill's.
const SUBJECT: &str = "backup";
const DRILL: &str = "drill";
/// What the notice is about of older backups that lie in their place no more.
const GONE: &str = "older backups";
/// What the notice is about of what is damaged and no frame.
const BESIDE: &str = "sealed rows and audit log";
/// What is known of the last backup and the last drill, in the data folder.
const STATE: &str = "backup.state";
/// What the notice of a start is about that went on without what was missing.
pub(crate) const ACCEPTED_GAP: &str = "--accept-gap";
/// Nobody waits longer for another backup or copy.
const LOCKED: Duration = Duration::from_secs(60);

/// Where backups go, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// A folder, or `s3://bucket/prefix`.
    pub to: String,
    /// The place of the copy of keys and of the ledger of erasures: another one than that of the backups.
    pub keys_to: String,
    /// How long they are kept.
    pub keep: Keep,
    /// The hour of the day, in UTC, at which the daily one is made.
    pub hour: u8,
    /// Whether backups are made. Where they are off, what lies there is read all the same, and a copy of keys and erasures that lies in
    /// its place is kept true for the backups that need it.
    pub makes: bool,
}

impl BackupConfig {
    /// Whether it can be so.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn check(&self) -> Result<(), String> {
        if self.hour > 23 {
            return Err("backup.hour: 0 to 23".to_owned());
        }
        let inside = |inner: &str, outer: &str| {
            let (inner, outer) = (inner.trim_end_matches('/'), outer.trim_end_matches('/'));
            inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
        };
        if inside(&self.keys_to, &self.to) || inside(&self.to, &self.keys_to) {
            return Err(format!(
                "backup.keys_to = {} lies with the backups: whoever had them would have the keys and the ledger of erasures of \
                 their time, and a key that was destroyed must be in no backup; name a place apart",
                self.keys_to
            ));
        }
        Ok(())
    }
}

/// A backup as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupInfo {
    /// When it was begun.
    pub made: Timestamp,
    /// Its file.
    pub name: String,
    /// Events of all projects, without erased ones.
    pub events: i64,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of all packs that it names, also of those that others name too.
    pub bytes: u64,
    /// The program that made it.
    pub program: String,
    /// Events of it that nobody can read any more, since their keys were destroyed; known after `verify_backup`.
    pub gone: i64,
    /// Why it cannot be read; the counts are 0 then.
    pub problem: Option<String>,
}

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupReport {
    /// When it was begun.
    pub made: Timestamp,
    /// Its file.
    pub name: String,
    /// Events of all projects, without erased ones.
    pub events: i64,
    /// Packs that it names.
    pub packs: u64,
    /// Packs that were written anew.
    pub written: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// Older backups that the schedule dropped: none while anything is damaged, or the notice of an accepted gap is open.
    pub dropped: u64,
    /// Why the schedule drops no older backup now; `None` where it does.
    pub keeps_all: Option<String>,
    /// Frames, or keys of days, that do not open. They are in the backup as they are; all else in it is whole.
    pub damaged: u64,
    /// Which those are, twenty at most.
    pub problems: Vec<String>,
    /// Sealed rows that do not open, and breaks of the audit log's chain: they are in the backup as they are, too.
    pub damaged_beside: u64,
    /// Which those are, a hundred at most.
    pub problems_beside: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// How far something has come, for whoever watches: bytes.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    all: AtomicU64,
}

impl Progress {
    /// Bytes done, and bytes in all; 0 while that is not known.
    #[must_use]
    pub fn now(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }

    pub(super) fn expect(&self, bytes: u64) {
        self.all.store(bytes, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What is known of the last backup and the last drill.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupState {
    /// When the last backup that ended well was begun.
    pub made: Option<Timestamp>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Events that it holds; `None` where a program before this one made it.
    pub events: Option<i64>,
    /// When the last drill ended.
    pub drilled: Option<Timestamp>,
    /// What the last drill found; `None` when all was well, or there was none.
    pub drill_problem: Option<String>,
}

impl BackupState {
    /// That of a data folder; nothing where it cannot be read.
    pub(crate) fn of(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join(STATE)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// Times within a name: to the millisecond, so that two of one second differ.
fn manifest_name(made: Timestamp, random: &str) -> String {
    let digits: String = made.to_string().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    format!("manifests/{digits}-{random}.manifest")
}

/// The time that a manifest's name says.
fn time_of(name: &str) -> Option<Timestamp> {
    let stem = name.strip_prefix("manifests/")?.split('-').next()?;
    let part = |range: std::ops::Range<usize>| stem.get(range);
    let millis = stem.get(15..).map(|rest| rest.trim_end_matches('Z')).filter(|rest| !rest.is_empty());
    let text = format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(9..11)?,
        part(11..13)?,
        part(13..15)?,
        millis.unwrap_or("0")
    );
    text.parse().ok()
}

/// The manifests of a place, oldest first.
async fn manifests(target: &Target) -> Result<Vec<(Timestamp, String)>, StoreError> {
    let files = target.list("manifests").await?;
    let mut found: Vec<(Timestamp, String)> =
        files.into_keys().filter_map(|name| Some((time_of(&name)?, name))).collect();
    found.sort();
    Ok(found)
}

/// A backup that lies in a place, and what it holds or why that cannot be read.
struct Listed {
    made: Timestamp,
    name: String,
    manifest: Result<Manifest, StoreError>,
}

/// The backups of a place, oldest first. One that is damaged or foreign does not hide the others.
async fn listed(target: &Target, ring: &convizit_keys::KeyRing) -> Result<Vec<Listed>, StoreError> {
    let mut found = Vec::new();
    for (made, name) in manifests(target).await? {
        let manifest = match read_manifest(target, ring, &name).await {
            // The place itself does not answer.
            Err(error @ StoreError::Database { .. }) => return Err(error),
            read => read,
        };
        found.push(Listed { made, name, manifest });
    }
    Ok(found)
}

async fn read_manifest(target: &Target, ring: &convizit_keys::KeyRing, name: &str) -> Result<Manifest, StoreError> {
    let bytes = target.get(name).await?.ok_or_else(|| pack::damaged(name))?;
    open_manifest(ring, name, &bytes)
}

/// Holds a lock file of a data folder; let go of when dropped, and by the system when the process ends.
async fn hold(folder: &Path, name: &str, wait: bool) -> Result<File, StoreError> {
    let path = folder.join(name);
    let failed =
        |error: std::io::Error| StoreError::Database { action: "lock", problem: disk::io_in_words(&path, &error) };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let begun = std::time::Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if wait && begun.elapsed() < LOCKED => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Invalid(format!(
                    "another process works on backups of this data folder ({name} is locked): wait until it has ended"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

impl Store {
    pub(crate) fn backup_config(&self) -> Option<&BackupConfig> {
        self.0.backup.as_ref()
    }

    /// Where backups of this installation lie, whether it makes any itself or not: for whoever reads there.
    ///
    /// # Errors
    /// `Invalid` when no place is known.
    fn backups_at(&self) -> Result<&BackupConfig, StoreError> {
        self.backup_config().ok_or_else(|| {
            StoreError::Invalid(
                "no place of backups is known here: name it with backup.to and backup.keys_to".to_owned(),
            )
        })
    }

    /// As `backups_at`, for whoever writes there.
    ///
    /// # Errors
    /// `Invalid` when none are made.
    fn makes_backups_at(&self) -> Result<&BackupConfig, StoreError> {
        let config = self.backups_at()?;
        if config.makes {
            return Ok(config);
        }
        Err(StoreError::Invalid(
            "backups are off: this installation makes none, by its setting backup.off = true. A copy that was restored beside the original \
             gets places of its own, backup.to and backup.keys_to, before it is switched on: at the original's it would take its place"
                .to_owned(),
        ))
    }

    pub(crate) fn makes_backups(&self) -> bool {
        self.backup_config().is_some_and(|config| config.makes)
    }

    /// Whether this process knows that the installation makes no backups, by its settings.
    #[must_use]
    pub fn are_backups_off(&self) -> bool {
        self.backup_config().is_some_and(|config| !config.makes)
    }

    pub(crate) fn copied(&self) -> &ledger_copy::Copied {
        &self.0.copied
    }

    pub(crate) async fn hold(&self, name: &str, wait: bool) -> Result<File, StoreError> {
        hold(&self.0.folder, name, wait).await
    }

    /// The backups that there are, newest first; one that cannot be read says why.
    ///
    /// # Errors
    /// `Invalid` when there is no place, `Database` when it does not answer.
    pub async fn backups(&self) -> Result<Vec<BackupInfo>, StoreError> {
        let target = Target::open(&self.backups_at()?.to, false)?;
        let mut found: Vec<BackupInfo> = listed(&target, self.ring()).await?.iter().map(check::info_of).collect();
        found.reverse();
        Ok(found)
    }

    /// Why no backup is dropped now, nor a pack of one: a start went on without what was missing, and whoever has not acknowledged that
    /// may want it back.
    ///
    /// # Errors
    /// `Database`.
    pub async fn keeps_all_backups(&self) -> Result<Option<String>, StoreError> {
        let gap = self.open_notice(NoticeKind::Audit, ACCEPTED_GAP).await?;
        Ok(gap.map(|id| {
            format!(
                "a start with --accept-gap went on without what was missing, which older backups may hold: none is dropped until \
                 convizit notices resolve {id}"
            )
        }))
    }

    /// The backups that the schedule would drop when one was made now in which every frame opens, oldest first.
    ///
    /// # Errors
    /// `Database` when their place does not answer.
    pub async fn backups_to_drop(&self) -> Result<Vec<BackupInfo>, StoreError> {
        let config = self.backups_at()?;
        if !config.makes || self.keeps_all_backups().await?.is_some() {
            return Ok(Vec::new());
        }
        // Before the first there is no place.
        let Ok(target) = Target::open(&config.to, false) else { return Ok(Vec::new()) };
        let all = listed(&target, self.ring()).await?;
        let going = write::going(config.keep, &all, Some(self.clock().now()));
        Ok(all.iter().filter(|backup| going.contains(backup.name.as_str())).map(check::info_of).collect())
    }

    /// When the backups that lie there were begun, by their names, oldest first: whoever has made them, and whether they can be read or
    /// not. None where there is no folder for them.
    ///
    /// # Errors
    /// `Database` when the place does not answer.
    pub async fn lying_backups(&self) -> Result<Vec<Timestamp>, StoreError> {
        let Some(config) = self.backup_config() else { return Ok(Vec::new()) };
        if !config.to.starts_with("s3://") && !Path::new(&config.to).is_dir() {
            return Ok(Vec::new());
        }
        let all = manifests(&Target::open(&config.to, false)?).await?;
        Ok(all.into_iter().map(|(made, _)| made).collect())
    }

    /// What is known of the last backup and the last drill.
    #[must_use]
    pub fn backup_state(&self) -> BackupState {
        BackupState::of(&self.0.folder)
    }

    fn set_backup_state(&self, change: impl FnOnce(&mut BackupState)) -> Result<(), StoreError> {
        let mut state = self.backup_state();
        change(&mut state);
        let failed = |error: String| StoreError::Database { action: "take down what the backup did", problem: error };
        let text = serde_json::to_string(&state).map_err(|error| failed(error.to_string()))?;
        let (path, new) = (self.0.folder.join(STATE), self.0.folder.join(format!("{STATE}.new")));
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|error| failed(disk::io_in_words(&path, &error)))
    }

    /// Makes a backup now. One that fails leaves no manifest, a notice and an entry of the audit log; one that is made stands there, too,
    /// as does each that it drops.
    ///
    /// # Errors
    /// `Invalid` when backups are off or another one runs, `Unusable` for a place that is another's, `Database` when something cannot be
    /// read or written.
    pub async fn back_up(&self, progress: &Progress) -> Result<BackupReport, StoreError> {
        // A setting, and nothing that has failed.
        let config = self.makes_backups_at()?;
        let _alone = self.hold("backup.lock", false).await?;
        match write::run(self, progress).await {
            Ok(report) => {
                self.set_backup_state(|state| {
                    (state.made, state.seconds, state.events) =
                        (Some(report.made), report.seconds, Some(report.events));
                })?;
                if report.damaged == 0 {
                    self.resolve_notice(NoticeKind::Backup, None, SUBJECT).await?;
                } else {
                    let text = format!(
                        "a backup was made, and {} of its frames do not open: {}; no older backup is dropped while it is so, \
                         and one that was made before has them whole: convizit verify says how each is brought back",
                        report.damaged,
                        report.problems.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
                    );
                    self.raise(NoticeKind::Backup, None, SUBJECT, &text).await?;
                }
                if report.damaged_beside == 0 {
                    self.resolve_notice(NoticeKind::Backup, None, BESIDE).await?;
                } else {
                    let text = format!(
                        "a backup was made, and it holds what does not open, or is not as it was written: {}; no older backup is dropped \
                         while it is so: convizit verify --backup TIME looks which one was made before, and convizit restore --at TIME takes that",
                        report.problems_beside.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
                    );
                    self.raise(NoticeKind::Backup, None, BESIDE, &text).await?;
                }
                Ok(report)
            }
            Err(error) => {
                if let Err(error) = self.audit("backup.fail", "", &config.to, error.to_string()).await {
                    tracing::warn!(%error, "that a backup failed is not in the audit log");
                }
                let text = format!("a backup failed: {error}; mend it, then convizit backup");
                // What has failed is the answer, also where a full disk takes no notice.
                if let Err(unsaid) = self.raise(NoticeKind::Backup, None, SUBJECT, &text).await {
                    tracing::warn!(error = %unsaid, "the notice of a failed backup was not written");
                }
                Err(error)
            }
        }
    }

    /// Whether the daily backup is due: its hour has come since the last one, or that is older than 25 hours or of the future.
    #[must_use]
    pub fn backup_is_due(&self) -> bool {
        let Some(config) = self.backup_config().filter(|config| config.makes) else { return false };
        let now = self.clock().now();
        let Some(made) = self.backup_state().made else { return true };
        let hours = i64::from(config.hour);
        let today = Timestamp::from_millis((now.day() * 24 + hours) * 3_600_000);
        let begun = if today <= now { today } else { today.plus_millis(-86_400_000) };
        // One of the future was made while the clock ran ahead.
        made < begun || now.since(made) > 25 * 3_600_000 || made > now
    }
}
