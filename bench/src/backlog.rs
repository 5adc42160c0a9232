//! `backlog`: memory and lag of the whole process over what waits in the journal.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::pipeline::fill;
use crate::server::{Server, Start};
use crate::table::{Table, count, note, say};
use crate::{machine, server};

/// Measures the memory of a process that finds so many events waiting.
#[derive(Debug, Args)]
pub(crate) struct Backlog {
    /// Events that wait at the start.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    events: Vec<usize>,
    /// Numbers of projects.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 1])]
    projects: Vec<usize>,
}

impl Backlog {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let mut table = Table::new(&[
            "projects",
            "events waiting",
            "journal MB",
            "s to ready",
            "s until nothing waits",
            "events/s",
            "peak MB",
        ]);
        for &projects in &self.projects {
            for &events in &self.events {
                let folder = server::folder()?;
                server::projects(folder.path(), projects).await?;
                let store = server::open(folder.path()).await?;
                note(&format!("{projects} projects, {events} events: filling the journal"));
                let filled = fill(&store, 10, events).await?;
                let journal = store.health().journal_bytes as f64 / 1e6;
                store.close().await;
                note("working it off");
                let start = Instant::now();
                let server = Server::start(folder.path(), &Start { role: "all", ..Start::default() })?;
                server.drained(Duration::from_secs(900)).await?;
                let seconds = start.elapsed().as_secs_f64();
                // What follows at leisure counts too: merging frames.
                tokio::time::sleep(Duration::from_secs(12)).await;
                table.row(vec![
                    projects.to_string(),
                    count(filled as f64),
                    format!("{journal:.0}"),
                    format!("{:.2}", server.ready.as_secs_f64()),
                    format!("{seconds:.1}"),
                    count(filled as f64 / seconds),
                    format!("{:.0}", server.used()?.peak_megabytes),
                ]);
                server.stop()?;
            }
        }
        table.print("A backlog, worked off by `convizit serve`");
        Ok(())
    }
}
