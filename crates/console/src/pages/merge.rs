//! Saying that two controls, or two groups, are one, and that a form of a control is one of its own: each with a look at what it does.

use std::collections::HashSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Change, ElementId};
use convizit_pipeline::{NameChange, NameView};

use super::events::{Form, badge, forms, found, named};
use crate::Console;
use crate::access::Member;
use crate::acts::Undone;
use crate::acts::decisions::{self, decide_seen, form_of, joining};
use crate::known::Known;
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

/// What a change would do, or what stands against it.
async fn preview(known: &Arc<Known>, change: Change) -> Result<Result<Preview, Problem>, Refusal> {
    let seen = known.registry.settled();
    let line = |change: NameChange| Line {
        id: change.id.to_string(),
        events: count(known.events(change.id)),
        dropped: !change.after.captured,
        before: change.before.text,
        after: change.after.text,
    };
    match decisions::preview(known, change).await {
        Ok(changes) => Ok(Ok(Preview {
            more: changes.len().saturating_sub(SHOWN),
            lines: changes.into_iter().take(SHOWN).map(line).collect(),
            seen,
        })),
        Err(undone) => Ok(Err(undone.in_form(looked_before)?)),
    }
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

/// Names that it can be merged with: those that a search finds, else those that are called alike.
fn others(known: &Known, name: &NameView, like: &str) -> Vec<Other> {
    let fits =
        |other: &NameView| joining(name, other).is_ok() && (other.group, other.element) != (name.group, name.element);
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
    let shown = match joining(&name, into) {
        Ok(change) => preview(&known, change).await?,
        Err(undone) => Err(undone.in_form(looked_before)?),
    };
    match shown {
        Ok(preview) => page.preview = Some(preview),
        Err(problem) => page.problem = problem,
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
fn looked_before() -> Problem {
    let text = "Something was decided since you looked at this. Below is what it would do now: send again if it is still right.";
    Problem::new("seen", text)
}

/// How many decisions there were when the form was made.
fn seen(member: &Member) -> Option<usize> {
    Some(member.asking.fields.get("seen").parse().unwrap_or(usize::MAX))
}

pub(super) async fn merge(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (known, name) = named(&console, &member, &id).await?;
    let into = member.asking.fields.get("into");
    let done = match known.find(into).map(|into| joining(&name, into)) {
        Ok(Ok(change)) => decide_seen(&member.acting(), &known, seen(&member), change).await,
        Ok(Err(undone)) => Err(undone),
        // Nothing was chosen, or it is gone: the page says which.
        Err(_) => Err(Undone::Wrong(Problem::default())),
    };
    match done {
        Ok(_) => Ok(see(&format!("/p/{}/events/{into}", member.project.id), "merged")),
        Err(undone) => {
            let problem = undone.in_form(looked_before)?;
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
    let change = form_of(&known, &name, (element, number(form))).map_err(|_| Refusal::NotFound)?;
    if let Change::Split { element, form } = change {
        page.chosen = Some((element, form, known.registry.part_of(element, form)));
    }
    match preview(&known, change).await? {
        Ok(preview) => page.preview = Some(preview),
        Err(problem) => page.problem = problem,
    }
    Ok(page)
}

/// A form's number; one that is none is of no form.
fn number(form: &str) -> usize {
    form.parse().unwrap_or(usize::MAX)
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
    let change = form_of(&known, &name, (chosen.0, number(chosen.1)))?;
    match decide_seen(&member.acting(), &known, seen(&member), change).await {
        Ok(_) => Ok(see(&format!("/p/{}/events/{id}", member.project.id), "split")),
        Err(undone) => {
            let problem = undone.in_form(looked_before)?;
            Ok(again(&split_page(&console, &member, &id, (chosen, problem)).await?))
        }
    }
}
