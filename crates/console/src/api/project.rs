//! A project at a glance, its snippet, what was withheld of it, and its notices.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use convizit_model::withheld::{monday_of, week_of};
use convizit_model::{Notice, NoticeKind, NoticeState, Timestamp};
use convizit_store::{Scope, WithheldCount};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::events::{Hour, hours};
use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Moment, Page, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::findings::failing;
use crate::known::known;
use crate::snippet::{script, snippet, unreachable_snippet};

const DAY_MILLIS: i64 = 86_400_000;
/// Hours of a project that are shown.
const HOURS: i64 = 48;
/// Weeks of the report of what was withheld, where a call does not say, and at most.
const WEEKS: i64 = 12;
const WEEKS_MOST: i64 = 104;

pub(super) fn routes(api: Api) -> Api {
    let shows = Call::get(at!(""), Scope::Read, "show_project", "The project: what came, and what became of it");
    let withheld =
        Call::get(at!("/withheld"), Scope::Read, "list_withheld", "What was withheld, counted by week, field and rule");
    let notices = Call::get(at!("/notices"), Scope::Read, "list_notices", "What a person must see, the newest first");
    let sets = Call::put(at!("/notices/{notice}"), Scope::Capture, "set_notice", "Marks a notice as seen or resolved");
    let snippets =
        Call::get(at!("/snippet"), Scope::Read, "show_snippet", "The lines that load the tracker into the site");
    api.add(shows.answers::<ProjectView>(200, "The project."), show)
        .add(snippets.answers::<SnippetView>(200, "The snippet."), show_snippet)
        .add(withheld.asks::<OfWeeks>().answers::<Page<Withheld>>(200, "Counts, the newest week first."), withheld_list)
        .add(notices.asks::<OfNotices>().answers::<Page<NoticeView>>(200, "Notices."), notices_list)
        .add(sets.takes::<SetNotice>(), set_notice)
}

/// A project.
#[derive(Serialize, ToSchema)]
#[schema(as = Project)]
struct ProjectView {
    /// Its id.
    id: String,
    /// The public key of its snippet.
    key: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created: Timestamp,
    /// Raised with every change of its settings.
    version: u64,
    /// Events in all; the number of the newest.
    events: i64,
    /// Events of the last 24 hours.
    last_day: i64,
    /// Names that its events have.
    names: usize,
    /// What became of whatever arrived: outcome → items.
    outcomes: BTreeMap<String, u64>,
    /// Events of the last 48 hours by hour; hours without any are missing.
    hours: Vec<Hour>,
    /// Batches of the installation that wait to be named.
    waiting: u64,
    /// Why nothing can be taken now; null when all is well.
    failing: Option<String>,
}

async fn show(State(console): State<Console>, caller: Caller) -> Result<Json<ProjectView>, Problem> {
    let (store, project) = (&caller.store, &caller.project);
    let hour = caller.now().hour();
    let counted = store.counted(project.number, hour - HOURS + 1).await?;
    Ok(Json(ProjectView {
        id: project.id.to_string(),
        key: project.key.to_string(),
        created: project.created,
        version: project.version,
        events: counted.events,
        last_day: counted.by_hour.iter().filter(|(at, _)| **at > hour - 24).map(|(_, events)| events).sum(),
        names: known(&console, project).await?.catalogue.names.len(),
        outcomes: counted.outcomes.into_iter().collect(),
        hours: hours(counted.by_hour),
        waiting: store.health().journal_offset.saturating_sub(store.worker_offset().await?),
        failing: failing(store),
    }))
}

/// The lines that load the tracker.
#[derive(Serialize, ToSchema)]
#[schema(as = Snippet)]
struct SnippetView {
    /// For a page's head.
    html: String,
    /// The script of it alone, for what writes the element itself.
    script: String,
    /// Where the tracker loads from.
    source: String,
    /// Why browsers of the site cannot load it; null when they can.
    unreachable: Option<String>,
}

async fn show_snippet(State(console): State<Console>, caller: Caller) -> Json<SnippetView> {
    let (collector, project) = (console.config().collector.trim_end_matches('/'), &caller.project);
    Json(SnippetView {
        html: snippet(collector, project.key.as_str()),
        script: script(collector, project.key.as_str()),
        source: format!("{collector}/t/{}.js", project.key),
        unreachable: unreachable_snippet(collector, &project.settings.origins),
    })
}

/// Of which weeks, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfWeeks {
    /// How many weeks, this one with them; 12 by default.
    #[param(minimum = 1, maximum = 104)]
    weeks: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// How often a rule withheld something from a field in a week.
#[derive(Serialize, ToSchema)]
struct Withheld {
    /// The week's Monday.
    #[schema(format = Date)]
    week: String,
    /// Which field: `page.title`.
    field: String,
    /// Which rule: `email`.
    rule: String,
    /// `browser` or `server`.
    side: String,
    /// How often.
    items: i64,
}

async fn withheld_list(caller: Caller, Asked(asked): Asked<OfWeeks>) -> Result<Json<Page<Withheld>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Line>(asked.after.as_deref())?);
    let weeks = asked.weeks.map_or(WEEKS, i64::from);
    if !(1..=WEEKS_MOST).contains(&weeks) {
        return Err(Problem::malformed("weeks", format!("1 to {WEEKS_MOST}")));
    }
    let from = week_of(caller.now().day()) - weeks + 1;
    let found = caller.store.withheld(caller.project.number, from).await?;
    // Not by how often, which grows between one page and the next.
    let line =
        |count: &WithheldCount| Line(Reverse(count.week), format!("{} {} {}", count.field, count.rule, count.side));
    let mut left: Vec<(Line, WithheldCount)> = found.into_iter().map(|count| (line(&count), count)).collect();
    left.retain(|(line, _)| begun.as_ref().is_none_or(|begun| line > begun));
    left.sort_by(|(one, _), (other, _)| one.cmp(other));
    let next = left.get(limit).and(left.get(limit - 1)).map(|(Line(Reverse(week), rest), _)| format!("{week} {rest}"));
    let items = left.into_iter().take(limit).map(|(_, count)| {
        let monday = Timestamp::from_millis(monday_of(count.week) * DAY_MILLIS).to_string();
        let week = monday.split('T').next().unwrap_or_default().to_owned();
        Withheld { week, field: count.field, rule: count.rule, side: count.side, items: count.items }
    });
    Ok(Json(Page { items: items.collect(), next }))
}

/// A place in the list of what was withheld: the newest week first, then by field, rule and side.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line(Reverse<i64>, String);

impl FromStr for Line {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (week, rest) = text.split_once(' ').ok_or(())?;
        Ok(Self(Reverse(week.parse().map_err(|_| ())?), rest.to_owned()))
    }
}

/// Which notices, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfNotices {
    /// Also those that are over.
    #[serde(default)]
    resolved: bool,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Something that a person must see.
#[derive(Serialize, ToSchema)]
#[schema(as = Notice)]
struct NoticeView {
    /// Its number.
    id: i64,
    /// What it is about: `destination_paused`.
    kind: &'static str,
    /// What exactly: a destination's name, an event's id.
    subject: String,
    /// What happened, and what to do.
    text: String,
    /// `open`, `seen` or `resolved`.
    #[schema(value_type = String)]
    state: NoticeState,
    /// How often it happened.
    count: i64,
    /// When it first happened.
    #[schema(value_type = String, format = DateTime)]
    first: Timestamp,
    /// When it last happened.
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
}

impl From<Notice> for NoticeView {
    fn from(notice: Notice) -> Self {
        let Notice { id, kind, project: _, subject, text, state, count, first, last } = notice;
        Self { id, kind: kind.as_str(), subject, text, state, count, first, last }
    }
}

fn moment(notice: &NoticeView) -> Moment {
    Moment(notice.last.as_millis(), notice.id.cast_unsigned())
}

async fn notices_list(caller: Caller, Asked(asked): Asked<OfNotices>) -> Result<Json<Page<NoticeView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Moment>(asked.after.as_deref())?);
    let all = caller.store.notices(asked.resolved).await?.into_iter();
    let own = all.filter(|notice| notice.project.as_ref() == Some(&caller.project.id));
    // Incidents are for the Owner, and a program has no role.
    let own = own.filter(|notice| notice.kind != NoticeKind::Incident).map(NoticeView::from);
    let left = own.filter(|notice| begun.is_none_or(|begun| moment(notice) < begun));
    Ok(Json(Page::of(left, limit, |notice| moment(notice).to_string())))
}

/// How far somebody has come with a notice.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GivenState {
    Seen,
    Resolved,
}

/// Another state for a notice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetNotice {
    /// Which.
    state: GivenState,
}

async fn set_notice(
    caller: Caller,
    Path((_, notice)): Path<(String, String)>,
    Given(given): Given<SetNotice>,
) -> Result<StatusCode, Problem> {
    let notice = notice.parse().map_err(|_| Problem::not_found())?;
    let state = match given.state {
        GivenState::Seen => NoticeState::Seen,
        GivenState::Resolved => NoticeState::Resolved,
    };
    caller.store.set_notice_of(&caller.project.id, notice, state, false).await?;
    Ok(StatusCode::NO_CONTENT)
}
