//! The journal's database file: how it is opened, and every statement that is run on it.
//!
//! One row per batch. The oldest row is an anchor: of it only the tag is kept, which the batch behind it is chained to.
//! Statements that stand alone are transactions by themselves, write lock first, so they need no BEGIN IMMEDIATE.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::Bounds;
use super::batch::{Link, Sealed, Tag};
use crate::{StoreError, disk};

/// The file's name in the data folder.
pub(super) use crate::missing::JOURNAL as NAME;
/// The schema that this build writes (`user_version`).
const SCHEMA: i64 = 1;
/// Pages of 8 KiB: fewer overflow pages to follow when a batch is dropped than with 4 KiB, less waste than with 16.
pub(super) const PAGE_BYTES: u32 = 8192;

/// One row.
pub(super) struct Stored {
    pub(super) offset: u64,
    pub(super) sealed: Vec<u8>,
}

/// What to do where the file is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is made.
    Make,
    /// It is an error: it was there.
    Refuse,
}

/// Opens the file for the writer: checks the pragmas that durability rests on, makes the table when there is none.
pub(super) async fn open_writer(
    folder: &Path,
    bounds: &Bounds,
    absent: Absent,
) -> Result<SqliteConnection, StoreError> {
    let mut connection = connect(folder, absent, &[("max_page_count", bounds.file_pages.to_string())]).await?;
    match prepare(&mut connection).await {
        Ok(()) => Ok(connection),
        Err(error) => Err(disk::in_words(close_after(connection, error).await, &folder.join(NAME))),
    }
}

/// Closes a connection that is not to be used, and gives the reason back: a refused start leaves nothing open.
pub(super) async fn close_after(connection: SqliteConnection, error: StoreError) -> StoreError {
    // Not `close_hard`, which does not wait for the end of sqlx's thread.
    let _ = connection.close().await;
    error
}

async fn prepare(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mode: String = one(connection, "PRAGMA journal_mode").await?;
    let synchronous: i64 = one(connection, "PRAGMA synchronous").await?;
    if mode != "wal" || synchronous != 2 {
        return Err(StoreError::Unusable(format!(
            "{NAME} runs with journal_mode={mode} and synchronous={synchronous}, but only wal and 2 (full) make an \
             answer durable: put the data folder on a local disk"
        )));
    }
    let schema: i64 = one(connection, "PRAGMA user_version").await?;
    if schema > SCHEMA {
        return Err(StoreError::Unusable(format!(
            "{NAME} has schema {schema}, this build knows {SCHEMA}: start the newer build that wrote it"
        )));
    }
    if schema < SCHEMA {
        sqlx::raw_sql(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS journal (batch INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS keys (number INTEGER PRIMARY KEY, made INTEGER NOT NULL, wrapped BLOB NOT NULL) STRICT;
             PRAGMA user_version = 1;
             COMMIT",
        )
        .execute(connection)
        .await
        .map_err(|error| problem("make the journal", &error))?;
    }
    Ok(())
}

/// Opens the file for reading.
pub(super) async fn open_reader(folder: &Path) -> Result<SqliteConnection, StoreError> {
    connect(folder, Absent::Refuse, &[("query_only", "ON".to_owned())]).await
}

async fn connect(
    folder: &Path,
    absent: Absent,
    pragmas: &[(&'static str, String)],
) -> Result<SqliteConnection, StoreError> {
    let path = folder.join(NAME);
    let makes = absent == Absent::Make;
    let mut options = SqliteConnectOptions::new().filename(&path).create_if_missing(makes).page_size(PAGE_BYTES);
    if std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
        // After a backlog the file gives its space back, in steps. Only heeded in a new file; said again it would be a write, which
        // a full disk refuses to whoever only reads.
        options = options.auto_vacuum(SqliteAutoVacuum::Incremental);
    }
    options = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        // Checkpoints are the writer's, between commits.
        .pragma("wal_autocheckpoint", "0")
        .pragma("journal_size_limit", "67108864")
        // On macOS fsync alone leaves the bytes in the drive's cache.
        .pragma("fullfsync", "ON")
        .pragma("cache_size", "-2048")
        .row_buffer_size(2)
        .thread_name(|id| format!("journal-sql-{id}"))
        .disable_statement_logging();
    for (name, value) in pragmas {
        options = options.pragma(*name, value.clone());
    }
    options.connect().await.map_err(|error| disk::in_words(problem("open the journal", &error), &path))
}

/// Writes a batch; when this returns it is synced.
pub(super) async fn insert(connection: &mut SqliteConnection, batch: Sealed) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO journal (batch, bytes, sealed) VALUES ($1, $2, $3)")
        .bind(signed(batch.link.offset))
        .bind(signed(batch.plain_bytes as u64))
        .bind(batch.bytes)
        .execute(connection)
        .await
        .map_err(|error| problem("commit a journal batch", &error))?;
    Ok(())
}

/// Writes the row that the first batch is chained to, in place of all there is.
pub(super) async fn anchor(connection: &mut SqliteConnection, link: Link) -> Result<(), StoreError> {
    let action = "begin the journal";
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(|error| problem(action, &error))?;
    sqlx::query("DELETE FROM journal").execute(&mut *transaction).await.map_err(|error| problem(action, &error))?;
    sqlx::query("INSERT INTO journal (batch, bytes, sealed) VALUES ($1, 0, $2)")
        .bind(signed(link.offset))
        .bind(link.tag.to_vec())
        .execute(&mut *transaction)
        .await
        .map_err(|error| problem(action, &error))?;
    transaction.commit().await.map_err(|error| problem(action, &error))
}

/// Makes the row of `through` the anchor and drops the rows before `below`, in one transaction.
pub(super) async fn forget(connection: &mut SqliteConnection, through: u64, below: u64) -> Result<(), StoreError> {
    let action = "drop processed journal batches";
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(|error| problem(action, &error))?;
    sqlx::query("UPDATE journal SET bytes = 0, sealed = substr(sealed, -16) WHERE batch = $1 AND length(sealed) > 16")
        .bind(signed(through))
        .execute(&mut *transaction)
        .await
        .map_err(|error| problem(action, &error))?;
    sqlx::query("DELETE FROM journal WHERE batch < $1")
        .bind(signed(below))
        .execute(&mut *transaction)
        .await
        .map_err(|error| problem(action, &error))?;
    transaction.commit().await.map_err(|error| problem(action, &error))
}

/// The offset of the oldest row; `None` when there is no row.
pub(super) async fn oldest(connection: &mut SqliteConnection) -> Result<Option<u64>, StoreError> {
    let offset: Option<i64> = one(connection, "SELECT MIN(batch) FROM journal").await?;
    Ok(offset.map(unsigned))
}

/// The offset up to which all is processed: of the newest row of which only the tag is kept, or else the oldest; `None` when there is no row.
pub(super) async fn processed(connection: &mut SqliteConnection) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT COALESCE((SELECT MAX(batch) FROM journal WHERE length(sealed) <= 16), (SELECT MIN(batch) FROM journal))";
    let offset: Option<i64> = one(connection, sql).await?;
    Ok(offset.map(unsigned))
}

/// Offset and tag of the newest row.
pub(super) async fn newest(connection: &mut SqliteConnection) -> Result<Option<Link>, StoreError> {
    let row = sqlx::query("SELECT batch, substr(sealed, -16) FROM journal ORDER BY batch DESC LIMIT 1")
        .fetch_optional(connection)
        .await
        .map_err(|error| problem("read the journal's end", &error))?;
    row.map(|row| Ok(Link { offset: unsigned(row.try_get(0)?), tag: tag(row.try_get(1)?) }))
        .transpose()
        .map_err(|error| problem("read the journal's end", &error))
}

/// The tag of one row.
pub(super) async fn tag_at(connection: &mut SqliteConnection, offset: u64) -> Result<Option<Tag>, StoreError> {
    let row: Option<Vec<u8>> = sqlx::query_scalar("SELECT substr(sealed, -16) FROM journal WHERE batch = $1")
        .bind(signed(offset))
        .fetch_optional(connection)
        .await
        .map_err(|error| problem("read a journal tag", &error))?;
    Ok(row.map(tag))
}

/// The rows after an offset while their records have at most so many bytes, the first in any case.
pub(super) async fn rows_after(
    connection: &mut SqliteConnection,
    after: u64,
    max_bytes: usize,
) -> Result<Vec<Stored>, StoreError> {
    let action = "read the journal";
    let sizes = sqlx::query("SELECT batch, bytes FROM journal WHERE batch > $1 ORDER BY batch LIMIT 256")
        .bind(signed(after))
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| problem(action, &error))?;
    let (mut last, mut total) = (None, 0_u64);
    for row in sizes {
        let offset: i64 = row.try_get(0).map_err(|error| problem(action, &error))?;
        total = total.saturating_add(unsigned(row.try_get(1).map_err(|error| problem(action, &error))?));
        if last.is_some() && total > max_bytes as u64 {
            break;
        }
        last = Some(offset);
    }
    let Some(last) = last else { return Ok(Vec::new()) };
    let rows = sqlx::query("SELECT batch, sealed FROM journal WHERE batch > $1 AND batch <= $2 ORDER BY batch")
        .bind(signed(after))
        .bind(last)
        .fetch_all(connection)
        .await
        .map_err(|error| problem(action, &error))?;
    rows.into_iter()
        .map(|row| Ok(Stored { offset: unsigned(row.try_get(0)?), sealed: row.try_get(1)? }))
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| problem(action, &error))
}

/// Number and time of the newest key.
pub(super) async fn newest_key(connection: &mut SqliteConnection) -> Result<Option<(u32, i64)>, StoreError> {
    let row = sqlx::query("SELECT number, made FROM keys ORDER BY number DESC LIMIT 1")
        .fetch_optional(connection)
        .await
        .map_err(|error| problem("read the journal's keys", &error))?;
    row.map(|row| Ok((u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX), row.try_get(1)?)))
        .transpose()
        .map_err(|error: sqlx::Error| problem("read the journal's keys", &error))
}

/// A wrapped key.
pub(super) async fn key(connection: &mut SqliteConnection, number: u32) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT wrapped FROM keys WHERE number = $1")
        .bind(number)
        .fetch_optional(connection)
        .await
        .map_err(|error| problem("read a journal key", &error))
}

/// Whether there is a key of this number.
pub(super) async fn has_key(connection: &mut SqliteConnection, number: u32) -> Result<bool, StoreError> {
    Ok(key(connection, number).await?.is_some())
}

/// Writes a wrapped key; when this returns it is synced.
pub(super) async fn insert_key(
    connection: &mut SqliteConnection,
    number: u32,
    made: i64,
    wrapped: &[u8],
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO keys (number, made, wrapped) VALUES ($1, $2, $3)")
        .bind(number)
        .bind(made)
        .bind(wrapped)
        .execute(connection)
        .await
        .map_err(|error| problem("write a journal key", &error))?;
    Ok(())
}

/// Destroys the keys that no batch needs any more, but for the newest; returns how many keys there still are. The bytes of
/// the destroyed are overwritten, in the file once the log is moved into it.
pub(super) async fn destroy_keys(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let action = "destroy journal keys";
    // The oldest row is an anchor: its tag alone, when it is that short. The least of all that wait, since one whose number is damaged
    // must not take the keys of the others with it.
    let oldest: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT MIN(substr(sealed, 1, 4)) FROM journal WHERE length(sealed) > 16")
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| problem(action, &error))?;
    let oldest = oldest.and_then(|bytes| super::batch::key_of(&bytes));
    sqlx::raw_sql("PRAGMA secure_delete = ON")
        .execute(&mut *connection)
        .await
        .map_err(|error| problem(action, &error))?;
    sqlx::query("DELETE FROM keys WHERE number < $1 AND number < (SELECT MAX(number) FROM keys)")
        .bind(oldest.unwrap_or(u32::MAX))
        .execute(&mut *connection)
        .await
        .map_err(|error| problem(action, &error))?;
    sqlx::raw_sql("PRAGMA secure_delete = FAST")
        .execute(&mut *connection)
        .await
        .map_err(|error| problem(action, &error))?;
    one(connection, "SELECT COUNT(*) FROM keys").await.map(unsigned)
}

/// Bytes of the file in use, and bytes of it that are free.
pub(super) async fn sizes(connection: &mut SqliteConnection) -> Result<(u64, u64), StoreError> {
    let pages: i64 = one(connection, "PRAGMA page_count").await?;
    let free: i64 = one(connection, "PRAGMA freelist_count").await?;
    let page = u64::from(PAGE_BYTES);
    Ok((unsigned(pages.saturating_sub(free)) * page, unsigned(free) * page))
}

/// Moves what the write-ahead log holds into the file; with `wait`, after its readers have ended, and cuts the log.
/// Returns the bytes of the log, and whether all of them are moved, so that the log can begin anew.
pub(super) async fn checkpoint(connection: &mut SqliteConnection, wait: bool) -> Result<(u64, bool), StoreError> {
    let action = "checkpoint the journal";
    let sql = if wait { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(|error| problem(action, &error))?;
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(|error| problem(action, &error));
    let (busy, log, moved) = (number(0)?, number(1)?, number(2)?);
    Ok((log_bytes(unsigned(log)), busy == 0 && log == moved))
}

/// Bytes of so many pages in the write-ahead log, where each has a head of 24 bytes.
pub(super) fn log_bytes(pages: u64) -> u64 {
    pages * u64::from(PAGE_BYTES + 24)
}

/// Gives 2 MiB of free pages back to the disk; used pages at the file's end are moved into free ones.
pub(super) async fn shrink(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("PRAGMA incremental_vacuum(256)")
        .fetch_all(connection)
        .await
        .map_err(|error| problem("shrink the journal", &error))?;
    Ok(())
}

/// Writes and syncs something of no meaning: whether the disk takes writes again.
pub(super) async fn probe(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("PRAGMA user_version = 1")
        .execute(connection)
        .await
        .map_err(|error| problem("write to the journal", &error))?;
    Ok(())
}

async fn one<T>(connection: &mut SqliteConnection, sql: &'static str) -> Result<T, StoreError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + Send + Unpin,
{
    sqlx::query_scalar(sql).fetch_one(connection).await.map_err(|error| problem("read the journal", &error))
}

fn problem(action: &'static str, error: &sqlx::Error) -> StoreError {
    // 11 is SQLITE_CORRUPT, 26 SQLITE_NOTADB; the low byte is the primary code.
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok()).map(|code| code & 0xff);
    // Of another type than a row can have: a page that stands where another belongs.
    let is_foreign = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        // A changed name in the file's own description of its tables.
        || error.as_database_error().is_some_and(|error| error.message().starts_with("no such "));
    if is_foreign || matches!(code, Some(11 | 26)) {
        return StoreError::Unusable(format!(
            "{NAME} is damaged ({error}): put a whole copy in its place if there is one; else move it away, and the next start says what \
             was waiting in it and how to go on"
        ));
    }
    StoreError::Database { action, problem: error.to_string() }
}

/// A short or missing tag matches none.
fn tag(bytes: Vec<u8>) -> Tag {
    bytes.try_into().unwrap_or_default()
}

/// Offsets count batches: at 10 000 a second, 2^63 take 29 million years.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
