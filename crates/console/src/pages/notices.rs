//! Notices: what a person must see, of a project or of the whole installation, and whether somebody has.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use convizit_model::{Action, Notice, NoticeKind, NoticeState};

use crate::access::{Asking, Member, Person};
use crate::page::{Chrome, Refusal, count, html, minute, see};

/// Notices that are shown at most.
const SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "notices.html")]
struct NoticesPage<'a> {
    chrome: Chrome,
    /// Where its forms go: `/p/shop/notices` or `/notices`.
    base: String,
    project: Option<String>,
    notices: Vec<Line>,
    state: &'a str,
    like: &'a str,
    may_edit: bool,
    may_set: bool,
    more: bool,
}

/// A notice in the list.
struct Line {
    id: i64,
    title: &'static str,
    /// Its text in pieces, and which of them are typed as they stand.
    text: Vec<(bool, String)>,
    /// The destination or incident that it is about, and where its page is.
    about: Option<(String, String)>,
    project: String,
    badge: (&'static str, &'static str),
    count: String,
    first: String,
    last: String,
    unseen: bool,
    over: bool,
}

/// A text in pieces: what stands between backticks is typed as it stands.
fn pieces(text: &str) -> Vec<(bool, String)> {
    let pieces = text.split('`').enumerate().map(|(at, piece)| (at % 2 == 1, piece.to_owned()));
    pieces.filter(|(_, piece)| !piece.is_empty()).collect()
}

/// The destination or incident that a notice is about, and its page.
fn about(notice: &Notice) -> Option<(String, String)> {
    use NoticeKind::{DeadLetters, DestinationFailing, DestinationPaused, Incident};
    if notice.kind == Incident {
        let id: i64 = notice.subject.strip_prefix("incident:")?.split(' ').next()?.parse().ok()?;
        let base = notice.project.as_ref().map(|project| format!("/p/{project}")).unwrap_or_default();
        return Some(("the incident".to_owned(), format!("{base}/incidents/{id}")));
    }
    let of_one = matches!(notice.kind, DeadLetters | DestinationFailing | DestinationPaused);
    let project = notice.project.as_ref().filter(|_| of_one && notice.state != NoticeState::Resolved)?;
    Some((notice.subject.clone(), format!("/p/{project}/destinations/{}", notice.subject)))
}

fn line(notice: Notice) -> Line {
    Line {
        id: notice.id,
        title: notice.kind.title(),
        text: pieces(&notice.text),
        about: about(&notice),
        project: notice.project.map(|id| id.to_string()).unwrap_or_default(),
        badge: match notice.state {
            NoticeState::Open => ("bad", "not seen"),
            NoticeState::Seen => ("warn", "seen"),
            NoticeState::Resolved => ("good", "resolved"),
        },
        count: count(notice.count),
        first: minute(notice.first),
        last: minute(notice.last),
        unseen: notice.state == NoticeState::Open,
        over: notice.state == NoticeState::Resolved,
    }
}

/// Whether a notice is of those that were asked for; without a word those that are not over.
fn fits(notice: &Notice, state: &str, like: &str) -> bool {
    let state = match state {
        "" => notice.state != NoticeState::Resolved,
        "all" => true,
        word => notice.state.as_str() == word,
    };
    let project = notice.project.as_ref().map(ToString::to_string).unwrap_or_default();
    let texts = [notice.text.as_str(), notice.kind.title(), notice.subject.as_str(), project.as_str()];
    state && (like.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(like)))
}

async fn page<'a>(
    asking: &'a Asking,
    project: Option<&convizit_model::Project>,
    (may_edit, may_set, incidents): (bool, bool, bool),
) -> Result<NoticesPage<'a>, Refusal> {
    let (state, like) = (asking.query.get("state"), asking.query.get("like").trim());
    let all = asking.store.notices(true).await?;
    let own = all.into_iter().filter(|notice| project.is_none_or(|own| notice.project.as_ref() == Some(&own.id)));
    let own = own.filter(|notice| incidents || notice.kind != NoticeKind::Incident);
    let mut notices: Vec<Line> =
        own.filter(|notice| fits(notice, state, &like.to_lowercase())).take(SHOWN + 1).map(line).collect();
    let more = notices.len() > SHOWN;
    notices.truncate(SHOWN);
    Ok(NoticesPage {
        chrome: asking.chrome("Notices", if project.is_some() { "notices" } else { "all-notices" }),
        base: project.map_or_else(|| "/notices".to_owned(), |project| format!("/p/{}/notices", project.id)),
        project: project.map(|project| project.id.to_string()),
        notices,
        state,
        like,
        may_edit,
        may_set,
        more,
    })
}

pub(super) async fn list(member: Member) -> Result<Response, Refusal> {
    let rights =
        (member.may(Action::EditCapture), member.may(Action::EditSettings), member.may(Action::ServeIncidents));
    Ok(html(&page(&member.asking, Some(&member.project), rights).await?))
}

pub(super) async fn list_all(person: Person) -> Result<Response, Refusal> {
    Ok(html(&page(&person.asking, None, (true, false, true)).await?))
}

/// The state that a form names.
fn wanted(asking: &Asking) -> Result<(NoticeState, &'static str), Refusal> {
    match asking.fields.get("state") {
        "seen" => Ok((NoticeState::Seen, "seen")),
        "resolved" => Ok((NoticeState::Resolved, "resolved")),
        _ => Err(Refusal::Invalid("a notice is marked as seen or resolved".to_owned())),
    }
}

pub(super) async fn set(member: Member, Path((_, number)): Path<(String, i64)>) -> Result<Response, Refusal> {
    let (state, done) = wanted(&member.asking)?;
    let incidents = member.may(Action::ServeIncidents);
    member.asking.store.set_notice_of(&member.project.id, number, state, incidents).await?;
    Ok(see(&format!("/p/{}/notices", member.project.id), done))
}

pub(super) async fn set_any(person: Person, Path(number): Path<i64>) -> Result<Response, Refusal> {
    let (state, done) = wanted(&person.asking)?;
    person.asking.store.set_notice(number, state).await?;
    Ok(see("/notices", done))
}

#[cfg(test)]
mod tests {
    use convizit_model::Timestamp;

    use super::*;

    #[test]
    fn a_notice_leads_to_what_it_is_about() {
        let of = |kind, project: Option<&str>, subject: &str, state| {
            let project = project.map(|id| id.parse().unwrap());
            let (first, last) = (Timestamp::from_millis(0), Timestamp::from_millis(0));
            let notice = Notice {
                id: 1,
                kind,
                project,
                subject: subject.to_owned(),
                text: String::new(),
                state,
                count: 1,
                first,
                last,
            };
            about(&notice).map(|(_, page)| page).unwrap_or_default()
        };
        use NoticeState::{Open, Resolved};
        assert_eq!(of(NoticeKind::Incident, None, "incident:7", Resolved), "/incidents/7");
        assert_eq!(of(NoticeKind::Incident, Some("shop"), "incident:7 acknowledge", Open), "/p/shop/incidents/7");
        assert_eq!(of(NoticeKind::DeadLetters, Some("shop"), "hook", Open), "/p/shop/destinations/hook");
        assert_eq!(of(NoticeKind::DeadLetters, Some("shop"), "hook", Resolved), "");
        assert_eq!(of(NoticeKind::Backup, None, "drill", Open), "");
    }
}
