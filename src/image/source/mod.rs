//! What an image file is, and the bytes of the disk or volume in it.
//!
//! | format | recognised by | read |
//! |---|---|---|
//! | UDIF (`.dmg`) | `koly` in the last 512 bytes | in every codec, in parallel, checksums verified |
//! | encrypted (`encrcdsa` v2) | its magic | what is inside, by its password |
//! | sparse image (`.sparseimage`) | `sprs` | as it is; bands that were never written are free |
//! | sparse bundle (`.sparsebundle`) | its `Info.plist`; a tar archive of it by `ustar` | as it is, encrypted ones by their password |
//! | partclone 0001 and 0002 | `partclone-image` | used blocks; checksums verified |
//! | raw | partition table or file system at the front | as it is |
//! | raw or partclone in gzip, xz, zstd, bzip2 | their magic | front to back |
//! | others | [`Foreign`] | refused by name, with advice |
//!
//! Reading order: `detect` · `error` · `adc` · `bits` `block` `transform` `bunzip` · `codec` · `extent` · `encrypted` · `sparse` · `tar` ·
//! `bundle` · `partclone` · `udif` · `pipeline` · `stream` · `reader`.
//! Owns: the bounds on everything a file may claim. Must not know: partitions' meaning, chunks, who takes the bytes.
//! Takes any `Read + Seek`; opens no file.

mod adc;
mod bits;
mod block;
mod bundle;
mod bunzip;
pub(in crate::image) mod codec;
mod detect;
mod encrypted;
mod error;
mod extent;
mod partclone;
mod pipeline;
mod reader;
mod sparse;
mod stream;
mod tar;
mod transform;
mod udif;

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

pub use self::bundle::{BandPart, Bundle, MOST_FILE as MOST_BUNDLE_FILE, band_number};
pub use self::bunzip::{Bunzip, BunzipError};
pub use self::detect::Foreign;
pub use self::error::{DecodeError, SourceError};
pub use self::reader::Reader;
pub use self::stream::unpack;

use self::codec::Codec;
use self::detect::{Detected, HEAD, TAIL};
use self::encrypted::Decrypted;
use self::extent::{ExtentMap, Filling};
use self::pipeline::Sums;
use self::stream::{Compression, Content};
use self::udif::{Check, Udif};
use crate::image::partition;
use crate::image::volume;
use crate::value::Secret;

/// What a source reads from: a file, or anything like one.
pub trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send + ?Sized> Input for T {}

/// The format of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Apple's disk image format.
    Udif,
    /// Apple's growing disk image in one file.
    SparseImage,
    /// Apple's growing disk image in a folder of bands.
    SparseBundle,
    /// The same in a tar archive.
    SparseBundleTar,
    /// The bytes of the disk or volume as they are.
    Raw,
    /// Raw, gzip-compressed.
    RawGz,
    /// Raw, xz-compressed.
    RawXz,
    /// Raw, zstd-compressed.
    RawZst,
    /// Raw, bzip2-compressed.
    RawBz2,
    /// partclone's used blocks.
    Partclone,
    /// partclone, gzip-compressed.
    PartcloneGz,
    /// partclone, xz-compressed.
    PartcloneXz,
    /// partclone, zstd-compressed.
    PartcloneZst,
    /// partclone, bzip2-compressed.
    PartcloneBz2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Udif => "udif",
            Format::SparseImage => "sparseimage",
            Format::SparseBundle => "sparsebundle",
            Format::SparseBundleTar => "sparsebundle.tar",
            Format::Raw => "raw",
            Format::RawGz => "raw.gz",
            Format::RawXz => "raw.xz",
            Format::RawZst => "raw.zst",
            Format::RawBz2 => "raw.bz2",
            Format::Partclone => "partclone",
            Format::PartcloneGz => "partclone.gz",
            Format::PartcloneXz => "partclone.xz",
            Format::PartcloneZst => "partclone.zst",
            Format::PartcloneBz2 => "partclone.bz2",
        })
    }
}

/// A stretch of the decoded image. Pieces follow each other from byte 0 to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes, at most 64 MiB and from hdiutil at most 1 MiB; they may well be zero.
    Data {
        /// Offset in the decoded image.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Zeros that are part of the image, of any length.
    Zero {
        /// Offset in the decoded image.
        offset: u64,
        /// Length.
        length: u64,
    },
    /// Free space, of any length: reads as zeros, and need not be written.
    Unallocated {
        /// Offset in the decoded image.
        offset: u64,
        /// Length.
        length: u64,
    },
}

/// Checksums that the file carries for its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Whether there is any.
    pub present: bool,
    /// Whether none is wrong.
    pub ok: bool,
}

/// What a whole decode found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the decoded image.
    pub size: u64,
    /// Checksums, all verified.
    pub checksums: Checksums,
}

/// An opened image file.
pub struct Source {
    input: Box<dyn Input>,
    body: Body,
    encrypted: bool,
}

enum Body {
    /// Bytes that stand in the file as they are.
    Plain(Format, Arc<ExtentMap>),
    Udif(Box<Udif>),
    /// Bytes of the file, bytes of the image.
    Partclone(u64, u64),
    Stream {
        compression: Compression,
        content: Content,
        sums: bool,
    },
}

impl Source {
    /// Recognises the file and reads its headers.
    ///
    /// # Errors
    /// The file is not read by this version, cut off, damaged, encrypted, or no image.
    pub fn open(input: impl Read + Seek + Send + 'static) -> Result<Source, SourceError> {
        Source::open_with(input, None)
    }

    /// The same, with the password of the image if it is an encrypted one.
    ///
    /// # Errors
    /// As for [`Source::open`]; the password is wrong.
    pub fn open_with(
        input: impl Read + Seek + Send + 'static,
        password: Option<&Secret>,
    ) -> Result<Source, SourceError> {
        let mut input: Box<dyn Input> = Box::new(input);
        let (mut size, mut detected, mut head) = recognise(input.as_mut())?;
        let encrypted = detected == Detected::Encrypted;
        if encrypted {
            input = Box::new(Decrypted::open(input, size, password)?);
            (size, detected, head) = recognise(input.as_mut())?;
        }
        let plain = |format, map| Body::Plain(format, Arc::new(map));
        let body = match detected {
            Detected::Udif => Body::Udif(Box::new(Udif::open(input.as_mut(), size)?)),
            Detected::Sparse => plain(Format::SparseImage, sparse::open(input.as_mut(), size)?),
            Detected::Partclone => Body::Partclone(size, partclone::size(input.as_mut(), size)?),
            Detected::Stream(compression) => {
                let content = stream::content(input.as_mut(), compression)?;
                Body::Stream { compression, content, sums: compression.has_sums(&head) }
            }
            Detected::Foreign(Foreign::Tar) if !encrypted => {
                return match tar::find(input.as_mut(), size)? {
                    Some(bundle) => Source::bundle(bundle, input, Format::SparseBundleTar, password),
                    None => Err(SourceError::Unsupported(Foreign::Tar)),
                };
            }
            Detected::Foreign(foreign) => {
                return Err(SourceError::Unsupported(foreign.closer(input.as_mut(), size)?));
            }
            // hdiutil does not encrypt twice, and a chain of any length must not be followed.
            Detected::Encrypted => return Err(SourceError::Unsupported(Foreign::EncryptedDmg)),
            Detected::Unknown => {
                return Err(SourceError::Unknown { head: shown(&head), size });
            }
            Detected::Raw => {
                is_whole(input.as_mut(), size)?;
                plain(Format::Raw, ExtentMap::plain(size))
            }
        };
        Ok(Source { input, body, encrypted })
    }

    /// Opens a sparse bundle whose bands stand in `input`.
    ///
    /// # Errors
    /// A list or band is damaged; the password is missing or wrong.
    pub fn open_bundle(
        bundle: Bundle,
        input: impl Read + Seek + Send + 'static,
        password: Option<&Secret>,
    ) -> Result<Source, SourceError> {
        Source::bundle(bundle, Box::new(input), Format::SparseBundle, password)
    }

    fn bundle(
        bundle: Bundle,
        input: Box<dyn Input>,
        format: Format,
        password: Option<&Secret>,
    ) -> Result<Source, SourceError> {
        let (input, map, encrypted) = bundle::open(bundle, input, password)?;
        Ok(Source { input, body: Body::Plain(format, Arc::new(map)), encrypted })
    }

    /// Whether the file is encrypted as a whole. A FileVault volume in it is not meant.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// What the file is.
    pub fn format(&self) -> Format {
        match self.body {
            Body::Plain(format, _) => format,
            Body::Udif(_) => Format::Udif,
            Body::Partclone(..) => Format::Partclone,
            Body::Stream { compression, content, .. } => match (content, compression) {
                (Content::Raw, Compression::Gzip) => Format::RawGz,
                (Content::Raw, Compression::Xz) => Format::RawXz,
                (Content::Raw, Compression::Zstd) => Format::RawZst,
                (Content::Raw, Compression::Bzip2) => Format::RawBz2,
                (Content::Partclone, Compression::Gzip) => Format::PartcloneGz,
                (Content::Partclone, Compression::Xz) => Format::PartcloneXz,
                (Content::Partclone, Compression::Zstd) => Format::PartcloneZst,
                (Content::Partclone, Compression::Bzip2) => Format::PartcloneBz2,
            },
        }
    }

    /// How its bytes are packed: `adc`, `zlib`, `bzip2`, `lzfse`, `lzma`, `gzip`, `xz`, `zstd`; `raw` when they are
    /// not. A packed UDIF image may hold single runs that are stored as they are; they are not named.
    pub fn codecs(&self) -> Vec<&'static str> {
        match &self.body {
            Body::Plain(..) | Body::Partclone(..) => vec![Codec::Raw.name()],
            Body::Stream { compression, .. } => vec![compression.name()],
            Body::Udif(udif) => match udif.codecs.as_slice() {
                [Codec::Raw, packed @ ..] | packed if !packed.is_empty() => {
                    packed.iter().map(|codec| codec.name()).collect()
                }
                stored => stored.iter().map(|codec| codec.name()).collect(),
            },
        }
    }

    /// Bytes of the decoded image, where the file says it.
    pub fn size(&self) -> Option<u64> {
        match &self.body {
            Body::Plain(_, map) => Some(map.size()),
            Body::Udif(udif) => Some(udif.map.size()),
            Body::Partclone(_, size) => Some(*size),
            Body::Stream { .. } => None,
        }
    }

    /// What is odd about the file and does not stop anybody.
    pub fn warnings(&self) -> &[String] {
        match &self.body {
            Body::Udif(udif) => &udif.warnings,
            Body::Plain(..) | Body::Partclone(..) | Body::Stream { .. } => &[],
        }
    }

    /// Decodes everything on up to `workers` threads and hands it to `sink`, in order, on this thread.
    /// On `Ok`, every checksum that the file carries was verified.
    ///
    /// # Errors
    /// The file is damaged or cannot be read, or `sink` had enough. Pieces that were handed out before an error prove
    /// nothing.
    pub fn decode<E>(
        &mut self,
        workers: usize,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<Decoded, DecodeError<E>> {
        let input = self.input.as_mut();
        match &self.body {
            Body::Plain(_, map) => {
                let sums = Sums { decoded: false, stored: false };
                pipeline::run(input, map.pieces(), sums, 1, &mut |ready| {
                    sink(piece(ready)).map_err(DecodeError::Sink)
                })?;
                Ok(Decoded { size: map.size(), checksums: Checksums { present: false, ok: true } })
            }
            Body::Udif(udif) => {
                let mut check = Check::new(udif);
                let sums = Sums { decoded: true, stored: check.wants_stored() };
                pipeline::run(input, udif.map.pieces(), sums, workers, &mut |ready| {
                    let extent = &ready.extent;
                    match extent.filling {
                        Filling::Stored { at, stored, .. } => {
                            check.decoded(extent.table, ready.decoded, extent.length);
                            check.stored(at, ready.stored, stored);
                        }
                        Filling::Zero => check.zeros(extent.table, extent.length),
                        Filling::Unallocated => {}
                    }
                    sink(piece(ready)).map_err(DecodeError::Sink)
                })?;
                Ok(Decoded { size: udif.map.size(), checksums: check.finish(input)? })
            }
            Body::Partclone(file, _) => partclone::run(input, *file, sink),
            Body::Stream { compression, content, sums } => {
                stream::run(input, *compression, *content, *sums, sink)
            }
        }
    }

    /// Random access to the decoded bytes.
    ///
    /// # Errors
    /// A compressed stream is only read from front to back.
    pub fn into_reader(mut self) -> Result<Reader<'static>, SourceError> {
        let map = self.map()?;
        Ok(Reader::new(self.input, map))
    }

    /// The same, for a while.
    ///
    /// # Errors
    /// As for [`Source::into_reader`].
    pub fn reader(&mut self) -> Result<Reader<'_>, SourceError> {
        let map = self.map()?;
        Ok(Reader::new(Box::new(self.input.as_mut()), map))
    }

    fn map(&mut self) -> Result<Arc<ExtentMap>, SourceError> {
        match &self.body {
            Body::Plain(_, map) => Ok(Arc::clone(map)),
            Body::Udif(udif) => Ok(Arc::clone(&udif.map)),
            Body::Partclone(file, _) => Ok(Arc::new(partclone::map(self.input.as_mut(), *file)?)),
            Body::Stream { compression, .. } => Err(SourceError::FrontToBack { format: compression.name() }),
        }
    }
}

/// What a file looks like from its ends, without more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks(Detected);

impl Looks {
    /// Looks at both ends of a file, or of a part of one.
    ///
    /// # Errors
    /// Reading it.
    pub fn at(input: &mut dyn Input) -> Result<Looks, SourceError> {
        Ok(Looks(recognise(input)?.1))
    }

    /// Like nothing that is known.
    pub fn unknown(self) -> bool {
        self.0 == Detected::Unknown
    }

    /// Like the beginning of a disk or volume.
    pub fn raw(self) -> bool {
        self.0 == Detected::Raw
    }

    /// Like a UDIF image, whose mark stands at its end.
    pub fn udif(self) -> bool {
        self.0 == Detected::Udif
    }
}

fn piece(ready: &pipeline::Ready) -> Piece<'_> {
    let (offset, length) = (ready.extent.start, ready.extent.length);
    match ready.extent.filling {
        Filling::Stored { .. } => Piece::Data { offset, bytes: &ready.bytes },
        Filling::Zero => Piece::Zero { offset, length },
        Filling::Unallocated => Piece::Unallocated { offset, length },
    }
}

/// Length of a file, what it is, and its first bytes.
fn recognise(input: &mut dyn Input) -> Result<(u64, Detected, Vec<u8>), SourceError> {
    let size = input.seek(SeekFrom::End(0)).map_err(SourceError::read(0))?;
    let head = read_exact_at(input, 0, size.min(HEAD as u64) as usize)?;
    let tail = size.min(TAIL as u64);
    let tail = read_exact_at(input, size - tail, tail as usize)?;
    Ok((size, detect::detect(&head, &tail), head))
}

/// A raw image carries no sums; what its partition table and file system say of their own length is all that tells a
/// whole one from one that was cut off.
fn is_whole(input: &mut dyn Input, have: u64) -> Result<(), SourceError> {
    let shortened = |what: String, need: u64| Err(SourceError::Shortened { what, need, have });
    match partition::read(&mut &mut *input, have) {
        Ok(layout) if layout.partitions.is_empty() => {
            let facts = volume::read(&mut &mut *input, 0, have).map_err(SourceError::read(0))?;
            if facts.size > have { shortened(format!("{} volume", facts.kind), facts.size) } else { Ok(()) }
        }
        Ok(_) => Ok(()),
        Err(partition::PartitionError::Beyond { number, end, .. }) => {
            shortened(format!("partition {number}"), end)
        }
        Err(partition::PartitionError::Read { at, source }) => Err(SourceError::Read { at, source }),
        // What is wrong with the table otherwise is for whoever needs the table.
        Err(_) => Ok(()),
    }
}

/// Reads exactly `length` bytes at `at` into `buffer`, whose memory is used again.
fn read_into(input: &mut dyn Input, at: u64, length: usize, buffer: &mut Vec<u8>) -> Result<(), SourceError> {
    buffer.resize(length, 0);
    input.seek(SeekFrom::Start(at)).and_then(|_| input.read_exact(buffer)).map_err(SourceError::read(at))
}

fn read_exact_at(input: &mut dyn Input, at: u64, length: usize) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    read_into(input, at, length, &mut bytes)?;
    Ok(bytes)
}

/// The first bytes in hexadecimal and as text.
fn shown(head: &[u8]) -> String {
    let head = &head[..head.len().min(16)];
    if head.is_empty() {
        return "nothing".to_owned();
    }
    let hex: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = head.iter().map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' });
    format!("`{}` (`{}`)", hex.join(" "), text.collect::<String>())
}
