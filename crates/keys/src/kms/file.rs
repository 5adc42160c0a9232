//! The file provider: key-encryption keys as JSON in a file that only its owner reads, made at the first start.
//!
//! A file is never changed in place: temporary file, sync, then a rename, then a sync of the folder, so that
//! a crash leaves the old file or the new one. A lost key file makes everything sealed unreadable: back it up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convizit_model::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::private_file::{self, ReadError};
use super::{Binding, Kek, KeyProvider, Later, Wrapped};
use crate::envelope::{DataKey, Owner, Place};
use crate::random::{random_bytes, random_text};
use crate::{KeyError, Secret};

/// The form of the file that this build reads and writes.
const FORMAT: u32 = 2;
/// A key file of this many bytes is none (one of 100 keys has 12 KiB).
const MAX_BYTES: usize = 64 * 1024;

/// Keys in a file.
#[derive(Debug)]
pub(super) struct FileProvider {
    path: PathBuf,
}

/// What the file holds.
#[derive(Default)]
struct FileKeys {
    installation: Option<String>,
    /// Newest first.
    keys: Vec<FileKey>,
}

/// One version.
struct FileKey {
    id: String,
    made: Timestamp,
    secret: Secret,
}

/// Texts are borrowed from the wiped buffer, so that no copy of a secret stays behind.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    format: u32,
    /// The id of the installation whose keys they are; none until its first start has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    installation: Option<&'a str>,
    /// Newest first.
    #[serde(borrow)]
    keys: Vec<KeyEntry<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry<'a> {
    id: &'a str,
    made: Timestamp,
    secret: &'a str,
}

impl FileProvider {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn read(&self) -> Result<FileKeys, KeyError> {
        match read(&self.path) {
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(FileKeys::default()),
            other => other.map_err(|error| error.of(named(&self.path))),
        }
    }

    fn claim(&self, installation: &[u8; 16]) -> Result<(), KeyError> {
        let own: String = installation.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_own = |file: &FileKeys| match &file.installation {
            Some(of) if *of == own => Ok(true),
            Some(_) => Err(problem(
                &self.path,
                "it is of another installation, which would lose its keys when this one rotates: give this one a file of its own, or, \
                 where it is a copy for this one, take the line \"installation\" out of it. Where control.db (or the PostgreSQL database) has \
                 lost what was in it, restore that from a backup",
            )),
            None => Ok(file.keys.is_empty()),
        };
        if is_own(&self.read()?)? {
            return Ok(());
        }
        let Ok(_alone) = lock_folder(&self.path) else { return Ok(()) };
        let mut file = self.read()?;
        if is_own(&file)? {
            return Ok(());
        }
        file.installation = Some(own);
        // A file that cannot be written now is read all the same.
        write_beside(&self.path, &file).and_then(|new| replace(&new, &self.path)).ok();
        Ok(())
    }

    fn wrap(&self, binding: &Binding, secret: &Secret) -> Result<Wrapped, KeyError> {
        let FileKeys { keys, .. } = self.read()?;
        let key = keys.first().ok_or_else(|| problem(&self.path, "there is no such file, or it holds no key"))?;
        let row = binding.to_string();
        let bytes = cipher(key, binding)?.seal(place(&row), secret.as_slice())?;
        Ok(Wrapped { kek: key.id.clone(), bytes })
    }

    fn unwrap(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, KeyError> {
        let gone = |what: String| KeyError::Unwrap { kek: wrapped.kek.clone(), problem: what };
        let FileKeys { keys, .. } = self.read()?;
        let key = keys.iter().find(|key| key.id == wrapped.kek).ok_or_else(|| {
            gone(format!("it is not in the key file {}, which may be of before a rotation or of another installation: restore the file that holds it, or control.db where that names a wrong one", self.path.display()))
        })?;
        let row = binding.to_string();
        let opened = cipher(key, binding)?.open(place(&row), &wrapped.bytes).map(Zeroizing::new).map_err(|_| {
            gone(format!("what it wrapped for {binding} was changed or moved: restore the database from a backup"))
        })?;
        let mut secret = Secret::default();
        if opened.len() != secret.len() {
            return Err(gone(format!("what it wrapped for {binding} is no key")));
        }
        secret.copy_from_slice(&opened);
        Ok(secret)
    }

    fn rotate(&self, now: Timestamp) -> Result<Kek, KeyError> {
        let first = self.read()?.keys.is_empty();
        let _alone = lock_folder(&self.path)?;
        let mut file = self.read()?;
        // When several processes start at once, all end with the key that came first.
        if !first || file.keys.is_empty() {
            let id: String = random_bytes::<6>()?.iter().map(|byte| format!("{byte:02x}")).collect();
            file.keys.insert(0, FileKey { id: format!("file:{id}"), made: now, secret: random_bytes()? });
            replace(&write_beside(&self.path, &file)?, &self.path)?;
        }
        file.keys.into_iter().next().map(Kek::from).ok_or_else(|| problem(&self.path, "it holds no key"))
    }

    fn destroy(&self, id: &str) -> Result<(), KeyError> {
        let _alone = lock_folder(&self.path)?;
        let mut file = self.read()?;
        let keys = &mut file.keys;
        if keys.first().is_some_and(|key| key.id == id) {
            return Err(problem(&self.path, "its newest key is in use: rotate first"));
        }
        let before = keys.len();
        keys.retain(|key| key.id != id);
        if keys.len() == before {
            return Err(problem(&self.path, &format!("it holds no key {id}")));
        }
        replace(&write_beside(&self.path, &file)?, &self.path)
    }

    /// File work apart from the async threads' own time would need a runtime; these files have a page, and are asked rarely.
    fn done<'a, T: Send + 'a>(result: Result<T, KeyError>) -> Later<'a, T> {
        Box::pin(std::future::ready(result))
    }
}

impl KeyProvider for FileProvider {
    fn name(&self) -> &'static str {
        "file"
    }

    fn versions(&self) -> Later<'_, Vec<Kek>> {
        Self::done(self.read().map(|file| file.keys.into_iter().map(Kek::from).collect()))
    }

    fn wrap<'a>(&'a self, binding: &'a Binding, secret: &'a Secret) -> Later<'a, Wrapped> {
        Self::done(self.wrap(binding, secret))
    }

    fn unwrap<'a>(&'a self, binding: &'a Binding, wrapped: &'a Wrapped) -> Later<'a, Secret> {
        Self::done(self.unwrap(binding, wrapped))
    }

    fn rotate(&self, now: Timestamp) -> Later<'_, Kek> {
        Self::done(self.rotate(now))
    }

    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        Self::done(self.destroy(id))
    }

    fn owner(&self) -> Later<'_, Option<String>> {
        Self::done(self.read().map(|file| file.installation))
    }

    fn claim<'a>(&'a self, installation: &'a [u8; 16]) -> Later<'a, ()> {
        Self::done(self.claim(installation))
    }
}

impl From<FileKey> for Kek {
    fn from(key: FileKey) -> Self {
        Self { id: key.id, made: Some(key.made) }
    }
}

fn cipher(key: &FileKey, binding: &Binding) -> Result<DataKey, KeyError> {
    DataKey::of_secret(Owner { installation: binding.installation, project: binding.project }, &key.secret)
}

fn place(row: &str) -> Place<'_> {
    Place { table: "keys", purpose: "wrapped", row: row.as_bytes() }
}

/// Writes and syncs a temporary file in the same folder, mode 0600 from its first moment.
fn write_beside(path: &Path, keys: &FileKeys) -> Result<PathBuf, KeyError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", random_text(9)?));
    let temporary = PathBuf::from(name);
    let text = format(keys)?;
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

fn replace(temporary: &Path, path: &Path) -> Result<(), KeyError> {
    fs::rename(temporary, path).and_then(|()| sync_folder(path)).map_err(|error| cannot("replaced", path, &error))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    folder(path)?.sync_all()
}

/// Until this is dropped, no other process changes the file: without that, one would put back what another has just replaced,
/// and lose its key. The folder's, since the file itself is replaced.
fn lock_folder(path: &Path) -> Result<File, KeyError> {
    let locked = folder(path).and_then(|folder| folder.lock().map(|()| folder));
    locked.map_err(|error| cannot("changed", path, &error))
}

fn folder(path: &Path) -> io::Result<File> {
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

fn read(path: &Path) -> Result<FileKeys, ReadError> {
    parse(&private_file::read(path, MAX_BYTES)?).map_err(ReadError::Problem)
}

fn parse(text: &[u8]) -> Result<FileKeys, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    // The parser's own message may quote what it read, so only its place is told.
    let malformed = |error: serde_json::Error| {
        format!("it is malformed at line {} column {}: restore it from its copy", error.line(), error.column())
    };
    let Format { format } = serde_json::from_slice(text).map_err(malformed)?;
    if format != FORMAT {
        return Err(format!("it has format {format}, this build reads {FORMAT}: use the build that wrote it"));
    }
    let file: KeyFile<'_> = serde_json::from_slice(text).map_err(malformed)?;
    let keys = file
        .keys
        .iter()
        .map(|key| Ok(FileKey { id: key.id.to_owned(), made: key.made, secret: secret(key.secret)? }))
        .collect::<Result<Vec<_>, String>>()?;
    let mut ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() || ids.len() != keys.len() {
        return Err("it needs at least one key, and each id once: restore it from its copy".to_owned());
    }
    Ok(FileKeys { installation: file.installation.map(str::to_owned), keys })
}

fn secret(text: &str) -> Result<Secret, String> {
    let mut secret = Secret::default();
    match STANDARD.decode_slice(text, secret.as_mut_slice()) {
        Ok(32) => Ok(secret),
        _ => Err("a secret in it is not 32 bytes as base64: restore it from its copy".to_owned()),
    }
}

fn format(file: &FileKeys) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let texts: Vec<Zeroizing<String>> =
        file.keys.iter().map(|key| Zeroizing::new(STANDARD.encode(key.secret.as_slice()))).collect();
    let keys = file
        .keys
        .iter()
        .zip(&texts)
        .map(|(key, secret)| KeyEntry { id: &key.id, made: key.made, secret: secret.as_str() })
        .collect();
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    serde_json::to_writer_pretty(
        &mut *bytes,
        &KeyFile { format: FORMAT, installation: file.installation.as_deref(), keys },
    )
    .map_err(|_| KeyError::Primitive("writing the key file's text"))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> KeyError {
    let then = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "its disk is full, and the keys are as they were: make room on it, then try again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "its disk is mounted read-only, and the keys are as they were: mount it to be written"
        }
        _ => "check the folder, its owner and free space",
    };
    problem(path, &format!("it cannot be {what} ({error}): {then}"))
}

fn problem(path: &Path, problem: &str) -> KeyError {
    KeyError::Provider { provider: named(path), problem: problem.to_owned() }
}

fn named(path: &Path) -> String {
    format!("key file {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_no_key_is_told_with_what_to_do() {
        for (kind, said) in [
            (io::ErrorKind::StorageFull, "its disk is full, and the keys are as they were: make room"),
            (io::ErrorKind::ReadOnlyFilesystem, "mounted read-only"),
            (io::ErrorKind::PermissionDenied, "its owner"),
        ] {
            let text = cannot("written", Path::new("/etc/convizit/keys"), &io::Error::from(kind)).to_string();
            assert!(text.contains("/etc/convizit/keys") && text.contains(said), "{text}");
        }
    }
}
