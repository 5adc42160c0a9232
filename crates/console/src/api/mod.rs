//! The interface for programs: what the pages do, as JSON under `/api/v1`, for tokens of a project.
//!
//! `openapi.rs` makes routes and their description from one list, `problem.rs` says what went wrong, `idempotency.rs` answers calls
//! that come again; the other files are a resource each. What pages do, too, is in `acts/` and in the store.

mod audit;
mod channels;
mod decisions;
mod destination_views;
mod destinations;
mod drafts;
mod events;
mod exclusions;
mod groups;
pub(crate) mod idempotency;
mod incidents;
mod members;
mod merge;
mod openapi;
mod persons;
pub(crate) mod problem;
mod processors;
mod project;
mod refused;
mod samples;
mod settings;

use std::fmt::Display;
use std::str::FromStr;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::access::Routes;
use openapi::Api;
use problem::Problem;

/// Bytes of a body at most: ten thousand ids of persons.
pub(crate) const BODY: usize = 4 << 20;
/// Items of a page, where a call does not say, and at most.
const PAGE: u32 = 50;
const PAGE_MOST: u32 = 200;

/// The full path of a resource of a project.
macro_rules! at {
    ($rest:literal) => {
        concat!("/api/v1/projects/{project}", $rest)
    };
}
pub(crate) use at;

/// Every route of the interface, and the document that describes them.
pub(crate) fn routes(routes: Routes) -> Routes {
    let api = Api::new(routes);
    let api = settings::routes(project::routes(api));
    let api = merge::routes(events::routes(api));
    let api = decisions::routes(groups::routes(api));
    let api = exclusions::routes(drafts::routes(api));
    let api = samples::routes(api);
    let api = processors::routes(refused::routes(destinations::routes(api)));
    let api = channels::routes(incidents::routes(api));
    let api = members::routes(api);
    audit::routes(persons::routes(api)).routes()
}

/// A body of JSON.
pub(crate) struct Given<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Problem::not_json());
        }
        let bytes = to_bytes(request.into_body(), BODY).await.map_err(|_| Problem::too_large(BODY))?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| unreadable(&error))?;
        let behind = |_| Problem::malformed("", "something stands behind the body's JSON");
        json.end().map_err(behind).map(|()| Self(value))
    }
}

/// Says where a body is wrong, and never quotes from it: it may name persons.
fn unreadable(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let (path, inner) = (error.path().to_string(), error.inner());
    if !inner.is_data() {
        let (line, column) = (inner.line(), inner.column());
        return Problem::malformed("", format!("the body is no JSON from line {line}, column {column} on"));
    }
    let field = if path == "." { String::new() } else { path };
    let said = inner.to_string();
    let what = match said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        Some(missing) => format!("the field {missing} is missing"),
        // Whatever it was called by the sender is not said again.
        None if said.starts_with("unknown field") => {
            let around = field.rsplit_once('.').map_or("", |(around, _)| around);
            return Problem::malformed(around, "a field that there is not: see /api/v1/openapi.json");
        }
        None => "another form is asked for: see /api/v1/openapi.json".to_owned(),
    };
    Problem::malformed(field, what)
}

/// The parameters of an address.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = |error: axum::extract::rejection::QueryRejection| Problem::malformed("", error.body_text());
        Query::try_from_uri(&parts.uri).map(|Query(asked)| Self(asked)).map_err(wrong)
    }
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// `next` of the page before.
    pub(crate) after: Option<String>,
    /// Items of a page, 50 by default.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// The first so many of what is left of a list; `place` is where the next page goes on behind an item.
    pub(crate) fn of(left: impl Iterator<Item = T>, limit: usize, place: impl Fn(&T) -> String) -> Self {
        let mut items: Vec<T> = left.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(place);
        Self { items, next }
    }

    /// All of a short list.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// How many items a page has.
pub(crate) fn limit(asked: Option<u32>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(PAGE);
    if !(1..=PAGE_MOST).contains(&limit) {
        return Err(Problem::malformed("limit", format!("1 to {PAGE_MOST}")));
    }
    Ok(usize::try_from(limit).unwrap_or(1))
}

/// Where a page goes on.
pub(crate) fn after<T: FromStr>(asked: Option<&str>) -> Result<Option<T>, Problem> {
    let wrong = |_| Problem::malformed("after", "after is the next of the page before, as it was given");
    asked.map(|text| text.parse().map_err(|_| ()).map_err(wrong)).transpose()
}

/// A place in a list that is ordered by time, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64, pub(crate) u64);

impl Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:x}", self.0, self.1)
    }
}

impl FromStr for Moment {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (time, number) = text.split_once('.').ok_or(())?;
        Ok(Self(time.parse().map_err(|_| ())?, u64::from_str_radix(number, 16).map_err(|_| ())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let page = Page::of(1..=5, 2, ToString::to_string);
        assert_eq!((page.items, page.next.as_deref()), (vec![1, 2], Some("2")));
        let page = Page::of(3..=4, 2, ToString::to_string);
        assert_eq!((page.items, page.next), (vec![3, 4], None), "no empty page at the end");
        for moment in [Moment(0, 0), Moment(-1, u64::MAX), Moment(i64::MAX, 7)] {
            assert_eq!(moment.to_string().parse(), Ok(moment));
        }
        assert!(after::<Moment>(Some("1.x")).is_err() && after::<Moment>(None).unwrap().is_none());
        assert!(limit(Some(0)).is_err() && limit(Some(201)).is_err());
        assert_eq!(limit(None).unwrap(), 50);
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_without_quoting_it() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            #[expect(dead_code, reason = "only read")]
            ids: Vec<String>,
        }
        for (body, said) in [
            (r#"{"ids": [7461]}"#, "ids[0]"),
            (r#"{"7461": 1}"#, "a field that there is not"),
            ("{}", "the field ids is missing"),
            ("{", "no JSON from line 1, column 1"),
        ] {
            let mut json = serde_json::Deserializer::from_str(body);
            let error = serde_path_to_error::deserialize::<_, Body>(&mut json).unwrap_err();
            let problem = unreadable(&error).told().to_string();
            assert!(problem.contains(said) && !problem.contains("7461"), "{problem}");
        }
    }
}
