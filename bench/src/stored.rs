//! `stored`: what an event takes on the disk, after visits at the demo's own pace.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use clap::Args;
use convizit_keys::{ProviderConfig, open_provider};
use convizit_model::{Clock, Timestamp};
use convizit_store::{Store, StoreConfig};
use tokio_util::sync::CancellationToken;

use crate::pipeline::Reception;
use crate::table::{Table, count, note};
use crate::{load, server};

/// Measures the data folder after so many events, each few of them a transaction of their own.
#[derive(Debug, Args)]
pub(crate) struct Stored {
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Events of a batch.
    #[arg(long, default_value_t = 2)]
    batch: usize,
    /// Milliseconds from one event to the next, as "Play a visit" clicks.
    #[arg(long, default_value_t = 1_200)]
    pace: i64,
}

/// A clock that goes as the visits go: 100 000 events of the demo are 33 hours.
struct VisitClock(AtomicI64);

impl Clock for VisitClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Stored {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        let data = folder.path().join("data");
        server::projects(folder.path(), 1).await?;
        let step = self.pace * i64::try_from(self.batch)?;
        // It ends now, so that no clock is ahead of the machine's.
        let clock = Arc::new(VisitClock(AtomicI64::new(load::now() - self.pace * i64::try_from(self.events)?)));
        let keys = open_provider(&ProviderConfig::File { path: data.join("keys") })?;
        let store = Store::open(StoreConfig::in_folder(&data), keys, clock.clone()).await?;
        let projects = store.projects().await?;
        let number = projects.first().map_or(1, |project| project.number);
        let mut reception = Reception::new(&projects, self.batch)?;
        let stop = CancellationToken::new();
        let worker = tokio::spawn(convizit_worker::run(store.clone(), stop.clone()));
        let mut events = 0;
        while events < self.events {
            let now = clock.0.fetch_add(step, Ordering::Relaxed) + step;
            let received = reception.next(now)?;
            events += received.batch.events.len();
            store.journal_append(Bytes::from(serde_json::to_vec(&received)?)).await?;
            // The worker is done with one batch before the next comes: each is a transaction, as at the demo's pace.
            while store.last_event(number).await? < i64::try_from(events)? {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            if events % 20_000 < self.batch {
                note(&format!("{events} events"));
            }
        }
        // The day is over: what is left to be merged is merged by the product's own upkeep, which comes each 5 s.
        let before = sizes(&data)?;
        tokio::time::sleep(Duration::from_secs(12)).await;
        stop.cancel();
        worker.await?.map_err(|error| anyhow!(error))?;
        store.close().await;
        let mut table = Table::new(&["events", "file", "bytes", "bytes per event", "before the last upkeep"]);
        let mut all = (0, 0);
        for (name, bytes) in sizes(&data)? {
            let earlier = before.iter().find(|(other, _)| *other == name).map_or(0, |(_, bytes)| *bytes);
            all = (all.0 + bytes, all.1 + earlier);
            table.row(row(events, &name, bytes, earlier));
        }
        table.row(row(events, "all", all.0, all.1));
        table.print(&format!("Data folder after visits at the demo's pace, batches of {}", self.batch));
        Ok(())
    }
}

fn row(events: usize, name: &str, bytes: u64, earlier: u64) -> Vec<String> {
    let each = |bytes: u64| format!("{:.1}", bytes as f64 / events as f64);
    vec![count(events as f64), name.to_owned(), count(bytes as f64), each(bytes), each(earlier)]
}

fn sizes(folder: &Path) -> Result<Vec<(String, u64)>> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        sizes.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()));
    }
    sizes.sort();
    Ok(sizes)
}
