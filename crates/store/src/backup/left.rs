//! What waits in the journal that lies in a data folder where a backup is restored over what is left: it was answered, and goes behind
//! what the backup holds.

use std::path::Path;
use std::sync::Arc;

use convizit_keys::KeyRing;
use convizit_model::Clock;
use serde::Serialize;

use crate::error::StoreError;
use crate::journal::{self, LeftBatches};
use crate::{JournalBatch, Store, mark, missing};

/// What waited in the journal that lay there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LeftJournal {
    /// Batches that had been answered and not processed.
    pub batches: u64,
    /// Their records.
    pub records: u64,
    /// Why more of it does not come: it stays in the file, which is moved aside.
    pub problem: Option<String>,
}

impl LeftJournal {
    /// Reads what waits in the journal of a folder, and gives it to `take`, some batches at a time; what came up to the batch `held` is in
    /// the backup in any case. What cannot be read, or taken, is no
    /// reason not to have the backup back.
    async fn read(
        folder: &Path,
        held: u64,
        (ring, clock): (&Arc<KeyRing>, &Arc<dyn Clock>),
        take: impl AsyncFn(Vec<JournalBatch>) -> Result<(), StoreError>,
    ) -> Self {
        let mut left = Self::default();
        let mut reading = match LeftBatches::open(folder, ring.clone(), clock.clone()).await {
            Ok(Some(reading)) => reading,
            Ok(None) => {
                let marked = mark::known(folder, mark::JOURNAL, ring).filter(|marked| marked.offset > held);
                let problem = marked.map(|marked| {
                    format!(
                        "{}, and batch {} was answered, by {}: what came behind batch {held} is there only as far as the backup holds it",
                        missing::gone(folder, missing::JOURNAL),
                        marked.offset,
                        mark::JOURNAL
                    )
                });
                return Self { problem, ..left };
            }
            Err(error) => return Self { problem: Some(error.to_string()), ..left },
        };
        loop {
            let read = match reading.next().await {
                Ok(batches) if batches.is_empty() => break,
                Ok(batches) => {
                    let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
                    let count = (batches.len() as u64, records as u64);
                    take(batches).await.map(|()| count)
                }
                Err(error) => Err(error),
            };
            match read {
                Ok((batches, records)) => {
                    left.batches += batches;
                    left.records += records;
                }
                Err(error) => {
                    left.problem = Some(error.to_string());
                    break;
                }
            }
        }
        // As a start does: what stood behind a damaged place of SQLite's log is gone without any error.
        let end = reading.offset();
        if let Some(marked) = mark::known(folder, mark::JOURNAL, ring).filter(|marked| marked.offset > end) {
            left.problem.get_or_insert_with(|| {
                format!(
                    "journal.db ends at batch {end}, and batch {} was answered, by {}",
                    marked.offset,
                    mark::JOURNAL
                )
            });
        }
        reading.close().await;
        left
    }

    /// Looks what waits in it.
    pub(super) async fn look(folder: &Path, held: u64, with: (&Arc<KeyRing>, &Arc<dyn Clock>)) -> Self {
        Self::read(folder, held, with, async |_| Ok(())).await
    }

    /// Appends what waits in it to the journal of a store. A repeat of what the backup holds is known by its events' ids.
    pub(super) async fn take_over(
        store: &Store,
        folder: &Path,
        held: u64,
        with: (&Arc<KeyRing>, &Arc<dyn Clock>),
    ) -> Self {
        Self::read(folder, held, with, async |batches| {
            // Asked in their order, so that they stand in it.
            let appends = journal::records(batches).map(|record| store.journal_append(record));
            futures_util::future::try_join_all(appends).await.map(|_| ())
        })
        .await
    }
}
