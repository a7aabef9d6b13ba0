//! The pieces of an image, read ahead of whoever takes them.
//!
//! Owns: how free blocks become unallocated pieces and zeros, the thread that reads, its bound on memory.
//! Must not know: the grid, what becomes of pieces.

use std::io;
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};

use crate::image::capture::Origin;
use crate::image::capture::engine::Progress;
use crate::image::capture::shape::{Content, Copied, Shape};
use crate::image::chunk::{CHUNK, PIECE, Span};
use crate::image::ingest::{Halt, Sink};
use crate::image::source::Piece;

/// Pieces that are read ahead.
const AHEAD: usize = 4;
/// A stretch of free blocks that is shorter than this is read over and cleared: one long read costs less than two. It is no
/// longer than a cell, so no cell that is free as a whole is lost by it.
const BRIDGE: u64 = CHUNK;

/// The feed ended early.
#[derive(Debug)]
pub(super) enum FeedError {
    /// Nobody takes any more.
    Halt,
    /// The disk cannot be read.
    Read {
        /// First byte of the read, on the disk.
        at: u64,
        /// What was said.
        source: io::Error,
    },
}

impl From<Halt> for FeedError {
    fn from(Halt: Halt) -> FeedError {
        FeedError::Halt
    }
}

/// What was read.
enum Taken {
    Data { offset: u64, bytes: Vec<u8> },
    Free { offset: u64, length: u64 },
}

/// Hands all pieces of the image to `sink`, in order.
pub(super) fn feed(
    origin: &impl Origin,
    shape: &Shape,
    progress: &Progress,
    sink: Sink<'_>,
) -> Result<(), FeedError> {
    std::thread::scope(|scope| {
        let (give, taken) = sync_channel(AHEAD);
        scope.spawn(move || read(origin, shape, &give));
        loop {
            let next = match taken.try_recv() {
                Ok(next) => {
                    progress.disk_was_ready();
                    Ok(next)
                }
                Err(TryRecvError::Empty) => {
                    progress.disk_was_late();
                    taken.recv()
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
            };
            match next {
                Ok(Ok(Taken::Data { offset, bytes })) => {
                    sink(Piece::Data { offset, bytes: &bytes })?;
                    progress.add_read(bytes.len() as u64);
                }
                Ok(Ok(Taken::Free { offset, length })) => sink(Piece::Unallocated { offset, length })?,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            }
        }
    })
}

/// Somebody who takes less than all is told nothing more: the channel is closed then.
fn read(origin: &impl Origin, shape: &Shape, give: &SyncSender<Result<Taken, FeedError>>) {
    for part in &shape.parts {
        let gave = match &part.content {
            Content::Made(bytes) => {
                give.send(Ok(Taken::Data { offset: part.at, bytes: bytes.clone() })).is_ok()
            }
            Content::Copied(copied) => read_copied(origin, copied, part.at, give),
        };
        if !gave {
            return;
        }
    }
}

fn read_copied(
    origin: &impl Origin,
    copied: &Copied,
    at: u64,
    give: &SyncSender<Result<Taken, FeedError>>,
) -> bool {
    let mut next = copied.from.offset;
    while next < copied.from.end() {
        let offset = at + (next - copied.from.offset);
        let (span, used) = step(copied, next);
        next = span.end();
        let taken = if used {
            let mut bytes = vec![0; span.length as usize];
            match origin.read_at(span.offset, &mut bytes) {
                Ok(()) => {
                    copied.clear_free(span, &mut bytes);
                    Ok(Taken::Data { offset, bytes })
                }
                Err(source) => Err(FeedError::Read { at: span.offset, source }),
            }
        } else {
            Ok(Taken::Free { offset, length: span.length })
        };
        let failed = taken.is_err();
        if give.send(taken).is_err() || failed {
            return false;
        }
    }
    true
}

/// The next stretch from `at` on, and whether it is read. What is read ends at whole pieces of the part, in its last used
/// byte, or before a long free stretch.
fn step(copied: &Copied, at: u64) -> (Span, bool) {
    let piece = (at - copied.from.offset) / PIECE * PIECE + PIECE;
    let end = (copied.from.offset + piece).min(copied.from.end());
    let Some(allocation) = &copied.allocation else { return (Span { offset: at, length: end - at }, true) };
    let rest = Span { offset: at, length: copied.from.end() - at };
    match allocation.within(rest).next() {
        Some(first) if !first.used => return (first.span, false),
        Some(_) => {}
        None => return (rest, true),
    }
    let mut stop = at;
    for run in allocation.within(Span { offset: at, length: end - at }) {
        match run.used {
            true => stop = run.span.end(),
            false if run.span.length >= BRIDGE => break,
            false => {}
        }
    }
    (Span { offset: at, length: stop - at }, true)
}
