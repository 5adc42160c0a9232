//! Incidents: opened by the rules, seen to by people, each step in the audit log and in the incident's own history.

use std::collections::HashMap;

use convizit_keys::Place;
use convizit_model::{Incident, IncidentKind, IncidentNote, IncidentState, NoticeKind, ProjectId, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, query};
use tokio::sync::Mutex;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};
use crate::signals::{self, Found, LONGEST};

static LOOKING: Mutex<()> = Mutex::const_new(());
/// Characters of what a person writes.
const TEXT_CHARS: usize = 4_000;
/// Incidents, and lines of a history, that are listed.
const LISTED: i64 = 500;
const COLUMNS: &str = "SELECT id, kind, project, subject, text, state, owner, opened, acknowledge_by, resolve_by, triaged, \
                       resolved, last, version, told FROM incidents";

/// What a person does with an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentChange {
    /// Somebody has looked at it, and this account sees to it.
    Triage {
        /// Who sees to it.
        owner: Option<i64>,
        /// What they found; may be empty.
        text: String,
    },
    /// Another account sees to it.
    Own(i64),
    /// Something to be kept.
    Note(String),
    /// It is over, and this is what it was.
    Resolve(String),
}

impl IncidentChange {
    const fn act(&self) -> (&'static str, &'static str) {
        match self {
            Self::Triage { .. } => ("triage", "incident.triage"),
            Self::Own(_) => ("own", "incident.own"),
            Self::Note(_) => ("note", "incident.note"),
            Self::Resolve(_) => ("resolve", "incident.resolve"),
        }
    }
}

fn text_of(row: &[u8; 8]) -> Place<'_> {
    Place { table: "incidents", purpose: "text", row }
}

fn note_of(row: &[u8; 16]) -> Place<'_> {
    Place { table: "incident_notes", purpose: "text", row }
}

/// An incident's number and its note's, as a sealed value is bound to them.
fn note_row(incident: i64, number: i64) -> [u8; 16] {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&incident.to_be_bytes());
    row[8..].copy_from_slice(&number.to_be_bytes());
    row
}

fn written(text: &str, needed: bool) -> Result<(), StoreError> {
    if needed && text.trim().is_empty() {
        return Err(StoreError::Invalid("write what it was: whoever reads it in a year knows nothing else".to_owned()));
    }
    if text.chars().count() > TEXT_CHARS {
        return Err(StoreError::Invalid(format!("at most {TEXT_CHARS} characters")));
    }
    Ok(())
}

/// When something happened; 0 is stored where it has not.
fn happened(millis: i64) -> Option<Timestamp> {
    (millis != 0).then(|| Timestamp::from_millis(millis))
}

impl Store {
    /// Holds the rules against the signals of the last hour, opens what they find, and raises a notice for each opened incident and
    /// each deadline that has passed. Returns how many were opened.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn look_for_incidents(&self) -> Result<usize, StoreError> {
        // One look after the other, so that nothing is said twice.
        let _alone = LOOKING.lock().await;
        let now = self.clock().now();
        let signals = self.signals().await?;
        let mut opened = 0;
        if !signals.is_empty() {
            let over = self.resolved_since(now.plus_millis(-LONGEST)).await?;
            let until = |kind: IncidentKind, project: &str, subject: &str| {
                over.get(&(kind.as_str().to_owned(), project.to_owned(), subject.to_owned())).copied().unwrap_or(0)
            };
            for found in signals::look(&signals, now.as_millis(), until) {
                opened += usize::from(self.open_incident(found).await?);
            }
        }
        self.raise_incidents(now).await?;
        Ok(opened)
    }

    /// Until when signals belong to an incident that was resolved, by kind, project and subject.
    async fn resolved_since(&self, since: Timestamp) -> Result<HashMap<(String, String, String), i64>, StoreError> {
        let rows = query(
            "SELECT kind, project, subject, MAX(resolved) FROM incidents WHERE resolved > $1 GROUP BY kind, project, subject",
        )
        .bind(since.as_millis())
        .fetch_all(self.control().readers())
        .await
        .during("read resolved incidents")?;
        rows.iter().map(|row| Ok(((row.read(0)?, row.read(1)?, row.read(2)?), row.read(3)?))).collect()
    }

    /// Opens an incident, or notes that the open one goes on; whether it was opened.
    async fn open_incident(&self, found: Found) -> Result<bool, StoreError> {
        const NAME: &str = "open incident";
        let going_on: Option<i64> = sqlx::query_scalar(
            "SELECT last FROM incidents WHERE kind = $1 AND project = $2 AND subject = $3 AND state <> 'resolved'",
        )
        .bind(found.kind.as_str())
        .bind(found.project.as_str())
        .bind(found.subject.as_str())
        .fetch_optional(self.control().readers())
        .await
        .during(NAME)?;
        if going_on.is_some_and(|last| last >= found.last) {
            return Ok(false);
        }
        let (store, now) = (self.clone(), self.clock().now());
        let found = std::sync::Arc::new(found);
        self.control()
            .run_tx(NAME, move |connection| {
                let (store, found) = (store.clone(), found.clone());
                Box::pin(async move { store.write_incident(connection, &found, now).await })
            })
            .await
    }

    async fn write_incident(
        &self,
        connection: &mut AnyConnection,
        found: &Found,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const NAME: &str = "open incident";
        let (kind, project, subject) = (found.kind.as_str(), found.project.as_str(), found.subject.as_str());
        let sql =
            "UPDATE incidents SET last = $1 WHERE kind = $2 AND project = $3 AND subject = $4 AND state <> 'resolved'";
        let known = query(sql).bind(found.last).bind(kind).bind(project).bind(subject);
        if known.execute(&mut *connection).await.during(NAME)?.rows_affected() > 0 {
            return Ok(false);
        }
        // Never used again: the audit log names them.
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO control_version (id, version) VALUES (4, 1) \
             ON CONFLICT (id) DO UPDATE SET version = control_version.version + 1 RETURNING version",
        )
        .fetch_one(&mut *connection)
        .await
        .during(NAME)?;
        let (acknowledge, resolve) = found.kind.deadlines();
        query(
            "INSERT INTO incidents (id, kind, project, subject, text, state, owner, opened, acknowledge_by, resolve_by, \
             triaged, resolved, last, version, told) VALUES ($1, $2, $3, $4, $5, 'open', 0, $6, $7, $8, 0, 0, $9, 1, 0)",
        )
        .bind(id)
        .bind(kind)
        .bind(project)
        .bind(subject)
        .bind(self.keyring().seal_own(text_of(&id.to_be_bytes()), found.text.as_bytes())?)
        .bind(now.as_millis())
        .bind(now.plus_millis(acknowledge).as_millis())
        .bind(now.plus_millis(resolve).as_millis())
        .bind(found.last)
        .execute(&mut *connection)
        .await
        .during(NAME)?;
        let system = self.acting_as(crate::keyring::SYSTEM);
        system.write_note(connection, id, "open", "").await?;
        let entry = system.entry("incident.open", project, &format!("incident:{id}"), format!("{kind} {subject}"));
        crate::audit::append(connection, self.ring(), &[entry]).await?;
        Ok(true)
    }

    /// A line of an incident's history, inside a transaction.
    async fn write_note(
        &self,
        connection: &mut AnyConnection,
        incident: i64,
        act: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        const NAME: &str = "write incident note";
        let number: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) + 1 FROM incident_notes WHERE incident = $1")
                .bind(incident)
                .fetch_one(&mut *connection)
                .await
                .during(NAME)?;
        let sealed = self.keyring().seal_own(note_of(&note_row(incident, number)), text.trim().as_bytes())?;
        query("INSERT INTO incident_notes (incident, number, time, actor, act, text) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(incident)
            .bind(number)
            .bind(self.clock().now().as_millis())
            .bind(self.actor())
            .bind(act)
            .bind(sealed)
            .execute(connection)
            .await
            .during(NAME)
            .map(|_| ())
    }

    /// Makes the incidents and signals of a removed project the installation's, inside a transaction, so that a later project of the
    /// same id has no part in them; of those that are not over a notice is raised anew. `gone` is no id of a project, and another
    /// one each time: it keeps them apart.
    pub(crate) async fn keep_incidents(
        &self,
        connection: &mut AnyConnection,
        project: &str,
        gone: &str,
    ) -> Result<(), StoreError> {
        const NAME: &str = "keep incidents";
        let incidents: Vec<i64> = sqlx::query_scalar("SELECT id FROM incidents WHERE project = $1 ORDER BY id")
            .bind(project)
            .fetch_all(&mut *connection)
            .await
            .during(NAME)?;
        for incident in incidents {
            self.write_note(
                connection,
                incident,
                "note",
                &format!("It is of the project {project}, which was removed."),
            )
            .await?;
        }
        for sql in [
            "UPDATE incidents SET project = $1, told = CASE WHEN state = 'resolved' THEN told ELSE 0 END WHERE project = $2",
            "UPDATE signals SET project = $1 WHERE project = $2",
        ] {
            query(sql).bind(gone).bind(project).execute(&mut *connection).await.during(NAME)?;
        }
        Ok(())
    }

    /// Raises what is still to be said of incidents. The notice comes first: an end in between says it twice, which is one notice.
    async fn raise_incidents(&self, now: Timestamp) -> Result<(), StoreError> {
        const NAME: &str = "raise incident";
        let sql = format!(
            "{COLUMNS} WHERE state <> 'resolved' AND (told = 0 OR (told = 1 AND state = 'open' AND acknowledge_by < $1) \
             OR (told < 3 AND resolve_by < $1)) ORDER BY id LIMIT 100"
        );
        let rows = query(sqlx::AssertSqlSafe(sql))
            .bind(now.as_millis())
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?;
        for row in &rows {
            let incident = self.incident_of(row).await?;
            let told: i64 = row.read(14)?;
            let id = incident.id;
            let (told, subject, text) = if told == 0 {
                (1, format!("incident:{id}"), format!("{}: {}", incident.kind.title(), incident.text))
            } else if now > incident.resolve_by {
                (
                    3,
                    format!("incident:{id} resolve"),
                    format!("incident {id} should be resolved by now: {}", incident.text),
                )
            } else {
                let text = format!("nobody has looked at incident {id} yet: {}", incident.text);
                (2, format!("incident:{id} acknowledge"), text)
            };
            self.raise(NoticeKind::Incident, incident.project.as_ref(), &subject, &text).await?;
            self.control()
                .run_tx(NAME, move |connection| {
                    Box::pin(async move {
                        query("UPDATE incidents SET told = $1 WHERE id = $2 AND told < $1")
                            .bind(told)
                            .bind(id)
                            .execute(connection)
                            .await
                            .during(NAME)
                            .map(|_| ())
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn incident_of(&self, row: &AnyRow) -> Result<Incident, StoreError> {
        let id: i64 = row.read(0)?;
        let text = self.keyring().open_sealed(0, text_of(&id.to_be_bytes()), row.read(4)?).await?;
        let newer = || StoreError::Unusable(format!("incident {id} is of a newer convizit: start that version"));
        let owner: i64 = row.read(6)?;
        let time = |index: usize| Ok::<_, StoreError>(Timestamp::from_millis(row.read(index)?));
        Ok(Incident {
            id,
            kind: IncidentKind::of(row.read(1)?).ok_or_else(newer)?,
            project: row.read::<String>(2)?.parse().ok(),
            subject: row.read(3)?,
            text: String::from_utf8_lossy(&text).into_owned(),
            state: IncidentState::of(row.read(5)?).ok_or_else(newer)?,
            owner: (owner != 0).then_some(owner),
            opened: time(7)?,
            acknowledge_by: time(8)?,
            resolve_by: time(9)?,
            triaged: happened(row.read(10)?),
            resolved: happened(row.read(11)?),
            last: time(12)?,
            version: row.read(13)?,
        })
    }

    /// Incidents of a project, or all, the newest first; resolved ones too where they are asked for.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn incidents(&self, project: Option<&ProjectId>, resolved: bool) -> Result<Vec<Incident>, StoreError> {
        let sql = format!(
            "{COLUMNS} WHERE ($1 IS NULL OR project = $1) AND ($2 = 1 OR state <> 'resolved') ORDER BY id DESC LIMIT $3"
        );
        let rows = query(sqlx::AssertSqlSafe(sql))
            .bind(project.map(ProjectId::as_str))
            .bind(i64::from(resolved))
            .bind(LISTED)
            .fetch_all(self.control().readers())
            .await
            .during("list incidents")?;
        let mut incidents = Vec::with_capacity(rows.len());
        for row in &rows {
            incidents.push(self.incident_of(row).await?);
        }
        Ok(incidents)
    }

    /// One incident; of a project where one is named.
    ///
    /// # Errors
    /// `NotFound`, also for one of another project.
    pub async fn incident(&self, project: Option<&ProjectId>, id: i64) -> Result<Incident, StoreError> {
        let sql = format!("{COLUMNS} WHERE id = $1 AND ($2 IS NULL OR project = $2)");
        let row = query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(project.map(ProjectId::as_str))
            .fetch_optional(self.control().readers())
            .await
            .during("read incident")?;
        self.incident_of(&row.ok_or_else(|| StoreError::not_found("incident", id))?).await
    }

    /// An incident's history, the oldest first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn incident_notes(&self, id: i64) -> Result<Vec<IncidentNote>, StoreError> {
        let sql =
            "SELECT number, time, actor, act, text FROM incident_notes WHERE incident = $1 ORDER BY number LIMIT $2";
        let rows =
            query(sql).bind(id).bind(LISTED).fetch_all(self.control().readers()).await.during("read incident notes")?;
        let mut notes = Vec::with_capacity(rows.len());
        for row in &rows {
            let place = note_row(id, row.read(0)?);
            let text = self.keyring().open_sealed(0, note_of(&place), row.read(4)?).await?;
            notes.push(IncidentNote {
                time: Timestamp::from_millis(row.read(1)?),
                actor: row.read(2)?,
                act: row.read(3)?,
                text: String::from_utf8_lossy(&text).into_owned(),
            });
        }
        Ok(notes)
    }

    /// Changes an incident as it stood at a version.
    ///
    /// # Errors
    /// `NotFound`; `Moved` when somebody has changed it since; `Invalid` when the step is not the next one, or what to write.
    pub async fn change_incident(
        &self,
        incident: &Incident,
        version: i64,
        change: IncidentChange,
    ) -> Result<(), StoreError> {
        const NAME: &str = "change incident";
        let state = incident.state;
        let refuse = |text: &str| Err(StoreError::Invalid(text.to_owned()));
        let (sql, owner, text) = match &change {
            _ if state == IncidentState::Resolved && !matches!(change, IncidentChange::Note(_)) => {
                return refuse("it is resolved: what comes again is an incident of its own");
            }
            IncidentChange::Triage { .. } if state != IncidentState::Open => {
                return refuse("somebody sees to it already");
            }
            IncidentChange::Triage { owner, text } => {
                written(text, false)?;
                let sql = "UPDATE incidents SET version = version + 1, state = 'triaged', triaged = $3, owner = $4 WHERE id = $1 AND version = $2";
                (sql, owner.unwrap_or(0), text.clone())
            }
            IncidentChange::Own(owner) => {
                let sql =
                    "UPDATE incidents SET version = version + 1, owner = $4 WHERE id = $1 AND version = $2 AND $3 > 0";
                (sql, *owner, format!("account:{owner}"))
            }
            IncidentChange::Note(text) => {
                written(text, true)?;
                let sql = "UPDATE incidents SET version = version + 1 WHERE id = $1 AND version = $2 AND $3 > $4";
                (sql, 0, text.clone())
            }
            IncidentChange::Resolve(_) if state != IncidentState::Triaged => {
                return refuse("nobody has looked at it yet: triage it first");
            }
            IncidentChange::Resolve(text) => {
                written(text, true)?;
                let sql = "UPDATE incidents SET version = version + 1, state = 'resolved', resolved = $3 WHERE id = $1 AND version = $2 AND $3 > $4";
                (sql, 0, text.clone())
            }
        };
        let (act, audited) = change.act();
        let project = incident.project.as_ref().map(ProjectId::as_str).unwrap_or_default();
        let entry = self.entry(audited, project, &format!("incident:{}", incident.id), "");
        let (store, id, now) = (self.clone(), incident.id, self.clock().now().as_millis());
        let text = std::sync::Arc::new(text);
        self.change(NAME, entry, move |connection| {
            let (store, text) = (store.clone(), text.clone());
            Box::pin(async move {
                let done = query(sql).bind(id).bind(version).bind(now).bind(owner).execute(&mut *connection).await;
                if done.during(NAME)?.rows_affected() == 0 {
                    return Err(StoreError::Moved { what: format!("incident {id}") });
                }
                store.write_note(connection, id, act, &text).await
            })
        })
        .await?;
        let over: &[&str] = match change {
            IncidentChange::Resolve(_) => &["", " acknowledge", " resolve"],
            IncidentChange::Triage { .. } => &[" acknowledge"],
            _ => &[],
        };
        for what in over {
            let subject = format!("incident:{id}{what}");
            self.resolve_notice(NoticeKind::Incident, incident.project.as_ref(), &subject).await?;
        }
        Ok(())
    }
}
