//! What a runner tells of an action while it works, and what proves it afterwards. Part of [`super::runner`].

use serde::{Deserialize, Serialize};

use crate::value::{Digest, FreeSpace, Serial};

/// How far an action is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Progress {
    /// What it is doing: `writing`, `reading back`.
    pub phase: String,
    /// Bytes done in this phase.
    pub done: u64,
    /// Bytes to do in this phase.
    pub total: u64,
    /// Bytes fetched over the network so far.
    pub network: u64,
    /// Bytes a second from the network, over the last two seconds.
    pub network_rate: u64,
    /// Bytes a second to the disk, over the last two seconds.
    pub disk_rate: u64,
    /// Seconds left in the whole action, when it can be told.
    pub seconds_left: Option<u32>,
    /// Of an image being applied: what is known of the disk that it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// What limits the speed, when it is known: `the network`, `decoding`, `the disk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// How much of an image lay on the disk already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Delta {
    /// Whether the disk was read first, and why.
    pub decision: String,
    /// Bytes that were at their places.
    pub present: u64,
    /// Bytes that were copied from elsewhere on the disk.
    pub copied: u64,
    /// What happens to space that the image says nothing about.
    pub free: FreeSpace,
}

/// A receipt and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct SignedReceipt {
    /// JSON text of [`Receipt`], exactly the bytes that are signed.
    pub receipt: String,
    /// Ed25519 signature (64 bytes, hexadecimal) by [`Hello::receipt_key`](super::runner::Hello::receipt_key).
    pub signature: String,
}

/// Proof of apply: what lies on which disk, and that it was read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Key of the run.
    pub run: i64,
    /// Number of the assignment.
    pub number: u32,
    /// Manifest that was applied.
    pub manifest: Digest,
    /// The Mac.
    pub serial: Option<Serial>,
    /// Partition node.
    pub node: String,
    /// Model and serial text of the disk.
    pub disk: String,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Bytes of chunks fetched (compressed).
    pub fetched: u64,
    /// How much lay on the disk already, and why it was read or not.
    #[serde(default)]
    pub delta: Delta,
    /// The disk held the image, every byte of it: nothing was written.
    #[serde(default)]
    pub equal: bool,
    /// Bytes that the image says nothing about and that keep their old content.
    #[serde(default)]
    pub left: u64,
    /// Chunks read back from the disk and compared with the manifest.
    pub chunks_read_back: u64,
    /// Chunks that had to be written again because the read-back differed.
    pub rewritten: u64,
    /// Milliseconds since 1970 UTC.
    pub at_ms: i64,
}

#[cfg(test)]
impl Receipt {
    /// The second action of run 7 put something on a disk.
    pub(crate) fn of_a_test() -> Receipt {
        Receipt {
            run: 7,
            number: 2,
            manifest: Digest::of(b"m"),
            serial: None,
            node: "/dev/sda2".into(),
            disk: "disk".into(),
            bytes: 1,
            fetched: 1,
            delta: Delta::default(),
            equal: false,
            left: 0,
            chunks_read_back: 1,
            rewritten: 0,
            at_ms: 0,
        }
    }
}
