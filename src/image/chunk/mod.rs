//! The grid that cuts an image into cells, and what a cell can be.
//!
//! Owns: cell size, cell boundaries, the test for zeros; [`Verified`] bytes and the zstd [`Frame`] around several chunks.
//! Must not know: where frames lie, which image a cell belongs to.
//!
//! A chunk is the unit of naming, sharing and verifying: small, so that two images differ only where their bytes do. A frame
//! is the unit of compressing and fetching: several chunks, because small ones alone compress a tenth worse. In a frame only
//! the last chunk may be shorter than [`CHUNK`], so its uncompressed length says how many there are.
//!
//! The grid restarts at the start of every region of an image (what lies before the first partition, each
//! partition, the gaps, what lies after the last): the same volume gives the same chunks, whatever disk
//! it was captured from.

mod verified;

pub use verified::{BadFrame, Contents, Frame, Opener, Packed, Packer, Verified, VerifiedRun};

/// Bytes of a cell and of its chunk. The last cell of a region may be shorter.
pub const CHUNK: u64 = 64 << 10;
/// Most chunks of a frame. At most 16: [`Slot`] has four bits for them.
pub const FRAME_CHUNKS: u64 = 16;
/// Most bytes of a frame before compression.
pub const FRAME: u32 = (CHUNK * FRAME_CHUNKS) as u32;
/// Longest frame: zstd adds a few bytes a block to what it cannot compress.
pub const MAX_FRAME: u32 = FRAME + 4096;
/// Neighbouring cells are read, cut and compared in pieces of up to this many bytes.
pub const PIECE: u64 = 1 << 20;

const _: () = assert!(PIECE.is_multiple_of(CHUNK) && FRAME_CHUNKS <= 1 << Slot::BITS);

/// A chunk's place: frame number (28 bits: 64 TiB of them) and which of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    const BITS: u32 = 4;
    /// Frames that can be told apart.
    pub const MAX_FRAMES: u32 = 1 << (u32::BITS - Slot::BITS);

    /// Chunk number `chunk` of frame number `frame`. None when there are no such numbers.
    pub const fn new(frame: u32, chunk: u32) -> Option<Slot> {
        if frame < Slot::MAX_FRAMES && chunk < 1 << Slot::BITS {
            Some(Slot(frame << Slot::BITS | chunk))
        } else {
            None
        }
    }

    /// Number of the frame.
    pub const fn frame(self) -> u32 {
        self.0 >> Slot::BITS
    }

    /// Number of the chunk in it.
    pub const fn chunk(self) -> u32 {
        self.0 & ((1 << Slot::BITS) - 1)
    }
}

/// Number of chunks in a frame of `raw` bytes before compression.
pub const fn chunk_count(raw: u32) -> u32 {
    (raw as u64).div_ceil(CHUNK) as u32
}

/// Bytes of chunk number `chunk` of a frame of `raw` bytes before compression; 0 when there is no such chunk.
pub const fn chunk_length(raw: u32, chunk: u32) -> u32 {
    let left = (raw as u64).saturating_sub(chunk as u64 * CHUNK);
    if left < CHUNK { left as u32 } else { CHUNK as u32 }
}

/// A stretch of bytes of an image or a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Span {
    /// First byte after it.
    pub const fn end(self) -> u64 {
        self.offset + self.length
    }

    /// The cells of a region that lies here.
    pub fn cells(self) -> impl Iterator<Item = Span> {
        (0..cell_count(self.length)).map(move |number| self.cell(number))
    }

    /// Cell `number` of a region that lies here.
    pub const fn cell(self, number: u64) -> Span {
        let from = number * CHUNK;
        let left = self.length - from;
        Span { offset: self.offset + from, length: if left < CHUNK { left } else { CHUNK } }
    }

    /// The bytes of `count` cells from cell `number` on.
    pub const fn cell_run(self, number: u64, count: u64) -> Span {
        let from = number * CHUNK;
        let (left, wanted) = (self.length - from, count * CHUNK);
        Span { offset: self.offset + from, length: if left < wanted { left } else { wanted } }
    }
}

/// Number of cells in a region of `length` bytes.
pub const fn cell_count(length: u64) -> u64 {
    length.div_ceil(CHUNK)
}

/// Whether all bytes are zero. Stops at the first block that has another one. Slices are compared by `memcmp`, which is
/// fast in every build and on every processor.
pub fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|block| *block == ZEROS[..block.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cover_a_region_without_gap_and_only_the_last_is_short() {
        let region = Span { offset: 20_480, length: 2 * CHUNK + 512 };
        let cells: Vec<Span> = region.cells().collect();
        assert_eq!(
            cells,
            [
                Span { offset: 20_480, length: CHUNK },
                Span { offset: 20_480 + CHUNK, length: CHUNK },
                Span { offset: 20_480 + 2 * CHUNK, length: 512 },
            ]
        );
        assert_eq!(region.cell_run(1, 2), Span { offset: 20_480 + CHUNK, length: CHUNK + 512 });
    }

    #[test]
    fn the_length_of_a_frame_says_how_many_chunks_it_has_and_how_long_they_are() {
        let raw = 2 * CHUNK as u32 + 7;
        assert_eq!((chunk_count(raw), chunk_count(FRAME)), (3, FRAME_CHUNKS as u32));
        let lengths: Vec<u32> = (0..4).map(|chunk| chunk_length(raw, chunk)).collect();
        assert_eq!(lengths, [CHUNK as u32, CHUNK as u32, 7, 0]);
    }

    #[test]
    fn a_slot_gives_both_its_numbers_back() {
        let slot = Slot::new(Slot::MAX_FRAMES - 1, 15).unwrap();
        assert_eq!((slot.frame(), slot.chunk()), (Slot::MAX_FRAMES - 1, 15));
        assert_eq!((Slot::new(Slot::MAX_FRAMES, 0), Slot::new(0, 16)), (None, None));
    }

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        let mut bytes = vec![0; 10_000];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for place in [0, 4095, 4096, 9_999] {
            bytes[place] = 0x80;
            assert!(!is_zero(&bytes), "{place}");
            bytes[place] = 0;
        }
    }
}
