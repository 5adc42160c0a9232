//! Erasing persons and whole datasets: written in the ledger first, gone from every reading at once, then from the bytes.
//!
//! A frame that holds what is erased is written anew under the same key, with an empty line in the place of each event, so that
//! the numbers of all others stay. What is still in the journal never becomes an event: the worker asks the ledger inside its
//! transaction. Keys are destroyed only with a whole dataset.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use convizit_keys::{KeyError, Place};
use convizit_model::{Person, Project, Timestamp};
use serde::Serialize;
use sqlx::{AnyConnection, AssertSqlSafe, query};

use crate::error::{Columns as _, During, StoreError, pairs};
use crate::held::is_of_one_project;
use crate::key_ends::KeyEnd;
use crate::people::PersonHash;
use crate::statement::{marks, pieces};
use crate::{HeldBy, Store};

mod carry_out;

pub(crate) use carry_out::is_damage;

/// An erasure, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Erasure {
    /// Its id.
    pub request: String,
    /// What happened or was received up to then is erased.
    pub made: Timestamp,
    /// How many persons; 0 for the whole dataset.
    pub persons: i64,
    /// Whether it is about the whole dataset.
    pub all: bool,
    /// How many of the persons are still to be taken out of frames.
    pub open: i64,
    /// The frames that do not open and may hold some of them: until each is restored or gone, it stays open.
    pub held: Vec<HeldBy>,
    /// What became of it at each destination.
    pub destinations: Vec<Told>,
}

/// What became of an erasure at a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The destination's name.
    pub destination: String,
    /// `open`, `told` or `cannot`.
    pub state: String,
    /// Why it cannot, or is still open.
    pub reason: String,
}

/// What a destination is to erase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseMessage {
    /// The request's id.
    pub request: String,
    /// What happened or was received up to then.
    pub made: Timestamp,
    /// Whose; empty for everything of the project.
    pub persons: Vec<Person>,
    /// How many more there are, whose ids do not open: nobody can be told of them.
    pub unopened: usize,
}

/// A person whom the worker is still to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The project's number.
    pub project: i64,
    /// Whether rows of everybody are gone, with the keys that sealed them.
    pub whole: bool,
    /// Numbers of the ledger's entries.
    pub numbers: Vec<i64>,
    /// The persons.
    pub persons: Vec<Person>,
}

fn id_place(row: &[u8; 8]) -> Place<'_> {
    Place { table: "erasures", purpose: "id", row }
}

impl Store {
    /// Erases persons: from now on nothing of theirs that happened or was received up to this moment can be read, exported or
    /// delivered. Upkeep takes it out of the stored bytes. Returns the request's id.
    ///
    /// # Errors
    /// `Database`, `Keys`; then nothing was erased.
    pub async fn erase(&self, project: &Project, persons: &[Person]) -> Result<String, StoreError> {
        const NAME: &str = "erase persons";
        let request = request_id()?;
        let (number, now) = (project.number, self.clock().now());
        let hasher = self.hasher();
        let unique: HashSet<&Person> = persons.iter().collect();
        let mut hashed: Vec<(PersonHash, Person)> =
            unique.into_iter().map(|person| (hasher.person(number, person), person.clone())).collect();
        hashed.sort_unstable();
        let count = hashed.len();
        self.audit(
            "erase.persons",
            project.id.as_str(),
            &request,
            format!("{count} person{}", if count == 1 { "" } else { "s" }),
        )
        .await?;
        let destinations = self.destination_names(number).await?;
        let (hashed, id) = (Arc::new(hashed), request.clone());
        let mut tries = 0;
        loop {
            let done = async {
                self.look_for_erasures().await?;
                let known = self.ledger().now().newest;
                let keys = self.keyring().project(number).await?;
                let (hashed, id, destinations) = (hashed.clone(), id.clone(), destinations.clone());
                self.data()
                    .run_tx(NAME, move |connection| {
                        let (hashed, request, keys) = (hashed.clone(), id.clone(), keys.clone());
                        let destinations = destinations.clone();
                        Box::pin(async move {
                            let (mut next, through) = begin(connection, number).await?;
                            if next != known {
                                return Err(StoreError::Moved { what: "the ledger of erasures".to_owned() });
                            }
                            for (hash, person) in &*hashed {
                                next += 1;
                                let sealed = keys.seal(now, id_place(&next.to_be_bytes()), person.id().as_bytes())?;
                                let entry = (next, number, person.kind(), hash.as_slice(), now, through);
                                insert(connection, entry, &request, Some(sealed)).await?;
                            }
                            ask_destinations(connection, number, &request, &destinations).await
                        })
                    })
                    .await
            }
            .await;
            if self.is_over(&done, &mut tries).await? {
                break done?;
            }
        }
        self.look_for_erasures().await?;
        self.copy_ledger_soon().await;
        Ok(request)
    }

    /// Erases the whole dataset of a project: its keys are destroyed, so that it is unreadable at once, in backups too; then
    /// its rows. The project and its settings stay. Returns the request's id.
    ///
    /// # Errors
    /// `Database`; upkeep ends what has begun.
    pub async fn erase_all(&self, project: &Project) -> Result<String, StoreError> {
        const NAME: &str = "erase dataset";
        let request = request_id()?;
        let (number, now) = (project.number, self.clock().now());
        self.audit("erase.all", project.id.as_str(), &request, "the whole dataset").await?;
        let destinations = self.destination_names(number).await?;
        let (kind, keys) = KeyEnd::All(self.newest_version(number).await?).entry();
        let id = request.clone();
        self.data()
            .run_tx(NAME, move |connection| {
                let (request, destinations, keys) = (id.clone(), destinations.clone(), keys.clone());
                Box::pin(async move {
                    let (last, through) = begin(connection, number).await?;
                    insert(connection, (last + 1, number, kind, &keys, now, through), &request, None).await?;
                    // In the same transaction, so that nobody meets a row whose key is gone.
                    for sql in [
                        "DELETE FROM state WHERE project = $1",
                        "DELETE FROM damaged_state WHERE project = $1",
                        "DELETE FROM quarantine WHERE project = $1",
                        "DELETE FROM held WHERE project = $1",
                        "DELETE FROM dead_letters WHERE project = $1",
                        "UPDATE replays SET state = 'stopped' WHERE project = $1 AND state = 'open'",
                        "DELETE FROM counts WHERE project = $1",
                        "DELETE FROM totals WHERE project = $1",
                        "DELETE FROM rulings WHERE project = $1",
                        "UPDATE erasures SET id = NULL, forgotten = 1, state = 'done' WHERE project = $1 AND kind <> 'all'",
                        "UPDATE erase_messages SET state = 'told', reason = 'with the whole dataset' WHERE project = $1 AND state = 'open'",
                    ] {
                        query(sql).bind(number).execute(&mut *connection).await.during(NAME)?;
                    }
                    ask_destinations(connection, number, &request, &destinations).await
                })
            })
            .await?;
        // Which destroys the keys, here as in every other process that meets the entry.
        let ended = self.take_over_key_ends().await;
        self.copy_ledger_soon().await;
        ended.map(|()| request)
    }

    async fn destination_names(&self, project: i64) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar("SELECT name FROM destinations WHERE project = $1 ORDER BY name")
            .bind(project)
            .fetch_all(self.control().readers())
            .await
            .during("list destinations")
    }

    /// The erasures of a project, newest first, and how far each has come.
    ///
    /// # Errors
    /// `Database`.
    pub async fn erasures(&self, project: i64) -> Result<Vec<Erasure>, StoreError> {
        const NAME: &str = "list erasures";
        let rows = query(
            "SELECT request, MIN(made), COUNT(*), CAST(SUM(CASE WHEN state = 'open' THEN 1 ELSE 0 END) AS BIGINT), MIN(kind) \
             FROM erasures WHERE project = $1 AND kind IN ('visitor', 'user', 'all') GROUP BY request ORDER BY MIN(number) DESC LIMIT 1000",
        )
        .bind(project)
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        let messages = query(
            "SELECT request, destination, state, reason FROM erase_messages WHERE project = $1 ORDER BY destination",
        )
        .bind(project)
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for row in messages {
            let message = Told { destination: row.read(1)?, state: row.read(2)?, reason: row.read(3)? };
            told.entry(row.read(0)?).or_default().push(message);
        }
        let mut held = self.held(project, None).await?;
        rows.iter()
            .map(|row| {
                let (request, all): (String, bool) = (row.read(0)?, row.read::<&str>(4)? == "all");
                Ok(Erasure {
                    made: Timestamp::from_millis(row.read(1)?),
                    persons: if all { 0 } else { row.read(2)? },
                    all,
                    open: row.read(3)?,
                    held: held.remove(&request).unwrap_or_default(),
                    destinations: told.remove(&request).unwrap_or_default(),
                    request,
                })
            })
            .collect()
    }

    /// What a destination was not told of yet, oldest first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn erase_messages(&self, project: i64, destination: &str) -> Result<Vec<EraseMessage>, StoreError> {
        const NAME: &str = "read erase messages";
        let requests: Vec<String> = sqlx::query_scalar(
            "SELECT request FROM erase_messages WHERE project = $1 AND destination = $2 AND state = 'open' ORDER BY request",
        )
        .bind(project)
        .bind(destination)
        .fetch_all(self.data().readers())
        .await
        .during(NAME)?;
        let mut messages = Vec::new();
        for request in requests {
            let rows = query("SELECT number, kind, made, id FROM erasures WHERE request = $1 ORDER BY number")
                .bind(request.as_str())
                .fetch_all(self.data().readers())
                .await
                .during(NAME)?;
            let made = Timestamp::from_millis(rows.first().map_or(Ok(0), |row| row.read(2))?);
            let (mut persons, mut all, mut unopened) = (Vec::new(), false, 0);
            for row in rows {
                let is_all = row.read::<&str>(1)? == "all";
                all |= is_all;
                match self.open_person(project, row.read(0)?, row.read(1)?, row.read(3)?).await? {
                    Some(person) => persons.push(person),
                    None => unopened += usize::from(!is_all),
                }
            }
            if persons.is_empty() && !all {
                // Never as a message without persons, which would be about everybody.
                let why =
                    "the key that their ids were sealed by was destroyed before it was told: erase them there by hand";
                self.told(project, destination, &request, Some(why)).await?;
                continue;
            }
            messages.push(EraseMessage { request, made, persons, unopened });
        }
        messages.sort_by_key(|message| message.made);
        Ok(messages)
    }

    /// Closes what nobody is left to be told of: a restored backup does not know a destination that was added after it.
    pub(crate) async fn close_messages(&self) -> Result<(), StoreError> {
        const NAME: &str = "close erase messages";
        // The messages first: whoever writes one has seen its destination before.
        let rows = query("SELECT DISTINCT project, destination FROM erase_messages WHERE state = 'open'")
            .fetch_all(self.data().readers())
            .await
            .during(NAME)?;
        let open: Vec<(i64, String)> = pairs(&rows)?;
        if open.is_empty() {
            return Ok(());
        }
        let rows =
            query("SELECT project, name FROM destinations").fetch_all(self.control().readers()).await.during(NAME)?;
        let there: HashSet<(i64, String)> = pairs(&rows)?;
        let reason = "it was not there any more when it was to be told: have them erased there by hand";
        for (project, destination) in open.into_iter().filter(|of| !there.contains(of)) {
            let ids = self
                .data()
                .run_tx(NAME, move |connection| {
                    let destination = destination.clone();
                    Box::pin(async move {
                        query(
                            "UPDATE erase_messages SET state = 'cannot', reason = $1 \
                             WHERE project = $2 AND destination = $3 AND state = 'open'",
                        )
                        .bind(reason)
                        .bind(project)
                        .bind(destination)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                        forget_ids(connection).await
                    })
                })
                .await?;
            self.sweep_ids(ids);
        }
        Ok(())
    }

    async fn open_person(
        &self,
        project: i64,
        number: i64,
        kind: &str,
        sealed: Option<Vec<u8>>,
    ) -> Result<Option<Person>, StoreError> {
        let Some(sealed) = sealed else { return Ok(None) };
        match self.keyring().open_sealed(project, id_place(&number.to_be_bytes()), &sealed).await {
            Ok(id) => Ok(Person::new(kind, &String::from_utf8_lossy(&id)).ok()),
            // Its key was destroyed since, or its project was removed, and with it what it was to be forgotten from.
            Err(StoreError::Keys(KeyError::Unknown { .. }) | StoreError::NotFound { .. }) => Ok(None),
            Err(error @ StoreError::Keys(KeyError::Open { .. })) => {
                // What is damaged must not hold up everybody else's erasure; frames are found by another column.
                tracing::warn!(%error, entry = number, "the id of an erased person cannot be read");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes down what became of a request at a destination; `reason` says why it cannot be told.
    ///
    /// # Errors
    /// `Database`.
    pub async fn told(
        &self,
        project: i64,
        destination: &str,
        request: &str,
        cannot: Option<&str>,
    ) -> Result<(), StoreError> {
        const NAME: &str = "take down what was told";
        let (destination, request) = (destination.to_owned(), request.to_owned());
        let (state, reason) = (if cannot.is_some() { "cannot" } else { "told" }, cannot.unwrap_or_default().to_owned());
        let ids = self
            .data()
            .run_tx(NAME, move |connection| {
                let (destination, request, reason) = (destination.clone(), request.clone(), reason.clone());
                Box::pin(async move {
                    query("UPDATE erase_messages SET state = $1, reason = $2 WHERE project = $3 AND destination = $4 AND request = $5")
                        .bind(state)
                        .bind(reason)
                        .bind(project)
                        .bind(destination)
                        .bind(request)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                    forget_ids(connection).await
                })
            })
            .await?;
        self.sweep_ids(ids);
        Ok(())
    }

    /// Has the bytes of sealed ids go with the next round of upkeep, where it runs in this process.
    fn sweep_ids(&self, ids: u64) {
        if ids > 0 {
            self.data().sweep_soon();
        }
    }

    /// Persons and datasets that the worker is still to forget.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn to_forget(&self) -> Result<Vec<Forgotten>, StoreError> {
        let rows = query("SELECT number, project, kind, id FROM erasures WHERE forgotten = 0 ORDER BY project, number")
            .fetch_all(self.data().readers())
            .await
            .during("read what is to be forgotten")?;
        let mut all: BTreeMap<i64, Forgotten> = BTreeMap::new();
        for row in rows {
            let (number, project): (i64, i64) = (row.read(0)?, row.read(1)?);
            let kind: &str = row.read(2)?;
            let person = match self.open_person(project, number, kind, row.read(3)?).await {
                // It stays to be forgotten: nothing of the project is read meanwhile.
                Err(error) if is_of_one_project(&error) => {
                    tracing::warn!(%error, entry = number, "an erased person is forgotten once the project's key opens");
                    continue;
                }
                person => person?,
            };
            let of = all.entry(project).or_insert_with(|| Forgotten {
                project,
                whole: false,
                numbers: Vec::new(),
                persons: Vec::new(),
            });
            of.numbers.push(number);
            of.whole |= !["visitor", "user"].contains(&kind);
            of.persons.extend(person);
        }
        Ok(all.into_values().collect())
    }

    /// Takes down that the worker has forgotten these entries' persons.
    ///
    /// # Errors
    /// `Database`.
    pub async fn forgotten(&self, numbers: &[i64]) -> Result<(), StoreError> {
        const NAME: &str = "take down what is forgotten";
        let (numbers, engine) = (numbers.to_vec(), self.data().engine);
        let ids = self
            .data()
            .run_tx(NAME, move |connection| {
                let numbers = numbers.clone();
                Box::pin(async move {
                    for piece in pieces(&numbers) {
                        let sql = format!(
                            "UPDATE erasures SET forgotten = 1 WHERE number IN ({})",
                            marks(engine, piece.len())
                        );
                        let mut update = query(AssertSqlSafe(sql));
                        for number in piece {
                            update = update.bind(*number);
                        }
                        update.execute(&mut *connection).await.during(NAME)?;
                    }
                    forget_ids(connection).await
                })
            })
            .await?;
        self.sweep_ids(ids);
        Ok(())
    }
}

/// A new request's id: it sorts by nothing and says nothing.
pub(crate) fn request_id() -> Result<String, StoreError> {
    Ok(format!("er_{}", convizit_keys::random_text(12)?))
}

/// Holds the worker's row, so that an erasure stands wholly before or wholly after each of its transactions; returns the number of
/// the newest erasure and the project's last event number.
pub(crate) async fn begin(connection: &mut AnyConnection, project: i64) -> Result<(i64, i64), StoreError> {
    const NAME: &str = "begin erasure";
    query("UPDATE worker SET journal_offset = journal_offset WHERE id = 0")
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    let last: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM erasures")
        .fetch_one(&mut *connection)
        .await
        .during(NAME)?;
    let through: Option<i64> = sqlx::query_scalar("SELECT last_number FROM progress WHERE project = $1")
        .bind(project)
        .fetch_optional(&mut *connection)
        .await
        .during(NAME)?;
    Ok((last, through.unwrap_or(0)))
}

type NewEntry<'a> = (i64, i64, &'a str, &'a [u8], Timestamp, i64);

pub(crate) async fn insert(
    connection: &mut AnyConnection,
    (number, project, kind, person, made, through): NewEntry<'_>,
    request: &str,
    id: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO erasures (number, project, kind, person, made, through, request, state, forgotten, id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', 0, $8)",
    )
    .bind(number)
    .bind(project)
    .bind(kind)
    .bind(person)
    .bind(made.as_millis())
    .bind(through)
    .bind(request)
    .bind(id)
    .execute(connection)
    .await
    .during("write erasure")?;
    Ok(())
}

async fn ask_destinations(
    connection: &mut AnyConnection,
    project: i64,
    request: &str,
    destinations: &[String],
) -> Result<(), StoreError> {
    for destination in destinations {
        query(
            "INSERT INTO erase_messages (project, destination, request, state, reason) VALUES ($1, $2, $3, 'open', '')",
        )
        .bind(project)
        .bind(destination.as_str())
        .bind(request)
        .execute(&mut *connection)
        .await
        .during("write erase messages")?;
    }
    Ok(())
}

/// The ids of persons go as soon as nobody is to be told any more; how many went.
pub(crate) async fn forget_ids(connection: &mut AnyConnection) -> Result<u64, StoreError> {
    let gone = query(
        "UPDATE erasures SET id = NULL WHERE id IS NOT NULL AND state = 'done' AND forgotten = 1 \
         AND NOT EXISTS (SELECT 1 FROM erase_messages m WHERE m.request = erasures.request AND m.project = erasures.project AND m.state = 'open')",
    )
    .execute(connection)
    .await
    .during("forget ids of erased persons")?;
    Ok(gone.rows_affected())
}
