//! `convizit incidents`: what may be an attack, and what was done about it.

use anyhow::{Result, anyhow};
use clap::Subcommand;
use convizit_model::Incident;
use convizit_store::{IncidentChange, Store, StoreError};

use crate::cli::{say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Incidents {
    /// Lists incidents that are not resolved, newest first.
    #[command(after_help = "Example: convizit incidents list --all")]
    List {
        /// Resolved ones too.
        #[arg(long)]
        all: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Shows an incident and its history.
    #[command(after_help = "Example: convizit incidents show 3")]
    Show {
        /// Its number.
        id: i64,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Says that somebody has looked at it and sees to it.
    #[command(after_help = "Example: convizit incidents triage 3 --owner ada@shop.example --note 'our own scanner?'")]
    Triage {
        /// Its number.
        id: i64,
        /// The e-mail address of the account that sees to it.
        #[arg(long)]
        owner: Option<String>,
        /// What was found.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Adds to its history.
    #[command(after_help = "Example: convizit incidents note 3 'the network belongs to our office'")]
    Note {
        /// Its number.
        id: i64,
        /// What is to be kept.
        text: String,
    },
    /// Says that it is over, and what it was.
    #[command(after_help = "Example: convizit incidents resolve 3 'the scanner of our own; it is off now'")]
    Resolve {
        /// Its number.
        id: i64,
        /// What it was.
        text: String,
    },
}

impl Incidents {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        match self {
            Self::List { all, json } => list(store, all, json).await,
            Self::Show { id, json } => show(store, id, json).await,
            Self::Triage { id, owner, note } => {
                let owner = match owner {
                    Some(email) => {
                        let found = store.account_by_email(&email).await?;
                        Some(found.ok_or_else(|| anyhow!("there is no account {email}: convizit user list"))?.number)
                    }
                    None => None,
                };
                change(store, id, IncidentChange::Triage { owner, text: note }).await?;
                say(format!("incident {id} is seen to"))
            }
            Self::Note { id, text } => {
                change(store, id, IncidentChange::Note(text)).await?;
                say(format!("incident {id} has the note"))
            }
            Self::Resolve { id, text } => {
                change(store, id, IncidentChange::Resolve(text)).await?;
                say(format!("incident {id} is resolved"))
            }
        }
    }
}

async fn change(store: &Store, id: i64, change: IncidentChange) -> Result<()> {
    let incident = store.incident(None, id).await?;
    match store.change_incident(&incident, incident.version, change).await {
        Err(StoreError::Moved { .. }) => {
            Err(anyhow!("somebody has just changed incident {id}: convizit incidents show {id}, then say it again"))
        }
        done => Ok(done?),
    }
}

/// By when the next step is due, or when the last was done.
fn due(incident: &Incident) -> String {
    match (incident.resolved, incident.triaged) {
        (Some(resolved), _) => format!("resolved {resolved}"),
        (None, Some(_)) => format!("resolve by {}", incident.resolve_by),
        (None, None) => format!("look at it by {}", incident.acknowledge_by),
    }
}

async fn list(store: &Store, all: bool, json: bool) -> Result<()> {
    let incidents = store.incidents(None, all).await?;
    if json {
        return say(serde_json::to_string(&incidents)?);
    }
    if incidents.is_empty() {
        return say("There is no incident.");
    }
    let rows: Vec<Vec<String>> = incidents
        .into_iter()
        .map(|incident| {
            let project = incident.project.as_ref().map(ToString::to_string).unwrap_or_default();
            vec![
                incident.id.to_string(),
                incident.state.as_str().to_owned(),
                due(&incident),
                project,
                incident.kind.title().to_owned(),
                incident.subject.clone(),
            ]
        })
        .collect();
    table(&["id", "state", "due", "project", "incident", "about"], &rows)
}

async fn show(store: &Store, id: i64, json: bool) -> Result<()> {
    let incident = store.incident(None, id).await?;
    let history = store.incident_notes(id).await?;
    if json {
        return say(serde_json::to_string(&serde_json::json!({"incident": incident, "history": history}))?);
    }
    say(format!("incident {id}, {}: {}", incident.state.as_str(), incident.kind.title()))?;
    say(&incident.text)?;
    let owner = incident.owner.map_or_else(|| "nobody".to_owned(), |account| format!("account:{account}"));
    say(format!(
        "opened {}, goes on until {}, {}, seen to by {owner}",
        incident.opened,
        incident.last,
        due(&incident)
    ))?;
    history.into_iter().try_for_each(|line| {
        let text = if line.text.is_empty() { String::new() } else { format!(": {}", line.text) };
        say(format!("{}  {} {}{text}", line.time, line.actor, line.act))
    })
}
