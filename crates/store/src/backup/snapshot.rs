//! Reading rows of one moment while everybody goes on writing.

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, query};

use super::pack::Cell;
use super::tables::Table;
use crate::database::{Database, Engine};
use crate::error::{During, StoreError};

/// A connection that sees the database as it was at one moment.
pub(super) struct Snapshot(AnyConnection, Engine);

impl Snapshot {
    pub(super) async fn of(database: &Database) -> Result<Self, StoreError> {
        const NAME: &str = "begin a snapshot";
        let mut connection = database.connect().await?;
        match database.engine {
            Engine::Sqlite => {
                connection.execute("PRAGMA query_only = ON").await.during(NAME)?;
                connection.execute("BEGIN").await.during(NAME)?;
                // The moment is that of the first reading.
                connection.execute("SELECT COUNT(*) FROM sqlite_schema").await.during(NAME)?;
            }
            Engine::Postgres => {
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.during(NAME)?;
                connection.execute("SELECT 1").await.during(NAME)?;
            }
        }
        Ok(Self(connection, database.engine))
    }

    pub(super) async fn end(mut self) -> Result<(), StoreError> {
        self.0.execute("COMMIT").await.during("end a snapshot")?;
        self.0.close().await.during("end a snapshot")
    }

    /// One row of numbers.
    pub(super) async fn numbers<const N: usize>(&mut self, sql: &'static str) -> Result<[i64; N], StoreError> {
        let row = query(sql).fetch_one(&mut self.0).await.during("read a snapshot")?;
        let mut numbers = [0; N];
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = row.try_get(index).during("read a snapshot")?;
        }
        Ok(numbers)
    }

    /// Rows of numbers.
    pub(super) async fn all_numbers<const N: usize>(&mut self, sql: &'static str) -> Result<Vec<[i64; N]>, StoreError> {
        let mut rows = query(sql).fetch(&mut self.0);
        let mut all = Vec::new();
        while let Some(row) = rows.try_next().await.during("read a snapshot")? {
            let mut numbers = [0; N];
            for (index, number) in numbers.iter_mut().enumerate() {
                *number = row.try_get(index).during("read a snapshot")?;
            }
            all.push(numbers);
        }
        Ok(all)
    }

    /// Every row of a table, or of those that `which` names by two numbers.
    pub(super) fn rows(
        &mut self,
        table: &'static Table,
        which: Option<(&str, [i64; 2])>,
    ) -> BoxStream<'_, Result<Vec<Cell>, StoreError>> {
        let condition = which.map(|(condition, _)| format!("WHERE {condition} ")).unwrap_or_default();
        // Names of tables and columns are constants.
        let sql = table.select(self.1, &format!("{condition}ORDER BY {}", table.order));
        let mut select = query(AssertSqlSafe(sql));
        for number in which.map(|(_, numbers)| numbers).into_iter().flatten() {
            select = select.bind(number);
        }
        select.fetch(&mut self.0).map(|row| table.cells(&row.during("read a snapshot")?)).boxed()
    }
}
