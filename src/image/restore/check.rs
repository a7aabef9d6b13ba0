//! Reads a filled target back.
//!
//! Owns: sharing the work among threads. Must not know: what happens to cells that differ.

use std::sync::{Mutex, PoisonError};

use crate::image::restore::stage::{Opened, Sound};
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
    let findings = Mutex::new(Vec::with_capacity(opened.doubts().len()));
    in_parallel(workers, opened.doubts().len(), Scratch::new, |scratch, number| {
        if progress.stopped() {
            return Err(RestoreError::Stopped);
        }
        let finding = opened.read(number, scratch);
        findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
        progress.add_done(opened.bytes_of(opened.doubts()[number]));
        Ok(())
    })?;
    let findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(match opened.settle(findings) {
        Ok(sound) => Checked::Sound(sound),
        Err(left) => Checked::Differs(left),
    })
}
