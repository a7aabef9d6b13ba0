//! Roles of people, and what each may do.
//!
//! Owns: which role has which right. Must not know: who has a role, which request needs which right.
//!
//! | right | technician | auditor | administrator | owner |
//! |---|---|---|---|---|
//! | look: runs, Macs, how the appliance stands | yes | yes | yes | yes |
//! | run: start what is deployed, answer, go on, stop | yes | | yes | yes |
//! | read: everything but secrets, the audit log too | | yes | yes | yes |
//! | change: images, sequences, deployments, Macs | | | yes | yes |
//! | own: accounts, secrets, keys, the network | | | | yes |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a person may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs what is deployed.
    Technician,
    /// Reads.
    Auditor,
    /// Changes images, sequences, deployments.
    Administrator,
    /// Everything: network, secrets, users.
    Owner,
}

/// One kind of thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// See runs, Macs, how the appliance stands.
    Look,
    /// Start what is deployed; answer, go on, stop.
    Run,
    /// See everything but secrets.
    Read,
    /// Change what is kept.
    Change,
    /// Accounts, secrets, keys, the network.
    Own,
}

impl Role {
    /// From the one that may least.
    pub const ALL: [Role; 4] = [Role::Technician, Role::Auditor, Role::Administrator, Role::Owner];

    /// `technician`, `auditor`, `administrator`, `owner`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Technician => "technician",
            Role::Auditor => "auditor",
            Role::Administrator => "administrator",
            Role::Owner => "owner",
        }
    }

    /// Whether this role has a right.
    pub fn may(self, right: Right) -> bool {
        match right {
            Right::Look => true,
            Right::Run => self != Role::Auditor,
            Right::Read => self != Role::Technician,
            Right::Change => self >= Role::Administrator,
            Right::Own => self == Role::Owner,
        }
    }

    /// Whether `other` may all that this role may: an auditor is not within a technician, nor the other way round.
    pub fn is_within(self, other: Role) -> bool {
        Right::ALL.into_iter().all(|right| other.may(right) || !self.may(right))
    }
}

impl Right {
    /// All.
    pub const ALL: [Right; 5] = [Right::Look, Right::Run, Right::Read, Right::Change, Right::Own];

    /// Roles that have it, the one that may least first.
    pub fn roles(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| role.may(self))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the roles are technician, auditor, administrator and owner")]
pub struct BadRole;

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Role, BadRole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or(BadRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_prints_as_it_is_read_and_serialised() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert_eq!("root".parse::<Role>(), Err(BadRole));
    }

    #[test]
    fn technician_and_auditor_are_beside_each_other_and_the_others_are_above_both() {
        let within = |one: Role| Role::ALL.into_iter().filter(move |other| one.is_within(*other));
        let names = |one| within(one).map(Role::name).collect::<Vec<_>>();
        assert_eq!(names(Role::Technician), ["technician", "administrator", "owner"]);
        assert_eq!(names(Role::Auditor), ["auditor", "administrator", "owner"]);
        assert_eq!(names(Role::Administrator), ["administrator", "owner"]);
        assert_eq!(names(Role::Owner), ["owner"]);
    }
}
