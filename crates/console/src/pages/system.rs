//! The installation, for Master Admins: health, notices, projects, accounts, backups.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_store::{Store, StoreError};

use crate::Console;
use crate::access::Person;
use crate::findings::{self, Finding};
use crate::letter::{Handed, Letter};
use crate::page::{Chrome, Problem, Refusal, again, count, html, minute, see};

#[derive(Template)]
#[template(path = "system.html")]
struct SystemPage<'a> {
    chrome: Chrome,
    /// What is wrong, and what is worth a thought.
    problems: Vec<Concern>,
    warnings: Vec<Concern>,
    waiting: u64,
    journal: String,
    backup: Option<String>,
    /// No backups are made, by the installation's settings.
    off: bool,
    drilled: Option<String>,
    drill_problem: Option<String>,
    notices: Vec<(String, String, i64, String)>,
    projects: Vec<(String, String, String, String)>,
    accounts: Vec<Line>,
    invitations: Vec<(String, String)>,
    /// Whether one Master Admin may be removed: there is another one.
    may_remove: bool,
    email: &'a str,
    handed: Option<Handed>,
    /// Whether an earlier invitation of the same address has ended with this one.
    replaced: bool,
    problem: Problem,
}

/// What somebody should look at, and the page where it is seen to.
struct Concern {
    text: String,
    page: Option<String>,
}

/// What is to be looked at: problems, and what is worth a thought. The notices have a card of their own.
async fn concerns(store: &Store, public: &str) -> Result<(Vec<Concern>, Vec<Concern>), Refusal> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for Finding { what, problem, warning, page, .. } in findings::all(store, public).await? {
        if let Some(text) = problem {
            problems.push(Concern { text: worded(what, &text), page });
        } else if let Some(text) = warning {
            warnings.push(Concern { text: worded(what, &text), page });
        }
    }
    Ok((problems, warnings))
}

/// As `convizit doctor` says it, with what it is about.
fn worded(what: &str, text: &str) -> String {
    let mut letters = what.chars();
    let head: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{head}{}: {text}", letters.as_str())
}

/// An account in the list.
struct Line {
    number: i64,
    name: String,
    email: String,
    master: bool,
    second_factor: bool,
    made: String,
}

pub(super) async fn show(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    Ok(html(&page(&console, &person, None, Problem::default()).await?))
}

async fn page<'a>(
    console: &Console,
    person: &'a Person,
    handed: Option<Handed>,
    problem: Problem,
) -> Result<SystemPage<'a>, Refusal> {
    let store = &person.asking.store;
    let health = store.health();
    let newest = store.all_last_events().await?;
    let projects = store.projects().await?.into_iter().map(|project| {
        let events = count(newest.get(&project.number).copied().unwrap_or(0));
        (project.id.to_string(), events, project.settings.origins.join(", "), minute(project.created))
    });
    let accounts = store.accounts().await?;
    let may_remove = accounts.iter().filter(|account| account.master && !account.excused).count() > 1;
    let accounts = accounts.into_iter().map(|account| Line {
        number: account.number,
        second_factor: account.second_factor || account.excused,
        name: account.name,
        email: account.email,
        master: account.master,
        made: minute(account.made),
    });
    let invitations = store.master_invitations().await?.into_iter();
    let notices = store.notices(false).await?.into_iter().take(50).map(|notice| {
        let project = notice.project.map(|id| id.to_string()).unwrap_or_default();
        (notice.text, project, notice.count, minute(notice.last))
    });
    let (problems, warnings) = concerns(store, &console.config().collector).await?;
    let backup = store.backup_state();
    let megabytes = health.journal_bytes.div_ceil(1 << 20);
    Ok(SystemPage {
        chrome: person.asking.chrome("System", "system"),
        problems,
        warnings,
        waiting: health.journal_offset.saturating_sub(store.worker_offset().await?),
        journal: format!("{} MiB", count(i64::try_from(megabytes).unwrap_or(i64::MAX))),
        backup: backup.made.map(minute),
        off: store.are_backups_off(),
        drilled: backup.drilled.map(minute),
        drill_problem: backup.drill_problem,
        notices: notices.collect(),
        projects: projects.collect(),
        accounts: accounts.collect(),
        invitations: invitations.map(|one| (one.email.unwrap_or_default(), minute(one.expires))).collect(),
        may_remove,
        email: if handed.is_some() { "" } else { person.asking.fields.get("email") },
        handed,
        replaced: false,
        problem,
    })
}

pub(super) async fn invite_master(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    let asking = &person.asking;
    let email = asking.fields.get("email");
    let replaced = asking.store.master_invitations().await?.iter().any(|one| one.is_for(email));
    match asking.store.invite_master(email).await {
        Ok(secret) => {
            let handed = Letter::Master.hand_over(&console, email, &asking.own_address, &secret).await;
            Ok(html(&SystemPage { replaced, ..page(&console, &person, Some(handed), Problem::default()).await? }))
        }
        Err(StoreError::Invalid(text)) => Ok(again(&page(&console, &person, None, Problem::new("email", text)).await?)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn take_back_master(person: Person) -> Result<Response, Refusal> {
    person.asking.store.take_back_master(person.asking.fields.get("email")).await?;
    Ok(see("/system", "taken-back"))
}

pub(super) async fn remove_master(person: Person, Path(account): Path<i64>) -> Result<Response, Refusal> {
    person.asking.store.remove_master(account).await?;
    let to = if account == person.account.number { "/projects" } else { "/system" };
    Ok(see(to, "unmastered"))
}

/// A link for whoever lost password or phone.
pub(super) async fn reset(
    State(console): State<Console>,
    person: Person,
    Path(account): Path<i64>,
) -> Result<Response, Refusal> {
    let asking = &person.asking;
    let account = asking.store.account(account).await?;
    let secret = asking.store.reset_link(&account).await?;
    let handed = Letter::Reset.hand_over(&console, &account.email, &asking.own_address, &secret).await;
    Ok(html(&page(&console, &person, Some(handed), Problem::default()).await?))
}
