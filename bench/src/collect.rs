//! `collect`: what the collector takes, how long an answer takes, beside a handler that only reads the body and beside the disk.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::corpus::{Author, Corpus};
use crate::load::{Answers, Plan, Target, send};
use crate::server::{Server, Start, Used};
use crate::table::{Table, count, note, say};
use crate::{body_reader, machine, server, tls};

/// Measures the collector.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    /// Events of a batch.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50])]
    batch: Vec<usize>,
    /// Numbers of projects.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 1])]
    projects: Vec<usize>,
    /// Seconds of each measurement; the one together with the worker takes six times as long.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Connections that are kept open.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Only these parts: alone, tls, slow, together.
    #[arg(long, value_delimiter = ',', default_values = ["alone", "tls", "slow", "together"])]
    part: Vec<String>,
}

/// The worker's lag grows when it is this much more in the last 10 s than in the first: what a pause of the disk makes is less.
const GROWS_MILLIS: f64 = 250.0;

/// One server, measured at one batch size.
struct Measured {
    most: Answers,
    half: Answers,
    cpu: f64,
    used: Used,
    visitors: u64,
}

impl Collect {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let wants = |part: &str| self.part.iter().any(|wanted| wanted == part);
        let certificate = tls::Certificate::make(folder.path())?;
        if wants("alone") {
            for projects in &self.projects {
                self.alone(&format!("Collector alone, HTTP, {projects} projects"), *projects, &Start::default())
                    .await?;
            }
        }
        let most = self.projects.first().copied().unwrap_or(1);
        if wants("tls") {
            let start = Start { tls: Some(certificate), ..Start::default() };
            self.alone(&format!("Collector alone, HTTPS, {most} projects"), most, &start).await?;
        }
        if wants("slow") {
            let start = Start { preload: Some(machine::slow_sync(folder.path())?), ..Start::default() };
            self.alone(&format!("Collector alone, HTTP, {most} projects, each sync 5 ms slower"), most, &start).await?;
        }
        if wants("together") {
            let mut table = Table::new(&[
                "projects",
                "events/s offered",
                "events/s stored",
                "p50 ms",
                "p99 ms",
                "worker behind by ms: first 10 s, most, last 10 s",
                "CPU s per 1M events",
                "peak MB",
                "visitors",
                "holds",
            ]);
            for projects in &self.projects {
                self.together(*projects, &mut table).await?;
            }
            table.print(&format!("Collector and worker together, HTTP, batches of 10, {} s", self.seconds * 6.0));
        }
        Ok(())
    }

    fn plan(&self, rate: Option<f64>, seconds: f64) -> Plan {
        Plan { connections: self.connections, rate, time: Duration::from_secs_f64(seconds) }
    }

    async fn alone(&self, title: &str, projects: usize, start: &Start) -> Result<()> {
        let mut table = Table::new(&[
            "batch",
            "requests/s",
            "events/s",
            "p50 ms at half",
            "p99 ms at half",
            "CPU s per 1M events",
            "bytes written per event",
            "peak MB",
            "body reader events/s",
            "its p99 ms at half",
            "ratio",
            "write+fdatasync events/s",
            "ratio",
        ]);
        for &batch in &self.batch {
            let folder = server::folder()?;
            let keys = server::projects(folder.path(), projects).await?;
            note(&format!("{title}, batches of {batch}"));
            let server = Server::start(folder.path(), &Start { role: "collect", ..start.clone() })?;
            let target =
                Target { address: server.address, tls: start.tls.as_ref().map(tls::Certificate::client).transpose()? };
            let ours = self.measure(&target, &keys, batch, || server.used()).await?;
            server.stop()?;
            let reader = body_reader::Child::start(start.tls.as_ref())?;
            let target = Target { address: reader.address, ..target };
            let theirs = self.measure(&target, &keys, batch, || server::used(reader.id())).await?;
            drop(reader);
            let raw = machine::raw(folder.path(), &bodies(&keys, batch)?, Duration::from_secs(2))? * batch as f64;
            let events = ours.most.events_per_second();
            table.row(vec![
                batch.to_string(),
                count(ours.most.requests_per_second()),
                count(events),
                format!("{:.1}", ours.half.percentile(0.5)),
                format!("{:.1}", ours.half.percentile(0.99)),
                format!("{:.1}", ours.cpu),
                format!("{:.0}", ours.used.written_bytes / ours.most.events.max(1) as f64),
                format!("{:.0}", ours.used.peak_megabytes),
                count(theirs.most.events_per_second()),
                format!("{:.1}", theirs.half.percentile(0.99)),
                format!("{:.2}", events / theirs.most.events_per_second()),
                count(raw),
                format!("{:.2}", events / raw),
            ]);
            for (who, measured) in [("the collector", &ours), ("the body reader", &theirs)] {
                for (when, answers) in [("at its maximum", &measured.most), ("at half of it", &measured.half)] {
                    if !answers.clean() {
                        say(&format!(
                            "{who} {when}: {:?} other answers, {} never sent",
                            answers.others, answers.unsent
                        ));
                    }
                }
            }
            note(&format!("{} visitors", ours.visitors));
        }
        table.print(title);
        Ok(())
    }

    /// The maximum in a closed loop after a short warm-up, then the latency at half of it in an open one.
    async fn measure(
        &self,
        target: &Target,
        keys: &[String],
        batch: usize,
        used: impl Fn() -> Result<Used>,
    ) -> Result<Measured> {
        let author = Author::new(Corpus::load()?, keys.to_vec(), batch, 1);
        let (_, author) = send(target.clone(), self.plan(None, self.seconds / 5.0), author).await?;
        let before = used()?;
        let (most, author) = send(target.clone(), self.plan(None, self.seconds), author).await?;
        let after = used()?;
        let rate = most.requests_per_second() / 2.0;
        let (half, author) = send(target.clone(), self.plan(Some(rate), self.seconds), author).await?;
        Ok(Measured {
            cpu: (after.cpu_seconds - before.cpu_seconds) * 1e6 / most.events.max(1) as f64,
            used: Used { written_bytes: after.written_bytes - before.written_bytes, ..used()? },
            visitors: author.visitors,
            most,
            half,
        })
    }

    /// The highest rate, in steps of a tenth of the maximum, at which the worker's lag does not grow.
    async fn together(&self, projects: usize, table: &mut Table) -> Result<()> {
        const BATCH: usize = 10;
        let folder = server::folder()?;
        let keys = server::projects(folder.path(), projects).await?;
        let server = Server::start(folder.path(), &Start { role: "all", ..Start::default() })?;
        let target = Target { address: server.address, tls: None };
        let author = Author::new(Corpus::load()?, keys, BATCH, 1);
        let (most, mut author) = send(target.clone(), self.plan(None, self.seconds / 2.0), author).await?;
        server.drained(Duration::from_secs(300)).await?;
        for tenths in (1..=9).rev() {
            let rate = most.requests_per_second() * f64::from(tenths) / 10.0;
            note(&format!("{projects} projects: {} events/s", count(rate * BATCH as f64)));
            // A short try tells whether the long one is worth its time.
            for seconds in [self.seconds, self.seconds * 6.0] {
                let (before, written) = (server.used()?, server.journal_batches()?);
                let lags = watch_lag(&server);
                let (answers, back) = send(target.clone(), self.plan(Some(rate), seconds), author).await?;
                author = back;
                let lags = lags.end();
                let after = server.used()?;
                // Batches are the smaller the less there is to write: what counts is how long the worker needs for them.
                let each = 1000.0 * seconds / (server.journal_batches()? - written).max(1.0);
                server.drained(Duration::from_secs(300)).await?;
                let [first, most, last] = summary(&lags).map(|batches| batches * each);
                let holds = last <= first + GROWS_MILLIS && answers.clean();
                if seconds > self.seconds || !holds {
                    table.row(vec![
                        projects.to_string(),
                        count(rate * BATCH as f64),
                        count(answers.events_per_second()),
                        format!("{:.1}", answers.percentile(0.5)),
                        format!("{:.1}", answers.percentile(0.99)),
                        format!("{first:.0}, {most:.0}, {last:.0}"),
                        format!("{:.1}", (after.cpu_seconds - before.cpu_seconds) * 1e6 / answers.events.max(1) as f64),
                        format!("{:.0}", after.peak_megabytes),
                        author.visitors.to_string(),
                        if holds { "yes" } else { "no" }.to_owned(),
                    ]);
                }
                if !holds {
                    break;
                }
                if seconds > self.seconds {
                    return server.stop();
                }
            }
        }
        server.stop()
    }
}

/// Asks for the lag each half second until it is told to end.
struct Lags {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<Vec<u64>>,
}

fn watch_lag(server: &Server) -> Lags {
    let console = server.console;
    let (stop, stopped) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut lags = Vec::new();
        while stopped.recv_timeout(Duration::from_millis(500)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            lags.extend(server::lag(console));
        }
        lags
    });
    Lags { stop, thread }
}

impl Lags {
    fn end(self) -> Vec<u64> {
        self.stop.send(()).ok();
        self.thread.join().unwrap_or_default()
    }
}

/// Mean of the first 10 s, the most, mean of the last 10 s.
fn summary(lags: &[u64]) -> [f64; 3] {
    let mean = |lags: &[u64]| lags.iter().sum::<u64>() as f64 / lags.len().max(1) as f64;
    let part = lags.len().min(20) / if lags.len() < 40 { 2 } else { 1 };
    [mean(&lags[..part]), lags.iter().max().map_or(0.0, |most| *most as f64), mean(&lags[lags.len() - part..])]
}

/// About 16 MB of bodies.
fn bodies(keys: &[String], batch: usize) -> Result<Vec<Vec<u8>>> {
    let mut author = Author::new(Corpus::load()?, keys.to_vec(), batch, 2);
    let (mut bodies, mut bytes) = (Vec::new(), 0);
    while bytes < 16 << 20 {
        let mut body = Vec::new();
        author.write(crate::load::now(), &mut body);
        bytes += body.len();
        bodies.push(body);
    }
    Ok(bodies)
}
