//! Where a one-time link leads: the first Master Admin's account, an invited member's, or into the demo.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use convizit_model::Role;
use convizit_store::{Invitation, InvitationKind, Store, StoreError};

use super::sign_in::begin;
use crate::Console;
use crate::access::{Guest, Person};
use crate::page::{Chrome, Problem, Refusal, again, html, see};
use crate::throttle::Wait;

#[derive(Template)]
#[template(path = "welcome.html")]
struct WelcomePage<'a> {
    chrome: Chrome,
    secret: &'a str,
    first: bool,
    master: bool,
    project: String,
    role: &'static str,
    role_means: &'static str,
    invited: Option<String>,
    email: &'a str,
    name: &'a str,
    problem: Problem,
}

#[derive(Template)]
#[template(path = "welcome_member.html")]
struct MemberPage<'a> {
    chrome: Chrome,
    secret: &'a str,
    master: bool,
    project: String,
    role: &'static str,
    role_means: &'static str,
    problem: Problem,
}

#[derive(Template)]
#[template(path = "reset.html")]
struct ResetPage<'a> {
    chrome: Chrome,
    secret: &'a str,
    /// Whether the second factor is set anew, too.
    both: bool,
    email: String,
    problem: Problem,
}

/// A role as people call it.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "Viewer",
        Role::Editor => "Editor",
        Role::Admin => "Admin",
        Role::Owner => "Owner",
        Role::MasterAdmin => "Master Admin",
    }
}

/// What a role may, in a sentence.
pub(super) fn role_means(role: Role) -> &'static str {
    match role {
        Role::Viewer => "A Viewer looks, and changes nothing.",
        Role::Editor => "An Editor decides what is captured and what it is called.",
        Role::Admin => "An Admin also sees samples, and changes settings, destinations and members.",
        Role::Owner => "The Owner may also delete the data and pass ownership on.",
        Role::MasterAdmin => "A Master Admin may do everything in all projects.",
    }
}

async fn found(store: &Store, secret: &str) -> Result<Invitation, Refusal> {
    if let Some(invitation) = store.invitation(secret).await? {
        return Ok(invitation);
    }
    let gone = if store.is_replaced(secret).await? {
        "A newer invitation took the place of this one: open the newest link, or ask whoever invited you."
    } else {
        "This link was used already, or is too old: ask whoever sent it for another one. The link for the first account is printed anew at each start of convizit serve."
    };
    Err(Refusal::Invalid(gone.to_owned()))
}

async fn project_name(store: &Store, number: i64) -> Result<String, Refusal> {
    let projects = store.projects().await?;
    let project = projects.into_iter().find(|project| project.number == number);
    Ok(project.map(|project| project.id.to_string()).unwrap_or_default())
}

pub(super) async fn show(
    State(console): State<Console>,
    guest: Guest,
    Path(secret): Path<String>,
) -> Result<Response, Refusal> {
    let asking = &guest.0;
    let invitation = found(&asking.store, &secret).await?;
    if invitation.kind == InvitationKind::Demo {
        let email = invitation.email.unwrap_or_default();
        let Some(account) = asking.store.account_by_email(&email).await? else { return Err(Refusal::NotFound) };
        return begin(&console, asking, &account, (true, guest.session().map(|session| session.number)), "/p/shop")
            .await;
    }
    if matches!(invitation.kind, InvitationKind::Reset | InvitationKind::Password) {
        return Ok(html(&reset_page(&guest, &secret, &invitation, Problem::default())));
    }
    let project = project_name(&asking.store, invitation.project).await?;
    let (role, means) = (role_name(invitation.role), role_means(invitation.role));
    let known = match &invitation.email {
        Some(email) => asking.store.account_by_email(email).await?.is_some(),
        None => false,
    };
    let chrome = asking.chrome("Welcome", "welcome");
    if known {
        let master = invitation.kind == InvitationKind::Master;
        let problem = Problem::default();
        return Ok(html(&MemberPage { chrome, secret: &secret, master, project, role, role_means: means, problem }));
    }
    Ok(html(&WelcomePage {
        chrome: Chrome { account: None, ..chrome },
        secret: &secret,
        first: invitation.kind == InvitationKind::First,
        master: invitation.kind == InvitationKind::Master,
        project,
        role,
        role_means: means,
        invited: invitation.email,
        email: "",
        name: "",
        problem: Problem::default(),
    }))
}

fn reset_page<'a>(guest: &Guest, secret: &'a str, invitation: &Invitation, problem: Problem) -> ResetPage<'a> {
    let chrome = Chrome { account: None, ..guest.0.chrome("A new password", "welcome") };
    let both = invitation.kind == InvitationKind::Reset;
    ResetPage { chrome, secret, both, email: invitation.email.clone().unwrap_or_default(), problem }
}

/// Password and second factor anew; the first page after it asks for the second factor where the role wants one.
async fn reset(console: &Console, guest: &Guest, secret: &str, invitation: &Invitation) -> Result<Response, Refusal> {
    match guest.0.store.reset(secret, guest.0.fields.get("password")).await {
        Ok(account) if account.second_factor => {
            // The mailbox is one factor; the other one is still asked for. Half a sign-in costs a try, whatever it came by.
            console.throttle().take(&guest.0.store, &account.email, guest.0.address).await.ok();
            let before = guest.session().map(|session| session.number);
            begin(console, &guest.0, &account, (false, before), "/sign-in/code?next=%2Fprojects").await
        }
        Ok(account) => {
            let before = guest.session().map(|session| session.number);
            begin(console, &guest.0, &account, (true, before), "/projects").await
        }
        Err(StoreError::Invalid(text)) => {
            Ok(again(&reset_page(guest, secret, invitation, Problem::new("password", text))))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn accept(
    State(console): State<Console>,
    guest: Guest,
    Path(secret): Path<String>,
) -> Result<Response, Refusal> {
    let asking = &guest.0;
    // Each costs a hash, and the secret cannot be guessed: those of an address and all together are bounded.
    let ticket = console.throttle().take_here(asking.address, asking.now());
    ticket.map_err(|Wait(seconds)| Refusal::TooMany(seconds))?;
    let invitation = found(&asking.store, &secret).await?;
    if matches!(invitation.kind, InvitationKind::Reset | InvitationKind::Password) {
        return reset(&console, &guest, &secret, &invitation).await;
    }
    let [email, name, password] = ["email", "name", "password"].map(|field| asking.fields.get(field));
    match asking.store.accept(&secret, email, name, password).await {
        Ok(account) => {
            let before = guest.session().map(|session| session.number);
            begin(&console, asking, &account, (true, before), "/projects").await
        }
        Err(StoreError::Invalid(text)) => {
            let field = ["e-mail", "name of", "link", "account"].iter().position(|word| text.contains(word));
            let field = match field {
                Some(0) => "email",
                Some(1) => "name",
                Some(_) => "link",
                None => "password",
            };
            Ok(again(&WelcomePage {
                chrome: Chrome { account: None, ..asking.chrome("Welcome", "welcome") },
                secret: &secret,
                first: invitation.kind == InvitationKind::First,
                master: invitation.kind == InvitationKind::Master,
                project: project_name(&asking.store, invitation.project).await?,
                role: role_name(invitation.role),
                role_means: role_means(invitation.role),
                invited: invitation.email,
                email,
                name,
                problem: Problem::new(field, text),
            }))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn join(person: Person, Path(secret): Path<String>) -> Result<Response, Refusal> {
    person.asking.store.accept_as(&secret, &person.account).await?;
    Ok(see("/projects", "joined").into_response())
}
