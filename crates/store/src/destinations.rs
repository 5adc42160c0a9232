//! Destinations: their configuration, sealed secrets and cursors.

use std::sync::Arc;

use convizit_keys::Place;
use convizit_model::{Destination, NoticeKind, Processor, ProjectId, ProjectSettings, Rest};
use sqlx::{AnyConnection, query};

use crate::dead_letters::{Letters, write_letters};
use crate::deliveries::count_delivered;
use crate::error::{Columns as _, During, StoreError};
use crate::key_ends::still_living;
use crate::{Delivered, Store, audit, projects};

mod listed;

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

/// Fails where events would go to somebody of whom too little is known, or out of where they are to stay.
fn admit(destination: &Destination, settings: &ProjectSettings) -> Result<(), StoreError> {
    match destination.concern(settings) {
        Some(concern) if concern.bars => {
            Err(StoreError::Barred(format!("destination {} {}", destination.name, concern.what)))
        }
        _ => Ok(()),
    }
}

/// What a change makes of a destination; false when it is not to be made.
type Alter = Arc<dyn Fn(&mut Destination) -> bool + Send + Sync>;

/// What was added or changed, for the audit log, which is not sealed: of addresses and secrets that there are new ones.
fn changed_words(was: Option<&Destination>, now: &Destination, with_secret: bool) -> String {
    let mut words = vec![now.kind.in_words()];
    words.extend(now.changes_since(was));
    if was.is_none_or(|was| was.processor != now.processor) {
        words.extend(now.processor.as_ref().map(|processor| format!("processed by {processor}")));
    }
    if with_secret {
        words.push(if was.is_some() { "new credentials" } else { "with credentials" }.to_owned());
    }
    words.join("; ")
}

/// Fails where the destination was removed; holds its row, so that a removal comes before or after.
pub(crate) async fn hold(
    connection: &mut AnyConnection,
    project: i64,
    name: &str,
    act: &'static str,
) -> Result<(), StoreError> {
    let found = query("UPDATE cursors SET number = number WHERE project = $1 AND destination = $2")
        .bind(project)
        .bind(name)
        .execute(connection)
        .await
        .during(act)?;
    if found.rows_affected() == 0 {
        return Err(StoreError::not_found("destination", name));
    }
    Ok(())
}

impl Store {
    /// Adds or changes a destination; a new one starts at the newest event, or at the first with `from_start`. The secret is stored sealed;
    /// without one, the stored secret stays.
    ///
    /// # Errors
    /// `Invalid` for a name that is not 1 to 64 of a-z, 0-9 and -; `Barred` for one that is to send at once and may not; `NotFound` for the
    /// project.
    pub async fn save_destination(
        &self,
        destination: &Destination,
        secret: Option<&str>,
        from_start: bool,
    ) -> Result<(), StoreError> {
        self.write_destination(destination, secret, from_start, false).await
    }

    /// As `save_destination`, for a name that there is not yet.
    ///
    /// # Errors
    /// The same, and `Invalid` for a name that is taken.
    pub async fn add_destination(
        &self,
        destination: &Destination,
        secret: Option<&str>,
        from_start: bool,
    ) -> Result<(), StoreError> {
        self.write_destination(destination, secret, from_start, true).await
    }

    async fn write_destination(
        &self,
        destination: &Destination,
        secret: Option<&str>,
        from_start: bool,
        only_new: bool,
    ) -> Result<(), StoreError> {
        let name = destination.name.clone();
        if name.parse::<ProjectId>().is_err() {
            return Err(StoreError::Invalid("a destination's name has 1 to 64 of a-z, 0-9 and -".to_owned()));
        }
        let of = self.project(&destination.project).await?;
        if destination.enabled && destination.paused.is_none() {
            admit(destination, &of.settings)?;
        }
        let project = of.number;
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
            "INSERT INTO cursors (project, destination, number) VALUES ($1, $2, $3) ON CONFLICT (project, destination) DO UPDATE SET number = excluded.number, plan = ''"
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
        if is_new == 0 {
            // So are failures that a batch on its way has told since.
            self.delivery_recovered(&destination.project, &name).await?;
        }
        let detail = changed_words(None, destination, secret.is_some());
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
                    let sql = if only_new {
                        "INSERT INTO destinations (project, name, body, secret) VALUES ($1, $2, $3, $4) ON CONFLICT (project, name) DO NOTHING"
                    } else {
                        "INSERT INTO destinations (project, name, body, secret) VALUES ($1, $2, $3, $4) ON CONFLICT (project, name) \
                         DO UPDATE SET body = excluded.body, secret = COALESCE(excluded.secret, destinations.secret)"
                    };
                    let written = query(sql).bind(project).bind(name.as_str()).bind(body).bind(sealed).execute(&mut *connection);
                    if written.await.during("save destination")?.rows_affected() == 0 {
                        let text = format!("there is a destination {name} already: remove it first, or choose another name");
                        return Err(StoreError::Invalid(text));
                    }
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

    /// What a destination is, for the audit log; one that cannot be opened holds nothing up.
    pub(crate) async fn in_words(&self, project: &ProjectId, name: &str) -> String {
        let found = self.destination(project, name).await;
        found.map_or_else(|_| "cannot be opened".to_owned(), |(destination, _)| destination.kind.in_words())
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

    /// Deletes a destination, its cursor, its dead letters and its replays.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_destination(&self, project: &ProjectId, name: &str) -> Result<(), StoreError> {
        let number = self.project(project).await?.number;
        let owned = name.to_owned();
        let detail = self.in_words(project, name).await;
        let (entry, ring) = (self.entry("destination.remove", project.as_str(), name, detail), self.ring().clone());
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
                        "DELETE FROM replays WHERE project = $1 AND destination = $2",
                        "DELETE FROM deliveries WHERE project = $1 AND destination = $2",
                        "DELETE FROM delivery_failures WHERE project = $1 AND destination = $2",
                        "DELETE FROM failing_destinations WHERE project = $1 AND destination = $2",
                    ] {
                        query(sql)
                            .bind(number)
                            .bind(name.as_str())
                            .execute(&mut *connection)
                            .await
                            .during("remove cursor")?;
                    }
                    // Nobody waits for the ids of erased persons for its sake any more.
                    crate::erasure::forget_ids(connection).await.map(|_| ())
                })
            })
            .await?;
        for kind in [NoticeKind::DestinationPaused, NoticeKind::DestinationFailing, NoticeKind::DeadLetters] {
            self.resolve_notice(kind, Some(project), name).await?;
        }
        self.refresh().await
    }

    /// What was planned at a cursor; empty for nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn planned(&self, project: i64, name: &str) -> Result<String, StoreError> {
        sqlx::query_scalar("SELECT plan FROM cursors WHERE project = $1 AND destination = $2")
            .bind(project)
            .bind(name)
            .fetch_optional(self.data().readers())
            .await
            .during("read plan")?
            .ok_or_else(|| StoreError::not_found("destination", name))
    }

    /// Moves a cursor from where it stood, counting what was delivered and writing refused events as dead letters in the same
    /// transaction. What was planned is forgotten.
    ///
    /// # Errors
    /// `Moved` when it stands elsewhere.
    pub async fn advance(
        &self,
        project: &ProjectId,
        name: &str,
        from: i64,
        to: i64,
        done: impl Into<Delivered>,
    ) -> Result<(), StoreError> {
        self.advance_planned(project, name, (from, to), done, "").await
    }

    /// As `advance`, and writes down what is to be sent next, in words of the caller's own that hold no content.
    ///
    /// # Errors
    /// `Moved` when it stands elsewhere.
    pub async fn advance_planned(
        &self,
        project: &ProjectId,
        name: &str,
        (from, to): (i64, i64),
        done: impl Into<Delivered>,
        plan: &str,
    ) -> Result<(), StoreError> {
        let number = self.project(project).await?.number;
        let (name, engine, now, plan) = (name.to_owned(), self.data().engine, self.clock().now(), plan.to_owned());
        let own = self.ring().own();
        let delivered: Delivered = done.into();
        self.data()
            .run_tx("advance cursor", move |connection| {
                let (name, delivered, plan, own) = (name.clone(), delivered.clone(), plan.clone(), own.clone());
                Box::pin(async move {
                    let done = query(
                        "UPDATE cursors SET number = $1, plan = $5 WHERE project = $2 AND destination = $3 AND number = $4",
                    )
                    .bind(to)
                    .bind(number)
                    .bind(name.as_str())
                    .bind(from)
                    .bind(plan)
                    .execute(&mut *connection)
                    .await
                    .during("advance cursor")?;
                    if done.rows_affected() != 1 {
                        return Err(StoreError::Moved { what: format!("the cursor of destination {name}") });
                    }
                    let dead = delivered.dead.as_slice();
                    let letters = Letters { project: number, name: &name, dead, now, own: &own };
                    let tail = "ON CONFLICT (project, destination, number) DO NOTHING";
                    write_letters(connection, engine, letters, tail).await?;
                    let dead = i64::try_from(dead.len()).unwrap_or(i64::MAX);
                    let counts = (delivered.sent, dead, delivered.filtered);
                    count_delivered(connection, (number, &name), now, counts).await
                })
            })
            .await
    }

    /// Pauses a destination with a reason and a notice, or resumes it with `None`, which ends that notice.
    ///
    /// # Errors
    /// `NotFound`; `Barred` for one that may not be resumed as it is entered.
    pub async fn pause_destination(
        &self,
        project: &ProjectId,
        name: &str,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let paused = reason.map(str::to_owned);
        if paused.is_none() {
            let (destination, _) = self.destination(project, name).await?;
            if destination.paused.is_some() {
                admit(&destination, &self.project(project).await?.settings)?;
            }
        }
        let act = if paused.is_some() { "destination.pause" } else { "destination.resume" };
        let change = move |destination: &mut Destination| {
            destination.paused.clone_from(&paused);
            true
        };
        self.alter_destination((act, "pause destination"), (project, name), None, Arc::new(change)).await?;
        // Paused it is not tried, and resumed it begins anew.
        self.delivery_recovered(project, name).await?;
        if reason.is_none() {
            self.resolve_notice(NoticeKind::DestinationPaused, Some(project), name).await?;
        }
        if let Some(reason) = reason {
            let text = format!(
                "destination {name} was paused: {reason}; mend it, then `convizit destination resume {project} {name}`"
            );
            self.raise(NoticeKind::DestinationPaused, Some(project), name, &text).await?;
        }
        Ok(())
    }

    /// Pauses a destination since a person wants it so: no notice calls for anybody. One that is paused already stays as it is, so that
    /// what failed goes on being said.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn rest_destination(&self, project: &ProjectId, name: &str) -> Result<(), StoreError> {
        let reason = self.rest_reason(false);
        let change = move |destination: &mut Destination| {
            let runs = destination.paused.is_none();
            if runs {
                destination.paused = Some(reason.clone());
            }
            runs
        };
        let act = ("destination.pause", "pause destination");
        if self.alter_destination(act, (project, name), None, Arc::new(change)).await? {
            // Paused it is not tried.
            self.delivery_recovered(project, name).await?;
        }
        Ok(())
    }

    /// Why a destination waits that whoever acts pauses now, or adds so.
    #[must_use]
    pub fn rest_reason(&self, added: bool) -> String {
        Rest::reason(added, self.actor(), self.clock().now())
    }

    /// Enters who processes a destination's events.
    ///
    /// # Errors
    /// `NotFound`; `Barred` for one that sends and would not be allowed to.
    pub async fn enter_processor(
        &self,
        project: &ProjectId,
        name: &str,
        processor: &Processor,
    ) -> Result<(), StoreError> {
        let (seen, _) = self.destination(project, name).await?;
        let changed = Destination { processor: Some(processor.clone()), ..seen.clone() };
        self.admit_change(&seen, &changed).await?;
        let processor = processor.clone();
        let change = move |destination: &mut Destination| {
            destination.processor = Some(processor.clone());
            true
        };
        let act = ("destination.processor", "enter processor");
        self.alter_destination(act, (project, name), None, Arc::new(change)).await.map(|_| ())
    }

    /// One that sends already goes on though it could not be enabled now, and is not made such a one.
    async fn admit_change(&self, seen: &Destination, changed: &Destination) -> Result<(), StoreError> {
        let settings = self.project(&seen.project).await?.settings;
        if changed.enabled && changed.paused.is_none() && admit(seen, &settings).is_ok() {
            admit(changed, &settings)?;
        }
        Ok(())
    }

    /// Changes what a destination that stands as `seen` is and wants, and who processes it; false, and nothing is changed, when somebody has changed it
    /// since. Whether it is paused stays; without a new secret the stored one stays.
    ///
    /// # Errors
    /// `NotFound`; `Barred` for one that sends and would not be allowed to.
    pub async fn change_destination(
        &self,
        seen: &Destination,
        changed: &Destination,
        secret: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.admit_change(seen, changed).await?;
        let (was, to) = (seen.clone(), changed.clone());
        let change = move |destination: &mut Destination| {
            let same = destination.kind == was.kind
                && destination.types == was.types
                && destination.shaping == was.shaping
                && destination.processor == was.processor;
            if same {
                (destination.kind, destination.types) = (to.kind.clone(), to.types.clone());
                destination.shaping.clone_from(&to.shaping);
                destination.processor.clone_from(&to.processor);
            }
            same
        };
        let (act, of) = (("destination.save", "change destination"), (&seen.project, seen.name.as_str()));
        self.alter_destination(act, of, secret, Arc::new(change)).await
    }

    /// Read and changed in one transaction: one that is removed meanwhile must not come back.
    async fn alter_destination(
        &self,
        (act, tx): (&'static str, &'static str),
        (project, name): (&ProjectId, &str),
        secret: Option<&str>,
        change: Alter,
    ) -> Result<bool, StoreError> {
        let number = self.project(project).await?.number;
        let (wanted, now) = (name.to_owned(), self.clock().now());
        let with_secret = secret.is_some();
        let (entry, ring) = (self.entry(act, project.as_str(), name, ""), self.ring().clone());
        let mut tries = 0;
        let altered = loop {
            let done = async {
                let keys = self.keyring().project(number).await?;
                let version = keys.sealing(now)?;
                let sealed = secret.map(|secret| keys.seal(now, secret_of(name), secret.as_bytes())).transpose()?;
                let (wanted, change, entry, ring) = (wanted.clone(), change.clone(), entry.clone(), ring.clone());
                self.control()
                    .run_tx(tx, move |connection| {
                        let (wanted, change, sealed) = (wanted.clone(), change.clone(), sealed.clone());
                        let (mut entry, ring, keys) = (entry.clone(), ring.clone(), keys.clone());
                        Box::pin(async move {
                            still_living(connection, number, version).await?;
                            let body: Option<Vec<u8>> =
                                sqlx::query_scalar("SELECT body FROM destinations WHERE project = $1 AND name = $2")
                                    .bind(number)
                                    .bind(wanted.as_str())
                                    .fetch_optional(&mut *connection)
                                    .await
                                    .during(tx)?;
                            let body = body.ok_or_else(|| StoreError::not_found("destination", &wanted))?;
                            let mut destination = read(&wanted, &keys.open(body_of(&wanted), &body)?)?;
                            let was = destination.clone();
                            if !change(&mut destination) {
                                return Ok(false);
                            }
                            entry.detail = changed_words(Some(&was), &destination, with_secret);
                            let changed = serde_json::to_vec(&destination)
                                .map_err(|error| StoreError::Invalid(error.to_string()))?;
                            let changed = keys.seal(now, body_of(&wanted), &changed)?;
                            // As it was read: on PostgreSQL another may have changed it since.
                            let done = query(
                                "UPDATE destinations SET body = $1, secret = COALESCE($2, secret) \
                                 WHERE project = $3 AND name = $4 AND body = $5",
                            )
                            .bind(changed)
                            .bind(sealed)
                            .bind(number)
                            .bind(wanted.as_str())
                            .bind(body)
                            .execute(&mut *connection)
                            .await
                            .during(tx)?;
                            if done.rows_affected() == 0 {
                                return Err(StoreError::Moved { what: format!("destination {wanted}") });
                            }
                            audit::append(connection, &ring, &[entry]).await?;
                            projects::touch(connection).await?;
                            Ok(true)
                        })
                    })
                    .await
            }
            .await;
            if self.is_over(&done, &mut tries).await? {
                break done?;
            }
        };
        self.refresh().await?;
        Ok(altered)
    }
}
