//! Upkeep, in steps: merging frames, retention, saving counters; and the totals of outcomes.

use std::collections::{BTreeMap, HashMap};

use convizit_model::Outcome;
use sqlx::{AssertSqlSafe, Row, query};

use crate::Store;
use crate::error::{During, StoreError};
use crate::work::add_outcomes;

/// Weeks that the privacy report reaches back.
const REPORTED_WEEKS: i64 = 104;
/// Rows deleted in one step.
const STEP: i64 = 200;
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
        Ok(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<i64, _>(1)).unwrap_or(0))).collect())
    }

    /// One round of upkeep in steps of at most 20 ms: merges frames, drops days beyond retention and the data of removed projects.
    ///
    /// # Errors
    /// `Database`.
    pub async fn upkeep(&self) -> Result<(), StoreError> {
        self.save_counters().await?;
        let today = self.clock().now().day();
        // What fails in one must not hold up the others: retention above all.
        let (merged, retained) = (self.merge_all(today).await, self.retain(today).await);
        let forgotten = self.forget_removed().await;
        merged.and(retained).and(forgotten)
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

    async fn retain(&self, today: i64) -> Result<(), StoreError> {
        let projects = self.projects().await?;
        let longest = projects.iter().map(|project| i64::from(project.settings.retention_days)).max().unwrap_or(0);
        let oldest: HashMap<i64, i64> = query("SELECT project, MIN(day) FROM frames GROUP BY project")
            .fetch_all(self.data().readers())
            .await
            .during("find old frames")?
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let quarantined: Vec<i64> = query("SELECT DISTINCT project FROM quarantine")
            .fetch_all(self.data().readers())
            .await
            .during("find quarantined items")?
            .iter()
            .map(|row| row.get(0))
            .collect();
        for project in projects {
            let first_kept = today - i64::from(project.settings.retention_days);
            if quarantined.contains(&project.number) {
                self.forget_quarantined(project.number, first_kept).await?;
            }
            // Every count is of an event of a frame: only where a frame is old there is anything to do.
            if oldest.get(&project.number).is_none_or(|day| *day >= first_kept) {
                continue;
            }
            self.steps(
                "DELETE FROM counts WHERE project = $1 AND (name, hour) IN \
                 (SELECT name, hour FROM counts WHERE project = $1 AND hour < $2 LIMIT $3)",
                &[project.number, first_kept * 24],
            )
            .await?;
            self.steps(
                "DELETE FROM dead_letters WHERE project = $1 AND (destination, number) IN \
                 (SELECT destination, number FROM dead_letters WHERE project = $1 \
                 AND number <= (SELECT MAX(last) FROM frames WHERE project = $1 AND day < $2) LIMIT $3)",
                &[project.number, first_kept],
            )
            .await?;
            // Last, because they say that something is to be done.
            self.steps(
                "DELETE FROM frames WHERE project = $1 AND first IN \
                 (SELECT first FROM frames WHERE project = $1 AND day < $2 ORDER BY first LIMIT $3)",
                &[project.number, first_kept],
            )
            .await?;
        }
        self.steps(
            "DELETE FROM state WHERE (project, kind, key) IN (SELECT project, kind, key FROM state WHERE expires < $1 LIMIT $2)",
            &[today],
        )
        .await?;
        self.steps(
            "DELETE FROM withheld WHERE (project, week, field, rule, side) IN \
             (SELECT project, week, field, rule, side FROM withheld WHERE week < $1 LIMIT $2)",
            &[convizit_model::withheld::week_of(today) - REPORTED_WEEKS],
        )
        .await?;
        if longest == 0 {
            return Ok(());
        }
        // What names no project, and what is nobody's, goes with the project that keeps the longest.
        self.forget_quarantined(0, today - longest).await?;
        self.steps(
            "DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE state = 'resolved' AND last < $1 LIMIT $2)",
            &[(today - longest) * 86_400_000],
        )
        .await?;
        self.forget_ahead(today - longest, STEP).await?;
        let old = query("SELECT day FROM seen_days WHERE day > 0 AND day < $1")
            .bind(today - longest)
            .fetch_all(self.data().readers())
            .await
            .during("find old days")?;
        for row in old {
            let day: i64 = row.get(0);
            self.data()
                .run_tx("drop seen day", move |connection| {
                    Box::pin(async move {
                        query("DELETE FROM seen_days WHERE day = $1")
                            .bind(day)
                            .execute(&mut *connection)
                            .await
                            .during("drop seen day")?;
                        // Only a number is composed.
                        let sql = format!("DROP TABLE IF EXISTS seen_{day}");
                        query(AssertSqlSafe(sql)).execute(&mut *connection).await.during("drop seen day").map(|_| ())
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn forget_quarantined(&self, project: i64, first_kept: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM quarantine WHERE project = $1 AND subject IN \
                   (SELECT subject FROM quarantine WHERE project = $1 AND day < $2 LIMIT $3)";
        self.steps(sql, &[project, first_kept]).await
    }

    /// Deletes what is left of projects that are no more. Their seen ids go with their day.
    async fn forget_removed(&self) -> Result<(), StoreError> {
        // A project that never had an event has counters, or a destination's cursor. 0 is of records that name no project.
        let rows =
            query("SELECT project FROM progress UNION SELECT project FROM outcomes UNION SELECT project FROM cursors")
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
            let number: i64 = row.get(0);
            if number == 0 || number > given || alive.contains(&number) {
                continue;
            }
            // What names the project to this list goes last.
            for sql in [
                "DELETE FROM frames WHERE project = $1 AND first IN (SELECT first FROM frames WHERE project = $1 LIMIT $2)",
                "DELETE FROM state WHERE project = $1 AND (kind, key) IN (SELECT kind, key FROM state WHERE project = $1 LIMIT $2)",
                "DELETE FROM counts WHERE project = $1 AND (name, hour) IN (SELECT name, hour FROM counts WHERE project = $1 LIMIT $2)",
                "DELETE FROM withheld WHERE project = $1 AND (week, field, rule, side) IN \
                 (SELECT week, field, rule, side FROM withheld WHERE project = $1 LIMIT $2)",
                "DELETE FROM rulings WHERE project = $1 AND key IN (SELECT key FROM rulings WHERE project = $1 LIMIT $2)",
                "DELETE FROM quarantine WHERE project = $1 AND subject IN (SELECT subject FROM quarantine WHERE project = $1 LIMIT $2)",
                "DELETE FROM dead_letters WHERE project = $1 AND (destination, number) IN \
                 (SELECT destination, number FROM dead_letters WHERE project = $1 LIMIT $2)",
                "DELETE FROM cursors WHERE project = $1 AND destination IN (SELECT destination FROM cursors WHERE project = $1 LIMIT $2)",
                "DELETE FROM outcomes WHERE project = $1 AND outcome IN (SELECT outcome FROM outcomes WHERE project = $1 LIMIT $2)",
                "DELETE FROM progress WHERE project IN (SELECT project FROM progress WHERE project = $1 LIMIT $2)",
            ] {
                self.steps(sql, &[number]).await?;
            }
        }
        Ok(())
    }

    /// Deletes in steps until nothing is left to delete; the last parameter of `sql` is the rows of a step.
    async fn steps(&self, sql: &'static str, values: &[i64]) -> Result<(), StoreError> {
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
