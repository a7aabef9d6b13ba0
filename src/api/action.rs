//! What a runner is told to do, all variables resolved.
//!
//! Must not know: how an action is done, what comes of it.

use serde::{Deserialize, Serialize};

use crate::sequence::capture::{CaptureSource, ShareFolder};
use crate::sequence::model::VolumeFormat;
use crate::sequence::run::act::MacosAct;
use crate::value::{Digest, FreeSpace, Secret};

/// What a runner can do. One effect each, safe to repeat unless the variant says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Action {
    /// Write a new GPT and format its partitions. Repeatable: erases again.
    FormatDisk {
        /// Disk number, see [`DiskFacts::number`].
        disk: u32,
        /// Partitions in order, after an EFI System Partition of 200 MiB.
        partitions: Vec<PartitionRequest>,
    },
    /// Write an image to a partition, verified. Repeatable: what already lies there is not fetched again.
    ApplyImage {
        /// Digest of the signed manifest.
        manifest: Digest,
        /// Name and version for people, `lab-mac 3`.
        image: String,
        /// Which partition of the image; none: the image's main volume (see `image::manifest`).
        source_partition: Option<u32>,
        /// Where to.
        destination: Destination,
        /// What a person saw there when they chose it: another one is not written to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chosen: Option<ChosenPartition>,
        /// What happens to space that the image says nothing about.
        #[serde(default)]
        free: FreeSpace,
    },
    /// Take an image from this Mac into the library. Repeatable: what the library holds is not sent again, and a capture
    /// that was finished is not made twice. How it is sent: [`crate::api::capture`].
    CaptureImage {
        /// Name of the image; gets a new version.
        image: String,
        /// A note for the version; may be empty.
        note: String,
        /// What is taken.
        source: CaptureSource,
    },
    /// Take an image from this Mac as a disk image on an SMB share, read back and verified. Repeatable: what is on the share
    /// already is compared and not written again, and a file that was finished is not made twice.
    CaptureToShare {
        /// Name of the image: of the file without its ending.
        image: String,
        /// What is taken.
        source: CaptureSource,
        /// Where to.
        share: Box<ShareFolder>,
    },
    /// Run a script. Not repeated after a reset: the run fails with that reason.
    ExecuteScript {
        /// The text; its first line is the shebang.
        script: String,
        /// Environment: the run's variables.
        environment: Vec<(String, String)>,
        /// Exit codes that mean success.
        success_codes: Vec<i32>,
        /// Values that must not appear in logs.
        secrets: Vec<Secret>,
        /// Names of secret variables: what the script gives them must not appear in logs either.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secret_names: Vec<String>,
    },
    /// Restart the machine. Reported as done before the machine goes down.
    Restart,
    /// Read images back from the disk and compare them with their manifests. Repeatable: nothing is written.
    VerifyImage {
        /// What lies where.
        images: Vec<VerifyRequest>,
    },
    /// Copy a file or folder of the appliance to a volume. Repeatable: what is there already is replaced. What there is to
    /// copy: [`FileList`].
    CopyFiles {
        /// Path below the appliance's folder of files.
        from: String,
        /// Folder on the volume, from `/` on; made where it is absent.
        to: String,
        /// The volume.
        destination: Destination,
    },
    /// Have the firmware start a volume from now on. Repeatable.
    SetStartupDisk {
        /// The volume.
        destination: Destination,
        /// A firmware that does not take it is a failure; else a warning.
        required: bool,
    },
    /// What only the installed macOS can do; handed out to its agent alone.
    OnMacos {
        /// What.
        act: MacosAct,
    },
    /// An action that this runner is too old for: reported as failed.
    #[serde(other)]
    Unknown,
}

/// How a chosen partition is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenPartition {
    /// Serial number of its disk; may be empty.
    pub serial: String,
    /// Its bytes.
    pub size: u64,
}

/// An image that should lie on a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// Digest of the signed manifest.
    pub manifest: Digest,
    /// Name and version for people.
    pub image: String,
    /// Which partition of the image; none: its main volume.
    pub source_partition: Option<u32>,
    /// Where.
    pub destination: Destination,
}

/// Answer to `GET /runner/v1/runs/{run}/files/{action}`: what a [`Action::CopyFiles`] copies, folders before what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// In order; the content of number N is `GET /runner/v1/runs/{run}/files/{action}/{N}`, with `Range`.
    pub entries: Vec<FileEntry>,
    /// Links and special files, which are not copied.
    pub left_out: Vec<String>,
}

/// One file or folder to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the folder that receives it.
    pub path: String,
    /// Bytes; none for a folder.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: u32,
    /// When it was changed, seconds since 1970 UTC.
    pub modified: u32,
}

/// One partition to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRequest {
    /// GPT name and volume label.
    pub name: String,
    /// File system.
    pub format: VolumeFormat,
    /// How much room.
    pub size: PartitionSize,
}

/// Room for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionSize {
    /// 1 to 100 percent of the free space that is left after the partitions before it.
    Percent(u8),
    /// Bytes, rounded down to whole MiB.
    Bytes(u64),
}

/// Where an image goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// The next partition that this run formatted and has not applied to yet, resolved by the server to a node.
    Node(String),
    /// Disk number and partition number as in the GPT (1 is the EFI System Partition).
    Partition {
        /// Disk number.
        disk: u32,
        /// Partition number.
        partition: u32,
    },
}
