//! The walk of a capture: read, name, ask what is lacking, send that, send again what got lost, prove, finish.
//!
//! Owns: the order of these, what is asked of a [`Library`], progress. Must not know: how a library is reached.
//!
//! A library takes frames in and may lose those that it took in last, when its machine is reset. So nothing is remembered
//! here of what was sent: before the end it is asked for every chunk of the image, and what it lacks is read again.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::image::capture::Origin;
use crate::image::capture::feed::{FeedError, feed};
use crate::image::capture::proof::{Changed, Witness, sample};
use crate::image::capture::shape::Shape;
use crate::image::chunk::{Packed, Packer, Span, Verified};
use crate::image::ingest::{self, IngestError, Keeper, ingest};
use crate::image::manifest::{Manifest, NoImage};
use crate::value::Digest;

/// Chunks that a library is asked for in one question: 256 KiB of names.
const QUESTION: usize = 8192;
/// How often what a library lost is sent again before it is given up.
const ROUNDS: u32 = 8;
/// Chunks that are remembered as sent, twice: many times what can be under way.
const REMEMBERED: usize = 1 << 15;

/// Where captured chunks go.
pub trait Library: Sync {
    /// What goes wrong there.
    type Error: Send;
    /// What a finished capture is.
    type Made;

    /// Which of these chunks it lacks, one answer each.
    ///
    /// # Errors
    /// Whatever ends the capture.
    fn lacking(&self, chunks: &[Digest]) -> Result<Vec<bool>, Self::Error>;

    /// Sends a frame, now or soon. True when others had to be waited for.
    ///
    /// # Errors
    /// Whatever ends the capture, of this frame or of one before it.
    fn send(&self, packed: Packed) -> Result<bool, Self::Error>;

    /// Waits until all that was sent is taken in.
    ///
    /// # Errors
    /// As [`Library::send`].
    fn flush(&self) -> Result<(), Self::Error>;

    /// Makes the image of this manifest, or says with none that it lacks chunks of it.
    ///
    /// # Errors
    /// Whatever ends the capture.
    fn finish(&self, manifest: &Manifest) -> Result<Option<Self::Made>, Self::Error>;
}

/// A capture that went well.
#[derive(Debug)]
pub struct Captured<M> {
    /// What the library made of it.
    pub made: M,
    /// What it consists of; the library may have added what it knows of the volumes.
    pub manifest: Manifest,
    /// Chunks that were sent, those counted again that were sent again.
    pub sent_chunks: u64,
    /// Bytes of their frames.
    pub sent: u64,
    /// Bytes that were read from the disk.
    pub read: u64,
}

/// Why there is no image. The library keeps what was sent for some time: trying again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError<E> {
    /// The disk.
    #[error("reading the disk at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// What was said.
        #[source]
        source: io::Error,
    },
    /// The disk changed: this is no image of any of its states.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// The library.
    #[error(transparent)]
    Library(E),
    /// zstd got no memory.
    #[error("compressing a chunk")]
    Compress(#[source] io::Error),
    /// The parts do not fit together.
    #[error(transparent)]
    NoImage(#[from] NoImage),
    /// The library loses what it takes in.
    #[error("the library still lacked parts of the image after they were sent {ROUNDS} times")]
    Incomplete,
    /// [`Progress::stop`] was called.
    #[error("the capture was stopped")]
    Stopped,
}

/// What a capture is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading and sending.
    Reading,
    /// Asking for every chunk, sending what is lacking.
    Completing,
    /// Looking whether the disk changed.
    Proving,
    /// The library makes the image.
    Finishing,
}

impl Phase {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Phase::Reading => "capturing",
            Phase::Completing => "comparing with the library",
            Phase::Proving => "checking that the disk is unchanged",
            Phase::Finishing => "finishing",
        }
    }

    fn of(number: u8) -> Phase {
        match number {
            0 => Phase::Reading,
            1 => Phase::Completing,
            2 => Phase::Proving,
            _ => Phase::Finishing,
        }
    }
}

/// How far a capture is; looked at by others.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    read: AtomicU64,
    sent: AtomicU64,
    sent_chunks: AtomicU64,
    compared: AtomicU64,
    to_compare: AtomicU64,
    disk: [AtomicU64; 2],
    wire: [AtomicU64; 2],
    stop: AtomicBool,
    ingest: ingest::Progress,
}

/// A look at a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes read from the disk.
    pub read: u64,
    /// Bytes of frames sent.
    pub sent: u64,
    /// Bytes whose chunks were compared with the library, and to compare, while [`Phase::Completing`].
    pub compared: (u64, u64),
    disk: (u64, u64),
    wire: (u64, u64),
}

impl Snapshot {
    /// What limits the speed, by what was waited for since `before`; none when nothing stands out.
    pub fn limit(&self, before: &Snapshot) -> Option<&'static str> {
        let share = |now: (u64, u64), then: (u64, u64)| {
            let (late, ready) = (now.0 - then.0, now.1 - then.1);
            (late + ready > 4).then(|| late as f64 / (late + ready) as f64)
        };
        if self.phase != Phase::Reading || before.phase != Phase::Reading {
            return None;
        }
        match (share(self.wire, before.wire), share(self.disk, before.disk)) {
            (Some(wire), _) if wire > 0.6 => Some("the network limits"),
            (_, Some(disk)) if disk > 0.6 => Some("the disk limits"),
            (wire, Some(disk)) if disk < 0.4 && wire.unwrap_or_default() < 0.4 => Some("packing limits"),
            _ => None,
        }
    }
}

impl Progress {
    /// How it stands.
    pub fn snapshot(&self) -> Snapshot {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            phase: Phase::of(self.phase.load(Ordering::Relaxed)),
            read: of(&self.read),
            sent: of(&self.sent),
            compared: (of(&self.compared), of(&self.to_compare)),
            disk: (of(&self.disk[0]), of(&self.disk[1])),
            wire: (of(&self.wire[0]), of(&self.wire[1])),
        }
    }

    /// Asks the capture to end soon. A library that is waited for must be asked by itself.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ingest.stop();
    }

    fn stopped<E>(&self) -> Result<(), CaptureError<E>> {
        if self.stop.load(Ordering::Relaxed) { Err(CaptureError::Stopped) } else { Ok(()) }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn disk_was_late(&self) {
        self.disk[0].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn disk_was_ready(&self) {
        self.disk[1].fetch_add(1, Ordering::Relaxed);
    }

    fn sent(&self, chunks: usize, bytes: usize, waited: bool) {
        self.sent_chunks.fetch_add(chunks as u64, Ordering::Relaxed);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.wire[usize::from(!waited)].fetch_add(1, Ordering::Relaxed);
    }
}

/// Captures the disk that `shape` was made of.
///
/// # Errors
/// See [`CaptureError`].
pub fn capture<O: Origin, L: Library>(
    origin: &O,
    shape: &Shape,
    library: &L,
    workers: usize,
    progress: &Progress,
) -> Result<Captured<L::Made>, CaptureError<L::Error>> {
    let witness = Witness::of(origin, shape)?;
    let manifest = read(origin, shape, library, workers, progress)?;
    for _ in 0..ROUNDS {
        progress.enter(Phase::Completing);
        complete(origin, shape, library, &manifest, progress)?;
        progress.enter(Phase::Proving);
        witness.check(origin, shape)?;
        sample(origin, shape, &manifest)?;
        progress.stopped()?;
        progress.enter(Phase::Finishing);
        if let Some(made) = library.finish(&manifest).map_err(CaptureError::Library)? {
            let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (sent_chunks, sent, read) =
                (of(&progress.sent_chunks), of(&progress.sent), of(&progress.read));
            return Ok(Captured { made, manifest, sent_chunks, sent, read });
        }
    }
    Err(CaptureError::Incomplete)
}

/// Reads everything, once.
fn read<O: Origin, L: Library>(
    origin: &O,
    shape: &Shape,
    library: &L,
    workers: usize,
    progress: &Progress,
) -> Result<Manifest, CaptureError<L::Error>> {
    let asking = Asking { library, progress, sent: Mutex::default(), failed: Mutex::default() };
    let layout = shape.layout.clone();
    let feed = |sink: ingest::Sink<'_>| feed(origin, shape, progress, sink);
    let ingested = ingest(feed, |_| Ok(layout), &asking, workers, &progress.ingest);
    // What ended the capture may have been a question; the rest follows from that.
    if let Some(error) = asking.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(CaptureError::Library(error));
    }
    let ingested = ingested.map_err(|error| match error {
        IngestError::Source(FeedError::Read { at, source }) => CaptureError::Read { at, source },
        IngestError::Keep(error) => CaptureError::Library(error),
        IngestError::Compress(error) => CaptureError::Compress(error),
        IngestError::Empty => CaptureError::NoImage(NoImage::Empty),
        IngestError::Source(FeedError::Halt) | IngestError::Stopped | IngestError::OutOfOrder { .. } => {
            CaptureError::Stopped
        }
    })?;
    library.flush().map_err(CaptureError::Library)?;
    Ok(ingested.into_manifest()?)
}

/// The library as ingest sees it.
struct Asking<'a, L: Library> {
    library: &'a L,
    progress: &'a Progress,
    /// What was sent lately and may not have been taken in yet; the younger half first.
    sent: Mutex<[HashSet<Digest>; 2]>,
    failed: Mutex<Option<L::Error>>,
}

impl<L: Library> Keeper for Asking<'_, L> {
    type Error = L::Error;

    fn holds(&self, digest: &Digest) -> bool {
        self.held(std::slice::from_ref(digest)) == [true]
    }

    /// A question that cannot be answered ends the capture; until it has ended nothing more is packed.
    fn held(&self, digests: &[Digest]) -> Vec<bool> {
        match self.library.lacking(digests) {
            Ok(lacking) => {
                let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                let under_way = |digest| sent.iter().any(|half| half.contains(digest));
                digests.iter().zip(lacking).map(|(digest, lacking)| !lacking || under_way(digest)).collect()
            }
            Err(error) => {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.progress.ingest.stop();
                vec![true; digests.len()]
            }
        }
    }

    fn keep(&self, packed: &Packed) -> Result<(), L::Error> {
        {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            if sent[0].len() >= REMEMBERED {
                sent[1] = std::mem::take(&mut sent[0]);
            }
            sent[0].extend(&packed.chunks);
        }
        let (chunks, bytes) = (packed.chunks.len(), packed.frame.len());
        let waited = self.library.send(packed.clone())?;
        self.progress.sent(chunks, bytes, waited);
        Ok(())
    }
}

/// Asks for every chunk of the image, and reads and sends again what is lacking.
fn complete<O: Origin, L: Library>(
    origin: &O,
    shape: &Shape,
    library: &L,
    manifest: &Manifest,
    progress: &Progress,
) -> Result<(), CaptureError<L::Error>> {
    progress.compared.store(0, Ordering::Relaxed);
    let bytes = |cells: &mut dyn Iterator<Item = Span>| cells.map(|span| span.length).sum::<u64>();
    let all = bytes(&mut manifest.cells().map(|(span, _)| span));
    progress.to_compare.store(all, Ordering::Relaxed);
    let mut packer = Packer::new().map_err(CaptureError::Compress)?;
    let mut cells = manifest.cells();
    loop {
        progress.stopped()?;
        let some: Vec<(Span, Digest)> = cells.by_ref().take(QUESTION).collect();
        if some.is_empty() {
            return library.flush().map_err(CaptureError::Library);
        }
        let names: Vec<Digest> = some.iter().map(|(_, digest)| *digest).collect();
        let compared = bytes(&mut some.iter().map(|(span, _)| *span));
        let lacking = library.lacking(&names).map_err(CaptureError::Library)?;
        let mut again = HashSet::new();
        let lost = some.into_iter().zip(lacking).filter(|(_, lacking)| *lacking).map(|(cell, _)| cell);
        let mut packed = Vec::new();
        for (span, digest) in lost.filter(|(_, digest)| again.insert(*digest)) {
            let bytes = shape.read_again(origin, span);
            let bytes = bytes.map_err(|source| CaptureError::Read { at: span.offset, source })?;
            progress.add_read(span.length);
            let chunk = Verified::seal(bytes);
            if chunk.digest() != digest {
                return Err(Changed::Different { what: "a block", at: span.offset }.into());
            }
            packed.extend(packer.add(&chunk).map_err(CaptureError::Compress)?);
            for packed in packed.drain(..) {
                send(library, packed, progress)?;
            }
        }
        if let Some(rest) = packer.finish().map_err(CaptureError::Compress)? {
            send(library, rest, progress)?;
        }
        progress.compared.fetch_add(compared, Ordering::Relaxed);
    }
}

fn send<L: Library>(library: &L, packed: Packed, progress: &Progress) -> Result<(), CaptureError<L::Error>> {
    let (chunks, bytes) = (packed.chunks.len(), packed.frame.len());
    let waited = library.send(packed).map_err(CaptureError::Library)?;
    progress.sent(chunks, bytes, waited);
    Ok(())
}
