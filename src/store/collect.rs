//! Garbage: chunks that no manifest names.
//!
//! Owns: finding them (a plan, as data), dropping packs without living chunks, moving the living ones out of packs that are
//! mostly garbage. A frame of which a chunk lives stays whole until its pack is rewritten. Must not know: which manifests are wanted; all that are in the store are.

use std::collections::{HashMap, HashSet};
use std::fs;

use crate::image::chunk::{Frame, Opener, Packed, Packer, Verified, chunk_count, chunk_length};
use crate::image::manifest::Untrusted;
use crate::store::files::Lock;
use crate::store::index::{Found, Index};
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

    /// Moves the living chunks of `packs`, each checked on its way. A frame whose chunks all live is moved as it is, the living
    /// chunks of others are packed anew.
    fn rewrite(&self, packs: &[Digest], roots: &HashSet<Digest>) -> Result<Vec<ClosedPack>, StoreError> {
        let packs: HashSet<Digest> = packs.iter().copied().collect();
        let index = self.store.index();
        let placed = index.chunks().filter(|(digest, at)| packs.contains(&at.pack) && roots.contains(digest));
        let mut living: Vec<(Digest, Found)> = placed.collect();
        drop(index);
        living.sort_unstable_by_key(|(_, at)| at.slot);
        let mut moving = Moving::new(self.store)?;
        let (mut opener, mut frame) = (Opener::default(), Vec::new());
        for chunks in living.chunk_by(|(_, one), (_, other)| one.slot.frame() == other.slot.frame()) {
            let Some((first, Found { pack, place, .. })) = chunks.first().copied() else { continue };
            let read = self.store.read_frame(pack, place, &mut frame);
            read.map_err(|source| StoreError::Move(GetError::Read { digest: first, source }))?;
            let damaged = |source| StoreError::Move(GetError::Damaged { pack, source });
            let mut contents = opener.open(Frame(&frame)).map_err(damaged)?;
            let whole = chunks.len() as u32 == chunk_count(place.raw);
            for (digest, at) in chunks {
                let chunk = contents.chunk(at.slot.chunk(), *digest).map_err(damaged)?;
                if !whole {
                    moving.add(&chunk)?;
                }
            }
            if whole {
                let chunks = chunks.iter().map(|(digest, _)| *digest).collect();
                moving.append(&Packed { chunks, raw: place.raw, frame: frame.clone() })?;
            }
        }
        moving.finish()
    }
}

/// Packs that living chunks are moved to.
struct Moving<'s> {
    store: &'s Store,
    packer: Packer,
    writer: Option<PackWriter>,
    closed: Vec<ClosedPack>,
}

impl<'s> Moving<'s> {
    fn new(store: &'s Store) -> Result<Moving<'s>, StoreError> {
        let packer = Packer::new().map_err(StoreError::at("compressing for", &store.folder))?;
        Ok(Moving { store, packer, writer: None, closed: Vec::new() })
    }

    fn add(&mut self, chunk: &Verified<'_>) -> Result<(), StoreError> {
        let packed = self.packer.add(chunk).map_err(StoreError::at("compressing for", &self.store.folder))?;
        packed.map_or(Ok(()), |packed| self.append(&packed))
    }

    fn append(&mut self, packed: &Packed) -> Result<(), StoreError> {
        let open = match &mut self.writer {
            Some(open) => open,
            none => none.insert(PackWriter::create(self.store.incoming())?),
        };
        open.append(packed)?;
        if let Some(full) = self.writer.take_if(|open| open.length() >= PACK_SIZE) {
            self.closed.push(full.close(&self.store.folder.join("packs"))?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<ClosedPack>, StoreError> {
        let rest = self.packer.finish().map_err(StoreError::at("compressing for", &self.store.folder))?;
        if let Some(packed) = rest {
            self.append(&packed)?;
        }
        if let Some(last) = self.writer.take() {
            self.closed.push(last.close(&self.store.folder.join("packs"))?);
        }
        Ok(self.closed)
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
        for (_, Found { place, slot, .. }) in index.chunks().filter(|(digest, _)| roots.contains(digest)) {
            // Its share of the frame: about what it needs in another one.
            let raw = u64::from(chunk_length(place.raw, slot.chunk()));
            let share = (raw * u64::from(place.length)).div_ceil(place.raw.into());
            *living.entry(place.pack).or_default() += share;
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
