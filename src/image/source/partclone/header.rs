//! The header of a partclone image, and the checksums that it chooses.

use std::hash::Hasher as _;

use crate::image::field::Fields;
use crate::image::source::error::SourceError;

/// Bytes that tell the version.
pub(super) const SHORTEST: usize = 34;
/// The header of version 0001.
pub(super) const LONGEST: usize = 4160;
/// The header of version 0002 with its checksum.
const LENGTH_2: usize = 110;
/// `feature_size` of version 0002: itself and what follows up to the checksum.
const FEATURES: u32 = 18;
/// What 64-bit programs wrote after each checksum of version 0001.
pub(super) const GAP: usize = 4;

/// Largest block: that of any file system is at most 2 MiB, partclone.dd takes what it is told.
const MOST_BLOCK: u32 = 16 << 20;
/// Most blocks: 8 TiB in blocks of 4 KiB. The bitmap of as many takes 256 MiB.
const MOST_BLOCKS: u64 = 1 << 31;

/// How blocks are summed up: `checksum_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    None,
    Crc32,
    Xxh64,
    Xxh128,
}

/// How the bitmap stands in the file: `bitmap_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// All blocks are used, there is no bitmap.
    None,
    /// A bit a block, the lowest first.
    Bits,
    /// A byte a block.
    Bytes,
}

/// What the header says, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of a block.
    pub block: u64,
    /// Blocks of the file system.
    pub blocks: u64,
    pub layout: Layout,
    /// Version 0001: the checksum sees one byte of each block.
    pub first_byte_only: bool,
    /// Whether the bitmap ends with a CRC-32 (else with a word).
    pub bitmap_has_sum: bool,
    mode: Mode,
    /// Bytes of a checksum.
    pub sum_size: usize,
    /// Blocks a checksum.
    every: u64,
    /// Whether the checksum begins anew after each.
    pub begins_anew: bool,
}

impl Header {
    /// Length of the header that begins so; of one too short to tell, as much as tells it.
    pub fn length(head: &[u8]) -> usize {
        if head.len() < SHORTEST {
            SHORTEST
        } else if Fields(head).has(30, b"0001") {
            LONGEST
        } else {
            LENGTH_2
        }
    }

    /// Reads a header of [`Header::length`].
    pub fn read(head: &[u8]) -> Result<Header, SourceError> {
        let fields = Fields(head);
        let version = fields.bytes(30, 4);
        let header = match version {
            b"0001" => Header::read_1(fields)?,
            b"0002" => Header::read_2(head, fields)?,
            _ => return Err(malformed("the version of a partclone image", 30, fields.be32(30).into())),
        };
        if header.blocks > MOST_BLOCKS {
            let (what, claimed, most) = ("blocks in a partclone image", header.blocks, MOST_BLOCKS);
            return Err(SourceError::TooLarge { what, claimed, most });
        }
        Ok(header)
    }

    fn read_1(fields: Fields<'_>) -> Result<Header, SourceError> {
        let block = block_size(fields.le32(36), 36)?;
        let blocks = fields.le64(48);
        Ok(Header {
            size: size(fields.le64(40), 40, block, blocks)?,
            block,
            blocks,
            layout: Layout::Bytes,
            first_byte_only: true,
            bitmap_has_sum: false,
            mode: Mode::Crc32,
            sum_size: 4,
            every: 1,
            begins_anew: false,
        })
    }

    fn read_2(head: &[u8], fields: Fields<'_>) -> Result<Header, SourceError> {
        let (want, got) = (fields.le32(106), !crc32fast::hash(&head[..106]));
        if want != got {
            let what = "the header of the partclone image".to_owned();
            return Err(SourceError::Checksum { what, want, got });
        }
        if fields.bytes(34, 2) != [0xde, 0xc0] {
            let found = fields.be16(34).into();
            return Err(malformed("the byte order of a partclone image (DEC0 is little-endian)", 34, found));
        }
        if fields.le32(88) != FEATURES {
            return Err(malformed(
                "the length of the options of a partclone image",
                88,
                fields.le32(88).into(),
            ));
        }
        let (mode, sum_size) = match (fields.le16(96), fields.le16(98)) {
            (0x00, _) => (Mode::None, 0),
            (0x20, 4) => (Mode::Crc32, 4),
            (0x30, 8) => (Mode::Xxh64, 8),
            (0x31, 16) => (Mode::Xxh128, 16),
            (mode, _) => return Err(malformed("the checksum mode of a partclone image", 96, mode.into())),
        };
        let every = match fields.le32(100) {
            0 if mode != Mode::None => {
                return Err(malformed("the blocks a checksum of a partclone image", 100, 0));
            }
            every => u64::from(every),
        };
        let layout = match fields.u8(105) {
            0x00 => Layout::None,
            0x01 => Layout::Bits,
            0x08 => Layout::Bytes,
            mode => return Err(malformed("the bitmap mode of a partclone image", 105, mode.into())),
        };
        let block = block_size(fields.le32(84), 84)?;
        let blocks = fields.le64(60);
        Ok(Header {
            size: size(fields.le64(52), 52, block, blocks)?,
            block,
            blocks,
            layout,
            first_byte_only: false,
            bitmap_has_sum: true,
            mode,
            sum_size,
            every,
            begins_anew: fields.u8(104) != 0,
        })
    }

    /// Bytes that one checksum covers.
    pub fn strip(&self) -> u64 {
        if self.mode == Mode::None { u64::MAX } else { self.every.saturating_mul(self.block) }
    }

    /// A checksum of nothing.
    pub fn sum(&self) -> Sum {
        match self.mode {
            Mode::None => Sum::None,
            Mode::Crc32 if self.first_byte_only => {
                Sum::FirstByte { crc: crc32fast::Hasher::new(), block: self.block as usize, seen: 0 }
            }
            Mode::Crc32 => Sum::Crc32(crc32fast::Hasher::new()),
            Mode::Xxh64 => Sum::Xxh64(twox_hash::XxHash64::with_seed(0)),
            Mode::Xxh128 => Sum::Xxh128(Box::new(twox_hash::XxHash3_128::new())),
        }
    }

    /// Bytes that show whether there is a gap after each checksum of version 0001: two blocks, their checksums, a gap.
    pub fn probe(&self) -> usize {
        2 * (self.block as usize + self.sum_size) + GAP
    }

    /// Length of the gap: the second checksum matches where it stands.
    pub fn gap(&self, seen: &[u8]) -> Result<usize, SourceError> {
        let (block, tail) = (self.block as usize, self.sum_size);
        let what = || "the first blocks of the partclone image".to_owned();
        let mut first = self.sum();
        first.add(&seen[..block.min(seen.len())]);
        first.compare(Fields(seen).bytes(block, tail), what)?;
        let matches = |gap: usize| {
            let second = block + tail + gap;
            let mut sum = first.clone();
            sum.add(Fields(seen).bytes(second, block));
            sum.compare(Fields(seen).bytes(second + block, tail), what)
        };
        match matches(0) {
            Ok(()) => Ok(0),
            Err(error) => matches(GAP).map(|()| GAP).map_err(|_| error),
        }
    }
}

fn block_size(found: u32, at: u64) -> Result<u64, SourceError> {
    if found == 0 || found > MOST_BLOCK {
        return Err(malformed("the block size of a partclone image", at, found.into()));
    }
    Ok(found.into())
}

/// Bytes of the image: those of the device, or of all blocks where the file system is said to be larger.
fn size(device: u64, at: u64, block: u64, blocks: u64) -> Result<u64, SourceError> {
    let whole = blocks.checked_mul(block).filter(|size| *size <= i64::MAX as u64);
    match whole {
        Some(whole) if device <= i64::MAX as u64 => Ok(device.max(whole)),
        _ => Err(malformed("the size of a partclone image", at, device)),
    }
}

fn malformed(what: &'static str, at: u64, found: u64) -> SourceError {
    SourceError::Malformed { what, at, found }
}

/// A checksum that grows.
#[derive(Clone)]
pub(super) enum Sum {
    None,
    Crc32(crc32fast::Hasher),
    /// Version 0001: as often as the block has bytes, its first.
    FirstByte {
        crc: crc32fast::Hasher,
        block: usize,
        /// Bytes of the present block.
        seen: usize,
    },
    Xxh64(twox_hash::XxHash64),
    Xxh128(Box<twox_hash::XxHash3_128>),
}

impl Sum {
    pub fn add(&mut self, bytes: &[u8]) {
        match self {
            Sum::None => {}
            Sum::Crc32(crc) => crc.update(bytes),
            Sum::FirstByte { crc, block, seen } => {
                // Never more than the rest of one block: a checksum follows each.
                if let (0, Some(first)) = (*seen, bytes.first()) {
                    crc.update(&vec![*first; *block]);
                }
                *seen = (*seen + bytes.len()) % *block;
            }
            Sum::Xxh64(sum) => sum.write(bytes),
            Sum::Xxh128(sum) => sum.write(bytes),
        }
    }

    /// Compares with what stands in the file.
    pub fn compare(&self, stored: &[u8], what: impl FnOnce() -> String) -> Result<(), SourceError> {
        let stored = Fields(stored);
        match self {
            Sum::None => Ok(()),
            Sum::Crc32(crc) | Sum::FirstByte { crc, .. } => {
                let (want, got) = (stored.le32(0), !crc.clone().finalize());
                if want == got { Ok(()) } else { Err(SourceError::Checksum { what: what(), want, got }) }
            }
            Sum::Xxh64(sum) => differ(stored.le64(0).into(), sum.finish().into(), what),
            Sum::Xxh128(sum) => differ(u128::from_le_bytes(stored.array(0)), sum.clone().finish_128(), what),
        }
    }
}

fn differ(want: u128, got: u128, what: impl FnOnce() -> String) -> Result<(), SourceError> {
    if want == got { Ok(()) } else { Err(SourceError::LongChecksum { what: what(), want, got }) }
}
