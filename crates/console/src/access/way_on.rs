//! Whom somebody may ask whose role is not enough for a page.

use convizit_model::{Action, Role};

use super::{Access, Asking, Row};
use crate::page::WayOn;
use crate::pages::role_name;

/// People whom a refusal names.
const PEOPLE: usize = 5;

/// Whom to ask for what the role does not allow. Members see each other on the page of members, too.
pub(super) async fn way_on(asking: &Asking, row: Row) -> WayOn {
    let (Access::Project(action), Some(project), Some(role)) = (row.access, &asking.project, asking.role) else {
        return WayOn::default();
    };
    let needs = match action {
        Action::SeeSamples => Some(project.settings.samples_from),
        _ => Role::ALL.into_iter().find(|role| action.allows(*role)),
    };
    // Roles up to Admin are given by Admins; what is the Owner's alone, by the Owner.
    let gives = needs.filter(|needs| *needs > Role::Admin).unwrap_or(Role::Admin);
    // Who cannot be read is missing: the refusal is the same.
    let members = asking.store.members(project.number).await.unwrap_or_default();
    let people = members.into_iter().filter(|member| member.role >= gives).take(PEOPLE);
    let people = people.map(|member| format!("{} ({})", member.account.name, role_name(member.role))).collect();
    WayOn { project: Some(project.id.clone()), role: role_name(role), needs, people }
}
