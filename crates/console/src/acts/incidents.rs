//! Seeing to incidents: a step of one, by somebody who may see to it.

use convizit_model::Incident;
use convizit_store::{IncidentChange, Store, StoreError};

use super::Undone;

/// Carries a step out on an incident as it stood at a version; `owner` is whom it is given to, where it is.
///
/// # Errors
/// `Wrong` at `owner` where that is no member of its project and no Master Admin, and at `text`; `Meanwhile` where somebody has changed
/// it since.
pub(crate) async fn change(
    store: &Store,
    incident: &Incident,
    (version, owner): (i64, Option<i64>),
    change: IncidentChange,
) -> Result<(), Undone> {
    if let Some(owner) = owner {
        let nobody = || Undone::wrong("owner", "whoever sees to it is a member or a Master Admin");
        let known = match store.account(owner).await {
            Ok(account) => account,
            Err(StoreError::NotFound { .. }) => return Err(nobody()),
            Err(error) => return Err(error.into()),
        };
        let member = match &incident.project {
            Some(id) => store.role(store.project(id).await?.number, owner).await?.is_some(),
            None => false,
        };
        if !(known.master || member) {
            return Err(nobody());
        }
    }
    match store.change_incident(incident, version, change).await {
        Err(StoreError::Invalid(text)) => Err(Undone::wrong("text", text)),
        done => Ok(done?),
    }
}
