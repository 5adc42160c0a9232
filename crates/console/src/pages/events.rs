//! A project's events by name: search, counts, one name with its properties and history, and what people decide about it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Action, Change, ElementId, NameId, Project};
use convizit_pipeline::{FormView, NameView};
use convizit_store::Store;

use super::decisions::{Past, history, not_renamed, seen};
use crate::Console;
use crate::access::{Member, Samples};
use crate::acts::Undone;
use crate::acts::decisions::{self, ON_NO_CONTROL, capture_of, decide, is_about};
use crate::chart::{Chart, chart};
use crate::known::{HOURS, Known, known};
use crate::page::{Chrome, Pager, Problem, Refusal, again, count, escaped, html, minute, see};

/// Names on a page.
const PAGE: usize = 50;
/// Steps of a name's sparkline, of `STEP_HOURS` hours each: a week.
pub(super) const STEPS: i64 = 28;
pub(super) const STEP_HOURS: i64 = 6;
/// Example values of a property.
const EXAMPLES: usize = 3;
/// States that the list can be narrowed to, with their words.
const STATES: [(&str, &str); 5] = [
    ("", "all"),
    ("published", "published"),
    ("provisional", "provisional"),
    ("given", "renamed by people"),
    ("not-captured", "not captured"),
];

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    chrome: Chrome,
    project: String,
    like: String,
    states: Vec<(&'static str, &'static str, bool)>,
    shown: Vec<Line>,
    all: usize,
    may_edit: bool,
    pager: Pager,
    problem: Problem,
}

/// A name in the list.
struct Line {
    id: String,
    text: String,
    made_as: Option<String>,
    events: String,
    badge: (&'static str, &'static str),
    /// Whether there is something to capture or not.
    of_control: bool,
    chosen: bool,
    chart: Chart,
}

pub(super) fn badge(name: &NameView) -> (&'static str, &'static str) {
    match (name.captured, name.published, &name.made_as) {
        (false, ..) => ("bad", "not captured"),
        (_, _, Some(_)) => ("", "given"),
        (_, true, _) => ("good", "published"),
        _ => ("warn", "provisional"),
    }
}

fn is_in_state(name: &NameView, state: &str) -> bool {
    match state {
        "published" => name.captured && name.published,
        "provisional" => name.captured && !name.published,
        "given" => name.made_as.is_some(),
        "not-captured" => !name.captured,
        _ => true,
    }
}

/// The names that a search finds, the most frequent first.
pub(super) fn found<'a>(known: &'a Known, like: &str, fits: impl Fn(&NameView) -> bool) -> Vec<&'a NameView> {
    let lower = like.to_lowercase();
    let held = |name: &&NameView| fits(name) && (lower.is_empty() || name.text.to_lowercase().contains(&lower));
    known.by_events().filter(held).collect()
}

async fn list_page(
    console: &Console,
    member: &Member,
    (chosen, problem): (BTreeSet<String>, Problem),
) -> Result<EventsPage, Refusal> {
    let (store, project, query) = (&member.asking.store, &member.project, &member.asking.query);
    // A form says what it was made from as the address does.
    let said = |name| Some(query.get(name)).filter(|text| !text.is_empty()).unwrap_or(member.asking.fields.get(name));
    let (like, state) = (said("like").trim(), said("state"));
    let known = known(console, project).await?;
    let names = found(&known, like, |name| is_in_state(name, state));
    let from: usize = said("from").parse().unwrap_or(0);
    let page: Vec<&NameView> = names.iter().copied().skip(from).take(PAGE).collect();
    let ids: Vec<u64> = page.iter().map(|name| name.id.0).collect();
    let hour = member.asking.now().hour();
    let hours = store.events_of_names_from(project.number, &ids, (hour - STEPS * STEP_HOURS + 1, STEP_HOURS)).await?;
    let none = HashMap::new();
    let shown = page.iter().map(|name| Line {
        id: name.id.to_string(),
        text: name.text.clone(),
        made_as: name.made_as.clone(),
        events: count(known.events(name.id)),
        badge: badge(name),
        of_control: name.element.is_some() || name.group.is_some(),
        chosen: chosen.contains(&name.id.to_string()),
        chart: chart(hours.get(&name.id.0).unwrap_or(&none), hour, STEPS, STEP_HOURS),
    });
    let path = format!("/p/{}/events?like={}&state={}", project.id, escaped(like), escaped(state));
    Ok(EventsPage {
        chrome: member.asking.chrome("Events", "events"),
        project: project.id.to_string(),
        like: like.to_owned(),
        states: STATES.iter().map(|(word, means)| (*word, *means, *word == state)).collect(),
        shown: shown.collect(),
        all: known.catalogue.names.len(),
        may_edit: member.may(Action::EditCapture),
        pager: Pager::new(&path, "from", (from, PAGE, names.len())),
        problem,
    })
}

pub(super) async fn list(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    Ok(html(&list_page(&console, &member, (BTreeSet::new(), Problem::default())).await?))
}

/// Several names at once: captured or not.
pub(super) async fn capture_several(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let fields = &member.asking.fields;
    let chosen: BTreeSet<String> = fields.all("name").map(str::to_owned).collect();
    let fails = async |text: &str| -> Result<Response, Refusal> {
        let problem = Problem::new("several", text);
        Ok(again(&list_page(&console, &member, (chosen.clone(), problem)).await?))
    };
    let captured = match fields.get("captured") {
        "yes" => true,
        "no" => false,
        _ => return fails("Say with one of the two buttons what is to become of them.").await,
    };
    let known = known(&console, &member.project).await?;
    let ids = chosen.iter().map(String::as_str);
    if let Err(undone) = decisions::capture_several(&member.acting(), &known, ids, captured).await {
        return match undone {
            Undone::Wrong(problem) => fails(&problem.text).await,
            other => Err(other.into()),
        };
    }
    let path = format!(
        "/p/{}/events?like={}&state={}&from={}",
        member.project.id,
        escaped(fields.get("like")),
        escaped(fields.get("state")),
        escaped(fields.get("from"))
    );
    Ok(see(&path, if captured { "several-captured" } else { "several-not-captured" }))
}

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    chrome: Chrome,
    project: String,
    id: String,
    name: NameView,
    since: String,
    badge: (&'static str, &'static str),
    events: String,
    chart: Chart,
    role: String,
    /// Id and name of the group, and whether the name is of its items.
    group: Option<(String, String, bool)>,
    of_control: bool,
    may_edit: bool,
    /// `None` for who has not the right.
    properties: Option<Vec<Property>>,
    seen_as: Option<Vec<Form>>,
    /// Whether it was seen in several forms.
    may_split: bool,
    history: Vec<Past>,
    back: String,
    entered: String,
    problem: Problem,
}

/// A property with what it was.
struct Property {
    name: String,
    kind: &'static str,
    examples: String,
}

/// What a control was seen as.
pub(super) struct Form {
    pub(super) element: ElementId,
    pub(super) number: usize,
    /// For those who see samples.
    pub(super) said: Option<(String, String, String)>,
    pub(super) since: String,
    pub(super) last: String,
    pub(super) sure: String,
    /// Whether it can be split off: the first one stays.
    pub(super) splits: bool,
}

/// What kind of value a property has, and examples of it.
pub(crate) type Examples = BTreeMap<String, (&'static str, Vec<String>)>;

/// The properties that the newest events of a name have, with example values.
pub(crate) async fn examples(_: &Samples, store: &Store, project: &Project, name: NameId) -> Result<Examples, Refusal> {
    let mut found = Examples::new();
    for event in store.samples(project.number, name.0).await? {
        for (key, value) in event.properties {
            let (kind, text) = match &value {
                serde_json::Value::Number(number) => ("number", number.to_string()),
                serde_json::Value::Bool(truth) => ("yes or no", if *truth { "yes" } else { "no" }.to_owned()),
                serde_json::Value::Null => ("empty", "–".to_owned()),
                serde_json::Value::String(text) => ("text", text.clone()),
                other => ("list", other.to_string()),
            };
            let (_, examples) = found.entry(key).or_insert((kind, Vec::new()));
            if !examples.contains(&text) && examples.len() < EXAMPLES {
                examples.push(text);
            }
        }
    }
    Ok(found)
}

async fn properties(right: &Samples, store: &Store, project: &Project, name: NameId) -> Result<Vec<Property>, Refusal> {
    Ok(examples(right, store, project, name)
        .await?
        .into_iter()
        .map(|(name, (kind, examples))| Property { name, kind, examples: examples.join(" · ") })
        .collect())
}

/// What the control of a name was seen as.
pub(super) fn forms(known: &Known, name: &NameView, samples: Option<&Samples>) -> Vec<Form> {
    let form = |(element, number, form): (ElementId, usize, &FormView)| Form {
        element,
        number,
        said: samples.map(|_| (form.label.clone(), form.section.clone(), form.page.clone())),
        since: minute(form.since),
        last: minute(form.last).chars().take(10).collect(),
        sure: match (number, form.probability) {
            (0, _) => "first".to_owned(),
            (_, Some(sure)) => format!("{:.0} %", sure * 100.0),
            (_, None) => "by key".to_owned(),
        },
        splits: number > 0,
    };
    decisions::forms(known, name).into_iter().map(form).collect()
}

async fn page(
    console: &Console,
    member: &Member,
    id: &str,
    (entered, problem): (Option<&str>, Problem),
) -> Result<EventPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let known = known(console, project).await?;
    let name = known.find(id)?.clone();
    let hour = member.asking.now().hour();
    let hours = store.events_of_names_from(project.number, &[name.id.0], (hour - HOURS + 1, 3)).await?;
    let none = HashMap::new();
    let role = name.element.and_then(|id| known.element(id)).map(|element| element.role.clone());
    let group = known.group_around(&name).and_then(|id| known.group(id));
    let samples = member.samples();
    let properties = match &samples {
        Some(right) => Some(properties(right, store, project, name.id).await?),
        None => None,
    };
    let forms = forms(&known, &name, samples.as_ref());
    Ok(EventPage {
        chrome: member.asking.chrome(&name.text, "events"),
        project: project.id.to_string(),
        id: name.id.to_string(),
        since: minute(name.since),
        badge: badge(&name),
        events: count(known.events(name.id)),
        chart: chart(hours.get(&name.id.0).unwrap_or(&none), hour, HOURS / 3, 3),
        role: role.unwrap_or_default(),
        group: group.map(|group| (group.id.to_string(), group.name.clone(), name.group.is_some())),
        of_control: name.element.is_some() || name.group.is_some(),
        may_edit: member.may(Action::EditCapture),
        properties,
        may_split: forms.iter().any(|form| form.splits),
        seen_as: samples.map(|_| forms),
        history: history(store, &known, |change| is_about(change, &name)).await,
        back: name.id.to_string(),
        entered: entered.unwrap_or(&name.text).to_owned(),
        problem,
        name,
    })
}

pub(super) async fn show(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    Ok(html(&page(&console, &member, &id, (None, Problem::default())).await?))
}

/// What is known, and the name of the address.
pub(super) async fn named(console: &Console, member: &Member, id: &str) -> Result<(Arc<Known>, NameView), Refusal> {
    let known = known(console, &member.project).await?;
    let name = known.find(id)?.clone();
    Ok((known, name))
}

pub(super) async fn rename(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (known, name) = named(&console, &member, &id).await?;
    let text = member.asking.fields.get("text").trim();
    let change = Change::Rename { name: name.id, text: text.to_owned() };
    // Two people at once: the second sees what the first has made of it, and loses nothing typed.
    match decisions::rename(&member.acting(), &known, (&name.text, seen(&member)), change).await {
        Ok(_) => Ok(see(&format!("/p/{}/events/{id}", member.project.id), "renamed")),
        Err(undone) => {
            let problem = not_renamed(undone, &name.text)?;
            Ok(again(&page(&console, &member, &id, (Some(text), problem)).await?))
        }
    }
}

pub(super) async fn capture(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (known, name) = named(&console, &member, &id).await?;
    let captured = member.asking.fields.get("captured") == "yes";
    let Some(change) = capture_of(&name, captured) else {
        return Err(Refusal::Invalid(ON_NO_CONTROL.to_owned()));
    };
    decide(&member.acting(), &known, change).await?;
    let done = if captured { "captured" } else { "not-captured" };
    Ok(see(&format!("/p/{}/events/{id}", member.project.id), done))
}
