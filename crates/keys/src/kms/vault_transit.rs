//! The provider of the transit engine of HashiCorp Vault and OpenBao: key-encryption keys that the server holds.
//!
//! Specification only: written after the published API, and tested against a stand-in that does the same, since no server can
//! be had where the tests run. A version's id is `vault:<key>:v<version>`; what it wraps is the server's own text, `vault:v1:…`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convizit_model::Timestamp;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Binding, Kek, KeyProvider, Later, Wrapped, https, private_file};
use crate::{KeyError, Secret};

/// A token file of more bytes is none.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A key of a transit engine.
#[derive(Debug)]
pub(super) struct VaultTransit {
    /// Up to and with the engine's mount.
    base: Url,
    key: String,
    token_file: PathBuf,
    namespace: Option<String>,
    client: Client,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct KeyData {
    r#type: String,
    exportable: bool,
    allow_plaintext_backup: bool,
    derived: bool,
    /// Seconds since 1970 by version.
    keys: BTreeMap<u32, i64>,
    latest_version: u32,
    min_decryption_version: u32,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Zeroizing<String>,
}

/// What the server answered, or why it was not asked.
enum Refusal {
    Status(StatusCode, String),
    Other(KeyError),
}

impl VaultTransit {
    pub(super) fn open(
        address: &str,
        mount: &str,
        key: &str,
        token_file: &Path,
        namespace: Option<&str>,
    ) -> Result<Self, KeyError> {
        let problem = |problem: String| KeyError::Provider { provider: format!("vault-transit key {key}"), problem };
        for (name, text) in [("key", key), ("mount", mount)] {
            let fits =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || (name == "mount" && byte == b'/');
            if text.is_empty() || text.starts_with(['.', '/']) || text.contains("..") || !text.bytes().all(fits) {
                return Err(problem(format!("`{text}` is no name of a {name}: letters, digits, -, _ and . only")));
            }
        }
        let base = https::address(address).map_err(problem)?;
        let base = base.join(&format!("v1/{}/", mount.trim_end_matches('/')));
        let base = base.map_err(|error| problem(format!("{address} cannot be the server's address: {error}")))?;
        let vault = Self {
            base,
            key: key.to_owned(),
            token_file: token_file.to_owned(),
            namespace: namespace.map(str::to_owned),
            client: https::client().map_err(problem)?,
        };
        vault.token()?;
        Ok(vault)
    }

    /// The token as it is now: an agent may have written a new one.
    fn token(&self) -> Result<Zeroizing<String>, KeyError> {
        private_file::read_line(&self.token_file, MAX_TOKEN_BYTES)
            .map_err(|error| error.of(format!("Vault token file {}", self.token_file.display())))
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, path: &str, body: Option<&Value>) -> Result<T, Refusal> {
        let url = self.base.join(path).map_err(|_| Refusal::Other(self.problem(&format!("{path} is no path"))))?;
        let make = || {
            let mut request = match body {
                Some(body) => {
                    self.client.post(url.clone()).header("content-type", "application/json").body(body.to_string())
                }
                None => self.client.get(url.clone()),
            };
            if let Some(namespace) = &self.namespace {
                request = request.header("x-vault-namespace", namespace);
            }
            Ok(request.header("x-vault-request", "true").header("x-vault-token", self.token()?.as_str()))
        };
        // 412: a standby that has not caught up; 429: a quota. Others may pass, too: sealed, in maintenance.
        let passes = |(status, _): &https::Answer| status.is_server_error() || [412, 429].contains(&status.as_u16());
        let (status, body) = https::ask::<KeyError>(make, passes)
            .await
            .and_then(|answer| answer.map_err(|problem| self.problem(&problem)))
            .map_err(Refusal::Other)?;
        if !status.is_success() {
            let errors =
                serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["errors"].as_array().cloned());
            let words: Vec<String> =
                errors.unwrap_or_default().iter().filter_map(|e| e.as_str().map(str::to_owned)).collect();
            return Err(Refusal::Status(status, words.join("; ").chars().take(300).collect()));
        }
        // 204 has no body; the parser's own message may quote what it read.
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(text).map_err(|_| {
            Refusal::Other(self.problem("its answer is none of the transit engine: check address and mount"))
        })
    }

    /// The key with its versions; `None` when it was not made yet.
    async fn read(&self) -> Result<Option<KeyData>, KeyError> {
        let key = match self.ask::<Answer<KeyData>>(&format!("keys/{}", self.key), None).await {
            Ok(answer) => answer.data,
            // Without words it is the key, with words ("no handler for route") the mount.
            Err(Refusal::Status(StatusCode::NOT_FOUND, words)) if words.is_empty() => return Ok(None),
            Err(refusal) => return Err(self.told(refusal)),
        };
        if key.r#type != "aes256-gcm96" || key.derived {
            return Err(self.problem("it is not of the type aes256-gcm96 without derivation: name another key"));
        }
        if key.exportable || key.allow_plaintext_backup {
            return Err(
                self.problem("it may leave the server (exportable or allow_plaintext_backup): name another key")
            );
        }
        Ok(Some(key))
    }

    async fn list(&self) -> Result<Vec<Kek>, KeyError> {
        let Some(key) = self.read().await? else { return Ok(Vec::new()) };
        let usable = key.keys.range(key.min_decryption_version..=key.latest_version).rev();
        Ok(usable.map(|(version, made)| self.kek(*version, *made)).collect())
    }

    async fn wrap_under(&self, binding: &Binding, secret: &Secret) -> Result<Wrapped, KeyError> {
        // Asked for first: encrypting with a key that is not there would make it.
        let key = self.read().await?.ok_or_else(|| self.problem("it is not there yet: rotate to make it"))?;
        let plain = Zeroizing::new(STANDARD.encode(secret.as_slice()));
        let bound = STANDARD.encode(binding.to_string());
        let ask = json!({ "plaintext": plain.as_str(), "associated_data": bound, "key_version": key.latest_version });
        let answer = self.ask::<Answer<Encrypted>>(&format!("encrypt/{}", self.key), Some(&ask)).await;
        let text = answer.map_err(|refusal| self.told(refusal))?.data.ciphertext;
        let version = version_of(&text, "vault:v").filter(|version| *version == key.latest_version);
        let version = version.ok_or_else(|| self.problem("what it wrapped has another version than asked for"))?;
        Ok(Wrapped { kek: format!("vault:{}:v{version}", self.key), bytes: text.into_bytes() })
    }

    async fn unwrap_of(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, KeyError> {
        let gone = |problem: String| KeyError::Unwrap { kek: wrapped.kek.clone(), problem };
        let changed =
            || gone(format!("what it wrapped for {binding} was changed or moved: restore the database from a backup"));
        let version = self.version(&wrapped.kek);
        let version = version
            .ok_or_else(|| gone(format!("it is no version of the key {}: name the key that wrapped it", self.key)))?;
        let text = std::str::from_utf8(&wrapped.bytes).map_err(|_| changed())?;
        if version_of(text, "vault:v") != Some(version) {
            return Err(changed());
        }
        let ask = json!({ "ciphertext": text, "associated_data": STANDARD.encode(binding.to_string()) });
        let answer = self.ask::<Answer<Decrypted>>(&format!("decrypt/{}", self.key), Some(&ask)).await;
        let answer = answer.map_err(|refusal| match refusal {
            Refusal::Status(StatusCode::BAD_REQUEST, words)
                if words.contains("too old") || words.contains("not found") =>
            {
                gone("the server has trimmed it: restore the server's key from its backup".to_owned())
            }
            Refusal::Status(StatusCode::NOT_FOUND, _) => {
                gone("the server has no such key: restore it from its backup".to_owned())
            }
            Refusal::Status(StatusCode::BAD_REQUEST, _) => changed(),
            refusal => self.told(refusal),
        })?;
        let mut secret = Secret::default();
        match STANDARD.decode_slice(answer.data.plaintext.as_bytes(), secret.as_mut_slice()) {
            Ok(32) => Ok(secret),
            _ => Err(gone(format!("what it wrapped for {binding} is no key"))),
        }
    }

    async fn rotate_now(&self) -> Result<Kek, KeyError> {
        let (path, body) = match self.read().await? {
            Some(_) => (format!("keys/{}/rotate", self.key), json!({})),
            None => (format!("keys/{}", self.key), json!({ "type": "aes256-gcm96", "exportable": false })),
        };
        let _: Value = self.ask(&path, Some(&body)).await.map_err(|refusal| self.told(refusal))?;
        self.list().await?.into_iter().next().ok_or_else(|| self.problem("it kept no version"))
    }

    /// The engine trims from the oldest up, so no younger one goes before it.
    async fn trim(&self, id: &str) -> Result<(), KeyError> {
        let keys = self.list().await?;
        if keys.first().is_some_and(|key| key.id == id) {
            return Err(self.problem("its newest version is in use: rotate first"));
        }
        let Some(oldest) = keys.last().filter(|_| keys.iter().any(|key| key.id == id)) else {
            return Err(self.problem(&format!("it has no version {id}")));
        };
        if oldest.id != id {
            return Err(
                self.problem(&format!("the server trims from the oldest version up: destroy {} first", oldest.id))
            );
        }
        let next = self.version(id).ok_or_else(|| self.problem(&format!("it has no version {id}")))? + 1;
        let path = format!("keys/{}", self.key);
        // The engine asks for both bounds before it trims.
        let bounds = json!({ "min_decryption_version": next, "min_encryption_version": next });
        let _: Value =
            self.ask(&format!("{path}/config"), Some(&bounds)).await.map_err(|refusal| self.told(refusal))?;
        let trim = json!({ "min_available_version": next });
        let _: Value = self.ask(&format!("{path}/trim"), Some(&trim)).await.map_err(|refusal| self.told(refusal))?;
        Ok(())
    }

    fn kek(&self, version: u32, seconds: i64) -> Kek {
        let made = Some(Timestamp::from_millis(seconds.saturating_mul(1000)));
        Kek { id: format!("vault:{}:v{version}", self.key), made }
    }

    fn version(&self, id: &str) -> Option<u32> {
        id.strip_prefix("vault:")?.strip_prefix(self.key.as_str())?.strip_prefix(":v")?.parse().ok()
    }

    fn told(&self, refusal: Refusal) -> KeyError {
        let (status, words) = match refusal {
            Refusal::Other(error) => return error,
            Refusal::Status(status, words) => (status.as_u16(), words),
        };
        let what = match status {
            403 => {
                "renew the token in its file, and let its policy read, encrypt, decrypt, rotate, config and trim the key"
            }
            404 => "mount the transit engine there, or give its mount",
            503 => "unseal the server",
            _ => "see the server's own log",
        };
        self.problem(&format!("the server answered {status} ({words}): {what}"))
    }

    fn problem(&self, problem: &str) -> KeyError {
        KeyError::Provider { provider: format!("vault-transit key {}", self.key), problem: problem.to_owned() }
    }
}

impl KeyProvider for VaultTransit {
    fn name(&self) -> &'static str {
        "vault-transit"
    }

    fn versions(&self) -> Later<'_, Vec<Kek>> {
        Box::pin(self.list())
    }

    fn wrap<'a>(&'a self, binding: &'a Binding, secret: &'a Secret) -> Later<'a, Wrapped> {
        Box::pin(self.wrap_under(binding, secret))
    }

    fn unwrap<'a>(&'a self, binding: &'a Binding, wrapped: &'a Wrapped) -> Later<'a, Secret> {
        Box::pin(self.unwrap_of(binding, wrapped))
    }

    fn rotate(&self, _now: Timestamp) -> Later<'_, Kek> {
        Box::pin(self.rotate_now())
    }

    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        Box::pin(self.trim(id))
    }
}

/// The version in `vault:v<version>:…`.
fn version_of(text: &str, prefix: &str) -> Option<u32> {
    text.strip_prefix(prefix)?.split_once(':')?.0.parse().ok()
}
