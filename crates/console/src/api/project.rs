//! A project at a glance, what was withheld of it, and its notices.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use convizit_model::withheld::{monday_of, week_of};
use convizit_model::{Notice, NoticeKind, NoticeState, Timestamp};
use convizit_store::Scope;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Moment, Page, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::known::known;

const DAY_MILLIS: i64 = 86_400_000;
/// Weeks of the report of what was withheld, where a call does not say, and at most.
const WEEKS: i64 = 12;
const WEEKS_MOST: i64 = 104;

pub(super) fn routes(api: Api) -> Api {
    let shows = Call::get(at!(""), Scope::Read, "show_project", "The project: what came, and what became of it");
    let withheld =
        Call::get(at!("/withheld"), Scope::Read, "list_withheld", "What was withheld, counted by week, field and rule");
    let notices = Call::get(at!("/notices"), Scope::Read, "list_notices", "What a person must see, the newest first");
    api.add(shows.answers::<ProjectView>(200, "The project."), show)
        .add(withheld.asks::<OfWeeks>().answers::<Page<Withheld>>(200, "Counts, the newest week first."), withheld_list)
        .add(notices.asks::<OfNotices>().answers::<Page<NoticeView>>(200, "Notices."), notices_list)
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
}

async fn show(State(console): State<Console>, caller: Caller) -> Result<Json<ProjectView>, Problem> {
    let (store, project) = (&caller.store, &caller.project);
    let hour = caller.now().hour();
    Ok(Json(ProjectView {
        id: project.id.to_string(),
        key: project.key.to_string(),
        created: project.created,
        version: project.version,
        events: store.last_event(project.number).await?,
        last_day: store.events_by_hour_from(project.number, hour - 23).await?.values().sum(),
        names: known(&console, project).await?.catalogue.names.len(),
        outcomes: store.outcomes(project.number).await?.into_iter().collect(),
    }))
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
    let (limit, begun) = (limit(asked.limit)?, after::<usize>(asked.after.as_deref())?.unwrap_or(0));
    let weeks = asked.weeks.map_or(WEEKS, i64::from);
    if !(1..=WEEKS_MOST).contains(&weeks) {
        return Err(Problem::malformed("weeks", format!("1 to {WEEKS_MOST}")));
    }
    let from = week_of(caller.now().day()) - weeks + 1;
    let found = caller.store.withheld(caller.project.number, from).await?;
    let next = begun.saturating_add(limit);
    let more = found.len() > next;
    let items = found.into_iter().skip(begun).take(limit).map(|line| {
        let monday = Timestamp::from_millis(monday_of(line.week) * DAY_MILLIS).to_string();
        let week = monday.split('T').next().unwrap_or_default().to_owned();
        Withheld { week, field: line.field, rule: line.rule, side: line.side, items: line.items }
    });
    Ok(Json(Page { items: items.collect(), next: more.then(|| next.to_string()) }))
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
