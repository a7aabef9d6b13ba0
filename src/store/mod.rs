//! The library's chunks and manifests on disk: put, get, locate, verify, collect garbage.
//!
//! Owns: the folder below, durability, the locks. Must not know: SQL, HTTP, image names and versions.
//!
//! | path | what |
//! |---|---|
//! | `packs/DIGEST.pack` | closed packs, immutable, named by the digest of the file (`pack` has the format) |
//! | `manifests/DIGEST` | signed manifests, named by the digest of the manifest |
//! | `incoming/` | files being written; whatever is there at start is left over from a crash and removed |
//! | `owner.lock` | held by the one process that writes |
//! | `use.lock` | held shared by imports and readers, alone by a collection |
//!
//! A file is written in `incoming/`, flushed, renamed to its place, and the folder flushed: at no point of time is half a
//! file in its place. A manifest is written after the pack with its last chunk, so whatever a manifest names is there.
//!
//! | beside each other | import | read | collect |
//! |---|---|---|---|
//! | **import** | yes: each has its own pack | yes: sees closed packs only | no: [`StoreError::Busy`] |
//! | **read** | | yes | with a [`Reading`]: no; one fetch at a time: [`FetchError::Gone`], ask again |
//! | **collect** | | | no |

mod collect;
mod error;
mod files;
mod import;
mod index;
mod pack;
mod reader;
mod verify;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;

use crate::image::chunk::{Frame, Verified};
use crate::image::manifest::{Location, Locations, MAX_SIGNED, Manifest, SignedManifest};
use crate::image::restore::{FetchError, Frames, Place};
use crate::value::Digest;

pub use collect::{Collected, Collection, CollectionPlan};
pub use error::{GetError, ManifestError, StoreError};
pub use import::Import;
pub use index::Usage;
pub use reader::StoredImage;
pub use verify::{Damage, Verification};

use files::Lock;
use index::{Found, Index};

/// The store in one folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    index: RwLock<Index>,
    /// Numbers the files in `incoming/`.
    next: AtomicU64,
    /// Held as long as the store is open for writing.
    owner: Option<Lock>,
}

/// Keeps collections away while several frames are read that belong together.
#[derive(Debug)]
pub struct Reading {
    _lock: Lock,
}

impl Store {
    /// Opens the store in `folder` for reading and writing, makes it if there is none, and removes what a crash left.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it; [`StoreError::Older`]; [`StoreError::Io`].
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        for part in ["packs", "manifests", "incoming"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(StoreError::at("making folder", &path))?;
        }
        let owner = Lock::alone(&folder.join("owner.lock"))?;
        let owner = owner.ok_or_else(|| StoreError::InUse(folder.to_owned()))?;
        let removed = files::empty(&folder.join("incoming"))?;
        if removed > 0 {
            tracing::info!(removed, "removed {removed} unfinished files from {}", folder.display());
        }
        let index = Index::load(&folder.join("packs"))?;
        // Made here, so that readers who may not write find it. Whoever holds it now made it before.
        drop(Lock::alone(&folder.join("use.lock"))?);
        Ok(Store {
            folder: folder.to_owned(),
            index: RwLock::new(index),
            next: AtomicU64::new(0),
            owner: Some(owner),
        })
    }

    /// Opens the store in `folder` for reading, beside the process that writes it.
    ///
    /// # Errors
    /// When there is no store, or it may not be read.
    pub fn open_to_read(folder: &Path) -> Result<Store, StoreError> {
        let index = Index::load(&folder.join("packs"))?;
        Ok(Store {
            folder: folder.to_owned(),
            index: RwLock::new(index),
            next: AtomicU64::new(0),
            owner: None,
        })
    }

    /// Starts an import. Several may run at the same time.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while garbage is collected; [`StoreError::ReadOnly`].
    pub fn import(&self) -> Result<Import<'_>, StoreError> {
        self.must_own()?;
        Ok(Import::new(self, self.share()?))
    }

    /// Starts a collection of garbage.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while somebody imports or reads; [`StoreError::ReadOnly`].
    pub fn collection(&self) -> Result<Collection<'_>, StoreError> {
        self.must_own()?;
        let lock = Lock::alone(&self.folder.join("use.lock"))?;
        let lock = lock.ok_or(StoreError::Busy("an import or a restore"))?;
        Ok(Collection::new(self, lock))
    }

    /// Keeps collections away until the value is dropped.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while garbage is collected.
    pub fn reading(&self) -> Result<Reading, StoreError> {
        Ok(Reading { _lock: self.share()? })
    }

    fn share(&self) -> Result<Lock, StoreError> {
        let lock = Lock::shared(&self.folder.join("use.lock"))?;
        lock.ok_or(StoreError::Busy("a collection of garbage"))
    }

    fn must_own(&self) -> Result<(), StoreError> {
        self.owner.as_ref().map(drop).ok_or_else(|| StoreError::ReadOnly(self.folder.clone()))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a closed pack has the chunk.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.index().find(digest).is_some()
    }

    /// A chunk, checked.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get(&self, digest: Digest) -> Result<Verified<'static>, GetError> {
        let Found { pack, place, slot } = self.index().find(&digest).ok_or(GetError::Missing(digest))?;
        let mut frame = Vec::new();
        self.read_frame(pack, place, &mut frame).map_err(|source| GetError::Read { digest, source })?;
        let chunk = Frame(&frame).open(slot.chunk(), digest);
        chunk.map_err(|source| GetError::Damaged { pack, source })
    }

    /// Reads a frame into `frame`, whatever was in there.
    fn read_frame(&self, pack: Digest, place: Location, frame: &mut Vec<u8>) -> io::Result<()> {
        frame.resize(place.length as usize, 0);
        File::open(self.pack_path(&pack))?.read_exact_at(frame, place.offset)
    }

    /// Where the chunks of a manifest lie.
    ///
    /// # Errors
    /// [`GetError::Missing`] with the first chunk that is not here.
    pub fn locations(&self, manifest: &Manifest) -> Result<Locations, GetError> {
        self.index().locations(manifest)
    }

    /// File of a pack, whether it exists or not.
    pub fn pack_path(&self, pack: &Digest) -> PathBuf {
        self.folder.join("packs").join(format!("{pack}.pack"))
    }

    /// File of a manifest, whether it exists or not.
    pub fn manifest_path(&self, manifest: &Digest) -> PathBuf {
        self.folder.join("manifests").join(manifest.to_string())
    }

    /// A manifest as it was signed. Its bytes hash to its name; who signed it is for the caller to check.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn manifest(&self, digest: Digest) -> Result<SignedManifest, ManifestError> {
        let path = self.manifest_path(&digest);
        let read = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ManifestError::Missing(digest),
            _ => ManifestError::Read { digest, source },
        };
        let bytes = files::read_bounded(&path, MAX_SIGNED).map_err(read)?;
        let signed =
            SignedManifest::from_bytes(bytes).map_err(|source| ManifestError::Damaged { digest, source })?;
        if signed.digest() == digest {
            Ok(signed)
        } else {
            Err(ManifestError::Changed { digest, got: signed.digest() })
        }
    }

    /// Names of all manifests, in order.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn manifests(&self) -> Result<Vec<Digest>, StoreError> {
        let mut names = files::names(&self.folder.join("manifests"))?;
        names.sort();
        Ok(names.into_iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Forgets a manifest. Its chunks become garbage where no other manifest names them. True when it was there.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::ReadOnly`].
    pub fn remove_manifest(&self, digest: Digest) -> Result<bool, StoreError> {
        self.must_own()?;
        let path = self.manifest_path(&digest);
        match fs::remove_file(&path) {
            Ok(()) => files::sync_folder(&self.folder.join("manifests")).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::at("removing", &path)(error)),
        }
    }

    /// Puts the same manifest with another signature in the place of the one that is there.
    ///
    /// # Errors
    /// See [`StoreError`]; the one that was there stays then.
    pub fn replace_manifest(&self, signed: &SignedManifest) -> Result<(), StoreError> {
        self.must_own()?;
        files::write_whole(&self.incoming(), &self.manifest_path(&signed.digest()), signed.as_bytes())
    }

    /// How much is stored.
    pub fn usage(&self) -> Usage {
        self.index().usage()
    }

    /// Packs that could not be read when the store was opened, with the reason: their chunks are missing.
    pub fn unreadable(&self) -> Vec<(PathBuf, String)> {
        self.index().unreadable.clone()
    }

    fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        // A panic while the index was written left it whole: every change is one insertion or one swap.
        self.index.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn index_mut(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn incoming(&self) -> PathBuf {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.folder.join("incoming").join(number.to_string())
    }
}

impl Frames for Store {
    fn fetch(&self, place: Place, into: &mut [u8]) -> Result<(), FetchError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => FetchError::Gone(place.pack),
            _ => FetchError::Failed { pack: place.pack, offset: place.offset, source: source.into() },
        };
        let file = File::open(self.pack_path(&place.pack)).map_err(failed)?;
        file.read_exact_at(into, place.offset).map_err(failed)
    }
}
