//! The connectors: what can be sent to, each by a manifest; requests are made by `encode`, bounded by `shape`, files by `columns`, their answers read by `answer`.

mod answer;
mod columns;
pub(crate) mod encode;
mod http;
pub mod manifest;
#[cfg(test)]
mod page;
mod sample;
mod shape;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use convizit_model::EventType;
use serde_json::Value;

pub(crate) use http::Http;
use manifest::{Manifest, Shape, names_in};
pub(crate) use shape::Changes;

use crate::mapping::{Condition, Directive, MappingError};

/// A batch waits so long at most for more events.
const LINGER: Duration = Duration::from_secs(3_600);
/// Bytes of a setting; keys of service accounts have about 2 400.
const SETTING: usize = 16 << 10;

static BUILT_IN: LazyLock<Vec<Arc<Connector>>> = LazyLock::new(|| {
    let texts: &[&str] = include!(concat!(env!("OUT_DIR"), "/manifests.rs"));
    // The build script has parsed the same texts; that their mappings compile is held by a test.
    texts.iter().filter_map(|text| Connector::read(text).ok()).map(Arc::new).collect()
});

/// A connector whose manifest was checked and whose mappings were compiled.
#[derive(Debug, Clone)]
pub struct Connector {
    /// What its manifest says.
    pub manifest: Manifest,
    pub(crate) sends: Vec<Compiled>,
    forms: Vec<regex::Regex>,
}

/// What is compiled of a `[[send]]`.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub(crate) types: Vec<EventType>,
    pub(crate) when: Option<Condition>,
    pub(crate) item: Directive,
    /// Of a Parquet file: what stands in each column, where that is all there is to an item.
    pub(crate) cells: Option<Vec<Option<Directive>>>,
    pub(crate) envelope: Option<Directive>,
    pub(crate) before: Option<Directive>,
    pub(crate) group_by: Option<Directive>,
    pub(crate) key: Option<Directive>,
    pub(crate) path_values: Vec<(String, Directive)>,
}

/// The connectors of this build, in the order of their ids.
#[must_use]
pub fn built_in() -> &'static [Arc<Connector>] {
    &BUILT_IN
}

/// The connectors of this build and those of the operator's folder, by their ids, and what is wrong with files of the folder.
#[must_use]
pub fn all(folder: Option<&Path>) -> (Vec<Arc<Connector>>, Vec<String>) {
    let (mut found, mut problems) = (built_in().to_vec(), Vec::new());
    let Some(folder) = folder else { return (found, problems) };
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) => {
            problems.push(format!("delivery.connectors: {}: {error}", folder.display()));
            return (found, problems);
        }
    };
    let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    for path in paths {
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if built_in().iter().any(|connector| connector.manifest.meta.id == id) {
            problems.push(format!("{}: {id} is a connector of the product: give yours another id", path.display()));
            continue;
        }
        match find(&id, Some(folder)) {
            Ok(connector) => found.push(connector),
            Err(problem) => problems.push(problem),
        }
    }
    found.sort_by(|one, other| one.manifest.meta.id.cmp(&other.manifest.meta.id));
    (found, problems)
}

/// The connector of an id: one of this build, or one whose manifest stands in the operator's folder as `<id>.toml`.
///
/// # Errors
/// No such connector, or what is wrong with its manifest.
pub fn find(id: &str, folder: Option<&Path>) -> Result<Arc<Connector>, String> {
    if let Some(found) = built_in().iter().find(|connector| connector.manifest.meta.id == id) {
        return Ok(found.clone());
    }
    let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let unknown = || {
        let near = nearest(id, folder);
        let near = if near.is_empty() { String::new() } else { format!(" Is it {}?", near.join(" or ")) };
        format!("there is no connector {id}: `convizit destinations` lists them.{near}")
    };
    let path = folder.filter(|_| plain).map(|folder| folder.join(format!("{id}.toml"))).ok_or_else(unknown)?;
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unknown(),
        _ => format!("{}: {error}", path.display()),
    })?;
    let connector = Connector::read(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if connector.manifest.meta.id != id {
        return Err(format!("{}: its meta.id is {}", path.display(), connector.manifest.meta.id));
    }
    Ok(Arc::new(connector))
}

/// Ids of connectors that are spelt nearly so, or whose ids or names begin so, the nearest first: at most three.
#[must_use]
pub fn nearest(id: &str, folder: Option<&Path>) -> Vec<String> {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).take(64).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(id);
    if wanted.is_empty() {
        return Vec::new();
    }
    let (all, _) = all(folder);
    let mut near: Vec<(usize, String)> = Vec::new();
    for connector in all {
        let meta = &connector.manifest.meta;
        let known = [plain(&meta.id), plain(&meta.name)];
        let begins = known.iter().any(|known| wanted.len() > 2 && known.starts_with(&wanted));
        let far = known.iter().map(|known| steps_between(known, &wanted)).min().unwrap_or(usize::MAX);
        if begins || far <= 2.min(wanted.len() / 2) {
            near.push((if begins { 1 } else { far }, meta.id.clone()));
        }
    }
    near.sort();
    near.into_iter().take(3).map(|(_, id)| id).collect()
}

/// How many letters are put in, taken out or changed between two words (Levenshtein, row by row).
fn steps_between(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = index + 1;
        for (place, b) in other.bytes().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = row[place + 1];
            row[place + 1] = changed.min(corner + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

impl Connector {
    /// Reads a manifest and compiles its mappings.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn read(text: &str) -> Result<Self, String> {
        let manifest = Manifest::parse(text)?;
        let of = |error: MappingError| format!("{}: {error}", manifest.meta.id);
        let mut sends = Vec::new();
        for send in &manifest.send {
            let types = send.types.iter().map(|word| {
                EventType::ALL
                    .into_iter()
                    .find(|kind| kind.as_str() == word)
                    .ok_or_else(|| format!("{}: send.types: there is no type {word}", manifest.meta.id))
            });
            let directive = |value: &Option<Value>| value.as_ref().map(Directive::compile).transpose().map_err(of);
            let item = Directive::compile(&send.item).map_err(of)?;
            let is_plain = send.batch.before.is_none() && send.name.is_none() && send.limit.is_empty();
            sends.push(Compiled {
                types: types.collect::<Result<_, _>>()?,
                when: send.when.as_ref().map(Condition::compile).transpose().map_err(of)?,
                cells: item.fields().filter(|_| send.batch.shape == Shape::Parquet && is_plain).map(|fields| {
                    let of = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, of)| of.clone());
                    send.batch.columns.iter().map(|column| of(&column.name)).collect()
                }),
                item,
                envelope: directive(&send.batch.envelope)?,
                before: directive(&send.batch.before)?,
                group_by: directive(&send.batch.group_by)?,
                key: directive(&send.key)?,
                path_values: send
                    .path_values
                    .iter()
                    .map(|(id, value)| Ok((id.clone(), Directive::compile(value).map_err(of)?)))
                    .collect::<Result<_, String>>()?,
            });
        }
        if let Some(body) = manifest.erase.as_ref().and_then(|erase| erase.body.as_ref()) {
            Directive::compile(body).map_err(of)?;
        }
        let forms = manifest.settings.iter().map(|setting| {
            regex::RegexBuilder::new(&format!("^(?:{})$", setting.regex))
                .size_limit(1 << 20)
                .build()
                .map_err(|error| format!("{}: settings.{}: {error}", manifest.meta.id, setting.id))
        });
        Ok(Self { forms: forms.collect::<Result<_, _>>()?, sends, manifest })
    }

    /// Checks what a person entered, and adds what stands where nothing was entered.
    ///
    /// # Errors
    /// The setting, and what to enter there.
    pub fn settle(
        &self,
        region: Option<&str>,
        settings: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, SettingError> {
        let hosts = &self.manifest.hosts;
        let wrong = |id: &str, what: String| Err(SettingError { setting: id.to_owned(), what });
        if let Some(region) = region.filter(|_| hosts.is_empty()) {
            return wrong("region", format!("{} has no regions: leave {region} out", self.manifest.meta.name));
        }
        if let Some(region) = region.filter(|region| !hosts.contains_key(*region)) {
            let known: Vec<&str> = hosts.keys().map(String::as_str).collect();
            return wrong("region", format!("there is no region {region}: choose of {}", known.join(", ")));
        }
        if region.is_none() && hosts.len() > 1 {
            let known: Vec<&str> = hosts.keys().map(String::as_str).collect();
            return wrong("region", format!("say where your account is: {}", known.join(", ")));
        }
        if let Some(id) = settings.keys().find(|id| !self.manifest.settings.iter().any(|setting| setting.id == **id)) {
            let known: Vec<&str> = self.manifest.settings.iter().map(|setting| setting.id.as_str()).collect();
            let known = known.join(", ");
            // What does not look like a name may be a credential that was entered in the wrong place.
            let is_name = id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let (field, shown) = if is_name { (id.as_str(), id.as_str()) } else { ("settings", "of that name") };
            return wrong(field, format!("{} has no setting {shown}; it has {known}", self.manifest.meta.name));
        }
        let mut whole = BTreeMap::new();
        for (setting, form) in self.manifest.settings.iter().zip(&self.forms) {
            let entered = settings.get(&setting.id).map(|text| text.trim()).filter(|text| !text.is_empty());
            let Some(text) = entered.or(setting.default.as_deref()) else {
                let hint = if setting.hint.is_empty() { String::new() } else { format!(": {}", setting.hint) };
                return wrong(&setting.id, format!("{} is missing{hint}", setting.label));
            };
            if text.len() > SETTING {
                return wrong(&setting.id, format!("{} is longer than {SETTING} bytes", setting.label));
            }
            if !text.is_empty() && !form.is_match(text) {
                // What was entered may be a secret that was put into the wrong field.
                let hint = if setting.hint.is_empty() {
                    format!("it has the form {}", setting.regex)
                } else {
                    setting.hint.clone()
                };
                return wrong(&setting.id, format!("{} is not of the right form: {hint}", setting.label));
            }
            whole.insert(setting.id.clone(), text.to_owned());
        }
        Ok(whole)
    }

    /// Where requests go, and the credentials with them: whoever changes it has to enter the secrets anew, or could have them sent to himself.
    #[must_use]
    pub fn goes_to(&self, region: Option<&str>, settings: &BTreeMap<String, String>) -> String {
        let fill = |text: &String| filled(text, settings, str::to_owned);
        let mut places = vec![http::base_of(self, region, settings).unwrap_or_default()];
        match &self.manifest.auth {
            manifest::Auth::Oauth2 { token_url, .. } => places.push(fill(token_url)),
            manifest::Auth::Google { token_url: Some(token_url), .. } => places.push(fill(token_url)),
            _ => {}
        }
        if let Some(erase) = &self.manifest.erase {
            places.extend(erase.host.iter().chain(erase.hosts.values()).map(fill));
        }
        places.join(" ")
    }

    /// The address for HTTP that a person typed; `None` where the manifest has it.
    pub(crate) fn typed_address(&self, region: Option<&str>, settings: &BTreeMap<String, String>) -> Option<String> {
        let typed = |id: &Option<String>| {
            id.as_ref().and_then(|id| settings.get(id)).is_some_and(|text| !text.trim().is_empty())
        };
        let is_typed = typed(&self.manifest.host_setting) || typed(&self.manifest.endpoint_setting);
        (is_typed && self.manifest.protocol.is_none()).then(|| http::base_of(self, region, settings).ok()).flatten()
    }

    /// What a person entered, checked: settings as they are stored in the open, and the secrets as one JSON object, to be sealed.
    ///
    /// # Errors
    /// The setting, and what to enter there.
    pub fn part(
        &self,
        region: Option<&str>,
        entered: &BTreeMap<String, String>,
    ) -> Result<(BTreeMap<String, String>, Option<String>), SettingError> {
        let whole = self.settle(region, entered)?;
        let is_secret = |id: &String| self.manifest.settings.iter().any(|setting| setting.id == *id && setting.secret);
        let (secrets, plain): (BTreeMap<_, _>, BTreeMap<_, _>) = whole.into_iter().partition(|(id, _)| is_secret(id));
        let secrets = (!secrets.is_empty()).then(|| serde_json::json!(secrets).to_string());
        Ok((plain, secrets))
    }

    /// Why what was sent can never be erased from here; `None` where there is a call or a statement for that.
    pub(crate) fn never_erases(&self) -> Option<String> {
        let (meta, erase) = (&self.manifest.meta, &self.manifest.erase);
        match self.manifest.protocol {
            Some(protocol) => (!protocol.erases()).then(|| {
                format!(
                    "what {} was sent is not taken back: delete it there, and wherever it went from there ({})",
                    meta.name, meta.docs
                )
            }),
            None => erase.is_none().then(|| {
                format!(
                    "it has no call that erases: delete them in {} itself, as its page says ({})",
                    meta.name, meta.docs
                )
            }),
        }
    }

    /// For how long a batch that is not full waits for more events.
    pub(crate) fn linger(&self, settings: &BTreeMap<String, String>) -> Duration {
        let Some(id) = &self.manifest.linger_setting else { return Duration::ZERO };
        let default = self.manifest.settings.iter().find(|setting| setting.id == *id);
        let default = default.and_then(|setting| setting.default.as_ref());
        let entered = settings.get(id).filter(|text| !text.is_empty()).or(default);
        Duration::from_secs(entered.and_then(|text| text.parse().ok()).unwrap_or(0)).min(LINGER)
    }

    /// Whether a protocol other than HTTP is spoken.
    pub(crate) fn is_native(&self) -> bool {
        self.manifest.protocol.is_some()
    }

    /// Settings that are no secrets, as mappings read them.
    fn plain(&self, settings: &BTreeMap<String, String>) -> Value {
        let plain = self.manifest.settings.iter().filter(|setting| !setting.secret);
        plain
            .filter_map(|setting| Some((setting.id.clone(), Value::String(settings.get(&setting.id)?.clone()))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Settings with the secrets among them, which are kept sealed as one JSON object.
pub(crate) fn with_secrets(
    settings: &BTreeMap<String, String>,
    secret: Option<&str>,
) -> Result<BTreeMap<String, String>, String> {
    let mut whole = settings.clone();
    if let Some(secret) = secret {
        let secrets: BTreeMap<String, String> = serde_json::from_str(secret)
            .map_err(|_| "its credentials cannot be read: add the destination again".to_owned())?;
        whole.extend(secrets);
    }
    Ok(whole)
}

/// What is wrong with something that a person entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SettingError {
    /// The setting's id, or `region`.
    pub setting: String,
    /// One sentence: what is wrong and what to enter.
    pub what: String,
}

/// A text with its `{names}` replaced; `encode` makes each value fit its place.
fn filled(text: &str, values: &BTreeMap<String, String>, encode: impl Fn(&str) -> String) -> String {
    names_in(text).into_iter().fold(text.to_owned(), |text, name| match values.get(name) {
        Some(value) => text.replace(&format!("{{{name}}}"), &encode(value)),
        None => text,
    })
}
