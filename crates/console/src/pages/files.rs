//! The console's own style, script and icon, and whom to tell of a weakness.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::Console;
use crate::access::Guest;
use crate::page::Refusal;

/// Seconds for which a browser may keep them: a new version is soon seen.
const KEEP: &str = "public, max-age=300";

pub(super) async fn style() -> impl IntoResponse {
    let head = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, KEEP)];
    (head, include_str!("../../static/console.css"))
}

pub(super) async fn script() -> impl IntoResponse {
    let head = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, KEEP)];
    (head, include_str!("../../static/console.js"))
}

pub(super) async fn passkey() -> impl IntoResponse {
    let head = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, KEEP)];
    (head, include_str!("../../static/passkey.js"))
}

pub(super) async fn icon() -> impl IntoResponse {
    let head = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, KEEP)];
    (head, include_str!("../../static/icon.svg"))
}

/// For how long `security.txt` says that it holds, in milliseconds: RFC 9116 wants less than a year.
const HOLDS: i64 = 180 * 86_400_000;

pub(super) async fn security(State(console): State<Console>, guest: Guest) -> Result<Response, Refusal> {
    let contact = console.config().security_contact.as_deref().ok_or(Refusal::NotFound)?;
    // Made anew each time, so that it never runs out while the console runs.
    let expires = guest.0.now().plus_millis(HOLDS).to_string();
    let canonical = match &console.config().public {
        Some(public) => format!("Canonical: {}/.well-known/security.txt\n", public.trim_end_matches('/')),
        None => String::new(),
    };
    let text = format!("Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n{canonical}");
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
