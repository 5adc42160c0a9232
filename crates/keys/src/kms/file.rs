//! The file provider: secrets as JSON in a file that only its owner reads, made at the first start.
//!
//! A file is never changed in place: temporary file, sync, then a link or rename, then a sync of the folder, so that
//! a crash leaves the old file or the new one. A lost key file makes everything sealed unreadable: back it up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::KeyError;
use crate::random::{random_bytes, random_text};
use crate::ring::{Secret, Secrets};

/// The form of the file that this build reads and writes.
const FORMAT: u32 = 1;
/// A key file of this many bytes is none (a ring of 100 keys has 9 KiB).
const MAX_BYTES: u64 = 64 * 1024;

/// Texts are borrowed from the wiped buffer, so that no copy of a secret stays behind.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    format: u32,
    #[serde(borrow)]
    keys: Vec<KeyEntry<'a>>,
    hash: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry<'a> {
    version: u32,
    secret: &'a str,
}

/// Reads the file, or makes it with random secrets when there is none.
pub(crate) fn open_or_create(path: &Path) -> Result<Secrets, KeyError> {
    match read(path) {
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => create(path),
        other => other.map_err(|error| error.at(path)),
    }
}

/// Puts a new random key of the next version first.
pub(crate) fn rotate(path: &Path) -> Result<Secrets, KeyError> {
    let mut secrets = read(path).map_err(|error| error.at(path))?;
    let newest = secrets.keys.iter().map(|(version, _)| *version).max().unwrap_or(0);
    let next = newest.checked_add(1).ok_or_else(|| problem(path, "its key versions are used up"))?;
    secrets.keys.insert(0, (next, random_bytes()?));
    let temporary = write_beside(path, &secrets)?;
    fs::rename(&temporary, path).and_then(|()| sync_folder(path)).map_err(|error| cannot("replaced", path, &error))?;
    Ok(secrets)
}

fn create(path: &Path) -> Result<Secrets, KeyError> {
    let secrets = Secrets::random()?;
    let temporary = write_beside(path, &secrets)?;
    // A link does not replace: when two processes start at once, both end with the file that came first.
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => fs::rename(&temporary, path),
        other => other.and(fs::remove_file(&temporary)),
    };
    match linked.and_then(|()| sync_folder(path)) {
        Ok(()) => Ok(secrets),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Nothing was lost with the temporary file: its secrets have sealed nothing.
            let _ = fs::remove_file(&temporary);
            read(path).map_err(|error| error.at(path))
        }
        Err(error) => Err(cannot("made", path, &error)),
    }
}

/// Writes and syncs a temporary file in the same folder, mode 0600 from its first moment.
fn write_beside(path: &Path, secrets: &Secrets) -> Result<PathBuf, KeyError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", random_text(9)?));
    let temporary = PathBuf::from(name);
    let text = format(secrets)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    written.map_err(|error| cannot("written", &temporary, &error))?;
    Ok(temporary)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> Result<Secrets, ReadError> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > MAX_BYTES {
        return Err(ReadError::Problem("it is not a key file: point to another path".to_owned()));
    }
    // Asked of the opened file, so that it cannot be exchanged between check and read.
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&about) & 0o777;
        if mode & 0o077 != 0 {
            let text = format!("others may read or write it (mode {mode:04o}): run chmod 600 on it");
            return Err(ReadError::Problem(text));
        }
    }
    // Room for all of it at once: a growing buffer would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    parse(&text).map_err(ReadError::Problem)
}

fn parse(text: &[u8]) -> Result<Secrets, String> {
    // The parser's own message may quote what it read, so only its place is told.
    let file: KeyFile<'_> = serde_json::from_slice(text).map_err(|error| {
        format!("it is malformed at line {} column {}: restore it from its copy", error.line(), error.column())
    })?;
    if file.format != FORMAT {
        return Err(format!("it has format {}, this build reads {FORMAT}: use the build that wrote it", file.format));
    }
    let keys =
        file.keys.iter().map(|key| Ok((key.version, secret(key.secret)?))).collect::<Result<Vec<_>, String>>()?;
    let mut versions: Vec<u32> = keys.iter().map(|(version, _)| *version).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.is_empty() || versions.len() != keys.len() {
        return Err("it needs at least one key, and each version once: restore it from its copy".to_owned());
    }
    Ok(Secrets { keys, hash: secret(file.hash)? })
}

fn secret(text: &str) -> Result<Secret, String> {
    let mut secret = Secret::default();
    match STANDARD.decode_slice(text, secret.as_mut_slice()) {
        Ok(32) => Ok(secret),
        _ => Err("a secret in it is not 32 bytes as base64: restore it from its copy".to_owned()),
    }
}

fn format(secrets: &Secrets) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let texts: Vec<(u32, Zeroizing<String>)> =
        secrets.keys.iter().map(|(version, key)| (*version, encode(key))).collect();
    let hash = encode(&secrets.hash);
    let keys = texts.iter().map(|(version, text)| KeyEntry { version: *version, secret: text }).collect();
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize));
    serde_json::to_writer_pretty(&mut *bytes, &KeyFile { format: FORMAT, keys, hash: &hash })
        .map_err(|_| KeyError::Primitive("writing the key file's text"))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn encode(secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(secret.as_slice()))
}

enum ReadError {
    Io(io::Error),
    Problem(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl ReadError {
    fn at(self, path: &Path) -> KeyError {
        match self {
            Self::Io(error) => cannot("read", path, &error),
            Self::Problem(text) => problem(path, &text),
        }
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> KeyError {
    problem(path, &format!("it cannot be {what} ({error}): check the folder, its owner and free space"))
}

fn problem(path: &Path, problem: &str) -> KeyError {
    KeyError::File { path: path.display().to_string(), problem: problem.to_owned() }
}
