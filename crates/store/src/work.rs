//! The worker's one transaction: frames, seen ids, registry, counts with samples, outcomes, quarantine and the journal offset.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use convizit_keys::{DataKey, KeyError, Place, ProjectKeys};
use convizit_model::outcome::Filter;
use convizit_model::{NoticeKind, Outcome, ProjectWork, Ruling, StateKind, StateRow, Timestamp, Withheld, Work};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, query};

use crate::counts::{self, Totals};
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError, pairs};
use crate::held::{self, HeldRecord};
use crate::ledger::Ledger;
use crate::people::PersonHasher;
use crate::statement::{insert_rows, pieces};
use crate::{Store, crowd, frames, notices, samples, seen, withheld};

/// State rows that say of persons what they did: the worker learns them anew.
pub(crate) const OF_PERSONS: [i64; 3] = [StateKind::Session as i64, StateKind::Place as i64, StateKind::Waiting as i64];

/// A `Work` with everything sealed. The rows of all projects stand together: a
/// statement takes many projects at once, where each of a thousand has little.
#[derive(Default)]
struct Prepared {
    /// Number of the newest erasure that is carried out in it.
    ledger: i64,
    from: i64,
    to: i64,
    now: Timestamp,
    progress: Vec<Progress>,
    frames: Vec<frames::Frame>,
    rows: Vec<(i64, StateRow, Vec<u8>)>,
    counts: Vec<Count>,
    totals: Totals,
    outcomes: Vec<(i64, Outcome, u64)>,
    rulings: Vec<(i64, u64, Ruling)>,
    withheld: Vec<(i64, Withheld, u64)>,
    quarantined: Vec<Unprocessed>,
    held: Vec<held::Sealed>,
    released: Vec<held::At>,
    seen: BTreeMap<i64, Vec<[u8; seen::KEY]>>,
}

/// A stretch's work, numbered and sealed.
pub struct PreparedWork(Arc<Prepared>);

/// Events of a name in an hour.
struct Count {
    project: i64,
    name: i64,
    hour: i64,
    events: i64,
    newest: samples::Newest,
}

/// A project's event numbers before and after.
struct Progress {
    project: i64,
    before: i64,
    after: i64,
}

/// An item in quarantine, sealed.
struct Unprocessed {
    project: i64,
    id: String,
    notice: NoticeKind,
    subject: String,
    body: Vec<u8>,
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

    /// Numbers, packs and seals a stretch's work, so that the transaction only writes. `behind` is a work before this one
    /// that is not committed yet: the numbers go on from it.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn prepare_work(&self, work: Work, behind: Option<&PreparedWork>) -> Result<PreparedWork, StoreError> {
        self.prepare_work_with(work, (Vec::new(), &[]), behind).await
    }

    /// As `prepare_work`; records that are to wait for their project are written with it, and of those that waited the ones go that it was
    /// made of.
    ///
    /// # Errors
    /// As `prepare_work`.
    pub async fn prepare_work_with(
        &self,
        mut work: Work,
        (held, released): (Vec<HeldRecord>, &[HeldRecord]),
        behind: Option<&PreparedWork>,
    ) -> Result<PreparedWork, StoreError> {
        // In the order of the tables' keys.
        work.projects.sort_by_key(|project| project.number);
        let numbers: Vec<i64> = work.projects.iter().map(|project| project.number).collect();
        let mut last = self.last_events(&numbers).await?;
        if let Some(PreparedWork(behind)) = behind {
            last.extend(behind.progress.iter().map(|project| (project.project, project.after)));
        }
        // The ledger before the keys: with an older one than theirs nothing is stored.
        let people = (self.ledger().now(), self.hasher());
        let (keys, now, own) = (self.keys_of(&work).await?, self.clock().now(), self.ring().own());
        let at = |record: &HeldRecord| (record.project, record.offset.cast_signed(), record.index.cast_signed());
        let released: Vec<held::At> = released.iter().map(at).collect();
        let prepared = tokio::task::spawn_blocking(move || {
            let held = held::seal(&own, now, held)?;
            let prepared = Prepared { held, released, ..prepare(work, &last, &keys, (now, people))? };
            Ok(PreparedWork(Arc::new(prepared)))
        });
        prepared
            .await
            .map_err(|_| StoreError::Database { action: "prepare work", problem: "it ended in a panic".to_owned() })?
    }

    /// The keys that a stretch's work is sealed with.
    async fn keys_of(&self, work: &Work) -> Result<WorkKeys, StoreError> {
        let mut keys = WorkKeys::default();
        for project in &work.projects {
            // Of one whose records wait, nothing is sealed.
            if project.events.is_empty() && project.rows.is_empty() && project.quarantined.is_empty() {
                continue;
            }
            keys.projects.insert(project.number, self.keyring().project(project.number).await?);
            for event in &project.events {
                if let Entry::Vacant(entry) = keys.days.entry((project.number, event.day)) {
                    entry.insert(self.keyring().day_to_seal(project.number, event.day).await?);
                }
            }
        }
        Ok(keys)
    }

    /// Writes frames, seen ids, rows, counts, samples, outcomes, quarantine, notices and the offset in ONE transaction,
    /// then lets the journal drop what is processed. Frames are merged apart, in `upkeep`.
    ///
    /// # Errors
    /// `Moved` when the offset is not `work.from` or a project's last number changed meanwhile; then nothing is written.
    pub async fn commit_work(&self, work: Work) -> Result<(), StoreError> {
        self.commit_prepared(&self.prepare_work(work, None).await?).await
    }

    /// As `commit_work`, of what was prepared.
    ///
    /// # Errors
    /// As `commit_work`.
    pub async fn commit_prepared(&self, PreparedWork(prepared): &PreparedWork) -> Result<(), StoreError> {
        let to = prepared.to;
        let (engine, written, own) = (self.data().engine, prepared.clone(), self.ring().own());
        let committed = self
            .data()
            .run_tx("commit work", move |connection| {
                let (prepared, own) = (written.clone(), own.clone());
                Box::pin(async move { write(connection, &prepared, engine, &own).await })
            })
            .await;
        if matches!(committed, Err(StoreError::Moved { .. })) {
            // Perhaps somebody was erased meanwhile: the next try is made without them.
            self.look_for_erasures().await?;
        }
        committed?;
        let to = u64::try_from(to).unwrap_or(0);
        self.journal().forget_through(to);
        self.ruled(&prepared.rulings);
        self.stored(to, prepared.progress.iter().map(|project| (project.project, project.after)));
        Ok(())
    }

    /// Which rows of a project's state: opened.
    pub(crate) async fn open_state(&self, project: i64, row: &AnyRow, from: usize) -> Result<StateRow, StoreError> {
        let (kind, key, expires): (i64, i64, Option<i64>) = (row.read(from)?, row.read(from + 1)?, row.read(from + 2)?);
        let kind = StateKind::from_number(kind).ok_or_else(|| {
            StoreError::Unusable(format!("state rows of kind {kind} are of a newer convizit: start that version"))
        })?;
        let mut state = StateRow { kind, key: key.cast_unsigned(), expires_day: expires, body: Vec::new() };
        let opened = self.keyring().open_sealed(project, body_of_state(&state_row(&state)), row.read(from + 3)?).await;
        state.body = opened.map_err(|error| match error {
            // So that a person can find it.
            StoreError::Keys(KeyError::Open { project, .. }) => {
                KeyError::Open { place: format!("state row {}/{key}", kind as i64), project }.into()
            }
            other => other,
        })?;
        Ok(state)
    }

    /// As `open_state`; nothing where a row does not open that the worker learns anew.
    pub(crate) async fn open_known(
        &self,
        project: i64,
        row: &AnyRow,
        from: usize,
    ) -> Result<Option<StateRow>, StoreError> {
        let error = match self.open_state(project, row, from).await {
            Ok(state) => return Ok(Some(state)),
            Err(error) => error,
        };
        if OF_PERSONS.contains(&row.read(from)?) && self.is_damaged_row(project, &error).await? {
            tracing::warn!(%error, "what was known of a visitor cannot be read and is learned anew");
            return Ok(None);
        }
        Err(error)
    }

    pub(crate) async fn open_states(&self, project: i64, rows: &[AnyRow]) -> Result<Vec<StateRow>, StoreError> {
        let mut opened = Vec::with_capacity(rows.len());
        for row in rows {
            opened.extend(self.open_known(project, row, 0).await?);
        }
        Ok(opened)
    }

    /// All state rows of a project but its sessions, for whoever only reads: what does not open of what was learned is passed over, and
    /// the worker sets it aside.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_state(&self, project: i64) -> Result<Vec<StateRow>, StoreError> {
        Ok(self.sorted_state(project).await?.opened)
    }

    /// All session rows of a project: to find those of a person.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_all_sessions(&self, project: i64) -> Result<Vec<StateRow>, StoreError> {
        let rows = query("SELECT kind, key, expires, body FROM state WHERE project = $1 AND kind = 5 ORDER BY key")
            .bind(project)
            .fetch_all(self.data().readers())
            .await
            .during("load sessions")?;
        self.open_states(project, &rows).await
    }

    /// The session rows of these keys.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_sessions(&self, project: i64, keys: &[u64]) -> Result<Vec<StateRow>, StoreError> {
        let keys: Vec<(i64, u64)> = keys.iter().map(|key| (project, *key)).collect();
        Ok(self.load_sessions_of(&keys).await?.into_iter().map(|(_, row)| row).collect())
    }

    /// The session rows of these projects and keys: one look for all projects of a stretch.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn load_sessions_of(&self, keys: &[(i64, u64)]) -> Result<Vec<(i64, StateRow)>, StoreError> {
        let mut found = Vec::new();
        for piece in pieces(keys) {
            let sql = insert_rows(
                self.data().engine,
                "SELECT state.project, state.kind, state.key, state.expires, state.body FROM (",
                2,
                piece.len(),
                // Both engines call the columns of VALUES so. A cross join, because SQLite keeps its order.
                ") AS wanted CROSS JOIN state \
                 WHERE state.project = wanted.column1 AND state.kind = 5 AND state.key = wanted.column2",
            );
            // Only placeholders are composed.
            let mut select = query(AssertSqlSafe(sql));
            for (project, key) in piece {
                select = select.bind(*project).bind(key.cast_signed());
            }
            for row in select.fetch_all(self.data().readers()).await.during("load sessions")? {
                let project: i64 = row.read(0)?;
                found.extend(self.open_known(project, &row, 1).await?.map(|row| (project, row)));
            }
        }
        Ok(found)
    }
}

/// Keys of projects, and of their days.
#[derive(Default)]
struct WorkKeys {
    projects: HashMap<i64, Arc<ProjectKeys>>,
    days: HashMap<(i64, i64), Arc<DataKey>>,
}

fn prepare(
    work: Work,
    last: &HashMap<i64, i64>,
    keys: &WorkKeys,
    (now, (ledger, hasher)): (Timestamp, (Arc<Ledger>, PersonHasher)),
) -> Result<Prepared, StoreError> {
    let (from, to) = (number(work.from), number(work.to));
    let mut prepared = Prepared { ledger: ledger.number, from, to, now, ..Prepared::default() };
    let mut sealer = frames::Sealer::new(&keys.days, &hasher, ledger.number)?;
    for mut project in work.projects {
        drop_erased(&mut project, &ledger, &hasher);
        let before = last.get(&project.number).copied().unwrap_or(0);
        prepare_project(project, before, keys, &mut sealer, &mut prepared)?;
    }
    for keys in prepared.seen.values_mut() {
        // In the order of their times, so that the tree grows at its end.
        keys.sort_unstable();
    }
    Ok(prepared)
}

/// Of whom the ledger speaks nothing is stored, whenever it was received.
fn drop_erased(work: &mut ProjectWork, ledger: &Ledger, hasher: &PersonHasher) {
    let Some(erased) = ledger.of(work.number) else { return };
    let before = work.events.len();
    work.events.retain(|event| !erased.erases_event(hasher, work.number, event));
    let dropped = (before - work.events.len()) as u64;
    if dropped > 0 {
        for (outcome, items) in &mut work.outcomes {
            if *outcome == Outcome::Accepted {
                *items = items.saturating_sub(dropped);
            }
        }
        work.outcomes.push((Outcome::Filtered(Filter::Erased), dropped));
    }
}

fn prepare_project(
    work: ProjectWork,
    before: i64,
    keys: &WorkKeys,
    sealer: &mut frames::Sealer<'_>,
    into: &mut Prepared,
) -> Result<(), StoreError> {
    let project = work.number;
    let own = || keys.projects.get(&project).ok_or_else(|| StoreError::not_found("key of project number", project));
    let (frames, after) = sealer.frames(project, before, &work.events)?;
    into.frames.extend(frames);
    if after != before {
        into.progress.push(Progress { project, before, after });
    }
    let mut counts: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
    for (event, number) in work.events.iter().zip(before + 1..) {
        let day = seen::table_of(&event.id, event.day);
        into.seen.entry(day).or_default().push(seen::key(project, &event.id));
        counts.entry((event.name.cast_signed(), event.hour)).or_default().push(number);
    }
    for (id, day) in &work.dropped {
        into.seen.entry(seen::table_of(id, *day)).or_default().push(seen::key(project, id));
    }
    counts::sum(&mut into.totals, project, &counts);
    into.counts.extend(counts.into_iter().map(|((name, hour), numbers)| Count {
        project,
        name,
        hour,
        events: i64::try_from(numbers.len()).unwrap_or(i64::MAX),
        newest: samples::Newest::of(&numbers),
    }));
    for row in work.rows {
        let sealed = own()?.seal(into.now, body_of_state(&state_row(&row)), &row.body)?;
        into.rows.push((project, row, sealed));
    }
    into.withheld.extend(work.withheld.into_iter().map(|(what, items)| (project, what, items)));
    into.rulings.extend(work.rulings.into_iter().map(|(key, ruling)| (project, key, ruling)));
    into.outcomes.extend(work.outcomes.into_iter().map(|(outcome, items)| (project, outcome, items)));
    for item in work.quarantined {
        let place = Place { table: "quarantine", purpose: "body", row: item.subject.as_bytes() };
        let (body, id) = (own()?.seal(into.now, place, &item.body)?, work.project.to_string());
        into.quarantined.push(Unprocessed { project, id, notice: item.notice, subject: item.subject, body });
    }
    Ok(())
}

fn number(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

pub(crate) fn body_of_state(row: &[u8; 16]) -> Place<'_> {
    Place { table: "state", purpose: "body", row }
}

pub(crate) fn state_row(row: &StateRow) -> [u8; 16] {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&(row.kind as i64).to_be_bytes());
    place[8..].copy_from_slice(&row.key.to_be_bytes());
    place
}

async fn write(
    connection: &mut AnyConnection,
    work: &Prepared,
    engine: Engine,
    own: &ProjectKeys,
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
    let ledger: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM erasures")
        .fetch_one(&mut *connection)
        .await
        .during(NAME)?;
    if ledger != work.ledger {
        return Err(StoreError::Moved { what: "the ledger of erasures".to_owned() });
    }
    advance_numbers(connection, engine, &work.progress).await?;
    for (&day, keys) in &work.seen {
        seen::insert(connection, engine, day, keys).await?;
    }
    for piece in pieces(&work.frames) {
        frames::insert(connection, engine, piece).await?;
    }
    write_rows(connection, engine, work).await?;
    add_outcomes(connection, engine, &work.outcomes).await?;
    withheld::add(connection, engine, &work.withheld).await?;
    crowd::write(connection, engine, &work.rulings, work.to).await?;
    held::write(connection, &work.held, &work.released).await?;
    for item in &work.quarantined {
        query("INSERT INTO quarantine (project, subject, day, body) VALUES ($1, $2, $3, $4) ON CONFLICT (project, subject) DO UPDATE SET day = excluded.day, body = excluded.body")
            .bind(item.project)
            .bind(item.subject.as_str())
            .bind(work.now.day())
            .bind(item.body.as_slice())
            .execute(&mut *connection)
            .await
            .during(NAME)?;
        let text =
            "an item could not be processed; it is kept sealed in quarantine, the items around it are not affected";
        notices::raise(connection, own, item.notice, (&item.id, &item.subject), text, work.now).await?;
    }
    Ok(())
}

/// Moves the last event numbers on, from where they stood when the frames were numbered.
async fn advance_numbers(
    connection: &mut AnyConnection,
    engine: Engine,
    progress: &[Progress],
) -> Result<(), StoreError> {
    const NAME: &str = "commit work";
    for piece in pieces(progress) {
        // Nothing may change between these two statements: SQLite has one writer, PostgreSQL is asked to hold the rows.
        let hold = if engine == Engine::Postgres { " FOR UPDATE" } else { "" };
        let mut select = query(AssertSqlSafe(frames::last_numbers(engine, piece.len()) + hold));
        for project in piece {
            select = select.bind(project.project);
        }
        let rows = select.fetch_all(&mut *connection).await.during(NAME)?;
        let stored: HashMap<i64, i64> = pairs(&rows)?;
        for project in piece {
            if stored.get(&project.project).copied().unwrap_or(0) != project.before {
                let what = format!("the last event number of project number {}", project.project);
                return Err(StoreError::Moved { what });
            }
        }
        let tail = "ON CONFLICT (project) DO UPDATE SET last_number = excluded.last_number";
        let sql = insert_rows(engine, "INSERT INTO progress (project, last_number)", 2, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for project in piece {
            insert = insert.bind(project.project).bind(project.after);
        }
        insert.execute(&mut *connection).await.during(NAME)?;
    }
    Ok(())
}

/// State, and counts with their samples.
async fn write_rows(connection: &mut AnyConnection, engine: Engine, work: &Prepared) -> Result<(), StoreError> {
    const NAME: &str = "commit work";
    for piece in pieces(&work.rows) {
        let tail = "ON CONFLICT (project, kind, key) DO UPDATE SET expires = excluded.expires, body = excluded.body";
        let sql = insert_rows(engine, "INSERT INTO state (project, kind, key, expires, body)", 5, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for (project, row, body) in piece {
            insert = insert
                .bind(*project)
                .bind(row.kind as i64)
                .bind(row.key.cast_signed())
                .bind(row.expires_day)
                .bind(body.as_slice());
        }
        insert.execute(&mut *connection).await.during(NAME)?;
    }
    for piece in pieces(&work.counts) {
        let tail = samples::ADD;
        let sql = insert_rows(engine, "INSERT INTO counts (project, name, hour, events, newest)", 5, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for count in piece {
            insert = insert
                .bind(count.project)
                .bind(count.name)
                .bind(count.hour)
                .bind(count.events)
                .bind(count.newest.as_str());
        }
        insert.execute(&mut *connection).await.during(NAME)?;
    }
    counts::add(connection, engine, &work.totals).await
}

/// Adds to the totals of outcomes.
pub(crate) async fn add_outcomes(
    connection: &mut AnyConnection,
    engine: Engine,
    outcomes: &[(i64, Outcome, u64)],
) -> Result<(), StoreError> {
    for piece in pieces(outcomes) {
        let tail = "ON CONFLICT (project, outcome) DO UPDATE SET items = outcomes.items + excluded.items";
        let sql = insert_rows(engine, "INSERT INTO outcomes (project, outcome, items)", 3, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for &(project, outcome, items) in piece {
            insert = insert.bind(project).bind(outcome.as_str()).bind(i64::try_from(items).unwrap_or(i64::MAX));
        }
        insert.execute(&mut *connection).await.during("add outcomes")?;
    }
    Ok(())
}
