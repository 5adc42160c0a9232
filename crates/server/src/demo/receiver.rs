//! The demo's webhook receiver: verifies every signature as a customer's would, and shows what came.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use convizit_model::Clock;
use convizit_store::SystemClock;
use serde::{Deserialize, Serialize};

/// Seconds by which a timestamp may differ; an older request may be a replay.
const TOLERANCE: i64 = 300;
/// Names that are counted apart.
const NAMES: usize = 1000;

#[derive(Clone)]
pub(super) struct Receiver {
    secret: Arc<str>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default, Serialize)]
struct Seen {
    /// Batches whose signature was right, and wrong.
    verified: u64,
    refused: u64,
    names: BTreeMap<String, u64>,
}

impl Receiver {
    pub(super) fn new(secret: String) -> Self {
        Self { secret: secret.into(), seen: Arc::default() }
    }

    pub(super) fn router(self) -> Router {
        Router::new().route("/", get(page).post(receive)).route("/state.json", get(state)).with_state(self)
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    #[derive(Deserialize)]
    struct Batch {
        events: Vec<Event>,
    }
    #[derive(Deserialize)]
    struct Event {
        name: String,
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let timestamp: i64 = text("webhook-timestamp").parse().unwrap_or(0);
    let near = (SystemClock.now().as_millis() / 1000 - timestamp).abs() <= TOLERANCE;
    let verified = near
        && convizit_keys::verify_webhook(
            &receiver.secret,
            text("webhook-id"),
            timestamp,
            &body,
            text("webhook-signature"),
        )
        .unwrap_or(false);
    let batch = serde_json::from_slice::<Batch>(&body);
    let mut seen = receiver.seen.lock().unwrap_or_else(PoisonError::into_inner);
    match (verified, batch) {
        (true, Ok(batch)) => {
            seen.verified += 1;
            for event in batch.events {
                if seen.names.len() < NAMES || seen.names.contains_key(&event.name) {
                    *seen.names.entry(event.name).or_default() += 1;
                }
            }
            StatusCode::NO_CONTENT
        }
        _ => {
            seen.refused += 1;
            StatusCode::UNAUTHORIZED
        }
    }
}

async fn state(State(receiver): State<Receiver>) -> impl IntoResponse {
    let seen = receiver.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let body = serde_json::to_string(&*seen).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body)
}

async fn page(State(receiver): State<Receiver>) -> impl IntoResponse {
    let seen = receiver.seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = format!(
        "Webhook receiver of the demo\n\nbatches with a right signature  {}\nbatches refused                 {}\n\n",
        seen.verified, seen.refused
    );
    if seen.names.is_empty() {
        text.push_str("No event has arrived yet: click in the shop.\n");
    }
    for (name, count) in &seen.names {
        text.push_str(&format!("{count:>6}  {name}\n"));
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::REFRESH, "2")], text)
}
