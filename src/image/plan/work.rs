//! What is fetched together.
//!
//! Owns: each frame once however many cells want it, neighbours in a pack with one request. Must not know: what a cell is.

use std::ops::Range;

use crate::image::chunk::Slot;
use crate::image::manifest::{Location, Locations};
use crate::value::Digest;

/// Frames that lie together in a pack are fetched together up to this many bytes.
const MAX_RANGE: u64 = 4 << 20;
/// Bytes between two frames that are fetched and thrown away rather than asking twice.
const MAX_SKIP: u64 = 64 << 10;

/// A cell and the place of its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Frame and chunk.
    pub slot: Slot,
    /// Number of the cell.
    pub cell: u32,
}

/// Frames that are fetched with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The pack.
    pub pack: Digest,
    /// First byte in the pack.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    wants: Range<usize>,
}

/// The fetches for some cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// By frame, then by cell.
    wants: Vec<Want>,
    /// Requests, in the order of the frames: that of the cells, by and large.
    pub batches: Vec<Batch>,
}

impl Work {
    /// The fetches for `wants`, whose places are in `places`.
    pub(super) fn new(places: &Locations, mut wants: Vec<Want>) -> Work {
        wants.sort_unstable_by_key(|want| (want.slot.frame(), want.cell));
        let mut batches: Vec<Batch> = Vec::new();
        let mut from = 0;
        for of_frame in by_frame(&wants) {
            let range = from..from + of_frame.len();
            from = range.end;
            let Some((pack, place)) = place(places, of_frame[0].slot) else { continue };
            match batches.last_mut() {
                Some(last) if joins(last, pack, place) => {
                    (last.length, last.wants.end) = (place.end() - last.offset, range.end);
                }
                _ => batches.push(Batch {
                    pack,
                    offset: place.offset,
                    length: place.length.into(),
                    wants: range,
                }),
            }
        }
        Work { wants, batches }
    }

    /// The frames of a batch: place, and the cells that want a chunk of it, by cell.
    pub fn frames<'w>(
        &'w self,
        batch: &Batch,
        places: &'w Locations,
    ) -> impl Iterator<Item = (Location, &'w [Want])> {
        let frames = by_frame(&self.wants[batch.wants.clone()]);
        frames.filter_map(|wants| Some((place(places, wants[0].slot)?.1, wants)))
    }

    /// Compressed bytes of the frames, what lies between them left out.
    pub fn frame_bytes(&self, places: &Locations) -> u64 {
        let length =
            |wants: &[Want]| place(places, wants[0].slot).map_or(0, |(_, place)| place.length.into());
        by_frame(&self.wants).map(length).sum::<u64>()
    }
}

fn by_frame(wants: &[Want]) -> impl Iterator<Item = &[Want]> {
    wants.chunk_by(|one, other| one.slot.frame() == other.slot.frame())
}

/// A frame's place. `Locations` lets no slot in that has none.
fn place(places: &Locations, slot: Slot) -> Option<(Digest, Location)> {
    let place = *places.frames().get(slot.frame() as usize)?;
    Some((*places.packs().get(place.pack as usize)?, place))
}

fn joins(last: &Batch, pack: Digest, place: Location) -> bool {
    let end = last.offset + last.length;
    last.pack == pack
        && place.offset >= end
        && place.offset - end <= MAX_SKIP
        && place.end() - last.offset <= MAX_RANGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::chunk::{FRAME, FRAME_CHUNKS};

    const CHUNKS: u32 = FRAME_CHUNKS as u32;

    /// `count` frames of a pack, a tenth of a MiB and 40 bytes apart.
    fn places(count: u32) -> Locations {
        let frame =
            |i| Location { pack: 0, offset: 48 + u64::from(i) * 100_040, length: 100_000, raw: FRAME };
        let cells = (0..count).flat_map(|i| (0..CHUNKS).map(move |chunk| Slot::new(i, chunk).unwrap()));
        Locations::new(vec![Digest::of(b"p")], (0..count).map(frame).collect(), cells.collect()).unwrap()
    }

    fn want(frame: u32, chunk: u32, cell: u32) -> Want {
        Want { slot: Slot::new(frame, chunk).unwrap(), cell }
    }

    #[test]
    fn a_frame_that_many_cells_want_is_fetched_once() {
        let wants = vec![want(3, 1, 9), want(3, 0, 8), want(3, 0, 2), want(3, 2, 5)];
        let places = places(4);
        let work = Work::new(&places, wants);
        assert_eq!(work.batches.len(), 1);
        assert_eq!(work.frame_bytes(&places), 100_000);
        let frames: Vec<_> = work.frames(&work.batches[0], &places).collect();
        assert_eq!(frames.len(), 1);
        let cells: Vec<u32> = frames[0].1.iter().map(|want| want.cell).collect();
        assert_eq!(cells, [2, 5, 8, 9]);
    }

    #[test]
    fn neighbours_in_a_pack_are_fetched_together_up_to_a_bound() {
        let places = places(100);
        let wants = (0..100).map(|frame| want(frame, 0, frame)).collect();
        let work = Work::new(&places, wants);
        let counts: Vec<_> = work.batches.iter().map(|batch| work.frames(batch, &places).count()).collect();
        assert_eq!(counts, [41, 41, 18]);
        assert!(work.batches.iter().all(|batch| batch.length <= MAX_RANGE));
    }

    #[test]
    fn what_lies_far_apart_is_asked_for_apart() {
        let places = places(100);
        let work = Work::new(&places, vec![want(0, 0, 0), want(50, 0, 1), want(51, 1, 2)]);
        let ranges: Vec<_> = work.batches.iter().map(|batch| (batch.offset, batch.length)).collect();
        assert_eq!(ranges, [(48, 100_000), (48 + 50 * 100_040, 200_040)]);
    }
}
