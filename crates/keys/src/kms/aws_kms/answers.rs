//! What KMS answers, as far as it is read here.

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    pub(super) key_metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metadata {
    pub(super) arn: String,
    /// Seconds, with a fraction.
    pub(super) creation_date: f64,
    pub(super) key_state: String,
    pub(super) key_spec: String,
    pub(super) key_usage: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Rotations {
    pub(super) rotations: Vec<Rotation>,
    pub(super) next_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Rotation {
    pub(super) rotation_date: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypted {
    pub(super) ciphertext_blob: String,
    pub(super) key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypted {
    pub(super) plaintext: Zeroizing<String>,
}

/// The name of an error without its namespace, and AWS's words; nothing when it is no error of AWS.
pub(super) fn error_of(body: &[u8]) -> (String, String) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Default::default() };
    let name = body["__type"].as_str().unwrap_or_default();
    let words = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
    (name.rsplit('#').next().unwrap_or_default().to_owned(), words.chars().take(300).collect())
}

pub(super) fn throttles(name: &str) -> bool {
    matches!(
        name,
        "ThrottlingException" | "LimitExceededException" | "RequestLimitExceeded" | "TooManyRequestsException"
    )
}
