//! Fetch, decompress, verify, write: everything of a target but its edge.
//!
//! Owns: the workers and their bounded memory, fetching a damaged frame again. Must not know: the order of stages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::image::chunk::{BadFrame, Contents, Frame, Opener, Span};
use crate::image::manifest::Location;
use crate::image::plan::{Batch, Plan, Want, Work};
use crate::image::restore::seen::Seen;
use crate::image::restore::stage::{Doubt, Edge, Opened};
use crate::image::restore::{
    FETCHES, Fetched, Frames, Options, Place, Progress, RestoreError, Target, in_parallel, pieces,
};
use crate::value::{Digest, FreeSpace};

/// Zeros and free space are told to the target in pieces of this size: long enough for hardware, short enough to be
/// seen on a progress bar.
const ZERO_PIECE: u64 = 64 << 20;
/// Up to here free space is zeroed by writing where the target cannot do it itself; above it keeps what it has.
const FREE_BY_HAND: u64 = 1 << 30;

/// What one thread works with.
#[derive(Default)]
struct Worker {
    opener: Opener,
    range: Vec<u8>,
}

/// Writes zeros and chunks. Gives the bytes of free space that keep their old content.
pub(super) fn fill<T: Target + ?Sized, F: Frames + ?Sized>(
    opened: &Opened<'_, T>,
    frames: &F,
    work: &Work,
    options: Options,
    progress: &Progress,
) -> Result<u64, RestoreError> {
    let plan = opened.plan();
    let all_free: u64 = plan.free.iter().map(|span| span.length).sum();
    let (leave, by_hand) = (options.free == FreeSpace::Leave, all_free <= FREE_BY_HAND);
    let absent = plan.zero.iter().filter(|run| !run.present);
    let zeros: Vec<Span> = absent.flat_map(|run| pieces(run.span, ZERO_PIECE)).collect();
    let free = plan.free.iter().filter(|_| !leave).flat_map(|span| pieces(*span, ZERO_PIECE));
    let free: Vec<Span> = free.collect();
    let left = AtomicU64::new(if leave { all_free } else { 0 });
    let clear = |item: usize| {
        if let Some(span) = zeros.get(item) {
            opened.zero(*span)?;
            progress.add_written(span.length);
        } else if !opened.release(free[item - zeros.len()])? {
            match by_hand {
                true => opened.zero(free[item - zeros.len()])?,
                false => drop(left.fetch_add(free[item - zeros.len()].length, Ordering::Relaxed)),
            }
        }
        Ok(())
    };
    let cleared = zeros.len() + free.len();
    in_parallel(options.workers, cleared + work.batches.len(), Worker::default, |worker, item| {
        if progress.stopped() {
            return Err(RestoreError::Stopped);
        }
        match item.checked_sub(cleared) {
            None => clear(item),
            Some(batch) => write_batch(opened, frames, work, &work.batches[batch], worker, progress),
        }
    })?;
    Ok(left.into_inner())
}

/// Writes again what was not read back as it should be: chunks are fetched again, zeros are written out.
pub(super) fn rewrite<T: Target + ?Sized, F: Frames + ?Sized>(
    opened: &Opened<'_, T>,
    frames: &F,
    workers: usize,
    progress: &Progress,
) -> Result<(), RestoreError> {
    let mut cells = Vec::new();
    for doubt in opened.doubts() {
        match *doubt {
            Doubt::Data(first, count) => cells.extend(first..first + count),
            Doubt::Zero(span) => opened.write_zeros(span)?,
        }
    }
    let work = opened.plan().work_for(cells.into_iter());
    in_parallel(workers, work.batches.len(), Worker::default, |worker, batch| {
        if progress.stopped() {
            return Err(RestoreError::Stopped);
        }
        write_batch(opened, frames, &work, &work.batches[batch], worker, progress)
    })
}

/// The chunks of the edge: had before anything is written, so that an image that cannot be had costs nothing. Those that lie
/// on the target are not fetched.
pub(super) fn fetch_edge<F: Frames + ?Sized>(
    plan: &Plan<'_>,
    frames: &F,
    seen: &mut Seen,
    clock: fn() -> Duration,
    progress: &Progress,
) -> Result<(Edge, Fetched), RestoreError> {
    let (mut worker, work) = (Worker::default(), plan.edge_work(|cell| !seen.has_edge(cell)));
    let mut chunks = seen.take_edge();
    let (began, mut bytes) = (clock(), 0);
    for batch in &work.batches {
        open_batch(plan, frames, &work, batch, &mut worker, progress, |wants, contents| {
            for want in wants {
                if let Some((digest, _)) = plan.edge[want.cell as usize].chunk {
                    let chunk = contents.chunk(want.slot.chunk(), digest)?;
                    bytes += chunk.bytes().len() as u64;
                    chunks[want.cell as usize] = Some(chunk.into_owned());
                }
            }
            Ok(Ok(()))
        })?;
    }
    let fetched = Fetched { bytes, time: clock().saturating_sub(began) };
    Ok((Edge::collect(plan, chunks)?, fetched))
}

fn write_batch<T: Target + ?Sized, F: Frames + ?Sized>(
    opened: &Opened<'_, T>,
    frames: &F,
    work: &Work,
    batch: &Batch,
    worker: &mut Worker,
    progress: &Progress,
) -> Result<(), RestoreError> {
    let plan = opened.plan();
    open_batch(plan, frames, work, batch, worker, progress, |wants, contents| {
        // A frame that is damaged anywhere is fetched again before any of it is written.
        for want in wants {
            contents.chunk(want.slot.chunk(), plan.cell(want.cell).digest)?;
        }
        // Neighbours in the frame that are neighbours on the target are written together.
        let together = |one: &Want, other: &Want| {
            other.cell == one.cell + 1 && other.slot.chunk() == one.slot.chunk() + 1
        };
        for mut wants in wants.chunk_by(together) {
            while let Some(first) = wants.first() {
                let (span, digests) = plan.stretch(first.cell, wants.len() as u32);
                let run = contents.run(first.slot.chunk(), digests)?;
                if let Err(error) = opened.write(first.cell, run) {
                    return Ok(Err(error));
                }
                progress.add_written(span.length);
                wants = &wants[digests.len()..];
            }
        }
        Ok(Ok(()))
    })
}

/// Fetches a batch and gives each of its frames to `take`. A frame that `take` finds to be damaged is fetched again.
fn open_batch<F: Frames + ?Sized>(
    plan: &Plan<'_>,
    frames: &F,
    work: &Work,
    batch: &Batch,
    worker: &mut Worker,
    progress: &Progress,
    mut take: impl FnMut(&[Want], &mut Contents<'_>) -> Result<Result<(), RestoreError>, BadFrame>,
) -> Result<(), RestoreError> {
    let Worker { opener, range } = worker;
    range.resize(batch.length as usize, 0);
    frames.fetch(Place { pack: batch.pack, offset: batch.offset, fresh: false }, range)?;
    progress.add_fetched(batch.length);
    let mut open = |bytes: &[u8], wants: &[Want]| take(wants, &mut opener.open(Frame(bytes))?);
    for (place, wants) in work.frames(batch, plan.places()) {
        let from = (place.offset - batch.offset) as usize;
        match open(&range[from..][..place.length as usize], wants) {
            Ok(taken) => taken?,
            Err(_) => fetch_again(frames, batch.pack, place, progress, |bytes| open(bytes, wants))?,
        }
    }
    Ok(())
}

/// Fetches a single frame that came damaged until `take` takes it.
fn fetch_again<F: Frames + ?Sized>(
    frames: &F,
    pack: Digest,
    place: Location,
    progress: &Progress,
    mut take: impl FnMut(&[u8]) -> Result<Result<(), RestoreError>, BadFrame>,
) -> Result<(), RestoreError> {
    let mut bytes = vec![0; place.length as usize];
    let mut tries = 2;
    loop {
        frames.fetch(Place { pack, offset: place.offset, fresh: true }, &mut bytes)?;
        progress.add_fetched(place.length.into());
        match take(&bytes) {
            Ok(taken) => return taken,
            Err(source) if tries >= FETCHES => return Err(RestoreError::Damaged { tries, source }),
            Err(_) => tries += 1,
        }
    }
}
