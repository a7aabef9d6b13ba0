//! Why what lies at a path cannot be opened as an image: which file, what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::source::SourceError;
use crate::value::ByteSize;

/// Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Opening or looking at a file.
    #[error("opening {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A pipe or terminal.
    #[error("an image must be a file or disk that can be read anywhere")]
    NoSeek {
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A folder that is no sparse bundle.
    #[error("this folder is no sparse bundle (Info.plist beside a folder `bands`); give an image file")]
    NoBundle,
    /// A part in the middle, or the first, is not there.
    #[error(
        "{} is missing: {count} parts of {} were found; put it beside them and try again",
        .missing.display(), .first.display()
    )]
    MissingPart {
        /// The part that is not there.
        missing: PathBuf,
        /// The first part.
        first: PathBuf,
        /// How many are there.
        count: usize,
    },
    /// Parts of one file have the same length, but for the last, which is no longer than they.
    #[error(
        "{} has {} ({have} bytes), the parts before it {} ({want} bytes): it was cut off, or is no part of the same file; \
         copy it again",
        .path.display(), ByteSize(*.have), ByteSize(*.want)
    )]
    PartLength {
        /// The part.
        path: PathBuf,
        /// Its length.
        have: u64,
        /// The length of the first.
        want: u64,
    },
    /// All parts that are there are whole, and the image is not.
    #[error(
        "{count} parts from {} to {}, and the image goes on: parts behind the last are missing, or it was cut off",
        .first.display(), .last.display()
    )]
    LastPart {
        /// How many are there.
        count: usize,
        /// The first.
        first: PathBuf,
        /// The last.
        last: PathBuf,
        /// What the image says.
        #[source]
        source: Box<SourceError>,
    },
    /// All parts look like nothing: the first of those that are there may not be the first.
    #[error(
        "{count} parts from {} to {} are no image together: is the part before {} missing?",
        .first.display(), .last.display(), .first.display()
    )]
    FirstPart {
        /// How many are there.
        count: usize,
        /// The first.
        first: PathBuf,
        /// The last.
        last: PathBuf,
        /// What the bytes look like.
        #[source]
        source: Box<SourceError>,
    },
    /// More files than any image has.
    #[error("{} has more than {most} parts or bands", .path.display())]
    TooMany {
        /// The file or folder.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
    /// Its format, its headers, its password.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file for what is unpacked.
    #[error("making or writing a temporary file in {}", .folder.display())]
    Spool {
        /// Where.
        folder: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The disk would become too full.
    #[error(
        "{} has {} left after {} were unpacked there, and {} must stay free: free some room, or unpack the archive \
         elsewhere and give the .sparsebundle folder",
        .folder.display(), ByteSize(*.free), ByteSize(*.unpacked), ByteSize(*.keep)
    )]
    Room {
        /// Where.
        folder: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that were written.
        unpacked: u64,
        /// Bytes that must stay free.
        keep: u64,
    },
    /// Somebody asked to stop.
    #[error("stopped while unpacking")]
    Stopped,
}

impl OpenError {
    pub(super) fn open(path: &Path) -> impl Fn(io::Error) -> OpenError {
        move |source| OpenError::Open { path: path.to_owned(), source }
    }

    /// Whether the image is encrypted and a password would open it.
    pub fn wants_password(&self) -> bool {
        matches!(self, OpenError::Source(SourceError::PasswordNeeded))
    }
}
