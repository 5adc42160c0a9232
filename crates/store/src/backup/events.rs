//! Frames one after the other: to look at each, and to learn again, after a restore, which ids are stored.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use convizit_keys::{DataKey, KeyError};
use convizit_model::{EventId, Project, ProjectId};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, query};

use super::Progress;
use super::mend::FrameId;
use super::opening::living;
use super::verify::VerifyReport;
use super::write::blocking;
use crate::Store;
use crate::error::{Columns as _, During, StoreError};
use crate::ledger::Whose;
use crate::people::{self, PersonHasher};
use crate::{frames, seen};

/// Frames that are read at once: some MiB.
const PAGE: i64 = 100;
/// Keys of seen ids that are held to be put in order, 20 bytes each: more are written in several runs.
const KEYS: usize = 4_000_000;

pub(super) struct Frame {
    pub(super) project: i64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) day: i64,
    pub(super) filter: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// What is stored of a project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StoredEvents {
    /// Frames.
    pub frames: u64,
    /// Events in those that open.
    pub events: u64,
    /// Frames that do not open: their key is destroyed, or they are damaged.
    pub unreadable: u64,
}

/// What a restore has brought back.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Events by project number.
    events: BTreeMap<i64, i64>,
    /// Frames that do not open.
    pub(super) damaged: u64,
}

impl Stored {
    /// Events by the projects' ids.
    pub(super) fn of_projects(&self, projects: &[Project]) -> Vec<(String, i64)> {
        let events = |project: &Project| self.events.get(&project.number).copied().unwrap_or(0);
        projects.iter().map(|project| (project.id.to_string(), events(project))).collect()
    }
}

/// What every event begins with.
#[derive(Deserialize)]
struct Id {
    id: EventId,
}

/// An event's id.
fn id_of(line: &[u8]) -> Option<EventId> {
    // As the worker writes it: the id first, in 36 characters.
    let quick =
        line.strip_prefix(br#"{"id":""#).and_then(|rest| rest.get(..36)).and_then(|id| std::str::from_utf8(id).ok());
    quick.and_then(|id| id.parse().ok()).or_else(|| serde_json::from_slice::<Id>(line).ok().map(|event| event.id))
}

/// What is wrong with a frame; `None` when nothing is, and how many events it holds.
pub(super) fn look(key: &DataKey, hasher: &PersonHasher, frame: &Frame) -> Result<u64, String> {
    let lines = frames::open(key, frame.project, frame.first, &frame.body).map_err(|error| frames::wrong(&error))?;
    let filter = people::whole((frame.project, frame.first, frame.last), &frame.filter)
        .ok_or("its filter of persons, or a number beside it, was changed")?;
    let (mut count, mut events, mut known) = (0, 0, HashSet::new());
    for line in lines.split(|byte| *byte == b'\n') {
        count += 1;
        if line.is_empty() {
            continue;
        }
        events += 1;
        let whose = Whose::of(line).ok_or("it holds a line that is no event")?;
        for (kind, id) in [("visitor", Some(&whose.visitor)), ("user", whose.user.as_ref())] {
            if let Some(id) = id
                && known.insert((kind, id.to_string()))
                && !people::may_hold(filter, &hasher.of(frame.project, kind, id))
            {
                return Err("its filter does not hold everybody who is in it".to_owned());
            }
        }
    }
    let expected = frame.last - frame.first + 1;
    if count == expected { Ok(events) } else { Err(format!("it holds {count} lines and not {expected}")) }
}

/// The keys of seen ids of a frame, by table.
fn ids(key: &DataKey, frame: &Frame) -> Result<Vec<(i64, [u8; seen::KEY])>, StoreError> {
    let lines = frames::open(key, frame.project, frame.first, &frame.body)?;
    let ids = lines.split(|byte| *byte == b'\n').filter_map(id_of);
    Ok(ids.map(|id| (seen::table_of(&id, frame.day), seen::key(frame.project, &id))).collect())
}

impl Store {
    async fn frames_of(&self, project: i64, day: Option<i64>, after: i64, to: i64) -> Result<Vec<Frame>, StoreError> {
        const NAME: &str = "read frames";
        let (filter, body) = frames::as_bytes(self.data().engine);
        let head = format!(
            "SELECT first, last, day, {filter}, {body} FROM frames WHERE project = $1 AND first > $2 AND first <= $3"
        );
        let select = match day {
            Some(day) => query(AssertSqlSafe(format!("{head} AND day = $5 ORDER BY first LIMIT $4")))
                .bind(project)
                .bind(after)
                .bind(to)
                .bind(PAGE)
                .bind(day),
            None => query(AssertSqlSafe(format!("{head} ORDER BY first LIMIT $4")))
                .bind(project)
                .bind(after)
                .bind(to)
                .bind(PAGE),
        };
        let rows = select.fetch_all(self.data().readers()).await.during(NAME)?;
        rows.iter()
            .map(|row| {
                Ok(Frame {
                    project,
                    first: row.read(0)?,
                    last: row.read(1)?,
                    day: row.read(2)?,
                    filter: row.read(3)?,
                    body: row.read(4)?,
                })
            })
            .collect()
    }

    /// Opens every frame of a project up to a number; `id` is the project's, where it was not removed.
    pub(super) async fn verify_frames(
        &self,
        (project, id): (i64, Option<&ProjectId>),
        to: i64,
        report: &mut VerifyReport,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let (hasher, mut after) = (self.hasher(), 0);
        let ledger = self.ledger().now().of(project);
        loop {
            let page = self.frames_of(project, None, after, to).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let mut before = after;
            after = last.first;
            let mut keyed = Vec::with_capacity(page.len());
            for frame in page {
                // Its key was destroyed; upkeep is about to delete it.
                if ledger.as_ref().is_some_and(|ledger| ledger.has_ended(frame.day, frame.last)) {
                    continue;
                }
                report.frames += 1;
                progress.add(frame.body.len() as u64);
                if frame.first <= before && before > 0 {
                    report.wrong(format!("{} overlaps the one before", self.frame_in_words(project, frame.first)));
                }
                before = frame.last;
                match self.keyring().day(project, frame.day).await {
                    Ok(key) => keyed.push((key, frame)),
                    Err(error) => report.wrong(format!("{}: {error}", self.frame_in_words(project, frame.first))),
                }
            }
            let hasher = hasher.clone();
            let looked: Vec<(i64, Result<u64, String>)> = blocking(move || {
                Ok(keyed.iter().map(|(key, frame)| (frame.first, look(key, &hasher, frame))).collect())
            })
            .await?;
            for (first, looked) in looked {
                match looked {
                    Ok(events) => report.events += events,
                    Err(problem) => {
                        report.wrong(format!("{}: {problem}", self.frame_in_words(project, first)));
                        report.damaged(id.map(|project| FrameId { project: project.clone(), first }));
                    }
                }
            }
        }
    }

    /// Writes the ids of all stored events down as seen, day by day and in their order: of a restored database.
    pub(super) async fn see_again(&self) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        let rows = query("SELECT DISTINCT day, project FROM frames ORDER BY day, project")
            .fetch_all(self.data().readers())
            .await
            .during("list days of frames")?;
        let mut found: BTreeMap<i64, Vec<[u8; seen::KEY]>> = BTreeMap::new();
        let (mut held, mut of_day) = (0, None);
        for row in rows {
            let (day, project): (i64, i64) = (row.read(0)?, row.read(1)?);
            if of_day.replace(day).is_some_and(|before| before != day) {
                held = 0;
                self.write_seen(&mut found).await?;
            }
            let key = match self.keyring().day(project, day).await {
                // Two people destroyed it while the copy of the keys was written.
                Err(StoreError::KeyGone { .. }) => continue,
                // It was damaged before it was copied, and the other days are worth as much as before.
                Err(error @ StoreError::Keys(KeyError::Open { .. } | KeyError::Unwrap { .. })) => {
                    tracing::warn!(project, day, %error, "the key of a day does not open: its events are lost");
                    stored.damaged += self.count_frames(project, day).await?;
                    continue;
                }
                key => key?,
            };
            let mut after = 0;
            loop {
                let page = self.frames_of(project, Some(day), after, i64::MAX).await?;
                let Some(last) = page.last() else { break };
                after = last.first;
                let key = Arc::clone(&key);
                let (keys, damaged) = blocking(move || {
                    let (mut keys, mut damaged) = (Vec::new(), Vec::new());
                    for frame in &page {
                        match ids(&key, frame) {
                            Ok(found) => keys.extend(found),
                            Err(error) => damaged.push(error),
                        }
                    }
                    Ok((keys, damaged))
                })
                .await?;
                for error in &damaged {
                    // It was so when it was backed up, and the rest is worth as much as before.
                    tracing::warn!(%error, "a frame cannot be opened: its events are lost, and repeats of them would be taken");
                }
                *stored.events.entry(project).or_default() += i64::try_from(keys.len()).unwrap_or(i64::MAX);
                stored.damaged += damaged.len() as u64;
                held += keys.len();
                for (table, key) in keys {
                    found.entry(table).or_default().push(key);
                }
                if held >= KEYS {
                    held = 0;
                    self.write_seen(&mut found).await?;
                }
            }
        }
        self.write_seen(&mut found).await?;
        Ok(stored)
    }

    async fn count_frames(&self, project: i64, day: i64) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM frames WHERE project = $1 AND day = $2")
            .bind(project)
            .bind(day)
            .fetch_one(self.data().readers())
            .await
            .during("count frames")?;
        Ok(count.cast_unsigned())
    }

    async fn write_seen(&self, found: &mut BTreeMap<i64, Vec<[u8; seen::KEY]>>) -> Result<(), StoreError> {
        let engine = self.data().engine;
        for (day, mut keys) in std::mem::take(found) {
            keys.sort_unstable();
            for keys in keys.chunks(seen::MANY) {
                let keys = Arc::new(keys.concat());
                self.data()
                    .run_tx("learn seen ids", move |connection| {
                        let keys = keys.clone();
                        Box::pin(async move { seen::insert_many(connection, engine, day, &keys).await })
                    })
                    .await?;
            }
        }
        Ok(())
    }

    /// How many events of a project are stored, of one day or of all, without erased ones: every frame is opened.
    ///
    /// # Errors
    /// `Database`. What does not open is no error but in the answer.
    pub async fn stored_events(
        &self,
        project: i64,
        day: Option<i64>,
        progress: &Progress,
    ) -> Result<StoredEvents, StoreError> {
        let (mut stored, mut after) = (StoredEvents::default(), 0);
        let ledger = self.ledger().now().of(project);
        loop {
            let page = self.frames_of(project, day, after, i64::MAX).await?;
            let Some(last) = page.last() else { return Ok(stored) };
            after = last.first;
            let mut keyed = Vec::with_capacity(page.len());
            for frame in page {
                if ledger.as_ref().is_some_and(|ledger| ledger.has_ended(frame.day, frame.last)) {
                    continue;
                }
                stored.frames += 1;
                progress.add(frame.body.len() as u64);
                match self.keyring().day(project, frame.day).await {
                    Ok(key) => keyed.push((key, frame)),
                    Err(_) => stored.unreadable += 1,
                }
            }
            let opened: Vec<Option<i64>> = blocking(move || {
                let open = |(key, frame): (Arc<DataKey>, Frame)| {
                    living(&key, project, (frame.first, frame.last), &frame.body).ok()
                };
                Ok(keyed.into_iter().map(open).collect())
            })
            .await?;
            for events in opened {
                match events {
                    Some(events) => stored.events += events.cast_unsigned(),
                    None => stored.unreadable += 1,
                }
            }
        }
    }
}
