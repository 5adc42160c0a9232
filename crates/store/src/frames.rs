//! Frames: compressed and sealed stretches of one project's events of one received day.
//!
//! The worker writes a frame per project and transaction; `merge` joins neighbours until a frame holds 1 000 events or its
//! day is over. A merge replaces frames by one of the same range in one transaction, and a reader reads its frames in one
//! statement, so a reader sees the old frames or the new one, never both or neither.

use convizit_keys::{KeyRing, Place};
use convizit_model::NewEvent;
use sqlx::{AnyConnection, AssertSqlSafe, Row, query};

use crate::database::insert_rows;
use crate::error::{During, StoreError};
use crate::{Store, StoredEvent};

/// Events of a frame that is merged no more.
const FULL: i64 = 1_000;
/// Frames joined in one step: together they take far less than 20 ms.
const STEP: i64 = 24;
/// Decompressed bytes of a frame at most: what `build` and `merge` keep.
const FRAME_BYTES: usize = 16 << 20;

/// A frame to be written.
pub(crate) struct Frame {
    first: i64,
    last: i64,
    day: i64,
    body: Vec<u8>,
}

/// Frames of new events, one for each received day, numbered from `last + 1`; and the new last number.
pub(crate) fn build(
    keys: &KeyRing,
    project: i64,
    last: i64,
    events: &[NewEvent],
) -> Result<(Vec<Frame>, i64), StoreError> {
    let mut frames = Vec::new();
    let mut number = last;
    for events in events.chunk_by(|a, b| a.day == b.day) {
        for events in events.chunks(usize::try_from(FULL).unwrap_or(usize::MAX)) {
            let lines: Vec<&[u8]> = events.iter().map(|event| event.json.as_slice()).collect();
            let first = number + 1;
            number += i64::try_from(events.len()).unwrap_or(0);
            let day = events.first().map_or(0, |event| event.day);
            frames.push(Frame { first, last: number, day, body: seal(keys, project, first, &lines.join(&b'\n'), 1)? });
        }
    }
    Ok((frames, number))
}

fn seal(keys: &KeyRing, project: i64, first: i64, lines: &[u8], level: i32) -> Result<Vec<u8>, StoreError> {
    let packed = zstd::bulk::compress(lines, level)
        .map_err(|error| StoreError::Database { action: "compress frame", problem: error.to_string() })?;
    Ok(keys.seal(Place { table: "frames", project, row: &first.to_be_bytes() }, &packed)?)
}

fn open(keys: &KeyRing, project: i64, first: i64, body: &[u8]) -> Result<Vec<u8>, StoreError> {
    let packed = keys.open(Place { table: "frames", project, row: &first.to_be_bytes() }, body)?;
    zstd::bulk::decompress(&packed, FRAME_BYTES).map_err(|error| {
        StoreError::Unusable(format!("frame {first} of project number {project} cannot be unpacked: {error}"))
    })
}

/// Writes frames of one project.
pub(crate) async fn insert(connection: &mut AnyConnection, project: i64, frames: &[Frame]) -> Result<(), StoreError> {
    let sql = insert_rows("INSERT INTO frames (project, first, last, day, body)", 5, frames.len(), "");
    let mut insert = query(AssertSqlSafe(sql));
    for frame in frames {
        insert = insert.bind(project).bind(frame.first).bind(frame.last).bind(frame.day).bind(frame.body.as_slice());
    }
    insert.execute(connection).await.during("insert frames")?;
    Ok(())
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
             ORDER BY first LIMIT 64",
        )
        .bind(project)
        .bind(after)
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

    /// The newest samples of a name, newest first, at most 20.
    ///
    /// # Errors
    /// `Database`, `Keys`, and `Unusable` for an event that this build cannot read.
    pub async fn samples(&self, project: i64, name: u64) -> Result<Vec<convizit_model::Event>, StoreError> {
        let rows = query("SELECT number FROM samples WHERE project = $1 AND name = $2 ORDER BY number DESC LIMIT 20")
            .bind(project)
            .bind(name.cast_signed())
            .fetch_all(self.data().readers())
            .await
            .during("read samples")?;
        let mut samples = Vec::new();
        for row in rows {
            let number: i64 = row.get(0);
            for event in self.events_after(project, number - 1, 1, usize::MAX).await? {
                if event.number == number {
                    let parsed = serde_json::from_slice(&event.json).map_err(|_| {
                        StoreError::Unusable(format!(
                            "event {number} of project number {project} is not of this version's form"
                        ))
                    })?;
                    samples.push(parsed);
                }
            }
        }
        Ok(samples)
    }

    /// Joins small neighbouring frames; returns whether there was something to join.
    pub(crate) async fn merge_frames(&self, today: i64) -> Result<bool, StoreError> {
        // Where a day is not over, wait until there are enough to be worth a rewrite: each event is then rewritten about
        // as often as the logarithm of 1 000 to that base.
        let worth = query(
            "SELECT project, day FROM frames WHERE last - first + 1 < $1 GROUP BY project, day \
             HAVING COUNT(*) >= $2 OR (day < $3 AND COUNT(*) > 1) LIMIT 16",
        )
        .bind(FULL / 2)
        .bind(8_i64)
        .bind(today)
        .fetch_all(self.data().readers())
        .await
        .during("find frames to merge")?;
        let mut merged = false;
        for row in worth {
            merged |= self.merge_day(row.get(0), row.get(1)).await?;
        }
        Ok(merged)
    }

    async fn merge_day(&self, project: i64, day: i64) -> Result<bool, StoreError> {
        let rows = query(
            "SELECT first, last, body FROM frames WHERE project = $1 AND day = $2 AND first >= \
             (SELECT MIN(first) FROM frames WHERE project = $1 AND day = $2 AND last - first + 1 < $3) ORDER BY first LIMIT $4",
        )
        .bind(project)
        .bind(day)
        .bind(FULL / 2)
        .bind(STEP)
        .fetch_all(self.data().readers())
        .await
        .during("read frames to merge")?;
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let (mut first, mut last) = (0, 0);
        for row in &rows {
            let (start, end): (i64, i64) = (row.get(0), row.get(1));
            let body: Vec<u8> = row.get(2);
            if parts.is_empty() {
                first = start;
            } else if start != last + 1 || end - first + 1 > FULL || bytes > FRAME_BYTES / 2 {
                break;
            }
            let lines = open(self.keys(), project, start, &body)?;
            bytes += lines.len();
            parts.push(lines);
            last = end;
        }
        if parts.len() < 2 {
            return Ok(false);
        }
        let body = seal(self.keys(), project, first, &parts.join(&b'\n'), 6)?;
        let frame = std::sync::Arc::new(Frame { first, last, day, body });
        let count = parts.len() as u64;
        self.data()
            .run_tx("merge frames", move |connection| {
                let frame = frame.clone();
                Box::pin(async move {
                    let gone = query("DELETE FROM frames WHERE project = $1 AND first >= $2 AND last <= $3")
                        .bind(project)
                        .bind(frame.first)
                        .bind(frame.last)
                        .execute(&mut *connection)
                        .await
                        .during("merge frames")?;
                    if gone.rows_affected() != count {
                        return Err(StoreError::Moved { what: "the frames to merge".to_owned() });
                    }
                    insert(connection, project, std::slice::from_ref(&*frame)).await
                })
            })
            .await?;
        Ok(true)
    }
}
