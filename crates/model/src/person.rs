//! A person as the product knows one: by the tracker's anonymous id, or by the id that the site gave.

use serde::{Deserialize, Serialize};

/// Characters of an id at most.
pub const PERSON_ID: usize = 255;

/// Whose data is to be erased or exported.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Person {
    /// The anonymous id that the tracker keeps.
    Visitor(String),
    /// The id that the site gave with `convizit.identify`.
    User(String),
}

impl Person {
    /// `visitor` or `user`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Visitor(_) => "visitor",
            Self::User(_) => "user",
        }
    }

    /// The id itself.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Visitor(id) | Self::User(id) => id,
        }
    }

    /// Of a kind's word and an id.
    ///
    /// # Errors
    /// One sentence, without the id: an unknown kind, an empty id, one of more than 255 characters.
    pub fn new(kind: &str, id: &str) -> Result<Self, String> {
        if id.is_empty() || id.chars().count() > PERSON_ID {
            return Err(format!("the id of a {kind} has 1 to {PERSON_ID} characters"));
        }
        match kind {
            "visitor" => Ok(Self::Visitor(id.to_owned())),
            "user" => Ok(Self::User(id.to_owned())),
            _ => Err("a person is a visitor or a user".to_owned()),
        }
    }
}
