//! `convizit backup`, `restore` and `verify`: now, which there are, trying one, bringing one back, looking at everything.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use convizit_keys::open_provider;
use convizit_model::Timestamp;
use convizit_store::backup::{
    BackupConfig, BackupInfo, BackupPlan, FrameId, FramePlan, MendedFrame, NewerLog, Progress, Restore as Plan,
    RestoreReport, VerifyReport,
};
use convizit_store::{Store, SystemClock, bytes_in_words};

use crate::cli::ask::Hold;
use crate::cli::{counted, say, say_error, table, with_store};
use crate::config::Config;
use crate::os_user::{person, refuse_root_within_another};
use crate::run::{Role, alone, have_alone, name_missing_keys};

/// From so long on, whoever waits sees how far it is.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
const SHOWN_EACH: Duration = Duration::from_millis(500);
/// Frames that are brought back at once: their content waits in memory for the answer.
const FRAMES: usize = 100;

/// Backups. Of each day the last one is kept, so that one by hand takes the place of another one of the same day (`docs/data-lifecycle.md`).
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
    /// Makes this restored installation the one that writes in the place of backups, and makes one: end the original for good before.
    #[arg(long, conflicts_with = "dry_run")]
    take_over: bool,
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
    /// Restores the backup before the newest, or the only one there is, into a scratch folder, opens every frame, compares what
    /// stands there with what was counted, and removes it.
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
                write!(
                    std::io::stderr(),
                    "\r\x1b[K{what}: {} of {}, {percent} %",
                    bytes_in_words(done),
                    bytes_in_words(all)
                )
                .ok();
                shown = true;
            }
        }
    }
}

/// Of events whose keys were destroyed.
fn unreadable(gone: i64) -> String {
    match gone {
        0 => String::new(),
        _ => format!(" (of {gone} the keys were destroyed: they cannot be restored)"),
    }
}

impl Backup {
    pub(crate) async fn run(self, store: &Store, config: &Config) -> Result<()> {
        match self.what {
            Some(What::List { json }) => {
                let none = match config.backup().makes {
                    true => "There is no backup yet: convizit backup",
                    false => "There is no backup, and this installation makes none (backup.off = true).",
                };
                list(&store.backups().await?, json, none)
            }
            Some(What::Drill { json }) => {
                let progress = Progress::default();
                let report = watched("drill", &progress, store.drill(&progress)).await?;
                if json {
                    return say(serde_json::to_string(&report)?);
                }
                say(format!(
                    "The backup of {} can be restored: every frame opens that has a key; {}{} and {} stood as they were counted, in {:.1} s.",
                    report.made,
                    counted(report.events, "event"),
                    unreadable(report.gone),
                    counted(report.rows, "row"),
                    report.seconds
                ))
            }
            None if self.dry_run => {
                let BackupConfig { to, makes, .. } = config.backup();
                if !makes {
                    if self.json {
                        return say(serde_json::json!({"to": to, "off": true, "drops": []}).to_string());
                    }
                    return say(
                        "would make none: this installation makes no backups, by its setting backup.off = true; nothing was done (--dry-run)",
                    );
                }
                let progress = Progress::default();
                let plan = watched("looking at frames", &progress, store.plan_backup(&progress)).await?;
                if self.json {
                    let BackupPlan { drops, damaged, problems, damaged_beside, problems_beside, .. } = &plan;
                    let plan = serde_json::json!({
                        "to": to, "off": false, "drops": drops, "damaged": damaged, "problems": problems,
                        "damaged_beside": damaged_beside, "problems_beside": problems_beside,
                    });
                    return say(plan.to_string());
                }
                let times: Vec<String> = plan.drops.iter().map(|backup| backup.made.to_string()).collect();
                let then = match times.as_slice() {
                    [] if plan.damaged > 0 => format!(
                        "it would end with code 1, and no older one would be dropped, since {} not open: {}",
                        if plan.damaged == 1 {
                            "a frame does".to_owned()
                        } else {
                            format!("{} frames do", plan.damaged)
                        },
                        plan.problems.join("; ")
                    ),
                    [] if plan.damaged_beside > 0 => format!(
                        "it would end with code 1, and no older one would be dropped, since it would hold what is damaged: {}",
                        plan.problems_beside.join("; ")
                    ),
                    [] => match plan.keeps_all {
                        Some(why) => format!("no older one would be dropped, since {why}"),
                        None => "no older one would be dropped".to_owned(),
                    },
                    times => format!(
                        "{} would be dropped by the schedule, which keeps the last one of each day, week and month: {}",
                        counted(times.len(), "older one"),
                        times.join(", ")
                    ),
                };
                say(format!("would write a backup to {to}; {then}; nothing was done (--dry-run)"))
            }
            None => {
                if self.take_over {
                    store.take_over_backups().await?;
                }
                let progress = Progress::default();
                let report = watched("backup", &progress, store.back_up(&progress)).await?;
                if self.json {
                    say(serde_json::to_string(&report)?)?;
                } else {
                    say(format!(
                        "{}: {}, {} of {} packs written anew ({}), read back and whole, in {:.1} s; {} dropped.",
                        report.name,
                        counted(report.events, "event"),
                        report.written,
                        report.packs,
                        bytes_in_words(report.bytes),
                        report.seconds,
                        counted(report.dropped, "older backup")
                    ))?;
                    if let Some(why) = &report.keeps_all {
                        say(format!("No older backup is dropped: {why}."))?;
                    }
                }
                if report.damaged > 0 {
                    bail!(
                        "{} what is stored does not open, here and in this backup: {}; no older backup is dropped while it is so, \
                         and one that was made before has it whole: convizit verify says how each is brought back",
                        if report.damaged == 1 {
                            "a frame of".to_owned()
                        } else {
                            format!("{} frames of", report.damaged)
                        },
                        report.problems.join("; ")
                    );
                }
                if report.damaged_beside > 0 {
                    bail!(
                        "what is stored is damaged, here and in this backup: {}; no older backup is dropped while it is so: convizit backup list \
                         names them, convizit verify --backup TIME looks at one, and convizit restore --at TIME takes one that was made before",
                        report.problems_beside.join("; ")
                    );
                }
                Ok(())
            }
        }
    }
}

fn list(backups: &[BackupInfo], json: bool, none: &str) -> Result<()> {
    if json {
        return say(serde_json::to_string(backups)?);
    }
    if backups.is_empty() {
        return say(none);
    }
    let rows: Vec<Vec<String>> = backups
        .iter()
        .map(|backup| {
            let made = backup.made.to_string();
            if let Some(problem) = &backup.problem {
                return vec![
                    made,
                    "-".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    format!("cannot be read: {problem}"),
                ];
            }
            let (events, rows) = (backup.events.to_string(), backup.rows.to_string());
            vec![made, events, rows, bytes_in_words(backup.bytes), backup.program.clone()]
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
    /// Lists the backups that can be restored, also where the installation is lost.
    #[arg(long, conflicts_with_all = ["at", "yes", "dry_run", "move_aside"])]
    list: bool,
    /// In place of all: brings damaged frames back into the installation that there is, beside everything that runs, each from the newest
    /// backup that has it whole. As convizit verify names them.
    #[arg(long, value_name = "PROJECT/NUMBER", conflicts_with_all = ["at", "list", "move_aside"])]
    frame: Vec<FrameId>,
    /// Where the data folder has lost a part of its databases: moves what is left of them into a folder beside them first. Backups,
    /// keys and all else stay where they are.
    #[arg(long)]
    move_aside: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hold: Hold,
}

impl Restore {
    pub(crate) async fn run(self, config: &Config) -> Result<()> {
        if !self.frame.is_empty() {
            return with_store(config, async |store| self.bring_back(store).await).await;
        }
        refuse_root_within_another(&config.data)?;
        let keys = config.keys();
        // A token's module may take its time.
        let provider = tokio::task::spawn_blocking(move || open_provider(&keys)).await??;
        if self.list {
            let found = Plan::available(&config.store(), &*provider).await;
            let found = found.map_err(|error| name_missing_keys(&config.keys(), error))?;
            let to = config.backup().to;
            let none =
                format!("There is no backup in {to}: name the place where they lie with backup.to in convizit.toml.");
            return list(&found, self.json, &none);
        }
        let progress = Progress::default();
        let clock = Arc::new(SystemClock);
        // Until the end, also while a person thinks about the question.
        let _whole = if self.move_aside { have_alone(&config.store())? } else { None };
        let plan = if self.move_aside {
            let planning = Plan::plan_over(config.store(), provider, clock, self.at, &progress);
            watched("looking at every pack", &progress, planning).await
        } else {
            let planning = Plan::plan(config.store(), provider, clock, self.at, &progress);
            watched("looking at every pack", &progress, planning).await
        };
        let plan = plan.map_err(|error| name_missing_keys(&config.keys(), error))?;
        for problem in plan.passed_over() {
            say_error(&format!("note: a newer backup is passed over: {problem}"));
        }
        let backup = plan.backup();
        let into = match &config.database_url {
            Some(_) => format!("the PostgreSQL database and {}", config.data.display()),
            None => config.data.display().to_string(),
        };
        let first = match plan.moves_aside() {
            [] => String::new(),
            files => format!("move {} of {} into a folder there, ", files.join(", "), config.data.display()),
        };
        let left = plan.left_journal();
        let mut behind = match left.batches {
            0 => String::new(),
            batches => format!(", put {} that waited in journal.db behind it", counted(batches, "batch")),
        };
        if let Some(problem) = &left.problem {
            behind.push_str(&format!(", leave what cannot be read of journal.db in that folder ({problem})"));
        }
        let back = taken_back(plan.newer_log(), backup.made);
        let what = format!(
            "{first}restore the backup of {} ({}, {}, {}) into {into}{behind}, and erase again what was erased since{back}",
            backup.made,
            counted(backup.events, "event"),
            counted(backup.rows, "row"),
            bytes_in_words(backup.bytes)
        );
        if self.json && self.hold.is_dry() {
            return say(serde_json::json!({
                "dry_run": true,
                "backup": backup,
                "passed_over": plan.passed_over(),
                "moves_aside": plan.moves_aside(),
                "left_journal": plan.left_journal(),
                "newer_log": plan.newer_log(),
            })
            .to_string());
        }
        if !self.hold.goes_on(&what)? {
            return Ok(());
        }
        let _alone = if self.move_aside && config.data.is_dir() { alone(&config.data, Role::All)? } else { Vec::new() };
        let report = watched("restoring", &progress, plan.run(&person(), &progress)).await?;
        if self.json {
            return say(serde_json::to_string(&report)?);
        }
        tell(&report)?;
        let BackupConfig { to, keys_to, makes, .. } = config.backup();
        if makes {
            return Ok(());
        }
        // What the original writes there is not to be overwritten by what only looks.
        say(format!(
            "Backups are off here (backup.off = true), so {to} and the copy of keys and erasures in {keys_to} are left to the original. Where \
             this one is to make backups beside it, name places of its own with backup.to and backup.keys_to before it is switched on; where \
             it takes the original's place, end that for good, switch backups on, and say convizit backup --take-over."
        ))
    }

    /// Damaged frames, one by one.
    async fn bring_back(self, store: &Store) -> Result<()> {
        let progress = Progress::default();
        let (mut plans, mut frames) = (Vec::new(), self.frame);
        frames.sort();
        frames.dedup();
        if frames.len() > FRAMES {
            bail!("at most {FRAMES} frames are brought back at once: name fewer, and then the others");
        }
        for frame in frames {
            plans.push(watched("looking into backups", &progress, store.plan_frame(frame, &progress)).await?);
        }
        let planned: Vec<MendedFrame> = plans.iter().map(FramePlan::frame).collect();
        if self.json && self.hold.is_dry() {
            return say(serde_json::json!({"dry_run": true, "frames": planned}).to_string());
        }
        let said: Vec<String> = planned.iter().map(brought_back).collect();
        if !self.hold.goes_on(&format!("bring back {}", said.join("; ")))? {
            return Ok(());
        }
        let (mut mended, mut failed) = (Vec::new(), None);
        for (plan, said) in plans.into_iter().zip(&said) {
            match store.bring_frame_back(plan).await {
                Ok(frame) => mended.push(frame),
                Err(error) => {
                    let ended = format!("it ended at {said}, and nothing behind that was brought back");
                    failed = Some(anyhow::Error::new(error).context(ended));
                    break;
                }
            }
        }
        tell_mended(&mended, self.json)?;
        if let Some(error) = failed {
            return Err(error);
        }
        if self.json {
            return Ok(());
        }
        if mended.iter().any(|frame| frame.holds) {
            say("The erasure that it held open goes on within 3 minutes, where convizit serve runs.")?;
        }
        say(
            "A destination that was paused by one goes on with convizit destination resume PROJECT NAME; convizit verify looks at everything again.",
        )
    }
}

/// What was brought back, also where an error ended it.
fn tell_mended(mended: &[MendedFrame], json: bool) -> Result<()> {
    if json {
        return say(serde_json::to_string(mended)?);
    }
    for frame in mended {
        say(format!("Brought back: {}.", brought_back(frame)))?;
    }
    Ok(())
}

/// A frame that is, or is to be, brought back, in words.
fn brought_back(frame: &MendedFrame) -> String {
    let MendedFrame { project, first, last, backup, events, erased, .. } = frame;
    let from = match backup {
        Some(made) => format!("from the backup of {made}"),
        None => "out of its own content, which is whole".to_owned(),
    };
    let without = match erased {
        0 => String::new(),
        _ => format!(", without {} erased since", counted(*erased, "event")),
    };
    format!("frame {project}/{first} ({} in the numbers {first} to {last}) {from}{without}", counted(*events, "event"))
}

/// What of the control database that lies there is newer than the backup, for the question.
fn taken_back(newer: &NewerLog, made: Timestamp) -> String {
    let mut said = String::new();
    if let Some(problem) = &newer.problem {
        said = format!("; what of control.db is newer than the backup is not wholly known: {problem}");
    }
    if newer.entries > 0 {
        said.push_str(&format!(
            "; and take back what {} of the audit log say that are newer than the backup: settings, projects, destinations, accounts and members are \
             of {made} again, destinations that were removed or changed since come back paused, and convizit audit export --from <that folder> --out \
             FILE reads these entries afterwards",
            newer.in_words()
        ));
    }
    said
}

fn tell(report: &RestoreReport) -> Result<()> {
    say(format!("Restored the backup of {} in {:.1} s.", report.made, report.seconds))?;
    for (project, events) in &report.events {
        say(format!("  {project}: {}", counted(*events, "event")))?;
    }
    if report.left_out_events > 0 {
        let (events, were) =
            (counted(report.left_out_events, "event"), if report.left_out_events == 1 { "was" } else { "were" });
        say(format!(
            "Left out: {events} that {were} deleted after the backup was made, for being older than the project keeps or with its whole \
             dataset. Nothing can read them any more."
        ))?;
    }
    for (table, rows) in report.left_out.iter().filter(|(table, _)| *table != "frames" && *table != "tokens") {
        say(left_out(table, *rows))?;
    }
    if report.damaged_frames > 0 {
        say(format!(
            "Damaged when the backup was made: {}, which do not open; convizit verify names them.",
            counted(report.damaged_frames, "frame")
        ))?;
    }
    if report.erased_again > 0 {
        say(format!("Carried out again: {}.", counted(report.erased_again, "erasure")))?;
    }
    if report.journal_records > 0 {
        let of_left = match report.left_journal.records {
            0 => String::new(),
            records => format!(", {records} of them from the journal that lay there"),
        };
        say(format!("Waiting for the worker: {} of visitors{of_left}.", counted(report.journal_records, "batch")))?;
    }
    if let Some(problem) = &report.left_journal.problem {
        say(format!(
            "Not taken over from the journal that lay there, since it cannot be read: {problem}. It is kept in the folder that is named below."
        ))?;
    }
    for name in &report.lost_destinations {
        say(format!("Destination {name} is left out, since no key opens it any more: add it again."))?;
    }
    if report.accounts > 0 {
        say(format!(
            "{} with the passwords, second factors and rights of that time: whoever was removed or lost a right since has it again. Look at \
             convizit user list and at the members of each project, and reset passwords that others knew with convizit user reset.",
            counted(report.accounts, "account")
        ))?;
    }
    let newer = &report.newer_log;
    if let Some(aside) = report.aside.as_ref().filter(|_| !newer.is_none()) {
        let what = match &newer.problem {
            Some(problem) => format!("what was done since is not wholly known: {problem}"),
            None => format!("taken back was what {} of the audit log say that are newer", newer.in_words()),
        };
        say(format!(
            "Settings, projects, destinations, accounts and members are of {} again; {what}. convizit audit export --from {} --out FILE reads that \
             log, and a notice stays until it is resolved.",
            report.made,
            aside.display()
        ))?;
    }
    for destination in &report.paused_destinations {
        say(format!(
            "Destination {destination} came back and is paused, since it was removed, changed or paused after the backup was made: remove it, or let it \
             send with convizit destination resume."
        ))?;
    }
    if let Some(aside) = &report.aside {
        say(format!(
            "What lay there before is in {}. Retention and erasure do not reach it: delete it as soon as nothing is to be looked up in it.",
            aside.display()
        ))?;
    }
    say(
        "Where the original may still run, end it for good before this one is started: they are one installation, and share the key \
         file and the place of backups.",
    )
}

/// What did not come back of a table, and why, in words.
fn left_out(table: &str, rows: u64) -> String {
    const DELETED: &str = "that belonged to a dataset or a key which was deleted after the backup was made";
    let (what, why) = match table {
        "state" => (
            counted(rows, "note") + " of what was learned (controls, names, sessions)",
            format!(
                "{DELETED}, or that spoke of visitors where persons were erased since. It is learned anew from what comes"
            ),
        ),
        "quarantine" => {
            (counted(rows, "item") + " that could not be processed", DELETED.replace("that belonged", "and belonged"))
        }
        "held" => (counted(rows, "record") + " of the journal that waited for their project", DELETED.to_owned()),
        "counts" => (counted(rows, "hourly count"), DELETED.to_owned()),
        "dead_letters" => (counted(rows, "dead letter"), DELETED.to_owned()),
        // Named below, each by itself.
        "destinations" => (counted(rows, "destination"), DELETED.to_owned()),
        _ => (format!("{} of {table}", counted(rows, "row")), DELETED.to_owned()),
    };
    format!("Left out: {what} {why}.")
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
                "The backup of {} is whole: every pack is there, and every frame opens that has a key; {}{}, {}, {}.",
                backup.made,
                counted(backup.events, "event"),
                unreadable(backup.gone),
                counted(backup.rows, "row"),
                bytes_in_words(backup.bytes)
            ));
        }
        let report = watched("verify", &progress, store.verify(&progress)).await?;
        if self.json {
            say(serde_json::to_string(&report)?)?;
        } else {
            for problem in &report.problems {
                say(format!("problem  {problem}"))?;
            }
            tell_checked(&report)?;
        }
        if report.problem_count > 0 {
            bail!(
                "{} found",
                if report.problem_count == 1 {
                    "1 problem was".to_owned()
                } else {
                    format!("{} problems were", report.problem_count)
                }
            );
        }
        Ok(())
    }
}

/// What was looked at, how it stands, and what to do next.
fn tell_checked(report: &VerifyReport) -> Result<()> {
    say(format!(
        "Checked: {} with {}, {}, the journal's chain with {} that the worker has not processed, and the chain of the audit log with {}.",
        counted(report.frames, "frame"),
        counted(report.events, "event"),
        counted(report.rows, "sealed row"),
        counted(report.batches, "batch"),
        counted(report.audit_entries, "entry")
    ))?;
    if report.problem_count == 0 {
        return say("Everything opens, and both chains are whole.");
    }
    say(format!("Damaged: {} as named above; all else opens.", counted(report.problem_count, "thing")))?;
    let frames = &report.damaged_frames;
    if !frames.is_empty() {
        let all: Vec<String> = frames.iter().map(|frame| format!(" --frame {frame}")).collect();
        say(format!(
            "Next: convizit restore{} brings these frames back, each from the newest backup that has it whole.",
            all.concat()
        ))?;
    }
    if report.problem_count > frames.len() as u64 {
        say(
            "What is no frame, or has a key that does not open, comes back with a backup that was made before the damage: a backup of now holds the \
             damage, too, and drops none while it is there. convizit backup list says which there are; stop convizit serve, and convizit restore --at TIME \
             brings one of them into an empty place; docs/data-lifecycle.md says what each kind means.",
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_come_back_is_said_without_the_words_of_tables() {
        let state = left_out("state", 11);
        assert!(
            state.starts_with("Left out: 11 notes of what was learned (controls, names, sessions) that "),
            "{state}"
        );
        assert!(state.ends_with("It is learned anew from what comes."), "{state}");
        let item = left_out("quarantine", 1);
        assert!(item.starts_with("Left out: 1 item that could not be processed and belonged to a dataset"), "{item}");
        assert!(left_out("rulings", 2).starts_with("Left out: 2 rows of rulings that belonged to"));
    }
}
