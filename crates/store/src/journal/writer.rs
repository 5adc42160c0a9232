//! The one writer: its own thread, commits what waits when the last commit has ended, and in between forgets and checkpoints.
//!
//! An error from a commit is never tried again on the same connection: an fsync that failed once may have dropped
//! pages that a second one calls written. Everything that waits is refused, the file is opened anew, and its end is
//! compared with what was acknowledged.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::batch::{Link, Sealer};
use super::file;
use super::keys::HourKey;
use super::queue::{Message, Next, Queue, Waiting};
use super::state::{Part, State};
use crate::{StoreError, disk};

/// The file whose lock says which process appends.
const LOCK: &str = "journal.lock";
/// Without work the writer looks around this often.
const IDLE: Duration = Duration::from_millis(250);
/// After a failure the file is opened anew after this, then twice this, …
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);
/// What was written to the log is moved into the file in pieces of this size: more makes longer pauses, less moves
/// pages that are soon written again, and syncs more often.
const CHECKPOINT_BYTES: u64 = 2 << 20;
/// On a disk where a commit takes longer than this, pieces are larger by as much, up to 16 MiB.
const QUICK: Duration = Duration::from_micros(500);
/// From this size of the log on a checkpoint waits for readers, so that it can begin anew.
const LOG_BYTES: u64 = 48 << 20;
/// Free space inside the file that is worth giving back.
const SHRINK_BYTES: u64 = 64 << 20;
/// A step of forgetting aims at this time.
const STEP: Duration = Duration::from_millis(5);
/// While few batches wait to be forgotten, they are dropped this often, or once in 20 commits' time when that is longer.
const FORGET_EVERY: Duration = Duration::from_millis(50);

/// Without a pause, keys of hours that are over are looked for this often.
const DESTROY_EVERY: Duration = Duration::from_secs(20);

/// The writer's side of the journal.
pub(super) struct Writer {
    state: Arc<State>,
    queue: Queue,
    /// `None` after a failure, until the file is open again.
    connection: Option<SqliteConnection>,
    sealer: Sealer,
    /// The key of this hour, once something was appended.
    key: Option<HourKey>,
    /// Whether there are keys of hours that are over.
    keys_to_destroy: bool,
    last_destroy: Instant,
    /// Held from the first append on.
    lock: Option<File>,
    /// Set while a commit runs: after a failure this batch may be in the file or not.
    in_doubt: Option<Link>,
    retry_at: Instant,
    retry: Duration,
    oldest: u64,
    step_rows: u64,
    commits_since_forget: u32,
    last_forget: Instant,
    last_look: Instant,
    /// What a commit takes, on a moving average.
    pace: Duration,
    /// Bytes written to the log since they were last moved into the file.
    unmoved: u64,
}

/// Starts the writer on a thread of its own: what it compresses, seals and waits for blocks nobody else.
pub(super) fn start(
    state: Arc<State>,
    connection: SqliteConnection,
    oldest: u64,
) -> io::Result<(mpsc::UnboundedSender<Message>, oneshot::Receiver<()>)> {
    let (sender, queue) = Queue::new();
    let (ended, end) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let writer = Writer {
        state,
        queue,
        connection: Some(connection),
        sealer: Sealer::new()?,
        key: None,
        // Those of the process before.
        keys_to_destroy: true,
        last_destroy: Instant::now(),
        lock: None,
        in_doubt: None,
        retry_at: Instant::now(),
        retry: FIRST_RETRY,
        oldest,
        step_rows: 64,
        commits_since_forget: 0,
        last_forget: Instant::now(),
        last_look: Instant::now(),
        pace: QUICK,
        unmoved: 0,
    };
    std::thread::Builder::new().name("journal-writer".to_owned()).spawn(move || {
        runtime.block_on(writer.run());
        let _ = ended.send(());
    })?;
    Ok((sender, end))
}

impl Writer {
    async fn run(mut self) {
        loop {
            let wait = match self.connection {
                Some(_) => IDLE,
                None => self.retry_at.saturating_duration_since(Instant::now()),
            };
            let mut idle = false;
            match self.queue.next(wait).await {
                Next::Commit(group) => self.commit(group).await,
                Next::Wake => {}
                Next::Idle => idle = true,
                Next::End => break,
            }
            if self.connection.is_none() && Instant::now() >= self.retry_at {
                self.recover().await;
                // What can be dropped goes before the next append: it may be what makes room.
                idle = true;
            }
            if self.connection.is_some()
                && let Err(error) = self.keep_up(idle).await
            {
                self.fail(error, Vec::new()).await;
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the journal did not close well; the next start recovers it");
        }
    }

    async fn commit(&mut self, group: Vec<Waiting>) {
        // These came while something began to fail.
        if let Some(reason) = self.state.failing() {
            return refuse(group, &reason);
        }
        let started = Instant::now();
        match self.write(&group).await {
            Ok(bytes) => {
                let took = started.elapsed();
                self.pace = (self.pace * 7 + took) / 8;
                self.retry = FIRST_RETRY;
                self.commits_since_forget += 1;
                let used = self.state.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
                for waiting in group {
                    // Who has gone away no longer waits for its answer.
                    let _ = waiting.answer.send(Ok(()));
                }
                metrics::histogram!("convizit_journal_commit_seconds").record(took.as_secs_f64());
                metrics::counter!("convizit_journal_commits_total").increment(1);
                metrics::gauge!("convizit_journal_queue_bytes").set(self.state.queue_bytes() as f64);
                metrics::gauge!("convizit_journal_bytes").set(used as f64);
            }
            Err(error) => self.fail(error, group).await,
        }
    }

    /// Writes a group as one batch; returns the bytes it took in the file.
    async fn write(&mut self, group: &[Waiting]) -> Result<u64, StoreError> {
        let connection =
            self.connection.as_mut().ok_or_else(|| StoreError::Full("the journal is closed".to_owned()))?;
        if self.lock.is_none() {
            self.lock = Some(lock(&self.state)?);
            begin_log(connection).await?;
            // Another process may have appended before.
            self.state.observe(file::newest(connection).await?);
            self.state.owner.store(true, Ordering::Release);
        }
        let before = self.key.as_ref().map(|key| key.number);
        let key = self.state.keys.to_seal(connection, self.key.take()).await?;
        let key = self.key.insert(key);
        self.keys_to_destroy |= before != Some(key.number);
        let previous = *self.state.newest.borrow();
        let records = group.iter().map(|waiting| &waiting.record);
        let batch = self.sealer.seal((key.number, &key.key), previous, records)?;
        let (link, bytes) = (batch.link, batch.bytes.len() as u64);
        self.in_doubt = Some(link);
        file::insert(connection, batch).await?;
        self.in_doubt = None;
        self.unmoved += file::log_bytes(bytes / u64::from(file::PAGE_BYTES) + 3);
        self.state.newest.send_replace(link);
        Ok(bytes)
    }

    /// Refuses what waits and lets the connection go.
    async fn fail(&mut self, error: StoreError, group: Vec<Waiting>) {
        let error = disk::in_words(error, &self.state.folder.join(file::NAME));
        let reason = format!("the journal cannot be written: {error}");
        if self.state.set_failing(Part::Writer, Some(reason.clone())) {
            tracing::error!(%error, "the journal cannot be written; it is opened anew until it can");
        }
        refuse(group, &reason);
        refuse(self.queue.drain(), &reason);
        if let Some(connection) = self.connection.take() {
            // Its state is unknown: nothing is to be learned from how it closes.
            let _ = connection.close().await;
        }
        self.retry_at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(LAST_RETRY);
    }

    async fn recover(&mut self) {
        match self.reopen().await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.in_doubt = None;
                self.state.set_failing(Part::Writer, None);
                tracing::info!("the journal can be written again");
            }
            Err(error) => self.fail(error, Vec::new()).await,
        }
    }

    async fn reopen(&mut self) -> Result<SqliteConnection, StoreError> {
        let mut connection = file::open_writer(&self.state.folder, &self.state.bounds, file::Absent::Refuse).await?;
        let known = *self.state.newest.borrow();
        let found = file::newest(&mut connection).await?.unwrap_or_default();
        if self.lock.is_none() {
            self.state.observe(Some(found));
        } else if Some(found) == self.in_doubt {
            // Refused, and yet in the file: the sender's repeat is recognised by its event ids.
            self.state.newest.send_replace(found);
        } else if found != known {
            return Err(StoreError::Unusable(format!(
                "{} ends at batch {} after a failed write, but batch {} was acknowledged: restore it from its copy",
                file::NAME,
                found.offset,
                known.offset
            )));
        }
        begin_log(&mut connection).await?;
        file::probe(&mut connection).await?;
        Ok(connection)
    }

    /// What is to be done between commits, in short steps.
    async fn keep_up(&mut self, idle: bool) -> Result<(), StoreError> {
        let Some(connection) = self.connection.as_mut() else { return Ok(()) };
        let through = self.state.forget.load(Ordering::Acquire).min(self.state.newest.borrow().offset);
        let waiting = through.saturating_sub(self.oldest);
        let often = FORGET_EVERY.max(self.pace * 20);
        let due = waiting > 0 && (idle || waiting >= self.step_rows || self.last_forget.elapsed() >= often);
        if due && (idle || self.commits_since_forget >= 8 || !self.queue.has_records()) {
            let started = Instant::now();
            let below = through.min(self.oldest.saturating_add(self.step_rows));
            file::forget(connection, through, below).await?;
            self.unmoved += file::log_bytes((below - self.oldest) / 4 + 8);
            self.oldest = below;
            self.step_rows =
                if started.elapsed() > STEP { self.step_rows / 2 } else { self.step_rows * 2 }.clamp(8, 256);
            self.commits_since_forget = 0;
            self.last_forget = Instant::now();
            self.measure().await?;
        }
        if let Some(connection) = self.connection.as_mut()
            && self.keys_to_destroy
            && (idle || self.last_destroy.elapsed() >= DESTROY_EVERY)
        {
            self.keys_to_destroy = file::destroy_keys(connection).await? > 1;
            self.last_destroy = Instant::now();
            self.unmoved += file::log_bytes(2);
        }
        self.checkpoint(idle).await?;
        if idle || self.last_look.elapsed() >= IDLE {
            self.last_look = Instant::now();
            let free = self.measure().await?;
            if let Some(connection) = self.connection.as_mut().filter(|_| free > SHRINK_BYTES) {
                file::shrink(connection).await?;
                self.unmoved += file::log_bytes(64);
            }
        }
        Ok(())
    }

    async fn checkpoint(&mut self, idle: bool) -> Result<(), StoreError> {
        let Some(connection) = self.connection.as_mut() else { return Ok(()) };
        let times = (self.pace.as_nanos() / QUICK.as_nanos()).clamp(1, 8);
        let piece = CHECKPOINT_BYTES * times as u64;
        if self.unmoved < if idle { 1 } else { piece } {
            return Ok(());
        }
        let (log, whole) = file::checkpoint(connection, false).await?;
        // The log begins anew at the next write when no reader looks into it; else it grows, until this waits for them.
        if log >= LOG_BYTES {
            file::checkpoint(connection, true).await?;
        }
        // What a reader holds back counts again towards the next checkpoint.
        self.unmoved = if whole || log >= LOG_BYTES { 0 } else { piece / 2 };
        Ok(())
    }

    /// Takes down how much of the file is in use; returns how much of it is free.
    async fn measure(&mut self) -> Result<u64, StoreError> {
        let Some(connection) = self.connection.as_mut() else { return Ok(0) };
        let (used, free) = file::sizes(connection).await?;
        self.state.used.store(used, Ordering::Relaxed);
        metrics::gauge!("convizit_journal_bytes").set(used as f64);
        Ok(free)
    }
}

/// Empties the log before anything is appended to it. After a failed fsync, in this process or the one before, the
/// system may show bytes of the log that never reached the disk; what is written behind them would be lost with them.
async fn begin_log(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    match file::checkpoint(connection, true).await? {
        (_, true) => Ok(()),
        (_, false) => Err(StoreError::Database {
            action: "empty the journal's log",
            problem: "another process has been reading it for 5 s".to_owned(),
        }),
    }
}

fn refuse(group: Vec<Waiting>, reason: &str) {
    for waiting in group {
        let _ = waiting.answer.send(Err(StoreError::Full(reason.to_owned())));
    }
}

fn lock(state: &State) -> Result<File, StoreError> {
    let path = state.folder.join(LOCK);
    let cannot = |error: io::Error| StoreError::Database {
        action: "lock the journal",
        problem: disk::io_in_words(&path, &error),
    };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Full(format!(
            "another process appends to this journal ({LOCK} is locked): run one collector per data folder"
        ))),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}
