//! The worker's one transaction: frames, seen ids, registry, counts, samples, outcomes, quarantine and the journal offset.

use std::collections::BTreeMap;
use std::sync::Arc;

use convizit_keys::Place;
use convizit_model::{NoticeKind, Outcome, ProjectWork, StateRow, Timestamp, Work};
use sqlx::{AnyConnection, AssertSqlSafe, Row, query};

use crate::database::{insert_rows, pieces};
use crate::error::{During, StoreError};
use crate::{Store, frames, notices, seen};

/// Samples of a name that are kept.
pub(crate) const SAMPLES: usize = 20;

/// A `Work` with everything sealed, so that the transaction only writes.
struct Prepared {
    from: i64,
    to: i64,
    now: Timestamp,
    projects: Vec<PreparedProject>,
    seen: BTreeMap<i64, Vec<[u8; seen::KEY]>>,
}

struct PreparedProject {
    number: i64,
    id: String,
    last_before: i64,
    last_after: i64,
    frames: Vec<frames::Frame>,
    rows: Vec<(StateRow, Vec<u8>)>,
    counts: Vec<(i64, i64, i64)>,
    samples: Vec<(i64, i64)>,
    outcomes: Vec<(Outcome, u64)>,
    quarantined: Vec<(NoticeKind, String, Vec<u8>)>,
}

impl Store {
    /// The offset up to which the journal is processed.
    ///
    /// # Errors
    /// `Database`.
    pub async fn worker_offset(&self) -> Result<u64, StoreError> {
        let offset: i64 = sqlx::query_scalar("SELECT journal_offset FROM worker WHERE id = 0")
            .fetch_one(self.data().readers())
            .await
            .during("read worker offset")?;
        Ok(u64::try_from(offset).unwrap_or(0))
    }

    /// Writes frames, seen ids, rows, counts, samples, outcomes, quarantine, notices and the offset in ONE transaction,
    /// then lets the journal drop what is processed. Frames are merged apart, in `upkeep`.
    ///
    /// # Errors
    /// `Moved` when the offset is not `work.from` or a project's last number changed meanwhile; then nothing is written.
    pub async fn commit_work(&self, work: Work) -> Result<(), StoreError> {
        let (from, to) = (number(work.from), number(work.to));
        let mut projects = Vec::with_capacity(work.projects.len());
        let mut seen_keys: BTreeMap<i64, Vec<[u8; seen::KEY]>> = BTreeMap::new();
        for project in work.projects {
            for event in &project.events {
                let day = seen::table_of(&event.id, event.day);
                seen_keys.entry(day).or_default().push(seen::key(project.number, &event.id));
            }
            projects.push(self.prepare(project).await?);
        }
        for keys in seen_keys.values_mut() {
            // In the order of their times, so that the tree grows at its end.
            keys.sort_unstable();
        }
        let prepared = Arc::new(Prepared { from, to, now: self.clock().now(), projects, seen: seen_keys });
        let engine = self.data().engine;
        self.data()
            .run_tx("commit work", move |connection| {
                let prepared = prepared.clone();
                Box::pin(async move { write(connection, &prepared, engine).await })
            })
            .await?;
        self.journal().forget_through(work.to);
        self.stored(work.to);
        Ok(())
    }

    async fn prepare(&self, work: ProjectWork) -> Result<PreparedProject, StoreError> {
        let last_before = self.last_event(work.number).await?;
        let keys = self.keys();
        let (frames, last_after) = frames::build(keys, work.number, last_before, &work.events)?;
        let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        let mut newest: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (event, number) in work.events.iter().zip(last_before + 1..) {
            let name = event.name.cast_signed();
            *counts.entry((name, event.hour)).or_default() += 1;
            newest.entry(name).or_default().push(number);
        }
        let samples = newest
            .into_iter()
            .flat_map(|(name, numbers)| numbers.into_iter().rev().take(SAMPLES).map(move |number| (name, number)))
            .collect();
        let rows = work
            .rows
            .into_iter()
            .map(|row| {
                let sealed =
                    keys.seal(Place { table: "state", project: work.number, row: &state_place(&row) }, &row.body)?;
                Ok((row, sealed))
            })
            .collect::<Result<_, StoreError>>()?;
        let quarantined = work
            .quarantined
            .into_iter()
            .map(|item| {
                let place = Place { table: "quarantine", project: work.number, row: item.subject.as_bytes() };
                Ok((item.notice, item.subject.clone(), keys.seal(place, &item.body)?))
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(PreparedProject {
            number: work.number,
            id: work.project.to_string(),
            last_before,
            last_after,
            frames,
            rows,
            counts: counts.into_iter().map(|((name, hour), events)| (name, hour, events)).collect(),
            samples,
            outcomes: work.outcomes,
            quarantined,
        })
    }

    /// Which rows of a project's state: opened.
    pub(crate) fn open_state(
        &self,
        project: i64,
        kind: i64,
        key: i64,
        expires: Option<i64>,
        body: &[u8],
    ) -> Result<StateRow, StoreError> {
        let kind = convizit_model::StateKind::from_number(kind).ok_or_else(|| {
            StoreError::Unusable(format!("state rows of kind {kind} are of a newer convizit: start that version"))
        })?;
        let mut row = StateRow { kind, key: key.cast_unsigned(), expires_day: expires, body: Vec::new() };
        row.body = self.keys().open(Place { table: "state", project, row: &state_place(&row) }, body)?;
        Ok(row)
    }

    /// All state rows of a project but its sessions.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_state(&self, project: i64) -> Result<Vec<StateRow>, StoreError> {
        let rows =
            query("SELECT kind, key, expires, body FROM state WHERE project = $1 AND kind <> 5 ORDER BY kind, key")
                .bind(project)
                .fetch_all(self.data().readers())
                .await
                .during("load state")?;
        rows.iter().map(|row| self.open_state(project, row.get(0), row.get(1), row.get(2), row.get(3))).collect()
    }

    /// The session rows of these keys.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_sessions(&self, project: i64, keys: &[u64]) -> Result<Vec<StateRow>, StoreError> {
        let mut found = Vec::new();
        for piece in pieces(keys) {
            let marks: Vec<String> = (2..piece.len() + 2).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT kind, key, expires, body FROM state WHERE project = $1 AND kind = 5 AND key IN ({})",
                marks.join(", ")
            );
            // Only placeholders are composed.
            let mut select = query(AssertSqlSafe(sql)).bind(project);
            for key in piece {
                select = select.bind(key.cast_signed());
            }
            for row in select.fetch_all(self.data().readers()).await.during("load sessions")? {
                found.push(self.open_state(project, row.get(0), row.get(1), row.get(2), row.get(3))?);
            }
        }
        Ok(found)
    }
}

fn number(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn state_place(row: &StateRow) -> [u8; 16] {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&(row.kind as i64).to_be_bytes());
    place[8..].copy_from_slice(&row.key.to_be_bytes());
    place
}

async fn write(
    connection: &mut AnyConnection,
    work: &Prepared,
    engine: crate::database::Engine,
) -> Result<(), StoreError> {
    const NAME: &str = "commit work";
    let moved = query("UPDATE worker SET journal_offset = $1 WHERE id = 0 AND journal_offset = $2")
        .bind(work.to)
        .bind(work.from)
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    if moved.rows_affected() != 1 {
        return Err(StoreError::Moved { what: "the worker's offset".to_owned() });
    }
    for (&day, keys) in &work.seen {
        seen::insert(connection, engine, day, keys).await?;
    }
    for project in &work.projects {
        write_project(connection, project).await?;
        for (kind, subject, body) in &project.quarantined {
            query("INSERT INTO quarantine (project, subject, body) VALUES ($1, $2, $3) ON CONFLICT (project, subject) DO UPDATE SET body = excluded.body")
                .bind(project.number)
                .bind(subject.as_str())
                .bind(body.as_slice())
                .execute(&mut *connection)
                .await
                .during(NAME)?;
            let text =
                "an item could not be processed; it is kept sealed in quarantine, the items around it are not affected";
            notices::raise(connection, *kind, &project.id, subject, text, work.now).await?;
        }
    }
    Ok(())
}

async fn write_project(connection: &mut AnyConnection, work: &PreparedProject) -> Result<(), StoreError> {
    const NAME: &str = "commit work";
    if work.last_after != work.last_before {
        let sql = "INSERT INTO progress (project, last_number) VALUES ($1, $2) \
                   ON CONFLICT (project) DO UPDATE SET last_number = excluded.last_number WHERE progress.last_number = $3";
        let done = query(sql)
            .bind(work.number)
            .bind(work.last_after)
            .bind(work.last_before)
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        if done.rows_affected() != 1 {
            return Err(StoreError::Moved { what: format!("the last event number of project {}", work.id) });
        }
    }
    for piece in pieces(&work.frames) {
        frames::insert(connection, work.number, piece).await?;
    }
    for piece in pieces(&work.rows) {
        let tail = "ON CONFLICT (project, kind, key) DO UPDATE SET expires = excluded.expires, body = excluded.body";
        let sql = insert_rows("INSERT INTO state (project, kind, key, expires, body)", 5, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for (row, body) in piece {
            insert = insert
                .bind(work.number)
                .bind(row.kind as i64)
                .bind(row.key.cast_signed())
                .bind(row.expires_day)
                .bind(body.as_slice());
        }
        insert.execute(&mut *connection).await.during(NAME)?;
    }
    for piece in pieces(&work.counts) {
        let tail = "ON CONFLICT (project, name, hour) DO UPDATE SET events = counts.events + excluded.events";
        let sql = insert_rows("INSERT INTO counts (project, name, hour, events)", 4, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for &(name, hour, events) in piece {
            insert = insert.bind(work.number).bind(name).bind(hour).bind(events);
        }
        insert.execute(&mut *connection).await.during(NAME)?;
    }
    for piece in pieces(&work.samples) {
        let sql = insert_rows("INSERT INTO samples (project, name, number)", 3, piece.len(), "");
        let mut insert = query(AssertSqlSafe(sql));
        for &(name, number) in piece {
            insert = insert.bind(work.number).bind(name).bind(number);
        }
        insert.execute(&mut *connection).await.during(NAME)?;
    }
    add_outcomes(
        connection,
        &work.outcomes.iter().map(|&(outcome, items)| (work.number, outcome, items)).collect::<Vec<_>>(),
    )
    .await
}

/// Adds to the totals of outcomes.
pub(crate) async fn add_outcomes(
    connection: &mut AnyConnection,
    outcomes: &[(i64, Outcome, u64)],
) -> Result<(), StoreError> {
    for piece in pieces(outcomes) {
        let tail = "ON CONFLICT (project, outcome) DO UPDATE SET items = outcomes.items + excluded.items";
        let sql = insert_rows("INSERT INTO outcomes (project, outcome, items)", 3, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for &(project, outcome, items) in piece {
            insert = insert.bind(project).bind(outcome.as_str()).bind(i64::try_from(items).unwrap_or(i64::MAX));
        }
        insert.execute(&mut *connection).await.during("add outcomes")?;
    }
    Ok(())
}
