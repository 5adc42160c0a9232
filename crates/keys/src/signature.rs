//! Hashes and the proofs that destinations check: SHA-256, Standard Webhooks, Ed25519 (NATS), SCRAM (Kafka), MySQL's.
//!
//! Standard Webhooks: HMAC-SHA-256 over `id.timestamp.body`, secrets `whsec_<base64>`, signatures `v1,<base64>`
//! (the standard's specification, section "Signature scheme").

use std::num::NonZeroU32;

use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::{digest, hmac, pbkdf2};
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

/// The Ed25519 signature (RFC 8032) of a message by the key pair of a 32-byte seed, with which NATS knows users of a credentials file.
///
/// # Errors
/// When the seed has not 32 bytes.
pub fn sign_ed25519(seed: &[u8], message: &[u8]) -> Result<Vec<u8>, KeyError> {
    let pair =
        Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Primitive("an Ed25519 seed has 32 bytes"))?;
    Ok(pair.sign(message).as_ref().to_vec())
}

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scram {
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// Iterations of a SCRAM server: fewer are not safe, with more it would make this process compute for it.
const SCRAM_ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=100_000;

/// The client's proof and the signature by which the server shows that it knows the password, too (RFC 5802, section 3).
/// `salted_by` and `iterations` are what the server sent, `message` is the AuthMessage. It computes for up to a tenth of a second or so: not on
/// a thread that others wait for.
///
/// # Errors
/// When the server asks for too few or too many iterations.
pub fn scram(
    hash: Scram,
    password: &str,
    (salted_by, iterations): (&[u8], u32),
    message: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), KeyError> {
    let (derive, mac, digested) = match hash {
        Scram::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
        Scram::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
    };
    let times = NonZeroU32::new(iterations)
        .filter(|times| SCRAM_ITERATIONS.contains(&times.get()))
        .ok_or(KeyError::Primitive("a SCRAM server asks for 4096 to 100000 iterations"))?;
    let mut salted = Zeroizing::new(vec![0; digested.output_len()]);
    pbkdf2::derive(derive, times, salted_by, password.as_bytes(), &mut salted);
    let under = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text);
    let client_key = under(&salted, b"Client Key");
    let stored_key = digest::digest(digested, client_key.as_ref());
    let signature = under(stored_key.as_ref(), message);
    let proof = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, of)| key ^ of).collect();
    let server_key = under(&salted, b"Server Key");
    Ok((proof, under(server_key.as_ref(), message).as_ref().to_vec()))
}

/// How a MySQL server knows a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MysqlPlugin {
    /// `mysql_native_password`: SHA-1, as its protocol has it.
    Native,
    /// `caching_sha2_password`: SHA-256.
    CachingSha2,
}

/// The proof of a password to a MySQL server for the nonce that it sent (MySQL's "Authentication Methods"): of `H` the plug-in's hash,
/// `H(password) xor H(nonce, H(H(password)))` for the first, `H(password) xor H(H(H(password)), nonce)` for the second.
#[must_use]
pub fn mysql_proof(plugin: MysqlPlugin, password: &str, nonce: &[u8]) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| {
        let algorithm = match plugin {
            MysqlPlugin::Native => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            MysqlPlugin::CachingSha2 => &digest::SHA256,
        };
        digest::digest(algorithm, &parts.concat())
    };
    let once = hash(&[password.as_bytes()]);
    let twice = hash(&[once.as_ref()]);
    let of = match plugin {
        MysqlPlugin::Native => hash(&[nonce, twice.as_ref()]),
        MysqlPlugin::CachingSha2 => hash(&[twice.as_ref(), nonce]),
    };
    once.as_ref().iter().zip(of.as_ref()).map(|(one, other)| one ^ other).collect()
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

    #[test]
    fn ed25519_is_that_of_rfc_8032_and_scram_that_of_rfc_7677() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        // RFC 8032, section 7.1, test 1: the empty message.
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let signature = hex(concat!(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ));
        assert_eq!(sign_ed25519(&seed, b"").unwrap(), signature);
        assert!(sign_ed25519(&seed[1..], b"").is_err());
        // RFC 7677, section 3.
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                       s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let (proof, server) = scram(Scram::Sha256, "pencil", (&salt, 4096), message.as_bytes()).unwrap();
        assert_eq!(STANDARD.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(STANDARD.encode(server), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        for times in [1, 100_001] {
            assert!(scram(Scram::Sha512, "pencil", (&salt, times), b"").is_err());
        }
    }

    #[test]
    fn proofs_to_mysql_are_those_of_its_documents() {
        // Computed after the documents' formulas by Python's hashlib.
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let nonce = b"abcdefghijklmnopqrst";
        assert_eq!(hex(mysql_proof(MysqlPlugin::Native, "right", nonce)), "f7c0c34f7ddf026c28f840d5a3d40591171b43a6");
        assert_eq!(
            hex(mysql_proof(MysqlPlugin::CachingSha2, "right", nonce)),
            "851dcfe07279fe370df7949daebeed86ec9a9da85bee101829e9b596940ea558"
        );
    }
}
