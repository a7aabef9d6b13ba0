//! What can go wrong with an upload, by what the uploader can do about it.
//!
//! Owns: the error type and its words. Must not know: HTTP.

use std::io;
use std::path::PathBuf;

use crate::value::ByteSize;

/// Why an upload is not begun, not continued, or not imported.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No such upload.
    #[error("there is no upload {0}: it was cancelled, or nothing arrived for so long that it expired")]
    Absent(String),
    /// Larger than any may be.
    #[error("{} is more than an upload may have, which is {}", ByteSize(*.size), ByteSize(*.most))]
    TooLarge {
        /// Bytes asked for.
        size: u64,
        /// Bytes allowed.
        most: u64,
    },
    /// Too many are unfinished.
    #[error("{0} uploads are unfinished already")]
    TooMany(usize),
    /// The disk would become too full.
    #[error(
        "there is no room for it: {} are still to come, the appliance's disk has {} left, and {} of it must stay free",
        ByteSize(*.need), ByteSize(*.free), ByteSize(*.keep)
    )]
    Room {
        /// Bytes that are to come.
        need: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        keep: u64,
    },
    /// The disk itself said that it is full, at what is written down about an upload.
    #[error("there is no room on the appliance's disk: {what} {}", .path.display())]
    Full {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
    },
    /// Somebody sends to it already.
    #[error("somebody else is sending to this upload now")]
    Locked,
    /// The bytes are not those that come next.
    #[error("byte {sent} was sent, byte {have} is the next")]
    Offset {
        /// Where the request begins.
        sent: u64,
        /// Where the upload stands.
        have: u64,
    },
    /// More than the whole file.
    #[error("{over} bytes more than the file has were sent")]
    TooLong {
        /// Bytes beyond the end.
        over: u64,
    },
    /// The body is not what was announced. Nothing of it was kept.
    #[error("what arrived does not have the checksum that was announced; nothing of this request was kept")]
    Checksum,
    /// The connection broke off.
    #[error("the request broke off at byte {have}")]
    Broken {
        /// Bytes that are safe.
        have: u64,
    },
    /// It cannot be imported now.
    #[error("{0}")]
    State(String),
    /// The operating system refused.
    #[error("{what} {}", .path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

impl UploadError {
    /// Says what was tried with which path.
    pub(super) fn at(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> UploadError + use<> {
        let path = path.to_owned();
        move |source| match is_full(&source) {
            true => UploadError::Full { what, path },
            false => UploadError::Disk { what, path, source },
        }
    }
}

/// Whether the operating system says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
