//! What can be wrong with a store, each kind by its name.
//!
//! Owns: the kinds, their stable codes, their words. Must not know: how they are found or mended.

use std::fmt;
use std::path::PathBuf;

use crate::value::{ByteSize, Digest};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Frames of a pack do not hold the chunks that its table names.
    ChunksDamaged {
        /// The pack.
        pack: Digest,
        /// How many chunks.
        chunks: u64,
        /// How many the pack has.
        of: u64,
        /// Offset of the first damaged frame.
        first: u64,
    },
    /// All chunks of a pack are good, but its bytes are not those that it is named by.
    PackChanged {
        /// The pack.
        pack: Digest,
        /// What its bytes hash to.
        got: Digest,
    },
    /// The end or the table of a pack cannot be read: none of its chunks is found.
    PackUnreadable {
        /// The pack.
        pack: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// The file of a pack is gone.
    PackMissing {
        /// The pack.
        pack: Digest,
        /// Chunks that it had.
        chunks: u64,
    },
    /// A manifest cannot be read, or is not what it is named by.
    ManifestDamaged {
        /// The manifest.
        manifest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// The signature of a manifest is not one of this appliance.
    ManifestForeign {
        /// The manifest.
        manifest: Digest,
    },
    /// A version names a manifest that is not there.
    ManifestMissing {
        /// The manifest.
        manifest: Digest,
    },
    /// No version names a manifest.
    ManifestUnused {
        /// The manifest.
        manifest: Digest,
    },
    /// Chunks of a manifest are damaged or nowhere.
    Incomplete {
        /// The manifest.
        manifest: Digest,
        /// Chunks that are damaged.
        damaged: u64,
        /// Chunks that are in no pack.
        missing: u64,
        /// Distinct chunks of the manifest.
        of: u64,
    },
    /// Something that does not belong there.
    Stray {
        /// The file or folder.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// A file that the daemon cannot use, or that anybody may change.
    Permissions {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Flaw {
    /// A short name for the kind that never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Flaw::ChunksDamaged { .. } => "chunks-damaged",
            Flaw::PackChanged { .. } => "pack-changed",
            Flaw::PackUnreadable { .. } => "pack-unreadable",
            Flaw::PackMissing { .. } => "pack-missing",
            Flaw::ManifestDamaged { .. } => "manifest-damaged",
            Flaw::ManifestForeign { .. } => "manifest-foreign",
            Flaw::ManifestMissing { .. } => "manifest-missing",
            Flaw::ManifestUnused { .. } => "manifest-unused",
            Flaw::Incomplete { .. } => "image-incomplete",
            Flaw::Stray { .. } => "stray-file",
            Flaw::Permissions { .. } => "wrong-permissions",
        }
    }

    /// The manifest that it is about: its versions are hit.
    pub fn manifest(&self) -> Option<Digest> {
        match self {
            Flaw::ManifestDamaged { manifest, .. }
            | Flaw::ManifestForeign { manifest }
            | Flaw::ManifestMissing { manifest }
            | Flaw::ManifestUnused { manifest }
            | Flaw::Incomplete { manifest, .. } => Some(*manifest),
            _ => None,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::ChunksDamaged { pack, chunks, of, first } => write!(
                f,
                "pack {pack}: {chunks} of its {of} chunks are damaged, the first in the frame at byte {first}"
            ),
            Flaw::PackChanged { pack, got } => {
                write!(f, "pack {pack}: its chunks are good, but its bytes hash to {got}")
            }
            Flaw::PackUnreadable { pack, why } => write!(f, "pack {pack}: {why}"),
            Flaw::PackMissing { pack, chunks } => {
                write!(f, "pack {pack}: its file is gone, and with it {chunks} chunks")
            }
            Flaw::ManifestDamaged { manifest, why } => write!(f, "manifest {manifest}: {why}"),
            Flaw::ManifestForeign { manifest } => {
                write!(f, "manifest {manifest}: it is not signed by this appliance")
            }
            Flaw::ManifestMissing { manifest } => {
                write!(f, "manifest {manifest}: a version names it, and it is not there")
            }
            Flaw::ManifestUnused { manifest } => write!(f, "manifest {manifest}: no version names it"),
            Flaw::Incomplete { manifest, damaged, missing, of } => write!(
                f,
                "manifest {manifest}: of its {of} chunks {damaged} are damaged and {missing} are nowhere"
            ),
            Flaw::Stray { path, bytes } => {
                write!(f, "{} ({}) does not belong there", path.display(), ByteSize(*bytes))
            }
            Flaw::Permissions { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}
