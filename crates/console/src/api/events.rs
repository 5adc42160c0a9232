//! A project's events by name, what people decided about them, and deciding.

use axum::Json;
use axum::extract::{Path, State};
use convizit_model::{Change, Decision, DecisionId, Timestamp};
use convizit_pipeline::NameView;
use convizit_store::Scope;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Moment, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::decisions::{ON_NO_CONTROL, capture_of, is_about};
use crate::known::{Known, known};
use crate::pages::events::examples;

/// Hours of a name that are shown: a week.
const HOURS: i64 = 7 * 24;
const HOUR_MILLIS: i64 = 3_600_000;
/// Decisions that are shown of one name.
const DECISIONS: usize = 20;

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
    let decisions = Call::get(
        at!("/decisions"),
        Scope::Read,
        "list_decisions",
        "What was decided about names, elements and groups, the newest first",
    );
    let undoes = Call::post(
        at!("/decisions/{decision}/undo"),
        Scope::Capture,
        "undo_decision",
        "Makes a decision hold no more; an undo can be undone, too",
    );
    api.add(lists.asks::<OfEvents>().answers::<Page<EventName>>(200, "Names."), list)
        .add(shows.answers::<OneEvent>(200, "The name."), show)
        .add(renames.takes::<Rename>().answers::<Decided>(200, "Decided; holds within two seconds."), rename)
        .add(captures.takes::<Capture>().answers::<Decided>(200, "Decided; holds within two seconds."), capture)
        .add(decisions.asks::<Part>().answers::<Page<DecisionView>>(200, "Decisions."), decisions_list)
        .add(undoes.answers::<Decided>(200, "Decided; holds within two seconds."), undo)
}

/// Which names, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfEvents {
    /// Only names with this text in them; capitals do not matter.
    #[serde(default)]
    like: String,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
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
struct Hour {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    /// How many.
    events: i64,
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
    let mut hours: Vec<(i64, i64)> = store
        .events_of_names_from(project.number, &[name.id.0], (from, 1))
        .await?
        .remove(&name.id.0)
        .into_iter()
        .flatten()
        .collect();
    hours.sort_unstable();
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
    let about = |decision: &&Decision| is_about(&decision.what, name) && !decision.proposed;
    let decisions = known.registry.decisions().into_iter().rev().filter(about).take(DECISIONS);
    Ok(Json(OneEvent {
        name: EventName::of(name, &known),
        role: element.map(|element| element.role.clone()),
        group: group.map(|group| group.name.clone()),
        hours: hours
            .into_iter()
            .map(|(hour, events)| Hour { hour: Timestamp::from_millis(hour * HOUR_MILLIS), events })
            .collect(),
        properties,
        decisions: decisions.map(|decision| DecisionView::of(decision, &known)).collect(),
    }))
}

/// Something that was decided.
#[derive(Serialize, ToSchema)]
#[schema(as = Decision)]
struct DecisionView {
    /// Its number: `7`, or `auto-7` of the product's own.
    id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    made: Timestamp,
    /// Who: `account:7`, `token:ci`, `convizit`.
    by: String,
    /// Whether it holds; one that was undone, or is only proposed, does not.
    holds: bool,
    /// Whether the product proposes it, and nobody has taken it yet.
    proposed: bool,
    /// What: `{"change": "rename", "name": "na_…", "text": "…"}`.
    #[schema(value_type = Object)]
    what: Change,
}

impl DecisionView {
    fn of(decision: &Decision, known: &Known) -> Self {
        Self {
            id: decision.id.to_string(),
            made: decision.made,
            by: decision.by.clone(),
            holds: !decision.proposed && (known.registry.holds(decision.id) || decision.from.is_none()),
            proposed: decision.proposed,
            what: decision.what.clone(),
        }
    }
}

async fn decisions_list(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<Part>,
) -> Result<Json<Page<DecisionView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Moment>(asked.after.as_deref())?);
    let known = known(&console, &caller.project).await?;
    let moment = |decision: &Decision| Moment(decision.made.as_millis(), decision.id.0);
    let mut decisions = known.registry.decisions();
    decisions.retain(|decision| begun.is_none_or(|begun| moment(decision) < begun));
    decisions.sort_by_key(|decision| std::cmp::Reverse(moment(decision)));
    let page = Page::of(decisions.into_iter(), limit, |decision| moment(decision).to_string());
    let items = page.items.into_iter().map(|decision| DecisionView::of(decision, &known)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// Another text for a name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rename {
    /// The new text.
    #[schema(min_length = 1, max_length = 255)]
    text: String,
    /// The text that was read: where it is another one by now, nothing is changed.
    seen: Option<String>,
}

/// Whether a name's events are kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Capture {
    /// False drops them before they are stored; what is stored stays.
    captured: bool,
}

/// What was decided, to undo it by.
#[derive(Serialize, ToSchema)]
struct Decided {
    /// The decision's number.
    decision: String,
}

/// Asks the registry whether a decision can be made, and takes it down.
async fn decide(caller: &Caller, known: &Known, change: Change) -> Result<Json<Decided>, Problem> {
    let field = if matches!(change, Change::Rename { .. }) { "text" } else { "" };
    known.registry.check(&change).map_err(|text| Problem::invalid(text).at(field))?;
    let made = caller.store.decide(&caller.project, &caller.token.actor(), change).await?;
    Ok(Json(Decided { decision: made.id.to_string() }))
}

async fn rename(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Rename>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let name = known.find(&id)?;
    if given.seen.is_some_and(|seen| seen != name.text) {
        return Err(Problem::stale("seen", json!(name.text)));
    }
    let change = Change::Rename { name: name.id, text: given.text.trim().to_owned() };
    decide(&caller, &known, change).await
}

async fn capture(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Capture>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let change = capture_of(known.find(&id)?, given.captured).ok_or_else(|| Problem::invalid(ON_NO_CONTROL))?;
    decide(&caller, &known, change).await
}

async fn undo(
    State(console): State<Console>,
    caller: Caller,
    Path((_, decision)): Path<(String, String)>,
) -> Result<Json<Decided>, Problem> {
    let decision: DecisionId = decision.parse().map_err(|_| Problem::not_found())?;
    let known = known(&console, &caller.project).await?;
    if !known.registry.decisions().iter().any(|known| known.id == decision) {
        return Err(Problem::not_found());
    }
    decide(&caller, &known, Change::Undo { decision }).await
}
