//! What does not open, by name: frames, until they are restored or gone, and which erasures they hold open.
//!
//! Upkeep writes down what it meets. A frame that holds an erasure open is told once; when it opens again, or retention has taken
//! it, its note goes and the erasure ends.

use std::collections::{BTreeMap, HashSet};

use convizit_model::{NoticeKind, ProjectId, Timestamp};
use serde::Serialize;
use sqlx::{AssertSqlSafe, query};

use crate::error::{Columns as _, During, StoreError};
use crate::named_keys::date;
use crate::people::{self, HASH};
use crate::{Store, frames, notices};

/// Frames of a project that are written down at most; where more are damaged, the first ones say enough.
const NOTED: i64 = 100;
/// Stands for frames that do not open, among the projects whose erasures are tried again in a while: no project has this number.
const AGAIN: i64 = 0;
/// Where a person reads what to do.
const DOCUMENT: &str = "docs/data-lifecycle.md, \"A frame that does not open\"";

/// A frame that does not open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedFrame {
    /// The project's id.
    pub project: ProjectId,
    /// Number of its first event, which is its own number.
    pub first: i64,
    /// Number of its last event.
    pub last: i64,
    /// The day on which its events were received: `2026-11-28`.
    pub day: String,
    /// The day on which retention takes it.
    pub goes: String,
    /// When it was met first.
    pub since: Timestamp,
    /// Whether it holds an erasure open.
    pub holds: bool,
}

/// A frame by which an erasure is held open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldBy {
    /// Number of its first event, which is its own number.
    pub frame: i64,
    /// Number of its last event.
    pub last: i64,
    /// The day on which its events were received: `2026-11-28`.
    pub day: String,
    /// The day on which retention takes it, and with it what it may hold of the person.
    pub goes: String,
}

/// A frame that did not open now.
pub(crate) struct Met {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) day: i64,
    pub(crate) holds: bool,
    /// What is wrong with it.
    pub(crate) problem: String,
}

impl Store {
    /// The frames that upkeep knows not to open, of all projects; a hundred of each at most. `verify` looks at every frame.
    ///
    /// # Errors
    /// `Database`.
    pub async fn damaged_frames(&self) -> Result<Vec<DamagedFrame>, StoreError> {
        let rows = query(
            "SELECT d.project, d.first, d.last, d.day, d.since, d.holds FROM damaged_frames d \
             JOIN frames f ON f.project = d.project AND f.first = d.first AND f.last = d.last ORDER BY d.project, d.first",
        )
        .fetch_all(self.data().readers())
        .await
        .during("list damaged frames")?;
        let projects = self.projects().await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let number: i64 = row.read(0)?;
            let Some(project) = projects.iter().find(|project| project.number == number) else { continue };
            let day: i64 = row.read(3)?;
            found.push(DamagedFrame {
                project: project.id.clone(),
                first: row.read(1)?,
                last: row.read(2)?,
                day: date(day),
                goes: date(goes(day, project.settings.retention_days)),
                since: Timestamp::from_millis(row.read(4)?),
                holds: row.read::<i64>(5)? == 1,
            });
        }
        Ok(found)
    }

    /// By which frames the erasures of a project are held open, by request; only of one where it is given.
    pub(crate) async fn held(
        &self,
        project: i64,
        request: Option<&str>,
    ) -> Result<BTreeMap<String, Vec<HeldBy>>, StoreError> {
        const NAME: &str = "find what holds erasures";
        let mut held: BTreeMap<String, Vec<HeldBy>> = BTreeMap::new();
        let (filter, _) = frames::as_bytes(self.data().engine);
        let closed = query(AssertSqlSafe(format!(
            "SELECT d.first, d.last, d.day, {filter} FROM damaged_frames d \
             JOIN frames f ON f.project = d.project AND f.first = d.first AND f.last = d.last \
             WHERE d.project = $1 AND d.holds = 1 ORDER BY d.first",
        )))
        .bind(project)
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        if closed.is_empty() {
            return Ok(held);
        }
        let kept = self.projects().await?.into_iter().find(|known| known.number == project);
        let kept = kept.map_or(0, |project| project.settings.retention_days);
        let open = query(
            "SELECT request, person, through FROM erasures WHERE project = $1 AND state = 'open' \
             AND kind IN ('visitor', 'user') AND ($2 IS NULL OR request = $2) ORDER BY number",
        )
        .bind(project)
        .bind(request)
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        for frame in &closed {
            let (first, last, day): (i64, i64, i64) = (frame.read(0)?, frame.read(1)?, frame.read(2)?);
            let filter: Vec<u8> = frame.read(3)?;
            let may_hold = |hash| people::may_hold_any((project, first, last), &filter, [hash].into_iter());
            let mut of: HashSet<String> = HashSet::new();
            for entry in &open {
                let (person, through): (&[u8], i64) = (entry.read(1)?, entry.read(2)?);
                let Some(hash) = person.first_chunk::<HASH>() else { continue };
                let request: &str = entry.read(0)?;
                if first <= through && may_hold(hash) && !of.contains(request) {
                    of.insert(request.to_owned());
                }
            }
            for request in of {
                let by = HeldBy { frame: first, last, day: date(day), goes: date(goes(day, kept)) };
                held.entry(request).or_default().push(by);
            }
        }
        Ok(held)
    }

    /// Takes down frames that do not open; one that holds an erasure is told, once.
    pub(crate) async fn note_damaged(&self, project: i64, met: &[Met]) -> Result<(), StoreError> {
        const NAME: &str = "note damaged frames";
        if met.is_empty() {
            return Ok(());
        }
        let rows = query("SELECT first, last, holds FROM damaged_frames WHERE project = $1")
            .bind(project)
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
        let mut known: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
        for row in &rows {
            known.insert(row.read(0)?, (row.read(1)?, row.read::<i64>(2)? == 1));
        }
        let Some(of) = self.projects().await?.into_iter().find(|known| known.number == project) else { return Ok(()) };
        let (mut count, now) = (i64::try_from(known.len()).unwrap_or(NOTED), self.clock().now());
        for frame in met {
            let (is_new, told) = match known.get(&frame.first) {
                Some((last, holds)) => (*last != frame.last, *last == frame.last && *holds),
                None => (true, false),
            };
            let holds = frame.holds || told;
            if (!is_new && holds == told) || (count >= NOTED && !known.contains_key(&frame.first)) {
                continue;
            }
            count += i64::from(!known.contains_key(&frame.first));
            let (first, last, day) = (frame.first, frame.last, frame.day);
            let text = (holds && !told).then(|| {
                format!(
                    "an erasure is held open by frame {}/{first} of {} (events {first} to {last}), which does not open: {}. Nothing of the erased \
                     can be read, exported or delivered meanwhile. Restore the frame ({DOCUMENT}), or let retention take it on {}; see \
                     convizit erase --project {} --list",
                    of.id,
                    date(day),
                    frame.problem,
                    date(goes(day, of.settings.retention_days)),
                    of.id
                )
            });
            let (own, id) = (self.ring().own(), of.id.to_string());
            self.data()
                .run_tx(NAME, move |connection| {
                    let (text, own, id) = (text.clone(), own.clone(), id.clone());
                    Box::pin(async move {
                        query(
                            "INSERT INTO damaged_frames (project, first, last, day, since, holds) VALUES ($1, $2, $3, $4, $5, $6) \
                             ON CONFLICT (project, first) DO UPDATE SET last = excluded.last, day = excluded.day, holds = excluded.holds",
                        )
                        .bind(project)
                        .bind(first)
                        .bind(last)
                        .bind(day)
                        .bind(now.as_millis())
                        .bind(i64::from(holds))
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                        // With the note, so that it is told once and not left out.
                        match text {
                            Some(text) => {
                                let about = (id.as_str(), subject(first));
                                notices::raise(connection, &own, NoticeKind::Damaged, (about.0, &about.1), &text, now).await
                            }
                            None => Ok(()),
                        }
                    })
                })
                .await?;
        }
        Ok(())
    }

    /// Looks again, each two minutes, at frames that did not open: what opens, or is not there any more, is noted no longer.
    pub(crate) async fn look_at_damaged(&self) -> Result<(), StoreError> {
        const NAME: &str = "look at damaged frames";
        if !self.is_tried_again(AGAIN, 0) {
            return Ok(());
        }
        self.try_again_later(AGAIN, 0);
        let rows = query("SELECT project, first, last, day FROM damaged_frames ORDER BY project, first")
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
        if rows.is_empty() {
            return Ok(());
        }
        let projects = self.projects().await?;
        for row in rows {
            let (project, first, day): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(3)?);
            if !self.opens_or_is_gone(project, (first, row.read(2)?), day).await? {
                continue;
            }
            let of = projects.iter().find(|known| known.number == project);
            self.note_no_longer(project, of.map(|of| &of.id), first).await?;
        }
        Ok(())
    }

    /// Takes the note of a frame away, with its notice: it opens, or is gone. What it held open is looked at again by this process now,
    /// and by any other within two minutes.
    pub(crate) async fn note_no_longer(
        &self,
        project: i64,
        id: Option<&ProjectId>,
        first: i64,
    ) -> Result<(), StoreError> {
        const NAME: &str = "forget a damaged frame";
        let id = id.map(ToString::to_string);
        self.data()
            .run_tx(NAME, move |connection| {
                let id = id.clone();
                Box::pin(async move {
                    query("DELETE FROM damaged_frames WHERE project = $1 AND first = $2")
                        .bind(project)
                        .bind(first)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    // With the note, by which alone its notice is found again.
                    match id {
                        Some(id) => notices::resolve(connection, NoticeKind::Damaged, (&id, &subject(first))).await,
                        None => Ok(()),
                    }
                })
            })
            .await?;
        self.try_again_now(project);
        Ok(())
    }

    /// Whether a frame is noted to hold an erasure open.
    pub(crate) async fn holds_erasure(&self, project: i64, first: i64) -> Result<bool, StoreError> {
        let holds: Option<i64> =
            sqlx::query_scalar("SELECT holds FROM damaged_frames WHERE project = $1 AND first = $2")
                .bind(project)
                .bind(first)
                .fetch_optional(self.data().readers())
                .await
                .during("look at what a frame holds open")?;
        Ok(holds == Some(1))
    }

    async fn opens_or_is_gone(&self, project: i64, (first, last): (i64, i64), day: i64) -> Result<bool, StoreError> {
        let (_, body) = frames::as_bytes(self.data().engine);
        let sql = format!("SELECT {body} FROM frames WHERE project = $1 AND first = $2 AND last = $3");
        let row = query(AssertSqlSafe(sql))
            .bind(project)
            .bind(first)
            .bind(last)
            .fetch_optional(self.data().readers())
            .await
            .during("look at damaged frames")?;
        let Some(row) = row else { return Ok(true) };
        let body: Vec<u8> = row.read(0)?;
        // Of a key that is gone, the frame goes as well.
        let Ok(key) = self.keyring().day(project, day).await else { return Ok(false) };
        let opened = tokio::task::spawn_blocking(move || frames::open(&key, project, first, &body).is_ok());
        Ok(opened.await.unwrap_or(false))
    }
}

/// The day on which retention takes what was received on a day.
fn goes(day: i64, retention_days: u32) -> i64 {
    day + i64::from(retention_days) + 1
}

fn subject(first: i64) -> String {
    format!("frame {first}")
}
