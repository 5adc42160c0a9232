//! From a descriptor to an identity, a group and a human name.

mod grammar;
mod groups;
mod identity;
mod one;
mod words;

pub(crate) use grammar::is_choice;
pub(crate) use identity::Features;
pub use one::{Candidate, NamedDescriptor, name_descriptor};

use convizit_model::{Descriptor, ElementId, EventType, PageBlock, Properties, Timestamp, event};
use serde_json::Value;

use crate::registry::{Registry, hash, hash_numbers};

/// What the registry says of a control.
pub(crate) struct Resolved {
    pub(crate) element: ElementId,
    pub(crate) group: Option<event::Group>,
    /// Whether the control is the group's item itself, so that its label is the item's own text.
    pub(crate) is_item: bool,
}

/// Finds or makes the identities of a control and its group.
pub(crate) fn resolve(registry: &mut Registry, descriptor: &Descriptor, learn: bool) -> Resolved {
    let group = groups::resolve(registry, descriptor, learn);
    let is_item = is_item(descriptor);
    let features = Features::of(descriptor, group.as_ref().map(|group| group.id), is_item);
    Resolved { element: identity::resolve(registry, features, learn), group, is_item }
}

/// The group of a control, for scoring alone.
fn groups_of(registry: &mut Registry, descriptor: &Descriptor) -> Option<convizit_model::GroupId> {
    groups::resolve(registry, descriptor, false).map(|group| group.id)
}

/// Whether the control's label is the text of its record: a card's link, a menu item, a page link.
fn is_item(descriptor: &Descriptor) -> bool {
    let Some(group) = &descriptor.group else { return false };
    if descriptor.label.is_empty() {
        return false;
    }
    let title = title(&descriptor.properties);
    match title {
        Some(title) => title.eq_ignore_ascii_case(descriptor.label.trim()) || title == descriptor.template,
        // A control that is the whole record has no other text than its own.
        None => group.path.is_empty(),
    }
}

/// The record's own title.
fn title(properties: &Properties) -> Option<&str> {
    ["Product name", "Item name"].iter().find_map(|key| properties.get(*key)).and_then(Value::as_str)
}

/// The name of an event, and its id; a name is made once and then stays.
pub(crate) fn name_of(
    registry: &mut Registry,
    kind: EventType,
    page: &PageBlock,
    control: Option<(&Descriptor, &Resolved)>,
    properties: &Properties,
    coded: Option<&str>,
    now: Timestamp,
) -> u64 {
    let page_name = grammar::page(page);
    let owner = match (coded, control) {
        (Some(name), _) => hash(&["coded", name]),
        // One name for all items of a group, whatever their controls' identities are.
        (None, Some((_, resolved))) if resolved.is_item => {
            resolved.group.as_ref().map_or(resolved.element.0, |group| hash_numbers("item", &[group.id.0]))
        }
        (None, Some((_, resolved))) => resolved.element.0,
        (None, None) => hash(&["page", &page_name]),
    };
    // What varies within a type and makes another name: a metric, a media action.
    let variant =
        ["Metric", "Action"].iter().find_map(|key| properties.get(*key)).and_then(Value::as_str).unwrap_or("");
    let variant = if matches!(kind, EventType::WebVital | EventType::Media | EventType::Dialog) { variant } else { "" };
    let id = hash(&["name", kind.as_str(), &format!("{owner:016x}"), variant]);
    if registry.name(id).is_some() {
        return id;
    }
    let text = match (coded, control) {
        (Some(name), _) => name.to_owned(),
        (None, Some((descriptor, resolved))) => {
            let base = grammar::control(kind, descriptor, resolved, page, variant);
            grammar::unique(base, grammar::contexts(descriptor, page), |text| registry.is_taken(text, owner))
        }
        (None, None) => grammar::without_control(kind, &page_name, variant),
    };
    registry.add_name(id, owner, text, now);
    id
}
