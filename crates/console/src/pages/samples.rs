//! The newest events as they were captured, for those who may see samples; what was withheld shows as a receipt.

use askama::Template;
use axum::response::Response;
use convizit_model::{Event, Project};
use convizit_store::Store;

use crate::access::{Member, Samples};
use crate::live::{marked, newest};
use crate::page::{Chrome, Refusal, WayOn, html};

/// Events that are shown, and their bytes.
const SHOWN: i64 = 50;
/// Events that may have come since an open page asked before, which it does each second.
const FOLLOWED: i64 = 1_000;
const BYTES: usize = 1 << 20;

#[derive(Template)]
#[template(path = "samples.html")]
struct SamplesPage {
    chrome: Chrome,
    project: String,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "samples_partial.html")]
struct SamplesPartial {
    project: String,
    lines: Vec<Line>,
}

/// An event.
struct Line {
    time: String,
    name: String,
    kind: &'static str,
    page: String,
    visitor: String,
    properties: Vec<(String, String)>,
    withheld: Vec<(String, String, String)>,
}

async fn lines(_: &Samples, store: &Store, project: &Project) -> Result<Vec<Line>, Refusal> {
    let last = store.last_event(project.number).await?;
    let limit = usize::try_from(SHOWN).unwrap_or(0);
    let events = store.events_after(project.number, (last - SHOWN).max(0), limit, BYTES).await?;
    let read = |stored: &convizit_store::StoredEvent| -> Option<Line> {
        let event: Event = serde_json::from_slice(&stored.json).ok()?;
        let value = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => "–".to_owned(),
            other => other.to_string(),
        };
        let time = event.time.to_string();
        Some(Line {
            time: time.get(11..19).unwrap_or_default().to_owned(),
            name: event.name,
            kind: event.kind.as_str(),
            page: event.page.path,
            visitor: event.visitor.chars().take(6).collect(),
            properties: event.properties.iter().map(|(name, one)| (name.clone(), value(one))).collect(),
            withheld: event.withheld.into_iter().map(|one| (one.field, one.rule, one.by)).collect(),
        })
    };
    // Of another version's form an event is left out here: it is stored and delivered all the same.
    Ok(events.iter().rev().filter_map(read).collect())
}

fn right(member: &Member) -> Result<Samples, Refusal> {
    member.samples().ok_or_else(|| Refusal::Forbidden(WayOn::default()))
}

pub(super) async fn show(member: Member) -> Result<Response, Refusal> {
    let lines = lines(&right(&member)?, &member.asking.store, &member.project).await?;
    let chrome = member.asking.chrome("Samples", "samples");
    Ok(html(&SamplesPage { chrome, project: member.project.id.to_string(), lines }))
}

/// Whether an open page goes on from where it was, and does not read from a number of its own choice again and again.
fn follows(member: &Member, newest: i64) -> bool {
    member.asking.query.get("after").parse().is_ok_and(|after: i64| newest.saturating_sub(after) < FOLLOWED)
}

pub(super) async fn pulse(member: Member) -> Result<Response, Refusal> {
    let newest = newest(&member).await?;
    let right = if follows(&member, newest) {
        member.samples_of_follower().ok_or_else(|| Refusal::Forbidden(WayOn::default()))?
    } else {
        right(&member)?
    };
    let lines = lines(&right, &member.asking.store, &member.project).await?;
    Ok(marked(html(&SamplesPartial { project: member.project.id.to_string(), lines }), newest))
}
