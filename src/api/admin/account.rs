//! Accounts, sessions and tokens.

use serde::{Deserialize, Serialize};

use crate::value::{Role, Secret};

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct User {
    /// `ana`; one of a directory `ana@EXAMPLE`.
    pub name: String,
    /// Directory that it comes from; none: the appliance's own.
    pub directory: Option<String>,
    /// Of the person; may be empty.
    pub full_name: String,
    /// What it may. Of a directory's account: what its groups gave it when it signed in last.
    pub role: Role,
    /// Whether it may nothing.
    pub disabled: bool,
    /// Milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// When somebody signed in with it last.
    pub signed_in_ms: Option<i64>,
}

/// An account to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// 1 to 64 small letters, digits, dots, dashes and underscores.
    pub name: String,
    /// Of the person.
    #[serde(default)]
    pub full_name: String,
    /// What it may.
    pub role: Role,
    /// At least 10 characters.
    #[cfg_attr(feature = "server", schema(value_type = String, format = Password))]
    pub password: Secret,
}

/// What is changed of an account; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ChangeUser {
    /// What it may. Not of a directory's account: its groups say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether it may nothing: its sessions and tokens end at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
}

/// A new password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The one before; an owner who sets that of another leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>, format = Password))]
    pub old: Option<Secret>,
    /// At least 10 characters.
    #[cfg_attr(feature = "server", schema(value_type = String, format = Password))]
    pub new: Secret,
}
