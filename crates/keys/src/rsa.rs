//! JSON Web Tokens that are signed with an RSA key (RS256, RFC 7518 3.3), for destinations that let a key pair sign in.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::KeyError;
use crate::signature::sha256;

/// A private RSA key of 2 048 bits or more.
pub struct RsaKey(RsaKeyPair);

impl RsaKey {
    /// Reads a PEM text: `BEGIN PRIVATE KEY` (PKCS #8) or `BEGIN RSA PRIVATE KEY`, not encrypted.
    ///
    /// # Errors
    /// What is wrong with the text; nothing of it is quoted.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let wrong = |problem: &str| KeyError::Provider {
            provider: "private key".to_owned(),
            problem: format!("{problem}: give the PEM text from BEGIN PRIVATE KEY to END PRIVATE KEY, not encrypted"),
        };
        let lines: Zeroizing<String> =
            pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect::<String>().into();
        let der = Zeroizing::new(STANDARD.decode(lines.as_bytes()).map_err(|_| wrong("no PEM text"))?);
        let pair = if pem.contains("BEGIN RSA PRIVATE KEY") {
            RsaKeyPair::from_der(&der)
        } else {
            RsaKeyPair::from_pkcs8(&der)
        };
        pair.map(Self).map_err(|_| wrong("no RSA key of 2 048 bits or more"))
    }

    /// SHA-256 of the public key (X.509 `SubjectPublicKeyInfo`), as base64: the fingerprint that Snowflake shows.
    ///
    /// # Errors
    /// When the key cannot be written so.
    pub fn fingerprint(&self) -> Result<String, KeyError> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(|_| unusable())?;
        Ok(STANDARD.encode(sha256(der.as_ref())))
    }

    /// A signed token: header, claims (JSON) and signature, each base64url, with dots between.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn token(&self, key_id: Option<&str>, claims: &str) -> Result<String, KeyError> {
        let id = key_id.map(|id| format!(",\"kid\":{}", serde_json::Value::from(id))).unwrap_or_default();
        let header = format!("{{\"alg\":\"RS256\",\"typ\":\"JWT\"{id}}}");
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| unusable())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn unusable() -> KeyError {
    KeyError::Provider { provider: "private key".to_owned(), problem: "it cannot sign: make a new one".to_owned() }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_token_is_one_that_the_public_key_verifies_and_what_is_no_key_is_said_without_quoting_it() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let key = RsaKey::from_pem(&pem).unwrap();
        let token = key.token(Some("k1"), "{\"iss\":\"me\"}").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        assert!(public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_ok());
        assert!(public.verify(b"other", &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_err());
        assert_eq!(key.fingerprint().unwrap().len(), 44);
        for text in ["canary", "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----"] {
            let error = RsaKey::from_pem(text).err().unwrap().to_string();
            assert!(error.contains("BEGIN PRIVATE KEY") && !error.contains("canary"), "{error}");
        }
    }
}
