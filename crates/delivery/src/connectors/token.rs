//! Credentials of a request: fixed ones, tokens that are asked for and kept until they end, and signatures over the request itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convizit_keys::{AwsRequest, RsaKey, sign_aws};
use convizit_model::Timestamp;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::http::TIMEOUT;
use super::manifest::Auth;
use super::{encode, filled};
use crate::destinations::SendError;
use crate::guard::Guard;
use crate::why;

/// A token is asked for anew so long before it ends.
const EARLY: Duration = Duration::from_secs(60);
/// What a token lives where the vendor does not say.
const LIFE: Duration = Duration::from_secs(600);

/// Credentials of one destination.
pub(crate) struct Credentials {
    auth: Auth,
    settings: BTreeMap<String, String>,
    token: Option<(String, Instant)>,
    /// Looks at the address that gives tokens: a setting may be part of it.
    guard: Guard,
}

/// What a request gets.
#[derive(Default)]
pub(crate) struct Proof {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) query: Vec<(String, String)>,
    /// Behind the path, encoded.
    pub(crate) path: String,
}

impl Proof {
    /// What an answer may quote of it beside the settings themselves: tokens and pairs that were made of them.
    pub(crate) fn quotable(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().filter(|(name, _)| name == "authorization").map(|(_, value)| value.as_str());
        let pieces = headers.flat_map(|value| [value, value.split_once(' ').map_or("", |(_, behind)| behind)]);
        let query = self.query.iter().map(|(_, value)| value.as_str());
        pieces.chain(query).chain(self.path.split('/'))
    }
}

impl Credentials {
    pub(crate) fn new(auth: Auth, settings: BTreeMap<String, String>, guard: Guard) -> Self {
        Self { auth, settings, token: None, guard }
    }

    /// The vendor said that the token is no longer good.
    pub(crate) fn forget(&mut self) -> bool {
        self.token.take().is_some()
    }

    /// What the body gets: before it is signed or compressed.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let Auth::Body { fields } = &self.auth else { return Vec::new() };
        fields.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect()
    }

    fn fill(&self, text: &str) -> String {
        filled(text, &self.settings, str::to_owned)
    }

    /// Headers and parameters for a request.
    pub(crate) async fn prove(
        &mut self,
        client: &Client,
        url: &Url,
        method: &str,
        headers: &[(String, String)],
        body: &[u8],
        now: Timestamp,
    ) -> Result<Proof, SendError> {
        let mut proof = Proof::default();
        let bearer = |token: &str| ("authorization".to_owned(), format!("Bearer {token}"));
        match self.auth.clone() {
            Auth::None | Auth::Body { .. } => {}
            Auth::Basic { user, password } => {
                let (user, password) = (self.fill(&user), self.fill(&password));
                // An installation of one's own may ask for none.
                if !user.is_empty() || !password.is_empty() {
                    let pair = STANDARD.encode(format!("{user}:{password}"));
                    proof.headers.push(("authorization".to_owned(), format!("Basic {pair}")));
                }
            }
            Auth::Bearer { token } => proof.headers.push(bearer(&self.fill(&token))),
            Auth::Header { headers } => {
                let filled =
                    headers.iter().map(|(name, value)| (self.fill(name).to_ascii_lowercase(), self.fill(value)));
                proof.headers.extend(filled.filter(|(_, value)| !value.is_empty()));
            }
            Auth::Path { path } => proof.path = encode::path_of(&path, &self.settings),
            Auth::Query { query } => {
                proof.query.extend(query.iter().map(|(name, value)| (name.clone(), self.fill(value))));
            }
            Auth::QueryText { query } => {
                let text = self.fill(&query);
                let pairs = url::form_urlencoded::parse(text.trim_start_matches('?').as_bytes());
                proof.query.extend(pairs.into_owned());
            }
            Auth::Oauth2 { token_url, client_id, client_secret, scope, fields, json, exchange } => {
                let mut form = vec![
                    ("grant_type", "client_credentials".to_owned()),
                    ("client_id", self.fill(&client_id)),
                    ("client_secret", self.fill(&client_secret)),
                    ("scope", self.fill(&scope)),
                ];
                form.extend(fields.iter().map(|(name, value)| (name.as_str(), self.fill(value))));
                form.retain(|(_, value)| !value.is_empty());
                let second = exchange.map(|exchange| {
                    let fields: Vec<_> =
                        exchange.fields.into_iter().map(|(name, value)| (name, self.fill(&value))).collect();
                    (self.fill(&exchange.token_url), fields)
                });
                let asked = Asked { address: self.fill(&token_url), form: &form, json, second };
                proof.headers.push(bearer(&self.kept(client, &asked).await?));
            }
            Auth::Google { key, scope, token_url } => {
                let file: Value = serde_json::from_str(&self.fill(&key)).unwrap_or_default();
                let of = |field: &str| file[field].as_str().map(str::to_owned);
                let (Some(email), Some(pem)) = (of("client_email"), of("private_key")) else {
                    return Err(SendError::Pause(
                        "the service account's key is not the JSON file that Google gave".to_owned(),
                    ));
                };
                let audience = "https://oauth2.googleapis.com/token".to_owned();
                let address = token_url.map_or_else(|| audience.clone(), |url| self.fill(&url));
                let seconds = now.as_millis().div_euclid(1_000);
                let claims =
                    json!({"iss": email, "scope": scope, "aud": audience, "iat": seconds, "exp": seconds + 3_600});
                let key = RsaKey::from_pem(&pem).map_err(|error| SendError::Pause(error.to_string()))?;
                let signed = key
                    .token(of("private_key_id").as_deref(), &claims.to_string())
                    .map_err(|error| SendError::Pause(error.to_string()))?;
                let form = vec![
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                    ("assertion", signed),
                ];
                let asked = Asked { address, form: &form, json: false, second: None };
                proof.headers.push(bearer(&self.kept(client, &asked).await?));
            }
            Auth::KeyPair { key, issuer, subject } => {
                let key = RsaKey::from_pem(&self.fill(&key)).map_err(|error| SendError::Pause(error.to_string()))?;
                let print = key.fingerprint().map_err(|error| SendError::Pause(error.to_string()))?;
                let seconds = now.as_millis().div_euclid(1_000);
                let issuer = self.fill(&issuer).replace("{fingerprint}", &print);
                let claims = json!({"iss": issuer, "sub": self.fill(&subject), "iat": seconds, "exp": seconds + 3_000});
                let token =
                    key.token(None, &claims.to_string()).map_err(|error| SendError::Pause(error.to_string()))?;
                proof.headers.push(bearer(&token));
                proof.headers.push(("x-snowflake-authorization-token-type".to_owned(), "KEYPAIR_JWT".to_owned()));
            }
            Auth::Sigv4 { service, region, key_id, secret } => {
                let time = now.to_string().replace(['-', ':'], "");
                let time = format!("{}Z", time.split(['.', 'Z']).next().unwrap_or_default());
                let host = match (url.host_str().unwrap_or_default(), url.port()) {
                    (host, Some(port)) => format!("{host}:{port}"),
                    (host, None) => host.to_owned(),
                };
                let digest: String = convizit_keys::sha256(body).iter().map(|byte| format!("{byte:02x}")).collect();
                let mut signed: Vec<(String, String)> = headers.to_vec();
                signed.push(("host".to_owned(), host));
                signed.push(("x-amz-date".to_owned(), time.clone()));
                signed.push(("x-amz-content-sha256".to_owned(), digest));
                signed.sort();
                let borrowed: Vec<(&str, &str)> =
                    signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let request = AwsRequest {
                    region: &self.fill(&region),
                    service: &self.fill(&service),
                    time: &time,
                    method,
                    path: url.path(),
                    query: url.query().unwrap_or_default(),
                    headers: &borrowed,
                    body,
                };
                let authorization = sign_aws(&self.fill(&key_id), &self.fill(&secret), &request);
                proof.headers = signed
                    .into_iter()
                    .filter(|(name, _)| name.starts_with("x-amz-") && !headers.iter().any(|(sent, _)| sent == name))
                    .collect();
                proof.headers.push(("authorization".to_owned(), authorization));
            }
        }
        Ok(proof)
    }

    /// The token at hand, or a new one.
    async fn kept(&mut self, client: &Client, asked: &Asked<'_>) -> Result<String, SendError> {
        if let Some((token, until)) = &self.token
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let form = asked.form.iter().map(|(name, value)| (*name, value.as_str()));
        let (kind, body) = if asked.json {
            ("application/json", form.map(|(name, value)| (name, Value::from(value))).collect::<Value>().to_string())
        } else {
            (FORM, url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish())
        };
        let (mut token, mut life) = granted(client, &self.guard, &asked.address, kind, body).await?;
        if let Some((address, fields)) = &asked.second {
            let fields = fields.iter().map(|(name, value)| (name, value.replace("{token}", &token)));
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            (token, life) = granted(client, &self.guard, address, FORM, body).await?;
        }
        self.token = Some((token.clone(), Instant::now() + life.saturating_sub(EARLY)));
        Ok(token)
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// How a token is asked for.
struct Asked<'a> {
    address: String,
    form: &'a [(&'a str, String)],
    /// JSON, not a form.
    json: bool,
    /// Where it is exchanged for the one that is kept, and by what form.
    second: Option<(String, Vec<(String, String)>)>,
}

/// A token, and what it lives.
async fn granted(
    client: &Client,
    guard: &Guard,
    address: &str,
    kind: &str,
    body: String,
) -> Result<(String, Duration), SendError> {
    let address = guard.check_url(address).map_err(SendError::Pause)?;
    let asked = body.clone();
    let answer = client
        .post(address)
        .header("content-type", kind)
        .body(body)
        .send()
        .await
        .map_err(|error| why::unsent("the address that gives tokens", TIMEOUT.as_secs(), &error))?;
    let status = answer.status();
    let bytes = super::http::bounded(answer).await?;
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status.is_server_error() || status.as_u16() == 429 {
        return Err(SendError::later(format!("the address that gives tokens answered {}", status.as_u16())));
    }
    let Some(token) = body["access_token"].as_str().filter(|_| status.is_success()) else {
        // A word of RFC 6749; whatever else stands there may quote the credential.
        let is_word = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let why = body["error"].as_str().filter(is_word).filter(|word| !asked.contains(word)).unwrap_or_default();
        let text = format!("no token was given ({} {why}): are client id, secret and rights right?", status.as_u16());
        return Err(SendError::Pause(text));
    };
    Ok((token.to_owned(), body["expires_in"].as_u64().map_or(LIFE, Duration::from_secs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(auth: Value, settings: &[(&str, &str)]) -> Credentials {
        let settings = settings.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect();
        let guard = Guard::new(&["127.0.0.0/8".to_owned()]).unwrap();
        Credentials::new(serde_json::from_value(auth).unwrap(), settings, guard)
    }

    async fn proof(credentials: &mut Credentials) -> Proof {
        let url = Url::parse("https://vendor.example/in").unwrap();
        let now = Timestamp::from_millis(0);
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        credentials.prove(&Client::new(), &url, "POST", &[], b"", now).await.unwrap()
    }

    #[tokio::test]
    async fn credentials_stand_where_the_manifest_says_and_empty_ones_nowhere() {
        let path = json!({"kind": "path", "path": "/{webhook}"});
        let mut slack = credentials(path, &[("webhook", "T0/B0/a b")]);
        assert_eq!(proof(&mut slack).await.path, "/T0%2FB0%2Fa%20b");
        let path = json!({"kind": "path", "path": "/{+webhook}"});
        let mut slack = credentials(path, &[("webhook", "T0/B0/a b")]);
        assert_eq!(proof(&mut slack).await.path, "/T0/B0/a%20b");

        let header = json!({"kind": "header", "headers": {"{header}": "{value}"}});
        let mut with = credentials(header.clone(), &[("header", "X-Key"), ("value", "canary")]);
        assert_eq!(proof(&mut with).await.headers, [("x-key".to_owned(), "canary".to_owned())]);
        let mut without = credentials(header, &[("header", "X-Key"), ("value", "")]);
        assert!(proof(&mut without).await.headers.is_empty());
        let basic = json!({"kind": "basic", "user": "{user}", "password": "{token}"});
        let mut without = credentials(basic, &[("user", ""), ("token", "")]);
        assert!(proof(&mut without).await.headers.is_empty());
    }

    #[tokio::test]
    async fn a_token_is_asked_for_as_json_exchanged_where_it_must_be_and_kept() {
        use axum::routing::post;
        let first = |axum::Json(asked): axum::Json<Value>| async move {
            assert_eq!(asked["account_id"], "7");
            assert!(asked.get("empty").is_none() && asked.get("scope").is_none());
            axum::Json(json!({"access_token": "first", "expires_in": 1_000}))
        };
        let second = |body: String| async move {
            assert_eq!(body, "subject_token=first");
            axum::Json(json!({"access_token": "second", "expires_in": 1_000}))
        };
        let router = axum::Router::new().route("/first", post(first)).route("/second", post(second));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });

        let mut both = credentials(
            json!({"kind": "oauth2", "token_url": format!("{base}/first"), "client_id": "me", "client_secret": "{secret}", "json": true,
                "fields": {"account_id": "{account}", "empty": ""},
                "exchange": {"token_url": format!("{base}/second"), "fields": {"subject_token": "{token}"}}}),
            &[("secret", "canary"), ("account", "7")],
        );
        assert_eq!(proof(&mut both).await.headers[0].1, "Bearer second");
        server.abort();
        // Nobody answers any more.
        assert_eq!(proof(&mut both).await.headers[0].1, "Bearer second");

        let inside = json!({"kind": "oauth2", "token_url": "https://{host}/token", "client_id": "me", "client_secret": "canary"});
        let mut inside = credentials(inside, &[("host", "10.0.0.1")]);
        let url = Url::parse("https://vendor.example/in").unwrap();
        let made = inside.prove(&Client::new(), &url, "POST", &[], b"", Timestamp::from_millis(0)).await;
        assert!(matches!(made, Err(SendError::Pause(why)) if why.contains("allow_networks")));
    }
}
