//! `deliver`: events that are stored, to destinations of each kind; beside each the plain client, which writes the same rows to the same server.

mod ends;
mod plain;
mod receivers;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use convizit_model::Destination;
use convizit_store::Store;
use tokio_util::sync::CancellationToken;

use crate::pipeline::fill;
use crate::server::{Server, Start};
use crate::table::{Table, count, note, say};
use crate::{machine, server};
use ends::End;

/// What arrives last may take so long.
const AT_MOST: Duration = Duration::from_secs(600);

/// Measures delivery, from stored events to the destination, and the plain client beside it.
#[derive(Debug, Args)]
pub(crate) struct Deliver {
    /// Events that wait at the start.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Numbers of projects, each with a destination of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    projects: Vec<usize>,
    /// Only these destinations: postgres, webhook, http, s3, parquet, nats, kafka.
    #[arg(long, value_delimiter = ',', default_values = ["postgres", "webhook", "http", "s3", "parquet", "nats", "kafka"])]
    to: Vec<String>,
    /// The whole way: events wait in the journal, and the worker names and stores them in the same process.
    #[arg(long)]
    whole: bool,
    /// No plain clients.
    #[arg(long)]
    alone: bool,
}

/// How fast events came to be where they were to go.
pub(crate) struct Speed {
    pub(crate) who: String,
    pub(crate) events: u64,
    pub(crate) seconds: f64,
}

impl Speed {
    fn a_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

impl Deliver {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let head =
            ["to", "by", "projects", "events", "events/s", "of the plain client", "CPU s per 1M events", "peak MB"];
        let mut table = Table::new(&head);
        for &projects in &self.projects {
            let (filled, events) = self.fill(projects).await?;
            for to in &self.to {
                self.measure(to, projects, (filled.path(), events), &mut table).await?;
            }
        }
        let way = if self.whole {
            "Journal to destination: worker and delivery of one process"
        } else {
            "Stored events to destination: a process that only delivers"
        };
        table.print(&format!("{way}; servers, receivers and plain clients on the same cores"));
        Ok(())
    }

    /// A folder with events, in the journal or stored, and how many.
    async fn fill(&self, projects: usize) -> Result<(tempfile::TempDir, usize)> {
        let folder = server::folder()?;
        server::projects(folder.path(), projects).await?;
        let store = server::open(folder.path()).await?;
        note(&format!("{projects} projects: filling the journal"));
        let events = fill(&store, 10, self.events).await?;
        if !self.whole {
            note("naming and storing");
            let (end, stop) = (store.health().journal_offset, CancellationToken::new());
            let worker = tokio::spawn(convizit_worker::run(store.clone(), stop.clone()));
            while store.worker_offset().await? < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            stop.cancel();
            worker.await?.map_err(|error| anyhow!(error))?;
        }
        server::closed(store, folder.path()).await?;
        Ok((folder, events))
    }

    async fn measure(
        &self,
        to: &str,
        projects: usize,
        (filled, events): (&Path, usize),
        table: &mut Table,
    ) -> Result<()> {
        let mut end = End::start(to).await?;
        let folder = server::folder()?;
        server::copy(filled, folder.path())?;
        let store = server::open(folder.path()).await?;
        for project in store.projects().await? {
            let (kind, secret) = end.destination();
            let destination = Destination {
                project: project.id,
                name: "end".to_owned(),
                enabled: true,
                paused: None,
                processor: Some(convizit_model::Processor::own()),
                shaping: Default::default(),
                types: Vec::new(),
                kind,
            };
            store.save_destination(&destination, Some(&secret), true).await?;
        }
        store.close().await;
        note(&format!("{to}: delivering"));
        let role = if self.whole { "all" } else { "deliver" };
        let connectors = end.connectors().map(Path::to_owned);
        let start = Instant::now();
        let server = Server::start(folder.path(), &Start { role, connectors, ..Start::default() })?;
        let wanted = u64::try_from(events)?;
        let last = loop {
            let (arrived, last) = end.arrived().await?;
            if arrived >= wanted {
                break last;
            }
            ensure!(start.elapsed() < AT_MOST, "{arrived} of {wanted} events arrived within 10 minutes");
            tokio::time::sleep(end.look()).await;
        };
        let used = server.used()?;
        server.stop()?;
        let (arrived, _) = end.arrived().await?;
        ensure!(arrived == wanted, "{arrived} events arrived, {wanted} were sent");
        let own = Speed { who: "convizit".to_owned(), events: wanted, seconds: (last - start).as_secs_f64() };
        let mut row = |speed: &Speed, cells: [String; 3]| {
            let mut cells = cells.to_vec();
            let all = [to.to_owned(), speed.who.clone(), projects.to_string(), count(speed.events as f64)];
            cells.splice(0..0, all.into_iter().chain([count(speed.a_second())]));
            table.row(cells);
        };
        let used = [format!("{:.1}", used.cpu_seconds * 1e6 / events as f64), format!("{:.0}", used.peak_megabytes)];
        if self.alone {
            row(&own, [String::new(), used[0].clone(), used[1].clone()]);
            return Ok(());
        }
        note(&format!("{to}: the plain client"));
        let store = server::open(folder.path()).await?;
        let rows = stored(&store).await?;
        store.close().await;
        let plain = end.plain(&rows).await?;
        // The first does what the product does; what follows is for comparison.
        let ratio = plain.first().map_or(0.0, |plain| own.a_second() / plain.a_second());
        row(&own, [format!("{:.0} %", 100.0 * ratio), used[0].clone(), used[1].clone()]);
        for speed in &plain {
            row(speed, Default::default());
        }
        Ok(())
    }
}

/// All stored events, as they are delivered.
async fn stored(store: &Store) -> Result<Vec<Bytes>> {
    let mut rows = Vec::new();
    for project in store.projects().await? {
        let mut after = 0;
        loop {
            let events = store.events_after(project.number, after, 10_000, 16 << 20).await?;
            let Some(last) = events.last() else { break };
            after = last.number;
            rows.extend(events.into_iter().map(|event| event.json));
        }
    }
    Ok(rows)
}
