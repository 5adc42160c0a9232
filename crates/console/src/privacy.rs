//! What a site's own privacy desk asks for over HTTP: erasing and exporting persons, with a token of its project.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::handler::Handler as _;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use convizit_model::{Person, Project};
use convizit_store::{Scope, Store, StoreError, Token};
use serde::Deserialize;

use crate::Console;
use crate::access::{Access, Routes, Row};

/// Persons of one request at most.
const PERSONS: usize = 10_000;
/// Bytes of one request at most.
const BODY: usize = 4 << 20;
/// Frames that are read at once.
const FRAMES: usize = 20;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Asked {
    visitors: Vec<String>,
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

/// A JSON problem (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    let head = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
    (status, head, body.to_string()).into_response()
}

fn failed(error: &StoreError) -> Response {
    let status = match error {
        StoreError::NotFound { .. } => StatusCode::NOT_FOUND,
        StoreError::Invalid(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    problem(status, &error.to_string())
}

/// Who asks, by the token of the request.
async fn asker(store: &Store, headers: &HeaderMap, scope: Scope) -> Result<(Token, Project), Response> {
    let secret = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let refused = || {
        let text = "a living token is needed: Authorization: Bearer …, made by convizit token add";
        problem(StatusCode::UNAUTHORIZED, text)
    };
    let token = match secret {
        Some(secret) => store.token(secret.trim()).await.map_err(|error| failed(&error))?.ok_or_else(refused)?,
        None => return Err(refused()),
    };
    if token.scope != scope {
        let text = format!("this token has the scope {}, this needs {}", token.scope.as_str(), scope.as_str());
        return Err(problem(StatusCode::FORBIDDEN, &text));
    }
    let id = token.project.parse().map_err(|_| refused())?;
    let project = store.project(&id).await.map_err(|error| failed(&error))?;
    Ok((token, project))
}

fn persons(body: &[u8]) -> Result<Vec<Person>, String> {
    let bad = |text: &str| text.to_owned();
    // The parser's message may quote an id.
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|_| bad("the body is JSON with the lists visitors and users of ids, and nothing else"))?;
    if asked.visitors.len() + asked.users.len() > PERSONS {
        return Err(bad(&format!("at most {PERSONS} persons in one request")));
    }
    let lists = [("visitor", &asked.visitors), ("user", &asked.users)];
    let persons = lists.iter().flat_map(|(kind, ids)| ids.iter().map(|id| Person::new(kind, id)));
    let persons = persons.collect::<Result<Vec<_>, _>>()?;
    if persons.is_empty() {
        return Err(bad("visitors and users are empty: nobody was named"));
    }
    Ok(persons)
}

async fn erase(State(console): State<Console>, headers: HeaderMap, body: Bytes) -> Response {
    let (token, project) = match asker(console.store(), &headers, Scope::Erase).await {
        Ok(asker) => asker,
        Err(answer) => return answer,
    };
    let persons = match persons(&body) {
        Ok(persons) => persons,
        Err(text) => return problem(StatusCode::BAD_REQUEST, &text),
    };
    match console.store().acting_as(&format!("token:{}", token.name)).erase(&project, &persons).await {
        Ok(request) => {
            let body = serde_json::json!({"request": request, "status": format!("/v1/erase/{request}")});
            (StatusCode::ACCEPTED, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn erasure(State(console): State<Console>, Path(request): Path<String>, headers: HeaderMap) -> Response {
    let project = match asker(console.store(), &headers, Scope::Erase).await {
        Ok((_, project)) => project,
        Err(answer) => return answer,
    };
    match console.store().erasure(project.number, &request).await {
        Ok(Some(erasure)) => ([(header::CACHE_CONTROL, "no-store")], Json(erasure)).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "there is no such erasure in this token's project"),
        Err(error) => failed(&error),
    }
}

/// JSON lines, a few frames at a time, so that a person with many events needs no memory.
async fn export(State(console): State<Console>, headers: HeaderMap, body: Bytes) -> Response {
    let (token, project) = match asker(console.store(), &headers, Scope::Export).await {
        Ok(asker) => asker,
        Err(answer) => return answer,
    };
    let persons = match persons(&body) {
        Ok(persons) => persons,
        Err(text) => return problem(StatusCode::BAD_REQUEST, &text),
    };
    let store = console.store().acting_as(&format!("token:{}", token.name));
    match stream(&store, project, persons).await {
        Ok(answer) => answer,
        Err(error) => failed(&error),
    }
}

/// Everything that is stored of persons, as JSON lines, once the audit log has it.
pub(crate) async fn stream(store: &Store, project: Project, persons: Vec<Person>) -> Result<Response, StoreError> {
    let detail = if persons.len() == 1 { "1 person".to_owned() } else { format!("{} persons", persons.len()) };
    store.audit("export.persons", project.id.as_str(), "", detail).await?;
    let store = store.clone();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, StoreError>>(2);
    tokio::spawn(async move {
        let mut after = 0;
        loop {
            let found = store.person_events(&project, &persons, after, FRAMES).await;
            let (piece, next) = match found {
                Ok(found) => {
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
                None => return,
            }
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
