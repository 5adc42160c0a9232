//! Reads a small file that only its owner may read: a key file, a PIN, a token, another secret that a person keeps in a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::KeyError;

/// Why a file was not read.
pub(super) enum ReadError {
    Io(io::Error),
    Problem(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl ReadError {
    /// As the error of a provider.
    pub(super) fn of(self, provider: String) -> KeyError {
        let problem = match self {
            Self::Io(error) => format!("it cannot be read ({error}): check the folder, its owner and free space"),
            Self::Problem(text) => text,
        };
        KeyError::Provider { provider, problem }
    }
}

/// A file with a secret of more bytes is none: the largest is a service account's, of 3 KiB.
const SECRET_BYTES: usize = 64 * 1024;

/// The secret in a file that a person named, without the white space around it. A pipe of their shell's will do, too.
///
/// # Errors
/// When it cannot be read, is no text of at most 64 KiB, or others than its owner may read or write it.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let read = File::open(path).map_err(ReadError::Io).and_then(|file| {
        let about = file.metadata()?;
        read_opened(file, SECRET_BYTES, about.is_file() || about.file_type().is_fifo())
    });
    let text = read.and_then(|bytes| match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.trim().to_owned())),
        Err(_) => Err(ReadError::Problem("it is no text: write the secret into it, and nothing else".to_owned())),
    });
    text.map_err(|error| error.of(path.display().to_string()))
}

/// The bytes of a file of at most `max` bytes that nobody else may read or write.
pub(super) fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let file = File::open(path)?;
    let is_file = file.metadata()?.is_file();
    read_opened(file, max, is_file)
}

fn read_opened(file: File, max: usize, is_of_kind: bool) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let about = file.metadata()?;
    let other = || ReadError::Problem(format!("it is no file of at most {max} bytes: point to another path"));
    if !is_of_kind || about.len() > max as u64 {
        return Err(other());
    }
    // Asked of the opened file, so that it cannot be exchanged between check and read.
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        let text = format!("others may read or write it (mode {mode:04o}): run chmod 600 on it");
        return Err(ReadError::Problem(text));
    }
    // Room for all of it at once: a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    // A pipe does not say before how much comes.
    if bytes.len() > max {
        return Err(other());
    }
    Ok(bytes)
}

/// The one line of such a file, without its end.
#[cfg(any(feature = "pkcs11", feature = "vault-transit"))]
pub(super) fn read_line(path: &Path, max: usize) -> Result<Zeroizing<String>, ReadError> {
    let bytes = read(path, max)?;
    match std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n'])) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => Ok(Zeroizing::new(text.to_owned())),
        _ => {
            Err(ReadError::Problem("it is not one line of text: write the secret into it, and nothing else".to_owned()))
        }
    }
}
