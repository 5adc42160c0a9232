//! What a person sees of a project's elements, groups and names, and what a change would do to them.

use std::collections::{HashMap, HashSet};

use convizit_model::{Change, Decision, DecisionId, ElementId, EventType, GroupId, NameId, Timestamp};
use serde::Serialize;

use super::{Form, Registry, item_owner};

/// Metrics that the tracker measures: each has a name of its own.
const VITALS: [&str; 5] = ["LCP", "INP", "CLS", "FCP", "TTFB"];

/// Everything that a project has names for, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Catalogue {
    /// Controls; those that are part of another one too.
    pub elements: Vec<ElementView>,
    /// Groups; those that are part of another one too.
    pub groups: Vec<GroupView>,
    /// Names of all events.
    pub names: Vec<NameView>,
}

/// A control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ElementView {
    /// Its id.
    pub id: ElementId,
    /// ARIA role.
    pub role: String,
    /// The group that it repeats in.
    pub group: Option<GroupId>,
    /// The element that it was merged into.
    pub part_of: Option<ElementId>,
    /// Whether its events are kept.
    pub captured: bool,
    /// What it was seen as; the first is what it was first seen as.
    pub forms: Vec<FormView>,
}

/// What a control was seen as.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FormView {
    /// What it said, without numbers.
    pub label: String,
    /// The section around it.
    pub section: String,
    /// The path where it was first seen so.
    pub page: String,
    /// The page's language.
    pub language: String,
    /// When it was first seen so.
    pub since: Timestamp,
    /// The day when it was last seen so.
    pub last: Timestamp,
    /// How sure it was that this is the same control; none where a key said so.
    pub probability: Option<f64>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupView {
    /// Its id.
    pub id: GroupId,
    /// What its items are called.
    pub name: String,
    /// What its container is called.
    pub container: String,
    /// The group that it was merged into.
    pub part_of: Option<GroupId>,
    /// Whether events on what stands in it are kept.
    pub captured: bool,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NameView {
    /// Its id.
    pub id: NameId,
    /// What it says now.
    pub text: String,
    /// What the product made of it, where a person changed it.
    pub made_as: Option<String>,
    /// Published names never change by themselves.
    pub published: bool,
    /// Of which element's events.
    pub element: Option<ElementId>,
    /// Of which group's items.
    pub group: Option<GroupId>,
    /// Whether such events are kept.
    pub captured: bool,
    /// When it was made.
    pub since: Timestamp,
}

/// A name before and after a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NameChange {
    /// The name's id: counts are kept by it.
    pub id: NameId,
    /// Before.
    pub before: NameView,
    /// After.
    pub after: NameView,
}

fn view(form: &Form) -> FormView {
    FormView {
        label: form.label.clone(),
        section: form.section.clone(),
        page: form.page.clone(),
        language: form.language.clone(),
        since: Timestamp::from_millis(form.since),
        last: Timestamp::from_millis((form.day * 86_400_000).max(form.since)),
        probability: form.probability,
    }
}

impl Registry {
    /// What the product made of a name, whatever people call it.
    #[must_use]
    pub fn made_as(&self, id: NameId) -> Option<&str> {
        self.names.get(&id.0).map(|name| name.text.as_str())
    }

    /// Whether the events of a name come without anybody doing anything: Core Web Vitals, and leaving a page.
    #[must_use]
    pub fn is_automatic(&self, id: NameId) -> bool {
        let Some(owner) = self.names.get(&id.0).map(|name| name.owner) else { return false };
        let is = |kind, variant| crate::naming::name_id(kind, owner, variant) == id.0;
        is(EventType::PageLeave, "") || VITALS.iter().any(|metric| is(EventType::WebVital, metric))
    }

    /// What a control is called, whatever was merged into it or it into others: the oldest of its own names. `None` without one.
    #[must_use]
    pub fn called(&self, element: ElementId) -> Option<&str> {
        let own = self.names.iter().filter(|(_, name)| name.owner == element.0);
        let (id, _) = own.min_by_key(|(_, name)| (name.made, &name.text))?;
        self.name(*id)
    }

    /// Whether people gave this name, and whether it is published; nothing where there is no such name.
    pub(crate) fn standing(&self, id: u64) -> Option<(bool, bool)> {
        let name = self.names.get(&id)?;
        Some((self.name(id) != Some(name.text.as_str()), name.published || self.overlay.names.contains_key(&id)))
    }

    /// Everything, the oldest first.
    #[must_use]
    pub fn catalogue(&self) -> Catalogue {
        let mut elements: Vec<ElementView> = self
            .order
            .iter()
            .filter_map(|id| self.elements.get(id).map(|element| (id, element)))
            .map(|(id, element)| self.element_view(*id, element, element.forms.iter().map(view).collect()))
            .collect();
        for (id, element, form) in self.parts() {
            if let Some(known) = self.elements.get(&element) {
                let forms = known.forms.get(usize::from(form)).map(view).into_iter().collect();
                elements.push(self.element_view(id, known, forms));
            }
        }
        let groups = self
            .groups
            .iter()
            .map(|(id, group)| GroupView {
                id: GroupId(*id),
                name: self.group_name(*id).unwrap_or_default().to_owned(),
                container: group.container.clone(),
                part_of: Some(self.canonical_group(*id)).filter(|into| into != id).map(GroupId),
                captured: !self.is_dropped(0, Some(self.canonical_group(*id))),
            })
            .collect();
        Catalogue { elements, groups, names: self.name_views() }
    }

    /// All names, the oldest first.
    fn name_views(&self) -> Vec<NameView> {
        let items: HashMap<u64, u64> = self.groups.keys().map(|id| (item_owner(*id), *id)).collect();
        let parts: HashSet<u64> = self.parts().map(|(part, _, _)| part).collect();
        let mut names: Vec<NameView> = self.names.keys().filter_map(|id| self.name_view(*id, &items, &parts)).collect();
        names.sort_by_key(|name| (name.since, name.id));
        names
    }

    /// Of a name whose owner was merged into another: what the same event is called there.
    fn name_of_whole(&self, id: NameId) -> Option<&str> {
        let owner = self.names.get(&id.0)?.owner;
        let whole = self.canonical(owner);
        let of = |owner: u64, kind: &EventType| crate::naming::name_id(*kind, owner, "");
        let kind = EventType::ALL.iter().find(|kind| whole != owner && of(owner, kind) == id.0)?;
        self.name(of(whole, kind))
    }

    /// The element that a form of another one is or would be by a split.
    #[must_use]
    pub fn part_of(&self, element: ElementId, form: usize) -> ElementId {
        ElementId(super::decisions::part(element.0, u8::try_from(form).unwrap_or(u8::MAX)))
    }

    fn element_view(&self, id: u64, element: &super::Element, forms: Vec<FormView>) -> ElementView {
        let identity = self.canonical(id);
        let group = Some(element.group).filter(|group| *group != 0).map(|group| self.canonical_group(group));
        ElementView {
            id: ElementId(id),
            role: element.role.clone(),
            group: group.map(GroupId),
            part_of: (identity != id).then_some(ElementId(identity)),
            captured: !self.is_dropped(identity, group),
            forms,
        }
    }

    fn name_view(&self, id: u64, items: &HashMap<u64, u64>, parts: &HashSet<u64>) -> Option<NameView> {
        let name = self.names.get(&id)?;
        let text = self.name(id)?.to_owned();
        let owner = self.canonical(name.owner);
        let element = self.elements.get(&owner);
        let group = items.get(&owner).copied();
        let inside = group.or_else(|| element.map(|element| element.group).filter(|group| *group != 0));
        let given = self.overlay.names.contains_key(&id);
        Some(NameView {
            id: NameId(id),
            made_as: (text != name.text).then(|| name.text.clone()),
            text,
            published: name.published || given,
            element: (element.is_some() || parts.contains(&owner)).then_some(ElementId(owner)),
            group: group.map(GroupId),
            captured: !self.is_dropped(owner, inside.map(|group| self.canonical_group(group))),
            since: Timestamp::from_millis(name.first),
        })
    }

    /// What a change would do to names: those that say, belong to or are kept differently afterwards.
    ///
    /// # Errors
    /// As `check`.
    pub fn preview(&self, change: &Change) -> Result<Vec<NameChange>, String> {
        self.check(change)?;
        let mut after = self.clone();
        after.suppose(Decision {
            id: DecisionId(self.last_decision() + 1),
            // After all others.
            made: Timestamp::from_millis(i64::MAX),
            by: String::new(),
            what: change.clone(),
            from: None,
            proposed: false,
            evidence: None,
        });
        // Names alone: what controls say is of no account here, and by far the most.
        let before = self.name_views();
        let now: HashMap<NameId, NameView> = after.name_views().into_iter().map(|name| (name.id, name)).collect();
        Ok(before
            .into_iter()
            .filter_map(|before| {
                let mut after_view = now.get(&before.id)?.clone();
                // Events of what becomes a part are called as those of the whole are.
                if let Some(text) = after.name_of_whole(before.id) {
                    text.clone_into(&mut after_view.text);
                }
                let after = after_view;
                let same = (&after.text, after.element, after.group, after.captured)
                    == (&before.text, before.element, before.group, before.captured);
                (!same).then_some(NameChange { id: before.id, before, after })
            })
            .collect())
    }
}
