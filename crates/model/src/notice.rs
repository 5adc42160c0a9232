//! Something that a person must see.

use serde::{Deserialize, Serialize};

use crate::id::ProjectId;
use crate::time::Timestamp;

/// A notice. Notices of the same kind, project and subject are one: a repeat raises `count` and `last`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Number, given by the store.
    pub id: i64,
    /// What it is about.
    pub kind: NoticeKind,
    /// The project, when it is about one.
    pub project: Option<ProjectId>,
    /// What exactly it is about: a destination's name, an event id. Never captured text.
    pub subject: String,
    /// One sentence: what happened, and what to do.
    pub text: String,
    /// Open, seen or resolved.
    pub state: NoticeState,
    /// How often it happened.
    pub count: i64,
    /// When it first happened.
    pub first: Timestamp,
    /// When it last happened.
    pub last: Timestamp,
}

/// Kinds of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// An item could not be processed and is in quarantine.
    Quarantined,
    /// Something stored does not open: a frame that holds an erasure open, or a row of what was learned.
    Damaged,
    /// A destination was paused.
    DestinationPaused,
    /// A destination has not taken anything for a quarter of an hour.
    DestinationFailing,
    /// A destination refused events; they are dead letters.
    DeadLetters,
    /// The disk is nearly full, full or failing.
    Disk,
    /// The worker falls behind.
    Lag,
    /// A place in a site says something new each time; its controls share one identity.
    EndlessLabels,
    /// A name has no events though some were expected.
    SilentName,
    /// A project has no events at all though some were expected.
    SilentProject,
    /// Many controls are new or changed at once: the site was deployed.
    SiteChanged,
    /// Two controls may be one, and a person should say so.
    MergeProposed,
    /// The server withheld what the tracker should have.
    Drift,
    /// A key is about to be too old, cannot be rotated, or is damaged in the database.
    Keys,
    /// The clock jumped, and nothing is dropped for its age until a person says so.
    Clock,
    /// A backup, its check or the drill failed.
    Backup,
    /// The audit log is not as it was written, or what was missing was accepted.
    Audit,
    /// A rule found what may be an attack, or an incident's deadline has passed.
    Incident,
}

impl NoticeKind {
    /// The kinds that are about a project, the most urgent first.
    pub const OF_PROJECTS: [Self; 12] = [
        Self::Incident,
        Self::DestinationPaused,
        Self::DestinationFailing,
        Self::DeadLetters,
        Self::SilentProject,
        Self::Quarantined,
        Self::Damaged,
        Self::SilentName,
        Self::SiteChanged,
        Self::MergeProposed,
        Self::EndlessLabels,
        Self::Drift,
    ];

    /// The kind of a stored word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(text)).ok()
    }

    /// The kind as it stands in JSON and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Damaged => "damaged",
            Self::DestinationPaused => "destination_paused",
            Self::DestinationFailing => "destination_failing",
            Self::DeadLetters => "dead_letters",
            Self::Disk => "disk",
            Self::Lag => "lag",
            Self::EndlessLabels => "endless_labels",
            Self::SilentName => "silent_name",
            Self::SilentProject => "silent_project",
            Self::SiteChanged => "site_changed",
            Self::MergeProposed => "merge_proposed",
            Self::Drift => "drift",
            Self::Keys => "keys",
            Self::Clock => "clock",
            Self::Backup => "backup",
            Self::Audit => "audit",
            Self::Incident => "incident",
        }
    }

    /// The kind in words that stand at the head of a message.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Quarantined => "An item could not be processed",
            Self::Damaged => "Something stored does not open",
            Self::DestinationPaused => "A destination was paused",
            Self::DestinationFailing => "A destination takes nothing",
            Self::DeadLetters => "A destination refused events",
            Self::Disk => "The disk is nearly full or failing",
            Self::Lag => "Processing falls behind",
            Self::EndlessLabels => "A place says something new each time",
            Self::SilentName => "A name has no events any more",
            Self::SilentProject => "A project has no events any more",
            Self::SiteChanged => "The site has changed",
            Self::MergeProposed => "Two controls may be one",
            Self::Drift => "The server withheld what the browser should have",
            Self::Keys => "A key needs you",
            Self::Clock => "The clock jumped",
            Self::Backup => "A backup failed",
            Self::Audit => "The audit log is not as it was written",
            Self::Incident => "A security incident",
        }
    }
}

/// How far a notice has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    /// Nobody has seen it.
    Open,
    /// Somebody has seen it.
    Seen,
    /// It is over.
    Resolved,
}

impl NoticeState {
    /// The state as it is stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Seen => "seen",
            Self::Resolved => "resolved",
        }
    }
}
