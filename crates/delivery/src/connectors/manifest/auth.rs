//! How a request shows who sends it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a request shows who sends it. Texts may hold `{settings}`, secrets too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Basic`.
    Basic {
        /// Before the colon.
        user: String,
        /// Behind it.
        #[serde(default)]
        password: String,
    },
    /// `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: String,
    },
    /// Headers of the vendor's own.
    Header {
        /// Name → value, both filled; one without a value is not sent.
        headers: BTreeMap<String, String>,
    },
    /// The end of the path, never logged nor shown.
    Path {
        /// Behind the path of `[[send]]`; `/` parts its steps.
        path: String,
    },
    /// Parameters of the address, never logged.
    Query {
        /// Name → value.
        query: BTreeMap<String, String>,
    },
    /// Parameters of the address as the vendor gave them, in one text, never logged: a shared access signature of Azure.
    QueryText {
        /// `sv=…&sig=…`
        query: String,
    },
    /// Fields of the body.
    Body {
        /// Name → value.
        fields: BTreeMap<String, String>,
    },
    /// A token of OAuth 2, by client credentials.
    Oauth2 {
        /// Where it is asked for.
        token_url: String,
        /// Who asks.
        client_id: String,
        /// The client's secret.
        client_secret: String,
        /// For what.
        #[serde(default)]
        scope: String,
        /// Further fields of the request; one without a value is not sent.
        #[serde(default)]
        fields: BTreeMap<String, String>,
        /// Whether the request is JSON, not a form.
        #[serde(default)]
        json: bool,
        /// Where the token is exchanged for the one that requests get.
        #[serde(default)]
        exchange: Option<Exchange>,
    },
    /// A token of Google, for the key of a service account.
    Google {
        /// The key file's whole JSON.
        key: String,
        /// For what.
        scope: String,
        /// Other than that of the key file, for tests.
        #[serde(default)]
        token_url: Option<String>,
    },
    /// Signature version 4 of AWS.
    Sigv4 {
        /// `kinesis`.
        service: String,
        /// `eu-central-1`.
        region: String,
        /// The access key's id.
        key_id: String,
        /// The secret access key.
        secret: String,
    },
    /// A JSON Web Token that is signed with an RSA key of ours (Snowflake).
    KeyPair {
        /// PEM of the private key.
        key: String,
        /// Claims `iss` and `sub`; `{fingerprint}` is the public key's.
        issuer: String,
        /// Who it is about.
        subject: String,
    },
}

/// A second step to a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Where it is asked for.
    pub token_url: String,
    /// The form; `{token}` is the first token.
    pub fields: BTreeMap<String, String>,
}

impl Auth {
    /// The texts that settings are put into.
    pub(super) fn texts(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { user, password } => vec![user, password],
            Self::Bearer { token } => vec![token],
            Self::Header { headers: fields } | Self::Query { query: fields } | Self::Body { fields } => {
                fields.values().map(String::as_str).collect()
            }
            Self::Path { path } => vec![path],
            Self::QueryText { query } => vec![query],
            Self::Oauth2 { token_url, client_id, client_secret, scope, fields, .. } => {
                let fixed = [token_url, client_id, client_secret, scope];
                fixed.into_iter().chain(fields.values()).map(String::as_str).collect()
            }
            Self::Google { key, .. } => vec![key],
            Self::Sigv4 { service, region, key_id, secret } => vec![service, region, key_id, secret],
            Self::KeyPair { key, issuer, subject } => vec![key, issuer, subject],
        }
    }
}
