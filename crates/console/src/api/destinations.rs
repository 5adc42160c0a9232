//! Where a project's events go: adding and changing destinations, how far each is, a try, pausing, resuming and removing.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use convizit_model::{Destination, DestinationKind, EventType, Shaping, Timestamp};
use convizit_store::Scope;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::destination_views::{DestinationView, SeenDestination, ShapingView};
use super::events::{Hour, hours};
use super::openapi::{Api, Call};
use super::problem::Problem;
use super::processors::GivenProcessor;
use super::refused::Refused;
use super::{Asked, Given, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::Undone;
use crate::acts::destinations::{self, Adding, Changing, Said, is_own_kind, place, shown_reason, shown_state};
use crate::page::Problem as FormProblem;

/// Refused events that are shown of a destination.
const REFUSED: i64 = 100;

pub(super) fn routes(api: Api) -> Api {
    let lists =
        Call::get(at!("/destinations"), Scope::Read, "list_destinations", "Destinations and how far each is, by name");
    let adds = Call::post(
        at!("/destinations"),
        Scope::Destinations,
        "add_destination",
        "Adds a destination, once it was reached and can be written to",
    );
    let shows = Call::get(
        at!("/destinations/{destination}"),
        Scope::Read,
        "show_destination",
        "One destination: its week, its newest failures, and the newest events that it refused",
    );
    let changes = Call::patch(
        at!("/destinations/{destination}"),
        Scope::Destinations,
        "change_destination",
        "Changes what is named of a destination, once it was reached so; what is sent from then on goes by it",
    );
    let removes = Call::delete(
        at!("/destinations/{destination}"),
        Scope::Destinations,
        "remove_destination",
        "Removes a destination with what it refused and its replays; what it has stays there",
    );
    let tests = Call::post(
        at!("/destinations/{destination}/test"),
        Scope::Destinations,
        "test_destination",
        "Sends a made-up event as real ones are sent",
    );
    let previews = Call::get(
        at!("/destinations/{destination}/preview"),
        Scope::Read,
        "preview_destination",
        "How an event would be sent: with the scope samples the newest one that it gets, else a made-up one; with the scope destinations to which topic or table",
    );
    let drafts = Call::post(
        at!("/destination-preview"),
        Scope::Destinations,
        "preview_new_destination",
        "How an event would be sent to a destination that is not added yet: nothing is saved, and nothing is reached; secrets are not asked for",
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
        .add(adds.takes::<Add>().answers::<Secret>(201, "Added; a webhook's secret is shown this once."), add)
        .add(shows.answers::<OneDestination>(200, "The destination."), show)
        .add(changes.takes::<Change>().answers::<Secret>(200, "Changed; a new secret is shown this once."), change)
        .add(removes, remove)
        .add(tests.answers::<Tested>(200, "It took the event."), test)
        .add(previews.answers::<PreviewView>(200, "How an event would be sent."), preview)
        .add(drafts.takes::<Add>().answers::<PreviewView>(200, "How an event would be sent."), preview_new)
        .add(pauses, pause)
        .add(resumes, resume)
}

/// A destination with how it goes.
#[derive(Serialize, ToSchema)]
struct OneDestination {
    /// The destination itself.
    destination: DestinationView,
    /// Its address, schema or path, or the region and settings of a connector; null without the scope destinations.
    place: Option<String>,
    /// Of a connector: where the account is; null without the scope destinations, and where there is one place only.
    region: Option<String>,
    /// Of a connector: its settings that are no secrets; null without the scope destinations.
    settings: Option<BTreeMap<String, String>>,
    /// Events that it took in the last seven days by hour; hours without any are missing.
    hours: Vec<Hour>,
    /// Its newest failures, at most 20, the newest first.
    failures: Vec<Failure>,
    /// The newest 100 events that it refused.
    refused: Vec<Refused>,
}

/// Why a batch was not taken.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryFailure)]
struct Failure {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// What happened.
    reason: String,
}

async fn list(caller: Caller, Asked(asked): Asked<Part>) -> Result<Json<Page<DestinationView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<String>(asked.after.as_deref())?);
    let last = caller.store.last_event(caller.project.number).await?;
    let all = caller.store.destinations(Some(&caller.project.id)).await?;
    let settings = &caller.project.settings;
    let sees = caller.may(Scope::Samples);
    let left = all.into_iter().map(|state| DestinationView::of(shown_state(state, sees), last, settings));
    let left = left.filter(|view| begun.as_ref().is_none_or(|begun| view.name > *begun));
    Ok(Json(Page::of(left, limit, |view| view.name.clone())))
}

async fn show(caller: Caller, Path((_, name)): Path<(String, String)>) -> Result<Json<OneDestination>, Problem> {
    let (store, project) = (&caller.store, &caller.project);
    let last = store.last_event(project.number).await?;
    let mut all = store.destinations(Some(&project.id)).await?.into_iter();
    let state = all.find(|state| state.destination.name == name).ok_or_else(Problem::not_found)?;
    let refused = store.dead_letters(&project.id, &name, REFUSED).await?;
    let failures = store.delivery_failures(project.number, &name).await?.into_iter();
    let (may, sees) = (caller.may(Scope::Destinations), caller.may(Scope::Samples));
    let state = shown_state(state, sees);
    let (region, settings) = match &state.destination.kind {
        DestinationKind::Connector { region, settings, .. } if may => (region.clone(), Some(settings.clone())),
        _ => (None, None),
    };
    Ok(Json(OneDestination {
        place: may.then(|| place(&state.destination.kind)),
        region,
        settings,
        destination: DestinationView::of(state, last, &project.settings),
        hours: hours(store.delivered_by_hour(project.number, &name).await?),
        failures: failures.map(|one| Failure { time: one.time, reason: shown_reason(one.reason, sees) }).collect(),
        refused: refused.into_iter().map(|letter| Refused::of(letter, sees)).collect(),
    }))
}

/// A kind of destination that is added here.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GivenKind {
    /// Batches are posted to an address, signed as Standard Webhooks say.
    Webhook,
    /// Each event becomes a row.
    Postgres,
    /// Each event becomes a line of JSON, on the machine that delivers.
    File,
    /// What a vendor takes, by its connector.
    Connector,
}

impl GivenKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Postgres => "postgres",
            Self::File => "file",
            Self::Connector => "connector",
        }
    }
}

/// A destination to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AddDestination)]
struct Add {
    /// Its name: 1 to 64 of a-z, 0-9 and -.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What it is.
    kind: GivenKind,
    /// Of a webhook: the address that takes the events.
    #[serde(default)]
    url: String,
    /// Of PostgreSQL: the schema that is made there, `convizit` by default.
    schema: Option<String>,
    /// Of PostgreSQL: `postgres://user:password@host:5432/database`; kept sealed, and never shown.
    #[serde(default)]
    secret: String,
    /// Of a file: its whole path, in a folder that the operator allows.
    #[serde(default)]
    path: String,
    /// Of a connector: its id, such as `mixpanel`.
    #[serde(default)]
    connector: String,
    /// Of a connector: where the account is.
    #[serde(default)]
    region: String,
    /// Of a connector: its settings, secrets too.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// The types of events that it gets; none means all.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    types: Vec<EventType>,
    /// What it gets of them.
    #[serde(default)]
    shaping: ShapingView,
    /// Whether it begins with the first event that is kept, and not with the next one.
    #[serde(default)]
    from_start: bool,
    /// Whether it waits until it is resumed.
    #[serde(default)]
    hold: bool,
    /// Who processes what it gets; needed unless it waits, and for files never.
    processor: Option<GivenProcessor>,
}

/// A signing secret that was made just now.
#[derive(Serialize, ToSchema)]
#[schema(as = DestinationSecret)]
struct Secret {
    /// What a webhook's batches are signed with, `whsec_…`; null where none was made.
    secret: Option<String>,
}

impl Add {
    fn said(&self) -> Result<Said<'_>, Problem> {
        let connector = self.connector.trim();
        if matches!(self.kind, GivenKind::Connector) && (connector.is_empty() || is_own_kind(connector)) {
            let what = "say the id of a connector, such as mixpanel: docs/destinations/README.md lists them";
            return Err(Problem::invalid(what).at("connector"));
        }
        let processor =
            |of: fn(&GivenProcessor) -> &String| self.processor.as_ref().map_or("", |entry| of(entry).trim());
        Ok(Said {
            kind: match self.kind {
                GivenKind::Connector => connector,
                kind => kind.as_str(),
            },
            url: self.url.trim(),
            schema: self.schema.as_deref().unwrap_or("convizit").trim(),
            secret: self.secret.trim(),
            path: self.path.trim(),
            region: self.region.trim(),
            settings: self.settings.clone(),
            processor: processor(|entry| &entry.name),
            processor_region: processor(|entry| &entry.region),
            agreement: processor(|entry| &entry.agreement),
            ..Said::default()
        })
    }
}

async fn add(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<Add>,
) -> Result<(StatusCode, Json<Secret>), Problem> {
    let held = || caller.store.rest_reason(true);
    let adding = Adding {
        name: &given.name,
        said: given.said()?,
        types: given.types.clone(),
        shaping: given.shaping.clone().into(),
        from_start: given.from_start,
        held: given.hold.then(held),
    };
    let secret = destinations::add(&console, &caller.acting(), adding).await.map_err(in_body)?;
    Ok((StatusCode::CREATED, Json(Secret { secret })))
}

/// What changes of a destination; its name and kind stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChangeDestination)]
struct Change {
    /// What was read: where it is another one by now, nothing is changed.
    seen: Option<SeenDestination>,
    /// Of a webhook: another address.
    url: Option<String>,
    /// Of PostgreSQL: another schema.
    schema: Option<String>,
    /// Of PostgreSQL: another connection.
    secret: Option<String>,
    /// Of a file: another path.
    path: Option<String>,
    /// Of a connector: where the account is.
    region: Option<String>,
    /// Of a connector: settings that become others, secrets too; null takes one away, the rest stays.
    #[serde(default)]
    settings: BTreeMap<String, Option<String>>,
    /// The types of events that it gets; none means all.
    #[schema(value_type = Option<Vec<String>>)]
    types: Option<Vec<EventType>>,
    /// What it gets of them, as a whole.
    shaping: Option<ShapingView>,
    /// Of a webhook: whether a new signing secret is made, and the old one signs no more.
    #[serde(default)]
    renew: bool,
    /// Who processes what it gets.
    processor: Option<GivenProcessor>,
}

/// What somebody is told who was too late.
async fn moved(caller: &Caller, name: &str) -> Result<Problem, Problem> {
    let (destination, _) = caller.store.destination(&caller.project.id, name).await?;
    let (place, types) = (place(&destination.kind), destination.types);
    let shaping = ShapingView::from(destination.shaping);
    Ok(Problem::stale("seen", json!({"place": place, "types": types, "shaping": shaping})))
}

async fn change(
    State(console): State<Console>,
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
    Given(given): Given<Change>,
) -> Result<Json<Secret>, Problem> {
    let (now, _) = caller.store.destination(&caller.project.id, &name).await?;
    if given.seen.is_some_and(|seen| !seen.holds(&now)) {
        return Err(moved(&caller, &name).await?);
    }
    let mut said = Said { kind: now.kind.as_str(), ..Said::default() };
    match &now.kind {
        DestinationKind::Webhook { url } => said.url = url,
        DestinationKind::Postgres { schema } => said.schema = schema,
        DestinationKind::File { path } => said.path = path,
        DestinationKind::Connector { region, settings, .. } => {
            said.region = region.as_deref().unwrap_or_default();
            said.settings.clone_from(settings);
            for (id, value) in &given.settings {
                match value {
                    Some(value) => {
                        said.settings.insert(id.clone(), value.clone());
                    }
                    None => {
                        said.settings.remove(id);
                        said.removed.insert(id.clone());
                    }
                }
            }
        }
        DestinationKind::Stdout { .. } => {}
    }
    if !given.settings.is_empty() && !matches!(now.kind, DestinationKind::Connector { .. }) {
        return Err(Problem::invalid(format!("a {} has none", said.kind)).at("settings"));
    }
    for (field, given, of, stands) in [
        ("url", &given.url, "webhook", &mut said.url),
        ("schema", &given.schema, "postgres", &mut said.schema),
        ("secret", &given.secret, "postgres", &mut said.secret),
        ("path", &given.path, "file", &mut said.path),
        ("region", &given.region, "connector", &mut said.region),
    ] {
        let Some(given) = given else { continue };
        if of != if is_own_kind(said.kind) { said.kind } else { "connector" } {
            return Err(Problem::invalid(format!("a {} has none", said.kind)).at(field));
        }
        *stands = given.trim();
    }
    if given.renew && said.kind != "webhook" {
        return Err(Problem::invalid(format!("a {} has none that could be renewed", said.kind)).at("renew"));
    }
    if let Some(processor) = &given.processor {
        said.processor = processor.name.trim();
        said.processor_region = processor.region.trim();
        said.agreement = processor.agreement.trim();
    }
    let changing = Changing {
        said,
        types: given.types.unwrap_or_else(|| now.types.clone()),
        shaping: given.shaping.map_or_else(|| now.shaping.clone(), Shaping::from),
        renew: given.renew,
    };
    match destinations::change(&console, &caller.acting(), &now, changing).await {
        Ok(secret) => Ok(Json(Secret { secret })),
        Err(Undone::Meanwhile) => Err(moved(&caller, &name).await?),
        Err(undone) => Err(in_body(undone).into()),
    }
}

/// What is to be changed, by its field of a body where that is called otherwise than in a form.
fn in_body(undone: Undone) -> Undone {
    let Undone::Wrong(problem) = undone else { return undone };
    let field = match problem.field.strip_prefix("set-") {
        Some(id) => format!("settings.{id}").into(),
        None if ["without", "when", "percent", "fields", "transform"].contains(&&*problem.field) => {
            format!("shaping.{}", problem.field).into()
        }
        None => problem.field,
    };
    Undone::Wrong(FormProblem { field, text: problem.text })
}

async fn remove(caller: Caller, Path((_, name)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    caller.store.remove_destination(&caller.project.id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a test came to.
#[derive(Serialize, ToSchema)]
#[schema(as = TestedDestination)]
struct Tested {
    /// Where to look for the event.
    said: String,
}

async fn test(
    State(console): State<Console>,
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Tested>, Problem> {
    let tested = destinations::test(&console, &caller.acting(), &name).await?;
    tested.map(|said| Json(Tested { said })).map_err(Problem::invalid)
}

/// How an event would be sent.
#[derive(Serialize, ToSchema)]
#[schema(as = DestinationPreview)]
struct PreviewView {
    /// Whether it is an event of a visitor; else a made-up one.
    real: bool,
    /// In what form it is sent.
    how: String,
    /// Headers of a request, or columns of a row.
    fields: Vec<PreviewField>,
    /// The body of a request, or a line; empty where the fields are all.
    body: String,
}

/// A header or a column.
#[derive(Serialize, ToSchema)]
struct PreviewField {
    /// What it is called.
    name: String,
    /// What stands in it.
    value: String,
}

async fn preview(
    State(console): State<Console>,
    caller: Caller,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<PreviewView>, Problem> {
    let (destination, _) = caller.store.destination(&caller.project.id, &name).await?;
    shown(&console, &caller, &destination).await
}

async fn preview_new(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<Add>,
) -> Result<Json<PreviewView>, Problem> {
    let what = (given.types.clone(), given.shaping.clone().into());
    let drafted = destinations::drafted(&console, &caller.project, &given.said()?, what);
    shown(&console, &caller, &drafted.map_err(|problem| in_body(Undone::Wrong(problem)))?).await
}

async fn shown(console: &Console, caller: &Caller, destination: &Destination) -> Result<Json<PreviewView>, Problem> {
    let samples = caller.samples();
    let rights = (samples.as_ref(), caller.may(Scope::Destinations));
    let (shown, real) = destinations::preview(console, &caller.acting(), rights, destination).await?;
    let fields = shown.fields.into_iter().map(|(name, value)| PreviewField { name, value }).collect();
    Ok(Json(PreviewView { real, how: shown.how, fields, body: shown.body }))
}

async fn pause(caller: Caller, Path((_, name)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    caller.store.rest_destination(&caller.project.id, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(caller: Caller, Path((_, name)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    caller.store.pause_destination(&caller.project.id, &name, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
