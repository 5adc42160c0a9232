//! What people decide lies over what was learned and never changes it: so every decision can be undone.

use std::collections::{HashMap, HashSet};

use convizit_model::decision::{CAPTURED, GIVEN_NAME_CHARS, NOT_CAPTURED};
use convizit_model::{Change, Decision, DecisionId, ElementId, GroupId, NameId, StateKind};

use super::{Registry, hash_numbers};

/// Decisions of a project at most.
const DECISIONS: usize = 20_000;

/// What the decisions that hold make of elements, groups and names.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    /// Name → its text.
    pub(super) names: HashMap<u64, String>,
    /// Text in lower case that was given by people → the owner of its name.
    pub(super) texts: HashMap<String, u64>,
    groups: HashMap<u64, String>,
    /// Owner of a group's names → what the group was called when it was found, and what people call it.
    called: HashMap<u64, (String, String)>,
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

pub(super) fn part(element: u64, form: u8) -> u64 {
    hash_numbers("part", &[element, u64::from(form)])
}

/// The end of a chain. There are no circles: what would close one is not taken.
fn follow(map: &HashMap<u64, u64>, mut id: u64) -> u64 {
    while let Some(next) = map.get(&id) {
        id = *next;
    }
    id
}

/// Makes one a part of another; refuses where that other is a part of the first.
fn join(map: &mut HashMap<u64, u64>, part: u64, into: u64) -> bool {
    let fits = follow(map, into) != part && part != into;
    if fits {
        map.insert(part, into);
    }
    fits
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

    /// Of a name that is made while people call its group otherwise: what it would be without them.
    pub(super) fn learned_text(&self, owner: u64, text: &str) -> Option<String> {
        let (learned, given) = self.overlay.called.get(&owner)?;
        text.strip_prefix(given.as_str()).map(|rest| format!("{learned}{rest}"))
    }

    /// Whether no event of this name can come any more because of a decision: what it names is a part of something else, or is
    /// not captured.
    #[must_use]
    pub fn is_excused(&self, name: NameId) -> bool {
        let Some(owner) = self.names.get(&name.0).map(|name| name.owner) else { return false };
        let group = self.elements.get(&owner).map(|element| element.group).filter(|group| *group != 0);
        self.canonical(owner) != owner
            || self.is_dropped(owner, group.map(|group| self.canonical_group(group)))
            || self.overlay.dropped_groups.iter().any(|group| item_owner(*group) == owner)
    }

    /// How many decisions there are: none is ever taken out.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.decisions.len()
    }

    /// The names of which no event can come any more because of a decision.
    #[must_use]
    pub fn excused(&self) -> HashSet<u64> {
        self.names.keys().filter(|id| self.is_excused(NameId(**id))).copied().collect()
    }

    /// Notes from which journal offset on the decisions hold that the worker meets now.
    pub fn meet_decisions(&mut self, offset: u64) {
        self.offset = offset;
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
        decision.from = Some(self.offset);
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
        let all: Vec<Decision> = self.decisions().into_iter().cloned().collect();
        let mut order: Vec<Decision> = all.iter().filter(|one| !one.proposed).cloned().collect();
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
                    if let Some(learned) = self.groups.get(&group.0) {
                        overlay.called.insert(item_owner(group.0), (learned.name.clone(), text.clone()));
                    }
                    overlay.groups.insert(group.0, text);
                }
                Change::Merge { element, into } => {
                    if !join(&mut overlay.merged, element.0, into.0) {
                        overlay.holding.remove(&decision.id.0);
                    }
                }
                Change::Regroup { group, into } => {
                    if join(&mut overlay.regrouped, group.0, into.0) {
                        join(&mut overlay.merged, item_owner(group.0), item_owner(into.0));
                    } else {
                        overlay.holding.remove(&decision.id.0);
                    }
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
        // Texts that a name once had stay its own: events carry them.
        let once = all.iter().filter_map(|decision| match &decision.what {
            Change::Rename { name, text } => Some((&name.0, text)),
            _ => None,
        });
        overlay.texts = once
            .chain(&overlay.names)
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
                if self.name(name.0) == Some(text) {
                    return Err(format!("{text:?} is its name already"));
                }
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
                check_text(text)?;
                if self.group_name(group.0) == Some(text) {
                    return Err(format!("{text:?} is its name already"));
                }
                self.check_group_names(group.0, text)
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
                let is_dropped = |id: u64| self.overlay.dropped_elements.contains(&id);
                if is_dropped(element.0) != is_dropped(self.canonical(into.0)) {
                    return Err(format!(
                        "one of {element} and {into} is captured and the other is not: make them alike first"
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
                let is_dropped = |id: u64| self.overlay.dropped_groups.contains(&id);
                if is_dropped(group.0) != is_dropped(self.canonical_group(into.0)) {
                    return Err(format!(
                        "one of {group} and {into} is captured and the other is not: make them alike first"
                    ));
                }
                Ok(())
            }
            Change::CaptureElement { element, captured } => {
                self.known_element(*element)?;
                let whole = self.canonical(element.0);
                if whole != element.0 {
                    return Err(format!("{element} is part of {}: say it of that one", ElementId(whole)));
                }
                let group = self.elements.get(&element.0).map_or(0, |known| self.canonical_group(known.group));
                if *captured
                    && self.overlay.dropped_groups.contains(&group)
                    && !self.overlay.dropped_elements.contains(&element.0)
                {
                    return Err(format!(
                        "{element} is not captured because nothing in {0} is: say captured of {0}",
                        GroupId(group)
                    ));
                }
                already(&element, self.overlay.dropped_elements.contains(&element.0), *captured)
            }
            Change::CaptureGroup { group, captured } => {
                self.known_group(*group)?;
                let whole = self.canonical_group(group.0);
                if whole != group.0 {
                    return Err(format!("{group} is part of {}: say it of that one", GroupId(whole)));
                }
                already(&group, self.overlay.dropped_groups.contains(&group.0), *captured)
            }
            Change::Undo { decision } => match self.decisions.get(&decision.0) {
                None => Err(format!("there is no decision {decision}")),
                Some(known) if known.proposed => match self.is_open(known) {
                    true => Ok(()),
                    false => Err(format!("{decision} is a proposal that was answered already")),
                },
                Some(_) if !self.holds(*decision) => Err(format!("decision {decision} is undone already")),
                Some(known) => self.check_redo(&known.what),
            },
        }
    }

    /// Whether a merge or regroup that an undo took back can hold again.
    fn check_redo(&self, what: &Change) -> Result<(), String> {
        let Change::Undo { decision } = what else { return Ok(()) };
        let stands_against = match self.decisions.get(&decision.0).map(|earlier| &earlier.what) {
            Some(Change::Merge { element, into }) => self.canonical(into.0) == element.0,
            Some(Change::Regroup { group, into }) => self.canonical_group(into.0) == group.0,
            _ => false,
        };
        if stands_against {
            return Err(format!(
                "decision {decision} cannot hold again: a later one makes the second a part of the first"
            ));
        }
        Ok(())
    }

    /// A group's names with its new text must be nobody else's.
    fn check_group_names(&self, group: u64, text: &str) -> Result<(), String> {
        let owner = item_owner(group);
        let learned = self.groups.get(&group).map_or("", |group| &group.name);
        let made = self.names.values().filter(|name| name.owner == owner);
        for rest in made.filter_map(|name| name.text.strip_prefix(learned)) {
            let name = format!("{text}{rest}");
            if self.is_taken(&name, self.canonical(owner)) {
                return Err(format!(
                    "{name:?} is or was the name of something else: choose another text, or regroup the two"
                ));
            }
        }
        Ok(())
    }

    /// Whether a proposal waits for an answer.
    #[must_use]
    pub fn is_open(&self, decision: &Decision) -> bool {
        let Change::Merge { element, into } = &decision.what else { return false };
        let refused = self
            .decisions
            .values()
            .any(|other| matches!(other.what, Change::Undo { decision: earlier } if earlier == decision.id));
        decision.proposed
            && !refused
            && self.canonical(element.0) == element.0
            && self.canonical(into.0) != element.0
            && !self.is_dropped(element.0, None)
    }

    /// What now holds of what a draft is about, in the words of `Change::draft`; nothing where there is no such thing, or where it is
    /// part of another one.
    #[must_use]
    pub fn stands(&self, change: &Change) -> Option<String> {
        let word = |dropped: bool| if dropped { NOT_CAPTURED } else { CAPTURED }.to_owned();
        match change {
            Change::Rename { name, .. } => self.name(name.0).map(str::to_owned),
            Change::CaptureElement { element, .. } => (self.has_element(*element)
                && self.canonical(element.0) == element.0)
                .then(|| word(self.is_dropped(element.0, None))),
            Change::CaptureGroup { group, .. } => (self.known_group(*group).is_ok()
                && self.canonical_group(group.0) == group.0)
                .then(|| word(self.is_dropped(0, Some(group.0)))),
            _ => None,
        }
    }

    /// Whether an element, or a form that people made one, is known.
    pub(crate) fn has_element(&self, element: ElementId) -> bool {
        self.known_element(element).is_ok()
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

    /// Whether a form is an element of its own.
    #[must_use]
    pub fn is_split(&self, element: ElementId, form: usize) -> bool {
        u8::try_from(form).is_ok_and(|form| self.overlay.split.contains_key(&(element.0, form)))
    }

    /// Whether people made forms of this element elements of their own.
    pub(super) fn has_parts(&self, element: u64) -> bool {
        self.overlay.split.keys().any(|(of, _)| *of == element)
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
