//! Restoring a backup: everything is looked at before anything is written, and what was erased since is erased again before it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convizit_keys::{KeyProvider, KeyRing};
use convizit_model::{Clock, NoticeKind, Timestamp};
use futures_util::TryStreamExt as _;
use serde::Serialize;
use sqlx::{AssertSqlSafe, query};

use super::check::{Chosen, check, info, info_of, newest, packs};
use super::ledger_copy::{self, LedgerCopy};
use super::left::LeftJournal;
use super::newer::{self, NewerLog};
use super::owner::{LOOKS, RESTORED};
use super::pack::{Cell, Manifest, Pack, installation_of};
use super::place::{cannot, folder_of_left, is_folder_empty, left_in, move_aside, move_in};
use super::rows::{RESTORING, Sieve};
use super::tables::{CONTROL, DATA, ERASURES, FRAMES, JOURNAL, KEYS, Kind, TOKENS, Table, table};
use super::target::Target;
use super::{BackupInfo, Progress, hold, listed};
use crate::database::Database;
use crate::erasure::is_damage;
use crate::error::{Columns as _, During, StoreError};
use crate::start::make_folder;
use crate::{Expects, Store, StoreConfig, audit, missing};

/// Held while a restore into a folder goes on.
const LOCK: &str = "restore.lock";
/// The table that says, until the end, that a restore goes on.
const WORKER: &str = "worker";
/// How long closing databases may take.
const CLOSED: Duration = Duration::from_secs(60);
/// Records that are given to the journal at once.
const APPENDS: usize = 256;

/// A restore that was looked at, and not begun.
pub struct Restore {
    config: StoreConfig,
    provider: Arc<dyn KeyProvider>,
    clock: Arc<dyn Clock>,
    target: Target,
    ring: Arc<KeyRing>,
    ledger: LedgerCopy,
    name: String,
    manifest: Manifest,
    passed_over: Vec<String>,
    /// What lies in the data folder and is moved aside.
    aside: Vec<&'static str>,
    /// Where the journal lies among them, or where a restore that was cut short has put it.
    journal: PathBuf,
    /// What waits in the journal.
    left: LeftJournal,
    /// The backup's last entry of the audit log, and its place in the chain.
    log_end: (i64, Vec<u8>),
    /// What the audit log among them knows and the backup does not.
    newer: NewerLog,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestoreReport {
    /// When the backup was begun.
    pub made: Timestamp,
    /// The backup's file.
    pub name: String,
    /// Events by project that can be read now.
    pub events: Vec<(String, i64)>,
    /// Events that the backup held and that were left out, since their key was destroyed or their dataset erased.
    pub left_out_events: i64,
    /// Rows that were left out, by table.
    pub left_out: BTreeMap<String, u64>,
    /// Destinations of erased datasets, which no key opens any more: they are to be added again.
    pub lost_destinations: Vec<String>,
    /// Accounts, with passwords, second factors and rights as they were when the backup was made: what was withdrawn since is there again.
    pub accounts: u64,
    /// Records that wait in the journal for the worker.
    pub journal_records: u64,
    /// What of these was taken over from the journal that lay there before.
    pub left_journal: LeftJournal,
    /// What the audit log that lay there knew and the backup does not: it is taken back.
    pub newer_log: NewerLog,
    /// Destinations that came back paused, `shop/hook`, since they were removed, changed or paused after the backup was made.
    pub paused_destinations: Vec<String>,
    /// Erasures that were carried out again.
    pub erased_again: u64,
    /// Frames that do not open, as they did not when the backup was made: `convizit verify` names them.
    pub damaged_frames: u64,
    /// The folder into which the files went that lay there before.
    pub aside: Option<PathBuf>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Restore {
    /// The backups that there are, newest first, where no installation is needed to read them: one that cannot be read says why.
    ///
    /// # Errors
    /// `Invalid` when there is no place, `Unusable` and `Keys` when the copy of the keys does not open.
    pub async fn available(config: &StoreConfig, provider: &dyn KeyProvider) -> Result<Vec<BackupInfo>, StoreError> {
        let places = config.backup.as_ref().ok_or_else(off)?;
        let (target, keys) = (place_of(&places.to)?, ledger_copy::place(&places.keys_to)?);
        let (_, ring) = ledger_copy::read(&keys, provider).await?;
        let mut found: Vec<BackupInfo> = listed(&target, &ring).await?.iter().map(info_of).collect();
        found.reverse();
        Ok(found)
    }

    /// Looks at everything that a restore needs: an empty place, the copy of keys and erasures, the backup with every pack.
    ///
    /// # Errors
    /// `Invalid` when the place is not empty or there is no such backup; `Unusable` when a file is damaged, missing, of another
    /// installation or of a newer program; `Keys` when the provider cannot unwrap the installation's keys. Nothing is touched.
    pub async fn plan(
        config: StoreConfig,
        provider: Arc<dyn KeyProvider>,
        clock: Arc<dyn Clock>,
        at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<Self, StoreError> {
        is_folder_empty(&config.folder)?;
        let plan = Self::plan_over(config, provider, clock, at, progress).await?;
        // What comes there meanwhile is somebody's.
        let mut plan = Self { aside: Vec::new(), ..plan };
        if !plan.goes_on() {
            (plan.left, plan.newer) = Default::default();
        }
        Ok(plan)
    }

    /// The same for a data folder that has lost a part of its databases: what is left of them is moved aside once the backup is
    /// restored beside it, and all else in the folder stays where it is.
    ///
    /// # Errors
    /// As `plan`; that files lie in the data folder is none.
    pub async fn plan_over(
        config: StoreConfig,
        provider: Arc<dyn KeyProvider>,
        clock: Arc<dyn Clock>,
        at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<Self, StoreError> {
        let places = config.backup.clone().ok_or_else(off)?;
        is_database_empty(&config).await?;
        let (target, keys) = (place_of(&places.to)?, ledger_copy::place(&places.keys_to)?);
        let (ledger, ring) = ledger_copy::read(&keys, &*provider).await?;
        let ring = Arc::new(ring);
        let Chosen { name, manifest, passed_over } = newest(&target, &ring, at).await?;
        if ledger.sequence < manifest.ledger {
            return Err(StoreError::Unusable(format!(
                "the copy of keys and erasures in {} is older ({}) than this backup ({}): what was erased in between would come back; \
                 bring the newest copy",
                places.keys_to, ledger.sequence, manifest.ledger
            )));
        }
        refuse_older(&ledger, &config.folder, &places.keys_to).await?;
        // Not its frames: what was damaged when it was made is no reason not to have the rest back.
        check(&target, &ring, (&name, &manifest), None, progress).await?;
        let journal = folder_of_left(&config.folder, missing::JOURNAL);
        let left = LeftJournal::look(&journal, manifest.journal_offset, (&ring, &clock)).await;
        let log_end = newer::end_of(&target, &ring, &manifest).await?;
        // On PostgreSQL it is in the database, which is empty.
        let newer = match &config.database {
            Some(_) => NewerLog::default(),
            None => NewerLog::look(&folder_of_left(&config.folder, missing::CONTROL), &log_end, manifest.made()).await,
        };
        // Behind it: whoever reads a database may leave a log beside it, or take it away.
        let aside = left_in(&config.folder);
        Ok(Self {
            config,
            provider,
            clock,
            target,
            ring,
            ledger,
            name,
            manifest,
            passed_over,
            aside,
            journal,
            left,
            log_end,
            newer,
        })
    }

    /// Whether a restore that was cut short has moved the journal away already.
    fn goes_on(&self) -> bool {
        self.journal != self.config.folder
    }

    /// Files of the data folder that are moved aside.
    #[must_use]
    pub fn moves_aside(&self) -> &[&'static str] {
        &self.aside
    }

    /// What waits in the journal among them: it goes behind what the backup holds.
    #[must_use]
    pub fn left_journal(&self) -> &LeftJournal {
        &self.left
    }

    /// What the audit log among them knows and the backup does not.
    #[must_use]
    pub fn newer_log(&self) -> &NewerLog {
        &self.newer
    }

    /// Why newer backups are not taken, newest first.
    #[must_use]
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// The backup that it is about.
    #[must_use]
    pub fn backup(&self) -> BackupInfo {
        info(&self.name, &self.manifest)
    }

    /// Restores it; `actor` is who does, for the audit log.
    ///
    /// # Errors
    /// `Database`, and whatever opening a store may say. On SQLite nothing is in the data folder then; a PostgreSQL database that
    /// was begun is refused by every start.
    pub async fn run(self, actor: &str, progress: &Progress) -> Result<RestoreReport, StoreError> {
        let started = Instant::now();
        make_folder(&self.config.folder)?;
        let _alone = hold(&self.config.folder, LOCK, false).await?;
        self.refuse_a_newer_copy().await?;
        let scratch = self.config.folder.join("restore");
        remove(&scratch)?;
        make_folder(&scratch)?;
        let mut sieve = Sieve::new(&self.ledger, &self.manifest);
        let (control, data) = Database::both(&scratch, self.config.database.as_deref()).await?;
        fill(&self, (&control, &data), &mut sieve, progress).await?;
        let erased_again = self.end_filling((&control, &data), &sieve).await?;
        close((control, data), &scratch).await?;
        let config = StoreConfig { folder: scratch.clone(), backup: None, accept_gap: false, ..self.config.clone() };
        // One handle only: while there is another, its connections stay open.
        let opening = Store::assemble(config, self.provider.clone(), self.clock.clone(), Expects::Restored);
        let store = opening.await?.acting_as(actor);
        let report = self.end(&store, &sieve, erased_again, progress).await;
        store.close().await;
        drop(store);
        let report = report?;
        settled(&scratch).await?;
        self.refuse_a_newer_copy().await?;
        let aside = move_aside(&self.config.folder, &self.aside, self.clock.now())?;
        // Somebody may have made an installation there meanwhile.
        is_folder_empty(&self.config.folder)?;
        move_in(&self.config.folder, &scratch)?;
        Ok(RestoreReport { aside, seconds: started.elapsed().as_secs_f64(), ..report })
    }

    /// Refuses to take the place of what is left where that has erased somebody since it was looked at: they would come back.
    async fn refuse_a_newer_copy(&self) -> Result<(), StoreError> {
        let Some(places) = self.config.backup.as_ref().filter(|_| !self.aside.is_empty()) else { return Ok(()) };
        let (lying, _) = ledger_copy::read(&ledger_copy::place(&places.keys_to)?, &*self.provider).await?;
        if lying.sequence > self.ledger.sequence {
            return Err(StoreError::Unusable(format!(
                "the copy of keys and erasures in {} was written anew since this restore began: nothing was moved; end what runs on {}, and \
                 restore again",
                places.keys_to,
                self.config.folder.display()
            )));
        }
        refuse_older(&self.ledger, &self.config.folder, &places.keys_to).await
    }

    /// Keys and the ledger, and that the databases may be opened.
    async fn end_filling(&self, (control, data): (&Database, &Database), sieve: &Sieve) -> Result<u64, StoreError> {
        let sequence = self.ledger.sequence.cast_signed();
        // With backups off, it is restored to look into a backup.
        let looks = if self.config.backup.as_ref().is_some_and(|backup| !backup.makes) { LOOKS } else { 1 };
        let mut reopened = 0;
        for pack in self.ledger.tables() {
            let of_control = [KEYS.name, TOKENS.name].contains(&pack.table.as_str());
            let (mut pack, database) = (pack.clone(), if of_control { control } else { data });
            if pack.table == ERASURES[0].name {
                reopened = sieve.reopen(&mut pack);
            }
            insert(database, Arc::new(pack)).await?;
        }
        control
            .run_tx("end restoring", move |connection| {
                Box::pin(async move {
                    query("INSERT INTO control_version (id, version) VALUES (2, $1)")
                        .bind(sequence)
                        .execute(&mut *connection)
                        .await
                        .during("end restoring")?;
                    // The backup may hold such a row itself.
                    query("INSERT INTO control_version (id, version) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET version = $2")
                        .bind(RESTORED)
                        .bind(looks)
                        .execute(connection)
                        .await
                        .during("end restoring")
                        .map(|_| ())
                })
            })
            .await?;
        data.run_tx("end restoring", |connection| {
            Box::pin(async move {
                query("UPDATE worker SET journal = '' WHERE id = 0")
                    .execute(connection)
                    .await
                    .during("end restoring")
                    .map(|_| ())
            })
        })
        .await?;
        Ok(reopened)
    }

    /// In the opened store: ids, journal, erasures, audit.
    async fn end(
        &self,
        store: &Store,
        sieve: &Sieve,
        erased_again: u64,
        progress: &Progress,
    ) -> Result<RestoreReport, StoreError> {
        let ended = self.events_of_ended_keys(store).await?;
        match store.carry_out_erasures().await {
            // It stays open, which hides the persons, and holds up nothing else.
            Err(error) if is_damage(&error) => tracing::warn!(%error, "an erasure is not carried out wholly"),
            other => other?,
        }
        let stored = store.see_again().await?;
        let appended = self.append(store, progress).await?;
        let left_journal = if self.aside.is_empty() && !self.goes_on() {
            LeftJournal::default()
        } else {
            let with = (&self.ring, &self.clock);
            LeftJournal::take_over(store, &self.journal, self.manifest.journal_offset, with).await
        };
        let events = stored.of_projects(&store.projects().await?);
        let paused_destinations = self.pause_stopped(store).await?;
        self.notice_newer(store).await?;
        let detail = format!(
            "backup of {}, {erased_again} erasures carried out again; {}",
            self.manifest.made(),
            audit::goes_on(self.log_end.0, (self.newer.entries > 0).then_some(self.newer.last))
        );
        let mut entries = store.known_ahead(&self.target, "backup.restore").await?;
        // Last, as the newest that says what was done.
        entries.push(store.entry("backup.restore", "", &self.name, detail));
        audit::write(store.control(), store.ring(), entries).await?;
        let accounts: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM accounts")
            .fetch_one(store.control().readers())
            .await
            .during("count accounts")?;
        let mut left_out: BTreeMap<String, u64> = BTreeMap::new();
        for ((table, _), rows) in &sieve.left_out {
            *left_out.entry(table.clone()).or_default() += rows;
        }
        Ok(RestoreReport {
            made: self.manifest.made(),
            name: self.name.clone(),
            events,
            left_out_events: sieve.left_events + ended,
            left_out,
            lost_destinations: sieve.lost_destinations.clone(),
            accounts: accounts.cast_unsigned(),
            journal_records: appended + left_journal.records,
            left_journal,
            newer_log: self.newer.clone(),
            paused_destinations,
            erased_again,
            damaged_frames: stored.damaged,
            aside: None,
            seconds: 0.0,
        })
    }

    /// What a person has stopped since sends nothing before a person has looked at it.
    async fn pause_stopped(&self, store: &Store) -> Result<Vec<String>, StoreError> {
        let reason = format!(
            "the backup of {} has brought it back, and it was removed, changed or paused after that",
            self.manifest.made()
        );
        let mut paused = Vec::new();
        for (project, name) in &self.newer.stopped {
            let Ok(id) = project.parse() else { continue };
            match store.pause_destination(&id, name, Some(&reason)).await {
                Ok(()) => paused.push(format!("{project}/{name}")),
                // It was made since.
                Err(StoreError::NotFound { .. }) => {}
                // It does not open, so it sends nothing.
                Err(error @ StoreError::Keys(_)) => tracing::warn!(%error, "a destination is not paused"),
                Err(error) => return Err(error),
            }
        }
        Ok(paused)
    }

    /// That what people set is older than they know, until somebody says that it is seen to.
    async fn notice_newer(&self, store: &Store) -> Result<(), StoreError> {
        let newer = &self.newer;
        if newer.is_none() {
            return Ok(());
        }
        let what = match &newer.problem {
            Some(problem) => format!("what was done since is not wholly known, since {problem}"),
            None => format!("taken back is what the audit log has in {} since", newer.in_words()),
        };
        let text = format!(
            "settings, projects, destinations, accounts and members are of {} again, by a restore: {what}. Look at each of them (convizit settings, \
             project list, destination list, user list), and at the log that is set aside (convizit audit export --from <data>/aside-<time>), then \
             resolve this notice",
            self.manifest.made()
        );
        store.raise(NoticeKind::Audit, None, "restore", &text).await
    }

    /// Events in frames that were sealed by a key that was destroyed since, though its day has one again: they go with the erasures.
    async fn events_of_ended_keys(&self, store: &Store) -> Result<i64, StoreError> {
        let mut ended = BTreeSet::new();
        for row in self.ledger.table(ERASURES[0].name).iter().flat_map(|pack| &pack.rows) {
            if let [number, project, kind, ..] = row.as_slice()
                && number.int() > self.manifest.erasure
                && !["visitor", "user", "all"].contains(&kind.text())
            {
                ended.insert(project.int());
            }
        }
        if ended.is_empty() {
            return Ok(0);
        }
        let ledger = store.ledger().now();
        let rows = query("SELECT project, day, first, last FROM frames")
            .fetch_all(store.data().readers())
            .await
            .during("count what cannot be read any more")?;
        let mut events = 0;
        for row in rows {
            let (project, day, first, last): (i64, i64, i64, i64) =
                (row.read(0)?, row.read(1)?, row.read(2)?, row.read(3)?);
            if ended.contains(&project) && ledger.of(project).is_some_and(|ledger| ledger.has_ended(day, last)) {
                events += last - first + 1;
            }
        }
        Ok(events)
    }

    /// What the worker had not processed: those that the snapshot has already are left out.
    async fn append(&self, store: &Store, progress: &Progress) -> Result<u64, StoreError> {
        let (manifest, mut appended) = (&self.manifest, 0);
        let mut packs = packs(&self.target, &self.ring, manifest, progress, |part| part.table == JOURNAL);
        while let Some((_, pack)) = packs.try_next().await? {
            let later = |row: &&Vec<Cell>| {
                row.first().is_some_and(|batch| batch.int().cast_unsigned() > manifest.journal_offset)
            };
            let records: Vec<bytes::Bytes> = pack
                .rows
                .iter()
                .filter(later)
                .filter_map(|row| if let Some(Cell::Bytes(record)) = row.get(1) { Some(record.clone()) } else { None })
                .collect();
            for records in records.chunks(APPENDS) {
                appended += records.len() as u64;
                // Asked in their order, so that they stand in it.
                let appends = records.iter().map(|record| store.journal_append(record.clone()));
                futures_util::future::try_join_all(appends).await?;
            }
        }
        Ok(appended)
    }
}

/// Refuses a copy that is older than the newest of what is left in a folder.
async fn refuse_older(copy: &LedgerCopy, folder: &Path, keys_to: &str) -> Result<(), StoreError> {
    let Some(needed) = ledger_copy::needed_in(folder).await.filter(|needed| *needed > copy.sequence) else {
        return Ok(());
    };
    let (made, control) = (copy.made(), folder.join(missing::CONTROL));
    Err(StoreError::Unusable(format!(
        "the copy of keys and erasures in {keys_to} has the number {}, and the newest has {needed}, as {} says: what was erased since {made} \
         would come back. Bring the newest copy there, or name its place with backup.keys_to. Where there is none any more, move {} to \
         another folder and restore again, and then erase again whoever was erased since",
        copy.sequence,
        control.display(),
        missing::CONTROL
    )))
}

fn off() -> StoreError {
    StoreError::Invalid("no place of backups is known: name it with backup.to and backup.keys_to".to_owned())
}

/// Where backups lie, for whoever has no installation that could make one.
fn place_of(place: &str) -> Result<Target, StoreError> {
    if !place.starts_with("s3://") && !Path::new(place).is_dir() {
        return Err(StoreError::Invalid(format!(
            "there is no folder {place}, where the backups should be: name the place where they lie with backup.to in convizit.toml, and that \
                 of the copy of keys and erasures with backup.keys_to. Where the data folder was moved away, they are backups and backup-keys in it"
        )));
    }
    Target::open(place, false)
}

/// Removes a scratch folder, if there is one.
pub(super) fn remove(folder: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot(folder, &error)),
        _ => Ok(()),
    }
}

async fn is_database_empty(config: &StoreConfig) -> Result<(), StoreError> {
    match &config.database {
        Some(url) if Database::has_rows(url).await? => Err(StoreError::Invalid(
            "the PostgreSQL database holds an installation already: a backup is restored into an empty one".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// The tables of a backup.
fn all_tables() -> Vec<&'static Table> {
    CONTROL.iter().chain(DATA).chain([&FRAMES]).collect()
}

/// The rows of all packs, but the journal's, that come back.
pub(super) async fn fill_from(
    (target, ring, manifest): (&Target, &Arc<KeyRing>, &Manifest),
    (control, data): (&Database, &Database),
    sieve: &mut Sieve,
    progress: &Progress,
) -> Result<(), StoreError> {
    data.run_tx("begin restoring", |connection| {
        Box::pin(async move {
            query("UPDATE worker SET journal = $1 WHERE id = 0")
                .bind(RESTORING)
                .execute(connection)
                .await
                .during("begin restoring")
                .map(|_| ())
        })
    })
    .await?;
    for table in all_tables().into_iter().filter(|table| table.name != WORKER).collect::<Vec<_>>() {
        let database = if CONTROL.iter().any(|of| of.name == table.name) { control } else { data };
        // Rows that the migrations made.
        database
            .run_tx("empty a table", move |connection| {
                Box::pin(async move {
                    let sql = format!("DELETE FROM {}", table.name);
                    query(AssertSqlSafe(sql)).execute(connection).await.during("empty a table").map(|_| ())
                })
            })
            .await?;
    }
    let mut packs = packs(target, ring, manifest, progress, |part| part.table != JOURNAL);
    while let Some((_, mut pack)) = packs.try_next().await? {
        sieve.sift(&mut pack);
        let database = if CONTROL.iter().any(|of| of.name == pack.table) { control } else { data };
        insert(database, Arc::new(pack)).await?;
    }
    compare(manifest, (control, data), sieve).await
}

async fn fill(
    restore: &Restore,
    databases: (&Database, &Database),
    sieve: &mut Sieve,
    progress: &Progress,
) -> Result<(), StoreError> {
    fill_from((&restore.target, &restore.ring, &restore.manifest), databases, sieve, progress).await?;
    crate::counts::add_up(databases.1).await?;
    let installation: String = sqlx::query_scalar("SELECT id FROM installation")
        .fetch_one(databases.0.readers())
        .await
        .during("read the installation's id")?;
    if u128::from_str_radix(&installation, 16).ok().map(u128::to_be_bytes) == Some(installation_of(&restore.ring)) {
        Ok(())
    } else {
        Err(StoreError::Unusable("the backup is of another installation than the copy of the keys".to_owned()))
    }
}

pub(super) async fn insert(database: &Database, pack: Arc<Pack>) -> Result<(), StoreError> {
    let engine = database.engine;
    database
        .run_tx("restore rows", move |connection| {
            let pack = pack.clone();
            Box::pin(async move {
                if pack.table == WORKER {
                    query("DELETE FROM worker").execute(&mut *connection).await.during("restore rows")?;
                }
                match table(&pack.table) {
                    Some(table) => table.insert(connection, engine, &pack.columns, &pack.rows).await,
                    None => Ok(()),
                }
            })
        })
        .await
}

/// Counts what stands in the tables, and holds it against what the manifest counted and what was left out.
async fn compare(
    manifest: &Manifest,
    (control, data): (&Database, &Database),
    sieve: &Sieve,
) -> Result<(), StoreError> {
    let mut expected: BTreeMap<(&str, i64), u64> = BTreeMap::new();
    for part in manifest.parts.iter().filter(|part| part.table != JOURNAL && part.table != "control_version") {
        for (project, rows, _) in &part.counts {
            *expected.entry((&part.table, *project)).or_default() += rows;
        }
    }
    for ((table, project), rows) in &sieve.left_out {
        if let Some(expected) = expected.get_mut(&(table.as_str(), *project)) {
            *expected -= (*rows).min(*expected);
        }
    }
    expected.retain(|_, rows| *rows > 0);
    let mut found: BTreeMap<(&str, i64), u64> = BTreeMap::new();
    for table in all_tables().into_iter().filter(|table| table.name != "control_version").collect::<Vec<_>>() {
        let database = if CONTROL.iter().any(|of| of.name == table.name) { control } else { data };
        let project = if table.columns.contains(&("project", Kind::Int)) { "project" } else { "0" };
        // Constants only. A column's number in GROUP BY would be taken for the constant that it is.
        let sql = format!(
            "SELECT CAST(p AS BIGINT), COUNT(*) FROM (SELECT {project} AS p FROM {}) rows GROUP BY p",
            table.name
        );
        for row in query(AssertSqlSafe(sql)).fetch_all(database.readers()).await.during("count restored rows")? {
            found.insert((table.name, row.read(0)?), row.read::<i64>(1)?.cast_unsigned());
        }
    }
    if found == expected {
        return Ok(());
    }
    let differs = expected
        .iter()
        .find(|(key, rows)| found.get(key) != Some(rows))
        .or(found.iter().find(|(key, _)| !expected.contains_key(key)));
    let what = differs.map(|((table, project), rows)| {
        let there = found.get(&(*table, *project)).copied().unwrap_or(0);
        format!("table {table}, project number {project}: {there} rows are there of {rows}")
    });
    Err(StoreError::Unusable(format!("the counts differ from the backup's: {}", what.unwrap_or_default())))
}

/// Closes the databases of a scratch folder and waits for their files.
pub(super) async fn close((control, data): (Database, Database), scratch: &Path) -> Result<(), StoreError> {
    data.close().await;
    control.close().await;
    drop((control, data));
    settled(scratch).await
}

/// Done when no database of a folder has a write-ahead log any more: then its last connection is closed.
async fn settled(folder: &Path) -> Result<(), StoreError> {
    let logs: Vec<PathBuf> =
        ["control.db-wal", "data.db-wal", "journal.db-wal"].iter().map(|name| folder.join(name)).collect();
    let begun = Instant::now();
    while logs.iter().any(|log| log.exists()) {
        if begun.elapsed() > CLOSED {
            return Err(StoreError::Database {
                action: "restore",
                problem: "the restored databases do not close".to_owned(),
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
