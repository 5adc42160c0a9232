//! The end of keys: of a whole dataset, or of one key that two people said must go.
//!
//! It stands in the ledger of erasures first, in one transaction with the end of the rows that the key has sealed; then the key is
//! destroyed. The worker's transaction asks for the ledger's newest entry, and whoever takes an entry over has seen to the keys
//! before: so nothing is stored that a destroyed key has sealed, whichever process was first.

use std::sync::Arc;

use convizit_keys::version_of;
use sqlx::query;

use crate::Store;
use crate::erasure::{begin, insert, request_id};
use crate::error::{Columns as _, During, StoreError};
use crate::key_table::destroy_version;
use crate::projects::touch;

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
    /// Writes down that keys end, in one transaction with the end of the rows that they have sealed; then they are destroyed.
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
            .await?;
        self.look_for_erasures().await
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

    /// Destroys keys, and forgets them in memory; does nothing where it was done. Credentials of destinations are sealed anew before.
    pub(crate) async fn end_keys(&self, project: i64, end: KeyEnd) -> Result<(), StoreError> {
        const NAME: &str = "destroy keys";
        let (days, versions) = self.living(project, end).await?;
        if days.is_empty() && versions.is_empty() {
            self.keyring().forget_project(project);
            return Ok(());
        }
        if let Some(newest) = versions.iter().max() {
            self.renew_project_key(project, *newest, end).await?;
        }
        self.control()
            .run_tx(NAME, move |connection| {
                let (days, versions) = (days.clone(), versions.clone());
                Box::pin(async move {
                    for day in days {
                        query("DELETE FROM keys WHERE project = $1 AND kind = 'day' AND number = $2")
                            .bind(project)
                            .bind(day)
                            .execute(&mut *connection)
                            .await
                            .during(NAME)?;
                    }
                    for version in versions {
                        destroy_version(connection, project, version).await?;
                    }
                    touch(connection).await
                })
            })
            .await?;
        self.keyring().forget_project(project);
        self.control().sweep().await
    }

    /// The days and versions that an end is about and that there still are.
    async fn living(&self, project: i64, end: KeyEnd) -> Result<(Vec<i64>, Vec<i64>), StoreError> {
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
                if end.ends_version(number) {
                    versions.push(number);
                }
                continue;
            }
            let wrapped_by: &str = row.read(2)?;
            let by: i64 = wrapped_by.strip_prefix("project:").and_then(|by| by.parse().ok()).unwrap_or(0);
            let ends = match end {
                KeyEnd::All(_) | KeyEnd::Version(_) => end.ends_version(by),
                KeyEnd::Day(day, made) => day == number && made == row.read::<i64>(3)?,
            };
            if ends {
                days.push(number);
            }
        }
        Ok((days, versions))
    }

    /// Seals a project's destinations anew where a version that ends has sealed them. All else that it has sealed goes with it.
    async fn renew_project_key(&self, project: i64, version: i64, end: KeyEnd) -> Result<(), StoreError> {
        let mut opened = Vec::new();
        for (column, name, before) in self.sealed_of_destinations(project).await? {
            // Another process may be at the same work.
            if version_of(&before).is_some_and(|version| end.ends_version(i64::from(version))) {
                let plain = self.keyring().open_sealed(project, column.place(&name), &before).await?;
                opened.push((column, name, before, zeroize::Zeroizing::new(plain)));
            }
        }
        let keys = self.keyring().renew_project(project, version).await?;
        let now = self.clock().now();
        for (column, name, before, plain) in opened {
            let sealed = keys.seal_newest(now, column.place(&name), &plain)?;
            self.replace_sealed(project, column, name, before, sealed).await?;
        }
        Ok(())
    }

    /// Deletes the frames that no key opens any more, because it was destroyed.
    pub(crate) async fn delete_frames_of_ended_keys(&self, project: i64) -> Result<(), StoreError> {
        let Some(ledger) = self.ledger().now().of(project) else { return Ok(()) };
        self.delete_frames_through(project).await?;
        for (day, through) in ledger.ended_days() {
            let sql = "DELETE FROM frames WHERE project = $1 AND first IN \
                       (SELECT first FROM frames WHERE project = $1 AND day = $2 AND last <= $3 LIMIT $4)";
            self.steps(sql, &[project, *day, *through]).await?;
        }
        Ok(())
    }
}
