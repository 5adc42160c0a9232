//! `convizit token`: for the site's own systems, and for whoever destroys a key.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use convizit_model::ProjectId;
use convizit_store::{Scope, Store};

use crate::cli::ask::Hold;
use crate::cli::{new_file, say, say_error, table};

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Allowed {
    /// Seeing its project: names, counts, states, settings, members without their addresses.
    Read,
    /// Seeing example values and single events.
    Samples,
    /// Renaming, merging, excluding, publishing drafts, undoing; marking notices.
    Capture,
    /// Changing the project's settings, and to whom its notices go.
    Settings,
    /// Adding, changing and removing destinations, and sending again.
    Destinations,
    /// Inviting, changing and removing members up to Admin.
    Members,
    /// Erasing persons of its project.
    Erase,
    /// Exporting persons of its project.
    Export,
    /// Reading the audit log.
    Audit,
    /// Seeing the project's incidents, and seeing to them.
    Incidents,
    /// Being one of the two who destroy a living key.
    Keys,
}

impl From<Allowed> for Scope {
    fn from(allowed: Allowed) -> Self {
        match allowed {
            Allowed::Read => Self::Read,
            Allowed::Samples => Self::Samples,
            Allowed::Capture => Self::Capture,
            Allowed::Settings => Self::Settings,
            Allowed::Destinations => Self::Destinations,
            Allowed::Members => Self::Members,
            Allowed::Erase => Self::Erase,
            Allowed::Export => Self::Export,
            Allowed::Audit => Self::Audit,
            Allowed::Incidents => Self::Incidents,
            Allowed::Keys => Self::Keys,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Makes a token and shows its secret, once.
    #[command(
        after_help = "Example: convizit token add dashboard --project shop --scope read,audit --out dashboard.token"
    )]
    Add {
        /// Its name: a-z, 0-9 and -.
        name: String,
        /// The project; none for scope keys.
        #[arg(long)]
        project: Option<ProjectId>,
        /// What it allows; several with commas between, or by saying it again.
        #[arg(long, value_enum, value_delimiter = ',', required = true)]
        scope: Vec<Allowed>,
        /// How many days it lives, at most 366.
        #[arg(long, default_value_t = 90)]
        days: i64,
        /// Writes the secret into this new file, which only you may read, in place of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Lists tokens, without their secrets.
    #[command(after_help = "Example: convizit token list")]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Ends a token; asks before.
    #[command(
        after_help = "Examples:\n  convizit token remove privacy-desk\n  convizit token remove privacy-desk --yes"
    )]
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        hold: Hold,
    },
}

impl Token {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        match self {
            Self::Add { name, project, scope, days, out } => {
                let project = match &project {
                    Some(id) => Some(store.project(id).await?),
                    None => None,
                };
                let scopes: Vec<Scope> = scope.into_iter().map(Scope::from).collect();
                // The file first: a secret that cannot be written would be lost.
                let file = out.as_deref().map(new_file).transpose()?;
                let made = store.make_token(project.as_ref(), &scopes, &name, days).await;
                let Some((mut file, path)) = file.zip(out) else {
                    let secret = made?;
                    say_error(&format!("token {name}, for {days} days; its secret is shown this once:"));
                    return say(secret);
                };
                let secret = made.inspect_err(|_| {
                    // Empty, and made for nothing.
                    std::fs::remove_file(&path).ok();
                })?;
                let written = file.write_all(format!("{secret}\n").as_bytes()).and_then(|()| file.sync_all());
                written.with_context(|| {
                    let path = path.display();
                    format!("{path} cannot be written, and token {name} is of no use: convizit token remove {name}")
                })?;
                say(format!(
                    "token {name}, for {days} days; its secret is in {}, which only you may read",
                    path.display()
                ))
            }
            Self::List { json } => {
                let tokens = store.tokens().await?;
                if json {
                    return say(serde_json::to_string(&tokens)?);
                }
                if tokens.is_empty() {
                    return say("There is no token: convizit token add privacy-desk --project shop --scope erase");
                }
                let rows: Vec<Vec<String>> = tokens
                    .into_iter()
                    .map(|token| {
                        let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
                        vec![
                            token.name,
                            token.project,
                            scopes.join(","),
                            token.made.to_string(),
                            token.expires.to_string(),
                        ]
                    })
                    .collect();
                table(&["token", "project", "scopes", "made", "ends"], &rows)
            }
            Self::Remove { name, hold } => {
                if !store.tokens().await?.iter().any(|token| token.name == name) {
                    bail!("there is no token {name}: convizit token list");
                }
                let requests = store.key_requests().await?;
                let asked: Vec<&str> = requests
                    .iter()
                    .filter(|request| request.asked_by == name)
                    .map(|request| request.key.as_str())
                    .collect();
                let with = match asked.as_slice() {
                    [] => String::new(),
                    keys => format!(", and take back that it asks to destroy {}", keys.join(", ")),
                };
                if !hold.goes_on(&format!("end token {name}, which nothing brings back{with}"))? {
                    return Ok(());
                }
                let withdrawn = store.remove_token(&name).await?;
                say(format!("token {name} is ended"))?;
                for key in withdrawn {
                    say(format!("nobody asks any more to destroy {key}"))?;
                }
                Ok(())
            }
        }
    }
}
