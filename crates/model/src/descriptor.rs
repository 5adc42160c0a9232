//! What the tracker says of a control. Never a final name, never a value that somebody typed.

use crate::crowd::Fate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A control as the tracker saw it. Every field may be missing: `convizit name` accepts partial descriptors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Descriptor {
    /// ARIA role, native or explicit: `button`, `link`, `combobox`.
    pub role: String,
    /// Accessible name, numbers included, or a fallback; empty when there is none. At most 120 characters.
    pub label: String,
    /// Where the label came from: `labelledby`, `aria-label`, `label`, `content`, `alt`, `value`, `title`, `placeholder`, `fallback`.
    pub label_source: String,
    /// The label without numbers, prices and dates: names and keys are made from it.
    pub template: String,
    /// The numbers that the template left out: "Cart (3)" → `3`.
    #[serde(rename = "name_value", skip_serializing_if = "Option::is_none")]
    pub name_value: Option<Value>,
    /// Tag name in lower case, and for inputs their type after a colon: `input:checkbox`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// Where the control stands, inner to outer; at most 6 entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<ContextEntry>,
    /// The repeated record that the control belongs to.
    pub group: Option<GroupSketch>,
    /// The record's own texts and the options chosen around the control: `Product name`, `Selected color`, `Quantity`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    /// Stable attributes: id, name, type, href, class words (`class`, space-separated), `data-*`, `icon`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// Index-free tag path from the nearest landmark: `main>ul>li>a`.
    pub path: String,
    /// The role of the outer group when lists are nested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outer: Option<Box<GroupSketch>>,
    /// Nothing actionable was found: a click on dead text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inert: bool,
    /// What became of the label at the collector: told beside the descriptor, never by the tracker.
    #[serde(skip)]
    pub fate: Option<Fate>,
    /// The time bound was reached: what is here is right, the rest is missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// One step of the context chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextEntry {
    /// `dialog`, `form`, `section`, `article`, `fieldset`, `table`, `tabpanel`, `nav`, `header`, `main`, `aside`, `footer`, `search`, `list`.
    pub kind: String,
    /// Its accessible name or first heading; empty when it has none.
    pub name: String,
}

/// The group of a control as one page shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSketch {
    /// 1-based.
    pub position: u32,
    /// Members on the page.
    pub length: u32,
    /// Hashes of the tag paths found in at least 60 % of the members, sorted; each below 2^32.
    pub signature: Vec<u32>,
    /// The container's accessible name or heading.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The members' own tag, schema type or readable class word: `Product`, `card`, `li`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// The path from the member to the control; empty when the member is the control.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}
