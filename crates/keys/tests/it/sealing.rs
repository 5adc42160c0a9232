//! What was sealed opens at its place and nowhere else, and never after a change.

use convizit_keys::{
    DataKey, KeyError, KeyRing, Place, ProjectKey, ProjectKeys, SEAL_OVERHEAD, Secret, random_bytes, tag_of,
};
use proptest::prelude::*;

use crate::contract::NOW;

const PLACE: Place<'static> = Place { table: "frames", purpose: "body", row: &[0, 0, 0, 9] };

fn key() -> DataKey {
    DataKey::ephemeral(7).unwrap()
}

fn refused(key: &DataKey, place: Place<'_>, sealed: &[u8]) -> bool {
    matches!(key.open(place, sealed), Err(KeyError::Open { project: 7, .. }))
}

/// The same key of a project in any installation, so that only the binding differs.
fn project_of(ring: &KeyRing, project: i64, secret: &Secret) -> ProjectKeys {
    ring.project(project, vec![ProjectKey { number: 1, secret: secret.clone(), made: NOW, from: NOW }])
}

proptest! {
    #[test]
    fn what_was_sealed_opens_at_its_place(table in "[a-z]{0,12}", purpose in "[a-z]{0,12}", row: Vec<u8>, plain: Vec<u8>) {
        let key = key();
        let place = Place { table: &table, purpose: &purpose, row: &row };
        let sealed = key.seal(place, &plain).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + SEAL_OVERHEAD);
        prop_assert_eq!(key.open(place, &sealed).unwrap(), plain);
    }

    #[test]
    fn another_place_does_not_open(
        from in ("[a-c]{0,2}", "[a-c]{0,2}", prop::collection::vec(97..100_u8, 0..3)),
        to in ("[a-c]{0,2}", "[a-c]{0,2}", prop::collection::vec(97..100_u8, 0..3)),
    ) {
        prop_assume!(from != to);
        let key = key();
        let sealed = key.seal(Place { table: &from.0, purpose: &from.1, row: &from.2 }, b"plain").unwrap();
        let elsewhere = Place { table: &to.0, purpose: &to.1, row: &to.2 };
        prop_assert!(refused(&key, elsewhere, &sealed));
    }

    #[test]
    fn bytes_that_were_never_sealed_are_refused(bytes: Vec<u8>) {
        prop_assert!(refused(&key(), PLACE, &bytes));
    }
}

#[test]
fn a_change_of_any_bit_a_cut_or_an_addition_is_refused() {
    let key = key();
    let sealed = key.seal(PLACE, b"what a visitor did").unwrap();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert!(refused(&key, PLACE, &changed), "byte {at} bit {bit}");
        }
        assert!(refused(&key, PLACE, &sealed[..at]), "cut at {at}");
    }
    assert!(refused(&key, PLACE, &[sealed.as_slice(), &[0]].concat()));
}

#[test]
fn another_key_does_not_open() {
    let sealed = key().seal(PLACE, b"plain").unwrap();
    assert!(refused(&key(), PLACE, &sealed));
}

#[test]
fn another_project_or_installation_does_not_open_even_under_the_same_key() {
    let (ring, other, secret) = (KeyRing::ephemeral().unwrap(), KeyRing::ephemeral().unwrap(), random_bytes().unwrap());
    let sealed = project_of(&ring, 1, &secret).seal(NOW, PLACE, b"plain").unwrap();
    assert_eq!(project_of(&ring, 1, &secret).open(PLACE, &sealed).unwrap(), b"plain");
    for elsewhere in [project_of(&ring, 2, &secret), project_of(&other, 1, &secret)] {
        assert!(matches!(elsewhere.open(PLACE, &sealed), Err(KeyError::Open { .. })), "{elsewhere:?}");
    }
}

#[test]
fn the_same_bytes_never_seal_alike() {
    let key = key();
    let nonces: std::collections::HashSet<Vec<u8>> =
        (0..10_000).map(|_| key.seal(PLACE, b"plain").unwrap()[..12].to_vec()).collect();
    assert_eq!(nonces.len(), 10_000);
}

#[test]
fn the_error_names_the_place_and_no_long_row() {
    let key = key();
    let text = key.open(PLACE, b"").unwrap_err().to_string();
    assert!(text.contains("body of table frames, row 9 of project number 7"), "{text}");
    let place = Place { row: b"somebody@example.org", ..PLACE };
    assert!(!key.open(place, b"").unwrap_err().to_string().contains("somebody"));
}

#[test]
fn the_tag_is_the_end_of_sealed_bytes() {
    let sealed = key().seal(PLACE, b"").unwrap();
    assert_eq!(tag_of(&sealed).unwrap().as_slice(), &sealed[12..]);
    assert_eq!(tag_of(&sealed[1..]), None);
}
