//! The PKCS#11 provider against SoftHSM: keys are made in the token and never leave it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use convizit_keys::{ProviderConfig, open_provider};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use crate::contract::{self, BINDING, now, problem, wait};
use crate::softhsm::{self, PIN, TOKEN, in_child};

fn config(folder: &Path) -> ProviderConfig {
    let pin_file = folder.join("pin");
    write(&pin_file, &format!("{PIN}\n"));
    let (module, token) = (softhsm::module(), TOKEN.to_owned());
    ProviderConfig::Pkcs11 { module, token, pin_file, label: "convizit".to_owned() }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A session beside the provider's own.
fn session() -> Session {
    let context = Pkcs11::new(softhsm::module()).unwrap();
    // Fails when the provider has done it.
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).ok();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| context.get_token_info(*slot).unwrap().label() == TOKEN).unwrap();
    let session = context.open_rw_session(slot).unwrap();
    // The login is the process's, so it may be there already.
    match session.login(UserType::User, Some(&AuthPin::from(PIN.to_owned()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
        Err(error) => panic!("{error}"),
    }
}

fn refusal(config: &ProviderConfig) -> String {
    problem(open_provider(config))
}

#[test]
fn it_holds_what_every_provider_promises() {
    in_child("pkcs11::it_holds_what_every_provider_promises", |folder| {
        let config = config(&folder);
        contract::rotates_and_destroys(&*contract::open(&config));
        let provider = contract::open(&config);
        let (_, wrapped) = contract::wraps(&*provider);
        assert!(wrapped.kek.starts_with("pkcs11:") && wrapped.kek.len() == 19, "{}", wrapped.kek);
        assert_eq!(wrapped.bytes.len(), 12 + 32 + 16);
        contract::refuses_changes(&*provider, &wrapped, 0..8);
    });
}

#[test]
fn rotations_of_one_moment_and_of_a_clock_that_was_set_back_have_an_order() {
    in_child("pkcs11::rotations_of_one_moment_and_of_a_clock_that_was_set_back_have_an_order", |folder| {
        let provider = contract::open(&config(&folder));
        let made: Vec<_> = [0, 0, -5_000].map(|millis| wait(provider.rotate(now(millis))).unwrap()).into();
        let newest_first: Vec<_> = made.iter().rev().cloned().collect();
        assert_eq!(wait(provider.versions()).unwrap(), newest_first);
        assert_eq!(made.iter().map(|key| key.made.unwrap()).collect::<Vec<_>>(), [now(0), now(1), now(2)]);
    });
}

#[test]
fn a_key_in_the_token_cannot_be_read_or_made_readable() {
    in_child("pkcs11::a_key_in_the_token_cannot_be_read_or_made_readable", |folder| {
        let provider = contract::open(&config(&folder));
        wait(provider.rotate(now(0))).unwrap();
        let session = session();
        let [key] = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap()[..] else { panic!() };
        // The crate tells of a refused value by leaving it out.
        assert_eq!(session.get_attributes(key, &[AttributeType::Value]).unwrap(), []);
        for weaker in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
            assert!(session.update_attributes(key, std::slice::from_ref(&weaker)).is_err(), "{weaker:?}");
            assert!(session.copy_object(key, &[Attribute::Token(false), weaker.clone()]).is_err(), "{weaker:?}");
        }
        // Nor can it be wrapped by another key.
        let other = [Attribute::Token(false), Attribute::Wrap(true), Attribute::ValueLen(32.into())];
        let other = session.generate_key(&Mechanism::AesKeyGen, &other).unwrap();
        assert!(session.wrap_key(&Mechanism::AesKeyWrap, other, key).is_err());
        let uses = [
            (AttributeType::Encrypt, true),
            (AttributeType::Decrypt, true),
            (AttributeType::Wrap, false),
            (AttributeType::Unwrap, false),
            (AttributeType::Sign, false),
            (AttributeType::Verify, false),
            (AttributeType::Derive, false),
        ];
        let found = session.get_attributes(key, &uses.map(|(name, _)| name)).unwrap();
        let found: Vec<String> = found.iter().map(|attribute| format!("{attribute:?}")).collect();
        assert_eq!(found, uses.map(|(name, is)| format!("{name:?}({is})")), "it may do more than wrap");
    });
}

#[test]
fn a_key_that_could_have_left_the_token_is_refused() {
    in_child("pkcs11::a_key_that_could_have_left_the_token_is_refused", |folder| {
        let config = config(&folder);
        let good = contract::open(&config);
        let (first, session) = (wait(good.rotate(now(0))).unwrap(), session());
        let label = Attribute::Label(format!("convizit {}", now(9)).into_bytes());
        let common = [Attribute::Token(true), Attribute::Encrypt(true), Attribute::Decrypt(true), label];
        let len = Attribute::ValueLen(32.into());
        let made = |more: &[Attribute]| {
            session
                .generate_key(&Mechanism::AesKeyGen, &[&common, more, &[Attribute::Id(vec![1; 6])]].concat())
                .unwrap()
        };
        for make in [
            &|| {
                made(&[Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(true), len.clone()])
            },
            &|| {
                made(&[
                    Attribute::Private(true),
                    Attribute::Sensitive(false),
                    Attribute::Extractable(false),
                    len.clone(),
                ])
            },
            &|| {
                made(&[
                    Attribute::Private(false),
                    Attribute::Sensitive(true),
                    Attribute::Extractable(false),
                    len.clone(),
                ])
            },
            &|| {
                let short = Attribute::ValueLen(16.into());
                made(&[Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), short])
            },
            &|| {
                // Known to whoever imported it.
                let value =
                    [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(cryptoki::object::KeyType::AES)];
                let kept = [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false)];
                let end = [Attribute::Value(vec![3; 32]), Attribute::Id(vec![1; 6])];
                session.create_object(&[&common, &value[..], &kept[..], &end[..]].concat()).unwrap()
            },
        ] as [&dyn Fn() -> cryptoki::object::ObjectHandle; 5]
        {
            let weak = make();
            for text in [
                refusal(&config),
                problem(wait(good.versions())),
                problem(wait(good.wrap(&BINDING, &Default::default()))),
            ] {
                assert!(text.contains("pkcs11:010101010101") && text.contains("destroy it"), "{text}");
            }
            session.destroy_object(weak).unwrap();
            assert_eq!(wait(good.versions()).unwrap(), std::slice::from_ref(&first));
        }
    });
}

#[test]
fn keys_of_another_label_are_left_alone() {
    in_child("pkcs11::keys_of_another_label_are_left_alone", |folder| {
        let mut config = config(&folder);
        let provider = contract::open(&config);
        wait(provider.rotate(now(0))).unwrap();
        let (secret, wrapped) = contract::wraps(&*provider);
        let ProviderConfig::Pkcs11 { label, .. } = &mut config else { panic!() };
        *label = "another".to_owned();
        let other = contract::open(&config);
        assert_eq!(wait(other.versions()).unwrap(), []);
        assert!(problem(wait(other.destroy(&wrapped.kek))).contains(&wrapped.kek));
        assert_eq!(wait(other.unwrap(&BINDING, &wrapped)).unwrap(), secret, "what is named by its id is found");
    });
}

#[test]
fn a_lost_session_is_made_anew() {
    in_child("pkcs11::a_lost_session_is_made_anew", |folder| {
        let provider = contract::open(&config(&folder));
        wait(provider.rotate(now(0))).unwrap();
        let (secret, wrapped) = contract::wraps(&*provider);
        // Logged out by another part of the process: the keys seem to be gone.
        session().logout().unwrap();
        assert_eq!(wait(provider.versions()).unwrap().len(), 1);
        assert_eq!(wait(provider.unwrap(&BINDING, &wrapped)).unwrap(), secret);
        // The library ended, and with it every session.
        Pkcs11::new(softhsm::module()).unwrap().finalize().unwrap();
        assert_eq!(wait(provider.unwrap(&BINDING, &wrapped)).unwrap(), secret);
        contract::wraps(&*provider);
    });
}

#[test]
fn what_is_configured_wrongly_is_said_in_one_sentence() {
    in_child("pkcs11::what_is_configured_wrongly_is_said_in_one_sentence", |folder| {
        let good = config(&folder);
        let ProviderConfig::Pkcs11 { module, token, pin_file, label } = good.clone() else { panic!() };
        let changed = |module: &Path, token: &str| {
            let (module, token) = (module.to_owned(), token.to_owned());
            ProviderConfig::Pkcs11 { module, token, pin_file: pin_file.clone(), label: label.clone() }
        };
        for (config, expected) in [
            (
                changed(Path::new("/nonexistent/module.so"), &token),
                ["there is no module /nonexistent/module.so", "install"],
            ),
            (changed(&pin_file, &token), ["is no PKCS#11 library", "give another path"]),
            (changed(&module, "elsewhere"), ["PKCS#11 token elsewhere", "0 tokens of this label"]),
        ] {
            let text = refusal(&config);
            assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        }
        for (pin, mode, expected) in [
            ("271827", 0o600, "is wrong: correct it before the token locks itself"),
            ("2", 0o600, "is wrong: correct it before the token locks itself"),
            ("", 0o600, "not one line"),
            ("271828\n271828", 0o600, "not one line"),
            (PIN, 0o640, "run chmod 600"),
            (PIN, 0o604, "run chmod 600"),
        ] {
            fs::write(&pin_file, pin).unwrap();
            fs::set_permissions(&pin_file, fs::Permissions::from_mode(mode)).unwrap();
            let text = refusal(&good);
            assert!(text.contains(expected) && text.contains(pin_file.to_str().unwrap()), "{text}");
            assert!(pin.len() < 6 || !text.contains(&pin[..6]), "the PIN is in the error: {text}");
        }
        fs::remove_file(&pin_file).unwrap();
        assert!(refusal(&good).contains(pin_file.to_str().unwrap()));
    });
}

#[test]
fn a_pin_that_was_refused_is_not_tried_again() {
    in_child("pkcs11::a_pin_that_was_refused_is_not_tried_again", |folder| {
        let config = config(&folder);
        let ProviderConfig::Pkcs11 { pin_file, .. } = &config else { panic!() };
        let provider = contract::open(&config);
        session().logout().unwrap();
        write(pin_file, "271827");
        assert!(problem(wait(provider.versions())).contains("is wrong"));
        // Were the token asked again, it would say that the user is logged in already, by this session.
        let _other = session();
        assert!(problem(wait(provider.versions())).contains("is wrong"));
        write(pin_file, PIN);
        assert_eq!(wait(provider.versions()).unwrap(), []);
    });
}
