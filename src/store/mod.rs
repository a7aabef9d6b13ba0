//! The library's chunks and manifests on disk: put, get, locate, verify, collect garbage.
//!
//! Owns: the folder below, durability, the locks. Must not know: SQL, HTTP, image names and versions.
//!
//! | path | what |
//! |---|---|
//! | `packs/DIGEST.pack` | closed packs, immutable, named by the digest of the file (`pack` has the format) |
//! | `manifests/DIGEST` | signed manifests, named by the digest of the manifest |
//! | `incoming/` | files being written; whatever is there at start is left over from a crash and removed |
//! | `quarantine/` | what a repair took out of the way; never read, never removed by this program |
//! | `superseded/` | manifests that were signed again while somebody held them (`hold`) |
//! | `owner.lock` | held by the one process that writes |
//! | `reserve` | room that is given back when the disk is full (`reserve`) |
//!
//! A file is written in `incoming/`, flushed, renamed to its place, and the folder flushed: at no point of time is half a
//! file in its place. A manifest is written after the pack with its last chunk, so whatever a manifest names is there.
//!
//! | beside each other | import | read | collect |
//! |---|---|---|---|
//! | **import** | yes: each has its own pack | yes: sees closed packs only | yes: what it counts on is claimed (`claims`) |
//! | **read** | | yes | yes: a pack that is gone has its chunks elsewhere, [`FetchError::Gone`]; who reads long has a [`Hold`] |
//! | **collect** | | | no: [`StoreError::Busy`] |

mod check;
mod claims;
mod collect;
mod error;
mod files;
mod flaw;
mod hold;
mod import;
mod index;
mod pack;
mod reader;
mod repair;
mod reserve;
mod verify;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, RwLock};

use crate::image::chunk::{Frame, Verified};
use crate::image::manifest::{Location, Locations, MAX_SIGNED, Manifest, SignedManifest};
use crate::image::restore::{FetchError, Frames, Place};
use crate::value::Digest;

pub use check::{CheckProgress, Checked, Checking};
pub use collect::{Collected, Collection, CollectionPlan};
pub use error::{GetError, ManifestError, StoreError};
pub use flaw::Flaw;
pub use hold::Hold;
pub use import::Import;
pub use index::Usage;
pub use reader::StoredImage;
pub use repair::Repaired;
pub use verify::{Damage, Verification};

use claims::{Claims, Fresh, Register};
use collect::Marked;
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
    claims: Register,
    fresh: Fresh,
    /// What manifests named when garbage was asked about last.
    marked: Mutex<Marked>,
}

/// How often a folder is read for a chunk that is not found.
const LOOKS: u32 = 3;
/// How often a chunk may move while it is looked for.
const MOVES: u32 = 20;

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
        hold::sweep(folder)?;
        reserve::keep(folder);
        let index = Index::load(&folder.join("packs"))?;
        Ok(Store {
            folder: folder.to_owned(),
            index: RwLock::new(index),
            next: AtomicU64::new(0),
            owner: Some(owner),
            claims: Register::default(),
            fresh: Fresh::default(),
            marked: Mutex::default(),
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
            claims: Register::default(),
            fresh: Fresh::default(),
            marked: Mutex::default(),
        })
    }

    /// Starts an import. Several may run at the same time, and beside a collection.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`].
    pub fn import(&self) -> Result<Import<'_>, StoreError> {
        self.must_own()?;
        Ok(Import::new(self))
    }

    /// Starts a collection of garbage.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another one is at work; [`StoreError::ReadOnly`].
    pub fn collection(&self) -> Result<Collection<'_>, StoreError> {
        self.must_own()?;
        Collection::begin(self).ok_or(StoreError::Busy("a collection of garbage"))
    }

    /// Gives a little room back to a full disk, for what makes more. It is kept again at the next start, and after a collection.
    /// False when there is none.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`], [`StoreError::Io`].
    pub fn release_reserve(&self) -> Result<bool, StoreError> {
        self.must_own()?;
        reserve::release(&self.folder)
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

    /// Under the lock of the index: a collection sees the claim, or we do not find the chunk.
    fn claim(&self, claims: &Claims, digest: &Digest) -> bool {
        let index = self.index();
        let there = index.find(digest).is_some();
        if there {
            claims.add(*digest);
        }
        there
    }

    /// A chunk, checked.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn get(&self, digest: Digest) -> Result<Verified<'static>, GetError> {
        let mut frame = Vec::new();
        let Found { pack, slot, .. } = self.frame_of(digest, &mut frame)?;
        let chunk = Frame(&frame).open(slot.chunk(), digest);
        chunk.map_err(|source| GetError::Damaged { pack, source })
    }

    /// Reads the frame that a chunk is in, wherever a collection moves it meanwhile.
    fn frame_of(&self, digest: Digest, frame: &mut Vec<u8>) -> Result<Found, GetError> {
        let mut gone = io::ErrorKind::NotFound.into();
        for _ in 0..MOVES {
            let found = self.find(&digest)?;
            match self.read_frame(found.pack, found.place, frame) {
                Ok(()) => return Ok(found),
                Err(source) if source.kind() == io::ErrorKind::NotFound => {
                    self.catch_up()
                        .map_err(|error| GetError::Read { digest, source: io::Error::other(error) })?;
                    gone = source;
                }
                Err(source) => return Err(GetError::Read { digest, source }),
            }
        }
        Err(GetError::Read { digest, source: gone })
    }

    fn find(&self, digest: &Digest) -> Result<Found, GetError> {
        let found = self.index().find(digest);
        if found.is_none() && self.owner.is_none() {
            // The other process may have stored or moved it since the folder was read. Also while it is read: readdir(3) says
            // nothing about files that come or go then, so once is not enough.
            for _ in 0..LOOKS {
                let read = |error| GetError::Read { digest: *digest, source: io::Error::other(error) };
                self.catch_up().map_err(read)?;
                if let Some(found) = self.index().find(digest) {
                    return Ok(found);
                }
            }
        }
        found.ok_or(GetError::Missing(*digest))
    }

    /// Learns what the process that writes has changed since the folder was read. That process itself knows.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        if self.owner.is_none() {
            let index = Index::load(&self.folder.join("packs"))?;
            self.index_mut().replace(index);
        }
        Ok(())
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
        let mut found = self.index().locations(manifest);
        for _ in 0..LOOKS {
            match &found {
                Err(GetError::Missing(digest)) if self.owner.is_none() => self.find(digest).map(drop)?,
                _ => break,
            }
            found = self.index().locations(manifest);
        }
        found
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
    /// [`StoreError::Held`] while somebody has a [`Hold`] on it; [`StoreError::Io`], [`StoreError::ReadOnly`].
    pub fn remove_manifest(&self, digest: Digest) -> Result<bool, StoreError> {
        self.must_own()?;
        self.remove_manifest_file(digest)
    }

    fn remove_manifest_file(&self, digest: Digest) -> Result<bool, StoreError> {
        match self.unheld(digest)? {
            None => Ok(false),
            Some(unheld) => unheld.remove().map(|()| true),
        }
    }

    /// Called by whoever is about to look which manifests are in use, and will remove the others with
    /// [`Store::remove_stale_manifest`].
    pub fn begin_sweep(&self) {
        self.fresh.begin_sweep();
    }

    /// Removes a manifest as [`Store::remove_manifest`] does. False, too, when an import made it and its use was not
    /// [`Store::recorded`] before the sweep began: then nobody can know whether it is in use.
    ///
    /// # Errors
    /// As there.
    pub fn remove_stale_manifest(&self, digest: Digest) -> Result<bool, StoreError> {
        self.must_own()?;
        let fresh = self.fresh.lock();
        if fresh.contains_key(&digest) { Ok(false) } else { self.remove_manifest_file(digest) }
    }

    /// The use of a manifest that an import made is written down, or given up.
    pub fn recorded(&self, digest: &Digest) {
        self.fresh.recorded(digest);
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
