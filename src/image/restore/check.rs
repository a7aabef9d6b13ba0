//! Reads a filled target back.
//!
//! Owns: sharing the work among threads. Must not know: what happens to cells that differ.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::image::restore::stage::{Doubt, Opened, Sound};
use crate::image::restore::{Progress, RestoreError, Scratch, Target, in_parallel};

/// What reading back found.
pub(super) enum Checked<'a, T: Target + ?Sized> {
    /// Everything is as it should be.
    Sound(Sound<'a, T>),
    /// Some is not: the doubts that are left.
    Differs(Opened<'a, T>),
}

/// Reads back every doubt of `opened`.
pub(super) fn check<'a, T: Target + ?Sized>(
    opened: Opened<'a, T>,
    workers: usize,
    progress: &Progress,
) -> Result<Checked<'a, T>, RestoreError> {
    let found: Vec<AtomicBool> = (0..opened.doubts()).map(|_| AtomicBool::new(false)).collect();
    in_parallel(workers, found.len(), Scratch::new, |scratch, number| {
        if progress.stopped() {
            return Err(RestoreError::Stopped);
        }
        let doubt = opened.doubt(number);
        found[number].store(opened.holds(doubt, scratch), Ordering::Relaxed);
        progress.add_done(match doubt {
            Doubt::Data(cell) => opened.plan().data[cell as usize].span.length,
            Doubt::Zero(span) => span.length,
        });
        Ok(())
    })?;
    let settled: Vec<bool> = found.into_iter().map(AtomicBool::into_inner).collect();
    Ok(match opened.settle(&settled) {
        Ok(sound) => Checked::Sound(sound),
        Err(left) => Checked::Differs(left),
    })
}
