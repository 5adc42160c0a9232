//! What became of a received item: exactly one outcome, each counted.

use std::fmt;

/// The one outcome of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Stored as an event, with or without receipts.
    Accepted,
    /// The whole event was excluded by a privacy rule or an exclusion.
    Withheld,
    /// A bot, a type that the project has off, no consent, an opt-out, an internal address.
    Filtered(Filter),
    /// An event with this id is already stored.
    Repeated,
    /// Not taken, and why.
    Refused(Refusal),
    /// Dropped in the browser because its queue was full; the tracker reports the count.
    Dropped,
}

/// Why an item was filtered: policy, not error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filter {
    /// The user agent is a known bot.
    Bot,
    /// The project has this event type off.
    Type,
    /// The visitor did not agree, and the project asks for consent.
    Consent,
    /// The address or page is excluded by the project.
    Excluded,
    /// Its person, or the whole dataset, was erased after it happened.
    Erased,
}

/// Why an item was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not the form of the protocol.
    Malformed,
    /// A limit of size, count or depth.
    TooLarge,
    /// Another protocol version.
    Version,
    /// No project has this key.
    UnknownKey,
    /// The project does not allow this origin.
    Origin,
    /// The server could not take it: full queue, full disk, journal bound. The tracker keeps it and tries again.
    Overloaded,
    /// Our fault: processing failed, the item is in quarantine with a notice.
    Internal,
}

impl Outcome {
    /// The outcome as metric label and counter key: `accepted`, `filtered.bot`, `refused.internal`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Withheld => "withheld",
            Self::Filtered(Filter::Bot) => "filtered.bot",
            Self::Filtered(Filter::Type) => "filtered.type",
            Self::Filtered(Filter::Consent) => "filtered.consent",
            Self::Filtered(Filter::Excluded) => "filtered.excluded",
            Self::Filtered(Filter::Erased) => "filtered.erased",
            Self::Repeated => "repeated",
            Self::Refused(Refusal::Malformed) => "refused.malformed",
            Self::Refused(Refusal::TooLarge) => "refused.too_large",
            Self::Refused(Refusal::Version) => "refused.version",
            Self::Refused(Refusal::UnknownKey) => "refused.unknown_key",
            Self::Refused(Refusal::Origin) => "refused.origin",
            Self::Refused(Refusal::Overloaded) => "refused.overloaded",
            Self::Refused(Refusal::Internal) => "refused.internal",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
