//! Who may do what: five roles, and the one table that says from which role on an action is allowed.

use serde::{Deserialize, Serialize};

/// What a person is in a project. A later one may do all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks, and changes nothing.
    Viewer,
    /// Changes what is captured and what it is called.
    Editor,
    /// Sees samples; changes the project's settings, destinations and members; erases and exports persons.
    Admin,
    /// One for each project: deletes the dataset, passes ownership on.
    Owner,
    /// Of the installation: every right in all projects.
    MasterAdmin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Editor, Self::Admin, Self::Owner, Self::MasterAdmin];

    /// The role as it is stored and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Owner => "owner",
            Self::MasterAdmin => "master_admin",
        }
    }

    /// The role of a stored word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether an account with this role must have a second factor.
    #[must_use]
    pub fn needs_second_factor(self) -> bool {
        self >= Self::Admin
    }
}

/// What can be done in the console, in groups that one role is allowed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Seeing a project: names, types, counts, times, settings, states.
    SeeProject,
    /// Naming, merging, excluding: what is captured and what it is called.
    EditCapture,
    /// Seeing what visitors were shown and did: example values and single events. A project may give it to lower roles.
    SeeSamples,
    /// The project's settings.
    EditSettings,
    /// Where events go.
    EditDestinations,
    /// Inviting, changing and removing members up to Admin.
    EditMembers,
    /// Erasing and exporting the data of a person.
    ServePersons,
    /// Reading who did what.
    SeeAudit,
    /// Making another member the Owner.
    PassOwnership,
    /// Deleting everything that was captured.
    DeleteDataset,
    /// Seeing to security incidents.
    ServeIncidents,
    /// Making a project.
    CreateProject,
    /// Making and removing Master Admins, and letting somebody into their account again.
    EditAccounts,
    /// The state of the installation: all projects, accounts, health.
    SeeInstallation,
}

/// The permission table: from which role on each action is allowed.
const TABLE: [(Action, Role); 14] = [
    (Action::SeeProject, Role::Viewer),
    (Action::EditCapture, Role::Editor),
    (Action::SeeSamples, Role::Admin),
    (Action::EditSettings, Role::Admin),
    (Action::EditDestinations, Role::Admin),
    (Action::EditMembers, Role::Admin),
    (Action::ServePersons, Role::Admin),
    (Action::SeeAudit, Role::Admin),
    (Action::PassOwnership, Role::Owner),
    (Action::DeleteDataset, Role::Owner),
    (Action::ServeIncidents, Role::Owner),
    (Action::CreateProject, Role::MasterAdmin),
    (Action::EditAccounts, Role::MasterAdmin),
    (Action::SeeInstallation, Role::MasterAdmin),
];

impl Action {
    /// The least role that may do it; what the table forgets is for nobody but Master Admins.
    #[must_use]
    pub fn least_role(self) -> Role {
        TABLE.iter().find(|(action, _)| *action == self).map_or(Role::MasterAdmin, |(_, role)| *role)
    }

    /// Whether a role may do it.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        role >= self.least_role()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_stands_once_in_the_table() {
        for (index, (action, _)) in TABLE.iter().enumerate() {
            assert!(!TABLE.iter().skip(index + 1).any(|(other, _)| other == action), "{action:?} stands twice");
        }
        // A variant without a row would be for Master Admins only, which these tell apart.
        assert_eq!(Action::SeeInstallation as usize + 1, TABLE.len());
    }

    #[test]
    fn a_role_is_found_by_its_word() {
        for role in Role::ALL {
            assert_eq!(Role::of(role.as_str()), Some(role));
        }
        assert_eq!(Role::of("root"), None);
        assert!(Role::ALL.is_sorted());
    }
}
