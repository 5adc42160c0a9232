//! Pages travel compressed, but where another site made the browser ask: the length of that answer must not tell what is in it.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes from which on it pays.
const LEAST: u64 = 1_024;
/// Bytes of an answer at most: a longer one, an export say, is a stream.
const MOST: usize = 4 << 20;
/// Of a page of 200 KB it takes a millisecond, and leaves a tenth.
const LEVEL: Compression = Compression::new(3);

/// Compresses what is text, for a browser that takes it.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let wanted = takes_gzip(request.headers()) && is_asked_by_us(request.headers());
    let mut answer = next.run(request).await;
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding, sec-fetch-site"));
    let size = answer.body().size_hint().exact();
    let fits = size.is_some_and(|size| size >= LEAST && usize::try_from(size).is_ok_and(|size| size <= MOST));
    if !wanted || !fits || !is_text(answer.headers()) || answer.headers().contains_key(header::CONTENT_ENCODING) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let packed = to_bytes(body, MOST).await.map_err(std::io::Error::other).and_then(|bytes| {
        let mut gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), LEVEL);
        gzip.write_all(&bytes)?;
        gzip.finish()
    });
    let Ok(packed) = packed else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Body::from(packed))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = |one: &str| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        name.trim() == "gzip" && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    };
    text(headers, header::ACCEPT_ENCODING).split(',').any(named)
}

/// A person or a page of ours. What says nothing of it, an old browser, gets pages as they are.
fn is_asked_by_us(headers: &HeaderMap) -> bool {
    matches!(text(headers, header::HeaderName::from_static("sec-fetch-site")), "same-origin" | "none")
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = text(headers, header::CONTENT_TYPE);
    ["text/", "image/svg+xml", "application/json"].iter().any(|known| kind.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_says_what_it_takes_and_who_asks() {
        let head = |name: &'static str, value: &str| {
            HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
        };
        for (value, takes) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", true),
            ("gzip;q=0, br", false),
            ("br", false),
            ("", false),
            ("x-gzip", false),
        ] {
            assert_eq!(takes_gzip(&head("accept-encoding", value)), takes, "{value}");
        }
        for (value, own) in [("same-origin", true), ("none", true), ("cross-site", false), ("same-site", false)] {
            assert_eq!(is_asked_by_us(&head("sec-fetch-site", value)), own, "{value}");
        }
        assert!(!is_asked_by_us(&HeaderMap::new()));
    }
}
