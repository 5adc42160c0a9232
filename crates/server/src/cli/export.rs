//! `convizit export`: everything that is stored of a person, as JSON lines and as CSV.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use convizit_model::spreadsheet::harmless;
use convizit_model::{Event, Person, ProjectId};
use convizit_store::Store;

use crate::cli::far::Far;
use crate::cli::whose::{Whose, ids};
use crate::cli::{counted, new_file, say_error};

/// Frames that are read at once.
const FRAMES: usize = 50;
const COLUMNS: [&str; 20] = [
    "id",
    "time",
    "received",
    "name",
    "type",
    "visitor",
    "user",
    "session",
    "page_url",
    "page_path",
    "page_title",
    "referrer",
    "element",
    "section",
    "group",
    "position",
    "country",
    "device",
    "campaign",
    "properties",
];

/// Exports what is stored of a person.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The project.
    #[arg(long)]
    project: ProjectId,
    #[command(flatten)]
    whose: Whose,
    /// Folder for events.jsonl and events.csv, made when missing; without it JSON lines go to standard output.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Export {
    pub(crate) async fn run(self, store: &Store) -> Result<()> {
        let project = store.project(&self.project).await?;
        let ids = ids(&self.whose, None)?;
        let (persons, mut unmet) = (&ids.persons, ids.unmet());
        store.audit("export.persons", self.project.as_str(), "", counted(persons.len(), "person")).await?;
        if let Some(folder) = &self.out {
            // Both or none.
            let there =
                ["events.csv", "events.jsonl"].map(|name| folder.join(name)).into_iter().find(|file| file.exists());
            if let Some(there) = there {
                bail!("{} is there already: name another folder, or move it away", there.display());
            }
        }
        let mut files = None;
        let (mut after, mut events, mut unread) = (0, 0_u64, Vec::new());
        let mut far = Far::of(store, project.number, "exporting").await?;
        loop {
            let found = store.person_events(&project, persons, after, FRAMES).await?;
            unread.extend(found.unread);
            for event in found.events {
                events += 1;
                unmet.meet(&event.json);
                match &self.out {
                    None => {
                        let mut stdout = std::io::stdout().lock();
                        stdout.write_all(&event.json)?;
                        stdout.write_all(b"\n")?;
                    }
                    Some(folder) => {
                        // Made with the first event: an empty file would look like an answer.
                        let (json, csv) = match &mut files {
                            Some(files) => files,
                            files => files.insert(new_files(folder)?),
                        };
                        json.write_all(&event.json)?;
                        json.write_all(b"\n")?;
                        csv.write_record(row(&serde_json::from_slice(&event.json)?)?)?;
                    }
                }
            }
            match found.next {
                Some(next) => {
                    after = next;
                    // Not among lines that go to the same terminal.
                    if self.out.is_some() || !std::io::stdout().is_terminal() {
                        far.is_at(after);
                    }
                }
                None => break,
            }
        }
        drop(far);
        if let Some((mut json, mut csv)) = files {
            json.flush()?;
            csv.flush()?;
        }
        let whose = whose(persons);
        if let Some(problem) = unread.first() {
            // The code says that it is not all.
            bail!(
                "exported {} and passed over {} that may hold more of {whose}: {problem}; convizit verify names what does not open",
                counted(events, "event"),
                counted(unread.len(), "frame")
            );
        }
        if events == 0 {
            // An id that was mistyped looks the same.
            bail!(
                "nothing is stored about {whose} in project {}: look whether the {} right, and whether {}",
                self.project,
                if persons.len() == 1 { "id is" } else { "ids are" },
                self.whose.flags()
            );
        }
        if let Some(text) = unmet.in_words(std::io::stderr().is_terminal()) {
            say_error(&format!("note: {text}"));
        }
        match &self.out {
            Some(folder) => {
                say_error(&format!("{} in {}: events.jsonl and events.csv", counted(events, "event"), folder.display()))
            }
            None => say_error(&counted(events, "event")),
        }
        Ok(())
    }
}

/// Files of a person's events, which only their owner reads.
fn new_files(folder: &Path) -> Result<(BufWriter<File>, csv::Writer<File>)> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut csv = csv::Writer::from_writer(new_file(&folder.join("events.csv"))?);
    csv.write_record(COLUMNS)?;
    Ok((BufWriter::new(new_file(&folder.join("events.jsonl"))?), csv))
}

/// `this visitor`, `these 3 users`, `these 2 ids`, which may be of one person.
fn whose(persons: &[Person]) -> String {
    let kind = persons.first().map_or("id", |person| person.kind());
    let kind = if persons.iter().all(|person| person.kind() == kind) { kind } else { "id" };
    if persons.len() == 1 { format!("this {kind}") } else { format!("these {} {kind}s", persons.len()) }
}

fn row(event: &Event) -> Result<Vec<String>> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let cells = vec![
        event.id.to_string(),
        event.time.to_string(),
        event.received.to_string(),
        event.name.clone(),
        event.kind.as_str().to_owned(),
        event.visitor.clone(),
        text(&event.user),
        event.session.id.clone(),
        event.page.url.clone(),
        event.page.path.clone(),
        text(&event.page.title),
        text(&event.page.referrer),
        event.element.as_ref().map(|element| element.label.clone()).unwrap_or_default(),
        event.element.as_ref().map(|element| text(&element.section)).unwrap_or_default(),
        event.group.as_ref().map(|group| group.name.clone()).unwrap_or_default(),
        event.group.as_ref().map(|group| group.position.to_string()).unwrap_or_default(),
        text(&event.location.country),
        serde_json::to_string(&event.device)?,
        serde_json::to_string(&event.campaign)?,
        serde_json::to_string(&event.properties)?,
    ];
    Ok(cells.into_iter().map(harmless).collect())
}
