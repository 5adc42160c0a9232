//! Public HTTP: limits, the script with its settings, collect.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use convizit_pipeline::Tables;
use convizit_store::Store;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

mod answer;
mod collect;
mod customizer;
mod script;
mod state;
#[cfg(test)]
mod tests;

use state::State;

/// How long requests at hand may take after `stop`.
const DRAIN: Duration = Duration::from_secs(5);

/// How the collector listens.
#[derive(Debug, Clone, Default)]
pub struct CollectorConfig {
    /// Certificate chain and key as PEM files; none means plain HTTP, allowed on loopback or behind a proxy only.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The client's address comes from `X-Forwarded-For` (its last entry), and plain HTTP is allowed on any address.
    pub behind_proxy: bool,
}

/// Serves `/v1/collect`, `/t/<key>.js`, `/t/<key>.json`, `/t/<key>/more.js`, and what the customizer on the site asks, on this listener until `stop`, then drains.
///
/// # Errors
/// A certificate that cannot be read; plain HTTP on a public address without `behind_proxy`.
pub async fn serve(
    listener: std::net::TcpListener,
    config: CollectorConfig,
    store: Store,
    tables: Arc<Tables>,
    stop: CancellationToken,
) -> Result<(), String> {
    let address = listener.local_addr().map_err(|error| format!("the collector's address: {error}"))?;
    if config.tls.is_none() && !config.behind_proxy && !address.ip().is_loopback() {
        return Err(format!(
            "the collector would take visitors' data over plain HTTP on {address}: give collector.certificate and collector.key, or say behind_proxy = true when a proxy before it speaks HTTPS"
        ));
    }
    listener.set_nonblocking(true).map_err(|error| format!("the collector's listener: {error}"))?;
    let app = router(State::new(store, tables, config.behind_proxy))
        .into_make_service_with_connect_info::<std::net::SocketAddr>();
    let handle = Handle::new();
    let ending = handle.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        ending.graceful_shutdown(Some(DRAIN));
    });
    let served = match &config.tls {
        Some((certificate, key)) => {
            let tls = load(certificate, key).await?;
            let mut server = axum_server::from_tcp_rustls(listener, tls)
                .map_err(|error| format!("the collector's listener: {error}"))?
                .handle(handle)
                .first_request_timeout(Duration::from_secs(15));
            bound_http(server.http_builder());
            server.serve(app).await
        }
        None => {
            let mut server = axum_server::from_tcp(listener)
                .map_err(|error| format!("the collector's listener: {error}"))?
                .handle(handle)
                .first_request_timeout(Duration::from_secs(15));
            bound_http(server.http_builder());
            server.serve(app).await
        }
    };
    served.map_err(|error| format!("the collector stopped: {error}"))
}

/// Whether certificate and key can be used: asked before anything is started.
///
/// # Errors
/// One sentence that names the file.
pub async fn check_tls(config: &CollectorConfig) -> Result<(), String> {
    match &config.tls {
        Some((certificate, key)) => load(certificate, key).await.map(|_| ()),
        None => Ok(()),
    }
}

async fn load(certificate: &Path, key: &Path) -> Result<RustlsConfig, String> {
    for path in [certificate, key] {
        tokio::fs::metadata(path).await.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    }
    RustlsConfig::from_pem_file(certificate, key).await.map_err(|error| {
        format!("certificate {} and key {} cannot be used together: {error}", certificate.display(), key.display())
    })
}

/// A request's head is small and comes at once: whoever sends it drop by drop holds no memory and no connection.
fn bound_http<E>(builder: &mut hyper_util::server::conn::auto::Builder<E>) {
    builder
        .http1()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(32 * 1024);
    builder
        .http2()
        .timer(hyper_util::rt::TokioTimer::new())
        .max_header_list_size(16 * 1024)
        .max_concurrent_streams(100)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
}

fn router(state: State) -> Router {
    Router::new()
        .route("/v1/collect", post(collect::collect))
        .route("/t/{file}", get(script::script_or_settings))
        .route("/t/{key}/more.js", get(script::more))
        .route("/t/{key}/overlay.js", get(script::overlay))
        .route("/v1/customizer/open", post(customizer::open))
        .route("/v1/customizer/names", post(customizer::names))
        .route("/v1/customizer/draft", post(customizer::draft))
        .fallback(async || answer::problem(404, "not_found", "path", "here are /v1/collect and /t/<project key>.js"))
        .method_not_allowed_fallback(async || {
            answer::problem(405, "method", "method", "batches are sent by POST, scripts are asked for by GET")
        })
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            // What panicked may hold captured text: it is not kept.
            answer::problem(500, "internal", "body", "the server failed; the tracker keeps the batch and tries again")
        }))
        .with_state(Arc::new(state))
}
