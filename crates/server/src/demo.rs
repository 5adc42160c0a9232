//! `convizit demo`: everything on loopback with embedded defaults, a shop to click in, and the live stream.

mod ports;
mod receiver;
mod shop;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use convizit_collector::CollectorConfig;
use convizit_console::ConsoleConfig;
use convizit_delivery::DeliveryConfig;
use convizit_keys::ProviderConfig;
use convizit_model::destination::StdoutFormat;
use convizit_model::{Destination, DestinationKind, Project, ProjectId, ProjectSettings};
use convizit_store::{Store, StoreConfig};
use tokio_util::sync::CancellationToken;

use crate::config::{Log, LogFormat};
use crate::os_user::refuse_root_within_another;
use crate::run::{Parts, Role, alone, last_words, make_store, run, serve_http, share, stop_on_signal, tables};
use crate::{cli, observe};

/// The destination that is the demo's own receiver, which answers while the demo runs.
pub(crate) const RECEIVER: &str = "webhook";

/// Where the demo's destinations may be: on this machine, in its own folder and terminal.
pub(crate) fn delivery(folder: &Path) -> DeliveryConfig {
    DeliveryConfig {
        allow_networks: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
        allow_folders: vec![folder.to_owned()],
        allow_stdout: true,
        transforms: std::env::current_exe().ok(),
        ..DeliveryConfig::default()
    }
}

/// The file that says that a folder is the demo's.
const MADE: &str = "demo";

/// Refuses a folder of an installation that the demo has not made: it would change its origins, destinations and accounts.
fn refuse_real(folder: &Path) -> Result<()> {
    let lies = |name: &str| folder.join(name).exists();
    // Earlier versions wrote no such file; their demo had its keys and its events in the folder.
    let is_demo = lies(MADE) || (lies("keys") && lies("events.jsonl"));
    if is_demo || !["control.db", "data.db", "journal.db"].iter().any(|name| lies(name)) {
        return Ok(());
    }
    bail!(
        "{} holds an installation that convizit demo has not made, whose origins, destinations and accounts it would change: name another folder, \
         which is made where it is missing (convizit demo --folder {}-demo); convizit serve runs the one that is there",
        folder.display(),
        folder.display()
    );
}

/// The account that the demo's link signs in to. Nobody knows its password.
const ACCOUNT: &str = "demo@localhost";

/// Starts everything on loopback.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where the demo keeps its data; kept between runs.
    #[arg(long, default_value = "convizit-demo", value_name = "FOLDER")]
    folder: PathBuf,
    /// Prints events as JSON lines; the addresses go to standard error.
    #[arg(long)]
    json: bool,
    /// Writes events into this PostgreSQL database too.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<()> {
        let folder = std::path::absolute(&self.folder)?;
        refuse_root_within_another(&folder)?;
        observe::start_logs(&Log { format: LogFormat::Text, filter: "warn".to_owned() })?;
        observe::start_metrics()?;
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone())?;
        let settings = StoreConfig::in_folder(&folder);
        refuse_real(&folder)?;
        let mut shared = share(&settings)?;
        let store = make_store(&settings, &ProviderConfig::File { path: folder.join("keys") }).await?;
        if shared.is_none() {
            // It was made only now.
            shared = share(&settings)?;
        }
        let (_shared, _alone) = (shared, alone(&folder, Role::All)?);
        std::fs::write(folder.join(MADE), "made by convizit demo\n").context("the demo's folder cannot be written")?;
        let tables = tables(None).await?;

        let shop = ports::shop(8080)?;
        let collector = ports::loopback(8090)?;
        let console = ports::loopback(8091)?;
        let webhook = ports::loopback(8092)?;
        let origin = format!("http://localhost:{}", shop.port);
        let project = project(&store, &origin).await?;
        let secret = destinations(&store, &project.id, &folder, &self, &webhook.address()).await?;

        let receiver = receiver::Receiver::new(secret);
        tokio::spawn(serve_http(webhook.listener, receiver.router(), stop.clone()));
        let snippet = convizit_console::snippet(&collector.address(), project.key.as_str());
        for listener in shop.listeners {
            tokio::spawn(serve_http(listener, shop::router(&snippet), stop.clone()));
        }
        let header = header(&[
            ("shop", origin.clone()),
            ("collector", format!("http://{}", collector.authority())),
            ("console", format!("http://{}", console.authority())),
            ("webhook", format!("http://{}", webhook.authority)),
            ("signed in", format!("http://{}/welcome/{}", console.authority(), store.demo_link(ACCOUNT).await?)),
        ]);
        let moved = [shop.moved, collector.moved, console.moved, webhook.moved].iter().any(|moved| *moved);
        let note = if moved { "Busy ports were moved up.\n" } else { "" };
        let text = format!(
            "{header}\nOpen the shop and click; every action appears here, in {} and at the webhook.\n{note}Press Ctrl-C to stop.\n",
            folder.join("events.jsonl").display()
        );
        if self.json {
            cli::say_error(&text);
        } else {
            cli::say(&text)?;
        }
        let collector_authority = collector.authority().to_owned();
        let delivery = delivery(&folder);
        let parts = Parts {
            collector: Some((collector.listener, CollectorConfig::default())),
            tables: Some(tables),
            worker: true,
            backups: false,
            pages: Some(ConsoleConfig {
                collector: format!("http://{collector_authority}"),
                delivery: delivery.clone(),
                ..ConsoleConfig::default()
            }),
            delivery: Some(delivery),
            console: console.listener,
            operator: None,
        };
        let behind = run(store, parts, stop).await?;
        let kept = self.folder.display();
        let bye = format!("\nStopped: {}. Data and events stay in {kept}.", last_words(behind.as_deref()));
        cli::say_error(&bye);
        Ok(())
    }
}

fn header(addresses: &[(&str, String)]) -> String {
    let lines: Vec<String> = addresses.iter().map(|(name, address)| format!("  {name:<10} {address}")).collect();
    format!("Convizit {} · demo\n\n{}\n", env!("CARGO_PKG_VERSION"), lines.join("\n"))
}

/// The project `shop`, made once; its origin follows the shop's port.
async fn project(store: &Store, origin: &str) -> Result<Project> {
    let id: ProjectId = "shop".parse()?;
    // Whoever tries the demo may do so with a headless browser.
    let wanted = |settings: ProjectSettings| ProjectSettings {
        origins: vec![origin.to_owned()],
        filter_bots: false,
        ..settings
    };
    match store.project(&id).await {
        Ok(project) if project.settings.origins == [origin] => Ok(project),
        Ok(project) => Ok(store.save_settings(&id, wanted(project.settings)).await?),
        Err(_) => Ok(store.create_project(&id, wanted(ProjectSettings::default())).await?),
    }
}

/// The demo's destinations, made anew at each start, since ports and format may differ; returns the webhook's secret.
async fn destinations(store: &Store, project: &ProjectId, folder: &Path, demo: &Demo, webhook: &str) -> Result<String> {
    let format = if demo.json { StdoutFormat::Json } else { StdoutFormat::Pretty };
    let secret = convizit_keys::webhook_secret()?;
    let file = folder.join("events.jsonl").to_string_lossy().into_owned();
    let mut wanted = vec![
        ("terminal", DestinationKind::Stdout { format }, None),
        ("file", DestinationKind::File { path: file }, None),
        (RECEIVER, DestinationKind::Webhook { url: webhook.to_owned() }, Some(secret.as_str())),
    ];
    if let Some(url) = &demo.postgres {
        wanted.push(("postgres", DestinationKind::Postgres { schema: "convizit".to_owned() }, Some(url.as_str())));
    } else {
        store.remove_destination(project, "postgres").await.ok();
    }
    for (name, kind, secret) in wanted {
        let destination = Destination {
            project: project.clone(),
            name: name.to_owned(),
            enabled: true,
            paused: None,
            processor: Some(convizit_model::Processor::own()),
            shaping: Default::default(),
            types: Vec::new(),
            kind,
        };
        if name == "terminal" {
            // The terminal shows what happens from now on.
            store.remove_destination(project, name).await.ok();
        }
        if name == "postgres" {
            convizit_delivery::check(&destination, secret, &delivery(folder))
                .await
                .map_err(|error| anyhow!("--postgres: {error}"))?;
        }
        store.save_destination(&destination, secret, false).await?;
    }
    Ok(secret)
}

/// What a listener of the demo is called by.
impl ports::Bound {
    fn address(&self) -> String {
        format!("http://{}", self.authority)
    }

    fn authority(&self) -> &str {
        &self.authority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_refuses_an_installation_that_it_has_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        refuse_real(folder).unwrap();
        std::fs::write(folder.join("control.db"), "").unwrap();
        std::fs::write(folder.join("keys"), "").unwrap();
        let text = refuse_real(folder).unwrap_err().to_string();
        assert!(text.contains("has not made") && text.contains("convizit demo --folder"), "{text}");
        std::fs::write(folder.join(MADE), "").unwrap();
        refuse_real(folder).unwrap();
    }
}
