//! The keys of one installation: versioned, the first seals, any opens; working keys are derived for each purpose.
//!
//! Derivation is HKDF-SHA-256 (RFC 5869). The `hash` secret lies beside the versioned keys and never rotates:
//! keyed hashes are looked up again, so a new key would make the old rows unfindable.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::envelope::{self, Place};
use crate::kms::file;
use crate::random::random_bytes;
use crate::signature::bytes32;

const SALT: &[u8] = b"convizit 1";
/// Derived keys kept per version (about 1 KiB each); beyond it they are derived afresh, which costs microseconds.
const CACHED_KEYS: usize = 8192;

/// A secret of the ring, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// What a provider gives: the versioned keys, the sealing one first, and the secret of keyed hashes.
pub(crate) struct Secrets {
    pub(crate) keys: Vec<(u32, Secret)>,
    pub(crate) hash: Secret,
}

impl Secrets {
    /// One random key of version 1 and a random hash secret.
    pub(crate) fn random() -> Result<Self, KeyError> {
        Ok(Self { keys: vec![(1, random_bytes()?)], hash: random_bytes()? })
    }
}

/// The keys of one installation: the first seals, any opens.
pub struct KeyRing {
    first: RingKey,
    older: Vec<RingKey>,
    /// The extracted key of HKDF for keyed hashes.
    hash: hmac::Key,
}

struct RingKey {
    version: u32,
    secret: Prk,
    derived: RwLock<HashMap<String, HashMap<i64, Arc<LessSafeKey>>>>,
}

impl KeyRing {
    /// Opens the key file, or makes it (mode 0600, one random key) when there is none.
    ///
    /// # Errors
    /// When the file is readable by others, malformed, or cannot be made.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        Self::new(file::open_or_create(path)?, &path.display().to_string())
    }

    /// Puts a new random key of the next version before the others into the file, and opens it.
    /// Rings opened before go on sealing with the key they know, which this ring opens.
    ///
    /// # Errors
    /// When the file cannot be read, trusted or replaced.
    pub fn rotate(path: &Path) -> Result<Self, KeyError> {
        Self::new(file::rotate(path)?, &path.display().to_string())
    }

    /// A ring with one random key that is in no file; for `convizit name` and tests.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn ephemeral() -> Result<Self, KeyError> {
        Self::new(Secrets::random()?, "in memory")
    }

    fn new(secrets: Secrets, path: &str) -> Result<Self, KeyError> {
        let mut keys = secrets.keys.into_iter().map(|(version, secret)| RingKey {
            version,
            secret: Salt::new(HKDF_SHA256, SALT).extract(secret.as_slice()),
            derived: RwLock::default(),
        });
        let first = keys.next().ok_or_else(|| KeyError::File {
            path: path.to_owned(),
            problem: "it holds no key: restore it".to_owned(),
        })?;
        // HKDF-Extract is HMAC(salt, secret): RFC 5869, 2.2.
        let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SALT), secrets.hash.as_slice());
        Ok(Self { first, older: keys.collect(), hash: hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()) })
    }

    /// The version of the key that seals now.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.first.version
    }

    /// Seals with AES-256-GCM under a fresh nonce, bound to its place: key version (4 bytes) ‖ nonce (12) ‖ ciphertext ‖ tag (16).
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        envelope::seal(&*self.first.key_for(place)?, self.first.version, place, plain)
    }

    /// Opens what `seal` made for the same place.
    ///
    /// # Errors
    /// When it was changed or moved, or its key is unknown.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = envelope::version_of(sealed)
            .and_then(|version| std::iter::once(&self.first).chain(&self.older).find(|key| key.version == version))
            .ok_or_else(|| KeyError::Open { place: place.to_string() })?;
        envelope::open(&*key.key_for(place)?, place, sealed)
    }

    /// HMAC-SHA-256 under a key derived (HKDF) for this purpose, such as `visitor`. The same for the life of the key file.
    #[must_use]
    pub fn mac(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        // HKDF-Expand of one block is HMAC(extracted, info ‖ 1): RFC 5869, 2.3. By hand, because it then cannot fail.
        let mut info = hmac::Context::with_key(&self.hash);
        info.update(purpose.as_bytes());
        info.update(&[1]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, info.sign().as_ref());
        bytes32(hmac::sign(&key, message).as_ref())
    }
}

/// Says the versions, never a secret.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<u32> = std::iter::once(&self.first).chain(&self.older).map(|key| key.version).collect();
        f.debug_struct("KeyRing").field("versions", &versions).finish_non_exhaustive()
    }
}

impl RingKey {
    /// The derived key of a table and project.
    fn key_for(&self, place: Place<'_>) -> Result<Arc<LessSafeKey>, KeyError> {
        let derived = self.derived.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = derived.get(place.table).and_then(|projects| projects.get(&place.project)) {
            return Ok(Arc::clone(key));
        }
        drop(derived);
        let info: [&[u8]; 3] = [b"seal", &place.project.to_be_bytes(), place.table.as_bytes()];
        let key = self.secret.expand(&info, &AES_256_GCM).map_err(|_| KeyError::Primitive("deriving a key"))?;
        let key = Arc::new(LessSafeKey::new(UnboundKey::from(key)));
        let mut derived = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        if derived.values().map(HashMap::len).sum::<usize>() >= CACHED_KEYS {
            derived.clear();
        }
        derived.entry(place.table.to_owned()).or_default().insert(place.project, Arc::clone(&key));
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_hashes_are_those_of_hkdf_and_hmac() {
        let secrets = Secrets::random().unwrap();
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(secrets.hash.as_slice());
        let info: [&[u8]; 1] = [b"visitor"];
        let key = hmac::Key::from(extracted.expand(&info, hmac::HMAC_SHA256).unwrap());
        let ring = KeyRing::new(secrets, "test").unwrap();
        assert_eq!(ring.mac("visitor", b"message").as_slice(), hmac::sign(&key, b"message").as_ref());
        assert_ne!(ring.mac("visitor", b"message"), ring.mac("session", b"message"));
    }

    #[test]
    fn derived_keys_stay_bounded_and_go_on_opening() {
        let ring = KeyRing::ephemeral().unwrap();
        let place = |project| Place { table: "frames", project, row: b"1" };
        let sealed = ring.seal(place(0), b"plain").unwrap();
        for project in 0..i64::try_from(CACHED_KEYS).unwrap() + 10 {
            ring.seal(place(project), b"").unwrap();
        }
        let cached = ring.first.derived.read().unwrap().values().map(HashMap::len).sum::<usize>();
        assert!(cached <= CACHED_KEYS, "{cached}");
        assert_eq!(ring.open(place(0), &sealed).unwrap(), b"plain");
    }
}
