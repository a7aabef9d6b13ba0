//! A set's folder as it is now: its files, and whether it may be offered.
//!
//! A set is offered when
//! 1. its property list, with the site's values over it, is right;
//! 2. every boot file is there, and not shorter than the program in it says (`netboot::nbi::Program`);
//! 3. its root image is there and is a disk image with its end (`image::source`);
//! 4. none of its files has changed for some seconds, for what no header tells: a kernel cache, a growing image.
//!    An import puts whole sets here, and need not be waited for.
//!
//! Must not know: packets, other sets.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::side::{BadSide, Side};
use crate::api::admin::NbiState;
use crate::image::source::Source;
use crate::netboot::nbi::{BadSet, BootSet, INFO, LONGEST_PLIST, Program, SIDE_FILE, Surroundings};
use crate::netboot::nbi::{NfsExport, locate};
use crate::server::http::error::chain;

/// Most files of one set; Apple's have a few dozen.
pub const MOST_FILES: usize = 2000;
/// Deepest folder.
const DEEPEST: usize = 8;

/// What the settings say about sets.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// How long a set that was not imported must be unchanged before it is offered.
    pub settle: Duration,
    /// The export for NFS sets.
    pub nfs: Option<NfsExport>,
}

/// One file, and what changes when it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// Path in the set.
    pub path: String,
    /// Bytes.
    pub size: u64,
    inode: u64,
    /// Milliseconds since 1970 UTC of the last change of content or inode (ctime: nobody can set it back).
    changed_ms: i64,
    /// The same to the last digit, to see every change.
    changed: (i64, i64),
}

/// The files of a folder, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// At most [`MOST_FILES`].
    pub files: Vec<FileMark>,
    /// More than that, or deeper than sets are.
    crowded: bool,
}

/// A set in the boot folder.
#[derive(Clone, Debug)]
pub struct Shelved {
    /// Name of its folder.
    pub folder: String,
    /// Whether it is offered.
    pub state: NbiState,
    /// What it is, unless its property list cannot be used.
    pub set: Option<BootSet>,
    /// When a waiting set may be quiet, milliseconds since 1970 UTC.
    pub due_ms: Option<i64>,
    /// Its files.
    pub listing: Listing,
}

/// Why a set is left out.
#[derive(Debug, thiserror::Error)]
enum NotOffered {
    #[error("it has no {INFO}; it is still being copied, or is no netboot set")]
    NoInfo,
    #[error("{INFO} lies too deep, in {0}: move that folder to the boot folder")]
    Deep(String),
    #[error("{INFO} cannot be read")]
    Unreadable(#[source] io::Error),
    #[error(transparent)]
    Side(#[from] BadSide),
    #[error(transparent)]
    Bad(#[from] BadSet),
    #[error("its root image {0} is missing: it is still being copied, or RootPath names another file")]
    NoRoot(String),
    #[error("its root image {path} is not whole: {why}")]
    BadRoot { path: String, why: String },
    #[error("it has more than {MOST_FILES} files, or folders deeper than {DEEPEST}; this is no netboot set")]
    Crowded,
}

impl Listing {
    /// Walks a folder. Folders behind symbolic links are not entered.
    pub fn of(folder: &Path) -> Listing {
        let mut listing = Listing::default();
        let mut waiting = vec![(String::new(), 0)];
        while let Some((at, depth)) = waiting.pop() {
            for entry in fs::read_dir(folder.join(&at)).into_iter().flatten().flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = if at.is_empty() { name } else { format!("{at}/{name}") };
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if listing.files.len() + waiting.len() >= MOST_FILES || is_folder && depth >= DEEPEST {
                    listing.crowded = true;
                    break;
                }
                if is_folder {
                    waiting.push((path, depth + 1));
                } else if let Some(mark) = mark(&folder.join(&path), path) {
                    listing.files.push(mark);
                }
            }
        }
        listing.files.sort_by(|one, other| one.path.cmp(&other.path));
        listing
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    fn get(&self, path: &str) -> Option<&FileMark> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn mark(path: &Path, name: String) -> Option<FileMark> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    let changed_ms = changed.0.saturating_mul(1000).saturating_add(changed.1 / 1_000_000);
    Some(FileMark { path: name, size: metadata.len(), inode: metadata.ino(), changed_ms, changed })
}

/// Opens what lies beneath a folder: symbolic links are followed within it, never out of it, not even while somebody
/// moves folders about (openat2 with RESOLVE_BENEATH).
pub fn beneath(root: &impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, path, how)?)
}

/// A regular file that is not empty.
fn file_beneath(root: &impl AsFd, path: &str) -> Option<(File, u64)> {
    let file = File::from(beneath(root, path).ok()?);
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.len() > 0).then_some((file, metadata.len()))
}

/// A set and what it is looked at with.
pub struct Look<'a, F> {
    /// The boot folder.
    pub root: &'a F,
    /// Name of the set's folder in it.
    pub folder: &'a str,
    /// What the settings say.
    pub rules: &'a Rules,
    /// Milliseconds since 1970 UTC.
    pub now_ms: i64,
}

impl<F: AsFd> Look<'_, F> {
    /// Judges the set by its files.
    pub fn shelve(&self, listing: Listing) -> Shelved {
        let side = self.side();
        let set = side.as_ref().ok().and_then(|side| self.set(side).ok());
        let (state, due_ms) =
            match side.map_err(NotOffered::from).and_then(|side| self.judge(&listing, &side)) {
                Ok(Judged::Quiet { enabled: true }) => (NbiState::Offered, None),
                Ok(Judged::Quiet { enabled: false }) => (NbiState::Disabled, None),
                Ok(Judged::Changing { reason, due_ms }) => (NbiState::Waiting { reason }, Some(due_ms)),
                Err(error) => (NbiState::Refused { reason: chain(&error) }, None),
            };
        Shelved { folder: self.folder.to_owned(), state, set, due_ms, listing }
    }

    /// The side file, or the default when there is none.
    pub fn side(&self) -> Result<Side, BadSide> {
        match beneath(self.root, &format!("{}/{SIDE_FILE}", self.folder)) {
            Ok(file) => Side::read(File::from(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Side::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// The set with the site's values.
    pub fn set(&self, side: &Side) -> Result<BootSet, Box<dyn std::error::Error>> {
        Ok(self.read_set(side)?)
    }

    fn read_set(&self, side: &Side) -> Result<BootSet, NotOffered> {
        let file = beneath(self.root, &format!("{}/{INFO}", self.folder)).map_err(NotOffered::Unreadable)?;
        let mut plist = Vec::new();
        File::from(file)
            .take(LONGEST_PLIST as u64 + 1)
            .read_to_end(&mut plist)
            .map_err(NotOffered::Unreadable)?;
        let look = &|path: &str| self.program(path);
        let around = Surroundings { overrides: &side.overrides, nfs: self.rules.nfs.as_ref(), look };
        Ok(BootSet::read_with(self.folder, &plist, &around)?)
    }

    fn program(&self, path: &str) -> Option<Program> {
        let (file, size) = file_beneath(self.root, &format!("{}/{path}", self.folder))?;
        let mut head = Vec::with_capacity(Program::HEAD);
        // A head that cannot be read says nothing; who asks for the file is told the error.
        let _ = file.take(Program::HEAD as u64).read_to_end(&mut head);
        Some(Program::of(&head, size))
    }

    fn judge(&self, listing: &Listing, side: &Side) -> Result<Judged, NotOffered> {
        if listing.get(INFO).is_none() {
            let deeper = locate(listing.files.iter().map(|file| file.path.as_str()), DEEPEST);
            return Err(match deeper {
                Ok(place) => {
                    NotOffered::Deep(format!("{}/{}", self.folder, place.prefix.trim_end_matches('/')))
                }
                Err(_) => NotOffered::NoInfo,
            });
        }
        if listing.crowded {
            return Err(NotOffered::Crowded);
        }
        let set = self.read_set(side)?;
        if let Some(path) = &set.root_file
            && file_beneath(self.root, &format!("{}/{path}", self.folder)).is_none()
        {
            return Err(NotOffered::NoRoot(path.clone()));
        }
        if let Some(changing) = self.changing(listing, side) {
            return Ok(changing);
        }
        if let Some(path) = &set.root_file {
            self.whole_image(path)?;
        }
        Ok(Judged::Quiet { enabled: set.is_enabled })
    }

    /// What was written by somebody else's copy and may still be written on.
    fn changing(&self, listing: &Listing, side: &Side) -> Option<Judged> {
        let settle = i64::try_from(self.rules.settle.as_millis()).unwrap_or(i64::MAX);
        let known = side.imported.then(|| listing.get(SIDE_FILE).map(|file| file.changed)).flatten();
        let young = listing
            .files
            .iter()
            .filter(|file| file.path != SIDE_FILE && known.is_none_or(|known| file.changed > known));
        let last = young.max_by_key(|file| file.changed)?;
        // A clock that was set back makes files of the future: they are not waited for.
        let age = self.now_ms.saturating_sub(last.changed_ms);
        let reason = format!(
            "{} has just changed; the set is offered once its files have been quiet for {} s",
            last.path,
            self.rules.settle.as_secs()
        );
        let due_ms = last.changed_ms.saturating_add(settle);
        (0..settle).contains(&age).then_some(Judged::Changing { reason, due_ms })
    }

    /// A root image that ends early, or is none, would panic the kernel that mounts it.
    fn whole_image(&self, path: &str) -> Result<(), NotOffered> {
        let Some((file, _)) = file_beneath(self.root, &format!("{}/{path}", self.folder)) else {
            return Err(NotOffered::NoRoot(path.to_owned()));
        };
        let bad = |why| NotOffered::BadRoot { path: path.to_owned(), why };
        Source::open(file).map(drop).map_err(|error| bad(chain(&error)))
    }
}

enum Judged {
    Quiet { enabled: bool },
    Changing { reason: String, due_ms: i64 },
}
