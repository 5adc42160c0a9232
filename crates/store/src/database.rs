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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Columns as _, During, InFile, StoreError, name_damage};
use crate::migrations::{CONTROL, DATA};
use crate::{disk, missing};

pub(crate) mod start;

use start::{CONTROL_CHECKED, DATA_CHECKED, check_tables, connect_to, is_missing_table, migrate, refuse_newer, writer};

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
/// How long a checkpoint may wait for a reader who looks at older rows: meanwhile nobody writes.
const READER_WAIT: &str = "PRAGMA busy_timeout = 50";
/// Tries of a checkpoint, and the time between two of them: most readers are gone by the next.
const CHECKPOINTS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(200);

/// Which engine a database runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// What a SQLite file does with the bytes of deleted rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    /// They are overwritten where their page is written anyway; pages that are free as a whole go with `sweep`.
    Overwritten,
    /// They are overwritten at once.
    Wiped,
}

/// One database.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) engine: Engine,
    /// What messages call it.
    name: Arc<str>,
    readers: AnyPool,
    writer: Option<mpsc::Sender<Write>>,
    /// On SQLite, how the file is opened.
    file: Option<AnyConnectOptions>,
    /// On SQLite, where it is.
    path: Option<Arc<Path>>,
    /// How a connection of its own is made.
    options: AnyConnectOptions,
    /// Tables on PostgreSQL from which bytes are to go soon.
    swept: &'static [&'static str],
    /// Whether something waits for a sweep: a reader kept the log from being moved into the file, or what went since is to go soon.
    unswept: Arc<AtomicBool>,
}

/// How a SQLite file is opened.
fn address(file: &Path, mode: &str) -> Result<AnyConnectOptions, StoreError> {
    // Absolute, since the first part of a relative path would be a host; and what means something in an address is escaped.
    let path = std::path::absolute(file)
        .map_err(|error| StoreError::Unusable(format!("{}: {error}", file.display())))?
        .display()
        .to_string()
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    format!("sqlite://{path}?mode={mode}").parse().during("open database")
}

/// A connection that only reads a SQLite file as it lies there, of whatever version its schema is.
pub(crate) async fn reading(file: &Path) -> Result<AnyConnection, StoreError> {
    sqlx::any::install_default_drivers();
    let opening = async {
        let mut connection = AnyConnection::connect_with(&address(file, "rw")?).await.during("open database")?;
        for pragma in ["PRAGMA busy_timeout = 5000", "PRAGMA query_only = ON"] {
            connection.execute(pragma).await.during("open database")?;
        }
        Ok(connection)
    };
    opening.await.map_err(|error| disk::in_words(error, file))
}

impl Database {
    /// Opens or makes a SQLite file, checks the pragmas that durability rests on, and runs the migrations.
    pub(crate) async fn sqlite(
        file: &Path,
        migrations: &Migrator,
        freed: Freed,
        checked: &[&str],
    ) -> Result<Self, StoreError> {
        Self::open_sqlite(file, migrations, freed, checked).await.map_err(|error| disk::in_words(error, file))
    }

    async fn open_sqlite(
        file: &Path,
        migrations: &Migrator,
        freed: Freed,
        checked: &[&str],
    ) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        // Made once: whoever connects later must not make an empty file where this one was taken away.
        let (making, options) = (address(file, "rwc")?, address(file, "rw")?);
        let mut connection = writer(&making, freed).await?;
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
            name: file.file_name().unwrap_or_default().to_string_lossy().into(),
            readers,
            writer: Some(sender),
            file: Some(options.clone()),
            path: Some(file.into()),
            options,
            swept: &[],
            unswept: Arc::default(),
        })
    }

    /// Connects to PostgreSQL and runs the migrations.
    pub(crate) async fn postgres(url: &str, migrations: &[&Migrator]) -> Result<Self, StoreError> {
        let (mut connection, options) = connect_to(url).await?;
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
        let name = "the PostgreSQL database".into();
        Ok(Self {
            engine: Engine::Postgres,
            name,
            readers,
            writer: None,
            file: None,
            path: None,
            options,
            swept: &[],
            unswept: Arc::default(),
        })
    }

    /// Control data and frames of a data folder, or of a PostgreSQL database, which is both.
    pub(crate) async fn both(folder: &Path, url: Option<&str>) -> Result<(Self, Self), StoreError> {
        match url {
            None => Ok((Self::control_in(folder).await?, Self::data_in(folder).await?)),
            Some(url) => {
                let both = Self::postgres(url, &[&CONTROL, &DATA]).await?;
                let control = Self { swept: &["keys"], unswept: Arc::default(), ..both.clone() };
                Ok((control, Self { swept: &["frames", "state", "quarantine", "held", "erasures"], ..both }))
            }
        }
    }

    /// Control data of a data folder, which is made before the frames.
    pub(crate) async fn control_in(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(missing::CONTROL);
        Self::sqlite(&file, &CONTROL, Freed::Wiped, CONTROL_CHECKED).await.in_file(missing::CONTROL)
    }

    /// Frames of a data folder.
    pub(crate) async fn data_in(folder: &Path) -> Result<Self, StoreError> {
        let file = folder.join(missing::DATA);
        Self::sqlite(&file, &DATA, Freed::Overwritten, DATA_CHECKED).await.in_file(missing::DATA)
    }

    /// Whether a PostgreSQL database holds an installation; nothing is made in it.
    pub(crate) async fn has_rows(url: &str) -> Result<bool, StoreError> {
        const NAME: &str = "look whether the database is empty";
        let (mut connection, _) = connect_to(url).await?;
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
        result.map_err(|error| {
            let error = name_damage(error, &self.name);
            match &self.path {
                Some(file) => disk::in_words(error, file),
                None => error,
            }
        })
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
        // Before it: what goes meanwhile goes with the next.
        self.unswept.store(false, Ordering::Relaxed);
        let swept = self.take_out().await;
        if !matches!(swept, Ok(true)) {
            self.sweep_soon();
        }
        swept.map(|_| ())
    }

    /// Whether nobody was in the way.
    async fn take_out(&self) -> Result<bool, StoreError> {
        const NAME: &str = "sweep";
        let Some(file) = &self.file else {
            for table in self.swept {
                self.readers.execute(sqlx::AssertSqlSafe(format!("VACUUM {table}"))).await.during(NAME)?;
            }
            return Ok(true);
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
        connection.execute(READER_WAIT).await.during(NAME)?;
        let mut whole = false;
        for again in 0..CHECKPOINTS {
            if again > 0 {
                tokio::time::sleep(BETWEEN).await;
            }
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await.during(NAME)?;
            whole = row.read::<i64>(0)? == 0;
            if whole {
                break;
            }
        }
        connection.close().await.during(NAME)?;
        Ok(whole)
    }

    /// Has the next round of upkeep of this process sweep.
    pub(crate) fn sweep_soon(&self) {
        self.unswept.store(true, Ordering::Relaxed);
    }

    /// Sweeps again where a reader, such as a backup, was in the way, or what went since is to go soon.
    pub(crate) async fn sweep_again(&self) -> Result<(), StoreError> {
        if self.unswept.load(Ordering::Relaxed) { self.sweep().await } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Whoever connects later finds no file, and makes none.
    #[tokio::test]
    async fn a_file_that_is_taken_away_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let database = with_tables(folder.path()).await;
        let file = folder.path().join("test.db");
        for end in ["", "-wal", "-shm"] {
            std::fs::remove_file(format!("{}{end}", file.display())).ok();
        }
        assert!(database.connect().await.is_err());
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn what_cannot_be_opened_is_named_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("test.db");
        std::fs::create_dir(&file).unwrap();
        let opened = Database::sqlite(&file, &CONTROL, Freed::Wiped, &[]).await;
        let error = opened.err().unwrap().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("it is a folder"), "{error}");
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
        limit(pages).await.unwrap();
        let error = run(&database, large).await.unwrap_err().to_string();
        let said = ["test.db", "mounted at", "free", "Nothing was written; make room"];
        assert!(said.iter().all(|said| error.contains(said)), "{error}");
        let expected: Vec<i64> =
            [(answers[0], 1), (answers[2], 2)].iter().filter(|(ok, _)| *ok).map(|(_, id)| *id).collect();
        assert_eq!(ids(&database).await, expected, "the answers were {answers:?}");
        limit(1_000_000).await.unwrap();
        run(&database, large).await.unwrap();
        assert!(ids(&database).await.contains(&7));
    }
}
