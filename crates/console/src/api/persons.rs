//! The data of persons: erased, with how far that is, and exported.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use convizit_model::Timestamp;
use convizit_store::{Erasure, HeldBy, Scope, Told};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Moment, Page, Part, after, at, limit};
use crate::access::Caller;
use crate::privacy::{self, Persons};

pub(super) fn routes(api: Api) -> Api {
    let erases = Call::post(
        at!("/persons/erase"),
        Scope::Erase,
        "erase_persons",
        "Erases persons: unreadable at once, then taken out of the stored bytes",
    );
    let lists = Call::get(at!("/erasures"), Scope::Erase, "list_erasures", "Erasures, the newest first");
    let shows = Call::get(at!("/erasures/{request}"), Scope::Erase, "show_erasure", "How far an erasure is");
    let exports =
        Call::post(at!("/persons/export"), Scope::Export, "export_persons", "Everything that is stored of persons");
    api.add(erases.takes::<Persons>().answers::<Accepted>(202, "Erased; the stored bytes follow."), erase)
        .add(lists.asks::<Part>().answers::<Page<ErasureView>>(200, "Erasures."), list)
        .add(shows.answers::<ErasureView>(200, "The erasure."), show)
        .add(exports.takes::<Persons>().answers_text("application/x-ndjson", "An event on each line, as JSON."), export)
}

/// An erasure that was taken down.
#[derive(Serialize, ToSchema)]
struct Accepted {
    /// Its id.
    request: String,
    /// Where to ask how far it is.
    status: String,
}

/// An erasure.
#[derive(Serialize, ToSchema)]
#[schema(as = Erasure)]
struct ErasureView {
    /// Its id.
    request: String,
    /// What happened or was received up to then is erased.
    #[schema(value_type = String, format = DateTime)]
    made: Timestamp,
    /// How many persons; 0 for the whole dataset.
    persons: i64,
    /// Whether it is about the whole dataset.
    all: bool,
    /// How many persons are still to be taken out of the stored bytes.
    open: i64,
    /// The frames that do not open and may hold some of them: until each is restored or gone, it stays open.
    held: Vec<HeldView>,
    /// What became of it at each destination.
    destinations: Vec<ToldView>,
}

/// A frame by which an erasure is held open.
#[derive(Serialize, ToSchema)]
#[schema(as = HeldBy)]
struct HeldView {
    /// Number of its first event, which is its own number.
    frame: i64,
    /// Number of its last event.
    last: i64,
    /// The day on which its events were received: `2026-11-28`.
    day: String,
    /// The day on which retention takes it.
    goes: String,
}

/// What became of an erasure at a destination.
#[derive(Serialize, ToSchema)]
#[schema(as = Told)]
struct ToldView {
    /// The destination's name.
    destination: String,
    /// `open`, `told` or `cannot`.
    state: String,
    /// Why it cannot, or is still open.
    reason: String,
}

impl From<Erasure> for ErasureView {
    fn from(erasure: Erasure) -> Self {
        let Erasure { request, made, persons, all, open, held, destinations } = erasure;
        let held = held.into_iter().map(|HeldBy { frame, last, day, goes }| HeldView { frame, last, day, goes });
        let told = |Told { destination, state, reason }| ToldView { destination, state, reason };
        let (held, destinations) = (held.collect(), destinations.into_iter().map(told).collect());
        Self { request, made, persons, all, open, held, destinations }
    }
}

async fn erase(caller: Caller, Given(given): Given<Persons>) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let persons = given.persons().map_err(Problem::invalid)?;
    let request = caller.store.erase(&caller.project, &persons).await?;
    let status = format!("/api/v1/projects/{}/erasures/{request}", caller.project.id);
    Ok((StatusCode::ACCEPTED, Json(Accepted { request, status })))
}

async fn list(caller: Caller, Asked(asked): Asked<Part>) -> Result<Json<Page<ErasureView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Moment>(asked.after.as_deref())?);
    let all = caller.store.erasures(caller.project.number).await?;
    // The newest first; those of one millisecond by their place from the end, which stays as newer ones come.
    let count = all.len();
    let numbered = all.into_iter().enumerate().map(|(index, one)| (u64::try_from(count - index).unwrap_or(0), one));
    let moment = |(number, one): &(u64, Erasure)| Moment(one.made.as_millis(), *number);
    let left = numbered.filter(|one| begun.is_none_or(|begun| moment(one) < begun));
    let page = Page::of(left, limit, |one| moment(one).to_string());
    Ok(Json(Page { items: page.items.into_iter().map(|(_, one)| one.into()).collect(), next: page.next }))
}

async fn show(caller: Caller, Path((_, request)): Path<(String, String)>) -> Result<Json<ErasureView>, Problem> {
    let found = caller.store.erasure(caller.project.number, &request).await?;
    Ok(Json(found.ok_or_else(Problem::not_found)?.into()))
}

async fn export(caller: Caller, Given(given): Given<Persons>) -> Result<Response, Problem> {
    let persons = given.persons().map_err(Problem::invalid)?;
    Ok(privacy::stream(&caller.store, caller.project, persons).await?)
}
