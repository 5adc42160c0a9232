//! Where a project's events go: how far each destination is, what it refused, a try, and pausing, resuming and removing it.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use convizit_delivery::Preview;
use convizit_model::{Action, Change, Destination, DestinationKind, Project, Rest, Shaping};
use convizit_store::{DeadLetter, DestinationState, Replay, ReplayState, Standing, Store, StoreError};

use super::decisions::who;
use super::destination_form::OwnFields;
use crate::Console;
use crate::access::{Member, Samples};
use crate::acts::destinations::{self, open_settings, place, shown_reason, shown_state};
use crate::chart::{Chart, chart};
use crate::known::known;
use crate::page::{Chrome, Problem, Refusal, again, count, html, minute, see};

/// Refused events on a page.
const LETTERS: i64 = 50;
/// Failures that are shown.
const FAILURES: usize = 5;
/// Renames that a replay can begin with.
const RENAMES: usize = 20;

#[derive(Template)]
#[template(path = "destinations.html")]
struct DestinationsPage {
    chrome: Chrome,
    project: String,
    destinations: Vec<Card>,
    may_edit: bool,
}

/// A destination, as the list and its own page show it.
struct Card {
    name: String,
    kind: String,
    badge: (&'static str, &'static str),
    /// Why it waits, in a sentence.
    paused: Option<String>,
    /// Why it takes nothing, where it is not paused.
    failing: Option<String>,
    sent: String,
    behind: String,
    dead: String,
    types: String,
    /// What it does not get, or otherwise.
    less: Vec<(&'static str, String)>,
    /// Who processes the events; empty where nobody was entered.
    processor: String,
    /// What is to be looked at.
    concern: Option<String>,
    /// Whether anything was ever sent to it.
    tried: bool,
}

/// How a destination stands, with its colour. Where nothing was ever sent, nobody knows whether it takes anything.
pub(super) fn badge(standing: Standing, tried: bool) -> (&'static str, &'static str) {
    let colour = match standing {
        Standing::UpToDate if !tried => return ("warn", "nothing sent yet"),
        Standing::Failing => "bad",
        Standing::Paused | Standing::Off | Standing::Waiting | Standing::Behind => "warn",
        Standing::Sending | Standing::UpToDate => "good",
    };
    (colour, standing.text())
}

/// Why a destination waits that is paused, in a sentence.
pub(super) async fn waits(store: &Store, destination: &Destination) -> Option<String> {
    let why = destination.paused.as_deref()?;
    Some(match destination.rest() {
        Some(Rest { added, actor, on }) => {
            let by = who(store, actor).await;
            let since = if added { "since it was added, " } else { "" };
            format!("Paused {since}by {by} on {on}.")
        }
        None => sentence(&format!("paused: {why}")),
    })
}

impl Card {
    async fn of(store: &Store, state: DestinationState, events: i64, project: &Project) -> Result<Self, Refusal> {
        let tried = store.was_tried(project.number, &state.destination.name).await?;
        let paused = waits(store, &state.destination).await;
        let (standing, trouble) = (state.standing(events), state.trouble());
        let destination = state.destination;
        let concern = destination.concern(&project.settings).map(|concern| concern.what);
        let behind = (events - state.cursor).max(0);
        Ok(Self {
            kind: destination.kind.as_str().to_owned(),
            badge: badge(standing, tried),
            tried,
            failing: trouble.filter(|_| destination.paused.is_none()).map(|text| sentence(&text)),
            processor: destination.processor.as_ref().map(ToString::to_string).unwrap_or_default(),
            concern,
            sent: count(state.cursor),
            behind: count(behind),
            dead: count(state.dead),
            types: if destination.types.is_empty() {
                "all".to_owned()
            } else {
                destination.types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
            },
            less: less(&destination.shaping),
            paused,
            name: destination.name,
        })
    }
}

impl Card {
    /// Whether what a page's address says of the destination is still so.
    fn bears_out(&self, done: &str) -> bool {
        match done {
            "resumed" | "destination-changed" => self.paused.is_none(),
            "paused" => self.paused.is_some(),
            _ => true,
        }
    }
}

/// What a destination does not get, or otherwise, in words.
fn less(shaping: &Shaping) -> Vec<(&'static str, String)> {
    let Shaping { without, when, percent, set, transform } = shaping;
    let fields: Vec<&str> = set.keys().map(String::as_str).collect();
    let all = [
        ("Left out", without.join(", ")),
        ("Condition", when.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("Visitors of a hundred", percent.map(|percent| percent.to_string()).unwrap_or_default()),
        ("Fields of its own", fields.join(", ")),
        ("Transform", transform.clone().unwrap_or_default()),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

/// With a capital at its head and a stop at its end.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let head: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let stop = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{head}{}{stop}", letters.as_str())
}

pub(super) async fn list(member: Member) -> Result<Response, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let events = store.last_event(project.number).await?;
    let mut destinations = Vec::new();
    let sees = member.samples_of_follower().is_some();
    for state in store.destinations(Some(&project.id)).await? {
        let state = shown_state(state, sees);
        destinations.push(Card::of(store, state, events, project).await?);
    }
    let query = &member.asking.query;
    let mut chrome = member.asking.chrome("Destinations", "destinations");
    let of = destinations.iter().find(|card| card.name == query.get("of"));
    if of.is_some_and(|card| !card.bears_out(query.get("done"))) {
        chrome.done = None;
    }
    Ok(html(&DestinationsPage {
        chrome,
        project: project.id.to_string(),
        destinations,
        may_edit: member.may(Action::EditDestinations),
    }))
}

#[derive(Template)]
#[template(path = "destination.html")]
struct DestinationPage {
    chrome: Chrome,
    project: String,
    /// Where this page is.
    base: String,
    card: Card,
    /// It was changed a moment ago, and is paused as before.
    still_paused: bool,
    /// For those who may change it: an address may hold a credential.
    place: Option<String>,
    /// A connector's settings that are no secrets, for the same.
    settings: Vec<(String, String)>,
    last_hour: String,
    chart: Chart,
    failures: Vec<(String, String)>,
    letters: Vec<Letter>,
    more: Option<i64>,
    replays: Vec<Past>,
    renames: Vec<(String, String)>,
    preview: Preview,
    preview_of: &'static str,
    /// For those who may change a connector.
    own: Option<OwnFields>,
    may_edit: bool,
    said: Shown,
    entered: Entered,
    problem: Problem,
}

/// A refused event in the list.
struct Letter {
    number: i64,
    when: String,
    attempts: i64,
    reason: String,
    retry: bool,
}

impl Letter {
    fn of(letter: DeadLetter, sees_samples: bool) -> Self {
        let DeadLetter { number, reason, time, attempts, retry } = letter;
        let reason = shown_reason(reason, sees_samples);
        // What was refused before times were kept has none.
        let when = if time.as_millis() == 0 { "–".to_owned() } else { minute(time) };
        Self { number, when, attempts, reason, retry }
    }
}

/// A replay in the list.
struct Past {
    id: i64,
    range: String,
    sent: String,
    dead: String,
    /// How much of the range is carried out, in percent.
    percent: i64,
    badge: (&'static str, &'static str),
    open: bool,
}

impl From<Replay> for Past {
    fn from(replay: Replay) -> Self {
        let all = (replay.last - replay.first + 1).max(1);
        let done = (replay.done - replay.first + 1).clamp(0, all);
        Self {
            id: replay.id,
            range: format!("{} to {}", minute(replay.from), minute(replay.to)),
            sent: count(replay.sent),
            dead: count(replay.dead),
            percent: done.saturating_mul(100) / all,
            badge: match replay.state {
                ReplayState::Open => ("warn", "open"),
                ReplayState::Done => ("good", "done"),
                ReplayState::Stopped => ("", "stopped"),
            },
            open: replay.state == ReplayState::Open,
        }
    }
}

/// What the page says beside what stands on it anyway.
#[derive(Default)]
pub(super) struct Shown {
    /// A signing secret, which is shown once.
    secret: Option<String>,
    /// What a test came to, which is asked for by the page's address.
    tested: Option<Result<String, String>>,
    /// It is asked for, and not known here any more.
    lost: bool,
}

impl Shown {
    /// A signing secret that was just made.
    pub(super) fn of_secret(secret: Option<String>) -> Self {
        Self { secret, ..Self::default() }
    }
}

/// What was entered in the form of a replay.
#[derive(Default)]
struct Entered {
    since: String,
    from: String,
    to: String,
}

/// How an event would be sent, and which one is shown.
pub(super) async fn preview_for(
    console: &Console,
    member: &Member,
    right: Option<&Samples>,
    destination: &Destination,
) -> Result<(Preview, &'static str), Refusal> {
    let may_edit = member.may(Action::EditDestinations);
    let (preview, real) = destinations::preview(console, &member.acting(), (right, may_edit), destination).await?;
    let of = match (real, right) {
        (true, _) => "the newest event that it gets",
        (false, Some(_)) => "a made-up event, since none of its types is among the newest",
        (false, None) => "a made-up event, since your role does not show samples",
    };
    Ok((preview, of))
}

/// Renames that hold, newest first: the decision's number, and what it did.
async fn renames(console: &Console, member: &Member) -> Result<Vec<(String, String)>, Refusal> {
    let known = known(console, &member.project).await?;
    let decisions = known.registry.decisions().into_iter().rev();
    let holding = decisions.filter(|decision| known.registry.holds(decision.id) || decision.from.is_none());
    let mut renames = Vec::new();
    for decision in holding {
        if let Change::Rename { text, .. } = &decision.what {
            let by = who(&member.asking.store, &decision.by).await;
            renames.push((
                decision.id.to_string(),
                format!("the rename to “{text}” ({} UTC, {by})", minute(decision.made)),
            ));
        }
        if renames.len() == RENAMES {
            break;
        }
    }
    Ok(renames)
}

async fn page(
    console: &Console,
    member: &Member,
    name: &str,
    (said, problem): (Shown, Problem),
) -> Result<DestinationPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let states = store.destinations(Some(&project.id)).await?;
    let state = states.into_iter().find(|state| state.destination.name == name).ok_or(Refusal::NotFound)?;
    let may_edit = member.may(Action::EditDestinations);
    let right = member.samples();
    let sees = right.is_some();
    let state = shown_state(state, sees);
    let (preview, preview_of) = preview_for(console, member, right.as_ref(), &state.destination).await?;
    let before = member.asking.query.get("before").parse().unwrap_or(i64::MAX);
    let letters = store.dead_letters_before(&project.id, name, before, LETTERS + 1).await?;
    let shown = usize::try_from(LETTERS).unwrap_or(0);
    let more = letters.get(shown).and_then(|_| letters.get(shown - 1)).map(|letter| letter.number);
    let failures = store.delivery_failures(project.number, name).await?;
    let hours = store.delivered_by_hour(project.number, name).await?;
    let hour = member.asking.now().hour();
    let fields = &member.asking.fields;
    let field = |name: &str| fields.get(name).to_owned();
    let card = Card::of(store, state.clone(), store.last_event(project.number).await?, project).await?;
    let (mut chrome, done) = (member.asking.chrome(name, "destinations"), member.asking.query.get("done"));
    if !card.bears_out(done) {
        chrome.done = None;
    }
    Ok(DestinationPage {
        chrome,
        still_paused: done == "destination-changed" && card.paused.is_some(),
        project: project.id.to_string(),
        base: path_of(member, name),
        place: may_edit.then(|| where_of(&state.destination)),
        settings: if may_edit { open_settings(console, &state.destination.kind) } else { Vec::new() },
        last_hour: count(hours.get(&hour).copied().unwrap_or(0)),
        chart: chart(&hours, hour, 24, 1),
        failures: failures
            .into_iter()
            .take(FAILURES)
            .map(|one| (minute(one.time), shown_reason(one.reason, sees)))
            .collect(),
        letters: letters.into_iter().take(shown).map(|letter| Letter::of(letter, sees)).collect(),
        more,
        replays: store.replays(project.number, name).await?.into_iter().map(Past::from).collect(),
        renames: if may_edit { renames(console, member).await? } else { Vec::new() },
        preview,
        preview_of,
        own: OwnFields::of(&state.destination).filter(|_| may_edit),
        may_edit,
        card,
        said,
        entered: Entered { since: field("since"), from: field("from"), to: field("to") },
        problem,
    })
}

pub(super) async fn show(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let mut shown = Shown::default();
    if member.asking.query.get("tested") == "yes" {
        shown.tested = console.tried().of(&tried_key(&member, &name), member.asking.now());
        shown.tested = shown.tested.map(|tested| tested.map_err(|why| sentence(&why)));
        shown.lost = shown.tested.is_none();
    }
    with(&console, &member, &name, shown).await
}

/// The destination's page with something to say.
pub(super) async fn with(console: &Console, member: &Member, name: &str, said: Shown) -> Result<Response, Refusal> {
    Ok(html(&page(console, member, name, (said, Problem::default())).await?))
}

/// Where it is: of a connector the region alone, since its settings stand beside it.
fn where_of(destination: &Destination) -> String {
    match &destination.kind {
        DestinationKind::Connector { region, .. } => region.clone().unwrap_or_default(),
        kind => place(kind),
    }
}

/// Under which a test's answer is kept.
fn tried_key(member: &Member, name: &str) -> (i64, i64, String) {
    (member.account.number, member.project.number, name.to_owned())
}

/// The destination's page with what is to be changed in one of its forms.
pub(super) async fn refused(
    console: &Console,
    member: &Member,
    name: &str,
    problem: Problem,
) -> Result<Response, Refusal> {
    Ok(again(&page(console, member, name, (Shown::default(), problem)).await?))
}

/// Where a destination's page is.
pub(super) fn path_of(member: &Member, name: &str) -> String {
    format!("/p/{}/destinations/{name}", member.project.id)
}

pub(super) async fn test(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    try_now(&console, &member, &name).await?;
    // Loaded again, the page behind it sends no second one.
    Ok(Redirect::to(&format!("{}?tested=yes", path_of(&member, &name))).into_response())
}

/// Sends a test event, and keeps what it came to for the page that shows it.
async fn try_now(console: &Console, member: &Member, name: &str) -> Result<(), Refusal> {
    let tested = destinations::test(console, &member.acting(), name).await?;
    console.tried().keep(tried_key(member, name), member.asking.now(), tested);
    Ok(())
}

/// The page of one that was just added, with what its first test event came to.
pub(super) async fn added_and_tried(console: &Console, member: &Member, name: &str) -> Result<Response, Refusal> {
    try_now(console, member, name).await?;
    Ok(Redirect::to(&format!("{}?tested=yes&done=destination-added", path_of(member, name))).into_response())
}

/// Back to the page whose button it was.
fn back(member: &Member, name: &str, done: &str) -> Response {
    if member.asking.fields.get("back") == "list" {
        // What is said there is of this one.
        return see(&format!("/p/{}/destinations?of={name}", member.project.id), done);
    }
    see(&path_of(member, name), done)
}

pub(super) async fn pause(member: Member, Path((_, name)): Path<(String, String)>) -> Result<Response, Refusal> {
    member.asking.store.rest_destination(&member.project.id, &name).await?;
    Ok(back(&member, &name, "paused"))
}

pub(super) async fn resume(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    match member.asking.store.pause_destination(&member.project.id, &name, None).await {
        Ok(()) => Ok(back(&member, &name, "resumed")),
        Err(StoreError::Barred(text)) => refused(&console, &member, &name, Problem::new("processor", text)).await,
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn remove(
    State(console): State<Console>,
    member: Member,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (store, id) = (&member.asking.store, &member.project.id);
    store.destination(id, &name).await?;
    if member.asking.fields.get("name").trim() != name {
        let problem = Problem::new("name", format!("type {name} to remove it"));
        return refused(&console, &member, &name, problem).await;
    }
    match store.remove_destination(id, &name).await {
        // Somebody else was quicker.
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(see(&format!("/p/{id}/destinations"), "removed")),
        Err(error) => Err(error.into()),
    }
}
