//! What a target was seen to hold.
//!
//! Owns: [`Seen`], the evidence that lets a cell stay as it is: made by reading the medium only, nothing else sets it.
//! Must not know: what is worth reading, what happens to the rest.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::image::chunk::{CHUNK, PIECE, Span, Verified, is_zero};
use crate::image::plan::{BACKUP_GPT, Plan, ZeroRun};
use crate::image::restore::{Scratch, Target, pieces};
use crate::value::Digest;

/// Cells of a target that hold what they should, zeros that are zeros.
pub(super) struct Seen {
    data: Vec<AtomicBool>,
    zero: Vec<(Span, AtomicBool)>,
    /// The edge: its chunks where they were there.
    edge: Vec<Option<Verified<'static>>>,
    /// Bytes of the edge that are as they should be.
    edge_bytes: u64,
    /// Whether all of it is.
    edge_holds: bool,
    /// Whether nothing old stands at the end of a larger target.
    clear_behind: bool,
}

impl Seen {
    /// Nothing was read yet.
    pub fn nothing(plan: &Plan<'_>) -> Seen {
        let zero = plan.zero.iter().flat_map(|run| pieces(run.span, PIECE));
        Seen {
            data: (0..plan.cells()).map(|_| AtomicBool::new(false)).collect(),
            zero: zero.map(|span| (span, AtomicBool::new(false))).collect(),
            edge: plan.edge.iter().map(|_| None).collect(),
            edge_bytes: 0,
            edge_holds: false,
            clear_behind: false,
        }
    }

    /// Reads the edge.
    pub fn look_at_edge<T: Target + ?Sized>(&mut self, plan: &Plan<'_>, target: &T) {
        let mut scratch = Scratch::new();
        self.edge_holds = true;
        for (cell, seen) in plan.edge.iter().zip(&mut self.edge) {
            let bytes = scratch.of(cell.span.length);
            let read = target.read_back(cell.span.offset, bytes).is_ok();
            let holds = match cell.chunk {
                Some((digest, _)) => {
                    let chunk =
                        read.then(|| Verified::seal(&*bytes)).filter(|chunk| chunk.digest() == digest);
                    *seen = chunk.map(Verified::into_owned);
                    seen.is_some()
                }
                None => read && is_zero(bytes),
            };
            self.edge_holds &= holds;
            self.edge_bytes += if holds { cell.span.length } else { 0 };
        }
        self.clear_behind = old_backup(plan, target.size()).is_none_or(|old| {
            let bytes = scratch.of(old.length);
            target.read_back(old.offset, bytes).is_ok() && is_zero(bytes)
        });
    }

    /// Reads neighbouring data cells. `other` is told of those that hold something else.
    pub fn look_at_data<T: Target + ?Sized>(
        &self,
        plan: &Plan<'_>,
        target: &T,
        cells: Range<u32>,
        scratch: &mut Scratch,
        mut other: impl FnMut(Span, Digest),
    ) {
        let (span, digests) = plan.stretch(cells.start, cells.len() as u32);
        read_cells(target, span, scratch, |at, cell, bytes| {
            let got = Digest::of(bytes);
            match digests.get(at) {
                Some(wanted) if *wanted == got => {
                    self.data[cells.start as usize + at].store(true, Ordering::Relaxed)
                }
                _ if is_zero(bytes) => {}
                _ => other(cell, got),
            }
        });
    }

    /// Pieces of the zeros.
    pub fn zero_pieces(&self) -> usize {
        self.zero.len()
    }

    /// Reads piece number `number` of the zeros; gives its length. `other` is told of cells that are none.
    pub fn look_at_zeros<T: Target + ?Sized>(
        &self,
        target: &T,
        number: usize,
        scratch: &mut Scratch,
        mut other: impl FnMut(Span, Digest),
    ) -> u64 {
        let (span, seen) = &self.zero[number];
        let mut zeros = 0;
        read_cells(target, *span, scratch, |_, cell, bytes| match is_zero(bytes) {
            true => zeros += cell.length,
            false => other(cell, Digest::of(bytes)),
        });
        seen.store(zeros == span.length, Ordering::Relaxed);
        span.length
    }

    /// Whether a data cell holds its chunk.
    pub fn holds(&self, cell: u32) -> bool {
        self.data[cell as usize].load(Ordering::Relaxed)
    }

    /// Of all data cells.
    pub fn data(&self) -> impl Iterator<Item = bool> {
        self.data.iter().map(|seen| seen.load(Ordering::Relaxed))
    }

    /// The zeros of the plan, in runs that are there and runs that are not.
    pub fn zero_runs(&self) -> Vec<ZeroRun> {
        let mut runs: Vec<ZeroRun> = Vec::new();
        for (span, seen) in &self.zero {
            let present = seen.load(Ordering::Relaxed);
            match runs.last_mut() {
                Some(last) if last.present == present && last.span.end() == span.offset => {
                    last.span.length += span.length;
                }
                _ => runs.push(ZeroRun { span: *span, present }),
            }
        }
        runs
    }

    /// Whether a chunk of the edge need not be fetched.
    pub fn has_edge(&self, cell: usize) -> bool {
        self.edge[cell].is_some()
    }

    /// Bytes of the edge that are as they should be.
    pub fn edge_bytes(&self) -> u64 {
        self.edge_bytes
    }

    /// Whether nothing old stands at the end of a larger target.
    pub fn is_clear_behind(&self) -> bool {
        self.clear_behind
    }

    /// Hands the chunks of the edge on.
    pub fn take_edge(&mut self) -> Vec<Option<Verified<'static>>> {
        std::mem::take(&mut self.edge)
    }

    /// Whether there is nothing to do.
    pub fn is_all(&self) -> bool {
        self.edge_holds
            && self.clear_behind
            && self.data().all(|seen| seen)
            && self.zero.iter().all(|(_, seen)| seen.load(Ordering::Relaxed))
    }
}

/// Where the backup GPT of a larger target lies, which must not survive.
pub(super) fn old_backup(plan: &Plan<'_>, size: u64) -> Option<Span> {
    let from = size.saturating_sub(BACKUP_GPT).max(plan.size);
    (plan.whole_disk && from < size).then(|| Span { offset: from, length: size - from })
}

/// Reads at most [`PIECE`] bytes and tells of each cell. A cell that cannot be read is not told of.
pub(super) fn read_cells<T: Target + ?Sized>(
    target: &T,
    span: Span,
    scratch: &mut Scratch,
    mut tell: impl FnMut(usize, Span, &[u8]),
) {
    let bytes = scratch.of(span.length);
    if target.read_back(span.offset, bytes).is_ok() {
        for (at, (cell, bytes)) in span.cells().zip(bytes.chunks(CHUNK as usize)).enumerate() {
            tell(at, cell, bytes);
        }
        return;
    }
    // One bad sector does not speak for its neighbours.
    for (at, cell) in span.cells().enumerate() {
        let bytes = scratch.of(cell.length);
        if target.read_back(cell.offset, bytes).is_ok() {
            tell(at, cell, bytes);
        }
    }
}
