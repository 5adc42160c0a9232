//! The high-water mark: outside the database, how far the journal had come, at most about a second ago.
//!
//! SQLite ends its write-ahead log silently at the first damaged frame, and what stood behind it is gone without any
//! error. A journal that ends before its mark has lost acknowledged batches, and the start refuses to hide that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use convizit_keys::KeyRing;

use super::batch::Link;
use crate::StoreError;

/// The file's name in the data folder.
pub(super) const NAME: &str = "journal.mark";
/// What a person writes into the file to go on without the batches that are lost.
pub(super) const ACCEPT: &str = "accept";

const HEAD: &str = "convizit-journal-mark 1";

/// What the mark says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// There is no file.
    Absent,
    /// A person accepts what is lost.
    Accepted,
    /// The journal had come to this batch.
    At(Link),
}

/// Reads the mark.
pub(super) fn read(folder: &Path, keys: &KeyRing) -> Result<Mark, StoreError> {
    let text = match fs::read_to_string(folder.join(NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Mark::Absent),
        Err(error) => return Err(StoreError::Unusable(format!("{NAME} cannot be read ({error})"))),
    };
    if text.trim() == ACCEPT {
        return Ok(Mark::Accepted);
    }
    parse(&text).filter(|link| write_text(*link, keys) == text).map(Mark::At).ok_or_else(|| {
        StoreError::Unusable(format!(
            "{NAME} is damaged or belongs to another key file: restore both from their copies, \
             or write the word {ACCEPT} into it to trust the journal as it stands"
        ))
    })
}

/// Writes the mark: temporary file, sync, rename, sync of the folder.
pub(super) fn write(folder: &Path, keys: &KeyRing, link: Link) -> io::Result<()> {
    let temporary = folder.join(format!("{NAME}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(write_text(link, keys).as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

fn write_text(link: Link, keys: &KeyRing) -> String {
    let said = format!("{HEAD} {} {:032x}", link.offset, u128::from_be_bytes(link.tag));
    let mac = keys.mac("journal mark", said.as_bytes());
    let seal = mac.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    format!("{said} {seal:032x}\n")
}

fn parse(text: &str) -> Option<Link> {
    let mut parts = text.strip_prefix(HEAD)?.split_ascii_whitespace();
    let offset = parts.next()?.parse().ok()?;
    let tag = u128::from_str_radix(parts.next()?, 16).ok()?.to_be_bytes();
    Some(Link { offset, tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_any_changed_bit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, keys) = (folder.path(), KeyRing::ephemeral().unwrap());
        assert_eq!(read(folder, &keys).unwrap(), Mark::Absent);
        let link = Link { offset: 4711, tag: [9; 16] };
        write(folder, &keys, link).unwrap();
        assert_eq!(read(folder, &keys).unwrap(), Mark::At(link));
        assert!(read(folder, &KeyRing::ephemeral().unwrap()).is_err(), "another key file");
        let good = fs::read(folder.join(NAME)).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                fs::write(folder.join(NAME), changed).unwrap();
                assert!(read(folder, &keys).is_err(), "byte {at} bit {bit}");
            }
            fs::write(folder.join(NAME), &good[..at]).unwrap();
            assert!(read(folder, &keys).is_err(), "cut at {at}");
        }
        fs::write(folder.join(NAME), "accept\n").unwrap();
        assert_eq!(read(folder, &keys).unwrap(), Mark::Accepted);
    }
}
