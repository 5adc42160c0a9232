//! Groups: controls that repeat, with one name and one switch for all that stands in them.

use axum::Json;
use axum::extract::{Path, State};
use convizit_model::{Change, Timestamp};
use convizit_pipeline::{ElementView, GroupView};
use convizit_store::Scope;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::decisions::{Decided, DecisionView, HOLDS, newest};
use super::events::{Capture, HOURS, Hour, Rename, hours, not_renamed};
use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::decisions::{decide, is_about_group, rename as give};
use crate::acts::groups::{controls_in, drawn, events_in, events_of, find, said, sum};
use crate::known::{Known, known};

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(at!("/groups"), Scope::Read, "list_groups", "Groups, by id; parts of others are not shown");
    let shows = Call::get(
        at!("/groups/{group}"),
        Scope::Read,
        "show_group",
        "One group: its week, and what was decided about it",
    );
    let controls = Call::get(
        at!("/groups/{group}/controls"),
        Scope::Read,
        "list_group_controls",
        "The controls that stand in a group, by id; what they say with the scope samples",
    );
    let renames = Call::post(
        at!("/groups/{group}/rename"),
        Scope::Capture,
        "rename_group",
        "Gives a group another name; names that were made of the old one change with it",
    );
    let captures = Call::post(
        at!("/groups/{group}/capture"),
        Scope::Capture,
        "capture_group",
        "Keeps the events of all that stands in a group, or no longer",
    );
    api.add(lists.asks::<OfGroups>().answers::<Page<GroupName>>(200, "Groups."), list)
        .add(shows.answers::<OneGroup>(200, "The group."), show)
        .add(controls.asks::<Part>().answers::<Page<Control>>(200, "Controls."), list_controls)
        .add(renames.takes::<Rename>().answers::<Decided>(200, HOLDS), rename)
        .add(captures.takes::<Capture>().answers::<Decided>(200, HOLDS), capture)
}

/// Which groups, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfGroups {
    /// Only groups with this text in their name or their container's; capitals do not matter.
    #[serde(default)]
    like: String,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// A group.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupName)]
struct GroupName {
    /// Its id, which stays whatever it is called.
    id: String,
    /// What its items are called.
    text: String,
    /// What is around them: `All shoes`.
    container: String,
    /// Whether events on what stands in it are kept.
    captured: bool,
    /// Events of all that stands in it.
    events: i64,
    /// The group that it was merged into: what is decided about that one holds for this one.
    part_of: Option<String>,
}

impl GroupName {
    fn of(group: &GroupView, known: &Known) -> Self {
        Self {
            id: group.id.to_string(),
            text: group.name.clone(),
            container: group.container.clone(),
            captured: group.captured,
            events: events_in(known, group.id),
            part_of: group.part_of.map(|into| into.to_string()),
        }
    }
}

async fn list(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<OfGroups>,
) -> Result<Json<Page<GroupName>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<convizit_model::GroupId>(asked.after.as_deref())?);
    let known = known(&console, &caller.project).await?;
    let like = asked.like.trim().to_lowercase();
    let fits = |group: &&GroupView| {
        let texts = [&group.name, &group.container];
        group.part_of.is_none() && (like.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&like)))
    };
    let mut groups: Vec<&GroupView> = known.catalogue.groups.iter().filter(fits).collect();
    groups.retain(|group| begun.is_none_or(|begun| group.id.0 > begun.0));
    groups.sort_by_key(|group| group.id.0);
    let page = Page::of(groups.into_iter(), limit, |group| group.id.to_string());
    let items = page.items.into_iter().map(|group| GroupName::of(group, &known)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// A group with what belongs to it.
#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
struct OneGroup {
    /// The group itself.
    group: GroupName,
    /// How many controls stand in it.
    controls: usize,
    /// Events of the last seven days by hour, of its 40 most frequent names; hours without any are missing.
    hours: Vec<Hour>,
    /// The newest decisions about it.
    decisions: Vec<DecisionView>,
}

async fn show(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<OneGroup>, Problem> {
    let known = known(&console, &caller.project).await?;
    let group = find(&known, &id)?;
    let (names, from) = (drawn(&known, group.id, 1), caller.now().hour() - HOURS + 1);
    let by_name = caller.store.events_of_names_from(caller.project.number, &names, (from, 1)).await?;
    Ok(Json(OneGroup {
        group: GroupName::of(group, &known),
        controls: controls_in(&known, group.id).len(),
        hours: hours(sum(&by_name, &names)),
        decisions: newest(&known, |change| is_about_group(change, group.id)),
    }))
}

/// A control that stands in a group.
#[derive(Serialize, ToSchema)]
#[schema(as = GroupControl)]
struct Control {
    /// The control.
    element: String,
    /// Its ARIA role.
    role: String,
    /// Ids of the names of its events.
    names: Vec<String>,
    /// How many events those have.
    events: i64,
    /// The day when it was last seen.
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Option<Timestamp>,
    /// What it says; null without the scope samples, empty for an item, whose text is its events' alone.
    said: Option<String>,
}

async fn list_controls(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Asked(asked): Asked<Part>,
) -> Result<Json<Page<Control>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<convizit_model::ElementId>(asked.after.as_deref())?);
    let known = known(&console, &caller.project).await?;
    let samples = caller.samples();
    let mut inside = controls_in(&known, find(&known, &id)?.id);
    inside.retain(|element| begun.is_none_or(|begun| element.id.0 > begun.0));
    inside.sort_by_key(|element| element.id.0);
    let page = Page::of(inside.into_iter(), limit, |element| element.id.to_string());
    let view = |element: &ElementView| Control {
        element: element.id.to_string(),
        role: element.role.clone(),
        names: known.names_for(element).into_iter().map(|name| name.id.to_string()).collect(),
        events: events_of(&known, element),
        last: element.forms.iter().map(|form| form.last).max(),
        said: samples.as_ref().map(|right| said(right, element)),
    };
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}

async fn rename(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Rename>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let group = find(&known, &id)?;
    let change = Change::RenameGroup { group: group.id, text: given.text.trim().to_owned() };
    let made = give(&caller.acting(), &known, (&group.name, given.seen.as_deref()), change).await;
    Ok(Json(made.map_err(|undone| not_renamed(undone, &group.name))?.into()))
}

async fn capture(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Capture>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let change = Change::CaptureGroup { group: find(&known, &id)?.id, captured: given.captured };
    Ok(Json(decide(&caller.acting(), &known, change).await?.into()))
}
