//! `convizit notices`: what a person must see.

use anyhow::Result;
use clap::Subcommand;
use convizit_model::{NoticeKind, NoticeState};
use convizit_store::Store;

use crate::cli::ask::Hold;
use crate::cli::{say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Notices {
    /// Lists notices that are not resolved, newest first.
    #[command(after_help = "Example: convizit notices list --all")]
    List {
        /// Resolved ones too.
        #[arg(long)]
        all: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Marks a notice as seen.
    #[command(after_help = "Example: convizit notices seen 3")]
    Seen {
        /// Its number.
        id: i64,
    },
    /// Marks a notice as resolved; it comes back when its cause does.
    #[command(after_help = "Example: convizit notices resolve 3")]
    Resolve {
        /// Its number.
        id: i64,
        #[command(flatten)]
        hold: Hold,
    },
}

impl Notices {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        match self {
            Self::List { all, json } => {
                let notices = store.notices(all).await?;
                if json {
                    return say(serde_json::to_string(&notices)?);
                }
                if notices.is_empty() {
                    return say("Nothing needs you.");
                }
                let rows: Vec<Vec<String>> = notices
                    .into_iter()
                    .map(|notice| {
                        let state = format!("{:?}", notice.state).to_lowercase();
                        let project = notice.project.map(|id| id.to_string()).unwrap_or_default();
                        vec![
                            notice.id.to_string(),
                            state,
                            project,
                            notice.count.to_string(),
                            notice.last.to_string(),
                            notice.text,
                        ]
                    })
                    .collect();
                table(&["id", "state", "project", "times", "last", "notice"], &rows)
            }
            Self::Seen { id } => {
                store.set_notice(id, NoticeState::Seen).await?;
                say(format!("notice {id} is seen"))
            }
            Self::Resolve { id, hold } => {
                let notices = store.notices(true).await?;
                // Of the others nothing follows but that they are over.
                let is_clock = notices.iter().any(|notice| notice.id == id && notice.kind == NoticeKind::Clock);
                let what = "take the clock for right, and let retention delete what is too old by it, with its keys";
                if (is_clock || hold.is_dry()) && !hold.goes_on(if is_clock { what } else { "resolve the notice" })? {
                    return Ok(());
                }
                store.set_notice(id, NoticeState::Resolved).await?;
                say(format!("notice {id} is resolved"))
            }
        }
    }
}
