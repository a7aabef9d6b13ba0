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

/// Somebody signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BeginSession {
    /// `local` or a directory; none: wherever the name is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Name of the account.
    pub name: String,
    /// Its password.
    #[cfg_attr(feature = "server", schema(value_type = String, format = Password))]
    pub password: Secret,
}

/// A session of one's own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct BegunSession {
    /// Goes with every request: `Authorization: Bearer …`.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub token: Secret,
    /// Who.
    pub who: WhoAmI,
    /// When it ends whatever happens, milliseconds since 1970 UTC.
    pub ends_ms: i64,
    /// Minutes without a request after which it ends.
    pub idle_minutes: u32,
}

/// Who asks, as the appliance knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WhoAmI {
    /// `ana`, `root`, `admin.token`.
    pub name: String,
    /// As records tell it: `ana (token ci)`, `root on the appliance`.
    pub shown: String,
    /// `session`, `token`, `admin-token`, `socket`.
    pub how: String,
    /// What they may.
    pub role: Role,
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SignedInSession {
    /// Who.
    pub user: String,
    /// `page`, `api`.
    pub how: String,
    /// From where.
    pub from: String,
    /// Since when.
    pub began_ms: i64,
    /// When it was used last, to a minute.
    pub used_ms: i64,
    /// When it ends whatever happens.
    pub ends_ms: i64,
}

/// A token, without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ApiToken {
    /// Its number.
    pub id: i64,
    /// Whose.
    pub user: String,
    /// What for.
    pub name: String,
    /// What it may at most; never more than its account may at the time.
    pub role: Role,
    /// Parts of the API that it may use (`images` for `/api/v1/images…`); empty: all.
    pub areas: Vec<String>,
    /// Milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// When it ends; none: when it is revoked.
    pub expires_ms: Option<i64>,
    /// When it was used last, to a minute.
    pub used_ms: Option<i64>,
    /// From where it was used last.
    pub used_from: Option<String>,
}

/// A token to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What for; one of a name for each account.
    pub name: String,
    /// Whose; none: of the account that asks. Others than one's own only by an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it may at most; none: what the account may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Parts of the API that it may use; empty: all.
    #[serde(default)]
    pub areas: Vec<String>,
    /// Days after which it ends; none: when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// A new token: shown this once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct CreatedToken {
    /// Goes with every request: `Authorization: Bearer …`. Only its digest is kept.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub token: Secret,
    /// What lists show of it.
    #[serde(flatten)]
    pub facts: ApiToken,
}

/// Whether the appliance waits for its first owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SetupState {
    /// True until there is an account.
    pub needed: bool,
}

/// The first owner, made with the one-time code.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetUp {
    /// From the daemon's log; dashes, blanks and case do not matter.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub code: Secret,
    /// Name of the account.
    pub name: String,
    /// Of the person.
    #[serde(default)]
    pub full_name: String,
    /// At least 10 characters.
    #[cfg_attr(feature = "server", schema(value_type = String, format = Password))]
    pub password: Secret,
}
