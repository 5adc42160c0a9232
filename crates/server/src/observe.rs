//! What an operator sees: logs with ids and no captured text, `/healthz`, `/readyz`, Prometheus `/metrics`.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use convizit_console::findings::failing;
use convizit_model::ProjectId;
use convizit_store::{Health, Store};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Measured durations are added up this often.
const UPKEEP: Duration = Duration::from_secs(5);
/// A gauge that was not set for so long is of something that is no more.
const STALE: Duration = Duration::from_secs(300);

static PROMETHEUS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Logs to standard error; a second call changes nothing.
pub(crate) fn start_logs(log: &Log) -> anyhow::Result<()> {
    // PostgreSQL notes at each start that our tables are there already: nobody needs to read that.
    let filter = EnvFilter::try_new(format!("sqlx::postgres::notice=warn,{}", log.filter))
        .map_err(|error| anyhow::anyhow!("log.filter: {error}"))?;
    // Colours are for people: in a file or a service's journal they are noise.
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    match log.format {
        LogFormat::Text => builder.try_init().ok(),
        LogFormat::Json => builder.json().try_init().ok(),
    };
    Ok(())
}

/// Collects metrics from now on.
pub(crate) fn start_metrics() -> anyhow::Result<()> {
    if PROMETHEUS.get().is_some() {
        return Ok(());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0])?
        // What was removed, a destination say, is no longer shown; what is there is set anew at each look.
        .idle_timeout(MetricKindMask::GAUGE, Some(STALE))
        .install_recorder()?;
    PROMETHEUS.set(handle.clone()).ok();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            // Without it every measured duration stays in memory until somebody asks for `/metrics`.
            handle.run_upkeep();
        }
    });
    Ok(())
}

/// The operator's routes.
pub(crate) fn router(store: Store) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(healthz))
        .route("/metrics", get(render))
        .layer(map_response(guarded))
        .with_state(store)
}

/// No browser takes it for anything else, keeps it or frames it.
async fn guarded(mut answer: Response) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn healthz(State(store): State<Store>) -> impl IntoResponse {
    let health = store.health();
    let failing = failing(&store);
    let status = if failing.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "status": if failing.is_none() { "ok" } else { "failing" },
        "failing": failing,
        "journal_bytes": health.journal_bytes,
        "queue_bytes": health.queue_bytes,
        "waiting_batches": waiting(&store, &health).await,
    });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string())
}

/// Batches of the journal that wait for the worker, which may be another process.
async fn waiting(store: &Store, health: &Health) -> u64 {
    let worker = store.worker_offset().await.unwrap_or(health.worker_offset);
    health.journal_offset.saturating_sub(worker)
}

#[expect(clippy::cast_precision_loss, reason = "gauges")]
async fn render(State(store): State<Store>) -> impl IntoResponse {
    let health = store.health();
    metrics::gauge!("convizit_journal_bytes").set(health.journal_bytes as f64);
    metrics::gauge!("convizit_journal_queue_bytes").set(health.queue_bytes as f64);
    metrics::gauge!("convizit_worker_lag_batches").set(waiting(&store, &health).await as f64);
    metrics::gauge!("convizit_healthy").set(if failing(&store).is_none() { 1.0 } else { 0.0 });
    let projects = store.projects().await;
    for project in projects.iter().flatten() {
        for (outcome, items) in store.outcomes(project.number).await.unwrap_or_default() {
            metrics::counter!("convizit_items_total", "project" => project.id.to_string(), "outcome" => outcome)
                .absolute(items);
        }
    }
    if let (Ok(projects), Ok(newest), Ok(states)) =
        (&projects, store.all_last_events().await, store.destinations(None).await)
    {
        let numbers: HashMap<&ProjectId, i64> = projects.iter().map(|project| (&project.id, project.number)).collect();
        for state in states {
            let destination = &state.destination;
            let last = numbers.get(&destination.project).and_then(|number| newest.get(number)).copied().unwrap_or(0);
            let labels = [("project", destination.project.to_string()), ("destination", destination.name.clone())];
            metrics::gauge!("convizit_delivery_lag_events", &labels).set((last - state.cursor) as f64);
            metrics::gauge!("convizit_delivery_paused", &labels).set(f64::from(u8::from(destination.paused.is_some())));
            metrics::gauge!("convizit_delivery_failing", &labels).set(f64::from(u8::from(state.failing.is_some())));
            metrics::gauge!("convizit_delivery_dead", &labels).set(state.dead as f64);
        }
    }
    if let Ok(notices) = store.notices(false).await {
        metrics::gauge!("convizit_notices_open").set(notices.len() as f64);
    }
    let text = PROMETHEUS.get().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
