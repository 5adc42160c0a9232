//! Who did what in a project: filtered, exported, and verified.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use askama::Template;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use convizit_model::spreadsheet::harmless;
use convizit_model::{ProjectId, Timestamp};
use convizit_store::{AuditEntry, AuditFilter, Store, StoreError};

use super::decisions::who;
use crate::access::{Fields, Member};
use crate::page::{Chrome, Problem, Refusal, again, count, escaped, html, minute};

/// Entries that are looked through for a page, and that are shown.
const LOOKED: i64 = 2_000;
const SHOWN: usize = 200;
/// Characters of an entry's text that are shown at once, and at all: an export has the whole.
const FOLDED: usize = 120;
const TEXT: usize = 1_000;
const DAY_MILLIS: i64 = 86_400_000;
const COLUMNS: [&str; 7] = ["number", "time", "actor", "act", "project", "subject", "detail"];

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    chrome: Chrome,
    project: String,
    wanted: Wanted,
    actors: Vec<(String, String)>,
    acts: Vec<String>,
    entries: Vec<Line>,
    older: Option<String>,
    verified: Option<Result<String, String>>,
    problem: Problem,
}

/// An entry in the list.
struct Line {
    number: i64,
    when: String,
    who: String,
    actor: String,
    act: String,
    subject: String,
    detail: String,
}

/// Which entries are asked for, as it was entered.
#[derive(Debug, Clone, Default)]
struct Wanted {
    like: String,
    actor: String,
    act: String,
    from: String,
    to: String,
}

impl Line {
    /// What fits into a line of the list; what is longer is folded behind it.
    fn first(&self) -> &str {
        self.detail.char_indices().nth(FOLDED).map_or(&self.detail, |(at, _)| self.detail.get(..at).unwrap_or_default())
    }

    fn is_folded(&self) -> bool {
        self.first().len() < self.detail.len()
    }
}

/// The beginning of a day.
fn day(text: &str) -> Option<Timestamp> {
    format!("{text}T00:00:00Z").parse().ok()
}

impl Wanted {
    fn of(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).trim().to_owned();
        Self { like: text("like"), actor: text("actor"), act: text("act"), from: text("from"), to: text("to") }
    }

    fn is_all(&self) -> bool {
        [&self.like, &self.actor, &self.act, &self.from, &self.to].iter().all(|text| text.is_empty())
    }

    fn filter<'a>(&'a self, project: &'a ProjectId) -> Result<AuditFilter<'a>, Problem> {
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        let date = |field: &'static str, text: &str| match (text.is_empty(), day(text)) {
            (true, _) => Ok(None),
            (_, Some(time)) => Ok(Some(time)),
            (_, None) => Err(Problem::new(field, "say a date such as 2026-11-28")),
        };
        Ok(AuditFilter {
            project: Some(project.as_str()),
            act: some(&self.act),
            actor: some(&self.actor),
            since: date("from", &self.from)?,
            // To the end of that day.
            until: date("to", &self.to)?.map(|time| time.plus_millis(DAY_MILLIS)),
            acts_only: self.act.is_empty(),
            ..AuditFilter::default()
        })
    }

    /// Whether an entry, and who acted as people call them, holds the text.
    fn takes(&self, entry: &AuditEntry, who: &str) -> bool {
        let like = self.like.to_lowercase();
        let all = [who, &entry.actor, &entry.act, &entry.subject, &entry.detail];
        like.is_empty() || all.iter().any(|text| text.to_lowercase().contains(&like))
    }

    /// The same question of older entries.
    fn link(&self, project: &ProjectId, below: i64) -> String {
        let Self { like, actor, act, from, to } = self;
        let fields = [("like", like), ("actor", actor), ("act", act), ("from", from), ("to", to)];
        let query: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        format!("/p/{project}/audit?{}&below={below}", query.join("&"))
    }
}

/// Names of those who acted, each looked up once.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    async fn of(&mut self, store: &Store, actor: &str) -> String {
        if !self.0.contains_key(actor) {
            self.0.insert(actor.to_owned(), who(store, actor).await);
        }
        self.0.get(actor).cloned().unwrap_or_default()
    }
}

async fn page(member: &Member, wanted: Wanted, verified: Option<Result<String, String>>) -> Result<AuditPage, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let (filter, problem) = match wanted.filter(&project.id) {
        Ok(filter) => (filter, Problem::default()),
        Err(problem) => (AuditFilter { project: Some(project.id.as_str()), ..AuditFilter::default() }, problem),
    };
    let mut names = Names::default();
    let newest = AuditFilter { project: Some(project.id.as_str()), acts_only: true, ..AuditFilter::default() };
    let (mut actors, mut acts) = (BTreeMap::new(), BTreeSet::new());
    let newest = store.audit_log(newest, LOOKED).await?;
    for entry in &newest {
        if !actors.contains_key(&entry.actor) {
            actors.insert(entry.actor.clone(), names.of(store, &entry.actor).await);
        }
        acts.insert(entry.act.clone());
    }
    let below = member.asking.query.get("below").parse().ok();
    // Without a filter the newest are what is asked for: two thousand rows are not read twice.
    let found = if wanted.is_all() && below.is_none() {
        newest
    } else {
        store.audit_log(AuditFilter { below, ..filter }, LOOKED).await?
    };
    let (looked, mut entries, mut older) = (found.len(), Vec::new(), None);
    let end = found.last().map(|entry| entry.number);
    for entry in found {
        let who = names.of(store, &entry.actor).await;
        if !wanted.takes(&entry, &who) {
            continue;
        }
        if entries.len() == SHOWN {
            // The one that is not shown begins the next page.
            older = Some(entry.number + 1);
            break;
        }
        let AuditEntry { number, time, actor, act, subject, mut detail, .. } = entry;
        if let Some((at, _)) = detail.char_indices().nth(TEXT) {
            detail.truncate(at);
            detail.push_str("… (the export has all of it)");
        }
        entries.push(Line { number, when: minute(time), who, actor, act, subject, detail });
    }
    if older.is_none() && i64::try_from(looked).is_ok_and(|looked| looked == LOOKED) {
        older = end;
    }
    Ok(AuditPage {
        chrome: member.asking.chrome("Audit log", "audit"),
        project: project.id.to_string(),
        actors: actors.into_iter().collect(),
        acts: acts.into_iter().collect(),
        entries,
        older: older.map(|below| wanted.link(&project.id, below)),
        wanted,
        verified,
        problem,
    })
}

pub(super) async fn show(member: Member) -> Result<Response, Refusal> {
    let page = page(&member, Wanted::of(&member.asking.query), None).await?;
    Ok(if page.problem.text.is_empty() { html(&page) } else { again(&page) })
}

/// Follows the chain of the whole log, which is one for all projects.
pub(super) async fn verify(member: Member) -> Result<Response, Refusal> {
    let store = &member.asking.store;
    store.audit("audit.verify", member.project.id.as_str(), "", "").await?;
    let report = store.verify_audit(&[]).await?;
    let verified = match report.problem {
        None => Ok(format!(
            "The chain of all {} entries of this installation is whole: nothing was changed, removed or put in between.",
            count(report.entries)
        )),
        Some(problem) => Err(format!(
            "The audit log was tampered with or damaged: {problem}. Keep the database as it is, and hold it against a backup and against checkpoints that were kept elsewhere."
        )),
    };
    let page = page(&member, Wanted::of(&member.asking.fields), Some(verified)).await?;
    Ok(html(&page))
}

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
}

/// A piece of an export, and the number below which it goes on.
async fn piece(
    store: &Store,
    project: &ProjectId,
    wanted: &Wanted,
    (format, below): (Format, Option<i64>),
    names: &mut Names,
) -> Result<(Bytes, Option<i64>), StoreError> {
    let filter = wanted.filter(project).map_err(|problem| StoreError::Invalid(problem.text))?;
    let entries = store.audit_log(AuditFilter { below, ..filter }, LOOKED).await?;
    let next = entries.last().map(|entry| entry.number);
    let failed = |problem: String| StoreError::Database { action: "write the export", problem };
    let mut out = Vec::new();
    let mut csv = csv::Writer::from_writer(Vec::new());
    if format == Format::Csv && below.is_none() {
        csv.write_record(COLUMNS).map_err(|error| failed(error.to_string()))?;
    }
    for entry in entries {
        if !wanted.takes(&entry, &names.of(store, &entry.actor).await) {
            continue;
        }
        if format == Format::JsonLines {
            serde_json::to_writer(&mut out, &entry).map_err(|error| failed(error.to_string()))?;
            out.push(b'\n');
            continue;
        }
        let AuditEntry { number, time, actor, act, project, subject, detail } = entry;
        let cells = [number.to_string(), time.to_string(), actor, act, project, subject, detail].map(harmless);
        csv.write_record(cells).map_err(|error| failed(error.to_string()))?;
    }
    out.extend(csv.into_inner().map_err(|error| failed(error.to_string()))?);
    Ok((Bytes::from(out), next))
}

/// All entries that are asked for, newest first, some thousand at a time.
pub(super) async fn export(member: Member) -> Result<Response, Refusal> {
    let fields = &member.asking.fields;
    let wanted = Wanted::of(fields);
    if let Err(problem) = wanted.filter(&member.project.id) {
        return Err(Refusal::Invalid(problem.text));
    }
    let (format, kind, end) = match fields.get("format") {
        "jsonl" => (Format::JsonLines, "application/x-ndjson", "jsonl"),
        _ => (Format::Csv, "text/csv; charset=utf-8", "csv"),
    };
    let (store, project) = (member.asking.store.clone(), member.project.id.clone());
    store.audit("audit.export", project.as_str(), "", end).await?;
    let name = format!("attachment; filename=\"audit-{project}.{end}\"");
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, StoreError>>(2);
    tokio::spawn(async move {
        let (mut below, mut names) = (None, Names::default());
        loop {
            let (part, next) = match piece(&store, &project, &wanted, (format, below), &mut names).await {
                Ok((part, next)) => (Ok(part), next),
                Err(error) => (Err(error), None),
            };
            // Whoever asked has gone, or the end is reached.
            if sender.send(part).await.is_err() || next.is_none() {
                return;
            }
            below = next;
        }
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let head = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((head, Body::from_stream(stream)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_of_whole_days_and_says_what_is_no_date() {
        let project: ProjectId = "shop".parse().unwrap();
        let of = |from: &str, to: &str| Wanted { from: from.to_owned(), to: to.to_owned(), ..Wanted::default() };
        let wanted = of("2026-11-28", "2026-11-28");
        let filter = wanted.filter(&project).unwrap();
        assert_eq!(filter.until.unwrap().since(filter.since.unwrap()), DAY_MILLIS);
        assert_eq!(of("28.11.2026", "").filter(&project).unwrap_err().field, "from");
        assert_eq!(of("", "soon").filter(&project).unwrap_err().field, "to");
        let wanted = Wanted { like: "a&b".to_owned(), ..Wanted::default() };
        assert_eq!(wanted.link(&project, 7), "/p/shop/audit?like=a%26b&actor=&act=&from=&to=&below=7");
    }
}
