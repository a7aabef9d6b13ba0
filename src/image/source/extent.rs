//! The map of a decoded image: which bytes are stored where and how, which are zero, which are free.
//!
//! Owns: order, overlaps, gaps. An [`ExtentMap`] covers its image from 0 to the end without a hole or an overlap.
//! A part that no table describes counts as unallocated: it reads as zeros and no checksum covers it.

use super::codec::Codec;
use super::error::SourceError;

/// The most that one packed run may expand to. hdiutil writes at most 1 MiB (2048 sectors).
pub(super) const MOST_RUN: u64 = 64 << 20;

/// Stored bytes are delivered in pieces of this length.
pub(super) const PIECE: u64 = 1 << 20;

/// Stands for no table.
pub(super) const NO_TABLE: u32 = u32::MAX;

/// What fills an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    /// `stored` bytes at `at` of the file, packed.
    Stored { codec: Codec, at: u64, stored: u64 },
    /// Zeros that checksums cover (UDIF run type 0).
    Zero,
    /// Free space: reads as zeros, no checksum covers it (UDIF run type 2).
    Unallocated,
}

/// A stretch of the decoded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub start: u64,
    pub length: u64,
    /// Index of the block table that it comes from.
    pub table: u32,
    pub filling: Filling,
}

impl Extent {
    fn end(&self) -> u64 {
        self.start + self.length
    }

    /// Whether a piece of it can be read without the rest.
    fn divisible(&self) -> bool {
        !matches!(self.filling, Filling::Stored { codec, .. } if codec != Codec::Raw)
    }

    /// The same bytes where the input is the image itself.
    pub fn in_place(&self) -> Extent {
        let filling = Filling::Stored { codec: Codec::Raw, at: self.start, stored: self.length };
        Extent { filling, ..*self }
    }

    /// The part of a divisible extent from `skip` on, at most `length` bytes.
    pub fn part(&self, skip: u64, length: u64) -> Extent {
        let length = length.min(self.length - skip);
        let filling = match self.filling {
            Filling::Stored { codec, at, .. } => Filling::Stored { codec, at: at + skip, stored: length },
            hole => hole,
        };
        Extent { start: self.start + skip, length, filling, ..*self }
    }
}

/// The whole image, in order.
#[derive(Debug)]
pub(super) struct ExtentMap {
    extents: Vec<Extent>,
    size: u64,
    undescribed: u64,
}

impl ExtentMap {
    /// The map of a file that is the image itself.
    pub fn plain(size: u64) -> ExtentMap {
        let filling = Filling::Stored { codec: Codec::Raw, at: 0, stored: size };
        ExtentMap {
            extents: vec![Extent { start: 0, length: size, table: NO_TABLE, filling }],
            size,
            undescribed: 0,
        }
    }

    /// Puts extents in order and fills the gaps between them, up to `size`.
    ///
    /// # Errors
    /// Two extents describe the same byte. The caller has checked that none ends beyond `size`.
    pub fn arrange(mut given: Vec<Extent>, size: u64) -> Result<ExtentMap, SourceError> {
        given.retain(|extent| extent.length > 0);
        given.sort_by_key(|extent| extent.start);
        let gaps = given.windows(2).filter(|pair| pair[0].end() < pair[1].start).count();
        let mut extents = Vec::with_capacity(given.len() + gaps + 2);
        let (mut end, mut undescribed) = (0, 0);
        let mut gap = |extents: &mut Vec<Extent>, from: u64, to: u64| {
            if from < to {
                undescribed += to - from;
                extents.push(Extent {
                    start: from,
                    length: to - from,
                    table: NO_TABLE,
                    filling: Filling::Unallocated,
                });
            }
        };
        for extent in given {
            if extent.start < end {
                return Err(SourceError::Overlap { offset: extent.start });
            }
            gap(&mut extents, end, extent.start);
            end = extent.end();
            extents.push(extent);
        }
        gap(&mut extents, end, size);
        Ok(ExtentMap { extents, size, undescribed })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The extents that have bytes in the file.
    pub fn stored(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter().filter(|extent| matches!(extent.filling, Filling::Stored { .. }))
    }

    /// Bytes that no table describes.
    pub fn undescribed(&self) -> u64 {
        self.undescribed
    }

    /// The extent that holds `offset`.
    pub fn at(&self, offset: u64) -> Option<(usize, &Extent)> {
        let index = self.extents.partition_point(|extent| extent.end() <= offset);
        self.extents.get(index).map(|extent| (index, extent))
    }

    /// The image in the order in which it is decoded: packed runs whole, stored bytes in pieces, holes of any size.
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { extents: &self.extents, skip: 0 }
    }
}

/// See [`ExtentMap::pieces`].
pub(super) struct Pieces<'a> {
    extents: &'a [Extent],
    skip: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        let (first, rest) = self.extents.split_first()?;
        let stored = matches!(first.filling, Filling::Stored { .. });
        if !(first.divisible() && stored) {
            self.extents = rest;
            return Some(*first);
        }
        let piece = first.part(self.skip, PIECE);
        self.skip += piece.length;
        if self.skip == first.length {
            (self.extents, self.skip) = (rest, 0);
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zero(start: u64, length: u64) -> Extent {
        Extent { start, length, table: 0, filling: Filling::Zero }
    }

    #[test]
    fn gaps_become_unallocated_and_are_counted() {
        let map = ExtentMap::arrange(vec![zero(20, 5), zero(5, 10)], 40).unwrap();
        let pieces: Vec<_> = map.pieces().map(|piece| (piece.start, piece.length, piece.table)).collect();
        let gap = NO_TABLE;
        assert_eq!(pieces, [(0, 5, gap), (5, 10, 0), (15, 5, gap), (20, 5, 0), (25, 15, gap)]);
        assert_eq!(map.undescribed(), 25);
    }

    #[test]
    fn an_overlap_of_one_byte_is_refused() {
        let error = ExtentMap::arrange(vec![zero(0, 11), zero(10, 10)], 20).unwrap_err();
        assert!(matches!(error, SourceError::Overlap { offset: 10 }));
    }

    #[test]
    fn stored_bytes_come_in_pieces_and_holes_in_one() {
        let map = ExtentMap::plain(2 * PIECE + 1);
        let lengths: Vec<_> = map.pieces().map(|piece| piece.length).collect();
        assert_eq!(lengths, [PIECE, PIECE, 1]);
        let map = ExtentMap::arrange(vec![zero(0, 1 << 60)], 1 << 60).unwrap();
        assert_eq!(map.pieces().count(), 1);
    }

    proptest! {
        #[test]
        fn pieces_are_contiguous_from_zero_to_the_end(
            lengths in prop::collection::vec((0..3_u64 << 20, 0..3_u64), 0..20), tail in 0..100_u64
        ) {
            let (mut given, mut end) = (Vec::new(), 0);
            for (length, gap) in lengths {
                let filling = Filling::Stored { codec: Codec::Raw, at: 0, stored: length };
                given.push(Extent { start: end + gap, length, table: 1, filling });
                end += gap + length;
            }
            let map = ExtentMap::arrange(given, end + tail).unwrap();
            let mut next = 0;
            for piece in map.pieces() {
                prop_assert_eq!(piece.start, next);
                prop_assert!(piece.length > 0);
                prop_assert_eq!(map.at(piece.start).unwrap().1.table, piece.table);
                next += piece.length;
            }
            prop_assert_eq!(next, map.size());
        }
    }
}
