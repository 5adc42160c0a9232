//! Elements: what a control was seen as, the keys that find it, and what its class words are worth.

use convizit_model::{ElementId, StateKind};
use serde::{Deserialize, Serialize};

use super::{KEYS, Registry, hash_numbers, trace};
use crate::naming::{Features, Keys};

/// Forms of an element at most; what it is seen as after that adds keys to the last one.
const FORMS: usize = 12;
/// Keys of page templates that an element has beyond its own, at most.
const TEMPLATE_KEYS: usize = 8;
/// Class words of a project of which it is known how long they last, at most.
const CLASSES: usize = 4_096;

/// A control's permanent identity, and the features by which it is found again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Element {
    pub(super) made: u64,
    pub(crate) role: String,
    /// What it was seen as, oldest first; never empty.
    pub(crate) forms: Vec<Form>,
    #[serde(default)]
    pub(super) structure: u64,
    #[serde(default)]
    pub(super) family: u64,
    #[serde(default)]
    pub(crate) group: u64,
    #[serde(default)]
    pub(super) sibling: u64,
    pub(crate) features: Features,
}

/// One description under which an element was seen: what it said, where it stood, and the keys that find it so.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Form {
    pub(crate) keys: Vec<u64>,
    /// The label as names take it, at most 60 characters.
    pub(crate) label: String,
    pub(crate) section: String,
    /// The path of the page where it was first seen so.
    pub(crate) page: String,
    pub(crate) language: String,
    /// Landmark and tags around it, hashed.
    pub(crate) place: u32,
    /// When it was first seen so, in milliseconds since 1970.
    pub(crate) since: i64,
    /// The day when it was last seen so, in days since 1970.
    pub(crate) day: i64,
    /// How likely it was that both are one control; nothing for the first form and where a key was the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) probability: Option<f64>,
    /// The classes, hashed as one.
    pub(crate) dress: u32,
}

impl Registry {
    /// A new element; its id is made of its first key, so that the same history gives the same ids.
    pub(crate) fn add_element(
        &mut self,
        keys: Keys,
        role: &str,
        group: u64,
        form: Form,
        features: Features,
    ) -> ElementId {
        let mut id = hash_numbers("element", &keys.exact);
        while self.elements.contains_key(&id) || self.is_lost_in_parts(id) {
            id = id.wrapping_add(1);
        }
        if let Some(traces) = &mut self.traces {
            trace(traces, self.order.len(), &features);
        }
        let Keys { mut exact, template, structure, family, sibling, is_undressed: _ } = keys;
        if template != 0 {
            exact.push(template);
        }
        let role = role.to_owned();
        let forms = vec![Form { keys: exact, ..form }];
        let element = Element { made: self.made, role, forms, structure, family, group, sibling, features };
        self.put_sibling(id, &element);
        self.put_element(id, element);
        self.is_element_again(id);
        self.change(StateKind::Element, id);
        self.fresh = self.fresh.saturating_add(1);
        ElementId(id)
    }

    /// The element that one of these keys finds, and the form of the last key that is known.
    pub(crate) fn find(&self, keys: &[u64]) -> Option<(u64, u8)> {
        let (id, first) = keys.iter().find_map(|key| self.keys.get(key).copied())?;
        let last = keys.iter().rev().find_map(|key| self.keys.get(key).filter(|(other, _)| *other == id));
        Some((id, last.map_or(first, |(_, form)| *form)))
    }

    /// Remembers that an element was seen in a form: one that is known, or a new one where not all of the keys are.
    /// `classes` are asked for where they may have changed.
    pub(crate) fn saw(
        &mut self,
        id: u64,
        form: u8,
        keys: &[u64],
        today: i64,
        dress: u32,
        describe: impl FnOnce() -> (Form, Vec<u32>),
    ) -> u8 {
        let Some(element) = self.elements.get_mut(&id) else { return form };
        let mut unknown: Vec<u64> = keys.iter().filter(|key| !self.keys.contains_key(*key)).copied().collect();
        if !unknown.is_empty() {
            let held: usize = element.forms.iter().map(|form| form.keys.len()).sum();
            unknown.truncate(KEYS.saturating_sub(held));
        }
        let mut form = form;
        let known = element.forms.get_mut(usize::from(form));
        // Once a day is often enough: a row is not to be written for each event.
        let touched = known.as_ref().is_some_and(|known| known.day < today);
        if unknown.is_empty() && !touched {
            return form;
        }
        let (seen, classes) = describe();
        if let Some(known) = known.filter(|_| touched) {
            known.day = today;
            if known.dress != dress {
                known.dress = dress;
                let before = std::mem::replace(&mut element.features.classes, classes);
                self.outlived(id, &before);
            }
        }
        let Some(element) = self.elements.get_mut(&id) else { return form };
        let mut fresh = false;
        if !unknown.is_empty() {
            let same =
                |known: &Form| known.label == seen.label && known.section == seen.section && known.place == seen.place;
            let place = match element.forms.iter().position(same) {
                Some(place) => place,
                None if element.forms.len() < FORMS => {
                    fresh = true;
                    element.forms.push(seen);
                    element.forms.len() - 1
                }
                None => element.forms.len() - 1,
            };
            form = u8::try_from(place).unwrap_or(u8::MAX);
            if let Some(known) = element.forms.get_mut(place) {
                known.keys.extend(&unknown);
            }
            for key in unknown {
                self.keys.insert(key, (id, form));
            }
        }
        self.fresh = self.fresh.saturating_add(u32::from(fresh));
        self.change(StateKind::Element, id);
        form
    }

    /// Remembers the key by which an element is found on all pages of a template.
    pub(crate) fn also(&mut self, id: u64, form: u8, key: u64) {
        if key == 0 || self.keys.contains_key(&key) {
            return;
        }
        let Some(element) = self.elements.get_mut(&id) else { return };
        let held: usize = element.forms.iter().map(|form| form.keys.len()).sum();
        // Beyond what keys of single pages may fill: one key serves them all.
        if held < KEYS + TEMPLATE_KEYS
            && let Some(known) = element.forms.get_mut(usize::from(form))
        {
            known.keys.push(key);
            self.keys.insert(key, (id, form));
            self.change(StateKind::Element, id);
        }
    }

    /// What an element was first seen to say, as names take it.
    pub(crate) fn first_label(&self, id: u64) -> Option<&str> {
        self.elements.get(&id)?.forms.first().map(|form| form.label.as_str()).filter(|label| !label.is_empty())
    }

    /// Whether an element says something else in this form than in its first, in the same language, and both were seen within
    /// a day: visitors see the one or the other.
    pub(crate) fn is_variant(&self, id: u64, form: u8) -> bool {
        let Some(element) = self.elements.get(&id) else { return false };
        let (Some(first), Some(now)) = (element.forms.first(), element.forms.get(usize::from(form))) else {
            return false;
        };
        form > 0
            && !first.label.is_empty()
            && first.label != now.label
            && first.language == now.language
            && now.day - first.day <= 1
    }

    /// Counts which class words of an element are still there on another day: a build's hashes go with it.
    fn outlived(&mut self, id: u64, before: &[u32]) {
        let Some(now) = self.elements.get(&id).map(|element| element.features.classes.clone()) else { return };
        for word in before {
            if self.classes.len() >= CLASSES && !self.classes.contains_key(word) {
                continue;
            }
            let (stayed, left) = self.classes.entry(*word).or_default();
            let count = if now.contains(word) { stayed } else { left };
            *count = count.saturating_add(1);
            self.change(StateKind::Class, u64::from(*word));
        }
    }
}
