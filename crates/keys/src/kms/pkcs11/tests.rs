//! The token's AES-GCM against the vectors, through the functions that wrap and unwrap.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use super::*;
use crate::wycheproof::{self, Refused};

#[path = "../../../tests/it/child.rs"]
mod child;
#[path = "../../../tests/it/softhsm.rs"]
mod softhsm;

#[test]
fn aes_gcm_of_the_token_is_right_on_the_vectors_of_wycheproof() {
    softhsm::in_child("kms::pkcs11::tests::aes_gcm_of_the_token_is_right_on_the_vectors_of_wycheproof", |_| {
        let context = Pkcs11::new(softhsm::module()).unwrap();
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slot = context.get_slots_with_initialized_token().unwrap()[0];
        let session = context.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&AuthPin::from(softhsm::PIN.to_owned()))).unwrap();
        // A key of the session: it is gone with it.
        let import = |key: &[u8]| {
            session
                .create_object(&[
                    Attribute::Class(ObjectClass::SECRET_KEY),
                    Attribute::KeyType(KeyType::AES),
                    Attribute::Token(false),
                    Attribute::Encrypt(true),
                    Attribute::Decrypt(true),
                    Attribute::Value(key.to_vec()),
                ])
                .unwrap()
        };
        wycheproof::check(
            |vector| {
                encrypt(&session, import(vector.key), &mut vector.nonce.clone(), vector.bound, vector.plain).unwrap()
            },
            |vector| match decrypt(
                &session,
                import(vector.key),
                &mut vector.nonce.clone(),
                vector.bound,
                &vector.sealed,
            ) {
                Ok(plain) => Ok(plain.to_vec()),
                Err(error) => {
                    assert!(is_changed(&error), "{error}");
                    Err(Refused)
                }
            },
        );
    });
}
