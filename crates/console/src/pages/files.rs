//! The console's own style, script and icon.

use axum::http::header;
use axum::response::IntoResponse;

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

pub(super) async fn icon() -> impl IntoResponse {
    let head = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, KEEP)];
    (head, include_str!("../../static/icon.svg"))
}
