//! The end of keys: of a whole dataset, or of one key that two people said must go.
//!
//! It stands in the ledger of erasures first, in one transaction with the end of the rows that the key has sealed; then the key is
//! destroyed. The worker's transaction asks for the ledger's newest entry, and whoever takes an entry over has seen to the keys
//! before: so nothing is stored that a destroyed key has sealed, whichever process was first.

use std::sync::Arc;

use convizit_keys::{KeyError, version_of};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::erasure::{begin, insert, request_id};
use crate::error::{Columns as _, During, StoreError};
use crate::key_table::destroy_version;
use crate::projects::touch;

/// How often something is made anew that has moved meanwhile.
const TRIES: usize = 5;

/// Keys of a project that an entry of the ledger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyEnd {
    /// Of a dataset: the versions of the project's key up to this one, and the keys of days that those have wrapped.
    All(i64),
    /// One version of the project's key.
    Version(i64),
    /// The key of a day, and when it was made: the day may get a new one.
    Day(i64, i64),
}

impl KeyEnd {
    /// Of an entry, where it is one.
    pub(crate) fn of(kind: &str, key: &[u8]) -> Option<Self> {
        let mut numbers = key.chunks(8).map(|bytes| bytes.try_into().map_or(0, i64::from_be_bytes));
        let mut next = || numbers.next().unwrap_or(0);
        match kind {
            "all" => Some(Self::All(next())),
            "key" => Some(Self::Version(next())),
            "day" => Some(Self::Day(next(), next())),
            _ => None,
        }
    }

    /// How the ledger names it, and its numbers as the ledger has them.
    pub(crate) fn entry(self) -> (&'static str, Vec<u8>) {
        match self {
            Self::All(version) => ("all", version.to_be_bytes().to_vec()),
            Self::Version(version) => ("key", version.to_be_bytes().to_vec()),
            Self::Day(day, made) => ("day", [day.to_be_bytes(), made.to_be_bytes()].concat()),
        }
    }

    /// Whether a version of the project's key ends.
    pub(crate) fn ends_version(self, version: i64) -> bool {
        match self {
            Self::All(newest) => version <= newest,
            Self::Version(one) => version == one,
            Self::Day(..) => false,
        }
    }
}

impl Store {
    /// Writes down that keys end, in one transaction with the end of the rows that they have sealed. From then on they are destroyed,
    /// by `take_over_key_ends` here or in any other process.
    pub(crate) async fn write_key_ends(&self, project: i64, ends: Vec<KeyEnd>) -> Result<(), StoreError> {
        const NAME: &str = "end keys";
        let (request, now) = (request_id()?, self.clock().now());
        let ends = Arc::new(ends);
        self.data()
            .run_tx(NAME, move |connection| {
                let (ends, request) = (ends.clone(), request.clone());
                Box::pin(async move {
                    let (mut next, through) = begin(connection, project).await?;
                    for end in &*ends {
                        next += 1;
                        let (kind, number) = end.entry();
                        insert(connection, (next, project, kind, &number, now, through), &request, None).await?;
                        let KeyEnd::Version(version) = *end else { continue };
                        let head = u32::try_from(version).unwrap_or(0).to_be_bytes();
                        for sql in [
                            "DELETE FROM state WHERE project = $1 AND substr(body, 1, 4) = $2",
                            "DELETE FROM quarantine WHERE project = $1 AND substr(body, 1, 4) = $2",
                        ] {
                            query(sql)
                                .bind(project)
                                .bind(head.to_vec())
                                .execute(&mut *connection)
                                .await
                                .during(NAME)?;
                        }
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Takes the ledger over, and says whether the keys that it ends are gone.
    ///
    /// # Errors
    /// `Database` where they are not yet: that is tried again each second.
    pub(crate) async fn take_over_key_ends(&self) -> Result<(), StoreError> {
        self.look_for_erasures().await?;
        if self.ledger().now().is_whole() {
            if let Err(error) = self.control().sweep().await {
                tracing::warn!(%error, "the bytes of destroyed keys go with the next round of upkeep");
            }
            return Ok(());
        }
        Err(StoreError::Database {
            action: "destroy keys",
            problem: "it is written down, and tried again each second; the log says what is in the way".to_owned(),
        })
    }

    pub(crate) async fn open_key_ends(&self, project: i64) -> Result<Vec<KeyEnd>, StoreError> {
        let rows = query("SELECT kind, person FROM erasures WHERE project = $1 AND state = 'open' ORDER BY number")
            .bind(project)
            .fetch_all(self.data().readers())
            .await
            .during("find keys to end")?;
        let mut ends = Vec::new();
        for row in rows {
            ends.extend(KeyEnd::of(row.read(0)?, row.read(1)?));
        }
        Ok(ends)
    }

    /// The newest version of a project's key that was ever made; 0 when there is none.
    pub(crate) async fn newest_version(&self, project: i64) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM keys WHERE project = $1 AND kind = 'project'")
            .bind(project)
            .fetch_one(self.control().readers())
            .await
            .during("find a project's key")
    }

    /// Destroys keys of a project, and forgets them in memory; does nothing where it was done. Credentials of destinations are sealed
    /// anew before. The bytes of the wrapped keys go with the next sweep.
    pub(crate) async fn end_keys(&self, project: i64, ends: &[KeyEnd]) -> Result<(), StoreError> {
        const NAME: &str = "destroy keys";
        let mut tries = 0;
        loop {
            let done = async {
                let (days, versions) = self.living(project, ends).await?;
                if days.is_empty() && versions.is_empty() {
                    return Ok(());
                }
                if let Some(newest) = versions.iter().max() {
                    self.renew_project_key(project, *newest, ends).await?;
                }
                let whole = ends.iter().any(|end| matches!(end, KeyEnd::All(_)));
                self.control()
                    .run_tx(NAME, move |connection| {
                        let (days, versions) = (days.clone(), versions.clone());
                        Box::pin(async move {
                            if whole {
                                // They hold names that were made of what visitors saw.
                                query("DELETE FROM drafts WHERE project = $1")
                                    .bind(project)
                                    .execute(&mut *connection)
                                    .await
                                    .during(NAME)?;
                            }
                            for day in days {
                                query("DELETE FROM keys WHERE project = $1 AND kind = 'day' AND number = $2")
                                    .bind(project)
                                    .bind(day)
                                    .execute(&mut *connection)
                                    .await
                                    .during(NAME)?;
                            }
                            for version in &versions {
                                destroy_version(connection, project, *version).await?;
                            }
                            // One that was saved since is sealed anew as well.
                            let rows = query("SELECT body, secret FROM destinations WHERE project = $1")
                                .bind(project)
                                .fetch_all(&mut *connection)
                                .await
                                .during(NAME)?;
                            for row in rows {
                                let secret: Option<Vec<u8>> = row.read(1)?;
                                let mut sealed = [Some(row.read::<Vec<u8>>(0)?), secret].into_iter().flatten();
                                if sealed
                                    .any(|sealed| version_of(&sealed).is_some_and(|of| versions.contains(&of.into())))
                                {
                                    return Err(StoreError::Moved { what: "destinations".to_owned() });
                                }
                            }
                            touch(connection).await
                        })
                    })
                    .await
            }
            .await;
            if self.is_over(&done, &mut tries).await? {
                break done?;
            }
        }
        self.keyring().forget_project(project);
        Ok(())
    }

    /// Whether something that was tried is over: done, or failed for good. Where what it was made of has moved meanwhile, the ledger or
    /// a key, what there is now is taken over, for a next try.
    pub(crate) async fn is_over<T>(&self, done: &Result<T, StoreError>, tries: &mut usize) -> Result<bool, StoreError> {
        *tries += 1;
        let moved = matches!(done, Err(StoreError::Moved { .. })) && *tries < TRIES;
        if moved {
            self.keyring().refresh().await?;
        }
        Ok(!moved)
    }

    /// The days and versions that ends are about and that there still are.
    async fn living(&self, project: i64, ends: &[KeyEnd]) -> Result<(Vec<i64>, Vec<i64>), StoreError> {
        let rows = query(
            "SELECT kind, number, wrapped_by, made FROM keys WHERE project = $1 AND kind <> 'root' AND wrapped_by <> 'destroyed'",
        )
        .bind(project)
        .fetch_all(self.control().readers())
        .await
        .during("find keys to end")?;
        let (mut days, mut versions) = (Vec::new(), Vec::new());
        for row in rows {
            let number: i64 = row.read(1)?;
            if row.read::<&str>(0)? == "project" {
                if ends.iter().any(|end| end.ends_version(number)) {
                    versions.push(number);
                }
                continue;
            }
            let wrapped_by: &str = row.read(2)?;
            let by: i64 = wrapped_by.strip_prefix("project:").and_then(|by| by.parse().ok()).unwrap_or(0);
            let made: i64 = row.read(3)?;
            let is_ended = ends.iter().any(|end| match *end {
                KeyEnd::All(_) | KeyEnd::Version(_) => end.ends_version(by),
                KeyEnd::Day(day, of) => day == number && of == made,
            });
            if is_ended {
                days.push(number);
            }
        }
        Ok((days, versions))
    }

    /// Seals a project's destinations anew where a version that ends has sealed them. All else that it has sealed goes with it.
    async fn renew_project_key(&self, project: i64, version: i64, ends: &[KeyEnd]) -> Result<(), StoreError> {
        let mut opened = Vec::new();
        let ending = |sealed: &[u8]| {
            version_of(sealed).is_some_and(|version| ends.iter().any(|end| end.ends_version(i64::from(version))))
        };
        for (column, name, before) in self.sealed_of_destinations(project).await? {
            if !ending(&before) {
                continue;
            }
            match self.keyring().open_sealed(project, column.place(&name), &before).await {
                Ok(plain) => opened.push((column, name, before, Some(zeroize::Zeroizing::new(plain)))),
                // Another process is at the same work, and was quicker.
                Err(StoreError::Keys(KeyError::Unknown { .. })) => {
                    return Err(StoreError::Moved { what: "destinations".to_owned() });
                }
                // Damaged: it was lost before, and must not keep what is to end.
                Err(StoreError::Keys(KeyError::Open { .. })) => opened.push((column, name, before, None)),
                Err(error) => return Err(error),
            }
        }
        let keys = self.keyring().renew_project(project, version).await?;
        let now = self.clock().now();
        for (column, name, before, plain) in opened {
            match plain {
                Some(plain) => {
                    let sealed = keys.seal_newest(now, column.place(&name), &plain)?;
                    self.replace_sealed(project, column, name, before, sealed).await?;
                }
                None => {
                    tracing::error!(
                        project,
                        destination = name,
                        "a destination cannot be opened and is removed: add it again"
                    );
                    self.drop_destination(project, &name).await?;
                }
            }
        }
        Ok(())
    }

    async fn drop_destination(&self, project: i64, name: &str) -> Result<(), StoreError> {
        const NAME: &str = "remove a damaged destination";
        let name = name.to_owned();
        self.control()
            .run_tx(NAME, move |connection| {
                let name = name.clone();
                Box::pin(async move {
                    query("DELETE FROM destinations WHERE project = $1 AND name = $2")
                        .bind(project)
                        .bind(name)
                        .execute(connection)
                        .await
                        .during(NAME)
                        .map(|_| ())
                })
            })
            .await
    }

    /// Deletes the frames that no key opens any more, because it was destroyed.
    pub(crate) async fn delete_frames_of_ended_keys(&self, project: i64) -> Result<(), StoreError> {
        const OF_DAY: &str = "DELETE FROM frames WHERE project = $1 AND first IN \
                              (SELECT first FROM frames WHERE project = $1 AND day = $2 AND last <= $3 LIMIT $4)";
        let Some(ledger) = self.ledger().now().of(project) else { return Ok(()) };
        self.delete_frames_through(project).await?;
        for (day, through) in ledger.ended_days() {
            self.steps(OF_DAY, &[project, *day, *through]).await?;
        }
        if ledger.keys_through() == 0 {
            return Ok(());
        }
        let days = query("SELECT DISTINCT day FROM frames WHERE project = $1 AND last <= $2")
            .bind(project)
            .bind(ledger.keys_through())
            .fetch_all(self.data().readers())
            .await
            .during("find frames without a key")?;
        for row in days {
            let day: i64 = row.read(0)?;
            if matches!(self.keyring().day(project, day).await, Err(StoreError::KeyGone { .. })) {
                self.steps(OF_DAY, &[project, day, ledger.keys_through()]).await?;
            }
        }
        Ok(())
    }
}

/// Refuses a transaction that stores what a version of a project's key has sealed, where that was destroyed meanwhile. Holds the
/// version's row until the transaction ends.
pub(crate) async fn still_living(connection: &mut AnyConnection, project: i64, version: u32) -> Result<(), StoreError> {
    const NAME: &str = "look whether a key lives";
    let sql = "UPDATE keys SET made = made WHERE project = $1 AND kind = 'project' AND number = $2 AND wrapped_by <> 'destroyed'";
    let held =
        query(sql).bind(project).bind(i64::from(version)).execute(connection).await.during(NAME)?.rows_affected();
    if held == 1 { Ok(()) } else { Err(StoreError::Moved { what: format!("the key of project number {project}") }) }
}

/// Refuses a transaction on what the worker keeps where the ledger has grown since its keys were taken. Holds the worker's row.
pub(crate) async fn same_ledger(connection: &mut AnyConnection, known: i64) -> Result<(), StoreError> {
    const NAME: &str = "look whether the ledger has grown";
    query("UPDATE worker SET journal_offset = journal_offset WHERE id = 0")
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    let last: i64 =
        sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM erasures").fetch_one(connection).await.during(NAME)?;
    if last == known { Ok(()) } else { Err(StoreError::Moved { what: "the ledger of erasures".to_owned() }) }
}
