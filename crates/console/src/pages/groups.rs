//! Groups: controls that repeat, such as cards, rows and menu items, with one name and one switch for all of them.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Action, Change, GroupId, Project};
use convizit_pipeline::GroupView;
use convizit_store::Store;

use super::decisions::{Past, history, not_renamed, seen};
use super::events::{STEP_HOURS, STEPS, badge};
use crate::Console;
use crate::access::Member;
use crate::acts::decisions::{self, decide, is_about_group};
use crate::acts::groups::{by_events, controls_in, drawn, events_in, events_of, find, said, sum};
use crate::chart::{Chart, chart};
use crate::known::{HOURS, Known, known};
use crate::page::{Chrome, Pager, Problem, Refusal, again, count, escaped, html, minute, see};

/// Groups on a page.
const PAGE: usize = 30;
/// Controls of a group on a page.
const MEMBERS: usize = 50;

#[derive(Template)]
#[template(path = "groups.html")]
struct GroupsPage {
    chrome: Chrome,
    project: String,
    like: String,
    shown: Vec<Line>,
    all: usize,
    may_edit: bool,
    /// Where a switch leads back to.
    back: &'static str,
    pager: Pager,
}

/// A group in the list.
pub(super) struct Line {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) container: String,
    pub(super) controls: usize,
    pub(super) events: String,
    pub(super) captured: bool,
    pub(super) chart: Chart,
}

/// Lines of a list of groups, with what came of each in the last week.
pub(super) async fn lines(
    store: &Store,
    project: &Project,
    known: &Known,
    groups: &[(&GroupView, i64)],
) -> Result<Vec<Line>, Refusal> {
    let mut controls: HashMap<GroupId, usize> = HashMap::new();
    for group in known.catalogue.elements.iter().filter_map(|element| element.group) {
        *controls.entry(group).or_default() += 1;
    }
    let drawn: Vec<Vec<u64>> = groups.iter().map(|(group, _)| drawn(known, group.id, groups.len())).collect();
    let hour = store.clock().now().hour();
    let hours = store
        .events_of_names_from(project.number, &drawn.concat(), (hour - STEPS * STEP_HOURS + 1, STEP_HOURS))
        .await?;
    let line = |((group, events), names): (&(&GroupView, i64), &Vec<u64>)| Line {
        id: group.id.to_string(),
        name: group.name.clone(),
        container: group.container.clone(),
        controls: controls.get(&group.id).copied().unwrap_or(0),
        events: count(*events),
        captured: group.captured,
        chart: chart(&sum(&hours, names), hour, STEPS, STEP_HOURS),
    };
    Ok(groups.iter().zip(&drawn).map(line).collect())
}

pub(super) async fn list(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (store, project, query) = (&member.asking.store, &member.project, &member.asking.query);
    let like = query.get("like").trim();
    let known = known(&console, project).await?;
    let lower = like.to_lowercase();
    let found = by_events(&known, |group| {
        lower.is_empty()
            || group.name.to_lowercase().contains(&lower)
            || group.container.to_lowercase().contains(&lower)
    });
    let from: usize = query.get("from").parse().unwrap_or(0);
    let page: Vec<_> = found.iter().skip(from).take(PAGE).copied().collect();
    let path = format!("/p/{}/groups?like={}", project.id, escaped(like));
    Ok(html(&GroupsPage {
        chrome: member.asking.chrome("Groups", "groups"),
        project: project.id.to_string(),
        like: like.to_owned(),
        shown: lines(store, project, &known, &page).await?,
        all: known.catalogue.groups.len(),
        may_edit: member.may(Action::EditCapture),
        back: "groups",
        pager: Pager::new(&path, "from", (from, PAGE, found.len())),
    }))
}

#[derive(Template)]
#[template(path = "group.html")]
struct GroupPage {
    chrome: Chrome,
    project: String,
    id: String,
    name: String,
    container: String,
    captured: bool,
    /// The group that it is part of: id and name.
    part_of: Option<(String, String)>,
    events: String,
    chart: Chart,
    may_edit: bool,
    controls: Vec<Control>,
    samples: bool,
    pager: Pager,
    history: Vec<Past>,
    back: String,
    entered: String,
    problem: Problem,
}

/// A control of the group.
struct Control {
    role: String,
    /// Id, text and state of its names.
    names: Vec<(String, String, (&'static str, &'static str))>,
    events: String,
    /// What it says, for those who see samples.
    said: Option<String>,
    last: String,
}

async fn page(
    console: &Console,
    member: &Member,
    id: &str,
    (entered, problem): (Option<&str>, Problem),
) -> Result<GroupPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let known = known(console, project).await?;
    let group = find(&known, id)?.clone();
    let id = group.id;
    let hour = member.asking.now().hour();
    let names = drawn(&known, id, 1);
    let hours = store.events_of_names_from(project.number, &names, (hour - HOURS + 1, 3)).await?;
    let samples = member.samples();
    let inside = controls_in(&known, id);
    let from: usize = member.asking.query.get("from").parse().unwrap_or(0);
    let controls = inside.iter().skip(from).take(MEMBERS).map(|element| Control {
        role: element.role.clone(),
        names: known
            .names_for(element)
            .into_iter()
            .map(|name| (name.id.to_string(), name.text.clone(), badge(name)))
            .collect(),
        events: count(events_of(&known, element)),
        said: samples.as_ref().map(|right| said(right, element)),
        last: element
            .forms
            .iter()
            .map(|form| form.last)
            .max()
            .map_or_else(String::new, minute)
            .chars()
            .take(10)
            .collect(),
    });
    Ok(GroupPage {
        chrome: member.asking.chrome(&group.name, "groups"),
        project: project.id.to_string(),
        id: id.to_string(),
        container: group.container.clone(),
        captured: group.captured,
        part_of: group
            .part_of
            .map(|into| (into.to_string(), known.group(into).map(|group| group.name.clone()).unwrap_or_default())),
        events: count(events_in(&known, id)),
        chart: chart(&sum(&hours, &names), hour, HOURS / 3, 3),
        may_edit: member.may(Action::EditCapture),
        controls: controls.collect(),
        samples: samples.is_some(),
        pager: Pager::new(&format!("/p/{}/groups/{id}?", project.id), "from", (from, MEMBERS, inside.len())),
        history: history(store, &known, |change| is_about_group(change, id)).await,
        back: id.to_string(),
        entered: entered.unwrap_or(&group.name).to_owned(),
        name: group.name,
        problem,
    })
}

pub(super) async fn show(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    Ok(html(&page(&console, &member, &id, (None, Problem::default())).await?))
}

pub(super) async fn rename(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let known = known(&console, &member.project).await?;
    let group = find(&known, &id)?;
    let text = member.asking.fields.get("text").trim();
    let change = Change::RenameGroup { group: group.id, text: text.to_owned() };
    match decisions::rename(&member.acting(), &known, (&group.name, seen(&member)), change).await {
        Ok(_) => Ok(see(&format!("/p/{}/groups/{id}", member.project.id), "renamed")),
        Err(undone) => {
            let problem = not_renamed(undone, &group.name)?;
            Ok(again(&page(&console, &member, &id, (Some(text), problem)).await?))
        }
    }
}

pub(super) async fn capture(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let known = known(&console, &member.project).await?;
    let group = find(&known, &id)?.id;
    let captured = member.asking.fields.get("captured") == "yes";
    let project = &member.project.id;
    // What somebody else has said meanwhile is what was asked for.
    if known.group(group).is_none_or(|known| known.captured != captured || known.part_of.is_some()) {
        decide(&member.acting(), &known, Change::CaptureGroup { group, captured }).await?;
    }
    let back = match member.asking.fields.get("back") {
        "exclusions" => format!("/p/{project}/exclusions"),
        "groups" => format!("/p/{project}/groups"),
        _ => format!("/p/{project}/groups/{group}"),
    };
    Ok(see(&back, if captured { "captured" } else { "not-captured" }))
}
