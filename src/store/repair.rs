//! Takes damage out of the way: good chunks of bad packs are saved, what is bad goes into quarantine.
//!
//! Owns: what is done about each kind of flaw. Nothing is deleted; what is in quarantine, people may look at and delete. Must
//! not know: where lost chunks may come from again.
//!
//! Order, so that a crash loses nothing: bad pack in quarantine too → new pack durable → index → bad pack away.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::image::chunk::{FRAME, Frame, MAX_FRAME, Opener, chunk_count};
use crate::image::manifest::Manifest;
use crate::store::check::each_chunk;
use crate::store::collect::Moving;
use crate::store::flaw::Flaw;
use crate::store::pack::{ClosedPack, Entry, MAGIC, read_table};
use crate::store::{Store, StoreError, files};
use crate::value::Digest;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What lies in quarantine now, by its new name.
    pub quarantined: Vec<PathBuf>,
    /// Good chunks that were saved from bad packs.
    pub saved: u64,
    /// Files whose permissions were put right.
    pub permissions: u64,
    /// What could not be mended, one line each.
    pub failed: Vec<String>,
}

impl Store {
    /// Does what can be done here about `flaws`. Afterwards no damaged chunk is found any more: the next import of its image, or
    /// [`Store::import`] with chunks from elsewhere, stores it again.
    ///
    /// # Errors
    /// When the store cannot be written: [`StoreError::Full`], [`StoreError::ReadOnly`]. What was done until then stays done.
    pub fn repair(&self, flaws: &[Flaw]) -> Result<Repaired, StoreError> {
        self.must_own()?;
        let quarantine = self.folder.join("quarantine");
        fs::create_dir_all(&quarantine).map_err(StoreError::at("making folder", &quarantine))?;
        let mut repaired = Repaired::default();
        for flaw in flaws {
            match flaw {
                Flaw::ChunksDamaged { pack, .. }
                | Flaw::PackChanged { pack, .. }
                | Flaw::PackUnreadable { pack, .. } => self.replace_pack(*pack, &mut repaired)?,
                Flaw::PackMissing { pack, .. } => self.forget_pack(pack),
                Flaw::ManifestDamaged { manifest, .. } => {
                    self.set_aside(&self.manifest_path(manifest), &mut repaired)?;
                }
                Flaw::Stray { path, .. } => self.set_aside(path, &mut repaired)?,
                Flaw::Permissions { path, .. } => mend_permissions(path, &mut repaired),
                // An unused manifest goes with the next sweep. A foreign one has the right content: whoever knows that signs it
                // again. The others are mended by what is stored again.
                Flaw::ManifestForeign { .. }
                | Flaw::ManifestUnused { .. }
                | Flaw::ManifestMissing { .. }
                | Flaw::Incomplete { .. } => {}
            }
        }
        Ok(repaired)
    }

    /// Distinct chunks of a manifest that are in no pack.
    pub fn missing(&self, manifest: &Manifest) -> HashSet<Digest> {
        let index = self.index();
        manifest.digests().filter(|digest| index.find(digest).is_none()).copied().collect()
    }

    fn forget_pack(&self, pack: &Digest) {
        let mut index = self.index_mut();
        if let Some(number) = index.number(pack) {
            index.remove(number);
        }
    }

    /// Puts what is good in a bad pack into another one, and the bad one aside: first under its second name, in quarantine, so that
    /// at no point of time it is nowhere.
    fn replace_pack(&self, pack: Digest, repaired: &mut Repaired) -> Result<(), StoreError> {
        let path = self.pack_path(&pack);
        let Some(aside) = self.free_name(&path, repaired) else { return Ok(()) };
        let linked = fs::hard_link(&path, &aside).or_else(|_| fs::copy(&path, &aside).map(drop));
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                repaired.failed.push(format!("{} cannot be put into quarantine: {error}", path.display()));
                return Ok(());
            }
        }
        File::open(&aside).and_then(|file| file.sync_all()).map_err(StoreError::at("flushing", &aside))?;
        files::sync_folder(&self.folder.join("quarantine"))?;
        let same_name = self.save(pack, repaired)?;
        if !same_name {
            self.remove_pack_file(&pack)?;
            files::sync_folder(&self.folder.join("packs"))?;
        }
        self.index_mut().unreadable.retain(|(unreadable, _)| *unreadable != path);
        repaired.quarantined.push(aside);
        Ok(())
    }

    /// Copies the good chunks of a bad pack that are not found elsewhere, then takes the pack out of the index. True when what was
    /// copied has the very name of the pack: all its chunks were good.
    fn save(&self, pack: Digest, repaired: &mut Repaired) -> Result<bool, StoreError> {
        let path = self.pack_path(&pack);
        let table = match read_table(&path, pack) {
            Ok(table) => table,
            Err(_) => walk(&path, pack),
        };
        let mut moving = Moving::new(self)?;
        if let Ok(file) = File::open(&path) {
            let (mut opener, mut frame, mut result) = (Opener::default(), Vec::new(), Ok(()));
            let mut seen = HashSet::new();
            each_chunk(&table, |entry, chunks| {
                frame.resize(entry.length as usize, 0);
                if result.is_err() || file.read_exact_at(&mut frame, entry.offset).is_err() {
                    return;
                }
                let Ok(mut contents) = opener.open(Frame(&frame)) else { return };
                for (number, digest) in (0..).zip(chunks) {
                    let elsewhere = self.index().find(digest).is_some_and(|found| found.pack != pack);
                    if elsewhere || seen.contains(digest) {
                        continue;
                    }
                    if let Ok(chunk) = contents.chunk(number, *digest) {
                        seen.insert(*digest);
                        if let Err(error) = moving.add(&chunk) {
                            result = Err(error);
                            return;
                        }
                    }
                }
            });
            result?;
            repaired.saved += seen.len() as u64;
        }
        let closed = moving.finish()?;
        let same_name = closed.iter().any(|new| new.digest == pack);
        let mut index = self.index_mut();
        let old = index.number(&pack);
        closed.into_iter().for_each(|pack| index.move_to(pack));
        if let Some(old) = old.filter(|_| !same_name) {
            index.remove(old);
        }
        Ok(same_name)
    }

    /// A name in quarantine that is free.
    fn free_name(&self, path: &Path, repaired: &mut Repaired) -> Option<PathBuf> {
        let quarantine = self.folder.join("quarantine");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names = (0..10_000_u32).map(|n| if n == 0 { name.clone() } else { format!("{name}.{n}") });
        let free = names.map(|name| quarantine.join(name)).find(|path| fs::symlink_metadata(path).is_err());
        if free.is_none() {
            repaired.failed.push(format!("{}: too many of this name are in quarantine", path.display()));
        }
        free
    }

    /// Moves something into quarantine.
    fn set_aside(&self, path: &Path, repaired: &mut Repaired) -> Result<(), StoreError> {
        let quarantine = self.folder.join("quarantine");
        let Some(to) = self.free_name(path, repaired) else { return Ok(()) };
        match fs::rename(path, &to) {
            Ok(()) => {
                files::sync_folder(&quarantine)?;
                path.parent().map_or(Ok(()), files::sync_folder)?;
                repaired.quarantined.push(to);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                repaired.failed.push(format!("{} cannot be moved into quarantine: {error}", path.display()));
            }
        }
        Ok(())
    }
}

/// The frames of a pack without a readable table, from its first byte on as far as its records make sense.
fn walk(path: &Path, digest: Digest) -> ClosedPack {
    let mut found = ClosedPack { digest, length: 0, entries: Vec::new(), chunks: Vec::new() };
    let Ok(file) = File::open(path) else { return found };
    let mut at = MAGIC.len() as u64;
    let mut head = [0; 8];
    while file.read_exact_at(&mut head, at).is_ok() {
        let [a, b, c, d, e, f, g, h] = head;
        let (length, raw) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if !(1..=MAX_FRAME).contains(&length) || !(1..=FRAME).contains(&raw) {
            break;
        }
        let mut names = vec![0; 32 * chunk_count(raw) as usize];
        if file.read_exact_at(&mut names, at + 8).is_err() {
            break;
        }
        let offset = at + 8 + names.len() as u64;
        found.chunks.extend(names.as_chunks::<32>().0.iter().map(|name| Digest::from_bytes(*name)));
        found.entries.push(Entry { offset, length, raw });
        at = offset + u64::from(length);
    }
    found
}

fn mend_permissions(path: &Path, repaired: &mut Repaired) {
    let mended = fs::metadata(path).and_then(|file| {
        let mode = (file.permissions().mode() | 0o600) & !0o002;
        fs::set_permissions(path, Permissions::from_mode(mode))
    });
    match mended {
        Ok(()) => repaired.permissions += 1,
        Err(error) => {
            repaired.failed.push(format!("the permissions of {} cannot be changed: {error}", path.display()));
        }
    }
}
