//! Notices: what a person must see, one for each kind, project and subject.

use convizit_model::{Notice, NoticeKind, NoticeState, ProjectId, Timestamp};
use sqlx::{AnyConnection, Row, query};

use crate::Store;
use crate::error::{During, StoreError};

/// Raises a notice inside a transaction, or adds to the open one.
pub(crate) async fn raise(
    connection: &mut AnyConnection,
    kind: NoticeKind,
    project: &str,
    subject: &str,
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    const NAME: &str = "raise notice";
    let again = query(
        "UPDATE notices SET count = count + 1, last = $1, text = $2 \
         WHERE kind = $3 AND project = $4 AND subject = $5 AND state <> 'resolved'",
    )
    .bind(now.as_millis())
    .bind(text)
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
        .bind(text)
        .bind(now.as_millis())
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    }
    Ok(())
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
        let now = self.clock().now();
        let (project, subject, text) =
            (project.map(ToString::to_string).unwrap_or_default(), subject.to_owned(), text.to_owned());
        self.data()
            .run_tx("raise notice", move |connection| {
                let (project, subject, text) = (project.clone(), subject.clone(), text.clone());
                Box::pin(async move { raise(connection, kind, &project, &subject, &text, now).await })
            })
            .await
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
        const NAME: &str = "resolve notice";
        let (project, subject) = (project.map(ToString::to_string).unwrap_or_default(), subject.to_owned());
        self.data()
            .run_tx(NAME, move |connection| {
                let (project, subject) = (project.clone(), subject.clone());
                Box::pin(async move {
                    query(
                        "UPDATE notices SET state = 'resolved' \
                         WHERE kind = $1 AND project = $2 AND subject = $3 AND state <> 'resolved'",
                    )
                    .bind(kind.as_str())
                    .bind(project)
                    .bind(subject)
                    .execute(connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
                })
            })
            .await
    }

    /// Notices, newest first; all states with `resolved`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn notices(&self, resolved: bool) -> Result<Vec<Notice>, StoreError> {
        let rows = query(
            "SELECT id, kind, project, subject, text, state, count, first, last FROM notices \
             WHERE $1 = 1 OR state <> 'resolved' ORDER BY last DESC, id DESC LIMIT 1000",
        )
        .bind(i64::from(resolved))
        .fetch_all(self.data().readers())
        .await
        .during("list notices")?;
        rows.iter()
            .map(|row| {
                let word = |index: usize| serde_json::Value::String(row.get(index));
                let unusable =
                    |_| StoreError::Unusable("a notice is of a newer convizit: start that version".to_owned());
                Ok(Notice {
                    id: row.get(0),
                    kind: serde_json::from_value(word(1)).map_err(unusable)?,
                    project: row.get::<String, _>(2).parse().ok(),
                    subject: row.get(3),
                    text: row.get(4),
                    state: serde_json::from_value(word(5)).map_err(unusable)?,
                    count: row.get(6),
                    first: Timestamp::from_millis(row.get(7)),
                    last: Timestamp::from_millis(row.get(8)),
                })
            })
            .collect()
    }

    /// Moves a notice to another state.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_notice(&self, id: i64, state: NoticeState) -> Result<(), StoreError> {
        let word = match state {
            NoticeState::Open => "open",
            NoticeState::Seen => "seen",
            NoticeState::Resolved => "resolved",
        };
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
