//! Garbage: chunks that no manifest names and no import counts on.
//!
//! Owns: finding them (a plan, as data), dropping packs without living chunks, moving the living ones out of packs that are
//! mostly garbage, on a full disk too; joining small packs, which many small imports leave. A frame of which a chunk lives stays whole until its pack is rewritten. Must not know: which manifests are
//! wanted; all that are in the store are.
//!
//! Runs beside everything: what lives is marked from the manifests and the claims (`claims`), and both are looked at again, under
//! the lock of the index, in the moment in which a pack is taken out. A chunk that moves is durable in its new pack before
//! that. A reader that comes too late finds no file and asks the index again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::PoisonError;

use crate::image::chunk::{Frame, Opener, Packed, Packer, Slot, Verified, chunk_count, chunk_length};
use crate::image::manifest::Untrusted;
use crate::store::claims::Standing;
use crate::store::index::Index;
use crate::store::pack::{ClosedPack, PACK_SIZE, PackWriter};
use crate::store::{GetError, ManifestError, Store, StoreError, files, reserve};
use crate::value::Digest;

/// A pack shorter than this is small.
const SMALL: u64 = PACK_SIZE / 8;
/// Small packs are joined when there are so many: what one joining leaves is small again, and is not moved each time.
const MANY: usize = 16;

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
    /// Packs of which more than half is garbage: their living chunks are moved to new packs. Those with the least to move
    /// first: they need the least room, and give some for the next.
    pub rewrite: Vec<Digest>,
    /// Small packs, when there are many: their living chunks are moved to fewer ones.
    pub join: Vec<Digest>,
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
    /// Packs that are mostly garbage and stay, because the disk has no room for what lives in the smallest of them.
    pub no_room: u64,
}

/// What one round of moving did.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// Packs that were looked at.
    packs: usize,
    /// Those among them that stay, because a chunk is damaged.
    damaged: u64,
}

/// Chunks that manifests name: one bit a chunk, by frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Vec<u16>);

/// Marks that were set before, of which manifests, and as long as slots meant what they mean in this epoch of the index.
#[derive(Debug, Default)]
pub(super) struct Marked {
    epoch: u64,
    manifests: BTreeSet<Digest>,
    marks: Marks,
}

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
        Ok(self.store.plan(&self.store.marks()?))
    }

    /// Does what [`Collection::plan`] finds.
    ///
    /// # Errors
    /// See [`StoreError`]. Packs are removed only after what lives in them is durable elsewhere.
    pub fn run(self) -> Result<Collected, StoreError> {
        let marks = self.store.marks()?;
        let plan = self.store.plan(&marks);
        let mut collected = Collected::default();
        // First what gives room without needing any; once that is durable the file system hands the room out again.
        for pack in &plan.remove {
            self.remove(*pack, &marks, &mut collected)?;
        }
        files::sync_folder(&self.store.folder.join("packs"))?;
        let rewritten = self
            .rewrite(&plan.rewrite, &marks, &mut collected)
            .and_then(|()| self.join(&plan.join, &marks, &mut collected));
        self.store.index_mut().compact();
        reserve::keep(&self.store.folder);
        rewritten.map(|()| collected)
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
    /// needed beside them, and where there is no room for that one by one.
    fn rewrite(&self, packs: &[Digest], marks: &Marks, collected: &mut Collected) -> Result<(), StoreError> {
        let (mut left, mut one_by_one) = (packs, false);
        while !left.is_empty() {
            let together = if one_by_one { 1 } else { left.len() };
            match self.round(&left[..together], marks, collected) {
                Ok(round) => {
                    collected.damaged += round.damaged;
                    left = &left[round.packs..];
                }
                Err(StoreError::Full { .. }) if !one_by_one => one_by_one = true,
                Err(StoreError::Full { .. }) if self.store.release_reserve()? => {}
                // The others have more to move.
                Err(StoreError::Full { .. }) => {
                    collected.no_room = left.len() as u64;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the living chunks of small packs together. Nothing is lost where there is no room for that: they stay as they are.
    fn join(&self, packs: &[Digest], marks: &Marks, collected: &mut Collected) -> Result<(), StoreError> {
        let mut left = packs;
        while !left.is_empty() {
            match self.round(left, marks, collected) {
                Ok(round) => {
                    collected.damaged += round.damaged;
                    left = &left[round.packs..];
                }
                Err(StoreError::Full { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves what lives in the first of `packs` until a new pack is full, and removes those. A frame whose chunks all live is
    /// moved as it is, the living chunks of others are packed anew.
    fn round(&self, packs: &[Digest], marks: &Marks, collected: &mut Collected) -> Result<Round, StoreError> {
        let (mut moving, mut moved, mut round) = (Moving::new(self.store)?, Vec::new(), Round::default());
        for pack in packs {
            if moving.has_closed() {
                break;
            }
            round.packs += 1;
            match self.store.move_chunks(&self.living_in(pack, marks), &mut moving) {
                Ok(()) => moved.push(*pack),
                Err(StoreError::Move(error)) => {
                    tracing::warn!(
                        "pack {pack} is not rewritten: {error}; find the damage: rootstock store check"
                    );
                    round.damaged += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let closed = moving.finish()?;
        let new: u64 = closed.iter().map(|pack| pack.length).sum();
        // A pack of which nothing was left out is written with the very bytes that it has: that is its own file.
        let written: Vec<Digest> = closed.iter().map(|pack| pack.digest).collect();
        moved.retain(|pack| !written.contains(pack));
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
        files::sync_folder(&self.store.folder.join("packs"))?;
        Ok(round)
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

/// Packs that living chunks are moved to. Dropped before [`Moving::finish`], it takes back what it wrote.
pub(super) struct Moving<'s> {
    store: &'s Store,
    packer: Packer,
    writer: Option<PackWriter>,
    closed: Vec<ClosedPack>,
}

impl<'s> Moving<'s> {
    pub fn new(store: &'s Store) -> Result<Moving<'s>, StoreError> {
        let packer = Packer::new().map_err(StoreError::packing(&store.folder))?;
        Ok(Moving { store, packer, writer: None, closed: Vec::new() })
    }

    /// Whether a pack has become full.
    fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    pub fn add(&mut self, chunk: &Verified<'_>) -> Result<(), StoreError> {
        let packed = self.packer.add(chunk).map_err(StoreError::packing(&self.store.folder))?;
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
        let rest = self.packer.finish().map_err(StoreError::packing(&self.store.folder))?;
        if let Some(packed) = rest {
            self.append(&packed)?;
        }
        if let Some(last) = self.writer.take() {
            self.closed.push(last.close(&self.store.folder.join("packs"))?);
        }
        Ok(std::mem::take(&mut self.closed))
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        // No index knows them. One that has the very bytes of a pack that is in use has its name, and is that file.
        for pack in std::mem::take(&mut self.closed) {
            let known = self.store.index().number(&pack.digest).is_some();
            if !known && let Err(error) = self.store.remove_pack_file(&pack.digest) {
                tracing::warn!("a new pack remains as garbage: {error}");
            }
        }
    }
}

impl Store {
    /// What a collection would do now, about: manifests that were read for an earlier answer are not read again.
    ///
    /// # Errors
    /// [`StoreError::Roots`] when a manifest cannot be read.
    pub fn garbage(&self) -> Result<CollectionPlan, StoreError> {
        let names: BTreeSet<Digest> = self.manifests()?.into_iter().collect();
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.index().epoch();
        if marked.epoch != epoch || !marked.manifests.is_subset(&names) {
            *marked = Marked { epoch, ..Marked::default() };
        }
        for digest in &names {
            if !marked.manifests.contains(digest) && self.mark(*digest, &mut marked.marks)? {
                marked.manifests.insert(*digest);
            }
        }
        Ok(self.plan(&marked.marks))
    }

    /// Marks the chunks that manifests name, all of them looked up now. A manifest that goes meanwhile counts or not, as it comes.
    fn marks(&self) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        for digest in self.manifests()? {
            self.mark(digest, &mut marks)?;
        }
        Ok(marks)
    }

    /// Marks the chunks that one manifest names. False when it is not there.
    fn mark(&self, digest: Digest, marks: &mut Marks) -> Result<bool, StoreError> {
        let signed = match self.manifest(digest) {
            Err(ManifestError::Missing(_)) => return Ok(false),
            read => read.map_err(StoreError::Roots)?,
        };
        let unreadable = |source: Untrusted| ManifestError::Damaged { digest, source };
        let manifest = signed.contents().map_err(unreadable).map_err(StoreError::Roots)?;
        let index = self.index();
        manifest.digests().filter_map(|digest| index.find(digest)).for_each(|at| marks.add(at.slot));
        Ok(true)
    }

    fn plan(&self, marks: &Marks) -> CollectionPlan {
        let index = self.index();
        let claims = self.claims.standing();
        let (mut plan, mut rewrite) = (CollectionPlan::default(), Vec::new());
        for (number, pack) in (0..).zip(&index.packs).filter(|(_, pack)| !pack.gone) {
            let alive = alive_in(&index, number, marks, &claims);
            // Headers and the table are no garbage: a rewritten pack has them too.
            let frames = pack.length.saturating_sub(pack.overhead);
            let mut dead = frames.saturating_sub(alive);
            match alive {
                0 => {
                    plan.remove.push(pack.digest);
                    dead = pack.length;
                }
                _ if dead > frames / 2 => rewrite.push((alive, pack.digest)),
                _ => {
                    plan.garbage += dead;
                    if pack.length < SMALL {
                        plan.join.push(pack.digest);
                    }
                    continue;
                }
            }
            plan.garbage += dead;
            plan.reclaimable += dead;
        }
        rewrite.sort_unstable();
        plan.rewrite = rewrite.into_iter().map(|(_, pack)| pack).collect();
        if plan.join.len() < MANY {
            plan.join.clear();
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
