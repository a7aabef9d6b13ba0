//! In which frame each chunk of a manifest lies, and where the frames are: what a restore needs beside the manifest.
//!
//! Owns: the table and its bytes. Must not know: packs, HTTP. The table is not signed and need not be: a wrong place
//! gives bytes with a wrong digest, and these are refused.
//!
//! All numbers are varints (seven bits a byte, low ones first, the highest bit set in all bytes but the last); signed ones
//! are doubled, and negated less one when negative.
//!
//! | field | size |
//! |---|---|
//! | `RSPLACE2` | 8 |
//! | number of packs, number of frames | |
//! | digests of the packs | 32 each |
//! | each frame: pack less that of the frame before (signed); offset less the end of the frame before, or of 0 in another pack (signed); frame length; a full frame's raw length less this one's | about 7 |
//! | stretches of data cells, in the order of the manifest, until all have a place: frame of the first less that of the cell before (signed), chunk in it, number of cells | |
//!
//! The cells of a stretch have chunks that follow each other: the next of the same frame, then the first of the next frame.
//! So an image that was imported into an empty library has one stretch, and the table a twentieth of the manifest's bytes.

use crate::image::chunk::{FRAME, MAX_FRAME, Slot, chunk_count};
use crate::value::Digest;

const MAGIC: &[u8; 8] = b"RSPLACE2";
/// Most bytes that a cell can cost: a pack and a frame of its own, all varints at their longest.
const MAX_CELL: u64 = 32 + 4 * 10 + 3 * 10;

/// Where one frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Which of [`Locations::packs`].
    pub pack: u32,
    /// First byte of the frame in the pack.
    pub offset: u64,
    /// Bytes of the frame.
    pub length: u32,
    /// Bytes of the chunks in it.
    pub raw: u32,
}

impl Location {
    /// First byte after it.
    pub const fn end(self) -> u64 {
        self.offset + self.length as u64
    }
}

/// The places of all data cells of one manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    packs: Vec<Digest>,
    frames: Vec<Location>,
    cells: Vec<Slot>,
}

/// A table that is none, or not that of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocations {
    /// Another kind of data, or cut short.
    #[error("no table of chunk locations of version 2: wrong first bytes or wrong length")]
    Format,
    /// Made for another manifest.
    #[error("the table has places for {entries} cells or more, the manifest has {cells} data cells")]
    Count {
        /// Cells in the table.
        entries: u64,
        /// Data cells of the manifest.
        cells: u64,
    },
    /// A frame that cannot be.
    #[error("frame {entry} of the table is impossible: {location:?}")]
    Frame {
        /// Number of the frame.
        entry: usize,
        /// What it says.
        location: Location,
    },
    /// A cell whose frame or chunk is not there.
    #[error("the chunk of cell {cell} should be number {chunk} of frame {frame}, which is not in the table")]
    Cell {
        /// Number of the cell.
        cell: usize,
        /// Its frame.
        frame: u64,
        /// Which chunk of it.
        chunk: u64,
    },
}

impl Locations {
    /// Puts a table together.
    ///
    /// # Errors
    /// When a frame names a pack that is not in `packs` or has an impossible length, or a cell a chunk that is in no frame.
    pub fn new(
        packs: Vec<Digest>,
        frames: Vec<Location>,
        cells: Vec<Slot>,
    ) -> Result<Locations, BadLocations> {
        let possible = |place: &Location| {
            (place.pack as usize) < packs.len()
                && (1..=FRAME).contains(&place.raw)
                && (1..=MAX_FRAME).contains(&place.length)
                && place.offset < i64::MAX as u64
        };
        if let Some(entry) = frames.iter().position(|place| !possible(place)) {
            return Err(BadLocations::Frame { entry, location: frames[entry] });
        }
        let placed = |slot: &Slot| {
            frames.get(slot.frame() as usize).is_some_and(|place| slot.chunk() < chunk_count(place.raw))
        };
        if let Some(cell) = cells.iter().position(|slot| !placed(slot)) {
            let (frame, chunk) = (cells[cell].frame().into(), cells[cell].chunk().into());
            return Err(BadLocations::Cell { cell, frame, chunk });
        }
        Ok(Locations { packs, frames, cells })
    }

    /// Packs that the frames name.
    pub fn packs(&self) -> &[Digest] {
        &self.packs
    }

    /// The frames, by the first cell that needs them.
    pub fn frames(&self) -> &[Location] {
        &self.frames
    }

    /// Frame and chunk of each data cell, in the manifest's order.
    pub fn cells(&self) -> &[Slot] {
        &self.cells
    }

    /// The chunk that follows: in the same frame, else in the next.
    fn following(&self, slot: Slot) -> Option<Slot> {
        let raw = self.frames.get(slot.frame() as usize)?.raw;
        match slot.chunk() + 1 {
            next if next < chunk_count(raw) => Slot::new(slot.frame(), next),
            _ => Slot::new(slot.frame() + 1, 0),
        }
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 32 * self.packs.len() + 8 * self.frames.len());
        out.extend_from_slice(MAGIC);
        put(&mut out, self.packs.len() as u64);
        put(&mut out, self.frames.len() as u64);
        self.packs.iter().for_each(|pack| out.extend_from_slice(pack.as_bytes()));
        let (mut pack, mut end) = (0, 0);
        for place in &self.frames {
            put_signed(&mut out, i64::from(place.pack) - pack);
            if i64::from(place.pack) != pack {
                (pack, end) = (place.pack.into(), 0);
            }
            put_signed(&mut out, place.offset as i64 - end);
            put(&mut out, place.length.into());
            put(&mut out, (FRAME - place.raw).into());
            end = place.end() as i64;
        }
        let (mut rest, mut before) = (&self.cells[..], 0);
        while let Some(first) = rest.first().copied() {
            let mut last = first;
            let mut count = 1;
            while let (Some(next), Some(follows)) = (rest.get(count), self.following(last))
                && *next == follows
            {
                (last, count) = (follows, count + 1);
            }
            put_signed(&mut out, i64::from(first.frame()) - before);
            put(&mut out, first.chunk().into());
            put(&mut out, count as u64);
            (rest, before) = (&rest[count..], last.frame().into());
        }
        out
    }

    /// Most bytes that the table for a manifest with `cells` data cells can have.
    pub fn longest(cells: u64) -> u64 {
        64 + cells.saturating_mul(MAX_CELL)
    }

    /// Reads a table for a manifest with `cells` data cells. Memory is bounded by the length of `bytes` and by `cells`.
    ///
    /// # Errors
    /// See [`BadLocations`].
    pub fn decode(bytes: &[u8], cells: u64) -> Result<Locations, BadLocations> {
        let mut input = Input(bytes.strip_prefix(MAGIC).ok_or(BadLocations::Format)?);
        let (packs, frames) = (input.number()?, input.number()?);
        let names = input.digests(packs)?;
        // A frame has four numbers, so there cannot be more of them than bytes.
        if frames > (input.0.len() / 4) as u64 {
            return Err(BadLocations::Format);
        }
        let room = usize::try_from(cells).unwrap_or(0);
        let mut table = Locations {
            packs: names,
            frames: Vec::with_capacity(frames as usize),
            cells: Vec::with_capacity(room),
        };
        let (mut pack, mut end) = (0_i64, 0_i64);
        for _ in 0..frames {
            let step = input.signed()?;
            if step != 0 {
                (pack, end) = (pack.checked_add(step).ok_or(BadLocations::Format)?, 0);
            }
            let offset = end.checked_add(input.signed()?).and_then(|offset| u64::try_from(offset).ok());
            let (length, missing) = (input.number()?, input.number()?);
            let raw = u64::from(FRAME).checked_sub(missing);
            let place = (|| {
                let (pack, raw) = (pack.try_into().ok()?, raw?.try_into().ok()?);
                Some(Location { pack, offset: offset?, length: length.try_into().ok()?, raw })
            })();
            let place = place.ok_or(BadLocations::Format)?;
            end = i64::try_from(place.offset.saturating_add(length)).map_err(|_| BadLocations::Format)?;
            table.frames.push(place);
        }
        let mut before = 0_i64;
        while !input.0.is_empty() {
            let frame = before.checked_add(input.signed()?).ok_or(BadLocations::Format)?;
            let (chunk, count) = (input.number()?, input.number()?);
            let entries = (table.cells.len() as u64).saturating_add(count);
            if entries > cells {
                return Err(BadLocations::Count { entries, cells });
            }
            let lost = |cell| BadLocations::Cell { cell, frame: frame.max(0) as u64, chunk };
            let number = |value: u64| u32::try_from(value).ok();
            let mut slot =
                u64::try_from(frame).ok().and_then(|frame| Slot::new(number(frame)?, number(chunk)?));
            for _ in 0..count {
                let next = slot.ok_or_else(|| lost(table.cells.len()))?;
                table.cells.push(next);
                (slot, before) = (table.following(next), next.frame().into());
            }
        }
        if table.cells.len() as u64 != cells {
            return Err(BadLocations::Count { entries: table.cells.len() as u64, cells });
        }
        Locations::new(table.packs, table.frames, table.cells)
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, (number << 1 ^ number >> 63) as u64);
}

/// A cursor whose every read is checked.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn number(&mut self) -> Result<u64, BadLocations> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(BadLocations::Format)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(BadLocations::Format);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BadLocations::Format)
    }

    fn signed(&mut self) -> Result<i64, BadLocations> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn digests(&mut self, count: u64) -> Result<Vec<Digest>, BadLocations> {
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(32));
        let (names, rest) =
            length.and_then(|length| self.0.split_at_checked(length)).ok_or(BadLocations::Format)?;
        self.0 = rest;
        Ok(names.as_chunks::<32>().0.iter().map(|name| Digest::from_bytes(*name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::chunk::CHUNK;
    use proptest::prelude::*;

    fn slot(frame: u32, chunk: u32) -> Slot {
        Slot::new(frame, chunk).unwrap()
    }

    /// A table of any frames; each cell names one of them.
    fn table() -> impl Strategy<Value = Locations> {
        let frame = (0..3_u32, 0..1_u64 << 40, 1..=MAX_FRAME, 1..=FRAME)
            .prop_map(|(pack, offset, length, raw)| Location { pack, offset, length, raw });
        let cells = prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..40);
        (prop::collection::vec(frame, 1..20), cells).prop_map(|(frames, cells)| {
            let cells = cells.into_iter().map(|(frame, chunk)| {
                let frame = frame.index(frames.len());
                slot(frame as u32, chunk % chunk_count(frames[frame].raw))
            });
            let cells = cells.collect();
            let packs = vec![Digest::of(b"p"), Digest::of(b"q"), Digest::of(b"r")];
            Locations::new(packs, frames, cells).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_table_survives_its_bytes(table in table()) {
            let bytes = table.encode();
            let cells = table.cells.len() as u64;
            prop_assert!(bytes.len() as u64 <= Locations::longest(cells + 20));
            prop_assert_eq!(Locations::decode(&bytes, cells), Ok(table));
        }

        #[test]
        fn whatever_decodes_is_possible(table in table(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let cells = table.cells.len() as u64;
            let mut bytes = table.encode();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            if let Ok(other) = Locations::decode(&bytes, cells) {
                prop_assert_eq!(other.cells.len() as u64, cells);
                prop_assert_eq!(Locations::decode(&other.encode(), cells), Ok(other));
            }
        }
    }

    #[test]
    fn a_table_in_the_order_of_the_packs_costs_two_bytes_a_cell() {
        let frames: Vec<Location> = (0..4000)
            .map(|i| Location {
                pack: i / 2000,
                offset: 160 + u64::from(i % 2000) * 100_160,
                length: 100_000,
                raw: FRAME,
            })
            .collect();
        let cells: Vec<Slot> =
            (0..4000).flat_map(|i| (0..chunk_count(FRAME)).map(move |chunk| slot(i, chunk))).collect();
        let count = cells.len();
        let table = Locations::new(vec![Digest::of(b"p"), Digest::of(b"q")], frames, cells).unwrap();
        let bytes = table.encode();
        assert!(bytes.len() < 2 * count, "{} bytes for {count} cells", bytes.len());
        assert_eq!(Locations::decode(&bytes, count as u64), Ok(table));
    }

    #[test]
    fn a_table_for_another_manifest_a_cut_one_and_one_that_lies_are_refused() {
        let frames = vec![
            Location { pack: 1, offset: 0x1_2345_6789, length: 7, raw: 512 },
            Location { pack: 0, offset: 8, length: MAX_FRAME, raw: FRAME },
        ];
        let packs = vec![Digest::of(b"p"), Digest::of(b"q")];
        let table = Locations::new(packs, frames, vec![slot(0, 0), slot(1, 1)]).unwrap();
        let bytes = table.encode();
        assert!(matches!(Locations::decode(&bytes, 3), Err(BadLocations::Count { cells: 3, .. })));
        assert!(matches!(Locations::decode(&bytes, 1), Err(BadLocations::Count { cells: 1, .. })));
        for cut in 0..bytes.len() {
            assert!(Locations::decode(&bytes[..cut], 2).is_err(), "{cut}");
        }
        for place in [8, 9] {
            let mut lying = bytes[..place].to_vec();
            put(&mut lying, u64::MAX);
            lying.extend_from_slice(&bytes[place + 1..]);
            assert_eq!(Locations::decode(&lying, 2), Err(BadLocations::Format));
        }
        let place = Location { pack: 0, offset: 0, length: MAX_FRAME + 1, raw: 1 };
        let packs = vec![Digest::of(b"p")];
        assert_eq!(
            Locations::new(packs.clone(), vec![place], vec![]),
            Err(BadLocations::Frame { entry: 0, location: place })
        );
        let place = Location { pack: 0, offset: 0, length: 9, raw: CHUNK as u32 };
        assert_eq!(
            Locations::new(packs, vec![place], vec![slot(0, 0), slot(0, 1)]),
            Err(BadLocations::Cell { cell: 1, frame: 0, chunk: 1 })
        );
    }
}
