//! `convizit destination`: where a project's events go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use convizit_delivery::DeliveryConfig;
use convizit_delivery::connectors::{self, Connector};
use convizit_keys::read_secret_file;
use convizit_model::{Destination as Configured, DestinationKind, EventType, Processor, ProjectId, Shaping};
use convizit_store::backup::Progress;
use convizit_store::{DestinationState, Erasure, Store, StoreError};

use crate::cli::ask::Hold;
use crate::cli::resend::Again;
use crate::cli::{counted, say, say_error, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Destination {
    /// Adds a destination after checking that it can be reached.
    #[command(
        subcommand_value_name = "webhook|postgres|file|connector",
        after_help = "Examples:\n  convizit destination add shop hook webhook --url https://hooks.example/convizit --processor 'Hooks Ltd' --processor-region eu --agreement 2026-10-01\n  DB=postgres://me:secret@db/events convizit destination add shop db postgres --url-env DB --processor own\n  convizit destination add shop lines file --path /var/lib/convizit/events.jsonl\n  convizit destination add shop mx connector mixpanel --region eu --set project_id=77 --set token=… --set user=… --secret-env secret=MIXPANEL_SECRET --processor 'Mixpanel Inc.' --agreement 2026-10-01"
    )]
    Add {
        /// The project.
        project: ProjectId,
        /// The destination's name: a-z, 0-9 and -.
        name: String,
        #[command(subcommand)]
        kind: Box<Kind>,
    },
    /// Lists destinations, how far they are behind, and why one is paused or failing.
    #[command(after_help = "Example: convizit destination list shop --json")]
    List {
        /// Only of this project.
        project: Option<ProjectId>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Stops sending; events wait.
    #[command(after_help = "Example: convizit destination pause shop hook")]
    Pause(Which),
    /// Sends on from where it stopped.
    #[command(after_help = "Example: convizit destination resume shop hook")]
    Resume {
        #[command(flatten)]
        which: Which,
        /// Goes on behind events that cannot be read, and says which those are.
        #[arg(long)]
        skip_damaged: bool,
    },
    /// Enters who processes what a destination gets: needed before it sends.
    #[command(
        after_help = "Examples:\n  convizit destination processor shop amp --processor 'Amplitude Inc.' --processor-region eu --agreement 2026-10-01\n  convizit destination processor shop hook --processor own"
    )]
    Processor {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        entry: Entry,
    },
    /// Lists who processes the events, for a record of processing.
    #[command(after_help = "Example: convizit destination processors shop --csv > processors.csv")]
    Processors {
        /// Only of this project.
        project: Option<ProjectId>,
        /// For programs.
        #[arg(long, conflicts_with = "csv")]
        json: bool,
        /// For spreadsheets.
        #[arg(long)]
        csv: bool,
    },
    /// Removes a destination and its dead letters.
    #[command(after_help = "Example: convizit destination remove shop hook --yes")]
    Remove {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        hold: Hold,
    },
    #[command(flatten)]
    Again(Again),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The project.
    pub(crate) project: ProjectId,
    /// The destination.
    pub(crate) name: String,
}

impl Which {
    /// Its state; says so when there is no such destination: no letters of a mistyped name would look like good news.
    pub(crate) async fn known(&self, store: &Store) -> Result<DestinationState> {
        let states = store.destinations(Some(&self.project)).await?;
        let found = states.into_iter().find(|state| state.destination.name == self.name);
        found.ok_or_else(|| {
            let Self { project, name } = self;
            anyhow!("there is no destination {name} of {project}: convizit destination list {project}")
        })
    }
}

/// Who processes the events.
#[derive(Debug, Args)]
pub(crate) struct Entry {
    /// The organisation that processes the events, as the agreement names it; own for a system of your organisation.
    #[arg(long, value_name = "NAME")]
    processor: Option<String>,
    /// Where it keeps them: eu, us, eu-west-1; of a connector by default the region of the account.
    #[arg(long, value_name = "REGION")]
    processor_region: Option<String>,
    /// Date of the data processing agreement.
    #[arg(long, value_name = "DATE")]
    agreement: Option<String>,
}

impl Entry {
    /// The entry; `None` where nothing was said.
    fn processor(&self, kind: &DestinationKind) -> Result<Option<Processor>> {
        let account = match kind {
            DestinationKind::Connector { region: Some(region), .. } if self.processor.is_some() => region.as_str(),
            _ => "",
        };
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        let region = self.processor_region.clone().unwrap_or_else(|| account.to_owned());
        Processor::of(&of(&self.processor), &region, &of(&self.agreement))
            .map_err(|wrong| anyhow!("--{}: {wrong}", wrong.field.replace('_', "-")))
    }
}

/// How an entry is given.
const HOW: &str = "--processor 'Amplitude Inc.' --processor-region eu --agreement 2026-10-01, or --processor own for a system of your organisation";

/// Says where to enter what a destination lacks.
fn with_flags(error: StoreError, command: &str) -> anyhow::Error {
    match error {
        StoreError::Barred(what) => anyhow!("{what}; {command}: {HOW}"),
        other => other.into(),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    entry: Entry,
    /// Only these types of events; all when none is given.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// A field that is left out: device.brand, location, properties.Note.
    #[arg(long, value_name = "FIELD")]
    without: Vec<String>,
    /// Only events that meet a condition: '{"of": "$.page.path", "starts": "/shop"}'.
    #[arg(long, value_name = "JSON")]
    when: Option<String>,
    /// Only events of so many visitors of a hundred.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    percent: Option<u8>,
    /// A field of what a connector sends, by a mapping: 'properties.Shop="$.project"'.
    #[arg(long, value_name = "FIELD=JSON")]
    field: Vec<String>,
    /// A file with a program in VRL that makes another event of each, where this build has transforms.
    #[arg(long, value_name = "FILE")]
    transform: Option<PathBuf>,
    /// Begin with the oldest event that is kept, not with the next one.
    #[arg(long)]
    from_start: bool,
    /// For programs: name, and the signing secret of a webhook.
    #[arg(long)]
    json: bool,
}

impl Common {
    fn shaping(&self) -> Result<Shaping> {
        let when =
            self.when.as_ref().map(|text| serde_json::from_str(text).context("--when is no JSON")).transpose()?;
        let mut set = serde_json::Map::new();
        for text in &self.field {
            let (field, json) =
                text.split_once('=').with_context(|| format!("--field {text}: FIELD=JSON is wanted"))?;
            let value =
                serde_json::from_str(json).with_context(|| format!("--field {field}: what follows = is no JSON"))?;
            set.insert(field.to_owned(), value);
        }
        let read =
            |file: &PathBuf| std::fs::read_to_string(file).with_context(|| format!("--transform {}", file.display()));
        let transform = self.transform.as_ref().map(read).transpose()?;
        Ok(Shaping { without: self.without.clone(), when, percent: self.percent, set, transform })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Kind {
    /// An HTTP endpoint, signed as Standard Webhooks say; prints the signing secret once.
    #[command(
        after_help = "Example: convizit destination add shop hook webhook --url https://hooks.example/convizit --type click --processor own"
    )]
    Webhook {
        /// Where batches are posted.
        #[arg(long)]
        url: String,
        #[command(flatten)]
        common: Common,
    },
    /// A PostgreSQL database; the URL holds a password and is never an argument.
    #[command(
        after_help = "Example: convizit destination add shop db postgres --url-file /etc/convizit/db-url --from-start --processor own"
    )]
    Postgres {
        /// Name of the environment variable that holds the URL.
        #[arg(long, value_name = "NAME", conflicts_with = "url_file", required_unless_present = "url_file")]
        url_env: Option<String>,
        /// File that holds the URL, which only you may read.
        #[arg(long, value_name = "FILE")]
        url_file: Option<PathBuf>,
        /// The schema that is made and migrated there.
        #[arg(long, default_value = "convizit")]
        schema: String,
        #[command(flatten)]
        common: Common,
    },
    /// A file of JSON Lines, in a folder that delivery.allow_folders names.
    #[command(after_help = "Example: convizit destination add shop lines file --path /var/lib/convizit/events.jsonl")]
    File {
        /// The file itself, not its folder. It is made where it is missing, its folder is not.
        #[arg(long, value_name = "FILE")]
        path: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// A vendor; `convizit destinations` lists them, `convizit destinations mixpanel` says what one needs.
    #[command(
        after_help = "Example: convizit destination add shop amp connector amplitude --region us --secret-env api_key=AMPLITUDE_KEY --processor 'Amplitude Inc.' --agreement 2026-10-01"
    )]
    Connector {
        /// The connector's id: `mixpanel`.
        id: String,
        /// Where your account is, for vendors with several places.
        #[arg(long)]
        region: Option<String>,
        /// A setting that is no secret: `project_id=77`.
        #[arg(long, value_name = "SETTING=VALUE")]
        set: Vec<String>,
        /// A secret, by the environment variable that holds it: `secret=MIXPANEL_SECRET`.
        #[arg(long, value_name = "SETTING=NAME")]
        secret_env: Vec<String>,
        /// A secret, by the file that holds it, which only you may read: `key=/etc/convizit/service-account.json`.
        #[arg(long, value_name = "SETTING=FILE")]
        secret_file: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

impl Destination {
    pub(crate) async fn run(self, store: &Store, config: &DeliveryConfig) -> Result<()> {
        match self {
            Self::Add { project, name, kind } => add(store, config, project, name, kind).await,
            Self::List { project, json } => list(store, project, json).await,
            Self::Pause(which) => {
                store.rest_destination(&which.project, &which.name).await?;
                say(format!(
                    "{} waits; convizit destination resume {} {} sends on",
                    which.name, which.project, which.name
                ))
            }
            Self::Resume { which, skip_damaged } => {
                if skip_damaged {
                    which.known(store).await?;
                    for (first, last) in store.pass_over_damaged(&which.project, &which.name).await? {
                        say(format!("events {first} to {last} are passed over: they cannot be read"))?;
                    }
                }
                let Which { project, name } = &which;
                let command = format!("enter it with convizit destination processor {project} {name}");
                store.pause_destination(project, name, None).await.map_err(|error| with_flags(error, &command))?;
                say(format!("{} sends on from where it stopped", which.name))
            }
            Self::Processor { which, entry } => {
                let kind = which.known(store).await?.destination.kind;
                let Some(processor) = entry.processor(&kind)? else { bail!("say who it is: {HOW}") };
                let entered = store.enter_processor(&which.project, &which.name, &processor).await;
                entered.map_err(|error| with_flags(error, "say another"))?;
                say(format!("what {} gets is processed by {processor}", which.name))?;
                point_out(store, &which.known(store).await?.destination).await
            }
            Self::Processors { project, json, csv } => processors(store, project, json, csv).await,
            Self::Remove { which, hold } => {
                let Which { project, name } = &which;
                if store.damaged_destinations(project).await?.contains(name) {
                    let what = format!(
                        "remove destination {name} of {project}, whose settings do not open, and its dead letters"
                    );
                    if !hold.goes_on(&what)? {
                        return Ok(());
                    }
                    store.remove_destination(project, name).await?;
                    return say(format!("{name} is removed: add it again with its settings"));
                }
                let known = which.known(store).await?;
                let dead = counted(known.dead, "dead letter");
                let number = store.project(&which.project).await?.number;
                let waits = |erasure: &Erasure| {
                    erasure.destinations.iter().any(|told| told.destination == which.name && told.state == "open")
                };
                let untold = match store.erasures(number).await?.iter().filter(|erasure| waits(erasure)).count() {
                    0 => String::new(),
                    many => format!("; {} will never reach it", counted(many, "erasure")),
                };
                let stays = match known.destination.kind {
                    DestinationKind::File { path } => format!("; the file {path} stays, with what it holds"),
                    _ => String::new(),
                };
                let what =
                    format!("remove destination {} of {} and its {dead}{untold}{stays}", which.name, which.project);
                if !hold.goes_on(&what)? {
                    return Ok(());
                }
                store.remove_destination(&which.project, &which.name).await?;
                say(format!("{} is removed", which.name))
            }
            Self::Again(again) => again.run(store, config).await,
        }
    }
}

async fn add(store: &Store, config: &DeliveryConfig, project: ProjectId, name: String, kind: Box<Kind>) -> Result<()> {
    store.project(&project).await?;
    if store.destinations(Some(&project)).await?.iter().any(|state| state.destination.name == name) {
        bail!("there is a destination {name} already: remove it first, or choose another name");
    }
    let (kind, secret, common) = match *kind {
        Kind::Webhook { url, common } => {
            (DestinationKind::Webhook { url }, Some(convizit_keys::webhook_secret()?), common)
        }
        Kind::Postgres { url_env, url_file, schema, common } => {
            let url = match (url_env, url_file) {
                (Some(name), _) => std::env::var(&name).with_context(|| format!("the environment has no {name}"))?,
                (None, Some(file)) => read_secret_file(&file)?.to_string(),
                (None, None) => bail!("give --url-env or --url-file"),
            };
            (DestinationKind::Postgres { schema }, Some(url.trim().to_owned()), common)
        }
        Kind::File { path, common } => {
            let path = std::path::absolute(&path)?.to_string_lossy().into_owned();
            (DestinationKind::File { path }, None, common)
        }
        Kind::Connector { id, region, set, secret_env, secret_file, common } => {
            let connector = connectors::find(&id, config.connectors.as_deref()).map_err(|error| anyhow!(error))?;
            let entered = entered(&connector, &set, &secret_env, &secret_file)?;
            let (settings, secret) =
                connector.part(region.as_deref(), &entered).map_err(|error| anyhow!("{}: {error}", error.setting))?;
            (DestinationKind::Connector { connector: id, region, settings }, secret, common)
        }
    };
    let types = common
        .types
        .iter()
        .map(|text| {
            EventType::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
                let all: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
                anyhow!("there is no event type {text}; there are {}", all.join(", "))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let shaping = common.shaping()?;
    let processor = common.entry.processor(&kind)?;
    let destination = Configured { project, name, enabled: true, paused: None, types, shaping, processor, kind };
    convizit_delivery::check(&destination, secret.as_deref(), config).await.map_err(|error| anyhow!(error))?;
    let added = store.add_destination(&destination, secret.as_deref(), common.from_start).await;
    added.map_err(|error| with_flags(error, "give"))?;
    if common.json {
        let shown = secret.filter(|_| matches!(destination.kind, DestinationKind::Webhook { .. }));
        return say(serde_json::json!({"destination": destination, "secret": shown}).to_string());
    }
    let number = store.project(&destination.project).await?.number;
    let stored =
        if common.from_start { store.stored_events(number, None, &Progress::default()).await?.events } else { 0 };
    say(match stored {
        0 => format!("{} receives events from now on", destination.name),
        stored => format!(
            "{} receives the {} that {} stored, and what comes",
            destination.name,
            counted(stored, "event"),
            if stored == 1 { "is" } else { "are" }
        ),
    })?;
    if let (DestinationKind::Webhook { .. }, Some(secret)) = (&destination.kind, &secret) {
        say(format!("signing secret, shown only now: {secret}"))?;
    }
    point_out(store, &destination).await
}

/// Says what whoever answers for privacy has to look at.
async fn point_out(store: &Store, destination: &Configured) -> Result<()> {
    let settings = store.project(&destination.project).await?.settings;
    if let Some(concern) = destination.concern(&settings) {
        say_error(&format!("note: {} {}", destination.name, concern.what));
    }
    Ok(())
}

async fn processors(store: &Store, project: Option<ProjectId>, json: bool, csv: bool) -> Result<()> {
    let projects = match project {
        Some(id) => vec![store.project(&id).await?],
        None => store.projects().await?,
    };
    let mut lines = Vec::new();
    for project in &projects {
        lines.extend(convizit_console::processors(store, project).await?);
    }
    if json {
        return say(serde_json::to_string(&lines)?);
    }
    if csv {
        let table = convizit_console::processors_table(&lines).map_err(|error| anyhow!(error))?;
        return say(String::from_utf8_lossy(&table).trim_end());
    }
    if lines.is_empty() {
        return say("There is no destination yet, so nobody but you processes events.");
    }
    let columns = ["project", "destination", "kind", "processor", "region", "agreement", "state", "concern"];
    table(&columns, &lines.iter().map(convizit_console::ProcessorLine::cells).collect::<Vec<_>>())
}

/// Settings as they were given; a secret is no argument, since arguments are seen by every user of the machine.
fn entered(
    connector: &Connector,
    set: &[String],
    secret_env: &[String],
    secret_file: &[String],
) -> Result<BTreeMap<String, String>> {
    let mut entered = BTreeMap::new();
    let pair = |text: &str| -> Result<(String, String)> {
        let (id, value) = text.split_once('=').with_context(|| format!("{text} is none of the form SETTING=VALUE"))?;
        Ok((id.to_owned(), value.to_owned()))
    };
    for text in set {
        // What has no = may be the secret itself.
        let (id, value) = pair(text).map_err(|_| anyhow!("--set wants SETTING=VALUE"))?;
        if connector.manifest.settings.iter().any(|setting| setting.id == id && setting.secret) {
            bail!("{id} is a secret: give --secret-env {id}=NAME or --secret-file {id}=FILE");
        }
        entered.insert(id, value);
    }
    for text in secret_env {
        let (id, name) = pair(text)?;
        let value = std::env::var(&name).with_context(|| format!("the environment has no {name}"))?;
        entered.insert(id, value);
    }
    for text in secret_file {
        let (id, file) = pair(text)?;
        entered.insert(id, read_secret_file(Path::new(&file))?.to_string());
    }
    Ok(entered)
}

async fn list(store: &Store, project: Option<ProjectId>, json: bool) -> Result<()> {
    let of = match &project {
        Some(project) => vec![project.clone()],
        None => store.projects().await?.into_iter().map(|project| project.id).collect(),
    };
    for project in of {
        for name in store.damaged_destinations(&project).await? {
            say_error(&format!(
                "note: the settings of {name} of {project} do not open, and it sends nothing: convizit destination remove {project} {name} \
                 --yes, and add it again; or bring a backup back (convizit restore)"
            ));
        }
    }
    let states = store.destinations(project.as_ref()).await?;
    let mut last = BTreeMap::new();
    for state in &states {
        let project = &state.destination.project;
        if !last.contains_key(project.as_str()) {
            let number = store.project(project).await?.number;
            last.insert(project.to_string(), store.last_event(number).await?);
        }
    }
    let last = |state: &DestinationState| last.get(state.destination.project.as_str()).copied().unwrap_or(state.cursor);
    if json {
        let row = |state: &DestinationState| {
            let failing = state.failing.as_ref().map(
                |failing| serde_json::json!({"since": failing.since, "times": failing.times, "reason": failing.reason}),
            );
            serde_json::json!({
                "destination": state.destination, "cursor": state.cursor, "dead": state.dead,
                "behind": (last(state) - state.cursor).max(0), "state": state.standing(last(state)).as_str(), "failing": failing,
            })
        };
        let rows: Vec<_> = states.iter().map(row).collect();
        return say(serde_json::to_string(&rows)?);
    }
    if states.is_empty() {
        return say(
            "There is no destination yet: convizit destination add shop hook webhook --url https://hooks.example/convizit --processor own",
        );
    }
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for state in states {
        let settings = store.project(&state.destination.project).await?.settings;
        if let Some(concern) = state.destination.concern(&settings) {
            notes.push(format!("note: {} of {} {}", state.destination.name, state.destination.project, concern.what));
        }
        let behind = (last(&state) - state.cursor).max(0);
        let what = state.trouble().unwrap_or_else(|| state.standing(last(&state)).text().to_owned());
        rows.push(vec![
            state.destination.project.to_string(),
            state.destination.name.clone(),
            state.destination.kind.as_str().to_owned(),
            behind.to_string(),
            state.dead.to_string(),
            what,
        ]);
    }
    table(&["project", "name", "kind", "behind", "dead", "state"], &rows)?;
    notes.iter().try_for_each(say)
}
