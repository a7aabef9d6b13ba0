//! How far a restore is: atomics that the engine adds to and a terminal or a reporter looks at.
//!
//! Owns: counters, the phase, the wish to stop. Must not know: the clock; rates are for those who have one.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What a restore does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Fetches the head, looks at what the target holds.
    Preparing,
    /// Writes everything but the edge.
    Writing,
    /// Compares what the medium holds.
    ReadingBack,
    /// Writes the edge.
    Closing,
    /// Ended well.
    Done,
}

impl Phase {
    const ALL: [Phase; 5] =
        [Phase::Preparing, Phase::Writing, Phase::ReadingBack, Phase::Closing, Phase::Done];

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Phase::Preparing => "preparing",
            Phase::Writing => "writing",
            Phase::ReadingBack => "reading back",
            Phase::Closing => "making it bootable",
            Phase::Done => "done",
        }
    }
}

/// Shared between a restore and whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
    fetched: AtomicU64,
    written: AtomicU64,
    stop: AtomicBool,
}

/// One look at [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What is being done.
    pub phase: Phase,
    /// Bytes done in this phase.
    pub done: u64,
    /// Bytes to do in this phase.
    pub total: u64,
    /// Compressed bytes fetched since the start.
    pub fetched: u64,
    /// Bytes written to the target since the start.
    pub written: u64,
}

impl Progress {
    /// Where things stand.
    pub fn snapshot(&self) -> Snapshot {
        let phase = Phase::ALL.get(usize::from(self.phase.load(Ordering::Relaxed)));
        Snapshot {
            phase: phase.copied().unwrap_or(Phase::Preparing),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            fetched: self.fetched.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
        }
    }

    /// Asks the restore to end soon, with [`super::RestoreError::Stopped`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, phase: Phase, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn add_done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
        self.add_done(bytes);
    }
}
