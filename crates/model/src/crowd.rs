//! What the stages tell each other of texts that only a crowd may show: hashes and rulings, never a text.

use serde::{Deserialize, Serialize};

use crate::id::EventId;

/// How a text that stood at an element was seen; goes with a received batch from the collector to the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which of the batch's events.
    pub event: EventId,
    /// Which field.
    pub field: ShownField,
    /// The structure around it, hashed: here the same text says the same.
    pub element: u64,
    /// The same with the position in its list, hashed: here one text is expected.
    pub place: u64,
    /// The text, as a keyed hash.
    pub text: u64,
    /// Whether it looks like somebody's name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub name: bool,
    /// What became of it.
    pub fate: Fate,
}

/// The kinds of texts that can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownField {
    /// What a control says.
    Label,
    /// What its surroundings are called.
    Section,
    /// What its list is called.
    Group,
    /// A property that was read from the page.
    Property,
    /// The page's title, or what its path or product is called.
    Page,
}

/// What the collector did with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was not held back.
    Shown,
    /// It was held back until a crowd has shown it.
    Waits,
    /// It was held back, and no crowd will change that: it stands in somebody's account.
    Private,
    /// A crowd had shown it before.
    Released,
}

/// What the counting of visitors decided of a text or of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i64)]
pub enum Ruling {
    /// This text may be shown at its element.
    Released = 1,
    /// The texts of this place vary between visitors: further ones wait.
    Varies = 2,
    /// They vary so much that the place has no text any more.
    Dynamic = 3,
    /// They no longer vary.
    Calm = 4,
}

impl Ruling {
    /// The ruling of a stored number.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Released,
            2 => Self::Varies,
            3 => Self::Dynamic,
            4 => Self::Calm,
            _ => return None,
        })
    }
}

/// What the worker needs for counting visitors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Crowd {
    /// Distinct visitors that release a text.
    pub most: u32,
    /// The network that the batch came from, hashed under a key of its day.
    pub network: u32,
    /// The user whom the site identified, as a keyed hash: also where the id itself was withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u64>,
    /// Texts of the batch.
    pub shown: Vec<Shown>,
}

impl Crowd {
    /// Whether there is nothing to count.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}
