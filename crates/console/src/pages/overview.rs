//! A project at a glance: what came, what became of it, what is new, how it is delivered; and the snippet with its first event.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use convizit_model::Project;
use convizit_model::limits::BATCH_BYTES;
use convizit_store::Store;

use super::events::known;
use crate::Console;
use crate::access::Member;
use crate::chart::{Chart, chart};
use crate::live::{marked, newest};
use crate::page::{Chrome, Refusal, count, html, minute};

/// Hours that the chart shows.
const HOURS: i64 = 48;
/// A name that came within this time is new.
const NEW_MILLIS: i64 = 7 * 86_400_000;
const NEW_NAMES: usize = 8;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    chrome: Chrome,
    project: String,
    origins: String,
    now: Now,
    notices: Vec<(String, i64, String)>,
    new_names: Vec<(String, String, String)>,
    destinations: Vec<(String, &'static str, i64, &'static str, &'static str)>,
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

/// Why nothing can be taken now; `None` when all is well.
pub(super) fn failing(store: &Store) -> Option<String> {
    store.health().failing.or_else(|| store.journal_has_room(BATCH_BYTES).err().map(|error| error.to_string()))
}

async fn now(console: &Console, project: &Project) -> Result<Now, Refusal> {
    let store = console.store();
    let hour = store.clock().now().hour();
    let by_hour = store.events_by_hour_from(project.number, hour - HOURS + 1).await?;
    let day: i64 = by_hour.iter().filter(|(at, _)| **at > hour - 24).map(|(_, events)| events).sum();
    let outcomes = store.outcomes(project.number).await?;
    let outcomes = outcomes.into_iter().map(|(outcome, items)| {
        let means = meaning(&outcome);
        (outcome, count(i64::try_from(items).unwrap_or(i64::MAX)), means)
    });
    let names = known(console, project).await?.catalogue.names.len();
    Ok(Now {
        failing: failing(store),
        waiting: store.health().journal_offset.saturating_sub(store.worker_offset().await?),
        events: count(store.last_event(project.number).await?),
        day: count(day),
        names: count(i64::try_from(names).unwrap_or(i64::MAX)),
        outcomes: outcomes.collect(),
        chart: chart(&by_hour, hour, HOURS, 1),
    })
}

pub(super) async fn show(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    if store.outcomes(project.number).await?.is_empty() {
        return start(State(console), member).await;
    }
    let since = member.asking.now().plus_millis(-NEW_MILLIS);
    let known = known(&console, project).await?;
    let mut names: Vec<_> = known.catalogue.names.iter().filter(|name| name.since > since && name.captured).collect();
    names.sort_by_key(|name| std::cmp::Reverse((name.since, name.id)));
    let new_names = names.into_iter().take(NEW_NAMES);
    let new_names = new_names.map(|name| (name.id.to_string(), name.text.clone(), minute(name.since))).collect();
    let events = store.last_event(project.number).await?;
    let destinations = store.destinations(Some(&project.id)).await?.into_iter().map(|state| {
        let (kind, word) = match (&state.destination.paused, state.destination.enabled) {
            (Some(_), _) => ("warn", "paused"),
            (None, false) => ("warn", "off"),
            (None, true) => ("good", "sending"),
        };
        (state.destination.name.clone(), state.destination.kind.as_str(), (events - state.cursor).max(0), kind, word)
    });
    Ok(html(&OverviewPage {
        chrome: member.asking.chrome("Overview", "overview"),
        project: project.id.to_string(),
        origins: project.settings.origins.join(", "),
        now: now(&console, project).await?,
        notices: notices(store, project).await?,
        new_names,
        destinations: destinations.collect(),
    }))
}

async fn notices(store: &Store, project: &Project) -> Result<Vec<(String, i64, String)>, Refusal> {
    let all = store.notices(false).await?.into_iter();
    let own = all.filter(|notice| notice.project.as_ref() == Some(&project.id)).take(20);
    Ok(own.map(|notice| (notice.text, notice.count, minute(notice.last))).collect())
}

pub(super) async fn pulse(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let newest = newest(&member).await?;
    Ok(marked(html(&PulsePartial { now: now(&console, &member.project).await? }), newest))
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
        "filtered.bot" => "a known bot or a browser driven by a program; filter_bots decides",
        "filtered.type" => "a type of event that is off",
        "filtered.consent" => "the visitor did not agree",
        "filtered.excluded" => "a page that is excluded",
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
