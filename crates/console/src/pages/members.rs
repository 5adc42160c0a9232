//! A project's members: who may do what, invitations, and passing ownership on.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use convizit_model::{Action, Role};
use convizit_store::StoreError;

use super::welcome::{role_means, role_name};
use crate::Console;
use crate::access::{Member, OWN_ROLE};
use crate::letter::{Handed, Letter};
use crate::page::{Chrome, Problem, Refusal, again, html, minute, see};

/// The roles that are given by hand, the least first.
const GIVEN: [Role; 3] = [Role::Viewer, Role::Editor, Role::Admin];

#[derive(Template)]
#[template(path = "members.html")]
struct MembersPage<'a> {
    chrome: Chrome,
    project: String,
    members: Vec<Line>,
    invitations: Vec<(String, &'static str, String)>,
    roles: Vec<(&'static str, &'static str, &'static str)>,
    may_edit: bool,
    may_pass: bool,
    has_owner: bool,
    email: &'a str,
    role: &'a str,
    handed: Option<Handed>,
    /// Whether an earlier invitation of the same address has ended with this one.
    replaced: bool,
    /// What somebody else has made of a member meanwhile.
    meanwhile: Option<String>,
    problem: Problem,
}

/// A member in the list.
struct Line {
    number: i64,
    name: String,
    email: String,
    role: Role,
    role_name: &'static str,
    /// The role that is chosen in its form.
    chosen: Role,
    second_factor: bool,
    since: String,
    own: bool,
}

#[derive(Template)]
#[template(path = "owner.html")]
struct OwnerPage {
    chrome: Chrome,
    project: String,
    members: Vec<(i64, String, &'static str)>,
}

async fn page<'a>(member: &'a Member, handed: Option<Handed>, problem: Problem) -> Result<MembersPage<'a>, Refusal> {
    let (store, project) = (&member.asking.store, &member.project);
    let may_edit = member.may(Action::EditMembers);
    let members: Vec<Line> = store
        .members(project.number)
        .await?
        .into_iter()
        .map(|one| Line {
            number: one.account.number,
            own: one.account.number == member.account.number,
            name: one.account.name,
            // Addresses are for those who invite.
            email: if may_edit { one.account.email } else { String::new() },
            role: one.role,
            role_name: role_name(one.role),
            chosen: one.role,
            second_factor: one.account.second_factor || one.account.excused,
            since: minute(one.since),
        })
        .collect();
    let invitations = if may_edit { store.invitations(project.number).await? } else { Vec::new() };
    let fields = &member.asking.fields;
    Ok(MembersPage {
        chrome: member.asking.chrome("Members", "members"),
        project: project.id.to_string(),
        has_owner: members.iter().any(|line| line.role == Role::Owner),
        members,
        invitations: invitations
            .into_iter()
            .map(|one| (one.email.unwrap_or_default(), role_name(one.role), minute(one.expires)))
            .collect(),
        roles: GIVEN.iter().map(|role| (role.as_str(), role_name(*role), role_means(*role))).collect(),
        may_edit,
        may_pass: member.may(Action::PassOwnership),
        email: if handed.is_some() { "" } else { fields.get("email") },
        role: fields.get("role"),
        handed,
        replaced: false,
        meanwhile: None,
        problem,
    })
}

pub(super) async fn list(member: Member) -> Result<Response, Refusal> {
    Ok(html(&page(&member, None, Problem::default()).await?))
}

fn given(text: &str) -> Result<Role, Refusal> {
    let refused = || Refusal::Invalid("a role is viewer, editor or admin".to_owned());
    Role::of(text).filter(|role| GIVEN.contains(role)).ok_or_else(refused)
}

pub(super) async fn invite(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let fields = &member.asking.fields;
    let email = fields.get("email");
    let Ok(role) = given(fields.get("role")) else {
        let problem = Problem::new("role", "a role is viewer, editor or admin: choose one of them");
        return Ok(again(&page(&member, None, problem).await?));
    };
    let open = member.asking.store.invitations(member.project.number).await?;
    let replaced = open.iter().any(|one| one.is_for(email));
    match member.asking.store.invite_member(&member.project, email, role).await {
        Ok(secret) => {
            let letter = Letter::Member(member.project.id.as_str(), role_name(role));
            let handed = letter.hand_over(&console, email, &member.asking.own_address, &secret).await;
            Ok(html(&MembersPage { replaced, ..page(&member, Some(handed), Problem::default()).await? }))
        }
        Err(StoreError::Invalid(text)) => Ok(again(&page(&member, None, Problem::new("email", text)).await?)),
        Err(error) => Err(error.into()),
    }
}

fn to_list(member: &Member, done: &str) -> Response {
    see(&format!("/p/{}/members", member.project.id), done)
}

pub(super) async fn take_back(member: Member) -> Result<Response, Refusal> {
    member.asking.store.take_back_invitation(&member.project, member.asking.fields.get("email")).await?;
    Ok(to_list(&member, "taken-back"))
}

pub(super) async fn set_role(member: Member, Path((_, account)): Path<(String, i64)>) -> Result<Response, Refusal> {
    let role = given(member.asking.fields.get("role"));
    if role.is_err() && account == member.account.number {
        // No page offers it.
        let path = "/p/{project}/members/{account}/role";
        member.asking.store.audit("access.refuse", member.project.id.as_str(), path, OWN_ROLE).await?;
    }
    let role = role?;
    match member.asking.store.set_role_from(&member.project, account, seen(&member), role).await {
        Ok(()) => Ok(to_list(&member, "role")),
        Err(StoreError::Moved { .. }) => overtaken(&member, account, Some(role)).await,
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn remove(member: Member, Path((_, account)): Path<(String, i64)>) -> Result<Response, Refusal> {
    match member.asking.store.remove_member_from(&member.project, account, seen(&member)).await {
        Ok(()) => Ok(to_list(&member, "removed")),
        Err(StoreError::Moved { .. }) => overtaken(&member, account, None).await,
        Err(error) => Err(error.into()),
    }
}

/// The role that the form was made from; `None` where it does not say.
fn seen(member: &Member) -> Option<Role> {
    Role::of(member.asking.fields.get("seen"))
}

/// Somebody else was quicker: what they did is said, and what was chosen stays chosen.
async fn overtaken(member: &Member, account: i64, chosen: Option<Role>) -> Result<Response, Refusal> {
    let mut page = page(member, None, Problem::default()).await?;
    if let Some(line) = page.members.iter_mut().find(|line| line.number == account) {
        page.meanwhile = Some(format!("{} has become {} since you opened this page", line.name, line.role_name));
        line.chosen = chosen.unwrap_or(line.role);
    }
    Ok(again(&page))
}

pub(super) async fn show_owner(member: Member) -> Result<Response, Refusal> {
    let members = member.asking.store.members(member.project.number).await?;
    let members = members.into_iter().filter(|one| one.role != Role::Owner);
    Ok(html(&OwnerPage {
        chrome: member.asking.chrome("Pass ownership on", "members"),
        project: member.project.id.to_string(),
        members: members.map(|one| (one.account.number, one.account.name, role_name(one.role))).collect(),
    }))
}

pub(super) async fn pass_ownership(member: Member) -> Result<Response, Refusal> {
    let text = member.asking.fields.get("account");
    let account = text.parse().map_err(|_| Refusal::Invalid("choose a member".to_owned()))?;
    member.asking.store.pass_ownership(&member.project, account).await?;
    Ok(to_list(&member, "owner"))
}
