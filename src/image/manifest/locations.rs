//! In which pack each chunk of a manifest lies: what a restore needs beside the manifest.
//!
//! Owns: the table and its bytes. Must not know: packs, HTTP. The table is not signed and need not be: a wrong place
//! gives bytes with a wrong digest, and these are refused.
//!
//! | field (little-endian) | size |
//! |---|---|
//! | `RSPLACE1` | 8 |
//! | number of packs, number of entries | 4 + 4 |
//! | digests of the packs | 32 each |
//! | entries, in the order of the manifest's data cells: pack `u32`, offset `u64`, frame length `u32`, raw length `u32` | 20 each |

use crate::image::chunk::{CHUNK, MAX_FRAME};
use crate::value::Digest;

const MAGIC: &[u8; 8] = b"RSPLACE1";

/// Where one frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Which of [`Locations::packs`].
    pub pack: u32,
    /// First byte of the frame in the pack.
    pub offset: u64,
    /// Bytes of the frame.
    pub length: u32,
    /// Bytes of the chunk in it.
    pub raw: u32,
}

/// The places of all data cells of one manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    packs: Vec<Digest>,
    entries: Vec<Location>,
}

/// A table that is none, or not that of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocations {
    /// Another kind of data, or cut short.
    #[error("no table of chunk locations: wrong first bytes or wrong length")]
    Format,
    /// Made for another manifest.
    #[error("the table has {entries} places, the manifest {cells} data cells")]
    Count {
        /// Entries in the table.
        entries: u64,
        /// Data cells of the manifest.
        cells: u64,
    },
    /// An entry that cannot be.
    #[error("place {entry} of the table is impossible: {location:?}")]
    Entry {
        /// Number of the entry.
        entry: usize,
        /// What it says.
        location: Location,
    },
}

impl Locations {
    /// Puts a table together.
    ///
    /// # Errors
    /// When an entry names a pack that is not in `packs`, or an impossible length.
    pub fn new(packs: Vec<Digest>, entries: Vec<Location>) -> Result<Locations, BadLocations> {
        let possible = |place: &Location| {
            (place.pack as usize) < packs.len()
                && (1..=CHUNK as u32).contains(&place.raw)
                && (1..=MAX_FRAME).contains(&place.length)
                && place.offset < i64::MAX as u64
        };
        match entries.iter().position(|place| !possible(place)) {
            Some(entry) => Err(BadLocations::Entry { entry, location: entries[entry] }),
            None => Ok(Locations { packs, entries }),
        }
    }

    /// Packs that the entries name.
    pub fn packs(&self) -> &[Digest] {
        &self.packs
    }

    /// One entry a data cell, in the manifest's order.
    pub fn entries(&self) -> &[Location] {
        &self.entries
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 32 * self.packs.len() + 20 * self.entries.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(self.packs.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        self.packs.iter().for_each(|pack| out.extend_from_slice(pack.as_bytes()));
        for place in &self.entries {
            out.extend_from_slice(&place.pack.to_le_bytes());
            out.extend_from_slice(&place.offset.to_le_bytes());
            out.extend_from_slice(&place.length.to_le_bytes());
            out.extend_from_slice(&place.raw.to_le_bytes());
        }
        out
    }

    /// Reads a table for a manifest with `cells` data cells. Memory is bounded by the length of `bytes`.
    ///
    /// # Errors
    /// See [`BadLocations`].
    pub fn decode(bytes: &[u8], cells: u64) -> Result<Locations, BadLocations> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(BadLocations::Format)?;
        let (packs, rest) = rest.split_first_chunk::<4>().ok_or(BadLocations::Format)?;
        let (entries, rest) = rest.split_first_chunk::<4>().ok_or(BadLocations::Format)?;
        let (packs, entries) = (u32::from_le_bytes(*packs) as usize, u32::from_le_bytes(*entries));
        if entries as u64 != cells {
            return Err(BadLocations::Count { entries: entries.into(), cells });
        }
        let pack_bytes = packs.checked_mul(32).filter(|length| *length <= rest.len());
        let (names, table) = rest.split_at(pack_bytes.ok_or(BadLocations::Format)?);
        let (table, left) = table.as_chunks::<20>();
        if magic != MAGIC || !left.is_empty() || table.len() != entries as usize {
            return Err(BadLocations::Format);
        }
        let names = names.as_chunks::<32>().0.iter().map(|name| Digest::from_bytes(*name)).collect();
        Locations::new(names, table.iter().map(entry).collect())
    }
}

fn entry(bytes: &[u8; 20]) -> Location {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Location {
        pack: word(0),
        offset: u64::from(word(4)) | u64::from(word(8)) << 32,
        length: word(12),
        raw: word(16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Locations {
        let places = vec![
            Location { pack: 1, offset: 0x1_2345_6789, length: 7, raw: 512 },
            Location { pack: 0, offset: 8, length: MAX_FRAME, raw: CHUNK as u32 },
        ];
        Locations::new(vec![Digest::of(b"p"), Digest::of(b"q")], places).unwrap()
    }

    #[test]
    fn a_table_survives_its_bytes() {
        assert_eq!(Locations::decode(&table().encode(), 2), Ok(table()));
    }

    #[test]
    fn a_table_for_another_manifest_a_cut_one_and_one_that_lies_are_refused() {
        let bytes = table().encode();
        assert_eq!(Locations::decode(&bytes, 3), Err(BadLocations::Count { entries: 2, cells: 3 }));
        for cut in 0..bytes.len() {
            assert!(Locations::decode(&bytes[..cut], 2).is_err(), "{cut}");
        }
        let mut lying = bytes;
        lying[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Locations::decode(&lying, 2), Err(BadLocations::Format));
        let place = Location { pack: 0, offset: 0, length: MAX_FRAME + 1, raw: 1 };
        assert_eq!(
            Locations::new(vec![Digest::of(b"p")], vec![place]),
            Err(BadLocations::Entry { entry: 0, location: place })
        );
    }
}
