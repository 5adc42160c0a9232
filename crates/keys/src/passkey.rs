//! Passkeys (WebAuthn level 3): what a browser sends when one is made and when one is used, verified.
//!
//! No attestation: who made the authenticator is nobody's business here. The person must have been verified by it (a finger, a
//! face, a number), so that a passkey is worth as much as password and code together.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use serde::Deserialize;

use crate::signature::sha256;

/// Bytes of a challenge: twice what the specification asks for.
pub const CHALLENGE_BYTES: usize = 32;
/// Bytes of a credential's id at most, as the specification has it.
const ID_BYTES: usize = 1023;
/// Bytes of anything that a browser sends of a passkey at most.
const MOST: usize = 16 * 1024;
/// How deep its CBOR may be.
const DEPTH: usize = 8;
/// The person was there, and was verified.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
/// It may be copied to other machines of the person, and it is.
const MAY_BE_COPIED: u8 = 0x08;
const IS_COPIED: u8 = 0x10;
/// A new credential follows; extensions follow.
const CREDENTIAL: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// What the console knows when a browser answers.
#[derive(Debug, Clone, Copy)]
pub struct Ceremony<'a> {
    /// The challenge that was given to this session, for one time.
    pub challenge: &'a [u8],
    /// Where the console is: `https://console.shop.example`.
    pub origin: &'a str,
    /// Its host, without a port.
    pub host: &'a str,
}

/// A passkey as it is kept: nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// The credential's id, 1 to 1023 bytes.
    pub id: Vec<u8>,
    /// The public key, as COSE writes it.
    pub key: Vec<u8>,
    /// How often it was used, as far as the authenticator counts; 0 where it does not.
    pub counter: u32,
    /// Whether it may be copied to other machines of the person, which never changes.
    pub may_be_copied: bool,
}

/// Why an answer is not taken. It names what was wrong, never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyProblem {
    /// Not of the form that browsers send.
    #[error("the browser's answer is not of its form: {0}")]
    Form(&'static str),
    /// The answer to something else: another kind, another challenge.
    #[error("the answer belongs to another question: load the page again")]
    Challenge,
    /// Made for another site, or inside one.
    #[error("the passkey was used on another site")]
    Origin,
    /// The authenticator did not verify the person.
    #[error("the device did not verify who you are: set up its lock, a finger or a number, first")]
    Unverified,
    /// A key of a kind that the console did not ask for.
    #[error("the device makes keys that are not taken here")]
    Kind,
    /// The signature is not of this key.
    #[error("this passkey does not belong to this account")]
    Signature,
    /// It counts less than before: there is a copy of it somewhere.
    #[error("this passkey was copied: remove it and make another one")]
    Copied,
}

/// What the browser signs beside what the authenticator says.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
    #[serde(default, rename = "topOrigin")]
    top_origin: Option<String>,
}

impl Ceremony<'_> {
    fn check_client(&self, kind: &str, json: &[u8]) -> Result<(), PasskeyProblem> {
        if json.len() > MOST {
            return Err(PasskeyProblem::Form("too long"));
        }
        let client: ClientData = serde_json::from_slice(json).map_err(|_| PasskeyProblem::Form("the client's data"))?;
        let challenge = URL_SAFE_NO_PAD.decode(client.challenge).map_err(|_| PasskeyProblem::Challenge)?;
        if client.kind != kind
            || self.challenge.len() != CHALLENGE_BYTES
            || verify_slices_are_equal(&challenge, self.challenge).is_err()
        {
            return Err(PasskeyProblem::Challenge);
        }
        if client.origin != self.origin || client.cross_origin || client.top_origin.is_some() {
            return Err(PasskeyProblem::Origin);
        }
        Ok(())
    }

    /// Flags and counter, and what follows them, extensions too.
    fn check_authenticator<'d>(&self, data: &'d [u8]) -> Result<(u8, u32, &'d [u8]), PasskeyProblem> {
        let short = PasskeyProblem::Form("the authenticator's data");
        let (host, rest) = data.split_at_checked(32).ok_or(short)?;
        let ([flags, counter @ ..], rest) = rest.split_first_chunk::<5>().ok_or(short)?;
        if host != sha256(self.host.as_bytes()) {
            return Err(PasskeyProblem::Origin);
        }
        if flags & (PRESENT | VERIFIED) != PRESENT | VERIFIED {
            return Err(PasskeyProblem::Unverified);
        }
        if flags & IS_COPIED != 0 && flags & MAY_BE_COPIED == 0 {
            return Err(short);
        }
        Ok((*flags, u32::from_be_bytes(*counter), rest))
    }

    /// The passkey that a browser has made (`navigator.credentials.create`): `clientDataJSON` and `attestationObject`.
    ///
    /// # Errors
    /// What of it is not as it was asked for.
    pub fn made(&self, client: &[u8], attestation: &[u8]) -> Result<Passkey, PasskeyProblem> {
        self.check_client("webauthn.create", client)?;
        let (object, rest) = cbor(attestation)?;
        if !rest.is_empty() {
            return Err(PasskeyProblem::Form("something behind the attestation"));
        }
        let data = named(&object, "authData")
            .and_then(Value::as_bytes)
            .ok_or(PasskeyProblem::Form("no authenticator's data"))?;
        let (flags, counter, rest) = self.check_authenticator(data)?;
        let short = PasskeyProblem::Form("the new credential");
        if flags & CREDENTIAL == 0 {
            return Err(short);
        }
        // The model's id, which says nothing without attestation.
        let (_, rest) = rest.split_at_checked(16).ok_or(short)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, rest) = rest.split_at_checked(length).ok_or(short)?;
        if id.is_empty() || id.len() > ID_BYTES {
            return Err(short);
        }
        let (key, after) = cbor(rest)?;
        let taken = rest.len() - after.len();
        check_extensions(flags, after)?;
        // That it is one that can be verified.
        let public = Public::of(&key)?;
        let statement = named(&object, "attStmt").ok_or(PasskeyProblem::Form("no attestation"))?;
        match named(&object, "fmt").and_then(Value::as_text) {
            Some("none") if statement.as_map().is_some_and(Vec::is_empty) => {}
            // Signed with the new key itself: browsers leave it in, since it tells nothing of who made the authenticator.
            Some("packed") if named(statement, "x5c").is_none() => {
                let signature = named(statement, "sig").and_then(Value::as_bytes);
                let signature = signature.ok_or(PasskeyProblem::Form("an attestation without a signature"))?;
                if named(statement, "alg") != Some(&Value::from(public.algorithm())) {
                    return Err(PasskeyProblem::Kind);
                }
                public.verify(&[data.as_slice(), &sha256(client)].concat(), signature)?;
            }
            _ => return Err(PasskeyProblem::Form("an attestation that was not asked for")),
        }
        Ok(Passkey {
            id: id.to_vec(),
            key: rest.get(..taken).unwrap_or_default().to_vec(),
            counter,
            may_be_copied: flags & MAY_BE_COPIED != 0,
        })
    }

    /// Whether a passkey was used (`navigator.credentials.get`): `clientDataJSON`, `authenticatorData`, `signature`. Returns what it
    /// counts now.
    ///
    /// # Errors
    /// What is wrong.
    pub fn used(
        &self,
        passkey: &Passkey,
        client: &[u8],
        authenticator: &[u8],
        signature: &[u8],
    ) -> Result<u32, PasskeyProblem> {
        self.check_client("webauthn.get", client)?;
        if authenticator.len() > MOST || signature.len() > MOST {
            return Err(PasskeyProblem::Form("too long"));
        }
        let (flags, counter, rest) = self.check_authenticator(authenticator)?;
        if flags & CREDENTIAL != 0 || (flags & MAY_BE_COPIED != 0) != passkey.may_be_copied {
            return Err(PasskeyProblem::Form("the authenticator's data"));
        }
        check_extensions(flags, rest)?;
        let (key, _) = cbor(&passkey.key)?;
        let message = [authenticator, &sha256(client)].concat();
        Public::of(&key)?.verify(&message, signature)?;
        if (counter != 0 || passkey.counter != 0) && counter <= passkey.counter {
            return Err(PasskeyProblem::Copied);
        }
        Ok(counter)
    }
}

/// Extensions stand at the end where they are announced, and nothing else does.
fn check_extensions(flags: u8, rest: &[u8]) -> Result<(), PasskeyProblem> {
    let form = PasskeyProblem::Form("what follows the authenticator's data");
    let after = match flags & EXTENSIONS {
        0 => rest,
        _ => match cbor(rest)? {
            (Value::Map(_), after) => after,
            _ => return Err(form),
        },
    };
    if after.is_empty() { Ok(()) } else { Err(form) }
}

/// An entry of a map whose keys are texts.
fn named<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    map.as_map()?.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
}

/// The first value, and what follows it.
fn cbor(bytes: &[u8]) -> Result<(Value, &[u8]), PasskeyProblem> {
    if bytes.len() > MOST {
        return Err(PasskeyProblem::Form("too long"));
    }
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH)
        .map_err(|_| PasskeyProblem::Form("no CBOR"))?;
    Ok((value, rest))
}

/// A public key of one of the three kinds that are asked for (RFC 9053).
enum Public {
    /// ES256: the point, uncompressed.
    P256(Vec<u8>),
    /// EdDSA.
    Ed25519(Vec<u8>),
    /// RS256: modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
}

impl Public {
    fn of(key: &Value) -> Result<Self, PasskeyProblem> {
        let map = key.as_map().ok_or(PasskeyProblem::Form("the public key"))?;
        let entry = |label: i64| map.iter().find(|(key, _)| *key == Value::from(label)).map(|(_, value)| value);
        let number = |label: i64| entry(label).and_then(Value::as_integer).and_then(|value| i64::try_from(value).ok());
        let bytes = |label: i64| entry(label).and_then(Value::as_bytes).cloned().unwrap_or_default();
        // Kind, algorithm, curve.
        match (number(1), number(3), number(-1)) {
            (Some(2), Some(-7), Some(1)) if bytes(-2).len() == 32 && bytes(-3).len() == 32 => {
                Ok(Self::P256([vec![4], bytes(-2), bytes(-3)].concat()))
            }
            (Some(1), Some(-8), Some(6)) if bytes(-2).len() == 32 => Ok(Self::Ed25519(bytes(-2))),
            // 2048 to 8192 bits, and an exponent that is quick to verify with.
            (Some(3), Some(-257), _)
                if (256..=1024).contains(&bytes(-1).len()) && (1..=4).contains(&bytes(-2).len()) =>
            {
                Ok(Self::Rsa(bytes(-1), bytes(-2)))
            }
            _ => Err(PasskeyProblem::Kind),
        }
    }

    /// Its number in the registry of COSE.
    fn algorithm(&self) -> i64 {
        match self {
            Self::P256(_) => -7,
            Self::Ed25519(_) => -8,
            Self::Rsa(..) => -257,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), PasskeyProblem> {
        let verified = match self {
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature),
            Self::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
            Self::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        };
        verified.map_err(|_| PasskeyProblem::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    };

    const CHALLENGE: [u8; CHALLENGE_BYTES] = [7; CHALLENGE_BYTES];
    const ORIGIN: &str = "https://console.shop.example";
    const HOST: &str = "console.shop.example";

    fn ceremony() -> Ceremony<'static> {
        Ceremony { challenge: &CHALLENGE, origin: ORIGIN, host: HOST }
    }

    fn client(kind: &str, challenge: &[u8], origin: &str, more: &str) -> Vec<u8> {
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{more}}}"#).into_bytes()
    }

    fn authenticator(host: &str, flags: u8, counter: u32) -> Vec<u8> {
        [sha256(host.as_bytes()).as_slice(), &[flags], &counter.to_be_bytes()].concat()
    }

    fn write(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    fn map(entries: Vec<(i64, Value)>) -> Value {
        Value::Map(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
    }

    fn cose_p256(key: &EcdsaKeyPair) -> Value {
        let point = key.public_key().as_ref();
        map(vec![
            (1, 2.into()),
            (3, (-7).into()),
            (-1, 1.into()),
            (-2, Value::Bytes(point[1..33].to_vec())),
            (-3, Value::Bytes(point[33..].to_vec())),
        ])
    }

    fn attestation(flags: u8, fmt: &str, key: &Value, after: &[u8]) -> Vec<u8> {
        let mut data = authenticator(HOST, flags, 0);
        data.extend([0; 16]);
        data.extend([0, 3]);
        data.extend(b"cid");
        data.extend(write(key));
        data.extend(after);
        write(&Value::Map(vec![
            ("fmt".into(), fmt.into()),
            ("attStmt".into(), Value::Map(Vec::new())),
            ("authData".into(), Value::Bytes(data)),
        ]))
    }

    fn pair() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
    }

    fn signed(key: &EcdsaKeyPair, authenticator: &[u8], client: &[u8]) -> Vec<u8> {
        let message = [authenticator, &sha256(client)].concat();
        key.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec()
    }

    #[test]
    fn a_passkey_is_made_and_used() {
        let key = pair();
        let create = client("webauthn.create", &CHALLENGE, ORIGIN, r#","crossOrigin":false"#);
        let made = ceremony().made(&create, &attestation(0x45, "none", &cose_p256(&key), &[])).unwrap();
        assert_eq!((made.id.as_slice(), made.counter), (b"cid".as_slice(), 0));
        let get = client("webauthn.get", &CHALLENGE, ORIGIN, "");
        let data = authenticator(HOST, 0x05, 1);
        assert_eq!(ceremony().used(&made, &get, &data, &signed(&key, &data, &get)), Ok(1));
        // One that never counts.
        let data = authenticator(HOST, 0x05, 0);
        assert_eq!(ceremony().used(&made, &get, &data, &signed(&key, &data, &get)), Ok(0));
        // One that is copied by intent, and one with extensions.
        let copied = ceremony().made(&create, &attestation(0x5d, "none", &cose_p256(&key), &[])).unwrap();
        let data = authenticator(HOST, 0x1d, 0);
        assert_eq!(ceremony().used(&copied, &get, &data, &signed(&key, &data, &get)), Ok(0));
        let data = [authenticator(HOST, 0x85, 0), write(&Value::Map(Vec::new()))].concat();
        assert_eq!(ceremony().used(&made, &get, &data, &signed(&key, &data, &get)), Ok(0));
    }

    #[test]
    fn what_is_of_another_site_question_key_or_person_is_refused() {
        let key = pair();
        let create = client("webauthn.create", &CHALLENGE, ORIGIN, "");
        let made = ceremony().made(&create, &attestation(0x45, "none", &cose_p256(&key), &[])).unwrap();
        let made = Passkey { counter: 5, ..made };
        let good = authenticator(HOST, 0x05, 6);
        let form = PasskeyProblem::Form;
        let get = |challenge: &[u8], origin: &str, more: &str| client("webauthn.get", challenge, origin, more);
        for (client, data, problem) in [
            (get(&[8; 32], ORIGIN, ""), good.clone(), PasskeyProblem::Challenge),
            (get(&[], ORIGIN, ""), good.clone(), PasskeyProblem::Challenge),
            (create, good.clone(), PasskeyProblem::Challenge),
            (get(&CHALLENGE, "https://evil.example", ""), good.clone(), PasskeyProblem::Origin),
            (get(&CHALLENGE, "http://console.shop.example", ""), good.clone(), PasskeyProblem::Origin),
            (get(&CHALLENGE, ORIGIN, r#","crossOrigin":true"#), good.clone(), PasskeyProblem::Origin),
            (get(&CHALLENGE, ORIGIN, r#","topOrigin":"https://evil.example""#), good.clone(), PasskeyProblem::Origin),
            (get(&CHALLENGE, ORIGIN, ""), authenticator("evil.example", 0x05, 6), PasskeyProblem::Origin),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x01, 6), PasskeyProblem::Unverified),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x04, 6), PasskeyProblem::Unverified),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x00, 6), PasskeyProblem::Unverified),
            (get(&CHALLENGE, &format!("{ORIGIN}:8443"), ""), good.clone(), PasskeyProblem::Origin),
            (get(&CHALLENGE, &format!("{ORIGIN}.evil.example"), ""), good.clone(), PasskeyProblem::Origin),
            // Copied without being one that may be; one that may be all at once.
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x15, 6), form("the authenticator's data")),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x0d, 6), form("the authenticator's data")),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x45, 6), form("the authenticator's data")),
            (get(&CHALLENGE, ORIGIN, ""), good[..36].to_vec(), form("the authenticator's data")),
            (get(&CHALLENGE, ORIGIN, ""), [&good[..], b"x"].concat(), form("what follows the authenticator's data")),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x85, 6), form("no CBOR")),
            (get(&CHALLENGE, ORIGIN, ""), vec![0; MOST + 1], form("too long")),
            (vec![b' '; MOST + 1], good.clone(), form("too long")),
            (b"null".to_vec(), good.clone(), form("the client's data")),
            (get(&CHALLENGE, ORIGIN, r#","type":"webauthn.get""#), good.clone(), form("the client's data")),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x05, 5), PasskeyProblem::Copied),
            (get(&CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x05, 0), PasskeyProblem::Copied),
        ] {
            let signature = signed(&key, &data, &client);
            assert_eq!(
                ceremony().used(&made, &client, &data, &signature),
                Err(problem),
                "{}",
                String::from_utf8_lossy(&client)
            );
        }
        let client = get(&CHALLENGE, ORIGIN, "");
        assert_eq!(
            ceremony().used(&made, &client, &good, &signed(&pair(), &good, &client)),
            Err(PasskeyProblem::Signature)
        );
        let other = authenticator(HOST, 0x05, 7);
        assert_eq!(
            ceremony().used(&made, &client, &other, &signed(&key, &good, &client)),
            Err(PasskeyProblem::Signature)
        );
        for signature in [Vec::new(), vec![0; 64], vec![0x30; 72], vec![0; MOST]] {
            assert_eq!(ceremony().used(&made, &client, &good, &signature), Err(PasskeyProblem::Signature));
        }
        // No challenge was given: nothing answers it.
        let none = Ceremony { challenge: &[], ..ceremony() };
        let empty = get(&[], ORIGIN, "");
        assert_eq!(none.used(&made, &empty, &good, &signed(&key, &good, &empty)), Err(PasskeyProblem::Challenge));
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        let key = cose_p256(&pair());
        let create = client("webauthn.create", &CHALLENGE, ORIGIN, "");
        let weak = map(vec![
            (1, 2.into()),
            (3, (-35).into()),
            (-1, 2.into()),
            (-2, Value::Bytes(vec![1; 48])),
            (-3, Value::Bytes(vec![1; 48])),
        ]);
        let rsa = |modulus: usize, exponent: usize| {
            let bytes = |length| Value::Bytes(vec![3; length]);
            map(vec![(1, 3.into()), (3, (-257).into()), (-1, bytes(modulus)), (-2, bytes(exponent))])
        };
        assert!(ceremony().made(&create, &attestation(0x45, "none", &rsa(256, 3), &[])).is_ok());
        // Another algorithm under a kind that is asked for, and a curve that is not its own.
        let wrong = |place: usize, value: i64| {
            let mut key = key.as_map().unwrap().clone();
            key[place].1 = value.into();
            Value::Map(key)
        };
        for key in [
            wrong(0, 1),
            wrong(1, -8),
            wrong(1, -257),
            wrong(2, 6),
            wrong(3, 1),
            rsa(128, 3),
            rsa(1025, 3),
            rsa(256, 9),
        ] {
            assert_eq!(ceremony().made(&create, &attestation(0x45, "none", &key, &[])), Err(PasskeyProblem::Kind));
        }
        for bytes in [
            attestation(0x45, "packed", &key, &[]),
            attestation(0x45, "fido-u2f", &key, &[]),
            attestation(0x44, "none", &key, &[]),
            attestation(0x55, "none", &key, &[]),
            // Deeper than is read, as lists, maps, tags, and texts without an end; and more than there is.
            vec![0x81; 4_000],
            vec![0xbf; 4_000],
            vec![0xc1; 4_000],
            vec![0x7f; 4_000],
            vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            vec![0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            attestation(0x05, "none", &key, &[]),
            attestation(0x41, "none", &key, &[]),
            attestation(0x45, "none", &key, b"x"),
            attestation(0xc5, "none", &key, &[]),
            attestation(0x45, "none", &weak, &[]),
            attestation(0x45, "none", &Value::Null, &[]),
            [attestation(0x45, "none", &key, &[]), vec![0]].concat(),
            vec![0x9f; 4_000],
            vec![0; 20_000],
            Vec::new(),
        ] {
            assert!(ceremony().made(&create, &bytes).is_err());
        }
        let whole = attestation(0x45, "none", &key, &[]);
        assert!((0..whole.len()).all(|end| ceremony().made(&create, &whole[..end]).is_err()));
        // Whatever a byte is, there is an answer.
        for place in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut changed = whole.clone();
                changed[place] = byte;
                if let Ok(passkey) = ceremony().made(&create, &changed) {
                    assert!(!passkey.id.is_empty() && passkey.id.len() <= ID_BYTES);
                }
            }
        }
    }

    #[test]
    fn a_passkey_that_signs_for_itself_is_taken_and_one_that_another_signs_for_is_not() {
        let key = pair();
        let create = client("webauthn.create", &CHALLENGE, ORIGIN, "");
        let whole: Value = cbor(&attestation(0x45, "none", &cose_p256(&key), &[])).unwrap().0;
        let data = named(&whole, "authData").and_then(Value::as_bytes).unwrap().clone();
        let packed = |algorithm: i64, signature: Vec<u8>, more: Option<(Value, Value)>| {
            let statement = [("alg".into(), algorithm.into()), ("sig".into(), Value::Bytes(signature))];
            write(&Value::Map(vec![
                ("fmt".into(), "packed".into()),
                ("attStmt".into(), Value::Map(statement.into_iter().chain(more).collect())),
                ("authData".into(), Value::Bytes(data.clone())),
            ]))
        };
        let good = signed(&key, &data, &create);
        assert!(ceremony().made(&create, &packed(-7, good.clone(), None)).is_ok());
        assert_eq!(ceremony().made(&create, &packed(-8, good.clone(), None)), Err(PasskeyProblem::Kind));
        let other = signed(&pair(), &data, &create);
        assert_eq!(ceremony().made(&create, &packed(-7, other, None)), Err(PasskeyProblem::Signature));
        let vouched = packed(-7, good, Some(("x5c".into(), Value::Array(Vec::new()))));
        assert!(matches!(ceremony().made(&create, &vouched), Err(PasskeyProblem::Form(_))));
    }

    #[test]
    fn a_key_of_rsa_is_taken_too() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // Modulus and exponent stand at known places of its DER.
        let public = pair.public_key().as_ref();
        let (modulus, exponent) = (public[9..265].to_vec(), public[267..].to_vec());
        let cose =
            map(vec![(1, 3.into()), (3, (-257).into()), (-1, Value::Bytes(modulus)), (-2, Value::Bytes(exponent))]);
        let create = client("webauthn.create", &CHALLENGE, ORIGIN, "");
        let made = ceremony().made(&create, &attestation(0x45, "none", &cose, &[])).unwrap();
        let (get, data) = (client("webauthn.get", &CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x05, 0));
        let mut signature = vec![0; pair.public_modulus_len()];
        let message = [data.as_slice(), &sha256(&get)].concat();
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).unwrap();
        assert_eq!(ceremony().used(&made, &get, &data, &signature), Ok(0));
        signature[9] ^= 1;
        assert_eq!(ceremony().used(&made, &get, &data, &signature), Err(PasskeyProblem::Signature));
    }

    #[test]
    fn a_key_of_edwards_curve_is_taken_too() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
        let cose = map(vec![
            (1, 1.into()),
            (3, (-8).into()),
            (-1, 6.into()),
            (-2, Value::Bytes(pair.public_key().as_ref().to_vec())),
        ]);
        let create = client("webauthn.create", &CHALLENGE, ORIGIN, "");
        let made = ceremony().made(&create, &attestation(0x45, "none", &cose, &[])).unwrap();
        let (get, data) = (client("webauthn.get", &CHALLENGE, ORIGIN, ""), authenticator(HOST, 0x05, 0));
        let signature = pair.sign(&[data.as_slice(), &sha256(&get)].concat());
        assert_eq!(ceremony().used(&made, &get, &data, signature.as_ref()), Ok(0));
    }
}
