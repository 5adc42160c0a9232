//! How many events each name had in which hour.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, query};

use crate::Store;
use crate::error::{Columns as _, During, StoreError, pairs};
use crate::statement::{insert_rows, pieces};

impl Store {
    /// Events of a project by hour since 1970, from an hour on, over all names; hours without any are missing.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_by_hour_from(&self, project: i64, from: i64) -> Result<HashMap<i64, i64>, StoreError> {
        let rows = query(
            "SELECT hour, CAST(SUM(events) AS BIGINT) FROM counts WHERE project = $1 AND hour >= $2 GROUP BY hour",
        )
        .bind(project)
        .bind(from)
        .fetch_all(self.data().readers())
        .await
        .during("count events by hour")?;
        pairs(&rows)
    }

    /// The same of each of these names.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_of_names_from(
        &self,
        project: i64,
        names: &[u64],
        from: i64,
    ) -> Result<HashMap<u64, HashMap<i64, i64>>, StoreError> {
        let mut found: HashMap<u64, HashMap<i64, i64>> = HashMap::new();
        let wanted: Vec<i64> = names.iter().map(|name| name.cast_signed()).collect();
        for piece in pieces(&wanted) {
            let sql = insert_rows(
                self.data().engine,
                "SELECT counts.name, counts.hour, counts.events FROM (",
                3,
                piece.len(),
                // Both engines call the columns of VALUES so. A cross join, because SQLite keeps its order.
                ") AS wanted CROSS JOIN counts \
                 WHERE counts.project = wanted.column1 AND counts.name = wanted.column2 AND counts.hour >= wanted.column3",
            );
            let mut select = query(AssertSqlSafe(sql));
            for name in piece {
                select = select.bind(project).bind(*name).bind(from);
            }
            for row in select.fetch_all(self.data().readers()).await.during("count events by name and hour")? {
                let (name, hour, events): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
                *found.entry(name.cast_unsigned()).or_default().entry(hour).or_default() += events;
            }
        }
        Ok(found)
    }
}
