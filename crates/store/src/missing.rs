//! What a data folder has lost: a database that was there and is not, what it held, and how to go on. Nothing empty is made in its
//! place, since that would look like an installation that never had anything.

use std::path::Path;

use convizit_model::Timestamp;

use crate::backup::BackupState;
use crate::database::Database;
use crate::error::{Columns as _, During, StoreError};
use crate::{StoreConfig, gap, journal, mark};

pub(crate) const CONTROL: &str = "control.db";
pub(crate) const DATA: &str = "data.db";
pub(crate) const JOURNAL: &str = "journal.db";
/// Names, until a restore has come to its end, the folder into which it moves what lay there: what waits in the journal was answered,
/// and is nowhere else yet.
pub(crate) const MOVED: &str = "restore.aside";

/// Whether a database is not there, or holds nothing, as after a copy that was cut.
pub(crate) fn is_absent(file: &Path) -> bool {
    match file.metadata() {
        Ok(about) => about.is_file() && about.len() == 0,
        // One that may not be looked at is there: opening it says why not.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// `data.db is missing from /srv/convizit`.
pub(crate) fn gone(folder: &Path, name: &str) -> String {
    let what = if folder.join(name).exists() { "is empty in" } else { "is missing from" };
    format!("{name} {what} {}", folder.display())
}

/// Which of these a folder has, in words.
pub(crate) fn those(folder: &Path, names: &[&str]) -> Option<String> {
    let there: Vec<&str> = names.iter().copied().filter(|name| !is_absent(&folder.join(name))).collect();
    let (last, before) = there.split_last()?;
    Some(if before.is_empty() { format!("{last} is") } else { format!("{} and {last} are", before.join(", ")) })
}

/// What whoever only looks is told of a folder whose first start has not ended.
fn not_whole(folder: &Path, name: &str) -> StoreError {
    StoreError::Unusable(format!(
        "{}: the installation there is not whole yet, and this command makes nothing; convizit serve or convizit project add ends \
         what a first start has begun",
        gone(folder, name)
    ))
}

/// The database of settings and keys, which is made first: whatever else is there had one.
pub(crate) fn control(config: &StoreConfig) -> Result<(), StoreError> {
    let folder = &config.folder;
    // Asked in this order: another process may be making all of them, this one first.
    let others = those(folder, &[DATA, JOURNAL, mark::JOURNAL, mark::AUDIT]);
    if !is_absent(&folder.join(CONTROL)) {
        return Ok(());
    }
    match others {
        None if folder.join(MOVED).exists() => Err(StoreError::Unusable(format!(
            "{}: a restore was cut short that had moved the databases aside, and nothing is made in their place. convizit restore \
             --move-aside goes on with it, and with what waited in the journal; {MOVED} names the folder in which that lies",
            gone(folder, CONTROL)
        ))),
        None if config.makes => Ok(()),
        None => Err(not_whole(folder, CONTROL)),
        Some(others) => Err(StoreError::Unusable(format!(
            "{}, where {others} still there: without the keys in it nothing opens that is stored. Put it back if it was moved. Else \
             convizit restore --move-aside brings the newest backup back{}: it moves what is left of the databases into a folder beside \
             them, and leaves backups, keys and all else where they are. To start anew without all that, name another folder with data",
            gone(folder, CONTROL),
            last_backup(folder)
        ))),
    }
}

/// The database of events. Returns what was lost where a person accepts that.
pub(crate) async fn data(
    config: &StoreConfig,
    control: &Database,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    const NAME: &str = "look what was stored";
    let folder = &config.folder;
    let later = those(folder, &[JOURNAL, mark::JOURNAL, mark::AUDIT]);
    if !is_absent(&folder.join(DATA)) {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM projects), \
         (SELECT COUNT(DISTINCT number) FROM keys WHERE kind = 'day' AND wrapped_by <> 'destroyed' AND number <= $1)",
    )
    .bind(now.day())
    .fetch_one(control.readers())
    .await
    .during(NAME)?;
    let (projects, days): (i64, i64) = (row.read(0)?, row.read(1)?);
    if !is_absent(&folder.join(DATA)) {
        // Another process has made all of it meanwhile.
        return Ok(None);
    }
    if later.is_none() && projects == 0 && days == 0 {
        return if config.makes { Ok(None) } else { Err(not_whole(folder, DATA)) };
    }
    let begins = if is_absent(&folder.join(JOURNAL)) { None } else { journal::begins_after(folder).await };
    // Those that the journal has let go of, since they were stored: some more may have been.
    let batches = begins.filter(|batches| *batches > 0);
    let of = batches.map(|batches| format!(" of {} or more", counted(batches, "batch", "batches"))).unwrap_or_default();
    let days = if days > 0 { format!(", of at most {},", counted(days, "day", "days")) } else { String::new() };
    let held =
        format!("the events{of}{days} and what was learned from them, where each destination stood, and the notices");
    let gone = gone(folder, DATA);
    if config.accept_gap && !gap::may_accept(config) {
        return Err(StoreError::Unusable(format!(
            "{gone}. It held {held}. Only a convizit serve with the role all or work goes on without it, by --accept-gap: it takes the ledger \
             of erasures over from its copy. Start that one first, and then the others"
        )));
    }
    if config.accept_gap {
        return Ok(Some(format!("{gone}, and is made anew without what it held: {held}")));
    }
    Err(StoreError::Unusable(format!(
        "{gone}. It held {held}. Put it back if it was moved. Else convizit restore --move-aside brings the newest backup back{}; or start \
         once with convizit serve --accept-gap, which goes on without what it held, for good",
        last_backup(folder)
    )))
}

/// The journal, where its mark is gone with it: up to `processed` all is stored.
pub(crate) fn unmarked_journal(config: &StoreConfig, processed: u64) -> Result<(), StoreError> {
    let folder = &config.folder;
    if !is_absent(&folder.join(JOURNAL)) {
        return Ok(());
    }
    let is_marked = folder.join(mark::JOURNAL).exists();
    if processed == 0 && !is_marked {
        return if config.makes { Ok(()) } else { Err(not_whole(folder, JOURNAL)) };
    }
    // With a mark, whoever reads it says more.
    if is_marked || config.accept_gap {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "{}, and {} with it: what was answered up to batch {processed} is stored, and whether more waited to be processed nobody can say. \
         Put both back if they were moved; else start once with convizit serve --accept-gap, which makes a new journal",
        gone(folder, JOURNAL),
        mark::JOURNAL
    )))
}

/// The journal, where its mark says how far it had come. Batches up to `processed` are stored elsewhere.
pub(crate) fn marked_journal(folder: &Path, marked: u64, processed: u64) -> StoreError {
    let gone = gone(folder, JOURNAL);
    let anew = "start once with convizit serve --accept-gap, which makes a new one";
    StoreError::Unusable(if marked > processed {
        format!(
            "{gone}: {} that had been answered ({} to {marked}) waited in it to be processed, and would be lost; all before is stored. Put it \
             back if it was moved; else {anew} and goes on without them",
            counted(marked - processed, "batch", "batches"),
            processed + 1
        )
    } else {
        format!(
            "{gone}. All that was answered up to its mark, batch {marked}, is processed and stored, so nothing is lost with it, or at most what \
             came in the last second before a crash: {anew}"
        )
    })
}

pub(crate) fn counted(count: impl Into<i128>, one: &str, many: &str) -> String {
    let count = count.into();
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What the last backup that ended well would bring back, and what comes with it.
pub(crate) fn last_backup(folder: &Path) -> String {
    let state = BackupState::of(folder);
    let mut text = match (state.made, state.events) {
        (Some(made), Some(events)) => format!(", of {made} with {}", counted(events, "event", "events")),
        (Some(made), None) => format!(", of {made}"),
        (None, _) => String::new(),
    };
    if !is_absent(&folder.join(JOURNAL)) {
        text.push_str(", and what waits in journal.db");
    }
    text
}
