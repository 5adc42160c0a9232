//! The call that erases persons at a vendor.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::send::post;
use super::{Auth, Manifest, Setting, names_in};

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
