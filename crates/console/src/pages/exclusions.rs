//! What is not captured: elements by CSS selector and pages by path, each tried on what was seen lately before it holds, and groups
//! and controls that people switched off.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use convizit_model::{Action, DecisionId, Timestamp};
use convizit_pipeline::Hit;
use convizit_store::{Exclusion, ExclusionKind, Store};

use super::decisions::People;
use super::groups;
use crate::Console;
use crate::access::Member;
use crate::acts::Undone;
use crate::acts::decisions::called;
use crate::acts::exclusions::{self, Thing, entries, last_of, pages_of, try_entry};
use crate::acts::groups::by_events;
use crate::known::{Known, Sight, known};
use crate::page::{Chrome, Pager, Problem, Refusal, again, count, html, minute, see};

/// Entries of a list on a page.
const PAGE: usize = 50;
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
fn mark(last: Sight, set: Option<Timestamp>, (now, retention): (Timestamp, u32)) -> (&'static str, String) {
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

fn many(number: usize) -> String {
    count(i64::try_from(number).unwrap_or(i64::MAX))
}

/// What a try found, in words.
fn tried(known: &Known, kind: ExclusionKind, found: exclusions::Tried) -> Tried {
    let control = |one: exclusions::Control| Control {
        called: called(known, one.element),
        role: one.role,
        events: count(one.events),
        names: one.names,
        last: date(one.last),
        badge: match one.hit {
            Hit::Itself => ("bad", "excluded"),
            Hit::Around => ("bad", "excluded: inside it"),
            Hit::Perhaps => ("warn", "the page decides"),
        },
        said: one.said,
    };
    Tried {
        hits: found.hits,
        perhaps: found.perhaps,
        events: count(found.events),
        of: match kind {
            ExclusionKind::Selector => format!("{} known controls", many(found.of)),
            ExclusionKind::Path => {
                let paths = if found.on == 1 { "path" } else { "paths" };
                format!(
                    "the newest {} events: {} of their {} {paths}",
                    many(found.of),
                    many(found.hits),
                    many(found.on)
                )
            }
        },
        controls: found.controls.into_iter().map(control).collect(),
        paths: found.paths.into_iter().map(|(path, events)| (path, many(events))).collect(),
        holds: found.holds,
        untold: found.untold,
    }
}

/// What people switched off, the newest first, and how many there are beside those that are shown.
async fn off(store: &Store, project: &str, known: &Known) -> (Vec<Off>, usize) {
    let all = exclusions::off(known);
    let more = all.len().saturating_sub(PAST);
    let mut people = People::default();
    let mut shown = Vec::new();
    for one in all.into_iter().take(PAST) {
        let (what, link, of_group) = match one.thing {
            Thing::Group(group) => {
                let name = known.group(group).map_or_else(|| group.to_string(), |group| group.name.clone());
                (name, Some(format!("/p/{project}/groups/{group}")), true)
            }
            Thing::Element(element) => {
                let name = known.names_of(element).next();
                (called(known, element), name.map(|name| format!("/p/{project}/events/{}", name.id)), false)
            }
        };
        let who = people.name(store, one.by).await;
        shown.push(Off { what, link, of_group, who, when: minute(one.made), decision: one.decision });
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
        let mark = match last_of(known, &pages, (kind, text)) {
            Some(last) => mark(last, at, clock),
            None => ("", "the page alone can tell".to_owned()),
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
            match try_entry(&member.acting(), &known, member.samples().as_ref(), (kind, text)).await {
                Ok(found) => one.result = Some(tried(&known, kind, found)),
                Err(Undone::Wrong(wrong)) if problem.text.is_empty() => problem = wrong,
                Err(Undone::Wrong(_)) => {}
                Err(undone) => return Err(undone.into()),
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

/// The version of the settings that the form was made from.
fn version(member: &Member) -> u64 {
    member.asking.fields.get("version").parse().unwrap_or(0)
}

/// The page again, with what was entered: what is to be changed, or what holds now.
async fn not_saved(
    console: &Console,
    mut member: Member,
    (kind, text): (ExclusionKind, &str),
    undone: Undone,
) -> Result<Response, Refusal> {
    let tries = Some((kind, text));
    match undone {
        Undone::Wrong(problem) => Ok(again(&page(console, &member, tries, problem).await?)),
        Undone::Meanwhile => {
            member.project = member.asking.store.project(&member.project.id).await?;
            let page = page(console, &member, tries, Problem::default()).await?;
            Ok(again(&ExclusionsPage { meanwhile: true, ..page }))
        }
        Undone::Refused(refusal) => Err(refusal),
    }
}

fn saved(member: &Member, done: &str) -> Response {
    see(&format!("/p/{}/exclusions", member.project.id), done)
}

pub(super) async fn add(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (kind, text) = said_entry(&member)?;
    match exclusions::add(&member.acting(), (kind, &text), version(&member)).await {
        Ok(_) => Ok(saved(&member, "excluded")),
        Err(undone) => not_saved(&console, member, (kind, &text), undone).await,
    }
}

pub(super) async fn remove(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (kind, text) = said_entry(&member)?;
    match exclusions::remove(&member.acting(), (kind, &text), version(&member)).await {
        // Where there is none any more, somebody else was quicker with the same.
        Ok(_) => Ok(saved(&member, "included")),
        Err(undone) => not_saved(&console, member, (kind, &text), undone).await,
    }
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
