//! A connector's manifest: everything that is to be known of a vendor's interface, as TOML, with no code. Also read by the build script.

#[path = "manifest/auth.rs"]
mod auth;
#[path = "manifest/erase.rs"]
mod erase;
#[path = "manifest/protocol.rs"]
mod protocol;
#[path = "manifest/response.rs"]
mod response;
#[path = "manifest/send.rs"]
mod send;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use auth::{Auth, Exchange};
pub use erase::{Erase, ErasesWhom, WhereSetting};
pub use protocol::{Protocol, Schemes};
pub use response::{Confirm, Partial, Response, Rest, Signs};
pub use send::{Batch, Column, ColumnType, Limit, NameLimit, Nested, Send, Shape, Style};

/// One connector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What it is called and how far it is proven.
    pub meta: Meta,
    /// What is spoken; `None` for HTTP.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Region → address, which may hold `{settings}`. Empty where the user types the address.
    #[serde(default)]
    pub hosts: BTreeMap<String, String>,
    /// The setting that holds the address: it goes through the address guard.
    #[serde(default)]
    pub host_setting: Option<String>,
    /// A setting that may hold an address in place of those of `hosts`: a private endpoint of the vendor, or another that speaks the same.
    #[serde(default)]
    pub endpoint_setting: Option<String>,
    /// The setting that says for how many seconds a batch that is not full waits for more events: where each is an object that is kept.
    #[serde(default)]
    pub linger_setting: Option<String>,
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

impl Setting {
    /// The words that it is one of, in the manifest's order; none where it is any text of a form.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        let plain = |word: &&str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        let words: Vec<&str> = self.regex.split('|').collect();
        if words.len() > 1 && words.iter().all(plain) { words } else { Vec::new() }
    }
}

fn any_line() -> String {
    r"[^\r\n]+".to_owned()
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
        if let Some(id) = &self.linger_setting {
            let seconds = |setting: &Setting| setting.default.as_deref().and_then(|text| text.parse::<u64>().ok());
            if self.settings.iter().find(|setting| setting.id == *id && !setting.secret).and_then(seconds).is_none() {
                return Err(format!(
                    "linger_setting names {id}, which is no setting with a number of seconds as its default"
                ));
            }
        }
        if let Some(protocol) = self.protocol {
            if self.host_setting.as_deref() != Some("address") {
                return Err("a protocol is spoken at an address: host_setting = \"address\"".to_owned());
            }
            if !matches!(self.auth, Auth::None) || self.erase.is_some() {
                return Err("auth and erase belong to HTTP: a protocol has its own".to_owned());
            }
            if let Some(id) = protocol.needs().iter().find(|id| !self.settings.iter().any(|setting| setting.id == **id))
            {
                return Err(format!("its protocol needs the setting {id}"));
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
            if self.protocol.is_some() != (send.batch.shape == Shape::Records) {
                return Err("the shape records belongs to protocols, the others to HTTP".to_owned());
            }
            if self.protocol.is_none() && !send.path.starts_with('/') {
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
            if (batch.shape == Shape::Parquet) == batch.columns.is_empty() {
                return Err("batch.columns belongs to the shape parquet".to_owned());
            }
            if batch.shape == Shape::Parquet && (batch.gzip || batch.gzip_file) {
                return Err("a Parquet file is compressed in itself".to_owned());
            }
            for (place, column) in batch.columns.iter().enumerate() {
                if !plain(&column.name) || batch.columns[..place].iter().any(|other| other.name == column.name) {
                    return Err(format!("batch.columns: {} is no name of its own of a-z, 0-9 and _", column.name));
                }
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
