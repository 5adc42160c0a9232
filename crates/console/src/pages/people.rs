//! Privacy: what was withheld, how long events are kept, and erasing or exporting the data of persons.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use convizit_model::withheld::{monday_of, week_of};
use convizit_model::{Action, Person, Timestamp};
use convizit_store::PersonsStored;

use super::erasures::{Receipt, paused};
use crate::access::Member;
use crate::page::{Chrome, Problem, Refusal, again, count, html, see};

/// Weeks of the report.
const WEEKS: i64 = 12;
const DAY_MILLIS: i64 = 86_400_000;
/// Persons of one form at most.
const PERSONS: usize = 1_000;
/// Erasures on this page; all of them have one of their own.
const SHOWN: usize = 5;
/// Ids of whom nothing is stored that are shown; how many more there are is said.
const NAMED: usize = 20;
/// Frames that are read at once while looking whether there is anything.
const FRAMES: usize = 5;
/// How long a page waits for the count of what is stored.
const COUNTING: Duration = Duration::from_secs(10);

#[derive(Template)]
#[template(path = "privacy.html")]
struct PrivacyPage<'a> {
    chrome: Chrome,
    project: String,
    days: u32,
    withheld: Vec<(String, String, String, String, i64)>,
    erasures: Vec<Receipt>,
    may_serve: bool,
    may_set: bool,
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
    let paused = paused(member).await?;
    let erasures = erasures.into_iter().take(SHOWN).map(|one| Receipt::of(one, &paused));
    let fields = &member.asking.fields;
    Ok(PrivacyPage {
        chrome: member.asking.chrome("Privacy", "privacy"),
        project: project.id.to_string(),
        days: project.settings.retention_days,
        withheld: withheld.take(200).collect(),
        erasures: erasures.collect(),
        may_serve,
        may_set: member.may(Action::EditSettings),
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

#[derive(Template)]
#[template(path = "erase.html")]
struct ErasePage<'a> {
    chrome: Chrome,
    project: String,
    kind: &'a str,
    ids: &'a str,
    persons: usize,
    /// What is stored of them; `None` where counting took too long.
    stored: Option<Stored>,
}

/// What is stored of persons, for the question.
struct Stored {
    events: String,
    none: bool,
    /// Of whom nothing is stored: some ids, and how many more.
    without: Vec<String>,
    more: usize,
    unread: usize,
}

impl From<PersonsStored> for Stored {
    fn from(PersonsStored { events, without, unread }: PersonsStored) -> Self {
        Self {
            events: match events {
                1 => "1 stored event".to_owned(),
                many => format!("{} stored events", count(i64::try_from(many).unwrap_or(i64::MAX))),
            },
            none: events == 0 && unread == 0,
            more: without.len().saturating_sub(NAMED),
            without: without.iter().take(NAMED).map(|person| person.id().to_owned()).collect(),
            unread,
        }
    }
}

/// The persons of the form, each once.
fn persons(member: &Member) -> Result<Vec<Person>, String> {
    let fields = &member.asking.fields;
    let ids = fields.get("ids").lines().map(str::trim).filter(|id| !id.is_empty());
    let mut persons: Vec<Person> = Vec::new();
    for id in ids {
        let person = Person::new(fields.get("kind"), id)?;
        if !persons.contains(&person) {
            persons.push(person);
        }
        if persons.len() > PERSONS {
            return Err(format!("at most {PERSONS} at once: convizit erase takes a file of any length"));
        }
    }
    if persons.is_empty() { Err("write at least one id, one in each line".to_owned()) } else { Ok(persons) }
}

/// What is stored of them, unless counting takes longer than a page may.
async fn stored(member: &Member, persons: &[Person]) -> Result<Option<PersonsStored>, Refusal> {
    let counting = member.asking.store.persons_stored(&member.project, persons);
    Ok(tokio::time::timeout(COUNTING, counting).await.ok().transpose()?)
}

/// Whether nothing is stored of them. Where looking takes longer than a page may, or something does not open, there may be.
async fn is_nothing(member: &Member, persons: &[Person]) -> Result<bool, Refusal> {
    let looking = async {
        let mut after = 0;
        loop {
            let found = member.asking.store.person_events(&member.project, persons, after, FRAMES).await?;
            match found.next {
                _ if !found.events.is_empty() || !found.unread.is_empty() => return Ok(false),
                Some(next) => after = next,
                None => return Ok(true),
            }
        }
    };
    match tokio::time::timeout(COUNTING, looking).await {
        Ok(found) => found,
        Err(_) => Ok(false),
    }
}

/// First it is said what goes, then it is erased: nothing brings it back.
pub(super) async fn erase(member: Member) -> Result<Response, Refusal> {
    let persons = match persons(&member) {
        Ok(persons) => persons,
        Err(problem) => return Ok(again(&page(&member, Problem::new("ids", problem)).await?)),
    };
    let fields = &member.asking.fields;
    if fields.get("sure") == "yes" {
        member.asking.store.erase(&member.project, &persons).await?;
        return Ok(see(&format!("/p/{}/privacy", member.project.id), "erased"));
    }
    Ok(html(&ErasePage {
        chrome: member.asking.chrome("Erase for good?", "privacy"),
        project: member.project.id.to_string(),
        kind: fields.get("kind"),
        ids: fields.get("ids"),
        persons: persons.len(),
        stored: stored(&member, &persons).await?.map(Stored::from),
    }))
}

pub(super) async fn export(member: Member) -> Result<Response, Refusal> {
    let persons = match persons(&member) {
        Ok(persons) => persons,
        Err(problem) => return Ok(again(&page(&member, Problem::new("ids", problem)).await?)),
    };
    let none = is_nothing(&member, &persons).await?;
    let answer = crate::privacy::stream(&member.asking.store, member.project.clone(), persons).await?;
    if none {
        // It was asked for, which the audit log has; an empty file would look like an answer.
        let kind = match member.asking.fields.get("kind") {
            "visitor" => "visitor ids of the tracker",
            _ => "ids that the site gave",
        };
        let text = format!("nothing is stored about them: look whether the ids are right, and whether they are {kind}");
        return Ok(again(&page(&member, Problem::new("ids", text)).await?));
    }
    Ok(answer)
}
