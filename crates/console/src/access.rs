//! Who comes in where: every route is registered with its row of rights, and a handler gets what the row has granted as a value.
//!
//! A route cannot be added without a row, and a handler that wants more than its row grants is refused by the type it asks for. The
//! order is the same for all: who is it, have they given every factor, is it their project, do they have the role, does the form come
//! from our own page. Programs come in with a token instead, by `access/token.rs`.

mod token;
mod way_on;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodFilter, on};
use convizit_model::{Action, Project, ProjectId, Role, Timestamp};
use convizit_store::{Account, Scope, Session, SessionPlace, Store, StoreError};

use crate::api::problem::Problem;
use crate::page::{Chrome, Refusal};
use crate::{Console, Face, session};

pub(crate) use token::{Caller, bearer};

use way_on::way_on;

/// Bytes of a form at most.
const FORM_BYTES: usize = 256 * 1024;
/// Fields of a form at most.
const FORM_FIELDS: usize = 2_000;
/// What the audit log says of a refused change of one's own role.
pub(crate) const OWN_ROLE: &str = "own role";
/// Before what cannot be undone, somebody has proved within this time who they are.
const PROVED_MILLIS: i64 = 5 * 60_000;

/// Who may ask for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// A token of the site's own systems, which the handler checks; no cookie counts.
    Token,
    /// Anybody, without a cookie.
    Public,
    /// A token of the path's project with this scope; no cookie counts.
    Scope(Scope),
    /// Whoever has given a password, and owes the second factor.
    HalfSignedIn,
    /// A signed-in person who may still have to set up a second factor.
    Newcomer,
    /// A signed-in person, about themselves.
    Person,
    /// A member of the path's project whose role allows the action.
    Project(Action),
    /// A person whose role in the installation allows the action.
    Installation(Action),
}

/// A route's row of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The path, with `{project}` where it is of one.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
    /// Whether the person must have proved within five minutes who they are.
    pub proved: bool,
}

/// On the answer to a request that a row let in, so that a test sees which it did.
#[derive(Debug, Clone, Copy)]
pub struct Admitted;

impl Row {
    pub(crate) const fn get(path: &'static str, access: Access) -> Self {
        Self { method: "GET", path, access, proved: false }
    }

    pub(crate) const fn post(path: &'static str, access: Access) -> Self {
        Self { method: "POST", path, access, proved: false }
    }

    pub(crate) const fn put(path: &'static str, access: Access) -> Self {
        Self { method: "PUT", path, access, proved: false }
    }

    pub(crate) const fn patch(path: &'static str, access: Access) -> Self {
        Self { method: "PATCH", path, access, proved: false }
    }

    pub(crate) const fn delete(path: &'static str, access: Access) -> Self {
        Self { method: "DELETE", path, access, proved: false }
    }

    pub(crate) const fn proved(self) -> Self {
        Self { proved: true, ..self }
    }

    fn changes(&self) -> bool {
        self.method != "GET"
    }

    fn filter(&self) -> MethodFilter {
        match self.method {
            "POST" => MethodFilter::POST,
            "PUT" => MethodFilter::PUT,
            "PATCH" => MethodFilter::PATCH,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        }
    }
}

/// Routes, each with its row.
pub(crate) struct Routes {
    console: Console,
    router: Router<Console>,
    rows: Vec<Row>,
}

impl Routes {
    pub(crate) fn new(console: Console) -> Self {
        Self { console, router: Router::new(), rows: Vec::new() }
    }

    /// The only way to add a route. Its row is kept, too, where the route is on the other address.
    pub(crate) fn add<H, T>(mut self, row: Row, handler: H) -> Self
    where
        H: Handler<T, Console>,
        T: 'static,
    {
        if self.console.face().has(row.access) {
            let guarded = on(row.filter(), handler).layer(from_fn_with_state((self.console.clone(), row), guard));
            self.router = self.router.route(row.path, guarded);
        }
        self.rows.push(row);
        self
    }

    pub(crate) fn parts(self) -> (Router, Vec<Row>) {
        (self.router.with_state(self.console), self.rows)
    }
}

/// What a form or an address said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(bytes)
            .take(FORM_FIELDS + 1)
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        (fields.len() <= FORM_FIELDS).then_some(Self(fields))
    }

    /// Of fields that a test says.
    #[cfg(test)]
    pub(crate) fn of(fields: Vec<(String, String)>) -> Self {
        Self(fields)
    }

    /// The first field of this name; empty when there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// Every field with its value, in the form's order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Fields whose names begin so, by what follows.
    pub(crate) fn starting_with<'f>(&'f self, head: &'f str) -> impl Iterator<Item = (&'f str, &'f str)> {
        self.pairs().filter_map(move |(name, value)| Some((name.strip_prefix(head)?, value)))
    }

    /// All fields of this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Whoever asks, and how.
pub(crate) struct Asking {
    /// Acting as the person, for the audit log.
    pub(crate) store: Store,
    /// Path and query, for a sign-in that leads back here.
    pub(crate) path: String,
    /// The address's own fields.
    pub(crate) query: Fields,
    /// What a form sent.
    pub(crate) fields: Fields,
    /// The address, for the throttle alone.
    pub(crate) address: std::net::IpAddr,
    pub(crate) place: SessionPlace,
    /// Where the browser finds this console, for links that are passed on.
    pub(crate) own_address: String,
    /// Which routes this address has.
    pub(crate) face: Face,
    /// Carried by each form.
    pub(crate) token: String,
    person: Option<(Account, Session)>,
    /// The session of a browser that is signed in, or half so, on an open page.
    found: Option<Session>,
    role: Option<Role>,
    project: Option<Project>,
    samples: bool,
    /// Whether it was taken down that this request reads samples or the audit log.
    read: AtomicBool,
    proved: bool,
    /// Notices that nobody has seen: of this project, and of all where the person sees all.
    unseen: (i64, i64),
}

/// On an open page.
pub(crate) struct Guest(pub(crate) Arc<Asking>);
/// A person who is signed in, or has given the first factor where the row says so.
pub(crate) struct Person {
    pub(crate) asking: Arc<Asking>,
    pub(crate) account: Account,
    pub(crate) session: Session,
}
/// A member in a project, with what the row has granted.
pub(crate) struct Member {
    pub(crate) asking: Arc<Asking>,
    pub(crate) account: Account,
    pub(crate) project: Project,
    pub(crate) role: Role,
}

/// The right to see what visitors were shown and did. Only this file makes one, and what shows samples asks for it.
pub(crate) struct Samples(());

impl Guest {
    /// The session that the browser has already, whole or half.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.0.found.as_ref()
    }

    /// Whoever is signed in on this open page.
    pub(crate) fn account(&self) -> Option<&Account> {
        self.0.person.as_ref().map(|(account, _)| account)
    }
}

impl Person {
    /// Whoever is signed in and asks.
    pub(crate) fn of(asking: Arc<Asking>) -> Option<Self> {
        let (account, session) = asking.person.clone()?;
        Some(Self { asking, account, session })
    }
}

impl Member {
    /// The right to see samples, for those who have it; that they read them is taken down.
    pub(crate) fn samples(&self) -> Option<Samples> {
        let right = self.samples_of_follower()?;
        self.asking.note_read();
        Some(right)
    }

    /// The same where a page that is open asks for what came since: it was read when it was opened.
    pub(crate) fn samples_of_follower(&self) -> Option<Samples> {
        self.asking.samples.then_some(Samples(()))
    }

    /// Whether the role allows an action, to show or hide its button; the action's own route asks again.
    pub(crate) fn may(&self, action: Action) -> bool {
        action.allows(self.role)
    }
}

impl Asking {
    /// What stands around every page.
    pub(crate) fn chrome(&self, title: &str, section: &'static str) -> Chrome {
        Chrome {
            title: title.to_owned(),
            section,
            token: self.token.clone(),
            account: self.person.as_ref().map(|(account, _)| account.clone()),
            project: self.project.as_ref().map(|project| project.id.clone()),
            role: self.role,
            installation: self.face != Face::Public,
            samples: self.samples,
            unseen: self.unseen,
            done: crate::page::done(self.query.get("done")),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.store.clock().now()
    }

    /// Takes down, once for each request, that somebody reads what visitors did, or who did what.
    fn note_read(&self) {
        if let Some(project) = &self.project
            && !self.read.swap(true, Ordering::Relaxed)
        {
            self.store.note_read(project.id.as_str());
        }
    }

    /// Whether the person has proved a moment ago who they are.
    pub(crate) fn is_proved(&self) -> bool {
        self.proved
    }
}

fn wrong_row() -> Refusal {
    Refusal::Failed("this page asks for more than its row of rights grants".to_owned())
}

impl<S: Send + Sync> FromRequestParts<S> for Guest {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Arc<Asking>>().cloned().map(Self).ok_or_else(wrong_row)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Guest(asking) = Guest::from_request_parts(parts, state).await?;
        Self::of(asking).ok_or_else(wrong_row)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Person { asking, account, .. } = Person::from_request_parts(parts, state).await?;
        let (Some(project), Some(role)) = (asking.project.clone(), asking.role) else { return Err(wrong_row()) };
        Ok(Self { asking, account, project, role })
    }
}

/// Lets in whom the row allows, and refuses everybody else alike.
async fn guard(
    State((console, row)): State<(Console, Row)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    // What is no text names nothing.
    let Ok(params) = params else {
        let of_program = matches!(row.access, Access::Scope(_));
        return if of_program { Problem::not_found().into_response() } else { Refusal::NotFound.into_response() };
    };
    let project = params.iter().find(|(name, _)| *name == "project").map(|(_, value)| value.to_owned());
    match row.access {
        Access::Token => return token::of_desk(row, request, next).await,
        Access::Public => return token::open(request, next).await,
        Access::Scope(scope) => return token::guard(&console, (row, scope), project, request, next).await,
        _ => {}
    }
    match admit(&console, row, params, request).await {
        Ok((request, cookie)) => {
            let mut answer = next.run(request).await;
            answer.extensions_mut().insert(Admitted);
            if let Some(cookie) = cookie
                && !answer.headers().contains_key(header::SET_COOKIE)
            {
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
            answer
        }
        Err(answer) => *answer,
    }
}

type Passed = (Request, Option<header::HeaderValue>);

/// An answer that ends the request here.
fn end(answer: impl IntoResponse) -> Box<Response> {
    Box::new(answer.into_response())
}

async fn admit(console: &Console, row: Row, params: RawPathParams, request: Request) -> Result<Passed, Box<Response>> {
    let failed = |error: StoreError| end(Refusal::from(error));
    let (parts, body) = request.into_parts();
    let config = console.config();
    let known = session::secret(&parts.headers, config);
    let found = match &known {
        Some(secret) => console.store().session(secret).await.map_err(failed)?,
        None => None,
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let (secret, cookie) = match known {
        Some(secret) => (secret, None),
        None => {
            let secret = console.store().new_secret().map_err(failed)?;
            let cookie = session::cookie(&secret, config);
            (secret, Some(cookie))
        }
    };
    let mut asking = Asking {
        store: console.store().clone(),
        query: Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()).unwrap_or_default(),
        path,
        fields: Fields::default(),
        address: session::address(&parts, config),
        place: SessionPlace::default(),
        own_address: session::own_address(&parts.headers, config).unwrap_or_default(),
        face: console.face(),
        token: console.store().form_token(&secret),
        person: None,
        found: found.clone(),
        role: None,
        project: None,
        samples: false,
        read: AtomicBool::new(false),
        proved: false,
        unseen: (0, 0),
    };
    asking.place = session::place(asking.address, &parts.headers, config);
    // Before anything is looked up for a form that is not ours.
    let (parts, body) = if row.changes() {
        let (parts, fields) = form(console, &secret, parts, body).await?;
        asking.fields = fields;
        (parts, Body::empty())
    } else {
        (parts, body)
    };
    identify(&mut asking, row, (found, &parts), &params).await?;
    look_around(&mut asking, row).await;
    if row.proved && !asking.proved {
        if row.changes() {
            let back = referrer(&parts);
            return Err(end(crate::pages::prove_first(Arc::new(asking), &back).await));
        }
        return Err(end(Redirect::to(&format!("/account/prove?next={}", crate::page::escaped(&asking.path)))));
    }
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(Arc::new(asking));
    Ok((request, cookie))
}

/// The page that a form was on.
fn referrer(parts: &Parts) -> String {
    let text = parts.headers.get(header::REFERER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = text.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    session::local_path(path.unwrap_or("/projects")).to_owned()
}

/// Reads a form, and refuses what another site made a browser send.
async fn form(console: &Console, secret: &str, parts: Parts, body: Body) -> Result<(Parts, Fields), Box<Response>> {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(end(Refusal::Foreign));
    }
    if !session::is_of_our_page(&parts.headers, console.config()) {
        return Err(end(Refusal::Foreign));
    }
    let bytes = to_bytes(body, FORM_BYTES).await.map_err(|_| end(Refusal::TooLarge))?;
    let fields = Fields::parse(&bytes).ok_or_else(|| end(Refusal::TooLarge))?;
    if !console.store().is_form_token(secret, fields.get("token")) {
        return Err(end(Refusal::Foreign));
    }
    Ok((parts, fields))
}

/// Finds out who asks, and whether they may.
async fn identify(
    asking: &mut Asking,
    row: Row,
    (found, parts): (Option<Session>, &Parts),
    params: &RawPathParams,
) -> Result<(), Box<Response>> {
    let param = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned());
    let failed = |error: StoreError| end(Refusal::from(error));
    let sign_in = |asking: &Asking| {
        // A form leads back to its page, and is told that it was not taken.
        let (next, ended) = if row.changes() { (referrer(parts), "&ended=yes") } else { (asking.path.clone(), "") };
        end(Redirect::to(&format!("/sign-in?next={}{ended}", crate::page::escaped(&next))))
    };
    let Some(session) = found else {
        return if row.access == Access::Open { Ok(()) } else { Err(sign_in(asking)) };
    };
    if !session.whole {
        return match row.access {
            Access::Open => Ok(()),
            Access::HalfSignedIn => {
                let account = asking.store.account(session.account).await.map_err(failed)?;
                asking.store = asking.store.acting_as(&account.actor());
                asking.person = Some((account, session));
                Ok(())
            }
            _ => Err(end(Redirect::to("/sign-in/code"))),
        };
    }
    let account = asking.store.account(session.account).await.map_err(failed)?;
    let roles = asking.store.roles(account.number).await.map_err(failed)?;
    asking.store = asking.store.acting_as(&account.actor());
    asking.proved = account.excused || asking.now().since(session.proved) < PROVED_MILLIS;
    let own = if account.master { Some(Role::MasterAdmin) } else { None };
    let highest = roles.iter().map(|(_, role)| *role).max().max(own);
    let (number, has_factor) = (account.number, account.excused || account.second_factor);
    let owes = !has_factor && highest.is_some_and(Role::needs_second_factor);
    asking.person = Some((account, session));
    match row.access {
        Access::Open | Access::Newcomer => return Ok(()),
        Access::Token | Access::Public | Access::Scope(_) => return Err(sign_in(asking)),
        // Has given everything already.
        Access::HalfSignedIn => return Err(end(Redirect::to("/projects"))),
        Access::Person | Access::Project(_) | Access::Installation(_) if owes => {
            return Err(end(Redirect::to("/account/second-factor")));
        }
        Access::Person => return Ok(()),
        Access::Project(action) => {
            let id: Option<ProjectId> = param("project").and_then(|text| text.parse().ok());
            let found = match &id {
                Some(id) => match asking.store.project(id).await {
                    Ok(project) => Some(project),
                    Err(StoreError::NotFound { .. }) => None,
                    Err(error) => return Err(failed(error)),
                },
                None => None,
            };
            let member = found.as_ref().and_then(|project| roles.iter().find(|(number, _)| *number == project.number));
            let role = member.map(|(_, role)| *role).max(own);
            // The same answer for a project that there is not and for one that is not theirs.
            let (Some(project), Some(role)) = (found, role) else { return Err(end(Refusal::NotFound)) };
            if project.settings.second_factor_for_all && !has_factor {
                return Err(end(Redirect::to("/account/second-factor")));
            }
            asking.role = Some(role);
            asking.samples = role >= project.settings.samples_from;
            asking.project = Some(project);
            // A project may show samples to roles that the table does not.
            if action.allows(role) || (action == Action::SeeSamples && asking.samples) {
                return Ok(());
            }
        }
        Access::Installation(action) => {
            asking.role = own;
            if own.is_some_and(|role| action.allows(role)) {
                return Ok(());
            }
        }
    }
    if row.changes() {
        let project = asking.project.as_ref().map(|project| project.id.as_str()).unwrap_or_default();
        let own = row.path.ends_with("/{account}/role") && param("account").is_some_and(|of| of == number.to_string());
        let detail = if own { OWN_ROLE } else { "" };
        asking.store.audit("access.refuse", project, row.path, detail).await.map_err(failed)?;
    }
    Err(end(Refusal::Forbidden(way_on(asking, row).await)))
}

/// Counts what the frame of every page shows, and takes down who reads the audit log; of samples their right does.
async fn look_around(asking: &mut Asking, row: Row) {
    let Some((account, session)) = &asking.person else { return };
    if !session.whole {
        return;
    }
    // A count that cannot be read keeps nobody from a page.
    let project = asking.project.as_ref().map(|project| &project.id);
    if project.is_some() {
        let incidents = asking.role.is_some_and(|role| Action::ServeIncidents.allows(role));
        asking.unseen.0 = asking.store.unseen_notices(project, incidents).await.unwrap_or(0);
    }
    if account.master {
        asking.unseen.1 = asking.store.unseen_notices(None, true).await.unwrap_or(0);
    }
    if row.access == Access::Project(Action::SeeAudit) && !row.changes() {
        asking.note_read();
    }
}

/// A method of a row, for tests.
impl Row {
    /// The method as HTTP has it.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.method {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => Method::GET,
        }
    }
}
