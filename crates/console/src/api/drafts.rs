//! Drafts that were made on the live site: what each would change and what stands against it, publishing and discarding.

use std::cmp::Reverse;
use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use convizit_model::{Change, Timestamp};
use convizit_store::{Draft, Scope};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::decisions::{HOLDS, SeveralDecided};
use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::Undone;
use crate::acts::drafts::{self, Chosen, Standing, name_of, standing};
use crate::known::{Known, known};

/// Drafts of one call: no project has more.
const MOST: usize = 500;

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(
        at!("/drafts"),
        Scope::Capture,
        "list_drafts",
        "What people changed on the live site and nobody has published yet, the newest first",
    );
    let publishes =
        Call::post(at!("/drafts/publish"), Scope::Capture, "publish_drafts", "Publishes drafts: all of them or none");
    let discards = Call::post(at!("/drafts/discard"), Scope::Capture, "discard_drafts", "Takes drafts away");
    api.add(lists.asks::<Part>().answers::<Page<DraftView>>(200, "Drafts."), list)
        .add(publishes.takes::<Publish>().answers::<SeveralDecided>(200, HOLDS), publish)
        .add(discards.takes::<Discard>(), discard)
}

/// A change that waits for somebody to publish it.
#[derive(Serialize, ToSchema)]
#[schema(as = Draft)]
struct DraftView {
    /// The id of the name, element or group that it is about.
    subject: String,
    /// Raised with every change of the draft.
    version: i64,
    /// Who saved it last.
    by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    saved: Timestamp,
    /// The name of the events that it is about, where there is one.
    event: Option<String>,
    /// What it would decide: `{"change": "rename", "name": "na_…", "text": "…"}`.
    #[schema(value_type = Object)]
    what: Change,
    /// What that was when it was drafted: a text, `captured` or `not captured`.
    before: String,
    /// What it is now; null where there is no such thing any more.
    now: Option<String>,
    /// What stands against publishing it; null where nothing does.
    conflict: Option<String>,
    /// Whether it can be published: with `now`, where something stands against it.
    possible: bool,
}

impl DraftView {
    fn of(draft: Draft, known: &Known) -> Self {
        let Standing { conflict, possible, now } = standing(&known.registry, &draft);
        Self {
            event: name_of(&known.catalogue, &draft.change).map(|name| name.id.to_string()),
            subject: draft.subject,
            version: draft.version,
            by: format!("account:{}", draft.account),
            saved: Timestamp::from_millis(draft.version),
            what: draft.change,
            before: draft.before,
            now: Some(now).filter(|now| !now.is_empty()),
            conflict: Some(conflict).filter(|conflict| !conflict.is_empty()),
            possible,
        }
    }
}

/// All drafts of the project, the newest first.
async fn all(caller: &Caller, known: &Known) -> Result<Vec<DraftView>, Problem> {
    let drafts = caller.store.drafts(caller.project.number).await?;
    Ok(drafts.into_iter().map(|draft| DraftView::of(draft, known)).collect())
}

async fn list(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<Part>,
) -> Result<Json<Page<DraftView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Place>(asked.after.as_deref())?);
    let known = known(&console, &caller.project).await?;
    let place = |draft: &DraftView| Place(draft.version, draft.subject.clone());
    let mut left = all(&caller, &known).await?;
    left.retain(|draft| begun.as_ref().is_none_or(|begun| place(draft).comes_after(begun)));
    Ok(Json(Page::of(left.into_iter(), limit, |draft| place(draft).to_string())))
}

/// A place in the list, which stays where it is as others are saved or go.
struct Place(i64, String);

impl Place {
    fn comes_after(&self, other: &Self) -> bool {
        (Reverse(self.0), &self.1) > (Reverse(other.0), &other.1)
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for Place {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (version, subject) = text.split_once('.').ok_or(())?;
        Ok(Self(version.parse().map_err(|_| ())?, subject.to_owned()))
    }
}

/// A draft as it was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SeenDraft)]
struct Seen {
    /// The id of what it is about.
    subject: String,
    /// The version that was read.
    version: i64,
    /// `now` as it was read, to publish it though something stands against it.
    now: Option<String>,
}

/// Drafts to publish.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PublishDrafts)]
struct Publish {
    /// Which.
    #[schema(min_items = 1, max_items = 500)]
    drafts: Vec<Seen>,
}

/// Drafts to take away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DiscardDrafts)]
struct Discard {
    /// Which.
    #[schema(min_items = 1, max_items = 500)]
    drafts: Vec<Seen>,
}

fn chosen(seen: &[Seen]) -> Result<Vec<Chosen<'_>>, Problem> {
    if !(1..=MOST).contains(&seen.len()) {
        return Err(Problem::invalid(format!("name 1 to {MOST} drafts")).at("drafts"));
    }
    for (at, draft) in seen.iter().enumerate() {
        let same = |before: &Seen| (&before.subject, before.version) == (&draft.subject, draft.version);
        if seen.iter().take(at).any(same) {
            return Err(Problem::invalid("this draft is named twice").at(format!("drafts[{at}]")));
        }
    }
    let chosen =
        seen.iter().map(|seen| Chosen { subject: &seen.subject, version: seen.version, now: seen.now.as_deref() });
    Ok(chosen.collect())
}

/// What somebody is told whose drafts are no more as they were read.
async fn undone(caller: &Caller, known: &Known, undone: Undone) -> Result<Problem, Problem> {
    match undone {
        Undone::Meanwhile => Ok(Problem::stale("drafts", json!(all(caller, known).await?))),
        other => Ok(other.into()),
    }
}

async fn publish(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<Publish>,
) -> Result<Json<SeveralDecided>, Problem> {
    let known = known(&console, &caller.project).await?;
    match drafts::publish(&caller.acting(), &known, &chosen(&given.drafts)?).await {
        Ok(made) => Ok(Json(made.into())),
        Err(why) => Err(undone(&caller, &known, why).await?),
    }
}

async fn discard(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<Discard>,
) -> Result<StatusCode, Problem> {
    match drafts::discard(&caller.acting(), &chosen(&given.drafts)?).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(why) => {
            let known = known(&console, &caller.project).await?;
            Err(undone(&caller, &known, why).await?)
        }
    }
}
