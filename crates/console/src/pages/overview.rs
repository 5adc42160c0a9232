//! A project at a glance: what came, what became of it, what is new, how it is delivered; and the snippet with its first event.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use convizit_model::{Action, Change, DecisionId, Notice, NoticeKind, Project, Timestamp};
use convizit_pipeline::{NameView, SiteChange, SiteChangeKind};
use convizit_store::{Counted, Store};

use super::destinations;
use crate::Console;
use crate::access::{Member, Samples};
use crate::acts::decisions::called;
use crate::acts::destinations::shown_state;
use crate::chart::{Chart, chart};
use crate::findings::failing;
use crate::known::{Known, known};
use crate::live::{marked, newest};
use crate::page::{Chrome, Refusal, count, html, minute};

/// Hours that the chart shows.
const HOURS: i64 = 48;
/// A name that came within this time is new.
const NEW_MILLIS: i64 = 7 * 86_400_000;
const NEW_NAMES: usize = 8;
/// Changes of the site, lost names and questions that are shown of each kind.
const CHANGES: usize = 8;
/// Batches that wait from which on naming is behind.
const BEHIND: u64 = 1_000;
/// A day without an event is worth a word.
const QUIET_HOURS: i64 = 24;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    chrome: Chrome,
    project: String,
    origins: String,
    now: Now,
    notices: Vec<(String, i64, String)>,
    new_names: Vec<(String, String, String)>,
    moved: Vec<Moved>,
    lost: Vec<Lost>,
    questions: Vec<Question>,
    may_edit: bool,
    health: Vec<(&'static str, &'static str, String)>,
    destinations: Vec<Sending>,
}

/// A control that stands elsewhere or says something else.
struct Moved {
    names: Vec<(String, String)>,
    called: String,
    what: &'static str,
    since: String,
    /// What it said and says, for those who see samples.
    said: Option<(String, String)>,
}

/// A name of which no event comes, though some were expected.
struct Lost {
    id: String,
    text: String,
    since: String,
}

/// Whether two controls are one.
struct Question {
    decision: DecisionId,
    /// Ids and texts of a name of each.
    new: (Option<String>, String),
    old: (Option<String>, String),
    sure: String,
    agree: String,
    differ: String,
}

/// A destination.
struct Sending {
    name: String,
    kind: String,
    behind: i64,
    dead: i64,
    badge: (&'static str, &'static str),
    why: Option<String>,
}

#[derive(Template)]
#[template(path = "pulse_partial.html")]
struct PulsePartial {
    now: Now,
}

/// What changes while one looks.
struct Now {
    failing: Option<String>,
    waiting: u64,
    events: String,
    day: String,
    names: String,
    outcomes: Vec<(String, String, &'static str)>,
    chart: Chart,
}

/// What the page's numbers are made of: one reading, so that none of them is newer than another.
async fn counted(store: &Store, project: &Project) -> Result<Counted, Refusal> {
    Ok(store.counted(project.number, store.clock().now().hour() - HOURS + 1).await?)
}

async fn now(store: &Store, counted: &Counted, names: usize) -> Result<Now, Refusal> {
    let hour = store.clock().now().hour();
    let day: i64 = counted.by_hour.iter().filter(|(at, _)| **at > hour - 24).map(|(_, events)| events).sum();
    let outcomes = counted
        .outcomes
        .iter()
        .map(|(outcome, items)| (outcome.clone(), count(i64::try_from(*items).unwrap_or(i64::MAX)), meaning(outcome)));
    Ok(Now {
        failing: failing(store),
        waiting: store.health().journal_offset.saturating_sub(store.worker_offset().await?),
        events: count(counted.events),
        day: count(day),
        names: count(i64::try_from(names).unwrap_or(i64::MAX)),
        outcomes: outcomes.collect(),
        chart: chart(&counted.by_hour, hour, HOURS, 1),
    })
}

/// Names that came since a time, the newest first: what people do before pages that they saw, and no measure that the browser takes
/// by itself.
fn new_names(known: &Known, since: Timestamp) -> Vec<(String, String, String)> {
    let of_control = |name: &NameView| name.element.is_some() || name.group.is_some();
    let is_new = |name: &&NameView| {
        name.since > since && name.captured && (of_control(name) || !known.registry.is_automatic(name.id))
    };
    let mut names: Vec<_> = known.catalogue.names.iter().filter(is_new).collect();
    names.sort_by_key(|name| (!of_control(name), std::cmp::Reverse((name.since, name.id))));
    let line = |name: &NameView| (name.id.to_string(), name.text.clone(), minute(name.since));
    names.into_iter().take(NEW_NAMES).map(line).collect()
}

pub(super) async fn show(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let counted = counted(store, project).await?;
    if counted.outcomes.is_empty() {
        return start(State(console), member).await;
    }
    let since = member.asking.now().plus_millis(-NEW_MILLIS);
    let known = known(&console, project).await?;
    let mut destinations = Vec::new();
    let sees = member.samples_of_follower().is_some();
    for state in store.destinations(Some(&project.id)).await? {
        let state = shown_state(state, sees);
        let tried = store.was_tried(project.number, &state.destination.name).await?;
        destinations.push(Sending {
            badge: destinations::badge(state.standing(counted.events), tried),
            why: destinations::waits(store, &state.destination).await.or_else(|| state.trouble()),
            kind: state.destination.kind.as_str().to_owned(),
            behind: (counted.events - state.cursor).max(0),
            dead: state.dead,
            name: state.destination.name,
        });
    }
    let notices = notices(&member).await?;
    let samples = member.samples();
    Ok(html(&OverviewPage {
        chrome: member.asking.chrome("Overview", "overview"),
        project: project.id.to_string(),
        origins: project.settings.origins.join(", "),
        now: now(store, &counted, known.catalogue.names.len()).await?,
        lost: lost(&known, &notices),
        notices: notices.iter().filter(|notice| !has_own_place(notice.kind)).take(20).map(line).collect(),
        new_names: new_names(&known, since),
        moved: moved(&known, since, samples.as_ref()),
        questions: questions(&known),
        may_edit: member.may(Action::EditCapture),
        health: health(store, &counted).await?,
        destinations,
    }))
}

/// A control's name for a link, and what to call it.
fn name_of(known: &Known, element: convizit_model::ElementId) -> (Option<String>, String) {
    let names = known.element(element).map(|element| known.names_for(element)).unwrap_or_default();
    (names.first().map(|name| name.id.to_string()), called(known, element))
}

/// What a changed control said and says.
fn said(_: &Samples, change: &SiteChange) -> (String, String) {
    (change.before.clone().unwrap_or_default(), change.now.clone().unwrap_or_default())
}

/// Controls that stand elsewhere or say something else since a time.
fn moved(known: &Known, since: Timestamp, samples: Option<&Samples>) -> Vec<Moved> {
    let changes = known.registry.site_changes(since, &[]);
    let changed = changes.iter().filter_map(|change| match change.kind {
        SiteChangeKind::Moved => Some((change, "stands elsewhere")),
        SiteChangeKind::Renamed => Some((change, "says something else")),
        SiteChangeKind::New | SiteChangeKind::Lost => None,
    });
    let one = |(change, what): (&SiteChange, &'static str)| Moved {
        names: known
            .element(change.element)
            .map(|element| known.names_for(element))
            .unwrap_or_default()
            .into_iter()
            .map(|name| (name.id.to_string(), name.text.clone()))
            .collect(),
        called: called(known, change.element),
        what,
        since: minute(change.since),
        said: samples.map(|right| said(right, change)),
    };
    changed.take(CHANGES).map(one).collect()
}

/// Names that fell silent, as the worker found.
fn lost(known: &Known, notices: &[Notice]) -> Vec<Lost> {
    let silent = notices.iter().filter(|notice| notice.kind == NoticeKind::SilentName);
    let one = |notice: &Notice| {
        let name = known.name(notice.subject.parse().ok()?)?;
        // What people excused by a decision since.
        let open = name.captured && !known.registry.is_excused(name.id);
        open.then(|| Lost { id: name.id.to_string(), text: name.text.clone(), since: minute(notice.first) })
    };
    silent.filter_map(one).take(CHANGES).collect()
}

/// Merges that the product proposes and nobody has answered.
fn questions(known: &Known) -> Vec<Question> {
    let words = |words: &[String]| if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
    let open = known.registry.decisions().into_iter().rev().filter(|decision| known.registry.is_open(decision));
    let one = |decision: &convizit_model::Decision| {
        let Change::Merge { element, into } = decision.what else { return None };
        let evidence = decision.evidence.clone().unwrap_or_default();
        Some(Question {
            decision: decision.id,
            new: name_of(known, element),
            old: name_of(known, into),
            sure: format!("{:.0} %", evidence.probability * 100.0),
            agree: words(&evidence.agree),
            differ: words(&evidence.differ),
        })
    };
    open.filter_map(one).take(CHANGES).collect()
}

/// What collection is like: a kind of badge, a word, and what it means and asks for.
async fn health(store: &Store, counted: &Counted) -> Result<Vec<(&'static str, &'static str, String)>, Refusal> {
    let mut lines = Vec::new();
    if let Some(why) = failing(store) {
        lines.push(("bad", "nothing is taken", why));
    }
    let waiting = store.health().journal_offset.saturating_sub(store.worker_offset().await?);
    if waiting > BEHIND {
        let text =
            format!("{waiting} batches wait to be named: nothing is lost. Is a process with the role work running?");
        lines.push(("warn", "naming is behind", text));
    }
    let now = store.clock().now().hour();
    match counted.by_hour.keys().max() {
        Some(last) if now - last < QUIET_HOURS => {
            let time = Timestamp::from_millis(last * 3_600_000);
            lines.push(("good", "collecting", format!("the newest events came in the hour of {} UTC", minute(time))));
        }
        _ => {
            let text = "no event in the last day: is the snippet still on the site, and does its address answer?";
            lines.push(("warn", "quiet", text.to_owned()));
        }
    }
    let refused: u64 = counted
        .outcomes
        .iter()
        .filter(|(outcome, _)| outcome.starts_with("refused.") && outcome.as_str() != "refused.overloaded")
        .map(|(_, items)| items)
        .sum();
    if refused > 0 {
        let text = format!(
            "{} items so far: why stands below, among the outcomes",
            count(i64::try_from(refused).unwrap_or(i64::MAX))
        );
        lines.push(("warn", "refused", text));
    }
    Ok(lines)
}

/// Notices whose matter has a list of its own here.
fn has_own_place(kind: NoticeKind) -> bool {
    matches!(kind, NoticeKind::SilentName | NoticeKind::MergeProposed | NoticeKind::SiteChanged)
}

fn line(notice: &Notice) -> (String, i64, String) {
    (notice.text.clone(), notice.count, minute(notice.last))
}

/// The project's notices that the member may see.
async fn notices(member: &Member) -> Result<Vec<Notice>, Refusal> {
    let incidents = member.may(Action::ServeIncidents);
    let all = member.asking.store.notices(false).await?.into_iter();
    let own = all.filter(|notice| notice.project.as_ref() == Some(&member.project.id));
    Ok(own.filter(|notice| incidents || notice.kind != NoticeKind::Incident).collect())
}

pub(super) async fn pulse(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let newest = newest(&member).await?;
    let (store, project) = (&member.asking.store, &member.project);
    let counted = counted(store, project).await?;
    let names = known(&console, project).await?.catalogue.names.len();
    Ok(marked(html(&PulsePartial { now: now(store, &counted, names).await? }), newest))
}

/// An outcome in words.
pub(super) fn meaning(outcome: &str) -> &'static str {
    match outcome {
        "accepted" => "stored as a named event",
        "repeated" => {
            "was here already: a page that goes sends at once, the next one sends again to be sure; counted once"
        }
        "withheld" => "excluded whole by a privacy rule or an exclusion",
        "dropped" => "the browser's queue was full",
        "filtered.bot" => {
            "a known bot, or a browser that a program drives: “Filter known bots” in the settings decides"
        }
        "filtered.type" => "a type of event that is off in the settings",
        "filtered.consent" => "the visitor did not agree",
        "filtered.excluded" => "on a page, or of a control or group, that is excluded",
        "refused.malformed" => "not of the protocol's form",
        "refused.too_large" => "over a limit of size, count or depth",
        "refused.version" => "of another protocol version",
        "refused.origin" => "from an origin that the project does not allow",
        "refused.overloaded" => "the server could not take it then; the tracker sends it again",
        "refused.internal" => "our fault: in quarantine, with a notice",
        _ => "",
    }
}

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage {
    chrome: Chrome,
    project: String,
    origins: String,
    snippet: String,
    script: String,
    source: String,
    unreachable: Option<String>,
    wait: Wait,
}

#[derive(Template)]
#[template(path = "start_pulse_partial.html")]
struct StartPulse {
    wait: Wait,
}

/// How far the first event has come.
struct Wait {
    project: String,
    events: i64,
    /// What arrived and was not stored, in words.
    other: Vec<(String, String, &'static str)>,
    newest: Vec<(String, String)>,
}

async fn wait(console: &Console, project: &Project) -> Result<Wait, Refusal> {
    let store = console.store();
    let outcomes = store.outcomes(project.number).await?.into_iter();
    let other = outcomes
        .filter(|(outcome, _)| outcome != "accepted" && outcome != "repeated")
        .map(|(outcome, items)| {
            let means = meaning(&outcome);
            (outcome, count(i64::try_from(items).unwrap_or(i64::MAX)), means)
        })
        .collect();
    let known = known(console, project).await?;
    let newest = known.catalogue.names.iter().rev().take(5).map(|name| (name.id.to_string(), name.text.clone()));
    Ok(Wait {
        project: project.id.to_string(),
        events: store.last_event(project.number).await?,
        other,
        newest: newest.collect(),
    })
}

pub(super) async fn start(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let project = &member.project;
    let collector = console.config().collector.trim_end_matches('/').to_owned();
    Ok(html(&StartPage {
        chrome: member.asking.chrome("Snippet", "start"),
        project: project.id.to_string(),
        origins: project.settings.origins.join(", "),
        snippet: crate::snippet::snippet(&collector, project.key.as_str()),
        script: crate::snippet::script(&collector, project.key.as_str()),
        source: format!("{collector}/t/{}.js", project.key),
        unreachable: crate::snippet::unreachable_snippet(&collector, &project.settings.origins),
        wait: wait(&console, project).await?,
    }))
}

pub(super) async fn start_pulse(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let newest = newest(&member).await?;
    Ok(marked(html(&StartPulse { wait: wait(&console, &member.project).await? }), newest))
}
