//! The try of an SMB share: what is tried, and what came of it.

use serde::{Deserialize, Serialize};

use crate::value::Secret;

/// Try whether a Capture Image step could write there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifyShare {
    /// `\\server\share\folder`, `//server/share/folder` or `smb://server[:port]/share/folder`.
    pub share: String,
    /// `DOMAIN\user`, `user@domain` or `user`.
    pub account: String,
    /// Its password; may be empty.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub password: Secret,
}

/// What a share said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ShareFinding {
    /// A file was written, renamed and deleted.
    Good,
    /// No address for the server's name.
    HostNotFound,
    /// Nothing answers at the server's port.
    NoAnswer,
    /// What answers is no SMB 2 or 3.
    NoSmb,
    /// Name or password is wrong.
    WrongAccount,
    /// The account is disabled, locked, or its password has expired.
    AccountBarred,
    /// The server has no such share.
    NoShare,
    /// The account may not use the share, or not open the folder.
    NoAccess,
    /// There is no such folder in the share.
    NoFolder,
    /// The account may not write, rename and delete there.
    NotWritable,
    /// Something else; the evidence says what.
    #[serde(other)]
    Unknown,
}

/// Green or red, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ShareVerdict {
    /// Green.
    pub good: bool,
    /// In one word.
    pub finding: ShareFinding,
    /// In one sentence that names the thing.
    pub message: String,
    /// What to do; empty when it is green.
    pub next_step: String,
    /// What the server or the network said; may be empty.
    pub evidence: String,
    /// Bytes that are free there, where it is green and the server tells.
    pub free_bytes: Option<u64>,
}
