//! `POST /v1/collect`: bounds, decode, origin, filter, scrub, locate, journal; the answer comes after the sync.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use convizit_model::limits::BATCH_BYTES;
use convizit_model::{NoticeKind, Outcome, Project, Refusal, Timestamp};
use convizit_pipeline::{Drift, Request as Asked, Witness, decode, receive};
use http_body_util::{BodyExt, Limited};

use crate::answer::{SETTINGS, allow_origin, later, problem};
use crate::state::{ROOM, State};

/// A body that takes longer is not worth its memory.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(10);
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
    // What is wrong with the request itself says nothing of a project: any page may read it, and its tracker must, or it
    // would take the answer for a broken network and send the same batch for ever.
    let readable = |mut response: Response<Body>| {
        if let Some(origin) = origin {
            allow_origin(&mut response, origin);
        }
        response
    };
    // Before a byte is read: does the journal take it, and is there memory for it?
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    if declared.is_some_and(|bytes| bytes > BATCH_BYTES) {
        return readable(too_large(state));
    }
    if let Err(full) = state.store.journal_has_room(declared.unwrap_or(BATCH_BYTES)) {
        return readable(overloaded(state, NO_PROJECT, &full.to_string()));
    }
    let (body, _room) = match tokio::time::timeout(BODY_TIME, read(state, body)).await {
        Ok(Ok(read)) => read,
        Ok(Err(response)) => return readable(response),
        Err(_) => return readable(problem(408, "timeout", "body", "the body took longer than 10 s")),
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
            return readable(problem(status, kind, &error.field, &error.problem));
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
    if state.store.holds_enough(project.number) {
        return overloaded(
            state,
            project.number,
            "what came before of the project waits, since its key or a decision does not open",
        );
    }
    let compiled = match state.compiled(project) {
        Ok(compiled) => compiled,
        Err(error) => {
            tracing::error!(project = %project.id, %error, "stored settings do not compile");
            return overloaded(state, project.number, "the project's settings cannot be used");
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
    let derived = match &batch.visitor {
        Some(_) if compiled.keeps_visitors() => String::new(),
        _ => state.store.derived_visitor(project.number, &address.to_string(), user_agent, received),
    };
    let taken = {
        let rulings = state.store.rulings(project.number);
        let witness = Witness {
            most: project.settings.crowd,
            network: state.store.network_hash(project.number, address, received),
            hash: &|text| state.store.text_hash(project.number, text),
            ruling: &|key| rulings.of(key),
        };
        let asked = Asked {
            address,
            user_agent,
            hints: &hints,
            gpc: text("sec-gpc") == "1",
            dnt: text("dnt") == "1",
            received,
            derived_visitor: &derived,
            witness,
        };
        receive(batch, &compiled, &state.tables, &asked)
    };
    if let Some(received) = taken.received {
        let record = match serde_json::to_vec(&received) {
            Ok(record) => Bytes::from(record),
            Err(_) => return problem(400, "malformed", "body", "the batch cannot be written as JSON"),
        };
        if let Err(full) = state.store.journal_append(record).await {
            return overloaded(state, project.number, &full.to_string());
        }
        state.takes();
    }
    // Counted only now: a batch that is tried again is counted once.
    for (outcome, count) in taken.outcomes {
        state.store.count(project.number, outcome, count);
    }
    metrics::counter!("convizit_collector_events_total").increment(items);
    if taken.drift != Drift::default() {
        tell_drift(state, project, taken.drift, received).await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Counts what the tracker should have withheld, and says so once an hour.
async fn tell_drift(state: &State, project: &Project, drift: Drift, now: Timestamp) {
    metrics::counter!("convizit_drift_total", "what" => "text").increment(drift.texts);
    metrics::counter!("convizit_drift_total", "what" => "control").increment(drift.controls);
    if !state.is_time_to_tell(project.number, now) {
        return;
    }
    let text = "the server withheld texts or controls that the tracker should have withheld: look for pages with an old copy of the \
                script, for a proxy that changes it, and for other programs that send with this project's key";
    if let Err(error) = state.store.raise(NoticeKind::Drift, Some(&project.id), "tracker", text).await {
        tracing::warn!(project = %project.id, %error, "a notice could not be raised");
    }
}

/// Reads a body within its bound. Its room in memory is taken as its bytes come, so that somebody who opens many requests
/// and sends them drop by drop keeps nobody else out.
pub(crate) async fn read<'s>(
    state: &'s State,
    body: Body,
) -> Result<(Vec<u8>, tokio::sync::SemaphorePermit<'s>), Response<Body>> {
    let full = || overloaded(state, NO_PROJECT, "too many requests at once");
    let mut room = state.bodies.try_acquire_many(0).map_err(|_| full())?;
    let mut body = Limited::new(body, BATCH_BYTES);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large(state)),
            Err(_) => return Err(problem(400, "malformed", "body", "the body ended before its length")),
        };
        let wanted = (bytes.len() + data.len()).div_ceil(ROOM).saturating_sub(room.num_permits());
        // A body has at most 64 KiB: this never saturates.
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        room.merge(state.bodies.try_acquire_many(wanted).map_err(|_| full())?);
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, room))
}

fn too_large(state: &State) -> Response<Body> {
    state.store.count(NO_PROJECT, Outcome::Refused(Refusal::TooLarge), 1);
    problem(413, "too_large", "body", &format!("at most {BATCH_BYTES} bytes"))
}

fn overloaded(state: &State, project: i64, why: &str) -> Response<Body> {
    state.store.count(project, Outcome::Refused(Refusal::Overloaded), 1);
    state.refuses(why);
    // Why is the operator's to know: log, `/healthz`, console.
    later("the server cannot take it now; the tracker keeps the batch and comes again")
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
