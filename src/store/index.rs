//! Which chunk lies where, in memory: read from the tables of all packs when the store is opened.
//!
//! Owns: the map and the list of packs. Must not know: locks, writing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use crate::image::manifest::{Location, Locations, Manifest};
use crate::store::pack::{ClosedPack, read_table};
use crate::store::{GetError, StoreError, files};
use crate::value::Digest;

/// The map of one store.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub packs: Vec<PackInfo>,
    chunks: HashMap<Digest, Location>,
    pub unreadable: Vec<(PathBuf, String)>,
}

/// A pack.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackInfo {
    pub digest: Digest,
    pub length: u64,
    /// Bytes that are no frames.
    pub overhead: u64,
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
    /// Reads the tables of all packs in `folder`.
    pub fn load(folder: &Path) -> Result<Index, StoreError> {
        let mut names = files::names(folder)?;
        // The same order at every start: of two copies of a chunk the same one is used.
        names.sort();
        let mut index = Index::default();
        for name in names {
            let path = folder.join(&name);
            let digest = name.strip_suffix(".pack").and_then(|stem| stem.parse().ok());
            let table = digest.map(|digest| read_table(&path, digest));
            match table {
                Some(Ok(pack)) => index.add(&pack),
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
        Ok(index)
    }

    /// Adds a closed pack. Chunks that are known already keep their place.
    pub fn add(&mut self, pack: &ClosedPack) {
        let number = self.packs.len() as u32;
        let frames: u64 = pack.entries.iter().map(|entry| u64::from(entry.length)).sum();
        let overhead = pack.length.saturating_sub(frames);
        self.packs.push(PackInfo { digest: pack.digest, length: pack.length, overhead });
        for entry in &pack.entries {
            let place = Location { pack: number, offset: entry.offset, length: entry.length, raw: entry.raw };
            if let Entry::Vacant(vacant) = self.chunks.entry(entry.digest) {
                vacant.insert(place);
            }
        }
    }

    /// Forgets a chunk, so that the next import stores it again.
    pub fn forget(&mut self, digest: &Digest) {
        self.chunks.remove(digest);
    }

    /// Pack and place of a chunk.
    pub fn find(&self, digest: &Digest) -> Option<(Digest, Location)> {
        let place = self.chunks.get(digest)?;
        Some((self.packs.get(place.pack as usize)?.digest, *place))
    }

    /// All chunks with their places; the number is that of the pack in [`Index::packs`].
    pub fn chunks(&self) -> impl Iterator<Item = (&Digest, &Location)> {
        self.chunks.iter()
    }

    /// The table for a manifest.
    pub fn locations(&self, manifest: &Manifest) -> Result<Locations, GetError> {
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let (mut packs, mut entries) = (Vec::new(), Vec::new());
        for digest in manifest.digests() {
            let place = self.chunks.get(digest).ok_or(GetError::Missing(*digest))?;
            let pack = *numbers.entry(place.pack).or_insert_with(|| {
                packs.push(self.packs[place.pack as usize].digest);
                packs.len() as u32 - 1
            });
            entries.push(Location { pack, ..*place });
        }
        // What `read_table` and `append` let in is within the bounds of a table of locations.
        Locations::new(packs, entries).map_err(|source| GetError::Read {
            digest: Digest::from_bytes([0; 32]),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, source),
        })
    }

    /// Counts.
    pub fn usage(&self) -> Usage {
        Usage {
            packs: self.packs.len() as u64,
            bytes: self.packs.iter().map(|pack| pack.length).sum(),
            chunks: self.chunks.len() as u64,
            raw_bytes: self.chunks.values().map(|place| u64::from(place.raw)).sum(),
        }
    }
}
