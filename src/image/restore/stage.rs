//! The promise of the restore, as types: the edge of a target is written after everything else was read back.
//!
//! Owns: [`Opened`] (made by clearing the edge; takes only the bytes that the plan names, only for the cells it names),
//! [`Sound`] (made from an [`Opened`] without doubts; writes the edge). Must not know: fetching, threads.
//! The fields are private to this file: there is no other way from one to the next.

use crate::image::chunk::{CHUNK, Span, Verified, is_zero};
use crate::image::plan::{BACKUP_GPT, EdgeCell, Plan};
use crate::image::restore::{ROUNDS, RestoreError, Scratch, Target};
use crate::value::Digest;

/// Zeros are looked at in pieces of this size: small enough that progress is seen to move on a slow disk.
const ZERO_PIECE: u64 = 4 << 20;

/// A target that does not boot, being filled.
pub(super) struct Opened<'a, T: Target + ?Sized> {
    plan: &'a Plan,
    target: &'a T,
    doubts: Vec<Doubt>,
}

/// Part of a target that has not been read back as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A cell of [`Plan::data`].
    Data(u32),
    /// Zeros.
    Zero(Span),
}

/// The chunks of the edge, fetched before anything is written.
pub(super) struct Edge(Vec<(Span, Option<Verified>)>);

/// A target of which everything but the edge was read back as it should be.
pub(super) struct Sound<'a, T: Target + ?Sized>(&'a T);

/// Cells that are read back: chunks, zeros, the edge.
pub(super) fn cells(plan: &Plan) -> u64 {
    let zero: u64 = plan.zero.iter().map(|run| run.span.length.div_ceil(CHUNK)).sum();
    plan.data.len() as u64 + zero + plan.edge.len() as u64
}

impl Edge {
    /// Pairs the cells of a plan's edge with their chunks, fetched by `chunk`.
    pub(super) fn collect(
        plan: &Plan,
        mut chunk: impl FnMut(&EdgeCell) -> Result<Option<Verified>, RestoreError>,
    ) -> Result<Edge, RestoreError> {
        let fetched = plan.edge.iter().map(|cell| {
            let chunk = chunk(cell)?;
            if let (Some(chunk), Some((digest, _))) = (&chunk, cell.chunk) {
                fits(chunk, digest, cell.span)?;
            }
            Ok((cell.span, chunk))
        });
        Ok(Edge(fetched.collect::<Result<_, RestoreError>>()?))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(span, _)| span.length).sum()
    }
}

fn fits(chunk: &Verified, digest: Digest, span: Span) -> Result<(), RestoreError> {
    let got = chunk.bytes().len() as u64;
    if chunk.digest() == digest && got == span.length {
        return Ok(());
    }
    Err(RestoreError::Length { digest, got, offset: span.offset, need: span.length })
}

impl<'a, T: Target + ?Sized> Opened<'a, T> {
    /// Clears what could boot: head, backup GPT of the image's size and of the target's.
    pub(super) fn begin(plan: &'a Plan, target: &'a T) -> Result<Opened<'a, T>, RestoreError> {
        let cleared = |span: Span| {
            let zeros = vec![0; span.length as usize];
            let write = |source| RestoreError::Write { offset: span.offset, source };
            // Written, not zeroed: a discard may be forgotten by a power cut.
            target.write_at(span.offset, &zeros).map_err(write)
        };
        for cell in plan.edge.iter().rev() {
            cleared(cell.span)?;
        }
        let old_backup = target.size().saturating_sub(BACKUP_GPT).max(plan.size);
        if plan.whole_disk && old_backup < target.size() {
            cleared(Span { offset: old_backup, length: target.size() - old_backup })?;
        }
        target.flush().map_err(RestoreError::Flush)?;
        let zeros = plan.zero.iter().flat_map(|run| pieces(run.span, ZERO_PIECE)).map(Doubt::Zero);
        let doubts = (0..plan.data.len() as u32).map(Doubt::Data).chain(zeros).collect();
        Ok(Opened { plan, target, doubts })
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// What has not been read back yet.
    pub(super) fn doubt(&self, number: usize) -> Doubt {
        self.doubts[number]
    }

    pub(super) fn doubts(&self) -> usize {
        self.doubts.len()
    }

    /// Where the first doubt is.
    pub(super) fn first_doubt(&self) -> u64 {
        let start = |doubt: &Doubt| match *doubt {
            Doubt::Data(cell) => self.plan.data[cell as usize].span.offset,
            Doubt::Zero(span) => span.offset,
        };
        self.doubts.iter().map(start).min().unwrap_or(0)
    }

    /// Writes a chunk to one of its cells.
    pub(super) fn write(&self, cell: u32, chunk: &Verified) -> Result<(), RestoreError> {
        let cell = &self.plan.data[cell as usize];
        fits(chunk, cell.digest, cell.span)?;
        let offset = cell.span.offset;
        self.target.write_at(offset, chunk.bytes()).map_err(|source| RestoreError::Write { offset, source })
    }

    /// Makes a stretch that the plan knows as zeros, or as free, read as zeros.
    pub(super) fn zero(&self, span: Span) -> Result<(), RestoreError> {
        self.target.zero(span).map_err(|source| RestoreError::Write { offset: span.offset, source })
    }

    /// Writes zeros byte by byte, where [`Target::zero`] did not keep its word.
    pub(super) fn write_zeros(&self, span: Span) -> Result<(), RestoreError> {
        let zeros = vec![0; CHUNK as usize];
        pieces(span, CHUNK).try_for_each(|piece| {
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

    /// Reads one doubt back. True when the medium holds what it should; a sector that cannot be read does not.
    pub(super) fn holds(&self, doubt: Doubt, scratch: &mut Scratch) -> bool {
        match doubt {
            Doubt::Data(cell) => {
                let cell = &self.plan.data[cell as usize];
                holds_chunk(self.target, cell.span, cell.digest, scratch)
            }
            Doubt::Zero(span) => pieces(span, CHUNK).all(|piece| holds_zeros(self.target, piece, scratch)),
        }
    }

    /// Keeps the doubts that `settled` (one entry a doubt, by number) does not take away. Without doubts the
    /// target is sound.
    pub(super) fn settle(mut self, settled: &[bool]) -> Result<Sound<'a, T>, Opened<'a, T>> {
        let mut settled = settled.iter();
        self.doubts.retain(|_| !settled.next().copied().unwrap_or(false));
        if self.doubts.is_empty() { Ok(Sound(self.target)) } else { Err(self) }
    }
}

impl<T: Target + ?Sized> Sound<'_, T> {
    /// The target becomes bootable here and nowhere else. Gives the number of cells that had to be written again.
    pub(super) fn close(self, edge: &Edge) -> Result<u64, RestoreError> {
        let mut rewritten = 0;
        // One cell after the other, each durable before the next: whatever interrupts this, the first sectors of
        // the target, which come last, never stand above anything that is missing.
        for (span, chunk) in &edge.0 {
            rewritten += self.write_edge(*span, chunk.as_ref()).inspect_err(|_| self.clear_again(edge))?;
        }
        Ok(rewritten)
    }

    fn write_edge(&self, span: Span, chunk: Option<&Verified>) -> Result<u64, RestoreError> {
        let zeros = vec![0; if chunk.is_some() { 0 } else { span.length as usize }];
        let bytes = chunk.map_or(&zeros[..], Verified::bytes);
        let mut scratch = Scratch::new();
        for round in 0..ROUNDS {
            let failed = |source| RestoreError::Write { offset: span.offset, source };
            self.0.write_at(span.offset, bytes).map_err(failed)?;
            self.0.flush().map_err(RestoreError::Flush)?;
            let holds = match chunk {
                Some(chunk) => holds_chunk(self.0, span, chunk.digest(), &mut scratch),
                None => holds_zeros(self.0, span, &mut scratch),
            };
            if holds {
                return Ok(round.into());
            }
        }
        Err(RestoreError::Unsound { cells: 1, offset: span.offset, rounds: ROUNDS })
    }

    /// A head that does not read back is no head. The medium is faulty and this may fail too; the error that is
    /// reported is the one that led here.
    fn clear_again(&self, edge: &Edge) {
        for (span, _) in edge.0.iter().rev() {
            drop(self.0.write_at(span.offset, &vec![0; span.length as usize]));
        }
        drop(self.0.flush());
    }
}

/// `span` in pieces of at most `length`.
pub(super) fn pieces(span: Span, length: u64) -> impl Iterator<Item = Span> {
    (span.offset..span.end())
        .step_by(length as usize)
        .map(move |offset| Span { offset, length: length.min(span.end() - offset) })
}

pub(super) fn holds_chunk<T: Target + ?Sized>(
    target: &T,
    span: Span,
    digest: Digest,
    scratch: &mut Scratch,
) -> bool {
    let bytes = scratch.of(span.length);
    target.read_back(span.offset, bytes).is_ok() && Digest::of(bytes) == digest
}

pub(super) fn holds_zeros<T: Target + ?Sized>(target: &T, span: Span, scratch: &mut Scratch) -> bool {
    let bytes = scratch.of(span.length);
    target.read_back(span.offset, bytes).is_ok() && is_zero(bytes)
}
