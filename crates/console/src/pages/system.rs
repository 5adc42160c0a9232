//! The installation, for Master Admins: health, notices, projects, accounts, backups.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::overview::failing;
use crate::Console;
use crate::access::Person;
use crate::page::{Chrome, Refusal, count, html, minute};

#[derive(Template)]
#[template(path = "system.html")]
struct SystemPage {
    chrome: Chrome,
    operator_apart: bool,
    failing: Option<String>,
    waiting: u64,
    journal: String,
    backup: Option<String>,
    drilled: Option<String>,
    drill_problem: Option<String>,
    notices: Vec<(String, String, i64, String)>,
    projects: Vec<(String, String, String, String)>,
    accounts: Vec<(String, String, bool, bool, String)>,
}

pub(super) async fn show(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    let store = &person.asking.store;
    let health = store.health();
    let newest = store.all_last_events().await?;
    let projects = store.projects().await?.into_iter().map(|project| {
        let events = count(newest.get(&project.number).copied().unwrap_or(0));
        (project.id.to_string(), events, project.settings.origins.join(", "), minute(project.created))
    });
    let accounts = store.accounts().await?.into_iter().map(|account| {
        let factor = account.second_factor || account.excused;
        (account.name, account.email, account.master, factor, minute(account.made))
    });
    let notices = store.notices(false).await?.into_iter().take(50).map(|notice| {
        let project = notice.project.map(|id| id.to_string()).unwrap_or_default();
        (notice.text, project, notice.count, minute(notice.last))
    });
    let backup = store.backup_state();
    let megabytes = health.journal_bytes.div_ceil(1 << 20);
    Ok(html(&SystemPage {
        chrome: person.asking.chrome("System", "system"),
        operator_apart: console.config().operator_apart,
        failing: failing(store),
        waiting: health.journal_offset.saturating_sub(store.worker_offset().await?),
        journal: format!("{} MiB", count(i64::try_from(megabytes).unwrap_or(i64::MAX))),
        backup: backup.made.map(minute),
        drilled: backup.drilled.map(minute),
        drill_problem: backup.drill_problem,
        notices: notices.collect(),
        projects: projects.collect(),
        accounts: accounts.collect(),
    }))
}
