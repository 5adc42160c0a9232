//! Groups: elements that repeat get one identity and a name in the singular.

use convizit_model::{Descriptor, GroupId, GroupSketch, PageBlock, event};

use crate::naming::features::{is_hash, is_pressed, short, without_hash};
use crate::naming::identity::landmark;
use crate::naming::words;
use crate::registry::{self, Registry, hash};

/// Groups of a project at most; beyond it a group keeps the id of its exact key without being remembered.
const GROUPS: usize = 5_000;
/// Groups of a project that are compared by signature at most.
const COMPARED: usize = 400;
/// Share of equal hashes at which two signatures are those of one group.
const SAME: f64 = 0.7;
/// The share that suffices where all around the list is called and built as before: its items were rebuilt.
const AT_ITS_PLACE: f64 = 0.2;
/// The share that it takes where member or container are called otherwise.
const ALIKE: f64 = 0.9;

/// Finds or makes the group of a control: known by container, landmark, member and signature, or else the only one that is
/// alike enough. What its members are called by their classes, a build may change; how its container is called, a language does.
pub(crate) fn resolve(
    registry: &mut Registry,
    descriptor: &Descriptor,
    page: &PageBlock,
    learn: bool,
) -> Option<event::Group> {
    let language = page.language.as_str();
    let sketch = descriptor.group.as_ref()?;
    if sketch.length < 2 || sketch.position == 0 {
        return None;
    }
    // Page numbers above and below a list are one group, whatever heads them and whichever is marked as the current one.
    let numbers = is_number(descriptor);
    let container = if numbers { "#".to_owned() } else { words::without_numbers(&sketch.container) };
    // A build's own class says as little as a bare box, which is all that is left where that class is gone.
    let says_nothing = numbers || is_hash(&sketch.member) || matches!(sketch.member.as_str(), "div" | "span");
    let member = if says_nothing { "" } else { without_hash(&sketch.member) };
    let landmark = if numbers { "" } else { landmark(descriptor) };
    let seen = registry::Group {
        name: String::new(),
        container: container.to_lowercase(),
        member: member.to_owned(),
        landmark: landmark.to_owned(),
        place: hash(&["place", around(descriptor, sketch)]),
        language: language.split(['-', '_']).next().unwrap_or_default().to_lowercase(),
        page: page_of(&page.path),
        signature: sketch.signature.clone(),
        day: 0,
        keys: Vec::new(),
    };
    let signature: Vec<String> = sketch.signature.iter().map(u32::to_string).collect();
    let exact = hash(&["group", &seen.container, member, landmark, &signature.join(",")]);
    let known = registry
        .group_keys
        .get(&exact)
        .copied()
        .or_else(|| registry.groups.contains_key(&exact).then_some(exact))
        .or_else(|| if registry.may_join_groups() { similar(registry, &seen) } else { None });
    let id = match known {
        Some(id) => id,
        None if learn && registry.groups.len() < GROUPS => {
            registry.add_group(exact, registry::Group { name: name(descriptor, sketch, &container), ..seen }).0
        }
        None => exact,
    };
    if learn {
        registry.add_group_key(id, exact);
    }
    let name = registry.group_name(id).map_or_else(|| name(descriptor, sketch, &container), str::to_owned);
    Some(event::Group { id: GroupId(id), name, position: sketch.position, length: sketch.length })
}

/// The tags above the members.
fn around<'a>(descriptor: &'a Descriptor, sketch: &GroupSketch) -> &'a str {
    let member = descriptor.path.strip_suffix(sketch.path.as_str()).unwrap_or(&descriptor.path).trim_end_matches('>');
    member.rsplit_once('>').map_or("", |(around, _)| around)
}

/// A page's path, without the language that sites put first: `/de/search` is `/search`.
fn page_of(path: &str) -> u32 {
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let language =
        first.split(['-', '_']).all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_alphabetic()));
    short(if language { rest } else { path.trim_start_matches('/') })
}

/// The most alike group, unless two are equally so.
fn similar(registry: &Registry, seen: &registry::Group) -> Option<u64> {
    let translated = |group: &registry::Group| {
        !group.language.is_empty() && !seen.language.is_empty() && group.language != seen.language
    };
    let mut best: Option<(f64, u64)> = None;
    let mut tied = false;
    for (id, group) in registry.groups.iter().take(COMPARED) {
        let same_member = group.member == seen.member;
        // A tag says nothing against a class that is gone.
        let renamed = is_tag(&group.member) || is_tag(&seen.member);
        if group.landmark != seen.landmark
            || !(group.container == seen.container || translated(group))
            || !(same_member || renamed)
        {
            continue;
        }
        let share = jaccard(&group.signature, &seen.signature);
        let same_container = group.container == seen.container;
        let needed = match same_member && same_container {
            true if !seen.container.is_empty() && group.place == seen.place => {
                // A member that is a control and no more has nothing in common with itself as another tag.
                if group.signature.len().min(seen.signature.len()) < 2 { 0.0 } else { AT_ITS_PLACE }
            }
            true => SAME,
            false => ALIKE,
        };
        if share < needed {
            continue;
        }
        let share = share
            + if same_member { 1.0 } else { 0.0 }
            + if group.place == seen.place { 0.5 } else { 0.0 }
            // Of lists that are built alike and are called otherwise in another language.
            + if group.page == seen.page { 0.25 } else { 0.0 };
        match best {
            Some((score, _)) if score > share => {}
            Some((score, _)) if score >= share => tied = true,
            _ => (best, tied) = (Some((share, *id)), false),
        }
    }
    best.filter(|_| !tied).map(|(_, id)| id)
}

/// Whether the control is a number and nothing else, as those of a paginator are, its current page without a link included; days
/// of a calendar stand in cells.
fn is_number(descriptor: &Descriptor) -> bool {
    let is_marked = matches!(descriptor.tag.as_str(), "span" | "b" | "strong" | "em")
        && descriptor.group.as_ref().is_some_and(|sketch| sketch.path.is_empty());
    let cell = descriptor.path.contains(">td>") || descriptor.role == "gridcell";
    (is_pressed(descriptor) || is_marked) && !cell && is_whole_number(descriptor.label.trim())
}

/// `12`, `1,097`, `1 097`.
fn is_whole_number(text: &str) -> bool {
    let mut parts = text.split([',', '.', ' ', '\u{a0}', '\u{202f}', '\'', '’']);
    let first = parts.next().unwrap_or_default();
    let is_digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    is_digits(first) && parts.all(|part| part.len() == 3 && is_digits(part))
}

fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let both = a.iter().filter(|hash| b.contains(hash)).count();
    let all = a.len() + b.len() - both;
    if all == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 64 hashes each")]
    let share = both as f64 / all as f64;
    share
}

/// Group label, first that exists: schema type or readable member word, container in the singular, "List item".
fn name(descriptor: &Descriptor, sketch: &GroupSketch, container: &str) -> String {
    let member = if is_hash(&sketch.member) { String::new() } else { words::readable(without_hash(&sketch.member)) };
    let product =
        descriptor.properties.contains_key("Product price") || descriptor.properties.contains_key("Product name");
    let role = match descriptor.role.as_str() {
        "tab" => Some("Tab"),
        "option" => Some("Option"),
        "menuitem" => Some("Menu item"),
        "radio" => Some("Option"),
        _ => None,
    };
    if is_number(descriptor) {
        return "Page number".to_owned();
    }
    let member_low = member.to_lowercase();
    // A schema type is written with a capital: the site itself says what it repeats.
    if sketch.member.starts_with(char::is_uppercase) && !product {
        return words::sentence(&member);
    }
    if product && (is_tag(&member_low) || !member_low.contains(' ')) {
        return "Product card".to_owned();
    }
    if product {
        return member;
    }
    if let Some(role) = role
        && !container.is_empty()
    {
        return words::sentence(&format!("{} {}", words::singular(container), role.to_lowercase()));
    }
    let in_menu = descriptor.context.first().is_some_and(|entry| entry.kind == "nav");
    if in_menu && is_tag(&member_low) {
        return if container.is_empty() {
            "Menu item".to_owned()
        } else {
            words::sentence(&format!("{container} menu item"))
        };
    }
    if !container.is_empty() {
        let singular = words::singular(container);
        let one = singular != container || singular.to_lowercase().ends_with("item");
        return words::sentence(&if one { singular } else { format!("{container} item") });
    }
    if !member.is_empty() && !is_tag(&member_low) {
        return words::sentence(&member);
    }
    if let Some(role) = role {
        return role.to_owned();
    }
    match member_low.as_str() {
        "tr" | "td" => "Table row".to_owned(),
        "card" | "article" => "Card".to_owned(),
        _ => match descriptor.context.iter().find(|entry| matches!(entry.kind.as_str(), "nav" | "footer" | "header")) {
            Some(entry) if entry.kind == "nav" => "Menu item".to_owned(),
            Some(entry) => words::sentence(&format!("{} item", entry.kind)),
            None => "List item".to_owned(),
        },
    }
}

/// Whether a member is called by nothing but its tag, or by a word that says no more.
fn is_tag(word: &str) -> bool {
    const TAGS: [&str; 37] = [
        "",
        "a",
        "article",
        "button",
        "card",
        "dd",
        "details",
        "div",
        "dt",
        "fieldset",
        "figure",
        "form",
        "gridcell",
        "group",
        "img",
        "input",
        "item",
        "label",
        "li",
        "link",
        "list item",
        "listitem",
        "menuitem",
        "option",
        "p",
        "picture",
        "presentation",
        "radio",
        "row",
        "section",
        "span",
        "svg",
        "tab",
        "tbody",
        "td",
        "tr",
        "treeitem",
    ];
    TAGS.contains(&word)
}
