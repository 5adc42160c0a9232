//! The list of projects, and a new one.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use convizit_model::{Action, ProjectId, ProjectSettings, Role};
use convizit_store::StoreError;

use super::welcome::role_name;
use crate::Face;
use crate::access::{Guest, Person};
use crate::page::{Chrome, Problem, Refusal, again, count, html};

#[derive(Template)]
#[template(path = "projects.html")]
struct ProjectsPage {
    chrome: Chrome,
    projects: Vec<Line>,
    may_create: bool,
    /// Whether the person could make one on the operator's address.
    elsewhere: bool,
    email: String,
}

/// A project in the list.
struct Line {
    id: ProjectId,
    events: String,
    origins: String,
    role: &'static str,
    waits: bool,
}

#[derive(Template)]
#[template(path = "project_new.html")]
struct NewPage<'a> {
    chrome: Chrome,
    id: &'a str,
    origins: &'a str,
    problem: Problem,
}

pub(super) async fn home(guest: Guest) -> Response {
    Redirect::to(if guest.account().is_some() { "/projects" } else { "/sign-in" }).into_response()
}

pub(super) async fn list(person: Person) -> Result<Response, Refusal> {
    let (store, account) = (&person.asking.store, &person.account);
    let roles = store.roles(account.number).await?;
    let newest = store.all_last_events().await?;
    let mut projects = Vec::new();
    for project in store.projects().await? {
        let own = roles.iter().find(|(number, _)| *number == project.number).map(|(_, role)| *role);
        let Some(role) = own.or(account.master.then_some(Role::MasterAdmin)) else { continue };
        let events = newest.get(&project.number).copied().unwrap_or(0);
        projects.push(Line {
            events: count(events),
            origins: project.settings.origins.join(", "),
            role: role_name(role),
            waits: events == 0,
            id: project.id,
        });
    }
    let (may_create, here) =
        (account.master && Action::CreateProject.allows(Role::MasterAdmin), person.asking.face != Face::Public);
    Ok(html(&ProjectsPage {
        chrome: person.asking.chrome("Projects", "projects"),
        projects,
        may_create: may_create && here,
        elsewhere: may_create && !here,
        email: account.email.clone(),
    }))
}

pub(super) async fn show_new(person: Person) -> Response {
    let chrome = person.asking.chrome("New project", "projects");
    html(&NewPage { chrome, id: "", origins: "", problem: Problem::default() })
}

/// The addresses of a text field, one a line; what a person pastes from a browser may have a path of `/`.
pub(super) fn lines(text: &str) -> Vec<String> {
    let lines = text.split(['\n', ',']).map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

pub(super) async fn create(person: Person) -> Result<Response, Refusal> {
    let asking = &person.asking;
    let (id, origins) = (asking.fields.get("id").trim(), asking.fields.get("origins"));
    let fails = |problem| {
        let chrome = asking.chrome("New project", "projects");
        Ok(again(&NewPage { chrome, id, origins, problem }))
    };
    let parsed: ProjectId = match id.parse() {
        Ok(parsed) => parsed,
        Err(_) => return fails(Problem::new("id", "1 to 64 of a-z, 0-9 and -, a letter or digit first")),
    };
    let list: Vec<String> = lines(origins).iter().map(|origin| origin.trim_end_matches('/').to_lowercase()).collect();
    if list.is_empty() {
        return fails(Problem::new("origins", "at least one address, such as https://shop.example"));
    }
    let settings = ProjectSettings { origins: list, ..ProjectSettings::default() };
    match asking.store.create_project_of(person.account.number, &parsed, settings).await {
        Ok(project) => Ok(Redirect::to(&format!("/p/{}/start", project.id)).into_response()),
        Err(StoreError::Invalid(text)) => {
            let field = if text.contains("origin") { "origins" } else { "id" };
            fails(Problem::new(field, text))
        }
        Err(error) => Err(error.into()),
    }
}
