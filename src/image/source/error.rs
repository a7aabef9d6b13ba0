//! What can be wrong with an image file: what, where, what to do.

use std::io;

use super::detect::Foreign;
use crate::value::ByteSize;

/// Why a file cannot be read as an image.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file itself cannot be read.
    #[error("reading at byte {at} of the file: check the disk or share that holds it, then try again")]
    Read {
        /// Offset in the file.
        at: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A format that is known by name and not read by this version.
    #[error("this is {}, which this version does not read: {}", .0.name(), .0.advice())]
    Unsupported(Foreign),
    /// An encrypted image, and nobody said its password.
    #[error(
        "this is an encrypted disk image (encrcdsa), which needs its password: `rootstock image inspect`, `decode` and \
         `import` ask for it on a terminal, and take it by --password-file"
    )]
    PasswordNeeded,
    /// The password opens none of the keys.
    #[error(
        "the password is wrong: it opens none of the keys of this encrypted image; check the case of its letters"
    )]
    WrongPassword,
    /// An encrypted image whose keys are not for passwords.
    #[error(
        "this encrypted disk image opens by a certificate only, which this version does not read: on a Mac, \
         `hdiutil convert IN.dmg -format UDZO -o OUT.dmg` writes a plain one"
    )]
    NoPasswordKey,
    /// A compressed file that holds something else than the bytes of a disk.
    #[error("the compressed file holds {}: unpack it first, then {}", .0.name(), .0.advice())]
    Inside(Foreign),
    /// Nothing that is known.
    #[error(
        "no disk image: {size} bytes that begin with {head} have no partition table, no file system, no image \
         header and, in the last 512 bytes, no `koly` trailer; if this was a .dmg it is cut off: copy or download it \
         again"
    )]
    Unknown {
        /// First bytes in hexadecimal and as text.
        head: String,
        /// Length of the file.
        size: u64,
    },
    /// The file ends before something that it must hold.
    #[error(
        "the image is cut off: {what} ends at byte {need}, the file at byte {have}; copy or download it again"
    )]
    Truncated {
        /// What is missing.
        what: String,
        /// Where it ends.
        need: u64,
        /// Where the file ends.
        have: u64,
    },
    /// A compressed file with something unknown in it.
    #[error(
        "the {format} file holds no disk image: what is packed in it begins with {head}; if it is a .dmg, give the \
         .dmg itself"
    )]
    UnknownInside {
        /// The format of the file.
        format: &'static str,
        /// First decoded bytes in hexadecimal and as text.
        head: String,
    },
    /// A header field that cannot be.
    #[error("the image is damaged: {what} at byte {at} is {found}; make or download it again")]
    Malformed {
        /// The field.
        what: &'static str,
        /// Offset in the file.
        at: u64,
        /// Its value.
        found: u64,
    },
    /// The XML resource list of a UDIF image cannot be read.
    #[error(
        "the image is damaged: its resource list (XML, {length} bytes at byte {at}) cannot be read; \
         make or download it again"
    )]
    Resources {
        /// Offset in the file.
        at: u64,
        /// Its length.
        length: u64,
        /// What the parser said.
        #[source]
        source: Box<plist::Error>,
    },
    /// The property list of a sparse bundle cannot be read.
    #[error(
        "the sparse bundle is damaged: its Info.plist does not say its size and that of its bands; copy it again"
    )]
    BundleInfo {
        /// What the parser said.
        #[source]
        source: Box<plist::Error>,
    },
    /// An archive with more than one sparse bundle in it.
    #[error("the tar archive holds several sparse bundles: pack the one that is meant alone")]
    SeveralBundles,
    /// A tar archive that stores files with holes in a way that is not read.
    #[error(
        "the tar archive stores band {band:x} of the sparse bundle with its holes in an old way (GNU.sparse 0): pack the \
         folder again without --sparse"
    )]
    OddHoles {
        /// The band.
        band: u64,
    },
    /// Two block tables describe the same bytes of the image.
    #[error("the image is damaged: two runs describe byte {offset} of the image; make or download it again")]
    Overlap {
        /// Offset in the decoded image.
        offset: u64,
    },
    /// A structure is larger than any real image has it, and is not allocated.
    #[error(
        "the image claims {what} of {claimed}, more than the {most} that this version reads; \
         make it again with hdiutil convert"
    )]
    TooLarge {
        /// The structure.
        what: &'static str,
        /// What the file claims.
        claimed: u64,
        /// The limit.
        most: u64,
    },
    /// One run of a UDIF image cannot be unpacked.
    #[error(
        "the image is damaged: the {codec} run of {stored} bytes at byte {at} of the file, for byte {offset} of the \
         image: {reason}; copy or download it again"
    )]
    BadRun {
        /// How it is packed.
        codec: &'static str,
        /// Offset in the file.
        at: u64,
        /// Length in the file.
        stored: u64,
        /// Offset in the decoded image.
        offset: u64,
        /// What the codec said.
        reason: String,
    },
    /// A checksum that the image carries does not match its bytes.
    #[error(
        "the image is damaged: the CRC-32 of {what} is {got:08x}, the image says {want:08x}; copy or download it again"
    )]
    Checksum {
        /// What was summed up.
        what: String,
        /// What the image says.
        want: u32,
        /// What its bytes give.
        got: u32,
    },
    /// The same for checksums of 64 and 128 bits.
    #[error(
        "the image is damaged: the XXH of {what} is {got:x}, the image says {want:x}; copy or download it again"
    )]
    LongChecksum {
        /// What was summed up.
        what: String,
        /// What the image says.
        want: u128,
        /// What its bytes give.
        got: u128,
    },
    /// A compressed stream is damaged or cut off.
    #[error(
        "the {format} stream is damaged or cut off near byte {at} of the file; copy or download it again"
    )]
    BadStream {
        /// Its format.
        format: &'static str,
        /// Offset in the file, as far as it was read.
        at: u64,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// Bytes after the end of a compressed stream.
    #[error(
        "after the end of its {format} stream, at byte {at}, the file goes on with something else; \
         copy or download it again"
    )]
    TrailingBytes {
        /// Its format.
        format: &'static str,
        /// Where the stream ends.
        at: u64,
    },
    /// Random access was asked of a format that is only read from front to back.
    #[error(
        "a {format} file is read from front to back only; decode it to a raw file first (rootstock image decode)"
    )]
    FrontToBack {
        /// Its format.
        format: &'static str,
    },
    /// A raw image is shorter than what it says of itself.
    #[error(
        "the image is cut off: its {what} needs {} ({need} bytes), the file has {} ({have} bytes); copy or \
         download it again",
        ByteSize(*.need), ByteSize(*.have)
    )]
    Shortened {
        /// What describes the missing bytes.
        what: String,
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        have: u64,
    },
}

impl SourceError {
    pub(super) fn read(at: u64) -> impl Fn(io::Error) -> SourceError {
        move |source| SourceError::Read { at, source }
    }

    /// Whether the image could be read, only its sums are wrong.
    pub fn is_checksum(&self) -> bool {
        matches!(self, SourceError::Checksum { .. } | SourceError::LongChecksum { .. })
    }
}

/// Why a decode ended early.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError<E> {
    /// The image.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Whoever took the pieces.
    #[error("{0}")]
    Sink(E),
}
