//! The only room that touches cryptography: key ring, envelopes, hashes, signatures, random bytes, passwords, second factors,
//! key providers.
//!
//! Every primitive is that of aws-lc-rs, which rustls links anyway, but argon2id, which it has not; nothing here invents a
//! construction of its own.
//!
//! Keys wrap keys: the key-encryption key, which stays in its provider (`kms`), wraps the root secret and the keys of projects
//! (`project`); those wrap, here in the process, the keys of days and hours (`envelope`), which seal what is stored.

mod envelope;
mod factor;
mod kms;
mod passkey;
mod password;
mod project;
mod random;
mod ring;
mod rsa;
mod signature;
mod sigv4;
#[cfg(test)]
mod wycheproof;

pub use envelope::{DataKey, Place, SEAL_OVERHEAD, TAG_BYTES, tag_of};
pub use factor::{RECOVERY_CODES, TotpSecret, normal_recovery_code, recovery_codes};
pub use kms::{Binding, KEK_DAYS, Kek, KeyProvider, Later, ProviderConfig, Wrapped, open_provider, read_secret_file};
pub use passkey::{CHALLENGE_BYTES, Ceremony, Passkey, PasskeyProblem};
pub use password::{
    PASSWORD_LEAST, PASSWORD_MOST, PasswordProblem, check_password, hash_password, verify_nothing, verify_password,
};
pub use project::{PROJECT_KEY_DAYS, ProjectKey, ProjectKeys, version_of};
pub use random::{random_bytes, random_text};
pub use ring::{KeyRing, MacKey, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify_signature};
pub use rsa::RsaKey;
pub use signature::{
    MysqlPlugin, Scram, mysql_proof, scram, sha256, sign_ed25519, sign_webhook, verify_webhook, webhook_secret,
};
pub use sigv4::{AwsRequest, sign_aws};

/// A key's 32 bytes, wiped when dropped.
pub type Secret = zeroize::Zeroizing<[u8; 32]>;

/// What can go wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key provider cannot be reached, asked or trusted.
    #[error("{provider}: {problem}")]
    Provider {
        /// Which provider: `key file /etc/convizit/keys`, `aws-kms`.
        provider: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A wrapped key cannot be unwrapped: its key-encryption key is gone, or the wrapping was changed.
    #[error("key {kek}: {problem}")]
    Unwrap {
        /// Id of the key-encryption key.
        kek: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The sealed bytes were changed, moved to another place, or sealed under another key.
    #[error(
        "{place} of project number {project} cannot be opened: the bytes were changed or moved, or are under another key"
    )]
    Open {
        /// Which place, as given by the caller; never content.
        place: String,
        /// The project's number.
        project: i64,
    },
    /// Sealed under a version of a project's key that is not in memory.
    #[error(
        "version {version} of the key of project number {project} is not known: it was destroyed, or the database is older than the data"
    )]
    Unknown {
        /// The project's number.
        project: i64,
        /// The version.
        version: u32,
    },
    /// A key is too old to seal.
    #[error(
        "the {key} is older than {days} days and seals nothing any more: run `convizit keys rotate`, or mend the key provider"
    )]
    Expired {
        /// Which key.
        key: String,
        /// Its lifetime.
        days: i64,
    },
    /// A key has sealed as often as random nonces allow.
    #[error("a key has sealed 2^32 times and seals no more")]
    UsedUp,
    /// A secret of Standard Webhooks that has not the standard's form.
    #[error("a webhook secret is whsec_ followed by 24 to 64 bytes as base64")]
    WebhookSecret,
    /// The operating system gave no random bytes, or a primitive failed.
    #[error("cryptographic primitive failed: {0}")]
    Primitive(&'static str),
}
