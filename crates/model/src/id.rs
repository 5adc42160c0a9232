//! Ids: what names a project, a batch, an event, an element, a group.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why a text is not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not `a-z0-9-`, 1 to 64 characters, starting with a letter or digit.
    #[error("a project id has 1 to 64 of a-z, 0-9 and -, and starts with a letter or digit")]
    Project,
    /// Not `pk_` followed by 8 to 64 of `A-Za-z0-9_-`.
    #[error("a project key is pk_ followed by 8 to 64 of A-Z, a-z, 0-9, _ and -")]
    Key,
    /// Not a UUID of version 7 in its usual form.
    #[error("an event id is a UUID of version 7")]
    Event,
    /// Not `<tab id>.<sequence>` of at most 64 characters.
    #[error("a batch id is a tab id of 1 to 40 of A-Za-z0-9_-, a dot and a sequence number")]
    Batch,
}

/// The short name of a project, chosen by its owner: `shop`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectId(String);

impl ProjectId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-');
        fits.then(|| Self(text.to_owned())).ok_or(IdError::Project)
    }
}

impl TryFrom<String> for ProjectId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ProjectId> for String {
    fn from(id: ProjectId) -> Self {
        id.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public key in a site's snippet: `pk_` and random text. It names a project and grants nothing but sending.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectKey(String);

impl ProjectKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let rest = text.strip_prefix("pk_").ok_or(IdError::Key)?;
        let fits = (8..=64).contains(&rest.len()) && rest.bytes().all(is_token_byte);
        fits.then(|| Self(text.to_owned())).ok_or(IdError::Key)
    }
}

impl TryFrom<String> for ProjectKey {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ProjectKey> for String {
    fn from(key: ProjectKey) -> Self {
        key.0
    }
}

impl fmt::Display for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

/// A browser-made UUIDv7: the event's id and idempotency key everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id's 16 bytes; their order is the order of their embedded times.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// An id from its 16 bytes.
    ///
    /// # Errors
    /// When the bytes are not a UUID of version 7.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
        let version = uuid::Uuid::from_bytes(bytes).get_version_num();
        (version == 7).then_some(Self(bytes)).ok_or(IdError::Event)
    }

    /// The time that the browser's clock showed when the id was made.
    #[must_use]
    pub fn embedded_time(&self) -> Timestamp {
        let [a, b, c, d, e, f, ..] = self.0;
        Timestamp::from_millis(i64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

impl FromStr for EventId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != 36 {
            return Err(IdError::Event);
        }
        let id = uuid::Uuid::try_parse(text).map_err(|_| IdError::Event)?;
        Self::from_bytes(*id.as_bytes())
    }
}

impl TryFrom<String> for EventId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

/// `<tab id>.<sequence number>`: the same at each retry of a batch, so that a retry is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId(String);

impl BatchId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BatchId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (tab, sequence) = text.rsplit_once('.').ok_or(IdError::Batch)?;
        let fits = (1..=40).contains(&tab.len())
            && tab.bytes().all(is_token_byte)
            && (1..=12).contains(&sequence.len())
            && sequence.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| Self(text.to_owned())).ok_or(IdError::Batch)
    }
}

impl TryFrom<String> for BatchId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<BatchId> for String {
    fn from(id: BatchId) -> Self {
        id.0
    }
}

macro_rules! hashed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:016x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 16)
                    .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                    .map(Self)
                    .ok_or_else(|| concat!("expected ", $prefix, " and 16 hexadecimal digits").to_owned())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hashed_id!(
    /// The permanent identity of a control, given by the server: `el_` and 16 hexadecimal digits.
    ElementId,
    "el_"
);
hashed_id!(
    /// The permanent identity of a group of elements that repeat: `gr_` and 16 hexadecimal digits.
    GroupId,
    "gr_"
);
hashed_id!(
    /// The permanent identity of a name: `na_` and 16 hexadecimal digits. The name's text may be changed by people.
    NameId,
    "na_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_version_7_in_the_usual_form() {
        let id: EventId = "0193a1f0-7b2c-7def-8123-456789abcdef".parse().unwrap();
        assert_eq!(id.to_string(), "0193a1f0-7b2c-7def-8123-456789abcdef");
        assert_eq!(id.embedded_time().as_millis(), 0x0193_a1f0_7b2c);
        assert_eq!("0193a1f0-7b2c-4def-8123-456789abcdef".parse::<EventId>(), Err(IdError::Event));
        assert_eq!("0193a1f07b2c7def8123456789abcdef".parse::<EventId>(), Err(IdError::Event));
    }

    #[test]
    fn project_ids_and_keys_are_narrow() {
        assert!("shop-2".parse::<ProjectId>().is_ok());
        for bad in ["", "-a", "Shop", "a b", "a/b", &"x".repeat(65)] {
            assert_eq!(bad.parse::<ProjectId>(), Err(IdError::Project), "{bad}");
        }
        assert!("pk_abcdefgh".parse::<ProjectKey>().is_ok());
        assert!("pk_abc".parse::<ProjectKey>().is_err());
        assert!("pk_abcdef/../".parse::<ProjectKey>().is_err());
    }

    #[test]
    fn batch_ids_name_a_tab_and_a_number() {
        assert!("k3J_-9.12".parse::<BatchId>().is_ok());
        for bad in ["", ".1", "a.", "a.b", "a b.1", "tab.1234567890123"] {
            assert!(bad.parse::<BatchId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn element_ids_round_trip() {
        let id = ElementId(0x00ff);
        assert_eq!(id.to_string(), "el_00000000000000ff");
        assert_eq!(id.to_string().parse::<ElementId>(), Ok(id));
        assert!("gr_00000000000000ff".parse::<ElementId>().is_err());
    }
}
