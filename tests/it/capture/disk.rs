//! Disks to capture: in memory, with what is free full of noise; and a library in memory that can lose what it took in.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rootstock::image::capture::{Library, Origin};
use rootstock::image::chunk::{Frame, Packed};
use rootstock::image::manifest::{Manifest, Run};
use rootstock::image::partition::{self, Scheme};
use rootstock::image::volume;
use rootstock::value::Digest;

use crate::image_source::mkvolume;

pub fn noise(seed: u64, bytes: &mut [u8]) {
    let mut state = seed | 1;
    for byte in bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
}

/// Changes what file systems on the disk do not use, and says where: the disk, and the same with zeros there.
pub fn with_noise_where_it_is_free(mut disk: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let size = disk.len() as u64;
    let layout = partition::read(&mut Cursor::new(&disk), size).unwrap();
    let mut places: Vec<_> = layout.partitions.iter().map(|part| (part.start, part.size)).collect();
    if layout.scheme == Scheme::None {
        places.push((0, size));
    }
    let mut clear = disk.clone();
    for (start, length) in places {
        let Some(map) = volume::allocation(&mut Cursor::new(&disk), start, length).unwrap() else { continue };
        for run in map.runs().iter().filter(|run| !run.used) {
            let range = run.span.offset as usize..run.span.end() as usize;
            noise(run.span.offset, &mut disk[range.clone()]);
            clear[range].fill(0);
        }
    }
    (disk, clear)
}

/// A GPT disk with an EFI and an HFS+ partition with files, free blocks full of noise; and with zeros.
pub fn mac_disk(folder: &Path, size: u64, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let path = folder.join("made.img");
    mkvolume::write(&path, size, seed).unwrap();
    with_noise_where_it_is_free(fs::read(path).unwrap())
}

/// A disk in memory. `change`: after so many reads the byte at a place changes.
pub struct Disk {
    pub bytes: Mutex<Vec<u8>>,
    pub reads: AtomicU64,
    pub change: Option<(u64, usize)>,
}

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Disk {
        Disk { bytes: Mutex::new(bytes), reads: AtomicU64::new(0), change: None }
    }
}

impl Origin for Disk {
    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        if let Some((at, place)) = self.change
            && reads == at
        {
            bytes[place] ^= 0x40;
        }
        let from = bytes.get(offset as usize..offset as usize + into.len());
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_again(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, into)
    }

    fn was_touched(&self) -> io::Result<bool> {
        Ok(false)
    }
}

/// A library in memory.
#[derive(Default)]
pub struct Shelf {
    pub chunks: Mutex<HashMap<Digest, Vec<u8>>>,
    pub received: Mutex<Vec<Digest>>,
    /// Forgets everything after so many frames, once.
    pub forgets: Mutex<Option<usize>>,
    /// Fails after so many frames.
    pub dies: Option<usize>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Dead;

impl std::fmt::Display for Dead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dead")
    }
}

impl std::error::Error for Dead {}

impl Library for Shelf {
    type Error = Dead;
    type Made = ();

    fn lacking(&self, chunks: &[Digest]) -> Result<Vec<bool>, Dead> {
        let held = self.chunks.lock().unwrap();
        Ok(chunks.iter().map(|chunk| !held.contains_key(chunk)).collect())
    }

    fn send(&self, packed: Packed) -> Result<bool, Dead> {
        let mut received = self.received.lock().unwrap();
        if self.dies.is_some_and(|most| received.len() >= most) {
            return Err(Dead);
        }
        let mut held = self.chunks.lock().unwrap();
        for (number, chunk) in (0..).zip(&packed.chunks) {
            let opened = Frame(&packed.frame).open(number, *chunk).unwrap();
            held.insert(*chunk, opened.bytes().to_vec());
            received.push(*chunk);
        }
        let mut forgets = self.forgets.lock().unwrap();
        if forgets.is_some_and(|at| received.len() >= at) {
            *forgets = None;
            held.clear();
        }
        Ok(false)
    }

    fn flush(&self) -> Result<(), Dead> {
        Ok(())
    }

    fn finish(&self, manifest: &Manifest) -> Result<Option<()>, Dead> {
        let held = self.chunks.lock().unwrap();
        Ok(manifest.digests().all(|chunk| held.contains_key(chunk)).then_some(()))
    }
}

impl Shelf {
    /// The image of a manifest.
    pub fn image(&self, manifest: &Manifest) -> Vec<u8> {
        let held = self.chunks.lock().unwrap();
        let mut image = Vec::new();
        for (span, run) in manifest.regions().iter().flat_map(|region| region.placed_runs()) {
            assert_eq!(span.offset, image.len() as u64);
            if let Run::Data(chunks) = run {
                chunks.iter().for_each(|chunk| image.extend_from_slice(&held[chunk]));
            }
            image.resize(span.end() as usize, 0);
        }
        image
    }
}
