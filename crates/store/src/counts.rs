//! How many events each name had in which hour, and their sums: what a page asks for is never added up anew.

use std::collections::{BTreeMap, HashMap};

use sqlx::{AnyConnection, AssertSqlSafe, query};

use crate::Store;
use crate::database::{Database, Engine};
use crate::error::{Columns as _, During, StoreError, pairs};
use crate::statement::{insert_rows, pieces};
use crate::upkeep::STEP;

/// What comes to the sums: project, name and hour, as `totals` has them.
pub(crate) type Totals = BTreeMap<(i64, i64, i64), i64>;
/// Stands for all names in a row of an hour, and for all hours in a row of a name.
const ALL: i64 = 0;

/// Adds events of a project, by name and hour, to what is to be written.
pub(crate) fn sum(totals: &mut Totals, project: i64, counts: &BTreeMap<(i64, i64), Vec<i64>>) {
    for ((name, hour), numbers) in counts {
        let events = i64::try_from(numbers.len()).unwrap_or(i64::MAX);
        *totals.entry((project, *name, ALL)).or_default() += events;
        *totals.entry((project, ALL, *hour)).or_default() += events;
    }
}

/// Writes them, in the worker's transaction.
pub(crate) async fn add(connection: &mut AnyConnection, engine: Engine, totals: &Totals) -> Result<(), StoreError> {
    let rows: Vec<_> = totals.iter().collect();
    for piece in pieces(&rows) {
        let tail = "ON CONFLICT (project, name, hour) DO UPDATE SET events = totals.events + excluded.events";
        let sql = insert_rows(engine, "INSERT INTO totals (project, name, hour, events)", 4, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for ((project, name, hour), events) in piece {
            insert = insert.bind(*project).bind(*name).bind(*hour).bind(**events);
        }
        insert.execute(&mut *connection).await.during("add to totals")?;
    }
    Ok(())
}

/// Makes the sums of all counts, where none are.
pub(crate) async fn add_up(data: &Database) -> Result<(), StoreError> {
    const NAME: &str = "add up counts";
    data.run_tx(NAME, |connection| {
        Box::pin(async move {
            for sql in [
                "INSERT INTO totals (project, name, hour, events) \
                 SELECT project, name, 0, CAST(SUM(events) AS BIGINT) FROM counts GROUP BY project, name",
                "INSERT INTO totals (project, name, hour, events) \
                 SELECT project, 0, hour, CAST(SUM(events) AS BIGINT) FROM counts GROUP BY project, hour",
            ] {
                query(sql).execute(&mut *connection).await.during(NAME)?;
            }
            Ok(())
        })
    })
    .await
}

/// What a project has, as it stood at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Number of its newest event: how many there were in all.
    pub events: i64,
    /// Events by hour since 1970; hours without any are missing.
    pub by_hour: HashMap<i64, i64>,
    /// Items by outcome, in the order of their words.
    pub outcomes: Vec<(String, u64)>,
}

impl Store {
    /// How many events a project has, of them those by hour from an hour on, and what became of all that arrived: read in one
    /// statement, so that no number is newer than another.
    ///
    /// # Errors
    /// `Database`.
    pub async fn counted(&self, project: i64, from: i64) -> Result<Counted, StoreError> {
        const NAME: &str = "count what a project has";
        let rows = query(
            "SELECT CAST(0 AS BIGINT) AS kind, CAST('' AS TEXT) AS word, CAST(0 AS BIGINT) AS hour, last_number AS items \
             FROM progress WHERE project = $1 \
             UNION ALL SELECT CAST(1 AS BIGINT), CAST('' AS TEXT), hour, events FROM totals WHERE project = $1 AND name = $2 AND hour >= $3 \
             UNION ALL SELECT CAST(2 AS BIGINT), outcome, CAST(0 AS BIGINT), items FROM outcomes WHERE project = $1 \
             ORDER BY 1, 2",
        )
        .bind(project)
        .bind(ALL)
        .bind(from.max(1))
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        let mut counted = Counted::default();
        for row in &rows {
            let items: i64 = row.read(3)?;
            match row.read::<i64>(0)? {
                0 => counted.events = items,
                1 => {
                    counted.by_hour.insert(row.read(2)?, items);
                }
                _ => counted.outcomes.push((row.read(1)?, u64::try_from(items).unwrap_or(0))),
            }
        }
        Ok(counted)
    }

    /// Drops the counts of a project's hours before this one, in steps, and takes them off its sums.
    pub(crate) async fn forget_counts(&self, project: i64, before: i64) -> Result<(), StoreError> {
        const NAME: &str = "forget counts";
        let step = async || {
            self.data()
                .run_tx(NAME, move |connection| {
                    Box::pin(async move {
                        let mut rows = 0;
                        for sql in [
                            "INSERT INTO totals (project, name, hour, events) \
                             SELECT project, name, 0, CAST(-SUM(events) AS BIGINT) FROM counts \
                             WHERE project = $1 AND (name, hour) IN (SELECT name, hour FROM counts \
                             WHERE project = $1 AND hour < $2 ORDER BY hour, name LIMIT $3) GROUP BY project, name \
                             ON CONFLICT (project, name, hour) DO UPDATE SET events = totals.events + excluded.events",
                            "DELETE FROM counts WHERE project = $1 AND (name, hour) IN (SELECT name, hour FROM counts \
                             WHERE project = $1 AND hour < $2 ORDER BY hour, name LIMIT $3)",
                        ] {
                            let done = query(sql).bind(project).bind(before).bind(STEP);
                            rows = done.execute(&mut *connection).await.during(NAME)?.rows_affected();
                        }
                        Ok(rows)
                    })
                })
                .await
        };
        if step().await? == 0 {
            return Ok(());
        }
        while step().await? > 0 {}
        self.steps(
            "DELETE FROM totals WHERE project = $1 AND (name, hour) IN (SELECT name, hour FROM totals WHERE project = $1 \
             AND (hour > 0 AND hour < $2 OR hour = 0 AND events <= 0) LIMIT $3)",
            &[project, before],
        )
        .await
    }

    /// Events of a project by hour since 1970, from an hour on, over all names; hours without any are missing.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_by_hour_from(&self, project: i64, from: i64) -> Result<HashMap<i64, i64>, StoreError> {
        let rows = query("SELECT hour, events FROM totals WHERE project = $1 AND name = $2 AND hour >= $3")
            .bind(project)
            .bind(ALL)
            .bind(from.max(1))
            .fetch_all(self.data().readers())
            .await
            .during("count events by hour")?;
        pairs(&rows)
    }

    /// Events of each name of a project that are kept.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_by_name(&self, project: i64) -> Result<HashMap<u64, i64>, StoreError> {
        let rows = query("SELECT name, events FROM totals WHERE project = $1 AND hour = $2")
            .bind(project)
            .bind(ALL)
            .fetch_all(self.data().readers())
            .await
            .during("count events by name")?;
        rows.iter().map(|row| Ok((row.read::<i64>(0)?.cast_unsigned(), row.read(1)?))).collect()
    }

    /// Events of one name of a project that are kept.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_of_name(&self, project: i64, name: u64) -> Result<i64, StoreError> {
        let events = sqlx::query_scalar("SELECT events FROM totals WHERE project = $1 AND name = $2 AND hour = $3")
            .bind(project)
            .bind(name.cast_signed())
            .bind(ALL)
            .fetch_optional(self.data().readers())
            .await
            .during("count events of a name")?;
        Ok(events.unwrap_or(0))
    }

    /// Events of each of these names, in steps of so many hours from an hour on; each step stands under its first hour.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_of_names_from(
        &self,
        project: i64,
        names: &[u64],
        (from, step): (i64, i64),
    ) -> Result<HashMap<u64, HashMap<i64, i64>>, StoreError> {
        let mut found: HashMap<u64, HashMap<i64, i64>> = HashMap::new();
        let wanted: Vec<i64> = names.iter().map(|name| name.cast_signed()).collect();
        for piece in pieces(&wanted) {
            // Added up by the database: a row of each hour takes longer to bring here than to read.
            let sql = insert_rows(
                self.data().engine,
                "SELECT name, step, CAST(SUM(events) AS BIGINT) FROM (SELECT counts.name AS name, \
                 wanted.column3 + (counts.hour - wanted.column3) / wanted.column4 * wanted.column4 AS step, \
                 counts.events AS events FROM (",
                4,
                piece.len(),
                // Both engines call the columns of VALUES so. A cross join, because SQLite keeps its order.
                ") AS wanted CROSS JOIN counts \
                 WHERE counts.project = wanted.column1 AND counts.name = wanted.column2 AND counts.hour >= wanted.column3\
                 ) AS steps GROUP BY name, step",
            );
            let mut select = query(AssertSqlSafe(sql));
            for name in piece {
                select = select.bind(project).bind(*name).bind(from).bind(step.max(1));
            }
            for row in select.fetch_all(self.data().readers()).await.during("count events by name and hour")? {
                let (name, hour, events): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
                *found.entry(name.cast_unsigned()).or_default().entry(hour).or_default() += events;
            }
        }
        Ok(found)
    }
}
