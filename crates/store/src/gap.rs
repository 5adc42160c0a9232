//! That a start goes on without what is missing, since a person accepts that: noted before anything is made or passed over, so that one
//! that is cut short is gone on with by the next, and what was given up is written down in any case.

use std::sync::Arc;

use convizit_keys::KeyRing;
use sqlx::query;

use crate::audit::{self, Entry};
use crate::database::Database;
use crate::error::{During, StoreError};
use crate::{StoreConfig, journal, mark, missing};

/// The row of `control_version` that is there from before `data.db` is made anew, or the journal touched, until that stands in the audit
/// log.
const ACCEPTING: i64 = 6;
/// Rows that say what the journal was before it was touched: behind which batch it was processed, up to which it had been answered, and
/// where it ended. One that is not there was not known.
const PROCESSED: i64 = 8;
const ANSWERED: i64 = 9;
const ENDED: i64 = 10;
/// All of them: no backup brings them back.
pub(crate) const ROWS: [i64; 4] = [ACCEPTING, PROCESSED, ANSWERED, ENDED];

/// A journal before what is missing from it was given up: afterwards nothing in it says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// The batch up to which all was processed.
    pub(crate) processed: u64,
    /// The batch that its mark speaks of.
    pub(crate) answered: Option<u64>,
    /// Its own last batch; `None` where it was missing.
    pub(crate) ended: Option<u64>,
}

impl Before {
    /// Looks at a journal that nobody has touched.
    pub(crate) async fn look(config: &StoreConfig, ring: &KeyRing, processed: u64) -> Self {
        let answered = mark::known(&config.folder, mark::JOURNAL, ring).map(|link| link.offset);
        Self { processed, answered, ended: journal::ends_at(&config.folder).await }
    }

    /// What of it is lost, in words.
    pub(crate) fn lost(&self) -> Option<String> {
        let mut lost = Vec::new();
        if self.ended.is_none() && (self.processed > 0 || self.answered.is_some()) {
            lost.push(format!("{} was missing or did not open, and is made anew", missing::JOURNAL));
        }
        let end = self.ended.unwrap_or(0).max(self.processed);
        if let Some(answered) = self.answered.filter(|answered| *answered > end) {
            lost.push(format!("batches {} to {answered} of the journal, which were answered, are lost", end + 1));
        }
        (!lost.is_empty()).then(|| lost.join("; "))
    }
}

/// Whether a start has begun to, and has not come to its end.
pub(crate) async fn is_begun(control: &Database) -> Result<bool, StoreError> {
    Ok(row(control, ACCEPTING).await?.is_some())
}

/// What the journal was, where a start has begun to touch it.
pub(crate) async fn before(control: &Database) -> Result<Option<Before>, StoreError> {
    let Some(processed) = row(control, PROCESSED).await? else { return Ok(None) };
    let (answered, ended) = (row(control, ANSWERED).await?, row(control, ENDED).await?);
    Ok(Some(Before { processed, answered, ended }))
}

async fn row(control: &Database, id: i64) -> Result<Option<u64>, StoreError> {
    let found: Option<i64> = sqlx::query_scalar("SELECT version FROM control_version WHERE id = $1")
        .bind(id)
        .fetch_optional(control.readers())
        .await
        .during("look for what was accepted")?;
    Ok(found.map(i64::cast_unsigned))
}

/// Whether this process may give up a lost database: the one that knows where the copy of the ledger lies, and keeps it true.
pub(crate) fn may_accept(config: &StoreConfig) -> bool {
    config.upkeep && config.makes
}

/// Refuses everybody else until the start that has begun came to its end.
pub(crate) fn refuse_others(config: &StoreConfig) -> Result<(), StoreError> {
    if may_accept(config) {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "a start with --accept-gap on {} was cut short before it had written down what it went on without: start convizit serve once, with \
         the role all or work, which ends it",
        config.folder.display()
    )))
}

/// Notes that a start goes on, before anything is made.
pub(crate) async fn begin(control: &Database) -> Result<(), StoreError> {
    note(control, vec![(ACCEPTING, 1)]).await
}

/// As `begin`, before the journal is touched.
pub(crate) async fn begin_with(control: &Database, before: Before) -> Result<(), StoreError> {
    let rows =
        [(ACCEPTING, Some(1)), (PROCESSED, Some(before.processed)), (ANSWERED, before.answered), (ENDED, before.ended)];
    note(control, rows.into_iter().filter_map(|(id, value)| Some((id, value?.cast_signed()))).collect()).await
}

async fn note(control: &Database, rows: Vec<(i64, i64)>) -> Result<(), StoreError> {
    const NAME: &str = "note what is accepted";
    control
        .run_tx(NAME, move |connection| {
            let rows = rows.clone();
            Box::pin(async move {
                for (id, value) in rows {
                    query("INSERT INTO control_version (id, version) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
                        .bind(id)
                        .bind(value)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                }
                Ok(())
            })
        })
        .await
}

/// Writes down, in one transaction with the end of the note, what a start went on without. The audit log's mark goes last: until
/// then the next start would meet what is missing again.
pub(crate) async fn end(
    control: &Database,
    config: &StoreConfig,
    ring: &Arc<KeyRing>,
    entry: Entry,
) -> Result<(), StoreError> {
    const NAME: &str = "write down what was accepted";
    let key = ring.clone();
    control
        .run_tx(NAME, move |connection| {
            let (ring, entry) = (key.clone(), entry.clone());
            Box::pin(async move {
                for id in ROWS {
                    query("DELETE FROM control_version WHERE id = $1")
                        .bind(id)
                        .execute(&mut *connection)
                        .await
                        .during(NAME)?;
                }
                audit::append(connection, &ring, &[entry]).await
            })
        })
        .await?;
    mark::remove(&config.folder, mark::AUDIT)
}
