//! The ledger of erasures in memory: asked by whatever reads or writes events, so that what was erased is gone at once.
//!
//! It says, too, which keys are to end. A process that meets such an entry sees to it before it takes the entry over: nothing is
//! sealed any more by a key that is going, since the worker's transaction asks for the newest entry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use convizit_model::{NewEvent, Timestamp};
use serde::Deserialize;
use sqlx::query;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};
use crate::key_ends::KeyEnd;
use crate::people::{self, HASH, PersonHash, PersonHasher};

/// The ledger as this process knows it.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    /// Number of the newest erasure of any project whose keys are seen to: nothing is stored without knowing of the newest.
    pub(crate) number: i64,
    /// Number of the newest erasure.
    pub(crate) newest: i64,
    open: i64,
    projects: HashMap<i64, Arc<ProjectLedger>>,
}

/// What was erased of one project.
#[derive(Default)]
pub(crate) struct ProjectLedger {
    /// What happened or was received up to a time, by person.
    persons: HashMap<PersonHash, Timestamp>,
    /// The whole dataset up to a time and an event number.
    all: Option<(Timestamp, i64)>,
    /// Frames up to this number may hold what is erased.
    open_through: i64,
    /// Those that are not carried out in every frame yet.
    open: Vec<PersonHash>,
    /// Days of which the key was destroyed, and the event number up to which that key has sealed.
    ended_days: Vec<(i64, i64)>,
    /// The event number up to which a version of the project's key, that was destroyed, may have wrapped keys of days.
    keys_through: i64,
    /// Number of the newest erasure.
    pub(crate) number: i64,
}

/// What an event says of whose it is.
#[derive(Deserialize)]
pub(crate) struct Whose<'a> {
    #[serde(borrow)]
    pub(crate) visitor: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) user: Option<std::borrow::Cow<'a, str>>,
    time: Timestamp,
    received: Timestamp,
}

impl Whose<'_> {
    /// Of an event as it is stored.
    pub(crate) fn of(json: &[u8]) -> Option<Whose<'_>> {
        serde_json::from_slice(json).ok()
    }

    pub(crate) fn since(&self) -> Timestamp {
        self.time.min(self.received)
    }
}

impl ProjectLedger {
    /// Whether what a person did at this time is erased.
    fn is_erased(&self, hash: &PersonHash, since: Timestamp) -> bool {
        self.persons.get(hash).is_some_and(|made| since <= *made)
    }

    /// Whether an event of this visitor, user and time is erased.
    pub(crate) fn erases(
        &self,
        hasher: &PersonHasher,
        project: i64,
        (visitor, user): (&str, Option<&str>),
        since: Timestamp,
    ) -> bool {
        if self.all.is_some_and(|(made, _)| since <= made) {
            return true;
        }
        !self.persons.is_empty()
            && (self.is_erased(&hasher.of(project, "visitor", visitor), since)
                || user.is_some_and(|user| self.is_erased(&hasher.of(project, "user", user), since)))
    }

    pub(crate) fn erases_event(&self, hasher: &PersonHasher, project: i64, event: &NewEvent) -> bool {
        self.erases(hasher, project, (&event.visitor, event.user.as_deref()), event.since)
    }

    /// The event number up to which the whole dataset was erased.
    pub(crate) fn erased_through(&self) -> i64 {
        self.all.map_or(0, |(_, through)| through)
    }

    /// The event number up to which the key of a day may be missing, since what wrapped it was destroyed.
    pub(crate) fn keys_through(&self) -> i64 {
        self.keys_through
    }

    /// Whether a frame is of a dataset that was erased, or was sealed by a key of its day that was destroyed.
    pub(crate) fn has_ended(&self, day: i64, last: i64) -> bool {
        last <= self.erased_through()
            || self.ended_days.iter().any(|(ended, through)| *ended == day && last <= *through)
    }

    /// Days of which the key was destroyed, and the event number up to which that key has sealed.
    pub(crate) fn ended_days(&self) -> &[(i64, i64)] {
        &self.ended_days
    }

    /// Whether a frame that begins with this number may hold events that are erased.
    pub(crate) fn concerns(&self, first: i64, filter: &[u8]) -> bool {
        first <= self.open_through && self.open.iter().any(|hash| people::may_hold(filter, hash))
    }
}

impl Ledger {
    /// Whether all keys that it ends are gone.
    pub(crate) fn is_whole(&self) -> bool {
        self.number == self.newest
    }

    pub(crate) fn of(&self, project: i64) -> Option<Arc<ProjectLedger>> {
        self.projects.get(&project).cloned()
    }
}

/// The ledger, exchanged whole when it grows.
#[derive(Default)]
pub(crate) struct SharedLedger {
    ledger: RwLock<Arc<Ledger>>,
    /// One reading after the other, so that none puts an older ledger in the place of a newer one.
    reading: tokio::sync::Mutex<()>,
}

impl SharedLedger {
    pub(crate) fn now(&self) -> Arc<Ledger> {
        self.ledger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store {
    /// Whether everything that a visitor, and the site's own user, sent at this time was erased since: nothing may be made of it.
    #[must_use]
    pub fn is_erased(&self, project: i64, (visitor, user): (&str, Option<&str>), received: Timestamp) -> bool {
        let ledger = self.ledger().now().of(project);
        ledger.is_some_and(|ledger| ledger.erases(&self.hasher(), project, (visitor, user), received))
    }

    pub(crate) fn hasher(&self) -> PersonHasher {
        PersonHasher(self.ring().mac_key("person"))
    }

    /// Takes over what was erased since the last look.
    pub(crate) async fn look_for_erasures(&self) -> Result<(), StoreError> {
        const NAME: &str = "read ledger of erasures";
        let _one = self.ledger().reading.lock().await;
        let known = self.ledger().now();
        let row = query("SELECT COALESCE(MAX(number), 0), COUNT(*) FROM erasures")
            .fetch_one(self.data().readers())
            .await
            .during(NAME)?;
        let open: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM erasures WHERE state = 'open'")
            .fetch_one(self.data().readers())
            .await
            .during(NAME)?;
        let (number, count): (i64, i64) = (row.read(0)?, row.read(1)?);
        // A ledger that lost its oldest entries is read anew as well.
        let shape = open + (count << 24);
        if known.number == number && known.open == shape && known.is_whole() {
            return Ok(());
        }
        let rows = query("SELECT number, project, kind, person, made, through, state FROM erasures ORDER BY number")
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
        let mut projects: HashMap<i64, ProjectLedger> = HashMap::new();
        let mut ends: BTreeMap<i64, Vec<KeyEnd>> = BTreeMap::new();
        for row in rows {
            let project: i64 = row.read(1)?;
            let of = projects.entry(project).or_default();
            let made = Timestamp::from_millis(row.read(4)?);
            let (kind, person, through): (&str, &[u8], i64) = (row.read(2)?, row.read(3)?, row.read(5)?);
            of.number = row.read(0)?;
            let is_open = row.read::<&str>(6)? == "open";
            if let Some(end) = KeyEnd::of(kind, person) {
                match end {
                    KeyEnd::All(..) => of.all = Some((made, through)),
                    KeyEnd::Day(day, _) => of.ended_days.push((day, through)),
                    KeyEnd::Version(_) => of.keys_through = of.keys_through.max(through),
                }
                if of.number > known.number {
                    let ends = ends.entry(project).or_default();
                    if is_open {
                        ends.push(end);
                    }
                }
                continue;
            }
            let Some(hash) = person.first_chunk::<HASH>() else { continue };
            of.persons.insert(*hash, made);
            if is_open {
                of.open.push(*hash);
                of.open_through = of.open_through.max(through);
            }
        }
        let mut seen_to = number;
        for (project, ends) in ends {
            // Another process may have done it all: what is in memory here is gone as well.
            self.keyring().forget_project(project);
            if let Err(error) = self.end_keys(project, &ends).await {
                tracing::error!(%error, project, "keys that are to end cannot be destroyed; nothing is stored until they are");
                seen_to = known.number;
            }
        }
        let projects = projects.into_iter().map(|(project, ledger)| (project, Arc::new(ledger))).collect();
        // What reads knows of everything; what stores waits for the keys.
        let ledger = Ledger { number: seen_to, newest: number, open: shape, projects };
        *self.ledger().ledger.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ledger);
        self.erased(seen_to);
        Ok(())
    }
}
