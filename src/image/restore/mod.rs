//! Puts an image onto a target so that nothing unverified ever boots.
//!
//! Owns: the order of things, bounded retries, what came of it. Must not know: where frames come from, what kind of
//! target it is, the clock.
//!
//! 1. the target must be large enough; the chunks of the edge are read from it or fetched, and verified: until here nothing
//!    is written
//! 2. where that is faster than fetching (`decide`), what lies on the target already is found: at its place (`seen`) or
//!    elsewhere (`survey`). When that is everything, edge included, the restore ends here
//! 3. the old head and backup GPT are cleared and flushed: the target does not boot (`stage::Opened`)
//! 4. what lies elsewhere is copied (`relocate`); the rest is fetched, decompressed, verified, written, by several workers
//!    (`fill`); flush
//! 5. every cell that was not seen in 2 is read back and compared; what differs is written again, a bounded number of
//!    times (`check`)
//! 6. only the result of 5, `stage::Sound`, can write the edge; flush, read back
//!
//! Interrupted anywhere before 6, the target does not boot, and 2 finds what was done.

mod check;
mod compare;
mod decide;
mod fill;
mod progress;
mod relocate;
mod seen;
mod stage;
mod survey;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::image::chunk::{BadFrame, PIECE, Span};
use crate::image::plan::Plan;
use crate::value::{ByteSize, Digest, FreeSpace};

pub use compare::{Compared, compare};
pub use decide::Decision;
pub use progress::{Phase, Progress, Snapshot};
pub use survey::Survey;

/// Fetches of one frame before the restore gives up on it.
const FETCHES: u32 = 4;
/// Rounds of reading back and writing again.
const ROUNDS: u32 = 3;

/// Where frames are fetched: the local store, an appliance over HTTPS.
pub trait Frames: Sync {
    /// Fills `into` with the bytes at `place`. Waits out what passes by itself (a network that is gone).
    ///
    /// # Errors
    /// See [`FetchError`].
    fn fetch(&self, place: Place, into: &mut [u8]) -> Result<(), FetchError>;
}

/// Bytes of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pack.
    pub pack: Digest,
    /// First byte in it.
    pub offset: u64,
    /// What came the last time was damaged: caches in between must be passed by.
    pub fresh: bool,
}

/// Why bytes of a pack did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The pack is gone: its chunks were moved. Ask for the locations again and restore again; what is written stays.
    #[error("pack {0} is gone; its chunks lie elsewhere now")]
    Gone(Digest),
    /// Something else.
    #[error("reading pack {pack} at byte {offset}")]
    Failed {
        /// The pack.
        pack: Digest,
        /// First byte asked for.
        offset: u64,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is written to: a file, a partition, a disk, memory in tests. All calls may come from several threads.
pub trait Target: Sync {
    /// Bytes that it can hold.
    fn size(&self) -> u64;
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// When not all was taken.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes `span` read as zeros.
    ///
    /// # Errors
    /// When that fails.
    fn zero(&self, span: Span) -> io::Result<()>;
    /// Tells that the content of `span` matters to nobody. True when it now reads as zeros.
    ///
    /// # Errors
    /// When the target fails, not when it cannot do it.
    fn release(&self, span: Span) -> io::Result<bool>;
    /// Returns when everything written survives a power cut.
    ///
    /// # Errors
    /// When that cannot be promised.
    fn flush(&self) -> io::Result<()>;
    /// Fills `into` with what the medium holds, not what a cache remembers.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read_back(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// How a restore works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads; also the number of fetches in flight. Each needs about 6 MiB.
    pub workers: usize,
    /// Whether to look for what is there already.
    pub survey: Survey,
    /// What happens to space that the image says nothing about.
    pub free: FreeSpace,
    /// Tells the time since any moment: for the rates by which it is decided whether to read first.
    pub clock: fn() -> Duration,
}

impl Options {
    /// The defaults, with these threads and this clock.
    pub const fn new(workers: usize, clock: fn() -> Duration) -> Options {
        Options { workers, survey: Survey::Sample, free: FreeSpace::Discard, clock }
    }
}

/// What was fetched of the edge.
#[derive(Clone, Copy, Debug, Default)]
struct Fetched {
    /// Uncompressed bytes.
    bytes: u64,
    time: Duration,
}

/// What was done: the facts of a receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Bytes of the image.
    pub bytes: u64,
    /// Compressed bytes fetched, repeated ones included.
    pub fetched: u64,
    /// Chunks that lay on the target already, at their places.
    pub present: u64,
    /// Their bytes.
    pub present_bytes: u64,
    /// Bytes of chunks that lay elsewhere on the target and were copied.
    pub copied: u64,
    /// Nothing was written: the target held the image, every byte of it, edge included.
    pub equal: bool,
    /// Whether the target was read first, and why.
    pub decision: Option<Decision>,
    /// Cells read from the medium and compared, the edge included; each after it was written last.
    pub read_back: u64,
    /// Cells that had to be written again because the medium held something else.
    pub rewritten: u64,
    /// Bytes that the image says nothing about. They are not read back.
    pub unallocated: u64,
    /// Of those, bytes that keep their old content: zeroing them would take longer
    /// than the restore.
    pub left: u64,
}

/// Why a target was not restored. It does not boot, unless the variant says that nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Nothing was written.
    #[error("the target has {}, the image needs {} ({have} and {need} bytes); nothing was written",
        ByteSize(*.have), ByteSize(*.need))]
    TooSmall {
        /// Bytes of the target.
        have: u64,
        /// Bytes that the image needs.
        need: u64,
    },
    /// A pack could not be read.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A frame stayed damaged.
    #[error("a chunk came damaged {tries} times; run `rootstock image verify` on the appliance")]
    Damaged {
        /// Fetches.
        tries: u32,
        /// What was wrong the last time.
        #[source]
        source: BadFrame,
    },
    /// The manifest contradicts itself.
    #[error(
        "chunk {digest} has {got} bytes, but its cell at byte {offset} has {need}: import the image again"
    )]
    Length {
        /// The chunk.
        digest: Digest,
        /// Its bytes.
        got: u64,
        /// Place of the cell on the target.
        offset: u64,
        /// Bytes of the cell.
        need: u64,
    },
    /// The target refused bytes.
    #[error("writing to the target at byte {offset}")]
    Write {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The target did not promise to keep what was written.
    #[error("flushing the target")]
    Flush(#[source] io::Error),
    /// The target does not keep what is written to it.
    #[error(
        "{cells} cells of the target hold other bytes than were written, the first at byte {offset}, after \
         {rounds} rounds of writing: the disk, its cable or its controller is faulty; replace it"
    )]
    Unsound {
        /// Cells that differ.
        cells: u64,
        /// The first of them.
        offset: u64,
        /// Rounds of writing and reading back.
        rounds: u32,
    },
    /// [`Progress::stop`] was called.
    #[error("stopped before the end; the target does not boot until a restore runs to its end")]
    Stopped,
}

/// Does what `plan` says. See the head of this file for the order.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore<T: Target + ?Sized, F: Frames + ?Sized>(
    mut plan: Plan<'_>,
    frames: &F,
    target: &T,
    options: Options,
    progress: &Progress,
) -> Result<Restored, RestoreError> {
    if target.size() < plan.size {
        return Err(RestoreError::TooSmall { have: target.size(), need: plan.size });
    }
    progress.enter(Phase::Preparing, 0);
    if options.free == FreeSpace::Zero {
        plan.zero_free();
    }
    let mut seen = seen::Seen::nothing(&plan);
    if options.survey != Survey::None {
        seen.look_at_edge(&plan, target);
    }
    let (edge, fetched) = fill::fetch_edge(&plan, frames, &mut seen, options.clock, progress)?;
    let surveyed = survey::survey(&plan, target, &seen, fetched, options, progress)?;
    plan.found(seen.data());
    plan.zero = seen.zero_runs();
    progress.found(plan.data_bytes(true));
    let mut restored = Restored {
        bytes: plan.size,
        present: plan.present_cells(),
        present_bytes: plan.data_bytes(true),
        decision: Some(surveyed.decision),
        read_back: stage::cells(&plan),
        unallocated: plan.free.iter().map(|span| span.length).sum(),
        ..Restored::default()
    };
    if seen.is_all() {
        // Who wrote it may have been interrupted before it was durable.
        target.flush().map_err(RestoreError::Flush)?;
        progress.enter(Phase::Done, 0);
        let (fetched, left) = (progress.snapshot().fetched, restored.unallocated);
        return Ok(Restored { equal: true, fetched, left, ..restored });
    }

    let mut opened = stage::Opened::begin(&plan, target, &seen)?;
    progress.enter(Phase::Copying, surveyed.moves.len() as u64 * crate::image::chunk::CHUNK);
    let filled = relocate::relocate(&opened, &surveyed.moves, progress)?;
    restored.copied = progress.snapshot().copied;
    progress.enter(Phase::Writing, plan.to_write().saturating_sub(restored.copied));
    let filled = |cell: u32| filled.get(cell as usize).copied().unwrap_or(false);
    let work = plan.work_for((0..plan.cells()).filter(|cell| !plan.is_present(*cell) && !filled(*cell)));
    restored.left = fill::fill(&opened, frames, &work, options, progress)?;
    opened.flush()?;

    progress.enter(Phase::ReadingBack, plan.to_check() - plan.present_to_check());
    for round in 1.. {
        match check::check(opened, options.workers, progress)? {
            check::Checked::Sound(sound) => {
                progress.enter(Phase::Closing, edge.bytes());
                restored.rewritten += sound.close(&edge)?;
                break;
            }
            check::Checked::Differs(differing) if round < ROUNDS => {
                restored.rewritten += differing.doubted_cells();
                fill::rewrite(&differing, frames, options.workers, progress)?;
                differing.flush()?;
                opened = differing;
            }
            check::Checked::Differs(differing) => {
                let (cells, offset) = (differing.doubted_cells(), differing.first_doubt());
                return Err(RestoreError::Unsound { cells, offset, rounds: ROUNDS });
            }
        }
    }
    progress.enter(Phase::Done, 0);
    Ok(Restored { fetched: progress.snapshot().fetched, ..restored })
}

/// `span` in pieces of at most `length`.
fn pieces(span: Span, length: u64) -> impl Iterator<Item = Span> {
    (span.offset..span.end())
        .step_by(length as usize)
        .map(move |offset| Span { offset, length: length.min(span.end() - offset) })
}

/// Runs `work(item)` for every item by `workers` threads, each with state of its own; the first error ends all.
pub(crate) fn in_parallel<S, E: Send>(
    workers: usize,
    items: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let mut state = state();
        while !failed.load(Ordering::Relaxed) {
            let item = next.fetch_add(1, Ordering::Relaxed);
            if item >= items {
                break;
            }
            work(&mut state, item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers.clamp(1, items.max(1))).map(|_| scope.spawn(run)).collect();
        let mut result = run();
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(theirs);
        }
        result
    })
}

/// Memory for one piece that starts on a page, as reading past the cache demands.
struct Scratch {
    memory: Vec<u8>,
    start: usize,
}

impl Scratch {
    const PAGE: usize = 4096;

    fn new() -> Scratch {
        let memory = vec![0; PIECE as usize + Scratch::PAGE];
        let start = memory.as_ptr().align_offset(Scratch::PAGE).min(Scratch::PAGE);
        Scratch { memory, start }
    }

    fn of(&mut self, length: u64) -> &mut [u8] {
        &mut self.memory[self.start..][..length as usize]
    }
}
