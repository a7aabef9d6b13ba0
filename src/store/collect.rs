//! Garbage: chunks that no manifest names.
//!
//! Owns: finding them (a plan, as data), dropping packs without living chunks, moving the living ones out of packs that are
//! mostly garbage. Must not know: which manifests are wanted; all that are in the store are.

use std::collections::{HashMap, HashSet};
use std::fs;

use crate::image::chunk::Frame;
use crate::image::manifest::{Location, Untrusted};
use crate::image::restore::{Frames, Place};
use crate::store::files::Lock;
use crate::store::index::Index;
use crate::store::pack::{ClosedPack, PACK_SIZE, PackWriter};
use crate::store::{GetError, ManifestError, Store, StoreError, files};
use crate::value::Digest;

/// A collection; while it exists nobody imports.
#[derive(Debug)]
pub struct Collection<'s> {
    store: &'s Store,
    _alone: Lock,
}

/// What a collection would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionPlan {
    /// Packs without a living chunk: removed.
    pub remove: Vec<Digest>,
    /// Packs of which more than half is garbage: their living chunks are moved to new packs.
    pub rewrite: Vec<Digest>,
    /// Bytes of garbage in all packs, about.
    pub garbage: u64,
    /// Bytes that removing and rewriting give back.
    pub reclaimable: u64,
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Packs removed, rewritten ones included.
    pub packs: u64,
    /// Bytes given back to the disk.
    pub bytes: u64,
}

impl<'s> Collection<'s> {
    pub(super) fn new(store: &'s Store, alone: Lock) -> Collection<'s> {
        Collection { store, _alone: alone }
    }

    /// Finds garbage; nothing can change it before [`Collection::run`].
    ///
    /// # Errors
    /// [`StoreError::Roots`] when a manifest cannot be read: then nothing can be called garbage.
    pub fn plan(&self) -> Result<CollectionPlan, StoreError> {
        Ok(self.store.garbage_of(&self.store.roots()?))
    }

    /// Does what [`Collection::plan`] finds.
    ///
    /// # Errors
    /// See [`StoreError`]. Packs are removed only after what lives in them is durable elsewhere.
    pub fn run(self) -> Result<Collected, StoreError> {
        let roots = self.store.roots()?;
        let plan = self.store.garbage_of(&roots);
        let moved = self.rewrite(&plan.rewrite, &roots)?;
        let gone: Vec<Digest> = plan.remove.into_iter().chain(plan.rewrite).collect();
        let removed = self.remove(&gone)?;
        let moved: u64 = moved.iter().map(|pack| pack.length).sum();
        Ok(Collected { packs: gone.len() as u64, bytes: removed.saturating_sub(moved) })
    }

    /// Removes those of `packs` that have no living chunk: what an import left that came to nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn sweep(self, packs: &[Digest]) -> Result<Collected, StoreError> {
        let mut gone = self.plan()?.remove;
        gone.retain(|pack| packs.contains(pack));
        let bytes = self.remove(&gone)?;
        Ok(Collected { packs: gone.len() as u64, bytes })
    }

    /// Removes packs; gives their bytes.
    fn remove(&self, packs: &[Digest]) -> Result<u64, StoreError> {
        let folder = self.store.folder.join("packs");
        let mut bytes = 0;
        for pack in packs {
            let path = self.store.pack_path(pack);
            bytes += fs::metadata(&path).map_err(StoreError::at("reading", &path))?.len();
            fs::remove_file(&path).map_err(StoreError::at("removing", &path))?;
        }
        files::sync_folder(&folder)?;
        *self.store.index_mut() = Index::load(&folder)?;
        Ok(bytes)
    }

    /// Moves the living chunks of `packs`, each checked on its way.
    fn rewrite(&self, packs: &[Digest], roots: &HashSet<Digest>) -> Result<Vec<ClosedPack>, StoreError> {
        let packs: HashSet<Digest> = packs.iter().copied().collect();
        let mut living: Vec<(Digest, Digest, Location)> = {
            let index = self.store.index();
            let placed = index.chunks().filter(|(digest, _)| roots.contains(digest));
            placed
                .map(|(digest, place)| (index.packs[place.pack as usize].digest, *digest, *place))
                .filter(|(pack, ..)| packs.contains(pack))
                .collect()
        };
        living.sort_by_key(|(_, _, place)| (place.pack, place.offset));
        let folder = self.store.folder.join("packs");
        let (mut writer, mut closed) = (None::<PackWriter>, Vec::new());
        for (pack, digest, place) in living {
            let frame = self.checked_frame(pack, digest, place)?;
            let open = match &mut writer {
                Some(open) => open,
                none => none.insert(PackWriter::create(self.store.incoming())?),
            };
            open.append(digest, place.raw, &frame)?;
            if let Some(full) = writer.take_if(|open| open.length() >= PACK_SIZE) {
                closed.push(full.close(&folder)?);
            }
        }
        if let Some(last) = writer {
            closed.push(last.close(&folder)?);
        }
        Ok(closed)
    }

    fn checked_frame(&self, pack: Digest, digest: Digest, place: Location) -> Result<Vec<u8>, StoreError> {
        let mut frame = vec![0; place.length as usize];
        let read = |error| GetError::Read { digest, source: std::io::Error::other(error) };
        let from = Place { pack, offset: place.offset, fresh: false };
        self.store.fetch(from, &mut frame).map_err(|error| StoreError::Move(read(error)))?;
        Frame(&frame).open(digest).map_err(|source| StoreError::Move(GetError::Damaged { pack, source }))?;
        Ok(frame)
    }
}

impl Store {
    /// What a collection would do now. Beside a running import it is a guess: chunks of the import count as garbage.
    ///
    /// # Errors
    /// [`StoreError::Roots`] when a manifest cannot be read.
    pub fn garbage(&self) -> Result<CollectionPlan, StoreError> {
        Ok(self.garbage_of(&self.roots()?))
    }

    /// Chunks that manifests name.
    fn roots(&self) -> Result<HashSet<Digest>, StoreError> {
        let mut roots = HashSet::new();
        for digest in self.manifests()? {
            let unreadable = |source: Untrusted| ManifestError::Damaged { digest, source };
            let signed = self.manifest(digest).map_err(StoreError::Roots)?;
            roots.extend(signed.contents().map_err(unreadable).map_err(StoreError::Roots)?.digests());
        }
        Ok(roots)
    }

    fn garbage_of(&self, roots: &HashSet<Digest>) -> CollectionPlan {
        let index = self.index();
        let mut living: HashMap<u32, u64> = HashMap::new();
        for (_, place) in index.chunks().filter(|(digest, _)| roots.contains(digest)) {
            *living.entry(place.pack).or_default() += u64::from(place.length);
        }
        let mut plan = CollectionPlan::default();
        for (number, pack) in (0..).zip(&index.packs) {
            let alive = living.get(&number).copied().unwrap_or(0);
            let dead = pack.length.saturating_sub(alive);
            match alive {
                0 => plan.remove.push(pack.digest),
                _ if dead > pack.length / 2 => plan.rewrite.push(pack.digest),
                _ => {
                    // Headers and the table are no garbage.
                    plan.garbage += dead.saturating_sub(pack.overhead);
                    continue;
                }
            }
            plan.garbage += dead;
            plan.reclaimable += dead;
        }
        plan
    }
}
