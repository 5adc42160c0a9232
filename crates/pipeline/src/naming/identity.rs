//! Which control is it? Exact keys first, then a weighted score with threshold and margin: a wrong merge is worse than a split.

use convizit_model::{Descriptor, ElementId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::naming::words;
use crate::registry::{ELEMENTS, Registry, hash};

/// A match needs this score …
const THRESHOLD: f64 = 0.80;
/// … and this distance to the second best (start values of the naming reference, section 5).
const MARGIN: f64 = 0.08;
/// Elements that are scored for one unknown control at most, newest first.
const SCORED: usize = 300;

/// What a control is recognised by, hashed where only equality counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Features {
    /// `role tag`.
    kind: u64,
    label: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    words: Vec<u32>,
    name: u64,
    author: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<u32>,
    href: u64,
    path: Vec<u32>,
    landmark: u64,
    section: u64,
    group: u64,
    icon: u64,
}

fn text_hash(purpose: &str, text: &str) -> u64 {
    if text.is_empty() { 0 } else { hash(&[purpose, text]).max(1) }
}

fn word_hash(text: &str) -> u32 {
    // Folded: within one element's few words 32 bits do not collide.
    u32::try_from(hash(&["word", text]) >> 32).unwrap_or(0)
}

/// Whether a build or a database made this text: three digits in a row, or letters and digits mixed without vowels.
fn is_generated(text: &str) -> bool {
    let mut run = 0;
    for c in text.chars() {
        run = if c.is_ascii_digit() { run + 1 } else { 0 };
        if run >= 3 {
            return true;
        }
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let vowels = text.chars().filter(|c| "aeiouyAEIOUY".contains(*c)).count();
    let letters = text.chars().filter(char::is_ascii_alphabetic).count();
    text.contains(':') || (digits > 0 && letters >= 4 && vowels * 6 <= letters * 2 && digits * 2 >= vowels.max(1))
}

impl Features {
    pub(crate) fn of(descriptor: &Descriptor, group: Option<convizit_model::GroupId>, is_item: bool) -> Self {
        let attribute = |key: &str| descriptor.attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        let stable = |text: &'static str| Some(attribute(text)).filter(|text| !text.is_empty() && !is_generated(text));
        let label = if is_item || descriptor.label_source == "fallback" {
            String::new()
        } else {
            let template = if descriptor.template.is_empty() { &descriptor.label } else { &descriptor.template };
            let title = ["Product name", "Item name"]
                .iter()
                .find_map(|key| descriptor.properties.get(*key))
                .and_then(Value::as_str);
            let text = title
                .filter(|title| title.len() > 2)
                .map_or_else(|| template.clone(), |title| template.replace(title, " "));
            words::without_numbers(&text).to_lowercase()
        };
        let author = ["data-testid", "data-qa", "data-cy", "data-test", "id", "itemprop"]
            .iter()
            .find_map(|key| stable(key).map(|value| text_hash(key, value)))
            .unwrap_or(0);
        let landmark = descriptor.context.iter().find(|entry| {
            matches!(entry.kind.as_str(), "nav" | "header" | "footer" | "main" | "aside" | "dialog" | "search")
        });
        let section =
            descriptor.context.iter().map(|entry| words::without_numbers(&entry.name)).find(|name| !name.is_empty());
        // A section that is the record's own title says nothing about the control.
        let section = section.filter(|_| group.is_none()).unwrap_or_default();
        let href = if is_item { String::new() } else { crate::scrub::template(attribute("href"), &[]) };
        let mut classes: Vec<u32> =
            attribute("class").split_whitespace().filter(|class| !is_generated(class)).map(word_hash).collect();
        classes.sort_unstable();
        classes.truncate(8);
        let steps = descriptor.path.split('>').rev().take(8).map(|step| word_hash(step.trim()));
        Self {
            kind: hash(&["kind", &descriptor.role, &descriptor.tag]),
            words: label.split(' ').filter(|word| !word.is_empty()).take(8).map(word_hash).collect(),
            label: text_hash("label", &label),
            name: stable("name").map_or(0, |name| text_hash("name", name)),
            author,
            classes,
            href: text_hash("href", &href),
            path: steps.collect(),
            landmark: landmark.map_or(0, |entry| text_hash("landmark", &entry.kind)),
            section: text_hash("section", &section.to_lowercase()),
            group: group.map_or(0, |group| {
                hash(&[
                    "in group",
                    &group.to_string(),
                    descriptor.group.as_ref().map_or("", |sketch| sketch.path.as_str()),
                    if is_item { "item" } else { "" },
                ])
            }),
            icon: text_hash("icon", attribute("icon")),
        }
    }

    /// K1 (author's own id), K2 (semantic), K3 (language-free), strongest first.
    fn keys(&self) -> Vec<u64> {
        use crate::registry::hash_numbers;
        let mut keys = Vec::with_capacity(3);
        if self.author != 0 && self.group == 0 {
            keys.push(hash_numbers("k1", &[self.kind, self.author, self.name]));
        }
        if self.label != 0 || self.group != 0 {
            keys.push(hash_numbers("k2", &[self.kind, self.label, self.name, self.landmark, self.section, self.group]));
        }
        // Without text only a control that has something of its own is told from its neighbours.
        if self.label == 0 && self.group == 0 {
            let path: Vec<u64> = self.path.iter().map(|step| u64::from(*step)).collect();
            let own =
                [self.kind, self.name, self.href, self.landmark, self.section, self.icon, hash_numbers("path", &path)];
            keys.push(hash_numbers("k3", &own));
        }
        keys
    }

    /// Weighted mean over the fields that both sides have; a field of one side only counts 0.4 of its weight against.
    pub(crate) fn score(&self, other: &Self) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        let mut field = |weight: f64, a: bool, b: bool, similarity: f64| match (a, b) {
            (true, true) => {
                sum += weight * similarity;
                weights += weight;
            }
            (false, false) => {}
            _ => weights += 0.4 * weight,
        };
        let same = |equal: bool| if equal { 1.0 } else { 0.0 };
        let label = if self.label == other.label { 1.0 } else { 0.9 * overlap(&self.words, &other.words) };
        field(2.5, self.label != 0, other.label != 0, label);
        field(1.5, self.name != 0, other.name != 0, same(self.name == other.name));
        field(1.5, self.author != 0, other.author != 0, same(self.author == other.author));
        field(1.25, !self.classes.is_empty(), !other.classes.is_empty(), overlap(&self.classes, &other.classes));
        field(1.0, self.href != 0, other.href != 0, same(self.href == other.href));
        field(1.5, true, true, same(self.kind == other.kind));
        field(1.0, !self.path.is_empty(), !other.path.is_empty(), suffix(&self.path, &other.path));
        field(0.5, self.landmark != 0, other.landmark != 0, same(self.landmark == other.landmark));
        field(1.5, self.section != 0, other.section != 0, same(self.section == other.section));
        field(0.5, self.icon != 0, other.icon != 0, same(self.icon == other.icon));
        if weights == 0.0 || self.group != other.group {
            // Another group, or another place in it, is another control.
            return 0.0;
        }
        sum / weights
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most a dozen words each")]
    let share = part as f64 / whole as f64;
    share
}

fn overlap(a: &[u32], b: &[u32]) -> f64 {
    let both = a.iter().filter(|word| b.contains(word)).count();
    ratio(both, a.len() + b.len() - both)
}

/// Paths are kept from the control outwards.
fn suffix(a: &[u32], b: &[u32]) -> f64 {
    let both = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    ratio(both, a.len().max(b.len()))
}

/// Finds or makes the identity of a control.
pub(crate) fn resolve(registry: &mut Registry, features: Features, learn: bool) -> ElementId {
    let keys = features.keys();
    let exact = keys.iter().find_map(|key| registry.keys.get(key).copied());
    let id = exact.or_else(|| best(registry, &features).map(|(id, _)| id));
    match id {
        Some(id) => {
            if learn {
                registry.add_keys(id, &keys);
            }
            ElementId(id)
        }
        None if learn && registry.elements.len() < ELEMENTS => registry.add_element(keys, features),
        // Not remembered: the same control gets the same id from its own key.
        None => ElementId(crate::registry::hash_numbers("element", &keys)),
    }
}

fn best(registry: &Registry, features: &Features) -> Option<(u64, f64)> {
    let ranked = rank(registry, features);
    let (id, score) = *ranked.first()?;
    let second = ranked.get(1).map_or(0.0, |(_, score)| *score);
    (score >= THRESHOLD && score - second >= MARGIN).then_some((id, score))
}

/// Elements by score, best first.
pub(crate) fn rank(registry: &Registry, features: &Features) -> Vec<(u64, f64)> {
    let mut ranked: Vec<(u64, f64)> = registry
        .order
        .iter()
        .rev()
        .take(SCORED)
        .filter_map(|id| registry.elements.get(id).map(|element| (*id, features.score(&element.features))))
        .filter(|(_, score)| *score > 0.0)
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked
}
