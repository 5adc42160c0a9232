//! What every page has: its frame, its headers, and one answer for each way in which a page cannot be shown.

use std::borrow::Cow;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use convizit_model::{Action, ProjectId, Role};
use convizit_store::{Account, StoreError};

use crate::Console;

/// Nothing comes from anywhere else, nothing inline runs, nobody frames a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What stands around a page.
pub(crate) struct Chrome {
    pub(crate) title: String,
    /// Which entry of the navigation is the current one.
    pub(crate) section: &'static str,
    /// The token of this browser's forms.
    pub(crate) token: String,
    pub(crate) account: Option<Account>,
    pub(crate) project: Option<ProjectId>,
    pub(crate) role: Option<Role>,
    /// Whether the pages of the whole installation are on this address.
    pub(crate) installation: bool,
    /// Whether the person sees samples here.
    pub(crate) samples: bool,
    /// Notices that nobody has seen: of the project, and of all.
    pub(crate) unseen: (i64, i64),
    /// What was just done, after a form.
    pub(crate) done: Option<&'static str>,
}

impl Chrome {
    pub(crate) fn may(&self, action: Action) -> bool {
        self.role.is_some_and(|role| action.allows(role))
    }

    pub(crate) fn sees_audit(&self) -> bool {
        self.may(Action::SeeAudit)
    }

    pub(crate) fn serves_incidents(&self) -> bool {
        self.may(Action::ServeIncidents)
    }

    /// Whether the pages of the whole installation are here, and for this person.
    pub(crate) fn sees_installation(&self) -> bool {
        self.installation && self.account.as_ref().is_some_and(|account| account.master)
    }

    pub(crate) fn edits_capture(&self) -> bool {
        self.may(Action::EditCapture)
    }

    /// For `aria-current` in the navigation.
    pub(crate) fn current(&self, section: &str) -> &'static str {
        if self.section == section { "page" } else { "false" }
    }
}

/// Why a form was not taken: which field, and what to change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Problem {
    pub(crate) field: Cow<'static, str>,
    pub(crate) text: String,
}

impl Problem {
    pub(crate) fn new(field: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self { field: field.into(), text: text.into() }
    }

    /// What is wrong with this field; empty when it is another one.
    pub(crate) fn at(&self, field: &str) -> &str {
        if self.field == field { &self.text } else { "" }
    }
}

/// Where somebody goes on whose role is not enough.
#[derive(Debug, Default)]
pub(crate) struct WayOn {
    /// The project whose page it is; `None` for one of the installation.
    pub(crate) project: Option<ProjectId>,
    /// What the person is there, and the least that is let in.
    pub(crate) role: &'static str,
    pub(crate) needs: Option<Role>,
    /// Who can give that, as they are called.
    pub(crate) people: Vec<String>,
}

impl WayOn {
    fn text(&self) -> String {
        let (Some(project), Some(needs)) = (&self.project, self.needs) else {
            return "This is for Master Admins. Ask one of them to do it, or to make you one.".to_owned();
        };
        let people = match self.people.split_last() {
            None => "a Master Admin".to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        };
        let (role, needs) = (self.role, crate::pages::role_name(needs));
        format!(
            "Your role in {project} is {role}, and this asks for {needs} or above. Ask {people} to do it, or for another role."
        )
    }
}

/// Why a page is not shown.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such page, or it is not theirs: nobody learns which.
    NotFound,
    /// The role does not allow it.
    Forbidden(WayOn),
    /// A form of more bytes or fields than are read.
    TooLarge,
    /// A form that our own pages did not send, or an old one.
    Foreign,
    /// Too many tries; seconds to wait.
    TooMany(u64),
    /// What was asked for is not possible as it stands.
    Invalid(String),
    /// Something that stands there is in its way, which a person has to change first.
    Barred(String),
    /// The store cannot answer now.
    Failed(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::NotFound,
            StoreError::Invalid(text) => Self::Invalid(text),
            StoreError::Barred(text) => Self::Barred(text),
            other => Self::Failed(other.to_string()),
        }
    }
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage<'a> {
    title: &'a str,
    text: &'a str,
    alert: bool,
    /// The project that the way on leads back to.
    project: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, title, text) = match &self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "The page does not exist, or you are no member of its project. Ask its Owner or an Admin to invite you.".to_owned(),
            ),
            Self::Forbidden(way) => (StatusCode::FORBIDDEN, "Your role does not allow this", way.text()),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "This is too much for one form",
                "A form takes 256 KiB and 2 000 fields. Go back: your browser still has what you entered. Send it in parts."
                    .to_owned(),
            ),
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "This form could not be taken",
                "It did not come from a page of this console, or the page was open from before your last sign-in. Go back, load the page again, and send the form once more.".to_owned(),
            ),
            Self::TooMany(seconds) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many tries",
                format!("Wait {seconds} seconds, then try again."),
            ),
            Self::Invalid(text) => (StatusCode::UNPROCESSABLE_ENTITY, "This is not possible", text.clone()),
            Self::Barred(text) => (StatusCode::CONFLICT, "Something is to be done first", text.clone()),
            Self::Failed(text) => {
                tracing::warn!(why = text, "a page could not be shown");
                (StatusCode::SERVICE_UNAVAILABLE, "The console cannot answer now", text.clone())
            }
        };
        let alert = matches!(self, Self::Failed(_));
        let project = match &self {
            Self::Forbidden(WayOn { project: Some(project), .. }) => project.as_str(),
            _ => "",
        };
        let mut answer = (status, html(&RefusalPage { title, text: &text, alert, project })).into_response();
        if let Self::TooMany(seconds) = self {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

/// A page.
pub(crate) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A form's page again, with what was entered and what to change.
pub(crate) fn again(page: &impl Template) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, html(page)).into_response()
}

/// On to a page of ours, which says what was done.
pub(crate) fn see(path: &str, done: &str) -> Response {
    let sign = if path.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{path}{sign}done={done}")).into_response()
}

/// What was done, in words. Only these can be shown by an address.
pub(crate) fn done(word: &str) -> Option<&'static str> {
    Some(match word {
        "password" => "Your password is changed, and your other sessions have ended.",
        "factor" => "Your second factor is set up.",
        "passkey" => "Your passkey is ready: it takes the place of the app's code.",
        "passkey-gone" => "The passkey is removed.",
        "ended" => "The session has ended.",
        "others" => "Your other sessions have ended.",
        "joined" => "You are a member now.",
        "saved" => "Saved. Browsers take it within a minute.",
        "renamed" => "Renamed. New events carry the new name within two seconds; past events keep the old one.",
        "captured" => "Its events are kept again, from the next two seconds on.",
        "not-captured" => "Its events are no longer kept. What is stored stays.",
        "undone" => "Undone.",
        "redone" => "It holds again.",
        "several-captured" => "Their events are kept again, from the next two seconds on.",
        "several-not-captured" => "Their events are no longer kept. What is stored stays; each of them can be undone.",
        "merged" => "Merged. New events of both carry this name within two seconds; past events keep the old one.",
        "split" => "Split off. Its names are made with its next events.",
        "excluded" => "Excluded. Browsers take it within a minute, the server at once.",
        "included" => "No longer excluded. Browsers take it within a minute.",
        "role" => "The role is changed.",
        "removed" => "Removed.",
        "taken-back" => "The invitation is taken back.",
        "owner" => "Ownership is passed on. You are an Admin now.",
        "seen" => "Marked as seen.",
        "resolved" => "Resolved.",
        "channels" => "Saved. Send a test to see that it arrives.",
        "triaged" => "It is yours, or theirs, now.",
        "owned" => "It is theirs now.",
        "noted" => "Kept.",
        "unmastered" => "They are no Master Admin any more.",
        "published" => "Published. New events carry it within two seconds; past events stay as they are.",
        "discarded" => "Discarded. Nothing was changed.",
        "paused" => "Paused. Its events wait and are sent when you resume it.",
        "resumed" => "Resumed. What waited is sent now.",
        "destination-added" => "Added. It gets events from now on, or once you resume it.",
        "destination-changed" => "Saved. What is sent from now on goes by it.",
        "retried" => "They are sent again, beside what comes. What is refused once more shows here again.",
        "given-up" => "They are given up. The events themselves stay stored.",
        "replayed" => "The replay has begun. How far it is shows below.",
        "replay-stopped" => "Stopped. What was sent stays there.",
        "dataset" => "The dataset is deleted: nobody can read any of it from now on.",
        "erased" => {
            "Erased. Nothing of these persons can be read any more; the list below shows what is still being cleared."
        }
        _ => return None,
    })
}

/// Which lines of a list are shown, and where the others are.
pub(crate) struct Pager {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) found: usize,
    pub(crate) from: usize,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl Pager {
    /// `path` has a query already, to which `field` is added: from which line on, how many on a page, how many there are.
    pub(crate) fn new(path: &str, field: &str, (from, page, found): (usize, usize, usize)) -> Self {
        let link = |from: usize| format!("{path}&{field}={from}");
        let last = found.min(from.saturating_add(page));
        Self {
            first: from.saturating_add(1),
            last,
            found,
            from,
            before: (from > 0).then(|| link(from.saturating_sub(page))),
            after: (last < found).then(|| link(last)),
        }
    }
}

/// A text as a value in an address.
pub(crate) fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The headers of every answer.
pub(crate) async fn headers(State(console): State<Console>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // A link's secret must not travel; our own forms are told apart by the origin.
        (header::REFERRER_POLICY, "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if console.config().secure() {
        let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    answer
}

/// A time as people read it, to the minute.
pub(crate) fn minute(time: convizit_model::Timestamp) -> String {
    let text = time.to_string();
    text.get(..16).map_or(text.clone(), |text| text.replace('T', " "))
}

/// A number with its thousands apart.
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(minute(convizit_model::Timestamp::from_millis(0)), "1970-01-01 00:00");
    }
}
