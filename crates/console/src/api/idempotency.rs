//! Changing calls that may be sent again: one that carries an `Idempotency-Key` is carried out once, and answered alike each time.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use convizit_store::{Claim, KeyedCall, Store};
use serde::{Deserialize, Serialize};

use super::BODY;
use super::problem::Problem;
use crate::access::Caller;

/// The header, as the IETF's draft has it.
pub(super) const KEY: &str = "idempotency-key";
/// Characters of a key.
pub(super) const KEY_CHARS: usize = 255;
/// Bytes of an answer that is kept; ours are a few numbers and a link.
const ANSWER: usize = 16 * 1024;

/// An answer as it is kept, sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    etag: Option<String>,
    body: String,
}

impl Kept {
    fn answer(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut answer = (status, self.body).into_response();
        answer.headers_mut().remove(header::CONTENT_TYPE);
        if status != StatusCode::NO_CONTENT {
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(etag) = self.etag.and_then(|etag| etag.parse().ok()) {
            answer.headers_mut().insert(header::ETAG, etag);
        }
        answer
    }
}

/// The key of a call; none is no problem.
fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=KEY_CHARS).contains(&key.len()) && keys.next().is_none());
    let wrong = || Problem::malformed("Idempotency-Key", format!("one key of 1 to {KEY_CHARS} plain characters"));
    key.map(Some).ok_or_else(wrong)
}

/// Carries a call out, or answers it as the same one was answered before.
pub(crate) async fn once(caller: &Caller, request: Request, next: Next) -> Response {
    match claimed(caller, request, next).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_response(),
    }
}

async fn claimed(caller: &Caller, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let Some(key) = key_of(&parts.headers)? else { return Ok(next.run(Request::from_parts(parts, body)).await) };
    let bytes = to_bytes(body, BODY).await.map_err(|_| Problem::too_large(BODY))?;
    let mut call = format!("{} {}\n", parts.method, parts.uri).into_bytes();
    call.extend_from_slice(&bytes);
    match caller.store.claim_key(&caller.project, key, &call).await? {
        Claim::New(call) => {
            let (store, request) = (caller.store.clone(), Request::from_parts(parts, Body::from(bytes)));
            // In a task of its own: whoever hangs up before the answer finds it the next time.
            let done = tokio::spawn(async move {
                let answer = next.run(request).await;
                keep(&store, &call, answer).await
            });
            done.await.map_err(|_| Problem::failed("the call was cut off"))?
        }
        Claim::Answered(kept) => {
            let kept: Kept = serde_json::from_slice(&kept)
                .map_err(|_| Problem::failed("the answer to this key is of a newer convizit: start that version"))?;
            Ok(kept.answer())
        }
        Claim::Running => Err(Problem::running()),
        Claim::Different => Err(Problem::key_reused()),
        Claim::Full => Err(Problem::too_many_keys()),
    }
}

/// Keeps what changed something; whatever was refused changed nothing, and may come again.
async fn keep(store: &Store, call: &KeyedCall, answer: Response) -> Result<Response, Problem> {
    if !answer.status().is_success() {
        store.drop_key(call).await?;
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    let bytes = to_bytes(body, ANSWER).await.map_err(|_| Problem::failed("the answer is too long to be kept"))?;
    let etag = parts.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let kept = Kept { status: parts.status.as_u16(), etag, body: String::from_utf8_lossy(&bytes).into_owned() };
    let kept = serde_json::to_vec(&kept).map_err(|error| Problem::failed(error.to_string()))?;
    store.keep_answer(call, &kept).await?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}
