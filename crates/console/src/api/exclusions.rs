//! What is not captured: elements by selector and pages by path, each tried before it holds, and what people switched off.

use std::collections::HashMap;
use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use convizit_model::Timestamp;
use convizit_pipeline::Hit;
use convizit_store::{ExclusionKind, Scope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::merge::SaidView;
use super::openapi::{Api, Call};
use super::problem::Problem;
use super::settings::{Saved, stale, tagged};
use super::{Asked, Given, Moment, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::Undone;
use crate::acts::decisions::called;
use crate::acts::exclusions::{self, Thing, entries, last_of, off, pages_of, try_entry};
use crate::known::known;

/// What a change of exclusions is answered with.
const SAVED: &str = "Saved; browsers take it within a minute, the server at once.";

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(
        at!("/exclusions"),
        Scope::Read,
        "list_exclusions",
        "Excluded selectors and paths, with who set them and what they still do",
    );
    let tries = Call::get(
        at!("/exclusions/try"),
        Scope::Read,
        "try_exclusion",
        "What a selector or path would take out; nothing is changed",
    );
    let adds = Call::post(
        at!("/exclusions"),
        Scope::Capture,
        "add_exclusion",
        "Excludes elements by a CSS selector, or pages by a path in which * stands for any text",
    );
    let removes =
        Call::post(at!("/exclusions/remove"), Scope::Capture, "remove_exclusion", "Takes a selector or path out again");
    let lists_off = Call::get(
        at!("/switched-off"),
        Scope::Read,
        "list_switched_off",
        "Groups and controls that people switched off, the newest first; undo the decision to capture them again",
    );
    api.add(lists.asks::<OfExclusions>().answers::<Page<ExclusionView>>(200, "Entries."), list)
        .add(tries.looks().asks::<OfTry>().answers::<TriedView>(200, "What it would take out."), try_out)
        .add(adds.takes::<Entry>().answers::<Saved>(200, SAVED).versioned(), add)
        .add(removes.takes::<Entry>().answers::<Saved>(200, SAVED).versioned(), remove)
        .add(lists_off.asks::<Part>().answers::<Page<OffView>>(200, "Groups and controls."), list_off)
}

/// What an entry excludes.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExclusionKind)]
enum Kind {
    /// Elements, by a CSS selector.
    Selector,
    /// Pages, by a path.
    Path,
}

impl From<Kind> for ExclusionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Selector => Self::Selector,
            Kind::Path => Self::Path,
        }
    }
}

/// Which entries, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfExclusions {
    /// In place of those that hold, those that were taken out within 90 days and can be put back.
    #[serde(default)]
    removed: bool,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// An excluded selector or path.
#[derive(Serialize, ToSchema)]
#[schema(as = Exclusion)]
struct ExclusionView {
    /// `selector` or `path`.
    kind: &'static str,
    /// The selector or path.
    entry: String,
    /// Who set it: `account:7`, `token:ci`; null where that is not known.
    set_by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    set_at: Option<Timestamp>,
    /// Who took it out; null while it holds.
    removed_by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    removed_at: Option<Timestamp>,
    /// How many known controls, or pages, it takes out; null where the page alone can tell.
    known: Option<usize>,
    /// The day when the last of them was seen; null where there is none. What works is not seen any more.
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Option<Timestamp>,
}

async fn list(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<OfExclusions>,
) -> Result<Json<Page<ExclusionView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Place>(asked.after.as_deref())?);
    let (store, project) = (&caller.store, &caller.project);
    let known = known(&console, project).await?;
    let noted = store.exclusions(project.number).await?;
    let mut all: Vec<(ExclusionKind, &str)> = if asked.removed {
        let removed = noted.iter().filter(|one| one.removed.is_some());
        removed.map(|one| (one.kind, one.entry.as_str())).collect()
    } else {
        let of = |kind| entries(&project.settings, kind).iter().map(move |entry| (kind, entry.as_str()));
        of(ExclusionKind::Selector).chain(of(ExclusionKind::Path)).collect()
    };
    let of: HashMap<(ExclusionKind, &str), _> = noted.iter().map(|one| ((one.kind, one.entry.as_str()), one)).collect();
    let pages = pages_of(&known);
    all.sort_by_key(|(kind, entry)| (kind.as_str(), *entry));
    let is_left = |(kind, entry): &(ExclusionKind, &str)| {
        begun.as_ref().is_none_or(|Place(last, of)| (kind.as_str(), *entry) > (last.as_str(), of.as_str()))
    };
    let view = |(kind, entry): (ExclusionKind, &str)| {
        let sight = last_of(&known, &pages, (kind, entry));
        let noted = of.get(&(kind, entry));
        let removed = noted.and_then(|one| one.removed.clone());
        ExclusionView {
            kind: kind.as_str(),
            entry: entry.to_owned(),
            set_by: noted.map(|one| one.set_by.clone()),
            set_at: noted.map(|one| one.set_at),
            removed_at: removed.as_ref().map(|(_, at)| *at),
            removed_by: removed.map(|(by, _)| by),
            known: sight.map(|sight| sight.map_or(0, |(_, known)| known)),
            last: sight.flatten().map(|(last, _)| last),
        }
    };
    let place = |view: &ExclusionView| format!("{} {}", view.kind, view.entry);
    Ok(Json(Page::of(all.into_iter().filter(is_left).map(view), limit, place)))
}

/// The kind and the entry behind which a page goes on.
struct Place(String, String);

impl FromStr for Place {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, entry) = text.split_once(' ').ok_or(())?;
        Ok(Self(kind.to_owned(), entry.to_owned()))
    }
}

/// What is tried.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfTry {
    /// A selector or a path.
    #[param(inline)]
    kind: Kind,
    /// The selector or path.
    #[param(max_length = 500)]
    entry: String,
}

/// What an entry would take out.
#[derive(Serialize, ToSchema)]
#[schema(as = TriedExclusion)]
struct TriedView {
    /// Controls, or paths, that it takes out.
    hits: usize,
    /// Controls that it may take out: that the page alone can tell.
    perhaps: usize,
    /// Events of those that it takes out: of the newest where it is a path, of all that are kept where it is a selector.
    events: i64,
    /// Of how many: known controls, or newest events.
    of: usize,
    /// Whether it is excluded already.
    holds: bool,
    /// Whether it asks for what is not known, so that the page alone can tell.
    untold: bool,
    /// The first 50 controls.
    controls: Vec<ControlView>,
    /// The first 50 paths; empty without the scope samples.
    paths: Vec<PathView>,
}

/// A control that a selector takes out, or may.
#[derive(Serialize, ToSchema)]
#[schema(as = ExcludedControl)]
struct ControlView {
    /// The control.
    element: String,
    /// Its ARIA role.
    role: String,
    /// Ids of the names of its events.
    names: Vec<String>,
    /// How many events those have.
    events: i64,
    /// The day when it was last seen.
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
    /// `itself`, `around` (something around it is selected) or `perhaps`.
    hit: &'static str,
    /// What it says; null without the scope samples.
    said: Option<SaidView>,
}

/// A path that is taken out.
#[derive(Serialize, ToSchema)]
#[schema(as = ExcludedPath)]
struct PathView {
    /// The path, with `:id` in the place of ids.
    path: String,
    /// How many of the newest events were there.
    events: usize,
}

async fn try_out(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<OfTry>,
) -> Result<Json<TriedView>, Problem> {
    let known = known(&console, &caller.project).await?;
    let (kind, entry) = (asked.kind.into(), asked.entry.trim());
    let found = try_entry(&caller.acting(), &known, caller.samples().as_ref(), (kind, entry)).await;
    let found = found.map_err(|undone| at_entry(undone, &caller))?;
    let control = |one: exclusions::Control| ControlView {
        element: one.element.to_string(),
        role: one.role,
        names: one.names.into_iter().map(|(id, _)| id).collect(),
        events: one.events,
        last: one.last,
        hit: match one.hit {
            Hit::Itself => "itself",
            Hit::Around => "around",
            Hit::Perhaps => "perhaps",
        },
        said: one.said.map(SaidView::said),
    };
    Ok(Json(TriedView {
        hits: found.hits,
        perhaps: found.perhaps,
        events: found.events,
        of: found.of,
        holds: found.holds,
        untold: found.untold,
        controls: found.controls.into_iter().map(control).collect(),
        paths: found.paths.into_iter().map(|(path, events)| PathView { path, events }).collect(),
    }))
}

/// A selector or path.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExclusionEntry)]
struct Entry {
    /// Which of the two.
    kind: Kind,
    /// The selector or path.
    #[schema(min_length = 1, max_length = 500)]
    entry: String,
    /// The settings' version that was read: where it is another one by now, nothing is changed.
    version: Option<u64>,
}

/// What is wrong with an entry, or what holds now.
fn at_entry(undone: Undone, caller: &Caller) -> Problem {
    match undone {
        Undone::Wrong(problem) => Problem::invalid(problem.text).at("entry"),
        other => other.told(|| stale(caller.project.version, &caller.project.settings)),
    }
}

/// The caller with the settings as they stand now, for whoever was too late.
async fn now(mut caller: Caller) -> Result<Caller, Problem> {
    caller.project = caller.store.project(&caller.project.id).await?;
    Ok(caller)
}

async fn add(caller: Caller, Given(given): Given<Entry>) -> Result<Response, Problem> {
    let version = given.version.unwrap_or(caller.project.version);
    let entry = (given.kind.into(), given.entry.trim());
    match exclusions::add(&caller.acting(), entry, version).await {
        Ok(version) => Ok(tagged(version, Saved { version })),
        Err(undone) => Err(at_entry(undone, &now(caller).await?)),
    }
}

async fn remove(caller: Caller, Given(given): Given<Entry>) -> Result<Response, Problem> {
    let version = given.version.unwrap_or(caller.project.version);
    let entry = (given.kind.into(), given.entry.trim());
    match exclusions::remove(&caller.acting(), entry, version).await {
        Ok(Some(version)) => Ok(tagged(version, Saved { version })),
        Ok(None) => Err(Problem::not_found()),
        Err(undone) => Err(at_entry(undone, &now(caller).await?)),
    }
}

/// A group or control that people switched off.
#[derive(Serialize, ToSchema)]
#[schema(as = SwitchedOff)]
struct OffView {
    /// What it is called.
    called: String,
    /// The group; null for a control.
    group: Option<String>,
    /// The control; null for a group.
    element: Option<String>,
    /// Who switched it off.
    by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    made: Timestamp,
    /// The decision that did.
    decision: String,
}

async fn list_off(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<Part>,
) -> Result<Json<Page<OffView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Moment>(asked.after.as_deref())?);
    let known = known(&console, &caller.project).await?;
    let moment = |one: &exclusions::Off<'_>| Moment(one.made.as_millis(), one.decision.0);
    let mut left = off(&known);
    left.retain(|one| begun.is_none_or(|begun| moment(one) < begun));
    let next = left.get(limit).and(left.get(limit - 1)).map(|last| moment(last).to_string());
    let view = |one: exclusions::Off<'_>| {
        let (group, element) = match one.thing {
            Thing::Group(group) => (Some(group), None),
            Thing::Element(element) => (None, Some(element)),
        };
        let of_group = |id| known.group(id).map_or_else(|| id.to_string(), |group| group.name.clone());
        OffView {
            called: group.map(of_group).or(element.map(|id| called(&known, id))).unwrap_or_default(),
            group: group.map(|id| id.to_string()),
            element: element.map(|id| id.to_string()),
            by: one.by.to_owned(),
            made: one.made,
            decision: one.decision.to_string(),
        }
    };
    Ok(Json(Page { items: left.into_iter().take(limit).map(view).collect(), next }))
}
