//! What is checked and set when a database is opened: its version, its pragmas, and the tables that are checked whole.

use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection, Executor};

use super::Freed;
use crate::error::{During, StoreError};

/// A connection that may write.
pub(super) async fn writer(options: &AnyConnectOptions, freed: Freed) -> Result<AnyConnection, StoreError> {
    let mut connection = AnyConnection::connect_with(options).await.during("open database")?;
    set_pragmas(&mut connection).await?;
    // What is deleted is overwritten: at once, or with the page that it stood on when that is written anyway.
    let wiped = match freed {
        Freed::Wiped => "PRAGMA secure_delete = ON",
        Freed::Overwritten => "PRAGMA secure_delete = FAST",
    };
    sqlx::query(wiped).fetch_all(&mut connection).await.during("set pragmas")?;
    check_pragmas(&mut connection, options.database_url.path()).await?;
    Ok(connection)
}

/// Tables that are checked whole at each start: small ones, where a lost row would be taken for one that a person removed.
/// What is sealed is checked when it is opened, and the audit log by its chain.
pub(super) const CONTROL_CHECKED: &[&str] = &[
    "projects",
    "destinations",
    "control_version",
    "installation",
    "keys",
    "audit_end",
    "tokens",
    "key_requests",
    "accounts",
    "recovery_codes",
    "members",
    "invitations",
    "sessions",
    "incidents",
    "incident_notes",
    "account_countries",
    "notice_channels",
    "drafts",
];
pub(super) const DATA_CHECKED: &[&str] =
    &["worker", "clock", "progress", "notices", "erasures", "erase_messages", "cursors"];

/// Whether tables and their indexes say the same, by SQLite's own check.
pub(super) async fn check_tables(connection: &mut AnyConnection, tables: &[&str]) -> Result<(), StoreError> {
    const NAME: &str = "check tables";
    for table in tables {
        let sql = format!("PRAGMA integrity_check('{table}')");
        let said: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *connection).await.during(NAME)?;
        if said != "ok" {
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(StoreError::Database { action: NAME, problem: format!("{table} is malformed: {said}") });
        }
    }
    Ok(())
}

/// Tries to change a database's mode, 20 ms apart.
const MODE_TRIES: u32 = 250;

async fn set_pragmas(connection: &mut AnyConnection) -> Result<(), StoreError> {
    // Only heeded before the first table is made: free pages can then be given back. Said again it would be a write, which a full
    // disk refuses.
    let vacuum: i64 =
        sqlx::query_scalar("PRAGMA auto_vacuum").fetch_one(&mut *connection).await.during("read pragmas")?;
    if vacuum == 0 {
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL").await.during("set pragmas")?;
    }
    // Changing the mode does not wait for another process that is just doing so, whatever busy_timeout says.
    let mut tries = 0;
    while let Err(error) = connection.execute("PRAGMA journal_mode = WAL").await {
        let is_locked = error.as_database_error().is_some_and(|error| error.message().contains("locked"));
        if !is_locked || tries == MODE_TRIES {
            return Err(error).during("set pragmas");
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for pragma in [
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA busy_timeout = 5000",
        // 16 MiB of pages; the default 2 MiB makes the worker's transaction read its own registry back.
        "PRAGMA cache_size = -16384",
    ] {
        connection.execute(pragma).await.during("set pragmas")?;
    }
    Ok(())
}

async fn check_pragmas(connection: &mut AnyConnection, file: &str) -> Result<(), StoreError> {
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.during("read pragmas")?;
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.during("read pragmas")?;
    if mode != "wal" || synchronous != 2 {
        return Err(StoreError::Unusable(format!(
            "{file}: SQLite does not hold journal_mode=WAL and synchronous=FULL here (it says {mode} and {synchronous}); use a local disk"
        )));
    }
    Ok(())
}

/// How long PostgreSQL may take to let somebody in.
const CONNECT: Duration = Duration::from_secs(4);

/// Connects to PostgreSQL, and says how that is done again. Not by a pool, which takes a refused connection for a server that is
/// starting, and says only that time is over.
pub(crate) async fn connect_to(url: &str) -> Result<(AnyConnection, AnyConnectOptions), StoreError> {
    sqlx::any::install_default_drivers();
    let options: AnyConnectOptions = url.parse().map_err(|_| no_address())?;
    if !matches!(options.database_url.scheme(), "postgres" | "postgresql") {
        return Err(no_address());
    }
    let connecting = tokio::time::timeout(CONNECT, AnyConnection::connect_with(&options)).await;
    let connection = connecting
        .map_err(|_| unreachable(&format!("no answer within {CONNECT:?}")))?
        .map_err(|error| unreachable(&error.to_string()))?;
    Ok((connection, options))
}

/// Without the address, which holds a password.
fn no_address() -> StoreError {
    StoreError::Invalid(
        "the address of PostgreSQL cannot be read: check that it is like postgres://user:password@host:5432/database, \
         with signs such as @, : and / in the password written as %40, %3A and %2F"
            .to_owned(),
    )
}

fn unreachable(problem: &str) -> StoreError {
    StoreError::Unusable(format!(
        "cannot connect to PostgreSQL ({problem}): check that it runs, and the host, port, user, password and database \
         of its address"
    ))
}

/// Refuses a database that a newer build has migrated.
pub(super) async fn refuse_newer(connection: &mut AnyConnection, migrations: &Migrator) -> Result<(), StoreError> {
    let family = migrations.iter().map(|migration| migration.version / 1000).next().unwrap_or(0);
    let newest = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    let applied = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE version >= $1 AND version < $2")
        .bind(family * 1000)
        .bind((family + 1) * 1000)
        .fetch_one(&mut *connection)
        .await;
    let applied: Option<i64> = match applied {
        Err(sqlx::Error::Database(error)) if is_missing_table(&*error) => None,
        other => other.during("read the database's version")?,
    };
    if applied.is_some_and(|version| version > newest) {
        return Err(StoreError::Unusable(
            "the database was made by a newer convizit; start that version, or restore a backup made by this one"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Of a fresh database.
pub(crate) fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().as_deref() == Some("42P01") || error.message().contains("no such table")
}

pub(super) async fn migrate(connection: &mut AnyConnection, migrations: &Migrator) -> Result<(), StoreError> {
    migrations
        .run(connection)
        .await
        .map_err(|error| StoreError::Database { action: "migrate", problem: error.to_string() })
}
