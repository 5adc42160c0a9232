//! The versions of a project's key: each seals in its time, opens for as long as it is kept, and is named when it is not.

use convizit_keys::{
    KeyError, KeyRing, PROJECT_KEY_DAYS, Place, ProjectKey, ProjectKeys, Secret, random_bytes, version_of,
};
use convizit_model::Timestamp;
use convizit_model::time::DAY_MILLIS;

use crate::contract::NOW;

const PLACE: Place<'static> = Place { table: "destinations", purpose: "secret", row: &[5] };

/// Version 1 made on day 0, version 2 made on day 50 and sealing from day 51.
struct Versions {
    ring: KeyRing,
    secrets: [Secret; 2],
}

impl Versions {
    fn new() -> Self {
        Self { ring: KeyRing::ephemeral().unwrap(), secrets: [random_bytes().unwrap(), random_bytes().unwrap()] }
    }

    fn keys(&self, numbers: &[u32]) -> ProjectKeys {
        let key = |number: &u32| {
            let (at, made, from) = if *number == 1 { (0, day(0), day(0)) } else { (1, day(50), day(51)) };
            ProjectKey { number: *number, secret: self.secrets[at].clone(), made, from }
        };
        self.ring.project(4, numbers.iter().map(key).collect())
    }
}

fn day(days: i64) -> Timestamp {
    NOW.plus_millis(days * DAY_MILLIS)
}

#[test]
fn a_new_version_seals_from_its_time_on_and_the_old_one_opens() {
    let keys = Versions::new().keys(&[1, 2]);
    assert_eq!(keys.newest(), Some((2, day(50))));
    let old = keys.seal(day(51).plus_millis(-1), PLACE, b"old").unwrap();
    let new = keys.seal(day(51), PLACE, b"new").unwrap();
    assert_eq!((version_of(&old), version_of(&new)), (Some(1), Some(2)));
    assert_eq!((keys.sealing(day(50)).unwrap(), keys.sealing(day(51)).unwrap()), (1, 2));
    assert_eq!(keys.open(PLACE, &old).unwrap(), b"old");
    assert_eq!(keys.open(PLACE, &new).unwrap(), b"new");
}

#[test]
fn a_version_that_is_too_old_seals_nothing_and_goes_on_opening() {
    let keys = Versions::new().keys(&[1]);
    let last = day(PROJECT_KEY_DAYS);
    let sealed = keys.seal(last, PLACE, b"plain").unwrap();
    let later = last.plus_millis(1);
    let text = keys.seal(later, PLACE, b"plain").unwrap_err().to_string();
    assert!(text.contains("key of project number 4") && text.contains("90 days") && text.contains("rotate"), "{text}");
    assert!(matches!(keys.sealing(later), Err(KeyError::Expired { days: 90, .. })));
    assert!(matches!(keys.new_key(later, PLACE), Err(KeyError::Expired { .. })));
    assert_eq!(keys.open(PLACE, &sealed).unwrap(), b"plain");
}

#[test]
fn the_first_version_seals_behind_a_clock_that_was_set_back() {
    assert_eq!(Versions::new().keys(&[1, 2]).sealing(day(-3)).unwrap(), 1);
}

#[test]
fn a_version_that_is_not_there_is_named() {
    let versions = Versions::new();
    let sealed = versions.keys(&[1, 2]).seal(day(60), PLACE, b"plain").unwrap();
    let error = versions.keys(&[1]).open(PLACE, &sealed).unwrap_err();
    assert!(matches!(error, KeyError::Unknown { project: 4, version: 2 }));
    assert!(error.to_string().contains("version 2 of the key of project number 4"), "{error}");
}

#[test]
fn a_change_of_any_bit_a_cut_or_another_place_is_refused() {
    let keys = Versions::new().keys(&[1, 2]);
    let sealed = keys.seal(day(0), PLACE, b"hook").unwrap();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert!(keys.open(PLACE, &changed).is_err(), "byte {at} bit {bit}");
        }
        assert!(keys.open(PLACE, &sealed[..at]).is_err(), "cut at {at}");
    }
    for place in
        [Place { table: "journal", ..PLACE }, Place { purpose: "settings", ..PLACE }, Place { row: &[6], ..PLACE }]
    {
        assert!(matches!(keys.open(place, &sealed), Err(KeyError::Open { .. })), "{place}");
    }
}

#[test]
fn a_wrapped_key_opens_what_it_sealed_also_after_rewrapping() {
    let versions = Versions::new();
    let keys = versions.keys(&[1, 2]);
    let frame = Place { table: "frames", purpose: "body", row: &[1] };
    let (key, wrapped) = keys.new_key(day(10), PLACE).unwrap();
    let sealed = key.seal(frame, b"events").unwrap();
    assert_eq!(keys.open_key(PLACE, &wrapped).unwrap().open(frame, &sealed).unwrap(), b"events");
    let rewrapped = keys.rewrap(day(60), PLACE, &wrapped).unwrap();
    assert_eq!((version_of(&wrapped), version_of(&rewrapped)), (Some(1), Some(2)));
    let without_old = versions.keys(&[2]);
    assert_eq!(without_old.open_key(PLACE, &rewrapped).unwrap().open(frame, &sealed).unwrap(), b"events");
    assert!(without_old.open_key(PLACE, &wrapped).is_err());
}
