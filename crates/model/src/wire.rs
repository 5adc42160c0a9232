//! A batch as the tracker sends it to `/v1/collect`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::descriptor::Descriptor;
use crate::event::{Consent, Receipt};
use crate::id::{BatchId, EventId, ProjectKey};
use crate::page::PageBlock;
use crate::time::Timestamp;

/// One batch: one page, one visitor and session, one consent, 1 to 100 events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Protocol version, `crate::limits::PROTOCOL`.
    pub v: u32,
    /// The project's public key.
    pub key: ProjectKey,
    /// The same at each retry.
    pub batch: BatchId,
    /// When this attempt was sent, by the browser's clock; for clock correction.
    pub sent: Timestamp,
    /// The settings version under which the batch was captured.
    #[serde(default)]
    pub settings: u64,
    /// The anonymous id kept by the tracker; missing in identity mode `none`, where the server derives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visitor: Option<String>,
    /// The session; missing in identity mode `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<WireSession>,
    /// The id that the site gave with `convizit.identify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The consent under which the batch was captured.
    #[serde(default)]
    pub consent: Consent,
    /// The page.
    #[serde(default)]
    pub page: PageBlock,
    /// Events that the tracker dropped since the last batch, because its queue was full.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// 1 to 100 events, in the order of capture.
    pub events: Vec<WireEvent>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A session as the tracker keeps it: 30 minutes without an event end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireSession {
    /// Random id.
    pub id: String,
    /// When it started, by the browser's clock; missing when the tracker does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
}

/// One captured action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireEvent {
    /// Made in the browser; idempotency key everywhere.
    pub id: EventId,
    /// What kind of action.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When, by the browser's clock.
    pub time: Timestamp,
    /// The control, for actions on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// The name of a coded event, or the identified user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Coded properties, traits, and what an event type carries (`Scroll depth`, `Engaged time`, `Option`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    /// What the tracker withheld.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Receipt>,
}

/// The types of events that the product knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// A page or client-side route was shown.
    PageView,
    /// A page was left; carries engaged time and scroll depth.
    PageLeave,
    /// A click or its keyboard equal on a control.
    Click,
    /// An option chosen in a select, checkbox or radio.
    Change,
    /// A form was sent.
    Submit,
    /// A form was begun and left.
    FormAbandon,
    /// Text was copied; the text is not read.
    Copy,
    /// The page was printed.
    Print,
    /// A link to a file was followed.
    Download,
    /// A video or audio was played, paused, ended or reached a quarter.
    Media,
    /// A dialog was opened or closed.
    Dialog,
    /// Three clicks on one place within a second.
    RageClick,
    /// A click that changed nothing.
    DeadClick,
    /// A click followed by a script error.
    ErrorClick,
    /// A Core Web Vital.
    WebVital,
    /// `convizit.track`.
    Coded,
    /// `convizit.identify`.
    Identify,
}

impl EventType {
    /// Every type, in the order of the design.
    pub const ALL: [Self; 17] = [
        Self::PageView,
        Self::PageLeave,
        Self::Click,
        Self::Change,
        Self::Submit,
        Self::FormAbandon,
        Self::Copy,
        Self::Print,
        Self::Download,
        Self::Media,
        Self::Dialog,
        Self::RageClick,
        Self::DeadClick,
        Self::ErrorClick,
        Self::WebVital,
        Self::Coded,
        Self::Identify,
    ];

    /// The type as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PageView => "page_view",
            Self::PageLeave => "page_leave",
            Self::Click => "click",
            Self::Change => "change",
            Self::Submit => "submit",
            Self::FormAbandon => "form_abandon",
            Self::Copy => "copy",
            Self::Print => "print",
            Self::Download => "download",
            Self::Media => "media",
            Self::Dialog => "dialog",
            Self::RageClick => "rage_click",
            Self::DeadClick => "dead_click",
            Self::ErrorClick => "error_click",
            Self::WebVital => "web_vital",
            Self::Coded => "coded",
            Self::Identify => "identify",
        }
    }
}
