//! File: JSON Lines, appended and synced; a line that a crash cut is taken off, what the tail holds already is not written again.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use convizit_store::StoredEvent;

use crate::destinations::SendError;

/// Bytes of the file's end that are looked at for events written before a crash: one batch at most.
const TAIL: u64 = 2 << 20;

pub(crate) struct File {
    path: PathBuf,
    /// Ids of the tail; emptied after the first batch, which alone can repeat.
    tail: HashSet<String>,
}

impl File {
    pub(crate) async fn open(path: &Path, folders: &[PathBuf]) -> Result<Self, SendError> {
        let (path, folders) = (path.to_owned(), folders.to_owned());
        blocking(move || {
            let path = allowed(&path, &folders)?;
            let tail = mend(&path).map_err(|error| failed(&path, &error))?;
            Ok(Self { path, tail })
        })
        .await
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn send(&mut self, events: &[StoredEvent]) -> Result<(), SendError> {
        let tail = std::mem::take(&mut self.tail);
        let mut out = Vec::new();
        for event in
            events.iter().filter(|event| tail.is_empty() || !id_of(&event.json).is_some_and(|id| tail.contains(&id)))
        {
            out.extend_from_slice(&event.json);
            out.push(b'\n');
        }
        let path = self.path.clone();
        blocking(move || append(&path, &out).map_err(|error| failed(&path, &error))).await
    }
}

/// Lengths of files behind which a failed sync left bytes that may never have reached the disk, though they can be read.
static IN_DOUBT: Mutex<BTreeMap<PathBuf, u64>> = Mutex::new(BTreeMap::new());

/// Appends and syncs. After a failure the file is cut back to what was synced before: a second sync of the same bytes would call
/// written what the system has dropped.
fn append(path: &Path, out: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(out).and_then(|()| file.sync_data());
    if written.is_err() && file.set_len(before).is_err() {
        IN_DOUBT.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_insert(before);
    }
    written
}

/// Writes one event as a line behind whatever stands there, in one piece, since delivery may be writing to the same file.
pub(crate) async fn write_line(path: &Path, folders: &[PathBuf], event: &StoredEvent) -> Result<(), SendError> {
    let (path, folders) = (path.to_owned(), folders.to_owned());
    let line = [&event.json[..], b"\n"].concat();
    blocking(move || {
        let path = allowed(&path, &folders)?;
        let written = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path)?;
            file.write_all(&line)?;
            file.sync_data()
        };
        written().map_err(|error| failed(&path, &error))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(SendError::later("the file's writer failed")))
}

fn failed(path: &Path, error: &std::io::Error) -> SendError {
    SendError::later(format!("{}: {error}", path.display()))
}

/// The file's true place, inside a folder that the operator allowed.
pub(crate) fn allowed(path: &Path, folders: &[PathBuf]) -> Result<PathBuf, SendError> {
    let outside = || {
        SendError::Pause(format!(
            "{} is in no folder that the operator allowed; delivery.allow_folders lists them",
            path.display()
        ))
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(outside()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = parent
        .canonicalize()
        .map_err(|_| SendError::Pause(format!("the folder {} does not exist: make it", parent.display())))?;
    let inside =
        folders.iter().filter_map(|folder| folder.canonicalize().ok()).any(|folder| parent.starts_with(folder));
    let full = parent.join(name);
    // A link would lead out of the folder after it was checked.
    let kind = full.symlink_metadata().map(|data| data.file_type());
    if !inside || kind.as_ref().is_ok_and(std::fs::FileType::is_symlink) {
        return Err(outside());
    }
    if kind.is_ok_and(|kind| kind.is_dir()) {
        let inside = full.join("events.jsonl");
        let text = format!("{} is a folder: name a file in it, such as {}", path.display(), inside.display());
        return Err(SendError::Pause(text));
    }
    Ok(full)
}

/// Takes off a line that was cut, and gives the ids of the file's tail.
fn mend(path: &Path) -> std::io::Result<HashSet<String>> {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let doubt = IN_DOUBT.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
    if let Some(synced) = doubt {
        file.set_len(synced)?;
        IN_DOUBT.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
    let length = file.metadata()?.len();
    if length == 0
        && let Some(folder) = path.parent()
    {
        // A new file's name is on disk only once its folder is.
        std::fs::File::open(folder)?.sync_all()?;
    }
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // A tail without any line's end is a single huge line of somebody else's: it is left alone.
    if whole < tail.len() && (whole > 0 || from == 0) {
        file.set_len(from + whole as u64)?;
        file.sync_data()?;
        tail.truncate(whole);
    }
    Ok(tail.split(|byte| *byte == b'\n').filter_map(id_of).collect())
}

fn id_of(json: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Id {
        id: String,
    }
    serde_json::from_slice::<Id>(json).ok().map(|event| event.id)
}
