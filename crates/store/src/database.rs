//! One database: reads from a small pool, writes through `run_tx`, on SQLite by one fair writer.
//!
//! On SQLite each file has ONE connection that writes. Jobs wait in a bounded queue in the order of their arrival, and the
//! jobs that wait when a commit has ended share the next one, each behind its own savepoint: small writers cost one sync
//! together, and none starves another, as writers that fight for the lock of a file do.
//! On PostgreSQL a write is a transaction of its own, tried again when the server says that it lost a race.

use std::any::Any;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use tokio::sync::{mpsc, oneshot};

use crate::error::{During, InFile, StoreError};
use crate::{CONTROL, DATA};

/// A transaction's work, borrowed from the connection it runs on.
pub(crate) type Job<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

type Answer = Result<Box<dyn Any + Send>, StoreError>;

type Run = Box<dyn for<'c> Fn(&'c mut AnyConnection) -> Job<'c, Box<dyn Any + Send>> + Send + Sync>;

struct Write {
    name: &'static str,
    run: Run,
    answer: oneshot::Sender<Answer>,
}

/// Hides the type of a job's result, so that jobs of all kinds share one queue.
fn boxed<T, F>(work: F) -> Run
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut AnyConnection) -> Job<'c, T> + Send + Sync + 'static,
{
    Box::new(move |connection| {
        let job = work(connection);
        Box::pin(async move { job.await.map(|value| Box::new(value) as Box<dyn Any + Send>) })
    })
}

/// Jobs that wait for the writer at most; more wait in their own tasks.
const QUEUE: usize = 256;
/// Jobs that share one commit at most.
const SHARED: usize = 32;
/// A commit takes no further job after this much work, so that each lasts about 20 ms at most.
const SHARED_TIME: Duration = Duration::from_millis(10);
/// Tries of a PostgreSQL transaction that lost a race.
const TRIES: u32 = 8;
/// How long PostgreSQL may take to let somebody in.
const CONNECT: Duration = Duration::from_secs(4);

/// Which engine a database runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// What a SQLite file does with the bytes of deleted rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    /// They stay until the page is used again, or given back by `sweep`.
    Kept,
    /// They are overwritten at once.
    Wiped,
}

/// One database.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) engine: Engine,
    readers: AnyPool,
    writer: Option<mpsc::Sender<Write>>,
    /// On SQLite, how the file is opened.
    file: Option<AnyConnectOptions>,
    /// How a connection of its own is made.
    options: AnyConnectOptions,
    /// Tables on PostgreSQL from which bytes are to go soon.
    swept: &'static [&'static str],
}

impl Database {
    /// Opens or makes a SQLite file, checks the pragmas that durability rests on, and runs the migrations.
    pub(crate) async fn sqlite(
        file: &Path,
        migrations: &Migrator,
        freed: Freed,
        checked: &[&str],
    ) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        // Absolute, since the first part of a relative path would be a host; and what means something in an address is escaped.
        let path = std::path::absolute(file)
            .map_err(|error| StoreError::Unusable(format!("{}: {error}", file.display())))?
            .display()
            .to_string()
            .replace('%', "%25")
            .replace('?', "%3F")
            .replace('#', "%23");
        let url = format!("sqlite://{path}?mode=rwc");
        let options: AnyConnectOptions = url.parse().during("open database")?;
        let mut connection = writer(&options, freed).await?;
        refuse_newer(&mut connection, migrations).await?;
        // One transaction, so that of two processes that start at once the second finds what the first has made.
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.during("migrate")?;
        migrate(&mut tx, migrations).await?;
        tx.commit().await.during("migrate")?;
        check_tables(&mut connection, checked).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(4)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("PRAGMA busy_timeout = 5000").await?;
                    connection.execute("PRAGMA query_only = ON").await?;
                    // Half of the default: what is read is seldom read twice, and there are many readers.
                    connection.execute("PRAGMA cache_size = -1024").await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone());
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(options.clone(), freed, connection, receiver));
        Ok(Self {
            engine: Engine::Sqlite,
            readers,
            writer: Some(sender),
            file: Some(options.clone()),
            options,
            swept: &[],
        })
    }

    /// Connects to PostgreSQL and runs the migrations.
    pub(crate) async fn postgres(url: &str, migrations: &[&Migrator]) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let options: AnyConnectOptions = url.parse().map_err(|_| no_address())?;
        if !matches!(options.database_url.scheme(), "postgres" | "postgresql") {
            return Err(no_address());
        }
        // Not by the pool, which takes a refused connection for a server that is starting, and says only that time is over.
        let connecting = tokio::time::timeout(CONNECT, AnyConnection::connect_with(&options)).await;
        let mut connection = connecting
            .map_err(|_| unreachable(&format!("no answer within {CONNECT:?}")))?
            .map_err(|error| unreachable(&error.to_string()))?;
        for migrator in migrations {
            refuse_newer(&mut connection, migrator).await?;
        }
        for migrator in migrations {
            migrate(&mut connection, migrator).await?;
        }
        connection.close().await.during("connect to PostgreSQL")?;
        let readers = AnyPoolOptions::new()
            .max_connections(12)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(options.clone());
        Ok(Self { engine: Engine::Postgres, readers, writer: None, file: None, options, swept: &[] })
    }

    /// Control data and frames of a data folder, or of a PostgreSQL database, which is both.
    pub(crate) async fn both(folder: &Path, url: Option<&str>) -> Result<(Self, Self), StoreError> {
        match url {
            None => {
                let (control, data) = (folder.join("control.db"), folder.join("data.db"));
                // The second is made after the first, and is asked for first: another process may be making both.
                if data.exists() && !control.exists() {
                    return Err(StoreError::Unusable(format!(
                        "control.db is missing from {}, though data.db is there: without the keys in it nothing opens. \
                         Restore it from a backup, or move the folder away to start anew",
                        folder.display()
                    )));
                }
                Ok((
                    Self::sqlite(&control, &CONTROL, Freed::Wiped, CONTROL_CHECKED).await.in_file("control.db")?,
                    Self::sqlite(&data, &DATA, Freed::Kept, DATA_CHECKED).await.in_file("data.db")?,
                ))
            }
            Some(url) => {
                let both = Self::postgres(url, &[&CONTROL, &DATA]).await?;
                let control = Self { swept: &["keys"], ..both.clone() };
                Ok((control, Self { swept: &["frames", "state"], ..both }))
            }
        }
    }

    /// Whether a PostgreSQL database holds an installation; nothing is made in it.
    pub(crate) async fn has_rows(url: &str) -> Result<bool, StoreError> {
        const NAME: &str = "look whether the database is empty";
        sqlx::any::install_default_drivers();
        let options: AnyConnectOptions = url.parse().map_err(|_| no_address())?;
        let connecting = tokio::time::timeout(CONNECT, AnyConnection::connect_with(&options)).await;
        let mut connection = connecting
            .map_err(|_| unreachable(&format!("no answer within {CONNECT:?}")))?
            .map_err(|error| unreachable(&error.to_string()))?;
        for sql in ["SELECT COUNT(*) FROM installation", "SELECT COUNT(*) FROM projects", "SELECT COUNT(*) FROM frames"]
        {
            match sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await {
                Ok(0) => {}
                Ok(_) => return Ok(true),
                Err(sqlx::Error::Database(error)) if is_missing_table(&*error) => {}
                Err(error) => return Err(error).during(NAME),
            }
        }
        connection.close().await.during(NAME)?;
        Ok(false)
    }

    /// A connection of its own, for whoever reads for long.
    pub(crate) async fn connect(&self) -> Result<AnyConnection, StoreError> {
        let mut connection = AnyConnection::connect_with(&self.options).await.during("connect")?;
        if self.engine == Engine::Sqlite {
            connection.execute("PRAGMA busy_timeout = 5000").await.during("connect")?;
        }
        Ok(connection)
    }

    /// Where reads go.
    pub(crate) fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Runs a named transaction: all of it or nothing is committed, and synced, when this returns. `work` may run again.
    pub(crate) async fn run_tx<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut AnyConnection) -> Job<'c, T> + Send + Sync + 'static,
    {
        let start = Instant::now();
        let result = match &self.writer {
            Some(writer) => queue(writer, name, work).await,
            None => self.run_postgres(name, work).await,
        };
        metrics::histogram!("convizit_store_tx_seconds", "tx" => name).record(start.elapsed().as_secs_f64());
        if result.is_err() {
            metrics::counter!("convizit_store_tx_failed_total", "tx" => name).increment(1);
        }
        result
    }

    async fn run_postgres<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        F: for<'c> Fn(&'c mut AnyConnection) -> Job<'c, T>,
    {
        let mut tries = 0;
        loop {
            let mut tx = self.readers.begin().await.during(name)?;
            let result = match work(&mut tx).await {
                Ok(value) => tx.commit().await.during(name).map(|()| value),
                Err(error) => {
                    tx.rollback().await.during(name)?;
                    Err(error)
                }
            };
            tries += 1;
            match result {
                Err(StoreError::Database { problem, .. }) if tries < TRIES && lost_race(&problem) => {
                    tokio::time::sleep(Duration::from_millis(5 << tries)).await;
                }
                other => return other,
            }
        }
    }

    /// Takes what was deleted out of the files: free pages are given back and the log is moved into the file, or the tables of
    /// events are vacuumed. Bytes that a reader still looks at go with the next sweep.
    pub(crate) async fn sweep(&self) -> Result<(), StoreError> {
        const NAME: &str = "sweep";
        let Some(file) = &self.file else {
            for table in self.swept {
                self.readers.execute(sqlx::AssertSqlSafe(format!("VACUUM {table}"))).await.during(NAME)?;
            }
            return Ok(());
        };
        loop {
            let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&self.readers).await.during(NAME)?;
            let left = self
                .run_tx(NAME, |connection| {
                    Box::pin(async move {
                        sqlx::query("PRAGMA incremental_vacuum(256)").fetch_all(&mut *connection).await.during(NAME)?;
                        sqlx::query_scalar::<_, i64>("PRAGMA freelist_count").fetch_one(connection).await.during(NAME)
                    })
                })
                .await?;
            if left == 0 || left >= free {
                break;
            }
        }
        let mut connection = AnyConnection::connect_with(file).await.during(NAME)?;
        connection.execute("PRAGMA busy_timeout = 5000").await.during(NAME)?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(&mut connection).await.during(NAME)?;
        connection.close().await.during(NAME)
    }

    /// Ends the writer after what it has, and the readers.
    pub(crate) async fn close(&self) {
        if let Some(writer) = &self.writer {
            // An empty job is done when everything before it is.
            let (answer, done) = oneshot::channel();
            if writer.send(Write { name: "close", run: boxed(|_| Box::pin(async { Ok(()) })), answer }).await.is_ok() {
                done.await.ok();
            }
        }
        self.readers.close().await;
    }
}

/// By SQLSTATE, since a server speaks its own language: serialization failure, deadlock, and two that gave their rows one
/// number or made one table at the same moment.
fn lost_race(problem: &str) -> bool {
    problem.contains("(40001)")
        || problem.contains("(40P01)")
        || (problem.contains("(23505)")
            && ["notices_pkey", "notices_unresolved", "state_pkey", "pg_type_typname"]
                .iter()
                .any(|name| problem.contains(name)))
}

async fn queue<T, F>(writer: &mpsc::Sender<Write>, name: &'static str, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut AnyConnection) -> Job<'c, T> + Send + Sync + 'static,
{
    let gone = || StoreError::Database { action: name, problem: "the database's writer has ended".to_owned() };
    let (answer, result) = oneshot::channel();
    writer.send(Write { name, run: boxed(work), answer }).await.map_err(|_| gone())?;
    let value = result.await.map_err(|_| gone())??;
    value.downcast::<T>().map(|value| *value).map_err(|_| gone())
}

async fn write_all(
    options: AnyConnectOptions,
    freed: Freed,
    connection: AnyConnection,
    mut jobs: mpsc::Receiver<Write>,
) {
    let mut connection = Some(connection);
    while let Some(first) = jobs.recv().await {
        let start = Instant::now();
        let mut done: Vec<(oneshot::Sender<Answer>, Answer)> = Vec::new();
        let mut next = Some(first);
        let mut failed = begin(&mut connection, &options, freed).await.err();
        while let Some(job) = next.take() {
            let answer = match (&failed, &mut connection) {
                (None, Some(connection)) => {
                    let (answer, broken) = run_one(connection, &job).await;
                    failed = broken.err();
                    answer
                }
                _ => Err(not_written(job.name, failed.as_ref())),
            };
            done.push((job.answer, answer));
            if failed.is_none() && done.len() < SHARED && start.elapsed() < SHARED_TIME {
                next = jobs.try_recv().ok();
            }
        }
        if failed.is_none()
            && let Some(connection) = &mut connection
        {
            failed = connection.execute("COMMIT").await.during("commit").err();
        }
        if failed.is_some()
            && let Some(connection) = connection.take()
        {
            // Whether its transaction is still open is unknown; closing ends it, and what it holds is not committed.
            connection.close().await.ok();
        }
        for (sender, answer) in done {
            let answer =
                if failed.is_some() && answer.is_ok() { Err(not_written("commit", failed.as_ref())) } else { answer };
            sender.send(answer).ok();
        }
    }
    if let Some(connection) = connection {
        connection.close().await.ok();
    }
}

fn not_written(action: &'static str, error: Option<&StoreError>) -> StoreError {
    let problem = error.map_or_else(|| "the database is closed".to_owned(), ToString::to_string);
    StoreError::Database { action, problem }
}

/// Begins a transaction, on a new connection after one that failed.
async fn begin(
    connection: &mut Option<AnyConnection>,
    options: &AnyConnectOptions,
    freed: Freed,
) -> Result<(), StoreError> {
    let open = match connection.take() {
        Some(open) => open,
        None => writer(options, freed).await?,
    };
    connection.insert(open).execute("BEGIN IMMEDIATE").await.during("begin").map(|_| ())
}

/// A connection that may write.
async fn writer(options: &AnyConnectOptions, freed: Freed) -> Result<AnyConnection, StoreError> {
    let mut connection = AnyConnection::connect_with(options).await.during("open database")?;
    set_pragmas(&mut connection).await?;
    if freed == Freed::Wiped {
        connection.execute("PRAGMA secure_delete = ON").await.during("set pragmas")?;
    }
    check_pragmas(&mut connection, options.database_url.path()).await?;
    Ok(connection)
}

/// Runs a job behind a savepoint; an error beside its answer says that the transaction around it is broken: a full or
/// failing disk ends the whole of it, and what would follow on the same connection would be a transaction of its own.
async fn run_one(connection: &mut AnyConnection, job: &Write) -> (Answer, Result<(), StoreError>) {
    if let Err(error) = connection.execute("SAVEPOINT job").await.during(job.name) {
        return (Err(not_written(job.name, Some(&error))), Err(error));
    }
    let answer = (job.run)(connection).await;
    let end = if answer.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    (answer, connection.execute(end).await.during(job.name).map(|_| ()))
}

/// Tables that are checked whole at each start: small ones, where a lost row would be taken for one that a person removed.
/// What is sealed is checked when it is opened, and the audit log by its chain.
const CONTROL_CHECKED: &[&str] = &[
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
];
const DATA_CHECKED: &[&str] = &["worker", "clock", "progress", "notices", "erasures", "erase_messages", "cursors"];

/// Whether tables and their indexes say the same, by SQLite's own check.
async fn check_tables(connection: &mut AnyConnection, tables: &[&str]) -> Result<(), StoreError> {
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
async fn refuse_newer(connection: &mut AnyConnection, migrations: &Migrator) -> Result<(), StoreError> {
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
fn is_missing_table(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().as_deref() == Some("42P01") || error.message().contains("no such table")
}

async fn migrate(connection: &mut AnyConnection, migrations: &Migrator) -> Result<(), StoreError> {
    migrations
        .run(connection)
        .await
        .map_err(|error| StoreError::Database { action: "migrate", problem: error.to_string() })
}

/// Rows in pieces of a few fixed sizes, so that each statement's text, and with it its plan, is used again.
pub(crate) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = [400, 100, 30, 10, 3, 1].into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

/// Placeholders in the order of their binding: `$1, $2` or, on SQLite, `?, ?`. Those have no name there: to find a named
/// one, each binding walks through all names, which took a tenth of the worker's time with 500 of them.
struct Marks {
    engine: Engine,
    next: usize,
}

impl Marks {
    fn push(&mut self, sql: &mut String, count: usize) {
        for index in 0..count {
            if index > 0 {
                sql.push_str(", ");
            }
            match self.engine {
                Engine::Sqlite => sql.push('?'),
                Engine::Postgres => {
                    sql.push('$');
                    sql.push_str(&self.next.to_string());
                }
            }
            self.next += 1;
        }
    }
}

/// So many placeholders, from the first on.
pub(crate) fn marks(engine: Engine, count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    Marks { engine, next: 1 }.push(&mut text, count);
    text
}

/// `head VALUES ($1, $2), ($3, $4) tail` for so many rows and columns; head and tail have no placeholders.
pub(crate) fn insert_rows(engine: Engine, head: &str, columns: usize, rows: usize, tail: &str) -> String {
    let mut sql = format!("{head} VALUES ");
    let mut marks = Marks { engine, next: 1 };
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        marks.push(&mut sql, columns);
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(tail);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    static CONTROL: Migrator = sqlx::migrate!("migrations/control");

    async fn with_tables(folder: &Path) -> Database {
        let database = Database::sqlite(&folder.join("test.db"), &CONTROL, Freed::Wiped, &[]).await.unwrap();
        let tables = "CREATE TABLE parents (id BIGINT PRIMARY KEY); \
                      CREATE TABLE rows (id BIGINT PRIMARY KEY, parent BIGINT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED, text TEXT)";
        run(&database, tables).await.unwrap();
        database
    }

    async fn run(database: &Database, sql: &'static str) -> Result<(), StoreError> {
        database
            .run_tx("test", move |connection| {
                Box::pin(async move { connection.execute(sqlx::raw_sql(sql)).await.during("test").map(|_| ()) })
            })
            .await
    }

    async fn ids(database: &Database) -> Vec<i64> {
        sqlx::query_scalar("SELECT id FROM rows ORDER BY id").fetch_all(database.readers()).await.unwrap()
    }

    /// Jobs that wait while the writer is held, so that they share one transaction.
    async fn together(database: &Database, jobs: &[&'static str]) -> Vec<bool> {
        let (go, wait) = oneshot::channel::<()>();
        let wait = std::sync::Arc::new(tokio::sync::Mutex::new(Some(wait)));
        let held = database.clone();
        let holder = tokio::spawn(async move {
            held.run_tx("hold", move |_| {
                let wait = std::sync::Arc::clone(&wait);
                Box::pin(async move {
                    if let Some(wait) = wait.lock().await.take() {
                        wait.await.ok();
                    }
                    Ok(())
                })
            })
            .await
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let jobs: Vec<_> = jobs
            .iter()
            .map(|sql| {
                let (database, sql) = (database.clone(), *sql);
                tokio::spawn(async move { run(&database, sql).await.is_ok() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        go.send(()).unwrap();
        holder.await.unwrap().unwrap();
        let mut answers = Vec::new();
        for job in jobs {
            answers.push(job.await.unwrap());
        }
        answers
    }

    const ONE: &str = "INSERT INTO rows (id) VALUES (1)";
    const TWO: &str = "INSERT INTO rows (id) VALUES (2)";

    #[tokio::test]
    async fn a_job_that_fails_takes_no_neighbour_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = with_tables(folder.path()).await;
        let half = "INSERT INTO rows (id) VALUES (7); INSERT INTO rows (id) VALUES (1)";
        assert_eq!(together(&database, &[ONE, half, TWO]).await, [true, false, true]);
        assert_eq!(ids(&database).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_commit_that_fails_fails_every_job_of_it_and_no_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let database = with_tables(folder.path()).await;
        let orphan = "INSERT INTO rows (id, parent) VALUES (7, 7)";
        assert_eq!(together(&database, &[ONE, orphan, TWO]).await, [false; 3]);
        assert_eq!(ids(&database).await, [0; 0]);
        assert_eq!(together(&database, &[ONE, TWO]).await, [true; 2]);
        assert_eq!(ids(&database).await, [1, 2]);
    }

    /// A full disk can end the whole transaction in the middle: what shared it failed, what comes later is told the truth.
    #[tokio::test]
    async fn what_a_full_disk_ended_is_not_answered_and_what_follows_is() {
        let folder = tempfile::tempdir().unwrap();
        let database = with_tables(folder.path()).await;
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(database.readers()).await.unwrap();
        // SQLite answers a file at its page limit as it answers a full disk.
        let limit = |pages: i64| {
            database.run_tx("limit", move |connection| {
                let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
                Box::pin(async move { connection.execute(sqlx::raw_sql(sql)).await.during("test").map(|_| ()) })
            })
        };
        limit(pages).await.unwrap();
        let large = "INSERT INTO rows (id, text) VALUES (7, hex(zeroblob(60000)))";
        let answers = together(&database, &[ONE, large, TWO]).await;
        assert!(!answers[1]);
        let expected: Vec<i64> =
            [(answers[0], 1), (answers[2], 2)].iter().filter(|(ok, _)| *ok).map(|(_, id)| *id).collect();
        assert_eq!(ids(&database).await, expected, "the answers were {answers:?}");
        limit(1_000_000).await.unwrap();
        run(&database, large).await.unwrap();
        assert!(ids(&database).await.contains(&7));
    }

    #[test]
    fn placeholders_are_those_of_the_engine() {
        let sql = |engine| insert_rows(engine, "INSERT INTO t (a, b)", 2, 2, "ON CONFLICT DO NOTHING");
        assert_eq!(sql(Engine::Sqlite), "INSERT INTO t (a, b) VALUES (?, ?), (?, ?) ON CONFLICT DO NOTHING");
        assert_eq!(sql(Engine::Postgres), "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING");
        assert_eq!(marks(Engine::Postgres, 3), "$1, $2, $3");
    }

    #[test]
    fn pieces_are_all_rows_in_their_order() {
        let rows: Vec<usize> = (0..547).collect();
        assert_eq!(pieces(&rows).map(<[usize]>::len).collect::<Vec<_>>(), [400, 100, 30, 10, 3, 3, 1]);
        assert_eq!(pieces(&rows).flatten().copied().collect::<Vec<_>>(), rows);
    }
}
