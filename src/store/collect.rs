//! Garbage: chunks that no manifest names and no import counts on.
//!
//! Owns: finding them (a plan, as data), dropping packs without living chunks, moving the living ones out of packs that are
//! mostly garbage. A frame of which a chunk lives stays whole until its pack is rewritten. Must not know: which manifests are
//! wanted; all that are in the store are.
//!
//! Runs beside everything: what lives is marked from the manifests and the claims (`claims`), and both are looked at again, under
//! the lock of the index, in the moment in which a pack is taken out. A chunk that moves is durable in its new pack before
//! that. A reader that comes too late finds no file and asks the index again.

use std::fs;
use std::io;

use crate::image::chunk::{Frame, Opener, Packed, Packer, Slot, Verified, chunk_count, chunk_length};
use crate::image::manifest::Untrusted;
use crate::store::claims::Standing;
use crate::store::index::Index;
use crate::store::pack::{ClosedPack, PACK_SIZE, PackWriter};
use crate::store::{GetError, ManifestError, Store, StoreError, files};
use crate::value::Digest;

/// A collection; there is one at a time.
#[derive(Debug)]
pub struct Collection<'s> {
    store: &'s Store,
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
    /// Packs that are mostly garbage and stay, because a chunk in them is damaged and cannot be moved.
    pub damaged: u64,
}

/// Chunks that manifests name: one bit a chunk, by frame.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<u16>);

impl Marks {
    fn add(&mut self, slot: Slot) {
        let frame = slot.frame() as usize;
        if self.0.len() <= frame {
            self.0.resize(frame + 1, 0);
        }
        self.0[frame] |= 1 << slot.chunk();
    }

    fn has(&self, slot: Slot) -> bool {
        self.0.get(slot.frame() as usize).is_some_and(|frame| frame & (1 << slot.chunk()) != 0)
    }
}

impl<'s> Collection<'s> {
    /// None: another one is at work.
    pub(super) fn begin(store: &'s Store) -> Option<Collection<'s>> {
        store.claims.begin_collection().then_some(Collection { store })
    }

    /// Finds garbage.
    ///
    /// # Errors
    /// [`StoreError::Roots`] when a manifest cannot be read: then nothing can be called garbage.
    pub fn plan(&self) -> Result<CollectionPlan, StoreError> {
        self.store.garbage()
    }

    /// Does what [`Collection::plan`] finds.
    ///
    /// # Errors
    /// See [`StoreError`]. Packs are removed only after what lives in them is durable elsewhere.
    pub fn run(self) -> Result<Collected, StoreError> {
        let marks = self.store.marks()?;
        let plan = self.store.plan(&marks);
        let mut collected = Collected::default();
        // First what gives room without needing any.
        for pack in &plan.remove {
            self.remove(*pack, &marks, &mut collected)?;
        }
        self.rewrite(&plan.rewrite, &marks, &mut collected)?;
        files::sync_folder(&self.store.folder.join("packs"))?;
        self.store.index_mut().compact();
        Ok(collected)
    }

    /// Removes those of `packs` that have no living chunk: what an import left that came to nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(super) fn sweep(self, packs: &[Digest]) -> Result<Collected, StoreError> {
        let marks = self.store.marks()?;
        let mut collected = Collected::default();
        for pack in packs {
            self.remove(*pack, &marks, &mut collected)?;
        }
        files::sync_folder(&self.store.folder.join("packs"))?;
        Ok(collected)
    }

    /// Removes a pack, unless something in it lives now.
    fn remove(&self, pack: Digest, marks: &Marks, collected: &mut Collected) -> Result<(), StoreError> {
        {
            let mut index = self.store.index_mut();
            let Some(number) = index.number(&pack) else { return Ok(()) };
            let claims = self.store.claims.standing();
            if index.found_in(number).any(|(digest, slot)| marks.has(slot) || claims.contains(&digest)) {
                return Ok(());
            }
            index.remove(number);
        }
        collected.bytes += self.store.remove_pack_file(&pack)?;
        collected.packs += 1;
        Ok(())
    }

    /// Moves the living chunks of packs, each checked on its way, then removes them; a few at a time, so that little room is
    /// needed beside them. A frame whose chunks all live is moved as it is, the living chunks of others are packed anew.
    fn rewrite(&self, packs: &[Digest], marks: &Marks, collected: &mut Collected) -> Result<(), StoreError> {
        let mut left = packs.iter();
        while !left.as_slice().is_empty() {
            let (mut moving, mut moved) = (Moving::new(self.store)?, Vec::new());
            while moving.closed.is_empty()
                && let Some(pack) = left.next()
            {
                match self.store.move_chunks(&self.living_in(pack, marks), &mut moving) {
                    Ok(()) => moved.push(*pack),
                    Err(StoreError::Move(error)) => {
                        tracing::warn!(
                            "pack {pack} is not rewritten: {error}; find the damage: rootstock store check"
                        );
                        collected.damaged += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            let closed = moving.finish()?;
            let new: u64 = closed.iter().map(|pack| pack.length).sum();
            {
                let mut index = self.store.index_mut();
                closed.into_iter().for_each(|pack| index.move_to(pack));
            }
            let before = collected.bytes;
            for pack in moved {
                // All that is marked was moved. What was claimed since then was not; with it the pack stays, and is garbage all the
                // more.
                self.remove(pack, &Marks::default(), collected)?;
            }
            collected.bytes = before + (collected.bytes - before).saturating_sub(new);
        }
        Ok(())
    }

    fn living_in(&self, pack: &Digest, marks: &Marks) -> Vec<(Digest, Slot)> {
        let index = self.store.index();
        let Some(number) = index.number(pack) else { return Vec::new() };
        let claims = self.store.claims.standing();
        let lives = |(digest, slot): &(Digest, Slot)| marks.has(*slot) || claims.contains(digest);
        index.found_in(number).filter(lives).collect()
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        self.store.claims.end_collection();
    }
}

/// Packs that living chunks are moved to.
pub(super) struct Moving<'s> {
    store: &'s Store,
    packer: Packer,
    writer: Option<PackWriter>,
    closed: Vec<ClosedPack>,
}

impl<'s> Moving<'s> {
    pub fn new(store: &'s Store) -> Result<Moving<'s>, StoreError> {
        let packer = Packer::new().map_err(StoreError::at("compressing for", &store.folder))?;
        Ok(Moving { store, packer, writer: None, closed: Vec::new() })
    }

    pub fn add(&mut self, chunk: &Verified<'_>) -> Result<(), StoreError> {
        let packed = self.packer.add(chunk).map_err(StoreError::at("compressing for", &self.store.folder))?;
        packed.map_or(Ok(()), |packed| self.append(&packed))
    }

    pub fn append(&mut self, packed: &Packed) -> Result<(), StoreError> {
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

    pub fn finish(mut self) -> Result<Vec<ClosedPack>, StoreError> {
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
    /// What a collection would do now.
    ///
    /// # Errors
    /// [`StoreError::Roots`] when a manifest cannot be read.
    pub fn garbage(&self) -> Result<CollectionPlan, StoreError> {
        Ok(self.plan(&self.marks()?))
    }

    /// Marks the chunks that manifests name. A manifest that goes meanwhile counts or not, as it comes.
    fn marks(&self) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        for digest in self.manifests()? {
            let signed = match self.manifest(digest) {
                Err(ManifestError::Missing(_)) => continue,
                read => read.map_err(StoreError::Roots)?,
            };
            let unreadable = |source: Untrusted| ManifestError::Damaged { digest, source };
            let manifest = signed.contents().map_err(unreadable).map_err(StoreError::Roots)?;
            let index = self.index();
            manifest.digests().filter_map(|digest| index.find(digest)).for_each(|at| marks.add(at.slot));
        }
        Ok(marks)
    }

    fn plan(&self, marks: &Marks) -> CollectionPlan {
        let index = self.index();
        let claims = self.claims.standing();
        let mut plan = CollectionPlan::default();
        for (number, pack) in (0..).zip(&index.packs).filter(|(_, pack)| !pack.gone) {
            let alive = alive_in(&index, number, marks, &claims);
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

    /// Reads chunks, checks them and gives them to `moving`; `chunks` are those of one pack.
    ///
    /// # Errors
    /// [`StoreError::Move`] when one cannot be read or is damaged; others when writing fails.
    fn move_chunks(&self, chunks: &[(Digest, Slot)], moving: &mut Moving<'_>) -> Result<(), StoreError> {
        let (mut opener, mut frame) = (Opener::default(), Vec::new());
        for chunks in chunks.chunk_by(|(_, one), (_, other)| one.frame() == other.frame()) {
            let Some((first, _)) = chunks.first().copied() else { continue };
            let found = self.index().find(&first).ok_or(StoreError::Move(GetError::Missing(first)))?;
            let (pack, place) = (found.pack, found.place);
            let read = self.read_frame(pack, place, &mut frame);
            read.map_err(|source| StoreError::Move(GetError::Read { digest: first, source }))?;
            let damaged = |source| StoreError::Move(GetError::Damaged { pack, source });
            let mut contents = opener.open(Frame(&frame)).map_err(damaged)?;
            let whole = chunks.len() as u32 == chunk_count(place.raw);
            for (digest, slot) in chunks {
                let chunk = contents.chunk(slot.chunk(), *digest).map_err(damaged)?;
                if !whole {
                    moving.add(&chunk)?;
                }
            }
            if whole {
                let chunks = chunks.iter().map(|(digest, _)| *digest).collect();
                moving.append(&Packed { chunks, raw: place.raw, frame: frame.clone() })?;
            }
        }
        Ok(())
    }

    /// Removes the file of a pack that is in no index any more; gives its bytes.
    pub(super) fn remove_pack_file(&self, pack: &Digest) -> Result<u64, StoreError> {
        let path = self.pack_path(pack);
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::at("removing", &path)(error))
            }
            _ => Ok(bytes),
        }
    }
}

/// Bytes of a pack that are in use: of each living chunk its share of the frame, about what it needs in another one.
fn alive_in(index: &Index, pack: u32, marks: &Marks, claims: &Standing) -> u64 {
    let living = index.found_in(pack).filter(|(digest, slot)| marks.has(*slot) || claims.contains(digest));
    let share = |(_, slot): (Digest, Slot)| {
        let place = index.place(slot);
        let raw = u64::from(chunk_length(place.raw, slot.chunk()));
        (raw * u64::from(place.length)).div_ceil(u64::from(place.raw).max(1))
    };
    living.map(share).sum()
}
