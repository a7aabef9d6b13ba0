//! Finds what already lies on a target, at its place or elsewhere: an interrupted restore, last week's version of the image.
//!
//! Owns: what is read in which order, and which cells are filled from where. Must not know: how cells are moved.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::image::chunk::{PIECE, Span, is_zero};
use crate::image::plan::Plan;
use crate::image::restore::decide::{Decision, Sample, decide, worth_searching};
use crate::image::restore::relocate::{Move, Source};
use crate::image::restore::seen::{Seen, read_cells};
use crate::image::restore::{
    Fetched, Options, Phase, Progress, RestoreError, Scratch, Target, in_parallel, pieces,
};
use crate::value::Digest;

/// Whether to look for what is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Survey {
    /// Write everything.
    None,
    /// Look at samples spread over the image, and read all where that is faster than fetching.
    #[default]
    Sample,
    /// Read all.
    Full,
}

/// Pieces of a sample. A stranger's disk then costs 64 MiB of reading.
const SAMPLE: usize = 64;

/// What was decided and found.
pub(super) struct Surveyed {
    pub decision: Decision,
    /// Chunks that lie elsewhere on the target.
    pub moves: Vec<Move>,
}

/// The chunks of a plan by name: four bytes of the digest and the cell's number, in order. Eight bytes a cell.
struct Wanted<'p, 'm> {
    plan: &'p Plan<'m>,
    entries: Vec<u64>,
}

impl<'p, 'm> Wanted<'p, 'm> {
    fn new(plan: &'p Plan<'m>) -> Wanted<'p, 'm> {
        let mut entries = Vec::with_capacity(plan.cells() as usize);
        for cells in plan.pieces() {
            let digests = plan.stretch(cells.start, cells.len() as u32).1;
            entries.extend(cells.zip(digests).map(|(cell, digest)| prefix(digest) | u64::from(cell)));
        }
        entries.sort_unstable();
        Wanted { plan, entries }
    }

    /// Cells that must hold this chunk, by number.
    fn cells(&self, digest: Digest) -> impl Iterator<Item = u32> {
        let prefix = prefix(&digest);
        let from = self.entries.partition_point(|entry| *entry < prefix);
        let alike = self.entries[from..].iter().take_while(move |entry| **entry >> 32 == prefix >> 32);
        alike.map(|entry| *entry as u32).filter(move |cell| self.plan.cell(*cell).digest == digest)
    }
}

fn prefix(digest: &Digest) -> u64 {
    digest.as_bytes().iter().take(4).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte)) << 32
}

/// Reads what is worth it into `seen`.
pub(super) fn survey<T: Target + ?Sized>(
    plan: &Plan<'_>,
    target: &T,
    seen: &Seen,
    fetched: Fetched,
    options: Options,
    progress: &Progress,
) -> Result<Surveyed, RestoreError> {
    if options.survey == Survey::None {
        return Ok(Surveyed { decision: Decision::Nothing, moves: Vec::new() });
    }
    let wanted = Wanted::new(plan);
    let search = Search { plan, target, seen, wanted: &wanted, options, progress, found: Mutex::default() };
    let all: Vec<Range<u32>> = plan.pieces().collect();
    let decision = match options.survey {
        Survey::Full => Decision::All,
        _ if all.len() <= SAMPLE => Decision::Small,
        _ => search.sample(&all, fetched)?,
    };
    progress.decided(decision);
    if !decision.reads() {
        return Ok(Surveyed { decision, moves: Vec::new() });
    }
    progress.enter(Phase::Looking, plan.to_check());
    search.look_at_all(&all)?;
    search.look_at_free(decision)?;
    Ok(Surveyed { decision, moves: search.moves() })
}

struct Search<'s, 'm, T: ?Sized> {
    plan: &'s Plan<'m>,
    target: &'s T,
    seen: &'s Seen,
    wanted: &'s Wanted<'s, 'm>,
    options: Options,
    progress: &'s Progress,
    /// Where chunks of the image lie that are not at their place, by the first cell that wants them.
    found: Mutex<HashMap<u32, Source>>,
}

impl<T: Target + ?Sized> Search<'_, '_, T> {
    /// Looks at a few pieces. Nothing of it is kept: the cells are read again when the decision is to read.
    fn sample(&self, all: &[Range<u32>], fetched: Fetched) -> Result<Decision, RestoreError> {
        let spread: Vec<_> = all.iter().step_by(all.len().div_ceil(SAMPLE).max(1)).collect();
        let (cells, there, bytes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let began = (self.options.clock)();
        self.each(spread.len(), |scratch, number| {
            let range = spread[number].clone();
            let (span, digests) = self.plan.stretch(range.start, range.len() as u32);
            cells.fetch_add(digests.len() as u64, Ordering::Relaxed);
            bytes.fetch_add(span.length, Ordering::Relaxed);
            read_cells(self.target, span, scratch, |at, _, bytes| {
                // No chunk is only zeros, and an empty disk is nothing else: its sample need not be hashed.
                if is_zero(bytes) {
                    return;
                }
                let got = Digest::of(bytes);
                if digests.get(at) == Some(&got) || self.wanted.cells(got).next().is_some() {
                    there.fetch_add(1, Ordering::Relaxed);
                }
            });
            Ok(())
        })?;
        let reading = (self.options.clock)().saturating_sub(began);
        Ok(decide(Sample {
            cells: cells.into_inner(),
            there: there.into_inner(),
            bytes: bytes.into_inner(),
            reading,
            fetched: fetched.bytes,
            fetching: fetched.time,
            workers: self.options.workers as u64,
        }))
    }

    fn look_at_all(&self, all: &[Range<u32>]) -> Result<(), RestoreError> {
        self.each(all.len() + self.seen.zero_pieces(), |scratch, number| {
            let Some(cells) = all.get(number) else {
                let zeros = number - all.len();
                let other = |cell: Span, digest| self.note(cell.offset, None, digest);
                self.progress.add_done(self.seen.look_at_zeros(self.target, zeros, scratch, other));
                return Ok(());
            };
            let span = self.plan.stretch(cells.start, cells.len() as u32).0;
            self.seen.look_at_data(self.plan, self.target, cells.clone(), scratch, |cell, digest| {
                let number = cells.start + ((cell.offset - span.offset) / crate::image::chunk::CHUNK) as u32;
                self.note(cell.offset, Some(number), digest);
            });
            self.progress.add_done(span.length);
            Ok(())
        })
    }

    /// Free space may hold what is missing: files that were there before.
    fn look_at_free(&self, decision: Decision) -> Result<(), RestoreError> {
        let missing = (0..self.plan.cells()).any(|cell| !self.seen.holds(cell) && !self.is_found(cell));
        let all: Vec<Span> = self.plan.free.iter().flat_map(|span| pieces(*span, PIECE)).collect();
        if !missing || all.is_empty() {
            return Ok(());
        }
        let spread: Vec<Span> = all.iter().copied().step_by(all.len().div_ceil(SAMPLE)).collect();
        let (cells, hits) = (AtomicU64::new(0), AtomicU64::new(0));
        let look = |scratch: &mut Scratch, span: Span| {
            read_cells(self.target, span, scratch, |_, cell, bytes| {
                cells.fetch_add(1, Ordering::Relaxed);
                if is_zero(bytes) {
                    return;
                }
                let digest = Digest::of(bytes);
                let wanted = self.wanted.cells(digest).find(|cell| !self.seen.holds(*cell));
                if wanted.is_some() {
                    hits.fetch_add(1, Ordering::Relaxed);
                    self.note(cell.offset, None, digest);
                }
            });
            Ok(())
        };
        self.each(spread.len(), |scratch, number| look(scratch, spread[number]))?;
        let found = hits.load(Ordering::Relaxed);
        if found > 0
            && spread.len() < all.len()
            && worth_searching(cells.load(Ordering::Relaxed), found, decision)
        {
            self.each(all.len(), |scratch, number| look(scratch, all[number]))?;
        }
        Ok(())
    }

    fn each(
        &self,
        items: usize,
        work: impl Fn(&mut Scratch, usize) -> Result<(), RestoreError> + Sync,
    ) -> Result<(), RestoreError> {
        in_parallel(self.options.workers, items, Scratch::new, |scratch, number| {
            if self.progress.stopped() { Err(RestoreError::Stopped) } else { work(scratch, number) }
        })
    }

    /// A chunk lies at `offset`, in data cell number `cell` if that is one.
    fn note(&self, offset: u64, cell: Option<u32>, digest: Digest) {
        if let Some(first) = self.wanted.cells(digest).next() {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.entry(first).or_insert(Source { offset, cell });
        }
    }

    fn is_found(&self, cell: u32) -> bool {
        let first = self.wanted.cells(self.plan.cell(cell).digest).next();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        first.is_some_and(|first| found.contains_key(&first))
    }

    /// For each cell that does not hold its chunk, where that lies: best in another cell that must hold it too and stays as it
    /// is.
    fn moves(&self) -> Vec<Move> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let absent = (0..self.plan.cells()).filter(|cell| !self.seen.holds(*cell));
        let source = |cell: u32| {
            let mut alike = self.wanted.cells(self.plan.cell(cell).digest).peekable();
            let first = alike.peek().copied()?;
            let twin = alike.find(|twin| self.seen.holds(*twin));
            let stays = twin.map(|twin| Source { offset: self.plan.cell(twin).span.offset, cell: None });
            stays.or_else(|| found.get(&first).copied())
        };
        absent.filter_map(|cell| Some(Move { cell, from: source(cell)? })).collect()
    }
}
