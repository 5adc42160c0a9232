//! Programs that come in with a token of a project: the token first, then its project, then its scope.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use convizit_model::{Project, Timestamp};
use convizit_store::{Scope, Store, Token};

use super::{Admitted, Row, Samples};
use crate::api::idempotency;
use crate::api::problem::Problem;
use crate::{Console, session};

/// A program with a token, in the token's project.
#[derive(Clone)]
pub(crate) struct Caller {
    /// Acting as the token, for the audit log.
    pub(crate) store: Store,
    pub(crate) project: Project,
    pub(crate) token: Token,
    /// Where people find this console, for links that are passed on.
    pub(crate) own_address: String,
}

impl Caller {
    /// Whether the token has a scope, where an answer says more to those who do.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.token.allows(scope)
    }

    /// The right to see samples, for those who have it; that they read them is taken down.
    pub(crate) fn samples(&self) -> Option<Samples> {
        let right = self.may(Scope::Samples).then_some(Samples(()))?;
        self.store.note_read(self.project.id.as_str());
        Some(right)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.store.clock().now()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong_row = || Problem::failed("this route asks for more than its row of rights grants");
        parts.extensions.get::<Arc<Caller>>().map(|caller| Self::clone(caller)).ok_or_else(wrong_row)
    }
}

/// The living token of a request and its project; a token of the installation has none.
///
/// # Errors
/// The same answer for no token, an unknown one and one that has ended; another when an address shows too many that nobody has.
pub(crate) async fn bearer(console: &Console, parts: &Parts) -> Result<(Token, Project), Problem> {
    let (store, now) = (console.store(), console.store().clock().now());
    let address = session::address(parts, console.config());
    let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(secret) = shown.and_then(|value| value.strip_prefix("Bearer ")) else { return Err(Problem::no_token()) };
    console.throttle().may_show_token(address, now).map_err(Problem::too_many)?;
    let wrong = || {
        console.throttle().wrong_token(address, now);
        Problem::no_token()
    };
    let token = store.token(secret.trim()).await?.ok_or_else(wrong)?;
    let id = token.project.parse().map_err(|_| Problem::no_token())?;
    let project = store.project(&id).await?;
    Ok((token, project))
}

async fn admit(
    console: &Console,
    (row, scope): (Row, Scope),
    wanted: Option<String>,
    parts: &Parts,
) -> Result<Caller, Problem> {
    let (token, project) = bearer(console, parts).await?;
    // The same answer for a project that there is not and for one that is not the token's.
    if wanted.as_deref() != Some(project.id.as_str()) {
        return Err(Problem::not_found());
    }
    let store = console.store().acting_as(&token.actor());
    if !token.allows(scope) {
        if row.changes() {
            store.audit("access.refuse", project.id.as_str(), row.path, "").await?;
        }
        return Err(Problem::wrong_scope(scope));
    }
    let own_address = session::own_address(&parts.headers, console.config()).unwrap_or_default();
    Ok(Caller { store, project, token, own_address })
}

/// Lets in whom the row allows, and refuses everybody else alike.
pub(super) async fn guard(
    console: &Console,
    (row, scope): (Row, Scope),
    project: Option<String>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    // No text of PostgreSQL holds one.
    if parts.uri.to_string().contains("%00") {
        return Problem::malformed("", "the address holds a character 0").into_response();
    }
    let caller = match admit(console, (row, scope), project, &parts).await {
        Ok(caller) => Arc::new(caller),
        Err(problem) => return problem.into_response(),
    };
    if scope == Scope::Audit && !row.changes() {
        caller.store.note_read(caller.project.id.as_str());
    }
    parts.extensions.insert(caller.clone());
    let request = Request::from_parts(parts, body);
    // An export changes nothing, and is too long to be kept.
    let mut answer = if row.changes() && scope != Scope::Export {
        idempotency::once(&caller, request, next).await
    } else {
        next.run(request).await
    };
    answer.extensions_mut().insert(Admitted);
    in_json(answer)
}

/// Lets anybody in.
pub(super) async fn open(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    answer.extensions_mut().insert(Admitted);
    in_json(answer)
}

/// A route outside `/api/v1`, whose handler asks for the token itself.
pub(super) async fn of_desk(row: Row, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    match answer.status() {
        StatusCode::METHOD_NOT_ALLOWED => Problem::send_instead(row.method, row.path).into_response(),
        _ => answer,
    }
}

/// Another method than those of the route's rows is refused by the router, without a word.
fn in_json(answer: Response) -> Response {
    if answer.status() == StatusCode::METHOD_NOT_ALLOWED { Problem::wrong_method().into_response() } else { answer }
}
