//! `convizit destinations`: what events can be sent to, how far each is proven, and the check of a manifest that somebody writes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use convizit_delivery::DeliveryConfig;
use convizit_delivery::connectors::{self, Connector};

use crate::cli::{say, table};

#[derive(Debug, Args)]
pub(crate) struct Connectors {
    /// Says all of this one: settings, limits, what is sent.
    id: Option<String>,
    /// Checks a manifest that you write, and shows the requests that it makes of sample events.
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    check: Option<PathBuf>,
    /// A setting for those requests: `project_id=77`.
    #[arg(long, value_name = "SETTING=VALUE", requires = "check")]
    set: Vec<String>,
    /// Where the account is, for those requests.
    #[arg(long, requires = "check")]
    region: Option<String>,
    /// Events of your own for those requests, as a JSON list in the form in which they are delivered.
    #[arg(long, value_name = "FILE", requires = "check")]
    events: Option<PathBuf>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// What needs no manifest.
const OWN: [(&str, &str, &str, &str); 4] = [
    ("webhook", "Webhook", "cdp", "real-server"),
    ("postgres", "PostgreSQL", "warehouse", "real-server"),
    ("file", "File", "storage", "real-server"),
    ("stdout", "Standard output", "storage", "real-server"),
];

impl Connectors {
    pub(crate) fn run(self, config: &DeliveryConfig) -> Result<()> {
        if let Some(path) = &self.check {
            let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let connector = Connector::read(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
            return self.check(&connector);
        }
        if let Some((id, name, ..)) = self.id.as_ref().and_then(|id| OWN.iter().find(|(own, ..)| own == id)) {
            if *id == "stdout" {
                return say("Standard output is what convizit demo prints to; it is not added.");
            }
            return say(format!(
                "{name}: convizit destination add PROJECT NAME {id} --help; docs/destinations.md says what it gets."
            ));
        }
        if let Some(id) = &self.id {
            let connector = connectors::find(id, config.connectors.as_deref()).map_err(|error| anyhow!(error))?;
            return show(&connector, self.json);
        }
        let mut rows: Vec<[String; 4]> = OWN
            .iter()
            .map(|(id, name, group, proof)| [id, name, group, proof].map(|text| (*text).to_owned()))
            .collect();
        let (all, problems) = connectors::all(config.connectors.as_deref());
        for connector in &all {
            let meta = &connector.manifest.meta;
            rows.push([&meta.id, &meta.name, &meta.group, &meta.proof].map(Clone::clone));
        }
        rows.sort_by(|one, other| (&one[2], &one[0]).cmp(&(&other[2], &other[0])));
        if self.json {
            let all: Vec<_> = rows
                .iter()
                .map(|[id, name, group, proof]| serde_json::json!({"id": id, "name": name, "group": group, "proof": proof}))
                .collect();
            return say(serde_json::to_string(&all)?);
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        table(&["id", "name", "group", "proof"], &rows)?;
        for problem in problems {
            crate::cli::say_error(&format!("left out: {problem}"));
        }
        say("What one needs: convizit destinations ID. How far each proof goes: docs/destinations/README.md.")
    }

    fn check(&self, connector: &Connector) -> Result<()> {
        let mut entered = BTreeMap::new();
        for text in &self.set {
            let (id, value) = text.split_once('=').context("--set wants SETTING=VALUE")?;
            entered.insert(id.to_owned(), value.to_owned());
        }
        let region = self.region.as_deref();
        let requests = match &self.events {
            None => connector.sample_requests(region, &entered),
            Some(path) => {
                let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
                let events: Vec<serde_json::Value> = serde_json::from_slice(&text)
                    .with_context(|| format!("{} holds no JSON list of events", path.display()))?;
                connector.own_requests(&events, region, &entered)
            }
        };
        let requests = requests.map_err(|error| anyhow!(error))?;
        if !self.json {
            let whose = if self.events.is_some() { "your" } else { "the sample" };
            say(format!("{} is a manifest; of {whose} events it makes:\n", connector.manifest.meta.id))?;
        }
        say(serde_json::to_string_pretty(&requests)?)
    }
}

fn show(connector: &Connector, json: bool) -> Result<()> {
    let manifest = &connector.manifest;
    let meta = &manifest.meta;
    if json {
        let settings: Vec<_> = manifest
            .settings
            .iter()
            .map(|setting| {
                serde_json::json!({"id": setting.id, "label": setting.label, "hint": setting.hint, "secret": setting.secret,
                    "default": setting.default, "form": setting.regex})
            })
            .collect();
        let regions: Vec<&String> = manifest.hosts.keys().collect();
        return say(serde_json::json!({"id": meta.id, "name": meta.name, "group": meta.group, "proof": meta.proof,
            "about": meta.about, "credential": meta.credential, "regions": regions, "settings": settings})
        .to_string());
    }
    say(format!("{} ({}, {})\n{}\n", meta.name, meta.group, meta.proof, meta.about))?;
    if manifest.hosts.len() > 1 {
        let regions: Vec<&str> = manifest.hosts.keys().map(String::as_str).collect();
        say(format!("--region  {}", regions.join(" | ")))?;
    }
    for setting in &manifest.settings {
        let flag = if setting.secret { "--secret-env" } else { "--set" };
        let default = setting.default.as_ref().map(|text| format!(" (default: {text})")).unwrap_or_default();
        let hint = if setting.hint.is_empty() { String::new() } else { format!(": {}", setting.hint) };
        say(format!("{flag} {}=…  {}{hint}{default}", setting.id, setting.label))?;
    }
    say(format!("\n{}\n{}", meta.credential, meta.docs))
}
