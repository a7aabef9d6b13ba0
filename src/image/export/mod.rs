//! An image as a file of a common format, written from front to back.
//!
//! | format | zeros | unallocated | checksums in it |
//! |---|---|---|---|
//! | `raw` | holes where the output has them | the same | none |
//! | `raw.zst` with a bmap 2.0 | a few bytes | a few bytes, left out of the bmap | XXH64 a frame; SHA-256 a range |
//! | `udzo`, `ulfo` | runs of type 0 | runs of type 2, "ignore" | CRC-32 of each partition, of the stored bytes, of all |
//! | `partclone` (0002) | stored | left out | CRC-32 of header, bitmap, each strip |
//!
//! Reading order: `shape` (what is where) · `line` (several threads, in order) · `packed` · `bmap` · `received` (`raw.zst` at the other
//! end of a network) · `udif` · `partclone`.
//! Owns: these formats as they are written. Must not know: where the bytes of an image come from, what the output is.

mod bmap;
mod line;
mod packed;
mod partclone;
mod received;
mod shape;
mod udif;

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::str::FromStr;

pub use self::received::{Frame, Odd, Received};
pub use self::shape::{Area, Kind, Shape, Stretch, Unfit};
pub use self::udif::dmg_id;

/// Longest piece that is read, packed and written at a time: a run of hdiutil.
const PIECE: u64 = 1 << 20;

/// A format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes as they are.
    Raw,
    /// The bytes in zstd.
    RawZst,
    /// UDIF with zlib.
    Udzo,
    /// UDIF with LZFSE: macOS 10.11 and later.
    Ulfo,
    /// partclone 0002.
    Partclone,
}

/// The text names no format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the formats are raw, raw.zst, udzo, ulfo and partclone")]
pub struct BadFormat;

impl FromStr for Format {
    type Err = BadFormat;

    fn from_str(text: &str) -> Result<Format, BadFormat> {
        let all = [Format::Raw, Format::RawZst, Format::Udzo, Format::Ulfo, Format::Partclone];
        all.into_iter().find(|format| format.to_string() == text).ok_or(BadFormat)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::RawZst => "raw.zst",
            Format::Udzo => "udzo",
            Format::Ulfo => "ulfo",
            Format::Partclone => "partclone",
        })
    }
}

/// Why no file was made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The image has no such part, or one that the format cannot hold.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A chunk of the image is missing or damaged.
    #[error("reading the image at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The output.
    #[error("writing the export")]
    Write(#[source] io::Error),
    /// No memory to compress, or bytes that the codec refuses.
    #[error("compressing with {codec}")]
    Pack {
        /// How.
        codec: &'static str,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// Somebody asked to stop.
    #[error("the export was stopped")]
    Stopped,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Bytes of the disk or volume.
    pub size: u64,
    /// Bytes that were written, holes not counted.
    pub written: u64,
    /// Bytes of the disk or volume that are unallocated: they read as zeros.
    pub unallocated: u64,
    /// For the whole of `raw.zst`: the bmap that belongs to it.
    pub bmap: Option<String>,
}

/// Takes the bytes of an export.
pub trait Out: Write {
    /// Zeros; an output that can may leave a hole.
    ///
    /// # Errors
    /// What the system says.
    fn zeros(&mut self, length: u64) -> io::Result<()> {
        let block = [0; 64 << 10];
        let mut left = length;
        while left > 0 {
            let step = left.min(block.len() as u64);
            self.write_all(&block[..step as usize])?;
            left -= step;
        }
        Ok(())
    }
}

/// A vector and a socket leave no holes.
impl Out for Vec<u8> {}

/// The bytes of an image, where it can be read anywhere.
pub trait Image: Read + Seek {}

impl<T: Read + Seek + ?Sized> Image for T {}

/// Writes what `shape` says of `image` in `format`. Packs on up to `workers` threads; `image` is read and `out` written on this
/// one. `go_on` is told how many bytes of the image are done, and says whether to go on.
///
/// # Errors
/// See [`ExportError`]; what was written is then no image.
pub fn export(
    shape: &Shape,
    image: &mut dyn Image,
    format: Format,
    workers: usize,
    out: &mut dyn Out,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Exported, ExportError> {
    export_from(0, shape, image, format, workers, out, go_on)
}

/// As [`export`], from byte `from` of the image on: for whoever has the frames before it. What another format than `raw.zst` has
/// there cannot be told from a position in the image, so it must be 0 for those.
///
/// # Errors
/// As there; [`Unfit::From`].
pub fn export_from(
    from: u64,
    shape: &Shape,
    image: &mut dyn Image,
    format: Format,
    workers: usize,
    out: &mut dyn Out,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Exported, ExportError> {
    shape.fits(format)?;
    shape.may_begin(from, format)?;
    let mut feed = Feed { image, base: shape.start, go_on };
    let mut out = Counted { out, written: 0 };
    let mut bmap = None;
    match format {
        Format::Raw => raw(shape, &mut feed, &mut out)?,
        Format::RawZst => bmap = packed::write(from, shape, &mut feed, workers, &mut out)?,
        Format::Udzo => udif::write(shape, &mut feed, udif::Codec::Zlib, workers, &mut out)?,
        Format::Ulfo => udif::write(shape, &mut feed, udif::Codec::Lzfse, workers, &mut out)?,
        Format::Partclone => partclone::write(shape, &mut feed, &mut out)?,
    }
    out.flush().map_err(ExportError::Write)?;
    Ok(Exported { size: shape.size, written: out.written, unallocated: shape.unallocated(), bmap })
}

fn raw(shape: &Shape, feed: &mut Feed<'_>, out: &mut Counted<'_>) -> Result<(), ExportError> {
    let mut bytes = Vec::new();
    for stretch in shape.pieces() {
        feed.reached(stretch.offset)?;
        match stretch.kind {
            Kind::Data => {
                feed.read(stretch, &mut bytes)?;
                out.put(&bytes)?;
            }
            Kind::Zero | Kind::Free => out.out.zeros(stretch.length).map_err(ExportError::Write)?,
        }
    }
    Ok(())
}

/// Where the bytes come from.
struct Feed<'a> {
    image: &'a mut dyn Image,
    /// Where the export begins in the image.
    base: u64,
    go_on: &'a mut dyn FnMut(u64) -> bool,
}

impl Feed<'_> {
    /// Everything before `offset` was read.
    fn reached(&mut self, offset: u64) -> Result<(), ExportError> {
        if (self.go_on)(offset) { Ok(()) } else { Err(ExportError::Stopped) }
    }

    fn read(&mut self, stretch: Stretch, bytes: &mut Vec<u8>) -> Result<(), ExportError> {
        let at = self.base + stretch.offset;
        bytes.resize(stretch.length as usize, 0);
        let read = self.image.seek(SeekFrom::Start(at)).and_then(|_| self.image.read_exact(bytes));
        read.map_err(|source| ExportError::Read { at, source })
    }
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn Out,
    written: u64,
}

impl Counted<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.out.write_all(bytes).map_err(ExportError::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
