//! The library of boot sets: what lies in the boot folder, taken in, changed, removed.
//!
//! | file | what |
//! |---|---|
//! | `scan` | a set's folder as it is, and whether it may be offered |
//! | `side` | the site's own values, beside Apple's property list |
//! | `unpack` | a tar stream becomes a folder |
//! | `import` | that folder becomes a set, whole or not at all |
//! | `body` | a request's body, read from a thread |
//!
//! A set comes and goes by one rename between the boot folder and `boot.incoming/` beside it: no client sees a part, and
//! what a kill or a power cut leaves is swept at the next start. Must not know: packets, how requests are signed in.

pub mod body;
mod import;
pub mod scan;
pub mod side;
mod unpack;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use self::scan::{Look, Shelved};
use self::side::BadSide;
use crate::api::admin::{Nbi, NbiBootFile, NbiFacts, NbiFile, NbiOverrides, NbiState, NbiSummary};
use crate::netboot::nbi::{BadArchive, BootFile, BootSet, Misplaced, Program, RootPath, entry_path};
use crate::server::clock::now_ms;
use crate::server::http::error::chain;
use crate::server::netboot::BootFolder;
use crate::value::ByteSize;

/// Why a set was not taken in, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum NbiError {
    /// No such folder.
    #[error("there is no boot set {0}")]
    Absent(String),
    /// A name that cannot be one.
    #[error("`{0}` cannot be the name of a boot set's folder")]
    Name(String),
    /// The folder is there already.
    #[error("there is a boot set {0} already")]
    Exists(String),
    /// One import at a time.
    #[error("another boot set is being taken in, changed or removed")]
    Busy,
    /// The disk is too small.
    #[error("there is no room: {} are needed, {} are free, and {} are to stay free", ByteSize(*need), ByteSize(*free), ByteSize(*keep))]
    Room {
        /// Bytes of the archive.
        need: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that the settings keep free.
        keep: u64,
    },
    /// The archive.
    #[error(transparent)]
    Archive(#[from] BadArchive),
    /// The set is not where it must be.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// It would not be offered.
    #[error("{folder} is not taken: {reason}")]
    NotOffered {
        /// Which.
        folder: String,
        /// Why.
        reason: String,
    },
    /// Two sets with one id.
    #[error("{folder} has the image id {id} of {other}")]
    SameId {
        /// Which.
        folder: String,
        /// The id.
        id: String,
        /// Who has it.
        other: String,
    },
    /// The side file.
    #[error(transparent)]
    Side(#[from] BadSide),
    /// The disk.
    #[error("{} cannot be read or written", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The boot folder with its sets. Cheap to clone.
#[derive(Clone)]
pub struct Shelf {
    boot: Arc<BootFolder>,
    incoming: PathBuf,
    keep_free: u64,
    turn: Arc<Mutex<()>>,
}

/// The right to change the folder.
pub type Turn = OwnedMutexGuard<()>;

impl Shelf {
    /// The sets of a boot folder; removes what an earlier daemon left half done.
    pub fn open(boot: BootFolder, keep_free: u64) -> Result<Shelf, NbiError> {
        let mut name = boot.path().file_name().unwrap_or_default().to_owned();
        name.push(".incoming");
        let incoming = boot.path().with_file_name(name);
        let failed = disk(&incoming);
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(Shelf { boot: Arc::new(boot), incoming, keep_free, turn: Arc::default() })
    }

    /// Takes the right to change the folder, if nobody has it.
    pub fn turn(&self) -> Result<Turn, NbiError> {
        self.turn.clone().try_lock_owned().map_err(|_| NbiError::Busy)
    }

    /// Every set.
    pub fn list(&self) -> Vec<NbiSummary> {
        self.boot.catalog().shelf.iter().map(summary).collect()
    }

    /// One set.
    pub fn show(&self, folder: &str) -> Result<Nbi, NbiError> {
        let catalog = self.boot.catalog();
        let shelved = catalog.shelf.iter().find(|set| set.folder == folder);
        let shelved = shelved.ok_or_else(|| NbiError::Absent(folder.to_owned()))?;
        let root = self.boot.root().map_err(disk(self.boot.path()))?;
        let look = Look { root: &root, folder, rules: self.boot.rules(), now_ms: now_ms() };
        let plist = look.set(&side::Side::default()).ok();
        Ok(Nbi {
            summary: summary(shelved),
            plist: plist.as_ref().map(facts),
            overrides: look.side().unwrap_or_default().overrides,
            boot_files: shelved.set.iter().flat_map(boot_files).collect(),
            root_path: shelved.set.as_ref().and_then(|set| set.root.as_ref()).map(root_path),
            files: shelved.listing.files.iter().map(file).collect(),
        })
    }

    /// Gives a set the site's values. They are refused when they would take a set that is offered out of the list.
    pub fn edit(&self, folder: &str, overrides: NbiOverrides, _: &Turn) -> Result<Nbi, NbiError> {
        let before = self.show(folder)?;
        let root = self.boot.root().map_err(disk(self.boot.path()))?;
        let look = Look { root: &root, folder, rules: self.boot.rules(), now_ms: now_ms() };
        let side = side::Side { overrides, ..look.side().unwrap_or_default() };
        match look.set(&side) {
            Ok(set) => self.is_unique(&set)?,
            Err(error) if before.summary.facts.is_some() || look.set(&side::Side::default()).is_ok() => {
                return Err(NbiError::NotOffered {
                    folder: folder.to_owned(),
                    reason: chain(error.as_ref()),
                });
            }
            // It is wrong for reasons of its own; the values may be what mends it half.
            Err(_) => {}
        }
        side.write(&self.boot.path().join(folder))?;
        tracing::info!(folder, "the settings of {folder} were changed");
        self.show(folder)
    }

    /// Removes a set. Whoever is fetching a file of it gets that file to its end.
    pub fn remove(&self, folder: &str, _: &Turn) -> Result<(), NbiError> {
        check_name(folder)?;
        let path = self.boot.path().join(folder);
        if fs::symlink_metadata(&path).is_err() {
            return Err(NbiError::Absent(folder.to_owned()));
        }
        let grave = self.incoming.join("removed");
        fs::create_dir_all(&grave).map_err(disk(&grave))?;
        let gone = grave.join(folder);
        fs::rename(&path, &gone).map_err(disk(&path))?;
        flush(self.boot.path())?;
        let removed = if gone.is_symlink() { fs::remove_file(&gone) } else { fs::remove_dir_all(&gone) };
        if let Err(error) = removed {
            tracing::warn!(folder, %error, "{folder} is removed, but its files remain until the next start: {error}");
        }
        tracing::info!(folder, "{folder} was removed");
        Ok(())
    }

    fn is_unique(&self, set: &BootSet) -> Result<(), NbiError> {
        let catalog = self.boot.catalog();
        match catalog.sets.iter().find(|other| other.id == set.id && other.folder != set.folder) {
            None => Ok(()),
            Some(other) => Err(NbiError::SameId {
                folder: set.folder.clone(),
                id: set.id.to_string(),
                other: other.folder.clone(),
            }),
        }
    }
}

/// A folder's name: one part of a path, ending in `.nbi`.
fn check_name(folder: &str) -> Result<(), NbiError> {
    let good = folder.len() > 4
        && folder.ends_with(".nbi")
        && !folder.starts_with('.')
        && !folder.contains('/')
        && entry_path(folder).as_deref() == Some(folder);
    if good { Ok(()) } else { Err(NbiError::Name(folder.chars().take(100).collect())) }
}

fn disk(path: &Path) -> impl Fn(io::Error) -> NbiError + use<> {
    let path = path.to_owned();
    move |source| NbiError::Disk { path: path.clone(), source }
}

/// Makes names in a folder durable.
fn flush(folder: &Path) -> Result<(), NbiError> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk(folder))
}

fn summary(shelved: &Shelved) -> NbiSummary {
    NbiSummary {
        folder: shelved.folder.clone(),
        state: shelved.state.clone(),
        size: shelved.listing.size(),
        facts: shelved.set.as_ref().map(facts),
    }
}

fn facts(set: &BootSet) -> NbiFacts {
    let attributes = set.id.attributes().0;
    let kind = match (attributes >> 8 & 0x7f, attributes & 0x8000 != 0) {
        (3, _) => "diagnostics",
        (_, true) => "install",
        (_, false) => "boot",
    };
    let macs = |list: &[crate::value::MacAddr]| list.iter().map(ToString::to_string).collect();
    NbiFacts {
        name: set.name.clone(),
        id: set.id.to_string(),
        kind: kind.to_owned(),
        r#type: set.kind.as_str().to_owned(),
        default: set.is_default,
        enabled: set.is_enabled,
        models: set.access.enabled_systems.clone(),
        disabled_models: set.access.disabled_systems.clone(),
        macs: macs(&set.access.enabled_macs),
        disabled_macs: macs(&set.access.disabled_macs),
    }
}

fn boot_files(set: &BootSet) -> Vec<NbiBootFile> {
    let one = |own: &BootFile| {
        let firmware = match own.program {
            Program::Efi { ia32: true, x64: true } => "32- and 64-bit EFI",
            Program::Efi { ia32: true, .. } => "32-bit EFI",
            Program::Efi { x64: true, .. } => "64-bit EFI",
            _ => "unknown",
        };
        let file = |path: String, firmware: &str| NbiBootFile {
            architecture: own.arch.clone(),
            path,
            firmware: firmware.to_owned(),
        };
        let narrow = own.ia32.as_ref().map(|path| file(path.to_string(), "32-bit EFI"));
        std::iter::once(file(own.file.to_string(), firmware)).chain(narrow).collect::<Vec<_>>()
    };
    set.boot_files.iter().flat_map(one).collect()
}

fn root_path(root: &RootPath) -> String {
    match root {
        RootPath::Ours(path) => format!("http://SERVER/boot/{path}"),
        RootPath::OursByNfs(path) => format!("nfs:SERVER:{path}"),
        RootPath::Elsewhere(path) => path.clone(),
    }
}

fn file(mark: &scan::FileMark) -> NbiFile {
    NbiFile { path: mark.path.clone(), size: mark.size }
}

/// Whether Macs may see the set, now or when somebody switches it on.
fn is_good(state: &NbiState) -> Result<(), String> {
    match state {
        NbiState::Offered | NbiState::Disabled | NbiState::Unknown => Ok(()),
        NbiState::Waiting { reason } | NbiState::Refused { reason } => Err(reason.clone()),
    }
}
