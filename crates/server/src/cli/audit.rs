//! `convizit audit`: who did what, and whether anybody changed the log.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use convizit_store::{Checkpoint, Store};

use crate::cli::{say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Lists entries, newest first.
    #[command(after_help = "Example: convizit audit list --limit 50")]
    List {
        /// Only of this project.
        #[arg(long)]
        project: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: i64,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Follows the chain from the first entry to the last; finds any change, removal or reordering.
    #[command(after_help = "Example: convizit audit verify --checkpoints kept-elsewhere.jsonl")]
    Verify {
        /// Checkpoints that were kept elsewhere, one on each line.
        #[arg(long, value_name = "FILE")]
        checkpoints: Option<PathBuf>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Prints the end of the chain, signed, to be kept elsewhere.
    #[command(after_help = "Example: convizit audit checkpoint >> kept-elsewhere.jsonl")]
    Checkpoint,
}

impl Audit {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        match self {
            Self::List { project, limit, json } => {
                let entries = store.audit_entries(project.as_deref(), limit).await?;
                if json {
                    return say(serde_json::to_string(&entries)?);
                }
                let rows: Vec<Vec<String>> = entries
                    .into_iter()
                    .map(|entry| {
                        let number = entry.number.to_string();
                        vec![
                            number,
                            entry.time.to_string(),
                            entry.actor,
                            entry.act,
                            entry.project,
                            entry.subject,
                            entry.detail,
                        ]
                    })
                    .collect();
                table(&["entry", "time", "who", "what", "project", "subject", "detail"], &rows)
            }
            Self::Verify { checkpoints, json } => {
                let text = match &checkpoints {
                    None => String::new(),
                    Some(path) => {
                        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?
                    }
                };
                let mut kept: Vec<Checkpoint> = Vec::new();
                for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    let parsed = serde_json::from_str(line);
                    kept.push(parsed.map_err(|_| anyhow!("line {} of the checkpoints is none", index + 1))?);
                }
                let report = store.verify_audit(&kept).await?;
                if json {
                    say(serde_json::to_string(&report)?)?;
                }
                match report.problem {
                    None if json => Ok(()),
                    None => say(format!("{} entries, the chain is whole", report.entries)),
                    Some(problem) => bail!("the audit log was tampered with or damaged: {problem}"),
                }
            }
            Self::Checkpoint => say(serde_json::to_string(&store.audit_checkpoint().await?)?),
        }
    }
}
