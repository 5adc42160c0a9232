//! What is not captured: elements by CSS selector and pages by path, each tried on what was seen lately before it holds, and groups
//! and controls that people switched off.

use std::collections::{BTreeMap, HashMap};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use convizit_model::settings::{ENTRY_CHARS, LIST_ENTRIES};
use convizit_model::{
    Action, Change, DecisionId, ElementId, GroupId, Project, ProjectSettings, SettingsError, Timestamp,
};
use convizit_pipeline::{ElementView, Hit, Registry, Selector, is_excluded_path};
use convizit_store::{Exclusion, ExclusionKind, Store, StoreError};
use serde::Deserialize;

use super::decisions::{People, called};
use super::groups::{self, by_events};
use super::known::{Known, known};
use crate::Console;
use crate::access::{Member, Samples};
use crate::page::{Chrome, Pager, Problem, Refusal, again, count, html, minute, see};

/// Entries of a list on a page.
const PAGE: usize = 50;
/// Controls or pages that a try shows.
const SHOWN: usize = 50;
/// Newest events whose pages a path is tried on, and their bytes.
const EVENTS: i64 = 1_000;
const EVENT_BYTES: usize = 2 << 20;
/// Groups with a switch here; the others are on their own page.
const GROUPS: usize = 8;
/// Entries that can be put back and controls that can be captured again, at most.
const PAST: usize = 30;

#[derive(Template)]
#[template(path = "exclusions.html")]
struct ExclusionsPage {
    chrome: Chrome,
    project: String,
    version: u64,
    may_edit: bool,
    samples: bool,
    rules: [Rules; 2],
    off: Vec<Off>,
    more_off: usize,
    /// Groups with a switch, and where it leads back to.
    shown: Vec<groups::Line>,
    back: &'static str,
    removed: Vec<Removed>,
    meanwhile: bool,
    problem: Problem,
}

/// The entries of one kind, and the one that is tried.
struct Rules {
    kind: &'static str,
    title: &'static str,
    lead: &'static str,
    label: &'static str,
    example: &'static str,
    entries: Vec<Entry>,
    pager: Pager,
    tried: String,
    result: Option<Tried>,
}

/// An entry that holds.
struct Entry {
    text: String,
    /// By whom and when, where that is known.
    set: Option<(String, String)>,
    mark: (&'static str, String),
}

/// What a try found.
struct Tried {
    /// How many controls or paths match, and how many may.
    hits: usize,
    perhaps: usize,
    events: String,
    of: String,
    controls: Vec<Control>,
    paths: Vec<(String, String)>,
    /// Whether it is excluded already.
    holds: bool,
    /// Whether the page alone can tell.
    untold: bool,
}

/// A control that a selector matches.
struct Control {
    /// Id and text of its names.
    names: Vec<(String, String)>,
    called: String,
    role: String,
    events: String,
    last: String,
    badge: (&'static str, &'static str),
    /// What it says, where, on which page: for those who see samples.
    said: Option<(String, String, String)>,
}

/// A group or control that people switched off.
struct Off {
    what: String,
    link: Option<String>,
    of_group: bool,
    who: String,
    when: String,
    decision: DecisionId,
}

/// An entry that was taken out.
struct Removed {
    kind: &'static str,
    text: String,
    who: String,
    when: String,
}

fn date(time: Timestamp) -> String {
    minute(time).chars().take(10).collect()
}

fn days(count: i64) -> String {
    if count == 1 { "1 day".to_owned() } else { format!("{count} days") }
}

/// What an entry does, as far as it can be told: of what works nothing comes any more, so the last sight is what there is.
fn mark(
    last: Option<(Timestamp, usize)>,
    set: Option<Timestamp>,
    (now, retention): (Timestamp, u32),
) -> (&'static str, String) {
    let Some((last, known)) = last else {
        let since = set.map(|set| now.day() - set.day());
        return match since {
            // What it matched may be older than what is kept.
            None => ("", "matches nothing that is kept".to_owned()),
            Some(age) if age > i64::from(retention) => ("", "matches nothing that is kept".to_owned()),
            Some(0) => ("warn", "matches nothing known".to_owned()),
            Some(age) => ("warn", format!("matched nothing for {}", days(age))),
        };
    };
    match set {
        // Trackers with older settings, or something beside what it was meant for.
        Some(set) if last.day() > set.day() => ("bad", format!("seen since, last on {}", date(last))),
        // It was gone before: whoever looks for it does so in vain.
        Some(set) if last.day() + 1 < set.day() => {
            ("warn", format!("matched nothing for {}", days(now.day() - last.day())))
        }
        _ => ("good", format!("nothing of it since {} ({known} known)", date(last))),
    }
}

impl Rules {
    fn of(kind: ExclusionKind, pager: Pager, entries: Vec<Entry>) -> Self {
        let [title, lead, label, example] = match kind {
            ExclusionKind::Selector => [
                "Elements",
                "What a CSS selector matches is not captured, nor is anything inside it. Browsers do not even read it.",
                "CSS selector",
                ".card-number",
            ],
            ExclusionKind::Path => {
                ["Pages", "Nothing is captured on pages with such a path. * stands for any text.", "Path", "/account/*"]
            }
        };
        Self { kind: kind.as_str(), title, lead, label, example, entries, pager, tried: String::new(), result: None }
    }
}

fn entries(settings: &ProjectSettings, kind: ExclusionKind) -> &[String] {
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
fn pages_of(known: &Known) -> HashMap<&str, Timestamp> {
    let mut pages: HashMap<&str, Timestamp> = HashMap::new();
    for form in known.catalogue.elements.iter().flat_map(|element| &element.forms) {
        let last = pages.entry(form.page.as_str()).or_insert(form.last);
        *last = (*last).max(form.last);
    }
    pages
}

/// The day when a page was last seen that a path takes out, and how many there are.
fn last_on(pages: &HashMap<&str, Timestamp>, pattern: &str) -> Option<(Timestamp, usize)> {
    let days = || pages.iter().filter(|(page, _)| is_excluded_path(pattern, page)).map(|(_, last)| *last);
    days().max().map(|last| (last, days().count()))
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

async fn try_path(member: &Member, pattern: &str) -> Result<Tried, Refusal> {
    let paths = recent_paths(&member.asking.store, &member.project).await?;
    let all: usize = paths.values().sum();
    let (known, mut hits) = (paths.len(), Vec::new());
    hits.extend(paths.into_iter().filter(|(path, _)| is_excluded_path(pattern, path)));
    hits.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let events: usize = hits.iter().map(|(_, events)| events).sum();
    let text = |number: usize| count(i64::try_from(number).unwrap_or(i64::MAX));
    Ok(Tried {
        hits: hits.len(),
        perhaps: 0,
        events: text(events),
        of: format!(
            "the newest {} events, on {}",
            text(all),
            if known == 1 { "1 path".to_owned() } else { format!("{known} paths") }
        ),
        controls: Vec::new(),
        // A path is part of what visitors did.
        paths: match member.samples() {
            Some(_) => hits.into_iter().take(SHOWN).map(|(path, events)| (path, text(events))).collect(),
            None => Vec::new(),
        },
        holds: member.project.settings.exclude_paths.iter().any(|known| known == pattern),
        untold: false,
    })
}

/// What a control says and where it stands.
fn said(_: &Samples, element: &ElementView) -> (String, String, String) {
    let last = element.forms.iter().max_by_key(|form| form.last);
    last.map(|form| (form.label.clone(), form.section.clone(), form.page.clone())).unwrap_or_default()
}

fn try_selector(member: &Member, known: &Known, text: &str) -> Result<Tried, String> {
    let selector = Selector::parse(text)?;
    let found = known.registry.select(&selector);
    let perhaps = found.iter().filter(|one| one.hit == Hit::Perhaps).count();
    let samples = member.samples();
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
            called: called(known, one.element),
            role: element.role.clone(),
            events: count(names.iter().map(|name| known.events(name.id)).sum()),
            names: names.into_iter().map(|name| (name.id.to_string(), name.text.clone())).collect(),
            last: date(one.last),
            badge: match one.hit {
                Hit::Itself => ("bad", "excluded"),
                Hit::Around => ("bad", "excluded: inside it"),
                Hit::Perhaps => ("warn", "the page decides"),
            },
            said: samples.as_ref().map(|right| said(right, element)),
        })
    };
    Ok(Tried {
        hits: found.len() - perhaps,
        perhaps,
        events: count(names.values().sum()),
        of: format!("{} known controls", count(i64::try_from(known.catalogue.elements.len()).unwrap_or(i64::MAX))),
        controls: found.iter().take(SHOWN).filter_map(control).collect(),
        paths: Vec::new(),
        holds: member.project.settings.exclude_selectors.iter().any(|known| known == text),
        untold: !Registry::can_tell(&selector),
    })
}

/// What has a switch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Thing {
    Element(ElementId),
    Group(GroupId),
}

/// What people switched off by a decision that holds, the newest first, and how many there are beside those that are shown.
async fn off(store: &Store, project: &str, known: &Known) -> (Vec<Off>, usize) {
    let mut last: HashMap<Thing, (DecisionId, &str, Timestamp)> = HashMap::new();
    for decision in known.registry.decisions().into_iter().filter(|one| known.registry.holds(one.id)) {
        let (thing, captured) = match decision.what {
            Change::CaptureElement { element, captured } => (Thing::Element(element), captured),
            Change::CaptureGroup { group, captured } => (Thing::Group(group), captured),
            _ => continue,
        };
        if captured {
            last.remove(&thing);
        } else {
            last.insert(thing, (decision.id, decision.by.as_str(), decision.made));
        }
    }
    let mut all: Vec<_> = last.into_iter().collect();
    all.sort_by_key(|(_, (id, _, made))| std::cmp::Reverse((*made, *id)));
    let more = all.len().saturating_sub(PAST);
    let mut people = People::default();
    let mut shown = Vec::new();
    for (thing, (decision, by, made)) in all.into_iter().take(PAST) {
        let (what, link, of_group) = match thing {
            Thing::Group(group) => {
                let name = known.group(group).map_or_else(|| group.to_string(), |group| group.name.clone());
                (name, Some(format!("/p/{project}/groups/{group}")), true)
            }
            Thing::Element(element) => {
                let name = known.names_of(element).next();
                (called(known, element), name.map(|name| format!("/p/{project}/events/{}", name.id)), false)
            }
        };
        let who = people.name(store, by).await;
        shown.push(Off { what, link, of_group, who, when: minute(made), decision });
    }
    (shown, more)
}

/// What an entry's line shows.
async fn lines(
    member: &Member,
    known: &Known,
    kind: ExclusionKind,
    (set, people): (&[Exclusion], &mut People),
) -> (Vec<Entry>, Pager) {
    let (store, project) = (&member.asking.store, &member.project);
    let all = entries(&project.settings, kind);
    let name = match kind {
        ExclusionKind::Selector => "from_selector",
        ExclusionKind::Path => "from_path",
    };
    let from: usize = member.asking.query.get(name).parse().unwrap_or(0);
    let clock = (member.asking.now(), project.settings.retention_days);
    let pages = if kind == ExclusionKind::Path { pages_of(known) } else { HashMap::new() };
    let mut lines = Vec::new();
    for text in all.iter().skip(from).take(PAGE) {
        let set = set.iter().find(|one| one.kind == kind && one.entry == *text);
        let at = set.map(|set| set.set_at);
        let selector = if kind == ExclusionKind::Selector { Selector::parse(text).ok() } else { None };
        let mark = match (kind, selector) {
            (ExclusionKind::Path, _) => mark(last_on(&pages, text), at, clock),
            (_, Some(selector)) if Registry::can_tell(&selector) => {
                mark(known.registry.last_selected(&selector), at, clock)
            }
            _ => ("", "the page alone can tell".to_owned()),
        };
        let set = match set {
            Some(set) => Some((people.name(store, &set.set_by).await, minute(set.set_at))),
            None => None,
        };
        lines.push(Entry { text: text.clone(), set, mark });
    }
    (lines, Pager::new(&format!("/p/{}/exclusions?", project.id), name, (from, PAGE, all.len())))
}

/// An entry that is tried.
type Tries<'a> = Option<(ExclusionKind, &'a str)>;

async fn page(
    console: &Console,
    member: &Member,
    tries: Tries<'_>,
    mut problem: Problem,
) -> Result<ExclusionsPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let known = known(console, project).await?;
    let set = store.exclusions(project.number).await?;
    let mut people = People::default();
    let mut rules = Vec::with_capacity(2);
    for kind in [ExclusionKind::Selector, ExclusionKind::Path] {
        let (entries, pager) = lines(member, &known, kind, (&set, &mut people)).await;
        let mut one = Rules::of(kind, pager, entries);
        if let Some((_, text)) = tries.filter(|(tried, text)| *tried == kind && !text.is_empty()) {
            text.clone_into(&mut one.tried);
            let checked = check(kind, text).map(|()| kind);
            match checked {
                Err(wrong) if problem.text.is_empty() => problem = Problem::new(kind.as_str(), wrong),
                Ok(ExclusionKind::Path) => one.result = Some(try_path(member, text).await?),
                Ok(ExclusionKind::Selector) => one.result = try_selector(member, &known, text).ok(),
                Err(_) => {}
            }
        }
        rules.push(one);
    }
    let [selectors, paths] = <[Rules; 2]>::try_from(rules)
        .map_err(|_| Refusal::Failed("this page has two kinds of exclusions".to_owned()))?;
    let mut removed = Vec::new();
    for one in set.iter().filter(|one| one.removed.is_some()).take(PAST) {
        let Some((by, at)) = &one.removed else { continue };
        removed.push(Removed {
            kind: one.kind.as_str(),
            text: one.entry.clone(),
            who: people.name(store, by).await,
            when: minute(*at),
        });
    }
    let (off, more_off) = off(store, project.id.as_str(), &known).await;
    let first: Vec<_> = by_events(&known, |group| group.captured).into_iter().take(GROUPS).collect();
    Ok(ExclusionsPage {
        chrome: member.asking.chrome("Exclusions", "exclusions"),
        project: project.id.to_string(),
        version: project.version,
        may_edit: member.may(Action::EditCapture),
        samples: member.samples().is_some(),
        rules: [selectors, paths],
        off,
        more_off,
        shown: groups::lines(store, project, &known, &first).await?,
        back: "exclusions",
        removed,
        meanwhile: false,
        problem,
    })
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

pub(super) async fn show(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let query = &member.asking.query;
    let (selector, path) = (query.get("selector").trim(), query.get("path").trim());
    let tries = if selector.is_empty() { (ExclusionKind::Path, path) } else { (ExclusionKind::Selector, selector) };
    Ok(html(&page(&console, &member, Some(tries), Problem::default()).await?))
}

/// What a form is about.
fn said_entry(member: &Member) -> Result<(ExclusionKind, String), Refusal> {
    let fields = &member.asking.fields;
    let kind = ExclusionKind::of(fields.get("kind"));
    let kind = kind.ok_or_else(|| Refusal::Invalid("this form says neither selector nor path".to_owned()))?;
    Ok((kind, fields.get("entry").trim().to_owned()))
}

/// Saves other exclusions of the settings that the form was made from; else shows what holds now, with what was entered.
async fn save(
    console: &Console,
    mut member: Member,
    (kind, text): (ExclusionKind, &str),
    settings: ProjectSettings,
    done: &str,
) -> Result<Response, Refusal> {
    let version = member.asking.fields.get("version").parse().unwrap_or(0);
    let (store, id) = (member.asking.store.clone(), member.project.id.clone());
    match store.save_settings_from(&id, version, settings).await {
        Ok(_) => Ok(see(&format!("/p/{id}/exclusions"), done)),
        Err(StoreError::Moved { .. }) => {
            member.project = store.project(&id).await?;
            let page = page(console, &member, Some((kind, text)), Problem::default()).await?;
            Ok(again(&ExclusionsPage { meanwhile: true, ..page }))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn add(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (kind, text) = said_entry(&member)?;
    let mut settings = member.project.settings.clone();
    let list = entries_mut(&mut settings, kind);
    let problem = match check(kind, &text) {
        Err(problem) => Some(problem),
        Ok(()) if list.contains(&text) => Some("this is excluded already".to_owned()),
        Ok(()) if list.len() >= LIST_ENTRIES => {
            Some(format!("there are {LIST_ENTRIES} already: take one out that matches nothing any more"))
        }
        Ok(()) => None,
    };
    if let Some(problem) = problem {
        let problem = Problem::new(kind.as_str(), problem);
        return Ok(again(&page(&console, &member, Some((kind, text.as_str())), problem).await?));
    }
    list.push(text.clone());
    save(&console, member, (kind, text.as_str()), settings, "excluded").await
}

pub(super) async fn remove(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (kind, text) = said_entry(&member)?;
    let mut settings = member.project.settings.clone();
    let list = entries_mut(&mut settings, kind);
    let before = list.len();
    list.retain(|known| *known != text);
    if list.len() == before {
        // Somebody else was quicker with the same.
        return Ok(see(&format!("/p/{}/exclusions", member.project.id), "included"));
    }
    save(&console, member, (kind, text.as_str()), settings, "included").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_whether_it_still_does_something() {
        let at = |day: i64| Timestamp::from_millis(day * 86_400_000 + 1);
        let of = |last: Option<i64>, set: Option<i64>| mark(last.map(|day| (at(day), 3)), set.map(at), (at(100), 60));
        assert_eq!(of(None, Some(93)), ("warn", "matched nothing for 7 days".to_owned()));
        assert_eq!(of(None, Some(100)), ("warn", "matches nothing known".to_owned()));
        // What it matched is older than what is kept: no reason to doubt it.
        assert_eq!(of(None, Some(10)).0, "");
        assert_eq!(of(None, None).0, "");
        // It was gone before anybody excluded it.
        assert_eq!(of(Some(80), Some(99)), ("warn", "matched nothing for 20 days".to_owned()));
        // It was there until then, and never since: it works.
        assert_eq!(of(Some(90), Some(90)).0, "good");
        assert_eq!(of(Some(90), Some(91)).0, "good");
        // It comes all the same.
        assert_eq!(of(Some(99), Some(90)).0, "bad");
    }
}
