//! Names that have no events though some were expected, by what was counted of each: no clock decides, but the events of the
//! whole project that came meanwhile, so that a night or a holiday is no silence.

use std::collections::HashMap;

use sqlx::query;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};
use crate::samples::first_number;

/// Hours that what is expected is learned from: two weeks hold two of each weekday.
const LEARNED_HOURS: i64 = 14 * 24;
/// Expected events from which on none is a silence. Of events that come at random, 16 stay away once in nine million times,
/// and from 16 on there is time to say so before 20 are missing.
const MISSING: f64 = 16.0;
const NAME: &str = "look for silent names";
/// Events that a name had before it can fall silent, in two hours or more; in its first hour, when it may still be one person's
/// that comes and goes, more.
const EVENTS: i64 = 40;
const EVENTS_OF_ONE_HOUR: i64 = 200;
/// How much longer than any pause before a silence is, for what comes only at certain times.
const LONGER: f64 = 1.5;
/// Names of a project that are looked at again without learning anew: the most frequent, since twenty events of any other take
/// longer than it takes until the next learning.
const FREQUENT: usize = 500;

/// A name that fell silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentName {
    /// The name's id.
    pub name: u64,
    /// How many of its events were expected since the last one.
    pub missing: u64,
}

/// What is expected of a project's names: its most frequent ones, and those that are silent.
#[derive(Debug, Clone, Default)]
pub struct Expected(Vec<ExpectedName>);

#[derive(Debug, Clone)]
struct ExpectedName {
    name: i64,
    /// Its share of the project's events up to its last one.
    share: f64,
    /// Number of its newest event.
    newest: i64,
    /// The longest pause that it made, once it was asked for.
    pause: Option<i64>,
}

impl ExpectedName {
    fn missing(&self, last: i64) -> f64 {
        self.share * ratio(last - self.newest, 1)
    }
}

impl Store {
    /// Learns from the last two weeks what is expected of a project's names.
    ///
    /// # Errors
    /// `Database`.
    pub async fn expect_names(&self, project: i64) -> Result<Expected, StoreError> {
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
        let total: i64 = rows.iter().map(|row| row.read::<i64>(1)).sum::<Result<_, _>>()?;
        let before = last - total;
        let mut names = Vec::new();
        for row in rows {
            let (name, events, hours): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
            if events < if hours > 1 { EVENTS } else { EVENTS_OF_ONE_HOUR } {
                continue;
            }
            let newest = first_number(row.read(3)?).unwrap_or(0);
            names.push(ExpectedName { name, share: ratio(events, newest - before), newest, pause: None });
        }
        names.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.name.cmp(&b.name)));
        let mut at = 0;
        names.retain(|name| {
            at += 1;
            at <= FREQUENT || name.missing(last) >= MISSING
        });
        Ok(Expected(names))
    }

    /// Names of a project that are silent now, of those of which something is expected. Reads only what is known of names whose
    /// last known event is long ago, so that it can be asked often.
    ///
    /// # Errors
    /// `Database`.
    pub async fn silent_names(&self, project: i64, expected: &mut Expected) -> Result<Vec<SilentName>, StoreError> {
        let last = self.last_event(project).await?;
        let from = self.clock().now().hour() - LEARNED_HOURS;
        let mut silent = Vec::new();
        let mut by_hour: Option<HashMap<i64, i64>> = None;
        for known in expected.0.iter_mut().filter(|known| known.missing(last) >= MISSING) {
            let newest: Option<String> = sqlx::query_scalar(
                "SELECT MAX(substr(newest, 1, 12)) FROM counts WHERE project = $1 AND name = $2 AND hour >= $3",
            )
            .bind(project)
            .bind(known.name)
            .bind(from)
            .fetch_one(self.data().readers())
            .await
            .during(NAME)?;
            known.newest = newest.and_then(|newest| first_number(&newest)).unwrap_or(known.newest);
            let missing = known.missing(last);
            if missing < MISSING {
                continue;
            }
            let pause = if let Some(pause) = known.pause {
                pause
            } else {
                let by_hour = match &mut by_hour {
                    Some(by_hour) => by_hour,
                    none => none.insert(self.events_by_hour(project).await?),
                };
                *known.pause.insert(self.longest_pause(project, known.name, from, by_hour).await?)
            };
            if ratio(last - known.newest, 1) < ratio(pause, 1) * LONGER {
                continue;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "above 16 and below the events of a project"
            )]
            silent.push(SilentName { name: known.name.cast_unsigned(), missing: missing as u64 });
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
                .during(NAME)?;
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
        self.events_by_hour_from(project, self.clock().now().hour() - LEARNED_HOURS).await
    }
}

fn ratio(part: i64, whole: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let share = part as f64 / whole.max(1) as f64;
    share
}
