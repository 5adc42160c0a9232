//! What every process of an installation has in memory: its id, its root secret and its own keys.
//!
//! From the root secret come, by HKDF-SHA-256 (RFC 5869), the keyed hashes that are looked up again and the signatures. It
//! never rotates, since a new one would make old rows unfindable; it is wrapped by the key-encryption key as all others are.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use convizit_model::Timestamp;

use crate::envelope::Owner;
use crate::kms::Binding;
use crate::project::{ProjectKey, ProjectKeys};
use crate::random::random_bytes;
use crate::signature::bytes32;
use crate::{KeyError, Secret};

const SALT: &[u8] = b"convizit 2 root";
/// Bytes of a signature, and of the public key that it is checked with.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// The installation's keys in memory.
pub struct KeyRing {
    installation: [u8; 16],
    /// The extracted key of HKDF.
    root: hmac::Key,
    signing: Ed25519KeyPair,
    own: RwLock<Arc<ProjectKeys>>,
}

/// Says the installation's id, never a secret.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("installation", &self.installation_text()).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Of an installation's id, its root secret and the versions of its own key.
    ///
    /// # Errors
    /// When a primitive fails.
    pub fn new(installation: [u8; 16], root: &Secret, own: Vec<ProjectKey>) -> Result<Self, KeyError> {
        // HKDF-Extract is HMAC(salt, secret): RFC 5869, 2.2.
        let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SALT), root.as_slice());
        let root = hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref());
        let seed = zeroize::Zeroizing::new(expand(&root, b"signing"));
        let signing =
            Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| KeyError::Primitive("making a signer"))?;
        let own = RwLock::new(Arc::new(ProjectKeys::new(Owner { installation, project: 0 }, own)));
        Ok(Self { installation, root, signing, own })
    }

    /// A ring of random keys that are kept nowhere; for tests and measurements.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let made = Timestamp::from_millis(i64::MAX / 2);
        let own = ProjectKey { number: 1, secret: random_bytes()?, made, from: made };
        Self::new(*random_bytes()?, &random_bytes()?, vec![own])
    }

    /// The installation's id as 32 hexadecimal digits.
    #[must_use]
    pub fn installation_text(&self) -> String {
        self.installation.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The installation's own keys: those of project 0.
    #[must_use]
    pub fn own(&self) -> Arc<ProjectKeys> {
        Arc::clone(&self.own.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the installation's own keys as they are now, after a rotation.
    pub fn set_own(&self, own: Vec<ProjectKey>) {
        let own = Arc::new(self.project(0, own));
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// The keys of a project of this installation.
    #[must_use]
    pub fn project(&self, number: i64, versions: Vec<ProjectKey>) -> ProjectKeys {
        ProjectKeys::new(Owner { installation: self.installation, project: number }, versions)
    }

    /// What a version of a project's key is bound to when its provider wraps it.
    #[must_use]
    pub fn binding(&self, project: i64, version: u32) -> Binding {
        Binding { installation: self.installation, purpose: "project", project, version }
    }

    /// HMAC-SHA-256 under a key derived (HKDF) for this purpose, such as `visitor`. The same for the life of the installation.
    #[must_use]
    pub fn mac(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        self.mac_key(purpose).of(message)
    }

    /// The key of `mac`, for many messages of one purpose.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> MacKey {
        MacKey(hmac::Key::new(hmac::HMAC_SHA256, &expand(&self.root, purpose.as_bytes())))
    }

    /// An Ed25519 signature (RFC 8032) by the installation.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        for (to, from) in bytes.iter_mut().zip(self.signing.sign(message).as_ref()) {
            *to = *from;
        }
        bytes
    }

    /// The public key that `sign`'s signatures are checked with.
    #[must_use]
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        bytes32(self.signing.public_key().as_ref())
    }
}

/// Whether an Ed25519 signature of a message is of this public key.
#[must_use]
pub fn verify_signature(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

/// HMAC-SHA-256 under a derived key.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl MacKey {
    /// The tag of a message.
    #[must_use]
    pub fn of(&self, message: &[u8]) -> [u8; 32] {
        bytes32(hmac::sign(&self.0, message).as_ref())
    }
}

/// HKDF-Expand of one block is HMAC(extracted, info ‖ 1): RFC 5869, 2.3. By hand, because it then cannot fail.
fn expand(root: &hmac::Key, info: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(root);
    context.update(info);
    context.update(&[1]);
    bytes32(context.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

    #[test]
    fn keyed_hashes_are_those_of_hkdf_and_hmac() {
        let root: Secret = random_bytes().unwrap();
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(root.as_slice());
        let info: [&[u8]; 1] = [b"visitor"];
        let key = hmac::Key::from(extracted.expand(&info, hmac::HMAC_SHA256).unwrap());
        let ring = KeyRing::new([1; 16], &root, Vec::new()).unwrap();
        assert_eq!(ring.mac("visitor", b"message").as_slice(), hmac::sign(&key, b"message").as_ref());
        assert_ne!(ring.mac("visitor", b"message"), ring.mac("session", b"message"));
    }

    #[test]
    fn a_signature_is_of_its_message_and_its_installation() {
        let (ring, other) = (KeyRing::ephemeral().unwrap(), KeyRing::ephemeral().unwrap());
        let signature = ring.sign(b"checkpoint 7");
        assert!(verify_signature(&ring.public_key(), b"checkpoint 7", &signature));
        assert!(!verify_signature(&ring.public_key(), b"checkpoint 8", &signature));
        assert!(!verify_signature(&other.public_key(), b"checkpoint 7", &signature));
    }
}
