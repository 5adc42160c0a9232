//! The sealed form of bytes at rest: AES-256-GCM, bound to the place where they lie.
//!
//! Form: key version (4 bytes, big endian) ‖ nonce (12) ‖ ciphertext ‖ tag (16). The additional data is key version ‖
//! table ‖ project ‖ row, so a sealed value does not open at another place. Nonces are random and fresh at every
//! sealing; NIST SP 800-38D (8.3) allows 2^32 of those per key, which is why each table and project has a derived
//! key of its own, and why the journal, which seals most often, changes its table's name every 2^24 batches.

use std::fmt;

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use crate::KeyError;
use crate::random::fill;

/// Bytes of the tag at the end of sealed bytes.
pub const TAG_BYTES: usize = 16;
/// Bytes that sealing adds: key version, nonce and tag.
pub const SEAL_OVERHEAD: usize = 4 + NONCE_LEN + TAG_BYTES;

/// Where a sealed thing belongs: bound into its tag, so that a moved ciphertext does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Table or stream: `journal`, `frames`, `state`.
    pub table: &'a str,
    /// The project's number; 0 for what belongs to none.
    pub project: i64,
    /// The row: an offset, a first event number, a key.
    pub row: &'a [u8],
}

/// For error texts. A row of more than 8 bytes may be more than a number, so it is left out.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} of project {}", self.table, self.project)?;
        if !self.row.is_empty() && self.row.len() <= 8 {
            let number = self.row.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            write!(f, ", row {number}")?;
        }
        Ok(())
    }
}

/// The tag at the end of sealed bytes: what a chain of rows links to. `None` when they are too short to be sealed bytes.
#[must_use]
pub fn tag_of(sealed: &[u8]) -> Option<[u8; TAG_BYTES]> {
    let (_, rest) = sealed.split_at_checked(SEAL_OVERHEAD - TAG_BYTES)?;
    rest.last_chunk().copied()
}

/// The key version that sealed bytes name.
pub(crate) fn version_of(sealed: &[u8]) -> Option<u32> {
    sealed.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

pub(crate) fn seal(key: &LessSafeKey, version: u32, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE_LEN];
    fill(&mut nonce)?;
    let head = [version.to_be_bytes().as_slice(), &nonce].concat();
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
    sealed.extend_from_slice(&head);
    sealed.extend_from_slice(plain);
    let (_, text) = sealed.split_at_mut(head.len());
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), bound_data(version, place), text)
        .map_err(|_| KeyError::Primitive("sealing"))?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

pub(crate) fn open(key: &LessSafeKey, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    open_parts(key, place, sealed).ok_or_else(|| KeyError::Open { place: place.to_string() })
}

fn open_parts(key: &LessSafeKey, place: Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = sealed.split_first_chunk()?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
    let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let mut plain = vec![0; text.len()];
    let bound = bound_data(u32::from_be_bytes(*version), place);
    key.open_separate_gather(Nonce::assume_unique_for_key(*nonce), bound, text, tag, &mut plain).ok()?;
    Some(plain)
}

/// Length before the one part of free length that is not last: two places never give the same bytes.
fn bound_data(version: u32, place: Place<'_>) -> Aad<Vec<u8>> {
    let mut bytes = Vec::with_capacity(20 + place.table.len() + place.row.len());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&(place.table.len() as u64).to_be_bytes());
    bytes.extend_from_slice(place.table.as_bytes());
    bytes.extend_from_slice(&place.project.to_be_bytes());
    bytes.extend_from_slice(place.row);
    Aad::from(bytes)
}
