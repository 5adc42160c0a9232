//! Frames written in place of others: small neighbours joined to one, and a frame without the events that are erased.

use std::sync::Arc;

use convizit_keys::{DataKey, KeyError};
use sqlx::{AnyConnection, AssertSqlSafe, query};

use super::{
    FULL, FULL_BYTES, Frame, People, WORTH, as_bytes, cannot_pack, insert, is_erased, open, runs, seal, wrong,
};
use crate::Store;
use crate::damage::Met;
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError, pairs};
use crate::ledger::ProjectLedger;
use crate::people::{self, PersonHasher};
use crate::statement::{marks, pieces};

/// Level of joined frames: packed tighter than what the worker writes.
pub(super) const PACKED: i32 = 6;
/// Joined frames that share a commit.
const TOGETHER: usize = 8;

impl Store {
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
        let (filter, body) = as_bytes(self.data().engine);
        let mut packer = Packer::new(self.hasher())?;
        let (mut merged, mut waiting, mut failed) = (false, Vec::new(), None);
        for row in worth {
            let (project, day): (i64, i64) = (row.read(0)?, row.read(1)?);
            let rows = query("SELECT first, last FROM frames WHERE project = $1 AND day = $2 ORDER BY first")
                .bind(project)
                .bind(day)
                .fetch_all(self.data().readers())
                .await
                .during("find frames to merge")?;
            let frames: Vec<(i64, i64)> = pairs(&rows)?;
            for (first, last) in runs(&frames, day < today) {
                let rows = query(AssertSqlSafe(format!(
                    "SELECT first, last, ledger, {filter}, {body} FROM frames WHERE project = $1 AND first >= $2 AND last <= $3 \
                     ORDER BY first",
                )))
                .bind(project)
                .bind(first)
                .bind(last)
                .fetch_all(self.data().readers())
                .await
                .during("read frames to merge")?;
                let parts = rows
                    .iter()
                    .map(|row| {
                        Ok(Part {
                            first: row.read(0)?,
                            last: row.read(1)?,
                            ledger: row.read(2)?,
                            filter: row.read(3)?,
                            body: row.read(4)?,
                        })
                    })
                    .collect::<Result<_, StoreError>>()?;
                let key = match self.keyring().day(project, day).await {
                    Ok(key) => key,
                    // Of a dataset that was erased, or a project that was removed: its frames go, too.
                    Err(StoreError::KeyGone { .. }) => continue,
                    // Other days and projects are joined all the same.
                    Err(error @ StoreError::Keys(KeyError::Open { .. } | KeyError::Unwrap { .. })) => {
                        tracing::warn!(project, day, %error, "the key of a day does not open; its frames stay as they are");
                        failed = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                };
                let named = self.project_in_words(project);
                let packed = tokio::task::spawn_blocking(move || {
                    let packed = packer.join(&key, (project, &named), (day, day < today), parts);
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
                        if let StoreError::Damaged { first, last, problem, .. } = &error {
                            let (first, last, problem) = (*first, *last, problem.clone());
                            self.note_damaged(project, &[Met { first, last, day, holds: false, problem }]).await?;
                        }
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
                    for Joined { frame, parts, ledgers } in &*joined {
                        // One that was rewritten since has a higher number, and what was read of it is not to come back. Asked
                        // in the statement that deletes: between two, another process could rewrite one.
                        let gone: Vec<i64> = sqlx::query_scalar(
                            "DELETE FROM frames WHERE project = $1 AND first >= $2 AND last <= $3 RETURNING ledger",
                        )
                        .bind(frame.project)
                        .bind(frame.first)
                        .bind(frame.last)
                        .fetch_all(&mut *connection)
                        .await
                        .during("merge frames")?;
                        if gone.len() as u64 != *parts || gone.iter().sum::<i64>() != *ledgers {
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

    /// Deletes the frames of a dataset that was erased.
    pub(crate) async fn delete_frames_through(&self, project: i64) -> Result<(), StoreError> {
        let through = self.ledger().now().of(project).map_or(0, |ledger| ledger.erased_through());
        let sql = "DELETE FROM frames WHERE project = $1 AND first IN \
                   (SELECT first FROM frames WHERE project = $1 AND last <= $2 ORDER BY first LIMIT $3)";
        self.steps(sql, &[project, through]).await
    }

    /// Rewrites the frames that begin with these numbers without what is erased; false when another process changed one
    /// meanwhile. `newest` is the number of the newest erasure that this carries out.
    pub(crate) async fn rewrite_frames(
        &self,
        project: i64,
        firsts: &[i64],
        newest: i64,
        ledger: &Arc<ProjectLedger>,
    ) -> Result<bool, StoreError> {
        const NAME: &str = "rewrite frames";
        let mut rewritten = Vec::new();
        let mut packer = Packer::new(self.hasher())?;
        let (filter, body) = as_bytes(self.data().engine);
        let sql = format!("SELECT last, ledger, {filter}, {body}, day FROM frames WHERE project = $1 AND first = $2");
        for first in firsts {
            let row = query(AssertSqlSafe(sql.as_str()))
                .bind(project)
                .bind(*first)
                .fetch_optional(self.data().readers())
                .await
                .during(NAME)?;
            // Merged meanwhile.
            let Some(row) = row else { return Ok(false) };
            let (last, before, day): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(4)?);
            let key = self.keyring().day(project, day).await?;
            let part = Part { first: *first, last, ledger: before, filter: row.read(2)?, body: row.read(3)? };
            let ledger = Arc::clone(ledger);
            let without = tokio::task::spawn_blocking(move || {
                let without = packer.without(&key, project, &part, &ledger);
                (packer, without)
            });
            let (back, without) = without
                .await
                .map_err(|_| StoreError::Database { action: NAME, problem: "it ended in a panic".to_owned() })?;
            packer = back;
            if let Some(Without { filter, body, erased }) = without? {
                let frame = Frame { project, first: *first, last, day, ledger: newest.max(before + 1), filter, body };
                rewritten.push(Rewritten { before, frame, erased });
            }
        }
        if rewritten.is_empty() {
            return Ok(true);
        }
        let (rewritten, engine) = (Arc::new(rewritten), self.data().engine);
        let done = self
            .data()
            .run_tx(NAME, move |connection| {
                let rewritten = rewritten.clone();
                Box::pin(async move { write_rewritten(connection, engine, &rewritten).await })
            })
            .await;
        match done {
            Ok(()) => Ok(true),
            Err(StoreError::Moved { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

async fn write_rewritten(
    connection: &mut AnyConnection,
    engine: Engine,
    rewritten: &[Rewritten],
) -> Result<(), StoreError> {
    const NAME: &str = "rewrite frames";
    for Rewritten { before, frame, erased } in rewritten {
        let gone = query("DELETE FROM frames WHERE project = $1 AND first = $2 AND last = $3 AND ledger = $4")
            .bind(frame.project)
            .bind(frame.first)
            .bind(frame.last)
            .bind(*before)
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        if gone.rows_affected() != 1 {
            return Err(StoreError::Moved { what: "the frames to rewrite".to_owned() });
        }
        if !frame.body.is_empty() {
            insert(connection, engine, std::slice::from_ref(frame)).await?;
        }
        delete_letters(connection, engine, frame.project, erased).await?;
    }
    Ok(())
}

/// Deletes the dead letters of events that are erased.
pub(super) async fn delete_letters(
    connection: &mut AnyConnection,
    engine: Engine,
    project: i64,
    erased: &[i64],
) -> Result<(), StoreError> {
    for piece in pieces(erased) {
        let mut sql = format!("DELETE FROM dead_letters WHERE number IN ({})", marks(engine, piece.len()));
        // Only a number is composed.
        sql.push_str(&format!(" AND project = {project}"));
        let mut delete = query(AssertSqlSafe(sql));
        for number in piece {
            delete = delete.bind(*number);
        }
        delete.execute(&mut *connection).await.during("delete letters of erased events")?;
    }
    Ok(())
}

/// A frame that is to be joined.
struct Part {
    first: i64,
    last: i64,
    ledger: i64,
    filter: Vec<u8>,
    body: Vec<u8>,
}

impl Part {
    /// Its filter, where that is whole.
    fn people(&self, project: i64) -> Option<&[u8]> {
        people::whole((project, self.first, self.last), &self.filter)
    }
}

/// A frame's filter and body without what is erased, and the numbers of that; without a body where nothing is left.
struct Without {
    filter: Vec<u8>,
    body: Vec<u8>,
    erased: Vec<i64>,
}

/// A frame in place of so many.
struct Joined {
    frame: Frame,
    parts: u64,
    /// The sum of the ledger numbers of its parts.
    ledgers: i64,
}

/// Joins and rewrites frames one after another, so that one compressor's memory is enough.
struct Packer {
    hasher: PersonHasher,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Packer {
    fn new(hasher: PersonHasher) -> Result<Self, StoreError> {
        Ok(Self { hasher, compressor: zstd::bulk::Compressor::new(PACKED).map_err(cannot_pack)? })
    }

    /// One frame of neighbours; `None` when fewer than two fit together.
    fn join(
        &mut self,
        key: &DataKey,
        (project, named): (i64, &str),
        (day, day_is_over): (i64, bool),
        frames: Vec<Part>,
    ) -> Result<Option<Joined>, StoreError> {
        let mut parts: Vec<(Part, Vec<u8>)> = Vec::new();
        let mut bytes = 0;
        for part in frames {
            if bytes > FULL_BYTES && parts.len() > 1 {
                break;
            }
            if bytes > FULL_BYTES {
                (bytes, parts) = (0, Vec::new());
            }
            let (first, last) = (part.first, part.last);
            let damaged = |error: StoreError| {
                let (project, problem) = (named.to_owned(), wrong(&error));
                StoreError::Damaged { project, first, last, problem }
            };
            let lines = open(key, project, first, &part.body).map_err(damaged)?;
            bytes += lines.len();
            parts.push((part, lines));
        }
        let (Some((begin, _)), Some((end, _))) = (parts.first(), parts.last()) else { return Ok(None) };
        if parts.len() < 2 {
            return Ok(None);
        }
        let (first, last) = (begin.first, end.last);
        let lines = parts.iter().map(|(_, lines)| lines.as_slice()).collect::<Vec<_>>().join(&b'\n');
        let filters: Option<Vec<&[u8]>> = parts.iter().map(|(part, _)| part.people(project)).collect();
        let joined = filters.and_then(|filters| people::join(filters.into_iter()));
        let filter = joined.unwrap_or_else(|| {
            let mut people = People::new(&self.hasher, project);
            people.see_lines(&lines);
            people.filter()
        });
        // Smaller ones are merged again, and lists can be joined.
        let filter = if day_is_over || last - first + 1 > FULL / 2 { people::pack(filter) } else { filter };
        let filter = people::beside((project, first, last), filter);
        let ledger = parts.iter().map(|(part, _)| part.ledger).min().unwrap_or(0);
        let body = seal(key, &mut self.compressor, first, &lines)?;
        Ok(Some(Joined {
            frame: Frame { project, first, last, day, ledger, filter, body },
            parts: parts.len() as u64,
            ledgers: parts.iter().map(|(part, _)| part.ledger).sum(),
        }))
    }

    /// A frame without what is erased, and with a whole filter; `None` where it is so already.
    fn without(
        &mut self,
        key: &DataKey,
        project: i64,
        part: &Part,
        ledger: &ProjectLedger,
    ) -> Result<Option<Without>, StoreError> {
        let lines = open(key, project, part.first, &part.body)?;
        let (mut kept, mut erased) = (Vec::new(), Vec::new());
        let mut people = People::new(&self.hasher, project);
        for (number, line) in (part.first..).zip(lines.split(|byte| *byte == b'\n')) {
            if !line.is_empty() && is_erased(ledger, &self.hasher, project, (number, line)) {
                erased.push(number);
                kept.push(&[] as &[u8]);
            } else {
                people.see_lines(line);
                kept.push(line);
            }
        }
        let before = part.people(project);
        if before.is_none() {
            tracing::warn!(project, first = part.first, "a frame's filter of persons is damaged; it is made anew");
        }
        if erased.is_empty() && before.is_some() {
            return Ok(None);
        }
        if kept.iter().all(|line| line.is_empty()) {
            return Ok(Some(Without { filter: Vec::new(), body: Vec::new(), erased }));
        }
        let is_packed = before.map_or(part.last - part.first + 1 > FULL / 2, people::is_packed);
        let filter = if is_packed { people::pack(people.filter()) } else { people.filter() };
        let filter = people::beside((project, part.first, part.last), filter);
        let body = seal(key, &mut self.compressor, part.first, &kept.join(&b'\n'))?;
        Ok(Some(Without { filter, body, erased }))
    }
}

/// A frame as it was, and as it is to be: without a body where nothing of it is left.
struct Rewritten {
    before: i64,
    frame: Frame,
    erased: Vec<i64>,
}
