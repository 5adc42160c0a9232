//! A connector's manifest: everything that is to be known of a vendor's interface, as TOML, with no code. Also read by the build script.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One connector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What it is called and how far it is proven.
    pub meta: Meta,
    /// Region → address, which may hold `{settings}`. Empty where the user types the address.
    #[serde(default)]
    pub hosts: BTreeMap<String, String>,
    /// The setting that holds the address: it goes through the address guard.
    #[serde(default)]
    pub host_setting: Option<String>,
    /// A setting that may hold an address in place of those of `hosts`: a private endpoint of the vendor, or another that speaks the same.
    #[serde(default)]
    pub endpoint_setting: Option<String>,
    /// What a person has to enter, in this order.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// How a request shows who sends it.
    #[serde(default)]
    pub auth: Auth,
    /// Who an event is of.
    #[serde(default)]
    pub identity: Identity,
    /// Which times are taken.
    #[serde(default)]
    pub time: Time,
    /// How repeats are known.
    #[serde(default)]
    pub dedup: Dedup,
    /// How fast it may go.
    #[serde(default)]
    pub rate: Rate,
    /// Without which consent nothing is sent.
    #[serde(default)]
    pub consent: ConsentRule,
    /// Whether events may be sent a second time.
    #[serde(default)]
    pub replay: Replay,
    /// The call that erases a person.
    #[serde(default)]
    pub erase: Option<Erase>,
    /// Which events go where: the first that an event meets takes it; one that meets none is not sent.
    pub send: Vec<Send>,
}

/// What a connector is called.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// As it is typed: `mixpanel`.
    pub id: String,
    /// As it is read: `Mixpanel`.
    pub name: String,
    /// `analytics`, `cdp`, `marketing`, `ads`, `warehouse`, `queue`, `storage`, `search` or `alerts`.
    pub group: String,
    /// Version of the manifest.
    pub version: u32,
    /// `real-server`, `vendor-emulator`, `third-party-emulator` or `spec-only`.
    pub proof: String,
    /// What the proof leaves open.
    #[serde(default)]
    pub proof_note: String,
    /// One or two sentences: what is sent.
    pub about: String,
    /// How to get the credential.
    pub credential: String,
    /// What is made there before the first event comes, as it is typed: SQL, a template of an index. Empty for nothing.
    #[serde(default)]
    pub prepare: String,
    /// The vendor's own page.
    pub docs: String,
    /// Off until somebody says that he wants it: advertising.
    #[serde(default)]
    pub opt_in: bool,
}

/// What a person enters.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// As it is typed: `project_id`.
    pub id: String,
    /// As it is read: `Project id`.
    pub label: String,
    /// Where to find it.
    #[serde(default)]
    pub hint: String,
    /// The whole value has this form.
    #[serde(default = "any_line")]
    pub regex: String,
    /// Sealed, never shown again.
    #[serde(default)]
    pub secret: bool,
    /// What it is when nothing is entered; without one it must be entered.
    #[serde(default)]
    pub default: Option<String>,
}

fn any_line() -> String {
    r"[^\r\n]+".to_owned()
}

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

/// Who an event is of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `user`: events without a user are not sent.
    #[serde(default)]
    pub needs: Needs,
    /// User ids that the vendor takes for nobody (compared without case): such an event goes without a user.
    #[serde(default)]
    pub banned: Vec<String>,
    /// Characters that a user id must have.
    #[serde(default)]
    pub least: usize,
}

/// Whom an event must have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// A visitor, whom every event has.
    #[default]
    Visitor,
    /// A user whom the site has named.
    User,
}

/// Which times are taken.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Hours; 0 for no bound. Events that are older become dead letters.
    #[serde(default)]
    pub max_age_hours: u32,
    /// Whether a time after that of its receipt becomes that of the receipt, which never changes.
    #[serde(default)]
    pub clamp_future: bool,
}

/// How repeats are known to the vendor.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dedup {
    /// The field, for people to read; empty where the vendor knows none.
    #[serde(default)]
    pub field: String,
    /// Hours within which a repeat is known; 0 for ever.
    #[serde(default)]
    pub window_hours: u32,
    /// What else is to be known.
    #[serde(default)]
    pub note: String,
}

/// How fast it may go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests a second.
    #[serde(default = "ten")]
    pub per_second: u32,
    /// Lanes: requests at once, of different visitors. 1 where the vendor needs all events in order.
    #[serde(default = "four")]
    pub concurrency: u32,
}

const fn ten() -> u32 {
    10
}

const fn four() -> u32 {
    4
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: ten(), concurrency: four() }
    }
}

/// Without which consent nothing is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentRule {
    /// Not after a refusal of analytics.
    #[default]
    Analytics,
    /// Only after consent to ads.
    Ads,
}

/// Whether events may be sent a second time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Whether at all.
    #[serde(default = "yes")]
    pub allowed: bool,
    /// What a person is told before.
    #[serde(default)]
    pub warning: String,
}

const fn yes() -> bool {
    true
}

impl Default for Replay {
    fn default() -> Self {
        Self { allowed: true, warning: String::new() }
    }
}

/// The call that erases persons.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// `visitors`, `users` or `all`: whom it can erase.
    pub of: ErasesWhom,
    /// Whom else, where a setting says under which id persons are sent.
    #[serde(default)]
    pub where_setting: Option<WhereSetting>,
    /// Other than the host of events.
    #[serde(default)]
    pub host: Option<String>,
    /// The same by region, with the regions of `hosts`.
    #[serde(default)]
    pub hosts: BTreeMap<String, String>,
    /// `POST`, `DELETE` or `PUT`.
    #[serde(default = "post")]
    pub method: String,
    /// May hold `{id}`, where it erases one at a time.
    pub path: String,
    /// Parameters of the address.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Mapping of `{ids: […], id, kind, request}` to the body; none for no body.
    #[serde(default)]
    pub body: Option<Value>,
    /// Persons of one call.
    #[serde(default = "one_id")]
    pub most: usize,
    /// Other than that of events.
    #[serde(default)]
    pub auth: Option<Auth>,
}

const fn one_id() -> usize {
    1
}

impl Auth {
    /// The texts that settings are put into.
    fn texts(&self) -> Vec<&str> {
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

impl Erase {
    /// Whether the call erases persons of a kind (`visitor`, `user`).
    #[must_use]
    pub fn takes(&self, kind: &str, settings: &BTreeMap<String, String>) -> bool {
        let other = self.where_setting.as_ref().filter(|rule| settings.get(&rule.id) == Some(&rule.is));
        match other.map_or(self.of, |rule| rule.of) {
            ErasesWhom::All => true,
            ErasesWhom::Users => kind == "user",
            ErasesWhom::Visitors => kind == "visitor",
        }
    }

    /// The first setting that the call needs and that is empty.
    #[must_use]
    pub fn lacks<'m>(&self, manifest: &'m Manifest, settings: &BTreeMap<String, String>) -> Option<&'m Setting> {
        let mut texts = self.auth.as_ref().unwrap_or(&manifest.auth).texts();
        texts.push(&self.path);
        texts.extend(self.host.iter().chain(self.query.values()).chain(self.headers.values()).map(String::as_str));
        let named: Vec<&str> = texts.into_iter().flat_map(names_in).collect();
        manifest.settings.iter().find(|setting| {
            named.contains(&setting.id.as_str()) && settings.get(&setting.id).is_none_or(String::is_empty)
        })
    }
}

/// Whom a call can erase if a setting has a value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhereSetting {
    /// The setting.
    pub id: String,
    /// Its value.
    pub is: String,
    /// Whom then.
    pub of: ErasesWhom,
}

/// Whom a call can erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasesWhom {
    /// Users and visitors by one call.
    All,
    /// Those whom the site has named.
    Users,
    /// By visitor id.
    Visitors,
}

/// Which events go where, and in what form.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Types of events; empty for all.
    #[serde(default)]
    pub types: Vec<String>,
    /// A condition of the mapping language.
    #[serde(default)]
    pub when: Option<Value>,
    /// `POST` or `PUT`.
    #[serde(default = "post")]
    pub method: String,
    /// Behind the host; may hold `{settings}`, `{+settings}` whose `/` part steps, `{batch}`, the batch's id, and `{path_values}`.
    pub path: String,
    /// Further names for path and query: mappings of the first event. With `group_by` they are the same for all of a request.
    #[serde(default)]
    pub path_values: BTreeMap<String, Value>,
    /// Parameters of the address; may hold `{settings}`, `{batch}` and `{path_values}`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Headers; may hold `{settings}` and `{batch}`. One without a value is not sent.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Of the body.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// How items become a body.
    pub batch: Batch,
    /// The mapping of one event.
    pub item: Value,
    /// Bounds of the name.
    #[serde(default)]
    pub name: Option<NameLimit>,
    /// Bounds of objects in an item.
    #[serde(default)]
    pub limit: Vec<Limit>,
    /// What an answer means.
    #[serde(default)]
    pub response: Response,
}

fn post() -> String {
    "POST".to_owned()
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// How items become a body.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The form.
    pub shape: Shape,
    /// Where the list stands in the body, as `data.attributes.rows`; for `object` and `text`.
    #[serde(default)]
    pub field: String,
    /// The rest of the body: a mapping of the first event.
    #[serde(default)]
    pub envelope: Option<Value>,
    /// For `ndjson`: a mapping whose line stands before each item.
    #[serde(default)]
    pub before: Option<Value>,
    /// Items of one request.
    pub max_events: usize,
    /// Bytes of one request.
    pub max_bytes: usize,
    /// Bytes of one item.
    pub max_item_bytes: usize,
    /// Only events with the same value of this mapping share a request.
    #[serde(default)]
    pub group_by: Option<Value>,
    /// Whether bodies are compressed.
    #[serde(default)]
    pub gzip: bool,
    /// Whether the compressed body is a file of its own, `.gz`: no header speaks of it.
    #[serde(default)]
    pub gzip_file: bool,
}

/// How items become a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `[item, item]`
    Array,
    /// An item a line.
    Ndjson,
    /// `{field: [item, item]}`
    Object,
    /// `{field: "[item, item]"}`: JSON in a text, for statements with one parameter.
    Text,
    /// The item itself.
    Single,
}

/// Bounds of an event's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameLimit {
    /// Where it stands in the item.
    pub at: String,
    /// Characters.
    pub max: usize,
    /// What becomes of it.
    #[serde(default)]
    pub style: Style,
    /// Names that are the vendor's own: they get `_event` behind them.
    #[serde(default)]
    pub reserved: Vec<String>,
    /// Beginnings that are the vendor's own: they get `x_` before them.
    #[serde(default)]
    pub reserved_prefixes: Vec<String>,
}

/// What becomes of a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// It stays as people read it.
    #[default]
    Keep,
    /// `product_price`.
    Slug,
}

/// Bounds of one object in an item.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Where it stands in the item: `properties`, `data.attributes`.
    pub at: String,
    /// Fields; those behind are left out and counted. 0 for no bound.
    #[serde(default)]
    pub count: usize,
    /// Characters of a key; 0 for no bound.
    #[serde(default)]
    pub key: usize,
    /// What becomes of keys.
    #[serde(default)]
    pub keys: Style,
    /// Keys that are the vendor's own: they get `x_` before them.
    #[serde(default)]
    pub reserved: Vec<String>,
    /// Beginnings of keys that are the vendor's own: they get `x_` before them.
    #[serde(default)]
    pub reserved_prefixes: Vec<String>,
    /// Characters of a text; 0 for no bound.
    #[serde(default)]
    pub value: usize,
    /// Bytes of a text; 0 for no bound.
    #[serde(default)]
    pub value_bytes: usize,
    /// Other bounds of texts, by key.
    #[serde(default)]
    pub longer: BTreeMap<String, usize>,
    /// What becomes of objects and lists.
    #[serde(default)]
    pub nested: Nested,
    /// Whether nulls are left out.
    #[serde(default)]
    pub no_nulls: bool,
    /// Whether numbers and booleans become texts.
    #[serde(default)]
    pub texts_only: bool,
    /// Whether booleans become texts, while numbers stay.
    #[serde(default)]
    pub no_booleans: bool,
    /// `value`: each field becomes an object with this one key, `{"value": field}`.
    #[serde(default)]
    pub wrap: Option<String>,
}

/// What becomes of objects and lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nested {
    /// They stay.
    #[default]
    Keep,
    /// `{"a": {"b": 1}}` becomes `{"a_b": 1}`.
    Flatten,
    /// They become JSON in a text.
    Text,
    /// They are left out.
    Drop,
}

/// What an answer means, beyond what all have in common: 2xx is success; 408, 425, 429 and 5xx are tried again; 401, 403, 404, 405 and 410
/// wait for a person; 413 halves the batch; other 4xx are refusals, and the batch is halved until the refused event is found.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Further codes that mean: it is there.
    #[serde(default)]
    pub success: Vec<u16>,
    /// Further codes that are tried again.
    #[serde(default)]
    pub retry: Vec<u16>,
    /// Further codes that mean that this event is refused.
    #[serde(default)]
    pub refuse: Vec<u16>,
    /// Words of a refusal that speak of the credential or a setting, not of an event: it waits for a person, and no event is refused.
    #[serde(default)]
    pub pause: Vec<String>,
    /// Further codes that wait for a person.
    #[serde(default)]
    pub wait: Vec<u16>,
    /// Where the answer says which items failed.
    #[serde(default)]
    pub partial: Option<Partial>,
    /// Where a success says so in its body only: a path and the values that are success.
    #[serde(default)]
    pub confirm: Option<Confirm>,
    /// Where a failure says what it is in its body only.
    #[serde(default)]
    pub signs: Option<Signs>,
}

/// A failure whose body says more than its status.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signs {
    /// `error.code`. Of an answer in XML `Code` and `Message` are known. Of `vendor#Value` what stands behind `#` is compared.
    pub at: String,
    /// Values that mean: it is there.
    #[serde(default)]
    pub done: Vec<Value>,
    /// Values that wait for a person: a credential, a right, a name.
    #[serde(default)]
    pub pause: Vec<Value>,
    /// Values that are tried again.
    #[serde(default)]
    pub retry: Vec<Value>,
}

/// A success that is one only if its body says so.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// `status.state`
    pub at: String,
    /// Values that are success.
    pub is: Vec<Value>,
    /// Values that are tried again; all others are refusals.
    #[serde(default)]
    pub retry: Vec<Value>,
    /// Values that wait for a person.
    #[serde(default)]
    pub pause: Vec<Value>,
}

/// Which items of a batch failed, by the answer: a closed set, each with its own code.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "parser", rename_all = "snake_case", deny_unknown_fields)]
pub enum Partial {
    /// A list of failures that name their item's place in the batch.
    IndexList {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the list stands.
        list: String,
        /// The place, in each failure.
        index: String,
        /// The reason, in each failure.
        reason: String,
        /// Whether the items that are not named went in.
        rest: Rest,
    },
    /// Fields whose values are lists of places: Amplitude.
    FieldIndexes {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the fields stand.
        fields: Vec<String>,
        /// Fields that name items to be sent again later.
        #[serde(default)]
        later: Vec<String>,
        /// Whether the items that are not named went in.
        rest: Rest,
    },
    /// A list with an entry for each item, in the same order: AWS.
    Parallel {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the list stands.
        list: String,
        /// What a failed entry has.
        code: String,
        /// Codes that are refusals; all others are sent again.
        #[serde(default)]
        refused: Vec<String>,
    },
    /// A list of failures that name their item by the id that the request gave it: SQS.
    IdList {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the list stands.
        list: String,
        /// The id, in each failure, and in each item.
        id: String,
        /// The reason, in each failure.
        reason: String,
        /// True in a failure that is the sender's fault; others are sent again.
        fault: String,
    },
    /// `items[].create.status` of Elasticsearch and OpenSearch.
    EsItems,
    /// Lists of values that name the items by a field of theirs: Iterable.
    ValueLists {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where each list stands → the item's field that its values are of.
        lists: BTreeMap<String, String>,
    },
}

/// What became of the items that an answer does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// They went in.
    Done,
    /// They did not: they are sent again at once, without the others.
    Resend,
}

impl Manifest {
    /// Reads a manifest and checks what can be checked of it without the rest of the program.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.check().map_err(|error| format!("{}: {error}", manifest.meta.id))?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !plain(&self.meta.id) {
            return Err("meta.id has a-z, 0-9 and _ only".to_owned());
        }
        const GROUPS: [&str; 9] =
            ["analytics", "cdp", "marketing", "ads", "warehouse", "queue", "storage", "search", "alerts"];
        if !GROUPS.contains(&self.meta.group.as_str()) {
            return Err(format!("meta.group is one of {}", GROUPS.join(", ")));
        }
        const PROOFS: [&str; 4] = ["real-server", "vendor-emulator", "third-party-emulator", "spec-only"];
        if !PROOFS.contains(&self.meta.proof.as_str()) {
            return Err(format!("meta.proof is one of {}", PROOFS.join(", ")));
        }
        match &self.host_setting {
            Some(id) if !self.settings.iter().any(|setting| setting.id == *id) => {
                return Err(format!("host_setting names {id}, which is no setting"));
            }
            Some(_) if !self.hosts.is_empty() => return Err("either hosts or host_setting".to_owned()),
            None if self.hosts.is_empty() => return Err("neither hosts nor host_setting".to_owned()),
            _ => {}
        }
        if let Some(id) = &self.endpoint_setting {
            match self.settings.iter().find(|setting| setting.id == *id) {
                Some(setting) if !setting.secret && setting.default.as_deref() == Some("") => {}
                _ => return Err(format!("endpoint_setting names {id}, which is no setting with the default \"\"")),
            }
        }
        for (region, host) in &self.hosts {
            if !host.starts_with("https://") || host[8..].contains(['/', '?', '#', '@']) {
                return Err(format!("hosts.{region}: https://name, nothing behind it"));
            }
            // What a person enters stands in a host as one label of its name only.
            for id in names_in(host) {
                let Some(setting) = self.settings.iter().find(|setting| setting.id == id) else {
                    return Err(format!("hosts.{region} names {id}, which is no setting"));
                };
                if setting.secret || setting.regex.contains(['.', '/', ':', '@', '\\']) {
                    return Err(format!("settings.{id} stands in a host: its form must exclude . / : @"));
                }
            }
        }
        for setting in &self.settings {
            if !plain(&setting.id) {
                return Err(format!("settings.{}: an id has a-z, 0-9 and _ only", setting.id));
            }
        }
        if let Some(erase) = &self.erase {
            if !erase.hosts.is_empty() && !erase.hosts.keys().eq(self.hosts.keys()) {
                return Err("erase.hosts has not the regions of hosts".to_owned());
            }
            let unknown = |rule: &&WhereSetting| !self.settings.iter().any(|setting| setting.id == rule.id);
            if let Some(rule) = erase.where_setting.as_ref().filter(unknown) {
                return Err(format!("erase.where_setting names {}, which is no setting", rule.id));
            }
        }
        if self.send.is_empty() {
            return Err("nothing is sent: [[send]] is missing".to_owned());
        }
        for send in &self.send {
            if !send.path.starts_with('/') {
                return Err(format!("send.path {} does not begin with /", send.path));
            }
            if !matches!(send.method.as_str(), "POST" | "PUT") {
                return Err("send.method is POST or PUT".to_owned());
            }
            let batch = &send.batch;
            if batch.max_events == 0 || batch.max_bytes == 0 || batch.max_item_bytes == 0 {
                return Err("the bounds of a batch are above 0".to_owned());
            }
            if matches!(batch.shape, Shape::Object | Shape::Text) == batch.field.is_empty() {
                return Err("batch.field belongs to the shapes object and text".to_owned());
            }
            if batch.shape == Shape::Single && batch.max_events != 1 {
                return Err("a batch of the shape single has one event".to_owned());
            }
            if let Some(id) = send.path_values.keys().find(|id| {
                id.as_str() == "batch" || !plain(id) || self.settings.iter().any(|setting| setting.id == **id)
            }) {
                return Err(format!("send.path_values.{id} is no name of its own"));
            }
            let texts = send.query.values().chain(send.headers.values()).flat_map(|text| names_in(text));
            let steps = names_in(&send.path).into_iter().map(|id| id.strip_prefix('+').unwrap_or(id));
            for id in texts.chain(steps) {
                if id == "batch" || send.path_values.contains_key(id) {
                    continue;
                }
                match self.settings.iter().find(|setting| setting.id == id) {
                    None => return Err(format!("{{{id}}} is no setting")),
                    Some(setting) if setting.secret => {
                        return Err(format!("{{{id}}} is a secret: secrets stand in [auth] only"));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// The names in `{braces}` of a text.
pub fn names_in(text: &str) -> Vec<&str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect()
}
