//! A person's own account: password, second factor, recovery codes, sessions; and proving again who they are.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use convizit_model::Role;
use convizit_store::{StoreError, TotpSecret};
use qrcode::{Color, QrCode};

use crate::Console;
use crate::access::{Asking, Person};
use crate::page::{Chrome, Problem, Refusal, again, html, minute, see};
use crate::session::local_path;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    chrome: Chrome,
    email: String,
    name: String,
    since: String,
    second_factor: bool,
    excused: bool,
    codes_left: i64,
    passkeys: Vec<KeyLine>,
    /// Whether passkeys can be here, and whether the person has proved a moment ago who they are.
    passkeys_possible: bool,
    proved: bool,
    sessions: Vec<Line>,
    problem: Problem,
}

/// Fields of a proof itself, which are not carried on with what waits for it; secrets among them.
const OF_PROOF: [&str; 11] =
    ["token", "next", "resend", "password", "old", "new", "code", "id", "client", "data", "signature"];

/// A passkey in the list.
struct KeyLine {
    number: i64,
    name: String,
    made: String,
    used: String,
}

/// A session in the list.
struct Line {
    number: i64,
    browser: String,
    network: String,
    made: String,
    seen: String,
    own: bool,
}

#[derive(Template)]
#[template(path = "second_factor.html")]
struct FactorPage {
    chrome: Chrome,
    secret: String,
    spaced: String,
    qr: Qr,
    /// Why it must be set up, in words.
    required: Option<&'static str>,
    chrome_has_factor: bool,
    problem: Problem,
}

/// A QR code as a path of squares.
struct Qr {
    size: usize,
    path: String,
}

#[derive(Template)]
#[template(path = "codes.html")]
struct CodesPage {
    chrome: Chrome,
    codes: Vec<String>,
}

#[derive(Template)]
#[template(path = "prove.html")]
struct ProvePage<'a> {
    chrome: Chrome,
    /// Where to go on, and where a form was going that is sent again from here; empty where there was none.
    next: &'a str,
    resend: &'a str,
    /// What that form said.
    carried: Vec<(&'a str, &'a str)>,
    second_factor: bool,
    passkeys: bool,
    problem: Problem,
}

async fn page(person: &Person, problem: Problem) -> Result<AccountPage, Refusal> {
    let (store, account) = (&person.asking.store, &person.account);
    let sessions = store.sessions(account.number).await?.into_iter().map(|(session, place)| Line {
        number: session.number,
        browser: place.browser,
        network: match place.country {
            Some(country) => format!("{} ({country})", place.network),
            None => place.network,
        },
        made: minute(session.made),
        seen: minute(session.seen),
        own: session.number == person.session.number,
    });
    let passkeys = store.passkeys(account.number).await?.into_iter().map(|one| KeyLine {
        number: one.number,
        name: one.name,
        made: minute(one.made),
        used: minute(one.used),
    });
    Ok(AccountPage {
        chrome: person.asking.chrome("Your account", "account"),
        email: account.email.clone(),
        name: account.name.clone(),
        since: minute(account.made),
        second_factor: account.second_factor,
        excused: account.excused,
        codes_left: store.recovery_codes_left(account.number).await?,
        passkeys: passkeys.collect(),
        passkeys_possible: super::passkeys::site(&person.asking).is_some(),
        proved: person.asking.is_proved(),
        sessions: sessions.collect(),
        problem,
    })
}

/// The page again, with what was wrong.
pub(super) async fn again_with(person: &Person, problem: Problem) -> Result<Response, Refusal> {
    Ok(again(&page(person, problem).await?))
}

pub(super) async fn show(person: Person) -> Result<Response, Refusal> {
    Ok(html(&page(&person, Problem::default()).await?))
}

/// Lets a password of this account be tried, and says whether it is the right one.
async fn is_right(console: &Console, person: &Person, password: &str) -> Result<bool, Refusal> {
    let asking = &person.asking;
    let ticket = console.throttle().take(&asking.store, &person.account.email, asking.address).await?;
    let right = asking.store.is_password(&person.account, password).await?;
    if right {
        console.throttle().give_back(&asking.store, ticket).await;
    }
    Ok(right)
}

pub(super) async fn password(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    let fields = &person.asking.fields;
    if !is_right(&console, &person, fields.get("old")).await? {
        let problem = Problem::new("old", "This is not your password of now.");
        return Ok(again(&page(&person, problem).await?));
    }
    match person.asking.store.set_password(&person.account, fields.get("new"), person.session.number).await {
        Ok(()) => Ok(see("/account", "password")),
        Err(StoreError::Invalid(text)) => Ok(again(&page(&person, Problem::new("new", text)).await?)),
        Err(error) => Err(error.into()),
    }
}

/// A square for each dark place, in rows, with the quiet zone of four that cameras want.
fn qr(address: &str) -> Result<Qr, Refusal> {
    use std::fmt::Write as _;
    let failed = |_| Refusal::Failed("the picture of the second factor cannot be made".to_owned());
    let code = QrCode::new(address.as_bytes()).map_err(failed)?;
    let width = code.width();
    let mut path = String::new();
    for (index, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            // Writing into a text cannot fail.
            let _ = write!(path, "M{} {}h1v1h-1z", index % width + 4, index / width + 4);
        }
    }
    Ok(Qr { size: width + 8, path })
}

async fn factor_page(person: &Person, secret: &TotpSecret, problem: Problem) -> Result<FactorPage, Refusal> {
    let text = secret.text().to_string();
    let spaced: Vec<&str> =
        (0..text.len()).step_by(4).filter_map(|at| text.get(at..(at + 4).min(text.len()))).collect();
    let roles = person.asking.store.roles(person.account.number).await?;
    let by_role = person.account.master || roles.iter().any(|(_, role)| Role::needs_second_factor(*role));
    let required = if by_role { Some("Your role is one that can do harm in wrong hands, so it needs") } else { None };
    let projects = person.asking.store.projects().await?;
    let mut own = projects.iter().filter(|project| roles.iter().any(|(number, _)| *number == project.number));
    let by_project = own.any(|project| project.settings.second_factor_for_all);
    let required = required.or(by_project.then_some("A project of yours asks all its members for"));
    Ok(FactorPage {
        chrome: person.asking.chrome("Second factor", "account"),
        spaced: spaced.join(" "),
        qr: qr(&secret.address(&person.account.email))?,
        secret: text,
        required,
        chrome_has_factor: person.account.second_factor,
        problem,
    })
}

pub(super) async fn show_factor(person: Person) -> Result<Response, Refusal> {
    let secret = TotpSecret::random().map_err(StoreError::from)?;
    Ok(html(&factor_page(&person, &secret, Problem::default()).await?))
}

pub(super) async fn factor(person: Person) -> Result<Response, Refusal> {
    let fields = &person.asking.fields;
    // The secret came with the form: whoever sends it sees it, and it is worth something only once a code of it was given.
    let Some(secret) = TotpSecret::parse(fields.get("secret")) else {
        return Err(Refusal::Invalid("the form was changed: open the page again".to_owned()));
    };
    let (store, code) = (&person.asking.store, fields.get("code"));
    match store.set_second_factor(&person.account, &secret, code, person.session.number).await {
        Ok(codes) => Ok(html(&CodesPage { chrome: person.asking.chrome("Recovery codes", "account"), codes })),
        Err(StoreError::Invalid(text)) => Ok(again(&factor_page(&person, &secret, Problem::new("code", text)).await?)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn codes(person: Person) -> Result<Response, Refusal> {
    let codes = person.asking.store.new_recovery_codes(&person.account).await?;
    Ok(html(&CodesPage { chrome: person.asking.chrome("Recovery codes", "account"), codes }))
}

pub(super) async fn end(person: Person, Path(number): Path<i64>) -> Result<Response, Refusal> {
    person.asking.store.end_session(person.account.number, number).await?;
    Ok(see("/account", "ended"))
}

pub(super) async fn end_others(person: Person) -> Result<Response, Refusal> {
    person.asking.store.end_other_sessions(person.account.number, person.session.number).await?;
    Ok(see("/account", "others"))
}

pub(super) async fn show_prove(person: Person) -> Result<Response, Refusal> {
    let next = local_path(person.asking.query.get("next"));
    if person.asking.is_proved() {
        return Ok(Redirect::to(next).into_response());
    }
    Ok(html(&prove_page(&person, (next, ""), Problem::default()).await?))
}

/// The page with what a form has said that waits for the proof.
async fn prove_page<'a>(
    person: &'a Person,
    (next, resend): (&'a str, &'a str),
    problem: Problem,
) -> Result<ProvePage<'a>, Refusal> {
    let chrome = person.asking.chrome("Is it you?", "account");
    let passkeys = super::passkeys::has(person).await?;
    let waiting = person.asking.fields.pairs().filter(|(name, _)| !resend.is_empty() && !OF_PROOF.contains(name));
    let (carried, second_factor) = (waiting.collect(), person.account.second_factor);
    Ok(ProvePage { chrome, next, resend, carried, second_factor, passkeys, problem })
}

/// The proof that a form wants before it is taken; what it said is kept, and sent again with the proof. A password is not, and neither
/// is a code: both are typed anew.
pub(crate) async fn prove_first(asking: Arc<Asking>, next: &str) -> Response {
    let Some(person) = Person::of(asking) else { return Refusal::NotFound.into_response() };
    // A passkey that is being made cannot wait: the question that the device answered is over by then.
    if !person.asking.fields.get("client").is_empty() {
        return Redirect::to(&format!("/account/prove?next={}", crate::page::escaped(next))).into_response();
    }
    let page = prove_page(&person, (next, &person.asking.path), Problem::default()).await;
    page.map_or_else(IntoResponse::into_response, |page| again(&page))
}

/// On to where the person wanted to go: a form that waited is sent again by the browser, as it was sent to the proof.
pub(super) fn proved(person: &Person) -> Response {
    let fields = &person.asking.fields;
    match fields.get("resend") {
        "" => Redirect::to(local_path(fields.get("next"))).into_response(),
        path => Redirect::temporary(local_path(path)).into_response(),
    }
}

/// The page again, with what was wrong with a passkey.
pub(super) async fn prove_again(person: &Person, text: String) -> Result<Response, Refusal> {
    wrong_proof(person, Problem::new("passkey", text)).await
}

async fn wrong_proof(person: &Person, problem: Problem) -> Result<Response, Refusal> {
    let fields = &person.asking.fields;
    Ok(again(&prove_page(person, (local_path(fields.get("next")), fields.get("resend")), problem).await?))
}

pub(super) async fn prove(State(console): State<Console>, person: Person) -> Result<Response, Refusal> {
    let fields = &person.asking.fields;
    let right = is_right(&console, &person, fields.get("password")).await?;
    if !right {
        return wrong_proof(&person, Problem::new("password", "This is not your password.")).await;
    }
    if person.account.second_factor {
        let asking = &person.asking;
        let ticket = console.throttle().take(&asking.store, &person.account.email, asking.address).await?;
        if !asking.store.use_code(&person.account, fields.get("code")).await? {
            let problem = Problem::new("code", "This code does not hold: wait for the next one.");
            return wrong_proof(&person, problem).await;
        }
        console.throttle().give_back(&asking.store, ticket).await;
    }
    person.asking.store.session_proved(person.session.number).await?;
    Ok(proved(&person))
}
