//! The check of the library: what is damaged, which images that hits, what was done about it.

use serde::{Deserialize, Serialize};

/// Read everything in the library and name every damage.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CheckLibrary {
    /// Also take damage out of the way, save what is good, and fetch what is lost from the upstream appliance, if there is one.
    #[serde(default)]
    pub repair: bool,
}

/// What the last check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct CheckReport {
    /// Number of the job.
    pub job: i64,
    /// When it ended, milliseconds since 1970 UTC.
    pub ended_ms: i64,
    /// Whether damage was taken out of the way.
    pub repair: bool,
    /// Packs read.
    pub packs: u64,
    /// Chunks read and compared.
    pub chunks: u64,
    /// Bytes of packs read.
    pub bytes: u64,
    /// Manifests read.
    pub manifests: u64,
    /// Everything that was wrong.
    pub findings: Vec<CheckFinding>,
    /// What was done about it, one line each.
    pub done: Vec<String>,
    /// Versions that are damaged now: no run starts with them.
    pub damaged: Vec<DamagedVersion>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct CheckFinding {
    /// Short name of the kind, which never changes: `chunks-damaged`, `pack-unreadable`, `pack-missing`, `pack-changed`,
    /// `manifest-damaged`, `manifest-foreign`, `manifest-missing`, `manifest-unused`, `image-incomplete`, `stray-file`,
    /// `wrong-permissions`.
    pub code: String,
    /// What is wrong, in one line.
    pub message: String,
    /// Versions that it hits, `lab-mac 3`.
    pub versions: Vec<String>,
}

/// A version that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DamagedVersion {
    /// Name of the image.
    pub image: String,
    /// Number of the version.
    pub version: u32,
    /// What is wrong, in one line.
    pub damage: String,
}
