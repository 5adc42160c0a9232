//! What was known and whose row is lost: it is learned anew, and gets nothing of another, nor another anything of it.
//!
//! The id of an element, and that of a group, is made of the key by which it was seen first, and ids of names are made of them. So
//! what is seen again as it was seen first is what it was, with its names and all that people decided of it. Until then it may be
//! any of those that are like something else, and nothing is taken for another by its likeness: a split is better than a wrong merge.

use std::collections::HashSet;

use convizit_model::{Event, EventType, LostRow, NameState, PageBlock, StateKind};
use serde_json::Value;

use super::templates::Template;
use super::{Name, Registry, hash, item_owner};
use crate::naming::{name_id, page_view};

/// Ids of what is not known again.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost {
    elements: HashSet<u64>,
    groups: HashSet<u64>,
    templates: HashSet<u64>,
}

impl Registry {
    /// Takes down what is lost, after `load`; a name is called again as its newest event is.
    pub fn lose(&mut self, rows: &[LostRow]) {
        let mut recalled = false;
        for row in rows {
            match row.kind {
                StateKind::Element if !self.elements.contains_key(&row.key) => drop(self.lost.elements.insert(row.key)),
                StateKind::Group if !self.groups.contains_key(&row.key) => drop(self.lost.groups.insert(row.key)),
                StateKind::Template if !self.templates.contains_key(&row.key) => {
                    self.lost.templates.insert(row.key);
                }
                StateKind::Name if !self.names.contains_key(&row.key) => {
                    if let Some(event) = &row.newest {
                        self.recall_name(row.key, event);
                        recalled = true;
                    }
                }
                _ => {}
            }
        }
        if recalled && !self.decisions.is_empty() {
            self.settle();
        }
    }

    /// Whether controls and groups may be joined to others by their likeness: not while one is lost that they may be.
    pub(crate) fn may_join_elements(&self) -> bool {
        self.lost.elements.is_empty()
    }

    pub(crate) fn may_join_groups(&self) -> bool {
        self.lost.groups.is_empty()
    }

    /// Whether an element of this id would take over the forms that people made elements of their own: the new one's are others.
    pub(super) fn is_lost_in_parts(&self, element: u64) -> bool {
        self.lost.elements.contains(&element) && self.has_parts(element)
    }

    pub(super) fn is_element_again(&mut self, element: u64) {
        self.lost.elements.remove(&element);
    }

    pub(super) fn is_group_again(&mut self, group: u64) {
        self.lost.groups.remove(&group);
    }

    /// What stands below a path was one of many before, where a name speaks of it so: `/blog/:id`.
    pub(super) fn recall_template(&mut self, key: u64, above: &str, page: &PageBlock, today: i64) {
        if !self.lost.templates.contains(&key) {
            return;
        }
        let template = PageBlock { path: format!("{above}:id"), ..page.clone() };
        if self.names.contains_key(&page_view(&template)) && page_view(&template) != page_view(page) {
            self.lost.templates.remove(&key);
            self.put_template(key, Template::of_many(above, today));
            self.change(StateKind::Template, key);
        }
    }

    fn recall_name(&mut self, id: u64, event: &Event) {
        let name = Name {
            made: self.made,
            text: event.name.clone(),
            owner: owner_of(id, event),
            published: event.name_state == NameState::Published,
            waits: false,
            former: String::new(),
            first: event.received.as_millis(),
            day: event.received.day(),
            events: 0,
            visitors: Vec::new(),
        };
        self.put_name(id, name);
        self.change(StateKind::Name, id);
    }
}

/// Whose name it is: what gives its id. Of pages, whose ids are made of texts that events do not have, the name is its own.
fn owner_of(id: u64, event: &Event) -> u64 {
    let variant = match event.kind {
        EventType::WebVital | EventType::Media | EventType::Dialog => {
            let said = ["Metric", "Action"].iter().find_map(|key| event.properties.get(*key));
            said.and_then(Value::as_str).unwrap_or_default()
        }
        _ => "",
    };
    let element = event.element.as_ref().map(|element| element.id.0);
    let items = event.group.as_ref().map(|group| item_owner(group.id.0));
    let of_site = [hash(&["coded", &event.name]), hash(&["site"])];
    let mut owners = element.into_iter().chain(items).chain(of_site);
    owners.find(|owner| name_id(event.kind, *owner, variant) == id).unwrap_or(id)
}
