//! The configuration of key providers: what is left out has its default, what is not known is refused.

use convizit_keys::{ProviderConfig, open_provider};
use serde_json::{Value, json};

fn read(config: Value) -> Result<ProviderConfig, String> {
    serde_json::from_value(config).map_err(|error| error.to_string())
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let token = json!({ "provider": "pkcs11", "module": "/m.so", "token": "t", "pin_file": "/p" });
    assert!(matches!(read(token).unwrap(), ProviderConfig::Pkcs11 { label, .. } if label == "convizit"));
    let vault = json!({ "provider": "vault-transit", "address": "https://v", "key": "k", "token_file": "/t" });
    let vault = read(vault).unwrap();
    assert!(
        matches!(vault, ProviderConfig::VaultTransit { mount, namespace: None, .. } if mount == "transit"),
        "the engine's usual mount, and no namespace"
    );
    let aws = read(json!({ "provider": "aws-kms", "key": "alias/convizit", "region": "eu-west-1" })).unwrap();
    assert!(matches!(aws, ProviderConfig::AwsKms { endpoint: None, .. }));
    assert!(matches!(read(json!({ "provider": "file", "path": "/k" })).unwrap(), ProviderConfig::File { .. }));
}

#[test]
fn what_is_not_known_or_missing_is_named() {
    for (config, named) in [
        (json!({ "provider": "file", "path": "/k", "pin": "1234" }), "pin"),
        (json!({ "provider": "pkcs11", "module": "/m.so", "token": "t", "pin_file": "/p", "pin": "1" }), "pin"),
        (json!({ "provider": "aws-kms", "key": "k" }), "region"),
        (json!({ "provider": "vault-transit", "address": "https://v", "key": "k", "token_file": "/t", "x": 1 }), "x"),
        (json!({ "provider": "cloudhsm" }), "cloudhsm"),
    ] {
        let problem = read(config).unwrap_err();
        assert!(problem.contains(&format!("`{named}`")), "{problem}");
    }
}

/// Each provider opens, or says that it was left out: never another error than its own.
#[test]
fn a_provider_that_was_left_out_says_how_to_build_it() {
    for (config, name, is_built) in [
        (
            json!({ "provider": "pkcs11", "module": "/m.so", "token": "t", "pin_file": "/p" }),
            "pkcs11",
            cfg!(feature = "pkcs11"),
        ),
        (json!({ "provider": "aws-kms", "key": "k", "region": "" }), "aws-kms", cfg!(feature = "aws-kms")),
        (
            json!({ "provider": "vault-transit", "address": "", "key": "k", "token_file": "/t" }),
            "vault-transit",
            cfg!(feature = "vault-transit"),
        ),
    ] {
        let text = open_provider(&read(config).unwrap()).unwrap_err().to_string();
        assert_eq!(text.contains(&format!("--features convizit-keys/{name}")), !is_built, "{text}");
    }
}
