//! Reads stored chunks and compares them with their names.
//!
//! Owns: what is reported, forgetting damaged chunks so that the next import stores them again.
//! Must not know: images and versions.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::image::manifest::Manifest;
use crate::image::restore::in_parallel;
use crate::store::{GetError, Store};
use crate::value::Digest;

/// What reading found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Distinct chunks read.
    pub chunks: u64,
    /// Their bytes, uncompressed.
    pub bytes: u64,
    /// Chunks that are not as they should be, by name.
    pub damage: Vec<Damage>,
}

/// A chunk that is not as it should be.
#[derive(Debug)]
pub struct Damage {
    /// The chunk.
    pub chunk: Digest,
    /// What is wrong.
    pub error: GetError,
}

impl Store {
    /// Reads every chunk of a manifest. `done` counts bytes and may be looked at meanwhile.
    pub fn verify(&self, manifest: &Manifest, workers: usize, done: &AtomicU64) -> Verification {
        let chunks: HashSet<Digest> = manifest.digests().copied().collect();
        self.verify_chunks(chunks.into_iter().collect(), workers, done)
    }

    /// Reads every chunk of the store.
    pub fn verify_all(&self, workers: usize, done: &AtomicU64) -> Verification {
        let chunks = self.index().chunks().map(|(digest, _)| *digest).collect();
        self.verify_chunks(chunks, workers, done)
    }

    fn verify_chunks(&self, mut chunks: Vec<Digest>, workers: usize, done: &AtomicU64) -> Verification {
        // In the order of the packs, so that a disk reads forward.
        chunks.sort_by_key(|digest| self.index().find(digest).map(|(_, place)| (place.pack, place.offset)));
        let (bytes, damage) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        let read = |_: &mut (), number: usize| {
            let chunk = chunks[number];
            match self.get(chunk) {
                Ok(verified) => {
                    let length = verified.bytes().len() as u64;
                    bytes.fetch_add(length, Ordering::Relaxed);
                    done.fetch_add(length, Ordering::Relaxed);
                }
                Err(error) => {
                    if matches!(error, GetError::Damaged { .. }) {
                        self.index_mut().forget(&chunk);
                    }
                    damage
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push(Damage { chunk, error });
                }
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = in_parallel(workers, chunks.len(), || (), read);
        let mut damage = damage.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        damage.sort_by_key(|damage| damage.chunk);
        Verification { chunks: chunks.len() as u64, bytes: bytes.into_inner(), damage }
    }
}
