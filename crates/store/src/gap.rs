//! That a start goes on without what is missing, since a person accepts that: noted before anything is made, so that one that is cut
//! short is gone on with by the next, and what was given up is written down in any case.

use std::sync::Arc;

use convizit_keys::KeyRing;
use sqlx::query;

use crate::audit::{self, Entry};
use crate::database::Database;
use crate::error::{During, StoreError};
use crate::{StoreConfig, mark};

/// The row of `control_version` that is there from before `data.db` is made anew until that stands in the audit log.
pub(crate) const ACCEPTING: i64 = 6;

/// Whether a start has begun to, and has not come to its end.
pub(crate) async fn is_begun(control: &Database) -> Result<bool, StoreError> {
    let begun: Option<i64> = sqlx::query_scalar("SELECT version FROM control_version WHERE id = $1")
        .bind(ACCEPTING)
        .fetch_optional(control.readers())
        .await
        .during("look for what was accepted")?;
    Ok(begun.is_some())
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
    const NAME: &str = "note what is accepted";
    control
        .run_tx(NAME, |connection| {
            Box::pin(async move {
                query("INSERT INTO control_version (id, version) VALUES ($1, 1) ON CONFLICT (id) DO NOTHING")
                    .bind(ACCEPTING)
                    .execute(connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
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
                query("DELETE FROM control_version WHERE id = $1")
                    .bind(ACCEPTING)
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                audit::append(connection, &ring, &[entry]).await
            })
        })
        .await?;
    mark::remove(&config.folder, mark::AUDIT)
}
