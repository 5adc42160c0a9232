//! The sealed form of bytes at rest: AES-256-GCM, bound to the installation, the project and the place where they lie.
//!
//! Form: nonce (12) ‖ ciphertext ‖ tag (16). The additional data is installation ‖ project ‖ table ‖ purpose ‖ row, so a
//! sealed value does not open at another place. Nonces are random and fresh at every sealing; NIST SP 800-38D (8.3) allows
//! 2^32 of those per key, which each key counts, and which keys of a day or an hour never reach.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, NONCE_LEN, UnboundKey};
#[cfg(not(feature = "null-cipher"))]
use aws_lc_rs::aead::{Aad, Nonce};

use crate::random::{fill, random_bytes};
use crate::{KeyError, Secret};

/// Bytes of the tag at the end of sealed bytes.
pub const TAG_BYTES: usize = 16;
/// Bytes that sealing adds: nonce and tag.
pub const SEAL_OVERHEAD: usize = NONCE_LEN + TAG_BYTES;
/// Sealings of one key at most.
const SEALS: u64 = 1 << 32;

/// Where a sealed thing belongs: bound into its tag, so that a moved ciphertext does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Table or stream: `journal`, `frames`, `state`.
    pub table: &'a str,
    /// Which column, and so what the bytes are for: `body`, `secret`.
    pub purpose: &'a str,
    /// The row: an offset, a first event number, a key.
    pub row: &'a [u8],
}

/// For error texts. A row of more than 8 bytes may be more than a number, so it is left out.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of table {}", self.purpose, self.table)?;
        if !self.row.is_empty() && self.row.len() <= 8 {
            let number = self.row.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            write!(f, ", row {number}")?;
        }
        Ok(())
    }
}

/// Whose keys: the installation's id and the project's number, 0 for what belongs to the installation itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) installation: [u8; 16],
    pub(crate) project: i64,
}

/// A key that seals: of a project's day, of a journal's hour, or derived from a project's key.
pub struct DataKey {
    key: LessSafeKey,
    owner: Owner,
    seals: AtomicU64,
}

/// Says whose it is, never the key.
impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("project", &self.owner.project).finish_non_exhaustive()
    }
}

impl DataKey {
    pub(crate) fn new(owner: Owner, key: UnboundKey) -> Self {
        Self { key: LessSafeKey::new(key), owner, seals: AtomicU64::new(0) }
    }

    pub(crate) fn of_secret(owner: Owner, secret: &Secret) -> Result<Self, KeyError> {
        let key = UnboundKey::new(&AES_256_GCM, secret.as_slice()).map_err(|_| KeyError::Primitive("reading a key"))?;
        Ok(Self::new(owner, key))
    }

    /// A random key that is kept nowhere, for tests.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn ephemeral(project: i64) -> Result<Self, KeyError> {
        Self::of_secret(Owner { installation: *random_bytes()?, project }, &random_bytes()?)
    }

    /// Seals with AES-256-GCM under a fresh nonce, bound to its place: nonce (12) ‖ ciphertext ‖ tag (16).
    ///
    /// # Errors
    /// When there are no random bytes, and after 2^32 sealings.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.seal_behind(&[], place, plain)
    }

    /// As `seal`, behind a head that is bound, too.
    pub(crate) fn seal_behind(&self, head: &[u8], place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        if self.seals.fetch_add(1, Ordering::Relaxed) >= SEALS {
            return Err(KeyError::UsedUp);
        }
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(head.len() + plain.len() + SEAL_OVERHEAD);
        sealed.extend_from_slice(head);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, text) = sealed.split_at_mut(head.len() + NONCE_LEN);
        let tag = self.encrypt(nonce, &self.bound(head, place), text)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what `seal` made for the same place.
    ///
    /// # Errors
    /// `Open` when it was changed, moved, or sealed under another key.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.open_behind(&[], place, sealed)
    }

    pub(crate) fn open_behind(&self, head: &[u8], place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let parts = || {
            let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
            let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
            self.decrypt(*nonce, &self.bound(head, place), text, tag)
        };
        parts().ok_or_else(|| KeyError::Open { place: place.to_string(), project: self.owner.project })
    }

    #[cfg(not(feature = "null-cipher"))]
    fn encrypt(&self, nonce: [u8; NONCE_LEN], bound: &[u8], text: &mut [u8]) -> Result<[u8; TAG_BYTES], KeyError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), text)
            .map_err(|_| KeyError::Primitive("sealing"))?;
        tag.as_ref().try_into().map_err(|_| KeyError::Primitive("sealing"))
    }

    #[cfg(not(feature = "null-cipher"))]
    fn decrypt(&self, nonce: [u8; NONCE_LEN], bound: &[u8], text: &[u8], tag: &[u8; TAG_BYTES]) -> Option<Vec<u8>> {
        let mut plain = vec![0; text.len()];
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.open_separate_gather(nonce, Aad::from(bound), text, tag, &mut plain).ok()?;
        Some(plain)
    }

    /// What encryption costs is measured against none at all. No other build has this.
    #[cfg(feature = "null-cipher")]
    #[expect(clippy::unnecessary_wraps, reason = "the other build's form")]
    fn encrypt(&self, nonce: [u8; NONCE_LEN], _: &[u8], _: &mut [u8]) -> Result<[u8; TAG_BYTES], KeyError> {
        let _ = &self.key;
        let mut tag = [0; TAG_BYTES];
        tag[..NONCE_LEN].copy_from_slice(&nonce);
        Ok(tag)
    }

    #[cfg(feature = "null-cipher")]
    #[expect(clippy::unnecessary_wraps, reason = "the other build's form")]
    fn decrypt(&self, _: [u8; NONCE_LEN], _: &[u8], text: &[u8], _: &[u8; TAG_BYTES]) -> Option<Vec<u8>> {
        Some(text.to_vec())
    }

    /// Lengths before the parts of free length that are not last: two places never give the same bytes.
    fn bound(&self, head: &[u8], place: Place<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + head.len() + place.table.len() + place.purpose.len() + place.row.len());
        bytes.extend_from_slice(&self.owner.installation);
        bytes.extend_from_slice(&self.owner.project.to_be_bytes());
        for part in [head, place.table.as_bytes(), place.purpose.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(place.row);
        bytes
    }
}

/// The tag at the end of sealed bytes: what a chain of rows links to. `None` when they are too short to be sealed bytes.
#[must_use]
pub fn tag_of(sealed: &[u8]) -> Option<[u8; TAG_BYTES]> {
    let (_, rest) = sealed.split_at_checked(NONCE_LEN)?;
    rest.last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { table: "frames", purpose: "body", row: &[9] };

    #[test]
    fn a_key_that_has_sealed_too_often_seals_no_more_and_goes_on_opening() {
        let key = DataKey::ephemeral(1).unwrap();
        let sealed = key.seal(PLACE, b"plain").unwrap();
        key.seals.store(SEALS - 1, Ordering::Relaxed);
        assert!(key.seal(PLACE, b"plain").is_ok());
        assert!(matches!(key.seal(PLACE, b"plain"), Err(KeyError::UsedUp)));
        assert_eq!(key.open(PLACE, &sealed).unwrap(), b"plain");
    }

    /// The vectors run through the two functions that every sealing and opening here goes through.
    #[cfg(not(feature = "null-cipher"))]
    #[test]
    fn aes_gcm_is_right_on_the_vectors_of_wycheproof() {
        use crate::wycheproof::{self, Refused};

        let key = |bytes: &[u8]| {
            let mut secret = Secret::default();
            secret.copy_from_slice(bytes);
            DataKey::of_secret(Owner { installation: [0; 16], project: 0 }, &secret).unwrap()
        };
        wycheproof::check(
            |vector| {
                let mut sealed = vector.plain.to_vec();
                let tag = key(vector.key).encrypt(vector.nonce, vector.bound, &mut sealed).unwrap();
                sealed.extend_from_slice(&tag);
                sealed
            },
            |vector| {
                let (text, tag) = vector.sealed.split_last_chunk().unwrap();
                key(vector.key).decrypt(vector.nonce, vector.bound, text, tag).ok_or(Refused)
            },
        );
    }
}
