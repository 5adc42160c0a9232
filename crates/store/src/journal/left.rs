//! Reading the journal of a data folder whose installation is lost, out of its file alone: no writer, no mark, and up to the first batch
//! that does not open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use convizit_keys::KeyRing;
use convizit_model::Clock;
use sqlx::{Connection as _, SqliteConnection};

use super::batch::{self, Link};
use super::file;
use super::keys::JournalKeys;
use crate::{JournalBatch, StoreError, missing};

/// Bytes of records that are read at once.
const BYTES: usize = 1 << 20;

/// What was not processed, batch after batch.
pub(crate) struct LeftBatches {
    connection: SqliteConnection,
    keys: JournalKeys,
    link: Link,
    /// Why what comes now does not open.
    problem: Option<StoreError>,
}

impl LeftBatches {
    /// `None` where there is no journal, or an empty one.
    ///
    /// # Errors
    /// `Unusable` for a file that is none, `Database` when it cannot be read.
    pub(crate) async fn open(
        folder: &Path,
        ring: Arc<KeyRing>,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, StoreError> {
        if missing::is_absent(&folder.join(file::NAME)) {
            return Ok(None);
        }
        let mut connection = file::open_reader(folder).await?;
        match begin(&mut connection).await {
            Ok(Some(link)) => Ok(Some(Self { connection, keys: JournalKeys::new(ring, clock), link, problem: None })),
            Ok(None) => {
                // Nothing is to be learned from how it closes.
                connection.close().await.ok();
                Ok(None)
            }
            Err(error) => Err(file::close_after(connection, error).await),
        }
    }

    /// The next batches; none at the end.
    ///
    /// # Errors
    /// `Unusable` for a batch that is damaged, missing or of another installation: nothing behind it can be read.
    pub(crate) async fn next(&mut self) -> Result<Vec<JournalBatch>, StoreError> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let rows = file::rows_after(&mut self.connection, self.link.offset, BYTES).await?;
        let mut keys = BTreeMap::new();
        for number in rows.iter().filter_map(|row| batch::key_of(&row.sealed)) {
            if !keys.contains_key(&number) && file::has_key(&mut self.connection, number).await? {
                match self.keys.to_open(&mut self.connection, number).await {
                    Ok(key) => drop(keys.insert(number, key)),
                    // What other keys have sealed before opens.
                    Err(error) => self.problem = Some(error),
                }
            }
        }
        let mut link = self.link;
        let opening = tokio::task::spawn_blocking(move || {
            let mut batches = Vec::with_capacity(rows.len());
            for row in rows {
                let key = batch::key_of(&row.sealed).and_then(|number| keys.get(&number));
                let opened = match key {
                    Some(key) if row.offset == link.offset + 1 => batch::open(key, link, &row.sealed),
                    _ => Err(batch::damaged(link.offset + 1)),
                };
                match opened {
                    Ok((next, records)) => {
                        batches.push(JournalBatch { offset: next.offset, records });
                        link = next;
                    }
                    Err(error) => return (link, batches, Some(error)),
                }
            }
            (link, batches, None)
        });
        let (link, batches, problem) = opening
            .await
            .map_err(|error| StoreError::Database { action: "open journal batches", problem: error.to_string() })?;
        self.link = link;
        // That a key does not open says more than that its batches do not.
        self.problem = if problem.is_some() { self.problem.take().or(problem) } else { None };
        match self.problem.take_if(|_| batches.is_empty()) {
            Some(problem) => Err(problem),
            None => Ok(batches),
        }
    }

    /// The batch that was read last.
    pub(crate) fn offset(&self) -> u64 {
        self.link.offset
    }

    pub(crate) async fn close(self) {
        self.connection.close().await.ok();
    }
}

/// The batch up to which all is processed: of it only the tag is kept.
async fn begin(connection: &mut SqliteConnection) -> Result<Option<Link>, StoreError> {
    let Some(offset) = file::processed(connection).await? else { return Ok(None) };
    Ok(file::tag_at(connection, offset).await?.map(|tag| Link { offset, tag }))
}

/// Records of batches, in their order.
pub(crate) fn records(batches: Vec<JournalBatch>) -> impl Iterator<Item = Bytes> {
    batches.into_iter().flat_map(|batch| batch.records)
}
