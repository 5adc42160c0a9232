//! Carries out what the ledger says: rewrites frames, deletes datasets and quarantined items, each project for itself. A frame that
//! does not open holds up those alone of whom its filter says that they may be in it.

use std::collections::HashSet;
use std::sync::Arc;

use convizit_keys::{KeyError, Place};
use convizit_model::Timestamp;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, query};

use super::forget_ids;
use crate::damage::Met;
use crate::error::{Columns as _, During, StoreError};
use crate::ledger::ProjectLedger;
use crate::people::{HASH, PersonHash};
use crate::statement::{marks, pieces};
use crate::{Store, frames};

/// Frames of which the filters are read at once.
const LOOK: i64 = 500;
/// Quarantined items that are read at once.
const ITEMS: i64 = 100;
/// Frames that are rewritten in one transaction.
const TOGETHER: usize = 4;

/// What one pass over a project's frames came to.
#[derive(Default)]
struct Pass {
    /// Whether another process changed none meanwhile.
    is_whole: bool,
    /// Those that do not open.
    closed: Vec<Met>,
    /// Whom they may hold.
    held: HashSet<PersonHash>,
    /// What is wrong with the first of them that may hold anybody.
    error: Option<StoreError>,
}

impl Store {
    /// Carries out what is open: rewrites frames, deletes datasets. Called by upkeep.
    pub(crate) async fn carry_out_erasures(&self) -> Result<(), StoreError> {
        const NAME: &str = "find open erasures";
        self.close_messages().await?;
        let rows = query(
            "SELECT project, MAX(number), MAX(through) FROM erasures WHERE state = 'open' GROUP BY project ORDER BY project",
        )
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        if rows.is_empty() {
            return Ok(());
        }
        self.look_for_erasures().await?;
        let alive: Vec<i64> = self.projects().await?.iter().map(|project| project.number).collect();
        let (mut failed, mut carried_out) = (Ok(()), false);
        for row in rows {
            let (project, newest, through): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
            // What there is of a removed one goes whole.
            if !alive.contains(&project) {
                continue;
            }
            // What cannot be carried out in one project must not hold up the others.
            if !self.is_tried_again(project, newest) {
                continue;
            }
            let done = self.carry_out(project, newest, through).await;
            carried_out |= done.is_ok();
            let error = match done {
                Ok(held) => held,
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                tracing::warn!(%error, project, "an erasure is not carried out wholly; it is tried again in a while");
                self.try_again_later(project, newest);
                failed = failed.and(Err(error));
            }
        }
        if !carried_out {
            return failed;
        }
        self.look_for_erasures().await?;
        // What was freed still holds sealed bytes of what is erased, and of keys.
        failed.and(self.control().sweep().await).and(self.data().sweep().await)
    }

    /// Carries out a project's erasures; returns what is wrong with a frame that holds some of them open.
    async fn carry_out(&self, project: i64, newest: i64, through: i64) -> Result<Option<StoreError>, StoreError> {
        // Where the process that was to do it has ended before.
        self.end_keys(project, &self.open_key_ends(project).await?).await?;
        self.delete_frames_of_ended_keys(project).await?;
        let rewritten = loop {
            match self.rewrite_through(project, through, newest).await {
                Ok(pass) if !pass.is_whole => {}
                done => break done,
            }
        };
        // What a damaged frame holds up is only itself.
        self.erase_quarantined(project).await?;
        self.erase_held(project).await?;
        let Pass { closed, held, error, .. } = rewritten?;
        self.note_damaged(project, &closed).await?;
        self.finish(project, newest, held).await?;
        Ok(error)
    }

    /// Items that could not be processed are of persons, too.
    async fn erase_quarantined(&self, project: i64) -> Result<(), StoreError> {
        const NAME: &str = "erase quarantined items";
        #[derive(Deserialize)]
        struct Item {
            visitor: String,
            received: Timestamp,
            batch: Batch,
        }
        #[derive(Deserialize)]
        struct Batch {
            user: Option<String>,
        }
        let Some(ledger) = self.ledger().now().of(project) else { return Ok(()) };
        let hasher = self.hasher();
        let mut after = String::new();
        loop {
            let rows = query(
                "SELECT subject, body FROM quarantine WHERE project = $1 AND subject > $2 ORDER BY subject LIMIT $3",
            )
            .bind(project)
            .bind(after.as_str())
            .bind(ITEMS)
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.read(0)?;
            for row in rows {
                let (subject, sealed): (String, Vec<u8>) = (row.read(0)?, row.read(1)?);
                let place = Place { table: "quarantine", purpose: "body", row: subject.as_bytes() };
                let body = match self.keyring().open_sealed(project, place, &sealed).await {
                    Ok(body) => body,
                    Err(error @ StoreError::Keys(_)) => {
                        tracing::warn!(%error, project, subject, "a quarantined item cannot be opened");
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let erased = serde_json::from_slice::<Item>(&body).is_ok_and(|item| {
                    ledger.erases(&hasher, project, (&item.visitor, item.batch.user.as_deref()), (item.received, None))
                });
                if erased {
                    self.data()
                        .run_tx(NAME, move |connection| {
                            let subject = subject.clone();
                            Box::pin(async move {
                                query("DELETE FROM quarantine WHERE project = $1 AND subject = $2")
                                    .bind(project)
                                    .bind(subject)
                                    .execute(connection)
                                    .await
                                    .during(NAME)
                                    .map(|_| ())
                            })
                        })
                        .await?;
                }
            }
        }
    }

    /// Ends the erasures up to a number, but those of persons whom a frame that does not open may hold.
    async fn finish(&self, project: i64, newest: i64, held: HashSet<PersonHash>) -> Result<(), StoreError> {
        const NAME: &str = "end erasure";
        let (held, engine) = (Arc::new(held), self.data().engine);
        self.data()
            .run_tx(NAME, move |connection| {
                let held = Arc::clone(&held);
                Box::pin(async move {
                    if held.is_empty() {
                        query("UPDATE erasures SET state = 'done' WHERE project = $1 AND number <= $2")
                            .bind(project)
                            .bind(newest)
                            .execute(&mut *connection)
                            .await
                            .during(NAME)?;
                        return forget_ids(connection).await.map(|_| ());
                    }
                    let rows = query(
                        "SELECT number, kind, person FROM erasures WHERE project = $1 AND state = 'open' AND number <= $2",
                    )
                    .bind(project)
                    .bind(newest)
                    .fetch_all(&mut *connection)
                    .await
                    .during(NAME)?;
                    let mut done: Vec<i64> = Vec::new();
                    for row in &rows {
                        let is_of_person = ["visitor", "user"].contains(&row.read::<&str>(1)?);
                        let hash = row.read::<&[u8]>(2)?.first_chunk::<HASH>();
                        if !is_of_person || hash.is_none_or(|hash| !held.contains(hash)) {
                            done.push(row.read(0)?);
                        }
                    }
                    for piece in pieces(&done) {
                        let sql =
                            format!("UPDATE erasures SET state = 'done' WHERE number IN ({})", marks(engine, piece.len()));
                        // Only placeholders are composed.
                        let mut update = query(AssertSqlSafe(sql));
                        for number in piece {
                            update = update.bind(*number);
                        }
                        update.execute(&mut *connection).await.during(NAME)?;
                    }
                    forget_ids(connection).await.map(|_| ())
                })
            })
            .await
    }

    /// One pass over the frames up to a number.
    async fn rewrite_through(&self, project: i64, through: i64, newest: i64) -> Result<Pass, StoreError> {
        const NAME: &str = "find frames to rewrite";
        let mut pass = Pass { is_whole: true, ..Pass::default() };
        let Some(ledger) = self.ledger().now().of(project) else { return Ok(pass) };
        let mut after = ledger.erased_through();
        loop {
            // By the last number: of two frames that were merged meanwhile, the second may have been looked at as neither.
            let (filter, _) = frames::as_bytes(self.data().engine);
            let rows = query(AssertSqlSafe(format!(
                "SELECT first, {filter}, last, day FROM frames WHERE project = $1 AND last > $2 AND first <= $3 ORDER BY first LIMIT $4",
            )))
            .bind(project)
            .bind(after)
            .bind(through)
            .bind(LOOK)
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
            let Some(last) = rows.last() else { return Ok(pass) };
            after = last.read(2)?;
            let mut concerned: Vec<Concerned> = Vec::new();
            for row in &rows {
                let (first, filter, last) = (row.read(0)?, row.read(1)?, row.read(2)?);
                if ledger.concerns((project, first, last), filter) {
                    concerned.push(Concerned { project, first, last, day: row.read(3)?, filter });
                }
            }
            for frames in concerned.chunks(TOGETHER) {
                let firsts: Vec<i64> = frames.iter().map(|frame| frame.first).collect();
                let Err(error) = self.rewrite_frames(project, &firsts, newest, &ledger).await.map(|same| {
                    pass.is_whole &= same;
                }) else {
                    continue;
                };
                if !is_damage(&error) {
                    return Err(error);
                }
                // The others are rewritten all the same.
                for frame in frames {
                    match self.rewrite_frames(project, &[frame.first], newest, &ledger).await {
                        Ok(same) => pass.is_whole &= same,
                        Err(error) if is_damage(&error) => pass.close(frame, error, &ledger),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

/// A frame that may hold what is erased.
struct Concerned<'a> {
    project: i64,
    first: i64,
    last: i64,
    day: i64,
    filter: &'a [u8],
}

impl Pass {
    /// Takes down a frame that does not open.
    fn close(&mut self, frame: &Concerned<'_>, error: StoreError, ledger: &ProjectLedger) {
        let held = ledger.held_in((frame.project, frame.first, frame.last), frame.filter);
        // While the provider of keys is away nothing opens, and nothing of that is damaged.
        if matches!(error, StoreError::Keys(KeyError::Open { .. }) | StoreError::Unusable(_)) {
            let Concerned { first, last, day, .. } = *frame;
            self.closed.push(Met { first, last, day, holds: !held.is_empty(), problem: frames::wrong(&error) });
        }
        if !held.is_empty() {
            self.error.get_or_insert(error);
        }
        self.held.extend(held);
    }
}

/// Whether an error is about one frame and not about the database.
pub(crate) fn is_damage(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Keys(_) | StoreError::Unusable(_) | StoreError::KeyGone { .. } | StoreError::Damaged { .. }
    )
}
