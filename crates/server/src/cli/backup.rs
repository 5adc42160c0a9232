//! `convizit backup`, `restore` and `verify`: now, which there are, trying one, bringing one back, looking at everything.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use convizit_keys::open_provider;
use convizit_model::Timestamp;
use convizit_store::backup::{BackupInfo, Progress, Restore as Plan, RestoreReport};
use convizit_store::{Store, SystemClock};

use crate::cli::ask::Hold;
use crate::cli::{person, say, table};
use crate::config::Config;

/// From so long on, whoever waits sees how far it is.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
const SHOWN_EACH: Duration = Duration::from_millis(500);

/// Backups.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(subcommand)]
    what: Option<What>,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Says what it would do, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists the backups that there are, newest first.
    #[command(after_help = "Example: convizit backup list --json")]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Restores the backup before the newest into a scratch folder, compares what stands there with what was counted, and removes it.
    #[command(after_help = "Example: convizit backup drill")]
    Drill {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// Shows how far something has come, until it has ended.
async fn watched<T>(what: &str, progress: &Progress, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let begun = Instant::now();
    let mut shown = false;
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(SHOWN_EACH, &mut work).await {
            Ok(done) => {
                if shown {
                    write!(std::io::stderr(), "\r\x1b[K").ok();
                }
                return done;
            }
            Err(_) if begun.elapsed() < SHOWN_AFTER => {}
            Err(_) => {
                let (done, all) = progress.now();
                let percent = done.saturating_mul(100).checked_div(all).unwrap_or(0).min(100);
                write!(std::io::stderr(), "\r\x1b[K{what}: {} of {}, {percent} %", bytes(done), bytes(all)).ok();
                shown = true;
            }
        }
    }
}

/// Bytes as a person reads them.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

impl Backup {
    pub(crate) async fn run(self, store: &Store, config: &Config) -> Result<()> {
        match self.what {
            Some(What::List { json }) => list(&store.backups().await?, json),
            Some(What::Drill { json }) => {
                let progress = Progress::default();
                let report = watched("drill", &progress, store.drill(&progress)).await?;
                if json {
                    return say(serde_json::to_string(&report)?);
                }
                say(format!(
                    "The backup of {} can be restored: {} events and {} rows stood as they were counted, in {:.1} s.",
                    report.made, report.events, report.rows, report.seconds
                ))
            }
            None if self.dry_run => {
                let to = config.backup().map(|backup| backup.to).unwrap_or_default();
                say(format!("would write a backup to {to}; nothing was done (--dry-run)"))
            }
            None => {
                let progress = Progress::default();
                let report = watched("backup", &progress, store.back_up(&progress)).await?;
                if self.json {
                    return say(serde_json::to_string(&report)?);
                }
                say(format!(
                    "{}: {} events, {} of {} packs written anew ({}), read back and whole, in {:.1} s; {} older backups dropped.",
                    report.name,
                    report.events,
                    report.written,
                    report.packs,
                    bytes(report.bytes),
                    report.seconds,
                    report.dropped
                ))
            }
        }
    }
}

fn list(backups: &[BackupInfo], json: bool) -> Result<()> {
    if json {
        return say(serde_json::to_string(backups)?);
    }
    if backups.is_empty() {
        return say("There is no backup yet: convizit backup");
    }
    let rows: Vec<Vec<String>> = backups
        .iter()
        .map(|backup| {
            vec![
                backup.made.to_string(),
                backup.events.to_string(),
                backup.rows.to_string(),
                bytes(backup.bytes),
                backup.program.clone(),
            ]
        })
        .collect();
    table(&["made", "events", "rows", "size", "by"], &rows)
}

/// Brings a backup back into an empty place.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The newest backup that was begun at or before this time; the newest of all when missing.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hold: Hold,
}

impl Restore {
    pub(crate) async fn run(self, config: &Config) -> Result<()> {
        let keys = config.keys();
        // A token's module may take its time.
        let provider = tokio::task::spawn_blocking(move || open_provider(&keys)).await??;
        let progress = Progress::default();
        let planning = Plan::plan(config.store(), provider, Arc::new(SystemClock), self.at, &progress);
        let plan = watched("looking at every pack", &progress, planning).await?;
        let backup = plan.backup();
        let into = match &config.database_url {
            Some(_) => format!("the PostgreSQL database and {}", config.data.display()),
            None => config.data.display().to_string(),
        };
        let what = format!(
            "restore the backup of {} ({} events, {} rows, {}) into {into}, and erase again what was erased since",
            backup.made,
            backup.events,
            backup.rows,
            bytes(backup.bytes)
        );
        if !self.hold.goes_on(&what)? {
            return Ok(());
        }
        let report = watched("restoring", &progress, plan.run(&person(), &progress)).await?;
        if self.json { say(serde_json::to_string(&report)?) } else { tell(&report) }
    }
}

fn tell(report: &RestoreReport) -> Result<()> {
    say(format!("Restored the backup of {} in {:.1} s.", report.made, report.seconds))?;
    for (project, events) in &report.events {
        say(format!("  {project}: {events} events"))?;
    }
    if report.left_out_events > 0 {
        say(format!(
            "Left out: {} events, whose key was destroyed or whose dataset was erased since.",
            report.left_out_events
        ))?;
    }
    for (table, rows) in report.left_out.iter().filter(|(table, _)| *table != "frames") {
        say(format!("Left out of table {table}: {rows} rows, for the same reasons."))?;
    }
    if report.erased_again > 0 {
        say(format!("Carried out again: {} erasures.", report.erased_again))?;
    }
    if report.journal_records > 0 {
        say(format!("Waiting for the worker: {} batches of visitors.", report.journal_records))?;
    }
    for name in &report.lost_destinations {
        say(format!("Destination {name} is left out, since no key opens it any more: add it again."))?;
    }
    Ok(())
}

/// Looks at everything that is stored, or at a backup.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A backup in place of what runs: the newest, or the newest at or before a time.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "newest")]
    backup: Option<String>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        let progress = Progress::default();
        if let Some(at) = &self.backup {
            let at = if at == "newest" { None } else { Some(at.parse::<Timestamp>().map_err(|error| anyhow!(error))?) };
            let backup = watched("verify", &progress, store.verify_backup(at, &progress)).await?;
            if self.json {
                return say(serde_json::to_string(&backup)?);
            }
            return say(format!(
                "The backup of {} is whole: every pack is there and opens; {} events, {} rows, {}.",
                backup.made,
                backup.events,
                backup.rows,
                bytes(backup.bytes)
            ));
        }
        let report = watched("verify", &progress, store.verify(&progress)).await?;
        if self.json {
            say(serde_json::to_string(&report)?)?;
        } else {
            for problem in &report.problems {
                say(format!("problem  {problem}"))?;
            }
            say(format!(
                "{} frames with {} events, {} sealed rows, {} journal batches and {} entries of the audit log were opened.",
                report.frames, report.events, report.rows, report.batches, report.audit_entries
            ))?;
        }
        if report.problem_count > 0 {
            bail!(
                "{} problems were found: restore a backup, or ask whoever knows this installation",
                report.problem_count
            );
        }
        Ok(())
    }
}
