//! `start`: from the start of the process to its readiness; `build`: from a clean clone to the binary.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::pipeline::fill;
use crate::server::{Server, Start as How};
use crate::table::{Table, note, percentile, say};
use crate::{machine, server};

/// Measures how soon `convizit serve` is ready.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Starts of each kind.
    #[arg(long, default_value_t = 10)]
    times: usize,
    /// Events in the folder of the second kind.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
}

impl Start {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let how = How { role: "all", ..How::default() };
        let mut table = Table::new(&["folder", "starts", "p50 s", "slowest s"]);
        let mut fresh = Vec::new();
        for _ in 0..self.times {
            let folder = server::folder()?;
            let server = Server::start(folder.path(), &how)?;
            fresh.push(u32::try_from(server.ready.as_millis())?);
            server.stop()?;
        }
        table.row(row("fresh: keys and databases are made", fresh));
        note("filling");
        server::projects(folder.path(), 1000).await?;
        let store = server::open(folder.path()).await?;
        fill(&store, 10, self.events).await?;
        store.close().await;
        let server = Server::start(folder.path(), &how)?;
        server.drained(Duration::from_secs(300)).await?;
        server.stop()?;
        let mut known = Vec::new();
        for _ in 0..self.times {
            let server = Server::start(folder.path(), &how)?;
            known.push(u32::try_from(server.ready.as_millis())?);
            server.stop()?;
        }
        table.row(row("1 000 projects with events", known));
        let mut killed = Vec::new();
        for _ in 0..self.times {
            // Dropped: killed without a chance to close anything.
            let server = Server::start(folder.path(), &how)?;
            killed.push(u32::try_from(server.ready.as_millis())?);
        }
        table.row(row("the same after kill -9", killed.split_off(1)));
        table.print("From the start of `convizit serve` to its readiness");
        Ok(())
    }
}

fn row(name: &str, mut millis: Vec<u32>) -> Vec<String> {
    millis.sort_unstable();
    let seconds = |share: f64| format!("{:.2}", percentile(&millis, share) / 1000.0);
    vec![name.to_owned(), millis.len().to_string(), seconds(0.5), seconds(1.0)]
}

/// Measures a clean release build; dependencies' sources are downloaded before the clock runs.
#[derive(Debug, Args)]
pub(crate) struct Build {}

impl Build {
    pub(crate) fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        ensure!(Command::new("cargo").args(["fetch", "--locked"]).status()?.success(), "cargo fetch failed");
        let start = Instant::now();
        let built = Command::new("cargo")
            .args(["build", "--release", "--locked"])
            .env("CARGO_TARGET_DIR", folder.path())
            .status()?;
        ensure!(built.success(), "cargo build failed");
        let seconds = start.elapsed().as_secs_f64();
        let bytes = std::fs::metadata(folder.path().join("release/convizit"))?.len();
        let mut table = Table::new(&["command", "minutes", "binary MB"]);
        table.row(vec![
            "cargo build --release".to_owned(),
            format!("{:.1}", seconds / 60.0),
            format!("{:.0}", bytes as f64 / 1e6),
        ]);
        table.print("A clean build");
        Ok(())
    }
}
