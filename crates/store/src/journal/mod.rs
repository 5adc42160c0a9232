//! The journal: what was acknowledged and not yet processed, durable before the answer.
//!
//! The collector appends records and answers when `append` returns; the worker reads batches in the order of their
//! offsets and lets them be forgotten once its own transaction is committed. The engine today is SQLite ([`SqliteJournal`]).

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;

use crate::{JournalBatch, StoreError};

mod batch;
mod file;
mod keys;
mod left;
mod queue;
mod sqlite;
mod state;
mod watch;
mod writer;

pub(crate) use batch::Link;
pub(crate) use left::{LeftBatches, records};
pub use sqlite::{SqliteJournal, Start};

/// The batch after which the journal of a data folder begins: that, and all before, is processed. `None` when it cannot be read.
pub(crate) async fn begins_after(folder: &Path) -> Option<u64> {
    let mut connection = file::open_reader(folder).await.ok()?;
    let oldest = file::oldest(&mut connection).await.ok()?;
    // Nothing is to be learned from how it closes.
    sqlx::Connection::close(connection).await.ok();
    oldest
}

/// The newest batch of the journal of a data folder, processed or not. `None` when it cannot be read.
pub(crate) async fn ends_at(folder: &Path) -> Option<u64> {
    let mut connection = file::open_reader(folder).await.ok()?;
    let newest = file::newest(&mut connection).await.ok()?;
    sqlx::Connection::close(connection).await.ok();
    newest.map(|link| link.offset)
}

/// Bytes of the records of one batch; a single larger record makes a batch of its own. Larger ones gain SQLite nothing.
pub const BATCH_BYTES: usize = 128 * 1024;

/// What a journal does later: boxed, so that the store can hold any engine.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An engine that keeps records from the answer until they are processed.
pub trait Journal: Send + Sync {
    /// Whether a record of so many bytes would be taken now: asked before parsing.
    ///
    /// # Errors
    /// `Full` with the reason: queue, journal bound, disk reserve, failing disk.
    fn has_room(&self, bytes: usize) -> Result<(), StoreError>;

    /// Appends a record; done when it is on disk and synced.
    ///
    /// # Errors
    /// `Full`, and the record does not count as accepted. (Where a commit failed after its bytes had reached the disk,
    /// the record may be in the journal all the same; the sender's repeat is then recognised by its event ids.)
    fn append(&self, record: Bytes) -> Later<'_, Result<(), StoreError>>;

    /// The batches after an offset, oldest first, at most so many bytes of records (one batch at least).
    ///
    /// # Errors
    /// `Unusable` when a batch is damaged, missing or not the one that followed its predecessor.
    fn read(&self, after: u64, max_bytes: usize) -> Later<'_, Result<Vec<JournalBatch>, StoreError>>;

    /// Done when the journal has a batch after this offset.
    fn wait(&self, after: u64) -> Later<'_, ()>;

    /// Lets the journal drop its batches up to and with this offset: they are processed and committed elsewhere.
    fn forget_through(&self, offset: u64);

    /// State for health checks and metrics.
    fn health(&self) -> JournalHealth;

    /// Commits what waits, then closes; later appends are refused.
    fn close(&self) -> Later<'_, ()>;
}

/// How much a journal may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the journal's file in use; beyond it `append` says full. The write-ahead log adds at most 64 MiB.
    pub journal_bytes: u64,
    /// Bytes waiting for the writer.
    pub queue_bytes: usize,
    /// Free bytes of the disk that are left to worker, erasure and deletion.
    pub reserve_bytes: u64,
    /// Pages that SQLite itself lets the file grow to (`max_page_count`): a second fence behind `journal_bytes`.
    pub file_pages: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { journal_bytes: 4 << 30, queue_bytes: 16 << 20, reserve_bytes: 64 << 20, file_pages: u32::MAX - 1 }
    }
}

/// State of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalHealth {
    /// Why nothing can be appended now; `None` when all is well.
    pub failing: Option<String>,
    /// Bytes waiting for the writer.
    pub queue_bytes: u64,
    /// Bytes of the file that are in use: batches not yet dropped.
    pub journal_bytes: u64,
    /// Newest offset.
    pub offset: u64,
}
