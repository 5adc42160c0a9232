//! Members of projects: who has which role, and that each project has one Owner at most.

use convizit_model::{Project, Role, Timestamp};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::accounts::Account;
use crate::audit::Entry;
use crate::error::{Columns as _, During, StoreError};
use crate::invitations::{InvitationKind, end_links};

/// A member of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The person.
    pub account: Account,
    /// What they may.
    pub role: Role,
    /// Since when they are a member.
    pub since: Timestamp,
}

fn role_of(text: &str) -> Result<Role, StoreError> {
    let unknown = || StoreError::Unusable(format!("the role {text} is of a newer convizit: start that version"));
    Role::of(text).ok_or_else(unknown)
}

/// An account's role inside a transaction; `None` when it is no member.
pub(crate) async fn role_before(
    connection: &mut AnyConnection,
    project: i64,
    account: i64,
) -> Result<Option<Role>, StoreError> {
    let found: Option<String> = sqlx::query_scalar("SELECT role FROM members WHERE project = $1 AND account = $2")
        .bind(project)
        .bind(account)
        .fetch_optional(connection)
        .await
        .during("read member")?;
    found.as_deref().map(role_of).transpose()
}

/// The member's role inside a transaction.
async fn role_now(connection: &mut AnyConnection, project: i64, account: i64) -> Result<Role, StoreError> {
    role_before(connection, project, account).await?.ok_or_else(|| StoreError::not_found("member", account))
}

/// The same, where it is still the role that somebody saw who wants to change it.
async fn role_seen(
    connection: &mut AnyConnection,
    (project, account): (i64, i64),
    seen: Option<Role>,
) -> Result<Role, StoreError> {
    let now = role_now(connection, project, account).await?;
    if seen.is_some_and(|seen| seen != now) {
        return Err(StoreError::Moved { what: format!("the role of account {account}") });
    }
    Ok(now)
}

/// From which role to which, for the audit log.
pub(crate) fn from_to(before: Option<Role>, after: Option<Role>) -> String {
    let word = |role: Option<Role>| role.map_or("none", Role::as_str);
    format!("{} -> {}", word(before), word(after))
}

async fn write_role(connection: &mut AnyConnection, project: i64, account: i64, role: Role) -> Result<(), StoreError> {
    let done = query("UPDATE members SET role = $1 WHERE project = $2 AND account = $3 AND role <> 'owner'")
        .bind(role.as_str())
        .bind(project)
        .bind(account)
        .execute(connection)
        .await
        .during("change member")?;
    if done.rows_affected() == 0 { Err(owner_stays()) } else { Ok(()) }
}

/// Takes the project's row before its members are read, so that of two on PostgreSQL who change them at once the second sees what
/// the first has done: who was made Owner meanwhile is. Returns the project's id, where there is such a project.
pub(crate) async fn hold(connection: &mut AnyConnection, project: i64) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar("UPDATE projects SET version = version WHERE number = $1 RETURNING id")
        .bind(project)
        .fetch_optional(connection)
        .await
        .during("change members")
}

fn owner_stays() -> StoreError {
    StoreError::Invalid("a project has one Owner: pass ownership on first".to_owned())
}

/// Makes an account the Owner of a project that has none.
pub(crate) async fn insert_owner(
    connection: &mut AnyConnection,
    project: i64,
    account: i64,
    now: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO members (project, account, role, since) VALUES ($1, $2, 'owner', $3) \
               ON CONFLICT (project, account) DO UPDATE SET role = excluded.role";
    match query(sql).bind(project).bind(account).bind(now).execute(connection).await {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(owner_stays()),
        other => other.during("make owner").map(|_| ()),
    }
}

impl Store {
    /// The role of an account in a project; `None` when it is no member. A Master Admin is one everywhere without a row.
    ///
    /// # Errors
    /// `Database`.
    pub async fn role(&self, project: i64, account: i64) -> Result<Option<Role>, StoreError> {
        let found: Option<String> = sqlx::query_scalar("SELECT role FROM members WHERE project = $1 AND account = $2")
            .bind(project)
            .bind(account)
            .fetch_optional(self.control().readers())
            .await
            .during("read member")?;
        found.as_deref().map(role_of).transpose()
    }

    /// The roles of an account by project number.
    ///
    /// # Errors
    /// `Database`.
    pub async fn roles(&self, account: i64) -> Result<Vec<(i64, Role)>, StoreError> {
        let rows = query("SELECT project, role FROM members WHERE account = $1 ORDER BY project")
            .bind(account)
            .fetch_all(self.control().readers())
            .await
            .during("list memberships")?;
        rows.iter().map(|row| Ok((row.read(0)?, role_of(row.read(1)?)?))).collect()
    }

    /// The members of a project, the highest role first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn members(&self, project: i64) -> Result<Vec<Member>, StoreError> {
        let rows = query("SELECT account, role, since FROM members WHERE project = $1 ORDER BY since, account")
            .bind(project)
            .fetch_all(self.control().readers())
            .await
            .during("list members")?;
        let mut members = Vec::with_capacity(rows.len());
        for row in rows {
            let account = self.account(row.read(0)?).await?;
            members.push(Member { account, role: role_of(row.read(1)?)?, since: Timestamp::from_millis(row.read(2)?) });
        }
        members.sort_by_key(|member| std::cmp::Reverse(member.role));
        Ok(members)
    }

    /// Makes an account the Owner of a project that has none: of whoever made it.
    ///
    /// # Errors
    /// `Invalid` when it has one.
    pub async fn make_owner(&self, project: &Project, account: i64) -> Result<(), StoreError> {
        const NAME: &str = "make owner";
        let (number, now) = (project.number, self.clock().now());
        let entry = self.entry("member.owner", project.id.as_str(), &format!("account:{account}"), "");
        self.change_saying(NAME, move |connection| {
            let entry = entry.clone();
            Box::pin(async move {
                hold(connection, number).await?;
                let before = role_before(connection, number, account).await?;
                let entry = Entry { detail: from_to(before, Some(Role::Owner)), ..entry };
                insert_owner(connection, number, account, now.as_millis()).await.map(|()| ((), entry))
            })
        })
        .await
    }

    /// Gives a member another role, up to Admin; open invitations of their address into the project end.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the Owner, or a role above Admin.
    pub async fn set_role(&self, project: &Project, account: i64, role: Role) -> Result<(), StoreError> {
        self.set_role_from(project, account, None, role).await
    }

    /// The same, if the member's role is still the one that was seen; `None` for whatever it is.
    ///
    /// # Errors
    /// As `set_role`; `Moved` when somebody has given the member another role since.
    pub async fn set_role_from(
        &self,
        project: &Project,
        account: i64,
        seen: Option<Role>,
        role: Role,
    ) -> Result<(), StoreError> {
        if role > Role::Admin {
            return Err(owner_stays());
        }
        let number = project.number;
        let entry = self.entry("member.role", project.id.as_str(), &format!("account:{account}"), "");
        let links = self.links_of_account(InvitationKind::Member, number, account).await?;
        self.change_saying("change member", move |connection| {
            let (entry, links) = (entry.clone(), links.clone());
            Box::pin(async move {
                hold(connection, number).await?;
                let before = role_seen(connection, (number, account), seen).await?;
                if before == Role::Owner {
                    return Err(owner_stays());
                }
                end_links(connection, &links).await?;
                write_role(connection, number, account, role).await?;
                Ok(((), Entry { detail: from_to(Some(before), Some(role)), ..entry }))
            })
        })
        .await
    }

    /// Takes a member out of a project; open invitations of their address into it end.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the Owner.
    pub async fn remove_member(&self, project: &Project, account: i64) -> Result<(), StoreError> {
        self.remove_member_from(project, account, None).await
    }

    /// The same, if the member's role is still the one that was seen; `None` for whatever it is.
    ///
    /// # Errors
    /// As `remove_member`; `Moved` when somebody has given the member another role since.
    pub async fn remove_member_from(
        &self,
        project: &Project,
        account: i64,
        seen: Option<Role>,
    ) -> Result<(), StoreError> {
        const NAME: &str = "remove member";
        let number = project.number;
        let entry = self.entry("member.remove", project.id.as_str(), &format!("account:{account}"), "");
        let links = self.links_of_account(InvitationKind::Member, number, account).await?;
        self.change_saying(NAME, move |connection| {
            let (entry, links) = (entry.clone(), links.clone());
            Box::pin(async move {
                hold(connection, number).await?;
                let before = role_seen(connection, (number, account), seen).await?;
                if before == Role::Owner {
                    return Err(owner_stays());
                }
                end_links(connection, &links).await?;
                let done = query("DELETE FROM members WHERE project = $1 AND account = $2 AND role <> 'owner'")
                    .bind(number)
                    .bind(account)
                    .execute(connection)
                    .await
                    .during(NAME)?;
                if done.rows_affected() == 0 {
                    return Err(owner_stays());
                }
                Ok(((), Entry { detail: from_to(Some(before), None), ..entry }))
            })
        })
        .await
    }

    /// Makes another member the Owner; the old one becomes Admin in the same transaction.
    ///
    /// # Errors
    /// `NotFound` when the account is no member.
    pub async fn pass_ownership(&self, project: &Project, account: i64) -> Result<(), StoreError> {
        let number = project.number;
        let entry = self.entry("member.owner", project.id.as_str(), &format!("account:{account}"), "");
        self.change_saying("pass ownership", move |connection| {
            let entry = entry.clone();
            Box::pin(async move {
                hold(connection, number).await?;
                let before = role_now(connection, number, account).await?;
                let old: Option<i64> = sqlx::query_scalar(
                    "UPDATE members SET role = 'admin' WHERE project = $1 AND role = 'owner' RETURNING account",
                )
                .bind(number)
                .fetch_optional(&mut *connection)
                .await
                .during("pass ownership")?;
                write_role(connection, number, account, Role::Owner).await?;
                let mut detail = from_to(Some(before), Some(Role::Owner));
                if let Some(old) = old.filter(|old| *old != account) {
                    detail = format!("{detail}; account:{old}: {}", from_to(Some(Role::Owner), Some(Role::Admin)));
                }
                Ok(((), Entry { detail, ..entry }))
            })
        })
        .await
    }
}
