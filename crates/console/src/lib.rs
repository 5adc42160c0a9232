//! Pages for people: for now one status page; accounts and more come with their issue.

mod privacy;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use convizit_model::limits::BATCH_BYTES;
use convizit_store::{Store, StoreError};

static STYLE: &str = include_str!("status.css");

/// The console's pages. They show counts, names of projects and destinations, and notices: nothing that was captured.
pub fn router(store: Store) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/status.css", get(style))
        .with_state(store.clone())
        .merge(privacy::router(store))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

async fn status(State(store): State<Store>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match page(&store).await {
        Ok(html) => (headers, html).into_response(),
        Err(error) => {
            let text = format!("<!doctype html><title>Convizit</title><p>{}", escaped(&error.to_string()));
            (StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response()
        }
    }
}

async fn page(store: &Store) -> Result<String, StoreError> {
    let health = store.health();
    let mut body = String::new();
    let waiting = health.journal_offset.saturating_sub(store.worker_offset().await?);
    let failing = health.failing.or_else(|| store.journal_has_room(BATCH_BYTES).err().map(|error| error.to_string()));
    match &failing {
        None => body.push_str(&format!(
            "<p class=\"good\" role=\"status\">All is well. {waiting} batches wait for the worker.</p>"
        )),
        Some(why) => body.push_str(&format!("<p class=\"bad\" role=\"alert\">{}</p>", escaped(why))),
    }
    let notices = store.notices(false).await?;
    if !notices.is_empty() {
        body.push_str("<section aria-labelledby=\"notices\"><h2 id=\"notices\">Notices</h2><ul>");
        for notice in notices.iter().take(50) {
            body.push_str(&format!(
                "<li>{} <small>{} times, last {}</small></li>",
                escaped(&notice.text),
                notice.count,
                notice.last
            ));
        }
        body.push_str("</ul></section>");
    }
    let projects = store.projects().await?;
    if projects.is_empty() {
        body.push_str("<section><h2>No project yet</h2><p>Make one and put its snippet into your pages:</p><pre>convizit project add shop --origin https://shop.example</pre></section>");
    }
    for project in projects {
        let events = store.last_event(project.number).await?;
        body.push_str(&format!(
            "<section aria-labelledby=\"p-{0}\"><h2 id=\"p-{0}\">{0}</h2><p><strong>{events}</strong> events · key <code>{1}</code> · from {2}</p>",
            escaped(project.id.as_str()),
            escaped(project.key.as_str()),
            escaped(&project.settings.origins.join(", ")),
        ));
        let outcomes = store.outcomes(project.number).await?;
        if outcomes.is_empty() {
            body.push_str(&format!("<p>Nothing has arrived yet. Put the snippet into the site's pages: <code>convizit project snippet {}</code></p>", escaped(project.id.as_str())));
        } else {
            body.push_str("<table><caption>What became of everything that arrived</caption><thead><tr><th>Outcome<th class=\"number\">Items<th>What it means</thead><tbody>");
            for (outcome, items) in outcomes {
                body.push_str(&format!(
                    "<tr><td>{}<td class=\"number\">{items}<td>{}",
                    escaped(&outcome),
                    meaning(&outcome)
                ));
            }
            body.push_str("</tbody></table>");
        }
        let destinations = store.destinations(Some(&project.id)).await?;
        if destinations.is_empty() {
            body.push_str(&format!("<p>Its events go nowhere yet: <code>convizit destination add {} hook webhook --url https://…</code></p>", escaped(project.id.as_str())));
        } else {
            body.push_str("<table><caption>Destinations</caption><thead><tr><th>Name<th>Kind<th>Behind<th>Refused<th>State</thead><tbody>");
            for state in destinations {
                let what = state
                    .destination
                    .paused
                    .as_ref()
                    .map_or_else(|| "sending".to_owned(), |reason| format!("paused: {reason}"));
                body.push_str(&format!(
                    "<tr><td>{}<td>{}<td>{}<td>{}<td>{}",
                    escaped(&state.destination.name),
                    state.destination.kind.as_str(),
                    (events - state.cursor).max(0),
                    state.dead,
                    escaped(&what)
                ));
            }
            body.push_str("</tbody></table>");
        }
        body.push_str("</section>");
    }
    Ok(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"refresh\" content=\"5\"><title>Status · Convizit</title><link rel=\"stylesheet\" href=\"/status.css\"></head><body><header><h1>Convizit</h1></header><main>{body}</main><footer><p>Countries: <a href=\"https://db-ip.com\">IP Geolocation by DB-IP</a> · <a href=\"/metrics\">metrics</a> · <a href=\"/healthz\">health</a></p></footer></body></html>"
    ))
}

/// An outcome in words.
fn meaning(outcome: &str) -> &'static str {
    match outcome {
        "accepted" => "stored as a named event",
        "repeated" => {
            "was here already: a page that goes sends at once, the next one sends again to be sure; counted once"
        }
        "withheld" => "excluded whole by a privacy rule or an exclusion",
        "dropped" => "the browser's queue was full",
        "filtered.bot" => "a known bot or a browser driven by a program; filter_bots decides",
        "filtered.type" => "a type of event that is off",
        "filtered.consent" => "the visitor did not agree",
        "filtered.excluded" => "a page that is excluded",
        "refused.malformed" => "not of the protocol's form",
        "refused.too_large" => "over a limit of size, count or depth",
        "refused.version" => "of another protocol version",
        "refused.origin" => "from an origin that the project does not allow",
        "refused.overloaded" => "the server could not take it then; the tracker sends it again",
        "refused.internal" => "our fault: in quarantine, with a notice",
        _ => "",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
