//! Fetch, decompress, verify, write: everything of a target but its edge.
//!
//! Owns: the workers and their bounded memory, fetching a damaged frame again. Must not know: the order of stages.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::image::chunk::{BadFrame, Contents, Frame, Opener, Span, Verified};
use crate::image::manifest::Location;
use crate::image::plan::{Batch, Plan, Want, Work};
use crate::image::restore::stage::{Doubt, Edge, Opened, pieces};
use crate::image::restore::{FETCHES, Frames, Place, Progress, RestoreError, Target, in_parallel};
use crate::value::Digest;

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
    workers: usize,
    progress: &Progress,
) -> Result<u64, RestoreError> {
    let plan = opened.plan();
    let absent = plan.zero.iter().filter(|run| !run.present);
    let zeros: Vec<Span> = absent.flat_map(|run| pieces(run.span, ZERO_PIECE)).collect();
    let free: Vec<Span> = plan.free.iter().flat_map(|span| pieces(*span, ZERO_PIECE)).collect();
    let by_hand = plan.free.iter().map(|span| span.length).sum::<u64>() <= FREE_BY_HAND;
    let left = AtomicU64::new(0);
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
    in_parallel(workers, cleared + work.batches.len(), Worker::default, |worker, item| {
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

/// The chunks of the edge: fetched before anything is written, so that an image that cannot be had costs nothing.
pub(super) fn fetch_edge<F: Frames + ?Sized>(
    plan: &Plan<'_>,
    frames: &F,
    progress: &Progress,
) -> Result<Edge, RestoreError> {
    let mut chunks: Vec<Option<Verified<'static>>> = plan.edge.iter().map(|_| None).collect();
    let (mut worker, work) = (Worker::default(), plan.edge_work());
    for batch in &work.batches {
        open_batch(plan, frames, &work, batch, &mut worker, progress, |wants, contents| {
            for want in wants {
                if let Some((digest, _)) = plan.edge[want.cell as usize].chunk {
                    let chunk = contents.chunk(want.slot.chunk(), digest)?;
                    chunks[want.cell as usize] = Some(chunk.into_owned());
                }
            }
            Ok(Ok(()))
        })?;
    }
    Edge::collect(plan, chunks)
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
