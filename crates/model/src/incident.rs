//! Incidents: what may be an attack, who sees to it, and by when.

use serde::{Deserialize, Serialize};

use crate::id::ProjectId;
use crate::time::Timestamp;

const HOUR: i64 = 3_600_000;

/// What a rule has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Many accounts are tried from one network, or one account many times.
    CredentialStuffing,
    /// Somebody takes much out in a short time.
    MassExport,
    /// A Master Admin signed in from a country that they never signed in from.
    NewCountry,
    /// Keys are asked for by whoever may not, or do not open.
    KeyMisuse,
    /// Somebody tries what their role does not allow.
    RoleEscalation,
}

impl IncidentKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::CredentialStuffing, Self::MassExport, Self::NewCountry, Self::KeyMisuse, Self::RoleEscalation];

    /// The kind as it is stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CredentialStuffing => "credential_stuffing",
            Self::MassExport => "mass_export",
            Self::NewCountry => "new_country",
            Self::KeyMisuse => "key_misuse",
            Self::RoleEscalation => "role_escalation",
        }
    }

    /// The kind of a stored word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The kind in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::CredentialStuffing => "Passwords are being tried",
            Self::MassExport => "Much is being taken out",
            Self::NewCountry => "A Master Admin signs in from a new country",
            Self::KeyMisuse => "Keys are being misused",
            Self::RoleEscalation => "Somebody tries what their role does not allow",
        }
    }

    /// Milliseconds after its opening by which somebody must have looked at it, and by which it must be resolved: never later than
    /// the 72 hours in which a breach is to be notified (GDPR, article 33).
    #[must_use]
    pub const fn deadlines(self) -> (i64, i64) {
        match self {
            Self::CredentialStuffing | Self::KeyMisuse | Self::NewCountry => (HOUR, 24 * HOUR),
            Self::MassExport | Self::RoleEscalation => (4 * HOUR, 72 * HOUR),
        }
    }
}

/// How far an incident has come. It goes from one to the next and never back; what comes again is another incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Nobody has looked at it.
    Open,
    /// Somebody has, and sees to it.
    Triaged,
    /// It is over.
    Resolved,
}

impl IncidentState {
    /// The state as it is stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Triaged => "triaged",
            Self::Resolved => "resolved",
        }
    }

    /// The state of a stored word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        [Self::Open, Self::Triaged, Self::Resolved].into_iter().find(|state| state.as_str() == text)
    }
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Number, given by the store.
    pub id: i64,
    /// What was found.
    pub kind: IncidentKind,
    /// The project, when it is about one.
    pub project: Option<ProjectId>,
    /// Whom it is about: `account:7`, `sign-in`.
    pub subject: String,
    /// One or two sentences: what happened, and what to do first.
    pub text: String,
    /// How far it is.
    pub state: IncidentState,
    /// The account that sees to it.
    pub owner: Option<i64>,
    /// When it was opened.
    pub opened: Timestamp,
    /// By when somebody must have looked at it.
    pub acknowledge_by: Timestamp,
    /// By when it must be resolved.
    pub resolve_by: Timestamp,
    /// When somebody had looked at it.
    pub triaged: Option<Timestamp>,
    /// When it was resolved.
    pub resolved: Option<Timestamp>,
    /// When it last went on.
    pub last: Timestamp,
    /// Raised with every change.
    pub version: i64,
}

impl Incident {
    /// The deadline that it has passed, in words.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> Option<&'static str> {
        match self.state {
            IncidentState::Resolved => None,
            _ if now > self.resolve_by => Some("it should be resolved by now"),
            IncidentState::Open if now > self.acknowledge_by => Some("somebody should have looked at it by now"),
            _ => None,
        }
    }
}

/// A line of an incident's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentNote {
    /// When.
    pub time: Timestamp,
    /// Who: `account:7`, `os:root`, `system`.
    pub actor: String,
    /// What: `open`, `own`, `triage`, `note` or `resolve`.
    pub act: String,
    /// What they wrote.
    pub text: String,
}
