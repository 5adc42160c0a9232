//! Rows of what was learned that do not open: taken out of `state` as they are, told, and learned anew, so that one damaged row holds
//! up no event of its project and none of any other.
//!
//! What people decided is not set aside: to go on without it would be to act against it.

use std::collections::{BTreeMap, HashSet};

use convizit_keys::KeyError;
use convizit_model::{LostRow, NoticeKind, ProjectId, StateKind, StateRow, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::query;

use crate::error::{Columns as _, During, StoreError};
use crate::named_keys::date;
use crate::{Store, notices};

/// Rows of a project that are set aside at most: where more do not open, something else is wrong than a row.
const MOST: usize = 100;
/// Rows that a notice names.
const SAID: usize = 5;

/// What the worker reads of a project: what is known, and what was lost.
#[derive(Debug, Default)]
pub struct Learned {
    /// The rows that open.
    pub rows: Vec<StateRow>,
    /// Those that were set aside, and are not known again.
    pub lost: Vec<LostRow>,
}

/// A row that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedRow {
    /// The project's id.
    pub project: ProjectId,
    /// What it is a row of: `controls`, `groups`, `names`, `page templates`, `class words`.
    pub of: &'static str,
    /// Its kind and key, as `convizit verify` names rows: `1/7461`.
    pub row: String,
    /// When it was set aside.
    pub since: Timestamp,
    /// The day from which on retention takes it.
    pub goes: String,
}

/// Rows, sorted by whether they open.
#[derive(Default)]
pub(crate) struct Sorted {
    pub(crate) opened: Vec<StateRow>,
    damaged: Vec<Aside>,
    /// What is wrong with the first that does not.
    error: Option<StoreError>,
}

/// A row as it is.
#[derive(Clone)]
struct Aside {
    kind: StateKind,
    key: i64,
    expires: Option<i64>,
    body: Vec<u8>,
}

/// What rows of a kind are of, and what comes of it that one is lost; nothing for those that are not set aside.
const fn said(kind: StateKind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        StateKind::Element => (
            "controls",
            "Until it is seen again as it was first seen, controls that are not known by their keys count as new ones, so that none gets \
             the name of another. Where you had said that it is not captured, look whether it is now",
        ),
        StateKind::Group => (
            "groups",
            "Until it is seen again as it was first seen, lists that are not known by their keys count as new ones, so that none gets the \
             name of another. Where you had said that one is not captured, look whether it is now",
        ),
        StateKind::Name => {
            ("names", "It says again what its newest stored event says; where none is stored any more, it is made anew")
        }
        StateKind::Template => (
            "page templates",
            "Where no name speaks of its pages, they count as pages of their own until enough of them were seen",
        ),
        StateKind::Class => ("class words", "Which classes a redesign keeps is counted anew"),
        StateKind::Session | StateKind::Decision | StateKind::Place | StateKind::Waiting => return None,
    })
}

impl Store {
    /// What was learned of a project, but its sessions, for whoever goes on learning: rows that do not open are set aside with a notice.
    ///
    /// # Errors
    /// `Database`, `Keys`: also where a decision does not open, where nothing does, or where more than a hundred rows do not.
    pub async fn load_learned(&self, project: i64) -> Result<Learned, StoreError> {
        let Sorted { opened, damaged, error } = self.sorted_state(project).await?;
        if let Some(error) = error {
            self.set_aside(project, damaged, error).await?;
        }
        let lost = self.lost(project, &opened).await?;
        Ok(Learned { rows: opened, lost })
    }

    /// The rows that were set aside, of all projects.
    ///
    /// # Errors
    /// `Database`.
    pub async fn damaged_rows(&self) -> Result<Vec<DamagedRow>, StoreError> {
        let rows = query("SELECT project, kind, key, expires, since FROM damaged_state ORDER BY project, kind, key")
            .fetch_all(self.data().readers())
            .await
            .during("list damaged rows")?;
        let projects = self.projects().await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let (project, kind, key): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
            let of = StateKind::from_number(kind).and_then(said);
            let project = projects.iter().find(|known| known.number == project);
            let (Some((of, _)), Some(project)) = (of, project) else { continue };
            let days = i64::from(project.settings.retention_days);
            found.push(DamagedRow {
                project: project.id.clone(),
                of,
                row: format!("{kind}/{key}"),
                since: Timestamp::from_millis(row.read(4)?),
                goes: date(row.read::<i64>(3)? + days + 1),
            });
        }
        Ok(found)
    }

    /// All state rows of a project but its sessions, sorted by whether they open.
    pub(crate) async fn sorted_state(&self, project: i64) -> Result<Sorted, StoreError> {
        let rows =
            query("SELECT kind, key, expires, body FROM state WHERE project = $1 AND kind <> 5 ORDER BY kind, key")
                .bind(project)
                .fetch_all(self.data().readers())
                .await
                .during("load state")?;
        let mut sorted = Sorted::default();
        if rows.is_empty() {
            return Ok(sorted);
        }
        // A key that does not open is no damage of rows.
        self.keyring().project(project).await?;
        for row in &rows {
            match self.open_known(project, row, 0).await {
                Ok(opened) => sorted.opened.extend(opened),
                Err(error) => {
                    let aside = self.aside(project, row, &error).await?;
                    let Some(aside) = aside else { return Err(error) };
                    sorted.damaged.push(aside);
                    sorted.error.get_or_insert(error);
                }
            }
        }
        match sorted.error {
            // It is not the rows that are damaged.
            Some(error) if sorted.opened.is_empty() || sorted.damaged.len() > MOST => Err(error),
            _ => Ok(sorted),
        }
    }

    /// A row that does not open, where it is damaged and can be learned anew.
    async fn aside(&self, project: i64, row: &AnyRow, error: &StoreError) -> Result<Option<Aside>, StoreError> {
        let Some(kind) = StateKind::from_number(row.read(0)?).filter(|kind| said(*kind).is_some()) else {
            return Ok(None);
        };
        let aside = || Ok(Aside { kind, key: row.read(1)?, expires: row.read(2)?, body: row.read(3)? });
        self.is_damaged_row(project, error).await?.then(aside).transpose()
    }

    /// Whether a row did not open since it is damaged itself.
    pub(crate) async fn is_damaged_row(&self, project: i64, error: &StoreError) -> Result<bool, StoreError> {
        Ok(match error {
            StoreError::Keys(KeyError::Open { .. }) => true,
            // What is sealed begins with the version of its key: no key has one that is still to be made.
            StoreError::Keys(KeyError::Unknown { version, .. }) => {
                let newest = self.keyring().project(project).await?.newest().map_or(0, |(newest, _)| newest);
                *version > newest
            }
            _ => false,
        })
    }

    async fn set_aside(&self, project: i64, damaged: Vec<Aside>, error: StoreError) -> Result<(), StoreError> {
        const NAME: &str = "set damaged rows aside";
        let before: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM damaged_state WHERE project = $1")
            .bind(project)
            .fetch_one(self.data().readers())
            .await
            .during(NAME)?;
        if usize::try_from(before).unwrap_or(MOST) + damaged.len() > MOST {
            return Err(error);
        }
        let Some(of) = self.projects().await?.into_iter().find(|known| known.number == project) else { return Ok(()) };
        let mut texts: BTreeMap<&'static str, String> = BTreeMap::new();
        for (kind, rows) in by_kind(&damaged) {
            let Some((what, then)) = said(kind) else { continue };
            let named: Vec<String> = rows.iter().take(SAID).map(|row| format!("{}/{}", kind as i64, row.key)).collect();
            let more = rows.len().saturating_sub(SAID);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let text = format!(
                "of what was learned of the {what} of this site, {} not open (state row {}{more}): set aside and learned anew. Events go on, and \
                 none is lost. {then}. convizit doctor names what is set aside; a backup has it whole",
                if rows.len() == 1 { "1 row does".to_owned() } else { format!("{} rows do", rows.len()) },
                named.join(", ")
            );
            tracing::warn!(project = %of.id, of = what, rows = rows.len(), "damaged rows of what was learned are set aside");
            texts.insert(what, text);
        }
        let (now, own, id) = (self.clock().now(), self.ring().own(), of.id.to_string());
        self.data()
            .run_tx(NAME, move |connection| {
                let (damaged, texts, own, id) = (damaged.clone(), texts.clone(), own.clone(), id.clone());
                Box::pin(async move {
                    for row in damaged {
                        query(
                            "INSERT INTO damaged_state (project, kind, key, expires, since, body) VALUES ($1, $2, $3, $4, $5, $6) \
                             ON CONFLICT (project, kind, key) DO UPDATE SET expires = excluded.expires, since = excluded.since, body = excluded.body",
                        )
                        .bind(project)
                        .bind(row.kind as i64)
                        .bind(row.key)
                        .bind(row.expires.unwrap_or_else(|| now.day()))
                        .bind(now.as_millis())
                        .bind(row.body.as_slice())
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                        // Unless it was written anew meanwhile.
                        query("DELETE FROM state WHERE project = $1 AND kind = $2 AND key = $3 AND body = $4")
                            .bind(project)
                            .bind(row.kind as i64)
                            .bind(row.key)
                            .bind(row.body.as_slice())
                            .execute(&mut *connection)
                            .await
                            .during(NAME)?;
                    }
                    for (subject, text) in texts {
                        notices::raise(connection, &own, NoticeKind::Damaged, (&id, subject), &text, now).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// What was set aside of a project and is not known again; of a name, what its newest event says.
    async fn lost(&self, project: i64, known: &[StateRow]) -> Result<Vec<LostRow>, StoreError> {
        let rows = query("SELECT kind, key FROM damaged_state WHERE project = $1 ORDER BY kind, key")
            .bind(project)
            .fetch_all(self.data().readers())
            .await
            .during("read damaged rows")?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let known: HashSet<(StateKind, u64)> = known.iter().map(|row| (row.kind, row.key)).collect();
        let mut lost = Vec::new();
        for row in rows {
            let (kind, key) = (StateKind::from_number(row.read(0)?), row.read::<i64>(1)?.cast_unsigned());
            let Some(kind) = kind.filter(|kind| !known.contains(&(*kind, key))) else { continue };
            let newest = match kind {
                StateKind::Name => match self.samples(project, key).await {
                    Ok(events) => events.into_iter().next(),
                    Err(error) if crate::erasure::is_damage(&error) => None,
                    Err(error) => return Err(error),
                },
                _ => None,
            };
            lost.push(LostRow { kind, key, newest });
        }
        Ok(lost)
    }
}

fn by_kind(rows: &[Aside]) -> BTreeMap<StateKind, Vec<&Aside>> {
    let mut kinds: BTreeMap<StateKind, Vec<&Aside>> = BTreeMap::new();
    for row in rows {
        kinds.entry(row.kind).or_default().push(row);
    }
    kinds
}
