//! The installation's keys: wrapped in the control database, opened in memory, made ahead of their time.
//!
//! Whoever seals or opens takes a handle first, since a key may have to be read, unwrapped or made; with the handle, sealing
//! neither waits nor fails. A new version of a project's key seals only after a minute, so that every process knows it by then.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use convizit_keys::{Binding, DataKey, KeyError, KeyProvider, KeyRing, Place, ProjectKeys, Wrapped};
use convizit_model::{Clock, Timestamp};
use sqlx::query;

use crate::audit::{self, Entry};
use crate::database::Database;
use crate::error::{Columns as _, During, StoreError, pairs};
use crate::key_ends::still_living;
use crate::key_table::{check_wrapper, gone, insert, installation, make, unwrap_all};

/// After so long every process of the installation knows what another wrote.
const KNOWN_EVERYWHERE: i64 = 60_000;
/// Keys of days in memory, about 1 KiB each; beyond it all are read anew.
const DAYS: usize = 8192;
/// Uses of the provider that wait for the audit log at most.
const UNWRITTEN: usize = 10_000;
/// The actor of what the product does by itself.
pub(crate) const SYSTEM: &str = "system";

/// The installation's keys.
pub(crate) struct Keyring {
    ring: Arc<KeyRing>,
    provider: Arc<dyn KeyProvider>,
    control: Database,
    clock: Arc<dyn Clock>,
    projects: RwLock<HashMap<i64, Arc<ProjectKeys>>>,
    days: RwLock<HashMap<(i64, i64), Arc<DataKey>>>,
    /// Rises whenever keys in memory are forgotten: what was read before that is not put there.
    forgotten: AtomicU64,
    /// Uses that the audit log has not yet.
    unwritten: Mutex<Vec<Entry>>,
    /// The hour in which the provider was asked for its keys.
    asked: std::sync::atomic::AtomicI64,
    /// The hour in which rows were last looked through for what old keys have sealed.
    resealed: std::sync::atomic::AtomicI64,
    /// The minute in which a key that did not open was last written down.
    refused: std::sync::atomic::AtomicI64,
}

/// Where the wrapped key of a day lies.
pub(crate) fn day_place(row: &[u8; 8]) -> Place<'_> {
    Place { table: "keys", purpose: "day", row }
}

impl Keyring {
    /// Opens the installation's keys, or makes them when there are none.
    pub(crate) async fn open(
        provider: Arc<dyn KeyProvider>,
        control: Database,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let installation = installation(&control).await?;
        let wrappers: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT wrapped_by FROM keys WHERE kind <> 'day' AND wrapped_by <> 'destroyed' ORDER BY wrapped_by")
                .fetch_all(control.readers())
                .await
                .during("read keys")?;
        let now = clock.now();
        if wrappers.is_empty() {
            // Before anything is wrapped by what may be another installation's.
            provider.claim(&installation).await?;
            if provider.versions().await?.is_empty() {
                provider.rotate(now).await?;
            }
        }
        // Made and unwrapped without the audit log, whose own chain needs the root secret; said in it afterwards.
        let root = Binding { installation, purpose: "root", project: 0, version: 1 };
        let own = Binding { installation, purpose: "project", project: 0, version: 1 };
        let newest = provider.versions().await?.into_iter().next();
        let made =
            make(&control, &*provider, &root, (now, now)).await? | make(&control, &*provider, &own, (now, now)).await?;
        let secret = unwrap_all(&control, &*provider, &root).await?;
        let root = secret.into_iter().next().ok_or_else(|| gone("root secret"))?;
        let own = unwrap_all(&control, &*provider, &own).await?;
        // A key that others were wrapped by and that is gone stops the start, before anything is written.
        for wrapper in &wrappers {
            check_wrapper(&control, &*provider, installation, wrapper).await?;
        }
        provider.claim(&installation).await?;
        let keyring = Self {
            ring: Arc::new(KeyRing::new(installation, &root.secret, own)?),
            provider,
            control,
            clock,
            projects: RwLock::default(),
            days: RwLock::default(),
            forgotten: AtomicU64::new(0),
            unwritten: Mutex::default(),
            asked: std::sync::atomic::AtomicI64::new(i64::MIN),
            resealed: std::sync::atomic::AtomicI64::new(i64::MIN),
            refused: std::sync::atomic::AtomicI64::new(i64::MIN),
        };
        let mut uses = vec![("key.unwrap", "root", 0), ("key.unwrap", "project", 0)];
        if newest.is_some() && keyring.provider.versions().await?.into_iter().next() != newest {
            uses.push(("key.rotate", "key-encryption key", 0));
        }
        if made {
            uses.extend([("key.wrap", "root", 0), ("key.wrap", "project", 0)]);
        }
        let entries = uses.into_iter().map(|(act, purpose, project)| keyring.used(act, purpose, project, 1)).collect();
        keyring.note(entries).await;
        if keyring.ring.own().sealing(now).is_err() {
            keyring.new_version(0, (now, now)).await?;
            keyring.refresh().await?;
        }
        Ok(keyring)
    }

    pub(crate) fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    pub(crate) fn provider(&self) -> &Arc<dyn KeyProvider> {
        &self.provider
    }

    /// Writes uses of the provider down. Where a full disk refuses that, they wait in memory: reading must go on.
    async fn note(&self, entries: Vec<Entry>) {
        let mut all = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        all.extend(entries);
        if let Err(error) = audit::write(&self.control, &self.ring, all.clone()).await {
            tracing::warn!(%error, uses = all.len(), "uses of the key provider wait for the audit log");
            all.truncate(UNWRITTEN);
            self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).splice(0..0, all);
        }
    }

    /// Writes down what could not be written before.
    pub(crate) async fn write_uses(&self) {
        if !self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.note(Vec::new()).await;
        }
    }

    /// What the audit log says of a use of the provider.
    pub(crate) fn used(&self, act: &'static str, purpose: &str, project: i64, version: u32) -> Entry {
        Entry {
            time: self.clock.now(),
            actor: SYSTEM.to_owned(),
            act,
            project: String::new(),
            subject: format!("{purpose}/{project}/{version}"),
            detail: self.provider.name().to_owned(),
        }
    }

    /// The keys of a project; 0 are the installation's own. Makes a version when there is none that may seal.
    pub(crate) async fn project(&self, number: i64) -> Result<Arc<ProjectKeys>, StoreError> {
        if number == 0 {
            return Ok(self.ring.own());
        }
        if let Some(keys) = self.projects.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
            return Ok(Arc::clone(keys));
        }
        let begun = self.forgotten.load(Ordering::Acquire);
        let mut keys = self.read_project(number).await?;
        let now = self.clock.now();
        if keys.newest().is_none() && !self.is_project(number).await? {
            return Err(StoreError::not_found("key of project number", number));
        }
        if keys.sealing(now).is_err() {
            // At once, since no other seals.
            self.new_version(number, (now, now)).await?;
            keys = self.read_project(number).await?;
        }
        let keys = Arc::new(keys);
        let mut known = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        if self.forgotten.load(Ordering::Acquire) == begun {
            known.insert(number, Arc::clone(&keys));
            return Ok(keys);
        }
        drop(known);
        // A key was destroyed while these were read: read again, since they may hold it.
        Box::pin(self.project(number)).await
    }

    /// A project that was removed gets no key again.
    async fn is_project(&self, number: i64) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT number FROM projects WHERE number = $1")
            .bind(number)
            .fetch_optional(self.control.readers())
            .await
            .during("find project")?;
        Ok(found.is_some())
    }

    async fn read_project(&self, number: i64) -> Result<ProjectKeys, StoreError> {
        let versions = match unwrap_all(&self.control, &*self.provider, &self.ring.binding(number, 1)).await {
            Err(StoreError::Keys(KeyError::Unwrap { kek, problem })) => {
                // Once a minute: whoever needs the key asks again and again.
                let minute = self.clock.now().as_millis() / 60_000;
                if self.refused.swap(minute, Ordering::Relaxed) != minute {
                    let detail = format!("{}: {kek} does not unwrap it: {problem}", self.provider.name());
                    self.note(vec![Entry { detail, ..self.used("key.refuse", "project", number, 0) }]).await;
                }
                let problem = format!("{problem} (it wraps the key of project number {number})");
                return Err(KeyError::Unwrap { kek, problem }.into());
            }
            unwrapped => unwrapped?,
        };
        self.note(versions.iter().map(|key| self.used("key.unwrap", "project", number, key.number)).collect()).await;
        Ok(self.ring.project(number, versions))
    }

    /// Makes the next version of a project's key, unless another process was first.
    async fn new_version(&self, project: i64, times: (Timestamp, Timestamp)) -> Result<u32, StoreError> {
        let newest: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM keys WHERE project = $1 AND kind = 'project'")
                .bind(project)
                .fetch_one(self.control.readers())
                .await
                .during("read keys")?;
        let next = u32::try_from(newest + 1).map_err(|_| gone("a key's version"))?;
        let binding = self.ring.binding(project, next);
        if make(&self.control, &*self.provider, &binding, times).await? {
            audit::write(&self.control, &self.ring, vec![self.used("key.wrap", "project", project, next)]).await?;
        }
        Ok(next)
    }

    fn known_day(&self, project: i64, day: i64) -> Option<Arc<DataKey>> {
        self.days.read().unwrap_or_else(PoisonError::into_inner).get(&(project, day)).cloned()
    }

    /// Puts a key into memory, unless keys were forgotten since a moment.
    fn learn_day(&self, project: i64, day: i64, key: DataKey, begun: u64) -> Option<Arc<DataKey>> {
        let key = Arc::new(key);
        let mut days = self.days.write().unwrap_or_else(PoisonError::into_inner);
        if self.forgotten.load(Ordering::Acquire) != begun {
            return None;
        }
        if days.len() >= DAYS {
            days.clear();
        }
        days.insert((project, day), Arc::clone(&key));
        Some(key)
    }

    /// The key of a project's day, to open what it sealed.
    ///
    /// # Errors
    /// `KeyGone` when it was destroyed.
    pub(crate) async fn day(&self, project: i64, day: i64) -> Result<Arc<DataKey>, StoreError> {
        if let Some(key) = self.known_day(project, day) {
            return Ok(key);
        }
        let begun = self.forgotten.load(Ordering::Acquire);
        let wrapped: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT wrapped FROM keys WHERE project = $1 AND kind = 'day' AND number = $2")
                .bind(project)
                .bind(day)
                .fetch_optional(self.control.readers())
                .await
                .during("read key of a day")?;
        let wrapped = wrapped.ok_or(StoreError::KeyGone { project, day })?;
        let keys = self.project(project).await?;
        let opened = match keys.open_key(day_place(&day.to_be_bytes()), &wrapped) {
            // Rotated by another process since, or destroyed with what has wrapped it.
            Err(KeyError::Unknown { .. }) => {
                self.forget_project(project);
                let keys = self.project(project).await?;
                let opened = match keys.open_key(day_place(&day.to_be_bytes()), &wrapped) {
                    Err(KeyError::Unknown { .. }) => return Err(StoreError::KeyGone { project, day }),
                    opened => opened?,
                };
                let begun = self.forgotten.load(Ordering::Acquire);
                return self.learn_day(project, day, opened, begun).ok_or(StoreError::KeyGone { project, day });
            }
            opened => opened?,
        };
        match self.learn_day(project, day, opened, begun) {
            Some(key) => Ok(key),
            None => Box::pin(self.day(project, day)).await,
        }
    }

    /// The key of a project's day, to seal with: made when there is none.
    pub(crate) async fn day_to_seal(&self, project: i64, day: i64) -> Result<Arc<DataKey>, StoreError> {
        match self.day(project, day).await {
            Err(StoreError::KeyGone { .. }) => {
                match self.make_days(&[project], day).await {
                    // The version that was to wrap it was destroyed meanwhile.
                    Err(StoreError::Moved { .. }) => {
                        self.refresh().await?;
                        self.make_days(&[project], day).await?;
                    }
                    made => made?,
                }
                self.day(project, day).await
            }
            found => found,
        }
    }

    /// Makes the keys of a day for projects that have none yet.
    pub(crate) async fn make_days(&self, projects: &[i64], day: i64) -> Result<(), StoreError> {
        const NAME: &str = "make keys of a day";
        let mut rows = Vec::with_capacity(projects.len());
        let now = self.clock.now();
        for project in projects {
            let keys = self.project(*project).await?;
            let (_, wrapped) = keys.new_key(now, day_place(&day.to_be_bytes()))?;
            rows.push((*project, keys.sealing(now)?, wrapped));
        }
        self.control
            .run_tx(NAME, move |connection| {
                let rows = rows.clone();
                Box::pin(async move {
                    for (project, version, wrapped) in rows {
                        still_living(connection, project, version).await?;
                        let by = format!("project:{version}");
                        insert(connection, (project, "day", day), &Wrapped { kek: by, bytes: wrapped }, (now, now))
                            .await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Writes down a use of the provider, or the end of a key.
    pub(crate) async fn record(
        &self,
        act: &'static str,
        purpose: &str,
        project: i64,
        version: u32,
    ) -> Result<(), StoreError> {
        audit::write(&self.control, &self.ring, vec![self.used(act, purpose, project, version)]).await
    }

    /// Whether the provider is to be asked again: once an hour.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let asked = self.asked.swap(now.hour(), std::sync::atomic::Ordering::Relaxed);
        asked != now.hour()
    }

    /// Whether rows are to be looked through again for what old keys have sealed: once an hour.
    pub(crate) fn reseals_now(&self, now: Timestamp) -> bool {
        self.resealed.swap(now.hour(), std::sync::atomic::Ordering::Relaxed) != now.hour()
    }

    /// Forgets a project's keys in memory: they were destroyed, or there are newer ones.
    pub(crate) fn forget_project(&self, project: i64) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.projects.write().unwrap_or_else(PoisonError::into_inner).remove(&project);
        self.days.write().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| *of != project);
    }

    /// Takes over which keys there are: forgets what was destroyed elsewhere, and learns what was made.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let rows = query(
            "SELECT project, number FROM keys WHERE kind = 'project' AND wrapped_by <> 'destroyed' ORDER BY number DESC",
        )
        .fetch_all(self.control.readers())
        .await
        .during("look for rotated keys")?;
        let mut living: HashMap<i64, Vec<i64>> = HashMap::new();
        for row in rows {
            living.entry(row.read(0)?).or_default().push(row.read(1)?);
        }
        let is_known = |keys: &ProjectKeys| {
            let living = living.get(&keys.project()).map_or(&[][..], Vec::as_slice);
            keys.numbers().map(i64::from).eq(living.iter().copied())
        };
        if !is_known(&self.ring.own()) {
            self.ring.set_own(unwrap_all(&self.control, &*self.provider, &self.ring.binding(0, 1)).await?);
        }
        let stale: Vec<i64> = {
            let projects = self.projects.read().unwrap_or_else(PoisonError::into_inner);
            projects.iter().filter(|(_, keys)| !is_known(keys)).map(|(number, _)| *number).collect()
        };
        for project in stale {
            self.forget_project(project);
        }
        let rows = query("SELECT project, number FROM keys WHERE kind = 'day'")
            .fetch_all(self.control.readers())
            .await
            .during("look for destroyed keys")?;
        let alive: BTreeSet<(i64, i64)> = pairs(&rows)?;
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.days.write().unwrap_or_else(PoisonError::into_inner).retain(|key, _| alive.contains(key));
        Ok(())
    }

    /// Seals something of the installation itself, whose versions are kept as long as it lives.
    pub(crate) fn seal_own(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(self.ring.own().seal(self.clock.now(), place, plain)?)
    }

    /// Opens what a project's key has sealed.
    pub(crate) async fn open_sealed(
        &self,
        project: i64,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        match self.project(project).await?.open(place, sealed) {
            Err(KeyError::Unknown { .. }) => {
                self.refresh().await?;
                Ok(self.project(project).await?.open(place, sealed)?)
            }
            opened => Ok(opened?),
        }
    }

    /// Makes the next version of a project's key, which seals from a minute on.
    pub(crate) async fn rotate_project(&self, project: i64) -> Result<u32, StoreError> {
        let now = self.clock.now();
        // Where nothing seals any more, the new one must at once.
        let wait = if self.project(project).await?.sealing(now).is_ok() { KNOWN_EVERYWHERE } else { 0 };
        let next = self.new_version(project, (now, now.plus_millis(wait))).await?;
        self.control.run_tx("rotate key", |connection| Box::pin(crate::projects::touch(connection))).await?;
        self.refresh().await?;
        Ok(next)
    }

    /// Makes a version of a project's key behind one that is about to be destroyed, unless there is one that seals.
    pub(crate) async fn renew_project(&self, project: i64, version: i64) -> Result<Arc<ProjectKeys>, StoreError> {
        let now = self.clock.now();
        let later: Option<i64> = sqlx::query_scalar(
            "SELECT number FROM keys WHERE project = $1 AND kind = 'project' AND wrapped_by <> 'destroyed' AND number > $2 LIMIT 1",
        )
        .bind(project)
        .bind(version)
        .fetch_optional(self.control.readers())
        .await
        .during("read keys")?;
        if later.is_none() {
            self.new_version(project, (now, now)).await?;
        }
        self.forget_project(project);
        self.project(project).await
    }

    /// Wraps anew, under the newest key-encryption key, what older ones have wrapped; at most so many keys. Returns how many.
    pub(crate) async fn rewrap(&self, most: i64) -> Result<usize, StoreError> {
        const NAME: &str = "wrap keys anew";
        let versions = self.provider.versions().await?;
        let Some(newest) = versions.first() else { return Ok(0) };
        let rows = query(
            "SELECT project, kind, number, wrapped_by, wrapped FROM keys \
             WHERE kind <> 'day' AND wrapped_by <> $1 AND wrapped_by <> 'destroyed' ORDER BY project, kind, number LIMIT $2",
        )
        .bind(newest.id.as_str())
        .bind(most)
        .fetch_all(self.control.readers())
        .await
        .during(NAME)?;
        let mut count = 0;
        for row in rows {
            let (project, number): (i64, i64) = (row.read(0)?, row.read(2)?);
            let kind = if row.read::<&str>(1)? == "root" { "root" } else { "project" };
            let version = u32::try_from(number).map_err(|_| gone("a key's version"))?;
            let binding = Binding { purpose: kind, ..self.ring.binding(project, version) };
            let before = Wrapped { kek: row.read(3)?, bytes: row.read(4)? };
            let secret = match self.provider.unwrap(&binding, &before).await {
                // One that is damaged keeps no other from being wrapped anew.
                Err(error @ KeyError::Unwrap { .. }) => {
                    tracing::warn!(%error, project, kind, version, "a key cannot be unwrapped and stays as it is");
                    continue;
                }
                secret => secret?,
            };
            let after = self.provider.wrap(&binding, &secret).await?;
            let entries =
                vec![self.used("key.unwrap", kind, project, version), self.used("key.wrap", kind, project, version)];
            let ring = self.ring.clone();
            self.control
                .run_tx(NAME, move |connection| {
                    let (before, after, ring, entries) = (before.clone(), after.clone(), ring.clone(), entries.clone());
                    Box::pin(async move {
                        query(
                            "UPDATE keys SET wrapped = $1, wrapped_by = $2 \
                             WHERE project = $3 AND kind = $4 AND number = $5 AND wrapped_by = $6",
                        )
                        .bind(after.bytes.as_slice())
                        .bind(after.kek.as_str())
                        .bind(project)
                        .bind(kind)
                        .bind(number)
                        .bind(before.kek.as_str())
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                        audit::append(connection, &ring, &entries).await
                    })
                })
                .await?;
            count += 1;
        }
        Ok(count)
    }
}
