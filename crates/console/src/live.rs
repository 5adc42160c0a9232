//! Parts of a page that show what comes while one looks: the question waits on the server until there is something new.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use crate::access::Member;
use crate::page::Refusal;

/// How long a question waits: less than a second, within which a session that was ended, or a role, is dead.
const WAIT: Duration = Duration::from_millis(900);
/// Tells the page's script which event was the newest, to say so when it asks again.
const NEWEST: HeaderName = HeaderName::from_static("convizit-newest");

/// Waits until the project has a newer event than the asker knows of; returns the number of its newest, to be asked for before
/// what is shown is read.
pub(crate) async fn newest(member: &Member) -> Result<i64, Refusal> {
    let (store, project) = (&member.asking.store, member.project.number);
    if let Ok(after) = member.asking.query.get("after").parse() {
        // Nothing new is an answer, too: what else a part shows may have changed.
        tokio::time::timeout(WAIT, store.wait_for_event(project, after)).await.ok();
    }
    Ok(store.last_event(project).await?)
}

/// An answer that was made after `newest`.
pub(crate) fn marked(mut answer: Response, newest: i64) -> Response {
    answer.headers_mut().insert(NEWEST, HeaderValue::from(newest));
    answer
}
