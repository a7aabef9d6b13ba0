//! How far a restore is: atomics that the engine adds to and a terminal or a reporter looks at.
//!
//! Owns: counters, the phase, the wish to stop. Must not know: the clock; rates are for those who have one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::image::restore::Decision;

/// What a restore does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Fetches the head, looks at samples of the target.
    Preparing,
    /// Reads the target: what is there already is not fetched.
    Looking,
    /// Copies what lies elsewhere on the target.
    Copying,
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
    const ALL: [Phase; 7] = [
        Phase::Preparing,
        Phase::Looking,
        Phase::Copying,
        Phase::Writing,
        Phase::ReadingBack,
        Phase::Closing,
        Phase::Done,
    ];

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Phase::Preparing => "preparing",
            Phase::Looking => "reading the disk",
            Phase::Copying => "copying what is there",
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
    present: AtomicU64,
    copied: AtomicU64,
    decision: OnceLock<Decision>,
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
    /// Bytes that were found at their places.
    pub present: u64,
    /// Bytes that were copied from elsewhere on the target.
    pub copied: u64,
    /// Whether the target is read first, as soon as that is decided.
    pub decision: Option<Decision>,
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
            present: self.present.load(Ordering::Relaxed),
            copied: self.copied.load(Ordering::Relaxed),
            decision: self.decision.get().copied(),
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

    pub(super) fn found(&self, bytes: u64) {
        self.present.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_copied(&self, bytes: u64) {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
        self.add_written(bytes);
    }

    pub(super) fn decided(&self, decision: Decision) {
        self.decision.get_or_init(|| decision);
    }
}
