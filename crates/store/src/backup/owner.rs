//! Whose a place of backups is: what another copy of this installation writes there is neither written over nor dropped.
//!
//! Files of another installation are known by their heads. A copy of this one has the same id and keys, so it is known by what it
//! writes: each backup of ours has an entry in our audit log before its manifest is there. What was restored with backups off is there to
//! look into a backup, and leaves the places of the original alone until a person says that it takes them over.

use std::collections::HashSet;

use convizit_model::Timestamp;
use sqlx::{AnyConnection, Connection as _, query};

use super::target::Target;
use super::{LOCKED, manifests};
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError};
use crate::{Store, audit};

/// The row of `control_version` that says that this database was restored, and has written no copy of keys and erasures since.
pub(super) const RESTORED: i64 = 5;
/// What that row says where it was restored to look into a backup.
pub(super) const LOOKS: i64 = 2;
/// What it says from then on where it has a place of its own for the copy of keys and erasures, until it has one for backups, too.
const COPIES: i64 = 3;
/// The lock of a PostgreSQL database that is held while keys and erasures are copied: `convkeys`. Tests name it, too.
const TURN: i64 = 0x636f_6e76_6b65_7973;

/// Why what was restored to look into a backup writes nothing in a place.
fn original(place: &str) -> StoreError {
    StoreError::Unusable(format!(
        "{place} is the original's, and this installation was restored beside it to look into a backup, so nothing was written there: \
         name places of its own with backup.to and backup.keys_to; or end the original for good, and take its place with \
         convizit backup --take-over"
    ))
}

/// In the transaction that numbers a copy of keys and erasures: that the place where it is written is this installation's.
pub(super) async fn take_copies(connection: &mut AnyConnection) -> Result<(), StoreError> {
    const NAME: &str = "number the copy of keys";
    query("UPDATE control_version SET version = $1 WHERE id = $2 AND version = $3")
        .bind(COPIES)
        .bind(RESTORED)
        .bind(LOOKS)
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    query("DELETE FROM control_version WHERE id = $1 AND version <> $2")
        .bind(RESTORED)
        .bind(COPIES)
        .execute(connection)
        .await
        .during(NAME)
        .map(|_| ())
}

impl Store {
    /// What the row `RESTORED` says, where there is one.
    pub(super) async fn restored_to(&self) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar("SELECT version FROM control_version WHERE id = $1")
            .bind(RESTORED)
            .fetch_optional(self.control().readers())
            .await
            .during("look whether this was restored")
    }

    /// Whether this was restored, and has not been the installation since. Where it runs with backups off, it only looks.
    pub(super) async fn leaves_the_copy(&self) -> Result<bool, StoreError> {
        const NAME: &str = "take down that this only looks into a backup";
        let Some(restored) = self.restored_to().await?.filter(|restored| *restored != COPIES) else { return Ok(false) };
        if restored != LOOKS {
            self.control()
                .run_tx(NAME, |connection| {
                    Box::pin(async move {
                        query("UPDATE control_version SET version = $1 WHERE id = $2")
                            .bind(LOOKS)
                            .bind(RESTORED)
                            .execute(connection)
                            .await
                            .during(NAME)
                            .map(|_| ())
                    })
                })
                .await?;
        }
        Ok(true)
    }

    /// Refuses what lies in a place to what was restored to look into a backup of it.
    pub(super) async fn refuse_to_look_and_write(&self, place: &str) -> Result<(), StoreError> {
        match self.restored_to().await? {
            Some(LOOKS) => Err(original(place)),
            _ => Ok(()),
        }
    }

    /// As `take_copies`, of the place of backups.
    pub(super) async fn take_backups(&self) -> Result<(), StoreError> {
        const NAME: &str = "take down that backups are made here";
        if self.restored_to().await?.is_none() {
            return Ok(());
        }
        self.control()
            .run_tx(NAME, |connection| {
                Box::pin(async move {
                    query("DELETE FROM control_version WHERE id = $1")
                        .bind(RESTORED)
                        .execute(connection)
                        .await
                        .during(NAME)
                        .map(|_| ())
                })
            })
            .await
    }

    /// Refuses a place where another copy of this installation makes backups, since it was restored or since this one makes any.
    pub(super) async fn refuse_anothers_place(
        &self,
        target: &Target,
        lying: &[(Timestamp, String)],
    ) -> Result<(), StoreError> {
        if lying.is_empty() {
            return Ok(());
        }
        if matches!(self.restored_to().await?, Some(LOOKS | COPIES)) {
            return Err(original(&target.shown));
        }
        let rows = query(
            "SELECT act, subject, number, time FROM audit \
             WHERE act IN ('backup.make', 'backup.restore', 'backup.take_over') ORDER BY number",
        )
        .fetch_all(self.control().readers())
        .await
        .during("look whose backups these are")?;
        let (mut ours, mut first_made, mut begun) = (HashSet::new(), None, None);
        for row in &rows {
            let (act, name): (&str, &str) = (row.read(0)?, row.read(1)?);
            ours.insert(name);
            let entry = (row.read(2)?, row.read(3)?);
            if act == "backup.make" {
                first_made = first_made.or(Some(entry));
            } else {
                begun = Some(entry);
            }
        }
        let mut since = None;
        for entry in [begun, first_made].into_iter().flatten() {
            since = since.max(Some(self.happened_by(entry).await?));
        }
        // What is older was made by the original, or by a program that wrote no such entries.
        let Some(since) = since else { return Ok(()) };
        let foreign = lying.iter().rev().find(|(made, name)| made.as_millis() > since && !ours.contains(name.as_str()));
        match foreign {
            None => Ok(()),
            Some((_, name)) => Err(StoreError::Unusable(format!(
                "{name} in {} was made by another copy of this installation, which may still run, so nothing was written there: end the one \
                 that is not to go on, or name places of its own with backup.to and backup.keys_to; where this one goes on alone, \
                 convizit backup --take-over",
                target.shown
            ))),
        }
    }

    /// The last backup that this installation made in a place.
    pub(super) async fn last_made_at(&self, target: &Target) -> Result<Option<String>, StoreError> {
        let made = query("SELECT subject, detail FROM audit WHERE act = 'backup.make' ORDER BY number DESC")
            .fetch_all(self.control().readers())
            .await
            .during("look where backups were made")?;
        let there = format!(" to {}", target.shown);
        for row in &made {
            let (name, detail): (&str, &str) = (row.read(0)?, row.read(1)?);
            // What does not open is said behind the place.
            if detail.split("; ").next().is_some_and(|made| made.ends_with(&there)) {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// The latest time at which an entry of the audit log can have been written, whatever the clock said then: entries stand in the order in
    /// which they were written, so it was before every later one, and not after now. A later one that is dated before those that came
    /// earlier says nothing, since the clock was behind then. Otherwise an entry of a clock that ran ahead would make everything that
    /// another copy writes until then look older.
    async fn happened_by(&self, (number, time): (i64, i64)) -> Result<i64, StoreError> {
        let now = self.clock().now().as_millis();
        let by: Option<i64> = sqlx::query_scalar(
            "SELECT MIN(time) FROM audit WHERE number >= $1 \
             AND time >= (SELECT COALESCE(MAX(time), 0) FROM audit WHERE number < $1 AND time <= $2)",
        )
        .bind(number)
        .bind(now)
        .fetch_one(self.control().readers())
        .await
        .during("look whose backups these are")?;
        Ok(by.unwrap_or(time).min(now))
    }

    /// Entries for the backups that lie in a place now and are dated ahead of the clock: by their times alone they would be taken for such as
    /// another copy makes later.
    pub(super) async fn known_ahead(
        &self,
        target: &Target,
        act: &'static str,
    ) -> Result<Vec<audit::Entry>, StoreError> {
        let now = self.clock().now();
        let ahead = manifests(target).await?.into_iter().filter(|(made, _)| *made > now);
        let entry = |(_, name): (Timestamp, String)| {
            self.entry(act, "", &name, "it lies there already, dated ahead of this machine's clock")
        };
        Ok(ahead.map(entry).collect())
    }

    /// Makes this installation the one that writes in its places of backups, whatever lies there; the original has ended. A copy of
    /// keys and erasures that is newer than this database is left as it is all the same.
    ///
    /// # Errors
    /// `Invalid` when backups are off, `Database`.
    pub async fn take_over_backups(&self) -> Result<(), StoreError> {
        let config = self.makes_backups_at()?;
        let mut entries = match Target::open(&config.to, false) {
            Ok(target) => self.known_ahead(&target, "backup.take_over").await?,
            // Where there is no place, nothing lies in it.
            Err(_) => Vec::new(),
        };
        entries.push(self.entry("backup.take_over", "", &config.to, ""));
        audit::write(self.control(), self.ring(), entries).await?;
        self.take_backups().await
    }

    /// Waits until no other process of this database copies keys and erasures, on whichever machine it runs: of two that took their
    /// numbers one after the other, the first must not write last. Held by the connection. On SQLite the folder's lock says it all.
    pub(super) async fn turn_to_copy(&self) -> Result<Option<AnyConnection>, StoreError> {
        const NAME: &str = "wait for another copy of keys";
        if self.control().engine == Engine::Sqlite {
            return Ok(None);
        }
        let mut connection = self.control().connect().await?;
        let begun = std::time::Instant::now();
        loop {
            let taken: i64 = sqlx::query_scalar(
                "SELECT CASE WHEN pg_try_advisory_lock($1) THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END",
            )
            .bind(TURN)
            .fetch_one(&mut connection)
            .await
            .during(NAME)?;
            if taken == 1 {
                return Ok(Some(connection));
            }
            if begun.elapsed() > LOCKED {
                connection.close().await.during(NAME)?;
                return Err(StoreError::Invalid(
                    "another process copies keys and erasures of this database: wait until it has ended".to_owned(),
                ));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
