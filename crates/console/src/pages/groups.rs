//! Groups: controls that repeat, such as cards, rows and menu items, with one name and one switch for all of them.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Action, Change, GroupId, Project};
use convizit_pipeline::{ElementView, GroupView};
use convizit_store::Store;

use super::decisions::{Past, decide, history, is_about_group};
use super::events::{STEP_HOURS, STEPS, badge};
use super::known::{HOURS, Known, known};
use crate::Console;
use crate::access::{Member, Samples};
use crate::chart::{Chart, chart};
use crate::page::{Chrome, Pager, Problem, Refusal, again, count, escaped, html, minute, see};

/// Groups on a page.
const PAGE: usize = 30;
/// Controls of a group on a page.
const MEMBERS: usize = 50;
/// Names of a group whose counts are drawn, the most frequent first.
const DRAWN: usize = 40;

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

/// Events of all that stands in a group.
fn events_in(known: &Known, group: GroupId) -> i64 {
    known.names_in(group).map(|name| known.events(name.id)).sum()
}

/// A project's groups, those with the most events first; groups that are part of another one are not shown apart.
pub(super) fn by_events(known: &Known, fits: impl Fn(&GroupView) -> bool) -> Vec<(&GroupView, i64)> {
    let own = known.catalogue.groups.iter().filter(|group| group.part_of.is_none() && fits(group));
    let mut groups: Vec<(&GroupView, i64)> = own.map(|group| (group, events_in(known, group.id))).collect();
    groups.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.name.cmp(&b.name)).then(a.id.0.cmp(&b.id.0)));
    groups
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
    let drawn: Vec<Vec<u64>> = groups.iter().map(|(group, _)| drawn(known, group.id)).collect();
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

fn drawn(known: &Known, group: GroupId) -> Vec<u64> {
    let mut names: Vec<_> = known.names_in(group).map(|name| name.id).collect();
    names.sort_by_key(|name| std::cmp::Reverse(known.events(*name)));
    names.into_iter().take(DRAWN).map(|name| name.0).collect()
}

fn sum(hours: &HashMap<u64, HashMap<i64, i64>>, names: &[u64]) -> HashMap<i64, i64> {
    let mut all = HashMap::new();
    for (hour, events) in names.iter().filter_map(|name| hours.get(name)).flatten() {
        *all.entry(*hour).or_default() += events;
    }
    all
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

/// What a control says.
fn said(_: &Samples, element: &ElementView) -> String {
    let last = element.forms.iter().max_by_key(|form| form.last);
    last.map(|form| form.label.clone()).unwrap_or_default()
}

async fn page(
    console: &Console,
    member: &Member,
    id: &str,
    (entered, problem): (Option<&str>, Problem),
) -> Result<GroupPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let known = known(console, project).await?;
    let id: GroupId = id.parse().map_err(|_| Refusal::NotFound)?;
    let group = known.group(id).ok_or(Refusal::NotFound)?.clone();
    let hour = member.asking.now().hour();
    let names = drawn(&known, id);
    let hours = store.events_of_names_from(project.number, &names, (hour - HOURS + 1, 3)).await?;
    let samples = member.samples();
    let mut inside: Vec<_> = known.catalogue.elements.iter().filter(|element| element.group == Some(id)).collect();
    let events =
        |element: &ElementView| -> i64 { known.names_for(element).into_iter().map(|name| known.events(name.id)).sum() };
    inside.sort_by_cached_key(|element| (std::cmp::Reverse(events(element)), element.id.0));
    let from: usize = member.asking.query.get("from").parse().unwrap_or(0);
    let controls = inside.iter().skip(from).take(MEMBERS).map(|element| Control {
        role: element.role.clone(),
        names: known
            .names_for(element)
            .into_iter()
            .map(|name| (name.id.to_string(), name.text.clone(), badge(name)))
            .collect(),
        events: count(events(element)),
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

fn find<'a>(known: &'a Known, id: &str) -> Result<&'a GroupView, Refusal> {
    id.parse().ok().and_then(|id| known.group(id)).ok_or(Refusal::NotFound)
}

pub(super) async fn rename(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let known = known(&console, &member.project).await?;
    let group = find(&known, &id)?;
    let text = member.asking.fields.get("text").trim();
    let fails = async |problem: String| -> Result<Response, Refusal> {
        let page = page(&console, &member, &id, (Some(text), Problem::new("text", problem))).await?;
        Ok(again(&page))
    };
    let seen = member.asking.fields.get("seen");
    if !seen.is_empty() && seen != group.name {
        let problem =
            format!("Somebody has renamed it to “{}” meanwhile. Send again to rename it all the same.", group.name);
        return fails(problem).await;
    }
    match decide(&member, &known, Change::RenameGroup { group: group.id, text: text.to_owned() }).await? {
        Ok(()) => Ok(see(&format!("/p/{}/groups/{id}", member.project.id), "renamed")),
        Err(problem) => fails(problem).await,
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
        decide(&member, &known, Change::CaptureGroup { group, captured }).await?.map_err(Refusal::Invalid)?;
    }
    let back = match member.asking.fields.get("back") {
        "exclusions" => format!("/p/{project}/exclusions"),
        "groups" => format!("/p/{project}/groups"),
        _ => format!("/p/{project}/groups/{group}"),
    };
    Ok(see(&back, if captured { "captured" } else { "not-captured" }))
}
