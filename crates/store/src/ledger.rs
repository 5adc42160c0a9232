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
use crate::people::{self, HASH, OfFrame, PersonHash, PersonHasher};

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
    /// What happened or was received up to a time, or is stored up to an event number, by person.
    persons: HashMap<PersonHash, (Timestamp, i64)>,
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
    /// Whether what a person did at this time is erased; of what is stored the number decides as well, whatever the clock said.
    fn is_erased(&self, hash: &PersonHash, (since, number): (Timestamp, Option<i64>)) -> bool {
        let erased = self.persons.get(hash);
        erased.is_some_and(|(made, through)| since <= *made || number.is_some_and(|number| number <= *through))
    }

    /// Whether an event of this visitor, user and time is erased, with its number where it is stored.
    pub(crate) fn erases(
        &self,
        hasher: &PersonHasher,
        project: i64,
        (visitor, user): (&str, Option<&str>),
        when: (Timestamp, Option<i64>),
    ) -> bool {
        if self.all.is_some_and(|(made, _)| when.0 <= made) {
            return true;
        }
        !self.persons.is_empty()
            && (self.is_erased(&hasher.of(project, "visitor", visitor), when)
                || user.is_some_and(|user| self.is_erased(&hasher.of(project, "user", user), when)))
    }

    pub(crate) fn erases_event(&self, hasher: &PersonHasher, project: i64, event: &NewEvent) -> bool {
        self.erases(hasher, project, (&event.visitor, event.user.as_deref()), (event.since, None))
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

    /// Whether a frame may hold events that are erased.
    pub(crate) fn concerns(&self, frame: OfFrame, filter: &[u8]) -> bool {
        frame.1 <= self.open_through && people::may_hold_any(frame, filter, self.open.iter())
    }

    /// Whom of those that are not carried out yet a frame may hold.
    pub(crate) fn held_in(&self, frame: OfFrame, filter: &[u8]) -> Vec<PersonHash> {
        // What came after somebody's erasure is none of what it is about.
        let before = |hash: &PersonHash| self.persons.get(hash).is_some_and(|(_, through)| frame.1 <= *through);
        let open = self.open.iter().filter(|hash| before(hash));
        open.filter(|hash| people::may_hold_any(frame, filter, [*hash].into_iter())).copied().collect()
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
    pub fn is_erased(&self, project: i64, (visitor, user): (&str, Option<&str>), since: Timestamp) -> bool {
        let ledger = self.ledger().now().of(project);
        ledger.is_some_and(|ledger| ledger.erases(&self.hasher(), project, (visitor, user), (since, None)))
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
                    KeyEnd::All(..) => {
                        let (time, number) = of.all.unwrap_or((made, through));
                        of.all = Some((time.max(made), number.max(through)));
                    }
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
            // A later entry may be of an earlier time, where the clock was set back.
            let (time, number) = of.persons.get(hash).copied().unwrap_or((made, through));
            of.persons.insert(*hash, (time.max(made), number.max(through)));
            if is_open {
                of.open.push(*hash);
                of.open_through = of.open_through.max(through);
            }
        }
        let projects = projects.into_iter().map(|(project, ledger)| (project, Arc::new(ledger))).collect();
        // What reads knows of everything at once, since the keys' provider may be away; what stores waits for the keys.
        let mut ledger = Ledger { number: known.number, newest: number, open: shape, projects };
        self.put_ledger(ledger.clone());
        let mut seen_to = number;
        for (project, ends) in ends {
            // Another process may have done it all: what is in memory here is gone as well.
            self.keyring().forget_project(project);
            if let Err(error) = self.end_keys(project, &ends).await {
                tracing::error!(%error, project, "keys that are to end cannot be destroyed; nothing is stored until they are");
                seen_to = known.number;
            }
        }
        ledger.number = seen_to;
        self.put_ledger(ledger);
        self.erased(seen_to);
        Ok(())
    }

    fn put_ledger(&self, ledger: Ledger) {
        *self.ledger().ledger.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ledger);
    }
}
