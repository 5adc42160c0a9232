//! Drafts of the customizer: what stands against each, publishing them as decisions, all or none, and discarding them.

use std::sync::Arc;

use convizit_model::{Change, Decision, DecisionId, StateKind, StateRow};
use convizit_pipeline::{Catalogue, NameView, Registry};
use convizit_store::Draft;

use super::{Acting, Undone};
use crate::known::{Known, blocking};
use crate::page::Refusal;

/// A draft as somebody saw it.
pub(crate) struct Chosen<'a> {
    pub(crate) subject: &'a str,
    pub(crate) version: i64,
    /// What was seen to stand there by now, where it is to be published all the same.
    pub(crate) now: Option<&'a str>,
}

/// Whether a draft can be published.
pub(crate) struct Standing {
    /// What stands against it; empty where nothing does.
    pub(crate) conflict: String,
    /// It can be published all the same.
    pub(crate) possible: bool,
    /// What holds by now; empty where there is no such thing any more.
    pub(crate) now: String,
}

/// Whether a draft can be published as it stands, and what now holds.
pub(crate) fn standing(registry: &Registry, draft: &Draft) -> Standing {
    let of = |conflict: String, possible: bool, now: String| Standing { conflict, possible, now };
    let Some(now) = registry.stands(&draft.change) else {
        return of("What it is about is gone, or part of something else by now.".to_owned(), false, String::new());
    };
    if draft.change.draft().is_some_and(|(_, aim)| aim == now) {
        return of("It is so already.".to_owned(), false, now);
    }
    if let Err(text) = registry.check(&draft.change) {
        return of(format!("It cannot be any more: {text}."), false, now);
    }
    if now != draft.before {
        return of(format!("Somebody has changed it to “{now}” since it was drafted."), true, now);
    }
    of(String::new(), true, now)
}

/// The name of the events that a draft is about, where there is one.
pub(crate) fn name_of<'a>(catalogue: &'a Catalogue, change: &Change) -> Option<&'a NameView> {
    let fits = |name: &&NameView| match change {
        Change::Rename { name: of, .. } => name.id == *of,
        Change::CaptureElement { element, .. } => name.element == Some(*element),
        Change::CaptureGroup { group, .. } => name.group == Some(*group),
        _ => false,
    };
    catalogue.names.iter().find(fits)
}

/// The drafts that are named, in the versions that were seen; the oldest first, as they were made.
async fn find<'a>(acting: &Acting<'_>, chosen: &'a [Chosen<'a>]) -> Result<Vec<(Draft, &'a Chosen<'a>)>, Undone> {
    let mut found = Vec::new();
    for draft in acting.store.drafts(acting.project.number).await?.into_iter().rev() {
        let seen = chosen.iter().find(|one| one.subject == draft.subject && one.version == draft.version);
        found.extend(seen.map(|seen| (draft, seen)));
    }
    if found.len() == chosen.len() && !found.is_empty() { Ok(found) } else { Err(Undone::Meanwhile) }
}

/// Makes decisions of drafts: of all of them or of none.
///
/// # Errors
/// `Meanwhile` where one of them is no more as it was seen; `Wrong` with what stands against one.
pub(crate) async fn publish(
    acting: &Acting<'_>,
    known: &Arc<Known>,
    chosen: &[Chosen<'_>],
) -> Result<Vec<Decision>, Undone> {
    // Each is laid over those before it: of two that want one name the second is refused.
    let of = known.clone();
    let mut registry = blocking(move || of.registry.clone()).await?;
    let (mut changes, mut seen) = (Vec::new(), Vec::new());
    for (draft, chosen) in find(acting, chosen).await? {
        let Standing { conflict, possible, now } = standing(&registry, &draft);
        if !possible || (!conflict.is_empty() && chosen.now != Some(now.as_str())) {
            return Err(Undone::wrong("drafts", conflict));
        }
        lay(&mut registry, acting, draft.change.clone())?;
        changes.push(draft.change);
        seen.push((draft.subject, draft.version));
    }
    let made = acting.store.decide_all(acting.project, &acting.actor, changes).await?;
    acting.store.remove_drafts(acting.project, seen, true).await?;
    Ok(made)
}

/// Lays a change over what is known, as the decision that it is going to be.
fn lay(registry: &mut Registry, acting: &Acting<'_>, what: Change) -> Result<(), Refusal> {
    let decision = Decision {
        id: DecisionId(registry.last_decision() + 1),
        made: acting.store.clock().now(),
        by: acting.actor.clone(),
        what,
        from: None,
        proposed: false,
        evidence: None,
    };
    let body = serde_json::to_vec(&decision).map_err(|error| Refusal::Failed(error.to_string()))?;
    let row = StateRow { kind: StateKind::Decision, key: decision.id.0, expires_day: None, body };
    registry.load(&[row]).map_err(Refusal::Failed)
}

/// Takes drafts away that nobody wants.
///
/// # Errors
/// `Meanwhile` where one of them is no more as it was seen.
pub(crate) async fn discard(acting: &Acting<'_>, chosen: &[Chosen<'_>]) -> Result<(), Undone> {
    let seen = find(acting, chosen).await?.into_iter().map(|(draft, _)| (draft.subject, draft.version)).collect();
    acting.store.remove_drafts(acting.project, seen, false).await?;
    Ok(())
}
