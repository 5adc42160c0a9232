//! A project's events by name, what a name's events are like, and naming and keeping them.

use std::cmp::Reverse;
use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use convizit_model::{Change, Timestamp};
use convizit_pipeline::{NameView, SiteChange, SiteChangeKind};
use convizit_store::Scope;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::decisions::{Decided, DecisionView, HOLDS, SeveralDecided, newest};
use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Moment, Page, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::Undone;
use crate::acts::decisions::{ON_NO_CONTROL, capture_of, capture_several, decide, is_about, rename as give};
use crate::known::{Known, known};
use crate::pages::events::examples;

/// Hours of a name that are shown: a week.
pub(super) const HOURS: i64 = 7 * 24;
const HOUR_MILLIS: i64 = 3_600_000;
/// Names that are captured, or no longer, in one call.
const SEVERAL: usize = 1_000;
/// Days in which a changed control is shown, where a call does not say, and at most.
const DAYS: u32 = 7;
const DAYS_MOST: u32 = 90;
const DAY_MILLIS: i64 = 86_400_000;

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(at!("/events"), Scope::Read, "list_events", "Names of events, the oldest first");
    let shows = Call::get(
        at!("/events/{event}"),
        Scope::Read,
        "show_event",
        "One name: its week, what was decided, and, with the scope samples, its properties",
    );
    let renames = Call::post(
        at!("/events/{event}/rename"),
        Scope::Capture,
        "rename_event",
        "Gives a name another text; past events keep the old one",
    );
    let captures = Call::post(
        at!("/events/{event}/capture"),
        Scope::Capture,
        "capture_event",
        "Keeps a control's events, or no longer; of its whole group where it is in one",
    );
    let several = Call::post(
        at!("/events/capture"),
        Scope::Capture,
        "capture_events",
        "Keeps the events of several names, or no longer: of all of them or of none",
    );
    let changes = Call::get(
        at!("/site-changes"),
        Scope::Read,
        "list_site_changes",
        "Controls that are new, stand elsewhere or say something else, the newest first",
    );
    api.add(lists.asks::<OfEvents>().answers::<Page<EventName>>(200, "Names."), list)
        .add(shows.answers::<OneEvent>(200, "The name."), show)
        .add(renames.takes::<Rename>().answers::<Decided>(200, HOLDS), rename)
        .add(captures.takes::<Capture>().answers::<Decided>(200, HOLDS), capture)
        .add(several.takes::<CaptureSeveral>().answers::<SeveralDecided>(200, HOLDS), capture_some)
        .add(changes.asks::<OfChanges>().answers::<Page<ChangeView>>(200, "Controls."), site_changes)
}

/// Which names, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfEvents {
    /// Only names with this text in them; capitals do not matter.
    #[serde(default)]
    like: String,
    /// Only names in this state.
    #[param(inline)]
    state: Option<EventState>,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// What a name is like.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EventState {
    /// Captured, and changes no more by itself.
    Published,
    /// Captured, and may still change.
    Provisional,
    /// Renamed by people.
    Given,
    /// Its events are not kept.
    NotCaptured,
}

impl EventState {
    fn is_of(self, name: &NameView) -> bool {
        match self {
            Self::Published => name.captured && name.published,
            Self::Provisional => name.captured && !name.published,
            Self::Given => name.made_as.is_some(),
            Self::NotCaptured => !name.captured,
        }
    }
}

/// A name of events.
#[derive(Serialize, ToSchema)]
struct EventName {
    /// Its id, which stays whatever it is called.
    id: String,
    /// What it says.
    text: String,
    /// What the product made of it, where a person changed it.
    made_as: Option<String>,
    /// Whether it changes no more by itself.
    published: bool,
    /// Whether such events are kept.
    captured: bool,
    /// How many there are.
    events: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The control that its events are on; null for those of a group's items, and on none.
    element: Option<String>,
    /// The group whose items its events are on; null for others.
    items_of: Option<String>,
}

impl EventName {
    fn of(name: &NameView, known: &Known) -> Self {
        Self {
            id: name.id.to_string(),
            text: name.text.clone(),
            made_as: name.made_as.clone(),
            published: name.published,
            captured: name.captured,
            events: known.events(name.id),
            since: name.since,
            element: name.element.filter(|_| name.group.is_none()).map(|id| id.to_string()),
            items_of: name.group.map(|id| id.to_string()),
        }
    }
}

fn moment(name: &NameView) -> Moment {
    Moment(name.since.as_millis(), name.id.0)
}

async fn list(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<OfEvents>,
) -> Result<Json<Page<EventName>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Moment>(asked.after.as_deref())?);
    let known = known(&console, &caller.project).await?;
    let like = asked.like.trim().to_lowercase();
    let mut names: Vec<&NameView> = known
        .catalogue
        .names
        .iter()
        .filter(|name| like.is_empty() || name.text.to_lowercase().contains(&like))
        .filter(|name| asked.state.is_none_or(|state| state.is_of(name)))
        .filter(|name| begun.is_none_or(|begun| moment(name) > begun))
        .collect();
    names.sort_by_key(|name| moment(name));
    let page = Page::of(names.into_iter(), limit, |name| moment(name).to_string());
    let items = page.items.into_iter().map(|name| EventName::of(name, &known)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// A name with what belongs to it.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
struct OneEvent {
    /// The name itself.
    name: EventName,
    /// The control's ARIA role; null for events on none.
    role: Option<String>,
    /// The group that the control is or stands in; null outside one.
    group: Option<String>,
    /// Events of the last seven days by hour; hours without any are missing.
    hours: Vec<Hour>,
    /// What its newest events carry; null without the scope samples.
    properties: Option<Vec<Property>>,
    /// The newest decisions about it.
    decisions: Vec<DecisionView>,
}

/// Events of an hour.
#[derive(Serialize, ToSchema)]
pub(super) struct Hour {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    /// How many.
    events: i64,
}

/// Events by hour, the oldest first; hours without any are missing.
pub(super) fn hours(found: impl IntoIterator<Item = (i64, i64)>) -> Vec<Hour> {
    let mut hours: Vec<(i64, i64)> = found.into_iter().collect();
    hours.sort_unstable();
    let hour = |(hour, events)| Hour { hour: Timestamp::from_millis(hour * HOUR_MILLIS), events };
    hours.into_iter().map(hour).collect()
}

/// A property with what it was.
#[derive(Serialize, ToSchema)]
struct Property {
    /// What it is called.
    name: String,
    /// `text`, `number`, `yes or no`, `list` or `empty`.
    kind: &'static str,
    /// Some of its values, as visitors made them.
    examples: Vec<String>,
}

async fn show(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<OneEvent>, Problem> {
    let (store, project) = (&caller.store, &caller.project);
    let known = known(&console, project).await?;
    let name = known.find(&id)?;
    let from = caller.now().hour() - HOURS + 1;
    let mut by_name: HashMap<u64, HashMap<i64, i64>> =
        store.events_of_names_from(project.number, &[name.id.0], (from, 1)).await?;
    let element = name.element.and_then(|id| known.element(id));
    let group = known.group_around(name).and_then(|id| known.group(id));
    let properties = match caller.samples() {
        Some(right) => Some(examples(&right, store, project, name.id).await?),
        None => None,
    };
    let properties = properties.map(|found| {
        let property = |(name, (kind, examples))| Property { name, kind, examples };
        found.into_iter().map(property).collect()
    });
    Ok(Json(OneEvent {
        name: EventName::of(name, &known),
        role: element.map(|element| element.role.clone()),
        group: group.map(|group| group.name.clone()),
        hours: hours(by_name.remove(&name.id.0).unwrap_or_default()),
        properties,
        decisions: newest(&known, |change| is_about(change, name)),
    }))
}

/// Another text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rename {
    /// The new text.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) text: String,
    /// The text that was read: where it is another one by now, nothing is changed.
    pub(super) seen: Option<String>,
}

/// What a renaming that was not done is answered with; `now` is what it is called.
pub(super) fn not_renamed(undone: Undone, now: &str) -> Problem {
    undone.told(|| Problem::stale("seen", json!(now)))
}

/// Whether events are kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Capture {
    /// False drops them before they are stored; what is stored stays.
    pub(super) captured: bool,
}

async fn rename(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Rename>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let name = known.find(&id)?;
    let change = Change::Rename { name: name.id, text: given.text.trim().to_owned() };
    let made = give(&caller.acting(), &known, (&name.text, given.seen.as_deref()), change).await;
    Ok(Json(made.map_err(|undone| not_renamed(undone, &name.text))?.into()))
}

async fn capture(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Capture>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let change = capture_of(known.find(&id)?, given.captured).ok_or_else(|| Problem::invalid(ON_NO_CONTROL))?;
    Ok(Json(decide(&caller.acting(), &known, change).await?.into()))
}

/// Whether events of several names are kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CaptureSeveral {
    /// The names' ids.
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<String>,
    /// False drops them before they are stored; what is stored stays.
    captured: bool,
}

async fn capture_some(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<CaptureSeveral>,
) -> Result<Json<SeveralDecided>, Problem> {
    if given.events.len() > SEVERAL {
        return Err(Problem::invalid(format!("at most {SEVERAL} names in one call")).at("events"));
    }
    let known = known(&console, &caller.project).await?;
    if let Some(at) = given.events.iter().position(|id| known.find(id).is_err()) {
        return Err(Problem::invalid("there is no such name").at(format!("events[{at}]")));
    }
    let ids = given.events.iter().map(String::as_str);
    match capture_several(&caller.acting(), &known, ids, given.captured).await {
        Ok(made) => Ok(Json(made.into())),
        Err(Undone::Wrong(problem)) => Err(Problem::invalid(problem.text).at("events")),
        Err(undone) => Err(undone.into()),
    }
}

/// Of how many days, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfChanges {
    /// How many days back; 7 by default.
    #[param(minimum = 1, maximum = 90)]
    days: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// A control that is not as it was.
#[derive(Serialize, ToSchema)]
#[schema(as = SiteChange)]
struct ChangeView {
    /// `new`, `moved` (stands elsewhere) or `renamed` (says something else). What fell silent is among the notices.
    change: &'static str,
    /// The control.
    element: String,
    /// Ids of the names of its events.
    events: Vec<String>,
    /// When it was first seen so.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// What it said and where it stood; null without the scope samples, and for a new one.
    before: Option<String>,
    /// What it says and where it stands now; null without the scope samples.
    now: Option<String>,
}

async fn site_changes(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<OfChanges>,
) -> Result<Json<Page<ChangeView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Moment>(asked.after.as_deref())?);
    let days = asked.days.unwrap_or(DAYS);
    if !(1..=DAYS_MOST).contains(&days) {
        return Err(Problem::malformed("days", format!("1 to {DAYS_MOST}")));
    }
    let known = known(&console, &caller.project).await?;
    let since = caller.now().plus_millis(-i64::from(days) * DAY_MILLIS);
    let samples = caller.samples();
    // The newest first, those of one moment by their controls.
    let place = |change: &SiteChange| (Reverse(change.since.as_millis()), change.element.0);
    let mut all = known.registry.site_changes(since, &[]);
    all.retain(|change| begun.is_none_or(|begun| place(change) > (Reverse(begun.0), begun.1)));
    let page =
        Page::of(all.into_iter(), limit, |change| Moment(change.since.as_millis(), change.element.0).to_string());
    let view = |change: SiteChange| {
        let element = known.element(change.element);
        let names = element.map(|element| known.names_for(element)).unwrap_or_default();
        ChangeView {
            change: match change.kind {
                SiteChangeKind::New => "new",
                SiteChangeKind::Moved => "moved",
                SiteChangeKind::Renamed => "renamed",
                SiteChangeKind::Lost => "lost",
            },
            element: change.element.to_string(),
            events: names.into_iter().map(|name| name.id.to_string()).collect(),
            since: change.since,
            before: change.before.filter(|_| samples.is_some()),
            now: change.now.filter(|_| samples.is_some()),
        }
    };
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}
