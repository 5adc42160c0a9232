//! Records of the journal that wait for their project: where its key, or what people decided of it, does not open, nothing may be made of
//! them, and no other project waits for that.
//!
//! They are sealed with the installation's own key, in the transaction that moves the worker's offset over them, and leave in the one that
//! stores what was made of them: each is in exactly one place. Where they grow too many, collectors refuse what comes for the project.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use convizit_keys::{KeyError, Place, ProjectKeys};
use convizit_model::outcome::{Filter, Refusal};
use convizit_model::{NoticeKind, Outcome, ProjectId, Received, Timestamp};
use serde::Serialize;
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::error::{Columns as _, During, StoreError};
use crate::ledger::ProjectLedger;
use crate::people::PersonHasher;
use crate::work::add_outcomes;

/// Records that are read at once at most.
const READ: i64 = 200;
/// A project may hold this part of the bytes that the journal may.
const SHARE: u64 = 8;

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRecord {
    /// The project's number.
    pub project: i64,
    /// The batch of the journal in which it stood.
    pub offset: u64,
    /// Its place in that batch.
    pub index: u64,
    /// The day of its receipt, in days since 1970.
    pub day: i64,
    /// The record, without what was erased.
    pub body: Bytes,
}

/// A project of which nothing can be made now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoppedProject {
    /// The project's id.
    pub project: ProjectId,
    /// What does not open; nothing where it opens again, and goes on within seconds.
    pub why: Option<String>,
    /// Records of the journal that wait for it.
    pub records: i64,
}

/// What the notice of a project that stands still is about.
pub const STOPPED: &str = "stopped";

/// Whether an error is about what one project has alone, its key or what that sealed: others go on. A key provider that is away, and a
/// database, stop everybody.
#[must_use]
pub fn is_of_one_project(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Keys(KeyError::Open { .. } | KeyError::Unwrap { .. } | KeyError::Unknown { .. })
            | StoreError::KeyGone { .. }
    )
}

/// Projects that hold as much as they may.
#[derive(Default)]
pub(crate) struct Full(RwLock<HashSet<i64>>);

/// A sealed record.
pub(crate) struct Sealed {
    project: i64,
    offset: i64,
    index: i64,
    day: i64,
    body: Vec<u8>,
}

/// Records behind one, with the bytes that are stored of each.
#[derive(Default)]
struct Page {
    found: Vec<(HeldRecord, Vec<u8>)>,
    /// Offset and place of the last that was looked at; none where there is no further one.
    last: Option<(i64, i64)>,
    /// Those that do not open: offset, place, and what is wrong.
    damaged: Vec<(i64, i64, String)>,
}

/// A record by project, offset and place.
pub(crate) type At = (i64, i64, i64);

fn row(project: i64, offset: i64, index: i64) -> [u8; 24] {
    let mut row = [0; 24];
    for (part, value) in row.chunks_exact_mut(8).zip([project, offset, index]) {
        part.copy_from_slice(&value.to_be_bytes());
    }
    row
}

pub(crate) fn body_of(row: &[u8; 24]) -> Place<'_> {
    Place { table: "held", purpose: "body", row }
}

pub(crate) fn seal(own: &ProjectKeys, now: Timestamp, records: Vec<HeldRecord>) -> Result<Vec<Sealed>, StoreError> {
    let seal = |record: HeldRecord| {
        let (project, offset, index) = (record.project, record.offset.cast_signed(), record.index.cast_signed());
        let body = own.seal(now, body_of(&row(project, offset, index)), &record.body)?;
        Ok(Sealed { project, offset, index, day: record.day, body })
    };
    records.into_iter().map(seal).collect()
}

/// Writes records that wait, and takes away those that went on.
pub(crate) async fn write(connection: &mut AnyConnection, held: &[Sealed], released: &[At]) -> Result<(), StoreError> {
    const NAME: &str = "hold records";
    for record in held {
        query("INSERT INTO held (project, journal_offset, place, day, body) VALUES ($1, $2, $3, $4, $5)")
            .bind(record.project)
            .bind(record.offset)
            .bind(record.index)
            .bind(record.day)
            .bind(record.body.as_slice())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
    }
    for (project, offset, index) in released {
        let done = query("DELETE FROM held WHERE project = $1 AND journal_offset = $2 AND place = $3")
            .bind(*project)
            .bind(*offset)
            .bind(*index)
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        // Erased, or made into events by another process meanwhile.
        if done.rows_affected() != 1 {
            return Err(StoreError::Moved { what: "a record that waited".to_owned() });
        }
    }
    Ok(())
}

impl Store {
    /// The projects for which records wait.
    ///
    /// # Errors
    /// `Database`.
    pub async fn held_projects(&self) -> Result<Vec<i64>, StoreError> {
        sqlx::query_scalar("SELECT DISTINCT project FROM held ORDER BY project")
            .fetch_all(self.data().readers())
            .await
            .during("find projects whose records wait")
    }

    /// The first records that wait for a project, in the order in which they came: two hundred and about so many bytes at most. One that
    /// does not open holds up no other: it stays where it is, with a notice.
    ///
    /// # Errors
    /// `Database`.
    pub async fn held_records(&self, project: i64, bytes: usize) -> Result<Vec<HeldRecord>, StoreError> {
        let (mut records, mut sum, mut after) = (Vec::new(), 0, (i64::MIN, i64::MIN));
        while records.is_empty() {
            let page = self.held_after(project, after, i64::MAX).await?;
            let Some(last) = page.last else { break };
            if let Some((.., problem)) = page.damaged.first() {
                self.tell_damaged_held(project, problem).await?;
            }
            for (record, _) in page.found {
                sum += record.body.len();
                records.push(record);
                if sum >= bytes {
                    break;
                }
            }
            after = last;
        }
        Ok(records)
    }

    async fn tell_damaged_held(&self, project: i64, problem: &str) -> Result<(), StoreError> {
        let of = self.projects().await?.into_iter().find(|known| known.number == project).map(|known| known.id);
        let text = format!(
            "of what waited for this site not every record opens ({problem}), and such a one becomes no event: it is kept as it is until \
             retention takes it, a backup may have it whole, and convizit verify names each"
        );
        self.raise_once(NoticeKind::Damaged, of.as_ref(), "held", &text).await
    }

    /// Of days before one.
    async fn held_after(&self, project: i64, (offset, index): (i64, i64), before: i64) -> Result<Page, StoreError> {
        let rows = query(
            "SELECT journal_offset, place, day, body FROM held WHERE project = $1 AND day < $4 \
             AND (journal_offset > $2 OR (journal_offset = $2 AND place > $3)) ORDER BY journal_offset, place LIMIT $5",
        )
        .bind(project)
        .bind(offset)
        .bind(index)
        .bind(before)
        .bind(READ)
        .fetch_all(self.data().readers())
        .await
        .during("read records that wait")?;
        let mut page = Page::default();
        for read in rows {
            let (offset, index, sealed): (i64, i64, Vec<u8>) = (read.read(0)?, read.read(1)?, read.read(3)?);
            page.last = Some((offset, index));
            let body = match self.keyring().open_sealed(0, body_of(&row(project, offset, index)), &sealed).await {
                Err(StoreError::Keys(KeyError::Open { .. } | KeyError::Unknown { .. })) => {
                    let problem =
                        format!("record {offset}/{index} that waits for project number {project} does not open");
                    page.damaged.push((offset, index, problem));
                    continue;
                }
                body => body?,
            };
            let (offset, index) = (offset.cast_unsigned(), index.cast_unsigned());
            page.found.push((HeldRecord { project, offset, index, day: read.read(2)?, body: body.into() }, sealed));
        }
        Ok(page)
    }

    /// How many records wait for a project, each opened, and what is wrong with those that do not open.
    pub(crate) async fn count_held(&self, project: i64) -> Result<(u64, Vec<String>), StoreError> {
        let (mut after, mut count, mut problems) = ((i64::MIN, i64::MIN), 0, Vec::new());
        loop {
            let page = self.held_after(project, after, i64::MAX).await?;
            let Some(last) = page.last else { return Ok((count, problems)) };
            after = last;
            count += page.found.len() as u64;
            problems.extend(page.damaged.into_iter().map(|(.., problem)| problem));
        }
    }

    /// Opens what events of a project are sealed with: its key, and those of days.
    ///
    /// # Errors
    /// `Keys` where one does not open, `Database`.
    pub async fn opens_for(&self, project: i64, days: &[i64]) -> Result<(), StoreError> {
        self.keyring().project(project).await?;
        for day in days {
            self.keyring().day_to_seal(project, *day).await?;
        }
        Ok(())
    }

    /// Whether a project holds as much as it may, as far as this process knows: what comes for it is refused.
    #[must_use]
    pub fn holds_enough(&self, project: i64) -> bool {
        self.held_full().0.read().unwrap_or_else(PoisonError::into_inner).contains(&project)
    }

    /// Takes over which projects hold as much as they may.
    pub(crate) async fn look_for_held(&self) -> Result<(), StoreError> {
        let rows = query("SELECT project, CAST(SUM(octet_length(body)) AS BIGINT) FROM held GROUP BY project")
            .fetch_all(self.data().readers())
            .await
            .during("measure what waits")?;
        let held: Vec<(i64, i64)> = crate::error::pairs(&rows)?;
        // All of them together no more than the journal.
        let all = held.iter().map(|(_, bytes)| bytes.cast_unsigned()).sum::<u64>() >= self.journal_bound();
        let is_full = |bytes: i64| all || bytes.cast_unsigned() >= self.journal_bound() / SHARE;
        let full = held.into_iter().filter(|(_, bytes)| is_full(*bytes)).map(|(project, _)| project).collect();
        *self.held_full().0.write().unwrap_or_else(PoisonError::into_inner) = full;
        Ok(())
    }

    /// The projects of which nothing can be made, or for which records wait still.
    ///
    /// # Errors
    /// `Database`.
    pub async fn stopped_projects(&self) -> Result<Vec<StoppedProject>, StoreError> {
        let rows = query("SELECT project, COUNT(*) FROM held GROUP BY project")
            .fetch_all(self.data().readers())
            .await
            .during("count what waits")?;
        let waiting: HashMap<i64, i64> = crate::error::pairs(&rows)?;
        let told = self.notices(false).await?.into_iter();
        let told = told.filter(|notice| notice.kind == NoticeKind::Damaged && notice.subject == STOPPED);
        let told: HashSet<ProjectId> = told.filter_map(|notice| notice.project).collect();
        let mut stopped = Vec::new();
        for project in self.projects().await? {
            let stood = told.contains(&project.id) || waiting.contains_key(&project.number);
            let today = self.clock().now().day();
            let opens = async {
                self.keyring().project(project.number).await?;
                match self.keyring().day(project.number, today).await {
                    Ok(_) | Err(StoreError::KeyGone { .. }) => {}
                    Err(error) => return Err(error),
                }
                // Every row of what was learned, so only where it stood still; `verify` looks at all.
                if stood { self.sorted_state(project.number).await.map(|_| ()) } else { Ok(()) }
            };
            let why = match opens.await {
                Ok(()) => None,
                Err(error) if is_of_one_project(&error) => Some(error.to_string()),
                Err(error) => return Err(error),
            };
            let records = waiting.get(&project.number).copied().unwrap_or(0);
            let why = match why {
                None if records > 0 => {
                    let page = self.held_after(project.number, (i64::MIN, i64::MIN), i64::MAX).await?;
                    // The others go on.
                    page.damaged.into_iter().next().filter(|_| page.found.is_empty()).map(|(.., problem)| problem)
                }
                why => why,
            };
            if why.is_some() || records > 0 {
                stopped.push(StoppedProject { project: project.id, why, records });
            }
        }
        Ok(stopped)
    }

    /// Takes out of the records that wait what the ledger of erasures says; called by upkeep.
    pub(crate) async fn erase_held(&self, project: i64) -> Result<(), StoreError> {
        let Some(ledger) = self.ledger().now().of(project) else { return Ok(()) };
        let (hasher, own) = (self.hasher(), self.ring().own());
        let mut after = (i64::MIN, i64::MIN);
        loop {
            let page = self.held_after(project, after, i64::MAX).await?;
            let Some(last) = page.last else { return Ok(()) };
            after = last;
            for (record, before) in page.found {
                let Some((left, erased)) = without_erased((&ledger, &hasher, project), &record.body) else { continue };
                let (offset, index) = (record.offset.cast_signed(), record.index.cast_signed());
                let body = match left.is_empty() {
                    true => Vec::new(),
                    false => own.seal(self.clock().now(), body_of(&row(project, offset, index)), &left)?,
                };
                self.replace_held((project, offset, index), before, body, erased).await?;
            }
        }
    }

    /// Unless it went on meanwhile. Without a body, it goes. What was taken out of it has its outcome in the same transaction.
    async fn replace_held(
        &self,
        (project, offset, index): At,
        before: Vec<u8>,
        body: Vec<u8>,
        erased: u64,
    ) -> Result<(), StoreError> {
        const NAME: &str = "erase from records that wait";
        let engine = self.data().engine;
        self.data()
            .run_tx(NAME, move |connection| {
                let (before, body) = (before.clone(), body.clone());
                Box::pin(async move {
                    let change = if body.is_empty() {
                        query("DELETE FROM held WHERE project = $1 AND journal_offset = $2 AND place = $3 AND body = $4")
                    } else {
                        query(
                            "UPDATE held SET body = $5 WHERE project = $1 AND journal_offset = $2 AND place = $3 AND body = $4",
                        )
                    };
                    let change = change.bind(project).bind(offset).bind(index).bind(before);
                    let change = if body.is_empty() { change } else { change.bind(body) };
                    if change.execute(&mut *connection).await.during(NAME)?.rows_affected() == 0 {
                        return Ok(());
                    }
                    let erased = (project, Outcome::Filtered(Filter::Erased), erased);
                    add_outcomes(connection, engine, &[erased]).await
                })
            })
            .await
    }

    /// Deletes records of before the first day that is kept: of nobody's events was anything made in time, which is told by their outcome.
    /// One that does not open counts as one item.
    pub(crate) async fn forget_held(&self, project: i64, first_kept: i64) -> Result<(), StoreError> {
        const NAME: &str = "forget records that wait";
        let engine = self.data().engine;
        loop {
            let page = self.held_after(project, (i64::MIN, i64::MIN), first_kept).await?;
            if page.last.is_none() {
                return Ok(());
            }
            let opened = page.found.iter().map(|(record, _)| {
                let events =
                    serde_json::from_slice(&record.body).map_or(1, |record: Received| record.batch.events.len());
                (record.offset.cast_signed(), record.index.cast_signed(), events as u64)
            });
            let gone: Vec<(i64, i64, u64)> =
                opened.chain(page.damaged.iter().map(|(offset, index, _)| (*offset, *index, 1))).collect();
            self.data()
                .run_tx(NAME, move |connection| {
                    let gone = gone.clone();
                    Box::pin(async move {
                        let mut items = 0;
                        for (offset, index, events) in gone {
                            let done =
                                query("DELETE FROM held WHERE project = $1 AND journal_offset = $2 AND place = $3")
                                    .bind(project)
                                    .bind(offset)
                                    .bind(index)
                                    .execute(&mut *connection)
                                    .await
                                    .during(NAME)?;
                            // Another process may have done so, or made events of it.
                            items += events * done.rows_affected();
                        }
                        add_outcomes(connection, engine, &[(project, Outcome::Refused(Refusal::Internal), items)]).await
                    })
                })
                .await?;
        }
    }
}

/// A record without the events of whoever was erased, and how many those were; nothing where it has none of them, and empty where nothing
/// is left.
fn without_erased(
    (ledger, hasher, project): (&ProjectLedger, &PersonHasher, i64),
    body: &[u8],
) -> Option<(Vec<u8>, u64)> {
    let mut received: Received = serde_json::from_slice(body).ok()?;
    let (at, ahead, before) = (received.received, received.clock, received.batch.events.len());
    let (visitor, user) = (received.visitor.clone(), received.batch.user.clone());
    received.batch.events.retain(|event| {
        let time = event.time.plus_millis(ahead).min(at);
        !ledger.erases(hasher, project, (&visitor, user.as_deref()), (time, None))
    });
    let erased = (before - received.batch.events.len()) as u64;
    match (erased, received.batch.events.is_empty()) {
        (0, _) => None,
        (_, true) => Some((Vec::new(), erased)),
        _ => Some((serde_json::to_vec(&received).ok()?, erased)),
    }
}
