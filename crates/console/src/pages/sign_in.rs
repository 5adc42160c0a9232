//! Signing in: password, then the second factor where there is one; and out.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use convizit_store::Account;

use crate::Console;
use crate::access::{Asking, Guest, Person};
use crate::page::{Chrome, Problem, Refusal, again, escaped, html};
use crate::session::{cookie, local_path};
use crate::throttle::Wait;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    chrome: Chrome,
    next: &'a str,
    email: &'a str,
    problem: Problem,
    no_account: bool,
    /// Whether events cannot be taken now; why is for those who are signed in.
    failing: bool,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    chrome: Chrome,
    next: &'a str,
    problem: Problem,
}

pub(super) async fn show(guest: Guest) -> Result<Response, Refusal> {
    let next = local_path(guest.0.query.get("next"));
    if guest.account().is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    let no_account = !guest.0.store.has_master_admin().await?;
    let failing = super::overview::failing(&guest.0.store).is_some();
    let chrome = guest.0.chrome("Sign in", "sign-in");
    Ok(html(&SignInPage { chrome, next, email: "", problem: Problem::default(), no_account, failing }))
}

/// Begins a session and gives the browser its secret: always a new one, so that none that was known before is worth anything.
pub(super) async fn begin(
    console: &Console,
    asking: &Asking,
    account: &Account,
    (whole, before): (bool, Option<i64>),
    next: &str,
) -> Result<Response, Refusal> {
    let secret = asking.store.begin_session(account, whole, &asking.place, before).await?;
    let head = [(header::SET_COOKIE, cookie(&secret, console.config()))];
    Ok((head, Redirect::to(next)).into_response())
}

pub(super) async fn password(State(console): State<Console>, guest: Guest) -> Result<Response, Refusal> {
    let asking = &guest.0;
    let (email, password) = (asking.fields.get("email"), asking.fields.get("password"));
    let next = local_path(asking.fields.get("next"));
    let ticket = console.throttle().take(email, asking.address, asking.now());
    let ticket = ticket.map_err(|Wait(seconds)| Refusal::TooMany(seconds))?;
    let Some(account) = asking.store.account_of_password(email, password).await? else {
        let problem = Problem::new("password", "This address and this password do not belong together.");
        let chrome = asking.chrome("Sign in", "sign-in");
        return Ok(again(&SignInPage { chrome, next, email, problem, no_account: false, failing: false }));
    };
    console.throttle().give_back(ticket, asking.now());
    let before = guest.session().map(|session| session.number);
    if account.second_factor {
        let code = format!("/sign-in/code?next={}", escaped(next));
        return begin(&console, asking, &account, (false, before), &code).await;
    }
    begin(&console, asking, &account, (true, before), next).await
}

pub(super) async fn show_code(person: Person) -> Response {
    let next = local_path(person.asking.query.get("next"));
    html(&CodePage { chrome: code_chrome(&person.asking), next, problem: Problem::default() })
}

/// Whoever has given half of it is nobody yet.
fn code_chrome(asking: &Asking) -> Chrome {
    Chrome { account: None, ..asking.chrome("Second factor", "sign-in") }
}

pub(super) async fn code(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    let asking = &person.asking;
    let next = local_path(asking.fields.get("next"));
    let ticket = console.throttle().take(&person.account.email, asking.address, asking.now());
    let ticket = ticket.map_err(|Wait(seconds)| Refusal::TooMany(seconds))?;
    if !asking.store.use_code(&person.account, asking.fields.get("code")).await? {
        let text = "This code does not hold: wait for the next one, or take a recovery code that you have not used.";
        let problem = Problem::new("code", text);
        return Ok(again(&CodePage { chrome: code_chrome(asking), next, problem }));
    }
    console.throttle().give_back(ticket, asking.now());
    begin(&console, asking, &person.account, (true, Some(person.session.number)), next).await
}

pub(super) async fn out(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    person.asking.store.end_session(person.account.number, person.session.number).await?;
    let head = [(header::SET_COOKIE, cookie(&person.asking.store.new_secret()?, console.config()))];
    Ok((head, Redirect::to("/sign-in")).into_response())
}
