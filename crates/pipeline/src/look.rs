//! What events on controls would be called and carry, without learning from them: for somebody who looks at the live site.

use convizit_model::{Batch, ElementId, GroupId, NameId, Properties, Receipt, ShownField};
use serde::Serialize;

use crate::events::{item_properties, merge_properties};
use crate::exclude::Decided;
use crate::naming::{self, Pages, find_name, resolve};
use crate::receive::Compiled;
use crate::registry::Registry;
use crate::scrub::{Places, Witness, hold_texts, scrub_batch};

/// How far a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenState {
    /// No event had it yet: it comes with the first.
    New,
    /// It may still change by itself.
    Provisional,
    /// It changes no more by itself.
    Published,
    /// A person gave it.
    Given,
}

/// What an event on a control would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Its name.
    pub text: String,
    /// The name's id; none while it is new.
    pub name: Option<NameId>,
    /// How far the name is.
    pub state: SeenState,
    /// The control's id; none while no event was on it.
    pub element: Option<ElementId>,
    /// Whether events on the control are kept, whatever is said of its group.
    pub captured: bool,
    /// The group that it repeats in.
    pub group: Option<SeenGroup>,
    /// What the event would carry.
    pub properties: Properties,
    /// What would be withheld.
    pub withheld: Vec<Receipt>,
}

/// A control's group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeenGroup {
    /// Its id; none while no event was in it.
    pub id: Option<GroupId>,
    /// Its name in the singular.
    pub name: String,
    /// 1-based.
    pub position: u32,
    /// Members on the page.
    pub length: u32,
    /// Whether events in it are kept.
    pub captured: bool,
}

/// What each event of a batch would be; nothing where a selector of the settings excludes its control, and for what is no control's.
/// The registry is changed by nothing that is kept.
pub fn look(mut batch: Batch, project: &Compiled, witness: &Witness<'_>, registry: &mut Registry) -> Vec<Option<Seen>> {
    let version = batch.settings;
    let excluded: Vec<bool> = batch
        .events
        .iter()
        .map(|event| {
            let of = |descriptor| project.exclusions.decide(descriptor, version) != Decided::Kept;
            event.descriptor.as_ref().is_none_or(of)
        })
        .collect();
    // As events go, so that the names are those that they will have.
    let places = Places::of(&batch);
    scrub_batch(&mut batch, &project.keep_query, &project.traits);
    let shown = hold_texts(&mut batch, &places, false, witness);
    let block = registry.page(&batch.page, None).into_owned();
    let pages = Pages { own: &batch.page, template: &block };
    let mut seen = Vec::with_capacity(batch.events.len());
    for (mut wire, excluded) in batch.events.into_iter().zip(excluded) {
        let Some(mut descriptor) = wire.descriptor.take().filter(|_| !excluded) else {
            seen.push(None);
            continue;
        };
        let label = shown.iter().find(|shown| shown.event == wire.id && shown.field == ShownField::Label);
        descriptor.fate = label.map(|shown| shown.fate);
        naming::complete(&mut descriptor);
        let resolved = resolve(registry, &descriptor, pages, None);
        let mut properties = merge_properties(Some(&descriptor), &block, &wire.properties);
        item_properties(&mut properties, &descriptor, &resolved);
        let control = Some((&descriptor, &resolved));
        let name = find_name(registry, wire.kind, &block, control, &properties, None);
        let state = match registry.standing(name.id) {
            None => SeenState::New,
            Some((true, _)) => SeenState::Given,
            Some((_, true)) => SeenState::Published,
            Some(_) => SeenState::Provisional,
        };
        let element = resolved.element;
        let group = resolved.group.map(|group| SeenGroup {
            captured: !registry.is_dropped(0, Some(group.id.0)),
            id: Some(group.id).filter(|id| registry.groups.contains_key(&id.0)),
            name: group.name,
            position: group.position,
            length: group.length,
        });
        seen.push(Some(Seen {
            text: name.text,
            name: (state != SeenState::New).then_some(NameId(name.id)),
            state,
            captured: !registry.is_dropped(element.0, None),
            element: Some(element).filter(|id| registry.has_element(*id)),
            group,
            properties,
            withheld: wire.withheld,
        }));
    }
    seen
}
