//! An event, as it is stored and delivered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{ElementId, EventId, GroupId, ProjectId};
use crate::time::Timestamp;
use crate::wire::EventType;

/// Name → string, number, boolean or null, in the order in which a person reads them.
pub type Properties = Map<String, Value>;

/// A named action: the unit that is stored, counted and delivered. Its JSON form is the public schema, version 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Made in the browser; idempotency key everywhere.
    pub id: EventId,
    /// The project.
    pub project: ProjectId,
    /// Always `convizit`.
    pub source: String,
    /// Version of this form: 1.
    pub schema: u32,
    /// The human name, at most 255 characters.
    pub name: String,
    /// Whether the name may still change.
    pub name_state: NameState,
    /// What kind of action.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When, corrected by the difference of clocks when that is above 5 s.
    pub time: Timestamp,
    /// The browser's own time, when it was corrected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_time: Option<Timestamp>,
    /// When the collector received it.
    pub received: Timestamp,
    /// Anonymous visitor id.
    pub visitor: String,
    /// The session.
    pub session: Session,
    /// The id that the site gave.
    pub user: Option<String>,
    /// The consent under which it was captured.
    pub consent: Consent,
    /// The page.
    pub page: Page,
    /// The control; missing for events that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<Element>,
    /// The group; missing for events outside one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// What the event is about.
    pub properties: Properties,
    /// utm and click parameters of the session's landing page: `source`, `medium`, `name`, `term`, `content`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub campaign: Properties,
    /// The device, from the user agent and client hints.
    pub device: Device,
    /// The country; the address itself is never kept.
    pub location: Location,
    /// What was withheld, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Receipt>,
}

/// Whether a name may still change by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameState {
    /// Fewer than 10 events or 3 visitors, and younger than 24 hours.
    Provisional,
    /// It changes no more by itself.
    Published,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Random id.
    pub id: String,
    /// When it started.
    pub start: Timestamp,
}

/// What the visitor agreed to. `None` means that the site did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Consent {
    /// Analytics storage and use.
    pub analytics: Option<bool>,
    /// Advertising use.
    pub ads: Option<bool>,
    /// Global Privacy Control was set.
    pub gpc: bool,
}

/// The page of an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The address, ids replaced: `https://shop.example/p/:id`.
    pub url: String,
    /// Its path, ids replaced: `/p/:id`.
    pub path: String,
    /// The title; missing when withheld or none.
    pub title: Option<String>,
    /// schema.org or OpenGraph type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Language.
    pub language: Option<String>,
    /// Where the visitor came from.
    pub referrer: Option<String>,
}

/// The control of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Element {
    /// Permanent identity.
    pub id: ElementId,
    /// ARIA role.
    pub role: String,
    /// The label as it was on the page.
    pub label: String,
    /// The nearest named section.
    pub section: Option<String>,
}

/// The group of an event's control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Permanent identity.
    pub id: GroupId,
    /// Name in the singular: `Product card`.
    pub name: String,
    /// 1-based.
    pub position: u32,
    /// Members on the page.
    pub length: u32,
}

/// What the user agent and client hints say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Always `web`.
    pub platform: String,
    /// `Android`, `Windows`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_name: Option<String>,
    /// Major version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// `Chrome`, `Safari`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// Major version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_version: Option<String>,
    /// Maker or model: `Pixel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// `desktop`, `mobile`, `tablet`, `tv`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Where the visitor was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Location {
    /// ISO 3166 code of two letters.
    pub country: Option<String>,
    /// Null unless the operator gives a city database.
    pub region: Option<String>,
}

/// The note that something was withheld: never the text, its length, hash or place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receipt {
    /// Which field: `page.title`, `properties.Comment`.
    pub field: String,
    /// Which rule: `email`.
    pub rule: String,
    /// `browser` or `server`.
    pub by: String,
    /// Version of the rules.
    pub rules: u32,
}
