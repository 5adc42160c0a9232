//! Frames: compressed and sealed stretches of one project's events of one received day.
//!
//! The worker writes a frame per project and transaction; `merge` joins neighbours until a frame holds 1 000 events or its
//! day is over. A merge replaces frames by one of the same range in one transaction, and a reader reads its frames in one
//! statement, so a reader sees the old frames or the new one, never both or neither.

mod opened;
mod put_back;
mod repack;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use convizit_keys::{DataKey, KeyError, Place};
use convizit_model::NewEvent;
use sqlx::{AnyConnection, AssertSqlSafe, query};

pub(crate) use self::opened::Opened;
use self::opened::Sealed;
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError, pairs};
use crate::ledger::{ProjectLedger, Whose};
use crate::people::{self, PersonHash, PersonHasher};
use crate::statement::{insert_rows, marks, pieces};
use crate::{Store, StoredEvent};

pub(crate) use put_back::{PutBack, Sound, Torn};

/// Events of a frame that is merged no more.
const FULL: i64 = 1_000;
/// Frames joined in one step: together they take far less than 20 ms.
const STEP: usize = 24;
/// Neighbours of the same size that make a merge worth its rewrite while a day is not over.
const WORTH: i64 = 7;
/// Decompressed bytes of a frame that merging adds no more to; one that the worker makes has at most one event more.
const FULL_BYTES: usize = 4 << 20;
/// Decompressed bytes of a frame at most, far above what the worker and merging make of them.
const FRAME_BYTES: usize = 64 << 20;

/// A frame to be written.
pub(crate) struct Frame {
    project: i64,
    first: i64,
    last: i64,
    day: i64,
    ledger: i64,
    filter: Vec<u8>,
    body: Vec<u8>,
}

/// Makes frames; keeps its compressor, which is costlier to make than a small frame.
pub(crate) struct Sealer<'k> {
    days: &'k HashMap<(i64, i64), Arc<DataKey>>,
    hasher: &'k PersonHasher,
    ledger: i64,
    compressor: zstd::bulk::Compressor<'static>,
}

impl<'k> Sealer<'k> {
    /// For frames that the worker writes: quick. What is merged is packed tighter.
    pub(crate) fn new(
        days: &'k HashMap<(i64, i64), Arc<DataKey>>,
        hasher: &'k PersonHasher,
        ledger: i64,
    ) -> Result<Self, StoreError> {
        Ok(Self { days, hasher, ledger, compressor: zstd::bulk::Compressor::new(1).map_err(cannot_pack)? })
    }

    /// Frames of new events, one for each received day, numbered from `last + 1`; and the new last number.
    pub(crate) fn frames(
        &mut self,
        project: i64,
        last: i64,
        events: &[NewEvent],
    ) -> Result<(Vec<Frame>, i64), StoreError> {
        let mut frames = Vec::new();
        let mut number = last;
        let mut bytes = 0;
        // The page of a small batch is in each of its events, so a thousand of them can be far more than a frame's bytes.
        let together = |a: &NewEvent, b: &NewEvent| {
            bytes += a.json.len();
            let goes_on = a.day == b.day && bytes < FULL_BYTES;
            bytes = if goes_on { bytes } else { 0 };
            goes_on
        };
        for events in events.chunk_by(together) {
            for events in events.chunks(usize::try_from(FULL).unwrap_or(usize::MAX)) {
                let lines: Vec<&[u8]> = events.iter().map(|event| event.json.as_slice()).collect();
                let first = number + 1;
                number += i64::try_from(events.len()).unwrap_or(0);
                let day = events.first().map_or(0, |event| event.day);
                let key = self.days.get(&(project, day)).ok_or(StoreError::KeyGone { project, day })?;
                let body = seal(key, &mut self.compressor, first, &lines.join(&b'\n'))?;
                let mut people = People::new(self.hasher, project);
                for event in events {
                    people.see(&event.visitor, event.user.as_deref());
                }
                let filter = people::beside((project, first, number), people.filter());
                frames.push(Frame { project, first, last: number, day, ledger: self.ledger, filter, body });
            }
        }
        Ok((frames, number))
    }
}

fn seal(
    key: &DataKey,
    compressor: &mut zstd::bulk::Compressor<'_>,
    first: i64,
    lines: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let packed = compressor.compress(lines).map_err(cannot_pack)?;
    Ok(key.seal(place(&first.to_be_bytes()), &packed)?)
}

/// How the columns `filter` and `body` of frames are selected: as bytes, also where damage in a SQLite file has made something else of
/// them. Read as they stand, such a value would be an error of all rows of its statement; so it is one of its frame alone.
pub(crate) fn as_bytes(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Sqlite => ("CAST(COALESCE(filter, '') AS BLOB)", "CAST(COALESCE(body, '') AS BLOB)"),
        // Where a column holds one type alone.
        Engine::Postgres => ("filter", "body"),
    }
}

fn place(first: &[u8; 8]) -> Place<'_> {
    Place { table: "frames", purpose: "body", row: first }
}

/// Whether the ledger speaks of a stored event.
fn is_erased(ledger: &ProjectLedger, hasher: &PersonHasher, project: i64, (number, line): (i64, &[u8])) -> bool {
    Whose::of(line).is_some_and(|whose| {
        ledger.erases(hasher, project, (&whose.visitor, whose.user.as_deref()), (whose.since(), Some(number)))
    })
}

/// Whose events a frame holds, each looked up once.
struct People<'h> {
    hasher: &'h PersonHasher,
    project: i64,
    seen: HashSet<(&'static str, String)>,
    hashes: Vec<PersonHash>,
}

impl<'h> People<'h> {
    fn new(hasher: &'h PersonHasher, project: i64) -> Self {
        Self { hasher, project, seen: HashSet::new(), hashes: Vec::new() }
    }

    fn see(&mut self, visitor: &str, user: Option<&str>) {
        for (kind, id) in [("visitor", Some(visitor)), ("user", user)] {
            if let Some(id) = id
                && self.seen.insert((kind, id.to_owned()))
            {
                self.hashes.push(self.hasher.of(self.project, kind, id));
            }
        }
    }

    fn see_lines(&mut self, lines: &[u8]) {
        for whose in lines.split(|byte| *byte == b'\n').filter_map(Whose::of) {
            self.see(&whose.visitor, whose.user.as_deref());
        }
    }

    fn filter(&self) -> Vec<u8> {
        people::list(self.hashes.iter())
    }
}

fn cannot_pack(error: std::io::Error) -> StoreError {
    StoreError::Database { action: "compress frame", problem: error.to_string() }
}

/// What is wrong with a frame, where it is named already.
pub(crate) fn wrong(error: &StoreError) -> String {
    match error {
        StoreError::Keys(KeyError::Open { .. }) => "its bytes, or the key of its day, were changed or moved".to_owned(),
        other => other.to_string(),
    }
}

pub(crate) fn open(key: &DataKey, project: i64, first: i64, body: &[u8]) -> Result<Vec<u8>, StoreError> {
    let packed = key.open(place(&first.to_be_bytes()), body)?;
    zstd::bulk::decompress(&packed, FRAME_BYTES).map_err(|error| {
        StoreError::Unusable(format!(
            "what frame {first} of project number {project} holds cannot be unpacked: {error}"
        ))
    })
}

/// Writes frames.
pub(crate) async fn insert(connection: &mut AnyConnection, engine: Engine, frames: &[Frame]) -> Result<(), StoreError> {
    let sql = insert_rows(
        engine,
        "INSERT INTO frames (project, first, last, day, ledger, filter, body)",
        7,
        frames.len(),
        "",
    );
    let mut insert = query(AssertSqlSafe(sql));
    for frame in frames {
        insert = insert
            .bind(frame.project)
            .bind(frame.first)
            .bind(frame.last)
            .bind(frame.day)
            .bind(frame.ledger)
            .bind(frame.filter.as_slice())
            .bind(frame.body.as_slice());
    }
    insert.execute(connection).await.during("insert frames")?;
    Ok(())
}

/// Runs of neighbouring frames, from first to last number, that fit into one each.
///
/// While more may come, a frame waits until its followers hold seven times as many events as it does, or as many when
/// no more fit: so each event is rewritten about log8(1 000) times, and not once for every few that come after it.
fn runs(frames: &[(i64, i64)], day_is_over: bool) -> Vec<(i64, i64)> {
    let mut runs = Vec::new();
    let mut rest = frames;
    while let Some(&(first, end)) = rest.first() {
        let (mut count, mut last, mut no_more_fit) = (1, end, false);
        for &(start, end) in rest.iter().skip(1).take(STEP - 1) {
            no_more_fit = end - first >= FULL;
            if start != last + 1 || no_more_fit {
                break;
            }
            (count, last) = (count + 1, end);
        }
        let (run, after) = rest.split_at(count);
        rest = after;
        let times = match (day_is_over, no_more_fit) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => WORTH,
        };
        let worth = |&&(start, end): &&(i64, i64)| (end - start + 1) * times <= last - end;
        if let Some(&(first, end)) = run.iter().find(worth)
            && end < last
        {
            runs.push((first, last));
        }
    }
    runs
}

/// Selects the last numbers of so many projects.
pub(crate) fn last_numbers(engine: Engine, projects: usize) -> String {
    format!("SELECT project, last_number FROM progress WHERE project IN ({})", marks(engine, projects))
}

impl Store {
    /// Events after a number, oldest first, at most so many and about so many bytes.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn events_after(
        &self,
        project: i64,
        after: i64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let ledger = self.ledger().now().of(project);
        let (hasher, (filter, body)) = (self.hasher(), as_bytes(self.data().engine));
        let mut from = after.max(ledger.as_ref().map_or(0, |ledger| ledger.erased_through()));
        let mut events = Vec::new();
        let mut bytes = 0;
        loop {
            let rows = query(AssertSqlSafe(format!(
                "SELECT first, last, day, {filter}, {body} FROM frames WHERE project = $1 AND last > $2 \
                 AND first >= COALESCE((SELECT MAX(first) FROM frames WHERE project = $1 AND first <= $2 + 1), 0) \
                 AND first <= COALESCE((SELECT MIN(first) FROM frames WHERE project = $1 AND first > $2 + $3), $2 + $3) \
                 ORDER BY first LIMIT 64",
            )))
            .bind(project)
            .bind(from)
            // No frame is read that lies wholly beyond what is asked for, but for the one behind a gap of erased events.
            .bind(i64::try_from(max_events).unwrap_or(i64::MAX).min(i64::MAX / 2))
            .fetch_all(self.data().readers())
            .await
            .during("read events")?;
            let Some(last) = rows.last() else { return Ok(events) };
            let last = last.read(1)?;
            for row in rows {
                let (first, last, day): (i64, i64, i64) = (row.read(0)?, row.read(1)?, row.read(2)?);
                if ledger.as_ref().is_some_and(|ledger| ledger.has_ended(day, last)) {
                    continue;
                }
                let key = match self.keyring().day(project, day).await {
                    Err(StoreError::KeyGone { .. })
                        if ledger.as_ref().is_some_and(|ledger| last <= ledger.keys_through()) =>
                    {
                        continue;
                    }
                    key => key,
                };
                let opened = match key {
                    Ok(key) => {
                        let body: &[u8] = row.read(4)?;
                        let sealed = Sealed::of(project, first, body);
                        self.opened_frames().lines(sealed, || open(&key, project, first, body)).await
                    }
                    Err(error @ StoreError::Keys(KeyError::Open { .. })) => Err(error),
                    Err(error) => return Err(error),
                };
                let lines = match opened {
                    Ok(lines) => lines,
                    // What stands before it first.
                    Err(_) if !events.is_empty() => return Ok(events),
                    Err(error) => {
                        let (project, problem) = (self.project_in_words(project), wrong(&error));
                        return Err(StoreError::Damaged { project, first, last, problem });
                    }
                };
                let filter = row.read(3)?;
                let erased = ledger.as_deref().filter(|ledger| ledger.concerns((project, first, last), filter));
                for (number, line) in (first..).zip(lines.split(|byte| *byte == b'\n')) {
                    // An empty line is in the place of an event that was erased.
                    if number <= from || line.is_empty() {
                        continue;
                    }
                    if erased.is_some_and(|ledger| is_erased(ledger, &hasher, project, (number, line))) {
                        continue;
                    }
                    if events.len() >= max_events || (bytes > 0 && bytes + line.len() > max_bytes) {
                        return Ok(events);
                    }
                    bytes += line.len();
                    events.push(StoredEvent { number, json: lines.slice_ref(line) });
                }
            }
            // Where everything was erased, more may stand behind it: nothing at all is said only at the end.
            if !events.is_empty() {
                return Ok(events);
            }
            from = last;
        }
    }

    /// Number of a project's newest event, 0 when it has none.
    ///
    /// # Errors
    /// `Database`.
    pub async fn last_event(&self, project: i64) -> Result<i64, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT last_number FROM progress WHERE project = $1")
            .bind(project)
            .fetch_optional(self.data().readers())
            .await
            .during("read last event")?;
        Ok(last.unwrap_or(0))
    }

    /// Numbers of the newest events of all projects that have one, by the project's number.
    ///
    /// # Errors
    /// `Database`.
    pub async fn all_last_events(&self) -> Result<HashMap<i64, i64>, StoreError> {
        let rows = query("SELECT project, last_number FROM progress")
            .fetch_all(self.data().readers())
            .await
            .during("read last events")?;
        pairs(&rows)
    }

    /// Numbers of the newest events of these projects; those that have none are missing.
    pub(crate) async fn last_events(&self, projects: &[i64]) -> Result<HashMap<i64, i64>, StoreError> {
        let mut found = HashMap::with_capacity(projects.len());
        for piece in pieces(projects) {
            let sql = last_numbers(self.data().engine, piece.len());
            let mut select = query(AssertSqlSafe(sql));
            for project in piece {
                select = select.bind(project);
            }
            let rows = select.fetch_all(self.data().readers()).await.during("read last events")?;
            found.extend(pairs::<i64, i64, Vec<_>>(&rows)?);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convizit_model::{EventId, Timestamp};
    use proptest::prelude::*;

    fn event(day: i64, text: &str) -> NewEvent {
        let id = EventId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        // As serde_json writes it: a line break in a text is escaped.
        NewEvent {
            id,
            name: 1,
            hour: day * 24,
            day,
            visitor: text.to_owned(),
            user: None,
            since: Timestamp::from_millis(0),
            json: serde_json::to_vec(text).unwrap(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn every_event_comes_back_under_its_number(
            texts in prop::collection::vec((0..3_i64, ".{0,40}"), 0..60), last in 0..i64::MAX / 2, project in 1..9_i64,
        ) {
            let days: HashMap<_, _> =
                (0..3).map(|day| ((project, day), Arc::new(DataKey::ephemeral(project).unwrap()))).collect();
            let hasher = PersonHasher(convizit_keys::KeyRing::ephemeral().unwrap().mac_key("person"));
            let mut texts = texts;
            texts.sort_by_key(|(day, _)| *day);
            let events: Vec<NewEvent> = texts.iter().map(|(day, text)| event(*day, text)).collect();
            let (frames, end) = Sealer::new(&days, &hasher, 0).unwrap().frames(project, last, &events).unwrap();
            prop_assert_eq!(end, last + i64::try_from(events.len()).unwrap());
            let (mut next, mut found) = (last + 1, Vec::new());
            for frame in &frames {
                prop_assert_eq!(frame.first, next);
                next = frame.last + 1;
                let key = &days[&(project, frame.day)];
                let lines = open(key, project, frame.first, &frame.body).unwrap();
                let lines: Vec<_> = lines.split(|byte| *byte == b'\n').map(|line| (frame.day, line.to_vec())).collect();
                prop_assert_eq!(i64::try_from(lines.len()).unwrap(), frame.last - frame.first + 1);
                found.extend(lines);
                prop_assert!(open(&days[&(project, (frame.day + 1) % 3)], project, frame.first, &frame.body).is_err());
                prop_assert!(open(key, project, frame.first + 1, &frame.body).is_err());
            }
            prop_assert_eq!(found, events.into_iter().map(|event| (event.day, event.json)).collect::<Vec<_>>());
        }
    }
}
