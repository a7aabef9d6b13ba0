//! What a restore must do to a target, as data: decided here, printed by `--dry-run`, done by `restore`.
//!
//! Owns: which cells go where, which of them make the target bootable and therefore come last. `work` says what is fetched
//! together. Must not know: how a target is written, how packs are read.
//!
//! Chunks are not copied out of the manifest: a plan costs four bytes a cell beside it, so that a Mac with little memory
//! takes a large image.

mod work;

use std::cmp::Reverse;
use std::ops::Range;

pub use work::{Batch, Want, Work};

use crate::image::chunk::{CHUNK, PIECE, Slot, Span};
use crate::image::manifest::{Locations, Manifest, Region, Run};
use crate::image::partition::Scheme;
use crate::value::Digest;

/// Firmware and boot loaders begin in the first MiB: boot sector, partition table, HFS+ volume header (TN1150),
/// APFS container superblock. Every cell that begins here is written last.
pub const HEAD: u64 = 1 << 20;
/// The backup GPT at the end of a disk, from which firmware repairs a missing primary one (UEFI 5.3.2):
/// 33 sectors of 512 bytes, or 5 of 4096.
pub const BACKUP_GPT: u64 = 5 * 4096;

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
    /// Where it lies.
    pub slot: Slot,
}

/// Neighbouring cells that must hold chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DataRun<'m> {
    /// Where on the target.
    span: Span,
    /// The chunks.
    digests: &'m [Digest],
    /// Number of the first cell.
    first: u32,
    /// Its place in [`Locations::cells`].
    place: usize,
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
    pub chunk: Option<(Digest, Slot)>,
    /// Cells of one step are made durable together, before the next step begins.
    pub step: u32,
}

/// Everything that a restore does to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<'m> {
    /// Bytes that the target must have.
    pub size: u64,
    /// Written last, in this order: backup GPT, then the head from its end to the first sector, which has a step of its own.
    pub edge: Vec<EdgeCell>,
    /// Zeros, by offset.
    pub zero: Vec<ZeroRun>,
    /// Stretches that the image says nothing about.
    pub free: Vec<Span>,
    /// Whether the old backup GPT at the end of a larger target must go.
    pub whole_disk: bool,
    /// All other chunks, by offset.
    runs: Vec<DataRun<'m>>,
    /// Which of them were found on the target already.
    present: Vec<bool>,
    places: Locations,
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

impl<'m> Plan<'m> {
    /// What putting `selection` of an image onto an unknown target takes.
    ///
    /// # Errors
    /// When the image has no such part, or `places` is not its table.
    pub fn new(manifest: &'m Manifest, places: Locations, selection: Selection) -> Result<Plan<'m>, NoPlan> {
        let cells: usize = manifest.regions().iter().map(Region::data_cells).sum();
        if cells != places.cells().len() {
            return Err(NoPlan::Places { cells, places: places.cells().len() });
        }
        let only = selected(manifest, selection)?;
        let base = only.map_or(0, |region| region.start);
        let size = only.map_or(manifest.size(), |region| region.size);
        let disk = only.is_none() && manifest.scheme() != Scheme::None;
        let mut plan = Plan {
            size,
            edge: Vec::new(),
            zero: Vec::new(),
            free: Vec::new(),
            whole_disk: disk,
            runs: Vec::new(),
            present: Vec::new(),
            places,
        };
        let tail =
            if disk && manifest.scheme() == Scheme::Gpt { size.saturating_sub(BACKUP_GPT) } else { size };
        let mut place = 0;
        for (number, region) in (0..).zip(manifest.regions()) {
            if only.is_none_or(|only| only.start == region.start) {
                plan.add(number, region, base, tail, place);
            }
            place += region.data_cells();
        }
        plan.present = vec![false; plan.runs.last().map_or(0, |last| last.end() as usize)];
        plan.order_edge();
        Ok(plan)
    }

    /// Adds region number `step`, whose first chunk has place number `place`.
    fn add(&mut self, step: u32, region: &'m Region, base: u64, tail: u64, mut place: usize) {
        for (span, run) in region.placed_runs() {
            let span = Span { offset: span.offset - base, ..span };
            let middle = middle(span, tail);
            let edge = (0..middle.start).chain(middle.end..span.length.div_ceil(CHUNK));
            let inner = || span.cell_run(middle.start, middle.end - middle.start);
            let digests = match run {
                Run::Data(digests) => digests.as_slice(),
                Run::Zero(_) | Run::Unallocated(_) => &[],
            };
            self.edge.extend(edge.map(|cell| {
                let at = cell as usize;
                let chunk = digests.get(at).map(|digest| (*digest, self.places.cells()[place + at]));
                EdgeCell { span: span.cell(cell), chunk, step }
            }));
            match run {
                _ if middle.is_empty() => {}
                Run::Zero(_) => self.zero.push(ZeroRun { span: inner(), present: false }),
                Run::Unallocated(_) => self.free.push(inner()),
                Run::Data(_) => {
                    let (from, to) = (middle.start as usize, middle.end as usize);
                    let first = self.runs.last().map_or(0, DataRun::end);
                    let digests = &digests[from..to];
                    self.runs.push(DataRun { span: inner(), digests, first, place: place + from });
                }
            }
            place += digests.len();
        }
    }

    /// From the end to the start, so that the first sectors come last. A step is what is left of one region; the first cell
    /// of the target has one for itself.
    fn order_edge(&mut self) {
        self.edge.sort_by_key(|cell| Reverse(cell.span.offset));
        let regions: Vec<u32> = self.edge.iter().map(|cell| cell.step).collect();
        let (mut step, last) = (0, self.edge.len().saturating_sub(1));
        for number in 0..self.edge.len() {
            let apart = number > 0 && {
                let (this, before) = (self.edge[number].span, self.edge[number - 1].span);
                regions[number] != regions[number - 1] || this.end() != before.offset || number == last
            };
            step += u32::from(apart);
            self.edge[number].step = step;
        }
    }

    /// Where frames lie.
    pub fn places(&self) -> &Locations {
        &self.places
    }

    /// Number of data cells.
    pub fn cells(&self) -> u32 {
        self.present.len() as u32
    }

    /// The data cell `number`, counted by offset.
    pub fn cell(&self, number: u32) -> DataCell {
        let run = self.run(number);
        let at = number - run.first;
        DataCell {
            span: run.span.cell(at.into()),
            digest: run.digests[at as usize],
            slot: self.places.cells()[run.place + at as usize],
        }
    }

    /// Neighbouring data cells from number `first` on, at most `count`: their place on the target, and their chunks.
    pub fn stretch(&self, first: u32, count: u32) -> (Span, &'m [Digest]) {
        let run = self.run(first);
        let at = first - run.first;
        let to = (at.saturating_add(count) as usize).min(run.digests.len());
        let digests = &run.digests[at as usize..to];
        (run.span.cell_run(at.into(), digests.len() as u64), digests)
    }

    /// All data cells in stretches of at most [`PIECE`] bytes, by number.
    pub fn pieces(&self) -> impl Iterator<Item = Range<u32>> {
        const MOST: u32 = (PIECE / CHUNK) as u32;
        self.runs.iter().flat_map(|run| {
            let end = run.end();
            (run.first..end).step_by(MOST as usize).map(move |first| first..end.min(first + MOST))
        })
    }

    fn run(&self, cell: u32) -> &DataRun<'m> {
        &self.runs[self.runs.partition_point(|run| run.end() <= cell)]
    }

    /// Whether a data cell was found on the target already.
    pub fn is_present(&self, cell: u32) -> bool {
        self.present[cell as usize]
    }

    /// Tells which data cells were found on the target.
    pub fn found(&mut self, present: impl IntoIterator<Item = bool>) {
        self.present.iter_mut().zip(present).for_each(|(cell, found)| *cell = found);
    }

    /// Number of data cells that were found on the target.
    pub fn present_cells(&self) -> u64 {
        self.present.iter().filter(|present| **present).count() as u64
    }

    /// Where the cells end that make the target bootable at its start.
    pub fn head_end(&self) -> u64 {
        self.edge.iter().filter(|cell| cell.span.offset < HEAD).map(|cell| cell.span.end()).max().unwrap_or(0)
    }

    /// Bytes of the data cells that are present, or that are not.
    pub fn data_bytes(&self, present: bool) -> u64 {
        let of_run = |run: &DataRun<'_>| {
            let cells = run.first..run.end();
            let wanted = cells.clone().filter(|cell| self.is_present(*cell) == present).count() as u64;
            // Only the last cell of a run can be short.
            let last = run.end() - 1;
            let short = cells.len() as u64 * CHUNK - run.span.length;
            wanted * CHUNK - if self.is_present(last) == present { short } else { 0 }
        };
        self.runs.iter().map(of_run).sum()
    }

    /// Bytes to write, without what is present: chunks, zeros and the edge.
    pub fn to_write(&self) -> u64 {
        let zero: u64 = self.zero.iter().filter(|run| !run.present).map(|run| run.span.length).sum();
        self.data_bytes(false) + zero + self.edge.iter().map(|cell| cell.span.length).sum::<u64>()
    }

    /// Bytes that are read back and compared.
    pub fn to_check(&self) -> u64 {
        let data: u64 = self.runs.iter().map(|run| run.span.length).sum();
        data + self.zero.iter().map(|run| run.span.length).sum::<u64>()
    }

    /// Of these, bytes that need no reading back because they were found on the target.
    pub fn present_to_check(&self) -> u64 {
        let zero: u64 = self.zero.iter().filter(|run| run.present).map(|run| run.span.length).sum();
        self.data_bytes(true) + zero
    }

    /// Takes free space for zeros.
    pub fn zero_free(&mut self) {
        let free = std::mem::take(&mut self.free).into_iter();
        self.zero.extend(free.map(|span| ZeroRun { span, present: false }));
        self.zero.sort_by_key(|run| run.span.offset);
    }

    /// Compressed bytes to fetch, each frame once for the edge and once for the rest.
    pub fn to_fetch(&self) -> u64 {
        self.edge_work(|_| true).frame_bytes(&self.places) + self.work().frame_bytes(&self.places)
    }

    /// The fetches for those cells of [`Plan::edge`], by number, that are `wanted`.
    pub fn edge_work(&self, wanted: impl Fn(usize) -> bool) -> Work {
        let cells = self.edge.iter().enumerate().filter(|(cell, _)| wanted(*cell));
        let wants = cells.filter_map(|(cell, edge)| Some(Want { slot: edge.chunk?.1, cell: cell as u32 }));
        Work::new(&self.places, wants.collect())
    }

    /// The fetches for all data cells that are not present.
    pub fn work(&self) -> Work {
        self.work_for((0..self.cells()).filter(|cell| !self.is_present(*cell)))
    }

    /// The fetches for these data cells.
    pub fn work_for(&self, cells: impl Iterator<Item = u32>) -> Work {
        Work::new(&self.places, cells.map(|cell| Want { slot: self.cell(cell).slot, cell }).collect())
    }
}

impl DataRun<'_> {
    /// Number of the cell after the last.
    fn end(&self) -> u32 {
        self.first + self.digests.len() as u32
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

/// Which cells of `span` lie at neither edge: those that do not begin in the head, and end before `tail`.
fn middle(span: Span, tail: u64) -> Range<u64> {
    let count = span.length.div_ceil(CHUNK);
    let from = HEAD.saturating_sub(span.offset).div_ceil(CHUNK).min(count);
    let before_tail = match tail.saturating_sub(span.offset) {
        left if left >= span.length => count,
        left => left / CHUNK,
    };
    from..before_tail.max(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::chunk::FRAME_CHUNKS;
    use crate::image::manifest::{Location, PartitionFacts, Sha256};

    const HEAD_CELLS: u64 = HEAD / CHUNK;

    fn name(number: u64) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn names(numbers: Range<u64>) -> Run {
        Run::Data(numbers.map(name).collect())
    }

    fn region(start: u64, size: u64, number: Option<u32>, runs: Vec<Run>) -> Region {
        let partition =
            number.map(|number| PartitionFacts { number, kind: "Apple_HFS".into(), name: "x".into() });
        Region { start, size, partition, volume: None, runs }
    }

    /// Map and gap of 20 KiB, a volume of the head and 4 cells, the backup GPT behind it.
    fn disk() -> Manifest {
        let map = region(0, 20_480, None, vec![names(0..1)]);
        let runs = vec![names(100..100 + HEAD_CELLS + 1), Run::Zero(1), Run::Unallocated(1), names(7..8)];
        let volume = region(20_480, HEAD + 4 * CHUNK, Some(2), runs);
        let tail = region(volume.span().end(), 20_480, None, vec![names(3..4)]);
        Manifest::new(Sha256([0; 32]), Scheme::Gpt, vec![map, volume, tail]).unwrap()
    }

    /// Full frames, one after the other.
    fn places(manifest: &Manifest) -> Locations {
        let cells = manifest.digests().count() as u32;
        let frames = (0..cells.div_ceil(FRAME_CHUNKS as u32))
            .map(|i| Location {
                pack: 0,
                offset: 48 + u64::from(i) * 1040,
                length: 1000,
                raw: crate::image::chunk::FRAME,
            })
            .collect();
        let slot = |cell| Slot::new(cell / FRAME_CHUNKS as u32, cell % FRAME_CHUNKS as u32).unwrap();
        Locations::new(vec![name(99)], frames, (0..cells).map(slot).collect()).unwrap()
    }

    fn plan(manifest: &Manifest, selection: Selection) -> Plan<'_> {
        Plan::new(manifest, places(manifest), selection).unwrap()
    }

    fn data<'p>(plan: &'p Plan<'_>) -> impl Iterator<Item = DataCell> + 'p {
        (0..plan.cells()).map(|cell| plan.cell(cell))
    }

    #[test]
    fn map_start_of_the_first_volume_and_backup_gpt_come_last_and_the_head_at_the_very_end() {
        let disk = disk();
        let plan = plan(&disk, Selection::Whole);
        let (first, last) = (plan.edge[0], plan.edge[plan.edge.len() - 1]);
        assert_eq!((first.span.offset, first.chunk.unwrap().0), (disk.size() - 20_480, name(3)));
        assert_eq!((last.span.offset, last.chunk.unwrap().0), (0, name(0)));
        let middle: Vec<_> = plan.edge[1..plan.edge.len() - 1].iter().rev().map(|cell| cell.span).collect();
        let head: Vec<_> = disk.regions()[1].span().cells().take_while(|cell| cell.offset < HEAD).collect();
        assert_eq!(middle, head);
        assert_eq!(plan.head_end(), 20_480 + HEAD);
        let steps: Vec<u32> = plan.edge.iter().map(|cell| cell.step).collect();
        assert!(
            steps[0] == 0
                && *steps.last().unwrap() == 2
                && steps[1..=head.len()].iter().all(|step| *step == 1)
        );
        assert!(plan.whole_disk);
    }

    #[test]
    fn a_partition_alone_starts_at_the_target_s_first_byte() {
        let disk = disk();
        let plan = plan(&disk, Selection::Partition(2));
        assert_eq!(plan.size, HEAD + 4 * CHUNK);
        let edge: Vec<_> = plan.edge.iter().map(|cell| cell.span.offset / CHUNK).collect();
        assert_eq!(edge, (0..HEAD_CELLS).rev().collect::<Vec<_>>());
        let steps: Vec<u32> = plan.edge.iter().map(|cell| cell.step).collect();
        assert!(steps[..steps.len() - 1].iter().all(|step| *step == 0) && steps[steps.len() - 1] == 1);
        assert_eq!(data(&plan).map(|cell| cell.span.offset).collect::<Vec<_>>(), [HEAD, HEAD + 3 * CHUNK]);
        assert_eq!(
            data(&plan).map(|cell| cell.digest).collect::<Vec<_>>(),
            [name(100 + HEAD_CELLS), name(7)]
        );
        let place = 1 + HEAD_CELLS as u32;
        let slot = Slot::new(place / FRAME_CHUNKS as u32, place % FRAME_CHUNKS as u32).unwrap();
        assert_eq!(plan.cell(0).slot, slot, "places of other regions are passed over");
        assert_eq!(plan.zero[0].span, Span { offset: HEAD + CHUNK, length: CHUNK });
        assert_eq!(plan.free, [Span { offset: HEAD + 2 * CHUNK, length: CHUNK }]);
        assert_eq!(Plan::new(&disk, places(&disk), Selection::Main), Ok(plan));
    }

    #[test]
    fn cells_are_counted_through_all_runs_and_stretches_end_with_theirs() {
        let runs = vec![names(0..HEAD_CELLS + 40), Run::Zero(2), names(500..503)];
        let cells = HEAD_CELLS + 45;
        let volume = region(0, cells * CHUNK - 100, None, runs);
        let image = Manifest::new(Sha256([0; 32]), Scheme::None, vec![volume]).unwrap();
        let mut plan = plan(&image, Selection::Whole);
        assert_eq!(plan.cells(), 43);
        let last = plan.cell(42);
        assert_eq!((last.span.end(), last.digest), (image.size(), name(502)));
        assert_eq!(plan.stretch(38, 9).1, [name(HEAD_CELLS + 38), name(HEAD_CELLS + 39)]);
        assert_eq!(plan.stretch(41, 9).0, Span { offset: last.span.offset - CHUNK, length: 2 * CHUNK - 100 });
        let pieces: Vec<_> = plan.pieces().collect();
        assert_eq!(pieces, [0..16, 16..32, 32..40, 40..43]);
        assert_eq!((plan.data_bytes(false), plan.data_bytes(true)), (43 * CHUNK - 100, 0));
        plan.found((0..43).map(|cell| cell == 1 || cell == 42));
        assert_eq!((plan.data_bytes(false), plan.data_bytes(true)), (41 * CHUNK, 2 * CHUNK - 100));
        assert_eq!(plan.present_cells(), 2);
    }

    #[test]
    fn a_frame_of_the_edge_and_of_the_rest_counts_for_both() {
        let disk = disk();
        let plan = plan(&disk, Selection::Whole);
        let frames = |work: Work| work.frame_bytes(plan.places()) / 1000;
        // Map and head are 17 cells, the cell behind is in the frame of the last of these, as is the one behind that.
        assert_eq!((frames(plan.edge_work(|_| true)), frames(plan.work())), (2, 1));
        assert_eq!(plan.to_fetch(), 3000);
    }

    #[test]
    fn a_part_that_is_not_there_is_refused_with_those_that_are() {
        let disk = disk();
        assert_eq!(
            Plan::new(&disk, places(&disk), Selection::Partition(7)).unwrap_err().to_string(),
            "the image has no partition 7; it has 2"
        );
        let none = Locations::default();
        let cells = HEAD_CELLS as usize + 4;
        assert_eq!(Plan::new(&disk, none, Selection::Whole), Err(NoPlan::Places { cells, places: 0 }));
    }

    #[test]
    fn a_zero_head_is_part_of_the_edge_and_only_its_first_mebibyte() {
        let volume = region(0, HEAD + 2 * CHUNK, None, vec![Run::Zero(HEAD_CELLS + 2)]);
        let image = Manifest::new(Sha256([0; 32]), Scheme::None, vec![volume]).unwrap();
        let plan = Plan::new(&image, Locations::default(), Selection::Whole).unwrap();
        assert!(plan.edge.iter().all(|cell| cell.chunk.is_none() && cell.span.end() <= HEAD));
        assert_eq!(plan.edge.len() as u64, HEAD_CELLS);
        assert_eq!(plan.zero, [ZeroRun { span: Span { offset: HEAD, length: 2 * CHUNK }, present: false }]);
    }
}
