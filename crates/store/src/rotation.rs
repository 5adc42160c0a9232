//! Keys over time: rotated before they are too old, wrapped and sealed anew, made ahead for tomorrow, destroyed when nothing needs
//! them.

use convizit_keys::{KEK_DAYS, KeyError, PROJECT_KEY_DAYS, Place, version_of};
use convizit_model::time::DAY_MILLIS;
use convizit_model::{NoticeKind, StateKind, StateRow, Timestamp};
use sqlx::query;

use crate::Store;
use crate::destinations::{body_of, secret_of};
use crate::error::{Columns as _, During, StoreError};
use crate::key_ends::{same_ledger, still_living};
use crate::key_table::destroy_version;
use crate::keyring::day_place;
use crate::projects::touch;
use crate::work::{body_of_state, state_row};

/// Days before its end at which a key is rotated.
pub(crate) const AHEAD_DAYS: i64 = 7;
/// Keys that are wrapped anew in one round of upkeep.
const REWRAPS: i64 = 200;
/// Rows that are sealed anew in one step.
const STEP: i64 = 200;
/// A new version seals within this time.
const SEALS_SOON: i64 = 10 * 60_000;
/// Within this time after a new version seals, what the old one has sealed is sealed anew: upkeep looks each hour.
const SEALED_ANEW: i64 = DAY_MILLIS;
/// Before the end of a day, the keys of the next are made.
const HOUR: i64 = 3_600_000;

/// What is sealed of a destination.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    Body,
    Secret,
}

impl Column {
    pub(crate) fn place(self, name: &str) -> Place<'_> {
        match self {
            Self::Body => body_of(name),
            Self::Secret => secret_of(name),
        }
    }
}

impl Store {
    /// Makes a new version of the key-encryption key, and wraps all keys anew under it. Nothing pauses meanwhile. Returns the new
    /// key's id and how many keys were wrapped anew.
    ///
    /// # Errors
    /// `Keys` when the provider makes no versions here; `Database`.
    pub async fn rotate_kek(&self) -> Result<(String, usize), StoreError> {
        self.audit("key.rotate", "", "key-encryption key", self.keyring().provider().name()).await?;
        let kek = self.keyring().provider().rotate(self.clock().now()).await?;
        let mut count = 0;
        loop {
            let rewrapped = self.keyring().rewrap(REWRAPS).await?;
            count += rewrapped;
            if rewrapped == 0 {
                self.copy_ledger_soon().await;
                return Ok((kek.id, count));
            }
        }
    }

    /// Makes a new version of a project's key (0 for the installation's own); it seals from a minute on.
    ///
    /// # Errors
    /// `Keys`, `Database`.
    pub async fn rotate_project_key(&self, project: i64) -> Result<u32, StoreError> {
        self.audit_rotation(project, String::new()).await?;
        self.keyring().rotate_project(project).await
    }

    async fn audit_rotation(&self, project: i64, detail: String) -> Result<(), StoreError> {
        let projects = self.projects().await?;
        let id = projects.iter().find(|known| known.number == project).map_or("", |known| known.id.as_str());
        self.audit("key.rotate", id, if id.is_empty() { "installation" } else { id }, detail).await
    }

    /// Rotates what is about to be too old. Written down afterwards: what cannot be rotated now is tried with each round of upkeep.
    async fn rotate_for_its_age(&self, project: i64) -> Result<(), StoreError> {
        let version = self.keyring().rotate_project(project).await?;
        self.audit_rotation(project, format!("version {version}, for the age of the one before")).await
    }

    /// What is sealed of a project's destinations.
    pub(crate) async fn sealed_of_destinations(
        &self,
        project: i64,
    ) -> Result<Vec<(Column, String, Vec<u8>)>, StoreError> {
        let rows = query("SELECT name, body, secret FROM destinations WHERE project = $1 ORDER BY name")
            .bind(project)
            .fetch_all(self.control().readers())
            .await
            .during("seal destinations anew")?;
        let mut sealed = Vec::new();
        for row in rows {
            sealed.push((Column::Body, row.read(0)?, row.read(1)?));
            if let Some(secret) = row.read::<Option<Vec<u8>>>(2)? {
                sealed.push((Column::Secret, row.read(0)?, secret));
            }
        }
        Ok(sealed)
    }

    pub(crate) async fn replace_sealed(
        &self,
        project: i64,
        column: Column,
        name: String,
        before: Vec<u8>,
        sealed: Vec<u8>,
    ) -> Result<(), StoreError> {
        const NAME: &str = "seal destinations anew";
        self.control()
            .run_tx(NAME, move |connection| {
                let (name, before, sealed) = (name.clone(), before.clone(), sealed.clone());
                Box::pin(async move {
                    still_living(connection, project, version_of(&sealed).unwrap_or(0)).await?;
                    let sql = match column {
                        Column::Body => {
                            "UPDATE destinations SET body = $1 WHERE project = $2 AND name = $3 AND body = $4"
                        }
                        Column::Secret => {
                            "UPDATE destinations SET secret = $1 WHERE project = $2 AND name = $3 AND secret = $4"
                        }
                    };
                    query(sql)
                        .bind(sealed)
                        .bind(project)
                        .bind(name)
                        .bind(before)
                        .execute(connection)
                        .await
                        .during(NAME)
                        .map(|_| ())
                })
            })
            .await
    }

    /// Keeps the keys: called by upkeep.
    pub(crate) async fn keep_keys(&self) -> Result<(), StoreError> {
        let now = self.clock().now();
        let kept = self.keep_keks(now).await;
        let kept = kept.and(self.keep_project_keys(now).await);
        let ahead =
            if now.plus_millis(HOUR).day() > now.day() { self.make_tomorrow(now.day() + 1).await } else { Ok(()) };
        kept.and(ahead)
    }

    async fn keep_keks(&self, now: Timestamp) -> Result<(), StoreError> {
        // Asked of the provider once an hour: it may be far away.
        if !self.keyring().is_due(now) {
            return Ok(());
        }
        let newest = self.keyring().provider().versions().await?.into_iter().next();
        let old = newest
            .as_ref()
            .and_then(|kek| kek.made)
            .is_some_and(|made| now.since(made) > (KEK_DAYS - AHEAD_DAYS) * DAY_MILLIS);
        if old && let Err(error) = self.rotate_kek().await {
            let text = format!(
                "the key-encryption key will soon be {KEK_DAYS} days old, and then no new key can be wrapped; it cannot be rotated: {error}"
            );
            self.raise(NoticeKind::Keys, None, "key-encryption key", &text).await?;
        }
        while self.keyring().rewrap(REWRAPS).await? > 0 {}
        // The copy holds keys as an old key-encryption key wrapped them until it is written anew.
        self.copy_ledger().await?;
        self.destroy_unneeded_keks().await
    }

    async fn keep_project_keys(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.plus_millis(-(PROJECT_KEY_DAYS - AHEAD_DAYS) * DAY_MILLIS);
        let old: Vec<i64> = sqlx::query_scalar(
            "SELECT project FROM keys WHERE kind = 'project' AND wrapped_by <> 'destroyed' \
             GROUP BY project HAVING COALESCE(MAX(CASE WHEN seals_from <= $2 THEN made END), MIN(made)) < $1 ORDER BY project",
        )
        .bind(before.as_millis())
        // One that a clock that ran ahead has made seals nothing yet; one of this minute seals in a minute.
        .bind(now.plus_millis(SEALS_SOON).as_millis())
        .fetch_all(self.control().readers())
        .await
        .during("find old keys")?;
        let mut kept = Ok(());
        for project in old {
            // One that cannot be rotated must not keep the others from it.
            kept = kept.and(self.rotate_for_its_age(project).await);
        }
        kept
    }

    /// Makes the keys of a day for projects that have none yet.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn make_keys_of_day(&self, projects: &[i64], day: i64) -> Result<(), StoreError> {
        self.keyring().make_days(projects, day).await
    }

    async fn make_tomorrow(&self, day: i64) -> Result<(), StoreError> {
        let without: Vec<i64> = sqlx::query_scalar(
            "SELECT number FROM projects WHERE number NOT IN (SELECT project FROM keys WHERE kind = 'day' AND number = $1)",
        )
        .bind(day)
        .fetch_all(self.control().readers())
        .await
        .during("find projects without tomorrow's key")?;
        let mut made = Ok(());
        for projects in without.chunks(100) {
            if self.keyring().make_days(projects, day).await.is_ok() {
                continue;
            }
            // One whose key does not open must not keep the others from theirs.
            for project in projects {
                made = made.and(self.keyring().make_days(&[*project], day).await);
            }
        }
        made
    }

    /// Wraps the keys of days, and seals rows, anew where an older version of a project's key did; then destroys that version. Only
    /// where the clock is believed: a backup that needs the version is known by its time.
    pub(crate) async fn destroy_unneeded(&self, now: Timestamp) -> Result<(), StoreError> {
        const NAME: &str = "destroy keys that nothing needs";
        // Where backups need old keys for months, looking each time would read the registry for nothing.
        if self.backup_config().is_some() && !self.keyring().reseals_now(now) {
            return Ok(());
        }
        let rows = query(
            "SELECT project, MIN(number), MAX(number) FROM keys WHERE kind = 'project' AND wrapped_by <> 'destroyed' AND project <> 0 \
             GROUP BY project HAVING COUNT(*) > 1",
        )
        .fetch_all(self.control().readers())
        .await
        .during(NAME)?;
        let mut done = Ok(());
        for row in rows {
            let (project, oldest): (i64, i64) = (row.read(0)?, row.read(1)?);
            // What does not open in one project must not keep old keys of the others.
            done = done.and(self.destroy_oldest(project, oldest, now).await);
        }
        done
    }

    /// Destroys the oldest version of a project's key, once nothing needs it.
    async fn destroy_oldest(&self, project: i64, oldest: i64, now: Timestamp) -> Result<(), StoreError> {
        const NAME: &str = "destroy keys that nothing needs";
        let keys = self.keyring().project(project).await?;
        let sealing = keys.sealing(now)?;
        let Ok(oldest) = u32::try_from(oldest) else { return Ok(()) };
        // Other processes seal with the old one until they have learned the new one.
        let settled = keys.newest().is_some_and(|(number, made)| number > sealing || now.since(made) > 10 * 60_000);
        if oldest >= sealing || !settled {
            return Ok(());
        }
        self.rewrap_days(project, oldest, now).await?;
        self.reseal_state(project, oldest, now).await?;
        self.reseal_destinations(project, oldest, now).await?;
        if self.is_needed(project, oldest).await? || self.may_be_in_backups(project, oldest, now).await? {
            return Ok(());
        }
        self.keyring().record("key.destroy", "project", project, oldest).await?;
        self.control()
            .run_tx(NAME, move |connection| {
                Box::pin(async move {
                    destroy_version(connection, project, i64::from(oldest)).await?;
                    touch(connection).await
                })
            })
            .await?;
        self.keyring().forget_project(project);
        Ok(())
    }

    /// Whether backups may be kept that hold rows which a version has sealed: those of the time before the next one sealed, and some
    /// hours, in which upkeep seals rows anew. The schedule alone does not say: none is dropped where backups are off, or frames damaged.
    async fn may_be_in_backups(&self, project: i64, version: u32, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.backups_need_until(project, version, now).await?.is_some())
    }

    /// Until when backups that the schedule keeps may need a version: a time that is over where older ones lie there; `None` where none do.
    pub(crate) async fn backups_need_until(
        &self,
        project: i64,
        version: u32,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(config) = self.backup_config() else { return Ok(None) };
        let superseded: Option<i64> = sqlx::query_scalar(
            "SELECT MIN(seals_from) FROM keys WHERE project = $1 AND kind = 'project' AND number > $2",
        )
        .bind(project)
        .bind(i64::from(version))
        .fetch_one(self.control().readers())
        .await
        .during("find what a key has sealed")?;
        // Nothing has taken its place.
        let since = superseded.map_or(now, Timestamp::from_millis);
        let until = since.plus_millis(config.keep.days() * DAY_MILLIS);
        // Where none are made, those count that lie there.
        if config.makes && until >= now {
            return Ok(Some(until));
        }
        let oldest = self.lying_backups().await?.into_iter().next();
        Ok(oldest.filter(|made| *made <= since.plus_millis(SEALED_ANEW)).map(|_| until))
    }

    /// What is still sealed by a version: quarantined items and ids of the ledger, which go by themselves.
    async fn is_needed(&self, project: i64, version: u32) -> Result<bool, StoreError> {
        let head = version.to_be_bytes().to_vec();
        for sql in [
            "SELECT COUNT(*) FROM quarantine WHERE project = $1 AND substr(body, 1, 4) = $2",
            "SELECT COUNT(*) FROM erasures WHERE project = $1 AND id IS NOT NULL AND substr(id, 1, 4) = $2",
            "SELECT COUNT(*) FROM state WHERE project = $1 AND substr(body, 1, 4) = $2",
        ] {
            let rows: i64 = sqlx::query_scalar(sql)
                .bind(project)
                .bind(head.clone())
                .fetch_one(self.data().readers())
                .await
                .during("find what a key has sealed")?;
            if rows > 0 {
                return Ok(true);
            }
        }
        let days: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM keys WHERE project = $1 AND wrapped_by = $2")
            .bind(project)
            .bind(format!("project:{version}"))
            .fetch_one(self.control().readers())
            .await
            .during("find what a key has wrapped")?;
        Ok(days > 0)
    }

    /// Wraps the keys of days anew that a version has wrapped; returns how many.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn rewrap_days(&self, project: i64, version: u32, now: Timestamp) -> Result<usize, StoreError> {
        const NAME: &str = "wrap keys of days anew";
        let old = format!("project:{version}");
        let mut count = 0;
        loop {
            // Asked for each step: the new version may be destroyed meanwhile, too.
            let keys = self.keyring().project(project).await?;
            let sealing = keys.sealing(now)?;
            let new = format!("project:{sealing}");
            let rows = query(
                "SELECT number, wrapped FROM keys WHERE project = $1 AND wrapped_by = $2 ORDER BY number LIMIT $3",
            )
            .bind(project)
            .bind(old.as_str())
            .bind(STEP)
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?;
            if rows.is_empty() || old == new {
                return Ok(count);
            }
            let mut rewrapped = Vec::with_capacity(rows.len());
            for row in rows {
                let (day, wrapped): (i64, Vec<u8>) = (row.read(0)?, row.read(1)?);
                rewrapped.push((day, keys.rewrap(now, day_place(&day.to_be_bytes()), &wrapped)?));
            }
            count += rewrapped.len();
            let (old, new) = (old.clone(), new.clone());
            self.control()
                .run_tx(NAME, move |connection| {
                    let (rewrapped, old, new) = (rewrapped.clone(), old.clone(), new.clone());
                    Box::pin(async move {
                        still_living(connection, project, sealing).await?;
                        for (day, wrapped) in rewrapped {
                            query(
                                "UPDATE keys SET wrapped = $1, wrapped_by = $2 \
                                 WHERE project = $3 AND kind = 'day' AND number = $4 AND wrapped_by = $5",
                            )
                            .bind(wrapped)
                            .bind(new.as_str())
                            .bind(project)
                            .bind(day)
                            .bind(old.as_str())
                            .execute(&mut *connection)
                            .await
                            .during(NAME)?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
    }

    /// Seals the state rows anew that a version has sealed. One that the worker writes meanwhile is sealed anew by that.
    async fn reseal_state(&self, project: i64, version: u32, now: Timestamp) -> Result<(), StoreError> {
        const NAME: &str = "seal rows anew";
        loop {
            let known = self.ledger().now().number;
            let keys = self.keyring().project(project).await?;
            let rows =
                query("SELECT kind, key, body FROM state WHERE project = $1 AND substr(body, 1, 4) = $2 LIMIT $3")
                    .bind(project)
                    .bind(version.to_be_bytes().to_vec())
                    .bind(STEP)
                    .fetch_all(self.data().readers())
                    .await
                    .during(NAME)?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut resealed = Vec::with_capacity(rows.len());
            for row in rows {
                let (kind, key, before): (i64, i64, Vec<u8>) = (row.read(0)?, row.read(1)?, row.read(2)?);
                let known = StateKind::from_number(kind).ok_or_else(|| {
                    StoreError::Unusable(format!(
                        "state rows of kind {kind} are of a newer convizit: start that version"
                    ))
                })?;
                let state = StateRow { kind: known, key: key.cast_unsigned(), expires_day: None, body: Vec::new() };
                let place = state_row(&state);
                let plain = keys.open(body_of_state(&place), &before)?;
                resealed.push((kind, key, before, keys.seal(now, body_of_state(&place), &plain)?));
            }
            self.data()
                .run_tx(NAME, move |connection| {
                    let resealed = resealed.clone();
                    Box::pin(async move {
                        same_ledger(connection, known).await?;
                        for (kind, key, before, after) in resealed {
                            query("UPDATE state SET body = $1 WHERE project = $2 AND kind = $3 AND key = $4 AND body = $5")
                                .bind(after)
                                .bind(project)
                                .bind(kind)
                                .bind(key)
                                .bind(before)
                                .execute(&mut *connection)
                                .await
                                .during(NAME)?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
    }

    async fn reseal_destinations(&self, project: i64, version: u32, now: Timestamp) -> Result<(), StoreError> {
        let keys = self.keyring().project(project).await?;
        for (column, name, before) in self.sealed_of_destinations(project).await? {
            if version_of(&before) == Some(version) {
                let plain = zeroize::Zeroizing::new(keys.open(column.place(&name), &before)?);
                let sealed = keys.seal(now, column.place(&name), &plain)?;
                self.replace_sealed(project, column, name, before, sealed).await?;
            }
        }
        Ok(())
    }

    /// Destroys versions of the key-encryption key that wrap nothing any more, where the provider can. From the oldest on: some
    /// providers know no other order.
    async fn destroy_unneeded_keks(&self) -> Result<(), StoreError> {
        let provider = self.keyring().provider();
        if !provider.destroys() {
            return Ok(());
        }
        for kek in provider.versions().await?.into_iter().skip(1).rev() {
            let wraps: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM keys WHERE wrapped_by = $1")
                .bind(kek.id.as_str())
                .fetch_one(self.control().readers())
                .await
                .during("find what a key has wrapped")?;
            if wraps > 0 {
                break;
            }
            // Before: no key goes of which the log does not say so.
            self.audit("key.destroy", "", &kek.id, "nothing needs it").await?;
            match provider.destroy(&kek.id).await {
                Ok(()) => {}
                // Or another process was quicker.
                Err(error @ KeyError::Provider { .. }) => {
                    tracing::warn!(key = kek.id, %error, "a key-encryption key that nothing needs is not destroyed; it is tried again in an hour");
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
