//! What an operator sees: logs with ids and no captured text, `/healthz`, `/readyz`, Prometheus `/metrics`.

use std::sync::OnceLock;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use convizit_store::Store;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

static PROMETHEUS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Logs to standard error; a second call changes nothing.
pub(crate) fn start_logs(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| anyhow::anyhow!("log.filter: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
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
        .install_recorder()?;
    PROMETHEUS.set(handle).ok();
    Ok(())
}

/// The operator's routes.
pub(crate) fn router(store: Store) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(healthz))
        .route("/metrics", get(render))
        .with_state(store)
}

async fn healthz(State(store): State<Store>) -> impl IntoResponse {
    let health = store.health();
    let status = if health.failing.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "status": if health.failing.is_none() { "ok" } else { "failing" },
        "failing": health.failing,
        "journal_bytes": health.journal_bytes,
        "queue_bytes": health.queue_bytes,
        "waiting_batches": health.journal_offset.saturating_sub(health.worker_offset),
    });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "gauges")]
async fn render(State(store): State<Store>) -> impl IntoResponse {
    let health = store.health();
    metrics::gauge!("convizit_journal_bytes").set(health.journal_bytes as f64);
    metrics::gauge!("convizit_journal_queue_bytes").set(health.queue_bytes as f64);
    metrics::gauge!("convizit_worker_lag_batches")
        .set(health.journal_offset.saturating_sub(health.worker_offset) as f64);
    metrics::gauge!("convizit_healthy").set(if health.failing.is_none() { 1.0 } else { 0.0 });
    if let Ok(projects) = store.projects().await {
        for project in projects {
            for (outcome, items) in store.outcomes(project.number).await.unwrap_or_default() {
                metrics::counter!("convizit_items_total", "project" => project.id.to_string(), "outcome" => outcome)
                    .absolute(items);
            }
            let last = store.last_event(project.number).await.unwrap_or(0);
            for state in store.destinations(Some(&project.id)).await.unwrap_or_default() {
                let labels = [("project", project.id.to_string()), ("destination", state.destination.name.clone())];
                metrics::gauge!("convizit_delivery_lag_events", &labels).set((last - state.cursor) as f64);
                metrics::gauge!("convizit_delivery_paused", &labels)
                    .set(f64::from(u8::from(state.destination.paused.is_some())));
                metrics::gauge!("convizit_delivery_dead", &labels).set(state.dead as f64);
            }
        }
    }
    if let Ok(notices) = store.notices(false).await {
        metrics::gauge!("convizit_notices_open").set(notices.len() as f64);
    }
    let text = PROMETHEUS.get().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
