//! Privacy: what was withheld, how long events are kept, and erasing or exporting the data of persons.

use askama::Template;
use axum::response::Response;
use convizit_model::withheld::{monday_of, week_of};
use convizit_model::{Action, Person, Timestamp};

use super::erasures::Receipt;
use crate::access::Member;
use crate::page::{Chrome, Problem, Refusal, again, html, see};

/// Weeks of the report.
const WEEKS: i64 = 12;
const DAY_MILLIS: i64 = 86_400_000;
/// Persons of one form at most.
const PERSONS: usize = 1_000;
/// Erasures on this page; all of them have one of their own.
const SHOWN: usize = 5;

#[derive(Template)]
#[template(path = "privacy.html")]
struct PrivacyPage<'a> {
    chrome: Chrome,
    project: String,
    days: u32,
    withheld: Vec<(String, String, String, String, i64)>,
    erasures: Vec<Receipt>,
    may_serve: bool,
    may_delete: bool,
    proved: bool,
    kind: &'a str,
    ids: &'a str,
    problem: Problem,
}

async fn page<'a>(member: &'a Member, problem: Problem) -> Result<PrivacyPage<'a>, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let from = week_of(member.asking.now().day()) - WEEKS + 1;
    let withheld = store.withheld(project.number, from).await?.into_iter().map(|line| {
        let monday = Timestamp::from_millis(monday_of(line.week) * DAY_MILLIS).to_string();
        let monday = monday.split('T').next().unwrap_or_default().to_owned();
        (monday, line.field, line.rule, line.side, line.items)
    });
    let may_serve = member.may(Action::ServePersons);
    let erasures = if may_serve { store.erasures(project.number).await? } else { Vec::new() };
    let erasures = erasures.into_iter().take(SHOWN).map(Receipt::from);
    let fields = &member.asking.fields;
    Ok(PrivacyPage {
        chrome: member.asking.chrome("Privacy", "privacy"),
        project: project.id.to_string(),
        days: project.settings.retention_days,
        withheld: withheld.take(200).collect(),
        erasures: erasures.collect(),
        may_serve,
        may_delete: member.may(Action::DeleteDataset),
        proved: member.asking.is_proved(),
        kind: fields.get("kind"),
        ids: fields.get("ids"),
        problem,
    })
}

pub(super) async fn show(member: Member) -> Result<Response, Refusal> {
    Ok(html(&page(&member, Problem::default()).await?))
}

/// The persons of the form.
fn persons(member: &Member) -> Result<Vec<Person>, String> {
    let fields = &member.asking.fields;
    let ids = fields.get("ids").lines().map(str::trim).filter(|id| !id.is_empty());
    let persons: Vec<Person> = ids.map(|id| Person::new(fields.get("kind"), id)).collect::<Result<_, _>>()?;
    match persons.len() {
        0 => Err("write at least one id, one in each line".to_owned()),
        many if many > PERSONS => Err(format!("at most {PERSONS} at once: convizit erase takes a file of any length")),
        _ => Ok(persons),
    }
}

pub(super) async fn erase(member: Member) -> Result<Response, Refusal> {
    match persons(&member) {
        Ok(persons) => {
            member.asking.store.erase(&member.project, &persons).await?;
            Ok(see(&format!("/p/{}/privacy", member.project.id), "erased"))
        }
        Err(problem) => Ok(again(&page(&member, Problem::new("ids", problem)).await?)),
    }
}

pub(super) async fn export(member: Member) -> Result<Response, Refusal> {
    match persons(&member) {
        Ok(persons) => Ok(crate::privacy::stream(&member.asking.store, member.project.clone(), persons).await?),
        Err(problem) => Ok(again(&page(&member, Problem::new("ids", problem)).await?)),
    }
}
