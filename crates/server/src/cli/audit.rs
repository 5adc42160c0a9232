//! `convizit audit`: who did what, and whether anybody changed the log.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use convizit_model::Timestamp;
use convizit_store::backup::LyingLog;
use convizit_store::{AuditEntry, AuditFilter, Checkpoint, Store};

use crate::cli::{counted, new_file, say, say_error, table};

/// Entries that are read at once.
const PAGE: i64 = 5_000;
/// Entries that are shown where nobody says how many.
const SHOWN: i64 = 50;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Lists entries, newest first, without the uses of the key provider.
    #[command(
        after_help = "Examples:\n  convizit audit list --limit 200\n  convizit audit list --before 1201\n  convizit audit list --project shop --since 2026-11-28T00:00:00Z\n  convizit audit list --act key.unwrap"
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
        /// Every entry, also key.wrap and key.unwrap, the uses of the key provider, which are most of all.
        #[arg(long)]
        all: bool,
        /// How many: 50, or with --all every one.
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        limit: Option<i64>,
        /// Only entries with a lower number: to go on behind a list.
        #[arg(long, value_name = "ENTRY")]
        before: Option<i64>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Writes the whole log as JSON lines, oldest first, as it was written: projects' keys stand in it by the projects' numbers.
    #[command(
        after_help = "Examples:\n  convizit audit export --out audit.jsonl\n  convizit audit export --from /var/lib/convizit/aside-20261130T190000000Z --out before.jsonl"
    )]
    Export {
        /// The file; it must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// In place of this installation's log the one in a folder that convizit restore --move-aside has set aside.
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
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

/// Acts that are near a mistyped one: of the same thing, or the same done to another; else the things that there are.
fn near(act: &str, known: &BTreeSet<String>) -> String {
    let (thing, done) = act.split_once('.').unwrap_or((act, act));
    let of = |which: &dyn Fn(&str, &str) -> bool| -> Vec<&str> {
        known.iter().map(String::as_str).filter(|one| one.split_once('.').is_some_and(|(a, b)| which(a, b))).collect()
    };
    let same_thing = of(&|known, _| known == thing || known.starts_with(thing) || thing.starts_with(known));
    let same_act = of(&|_, known| known.split('.').any(|part| part == done));
    match (same_thing.as_slice(), same_act.as_slice()) {
        ([], []) => {
            let mut things: Vec<&str> = known.iter().filter_map(|one| one.split('.').next()).collect();
            things.dedup();
            format!("acts are of {}, such as project.create", things.join(", "))
        }
        ([], acts) | (acts, _) => format!("near it are {}", acts.join(", ")),
    }
}

/// Lists entries page by page, and says how many there are where it shows fewer.
async fn list(store: &Store, mut filter: AuditFilter<'_>, limit: i64, json: bool) -> Result<()> {
    let all = store.audit_count(filter).await?;
    let (mut shown, mut last) = (0, 0);
    if json {
        write!(std::io::stdout(), "[")?;
    }
    loop {
        let entries = store.audit_log(filter, PAGE.min(limit - shown)).await?;
        let Some(end) = entries.last().map(|entry| entry.number) else { break };
        if json {
            let texts = entries.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
            write!(std::io::stdout(), "{}{}", if shown == 0 { "" } else { "," }, texts.join(","))?;
        } else {
            as_table(&entries)?;
        }
        shown += i64::try_from(entries.len()).unwrap_or(i64::MAX);
        (last, filter.below) = (end, Some(end));
        if shown >= limit {
            break;
        }
    }
    match (json, shown) {
        (true, _) => say("]")?,
        (false, 0) => say(none_fits(filter, store.clock().now()))?,
        _ => {}
    }
    if shown < all {
        say_error(&format!(
            "{shown} of {}: --before {last} lists what is older, --limit N more at once, --all everything",
            counted(all, "entry")
        ));
    }
    Ok(())
}

/// Why no entry is shown.
fn none_fits(filter: AuditFilter<'_>, now: Timestamp) -> String {
    match filter {
        AuditFilter { since: Some(since), .. } if since > now => {
            format!("No entry is of {since} or later: it is {now} now.")
        }
        AuditFilter { actor: Some(actor), .. } => format!(
            "No entry by {actor} fits: actors are os:NAME (a user of this machine), token:NAME, account:NUMBER and system, as convizit audit list \
             shows them."
        ),
        _ => "No entry fits: convizit audit list without a choice shows the newest.".to_owned(),
    }
}

fn as_table(entries: &[AuditEntry]) -> Result<()> {
    let row = |entry: &AuditEntry| {
        let AuditEntry { number, time, actor, act, project, subject, detail } = entry.clone();
        vec![number.to_string(), time.to_string(), actor, act, project, subject, detail]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    table(&["entry", "time", "who", "what", "project", "subject", "detail"], &rows)
}

impl Audit {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        match self {
            Self::List { project, act, actor, since, all, limit, before, json } => {
                if let Some(act) = &act {
                    let known = store.audit_acts().await?;
                    if !known.contains(act) {
                        bail!("there is no act {act}: {}", near(act, &known));
                    }
                }
                let filter = AuditFilter {
                    project: project.as_deref(),
                    act: act.as_deref(),
                    actor: actor.as_deref(),
                    since,
                    below: before,
                    acts_only: !all && act.is_none(),
                    ..AuditFilter::default()
                };
                list(store, filter, limit.unwrap_or(if all { i64::MAX } else { SHOWN }), json).await
            }
            Self::Export { out, from } => {
                let mut lying = match &from {
                    Some(folder) => Some(LyingLog::open(folder).await?),
                    None => None,
                };
                let mut file = BufWriter::new(new_file(&out)?);
                let (mut last, mut written) = (0, 0);
                loop {
                    let entries = match &mut lying {
                        Some(log) => log.after(last, PAGE).await?,
                        None => store.audit_after(last, PAGE).await?,
                    };
                    let Some(end) = entries.last() else { break };
                    last = end.number;
                    written += entries.len();
                    for entry in &entries {
                        serde_json::to_writer(&mut file, entry)?;
                        file.write_all(b"\n")?;
                    }
                }
                file.flush()?;
                if let Some(log) = lying {
                    log.close().await;
                }
                say(format!("{} in {}", counted(written, "entry"), out.display()))
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
                    kept.push(parsed.map_err(|_| {
                        anyhow!(
                            "line {} of the checkpoints is none: each line is wanted as convizit audit checkpoint prints it, \
                             {{\"installation\": …, \"number\": …, \"chain\": …, \"time\": …, \"public_key\": …, \"signature\": …}}",
                            index + 1
                        )
                    })?);
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
                    None => {
                        say(format!("{}, the chain is whole", counted(report.entries, "entry")))?;
                        report.set_aside.iter().try_for_each(|what| say(format!("note: {what}")))
                    }
                    Some(problem) => bail!("the audit log was tampered with or damaged: {problem}"),
                }
            }
            Self::Checkpoint => say(serde_json::to_string(&store.audit_checkpoint().await?)?),
        }
    }
}
