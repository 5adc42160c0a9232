//! The key file: made whole, trusted only when nobody else reads it, rotated without losing a key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use convizit_keys::{KeyProvider, ProviderConfig, Wrapped, read_secret_file};

use crate::contract::{self, BINDING, now, problem, wait};

fn open(path: &Path) -> Arc<dyn KeyProvider> {
    contract::open(&ProviderConfig::File { path: path.to_owned() })
}

fn made() -> (tempfile::TempDir, PathBuf, Arc<dyn KeyProvider>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let provider = open(&path);
    wait(provider.rotate(now(0))).unwrap();
    (folder, path, provider)
}

fn asked(path: &Path) -> String {
    problem(wait(open(path).versions()))
}

#[test]
fn it_holds_what_every_provider_promises() {
    let folder = tempfile::tempdir().unwrap();
    contract::rotates_and_destroys(&*open(&folder.path().join("keys.json")));
}

#[test]
fn a_changed_wrapping_is_refused() {
    let (_folder, _, provider) = made();
    let (_, wrapped) = contract::wraps(&*provider);
    contract::refuses_changes(&*provider, &wrapped, 0..8);
}

#[test]
fn opening_makes_nothing_and_the_first_rotation_makes_a_file_of_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let provider = open(&path);
    assert_eq!(wait(provider.versions()).unwrap(), []);
    assert!(!path.exists());
    for millis in 0..3 {
        let made = wait(provider.rotate(now(millis))).unwrap();
        assert!(made.id.starts_with("file:") && made.id.len() == 17, "{}", made.id);
        assert_eq!(made.made, Some(now(millis)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
    assert_eq!(wait(open(&path).versions()).unwrap(), wait(provider.versions()).unwrap());
}

#[test]
fn processes_that_start_at_once_end_with_the_same_key() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let gate = Barrier::new(4);
        let ids: std::collections::HashSet<String> = std::thread::scope(|scope| {
            let start = || {
                let provider = open(&path);
                assert_eq!(wait(provider.versions()).unwrap(), []);
                gate.wait();
                wait(provider.rotate(now(0))).unwrap().id
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let kept = wait(open(&path).versions()).unwrap();
        assert!(ids.iter().all(|id| kept.iter().any(|key| key.id == *id)), "a key was told that is not kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
}

#[test]
fn no_key_is_lost_when_several_processes_rotate_at_once() {
    let (folder, path, _) = made();
    let gate = Barrier::new(4);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let rotate = || {
            let provider = open(&path);
            gate.wait();
            (0..20).map(|millis| wait(provider.rotate(now(millis))).unwrap().id).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(rotate)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let kept = wait(open(&path).versions()).unwrap();
    let lost = ids.iter().filter(|id| !kept.iter().any(|key| key.id == **id)).count();
    assert_eq!((lost, kept.len()), (0, 81));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let (_folder, path, provider) = made();
    for mode in [0o640, 0o604, 0o620, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(asked(&path).contains("chmod 600"), "{mode:o}");
        assert!(problem(wait(provider.rotate(now(1)))).contains("chmod 600"), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(wait(provider.versions()).unwrap().len(), 1);
}

#[test]
fn a_malformed_file_is_refused_and_left_as_it_is() {
    let (_folder, path, provider) = made();
    let good = fs::read_to_string(&path).unwrap();
    let entry = &good[good.find('[').unwrap() + 1..good.find(']').unwrap()];
    let secret = entry.split('"').nth(11).unwrap();
    let cases = [
        (String::new(), "malformed"),
        (good[..good.len() / 2].to_owned(), "malformed"),
        (good.replace("\"secret\"", "\"secrets\""), "malformed"),
        (good.replace("\"format\": 2", "\"format\": 1"), "format 1"),
        (good.replace(secret, &secret[4..]), "not 32 bytes"),
        (good.replace(entry, ""), "at least one key"),
        (good.replace(entry, &format!("{entry},{entry}")), "each id once"),
        ("x".repeat(70_000), "65536 bytes"),
    ];
    for (text, expected) in cases {
        fs::write(&path, &text).unwrap();
        for problem in [asked(&path), problem(wait(provider.rotate(now(1))))] {
            assert!(problem.contains(expected), "{problem} has no {expected}");
            assert!(!problem.contains(&secret[..8]), "a secret is in the error: {problem}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_missing_folder_is_named() {
    let provider = open(Path::new("/nonexistent/keys.json"));
    assert!(problem(wait(provider.rotate(now(0)))).contains("/nonexistent/keys.json"));
}

#[test]
fn a_key_that_is_not_in_the_file_is_named_and_the_file_too() {
    let (_folder, path, provider) = made();
    let wrapped = Wrapped { kek: "file:0123456789ab".to_owned(), bytes: vec![0; 60] };
    let text = problem(wait(provider.unwrap(&BINDING, &wrapped)));
    assert!(text.contains("file:0123456789ab") && text.contains(path.to_str().unwrap()), "{text}");
}

#[test]
fn another_secret_is_read_from_a_file_of_its_owner_alone_and_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("desk.token");
    let refused = || read_secret_file(&path).unwrap_err().to_string();
    assert!(refused().contains("cannot be read"), "{}", refused());
    fs::write(&path, "cz_erase_abc\n").unwrap();
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = refused();
        assert!(text.contains("desk.token") && text.contains("chmod 600") && !text.contains("cz_erase"), "{text}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read_secret_file(&path).unwrap().as_str(), "cz_erase_abc");
    fs::write(&path, "x".repeat(70_000)).unwrap();
    assert!(refused().contains("65536 bytes"), "{}", refused());
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(refused().contains("no text"), "{}", refused());
    assert!(read_secret_file(folder.path()).is_err(), "a folder");
    // As a shell's <(…) gives one.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_secret_file(&pipe).map(|text| text.to_string()));
        fs::write(&pipe, "through a pipe\n").unwrap();
        reading.join().unwrap()
    });
    assert_eq!(read.unwrap(), "through a pipe");
}
