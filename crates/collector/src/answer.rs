//! Answers: problems as JSON (RFC 9457) and the CORS headers that let a page read them.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// The version of the project's settings, so that a tab with older ones fetches them.
pub(crate) const SETTINGS: HeaderName = HeaderName::from_static("convizit-settings");

/// A problem that names the field; never a value.
pub(crate) fn problem(status: u16, kind: &str, field: &str, detail: &str) -> Response<Body> {
    let body = serde_json::json!({
        "type": format!("urn:convizit:problem:{kind}"),
        "status": status,
        "field": field,
        "detail": detail,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// 503: the tracker keeps the batch and comes again.
pub(crate) fn later(detail: &str) -> Response<Body> {
    let mut response = problem(503, "overloaded", "body", detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Lets a page of this origin read the answer.
pub(crate) fn allow_origin(response: &mut Response<Body>, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Convizit-Settings, Retry-After"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
