//! What a database of events that is made anew is given, where a person gives up the one that was lost: the ledger of erasures out of its
//! copy, a number for each project behind all that were given, and a place for each destination to go on from.
//!
//! Without the ledger nothing is made: the next copy of it would forget who was erased, and an older backup would bring them back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use convizit_keys::KeyRing;
use convizit_model::Timestamp;
use futures_util::TryStreamExt as _;
use sqlx::query;

use super::Progress;
use super::check::{newest, packs};
use super::ledger_copy::{self, LedgerCopy, NAMES};
use super::pack::{Cell, Pack};
use super::tables::{ERASURES, table};
use super::target::Target;
use crate::database::Database;
use crate::error::{During, StoreError, pairs};
use crate::{StoreConfig, journal, mark, missing};

/// Events that one batch of the journal can hold at most: what is written of one takes more bytes than this.
const EVENTS_A_BATCH: u64 = (journal::BATCH_BYTES / EVENT_BYTES) as u64;
const EVENT_BYTES: usize = 64;
/// Batches that may have come since the journal's mark was written, where the journal itself cannot be asked.
const UNMARKED: u64 = 10_000;
/// Events that come in a day at most, where nobody knows how many batches came.
const EVENTS_A_DAY: i64 = 1_000_000_000;
const DAY: i64 = 86_400_000;

/// What it is given.
pub(crate) struct Anew {
    ledger: Vec<Pack>,
    /// The last number of each project, as if so many events had been stored.
    numbers: BTreeMap<i64, i64>,
    /// Destinations by project and name.
    destinations: Vec<(i64, String)>,
}

/// What a backup knows of numbers: the last of each project, the batch of the journal up to which they were given, and its time.
struct Known {
    last: BTreeMap<i64, i64>,
    batch: u64,
    made: Timestamp,
}

impl Anew {
    /// Looks for all of it; nothing is written.
    ///
    /// # Errors
    /// `Unusable` that says where the copy of the ledger was looked for, unless no copy was ever written.
    pub(crate) async fn look(
        config: &StoreConfig,
        control: &Database,
        ring: &Arc<KeyRing>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        const NAME: &str = "look for what the events are to begin with";
        let copy = ledger(config, control, ring).await?;
        let tables = ERASURES.iter().filter_map(|table| copy.as_ref()?.table(table.name));
        let ledger: Vec<Pack> = tables.cloned().collect();
        let known = known(config, ring).await;
        let (marked, ends) = (mark::known(&config.folder, mark::JOURNAL, ring), journal::ends_at(&config.folder).await);
        let marked = marked.map(|link| link.offset);
        let end = ends.max(if ends.is_none() { marked.map(|mark| mark.saturating_add(UNMARKED)) } else { marked });
        let rows = query("SELECT number, created FROM projects").fetch_all(control.readers()).await.during(NAME)?;
        let created: Vec<(i64, i64)> = pairs(&rows)?;
        let mut numbers = BTreeMap::new();
        for (project, created) in created {
            let last = known.as_ref().and_then(|known| known.last.get(&project)).copied().unwrap_or(0);
            let since = known.as_ref().map_or(Timestamp::from_millis(created), |known| known.made);
            let more = match end {
                Some(end) => {
                    let batches = end.saturating_sub(known.as_ref().map_or(0, |known| known.batch));
                    i64::try_from(batches.saturating_mul(EVENTS_A_BATCH)).unwrap_or(i64::MAX)
                }
                None => (now.since(since).max(0) / DAY + 1).saturating_mul(EVENTS_A_DAY),
            };
            numbers.insert(project, last.saturating_add(more));
        }
        // What was stored up to a number is erased by it: what comes now is not.
        for row in ledger.iter().filter(|pack| pack.table == ERASURES[0].name).flat_map(|pack| &pack.rows) {
            // In the order of the table's columns, which reading the copy has looked at.
            let [_, project, _, _, _, through, ..] = row.as_slice() else { continue };
            let known = numbers.entry(project.int()).or_default();
            *known = (*known).max(through.int());
        }
        numbers.retain(|project, last| *project > 0 && *last > 0);
        let rows = query("SELECT project, name FROM destinations ORDER BY project, name")
            .fetch_all(control.readers())
            .await
            .during(NAME)?;
        Ok(Self { ledger, numbers, destinations: pairs(&rows)? })
    }

    /// Writes it all, or nothing, into a database that is new. Returns what it was, in words.
    ///
    /// # Errors
    /// `Database`.
    pub(crate) async fn fill(self, data: &Database) -> Result<String, StoreError> {
        const NAME: &str = "begin the events anew";
        let entries: usize =
            self.ledger.iter().filter(|pack| pack.table == ERASURES[0].name).map(|pack| pack.rows.len()).sum();
        let (engine, anew) = (data.engine, Arc::new(self));
        let written = anew.clone();
        data.run_tx(NAME, move |connection| {
            let anew = written.clone();
            Box::pin(async move {
                for pack in &anew.ledger {
                    if let Some(table) = table(&pack.table) {
                        table.insert(connection, engine, &pack.columns, &pack.rows).await?;
                    }
                }
                for (project, last) in &anew.numbers {
                    query("INSERT INTO progress (project, last_number) VALUES ($1, $2)")
                        .bind(*project)
                        .bind(*last)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                }
                for (project, name) in &anew.destinations {
                    query("INSERT INTO cursors (project, destination, number) VALUES ($1, $2, $3)")
                        .bind(*project)
                        .bind(name.as_str())
                        .bind(anew.numbers.get(project).copied().unwrap_or(0))
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                }
                Ok(())
            })
        })
        .await?;
        let destinations = anew.destinations.len();
        let mut told = vec![format!(
            "{} of the ledger of erasures {} taken over from its copy",
            missing::counted(entries as u64, "entry", "entries"),
            if entries == 1 { "was" } else { "were" }
        )];
        told.push("events go on with numbers that were never given".to_owned());
        if destinations > 0 {
            let (all, go) = (missing::counted(destinations as u64, "destination", "destinations"), destinations == 1);
            told.push(format!("{all} {} on with what comes from now on", if go { "goes" } else { "go" }));
        }
        Ok(told.join("; "))
    }
}

/// Whether nothing was ever written into a database of events, as when it was made a moment ago.
pub(crate) async fn is_new(data: &Database) -> Result<bool, StoreError> {
    let new: i64 = sqlx::query_scalar(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM frames) OR EXISTS (SELECT 1 FROM progress) OR EXISTS (SELECT 1 FROM erasures) \
         OR EXISTS (SELECT 1 FROM cursors) OR EXISTS (SELECT 1 FROM notices) OR EXISTS (SELECT 1 FROM outcomes) \
         OR EXISTS (SELECT 1 FROM worker WHERE journal_offset > 0) THEN CAST(0 AS BIGINT) ELSE CAST(1 AS BIGINT) END",
    )
    .fetch_one(data.readers())
    .await
    .during("look whether the events are new")?;
    Ok(new == 1)
}

/// The copy of the ledger, none older than the newest that was written.
async fn ledger(config: &StoreConfig, control: &Database, ring: &KeyRing) -> Result<Option<LedgerCopy>, StoreError> {
    let needed = ledger_copy::needed(control).await?;
    let place = config.backup.as_ref().map(|backup| backup.keys_to.as_str());
    let problem = match place {
        None => "no place of its copy is known here".to_owned(),
        Some(place) if !place.starts_with("s3://") && !Path::new(place).is_dir() => {
            format!("there is no folder {place}, where its copy should be")
        }
        Some(place) => match lying(place, ring).await {
            Ok(Some(copy)) if copy.sequence >= needed => return Ok(Some(copy)),
            Ok(Some(copy)) => format!(
                "its copy in {place} has the number {}, and the newest has {needed}: what was erased since is not in it, which is {}",
                copy.sequence,
                copy.made()
            ),
            Ok(None) => format!("no copy of it in {place} is whole"),
            Err(error) => format!("its copy in {place} cannot be read: {error}"),
        },
    };
    if needed == 0 {
        return Ok(None);
    }
    Err(StoreError::Unusable(format!(
        "{}, and the ledger of erasures with it, without which it is not made anew, since whoever was erased would come back with an older \
         backup; {problem}. Bring the newest copy of keys and erasures ({} and {}) to {}, or name its place with backup.keys_to, and start \
         again. Where only an older one is left, move {} to another folder: convizit restore --move-aside brings back the newest backup that it is new \
         enough for, with --at, and whoever was erased since that copy is to be erased again; where none is, no backup can be restored, and \
         another folder with data starts anew",
        missing::gone(&config.folder, missing::DATA),
        NAMES[0],
        NAMES[1],
        place.unwrap_or("a place"),
        missing::CONTROL
    )))
}

async fn lying(place: &str, ring: &KeyRing) -> Result<Option<LedgerCopy>, StoreError> {
    ledger_copy::lying(&ledger_copy::place(place)?, ring).await
}

/// What the newest backup knows of numbers; where none can be read, all that came since the beginning may have had one.
async fn known(config: &StoreConfig, ring: &Arc<KeyRing>) -> Option<Known> {
    let to = &config.backup.as_ref()?.to;
    match numbers_in(to, ring).await {
        Ok(known) => Some(known),
        Err(error) => {
            tracing::warn!(%error, "no backup says which numbers were given: events go on with much higher ones");
            None
        }
    }
}

async fn numbers_in(to: &str, ring: &Arc<KeyRing>) -> Result<Known, StoreError> {
    let target = Target::open(to, false)?;
    let manifest = newest(&target, ring, None).await?.manifest;
    let mut last = BTreeMap::new();
    let progress = Progress::default();
    let mut packs = packs(&target, ring, &manifest, &progress, |part| part.table == "progress");
    while let Some((_, pack)) = packs.try_next().await? {
        let (project, number) = (pack.at("project"), pack.at("last_number"));
        for row in &pack.rows {
            let int = |at: Option<usize>| at.and_then(|at| row.get(at)).map_or(0, Cell::int);
            last.insert(int(project), int(number));
        }
    }
    drop(packs);
    Ok(Known { last, batch: manifest.journal_offset, made: manifest.made() })
}
