//! After a deploy: what is new, moved, renamed and lost, and which new control may be which lost one.

use std::collections::HashMap;

use convizit_model::{Change, Decision, DecisionId, ElementId, Evidence, NameId, Timestamp};
use serde::Serialize;

use super::{Form, Registry};
use crate::naming::{self, Likeness};

/// Who decides where no person does.
pub(super) const OWN: &str = "convizit";
/// Odds (as logarithm) that a control which began when another fell silent adds: so few begin in an hour.
const HANDOVER: f64 = 2.0;
/// How long after the last event of the one the other may begin, in milliseconds: silence is known after an hour or more.
const HANDOVER_MILLIS: i64 = 48 * 3_600_000;
/// From this sum of the evidence on two controls are merged without asking (a probability of .95) …
const MERGE: f64 = 6.0;
/// … and from this on it is proposed (.5).
const PROPOSE: f64 = 0.0;
/// By how much the second best must be behind.
const MARGIN: f64 = 1.0;
const DAY_MILLIS: i64 = 24 * 3_600_000;
/// Controls that are compared with one lost one at most.
const COMPARED: usize = 256;
/// Silent names that one review looks at, at most.
const REVIEWED: usize = 100;
/// Elements and forms made between two reviews that are a deploy's, and no slow discovery of a site …
const BURST: u32 = 5;
/// … where at least so many were known a day before.
const KNOWN: usize = 20;

/// A name that has no events though some were expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// The name.
    pub name: NameId,
    /// How many were expected since the last one.
    pub missing: u64,
}

/// What a review found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// Merges that the product made by itself.
    pub merged: usize,
    /// Merges that people are asked about.
    pub proposed: usize,
    /// Elements and forms that a deploy brought; 0 where they came slowly.
    pub burst: u32,
}

/// What became of a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteChangeKind {
    /// Seen for the first time.
    New,
    /// Known, and stands elsewhere now.
    Moved,
    /// Known, and says something else now.
    Renamed,
    /// No event comes though some were expected.
    Lost,
}

/// One change of the site.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteChange {
    /// What became of it.
    pub kind: SiteChangeKind,
    /// Of which element.
    pub element: ElementId,
    /// Its names.
    pub names: Vec<String>,
    /// What it said and where it stood.
    pub before: Option<String>,
    /// What it says and where it stands now.
    pub now: Option<String>,
    /// When it was first seen so, or that many events were expected.
    pub since: Timestamp,
    /// Events that did not come.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn said(form: &Form) -> String {
    let section = if form.section.is_empty() { String::new() } else { format!(" in {}", form.section) };
    // An item says its own text, which is kept in its events alone.
    let label = if form.label.is_empty() { "an item".to_owned() } else { format!("{:?}", form.label) };
    format!("{label}{section} on {}", form.page)
}

impl Registry {
    /// Looks for the controls that lost ones have become. Merges by itself where the evidence is overwhelming, the new one has
    /// no published name, nothing contradicts and no other one is lost that it may be; else proposes.
    pub fn review(&mut self, silences: &[Silence], now: Timestamp) -> Reviewed {
        let mut found = Reviewed::default();
        let day_before = now.as_millis() - DAY_MILLIS;
        let old =
            self.elements.values().filter(|element| element.forms.first().is_some_and(|form| form.since < day_before));
        if self.fresh >= BURST && old.count() >= KNOWN {
            found.burst = self.fresh;
        }
        self.fresh = 0;
        // So many at a time, others the next time.
        let start = usize::try_from(self.reviewed).unwrap_or(0).wrapping_mul(REVIEWED) % silences.len().max(1);
        for silence in silences.iter().cycle().skip(start).take(REVIEWED.min(silences.len())) {
            let Some(owner) = self.names.get(&silence.name.0).map(|name| name.owner) else { continue };
            let kept = !self.is_excused(silence.name);
            let Some(lost) = self.elements.get(&owner).filter(|_| kept).cloned() else {
                continue;
            };
            let last_day = lost.forms.iter().map(|form| form.day).max().unwrap_or(0);
            let mut ranked: Vec<(u64, Likeness)> = self
                .candidates(&lost.features, COMPARED)
                .into_iter()
                .filter(|id| *id != owner && self.canonical(*id) == *id && !self.is_unwanted(*id))
                .filter_map(|id| {
                    let other = self.elements.get(&id)?;
                    let began = other.forms.first()?.since;
                    // It began when, or soon after, the lost one was last seen.
                    let handed_over =
                        began >= last_day * DAY_MILLIS && began - last_day * DAY_MILLIS <= HANDOVER_MILLIS;
                    let alive = other.forms.iter().any(|form| form.day >= last_day);
                    (handed_over && alive).then(|| (id, naming::likeness(&other.features, &lost.features, self)))
                })
                .collect();
            ranked.sort_by(|a, b| b.1.odds.total_cmp(&a.1.odds).then(a.0.cmp(&b.0)));
            let Some((id, best)) = ranked.first() else { continue };
            let (id, odds) = (*id, best.odds + HANDOVER);
            let second = ranked.get(1).map_or(f64::MIN, |(_, likeness)| likeness.odds + HANDOVER);
            if odds < PROPOSE || odds - second < MARGIN || self.is_decided(id, owner) {
                continue;
            }
            let published = self.is_published(id);
            let by_itself = odds >= MERGE && !best.contradict && !published && self.may_join_elements();
            let evidence = Evidence {
                probability: naming::probability(odds),
                agree: best.agree.clone(),
                differ: best.differ.clone(),
                missing: silence.missing,
            };
            self.decide(Decision {
                id: DecisionId(0),
                made: now,
                by: OWN.to_owned(),
                what: Change::Merge { element: ElementId(id), into: ElementId(owner) },
                from: None,
                proposed: !by_itself,
                evidence: Some(evidence),
            });
            if by_itself {
                found.merged += 1;
            } else {
                found.proposed += 1;
            }
        }
        found
    }

    /// Whether people want none of its events.
    fn is_unwanted(&self, element: u64) -> bool {
        let group =
            self.elements.get(&element).map(|known| self.canonical_group(known.group)).filter(|group| *group != 0);
        self.is_dropped(element, group)
    }

    /// Whether these two were merged, proposed or separated before: nobody is asked twice.
    pub(super) fn is_decided(&self, element: u64, into: u64) -> bool {
        self.decisions.values().any(|decision| {
            matches!(&decision.what, Change::Merge { element: a, into: b }
                if (a.0, b.0) == (element, into) || (a.0, b.0) == (into, element))
        })
    }

    /// What changed on the site since a time, newest first.
    #[must_use]
    pub fn site_changes(&self, since: Timestamp, silences: &[Silence]) -> Vec<SiteChange> {
        let mut by_owner: HashMap<u64, Vec<&str>> = HashMap::new();
        for (id, name) in &self.names {
            by_owner.entry(self.canonical(name.owner)).or_default().extend(self.name(*id));
        }
        let names = |owner: u64| -> Vec<String> {
            let mut names: Vec<String> =
                by_owner.get(&owner).into_iter().flatten().map(|text| (*text).to_owned()).collect();
            // What is called by its group has no name of its own.
            if names.is_empty()
                && let Some(group) = self.elements.get(&owner).and_then(|element| self.group_name(element.group))
            {
                names.push(group.to_owned());
            }
            names.sort();
            names.dedup();
            names
        };
        let mut changes = Vec::new();
        for (id, element) in &self.elements {
            let identity = self.canonical(*id);
            for (at, form) in element.forms.iter().enumerate().filter(|(_, form)| form.since >= since.as_millis()) {
                let before = at.checked_sub(1).and_then(|at| element.forms.get(at));
                let kind = match before {
                    None if identity != *id => continue,
                    None => SiteChangeKind::New,
                    // Another language is no change of the site.
                    Some(before) if before.language != form.language => continue,
                    Some(before) if before.label != form.label => SiteChangeKind::Renamed,
                    // On another page it is found too, as long as it is where it was.
                    Some(before) if before.page != form.page && before.day * DAY_MILLIS + DAY_MILLIS > form.since => {
                        continue;
                    }
                    Some(_) => SiteChangeKind::Moved,
                };
                changes.push(SiteChange {
                    kind,
                    element: ElementId(identity),
                    names: names(identity),
                    before: before.map(said),
                    now: Some(said(form)),
                    since: Timestamp::from_millis(form.since),
                    missing: 0,
                });
            }
        }
        for silence in silences {
            let Some(owner) = self.names.get(&silence.name.0).map(|name| name.owner) else { continue };
            if self.is_excused(silence.name) {
                continue;
            }
            let last = self.elements.get(&owner).and_then(|element| element.forms.iter().max_by_key(|form| form.day));
            changes.push(SiteChange {
                kind: SiteChangeKind::Lost,
                element: ElementId(owner),
                names: self.name(silence.name.0).map(str::to_owned).into_iter().collect(),
                before: last.map(said),
                now: None,
                since: Timestamp::from_millis(last.map_or(0, |form| form.day * DAY_MILLIS)),
                missing: silence.missing,
            });
        }
        changes.sort_by(|a, b| (b.since, a.element.0).cmp(&(a.since, b.element.0)));
        changes
    }

    /// Whether the silent names of this state were looked at; notes that they are.
    pub fn is_reviewed(&mut self, state: u64) -> bool {
        std::mem::replace(&mut self.reviewed, state) == state
    }
}
