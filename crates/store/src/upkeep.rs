//! Upkeep, in steps: merging frames, saving counters, what is left of removed projects; and the totals of outcomes. What goes for
//! its age is in `retention`.

use std::collections::BTreeMap;

use convizit_model::Outcome;
use sqlx::query;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};
use crate::work::add_outcomes;

/// Rows deleted in one step.
pub(crate) const STEP: i64 = 200;
/// Passes of merging in one round at most.
const MERGES: usize = 4;

impl Store {
    /// Adds to the counters of outcomes given before the journal; in memory, saved each second.
    pub fn count(&self, project: i64, outcome: Outcome, items: u64) {
        metrics::counter!("convizit_outcomes_total", "outcome" => outcome.as_str()).increment(items);
        if items > 0 {
            *self.counters().entry((project, outcome)).or_default() += items;
        }
    }

    /// Saves the counters that `count` added to.
    pub(crate) async fn save_counters(&self) -> Result<(), StoreError> {
        let taken: BTreeMap<_, _> = std::mem::take(&mut *self.counters());
        if taken.is_empty() {
            return Ok(());
        }
        let rows: Vec<(i64, Outcome, u64)> =
            taken.iter().map(|(&(project, outcome), &items)| (project, outcome, items)).collect();
        let engine = self.data().engine;
        let saved = self
            .data()
            .run_tx("save counters", move |connection| {
                let rows = rows.clone();
                Box::pin(async move { add_outcomes(connection, engine, &rows).await })
            })
            .await;
        if saved.is_err() {
            // Not lost: they go with the next save.
            let mut counters = self.counters();
            for (key, items) in taken {
                *counters.entry(key).or_default() += items;
            }
        }
        saved
    }

    /// Totals of outcomes of a project.
    ///
    /// # Errors
    /// `Database`.
    pub async fn outcomes(&self, project: i64) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = query("SELECT outcome, items FROM outcomes WHERE project = $1 ORDER BY outcome")
            .bind(project)
            .fetch_all(self.data().readers())
            .await
            .during("read outcomes")?;
        rows.iter().map(|row| Ok((row.read(0)?, u64::try_from(row.read::<i64>(1)?).unwrap_or(0)))).collect()
    }

    /// One round of upkeep in steps of at most 20 ms: merges frames, drops days beyond retention and the data of removed projects.
    ///
    /// # Errors
    /// `Database`.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        // First, while there is room for its notice.
        let disk = self.look_at_the_disk().await;
        let saved = self.save_counters().await;
        let today = self.clock().now().day();
        // What fails in one must not hold up the others: retention above all.
        let kept = self.keep_keys().await;
        let looked = self.look_at_damaged().await;
        let erased = self.carry_out_erasures().await;
        let (merged, retained) = (self.merge_all(today).await, self.retain_where_the_clock_is_believed().await);
        let forgotten = self.forget_removed().await;
        let swept = self.control().sweep_again().await.and(self.data().sweep_again().await);
        disk.and(saved).and(kept).and(looked).and(erased).and(merged).and(retained).and(forgotten).and(swept)
    }

    async fn merge_all(&self, today: i64) -> Result<(), StoreError> {
        // Under a steady load there is always something to merge: the rest waits for the next round.
        for _ in 0..MERGES {
            if !self.merge_frames(today).await? {
                break;
            }
        }
        Ok(())
    }

    /// Deletes what is left of projects that are no more. Their seen ids go with their day.
    async fn forget_removed(&self) -> Result<(), StoreError> {
        // A project that never had an event has counters, or a destination's cursor. 0 is of records that name no project.
        let rows = query(
            "SELECT project FROM progress UNION SELECT project FROM outcomes UNION SELECT project FROM cursors UNION SELECT project FROM held UNION \
                 SELECT project FROM erasures WHERE forgotten = 0 OR state = 'open' OR id IS NOT NULL",
        )
        .fetch_all(self.data().readers())
        .await
        .during("list data of projects")?;
        let alive: Vec<i64> = self.projects().await?.iter().map(|project| project.number).collect();
        // A number that these settings never gave is of a project that an older copy of them does not know yet.
        let given: i64 = sqlx::query_scalar("SELECT version FROM control_version WHERE id = 1")
            .fetch_one(self.control().readers())
            .await
            .during("read given project numbers")?;
        for row in rows {
            let number: i64 = row.read(0)?;
            if number == 0 || number > given || alive.contains(&number) {
                continue;
            }
            // What names the project to this list goes last.
            for sql in [
                "DELETE FROM frames WHERE project = $1 AND first IN (SELECT first FROM frames WHERE project = $1 LIMIT $2)",
                "DELETE FROM state WHERE project = $1 AND (kind, key) IN (SELECT kind, key FROM state WHERE project = $1 LIMIT $2)",
                "DELETE FROM damaged_state WHERE project = $1 AND (kind, key) IN (SELECT kind, key FROM damaged_state WHERE project = $1 LIMIT $2)",
                "DELETE FROM counts WHERE project = $1 AND (name, hour) IN (SELECT name, hour FROM counts WHERE project = $1 LIMIT $2)",
                "DELETE FROM totals WHERE project = $1 AND (name, hour) IN (SELECT name, hour FROM totals WHERE project = $1 LIMIT $2)",
                "DELETE FROM withheld WHERE project = $1 AND (week, field, rule, side) IN \
                 (SELECT week, field, rule, side FROM withheld WHERE project = $1 LIMIT $2)",
                "DELETE FROM rulings WHERE project = $1 AND key IN (SELECT key FROM rulings WHERE project = $1 LIMIT $2)",
                "DELETE FROM quarantine WHERE project = $1 AND subject IN (SELECT subject FROM quarantine WHERE project = $1 LIMIT $2)",
                "DELETE FROM held WHERE project = $1 AND (journal_offset, place) IN \
                 (SELECT journal_offset, place FROM held WHERE project = $1 LIMIT $2)",
                "DELETE FROM dead_letters WHERE project = $1 AND (destination, number) IN \
                 (SELECT destination, number FROM dead_letters WHERE project = $1 LIMIT $2)",
                "DELETE FROM replays WHERE project = $1 AND (destination, id) IN (SELECT destination, id FROM replays WHERE project = $1 LIMIT $2)",
                "DELETE FROM deliveries WHERE project = $1 AND (destination, hour) IN \
                 (SELECT destination, hour FROM deliveries WHERE project = $1 LIMIT $2)",
                "DELETE FROM delivery_failures WHERE project = $1 AND (destination, id) IN \
                 (SELECT destination, id FROM delivery_failures WHERE project = $1 LIMIT $2)",
                "DELETE FROM failing_destinations WHERE project = $1 AND destination IN \
                 (SELECT destination FROM failing_destinations WHERE project = $1 LIMIT $2)",
                "DELETE FROM erase_messages WHERE project = $1 AND request IN (SELECT request FROM erase_messages WHERE project = $1 LIMIT $2)",
                // Nobody is left to be told, and nothing to be forgotten from.
                "UPDATE erasures SET id = NULL, forgotten = 1, state = 'done' WHERE number IN \
                 (SELECT number FROM erasures WHERE project = $1 AND (forgotten = 0 OR state = 'open' OR id IS NOT NULL) LIMIT $2)",
                "DELETE FROM cursors WHERE project = $1 AND destination IN (SELECT destination FROM cursors WHERE project = $1 LIMIT $2)",
                "DELETE FROM outcomes WHERE project = $1 AND outcome IN (SELECT outcome FROM outcomes WHERE project = $1 LIMIT $2)",
                "DELETE FROM progress WHERE project IN (SELECT project FROM progress WHERE project = $1 LIMIT $2)",
            ] {
                self.steps(sql, &[number]).await?;
            }
            self.destroy_project_keys(number).await?;
        }
        Ok(())
    }

    /// Deletes in steps until nothing is left to delete; the last parameter of `sql` is the rows of a step.
    pub(crate) async fn steps(&self, sql: &'static str, values: &[i64]) -> Result<(), StoreError> {
        let values: Vec<i64> = values.iter().copied().chain([STEP]).collect();
        while self.step(sql, values.clone()).await? > 0 {}
        Ok(())
    }

    async fn step(&self, sql: &'static str, values: Vec<i64>) -> Result<u64, StoreError> {
        self.data()
            .run_tx("upkeep step", move |connection| {
                let values = values.clone();
                Box::pin(async move {
                    let mut delete = query(sql);
                    for value in values {
                        delete = delete.bind(value);
                    }
                    Ok(delete.execute(connection).await.during("upkeep step")?.rows_affected())
                })
            })
            .await
    }
}
