//! Saying that two names' controls, or groups, are one, and that a form of a control is one of its own: each with a look at what it does.

use axum::Json;
use axum::extract::{Path, State};
use convizit_model::{Change, Timestamp};
use convizit_pipeline::{FormView, NameChange};
use convizit_store::Scope;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::decisions::{Decided, HOLDS};
use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Page, at};
use crate::Console;
use crate::access::{Caller, Samples};
use crate::acts::Undone;
use crate::acts::decisions::{decide_seen, form_of, forms, joining, preview};
use crate::known::{Known, known};

/// Names that a preview shows.
const SHOWN: usize = 50;

pub(super) fn routes(api: Api) -> Api {
    let looks = Call::get(
        at!("/events/{event}/merge"),
        Scope::Read,
        "preview_merge",
        "What merging a name's control, or its group, into another one's would do",
    );
    let merges = Call::post(
        at!("/events/{event}/merge"),
        Scope::Capture,
        "merge_event",
        "Makes a name's control, or its group, one with another one's; past events stay as they are",
    );
    let seen_as = Call::get(
        at!("/events/{event}/forms"),
        Scope::Read,
        "list_event_forms",
        "What the control of a name was seen as; what it said with the scope samples",
    );
    let looks_apart = Call::get(
        at!("/events/{event}/split"),
        Scope::Read,
        "preview_split",
        "What making a form of a control one of its own would do",
    );
    let splits = Call::post(
        at!("/events/{event}/split"),
        Scope::Capture,
        "split_event",
        "Makes a form of a control one of its own; its names are made with its next events",
    );
    api.add(looks.looks().asks::<OfMerge>().answers::<Preview>(200, "What it would do."), look)
        .add(merges.takes::<Merge>().answers::<Decided>(200, HOLDS), merge)
        .add(seen_as.answers::<Page<Form>>(200, "Forms, the first one first."), list_forms)
        .add(looks_apart.looks().asks::<OfForm>().answers::<Preview>(200, "What it would do."), look_apart)
        .add(splits.takes::<Split>().answers::<Decided>(200, HOLDS), split)
}

/// What a change would do to names.
#[derive(Serialize, ToSchema)]
struct Preview {
    /// How many decisions there are: given as `seen`, nothing is decided where there are more by then.
    seen: usize,
    /// The first 50 names that would say something else, belong elsewhere or be kept otherwise.
    names: Vec<Before>,
    /// How many there are beside those.
    more: usize,
}

/// A name before and after.
#[derive(Serialize, ToSchema)]
#[schema(as = NameChange)]
struct Before {
    /// The name's id.
    id: String,
    /// What it says.
    before: String,
    /// What it would say.
    after: String,
    /// Whether such events would be kept.
    captured: bool,
    /// How many there are so far.
    events: i64,
}

async fn shown(known: &std::sync::Arc<Known>, change: Change) -> Result<Json<Preview>, Problem> {
    let changes = preview(known, change).await?;
    let line = |change: NameChange| Before {
        id: change.id.to_string(),
        before: change.before.text,
        after: change.after.text,
        captured: change.after.captured,
        events: known.events(change.id),
    };
    Ok(Json(Preview {
        seen: known.registry.settled(),
        more: changes.len().saturating_sub(SHOWN),
        names: changes.into_iter().take(SHOWN).map(line).collect(),
    }))
}

/// Where something was decided since it was looked at.
fn undecided(undone: Undone, known: &Known) -> Problem {
    undone.told(|| Problem::stale("seen", json!(known.registry.settled())))
}

/// The change that joins two names of the project.
fn joined(known: &Known, id: &str, into: &str) -> Result<Change, Problem> {
    let name = known.find(id)?;
    let into = known.find(into).map_err(|_| Problem::invalid("there is no such name").at("into"))?;
    Ok(joining(name, into)?)
}

/// With which name.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfMerge {
    /// The id of the name that stays.
    into: String,
}

async fn look(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Asked(asked): Asked<OfMerge>,
) -> Result<Json<Preview>, Problem> {
    let known = known(&console, &caller.project).await?;
    shown(&known, joined(&known, &id, &asked.into)?).await
}

/// With which name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Merge {
    /// The id of the name that stays; both are of controls, or both of groups' items.
    into: String,
    /// `seen` of the preview: where something else was decided since, nothing is changed.
    seen: Option<usize>,
}

async fn merge(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Merge>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let change = joined(&known, &id, &given.into)?;
    let made = decide_seen(&caller.acting(), &known, given.seen, change).await;
    Ok(Json(made.map_err(|undone| undecided(undone, &known))?.into()))
}

/// What a control was seen as.
#[derive(Serialize, ToSchema)]
struct Form {
    /// The control: the name's own, or one that is part of it.
    element: String,
    /// The form's number there; 0 is what it was first seen as, which stays.
    form: usize,
    /// When it was first seen so.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// The day when it was last seen so.
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
    /// How sure it was that this is the same control, from 0 to 1; null where a key said so, and for the first.
    probability: Option<f64>,
    /// What it said; null without the scope samples.
    said: Option<SaidView>,
}

/// What a control said, and where.
#[derive(Serialize, ToSchema)]
#[schema(as = Said)]
pub(super) struct SaidView {
    /// What it said, without numbers.
    label: String,
    /// The section around it.
    section: String,
    /// The path where it was first seen so.
    page: String,
}

impl SaidView {
    fn of(_: &Samples, form: &FormView) -> Self {
        Self { label: form.label.clone(), section: form.section.clone(), page: form.page.clone() }
    }

    /// Label, section and page, of those who were shown them.
    pub(super) fn said((label, section, page): (String, String, String)) -> Self {
        Self { label, section, page }
    }
}

async fn list_forms(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Page<Form>>, Problem> {
    let known = known(&console, &caller.project).await?;
    let (name, samples) = (known.find(&id)?, caller.samples());
    let view = |(element, number, form): (convizit_model::ElementId, usize, &FormView)| Form {
        element: element.to_string(),
        form: number,
        since: form.since,
        last: form.last,
        probability: form.probability.filter(|_| number > 0),
        said: samples.as_ref().map(|right| SaidView::of(right, form)),
    };
    Ok(Json(Page::whole(forms(&known, name).into_iter().map(view).collect())))
}

/// Which form.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfForm {
    /// The control.
    element: String,
    /// The form's number there, from 1.
    #[param(minimum = 1)]
    form: usize,
}

async fn look_apart(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Asked(asked): Asked<OfForm>,
) -> Result<Json<Preview>, Problem> {
    let known = known(&console, &caller.project).await?;
    let change = form_of(&known, known.find(&id)?, (&asked.element, asked.form))?;
    shown(&known, change).await
}

/// Which form.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Split {
    /// The control.
    element: String,
    /// The form's number there, from 1.
    #[schema(minimum = 1)]
    form: usize,
    /// `seen` of the preview: where something else was decided since, nothing is changed.
    seen: Option<usize>,
}

async fn split(
    State(console): State<Console>,
    caller: Caller,
    Path((_, id)): Path<(String, String)>,
    Given(given): Given<Split>,
) -> Result<Json<Decided>, Problem> {
    let known = known(&console, &caller.project).await?;
    let change = form_of(&known, known.find(&id)?, (&given.element, given.form))?;
    let made = decide_seen(&caller.acting(), &known, given.seen, change).await;
    Ok(Json(made.map_err(|undone| undecided(undone, &known))?.into()))
}
