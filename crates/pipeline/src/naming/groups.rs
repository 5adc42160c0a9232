//! Groups: elements that repeat get one identity and a name in the singular.

use convizit_model::{Descriptor, GroupId, GroupSketch, event};

use crate::naming::words;
use crate::registry::{self, Registry, hash};

/// Groups of a project at most; beyond it a group keeps the id of its exact key without being remembered.
const GROUPS: usize = 5_000;
/// Groups of a project that are compared by signature at most.
const COMPARED: usize = 400;
/// Share of equal hashes at which two signatures are those of one group.
const SAME: f64 = 0.7;

/// Finds or makes the group of a control.
pub(crate) fn resolve(registry: &mut Registry, descriptor: &Descriptor, learn: bool) -> Option<event::Group> {
    let sketch = descriptor.group.as_ref()?;
    if sketch.length < 2 || sketch.position == 0 {
        return None;
    }
    // Page numbers above and below a list are one group, whatever heads them and whichever is marked as the current one.
    let numbers = is_number(descriptor);
    let container = if numbers { "#".to_owned() } else { words::without_numbers(&sketch.container) };
    let member = if numbers { "" } else { sketch.member.as_str() };
    let signature: Vec<String> = sketch.signature.iter().map(u32::to_string).collect();
    let exact = hash(&["group", &container.to_lowercase(), member, &signature.join(",")]);
    let known = registry
        .group_keys
        .get(&exact)
        .copied()
        .or_else(|| registry.groups.contains_key(&exact).then_some(exact))
        .or_else(|| similar(registry, &container, member, sketch));
    let id = match known {
        Some(id) => id,
        None if learn && registry.groups.len() < GROUPS => {
            let name = name(descriptor, sketch, &container);
            let group = registry::Group {
                name,
                container: container.to_lowercase(),
                member: member.to_owned(),
                signature: sketch.signature.clone(),
                keys: Vec::new(),
            };
            registry.add_group(exact, group).0
        }
        None => exact,
    };
    if learn {
        registry.add_group_key(id, exact);
    }
    let name =
        registry.groups.get(&id).map_or_else(|| name(descriptor, sketch, &container), |group| group.name.clone());
    Some(event::Group { id: GroupId(id), name, position: sketch.position, length: sketch.length })
}

fn similar(registry: &Registry, container: &str, member: &str, sketch: &GroupSketch) -> Option<u64> {
    let container = container.to_lowercase();
    let mut best: Option<(f64, u64)> = None;
    for (id, group) in registry.groups.iter().take(COMPARED) {
        if group.container != container || group.member != member {
            continue;
        }
        let share = jaccard(&group.signature, &sketch.signature);
        // The smaller id wins a tie, so that the order of a map decides nothing.
        if share >= SAME && best.is_none_or(|(score, other)| share > score || (share >= score && *id < other)) {
            best = Some((share, *id));
        }
    }
    best.map(|(_, id)| id)
}

/// Whether the control is a number and nothing else, as those of a paginator are; days of a calendar stand in cells.
fn is_number(descriptor: &Descriptor) -> bool {
    let label = descriptor.label.trim();
    let cell = descriptor.path.contains(">td>") || descriptor.role == "gridcell";
    !label.is_empty() && label.chars().all(|c| c.is_ascii_digit()) && descriptor.role == "link" && !cell
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
    let member = words::readable(&sketch.member);
    let product =
        descriptor.properties.contains_key("Product price") || descriptor.properties.contains_key("Product name");
    let role = match descriptor.role.as_str() {
        "tab" => Some("Tab"),
        "option" => Some("Option"),
        "menuitem" => Some("Menu item"),
        "radio" => Some("Option"),
        _ => None,
    };
    let tag = |word: &str| {
        matches!(
            word,
            "li" | "div"
                | "tr"
                | "a"
                | "article"
                | "td"
                | "option"
                | "button"
                | "span"
                | "section"
                | "item"
                | "card"
                | "dt"
                | "dd"
                | "label"
                | "input"
                | "p"
                | "list item"
        )
    };
    if is_number(descriptor) {
        return "Page number".to_owned();
    }
    let member_low = member.to_lowercase();
    // A schema type is written with a capital: the site itself says what it repeats.
    if sketch.member.starts_with(char::is_uppercase) && !product {
        return words::sentence(&member);
    }
    if product && (tag(&member_low) || !member_low.contains(' ')) {
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
    if in_menu && tag(&member_low) {
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
    if !member.is_empty() && !tag(&member_low) {
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
