//! Receipts of erasures, and deleting the whole dataset.

use std::collections::HashSet;

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use convizit_store::{Erasure, HeldBy};

use crate::access::Member;
use crate::page::{Chrome, Problem, Refusal, again, count, html, minute, see};

/// An erasure as it is shown.
pub(super) struct Receipt {
    pub(super) request: String,
    pub(super) when: String,
    pub(super) what: String,
    pub(super) badge: (&'static str, String),
    /// How many persons are cleared, and of how many; 0 of 1 is the whole dataset that is not.
    pub(super) cleared: i64,
    pub(super) of: i64,
    /// Each destination, and what it was told.
    pub(super) told: Vec<(String, String)>,
    /// What holds it open, and until when at most.
    held: Vec<String>,
}

impl Receipt {
    /// Whether nothing of it lies anywhere any more.
    fn is_cleared(&self) -> bool {
        self.cleared >= self.of
    }
}

/// The destinations of a project that are paused.
pub(super) async fn paused(member: &Member) -> Result<HashSet<String>, Refusal> {
    let states = member.asking.store.destinations(Some(&member.project.id)).await?;
    let paused = states.into_iter().map(|state| state.destination).filter(|one| one.paused.is_some());
    Ok(paused.map(|one| one.name).collect())
}

impl Receipt {
    /// An erasure where these destinations are paused.
    pub(super) fn of(one: Erasure, paused: &HashSet<String>) -> Self {
        let what = match (one.all, one.persons) {
            (true, _) => "the whole dataset".to_owned(),
            (false, 1) => "1 person".to_owned(),
            (false, many) => format!("{many} persons"),
        };
        let badge = match (one.open, one.all) {
            (0, _) => ("good", "cleared".to_owned()),
            (_, true) => ("warn", "being cleared".to_owned()),
            (open, false) => ("warn", format!("{open} being cleared")),
        };
        let told = one.destinations.into_iter().map(|told| {
            let word = match told.state.as_str() {
                "told" => "was told".to_owned(),
                "cannot" => format!("cannot be told: {}", told.reason),
                _ if paused.contains(&told.destination) => "is paused: it waits until it is resumed".to_owned(),
                _ => "is still to be told".to_owned(),
            };
            (told.destination, word)
        });
        let held = one.held.into_iter().map(|by| {
            let HeldBy { frame, day, goes, .. } = by;
            format!("frame {frame} of {day} does not open: whoever runs this installation restores it, or retention takes it on {goes}")
        });
        let of = one.persons.max(1);
        let cleared = of - one.open.clamp(0, of);
        Self {
            when: minute(one.made),
            what,
            badge,
            cleared,
            of,
            told: told.collect(),
            held: held.collect(),
            request: one.request,
        }
    }
}

#[derive(Template)]
#[template(path = "erasures.html")]
struct ErasuresPage {
    chrome: Chrome,
    project: String,
    erasures: Vec<Receipt>,
}

#[derive(Template)]
#[template(path = "erasure.html")]
struct ErasurePage {
    chrome: Chrome,
    project: String,
    receipt: Receipt,
}

#[derive(Template)]
#[template(path = "erasure_partial.html")]
struct ErasurePartial {
    receipt: Receipt,
}

#[derive(Template)]
#[template(path = "dataset.html")]
struct DatasetPage {
    chrome: Chrome,
    project: String,
    events: String,
    destinations: Vec<String>,
    typed: String,
    problem: Problem,
}

pub(super) async fn list(member: Member) -> Result<Response, Refusal> {
    let erasures = member.asking.store.erasures(member.project.number).await?;
    let paused = paused(&member).await?;
    Ok(html(&ErasuresPage {
        chrome: member.asking.chrome("Erasures", "privacy"),
        project: member.project.id.to_string(),
        erasures: erasures.into_iter().map(|one| Receipt::of(one, &paused)).collect(),
    }))
}

pub(super) async fn show(member: Member, Path((_, request)): Path<(String, String)>) -> Result<Response, Refusal> {
    Ok(html(&ErasurePage {
        chrome: member.asking.chrome(&format!("Receipt {request}"), "privacy"),
        project: member.project.id.to_string(),
        receipt: receipt(&member, &request).await?,
    }))
}

async fn receipt(member: &Member, request: &str) -> Result<Receipt, Refusal> {
    let found = member.asking.store.erasure(member.project.number, request).await?;
    Ok(Receipt::of(found.ok_or(Refusal::NotFound)?, &paused(member).await?))
}

/// How far an erasure has come, for a page that is open.
pub(super) async fn pulse(member: Member, Path((_, request)): Path<(String, String)>) -> Result<Response, Refusal> {
    Ok(html(&ErasurePartial { receipt: receipt(&member, &request).await? }))
}

async fn dataset(member: &Member, problem: Problem) -> Result<DatasetPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let destinations = store.destinations(Some(&project.id)).await?;
    Ok(DatasetPage {
        chrome: member.asking.chrome("Delete the dataset", "privacy"),
        project: project.id.to_string(),
        events: count(store.last_event(project.number).await?),
        destinations: destinations.into_iter().map(|state| state.destination.name).collect(),
        typed: member.asking.fields.get("name").to_owned(),
        problem,
    })
}

pub(super) async fn show_delete(member: Member) -> Result<Response, Refusal> {
    Ok(html(&dataset(&member, Problem::default()).await?))
}

pub(super) async fn delete(member: Member) -> Result<Response, Refusal> {
    let id = &member.project.id;
    if member.asking.fields.get("name").trim() != id.as_str() {
        let problem = Problem::new("name", format!("type {id}, the project's name, to delete what it holds"));
        return Ok(again(&dataset(&member, problem).await?));
    }
    let request = member.asking.store.erase_all(&member.project).await?;
    Ok(see(&format!("/p/{id}/privacy/erasures/{request}"), "dataset"))
}

#[cfg(test)]
mod tests {
    use convizit_model::Timestamp;

    use super::*;

    fn shown(persons: i64, all: bool, open: i64) -> String {
        let (request, made) = ("er_1".to_owned(), Timestamp::from_millis(0));
        let erasure = Erasure { request, made, persons, all, open, held: Vec::new(), destinations: Vec::new() };
        let receipt = Receipt::of(erasure, &HashSet::new());
        ErasurePartial { receipt }.render().unwrap()
    }

    #[test]
    fn a_list_of_persons_says_how_many_are_cleared() {
        let under_way = shown(10, false, 4);
        assert!(under_way.contains("value=\"6\" max=\"10\"") && under_way.contains("6 of 10 persons"), "{under_way}");
        assert!(!shown(10, false, 0).contains("<progress") && shown(10, false, 0).contains("They are overwritten."));
        assert!(!shown(0, true, 1).contains("<progress") && shown(0, true, 1).contains("being overwritten"));
        assert!(shown(0, true, 0).contains("They are overwritten."));
    }
}
