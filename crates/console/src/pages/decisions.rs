//! What people decided about names, controls and groups: undoing, and the history that a page shows of it.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Change, Decision, DecisionId, GroupId, NameId};
use convizit_store::Store;

use crate::Console;
use crate::access::Member;
use crate::acts::Undone;
use crate::acts::decisions::{called, decide};
use crate::known::{Known, known};
use crate::page::{Problem, Refusal, minute, see};

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

/// What the form of another text says where the renaming was not done; `now` is what it is called.
///
/// # Errors
/// What the form can do nothing about.
pub(super) fn not_renamed(undone: Undone, now: &str) -> Result<Problem, Refusal> {
    let text = || format!("Somebody has renamed it to “{now}” meanwhile. Send again to rename it all the same.");
    undone.in_form(|| Problem::new("text", text()))
}

/// What a form was made from; nothing where it does not say.
pub(super) fn seen(member: &Member) -> Option<&str> {
    Some(member.asking.fields.get("seen")).filter(|seen| !seen.is_empty())
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
    decide(&member.acting(), &known, Change::Undo { decision }).await?;
    let back = back(member.project.id.as_str(), member.asking.fields.get("back"));
    Ok(see(&back, if redone { "redone" } else { "undone" }))
}
