//! Reads stored chunks and compares them with their names.
//!
//! Owns: what is reported, forgetting damaged chunks so that the next import stores them again.
//! Must not know: images and versions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::image::chunk::{Frame, Opener};
use crate::image::manifest::Manifest;
use crate::image::restore::in_parallel;
use crate::store::index::Found;
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
        let mut chunks: Vec<Digest> = manifest.digests().copied().collect();
        chunks.sort_unstable();
        chunks.dedup();
        let (mut found, mut damage) = (Vec::with_capacity(chunks.len()), Vec::new());
        let mut unknown = Vec::new();
        let index = self.index();
        for &chunk in &chunks {
            match index.find(&chunk) {
                Some(at) => found.push((chunk, at)),
                None => unknown.push(chunk),
            }
        }
        drop(index);
        for chunk in unknown {
            match self.find(&chunk) {
                Ok(at) => found.push((chunk, at)),
                Err(error) => damage.push(Damage { chunk, error }),
            }
        }
        // In the order of the packs, so that a disk reads forward, and each frame once.
        // By pack and offset: numbers of frames are others after the folder was read again.
        let place = |at: &Found| (at.pack, at.place.offset);
        found.sort_unstable_by_key(|(_, at)| (place(at), at.slot.chunk()));
        let frames: Vec<_> = found.chunk_by(|(_, one), (_, other)| place(one) == place(other)).collect();
        let (bytes, damage) = (AtomicU64::new(0), Mutex::new(damage));
        let read = |state: &mut (Opener, Vec<u8>), number: usize| {
            self.verify_frame(frames[number], state, |chunk, read| match read {
                Ok(length) => {
                    bytes.fetch_add(length, Ordering::Relaxed);
                    done.fetch_add(length, Ordering::Relaxed);
                }
                Err(error) => {
                    if let GetError::Damaged { pack, .. } = &error {
                        self.index_mut().forget_in(&chunk, pack);
                    }
                    let mut damage = damage.lock().unwrap_or_else(PoisonError::into_inner);
                    damage.push(Damage { chunk, error });
                }
            });
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = in_parallel(workers, frames.len(), Default::default, read);
        let mut damage = damage.into_inner().unwrap_or_else(PoisonError::into_inner);
        damage.sort_by_key(|damage| damage.chunk);
        Verification { chunks: chunks.len() as u64, bytes: bytes.into_inner(), damage }
    }

    /// Reads chunks of one frame; tells the length of each, or what is wrong with it.
    fn verify_frame(
        &self,
        chunks: &[(Digest, Found)],
        (opener, frame): &mut (Opener, Vec<u8>),
        mut tell: impl FnMut(Digest, Result<u64, GetError>),
    ) {
        let Some((_, Found { pack, place, .. })) = chunks.first().copied() else { return };
        if self.read_frame(pack, place, frame).is_err() {
            // A collection may have moved them meanwhile.
            for (chunk, _) in chunks {
                tell(*chunk, self.get(*chunk).map(|verified| verified.bytes().len() as u64));
            }
            return;
        }
        match opener.open(Frame(frame)) {
            Ok(mut contents) => {
                for (chunk, at) in chunks {
                    let read = contents.chunk(at.slot.chunk(), *chunk);
                    let length = read.map(|verified| verified.bytes().len() as u64);
                    tell(*chunk, length.map_err(|source| GetError::Damaged { pack, source }));
                }
            }
            Err(source) => {
                for (chunk, _) in chunks {
                    tell(*chunk, Err(GetError::Damaged { pack, source: source.clone() }));
                }
            }
        }
    }
}
