//! What needs a key: asked before two people destroy it.

use crate::Store;
use crate::backup::{Progress, StoredEvents};
use crate::error::{During, StoreError};
use serde::Serialize;

/// What cannot be read any more once a key is destroyed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyNeed {
    /// The project's id.
    pub project: String,
    /// Keys of days: itself, or those that it has wrapped.
    pub days: u64,
    /// Frames of those days.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// Sealed rows beside them: what was learned of controls, quarantined items, destinations.
    pub rows: i64,
    /// The token of whoever asked for its end within the last day.
    pub asked_by: Option<String>,
    /// Why this is no second word beside theirs, where it is none: it may be the same person's.
    pub no_second: Option<String>,
}

impl Store {
    /// What goes with a key of this name. Opens the frames to count their events.
    ///
    /// # Errors
    /// `NotFound` for a key that there is not, `Invalid` of a key's form.
    pub async fn key_need(&self, key: &str, progress: &Progress) -> Result<KeyNeed, StoreError> {
        const NAME: &str = "find what needs a key";
        let (project, kind, number, made) = self.find_key(key).await?;
        let asked = self.key_request(key, made).await?;
        let mut need = KeyNeed {
            project: key.split('/').nth(1).unwrap_or_default().to_owned(),
            no_second: asked.as_ref().and_then(|request| self.no_second_person(request)),
            asked_by: asked.map(|request| request.asked_by),
            ..KeyNeed::default()
        };
        let days: Vec<i64> = if kind == "day" {
            vec![number]
        } else {
            sqlx::query_scalar(
                "SELECT number FROM keys WHERE project = $1 AND kind = 'day' AND wrapped_by = $2 ORDER BY number",
            )
            .bind(project)
            .bind(format!("project:{number}"))
            .fetch_all(self.control().readers())
            .await
            .during(NAME)?
        };
        for day in &days {
            let StoredEvents { frames, events, .. } = self.stored_events(project, Some(*day), progress).await?;
            need.frames += frames;
            need.events += events;
        }
        need.days = days.len() as u64;
        if kind != "day" {
            // What is sealed begins with the version of its key.
            let version = u32::try_from(number).unwrap_or(0).to_be_bytes().to_vec();
            for (sql, database) in [
                ("SELECT COUNT(*) FROM state WHERE project = $1 AND substr(body, 1, 4) = $2", self.data()),
                ("SELECT COUNT(*) FROM quarantine WHERE project = $1 AND substr(body, 1, 4) = $2", self.data()),
                ("SELECT COUNT(*) FROM destinations WHERE project = $1 AND substr(body, 1, 4) = $2", self.control()),
            ] {
                let count: i64 = sqlx::query_scalar(sql)
                    .bind(project)
                    .bind(version.clone())
                    .fetch_one(database.readers())
                    .await
                    .during(NAME)?;
                need.rows += count;
            }
        }
        Ok(need)
    }
}
