//! The data folder that a backup is restored into: empty, or with what is left of an installation, which is moved aside.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use convizit_model::Timestamp;

use super::restore::remove;
use crate::error::StoreError;
use crate::start::make_folder;
use crate::{Store, disk, mark, missing};

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

/// How the name of a folder begins into which they are moved.
const ASIDE: &str = "aside-";

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

impl Store {
    /// Folders of the data folder into which restores have moved what lay there before, oldest first: neither retention nor an erasure
    /// reaches what is in them.
    ///
    /// # Errors
    /// `Database` when the data folder cannot be listed.
    pub async fn folders_aside(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folder = &self.0.folder;
        let mut lying = tokio::fs::read_dir(folder).await.map_err(|error| cannot(folder, &error))?;
        let mut found = Vec::new();
        while let Some(entry) = lying.next_entry().await.map_err(|error| cannot(folder, &error))? {
            let is_folder = entry.file_type().await.is_ok_and(|kind| kind.is_dir());
            if is_folder && entry.file_name().to_string_lossy().starts_with(ASIDE) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Where a file lies that is left: in the folder, or in the one into which a restore moved it that was cut short.
pub(super) fn folder_of_left(folder: &Path, file: &str) -> PathBuf {
    let moved = std::fs::read_to_string(folder.join(missing::MOVED)).unwrap_or_default();
    if moved.starts_with(ASIDE) && !moved.contains('/') && !folder.join(file).exists() {
        folder.join(moved)
    } else {
        folder.to_owned()
    }
}

/// Moves what was seen when it was looked at, and nothing that came since, databases before marks: with a mark and no database,
/// no start takes the folder for a new one.
pub(super) fn move_aside(folder: &Path, files: &[&str], now: Timestamp) -> Result<Option<PathBuf>, StoreError> {
    if files.is_empty() {
        return Ok(None);
    }
    let time: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let name = format!("{ASIDE}{time}");
    let into = folder.join(&name);
    make_folder(&into)?;
    // Where an earlier restore was cut, the journal lies where that has put it.
    if files.iter().any(|file| [missing::CONTROL, missing::JOURNAL].contains(file)) {
        let (marker, new) = (folder.join(missing::MOVED), folder.join(format!("{}.new", missing::MOVED)));
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(name.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &marker)?;
            File::open(folder)?.sync_all()
        });
        written.map_err(|error| cannot(&marker, &error))?;
    }
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
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| cannot(folder, &error))?;
    // Last: what waited is in the journal that stands there now.
    match std::fs::remove_file(folder.join(missing::MOVED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(cannot(&folder.join(missing::MOVED), &error));
        }
        _ => {}
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot(folder, &error))
}

pub(super) fn cannot(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Database { action: "restore", problem: disk::io_in_words(path, error) }
}
