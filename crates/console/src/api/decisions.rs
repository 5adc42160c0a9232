//! What was decided about names, elements and groups, and undoing it.

use axum::Json;
use axum::extract::{Path, State};
use convizit_model::{Change, Decision, DecisionId, Timestamp};
use convizit_store::Scope;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Moment, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::acts::decisions::decide;
use crate::known::{Known, known};

/// Decisions that are shown of one name or group.
const SHOWN: usize = 20;
/// What every decision is answered with.
pub(super) const HOLDS: &str = "Decided; holds within two seconds.";

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(
        at!("/decisions"),
        Scope::Read,
        "list_decisions",
        "What was decided about names, elements and groups, the newest first",
    );
    let undoes = Call::post(
        at!("/decisions/{decision}/undo"),
        Scope::Capture,
        "undo_decision",
        "Makes a decision hold no more, or says no to a proposal; an undo can be undone, too",
    );
    api.add(lists.asks::<Part>().answers::<Page<DecisionView>>(200, "Decisions."), list)
        .add(undoes.answers::<Decided>(200, HOLDS), undo)
}

/// Something that was decided.
#[derive(Serialize, ToSchema)]
#[schema(as = Decision)]
pub(super) struct DecisionView {
    /// Its number: `7`, or `auto-7` of the product's own.
    id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    made: Timestamp,
    /// Who: `account:7`, `token:ci`, `convizit`.
    by: String,
    /// Whether it holds; one that was undone, or is only proposed, does not.
    holds: bool,
    /// Whether the product proposes it, and nobody has taken it yet.
    proposed: bool,
    /// Whether it is a proposal that waits for an answer: merge the two names, or undo it.
    open: bool,
    /// What: `{"change": "rename", "name": "na_…", "text": "…"}`.
    #[schema(value_type = Object)]
    what: Change,
    /// What speaks for it, where the product decided or proposed.
    evidence: Option<EvidenceView>,
}

/// What speaks for two controls being one.
#[derive(Serialize, ToSchema)]
#[schema(as = Evidence)]
struct EvidenceView {
    /// Between 0 and 1.
    probability: f64,
    /// What they have in common: `label`, `address`, `place`.
    agree: Vec<String>,
    /// In what they differ.
    differ: Vec<String>,
    /// Events of the one that were expected since it was last seen, none of which came.
    missing: u64,
}

impl DecisionView {
    fn of(decision: &Decision, known: &Known) -> Self {
        Self {
            id: decision.id.to_string(),
            made: decision.made,
            by: decision.by.clone(),
            holds: !decision.proposed && (known.registry.holds(decision.id) || decision.from.is_none()),
            proposed: decision.proposed,
            open: known.registry.is_open(decision),
            what: decision.what.clone(),
            evidence: decision.evidence.as_ref().map(|evidence| EvidenceView {
                probability: evidence.probability,
                agree: evidence.agree.clone(),
                differ: evidence.differ.clone(),
                missing: evidence.missing,
            }),
        }
    }
}

/// The newest decisions about something; of a proposal only what became of it.
pub(super) fn newest(known: &Known, is_about: impl Fn(&Change) -> bool) -> Vec<DecisionView> {
    let about = |decision: &&Decision| is_about(&decision.what) && !decision.proposed;
    let decisions = known.registry.decisions().into_iter().rev().filter(about).take(SHOWN);
    decisions.map(|decision| DecisionView::of(decision, known)).collect()
}

async fn list(
    State(console): State<Console>,
    caller: Caller,
    Asked(asked): Asked<Part>,
) -> Result<Json<Page<DecisionView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<Moment>(asked.after.as_deref())?);
    let known = known(&console, &caller.project).await?;
    let moment = |decision: &Decision| Moment(decision.made.as_millis(), decision.id.0);
    let mut decisions = known.registry.decisions();
    decisions.retain(|decision| begun.is_none_or(|begun| moment(decision) < begun));
    decisions.sort_by_key(|decision| std::cmp::Reverse(moment(decision)));
    let page = Page::of(decisions.into_iter(), limit, |decision| moment(decision).to_string());
    let items = page.items.into_iter().map(|decision| DecisionView::of(decision, &known)).collect();
    Ok(Json(Page { items, next: page.next }))
}

/// What was decided, to undo it by.
#[derive(Serialize, ToSchema)]
pub(super) struct Decided {
    /// The decision's number.
    decision: String,
}

impl From<Decision> for Decided {
    fn from(made: Decision) -> Self {
        Self { decision: made.id.to_string() }
    }
}

/// What was decided at once, to undo each by.
#[derive(Serialize, ToSchema)]
pub(super) struct SeveralDecided {
    /// The decisions' numbers.
    decisions: Vec<String>,
}

impl From<Vec<Decision>> for SeveralDecided {
    fn from(made: Vec<Decision>) -> Self {
        Self { decisions: made.into_iter().map(|made| made.id.to_string()).collect() }
    }
}

async fn undo(
    State(console): State<Console>,
    caller: Caller,
    Path((_, decision)): Path<(String, String)>,
) -> Result<Json<Decided>, Problem> {
    let decision: DecisionId = decision.parse().map_err(|_| Problem::not_found())?;
    let known = known(&console, &caller.project).await?;
    if !known.registry.decisions().iter().any(|known| known.id == decision) {
        return Err(Problem::not_found());
    }
    Ok(Json(decide(&caller.acting(), &known, Change::Undo { decision }).await?.into()))
}
