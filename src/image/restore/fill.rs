//! Fetch, decompress, verify, write: everything of a target but its edge.
//!
//! Owns: the workers and their bounded memory, fetching a damaged frame again. Must not know: the order of stages.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::image::chunk::{BadFrame, Frame, Opener, Span, Verified};
use crate::image::manifest::Location;
use crate::image::plan::{Batch, Plan, Work};
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
    spare: Vec<u8>,
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
    for number in 0..opened.doubts() {
        match opened.doubt(number) {
            Doubt::Data(cell) => cells.push(cell),
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
    plan: &Plan,
    frames: &F,
    progress: &Progress,
) -> Result<Edge, RestoreError> {
    let mut worker = Worker::default();
    Edge::collect(plan, |cell| {
        let Some((digest, place)) = cell.chunk else { return Ok(None) };
        let Some(pack) = plan.packs.get(place.pack as usize) else { return Ok(None) };
        fetch_one(frames, *pack, place, digest, 1, &mut worker, progress).map(Some)
    })
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
    let mut range = std::mem::take(&mut worker.range);
    range.resize(batch.length as usize, 0);
    frames.fetch(Place { pack: batch.pack, offset: batch.offset, fresh: false }, &mut range)?;
    progress.add_fetched(batch.length);
    for cell in &work.order[batch.cells.clone()] {
        let wanted = &plan.data[*cell as usize];
        let from = (wanted.place.offset - batch.offset) as usize;
        let frame = Frame(&range[from..][..wanted.place.length as usize]);
        let spare = std::mem::take(&mut worker.spare);
        let chunk = match worker.opener.open(frame, wanted.digest, spare) {
            Ok(chunk) => chunk,
            Err(_) => fetch_one(frames, batch.pack, wanted.place, wanted.digest, 2, worker, progress)?,
        };
        for cell in std::iter::once(cell).chain(work.copies.get(cell).into_iter().flatten()) {
            opened.write(*cell, &chunk)?;
            progress.add_written(plan.data[*cell as usize].span.length);
        }
        worker.spare = chunk.into_buffer();
    }
    worker.range = range;
    Ok(())
}

/// Fetches a single frame until it is the chunk `digest`; this is try number `tries`.
fn fetch_one<F: Frames + ?Sized>(
    frames: &F,
    pack: Digest,
    place: Location,
    digest: Digest,
    mut tries: u32,
    worker: &mut Worker,
    progress: &Progress,
) -> Result<Verified, RestoreError> {
    let mut bytes = vec![0; place.length as usize];
    loop {
        frames.fetch(Place { pack, offset: place.offset, fresh: tries > 1 }, &mut bytes)?;
        progress.add_fetched(place.length.into());
        match worker.opener.open(Frame(&bytes), digest, Vec::new()) {
            Ok(chunk) => return Ok(chunk),
            Err(source @ (BadFrame::Zstd { .. } | BadFrame::Digest { .. })) if tries >= FETCHES => {
                return Err(RestoreError::Damaged { tries, source });
            }
            Err(_) => tries += 1,
        }
    }
}
