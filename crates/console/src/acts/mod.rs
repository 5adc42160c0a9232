//! What pages and programs do alike: each file looks, checks, and then calls the store. Nothing here knows of forms or of JSON.

pub(crate) mod channels;
pub(crate) mod decisions;
pub(crate) mod destinations;
pub(crate) mod drafts;
pub(crate) mod exclusions;
pub(crate) mod groups;
pub(crate) mod incidents;
pub(crate) mod processors;

use convizit_model::Project;
use convizit_store::{Store, StoreError};

use crate::access::{Caller, Member};
use crate::page::{Problem, Refusal};

/// Where something is done, and by whom.
pub(crate) struct Acting<'a> {
    /// Acting as whoever it is, for the audit log.
    pub(crate) store: &'a Store,
    pub(crate) project: &'a Project,
    /// `account:7`, `token:ci`.
    pub(crate) actor: String,
}

impl Member {
    pub(crate) fn acting(&self) -> Acting<'_> {
        Acting { store: &self.asking.store, project: &self.project, actor: self.account.actor() }
    }
}

impl Caller {
    pub(crate) fn acting(&self) -> Acting<'_> {
        Acting { store: &self.store, project: &self.project, actor: self.token.actor() }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Undone {
    /// What to change, and at which field.
    Wrong(Problem),
    /// Somebody else was quicker.
    Meanwhile,
    /// Nothing that is entered otherwise would help.
    Refused(Refusal),
}

impl Undone {
    pub(crate) fn wrong(field: &'static str, text: impl Into<String>) -> Self {
        Self::Wrong(Problem::new(field, text))
    }

    /// What a form says: its own problem, or what is to be said where somebody else was quicker.
    ///
    /// # Errors
    /// What the form can do nothing about.
    pub(crate) fn in_form(self, meanwhile: impl FnOnce() -> Problem) -> Result<Problem, Refusal> {
        match self {
            Self::Wrong(problem) => Ok(problem),
            Self::Meanwhile => Ok(meanwhile()),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

impl From<Refusal> for Undone {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Moved { .. } => Self::Meanwhile,
            other => Self::Refused(other.into()),
        }
    }
}

/// Where a page has no form to say it in.
impl From<Undone> for Refusal {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Wrong(problem) => Self::Invalid(problem.text),
            Undone::Meanwhile => Self::Invalid(
                "somebody else has changed it meanwhile: go back, load the page again, and look".to_owned(),
            ),
            Undone::Refused(refusal) => refusal,
        }
    }
}
