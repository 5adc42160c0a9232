//! Sending again: events that a destination refused, some or all, and replays of a range of time.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use convizit_delivery::{ReplayRules, replay_rules};
use convizit_model::Timestamp;
use convizit_store::{DeadLetter, Replay, Scope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::destinations::shown_reason;

/// Refused events that are named in one call.
const NAMED: usize = 1_000;

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(
        at!("/destinations/{destination}/refused"),
        Scope::Read,
        "list_refused",
        "Events that a destination refused, the newest first",
    );
    let retries = Call::post(
        at!("/destinations/{destination}/refused/retry"),
        Scope::Destinations,
        "retry_refused",
        "Sends refused events again, beside what comes",
    );
    let drops = Call::post(
        at!("/destinations/{destination}/refused/drop"),
        Scope::Destinations,
        "drop_refused",
        "Gives refused events up; the events themselves stay stored",
    );
    let replays = Call::get(
        at!("/destinations/{destination}/replays"),
        Scope::Read,
        "list_replays",
        "Replays of a destination, the newest first",
    );
    let plans = Call::get(
        at!("/destinations/{destination}/replays/plan"),
        Scope::Read,
        "plan_replay",
        "How many events a replay would send; nothing is sent",
    );
    let starts = Call::post(
        at!("/destinations/{destination}/replays"),
        Scope::Destinations,
        "start_replay",
        "Sends what was received in a range of time again, with the same ids",
    );
    let stops = Call::post(
        at!("/destinations/{destination}/replays/{replay}/stop"),
        Scope::Destinations,
        "stop_replay",
        "Stops a replay; what was sent stays there",
    );
    api.add(lists.asks::<Part>().answers::<Page<Refused>>(200, "Refused events."), list)
        .add(retries.takes::<Chosen>().answers::<Counted>(200, "They are sent again."), retry)
        .add(drops.takes::<Chosen>().answers::<Counted>(200, "They are given up."), give_up)
        .add(replays.answers::<Page<ReplayView>>(200, "Replays."), list_replays)
        .add(plans.looks().asks::<OfRange>().answers::<Plan>(200, "What it would send."), plan)
        .add(starts.takes::<Range>().answers::<ReplayView>(201, "Taken down; delivery carries it out."), start)
        .add(stops, stop)
}

/// An event that a destination refused.
#[derive(Serialize, ToSchema)]
pub(super) struct Refused {
    /// Its number.
    number: i64,
    /// What the destination said, shortened; its own words only with the scope samples, since they may quote the event.
    reason: String,
    /// When it was last refused; null for what was refused before times were kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<Timestamp>,
    /// How often it was refused.
    attempts: i64,
    /// Whether it is being sent again.
    retry: bool,
}

impl Refused {
    pub(super) fn of(letter: DeadLetter, sees_samples: bool) -> Self {
        let DeadLetter { number, reason, time, attempts, retry } = letter;
        let reason = shown_reason(reason, sees_samples);
        Self { number, reason, time: Some(time).filter(|time| time.as_millis() != 0), attempts, retry }
    }
}

async fn list(
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
    Asked(asked): Asked<Part>,
) -> Result<Json<Page<Refused>>, Problem> {
    let (limit, before) = (limit(asked.limit)?, after::<i64>(asked.after.as_deref())?.unwrap_or(i64::MAX));
    let (store, id) = (&caller.store, &caller.project.id);
    store.destination(id, &name).await?;
    let sees = caller.may(Scope::Samples);
    // One more shows whether there is a next page.
    let most = i64::try_from(limit).unwrap_or(0) + 1;
    let letters = store.dead_letters_before(id, &name, before, most).await?;
    Ok(Json(Page::of(letters.into_iter().map(|letter| Refused::of(letter, sees)), limit, |letter| {
        letter.number.to_string()
    })))
}

/// Which refused events: those of `numbers`, or all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChosenRefused)]
struct Chosen {
    /// The events' numbers; what was not refused is passed over.
    #[schema(min_items = 1, max_items = 1000)]
    numbers: Option<Vec<i64>>,
    /// All of them, in the place of numbers.
    #[serde(default)]
    all: bool,
}

impl Chosen {
    /// The numbers; `None` for all.
    fn numbers(&self) -> Result<Option<&[i64]>, Problem> {
        match &self.numbers {
            None if self.all => Ok(None),
            Some(numbers) if !self.all && (1..=NAMED).contains(&numbers.len()) => Ok(Some(numbers)),
            _ => Err(Problem::invalid(format!("name 1 to {NAMED} numbers, or all of them: true")).at("numbers")),
        }
    }
}

/// How many there were.
#[derive(Serialize, ToSchema)]
#[schema(as = CountedRefused)]
struct Counted {
    /// Refused events that it was done with.
    events: u64,
}

async fn retry(
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
    Given(given): Given<Chosen>,
) -> Result<Json<Counted>, Problem> {
    let (store, id) = (&caller.store, &caller.project.id);
    Ok(Json(Counted { events: store.retry_dead_letters(id, &name, given.numbers()?).await? }))
}

async fn give_up(
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
    Given(given): Given<Chosen>,
) -> Result<Json<Counted>, Problem> {
    let (store, id) = (&caller.store, &caller.project.id);
    Ok(Json(Counted { events: store.drop_dead_letters(id, &name, given.numbers()?).await? }))
}

/// A replay of what was received in a range of time.
#[derive(Serialize, ToSchema)]
#[schema(as = Replay)]
struct ReplayView {
    /// From 1 for each destination.
    id: i64,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    made: Timestamp,
    /// Events that were received from then on, …
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// … and before then.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// The first number that such an event can have.
    first: i64,
    /// The last.
    last: i64,
    /// Up to which number it is carried out.
    done: i64,
    /// Events that the destination took.
    sent: i64,
    /// Events that it refused.
    refused: i64,
    /// `open`, `done` or `stopped`.
    state: &'static str,
}

impl From<Replay> for ReplayView {
    fn from(replay: Replay) -> Self {
        let Replay { id, made, from, to, first, last, done, sent, dead, state } = replay;
        Self { id, made, from, to, first, last, done, sent, refused: dead, state: state.as_str() }
    }
}

async fn list_replays(
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Page<ReplayView>>, Problem> {
    caller.store.destination(&caller.project.id, &name).await?;
    let replays = caller.store.replays(caller.project.number, &name).await?;
    Ok(Json(Page::whole(replays.into_iter().map(ReplayView::from).collect())))
}

/// A range of time, by when events were received.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfRange {
    /// From then on.
    #[param(value_type = String, format = DateTime)]
    from: String,
    /// Before then; now by default.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<String>,
}

/// A range of time, by when events were received.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StartReplay)]
struct Range {
    /// From then on.
    #[schema(value_type = String, format = DateTime)]
    from: String,
    /// Before then; now by default.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<String>,
    /// That the plan's warning was read; needed where it has one.
    #[serde(default)]
    agreed: bool,
}

/// The times of a range, of which the second is now where it is not said.
fn range(caller: &Caller, from: &str, to: Option<&str>) -> Result<(Timestamp, Timestamp), Problem> {
    let time = |field: &'static str, text: &str| {
        text.parse::<Timestamp>().map_err(|_| Problem::malformed(field, "a time such as 2026-11-29T18:00:00Z"))
    };
    let from = time("from", from)?;
    let to = to.map_or_else(|| Ok(caller.now()), |to| time("to", to))?;
    if from >= to {
        return Err(Problem::invalid("the range ends before it begins: change one of the two times").at("to"));
    }
    Ok((from, to))
}

/// What a replay would send.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayPlan)]
struct Plan {
    /// How many events, of those that the destination wants and has had its turn of.
    events: i64,
    /// Whether they were counted one by one; else there are at most so many.
    exact: bool,
    /// How many of the range are left out because they are older than what the destination takes; where it is not exact, at least so many.
    late: i64,
    /// What is to be agreed to before: what becomes of repeats, or that times are lost; null where nothing is.
    warning: Option<String>,
    /// Why none can be begun; null where one can.
    refused: Option<String>,
}

/// What holds for a replay to a destination.
async fn rules(console: &Console, caller: &Caller, name: &str) -> Result<ReplayRules, Problem> {
    let (destination, _) = caller.store.destination(&caller.project.id, name).await?;
    Ok(replay_rules(&destination.kind, &console.config().delivery, caller.now()))
}

async fn plan(
    State(console): State<Console>,
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
    Asked(asked): Asked<OfRange>,
) -> Result<Json<Plan>, Problem> {
    let range = range(&caller, &asked.from, asked.to.as_deref())?;
    let ReplayRules { refused, warning, oldest, .. } = rules(&console, &caller, &name).await?;
    let plan = caller.store.plan_replay(&caller.project.id, &name, range, oldest).await?;
    Ok(Json(Plan { events: plan.events, exact: plan.exact, late: plan.late, warning, refused }))
}

async fn start(
    State(console): State<Console>,
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
    Given(given): Given<Range>,
) -> Result<(StatusCode, Json<ReplayView>), Problem> {
    let range = range(&caller, &given.from, given.to.as_deref())?;
    let rules = rules(&console, &caller, &name).await?;
    if let Some(why) = rules.refused {
        return Err(Problem::invalid(why));
    }
    if let Some(warning) = rules.warning.filter(|_| !given.agreed) {
        return Err(Problem::barred(format!("{warning} Say agreed: true to send them all the same")).at("agreed"));
    }
    let replay = caller.store.start_replay(&caller.project.id, &name, range).await?;
    Ok((StatusCode::CREATED, Json(replay.into())))
}

async fn stop(caller: Caller, Path((_, name, replay)): Path<(String, String, String)>) -> Result<StatusCode, Problem> {
    let replay = replay.parse().map_err(|_| Problem::not_found())?;
    caller.store.stop_replay(&caller.project.id, &name, replay).await?;
    Ok(StatusCode::NO_CONTENT)
}
