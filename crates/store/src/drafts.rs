//! Drafts: what people changed on the live site and nobody has published yet. Each is about one name, element or group.

use convizit_keys::Place;
use convizit_model::{Change, Project};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::query;

use crate::Store;
use crate::error::{Columns as _, During, StoreError};

/// Drafts of a project at most.
const DRAFTS: i64 = 500;

/// A change that waits for somebody to publish it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The id of the name, element or group that it is about.
    pub subject: String,
    /// Rises with each change of the draft: whoever replaces, publishes or discards one says which they saw.
    pub version: i64,
    /// Who saved it last.
    pub account: i64,
    /// What is to change.
    pub change: Change,
    /// What that was when it was drafted, in the words of `Change::draft`.
    pub before: String,
}

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// It is there, or it is gone where it was taken back.
    Done(Option<Draft>),
    /// Somebody else was quicker; nothing is written. `None` where theirs is no longer there.
    Meanwhile(Option<Draft>),
}

#[derive(Serialize, Deserialize)]
struct Body {
    change: Change,
    before: String,
}

/// What a sealed draft is bound to.
fn row_of(project: i64, subject: &str) -> String {
    format!("{project}/{subject}")
}

fn body_of(row: &str) -> Place<'_> {
    Place { table: "drafts", purpose: "body", row: row.as_bytes() }
}

const COLUMNS: &str = "SELECT subject, version, account, body FROM drafts WHERE project = $1";

impl Store {
    async fn draft_of(&self, project: i64, row: &AnyRow) -> Result<Draft, StoreError> {
        let (subject, sealed): (String, Vec<u8>) = (row.read(0)?, row.read(3)?);
        let body = self.keyring().open_sealed(0, body_of(&row_of(project, &subject)), &sealed).await?;
        let Body { change, before } = serde_json::from_slice(&body)
            .map_err(|error| StoreError::Unusable(format!("the draft of {subject}: {error}; discard it")))?;
        Ok(Draft { version: row.read(1)?, account: row.read(2)?, subject, change, before })
    }

    /// The drafts of a project, the newest first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn drafts(&self, project: i64) -> Result<Vec<Draft>, StoreError> {
        let rows = query(sqlx::AssertSqlSafe(format!("{COLUMNS} ORDER BY version DESC, subject")))
            .bind(project)
            .fetch_all(self.control().readers())
            .await
            .during("list drafts")?;
        let mut drafts = Vec::with_capacity(rows.len());
        for row in &rows {
            drafts.push(self.draft_of(project, row).await?);
        }
        Ok(drafts)
    }

    /// The draft about a name, element or group.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn draft(&self, project: i64, subject: &str) -> Result<Option<Draft>, StoreError> {
        let row = query(sqlx::AssertSqlSafe(format!("{COLUMNS} AND subject = $2")))
            .bind(project)
            .bind(subject)
            .fetch_optional(self.control().readers())
            .await
            .during("read draft")?;
        match row {
            Some(row) => self.draft_of(project, &row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Saves a draft in the place of the one that the person saw (`seen`; 0 for none); `before` is what now holds. One that changes
    /// nothing takes the draft back.
    ///
    /// # Errors
    /// `Invalid` for a change that is not drafted, and where a project has 500 drafts; `Database`, `Keys`.
    pub async fn save_draft(
        &self,
        project: &Project,
        account: i64,
        change: Change,
        before: &str,
        seen: i64,
    ) -> Result<Saved, StoreError> {
        const NAME: &str = "save draft";
        let Some((subject, aim)) = change.draft() else {
            return Err(StoreError::Invalid("only names, and what is captured, are changed on the site".to_owned()));
        };
        let back = aim == before;
        let number = project.number;
        let version = self.clock().now().as_millis().max(seen.saturating_add(1));
        let body = serde_json::to_vec(&Body { change: change.clone(), before: before.to_owned() })
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        let sealed = self.keyring().seal_own(body_of(&row_of(number, &subject)), &body)?;
        let entry = self.entry("draft.save", project.id.as_str(), &subject, if back { "taken back" } else { "" });
        let of = subject.clone();
        let written = self
            .change(NAME, entry, move |connection| {
                let (subject, sealed) = (of.clone(), sealed.clone());
                Box::pin(async move {
                    let sql = match (back, seen) {
                        (true, _) => "DELETE FROM drafts WHERE project = $1 AND subject = $2 AND version = $3",
                        (false, 0) => {
                            "INSERT INTO drafts (project, subject, version, account, body) VALUES ($1, $2, $3, $4, $5) \
                             ON CONFLICT (project, subject) DO NOTHING"
                        }
                        (false, _) => {
                            "UPDATE drafts SET version = $3, account = $4, body = $5 \
                             WHERE project = $1 AND subject = $2 AND version = $6"
                        }
                    };
                    let mut write = query(sql).bind(number).bind(subject.as_str());
                    write = if back { write.bind(seen) } else { write.bind(version).bind(account).bind(sealed) };
                    if !back && seen != 0 {
                        write = write.bind(seen);
                    }
                    let done = write.execute(&mut *connection).await.during(NAME)?;
                    // One that was not there need not be taken back.
                    if done.rows_affected() == 0 && !(back && seen == 0) {
                        return Err(StoreError::Moved { what: format!("the draft of {subject}") });
                    }
                    let all: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM drafts WHERE project = $1")
                        .bind(number)
                        .fetch_one(connection)
                        .await
                        .during(NAME)?;
                    if all > DRAFTS {
                        let text = format!("{DRAFTS} drafts wait already: publish or discard some in the console");
                        return Err(StoreError::Invalid(text));
                    }
                    Ok(())
                })
            })
            .await;
        match written {
            Ok(()) if back => Ok(Saved::Done(None)),
            Ok(()) => Ok(Saved::Done(Some(Draft { subject, version, account, change, before: before.to_owned() }))),
            Err(StoreError::Moved { .. }) => Ok(Saved::Meanwhile(self.draft(number, &subject).await?)),
            Err(error) => Err(error),
        }
    }

    /// Takes drafts away in the versions that somebody saw, since they are published or nobody wants them; returns how many were
    /// still so.
    ///
    /// # Errors
    /// `Database`.
    pub async fn remove_drafts(
        &self,
        project: &Project,
        seen: Vec<(String, i64)>,
        published: bool,
    ) -> Result<u64, StoreError> {
        const NAME: &str = "remove drafts";
        let number = project.number;
        let (act, count) = (if published { "draft.publish" } else { "draft.discard" }, seen.len());
        let subject = seen.first().filter(|_| count == 1).map(|(subject, _)| subject.clone()).unwrap_or_default();
        let entry = self.entry(act, project.id.as_str(), &subject, format!("{count}"));
        self.change(NAME, entry, move |connection| {
            let seen = seen.clone();
            Box::pin(async move {
                let mut removed = 0;
                for (subject, version) in seen {
                    removed += query("DELETE FROM drafts WHERE project = $1 AND subject = $2 AND version = $3")
                        .bind(number)
                        .bind(subject)
                        .bind(version)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?
                        .rows_affected();
                }
                Ok(removed)
            })
        })
        .await
    }
}
