//! Signing in: password, then the second factor where there is one; and out.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use convizit_store::{Account, StoreError};

use crate::Console;
use crate::access::{Asking, Guest, Person};
use crate::letter::Letter;
use crate::page::{Chrome, Problem, Refusal, again, escaped, html};
use crate::session::{cookie, local_path};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    chrome: Chrome,
    next: &'a str,
    email: &'a str,
    problem: Problem,
    /// Whether a form was sent in a session that has ended.
    ended: bool,
    no_account: bool,
    /// Whether a link for a new password can be mailed.
    mails: bool,
    /// Whether events cannot be taken now; why is for those who are signed in.
    failing: bool,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    chrome: Chrome,
    next: &'a str,
    /// Whether the person has a passkey that can be used here.
    passkeys: bool,
    problem: Problem,
}

pub(super) async fn show(State(console): State<Console>, guest: Guest) -> Result<Response, Refusal> {
    let next = local_path(guest.0.query.get("next"));
    if guest.account().is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    let no_account = !guest.0.store.has_master_admin().await?;
    let failing = crate::findings::failing(&guest.0.store).is_some();
    let chrome = guest.0.chrome("Sign in", "sign-in");
    let mails = console.config().delivery.mail.is_some();
    let ended = guest.0.query.get("ended") == "yes";
    Ok(html(&SignInPage { chrome, next, email: "", problem: Problem::default(), ended, no_account, mails, failing }))
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
    let ticket = console.throttle().take(&asking.store, email, asking.address).await?;
    let Some(account) = asking.store.account_of_password(email, password).await? else {
        asking.store.sign_in_refused(email, asking.address);
        let problem = Problem::new("password", "This address and this password do not belong together.");
        let chrome = asking.chrome("Sign in", "sign-in");
        let mails = console.config().delivery.mail.is_some();
        let (ended, no_account, failing) = (false, false, false);
        return Ok(again(&SignInPage { chrome, next, email, problem, ended, no_account, mails, failing }));
    };
    let before = guest.session().map(|session| session.number);
    if account.second_factor {
        let code = format!("/sign-in/code?next={}", escaped(next));
        return begin(&console, asking, &account, (false, before), &code).await;
    }
    console.throttle().give_back(&asking.store, ticket).await;
    begin(&console, asking, &account, (true, before), next).await
}

pub(super) async fn show_code(person: Person) -> Result<Response, Refusal> {
    let next = local_path(person.asking.query.get("next"));
    Ok(html(&code_page(&person, next, Problem::default()).await?))
}

async fn code_page<'a>(person: &Person, next: &'a str, problem: Problem) -> Result<CodePage<'a>, Refusal> {
    let passkeys = super::passkeys::has(person).await?;
    Ok(CodePage { chrome: code_chrome(&person.asking), next, passkeys, problem })
}

/// The page again, with what was wrong.
pub(super) async fn code_again(person: &Person, next: &str, text: String) -> Result<Response, Refusal> {
    Ok(again(&code_page(person, next, Problem::new("code", text)).await?))
}

/// Whoever has given half of it is nobody yet.
fn code_chrome(asking: &Asking) -> Chrome {
    Chrome { account: None, ..asking.chrome("Second factor", "sign-in") }
}

pub(super) async fn code(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    let asking = &person.asking;
    let next = local_path(asking.fields.get("next"));
    let ticket = console.throttle().take(&asking.store, &person.account.email, asking.address).await?;
    if !asking.store.use_code(&person.account, asking.fields.get("code")).await? {
        asking.store.sign_in_refused(&person.account.email, asking.address);
        let text = "This code does not hold: wait for the next one, or take a recovery code that you have not used.";
        return code_again(&person, next, text.to_owned()).await;
    }
    console.throttle().give_back_sign_in(&asking.store, ticket).await;
    begin(&console, asking, &person.account, (true, Some(person.session.number)), next).await
}

#[derive(Template)]
#[template(path = "forgot.html")]
struct ForgotPage<'a> {
    chrome: Chrome,
    mails: bool,
    email: &'a str,
    sent: bool,
}

fn forgot_page<'a>(console: &Console, guest: &'a Guest, sent: bool) -> ForgotPage<'a> {
    let chrome = Chrome { account: None, ..guest.0.chrome("Password lost", "sign-in") };
    ForgotPage { chrome, mails: console.config().delivery.mail.is_some(), email: guest.0.fields.get("email"), sent }
}

pub(super) async fn show_forgot(State(console): State<Console>, guest: Guest) -> Response {
    html(&forgot_page(&console, &guest, false))
}

/// Mails a link for a new password. The answer is the same, and as quick, whether there is such an account or not.
pub(super) async fn forgot(State(console): State<Console>, guest: Guest) -> Result<Response, Refusal> {
    let asking = &guest.0;
    let email = asking.fields.get("email").to_owned();
    console.throttle().take(&asking.store, &email, asking.address).await?;
    if console.config().delivery.mail.is_none() {
        return Ok(html(&forgot_page(&console, &guest, false)));
    }
    // Whoever asks is nobody yet, and not the one whose address they type.
    let store = if guest.account().is_some() { asking.store.clone() } else { asking.store.acting_as("anonymous") };
    let console_too = console.clone();
    tokio::spawn(async move {
        let linked = async {
            let Some(account) = store.account_by_email(&email).await?.filter(|account| !account.excused) else {
                return Ok::<_, StoreError>(());
            };
            let secret = store.password_link(&account).await?;
            if let Some(why) = Letter::Password.hand_over(&console_too, &account.email, "", &secret).await.why() {
                tracing::warn!(account = account.number, why, "a link for a new password could not be mailed");
            }
            Ok(())
        };
        if let Err(error) = linked.await {
            tracing::warn!(%error, "a link for a new password could not be made");
        }
    });
    Ok(html(&forgot_page(&console, &guest, true)))
}

pub(super) async fn out(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    person.asking.store.end_session(person.account.number, person.session.number).await?;
    let head = [(header::SET_COOKIE, cookie(&person.asking.store.new_secret()?, console.config()))];
    Ok((head, Redirect::to("/sign-in")).into_response())
}
