//! Decodes the pieces of an image on several threads and delivers them in order on the caller's.
//!
//! Workers take turns at the input: under one lock a worker takes the next piece and reads its stored bytes, so the
//! file is read from front to back; unpacking and summing run in parallel. A queue keeps the order. Its length and its
//! bytes are bounded: a worker that runs ahead waits, holding the input, until the caller has taken what lies before.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::codec::{Codec, Unpacker};
use super::error::{DecodeError, SourceError};
use super::extent::{Extent, Filling, Pieces};
use super::{Input, read_into};
use crate::image::crc::Crc;

/// Bytes in flight for each worker; one piece is always let in, however large.
const BYTES_A_WORKER: u64 = 8 << 20;

/// Pieces in flight for each worker.
const PIECES_A_WORKER: usize = 6;

/// Most threads that help: beyond this the input is the limit.
const MOST_WORKERS: usize = 64;

/// Which sums are wanted.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub decoded: bool,
    pub stored: bool,
}

/// A piece of the image, decoded.
pub(super) struct Ready {
    pub extent: Extent,
    /// The bytes; empty for holes.
    pub bytes: Vec<u8>,
    /// CRC of the bytes, if wanted.
    pub decoded: Crc,
    /// CRC of the stored bytes, if wanted.
    pub stored: Crc,
}

/// Decodes `pieces` and hands each to `deliver`. The first error in image order ends it.
pub(super) fn run<E>(
    input: &mut dyn Input,
    pieces: Pieces<'_>,
    sums: Sums,
    workers: usize,
    deliver: &mut dyn FnMut(&Ready) -> Result<(), DecodeError<E>>,
) -> Result<(), DecodeError<E>> {
    let workers = workers.clamp(1, MOST_WORKERS);
    let line = Line {
        feed: Mutex::new(Feed { input, pieces, taken: 0 }),
        queue: Mutex::new(Queue { working: workers, ..Queue::default() }),
        room: Condvar::new(),
        news: Condvar::new(),
        sums,
        most_pieces: workers * PIECES_A_WORKER,
        most_bytes: workers as u64 * BYTES_A_WORKER,
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| line.work());
        }
        let _stopping = Stopping(&line);
        line.deliver_all(deliver)
    })
}

struct Line<'a> {
    feed: Mutex<Feed<'a>>,
    queue: Mutex<Queue>,
    /// The queue became shorter, or all is over.
    room: Condvar,
    /// A piece became ready, or a worker left.
    news: Condvar,
    sums: Sums,
    most_pieces: usize,
    most_bytes: u64,
}

struct Feed<'a> {
    input: &'a mut dyn Input,
    pieces: Pieces<'a>,
    taken: u64,
}

#[derive(Default)]
struct Queue {
    /// Pieces that were taken and not delivered, in order; `None` while a worker has it.
    slots: VecDeque<Option<Result<Ready, SourceError>>>,
    /// Number of the piece in the first slot.
    first: u64,
    bytes: u64,
    spare: Vec<Vec<u8>>,
    working: usize,
    stopped: bool,
}

/// A piece that a worker holds.
struct Taken {
    number: u64,
    extent: Extent,
    buffer: Vec<u8>,
    read: Result<(), SourceError>,
}

/// Memory that a piece needs while it is in flight.
fn weight(extent: &Extent) -> u64 {
    match extent.filling {
        Filling::Stored { codec: Codec::Raw, .. } => extent.length,
        Filling::Stored { stored, .. } => extent.length + stored,
        Filling::Zero | Filling::Unallocated => 0,
    }
}

impl Line<'_> {
    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _leaving = Leaving(self);
        let mut unpacker = Unpacker::new();
        let mut packed = Vec::new();
        while let Some(taken) = self.take(&mut packed) {
            let number = taken.number;
            let ready = self.unpack(taken, &packed, &mut unpacker);
            let mut queue = self.lock_queue();
            let slot = (number - queue.first) as usize;
            if let Some(slot) = queue.slots.get_mut(slot) {
                *slot = Some(ready);
            }
            drop(queue);
            self.news.notify_one();
        }
    }

    /// Takes the next piece and reads its stored bytes: into `packed`, or straight into place when they are not packed.
    fn take(&self, packed: &mut Vec<u8>) -> Option<Taken> {
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let extent = feed.pieces.next()?;
        let number = feed.taken;
        feed.taken += 1;

        let weight = weight(&extent);
        let mut queue = self.lock_queue();
        while !queue.stopped
            && !queue.slots.is_empty()
            && (queue.slots.len() >= self.most_pieces || queue.bytes + weight > self.most_bytes)
        {
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.stopped {
            return None;
        }
        queue.slots.push_back(None);
        queue.bytes += weight;
        let mut buffer = if weight > 0 { queue.spare.pop().unwrap_or_default() } else { Vec::new() };
        drop(queue);

        let read = match extent.filling {
            Filling::Stored { codec: Codec::Raw, at, stored } => {
                read_into(feed.input, at, stored as usize, &mut buffer)
            }
            Filling::Stored { at, stored, .. } => read_into(feed.input, at, stored as usize, packed),
            Filling::Zero | Filling::Unallocated => Ok(()),
        };
        Some(Taken { number, extent, buffer, read })
    }

    fn unpack(&self, taken: Taken, packed: &[u8], unpacker: &mut Unpacker) -> Result<Ready, SourceError> {
        let Taken { extent, mut buffer, read, .. } = taken;
        read?;
        let sum = |wanted: bool, bytes: &[u8]| if wanted { Crc::of(bytes) } else { Crc::NEW };
        let (decoded, stored) = match extent.filling {
            Filling::Zero | Filling::Unallocated => (Crc::NEW, Crc::NEW),
            Filling::Stored { codec: Codec::Raw, .. } => {
                let crc = sum(self.sums.decoded || self.sums.stored, &buffer);
                (crc, crc)
            }
            Filling::Stored { codec, at, stored } => {
                unpacker.unpack(codec, packed, extent.length as usize, &mut buffer).map_err(|reason| {
                    let (offset, reason) = (extent.start, reason.to_string());
                    SourceError::BadRun { codec: codec.name(), at, stored, offset, reason }
                })?;
                (sum(self.sums.decoded, &buffer), sum(self.sums.stored, packed))
            }
        };
        Ok(Ready { extent, bytes: buffer, decoded, stored })
    }

    fn deliver_all<E>(
        &self,
        deliver: &mut dyn FnMut(&Ready) -> Result<(), DecodeError<E>>,
    ) -> Result<(), DecodeError<E>> {
        while let Some(ready) = self.next_ready() {
            let ready = ready?;
            deliver(&ready)?;
            let mut queue = self.lock_queue();
            queue.bytes -= weight(&ready.extent);
            if ready.bytes.capacity() > 0 {
                queue.spare.push(ready.bytes);
            }
            drop(queue);
            self.room.notify_all();
        }
        Ok(())
    }

    /// Waits for the next piece in order; none when all were delivered. A worker that panicked has left without its
    /// piece: then this ends too, and the scope raises the panic again.
    fn next_ready(&self) -> Option<Result<Ready, SourceError>> {
        let mut queue = self.lock_queue();
        loop {
            if let Some(ready) = queue.slots.front_mut().and_then(Option::take) {
                queue.slots.pop_front();
                queue.first += 1;
                return Some(ready);
            }
            if queue.working == 0 {
                return None;
            }
            queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tells the caller that a worker is gone. One that panicked takes the others with it: the piece that it held will
/// never be ready, and they would wait for it.
struct Leaving<'a, 'b>(&'a Line<'b>);

impl Drop for Leaving<'_, '_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock_queue();
        queue.working -= 1;
        queue.stopped |= thread::panicking();
        drop(queue);
        self.0.room.notify_all();
        self.0.news.notify_one();
    }
}

/// Sends the workers home when the caller is done, has had enough, or panics.
struct Stopping<'a, 'b>(&'a Line<'b>);

impl Drop for Stopping<'_, '_> {
    fn drop(&mut self) {
        self.0.lock_queue().stopped = true;
        self.0.room.notify_all();
    }
}
