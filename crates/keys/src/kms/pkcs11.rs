//! The PKCS#11 provider: key-encryption keys that are made in a token (a hardware security module, or SoftHSM) and stay there.
//!
//! A version is an AES-256 key with a random `CKA_ID`; its id is `pkcs11:<CKA_ID as hex>`. Its label is the configured one, a
//! space, and when it was made: `convizit 2026-11-29T10:00:00.000Z`. The newest is found by that, since `CKA_START_DATE` knows
//! days only, and two rotations of one day would be one. Wrapping is `CKM_AES_GCM`, form: nonce (12) ‖ ciphertext ‖ tag (16).

use std::path::Path;
use std::sync::Arc;

use convizit_model::Timestamp;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use self::connection::{Failure, Token};
use super::{Binding, Kek, KeyProvider, Later, Wrapped};
use crate::envelope::TAG_BYTES;
use crate::random::{fill, random_bytes};
use crate::{KeyError, Secret};

mod connection;

const NONCE_BYTES: usize = 12;
const TAG_BITS: u64 = 8 * TAG_BYTES as u64;

/// Keys in a token.
#[derive(Debug)]
pub(super) struct Pkcs11Provider(Arc<Token>);

/// A version in the token, as a session sees it.
struct TokenKey {
    handle: ObjectHandle,
    id: String,
    /// `None` for a key of another label.
    made: Option<Timestamp>,
}

impl Pkcs11Provider {
    /// Connects at once, so that a wrong path, label or PIN is told at the start.
    pub(super) fn open(module: &Path, token: &str, pin_file: &Path, label: &str) -> Result<Self, KeyError> {
        let token = Token::new(module, token, pin_file, label);
        token.with(|session| token.versions(session))?;
        Ok(Self(Arc::new(token)))
    }

    /// The module's calls block, some for as long as a network takes.
    fn blocking<'a, T, F>(&'a self, work: F) -> Later<'a, T>
    where
        T: Send + 'static,
        F: FnOnce(&Token, &Session) -> Result<T, Failure> + Send + 'static,
    {
        let token = Arc::clone(&self.0);
        Box::pin(async move {
            let working = tokio::task::spawn_blocking(move || token.with(|session| work(&token, session)));
            working.await.unwrap_or_else(|_| Err(self.0.problem("a call into the module broke off")))
        })
    }
}

impl KeyProvider for Pkcs11Provider {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn versions(&self) -> Later<'_, Vec<Kek>> {
        self.blocking(|token, session| {
            Ok(token.versions(session)?.into_iter().map(|key| Kek { id: key.id, made: key.made }).collect())
        })
    }

    fn wrap<'a>(&'a self, binding: &'a Binding, secret: &'a Secret) -> Later<'a, Wrapped> {
        let (binding, secret) = (*binding, secret.clone());
        self.blocking(move |token, session| {
            let keys = token.versions(session)?;
            let key = keys.into_iter().next().ok_or_else(|| token.problem("it holds no key yet"))?;
            let mut nonce = [0; NONCE_BYTES];
            fill(&mut nonce)?;
            let sealed = encrypt(session, key.handle, &mut nonce, binding.to_string().as_bytes(), secret.as_slice())?;
            // Read after the call: some tokens take a nonce of their own and write it there.
            Ok(Wrapped { kek: key.id, bytes: [nonce.as_slice(), &sealed].concat() })
        })
    }

    fn unwrap<'a>(&'a self, binding: &'a Binding, wrapped: &'a Wrapped) -> Later<'a, Secret> {
        let (binding, wrapped) = (*binding, wrapped.clone());
        self.blocking(move |token, session| token.unwrap(session, &binding, &wrapped))
    }

    fn rotate(&self, now: Timestamp) -> Later<'_, Kek> {
        self.blocking(move |token, session| token.rotate(session, now))
    }

    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        let id = id.to_owned();
        self.blocking(move |token, session| {
            let keys = token.versions(session)?;
            match keys.iter().position(|key| key.id == id).map(|at| (at, &keys[at])) {
                None => Err(token.problem(&format!("it holds no key {id}")).into()),
                Some((0, _)) => Err(token.problem("its newest key is in use: rotate first").into()),
                Some((_, key)) => Ok(session.destroy_object(key.handle)?),
            }
        })
    }
}

impl Token {
    /// All versions, newest first.
    fn versions(&self, session: &Session) -> Result<Vec<TokenKey>, Failure> {
        let mut keys = self.find(session, None)?;
        keys.retain(|key| key.made.is_some());
        // By id where two were made at once, so that every process takes the same for the newest.
        keys.sort_by(|a, b| (b.made, &b.id).cmp(&(a.made, &a.id)));
        Ok(keys)
    }

    /// The keys of this label, or the one of an id; refused when one of them could ever have left the token.
    fn find(&self, session: &Session, id: Option<&str>) -> Result<Vec<TokenKey>, Failure> {
        let mut template = vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES)];
        template.push(Attribute::Token(true));
        if let Some(id) = id {
            let Some(bytes) = bytes_of(id) else { return Ok(Vec::new()) };
            template.push(Attribute::Id(bytes));
        }
        let mut keys = Vec::new();
        for handle in session.find_objects(&template)? {
            let (mut key, mut made) = (String::from("pkcs11:"), None);
            for attribute in session.get_attributes(handle, &[AttributeType::Id, AttributeType::Label])? {
                match attribute {
                    Attribute::Id(bytes) => bytes.iter().for_each(|byte| key.push_str(&format!("{byte:02x}"))),
                    Attribute::Label(label) => made = self.made(&label),
                    _ => {}
                }
            }
            if made.is_none() && id.is_none() {
                continue;
            }
            let wanted = [
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::AlwaysSensitive(true),
                Attribute::Extractable(false),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
                Attribute::ValueLen(32.into()),
            ];
            let types: Vec<AttributeType> = wanted.iter().map(Attribute::attribute_type).collect();
            if session.get_attributes(handle, &types)? != wanted {
                let text = "was not made in the token as AES-256 that never leaves it: destroy it, and rotate";
                return Err(self.problem(&format!("its key {key} {text}")).into());
            }
            keys.push(TokenKey { handle, id: key, made });
        }
        Ok(keys)
    }

    fn made(&self, label: &[u8]) -> Option<Timestamp> {
        std::str::from_utf8(label).ok()?.strip_prefix(self.label.as_str())?.strip_prefix(' ')?.parse().ok()
    }

    fn unwrap(&self, session: &Session, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, Failure> {
        let gone = |problem: String| KeyError::Unwrap { kek: wrapped.kek.clone(), problem };
        let what = format!("what it wrapped for {binding} was changed or moved");
        let changed = || gone(format!("{what}: restore the database from a backup"));
        let keys = self.find(session, Some(&wrapped.kek))?;
        let [key] = keys.as_slice() else {
            let text =
                format!("{} holds {} keys of this id: restore the token that holds one", self.described(), keys.len());
            return Err(gone(text).into());
        };
        let (nonce, sealed) = wrapped.bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(changed)?;
        let opened = match decrypt(session, key.handle, &mut { *nonce }, binding.to_string().as_bytes(), sealed) {
            Ok(opened) => opened,
            Err(error) if is_changed(&error) => {
                let text =
                    format!("{what}, or the token fails: restore the database, or see the token's log ({error})");
                return Err(gone(text).into());
            }
            Err(error) => return Err(error.into()),
        };
        let mut secret = Secret::default();
        if opened.len() != secret.len() {
            return Err(changed().into());
        }
        secret.copy_from_slice(&opened);
        Ok(secret)
    }

    fn rotate(&self, session: &Session, now: Timestamp) -> Result<Kek, Failure> {
        // Behind a clock that was set back, a new version is the newest all the same.
        let newest = self.versions(session)?.first().and_then(|key| key.made);
        let made = newest.map_or(now, |newest| now.max(newest.plus_millis(1)));
        let id = random_bytes::<6>()?.to_vec();
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::ValueLen(32.into()),
            Attribute::Id(id),
            Attribute::Label(format!("{} {made}", self.label).into_bytes()),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &template)?;
        // Read again, so that what the token made of the template is checked.
        let key = self.versions(session)?.into_iter().next();
        Ok(key.map(|key| Kek { id: key.id, made: key.made }).ok_or_else(|| self.problem("it kept no key"))?)
    }
}

/// AES-256-GCM in the token: ciphertext ‖ tag.
fn encrypt(
    session: &Session,
    key: ObjectHandle,
    nonce: &mut [u8],
    bound: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, Error> {
    let gcm = Mechanism::AesGcm(GcmParams::new(nonce, bound, TAG_BITS.into())?);
    session.encrypt(&gcm, key, plain)
}

fn decrypt(
    session: &Session,
    key: ObjectHandle,
    nonce: &mut [u8],
    bound: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let gcm = Mechanism::AesGcm(GcmParams::new(nonce, bound, TAG_BITS.into())?);
    session.decrypt(&gcm, key, sealed).map(Zeroizing::new)
}

fn bytes_of(id: &str) -> Option<Vec<u8>> {
    let hex = id.strip_prefix("pkcs11:").filter(|hex| hex.len() == 12 && hex.is_ascii())?;
    (0..6).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect()
}

/// What tokens answer to a wrong tag; SoftHSM's is a general error.
fn is_changed(error: &Error) -> bool {
    use RvError as E;
    let Error::Pkcs11(error, _) = error else { return false };
    matches!(error, E::EncryptedDataInvalid | E::EncryptedDataLenRange | E::GeneralError | E::FunctionFailed)
}

#[cfg(test)]
mod tests;
