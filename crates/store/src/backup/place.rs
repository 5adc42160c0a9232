//! The data folder that a backup is restored into: empty, or with what is left of an installation, which is moved aside.

use std::path::{Path, PathBuf};

use convizit_model::Timestamp;

use super::restore::remove;
use crate::error::StoreError;
use crate::start::make_folder;
use crate::{disk, mark};

/// Files that a data folder must not have when a backup is restored into it, in the order in which they are moved there: with a
/// mark and no database, no start takes the folder for a new one.
const FILES: [&str; 6] = [mark::JOURNAL, mark::AUDIT, "journal.db", "journal.id", "data.db", "control.db"];
/// What of a database may lie there without it: whoever opens the restored one would take it for its own.
const REMAINS: [&str; 6] =
    ["control.db-wal", "control.db-shm", "data.db-wal", "data.db-shm", "journal.db-wal", "journal.db-shm"];

/// What of an installation lies in a folder, databases first.
pub(super) fn left_in(folder: &Path) -> Vec<&'static str> {
    FILES.iter().rev().chain(&REMAINS).copied().filter(|name| folder.join(name).exists()).collect()
}

/// Whether nothing of an installation lies there.
pub(super) fn is_folder_empty(folder: &Path) -> Result<(), StoreError> {
    let left = left_in(folder);
    if left.is_empty() {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "{} is there already: a backup is restored into an empty place. Where a part of the installation is lost, end what runs on it, and \
         convizit restore --move-aside moves what is left of its databases ({}) into a folder beside them first, and leaves backups, keys and \
         all else; or name another folder with data",
        left.first().map(|name| folder.join(name).display().to_string()).unwrap_or_default(),
        left.join(", ")
    )))
}

/// Moves what was seen when it was looked at, and nothing that came since, databases before marks: with a mark and no database,
/// no start takes the folder for a new one.
pub(super) fn move_aside(folder: &Path, files: &[&str], now: Timestamp) -> Result<Option<PathBuf>, StoreError> {
    if files.is_empty() {
        return Ok(None);
    }
    let time: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let into = folder.join(format!("aside-{time}"));
    make_folder(&into)?;
    for name in files {
        match std::fs::rename(folder.join(name), into.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(cannot(&folder.join(name), &error));
            }
            // A log goes with the last process that had its database open.
            _ => {}
        }
    }
    Ok(Some(into))
}

/// Moves the restored files from a scratch folder to where they belong, and removes it.
pub(super) fn move_in(folder: &Path, scratch: &Path) -> Result<(), StoreError> {
    for name in FILES {
        if scratch.join(name).exists() {
            std::fs::rename(scratch.join(name), folder.join(name)).map_err(|error| cannot(scratch, &error))?;
        }
    }
    remove(scratch)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot(folder, &error))
}

pub(super) fn cannot(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Database { action: "restore", problem: disk::io_in_words(path, error) }
}
