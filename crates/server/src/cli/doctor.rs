//! `convizit doctor`: what is wrong with an installation, and what to do.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use convizit_delivery::DeliveryConfig;
use convizit_model::{Destination, DestinationKind, Project, ProjectId, Timestamp};
use convizit_store::backup::{BackupConfig, BackupState};
use convizit_store::{AuditFilter, DamagedFrame, DamagedRow, DestinationState, Erasure, Standing, Store, StoreError};

use crate::cli::erase::held_by;
use crate::cli::{counted, say};
use crate::config::Config;
use crate::demo;
use crate::observe::failing;
use crate::os_user::file_of_another;
use crate::run::{Role, bind, open_store, runs, tables};
use convizit_console::unreachable_snippet;

/// From so many items on, what became of them says something about a site.
const ENOUGH: u64 = 20;
/// An erasure that is older is to be carried out.
const ERASED_MILLIS: i64 = 3_600_000;
/// A backup that is older is missing today's.
const BACKUP_MILLIS: i64 = 26 * 3_600_000;

struct Finding {
    what: &'static str,
    /// The project's id, where it is about one.
    project: Option<String>,
    problem: Option<String>,
    /// What is worth a thought, and no reason to fail.
    warning: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, result: Result<(), String>) {
        self.0.push(Finding { what, project: None, problem: result.err(), warning: None });
    }

    fn add_of(&mut self, project: &ProjectId, what: &'static str, result: Result<(), String>) {
        self.0.push(Finding { what, project: Some(project.to_string()), problem: result.err(), warning: None });
    }

    fn warn_of(&mut self, project: &ProjectId, what: &'static str, warning: String) {
        self.0.push(Finding { what, project: Some(project.to_string()), problem: None, warning: Some(warning) });
    }

    fn warn(&mut self, what: &'static str, warning: Option<String>) {
        self.0.push(Finding { what, project: None, problem: None, warning });
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
    match open_store(&config.store(), &config.keys()).await {
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
    findings.add("store", failing(store).map_or(Ok(()), Err));
    match store.scarce_disk().await {
        Ok(scarce) => findings.warn("disk", scarce),
        Err(error) => findings.add("disk", Err(error.to_string())),
    }
    let projects = store.projects().await?;
    findings.add(
        "projects",
        if projects.is_empty() {
            Err("none yet: convizit project add shop --origin https://shop.example".to_owned())
        } else {
            Ok(())
        },
    );
    for project in &projects {
        let id = &project.id;
        if project.settings.origins.is_empty() {
            let what = format!(
                "project {id} takes events from nowhere: convizit settings set {id} origins '[\"https://shop.example\"]'"
            );
            findings.add_of(id, "origins", Err(what));
        }
        let snippet = unreachable_snippet(&config.public(), &project.settings.origins);
        findings.add_of(id, "snippet", snippet.map_or(Ok(()), |why| Err(format!("project {id}: {why}"))));
        findings.add_of(id, "events", arriving(project, &store.outcomes(project.number).await?));
    }
    let destinations = store.destinations(None).await?;
    let of_demo = destinations.iter().any(|state| is_terminal(&state.destination));
    // The demo allows itself what an operator has to allow, and its receiver ends with it.
    let delivery = if of_demo { demo::delivery(&config.data) } else { config.delivery() };
    let demo_rests = of_demo && !runs(&config.data, Role::Deliver);
    for state in destinations {
        let rests = demo_rests && state.destination.name == demo::RECEIVER;
        let result = if rests { Ok(()) } else { reachable(&delivery, store, &state).await? };
        let slow = if result.is_ok() && !rests { slow(store, &state).await? } else { None };
        let (project, name) = (&state.destination.project, &state.destination.name);
        if let Some(concern) = state.destination.concern(&store.project(project).await?.settings) {
            let text =
                format!("{name} of {project} {}: convizit destination processor {project} {name} --help", concern.what);
            findings.warn_of(project, "processor", text);
        }
        findings.add_of(&state.destination.project, "destination", result);
        if let Some(warning) = slow {
            findings.warn("destination", Some(warning));
        }
    }
    let backup = config.backup();
    if backup.makes {
        match (backed_up(&store.backup_state(), store), store.backup_state().made) {
            (Ok(()), Some(_)) => findings.warn("backups", beside(config, &backup)),
            (Ok(()), None) => match none_made(&backup, store).await {
                Ok(why) => findings.warn("backups", Some(why)),
                Err(error) => findings.add("backups", Err(error.to_string())),
            },
            (failed, _) => findings.add("backups", failed),
        }
    }
    stored(store, &projects, findings).await?;
    let audit = store.verify_audit(&[]).await?;
    findings.add("audit log", audit.problem.map_or(Ok(()), Err));
    let open = store.notices(false).await?.len();
    findings.add("notices", if open == 0 { Ok(()) } else { Err(format!("{open} open: convizit notices list")) });
    Ok(())
}

/// What does not open of what is stored, as far as it was met, and what is not erased in time.
async fn stored(store: &Store, projects: &[Project], findings: &mut Findings) -> Result<()> {
    for project in projects {
        let late = late_erasures(project, &store.erasures(project.number).await?, store.clock().now());
        if late.is_err() {
            findings.add_of(&project.id, "erasures", late);
        }
    }
    let frames = store.damaged_frames().await?;
    for DamagedFrame { project, first, last, day, goes, .. } in &frames {
        let problem = format!(
            "frame {first} of project {project} (events {first} to {last} of {day}) does not open: convizit restore --frame {project}/{first} brings it \
             back from a backup; retention takes it on {goes}"
        );
        findings.add_of(project, "frame", Err(problem));
    }
    for DamagedRow { project, of, row, since, goes } in store.damaged_rows().await? {
        let warning = format!(
            "state row {row} of project {project}, of its {of}, did not open on {since}: it was set aside and is learned anew \
             (docs/data-lifecycle.md, \"A row of what was learned\"); it is kept until {goes}"
        );
        findings.warn("row", Some(warning));
    }
    Ok(())
}

/// Whether every erasure that is older than an hour is carried out.
fn late_erasures(project: &Project, erasures: &[Erasure], now: Timestamp) -> Result<(), String> {
    let late: Vec<&Erasure> =
        erasures.iter().filter(|erasure| erasure.open > 0 && now.since(erasure.made) > ERASED_MILLIS).collect();
    let Some(oldest) = late.last() else { return Ok(()) };
    let id = &project.id;
    let why = match oldest.held.first() {
        Some(by) => held_by(oldest, &project.id, by),
        None => "upkeep of convizit serve (role work) carries it out, and its log says what is in the way".to_owned(),
    };
    let many = if late.len() == 1 { "1 erasure is".to_owned() } else { format!("{} erasures are", late.len()) };
    Err(format!(
        "{many} not carried out within the hour in project {id}, the oldest {} of {}: {why}; convizit erase --project {id} --list",
        oldest.request, oldest.made
    ))
}

/// Whether the last backup is of today and the last drill could restore one.
fn backed_up(state: &BackupState, store: &Store) -> Result<(), String> {
    if let Some(problem) = &state.drill_problem {
        return Err(format!("the last drill could not restore a backup: {problem}"));
    }
    match state.made {
        Some(made) if store.clock().now().since(made) > BACKUP_MILLIS => {
            Err(format!("the last one is of {made}: convizit notices list says why there is none since"))
        }
        _ => Ok(()),
    }
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

/// Whether most of what a site sent became events; repeats are sent again by design and say nothing.
fn arriving(project: &Project, outcomes: &[(String, u64)]) -> Result<(), String> {
    let total: u64 = outcomes.iter().filter(|(name, _)| name != "repeated").map(|(_, items)| items).sum();
    let lost = outcomes.iter().filter(|(name, _)| name != "accepted" && name != "repeated").max_by_key(|(_, n)| *n);
    let Some((name, items)) = lost.filter(|(_, items)| total >= ENOUGH && items * 2 > total) else { return Ok(()) };
    let id = &project.id;
    let what = match name.as_str() {
        "filtered.bot" => format!(
            "a browser driven by a program counts as one; convizit settings set {id} filter_bots false takes them"
        ),
        "filtered.consent" => format!("no consent was given; convizit settings get {id} consent_required"),
        "filtered.type" => format!("their types are off: convizit settings get {id} events"),
        "filtered.excluded" => format!("their pages or addresses are excluded: convizit settings get {id}"),
        "refused.origin" => format!("they came from other origins than these: convizit settings get {id} origins"),
        "refused.overloaded" => "the server could not take them; the collector's log and /healthz say why".to_owned(),
        "refused.internal" => "processing failed: convizit notices list".to_owned(),
        _ => "the console says what each outcome means".to_owned(),
    };
    Err(format!("{items} of {total} items of project {id} since its beginning ended as {name}: {what}"))
}

/// Whether events are printed, which only the demo does.
fn is_terminal(destination: &Destination) -> bool {
    matches!(destination.kind, DestinationKind::Stdout { .. })
}

/// What a person should know of a destination that works.
async fn slow(store: &Store, state: &DestinationState) -> Result<Option<String>> {
    let (project, name) = (&state.destination.project, &state.destination.name);
    let last = store.last_event(store.project(project).await?.number).await?;
    let behind = last - state.cursor;
    Ok(match state.standing(last) {
        Standing::Behind => Some(format!("{name} of {project} is behind: {behind} events wait for it")),
        Standing::Waiting => state.trouble().map(|why| format!("{name} of {project} is {why}")),
        _ => None,
    })
}

/// Asks a destination whether it answers, without sending an event.
async fn reachable(delivery: &DeliveryConfig, store: &Store, state: &DestinationState) -> Result<Result<(), String>> {
    let (project, name) = (&state.destination.project, &state.destination.name);
    // What a person chose is no fault.
    if state.destination.rest().is_some() {
        return Ok(Ok(()));
    }
    if let Some(reason) = &state.destination.paused {
        return Ok(Err(format!(
            "{name} of {project} is paused ({reason}): mend it, then convizit destination resume {project} {name}"
        )));
    }
    if is_terminal(&state.destination) || !state.destination.enabled {
        return Ok(Ok(()));
    }
    let secret = match store.destination_secret(project, name).await {
        Ok(secret) => secret,
        Err(error) => return Ok(Err(format!("{name} of {project}: its secret cannot be opened: {error}"))),
    };
    let answer = convizit_delivery::answers(&state.destination, secret.as_deref(), delivery).await;
    let behind = store.last_event(store.project(project).await?.number).await? - state.cursor;
    // One that answers here may fail where it is delivered to.
    let failing = state.trouble().filter(|_| behind > 0 && state.standing(state.cursor + behind) == Standing::Failing);
    let answer = answer.and_then(|()| failing.map_or(Ok(()), Err));
    Ok(answer.map_err(|error| format!("{name} of {project}: {error} ({behind} events wait for it)")))
}
