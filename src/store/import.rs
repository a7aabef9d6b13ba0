//! One import: chunks into packs, then the manifest.
//!
//! Owns: the open pack and the order pack → index → manifest. Must not know: where chunks come from.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::image::chunk::Packed;
use crate::image::ingest::Keeper;
use crate::image::manifest::{Manifest, SignedManifest};
use crate::store::files::Lock;
use crate::store::pack::{PACK_SIZE, PackWriter};
use crate::store::{Store, StoreError, files};
use crate::value::Digest;

/// An import. Dropped before [`Import::finish`], or killed, it leaves closed packs (their chunks are found again by the
/// next try, else they are garbage) and nothing else; [`Import::abandon`] removes them too.
#[derive(Debug)]
pub struct Import<'s> {
    store: &'s Store,
    open: Mutex<Open>,
    _shared: Lock,
}

#[derive(Debug, Default)]
struct Open {
    pack: Option<PackWriter>,
    pending: HashSet<Digest>,
    closed: Vec<Digest>,
}

impl<'s> Import<'s> {
    pub(super) fn new(store: &'s Store, shared: Lock) -> Import<'s> {
        Import { store, open: Mutex::default(), _shared: shared }
    }

    /// Makes the import whole: all its chunks are durable and visible, then the manifest is. When this returns, the
    /// image survives a power cut.
    ///
    /// # Errors
    /// See [`StoreError`]; the manifest is then not in the store. `signed` must be the signed form of `manifest`.
    pub fn finish(self, manifest: &Manifest, signed: &SignedManifest) -> Result<Digest, StoreError> {
        self.settle()?;
        self.store.locations(manifest).map_err(StoreError::Incomplete)?;
        let digest = signed.digest();
        files::write_whole(&self.store.incoming(), &self.store.manifest_path(&digest), signed.as_bytes())?;
        Ok(digest)
    }

    /// Closes the open pack: everything kept so far is durable and can be read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn settle(&self) -> Result<(), StoreError> {
        self.close(&mut self.open())
    }

    /// Takes everything back, unless somebody else imports or reads: then a collection does it later.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Busy`] when it is left to a collection.
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
        if let Some(pack) = open.pack.take() {
            let closed = pack.close(&self.store.folder.join("packs"))?;
            open.closed.push(closed.digest);
            self.store.index_mut().add(closed);
        }
        open.pending.clear();
        Ok(())
    }
}

impl Keeper for Import<'_> {
    type Error = StoreError;

    fn holds(&self, digest: &Digest) -> bool {
        self.store.holds(digest) || self.open().pending.contains(digest)
    }

    fn keep(&self, packed: &Packed) -> Result<(), StoreError> {
        let mut open = self.open();
        let pack = match &mut open.pack {
            Some(pack) => pack,
            none => none.insert(PackWriter::create(self.store.incoming())?),
        };
        pack.append(packed)?;
        let full = pack.length() >= PACK_SIZE;
        open.pending.extend(&packed.chunks);
        if full { self.close(&mut open) } else { Ok(()) }
    }
}
