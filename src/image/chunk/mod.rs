//! The grid that cuts an image into cells, and what a cell can be.
//!
//! Owns: cell size, cell boundaries, the test for zeros; [`Verified`] bytes and the zstd [`Frame`] around them.
//! Must not know: where frames lie, which image a cell belongs to.
//!
//! The grid restarts at the start of every region of an image (what lies before the first partition, each
//! partition, the gaps, what lies after the last): the same volume gives the same chunks, whatever disk
//! it was captured from.

mod verified;

pub use verified::{BadFrame, Frame, Opener, Packer, Verified};

/// Bytes of a cell. The last cell of a region may be shorter.
pub const CHUNK: u64 = 1 << 20;
/// Longest frame: zstd adds a few bytes a block to what it cannot compress.
pub const MAX_FRAME: u32 = CHUNK as u32 + 4096;

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
