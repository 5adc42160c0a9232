//! What people (and, above a high threshold, the product itself) decide about names, elements and groups: kept for ever, and
//! each can be undone.

use serde::{Deserialize, Serialize};

use crate::id::{ElementId, GroupId, NameId};
use crate::time::Timestamp;

/// Characters of a name that a person gives, at most.
pub const GIVEN_NAME_CHARS: usize = 255;

/// One decision. Those of people are numbered from 1 in the order of their making; the product's own from `DecisionId::OWN` up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its number within the project.
    pub id: DecisionId,
    /// When it was made.
    pub made: Timestamp,
    /// Who made it: an account, `command line`, or `convizit` itself.
    pub by: String,
    /// What was decided.
    pub what: Change,
    /// The journal offset from which on it holds; `None` until the worker has met it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Proposed by the product and taken by nobody yet: it does not hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proposed: bool,
    /// What spoke for it, where the product decided or proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What can be decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// Another text for a name. Past events keep the old one.
    Rename {
        /// The name.
        name: NameId,
        /// Its new text.
        text: String,
    },
    /// Another name for a group, on its events and in names made from it later.
    RenameGroup {
        /// The group.
        group: GroupId,
        /// Its new name.
        text: String,
    },
    /// Two controls are one: events on the first carry the identity and name of the second.
    Merge {
        /// The one that is given up.
        element: ElementId,
        /// The one that stays.
        into: ElementId,
    },
    /// A form under which an element was seen is a control of its own.
    Split {
        /// The element.
        element: ElementId,
        /// The form's number in the element's list, from 1: 0 is what it was first seen as, which stays.
        form: usize,
    },
    /// Two groups are one: items of the first carry the identity and name of the second.
    Regroup {
        /// The one that is given up.
        group: GroupId,
        /// The one that stays.
        into: GroupId,
    },
    /// Whether events on an element are kept.
    CaptureElement {
        /// The element.
        element: ElementId,
        /// False drops its events before they are stored.
        captured: bool,
    },
    /// Whether events on whatever stands in a group are kept.
    CaptureGroup {
        /// The group.
        group: GroupId,
        /// False drops the events before they are stored.
        captured: bool,
    },
    /// An earlier decision holds no more. An undo can be undone too.
    Undo {
        /// Which.
        decision: DecisionId,
    },
}

impl Change {
    /// What it is about and what that is to be, where one word says it: the text of a name, or whether something is captured. Only
    /// such changes are drafted on the site.
    #[must_use]
    pub fn draft(&self) -> Option<(String, String)> {
        let word = |captured: bool| if captured { CAPTURED } else { NOT_CAPTURED }.to_owned();
        match self {
            Self::Rename { name, text } => Some((name.to_string(), text.clone())),
            Self::CaptureElement { element, captured } => Some((element.to_string(), word(*captured))),
            Self::CaptureGroup { group, captured } => Some((group.to_string(), word(*captured))),
            _ => None,
        }
    }
}

/// Of a draft: events are kept.
pub const CAPTURED: &str = "captured";
/// Of a draft: events are dropped before they are stored.
pub const NOT_CAPTURED: &str = "not captured";

/// A decision's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(pub u64);

impl DecisionId {
    /// From here up are the product's own: people and worker number theirs without knowing of each other.
    pub const OWN: u64 = 1 << 40;
}

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.checked_sub(Self::OWN) {
            Some(own) => write!(f, "auto-{own}"),
            None => self.0.fmt(f),
        }
    }
}

impl std::str::FromStr for DecisionId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (own, digits) = text.strip_prefix("auto-").map_or((0, text), |rest| (Self::OWN, rest));
        let number: u64 = digits.parse().map_err(|_| "a decision is a number such as 7 or auto-7".to_owned())?;
        number.checked_add(own).map(Self).ok_or_else(|| "there is no decision of so high a number".to_owned())
    }
}

/// What speaks for two controls being one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Between 0 and 1.
    pub probability: f64,
    /// What they have in common: `label`, `address`, `place` …
    pub agree: Vec<String>,
    /// In what they differ.
    pub differ: Vec<String>,
    /// Events that the one was expected to have since it was last seen, none of which came.
    pub missing: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_say_who_decided() {
        for (text, number) in [("7", 7), ("auto-3", DecisionId::OWN + 3)] {
            assert_eq!(text.parse::<DecisionId>(), Ok(DecisionId(number)));
            assert_eq!(DecisionId(number).to_string(), text);
        }
        assert!("auto-".parse::<DecisionId>().is_err());
        assert!("auto-18446744073709551615".parse::<DecisionId>().is_err());
    }

    #[test]
    fn changes_read_as_they_are_written() {
        let change = Change::Rename { name: NameId(7), text: "Add to basket".to_owned() };
        let json = serde_json::to_string(&change).unwrap();
        assert_eq!(json, r#"{"change":"rename","name":"na_0000000000000007","text":"Add to basket"}"#);
        assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change);
    }
}
