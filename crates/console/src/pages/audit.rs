//! Who did what in a project, the newest first.

use std::collections::HashMap;

use askama::Template;
use axum::response::Response;

use super::decisions::who;
use crate::access::Member;
use crate::page::{Chrome, Refusal, html, minute};

/// Entries that are looked through, and that are shown.
const LOOKED: i64 = 2_000;
const SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage<'a> {
    chrome: Chrome,
    project: String,
    like: &'a str,
    entries: Vec<Line>,
    more: bool,
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

pub(super) async fn show(member: Member) -> Result<Response, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let like = member.asking.query.get("like").trim();
    let lower = like.to_lowercase();
    let mut names: HashMap<String, String> = HashMap::new();
    let (mut entries, mut more) = (Vec::new(), false);
    for entry in store.audit_entries(Some(project.id.as_str()), LOOKED).await? {
        if !names.contains_key(&entry.actor) {
            names.insert(entry.actor.clone(), who(store, &entry.actor).await);
        }
        let who = names.get(&entry.actor).cloned().unwrap_or_default();
        let all = [&who, &entry.actor, &entry.act, &entry.subject, &entry.detail];
        if !lower.is_empty() && !all.iter().any(|text| text.to_lowercase().contains(&lower)) {
            continue;
        }
        if entries.len() == SHOWN {
            more = true;
            break;
        }
        entries.push(Line {
            number: entry.number,
            when: minute(entry.time),
            who,
            actor: entry.actor,
            act: entry.act,
            subject: entry.subject,
            detail: entry.detail,
        });
    }
    Ok(html(&AuditPage {
        chrome: member.asking.chrome("Audit log", "audit"),
        project: project.id.to_string(),
        like,
        entries,
        more,
    }))
}
