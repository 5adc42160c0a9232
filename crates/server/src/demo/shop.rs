//! The demo shop: static pages that are part of the program, with the snippet put into their heads.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use include_dir::{Dir, include_dir};

static PAGES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../demo");
/// Where a page wants the snippet.
const PLACE: &str = "<!-- convizit -->";

pub(super) fn router(snippet: &str) -> Router {
    Router::new().fallback(page).with_state(Arc::from(snippet))
}

async fn page(State(snippet): State<Arc<str>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let path = uri.path().trim_matches('/');
    let name = match path {
        "" => "index.html".to_owned(),
        "app" => "app.html".to_owned(),
        _ if path.starts_with("app/") => "app.html".to_owned(),
        _ if path.starts_with("p/") => "product.html".to_owned(),
        _ if !path.contains('.') => format!("{path}.html"),
        _ => path.to_owned(),
    };
    let Some(file) = PAGES.get_file(&name) else {
        let mut response = Response::new(Body::from("There is no such page in the shop.\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let kind = match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        _ => "text/plain; charset=utf-8",
    };
    let mut response = if kind.starts_with("text/html") {
        let text = file.contents_utf8().unwrap_or_default().replacen(PLACE, &snippet, 1);
        Response::new(Body::from(text))
    } else {
        ranged(file.contents(), &headers)
    };
    let to = response.headers_mut();
    to.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    to.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The whole file or, for a video that is sought in, the one range that was asked for.
fn ranged(bytes: &'static [u8], headers: &HeaderMap) -> Response<Body> {
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
        .and_then(|(from, to)| {
            let from: usize = from.parse().ok()?;
            let to = to.parse().map_or(bytes.len(), |last: usize| last.saturating_add(1).min(bytes.len()));
            Some((from, bytes.get(from..to).filter(|part| !part.is_empty())?))
        });
    let mut response = match range {
        None => Response::new(Body::from(bytes)),
        Some((from, part)) => {
            let mut response = Response::new(Body::from(part));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {from}-{}/{}", from + part.len() - 1, bytes.len());
            if let Ok(value) = HeaderValue::try_from(text) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            response
        }
    };
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}
