//! What an answer means, beyond what all vendors have in common.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// What an answer means, beyond what all have in common: 2xx is success; 408, 425, 429 and 5xx are tried again; 401, 403, 404, 405 and 410
/// wait for a person; 413 halves the batch; other 4xx are refusals, and the batch is halved until the refused event is found.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Further codes that mean: it is there.
    #[serde(default)]
    pub success: Vec<u16>,
    /// Further codes that are tried again.
    #[serde(default)]
    pub retry: Vec<u16>,
    /// Further codes that mean that this event is refused.
    #[serde(default)]
    pub refuse: Vec<u16>,
    /// Words of a refusal that speak of the credential or a setting, not of an event: it waits for a person, and no event is refused.
    #[serde(default)]
    pub pause: Vec<String>,
    /// Further codes that wait for a person.
    #[serde(default)]
    pub wait: Vec<u16>,
    /// Where the answer says which items failed.
    #[serde(default)]
    pub partial: Option<Partial>,
    /// Where a success says so in its body only: a path and the values that are success.
    #[serde(default)]
    pub confirm: Option<Confirm>,
    /// Where a failure says what it is in its body only.
    #[serde(default)]
    pub signs: Option<Signs>,
}

/// A failure whose body says more than its status.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signs {
    /// `error.code`. Of an answer in XML `Code` and `Message` are known. Of `vendor#Value` what stands behind `#` is compared.
    pub at: String,
    /// Values that mean: it is there.
    #[serde(default)]
    pub done: Vec<Value>,
    /// Values that wait for a person: a credential, a right, a name.
    #[serde(default)]
    pub pause: Vec<Value>,
    /// Values that are tried again.
    #[serde(default)]
    pub retry: Vec<Value>,
}

/// A success that is one only if its body says so.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// `status.state`
    pub at: String,
    /// Values that are success.
    pub is: Vec<Value>,
    /// Values that are tried again; all others are refusals.
    #[serde(default)]
    pub retry: Vec<Value>,
    /// Values that wait for a person.
    #[serde(default)]
    pub pause: Vec<Value>,
}

/// Which items of a batch failed, by the answer: a closed set, each with its own code.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "parser", rename_all = "snake_case", deny_unknown_fields)]
pub enum Partial {
    /// A list of failures that name their item's place in the batch.
    IndexList {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the list stands.
        list: String,
        /// The place, in each failure.
        index: String,
        /// The reason, in each failure.
        reason: String,
        /// Whether the items that are not named went in.
        rest: Rest,
    },
    /// Fields whose values are lists of places: Amplitude.
    FieldIndexes {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the fields stand.
        fields: Vec<String>,
        /// Fields that name items to be sent again later.
        #[serde(default)]
        later: Vec<String>,
        /// Whether the items that are not named went in.
        rest: Rest,
    },
    /// A list with an entry for each item, in the same order: AWS.
    Parallel {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the list stands.
        list: String,
        /// What a failed entry has.
        code: String,
        /// Codes that are refusals; all others are sent again.
        #[serde(default)]
        refused: Vec<String>,
    },
    /// A list of failures that name their item by the id that the request gave it: SQS.
    IdList {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where the list stands.
        list: String,
        /// The id, in each failure, and in each item.
        id: String,
        /// The reason, in each failure.
        reason: String,
        /// True in a failure that is the sender's fault; others are sent again.
        fault: String,
    },
    /// `items[].create.status` of Elasticsearch and OpenSearch.
    EsItems,
    /// Lists of values that name the items by a field of theirs: Iterable.
    ValueLists {
        /// Codes of the answers that are looked at.
        status: Vec<u16>,
        /// Where each list stands → the item's field that its values are of.
        lists: BTreeMap<String, String>,
    },
}

/// What became of the items that an answer does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// They went in.
    Done,
    /// They did not: they are sent again at once, without the others.
    Resend,
}
