//! What every key provider promises, whatever it is.

use std::sync::Arc;

use convizit_keys::{Binding, KeyError, KeyProvider, ProviderConfig, Secret, Wrapped, open_provider, random_bytes};
use convizit_model::Timestamp;

pub(crate) const BINDING: Binding = Binding { installation: [7; 16], purpose: "project", project: 3, version: 2 };
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(crate) fn now(millis: i64) -> Timestamp {
    NOW.plus_millis(millis)
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn open(config: &ProviderConfig) -> Arc<dyn KeyProvider> {
    open_provider(config).unwrap()
}

/// The error of a provider that is not to be opened or asked, which is one line and says what to do.
pub(crate) fn problem<T: std::fmt::Debug>(result: Result<T, KeyError>) -> String {
    let text = result.unwrap_err().to_string();
    assert!(!text.contains('\n') && text.contains(": "), "{text}");
    text
}

pub(crate) fn refused(provider: &dyn KeyProvider, binding: Binding, wrapped: &Wrapped) -> bool {
    match wait(provider.unwrap(&binding, wrapped)) {
        Err(KeyError::Unwrap { kek, .. }) => kek == wrapped.kek,
        _ => false,
    }
}

/// A wrapped key unwraps where it belongs, and nowhere else.
pub(crate) fn wraps(provider: &dyn KeyProvider) -> (Secret, Wrapped) {
    let secret: Secret = random_bytes().unwrap();
    let wrapped = wait(provider.wrap(&BINDING, &secret)).unwrap();
    assert_eq!(wrapped.kek, wait(provider.versions()).unwrap()[0].id);
    assert_eq!(wait(provider.unwrap(&BINDING, &wrapped)).unwrap(), secret);
    assert!(!wrapped.bytes.windows(8).any(|bytes| bytes == &secret[..8]));
    let again = wait(provider.wrap(&BINDING, &secret)).unwrap();
    assert_ne!(again.bytes, wrapped.bytes, "a nonce came twice");
    for moved in [
        Binding { installation: [8; 16], ..BINDING },
        Binding { purpose: "root", ..BINDING },
        Binding { project: 4, ..BINDING },
        Binding { version: 1, ..BINDING },
    ] {
        assert!(refused(provider, moved, &wrapped), "{moved}");
    }
    (secret, wrapped)
}

/// A wrapped key of which a bit was changed is refused, and one that was cut or made longer.
pub(crate) fn refuses_changes(provider: &dyn KeyProvider, wrapped: &Wrapped, bits: std::ops::Range<u8>) {
    for at in 0..wrapped.bytes.len() {
        for bit in bits.clone() {
            let mut changed = wrapped.clone();
            changed.bytes[at] ^= 1 << bit;
            assert!(refused(provider, BINDING, &changed), "byte {at} bit {bit}");
        }
    }
    for at in [0, 1, 12, 28, wrapped.bytes.len() - 1] {
        let cut = Wrapped { kek: wrapped.kek.clone(), bytes: wrapped.bytes[..at].to_vec() };
        assert!(refused(provider, BINDING, &cut), "cut at {at}");
    }
    let mut longer = wrapped.clone();
    longer.bytes.push(0);
    assert!(refused(provider, BINDING, &longer));
}

/// Before the first key nothing is wrapped; after a rotation the new one wraps and the old one unwraps, until it is destroyed.
pub(crate) fn rotates_and_destroys(provider: &dyn KeyProvider) {
    assert_eq!(wait(provider.versions()).unwrap(), []);
    problem(wait(provider.wrap(&BINDING, &random_bytes().unwrap())));
    let first = wait(provider.rotate(now(0))).unwrap();
    assert_eq!(wait(provider.versions()).unwrap(), std::slice::from_ref(&first));
    let (secret, old) = wraps(provider);
    let second = wait(provider.rotate(now(1))).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(wait(provider.versions()).unwrap(), [second.clone(), first.clone()]);
    assert_eq!(wait(provider.unwrap(&BINDING, &old)).unwrap(), secret);
    let (_, new) = wraps(provider);
    assert_eq!(new.kek, second.id);
    let swapped = Wrapped { kek: new.kek.clone(), bytes: old.bytes.clone() };
    assert!(refused(provider, BINDING, &swapped), "what another version wrapped");

    assert!(problem(wait(provider.destroy(&second.id))).contains("rotate first"));
    assert!(problem(wait(provider.destroy("no:such"))).contains("no:such"));
    wait(provider.destroy(&first.id)).unwrap();
    assert_eq!(wait(provider.versions()).unwrap(), std::slice::from_ref(&second));
    assert!(refused(provider, BINDING, &old));
    assert!(problem(wait(provider.unwrap(&BINDING, &old))).contains(&first.id), "the error names the key that is gone");
    assert!(wait(provider.unwrap(&BINDING, &new)).is_ok());
    assert!(problem(wait(provider.destroy(&first.id))).contains(&first.id));
}
