//! One database: reads from a small pool, writes through `run_tx`, on SQLite by one fair writer.
//!
//! On SQLite each file has ONE connection that writes. Jobs wait in a bounded queue in the order of their arrival, and the
//! jobs that wait when a commit has ended share the next one, each behind its own savepoint: small writers cost one sync
//! together, and none starves another (measured against writers that fight for the lock: docs in `bench/README.md`).
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

use crate::error::{During, StoreError};

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

/// Which engine a database runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// One database.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) engine: Engine,
    readers: AnyPool,
    writer: Option<mpsc::Sender<Write>>,
}

impl Database {
    /// Opens or makes a SQLite file, checks the pragmas that durability rests on, and runs the migrations.
    pub(crate) async fn sqlite(file: &Path, migrations: &Migrator) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let options: AnyConnectOptions = url.parse().during("open database")?;
        let mut connection = AnyConnection::connect_with(&options).await.during("open database")?;
        set_pragmas(&mut connection).await?;
        check_pragmas(&mut connection, file).await?;
        migrate(&mut connection, migrations).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(4)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("PRAGMA busy_timeout = 5000").await?;
                    connection.execute("PRAGMA query_only = ON").await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(connection, receiver));
        Ok(Self { engine: Engine::Sqlite, readers, writer: Some(sender) })
    }

    /// Connects to PostgreSQL and runs the migrations.
    pub(crate) async fn postgres(url: &str, migrations: &[&Migrator]) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let readers = AnyPoolOptions::new()
            .max_connections(12)
            .acquire_timeout(Duration::from_secs(10))
            .connect(url)
            .await
            .during("connect to PostgreSQL")?;
        let mut connection = readers.acquire().await.during("connect to PostgreSQL")?;
        for migrator in migrations {
            migrate(&mut connection, migrator).await?;
        }
        Ok(Self { engine: Engine::Postgres, readers, writer: None })
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

fn lost_race(problem: &str) -> bool {
    problem.contains("could not serialize") || problem.contains("deadlock detected")
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

async fn write_all(mut connection: AnyConnection, mut jobs: mpsc::Receiver<Write>) {
    while let Some(first) = jobs.recv().await {
        let start = Instant::now();
        let mut done: Vec<(oneshot::Sender<Answer>, Answer)> = Vec::new();
        let mut next = Some(first);
        let mut failed = connection.execute("BEGIN IMMEDIATE").await.err();
        while let Some(job) = next.take() {
            let answer = match &failed {
                Some(error) => Err(StoreError::Database { action: job.name, problem: error.to_string() }),
                None => run_one(&mut connection, &job).await,
            };
            done.push((job.answer, answer));
            if failed.is_none() && done.len() < SHARED && start.elapsed() < SHARED_TIME {
                next = jobs.try_recv().ok();
            }
        }
        if failed.is_none() {
            failed = connection.execute("COMMIT").await.err();
            if failed.is_some() {
                // A failed commit may leave the transaction open; whatever it was, it is not committed.
                connection.execute("ROLLBACK").await.ok();
            }
        }
        for (sender, answer) in done {
            let answer = match (&failed, answer) {
                (Some(error), Ok(_)) => Err(StoreError::Database { action: "commit", problem: error.to_string() }),
                (_, answer) => answer,
            };
            sender.send(answer).ok();
        }
    }
    connection.close().await.ok();
}

async fn run_one(connection: &mut AnyConnection, job: &Write) -> Answer {
    connection.execute("SAVEPOINT job").await.during(job.name)?;
    let answer = (job.run)(connection).await;
    let end = if answer.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    connection.execute(end).await.during(job.name)?;
    answer
}

async fn set_pragmas(connection: &mut AnyConnection) -> Result<(), StoreError> {
    for pragma in [
        "PRAGMA journal_mode = WAL",
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

async fn check_pragmas(connection: &mut AnyConnection, file: &Path) -> Result<(), StoreError> {
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.during("read pragmas")?;
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.during("read pragmas")?;
    if mode != "wal" || synchronous != 2 {
        return Err(StoreError::Unusable(format!(
            "{}: SQLite does not hold journal_mode=WAL and synchronous=FULL here (it says {mode} and {synchronous}); use a local disk",
            file.display()
        )));
    }
    Ok(())
}

/// Runs what is missing; refuses a database that a newer build has migrated.
async fn migrate(connection: &mut AnyConnection, migrations: &Migrator) -> Result<(), StoreError> {
    let family = migrations.iter().map(|migration| migration.version / 1000).next().unwrap_or(0);
    let newest = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
    let applied: Option<i64> =
        sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE version >= $1 AND version < $2")
            .bind(family * 1000)
            .bind((family + 1) * 1000)
            .fetch_one(&mut *connection)
            .await
            // No table yet: a fresh database.
            .unwrap_or(None);
    if applied.is_some_and(|version| version > newest) {
        return Err(StoreError::Unusable(
            "the database was made by a newer convizit; start that version, or restore a backup made by this one"
                .to_owned(),
        ));
    }
    // On PostgreSQL both families stand in one table: each steps over what is the other's.
    let mut own = Migrator::with_migrations(migrations.iter().cloned().collect());
    own.set_ignore_missing(true);
    own.run(connection).await.map_err(|error| StoreError::Database { action: "migrate", problem: error.to_string() })
}

/// Rows in pieces of a few fixed sizes, so that each statement's text, and with it its plan, is used again.
pub(crate) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = [100, 20, 4, 1].into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}

/// `head VALUES ($1, $2), ($3, $4) tail` for so many rows and columns.
pub(crate) fn insert_rows(head: &str, columns: usize, rows: usize, tail: &str) -> String {
    let mut sql = format!("{head} VALUES ");
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            let separator = if column == 0 { "" } else { ", " };
            sql.push_str(&format!("{separator}${}", row * columns + column + 1));
        }
        sql.push(')');
    }
    sql.push(' ');
    sql.push_str(tail);
    sql
}
