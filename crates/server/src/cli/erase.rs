//! `convizit erase`: takes persons, or a whole dataset, out of everything that is stored.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use convizit_console::findings::held_by;
use convizit_model::{Project, ProjectId};
use convizit_store::backup::Progress;
use convizit_store::{Erasure, Store};

use crate::cli::ask::Hold;
use crate::cli::far::Far;
use crate::cli::whose::{Ids, Unmet, Whose, ids};
use crate::cli::{counted, say, say_error, table_with_notes};

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

/// What is stored of ids.
struct Stored<'a> {
    events: usize,
    /// Frames that may hold more of theirs and do not open.
    unread: usize,
    unmet: Unmet<'a>,
}

/// Counts what is stored of ids.
async fn count<'a>(store: &Store, project: &Project, ids: &'a Ids) -> Result<Stored<'a>> {
    let mut stored = Stored { events: 0, unread: 0, unmet: ids.unmet() };
    let mut after = 0;
    let mut far = Far::of(store, project.number, "counting").await?;
    loop {
        let found = store.person_events(project, &ids.persons, after, FRAMES).await?;
        stored.events += found.events.len();
        stored.unread += found.unread.len();
        found.events.iter().for_each(|event| stored.unmet.meet(&event.json));
        match found.next {
            Some(next) => {
                after = next;
                far.is_at(after);
            }
            None => return Ok(stored),
        }
    }
}

impl Stored<'_> {
    /// `12 stored events (and perhaps more in 1 frame that does not open)`.
    fn in_words(&self) -> String {
        let more = unread_frames(self.unread as u64, (" (and perhaps more in ", ")"));
        format!("{}{more}", counted(self.events, "stored event"))
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
            let ids = ids(&self.whose, self.file.as_deref())?;
            let many = ids.persons.len();
            let known =
                if many <= COUNTED || self.hold.is_dry() { Some(count(store, &project, &ids).await?) } else { None };
            let theirs = known.as_ref().map(|known| format!(" and {}", known.in_words()));
            let what = format!("erase {}{} from project {id}", ids.counted(), theirs.unwrap_or_default());
            // What does not open may hold events of each.
            let unmet = known.as_ref().filter(|known| known.unread == 0).map(|known| &known.unmet);
            let plan = serde_json::json!({
                "dry_run": true,
                "project": id,
                "all": false,
                "persons": many,
                "events": known.as_ref().map(|known| known.events),
                "unreadable_frames": known.as_ref().map(|known| known.unread),
                "ids_without_events": unmet.map(Unmet::count),
            });
            if let Some(text) = unmet.and_then(|unmet| unmet.in_words(std::io::stderr().is_terminal()))
                && !self.json
            {
                say_error(&format!("note: {text}"));
            }
            if !self.goes_on(&what, &plan)? {
                return Ok(());
            }
            found = Some((ids.counted(), known.as_ref().map(|known| (known.events, known.unread, known.in_words()))));
            store.erase(&project, &ids.persons).await?
        };
        let Some(erasure) = store.erasure(project.number, &request).await? else {
            bail!("the erasure {request} was written and is not found: run convizit erase --project {id} --list");
        };
        if self.json {
            return say(serde_json::to_string(&erasure)?);
        }
        match &found {
            Some((ids, Some((0, 0, _)))) => say(format!(
                "{request}: nothing of {ids} was stored; what still comes of before this moment is dropped. Check the ids if you expected events."
            ))?,
            Some((ids, Some((.., stored)))) => {
                say(format!("{request}: {stored} of {ids} cannot be read, exported or delivered any more."))?;
            }
            _ => say(format!("{request}: nothing of it can be read, exported or delivered any more."))?,
        }
        let unread = match found {
            Some((_, Some((0, 0, _)))) => None,
            Some((_, Some((_, unread, _)))) => Some(unread > 0),
            // Too many to be counted.
            Some((_, None)) => Some(store.damaged_frames().await?.iter().any(|frame| frame.project == *id)),
            None => Some(false),
        };
        if let Some(unread) = unread {
            let but = if unread {
                format!(
                    ", but those that may stand in a frame that does not open: they wait until it is brought back or gone with retention, and \
                     convizit erase --project {id} --list names it"
                )
            } else {
                String::new()
            };
            say(format!(
                "Its bytes are overwritten by upkeep of `convizit serve`, within the hour{but}; backups are erased again when they are restored."
            ))?;
        }
        for folder in store.folders_aside().await? {
            say(format!(
                "{} holds what lay there before a restore, which no erasure reaches: delete it as soon as nothing is to be looked up in it.",
                folder.display()
            ))?;
        }
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
            let whose = if erasure.all { "whole dataset".to_owned() } else { counted(erasure.persons, "id") };
            let bytes = match erasure.open {
                0 => "gone".to_owned(),
                open if open < erasure.persons => format!("being overwritten, {open} left"),
                _ => "being overwritten".to_owned(),
            };
            let held = erasure.held.iter().take(HELD).map(|by| held_by(erasure, id, by));
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
