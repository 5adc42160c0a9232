//! `convizit token`: for the site's own systems, and for whoever destroys a key.

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use convizit_model::ProjectId;
use convizit_store::{Scope, Store};

use crate::cli::ask::Hold;
use crate::cli::{say, say_error, table};

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Allowed {
    /// Erasing persons of its project.
    Erase,
    /// Exporting persons of its project.
    Export,
    /// Being one of the two who destroy a living key.
    Keys,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Makes a token and prints its secret, once.
    #[command(after_help = "Example: convizit token add privacy-desk --project shop --scope erase > desk.token")]
    Add {
        /// Its name: a-z, 0-9 and -.
        name: String,
        /// The project; none for scope keys.
        #[arg(long)]
        project: Option<ProjectId>,
        /// What it allows.
        #[arg(long, value_enum)]
        scope: Allowed,
        /// How many days it lives, at most 366.
        #[arg(long, default_value_t = 90)]
        days: i64,
    },
    /// Lists tokens, without their secrets.
    #[command(after_help = "Example: convizit token list")]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Ends a token.
    #[command(after_help = "Example: convizit token remove privacy-desk --yes")]
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
            Self::Add { name, project, scope, days } => {
                let project = match &project {
                    Some(id) => Some(store.project(id).await?),
                    None => None,
                };
                let scope = match scope {
                    Allowed::Erase => Scope::Erase,
                    Allowed::Export => Scope::Export,
                    Allowed::Keys => Scope::Keys,
                };
                let secret = store.make_token(project.as_ref(), scope, &name, days).await?;
                say_error(&format!("token {name}, for {days} days; its secret is shown this once:"));
                say(secret)
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
                        let scope = token.scope.as_str().to_owned();
                        vec![token.name, token.project, scope, token.made.to_string(), token.expires.to_string()]
                    })
                    .collect();
                table(&["token", "project", "scope", "made", "ends"], &rows)
            }
            Self::Remove { name, hold } => {
                if !store.tokens().await?.iter().any(|token| token.name == name) {
                    bail!("there is no token {name}: convizit token list");
                }
                if !hold.goes_on(&format!("end token {name}, which nothing brings back"))? {
                    return Ok(());
                }
                store.remove_token(&name).await?;
                say(format!("token {name} is ended"))
            }
        }
    }
}
