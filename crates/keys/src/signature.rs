//! Hashes and the signatures that destinations check: SHA-256 and Standard Webhooks.
//!
//! Standard Webhooks: HMAC-SHA-256 over `id.timestamp.body`, secrets `whsec_<base64>`, signatures `v1,<base64>`
//! (the standard's specification, section "Signature scheme").

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::KeyError;
use crate::random::random_bytes;

/// SHA-256.
#[must_use]
pub fn sha256(message: &[u8]) -> [u8; 32] {
    bytes32(digest::digest(&digest::SHA256, message).as_ref())
}

/// A new random secret for a webhook: `whsec_` and 32 bytes as base64.
///
/// # Errors
/// When there are no random bytes.
pub fn webhook_secret() -> Result<String, KeyError> {
    Ok(format!("whsec_{}", STANDARD.encode(random_bytes::<32>()?.as_slice())))
}

/// The `webhook-signature` header of Standard Webhooks: `v1,<base64 HMAC-SHA-256 of id.timestamp.body>`. `secret` is `whsec_<base64>`.
///
/// # Errors
/// When the secret has not that form.
pub fn sign_webhook(secret: &str, id: &str, timestamp_seconds: i64, body: &[u8]) -> Result<String, KeyError> {
    let key = webhook_key(secret)?;
    let mut message = hmac::Context::with_key(&key);
    message.update(head(id, timestamp_seconds).as_bytes());
    message.update(body);
    Ok(format!("v1,{}", STANDARD.encode(message.sign())))
}

/// Whether a `webhook-signature` header (space-separated signatures) holds a right one, compared in constant time.
///
/// The caller checks that the timestamp is near its own clock: without that an old request can be replayed.
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
    let key = webhook_key(secret)?;
    let message = [head(id, timestamp_seconds).as_bytes(), body].concat();
    // `verify` compares in constant time; which of several signatures was right is no secret.
    Ok(header
        .split(' ')
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|tag| hmac::verify(&key, &message, &tag).is_ok()))
}

fn head(id: &str, timestamp_seconds: i64) -> String {
    format!("{id}.{timestamp_seconds}.")
}

fn webhook_key(secret: &str) -> Result<hmac::Key, KeyError> {
    let text = secret.strip_prefix("whsec_").ok_or(KeyError::WebhookSecret)?;
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError::WebhookSecret)?);
    if !(24..=64).contains(&bytes.len()) {
        return Err(KeyError::WebhookSecret);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// The 32 bytes of a SHA-256 output as an array.
pub(crate) fn bytes32(output: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(output) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the Standard Webhooks specification and its reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_standard_signs_and_verifies() {
        assert_eq!(sign_webhook(SECRET, ID, 1_614_265_330, BODY).unwrap(), SIGNATURE);
        let header = format!("v1a,other v1,AAAA {SIGNATURE}");
        assert!(verify_webhook(SECRET, ID, 1_614_265_330, BODY, &header).unwrap());
    }

    #[test]
    fn a_changed_id_time_body_or_signature_does_not_verify() {
        let time = 1_614_265_330;
        assert!(!verify_webhook(SECRET, "msg_x", time, BODY, SIGNATURE).unwrap());
        assert!(!verify_webhook(SECRET, ID, time + 1, BODY, SIGNATURE).unwrap());
        assert!(!verify_webhook(SECRET, ID, time, b"{}", SIGNATURE).unwrap());
        for header in ["", "v1,", "v1,g0hM9SsE", &SIGNATURE[3..], "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="] {
            assert!(!verify_webhook(SECRET, ID, time, BODY, header).unwrap(), "{header}");
        }
    }

    #[test]
    fn secrets_of_another_form_are_refused() {
        for secret in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64"] {
            assert!(matches!(sign_webhook(secret, ID, 0, BODY), Err(KeyError::WebhookSecret)), "{secret}");
        }
        assert!(sign_webhook(&webhook_secret().unwrap(), ID, 0, BODY).is_ok());
    }

    #[test]
    fn sha256_is_that_of_fips_180() {
        let hex: String = sha256(b"abc").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
