//! A damaged frame put back: sound ones in its place, without what was erased since they were written.

use std::sync::Arc;

use convizit_keys::DataKey;
use sqlx::query;

use super::repack::{PACKED, delete_letters};
use super::{FULL, Frame, People, cannot_pack, insert, is_erased, open, seal};
use crate::error::{During, StoreError};
use crate::ledger::ProjectLedger;
use crate::people::{self, PersonHasher};
use crate::{Store, erasure};

const NAME: &str = "put a frame back";

/// The row of a frame that is damaged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Torn {
    pub(crate) project: i64,
    pub(crate) first: i64,
    /// As the row says it, which may be what is damaged.
    pub(crate) last: i64,
    pub(crate) day: i64,
    pub(crate) ledger: i64,
}

/// A frame as it was once, which opens and holds as many lines as it has numbers.
pub(crate) struct Sound {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) body: Vec<u8>,
}

/// Frames that are to stand in the place of a damaged one.
pub(crate) struct PutBack {
    torn: Torn,
    frames: Vec<Frame>,
    /// The ledger that they were made by: they are not written where it has grown since.
    newest: i64,
    /// Events in them.
    pub(crate) events: i64,
    /// Numbers of events that were erased since.
    pub(crate) erased: Vec<i64>,
}

/// A frame without what is erased, and with a filter of everybody who is in it; how many events it holds.
fn again(
    (hasher, key): (&PersonHasher, &DataKey),
    (torn, day_is_over): (&Torn, bool),
    ledger: Option<&ProjectLedger>,
    (sound, erased): (Sound, &mut Vec<i64>),
) -> Result<(Frame, i64), StoreError> {
    let Sound { first, last, body } = sound;
    let lines = open(key, torn.project, first, &body)?;
    let (mut kept, mut events, before) = (Vec::new(), 0, erased.len());
    let mut people = People::new(hasher, torn.project);
    for (number, line) in (first..).zip(lines.split(|byte| *byte == b'\n')) {
        let is_gone =
            !line.is_empty() && ledger.is_some_and(|ledger| is_erased(ledger, hasher, torn.project, (number, line)));
        if is_gone {
            erased.push(number);
        } else if !line.is_empty() {
            people.see_lines(line);
            events += 1;
        }
        kept.push(if is_gone { &[] } else { line });
    }
    let body = match (events, erased.len() > before) {
        (0, _) => Vec::new(),
        (_, false) => body,
        (_, true) => {
            let mut compressor = zstd::bulk::Compressor::new(PACKED).map_err(cannot_pack)?;
            seal(key, &mut compressor, first, &kept.join(&b'\n'))?
        }
    };
    let filter = people.filter();
    let filter = if day_is_over || last - first + 1 > FULL / 2 { people::pack(filter) } else { filter };
    let filter = people::beside((torn.project, first, last), filter);
    // Higher than it was: a backup takes it over as it is only when it has seen it so.
    let carried_out = ledger.map_or(0, |ledger| ledger.number).max(torn.ledger + 1);
    Ok((Frame { project: torn.project, first, last, day: torn.day, ledger: carried_out, filter, body }, events))
}

impl Store {
    /// Makes of sound frames what is to stand in the place of a damaged one.
    ///
    /// # Errors
    /// `Invalid` where their key was destroyed since; `Database`, `Keys`.
    pub(crate) async fn prepare_to_put_back(
        &self,
        torn: Torn,
        key: Arc<DataKey>,
        sound: Vec<Sound>,
    ) -> Result<PutBack, StoreError> {
        self.look_for_erasures().await?;
        let now = self.ledger().now();
        let (newest, ledger) = (now.newest, now.of(torn.project));
        let ended = |frame: &Sound| ledger.as_ref().is_some_and(|ledger| ledger.has_ended(torn.day, frame.last));
        if sound.iter().any(ended) {
            return Err(StoreError::Invalid(
                "its key was destroyed since, and what it sealed is not brought back".to_owned(),
            ));
        }
        let (hasher, day_is_over) = (self.hasher(), torn.day < self.clock().now().day());
        let made = tokio::task::spawn_blocking(move || {
            let mut made = PutBack { torn, frames: Vec::new(), newest, events: 0, erased: Vec::new() };
            for one in sound {
                let of = (one, &mut made.erased);
                let (frame, events) = again((&hasher, &key), (&torn, day_is_over), ledger.as_deref(), of)?;
                made.events += events;
                // Where nothing is left of it, there is none.
                made.frames.extend((!frame.body.is_empty()).then_some(frame));
            }
            Ok(made)
        });
        made.await.map_err(|_| StoreError::Database { action: NAME, problem: "it ended in a panic".to_owned() })?
    }

    /// Writes them in its place, in one transaction.
    ///
    /// # Errors
    /// `Moved` where the damaged frame or the ledger of erasures has changed since they were made; `Database`.
    pub(crate) async fn put_back(&self, made: PutBack) -> Result<(), StoreError> {
        let named = self.frame_in_words(made.torn.project, made.torn.first);
        let (made, engine) = (Arc::new(made), self.data().engine);
        self.data()
            .run_tx(NAME, move |connection| {
                let (made, named) = (made.clone(), named.clone());
                Box::pin(async move {
                    let Torn { project, first, last, day, ledger } = made.torn;
                    let (newest, _) = erasure::begin(connection, project).await?;
                    let moved = |what: String| StoreError::Moved { what };
                    if newest != made.newest {
                        return Err(moved("the ledger of erasures".to_owned()));
                    }
                    let gone = query(
                        "DELETE FROM frames WHERE project = $1 AND first = $2 AND last = $3 AND day = $4 AND ledger = $5",
                    )
                    .bind(project)
                    .bind(first)
                    .bind(last)
                    .bind(day)
                    .bind(ledger)
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                    if gone.rows_affected() != 1 {
                        return Err(moved(named.clone()));
                    }
                    for frame in &made.frames {
                        insert(connection, engine, std::slice::from_ref(frame)).await?;
                    }
                    delete_letters(connection, engine, project, &made.erased).await
                })
            })
            .await
    }
}
