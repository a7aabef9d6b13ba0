//! The promise of the restore, as types: the edge of a target is written after everything else was read back.
//!
//! Owns: [`Opened`] (made by clearing the edge; takes only the bytes that the plan names, only for the cells it names; doubts
//! every cell that [`Seen`] has no evidence of),
//! [`Sound`] (made from an [`Opened`] without doubts; writes the edge). Must not know: fetching, threads.
//! The fields are private to this file: there is no other way from one to the next.

use crate::image::chunk::{CHUNK, PIECE, Span, Verified, VerifiedRun, is_zero};
use crate::image::plan::{EdgeCell, Plan};
use crate::image::restore::seen::{Seen, old_backup, read_cells};
use crate::image::restore::{ROUNDS, RestoreError, Scratch, Target, pieces};
use crate::value::Digest;

/// Zeros are looked at in pieces of this size: small enough that progress is seen to move on a slow disk.
const ZERO_PIECE: u64 = 4 << 20;

/// A target that does not boot, being filled.
pub(super) struct Opened<'a, T: Target + ?Sized> {
    plan: &'a Plan<'a>,
    target: &'a T,
    doubts: Vec<Doubt>,
}

/// Part of a target that has not been read back as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// This many neighbouring data cells from this number on.
    Data(u32, u32),
    /// Zeros.
    Zero(Span),
}

/// What reading back one doubt left of it. Made by [`Opened::read`] only.
pub(super) struct Finding {
    number: usize,
    left: Vec<Doubt>,
}

/// The chunks of the edge, fetched before anything is written.
pub(super) struct Edge(Vec<(EdgeCell, Option<Verified<'static>>)>);

/// A target of which everything but the edge was read back as it should be.
pub(super) struct Sound<'a, T: Target + ?Sized>(&'a T);

/// Cells that are read back: chunks, zeros, the edge.
pub(super) fn cells(plan: &Plan<'_>) -> u64 {
    let zero: u64 = plan.zero.iter().map(|run| run.span.length.div_ceil(CHUNK)).sum();
    u64::from(plan.cells()) + zero + plan.edge.len() as u64
}

impl Edge {
    /// Pairs the cells of a plan's edge with their chunks. None when a chunk is missing or is another.
    pub(super) fn collect(
        plan: &Plan<'_>,
        chunks: Vec<Option<Verified<'static>>>,
    ) -> Result<Edge, RestoreError> {
        let mut edge = Vec::with_capacity(plan.edge.len());
        for (cell, chunk) in plan.edge.iter().zip(chunks.into_iter().chain(std::iter::repeat_with(|| None))) {
            if let Some((digest, _)) = cell.chunk {
                let (got, length) = match &chunk {
                    Some(chunk) => (Some(chunk.digest()), chunk.bytes().len() as u64),
                    None => (None, 0),
                };
                fits((got.unwrap_or(digest), length), digest, cell.span)?;
            }
            edge.push((*cell, chunk));
        }
        Ok(Edge(edge))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(cell, _)| cell.span.length).sum()
    }
}

fn fits(got: (Digest, u64), digest: Digest, span: Span) -> Result<(), RestoreError> {
    if got == (digest, span.length) {
        return Ok(());
    }
    Err(RestoreError::Length { digest, got: got.1, offset: span.offset, need: span.length })
}

impl<'a, T: Target + ?Sized> Opened<'a, T> {
    /// Clears what could boot: head, backup GPT of the image's size and of the target's.
    pub(super) fn begin(
        plan: &'a Plan<'a>,
        target: &'a T,
        seen: &Seen,
    ) -> Result<Opened<'a, T>, RestoreError> {
        let cleared = |span: Span| {
            let zeros = vec![0; span.length as usize];
            let write = |source| RestoreError::Write { offset: span.offset, source };
            // Written, not zeroed: a discard may be forgotten by a power cut.
            target.write_at(span.offset, &zeros).map_err(write)
        };
        for cell in plan.edge.iter().rev() {
            cleared(cell.span)?;
        }
        if let Some(old) = old_backup(plan, target.size()) {
            cleared(old)?;
        }
        target.flush().map_err(RestoreError::Flush)?;
        let mut doubts: Vec<Doubt> = Vec::new();
        for mut cells in plan.pieces() {
            while let Some(first) = cells.find(|cell| !seen.holds(*cell)) {
                let count = 1 + cells.by_ref().take_while(|cell| !seen.holds(*cell)).count() as u32;
                doubts.push(Doubt::Data(first, count));
            }
        }
        let zeros = seen.zero_runs().into_iter().filter(|run| !run.present);
        doubts.extend(zeros.flat_map(|run| pieces(run.span, ZERO_PIECE)).map(Doubt::Zero));
        Ok(Opened { plan, target, doubts })
    }

    /// To read from.
    pub(super) fn target(&self) -> &'a T {
        self.target
    }

    pub(super) fn plan(&self) -> &'a Plan<'a> {
        self.plan
    }

    /// What has not been read back yet.
    pub(super) fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// Bytes of a doubt.
    pub(super) fn bytes_of(&self, doubt: Doubt) -> u64 {
        self.span_of(doubt).length
    }

    fn span_of(&self, doubt: Doubt) -> Span {
        match doubt {
            Doubt::Data(first, count) => self.plan.stretch(first, count).0,
            Doubt::Zero(span) => span,
        }
    }

    /// Cells in doubt.
    pub(super) fn doubted_cells(&self) -> u64 {
        let cells = |doubt: &Doubt| match *doubt {
            Doubt::Data(_, count) => count.into(),
            Doubt::Zero(span) => span.length.div_ceil(CHUNK),
        };
        self.doubts.iter().map(cells).sum()
    }

    /// Where the first doubt is.
    pub(super) fn first_doubt(&self) -> u64 {
        self.doubts.iter().map(|doubt| self.span_of(*doubt).offset).min().unwrap_or(0)
    }

    /// Writes neighbouring chunks to the cells from number `first` on, if these are what they must hold.
    pub(super) fn write(&self, first: u32, chunks: VerifiedRun<'_>) -> Result<(), RestoreError> {
        let count = chunks.chunks().count();
        let (span, digests) = self.plan.stretch(first, count as u32);
        let cells = span.cells().zip(digests);
        for ((cell, digest), (name, bytes)) in cells.zip(chunks.chunks()) {
            fits((name, bytes.len() as u64), *digest, cell)?;
        }
        let (offset, got) = (span.offset, chunks.bytes().len() as u64);
        if digests.len() != count || got != span.length {
            let digest = self.plan.cell(first).digest;
            return Err(RestoreError::Length { digest, got, offset, need: span.length });
        }
        self.target.write_at(offset, chunks.bytes()).map_err(|source| RestoreError::Write { offset, source })
    }

    /// Writes a chunk to its cell.
    pub(super) fn write_chunk(&self, cell: u32, chunk: &Verified<'_>) -> Result<(), RestoreError> {
        let cell = self.plan.cell(cell);
        fits((chunk.digest(), chunk.bytes().len() as u64), cell.digest, cell.span)?;
        let offset = cell.span.offset;
        self.target.write_at(offset, chunk.bytes()).map_err(|source| RestoreError::Write { offset, source })
    }

    /// Makes a stretch that the plan knows as zeros, or as free, read as zeros.
    pub(super) fn zero(&self, span: Span) -> Result<(), RestoreError> {
        self.target.zero(span).map_err(|source| RestoreError::Write { offset: span.offset, source })
    }

    /// Writes zeros byte by byte, where [`Target::zero`] did not keep its word.
    pub(super) fn write_zeros(&self, span: Span) -> Result<(), RestoreError> {
        let zeros = vec![0; PIECE as usize];
        pieces(span, PIECE).try_for_each(|piece| {
            self.target
                .write_at(piece.offset, &zeros[..piece.length as usize])
                .map_err(|source| RestoreError::Write { offset: piece.offset, source })
        })
    }

    /// See [`Target::release`].
    pub(super) fn release(&self, span: Span) -> Result<bool, RestoreError> {
        self.target.release(span).map_err(|source| RestoreError::Write { offset: span.offset, source })
    }

    pub(super) fn flush(&self) -> Result<(), RestoreError> {
        self.target.flush().map_err(RestoreError::Flush)
    }

    /// Reads doubt number `number` back: what the medium does not hold as it should stays in doubt, cell by cell; so does a
    /// sector that cannot be read.
    pub(super) fn read(&self, number: usize, scratch: &mut Scratch) -> Finding {
        let mut left = Vec::new();
        match self.doubts[number] {
            Doubt::Data(first, count) => {
                let (span, digests) = self.plan.stretch(first, count);
                let mut holds = vec![false; digests.len()];
                read_cells(self.target, span, scratch, |at, _, bytes| {
                    holds[at] = Digest::of(bytes) == digests[at]
                });
                let wrong = (first..).zip(holds).filter(|(_, holds)| !holds);
                left.extend(wrong.map(|(cell, _)| Doubt::Data(cell, 1)));
            }
            Doubt::Zero(span) => {
                if !pieces(span, PIECE).all(|piece| holds_zeros(self.target, piece, scratch)) {
                    let cells = pieces(span, CHUNK);
                    let wrong = cells.filter(|cell| !holds_zeros(self.target, *cell, scratch));
                    left.extend(wrong.map(Doubt::Zero));
                }
            }
        }
        Finding { number, left }
    }

    /// Keeps the doubts that `findings` do not take away. Without doubts the target is sound.
    pub(super) fn settle(mut self, findings: Vec<Finding>) -> Result<Sound<'a, T>, Opened<'a, T>> {
        let mut read = vec![false; self.doubts.len()];
        let mut left = Vec::new();
        for finding in findings {
            if !std::mem::replace(&mut read[finding.number], true) {
                left.extend(finding.left);
            }
        }
        let unread = self.doubts.iter().zip(read).filter(|(_, read)| !read).map(|(doubt, _)| *doubt);
        left.extend(unread);
        self.doubts = left;
        if self.doubts.is_empty() { Ok(Sound(self.target)) } else { Err(self) }
    }
}

impl<T: Target + ?Sized> Sound<'_, T> {
    /// The target becomes bootable here and nowhere else. Gives the number of cells that had to be written again.
    pub(super) fn close(self, edge: &Edge) -> Result<u64, RestoreError> {
        let mut rewritten = 0;
        // One step after the other, each durable before the next: whatever interrupts this, the first sectors of
        // the target, which come last, never stand above anything that is missing.
        for step in edge.0.chunk_by(|(one, _), (other, _)| one.step == other.step) {
            rewritten += self.write_step(step).inspect_err(|_| self.clear_again(edge))?;
        }
        Ok(rewritten)
    }

    fn write_step(&self, step: &[(EdgeCell, Option<Verified<'_>>)]) -> Result<u64, RestoreError> {
        let zeros = [0; CHUNK as usize];
        let mut scratch = Scratch::new();
        let (mut left, mut rewritten): (Vec<_>, _) = (step.iter().collect(), 0);
        for round in 0..ROUNDS {
            for (cell, chunk) in &left {
                let failed = |source| RestoreError::Write { offset: cell.span.offset, source };
                let bytes = chunk.as_ref().map_or(&zeros[..cell.span.length as usize], Verified::bytes);
                self.0.write_at(cell.span.offset, bytes).map_err(failed)?;
            }
            self.0.flush().map_err(RestoreError::Flush)?;
            rewritten += if round > 0 { left.len() as u64 } else { 0 };
            left.retain(|(cell, chunk)| match chunk {
                Some(chunk) => !holds_chunk(self.0, cell.span, chunk.digest(), &mut scratch),
                None => !holds_zeros(self.0, cell.span, &mut scratch),
            });
            if left.is_empty() {
                return Ok(rewritten);
            }
        }
        let offset = left.iter().map(|(cell, _)| cell.span.offset).min().unwrap_or(0);
        Err(RestoreError::Unsound { cells: left.len() as u64, offset, rounds: ROUNDS })
    }

    /// A head that does not read back is no head. The medium is faulty and this may fail too; the error that is
    /// reported is the one that led here.
    fn clear_again(&self, edge: &Edge) {
        for (cell, _) in edge.0.iter().rev() {
            drop(self.0.write_at(cell.span.offset, &vec![0; cell.span.length as usize]));
        }
        drop(self.0.flush());
    }
}

fn holds_chunk<T: Target + ?Sized>(target: &T, span: Span, digest: Digest, scratch: &mut Scratch) -> bool {
    let bytes = scratch.of(span.length);
    target.read_back(span.offset, bytes).is_ok() && Digest::of(bytes) == digest
}

fn holds_zeros<T: Target + ?Sized>(target: &T, span: Span, scratch: &mut Scratch) -> bool {
    let bytes = scratch.of(span.length);
    target.read_back(span.offset, bytes).is_ok() && is_zero(bytes)
}
