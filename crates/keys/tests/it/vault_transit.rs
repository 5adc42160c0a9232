//! The provider of the transit engine against a stand-in: what the published API of Vault and OpenBao says, with real AES-GCM.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convizit_keys::{KeyProvider, ProviderConfig, open_provider, random_bytes};
use serde_json::{Value, json};

use crate::contract::{self, BINDING, now, problem, refused, wait};
use crate::server::{Request, serve};

const TOKEN: &str = "hvs.CAESIPlaceholder";

#[derive(Default)]
struct Engine {
    keys: BTreeMap<u32, LessSafeKey>,
    min_decryption: u32,
    min_encryption: u32,
    /// Changes of what reading the key tells.
    told: Value,
    /// So many requests are answered with this status.
    failing: (u16, u32),
    asked: u32,
    namespaces: Vec<String>,
}

fn refuse(status: u16, words: &str) -> (u16, String) {
    let errors = if words.is_empty() { json!([]) } else { json!([words]) };
    (status, json!({ "errors": errors }).to_string())
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str().unwrap_or_default()).ok()
}

impl Engine {
    fn answer(&mut self, request: &Request) -> (u16, String) {
        self.asked += 1;
        self.namespaces.push(request.header("x-vault-namespace").to_owned());
        if self.failing.1 > 0 {
            self.failing.1 -= 1;
            return refuse(self.failing.0, "Vault is sealed");
        }
        if request.header("x-vault-token") != TOKEN {
            return refuse(403, "permission denied");
        }
        let Some(path) = request.path.strip_prefix("/v1/transit/") else {
            return refuse(404, &format!("no handler for route {:?}", &request.path[4..]));
        };
        let body = request.json();
        let latest = self.keys.keys().last().copied().unwrap_or_default();
        match (request.method.as_str(), path) {
            ("GET", "keys/convizit") if latest == 0 => refuse(404, ""),
            ("GET", "keys/convizit") => self.read(latest),
            ("POST", "keys/convizit") if body["type"] == "aes256-gcm96" && latest == 0 => self.add(1),
            ("POST", "keys/convizit/rotate") if latest > 0 => self.add(latest + 1),
            ("POST", "keys/convizit/config") => {
                let number = |name: &str| u32::try_from(body[name].as_u64().unwrap()).unwrap();
                (self.min_decryption, self.min_encryption) =
                    (number("min_decryption_version"), number("min_encryption_version"));
                (200, json!({ "data": {} }).to_string())
            }
            ("POST", "keys/convizit/trim") => {
                let bound = u32::try_from(body["min_available_version"].as_u64().unwrap()).unwrap();
                if self.min_encryption == 0 || bound > self.min_encryption.min(self.min_decryption) {
                    return refuse(400, "minimum available version cannot be greater than the minimum versions");
                }
                self.keys.retain(|version, _| *version >= bound);
                (204, String::new())
            }
            ("POST", "encrypt/convizit") if latest > 0 => self.encrypt(&body, latest),
            ("POST", "decrypt/convizit") => self.decrypt(&body),
            _ => refuse(400, "unsupported"),
        }
    }

    fn add(&mut self, version: u32) -> (u16, String) {
        let key: convizit_keys::Secret = random_bytes().unwrap();
        self.keys.insert(version, LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).unwrap()));
        self.min_decryption = self.min_decryption.max(1);
        self.read(version)
    }

    fn read(&self, latest: u32) -> (u16, String) {
        let keys: serde_json::Map<String, Value> =
            self.keys.keys().map(|version| (version.to_string(), json!(1_442_851_412 + version))).collect();
        let mut data = json!({
            "type": "aes256-gcm96", "deletion_allowed": false, "derived": false, "exportable": false,
            "allow_plaintext_backup": false, "keys": keys, "latest_version": latest, "name": "convizit",
            "min_decryption_version": self.min_decryption, "min_encryption_version": self.min_encryption,
            "supports_encryption": true,
        });
        if let Some(told) = self.told.as_object() {
            told.iter().for_each(|(name, value)| data[name] = value.clone());
        }
        (200, json!({ "request_id": "1", "data": data }).to_string())
    }

    fn encrypt(&self, body: &Value, latest: u32) -> (u16, String) {
        let version = body["key_version"].as_u64().map_or(latest, |version| u32::try_from(version).unwrap());
        let (Some(mut text), Some(bound)) = (bytes(&body["plaintext"]), bytes(&body["associated_data"])) else {
            return refuse(400, "failed to base64-decode plaintext");
        };
        let nonce: [u8; 12] = *random_bytes().unwrap();
        self.keys[&version].seal_in_place_append_tag(Nonce::from(&nonce), Aad::from(bound), &mut text).unwrap();
        let text = STANDARD.encode([nonce.as_slice(), &text].concat());
        (
            200,
            json!({ "data": { "ciphertext": format!("vault:v{version}:{text}"), "key_version": version } }).to_string(),
        )
    }

    fn decrypt(&self, body: &Value) -> (u16, String) {
        let text = body["ciphertext"].as_str().unwrap();
        let parts = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':'));
        let parts = parts.and_then(|(version, text)| Some((version.parse::<u32>().ok()?, STANDARD.decode(text).ok()?)));
        let (Some((version, mut text)), Some(bound)) = (parts, bytes(&body["associated_data"])) else {
            return refuse(400, "invalid ciphertext: no prefix");
        };
        if version < self.min_decryption {
            return refuse(400, "ciphertext or signature version is disallowed by policy (too old)");
        }
        let Some(key) = self.keys.get(&version) else { return refuse(400, "encryption key not found") };
        if text.len() < 28 {
            return refuse(400, "invalid ciphertext length");
        }
        let nonce = Nonce::try_assume_unique_for_key(&text[..12]).unwrap();
        match key.open_in_place(nonce, Aad::from(bound), &mut text[12..]) {
            Ok(plain) => (200, json!({ "data": { "plaintext": STANDARD.encode(plain) } }).to_string()),
            Err(_) => refuse(400, "cipher: message authentication failed"),
        }
    }
}

struct Vault {
    engine: Arc<Mutex<Engine>>,
    folder: tempfile::TempDir,
    config: ProviderConfig,
}

impl Vault {
    fn start() -> Self {
        let engine = Arc::new(Mutex::new(Engine::default()));
        let shared = Arc::clone(&engine);
        let address = serve(move |request| shared.lock().unwrap().answer(&request));
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        write(&token_file, TOKEN);
        let (mount, key) = ("transit".to_owned(), "convizit".to_owned());
        let config = ProviderConfig::VaultTransit { address, mount, key, token_file, namespace: None };
        Self { engine, folder, config }
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn open(&self) -> Arc<dyn KeyProvider> {
        contract::open(&self.config)
    }
}

fn write(path: &Path, token: &str) {
    fs::write(path, format!("{token}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn it_holds_what_every_provider_promises() {
    let vault = Vault::start();
    let provider = vault.open();
    contract::rotates_and_destroys(&*provider);
    let (_, wrapped) = contract::wraps(&*provider);
    assert_eq!(wrapped.kek, "vault:convizit:v2");
    assert!(wrapped.bytes.starts_with(b"vault:v2:"));
    contract::refuses_changes(&*provider, &wrapped, 0..7);
    assert!(vault.engine.lock().unwrap().namespaces.iter().all(String::is_empty));
}

#[test]
fn versions_are_destroyed_from_the_oldest_up() {
    let vault = Vault::start();
    let provider = vault.open();
    let keys: Vec<_> = (0..3).map(|_| wait(provider.rotate(now(0))).unwrap()).collect();
    assert!(problem(wait(provider.destroy(&keys[1].id))).contains("destroy vault:convizit:v1 first"));
    for key in &keys[..2] {
        wait(provider.destroy(&key.id)).unwrap();
    }
    assert_eq!(wait(provider.versions()).unwrap(), [keys[2].clone()]);
}

#[test]
fn a_version_that_the_server_may_not_decrypt_with_any_more_is_none() {
    let vault = Vault::start();
    let provider = vault.open();
    wait(provider.rotate(now(0))).unwrap();
    let (_, old) = contract::wraps(&*provider);
    let second = wait(provider.rotate(now(1))).unwrap();
    vault.engine.lock().unwrap().min_decryption = 2;
    assert_eq!(wait(provider.versions()).unwrap(), [second]);
    assert!(problem(wait(provider.unwrap(&BINDING, &old))).contains("the server has trimmed it"));
}

#[test]
fn wrapping_without_a_key_makes_none() {
    let vault = Vault::start();
    assert!(problem(wait(vault.open().wrap(&BINDING, &Default::default()))).contains("rotate to make it"));
    assert!(vault.engine.lock().unwrap().keys.is_empty());
}

#[test]
fn a_key_that_could_leave_the_server_or_is_of_another_kind_is_refused() {
    let vault = Vault::start();
    let provider = vault.open();
    wait(provider.rotate(now(0))).unwrap();
    for told in [
        json!({ "exportable": true }),
        json!({ "allow_plaintext_backup": true }),
        json!({ "type": "chacha20-poly1305" }),
        json!({ "derived": true }),
    ] {
        vault.engine.lock().unwrap().told = told.clone();
        assert!(problem(wait(provider.versions())).contains("name another key"), "{told}");
        assert!(wait(provider.wrap(&BINDING, &Default::default())).is_err(), "{told}");
    }
}

#[test]
fn the_token_is_read_anew_and_kept_from_others() {
    let vault = Vault::start();
    let provider = vault.open();
    write(&vault.token_file(), "hvs.expired");
    let text = problem(wait(provider.versions()));
    assert!(
        text.contains("403 (permission denied)") && text.contains("renew the token") && !text.contains("hvs."),
        "{text}"
    );
    write(&vault.token_file(), TOKEN);
    assert_eq!(wait(provider.versions()).unwrap(), []);
    fs::set_permissions(vault.token_file(), fs::Permissions::from_mode(0o644)).unwrap();
    for text in [problem(wait(provider.versions())), problem(open_provider(&vault.config))] {
        assert!(text.contains("chmod 600") && text.contains(vault.token_file().to_str().unwrap()), "{text}");
    }
}

#[test]
fn what_may_pass_is_tried_three_times() {
    let vault = Vault::start();
    let provider = vault.open();
    for status in [503, 429] {
        let ask = |times: u32| {
            let mut engine = vault.engine.lock().unwrap();
            (engine.failing, engine.asked) = ((status, times), 0);
            drop(engine);
            wait(provider.versions())
        };
        assert_eq!(ask(2).unwrap(), [], "{status}");
        let text = problem(ask(3));
        assert!(text.contains(&status.to_string()), "{text}");
        assert_eq!(vault.engine.lock().unwrap().asked, 3);
    }
}

#[test]
fn a_namespace_is_sent() {
    let mut vault = Vault::start();
    let ProviderConfig::VaultTransit { namespace, .. } = &mut vault.config else { panic!() };
    *namespace = Some("team/web".to_owned());
    wait(vault.open().versions()).unwrap();
    assert_eq!(vault.engine.lock().unwrap().namespaces, ["team/web"]);
}

#[test]
fn what_is_configured_wrongly_is_said_in_one_sentence() {
    let vault = Vault::start();
    let ProviderConfig::VaultTransit { address, .. } = vault.config.clone() else { panic!() };
    let config = |address: &str, mount: &str, key: &str| {
        let (address, mount, key) = (address.to_owned(), mount.to_owned(), key.to_owned());
        ProviderConfig::VaultTransit { address, mount, key, token_file: vault.token_file(), namespace: None }
    };
    for (config, expected) in [
        (config("http://vault.example:8200", "transit", "convizit"), "give an https address"),
        (config("vault.example", "transit", "convizit"), "is no address"),
        (config(&address, "transit", "../sys/seal"), "is no name of a key"),
        (config(&address, "/sys", "convizit"), "is no name of a mount"),
    ] {
        let text = problem(open_provider(&config));
        assert!(text.contains(expected), "{text}");
    }
    let unmounted = contract::open(&config(&address, "other", "convizit"));
    let text = problem(wait(unmounted.versions()));
    assert!(text.contains("404") && text.contains("mount the transit engine"), "{text}");
    let silent = contract::open(&config("http://127.0.0.1:1", "transit", "convizit"));
    let text = problem(wait(silent.versions()));
    assert!(text.contains("cannot be reached") && text.contains("check the address"), "{text}");
}

#[test]
fn what_another_key_wrapped_is_refused() {
    let vault = Vault::start();
    let provider = vault.open();
    wait(provider.rotate(now(0))).unwrap();
    let (_, mut wrapped) = contract::wraps(&*provider);
    for kek in ["vault:other:v1", "file:0123", "vault:convizit:v2", "vault:convizit:vx"] {
        wrapped.kek = kek.to_owned();
        assert!(refused(&*provider, BINDING, &wrapped), "{kek}");
    }
}
