//! Deciding about names, controls and groups: what can be decided, what it would do, and taking it down.

use std::sync::Arc;

use convizit_model::{Change, Decision, ElementId, GroupId};
use convizit_pipeline::{FormView, NameChange, NameView};

use super::{Acting, Undone};
use crate::known::{Known, blocking};
use crate::page::Refusal;

/// Why an event cannot be left out by itself.
pub(crate) const ON_NO_CONTROL: &str =
    "this event is on no control: which types of events are kept stands in the project's settings";
/// Why two names cannot be one.
const NOT_OF_A_KIND: &str = "one of the two is a group's item and the other is not: only two of a kind can be one";

/// What is entered wrong where a change cannot be made.
fn field_of(change: &Change) -> &'static str {
    match change {
        Change::Rename { .. } | Change::RenameGroup { .. } => "text",
        Change::Merge { .. } | Change::Regroup { .. } => "into",
        Change::Split { .. } => "form",
        Change::CaptureElement { .. } | Change::CaptureGroup { .. } | Change::Undo { .. } => "",
    }
}

/// Asks the registry whether a decision can be made, and takes it down.
///
/// # Errors
/// `Wrong` with what stands against it; what the store says.
pub(crate) async fn decide(acting: &Acting<'_>, known: &Known, change: Change) -> Result<Decision, Undone> {
    known.registry.check(&change).map_err(|text| Undone::wrong(field_of(&change), text))?;
    Ok(acting.store.decide(acting.project, &acting.actor, change).await?)
}

/// Gives a name or a group another text, unless it is another one by now (`now`) than whoever does it has `seen`.
///
/// # Errors
/// `Meanwhile`, and as `decide`.
pub(crate) async fn rename(
    acting: &Acting<'_>,
    known: &Known,
    (now, seen): (&str, Option<&str>),
    change: Change,
) -> Result<Decision, Undone> {
    if seen.is_some_and(|seen| seen != now) {
        return Err(Undone::Meanwhile);
    }
    decide(acting, known, change).await
}

/// What takes events of a name out, or keeps them again: a name of a group's items stands for all that is in the group.
pub(crate) fn capture_of(name: &NameView, captured: bool) -> Option<Change> {
    match (name.group, name.element) {
        (Some(group), _) => Some(Change::CaptureGroup { group, captured }),
        (None, Some(element)) => Some(Change::CaptureElement { element, captured }),
        (None, None) => None,
    }
}

/// Takes events of several names out, or keeps them again: all of them or none.
///
/// # Errors
/// `NotFound` for a name that there is not; `Wrong` where none is named, and where nothing is to be changed.
pub(crate) async fn capture_several(
    acting: &Acting<'_>,
    known: &Known,
    ids: impl IntoIterator<Item = &str>,
    captured: bool,
) -> Result<Vec<Decision>, Undone> {
    let (mut changes, mut none) = (Vec::new(), true);
    for id in ids {
        none = false;
        // Names of one group, or of one control, are one decision; what is so already needs none.
        let change = capture_of(known.find(id)?, captured);
        changes.extend(change.filter(|change| !changes.contains(change) && known.registry.check(change).is_ok()));
    }
    if none {
        return Err(Undone::wrong("several", "Choose one name at least."));
    }
    if changes.is_empty() {
        let already = if captured { "captured" } else { "not captured" };
        let text = format!("Nothing is to be changed: they are {already} already, or on no control.");
        return Err(Undone::wrong("several", text));
    }
    Ok(acting.store.decide_all(acting.project, &acting.actor, changes).await?)
}

/// What a change would do to names.
///
/// # Errors
/// `Wrong` with what stands against it.
pub(crate) async fn preview(known: &Arc<Known>, change: Change) -> Result<Vec<NameChange>, Undone> {
    let (of, field) = (known.clone(), field_of(&change));
    let changes = blocking(move || of.registry.preview(&change)).await?;
    changes.map_err(|text| Undone::wrong(field, text))
}

/// What joins two names' controls or groups.
///
/// # Errors
/// `Wrong` where one is a group's item and the other is not, or one is on no control.
pub(crate) fn joining(name: &NameView, into: &NameView) -> Result<Change, Undone> {
    match ((name.group, name.element), (into.group, into.element)) {
        ((Some(group), _), (Some(into), _)) => Ok(Change::Regroup { group, into }),
        ((None, Some(element)), (None, Some(into))) => Ok(Change::Merge { element, into }),
        _ => Err(Undone::wrong("into", NOT_OF_A_KIND)),
    }
}

/// What splits a form of the control that a name is of off; those of others are not its business.
///
/// # Errors
/// `Invalid` where the control was not seen so.
pub(crate) fn form_of(known: &Known, name: &NameView, (element, form): (&str, usize)) -> Result<Change, Refusal> {
    let seen = forms(known, name).into_iter().find(|(of, number, _)| of.to_string() == element && *number == form);
    let unseen = "this control was not seen in such a form, or it is split off already";
    let (element, form, _) = seen.ok_or_else(|| Refusal::Invalid(unseen.to_owned()))?;
    Ok(Change::Split { element, form })
}

/// Decides what was looked at before, unless something else was decided since: `seen` is how many decisions there were then.
///
/// # Errors
/// `Meanwhile`, and as `decide`.
pub(crate) async fn decide_seen(
    acting: &Acting<'_>,
    known: &Known,
    seen: Option<usize>,
    change: Change,
) -> Result<Decision, Undone> {
    if seen.is_some_and(|seen| seen != known.registry.settled()) {
        return Err(Undone::Meanwhile);
    }
    decide(acting, known, change).await
}

/// What the control of a name was seen as, its own forms first, then those of controls that are part of it: each with its control and
/// its number there.
pub(crate) fn forms<'a>(known: &'a Known, name: &NameView) -> Vec<(ElementId, usize, &'a FormView)> {
    let Some(identity) = name.element else { return Vec::new() };
    let parts = known.catalogue.elements.iter().filter(move |element| element.part_of == Some(identity));
    let all = known.element(identity).into_iter().chain(parts);
    let numbered =
        all.flat_map(|element| element.forms.iter().enumerate().map(|(number, form)| (element.id, number, form)));
    numbered.filter(|(element, number, _)| !known.registry.is_split(*element, *number)).collect()
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
pub(crate) fn is_about_group(change: &Change, group: GroupId) -> bool {
    match change {
        Change::RenameGroup { group: of, .. } | Change::CaptureGroup { group: of, .. } => *of == group,
        Change::Regroup { group: of, into } => *of == group || *into == group,
        _ => false,
    }
}

/// What to call a control: by its name, else by its group.
pub(crate) fn called(known: &Known, element: ElementId) -> String {
    let group = || known.element(element).and_then(|view| known.group(view.group?)).map(|group| group.name.clone());
    known.registry.called(element).map(str::to_owned).or_else(group).unwrap_or_else(|| element.to_string())
}
