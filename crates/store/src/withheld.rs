//! The privacy report: what was withheld, by week, field, rule and side.

use convizit_model::Withheld;
use sqlx::{AnyConnection, AssertSqlSafe, query};

use crate::Store;
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError};
use crate::statement::{insert_rows, pieces};

/// One line of a project's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithheldCount {
    /// Weeks as `convizit_model::Withheld` counts them.
    pub week: i64,
    /// Which field.
    pub field: String,
    /// Which rule.
    pub rule: String,
    /// `browser` or `server`.
    pub side: String,
    /// How often.
    pub items: i64,
}

impl Store {
    /// What was withheld of a project from a week on, newest week first, most first.
    ///
    /// # Errors
    /// `Database`.
    pub async fn withheld(&self, project: i64, from_week: i64) -> Result<Vec<WithheldCount>, StoreError> {
        let rows = query(
            "SELECT week, field, rule, side, items FROM withheld WHERE project = $1 AND week >= $2 \
             ORDER BY week DESC, items DESC, field, rule, side",
        )
        .bind(project)
        .bind(from_week)
        .fetch_all(self.data().readers())
        .await
        .during("read privacy report")?;
        let line = |row: &sqlx::any::AnyRow| {
            Ok(WithheldCount {
                week: row.read(0)?,
                field: row.read(1)?,
                rule: row.read(2)?,
                side: row.read(3)?,
                items: row.read(4)?,
            })
        };
        rows.iter().map(line).collect()
    }
}

/// Adds to the counts.
pub(crate) async fn add(
    connection: &mut AnyConnection,
    engine: Engine,
    withheld: &[(i64, Withheld, u64)],
) -> Result<(), StoreError> {
    for piece in pieces(withheld) {
        let tail =
            "ON CONFLICT (project, week, field, rule, side) DO UPDATE SET items = withheld.items + excluded.items";
        let sql =
            insert_rows(engine, "INSERT INTO withheld (project, week, field, rule, side, items)", 6, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for (project, what, items) in piece {
            insert = insert
                .bind(*project)
                .bind(what.week)
                .bind(what.field)
                .bind(what.rule)
                .bind(if what.in_browser { "browser" } else { "server" })
                .bind(i64::try_from(*items).unwrap_or(i64::MAX));
        }
        insert.execute(&mut *connection).await.during("count what was withheld")?;
    }
    Ok(())
}
