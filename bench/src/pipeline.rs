//! `pipeline`: events a second of one core from decode to seal, stage by stage, and from the journal to named, sealed frames.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use clap::Args;
use convizit_keys::{DataKey, Place};
use convizit_model::{Project, ProjectKey, Received, Timestamp};
use convizit_pipeline::{Compiled, Registry, Request, Tables, Witness, decode, name_events, receive};
use convizit_store::Store;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::corpus::{Author, Corpus, ORIGIN};
use crate::table::{Table, count, note, say};
use crate::{load, machine, server};

/// Measures decode, scrub, name, seal in process; then journal to frames through store and worker.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pipeline {
    /// Events that are processed.
    #[arg(long, default_value_t = 300_000)]
    events: usize,
    /// Events of a batch.
    #[arg(long, default_value_t = 10)]
    batch: usize,
    /// Numbers of projects.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 1])]
    projects: Vec<usize>,
    /// Only these parts: stages, worker, postgres.
    #[arg(long, value_delimiter = ',', default_values = ["stages", "worker", "postgres"])]
    part: Vec<String>,
}

/// Makes what the collector would write: decoded, scrubbed, located.
pub(crate) struct Reception {
    author: Author,
    tables: Tables,
    compiled: HashMap<ProjectKey, Compiled>,
    body: Vec<u8>,
}

/// How long each stage took.
#[derive(Default)]
struct Stages {
    decode: Duration,
    scrub: Duration,
    name: Duration,
    seal: Duration,
}

impl Reception {
    pub(crate) fn new(projects: &[Project], batch: usize) -> Result<Self> {
        let keys = projects.iter().map(|project| project.key.to_string()).collect();
        let compile =
            |project: &Project| Ok((project.key.clone(), Compiled::new(project).map_err(|error| anyhow!(error))?));
        Ok(Self {
            author: Author::new(Corpus::load()?, keys, batch, 3),
            tables: Tables::vendored().map_err(|error| anyhow!(error))?,
            compiled: projects.iter().map(compile).collect::<Result<_>>()?,
            body: Vec::new(),
        })
    }

    /// The next batch as of `now`, received.
    pub(crate) fn next(&mut self, now: i64) -> Result<Received> {
        self.timed(now, &mut Stages::default())
    }

    fn timed(&mut self, now: i64, stages: &mut Stages) -> Result<Received> {
        self.body.clear();
        let sender = self.author.write(now, &mut self.body);
        let start = Instant::now();
        let batch = decode(&self.body)?;
        let decoded = Instant::now();
        let compiled = self.compiled.get(&batch.key).context("a key of no project")?;
        let request = Request {
            gpc: false,
            dnt: false,
            address: std::net::Ipv4Addr::from(sender.address).into(),
            user_agent: &sender.agent.user_agent,
            hints: &[],
            received: Timestamp::from_millis(now),
            derived_visitor: "",
            witness: Witness::blind(),
        };
        let taken = receive(batch, compiled, &self.tables, &request);
        stages.decode += decoded - start;
        stages.scrub += decoded.elapsed();
        taken.received.context("a recorded batch was filtered: record it anew")
    }
}

impl Pipeline {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        for part in &self.part {
            match part.as_str() {
                "stages" => self.stages().await?,
                "postgres" => self.worker(true).await?,
                _ => self.worker(false).await?,
            }
        }
        Ok(())
    }

    async fn stages(&self) -> Result<()> {
        let mut table = Table::new(&[
            "projects",
            "events/s of a core",
            "decode µs",
            "scrub µs",
            "name µs",
            "seal µs",
            "bytes of a body per event",
            "bytes of a frame per event",
        ]);
        for &projects in &self.projects {
            let folder = server::folder()?;
            server::projects(folder.path(), projects).await?;
            let store = server::open(folder.path()).await?;
            let known = store.projects().await?;
            store.close().await;
            note(&format!("stages, {projects} projects"));
            let run = self.clone();
            tokio::task::spawn_blocking(move || run.stages_of(&known))
                .await??
                .into_iter()
                .for_each(|row| table.row(row));
        }
        table.print(&format!("One core, in process, batches of {}: decode → scrub → name → seal", self.batch));
        Ok(())
    }

    fn stages_of(&self, projects: &[Project]) -> Result<Option<Vec<String>>> {
        let mut reception = Reception::new(projects, self.batch)?;
        let key = DataKey::ephemeral(1)?;
        let mut registries: HashMap<String, Registry> = HashMap::new();
        let mut stages = Stages::default();
        let (mut events, mut body_bytes, mut frame_bytes) = (0, 0, 0);
        let mut lines: Vec<u8> = Vec::new();
        let mut in_frame = 0;
        while events < self.events {
            let received = reception.timed(load::now(), &mut stages)?;
            body_bytes += reception.body.len();
            let registry = registries.entry(received.project.to_string()).or_default();
            let start = Instant::now();
            let named = name_events(received, registry);
            let name_ended = Instant::now();
            stages.name += name_ended - start;
            in_frame += named.len();
            events += named.len();
            for named in &named {
                serde_json::to_writer(&mut lines, &named.event)?;
                lines.push(b'\n');
            }
            registry.take_changes();
            if in_frame >= 1000 {
                // As the store seals a full frame.
                let packed = zstd::bulk::compress(&lines, 1)?;
                let sealed =
                    key.seal(Place { table: "frames", purpose: "body", row: &events.to_be_bytes() }, &packed)?;
                frame_bytes += sealed.len();
                lines.clear();
                in_frame = 0;
            }
            stages.seal += name_ended.elapsed();
        }
        let all = stages.decode + stages.scrub + stages.name + stages.seal;
        let micros = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6 / events as f64);
        Ok(Some(vec![
            projects.len().to_string(),
            count(events as f64 / all.as_secs_f64()),
            micros(stages.decode),
            micros(stages.scrub),
            micros(stages.name),
            micros(stages.seal),
            format!("{:.0}", body_bytes as f64 / events as f64),
            format!("{:.0}", frame_bytes as f64 / events as f64),
        ]))
    }

    async fn worker(&self, on_postgres: bool) -> Result<()> {
        let mut table = Table::new(&[
            "projects",
            "events",
            "events/s",
            "CPU s per 1M events",
            "journal bytes per event",
            "database bytes per event",
        ]);
        for &projects in &self.projects {
            let folder = server::folder()?;
            let cluster = on_postgres.then(Cluster::start).transpose()?;
            let store = match &cluster {
                None => {
                    server::projects(folder.path(), projects).await?;
                    server::open(folder.path()).await?
                }
                Some(cluster) => {
                    let store = server::open_on(folder.path(), Some(cluster.url.clone())).await?;
                    server::make_projects(&store, projects).await?;
                    store
                }
            };
            note(&format!("worker, {projects} projects: filling the journal"));
            let events = fill(&store, self.batch, self.events).await?;
            let end = store.health().journal_offset;
            let journal = store.health().journal_bytes as f64;
            note("worker: running");
            let before = server::used(std::process::id())?.cpu_seconds;
            let start = Instant::now();
            let stop = CancellationToken::new();
            let worker = tokio::spawn(convizit_worker::run(store.clone(), stop.clone()));
            while store.worker_offset().await? < end {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let seconds = start.elapsed().as_secs_f64();
            let cpu = server::used(std::process::id())?.cpu_seconds - before;
            stop.cancel();
            worker.await?.map_err(|error| anyhow!(error))?;
            let mut stored = 0;
            for project in store.projects().await? {
                stored += store.last_event(project.number).await?;
            }
            store.close().await;
            anyhow::ensure!(usize::try_from(stored)? == events, "{stored} events are stored of {events}");
            let size = match &cluster {
                None => std::fs::metadata(folder.path().join("data/data.db"))?.len() as f64,
                Some(cluster) => cluster.query("select pg_database_size(current_database())")?.parse()?,
            };
            table.row(vec![
                projects.to_string(),
                count(events as f64),
                count(events as f64 / seconds),
                format!("{:.1}", cpu * 1e6 / events as f64),
                format!("{:.0}", journal / events as f64),
                format!("{:.0}", size / events as f64),
            ]);
        }
        let engine = if on_postgres { "PostgreSQL (its CPU time not counted)" } else { "SQLite" };
        table.print(&format!("Journal to named, sealed frames: the worker alone, real store on {engine}"));
        Ok(())
    }
}

/// Appends so many events to the journal as the collector would; returns how many it was.
pub(crate) async fn fill(store: &Store, batch: usize, events: usize) -> Result<usize> {
    let projects = store.projects().await?;
    let mut reception = Reception::new(&projects, batch)?;
    let (mut filled, mut waiting) = (0, tokio::task::JoinSet::new());
    let store = Arc::new(store.clone());
    debug_assert!(projects.iter().all(|project| project.settings.allows_origin(ORIGIN)));
    while filled < events {
        let received = reception.next(load::now())?;
        filled += received.batch.events.len();
        let record = Bytes::from(serde_json::to_vec(&received)?);
        let store = store.clone();
        waiting.spawn(async move { store.journal_append(record).await });
        while waiting.len() >= 256 {
            waiting.join_next().await.transpose()?.transpose()?;
        }
    }
    while waiting.join_next().await.transpose()?.transpose()?.is_some() {}
    Ok(filled)
}
