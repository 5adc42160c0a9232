//! What the journal's handle, its writer and its watch share: bounds, counts, the newest link, what fails.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::batch::Link;
use super::keys::JournalKeys;
use super::{Bounds, JournalHealth};
use crate::StoreError;
use crate::disk::bytes_in_words;

/// Who says that something fails.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Writer,
    Mark,
}

pub(super) struct State {
    pub(super) folder: PathBuf,
    pub(super) keys: JournalKeys,
    pub(super) bounds: Bounds,
    /// The newest batch that is committed.
    pub(super) newest: watch::Sender<Link>,
    /// Batches up to and with this one may be dropped.
    pub(super) forget: AtomicU64,
    /// Whether this process holds the journal's lock and is the one that appends.
    pub(super) owner: AtomicBool,
    /// Bytes of the file in use.
    pub(super) used: AtomicU64,
    /// Free bytes of the disk.
    pub(super) free: AtomicU64,
    /// Bytes waiting for the writer.
    queued: AtomicUsize,
    failing: Mutex<[Option<String>; 2]>,
}

/// A record's room in the queue; given back when dropped.
pub(super) struct Room {
    state: Arc<State>,
    bytes: usize,
}

/// What a record costs in the queue beside its bytes.
const RECORD_COST: usize = 128;

impl State {
    pub(super) fn new(folder: PathBuf, keys: JournalKeys, bounds: Bounds, newest: Link) -> Self {
        Self {
            folder,
            keys,
            bounds,
            newest: watch::Sender::new(newest),
            forget: AtomicU64::new(0),
            owner: AtomicBool::new(false),
            used: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
            queued: AtomicUsize::new(0),
            failing: Mutex::default(),
        }
    }

    /// Whether the journal takes a record of so many bytes now.
    pub(super) fn has_room(&self, bytes: usize) -> Result<(), StoreError> {
        if let Some(reason) = self.failing() {
            return Err(StoreError::Full(reason));
        }
        let queued = self.queued.load(Ordering::Relaxed);
        if queued.saturating_add(bytes).saturating_add(RECORD_COST) > self.bounds.queue_bytes {
            return Err(self.queue_is_full());
        }
        if self.used.load(Ordering::Relaxed) >= self.bounds.journal_bytes {
            let all = bytes_in_words(self.bounds.journal_bytes);
            let text = format!(
                "the journal has grown to its {all} (journal.megabytes): the worker is behind, and convizit notices list says why"
            );
            return Err(StoreError::Full(text));
        }
        let free = self.free.load(Ordering::Relaxed);
        if free < self.bounds.reserve_bytes {
            let text = format!(
                "the disk of {} has {} free, less than the reserve of {} that is left to what was answered already: make room on it",
                self.folder.display(),
                bytes_in_words(free),
                bytes_in_words(self.bounds.reserve_bytes)
            );
            return Err(StoreError::Full(text));
        }
        Ok(())
    }

    /// Takes room in the queue, or says why there is none.
    pub(super) fn take_room(self: &Arc<Self>, bytes: usize) -> Result<Room, StoreError> {
        self.has_room(bytes)?;
        let bytes = bytes.saturating_add(RECORD_COST);
        self.queued
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |queued| {
                queued.checked_add(bytes).filter(|sum| *sum <= self.bounds.queue_bytes)
            })
            .map_err(|_| self.queue_is_full())?;
        Ok(Room { state: Arc::clone(self), bytes })
    }

    fn queue_is_full(&self) -> StoreError {
        let all = bytes_in_words(self.bounds.queue_bytes as u64);
        StoreError::Full(format!("the journal's queue has its {all}: the disk is behind"))
    }

    /// Sets or clears why a part fails; true when that is news.
    pub(super) fn set_failing(&self, part: Part, reason: Option<String>) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let [writer, mark] = &mut *failing;
        let place = match part {
            Part::Writer => writer,
            Part::Mark => mark,
        };
        let news = place.is_some() != reason.is_some();
        *place = reason;
        news
    }

    /// Why nothing can be appended now.
    pub(super) fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().next().cloned()
    }

    /// Takes down how far the file has come, where another process appends.
    pub(super) fn observe(&self, found: Option<Link>) {
        self.newest.send_if_modified(|newest| match found.filter(|found| found.offset > newest.offset) {
            Some(found) => {
                *newest = found;
                true
            }
            None => false,
        });
    }

    pub(super) fn queue_bytes(&self) -> u64 {
        self.queued.load(Ordering::Relaxed) as u64
    }

    pub(super) fn health(&self) -> JournalHealth {
        JournalHealth {
            failing: self.failing(),
            queue_bytes: self.queue_bytes(),
            journal_bytes: self.used.load(Ordering::Relaxed),
            offset: self.newest.borrow().offset,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.state.queued.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
