//! What was sealed opens at its place and nowhere else, and never after a change.

use convizit_keys::{KeyError, KeyRing, Place, SEAL_OVERHEAD, tag_of};
use proptest::prelude::*;

const PLACE: Place<'static> = Place { table: "frames", project: 7, row: &[0, 0, 0, 9] };

fn refused(ring: &KeyRing, place: Place<'_>, sealed: &[u8]) -> bool {
    matches!(ring.open(place, sealed), Err(KeyError::Open { .. }))
}

proptest! {
    #[test]
    fn what_was_sealed_opens_at_its_place(table in "[a-z]{0,12}", project: i64, row: Vec<u8>, plain: Vec<u8>) {
        let ring = KeyRing::ephemeral().unwrap();
        let place = Place { table: &table, project, row: &row };
        let sealed = ring.seal(place, &plain).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + SEAL_OVERHEAD);
        prop_assert_eq!(ring.open(place, &sealed).unwrap(), plain);
    }

    #[test]
    fn another_place_does_not_open(
        from in ("[a-c]{0,2}", 0..3_i64, prop::collection::vec(97..100_u8, 0..3)),
        to in ("[a-c]{0,2}", 0..3_i64, prop::collection::vec(97..100_u8, 0..3)),
    ) {
        prop_assume!(from != to);
        let ring = KeyRing::ephemeral().unwrap();
        let sealed = ring.seal(Place { table: &from.0, project: from.1, row: &from.2 }, b"plain").unwrap();
        let elsewhere = Place { table: &to.0, project: to.1, row: &to.2 };
        prop_assert!(refused(&ring, elsewhere, &sealed));
    }

    #[test]
    fn bytes_that_were_never_sealed_are_refused(bytes: Vec<u8>) {
        prop_assert!(refused(&KeyRing::ephemeral().unwrap(), PLACE, &bytes));
    }
}

#[test]
fn a_change_of_any_bit_a_cut_or_an_addition_is_refused() {
    let ring = KeyRing::ephemeral().unwrap();
    let sealed = ring.seal(PLACE, b"what a visitor did").unwrap();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert!(refused(&ring, PLACE, &changed), "byte {at} bit {bit}");
        }
        assert!(refused(&ring, PLACE, &sealed[..at]), "cut at {at}");
    }
    assert!(refused(&ring, PLACE, &[sealed.as_slice(), &[0]].concat()));
}

#[test]
fn another_installation_does_not_open() {
    let sealed = KeyRing::ephemeral().unwrap().seal(PLACE, b"plain").unwrap();
    assert!(refused(&KeyRing::ephemeral().unwrap(), PLACE, &sealed));
}

#[test]
fn the_same_bytes_never_seal_alike() {
    let ring = KeyRing::ephemeral().unwrap();
    let nonces: std::collections::HashSet<Vec<u8>> =
        (0..10_000).map(|_| ring.seal(PLACE, b"plain").unwrap()[4..16].to_vec()).collect();
    assert_eq!(nonces.len(), 10_000);
}

#[test]
fn the_error_names_the_place_and_no_long_row() {
    let ring = KeyRing::ephemeral().unwrap();
    let text = ring.open(PLACE, b"").unwrap_err().to_string();
    assert!(text.contains("table frames of project 7, row 9"), "{text}");
    let place = Place { row: b"somebody@example.org", ..PLACE };
    assert!(!ring.open(place, b"").unwrap_err().to_string().contains("somebody"));
}

#[test]
fn the_tag_is_the_end_of_sealed_bytes() {
    let sealed = KeyRing::ephemeral().unwrap().seal(PLACE, b"").unwrap();
    assert_eq!(tag_of(&sealed).unwrap().as_slice(), &sealed[16..]);
    assert_eq!(tag_of(&sealed[1..]), None);
}
