//! Where a project's events go: how far each destination is, what it refused, pausing and resuming.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use convizit_model::EventType;
use convizit_store::{DestinationState, Scope};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Page, Part, after, at, limit};
use crate::access::Caller;

/// Refused events that are shown of a destination.
const REFUSED: i64 = 100;

pub(super) fn routes(api: Api) -> Api {
    let lists =
        Call::get(at!("/destinations"), Scope::Read, "list_destinations", "Destinations and how far each is, by name");
    let shows = Call::get(
        at!("/destinations/{destination}"),
        Scope::Read,
        "show_destination",
        "One destination, with the newest events that it refused",
    );
    let pauses = Call::post(
        at!("/destinations/{destination}/pause"),
        Scope::Destinations,
        "pause_destination",
        "Pauses a destination; its events wait",
    );
    let resumes = Call::post(
        at!("/destinations/{destination}/resume"),
        Scope::Destinations,
        "resume_destination",
        "Resumes a destination; what waited is sent",
    );
    api.add(lists.asks::<Part>().answers::<Page<DestinationView>>(200, "Destinations."), list)
        .add(shows.answers::<OneDestination>(200, "The destination."), show)
        .add(pauses, pause)
        .add(resumes, resume)
}

/// A destination, without its address and credentials.
#[derive(Serialize, ToSchema)]
#[schema(as = Destination)]
struct DestinationView {
    /// Its name.
    name: String,
    /// `webhook`, `postgres`, `file` or `stdout`.
    kind: &'static str,
    /// Whether events are sent.
    enabled: bool,
    /// Why it is paused; null while it runs.
    paused: Option<String>,
    /// The types of events that it gets; empty means all.
    #[schema(value_type = Vec<String>)]
    types: Vec<EventType>,
    /// Number of the last event that it is done with.
    cursor: i64,
    /// Events that wait for it.
    behind: i64,
    /// Events that it refused.
    refused: i64,
}

impl DestinationView {
    fn of(state: DestinationState, last: i64) -> Self {
        Self {
            kind: state.destination.kind.as_str(),
            name: state.destination.name,
            enabled: state.destination.enabled,
            paused: state.destination.paused,
            types: state.destination.types,
            cursor: state.cursor,
            behind: (last - state.cursor).max(0),
            refused: state.dead,
        }
    }
}

/// A destination with what it refused.
#[derive(Serialize, ToSchema)]
struct OneDestination {
    /// The destination itself.
    destination: DestinationView,
    /// The newest 100.
    refused: Vec<Refused>,
}

/// An event that a destination refused.
#[derive(Serialize, ToSchema)]
struct Refused {
    /// Its number.
    number: i64,
    /// What the destination said, shortened.
    reason: String,
}

async fn list(caller: Caller, Asked(asked): Asked<Part>) -> Result<Json<Page<DestinationView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<String>(asked.after.as_deref())?);
    let last = caller.store.last_event(caller.project.number).await?;
    let all = caller.store.destinations(Some(&caller.project.id)).await?;
    let left = all.into_iter().map(|state| DestinationView::of(state, last));
    let left = left.filter(|view| begun.as_ref().is_none_or(|begun| view.name > *begun));
    Ok(Json(Page::of(left, limit, |view| view.name.clone())))
}

async fn show(caller: Caller, Path((_, name)): Path<(String, String)>) -> Result<Json<OneDestination>, Problem> {
    let (store, project) = (&caller.store, &caller.project);
    let last = store.last_event(project.number).await?;
    let mut all = store.destinations(Some(&project.id)).await?.into_iter();
    let state = all.find(|state| state.destination.name == name).ok_or_else(Problem::not_found)?;
    let refused = store.dead_letters(&project.id, &name, REFUSED).await?;
    Ok(Json(OneDestination {
        destination: DestinationView::of(state, last),
        refused: refused.into_iter().map(|one| Refused { number: one.number, reason: one.reason }).collect(),
    }))
}

async fn set(caller: &Caller, name: &str, reason: Option<&str>) -> Result<StatusCode, Problem> {
    caller.store.pause_destination(&caller.project.id, name, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn pause(caller: Caller, Path((_, name)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    let reason = format!("paused by token {}", caller.token.name);
    set(&caller, &name, Some(&reason)).await
}

async fn resume(caller: Caller, Path((_, name)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    set(&caller, &name, None).await
}
