//! Finds what already lies on a target: a restore that was interrupted, or the same image from last week.
//!
//! Owns: when looking is worth the time. Must not know: why it lies there.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::image::chunk::PIECE;
use crate::image::plan::Plan;
use crate::image::restore::stage::{compare, holds_zeros, pieces};
use crate::image::restore::{Options, Progress, RestoreError, Scratch, Target, in_parallel};

/// Whether to look for cells that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Survey {
    /// Write everything.
    None,
    /// Look at a few cells spread over the image; when one of them is there, look at all.
    #[default]
    Sample,
    /// Look at all.
    Full,
}

/// Pieces of a sample. A stranger's disk then costs 64 MiB of reading.
const SAMPLE: usize = 64;

/// Marks the cells of `plan` that `target` holds already.
pub(super) fn survey<T: Target + ?Sized>(
    plan: &mut Plan<'_>,
    target: &T,
    options: Options,
    progress: &Progress,
) -> Result<(), RestoreError> {
    let all: Vec<Range<u32>> = plan.pieces().collect();
    let sample: Vec<_> = all.iter().cloned().step_by(all.len().div_ceil(SAMPLE).max(1)).collect();
    let worth = match options.survey {
        Survey::None => false,
        Survey::Full => true,
        Survey::Sample => present(plan, &sample, target, options, progress)?.contains(&true),
    };
    if !worth {
        return Ok(());
    }
    progress.enter(super::Phase::Preparing, plan.to_check());
    let found = present(plan, &all, target, options, progress)?;
    plan.found(found);
    let mut scratch = Scratch::new();
    for run in &mut plan.zero {
        if progress.stopped() {
            return Err(RestoreError::Stopped);
        }
        run.present = pieces(run.span, PIECE).all(|piece| holds_zeros(target, piece, &mut scratch));
        progress.add_done(run.span.length);
    }
    Ok(())
}

/// Which of all cells are seen to be there when these are looked at.
fn present<T: Target + ?Sized>(
    plan: &Plan<'_>,
    look_at: &[Range<u32>],
    target: &T,
    options: Options,
    progress: &Progress,
) -> Result<Vec<bool>, RestoreError> {
    let found: Vec<AtomicBool> = (0..plan.cells()).map(|_| AtomicBool::new(false)).collect();
    in_parallel(options.workers, look_at.len(), Scratch::new, |scratch, number| {
        if progress.stopped() {
            return Err(RestoreError::Stopped);
        }
        let cells = &look_at[number];
        let (span, digests) = plan.stretch(cells.start, cells.len() as u32);
        let found = &found[cells.start as usize..];
        compare(target, span, digests, scratch, |at, holds| found[at].store(holds, Ordering::Relaxed));
        progress.add_done(span.length);
        Ok(())
    })?;
    Ok(found.into_iter().map(AtomicBool::into_inner).collect())
}
