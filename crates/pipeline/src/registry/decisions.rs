//! What people decide lies over what was learned and never changes it: so every decision can be undone.

use std::collections::{HashMap, HashSet};

use convizit_model::decision::GIVEN_NAME_CHARS;
use convizit_model::{Change, Decision, DecisionId, ElementId, GroupId, StateKind};

use super::{Registry, hash_numbers};

/// Decisions of a project at most.
const DECISIONS: usize = 20_000;
/// Steps from one identity to the one that it was merged into, at most.
const STEPS: usize = 16;

/// What the decisions that hold make of elements, groups and names.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    /// Name → its text.
    pub(super) names: HashMap<u64, String>,
    /// Text in lower case that was given by people → the owner of its name.
    pub(super) texts: HashMap<String, u64>,
    groups: HashMap<u64, String>,
    /// Owner of names (element, items of a group) → the one that it is part of.
    merged: HashMap<u64, u64>,
    regrouped: HashMap<u64, u64>,
    split: HashMap<(u64, u8), u64>,
    /// Identities of split forms → their element and form.
    parts: HashMap<u64, (u64, u8)>,
    dropped_elements: HashSet<u64>,
    dropped_groups: HashSet<u64>,
    /// Decisions that hold.
    holding: HashSet<u64>,
}

/// The owner of the names of a group's items.
pub(crate) fn item_owner(group: u64) -> u64 {
    hash_numbers("item", &[group])
}

fn part(element: u64, form: u8) -> u64 {
    hash_numbers("part", &[element, u64::from(form)])
}

fn follow(map: &HashMap<u64, u64>, mut id: u64) -> u64 {
    for _ in 0..STEPS {
        match map.get(&id) {
            Some(next) => id = *next,
            None => break,
        }
    }
    id
}

impl Registry {
    /// The identity that an element, seen in one of its forms, has by all decisions.
    pub(crate) fn identity(&self, element: u64, form: u8) -> u64 {
        self.canonical(self.overlay.split.get(&(element, form)).copied().unwrap_or(element))
    }

    /// What an owner of names is part of.
    pub(crate) fn canonical(&self, owner: u64) -> u64 {
        follow(&self.overlay.merged, owner)
    }

    /// The group that a group's items belong to.
    pub(crate) fn canonical_group(&self, group: u64) -> u64 {
        follow(&self.overlay.regrouped, group)
    }

    /// What a group is called.
    pub(crate) fn group_name(&self, group: u64) -> Option<&str> {
        self.overlay.groups.get(&group).or_else(|| self.groups.get(&group).map(|group| &group.name)).map(String::as_str)
    }

    /// Whether people want no events of this element or of what stands in this group.
    pub(crate) fn is_dropped(&self, element: u64, group: Option<u64>) -> bool {
        self.overlay.dropped_elements.contains(&element)
            || group.is_some_and(|group| self.overlay.dropped_groups.contains(&group))
    }

    /// Counts an event that is not kept.
    pub(crate) fn exclude(&mut self) {
        self.excluded += 1;
    }

    /// How many events were dropped because people want none of their element or group, since the last call.
    pub fn take_excluded(&mut self) -> u64 {
        std::mem::take(&mut self.excluded)
    }

    /// All decisions, in the order of their making.
    #[must_use]
    pub fn decisions(&self) -> Vec<&Decision> {
        let mut all: Vec<&Decision> = self.decisions.values().collect();
        all.sort_by_key(|decision| (decision.made, decision.id));
        all
    }

    /// Whether a decision holds: it was not undone, and it is no mere proposal.
    #[must_use]
    pub fn holds(&self, id: DecisionId) -> bool {
        self.overlay.holding.contains(&id.0)
    }

    /// The newest number of a person's decision; 0 before the first.
    #[must_use]
    pub fn last_decision(&self) -> u64 {
        self.decisions.range(..DecisionId::OWN).next_back().map_or(0, |(number, _)| *number)
    }

    /// Notes from which journal offset on the decisions hold that the worker meets now.
    pub fn meet_decisions(&mut self, offset: u64) {
        let met: Vec<u64> =
            self.decisions.values().filter(|decision| decision.from.is_none()).map(|decision| decision.id.0).collect();
        for id in met {
            if let Some(decision) = self.decisions.get_mut(&id) {
                decision.from = Some(offset);
            }
            self.change(StateKind::Decision, id);
        }
    }

    /// Takes down a decision of the product's own.
    pub(super) fn decide(&mut self, mut decision: Decision) {
        if self.decisions.len() >= DECISIONS {
            return;
        }
        let next = self.decisions.keys().next_back().map_or(0, |last| last + 1).max(DecisionId::OWN + 1);
        decision.id = DecisionId(next);
        self.decisions.insert(next, decision);
        self.change(StateKind::Decision, next);
        self.settle();
    }

    /// Takes a decision that is not stored, to see what it would do.
    pub(super) fn suppose(&mut self, decision: Decision) {
        self.decisions.insert(decision.id.0, decision);
        self.settle();
    }

    /// Makes the overlay anew: of two decisions on one thing the later holds.
    pub(super) fn settle(&mut self) {
        let mut order: Vec<Decision> = self.decisions().into_iter().filter(|one| !one.proposed).cloned().collect();
        let mut undone: HashSet<u64> = HashSet::new();
        for decision in order.iter().rev() {
            if let Change::Undo { decision: earlier } = decision.what
                && !undone.contains(&decision.id.0)
            {
                undone.insert(earlier.0);
            }
        }
        order.retain(|decision| !undone.contains(&decision.id.0));
        let mut overlay = Overlay::default();
        let mut by_group: HashMap<u64, String> = HashMap::new();
        let mut given: HashMap<u64, String> = HashMap::new();
        for decision in order {
            overlay.holding.insert(decision.id.0);
            match decision.what {
                Change::Rename { name, text } => drop(given.insert(name.0, text)),
                Change::RenameGroup { group, text } => {
                    by_group.insert(item_owner(group.0), text.clone());
                    overlay.groups.insert(group.0, text);
                }
                Change::Merge { element, into } => drop(overlay.merged.insert(element.0, into.0)),
                Change::Regroup { group, into } => {
                    overlay.regrouped.insert(group.0, into.0);
                    overlay.merged.insert(item_owner(group.0), item_owner(into.0));
                }
                Change::Split { element, form } => {
                    let form = u8::try_from(form).unwrap_or(u8::MAX);
                    overlay.split.insert((element.0, form), part(element.0, form));
                    overlay.parts.insert(part(element.0, form), (element.0, form));
                }
                Change::CaptureElement { element, captured } => set(&mut overlay.dropped_elements, element.0, captured),
                Change::CaptureGroup { group, captured } => set(&mut overlay.dropped_groups, group.0, captured),
                Change::Undo { .. } => {}
            }
        }
        // A group's new name goes into the names that were made of the old one.
        if !by_group.is_empty() {
            let before: HashMap<u64, &str> =
                self.groups.iter().map(|(id, group)| (item_owner(*id), group.name.as_str())).collect();
            for (id, name) in &self.names {
                if let (Some(text), Some(before)) = (by_group.get(&name.owner), before.get(&name.owner))
                    && let Some(rest) = name.text.strip_prefix(before)
                {
                    overlay.names.insert(*id, format!("{text}{rest}"));
                }
            }
        }
        overlay.names.extend(given);
        overlay.texts = overlay
            .names
            .iter()
            .filter_map(|(id, text)| self.names.get(id).map(|name| (text.to_lowercase(), name.owner)))
            .collect();
        self.overlay = overlay;
    }

    /// Whether a change can be made.
    ///
    /// # Errors
    /// What stands against it, and what to do.
    pub fn check(&self, change: &Change) -> Result<(), String> {
        if self.decisions.len() >= DECISIONS {
            return Err(format!("this project has {DECISIONS} decisions: no more are taken"));
        }
        match change {
            Change::Rename { name, text } => {
                let Some(known) = self.names.get(&name.0) else {
                    return Err(format!("there is no name {name}"));
                };
                check_text(text)?;
                if self.is_taken(text, self.canonical(known.owner)) {
                    return Err(format!(
                        "{text:?} is or was the name of something else: choose another name, or merge the two"
                    ));
                }
                // Two names of one element, its click and its change, are told apart too.
                let other = self.names.iter().find(|(id, other)| {
                    **id != name.0
                        && self.canonical(other.owner) == self.canonical(known.owner)
                        && self.name(**id).is_some_and(|other| other.eq_ignore_ascii_case(text))
                });
                if other.is_some() {
                    return Err(format!(
                        "{text:?} is the name of another event on the same control: choose another name"
                    ));
                }
                Ok(())
            }
            Change::RenameGroup { group, text } => {
                self.known_group(*group)?;
                check_text(text)
            }
            Change::Merge { element, into } => {
                self.known_element(*element)?;
                self.known_element(*into)?;
                if self.canonical(element.0) == self.canonical(into.0) {
                    return Err(format!("{element} and {into} are one element already"));
                }
                if self.canonical(element.0) != element.0 {
                    return Err(format!(
                        "{element} is part of {}: merge that one",
                        ElementId(self.canonical(element.0))
                    ));
                }
                Ok(())
            }
            Change::Split { element, form } => {
                self.known_element(*element)?;
                let forms = self.elements.get(&element.0).map_or(1, |known| known.forms.len());
                if *form == 0 || *form >= forms {
                    return Err(match forms {
                        1 => format!("{element} was seen in one form only: there is nothing to split"),
                        _ => format!("{element} has the forms 1 to {} beside its first", forms - 1),
                    });
                }
                let form = u8::try_from(*form).unwrap_or(u8::MAX);
                if self.overlay.split.contains_key(&(element.0, form)) {
                    return Err(format!("form {form} of {element} is an element of its own already"));
                }
                Ok(())
            }
            Change::Regroup { group, into } => {
                self.known_group(*group)?;
                self.known_group(*into)?;
                if self.canonical_group(group.0) == self.canonical_group(into.0) {
                    return Err(format!("{group} and {into} are one group already"));
                }
                if self.canonical_group(group.0) != group.0 {
                    return Err(format!("{group} is part of {}: regroup that", GroupId(self.canonical_group(group.0))));
                }
                Ok(())
            }
            Change::CaptureElement { element, captured } => {
                self.known_element(*element)?;
                already(&element, self.overlay.dropped_elements.contains(&element.0), *captured)
            }
            Change::CaptureGroup { group, captured } => {
                self.known_group(*group)?;
                already(&group, self.overlay.dropped_groups.contains(&group.0), *captured)
            }
            Change::Undo { decision } => match self.decisions.get(&decision.0) {
                None => Err(format!("there is no decision {decision}")),
                Some(known) if known.proposed => Err(format!("{decision} is a proposal that nobody took")),
                Some(_) if !self.holds(*decision) => Err(format!("decision {decision} is undone already")),
                Some(_) => Ok(()),
            },
        }
    }

    fn known_element(&self, element: ElementId) -> Result<(), String> {
        if self.elements.contains_key(&element.0) || self.overlay.parts.contains_key(&element.0) {
            return Ok(());
        }
        Err(format!("there is no element {element}"))
    }

    fn known_group(&self, group: GroupId) -> Result<(), String> {
        if self.groups.contains_key(&group.0) { Ok(()) } else { Err(format!("there is no group {group}")) }
    }

    /// Forms that people made elements of their own, with their identity.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, u64, u8)> {
        let mut parts: Vec<_> = self.overlay.parts.iter().map(|(id, (element, form))| (*id, *element, *form)).collect();
        parts.sort_unstable();
        parts.into_iter()
    }
}

fn set(dropped: &mut HashSet<u64>, id: u64, captured: bool) {
    if captured {
        dropped.remove(&id);
    } else {
        dropped.insert(id);
    }
}

fn already(id: &impl std::fmt::Display, dropped: bool, captured: bool) -> Result<(), String> {
    match (dropped, captured) {
        (true, false) => Err(format!("{id} is not captured already")),
        (false, true) => Err(format!("{id} is captured already")),
        _ => Ok(()),
    }
}

/// A name that a person gives: short enough, in one line, and nothing that would be withheld anywhere else.
fn check_text(text: &str) -> Result<(), String> {
    let chars = text.chars().count();
    if text.trim() != text || chars == 0 || chars > GIVEN_NAME_CHARS || text.chars().any(char::is_control) {
        return Err(format!(
            "a name has 1 to {GIVEN_NAME_CHARS} characters, no line breaks, and no spaces at its ends"
        ));
    }
    if let Some(rule) = crate::scrub_text(text).first() {
        return Err(format!("this text looks private ({rule}): choose a name without it"));
    }
    Ok(())
}
