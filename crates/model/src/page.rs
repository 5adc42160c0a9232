//! The page block: what the tracker says of a page, once per URL and batch.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A page as the tracker saw it. It is made in the browser because the server never sees the document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageBlock {
    /// The address with unlisted query parameters and the fragment taken off by the tracker; the server templates it again.
    pub url: String,
    /// Set by the server: the path with its ids replaced (`/p/:id`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The document's title.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The document's language: `en`, `pt-BR`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub language: String,
    /// The referrer, cut like `url`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub referrer: String,
    /// schema.org or OpenGraph type: `Product`, `article`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The canonical address, when it differs from `url`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub canonical: String,
    /// The page's own product: `Product name`, `Product price`, `Currency`, `SKU`, `Availability`, `Brand`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub product: Map<String, Value>,
    /// Breadcrumb names, outer to inner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breadcrumb: Vec<String>,
    /// Viewport and screen: `width`, `height`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub viewport: Map<String, Value>,
}
