//! Which chunk lies where, in memory: read from the tables of all packs when the store is opened.
//!
//! Owns: the map and the list of packs. Must not know: locks, writing.
//!
//! A library of 300 GB has five million chunks, so bytes count. A chunk costs 32 for its name (in the exactly sized list of
//! its pack), 6 for its share of a frame (24 for four), and 5 to 12 for its place in the hash table, which holds
//! slots only and looks names up in the lists: about 50 in all.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hashbrown::HashTable;

use crate::image::chunk::{Slot, chunk_count, chunk_length};
use crate::image::manifest::{Location, Locations, Manifest};
use crate::store::pack::{BadPack, ClosedPack, read_table};
use crate::store::{GetError, StoreError, files};
use crate::value::Digest;

/// How often packs may go while the folder is read.
const TRIES: u32 = 20;

/// The map of one store.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub packs: Vec<PackInfo>,
    /// Numbers of those that are not gone: one file has one.
    numbers: HashMap<Digest, u32>,
    frames: Vec<FrameInfo>,
    /// By the first bytes of the chunk's digest.
    slots: HashTable<Slot>,
    /// Bytes of the chunks in `slots`.
    raw: u64,
    /// Another number means that slots which were given before may mean other chunks, or none.
    epoch: u64,
    pub unreadable: Vec<(PathBuf, String)>,
}

/// A pack.
#[derive(Debug)]
pub(super) struct PackInfo {
    pub digest: Digest,
    pub length: u64,
    /// Bytes that are no frames.
    pub overhead: u64,
    /// Chunks of all its frames.
    chunks: Box<[Digest]>,
    /// Its frames in [`Index`].
    frames: Range<u32>,
    /// Taken out of the index; it keeps its number until [`Index::compact`].
    pub gone: bool,
}

impl PackInfo {
    /// Number of chunks in it.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }
}

/// A frame.
#[derive(Clone, Copy, Debug)]
struct FrameInfo {
    offset: u64,
    pack: u32,
    length: u32,
    raw: u32,
    /// Its first chunk in [`PackInfo::chunks`].
    first: u32,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Name of the pack.
    pub pack: Digest,
    /// Its frame; `pack` is the number in [`Index::packs`].
    pub place: Location,
    /// Which chunk of the frame.
    pub slot: Slot,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packs.
    pub packs: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Distinct chunks.
    pub chunks: u64,
    /// Bytes of these chunks before compression.
    pub raw_bytes: u64,
}

impl Index {
    /// Reads the tables of all packs in `folder`. A pack that goes meanwhile has moved its chunks to one that is there before.
    pub fn load(folder: &Path) -> Result<Index, StoreError> {
        for _ in 0..TRIES {
            if let Some(index) = Index::try_load(folder)? {
                return Ok(index);
            }
        }
        Err(StoreError::Busy("a collection of garbage"))
    }

    /// None: a pack that was listed was not there any more.
    fn try_load(folder: &Path) -> Result<Option<Index>, StoreError> {
        let mut names = files::names(folder)?;
        // The same order at every start: of two copies of a chunk the same one is used.
        names.sort();
        let mut index = Index::default();
        for name in names {
            let path = folder.join(&name);
            let digest = name.strip_suffix(".pack").and_then(|stem| stem.parse().ok());
            let table = digest.map(|digest| read_table(&path, digest));
            match table {
                Some(Ok(pack)) => index.add(pack),
                Some(Err(BadPack::Read(error))) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Some(Err(BadPack::Older)) => return Err(StoreError::Older(path)),
                Some(Err(error)) => {
                    tracing::error!(
                        "pack {} is not used: {error}; its images must be imported again",
                        path.display()
                    );
                    index.unreadable.push((path, error.to_string()));
                }
                None => tracing::warn!("{} is no pack and is left alone", path.display()),
            }
        }
        Ok(Some(index))
    }

    /// Adds a closed pack. Chunks that are known already keep their place.
    pub fn add(&mut self, closed: ClosedPack) {
        self.take_in(closed, false);
    }

    /// Adds a closed pack that chunks were moved to: from now on they are there.
    pub fn move_to(&mut self, closed: ClosedPack) {
        self.epoch += 1;
        self.take_in(closed, true);
    }

    fn take_in(&mut self, closed: ClosedPack, moved: bool) {
        // A pack's name is the digest of all its bytes: this is that very file, written once more. Only what is found in it may
        // have changed.
        if let Some(pack) = self.number(&closed.digest) {
            return self.point_to(self.packs[pack as usize].frames.clone(), moved);
        }
        let pack = self.packs.len() as u32;
        let start = self.frames.len() as u32;
        let frames: u64 = closed.entries.iter().map(|entry| u64::from(entry.length)).sum();
        self.packs.push(PackInfo {
            digest: closed.digest,
            length: closed.length,
            overhead: closed.length.saturating_sub(frames),
            chunks: closed.chunks.into_boxed_slice(),
            frames: start..start + closed.entries.len() as u32,
            gone: false,
        });
        self.numbers.insert(closed.digest, pack);
        let mut first = 0;
        for entry in closed.entries {
            let (offset, length, raw) = (entry.offset, entry.length, entry.raw);
            self.frames.push(FrameInfo { offset, pack, length, raw, first });
            first += chunk_count(raw);
        }
        self.point_to(start..self.frames.len() as u32, moved);
    }

    /// The chunks of these frames are found there: all of them when they were `moved`, else those that are found nowhere yet.
    fn point_to(&mut self, frames: Range<u32>, moved: bool) {
        for frame in frames {
            for chunk in 0..chunk_count(self.frames[frame as usize].raw) {
                match Slot::new(frame, chunk) {
                    Some(slot) => self.insert(slot, moved),
                    None => tracing::error!("the library has more frames than this program can count"),
                }
            }
        }
    }

    fn insert(&mut self, slot: Slot, moved: bool) {
        let Index { packs, frames, slots, raw, .. } = self;
        let Some(digest) = name(packs, frames, slot) else { return };
        match slots.find_mut(hash(&digest), |known| name(packs, frames, *known) == Some(digest)) {
            Some(known) if moved => *known = slot,
            Some(_) => {}
            None => {
                let rehash = |slot: &Slot| name(packs, frames, *slot).map_or(0, |digest| hash(&digest));
                slots.insert_unique(hash(&digest), slot, rehash);
                *raw += u64::from(chunk_length(frames[slot.frame() as usize].raw, slot.chunk()));
            }
        }
    }

    /// Takes over what another look at the folder found.
    pub fn replace(&mut self, found: Index) {
        *self = Index { epoch: self.epoch + 1, ..found };
    }

    /// Slots that were given out hold as long as this stays the same.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of a pack.
    pub fn number(&self, pack: &Digest) -> Option<u32> {
        self.numbers.get(pack).copied()
    }

    /// Chunks that are found in pack number `pack`, with their slots: copies of chunks that lie elsewhere are left out.
    pub fn found_in(&self, pack: u32) -> impl Iterator<Item = (Digest, Slot)> {
        let frames = self.packs.get(pack as usize).map_or(0..0, |pack| pack.frames.clone());
        frames.flat_map(move |frame| {
            let count = self.frames.get(frame as usize).map_or(0, |frame| chunk_count(frame.raw));
            (0..count).filter_map(move |chunk| {
                let slot = Slot::new(frame, chunk)?;
                let digest = name(&self.packs, &self.frames, slot)?;
                self.find(&digest).filter(|found| found.slot == slot).map(|_| (digest, slot))
            })
        })
    }

    /// Takes a pack out of the index, with the chunks that are found in it. Its file is for the caller to remove.
    pub fn remove(&mut self, pack: u32) {
        self.epoch += 1;
        let found: Vec<Digest> = self.found_in(pack).map(|(digest, _)| digest).collect();
        found.iter().for_each(|digest| self.forget(digest));
        if let Some(pack) = self.packs.get_mut(pack as usize) {
            (pack.gone, pack.chunks) = (true, Box::default());
            self.numbers.remove(&pack.digest);
        }
    }

    /// Gives the numbers of removed packs and frames to others, when there are many. Slots mean others afterwards.
    pub fn compact(&mut self) {
        if self.packs.iter().filter(|pack| pack.gone).count() <= 16 + self.packs.len() / 2 {
            return;
        }
        self.epoch += 1;
        let (mut packs, mut frames) = (Vec::new(), Vec::new());
        let mut moved: Vec<u32> = vec![0; self.frames.len()];
        for pack in std::mem::take(&mut self.packs).into_iter().filter(|pack| !pack.gone) {
            let start = frames.len() as u32;
            for old in pack.frames.clone() {
                moved[old as usize] = frames.len() as u32;
                frames.push(FrameInfo { pack: packs.len() as u32, ..self.frames[old as usize] });
            }
            self.numbers.insert(pack.digest, packs.len() as u32);
            packs.push(PackInfo { frames: start..frames.len() as u32, ..pack });
        }
        for slot in self.slots.iter_mut() {
            *slot = Slot::new(moved[slot.frame() as usize], slot.chunk()).unwrap_or(*slot);
        }
        (self.packs, self.frames) = (packs, frames);
    }

    /// Forgets a chunk, so that the next import stores it again.
    pub fn forget(&mut self, digest: &Digest) {
        self.epoch += 1;
        let Index { packs, frames, slots, raw, .. } = self;
        let known = slots.find_entry(hash(digest), |slot| name(packs, frames, *slot) == Some(*digest));
        if let Ok(entry) = known {
            let (slot, _) = entry.remove();
            *raw -= u64::from(chunk_length(frames[slot.frame() as usize].raw, slot.chunk()));
        }
    }

    /// Forgets a chunk, if it is in this pack.
    pub fn forget_in(&mut self, digest: &Digest, pack: &Digest) {
        if self.find(digest).is_some_and(|found| found.pack == *pack) {
            self.forget(digest);
        }
    }

    /// Where a chunk is.
    pub fn find(&self, digest: &Digest) -> Option<Found> {
        let same = |slot: &Slot| name(&self.packs, &self.frames, *slot) == Some(*digest);
        self.slots.find(hash(digest), same).and_then(|slot| self.at(*slot))
    }

    /// Where the frame of a slot is; that of a slot that nobody gave has no bytes.
    pub fn place(&self, slot: Slot) -> Location {
        let none = Location { pack: 0, offset: 0, length: 0, raw: 0 };
        self.at(slot).map_or(none, |found| found.place)
    }

    fn at(&self, slot: Slot) -> Option<Found> {
        let FrameInfo { offset, pack, length, raw, .. } = *self.frames.get(slot.frame() as usize)?;
        let place = Location { pack, offset, length, raw };
        Some(Found { pack: self.packs.get(pack as usize)?.digest, place, slot })
    }

    /// The table for a manifest.
    pub fn locations(&self, manifest: &Manifest) -> Result<Locations, GetError> {
        let (mut pack_numbers, mut frame_numbers) = (HashMap::new(), HashMap::new());
        let (mut packs, mut frames, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for digest in manifest.digests() {
            let Found { pack, place, slot } = self.find(digest).ok_or(GetError::Missing(*digest))?;
            let frame = *frame_numbers.entry(slot.frame()).or_insert_with(|| {
                let number = *pack_numbers.entry(place.pack).or_insert_with(|| {
                    packs.push(pack);
                    packs.len() as u32 - 1
                });
                frames.push(Location { pack: number, ..place });
                frames.len() as u32 - 1
            });
            cells.extend(Slot::new(frame, slot.chunk()));
        }
        // What `read_table` and `append` let in is within the bounds of a table of locations.
        Locations::new(packs, frames, cells).map_err(|source| GetError::Read {
            digest: Digest::from_bytes([0; 32]),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, source),
        })
    }

    /// Packs that are there.
    pub fn living_packs(&self) -> impl Iterator<Item = &PackInfo> {
        self.packs.iter().filter(|pack| !pack.gone)
    }

    /// Counts.
    pub fn usage(&self) -> Usage {
        Usage {
            packs: self.living_packs().count() as u64,
            bytes: self.living_packs().map(|pack| pack.length).sum(),
            chunks: self.slots.len() as u64,
            raw_bytes: self.raw,
        }
    }
}

/// A digest is as good as random, so its first bytes are a hash.
fn hash(digest: &Digest) -> u64 {
    digest.as_bytes().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The chunk in a slot.
fn name(packs: &[PackInfo], frames: &[FrameInfo], slot: Slot) -> Option<Digest> {
    let frame = frames.get(slot.frame() as usize)?;
    packs.get(frame.pack as usize)?.chunks.get((frame.first + slot.chunk()) as usize).copied()
}
