//! Names by the house grammar: an action is its own name, anything else is label and verb noun; sentence case, no numbers.

use convizit_model::{Descriptor, EventType, PageBlock};
use serde_json::Value;

use crate::naming::{Resolved, words};

/// Characters that a name should keep to.
const NAME: usize = 60;

/// The base name of an event on a control.
pub(crate) fn control(
    kind: EventType,
    descriptor: &Descriptor,
    resolved: &Resolved,
    page: &PageBlock,
    variant: &str,
) -> String {
    let label = label(kind, descriptor, resolved, page);
    let name = match kind {
        // Choosing one of a set: the set is named, the choice is a property.
        EventType::Click if resolved.is_item && is_choice(descriptor) => {
            let container = descriptor.group.as_ref().map(|group| words::without_numbers(&group.container));
            format!("{} select", container.filter(|name| !name.is_empty()).unwrap_or(label))
        }
        EventType::Click if words::is_action(&label) => label,
        EventType::Click if matches!(descriptor.role.as_str(), "tab" | "option") => format!("{label} select"),
        EventType::Submit => {
            let form = label.to_lowercase();
            if form.ends_with("form") { format!("{label} submit") } else { format!("{label} form submit") }
        }
        EventType::FormAbandon => {
            let form = label.to_lowercase();
            if form.ends_with("form") { format!("{label} abandon") } else { format!("{label} form abandon") }
        }
        EventType::Media if !variant.is_empty() => format!("{label} {}", variant.to_lowercase()),
        EventType::Dialog if !variant.is_empty() => format!("{label} {}", variant.to_lowercase()),
        other => format!("{label} {}", verb_noun(other)),
    };
    words::shorten(&words::sentence(&name), NAME)
}

/// Whether the control is one of a set of which one is chosen.
pub(crate) fn is_choice(descriptor: &Descriptor) -> bool {
    matches!(descriptor.role.as_str(), "radio" | "option" | "menuitemradio" | "tab")
}

/// The name of an event that has no control.
pub(crate) fn without_control(kind: EventType, page: &str, variant: &str) -> String {
    let name = match kind {
        EventType::PageView => format!("{page} page view"),
        EventType::PageLeave => format!("{page} page leave"),
        EventType::Copy => "Text copy".to_owned(),
        EventType::Print => "Page print".to_owned(),
        EventType::WebVital if !variant.is_empty() => format!("{variant} web vital"),
        EventType::WebVital => "Web vital".to_owned(),
        EventType::Identify => "Identify".to_owned(),
        other => format!("{page} page {}", verb_noun(other)),
    };
    words::shorten(&words::sentence(&name), NAME)
}

const fn verb_noun(kind: EventType) -> &'static str {
    match kind {
        EventType::PageView => "view",
        EventType::PageLeave => "leave",
        EventType::Click => "click",
        EventType::Change => "change",
        EventType::Submit => "submit",
        EventType::FormAbandon => "abandon",
        EventType::Copy => "copy",
        EventType::Print => "print",
        EventType::Download => "download",
        EventType::Media => "playback",
        EventType::Dialog => "dialog",
        EventType::RageClick => "rage click",
        EventType::DeadClick => "dead click",
        EventType::ErrorClick => "error click",
        EventType::WebVital => "web vital",
        EventType::Coded => "event",
        EventType::Identify => "identify",
    }
}

/// What the control is called: the group for an item, else its label without numbers and item texts, else what stands in for one.
fn label(kind: EventType, descriptor: &Descriptor, resolved: &Resolved, page: &PageBlock) -> String {
    if resolved.is_item
        && let Some(group) = &resolved.group
    {
        return group.name.clone();
    }
    let nameless = descriptor.label_source == "fallback" || !descriptor.label.chars().any(char::is_alphanumeric);
    if let Some(direction) = words::direction(descriptor).filter(|_| nameless) {
        return direction.to_owned();
    }
    let set = (kind == EventType::Change).then(|| super::set_name(descriptor)).flatten();
    let own = if descriptor.template.is_empty() { &descriptor.label } else { &descriptor.template };
    let template = set.as_ref().unwrap_or(own);
    let label = words::without_numbers(&without_item_texts(template, descriptor, page));
    if !resolved.varies && label.chars().any(char::is_alphanumeric) && label.chars().count() <= 80 {
        return words::shorten(&label, 48);
    }
    if let Some(group) = &resolved.group
        && descriptor.group.as_ref().is_some_and(|sketch| sketch.path.is_empty())
    {
        return group.name.clone();
    }
    let named = |key: &str| {
        descriptor.attributes.get(key).and_then(Value::as_str).map(words::readable).filter(|word| word.len() > 2)
    };
    if let Some(word) = ["icon", "data-testid", "name", "id"].iter().find_map(|key| named(key)) {
        return word;
    }
    let role = match (descriptor.role.as_str(), descriptor.tag.as_str(), kind) {
        (_, _, EventType::Submit | EventType::FormAbandon) => "form".to_owned(),
        ("", "", _) => "element".to_owned(),
        ("", tag, _) => words::readable(tag.split(':').next().unwrap_or(tag)),
        (role, _, _) => words::readable(role),
    };
    // A nameless control borrows the name of where it stands.
    match descriptor.context.iter().map(|entry| section_of(&entry.name, descriptor, page)).find(|name| !name.is_empty())
    {
        Some(section) if role == "form" => section,
        None if role == "form" => self::page(page),
        Some(section) => words::sentence(&format!("{section} {}", role.to_lowercase())),
        None => words::sentence(&role),
    }
}

/// "Add Trail shoe to cart" → "Add to cart": the item's own text is a property, never part of a name.
fn without_item_texts(label: &str, descriptor: &Descriptor, page: &PageBlock) -> String {
    let mut text = label.to_owned();
    for key in ["Product name", "Item name", "Brand"] {
        if let Some(item) = descriptor.properties.get(key).or_else(|| page.product.get(key)).and_then(Value::as_str)
            && item.len() > 2
            && text.len() > item.len()
            && let Some(at) = text.find(item)
        {
            // A title that was cut ends within a word: what is left of that is none.
            let rest = text.get(at + item.len()..).unwrap_or_default();
            let cut = if item.chars().count() > 20 {
                rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())
            } else {
                0
            };
            text.replace_range(at..at + item.len() + cut, " ");
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A section's name, unless it is the item's own text: a product's title heads its page and its card.
pub(crate) fn section_of(name: &str, descriptor: &Descriptor, page: &PageBlock) -> String {
    let own = ["Product name", "Item name"]
        .iter()
        .flat_map(|key| [descriptor.properties.get(*key), page.product.get(*key)])
        .flatten()
        .any(|text| text == name);
    // The title may be an early one, which a script completes later; the address has the item's words from the start.
    let slug = page.path.rsplit('/').find(|step| !step.is_empty()).map(|step| segment_words(step).to_lowercase());
    let heads_its_page = (page.path.contains(":id") || ends_in_item(page))
        && (page.title.starts_with(name) || slug.is_some_and(|slug| slug == name.to_lowercase()));
    if own || heads_its_page || name.is_empty() {
        return String::new();
    }
    words::shorten(&words::without_numbers(name), 30)
}

/// What may tell equal names apart, best first: section, landmark, kind of page.
pub(crate) fn contexts(descriptor: &Descriptor, page: &PageBlock) -> Vec<String> {
    let mut contexts: Vec<String> = descriptor
        .context
        .iter()
        .filter(|entry| !matches!(entry.kind.as_str(), "nav" | "header" | "footer" | "main" | "aside"))
        .map(|entry| section_of(&entry.name, descriptor, page))
        .filter(|name| !name.is_empty())
        .map(|name| format!(" in {name}"))
        .collect();
    contexts.extend(descriptor.context.iter().filter_map(|entry| {
        let landmark = match entry.kind.as_str() {
            "nav" => "navigation",
            "header" => "header",
            "footer" => "footer",
            "aside" => "sidebar",
            "dialog" => "dialog",
            "search" => "search",
            _ => return None,
        };
        Some(format!(" in {landmark}"))
    }));
    // At most 39 characters, so that 20 of the base name are left.
    contexts.push(format!(" on {} page", words::shorten(&lower_first(&self::page(page)), 30)));
    contexts
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// The base name, or the base name with the first context that makes it unique; where none does, the name is shared.
pub(crate) fn unique(base: String, contexts: Vec<String>, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&base) {
        return base;
    }
    contexts
        .into_iter()
        .map(|context| words::shorten(&base, NAME.saturating_sub(context.chars().count()).max(20)) + &context)
        .find(|name| !taken(name))
        .unwrap_or(base)
}

/// What kind of page it is: its schema type, else the last word of its path that is not an id.
pub(crate) fn page(page: &PageBlock) -> String {
    let kind = page.kind.rsplit(['/', '.', ':']).next().unwrap_or_default();
    if !kind.is_empty()
        && !matches!(kind.to_ascii_lowercase().as_str(), "website" | "webpage" | "object" | "page" | "organization")
    {
        return words::shorten(&words::readable(kind), 40);
    }
    let mut segments: Vec<&str> = page.path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.is_empty() {
        return "Home".to_owned();
    }
    let ends_in_item = ends_in_item(page);
    if ends_in_item {
        segments.pop();
    }
    segments.retain(|segment| *segment != ":id");
    let word = segments.iter().rev().map(|segment| segment_words(segment));
    let word = word.into_iter().find(|word| word.chars().count() > 1).unwrap_or_default();
    match (word.as_str(), ends_in_item) {
        ("", true) => "Detail".to_owned(),
        ("Index", _) => "Home".to_owned(),
        // `/a`, `/b`: no words to call it by.
        ("", false) => "Other".to_owned(),
        (_, true) => words::shorten(&format!("{} detail", words::singular(&word)), 40),
        _ => words::shorten(&word, 40),
    }
}

/// Whether the last step of the path is one of many: an id; whatever stands below a shortened or an item's step (`/p/boots`,
/// `/products/boots`); or below another step the words with which the title begins (`/shoes/trail-shoe`, "Trail shoe · Shop").
/// One word alone is more often a section (`/app/shoes`).
fn ends_in_item(page: &PageBlock) -> bool {
    let mut segments = page.path.split('/').filter(|segment| !segment.is_empty()).rev();
    let Some(last) = segments.next() else { return false };
    if last == ":id" {
        return true;
    }
    let Some(above) = segments.next() else { return false };
    if matches!(above, "p" | "dp" | "i" | "d" | "product" | "products" | "item" | "items") {
        return true;
    }
    let slug = segment_words(last).to_lowercase();
    slug.contains(' ') && page.title.to_lowercase().starts_with(&slug)
}

/// The words of a path's step, without a file's extension.
fn segment_words(segment: &str) -> String {
    let stem = segment.rsplit_once('.').filter(|(_, extension)| extension.len() <= 5).map_or(segment, |(stem, _)| stem);
    let word = words::readable(stem);
    // `catalog1`: the word without its number.
    if word.is_empty() { words::readable(stem.trim_end_matches(|c: char| c.is_ascii_digit())) } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_name(path: &str, title: &str, kind: &str) -> String {
        page(&PageBlock {
            path: path.to_owned(),
            title: title.to_owned(),
            kind: kind.to_owned(),
            ..PageBlock::default()
        })
    }

    #[test]
    fn an_items_title_is_no_section_before_the_page_says_that_it_is_an_item() {
        let page = |path: &str, title: &str| PageBlock {
            path: path.to_owned(),
            title: title.to_owned(),
            ..PageBlock::default()
        };
        let section = |page: &PageBlock| section_of("Trail shoe", &Descriptor::default(), page);
        // A script completes the title later than the first event.
        assert_eq!(section(&page("/p/trail-shoe", "Product · Shop")), "");
        assert_eq!(section(&page("/p/17", "Trail shoe · Shop")), "");
        assert_eq!(section(&page("/shoes", "Trail shoe and others · Shop")), "Trail shoe");
    }

    #[test]
    fn a_page_is_called_by_what_it_is_and_never_by_its_item() {
        for (path, title, kind, expected) in [
            ("/p/trail-shoe", "Trail shoe · Shop", "Product", "Product"),
            ("/p/trail-shoe", "Loading…", "", "Detail"),
            ("/products/boots", "", "", "Product detail"),
            ("/shoes/trail-shoe.html", "Trail Shoe", "website", "Shoe detail"),
            ("/orders/:id", "Order", "", "Order detail"),
            ("/app/shoes", "Shoes · Shop", "", "Shoes"),
            ("/about-us", "About us", "", "About us"),
            ("/help", "Help", "", "Help"),
            ("/", "Shop", "", "Home"),
            ("/index.html", "Shop", "", "Home"),
            ("/a/b", "Shop", "", "Other"),
            ("/catalog1", "Shop", "", "Catalog"),
        ] {
            assert_eq!(page_name(path, title, kind), expected, "{path}");
        }
    }
}
