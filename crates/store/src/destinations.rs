//! Destinations: their configuration, sealed secrets, cursors and dead letters.

use std::collections::HashMap;

use convizit_keys::{KeyError, Place};
use convizit_model::{Destination, NoticeKind, ProjectId};
use sqlx::{AssertSqlSafe, query};

use crate::error::{Columns as _, During, StoreError};
use crate::key_ends::still_living;
use crate::statement::{insert_rows, pieces};
use crate::{DeadLetter, DestinationState, Store, audit, projects};

pub(crate) fn body_of(name: &str) -> Place<'_> {
    Place { table: "destinations", purpose: "body", row: name.as_bytes() }
}

fn read(name: &str, body: &[u8]) -> Result<Destination, StoreError> {
    serde_json::from_slice(body)
        .map_err(|error| StoreError::Unusable(format!("destination {name}: {error}; remove it and add it again")))
}

pub(crate) fn secret_of(name: &str) -> Place<'_> {
    Place { table: "destinations", purpose: "secret", row: name.as_bytes() }
}

impl Store {
    /// Adds or changes a destination; a new one starts at the newest event, or at the first with `from_start`. The secret is stored sealed;
    /// without one, the stored secret stays.
    ///
    /// # Errors
    /// `Invalid` for a name that is not 1 to 64 of a-z, 0-9 and -; `NotFound` for the project.
    pub async fn save_destination(
        &self,
        destination: &Destination,
        secret: Option<&str>,
        from_start: bool,
    ) -> Result<(), StoreError> {
        let name = destination.name.clone();
        if name.parse::<ProjectId>().is_err() {
            return Err(StoreError::Invalid("a destination's name has 1 to 64 of a-z, 0-9 and -".to_owned()));
        }
        let project = self.project(&destination.project).await?.number;
        let body = serde_json::to_vec(destination).map_err(|error| StoreError::Invalid(error.to_string()))?;
        // The cursor comes first: a destination without one is never seen.
        let start = if from_start { 0 } else { self.last_event(project).await? };
        let cursor = name.clone();
        let is_new: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM destinations WHERE project = $1 AND name = $2")
            .bind(project)
            .bind(name.as_str())
            .fetch_one(self.control().readers())
            .await
            .during("look for the destination")?;
        // What a removal that was cut has left is of another one.
        let sql = if is_new == 0 {
            "INSERT INTO cursors (project, destination, number) VALUES ($1, $2, $3) ON CONFLICT (project, destination) DO UPDATE SET number = excluded.number"
        } else {
            "INSERT INTO cursors (project, destination, number) VALUES ($1, $2, $3) ON CONFLICT (project, destination) DO NOTHING"
        };
        self.data()
            .run_tx("make cursor", move |connection| {
                let cursor = cursor.clone();
                Box::pin(async move {
                    query(sql)
                        .bind(project)
                        .bind(cursor)
                        .bind(start)
                        .execute(connection)
                        .await
                        .during("make cursor")
                        .map(|_| ())
                })
            })
            .await?;
        let detail = if secret.is_some() { "with credentials" } else { "" };
        let entry = self.entry("destination.save", destination.project.as_str(), &name, detail);
        let ring = self.ring().clone();
        let mut tries = 0;
        loop {
            let done = async {
            let (keys, now) = (self.keyring().project(project).await?, self.clock().now());
            let version = keys.sealing(now)?;
            let body = keys.seal(now, body_of(&name), &body)?;
            let sealed = secret.map(|secret| keys.seal(now, secret_of(&name), secret.as_bytes())).transpose()?;
            let (name, entry, ring) = (name.clone(), entry.clone(), ring.clone());
        self.control()
            .run_tx("save destination", move |connection| {
                let (name, body, sealed) = (name.clone(), body.clone(), sealed.clone());
                let (entry, ring) = (entry.clone(), ring.clone());
                Box::pin(async move {
                    still_living(connection, project, version).await?;
                    let sql = "INSERT INTO destinations (project, name, body, secret) VALUES ($1, $2, $3, $4) ON CONFLICT (project, name) \
                               DO UPDATE SET body = excluded.body, secret = COALESCE(excluded.secret, destinations.secret)";
                    query(sql).bind(project).bind(name).bind(body).bind(sealed).execute(&mut *connection).await.during("save destination")?;
                    audit::append(connection, &ring, &[entry]).await?;
                    projects::touch(connection).await
                })
            })
            .await
        }
.await;
            if self.is_over(&done, &mut tries).await? {
                break done?;
            }
        }
        self.refresh().await
    }

    /// All destinations of a project, or of all, with their state.
    ///
    /// # Errors
    /// `Database`.
    pub async fn destinations(&self, project: Option<&ProjectId>) -> Result<Vec<DestinationState>, StoreError> {
        let number = match project {
            Some(id) => Some(self.project(id).await?.number),
            None => None,
        };
        let rows = query(
            "SELECT project, name, body FROM destinations WHERE $1 IS NULL OR project = $1 ORDER BY project, name",
        )
        .bind(number)
        .fetch_all(self.control().readers())
        .await
        .during("list destinations")?;
        // Two texts, since SQLite finds no key behind an OR.
        let (cursors, dead) = match number {
            Some(_) => (
                "SELECT project, destination, number FROM cursors WHERE project = $1",
                "SELECT project, destination, COUNT(*) FROM dead_letters WHERE project = $1 GROUP BY project, destination",
            ),
            None => (
                "SELECT project, destination, number FROM cursors",
                "SELECT project, destination, COUNT(*) FROM dead_letters GROUP BY project, destination",
            ),
        };
        let (cursors, dead) = (self.numbers_of(cursors, number).await?, self.numbers_of(dead, number).await?);
        let mut states = Vec::new();
        for row in rows {
            let (project, name, body): (i64, String, Vec<u8>) = (row.read(0)?, row.read(1)?, row.read(2)?);
            let body = match self.keyring().open_sealed(project, body_of(&name), &body).await {
                // One that is damaged must not hold up those of all other projects.
                Err(error @ StoreError::Keys(KeyError::Open { .. })) if number.is_none() => {
                    let text = format!(
                        "destination {name} cannot be opened and sends nothing ({error}): remove it and add it again"
                    );
                    let id =
                        self.projects().await?.into_iter().find(|known| known.number == project).map(|known| known.id);
                    self.raise_once(NoticeKind::DestinationPaused, id.as_ref(), &name, &text).await?;
                    continue;
                }
                body => body?,
            };
            let destination = read(&name, &body)?;
            let of =
                |numbers: &HashMap<(i64, String), i64>| numbers.get(&(project, name.clone())).copied().unwrap_or(0);
            states.push(DestinationState { destination, cursor: of(&cursors), dead: of(&dead) });
        }
        Ok(states)
    }

    /// A number of each destination.
    async fn numbers_of(
        &self,
        sql: &'static str,
        project: Option<i64>,
    ) -> Result<HashMap<(i64, String), i64>, StoreError> {
        let mut select = query(sql);
        if let Some(project) = project {
            select = select.bind(project);
        }
        let rows = select.fetch_all(self.data().readers()).await.during("read states of destinations")?;
        rows.iter().map(|row| Ok(((row.read(0)?, row.read(1)?), row.read(2)?))).collect()
    }

    /// Where a destination stands: the number of the last event that it is done with.
    ///
    /// # Errors
    /// `NotFound` when it was removed.
    pub async fn cursor(&self, project: i64, name: &str) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT number FROM cursors WHERE project = $1 AND destination = $2")
            .bind(project)
            .bind(name)
            .fetch_optional(self.data().readers())
            .await
            .during("read cursor")?
            .ok_or_else(|| StoreError::not_found("destination", name))
    }

    /// The opened secret of a destination.
    ///
    /// # Errors
    /// `Keys`, `NotFound`.
    pub async fn destination_secret(&self, project: &ProjectId, name: &str) -> Result<Option<String>, StoreError> {
        let number = self.project(project).await?.number;
        let row = query("SELECT secret FROM destinations WHERE project = $1 AND name = $2")
            .bind(number)
            .bind(name)
            .fetch_optional(self.control().readers())
            .await
            .during("read secret")?
            .ok_or_else(|| StoreError::not_found("destination", name))?;
        let Some(sealed) = row.read::<Option<Vec<u8>>>(0)? else { return Ok(None) };
        let opened = self.keyring().open_sealed(number, secret_of(name), &sealed).await?;
        Ok(Some(String::from_utf8_lossy(&opened).into_owned()))
    }

    /// Lets a destination go on behind events that cannot be read; returns the first and last number of each stretch.
    ///
    /// # Errors
    /// `NotFound`, `Moved`, `Database`.
    pub async fn pass_over_damaged(&self, project: &ProjectId, name: &str) -> Result<Vec<(i64, i64)>, StoreError> {
        let number = self.project(project).await?.number;
        let mut passed = Vec::new();
        loop {
            let cursor = self.cursor(number, name).await?;
            match self.events_after(number, cursor, 1, 1).await {
                Err(StoreError::Damaged { first, last, .. }) => {
                    let from = first.max(cursor + 1);
                    self.advance(project, name, cursor, last, Vec::new()).await?;
                    self.audit("destination.pass_over", project.as_str(), name, format!("events {from} to {last}"))
                        .await?;
                    passed.push((from, last));
                }
                other => return other.map(|_| passed),
            }
        }
    }

    /// Deletes a destination, its cursor and its dead letters.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_destination(&self, project: &ProjectId, name: &str) -> Result<(), StoreError> {
        let number = self.project(project).await?.number;
        let owned = name.to_owned();
        let (entry, ring) = (self.entry("destination.remove", project.as_str(), name, ""), self.ring().clone());
        self.control()
            .run_tx("remove destination", move |connection| {
                let name = owned.clone();
                let (entry, ring) = (entry.clone(), ring.clone());
                Box::pin(async move {
                    let done = query("DELETE FROM destinations WHERE project = $1 AND name = $2")
                        .bind(number)
                        .bind(name.as_str())
                        .execute(&mut *connection)
                        .await
                        .during("remove destination")?;
                    if done.rows_affected() == 0 {
                        return Err(StoreError::not_found("destination", name));
                    }
                    audit::append(connection, &ring, &[entry]).await?;
                    projects::touch(connection).await
                })
            })
            .await?;
        let owned = name.to_owned();
        self.data()
            .run_tx("remove cursor", move |connection| {
                let name = owned.clone();
                Box::pin(async move {
                    for sql in [
                        "DELETE FROM cursors WHERE project = $1 AND destination = $2",
                        "DELETE FROM dead_letters WHERE project = $1 AND destination = $2",
                        // The receipt goes on saying that it was never told.
                        "UPDATE erase_messages SET state = 'cannot', reason = 'it was removed before it was told' \
                         WHERE project = $1 AND destination = $2 AND state = 'open'",
                    ] {
                        query(sql)
                            .bind(number)
                            .bind(name.as_str())
                            .execute(&mut *connection)
                            .await
                            .during("remove cursor")?;
                    }
                    // Nobody waits for the ids of erased persons for its sake any more.
                    crate::erasure::forget_ids(connection).await
                })
            })
            .await?;
        self.refresh().await
    }

    /// Moves a cursor from where it stood, writing refused events as dead letters in the same transaction.
    ///
    /// # Errors
    /// `Moved` when it stands elsewhere.
    pub async fn advance(
        &self,
        project: &ProjectId,
        name: &str,
        from: i64,
        to: i64,
        dead: Vec<DeadLetter>,
    ) -> Result<(), StoreError> {
        let number = self.project(project).await?.number;
        let (name, engine) = (name.to_owned(), self.data().engine);
        self.data()
            .run_tx("advance cursor", move |connection| {
                let (name, dead) = (name.clone(), dead.clone());
                Box::pin(async move {
                    let done =
                        query("UPDATE cursors SET number = $1 WHERE project = $2 AND destination = $3 AND number = $4")
                            .bind(to)
                            .bind(number)
                            .bind(name.as_str())
                            .bind(from)
                            .execute(&mut *connection)
                            .await
                            .during("advance cursor")?;
                    if done.rows_affected() != 1 {
                        return Err(StoreError::Moved { what: format!("the cursor of destination {name}") });
                    }
                    for piece in pieces(&dead) {
                        let head = "INSERT INTO dead_letters (project, destination, number, reason)";
                        let tail = "ON CONFLICT (project, destination, number) DO NOTHING";
                        let sql = insert_rows(engine, head, 4, piece.len(), tail);
                        let mut insert = query(AssertSqlSafe(sql));
                        for letter in piece {
                            insert = insert
                                .bind(number)
                                .bind(name.as_str())
                                .bind(letter.number)
                                .bind(letter.reason.as_str());
                        }
                        insert.execute(&mut *connection).await.during("write dead letters")?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Events that a destination refused, newest first, at most so many.
    ///
    /// # Errors
    /// `NotFound` for the project.
    pub async fn dead_letters(
        &self,
        project: &ProjectId,
        name: &str,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let number = self.project(project).await?.number;
        let rows = query("SELECT number, reason FROM dead_letters WHERE project = $1 AND destination = $2 ORDER BY number DESC LIMIT $3")
            .bind(number)
            .bind(name)
            .bind(limit)
            .fetch_all(self.data().readers())
            .await
            .during("read dead letters")?;
        rows.iter().map(|row| Ok(DeadLetter { number: row.read(0)?, reason: row.read(1)? })).collect()
    }

    /// Pauses a destination with a reason and a notice, or resumes it with `None`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn pause_destination(
        &self,
        project: &ProjectId,
        name: &str,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        const NAME: &str = "pause destination";
        let number = self.project(project).await?.number;
        let (wanted, paused) = (name.to_owned(), reason.map(str::to_owned));
        let now = self.clock().now();
        let act = if paused.is_some() { "destination.pause" } else { "destination.resume" };
        let (entry, ring) = (self.entry(act, project.as_str(), name, ""), self.ring().clone());
        // Read and changed in one transaction: one that is removed meanwhile must not come back.
        let mut tries = 0;
        loop {
            let done = async {
                let keys = self.keyring().project(number).await?;
                let version = keys.sealing(now)?;
                let (wanted, paused, entry, ring) = (wanted.clone(), paused.clone(), entry.clone(), ring.clone());
                self.control()
                    .run_tx(NAME, move |connection| {
                        let (wanted, paused) = (wanted.clone(), paused.clone());
                        let (entry, ring, keys) = (entry.clone(), ring.clone(), keys.clone());
                        Box::pin(async move {
                            still_living(connection, number, version).await?;
                            let body: Option<Vec<u8>> =
                                sqlx::query_scalar("SELECT body FROM destinations WHERE project = $1 AND name = $2")
                                    .bind(number)
                                    .bind(wanted.as_str())
                                    .fetch_optional(&mut *connection)
                                    .await
                                    .during(NAME)?;
                            let body = body.ok_or_else(|| StoreError::not_found("destination", &wanted))?;
                            let mut destination = read(&wanted, &keys.open(body_of(&wanted), &body)?)?;
                            destination.paused = paused;
                            let body = serde_json::to_vec(&destination)
                                .map_err(|error| StoreError::Invalid(error.to_string()))?;
                            let body = keys.seal(now, body_of(&wanted), &body)?;
                            query("UPDATE destinations SET body = $1 WHERE project = $2 AND name = $3")
                                .bind(body)
                                .bind(number)
                                .bind(wanted.as_str())
                                .execute(&mut *connection)
                                .await
                                .during(NAME)?;
                            audit::append(connection, &ring, &[entry]).await?;
                            projects::touch(connection).await
                        })
                    })
                    .await
            }
            .await;
            if self.is_over(&done, &mut tries).await? {
                break done?;
            }
        }
        self.refresh().await?;
        if let Some(reason) = reason {
            let text = format!(
                "destination {name} was paused: {reason}; mend it, then `convizit destination resume {project} {name}`"
            );
            self.raise(NoticeKind::DestinationPaused, Some(project), name, &text).await?;
        }
        Ok(())
    }
}
