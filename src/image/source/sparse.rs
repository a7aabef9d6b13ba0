//! Sparse images (`.sparseimage`): bands of the disk in the order in which they were first written.
//!
//! | at | first node, 4096 bytes, big-endian | | at | every further node, 4096 bytes |
//! |---|---|---|---|---|
//! | 0 | `sprs`, version u32 = 3 | | 0 | `sprs` |
//! | 8 | sectors a band u32 | | 12 | next node at u64, 0 after the last |
//! | 16 | sectors u32, the low half | | 56 | bands u32, 1010 of them |
//! | 20 | next node at u64, 0 after the last | | | |
//! | 28 | sectors u64 (zero where writers leave it out) | | | |
//! | 64 | bands u32, 1008 of them | | | |
//!
//! The bands of a node follow it. An entry of its table stands for the bytes in that place: 0 nothing, else the number
//! of the band of the disk plus 1. A band that stands nowhere was never written.
//! Owns: bounds on nodes and tables. The format carries no checksums.

use super::codec::Codec;
use super::error::SourceError;
use super::extent::{Extent, ExtentMap, Filling, NO_TABLE};
use super::{Input, read_exact_at};
use crate::image::field::Fields;

const SECTOR: u64 = 512;
const NODE: u64 = 4096;

/// Largest disk: sectors that still make a positive 64-bit byte offset.
const MOST_SECTORS: u64 = i64::MAX as u64 / SECTOR;

/// Reads all nodes of a file of `file` bytes.
pub(super) fn open(input: &mut dyn Input, file: u64) -> Result<ExtentMap, SourceError> {
    let first = node(input, 0, file)?;
    let header = Fields(&first);
    let band = u64::from(header.be32(8)) * SECTOR;
    if header.be32(4) != 3 {
        return Err(malformed("the version of a sparse image", 4, header.be32(4).into()));
    }
    if band == 0 {
        return Err(malformed("the band size of a sparse image", 8, 0));
    }
    let (low, sectors) = (u64::from(header.be32(16)), header.be64(28));
    let sectors = if sectors & u64::from(u32::MAX) == low { sectors } else { low };
    if sectors > MOST_SECTORS {
        return Err(malformed("the sector count of a sparse image", 28, sectors));
    }
    let mut bands = Bands { band, size: sectors * SECTOR, file, extents: Vec::new() };
    bands.take(&first, 64, 0)?;
    let (mut at, mut next) = (0, header.be64(20));
    while next != 0 {
        // Nodes are written one behind the other: a chain that turns back has no end.
        if next < at + NODE {
            return Err(malformed("the place of the next node of a sparse image", at, next));
        }
        at = next;
        let further = node(input, at, file)?;
        if !Fields(&further).has(0, b"sprs") {
            let found = Fields(&further).be32(0).into();
            return Err(malformed("the magic of a node (73707273) of a sparse image", at, found));
        }
        bands.take(&further, 56, at)?;
        next = Fields(&further).be64(12);
    }
    ExtentMap::arrange(bands.extents, bands.size)
}

/// The bands that were found so far.
struct Bands {
    band: u64,
    size: u64,
    file: u64,
    extents: Vec<Extent>,
}

impl Bands {
    /// Takes the table in a node, which stands at `table` in it.
    fn take(&mut self, node: &[u8], table: usize, node_at: u64) -> Result<(), SourceError> {
        for (place, entry) in (0..).zip(node[table..].chunks_exact(4)) {
            let Some(number) = u64::from(Fields(entry).be32(0)).checked_sub(1) else { continue };
            let start = number * self.band;
            if start >= self.size {
                let at = node_at + table as u64 + 4 * place;
                return Err(malformed("the number of a band of a sparse image", at, number + 1));
            }
            // The last band of the disk may be a part of one.
            let length = self.band.min(self.size - start);
            let at = node_at.saturating_add(NODE).saturating_add(place * self.band);
            let need = at.saturating_add(length);
            if need > self.file {
                let what = format!("band {number} of the sparse image");
                return Err(SourceError::Truncated { what, need, have: self.file });
            }
            let filling = Filling::Stored { codec: Codec::Raw, at, stored: length };
            self.extents.push(Extent { start, length, table: NO_TABLE, filling });
        }
        Ok(())
    }
}

fn node(input: &mut dyn Input, at: u64, file: u64) -> Result<Vec<u8>, SourceError> {
    let need = at.saturating_add(NODE);
    if need > file {
        let what = "a table of the sparse image".to_owned();
        return Err(SourceError::Truncated { what, need, have: file });
    }
    read_exact_at(input, at, NODE as usize)
}

fn malformed(what: &'static str, at: u64, found: u64) -> SourceError {
    SourceError::Malformed { what, at, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A sparse image with bands of one sector: bytes of the file, and of the disk. `order` says which band stands in
    /// which place; `None` is a place that was given up.
    fn image(sectors: u32, order: &[Option<u32>]) -> (Vec<u8>, Vec<u8>) {
        let (mut file, mut disk) = (Vec::new(), vec![0; sectors as usize * 512]);
        let (mut rest, mut link) = (order, None);
        loop {
            let at = file.len();
            let table = if at == 0 { 64 } else { 56 };
            let (here, further) = rest.split_at(rest.len().min((4096 - table) / 4));
            if let Some(link) = link {
                let bytes: [u8; 8] = (at as u64).to_be_bytes();
                file[link..link + 8].copy_from_slice(&bytes);
            }
            link = Some(at + if at == 0 { 20 } else { 12 });
            let mut node = vec![0; 4096];
            let mut put = |at: usize, value: u32| node[at..at + 4].copy_from_slice(&value.to_be_bytes());
            put(0, 0x7370_7273);
            if at == 0 {
                for (field, value) in [(4, 3), (8, 1), (16, sectors), (32, sectors)] {
                    put(field, value);
                }
            }
            for (place, band) in here.iter().enumerate() {
                put(table + 4 * place, band.map_or(0, |band| band + 1));
            }
            file.extend(node);
            for (place, band) in here.iter().enumerate() {
                let bytes = [(place % 251) as u8 + 1; 512];
                file.extend(bytes);
                if let Some(band) = band {
                    disk[*band as usize * 512..][..512].copy_from_slice(&bytes);
                }
            }
            rest = further;
            if rest.is_empty() {
                return (file, disk);
            }
        }
    }

    fn decode(file: &[u8]) -> Result<Vec<u8>, SourceError> {
        let map = open(&mut Cursor::new(file), file.len() as u64)?;
        let mut disk = vec![0; map.size() as usize];
        for piece in map.pieces() {
            if let Filling::Stored { at, stored, .. } = piece.filling {
                let (to, from, length) = (piece.start as usize, at as usize, stored as usize);
                disk[to..to + length].copy_from_slice(&file[from..from + length]);
            }
        }
        Ok(disk)
    }

    #[test]
    fn bands_go_to_their_places_and_what_was_never_written_is_zero() {
        let (file, disk) = image(9, &[Some(4), None, Some(0), Some(8)]);
        assert!(decode(&file).unwrap() == disk);
        let map = open(&mut Cursor::new(&file), file.len() as u64).unwrap();
        assert_eq!((map.size(), map.undescribed()), (9 * 512, 6 * 512));
    }

    #[test]
    fn the_table_goes_on_in_further_nodes() {
        let order: Vec<_> = (0..2500).rev().map(|band| (band % 7 != 0).then_some(band)).collect();
        let (file, disk) = image(2500, &order);
        assert!(decode(&file).unwrap() == disk);
    }

    #[test]
    fn a_disk_that_ends_within_a_band_needs_no_more_of_it() {
        let (mut file, disk) = image(4, &[Some(0), Some(1)]);
        // Bands of two sectors, of which the second is cut to one.
        file[11] = 2;
        for field in [19, 35] {
            file[field] = 3;
        }
        file.resize(4096 + 3 * 512, 7);
        let got = decode(&file).unwrap();
        assert!(got[..1024] == disk[..1024] && got[1024..] == [7; 512]);
        assert!(matches!(decode(&file[..file.len() - 1]), Err(SourceError::Truncated { .. })));
    }

    #[test]
    fn a_lying_table_is_refused() {
        let (file, _) = image(2500, &(0..2500).map(Some).collect::<Vec<_>>());
        let patched = |at: usize, value: &[u8]| {
            let mut file = file.clone();
            file[at..at + value.len()].copy_from_slice(value);
            decode(&file).unwrap_err()
        };
        let second = 4096 + 1008 * 512;
        for (at, value) in [(7, &[4][..]), (8, &[0; 4]), (28, &[0xff; 4]), (64, &[0xff; 4]), (second, b"x")] {
            assert!(matches!(patched(at, value), SourceError::Malformed { .. }), "{at}");
        }
        // A node that leads back to itself, and two places that hold the same band.
        assert!(matches!(
            patched(second + 12, &(second as u64).to_be_bytes()),
            SourceError::Malformed { .. }
        ));
        assert!(matches!(patched(64, &2_u32.to_be_bytes()), SourceError::Overlap { offset: 512 }));
        assert!(matches!(patched(20, &[0xff; 4]), SourceError::Truncated { .. }));
        assert!(matches!(decode(&file[..4095]), Err(SourceError::Truncated { .. })));
    }

    proptest! {
        #[test]
        fn a_mutated_table_never_panics(flips in prop::collection::vec((0..4200_usize, any::<u8>()), 1..8)) {
            let (mut file, _) = image(1100, &(0..1100).map(Some).collect::<Vec<_>>());
            for (at, byte) in flips {
                file[at] = byte;
            }
            if let Ok(map) = open(&mut Cursor::new(&file), file.len() as u64) {
                let length: u64 = map.pieces().map(|piece| piece.length).sum();
                prop_assert_eq!(length, map.size());
            }
        }
    }
}
