//! Which control is it? Exact keys first, then the evidence, with threshold and margin: a wrong merge is worse than a split.

use convizit_model::{Descriptor, ElementId, GroupId, PageBlock};
use serde_json::Value;

use crate::naming::evidence;
use crate::naming::features::{Features, is_generated, key_label};
use crate::naming::grammar::section_of;
use crate::registry::{ELEMENTS, Registry, hash, hash_numbers};

/// Log-odds that a match needs (a probability of .88), …
const THRESHOLD: f64 = 2.0;
/// … and by how much the second best must be behind.
const MARGIN: f64 = 0.5;
/// Elements that are compared with one unknown control at most.
const COMPARED: usize = 64;

/// By what a control is found without comparing, strongest first.
pub(crate) struct Keys {
    /// K1 and K2: the author's own id; role, label, surroundings and group.
    pub(crate) exact: Vec<u64>,
    /// K3, free of language: role, address, stable attributes, landmark, path; 0 where a control has nothing of its own,
    /// since without text it would not be told from its neighbours.
    pub(crate) structure: u64,
    /// The place alone: role, tag, landmark, path and group.
    pub(crate) family: u64,
}

impl Keys {
    fn of(descriptor: &Descriptor, section: &str, group: Option<GroupId>, is_item: bool) -> Self {
        let attribute = |key: &str| descriptor.attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        let stable = |key: &'static str| Some(attribute(key)).filter(|text| !text.is_empty() && !is_generated(text));
        let text = |purpose: &str, text: &str| if text.is_empty() { 0 } else { hash(&[purpose, text]).max(1) };
        let label = if is_item { 0 } else { text("label", &key_label(descriptor)) };
        let kind = hash(&["kind", &descriptor.role, &descriptor.tag]);
        let name = stable("name").map_or(0, |name| text("name", name));
        // In a record an id is numbered on: `buy-1`, `buy-2` are one button.
        let own = |value: &str| {
            if group.is_some() {
                value.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
            } else {
                value.to_owned()
            }
        };
        let author = ["data-testid", "data-qa", "data-cy", "data-test", "id", "itemprop"]
            .iter()
            .find_map(|key| stable(key).map(|value| text(key, &own(value))))
            .unwrap_or(0);
        let landmark = descriptor.context.iter().find(|entry| {
            matches!(entry.kind.as_str(), "nav" | "header" | "footer" | "main" | "aside" | "dialog" | "search")
        });
        let landmark = landmark.map_or(0, |entry| text("landmark", &entry.kind));
        // In a record the nearest heading is the record's own title, which says nothing about the control.
        let section = if group.is_none() { text("section", &section.to_lowercase()) } else { 0 };
        let href = if is_item { String::new() } else { crate::scrub::template(attribute("href"), &[]) };
        let href = if href.starts_with("javascript") { 0 } else { text("href", &href) };
        let icon = text("icon", attribute("icon"));
        let group = group.map_or(0, |group| {
            let path = descriptor.group.as_ref().map_or("", |sketch| sketch.path.as_str());
            hash(&["in group", &group.to_string(), path, if is_item { "item" } else { "" }])
        });
        let path = text("path", &descriptor.path);
        let mut exact = Vec::with_capacity(3);
        if author != 0 {
            exact.push(hash_numbers("k1", &[kind, author, name]));
        }
        if label != 0 || group != 0 {
            exact.push(hash_numbers("k2", &[kind, label, name, landmark, section, group]));
        } else {
            exact.push(hash_numbers("k3", &[kind, name, href, landmark, section, icon, path]));
        }
        let own = !is_item && (name != 0 || href != 0 || icon != 0);
        let structure = [kind, author, name, href, landmark, icon, group, path];
        Self {
            exact,
            structure: if own { hash_numbers("structure", &structure) } else { 0 },
            family: hash_numbers("family", &[kind, landmark, group, path]),
        }
    }
}

/// What the nearest section that has a name is called, without numbers; the title of the page's own item is no section's name,
/// or each product's page would have buttons of its own.
pub(crate) fn section(descriptor: &Descriptor, page: &PageBlock) -> String {
    let names = descriptor.context.iter().map(|entry| section_of(&entry.name, descriptor, page));
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

/// Finds or makes the identity of a control; true where its place has so many that it shares one.
pub(crate) fn resolve(
    registry: &mut Registry,
    descriptor: &Descriptor,
    page: &PageBlock,
    group: Option<GroupId>,
    is_item: bool,
    learn: bool,
) -> (ElementId, bool) {
    let section = section(descriptor, page);
    let keys = Keys::of(descriptor, &section, group, is_item);
    if let Some(id) = keys.exact.iter().find_map(|key| registry.keys.get(key).copied()) {
        if learn {
            registry.add_keys(id, &keys.exact);
        }
        return (ElementId(id), false);
    }
    if registry.is_endless(keys.family) {
        if learn {
            registry.fold();
        }
        return (ElementId(hash_numbers("endless", &[keys.family])), true);
    }
    let features = Features::of(descriptor, &section, &page.language);
    let known = translated(registry, &keys, &features).or_else(|| best(registry, &features));
    let id = match known {
        Some(id) => {
            if learn {
                registry.add_keys(id, &keys.exact);
            }
            ElementId(id)
        }
        None if learn && registry.elements.len() < ELEMENTS => registry.add_element(keys, features),
        // Not remembered: the same control gets the same id from its own keys.
        None => ElementId(hash_numbers("element", &keys.exact)),
    };
    (id, false)
}

/// The one element of this structure, where the page speaks another language than when it was first seen.
fn translated(registry: &Registry, keys: &Keys, features: &Features) -> Option<u64> {
    let id = *registry.structures.get(&keys.structure).filter(|id| **id != 0)?;
    let first = &registry.elements.get(&id)?.features;
    (first.language != 0 && features.language != 0 && first.language != features.language).then_some(id)
}

fn best(registry: &mut Registry, features: &Features) -> Option<u64> {
    let candidates = registry.candidates(features, COMPARED);
    let mut ranked: Vec<(u64, f64)> = candidates
        .into_iter()
        .filter_map(|id| registry.elements.get(&id).map(|element| (id, &element.features)))
        .filter(|(_, known)| !contradict(features, known))
        .map(|(id, known)| (id, evidence::log_odds(features, known, &*registry)))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let (id, odds) = *ranked.first()?;
    let second = ranked.get(1).map_or(f64::MIN, |(_, odds)| *odds);
    (odds >= THRESHOLD && odds - second >= MARGIN).then_some(id)
}

/// Likeness of two labels from which on they are one label, reworded.
const REWORDED: f64 = 0.75;

/// Whether nothing can make these one control: they stand in sections that are called differently ("Learn more" in Pricing is
/// not that in Features), or they say something else and nothing of their own ties them ("Save" is not "Save as draft").
fn contradict(a: &Features, b: &Features) -> bool {
    if a.language != b.language && a.language != 0 && b.language != 0 {
        return false;
    }
    let named = a.section != 0 && b.section != 0;
    if named && !a.section_words.iter().any(|word| b.section_words.contains(word)) {
        return true;
    }
    let other_words = a.label != b.label && evidence::dice(&a.letters, &b.letters) < REWORDED;
    let tied = (a.name != 0 && a.name == b.name)
        || (a.id != 0 && a.id == b.id)
        || (!a.segments.is_empty() && a.segments == b.segments)
        || a.data.iter().any(|value| b.data.contains(value));
    other_words && !tied
}

/// What `--known` registered, line for line, by how likely each is this control; best first.
pub(crate) fn rank(registry: &mut Registry, features: &Features) -> Vec<(String, u64, f64)> {
    registry.index();
    let mut ranked: Vec<(String, u64, f64)> = registry
        .lines
        .iter()
        .map(|line| {
            let odds = evidence::log_odds(features, &line.features, &*registry);
            (line.id.clone(), line.element, evidence::probability(odds))
        })
        .collect();
    ranked.sort_by(|a, b| b.2.total_cmp(&a.2));
    ranked
}
