//! Ids of stored events, by received day, so that a repeat is recognised for as long as data is kept.
//!
//! A UUIDv7 holds the time of its making, which bounds the days that it can have been received on: from the day before
//! (a clock may be a day ahead) to today. Ids from further ahead go into one table that every look-up asks. A day's table
//! is dropped whole when no project keeps that day any more.

use std::collections::HashSet;

use convizit_model::EventId;
use sqlx::{AnyConnection, AssertSqlSafe, query};

use crate::Store;
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError};
use crate::statement::{insert_rows, marks, pieces};

/// Bytes of a key: the event's id, then the project's number. Ids of one time stand together: the tree grows at its end.
pub(crate) const KEY: usize = 20;

/// The number of the table of ids from more than a day ahead.
pub(crate) const AHEAD: i64 = 0;

pub(crate) fn key(project: i64, id: &EventId) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..16].copy_from_slice(id.as_bytes());
    // Project numbers are given one by one and stay far below 2^32.
    key[16..].copy_from_slice(&u32::try_from(project).unwrap_or(u32::MAX).to_be_bytes());
    key
}

/// The table that an id received on this day belongs to.
pub(crate) fn table_of(id: &EventId, received_day: i64) -> i64 {
    if id.embedded_time().day() > received_day + 1 { AHEAD } else { received_day.max(1) }
}

/// Makes the table of a day when it is the day's first key.
async fn make(connection: &mut AnyConnection, engine: Engine, day: i64) -> Result<(), StoreError> {
    const NAME: &str = "insert seen ids";
    let known: Option<i64> = sqlx::query_scalar("SELECT day FROM seen_days WHERE day = $1")
        .bind(day)
        .fetch_optional(&mut *connection)
        .await
        .during(NAME)?;
    if known.is_none() {
        // Engine-specific: WITHOUT ROWID stores the key once instead of twice (25 instead of 50 bytes an event).
        let storage = if engine == Engine::Sqlite { "WITHOUT ROWID" } else { "" };
        let sql = format!("CREATE TABLE IF NOT EXISTS seen_{day} (id BYTEA PRIMARY KEY) {storage}");
        // Only a number and a constant are composed.
        query(AssertSqlSafe(sql)).execute(&mut *connection).await.during(NAME)?;
        query("INSERT INTO seen_days (day) VALUES ($1)").bind(day).execute(&mut *connection).await.during(NAME)?;
    }
    Ok(())
}

/// Keys that `insert_many` takes at once.
pub(crate) const MANY: usize = 50_000;

/// Inserts keys that stand one behind the other, in their order: many times quicker than each as a parameter of its own.
pub(crate) async fn insert_many(
    connection: &mut AnyConnection,
    engine: Engine,
    day: i64,
    keys: &[u8],
) -> Result<(), StoreError> {
    make(connection, engine, day).await?;
    let count = keys.len() / KEY;
    // Only numbers are composed.
    let sql = format!(
        "WITH RECURSIVE places (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM places WHERE n + 1 < {count}) \
         INSERT INTO seen_{day} (id) SELECT substr($1, n * {KEY} + 1, {KEY}) FROM places WHERE n < {count} ON CONFLICT DO NOTHING"
    );
    query(AssertSqlSafe(sql)).bind(keys).execute(connection).await.during("insert seen ids")?;
    Ok(())
}

/// Inserts the keys of one day, making its table when it is the day's first.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    engine: Engine,
    day: i64,
    keys: &[[u8; KEY]],
) -> Result<(), StoreError> {
    const NAME: &str = "insert seen ids";
    make(connection, engine, day).await?;
    for piece in pieces(keys) {
        let sql = insert_rows(engine, &format!("INSERT INTO seen_{day} (id)"), 1, piece.len(), "");
        let mut insert = query(AssertSqlSafe(sql));
        for key in piece {
            insert = insert.bind(key.as_slice());
        }
        insert.execute(&mut *connection).await.during(NAME)?;
    }
    Ok(())
}

/// The smallest key of ids made on a day.
fn first_key(day: i64) -> [u8; KEY] {
    let mut key = [0; KEY];
    let millis = u64::try_from(day.max(0).saturating_mul(86_400_000)).unwrap_or(0);
    key[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    key
}

impl Store {
    /// Deletes ids whose own time is before a day from the table of those from ahead, in steps of so many.
    pub(crate) async fn forget_ahead(&self, day: i64, step: i64) -> Result<(), StoreError> {
        const NAME: &str = "forget seen ids";
        let made: Option<i64> = sqlx::query_scalar("SELECT day FROM seen_days WHERE day = 0")
            .fetch_optional(self.data().readers())
            .await
            .during(NAME)?;
        let mut left = made.map_or(0, |_| 1);
        while left > 0 {
            left = self
                .data()
                .run_tx(NAME, move |connection| {
                    Box::pin(async move {
                        query("DELETE FROM seen_0 WHERE id IN (SELECT id FROM seen_0 WHERE id < $1 LIMIT $2)")
                            .bind(first_key(day).to_vec())
                            .bind(step)
                            .execute(connection)
                            .await
                            .during(NAME)
                            .map(|done| done.rows_affected())
                    })
                })
                .await?;
        }
        Ok(())
    }

    /// Which of these ids of a project are stored already.
    ///
    /// # Errors
    /// `Database`.
    pub async fn seen(&self, project: i64, ids: &[EventId]) -> Result<HashSet<EventId>, StoreError> {
        let ids: Vec<(i64, EventId)> = ids.iter().map(|id| (project, *id)).collect();
        Ok(self.seen_of(&ids).await?.into_iter().map(|(_, id)| id).collect())
    }

    /// Which of these ids, each of its project, are stored already: one look for all projects of a stretch.
    ///
    /// # Errors
    /// `Database`.
    pub async fn seen_of(&self, ids: &[(i64, EventId)]) -> Result<HashSet<(i64, EventId)>, StoreError> {
        const NAME: &str = "look up seen ids";
        let mut found = HashSet::new();
        let Some(oldest) = ids.iter().map(|(_, id)| id.embedded_time().day() - 1).min() else { return Ok(found) };
        let days = query("SELECT day FROM seen_days WHERE day = 0 OR day >= $1")
            .bind(oldest)
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
        for row in days {
            let day: i64 = row.read(0)?;
            let mut candidates: Vec<[u8; KEY]> = ids
                .iter()
                .filter(|(_, id)| day == AHEAD || id.embedded_time().day() - 1 <= day)
                .map(|(project, id)| key(*project, id))
                .collect();
            // Neighbours in time stand on the same pages.
            candidates.sort_unstable();
            for piece in pieces(&candidates) {
                let sql = format!("SELECT id FROM seen_{day} WHERE id IN ({})", marks(self.data().engine, piece.len()));
                let mut select = query(AssertSqlSafe(sql));
                for key in piece {
                    select = select.bind(key.as_slice());
                }
                for row in select.fetch_all(self.data().readers()).await.during(NAME)? {
                    let bytes: Vec<u8> = row.read(0)?;
                    found.extend(read_key(&bytes));
                }
            }
        }
        Ok(found)
    }
}

/// What `key` was made of.
fn read_key(bytes: &[u8]) -> Option<(i64, EventId)> {
    let (id, project) = bytes.split_first_chunk()?;
    let project = u32::from_be_bytes(*project.first_chunk()?);
    Some((i64::from(project), EventId::from_bytes(*id).ok()?))
}
