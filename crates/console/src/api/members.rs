//! A project's members and invitations, up to Admin.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use convizit_model::{Role, Timestamp};
use convizit_store::{Scope, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::openapi::{Api, Call};
use super::problem::Problem;
use super::{Asked, Given, Page, Part, after, at, limit};
use crate::Console;
use crate::access::Caller;
use crate::letter::{Handed, Letter};
use crate::pages::role_name;

pub(super) fn routes(api: Api) -> Api {
    let lists =
        Call::get(at!("/members"), Scope::Read, "list_members", "Members; with the scope members also their addresses");
    let sets =
        Call::put(at!("/members/{account}"), Scope::Members, "set_role", "Gives a member another role, up to Admin");
    let removes =
        Call::delete(at!("/members/{account}"), Scope::Members, "remove_member", "Takes a member out of the project");
    let invited =
        Call::get(at!("/invitations"), Scope::Members, "list_invitations", "Open invitations, the newest first");
    let invites = Call::post(
        at!("/invitations"),
        Scope::Members,
        "invite",
        "Makes a link for one address, for 7 days and one time, and mails it where that is asked for",
    );
    let takes_back = Call::post(
        at!("/invitations/take-back"),
        Scope::Members,
        "take_back_invitation",
        "Takes back the open invitations of an address",
    );
    api.add(lists.asks::<Part>().answers::<Page<MemberView>>(200, "Members."), list)
        .add(sets.takes::<SetRole>(), set_role)
        .add(removes, remove)
        .add(invited.answers::<Page<InvitationView>>(200, "Invitations."), invitations)
        .add(
            invites
                .takes::<Invite>()
                .answers::<Invited>(201, "Invited; a link that was not mailed is shown this once."),
            invite,
        )
        .add(takes_back.takes::<TakeBack>(), take_back)
}

/// A role that is given by hand.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum GivenRole {
    Viewer,
    Editor,
    Admin,
}

impl From<GivenRole> for Role {
    fn from(role: GivenRole) -> Self {
        match role {
            GivenRole::Viewer => Self::Viewer,
            GivenRole::Editor => Self::Editor,
            GivenRole::Admin => Self::Admin,
        }
    }
}

/// A member.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
struct MemberView {
    /// The account's number.
    account: i64,
    /// What the person is called.
    name: String,
    /// E-mail address; null without the scope members.
    email: Option<String>,
    /// `viewer`, `editor`, `admin` or `owner`.
    #[schema(value_type = String)]
    role: Role,
    /// Whether a second factor is set up.
    second_factor: bool,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

async fn list(caller: Caller, Asked(asked): Asked<Part>) -> Result<Json<Page<MemberView>>, Problem> {
    let (limit, begun) = (limit(asked.limit)?, after::<i64>(asked.after.as_deref())?);
    // Addresses are for those who invite.
    let invites = caller.may(Scope::Members);
    let mut members = caller.store.members(caller.project.number).await?;
    members.retain(|member| begun.is_none_or(|begun| member.account.number > begun));
    members.sort_by_key(|member| member.account.number);
    let views = members.into_iter().map(|member| MemberView {
        account: member.account.number,
        name: member.account.name,
        email: invites.then_some(member.account.email),
        role: member.role,
        second_factor: member.account.second_factor || member.account.excused,
        since: member.since,
    });
    Ok(Json(Page::of(views, limit, |view| view.account.to_string())))
}

/// Another role for a member.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetRole {
    /// Which.
    role: GivenRole,
    /// The role that was read: where it is another one by now, nothing is changed.
    seen: Option<GivenRole>,
}

fn number(account: &str) -> Result<i64, Problem> {
    account.parse().map_err(|_| Problem::not_found())
}

async fn set_role(
    caller: Caller,
    Path((_, account)): Path<(String, String)>,
    Given(given): Given<SetRole>,
) -> Result<StatusCode, Problem> {
    let (account, seen) = (number(&account)?, given.seen.map(Role::from));
    match caller.store.set_role_from(&caller.project, account, seen, given.role.into()).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(StoreError::Moved { .. }) => {
            let now = caller.store.role(caller.project.number, account).await?;
            Err(Problem::stale("seen", json!({"role": now})))
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(caller: Caller, Path((_, account)): Path<(String, String)>) -> Result<StatusCode, Problem> {
    caller.store.remove_member(&caller.project, number(&account)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An open invitation, without its link.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
struct InvitationView {
    /// The address that was invited.
    email: Option<String>,
    /// What the person becomes.
    #[schema(value_type = String)]
    role: Role,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    made: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires: Timestamp,
}

async fn invitations(caller: Caller) -> Result<Json<Page<InvitationView>>, Problem> {
    let open = caller.store.invitations(caller.project.number).await?.into_iter();
    let views =
        open.map(|one| InvitationView { email: one.email, role: one.role, made: one.made, expires: one.expires });
    Ok(Json(Page::whole(views.collect())))
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Invite {
    /// E-mail address.
    #[schema(max_length = 254)]
    email: String,
    /// What the person becomes.
    role: GivenRole,
    /// Whether the link is mailed, where the operator has set up a mail server, and not answered.
    #[serde(default)]
    mail: bool,
}

/// An invitation.
#[derive(Serialize, ToSchema)]
struct Invited {
    /// To be passed on to the person, and to nobody else; null where it was mailed.
    link: Option<String>,
    /// Why it was not mailed, where that was asked for and a mail server is set up but did not take it.
    not_mailed: Option<String>,
    /// Whether an earlier invitation of the same address has ended with this one.
    replaced: bool,
}

async fn invite(
    State(console): State<Console>,
    caller: Caller,
    Given(given): Given<Invite>,
) -> Result<(StatusCode, Json<Invited>), Problem> {
    let open = caller.store.invitations(caller.project.number).await?;
    let replaced = open.iter().any(|one| one.is_for(&given.email));
    let role = Role::from(given.role);
    let made = caller.store.invite_member(&caller.project, &given.email, role).await;
    let secret = made.map_err(|error| match error {
        StoreError::Invalid(text) => Problem::invalid(text).at("email"),
        other => other.into(),
    })?;
    let handed = if given.mail {
        let letter = Letter::Member(caller.project.id.as_str(), role_name(role));
        letter.hand_over(&console, &given.email, &caller.own_address, &secret).await
    } else {
        Handed::Shown { link: format!("{}/welcome/{secret}", caller.own_address), why: None }
    };
    let (link, not_mailed) = (handed.link().map(str::to_owned), handed.why().map(str::to_owned));
    Ok((StatusCode::CREATED, Json(Invited { link, not_mailed, replaced })))
}

/// Whose invitations.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TakeBack {
    /// E-mail address, as it was invited.
    #[schema(max_length = 254)]
    email: String,
}

async fn take_back(caller: Caller, Given(given): Given<TakeBack>) -> Result<StatusCode, Problem> {
    caller.store.take_back_invitation(&caller.project, &given.email).await?;
    Ok(StatusCode::NO_CONTENT)
}
