//! `convizit keys`: which there are, rotating them, and destroying one by two people, who can take their word back.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;
use convizit_keys::{ProviderConfig, read_secret_file};
use convizit_model::ProjectId;
use convizit_store::backup::Progress;
use convizit_store::{KeyNeed, KeyRequest, Scope, Store};

use crate::cli::ask::Hold;
use crate::cli::{counted, say, table};
use crate::os_user::person_or_no_login;

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Lists keys: what wraps what, how old each is, until when it is in use, and what still needs it. Never a key itself.
    #[command(after_help = "Examples:\n  convizit keys list\n  convizit keys list --project shop")]
    List {
        /// The keys of this project, and of its days.
        #[arg(long)]
        project: Option<ProjectId>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Makes a new key-encryption key and wraps all keys anew under it, or a new key of one project. Nothing pauses meanwhile.
    #[command(after_help = "Examples:\n  convizit keys rotate\n  convizit keys rotate --project shop")]
    Rotate {
        /// Only the key of this project.
        #[arg(long)]
        project: Option<ProjectId>,
        #[command(flatten)]
        hold: Hold,
    },
    /// Destroys a key that is still needed: everything under it is unreadable for ever. Two people must say so, each with a token of
    /// scope keys and from a login of their own.
    #[command(
        after_help = "Example: convizit keys destroy day/shop/2026-11-29 --token-file anna.token\n         convizit keys destroy day/shop/2026-11-29 --token-file ben.token"
    )]
    Destroy {
        /// `project/ID/VERSION` or `day/ID/YYYY-MM-DD`, as `keys list --project ID` shows them.
        key: String,
        /// The token of whoever says so, in a file that only they may read.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        #[command(flatten)]
        hold: Hold,
    },
    /// Lists who asked within the last day that a key be destroyed: a second person's word would do it.
    #[command(after_help = "Example: convizit keys requests")]
    Requests {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Takes a request to destroy a key back, whoever made it.
    #[command(after_help = "Example: convizit keys withdraw day/shop/2026-11-29")]
    Withdraw {
        /// As `keys requests` shows it.
        key: String,
    },
}

/// What destroying a key does, in words.
fn destroying(key: &str, need: &KeyNeed, by: &str) -> String {
    let mut goes = vec![format!("{} in {}", counted(need.events, "event"), counted(need.frames, "frame"))];
    if !key.starts_with("day/") {
        let days =
            if need.days == 1 { "the key of 1 day".to_owned() } else { format!("the keys of {} days", need.days) };
        goes.push(days);
        goes.push(counted(need.rows, "sealed row"));
    }
    let who = match &need.asked_by {
        None => format!(
            "nobody has asked for it within a day, so this asks, as {by}, and a second person must say the same"
        ),
        Some(first) if first == by => format!("{by} has asked for it already, and a second person must say so"),
        Some(first) => match &need.no_second {
            Some(why) => format!("so this is refused: {why}"),
            None => format!("{first} has asked for it, so this is the second word, and it is done"),
        },
    };
    format!("destroy key {key} of project {}, and with it, for ever, {}; {who}", need.project, goes.join(", "))
}

impl Keys {
    pub(crate) async fn run(self, store: &Store, provider: &ProviderConfig) -> Result<()> {
        match self {
            Self::List { project, json } => {
                let keys = match &project {
                    None => store.list_keys().await?,
                    Some(id) => store.list_project_keys(id).await?,
                };
                if json {
                    return say(serde_json::to_string(&keys)?);
                }
                let rows: Vec<Vec<String>> = keys
                    .into_iter()
                    .map(|key| {
                        let made = key.made.map(|made| made.to_string()).unwrap_or_default();
                        vec![key.id, key.state.to_owned(), made, key.wrapped_by, key.wraps.to_string(), key.note]
                    })
                    .collect();
                table(&["key", "state", "made", "wrapped by", "wraps", "what it is for"], &rows)
            }
            Self::Rotate { project: None, hold } => {
                let keys = store.list_keys().await?;
                let current = keys.first().map_or("none", |key| key.id.as_str());
                if !hold.goes_on(&format!("replace the key-encryption key {current} and wrap all keys anew"))? {
                    return Ok(());
                }
                let (id, count) = store.rotate_kek().await?;
                say(format!(
                    "{id} wraps from now on; {} wrapped anew. The old one is destroyed once nothing needs it: convizit keys list says what does.",
                    if count == 1 { "1 key was".to_owned() } else { format!("{count} keys were") }
                ))?;
                if let ProviderConfig::File { path } = provider {
                    say(format!(
                        "Copy {} again to where you keep its copy: an older copy opens nothing that was wrapped since.",
                        path.display()
                    ))?;
                }
                Ok(())
            }
            Self::Rotate { project: Some(id), hold } => {
                let number = store.project(&id).await?.number;
                if !hold.goes_on(&format!("make a new key of project {id}"))? {
                    return Ok(());
                }
                let version = store.rotate_project_key(number).await?;
                say(format!(
                    "version {version} of the key of {id} seals from a minute on; what older ones sealed is sealed anew by upkeep, and convizit \
                     keys list says what still needs them."
                ))
            }
            Self::Destroy { key, token_file, hold } => {
                let secret = read_secret_file(&token_file)?;
                let token = store.token(&secret).await?.filter(|token| token.allows(Scope::Keys));
                let Some(token) = token else {
                    store.key_refused("destroy", &key, "no living token of scope keys").await?;
                    bail!(
                        "{} holds no living token of scope keys: convizit token add NAME --scope keys --out FILE",
                        token_file.display()
                    );
                };
                let store = store.acting_as(&person_or_no_login());
                let need = store.key_need(&key, &Progress::default()).await?;
                if !hold.goes_on(&destroying(&key, &need, &token.name))? {
                    return Ok(());
                }
                if store.destroy_key(&key, &token.name).await? {
                    say(format!("{key} is destroyed"))
                } else {
                    say(format!(
                        "{} asks to destroy {key}; it is destroyed when a second person says the same within a day; \
                         convizit keys withdraw {key} takes it back",
                        token.name
                    ))
                }
            }
            Self::Requests { json } => {
                let requests = store.key_requests().await?;
                if json {
                    return say(serde_json::to_string(&requests)?);
                }
                if requests.is_empty() {
                    return say("Nobody has asked within a day that a key be destroyed.");
                }
                let row = |request: KeyRequest| {
                    let (made, until) = (request.made.to_string(), request.until.to_string());
                    vec![request.key, request.asked_by, request.asked_from, made, until]
                };
                table(
                    &["key", "asked by", "from", "at", "holds until"],
                    &requests.into_iter().map(row).collect::<Vec<_>>(),
                )
            }
            Self::Withdraw { key } => {
                store.withdraw_key_request(&key).await?;
                say(format!("nobody asks any more to destroy {key}"))
            }
        }
    }
}
