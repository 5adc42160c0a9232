//! Links that let people in: one that makes the first Master Admin, one for each invited member, one of the demo.

use convizit_keys::Place;
use convizit_model::time::DAY_MILLIS;
use convizit_model::{Project, Role, Timestamp};
use sqlx::{AnyConnection, query};

use crate::Store;
use crate::accounts::{Account, NewAccount, new_password, normal_email, sealed_of, valid_email, valid_name};
use crate::audit::Entry;
use crate::error::{Columns as _, During, StoreError};
use crate::members;

/// How long an invitation holds.
const INVITATION_MILLIS: i64 = 7 * DAY_MILLIS;
/// How long a link for a new password holds that was asked for without a sign-in.
const PASSWORD_LINK_MILLIS: i64 = 3_600_000;
/// How long the link for the first Master Admin holds: a start prints a new one.
const FIRST_LINK_MILLIS: i64 = DAY_MILLIS;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationKind {
    /// Makes the first Master Admin.
    First,
    /// Makes a member of a project.
    Member,
    /// Signs in to the demo's account; holds until the demo's next start.
    Demo,
    /// Lets somebody set password and second factor anew.
    Reset,
    /// Lets somebody set the password anew; the second factor stays.
    Password,
    /// Makes another Master Admin.
    Master,
}

impl InvitationKind {
    const ALL: [Self; 6] = [Self::First, Self::Member, Self::Demo, Self::Reset, Self::Password, Self::Master];

    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Member => "member",
            Self::Demo => "demo",
            Self::Reset => "reset",
            Self::Password => "password",
            Self::Master => "master",
        }
    }
}

/// A link that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// What for.
    pub kind: InvitationKind,
    /// The project's number; 0 for the installation.
    pub project: i64,
    /// What the person becomes.
    pub role: Role,
    /// The address that was invited; `None` where the person says it.
    pub email: Option<String>,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

impl Invitation {
    /// Whether it is for this address.
    #[must_use]
    pub fn is_for(&self, email: &str) -> bool {
        self.email.as_deref().is_some_and(|own| normal_email(own) == normal_email(email))
    }
}

/// The kind of a link in whose place a newer one stands: it opens nothing, and is kept to say so.
const REPLACED: &str = "replaced";

/// What the audit log calls a link: it opens nothing, and says nothing of the address.
fn link_words(hash: &[u8]) -> String {
    let id: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("link {id}")
}

fn person_of(hash: &[u8]) -> Place<'_> {
    Place { table: "invitations", purpose: "person", row: hash }
}

fn gone() -> StoreError {
    StoreError::Invalid("this link was used already, or is too old: ask whoever sent it for another one".to_owned())
}

/// Uses a link up inside a transaction.
async fn take(connection: &mut AnyConnection, hash: [u8; 32], now: Timestamp) -> Result<(), StoreError> {
    const NAME: &str = "use invitation";
    let done = query("DELETE FROM invitations WHERE hash = $1 AND expires > $2 AND kind <> $3")
        .bind(hash.as_slice())
        .bind(now.as_millis())
        .bind(REPLACED)
        .execute(&mut *connection)
        .await
        .during(NAME)?;
    // Of two that use it at once, one finds it gone.
    if done.rows_affected() == 1 { Ok(()) } else { Err(gone()) }
}

/// Ends links inside a transaction.
pub(crate) async fn end_links(connection: &mut AnyConnection, links: &[Vec<u8>]) -> Result<(), StoreError> {
    for hash in links {
        query("DELETE FROM invitations WHERE hash = $1")
            .bind(hash.as_slice())
            .execute(&mut *connection)
            .await
            .during("end invitations")?;
    }
    Ok(())
}

/// Ends links inside a transaction for the sake of a newer one, which whoever opens them is told.
async fn replace_links(connection: &mut AnyConnection, links: &[Vec<u8>]) -> Result<(), StoreError> {
    for hash in links {
        query("UPDATE invitations SET kind = $1, person = NULL WHERE hash = $2")
            .bind(REPLACED)
            .bind(hash.as_slice())
            .execute(&mut *connection)
            .await
            .during("replace invitations")?;
    }
    Ok(())
}

/// Makes somebody a member inside a transaction; who is more already stays that. Returns the project's id, and from which role to
/// which it was.
async fn join(
    connection: &mut AnyConnection,
    project: i64,
    account: i64,
    role: Role,
    now: Timestamp,
) -> Result<(String, String), StoreError> {
    let id = members::hold(connection, project).await?.ok_or_else(gone)?;
    let before = members::role_before(connection, project, account).await?;
    if before.is_some_and(|before| before >= role) {
        return Ok((id, members::from_to(before, before)));
    }
    let sql = "INSERT INTO members (project, account, role, since) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (project, account) DO UPDATE SET role = excluded.role WHERE members.role <> 'owner'";
    query(sql)
        .bind(project)
        .bind(account)
        .bind(role.as_str())
        .bind(now.as_millis())
        .execute(connection)
        .await
        .during("join project")?;
    Ok((id, members::from_to(before, Some(role))))
}

impl Store {
    fn invitation_hash(&self, secret: &str) -> [u8; 32] {
        self.ring().mac("invitation", secret.as_bytes())
    }

    async fn invite(
        &self,
        kind: InvitationKind,
        project: Option<&Project>,
        role: Role,
        (email, account): (Option<&str>, Option<i64>),
        millis: i64,
    ) -> Result<String, StoreError> {
        const NAME: &str = "make invitation";
        let secret = convizit_keys::random_text(24)?;
        let hash = self.invitation_hash(&secret);
        let person = match email {
            Some(email) => Some(self.keyring().seal_own(person_of(&hash), email.trim().as_bytes())?),
            None => None,
        };
        let (number, id) = project.map_or((0, ""), |project| (project.number, project.id.as_str()));
        // Of one address the newest holds, whatever an earlier one would have made of it.
        let earlier = match email {
            Some(email) if matches!(kind, InvitationKind::Member | InvitationKind::Master) => {
                self.links_of(kind, number, email).await?
            }
            _ => Vec::new(),
        };
        let now = self.clock().now();
        let expires = now.plus_millis(millis);
        // What it makes of somebody, or whose sign-in it opens.
        let mut detail = account.map_or_else(|| role.as_str().to_owned(), |number| format!("account:{number}"));
        if matches!(kind, InvitationKind::Member | InvitationKind::Master) {
            detail = format!("{detail}; {}", link_words(&hash));
            let old: Vec<String> = earlier.iter().map(|hash| link_words(hash)).collect();
            if !old.is_empty() {
                detail = format!("{detail}, in place of {}", old.join(", "));
            }
        }
        let entry = self.entry("invitation.make", id, kind.as_str(), detail);
        self.change(NAME, entry, move |connection| {
            let (person, earlier) = (person.clone(), earlier.clone());
            Box::pin(async move {
                replace_links(connection, &earlier).await?;
                let old = query("DELETE FROM invitations WHERE expires < $1").bind(now.as_millis());
                old.execute(&mut *connection).await.during(NAME)?;
                if matches!(kind, InvitationKind::First | InvitationKind::Demo) {
                    // One at a time: what a log or a terminal showed before opens nothing any more.
                    let old = query("DELETE FROM invitations WHERE kind = $1").bind(kind.as_str());
                    old.execute(&mut *connection).await.during(NAME)?;
                }
                query("INSERT INTO invitations (hash, kind, project, role, person, made, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)")
                    .bind(hash.as_slice())
                    .bind(kind.as_str())
                    .bind(number)
                    .bind(role.as_str())
                    .bind(person)
                    .bind(now.as_millis())
                    .bind(expires.as_millis())
                    .execute(&mut *connection)
                    .await
                    .during(NAME)
                    .map(|_| ())
            })
        })
        .await?;
        Ok(secret)
    }

    /// Makes the link for the first Master Admin; earlier ones end. Returns its secret.
    ///
    /// # Errors
    /// `Invalid` when there is a Master Admin.
    pub async fn first_link(&self) -> Result<String, StoreError> {
        if self.has_master_admin().await? {
            return Err(StoreError::Invalid("there is a Master Admin already".to_owned()));
        }
        self.invite(InvitationKind::First, None, Role::MasterAdmin, (None, None), FIRST_LINK_MILLIS).await
    }

    /// Makes the demo's link, and its account when there is none: nobody knows its password, and no second factor is asked of it.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn demo_link(&self, email: &str) -> Result<String, StoreError> {
        if self.account_by_email(email).await?.is_none() {
            let password_hash = new_password(&convizit_keys::random_text(30)?, email, "").await?;
            let new = NewAccount {
                email: email.to_owned(),
                name: "Demo".to_owned(),
                password_hash,
                master: true,
                excused: true,
            };
            self.make_account(new, "demo").await?;
        }
        self.invite(InvitationKind::Demo, None, Role::MasterAdmin, (Some(email), None), FIRST_LINK_MILLIS).await
    }

    async fn make_account(&self, new: NewAccount, why: &'static str) -> Result<i64, StoreError> {
        let (store, new) = (self.clone(), std::sync::Arc::new(new));
        self.change("make account", self.entry("account.make", "", why, ""), move |connection| {
            let (store, new) = (store.clone(), new.clone());
            Box::pin(async move { store.insert_account(connection, &new).await })
        })
        .await
    }

    /// Invites somebody into a project, as Admin at most, in place of any open invitation of the same address; returns the link's
    /// secret.
    ///
    /// # Errors
    /// `Invalid` with what to change.
    pub async fn invite_member(&self, project: &Project, email: &str, role: Role) -> Result<String, StoreError> {
        valid_email(email)?;
        if role > Role::Admin {
            let text = "nobody is invited as Owner: invite an Admin, then pass ownership on";
            return Err(StoreError::Invalid(text.to_owned()));
        }
        self.invite(InvitationKind::Member, Some(project), role, (Some(email), None), INVITATION_MILLIS).await
    }

    /// Whether a newer invitation stands in the place of this link.
    ///
    /// # Errors
    /// `Database`.
    pub async fn is_replaced(&self, secret: &str) -> Result<bool, StoreError> {
        let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM invitations WHERE hash = $1 AND kind = $2")
            .bind(self.invitation_hash(secret).as_slice())
            .bind(REPLACED)
            .fetch_one(self.control().readers())
            .await
            .during("find invitation")?;
        Ok(found > 0)
    }

    /// The invitation of a link's secret, while it holds.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn invitation(&self, secret: &str) -> Result<Option<Invitation>, StoreError> {
        let hash = self.invitation_hash(secret);
        let sql = "SELECT kind, project, role, person, made, expires FROM invitations WHERE hash = $1 AND expires > $2";
        let row = query(sql)
            .bind(hash.as_slice())
            .bind(self.clock().now().as_millis())
            .fetch_optional(self.control().readers())
            .await
            .during("find invitation")?;
        match row {
            Some(row) => self.invitation_of(&hash, &row).await,
            None => Ok(None),
        }
    }

    async fn invitation_of(&self, hash: &[u8], row: &sqlx::any::AnyRow) -> Result<Option<Invitation>, StoreError> {
        let (kind, role): (&str, &str) = (row.read(0)?, row.read(2)?);
        let kind = InvitationKind::ALL.into_iter().find(|known| known.as_str() == kind);
        let (Some(kind), Some(role)) = (kind, Role::of(role)) else { return Ok(None) };
        let email = match row.read::<Option<Vec<u8>>>(3)? {
            Some(sealed) => {
                let opened = self.keyring().open_sealed(0, person_of(hash), &sealed).await?;
                Some(String::from_utf8_lossy(&opened).into_owned())
            }
            None => None,
        };
        Ok(Some(Invitation {
            kind,
            project: row.read(1)?,
            role,
            email,
            made: Timestamp::from_millis(row.read(4)?),
            expires: Timestamp::from_millis(row.read(5)?),
        }))
    }

    /// The open invitations of a project, the newest first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn invitations(&self, project: i64) -> Result<Vec<Invitation>, StoreError> {
        self.open_invitations(InvitationKind::Member, project).await
    }

    /// The open invitations of Master Admins, the newest first.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn master_invitations(&self) -> Result<Vec<Invitation>, StoreError> {
        self.open_invitations(InvitationKind::Master, 0).await
    }

    async fn open_invitations(&self, kind: InvitationKind, project: i64) -> Result<Vec<Invitation>, StoreError> {
        let sql = "SELECT kind, project, role, person, made, expires, hash FROM invitations \
                   WHERE kind = $1 AND project = $2 AND expires > $3 ORDER BY made DESC LIMIT 200";
        let rows = query(sql)
            .bind(kind.as_str())
            .bind(project)
            .bind(self.clock().now().as_millis())
            .fetch_all(self.control().readers())
            .await
            .during("list invitations")?;
        let mut invitations = Vec::with_capacity(rows.len());
        for row in &rows {
            let hash: Vec<u8> = row.read(6)?;
            invitations.extend(self.invitation_of(&hash, row).await?);
        }
        Ok(invitations)
    }

    /// Takes back the open invitations of an address into a project.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn take_back_invitation(&self, project: &Project, email: &str) -> Result<(), StoreError> {
        self.take_back(InvitationKind::Member, (project.number, project.id.as_str()), email).await
    }

    /// Takes back the open invitations of an address to be a Master Admin.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn take_back_master(&self, email: &str) -> Result<(), StoreError> {
        self.take_back(InvitationKind::Master, (0, ""), email).await
    }

    async fn take_back(&self, kind: InvitationKind, (project, id): (i64, &str), email: &str) -> Result<(), StoreError> {
        let links = self.links_of(kind, project, email).await?;
        if links.is_empty() {
            return Err(StoreError::not_found("invitation", "of this address"));
        }
        let entry = self.entry("invitation.take_back", id, kind.as_str(), "");
        self.change("take back invitation", entry, move |connection| {
            let links = links.clone();
            Box::pin(async move { end_links(connection, &links).await })
        })
        .await
    }

    /// The links of a kind and a project that are for an address, by their hashes.
    async fn links_of(&self, kind: InvitationKind, project: i64, email: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows = query("SELECT person, hash FROM invitations WHERE kind = $1 AND project = $2")
            .bind(kind.as_str())
            .bind(project)
            .fetch_all(self.control().readers())
            .await
            .during("find invitations")?;
        let (wanted, mut found) = (self.email_hash(email), Vec::new());
        for row in rows {
            let (Some(sealed), hash) = (row.read::<Option<Vec<u8>>>(0)?, row.read::<Vec<u8>>(1)?) else { continue };
            let address = self.keyring().open_sealed(0, person_of(&hash), &sealed).await?;
            if self.email_hash(&String::from_utf8_lossy(&address)) == wanted {
                found.push(hash);
            }
        }
        Ok(found)
    }

    /// The same of an account's address; none where there is no such account. They end with what the account loses: who was
    /// removed must not come back by a second link.
    pub(crate) async fn links_of_account(
        &self,
        kind: InvitationKind,
        project: i64,
        account: i64,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        match self.account(account).await {
            Ok(account) => self.links_of(kind, project, &account.email).await,
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes the account that a link is for, and what the link makes of it, and uses the link up. `email` is asked where the link
    /// names none.
    ///
    /// # Errors
    /// `Invalid` with what to change; then the link still holds.
    pub async fn accept(&self, secret: &str, email: &str, name: &str, password: &str) -> Result<Account, StoreError> {
        let invitation = self.invitation(secret).await?.ok_or_else(gone)?;
        if !matches!(invitation.kind, InvitationKind::First | InvitationKind::Member | InvitationKind::Master) {
            return Err(gone());
        }
        let email = invitation.email.clone().unwrap_or_else(|| email.to_owned());
        valid_email(&email)?;
        valid_name(name)?;
        let first = invitation.kind == InvitationKind::First;
        let member = invitation.kind == InvitationKind::Member;
        let new = std::sync::Arc::new(NewAccount {
            password_hash: new_password(password, &email, name).await?,
            email,
            name: name.to_owned(),
            master: !member,
            excused: false,
        });
        let (hash, now) = (self.invitation_hash(secret), self.clock().now());
        let (store, project, role) = (self.clone(), invitation.project, invitation.role);
        let entry = self.entry("invitation.accept", "", invitation.kind.as_str(), "");
        let number = self
            .change_saying("accept invitation", move |connection| {
                let (store, new, entry) = (store.clone(), new.clone(), entry.clone());
                Box::pin(async move {
                    take(connection, hash, now).await?;
                    if first {
                        let masters: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM accounts WHERE master = 1")
                            .fetch_one(&mut *connection)
                            .await
                            .during("accept invitation")?;
                        if masters > 0 {
                            return Err(gone());
                        }
                    }
                    let number = store.insert_account(connection, &new).await?;
                    let (project, detail) = if member {
                        join(connection, project, number, role, now).await?
                    } else {
                        (String::new(), members::from_to(None, Some(Role::MasterAdmin)))
                    };
                    Ok((number, Entry { actor: format!("account:{number}"), project, detail, ..entry }))
                })
            })
            .await?;
        self.account(number).await
    }

    /// Makes a link with which somebody who lost password or second factor sets both anew, within 24 hours; returns its secret.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn reset_link(&self, account: &Account) -> Result<String, StoreError> {
        let whose = (Some(account.email.as_str()), Some(account.number));
        self.invite(InvitationKind::Reset, None, Role::Viewer, whose, FIRST_LINK_MILLIS).await
    }

    /// Makes a link with which somebody who lost the password sets it anew, within an hour; the second factor stays. Returns its
    /// secret.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn password_link(&self, account: &Account) -> Result<String, StoreError> {
        let whose = (Some(account.email.as_str()), Some(account.number));
        self.invite(InvitationKind::Password, None, Role::Viewer, whose, PASSWORD_LINK_MILLIS).await
    }

    /// Invites somebody to be a Master Admin, in place of any open invitation of the same address; returns the link's secret.
    ///
    /// # Errors
    /// `Invalid` with what to change.
    pub async fn invite_master(&self, email: &str) -> Result<String, StoreError> {
        valid_email(email)?;
        self.invite(InvitationKind::Master, None, Role::MasterAdmin, (Some(email), None), INVITATION_MILLIS).await
    }

    /// Makes a Master Admin an account like others; their memberships stay, and open invitations to be one again end.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the last one.
    pub async fn remove_master(&self, account: i64) -> Result<(), StoreError> {
        const NAME: &str = "remove Master Admin";
        let entry = self.entry("master.remove", "", &format!("account:{account}"), "");
        let links = self.links_of_account(InvitationKind::Master, 0, account).await?;
        self.change(NAME, entry, move |connection| {
            let links = links.clone();
            Box::pin(async move {
                // Of two that remove each other at once, the second sees what the first has done.
                query("UPDATE control_version SET version = version WHERE id = 0")
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                let others: i64 = sqlx::query_scalar(
                    "SELECT COUNT(*) FROM accounts WHERE master = 1 AND excused = 0 AND number <> $1",
                )
                .bind(account)
                .fetch_one(&mut *connection)
                .await
                .during(NAME)?;
                if others == 0 {
                    let text = "the installation needs one Master Admin: invite another one first";
                    return Err(StoreError::Invalid(text.to_owned()));
                }
                let done = query("UPDATE accounts SET master = 0 WHERE number = $1 AND master = 1").bind(account);
                if done.execute(&mut *connection).await.during(NAME)?.rows_affected() == 0 {
                    return Err(StoreError::not_found("Master Admin", account));
                }
                end_links(connection, &links).await
            })
        })
        .await
    }

    /// Gives the account of such a link another password and ends its sessions; a link for both takes second factor and recovery
    /// codes away, too.
    ///
    /// # Errors
    /// `Invalid` with what to change; then the link still holds.
    pub async fn reset(&self, secret: &str, password: &str) -> Result<Account, StoreError> {
        const NAME: &str = "reset account";
        let invitation = self.invitation(secret).await?.ok_or_else(gone)?;
        let both = match invitation.kind {
            InvitationKind::Reset => true,
            InvitationKind::Password => false,
            _ => return Err(gone()),
        };
        let email = invitation.email.ok_or_else(gone)?;
        let account = self.account_by_email(&email).await?.ok_or_else(gone)?;
        let password = new_password(password, &account.email, &account.name).await?;
        let number = account.number;
        let row = number.to_be_bytes();
        let sealed = self.keyring().seal_own(sealed_of("password", &row), password.as_bytes())?;
        let (hash, now) = (self.invitation_hash(secret), self.clock().now());
        let entry = self.acting_as(&account.actor()).entry("account.reset", "", "", "");
        self.change(NAME, entry, move |connection| {
            let sealed = sealed.clone();
            Box::pin(async move {
                take(connection, hash, now).await?;
                query("UPDATE accounts SET password = $1 WHERE number = $2")
                    .bind(sealed)
                    .bind(number)
                    .execute(&mut *connection)
                    .await
                    .during(NAME)?;
                let factor: &[&str] = &[
                    "UPDATE accounts SET totp = NULL, totp_step = 0 WHERE number = $1",
                    "DELETE FROM recovery_codes WHERE account = $1",
                    "DELETE FROM passkeys WHERE account = $1",
                ];
                let all = if both { factor } else { &[] };
                for sql in all.iter().chain(&["DELETE FROM sessions WHERE account = $1"]) {
                    query(*sql).bind(number).execute(&mut *connection).await.during(NAME)?;
                }
                Ok(())
            })
        })
        .await?;
        self.account(number).await
    }

    /// Makes a signed-in person a member of what a link invites the same address to.
    ///
    /// # Errors
    /// `Invalid` when the link is of another address, or holds no more.
    pub async fn accept_as(&self, secret: &str, account: &Account) -> Result<(), StoreError> {
        let invitation = self.invitation(secret).await?.ok_or_else(gone)?;
        let same =
            invitation.email.as_deref().is_some_and(|email| self.email_hash(email) == self.email_hash(&account.email));
        let master = invitation.kind == InvitationKind::Master;
        if !(master || invitation.kind == InvitationKind::Member) || !same {
            let text = "this link is for another address: sign out, and open it again";
            return Err(StoreError::Invalid(text.to_owned()));
        }
        let (hash, now) = (self.invitation_hash(secret), self.clock().now());
        let (number, project, role) = (account.number, invitation.project, invitation.role);
        let before = account.master.then_some(Role::MasterAdmin);
        let entry = self.acting_as(&account.actor()).entry("invitation.accept", "", invitation.kind.as_str(), "");
        self.change_saying("accept invitation", move |connection| {
            let entry = entry.clone();
            Box::pin(async move {
                take(connection, hash, now).await?;
                let (project, detail) = if master {
                    query("UPDATE accounts SET master = 1 WHERE number = $1")
                        .bind(number)
                        .execute(connection)
                        .await
                        .during("accept invitation")?;
                    (String::new(), members::from_to(before, Some(Role::MasterAdmin)))
                } else {
                    join(connection, project, number, role, now).await?
                };
                Ok(((), Entry { project, detail, ..entry }))
            })
        })
        .await
    }
}
