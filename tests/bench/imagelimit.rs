//! What is possible at best on these processors, for `./dev bench image`: the same bytes, the same calls, none of the order.
//!
//! Owns: reading frames forward, opening each once, comparing every chunk with its digest, copying it to its place; reading a
//! file with the digest of every cell. No plan, no survey, no flush: what a restore does beside this is what it costs.
//!
//! `imagelimit unpack STORE [OUT]`: the one image of a store, to a file or to nowhere. `imagelimit proved STORE OUT`: the same, then
//! every chunk and every zero read from the file once more. `imagelimit read FILE`.
//! `imagelimit tables STORE MANIFEST` prints the bytes that a Mac is sent before the first chunk: manifest and locations.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use rootstock::image::chunk::{CHUNK, Frame, Opener, PIECE, is_zero};
use rootstock::image::manifest::{Locations, Manifest, Run};
use rootstock::store::Store;
use rootstock::value::Digest;

/// Frames that one thread takes at a time.
const TOGETHER: usize = 4;

/// A cell, and which chunk of its frame it is.
#[derive(Clone, Copy)]
struct Cell {
    chunk: u32,
    digest: Digest,
    offset: u64,
}

/// Gives the numbers below `count` to as many threads as there are processors.
fn in_parallel(count: usize, work: impl Fn(&AtomicUsize) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let (next, work) = (AtomicUsize::new(0), &work);
    let threads = thread::available_parallelism()?.get().min(count.max(1));
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| work(&next))).collect();
        let mine = work(&next);
        others
            .into_iter()
            .try_for_each(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))?;
        mine
    })
}

/// The cells of each frame, by their number in it.
fn by_frame(manifest: &Manifest, places: &Locations) -> Vec<Vec<Cell>> {
    let mut frames = vec![Vec::new(); places.frames().len()];
    let mut slots = places.cells().iter();
    for (span, run) in manifest.regions().iter().flat_map(|region| region.placed_runs()) {
        let Run::Data(digests) = run else { continue };
        for (number, digest) in (0..).zip(digests) {
            let Some(slot) = slots.next() else { continue };
            let cell = Cell { chunk: slot.chunk(), digest: *digest, offset: span.offset + number * CHUNK };
            frames[slot.frame() as usize].push(cell);
        }
    }
    for cells in &mut frames {
        cells.sort_by_key(|cell| (cell.offset, cell.chunk));
    }
    frames
}

fn unpack(store: &Path, out: Option<&Path>) -> anyhow::Result<()> {
    let store = Store::open_to_read(store)?;
    let names = store.manifests()?;
    ensure!(names.len() == 1, "the store must have one image, it has {}", names.len());
    let manifest = store.manifest(names[0])?.contents()?;
    let places = store.locations(&manifest)?;
    let packs: io::Result<Vec<File>> =
        places.packs().iter().map(|pack| File::open(store.pack_path(pack))).collect();
    let packs = packs?;
    let out = out.map(File::create_new).transpose()?;
    if let Some(out) = &out {
        out.set_len(manifest.size())?;
    }
    let frames = by_frame(&manifest, &places);
    in_parallel(frames.len().div_ceil(TOGETHER), |next| {
        let (mut opener, mut bytes) = (Opener::default(), Vec::new());
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed) * TOGETHER;
            let Some(some) = places.frames().get(first..).filter(|some| !some.is_empty()) else {
                return Ok(());
            };
            for (place, cells) in some.iter().take(TOGETHER).zip(&frames[first..]) {
                bytes.resize(place.length as usize, 0);
                packs[place.pack as usize].read_exact_at(&mut bytes, place.offset)?;
                let mut contents = opener.open(Frame(&bytes))?;
                let follows = |one: &Cell, other: &Cell| {
                    other.chunk == one.chunk + 1 && other.offset == one.offset + CHUNK
                };
                for cells in cells.chunk_by(follows) {
                    let digests: Vec<Digest> = cells.iter().map(|cell| cell.digest).collect();
                    let run = contents.run(cells[0].chunk, &digests)?;
                    if let Some(out) = &out {
                        out.write_all_at(run.bytes(), cells[0].offset)?;
                    }
                }
            }
        }
    })
}

/// Reads what `unpack` wrote: every chunk by its digest, every zero.
fn prove(store: &Path, out: &Path) -> anyhow::Result<()> {
    let store = Store::open_to_read(store)?;
    let names = store.manifests()?;
    ensure!(names.len() == 1, "the store must have one image, it has {}", names.len());
    let manifest = store.manifest(names[0])?.contents()?;
    let out = File::open(out)?;
    // Pieces of neighbouring cells, as a restore reads them.
    let mut pieces: Vec<(u64, u64, Option<&[Digest]>)> = Vec::new();
    for (span, run) in manifest.regions().iter().flat_map(|region| region.placed_runs()) {
        let most = (PIECE / CHUNK) as usize;
        for number in 0..span.length.div_ceil(PIECE) {
            let digests = match run {
                Run::Data(digests) => Some(
                    &digests[number as usize * most..][..most.min(digests.len() - number as usize * most)],
                ),
                Run::Zero(_) => None,
                Run::Unallocated(_) => continue,
            };
            let from = number * PIECE;
            pieces.push((span.offset + from, PIECE.min(span.length - from), digests));
        }
    }
    in_parallel(pieces.len(), |next| {
        let mut bytes = vec![0; PIECE as usize];
        loop {
            let Some((offset, length, digests)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return Ok(());
            };
            let bytes = &mut bytes[..*length as usize];
            out.read_exact_at(bytes, *offset)?;
            let holds = match digests {
                Some(digests) => bytes.chunks(CHUNK as usize).map(Digest::of).eq(digests.iter().copied()),
                None => is_zero(bytes),
            };
            ensure!(holds, "the file holds other bytes at {offset}");
        }
    })
}

fn read(file: &Path) -> anyhow::Result<()> {
    let file = File::open(file)?;
    let size = file.metadata()?.len();
    in_parallel(size.div_ceil(PIECE) as usize, |next| {
        let mut bytes = vec![0; PIECE as usize];
        loop {
            let offset = next.fetch_add(1, Ordering::Relaxed) as u64 * PIECE;
            if offset >= size {
                return Ok(());
            }
            let bytes = &mut bytes[..(size - offset).min(PIECE) as usize];
            file.read_exact_at(bytes, offset)?;
            for cell in bytes.chunks(CHUNK as usize) {
                std::hint::black_box(Digest::of(cell));
            }
        }
    })
}

fn tables(store: &Path, manifest: &str) -> anyhow::Result<()> {
    let store = Store::open_to_read(store)?;
    let signed = store.manifest(manifest.parse()?)?;
    let locations = store.locations(&signed.contents()?)?.encode();
    writeln!(io::stdout(), "{}", signed.as_bytes().len() + locations.len())?;
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["unpack", store] => unpack(Path::new(store), None),
        ["unpack", store, out] => unpack(Path::new(store), Some(Path::new(out))),
        ["proved", store, out] => unpack(Path::new(store), Some(Path::new(out)))
            .and_then(|()| prove(Path::new(store), Path::new(out))),
        ["read", file] => read(Path::new(file)),
        ["tables", store, manifest] => tables(Path::new(store), manifest),
        _ => anyhow::bail!(
            "usage: imagelimit unpack STORE [OUT] | proved STORE OUT | read FILE | tables STORE MANIFEST"
        ),
    }
    .with_context(|| words.join(" "))?;
    Ok(ExitCode::SUCCESS)
}
