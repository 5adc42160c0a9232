//! The disk of a data folder in words: what is free on it, and what an engine's error about a disk or a file means and wants.

use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use convizit_model::NoticeKind;

use crate::Store;
use crate::error::StoreError;

/// What the notice of a disk that is nearly full is about.
const SUBJECT: &str = "data folder";
/// With less than this an engine that cannot write is out of space, whatever it calls it.
const NOTHING: u64 = 1 << 20;
/// A disk with less free than this share of it is nearly full, at most so many bytes.
const SHARE: u64 = 20;
const ENOUGH: u64 = 2_000_000_000;

/// Bytes as a person reads them.
#[must_use]
pub fn bytes_in_words(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// The disk that something lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpace {
    /// Where it is mounted.
    pub at: PathBuf,
    /// Bytes that an ordinary user may still write.
    pub free: u64,
    /// Bytes of all of it.
    pub size: u64,
}

impl DiskSpace {
    /// The disk of a file or folder, or of the nearest folder above it that there is.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub fn of(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let disk = statvfs(there)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok(Self { at: mounted(there)?, free: bytes(disk.f_bavail), size: bytes(disk.f_blocks) })
    }

    /// Below how many free bytes it is nearly full, where the collector leaves so many to the rest of the program: well above them,
    /// so that there is time to make room.
    #[must_use]
    pub fn scarce(&self, reserve: u64) -> u64 {
        reserve.saturating_mul(4).max((self.size / SHARE).min(ENOUGH))
    }

    /// What is free, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!(
            "the disk mounted at {} has {} of {} free",
            self.at.display(),
            bytes_in_words(self.free),
            bytes_in_words(self.size)
        )
    }
}

/// Bytes that an ordinary user may still write in a folder.
pub(crate) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Where the kernel says what is mounted for this process.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The mount that a path lies in, which may be of a single file or of a folder of the same disk; where the kernel does not say, the
/// highest folder of the same disk.
fn mounted(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    // A link may lead to another disk.
    let path = path.canonicalize()?;
    if let Some(at) = std::fs::read(MOUNTS).ok().and_then(|mounts| mount_of(&mounts, &path)) {
        return Ok(at);
    }
    let disk = path.metadata()?.dev();
    let same = path.ancestors().take_while(|above| above.metadata().is_ok_and(|above| above.dev() == disk));
    Ok(same.last().unwrap_or(&path).to_owned())
}

/// Of the mounts that are listed the nearest above a path, or at it.
fn mount_of(mounts: &[u8], path: &Path) -> Option<PathBuf> {
    let points = mounts.split(|byte| *byte == b'\n').filter_map(|line| {
        let point = unescaped(line.split(|byte| *byte == b' ').nth(4)?);
        Some(PathBuf::from(std::ffi::OsString::from_vec(point)))
    });
    points.filter(|point| path.starts_with(point)).max_by_key(|point| point.as_os_str().len())
}

/// Blanks, tabs, line ends and backslashes stand as `\040` in the list.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let digits = if *first == b'\\' { rest.get(..3) } else { None };
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.unwrap_or(*first));
        text = code.and_then(|_| rest.get(3..)).unwrap_or(rest);
    }
    plain
}

/// Says in words what an engine's error about the disk of a file means: it is full, mounted read-only, or the file or its folder is
/// not this user's. Other errors stay as they are.
pub(crate) fn in_words(error: StoreError, file: &Path) -> StoreError {
    let StoreError::Database { action, problem } = error else { return error };
    let says = |word: &str| problem.contains(word);
    let is_out = || DiskSpace::of(file).is_ok_and(|disk| disk.free < NOTHING);
    // An engine maps files into memory, too, and calls it otherwise when there is no room for that.
    let is_full = says("database or disk is full")
        || says("No space left on device")
        || ((says("disk I/O error") || says("unable to open database file")) && is_out());
    let problem = if is_full {
        full(file)
    } else if says("readonly database") || says("unable to open database file") {
        if file.is_dir() {
            format!("{} cannot be opened: it is a folder, where a file belongs; move it away", file.display())
        } else {
            refused(file, &problem)
        }
    } else {
        problem
    };
    StoreError::Database { action, problem }
}

/// The same for the system's own errors; others are named with the file.
pub(crate) fn io_in_words(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(path),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => refused(path, &error.to_string()),
        _ => format!("{}: {error}", path.display()),
    }
}

fn full(path: &Path) -> String {
    let Ok(disk) = DiskSpace::of(path) else {
        return format!("the disk of {} is full: nothing was written; make room on it, then try again", path.display());
    };
    let quota = if disk.free > NOTHING { ", or a quota on it is used up" } else { "" };
    format!(
        "the disk is full, so {} cannot be written: {}{quota}. Nothing was written; make room on that disk, then try again",
        path.display(),
        disk.in_words()
    )
}

/// Why a file cannot be opened or written, as far as it can be seen without opening it: a second descriptor that is closed would
/// take an engine's locks with it.
fn refused(path: &Path, said: &str) -> String {
    let above = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = if path.is_dir() { path } else { above };
    let cannot = format!("{} cannot be opened or written", path.display());
    let is_read_only = |at: &Path| statvfs(at).is_ok_and(|disk| disk.f_flag.contains(StatVfsMountFlags::RDONLY));
    // A file may be mounted by itself.
    if let Some(at) = [path, folder].into_iter().find(|at| is_read_only(at)) {
        let at = mounted(at).unwrap_or_else(|_| at.to_owned());
        return format!(
            "{cannot}: its disk, mounted at {}, is read-only; mount it to be written, and look into the system's log for why it is not",
            at.display()
        );
    }
    if access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return format!("{cannot}: {}", not_ours(folder, ("u+rwx", 0o700)));
    }
    let beside = ["", "-wal", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    });
    let locked = beside.iter().find(|file| file.exists() && access(*file, Access::READ_OK | Access::WRITE_OK).is_err());
    match locked {
        Some(file) => format!("{cannot}: {}", not_ours(file, ("u+rw", 0o600))),
        None => format!(
            "{cannot} ({said}): look with ls -ld at owner and mode of it and of its folder, and at how many files this user may open (ulimit -n)"
        ),
    }
}

fn not_ours(path: &Path, (mode, wanted): (&str, u32)) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::geteuid().as_raw();
    let Ok(about) = path.metadata() else {
        return format!("{} is not there, or user {me} may not look at it", path.display());
    };
    let (owner, bits) = (about.uid(), about.mode() & 0o7777);
    let what = if owner == me && bits & wanted == wanted {
        let link = if path.is_dir() { "lsattr -d" } else { "lsattr" };
        format!(
            "which the mode allows: look with {link} whether it is immutable (chattr -i ends that), and into the system's log"
        )
    } else if owner == me {
        format!("chmod {mode} it")
    } else {
        format!("run convizit as user {owner}, or give it to user {me} with chown")
    };
    format!(
        "{} belongs to user {owner} with mode {bits:04o}, and this program runs as user {me}; {what}",
        path.display()
    )
}

impl Store {
    /// The disk of the data folder, and below how many free bytes it is nearly full.
    async fn disk(&self) -> Result<(DiskSpace, u64), StoreError> {
        const NAME: &str = "look at the disk";
        let failed = |problem: String| StoreError::Database { action: NAME, problem };
        let folder = self.0.folder.clone();
        let found = tokio::task::spawn_blocking(move || DiskSpace::of(&folder)).await;
        let found = found.map_err(|error| failed(error.to_string()))?;
        let disk = found.map_err(|error| failed(io_in_words(&self.0.folder, &error)))?;
        let scarce = disk.scarce(self.0.reserve_bytes);
        Ok((disk, scarce))
    }

    /// What to say of the data folder's disk while it is nearly full.
    ///
    /// # Errors
    /// `Database` when it cannot be asked.
    pub async fn scarce_disk(&self) -> Result<Option<String>, StoreError> {
        let (disk, scarce) = self.disk().await?;
        Ok((disk.free < scarce).then(|| self.scarce_in_words(&disk)))
    }

    fn scarce_in_words(&self, disk: &DiskSpace) -> String {
        format!(
            "the disk of the data folder {} is nearly full: {}; with less than {} free nothing is taken from browsers, which keep it and try \
             again. Make room on it, or move the folder to a larger one",
            self.0.folder.display(),
            disk.in_words(),
            bytes_in_words(self.0.reserve_bytes)
        )
    }

    /// Raises the notice of a disk that is nearly full while there is room for it, and resolves it when a quarter more is free again.
    pub(crate) async fn look_at_the_disk(&self) -> Result<(), StoreError> {
        let (disk, scarce) = self.disk().await?;
        let is_scarce = disk.free < scarce;
        if !is_scarce && disk.free < scarce.saturating_add(scarce / 4) {
            return Ok(());
        }
        if *self.0.scarce.lock().unwrap_or_else(PoisonError::into_inner) == Some(is_scarce) {
            return Ok(());
        }
        if is_scarce {
            self.raise_once(NoticeKind::Disk, None, SUBJECT, &self.scarce_in_words(&disk)).await?;
        } else if self.open_notice(NoticeKind::Disk, SUBJECT).await?.is_some() {
            self.resolve_notice(NoticeKind::Disk, None, SUBJECT).await?;
        }
        *self.0.scarce.lock().unwrap_or_else(PoisonError::into_inner) = Some(is_scarce);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(problem: &str) -> StoreError {
        StoreError::Database { action: "make token", problem: problem.to_owned() }
    }

    #[test]
    fn a_full_disk_is_named_with_what_is_free_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control.db");
        let said = "error returned from database: (code: 13) database or disk is full (13)";
        let text = in_words(database(said), &file).to_string();
        let disk = DiskSpace::of(&file).unwrap();
        assert!(folder.path().canonicalize().unwrap().starts_with(&disk.at), "{disk:?}");
        for part in [
            "make token: ",
            &file.display().to_string(),
            &format!("mounted at {}", disk.at.display()),
            "free",
            "Nothing was written; make room",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("code"), "{text}");
        // Once is enough.
        assert_eq!(in_words(in_words(database(said), &file), &file).to_string(), text);
        let error = io::Error::from(ErrorKind::StorageFull);
        assert!(io_in_words(&file, &error).contains("make room"));
    }

    #[test]
    fn a_file_that_may_not_be_written_is_named_with_its_owner_and_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.db");
        std::fs::write(&file, "x").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
        let text = not_ours(&file, ("u+rw", 0o600));
        let me = rustix::process::geteuid().as_raw();
        assert!(text.contains(&format!("belongs to user {me} with mode 0400")), "{text}");
        assert!(text.contains("chmod u+rw"), "{text}");
        // What it has already is not what is missing.
        let text = not_ours(folder.path(), ("u+rwx", 0o700));
        assert!(text.contains("lsattr -d") && !text.contains("chmod"), "{text}");
        let said = "error returned from database: (code: 8) attempt to write a readonly database (8)";
        let text = in_words(database(said), &file).to_string();
        assert!(text.contains(&format!("{} cannot be opened or written", file.display())), "{text}");
        // Root may write whatever the mode says; what is seen then is said.
        assert!(text.contains("mode 0400") || text.contains("ls -ld"), "{text}");
        assert!(in_words(database(said), folder.path()).to_string().contains("is a folder"));
        let error = io::Error::from(ErrorKind::PermissionDenied);
        let text = io_in_words(folder.path(), &error);
        assert!(text.starts_with(&format!("{} cannot be opened or written", folder.path().display())), "{text}");
    }

    #[test]
    fn the_mount_of_a_file_is_the_nearest_one_also_of_the_same_disk() {
        let mounts = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            40 22 8:1 /srv/data /var/lib/convizit ro - ext4 /dev/sda1 rw\n\
            41 40 8:1 /x /var/lib/convizit/my\\040data/data.db ro - ext4 /dev/sda1 rw\n\n";
        let of = |path: &str| mount_of(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/var/lib/convizit/control.db"), Path::new("/var/lib/convizit"));
        assert_eq!(of("/var/lib/convizit/my data/data.db"), Path::new("/var/lib/convizit/my data/data.db"));
        assert_eq!(of("/var/lib/convizit-2/control.db"), Path::new("/"));
        assert_eq!(mount_of(b"", Path::new("/")), None);
        assert_eq!(unescaped(br"a\b\0"), br"a\b\0");
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let text = in_words(database("UNIQUE constraint failed: projects.id (1555)"), Path::new("/")).to_string();
        assert_eq!(text, "make token: UNIQUE constraint failed: projects.id (1555)");
    }

    #[test]
    fn a_disk_is_nearly_full_well_before_the_reserve() {
        let disk = |size| DiskSpace { at: PathBuf::from("/"), free: 0, size };
        assert_eq!(disk(10_000_000_000).scarce(64 << 20), 500_000_000);
        assert_eq!(disk(1_000_000_000_000).scarce(64 << 20), ENOUGH);
        assert_eq!(disk(1_000_000_000).scarce(64 << 20), 256 << 20);
        for (bytes, words) in [(9_999, "9999 B"), (1 << 20, "1048 kB"), (1 << 30, "1073 MB"), (1 << 36, "68 GB")] {
            assert_eq!(bytes_in_words(bytes), words);
        }
    }
}
