//! Where events go: the configuration of a destination.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::ProjectId;
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
    /// Why it was paused by itself; `None` while it runs.
    #[serde(default)]
    pub paused: Option<String>,
    /// Only these types; empty means all.
    #[serde(default)]
    pub types: Vec<EventType>,
    /// What it gets of them.
    #[serde(default, skip_serializing_if = "Shaping::is_none")]
    pub shaping: Shaping,
    /// What it is, and how to reach it.
    #[serde(flatten)]
    pub kind: DestinationKind,
}

impl Destination {
    /// Whether events of a type are sent to it.
    #[must_use]
    pub fn wants(&self, kind: EventType) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }
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
                shaping: Shaping { without: vec!["device.brand".to_owned()], percent: Some(10), ..Shaping::default() },
                kind,
            };
            let text = serde_json::to_string(&destination).unwrap();
            assert_eq!(serde_json::from_str::<Destination>(&text).unwrap(), destination);
        }
    }
}
