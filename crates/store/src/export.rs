//! What is stored of persons: found by the filter of each frame, read through the ledger.

use std::collections::HashSet;

use convizit_model::{Person, Project};
use sqlx::{AssertSqlSafe, query};

use crate::error::{Columns as _, During, StoreError};
use crate::people::{PersonHash, may_hold_any};
use crate::{Store, StoredEvent, frames};

/// Filters that are looked at in one step.
const LOOK: i64 = 2_000;
/// Frames that are read at once while counting.
const COUNTED: usize = 50;

/// Events of persons, and from where to go on; no `next` at the end.
#[derive(Debug, Clone, Default)]
pub struct PersonEvents {
    /// In the order of their numbers.
    pub events: Vec<StoredEvent>,
    /// What to give as `after` to go on.
    pub next: Option<i64>,
    /// What is wrong with each frame that does not open and may hold more of theirs: it is passed over.
    pub unread: Vec<String>,
}

/// How much is stored of persons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonsStored {
    /// How many events.
    pub events: usize,
    /// Those of whom none was found, in the order in which they were named.
    pub without: Vec<Person>,
    /// How many frames do not open and may hold more of theirs.
    pub unread: usize,
}

impl Store {
    /// Counts the events of persons, and says of whom there are none.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn persons_stored(&self, project: &Project, persons: &[Person]) -> Result<PersonsStored, StoreError> {
        let (mut after, mut stored, mut met) = (0, PersonsStored::default(), HashSet::new());
        let wanted: HashSet<&Person> = persons.iter().collect();
        loop {
            let found = self.person_events(project, persons, after, COUNTED).await?;
            stored.events += found.events.len();
            stored.unread += found.unread.len();
            for whose in found.events.iter().filter_map(|event| crate::ledger::Whose::of(&event.json)) {
                met.extend(whose.user.map(|user| Person::User(user.into_owned())));
                met.insert(Person::Visitor(whose.visitor.into_owned()));
            }
            // Of whoever is met in passing nothing is kept.
            met.retain(|person| wanted.contains(person));
            match found.next {
                Some(next) => after = next,
                None => break,
            }
        }
        stored.without = persons.iter().filter(|person| !met.contains(*person)).cloned().collect();
        Ok(stored)
    }

    /// Events of persons after a number, a step at a time: each reads at most so many frames as hold any of theirs. What does not open
    /// holds up nothing: it is named.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn person_events(
        &self,
        project: &Project,
        persons: &[Person],
        after: i64,
        most: usize,
    ) -> Result<PersonEvents, StoreError> {
        let number = project.number;
        let hasher = self.hasher();
        let wanted: HashSet<(&str, &str)> = persons.iter().map(|person| (person.kind(), person.id())).collect();
        let hashes: Vec<PersonHash> = persons.iter().map(|person| hasher.person(number, person)).collect();
        let (filter, _) = frames::as_bytes(self.data().engine);
        let sql = format!(
            "SELECT first, last, {filter} FROM frames WHERE project = $1 AND last > $2 ORDER BY first LIMIT $3"
        );
        let rows = query(AssertSqlSafe(sql))
            .bind(number)
            .bind(after)
            .bind(LOOK)
            .fetch_all(self.data().readers())
            .await
            .during("find events of persons")?;
        let Some(last) = rows.last() else { return Ok(PersonEvents::default()) };
        let mut next: i64 = last.read(1)?;
        let mut found = PersonEvents::default();
        let mut read = 0;
        for row in &rows {
            let (first, last): (i64, i64) = (row.read(0)?, row.read(1)?);
            let filter = row.read(2)?;
            if !may_hold_any((number, first, last), filter, hashes.iter()) {
                continue;
            }
            if read == most {
                next = first - 1;
                break;
            }
            read += 1;
            let (mut at, count) = ((first - 1).max(after), usize::try_from(last - first + 1).unwrap_or(0));
            while at < last {
                let events = match self.events_after(number, at, count, usize::MAX).await {
                    Err(error @ StoreError::Damaged { first: damaged, .. }) => {
                        // Where all of this one is erased, it is a later one's turn.
                        if damaged <= last {
                            found.unread.push(error.to_string());
                        }
                        break;
                    }
                    events => events?,
                };
                let Some(end) = events.last().map(|event| event.number) else { break };
                at = end;
                let theirs = events.into_iter().filter(|event| event.number <= last && is_of(&event.json, &wanted));
                found.events.extend(theirs);
            }
        }
        found.next = Some(next);
        Ok(found)
    }
}

fn is_of(json: &[u8], persons: &HashSet<(&str, &str)>) -> bool {
    crate::ledger::Whose::of(json).is_some_and(|whose| {
        persons.contains(&("visitor", &*whose.visitor))
            || whose.user.as_deref().is_some_and(|user| persons.contains(&("user", user)))
    })
}
