//! The newest events as visitors made them, for tokens with the scope samples.

use std::borrow::Cow;

use axum::Json;
use axum::extract::{Path, State};
use convizit_model::{Event, NameId, Project};
use convizit_store::{Scope, Store};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Page, at};
use crate::Console;
use crate::access::{Caller, Samples};
use crate::known::known;

/// Events that are shown, and their bytes.
const SHOWN: u32 = 50;
const BYTES: usize = 1 << 20;

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(at!("/samples"), Scope::Samples, "list_samples", "The newest events, the newest first");
    let of_name = Call::get(
        at!("/events/{event}/samples"),
        Scope::Samples,
        "list_event_samples",
        "The newest events of a name, at most 20",
    );
    api.add(lists.asks::<OfSamples>().answers::<Page<Sample>>(200, "Events."), list)
        .add(of_name.answers::<Page<Sample>>(200, "Events."), of_event)
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfSamples {
    /// How many at most; 50 by default. Older ones are exported by person, or delivered to a destination.
    #[param(minimum = 1, maximum = 50)]
    limit: Option<u32>,
}

/// An event as it is stored and delivered; what was withheld is in `withheld`, as receipts.
#[derive(Serialize)]
#[serde(transparent)]
struct Sample(Event);

impl PartialSchema for Sample {
    fn schema() -> RefOr<Schema> {
        let says = "An event as it is stored and delivered: name, type, time, page, element, properties.";
        let any = Some(AdditionalProperties::FreeForm(true));
        ObjectBuilder::new().description(Some(says)).additional_properties(any).into()
    }
}

impl ToSchema for Sample {
    fn name() -> Cow<'static, str> {
        "Sample".into()
    }
}

async fn newest(_: &Samples, store: &Store, project: &Project, shown: u32) -> Result<Vec<Sample>, Problem> {
    let last = store.last_event(project.number).await?;
    let limit = usize::try_from(shown).unwrap_or(1);
    let events = store.events_after(project.number, (last - i64::from(shown)).max(0), limit, BYTES).await?;
    // Of another version's form an event is left out here: it is stored and delivered all the same.
    let read = |stored: &convizit_store::StoredEvent| serde_json::from_slice(&stored.json).ok().map(Sample);
    Ok(events.iter().rev().filter_map(read).collect())
}

async fn list(caller: Caller, Asked(asked): Asked<OfSamples>) -> Result<Json<Page<Sample>>, Problem> {
    let shown = asked.limit.unwrap_or(SHOWN);
    if !(1..=SHOWN).contains(&shown) {
        return Err(Problem::malformed("limit", format!("1 to {SHOWN}")));
    }
    let right = caller.samples().ok_or_else(|| Problem::wrong_scope(Scope::Samples))?;
    Ok(Json(Page::whole(newest(&right, &caller.store, &caller.project, shown).await?)))
}

async fn of_name(_: &Samples, store: &Store, project: &Project, name: NameId) -> Result<Vec<Sample>, Problem> {
    Ok(store.samples(project.number, name.0).await?.into_iter().map(Sample).collect())
}

async fn of_event(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Page<Sample>>, Problem> {
    let known = known(&console, &caller.project).await?;
    let name = known.find(&id)?.id;
    let right = caller.samples().ok_or_else(|| Problem::wrong_scope(Scope::Samples))?;
    Ok(Json(Page::whole(of_name(&right, &caller.store, &caller.project, name).await?)))
}
