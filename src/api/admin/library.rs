//! Images, the jobs that work on them, and the library that holds them.

use serde::{Deserialize, Serialize};

use super::{ImageFinding, ImageSystem, Retention};
use crate::api::runner::Progress;
use crate::value::{Digest, Ring, Rings, Secret};

/// One image in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImageSummary {
    /// Name.
    pub name: String,
    /// The newest version.
    pub version: u32,
    /// Where its rings point. A sequence that names neither version nor ring gets what production points to, else the newest.
    #[serde(default)]
    pub rings: Rings,
    /// Number of versions kept.
    pub versions: u32,
    /// Bytes of the newest version when it is decoded.
    pub size: u64,
    /// When the newest version was imported, milliseconds since 1970 UTC.
    pub imported_ms: i64,
}

/// An image and its versions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Image {
    /// Name.
    pub name: String,
    /// Where its rings point.
    #[serde(default)]
    pub rings: Rings,
    /// Rules of its own for which versions are kept; none: those of the settings.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// Newest first.
    pub versions: Vec<ImageVersion>,
}

/// One immutable version of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImageVersion {
    /// From 1; never given twice.
    pub version: u32,
    /// Digest of the signed manifest.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub manifest: Digest,
    /// Bytes of the decoded image.
    pub size: u64,
    /// SHA-256 of the whole decoded image, hexadecimal.
    pub sha256: String,
    /// The file it came from.
    pub source: String,
    /// Format of that file: `udif`, `raw`, ….
    pub format: String,
    /// Whether that file carried checksums of its content, all of which were compared; none: imported before this was kept.
    #[serde(default)]
    pub had_checksums: Option<bool>,
    /// When it was imported, milliseconds since 1970 UTC.
    pub imported_ms: i64,
    /// Distinct chunks.
    pub chunks: u64,
    /// Bytes that the import added to the library.
    pub added: u64,
    /// `gpt`, `apm`, `mbr`, or `none` for a bare volume.
    pub partition_scheme: String,
    /// Its partitions; a bare volume is one without a number.
    pub partitions: Vec<ImagePartition>,
    /// The macOS in it, where it can be read.
    #[serde(default)]
    pub system: Option<ImageSystem>,
    /// What there is to know of it before a Mac gets it, the worst first; as of its import.
    #[serde(default)]
    pub findings: Vec<ImageFinding>,
    /// Who put it into the library, as far as that is known; may be empty.
    #[serde(default)]
    pub uploader: String,
    /// What people wrote about it; may be empty.
    #[serde(default)]
    pub note: String,
    /// What it was made from, for the appliance itself: `upload ID`. Empty for a file that was named by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub received: String,
    /// Rings that point to it.
    #[serde(default)]
    pub rings: Vec<Ring>,
    /// What is wrong with its stored chunks, in one line; empty: all is well as far as is known. No run starts with a damaged
    /// version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub damage: String,
    /// What needs this version: the rings test and production, runs, deployed sequences, work of the appliance, one line each.
    /// Empty: it may be deleted.
    pub used_by: Vec<String>,
}

/// One partition of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImagePartition {
    /// Number in the partition table; none for a bare volume.
    pub number: Option<u32>,
    /// Type, as the table spells it.
    pub r#type: String,
    /// Name, may be empty.
    pub name: String,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// The file system, when it was recognised.
    pub volume: Option<ImageVolume>,
    /// Whether this is what Apply Image writes when nothing else is said.
    pub main: bool,
}

/// A file system in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImageVolume {
    /// `apfs`, `hfs+`, `fat32`, ….
    pub kind: String,
    /// Volume label.
    pub label: Option<String>,
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes in use, when it can be told.
    pub used: Option<u64>,
    /// Allocation block in bytes.
    pub block_size: u32,
}

/// Take a file of the appliance's own disk into the library.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportImage {
    /// Name of the image: 1 to 64 of letters, digits, space, `.`, `_`, `-`; begins with a letter or digit. A name that exists gets a new version.
    pub name: String,
    /// Absolute path on the appliance: a file, the first part of one that was split, or the folder of a sparse bundle. Over the
    /// network only below the folders of `library.import-folders`.
    pub path: String,
    /// What people shall read about the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Password of an encrypted image. Used once and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>, format = "password"))]
    pub password: Option<Secret>,
}

/// Read every chunk of a version and compare it with the manifest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifyImage {
    /// Which; none: what production points to, else the newest.
    #[serde(default)]
    pub version: Option<u32>,
}

/// A version is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Deleted {
    /// Bytes of packs that `POST /api/v1/library/collect` would give back now.
    pub reclaimable: u64,
}

/// Work that takes longer than a request. Kept for a while after its end; gone after a restart of the daemon,
/// with everything that was not finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Job {
    /// Number of the job.
    pub id: i64,
    /// What it does.
    pub kind: JobKind,
    /// What it does it to, for people: `lab-mac from /srv/lab.dmg`.
    pub subject: String,
    /// Grows with everything that happens to it.
    pub change: u64,
    /// How it stands.
    pub state: JobState,
    /// How far it is; none before it began.
    pub progress: Option<Progress>,
    /// When it was asked for, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
}

/// Kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// A file becomes a version of an image.
    Import,
    /// A version is read back and compared.
    Verify,
    /// Unneeded chunks are removed.
    Collect,
    /// Everything is read and compared, and mended when asked.
    Check,
    /// Manifests are signed again.
    Sign,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum JobState {
    /// Waits for a job before it.
    Queued,
    /// At work.
    Running,
    /// Ended well.
    Done {
        /// One line: what was done.
        message: String,
        /// The version that an import made or a verification read.
        version: Option<u32>,
    },
    /// Ended without effect.
    Failed {
        /// What, where, why.
        error: String,
        /// What to do; may be empty.
        next_step: String,
    },
    /// A person stopped it.
    Cancelled,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

impl JobState {
    /// Whether nothing more will happen to the job.
    pub fn has_ended(&self) -> bool {
        matches!(self, JobState::Done { .. } | JobState::Failed { .. } | JobState::Cancelled)
    }
}

/// Where the library lies and how full it is. Paths are told on the Unix socket only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Library {
    /// Folder of the store on the appliance, for programs on the same machine.
    pub store: Option<String>,
    /// Ed25519 public key (32 bytes, hexadecimal) that signs manifests.
    pub manifest_key: String,
    /// Every key whose manifests are believed.
    #[serde(default)]
    pub manifest_keys: Vec<String>,
    /// Distinct chunks.
    pub chunks: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    /// Bytes that `POST /api/v1/library/collect` would give back now.
    pub reclaimable: u64,
}
