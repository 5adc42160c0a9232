//! Passkeys of accounts: an answer holds once, within five minutes, for its own session and account, and with a counter that rises.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convizit_keys::{PasskeyProblem, sha256};
use convizit_store::{Account, PasskeyAnswer, SessionPlace, Store, StoreError, TotpSecret};

use crate::engines::{NOON, Place, on_both_engines};

on_both_engines!(
    an_answer_to_a_passkeys_challenge_holds_once_for_its_session,
    a_passkey_is_of_one_account_and_counts_upwards,
    a_passkey_is_added_when_it_may_be,
    a_reset_takes_passkeys_away,
);

const PASSWORD: &str = "copper lantern walks uphill";
const SITE: (&str, &str) = ("https://console.shop.example", "console.shop.example");

/// What a browser and its authenticator answer, by hand.
struct Device {
    pair: Ed25519KeyPair,
    id: Vec<u8>,
}

impl Device {
    fn new(seed: u8) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(), id: vec![seed; 16] }
    }

    fn client(kind: &str, challenge: &[u8]) -> Vec<u8> {
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        format!(r#"{{"type":"webauthn.{kind}","challenge":"{challenge}","origin":"{}"}}"#, SITE.0).into_bytes()
    }

    async fn add(&self, store: &Store, account: &Account, session: i64, name: &str) -> Result<(), StoreError> {
        let client = Self::client("create", &store.new_challenge(session).await?);
        let mut data =
            [sha256(SITE.1.as_bytes()).as_slice(), &[0x45, 0, 0, 0, 0], &[0; 16], &[0, 16], &self.id].concat();
        // The public key as COSE writes it, and around all of it the attestation that says nothing.
        data.extend([0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32]);
        data.extend(self.pair.public_key().as_ref());
        let length = u8::try_from(data.len()).unwrap();
        let attestation = [b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".as_slice(), &[length], &data].concat();
        let answer =
            PasskeyAnswer { site: SITE, session, id: &self.id, client: &client, data: &attestation, signature: &[] };
        store.add_passkey(account, name, answer).await
    }

    async fn answer(
        &self,
        (store, account, session): (&Store, &Account, i64),
        challenge: &[u8],
        counter: u32,
    ) -> Result<(), PasskeyProblem> {
        let client = Self::client("get", challenge);
        let data = [sha256(SITE.1.as_bytes()).as_slice(), &[5], &counter.to_be_bytes()].concat();
        let signature = self.pair.sign(&[data.as_slice(), &sha256(&client)].concat());
        let answer = PasskeyAnswer {
            site: SITE,
            session,
            id: &self.id,
            client: &client,
            data: &data,
            signature: signature.as_ref(),
        };
        store.use_passkey(account, answer).await.unwrap()
    }
}

/// The first Master Admin with a second factor, and a session.
async fn person(store: &Store) -> (Account, i64) {
    let link = store.first_link().await.unwrap();
    let ada = store.accept(&link, "ada@shop.example", "Ada", PASSWORD).await.unwrap();
    let secret = TotpSecret::random().unwrap();
    store.set_second_factor(&ada, &secret, &secret.code(store.clock().now()), 0).await.unwrap();
    let ada = store.account(ada.number).await.unwrap();
    let session = session(store, &ada).await;
    (ada, session)
}

async fn session(store: &Store, account: &Account) -> i64 {
    let secret = store.begin_session(account, true, &SessionPlace::default(), None).await.unwrap();
    store.session(&secret).await.unwrap().unwrap().number
}

async fn an_answer_to_a_passkeys_challenge_holds_once_for_its_session(place: Place) {
    let store = place.open().await;
    let (ada, one) = person(&store).await;
    let two = session(&store, &ada).await;
    let device = Device::new(1);
    device.add(&store, &ada, one, "Laptop").await.unwrap();

    let challenge = store.new_challenge(one).await.unwrap();
    assert_eq!(
        device.answer((&store, &ada, two), &challenge, 0).await,
        Err(PasskeyProblem::Challenge),
        "another session"
    );
    assert_eq!(device.answer((&store, &ada, one), &challenge, 0).await, Ok(()));
    assert_eq!(device.answer((&store, &ada, one), &challenge, 0).await, Err(PasskeyProblem::Challenge), "used already");
    // A refusal uses it up, too.
    let challenge = store.new_challenge(one).await.unwrap();
    assert_eq!(device.answer((&store, &ada, one), &[0; 32], 0).await, Err(PasskeyProblem::Challenge));
    assert_eq!(device.answer((&store, &ada, one), &challenge, 0).await, Err(PasskeyProblem::Challenge));
    // A newer one takes its place.
    let old = store.new_challenge(one).await.unwrap();
    store.new_challenge(one).await.unwrap();
    assert_eq!(device.answer((&store, &ada, one), &old, 0).await, Err(PasskeyProblem::Challenge));
    // Of two that come at once with it, one holds.
    let challenge = store.new_challenge(one).await.unwrap();
    let by = (&store, &ada, one);
    let (first, second) = tokio::join!(device.answer(by, &challenge, 0), device.answer(by, &challenge, 0));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");

    let challenge = store.new_challenge(one).await.unwrap();
    place.clock.set(NOON + 5 * 60_000);
    assert_eq!(device.answer(by, &challenge, 0).await, Ok(()));
    let challenge = store.new_challenge(one).await.unwrap();
    place.clock.set(NOON + 10 * 60_000 + 1);
    assert_eq!(device.answer(by, &challenge, 0).await, Err(PasskeyProblem::Challenge), "too late");

    let entries = store.audit_entries(None, 100).await.unwrap();
    let of = |act: &str| entries.iter().filter(|entry| entry.act == act).count();
    assert_eq!((of("account.passkey"), of("account.refuse"), of("account.passkey_add")), (3, 7, 1), "{entries:?}");
}

async fn a_passkey_is_of_one_account_and_counts_upwards(place: Place) {
    let (store, shop) = place.shop().await;
    let (ada, of_ada) = person(&store).await;
    let link = store.invite_member(&shop, "bob@shop.example", convizit_model::Role::Viewer).await.unwrap();
    let bob = store.accept(&link, "", "Bob", PASSWORD).await.unwrap();
    let of_bob = session(&store, &bob).await;
    let device = Device::new(1);
    device.add(&store, &ada, of_ada, "Laptop").await.unwrap();

    let challenge = store.new_challenge(of_bob).await.unwrap();
    assert_eq!(device.answer((&store, &bob, of_bob), &challenge, 1).await, Err(PasskeyProblem::Signature), "Ada's");
    let forged = Device { id: device.id.clone(), ..Device::new(2) };
    let challenge = store.new_challenge(of_ada).await.unwrap();
    assert_eq!(
        forged.answer((&store, &ada, of_ada), &challenge, 1).await,
        Err(PasskeyProblem::Signature),
        "not its key"
    );

    for (counter, result) in [
        (7, Ok(())),
        (7, Err(PasskeyProblem::Copied)),
        (6, Err(PasskeyProblem::Copied)),
        (0, Err(PasskeyProblem::Copied)),
        (8, Ok(())),
        (u32::MAX, Ok(())),
        (1, Err(PasskeyProblem::Copied)),
    ] {
        let challenge = store.new_challenge(of_ada).await.unwrap();
        assert_eq!(device.answer((&store, &ada, of_ada), &challenge, counter).await, result, "{counter}");
    }

    let known = store.passkeys(ada.number).await.unwrap();
    assert_eq!(
        known.iter().map(|one| (one.name.as_str(), one.id())).collect::<Vec<_>>(),
        [("Laptop", device.id.as_slice())]
    );
    assert_eq!(store.passkeys(bob.number).await.unwrap(), []);
    let foreign = store.remove_passkey(bob.number, known[0].number).await;
    assert!(matches!(foreign, Err(StoreError::NotFound { .. })), "{foreign:?}");
    store.remove_passkey(ada.number, known[0].number).await.unwrap();
    let challenge = store.new_challenge(of_ada).await.unwrap();
    assert_eq!(device.answer((&store, &ada, of_ada), &challenge, 0).await, Err(PasskeyProblem::Signature), "removed");
}

async fn a_passkey_is_added_when_it_may_be(place: Place) {
    let (store, shop) = place.shop().await;
    let (ada, session_of_ada) = person(&store).await;
    let link = store.invite_member(&shop, "bob@shop.example", convizit_model::Role::Viewer).await.unwrap();
    let bob = store.accept(&link, "", "Bob", PASSWORD).await.unwrap();
    let refused = |result: Result<(), StoreError>, word: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)) && error.to_string().contains(word), "{error}");
    };
    let first = Device::new(1);
    let session_of_bob = session(&store, &bob).await;
    refused(first.add(&store, &bob, session_of_bob, "Laptop").await, "second factor first");
    for name in ["", " ", "a\nb", &"x".repeat(65)] {
        refused(first.add(&store, &ada, session_of_ada, name).await, "call the passkey something");
    }
    first.add(&store, &ada, session_of_ada, " Laptop ").await.unwrap();
    refused(first.add(&store, &ada, session_of_ada, "Again").await, "known already");
    for seed in 2..=20 {
        Device::new(seed).add(&store, &ada, session_of_ada, "Another").await.unwrap();
    }
    refused(Device::new(21).add(&store, &ada, session_of_ada, "One more").await, "20 passkeys are enough");
    assert_eq!(store.passkeys(ada.number).await.unwrap().len(), 20);
    // What was asked to use one makes none.
    let answer =
        PasskeyAnswer { site: SITE, session: session_of_ada, id: &[], client: b"{}", data: &[], signature: &[] };
    store.remove_passkey(ada.number, store.passkeys(ada.number).await.unwrap()[0].number).await.unwrap();
    refused(store.add_passkey(&ada, "Empty", answer).await, "not of its form");
}

async fn a_reset_takes_passkeys_away(place: Place) {
    let store = place.open().await;
    let (ada, session) = person(&store).await;
    Device::new(1).add(&store, &ada, session, "Laptop").await.unwrap();
    let link = store.reset_link(&ada).await.unwrap();
    assert_eq!(store.passkeys(ada.number).await.unwrap().len(), 1);
    store.reset(&link, "seven brass kettles sing low").await.unwrap();
    assert_eq!(store.passkeys(ada.number).await.unwrap(), []);
}
