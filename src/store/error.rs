//! What can go wrong with the store, by what the caller can do about it.
//!
//! Owns: the error types and their words. Must not know: how they are shown.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::chunk::BadFrame;
use crate::image::manifest::Untrusted;
use crate::value::Digest;

/// The store as a whole.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full: nothing was damaged, what was being written is taken back.
    #[error("no room left on the disk of {}: free some, or collect garbage; nothing in the library was changed",
        .path.display())]
    Full {
        /// The file being written.
        path: PathBuf,
    },
    /// Another process writes this store.
    #[error("the library in {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The packs have another format.
    #[error("{} was written by an older version of Rootstock: move the whole library folder away, start again, and import \
        the images again", .0.display())]
    Older(PathBuf),
    /// Opened for reading only.
    #[error("the library in {} was opened for reading only", .0.display())]
    ReadOnly(PathBuf),
    /// Somebody reads what shall go.
    #[error("manifest {0} is being read by a restore or an export")]
    Held(Digest),
    /// There is one collection at a time.
    #[error("{0} is running; try again when it has ended")]
    Busy(&'static str),
    /// A manifest that says what must be kept cannot be read.
    #[error("cannot tell what is garbage")]
    Roots(#[source] ManifestError),
    /// A chunk that must be moved cannot be read.
    #[error("cannot move the chunks of a pack")]
    Move(#[source] GetError),
    /// The manifest names a chunk that is not here.
    #[error("the manifest names a chunk that was never stored")]
    Incomplete(#[source] GetError),
    /// The operating system refused.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Says that chunks for the store in `folder` could not be compressed.
    pub fn packing(folder: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
        StoreError::at("compressing for", folder)
    }

    /// Says what was tried with which path.
    pub(super) fn at(what: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::Full { path: path.clone() }
            }
            _ => StoreError::Io { what, path: path.clone(), source },
        }
    }
}

/// One chunk.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// Import the image again.
    #[error("chunk {0} is not in the library: import its image again")]
    Missing(Digest),
    /// The disk changed it.
    #[error("pack {pack} is damaged on disk: check the disk, then import the image again")]
    Damaged {
        /// The pack.
        pack: Digest,
        /// What is wrong with the chunk.
        #[source]
        source: BadFrame,
    },
    /// Give up.
    #[error("reading chunk {digest}")]
    Read {
        /// The chunk.
        digest: Digest,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// One manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No such manifest.
    #[error("manifest {0} is not in the library")]
    Missing(Digest),
    /// The disk changed it.
    #[error("manifest {digest} is damaged on disk: it hashes to {got}")]
    Changed {
        /// Its name.
        digest: Digest,
        /// What its bytes hash to.
        got: Digest,
    },
    /// Not even a manifest.
    #[error("manifest {digest} is damaged on disk")]
    Damaged {
        /// Its name.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: Untrusted,
    },
    /// Give up.
    #[error("reading manifest {digest}")]
    Read {
        /// Its name.
        digest: Digest,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}
