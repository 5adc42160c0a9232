//! The provider of AWS KMS: key-encryption keys that AWS holds; they wrap and unwrap there.
//!
//! Of a symmetric key, AWS keeps every version of the material and picks the right one at decryption, so that all of them
//! have one id: the key's ARN. The binding is the encryption context, `{"convizit": "convizit/…"}`, which CloudTrail shows.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convizit_model::Timestamp;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use self::answers::{Decrypted, Described, Encrypted, Metadata, Rotations, error_of, throttles};
use self::credentials::Credentials;
use super::{Binding, Kek, KeyProvider, Later, Wrapped, https};
use crate::{AwsRequest, KeyError, Secret, sign_aws};

mod answers;
mod credentials;

/// A key of AWS KMS.
pub(super) struct AwsKms {
    key: String,
    region: String,
    endpoint: Url,
    client: Client,
    credentials: Mutex<Option<Credentials>>,
}

/// Why KMS did not do it.
enum Refusal {
    /// The name of AWS's error, and its own words, which hold names of users and keys but no secret.
    Aws(String, String),
    Other(String),
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKms").field("key", &self.key).field("region", &self.region).finish_non_exhaustive()
    }
}

impl AwsKms {
    pub(super) fn open(key: &str, region: &str, endpoint: Option<&str>) -> Result<Self, KeyError> {
        let problem = |problem| KeyError::Provider { provider: format!("aws-kms key {key}"), problem };
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(problem("its region is none: give one such as eu-west-1".to_owned()));
        }
        // The regions of China have a domain of their own.
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let usual = format!("https://kms.{region}.{domain}");
        let endpoint = https::address(endpoint.unwrap_or(&usual)).map_err(problem)?;
        let client = https::client().map_err(problem)?;
        Ok(Self { key: key.to_owned(), region: region.to_owned(), endpoint, client, credentials: Mutex::default() })
    }

    async fn describe(&self) -> Result<Metadata, KeyError> {
        let answer: Described =
            self.ask("DescribeKey", &json!({ "KeyId": self.key })).await.map_err(|e| self.told(e))?;
        let key = answer.key_metadata;
        if (key.key_spec.as_str(), key.key_usage.as_str()) != ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT") {
            return Err(self.problem("it is no symmetric key for encryption: make one, and name it".to_owned()));
        }
        match key.key_state.as_str() {
            "Enabled" => Ok(key),
            "Disabled" => Err(self.told(Refusal::Aws("DisabledException".to_owned(), String::new()))),
            state => Err(self.told(Refusal::Aws("KMSInvalidStateException".to_owned(), format!("it is {state}")))),
        }
    }

    /// The key with the date of its newest material.
    async fn newest(&self) -> Result<Kek, KeyError> {
        let key = self.describe().await?;
        let mut made = key.creation_date;
        let mut ask = json!({ "KeyId": key.arn, "Limit": 100 });
        // Ten pages are more rotations than AWS allows on demand, and a thousand years of yearly ones.
        for _ in 0..10 {
            let page: Rotations = self.ask("ListKeyRotations", &ask).await.map_err(|error| self.told(error))?;
            made = page.rotations.iter().fold(made, |made, rotation| made.max(rotation.rotation_date));
            match page.next_marker {
                Some(marker) => ask["Marker"] = Value::String(marker),
                None => break,
            }
        }
        // Milliseconds of a date fit into 53 bits for 285,000 years.
        Ok(Kek { id: key.arn, made: Some(Timestamp::from_millis((made * 1000.0) as i64)) })
    }

    async fn wrap_under(&self, binding: &Binding, secret: &Secret) -> Result<Wrapped, KeyError> {
        let arn = self.describe().await?.arn;
        let plain = Zeroizing::new(STANDARD.encode(secret.as_slice()));
        let ask = json!({ "KeyId": arn, "Plaintext": plain.as_str(), "EncryptionContext": context(binding) });
        let answer: Encrypted = self.ask("Encrypt", &ask).await.map_err(|error| self.told(error))?;
        let bytes = STANDARD.decode(answer.ciphertext_blob);
        let bytes = bytes.map_err(|_| self.problem("its answer is no base64: check the endpoint".to_owned()))?;
        Ok(Wrapped { kek: answer.key_id, bytes })
    }

    async fn unwrap_of(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, KeyError> {
        let gone = |problem: String| KeyError::Unwrap { kek: wrapped.kek.clone(), problem };
        if !wrapped.kek.starts_with("arn:") {
            return Err(gone("it is no key of AWS: configure the provider that wrapped it".to_owned()));
        }
        let blob = STANDARD.encode(&wrapped.bytes);
        let ask = json!({ "KeyId": wrapped.kek, "CiphertextBlob": blob, "EncryptionContext": context(binding) });
        let answer: Decrypted = self.ask("Decrypt", &ask).await.map_err(|refusal| match refusal {
            Refusal::Aws(name, _) if name == "InvalidCiphertextException" || name == "IncorrectKeyException" => {
                gone(format!("what it wrapped for {binding} was changed or moved: restore the database from a backup"))
            }
            Refusal::Aws(name, _) if name == "NotFoundException" => {
                gone(format!("it is not in {}: name the region that holds it", self.region))
            }
            refusal => self.told(refusal),
        })?;
        let mut secret = Secret::default();
        match STANDARD.decode_slice(answer.plaintext.as_bytes(), secret.as_mut_slice()) {
            Ok(32) => Ok(secret),
            _ => Err(gone(format!("what it wrapped for {binding} is no key"))),
        }
    }

    async fn rotate_now(&self, now: Timestamp) -> Result<Kek, KeyError> {
        let arn = self.describe().await?.arn;
        // Answers with the key's id, which may come without the rest of its ARN.
        let _: Value =
            self.ask("RotateKeyOnDemand", &json!({ "KeyId": arn })).await.map_err(|error| self.told(error))?;
        Ok(Kek { id: arn, made: Some(now) })
    }

    /// One call of the service's JSON protocol.
    async fn ask<T: for<'de> Deserialize<'de>>(&self, action: &str, ask: &Value) -> Result<T, Refusal> {
        let body =
            Zeroizing::new(serde_json::to_vec(ask).map_err(|_| Refusal::Other("a request has no text".to_owned()))?);
        let credentials = self.credentials().await?;
        let host = match (self.endpoint.host_str().unwrap_or_default(), self.endpoint.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let target = format!("TrentService.{action}");
        let make = || {
            // Each try has its own time: AWS refuses signatures that are minutes old.
            let time = compact(now());
            let mut headers =
                vec![("content-type", "application/x-amz-json-1.1"), ("host", &host), ("x-amz-date", &time)];
            if let Some(token) = &credentials.token {
                headers.push(("x-amz-security-token", token));
            }
            headers.push(("x-amz-target", &target));
            let signed = AwsRequest {
                region: &self.region,
                service: "kms",
                time: &time,
                method: "POST",
                path: "/",
                query: "",
                headers: &headers,
                body: &body,
            };
            let signature = sign_aws(&credentials.id, &credentials.secret, &signed);
            let mut request = self.client.post(self.endpoint.clone()).header("authorization", signature);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            Ok(request.body(body.to_vec()))
        };
        let passes = |(status, body): &https::Answer| status.is_server_error() || throttles(&error_of(body).0);
        let (status, body) = https::ask::<Refusal>(make, passes).await?.map_err(Refusal::Other)?;
        if status.is_success() {
            // The parser's own message may quote what it read.
            return serde_json::from_slice(&body)
                .map_err(|_| Refusal::Other(format!("its answer to {action} has another form: check the endpoint")));
        }
        let (name, words) = error_of(&body);
        if name.is_empty() {
            return Err(Refusal::Other(format!("it answered {} to {action}: check the endpoint", status.as_u16())));
        }
        // They may have been replaced: the next call finds new ones.
        *self.credentials.lock().await = None;
        Err(Refusal::Aws(name, words))
    }

    async fn credentials(&self) -> Result<Credentials, Refusal> {
        let mut held = self.credentials.lock().await;
        if let Some(credentials) = held.as_ref().filter(|credentials| credentials.are_fresh(now())) {
            return Ok(credentials.clone());
        }
        let found = Credentials::find(&self.client).await.map_err(Refusal::Other)?;
        *held = Some(found.clone());
        Ok(found)
    }

    /// What a refusal means, and what to do.
    fn told(&self, refusal: Refusal) -> KeyError {
        let (key, region) = (&self.key, &self.region);
        self.problem(match refusal {
            Refusal::Other(text) => text,
            Refusal::Aws(name, words) => match name.as_str() {
                "NotFoundException" => format!(
                    "there is no such key in {region}: run `aws kms create-key --region {region} --description convizit`, \
                     and name the key that it tells"
                ),
                "DisabledException" => {
                    format!("it is disabled: run `aws kms enable-key --region {region} --key-id {key}`")
                }
                "KMSInvalidStateException" => {
                    format!("it cannot be used now ({words}): run `aws kms describe-key --region {region} --key-id {key}`")
                }
                "AccessDeniedException" => format!(
                    "AWS denies it ({words}): allow kms:DescribeKey, kms:ListKeyRotations, kms:Encrypt, kms:Decrypt and, to \
                     rotate, kms:RotateKeyOnDemand"
                ),
                "UnrecognizedClientException" | "InvalidSignatureException" | "InvalidClientTokenId"
                | "ExpiredTokenException" => {
                    format!("AWS does not take the credentials ({name}): renew them, and set this machine's clock")
                }
                _ => format!("AWS answered {name} ({words})"),
            },
        })
    }

    fn problem(&self, problem: String) -> KeyError {
        KeyError::Provider { provider: format!("aws-kms key {}", self.key), problem }
    }
}

impl KeyProvider for AwsKms {
    fn name(&self) -> &'static str {
        "aws-kms"
    }

    fn versions(&self) -> Later<'_, Vec<Kek>> {
        Box::pin(async move { Ok(vec![self.newest().await?]) })
    }

    fn wrap<'a>(&'a self, binding: &'a Binding, secret: &'a Secret) -> Later<'a, Wrapped> {
        Box::pin(self.wrap_under(binding, secret))
    }

    fn unwrap<'a>(&'a self, binding: &'a Binding, wrapped: &'a Wrapped) -> Later<'a, Secret> {
        Box::pin(self.unwrap_of(binding, wrapped))
    }

    fn rotate(&self, now: Timestamp) -> Later<'_, Kek> {
        Box::pin(self.rotate_now(now))
    }

    fn destroys(&self) -> bool {
        false
    }

    fn destroy<'a>(&'a self, id: &'a str) -> Later<'a, ()> {
        let text = format!(
            "AWS destroys the versions of a key only together with the key: when nothing is wrapped by {id} any more, run \
             `aws kms schedule-key-deletion --region {} --key-id {id}`",
            self.region
        );
        Box::pin(std::future::ready(Err(self.problem(text))))
    }
}

fn context(binding: &Binding) -> Value {
    json!({ "convizit": binding.to_string() })
}

/// `20150830T123600Z`, of `2015-08-30T12:36:00.000Z`.
fn compact(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..19).unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).chain(['Z']).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "AWS compares with its own clock, so this is the system's and no argument"
)]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
