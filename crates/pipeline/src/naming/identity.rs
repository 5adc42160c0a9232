//! Which control is it? Exact keys first, then the evidence, with threshold and margin: a wrong merge is worse than a split.

use convizit_model::{Descriptor, ElementId, Fate, GroupId, PageBlock, Timestamp};
use serde_json::Value;

use crate::naming::features::{Features, is_generated, is_pressed, key_label, path_in_record, short, without_hash};
use crate::naming::grammar::section_of;
use crate::naming::{Pages, evidence, words};
use crate::registry::{ELEMENTS, Form, Registry, above, hash, hash_numbers};

/// Sum of the evidence that a match needs (a probability of .73), …
const THRESHOLD: f64 = 2.0;
/// … and by how much the second best must be behind.
const MARGIN: f64 = 0.5;
/// Elements that are compared with one unknown control at most.
const COMPARED: usize = 64;

/// By what a control is found without comparing, strongest first.
pub(crate) struct Keys {
    /// K1 and K2: the author's own id; role, label, surroundings and group.
    pub(crate) exact: Vec<u64>,
    /// K2 without the section, on pages of a template that was learned; 0 elsewhere.
    pub(crate) template: u64,
    /// K3, free of language: role, address, stable attributes, landmark, path; 0 where a control has nothing of its own,
    /// since without text it would not be told from its neighbours.
    pub(crate) structure: u64,
    /// Whether it has nothing at all of its own, not even a class: a build may have taken them away.
    pub(crate) is_undressed: bool,
    /// The place alone: role, tag, landmark, path and group.
    pub(crate) family: u64,
    /// All but the section, and the path above the page: by it the same control is found on other pages of a template; 0 where
    /// no section heads it, and in groups.
    pub(crate) sibling: u64,
}

impl Keys {
    fn of(descriptor: &Descriptor, pages: Pages<'_>, section: &str, group: Option<GroupId>, is_item: bool) -> Self {
        let page = pages.own;
        let attribute = |key: &str| descriptor.attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        let stable = |key: &'static str| Some(attribute(key)).filter(|text| !text.is_empty() && !is_generated(text));
        let text = |purpose: &str, text: &str| if text.is_empty() { 0 } else { hash(&[purpose, text]).max(1) };
        let label = if is_item { 0 } else { text("label", &key_label(descriptor)) };
        // In a record, place and label say which control it is, whatever its tag; elsewhere a link and a button that say the same
        // are often two.
        let kind = match group.is_some() && is_pressed(descriptor) {
            true => hash(&["kind", "press"]),
            false => hash(&["kind", &descriptor.role, &descriptor.tag]),
        };
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
        let landmark = text("landmark", landmark(descriptor));
        // In a record the nearest heading is the record's own title, which says nothing about the control.
        let section = if group.is_none() { text("section", &section.to_lowercase()) } else { 0 };
        let href = if is_item { String::new() } else { crate::scrub::template(attribute("href"), &[]) };
        let href = if href.starts_with("javascript") { 0 } else { text("href", &href) };
        let icon = text("icon", attribute("icon"));
        let group = group.map_or(0, |group| {
            let path = descriptor.group.as_ref().map(|sketch| path_in_record(descriptor, &sketch.path));
            hash(&["in group", &group.to_string(), &path.unwrap_or_default(), if is_item { "item" } else { "" }])
        });
        let path = text("path", &descriptor.path);
        let worn = text("dress", &classes(descriptor).join(" "));
        // What has neither words nor anything else of its own is told from its neighbours by its classes.
        let is_bare = label == 0 && group == 0 && author == 0 && name == 0 && href == 0 && icon == 0;
        let dress = if is_bare { worn } else { 0 };
        let mut exact = Vec::with_capacity(3);
        if author != 0 {
            exact.push(hash_numbers("k1", &[kind, author, name]));
        }
        if label != 0 || group != 0 {
            // Nameless controls of a record are told apart by their pictures.
            let icon = if label == 0 { icon } else { 0 };
            exact.push(hash_numbers("k2", &[kind, label, name, landmark, section, group, icon]));
        } else {
            exact.push(hash_numbers("k3", &[kind, name, href, landmark, section, icon, path, dress]));
        }
        // In a record the place says much; a dress of its own, or a field, says the rest.
        let dressed = group != 0 && (!classes(descriptor).is_empty() || !is_pressed(descriptor));
        let own = !is_item && (name != 0 || href != 0 || icon != 0 || dressed);
        let (path_or_dress, place) = match group {
            0 => (path, path),
            _ => (worn, group),
        };
        let structure = [kind, author, name, href, landmark, icon, place, path_or_dress];
        let above = hash(&["above", above(&page.path), kind_of_page(page)]);
        // On a page of a template the heading is the page's own: found once, the control is found on all of them.
        let of_template = group == 0 && section != 0 && label != 0 && pages.template.path != page.path;
        let siblings = group == 0 && section != 0 && (label != 0 || name != 0 || href != 0 || icon != 0);
        let of_page = [kind, author, label, name, href, landmark, icon, path, above];
        Self {
            exact,
            template: if of_template { hash_numbers("k2 of template", &of_page) } else { 0 },
            structure: match (own, is_bare) {
                (true, _) => hash_numbers("structure", &structure),
                (false, true) => hash_numbers("bare", &[kind, landmark, section, path]),
                (false, false) => 0,
            },
            is_undressed: is_bare && worn == 0,
            family: hash_numbers("family", &[kind, landmark, group, path]),
            sibling: if siblings { hash_numbers("sibling", &of_page) } else { 0 },
        }
    }
}

/// What the nearest section that has a name is called, without numbers; the title of the page's own item is no section's name,
/// or each product's page would have buttons of its own.
pub(crate) fn section(descriptor: &Descriptor, page: &PageBlock) -> String {
    let names = descriptor.context.iter().map(|entry| section_of(&entry.name, descriptor, page));
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

/// What the site itself calls this kind of page; empty where that says nothing.
fn kind_of_page(page: &PageBlock) -> &str {
    let kind = page.kind.rsplit(['/', '.', ':']).next().unwrap_or_default();
    let says_nothing =
        ["website", "webpage", "object", "page", "organization"].iter().any(|word| kind.eq_ignore_ascii_case(word));
    if says_nothing { "" } else { kind }
}

/// Which element a control is.
pub(crate) struct Identity {
    pub(crate) element: ElementId,
    /// The element that it is before all decisions.
    pub(crate) own: ElementId,
    /// Its place says something new each time, and all that stands there shares this identity.
    pub(crate) varies: bool,
    /// It says something else than it did at first, in the same language, while that is still said too: a test of two texts.
    pub(crate) is_variant: bool,
}

/// Finds or makes the identity of a control; learns nothing without a time.
pub(crate) fn resolve(
    registry: &mut Registry,
    descriptor: &Descriptor,
    pages: Pages<'_>,
    group: Option<GroupId>,
    is_item: bool,
    learning: Option<Timestamp>,
) -> Identity {
    let page = pages.own;
    let section = section(descriptor, page);
    let keys = Keys::of(descriptor, pages, &section, group, is_item);
    let plain = |element: u64, own: u64| Identity {
        element: ElementId(element),
        own: ElementId(own),
        varies: false,
        is_variant: false,
    };
    let group_id = group.map_or(0, |group| group.0);
    // A group that people made part of another one: what stands in it is what stands there.
    let found = registry.find(&keys.exact).or_else(|| registry.find(&[keys.template])).or_else(|| {
        let into = group.map(|group| registry.canonical_group(group.0)).filter(|into| *into != group_id)?;
        registry.find(&Keys::of(descriptor, pages, &section, Some(GroupId(into)), is_item).exact)
    });
    // What a crowd has released is the control that waited without it.
    let found = found.or_else(|| {
        let waited = (descriptor.fate == Some(Fate::Released)).then(|| without_label(descriptor))?;
        let (id, _) = registry.find(&Keys::of(&waited, pages, &section, group, false).exact)?;
        // One that has words already is another control of the same form.
        registry.elements.get(&id)?.forms.iter().all(|form| form.label.is_empty()).then_some((id, u8::MAX))
    });
    if let Some((id, form)) = found {
        let form = match learning {
            Some(now) => {
                let dress = dress(descriptor);
                registry.also(id, form, keys.template);
                registry.saw(id, form, &keys.exact, now.day(), dress, || {
                    let classes = Features::of(descriptor, &section, &page.language).classes;
                    (form_of(descriptor, page, &section, is_item, now, None), classes)
                })
            }
            None => form,
        };
        let is_variant = !is_item && registry.is_variant(id, form);
        return Identity { is_variant, ..plain(registry.identity(id, form), id) };
    }
    if registry.is_endless(keys.family) {
        if learning.is_some() {
            registry.fold();
        }
        let endless = hash_numbers("endless", &[keys.family]);
        return Identity { varies: true, ..plain(endless, endless) };
    }
    let features = Features::of(descriptor, &section, &page.language);
    let joined = |registry: &mut Registry| {
        let of_kind = !kind_of_page(page).is_empty();
        registry.joined(keys.sibling, &page.path, &section, of_kind, learning?).map(|id| (id, None))
    };
    let known = match registry.may_join_elements() {
        true => translated(registry, &keys, &features)
            .or_else(|| undressed(registry, &keys))
            .map(|id| (id, None))
            .or_else(|| best(registry, &features).map(|(id, odds)| (id, Some(evidence::probability(odds)))))
            .or_else(|| joined(registry)),
        false => None,
    };
    let Some(now) = learning else {
        // Not remembered: the same control gets the same id from its own keys.
        let own = known.map_or_else(|| hash_numbers("element", &keys.exact), |(id, _)| id);
        return plain(registry.canonical(own), own);
    };
    match known {
        Some((id, probability)) => {
            let form = registry.saw(id, u8::MAX, &keys.exact, now.day(), dress(descriptor), || {
                (form_of(descriptor, page, &section, is_item, now, probability), features.classes)
            });
            registry.also(id, form, keys.template);
            let is_variant = !is_item && registry.is_variant(id, form);
            Identity { is_variant, ..plain(registry.identity(id, form), id) }
        }
        None if registry.elements.len() < ELEMENTS => {
            let form = form_of(descriptor, page, &section, is_item, now, None);
            let id = registry.add_element(keys, &descriptor.role, group_id, form, features).0;
            plain(id, id)
        }
        // No room for further ones: it shares the identity of its place, and what it says is a property.
        None => {
            registry.fold();
            let shared = hash_numbers("endless", &[keys.family]);
            Identity { varies: true, ..plain(shared, shared) }
        }
    }
}

/// A control as it was before its text was released.
fn without_label(descriptor: &Descriptor) -> Descriptor {
    Descriptor { label: String::new(), template: String::new(), name_value: None, ..descriptor.clone() }
}

/// Characters of a label that a person is shown.
const SHOWN: usize = 60;

/// What a person is shown of a control, and by what its forms are told apart. An item's own text is no part of it.
fn form_of(
    descriptor: &Descriptor,
    page: &PageBlock,
    section: &str,
    is_item: bool,
    now: Timestamp,
    probability: Option<f64>,
) -> Form {
    let label = if is_item { String::new() } else { words::shorten(&words::sentence(&key_label(descriptor)), SHOWN) };
    Form {
        keys: Vec::new(),
        label,
        section: section.to_owned(),
        page: page.path.clone(),
        language: page.language.clone(),
        place: short(&format!("{} {}", landmark(descriptor), descriptor.path)),
        since: now.as_millis(),
        day: now.day(),
        probability,
        dress: dress(descriptor),
    }
}

/// The class words that no build made, in order.
fn classes(descriptor: &Descriptor) -> Vec<&str> {
    let class = descriptor.attributes.get("class").and_then(Value::as_str).unwrap_or_default();
    let mut words: Vec<&str> = class.split_whitespace().map(without_hash).filter(|word| !is_generated(word)).collect();
    words.sort_unstable();
    words
}

/// The classes as one number: whether they changed is asked often.
fn dress(descriptor: &Descriptor) -> u32 {
    short(descriptor.attributes.get("class").and_then(Value::as_str).unwrap_or_default())
}

/// The landmark around a control.
pub(crate) fn landmark(descriptor: &Descriptor) -> &str {
    let kinds = descriptor.context.iter().map(|entry| entry.kind.as_str());
    kinds
        .into_iter()
        .find(|kind| matches!(*kind, "nav" | "header" | "footer" | "main" | "aside" | "dialog" | "search"))
        .unwrap_or_default()
}

/// How alike two controls are, in words.
pub(crate) struct Likeness {
    /// The logarithm of the odds that both are one.
    pub(crate) odds: f64,
    pub(crate) contradict: bool,
    pub(crate) agree: Vec<String>,
    pub(crate) differ: Vec<String>,
}

pub(crate) fn likeness(a: &Features, b: &Features, registry: &Registry) -> Likeness {
    let (mut agree, mut differ) = (Vec::new(), Vec::new());
    let mut say = |what: &str, known: bool, same: bool| {
        if known {
            if same { &mut agree } else { &mut differ }.push(what.to_owned());
        }
    };
    say("text", a.label != 0 || b.label != 0, a.label == b.label);
    say("address", !a.segments.is_empty() || !b.segments.is_empty(), a.segments == b.segments);
    say("name attribute", a.name != 0 || b.name != 0, a.name == b.name);
    say("id", a.id != 0 || b.id != 0, a.id == b.id);
    say("classes", !a.classes.is_empty() || !b.classes.is_empty(), a.classes == b.classes);
    say("icon", a.icon != 0 || b.icon != 0, a.icon == b.icon);
    say("section", a.section != 0 || b.section != 0, a.section == b.section);
    say("landmark", a.landmark != 0 || b.landmark != 0, a.landmark == b.landmark);
    say("place", true, a.path == b.path);
    Likeness { odds: evidence::log_odds(a, b, registry), contradict: contradict(a, b), agree, differ }
}

/// The only control of its place, where it lost the classes that it had.
fn undressed(registry: &Registry, keys: &Keys) -> Option<u64> {
    let only = registry.structures.get(&keys.structure).copied().filter(|_| keys.is_undressed)?;
    (only != 0).then_some(only)
}

/// The one element of this structure, where the page speaks another language than when it was first seen.
fn translated(registry: &Registry, keys: &Keys, features: &Features) -> Option<u64> {
    let id = *registry.structures.get(&keys.structure).filter(|id| **id != 0)?;
    let first = &registry.elements.get(&id)?.features;
    (first.language != 0 && features.language != 0 && first.language != features.language).then_some(id)
}

fn best(registry: &mut Registry, features: &Features) -> Option<(u64, f64)> {
    let candidates = registry.candidates(features, COMPARED);
    let mut ranked: Vec<(u64, f64)> = candidates
        .into_iter()
        .filter_map(|id| registry.elements.get(&id).map(|element| (id, &element.features)))
        .filter(|(_, known)| !contradict(features, known))
        .map(|(id, known)| (id, evidence::log_odds(features, known, &*registry)))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let (id, odds) = *ranked.first()?;
    // What was merged into the best, or what that was merged into, is no rival.
    let rival = ranked.iter().skip(1).find(|(other, _)| registry.canonical(*other) != registry.canonical(id));
    let second = rival.map_or(f64::MIN, |(_, odds)| *odds);
    (odds >= THRESHOLD && odds - second >= MARGIN).then_some((id, odds))
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
