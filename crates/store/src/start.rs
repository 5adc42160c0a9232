//! What is looked at once, before a store opens: its folder, whose journal it is, and that nothing is missing from its ends.

use std::path::Path;

use convizit_keys::KeyRing;

use crate::backup::rows::RESTORING;
use crate::database::Database;
use crate::error::{During, StoreError};
use crate::mark::{self, Mark};
use crate::{StoreConfig, audit};

/// Compares the audit log with its mark: entries that are missing from its end stop the start. Returns what a person has accepted.
pub(crate) async fn check_audit(
    control: &Database,
    config: &StoreConfig,
    ring: &KeyRing,
) -> Result<Option<String>, StoreError> {
    if config.accept_gap {
        let (end, _) = audit::end(control).await?;
        let said = match mark::known(&config.folder, mark::AUDIT, ring) {
            Some(link) if link.offset > end.cast_unsigned() => {
                format!("the audit log ends at entry {end}, and entry {} was written", link.offset)
            }
            Some(link) if !audit::has_link(control, link).await? => {
                format!("entry {} of the audit log is another than was marked", link.offset)
            }
            Some(_) => "the audit log is as far as its mark".to_owned(),
            None => "the audit log's mark could not be read".to_owned(),
        };
        // What is missing is accepted, so the mark is made anew.
        std::fs::remove_file(config.folder.join(mark::AUDIT)).ok();
        return Ok(Some(said));
    }
    // The mark first: another process may write meanwhile, and the log is then only further.
    let mark = mark::read(&config.folder, mark::AUDIT, ring)?;
    let (end, _) = audit::end(control).await?;
    match mark {
        Mark::At(link) if link.offset > end.cast_unsigned() => Err(StoreError::Unusable(format!(
            "the audit log ends at entry {end}, but entry {} was written ({}): restore control.db (or the PostgreSQL database) from a backup, \
             or start once with --accept-gap to go on without them",
            link.offset,
            mark::AUDIT
        ))),
        Mark::At(link) if !audit::has_link(control, link).await? => Err(StoreError::Unusable(format!(
            "entry {} of the audit log is not the one that {} speaks of: restore control.db (or the PostgreSQL database) from a \
             backup, or start once with --accept-gap to go on with the log as it stands",
            link.offset,
            mark::AUDIT
        ))),
        _ => Ok(None),
    }
}

pub(crate) async fn processed_offset(data: &Database) -> Result<u64, StoreError> {
    let processed: i64 = sqlx::query_scalar("SELECT journal_offset FROM worker WHERE id = 0")
        .fetch_one(data.readers())
        .await
        .during("read worker offset")?;
    Ok(u64::try_from(processed).unwrap_or(0))
}

/// Where a person accepted that batches are missing, the worker goes on behind them.
pub(crate) async fn skip_gap(data: &Database, processed: u64, begins_after: u64) -> Result<u64, StoreError> {
    const NAME: &str = "go on behind a gap";
    if begins_after <= processed {
        return Ok(processed);
    }
    let to = i64::try_from(begins_after).unwrap_or(i64::MAX);
    data.run_tx(NAME, move |connection| {
        Box::pin(async move {
            sqlx::query("UPDATE worker SET journal_offset = $1 WHERE id = 0 AND journal_offset < $1")
                .bind(to)
                .execute(connection)
                .await
                .during(NAME)
                .map(|_| ())
        })
    })
    .await?;
    Ok(begins_after)
}

/// Ties a PostgreSQL database to the journal of one data folder: with two, each would take the other's offset for its own and
/// drop batches that it has answered.
pub(crate) async fn claim(data: &Database, folder: &Path) -> Result<(), StoreError> {
    const NAME: &str = "tie the database to its journal";
    let path = folder.join("journal.id");
    let cannot = |error: std::io::Error| StoreError::Unusable(format!("{}: {error}", path.display()));
    let id = match tokio::fs::read_to_string(&path).await {
        Ok(id) => id,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id: String = convizit_keys::random_bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
            // Linked when it is whole: of two processes that start at once the second takes what the first has made.
            let whole = folder.join(format!("journal.id.{id}"));
            tokio::fs::write(&whole, &id).await.map_err(cannot)?;
            tokio::fs::hard_link(&whole, &path).await.ok();
            tokio::fs::remove_file(&whole).await.map_err(cannot)?;
            tokio::fs::read_to_string(&path).await.map_err(cannot)?
        }
        Err(error) => return Err(cannot(error)),
    };
    let claimed = data
        .run_tx(NAME, move |connection| {
            let id = id.clone();
            Box::pin(async move {
                let done = sqlx::query("UPDATE worker SET journal = $1 WHERE id = 0 AND journal IN ('', $1)")
                    .bind(id)
                    .execute(connection)
                    .await
                    .during(NAME)?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await?;
    if claimed {
        return Ok(());
    }
    let now: String =
        sqlx::query_scalar("SELECT journal FROM worker WHERE id = 0").fetch_one(data.readers()).await.during(NAME)?;
    if now == RESTORING {
        return Err(StoreError::Unusable(
            "a restore into this PostgreSQL database did not end: empty the database, and restore again".to_owned(),
        ));
    }
    Err(StoreError::Unusable(format!(
        "this PostgreSQL database belongs to the journal of another data folder than {}: start with that folder, or give \
         this one a database of its own",
        folder.display()
    )))
}

pub(crate) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| StoreError::Unusable(format!("the data folder {} cannot be made: {error}", folder.display())))
}
