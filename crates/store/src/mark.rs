//! High-water marks: outside the databases, how far the journal and the audit log had come, at most about a second ago.
//!
//! SQLite ends its write-ahead log silently at the first damaged frame, and what stood behind it is gone without any
//! error. A journal that ends before its mark has lost acknowledged batches, and the start refuses to hide that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::Ordering;

use convizit_keys::KeyRing;
use convizit_model::NoticeKind;

use crate::journal::Link;
use crate::{Store, StoreError, audit, disk};

/// The journal's file in the data folder.
pub(crate) const JOURNAL: &str = "journal.mark";
/// The audit log's.
pub(crate) const AUDIT: &str = "audit.mark";

const HEAD: &str = "convizit-mark 1";

/// What the mark says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// There is no file.
    Absent,
    /// It had come to here.
    At(Link),
}

/// Reads the mark.
pub(crate) fn read(folder: &Path, name: &str, keys: &KeyRing) -> Result<Mark, StoreError> {
    let text = match fs::read_to_string(folder.join(name)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Mark::Absent),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(error) => {
            let why = disk::io_in_words(&folder.join(name), &error);
            return Err(StoreError::Unusable(format!("{name} cannot be read: {why}")));
        }
    };
    parse(&text).filter(|link| write_text(name, *link, keys) == text).map(Mark::At).ok_or_else(|| {
        StoreError::Unusable(format!(
            "{name} is damaged, or the keys in control.db (or the PostgreSQL database) are not those that it was written \
             with: restore the damaged one from its copy, or start once with --accept-gap to trust the databases as \
             they stand"
        ))
    })
}

/// Writes the mark: temporary file, sync, rename, sync of the folder.
pub(crate) fn write(folder: &Path, name: &str, keys: &KeyRing, link: Link) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(write_text(name, link, keys).as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Removes the mark: what is there from now on is trusted, and marked anew.
pub(crate) fn remove(folder: &Path, name: &str) -> Result<(), StoreError> {
    let path = folder.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let why = disk::io_in_words(&path, &error);
            Err(StoreError::Unusable(format!("{name} cannot be removed, so that it could be made anew: {why}")))
        }
        _ => Ok(()),
    }
}

/// Where the mark stands and what its entry was, where it can be read.
pub(crate) fn known(folder: &Path, name: &str, keys: &KeyRing) -> Option<Link> {
    match read(folder, name, keys) {
        Ok(Mark::At(link)) => Some(link),
        _ => None,
    }
}

/// Writes the mark where several processes do so, one after the other, and never back: a log that has lost its end must not take its
/// mark along.
pub(crate) fn advance(folder: &Path, name: &str, keys: &KeyRing, link: Link) -> io::Result<()> {
    // Not the mark itself, which is replaced.
    let alone = File::options().create(true).truncate(false).write(true).open(folder.join(format!("{name}.lock")))?;
    alone.lock()?;
    match read(folder, name, keys) {
        Ok(Mark::At(known)) if known.offset == link.offset => Ok(()),
        // Another process was quicker; a log that has lost its end is found by the next start, and by whoever verifies it.
        Ok(Mark::At(known)) if known.offset > link.offset => Ok(()),
        _ => write(folder, name, keys, link),
    }
}

impl Store {
    /// Writes the audit log's mark when the log has grown.
    pub(crate) async fn mark_audit(&self) -> Result<(), StoreError> {
        self.keyring().write_uses().await;
        let (number, chain) = audit::end(self.control()).await?;
        let number = number.cast_unsigned();
        if self.0.audit_marked.load(Ordering::Acquire) == number {
            return Ok(());
        }
        if !self.is_end_genuine(number.cast_signed(), &chain).await? {
            tracing::error!(entry = number, "the audit log's last entry was not written by this installation");
            // Said once.
            self.0.audit_marked.store(number, Ordering::Release);
            return Ok(());
        }
        // The log may have lost its end and grown again since.
        let (folder, ring) = (self.0.folder.clone(), self.ring().clone());
        let known = tokio::task::spawn_blocking(move || known(&folder, AUDIT, &ring)).await;
        if let Ok(Some(known)) = known
            && known.offset <= number
            && !audit::has_link(self.control(), known).await?
        {
            let text = format!(
                "entry {} of the audit log is not the one that {} speaks of: somebody has removed or changed entries; compare the log with a \
                 checkpoint or a backup, and start once with --accept-gap to mark it anew",
                known.offset, AUDIT
            );
            tracing::error!("{text}");
            self.raise(NoticeKind::Audit, None, "audit log", &text).await?;
            self.0.audit_marked.store(number, Ordering::Release);
            return Ok(());
        }
        // Once an hour it leaves the machine with the log, wherever that goes.
        let hour = self.clock().now().hour();
        if self.0.checkpoint_hour.swap(hour, Ordering::Relaxed) != hour {
            let checkpoint = serde_json::to_string(&self.audit_checkpoint().await?).unwrap_or_default();
            tracing::info!(checkpoint, "the audit log's end, signed");
        }
        let link = Link { offset: number, tag: chain.first_chunk().copied().unwrap_or_default() };
        let (folder, ring) = (self.0.folder.clone(), self.ring().clone());
        let written = tokio::task::spawn_blocking(move || advance(&folder, AUDIT, &ring, link));
        match written.await {
            Ok(Ok(())) => {
                self.0.audit_marked.store(number, Ordering::Release);
                Ok(())
            }
            failed => {
                let problem = match failed {
                    Ok(Err(error)) => disk::io_in_words(&self.0.folder.join(AUDIT), &error),
                    Err(error) => error.to_string(),
                    Ok(Ok(())) => String::new(),
                };
                Err(StoreError::Database { action: "mark the audit log's end", problem })
            }
        }
    }
}

fn write_text(name: &str, link: Link, keys: &KeyRing) -> String {
    let said = format!("{HEAD} {} {:032x}", link.offset, u128::from_be_bytes(link.tag));
    let mac = keys.mac(name, said.as_bytes());
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
    fn many_processes_write_one_mark_and_it_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, keys) = (folder.path(), KeyRing::ephemeral().unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let keys = &keys;
                scope.spawn(move || {
                    for n in 0..50 {
                        advance(folder, AUDIT, keys, Link { offset: 1 + n * 4 + thread, tag: [1; 16] }).unwrap();
                    }
                });
            }
        });
        assert_eq!(read(folder, AUDIT, &keys).unwrap(), Mark::At(Link { offset: 200, tag: [1; 16] }));
    }

    #[test]
    fn a_mark_reads_back_and_any_changed_bit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, keys) = (folder.path(), KeyRing::ephemeral().unwrap());
        assert_eq!(read(folder, JOURNAL, &keys).unwrap(), Mark::Absent);
        let link = Link { offset: 4711, tag: [9; 16] };
        write(folder, JOURNAL, &keys, link).unwrap();
        assert_eq!(read(folder, JOURNAL, &keys).unwrap(), Mark::At(link));
        assert!(read(folder, JOURNAL, &KeyRing::ephemeral().unwrap()).is_err(), "another key file");
        let good = fs::read(folder.join(JOURNAL)).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                fs::write(folder.join(JOURNAL), changed).unwrap();
                assert!(read(folder, JOURNAL, &keys).is_err(), "byte {at} bit {bit}");
            }
            fs::write(folder.join(JOURNAL), &good[..at]).unwrap();
            assert!(read(folder, JOURNAL, &keys).is_err(), "cut at {at}");
        }
        fs::write(folder.join(AUDIT), good).unwrap();
        assert!(read(folder, AUDIT, &keys).is_err(), "of another mark");
    }
}
