//! What a program is told when its call is not carried out: problem details (RFC 9457), one kind for each thing to do about it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use convizit_store::{Scope, StoreError};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::acts::Undone;
use crate::page::Refusal;
use crate::throttle::Wait;

/// Why a call was not carried out; boxed, since every call may answer it and few do.
#[derive(Debug)]
pub(crate) struct Problem(Box<Details>);

/// Why a call was not carried out (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Details {
    /// Tells kinds apart: `urn:convizit:problem:stale`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind in words.
    title: &'static str,
    /// The answer's HTTP status.
    status: u16,
    /// What happened, and what to do.
    detail: String,
    /// The field, parameter or header that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What stands there now, where somebody else was quicker.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Value>,
    /// Seconds after which to try again, also in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let (status, detail) = (status.as_u16(), detail.into());
        Self(Box::new(Details { kind, title, status, detail, field: None, current: None, retry_after: None }))
    }

    /// The request is not of the form that is asked for.
    pub(crate) fn malformed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let of_form = Self::new(StatusCode::BAD_REQUEST, "urn:convizit:problem:malformed", "Malformed request", detail);
        of_form.at(field)
    }

    /// The request can be read, and what it asks for is not possible.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "urn:convizit:problem:invalid", "Not possible", detail)
    }

    /// About this field, parameter or header; none where it is empty.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into()).filter(|field| !field.is_empty());
        self
    }

    fn again_in(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Somebody else was quicker.
    pub(crate) fn stale(field: &str, current: Value) -> Self {
        let detail =
            "somebody else has changed it meanwhile: look at current, and send again what you want made from it";
        let mut stale = Self::new(StatusCode::CONFLICT, "urn:convizit:problem:stale", "Changed meanwhile", detail);
        stale.0.current = Some(current);
        stale.at(field)
    }

    /// Something that stands there has to be changed first.
    pub(crate) fn barred(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "urn:convizit:problem:barred", "Something is to be done first", detail)
    }

    pub(crate) fn no_token() -> Self {
        let detail = "a living token is needed: Authorization: Bearer …, made by convizit token add";
        Self::new(StatusCode::UNAUTHORIZED, "urn:convizit:problem:unauthorized", "No living token", detail)
    }

    pub(crate) fn wrong_scope(scope: Scope) -> Self {
        let detail = format!("this needs a token with the scope {}", scope.as_str());
        Self::new(StatusCode::FORBIDDEN, "urn:convizit:problem:scope", "Another scope is needed", detail)
    }

    /// There is no such thing, or it is another project's: nobody learns which.
    pub(crate) fn not_found() -> Self {
        let detail = "there is nothing at this address in this token's project";
        Self::new(StatusCode::NOT_FOUND, "urn:convizit:problem:not_found", "Not found", detail)
    }

    pub(crate) fn wrong_method() -> Self {
        let detail = "this address takes other methods: see the header Allow";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "urn:convizit:problem:method", "Another method is needed", detail)
    }

    /// As `wrong_method`, of an address that takes one alone.
    pub(crate) fn send_instead(method: &str, path: &str) -> Self {
        let body = if method == "POST" { r#" and the body {"visitors": ["…"], "users": ["…"]}"# } else { "" };
        let detail = format!("send {method} {path} with the header Authorization: Bearer …{body}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "urn:convizit:problem:method", "Another method is needed", detail)
    }

    pub(crate) fn too_large(bytes: usize) -> Self {
        let detail = format!("a body has at most {bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "urn:convizit:problem:too_large", "Too large", detail)
    }

    pub(crate) fn not_json() -> Self {
        let detail = "the body is JSON, with the header Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "urn:convizit:problem:media_type", "Not JSON", detail)
    }

    pub(crate) fn too_many(Wait(seconds): Wait) -> Self {
        let detail = format!("too many tokens that nobody has came from this address: wait {seconds} seconds");
        let many = Self::new(StatusCode::TOO_MANY_REQUESTS, "urn:convizit:problem:too_many", "Too many tries", detail);
        many.again_in(seconds)
    }

    pub(crate) fn too_many_keys() -> Self {
        let detail = "the project has as many idempotency keys as are kept: wait, or send without one";
        let many = Self::new(StatusCode::TOO_MANY_REQUESTS, "urn:convizit:problem:too_many", "Too many keys", detail);
        many.again_in(3600)
    }

    /// The same key came with another call.
    pub(crate) fn key_reused() -> Self {
        let detail = "another call carried this key within 24 hours: each call has a key of its own";
        let kind = "urn:convizit:problem:key_reused";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, kind, "The key was used", detail).at("Idempotency-Key")
    }

    /// The same call is being carried out.
    pub(crate) fn running() -> Self {
        let detail = "the same call is being carried out: ask again in a moment";
        let running = Self::new(StatusCode::CONFLICT, "urn:convizit:problem:running", "Being carried out", detail);
        running.at("Idempotency-Key").again_in(1)
    }

    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        let kind = "urn:convizit:problem:unavailable";
        let failed = Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, "The console cannot answer now", detail);
        failed.again_in(5)
    }
}

#[cfg(test)]
impl Problem {
    /// What a program is told.
    pub(super) fn told(&self) -> Value {
        serde_json::to_value(&self.0).unwrap_or_default()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::not_found(),
            Refusal::Invalid(text) => Self::invalid(text),
            Refusal::Barred(text) => Self::barred(text),
            Refusal::TooMany(seconds) => Self::too_many(Wait(seconds)),
            Refusal::Failed(text) => {
                tracing::warn!(why = text, "a call could not be answered");
                Self::failed(text)
            }
            // Of pages alone.
            Refusal::Forbidden(_) | Refusal::TooLarge | Refusal::Foreign => Self::no_token(),
        }
    }
}

impl Undone {
    /// What a program is told; `meanwhile` says what stands there now, where somebody else was quicker.
    pub(super) fn told(self, meanwhile: impl FnOnce() -> Problem) -> Problem {
        match self {
            Self::Wrong(problem) => Problem::invalid(problem.text).at(problem.field),
            Self::Meanwhile => meanwhile(),
            Self::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<Undone> for Problem {
    fn from(undone: Undone) -> Self {
        undone.told(|| Problem::stale("", Value::Null))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(details) = self;
        let status = StatusCode::from_u16(details.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let body = serde_json::to_string(&details).unwrap_or_default();
        let mut answer = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = details.retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}
