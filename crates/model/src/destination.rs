//! Where events go: the configuration of a destination.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::ProjectId;
use crate::processor::Processor;
use crate::time::Timestamp;
use crate::wire::EventType;

/// A destination of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The project whose events it gets.
    pub project: ProjectId,
    /// Its name within the project: 1 to 64 of a-z, 0-9 and -.
    pub name: String,
    /// Whether events are sent.
    pub enabled: bool,
    /// Why it is paused: what failed, or who wanted it so ([`Rest`]); `None` while it runs.
    #[serde(default)]
    pub paused: Option<String>,
    /// Only these types; empty means all.
    #[serde(default)]
    pub types: Vec<EventType>,
    /// What it gets of them.
    #[serde(default, skip_serializing_if = "Shaping::is_none")]
    pub shaping: Shaping,
    /// Who processes what it gets; `None` for one that was added before there were entries, or waits for its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<Processor>,
    /// What it is, and how to reach it.
    #[serde(flatten)]
    pub kind: DestinationKind,
}

/// A pause that a person chose, which is no fault: whose word it is, and of which day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest<'a> {
    /// Whether it was added so, and has not begun yet.
    pub added: bool,
    /// Who chose it, as the audit log names them.
    pub actor: &'a str,
    /// The day, such as `2026-11-30`.
    pub on: &'a str,
}

impl Rest<'_> {
    const PAUSED: &'static str = "paused by ";
    const ADDED: &'static str = "added to wait by ";

    /// The reason that is written down.
    #[must_use]
    pub fn reason(added: bool, actor: &str, at: Timestamp) -> String {
        let at = at.to_string();
        let on = at.get(..10).unwrap_or(&at);
        format!("{}{actor} on {on}", if added { Self::ADDED } else { Self::PAUSED })
    }
}

impl Destination {
    /// Whether it waits since a person chose it, and who that was; `None` while it runs, and where something failed.
    #[must_use]
    pub fn rest(&self) -> Option<Rest<'_>> {
        let reason = self.paused.as_deref()?;
        let (added, by) = match reason.strip_prefix(Rest::ADDED) {
            Some(by) => (true, by),
            None => (false, reason.strip_prefix(Rest::PAUSED)?),
        };
        let (actor, on) = by.rsplit_once(" on ")?;
        Some(Rest { added, actor, on })
    }

    /// Whether events of a type are sent to it.
    #[must_use]
    pub fn wants(&self, kind: EventType) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    /// What is another than it was, in words for a log that is not sealed; of a new one, what is not as it is by default. Of addresses
    /// the host alone, of settings and conditions that they changed.
    #[must_use]
    pub fn changes_since(&self, was: Option<&Self>) -> Vec<String> {
        let plain = Self { enabled: true, types: Vec::new(), shaping: Shaping::default(), ..self.clone() };
        let was = was.unwrap_or(&plain);
        let mut changes = Vec::new();
        let mut change = |what: &str, before: String, after: String| {
            if before != after {
                changes.push(format!("{what}{before} → {after}"));
            }
        };
        change("", was.kind.in_words(), self.kind.in_words());
        let types = |of: &Self| list(of.types.iter().map(|kind| kind.as_str()), "all");
        change("types: ", types(was), types(self));
        let (before, after) = (&was.shaping, &self.shaping);
        let without = |of: &Shaping| list(of.without.iter().map(String::as_str), "nothing");
        change("left out: ", without(before), without(after));
        let percent = |of: &Shaping| of.percent.map_or_else(|| "all".to_owned(), |percent| percent.to_string());
        change("visitors of a hundred: ", percent(before), percent(after));
        let fields = |of: &Shaping| list(of.set.keys().map(String::as_str), "none");
        change("own fields: ", fields(before), fields(after));
        if fields(before) == fields(after) && before.set != after.set {
            changes.push("own fields changed".to_owned());
        }
        if before.when != after.when {
            changes.push(if after.when.is_some() { "another condition" } else { "no condition any more" }.to_owned());
        }
        if was.enabled != self.enabled {
            changes.push(if self.enabled { "on" } else { "off" }.to_owned());
        }
        changes.extend(self.kind.settings_since(&was.kind));
        changes
    }
}

/// Words behind each other.
fn list<'a>(words: impl Iterator<Item = &'a str>, none: &str) -> String {
    let all: Vec<&str> = words.collect();
    if all.is_empty() { none.to_owned() } else { all.join(", ") }
}

/// What a destination gets of the events of its types; by default all of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shaping {
    /// Fields that are left out: `device.brand`, `location`, `properties.Selected color`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Only events that meet this condition of the mapping language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<Value>,
    /// Only events of so many visitors of a hundred, always the same ones: 1 to 99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Fields of what a connector sends that are made by a mapping of one's own: `properties.Shop` → `"$.project"`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub set: Map<String, Value>,
    /// A program in VRL that makes another event of each, before anything is mapped; a feature of the build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
}

impl Shaping {
    /// Whether it gets all of every event.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The kinds of destinations in the default build. Secrets are not here: the store keeps them sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DestinationKind {
    /// An HTTP endpoint, signed as Standard Webhooks say. Secret: the `whsec_…` key.
    Webhook {
        /// Where batches are posted.
        url: String,
    },
    /// A PostgreSQL database. Secret: the whole connection URL, because it holds the password.
    Postgres {
        /// The schema that is made and migrated there.
        #[serde(default = "default_schema")]
        schema: String,
    },
    /// A vendor, by its connector. Secret: a JSON object of the settings that are secrets.
    Connector {
        /// The connector's id: `mixpanel`.
        connector: String,
        /// Where the account is; `None` where there is one place only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        /// Settings that are no secrets.
        #[serde(default)]
        settings: BTreeMap<String, String>,
    },
    /// A file of JSON Lines.
    File {
        /// Where it is, on this machine.
        path: String,
    },
    /// The program's own standard output.
    Stdout {
        /// `pretty` for people, `json` for programs.
        #[serde(default)]
        format: StdoutFormat,
    },
}

impl DestinationKind {
    /// The kind as it stands in configuration and metrics.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connector { connector, .. } => connector,
            Self::Webhook { .. } => "webhook",
            Self::Postgres { .. } => "postgres",
            Self::File { .. } => "file",
            Self::Stdout { .. } => "stdout",
        }
    }

    /// What it is, for a log that is not sealed: of where it is no more than a vendor's region.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Connector { region: Some(region), .. } => format!("{}, region {region}", self.as_str()),
            _ => self.as_str().to_owned(),
        }
    }

    /// That something of it changed that its words do not show.
    fn settings_since(&self, was: &Self) -> Option<String> {
        match (was, self) {
            (Self::Connector { settings: before, .. }, Self::Connector { settings: after, .. }) => {
                let ids: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                let changed = ids.into_iter().filter(|id| before.get(*id) != after.get(*id));
                let changed: Vec<&str> = changed.map(String::as_str).collect();
                (!changed.is_empty()).then(|| format!("settings changed: {}", changed.join(", ")))
            }
            (was, now) if was != now && was.in_words() == now.in_words() => Some("another address".to_owned()),
            _ => None,
        }
    }
}

fn default_schema() -> String {
    "convizit".to_owned()
}

/// How standard output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdoutFormat {
    /// One aligned line an event, coloured on a terminal.
    #[default]
    Pretty,
    /// JSON Lines.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_a_log_holds_nothing_of_an_address() {
        let webhook = |url: &str| DestinationKind::Webhook { url: url.to_owned() };
        let postgres = DestinationKind::Postgres { schema: "canary".to_owned() };
        for (kind, wanted) in [(webhook("https://canary.example:8443/canary"), "webhook"), (postgres, "postgres")] {
            assert_eq!(kind.in_words(), wanted);
        }
        let connector = |key: &str, value: &str| DestinationKind::Connector {
            connector: "http".to_owned(),
            region: Some("eu".to_owned()),
            settings: BTreeMap::from([
                ("address".to_owned(), "https://in.example/canary".to_owned()),
                (key.to_owned(), value.to_owned()),
            ]),
        };
        assert_eq!(connector("path", "canary").in_words(), "http, region eu");
        let of = |kind: DestinationKind| Destination {
            project: "shop".parse().unwrap(),
            name: "one".to_owned(),
            enabled: true,
            paused: None,
            types: Vec::new(),
            shaping: Shaping::default(),
            processor: None,
            kind,
        };
        let was = of(connector("path", "canary"));
        assert_eq!(of(connector("path", "canary2")).changes_since(Some(&was)), ["settings changed: path"]);
        assert!(was.changes_since(Some(&was)).is_empty() && was.changes_since(None).is_empty());
        let hook = of(webhook("https://hooks.example/a"));
        assert_eq!(of(webhook("https://hooks.example/b")).changes_since(Some(&hook)), ["another address"]);
    }

    #[test]
    fn each_change_of_what_it_gets_is_said_without_its_content() {
        let of = |shaping: Shaping| Destination {
            project: "shop".parse().unwrap(),
            name: "hook".to_owned(),
            enabled: true,
            paused: None,
            types: Vec::new(),
            shaping,
            processor: None,
            kind: DestinationKind::Webhook { url: "https://hooks.example/".to_owned() },
        };
        let all = of(Shaping::default());
        let when = |path: &str| {
            of(Shaping { when: Some(serde_json::json!({"of": "$.page.path", "is": path})), ..Shaping::default() })
        };
        let set = |value: &str| {
            let fields = [("properties.Shop".to_owned(), serde_json::json!(value))];
            of(Shaping { set: fields.into_iter().collect(), ..Shaping::default() })
        };
        let less = of(Shaping { without: vec!["location".to_owned()], percent: Some(10), ..Shaping::default() });
        for (was, now, words) in [
            (&all, &all, &[][..]),
            (&all, &less, &["left out: nothing → location", "visitors of a hundred: all → 10"]),
            (&less, &all, &["left out: location → nothing", "visitors of a hundred: 10 → all"]),
            (&all, &when("/a"), &["another condition"]),
            (&when("/a"), &when("/b"), &["another condition"]),
            (&when("/a"), &all, &["no condition any more"]),
            (&all, &set("$.project"), &["own fields: none → properties.Shop"]),
            (&set("canary"), &set("$.project"), &["own fields changed"]),
        ] {
            assert_eq!(now.changes_since(Some(was)), words);
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for kind in [
            DestinationKind::Webhook { url: "https://hooks.example/".to_owned() },
            DestinationKind::Postgres { schema: "convizit".to_owned() },
            DestinationKind::Connector {
                connector: "mixpanel".to_owned(),
                region: Some("eu".to_owned()),
                settings: BTreeMap::from([("project_id".to_owned(), "77".to_owned())]),
            },
            DestinationKind::File { path: "/var/lib/events.jsonl".to_owned() },
            DestinationKind::Stdout { format: StdoutFormat::Json },
        ] {
            let destination = Destination {
                project: "shop".parse().unwrap(),
                name: "one".to_owned(),
                enabled: true,
                paused: None,
                types: vec![EventType::Click],
                processor: Processor::of("Hooks Ltd", "eu", "2026-10-01").unwrap(),
                shaping: Shaping { without: vec!["device.brand".to_owned()], percent: Some(10), ..Shaping::default() },
                kind,
            };
            let text = serde_json::to_string(&destination).unwrap();
            assert_eq!(serde_json::from_str::<Destination>(&text).unwrap(), destination);
        }
    }
}
