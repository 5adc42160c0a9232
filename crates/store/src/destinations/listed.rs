//! Which destinations there are and where each stands, and those whose row does not open.

use std::collections::HashMap;

use convizit_keys::KeyError;
use convizit_model::{NoticeKind, ProjectId};
use sqlx::query;

use super::{body_of, read};
use crate::error::{Columns as _, During, StoreError};
use crate::held::is_of_one_project;
use crate::{DestinationState, Store};

impl Store {
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
        let mut failing = self.failing(number).await?;
        let mut states = Vec::new();
        for row in rows {
            let (project, name, body): (i64, String, Vec<u8>) = (row.read(0)?, row.read(1)?, row.read(2)?);
            let body = match self.keyring().open_sealed(project, body_of(&name), &body).await {
                // One that is damaged must not hold up the others.
                Err(error) if is_of_one_project(&error) => {
                    let then = match &error {
                        StoreError::Keys(KeyError::Open { .. }) => "remove it and add it again",
                        _ => "it goes on once the key of its project opens again (convizit doctor)",
                    };
                    let text = format!("destination {name} cannot be opened and sends nothing ({error}): {then}");
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
            let (cursor, dead) = (of(&cursors), of(&dead));
            states.push(DestinationState { destination, cursor, dead, failing: failing.remove(&(project, name)) });
        }
        Ok(states)
    }

    /// How many destinations there are, also those that do not open.
    ///
    /// # Errors
    /// `Database`.
    pub async fn count_destinations(&self) -> Result<usize, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM destinations")
            .fetch_one(self.control().readers())
            .await
            .during("count destinations")?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Names of a project's destinations whose row does not open: they are in no list of states, and can be removed.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn damaged_destinations(&self, project: &ProjectId) -> Result<Vec<String>, StoreError> {
        let number = self.project(project).await?.number;
        let rows = query("SELECT name, body FROM destinations WHERE project = $1 ORDER BY name")
            .bind(number)
            .fetch_all(self.control().readers())
            .await
            .during("list destinations")?;
        let mut damaged = Vec::new();
        for row in rows {
            let (name, body): (String, Vec<u8>) = (row.read(0)?, row.read(1)?);
            match self.keyring().open_sealed(number, body_of(&name), &body).await {
                Err(StoreError::Keys(KeyError::Open { .. })) => damaged.push(name),
                // Of a key that does not open, they all go on with it.
                Err(error) if is_of_one_project(&error) => {}
                opened => drop(opened?),
            }
        }
        Ok(damaged)
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
}
