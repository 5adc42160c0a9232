//! Incidents: what may be an attack, who sees to it, by when, and what they found; of a project for its Owner, all for Master Admins.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use convizit_model::{Incident, IncidentState, Project, Role};
use convizit_store::{IncidentChange, StoreError};

use super::decisions::who;
use crate::access::{Asking, Member, Person};
use crate::acts::{self, Undone};
use crate::page::{Chrome, Problem, Refusal, again, html, minute, see};

#[derive(Template)]
#[template(path = "incidents.html")]
struct IncidentsPage {
    chrome: Chrome,
    base: String,
    project: Option<String>,
    all: bool,
    incidents: Vec<Line>,
}

/// An incident in words.
struct Line {
    id: i64,
    title: &'static str,
    text: String,
    project: String,
    about: String,
    badge: (&'static str, &'static str),
    opened: String,
    last: String,
    due: String,
    overdue: &'static str,
    owner: String,
}

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage<'a> {
    chrome: Chrome,
    base: String,
    one: Line,
    version: i64,
    is_open: bool,
    is_over: bool,
    owner: i64,
    owners: Vec<(i64, String)>,
    history: Vec<(String, String, &'static str, String)>,
    text: &'a str,
    meanwhile: bool,
    problem: Problem,
}

fn base(project: Option<&Project>) -> String {
    project.map_or_else(|| "/incidents".to_owned(), |project| format!("/p/{}/incidents", project.id))
}

async fn line(asking: &Asking, incident: &Incident) -> Line {
    let owner = match incident.owner {
        Some(account) => who(&asking.store, &format!("account:{account}")).await,
        None => String::new(),
    };
    Line {
        id: incident.id,
        title: incident.kind.title(),
        text: incident.text.clone(),
        project: incident.project.as_ref().map(ToString::to_string).unwrap_or_default(),
        about: who(&asking.store, &incident.subject).await,
        badge: match incident.state {
            IncidentState::Open => ("bad", "open"),
            IncidentState::Triaged => ("warn", "seen to"),
            IncidentState::Resolved => ("good", "resolved"),
        },
        opened: minute(incident.opened),
        last: minute(incident.last),
        due: match (incident.resolved, incident.triaged) {
            (Some(resolved), _) => format!("resolved {}", minute(resolved)),
            (None, Some(_)) => format!("to be resolved by {}", minute(incident.resolve_by)),
            (None, None) => format!("to be looked at by {}", minute(incident.acknowledge_by)),
        },
        overdue: incident.overdue(asking.now()).unwrap_or_default(),
        owner,
    }
}

async fn list_of(asking: &Asking, project: Option<&Project>) -> Result<Response, Refusal> {
    let all = asking.query.get("state") == "all";
    let mut incidents = Vec::new();
    for incident in asking.store.incidents(project.map(|project| &project.id), all).await? {
        incidents.push(line(asking, &incident).await);
    }
    Ok(html(&IncidentsPage {
        chrome: asking.chrome("Incidents", if project.is_some() { "incidents" } else { "all-incidents" }),
        base: base(project),
        project: project.map(|project| project.id.to_string()),
        all,
        incidents,
    }))
}

pub(super) async fn list(member: Member) -> Result<Response, Refusal> {
    list_of(&member.asking, Some(&member.project)).await
}

pub(super) async fn list_all(person: Person) -> Result<Response, Refusal> {
    list_of(&person.asking, None).await
}

/// A step of the history in words.
fn did(act: &str) -> &'static str {
    match act {
        "open" => "opened it",
        "triage" => "looked at it",
        "own" => "gave it to",
        "note" => "wrote",
        "resolve" => "resolved it",
        _ => "did something that this version does not know",
    }
}

async fn page<'a>(
    asking: &'a Asking,
    project: Option<&Project>,
    incident: &Incident,
    problem: Problem,
) -> Result<IncidentPage<'a>, Refusal> {
    let store = &asking.store;
    let mut owners: Vec<(i64, String)> = match &incident.project {
        Some(id) => match store.project(id).await {
            Ok(project) => {
                let members = store.members(project.number).await?.into_iter();
                members
                    .filter(|one| one.role >= Role::Admin)
                    .map(|one| (one.account.number, one.account.name))
                    .collect()
            }
            // Its incidents outlive a project.
            Err(StoreError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        },
        None => Vec::new(),
    };
    let masters = store.accounts().await?.into_iter().filter(|account| account.master);
    owners.extend(masters.map(|account| (account.number, account.name)));
    owners.sort();
    owners.dedup();
    let mut history = Vec::new();
    for note in store.incident_notes(incident.id).await? {
        let text = if note.act == "own" { who(store, &note.text).await } else { note.text };
        history.push((minute(note.time), who(store, &note.actor).await, did(&note.act), text));
    }
    Ok(IncidentPage {
        chrome: asking.chrome(incident.kind.title(), if project.is_some() { "incidents" } else { "all-incidents" }),
        base: base(project),
        one: line(asking, incident).await,
        version: incident.version,
        is_open: incident.state == IncidentState::Open,
        is_over: incident.state == IncidentState::Resolved,
        owner: incident.owner.unwrap_or(0),
        owners,
        history,
        text: asking.fields.get("text"),
        meanwhile: false,
        problem,
    })
}

async fn show_of(asking: &Asking, project: Option<&Project>, number: i64) -> Result<Response, Refusal> {
    let incident = asking.store.incident(project.map(|project| &project.id), number).await?;
    Ok(html(&page(asking, project, &incident, Problem::default()).await?))
}

pub(super) async fn show(member: Member, Path((_, number)): Path<(String, i64)>) -> Result<Response, Refusal> {
    show_of(&member.asking, Some(&member.project), number).await
}

pub(super) async fn show_any(person: Person, Path(number): Path<i64>) -> Result<Response, Refusal> {
    show_of(&person.asking, None, number).await
}

async fn change_of(asking: &Asking, account: i64, project: Option<&Project>, number: i64) -> Result<Response, Refusal> {
    let (store, fields) = (&asking.store, &asking.fields);
    let incident = store.incident(project.map(|project| &project.id), number).await?;
    let text = fields.get("text").to_owned();
    let owner: Option<i64> = fields.get("owner").parse().ok().filter(|number| *number > 0);
    let (change, done) = match fields.get("act") {
        "triage" => (IncidentChange::Triage { owner: Some(owner.unwrap_or(account)), text }, "triaged"),
        "own" => (IncidentChange::Own(owner.unwrap_or(account)), "owned"),
        "note" => (IncidentChange::Note(text), "noted"),
        "resolve" => (IncidentChange::Resolve(text), "resolved"),
        _ => return Err(Refusal::Invalid("an incident is looked at, given to somebody, noted or resolved".to_owned())),
    };
    let given = matches!(change, IncidentChange::Triage { .. } | IncidentChange::Own(_));
    let version = fields.get("version").parse().unwrap_or(0);
    match acts::incidents::change(store, &incident, (version, owner.filter(|_| given)), change).await {
        Ok(()) => Ok(see(&format!("{}/{number}", base(project)), done)),
        Err(Undone::Meanwhile) => {
            let incident = store.incident(project.map(|project| &project.id), number).await?;
            let page = page(asking, project, &incident, Problem::default()).await?;
            Ok(again(&IncidentPage { meanwhile: true, ..page }))
        }
        Err(Undone::Wrong(problem)) => Ok(again(&page(asking, project, &incident, problem).await?)),
        Err(Undone::Refused(refusal)) => Err(refusal),
    }
}

pub(super) async fn change(member: Member, Path((_, number)): Path<(String, i64)>) -> Result<Response, Refusal> {
    change_of(&member.asking, member.account.number, Some(&member.project), number).await
}

pub(super) async fn change_any(person: Person, Path(number): Path<i64>) -> Result<Response, Refusal> {
    change_of(&person.asking, person.account.number, None, number).await
}
