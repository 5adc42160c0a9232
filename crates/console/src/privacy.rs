//! What a site's own privacy desk asks for over HTTP: erasing and exporting persons, with a token of its project.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::handler::Handler as _;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use convizit_model::{Person, Project};
use convizit_store::{Scope, Store, StoreError};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::Console;
use crate::access::{Access, Routes, Row, bearer};
use crate::api::problem::Problem;

/// Persons of one request at most.
const PERSONS: usize = 10_000;
/// Bytes of one request at most.
const BODY: usize = crate::api::BODY;
/// Frames that are read at once.
const FRAMES: usize = 20;

/// Whose data is meant, by their ids; at most 10 000.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Persons {
    /// Anonymous ids that the tracker keeps.
    visitors: Vec<String>,
    /// Ids that the site gave with `convizit.identify`.
    users: Vec<String>,
}

/// `POST /v1/erase`, `GET /v1/erase/{request}`, `POST /v1/export`.
pub(crate) fn routes(routes: Routes) -> Routes {
    let limit = || DefaultBodyLimit::max(BODY);
    routes
        .add(Row::post("/v1/erase", Access::Token), erase.layer(limit()))
        .add(Row::get("/v1/erase/{request}", Access::Token), erasure)
        .add(Row::post("/v1/export", Access::Token), export.layer(limit()))
}

/// A problem with what a body says.
fn bad(text: String) -> Problem {
    Problem::malformed("", text)
}

/// Who asks, by the token of the request.
async fn asker(console: &Console, parts: &Parts, scope: Scope) -> Result<(Store, Project), Problem> {
    let (token, project) = bearer(console, parts).await?;
    if !token.allows(scope) {
        return Err(Problem::wrong_scope(scope));
    }
    Ok((console.store().acting_as(&token.actor()), project))
}

impl Persons {
    /// Each person once named.
    ///
    /// # Errors
    /// What to change, without an id.
    pub(crate) fn persons(&self) -> Result<Vec<Person>, String> {
        if self.visitors.len() + self.users.len() > PERSONS {
            return Err(format!("at most {PERSONS} persons in one request"));
        }
        let lists = [("visitor", &self.visitors), ("user", &self.users)];
        let persons = lists.iter().flat_map(|(kind, ids)| ids.iter().map(|id| Person::new(kind, id)));
        let persons = persons.collect::<Result<Vec<_>, _>>()?;
        if persons.is_empty() {
            return Err("visitors and users are empty: nobody was named".to_owned());
        }
        Ok(persons)
    }
}

fn persons(body: &[u8]) -> Result<Vec<Person>, Problem> {
    // The parser's message may quote an id.
    let text = "the body is JSON with the lists visitors and users of ids, and nothing else";
    let asked: Persons = serde_json::from_slice(body).map_err(|_| bad(text.to_owned()))?;
    asked.persons().map_err(bad)
}

async fn erase(State(console): State<Console>, parts: Parts, body: Bytes) -> Result<Response, Problem> {
    let (store, project) = asker(&console, &parts, Scope::Erase).await?;
    let request = store.erase(&project, &persons(&body)?).await?;
    let body = serde_json::json!({"request": request, "status": format!("/v1/erase/{request}")});
    Ok((StatusCode::ACCEPTED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

async fn erasure(
    State(console): State<Console>,
    Path(request): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let (store, project) = asker(&console, &parts, Scope::Erase).await?;
    let erasure = store.erasure(project.number, &request).await?.ok_or_else(Problem::not_found)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(erasure)).into_response())
}

/// JSON lines, a few frames at a time, so that a person with many events needs no memory.
async fn export(State(console): State<Console>, parts: Parts, body: Bytes) -> Result<Response, Problem> {
    let (store, project) = asker(&console, &parts, Scope::Export).await?;
    Ok(stream(&store, project, persons(&body)?).await?)
}

/// Everything that is stored of persons, as JSON lines, once the audit log has it.
pub(crate) async fn stream(store: &Store, project: Project, persons: Vec<Person>) -> Result<Response, StoreError> {
    let detail = if persons.len() == 1 { "1 person".to_owned() } else { format!("{} persons", persons.len()) };
    store.audit("export.persons", project.id.as_str(), "", detail).await?;
    let store = store.clone();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, StoreError>>(2);
    tokio::spawn(async move {
        let (mut after, mut unread) = (0, None);
        loop {
            let found = store.person_events(&project, &persons, after, FRAMES).await;
            let (piece, next) = match found {
                Ok(found) => {
                    unread = unread.or(found.unread.into_iter().next());
                    let mut lines = Vec::new();
                    for event in &found.events {
                        lines.extend_from_slice(&event.json);
                        lines.push(b'\n');
                    }
                    (Ok(Bytes::from(lines)), found.next)
                }
                Err(error) => (Err(error), None),
            };
            // Whoever asked has gone.
            if sender.send(piece).await.is_err() {
                return;
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        if let Some(problem) = unread {
            tracing::warn!(project = %project.id, problem, "an export of persons is not whole");
            // Behind all that can be read: an answer without its end is not taken for the whole.
            sender.send(Err(StoreError::Unusable(problem))).await.ok();
        }
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let head = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"persons.jsonl\""),
    ];
    Ok((head, Body::from_stream(stream)).into_response())
}
