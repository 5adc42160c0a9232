//! Who processes a project's events: the entries of its destinations, as the record of processing needs them.

use axum::Json;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use convizit_model::Processor;
use convizit_store::Scope;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Page, at};
use crate::access::Caller;
use crate::acts::processors::{self, Line};

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(
        at!("/processors"),
        Scope::Read,
        "list_processors",
        "Who processes the project's events, by destination, with what is to be looked at",
    );
    let tables = Call::get(
        at!("/processors.csv"),
        Scope::Read,
        "export_processors",
        "The same as a table of comma-separated values, for a record of processing",
    );
    api.add(lists.answers::<Page<Line>>(200, "Processors."), list)
        .add(tables.answers_text("text/csv", "A table."), table)
}

/// Who processes what a destination gets.
#[derive(Serialize, ToSchema)]
#[schema(as = Processor)]
pub(super) struct ProcessorView {
    /// The organisation; `own` for a system of the own one.
    name: String,
    /// Where it keeps the data; empty for an own system that stands where this installation does.
    region: String,
    /// Date of the data processing agreement; empty for an own system.
    agreement: String,
}

impl From<Processor> for ProcessorView {
    fn from(processor: Processor) -> Self {
        let Processor { name, region, agreement } = processor;
        Self { name, region, agreement }
    }
}

/// Who processes what a destination gets.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnterProcessor)]
pub(super) struct GivenProcessor {
    /// The organisation, as the agreement names it; `own` for a system of the own one.
    #[schema(min_length = 1, max_length = 200)]
    pub(super) name: String,
    /// Where it keeps the data: `eu`, `us`, `eu-west-1`; of a connector by default the region of the account.
    #[serde(default)]
    pub(super) region: String,
    /// Date of the data processing agreement, `2026-10-01`; none for an own system.
    #[serde(default)]
    pub(super) agreement: String,
}

async fn list(caller: Caller) -> Result<Json<Page<Line>>, Problem> {
    Ok(Json(Page::whole(processors::lines(&caller.store, &caller.project).await?)))
}

async fn table(caller: Caller, Path(project): Path<String>) -> Result<Response, Problem> {
    let csv = processors::table(&processors::lines(&caller.store, &caller.project).await?).map_err(Problem::failed)?;
    let name = format!("attachment; filename=\"processors-{project}.csv\"");
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, csv).into_response())
}
