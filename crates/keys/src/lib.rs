//! The only room that touches cryptography: key ring, envelopes, hashes, signatures, random bytes.

use std::path::Path;

/// What can go wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read, written or trusted.
    #[error("key file {path}: {problem}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The sealed bytes were changed, moved to another place, or sealed under a key that the ring has not.
    #[error("sealed bytes of {place} cannot be opened: changed, moved, or their key is not in the key file")]
    Open {
        /// Which place, as given by the caller; never content.
        place: String,
    },
    /// The operating system gave no random bytes, or a primitive failed.
    #[error("cryptographic primitive failed: {0}")]
    Primitive(&'static str),
}

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

/// The keys of one installation: the first seals, any opens.
pub struct KeyRing {}

impl KeyRing {
    /// Opens the key file, or makes it (mode 0600, one random key) when there is none.
    ///
    /// # Errors
    /// When the file is readable by others, malformed, or cannot be made.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        let _ = path;
        todo!()
    }

    /// A ring with one random key that is in no file; for `convizit name` and tests.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn ephemeral() -> Result<Self, KeyError> {
        todo!()
    }

    /// Seals with AES-256-GCM under a fresh nonce, bound to its place: key version (4 bytes) ‖ nonce (12) ‖ ciphertext ‖ tag (16).
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let _ = (place, plain);
        todo!()
    }

    /// Opens what `seal` made for the same place.
    ///
    /// # Errors
    /// When it was changed or moved, or its key is unknown.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let _ = (place, sealed);
        todo!()
    }

    /// HMAC-SHA-256 under a key derived (HKDF) for this purpose, such as `visitor`.
    #[must_use]
    pub fn mac(&self, purpose: &str, message: &[u8]) -> [u8; 32] {
        let _ = (purpose, message);
        todo!()
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(message: &[u8]) -> [u8; 32] {
    let _ = message;
    todo!()
}

/// `n` random bytes as URL-safe text, for project keys and secrets.
///
/// # Errors
/// When there are no random bytes.
pub fn random_text(bytes: usize) -> Result<String, KeyError> {
    let _ = bytes;
    todo!()
}

/// The `webhook-signature` header of Standard Webhooks: `v1,<base64 HMAC-SHA-256 of id.timestamp.body>`. `secret` is `whsec_<base64>`.
///
/// # Errors
/// When the secret has not that form.
pub fn sign_webhook(secret: &str, id: &str, timestamp_seconds: i64, body: &[u8]) -> Result<String, KeyError> {
    let _ = (secret, id, timestamp_seconds, body);
    todo!()
}

/// Whether a `webhook-signature` header (space-separated signatures) holds a right one, compared in constant time.
///
/// # Errors
/// When the secret has not the form `whsec_<base64>`.
pub fn verify_webhook(
    secret: &str,
    id: &str,
    timestamp_seconds: i64,
    body: &[u8],
    header: &str,
) -> Result<bool, KeyError> {
    let _ = (secret, id, timestamp_seconds, body, header);
    todo!()
}
