//! `POST /v1/collect`: bounds, decode, origin, filter, scrub, locate, journal; the answer comes after the sync.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use convizit_model::limits::BATCH_BYTES;
use convizit_model::{Outcome, Project, ProjectKey, Refusal};
use convizit_pipeline::{Request as Asked, decode, receive};
use http_body_util::{BodyExt, Limited};

use crate::answer::{SETTINGS, allow_origin, later, problem};
use crate::state::State;

/// A body that takes longer is not worth its memory.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Outcomes of batches that name no project are counted under this number.
const NO_PROJECT: i64 = 0;

pub(crate) async fn collect(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let response = answer(&state, peer, &parts.headers, body).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("convizit_collector_requests_total", "status" => status).increment(1);
    metrics::histogram!("convizit_collector_answer_seconds").record(started.elapsed().as_secs_f64());
    response
}

async fn answer(state: &State, peer: SocketAddr, headers: &HeaderMap, body: Body) -> Response<Body> {
    let origin = headers.get(header::ORIGIN);
    // Before a byte is read: does the journal take it, and is there memory for it?
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > BATCH_BYTES) {
        state.store.count(NO_PROJECT, Outcome::Refused(Refusal::TooLarge), 1);
        return problem(413, "too_large", "body", &format!("at most {BATCH_BYTES} bytes"));
    }
    if let Err(full) = state.store.journal_has_room(declared.unwrap_or(BATCH_BYTES)) {
        return overloaded(state, NO_PROJECT, &full.to_string(), origin);
    }
    let Ok(_place) = state.bodies.try_acquire() else {
        return overloaded(state, NO_PROJECT, "too many requests at once", origin);
    };
    let body = match tokio::time::timeout(BODY_TIME, Limited::new(body, BATCH_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            state.store.count(NO_PROJECT, Outcome::Refused(Refusal::TooLarge), 1);
            return problem(413, "too_large", "body", &format!("at most {BATCH_BYTES} bytes"));
        }
        Ok(Err(_)) => return problem(400, "malformed", "body", "the body ended before its length"),
        Err(_) => return problem(408, "timeout", "body", "the body took longer than 10 s"),
    };
    let batch = match decode(&body) {
        Ok(batch) => batch,
        Err(error) => {
            state.store.count(NO_PROJECT, Outcome::Refused(error.refusal), 1);
            let (status, kind) = match error.refusal {
                Refusal::TooLarge if error.field == "body" => (413, "too_large"),
                Refusal::Version => (400, "version"),
                _ => (400, "malformed"),
            };
            let mut response = problem(status, kind, &error.field, &error.problem);
            // The page may read why, where the body still tells its project.
            let project = key_in(&body).and_then(|key| state.store.project_by_key(&key));
            if let (Some(project), Some(origin)) = (project, origin)
                && allows(&project, origin)
            {
                allow_origin(&mut response, origin);
            }
            return response;
        }
    };
    let items = batch.events.len() as u64;
    let Some(project) = state.store.project_by_key(&batch.key) else {
        state.store.count(NO_PROJECT, Outcome::Refused(Refusal::UnknownKey), items);
        return problem(403, "unknown_key", "key", "no project has this key");
    };
    let Some(origin) = origin.filter(|origin| allows(&project, origin)) else {
        state.store.count(project.number, Outcome::Refused(Refusal::Origin), items);
        let detail = "this origin may not send for the project; `convizit settings set <project> origins` allows it";
        return problem(403, "origin", "origin", detail);
    };
    let mut response = take(state, &project, batch, items, peer, headers).await;
    if let Ok(version) = HeaderValue::try_from(project.version.to_string()) {
        response.headers_mut().insert(SETTINGS, version);
    }
    allow_origin(&mut response, origin);
    response
}

/// What a known project of an allowed origin sent.
async fn take(
    state: &State,
    project: &Project,
    batch: convizit_model::Batch,
    items: u64,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Response<Body> {
    let compiled = match state.compiled(project) {
        Ok(compiled) => compiled,
        Err(error) => {
            tracing::error!(project = %project.id, %error, "stored settings do not compile");
            return overloaded(state, project.number, "the project's settings cannot be used", None);
        }
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let hints: Vec<(&str, &str)> = ["sec-ch-ua", "sec-ch-ua-platform", "sec-ch-ua-mobile", "sec-ch-ua-model"]
        .into_iter()
        .map(|name| (name, text(name)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let address = client(state, peer, headers);
    let received = state.store.clock().now();
    let user_agent = text("user-agent");
    let derived = state.store.derived_visitor(project.number, &address.to_string(), user_agent, received);
    let asked = Asked { address, user_agent, hints: &hints, received, derived_visitor: &derived };
    let taken = receive(batch, &compiled, &state.tables, &asked);
    if let Some(received) = taken.received {
        let record = match serde_json::to_vec(&received) {
            Ok(record) => Bytes::from(record),
            Err(_) => return problem(400, "malformed", "body", "the batch cannot be written as JSON"),
        };
        if let Err(full) = state.store.journal_append(record).await {
            return overloaded(state, project.number, &full.to_string(), None);
        }
    }
    // Counted only now: a batch that is tried again is counted once.
    for (outcome, count) in taken.outcomes {
        state.store.count(project.number, outcome, count);
    }
    metrics::counter!("convizit_collector_events_total").increment(items);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn overloaded(state: &State, project: i64, why: &str, origin: Option<&HeaderValue>) -> Response<Body> {
    state.store.count(project, Outcome::Refused(Refusal::Overloaded), 1);
    let mut response = later(why);
    if let Some(origin) = origin {
        // Nothing is said but "later": any page may read that, and its tracker must.
        allow_origin(&mut response, origin);
    }
    response
}

fn allows(project: &Project, origin: &HeaderValue) -> bool {
    origin.to_str().is_ok_and(|origin| project.settings.allows_origin(origin))
}

/// The client's address: behind a proxy the last entry of `X-Forwarded-For`, which the proxy itself wrote.
fn client(state: &State, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    if !state.behind_proxy {
        return peer.ip();
    }
    headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.rsplit(',').next())
        .and_then(|entry| entry.trim().parse().ok())
        .unwrap_or_else(|| peer.ip())
}

/// The project key that a broken body still shows.
fn key_in(body: &[u8]) -> Option<ProjectKey> {
    let text = std::str::from_utf8(body).ok()?;
    let rest = text.get(text.find("\"pk_")? + 1..)?;
    rest.get(..rest.find('"')?)?.parse().ok()
}
