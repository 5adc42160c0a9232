//! Where a project's events go: how far each destination is, what it refused, pausing and resuming.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use convizit_model::Action;

use crate::access::Member;
use crate::page::{Chrome, Refusal, count, html, see};

/// Refused events that are shown of a destination.
const REFUSED: i64 = 5;

#[derive(Template)]
#[template(path = "destinations.html")]
struct DestinationsPage {
    chrome: Chrome,
    project: String,
    destinations: Vec<Card>,
    may_edit: bool,
}

/// A destination.
struct Card {
    name: String,
    kind: &'static str,
    badge: (&'static str, &'static str),
    paused: Option<String>,
    sent: String,
    behind: String,
    dead: i64,
    types: String,
    refused: Vec<(i64, String)>,
}

pub(super) async fn list(member: Member) -> Result<Response, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let events = store.last_event(project.number).await?;
    let mut cards = Vec::new();
    for state in store.destinations(Some(&project.id)).await? {
        let destination = state.destination;
        let refused = if state.dead > 0 {
            store.dead_letters(&project.id, &destination.name, REFUSED).await?
        } else {
            Vec::new()
        };
        let behind = (events - state.cursor).max(0);
        cards.push(Card {
            kind: destination.kind.as_str(),
            badge: match (&destination.paused, destination.enabled) {
                (Some(_), _) => ("warn", "paused"),
                (None, false) => ("warn", "off"),
                (None, true) if behind == 0 => ("good", "up to date"),
                (None, true) => ("good", "sending"),
            },
            sent: count(state.cursor),
            behind: count(behind),
            dead: state.dead,
            types: if destination.types.is_empty() {
                "all".to_owned()
            } else {
                destination.types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
            },
            refused: refused.into_iter().map(|letter| (letter.number, letter.reason)).collect(),
            paused: destination.paused,
            name: destination.name,
        });
    }
    Ok(html(&DestinationsPage {
        chrome: member.asking.chrome("Destinations", "destinations"),
        project: project.id.to_string(),
        destinations: cards,
        may_edit: member.may(Action::EditDestinations),
    }))
}

async fn set(member: &Member, name: &str, reason: Option<&str>, done: &str) -> Result<Response, Refusal> {
    member.asking.store.pause_destination(&member.project.id, name, reason).await?;
    Ok(see(&format!("/p/{}/destinations", member.project.id), done))
}

pub(super) async fn pause(member: Member, Path((_, name)): Path<(String, String)>) -> Result<Response, Refusal> {
    set(&member, &name, Some("paused in the console"), "paused").await
}

pub(super) async fn resume(member: Member, Path((_, name)): Path<(String, String)>) -> Result<Response, Refusal> {
    set(&member, &name, None, "resumed").await
}
