//! The project's incidents: what may be an attack, who sees to it, by when, and what they found.

use axum::Json;
use axum::extract::Path;
use convizit_model::{Incident, IncidentNote, IncidentState, Timestamp};
use convizit_store::{IncidentChange, Scope};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Page, after, at, limit};
use crate::access::Caller;
use crate::acts::{self, Undone};

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(at!("/incidents"), Scope::Incidents, "list_incidents", "Incidents, the newest first");
    let shows =
        Call::get(at!("/incidents/{incident}"), Scope::Incidents, "show_incident", "One incident with its history");
    let triages = Call::post(
        at!("/incidents/{incident}/triage"),
        Scope::Incidents,
        "triage_incident",
        "Says that somebody has looked at it, and who sees to it",
    );
    let owns =
        Call::post(at!("/incidents/{incident}/own"), Scope::Incidents, "own_incident", "Gives it to another account");
    let notes =
        Call::post(at!("/incidents/{incident}/note"), Scope::Incidents, "note_incident", "Writes something to be kept");
    let resolves = Call::post(
        at!("/incidents/{incident}/resolve"),
        Scope::Incidents,
        "resolve_incident",
        "Says that it is over, and what it was",
    );
    let changed = "Done; the version is the one to go on from.";
    api.add(lists.asks::<OfIncidents>().answers::<Page<IncidentView>>(200, "Incidents."), list)
        .add(shows.answers::<OneIncident>(200, "The incident."), show)
        .add(triages.takes::<Triage>().answers::<Changed>(200, changed), triage)
        .add(owns.takes::<Own>().answers::<Changed>(200, changed), own)
        .add(notes.takes::<Written>().answers::<Changed>(200, changed), note)
        .add(resolves.takes::<Written>().answers::<Changed>(200, changed), resolve)
}

/// Which incidents, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfIncidents {
    /// Also those that are over.
    #[serde(default)]
    resolved: bool,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// What may be an attack.
#[derive(Serialize, ToSchema)]
#[schema(as = Incident)]
struct IncidentView {
    /// Its number.
    id: i64,
    /// What was found: `mass_export`.
    kind: &'static str,
    /// Whom it is about: `account:7`, `token:ci`.
    subject: String,
    /// What happened, and what to do first.
    text: String,
    /// `open`, `triaged` or `resolved`.
    #[schema(value_type = String)]
    state: IncidentState,
    /// The account that sees to it; null where none does.
    owner: Option<i64>,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    opened: Timestamp,
    /// By when somebody must have looked at it.
    #[schema(value_type = String, format = DateTime)]
    acknowledge_by: Timestamp,
    /// By when it must be resolved.
    #[schema(value_type = String, format = DateTime)]
    resolve_by: Timestamp,
    /// When somebody had looked at it.
    #[schema(value_type = Option<String>, format = DateTime)]
    triaged: Option<Timestamp>,
    /// When it was resolved.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved: Option<Timestamp>,
    /// When it last went on.
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
    /// Raised with every change.
    version: i64,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        let Incident {
            id,
            kind,
            project: _,
            subject,
            text,
            state,
            owner,
            opened,
            acknowledge_by,
            resolve_by,
            triaged,
            resolved,
            last,
            version,
        } = incident;
        let kind = kind.as_str();
        Self {
            id,
            kind,
            subject,
            text,
            state,
            owner,
            opened,
            acknowledge_by,
            resolve_by,
            triaged,
            resolved,
            last,
            version,
        }
    }
}

async fn list(caller: Caller, Asked(asked): Asked<OfIncidents>) -> Result<Json<Page<IncidentView>>, Problem> {
    let (limit, before) = (limit(asked.limit)?, after::<i64>(asked.after.as_deref())?);
    let all = caller.store.incidents(Some(&caller.project.id), asked.resolved).await?.into_iter();
    let left = all.filter(|incident| before.is_none_or(|before| incident.id < before)).map(IncidentView::from);
    Ok(Json(Page::of(left, limit, |incident| incident.id.to_string())))
}

/// An incident with its history.
#[derive(Serialize, ToSchema)]
struct OneIncident {
    /// The incident itself.
    incident: IncidentView,
    /// What was done about it, the oldest first.
    history: Vec<Step>,
}

/// Something that was done about an incident.
#[derive(Serialize, ToSchema)]
#[schema(as = IncidentStep)]
struct Step {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Who: `account:7`, `token:ci`, `system`.
    actor: String,
    /// `open`, `triage`, `own`, `note` or `resolve`.
    act: String,
    /// What they wrote; of `own` to whom it was given.
    text: String,
}

impl From<IncidentNote> for Step {
    fn from(note: IncidentNote) -> Self {
        let IncidentNote { time, actor, act, text } = note;
        Self { time, actor, act, text }
    }
}

/// The incident of an address, which is one of the project.
async fn found(caller: &Caller, number: &str) -> Result<Incident, Problem> {
    let number = number.parse().map_err(|_| Problem::not_found())?;
    Ok(caller.store.incident(Some(&caller.project.id), number).await?)
}

async fn show(caller: Caller, Path((_, number)): Path<(String, String)>) -> Result<Json<OneIncident>, Problem> {
    let incident = found(&caller, &number).await?;
    let history = caller.store.incident_notes(incident.id).await?.into_iter().map(Step::from).collect();
    Ok(Json(OneIncident { incident: incident.into(), history }))
}

/// What was found, and who sees to it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TriageIncident)]
struct Triage {
    /// The version that was read.
    version: i64,
    /// The number of a member, or of a Master Admin, who sees to it.
    owner: i64,
    /// What was found; no names or addresses of visitors, since it is kept.
    #[serde(default)]
    #[schema(max_length = 4000)]
    text: String,
}

/// Who sees to it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnIncident)]
struct Own {
    /// The version that was read.
    version: i64,
    /// The number of a member, or of a Master Admin.
    owner: i64,
}

/// Something to be kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NoteIncident)]
struct Written {
    /// The version that was read.
    version: i64,
    /// What; no names or addresses of visitors.
    #[schema(min_length = 1, max_length = 4000)]
    text: String,
}

/// What an incident's version is now.
#[derive(Serialize, ToSchema)]
#[schema(as = ChangedIncident)]
struct Changed {
    /// Raised by one.
    version: i64,
}

async fn change(
    caller: &Caller,
    number: &str,
    (version, owner): (i64, Option<i64>),
    change: IncidentChange,
) -> Result<Json<Changed>, Problem> {
    let incident = found(caller, number).await?;
    match acts::incidents::change(&caller.store, &incident, (version, owner), change).await {
        Ok(()) => Ok(Json(Changed { version: version + 1 })),
        Err(Undone::Meanwhile) => {
            let now = IncidentView::from(found(caller, number).await?);
            Err(Problem::stale("version", json!(now)))
        }
        Err(undone) => Err(undone.into()),
    }
}

async fn triage(
    caller: Caller,
    Path((_, number)): Path<(String, String)>,
    Given(given): Given<Triage>,
) -> Result<Json<Changed>, Problem> {
    let Triage { version, owner, text } = given;
    change(&caller, &number, (version, Some(owner)), IncidentChange::Triage { owner: Some(owner), text }).await
}

async fn own(
    caller: Caller,
    Path((_, number)): Path<(String, String)>,
    Given(Own { version, owner }): Given<Own>,
) -> Result<Json<Changed>, Problem> {
    change(&caller, &number, (version, Some(owner)), IncidentChange::Own(owner)).await
}

async fn note(
    caller: Caller,
    Path((_, number)): Path<(String, String)>,
    Given(Written { version, text }): Given<Written>,
) -> Result<Json<Changed>, Problem> {
    change(&caller, &number, (version, None), IncidentChange::Note(text)).await
}

async fn resolve(
    caller: Caller,
    Path((_, number)): Path<(String, String)>,
    Given(Written { version, text }): Given<Written>,
) -> Result<Json<Changed>, Problem> {
    change(&caller, &number, (version, None), IncidentChange::Resolve(text)).await
}
