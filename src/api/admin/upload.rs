//! Files on their way into the library: uploads, and folders of the appliance's own disk.

use serde::{Deserialize, Serialize};

use crate::value::Secret;

/// A file that is being uploaded, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Upload {
    /// Its id: the last part of its address.
    pub id: String,
    /// Name of the image that it becomes a version of.
    pub name: String,
    /// Name of the file.
    pub file: String,
    /// Note of the version.
    pub note: Option<String>,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes that are safely on the appliance's disk.
    pub offset: u64,
    /// What the uploader tells the same file by.
    pub fingerprint: Option<String>,
    /// Who sends it.
    pub uploader: String,
    /// When it was begun, milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// When something of it last arrived.
    pub touched_ms: i64,
    /// When it is removed unless something arrives; none while it is being imported.
    pub expires_ms: Option<i64>,
    /// How it stands.
    pub state: UploadState,
}

/// How an upload stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum UploadState {
    /// Bytes are missing.
    Receiving {
        /// Whether somebody is sending now.
        active: bool,
    },
    /// All is here; it is imported when that is asked for, or when a place among the jobs is free.
    Received,
    /// Being imported.
    Importing {
        /// By which job.
        job: i64,
    },
    /// Not in the library; the file is kept until the upload expires.
    Failed {
        /// What, where, why.
        error: String,
        /// What to do.
        next_step: String,
    },
    /// In the library; the file is gone.
    Done {
        /// Version that it became.
        version: u32,
    },
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Import what was uploaded, again or at last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportUpload {
    /// Under another name.
    #[serde(default)]
    pub name: Option<String>,
    /// Password of an encrypted image. Kept in memory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>, format = "password"))]
    pub password: Option<Secret>,
}

/// What lies in a folder of the appliance's own disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FolderListing {
    /// The folder; none: these are the folders that may be looked into.
    pub path: Option<String>,
    /// By name.
    pub entries: Vec<FolderEntry>,
    /// Whether there are more.
    pub cut_off: bool,
}

/// A file or folder that may be imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FolderEntry {
    /// Absolute path, as an import names it.
    pub path: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Bytes of a file.
    pub size: u64,
    /// When it was last changed, milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// The format that was recognised: `udif`, `raw`, …; none for a folder and for what is no image.
    pub format: Option<String>,
    /// Why it is no image that can be imported.
    pub problem: Option<String>,
}
