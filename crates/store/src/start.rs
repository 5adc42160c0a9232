//! How a store is opened, and what is looked at once before: its folder, whose journal it is, and that nothing is missing from its ends.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

use convizit_keys::{KeyProvider, KeyRing};
use convizit_model::{Clock, NoticeKind, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backup::ACCEPTED_GAP;
use crate::backup::anew::{self, Anew};
use crate::backup::ledger_copy::Copied;
use crate::backup::rows::RESTORING;
use crate::crowd::Rulings;
use crate::database::Database;
use crate::error::{During, InFile, StoreError};
use crate::frames::Opened;
use crate::gap::Before;
use crate::journal::{Bounds, SqliteJournal, Start};
use crate::keyring::{self, Keyring};
use crate::ledger::SharedLedger;
use crate::mark::{self, Mark};
use crate::{Inner, Store, StoreConfig, audit, emptied, gap, missing};

/// What is taken for granted when a store opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expects {
    /// That a journal is there, where something of one was processed.
    Journal,
    /// Nothing: the databases are of a backup, which has no journal.
    Restored,
}

impl Store {
    /// A store that does nothing by itself.
    pub(crate) async fn assemble(
        mut config: StoreConfig,
        provider: Arc<dyn KeyProvider>,
        clock: Arc<dyn Clock>,
        expects: Expects,
    ) -> Result<Self, StoreError> {
        if config.makes {
            make_folder(&config.folder)?;
        }
        let names = match &config.database {
            None => ("control.db", "data.db"),
            Some(_) => ("the PostgreSQL database", "the PostgreSQL database"),
        };
        let (control, data, keys, lost) = match config.database.clone() {
            None => {
                missing::control(&config)?;
                let control = Database::control_in(&config.folder).await?;
                let begun = goes_on(&control, &mut config).await.in_file(names.0)?;
                let lost = missing::data(&config, &control, clock.now()).await.in_file(names.0)?;
                let keys = Keyring::open(provider, control.clone(), clock.clone()).await.in_file(names.0)?;
                let (data, lost) = open_data(&config, (&control, keys.ring()), (lost, begun), clock.now()).await?;
                (control, data, keys, lost)
            }
            Some(url) => {
                emptied::database(&config, &url).await?;
                let (control, data) = Database::both(&config.folder, Some(&url)).await?;
                claim(&data, &config.folder).await?;
                goes_on(&control, &mut config).await.in_file(names.0)?;
                let keys = Keyring::open(provider, control.clone(), clock.clone()).await.in_file(names.0)?;
                (control, data, keys, None)
            }
        };
        let bounds = Bounds {
            journal_bytes: config.journal_bytes,
            queue_bytes: config.queue_bytes,
            reserve_bytes: config.reserve_bytes,
            ..Bounds::default()
        };
        let mut accepted = check_audit(&control, &config, keys.ring()).await.in_file(names.0)?;
        let mut processed = processed_offset(&data).await.in_file(names.1)?;
        if let Some(lost) = &lost
            && let Some(accepted) = &mut accepted
        {
            accepted.insert_str(0, &format!("{lost}; "));
        }
        if expects == Expects::Journal {
            missing::unmarked_journal(&config, processed)?;
        }
        let earlier = if config.accept_gap {
            let earlier = gap::before(&control).await.in_file(names.0)?;
            if earlier.is_none() {
                // Once the journal is touched, nothing in it says what was missing.
                let before = Before::look(&config, keys.ring(), processed).await;
                gap::begin_with(&control, before).await.in_file(names.0)?;
            }
            earlier
        } else {
            None
        };
        let journal = loop {
            let start = Start { processed, accept_gap: config.accept_gap };
            match SqliteJournal::open(&config.folder, keys.ring().clone(), clock.clone(), bounds, start).await {
                Ok(journal) => break journal,
                Err(error) => {
                    // Another process may have processed, and let go of, what this one was about to look for.
                    let now = processed_offset(&data).await.in_file(names.1)?;
                    if now <= processed {
                        return Err(error);
                    }
                    processed = now;
                }
            }
        };
        if config.accept_gap {
            let begins = skip_gap(&data, processed, journal.begins_after()).await?;
            if let Some(accepted) = &mut accepted {
                if let Some(earlier) = &earlier {
                    let lost =
                        earlier.lost().unwrap_or_else(|| "nothing was missing from the journal's end".to_owned());
                    accepted.push_str(&format!(
                        "; an earlier start with --accept-gap was cut short, and found that {lost}"
                    ));
                }
                if let Some(lost) = journal.lost() {
                    accepted.push_str(&format!("; {lost}"));
                }
                let from = earlier.map_or(processed, |earlier| earlier.processed.min(processed));
                accepted.push_str(&match begins - from {
                    0 => "; no batch of the journal was passed over".to_owned(),
                    _ => format!("; batches {} to {begins} of the journal were passed over", from + 1),
                });
            }
            processed = begins;
        }
        let hour = clock.now().hour();
        let inner = Inner {
            folder: config.folder.clone(),
            keys,
            clock,
            control,
            data,
            journal: Arc::new(journal),
            projects: RwLock::default(),
            control_version: AtomicU64::new(0),
            worker_offset: AtomicU64::new(processed),
            audit_marked: AtomicU64::new(0),
            erasures_again: Mutex::default(),
            clock_ahead: Mutex::default(),
            checkpoint_hour: AtomicI64::new(hour),
            counters: Mutex::default(),
            rulings: Rulings::default(),
            ledger: SharedLedger::default(),
            opened: Opened::default(),
            erased: watch::Sender::default(),
            newest: watch::Sender::default(),
            stop: CancellationToken::new(),
            reserve_bytes: config.reserve_bytes,
            scarce: Mutex::default(),
            backup: config.backup.clone(),
            copied: Copied::default(),
            held_full: Default::default(),
            journal_bound: config.journal_bytes,
        };
        let store = Self(Arc::new(inner), keyring::SYSTEM.into());
        store.refresh().await.in_file(names.0)?;
        store.look_for_rulings().await.in_file(names.1)?;
        // Before anything can be read.
        store.look_for_erasures().await.in_file(names.1)?;
        store.first_sight_of_the_clock().await.in_file(names.1)?;
        if let Some(accepted) = accepted {
            let text = format!(
                "a start with --accept-gap went on with what there is: {accepted}. No older backup is dropped, and no pack of one, until this \
                 notice is marked as resolved: do so when nothing is to be brought back any more"
            );
            store.raise(NoticeKind::Audit, None, ACCEPTED_GAP, &text).await?;
            // Whoever reads the log later is to know why it looks whole.
            let entry = store.entry("start.accept_gap", "", "", accepted.as_str());
            gap::end(store.control(), &config, store.ring(), entry).await?;
        }
        Ok(store)
    }
}

/// Whether an earlier start had begun to go on without what was missing, and was cut short: what a person has accepted holds until it is
/// written down.
async fn goes_on(control: &Database, config: &mut StoreConfig) -> Result<bool, StoreError> {
    let begun = gap::is_begun(control).await?;
    if begun {
        gap::refuse_others(config)?;
        config.accept_gap = true;
    }
    Ok(begun)
}

/// Opens the database of events, or makes it: where a person gives up what it held, with what a new one begins with. Returns what was
/// lost and is given, in words; `begun` says that another start has begun to.
async fn open_data(
    config: &StoreConfig,
    (control, ring): (&Database, &Arc<KeyRing>),
    (lost, begun): (Option<String>, bool),
    now: Timestamp,
) -> Result<(Database, Option<String>), StoreError> {
    if lost.is_none() && !begun {
        return Ok((Database::data_in(&config.folder).await?, None));
    }
    let mut given = None;
    if lost.is_some() {
        // Before anything is made: it is no loss yet where the file is put back.
        given = Some(Anew::look(config, control, ring, now).await?);
        gap::begin(control).await?;
    }
    let data = Database::data_in(&config.folder).await?;
    if given.is_none() && anew::is_new(&data).await.in_file(missing::DATA)? {
        given = Some(Anew::look(config, control, ring, now).await?);
    }
    let mut told = lost.unwrap_or_else(|| {
        format!(
            "an earlier one was cut short, when {} was missing: it is as it was made anew, or was put back since",
            missing::DATA
        )
    });
    if let Some(given) = given {
        told.push_str("; ");
        told.push_str(&given.fill(&data).await?);
    }
    Ok((data, Some(told)))
}

/// Compares the audit log with its mark: entries that are missing from its end stop the start. Returns what a person has accepted.
async fn check_audit(control: &Database, config: &StoreConfig, ring: &KeyRing) -> Result<Option<String>, StoreError> {
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

async fn processed_offset(data: &Database) -> Result<u64, StoreError> {
    let processed: i64 = sqlx::query_scalar("SELECT journal_offset FROM worker WHERE id = 0")
        .fetch_one(data.readers())
        .await
        .during("read worker offset")?;
    Ok(u64::try_from(processed).unwrap_or(0))
}

/// Where a person accepted that batches are missing, the worker goes on behind them.
async fn skip_gap(data: &Database, processed: u64, begins_after: u64) -> Result<u64, StoreError> {
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
async fn claim(data: &Database, folder: &Path) -> Result<(), StoreError> {
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
