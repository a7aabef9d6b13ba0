//! Raw images inside gzip, xz, zstd or bzip2: decoded from front to back on one thread, delivered on the caller's.
//!
//! Several members (streams, frames) in one file follow each other, as the formats have it. Zero bytes may pad gzip
//! and xz files (RFC 1952 leaves it open, tapes did it; xz file format section 2.2). Anything else after the end is
//! refused: a file that was pasted together or cut is no image to put on a disk.

use std::io::{self, BufRead, BufReader, Read, SeekFrom};
use std::sync::mpsc;
use std::thread;

use super::codec::MOST_XZ_MEMORY;
use super::detect::{self, Detected, Foreign, HEAD, TAIL};
use super::error::{DecodeError, SourceError};
use super::partclone::Unpacker;
use super::{Checksums, Decoded, Input, Piece, shown};

const BLOCK: usize = 1 << 20;

/// Blocks decoded ahead of the caller.
const AHEAD: usize = 4;

/// Windows up to 128 MiB, as `zstd -d` has it.
const MOST_ZSTD_WINDOW_LOG: u32 = 27;

/// A format of compressed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Xz,
    Zstd,
    Bzip2,
}

impl Compression {
    pub fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
        }
    }

    fn magic(self) -> &'static [u8] {
        match self {
            Compression::Gzip => b"\x1f\x8b",
            Compression::Xz => b"\xfd7zXZ\0",
            Compression::Zstd => b"\x28\xb5\x2f\xfd",
            Compression::Bzip2 => b"BZh",
        }
    }

    /// Whether a member begins here. The buffer may end inside its magic: then the decoder of the member reads on,
    /// and says so if it is none.
    fn starts(self, bytes: &[u8]) -> bool {
        let shared = bytes.len().min(self.magic().len());
        let skippable = self == Compression::Zstd && bytes[0] & 0xf0 == 0x50;
        bytes[..shared] == self.magic()[..shared] || skippable
    }

    /// Whether a file that begins with `head` carries sums of its content: always in gzip and bzip2, by a field of the
    /// stream flags in xz (section 2.1.1.2) and of the frame header in zstd (RFC 8878 section 3.1.1.1.1).
    pub fn has_sums(self, head: &[u8]) -> bool {
        match self {
            Compression::Gzip | Compression::Bzip2 => true,
            Compression::Xz => head.get(7).is_some_and(|flags| flags & 0x0f != 0),
            Compression::Zstd => {
                head.starts_with(self.magic()) && head.get(4).is_some_and(|flags| flags & 4 != 0)
            }
        }
    }

    fn padded(self) -> bool {
        matches!(self, Compression::Gzip | Compression::Xz)
    }

    fn member<'a>(self, input: &'a mut BufReader<Counted<'_>>) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(MOST_XZ_MEMORY, 0)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(MOST_ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
        })
    }
}

/// What is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The bytes of a disk or volume.
    Raw,
    /// A partclone image.
    Partclone,
}

/// Looks at the first bytes of what is packed.
pub(super) fn content(input: &mut dyn Input, compression: Compression) -> Result<Content, SourceError> {
    let mut content = None;
    let looked = blocks(input, compression, &mut |block| {
        content = Some(content_of(block, compression)?);
        Err(DecodeError::Sink(()))
    });
    match (content, looked) {
        (Some(content), _) => Ok(content),
        (None, Err(DecodeError::Source(error))) => Err(error),
        (None, _) => Err(SourceError::UnknownInside { format: compression.name(), head: String::new() }),
    }
}

/// Decodes the whole file. `sums`: whether the compressed format carries sums of its content.
pub(super) fn run<E>(
    input: &mut dyn Input,
    compression: Compression,
    content: Content,
    sums: bool,
    sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Decoded, DecodeError<E>> {
    if content == Content::Partclone {
        let mut unpacker = Unpacker::new();
        blocks(input, compression, &mut |block| unpacker.take(block, sink))?;
        return unpacker.finish(sink);
    }
    let (mut size, mut trailer) = (0, false);
    blocks(input, compression, &mut |block| {
        sink(Piece::Data { offset: size, bytes: block }).map_err(DecodeError::Sink)?;
        size += block.len() as u64;
        trailer = block.len() >= TAIL && block[block.len() - TAIL..].starts_with(b"koly");
        Ok(())
    })?;
    if trailer {
        return Err(SourceError::Inside(Foreign::Udif).into());
    }
    // The decoders compare the sums at the end of each member.
    Ok(Decoded { size, checksums: Checksums { present: sums, ok: true } })
}

/// Unpacks a compressed file, whatever is in it. `take` gets it block after block; its size is for `take` to bound.
///
/// # Errors
/// The file is not compressed, damaged or cut off, or `take` had enough.
pub fn unpack<E>(
    input: &mut dyn Input,
    take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), DecodeError<E>> {
    let (size, detected, head) = super::recognise(input)?;
    let Detected::Stream(compression) = detected else {
        return Err(SourceError::Unknown { head: shown(&head), size }.into());
    };
    blocks(input, compression, &mut |block| take(block).map_err(DecodeError::Sink))
}

/// Who takes what was unpacked.
type Taker<'a, E> = dyn FnMut(&[u8]) -> Result<(), DecodeError<E>> + 'a;

/// Unpacks on a thread of its own; `take` gets block after block on this one.
fn blocks<E>(
    input: &mut dyn Input,
    compression: Compression,
    take: &mut Taker<'_, E>,
) -> Result<(), DecodeError<E>> {
    input.seek(SeekFrom::Start(0)).map_err(SourceError::read(0))?;
    thread::scope(|scope| {
        let (full, filled) = mpsc::sync_channel::<Result<Vec<u8>, SourceError>>(AHEAD);
        let (spare, emptied) = mpsc::channel::<Vec<u8>>();
        scope.spawn(move || {
            let input = BufReader::with_capacity(256 << 10, Counted { input, count: 0, failed: false });
            let mut expand = Expand { compression, input, block: vec![0; BLOCK], filled: 0 };
            let mut pass_on = |block| full.send(Ok(block)).is_ok();
            let result = expand.members(&mut pass_on, &mut || emptied.try_recv().unwrap_or_default());
            if let Err(error) = result {
                // A caller that has hung up does not want to know.
                drop(full.send(Err(error)));
            }
        });
        for block in filled {
            let block = block?;
            take(&block)?;
            drop(spare.send(block));
        }
        Ok(())
    })
}

/// Only the bytes of a disk or volume are an image: looks at the first block of what was packed.
fn content_of(block: &[u8], compression: Compression) -> Result<Content, SourceError> {
    match detect::detect(&block[..block.len().min(HEAD)], &[]) {
        Detected::Raw | Detected::Udif => Ok(Content::Raw),
        Detected::Partclone => Ok(Content::Partclone),
        Detected::Stream(_) => Err(SourceError::Inside(Foreign::Compressed)),
        Detected::Sparse => Err(SourceError::Inside(Foreign::SparseImage)),
        Detected::Encrypted => Err(SourceError::Inside(Foreign::EncryptedDmg)),
        Detected::Foreign(foreign) => Err(SourceError::Inside(foreign)),
        Detected::Unknown => {
            Err(SourceError::UnknownInside { format: compression.name(), head: shown(block) })
        }
    }
}

struct Expand<'a> {
    compression: Compression,
    input: BufReader<Counted<'a>>,
    block: Vec<u8>,
    filled: usize,
}

impl Expand<'_> {
    /// Decodes member after member into blocks. `pass_on` says whether anybody still wants them.
    fn members(
        &mut self,
        pass_on: &mut dyn FnMut(Vec<u8>) -> bool,
        spare: &mut dyn FnMut() -> Vec<u8>,
    ) -> Result<(), SourceError> {
        loop {
            let wanted = match self.member(pass_on, spare) {
                Ok(wanted) => wanted,
                Err(source) => return Err(self.bad(source)),
            };
            if !wanted {
                return Ok(());
            }
            if !self.another()? {
                self.block.truncate(self.filled);
                let last = std::mem::take(&mut self.block);
                if !last.is_empty() {
                    pass_on(last);
                }
                return Ok(());
            }
        }
    }

    fn member(
        &mut self,
        pass_on: &mut dyn FnMut(Vec<u8>) -> bool,
        spare: &mut dyn FnMut() -> Vec<u8>,
    ) -> io::Result<bool> {
        let mut member = self.compression.member(&mut self.input)?;
        loop {
            let got = match member.read(&mut self.block[self.filled..]) {
                Ok(0) => return Ok(true),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.filled += got;
            if self.filled == BLOCK {
                let mut fresh = spare();
                fresh.resize(BLOCK, 0);
                self.filled = 0;
                if !pass_on(std::mem::replace(&mut self.block, fresh)) {
                    return Ok(false);
                }
            }
        }
    }

    /// Whether another member follows; skips padding, refuses anything else.
    fn another(&mut self) -> Result<bool, SourceError> {
        let ended = self.position();
        loop {
            let at = self.position();
            let bytes = self.input.fill_buf().map_err(SourceError::read(at))?;
            if bytes.is_empty() {
                return Ok(false);
            }
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            if zeros == 0 {
                let starts = self.compression.starts(bytes);
                return if starts { Ok(true) } else { Err(self.trailing(ended)) };
            }
            if !self.compression.padded() {
                return Err(self.trailing(ended));
            }
            self.input.consume(zeros);
        }
    }

    fn trailing(&self, at: u64) -> SourceError {
        SourceError::TrailingBytes { format: self.compression.name(), at }
    }

    /// Bytes of the file that the decoder has used.
    fn position(&self) -> u64 {
        self.input.get_ref().count - self.input.buffer().len() as u64
    }

    fn bad(&self, source: io::Error) -> SourceError {
        let at = self.position();
        if self.input.get_ref().failed {
            return SourceError::Read { at, source };
        }
        SourceError::BadStream { format: self.compression.name(), at, source }
    }
}

/// Counts what was read and remembers whether reading failed, to tell a bad disk from a bad file.
struct Counted<'a> {
    input: &'a mut dyn Input,
    count: u64,
    failed: bool,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.input.read(buffer);
        match &result {
            Ok(got) => self.count += *got as u64,
            Err(error) => self.failed |= error.kind() != io::ErrorKind::Interrupted,
        }
        result
    }
}
