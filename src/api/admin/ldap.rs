//! The directory that people sign in with.

use serde::{Deserialize, Serialize};

use crate::value::{Role, Secret};

/// How the directory is set up; its settings are in the settings file, `[ldap]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LdapState {
    /// Its server.
    pub url: String,
    /// Its domain, as people type it.
    pub domain: String,
    /// The account that searches; none: anonymous.
    pub bind_dn: Option<String>,
    /// Whether the password of that is set.
    pub password_set: bool,
    /// Which group is which role; the first that a person is in counts.
    pub groups: Vec<LdapGroup>,
}

/// A group that has a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LdapGroup {
    /// Its distinguished name.
    pub dn: String,
    /// What its members may.
    pub role: Role,
}

/// The password of the account that searches. Kept sealed, never shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetLdapPassword {
    /// The password.
    #[cfg_attr(feature = "server", schema(value_type = String, format = Password))]
    pub password: Secret,
}

/// Whom to look up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestLdap {
    /// As they would type it.
    pub user: String,
}

/// Whom a name means in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct LdapPerson {
    /// Distinguished name.
    pub dn: String,
    /// What the account would be called.
    pub name: String,
    /// Of the person.
    pub full_name: String,
    /// What they may here; none: they are in no group that has a role.
    pub role: Option<Role>,
    /// Groups of the settings that they are in.
    pub groups: Vec<String>,
}
