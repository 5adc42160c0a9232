//! A project's events by name: search, counts, one name with its properties and history, and what people decide about it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Action, Change, Decision, DecisionId, NameId, Project, Timestamp};
use convizit_pipeline::{Catalogue, NameView, Registry};
use convizit_store::Store;

use crate::Console;
use crate::access::{Member, Samples};
use crate::chart::{Chart, chart};
use crate::page::{Chrome, Problem, Refusal, again, count, escaped, html, minute, see};

/// Names on a page.
const PAGE: usize = 50;
/// Steps of a name's sparkline, of `STEP_HOURS` hours each: a week.
const STEPS: i64 = 28;
const STEP_HOURS: i64 = 6;
/// What was read of a project is used again for so long while events arrive.
const FRESH_MILLIS: i64 = 2_000;
/// Up to this age it is shown while it is read anew.
const STALE_MILLIS: i64 = 10_000;
/// Projects whose names are kept in memory at most.
const KEPT: usize = 64;
/// Example values of a property.
const EXAMPLES: usize = 3;

/// What is known of a project's names, kept for a moment since reading it all takes time.
#[derive(Default)]
pub(crate) struct Catalogues(Mutex<HashMap<i64, Kept>>);

struct Kept {
    at: Timestamp,
    version: u64,
    events: i64,
    known: Arc<Known>,
    /// Whether somebody reads it anew at this moment.
    reading: bool,
}

/// A project's registry and what it shows.
pub(super) struct Known {
    pub(super) registry: Registry,
    pub(super) catalogue: Catalogue,
    /// Events of each name.
    events: HashMap<u64, i64>,
}

/// What is known of a project: as it is now where people changed something, else at most two seconds old; while somebody looks
/// at page after page, what is a little older is shown while it is read anew.
pub(super) async fn known(console: &Console, project: &Project) -> Result<Arc<Known>, Refusal> {
    let store = console.store();
    let (now, version, events) =
        (store.clock().now(), store.control_version(), store.last_event(project.number).await?);
    {
        let mut kept = catalogues(console);
        if let Some(kept) = kept.get_mut(&project.number)
            && kept.version == version
        {
            let age = now.since(kept.at);
            if kept.events != events && (FRESH_MILLIS..STALE_MILLIS).contains(&age) && !kept.reading {
                kept.reading = true;
                let (console, project) = (console.clone(), project.number);
                tokio::spawn(async move {
                    if let Err(error) = read(&console, project, (now, version, events)).await {
                        tracing::warn!(?error, project, "what is known of a project could not be read anew");
                        if let Some(kept) = catalogues(&console).get_mut(&project) {
                            kept.reading = false;
                        }
                    }
                });
            }
            if kept.events == events || age < STALE_MILLIS {
                return Ok(kept.known.clone());
            }
        }
    }
    read(console, project.number, (now, version, events)).await
}

fn catalogues(console: &Console) -> MutexGuard<'_, HashMap<i64, Kept>> {
    console.catalogues().0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads all that is known of a project and keeps it, as of a time, a version of the settings and a number of events.
async fn read(
    console: &Console,
    project: i64,
    (at, version, events): (Timestamp, u64, i64),
) -> Result<Arc<Known>, Refusal> {
    let store = console.store();
    let (state, by_name) = (store.load_state(project).await?, store.events_by_name(project).await?);
    // Ten thousand names take their time.
    let read = tokio::task::spawn_blocking(move || {
        let mut registry = Registry::default();
        registry.load(&state)?;
        Ok(Arc::new(Known { catalogue: registry.catalogue(), registry, events: by_name }))
    });
    let known = read.await.map_err(|_| Refusal::Failed("the names of the project could not be read".to_owned()))?;
    let known: Arc<Known> = known.map_err(Refusal::Failed)?;
    let mut kept = catalogues(console);
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(project, Kept { at, version, events, known: known.clone(), reading: false });
    Ok(known)
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage<'a> {
    chrome: Chrome,
    project: String,
    like: &'a str,
    shown: Vec<Line>,
    found: usize,
    all: usize,
    from: usize,
    before: Option<String>,
    after: Option<String>,
}

/// A name in the list.
struct Line {
    id: String,
    text: String,
    made_as: Option<String>,
    events: String,
    badge: (&'static str, &'static str),
    chart: Chart,
}

fn badge(name: &NameView) -> (&'static str, &'static str) {
    match (name.captured, name.published, &name.made_as) {
        (false, ..) => ("bad", "not captured"),
        (_, _, Some(_)) => ("", "given"),
        (_, true, _) => ("good", "published"),
        _ => ("warn", "provisional"),
    }
}

pub(super) async fn list(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let (store, project, query) = (&member.asking.store, &member.project, &member.asking.query);
    let like = query.get("like").trim();
    let known = known(&console, project).await?;
    let lower = like.to_lowercase();
    let mut names: Vec<(&NameView, i64)> = known
        .catalogue
        .names
        .iter()
        .filter(|name| lower.is_empty() || name.text.to_lowercase().contains(&lower))
        .map(|name| (name, known.events.get(&name.id.0).copied().unwrap_or(0)))
        .collect();
    names.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.text.cmp(&b.text)));
    let from: usize = query.get("from").parse().unwrap_or(0);
    let page: Vec<_> = names.iter().skip(from).take(PAGE).collect();
    let ids: Vec<u64> = page.iter().map(|(name, _)| name.id.0).collect();
    let hour = member.asking.now().hour();
    let hours = store.events_of_names_from(project.number, &ids, hour - STEPS * STEP_HOURS + 1).await?;
    let none = HashMap::new();
    let shown = page.iter().map(|(name, events)| Line {
        id: name.id.to_string(),
        text: name.text.clone(),
        made_as: name.made_as.clone(),
        events: count(*events),
        badge: badge(name),
        chart: chart(hours.get(&name.id.0).unwrap_or(&none), hour, STEPS, STEP_HOURS),
    });
    let link = |from: usize| format!("/p/{}/events?like={}&from={from}", project.id, escaped(like));
    Ok(html(&EventsPage {
        chrome: member.asking.chrome("Events", "events"),
        project: project.id.to_string(),
        like,
        shown: shown.collect(),
        found: names.len(),
        all: known.catalogue.names.len(),
        from,
        before: (from > 0).then(|| link(from.saturating_sub(PAGE))),
        after: (from + PAGE < names.len()).then(|| link(from + PAGE)),
    }))
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
    group: Option<String>,
    of_control: bool,
    may_edit: bool,
    /// `None` for who has not the right.
    properties: Option<Vec<Property>>,
    forms: Option<Vec<(String, String, String, String)>>,
    history: Vec<Past>,
    entered: String,
    problem: Problem,
}

/// A property with what it was.
struct Property {
    name: String,
    kind: &'static str,
    examples: String,
}

/// A decision about this name.
struct Past {
    id: DecisionId,
    when: String,
    who: String,
    what: String,
    holds: bool,
}

/// The properties that the newest events of a name have, with example values.
async fn properties(_: &Samples, store: &Store, project: &Project, name: NameId) -> Result<Vec<Property>, Refusal> {
    let mut found: BTreeMap<String, (&'static str, Vec<String>)> = BTreeMap::new();
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
    Ok(found
        .into_iter()
        .map(|(name, (kind, examples))| Property { name, kind, examples: examples.join(" · ") })
        .collect())
}

/// Whether a decision is about this name, its element or its group.
fn is_about(change: &Change, name: &NameView) -> bool {
    match change {
        Change::Rename { name: of, .. } => *of == name.id,
        Change::RenameGroup { group, .. } | Change::CaptureGroup { group, .. } => name.group == Some(*group),
        Change::CaptureElement { element, .. } | Change::Split { element, .. } => name.element == Some(*element),
        Change::Merge { element, into } => name.element == Some(*element) || name.element == Some(*into),
        Change::Regroup { group, into } => name.group == Some(*group) || name.group == Some(*into),
        Change::Undo { .. } => false,
    }
}

fn words(change: &Change) -> String {
    match change {
        Change::Rename { text, .. } => format!("renamed to “{text}”"),
        Change::RenameGroup { text, .. } => format!("its group renamed to “{text}”"),
        Change::Merge { .. } => "merged with another control".to_owned(),
        Change::Split { form, .. } => format!("form {form} split off"),
        Change::Regroup { .. } => "its group joined with another".to_owned(),
        Change::CaptureElement { captured: true, .. } | Change::CaptureGroup { captured: true, .. } => {
            "captured again".to_owned()
        }
        Change::CaptureElement { .. } | Change::CaptureGroup { .. } => "no longer captured".to_owned(),
        Change::Undo { decision } => format!("decision {decision} undone"),
    }
}

/// Who decided, as people call them.
pub(super) async fn who(store: &Store, actor: &str) -> String {
    let number = actor.strip_prefix("account:").and_then(|text| text.parse().ok());
    match number {
        Some(number) => store.account(number).await.map_or_else(|_| actor.to_owned(), |account| account.name),
        None => actor.to_owned(),
    }
}

async fn history(store: &Store, known: &Known, name: &NameView) -> Vec<Past> {
    let mut past = Vec::new();
    let own = |decision: &&Decision| is_about(&decision.what, name) && !decision.proposed;
    for decision in known.registry.decisions().into_iter().rev().filter(own).take(20) {
        past.push(Past {
            id: decision.id,
            when: minute(decision.made),
            who: who(store, &decision.by).await,
            what: words(&decision.what),
            holds: known.registry.holds(decision.id) || decision.from.is_none(),
        });
    }
    past
}

async fn page(
    console: &Console,
    member: &Member,
    id: &str,
    (entered, problem): (Option<&str>, Problem),
) -> Result<EventPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let known = known(console, project).await?;
    let name = find(&known, id)?.clone();
    let hour = member.asking.now().hour();
    let hours = store.events_of_names_from(project.number, &[name.id.0], hour - 7 * 24 + 1).await?;
    let none = HashMap::new();
    let element = name.element.and_then(|id| known.catalogue.elements.iter().find(|element| element.id == id));
    let group = name.group.and_then(|id| known.catalogue.groups.iter().find(|group| group.id == id));
    let samples = member.samples();
    let properties = match &samples {
        Some(right) => Some(properties(right, store, project, name.id).await?),
        None => None,
    };
    let forms = samples.as_ref().map(|_| {
        let forms = element.map(|element| element.forms.as_slice()).unwrap_or_default().iter();
        forms.map(|form| (form.label.clone(), form.section.clone(), form.page.clone(), minute(form.since))).collect()
    });
    Ok(EventPage {
        chrome: member.asking.chrome(&name.text, "events"),
        project: project.id.to_string(),
        id: name.id.to_string(),
        since: minute(name.since),
        badge: badge(&name),
        events: count(store.events_of_name(project.number, name.id.0).await?),
        chart: chart(hours.get(&name.id.0).unwrap_or(&none), hour, 7 * 24 / 3, 3),
        role: element.map(|element| element.role.clone()).unwrap_or_default(),
        group: group.map(|group| group.name.clone()),
        of_control: name.element.is_some() || name.group.is_some(),
        may_edit: member.may(Action::EditCapture),
        properties,
        forms,
        history: history(store, &known, &name).await,
        entered: entered.unwrap_or(&name.text).to_owned(),
        problem,
        name,
    })
}

fn find<'a>(known: &'a Known, id: &str) -> Result<&'a NameView, Refusal> {
    let id: NameId = id.parse().map_err(|_| Refusal::NotFound)?;
    known.catalogue.names.iter().find(|name| name.id == id).ok_or(Refusal::NotFound)
}

pub(super) async fn show(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    Ok(html(&page(&console, &member, &id, (None, Problem::default())).await?))
}

/// Asks the registry whether a decision can be made, and takes it down.
async fn decide(member: &Member, known: &Known, change: Change) -> Result<Result<(), String>, Refusal> {
    if let Err(problem) = known.registry.preview(&change) {
        return Ok(Err(problem));
    }
    member.asking.store.decide(&member.project, &member.account.actor(), change).await?;
    Ok(Ok(()))
}

pub(super) async fn rename(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let known = known(&console, &member.project).await?;
    let name = find(&known, &id)?;
    let text = member.asking.fields.get("text").trim();
    // Two people at once: the second sees what the first has made of it, and loses nothing typed.
    let seen = member.asking.fields.get("seen");
    if !seen.is_empty() && seen != name.text {
        let problem =
            format!("Somebody has renamed it to “{}” meanwhile. Send again to rename it all the same.", name.text);
        let page = page(&console, &member, &id, (Some(text), Problem::new("text", problem))).await?;
        return Ok(again(&page));
    }
    let change = Change::Rename { name: name.id, text: text.to_owned() };
    match decide(&member, &known, change).await? {
        Ok(()) => Ok(see(&format!("/p/{}/events/{id}", member.project.id), "renamed")),
        Err(problem) => {
            let page = page(&console, &member, &id, (Some(text), Problem::new("text", problem))).await?;
            Ok(again(&page))
        }
    }
}

pub(super) async fn capture(
    State(console): State<Console>,
    member: Member,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let known = known(&console, &member.project).await?;
    let name = find(&known, &id)?;
    let captured = member.asking.fields.get("captured") == "yes";
    let change = match (name.group, name.element) {
        (Some(group), _) => Change::CaptureGroup { group, captured },
        (None, Some(element)) => Change::CaptureElement { element, captured },
        (None, None) => {
            let text = "this event is on no control: which types of events are kept stands in the project's settings";
            return Err(Refusal::Invalid(text.to_owned()));
        }
    };
    decide(&member, &known, change).await?.map_err(Refusal::Invalid)?;
    let done = if captured { "captured" } else { "not-captured" };
    Ok(see(&format!("/p/{}/events/{id}", member.project.id), done))
}

pub(super) async fn undo(
    State(console): State<Console>,
    member: Member,
    Path((_, decision)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let decision: DecisionId = decision.parse().map_err(|_| Refusal::NotFound)?;
    let known = known(&console, &member.project).await?;
    decide(&member, &known, Change::Undo { decision }).await?.map_err(Refusal::Invalid)?;
    let back = member.asking.fields.get("name");
    let path = match back.parse::<NameId>() {
        Ok(name) => format!("/p/{}/events/{name}", member.project.id),
        Err(_) => format!("/p/{}/events", member.project.id),
    };
    Ok(see(&path, "undone"))
}
