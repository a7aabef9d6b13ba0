//! partclone images, versions 0001 and 0002: the used blocks of a file system, one behind the other.
//!
//! | at | version 0002, little-endian | | at | version 0001 |
//! |---|---|---|---|---|
//! | 0 | `partclone-image`, 0 | | 0 | `partclone-image` |
//! | 16 | version of the program | | 15 | file system |
//! | 30 | `0002` | | 30 | `0001` |
//! | 34 | bytes DE C0 | | 36 | block size u32 |
//! | 36 | file system | | 40 | bytes of the device u64 |
//! | 52 | bytes of the device u64 | | 48 | blocks u64 |
//! | 60, 76 | blocks, used blocks by the bitmap u64 | | 56 | used blocks u64 |
//! | 84, 88 | block size u32, length of what follows u32 = 18 | | 64 | 4096 bytes without meaning |
//! | 96, 98 | checksum mode, size u16 | | 4160 | one byte a block |
//! | 100 | blocks a checksum u32 | | | `BiTmAgIc` |
//! | 104, 105 | whether each begins anew u8, bitmap mode u8 | | | blocks, each with a checksum |
//! | 106 | CRC-32 of all before | | | |
//! | 110 | bitmap, its CRC-32, blocks and checksums | | | |
//!
//! A CRC-32 stands there without its final complement. That of version 0001 sees only the first byte of each block, as
//! often as the block has bytes, and goes on from block to block; 64-bit programs wrote four more bytes after it.
//! (Facts: the project's IMAGE_FORMATS.md, where it is silent the images that its programs write.)
//!
//! Owns: header, bitmap and its bounds, checksums. Takes the bytes in the order of the file, so that a compressed one is
//! read as it is unpacked.

mod bitmap;
mod header;

use super::error::{DecodeError, SourceError};
use super::extent::{Extent, ExtentMap, Filling, NO_TABLE};
use super::{Checksums, Codec, Decoded, Input, Piece, read_exact_at};
use bitmap::{Bitmap, Run};
use header::{Header, Sum};

/// Most stretches of used blocks that the map for random access describes: 1 GiB of memory is not spent on a map.
const MOST_EXTENTS: usize = 16 << 20;

/// Bytes that are taken at a time from a file that is not compressed.
const BLOCK: usize = 1 << 20;

/// What a partclone image says, told its bytes in order.
pub(super) struct Unpacker {
    /// Bytes of the file that were taken.
    taken: u64,
    stage: Stage,
}

enum Stage {
    /// Collects the header.
    Header(Vec<u8>),
    /// Collects the bitmap.
    Bitmap(Header, Bitmap),
    /// Collects as much of version 0001 as shows how long its checksums are.
    Probe(Blocks, Vec<u8>),
    /// Passes blocks on.
    Blocks(Blocks),
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Header(Vec::new())
    }
}

impl Unpacker {
    pub fn new() -> Unpacker {
        Unpacker { taken: 0, stage: Stage::default() }
    }

    /// Takes the next bytes of the file; `sink` gets what they hold of the image.
    pub fn take<E>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        while !bytes.is_empty() {
            let before = bytes.len();
            self.stage = match std::mem::take(&mut self.stage) {
                Stage::Header(mut head) => {
                    let length = Header::length(&head);
                    collect(&mut head, &mut bytes, length);
                    if head.len() == Header::length(&head) {
                        let header = Header::read(&head)?;
                        let bitmap = Bitmap::of(&header);
                        let is_there = bitmap.wanted() > 0;
                        if is_there {
                            Stage::Bitmap(header, bitmap)
                        } else {
                            Blocks::new(header, bitmap).first_stage()
                        }
                    } else {
                        Stage::Header(head)
                    }
                }
                Stage::Bitmap(header, mut bitmap) => {
                    if bitmap.take(&mut bytes)? {
                        Blocks::new(header, bitmap).first_stage()
                    } else {
                        Stage::Bitmap(header, bitmap)
                    }
                }
                Stage::Probe(mut blocks, mut seen) => {
                    collect(&mut seen, &mut bytes, blocks.header.probe());
                    if seen.len() == blocks.header.probe() {
                        blocks.gap = blocks.header.gap(&seen)?;
                        let at = self.taken + (before - bytes.len()) as u64 - seen.len() as u64;
                        blocks.take(&seen, at, sink)?;
                        Stage::Blocks(blocks)
                    } else {
                        Stage::Probe(blocks, seen)
                    }
                }
                Stage::Blocks(mut blocks) => {
                    blocks.take(std::mem::take(&mut bytes), self.taken, sink)?;
                    Stage::Blocks(blocks)
                }
            };
            self.taken += (before - bytes.len()) as u64;
        }
        Ok(())
    }

    /// Bytes that may be taken without reaching into the blocks.
    fn wanted(&self) -> usize {
        match &self.stage {
            Stage::Header(head) => Header::length(head) - head.len(),
            Stage::Bitmap(_, bitmap) => bitmap.wanted(),
            Stage::Probe(..) | Stage::Blocks(_) => 0,
        }
    }

    /// The file is at its end.
    pub fn finish<E>(
        self,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<Decoded, DecodeError<E>> {
        let cut = |what: &str| SourceError::Truncated {
            what: format!("{what} of the partclone image"),
            need: self.taken + 1,
            have: self.taken,
        };
        match self.stage {
            Stage::Header(_) => Err(cut("the header").into()),
            Stage::Bitmap(..) => Err(cut("the bitmap").into()),
            // Two blocks without gaps are shorter than what shows a gap.
            Stage::Probe(mut blocks, seen) if seen.len() + header::GAP == blocks.header.probe() => {
                blocks.gap = blocks.header.gap(&seen)?;
                blocks.take(&seen, self.taken - seen.len() as u64, sink)?;
                if blocks.wants_more() { Err(cut("a used block").into()) } else { blocks.finish(sink) }
            }
            Stage::Probe(..) => Err(cut("a used block").into()),
            Stage::Blocks(blocks) if blocks.wants_more() => Err(cut("a used block").into()),
            Stage::Blocks(blocks) => blocks.finish(sink),
        }
    }
}

/// Moves bytes over until `into` has `length`.
fn collect(into: &mut Vec<u8>, bytes: &mut &[u8], length: usize) {
    let (now, later) = bytes.split_at(bytes.len().min(length - into.len()));
    into.extend_from_slice(now);
    *bytes = later;
}

/// The blocks behind header and bitmap.
struct Blocks {
    header: Header,
    bitmap: Bitmap,
    /// Used blocks by the bitmap.
    used: u64,
    /// Bytes after each checksum that mean nothing.
    gap: usize,
    /// End of what was passed on, in the image.
    passed: u64,
    /// The stretch of used blocks that is being passed on: what is left of it.
    run: Run,
    /// Bytes of used blocks yet to come.
    left: u64,
    /// Bytes until the next checksum.
    strip: u64,
    sum: Sum,
    /// Bytes of a checksum (and of the gap after it) that were seen.
    stored: Vec<u8>,
}

impl Blocks {
    fn new(header: Header, bitmap: Bitmap) -> Blocks {
        let used = bitmap.used();
        let left = used * header.block;
        let mut blocks = Blocks {
            sum: header.sum(),
            header,
            bitmap,
            used,
            gap: 0,
            passed: 0,
            run: Run { start: 0, length: 0 },
            left,
            strip: 0,
            stored: Vec::new(),
        };
        blocks.strip = blocks.next_strip();
        blocks
    }

    fn first_stage(self) -> Stage {
        let probes = self.header.first_byte_only && self.used > 1;
        if probes { Stage::Probe(self, Vec::new()) } else { Stage::Blocks(self) }
    }

    fn next_strip(&self) -> u64 {
        self.left.min(self.header.strip())
    }

    /// Whether the file must go on. The last gap of version 0001 may be missing: one block does not show its length.
    fn wants_more(&self) -> bool {
        let has_sum = self.header.sum_size > 0 && self.used > 0;
        self.left > 0 || has_sum && self.strip == 0 && self.stored.len() < self.header.sum_size
    }

    fn take<E>(
        &mut self,
        mut bytes: &[u8],
        mut at: u64,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        while !bytes.is_empty() {
            let before = bytes.len();
            if self.strip > 0 {
                self.pass(&mut bytes, sink)?;
            } else if self.used > 0 && self.stored.len() < self.header.sum_size + self.gap {
                self.compare(&mut bytes)?;
            } else if self.used == 1 && self.header.first_byte_only && self.gap == 0 {
                self.gap = header::GAP;
            } else {
                return Err(SourceError::TrailingBytes { format: "partclone", at }.into());
            }
            at += (before - bytes.len()) as u64;
        }
        Ok(())
    }

    /// Bytes of used blocks, as many as belong together.
    fn pass<E>(
        &mut self,
        bytes: &mut &[u8],
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        if self.run.length == 0 {
            // There is one: the bytes that are left were counted in the bitmap.
            let run =
                self.bitmap.run_from(self.passed / self.header.block).unwrap_or(Run { start: 0, length: 0 });
            self.run = Run { start: run.start * self.header.block, length: run.length * self.header.block };
            self.free_to(self.run.start, sink)?;
        }
        let most = self.run.length.min(self.strip).min(bytes.len() as u64);
        let (now, later) = bytes.split_at(most as usize);
        self.sum.add(now);
        sink(Piece::Data { offset: self.passed, bytes: now }).map_err(DecodeError::Sink)?;
        *bytes = later;
        self.passed += most;
        self.run.length -= most;
        self.strip -= most;
        self.left -= most;
        if self.strip == 0 && self.header.sum_size == 0 {
            self.strip = self.next_strip();
        }
        Ok(())
    }

    /// Bytes of a checksum and of the gap after it.
    fn compare(&mut self, bytes: &mut &[u8]) -> Result<(), SourceError> {
        let size = self.header.sum_size;
        collect(&mut self.stored, bytes, size + self.gap);
        if self.stored.len() < size + self.gap {
            return Ok(());
        }
        let what = || format!("the blocks before byte {} of the partclone image", self.passed);
        self.sum.compare(&self.stored[..size], what)?;
        if self.header.begins_anew {
            self.sum = self.header.sum();
        }
        self.strip = self.next_strip();
        if self.strip > 0 {
            self.stored.clear();
        }
        Ok(())
    }

    fn free_to<E>(
        &mut self,
        end: u64,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), DecodeError<E>> {
        if end > self.passed {
            let length = end - self.passed;
            sink(Piece::Unallocated { offset: self.passed, length }).map_err(DecodeError::Sink)?;
            self.passed = end;
        }
        Ok(())
    }

    fn finish<E>(
        mut self,
        sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<Decoded, DecodeError<E>> {
        let size = self.header.size;
        self.free_to(size, sink)?;
        Ok(Decoded { size, checksums: Checksums { present: self.header.sum_size > 0, ok: true } })
    }
}

/// Size of the image in a file that is not compressed.
pub(super) fn size(input: &mut dyn Input, file: u64) -> Result<u64, SourceError> {
    let head = read_exact_at(input, 0, file.min(header::LONGEST as u64) as usize)?;
    if head.len() < header::SHORTEST || head.len() < Header::length(&head) {
        let (what, need) = ("the header of the partclone image".to_owned(), header::LONGEST as u64);
        return Err(SourceError::Truncated { what, need, have: file });
    }
    Ok(Header::read(&head[..Header::length(&head)])?.size)
}

/// Decodes a file of `file` bytes that is not compressed.
pub(super) fn run<E>(
    input: &mut dyn Input,
    file: u64,
    sink: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
) -> Result<Decoded, DecodeError<E>> {
    let mut unpacker = Unpacker::new();
    let mut at = 0;
    while at < file {
        let bytes = read_exact_at(input, at, (file - at).min(BLOCK as u64) as usize)?;
        unpacker.take(&bytes, sink)?;
        at += bytes.len() as u64;
    }
    unpacker.finish(sink)
}

/// Where each used block stands in a file that is not compressed.
pub(super) fn map(input: &mut dyn Input, file: u64) -> Result<ExtentMap, SourceError> {
    let mut unpacker = Unpacker::new();
    let mut at = 0;
    let mut ignore = |_: Piece<'_>| Ok::<(), std::convert::Infallible>(());
    let blocks = loop {
        if at >= file {
            let what = "the bitmap of the partclone image".to_owned();
            return Err(SourceError::Truncated { what, need: file + 1, have: file });
        }
        let want = unpacker.wanted().min((file - at).min(BLOCK as u64) as usize);
        let bytes = read_exact_at(input, at, want)?;
        unpacker.take(&bytes, &mut ignore).map_err(|error| match error {
            DecodeError::Source(error) => error,
            DecodeError::Sink(never) => match never {},
        })?;
        at += bytes.len() as u64;
        match std::mem::take(&mut unpacker.stage) {
            Stage::Blocks(blocks) => break blocks,
            Stage::Probe(mut blocks, _) => {
                let probe = read_exact_at(input, at, blocks.header.probe().min((file - at) as usize))?;
                blocks.gap = blocks.header.gap(&probe)?;
                break blocks;
            }
            earlier => unpacker.stage = earlier,
        }
    };
    blocks.extents(at, file)
}

impl Blocks {
    fn extents(mut self, mut at: u64, file: u64) -> Result<ExtentMap, SourceError> {
        let tail = (self.header.sum_size + self.gap) as u64;
        let mut extents = Vec::new();
        let mut block = 0;
        while let Some(run) = self.bitmap.run_from(block) {
            block = run.start + run.length;
            let (mut start, end) = (run.start * self.header.block, block * self.header.block);
            while start < end {
                let length = (end - start).min(self.strip);
                if extents.len() == MOST_EXTENTS {
                    let (what, most) = ("used stretches of a partclone image", MOST_EXTENTS as u64);
                    return Err(SourceError::TooLarge { what, claimed: most + 1, most });
                }
                let filling = Filling::Stored { codec: Codec::Raw, at, stored: length };
                extents.push(Extent { start, length, table: NO_TABLE, filling });
                (start, at) = (start + length, at + length);
                self.strip -= length;
                self.left -= length;
                if self.strip == 0 {
                    at += tail;
                    self.strip = self.next_strip();
                }
            }
        }
        // The last gap means nothing and may be missing.
        if at.saturating_sub(self.gap as u64) > file {
            let what = "the used blocks of the partclone image".to_owned();
            return Err(SourceError::Truncated { what, need: at, have: file });
        }
        ExtentMap::arrange(extents, self.header.size)
    }
}

#[cfg(test)]
mod tests;
