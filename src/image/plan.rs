//! What a restore must do to a target, as data: decided here, printed by `--dry-run`, done by `restore`.
//!
//! Owns: which cells go where, which of them make the target bootable and therefore come last, what is fetched
//! together. Must not know: how a target is written, how packs are read.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use crate::image::chunk::{CHUNK, Span};
use crate::image::manifest::{Location, Locations, Manifest, Region, Run};
use crate::image::partition::Scheme;
use crate::value::Digest;

/// Firmware and boot loaders begin in the first MiB: boot sector, partition table, HFS+ volume header (TN1150),
/// APFS container superblock. Every cell that begins here is written last.
const HEAD: u64 = CHUNK;
/// The backup GPT at the end of a disk, from which firmware repairs a missing primary one (UEFI 5.3.2):
/// 33 sectors of 512 bytes, or 5 of 4096.
pub const BACKUP_GPT: u64 = 5 * 4096;
/// Frames that lie together in a pack are fetched together up to this many bytes.
const MAX_RANGE: u64 = 4 << 20;
/// Bytes between two frames that are fetched and thrown away rather than asking twice.
const MAX_SKIP: u64 = 64 << 10;

/// Which part of an image goes to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it, partition map included.
    Whole,
    /// The partition with this number, to offset 0 of the target.
    Partition(u32),
    /// The main volume, see [`Manifest::main`].
    Main,
}

/// A cell that must hold a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataCell {
    /// Where on the target.
    pub span: Span,
    /// The chunk.
    pub digest: Digest,
    /// Where its frame lies.
    pub place: Location,
    /// Found on the target already.
    pub present: bool,
}

/// Cells that must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroRun {
    /// Where on the target.
    pub span: Span,
    /// Found zero on the target already.
    pub present: bool,
}

/// A cell that makes the target bootable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeCell {
    /// Where on the target.
    pub span: Span,
    /// The chunk; none for zeros.
    pub chunk: Option<(Digest, Location)>,
}

/// Everything that a restore does to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes that the target must have.
    pub size: u64,
    /// Packs that places name.
    pub packs: Vec<Digest>,
    /// Written last, in this order: backup GPT, then the head from its end to the first sector.
    pub edge: Vec<EdgeCell>,
    /// All other chunks, by offset.
    pub data: Vec<DataCell>,
    /// Zeros, by offset.
    pub zero: Vec<ZeroRun>,
    /// Stretches that the image says nothing about.
    pub free: Vec<Span>,
    /// Whether the old backup GPT at the end of a larger target must go.
    pub whole_disk: bool,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// No such partition.
    #[error("the image has no partition {wanted}; it has {}", numbers(.present))]
    NoPartition {
        /// Asked for.
        wanted: u32,
        /// What there is.
        present: Vec<u32>,
    },
    /// No main volume.
    #[error("the image has no HFS or APFS partition to take as its main volume; name one of {}", numbers(.present))]
    NoMain {
        /// What there is.
        present: Vec<u32>,
    },
    /// The table of locations belongs to another manifest.
    #[error("the image has {cells} chunks, but places are known for {places}")]
    Places {
        /// Data cells of the manifest.
        cells: usize,
        /// Entries of the table.
        places: usize,
    },
}

fn numbers(present: &[u32]) -> String {
    match present {
        [] => "none".to_owned(),
        some => some.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Frames that are fetched with one request: cells `cells` of [`Plan::data`] in the order of the pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The pack.
    pub pack: Digest,
    /// First byte in the pack.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Which of [`Work::order`].
    pub cells: Range<usize>,
}

/// The fetches of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Numbers of data cells, each distinct chunk once.
    pub order: Vec<u32>,
    /// Requests, by offset on the target.
    pub batches: Vec<Batch>,
    /// Cells that hold the same chunk as one in `order`.
    pub copies: HashMap<u32, Vec<u32>>,
}

impl Plan {
    /// What putting `selection` of an image onto an unknown target takes.
    ///
    /// # Errors
    /// When the image has no such part, or `places` is not its table.
    pub fn new(manifest: &Manifest, places: &Locations, selection: Selection) -> Result<Plan, NoPlan> {
        let cells = manifest.digests().count();
        if cells != places.entries().len() {
            return Err(NoPlan::Places { cells, places: places.entries().len() });
        }
        let only = selected(manifest, selection)?;
        let base = only.map_or(0, |region| region.start);
        let size = only.map_or(manifest.size(), |region| region.size);
        let disk = only.is_none() && manifest.scheme() != Scheme::None;
        let mut plan = Plan {
            size,
            packs: places.packs().to_vec(),
            edge: Vec::new(),
            data: Vec::new(),
            zero: Vec::new(),
            free: Vec::new(),
            whole_disk: disk,
        };
        let tail =
            if disk && manifest.scheme() == Scheme::Gpt { size.saturating_sub(BACKUP_GPT) } else { size };
        let mut place = places.entries().iter();
        for region in manifest.regions() {
            if only.is_none_or(|only| only.start == region.start) {
                plan.add(region, base, tail, &mut place);
            } else {
                region.digests().zip(&mut place).for_each(drop);
            }
        }
        // From the end to the start, so that the first sectors come last.
        plan.edge.sort_by_key(|cell| Reverse(cell.span.offset));
        Ok(plan)
    }

    fn add<'a>(
        &mut self,
        region: &Region,
        base: u64,
        tail: u64,
        places: &mut impl Iterator<Item = &'a Location>,
    ) {
        let at_edge = |span: Span| span.offset < HEAD || span.end() > tail;
        for (span, run) in region.placed_runs() {
            let span = Span { offset: span.offset - base, ..span };
            let Run::Data(digests) = run else {
                let (first, middle, last) = split(span, at_edge);
                self.edge
                    .extend([first, last].into_iter().flatten().map(|span| EdgeCell { span, chunk: None }));
                match run {
                    Run::Zero(_) => self.zero.extend(middle.map(|span| ZeroRun { span, present: false })),
                    _ => self.free.extend(middle),
                }
                continue;
            };
            for ((span, digest), place) in span.cells().zip(digests).zip(&mut *places) {
                if at_edge(span) {
                    self.edge.push(EdgeCell { span, chunk: Some((*digest, *place)) });
                } else {
                    self.data.push(DataCell { span, digest: *digest, place: *place, present: false });
                }
            }
        }
    }

    /// Where the cells end that make the target bootable at its start.
    pub fn head_end(&self) -> u64 {
        self.edge.iter().filter(|cell| cell.span.offset < HEAD).map(|cell| cell.span.end()).max().unwrap_or(0)
    }

    /// Bytes to write, without what is present: chunks, zeros and the edge.
    pub fn to_write(&self) -> u64 {
        let data: u64 = self.data.iter().filter(|cell| !cell.present).map(|cell| cell.span.length).sum();
        let zero: u64 = self.zero.iter().filter(|run| !run.present).map(|run| run.span.length).sum();
        data + zero + self.edge.iter().map(|cell| cell.span.length).sum::<u64>()
    }

    /// Bytes that are read back and compared.
    pub fn to_check(&self) -> u64 {
        let data: u64 = self.data.iter().map(|cell| cell.span.length).sum();
        data + self.zero.iter().map(|run| run.span.length).sum::<u64>()
    }

    /// Compressed bytes to fetch, each distinct chunk once.
    pub fn to_fetch(&self) -> u64 {
        let work = self.work();
        let edge = self.edge.iter().filter_map(|cell| cell.chunk).map(|(_, place)| u64::from(place.length));
        let body = work.order.iter().map(|cell| u64::from(self.data[*cell as usize].place.length));
        edge.chain(body).sum()
    }

    /// The fetches for all cells that are not present.
    pub fn work(&self) -> Work {
        self.work_for((0..self.data.len() as u32).filter(|cell| !self.data[*cell as usize].present))
    }

    /// The fetches for these cells of [`Plan::data`].
    pub fn work_for(&self, cells: impl Iterator<Item = u32>) -> Work {
        let mut work = Work::default();
        let mut seen: HashMap<Digest, u32> = HashMap::new();
        for cell in cells {
            match seen.entry(self.data[cell as usize].digest) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    work.copies.entry(*first.get()).or_default().push(cell);
                }
                std::collections::hash_map::Entry::Vacant(first) => {
                    first.insert(cell);
                    self.append(&mut work, cell);
                }
            }
        }
        work
    }

    fn append(&self, work: &mut Work, cell: u32) {
        let place = self.data[cell as usize].place;
        // A number outside `packs` cannot come out of `Locations::new`.
        let Some(pack) = self.packs.get(place.pack as usize).copied() else { return };
        let end = place.offset + u64::from(place.length);
        let number = work.order.len();
        work.order.push(cell);
        if let Some(last) = work.batches.last_mut() {
            let last_end = last.offset + last.length;
            let joins = last.pack == pack
                && place.offset >= last_end
                && place.offset - last_end <= MAX_SKIP
                && end - last.offset <= MAX_RANGE;
            if joins {
                (last.length, last.cells.end) = (end - last.offset, number + 1);
                return;
            }
        }
        work.batches.push(Batch {
            pack,
            offset: place.offset,
            length: place.length.into(),
            cells: number..number + 1,
        });
    }
}

fn selected(manifest: &Manifest, selection: Selection) -> Result<Option<&Region>, NoPlan> {
    let present =
        || manifest.regions().iter().filter_map(|region| Some(region.partition.as_ref()?.number)).collect();
    match selection {
        Selection::Whole => Ok(None),
        Selection::Partition(wanted) => manifest
            .partition(wanted)
            .map(Some)
            .ok_or_else(|| NoPlan::NoPartition { wanted, present: present() }),
        Selection::Main => manifest.main().map(Some).ok_or_else(|| NoPlan::NoMain { present: present() }),
    }
}

/// Takes the first and the last cell off a run when they lie at the edge; between them no cell does,
/// because neither edge is longer than a cell.
fn split(span: Span, at_edge: impl Fn(Span) -> bool) -> (Option<Span>, Option<Span>, Option<Span>) {
    let first = Some(span.cell(0)).filter(|cell| at_edge(*cell));
    let from = first.map_or(span.offset, Span::end);
    let count = span.length.div_ceil(CHUNK);
    let last = Some(span.cell(count - 1)).filter(|cell| cell.offset >= from && at_edge(*cell));
    let to = last.map_or(span.end(), |cell| cell.offset);
    (first, (to > from).then_some(Span { offset: from, length: to - from }), last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::manifest::{PartitionFacts, Sha256};

    const MIB: u64 = CHUNK;

    fn name(byte: u8) -> Digest {
        Digest::of(&[byte])
    }

    fn region(start: u64, size: u64, number: Option<u32>, runs: Vec<Run>) -> Region {
        let partition =
            number.map(|number| PartitionFacts { number, kind: "Apple_HFS".into(), name: "x".into() });
        Region { start, size, partition, volume: None, runs }
    }

    /// Map and gap of 20 KiB, a volume of 5 MiB, the backup GPT behind it.
    fn disk() -> Manifest {
        let map = region(0, 20_480, None, vec![Run::Data(vec![name(0)])]);
        let runs = vec![
            Run::Data(vec![name(1), name(2)]),
            Run::Zero(1),
            Run::Unallocated(1),
            Run::Data(vec![name(2)]),
        ];
        let volume = region(20_480, 5 * MIB, Some(2), runs);
        let tail = region(20_480 + 5 * MIB, 20_480, None, vec![Run::Data(vec![name(3)])]);
        Manifest::new(Sha256([0; 32]), Scheme::Gpt, vec![map, volume, tail]).unwrap()
    }

    fn places(manifest: &Manifest) -> Locations {
        let entries = (0..manifest.digests().count() as u64)
            .map(|i| Location { pack: 0, offset: 48 + i * 1040, length: 1000, raw: 1 })
            .collect();
        Locations::new(vec![name(99)], entries).unwrap()
    }

    #[test]
    fn map_start_of_the_first_volume_and_backup_gpt_come_last_and_the_head_at_the_very_end() {
        let disk = disk();
        let plan = Plan::new(&disk, &places(&disk), Selection::Whole).unwrap();
        let edge: Vec<_> = plan.edge.iter().map(|cell| (cell.span.offset, cell.chunk.unwrap().0)).collect();
        assert_eq!(edge, [(20_480 + 5 * MIB, name(3)), (20_480, name(1)), (0, name(0))]);
        assert_eq!(plan.head_end(), 20_480 + MIB);
        assert!(plan.whole_disk);
    }

    #[test]
    fn a_partition_alone_starts_at_the_target_s_first_byte() {
        let disk = disk();
        let plan = Plan::new(&disk, &places(&disk), Selection::Partition(2)).unwrap();
        assert_eq!(plan.size, 5 * MIB);
        assert_eq!(plan.edge.iter().map(|cell| cell.span.offset).collect::<Vec<_>>(), [0]);
        assert_eq!(plan.data.iter().map(|cell| cell.span.offset).collect::<Vec<_>>(), [MIB, 4 * MIB]);
        assert_eq!(plan.data[0].place.offset, 48 + 2 * 1040, "places of other regions are passed over");
        assert_eq!(plan.zero[0].span, Span { offset: 2 * MIB, length: MIB });
        assert_eq!(plan.free, [Span { offset: 3 * MIB, length: MIB }]);
        assert_eq!(Plan::new(&disk, &places(&disk), Selection::Main), Ok(plan));
    }

    #[test]
    fn a_chunk_that_occurs_twice_is_fetched_once() {
        let disk = disk();
        let plan = Plan::new(&disk, &places(&disk), Selection::Partition(2)).unwrap();
        let work = plan.work();
        assert_eq!(work.order, [0]);
        assert_eq!(work.copies[&0], [1]);
    }

    #[test]
    fn neighbours_in_a_pack_are_fetched_together_up_to_a_bound() {
        let names: Vec<Digest> = (0..12_u8).map(name).collect();
        let runs = vec![Run::Data(names)];
        let volume = region(0, 12 * MIB, None, runs);
        let image = Manifest::new(Sha256([0; 32]), Scheme::None, vec![volume]).unwrap();
        let entries = (0..12)
            .map(|i| Location { pack: 0, offset: 48 + i * 1_000_040, length: 1_000_000, raw: 1 << 20 })
            .collect();
        let places = Locations::new(vec![name(99)], entries).unwrap();
        let work = Plan::new(&image, &places, Selection::Whole).unwrap().work();
        assert_eq!(
            work.batches.iter().map(|batch| batch.cells.clone()).collect::<Vec<_>>(),
            [0..4, 4..8, 8..11]
        );
        assert_eq!(work.batches[0].offset, 48 + 1_000_040, "the head is not part of it");
        assert!(work.batches.iter().all(|batch| batch.length <= MAX_RANGE));
    }

    #[test]
    fn a_part_that_is_not_there_is_refused_with_those_that_are() {
        let disk = disk();
        assert_eq!(
            Plan::new(&disk, &places(&disk), Selection::Partition(7)).unwrap_err().to_string(),
            "the image has no partition 7; it has 2"
        );
        let none = Locations::default();
        assert_eq!(Plan::new(&disk, &none, Selection::Whole), Err(NoPlan::Places { cells: 5, places: 0 }));
    }

    #[test]
    fn a_zero_head_is_part_of_the_edge_and_only_its_first_cell() {
        let volume = region(0, 3 * MIB, None, vec![Run::Zero(3)]);
        let image = Manifest::new(Sha256([0; 32]), Scheme::None, vec![volume]).unwrap();
        let plan = Plan::new(&image, &Locations::default(), Selection::Whole).unwrap();
        assert_eq!(plan.edge, [EdgeCell { span: Span { offset: 0, length: MIB }, chunk: None }]);
        assert_eq!(plan.zero[0].span, Span { offset: MIB, length: 2 * MIB });
    }
}
