//! `convizit audit`: who did what, and whether anybody changed the log.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use convizit_model::Timestamp;
use convizit_store::{AuditFilter, Checkpoint, Store};

use crate::cli::{counted, new_file, say, table};

/// Entries that are read at once.
const PAGE: i64 = 5_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Lists entries, newest first, without the uses of the key provider.
    #[command(
        after_help = "Examples:\n  convizit audit list --limit 50\n  convizit audit list --project shop --since 2026-11-28T00:00:00Z\n  convizit audit list --act key.unwrap"
    )]
    List {
        /// Only about this project.
        #[arg(long)]
        project: Option<String>,
        /// Only this act, such as project.create or key.unwrap.
        #[arg(long)]
        act: Option<String>,
        /// Only by this actor, such as os:anna (a user of this machine), token:privacy-desk, account:7 or system.
        #[arg(long)]
        actor: Option<String>,
        /// Not before this time.
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Also key.wrap and key.unwrap, the uses of the key provider, which are most of all.
        #[arg(long)]
        all: bool,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: i64,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Writes the whole log as JSON lines, oldest first, as it was written: projects' keys stand in it by the projects' numbers.
    #[command(after_help = "Example: convizit audit export --out audit.jsonl")]
    Export {
        /// The file; it must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
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
            Self::List { project, act, actor, since, all, limit, json } => {
                let filter = AuditFilter {
                    project: project.as_deref(),
                    act: act.as_deref(),
                    actor: actor.as_deref(),
                    since,
                    acts_only: !all && act.is_none(),
                    ..AuditFilter::default()
                };
                let entries = store.audit_log(filter, limit).await?;
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
            Self::Export { out } => {
                let mut file = BufWriter::new(new_file(&out)?);
                let mut last = 0;
                loop {
                    let entries = store.audit_after(last, PAGE).await?;
                    let Some(end) = entries.last() else { break };
                    last = end.number;
                    for entry in &entries {
                        serde_json::to_writer(&mut file, entry)?;
                        file.write_all(b"\n")?;
                    }
                }
                file.flush()?;
                say(format!("{} in {}", counted(last, "entry"), out.display()))
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
                if let Some(path) = checkpoints.filter(|_| kept.is_empty()) {
                    bail!("{} holds no checkpoint: convizit audit checkpoint prints one to keep", path.display());
                }
                let report = store.verify_audit(&kept).await?;
                if json {
                    say(serde_json::to_string(&report)?)?;
                }
                match report.problem {
                    None if json => Ok(()),
                    None => say(format!("{}, the chain is whole", counted(report.entries, "entry"))),
                    Some(problem) => bail!("the audit log was tampered with or damaged: {problem}"),
                }
            }
            Self::Checkpoint => say(serde_json::to_string(&store.audit_checkpoint().await?)?),
        }
    }
}
