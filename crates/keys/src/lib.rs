//! The only room that touches cryptography: key ring, envelopes, hashes, signatures, random bytes.
//!
//! Every primitive is that of aws-lc-rs, which rustls links anyway; nothing here invents a construction of its own.

mod envelope;
mod kms;
mod random;
mod ring;
mod signature;

pub use envelope::{Place, SEAL_OVERHEAD, TAG_BYTES, tag_of};
pub use random::{random_bytes, random_text};
pub use ring::KeyRing;
pub use signature::{sha256, sign_webhook, verify_webhook, webhook_secret};

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
    /// A secret of Standard Webhooks that has not the standard's form.
    #[error("a webhook secret is whsec_ followed by 24 to 64 bytes as base64")]
    WebhookSecret,
    /// The operating system gave no random bytes, or a primitive failed.
    #[error("cryptographic primitive failed: {0}")]
    Primitive(&'static str),
}
