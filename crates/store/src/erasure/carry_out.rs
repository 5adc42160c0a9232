//! Carries out what the ledger says: rewrites frames, deletes datasets and quarantined items, each project for itself.

use convizit_keys::Place;
use convizit_model::Timestamp;
use serde::Deserialize;
use sqlx::query;

use super::forget_ids;
use crate::Store;
use crate::error::{Columns as _, During, StoreError};

/// Frames of which the filters are read at once.
const LOOK: i64 = 500;
/// Quarantined items that are read at once.
const ITEMS: i64 = 100;
/// Frames that are rewritten in one transaction.
const TOGETHER: usize = 4;

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
            if !self.is_tried_again(project) {
                continue;
            }
            match self.carry_out(project, newest, through).await {
                Ok(()) => carried_out = true,
                Err(error) => {
                    tracing::warn!(%error, project, "an erasure is not carried out wholly; it is tried again in a while");
                    self.try_again_later(project);
                    failed = failed.and(Err(error));
                }
            }
        }
        if !carried_out {
            return failed;
        }
        self.look_for_erasures().await?;
        // What was freed still holds sealed bytes of what is erased, and of keys.
        failed.and(self.control().sweep().await).and(self.data().sweep().await)
    }

    async fn carry_out(&self, project: i64, newest: i64, through: i64) -> Result<(), StoreError> {
        // Where the process that was to do it has ended before.
        self.end_keys(project, &self.open_key_ends(project).await?).await?;
        self.delete_frames_of_ended_keys(project).await?;
        let rewritten = loop {
            match self.rewrite_through(project, through, newest).await {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What a damaged frame holds up is only itself.
        self.erase_quarantined(project).await?;
        rewritten?;
        self.finish(project, newest).await
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

    async fn finish(&self, project: i64, newest: i64) -> Result<(), StoreError> {
        const NAME: &str = "end erasure";
        self.data()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    query("UPDATE erasures SET state = 'done' WHERE project = $1 AND number <= $2")
                        .bind(project)
                        .bind(newest)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    forget_ids(connection).await.map(|_| ())
                })
            })
            .await
    }

    /// One pass over the frames up to a number; false when another process changed some meanwhile.
    async fn rewrite_through(&self, project: i64, through: i64, newest: i64) -> Result<bool, StoreError> {
        const NAME: &str = "find frames to rewrite";
        let Some(ledger) = self.ledger().now().of(project) else { return Ok(true) };
        let mut after = ledger.erased_through();
        let (mut whole, mut failed) = (true, None);
        loop {
            // By the last number: of two frames that were merged meanwhile, the second may have been looked at as neither.
            let rows = query(
                "SELECT first, filter, last FROM frames WHERE project = $1 AND last > $2 AND first <= $3 ORDER BY first LIMIT $4",
            )
            .bind(project)
            .bind(after)
            .bind(through)
            .bind(LOOK)
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
            let Some(last) = rows.last() else { return failed.map_or(Ok(whole), Err) };
            after = last.read(2)?;
            let mut concerned: Vec<i64> = Vec::new();
            for row in &rows {
                let first = row.read(0)?;
                if ledger.concerns(first, row.read(1)?) {
                    concerned.push(first);
                }
            }
            for firsts in concerned.chunks(TOGETHER) {
                let Err(error) = self.rewrite_frames(project, firsts, newest, &ledger).await.map(|same| whole &= same)
                else {
                    continue;
                };
                if !is_damage(&error) {
                    return Err(error);
                }
                // The others are rewritten all the same, and the erasure stays open.
                for first in firsts {
                    match self.rewrite_frames(project, &[*first], newest, &ledger).await {
                        Ok(same) => whole &= same,
                        Err(error) if is_damage(&error) => failed = Some(error),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

/// Whether an error is about one frame and not about the database.
pub(crate) fn is_damage(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Keys(_) | StoreError::Unusable(_) | StoreError::KeyGone { .. } | StoreError::Damaged { .. }
    )
}
