//! The key file: made once and whole, trusted only when nobody else reads it, rotated without losing a key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;

use convizit_keys::{KeyRing, Place};

const PLACE: Place<'static> = Place { table: "frames", project: 1, row: b"row" };

fn problem(path: &Path) -> String {
    KeyRing::open_or_create(path).unwrap_err().to_string()
}

#[test]
fn the_first_start_makes_the_file_and_the_next_opens_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let ring = KeyRing::open_or_create(&path).unwrap();
    let (sealed, mac) = (ring.seal(PLACE, b"plain").unwrap(), ring.mac("visitor", b"x"));
    drop(ring);
    let ring = KeyRing::open_or_create(&path).unwrap();
    assert_eq!(ring.open(PLACE, &sealed).unwrap(), b"plain");
    assert_eq!(ring.mac("visitor", b"x"), mac);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn processes_that_start_at_once_end_with_the_same_keys() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let gate = Barrier::new(4);
        let macs: std::collections::HashSet<[u8; 32]> = std::thread::scope(|scope| {
            let start = || {
                gate.wait();
                KeyRing::open_or_create(&path).unwrap().mac("visitor", b"x")
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(macs.len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    KeyRing::open_or_create(&path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(problem(&path).contains("chmod 600"), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    KeyRing::open_or_create(&path).unwrap();
}

#[test]
fn a_malformed_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    KeyRing::open_or_create(&path).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let secret = good.split('"').nth(9).unwrap().to_owned();
    let twice = good.replace("\"keys\": [", &format!("\"keys\": [{{\"version\": 1, \"secret\": \"{secret}\"}},"));
    let cases = [
        (String::new(), "malformed"),
        (good[..good.len() / 2].to_owned(), "malformed"),
        (good.replace("\"hash\"", "\"hush\""), "malformed"),
        (good.replace("\"format\": 1", "\"format\": 2"), "format 2"),
        (good.replace(&secret, &secret[4..]), "not 32 bytes"),
        (twice, "each version once"),
        ("x".repeat(70_000), "not a key file"),
    ];
    for (text, expected) in cases {
        fs::write(&path, &text).unwrap();
        let problem = problem(&path);
        assert!(problem.contains(expected), "{problem} has no {expected}");
        assert!(!problem.contains(&secret[..8]), "a secret is in the error: {problem}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_missing_folder_is_named() {
    assert!(problem(Path::new("/nonexistent/keys.json")).contains("/nonexistent/keys.json"));
}

#[test]
fn after_a_rotation_the_new_key_seals_and_the_old_one_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let old = KeyRing::open_or_create(&path).unwrap();
    let sealed = old.seal(PLACE, b"plain").unwrap();
    let new = KeyRing::rotate(&path).unwrap();
    assert_eq!((old.version(), new.version()), (1, 2));
    assert_eq!(new.open(PLACE, &sealed).unwrap(), b"plain");
    let resealed = new.seal(PLACE, b"plain").unwrap();
    assert_eq!(resealed[..4], 2_u32.to_be_bytes());
    assert!(old.open(PLACE, &resealed).is_err(), "the old ring has not the new key");
    assert_eq!(KeyRing::open_or_create(&path).unwrap().open(PLACE, &resealed).unwrap(), b"plain");
    assert_eq!(old.mac("visitor", b"x"), new.mac("visitor", b"x"), "keyed hashes stay findable");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
