//! `convizit doctor`: what is wrong with an installation, and what to do.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use convizit_console::findings::{self, Finding};
use convizit_delivery::DeliveryConfig;
use convizit_model::{Destination, DestinationKind};
use convizit_store::backup::BackupConfig;
use convizit_store::{AuditFilter, DestinationState, Store, StoreError};

use crate::cli::{counted, say};
use crate::config::Config;
use crate::demo;
use crate::os_user::file_of_another;
use crate::run::{Role, bind, open_store, runs, share_as_command, tables};

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, result: Result<(), String>) {
        self.0.push(Finding::new(what, result));
    }

    fn warn(&mut self, what: &'static str, warning: Option<String>) {
        self.0.push(Finding::warn(what, warning));
    }
}

pub(crate) async fn run(config: &Config, json: bool) -> Result<()> {
    let mut findings = Findings::default();
    findings.add("configuration", Ok(()));
    let tables = tables(config.geo.as_deref()).await;
    findings.add("look-up tables", tables.map(|_| ()).map_err(|error| format!("{error:#}")));
    if config.collector.certificate.is_some() {
        findings.add("certificate", convizit_collector::check_tls(&config.collector()).await);
    }
    findings.add("collector port", port(config, config.collector.listen, "collector.listen", &[Role::Collect]));
    // Each process of this installation shows its health there.
    findings.add("console port", port(config, config.console.listen, "console.listen", &Role::HELD));
    let runs = Role::HELD.iter().any(|role| runs(&config.data, *role));
    let none = || {
        format!(
            "no collector, worker or delivery of {} runs on this machine: convizit serve starts them",
            config.data.display()
        )
    };
    findings.warn("running", (!runs).then(none));
    if let Some(folder) = config.delivery().connectors {
        let (_, problems) = convizit_delivery::connectors::all(Some(&folder));
        findings.add("connectors", if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) });
    }
    if let Some(mail) = config.mail() {
        findings.add("mail server", mail.answers().await);
    }
    let secrets = config.secret_files().find_map(|path| convizit_keys::read_secret_file(path).err());
    findings.warn("files with secrets", secrets.map(|error| error.to_string()));
    let folders = ["", "backups", "backup-keys"].map(|name| config.data.join(name));
    findings.add("owner of files", file_of_another(&folders).map_or(Ok(()), Err));
    let settings = config.store();
    // Until the end.
    let shared = share_as_command(&settings);
    let opened = match &shared {
        Ok(_) => open_store(&settings, &config.keys()).await,
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    match opened {
        Err(error) => findings.add("store", Err(format!("{error:#}"))),
        Ok(store) => {
            in_store(config, &store, &mut findings).await?;
            store.close().await;
        }
    }
    let Findings(findings) = findings;
    let problems = findings.iter().filter(|finding| finding.problem.is_some()).count();
    if json {
        let rows: Vec<_> = findings
            .iter()
            .map(|finding| serde_json::json!({"check": finding.what, "project": finding.project, "problem": finding.problem, "warning": finding.warning}))
            .collect();
        say(serde_json::to_string(&rows)?)?;
    } else {
        for finding in &findings {
            match (&finding.problem, &finding.warning) {
                (None, None) => match &finding.project {
                    Some(project) => say(format!("ok       {} of {project}", finding.what))?,
                    None => say(format!("ok       {}", finding.what))?,
                },
                (None, Some(warning)) => say(format!("warning  {}: {warning}", finding.what))?,
                (Some(problem), _) => say(format!("problem  {}: {problem}", finding.what))?,
            }
        }
    }
    if problems > 0 {
        bail!("{problems} of {} checks found something to do", findings.len());
    }
    Ok(())
}

/// A port is well when it is free, or when this installation's own `serve` has it.
fn port(config: &Config, address: SocketAddr, setting: &str, roles: &[Role]) -> Result<(), String> {
    let ours = roles.iter().any(|role| runs(&config.data, *role));
    match bind(address, setting) {
        Err(error) if !ours => Err(error.to_string()),
        _ => Ok(()),
    }
}

async fn in_store(config: &Config, store: &Store, findings: &mut Findings) -> Result<()> {
    let projects = store.projects().await?;
    findings.0.extend(findings::of_collection(store, &projects, &config.public()).await?);
    let destinations = store.destinations(None).await?;
    let of_demo = destinations.iter().any(|state| is_terminal(&state.destination));
    // The demo allows itself what an operator has to allow, and its receiver ends with it.
    let delivery = if of_demo { demo::delivery(&config.data) } else { config.delivery() };
    let demo_rests = of_demo && !runs(&config.data, Role::Deliver);
    for state in destinations {
        let project = store.project(&state.destination.project).await?;
        let last = store.last_event(project.number).await?;
        let rests = demo_rests && state.destination.name == demo::RECEIVER;
        let mut found = findings::of_destination(&state, &project, last);
        let asked = if rests { Ok(()) } else { reachable(&delivery, store, &state, last).await };
        // What it answers now says more than what was written down of it.
        if rests || asked.is_err() {
            found.retain(|finding| finding.what != "destination");
        }
        found.extend(asked.err().map(|why| Finding::of(&project.id, "destination", Err(why))));
        if !found.iter().any(|finding| finding.what == "destination") {
            found.push(Finding::of(&project.id, "destination", Ok(())));
        }
        findings.0.extend(found);
    }
    let backup = config.backup();
    if backup.makes {
        let state = store.backup_state();
        match (findings::backed_up(&state, store.clock().now()), state.made) {
            (Ok(()), Some(_)) => findings.warn("backups", beside(config, &backup)),
            (Ok(()), None) => match none_made(&backup, store).await {
                Ok(why) => findings.warn("backups", Some(why)),
                Err(error) => findings.add("backups", Err(error.to_string())),
            },
            (failed, _) => findings.add("backups", failed),
        }
    }
    findings.0.extend(findings::of_stored(store, &projects).await?);
    let audit = store.verify_audit(&[]).await?;
    findings.add("audit log", audit.problem.map_or(Ok(()), Err));
    findings.0.push(findings::of_notices(store).await?);
    Ok(())
}

/// What to say where this data folder has made no backup: others may lie in its place, as after a restore.
async fn none_made(backup: &BackupConfig, store: &Store) -> Result<String, StoreError> {
    let filter = AuditFilter { act: Some("backup.restore"), ..AuditFilter::default() };
    let restored = store.audit_log(filter, 1).await?.pop();
    let lying = store.lying_backups().await?;
    let there = lying.last().map(|newest| {
        format!("; in {} lie those of before: {}, the newest of {newest}", backup.to, counted(lying.len(), "backup"))
    });
    let none = match (restored, &there) {
        (None, None) => {
            return Ok("there is none yet: convizit backup makes one now, convizit serve one each day".to_owned());
        }
        (Some(entry), _) => {
            format!("restored on {} ({}), this installation has made none since", entry.time, entry.detail)
        }
        (None, Some(_)) => "none was made from this data folder".to_owned(),
    };
    Ok(format!(
        "{none}{}. convizit backup makes one now, convizit serve the next within a minute of its start and then each day at {}:00 UTC",
        there.unwrap_or_default(),
        backup.hour
    ))
}

/// Whether the backups help when the disk is gone.
fn beside(config: &Config, backup: &BackupConfig) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let disk = |path: &std::path::Path| std::fs::metadata(path).map(|at| at.dev()).ok();
    let beside = |place: &str| !place.starts_with("s3://") && disk(place.as_ref()) == disk(&config.data);
    (beside(&backup.to) || beside(&backup.keys_to)).then(|| {
        "they, or the copy of keys and erasures, are on the disk of the data and are lost with it: set backup.to and \
         backup.keys_to to other disks or to s3://bucket/prefix"
            .to_owned()
    })
}

/// Whether events are printed, which only the demo does.
fn is_terminal(destination: &Destination) -> bool {
    matches!(destination.kind, DestinationKind::Stdout { .. })
}

/// Asks a destination whether it answers, without sending an event.
async fn reachable(
    delivery: &DeliveryConfig,
    store: &Store,
    state: &DestinationState,
    last: i64,
) -> Result<(), String> {
    let Destination { project, name, .. } = &state.destination;
    if state.destination.paused.is_some() || is_terminal(&state.destination) || !state.destination.enabled {
        return Ok(());
    }
    let secret = store
        .destination_secret(project, name)
        .await
        .map_err(|error| format!("{name} of {project}: its secret cannot be opened: {error}"))?;
    let answer = convizit_delivery::answers(&state.destination, secret.as_deref(), delivery).await;
    answer.map_err(|error| format!("{name} of {project}: {error} ({})", findings::waiting(last - state.cursor)))
}
