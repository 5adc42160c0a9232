//! The only door to disk and to SQL: journal, frames, registry, projects, destinations, notices, upkeep.
//!
//! Three SQLite files, each with one writer: `journal.db` (what was acknowledged), `data.db` (what the worker makes of it,
//! and the journal offset, in one transaction), `control.db` (what people set). With a PostgreSQL URL, data and control
//! live there and the journal stays a local file.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use convizit_keys::{KeyProvider, KeyRing};
use convizit_model::{Clock, Destination, Outcome, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod accounts;
mod audit;
pub mod backup;
mod channels;
mod clock;
mod config;
mod counts;
mod crowd;
mod customizer;
mod damage;
mod database;
mod dead_letters;
mod decisions;
mod deliveries;
mod destinations;
mod disk;
mod drafts;
mod emptied;
mod erasure;
mod error;
mod exclusions;
mod export;
mod frames;
mod gap;
mod held;
mod idempotency;
mod incidents;
mod invitations;
pub mod journal;
mod key_ends;
mod key_table;
mod keyring;
mod ledger;
mod mark;
mod members;
mod migrations;
mod missing;
mod named_keys;
mod notices;
mod passkeys;
mod people;
mod projects;
mod receipt;
mod replays;
mod retention;
mod rotation;
mod samples;
mod seen;
mod sessions;
mod set_aside;
mod signals;
mod silence;
mod standing;
mod start;
mod statement;
mod tokens;
mod tries;
mod upkeep;
mod withheld;
mod work;

pub use accounts::Account;
pub use audit::{ACTS, AuditEntry, AuditFilter, AuditReport, Checkpoint};
pub use channels::{NoticeSend, SavedChannels, SendEnd, webhook_secret};
pub use clock::SystemClock;
pub use config::StoreConfig;
/// A second factor's secret: console may not see the room of keys.
pub use convizit_keys::TotpSecret;
pub use counts::Counted;
pub use crowd::ProjectRulings;
use crowd::Rulings;
pub use customizer::{Opening, OpeningRefusal};
pub use damage::{DamagedFrame, HeldBy};
pub use deliveries::{Delivered, DeliveryFailure, Failing};
pub use disk::{DiskSpace, bytes_in_words};
pub use drafts::{Draft, Saved};
pub use erasure::{EraseMessage, Erasure, Forgotten, Told};
pub use error::StoreError;
pub use exclusions::{Exclusion, ExclusionKind};
pub use export::{PersonEvents, PersonsStored};
pub use held::{HeldRecord, STOPPED, StoppedProject, is_of_one_project};
pub use idempotency::{Claim, KeyedCall};
pub use incidents::IncidentChange;
pub use invitations::{Invitation, InvitationKind};
pub use members::Member;
pub use named_keys::{KeyInfo, KeyNeed, KeyRequest, NO_LOGIN};
pub use passkeys::{KnownPasskey, PasskeyAnswer};
pub use replays::{EventHead, FoundEvents, Replay, ReplayPlan, ReplayState, Resent};
pub use retention::Beyond;
pub use sessions::{Session, SessionPlace};
pub use set_aside::{DamagedRow, Learned};
pub use silence::{Expected, SilentName};
pub use standing::Standing;
pub use tokens::{Scope, Token};
pub use tries::AccountTry;
pub use withheld::WithheldCount;
pub use work::PreparedWork;

use backup::BackupConfig;
use backup::ledger_copy::Copied;
use database::Database;
use journal::Journal;
use keyring::Keyring;
use ledger::SharedLedger;
use projects::KeyCache;
use start::Expects;

/// How often other processes' changes are looked for and counters saved.
const LOOK: Duration = Duration::from_secs(1);
/// How often events that another process stored are looked for, while somebody waits for one: the live stream is to show a
/// click within two seconds, of which the tracker takes one.
const LOOK_FOR_EVENTS: Duration = Duration::from_millis(300);
/// After an erasure that could not be carried out.
const ERASE_AGAIN: Duration = Duration::from_secs(120);
/// Time between two rounds of upkeep.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the journal holds at one offset.
#[derive(Debug, Clone)]
pub struct JournalBatch {
    /// Consecutive from 1.
    pub offset: u64,
    /// Records in the order of their arrival, each as given to `append`.
    pub records: Vec<Bytes>,
}

/// A stored event with its number.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Consecutive per project from 1; erased numbers are missing.
    pub number: i64,
    /// The event as JSON.
    pub json: Bytes,
}

/// How far a destination has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationState {
    /// The destination.
    pub destination: Destination,
    /// Number of the last event that is delivered, filtered or dead.
    pub cursor: i64,
    /// Events in the dead letters.
    pub dead: i64,
    /// Since when it takes nothing, where it does not.
    pub failing: Option<Failing>,
}

/// An event that a destination refused.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its number.
    pub number: i64,
    /// What the destination said, shortened; never event content.
    pub reason: String,
    /// When it was refused, the last time; the store says it.
    pub time: Timestamp,
    /// How often it was refused; the store counts it. Halvings of one batch are one time.
    pub attempts: i64,
    /// Whether a person wants it sent again, and it was not yet.
    pub retry: bool,
}

impl DeadLetter {
    /// One to be written.
    pub fn new(number: i64, reason: impl Into<String>) -> Self {
        Self { number, reason: reason.into(), time: Timestamp::default(), attempts: 1, retry: false }
    }
}

/// State of the store for `/healthz`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Why nothing can be written now; `None` when all is well.
    pub failing: Option<String>,
    /// Bytes waiting for the journal's writer.
    pub queue_bytes: u64,
    /// Bytes of the journal's batches that are not yet dropped.
    pub journal_bytes: u64,
    /// Newest journal offset.
    pub journal_offset: u64,
    /// Offset processed by the worker.
    pub worker_offset: u64,
}

/// The store: cheap to clone, shared by every role in the process; with the name of whoever acts, for the audit log.
#[derive(Clone)]
pub struct Store(Arc<Inner>, Arc<str>);

struct Inner {
    folder: PathBuf,
    keys: Keyring,
    clock: Arc<dyn Clock>,
    control: Database,
    data: Database,
    journal: Arc<dyn Journal>,
    projects: RwLock<Arc<KeyCache>>,
    control_version: AtomicU64,
    worker_offset: AtomicU64,
    audit_marked: AtomicU64,
    /// When erasures of projects are tried again that could not be carried out, and the newest of them.
    erasures_again: Mutex<HashMap<i64, (Instant, i64)>>,
    /// How far the clock was ahead of the machine's uptime at the last look, in milliseconds.
    clock_ahead: Mutex<Option<i64>>,
    /// The hour whose signed checkpoint was logged, or in which the process began.
    checkpoint_hour: AtomicI64,
    counters: Mutex<BTreeMap<(i64, Outcome), u64>>,
    rulings: Rulings,
    ledger: SharedLedger,
    /// What several readers of the same events share.
    opened: frames::Opened,
    /// Number of the newest erasure, for whoever waits for one.
    erased: watch::Sender<i64>,
    /// Number of the newest event of each project: what this process stored at once, of others within a second.
    newest: watch::Sender<HashMap<i64, i64>>,
    stop: CancellationToken,
    /// Free bytes of the disk that the collector leaves alone.
    reserve_bytes: u64,
    /// Whether the disk was nearly full at the last look.
    scarce: Mutex<Option<bool>>,
    backup: Option<BackupConfig>,
    /// What the copy of keys and erasures was made of.
    copied: Copied,
    /// Projects that hold as much as they may of what waits.
    held_full: held::Full,
    /// Bytes that the journal may have.
    journal_bound: u64,
}

impl Store {
    /// Opens or makes the data folder and databases, runs migrations, recovers the journal, checks its mark.
    ///
    /// # Errors
    /// A database of a newer schema, a damaged journal, an unwritable folder, pragmas that do not hold: each in one sentence that says what to do.
    pub async fn open(
        config: StoreConfig,
        provider: Arc<dyn KeyProvider>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let keeps = config.upkeep;
        let store = Self::assemble(config, provider, clock, Expects::Journal).await?;
        tokio::spawn(each(LOOK, store.clone(), async |store| {
            // What cannot be read must not keep what was counted from being saved.
            let (seen, saved) = (store.refresh().await, store.save_counters().await);
            let (ruled, erased) = (store.look_for_rulings().await, store.look_for_erasures().await);
            let held = store.look_for_held().await;
            seen.and(saved).and(ruled).and(erased).and(held).and(store.mark_audit().await)
        }));
        tokio::spawn(each(LOOK_FOR_EVENTS, store.clone(), async |store| store.look_for_events().await));
        // Apart, since upkeep may have much to do, and the place of a copy may be far away.
        if keeps {
            tokio::spawn(each(UPKEEP, store.clone(), async |store| store.upkeep().await));
            tokio::spawn(each(UPKEEP, store.clone(), async |store| store.look_for_incidents().await.map(|_| ())));
        }
        tokio::spawn(each(LOOK, store.clone(), async |store| store.keep_ledger_copied().await));
        Ok(store)
    }

    /// The same store, with the name of whoever acts: `os:anna(1001)`, `os:anna(1001) as root(0)`, `token:privacy-desk`.
    #[must_use]
    pub fn acting_as(&self, actor: &str) -> Self {
        Self(self.0.clone(), actor.into())
    }

    pub(crate) fn actor(&self) -> &str {
        &self.1
    }

    /// The installation's clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.0.clock.clone()
    }

    /// Waits for the writers to finish what they have and closes the databases.
    pub async fn close(&self) {
        self.0.stop.cancel();
        let _copied = self.0.copied.end().await;
        if let Err(error) = self.save_counters().await {
            tracing::warn!(%error, "the counters of the last second were not saved");
        }
        if let Err(error) = self.mark_audit().await {
            tracing::warn!(%error, "the audit log's mark was not written");
        }
        self.0.journal.close().await;
        self.0.data.close().await;
        self.0.control.close().await;
    }

    pub(crate) fn all_rulings(&self) -> &Rulings {
        &self.0.rulings
    }

    pub(crate) fn ledger(&self) -> &SharedLedger {
        &self.0.ledger
    }

    pub(crate) fn held_full(&self) -> &held::Full {
        &self.0.held_full
    }

    pub(crate) fn journal_bound(&self) -> u64 {
        self.0.journal_bound
    }

    pub(crate) fn opened_frames(&self) -> &frames::Opened {
        &self.0.opened
    }

    pub(crate) fn erased(&self, number: i64) {
        self.0.erased.send_if_modified(|known| std::mem::replace(known, number) != number);
    }

    /// Number of the newest erasure that this process knows of.
    #[must_use]
    pub fn newest_erasure(&self) -> i64 {
        *self.0.erased.borrow()
    }

    /// Returns when there is a newer erasure than this one.
    pub async fn wait_for_erasure(&self, known: i64) {
        // Fails only when the store is gone.
        self.0.erased.subscribe().wait_for(|number| *number > known).await.ok();
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.0.keys
    }

    pub(crate) fn ring(&self) -> &Arc<KeyRing> {
        self.0.keys.ring()
    }

    pub(crate) fn control(&self) -> &Database {
        &self.0.control
    }

    pub(crate) fn data(&self) -> &Database {
        &self.0.data
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        &*self.0.journal
    }

    /// Whether a project's open erasures are to be tried now.
    pub(crate) fn is_tried_again(&self, project: i64, newest: i64) -> bool {
        let mut again = self.0.erasures_again.lock().unwrap_or_else(PoisonError::into_inner);
        // One that came since may have nothing to do with what is damaged.
        let is_due = again.get(&project).is_none_or(|(time, tried)| *time <= Instant::now() || *tried != newest);
        if is_due {
            again.remove(&project);
        }
        is_due
    }

    /// A project's open erasures are tried again after a while: what is in their way is damaged, and looking costs much.
    pub(crate) fn try_again_later(&self, project: i64, newest: i64) {
        let time = Instant::now() + ERASE_AGAIN;
        self.0.erasures_again.lock().unwrap_or_else(PoisonError::into_inner).insert(project, (time, newest));
    }

    /// What was in the way of a project's erasures is not any more.
    pub(crate) fn try_again_now(&self, project: i64) {
        self.0.erasures_again.lock().unwrap_or_else(PoisonError::into_inner).remove(&project);
    }

    /// Takes over how far the clock is ahead of the machine's uptime; returns what it was at the last look.
    pub(crate) fn clock_to_uptime(&self, ahead: i64) -> Option<i64> {
        self.0.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner).replace(ahead)
    }

    pub(crate) fn counters(&self) -> MutexGuard<'_, BTreeMap<(i64, Outcome), u64>> {
        self.0.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keys_in_memory(&self) -> Arc<KeyCache> {
        self.0.projects.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_control(&self, version: u64, cache: KeyCache) {
        *self.0.projects.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(cache);
        self.0.control_version.store(version, Ordering::Release);
    }

    /// Tells whoever waits that the worker stands at this offset, and the newest events of projects.
    pub(crate) fn stored(&self, offset: u64, newest: impl Iterator<Item = (i64, i64)>) {
        self.0.worker_offset.store(offset, Ordering::Release);
        self.0.newest.send_modify(|known| known.extend(newest));
    }

    /// Takes over what other processes stored, where somebody waits for events.
    async fn look_for_events(&self) -> Result<(), StoreError> {
        if self.0.newest.receiver_count() == 0 {
            return Ok(());
        }
        let found = self.all_last_events().await?;
        self.0.newest.send_if_modified(|known| {
            let mut risen = false;
            for (project, number) in found {
                let last = known.entry(project).or_default();
                risen |= number > *last;
                *last = number.max(*last);
            }
            risen
        });
        Ok(())
    }

    /// Whether the journal's queue takes so many bytes now: asked before parsing.
    ///
    /// # Errors
    /// `Full` with the reason: queue, journal bound, disk reserve, failing disk.
    pub fn journal_has_room(&self, bytes: usize) -> Result<(), StoreError> {
        self.0.journal.has_room(bytes)
    }

    /// Appends a record and returns when it is on disk and synced.
    ///
    /// # Errors
    /// `Full` or `Database`; then the record does not count as accepted.
    pub async fn journal_append(&self, record: Bytes) -> Result<(), StoreError> {
        self.0.journal.append(record).await
    }

    /// The batches after an offset, oldest first, at most so many bytes (one batch at least).
    ///
    /// # Errors
    /// `Unusable` when a batch is damaged or the chain is broken.
    pub async fn journal_read(&self, after: u64, max_bytes: usize) -> Result<Vec<JournalBatch>, StoreError> {
        self.0.journal.read(after, max_bytes).await
    }

    /// Returns when the journal has a batch after this offset.
    pub async fn journal_wait(&self, after: u64) {
        self.0.journal.wait(after).await;
    }

    /// Returns when the project has an event after this number. Events that another process stores are noticed within a second.
    pub async fn wait_for_event(&self, project: i64, after: i64) {
        let mut newest = self.0.newest.subscribe();
        match self.last_event(project).await {
            Ok(last) if last > after => return,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot look for new events"),
        }
        // Fails only when the store is gone.
        newest.wait_for(|newest| newest.get(&project).is_some_and(|last| *last > after)).await.ok();
    }

    /// A number that rises with every change of projects, settings and destinations.
    #[must_use]
    pub fn control_version(&self) -> u64 {
        self.0.control_version.load(Ordering::Acquire)
    }

    /// The visitor of identity mode `none`: HMAC under a secret that changes each UTC day, over project, address and user agent.
    #[must_use]
    pub fn derived_visitor(&self, project: i64, address: &str, user_agent: &str, now: Timestamp) -> String {
        let purpose = format!("visitor {}", now.day());
        let message = format!("{project}\n{address}\n{user_agent}");
        self.ring().mac(&purpose, message.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Health for `/healthz`, `/readyz` and `/metrics`.
    #[must_use]
    pub fn health(&self) -> Health {
        let journal = self.0.journal.health();
        Health {
            failing: journal.failing,
            queue_bytes: journal.queue_bytes,
            journal_bytes: journal.journal_bytes,
            journal_offset: journal.offset,
            worker_offset: self.0.worker_offset.load(Ordering::Acquire),
        }
    }
}

/// Does something again and again until the store is closed.
async fn each(time: Duration, store: Store, act: impl AsyncFn(&Store) -> Result<(), StoreError>) {
    loop {
        tokio::select! {
            () = store.0.stop.cancelled() => return,
            () = tokio::time::sleep(time) => {}
        }
        if let Err(error) = act(&store).await
            && !store.0.stop.is_cancelled()
        {
            tracing::warn!(%error, "upkeep of the store failed; it is tried again");
        }
    }
}
