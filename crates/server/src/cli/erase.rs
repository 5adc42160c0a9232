//! `convizit erase`: takes persons, or a whole dataset, out of everything that is stored.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use convizit_model::{Person, Project, ProjectId};
use convizit_store::backup::Progress;
use convizit_store::{Erasure, HeldBy, Store};

use crate::cli::ask::Hold;
use crate::cli::far::Far;
use crate::cli::{counted, say, table_with_notes};

/// For so many persons their events are counted before the question.
const COUNTED: usize = 100;
/// Frames that are read at once while counting.
const FRAMES: usize = 50;

/// Erases persons or a whole dataset.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The project.
    #[arg(long)]
    project: ProjectId,
    #[command(flatten)]
    whose: Whose,
    /// A file with one id on each line; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The whole dataset: its keys are destroyed first, so that it is unreadable at once, in backups too.
    #[arg(long, conflicts_with_all = ["visitor", "user", "ids", "file"])]
    all: bool,
    /// Lists erasures and how far each has come.
    #[arg(long, conflicts_with_all = ["visitor", "user", "ids", "file", "all", "yes", "dry_run"])]
    list: bool,
    /// For programs. `open` is how many of the persons are still to be taken out of the stored bytes: 0 when all are.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hold: Hold,
}

/// Whom a command names.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// Ids of the tracker.
    #[arg(long, value_name = "ID", num_args = 0..)]
    visitor: Option<Vec<String>>,
    /// Ids that the site gave with convizit.identify.
    #[arg(long, value_name = "ID", num_args = 0..)]
    user: Option<Vec<String>>,
    /// Further ids, of the one kind that is said.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

impl Whose {
    /// What is said of whose data it is, for a person who looks for the mistake.
    pub(crate) fn flags(&self) -> &'static str {
        match (&self.visitor, &self.user) {
            (Some(_), Some(_)) => "--visitor and --user are",
            (None, Some(_)) => "--user is",
            _ => "--visitor is",
        }
    }
}

/// The persons that a command names.
pub(crate) fn persons(whose: &Whose, file: Option<&std::path::Path>) -> Result<Vec<Person>> {
    let kind = match (&whose.visitor, &whose.user) {
        (Some(_), None) => "visitor",
        (None, Some(_)) => "user",
        (Some(_), Some(_)) if whose.ids.is_empty() && file.is_none() => "visitor",
        (Some(_), Some(_)) if file.is_some() => {
            bail!(
                "a file has ids of one kind: say either --visitor or --user with it, and name the others in a call of their own"
            )
        }
        (Some(_), Some(_)) => bail!("whose ids are {}? Say each behind --visitor or --user", whose.ids.join(", ")),
        _ => bail!("whose ids are they? Say --visitor or --user"),
    };
    let mut all: BTreeSet<Person> = BTreeSet::new();
    let text = match file {
        None => String::new(),
        Some(path) if path.as_os_str() == "-" => {
            std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
        }
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?,
    };
    // Editors on Windows begin a file with a byte order mark, which is no part of the first id.
    let lines =
        text.strip_prefix('\u{feff}').unwrap_or(&text).lines().enumerate().map(|(line, id)| (Some(line + 1), id));
    let of = |kind: &'static str, ids: &Option<Vec<String>>| {
        ids.iter().flatten().map(|id| (kind, None, id.clone())).collect::<Vec<_>>()
    };
    let named = [of("visitor", &whose.visitor), of("user", &whose.user)].concat();
    let further = whose.ids.iter().map(|id| (kind, None, id.clone()));
    let lines = lines.map(|(line, id)| (kind, line, id.to_owned()));
    for (kind, line, id) in named.into_iter().chain(further).chain(lines) {
        let id = id.trim();
        if id.is_empty() && line.is_some() {
            continue;
        }
        match (Person::new(kind, id), line) {
            (Ok(person), _) => drop(all.insert(person)),
            (Err(error), Some(line)) => bail!("line {line} of the file: {error}"),
            (Err(error), None) => bail!(error),
        }
    }
    if all.is_empty() {
        bail!("no id was given: convizit erase --project shop --{kind} ID, or --file FILE");
    }
    Ok(all.into_iter().collect())
}

/// How many events these persons have, and how many frames that may hold more of theirs do not open.
async fn count(store: &Store, project: &Project, persons: &[Person]) -> Result<(usize, usize)> {
    let (mut after, mut events, mut unread) = (0, 0, 0);
    let mut far = Far::of(store, project.number, "counting").await?;
    loop {
        let found = store.person_events(project, persons, after, FRAMES).await?;
        events += found.events.len();
        unread += found.unread.len();
        match found.next {
            Some(next) => {
                after = next;
                far.is_at(after);
            }
            None => return Ok((events, unread)),
        }
    }
}

/// So many frames that do not open, between two texts; nothing where there are none.
fn unread_frames(many: u64, (before, behind): (&str, &str)) -> String {
    match many {
        0 => String::new(),
        1 => format!("{before}1 frame that does not open{behind}"),
        many => format!("{before}{many} frames that do not open{behind}"),
    }
}

impl Erase {
    /// As `Hold::goes_on`; for a program that only looks, the plan as JSON.
    fn goes_on(&self, what: &str, plan: &serde_json::Value) -> Result<bool> {
        if self.json && self.hold.is_dry() {
            say(plan.to_string())?;
            return Ok(false);
        }
        self.hold.goes_on(what)
    }

    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        let project = store.project(&self.project).await?;
        if self.list {
            return list(&store.erasures(project.number).await?, &self.project, self.json);
        }
        let id = &self.project;
        let mut found = None;
        let request = if self.all {
            if !self.hold.is_said() {
                let stored = store.stored_events(project.number, None, &Progress::default()).await?;
                let what = format!(
                    "destroy the keys of project {id} and delete its dataset ({}{}), in backups too; its settings stay",
                    counted(stored.events, "event"),
                    unread_frames(stored.unreadable, (", and ", ""))
                );
                let plan = serde_json::json!({"dry_run": true, "project": id, "all": true, "events": stored.events, "unreadable_frames": stored.unreadable});
                if !self.goes_on(&what, &plan)? {
                    return Ok(());
                }
            }
            store.erase_all(&project).await?
        } else {
            let persons = persons(&self.whose, self.file.as_deref())?;
            let many = persons.len();
            let known = if many <= COUNTED || self.hold.is_dry() {
                Some(count(store, &project, &persons).await?)
            } else {
                None
            };
            let (events, unread) = known.unzip();
            let theirs = known.map(|(events, unread)| {
                let more = unread_frames(unread as u64, (" (and perhaps more in ", ")"));
                format!(" and {}{more}", counted(events, "stored event"))
            });
            let what = format!("erase {}{} from project {id}", counted(many, "person"), theirs.unwrap_or_default());
            let plan = serde_json::json!({"dry_run": true, "project": id, "all": false, "persons": many, "events": events, "unreadable_frames": unread});
            if !self.goes_on(&what, &plan)? {
                return Ok(());
            }
            // Where some may stand in what does not open, nobody knows how many it were.
            found = Some((many, events.filter(|_| unread == Some(0))));
            store.erase(&project, &persons).await?
        };
        let Some(erasure) = store.erasure(project.number, &request).await? else {
            bail!("the erasure {request} was written and is not found: run convizit erase --project {id} --list");
        };
        if self.json {
            return say(serde_json::to_string(&erasure)?);
        }
        match found {
            Some((persons, Some(0))) => say(format!(
                "{request}: nothing of {} was stored; what still comes of before this moment is dropped. Check the ids if you expected events.",
                counted(persons, "person")
            ))?,
            Some((persons, Some(events))) => say(format!(
                "{request}: {} of {} cannot be read, exported or delivered any more.",
                counted(events, "event"),
                counted(persons, "person")
            ))?,
            _ => say(format!("{request}: nothing of it can be read, exported or delivered any more."))?,
        }
        say(
            "Its bytes are overwritten by upkeep of `convizit serve`, within the hour; backups are erased again when they are restored.",
        )?;
        if erasure.destinations.is_empty() {
            return say("There is no destination to tell.");
        }
        let names: Vec<&str> = erasure.destinations.iter().map(|told| told.destination.as_str()).collect();
        say(format!(
            "Destinations to be told: {}. How far they are: convizit erase --project {id} --list",
            names.join(", ")
        ))
    }
}

fn list(erasures: &[Erasure], id: &ProjectId, json: bool) -> Result<()> {
    if json {
        return say(serde_json::to_string(erasures)?);
    }
    if erasures.is_empty() {
        return say(format!("Nothing of {id} was erased."));
    }
    let rows: Vec<(Vec<String>, Vec<String>)> = erasures
        .iter()
        .map(|erasure| {
            let whose = if erasure.all { "whole dataset".to_owned() } else { counted(erasure.persons, "person") };
            let bytes = match erasure.open {
                0 => "gone".to_owned(),
                open if open < erasure.persons => format!("being overwritten, {open} left"),
                _ => "being overwritten".to_owned(),
            };
            let held = erasure.held.iter().take(HELD).map(|by| held_by(erasure, by));
            let more = erasure.held.len().saturating_sub(HELD);
            let more =
                (more > 0).then(|| format!("and by {} more: convizit doctor names them", counted(more, "frame")));
            let told = erasure.destinations.iter().map(|told| match told.reason.as_str() {
                "" => format!("destination {}: {}", told.destination, told.state),
                reason => format!("destination {}: {}, {reason}", told.destination, told.state),
            });
            let row = vec![erasure.request.clone(), erasure.made.to_string(), whose, bytes];
            (row, held.chain(more).chain(told).collect())
        })
        .collect();
    table_with_notes(&["erasure", "made", "of", "bytes"], &rows)
}

/// Frames that hold an erasure open and are named one by one.
const HELD: usize = 5;

/// By which frame an erasure is held open, and what to do.
pub(crate) fn held_by(erasure: &Erasure, HeldBy { frame, day, goes, .. }: &HeldBy) -> String {
    let whom = if erasure.open == 1 { "1 person is" } else { "some are" };
    format!(
        "{whom} held by frame {frame} of {day}, which does not open: bring it back \
         (convizit restore --frame PROJECT/{frame}), or let retention take it on {goes}"
    )
}
