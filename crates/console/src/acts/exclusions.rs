//! What is not captured by selector or path: what an entry takes out, what it does since it holds, and putting it in and out.

use std::collections::{BTreeMap, HashMap};

use convizit_model::settings::{ENTRY_CHARS, LIST_ENTRIES};
use convizit_model::{Change, DecisionId, ElementId, GroupId, Project, ProjectSettings, SettingsError, Timestamp};
use convizit_pipeline::{ElementView, Hit, Registry, Selector, is_excluded_path};
use convizit_store::{ExclusionKind, Store};
use serde::Deserialize;

use super::{Acting, Undone};
use crate::access::Samples;
use crate::known::{Known, Sight};
use crate::page::Refusal;

/// Controls or pages that a try shows.
const SHOWN: usize = 50;
/// Newest events whose pages a path is tried on, and their bytes.
const EVENTS: i64 = 1_000;
const EVENT_BYTES: usize = 2 << 20;

/// What a try found.
pub(crate) struct Tried {
    /// How many controls or paths match, and how many may.
    pub(crate) hits: usize,
    pub(crate) perhaps: usize,
    /// Events of those that match: of all that are kept by selector, of the newest by path.
    pub(crate) events: i64,
    /// How many known controls, or newest events, there are, and on how many paths those are.
    pub(crate) of: usize,
    pub(crate) on: usize,
    /// The first 50.
    pub(crate) controls: Vec<Control>,
    /// The first 50, for those who see samples: a path is part of what visitors did.
    pub(crate) paths: Vec<(String, usize)>,
    /// Whether it is excluded already.
    pub(crate) holds: bool,
    /// Whether the page alone can tell.
    pub(crate) untold: bool,
}

/// A control that a selector matches.
pub(crate) struct Control {
    pub(crate) element: ElementId,
    pub(crate) role: String,
    /// Id and text of its names.
    pub(crate) names: Vec<(String, String)>,
    pub(crate) events: i64,
    pub(crate) last: Timestamp,
    pub(crate) hit: Hit,
    /// What it says, where, on which page: for those who see samples.
    pub(crate) said: Option<(String, String, String)>,
}

/// The entries of a kind that hold.
pub(crate) fn entries(settings: &ProjectSettings, kind: ExclusionKind) -> &[String] {
    match kind {
        ExclusionKind::Selector => &settings.exclude_selectors,
        ExclusionKind::Path => &settings.exclude_paths,
    }
}

fn entries_mut(settings: &mut ProjectSettings, kind: ExclusionKind) -> &mut Vec<String> {
    match kind {
        ExclusionKind::Selector => &mut settings.exclude_selectors,
        ExclusionKind::Path => &mut settings.exclude_paths,
    }
}

/// The pages where controls were first seen, with the day when the last of them was seen.
pub(crate) fn pages_of(known: &Known) -> HashMap<&str, Timestamp> {
    let mut pages: HashMap<&str, Timestamp> = HashMap::new();
    for form in known.catalogue.elements.iter().flat_map(|element| &element.forms) {
        let last = pages.entry(form.page.as_str()).or_insert(form.last);
        *last = (*last).max(form.last);
    }
    pages
}

/// When something was last seen on pages that a path takes out.
fn last_on(pages: &HashMap<&str, Timestamp>, pattern: &str) -> Sight {
    let days = pages.iter().filter(|(page, _)| is_excluded_path(pattern, page)).map(|(_, last)| *last);
    days.fold(None, |sight: Sight, day| Some(sight.map_or((day, 1), |(last, count)| (last.max(day), count + 1))))
}

/// When something that an entry takes out was last seen; `None` where the page alone can tell. `pages` are `pages_of`.
pub(crate) fn last_of(
    known: &Known,
    pages: &HashMap<&str, Timestamp>,
    (kind, text): (ExclusionKind, &str),
) -> Option<Sight> {
    match kind {
        ExclusionKind::Path => Some(last_on(pages, text)),
        ExclusionKind::Selector => known.sight(text),
    }
}

/// Only what is asked for here: an event has much more.
#[derive(Deserialize)]
struct OnPage {
    page: PagePath,
}

#[derive(Deserialize)]
struct PagePath {
    path: String,
}

/// The paths of the newest events, with how many there are of each.
async fn recent_paths(store: &Store, project: &Project) -> Result<BTreeMap<String, usize>, Refusal> {
    let last = store.last_event(project.number).await?;
    let limit = usize::try_from(EVENTS).unwrap_or(0);
    let mut paths = BTreeMap::new();
    for event in store.events_after(project.number, (last - EVENTS).max(0), limit, EVENT_BYTES).await? {
        // Of another version's form an event is left out here: it is stored and delivered all the same.
        if let Ok(OnPage { page }) = serde_json::from_slice(&event.json) {
            *paths.entry(page.path).or_default() += 1;
        }
    }
    Ok(paths)
}

async fn try_path(acting: &Acting<'_>, samples: Option<&Samples>, pattern: &str) -> Result<Tried, Refusal> {
    let paths = recent_paths(acting.store, acting.project).await?;
    let of: usize = paths.values().sum();
    let (on, mut hits) = (paths.len(), Vec::new());
    hits.extend(paths.into_iter().filter(|(path, _)| is_excluded_path(pattern, path)));
    hits.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let events: usize = hits.iter().map(|(_, events)| events).sum();
    Ok(Tried {
        hits: hits.len(),
        perhaps: 0,
        events: i64::try_from(events).unwrap_or(i64::MAX),
        of,
        on,
        controls: Vec::new(),
        paths: if samples.is_some() { hits.into_iter().take(SHOWN).collect() } else { Vec::new() },
        holds: acting.project.settings.exclude_paths.iter().any(|known| known == pattern),
        untold: false,
    })
}

/// What a control says and where it stands.
fn said(_: &Samples, element: &ElementView) -> (String, String, String) {
    let last = element.forms.iter().max_by_key(|form| form.last);
    last.map(|form| (form.label.clone(), form.section.clone(), form.page.clone())).unwrap_or_default()
}

fn try_selector(project: &Project, known: &Known, samples: Option<&Samples>, text: &str) -> Result<Tried, String> {
    let selector = Selector::parse(text)?;
    let found = known.registry.select(&selector);
    let perhaps = found.iter().filter(|one| one.hit == Hit::Perhaps).count();
    let mut names: HashMap<_, i64> = HashMap::new();
    for one in found.iter().filter(|one| one.hit != Hit::Perhaps) {
        for name in known.element(one.element).map(|element| known.names_for(element)).unwrap_or_default() {
            names.insert(name.id, known.events(name.id));
        }
    }
    let control = |one: &convizit_pipeline::Selected| {
        let element = known.element(one.element)?;
        let names = known.names_for(element);
        Some(Control {
            element: one.element,
            role: element.role.clone(),
            events: names.iter().map(|name| known.events(name.id)).sum(),
            names: names.into_iter().map(|name| (name.id.to_string(), name.text.clone())).collect(),
            last: one.last,
            hit: one.hit,
            said: samples.map(|right| said(right, element)),
        })
    };
    Ok(Tried {
        hits: found.len() - perhaps,
        perhaps,
        events: names.values().sum(),
        of: known.catalogue.elements.len(),
        on: 0,
        controls: found.iter().take(SHOWN).filter_map(control).collect(),
        paths: Vec::new(),
        holds: project.settings.exclude_selectors.iter().any(|known| known == text),
        untold: !Registry::can_tell(&selector),
    })
}

/// Tries an entry on what is known of the project and was seen lately; nothing is changed.
///
/// # Errors
/// `Wrong` at the kind where the settings would not take it.
pub(crate) async fn try_entry(
    acting: &Acting<'_>,
    known: &Known,
    samples: Option<&Samples>,
    (kind, text): (ExclusionKind, &str),
) -> Result<Tried, Undone> {
    let wrong = |text: String| Undone::wrong(kind.as_str(), text);
    check(kind, text).map_err(wrong)?;
    match kind {
        ExclusionKind::Path => Ok(try_path(acting, samples, text).await?),
        ExclusionKind::Selector => try_selector(acting.project, known, samples, text).map_err(wrong),
    }
}

/// What has a switch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Thing {
    Element(ElementId),
    Group(GroupId),
}

/// A group or control that people switched off by a decision that holds.
pub(crate) struct Off<'a> {
    pub(crate) thing: Thing,
    pub(crate) decision: DecisionId,
    pub(crate) by: &'a str,
    pub(crate) made: Timestamp,
}

/// What people switched off, the newest first.
pub(crate) fn off(known: &Known) -> Vec<Off<'_>> {
    let mut last: HashMap<Thing, Off<'_>> = HashMap::new();
    for decision in known.registry.decisions().into_iter().filter(|one| known.registry.holds(one.id)) {
        let (thing, captured) = match decision.what {
            Change::CaptureElement { element, captured } => (Thing::Element(element), captured),
            Change::CaptureGroup { group, captured } => (Thing::Group(group), captured),
            _ => continue,
        };
        if captured {
            last.remove(&thing);
        } else {
            last.insert(thing, Off { thing, decision: decision.id, by: &decision.by, made: decision.made });
        }
    }
    let mut all: Vec<Off<'_>> = last.into_values().collect();
    all.sort_by_key(|one| std::cmp::Reverse((one.made, one.decision)));
    all
}

/// Whether the settings would take an entry.
fn check(kind: ExclusionKind, text: &str) -> Result<(), String> {
    if text.chars().count() > ENTRY_CHARS {
        return Err(format!("at most {ENTRY_CHARS} characters"));
    }
    let mut settings = ProjectSettings::default();
    entries_mut(&mut settings, kind).push(text.to_owned());
    let wrong = |SettingsError { problem, .. }| problem;
    settings.validate().and_then(|()| settings.check_selectors()).map_err(wrong)
}

/// Excludes an entry, over the settings of a version; returns their version now.
///
/// # Errors
/// `Wrong` at the kind; `Meanwhile` where the settings are of another version.
pub(crate) async fn add(acting: &Acting<'_>, (kind, text): (ExclusionKind, &str), version: u64) -> Result<u64, Undone> {
    let mut settings = acting.project.settings.clone();
    let list = entries_mut(&mut settings, kind);
    let problem = match check(kind, text) {
        Err(problem) => Some(problem),
        Ok(()) if list.iter().any(|known| known == text) => Some("this is excluded already".to_owned()),
        Ok(()) if list.len() >= LIST_ENTRIES => {
            Some(format!("there are {LIST_ENTRIES} already: take one out that matches nothing any more"))
        }
        Ok(()) => None,
    };
    if let Some(problem) = problem {
        return Err(Undone::wrong(kind.as_str(), problem));
    }
    list.push(text.to_owned());
    Ok(acting.store.save_settings_from(&acting.project.id, version, settings).await?.version)
}

/// Takes an entry out, over the settings of a version; returns their version now, `None` where there is no such entry.
///
/// # Errors
/// `Meanwhile` where the settings are of another version.
pub(crate) async fn remove(
    acting: &Acting<'_>,
    (kind, text): (ExclusionKind, &str),
    version: u64,
) -> Result<Option<u64>, Undone> {
    let mut settings = acting.project.settings.clone();
    let list = entries_mut(&mut settings, kind);
    let before = list.len();
    list.retain(|known| known != text);
    if list.len() == before {
        return Ok(None);
    }
    Ok(Some(acting.store.save_settings_from(&acting.project.id, version, settings).await?.version))
}
