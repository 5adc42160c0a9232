//! Tokens with several scopes, and those of an earlier program, which have one.

use convizit_store::{Scope, StoreError};

use crate::engines::{Place, on_both_engines};

on_both_engines!(a_token_has_the_scopes_it_was_given, scopes_that_do_not_go_together_are_refused);

async fn a_token_has_the_scopes_it_was_given(place: Place) {
    let (store, shop) = place.shop().await;
    let scopes = [Scope::Audit, Scope::Read, Scope::Read];
    let secret = store.make_token(Some(&shop), &scopes, "ci", 30).await.unwrap();
    assert!(secret.starts_with("cz_project_"), "{secret}");
    let token = store.token(&secret).await.unwrap().unwrap();
    assert_eq!((token.scopes.as_slice(), token.actor().as_str()), (&[Scope::Read, Scope::Audit][..], "token:ci"));
    for scope in Scope::ALL {
        assert_eq!(token.allows(scope), matches!(scope, Scope::Read | Scope::Audit), "{scope:?}");
        assert_eq!(Scope::of(scope.as_str()), Some(scope));
    }
    // As an earlier program has written it.
    let old = store.make_token(Some(&shop), &[Scope::Erase], "desk", 30).await.unwrap();
    assert!(old.starts_with("cz_erase_"), "{old}");
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM tokens WHERE scope = 'erase'").await, 1);
    assert_eq!(store.token(&old).await.unwrap().unwrap().scopes, [Scope::Erase]);
    assert_eq!(place.number_of("control", "SELECT COUNT(*) FROM tokens WHERE scope = 'read audit'").await, 1);
}

async fn scopes_that_do_not_go_together_are_refused(place: Place) {
    let (store, shop) = place.shop().await;
    for (project, scopes) in [
        (Some(&shop), &[][..]),
        (Some(&shop), &[Scope::Keys][..]),
        (Some(&shop), &[Scope::Read, Scope::Keys][..]),
        (None, &[Scope::Read][..]),
        (None, &[Scope::Keys, Scope::Audit][..]),
    ] {
        let error = store.make_token(project, scopes, "one", 30).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)), "{scopes:?}: {error}");
    }
    assert_eq!(store.tokens().await.unwrap(), []);
}
