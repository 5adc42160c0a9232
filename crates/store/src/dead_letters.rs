//! Dead letters: events that a destination refused, listed, sent again, given up.

use convizit_keys::{Place, ProjectKeys};
use convizit_model::{NoticeKind, ProjectId, Timestamp};
use sqlx::{AnyConnection, AssertSqlSafe, query};

use crate::database::Engine;
use crate::destinations::hold;
use crate::error::{Columns as _, During, StoreError};
use crate::statement::{insert_rows, pieces};
use crate::{DeadLetter, Store};

/// Dead letters that are changed in one statement.
const STEP: i64 = 5_000;
/// Of so many chosen ones the audit log has the numbers.
const NAMED: usize = 20;

/// Dead letters of a destination that are to be written.
pub(crate) struct Letters<'a> {
    pub(crate) project: i64,
    pub(crate) name: &'a str,
    pub(crate) dead: &'a [DeadLetter],
    pub(crate) now: Timestamp,
    /// The installation's own: why an event was refused may quote it.
    pub(crate) own: &'a ProjectKeys,
}

fn row_of(project: i64, name: &str, number: i64) -> Vec<u8> {
    format!("{project}\n{name}\n{number}").into_bytes()
}

fn reason_of(row: &[u8]) -> Place<'_> {
    Place { table: "dead_letters", purpose: "reason", row }
}

/// Writes dead letters; `tail` says what becomes of one that is there already.
pub(crate) async fn write_letters(
    connection: &mut AnyConnection,
    engine: Engine,
    Letters { project, name, dead, now, own }: Letters<'_>,
    tail: &str,
) -> Result<(), StoreError> {
    for piece in pieces(dead) {
        let head = "INSERT INTO dead_letters (project, destination, number, reason, time, sealed)";
        let mut insert = query(AssertSqlSafe(insert_rows(engine, head, 6, piece.len(), tail)));
        for letter in piece {
            let sealed = own.seal(now, reason_of(&row_of(project, name, letter.number)), letter.reason.as_bytes())?;
            insert = insert.bind(project).bind(name).bind(letter.number).bind("").bind(now.as_millis()).bind(sealed);
        }
        insert.execute(&mut *connection).await.during("write dead letters")?;
    }
    Ok(())
}

/// Deletes the dead letters of these numbers, which rise. Most have none: a replay is of what was taken.
pub(crate) async fn delete_letters(
    connection: &mut AnyConnection,
    project: i64,
    name: &str,
    numbers: &[i64],
) -> Result<(), StoreError> {
    const NAME: &str = "delete dead letters";
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(()) };
    let found: Vec<i64> = sqlx::query_scalar(
        "SELECT number FROM dead_letters WHERE project = $1 AND destination = $2 AND number >= $3 AND number <= $4",
    )
    .bind(project)
    .bind(name)
    .bind(*first)
    .bind(*last)
    .fetch_all(&mut *connection)
    .await
    .during(NAME)?;
    for number in found.into_iter().filter(|number| numbers.binary_search(number).is_ok()) {
        query("DELETE FROM dead_letters WHERE project = $1 AND destination = $2 AND number = $3")
            .bind(project)
            .bind(name)
            .bind(number)
            .execute(&mut *connection)
            .await
            .during(NAME)?;
    }
    Ok(())
}

/// Dead letters in words, for the audit log.
fn letters_words(numbers: Option<&[i64]>) -> String {
    let Some(numbers) = numbers else { return "all dead letters".to_owned() };
    let shown: Vec<String> = numbers.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if numbers.len() > NAMED { ", …" } else { "" };
    let what = if numbers.len() == 1 { "dead letter" } else { "dead letters" };
    format!("{} {what} (event {}{more})", numbers.len(), shown.join(", "))
}

impl Store {
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
        self.dead_letters_before(project, name, i64::MAX, limit).await
    }

    /// The same of numbers below one.
    ///
    /// # Errors
    /// `NotFound` for the project.
    pub async fn dead_letters_before(
        &self,
        project: &ProjectId,
        name: &str,
        before: i64,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let number = self.project(project).await?.number;
        let rows = query(
            "SELECT number, sealed, time, attempts, retry FROM dead_letters \
             WHERE project = $1 AND destination = $2 AND number < $3 ORDER BY number DESC LIMIT $4",
        )
        .bind(number)
        .bind(name)
        .bind(before)
        .bind(limit)
        .fetch_all(self.data().readers())
        .await
        .during("read dead letters")?;
        let own = self.ring().own();
        let letter = |row: &sqlx::any::AnyRow| {
            let (of, sealed): (i64, Option<Vec<u8>>) = (row.read(0)?, row.read(1)?);
            let opened = sealed.and_then(|sealed| own.open(reason_of(&row_of(number, name, of)), &sealed).ok());
            let reason = opened.map(|reason| String::from_utf8_lossy(&reason).into_owned());
            Ok(DeadLetter {
                number: of,
                reason: reason.unwrap_or_else(|| "why cannot be read".to_owned()),
                time: Timestamp::from_millis(row.read(2)?),
                attempts: row.read(3)?,
                retry: row.read::<i64>(4)? == 1,
            })
        };
        rows.iter().map(letter).collect()
    }

    /// Has dead letters sent again: those of these numbers, or all. Returns how many there were; what is not in the dead letters is
    /// passed over.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn retry_dead_letters(
        &self,
        project: &ProjectId,
        name: &str,
        numbers: Option<&[i64]>,
    ) -> Result<u64, StoreError> {
        self.change_letters(
            ("destination.retry", "retry dead letters"),
            (project, name),
            numbers,
            "UPDATE dead_letters SET retry = 1 WHERE project = $1 AND destination = $2 AND retry = 0 AND number = $3",
            "UPDATE dead_letters SET retry = 1 WHERE project = $1 AND destination = $2 AND number IN \
             (SELECT number FROM dead_letters WHERE project = $1 AND destination = $2 AND retry = 0 ORDER BY number LIMIT $3)",
        )
        .await
    }

    /// Gives dead letters up: those of these numbers, or all. Returns how many there were.
    ///
    /// # Errors
    /// `NotFound`, `Database`.
    pub async fn drop_dead_letters(
        &self,
        project: &ProjectId,
        name: &str,
        numbers: Option<&[i64]>,
    ) -> Result<u64, StoreError> {
        let dropped = self
            .change_letters(
                ("destination.drop", "drop dead letters"),
                (project, name),
                numbers,
                "DELETE FROM dead_letters WHERE project = $1 AND destination = $2 AND number = $3",
                "DELETE FROM dead_letters WHERE project = $1 AND destination = $2 AND number IN \
                 (SELECT number FROM dead_letters WHERE project = $1 AND destination = $2 ORDER BY number LIMIT $3)",
            )
            .await?;
        self.settle_dead_letters(project, name).await?;
        Ok(dropped)
    }

    /// Runs a statement for each number, or another for all in steps. The audit log has the act before it is done.
    async fn change_letters(
        &self,
        (act, tx): (&'static str, &'static str),
        (project, name): (&ProjectId, &str),
        numbers: Option<&[i64]>,
        one: &'static str,
        all: &'static str,
    ) -> Result<u64, StoreError> {
        let of = self.project(project).await?.number;
        self.cursor(of, name).await?;
        if !self.has_letters((of, name), numbers, act == "destination.retry").await? {
            // Nothing is done, and nothing is said of it.
            return Ok(0);
        }
        let detail = format!("{}; {}", self.in_words(project, name).await, letters_words(numbers));
        self.audit(act, project.as_str(), name, detail).await?;
        let (values, sql): (Vec<i64>, _) = match numbers {
            Some(numbers) => (numbers.to_vec(), one),
            None => (vec![STEP], all),
        };
        let mut changed = 0;
        loop {
            let (values, name) = (values.clone(), name.to_owned());
            let now = self
                .data()
                .run_tx(tx, move |connection| {
                    let (values, name) = (values.clone(), name.clone());
                    Box::pin(async move {
                        hold(connection, of, &name, tx).await?;
                        let mut changed = 0;
                        for value in values {
                            let done = query(sql).bind(of).bind(name.as_str()).bind(value);
                            changed += done.execute(&mut *connection).await.during(tx)?.rows_affected();
                        }
                        Ok(changed)
                    })
                })
                .await?;
            changed += now;
            if numbers.is_some() || now < STEP.unsigned_abs() {
                break;
            }
        }
        self.tell_delivery(tx).await?;
        Ok(changed)
    }

    /// Whether there is any of these dead letters, or any at all; of those that are sent again already none, where only others count.
    async fn has_letters(
        &self,
        (project, name): (i64, &str),
        numbers: Option<&[i64]>,
        still: bool,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM dead_letters WHERE project = $1 AND destination = $2 \
                   AND ($3 = 0 OR retry = 0) AND ($4 = 0 OR number = $5)";
        let of = |number: i64| {
            sqlx::query_scalar::<_, i64>(sql)
                .bind(project)
                .bind(name)
                .bind(i64::from(still))
                .bind(i64::from(numbers.is_some()))
                .bind(number)
                .fetch_one(self.data().readers())
        };
        for number in numbers.unwrap_or(&[0]) {
            if of(*number).await.during("look for dead letters")? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends the notice of a destination's dead letters when there are none left.
    ///
    /// # Errors
    /// `Database`.
    pub async fn settle_dead_letters(&self, project: &ProjectId, name: &str) -> Result<(), StoreError> {
        if self.dead_letters(project, name, 1).await?.is_empty() {
            self.resolve_notice(NoticeKind::DeadLetters, Some(project), name).await?;
        }
        Ok(())
    }

    /// Numbers of the dead letters that are to be sent again, oldest first, at most so many.
    ///
    /// # Errors
    /// `Database`.
    pub async fn letters_to_retry(&self, project: i64, name: &str, limit: i64) -> Result<Vec<i64>, StoreError> {
        sqlx::query_scalar(
            "SELECT number FROM dead_letters WHERE project = $1 AND destination = $2 AND retry = 1 ORDER BY number LIMIT $3",
        )
        .bind(project)
        .bind(name)
        .bind(limit)
        .fetch_all(self.data().readers())
        .await
        .during("find dead letters to retry")
    }
}
