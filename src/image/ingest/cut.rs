//! Cuts a stream of pieces along the grid: regions from the partition map, cells from the start of each region.
//!
//! Owns: waiting for the map, where regions begin and end, what a mixed cell becomes, how many cells are handed on together.
//! Must not know: threads, digests.

use std::ops::Range;

use crate::image::chunk::{CHUNK, PIECE, Span};
use crate::image::ingest::Halt;
use crate::image::manifest::{PartitionFacts, Region, Run};
use crate::image::partition::{Layout, Scheme};
use crate::image::source::Piece;

/// Bytes that are kept until the partition map can be read: it lies within the first MiB in all three schemes.
const MAP: usize = 1 << 20;

/// Place and length of a piece.
pub(super) fn extent(piece: &Piece<'_>) -> (u64, u64) {
    match piece {
        Piece::Data { offset, bytes } => (*offset, bytes.len() as u64),
        Piece::Zero { offset, length } | Piece::Unallocated { offset, length } => (*offset, *length),
    }
}

/// Neighbouring cells of region number `region` that are alike; of data at most [`PIECE`] bytes, of which only the last
/// cell of the region may be shorter than [`CHUNK`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    Data { region: usize, bytes: Vec<u8> },
    Zero { region: usize, cells: u64 },
    Unallocated { region: usize, cells: u64 },
}

/// A region that is known from the map; the last one reaches to the end of the image, wherever that is.
#[derive(Debug)]
struct Planned {
    span: Span,
    facts: Option<PartitionFacts>,
}

/// The end of the last region before the end of the image is known.
const OPEN_END: u64 = u64::MAX;

/// What comes before the map can be read.
#[derive(Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    held: Vec<Held>,
}

enum Held {
    Data(Range<usize>),
    Zero(u64),
    Unallocated(u64),
}

impl Waiting {
    /// Takes a piece. True when the map can be read.
    fn push(&mut self, piece: &Piece<'_>) -> bool {
        let from = self.bytes.len();
        let blank = |length: u64| from + length.min((MAP - from) as u64) as usize;
        match piece {
            Piece::Data { bytes, .. } => {
                self.bytes.extend_from_slice(bytes);
                self.held.push(Held::Data(from..self.bytes.len()));
            }
            Piece::Zero { length, .. } => {
                self.bytes.resize(blank(*length), 0);
                self.held.push(Held::Zero(*length));
            }
            Piece::Unallocated { length, .. } => {
                self.bytes.resize(blank(*length), 0);
                self.held.push(Held::Unallocated(*length));
            }
        }
        self.bytes.len() >= MAP
    }

    /// Reads the map and cuts what was held.
    fn cut(self, layout: impl FnOnce(&[u8]) -> Result<Layout, Halt>, send: Send<'_>) -> Result<Cutter, Halt> {
        let map = &self.bytes[..self.bytes.len().min(MAP)];
        let mut cutter = Cutter::new(layout(map)?);
        for held in self.held {
            let offset = cutter.position;
            let piece = match held {
                Held::Data(range) => Piece::Data { offset, bytes: &self.bytes[range] },
                Held::Zero(length) => Piece::Zero { offset, length },
                Held::Unallocated(length) => Piece::Unallocated { offset, length },
            };
            cutter.push(piece, send)?;
        }
        Ok(cutter)
    }
}

/// Where cells go.
type Send<'a> = &'a mut dyn FnMut(Job) -> Result<(), Halt>;

/// Cuts pieces from the first one on, `layout` unread or read.
pub(super) enum Grid<L> {
    Waiting(Waiting, L),
    Cutting(Cutter),
    Halted,
}

impl<L: FnOnce(&[u8]) -> Result<Layout, Halt>> Grid<L> {
    /// Before the first piece.
    pub(super) fn waiting(layout: L) -> Grid<L> {
        Grid::Waiting(Waiting::default(), layout)
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: Piece<'_>, send: Send<'_>) -> Result<(), Halt> {
        let ready = match self {
            Grid::Cutting(cutter) => return cutter.push(piece, send),
            Grid::Waiting(waiting, _) => waiting.push(&piece),
            Grid::Halted => return Err(Halt),
        };
        if ready {
            *self = Grid::Cutting(std::mem::replace(self, Grid::Halted).cutter(send)?);
        }
        Ok(())
    }

    /// The image ends here.
    pub(super) fn finish(self, send: Send<'_>) -> Result<Cutter, Halt> {
        let mut cutter = self.cutter(send)?;
        cutter.end_cell(true, send)?;
        Ok(cutter)
    }

    fn cutter(self, send: Send<'_>) -> Result<Cutter, Halt> {
        match self {
            Grid::Waiting(waiting, layout) => waiting.cut(layout, send),
            Grid::Cutting(cutter) => Ok(cutter),
            Grid::Halted => Err(Halt),
        }
    }
}

/// The state between pieces.
pub(super) struct Cutter {
    scheme: Scheme,
    regions: Vec<Planned>,
    left_out: Vec<PartitionFacts>,
    /// Region of the next byte.
    region: usize,
    /// Place of the next byte.
    position: u64,
    /// Data cells that wait for more, then the present cell if it is `mixed`.
    data: Vec<u8>,
    /// Bytes of the present cell so far.
    filled: u64,
    /// Whether they are written down in `data`: not as long as there are only zeros.
    mixed: bool,
    unallocated: bool,
}

impl Cutter {
    fn new(layout: Layout) -> Cutter {
        let mut parts = layout.partitions;
        parts.sort_by_key(|part| part.start);
        let (mut regions, mut left_out, mut position) = (Vec::new(), Vec::new(), 0);
        for part in parts {
            let facts = PartitionFacts { number: part.number, kind: part.kind.to_string(), name: part.name };
            let end = part.start.checked_add(part.size);
            let (true, Some(end)) = (part.start >= position && part.size > 0, end) else {
                left_out.push(facts);
                continue;
            };
            if part.start > position {
                let span = Span { offset: position, length: part.start - position };
                regions.push(Planned { span, facts: None });
            }
            regions
                .push(Planned { span: Span { offset: part.start, length: part.size }, facts: Some(facts) });
            position = end;
        }
        regions.push(Planned { span: Span { offset: position, length: OPEN_END - position }, facts: None });
        Cutter {
            scheme: layout.scheme,
            regions,
            left_out,
            region: 0,
            position: 0,
            data: Vec::new(),
            filled: 0,
            mixed: false,
            unallocated: true,
        }
    }

    /// Cuts the next piece.
    fn push(&mut self, piece: Piece<'_>, send: Send<'_>) -> Result<(), Halt> {
        let length = extent(&piece).1;
        let mut done = 0;
        while done < length {
            let left = self.regions[self.region].span.end() - self.position;
            let whole = self.whole_cells(&piece, length - done, left);
            let step = if whole > 0 {
                let unallocated = matches!(piece, Piece::Unallocated { .. });
                self.hand_on(send)?;
                send(self.blank(unallocated, whole))?;
                left.min(whole.saturating_mul(CHUNK))
            } else {
                let cell_left = (CHUNK - self.filled).min(left);
                let step = cell_left.min(length - done);
                self.add(&piece, done, step);
                step
            };
            (done, self.position) = (done + step, self.position + step);
            if self.filled == CHUNK || step == left {
                self.end_cell(step == left, send)?;
            }
            if step == left {
                self.region += 1;
            }
        }
        Ok(())
    }

    /// Cells that a blank piece covers whole, at the start of a cell.
    fn whole_cells(&self, piece: &Piece<'_>, length: u64, left: u64) -> u64 {
        match piece {
            Piece::Zero { .. } | Piece::Unallocated { .. } if self.filled == 0 => {
                if length >= left {
                    left.div_ceil(CHUNK)
                } else {
                    length / CHUNK
                }
            }
            _ => 0,
        }
    }

    fn blank(&self, unallocated: bool, cells: u64) -> Job {
        match unallocated {
            true => Job::Unallocated { region: self.region, cells },
            false => Job::Zero { region: self.region, cells },
        }
    }

    /// Adds `step` bytes of `piece`, from its byte `from` on, to the present cell.
    fn add(&mut self, piece: &Piece<'_>, from: u64, step: u64) {
        match piece {
            Piece::Data { bytes, .. } => {
                if !std::mem::replace(&mut self.mixed, true) {
                    if self.data.capacity() == 0 {
                        self.data.reserve_exact(PIECE as usize);
                    }
                    self.data.resize(self.data.len() + self.filled as usize, 0);
                }
                self.data.extend_from_slice(&bytes[from as usize..][..step as usize]);
            }
            Piece::Zero { .. } | Piece::Unallocated { .. } => {
                self.unallocated &= matches!(piece, Piece::Unallocated { .. });
                if self.mixed {
                    self.data.resize(self.data.len() + step as usize, 0);
                }
            }
        }
        self.filled += step;
    }

    /// The present cell, if it has begun, is complete; `last` of its region.
    fn end_cell(&mut self, last: bool, send: Send<'_>) -> Result<(), Halt> {
        let (filled, mixed) = (std::mem::take(&mut self.filled), std::mem::take(&mut self.mixed));
        let unallocated = std::mem::replace(&mut self.unallocated, true);
        let blank = filled > 0 && !mixed;
        if blank || last || self.data.len() as u64 >= PIECE {
            self.hand_on(send)?;
        }
        if blank { send(self.blank(unallocated, 1)) } else { Ok(()) }
    }

    /// Hands on the data cells that wait.
    fn hand_on(&mut self, send: Send<'_>) -> Result<(), Halt> {
        if self.data.is_empty() {
            return Ok(());
        }
        send(Job::Data { region: self.region, bytes: std::mem::take(&mut self.data) })
    }

    /// The regions that the image has, with their cells; and the partitions that it has not, or not whole.
    pub(super) fn into_regions(self, runs: Vec<Vec<Run>>) -> (Scheme, Vec<Region>, Vec<PartitionFacts>) {
        let (mut regions, mut left_out) = (Vec::new(), self.left_out);
        let mut runs = runs.into_iter();
        for planned in self.regions {
            let (start, end) = (planned.span.offset, planned.span.end());
            let runs = runs.next().unwrap_or_default();
            let whole = end <= self.position;
            if !whole {
                left_out.extend(planned.facts.clone());
            }
            if start < self.position {
                let size = end.min(self.position) - start;
                let partition = planned.facts.filter(|_| whole);
                regions.push(Region { start, size, partition, volume: None, runs });
            }
        }
        (self.scheme, regions, left_out)
    }
}
