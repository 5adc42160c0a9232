//! The audit log: every administrative act and every use of the key provider, each entry chained to the one before.
//!
//! The chain is HMAC-SHA-256 under a key that is not in the database: whoever may write every row of it can neither change,
//! remove, insert nor reorder an entry unseen. That entries are missing from the end shows the mark outside the database,
//! and checkpoints, signed by the installation, show it to whoever keeps them elsewhere.

use std::collections::BTreeMap;

use convizit_keys::{KeyRing, MacKey};
use convizit_model::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::database::Database;
use crate::error::{Columns as _, During, StoreError};
use crate::journal::Link;
use crate::mark::{self, Mark};
use crate::signals;

mod list;

pub use list::{ACTS, AuditFilter};

const PURPOSE: &str = "audit";
const HEAD: &[u8] = b"convizit audit checkpoint 1";
/// Entries that are read at once.
const PAGE: i64 = 5_000;

/// What is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) time: Timestamp,
    pub(crate) actor: String,
    pub(crate) act: &'static str,
    pub(crate) project: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Consecutive from 1.
    pub number: i64,
    /// When.
    pub time: Timestamp,
    /// Who: `os:anna(1001)`, `os:anna(1001) as root(0)`, `token:privacy-desk`, `system`.
    pub actor: String,
    /// What: `project.create`, `key.unwrap`.
    pub act: String,
    /// The project's id, when it is about one.
    pub project: String,
    /// What exactly: a destination's name, a field, a key.
    pub subject: String,
    /// More about it; never captured text.
    pub detail: String,
}

/// The end of the chain at a time, signed by the installation, to be kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The installation's id.
    pub installation: String,
    /// Number of the last entry.
    pub number: i64,
    /// Its place in the chain, in hexadecimal digits.
    pub chain: String,
    /// When it was made.
    pub time: Timestamp,
    /// Ed25519 public key, in hexadecimal digits.
    pub public_key: String,
    /// Signature over all of the above.
    pub signature: String,
}

/// What `verify_audit` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Entries that were looked at.
    pub entries: i64,
    /// What is wrong, first entry first; `None` when all is well.
    pub problem: Option<String>,
    /// Checkpoints that speak of entries which a restore has set aside, in a sentence: what they were made of is in this log no more.
    pub set_aside: Option<String>,
}

impl AuditReport {
    fn of(entries: i64, problem: Option<String>) -> Self {
        Self { entries, problem, set_aside: None }
    }
}

/// What the entry of a restore says of where the log goes on: behind the last entry of the backup, and up to which one lay there before,
/// where that is known.
pub(crate) fn goes_on(behind: i64, aside: Option<i64>) -> String {
    match aside.filter(|last| *last > behind) {
        Some(last) => format!("{GOES_ON}{behind}{ASIDE}{last}"),
        None => format!("{GOES_ON}{behind}"),
    }
}

const GOES_ON: &str = "the log goes on behind entry ";
const ASIDE: &str = ", what lay there is set aside up to entry ";

/// An entry of a restore.
struct Restored {
    number: i64,
    time: i64,
    actor: String,
    behind: i64,
    aside: Option<i64>,
}

impl Restored {
    fn of(number: i64, time: i64, actor: &str, detail: &str) -> Option<Self> {
        let rest = detail.split_once(GOES_ON)?.1;
        let (behind, aside) = match rest.split_once(ASIDE) {
            Some((behind, aside)) => (behind, Some(aside.parse().ok()?)),
            None => (rest, None),
        };
        Some(Self { number, time, actor: actor.to_owned(), behind: behind.parse().ok()?, aside })
    }

    /// Whether the entry that a checkpoint was made of is one that this restore has set aside.
    fn has_set_aside(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.number > self.behind
            && self.aside.is_none_or(|last| checkpoint.number <= last)
            && checkpoint.time.as_millis() <= self.time
    }
}

/// Appends entries inside a transaction, so that an act and its entry are written together or not at all.
pub(crate) async fn append(
    connection: &mut AnyConnection,
    ring: &KeyRing,
    entries: &[Entry],
) -> Result<(), StoreError> {
    const NAME: &str = "write audit log";
    let key = ring.mac_key(PURPOSE);
    for entry in entries {
        // Takes the row, so that another writer's entry comes before or after.
        let row = query("UPDATE audit_end SET number = number + 1 WHERE id = 0 RETURNING number, chain")
            .fetch_one(&mut *connection)
            .await
            .during(NAME)?;
        let (number, before): (i64, Option<Vec<u8>>) = (row.read(0)?, row.read(1)?);
        let chain = link(
            &key,
            before.as_deref().unwrap_or_default(),
            number,
            entry.time.as_millis(),
            [&entry.actor, entry.act, &entry.project, &entry.subject, &entry.detail],
        );
        query("INSERT INTO audit (number, time, actor, act, project, subject, detail, chain) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(number)
            .bind(entry.time.as_millis())
            .bind(entry.actor.as_str())
            .bind(entry.act)
            .bind(entry.project.as_str())
            .bind(entry.subject.as_str())
            .bind(entry.detail.as_str())
            .bind(chain.as_slice())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        query("UPDATE audit_end SET chain = $1 WHERE id = 0")
            .bind(chain.as_slice())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        signals::of_audit(connection, entry).await?;
    }
    Ok(())
}

/// Appends entries in a transaction of their own.
pub(crate) async fn write(
    control: &Database,
    ring: &std::sync::Arc<KeyRing>,
    entries: Vec<Entry>,
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let ring = ring.clone();
    control
        .run_tx("write audit log", move |connection| {
            let (ring, entries) = (ring.clone(), entries.clone());
            Box::pin(async move { append(connection, &ring, &entries).await })
        })
        .await
}

/// Length before each text, so that two entries never give the same bytes.
fn link(key: &MacKey, before: &[u8], number: i64, time: i64, texts: [&str; 5]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(before);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&time.to_be_bytes());
    for text in texts {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    key.of(&bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    digits.len().is_multiple_of(2).then_some(())?;
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl Checkpoint {
    fn message(&self) -> Vec<u8> {
        let parts =
            [self.installation.as_str(), &self.number.to_string(), &self.chain, &self.time.to_string()].join("\n");
        [HEAD, b"\n", parts.as_bytes()].concat()
    }

    /// Whether it is signed by the key that it names.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let (key, signature) = (unhex(&self.public_key), unhex(&self.signature));
        key.zip(signature)
            .is_some_and(|(key, signature)| convizit_keys::verify_signature(&key, &self.message(), &signature))
    }
}

/// The end of the chain as the database has it.
pub(crate) async fn end(control: &Database) -> Result<(i64, Vec<u8>), StoreError> {
    let row = query("SELECT number, chain FROM audit_end WHERE id = 0")
        .fetch_one(control.readers())
        .await
        .during("read audit log")?;
    Ok((row.read(0)?, row.read::<Option<Vec<u8>>>(1)?.unwrap_or_default()))
}

/// Whether an entry is the one that a mark speaks of.
pub(crate) async fn has_link(control: &Database, known: Link) -> Result<bool, StoreError> {
    if known.offset == 0 {
        return Ok(true);
    }
    let chain: Option<Vec<u8>> = sqlx::query_scalar("SELECT chain FROM audit WHERE number = $1")
        .bind(known.offset.cast_signed())
        .fetch_optional(control.readers())
        .await
        .during("read audit log")?;
    Ok(chain.is_some_and(|chain| chain.first_chunk() == Some(&known.tag)))
}

pub(crate) fn read_entries(rows: &[sqlx::any::AnyRow]) -> Result<Vec<AuditEntry>, StoreError> {
    rows.iter()
        .map(|row| {
            Ok(AuditEntry {
                number: row.read(0)?,
                time: Timestamp::from_millis(row.read(1)?),
                actor: row.read(2)?,
                act: row.read(3)?,
                project: row.read(4)?,
                subject: row.read(5)?,
                detail: row.read(6)?,
            })
        })
        .collect()
}

impl Store {
    /// Whether the last entry is one that this installation wrote: a forged one is not marked.
    pub(crate) async fn is_end_genuine(&self, number: i64, chain: &[u8]) -> Result<bool, StoreError> {
        let rows = query(
            "SELECT number, time, actor, act, project, subject, detail, chain FROM audit WHERE number >= $1 AND number <= $2 ORDER BY number",
        )
        .bind(number - 1)
        .bind(number)
        .fetch_all(self.control().readers())
        .await
        .during("read audit log")?;
        let Some(row) = rows.last() else { return Ok(number == 0) };
        if row.read::<i64>(0)? != number {
            return Ok(number == 0);
        }
        let before: Vec<u8> = match rows.as_slice() {
            [before, _] => before.read(7)?,
            _ => Vec::new(),
        };
        let texts: [&str; 5] = [row.read(2)?, row.read(3)?, row.read(4)?, row.read(5)?, row.read(6)?];
        let key = self.keyring().ring().mac_key(PURPOSE);
        Ok(link(&key, &before, number, row.read(1)?, texts) == *chain)
    }

    /// An entry of this store's actor.
    pub(crate) fn entry(&self, act: &'static str, project: &str, subject: &str, detail: impl Into<String>) -> Entry {
        Entry {
            time: self.clock().now(),
            actor: self.actor().to_owned(),
            act,
            project: project.to_owned(),
            subject: subject.to_owned(),
            detail: detail.into(),
        }
    }

    /// The id of the installation.
    #[must_use]
    pub fn installation(&self) -> String {
        self.ring().installation_text()
    }

    /// Writes down an act that changes nothing in the control database itself, before it is done.
    ///
    /// # Errors
    /// `Database`; then the act must not be done.
    pub async fn audit(
        &self,
        act: &'static str,
        project: &str,
        subject: &str,
        detail: impl Into<String>,
    ) -> Result<(), StoreError> {
        let entry = self.entry(act, project, subject, detail);
        write(self.control(), self.keyring().ring(), vec![entry]).await
    }

    /// Writes so many entries, a thousand in each transaction: to measure with.
    ///
    /// # Errors
    /// `Database`.
    pub async fn audit_many(&self, act: &'static str, project: &str, entries: usize) -> Result<(), StoreError> {
        let mut left = entries;
        while left > 0 {
            let now = left.min(1_000);
            let all = (0..now).map(|n| self.entry(act, project, &format!("subject {n}"), "detail")).collect();
            write(self.control(), self.keyring().ring(), all).await?;
            left -= now;
        }
        Ok(())
    }

    /// The newest entries, newest first, at most so many.
    ///
    /// # Errors
    /// `Database`.
    pub async fn audit_entries(&self, project: Option<&str>, limit: i64) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = query(
            "SELECT number, time, actor, act, project, subject, detail FROM audit \
             WHERE $1 IS NULL OR project = $1 ORDER BY number DESC LIMIT $2",
        )
        .bind(project)
        .bind(limit)
        .fetch_all(self.control().readers())
        .await
        .during("read audit log")?;
        read_entries(&rows)
    }

    /// Entries behind a number, oldest first, at most so many, as they were written.
    ///
    /// # Errors
    /// `Database`.
    pub async fn audit_after(&self, number: i64, limit: i64) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = query(
            "SELECT number, time, actor, act, project, subject, detail FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
        )
        .bind(number)
        .bind(limit)
        .fetch_all(self.control().readers())
        .await
        .during("read audit log")?;
        read_entries(&rows)
    }

    /// The end of the chain now, signed.
    ///
    /// # Errors
    /// `Database`.
    pub async fn audit_checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let ring = self.keyring().ring();
        let (number, chain) = end(self.control()).await?;
        let mut checkpoint = Checkpoint {
            installation: ring.installation_text(),
            number,
            chain: hex(&chain),
            time: self.clock().now(),
            public_key: hex(&ring.public_key()),
            signature: String::new(),
        };
        checkpoint.signature = hex(&ring.sign(&checkpoint.message()));
        Ok(checkpoint)
    }

    /// Follows the chain from the first entry to the last, and holds it against checkpoints that were kept elsewhere.
    ///
    /// # Errors
    /// `Database`. What was tampered with is no error but in the report.
    pub async fn verify_audit(&self, checkpoints: &[Checkpoint]) -> Result<AuditReport, StoreError> {
        const NAME: &str = "verify audit log";
        let ring = self.keyring().ring();
        let key = ring.mac_key(PURPOSE);
        // Before the entries: what is written meanwhile is no gap.
        let mark = mark::read(&self.0.folder, mark::AUDIT, ring)?;
        for checkpoint in checkpoints {
            let foreign = checkpoint.installation != ring.installation_text()
                || checkpoint.public_key != hex(&ring.public_key())
                || !checkpoint.is_signed();
            if foreign {
                let text = format!("the checkpoint of entry {} is not signed by this installation", checkpoint.number);
                return Ok(AuditReport::of(0, Some(text)));
            }
        }
        // A number may have been given twice, where a restore has set entries aside.
        let mut expected: BTreeMap<i64, Vec<&Checkpoint>> = BTreeMap::new();
        for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.number != 0) {
            expected.entry(checkpoint.number).or_default().push(checkpoint);
        }
        let (mut entries, mut before) = (0_i64, Vec::new());
        let (mut others, mut restored): (Vec<&Checkpoint>, Vec<Restored>) = (Vec::new(), Vec::new());
        let wrong = |entries, text: String| Ok(AuditReport::of(entries, Some(text)));
        loop {
            let rows = query(
                "SELECT number, time, actor, act, project, subject, detail, chain FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
            )
            .bind(entries)
            .bind(PAGE)
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let number: i64 = row.read(0)?;
                if number != entries + 1 {
                    return wrong(entries, format!("entry {} is missing or was moved", entries + 1));
                }
                let texts: [&str; 5] = [row.read(2)?, row.read(3)?, row.read(4)?, row.read(5)?, row.read(6)?];
                let chain = link(&key, &before, number, row.read(1)?, texts);
                if row.read::<&[u8]>(7)? != chain {
                    return wrong(entries, format!("entry {number} was changed, or what stood before it"));
                }
                let kept = expected.remove(&number).unwrap_or_default();
                others.extend(kept.into_iter().filter(|checkpoint| checkpoint.chain != hex(&chain)));
                let [actor, act, _, _, detail] = texts;
                if act == "backup.restore" {
                    restored.extend(Restored::of(number, row.read(1)?, actor, detail));
                }
                if let Mark::At(mark) = &mark
                    && mark.offset == number.cast_unsigned()
                    && !chain.starts_with(&mark.tag)
                {
                    return wrong(entries, format!("entry {number} is not the one that its mark was made of"));
                }
                before = chain.to_vec();
                entries = number;
            }
        }
        others.extend(expected.into_values().flatten());
        let by = |checkpoint: &Checkpoint| restored.iter().find(|restored| restored.has_set_aside(checkpoint));
        if let Some(checkpoint) = others.iter().find(|checkpoint| by(checkpoint).is_none()) {
            let number = checkpoint.number;
            return wrong(
                entries,
                if number > entries {
                    format!("the log ends at entry {entries}, but a checkpoint speaks of entry {number}")
                } else {
                    format!("entry {number} is not the one that its checkpoint was made of")
                },
            );
        }
        let set_aside = others.first().and_then(|checkpoint| by(checkpoint)).map(|restored| {
            let numbers: Vec<String> = others.iter().map(|checkpoint| checkpoint.number.to_string()).collect();
            let Restored { number, time, actor, behind, .. } = restored;
            format!(
                "the log was restored from a backup at entry {behind} (entry {number}, backup.restore by {actor} on {}); the checkpoints of {} \
                 speak of entries that were set aside then: hold them against what convizit audit export --from FOLDER writes of the folder aside-…",
                Timestamp::from_millis(*time),
                if numbers.len() == 1 { format!("entry {}", numbers.concat()) } else { format!("entries {}", numbers.join(", ")) }
            )
        });
        let (number, chain) = end(self.control()).await?;
        if number < entries || (number == entries && chain != before) {
            return wrong(entries, "the end of the chain was changed".to_owned());
        }
        if number > entries && !self.has_audit_entry(entries + 1).await? {
            return wrong(entries, format!("entries {} to {number} are missing from the end", entries + 1));
        }
        if let Mark::At(mark) = &mark
            && mark.offset > entries.cast_unsigned()
        {
            return wrong(entries, format!("the log ends at entry {entries}, but entry {} was written", mark.offset));
        }
        Ok(AuditReport { entries, problem: None, set_aside })
    }

    /// Entries may have been written since the log was read.
    async fn has_audit_entry(&self, number: i64) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT number FROM audit WHERE number = $1")
            .bind(number)
            .fetch_optional(self.control().readers())
            .await
            .during("read audit log")?;
        Ok(found.is_some())
    }
}
