//! Reads a small file that only its owner may read: a key file, a PIN, a token.

use std::fs::File;
use std::io::{self, Read as _};
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

/// The bytes of a file of at most `max` bytes that nobody else may read or write.
pub(super) fn read(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, ReadError> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > max as u64 {
        return Err(ReadError::Problem(format!("it is no file of at most {max} bytes: point to another path")));
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
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    file.take(max as u64).read_to_end(&mut bytes)?;
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
