//! How delivery goes: what went to a destination hour by hour, and its newest failures.

use std::collections::HashMap;

use convizit_keys::Place;
use convizit_model::{NoticeKind, ProjectId, Timestamp};
use sqlx::{AnyConnection, query};

use crate::error::{Columns as _, During, StoreError, pairs};
use crate::{DeadLetter, Store};

/// Hours that are kept: a week.
const HOURS: i64 = 168;
/// Failures of a destination that are kept.
const FAILURES: i64 = 20;

/// What a stretch of the stream came to at a destination.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    /// Events that it took.
    pub sent: i64,
    /// Events of types that it does not want.
    pub filtered: i64,
    /// Events that it refused.
    pub dead: Vec<DeadLetter>,
}

impl From<Vec<DeadLetter>> for Delivered {
    fn from(dead: Vec<DeadLetter>) -> Self {
        Self { dead, ..Self::default() }
    }
}

/// Why a batch was not taken, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// When.
    pub time: Timestamp,
    /// What happened, in words; never event content.
    pub reason: String,
}

/// That a destination takes nothing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The first failure behind which it has taken nothing.
    pub since: Timestamp,
    /// How often it was tried since.
    pub times: i64,
    /// The newest failure, in words; never event content.
    pub reason: String,
}

fn row_of(project: i64, name: &str, id: i64) -> Vec<u8> {
    format!("{project}\n{name}\n{id}").into_bytes()
}

fn reason_of(row: &[u8]) -> Place<'_> {
    Place { table: "delivery_failures", purpose: "reason", row }
}

/// Adds to the hour of a destination.
pub(crate) async fn count_delivered(
    connection: &mut AnyConnection,
    (project, name): (i64, &str),
    now: Timestamp,
    (sent, dead, filtered): (i64, i64, i64),
) -> Result<(), StoreError> {
    const NAME: &str = "count what was delivered";
    if sent + dead + filtered == 0 {
        return Ok(());
    }
    query(
        "INSERT INTO deliveries (project, destination, hour, sent, dead, filtered) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (project, destination, hour) DO UPDATE SET sent = deliveries.sent + excluded.sent, \
         dead = deliveries.dead + excluded.dead, filtered = deliveries.filtered + excluded.filtered",
    )
    .bind(project)
    .bind(name)
    .bind(now.hour())
    .bind(sent)
    .bind(dead)
    .bind(filtered)
    .execute(&mut *connection)
    .await
    .during(NAME)?;
    // The last hour in which it took something stays: it tells that something was ever sent.
    query(
        "DELETE FROM deliveries WHERE project = $1 AND destination = $2 AND hour < $3 AND hour <> (SELECT \
         COALESCE(MAX(hour), 0) FROM deliveries WHERE project = $1 AND destination = $2 AND (sent > 0 OR dead + filtered = 0))",
    )
        .bind(project)
        .bind(name)
        .bind(now.hour() - HOURS)
        .execute(connection)
        .await
        .during(NAME)?;
    Ok(())
}

impl Store {
    /// Events that a destination took, by hour since 1970, for the last week; hours without any are missing.
    ///
    /// # Errors
    /// `Database`.
    pub async fn delivered_by_hour(&self, project: i64, name: &str) -> Result<HashMap<i64, i64>, StoreError> {
        let rows = query("SELECT hour, sent FROM deliveries WHERE project = $1 AND destination = $2 AND hour >= $3")
            .bind(project)
            .bind(name)
            .bind(self.clock().now().hour() - HOURS)
            .fetch_all(self.data().readers())
            .await
            .during("read what was delivered")?;
        pairs(&rows)
    }

    /// Takes down that a destination took a test event: its hour stands without a count, so that no event is counted that nobody did.
    ///
    /// # Errors
    /// `NotFound` when it was removed, `Database`.
    pub async fn took_test(&self, project: i64, name: &str) -> Result<(), StoreError> {
        const NAME: &str = "take down a test";
        let (owned, hour) = (name.to_owned(), self.clock().now().hour());
        self.data()
            .run_tx(NAME, move |connection| {
                let name = owned.clone();
                Box::pin(async move {
                    crate::destinations::hold(connection, project, &name, NAME).await?;
                    query(
                        "INSERT INTO deliveries (project, destination, hour, sent, dead, filtered) VALUES ($1, $2, $3, 0, 0, 0) \
                         ON CONFLICT (project, destination, hour) DO NOTHING",
                    )
                    .bind(project)
                    .bind(name)
                    .bind(hour)
                    .execute(connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
                })
            })
            .await
    }

    /// Whether anything was ever sent to a destination: an event that it took or did not, or a test that it took.
    ///
    /// # Errors
    /// `Database`.
    pub async fn was_tried(&self, project: i64, name: &str) -> Result<bool, StoreError> {
        let found: i64 = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM deliveries WHERE project = $1 AND destination = $2 AND (sent + dead > 0 OR filtered = 0)) \
             + (SELECT COUNT(*) FROM delivery_failures WHERE project = $1 AND destination = $2)",
        )
        .bind(project)
        .bind(name)
        .fetch_one(self.data().readers())
        .await
        .during("look whether it was tried")?;
        Ok(found > 0)
    }

    /// Takes down why a batch was not taken; returns since when that is so, and how often.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn delivery_failed(&self, project: i64, name: &str, reason: &str) -> Result<Failing, StoreError> {
        const NAME: &str = "take down failure";
        let (owned, said) = (name.to_owned(), reason.to_owned());
        let (now, keys) = (self.clock().now(), self.ring().own());
        let (since, times) = self
            .data()
            .run_tx(NAME, move |connection| {
                let (name, reason, keys) = (owned.clone(), said.clone(), keys.clone());
                Box::pin(async move {
                    query(
                        "INSERT INTO failing_destinations (project, destination, since, times) VALUES ($1, $2, $3, 1) \
                         ON CONFLICT (project, destination) DO UPDATE SET times = failing_destinations.times + 1",
                    )
                    .bind(project)
                    .bind(name.as_str())
                    .bind(now.as_millis())
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                    let newest: i64 = sqlx::query_scalar(
                        "SELECT COALESCE(MAX(id), 0) FROM delivery_failures WHERE project = $1 AND destination = $2",
                    )
                    .bind(project)
                    .bind(name.as_str())
                    .fetch_one(&mut *connection)
                    .await
                    .during(NAME)?;
                    let id = newest + 1;
                    let sealed = keys.seal(now, reason_of(&row_of(project, &name, id)), reason.as_bytes())?;
                    query("INSERT INTO delivery_failures (project, destination, id, time, reason) VALUES ($1, $2, $3, $4, $5)")
                        .bind(project)
                        .bind(name.as_str())
                        .bind(id)
                        .bind(now.as_millis())
                        .bind(sealed)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    query("DELETE FROM delivery_failures WHERE project = $1 AND destination = $2 AND id <= $3")
                        .bind(project)
                        .bind(name.as_str())
                        .bind(id - FAILURES)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    let row =
                        query("SELECT since, times FROM failing_destinations WHERE project = $1 AND destination = $2")
                            .bind(project)
                            .bind(name.as_str())
                            .fetch_one(connection)
                            .await
                            .during(NAME)?;
                    Ok((row.read::<i64>(0)?, row.read::<i64>(1)?))
                })
            })
            .await?;
        Ok(Failing { since: Timestamp::from_millis(since), times, reason: reason.to_owned() })
    }

    /// A destination takes events again, or a person looks after it: it counts as failing no more, and the notice of that ends.
    ///
    /// # Errors
    /// `NotFound` for the project, `Database`.
    pub async fn delivery_recovered(&self, project: &ProjectId, name: &str) -> Result<(), StoreError> {
        const NAME: &str = "take back failure";
        let number = self.project(project).await?.number;
        let owned = name.to_owned();
        self.data()
            .run_tx(NAME, move |connection| {
                let name = owned.clone();
                Box::pin(async move {
                    query("DELETE FROM failing_destinations WHERE project = $1 AND destination = $2")
                        .bind(number)
                        .bind(name)
                        .execute(connection)
                        .await
                        .during(NAME)
                        .map(|_| ())
                })
            })
            .await?;
        self.resolve_notice(NoticeKind::DestinationFailing, Some(project), name).await
    }

    /// Destinations that take nothing now, by project and name: of one project, or of all.
    ///
    /// # Errors
    /// `Database`.
    pub(crate) async fn failing(&self, project: Option<i64>) -> Result<HashMap<(i64, String), Failing>, StoreError> {
        // Few rows in all: those of destinations that fail.
        let rows = query("SELECT project, destination, since, times FROM failing_destinations")
            .fetch_all(self.data().readers())
            .await
            .during("read what fails")?;
        let mut all = HashMap::new();
        for row in rows {
            let (number, name): (i64, String) = (row.read(0)?, row.read(1)?);
            if project.is_some_and(|project| project != number) {
                continue;
            }
            let newest = self.delivery_failures(number, &name).await?.into_iter().next();
            let reason = newest.map_or_else(|| "why cannot be read".to_owned(), |failure| failure.reason);
            let failing = Failing { since: Timestamp::from_millis(row.read(2)?), times: row.read(3)?, reason };
            all.insert((number, name), failing);
        }
        Ok(all)
    }

    /// The newest failures of a destination, newest first, at most 20.
    ///
    /// # Errors
    /// `Database`; a reason that does not open is left out.
    pub async fn delivery_failures(&self, project: i64, name: &str) -> Result<Vec<DeliveryFailure>, StoreError> {
        let rows = query(
            "SELECT id, time, reason FROM delivery_failures WHERE project = $1 AND destination = $2 ORDER BY id DESC",
        )
        .bind(project)
        .bind(name)
        .fetch_all(self.data().readers())
        .await
        .during("read failures")?;
        let keys = self.ring().own();
        let mut failures = Vec::new();
        for row in rows {
            let sealed: &[u8] = row.read(2)?;
            if let Ok(reason) = keys.open(reason_of(&row_of(project, name, row.read(0)?)), sealed) {
                let reason = String::from_utf8_lossy(&reason).into_owned();
                failures.push(DeliveryFailure { time: Timestamp::from_millis(row.read(1)?), reason });
            }
        }
        Ok(failures)
    }
}
