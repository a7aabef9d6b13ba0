//! Who reads a manifest, and all that it names, longer than a moment: a lock on its file, which any process can take and which goes
//! with that process.
//!
//! A manifest that is signed again becomes another file; the one that somebody holds is kept in `superseded/` until nobody does.
//! So nothing is removed but by way of [`Unheld`], which has every file that a hold can be on. Owns: taking, proving, giving up.
//! Must not know: why a manifest is read, or goes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::image::manifest::SignedManifest;
use crate::store::files::{self, Lock};
use crate::store::{ManifestError, Store, StoreError};
use crate::value::Digest;

/// How often a manifest may be signed again while somebody is about to hold it: each try waits for one signing, so this is no spinning.
const TRIES: u32 = 100;
pub(super) const SUPERSEDED: &str = "superseded";

/// Keeps a manifest in the store, and with it all that it names. Also against another process, also past a crash of either.
#[derive(Debug)]
pub struct Hold {
    _lock: Lock,
}

/// A manifest that nobody holds, nor can hold as long as this is there.
#[derive(Debug)]
pub(super) struct Unheld {
    path: PathBuf,
    older: Vec<PathBuf>,
    _locks: Vec<Lock>,
}

impl Unheld {
    /// Removes it, durably.
    pub fn remove(self) -> Result<(), StoreError> {
        for path in self.older.iter().chain([&self.path]) {
            fs::remove_file(path).map_err(StoreError::at("removing", path))?;
        }
        self.path.parent().map_or(Ok(()), files::sync_folder)
    }
}

impl Store {
    /// Keeps a manifest and its chunks in the store until the value is dropped: for whoever reads longer than a moment. Waits for
    /// somebody who signs it again or removes it just now.
    ///
    /// # Errors
    /// [`ManifestError::Missing`] when it is not there.
    pub fn hold(&self, manifest: Digest) -> Result<Hold, ManifestError> {
        let path = self.manifest_path(&manifest);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ManifestError::Missing(manifest),
            _ => ManifestError::Read { digest: manifest, source },
        };
        for _ in 0..TRIES {
            let lock = Lock::shared(&path).map_err(failed)?;
            // Else it was removed or signed again between the opening and the lock: what is locked is another file.
            if lock.is_on(&path) {
                return Ok(Hold { _lock: lock });
            }
        }
        Err(ManifestError::Read { digest: manifest, source: io::ErrorKind::ResourceBusy.into() })
    }

    /// Whether somebody, also in another process, holds a manifest.
    pub fn is_held(&self, manifest: &Digest) -> bool {
        matches!(self.unheld(*manifest), Err(StoreError::Held(_)))
    }

    /// None: there is no such manifest.
    pub(super) fn unheld(&self, manifest: Digest) -> Result<Option<Unheld>, StoreError> {
        let path = self.manifest_path(&manifest);
        let mut locks = match Lock::alone_if_there(&path)? {
            None => return Ok(None),
            Some(lock) => vec![lock.ok_or(StoreError::Held(manifest))?],
        };
        let mut older = self.superseded(&manifest)?;
        for path in &older {
            if let Some(lock) = Lock::alone_if_there(path)? {
                locks.push(lock.ok_or(StoreError::Held(manifest))?);
            }
        }
        older.retain(|path| path.exists());
        Ok(Some(Unheld { path, older, _locks: locks }))
    }

    /// Puts the same manifest with another signature in the place of the one that is there; who holds it still does.
    ///
    /// # Errors
    /// See [`StoreError`]; the one that was there stays then.
    pub fn replace_manifest(&self, signed: &SignedManifest) -> Result<(), StoreError> {
        self.must_own()?;
        let digest = signed.digest();
        let path = self.manifest_path(&digest);
        // Held until the new one is in its place: whoever is about to hold the old one waits, and sees then that it is another.
        let _alone = match Lock::alone_if_there(&path)? {
            Some(None) => {
                self.supersede(&digest, &path)?;
                None
            }
            unheld => unheld.flatten(),
        };
        files::write_whole(&self.incoming(), &path, signed.as_bytes())
    }

    /// Gives the file that somebody holds a second name, by which it is found when the first means another one.
    fn supersede(&self, digest: &Digest, path: &Path) -> Result<(), StoreError> {
        let folder = self.folder().join(SUPERSEDED);
        fs::create_dir_all(&folder).map_err(StoreError::at("making folder", &folder))?;
        let taken = self.superseded(digest)?;
        let mut free = (0_u32..).map(|number| folder.join(format!("{digest}.{number}")));
        let Some(name) = free.find(|name| !taken.contains(name)) else { return Ok(()) };
        // Not flushed: after a power cut nobody holds anything.
        fs::hard_link(path, &name).map_err(StoreError::at("linking", &name))
    }

    fn superseded(&self, digest: &Digest) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.folder().join(SUPERSEDED);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let (names, prefix) = (files::names(&folder)?, format!("{digest}."));
        let own = names.into_iter().filter(|name| name.starts_with(&prefix));
        Ok(own.map(|name| folder.join(name)).collect())
    }
}

/// At a start: forgets what nobody holds any more.
pub(super) fn sweep(store: &Path) -> Result<(), StoreError> {
    let folder = store.join(SUPERSEDED);
    if !folder.is_dir() {
        return Ok(());
    }
    for name in files::names(&folder)? {
        let path = folder.join(name);
        let free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if free {
            fs::remove_file(&path).map_err(StoreError::at("removing", &path))?;
        }
    }
    Ok(())
}
