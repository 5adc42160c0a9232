//! The command line: what there is, with an example each; and how an error is said.

mod ask;
mod audit;
mod backup;
mod connectors;
mod destination;
mod doctor;
mod erase;
mod export;
mod faces;
mod far;
mod incidents;
mod keys;
mod names;
mod notices;
mod privacy;
mod project;
mod resend;
mod settings;
mod token;
mod user;
mod whose;

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand};
use convizit_store::Store;

use crate::config::Config;
use crate::os_user::person;
use crate::run::{Role, make_installation, open_store, share_as_command};

/// Captures every visitor action of a website with no tagging, names it, delivers it.
#[derive(Debug, Parser)]
#[command(name = "convizit", version, after_help = "Example: convizit demo")]
pub(crate) struct Arguments {
    /// Settings file; convizit.toml here when there is one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts everything on loopback with a shop to click in, and shows the live stream.
    #[command(
        after_help = "Examples:\n  convizit demo\n  convizit demo --json | jq .name\n  convizit demo --postgres postgres://me@localhost/events"
    )]
    Demo(crate::demo::Demo),
    /// Runs the system.
    #[command(
        after_help = "Examples:\n  convizit serve --config /etc/convizit/convizit.toml\n  convizit serve --role collect\n  convizit serve --role deliver --console 127.0.0.1:8093"
    )]
    Serve {
        /// Which parts this process is.
        #[arg(long, value_enum, default_value = "all")]
        role: Role,
        /// In place of console.listen: where this process shows /healthz, /readyz and /metrics. Each process of a machine
        /// needs its own.
        #[arg(long, value_name = "ADDRESS")]
        console: Option<SocketAddr>,
        /// Goes on although acknowledged batches or entries of the audit log are missing. The start says which before.
        #[arg(long)]
        accept_gap: bool,
    },
    /// Brings the databases to this version's schema; `serve` does so too.
    #[command(after_help = "Example: convizit migrate --config convizit.toml")]
    Migrate,
    /// Says what is wrong with an installation and what to do.
    #[command(after_help = "Example: convizit doctor")]
    Doctor {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Projects: one for each site.
    #[command(subcommand, after_help = "Example: convizit project add shop --origin https://shop.example")]
    Project(project::Project),
    /// A project's settings, one field at a time.
    #[command(subcommand, after_help = "Example: convizit settings set shop retention_days 90")]
    Settings(settings::Settings),
    /// Where events go.
    #[command(
        subcommand,
        after_help = "Example: convizit destination add shop hook webhook --url https://hooks.example/convizit --processor own"
    )]
    Destination(destination::Destination),
    /// What events can be sent to, and how far each connector is proven.
    #[command(
        after_help = "Examples:\n  convizit destinations\n  convizit destinations amplitude\n  convizit destinations --check ours.toml --set site=7"
    )]
    Destinations(connectors::Connectors),
    /// What was withheld, without any of the texts.
    #[command(subcommand, after_help = "Example: convizit privacy report shop")]
    Privacy(privacy::Privacy),
    /// Takes persons, or a whole dataset, out of everything that is stored.
    #[command(
        after_help = "Examples:\n  convizit erase --project shop --visitor 5f0c1d…\n  convizit erase --project shop --user --file left.txt --yes\n  convizit erase --project shop --all --dry-run\n  convizit erase --project shop --list"
    )]
    Erase(erase::Erase),
    /// Everything that is stored of a person, as JSON lines and CSV.
    #[command(after_help = "Example: convizit export --project shop --user 4711 --out for-4711")]
    Export(export::Export),
    /// The installation's keys.
    #[command(subcommand, after_help = "Example: convizit keys list")]
    Keys(keys::Keys),
    /// Tokens of the site's own systems.
    #[command(
        subcommand,
        after_help = "Example: convizit token add privacy-desk --project shop --scope erase --out desk.token"
    )]
    Token(token::Token),
    /// People's accounts.
    #[command(subcommand, after_help = "Example: convizit user reset ada@shop.example")]
    User(user::User),
    /// Who did what, chained so that no change of it stays unseen.
    #[command(subcommand, after_help = "Example: convizit audit verify")]
    Audit(audit::Audit),
    /// Makes a backup now; `serve` makes one each day.
    #[command(after_help = "Examples:\n  convizit backup\n  convizit backup list\n  convizit backup drill")]
    Backup(backup::Backup),
    /// Brings a backup back into an empty place, or single damaged frames into what runs. What was erased since does not come back.
    #[command(
        after_help = "Examples:\n  convizit restore --dry-run\n  convizit restore --at 2026-11-28T12:00:00Z --yes\n  convizit restore --frame shop/1201\n  convizit restore --move-aside"
    )]
    Restore(backup::Restore),
    /// Opens every frame and every sealed row, and follows the chains of the journal and of the audit log; or looks at a backup.
    #[command(
        after_help = "Examples:\n  convizit verify\n  convizit verify --backup\n  convizit verify --backup 2026-11-28T12:00:00Z"
    )]
    Verify(backup::Verify),
    /// What a person must see.
    #[command(subcommand, after_help = "Example: convizit notices list")]
    Notices(notices::Notices),
    /// What may be an attack, and what was done about it.
    #[command(subcommand, after_help = "Example: convizit incidents list")]
    Incidents(incidents::Incidents),
    /// Names descriptors: JSON lines {"id","page","descriptor"} in, {"id","name","element","group","properties","name_source"} out.
    #[command(after_help = "Example: convizit name --known old.jsonl --rank < new.jsonl")]
    Name(faces::Name),
    /// Says which texts would be withheld, and why: texts, a file, or JSON lines {"id","text"} in, {"id","withheld","rules"} out.
    #[command(
        after_help = "Example: convizit scrub --explain 'Welcome back, Anna'\n         echo '{\"id\":1,\"text\":\"Add to cart\"}' | convizit scrub"
    )]
    Scrub(faces::Scrub),
}

pub(crate) fn parse() -> Arguments {
    Arguments::parse()
}

/// Says an error in one line; the exit code is 1 (clap's own for wrong usage is 2).
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let text: Vec<String> = error.chain().map(ToString::to_string).collect();
    let mut stderr = std::io::stderr();
    let head = if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        "\x1b[1;31merror:\x1b[0m"
    } else {
        "error:"
    };
    writeln!(stderr, "{head} {}", text.join(": ")).ok();
    ExitCode::FAILURE
}

/// Whoever read the output has enough: `convizit name | head` is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// A line on standard output.
pub(crate) fn say(text: impl AsRef<str>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_ref().as_bytes())?;
    stdout.write_all(b"\n")?;
    Ok(())
}

/// Text on standard error, where events have standard output.
pub(crate) fn say_error(text: &str) {
    // Nobody reads it: nothing is lost.
    writeln!(std::io::stderr(), "{text}").ok();
}

/// A new file that only its owner reads.
fn new_file(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow!("{} is there already: name another place, or move it away", path.display()),
        ErrorKind::NotFound => anyhow!("{} cannot be made: its folder does not exist", path.display()),
        _ => anyhow!("{} cannot be made: {error}", path.display()),
    })
}

/// A number with its noun, which is in the plural unless it is one.
pub(crate) fn counted(count: impl TryInto<i128>, noun: &str) -> String {
    // No count here has more digits.
    let count = count.try_into().unwrap_or(i128::MAX);
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o'])) {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) => format!("{count} {stem}ies"),
        None if noun.ends_with("ch") || noun.ends_with('s') => format!("{count} {noun}es"),
        None => format!("{count} {noun}s"),
    }
}

/// Characters of a line that is cut where it is longer: a terminal shows so many without breaking them itself.
const LINE: usize = 100;

/// A table with aligned columns.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let rows: Vec<(Vec<String>, Vec<String>)> = rows.iter().map(|row| (row.clone(), Vec::new())).collect();
    table_with_notes(head, &rows)
}

/// A table with aligned columns, and behind each row what is too long for one, in lines of their own.
pub(crate) fn table_with_notes(head: &[&str], rows: &[(Vec<String>, Vec<String>)]) -> Result<()> {
    let mut widths: Vec<usize> = head.iter().map(|text| text.chars().count()).collect();
    for (row, _) in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    say(line(head.to_vec()))?;
    for (row, notes) in rows {
        say(line(row.iter().map(String::as_str).collect()))?;
        for note in notes {
            broken(note, LINE).into_iter().try_for_each(say)?;
        }
    }
    Ok(())
}

/// A text in lines of at most so many characters, indented; broken between words alone.
fn broken(text: &str, width: usize) -> Vec<String> {
    const FIRST: &str = "  ";
    const REST: &str = "      ";
    let (mut lines, mut line) = (Vec::new(), FIRST.to_owned());
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, REST.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

/// Opens the store that there is, does the work, closes it.
async fn with_store<T>(config: &Config, work: impl AsyncFnOnce(&Store) -> Result<T>) -> Result<T> {
    let settings = config.store();
    let shared = share_as_command(&settings)?;
    within(open_store(&settings, &config.keys()).await?, shared, work).await
}

/// As `with_store`, and makes an installation where there is none.
async fn with_new_store<T>(config: &Config, work: impl AsyncFnOnce(&Store) -> Result<T>) -> Result<T> {
    let tell = |text: &str| say_error(&format!("note: {text}"));
    let settings = config.store();
    let mut shared = share_as_command(&settings)?;
    let store = make_installation(&settings, &config.keys(), tell).await?;
    if shared.is_none() {
        // It was made only now.
        shared = share_as_command(&settings)?;
    }
    within(store, shared, work).await
}

async fn within<T>(store: Store, _shared: Option<File>, work: impl AsyncFnOnce(&Store) -> Result<T>) -> Result<T> {
    let store = store.acting_as(&person());
    let result = work(&store).await;
    store.close().await;
    result
}

pub(crate) async fn execute(arguments: Arguments) -> Result<()> {
    let load = || Config::load(arguments.config.as_deref());
    match arguments.command {
        Command::Demo(demo) => demo.run().await,
        Command::Serve { role, console, accept_gap } => {
            let mut config = load()?;
            config.console.listen = console.unwrap_or(config.console.listen);
            crate::run::serve(&config, role, accept_gap).await
        }
        Command::Migrate => {
            with_new_store(&load()?, async |_| Ok(())).await?;
            say("the databases are of this version's schema")
        }
        Command::Doctor { json } => doctor::run(&load()?, json).await,
        Command::Project(command) => {
            let config = load()?;
            let public = config.public();
            match command {
                add @ project::Project::Add { .. } => {
                    with_new_store(&config, async |store| add.run(store, &public).await).await
                }
                other => with_store(&config, async |store| other.run(store, &public).await).await,
            }
        }
        Command::Settings(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Destination(command) => {
            let config = load()?;
            with_store(&config, async |store| command.run(store, &config.delivery()).await).await
        }
        Command::Destinations(command) => command.run(&load()?.delivery()),
        Command::Privacy(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Erase(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Export(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Keys(command) => {
            let config = load()?;
            with_store(&config, async |store| command.run(store, &config.keys()).await).await
        }
        Command::Token(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::User(command) => {
            let config = load()?;
            let address = config.console_address(config.console.listen);
            with_store(&config, async |store| command.run(store, &address).await).await
        }
        Command::Audit(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Backup(command) => {
            let config = load()?;
            with_store(&config, async |store| command.run(store, &config).await).await
        }
        Command::Restore(command) => command.run(&load()?).await,
        Command::Verify(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Notices(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Incidents(command) => with_store(&load()?, async |store| command.run(store).await).await,
        Command::Name(name) => name.run(),
        Command::Scrub(scrub) => scrub.run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_broken_between_words() {
        let text = "held by frame 4 of 2026-11-23, which does not open: restore it, or let retention take it";
        let lines = broken(text, 40);
        assert!(lines.iter().all(|line| line.chars().count() <= 40) && lines.len() > 2, "{lines:?}");
        let words: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
        assert_eq!(words.join(" "), text);
        assert_eq!(broken("short", 40), ["  short"]);
        assert_eq!(broken("a-word-that-is-longer-than-a-line", 10).len(), 1);
    }
}
