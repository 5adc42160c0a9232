//! Saying that two controls, or two groups, are one, and that a form of a control is one of its own: each with a look at what it does.

use std::collections::HashSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Change, ElementId};
use convizit_pipeline::{NameChange, NameView};

use super::events::{Form, badge, forms, found, named};
use super::known::{Known, blocking};
use crate::Console;
use crate::access::Member;
use crate::page::{Chrome, Problem, Refusal, again, count, html, see};

/// Names that a search shows.
const FOUND: usize = 20;
/// Names that a preview shows.
const SHOWN: usize = 50;

/// What a change does to names.
struct Preview {
    lines: Vec<Line>,
    /// How many there are beside those.
    more: usize,
    /// Decisions when this was looked at: the form carries it.
    seen: usize,
}

/// A name before and after.
struct Line {
    id: String,
    events: String,
    before: String,
    after: String,
    /// Whether its events are dropped afterwards.
    dropped: bool,
}

async fn preview(known: &Arc<Known>, change: Change) -> Result<Result<Preview, String>, Refusal> {
    let of = known.clone();
    let changes = blocking(move || of.registry.preview(&change)).await?;
    let seen = known.registry.settled();
    let line = |change: NameChange| Line {
        id: change.id.to_string(),
        events: count(known.events(change.id)),
        dropped: !change.after.captured,
        before: change.before.text,
        after: change.after.text,
    };
    Ok(changes.map(|changes| Preview {
        more: changes.len().saturating_sub(SHOWN),
        lines: changes.into_iter().take(SHOWN).map(line).collect(),
        seen,
    }))
}

#[derive(Template)]
#[template(path = "merge.html")]
struct MergePage {
    chrome: Chrome,
    project: String,
    id: String,
    text: String,
    like: String,
    of_group: bool,
    found: Vec<Other>,
    /// The one that stays, once it is chosen.
    into: Option<(String, String)>,
    preview: Option<Preview>,
    problem: Problem,
}

/// Another name that this one may be.
struct Other {
    id: String,
    text: String,
    events: String,
    badge: (&'static str, &'static str),
}

fn words(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// What joins two names' controls or groups; `None` where one is a group's item and the other is not, or on no control.
fn joining(name: &NameView, into: &NameView) -> Option<Change> {
    match ((name.group, name.element), (into.group, into.element)) {
        ((Some(group), _), (Some(into), _)) => Some(Change::Regroup { group, into }),
        ((None, Some(element)), (None, Some(into))) => Some(Change::Merge { element, into }),
        _ => None,
    }
}

/// Names that it can be merged with: those that a search finds, else those that are called alike.
fn others(known: &Known, name: &NameView, like: &str) -> Vec<Other> {
    let fits =
        |other: &NameView| joining(name, other).is_some() && (other.group, other.element) != (name.group, name.element);
    let mut names = found(known, like, fits);
    if like.is_empty() {
        let own = words(&name.text);
        // The sort is stable: of those that are alike the more frequent stay before.
        names.sort_by_cached_key(|other| std::cmp::Reverse(words(&other.text).intersection(&own).count()));
    }
    let line = |other: &NameView| Other {
        id: other.id.to_string(),
        text: other.text.clone(),
        events: count(known.events(other.id)),
        badge: badge(other),
    };
    names.into_iter().take(FOUND).map(line).collect()
}

async fn merge_page(
    console: &Console,
    member: &Member,
    id: &str,
    (into, problem): (&str, Problem),
) -> Result<MergePage, Refusal> {
    let (known, name) = named(console, member, id).await?;
    if name.element.is_none() && name.group.is_none() {
        return Err(Refusal::Invalid("this event is on no control: there is nothing to merge".to_owned()));
    }
    let like = member.asking.query.get("like").trim();
    let mut page = MergePage {
        chrome: member.asking.chrome(&format!("Merge {}", name.text), "events"),
        project: member.project.id.to_string(),
        id: id.to_owned(),
        text: name.text.clone(),
        like: like.to_owned(),
        of_group: name.group.is_some(),
        found: Vec::new(),
        into: None,
        preview: None,
        problem,
    };
    if into.is_empty() {
        page.found = others(&known, &name, like);
        return Ok(page);
    }
    let into = known.find(into)?;
    page.into = Some((into.id.to_string(), into.text.clone()));
    match joining(&name, into) {
        None => {
            let text = "one of the two is a group's item and the other is not: only two of a kind can be one";
            page.problem = Problem::new("into", text);
        }
        Some(change) => match preview(&known, change).await? {
            Ok(preview) => page.preview = Some(preview),
            Err(problem) => page.problem = Problem::new("into", problem),
        },
    }
    Ok(page)
}

pub(super) async fn show(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let into = member.asking.query.get("into");
    Ok(html(&merge_page(&console, &member, &id, (into, Problem::default())).await?))
}

/// What to say to whoever looked at something before somebody else decided.
fn stale(member: &Member, known: &Known) -> Option<Problem> {
    let seen = member.asking.fields.get("seen");
    let text = "Something was decided since you looked at this. Below is what it would do now: send again if it is still right.";
    (seen.parse() != Ok(known.registry.settled())).then(|| Problem::new("seen", text))
}

pub(super) async fn merge(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (known, name) = named(&console, &member, &id).await?;
    let into = member.asking.fields.get("into");
    let change = known.find(into).ok().and_then(|into| joining(&name, into));
    let (Some(change), None) = (change, stale(&member, &known)) else {
        let problem = stale(&member, &known).unwrap_or_default();
        return Ok(again(&merge_page(&console, &member, &id, (into, problem)).await?));
    };
    match super::decisions::decide(&member, &known, change).await? {
        Ok(()) => Ok(see(&format!("/p/{}/events/{into}", member.project.id), "merged")),
        Err(problem) => {
            let problem = Problem::new("into", problem);
            Ok(again(&merge_page(&console, &member, &id, (into, problem)).await?))
        }
    }
}

#[derive(Template)]
#[template(path = "split.html")]
struct SplitPage {
    chrome: Chrome,
    project: String,
    id: String,
    text: String,
    forms: Vec<Form>,
    samples: bool,
    /// Element and form that are chosen, with what they would become.
    chosen: Option<(ElementId, usize, ElementId)>,
    preview: Option<Preview>,
    problem: Problem,
}

async fn split_page(
    console: &Console,
    member: &Member,
    id: &str,
    ((element, form), problem): ((&str, &str), Problem),
) -> Result<SplitPage, Refusal> {
    let (known, name) = named(console, member, id).await?;
    let samples = member.samples();
    let mut page = SplitPage {
        chrome: member.asking.chrome(&format!("Split {}", name.text), "events"),
        project: member.project.id.to_string(),
        id: id.to_owned(),
        text: name.text.clone(),
        forms: forms(&known, &name, samples.as_ref()),
        samples: samples.is_some(),
        chosen: None,
        preview: None,
        problem,
    };
    if element.is_empty() {
        return Ok(page);
    }
    let (element, form) = part(&page.forms, element, form).ok_or(Refusal::NotFound)?;
    page.chosen = Some((element, form, known.registry.part_of(element, form)));
    match preview(&known, Change::Split { element, form }).await? {
        Ok(preview) => page.preview = Some(preview),
        Err(problem) => page.problem = Problem::new("form", problem),
    }
    Ok(page)
}

/// A form of this name's control; those of others are not its business.
fn part(forms: &[Form], element: &str, form: &str) -> Option<(ElementId, usize)> {
    let (element, number): (ElementId, usize) = (element.parse().ok()?, form.parse().ok()?);
    forms.iter().any(|form| form.element == element && form.number == number).then_some((element, number))
}

pub(super) async fn show_split(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let query = &member.asking.query;
    let chosen = (query.get("element"), query.get("form"));
    Ok(html(&split_page(&console, &member, &id, (chosen, Problem::default())).await?))
}

pub(super) async fn split(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (known, name) = named(&console, &member, &id).await?;
    let chosen = (member.asking.fields.get("element"), member.asking.fields.get("form"));
    let (element, form) = part(&forms(&known, &name, None), chosen.0, chosen.1).ok_or_else(|| {
        Refusal::Invalid("this control was not seen in such a form, or it is split off already".to_owned())
    })?;
    if let Some(problem) = stale(&member, &known) {
        return Ok(again(&split_page(&console, &member, &id, (chosen, problem)).await?));
    }
    match super::decisions::decide(&member, &known, Change::Split { element, form }).await? {
        Ok(()) => Ok(see(&format!("/p/{}/events/{id}", member.project.id), "split")),
        Err(problem) => {
            let problem = Problem::new("form", problem);
            Ok(again(&split_page(&console, &member, &id, (chosen, problem)).await?))
        }
    }
}
