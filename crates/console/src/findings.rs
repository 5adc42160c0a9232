//! What is wrong with an installation, as far as its store tells: one list for the page System and for `convizit doctor`, so that neither
//! says that all is well where the other names a problem. `doctor` asks more beside it: ports, files, and whatever answers over a network.

use std::pin::Pin;

use convizit_model::limits::BATCH_BYTES;
use convizit_model::{Destination, Project, ProjectId, Timestamp};
use convizit_store::backup::BackupState;
use convizit_store::{
    DamagedFrame, DamagedRow, DestinationState, Erasure, HeldBy, Standing, StoppedProject, Store, StoreError,
};

use crate::snippet::unreachable_snippet;

/// From so many items on, what became of them says something about a site.
const ENOUGH: u64 = 20;
/// An erasure that is older is to be carried out.
const ERASED_MILLIS: i64 = 3_600_000;
/// A backup that is older is missing today's.
const BACKUP_MILLIS: i64 = 26 * 3_600_000;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// The project that it is of, where it is of one.
    pub project: Option<ProjectId>,
    /// One sentence: what is wrong, and what to do.
    pub problem: Option<String>,
    /// What is worth a thought, and no reason to fail.
    pub warning: Option<String>,
    /// The console's page where it is seen to, where there is one.
    pub page: Option<String>,
}

impl Finding {
    /// Of the whole installation.
    #[must_use]
    pub fn new(what: &'static str, result: Result<(), String>) -> Self {
        Self { what, project: None, problem: result.err(), warning: None, page: None }
    }

    /// Of a project.
    #[must_use]
    pub fn of(project: &ProjectId, what: &'static str, result: Result<(), String>) -> Self {
        Self { project: Some(project.clone()), ..Self::new(what, result) }
    }

    /// Worth a thought, where there is something to say.
    #[must_use]
    pub fn warn(what: &'static str, warning: Option<String>) -> Self {
        Self { warning, ..Self::new(what, Ok(())) }
    }

    fn at(self, page: String) -> Self {
        Self { page: Some(page), ..self }
    }
}

/// Why nothing can be taken now; `None` when all is well.
#[must_use]
pub fn failing(store: &Store) -> Option<String> {
    store.health().failing.or_else(|| store.journal_has_room(BATCH_BYTES).err().map(|error| error.to_string()))
}

/// Whether anything can be taken, and what arrives in each project; `public` is the collector's address as browsers have it.
///
/// # Errors
/// `Database`.
pub async fn of_collection(store: &Store, projects: &[Project], public: &str) -> Result<Vec<Finding>, StoreError> {
    let mut found = vec![Finding::new("store", failing(store).map_or(Ok(()), Err))];
    found.push(match store.scarce_disk().await {
        Ok(scarce) => Finding::warn("disk", scarce),
        Err(error) => Finding::new("disk", Err(error.to_string())),
    });
    let none = || Err("none yet: convizit project add shop --origin https://shop.example".to_owned());
    found.push(
        Finding::new("projects", if projects.is_empty() { none() } else { Ok(()) }).at("/projects/new".to_owned()),
    );
    for project in projects {
        let id = &project.id;
        if project.settings.origins.is_empty() {
            let what = format!(
                "project {id} takes events from nowhere: convizit settings set {id} origins '[\"https://shop.example\"]'"
            );
            found.push(Finding::of(id, "origins", Err(what)).at(format!("/p/{id}/settings")));
        }
        let why = unreachable_snippet(public, &project.settings.origins);
        let snippet = why.map_or(Ok(()), |why| Err(format!("project {id}: {why}")));
        found.push(Finding::of(id, "snippet", snippet).at(format!("/p/{id}/start")));
        let arriving = arriving(project, &store.outcomes(project.number).await?);
        found.push(Finding::of(id, "events", arriving).at(format!("/p/{id}")));
    }
    Ok(found)
}

/// Whether most of what a site sent became events; repeats are sent again by design and say nothing.
fn arriving(project: &Project, outcomes: &[(String, u64)]) -> Result<(), String> {
    let total: u64 = outcomes.iter().filter(|(name, _)| name != "repeated").map(|(_, items)| items).sum();
    let lost = outcomes.iter().filter(|(name, _)| name != "accepted" && name != "repeated").max_by_key(|(_, n)| *n);
    let Some((name, items)) = lost.filter(|(_, items)| total >= ENOUGH && items * 2 > total) else { return Ok(()) };
    let id = &project.id;
    let what = match name.as_str() {
        "filtered.bot" => format!(
            "a browser driven by a program counts as one; convizit settings set {id} filter_bots false takes them"
        ),
        "filtered.consent" => format!("no consent was given; convizit settings get {id} consent_required"),
        "filtered.type" => format!("their types are off: convizit settings get {id} events"),
        "filtered.excluded" => format!("their pages or addresses are excluded: convizit settings get {id}"),
        "refused.origin" => format!("they came from other origins than these: convizit settings get {id} origins"),
        "refused.overloaded" => "the server could not take them; the collector's log and /healthz say why".to_owned(),
        "refused.internal" => "processing failed: convizit notices list".to_owned(),
        _ => "the console says what each outcome means".to_owned(),
    };
    Err(format!("{items} of {total} items of project {id} since its beginning ended as {name}: {what}"))
}

/// How a destination stands, by what delivery has written down; nothing where nobody need know.
#[must_use]
pub fn of_destination(state: &DestinationState, project: &Project, last: i64) -> Vec<Finding> {
    let Destination { project: id, name, .. } = &state.destination;
    let page = || format!("/p/{id}/destinations/{name}");
    let mut found = Vec::new();
    if let Some(concern) = state.destination.concern(&project.settings) {
        let text = format!("{name} of {id} {}: convizit destination processor {id} {name} --help", concern.what);
        let warning = Finding { project: Some(id.clone()), ..Finding::warn("processor", Some(text)) };
        found.push(warning.at(page()));
    }
    let behind = last - state.cursor;
    let of = |result| Finding::of(id, "destination", result).at(page());
    let warn = |text| Finding { warning: Some(text), ..of(Ok(())) };
    // What a person chose is no fault.
    if state.destination.rest().is_some() {
        return found;
    }
    if let Some(reason) = &state.destination.paused {
        let text =
            format!("{name} of {id} is paused ({reason}): mend it, then convizit destination resume {id} {name}");
        found.push(of(Err(text)));
        return found;
    }
    match (state.standing(last), state.trouble()) {
        (Standing::Failing, Some(why)) if behind > 0 => {
            found.push(of(Err(format!("{name} of {id}: {why} ({})", waiting(behind)))));
        }
        (Standing::Waiting, Some(why)) => found.push(warn(format!("{name} of {id} is {why}"))),
        (Standing::Behind, _) => found.push(warn(format!("{name} of {id} is behind: {}", waiting(behind)))),
        _ => {}
    }
    found
}

/// How many events wait for a destination, in words.
#[must_use]
pub fn waiting(behind: i64) -> String {
    if behind == 1 { "1 event waits for it".to_owned() } else { format!("{behind} events wait for it") }
}

/// Whether the last backup is of today and the last drill could restore one.
///
/// # Errors
/// One sentence: what is wrong.
pub fn backed_up(state: &BackupState, now: Timestamp) -> Result<(), String> {
    if let Some(problem) = &state.drill_problem {
        return Err(format!("the last drill could not restore a backup: {problem}"));
    }
    match state.made {
        Some(made) if now.since(made) > BACKUP_MILLIS => {
            Err(format!("the last one is of {made}: convizit notices list says why there is none since"))
        }
        _ => Ok(()),
    }
}

/// What does not open of what is stored, as far as it was met, and what is not erased in time.
///
/// # Errors
/// `Database`.
pub async fn of_stored(store: &Store, projects: &[Project]) -> Result<Vec<Finding>, StoreError> {
    let mut found = Vec::new();
    for project in projects {
        let late = late_erasures(project, &store.erasures(project.number).await?, store.clock().now());
        if late.is_err() {
            let page = format!("/p/{}/privacy/erasures", project.id);
            found.push(Finding::of(&project.id, "erasures", late).at(page));
        }
    }
    for StoppedProject { project, why, records } in store.stopped_projects().await? {
        let waits = match records {
            0 => "nothing has come since".to_owned(),
            1 => "1 record of the journal waits for it".to_owned(),
            _ => format!("{records} records of the journal wait for it"),
        };
        let problem = match why {
            Some(why) => format!(
                "project {project} stands still, and no other does: {why}; {waits}. convizit restore brings the last backup back \
                 (docs/data-lifecycle.md, \"A project that stands still\")"
            ),
            None => format!("project {project} goes on within seconds where convizit serve runs (role work): {waits}"),
        };
        found.push(Finding::of(&project, "project", Err(problem)));
    }
    for DamagedFrame { project, first, last, day, goes, .. } in store.damaged_frames().await? {
        let problem = format!(
            "frame {first} of project {project} (events {first} to {last} of {day}) does not open: convizit restore --frame {project}/{first} brings it \
             back from a backup; retention takes it on {goes}"
        );
        found.push(Finding::of(&project, "frame", Err(problem)));
    }
    for DamagedRow { project, of, row, since, goes } in store.damaged_rows().await? {
        let warning = format!(
            "state row {row} of project {project}, of its {of}, did not open on {since}: it was set aside and is learned anew \
             (docs/data-lifecycle.md, \"A row of what was learned\"); it is kept until {goes}"
        );
        found.push(Finding::warn("row", Some(warning)));
    }
    for folder in store.folders_aside().await? {
        let warning = format!(
            "{} holds what lay there before a restore, which neither retention nor an erasure reaches: delete it as soon as nothing is to be \
             looked up in it",
            folder.display()
        );
        found.push(Finding::warn("set aside", Some(warning)));
    }
    Ok(found)
}

/// Whether every erasure that is older than an hour is carried out.
fn late_erasures(project: &Project, erasures: &[Erasure], now: Timestamp) -> Result<(), String> {
    let late: Vec<&Erasure> =
        erasures.iter().filter(|erasure| erasure.open > 0 && now.since(erasure.made) > ERASED_MILLIS).collect();
    let Some(oldest) = late.last() else { return Ok(()) };
    let id = &project.id;
    let why = match oldest.held.first() {
        Some(by) => held_by(oldest, id, by),
        None => "upkeep of convizit serve (role work) carries it out, and its log says what is in the way".to_owned(),
    };
    let many = if late.len() == 1 { "1 erasure is".to_owned() } else { format!("{} erasures are", late.len()) };
    Err(format!(
        "{many} not carried out within the hour in project {id}, the oldest {} of {}: {why}; convizit erase --project {id} --list",
        oldest.request, oldest.made
    ))
}

/// By which frame an erasure is held open, and what to do.
#[must_use]
pub fn held_by(erasure: &Erasure, id: &ProjectId, HeldBy { frame, day, goes, .. }: &HeldBy) -> String {
    let whom = if erasure.open == 1 { "1 id is" } else { "some are" };
    format!(
        "{whom} held by frame {id}/{frame} of {day}, which does not open: bring it back \
         (convizit restore --frame {id}/{frame}), or let retention take it on {goes}"
    )
}

/// Whether notices are open.
///
/// # Errors
/// `Database`.
pub async fn of_notices(store: &Store) -> Result<Finding, StoreError> {
    let open = store.notices(false).await?.len();
    let result = if open == 0 { Ok(()) } else { Err(format!("{open} open: convizit notices list")) };
    Ok(Finding::new("notices", result).at("/notices".to_owned()))
}

/// All of it, for a page: nothing here asks a network, and the chain of the audit log, which may be long, is not read through.
pub(crate) fn all<'a>(
    store: &'a Store,
    public: &'a str,
) -> Pin<Box<dyn Future<Output = Result<Vec<Finding>, StoreError>> + Send + 'a>> {
    // Boxed: the page's handler would have the compiler look through all of it once more.
    Box::pin(all_of(store, public))
}

async fn all_of(store: &Store, public: &str) -> Result<Vec<Finding>, StoreError> {
    let projects = store.projects().await?;
    let mut found = of_collection(store, &projects, public).await?;
    let newest = store.all_last_events().await?;
    for state in store.destinations(None).await? {
        if let Some(project) = projects.iter().find(|project| project.id == state.destination.project) {
            found.extend(of_destination(&state, project, newest.get(&project.number).copied().unwrap_or(0)));
        }
    }
    if !store.are_backups_off() {
        found.push(Finding::new("backups", backed_up(&store.backup_state(), store.clock().now())));
    }
    found.extend(of_stored(store, &projects).await?);
    found.push(of_notices(store).await?);
    Ok(found)
}
