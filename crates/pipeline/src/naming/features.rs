//! What a control is recognised by: hashes of its texts, attributes and surroundings, where only equality and overlap count.

use convizit_model::{Descriptor, GroupSketch};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::naming::words;
use crate::registry::hash;

/// Words, steps and attributes of one kind that are kept at most.
const MOST: usize = 24;
/// Characters of a label that are compared.
const LABEL: usize = 80;

/// Everything that two descriptions are compared by. Lists that stand for sets are sorted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Features {
    pub(crate) tag: u32,
    /// The label's words, in order, as one.
    pub(crate) label: u32,
    /// Three letters at a time of the label, repeats kept.
    pub(crate) letters: Vec<u16>,
    pub(crate) name: u32,
    pub(crate) name_words: Vec<u32>,
    pub(crate) id: u32,
    pub(crate) id_words: Vec<u32>,
    pub(crate) classes: Vec<u32>,
    pub(crate) host: u32,
    pub(crate) segments: Vec<u32>,
    /// Title, placeholder, value, whole: what is a label elsewhere.
    pub(crate) titles: Vec<u32>,
    /// The words of all that was said of it, wherever it stood.
    pub(crate) words: Vec<u32>,
    pub(crate) data: Vec<(u32, u32)>,
    pub(crate) icon: u32,
    /// Kinds of its surroundings, inner to outer.
    pub(crate) kinds: Vec<u32>,
    pub(crate) section: u32,
    pub(crate) section_words: Vec<u32>,
    /// The landmark that holds it, by path or by surroundings.
    pub(crate) landmark: u32,
    pub(crate) in_form: bool,
    /// Tags from the control outwards.
    pub(crate) path: Vec<u32>,
    pub(crate) group: Option<Place>,
    pub(crate) language: u32,
}

/// A control's place in the group around it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    pub(crate) position: u32,
    pub(crate) path: u32,
    pub(crate) signature: Vec<u32>,
}

/// 32 bits suffice where a few hundred things are told apart; 0 stands for nothing.
pub(crate) fn short(text: &str) -> u32 {
    if text.is_empty() { 0 } else { u32::try_from(hash(&["feature", text]) >> 32).unwrap_or(0).max(1) }
}

/// Whether a build or a database made this text: three digits in a row, a colon, or letters and digits mixed without vowels.
pub(crate) fn is_generated(text: &str) -> bool {
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

/// A class word without the hash that CSS modules add: `Card_title__x9f` → `Card_title`. `card__title` is no hash.
pub(crate) fn without_hash(class: &str) -> &str {
    match class.rsplit_once("__") {
        Some((name, tail)) if !name.is_empty() && (is_generated(tail) || is_hash(tail)) => name,
        _ => class,
    }
}

/// Whether a build made this class word: by the mark of a tool that does, or a digit or an inner capital among few vowels, or
/// hardly a vowel (naming reference, section 2).
pub(crate) fn is_hash(word: &str) -> bool {
    if ["css-", "sc-", "jsx-", "jss", "svelte-", "emotion-"].iter().any(|mark| word.starts_with(mark)) {
        return true;
    }
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let vowels = word.chars().filter(|c| "aeiouyAEIOUY".contains(*c)).count();
    let mixed = word.chars().skip(1).zip(word.chars()).any(|(c, before)| c.is_uppercase() && before.is_lowercase());
    let apart = word.contains(['-', '_']) && !mixed;
    word.is_ascii() && !apart && letters >= 4 && (vowels == 0 || (mixed && vowels * 6 <= letters * 2))
}

/// The words of an identifier: `searchBox_main-2` → `search`, `box`, `main`, `2`; none that a database made.
fn identifier_words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut last_lower = false;
    for c in text.chars() {
        if (!c.is_alphanumeric() || (c.is_uppercase() && last_lower)) && !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        last_lower = c.is_lowercase();
    }
    out.push(word);
    out.retain(|word| !word.is_empty() && word.bytes().filter(u8::is_ascii_digit).count() < 3);
    out
}

/// Words as they are compared: in lower case, without accents.
fn spoken_words(text: &str) -> Vec<String> {
    let plain: String = text.nfkd().filter(|c| !is_combining_mark(*c)).collect();
    plain
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !word.chars().all(char::is_numeric))
        .map(str::to_lowercase)
        .take(MOST)
        .collect()
}

/// The words that say something: two sections are not alike for an "us" or "the" in both.
fn telling(words: Vec<String>) -> Vec<String> {
    let long = |word: &String| word.chars().count() > 3 || !word.is_ascii();
    if words.iter().any(long) { words.into_iter().filter(long).collect() } else { words }
}

fn shorts(words: &[String]) -> Vec<u32> {
    let mut out: Vec<u32> = words.iter().map(|word| short(word)).collect();
    out.sort_unstable();
    out.dedup();
    out.truncate(MOST);
    out
}

/// An address's host and the steps of its path, ids among them made alike.
fn address(href: &str) -> (u32, Vec<String>) {
    let rest = href.split_once(':').filter(|(scheme, _)| scheme.starts_with("http")).map_or(href, |(_, rest)| rest);
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let steps = path
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .split('/')
        .filter(|step| !step.is_empty())
        .map(|step| {
            let id = step == ":id" || (is_generated(step) && step.bytes().any(|byte| byte.is_ascii_digit()));
            if id { ":id".to_owned() } else { step.to_lowercase() }
        })
        .take(MOST)
        .collect();
    (short(host), steps)
}

/// A tag of a path, as saved pages and other tools write it too: `li[2]`, `*[local-name() = "svg"]`.
fn step(text: &str) -> &str {
    let text = text.trim();
    text.split_once("local-name()")
        .and_then(|(_, name)| name.split(['"', '\'']).nth(1))
        .unwrap_or_else(|| text.split('[').next().unwrap_or_default())
}

/// Whether it is a link or a button: pages change one for another.
pub(crate) fn is_pressed(descriptor: &Descriptor) -> bool {
    matches!(descriptor.role.as_str(), "link" | "button")
}

/// The tag, or what it does where pages change one for another.
fn kind_of_tag(descriptor: &Descriptor) -> String {
    if is_pressed(descriptor) { "press".to_owned() } else { descriptor.tag.to_lowercase() }
}

/// Where a control stands in its record: without boxes, which say nothing and come and go, and without its own tag where that
/// is one that pages change.
pub(crate) fn path_in_record(descriptor: &Descriptor, path: &str) -> String {
    let mut steps: Vec<&str> = path.split('>').filter(|step| !matches!(*step, "div" | "span" | "")).collect();
    if is_pressed(descriptor) {
        let own = path.rsplit('>').next().unwrap_or_default();
        if steps.last() == Some(&own) {
            steps.pop();
        }
        steps.push("press");
    }
    steps.join(">")
}

const LANDMARKS: [&str; 6] = ["dialog", "footer", "header", "aside", "nav", "main"];

impl Features {
    pub(crate) fn of(descriptor: &Descriptor, section: &str, language: &str) -> Self {
        let attribute = |key: &str| descriptor.attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        let stable = |key: &str| Some(attribute(key)).filter(|text| !is_generated(text)).unwrap_or_default();
        let template = if descriptor.template.is_empty() { &descriptor.label } else { &descriptor.template };
        let mut label: String = spoken_words(template).join("_");
        if label.is_empty() || descriptor.label_source == "fallback" {
            label = words::direction(descriptor).map_or(label, |told| told.to_lowercase().replace(' ', "_"));
        }
        if let Some((at, _)) = label.char_indices().nth(LABEL) {
            label.truncate(at);
        }
        let name_words = identifier_words(attribute("name"));
        let id_words = identifier_words(attribute("id"));
        let classes: Vec<String> = attribute("class")
            .split_whitespace()
            .map(without_hash)
            .filter(|class| !is_generated(class))
            .map(str::to_owned)
            .take(MOST)
            .collect();
        let (host, segments) = address(attribute("href"));
        let titles: Vec<String> = ["title", "placeholder", "value", "aria-label", "alt"]
            .iter()
            .map(|key| spoken_words(attribute(key)).join("_"))
            .filter(|text| !text.is_empty())
            .collect();
        let mut all: Vec<String> = label.split('_').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        all.extend(titles.iter().flat_map(|title| title.split('_')).map(str::to_owned));
        all.extend(classes.iter().chain(&segments).flat_map(|text| identifier_words(text)));
        all.extend(name_words.iter().chain(&id_words).cloned());
        let mut words = all.iter().map(|word| short(word)).collect::<Vec<_>>();
        words.sort_unstable();
        words.dedup();
        words.truncate(2 * MOST);
        let kinds: Vec<&str> = descriptor.context.iter().map(|entry| entry.kind.as_str()).collect();
        let steps: Vec<String> = descriptor
            .path
            .split(['>', '/'])
            .map(|text| step(text).to_lowercase())
            .filter(|text| !text.is_empty())
            .collect();
        let holds = |kind: &str| kinds.contains(&kind) || steps.iter().any(|step| step == kind);
        let section = spoken_words(section);
        let mut data: Vec<(u32, u32)> = descriptor
            .attributes
            .iter()
            .filter(|(key, _)| key.starts_with("data-"))
            .filter_map(|(key, value)| {
                value.as_str().filter(|value| !value.is_empty()).map(|value| (short(key), short(value)))
            })
            .take(MOST)
            .collect();
        data.sort_unstable();
        Self {
            tag: short(&kind_of_tag(descriptor)),
            letters: letters(&label),
            label: short(&label),
            name: short(stable("name")),
            name_words: shorts(&name_words),
            id: short(attribute("id")),
            id_words: shorts(&id_words),
            classes: shorts(&classes),
            host,
            segments: shorts(&segments),
            titles: shorts(&titles),
            words,
            data,
            icon: short(attribute("icon")),
            kinds: kinds.iter().map(|kind| short(kind)).collect(),
            section: short(&section.join("_")),
            section_words: shorts(&telling(section)),
            landmark: LANDMARKS.iter().find(|kind| holds(kind)).map_or(0, |kind| short(kind)),
            in_form: holds("form"),
            path: steps.iter().rev().take(MOST).map(|step| short(step)).collect(),
            group: descriptor.group.as_ref().map(|sketch| Place::of(sketch, descriptor)),
            language: short(language.split(['-', '_']).next().unwrap_or_default().to_lowercase().as_str()),
        }
    }

    /// What leads to it in an index: two descriptions without any of these in common are not compared.
    pub(crate) fn traces(&self) -> impl Iterator<Item = u32> {
        let path = self.path.iter().fold(0_u32, |sum, step| sum.rotate_left(5) ^ step);
        let data = self.data.iter().map(|(key, value)| key.rotate_left(1) ^ value);
        let marks = [self.label, self.icon, self.name, self.id, path].into_iter().chain(data);
        let said = self.words.iter().chain(&self.classes).chain(&self.segments).copied();
        said.chain(marks.map(|mark| mark.rotate_left(7))).filter(|trace| *trace != 0)
    }
}

/// Overlapping threes of letters, the text's ends marked, sorted, repeats kept.
fn letters(label: &str) -> Vec<u16> {
    if label.is_empty() {
        return Vec::new();
    }
    let marked: Vec<char> = std::iter::once('_').chain(label.chars()).chain(std::iter::once('_')).collect();
    let mut out: Vec<u16> = marked
        .windows(3)
        .map(|three| {
            let text: String = three.iter().collect();
            u16::try_from(hash(&["letters", &text]) >> 48).unwrap_or(0)
        })
        .collect();
    out.sort_unstable();
    out
}

impl Place {
    fn of(sketch: &GroupSketch, descriptor: &Descriptor) -> Self {
        let mut signature = sketch.signature.clone();
        signature.sort_unstable();
        signature.truncate(2 * MOST);
        Self { position: sketch.position, path: short(&path_in_record(descriptor, &sketch.path)), signature }
    }
}

/// The label as keys take it: without the record's own title, without numbers, in lower case.
pub(crate) fn key_label(descriptor: &Descriptor) -> String {
    if let Some(set) = super::set_name(descriptor) {
        return words::without_numbers(&set).to_lowercase();
    }
    let direction = words::direction(descriptor);
    if descriptor.label_source == "fallback" || !descriptor.label.chars().any(char::is_alphanumeric) {
        // "‹" and "›" say more than that they say nothing.
        return direction.map_or_else(String::new, str::to_lowercase);
    }
    let template = if descriptor.template.is_empty() { &descriptor.label } else { &descriptor.template };
    // What leads on is no item, though nothing but it stands in its record; nor is a button of its own.
    let is_own = direction.is_some() || super::is_own_button(descriptor);
    let title = super::title(&descriptor.properties).filter(|title| title.len() > 2 && !is_own);
    let text = title.map_or_else(|| template.clone(), |title| template.replace(title, " "));
    words::without_numbers(&text).to_lowercase()
}
