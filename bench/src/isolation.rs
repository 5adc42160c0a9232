//! `isolation`: fifty destinations of one project in one process, of which ten hang and ten fail: what the thirty others get, and when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use clap::Args;
use convizit_model::{Destination, DestinationKind, Timestamp};
use serde::Deserialize;

use crate::corpus::{Author, Corpus};
use crate::load::{self, Plan, Target, send};
use crate::server::{Server, Start};
use crate::table::{Table, count, note, percentile, say};
use crate::{machine, server};

/// Events of a request of the load.
const BATCH: usize = 10;

/// Measures what healthy destinations get while others hang or fail.
#[derive(Debug, Args)]
pub(crate) struct Isolation {
    /// Destinations that take everything.
    #[arg(long, default_value_t = 30)]
    healthy: usize,
    /// Destinations that take a request and never answer.
    #[arg(long, default_value_t = 10)]
    hanging: usize,
    /// Destinations that answer 500.
    #[arg(long, default_value_t = 10)]
    failing: usize,
    /// Events a second that come in.
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Seconds of load.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
}

/// What arrived, of all healthy destinations together.
#[derive(Default)]
struct Arrived {
    events: Vec<AtomicU64>,
    /// Milliseconds from receipt to arrival of one event of each request.
    millis: Mutex<Vec<u32>>,
}

#[derive(Deserialize)]
struct Body {
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    received: Timestamp,
}

struct Measured {
    /// Events a second that the slowest and the median healthy destination got while the load ran.
    least: f64,
    median: f64,
    p50: f64,
    p95: f64,
    cpu: f64,
    megabytes: f64,
}

impl Isolation {
    pub(crate) async fn run(&self) -> Result<()> {
        say(&machine::describe(server::folder()?.path())?);
        let mut table = Table::new(&[
            "destinations",
            "events/s, least of a healthy one",
            "events/s, median",
            "p50 s to arrival",
            "p95 s to arrival",
            "CPU s a second",
            "peak MB",
        ]);
        let mut row = |name: String, of: &Measured| {
            table.row(vec![
                name,
                count(of.least),
                count(of.median),
                format!("{:.2}", of.p50),
                format!("{:.2}", of.p95),
                format!("{:.2}", of.cpu),
                format!("{:.0}", of.megabytes),
            ]);
        };
        note("the healthy ones alone");
        let alone = self.measure(0, 0).await?;
        row(format!("{} alone", self.healthy), &alone);
        note("beside those that hang and fail");
        let beside = self.measure(self.hanging, self.failing).await?;
        row(format!("{} beside {} that hang, {} that fail", self.healthy, self.hanging, self.failing), &beside);
        table.print(&format!(
            "One process, {} events/s come in for {} s; all receivers on the same cores",
            count(self.rate),
            self.seconds
        ));
        say(&format!("\nthe least beside the others, of the least alone: {:.0} %", 100.0 * beside.least / alone.least));
        Ok(())
    }

    async fn measure(&self, hanging: usize, failing: usize) -> Result<Measured> {
        let arrived = Arc::new(Arrived {
            events: (0..self.healthy).map(|_| AtomicU64::new(0)).collect(),
            millis: Mutex::default(),
        });
        let address = receivers(arrived.clone()).await?;
        let folder = server::folder()?;
        let keys = server::projects(folder.path(), 1).await?;
        let store = server::open(folder.path()).await?;
        let secret = convizit_keys::webhook_secret()?;
        for project in store.projects().await? {
            for (way, many) in [("healthy", self.healthy), ("hanging", hanging), ("failing", failing)] {
                for index in 0..many {
                    let destination = Destination {
                        project: project.id.clone(),
                        name: format!("{way}-{index}"),
                        enabled: true,
                        paused: None,
                        shaping: Default::default(),
                        types: Vec::new(),
                        processor: Some(convizit_model::Processor::own()),
                        kind: DestinationKind::Webhook { url: format!("http://{address}/{way}/{index}") },
                    };
                    store.save_destination(&destination, Some(&secret), true).await?;
                }
            }
        }
        store.close().await;
        drop(store);
        let server = Server::start(folder.path(), &Start { role: "all", ..Start::default() })?;
        let target = Target { address: server.address, tls: None };
        let plan = |seconds: f64| Plan {
            connections: 16,
            rate: Some(self.rate / BATCH as f64),
            time: Duration::from_secs_f64(seconds),
        };
        // The first seconds make the names.
        let (_, author) = send(target.clone(), plan(5.0), Author::new(Corpus::load()?, keys, BATCH, 1)).await?;
        let counts = || arrived.events.iter().map(|events| events.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let (before, used, began) = (counts(), server.used()?, Instant::now());
        arrived.millis.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (answers, _) = send(target, plan(self.seconds), author).await?;
        let (after, seconds, spent) = (counts(), began.elapsed().as_secs_f64(), server.used()?);
        ensure!(answers.clean(), "{:?} other answers, {} never sent", answers.others, answers.unsent);
        let mut rates: Vec<f64> =
            after.iter().zip(before).map(|(after, before)| (after - before) as f64 / seconds).collect();
        rates.sort_by(f64::total_cmp);
        let mut millis = std::mem::take(&mut *arrived.millis.lock().unwrap_or_else(PoisonError::into_inner));
        millis.sort_unstable();
        // Ended hard: the receivers that hang would hold up an end in order.
        drop(server);
        Ok(Measured {
            least: rates.first().copied().unwrap_or(0.0),
            median: rates.get(rates.len() / 2).copied().unwrap_or(0.0),
            p50: percentile(&millis, 0.5) / 1000.0,
            p95: percentile(&millis, 0.95) / 1000.0,
            cpu: (spent.cpu_seconds - used.cpu_seconds) / seconds,
            megabytes: spent.peak_megabytes,
        })
    }
}

/// All receivers, told apart by the path.
async fn receivers(arrived: Arc<Arrived>) -> Result<std::net::SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = Router::new()
        .route("/{way}/{index}", post(take))
        .layer(axum::extract::DefaultBodyLimit::max(8 << 20))
        .with_state(arrived);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn take(
    State(arrived): State<Arc<Arrived>>,
    Path((way, index)): Path<(String, usize)>,
    body: Bytes,
) -> StatusCode {
    match way.as_str() {
        "failing" => return StatusCode::INTERNAL_SERVER_ERROR,
        "hanging" => std::future::pending().await,
        _ => {}
    }
    let (Ok(body), Some(events)) = (serde_json::from_slice::<Body>(&body), arrived.events.get(index)) else {
        return StatusCode::BAD_REQUEST;
    };
    if let Some(event) = body.events.first() {
        let millis = load::now() - event.received.as_millis();
        let mut all = arrived.millis.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(u32::try_from(millis.max(0)).unwrap_or(u32::MAX));
    }
    events.fetch_add(body.events.len() as u64, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}
