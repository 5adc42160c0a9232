//! `deliver`: the whole way from the journal to a webhook that verifies, and to PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use clap::Args;
use convizit_model::{Destination, DestinationKind};

use crate::cluster::Cluster;
use crate::pipeline::fill;
use crate::server::{Server, Start};
use crate::table::{Table, count, note, say};
use crate::{machine, server};

/// Measures worker and delivery together, from a filled journal to the destination.
#[derive(Debug, Args)]
pub(crate) struct Deliver {
    /// Events that wait in the journal at the start.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Numbers of projects, each with a destination of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10])]
    projects: Vec<usize>,
    /// Only these destinations: webhook, postgres.
    #[arg(long, value_delimiter = ',', default_values = ["webhook", "postgres"])]
    to: Vec<String>,
}

/// Where events arrive, and how many have.
enum End {
    Webhook { received: Arc<AtomicU64>, url: String, secret: String },
    Postgres(Cluster),
}

impl Deliver {
    pub(crate) async fn run(&self) -> Result<()> {
        let folder = server::folder()?;
        say(&machine::describe(folder.path())?);
        let mut table = Table::new(&[
            "to",
            "projects",
            "events",
            "named and stored, events/s",
            "delivered, events/s",
            "CPU s per 1M events",
            "peak MB",
        ]);
        for to in &self.to {
            for &projects in &self.projects {
                table.row(self.measure(to, projects).await?);
            }
        }
        table.print("Journal to destination: worker and delivery of one process, destination on the same cores");
        Ok(())
    }

    async fn measure(&self, to: &str, projects: usize) -> Result<Vec<String>> {
        let end = if to == "webhook" { webhook().await? } else { End::Postgres(Cluster::start()?) };
        let folder = server::folder()?;
        server::projects(folder.path(), projects).await?;
        let store = server::open(folder.path()).await?;
        for project in store.projects().await? {
            let (kind, secret) = match &end {
                End::Webhook { url, secret, .. } => (DestinationKind::Webhook { url: url.clone() }, secret.clone()),
                End::Postgres(cluster) => {
                    (DestinationKind::Postgres { schema: "convizit".to_owned() }, cluster.url.clone())
                }
            };
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
        note(&format!("{to}, {projects} projects: filling the journal"));
        let events = fill(&store, 10, self.events).await?;
        store.close().await;
        note("delivering");
        let start = Instant::now();
        let server = Server::start(folder.path(), &Start { role: "all", ..Start::default() })?;
        let mut stored = None;
        loop {
            if stored.is_none() && server.lag()? == 0 {
                stored = Some(start.elapsed().as_secs_f64());
            }
            if end.arrived()? >= events as u64 {
                break;
            }
            ensure!(
                start.elapsed() < Duration::from_secs(600),
                "{} of {events} events arrived within 10 minutes",
                end.arrived()?
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        let used = server.used()?;
        server.stop()?;
        ensure!(end.arrived()? == events as u64, "{} events arrived, {events} were sent", end.arrived()?);
        Ok(vec![
            to.to_owned(),
            projects.to_string(),
            count(events as f64),
            count(events as f64 / stored.unwrap_or(seconds)),
            count(events as f64 / seconds),
            format!("{:.1}", used.cpu_seconds * 1e6 / events as f64),
            format!("{:.0}", used.peak_megabytes),
        ])
    }
}

impl End {
    fn arrived(&self) -> Result<u64> {
        Ok(match self {
            Self::Webhook { received, .. } => received.load(Ordering::Relaxed),
            // Until the product has made its schema there is nothing to ask.
            Self::Postgres(cluster) => {
                cluster.query("select count(*) from convizit.events").map_or(Ok(0), |text| text.parse())?
            }
        })
    }
}

/// A receiver that verifies each signature and counts the events.
async fn webhook() -> Result<End> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let secret = convizit_keys::webhook_secret()?;
    let received = Arc::new(AtomicU64::new(0));
    let (counter, known) = (received.clone(), secret.clone());
    let app = Router::new()
        .route(
            "/hook",
            post(move |headers: HeaderMap, body: Bytes| {
                let (counter, known) = (counter.clone(), known.clone());
                async move { take(&counter, &known, &headers, &body).unwrap_or(StatusCode::BAD_REQUEST) }
            }),
        )
        .layer(axum::extract::DefaultBodyLimit::max(8 << 20));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(End::Webhook { received, url, secret })
}

fn take(counter: &AtomicU64, secret: &str, headers: &HeaderMap, body: &[u8]) -> Result<StatusCode> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let timestamp = header("webhook-timestamp").parse()?;
    if !convizit_keys::verify_webhook(secret, header("webhook-id"), timestamp, body, header("webhook-signature"))? {
        return Ok(StatusCode::UNAUTHORIZED);
    }
    let parsed: std::collections::HashMap<&str, serde_json::Value> = serde_json::from_slice(body)?;
    let events = parsed.get("events").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    counter.fetch_add(events as u64, Ordering::Relaxed);
    Ok(StatusCode::NO_CONTENT)
}
