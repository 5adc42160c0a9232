//! Sending again, to one destination: replays of what was received in a range of time, and dead letters of which a person wants it.
//!
//! Both stand in the database, and delivery carries them out beside the live stream. The cursor stays where it is, events keep
//! their ids, what was erased is skipped, and a process that ends in between goes on behind the last transaction.

use convizit_model::{Destination, EventType, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::query;

use crate::dead_letters::{Letters, delete_letters, write_letters};
use crate::deliveries::count_delivered;
use crate::destinations::hold;
use crate::error::{Columns as _, During, StoreError};
use crate::{DeadLetter, Store, StoredEvent, projects};

/// Events that are counted before a replay; where there are more, their numbers say how many at most.
const COUNTED: i64 = 100_000;
/// Events and bytes that are read at once to count them.
const READ: usize = 1_000;
const READ_BYTES: usize = 4 << 20;
/// Replays of a destination that may be open at once.
const OPEN: i64 = 10;
/// Replays of a destination that are remembered beside the open ones.
const KEPT: i64 = 50;
/// What is asked of an event before it is read as a whole.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct EventHead {
    /// What kind of action.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When it happened.
    #[serde(default)]
    pub time: Timestamp,
    /// When the collector received it.
    pub received: Timestamp,
}

impl StoredEvent {
    /// Its head; `None` for an event that is not of this version's form.
    #[must_use]
    pub fn head(&self) -> Option<EventHead> {
        serde_json::from_slice(&self.json).ok()
    }
}

/// What a replay would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ReplayPlan {
    /// The first number that an event of the range can have.
    pub first: i64,
    /// The last: at most the destination's cursor, since what comes behind it is still to be delivered anyway. 0 where there is none.
    pub last: i64,
    /// How many events would be sent.
    pub events: i64,
    /// Whether they were counted one by one; else there are at most so many.
    pub exact: bool,
    /// How many of the range are left out, since they happened before what the destination takes; where not all were counted, at least so many.
    pub late: i64,
}

/// How far a replay has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// Being carried out, or waiting while the destination is paused.
    Open,
    /// All of it was sent, or is in the dead letters.
    Done,
    /// A person stopped it.
    Stopped,
}

impl ReplayState {
    /// The state as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Stopped => "stopped",
        }
    }
}

/// A replay of what was received in a range of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// From 1 for each destination.
    pub id: i64,
    /// When it was asked for.
    pub made: Timestamp,
    /// Events that were received from then on.
    pub from: Timestamp,
    /// And before then.
    pub to: Timestamp,
    /// The first number that such an event can have.
    pub first: i64,
    /// The last.
    pub last: i64,
    /// Up to which number it is carried out.
    pub done: i64,
    /// Events that the destination took.
    pub sent: i64,
    /// Events that it refused.
    pub dead: i64,
    /// How far it has come.
    pub state: ReplayState,
}

impl Replay {
    /// Whether an event was received in its range.
    #[must_use]
    pub fn covers(&self, head: &EventHead) -> bool {
        head.received >= self.from && head.received < self.to
    }
}

/// What sending again came to.
#[derive(Debug, Clone, Default)]
pub struct Resent {
    /// The replay that it was for, and the number up to which that is carried out now; `None` for dead letters.
    pub replay: Option<(i64, i64)>,
    /// Numbers of events that the destination took, rising.
    pub sent: Vec<i64>,
    /// What it refused.
    pub dead: Vec<DeadLetter>,
    /// Numbers of events that are no more, rising: their dead letters go.
    pub gone: Vec<i64>,
    /// Dead letters that cannot be read: they stay, with that as their reason, and are not tried again by themselves.
    pub unread: Vec<DeadLetter>,
}

/// Events that were looked for by their numbers. What is in none of the lists was not looked at.
#[derive(Debug, Clone, Default)]
pub struct FoundEvents {
    /// Those that there are.
    pub events: Vec<StoredEvent>,
    /// Numbers of events that are no more, rising.
    pub gone: Vec<i64>,
    /// Those that stand in a frame that does not open, with what is wrong with it.
    pub unread: Vec<DeadLetter>,
}

fn read_replays(rows: &[sqlx::any::AnyRow]) -> Result<Vec<Replay>, StoreError> {
    rows.iter()
        .map(|row| {
            let state: &str = row.read(9)?;
            Ok(Replay {
                id: row.read(0)?,
                made: Timestamp::from_millis(row.read(1)?),
                from: Timestamp::from_millis(row.read(2)?),
                to: Timestamp::from_millis(row.read(3)?),
                first: row.read(4)?,
                last: row.read(5)?,
                done: row.read(6)?,
                sent: row.read(7)?,
                dead: row.read(8)?,
                state: [ReplayState::Open, ReplayState::Done]
                    .into_iter()
                    .find(|known| known.as_str() == state)
                    .unwrap_or(ReplayState::Stopped),
            })
        })
        .collect()
}

impl Store {
    /// The destination of this name, and where its cursor stands.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn destination(&self, project: &ProjectId, name: &str) -> Result<(Destination, i64), StoreError> {
        let states = self.destinations(Some(project)).await?;
        let state = states.into_iter().find(|state| state.destination.name == name);
        let state = state.ok_or_else(|| StoreError::not_found("destination", name))?;
        Ok((state.destination, state.cursor))
    }

    /// Has every process look for what is to be sent again. After the rows are there: whoever sees the new version finds them.
    pub(crate) async fn tell_delivery(&self, tx: &'static str) -> Result<(), StoreError> {
        self.control().run_tx(tx, |connection| Box::pin(projects::touch(connection))).await?;
        self.refresh().await
    }

    /// The events of these numbers, which rise; about so many bytes at most.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn events_of(&self, project: i64, numbers: &[i64], max_bytes: usize) -> Result<FoundEvents, StoreError> {
        let FoundEvents { mut events, mut gone, mut unread } = FoundEvents::default();
        let (mut rest, mut bytes) = (numbers, 0);
        while let Some(&next) = rest.first() {
            let found = match self.events_after(project, next - 1, READ, max_bytes).await {
                // Of what stands before the damaged frame nothing is left; what stands behind it is looked at next.
                Err(error @ StoreError::Damaged { first, last, .. }) => {
                    let (before, others) = rest.split_at(rest.partition_point(|number| *number < first));
                    let (damaged, behind) = others.split_at(others.partition_point(|number| *number <= last));
                    gone.extend(before);
                    unread.extend(damaged.iter().map(|number| DeadLetter::new(*number, error.to_string())));
                    rest = behind;
                    continue;
                }
                found => found?,
            };
            // Up to the last that was read, what is not there is no more.
            let end = found.last().map_or(i64::MAX, |event| event.number);
            let looked = rest.partition_point(|number| *number <= end);
            let (wanted, later) = rest.split_at(looked);
            rest = later;
            let mut wanted = wanted.iter().copied().peekable();
            for event in found {
                while let Some(number) = wanted.next_if(|number| *number < event.number) {
                    gone.push(number);
                }
                if wanted.next_if_eq(&event.number).is_some() {
                    bytes += event.json.len();
                    events.push(event);
                }
            }
            gone.extend(wanted);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(FoundEvents { events, gone, unread })
    }

    /// The numbers that events received in a range can have, up to the destination's cursor.
    async fn range(
        &self,
        project: i64,
        cursor: i64,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Option<(i64, i64)>, StoreError> {
        if from >= to {
            return Err(StoreError::Invalid("the range ends before it begins: change one of the two times".to_owned()));
        }
        // By days, since the clock may have been set back in between.
        let row = query("SELECT MIN(first), MAX(last) FROM frames WHERE project = $1 AND day >= $2 AND day <= $3")
            .bind(project)
            .bind(from.day())
            .bind(to.day())
            .fetch_one(self.data().readers())
            .await
            .during("find the range of a replay")?;
        let (Some(first), Some(last)) = (row.read::<Option<i64>>(0)?, row.read::<Option<i64>>(1)?) else {
            return Ok(None);
        };
        Ok(Some((first, last.min(cursor))).filter(|(first, last)| first <= last))
    }

    /// What a replay of events received from one time on and before another would send; `oldest` is when what the destination takes has
    /// happened at the earliest.
    ///
    /// # Errors
    /// `Invalid` for a range that ends before it begins; `NotFound`, `Database`, `Keys`.
    pub async fn plan_replay(
        &self,
        project: &ProjectId,
        name: &str,
        (from, to): (Timestamp, Timestamp),
        oldest: Option<Timestamp>,
    ) -> Result<ReplayPlan, StoreError> {
        let number = self.project(project).await?.number;
        let (destination, cursor) = self.destination(project, name).await?;
        let Some((first, last)) = self.range(number, cursor, (from, to)).await? else {
            return Ok(ReplayPlan { first: 0, last: 0, events: 0, exact: true, late: 0 });
        };
        let (mut at, mut looked, mut events, mut late) = (first - 1, 0, 0, 0);
        while looked < COUNTED && at < last {
            let found = match self.events_after(number, at, READ, READ_BYTES).await {
                // Delivery passes over it, too.
                Err(StoreError::Damaged { last, .. }) => {
                    at = last;
                    continue;
                }
                found => found?,
            };
            let Some(end) = found.last().map(|event| event.number) else { break };
            at = end;
            for event in found.iter().filter(|event| event.number <= last) {
                looked += 1;
                let wanted =
                    |head: &EventHead| head.received >= from && head.received < to && destination.wants(head.kind);
                match event.head().filter(wanted) {
                    Some(head) if oldest.is_some_and(|oldest| head.time < oldest) => late += 1,
                    Some(_) => events += 1,
                    None => {}
                }
            }
        }
        let exact = at >= last || looked < COUNTED;
        Ok(ReplayPlan { first, last, events: if exact { events } else { events + last - at }, exact, late })
    }

    /// Takes down a replay, which delivery then carries out.
    ///
    /// # Errors
    /// `Invalid` for a range that ends before it begins or holds no event, and where ten replays of the destination are open;
    /// `NotFound`, `Database`.
    pub async fn start_replay(
        &self,
        project: &ProjectId,
        name: &str,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Replay, StoreError> {
        const NAME: &str = "start replay";
        let number = self.project(project).await?.number;
        let cursor = self.cursor(number, name).await?;
        let Some((first, last)) = self.range(number, cursor, (from, to)).await? else {
            let text = "no stored event was received in this range, or none that the destination has had its turn of: choose another";
            return Err(StoreError::Invalid(text.to_owned()));
        };
        let what = self.in_words(project, name).await;
        let detail = format!("{what}; {from} to {to}, at most events {first} to {last}");
        self.audit("destination.replay", project.as_str(), name, detail).await?;
        let (made, owned) = (self.clock().now(), name.to_owned());
        let replay = self
            .data()
            .run_tx(NAME, move |connection| {
                let name = owned.clone();
                Box::pin(async move {
                    // Two that begin at once are numbered one after the other.
                    hold(connection, number, &name, NAME).await?;
                    let row = query(
                        "SELECT COALESCE(MAX(id), 0), CAST(COALESCE(SUM(CASE WHEN state = 'open' THEN 1 ELSE 0 END), 0) AS BIGINT) \
                         FROM replays WHERE project = $1 AND destination = $2",
                    )
                    .bind(number)
                    .bind(name.as_str())
                    .fetch_one(&mut *connection)
                    .await
                    .during(NAME)?;
                    let (newest, open): (i64, i64) = (row.read(0)?, row.read(1)?);
                    if open >= OPEN {
                        let text = format!("{OPEN} replays to {name} are still open: wait until one is done, or stop one");
                        return Err(StoreError::Invalid(text));
                    }
                    query("DELETE FROM replays WHERE project = $1 AND destination = $2 AND id <= $3 AND state <> 'open'")
                        .bind(number)
                        .bind(name.as_str())
                        .bind(newest - KEPT)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    let replay = Replay {
                        id: newest + 1,
                        made,
                        from,
                        to,
                        first,
                        last,
                        done: first - 1,
                        sent: 0,
                        dead: 0,
                        state: ReplayState::Open,
                    };
                    query(
                        "INSERT INTO replays (project, destination, id, made, received_from, received_to, first, last, done, sent, dead, state) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 'open')",
                    )
                    .bind(number)
                    .bind(name.as_str())
                    .bind(replay.id)
                    .bind(made.as_millis())
                    .bind(from.as_millis())
                    .bind(to.as_millis())
                    .bind(first)
                    .bind(last)
                    .bind(replay.done)
                    .execute(connection)
                    .await
                    .during(NAME)?;
                    Ok(replay)
                })
            })
            .await?;
        self.tell_delivery(NAME).await?;
        Ok(replay)
    }

    /// Ends a replay where it is; what was sent stays sent.
    ///
    /// # Errors
    /// `NotFound` for one that is not open; `Database`.
    pub async fn stop_replay(&self, project: &ProjectId, name: &str, id: i64) -> Result<(), StoreError> {
        const NAME: &str = "stop replay";
        let number = self.project(project).await?.number;
        self.cursor(number, name).await?;
        let detail = format!("{}; replay {id}", self.in_words(project, name).await);
        self.audit("destination.stop_replay", project.as_str(), name, detail).await?;
        let owned = name.to_owned();
        self.data()
            .run_tx(NAME, move |connection| {
                let name = owned.clone();
                Box::pin(async move {
                    let sql = "UPDATE replays SET state = 'stopped' WHERE project = $1 AND destination = $2 AND id = $3 AND state = 'open'";
                    let done = query(sql).bind(number).bind(name).bind(id).execute(connection).await.during(NAME)?;
                    if done.rows_affected() == 0 {
                        return Err(StoreError::not_found("open replay", id));
                    }
                    Ok(())
                })
            })
            .await
    }

    /// The newest replays to a destination, newest first, at most 20.
    ///
    /// # Errors
    /// `Database`.
    pub async fn replays(&self, project: i64, name: &str) -> Result<Vec<Replay>, StoreError> {
        let rows = query(
            "SELECT id, made, received_from, received_to, first, last, done, sent, dead, state FROM replays \
             WHERE project = $1 AND destination = $2 ORDER BY id DESC LIMIT 20",
        )
        .bind(project)
        .bind(name)
        .fetch_all(self.data().readers())
        .await
        .during("list replays")?;
        read_replays(&rows)
    }

    /// The oldest replay to a destination that is still to be carried out.
    ///
    /// # Errors
    /// `Database`.
    pub async fn open_replay(&self, project: i64, name: &str) -> Result<Option<Replay>, StoreError> {
        let rows = query(
            "SELECT id, made, received_from, received_to, first, last, done, sent, dead, state FROM replays \
             WHERE project = $1 AND destination = $2 AND state = 'open' ORDER BY id LIMIT 1",
        )
        .bind(project)
        .bind(name)
        .fetch_all(self.data().readers())
        .await
        .during("find open replay")?;
        Ok(read_replays(&rows)?.pop())
    }

    /// Takes down what sending again came to: dead letters of what was taken go, those of what was refused again say so. The cursor
    /// stays.
    ///
    /// # Errors
    /// `NotFound` when the destination was removed; `Database`.
    pub async fn resent(&self, project: i64, name: &str, resent: Resent) -> Result<(), StoreError> {
        const NAME: &str = "take down what was sent again";
        let (owned, engine, now) = (name.to_owned(), self.data().engine, self.clock().now());
        let keys = self.ring().own();
        self.data()
            .run_tx(NAME, move |connection| {
                let (name, resent, own) = (owned.clone(), resent.clone(), keys.clone());
                Box::pin(async move {
                    hold(connection, project, &name, NAME).await?;
                    for numbers in [&resent.sent, &resent.gone] {
                        delete_letters(connection, project, &name, numbers).await?;
                    }
                    let again = "ON CONFLICT (project, destination, number) DO UPDATE SET reason = '', sealed = excluded.sealed, \
                                 time = excluded.time, attempts = dead_letters.attempts + 1, retry = 0";
                    let letters = Letters { project, name: &name, dead: &resent.dead, now, own: &own };
                    write_letters(connection, engine, letters, again).await?;
                    // The destination was not asked.
                    let unread = "ON CONFLICT (project, destination, number) DO UPDATE SET reason = '', sealed = excluded.sealed, \
                                  time = excluded.time, retry = 0";
                    let letters = Letters { project, name: &name, dead: &resent.unread, now, own: &own };
                    write_letters(connection, engine, letters, unread).await?;
                    let many = |all: usize| i64::try_from(all).unwrap_or(i64::MAX);
                    let (sent, dead) = (many(resent.sent.len()), many(resent.dead.len()));
                    if let Some((id, through)) = resent.replay {
                        query(
                            "UPDATE replays SET done = $1, sent = sent + $2, dead = dead + $3, \
                             state = CASE WHEN state = 'open' AND last <= $1 THEN 'done' ELSE state END \
                             WHERE project = $4 AND destination = $5 AND id = $6",
                        )
                        .bind(through)
                        .bind(sent)
                        .bind(dead)
                        .bind(project)
                        .bind(name.as_str())
                        .bind(id)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    }
                    count_delivered(connection, (project, &name), now, (sent, dead, 0)).await
                })
            })
            .await
    }
}
