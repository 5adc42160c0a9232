//! To whom a project's notices go: members by mail, a webhook, a Slack channel.

use serde::{Deserialize, Serialize};

use crate::notice::NoticeKind;
use crate::role::Role;

/// What a project has set. Stored sealed as a whole: the addresses are credentials.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Channels {
    /// From which role on members get mail; `None` for nobody.
    pub mail_to: Option<Role>,
    /// What is sent to them.
    pub mail_kinds: Vec<NoticeKind>,
    /// The webhook, signed as Standard Webhooks say.
    pub webhook: Option<NoticeHook>,
    /// What is sent to it.
    pub webhook_kinds: Vec<NoticeKind>,
    /// An incoming webhook of Slack; whoever knows it may post there.
    pub slack: Option<String>,
    /// What is sent to it.
    pub slack_kinds: Vec<NoticeKind>,
}

/// Where notices are posted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeHook {
    /// The address.
    pub url: String,
    /// `whsec_…`.
    pub secret: String,
}

impl Channels {
    /// What is sent where nobody has chosen: what must not wait.
    pub const URGENT: [NoticeKind; 7] = [
        NoticeKind::Incident,
        NoticeKind::DestinationPaused,
        NoticeKind::DestinationFailing,
        NoticeKind::DeadLetters,
        NoticeKind::SilentProject,
        NoticeKind::Quarantined,
        NoticeKind::Damaged,
    ];
}

impl Default for Channels {
    fn default() -> Self {
        let urgent = || Self::URGENT.to_vec();
        Self {
            mail_to: Some(Role::Admin),
            mail_kinds: urgent(),
            webhook: None,
            webhook_kinds: urgent(),
            slack: None,
            slack_kinds: urgent(),
        }
    }
}

/// Without addresses and secrets.
impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("mail_to", &self.mail_to)
            .field("webhook", &self.webhook.is_some())
            .field("slack", &self.slack.is_some())
            .finish_non_exhaustive()
    }
}

/// One way of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Mail to an account.
    Mail(i64),
    /// The project's webhook.
    Webhook,
    /// The project's Slack channel.
    Slack,
}

impl Channel {
    /// The channel as it is stored.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Mail(account) => format!("mail:{account}"),
            Self::Webhook => "webhook".to_owned(),
            Self::Slack => "slack".to_owned(),
        }
    }

    /// The channel of a stored word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "webhook" => Some(Self::Webhook),
            "slack" => Some(Self::Slack),
            other => other.strip_prefix("mail:")?.parse().ok().map(Self::Mail),
        }
    }
}
