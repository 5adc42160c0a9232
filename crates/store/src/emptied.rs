//! A PostgreSQL database that has nothing of the installation of which the data folder speaks: emptied, or another than was meant.
//! Nothing is made in it: that would look like an installation that never had anything, and be in the way of a restore.

use std::path::Path;

use sqlx::{AnyConnection, Connection as _};

use crate::backup::rows::RESTORING;
use crate::database::start::{connect_to, is_missing_table};
use crate::error::{During, StoreError};
use crate::{StoreConfig, mark, missing};

/// The file that ties the database to its journal.
const TIE: &str = "journal.id";

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// Tables, and no installation in them.
    Tables,
    /// A restore that goes on, or did not end: whoever takes the database for its own says so.
    Restoring,
    Installation,
}

/// Looks before anything is made in the database: no installation may be there where the folder speaks of one, or where whoever asks
/// makes none.
pub(crate) async fn database(config: &StoreConfig, url: &str) -> Result<(), StoreError> {
    let folder = &config.folder;
    // Asked in this order: another process may be making all of them, what is in the database first.
    let others = missing::those(folder, &[TIE, missing::JOURNAL, mark::JOURNAL, mark::AUDIT]);
    let held = held(url).await?;
    // A first start that was cut there has made tables and the tie, and has stored nothing.
    let is_begun = held == Held::Tables && only_tied(folder);
    match (held, others) {
        (Held::Installation | Held::Restoring, _) => Ok(()),
        (_, Some(others)) if !is_begun => Err(StoreError::Unusable(format!(
            "the PostgreSQL database holds no installation, where {others} still in {}: without the keys in it nothing opens that is stored, \
             so nothing was made in it. Where another database is meant, correct its address. Else convizit restore --move-aside brings the \
             newest backup back{}: it moves what is left of the databases into a folder beside them, and leaves backups, keys and all else \
             where they are. To start anew without all that, name another folder with data",
            folder.display(),
            missing::last_backup(folder)
        ))),
        _ if config.makes => Ok(()),
        _ => Err(StoreError::Unusable(format!(
            "the PostgreSQL database holds no installation: that of {} is not whole yet, and this command makes nothing; convizit serve or \
             convizit project add ends what a first start has begun",
            folder.display()
        ))),
    }
}

fn only_tied(folder: &Path) -> bool {
    [missing::JOURNAL, mark::JOURNAL, mark::AUDIT].iter().all(|name| missing::is_absent(&folder.join(name)))
}

async fn held(url: &str) -> Result<Held, StoreError> {
    const NAME: &str = "look what the database holds";
    let (mut connection, _) = connect_to(url).await?;
    let held = match count(&mut connection, "SELECT COUNT(*) FROM installation").await.during(NAME)? {
        None => Held::Nothing,
        Some(0) => {
            let restoring = format!("SELECT COUNT(*) FROM worker WHERE journal = '{RESTORING}'");
            match count(&mut connection, &restoring).await.during(NAME)? {
                Some(1) => Held::Restoring,
                _ => Held::Tables,
            }
        }
        Some(_) => Held::Installation,
    };
    connection.close().await.during(NAME)?;
    Ok(held)
}

/// `None` where there is no such table.
async fn count(connection: &mut AnyConnection, sql: &str) -> Result<Option<i64>, sqlx::Error> {
    match sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await {
        Err(sqlx::Error::Database(error)) if is_missing_table(&*error) => Ok(None),
        counted => counted.map(Some),
    }
}
