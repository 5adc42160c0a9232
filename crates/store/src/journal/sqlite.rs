//! The journal in SQLite: opening with its checks, appending, reading along the chain.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use convizit_keys::KeyRing;
use convizit_model::Clock;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::batch::{self, Link};
use super::file;
use super::keys::JournalKeys;
use super::queue::{Message, Waiting};
use super::state::State;
use super::watch::{self, Watch};
use super::writer;
use super::{Bounds, Journal, JournalHealth, Later};
use crate::mark::{self, Mark};
use crate::{JournalBatch, StoreError, disk, missing as lost_files};

/// A reader in a process that does not append itself looks for new batches this often.
const POLL: Duration = Duration::from_millis(200);

/// The journal keeps no larger record; a batch of the tracker has 64 KiB.
const RECORD_BYTES: usize = 16 << 20;

/// The journal in SQLite.
pub struct SqliteJournal {
    state: Arc<State>,
    messages: mpsc::UnboundedSender<Message>,
    reader: tokio::sync::Mutex<Reader>,
    running: std::sync::Mutex<Option<(oneshot::Receiver<()>, Watch)>>,
    begins_after: u64,
    lost: Option<String>,
}

/// The reading connection, and the last batch it has read.
#[derive(Default)]
struct Reader {
    connection: Option<SqliteConnection>,
    tail: Option<Link>,
}

/// Where a journal begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// The offset that the worker has committed: a new journal begins after it.
    pub processed: u64,
    /// Whether a person accepts what is missing.
    pub accept_gap: bool,
}

impl SqliteJournal {
    /// Opens the journal of a data folder, or makes it, and starts its writer.
    ///
    /// # Errors
    /// `Unusable` when the journal ends before its mark or before what is processed, when it begins after it, when its newest
    /// batch is damaged, when its schema is newer, or when the file does not sync: each in one sentence that says what to do.
    pub async fn open(
        folder: &Path,
        ring: Arc<KeyRing>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
        start: Start,
    ) -> Result<Self, StoreError> {
        // One process after the other: the file and its mark are made one after the other, too.
        let _opening = {
            let locked = folder.to_owned();
            blocking("lock the data folder", move || File::open(locked).and_then(|file| file.lock().map(|()| file)))
                .await?
                .map_err(|error| cannot("lock the data folder", folder, &error))?
        };
        // The mark first: another process may append meanwhile, and the journal is then only further.
        let mark = {
            let (folder, ring) = (folder.to_owned(), Arc::clone(&ring));
            let read = blocking("read the journal's mark", move || mark::read(&folder, mark::JOURNAL, &ring)).await?;
            match read {
                Err(error) if !start.accept_gap => return Err(error),
                read => read.unwrap_or(Mark::Absent),
            }
        };
        let keys = JournalKeys::new(Arc::clone(&ring), clock);
        let is_absent = lost_files::is_absent(&folder.join(file::NAME));
        if is_absent
            && let Mark::At(link) = &mark
            && !start.accept_gap
        {
            return Err(lost_files::marked_journal(folder, link.offset, start.processed));
        }
        let mut connection = file::open_writer(folder, &bounds, file::Absent::Make).await?;
        let (newest, oldest, used) = match begin(&mut connection, &keys, &mark, start).await {
            Ok(found) => found,
            Err(error) => return Err(file::close_after(connection, error).await),
        };
        let mut lost = Vec::new();
        if is_absent && (start.processed > 0 || mark != Mark::Absent) {
            lost.push(format!("{} was missing and is made anew", file::NAME));
        }
        if let Mark::At(link) = &mark
            && link.offset > newest.offset
        {
            let first = newest.offset + 1;
            lost.push(format!("batches {first} to {} of the journal, which were answered, are lost", link.offset));
        }
        let lost = (!lost.is_empty()).then(|| lost.join("; "));
        let begins_after = if start.accept_gap {
            readable_from(&mut connection, &keys, start.processed.max(oldest)).await?
        } else {
            oldest
        };
        if start.accept_gap || !matches!(mark, Mark::At(_)) {
            let into = folder.to_owned();
            blocking("write the journal's mark", move || mark::write(&into, mark::JOURNAL, &ring, newest))
                .await?
                .map_err(|error| cannot("write the journal's mark", &folder.join(mark::JOURNAL), &error))?;
        }
        let state = Arc::new(State::new(folder.to_owned(), keys, bounds, newest));
        state.used.store(used, Ordering::Relaxed);
        let watch =
            watch::start(Arc::clone(&state)).map_err(|error| cannot("start the journal's watch", folder, &error))?;
        let (messages, end) = writer::start(Arc::clone(&state), connection, oldest)
            .map_err(|error| cannot("start the journal's writer", folder, &error))?;
        let running = std::sync::Mutex::new(Some((end, watch)));
        Ok(Self { state, messages, reader: tokio::sync::Mutex::default(), running, begins_after, lost })
    }

    /// The offset after which this journal's batches began when it was opened.
    #[must_use]
    pub fn begins_after(&self) -> u64 {
        self.begins_after
    }

    /// What a person has accepted as lost from its end when it was opened.
    #[must_use]
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    async fn append_now(&self, record: Bytes) -> Result<(), StoreError> {
        if record.len() > RECORD_BYTES {
            return Err(StoreError::Invalid(format!("a journal record has at most {RECORD_BYTES} bytes")));
        }
        let room = self.state.take_room(record.len())?;
        let (answer, answered) = oneshot::channel();
        let closed = || StoreError::Full("the journal is closed".to_owned());
        self.messages.send(Message::Append(Waiting { record, answer, _room: room })).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    async fn read_now(&self, after: u64, max_bytes: usize) -> Result<Vec<JournalBatch>, StoreError> {
        let mut reader = self.reader.lock().await;
        let read = reader.rows(&self.state, after, max_bytes).await;
        if read.is_err() {
            // A connection that failed is not used again.
            *reader = Reader::default();
        }
        let Some((previous, rows)) = read? else { return Ok(Vec::new()) };
        let keys = {
            let mut keys = BTreeMap::new();
            let connection = reader.connection(&self.state).await?;
            for row in &rows {
                let number = batch::key_of(&row.sealed).ok_or_else(|| batch::damaged(row.offset))?;
                if let Entry::Vacant(entry) = keys.entry(number) {
                    // A number that no key has is itself damaged.
                    if !file::has_key(connection, number).await? {
                        return Err(batch::damaged(row.offset));
                    }
                    entry.insert(self.state.keys.to_open(connection, number).await?);
                }
            }
            keys
        };
        let (tail, batches) = blocking("open journal batches", move || {
            let mut link = previous;
            let mut batches = Vec::with_capacity(rows.len());
            for row in rows {
                if row.offset != link.offset + 1 {
                    return Err(missing(link.offset + 1, row.offset - 1));
                }
                let key = batch::key_of(&row.sealed).and_then(|number| keys.get(&number));
                let key = key.ok_or_else(|| batch::damaged(row.offset))?;
                let (next, records) = batch::open(key, link, &row.sealed)?;
                batches.push(JournalBatch { offset: next.offset, records });
                link = next;
            }
            Ok((link, batches))
        })
        .await??;
        reader.tail = Some(tail);
        Ok(batches)
    }

    async fn wait_now(&self, after: u64) {
        let mut newest = self.state.newest.subscribe();
        while newest.borrow_and_update().offset <= after {
            if self.state.owner.load(Ordering::Acquire) {
                let _ = newest.changed().await;
                continue;
            }
            // Batches of another process are seen in the file; this process may become the one that appends.
            if tokio::time::timeout(POLL, newest.changed()).await.is_err() {
                let mut reader = self.reader.lock().await;
                match reader.newest(&self.state).await {
                    Ok(found) => self.state.observe(found),
                    Err(_) => *reader = Reader::default(),
                }
            }
        }
    }

    async fn close_now(&self) {
        let _ = self.messages.send(Message::Stop);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((end, watch)) = running {
            // The writer first: the watch's last mark then speaks of its last batch.
            let _ = end.await;
            let _ = blocking("end the journal's watch", move || {
                drop(watch.stop);
                watch.thread.join()
            })
            .await;
        }
        if let Some(connection) = std::mem::take(&mut *self.reader.lock().await).connection {
            let _ = connection.close().await;
        }
    }
}

impl Reader {
    async fn connection(&mut self, state: &State) -> Result<&mut SqliteConnection, StoreError> {
        Ok(match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(file::open_reader(&state.folder).await?),
        })
    }

    async fn newest(&mut self, state: &State) -> Result<Option<Link>, StoreError> {
        file::newest(self.connection(state).await?).await
    }

    /// The rows after an offset, with the link they follow; `None` when there is none.
    async fn rows(
        &mut self,
        state: &State,
        after: u64,
        max_bytes: usize,
    ) -> Result<Option<(Link, Vec<file::Stored>)>, StoreError> {
        let tail = self.tail.filter(|tail| tail.offset == after);
        let connection = self.connection(state).await?;
        let mut rows = file::rows_after(connection, after, max_bytes).await?;
        if rows.is_empty() {
            let end = file::newest(connection).await?.unwrap_or_default().offset;
            if end <= after {
                return if end < after { Err(behind(end, after)) } else { Ok(None) };
            }
            // Written between the two looks, or on a page that stands where it does not belong.
            rows = file::rows_after(connection, after, max_bytes).await?;
            if rows.is_empty() {
                return Err(missing(after + 1, end));
            }
        }
        let Some(first) = rows.first() else { return Ok(None) };
        let previous = match tail {
            Some(tail) => tail,
            None => match file::tag_at(connection, after).await? {
                Some(tag) => Link { offset: after, tag },
                None => return Err(missing(after + 1, first.offset)),
            },
        };
        Ok(Some((previous, rows)))
    }
}

impl Journal for SqliteJournal {
    fn has_room(&self, bytes: usize) -> Result<(), StoreError> {
        self.state.has_room(bytes)
    }

    fn append(&self, record: Bytes) -> Later<'_, Result<(), StoreError>> {
        Box::pin(self.append_now(record))
    }

    fn read(&self, after: u64, max_bytes: usize) -> Later<'_, Result<Vec<JournalBatch>, StoreError>> {
        Box::pin(self.read_now(after, max_bytes))
    }

    fn wait(&self, after: u64) -> Later<'_, ()> {
        Box::pin(self.wait_now(after))
    }

    fn forget_through(&self, offset: u64) {
        if self.state.forget.fetch_max(offset, Ordering::AcqRel) < offset {
            let _ = self.messages.send(Message::Wake);
        }
    }

    fn health(&self) -> JournalHealth {
        self.state.health()
    }

    fn close(&self) -> Later<'_, ()> {
        Box::pin(self.close_now())
    }
}

/// The newest link, the offset of the oldest row and the bytes in use.
async fn begin(
    connection: &mut SqliteConnection,
    keys: &JournalKeys,
    mark: &Mark,
    start: Start,
) -> Result<(Link, u64, u64), StoreError> {
    let newest = check(connection, keys, mark, start).await?;
    let oldest = file::oldest(connection).await?.unwrap_or(0);
    let (used, _) = file::sizes(connection).await?;
    Ok((newest, oldest, used))
}

/// Compares the file with its mark and with what is processed, and returns its end; begins a new journal.
async fn check(
    connection: &mut SqliteConnection,
    keys: &JournalKeys,
    mark: &Mark,
    Start { processed, accept_gap }: Start,
) -> Result<Link, StoreError> {
    let oldest = file::oldest(connection).await?;
    let newest = match (file::newest(connection).await?, mark) {
        // What is processed is stored, wherever the journal ends.
        (Some(newest), Mark::At(link)) if newest.offset.max(processed) < link.offset && !accept_gap => {
            return Err(lost(newest.offset.max(processed), link.offset));
        }
        (None, Mark::At(link)) if !accept_gap => {
            return Err(if processed < link.offset { lost(processed, link.offset) } else { behind(0, processed) });
        }
        (Some(_), Mark::Absent) if !accept_gap => {
            return Err(StoreError::Unusable(format!(
                "{} is missing, so nobody can say whether {} is whole: restore both from their copies, or start once with \
                 --accept-gap to trust the journal as it stands",
                mark::JOURNAL,
                file::NAME,
            )));
        }
        (Some(newest), _) if newest.offset < processed && !accept_gap => return Err(behind(newest.offset, processed)),
        // The oldest row is an anchor: the batch after it is the first that can be read.
        (Some(_), _) if oldest.is_some_and(|oldest| oldest > processed) && !accept_gap => {
            return Err(forgotten(processed + 1, oldest.unwrap_or(processed)));
        }
        (Some(newest), _) if newest.offset >= processed => newest,
        // New, or accepted as ending before what is processed: all that it holds is processed.
        _ => {
            let link = Link { offset: processed, ..Link::default() };
            file::anchor(connection, link).await?;
            return Ok(link);
        }
    };
    if let Mark::At(link) = mark
        && file::tag_at(connection, link.offset).await?.is_some_and(|tag| tag != link.tag)
        && !accept_gap
    {
        return Err(StoreError::Unusable(format!(
            "batch {} of {} is not the one that {} speaks of: restore both from copies of the same time",
            link.offset,
            file::NAME,
            mark::JOURNAL
        )));
    }
    // The anchor cannot be opened, only its tag is kept; every other newest row must open behind the one before.
    if let Some(row) = file::rows_after(connection, newest.offset.saturating_sub(1), 0).await?.pop()
        && row.sealed.len() > newest.tag.len()
        && !accept_gap
    {
        let before = newest.offset.saturating_sub(1);
        let tag = file::tag_at(connection, before).await?.ok_or_else(|| missing(before, before))?;
        let number = batch::key_of(&row.sealed).ok_or_else(|| batch::damaged(row.offset))?;
        if !file::has_key(connection, number).await? {
            return Err(batch::damaged(row.offset));
        }
        let key = keys.to_open(connection, number).await?;
        batch::open(&key, Link { offset: before, tag }, &row.sealed)?;
    }
    Ok(newest)
}

/// The offset behind which batches can be read: those that are missing or damaged are passed over, since a person accepts that.
async fn readable_from(
    connection: &mut SqliteConnection,
    keys: &JournalKeys,
    mut after: u64,
) -> Result<u64, StoreError> {
    loop {
        let Some(row) = file::rows_after(connection, after, 0).await?.into_iter().next() else { return Ok(after) };
        let tag = if row.offset == after + 1 { file::tag_at(connection, after).await? } else { None };
        let number = batch::key_of(&row.sealed);
        if let (Some(tag), Some(number)) = (tag, number)
            && file::has_key(connection, number).await?
            && let Ok(key) = keys.to_open(connection, number).await
            && batch::open(&key, Link { offset: after, tag }, &row.sealed).is_ok()
        {
            return Ok(after);
        }
        tracing::warn!(
            batch = row.offset,
            "a batch of the journal is damaged or missing and passed over, as was accepted"
        );
        after = row.offset;
    }
}

/// `end` is the last batch that is in the journal, or processed already.
fn lost(end: u64, mark: u64) -> StoreError {
    let first = end + 1;
    StoreError::Unusable(format!(
        "{} does not reach batch {mark}, which was acknowledged ({}): batches {first} to {mark} are lost, and all before is there; put the \
         newer file back if there is one (convizit restore goes back to the last backup, which is older than they are), or start once with \
         --accept-gap to go on without them",
        file::NAME,
        mark::JOURNAL,
    ))
}

fn behind(end: u64, processed: u64) -> StoreError {
    StoreError::Unusable(format!(
        "{} ends at batch {end}, but batch {processed} is already processed: restore the journal of the same time as \
         the other databases, or start once with --accept-gap to begin after batch {processed}",
        file::NAME,
    ))
}

/// The events' database has lost commits: what was processed then is in the journal no more.
fn forgotten(first: u64, last: u64) -> StoreError {
    StoreError::Unusable(format!(
        "journal.db begins after batch {last}, and data.db (or the PostgreSQL database) does not hold the events of \
         batches {first} to {last}: go back to a backup (convizit restore), or start once with --accept-gap to go on \
         without them"
    ))
}

fn missing(first: u64, last: u64) -> StoreError {
    let last = last.max(first);
    StoreError::Unusable(format!(
        "batches {first} to {last} are missing from {}: put a whole copy in its place if there is one, or start once with --accept-gap to go \
         on without them",
        file::NAME
    ))
}

fn cannot(action: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Database { action, problem: disk::io_in_words(path, error) }
}

/// Runs what blocks, or computes for long, apart from the async threads.
async fn blocking<T: Send + 'static>(
    action: &'static str,
    act: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(act).await.map_err(|error| StoreError::Database { action, problem: error.to_string() })
}
