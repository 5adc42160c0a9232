//! The copy of the wrapped keys, of the ledger of erasures and of the tokens, apart from the backups, so that a restored backup is
//! erased again, a key that was destroyed is in no copy any more, and a token that was revoked stays so.
//!
//! It is not sealed, since the keys that could open it are in it, wrapped; a keyed hash under the root secret says that nobody
//! changed it. Two files are written one after the other: a write that is cut leaves the other one.
//!
//! Only one database writes there, one process of it at a time, on whichever machine it runs. What was restored to look into a backup (with
//! backups off) leaves the copy to the original, and a copy that is newer than the database itself is not written over: it knows of erasures
//! that this one does not. A wrapped key that was
//! damaged in the database stays in the copy as it was.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use convizit_keys::{Binding, KeyProvider, KeyRing, ProjectKey, Wrapped};
use convizit_model::{NoticeKind, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, query};

use super::owner::{LOOKS, take_copies};
use super::pack::{self, Cell, Pack, What, behead, damaged};
use super::tables::{ERASURES, KEYS, TOKENS, Table};
use super::target::Target;
use super::{BackupConfig, SUBJECT as BACKUP};
use crate::database::Database;
use crate::error::{Columns as _, During, StoreError};
use crate::keyring::day_place;
use crate::named_keys::date;
use crate::{Store, missing};

/// The two files, in the order of their writing.
pub(super) const NAMES: [&str; 2] = ["ledger-a", "ledger-b"];
const MAC: usize = 32;
/// What the copy's notice is about.
const SUBJECT: &str = "copy of keys and erasures";
/// What the notice of damaged keys is about.
const DAMAGED: &str = "wrapped keys";
/// Damaged keys that are named.
const SAID: usize = 20;
/// How long closing waits for a copy that is being written.
const ENDED: Duration = Duration::from_secs(5);
/// After a write that took long, the next waits so many times longer.
const REST: u32 = 20;

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LedgerCopy {
    /// Rises with each copy: whatever was committed before its number was taken is in it.
    pub(super) sequence: u64,
    made: i64,
    tables: Vec<Pack>,
}

/// What the copying loop remembers.
#[derive(Debug, Default)]
struct Last {
    fingerprint: String,
    not_before: Option<Instant>,
}

/// How copying goes.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    last: tokio::sync::Mutex<Last>,
    /// Held from the number of a copy until that is written.
    writing: tokio::sync::Mutex<()>,
}

impl Copied {
    /// Keeps copies from being begun, once the one that is being written is whole; waits no longer than a few seconds.
    pub(crate) async fn end(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        tokio::time::timeout(ENDED, self.writing.lock()).await.ok()
    }
}

impl LedgerCopy {
    pub(super) fn table(&self, name: &str) -> Option<&Pack> {
        self.tables.iter().find(|pack| pack.table == name)
    }

    /// What was erased until then is in it.
    pub(super) fn made(&self) -> Timestamp {
        Timestamp::from_millis(self.made)
    }

    pub(super) fn tables(&self) -> &[Pack] {
        &self.tables
    }

    /// The installation's keys, unwrapped by the provider.
    pub(super) async fn ring(&self, installation: [u8; 16], provider: &dyn KeyProvider) -> Result<KeyRing, StoreError> {
        let missing = || {
            StoreError::Unusable(
                "the copy of the keys holds no key of the installation: take the other copy".to_owned(),
            )
        };
        let keys = self.table(KEYS.name).ok_or_else(missing)?;
        let (mut root, mut own) = (None, Vec::new());
        for row in &keys.rows {
            // In the order of the table's columns, which `read` has looked at.
            let [project, kind, number, kek, made, from, wrapped] = row.as_slice() else { return Err(missing()) };
            let purpose = match (project.int(), kind.text(), kek.text()) {
                (_, _, "destroyed") => continue,
                (0, "root", _) => "root",
                (0, "project", _) => "project",
                _ => continue,
            };
            let version = u32::try_from(number.int()).map_err(|_| missing())?;
            let binding = Binding { installation, purpose, project: 0, version };
            let wrapped = Wrapped { kek: kek.text().to_owned(), bytes: wrapped.bytes().to_vec() };
            let secret = provider.unwrap(&binding, &wrapped).await?;
            if purpose == "root" {
                root = Some(secret);
            } else {
                let (made, from) = (Timestamp::from_millis(made.int()), Timestamp::from_millis(from.int()));
                own.push(ProjectKey { number: version, secret, made, from });
            }
        }
        Ok(KeyRing::new(installation, &root.ok_or_else(missing)?, own)?)
    }
}

fn mac(ring: &KeyRing, body: &[u8]) -> [u8; MAC] {
    ring.mac("ledger copy", body)
}

/// The place of the copy, to read it.
///
/// # Errors
/// `Invalid` when there is none.
pub(super) fn place(place: &str) -> Result<Target, StoreError> {
    if !place.starts_with("s3://") && !std::path::Path::new(place).is_dir() {
        return Err(StoreError::Invalid(format!(
            "there is no folder {place}, where the copy of keys and erasures should be: bring that copy there, or name its place with \
             backup.keys_to; no backup is restored without it"
        )));
    }
    Target::open(place, false)
}

/// The newest copy that is whole, with the ring that its keys make.
pub(super) async fn read(target: &Target, provider: &dyn KeyProvider) -> Result<(LedgerCopy, KeyRing), StoreError> {
    let mut found = Vec::new();
    let mut problem = None;
    for name in NAMES {
        let Some(bytes) = target.get(name).await? else { continue };
        match parse(name, &bytes) {
            Ok(parsed) => found.push((name, parsed)),
            Err(error) => problem = Some(error),
        }
    }
    found.sort_by_key(|(_, (_, copy, _, _))| std::cmp::Reverse(copy.sequence));
    for (name, (installation, copy, body, tag)) in found {
        match copy.ring(installation, provider).await {
            Ok(ring) if mac(&ring, &body) == tag => return Ok((copy, ring)),
            Ok(_) => problem = Some(damaged(name)),
            Err(error) => problem = Some(error),
        }
    }
    Err(problem.unwrap_or_else(|| {
        StoreError::Unusable(format!(
            "there is no copy of the keys and of the ledger of erasures in {}: a backup is not restored without it, since what \
             was erased would come back; name its place with backup.keys_to",
            target.shown
        ))
    }))
}

/// The newest copy that lies in a place, where one is whole and of the installation of this ring.
pub(super) async fn lying(target: &Target, ring: &KeyRing) -> Result<Option<LedgerCopy>, StoreError> {
    let mut newest: Option<LedgerCopy> = None;
    for name in NAMES {
        let Some(bytes) = target.get(name).await? else { continue };
        pack::refuse_foreign(ring, What::Ledger, (name, &target.shown), &bytes)?;
        // What is damaged is written over.
        if let Ok((_, copy, body, tag)) = parse(name, &bytes)
            && mac(ring, &body) == tag
            && newest.as_ref().is_none_or(|newest| newest.sequence < copy.sequence)
        {
            newest = Some(copy);
        }
    }
    Ok(newest)
}

/// The row of `control_version` that says which number the copy has at least that holds what was erased last: written before an erasure is
/// acknowledged, since the place of the copy may be away.
pub(super) const OWED: i64 = 7;

/// Which number the copy must have that is to be taken for the newest; 0 where none was written.
pub(super) async fn needed(control: &Database) -> Result<u64, StoreError> {
    let needed: Option<i64> = sqlx::query_scalar("SELECT MAX(version) FROM control_version WHERE id IN (2, $1)")
        .bind(OWED)
        .fetch_one(control.readers())
        .await
        .during("number the copy of keys")?;
    Ok(needed.unwrap_or(0).cast_unsigned())
}

/// The same of what is left in a data folder, where that can be read; nothing is written there.
pub(super) async fn needed_in(folder: &Path) -> Option<u64> {
    let file = folder.join(missing::CONTROL);
    if missing::is_absent(&file) {
        return None;
    }
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(ENDED).pragma("query_only", "ON");
    let mut connection = options.disable_statement_logging().connect().await.ok()?;
    let needed: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT MAX(version) FROM control_version WHERE id IN (2, $1)")
            .bind(OWED)
            .fetch_one(&mut connection)
            .await;
    // Nothing is to be learned from how it closes.
    connection.close().await.ok();
    needed.ok().flatten().map(i64::cast_unsigned)
}

/// The highest number of a copy that these settings have given; 0 where none was written.
pub(super) async fn given(control: &Database) -> Result<u64, StoreError> {
    let given: Option<i64> = sqlx::query_scalar("SELECT version FROM control_version WHERE id = 2")
        .fetch_optional(control.readers())
        .await
        .during("number the copy of keys")?;
    Ok(given.unwrap_or(0).cast_unsigned())
}

/// Which key a row of `keys` is: project, kind, number, what has wrapped it, and when it was made.
type OfKey<'r> = (i64, &'r str, i64, &'r str, i64);

/// Which key a row is, and its wrapped bytes.
fn of_key(row: &[Cell]) -> Option<(OfKey<'_>, &bytes::Bytes)> {
    let [project, kind, number, by, made, _, Cell::Bytes(wrapped)] = row else { return None };
    Some(((project.int(), kind.text(), number.int(), by.text(), made.int()), wrapped))
}

type Parsed = ([u8; 16], LedgerCopy, Vec<u8>, [u8; MAC]);

fn parse(name: &str, bytes: &[u8]) -> Result<Parsed, StoreError> {
    let (installation, rest) = behead(What::Ledger, name, bytes)?;
    let (tag, body) = rest.split_first_chunk::<MAC>().ok_or_else(|| damaged(name))?;
    let copy: LedgerCopy = pack::decode(name, body)?;
    let whole = |pack: &Pack| {
        let table = [&KEYS, &TOKENS].into_iter().chain(ERASURES).find(|table| table.name == pack.table);
        table.is_some_and(|table| {
            table.names() == pack.columns && pack.rows.iter().all(|row| table.fits(&pack.columns, row))
        })
    };
    // Copies of earlier programs have no tokens: none comes back then.
    let without_tokens = 1 + ERASURES.len();
    if (without_tokens..=without_tokens + 1).contains(&copy.tables.len()) && copy.tables.iter().all(whole) {
        Ok((installation, copy, body.to_vec(), *tag))
    } else {
        Err(damaged(name))
    }
}

async fn rows(database: &Database, table: &Table) -> Result<Pack, StoreError> {
    let sql = table.select(database.engine, &format!("ORDER BY {}", table.order));
    let rows = query(AssertSqlSafe(sql)).fetch_all(database.readers()).await.during("copy keys and erasures")?;
    let rows = rows.iter().map(|row| table.cells(row)).collect::<Result<_, _>>()?;
    Ok(Pack { table: table.name.to_owned(), columns: table.names(), rows })
}

impl Store {
    /// What changes when keys or erasures do.
    async fn ledger_fingerprint(&self) -> Result<String, StoreError> {
        const NAME: &str = "look for new keys and erasures";
        // Out of an index alone.
        let keys = query("SELECT wrapped_by, COUNT(*) FROM keys GROUP BY wrapped_by ORDER BY wrapped_by")
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?;
        let mut text = String::new();
        for row in keys {
            text.push_str(&format!("{} {},", row.read::<&str>(0)?, row.read::<i64>(1)?));
        }
        let tokens = query("SELECT COUNT(*), COALESCE(MAX(made), 0) FROM tokens")
            .fetch_one(self.control().readers())
            .await
            .during(NAME)?;
        text.push_str(&format!("{} {},", tokens.read::<i64>(0)?, tokens.read::<i64>(1)?));
        // Where a process that copies nothing itself owes one that was begun before.
        text.push_str(&format!("{},", self.owed().await?));
        for sql in [
            "SELECT COUNT(*), COALESCE(MAX(number), 0), COUNT(id), CAST(COALESCE(SUM(forgotten), 0) AS BIGINT), \
             CAST(COALESCE(SUM(CASE WHEN state = 'open' THEN 1 ELSE 0 END), 0) AS BIGINT) FROM erasures",
            "SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN state = 'open' THEN 1 ELSE 0 END), 0) AS BIGINT), 0, 0, 0 FROM erase_messages",
        ] {
            let row = query(sql).fetch_one(self.data().readers()).await.during(NAME)?;
            for column in 0..5 {
                text.push_str(&format!("{} ", row.read::<i64>(column)?));
            }
        }
        Ok(text)
    }

    /// Copies keys and erasures when they have changed; what fails raises a notice and is tried again. Called each second.
    pub(crate) async fn keep_ledger_copied(&self) -> Result<(), StoreError> {
        if self.backup_config().is_none() {
            return Ok(());
        }
        let fingerprint = self.ledger_fingerprint().await?;
        {
            let copied = self.copied().last.lock().await;
            if copied.fingerprint == fingerprint || copied.not_before.is_some_and(|time| time > Instant::now()) {
                return Ok(());
            }
        }
        if !self.makes_backups() {
            // Where none are made, none is missing.
            self.resolve_notice(NoticeKind::Backup, None, BACKUP).await?;
        }
        let started = Instant::now();
        let copying = self.copy_ledger().await;
        let mut copied = self.copied().last.lock().await;
        copied.not_before = Some(Instant::now() + started.elapsed() * REST);
        if copying.is_ok() {
            copied.fingerprint = fingerprint;
            drop(copied);
            return self.resolve_notice(NoticeKind::Backup, None, SUBJECT).await;
        }
        copied.not_before = Some(Instant::now() + Duration::from_secs(30));
        drop(copied);
        copying.map(|_| ())
    }

    /// Copies keys and erasures now, where backups are kept; returns the copy's sequence number, 0 where none is written.
    ///
    /// # Errors
    /// `Database`, `Invalid` for a place that cannot be, `Unusable` for one where another database writes; then a notice is raised, too.
    pub(crate) async fn copy_ledger(&self) -> Result<u64, StoreError> {
        let Some(config) = self.backup_config() else { return Ok(0) };
        if !config.makes && !self.keeps_a_copy(config).await? {
            return Ok(0);
        }
        match self.copy_ledger_to(&config.keys_to).await {
            Ok((sequence, damaged)) if damaged.is_empty() => {
                self.resolve_notice(NoticeKind::Keys, None, DAMAGED).await?;
                Ok(sequence)
            }
            Ok((sequence, damaged)) => {
                let text = format!(
                    "wrapped keys in the database are not as they were copied and do not open, so they are damaged there: {}; {} keeps them \
                     whole. Let what runs go on until its next backup is made, then restore that into an empty place, which brings them back",
                    damaged.join(", "),
                    config.keys_to
                );
                self.raise(NoticeKind::Keys, None, DAMAGED, &text).await?;
                Ok(sequence)
            }
            Err(error) => {
                let text = format!(
                    "keys and erasures cannot be copied to {}, and without their copy no backup can be restored: {error}",
                    config.keys_to
                );
                self.raise(NoticeKind::Backup, None, SUBJECT, &text).await?;
                Err(error)
            }
        }
    }

    /// The number that the next copy must have at least; 0 where none is owed.
    async fn owed(&self) -> Result<i64, StoreError> {
        let owed: Option<i64> = sqlx::query_scalar("SELECT version FROM control_version WHERE id = $1")
            .bind(OWED)
            .fetch_optional(self.control().readers())
            .await
            .during("number the copy of keys")?;
        Ok(owed.unwrap_or(0))
    }

    /// Says that every copy that was begun until now is too old. Apart from the number that copies are given, which says who may write.
    async fn owe_a_copy(&self) -> Result<(), StoreError> {
        const NAME: &str = "owe a copy of keys";
        // What was restored to look into a backup leaves the copy to the original.
        if self.restored_to().await? == Some(LOOKS) {
            return Ok(());
        }
        self.control()
            .run_tx(NAME, |connection| {
                Box::pin(async move {
                    query(
                        "INSERT INTO control_version (id, version) SELECT $1, version + 1 FROM control_version WHERE id = 2 \
                         ON CONFLICT (id) DO UPDATE SET version = excluded.version",
                    )
                    .bind(OWED)
                    .execute(connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
                })
            })
            .await
    }

    /// As `copy_ledger`, where what was done is done: what fails is in a notice, and is tried again each second. Until a copy is written,
    /// none that lies there is taken for the newest.
    pub(crate) async fn copy_ledger_soon(&self) {
        if let Err(error) = self.owe_a_copy().await {
            tracing::warn!(%error, "that keys and erasures are to be copied was not written down");
        }
        if let Err(error) = self.copy_ledger().await {
            tracing::warn!(%error, "keys and erasures were not copied; it is tried again");
        }
    }

    /// Whether a copy is kept true though no backups are made: where one lies, which those of before need.
    async fn keeps_a_copy(&self, config: &BackupConfig) -> Result<bool, StoreError> {
        if self.leaves_the_copy().await? {
            return Ok(false);
        }
        // Before the first there is no folder.
        let Ok(target) = place(&config.keys_to) else { return Ok(false) };
        for name in NAMES {
            if target.get(name).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts what a copy has in the place of keys that are damaged in the database: those whose bytes have changed though nothing
    /// has wrapped them anew, and which do not open. Returns which, twenty at most.
    async fn keep_whole(&self, keys: &mut Pack, copy: &LedgerCopy) -> Result<Vec<String>, StoreError> {
        let mut damaged = Vec::new();
        let Some(before) = copy.table(KEYS.name) else { return Ok(damaged) };
        let before: HashMap<_, _> = before.rows.iter().filter_map(|row| of_key(row)).collect();
        for row in &mut keys.rows {
            let Some((of, wrapped)) = of_key(row) else { continue };
            let Some(copied) = before.get(&of).filter(|copied| **copied != wrapped) else { continue };
            if self.opens(of, wrapped).await? {
                continue;
            }
            let (project, kind, number, ..) = of;
            let name = if kind == "day" { date(number) } else { number.to_string() };
            if damaged.len() < SAID {
                // As `convizit keys list` names it.
                let of = match project {
                    0 => "installation".to_owned(),
                    _ => self.project_id(project).map_or_else(|| "removed".to_owned(), |id| id.to_string()),
                };
                damaged.push(format!("{kind}/{of}/{name}"));
            }
            let copied = Cell::Bytes((*copied).clone());
            if let Some(cell) = row.last_mut() {
                *cell = copied;
            }
        }
        Ok(damaged)
    }

    /// Whether a wrapped key opens as it stands in the database.
    async fn opens(&self, (project, kind, number, by, _): OfKey<'_>, wrapped: &[u8]) -> Result<bool, StoreError> {
        if kind == "day" {
            let keys = self.keyring().project(project).await;
            return Ok(keys.is_ok_and(|keys| keys.open_key(day_place(&number.to_be_bytes()), wrapped).is_ok()));
        }
        let Ok(version) = u32::try_from(number) else { return Ok(false) };
        let purpose = if kind == "root" { "root" } else { "project" };
        let binding = Binding { purpose, ..self.ring().binding(project, version) };
        let wrapped = Wrapped { kek: by.to_owned(), bytes: wrapped.to_vec() };
        self.keyring().record("key.unwrap", purpose, project, version).await?;
        Ok(self.keyring().provider().unwrap(&binding, &wrapped).await.is_ok())
    }

    /// Refuses a place of which the copy is not to be written over, before anything is written anywhere.
    pub(super) async fn refuse_anothers_copy(&self, at: &str) -> Result<(), StoreError> {
        match place(at) {
            Ok(target) => self.lying_if_older(&target).await.map(|_| ()),
            // The first copy makes it.
            Err(_) => Ok(()),
        }
    }

    /// The copy that lies in a place, where this database may write over it: it has given that number, or a higher one.
    async fn lying_if_older(&self, target: &Target) -> Result<Option<LedgerCopy>, StoreError> {
        let (place, lying) = (&target.shown, lying(target, self.ring()).await?);
        if lying.is_some() {
            self.refuse_to_look_and_write(place).await?;
        }
        // Asked after the copy was read: what another process of this database wrote there has a number that is in it by now.
        let given = given(self.control()).await?;
        if let Some(newer) = lying.as_ref().filter(|copy| copy.sequence > given) {
            return Err(StoreError::Unusable(format!(
                "the copy in {place} has the number {}, and this database has given {given} at most: it is an older state of the one that \
                 writes there, which may still run, so nothing was written; end the one that is not to go on, and where this one goes on, \
                 move {} and {} away from there: they are written anew, without the erasures that only they know",
                newer.sequence, NAMES[0], NAMES[1]
            )));
        }
        Ok(lying)
    }

    /// Copies to a place. Returns the copy's number, and which keys are damaged in the database.
    async fn copy_ledger_to(&self, place: &str) -> Result<(u64, Vec<String>), StoreError> {
        let target = Target::open(place, true)?;
        // Whoever closes the databases waits for it: a number that was given and not written looks like a lost copy.
        let _whole = self.copied().writing.lock().await;
        // One process of this folder after the other; the first number that is taken is written first.
        let lock = self.hold("backup-keys.lock", true).await?;
        let turn = self.turn_to_copy().await?;
        let lying = self.lying_if_older(&target).await?;
        // Before anything is read, so that what a later number speaks of was there.
        let sequence: i64 = self
            .control()
            .run_tx("number the copy of keys", |connection| {
                Box::pin(async move {
                    take_copies(connection).await?;
                    sqlx::query_scalar(
                        "INSERT INTO control_version (id, version) VALUES (2, 1) \
                         ON CONFLICT (id) DO UPDATE SET version = control_version.version + 1 RETURNING version",
                    )
                    .fetch_one(connection)
                    .await
                    .during("number the copy of keys")
                })
            })
            .await?;
        let sequence = sequence.cast_unsigned();
        let mut keys = rows(self.control(), &KEYS).await?;
        let damaged = match &lying {
            Some(copy) => self.keep_whole(&mut keys, copy).await?,
            None => Vec::new(),
        };
        let mut tables = vec![keys, rows(self.control(), &TOKENS).await?];
        for table in ERASURES {
            tables.push(rows(self.data(), table).await?);
        }
        let copy = LedgerCopy { sequence, made: self.clock().now().as_millis(), tables };
        let body = pack::encode(&copy)?;
        let mut file = pack::head(What::Ledger, self.ring());
        file.extend_from_slice(&mac(self.ring(), &body));
        file.extend_from_slice(&body);
        let file = bytes::Bytes::from(file);
        for name in NAMES {
            target.remove_cut_writes(name)?;
            target.put(name, file.clone()).await?;
        }
        if target.get(NAMES[0]).await?.as_ref() != Some(&file) {
            return Err(StoreError::Database {
                action: "copy keys and erasures",
                problem: "what was written reads differently".to_owned(),
            });
        }
        // Also where closing fails: the lock ends with the connection.
        if let Some(turn) = turn {
            turn.close().await.ok();
        }
        drop(lock);
        Ok((sequence, damaged))
    }
}
