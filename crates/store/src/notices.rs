//! Notices: what a person must see, one for each kind, project and subject.

use convizit_keys::{Place, ProjectKeys};
use convizit_model::{Notice, NoticeKind, NoticeState, ProjectId, Timestamp};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::error::{Columns as _, During, StoreError};

/// Where a notice's text lies.
fn row_of(kind: &str, project: &str, subject: &str) -> Vec<u8> {
    [kind, project, subject].join("\n").into_bytes()
}

fn text_of(row: &[u8]) -> Place<'_> {
    Place { table: "notices", purpose: "text", row }
}

/// Raises a notice inside a transaction, or adds to the open one.
pub(crate) async fn raise(
    connection: &mut AnyConnection,
    keys: &ProjectKeys,
    kind: NoticeKind,
    (project, subject): (&str, &str),
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    const NAME: &str = "raise notice";
    let text = keys.seal(now, text_of(&row_of(kind.as_str(), project, subject)), text.as_bytes())?;
    let again = query(
        "UPDATE notices SET count = count + 1, last = $1, text = $2 \
         WHERE kind = $3 AND project = $4 AND subject = $5 AND state <> 'resolved'",
    )
    .bind(now.as_millis())
    .bind(text.as_slice())
    .bind(kind.as_str())
    .bind(project)
    .bind(subject)
    .execute(&mut *connection)
    .await
    .during(NAME)?;
    if again.rows_affected() == 0 {
        query(
            "INSERT INTO notices (id, kind, project, subject, text, state, count, first, last) \
             VALUES ((SELECT COALESCE(MAX(id), 0) + 1 FROM notices), $1, $2, $3, $4, 'open', 1, $5, $5)",
        )
        .bind(kind.as_str())
        .bind(project)
        .bind(subject)
        .bind(text.as_slice())
        .bind(now.as_millis())
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    }
    Ok(())
}

/// Resolves what is open of this kind and subject.
pub(crate) async fn resolve(
    connection: &mut AnyConnection,
    kind: NoticeKind,
    (project, subject): (&str, &str),
) -> Result<(), StoreError> {
    query(
        "UPDATE notices SET state = 'resolved' WHERE kind = $1 AND project = $2 AND subject = $3 AND state <> 'resolved'",
    )
    .bind(kind.as_str())
    .bind(project)
    .bind(subject)
    .execute(connection)
    .await
    .during("resolve notice")
    .map(|_| ())
}

impl Store {
    /// Raises a notice, or adds to the open one of the same kind, project and subject.
    ///
    /// # Errors
    /// `Database`.
    pub async fn raise(
        &self,
        kind: NoticeKind,
        project: Option<&ProjectId>,
        subject: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        let (now, keys) = (self.clock().now(), self.ring().own());
        let (project, subject, text) =
            (project.map(ToString::to_string).unwrap_or_default(), subject.to_owned(), text.to_owned());
        self.data()
            .run_tx("raise notice", move |connection| {
                let (project, subject, text) = (project.clone(), subject.clone(), text.clone());
                let keys = keys.clone();
                Box::pin(async move { raise(connection, &keys, kind, (&project, &subject), &text, now).await })
            })
            .await
    }

    /// Raises a notice, unless it is open already.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn raise_once(
        &self,
        kind: NoticeKind,
        project: Option<&ProjectId>,
        subject: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        let open: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM notices WHERE kind = $1 AND project = $2 AND subject = $3 AND state <> 'resolved'",
        )
        .bind(kind.as_str())
        .bind(project.map(ToString::to_string).unwrap_or_default())
        .bind(subject)
        .fetch_one(self.data().readers())
        .await
        .during("look for a notice")?;
        if open > 0 { Ok(()) } else { self.raise(kind, project, subject, text).await }
    }

    /// The number of the installation's notice of this kind and subject that nobody has resolved.
    pub(crate) async fn open_notice(&self, kind: NoticeKind, subject: &str) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar(
            "SELECT id FROM notices WHERE kind = $1 AND project = '' AND subject = $2 AND state <> 'resolved' LIMIT 1",
        )
        .bind(kind.as_str())
        .bind(subject)
        .fetch_optional(self.data().readers())
        .await
        .during("look for a notice")
    }

    /// Resolves the notice of this kind, project and subject: what it was about is over.
    ///
    /// # Errors
    /// `Database`.
    pub async fn resolve_notice(
        &self,
        kind: NoticeKind,
        project: Option<&ProjectId>,
        subject: &str,
    ) -> Result<(), StoreError> {
        let (project, subject) = (project.map(ToString::to_string).unwrap_or_default(), subject.to_owned());
        self.data()
            .run_tx("resolve notice", move |connection| {
                let (project, subject) = (project.clone(), subject.clone());
                Box::pin(async move { resolve(connection, kind, (&project, &subject)).await })
            })
            .await
    }

    /// Drops the notices of a removed project, and to whom they were sent: a later project of the same id has no part in them.
    pub(crate) async fn drop_notices(&self, project: &ProjectId) -> Result<(), StoreError> {
        const NAME: &str = "drop notices";
        let project = project.to_string();
        self.data()
            .run_tx(NAME, move |connection| {
                let project = project.clone();
                Box::pin(async move {
                    for sql in ["DELETE FROM notice_sends WHERE project = $1", "DELETE FROM notices WHERE project = $1"]
                    {
                        query(sql).bind(project.as_str()).execute(&mut *connection).await.during(NAME)?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Notices, newest first; all states with `resolved`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn notices(&self, resolved: bool) -> Result<Vec<Notice>, StoreError> {
        let rest = "WHERE $1 = 1 OR state <> 'resolved' ORDER BY last DESC, id DESC LIMIT 1000";
        self.read_notices(rest, Some(i64::from(resolved))).await
    }

    /// Notices of a `WHERE`, which has one placeholder where there is a number.
    pub(crate) async fn read_notices(&self, rest: &str, number: Option<i64>) -> Result<Vec<Notice>, StoreError> {
        let sql = format!("SELECT id, kind, project, subject, text, state, count, first, last FROM notices {rest}");
        let mut select = query(sqlx::AssertSqlSafe(sql));
        if let Some(number) = number {
            select = select.bind(number);
        }
        let rows = select.fetch_all(self.data().readers()).await.during("list notices")?;
        let keys = self.ring().own();
        rows.iter()
            .map(|row| {
                let place = row_of(row.read(1)?, row.read(2)?, row.read(3)?);
                let text = keys.open(text_of(&place), row.read(4)?)?;
                let word = |index: usize| row.read(index).map(serde_json::Value::String);
                let unusable =
                    |_| StoreError::Unusable("a notice is of a newer convizit: start that version".to_owned());
                Ok(Notice {
                    id: row.read(0)?,
                    kind: serde_json::from_value(word(1)?).map_err(unusable)?,
                    project: row.read::<String>(2)?.parse().ok(),
                    subject: row.read(3)?,
                    text: String::from_utf8_lossy(&text).into_owned(),
                    state: serde_json::from_value(word(5)?).map_err(unusable)?,
                    count: row.read(6)?,
                    first: Timestamp::from_millis(row.read(7)?),
                    last: Timestamp::from_millis(row.read(8)?),
                })
            })
            .collect()
    }

    /// Open notices that nobody has seen: of a project, or all; incidents among them for those who see to them.
    ///
    /// # Errors
    /// `Database`.
    pub async fn unseen_notices(&self, project: Option<&ProjectId>, incidents: bool) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "SELECT COUNT(*) FROM notices WHERE state = 'open' AND ($1 IS NULL OR project = $1) AND ($2 = 1 OR kind <> $3)",
        )
        .bind(project.map(ProjectId::as_str))
        .bind(i64::from(incidents))
        .bind(NoticeKind::Incident.as_str())
        .fetch_one(self.data().readers())
        .await
        .during("count notices")
    }

    /// Moves a notice to another state: as [`Store::set_notice`], and only one of this project; that of an incident only for those
    /// who see to them, since what is resolved is not sent.
    ///
    /// # Errors
    /// `NotFound`, also for one of another project.
    pub async fn set_notice_of(
        &self,
        project: &ProjectId,
        id: i64,
        state: NoticeState,
        incidents: bool,
    ) -> Result<(), StoreError> {
        let notice = self.notice(id).await?;
        if notice.project.as_ref() != Some(project) || (notice.kind == NoticeKind::Incident && !incidents) {
            return Err(StoreError::not_found("notice", id));
        }
        self.move_notice(&notice, state).await
    }

    /// Moves a notice to another state, with an entry in the audit log of its project.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_notice(&self, id: i64, state: NoticeState) -> Result<(), StoreError> {
        let notice = self.notice(id).await?;
        self.move_notice(&notice, state).await
    }

    async fn notice(&self, id: i64) -> Result<Notice, StoreError> {
        let found = self.read_notices("WHERE id = $1", Some(id)).await?.pop();
        found.ok_or_else(|| StoreError::not_found("notice", id))
    }

    async fn move_notice(&self, notice: &Notice, state: NoticeState) -> Result<(), StoreError> {
        let (id, word) = (notice.id, state.as_str());
        let project = notice.project.as_ref().map(ProjectId::as_str).unwrap_or_default();
        self.audit("notice.set", project, &format!("notice:{id}"), word).await?;
        self.data()
            .run_tx("set notice", move |connection| {
                Box::pin(async move {
                    let done = query("UPDATE notices SET state = $1 WHERE id = $2")
                        .bind(word)
                        .bind(id)
                        .execute(connection)
                        .await
                        .during("set notice")?;
                    if done.rows_affected() == 0 {
                        return Err(StoreError::not_found("notice", id));
                    }
                    Ok(())
                })
            })
            .await
    }
}
