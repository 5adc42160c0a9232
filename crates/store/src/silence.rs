//! Names that have no events though some were expected, by what was counted of each: no clock decides, but the events of the
//! whole project that came meanwhile, so that a night or a holiday is no silence.

use std::collections::HashMap;

use sqlx::{Row, query};

use crate::Store;
use crate::error::{During, StoreError};
use crate::samples::first_number;

/// Hours that what is expected is learned from: two weeks hold two of each weekday.
const LEARNED_HOURS: i64 = 14 * 24;
/// Expected events from which on none is a silence. Of events that come at random, 16 stay away once in nine million times,
/// and from 16 on there is time to say so before 20 are missing.
const EXPECTED: f64 = 16.0;
/// Events and hours with events that a name had before it can fall silent.
const EVENTS: i64 = 40;
const HOURS: i64 = 2;
/// How much longer than any pause before a silence is, for what comes only at certain times.
const LONGER: f64 = 1.5;

/// A name that fell silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentName {
    /// The name's id.
    pub name: u64,
    /// How many of its events were expected since the last one.
    pub missing: u64,
}

impl Store {
    /// Names of a project that are silent now.
    ///
    /// # Errors
    /// `Database`.
    pub async fn silent_names(&self, project: i64) -> Result<Vec<SilentName>, StoreError> {
        const NAME: &str = "look for silent names";
        let from = self.clock().now().hour() - LEARNED_HOURS;
        let last = self.last_event(project).await?;
        let rows = query(
            "SELECT name, CAST(SUM(events) AS BIGINT), COUNT(*), MAX(substr(newest, 1, 12)) FROM counts \
             WHERE project = $1 AND hour >= $2 GROUP BY name",
        )
        .bind(project)
        .bind(from)
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        let total: i64 = rows.iter().map(|row| row.get::<i64, _>(1)).sum();
        let before = last - total;
        let mut silent = Vec::new();
        let mut by_hour: Option<HashMap<i64, i64>> = None;
        for row in rows {
            let (name, events, hours): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let newest = first_number(row.get(3)).unwrap_or(0);
            let since = last - newest;
            // Its share of the events up to its last one.
            let share = ratio(events, newest - before);
            if events < EVENTS || hours < HOURS || share * ratio(since, 1) < EXPECTED {
                continue;
            }
            let by_hour = match &mut by_hour {
                Some(by_hour) => by_hour,
                none => none.insert(self.events_by_hour(project).await?),
            };
            let pause = self.longest_pause(project, name, from, by_hour).await?;
            if ratio(since, 1) < ratio(pause, 1) * LONGER {
                continue;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "above 16 and below the events of a project"
            )]
            let missing = (share * ratio(since, 1)) as u64;
            silent.push(SilentName { name: name.cast_unsigned(), missing });
        }
        silent.sort_unstable_by_key(|one| one.name);
        Ok(silent)
    }

    /// The most events of a project that lay in whole hours without one of a name, between two hours with one: what is asked
    /// for only at certain times pauses at others.
    async fn longest_pause(
        &self,
        project: i64,
        name: i64,
        from: i64,
        by_hour: &HashMap<i64, i64>,
    ) -> Result<i64, StoreError> {
        let hours: Vec<i64> =
            sqlx::query_scalar("SELECT hour FROM counts WHERE project = $1 AND name = $2 AND hour >= $3 ORDER BY hour")
                .bind(project)
                .bind(name)
                .bind(from)
                .fetch_all(self.data().readers())
                .await
                .during("look for silent names")?;
        let pauses = hours.windows(2).filter_map(|pair| match pair {
            [before, after] => Some((before + 1..*after).filter_map(|hour| by_hour.get(&hour)).sum()),
            _ => None,
        });
        Ok(pauses.max().unwrap_or(0))
    }

    /// Events of a project by hour, of the last two weeks.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_by_hour(&self, project: i64) -> Result<HashMap<i64, i64>, StoreError> {
        let rows = query(
            "SELECT hour, CAST(SUM(events) AS BIGINT) FROM counts WHERE project = $1 AND hour >= $2 GROUP BY hour",
        )
        .bind(project)
        .bind(self.clock().now().hour() - LEARNED_HOURS)
        .fetch_all(self.data().readers())
        .await
        .during("count events by hour")?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Events of each name of a project that are kept.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_by_name(&self, project: i64) -> Result<HashMap<u64, i64>, StoreError> {
        let rows = query("SELECT name, CAST(SUM(events) AS BIGINT) FROM counts WHERE project = $1 GROUP BY name")
            .bind(project)
            .fetch_all(self.data().readers())
            .await
            .during("count events by name")?;
        Ok(rows.iter().map(|row| (row.get::<i64, _>(0).cast_unsigned(), row.get(1))).collect())
    }
}

fn ratio(part: i64, whole: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let share = part as f64 / whole.max(1) as f64;
    share
}
