//! The daily backup and the drill of the one before it, and what is said of both.

use std::time::Duration;

use convizit_model::NoticeKind;
use convizit_store::backup::Progress;
use convizit_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a backup is due.
const LOOK: Duration = Duration::from_secs(60);
/// A start has more urgent things to do.
const FIRST_LOOK: Duration = Duration::from_secs(20);
/// After a backup that failed the next try waits so long.
const AGAIN: Duration = Duration::from_secs(900);

/// Makes backups when they are due, until `stop`. One that fails raises a notice and is tried again.
pub(crate) async fn run(store: Store, stop: CancellationToken) -> Result<(), String> {
    let mut wait = FIRST_LOOK;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
        measure(&store);
        wait = LOOK;
        if store.backup_is_due() {
            tokio::select! {
                // What was begun leaves no manifest, and its packs are found again by the next.
                () = stop.cancelled() => return Ok(()),
                ended = once(&store) => if !ended { wait = AGAIN },
            }
            measure(&store);
        }
    }
}

/// One backup and one drill; whether the backup ended well.
async fn once(store: &Store) -> bool {
    match store.back_up(&Progress::default()).await {
        Ok(report) => {
            tracing::info!(
                name = report.name,
                events = report.events,
                written = report.written,
                packs = report.packs,
                bytes = report.bytes,
                dropped = report.dropped,
                seconds = report.seconds,
                "a backup was made and read back"
            );
            if let Some(why) = report.keeps_all {
                tracing::warn!(why, "no older backup is dropped");
            }
        }
        Err(error) => {
            tracing::error!(%error, "a backup failed");
            return false;
        }
    }
    match store.drill(&Progress::default()).await {
        Ok(report) => tracing::info!(
            name = report.name,
            events = report.events,
            rows = report.rows,
            seconds = report.seconds,
            "the drill restored a backup and counted what it should"
        ),
        Err(error) => tracing::error!(%error, "the drill could not restore a backup"),
    }
    if let Err(error) = verify_audit(store).await {
        tracing::error!(%error, "the audit log could not be verified");
    }
    true
}

/// Follows the audit log's chain; what is wrong with it is a notice.
async fn verify_audit(store: &Store) -> Result<(), StoreError> {
    const SUBJECT: &str = "chain";
    match store.verify_audit(&[]).await?.problem {
        None => store.resolve_notice(NoticeKind::Audit, None, SUBJECT).await,
        Some(problem) => {
            tracing::error!(problem, "the audit log is not as it was written");
            let text =
                format!("the audit log is not as it was written: {problem}; compare it with a checkpoint or a backup");
            store.raise(NoticeKind::Audit, None, SUBJECT, &text).await
        }
    }
}

/// Sets the metrics from what is known of the last backup and drill.
pub(crate) fn measure(store: &Store) {
    let state = store.backup_state();
    if let Some(made) = state.made {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("convizit_backup_age_seconds").set(store.clock().now().since(made) as f64 / 1000.0);
        metrics::gauge!("convizit_backup_seconds").set(state.seconds);
    }
    if state.drilled.is_some() {
        metrics::gauge!("convizit_drill_ok").set(if state.drill_problem.is_none() { 1.0 } else { 0.0 });
    }
}
