//! From a descriptor to an identity, a group and a human name.

mod evidence;
mod features;
mod grammar;
mod groups;
mod identity;
mod one;
mod role;
mod template;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use evidence::{Rarity, probability};
pub(crate) use features::{Features, short};
pub(crate) use grammar::is_choice;
pub(crate) use identity::{Keys, Likeness, likeness};
pub use one::{Candidate, NameOptions, NamedDescriptor, name_descriptor};
pub(crate) use role::complete;
pub(crate) use template::template_of;

use convizit_model::{Descriptor, ElementId, EventType, Fate, GroupId, PageBlock, Properties, Timestamp, event};
use serde_json::Value;

use crate::registry::{Registry, hash, item_owner};

/// Buttons beside each other at most that are no list.
const FEW_BUTTONS: u32 = 12;

/// What the registry says of a control.
pub(crate) struct Resolved {
    pub(crate) element: ElementId,
    pub(crate) group: Option<event::Group>,
    /// Whether the control is the group's item itself, so that its label is the item's own text.
    pub(crate) is_item: bool,
    /// Whether its place says something new each time, so that its label is a property and no part of a name.
    pub(crate) varies: bool,
    /// Whether it says something else than others see there.
    pub(crate) is_variant: bool,
    /// The element that it is before all decisions.
    own: ElementId,
}

/// A page as it is and as its template: `/blog/how-to-lace` and `/blog/:id`. Identities never depend on the template, since it
/// is learned later than they are.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'a> {
    pub(crate) own: &'a PageBlock,
    pub(crate) template: &'a PageBlock,
}

/// Finds or makes the identities of a control and its group; learns nothing without a time.
pub(crate) fn resolve(
    registry: &mut Registry,
    descriptor: &Descriptor,
    pages: Pages<'_>,
    learning: Option<Timestamp>,
) -> Resolved {
    let group = groups::resolve(registry, descriptor, pages.own, learning.is_some());
    let is_item = is_item(descriptor);
    let id = group.as_ref().map(|group| group.id);
    if let (Some(id), Some(now)) = (id, learning) {
        registry.saw_group(id.0, now.day());
    }
    let identity = identity::resolve(registry, descriptor, pages, id, is_item, learning);
    // Where people made two groups one, that one is the event's.
    let group = group.map(|group| match registry.canonical_group(group.id.0) {
        into if into == group.id.0 => group,
        into => event::Group {
            id: GroupId(into),
            name: registry.group_name(into).map_or(group.name, str::to_owned),
            ..group
        },
    });
    let identity::Identity { element, own, varies, is_variant } = identity;
    Resolved { element, group, is_item, varies, is_variant, own }
}

/// Whether the control's label is the text of its record: a card's link, a menu item, a page link. A label that holds the
/// record's title and says what happens beside it ("Add Trail shoe to cart") is the control's own.
fn is_item(descriptor: &Descriptor) -> bool {
    let Some(group) = &descriptor.group else { return false };
    let label = descriptor.label.trim();
    if label.is_empty() {
        return false;
    }
    if words::direction(descriptor).is_some() {
        return false;
    }
    let Some(title) = title(&descriptor.properties) else {
        // A control that is the whole record has no other text than its own; but neighbouring buttons that do something, or that
        // their author told apart, are no list.
        return group.path.is_empty() && !is_own_button(descriptor);
    };
    if title.eq_ignore_ascii_case(label) || title == descriptor.template {
        return !is_own_button(descriptor);
    }
    match label.find(title) {
        Some(at) if title.chars().count() > 2 => {
            let (before, after) =
                (label.get(..at).unwrap_or_default(), label.get(at + title.len()..).unwrap_or_default());
            let beside = words::without_numbers(&format!("{before} {after}"));
            (at == 0 || matches!(descriptor.role.as_str(), "link" | "")) && !words::is_action(&beside)
        }
        // So much text is that of a whole card.
        _ => descriptor.role == "link" && label.split_whitespace().count() > 8,
    }
}

/// "Save", "Print", "Delete" side by side: buttons of their own, by what they say or because their author calls them so
/// (`data-testid="account-menu"` on "Account").
pub(crate) fn is_own_button(descriptor: &Descriptor) -> bool {
    let Some(group) = descriptor.group.as_ref().filter(|group| group.path.is_empty()) else { return false };
    let label = descriptor.label.to_lowercase();
    // Whole words: "and" is no part of "Jörmungandr".
    let said: Vec<&str> = label.split(|c: char| !c.is_alphanumeric()).collect();
    let author = || {
        ["data-testid", "data-qa", "data-cy", "data-test", "id"].iter().any(|key| {
            let value = descriptor.attributes.get(*key).and_then(Value::as_str).unwrap_or_default();
            let words = words::readable(value).to_lowercase();
            words.split(' ').any(|word| word.chars().count() > 2 && said.contains(&word))
        })
    };
    descriptor.role == "button" && group.length <= FEW_BUTTONS && (words::is_action(&descriptor.label) || author())
}

/// What a radio button is one of: it is the set that changes, and its option is a property.
fn set_name(descriptor: &Descriptor) -> Option<String> {
    let radio = descriptor.tag == "input:radio" || descriptor.role == "radio";
    let set = || descriptor.context.iter().find(|entry| entry.kind == "fieldset" && !entry.name.is_empty());
    let name = || descriptor.attributes.get("name").and_then(Value::as_str).map(words::readable);
    radio.then(|| set().map(|entry| entry.name.clone()).or_else(name)).flatten().filter(|name| !name.is_empty())
}

/// The record's own title.
fn title(properties: &Properties) -> Option<&str> {
    ["Product name", "Item name"].iter().find_map(|key| properties.get(*key)).and_then(Value::as_str)
}

/// The id of the name of a page's own view.
pub(crate) fn page_view(page: &PageBlock) -> u64 {
    name_id(EventType::PageView, hash(&["page", &grammar::page(page)]), "")
}

/// The id of a name: of a type of event on what owns it, and of what varies within the type.
pub(crate) fn name_id(kind: EventType, owner: u64, variant: &str) -> u64 {
    hash(&["name", kind.as_str(), &format!("{owner:016x}"), variant])
}

/// Which name an event has, whether it was made before or not.
pub(crate) struct Naming {
    pub(crate) id: u64,
    owner: u64,
    pub(crate) text: String,
}

/// The name of an event, and its id; a name is made once and then stays, as long as there is room for it.
pub(crate) fn name_of(
    registry: &mut Registry,
    kind: EventType,
    page: &PageBlock,
    control: Option<(&Descriptor, &Resolved)>,
    properties: &Properties,
    coded: Option<&str>,
    now: Timestamp,
) -> Naming {
    let naming = find_name(registry, kind, page, control, properties, coded);
    let fate = control.and_then(|(descriptor, _)| descriptor.fate);
    if registry.name(naming.id).is_none() {
        if registry.has_room_for_names() {
            registry.add_name(naming.id, naming.owner, &naming.text, now);
            if fate == Some(Fate::Waits) {
                registry.await_text(naming.id);
            }
        }
    } else if fate == Some(Fate::Released) && registry.awaits_text(naming.id) {
        registry.give_text(naming.id, &naming.text);
    }
    naming
}

/// Which name an event has, or would have.
pub(crate) fn find_name(
    registry: &Registry,
    kind: EventType,
    page: &PageBlock,
    control: Option<(&Descriptor, &Resolved)>,
    properties: &Properties,
    coded: Option<&str>,
) -> Naming {
    let page_name = || grammar::page(page);
    let owner = match (coded, control) {
        (Some(name), _) => hash(&["coded", name]),
        // One name for all items of a group, whatever their controls' identities are.
        (None, Some((_, resolved))) if resolved.is_item => {
            resolved.group.as_ref().map_or(resolved.element.0, |group| item_owner(group.id.0))
        }
        (None, Some((_, resolved))) => resolved.element.0,
        // These are called the same on every page.
        (None, None)
            if matches!(kind, EventType::WebVital | EventType::Copy | EventType::Print | EventType::Identify) =>
        {
            hash(&["site"])
        }
        (None, None) => hash(&["page", &page_name()]),
    };
    // What varies within a type and makes another name: a metric, a media action.
    let variant =
        ["Metric", "Action"].iter().find_map(|key| properties.get(*key)).and_then(Value::as_str).unwrap_or("");
    let variant = if matches!(kind, EventType::WebVital | EventType::Media | EventType::Dialog) { variant } else { "" };
    let id = name_id(kind, owner, variant);
    let comes = control.is_some_and(|(descriptor, _)| descriptor.fate == Some(Fate::Released));
    if let Some(name) = registry.name(id).filter(|_| !(comes && registry.awaits_text(id))) {
        return Naming { id, owner, text: name.to_owned() };
    }
    let text = match (coded, control) {
        (Some(name), _) => name.to_owned(),
        (None, Some((descriptor, resolved))) => {
            // What is part of another control is called as that one is.
            let is_part = resolved.own != resolved.element && !resolved.is_item;
            let part = registry.first_label(resolved.element.0).filter(|_| is_part).map(|said| Descriptor {
                label: said.to_owned(),
                template: said.to_owned(),
                ..(*descriptor).clone()
            });
            let descriptor = part.as_ref().unwrap_or(descriptor);
            let base = grammar::control(kind, descriptor, resolved, page, variant);
            grammar::unique(base, grammar::contexts(descriptor, page), |text| registry.is_taken(text, owner))
        }
        (None, None) => grammar::without_control(kind, &page_name(), variant),
    };
    Naming { id, owner, text }
}
