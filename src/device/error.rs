//! Why a device cannot be used.
//!
//! Owns: the words. Must not know: how devices are opened.

use std::io;
use std::path::{Path, PathBuf};

/// Why a device cannot be used; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Unmount it first.
    #[error("{} is in use ({}); unmount it or choose another one", .path.display(), evidence(.by))]
    InUse {
        /// The device.
        path: PathBuf,
        /// Who uses it, as far as is known.
        by: Vec<String>,
    },
    /// Write protection.
    #[error("{} is read-only: check its write protection", .0.display())]
    ReadOnly(PathBuf),
    /// A folder, a terminal …
    #[error("{} is neither a file nor a block device", .0.display())]
    Kind(PathBuf),
    /// Not there, no permission …
    #[error("opening {}", .path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The kernel did not take the new partition table.
    #[error("making the kernel read the partition table of {}", .path.display())]
    Partitions {
        /// The device.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

impl DeviceError {
    pub(super) fn open(path: &Path, source: io::Error) -> DeviceError {
        DeviceError::Open { path: path.to_owned(), source }
    }
}

fn evidence(users: &[String]) -> String {
    match users {
        [] => "by a program that the kernel does not name".to_owned(),
        some => some.join(", "),
    }
}
