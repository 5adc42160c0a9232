//! A project's settings, validated when they are saved, so that stored settings always compile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{ProjectId, ProjectKey};
use crate::role::Role;
use crate::time::Timestamp;
use crate::wire::EventType;

/// A customer's site or app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Short name.
    pub id: ProjectId,
    /// Small number given by the store, for compact keys.
    pub number: i64,
    /// Public key of the snippet.
    pub key: ProjectKey,
    /// When it was made.
    pub created: Timestamp,
    /// Raised with every change of the settings; the tracker asks for the newest.
    pub version: u64,
    /// The settings.
    pub settings: ProjectSettings,
    /// The version with which each selector of `exclude_selectors` came: a tracker with an older one did not know it.
    pub since: BTreeMap<String, u64>,
}

/// What a person can set for a project. `convizit settings` changes one field at a time by its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectSettings {
    /// Origins that may send, such as `https://shop.example`; `https://*.shop.example` covers subdomains; `*` any. None: nobody.
    pub origins: Vec<String>,
    /// How visitors are recognised.
    pub identity: Identity,
    /// Life of the visitor cookie in days, 1 to 400.
    pub cookie_days: u32,
    /// Which event types are captured.
    pub events: Vec<EventType>,
    /// Whether choices in selects, checkboxes and radios carry the chosen option's label.
    pub option_labels: bool,
    /// CSS selectors whose elements are not captured, in addition to `convizit-ignore`.
    pub exclude_selectors: Vec<String>,
    /// Paths that are not captured; `*` stands for any text: `/account/*`.
    pub exclude_paths: Vec<String>,
    /// Query parameters that are kept in addresses, beside utm_*.
    pub keep_query: Vec<String>,
    /// Whether capture waits for `convizit.consent({analytics: true})` or the like.
    pub consent_required: bool,
    /// What Global Privacy Control does.
    pub gpc: Signal,
    /// What Do Not Track does.
    pub dnt: Signal,
    /// Traits of `identify` that may say anything: an e-mail address that the site wants to have.
    pub traits: Vec<String>,
    /// Distinct visitors that must have shown a text that looks like a name, or that varies between visitors, before it is
    /// captured, 2 to 100.
    pub crowd: u32,
    /// Whether known bots are filtered.
    pub filter_bots: bool,
    /// Days that events are kept, 1 to 3650.
    pub retention_days: u32,
    /// From which role on a member sees samples: example values and single events. `viewer`, `editor` or `admin`.
    pub samples_from: Role,
    /// Whether every member must have a second factor, whatever their role.
    pub second_factor_for_all: bool,
    /// Where data is to stay: `eu`, `us`, or whatever regions of processors begin with; `none` for anywhere.
    pub residency: String,
    /// What becomes of a destination that keeps data elsewhere.
    pub residency_rule: ResidencyRule,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            identity: Identity::CookieStorage,
            cookie_days: 400,
            events: EventType::ALL.to_vec(),
            option_labels: true,
            exclude_selectors: Vec::new(),
            exclude_paths: Vec::new(),
            keep_query: Vec::new(),
            consent_required: false,
            gpc: Signal::Stop,
            dnt: Signal::Stop,
            traits: Vec::new(),
            crowd: 5,
            filter_bots: true,
            retention_days: 60,
            samples_from: Role::Admin,
            second_factor_for_all: false,
            residency: Self::ANYWHERE.to_owned(),
            residency_rule: ResidencyRule::Warn,
        }
    }
}

/// How visitors are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Identity {
    /// Cookie and localStorage kept in step, each the other's fallback, memory last.
    #[default]
    #[serde(rename = "cookie+storage")]
    CookieStorage,
    /// localStorage only.
    #[serde(rename = "storage")]
    Storage,
    /// Nothing is kept in the browser; the visitor is derived on the server from a secret that changes each day.
    #[serde(rename = "none")]
    None,
}

/// What a signal of the browser does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Nothing is captured.
    #[default]
    Stop,
    /// Captured, without consent to advertising: destinations are told.
    NoAds,
    /// Nothing.
    Ignore,
}

/// What becomes of a destination that keeps data elsewhere than it is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidencyRule {
    /// It is said.
    #[default]
    Warn,
    /// It cannot be enabled.
    Refuse,
}

/// What is wrong with a setting, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SettingsError {
    /// The field's path: `origins[0]`.
    pub field: String,
    /// What to change.
    pub problem: String,
}

/// Most entries of a list setting.
pub const LIST_ENTRIES: usize = 200;
/// Most characters of an entry.
pub const ENTRY_CHARS: usize = 500;

impl ProjectSettings {
    /// The label of a project whose data may be kept anywhere.
    pub const ANYWHERE: &'static str = "none";

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is wrong, with what to change.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let fail = |field: String, problem: &str| Err(SettingsError { field, problem: problem.to_owned() });
        for (name, list) in [
            ("origins", &self.origins),
            ("exclude_selectors", &self.exclude_selectors),
            ("exclude_paths", &self.exclude_paths),
            ("keep_query", &self.keep_query),
            ("traits", &self.traits),
        ] {
            if list.len() > LIST_ENTRIES {
                return fail(name.to_owned(), "at most 200 entries");
            }
            for (index, entry) in list.iter().enumerate() {
                let field = format!("{name}[{index}]");
                if entry.is_empty() || entry.chars().count() > ENTRY_CHARS || entry.chars().any(char::is_control) {
                    return fail(field, "1 to 500 characters without control characters");
                }
                match name {
                    "origins" if !is_origin(entry) => {
                        return fail(
                            field,
                            "an origin such as https://shop.example, https://*.shop.example or *, without a path",
                        );
                    }
                    "exclude_paths" if !entry.starts_with('/') || entry.contains(['?', '#']) => {
                        return fail(field, "a path that starts with /, without what stands behind ? or #");
                    }
                    "keep_query" if !entry.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) => {
                        return fail(field, "a parameter name of letters, digits, _, - and .");
                    }
                    _ => {}
                }
            }
        }
        if !(1..=400).contains(&self.cookie_days) {
            return fail("cookie_days".to_owned(), "1 to 400: browsers keep no cookie longer");
        }
        if !(1..=3650).contains(&self.retention_days) {
            return fail("retention_days".to_owned(), "1 to 3650");
        }
        if !(2..=100).contains(&self.crowd) {
            return fail("crowd".to_owned(), "2 to 100 visitors");
        }
        let plain = self.residency.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !plain || !(2..=20).contains(&self.residency.len()) {
            return fail(
                "residency".to_owned(),
                "a region such as eu or us, of 2 to 20 of a-z, 0-9 and -; none for anywhere",
            );
        }
        if self.samples_from > Role::Admin {
            return fail(
                "samples_from".to_owned(),
                "viewer, editor or admin: Owner and Master Admin see samples anyway",
            );
        }
        Ok(())
    }

    /// Checks the syntax of `exclude_selectors`: asked when somebody saves them, not of what an older build has saved.
    ///
    /// # Errors
    /// The first entry that not every browser can read.
    pub fn check_selectors(&self) -> Result<(), SettingsError> {
        for (index, entry) in self.exclude_selectors.iter().enumerate() {
            crate::selector::check(entry).map_err(|problem| SettingsError {
                field: format!("exclude_selectors[{index}]"),
                problem: format!("a CSS selector such as .card-number: {problem}"),
            })?;
        }
        Ok(())
    }

    /// Whether a request of this origin may send. `origin` is the header's value, in lower case as browsers send it.
    #[must_use]
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed.split_once("*.") {
            _ if allowed == "*" => true,
            Some((scheme, domain)) => origin
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(domain))
                .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.') && !sub.contains(['/', ':', '@'])),
            None => allowed == origin,
        })
    }
}

fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let host = rest.strip_prefix("*.").unwrap_or(rest);
    !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b))
        && !host.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_origin(origin: &str) -> ProjectSettings {
        ProjectSettings { origins: vec![origin.to_owned()], ..ProjectSettings::default() }
    }

    #[test]
    fn every_setting_stands_in_the_documents_with_its_default() {
        let page = include_str!("../../../docs/settings.md");
        let defaults = serde_json::to_value(ProjectSettings::default()).unwrap();
        for (field, default) in defaults.as_object().unwrap() {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{field}` |")));
            let row = row.unwrap_or_else(|| panic!("{field} is missing in docs/settings.md"));
            let shown = match default {
                serde_json::Value::Array(list) => if list.is_empty() { "none" } else { "all" }.to_owned(),
                serde_json::Value::String(text) => format!("`{text}`"),
                other => other.to_string(),
            };
            assert!(row.contains(&format!("| {shown} |")), "{row} should have the default {shown}");
        }
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(ProjectSettings::default().validate(), Ok(()));
    }

    #[test]
    fn an_error_names_the_field_and_what_to_change() {
        let error = with_origin("https://shop.example/path").validate().unwrap_err();
        assert_eq!(error.field, "origins[0]");
        assert!(error.to_string().contains("without a path"));
        let error = ProjectSettings { cookie_days: 401, ..ProjectSettings::default() }.validate().unwrap_err();
        assert_eq!(error.field, "cookie_days");
        for residency in ["", "EU", "in the EU"] {
            let settings = ProjectSettings { residency: residency.to_owned(), ..ProjectSettings::default() };
            assert_eq!(settings.validate().unwrap_err().field, "residency");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let result = serde_json::from_str::<ProjectSettings>(r#"{"orgins": []}"#);
        assert!(result.unwrap_err().to_string().contains("orgins"));
    }

    #[test]
    fn origins_match_whole_or_by_subdomain() {
        assert!(with_origin("https://shop.example").allows_origin("https://shop.example"));
        assert!(!with_origin("https://shop.example").allows_origin("https://evil-shop.example"));
        let wide = with_origin("https://*.shop.example");
        assert!(wide.allows_origin("https://www.shop.example"));
        for bad in [
            "https://shop.example",
            "https://evilshop.example",
            "http://www.shop.example",
            "https://evil.example:1.shop.example",
        ] {
            assert!(!wide.allows_origin(bad), "{bad}");
        }
        assert!(with_origin("*").allows_origin("https://anything.example"));
        assert!(!ProjectSettings::default().allows_origin("https://shop.example"));
    }
}
