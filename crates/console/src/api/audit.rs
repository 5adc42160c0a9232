//! Who did what in the project, and whether the log is whole.

use axum::Json;
use convizit_model::Timestamp;
use convizit_store::{AuditEntry, AuditFilter, Scope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Page, after, at, limit};
use crate::access::Caller;

pub(super) fn routes(api: Api) -> Api {
    let lists = Call::get(at!("/audit"), Scope::Audit, "list_audit", "Entries of the audit log, the newest first");
    let verifies = Call::post(
        at!("/audit/verify"),
        Scope::Audit,
        "verify_audit",
        "Follows the chain of the whole log, which is one for all projects",
    );
    api.add(lists.asks::<OfEntries>().answers::<Page<Entry>>(200, "Entries."), list)
        .add(verifies.answers::<Verified>(200, "What was found."), verify)
}

/// Which entries, and which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OfEntries {
    /// Only of this act: `settings.save`. Uses of the key provider, `key.wrap` and `key.unwrap`, are shown only so.
    act: Option<String>,
    /// Only by this actor: `account:7`, `token:ci`.
    actor: Option<String>,
    /// Not before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Only before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// An entry.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct Entry {
    /// Consecutive over the installation.
    number: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// Who.
    actor: String,
    /// What.
    act: String,
    /// What exactly: a destination's name, a field, a key.
    subject: String,
    /// More about it; never captured text.
    detail: String,
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { number, time, actor, act, project: _, subject, detail } = entry;
        Self { number, time, actor, act, subject, detail }
    }
}

async fn list(caller: Caller, Asked(asked): Asked<OfEntries>) -> Result<Json<Page<Entry>>, Problem> {
    let (limit, before) = (limit(asked.limit)?, after::<i64>(asked.after.as_deref())?);
    let time = |field: &'static str, text: Option<String>| {
        let wrong = |_| Problem::malformed(field, "a time such as 2026-11-29T18:00:00Z");
        text.map(|text| text.parse::<Timestamp>().map_err(wrong)).transpose()
    };
    let (since, until) = (time("since", asked.since)?, time("until", asked.until)?);
    let filter = AuditFilter {
        project: Some(caller.project.id.as_str()),
        act: asked.act.as_deref(),
        actor: asked.actor.as_deref(),
        since,
        until,
        below: before,
        acts_only: asked.act.is_none(),
    };
    // One more shows whether there is a next page.
    let most = i64::try_from(limit).unwrap_or(0) + 1;
    let entries = caller.store.audit_log(filter, most).await?.into_iter().map(Entry::from);
    Ok(Json(Page::of(entries, limit, |entry| entry.number.to_string())))
}

/// Whether the audit log is as it was written.
#[derive(Serialize, ToSchema)]
#[schema(as = VerifiedAudit)]
struct Verified {
    /// Whether nothing was changed, removed or put in between.
    whole: bool,
    /// Entries of the installation that were looked at.
    entries: i64,
    /// What is wrong, and at which entry; null when all is well.
    problem: Option<String>,
}

async fn verify(caller: Caller) -> Result<Json<Verified>, Problem> {
    caller.store.audit("audit.verify", caller.project.id.as_str(), "", "").await?;
    let report = caller.store.verify_audit(&[]).await?;
    Ok(Json(Verified { whole: report.problem.is_none(), entries: report.entries, problem: report.problem }))
}
