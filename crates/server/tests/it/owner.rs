//! Whose an installation is: root leaves nothing of its own in another user's, and whoever makes one is told of its key file.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::cli::{command, convizit, fails};

/// A user that every machine has and no test is run by.
const OTHER: u32 = 65_534;

#[test]
fn root_leaves_nothing_in_the_folder_of_another_users_service() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    if at.metadata().unwrap().uid() != 0 {
        eprintln!("SKIPPED: only root may do what is refused here");
        return;
    }
    chown(at, Some(OTHER), Some(OTHER)).unwrap();
    let add = ["project", "add", "shop", "--origin", "https://shop.example"];
    let files = || {
        let mut found: Vec<_> = walk(at).into_iter().map(|path| (path.metadata().unwrap().uid(), path)).collect();
        found.sort();
        found
    };
    for arguments in [&add[..], &["migrate"], &["serve"], &["restore", "--yes"], &["demo"]] {
        let error = fails(at, arguments);
        assert!(error.contains("would be made within ") && error.contains("make the folder first"), "{error}");
    }
    assert_eq!(files(), [], "nothing is made");
    let output = match command(at, &add).uid(OTHER).gid(OTHER).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: another user may not run the program here ({error})");
            return;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let before = files();
    assert!(!before.is_empty() && before.iter().all(|(uid, _)| *uid == OTHER), "{before:?}");
    let commands: &[&[&str]] = &[
        &["keys", "rotate", "--yes"],
        &["backup"],
        &["audit", "list"],
        &["token", "add", "desk", "--project", "shop", "--scope", "erase", "--out", "desk.token"],
        &["serve"],
        &["serve", "--role", "deliver"],
        &["migrate"],
        &["restore", "--yes"],
    ];
    for arguments in commands {
        let error = fails(at, arguments);
        assert!(error.contains("the data folder convizit-data is of the user "), "{arguments:?}: {error}");
        assert!(
            error.contains("run it as that user: sudo ") && error.contains(" convizit …; "),
            "{arguments:?}: {error}"
        );
    }
    let output = command(at, &["keys", "list"]).env("CONVIZIT_DATA", at.join("convizit-data")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("sudo --preserve-env=") && error.contains("CONVIZIT_DATA"), "{error}");
    let told = String::from_utf8(convizit(at, &["doctor"], "").stdout).unwrap();
    assert!(told.contains("problem  store: the data folder convizit-data is of the user "), "{told}");
    assert_eq!(files(), before, "nothing is made, and nothing is root's");
    let told = command(at, &["audit", "verify"]).uid(OTHER).gid(OTHER).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    // What an earlier program has left there is found.
    chown(at.join("convizit-data/audit.mark"), Some(0), Some(0)).unwrap();
    let told = command(at, &["doctor"]).uid(OTHER).gid(OTHER).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("problem  owner of files: ") && told.contains("audit.mark is of the user root"), "{told}");
}

/// Every file and folder below one.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn whoever_makes_an_installation_is_told_of_its_key_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let told = |arguments: &[&str]| String::from_utf8(convizit(at, arguments, "").stderr).unwrap();
    let first = told(&["project", "add", "shop", "--origin", "https://shop.example"]);
    assert!(first.contains("the key file convizit-data/keys was made") && first.contains("keep a copy"), "{first}");
    assert!(!told(&["project", "add", "blog", "--origin", "https://blog.example"]).contains("key file"));
    // `serve` says it, too, in its log, and then that its port is busy.
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = busy.local_addr().unwrap();
    let other = tempfile::tempdir().unwrap();
    let text = format!("data = \"data\"\n[keys]\npath = \"key/key\"\n[collector]\nlisten = \"{listen}\"\n");
    std::fs::write(other.path().join("convizit.toml"), text).unwrap();
    let said = || String::from_utf8(convizit(other.path(), &["serve"], "").stderr).unwrap();
    let first = said();
    assert!(first.contains("the key file key/key was made") && first.contains("is busy"), "{first}");
    assert!(!said().contains("was made"));
}
