//! Pieces of a decoded image become chunks and regions, in one pass and in bounded memory.
//!
//! Owns: the SHA-256 of the whole image, the threads that hash and compress, their order and bounds.
//! `cut` places the grid. Must not know: which kind of file the pieces come from, where chunks are kept.
//!
//! The caller's thread cuts and hashes; workers name and compress; one thread keeps, in the order of the image, so
//! that neighbours on the disk are neighbours in a pack.

mod cut;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::Digest as _;

use crate::image::chunk::{CHUNK, PIECE, Packed, Packer, Verified, is_zero};
use crate::image::manifest::{MAX_IMAGE, Manifest, NoImage, PartitionFacts, Region, Run, Sha256};
use crate::image::partition::{Layout, Scheme};
use crate::image::source::Piece;
use crate::value::Digest;

use cut::{Cutter, Grid, Job, extent};

/// Where chunks are kept.
pub trait Keeper: Sync {
    /// What goes wrong there.
    type Error: Send;
    /// Whether the chunk is kept already: then it is not compressed.
    fn holds(&self, digest: &Digest) -> bool;
    /// [`Keeper::holds`] for several at once: a keeper that is far away is asked once.
    fn held(&self, digests: &[Digest]) -> Vec<bool> {
        digests.iter().map(|digest| self.holds(digest)).collect()
    }
    /// Keeps the chunks of a frame. Called by one thread, in the order of the image; from then on [`Keeper::holds`] them.
    ///
    /// # Errors
    /// Whatever ends the import.
    fn keep(&self, packed: &Packed) -> Result<(), Self::Error>;
}

/// How far an import is; looked at by others.
#[derive(Debug, Default)]
pub struct Progress {
    decoded: AtomicU64,
    kept: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Bytes of the decoded image so far.
    pub fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Bytes of new frames so far.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Asks the import to end soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Takes the pieces of an image, in order.
pub type Sink<'a> = &'a mut dyn FnMut(Piece<'_>) -> Result<(), Halt>;

/// Told to the source that it need not go on; why is known to [`ingest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the import has stopped")]
pub struct Halt;

/// Why an image was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError<S, K> {
    /// The source.
    #[error(transparent)]
    Source(S),
    /// The keeper.
    #[error(transparent)]
    Keep(K),
    /// zstd got no memory.
    #[error("compressing a chunk")]
    Compress(#[source] std::io::Error),
    /// The source gave pieces that do not follow each other.
    #[error("the decoder gave {length} bytes at byte {got} of the image where byte {expected} comes next")]
    OutOfOrder {
        /// The next byte.
        expected: u64,
        /// What came.
        got: u64,
        /// Its bytes.
        length: u64,
    },
    /// Nothing to take in.
    #[error("the image is empty")]
    Empty,
    /// [`Progress::stop`] was called.
    #[error("the import was stopped")]
    Stopped,
}

/// An image that was taken in. Facts about volumes may be added to its regions before it becomes a manifest.
#[derive(Debug)]
pub struct Ingested {
    /// SHA-256 of the whole.
    pub source: Sha256,
    /// Partition map.
    pub scheme: Scheme,
    /// Regions with their cells.
    pub regions: Vec<Region>,
    /// Partitions of the map that do not fit into the image or overlap others; not regions.
    pub left_out: Vec<PartitionFacts>,
    /// Chunks that the keeper did not have.
    pub new_chunks: u64,
    /// Bytes of their frames.
    pub new_bytes: u64,
}

impl Ingested {
    /// The manifest.
    ///
    /// # Errors
    /// When the regions were changed so that they no longer fit.
    pub fn into_manifest(self) -> Result<Manifest, NoImage> {
        Manifest::new(self.source, self.scheme, self.regions)
    }
}

/// Takes in an image. `feed` hands all pieces, in order, to the sink that it is given; `layout` reads the
/// partition map from the first MiB (or all, if there is less); its halt ends the import.
///
/// # Errors
/// See [`IngestError`]. Chunks kept before an error stay kept.
pub fn ingest<S: Send, K: Keeper>(
    feed: impl FnOnce(Sink<'_>) -> Result<(), S>,
    layout: impl FnOnce(&[u8]) -> Result<Layout, Halt>,
    keeper: &K,
    workers: usize,
    progress: &Progress,
) -> Result<Ingested, IngestError<S, K::Error>> {
    let claims = Claims::default();
    let claims = &claims;
    std::thread::scope(|scope| {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for _ in 0..workers.max(1) {
            // Two pieces before and two behind each worker: enough to keep it busy, and the bound on memory.
            let (input, jobs) = sync_channel::<Job>(2);
            let (results, output) = sync_channel(2);
            scope.spawn(move || work(keeper, claims, &jobs, &results));
            inputs.push(input);
            outputs.push(output);
        }
        let collector = scope.spawn(move || collect(keeper, claims, &outputs, progress));
        let fed = cut_and_send(feed, layout, inputs, progress);
        let kept = collector.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // An error of the collector is the reason of a halt, so it comes first.
        let kept = kept?;
        let (source, cutter) = fed?;
        let (scheme, regions, left_out) = cutter.into_regions(kept.runs);
        if regions.is_empty() {
            return Err(IngestError::Empty);
        }
        Ok(Ingested { source, scheme, regions, left_out, new_chunks: kept.chunks, new_bytes: kept.bytes })
    })
}

/// The caller's part: cuts what `feed` gives, hashes it, hands it out in turn.
fn cut_and_send<S, K>(
    feed: impl FnOnce(Sink<'_>) -> Result<(), S>,
    layout: impl FnOnce(&[u8]) -> Result<Layout, Halt>,
    inputs: Vec<SyncSender<Job>>,
    progress: &Progress,
) -> Result<(Sha256, Cutter), IngestError<S, K>> {
    let mut hasher = sha2::Sha256::new();
    let mut grid = Grid::waiting(layout);
    let mut turn = 0;
    let mut send = |job: Job| {
        turn += 1;
        inputs[(turn - 1) % inputs.len()].send(job).map_err(|_| Halt)
    };
    let (mut position, mut wrong) = (0, None);
    let mut sink = |piece: Piece<'_>| {
        if progress.stop.load(Ordering::Relaxed) {
            wrong = Some(IngestError::Stopped);
            return Err(Halt);
        }
        let (offset, length) = extent(&piece);
        if offset != position || length > MAX_IMAGE - position {
            wrong = Some(IngestError::OutOfOrder { expected: position, got: offset, length });
            return Err(Halt);
        }
        hash(&mut hasher, &piece, progress);
        position += length;
        progress.decoded.store(position, Ordering::Relaxed);
        grid.push(piece, &mut send)
    };
    let fed = feed(&mut sink).map_err(IngestError::Source);
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    fed?;
    // From here on a halt has its reason in the collector, which the caller looks at first.
    let cutter = grid.finish(&mut send);
    let cutter = cutter.map_err(|Halt| IngestError::Stopped)?;
    Ok((Sha256(hasher.finalize().into()), cutter))
}

fn hash(hasher: &mut sha2::Sha256, piece: &Piece<'_>, progress: &Progress) {
    const ZEROS: &[u8] = &[0; 1 << 16];
    match piece {
        Piece::Data { bytes, .. } => hasher.update(bytes),
        Piece::Zero { length, .. } | Piece::Unallocated { length, .. } => {
            let mut left = *length;
            while left > 0 && !progress.stop.load(Ordering::Relaxed) {
                let step = left.min(ZEROS.len() as u64);
                hasher.update(&ZEROS[..step as usize]);
                left -= step;
            }
        }
    }
}

/// Chunks that one of the workers packs and that are not kept yet: no other worker packs them too.
#[derive(Default)]
struct Claims(Mutex<HashSet<Digest>>);

impl Claims {
    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        // Every change is one insertion or removal: a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the chunks the caller is to pack. The claim comes before the look at what is held, and is given back after
    /// the chunk is kept: so whoever gets it late sees that it is held.
    fn take<K: Keeper>(&self, keeper: &K, digests: &[Digest]) -> HashSet<Digest> {
        let mut claimed: Vec<Digest> = Vec::with_capacity(digests.len());
        {
            let mut claims = self.lock();
            claimed.extend(digests.iter().filter(|digest| claims.insert(**digest)));
        }
        let held = if claimed.is_empty() { Vec::new() } else { keeper.held(&claimed) };
        let (kept, mine): (Vec<_>, Vec<_>) = claimed.into_iter().zip(held).partition(|(_, held)| *held);
        let mut claims = self.lock();
        for (digest, _) in kept {
            claims.remove(&digest);
        }
        mine.into_iter().map(|(digest, _)| digest).collect()
    }

    fn give_back(&self, chunks: &[Digest]) {
        let mut claimed = self.lock();
        for chunk in chunks {
            claimed.remove(chunk);
        }
    }
}

/// What became of a job.
#[derive(Default)]
struct Named {
    region: usize,
    runs: Vec<Run>,
    frames: Vec<Packed>,
}

/// A worker: names each chunk and compresses those that are new. Ends when either side is gone.
fn work<K: Keeper>(
    keeper: &K,
    claims: &Claims,
    jobs: &Receiver<Job>,
    results: &SyncSender<std::io::Result<Named>>,
) {
    let mut packer = None;
    for job in jobs {
        let blank = |region, run| Ok(Named { region, runs: vec![run], frames: Vec::new() });
        let named = match job {
            Job::Zero { region, cells } => blank(region, Run::Zero(cells)),
            Job::Unallocated { region, cells } => blank(region, Run::Unallocated(cells)),
            Job::Data { region, bytes } => name(keeper, claims, region, &bytes, &mut packer),
        };
        if results.send(named).is_err() {
            break;
        }
    }
}

fn name<K: Keeper>(
    keeper: &K,
    claims: &Claims,
    region: usize,
    bytes: &[u8],
    packer: &mut Option<Packer>,
) -> std::io::Result<Named> {
    debug_assert!(bytes.len() as u64 <= PIECE);
    let packer = match packer {
        Some(packer) => packer,
        none => none.insert(Packer::new()?),
    };
    let mut named = Named { region, ..Named::default() };
    let mut chunks = Vec::with_capacity(bytes.len().div_ceil(CHUNK as usize));
    for cell in bytes.chunks(CHUNK as usize) {
        if is_zero(cell) {
            append(&mut named.runs, Run::Zero(1));
            continue;
        }
        let chunk = Verified::seal(cell);
        append(&mut named.runs, Run::Data(vec![chunk.digest()]));
        chunks.push(chunk);
    }
    let names: Vec<Digest> = chunks.iter().map(Verified::digest).collect();
    let mut mine = claims.take(keeper, &names);
    for chunk in chunks.iter().filter(|chunk| mine.remove(&chunk.digest())) {
        named.frames.extend(packer.add(chunk)?);
    }
    named.frames.extend(packer.finish()?);
    Ok(named)
}

/// What the collector has when all is kept.
#[derive(Default)]
struct Kept {
    runs: Vec<Vec<Run>>,
    chunks: u64,
    bytes: u64,
}

/// Keeps chunks in the order of the image: asks the workers in the turn in which they were given work.
fn collect<S, K: Keeper>(
    keeper: &K,
    claims: &Claims,
    outputs: &[Receiver<std::io::Result<Named>>],
    progress: &Progress,
) -> Result<Kept, IngestError<S, K::Error>> {
    let mut kept = Kept::default();
    for output in outputs.iter().cycle() {
        let Ok(named) = output.recv() else { break };
        let Named { region, runs, frames } = named.map_err(IngestError::Compress)?;
        for packed in &frames {
            keeper.keep(packed).map_err(IngestError::Keep)?;
            claims.give_back(&packed.chunks);
            kept.chunks += packed.chunks.len() as u64;
            kept.bytes += packed.frame.len() as u64;
            progress.kept.store(kept.bytes, Ordering::Relaxed);
        }
        if kept.runs.len() <= region {
            kept.runs.resize_with(region + 1, Vec::new);
        }
        runs.into_iter().for_each(|run| append(&mut kept.runs[region], run));
    }
    Ok(kept)
}

fn append(runs: &mut Vec<Run>, run: Run) {
    match (runs.last_mut(), run) {
        (Some(Run::Data(before)), Run::Data(more)) => before.extend(more),
        (Some(Run::Zero(before)), Run::Zero(more)) => *before += more,
        (Some(Run::Unallocated(before)), Run::Unallocated(more)) => *before += more,
        (_, run) => runs.push(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::chunk::Frame;
    use crate::image::partition::{Partition, PartitionType};
    use std::collections::HashMap;
    use std::sync::Mutex;

    const MIB: usize = PIECE as usize;
    const CELLS: u64 = PIECE / CHUNK;

    #[derive(Default)]
    struct Shelf {
        /// Frame and number of each chunk.
        chunks: Mutex<HashMap<Digest, (Vec<u8>, u32)>>,
        full_at: Option<usize>,
    }

    impl Keeper for Shelf {
        type Error = &'static str;

        fn holds(&self, digest: &Digest) -> bool {
            self.chunks.lock().unwrap().contains_key(digest)
        }

        fn keep(&self, packed: &Packed) -> Result<(), &'static str> {
            let mut chunks = self.chunks.lock().unwrap();
            if self.full_at.is_some_and(|full| chunks.len() >= full) {
                return Err("full");
            }
            for (number, chunk) in (0..).zip(&packed.chunks) {
                assert!(chunks.insert(*chunk, (packed.frame.clone(), number)).is_none(), "kept twice");
            }
            Ok(())
        }
    }

    fn layout(scheme: Scheme, partitions: Vec<Partition>) -> Layout {
        Layout { scheme, block_size: 512, partitions, warnings: vec![] }
    }

    fn bare(_: &[u8]) -> Result<Layout, Halt> {
        Ok(layout(Scheme::None, vec![]))
    }

    fn partition(number: u32, start: u64, size: u64) -> Partition {
        Partition { number, kind: PartitionType::AppleHfs, name: String::new(), start, size }
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    /// Feeds `image` in pieces of odd sizes, stretches of zeros as such.
    fn feed(image: &[u8]) -> impl FnOnce(Sink<'_>) -> Result<(), Halt> + '_ {
        |sink| {
            let mut offset = 0;
            for bytes in image.chunks(77_777) {
                let length = bytes.len() as u64;
                sink(if is_zero(bytes) {
                    Piece::Zero { offset, length }
                } else {
                    Piece::Data { offset, bytes }
                })?;
                offset += length;
            }
            Ok(())
        }
    }

    fn assemble(ingested: &Ingested, shelf: &Shelf) -> Vec<u8> {
        let mut image = Vec::new();
        let chunks = shelf.chunks.lock().unwrap();
        for region in &ingested.regions {
            assert_eq!(region.start, image.len() as u64);
            for (span, run) in region.placed_runs() {
                match run {
                    Run::Data(digests) => digests.iter().for_each(|digest| {
                        let (frame, number) = &chunks[digest];
                        image.extend(Frame(frame).open(*number, *digest).unwrap().bytes());
                    }),
                    _ => image.resize(span.end() as usize, 0),
                }
                assert_eq!(span.end(), image.len() as u64);
            }
        }
        image
    }

    #[test]
    fn chunks_and_regions_give_the_image_back_whatever_its_layout() {
        let image = [noise(1, 2 * MIB + 999), vec![0; 3 * MIB], noise(2, 700_000), vec![0; 5]].concat();
        let parts = vec![
            partition(1, 20_480, MIB as u64 + 4096),
            partition(2, 2 * MIB as u64, 3 * MIB as u64),
            partition(3, 90 * MIB as u64, MIB as u64),
        ];
        let layout = layout(Scheme::Gpt, parts);
        for workers in [1, 2, 5] {
            let shelf = Shelf::default();
            let layout = layout.clone();
            let ingested =
                ingest(feed(&image), |_| Ok(layout), &shelf, workers, &Progress::default()).unwrap();
            assert!(assemble(&ingested, &shelf) == image);
            assert_eq!(ingested.source.0, <[u8; 32]>::from(sha2::Sha256::digest(&image)));
            assert_eq!(ingested.left_out, [facts(3)]);
            assert_eq!(ingested.regions.len(), 5, "map, volume, gap, volume, rest");
            assert_eq!(ingested.into_manifest().unwrap().size(), image.len() as u64);
        }
    }

    fn facts(number: u32) -> PartitionFacts {
        PartitionFacts { number, kind: "Apple_HFS".into(), name: String::new() }
    }

    #[test]
    fn a_chunk_that_occurs_twice_is_kept_once() {
        let image = [noise(1, MIB), noise(2, MIB), noise(1, MIB)].concat();
        let shelf = Shelf::default();
        let ingested = ingest(feed(&image), bare, &shelf, 3, &Progress::default()).unwrap();
        let kept = shelf.chunks.lock().unwrap().len() as u64;
        assert_eq!((ingested.new_chunks, kept), (2 * CELLS, 2 * CELLS));
        assert!(assemble(&ingested, &shelf) == image);
        let again = ingest(feed(&image), bare, &shelf, 3, &Progress::default()).unwrap();
        assert_eq!((again.new_chunks, again.new_bytes), (0, 0));
    }

    #[test]
    fn a_chunk_that_several_workers_have_at_the_same_time_is_kept_once() {
        let image = noise(1, CHUNK as usize).repeat(40 * CELLS as usize);
        let shelf = Shelf::default();
        let ingested = ingest(feed(&image), bare, &shelf, 5, &Progress::default()).unwrap();
        assert_eq!((ingested.new_chunks, shelf.chunks.lock().unwrap().len()), (1, 1));
        assert!(assemble(&ingested, &shelf) == image);
    }

    #[test]
    fn one_changed_byte_makes_one_new_chunk() {
        let mut image = noise(1, 4 * MIB);
        let shelf = Shelf::default();
        ingest(feed(&image), bare, &shelf, 2, &Progress::default()).unwrap();
        image[2 * MIB + 5] ^= 1;
        let changed = ingest(feed(&image), bare, &shelf, 2, &Progress::default()).unwrap();
        assert_eq!(changed.new_chunks, 1);
    }

    #[test]
    fn zeros_between_data_are_cells_of_their_own() {
        let cell = CHUNK as usize;
        let image = [noise(1, cell), vec![0; 2 * cell], noise(2, cell), vec![0; cell], noise(3, 9)].concat();
        let whole = |sink: Sink<'_>| sink(Piece::Data { offset: 0, bytes: &image });
        let shelf = Shelf::default();
        let ingested = ingest(whole, bare, &shelf, 2, &Progress::default()).unwrap();
        let kinds: Vec<_> =
            ingested.regions[0].runs.iter().map(|run| (matches!(run, Run::Data(_)), run.cells())).collect();
        assert_eq!(kinds, [(true, 1), (false, 2), (true, 1), (false, 1), (true, 1)]);
        assert!(assemble(&ingested, &shelf) == image);
    }

    #[test]
    fn a_cell_is_unallocated_only_when_all_of_it_is() {
        let pieces = |sink: Sink<'_>| {
            let mib = CHUNK;
            sink(Piece::Unallocated { offset: 0, length: mib + 512 })?;
            sink(Piece::Zero { offset: mib + 512, length: mib - 512 })?;
            sink(Piece::Unallocated { offset: 2 * mib, length: 40 * mib })
        };
        let ingested = ingest(pieces, bare, &Shelf::default(), 2, &Progress::default()).unwrap();
        assert_eq!(ingested.regions[0].runs, [Run::Unallocated(1), Run::Zero(1), Run::Unallocated(40)]);
    }

    #[test]
    fn a_full_shelf_ends_the_import_with_its_own_reason() {
        let image = noise(1, 20 * MIB);
        let shelf = Shelf { full_at: Some(3), ..Shelf::default() };
        let result = ingest(feed(&image), bare, &shelf, 2, &Progress::default());
        assert!(matches!(result, Err(IngestError::Keep("full"))), "{result:?}");
    }

    #[test]
    fn an_error_of_the_source_a_jump_and_a_stop_are_told_apart() {
        let shelf = Shelf::default();
        let broken = |_: Sink<'_>| Err("checksum");
        let result = ingest(broken, bare, &shelf, 2, &Progress::default());
        assert!(matches!(result, Err(IngestError::Source("checksum"))));
        let jump = |sink: Sink<'_>| sink(Piece::Zero { offset: 9, length: 1 });
        let result = ingest(jump, bare, &shelf, 2, &Progress::default());
        assert!(matches!(result, Err(IngestError::OutOfOrder { expected: 0, got: 9, .. })));
        let nothing = |_: Sink<'_>| Ok::<(), Halt>(());
        assert!(matches!(ingest(nothing, bare, &shelf, 2, &Progress::default()), Err(IngestError::Empty)));
        let progress = Progress::default();
        progress.stop();
        assert!(matches!(ingest(feed(&[1; 9]), bare, &shelf, 2, &progress), Err(IngestError::Stopped)));
    }
}
