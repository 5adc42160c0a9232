//! Groups as they are looked at: how many events each has, and the controls that stand in it.

use std::collections::HashMap;

use convizit_model::GroupId;
use convizit_pipeline::{ElementView, GroupView};

use crate::access::Samples;
use crate::known::Known;
use crate::page::Refusal;

/// Names whose counts a page of groups draws, those of all its groups together, and of one group at least: each is a week of hours
/// that the database reads.
const DRAWN: usize = 90;
const DRAWN_OF_ONE: usize = 3;

/// Events of all that stands in a group.
pub(crate) fn events_in(known: &Known, group: GroupId) -> i64 {
    known.names_in(group).map(|name| known.events(name.id)).sum()
}

/// A project's groups, those with the most events first; groups that are part of another one are not shown apart.
pub(crate) fn by_events(known: &Known, fits: impl Fn(&GroupView) -> bool) -> Vec<(&GroupView, i64)> {
    let own = known.catalogue.groups.iter().filter(|group| group.part_of.is_none() && fits(group));
    let mut groups: Vec<(&GroupView, i64)> = own.map(|group| (group, events_in(known, group.id))).collect();
    groups.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.name.cmp(&b.name)).then(a.id.0.cmp(&b.id.0)));
    groups
}

/// The names whose counts are drawn of a group, where so many groups are: the most frequent ones.
pub(crate) fn drawn(known: &Known, group: GroupId, groups: usize) -> Vec<u64> {
    let mut names: Vec<_> = known.names_in(group).map(|name| name.id).collect();
    names.sort_by_key(|name| std::cmp::Reverse(known.events(*name)));
    let most = (DRAWN / groups.max(1)).max(DRAWN_OF_ONE);
    names.into_iter().take(most).map(|name| name.0).collect()
}

/// Events by hour of several names together.
pub(crate) fn sum(hours: &HashMap<u64, HashMap<i64, i64>>, names: &[u64]) -> HashMap<i64, i64> {
    let mut all = HashMap::new();
    for (hour, events) in names.iter().filter_map(|name| hours.get(name)).flatten() {
        *all.entry(*hour).or_default() += events;
    }
    all
}

/// Events that a control's names have.
pub(crate) fn events_of(known: &Known, element: &ElementView) -> i64 {
    known.names_for(element).into_iter().map(|name| known.events(name.id)).sum()
}

/// The controls that stand in a group, those with the most events first.
pub(crate) fn controls_in(known: &Known, group: GroupId) -> Vec<&ElementView> {
    let mut inside: Vec<_> = known.catalogue.elements.iter().filter(|element| element.group == Some(group)).collect();
    inside.sort_by_cached_key(|element| (std::cmp::Reverse(events_of(known, element)), element.id.0));
    inside
}

/// What a control says.
pub(crate) fn said(_: &Samples, element: &ElementView) -> String {
    let last = element.forms.iter().max_by_key(|form| form.last);
    last.map(|form| form.label.clone()).unwrap_or_default()
}

/// A group of an address.
pub(crate) fn find<'a>(known: &'a Known, id: &str) -> Result<&'a GroupView, Refusal> {
    id.parse().ok().and_then(|id| known.group(id)).ok_or(Refusal::NotFound)
}
