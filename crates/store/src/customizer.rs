//! Tokens with which a person's own browser opens the customizer on the live site: signed, for a quarter of an hour, for one project,
//! one sign-in and one origin. They are kept nowhere; whether they still hold is asked anew with each use.

use convizit_model::{Action, Project, Role, Timestamp};

use crate::audit::hex;
use crate::error::{During as _, StoreError};
use crate::{Account, Session, Store};

/// How long a token holds.
const OPENING_MILLIS: i64 = 15 * 60_000;

/// What a token that holds allows: reading a project's names and saving drafts.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The one project.
    pub project: Project,
    /// Whose token it is.
    pub account: Account,
    /// When it ends.
    pub expires: Timestamp,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpeningRefusal {
    /// Not made by this installation for this origin, or changed since.
    Unknown,
    /// The quarter of an hour is over.
    Expired,
    /// The person is signed out, is no Editor of the project any more, or the origin is no longer the project's.
    Revoked,
}

impl Store {
    fn opening_tag(&self, head: &str, origin: &str) -> String {
        hex(&self.ring().mac("customizer", format!("{head} {origin}").as_bytes()))
    }

    /// A token for a page of this origin. That the person may change what is captured is the caller's to ask.
    ///
    /// # Errors
    /// `Invalid` for an origin that is not the project's; `Database`.
    pub async fn open_customizer(
        &self,
        project: &Project,
        session: &Session,
        origin: &str,
    ) -> Result<String, StoreError> {
        if !project.settings.allows_origin(origin) {
            let text = format!("{origin} is none of the project's addresses: the settings say which are");
            return Err(StoreError::Invalid(text));
        }
        self.audit("customizer.open", project.id.as_str(), origin, "").await?;
        let expires = self.clock().now().plus_millis(OPENING_MILLIS).as_millis();
        let head = format!("{}.{}.{}.{expires}", project.number, session.account, session.number);
        let tag = self.opening_tag(&head, origin);
        Ok(format!("{head}.{tag}"))
    }

    /// What a token allows a page of this origin.
    ///
    /// # Errors
    /// `Database`, `Keys`.
    pub async fn opening(&self, token: &str, origin: &str) -> Result<Result<Opening, OpeningRefusal>, StoreError> {
        // Of two hashes of them the comparison's time tells nothing.
        let same = |a: &str, b: &str| {
            let of = |text: &str| self.ring().mac("customizer token", text.as_bytes());
            of(a) == of(b)
        };
        let parts = token.rsplit_once('.').filter(|(head, tag)| same(tag, &self.opening_tag(head, origin)));
        let numbers: Option<Vec<i64>> =
            parts.and_then(|(head, _)| head.split('.').map(|part| part.parse().ok()).collect());
        let Some([number, account, session, expires]) = numbers.as_deref() else {
            return Ok(Err(OpeningRefusal::Unknown));
        };
        let expires = Timestamp::from_millis(*expires);
        if expires.since(self.clock().now()) <= 0 {
            return Ok(Err(OpeningRefusal::Expired));
        }
        let known = self.keys_in_memory();
        let project = known.values().find(|project| project.number == *number);
        let Some(project) = project.filter(|project| project.settings.allows_origin(origin)) else {
            return Ok(Err(OpeningRefusal::Revoked));
        };
        if !self.session_lives(*session, *account).await? {
            return Ok(Err(OpeningRefusal::Revoked));
        }
        let account = match self.account(*account).await {
            Err(StoreError::NotFound { .. }) => return Ok(Err(OpeningRefusal::Revoked)),
            found => found?,
        };
        let own = account.master.then_some(Role::MasterAdmin);
        let role = self.role(*number, account.number).await?.max(own);
        if !role.is_some_and(|role| Action::EditCapture.allows(role)) {
            return Ok(Err(OpeningRefusal::Revoked));
        }
        Ok(Ok(Opening { project: Project::clone(project), account, expires }))
    }

    /// Notes that the customizer came up on the site, so that the console can say so.
    ///
    /// # Errors
    /// `Database`.
    pub async fn customizer_began(&self, project: &Project, origin: &str) -> Result<(), StoreError> {
        self.audit("customizer.begin", project.id.as_str(), origin, "").await
    }

    /// Whether a person's customizer came up on the site since a time.
    ///
    /// # Errors
    /// `Database`.
    pub async fn has_customizer_begun(&self, project: &Project, since: Timestamp) -> Result<bool, StoreError> {
        let found: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM audit WHERE act = 'customizer.begin' AND project = $1 AND actor = $2 AND time >= $3",
        )
        .bind(project.id.as_str())
        .bind(self.actor())
        .bind(since.as_millis())
        .fetch_one(self.control().readers())
        .await
        .during("look for the customizer")?;
        Ok(found > 0)
    }
}
