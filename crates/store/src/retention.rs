//! Retention: what is older than its project keeps is gone from frames, counts, samples, dead letters, quarantine, names and all
//! else that was learned, and its keys are destroyed, so that no backup can be read either.
//!
//! A clock that has jumped by more than a day is not believed: nothing goes for its age until it has come back, or a person says
//! that it is right.

use std::collections::HashMap;

use convizit_model::time::DAY_MILLIS;
use convizit_model::{NoticeKind, NoticeState, Project, Timestamp};
use sqlx::{AssertSqlSafe, query};

use crate::Store;
use crate::error::{Columns as _, During, StoreError, pairs};
use crate::upkeep::STEP;

/// Weeks that the privacy report reaches back.
const REPORTED_WEEKS: i64 = 104;
/// How often it is written down that the clock was seen.
const SEEN_EVERY: i64 = 10 * 60_000;
const SUBJECT: &str = "retention";

/// What a shorter retention takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// Events that are too old for it.
    pub events: u64,
    /// Days on which they were received.
    pub days: u64,
    /// The first of these days; none where nothing goes.
    pub oldest: Option<Timestamp>,
    /// The first day that it keeps.
    pub kept_from: Timestamp,
}

impl Store {
    /// Retention, and the end of keys that nothing needs, unless the clock has jumped.
    pub(crate) async fn retain_where_the_clock_is_believed(&self) -> Result<(), StoreError> {
        let now = self.clock().now();
        if !self.is_clock_believed(now).await? {
            return Ok(());
        }
        let retained = self.retain(now.day()).await;
        retained.and(self.destroy_unneeded(now).await)
    }

    async fn is_clock_believed(&self, now: Timestamp) -> Result<bool, StoreError> {
        let seen: i64 = sqlx::query_scalar("SELECT seen FROM clock WHERE id = 0")
            .fetch_one(self.data().readers())
            .await
            .during("read when the clock was seen")?;
        let seen = Timestamp::from_millis(seen);
        let jumped = self.has_jumped(now);
        let apart = now.since(seen).abs();
        if apart <= DAY_MILLIS {
            if self.clock_notice().await?.is_some() {
                self.resolve_notice(NoticeKind::Clock, None, SUBJECT).await?;
                self.clock_seen(now).await?;
            } else if apart > SEEN_EVERY || now < seen {
                self.clock_seen(now).await?;
            }
            return Ok(true);
        }
        if now < seen {
            // Backwards nothing grows old. On the way back it has jumped, so that what is received meanwhile is kept.
            self.clock_seen(now).await?;
            return Ok(true);
        }
        match self.clock_notice().await? {
            Some(NoticeState::Resolved) => {
                self.clock_seen(now).await?;
                Ok(true)
            }
            Some(_) => Ok(false),
            // After a weekend without the product the clock is far ahead, and nothing is at stake.
            None if !jumped && !self.would_drop(now.day()).await? => {
                self.clock_seen(now).await?;
                Ok(true)
            }
            None => {
                let text = format!(
                    "the clock says {now}, but {seen} was the last time that it was seen: what is too old is kept until the clock is back, or you resolve this notice because it is right"
                );
                tracing::warn!(%now, %seen, "the clock has jumped; retention is paused");
                self.raise(NoticeKind::Clock, None, SUBJECT, &text).await?;
                let raised = self.notices(false).await?.into_iter().find(|notice| notice.kind == NoticeKind::Clock);
                if let Some(notice) = raised {
                    self.set_clock("UPDATE clock SET notice = $1 WHERE id = 0", notice.id).await?;
                }
                Ok(false)
            }
        }
    }

    /// Whether the clock went another way than the time since the last look, in which this process ran or the machine slept.
    fn has_jumped(&self, now: Timestamp) -> bool {
        use rustix::time::{ClockId, clock_gettime};
        #[cfg(target_os = "linux")]
        let id = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = ClockId::Monotonic;
        let up = clock_gettime(id).tv_sec * 1000;
        let apart = now.as_millis() - up;
        self.clock_to_uptime(apart).is_some_and(|before| (apart - before).abs() > DAY_MILLIS)
    }

    /// The state of the notice of the jump that is not decided yet.
    async fn clock_notice(&self) -> Result<Option<NoticeState>, StoreError> {
        let found = query("SELECT state FROM notices WHERE id = (SELECT notice FROM clock WHERE id = 0)")
            .fetch_optional(self.data().readers())
            .await
            .during("look for the clock's notice")?;
        let state = found.map(|row| row.read::<String>(0)).transpose()?;
        Ok(state.map(|state| match state.as_str() {
            "open" => NoticeState::Open,
            "seen" => NoticeState::Seen,
            _ => NoticeState::Resolved,
        }))
    }

    /// A new installation has seen the clock when it was made: a jump may come before the first round of upkeep.
    pub(crate) async fn first_sight_of_the_clock(&self) -> Result<(), StoreError> {
        self.set_clock("UPDATE clock SET seen = $1 WHERE id = 0 AND seen = 0", self.clock().now().as_millis()).await
    }

    async fn clock_seen(&self, now: Timestamp) -> Result<(), StoreError> {
        self.set_clock("UPDATE clock SET seen = $1, notice = 0 WHERE id = 0", now.as_millis()).await
    }

    async fn set_clock(&self, sql: &'static str, value: i64) -> Result<(), StoreError> {
        const NAME: &str = "write down when the clock was seen";
        self.data()
            .run_tx(NAME, move |connection| {
                Box::pin(async move { query(sql).bind(value).execute(connection).await.during(NAME).map(|_| ()) })
            })
            .await
    }

    /// The oldest received day of each project's frames.
    async fn oldest_days(&self) -> Result<HashMap<i64, i64>, StoreError> {
        let rows = query("SELECT project, MIN(day) FROM frames GROUP BY project")
            .fetch_all(self.data().readers())
            .await
            .during("find old frames")?;
        pairs(&rows)
    }

    /// What a retention of so many days takes of a project, as of now: for whoever is to say yes to a shorter one. It is read from the
    /// counts of hours, so that it costs little however much is stored; a person's events that were erased are still counted there.
    ///
    /// Retention takes it with the next round of upkeep behind the save of the setting, within a minute; then the keys of those
    /// days, so that no backup of them can be read. Further days go as they become older than `days`.
    ///
    /// # Errors
    /// `Database`.
    pub async fn events_beyond(&self, project: i64, days: u32) -> Result<Beyond, StoreError> {
        let first_kept = self.clock().now().day() - i64::from(days);
        let row = query(
            "SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT), COUNT(DISTINCT hour / 24), COALESCE(MIN(hour / 24), 0) FROM totals \
             WHERE project = $1 AND name = 0 AND hour > 0 AND hour < $2 AND events > 0",
        )
        .bind(project)
        .bind(first_kept * 24)
        .fetch_one(self.data().readers())
        .await
        .during("count what a shorter retention takes")?;
        let (events, days, oldest): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
        let day = |day: i64| Timestamp::from_millis(day * DAY_MILLIS);
        Ok(Beyond {
            events: events.cast_unsigned(),
            days: days.cast_unsigned(),
            oldest: (events > 0).then(|| day(oldest)),
            kept_from: day(first_kept),
        })
    }

    async fn would_drop(&self, today: i64) -> Result<bool, StoreError> {
        let oldest = self.oldest_days().await?;
        Ok(self.projects().await?.iter().any(|project| {
            oldest.get(&project.number).is_some_and(|day| *day < today - i64::from(project.settings.retention_days))
        }))
    }

    async fn retain(&self, today: i64) -> Result<(), StoreError> {
        let projects = self.projects().await?;
        let longest = projects.iter().map(|project| i64::from(project.settings.retention_days)).max().unwrap_or(0);
        let oldest = self.oldest_days().await?;
        let quarantined: Vec<i64> = query("SELECT DISTINCT project FROM quarantine")
            .fetch_all(self.data().readers())
            .await
            .during("find quarantined items")?
            .iter()
            .map(|row| row.read(0))
            .collect::<Result<_, _>>()?;
        let keys: HashMap<i64, i64> =
            query("SELECT project, MIN(number) FROM keys WHERE kind = 'day' GROUP BY project")
                .fetch_all(self.control().readers())
                .await
                .during("find old keys")?
                .iter()
                .map(|row| Ok((row.read(0)?, row.read(1)?)))
                .collect::<Result<_, StoreError>>()?;
        let held = self.held_projects().await?;
        let mut destroyed = false;
        for project in &projects {
            let first_kept = today - i64::from(project.settings.retention_days);
            if held.contains(&project.number) {
                self.forget_held(project.number, first_kept).await?;
            }
            if quarantined.contains(&project.number) {
                self.forget_quarantined(project.number, first_kept).await?;
            }
            // Every count is of an event of a frame: only where a frame is old there is anything to do.
            if oldest.get(&project.number).is_some_and(|day| *day < first_kept) {
                self.retain_events(project.number, first_kept).await?;
            }
            if keys.get(&project.number).is_some_and(|day| *day < first_kept) {
                self.retain_learned(project.number, first_kept).await?;
                // Last: what was sealed under them is gone from here, and now from every backup.
                self.destroy_day_keys(project, first_kept).await?;
                destroyed = true;
            }
        }
        if destroyed {
            self.control().sweep().await?;
        }
        self.steps(
            "DELETE FROM state WHERE (project, kind, key) IN (SELECT project, kind, key FROM state WHERE expires < $1 AND kind > 4 LIMIT $2)",
            &[today],
        )
        .await?;
        self.steps(
            "DELETE FROM withheld WHERE (project, week, field, rule, side) IN \
             (SELECT project, week, field, rule, side FROM withheld WHERE week < $1 LIMIT $2)",
            &[convizit_model::withheld::week_of(today) - REPORTED_WEEKS],
        )
        .await?;
        if longest == 0 {
            return Ok(());
        }
        // What names no project, and what is nobody's, goes with the project that keeps the longest.
        self.forget_quarantined(0, today - longest).await?;
        self.steps(
            "DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE state = 'resolved' AND last < $1 LIMIT $2)",
            &[(today - longest) * DAY_MILLIS],
        )
        .await?;
        self.forget_ahead(today - longest, STEP).await?;
        // A backup may be kept longer than any project keeps its events.
        let in_backups = self.backup_config().map_or(0, |config| config.keep.days());
        self.retain_ledger((today - longest.max(in_backups)) * DAY_MILLIS).await?;
        self.drop_seen_days(today - longest).await
    }

    async fn retain_events(&self, project: i64, first_kept: i64) -> Result<(), StoreError> {
        self.forget_counts(project, first_kept * 24).await?;
        self.steps(
            "DELETE FROM dead_letters WHERE project = $1 AND (destination, number) IN \
             (SELECT destination, number FROM dead_letters WHERE project = $1 \
             AND number <= (SELECT MAX(last) FROM frames WHERE project = $1 AND day < $2) LIMIT $3)",
            &[project, first_kept],
        )
        .await?;
        // Last, because they say that something is to be done.
        self.steps(
            "DELETE FROM frames WHERE project = $1 AND first IN \
             (SELECT first FROM frames WHERE project = $1 AND day < $2 ORDER BY first LIMIT $3)",
            &[project, first_kept],
        )
        .await
    }

    /// Elements, groups, names and templates that were last seen on a day of which no event is kept any more.
    async fn retain_learned(&self, project: i64, first_kept: i64) -> Result<(), StoreError> {
        self.steps(
            "DELETE FROM state WHERE project = $1 AND (kind, key) IN \
             (SELECT kind, key FROM state WHERE project = $1 AND kind <= 4 AND expires < $2 LIMIT $3)",
            &[project, first_kept],
        )
        .await?;
        self.steps(
            "DELETE FROM damaged_state WHERE project = $1 AND (kind, key) IN \
             (SELECT kind, key FROM damaged_state WHERE project = $1 AND expires < $2 LIMIT $3)",
            &[project, first_kept],
        )
        .await
    }

    async fn destroy_day_keys(&self, project: &Project, first_kept: i64) -> Result<(), StoreError> {
        const NAME: &str = "destroy old keys";
        let number = project.number;
        let entry = self.entry(
            "key.destroy",
            project.id.as_str(),
            &format!("days before {}", crate::named_keys::date(first_kept)),
            "retention",
        );
        let ring = self.ring().clone();
        self.control()
            .run_tx(NAME, move |connection| {
                let (entry, ring) = (entry.clone(), ring.clone());
                Box::pin(async move {
                    query("DELETE FROM keys WHERE project = $1 AND kind = 'day' AND number < $2")
                        .bind(number)
                        .bind(first_kept)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    crate::audit::append(connection, &ring, &[entry]).await
                })
            })
            .await?;
        self.keyring().forget_project(number);
        Ok(())
    }

    /// Destroys all keys of a project that is no more.
    pub(crate) async fn destroy_project_keys(&self, project: i64) -> Result<(), StoreError> {
        const NAME: &str = "destroy keys of a removed project";
        let entry = self.entry("key.destroy", "", &format!("project number {project}"), "removed");
        let ring = self.ring().clone();
        let destroyed = self
            .control()
            .run_tx(NAME, move |connection| {
                let (entry, ring) = (entry.clone(), ring.clone());
                Box::pin(async move {
                    let done = query("DELETE FROM keys WHERE project = $1")
                        .bind(project)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    if done.rows_affected() > 0 {
                        crate::audit::append(connection, &ring, &[entry]).await?;
                    }
                    Ok(done.rows_affected() > 0)
                })
            })
            .await?;
        self.keyring().forget_project(project);
        if destroyed { self.control().sweep().await } else { Ok(()) }
    }

    /// Entries of the ledger that are older than anything they could be about, here or in a backup.
    async fn retain_ledger(&self, before: i64) -> Result<(), StoreError> {
        self.steps(
            "DELETE FROM erase_messages WHERE (project, destination, request) IN (SELECT m.project, m.destination, m.request \
             FROM erase_messages m WHERE NOT EXISTS (SELECT 1 FROM erasures e WHERE e.request = m.request AND e.made >= $1) LIMIT $2)",
            &[before],
        )
        .await?;
        self.steps(
            // The newest stays, so that its number is not given again.
            "DELETE FROM erasures WHERE number IN (SELECT number FROM erasures WHERE state = 'done' AND made < $1 \
             AND number < (SELECT MAX(number) FROM erasures) LIMIT $2)",
            &[before],
        )
        .await
    }

    async fn drop_seen_days(&self, first_kept: i64) -> Result<(), StoreError> {
        let old = query("SELECT day FROM seen_days WHERE day > 0 AND day < $1")
            .bind(first_kept)
            .fetch_all(self.data().readers())
            .await
            .during("find old days")?;
        for row in old {
            let day: i64 = row.read(0)?;
            self.data()
                .run_tx("drop seen day", move |connection| {
                    Box::pin(async move {
                        query("DELETE FROM seen_days WHERE day = $1")
                            .bind(day)
                            .execute(&mut *connection)
                            .await
                            .during("drop seen day")?;
                        // Only a number is composed.
                        let sql = format!("DROP TABLE IF EXISTS seen_{day}");
                        query(AssertSqlSafe(sql)).execute(&mut *connection).await.during("drop seen day").map(|_| ())
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn forget_quarantined(&self, project: i64, first_kept: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM quarantine WHERE project = $1 AND subject IN \
                   (SELECT subject FROM quarantine WHERE project = $1 AND day < $2 LIMIT $3)";
        self.steps(sql, &[project, first_kept]).await
    }
}
