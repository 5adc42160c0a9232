//! Frames: compressed and sealed stretches of one project's events of one received day.
//!
//! The worker writes a frame per project and transaction; `merge` joins neighbours until a frame holds 1 000 events or its
//! day is over. A merge replaces frames by one of the same range in one transaction, and a reader reads its frames in one
//! statement, so a reader sees the old frames or the new one, never both or neither.

use std::collections::HashMap;
use std::sync::Arc;

use convizit_keys::{KeyRing, Place};
use convizit_model::NewEvent;
use sqlx::{AnyConnection, AssertSqlSafe, Row, query};

use crate::database::{Engine, insert_rows, marks, pieces};
use crate::error::{During, StoreError};
use crate::{Store, StoredEvent};

/// Events of a frame that is merged no more.
const FULL: i64 = 1_000;
/// Level of joined frames: packed tighter than what the worker writes.
const PACKED: i32 = 6;
/// Frames joined in one step: together they take far less than 20 ms.
const STEP: usize = 24;
/// Joined frames that share a commit.
const TOGETHER: usize = 8;
/// Neighbours of the same size that make a merge worth its rewrite while a day is not over.
const WORTH: i64 = 7;
/// Decompressed bytes of a frame that merging adds no more to; one that the worker makes has at most one event more.
const FULL_BYTES: usize = 4 << 20;
/// Decompressed bytes of a frame at most, far above what the worker and merging make of them.
const FRAME_BYTES: usize = 64 << 20;

/// A frame to be written.
pub(crate) struct Frame {
    project: i64,
    first: i64,
    last: i64,
    day: i64,
    body: Vec<u8>,
}

/// Makes frames; keeps its compressor, which is costlier to make than a small frame.
pub(crate) struct Sealer<'k> {
    keys: &'k KeyRing,
    compressor: zstd::bulk::Compressor<'static>,
}

impl<'k> Sealer<'k> {
    /// For frames that the worker writes: quick. What is merged is packed tighter.
    pub(crate) fn new(keys: &'k KeyRing) -> Result<Self, StoreError> {
        Ok(Self { keys, compressor: zstd::bulk::Compressor::new(1).map_err(cannot_pack)? })
    }

    /// Frames of new events, one for each received day, numbered from `last + 1`; and the new last number.
    pub(crate) fn frames(
        &mut self,
        project: i64,
        last: i64,
        events: &[NewEvent],
    ) -> Result<(Vec<Frame>, i64), StoreError> {
        let mut frames = Vec::new();
        let mut number = last;
        let mut bytes = 0;
        // The page of a small batch is in each of its events, so a thousand of them can be far more than a frame's bytes.
        let together = |a: &NewEvent, b: &NewEvent| {
            bytes += a.json.len();
            let goes_on = a.day == b.day && bytes < FULL_BYTES;
            bytes = if goes_on { bytes } else { 0 };
            goes_on
        };
        for events in events.chunk_by(together) {
            for events in events.chunks(usize::try_from(FULL).unwrap_or(usize::MAX)) {
                let lines: Vec<&[u8]> = events.iter().map(|event| event.json.as_slice()).collect();
                let first = number + 1;
                number += i64::try_from(events.len()).unwrap_or(0);
                let day = events.first().map_or(0, |event| event.day);
                let body = seal(self.keys, &mut self.compressor, project, first, &lines.join(&b'\n'))?;
                frames.push(Frame { project, first, last: number, day, body });
            }
        }
        Ok((frames, number))
    }
}

fn seal(
    keys: &KeyRing,
    compressor: &mut zstd::bulk::Compressor<'_>,
    project: i64,
    first: i64,
    lines: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let packed = compressor.compress(lines).map_err(cannot_pack)?;
    Ok(keys.seal(Place { table: "frames", project, row: &first.to_be_bytes() }, &packed)?)
}

fn cannot_pack(error: std::io::Error) -> StoreError {
    StoreError::Database { action: "compress frame", problem: error.to_string() }
}

fn open(keys: &KeyRing, project: i64, first: i64, body: &[u8]) -> Result<Vec<u8>, StoreError> {
    let packed = keys.open(Place { table: "frames", project, row: &first.to_be_bytes() }, body)?;
    zstd::bulk::decompress(&packed, FRAME_BYTES).map_err(|error| {
        StoreError::Unusable(format!("frame {first} of project number {project} cannot be unpacked: {error}"))
    })
}

/// Writes frames.
pub(crate) async fn insert(connection: &mut AnyConnection, engine: Engine, frames: &[Frame]) -> Result<(), StoreError> {
    let sql = insert_rows(engine, "INSERT INTO frames (project, first, last, day, body)", 5, frames.len(), "");
    let mut insert = query(AssertSqlSafe(sql));
    for frame in frames {
        insert =
            insert.bind(frame.project).bind(frame.first).bind(frame.last).bind(frame.day).bind(frame.body.as_slice());
    }
    insert.execute(connection).await.during("insert frames")?;
    Ok(())
}

/// Runs of neighbouring frames, from first to last number, that fit into one each.
///
/// While more may come, a frame waits until its followers hold seven times as many events as it does, or as many when
/// no more fit: so each event is rewritten about log8(1 000) times, and not once for every few that come after it.
fn runs(frames: &[(i64, i64)], day_is_over: bool) -> Vec<(i64, i64)> {
    let mut runs = Vec::new();
    let mut rest = frames;
    while let Some(&(first, end)) = rest.first() {
        let (mut count, mut last, mut no_more_fit) = (1, end, false);
        for &(start, end) in rest.iter().skip(1).take(STEP - 1) {
            no_more_fit = end - first >= FULL;
            if start != last + 1 || no_more_fit {
                break;
            }
            (count, last) = (count + 1, end);
        }
        let (run, after) = rest.split_at(count);
        rest = after;
        let times = match (day_is_over, no_more_fit) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => WORTH,
        };
        let worth = |&&(start, end): &&(i64, i64)| (end - start + 1) * times <= last - end;
        if let Some(&(first, end)) = run.iter().find(worth)
            && end < last
        {
            runs.push((first, last));
        }
    }
    runs
}

/// Selects the last numbers of so many projects.
pub(crate) fn last_numbers(engine: Engine, projects: usize) -> String {
    format!("SELECT project, last_number FROM progress WHERE project IN ({})", marks(engine, projects))
}

impl Store {
    /// Events after a number, oldest first, at most so many and about so many bytes.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn events_after(
        &self,
        project: i64,
        after: i64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = query(
            "SELECT first, body FROM frames WHERE project = $1 AND last > $2 \
             AND first >= COALESCE((SELECT MAX(first) FROM frames WHERE project = $1 AND first <= $2 + 1), 0) \
             AND first <= COALESCE((SELECT MIN(first) FROM frames WHERE project = $1 AND first > $2 + $3), $2 + $3) \
             ORDER BY first LIMIT 64",
        )
        .bind(project)
        .bind(after)
        // No frame is read that lies wholly beyond what is asked for, but for the one behind a gap of erased events.
        .bind(i64::try_from(max_events).unwrap_or(i64::MAX).min(i64::MAX / 2))
        .fetch_all(self.data().readers())
        .await
        .during("read events")?;
        let mut events = Vec::new();
        let mut bytes = 0;
        for row in rows {
            let first: i64 = row.get(0);
            let lines = bytes::Bytes::from(open(self.keys(), project, first, row.get(1))?);
            for (number, line) in (first..).zip(lines.split(|byte| *byte == b'\n')) {
                if number <= after {
                    continue;
                }
                if events.len() >= max_events || (bytes > 0 && bytes + line.len() > max_bytes) {
                    return Ok(events);
                }
                bytes += line.len();
                events.push(StoredEvent { number, json: lines.slice_ref(line) });
            }
        }
        Ok(events)
    }

    /// Number of a project's newest event, 0 when it has none.
    ///
    /// # Errors
    /// `Database`.
    pub async fn last_event(&self, project: i64) -> Result<i64, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT last_number FROM progress WHERE project = $1")
            .bind(project)
            .fetch_optional(self.data().readers())
            .await
            .during("read last event")?;
        Ok(last.unwrap_or(0))
    }

    /// Numbers of the newest events of all projects that have one, by the project's number.
    ///
    /// # Errors
    /// `Database`.
    pub async fn all_last_events(&self) -> Result<HashMap<i64, i64>, StoreError> {
        let rows = query("SELECT project, last_number FROM progress")
            .fetch_all(self.data().readers())
            .await
            .during("read last events")?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Numbers of the newest events of these projects; those that have none are missing.
    pub(crate) async fn last_events(&self, projects: &[i64]) -> Result<HashMap<i64, i64>, StoreError> {
        let mut found = HashMap::with_capacity(projects.len());
        for piece in pieces(projects) {
            let sql = last_numbers(self.data().engine, piece.len());
            let mut select = query(AssertSqlSafe(sql));
            for project in piece {
                select = select.bind(project);
            }
            let rows = select.fetch_all(self.data().readers()).await.during("read last events")?;
            found.extend(rows.iter().map(|row| (row.get::<i64, _>(0), row.get::<i64, _>(1))));
        }
        Ok(found)
    }

    /// Joins small neighbouring frames; returns whether there was something to join.
    pub(crate) async fn merge_frames(&self, today: i64) -> Result<bool, StoreError> {
        // Days with neighbours that fit into one frame: where a day is not over, when there are enough to be worth it.
        let worth = query(
            "SELECT project, day FROM (SELECT project, day, first, last, LAG(first) OVER days AS start, LAG(last) OVER days AS before \
             FROM frames WINDOW days AS (PARTITION BY project, day ORDER BY first)) neighbours \
             WHERE before = first - 1 AND last - start < $1 GROUP BY project, day HAVING day < $2 OR COUNT(*) >= $3",
        )
        .bind(FULL)
        .bind(today)
        .bind(WORTH)
        .fetch_all(self.data().readers())
        .await
        .during("find frames to merge")?;
        let mut packer = Packer::new(self.keys_shared())?;
        let (mut merged, mut waiting, mut failed) = (false, Vec::new(), None);
        for row in worth {
            let (project, day): (i64, i64) = (row.get(0), row.get(1));
            let rows = query("SELECT first, last FROM frames WHERE project = $1 AND day = $2 ORDER BY first")
                .bind(project)
                .bind(day)
                .fetch_all(self.data().readers())
                .await
                .during("find frames to merge")?;
            let frames: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            for (first, last) in runs(&frames, day < today) {
                let rows = query(
                    "SELECT first, last, body FROM frames WHERE project = $1 AND first >= $2 AND last <= $3 ORDER BY first",
                )
                .bind(project)
                .bind(first)
                .bind(last)
                .fetch_all(self.data().readers())
                .await
                .during("read frames to merge")?;
                let parts = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
                let packed = tokio::task::spawn_blocking(move || {
                    let packed = packer.join(project, day, parts);
                    (packer, packed)
                });
                let packed = packed.await.map_err(|_| StoreError::Database {
                    action: "merge frames",
                    problem: "it ended in a panic".to_owned(),
                })?;
                packer = packed.0;
                match packed.1 {
                    Ok(joined) => waiting.extend(joined),
                    Err(error) => {
                        tracing::warn!(project, first, last, %error, "frames cannot be joined; they stay as they are");
                        failed = Some(error);
                    }
                }
                if waiting.len() >= TOGETHER {
                    merged |= self.replace_frames(std::mem::take(&mut waiting)).await?;
                }
            }
        }
        merged |= self.replace_frames(waiting).await?;
        failed.map_or(Ok(merged), Err)
    }

    /// Writes joined frames in place of their parts.
    async fn replace_frames(&self, joined: Vec<Joined>) -> Result<bool, StoreError> {
        if joined.is_empty() {
            return Ok(false);
        }
        let (joined, engine) = (Arc::new(joined), self.data().engine);
        let replaced = self
            .data()
            .run_tx("merge frames", move |connection| {
                let joined = joined.clone();
                Box::pin(async move {
                    for Joined { frame, parts } in &*joined {
                        let gone = query("DELETE FROM frames WHERE project = $1 AND first >= $2 AND last <= $3")
                            .bind(frame.project)
                            .bind(frame.first)
                            .bind(frame.last)
                            .execute(&mut *connection)
                            .await
                            .during("merge frames")?;
                        if gone.rows_affected() != *parts {
                            return Err(StoreError::Moved { what: "the frames to merge".to_owned() });
                        }
                        insert(connection, engine, std::slice::from_ref(frame)).await?;
                    }
                    Ok(())
                })
            })
            .await;
        match replaced {
            Ok(()) => Ok(true),
            // Another process has merged them, or erased of them: what there is now is looked at in the next round.
            Err(StoreError::Moved { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A frame in place of so many.
struct Joined {
    frame: Frame,
    parts: u64,
}

/// Joins frames one after another, so that one compressor's memory is enough.
struct Packer {
    keys: Arc<KeyRing>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Packer {
    fn new(keys: Arc<KeyRing>) -> Result<Self, StoreError> {
        Ok(Self { keys, compressor: zstd::bulk::Compressor::new(PACKED).map_err(cannot_pack)? })
    }

    /// One frame of neighbours, given by first and last number and body; `None` when fewer than two fit together.
    fn join(&mut self, project: i64, day: i64, frames: Vec<(i64, i64, Vec<u8>)>) -> Result<Option<Joined>, StoreError> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let (mut first, mut last) = (0, 0);
        for (start, end, body) in frames {
            if bytes > FULL_BYTES && parts.len() > 1 {
                break;
            }
            if bytes > FULL_BYTES {
                (bytes, parts) = (0, Vec::new());
            }
            if parts.is_empty() {
                first = start;
            }
            let lines = open(&self.keys, project, start, &body)?;
            bytes += lines.len();
            parts.push(lines);
            last = end;
        }
        if parts.len() < 2 {
            return Ok(None);
        }
        let body = seal(&self.keys, &mut self.compressor, project, first, &parts.join(&b'\n'))?;
        Ok(Some(Joined { frame: Frame { project, first, last, day, body }, parts: parts.len() as u64 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convizit_model::EventId;
    use proptest::prelude::*;

    fn event(day: i64, text: &str) -> NewEvent {
        let id = EventId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        // As serde_json writes it: a line break in a text is escaped.
        NewEvent { id, name: 1, hour: day * 24, day, json: serde_json::to_vec(text).unwrap() }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn every_event_comes_back_under_its_number(
            texts in prop::collection::vec((0..3_i64, ".{0,40}"), 0..60), last in 0..i64::MAX / 2, project in 1..9_i64,
        ) {
            let keys = KeyRing::ephemeral().unwrap();
            let mut texts = texts;
            texts.sort_by_key(|(day, _)| *day);
            let events: Vec<NewEvent> = texts.iter().map(|(day, text)| event(*day, text)).collect();
            let (frames, end) = Sealer::new(&keys).unwrap().frames(project, last, &events).unwrap();
            prop_assert_eq!(end, last + i64::try_from(events.len()).unwrap());
            let (mut next, mut found) = (last + 1, Vec::new());
            for frame in &frames {
                prop_assert_eq!(frame.first, next);
                next = frame.last + 1;
                let lines = open(&keys, project, frame.first, &frame.body).unwrap();
                let lines: Vec<_> = lines.split(|byte| *byte == b'\n').map(|line| (frame.day, line.to_vec())).collect();
                prop_assert_eq!(i64::try_from(lines.len()).unwrap(), frame.last - frame.first + 1);
                found.extend(lines);
                prop_assert!(open(&keys, project + 1, frame.first, &frame.body).is_err());
                prop_assert!(open(&keys, project, frame.first + 1, &frame.body).is_err());
            }
            prop_assert_eq!(found, events.into_iter().map(|event| (event.day, event.json)).collect::<Vec<_>>());
        }
    }
}
