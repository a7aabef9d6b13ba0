//! One import: chunks into packs, then the manifest.
//!
//! Owns: the open pack and the order pack → index → manifest. Must not know: where chunks come from.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::image::chunk::Packed;
use crate::image::ingest::Keeper;
use crate::image::manifest::{Manifest, SignedManifest};
use crate::store::claims::Claims;
use crate::store::pack::{PACK_SIZE, PackWriter};
use crate::store::{GetError, Store, StoreError, files};
use crate::value::Digest;

/// An import. Dropped before [`Import::finish`], or killed, it leaves closed packs (their chunks are found again by the
/// next try, else they are garbage) and nothing else; [`Import::abandon`] removes them too.
#[derive(Debug)]
pub struct Import<'s> {
    store: &'s Store,
    open: Mutex<Open>,
    claims: Arc<Claims>,
}

#[derive(Debug, Default)]
struct Open {
    pack: Option<PackWriter>,
    pending: HashSet<Digest>,
    closed: Vec<Digest>,
}

impl<'s> Import<'s> {
    pub(super) fn new(store: &'s Store) -> Import<'s> {
        Import { store, open: Mutex::default(), claims: store.claims.begin() }
    }

    /// Makes the import whole: all its chunks are durable and visible, then the manifest is. When this returns, the
    /// image survives a power cut.
    ///
    /// # Errors
    /// See [`StoreError`]; the manifest is then not in the store. `signed` must be the signed form of `manifest`.
    pub fn finish(self, manifest: &Manifest, signed: &SignedManifest) -> Result<Digest, StoreError> {
        self.settle()?;
        self.claim_all(manifest)?;
        let digest = signed.digest();
        let mut fresh = self.store.fresh.lock();
        // The same image again: the file stays, with whoever holds it.
        if !self.store.manifest(digest).is_ok_and(|kept| kept.as_bytes() == signed.as_bytes()) {
            let path = self.store.manifest_path(&digest);
            files::write_whole(&self.store.incoming(), &path, signed.as_bytes())?;
        }
        *fresh.entry(digest).or_default() += 1;
        Ok(digest)
    }

    /// Claims everything that a manifest names, and says what is not there.
    fn claim_all(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let index = self.store.index();
        self.claims.extend(manifest.digests());
        let missing = manifest.digests().find(|digest| index.find(digest).is_none());
        missing.map_or(Ok(()), |digest| Err(StoreError::Incomplete(GetError::Missing(*digest))))
    }

    /// Closes the open pack: everything kept so far is durable and can be read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn settle(&self) -> Result<(), StoreError> {
        self.close(&mut self.open())
    }

    /// Takes everything back that nobody else counts on by now.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Busy`] when a collection is at work: it is left to the next one.
    pub fn abandon(self) -> Result<(), StoreError> {
        let (store, closed) = (self.store, std::mem::take(&mut self.open().closed));
        drop(self);
        if closed.is_empty() { Ok(()) } else { store.collection()?.sweep(&closed).map(drop) }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // A panic in the middle of `keep` leaves a pack whose table lacks its last record at worst.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, open: &mut Open) -> Result<(), StoreError> {
        // Whatever comes of it: the chunks are in the index from now on, or lost with the pack.
        open.pending.clear();
        if let Some(pack) = open.pack.take() {
            let closed = pack.close(&self.store.folder.join("packs"))?;
            open.closed.push(closed.digest);
            self.store.index_mut().add(closed);
        }
        Ok(())
    }
}

impl Drop for Import<'_> {
    fn drop(&mut self) {
        self.store.claims.end(&self.claims);
    }
}

impl Keeper for Import<'_> {
    type Error = StoreError;

    fn holds(&self, digest: &Digest) -> bool {
        self.store.claim(&self.claims, digest) || self.open().pending.contains(digest)
    }

    fn keep(&self, packed: &Packed) -> Result<(), StoreError> {
        // Before anybody can find them.
        self.claims.extend(&packed.chunks);
        let mut open = self.open();
        let pack = match &mut open.pack {
            Some(pack) => pack,
            none => none.insert(PackWriter::create(self.store.incoming())?),
        };
        let appended = pack.append(packed);
        let full = pack.length() >= PACK_SIZE;
        if appended.is_err() {
            // It may end in half a frame: the pack is given up, and no chunk in it counts as kept.
            (open.pack, open.pending) = (None, HashSet::new());
            return appended;
        }
        open.pending.extend(&packed.chunks);
        if full { self.close(&mut open) } else { Ok(()) }
    }
}
