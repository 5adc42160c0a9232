//! What people decided about names, controls and groups: making, undoing, and the history that a page shows of it.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Change, Decision, DecisionId, ElementId, GroupId, NameId};
use convizit_pipeline::NameView;
use convizit_store::Store;

use super::known::{Known, known};
use crate::Console;
use crate::access::Member;
use crate::page::{Refusal, minute, see};

/// Decisions that a page shows of one thing.
const SHOWN: usize = 20;

/// A decision, in words.
pub(super) struct Past {
    pub(super) when: String,
    pub(super) who: String,
    pub(super) what: String,
    pub(super) holds: bool,
    /// The decision that is to be undone to take this one back, or to make it hold again.
    pub(super) undo: Option<DecisionId>,
}

/// Asks the registry whether a decision can be made, and takes it down.
pub(super) async fn decide(member: &Member, known: &Known, change: Change) -> Result<Result<(), String>, Refusal> {
    if let Err(problem) = known.registry.check(&change) {
        return Ok(Err(problem));
    }
    member.asking.store.decide(&member.project, &member.account.actor(), change).await?;
    Ok(Ok(()))
}

/// Why an event cannot be left out by itself.
pub(crate) const ON_NO_CONTROL: &str =
    "this event is on no control: which types of events are kept stands in the project's settings";

/// What takes events of a name out, or keeps them again: a name of a group's items stands for all that is in the group.
pub(crate) fn capture_of(name: &NameView, captured: bool) -> Option<Change> {
    match (name.group, name.element) {
        (Some(group), _) => Some(Change::CaptureGroup { group, captured }),
        (None, Some(element)) => Some(Change::CaptureElement { element, captured }),
        (None, None) => None,
    }
}

/// Who decided, as people call them.
pub(super) async fn who(store: &Store, actor: &str) -> String {
    let number = actor.strip_prefix("account:").and_then(|text| text.parse().ok());
    match number {
        Some(number) => store.account(number).await.map_or_else(|_| actor.to_owned(), |account| account.name),
        None => actor.to_owned(),
    }
}

/// The names of those who did things, each looked up once.
#[derive(Default)]
pub(super) struct People(HashMap<String, String>);

impl People {
    pub(super) async fn name(&mut self, store: &Store, actor: &str) -> String {
        if let Some(name) = self.0.get(actor) {
            return name.clone();
        }
        let name = who(store, actor).await;
        self.0.insert(actor.to_owned(), name.clone());
        name
    }
}

/// Whether a decision is about this name, its element or its group.
pub(crate) fn is_about(change: &Change, name: &NameView) -> bool {
    match change {
        Change::Rename { name: of, .. } => *of == name.id,
        Change::CaptureElement { element, .. } | Change::Split { element, .. } => name.element == Some(*element),
        Change::Merge { element, into } => name.element == Some(*element) || name.element == Some(*into),
        other => name.group.is_some_and(|group| is_about_group(other, group)),
    }
}

/// Whether a decision is about this group.
pub(super) fn is_about_group(change: &Change, group: GroupId) -> bool {
    match change {
        Change::RenameGroup { group: of, .. } | Change::CaptureGroup { group: of, .. } => *of == group,
        Change::Regroup { group: of, into } => *of == group || *into == group,
        _ => false,
    }
}

/// What to call a control: by its name, else by its group.
pub(super) fn called(known: &Known, element: ElementId) -> String {
    let group = || known.element(element).and_then(|view| known.group(view.group?)).map(|group| group.name.clone());
    known.registry.called(element).map(str::to_owned).or_else(group).unwrap_or_else(|| element.to_string())
}

fn words(known: &Known, change: &Change) -> String {
    match change {
        Change::Rename { text, .. } => format!("renamed to “{text}”"),
        Change::RenameGroup { text, .. } => format!("the group renamed to “{text}”"),
        Change::Merge { element, into } => {
            format!("“{}” merged into “{}”", called(known, *element), called(known, *into))
        }
        Change::Split { form, .. } => format!("form {form} split off"),
        Change::Regroup { .. } => "the group joined with another".to_owned(),
        Change::CaptureElement { captured, .. } | Change::CaptureGroup { captured, .. } => {
            if *captured { "captured again" } else { "no longer captured" }.to_owned()
        }
        Change::Undo { decision } => format!("decision {decision} undone"),
    }
}

/// The newest decisions about something; of a proposal only what became of it.
pub(super) async fn history(store: &Store, known: &Known, is_about: impl Fn(&Change) -> bool) -> Vec<Past> {
    let all = known.registry.decisions();
    // Of two undoings of one decision the one that holds.
    let undone: HashMap<DecisionId, DecisionId> = all
        .iter()
        .filter(|decision| known.registry.holds(decision.id))
        .filter_map(|decision| match decision.what {
            Change::Undo { decision: of } => Some((of, decision.id)),
            _ => None,
        })
        .collect();
    let mut people = People::default();
    let mut past = Vec::new();
    let own = |decision: &&Decision| is_about(&decision.what) && !decision.proposed;
    for decision in all.into_iter().rev().filter(own).take(SHOWN) {
        let holds = known.registry.holds(decision.id);
        past.push(Past {
            when: minute(decision.made),
            who: people.name(store, &decision.by).await,
            what: words(known, &decision.what),
            holds,
            undo: if holds { Some(decision.id) } else { undone.get(&decision.id).copied() },
        });
    }
    past
}

/// The page that a decision was undone on.
fn back(project: &str, field: &str) -> String {
    if let Ok(name) = field.parse::<NameId>() {
        return format!("/p/{project}/events/{name}");
    }
    if let Ok(group) = field.parse::<GroupId>() {
        return format!("/p/{project}/groups/{group}");
    }
    match field {
        "exclusions" => format!("/p/{project}/exclusions"),
        "overview" => format!("/p/{project}"),
        _ => format!("/p/{project}/events"),
    }
}

pub(super) async fn undo(
    State(console): State<Console>,
    member: Member,
    Path((_, decision)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let decision: DecisionId = decision.parse().map_err(|_| Refusal::NotFound)?;
    let known = known(&console, &member.project).await?;
    let redone = known
        .registry
        .decisions()
        .into_iter()
        .any(|known| known.id == decision && matches!(known.what, Change::Undo { .. }));
    decide(&member, &known, Change::Undo { decision }).await?.map_err(Refusal::Invalid)?;
    let back = back(member.project.id.as_str(), member.asking.fields.get("back"));
    Ok(see(&back, if redone { "redone" } else { "undone" }))
}
