//! One task for each enabled destination; tasks start and end as people change destinations.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use convizit_model::{Destination, ProjectId};
use convizit_store::{Store, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::DeliveryConfig;
use crate::destinations::close_erasures;
use crate::guard::Guard;
use crate::route::Route;

/// How soon a change is noticed.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is looked for destinations that did not open.
const AGAIN: Duration = Duration::from_secs(10);
/// How long batches at hand may take after `stop`.
const DRAIN: Duration = Duration::from_secs(5);

struct Task {
    destination: Destination,
    stop: CancellationToken,
    handle: JoinHandle<()>,
    /// The handle was awaited to its end, which is possible once only.
    ended: bool,
}

pub(crate) async fn run(store: Store, config: DeliveryConfig, stop: CancellationToken) -> Result<(), String> {
    let guard = Guard::new(&config.allow_networks)?;
    let mut tasks: HashMap<(ProjectId, String), Task> = HashMap::new();
    let (mut version, mut told) = (None, None);
    let mut resting: Vec<Destination> = Vec::new();
    // When those are looked for again that did not open.
    let mut look_again: Option<Instant> = None;
    loop {
        // One that panicked is started again; one that ended by itself waits for a change.
        for task in tasks.values_mut().filter(|task| !task.ended && task.handle.is_finished()) {
            task.ended = true;
            if (&mut task.handle).await.is_err() {
                tracing::error!(project = %task.destination.project, destination = task.destination.name, "delivery failed in itself; it is started again");
                version = None;
            }
        }
        if version != Some(store.control_version()) || look_again.is_some_and(|time| time <= Instant::now()) {
            let seen = store.control_version();
            let found =
                async { Ok::<_, StoreError>((store.destinations(None).await?, store.count_destinations().await?)) };
            match found.await {
                Ok((states, all)) => {
                    look_again = (states.len() < all).then(|| Instant::now() + AGAIN);
                    let all = states.into_iter().map(|state| state.destination);
                    let (wanted, rest): (Vec<_>, Vec<_>) =
                        all.partition(|destination| destination.enabled && destination.paused.is_none());
                    (resting, told) = (rest, None);
                    for task in tasks.values_mut().filter(|task| !wanted.contains(&task.destination)) {
                        task.stop.cancel();
                        // A batch at hand is ended before another task takes over, so that none goes out twice.
                        if !task.ended && tokio::time::timeout(DRAIN, &mut task.handle).await.is_err() {
                            task.handle.abort();
                        }
                        task.ended = true;
                    }
                    tasks.retain(|_, task| !task.ended);
                    for destination in wanted {
                        let key = (destination.project.clone(), destination.name.clone());
                        tasks.entry(key).or_insert_with(|| {
                            let ending = CancellationToken::new();
                            let route = Route::new(
                                store.clone(),
                                destination.clone(),
                                config.clone(),
                                guard.clone(),
                                ending.clone(),
                            );
                            Task { destination, stop: ending, handle: tokio::spawn(route.run()), ended: false }
                        });
                    }
                    version = Some(seen);
                }
                Err(error) => tracing::warn!(%error, "destinations cannot be read; looking again"),
            }
        }
        let newest = store.newest_erasure();
        if told != Some(newest) {
            let mut all = true;
            for destination in &resting {
                if let Err(error) = close_erasures(&store, &config, destination).await {
                    tracing::debug!(%error, destination = destination.name, "what it cannot erase is said later");
                    all = false;
                }
            }
            told = all.then_some(newest);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    for task in tasks.values() {
        task.stop.cancel();
    }
    let all = async {
        for task in tasks.values_mut().filter(|task| !task.ended) {
            (&mut task.handle).await.ok();
            task.ended = true;
        }
    };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::info!("a destination did not answer in time; its events are sent at the next start");
        // The store is closed after this: nothing may go on.
        for task in tasks.values().filter(|task| !task.ended) {
            task.handle.abort();
        }
    }
    Ok(())
}
