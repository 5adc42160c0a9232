//! Users of the operating system: who is behind a command, and whose the data folder is, so that root leaves nothing in it that its
//! service cannot read.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::process::{geteuid, getuid};

/// What Linux says of a process that nobody has logged in for, such as in a container.
const NO_LOGIN: u32 = u32::MAX;
/// Files that show whose an installation is where its folder does not; the first of them is made by every installation.
const DATABASES: [&str; 3] = ["journal.db", "control.db", "data.db"];
/// What commands read of their environment, which sudo would keep from them.
const ENVIRONMENT: [&str; 2] = ["CONVIZIT_", "AWS_"];

/// Whoever runs the command, for the audit log: `os:anna(1001)`, or `os:anna(1001) as root(0)` where it runs with the rights of another.
pub(crate) fn person() -> String {
    let users = users();
    let runs = getuid().as_raw();
    actor(login().unwrap_or(runs), runs, |uid| name_of(&users, uid))
}

/// The same for a second word of somebody else: it says where no login is known, so that all are the one user who runs the command.
pub(crate) fn person_or_no_login() -> String {
    let marked = if login().is_some() { "" } else { convizit_store::NO_LOGIN };
    person() + marked
}

fn actor(behind: u32, runs: u32, name: impl Fn(u32) -> Option<String>) -> String {
    let shown = |uid: u32| format!("{}({uid})", name(uid).unwrap_or_else(|| uid.to_string()));
    if behind == runs { format!("os:{}", shown(behind)) } else { format!("os:{} as {}", shown(behind), shown(runs)) }
}

/// Who has logged in: the kernel's word, which sudo and su do not change, or where it has none, sudo's.
fn login() -> Option<u32> {
    let known = |text: &str| text.trim().parse().ok().filter(|uid| *uid != NO_LOGIN);
    let of_kernel = std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| known(&text));
    of_kernel.or_else(|| std::env::var("SUDO_UID").ok().and_then(|text| known(&text)))
}

fn users() -> String {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default()
}

fn name_of(users: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// Refuses what root would write into another user's installation: databases, marks, keys and copies would be root's, and the service,
/// which runs as that user, could not read them. Not mended by giving them away: SQLite makes files at moments of its own.
pub(crate) fn refuse_root_of_another(data: &Path) -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let mut looked: Vec<PathBuf> = vec![data.to_owned()];
    looked.extend(DATABASES.map(|file| data.join(file)));
    match looked.iter().find_map(|path| other_owner(path)) {
        Some(uid) => bail!(
            "the data folder {} is of the user {}, whose service could not read what root writes there: {}; where the service itself runs \
             as root, chown -R root {0} first",
            data.display(),
            shown(uid),
            as_user(uid)
        ),
        None => Ok(()),
    }
}

/// As above, before an installation is made: also where its folder is missing and would be root's within a folder of another user.
pub(crate) fn refuse_root_within_another(data: &Path) -> Result<()> {
    refuse_root_of_another(data)?;
    if !geteuid().is_root() || data.exists() {
        return Ok(());
    }
    let whole = std::path::absolute(data)?;
    let above = whole.ancestors().find(|folder| folder.exists());
    match above.and_then(|above| other_owner(above).map(|uid| (above, uid))) {
        Some((above, uid)) => bail!(
            "the data folder {} would be made within {}, which is of the user {}, whose service could not read what root writes there: {}; \
             where the service itself runs as root, make the folder first",
            data.display(),
            above.display(),
            shown(uid),
            as_user(uid)
        ),
        None => Ok(()),
    }
}

/// The first file of another owner than the databases in its folder, or where none is there than the folder itself, with what to do;
/// `None` where all are of one user. What an operating system puts at the root of a disk is no matter.
pub(crate) fn file_of_another(folders: &[PathBuf]) -> Option<String> {
    let owner = |path: &Path| std::fs::symlink_metadata(path).map(|about| about.uid()).ok();
    folders.iter().find_map(|folder| {
        // A folder that root made for a service may be root's for good; what the service has written there is the service's.
        let database = DATABASES.iter().find_map(|file| Some((*file, owner(&folder.join(file))?)));
        let (whose, own) = match database {
            Some((file, uid)) => (file, uid),
            None => ("its folder", owner(folder)?),
        };
        let entries = std::fs::read_dir(folder).ok()?;
        let other = entries.flatten().find_map(|entry| {
            let uid = owner(&entry.path()).filter(|uid| *uid != own)?;
            (entry.file_name() != "lost+found").then(|| (entry.path(), uid))
        });
        other.map(|(path, uid)| {
            format!(
                "{} is of the user {}, and {whose} of {}, whose service may not be able to read it: chown -R {} {} as root, and run commands as that \
                 user",
                path.display(),
                shown(uid),
                shown(own),
                shown(own),
                folder.display()
            )
        })
    })
}

/// The owner of a path, where that is not root.
fn other_owner(path: &Path) -> Option<u32> {
    std::fs::metadata(path).map(|about| about.uid()).ok().filter(|uid| *uid != 0)
}

fn shown(uid: u32) -> String {
    name_of(&users(), uid).unwrap_or_else(|| uid.to_string())
}

/// The line that runs a command as this user, with what it reads of its environment.
fn as_user(uid: u32) -> String {
    let user = name_of(&users(), uid).unwrap_or_else(|| format!("'#{uid}'"));
    let kept: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| ENVIRONMENT.iter().any(|head| name.starts_with(head)))
        .collect();
    let keep = if kept.is_empty() { String::new() } else { format!("--preserve-env={} ", kept.join(",")) };
    format!("run it as that user: sudo {keep}-u {user} convizit …")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_a_command_is_named_with_number_and_with_whose_rights_it_runs() {
        let users = "root:x:0:0:root:/root:/bin/bash\nanna:x:1001:1001::/home/anna:/bin/sh\n";
        let said = |behind, runs| actor(behind, runs, |uid| name_of(users, uid));
        assert_eq!(said(0, 0), "os:root(0)");
        assert_eq!(said(1001, 0), "os:anna(1001) as root(0)");
        assert_eq!(said(1001, 998), "os:anna(1001) as 998(998)");
    }

    #[test]
    fn a_file_of_another_user_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned(), folder.path().join("missing")];
        std::fs::write(folder.path().join("audit.mark"), "a mark").unwrap();
        assert_eq!(file_of_another(&folders), None);
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root may give a file to another user");
            return;
        }
        std::os::unix::fs::chown(folder.path().join("audit.mark"), Some(65_534), None).unwrap();
        let told = file_of_another(&folders).unwrap();
        assert!(told.contains("audit.mark is of the user ") && told.contains("chown -R root "), "{told}");
    }

    #[test]
    fn the_databases_say_whose_a_folder_is_that_root_has_made() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root may give a file to another user");
            return;
        }
        for file in ["control.db", "data.db", "audit.mark"] {
            std::fs::write(folder.path().join(file), "of the service").unwrap();
            std::os::unix::fs::chown(folder.path().join(file), Some(65_534), None).unwrap();
        }
        assert_eq!(file_of_another(&folders), None, "the folder alone is root's");
        std::fs::write(folder.path().join("journal.mark"), "of root").unwrap();
        let told = file_of_another(&folders).unwrap();
        let said =
            format!("and control.db of {0}, whose service may not be able to read it: chown -R {0} ", shown(65_534));
        assert!(told.contains("journal.mark is of the user root, ") && told.contains(&said), "{told}");
    }
}
