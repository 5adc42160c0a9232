//! What was decided of texts that wait for a crowd: written by the worker with its events, read by the collectors from memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use convizit_model::{Ruling, Timestamp};
use sqlx::{AnyConnection, AssertSqlSafe, query};

use crate::Store;
use crate::database::Engine;
use crate::error::{Columns as _, During, StoreError};
use crate::statement::{insert_rows, pieces};

/// Rulings of a project in memory: beyond it further texts go on waiting.
const RULINGS: usize = 200_000;

/// Rulings of a project by key; shared, since a collector asks for each text.
type OfProject = Arc<RwLock<HashMap<u64, Ruling>>>;

/// The rulings of all projects, and up to which ruling they are known.
#[derive(Default)]
pub(crate) struct Rulings {
    projects: RwLock<HashMap<i64, OfProject>>,
    known: RwLock<i64>,
}

/// The rulings of one project at a moment.
pub struct ProjectRulings(Option<OfProject>);

impl ProjectRulings {
    /// What was decided of a text or place.
    #[must_use]
    pub fn of(&self, key: u64) -> Option<Ruling> {
        self.0.as_ref()?.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }
}

impl Rulings {
    fn take(&self, rulings: impl Iterator<Item = (i64, u64, Ruling)>) {
        for (project, key, ruling) in rulings {
            let of_project = {
                let mut projects = self.projects.write().unwrap_or_else(PoisonError::into_inner);
                projects.entry(project).or_default().clone()
            };
            let mut of_project = of_project.write().unwrap_or_else(PoisonError::into_inner);
            // What was looked for may be older than what this process has just stored.
            if of_project.get(&key) == Some(&Ruling::Dynamic)
                || (of_project.len() >= RULINGS && ruling == Ruling::Released)
            {
                continue;
            }
            match ruling {
                Ruling::Calm => drop(of_project.remove(&key)),
                ruling => drop(of_project.insert(key, ruling)),
            }
        }
    }
}

impl Store {
    /// What was decided of a project's texts, as this process knows it: at once what it stored itself, within two seconds what
    /// another did.
    #[must_use]
    pub fn rulings(&self, project: i64) -> ProjectRulings {
        let projects = self.all_rulings().projects.read().unwrap_or_else(PoisonError::into_inner);
        ProjectRulings(projects.get(&project).cloned())
    }

    /// A keyed hash of a text of a project, the same for the life of the key file.
    #[must_use]
    pub fn text_hash(&self, project: i64, text: &str) -> u64 {
        let message = format!("{project}\n{text}");
        first_bytes(&self.ring().mac("crowd text", message.as_bytes()))
    }

    /// A hash of the network that an address belongs to (24 bits of IPv4, 48 of IPv6), under a key of its day.
    #[must_use]
    pub fn network_hash(&self, project: i64, address: std::net::IpAddr, now: Timestamp) -> u32 {
        let network = match address.to_canonical() {
            std::net::IpAddr::V4(address) => {
                address.octets().iter().take(3).map(|byte| format!("{byte:02x}")).collect::<String>()
            }
            std::net::IpAddr::V6(address) => {
                address.octets().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
            }
        };
        let message = format!("{project}\n{network}");
        let hash = first_bytes(&self.ring().mac(&format!("network {}", now.day()), message.as_bytes()));
        u32::try_from(hash >> 32).unwrap_or_default()
    }

    /// Takes over what was decided since the last look.
    pub(crate) async fn look_for_rulings(&self) -> Result<(), StoreError> {
        let known = *self.all_rulings().known.read().unwrap_or_else(PoisonError::into_inner);
        // A worker that runs ahead in another process has numbers that this one has not seen; they only grow.
        let rows = query("SELECT project, key, ruling, journal_offset FROM rulings WHERE journal_offset > $1 ORDER BY journal_offset")
            .bind(known)
            .fetch_all(self.data().readers())
            .await
            .during("look for rulings")?;
        let newest = rows.last().map_or(Ok(known), |row| row.read(3))?;
        // Of projects that are gone nothing is kept.
        let alive: HashSet<i64> = self.keys_in_memory().values().map(|project| project.number).collect();
        self.all_rulings()
            .projects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|number, _| alive.contains(number));
        let mut rulings = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(ruling) = Ruling::from_number(row.read(2)?) {
                rulings.push((row.read(0)?, row.read::<i64>(1)?.cast_unsigned(), ruling));
            }
        }
        self.all_rulings().take(rulings.into_iter());
        *self.all_rulings().known.write().unwrap_or_else(PoisonError::into_inner) = newest;
        Ok(())
    }

    /// Takes over what this process has just stored.
    pub(crate) fn ruled(&self, rulings: &[(i64, u64, Ruling)]) {
        self.all_rulings().take(rulings.iter().copied());
    }
}

fn first_bytes(hash: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(bytes)
}

/// Writes the rulings of a stretch, with the offset from which on they hold.
pub(crate) async fn write(
    connection: &mut AnyConnection,
    engine: Engine,
    rulings: &[(i64, u64, Ruling)],
    offset: i64,
) -> Result<(), StoreError> {
    // A statement must not meet one row twice: the last of a key holds.
    let mut last: HashMap<(i64, u64), Ruling> = HashMap::new();
    last.extend(rulings.iter().map(|(project, key, ruling)| ((*project, *key), *ruling)));
    let mut rows: Vec<((i64, u64), Ruling)> = last.into_iter().collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    for piece in pieces(&rows) {
        let tail = "ON CONFLICT (project, key) DO UPDATE SET ruling = excluded.ruling, journal_offset = excluded.journal_offset";
        let sql =
            insert_rows(engine, "INSERT INTO rulings (project, key, ruling, journal_offset)", 4, piece.len(), tail);
        let mut insert = query(AssertSqlSafe(sql));
        for ((project, key), ruling) in piece {
            insert = insert.bind(*project).bind(key.cast_signed()).bind(*ruling as i64).bind(offset);
        }
        insert.execute(&mut *connection).await.during("write rulings")?;
    }
    Ok(())
}
