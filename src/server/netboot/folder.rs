//! The boot folder: files opened without a way out of it, boot sets and loaders as they are now.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use tracing::{info, warn};

use crate::netboot::dhcp::FileName;
use crate::netboot::ipxe::{INITRAMFS, KERNEL};
use crate::netboot::nbi::{BadSet, BootSet, LONGEST_PLIST};
use crate::netboot::pxe::Loaders;
use crate::netboot::tftp::BootPath;

/// A folder with boot files, looked at anew for each client: `rootstock media boot` takes effect at once.
pub struct BootFolder {
    path: PathBuf,
    cache: Mutex<Cache>,
}

/// What the folder offers.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub sets: Vec<BootSet>,
    pub loaders: Loaders,
}

/// The catalog and what it was made from.
#[derive(Default)]
struct Cache {
    marks: Vec<Mark>,
    catalog: Arc<Catalog>,
}

/// A file or folder that the catalog depends on: name and, when it is there, inode, size and time of change.
type Mark = (String, Option<(u64, u64, i64, i64)>);

const PLIST: &str = "NBImageInfo.plist";
/// Most entries of one folder that are looked at.
const MOST_ENTRIES: usize = 1000;

const BIOS: &str = "ipxe/undionly.kpxe";
const IA32: &str = "ipxe/snponly-ia32.efi";
const X64: &str = "ipxe/snponly.efi";
const ARM64: &str = "ipxe/snponly-arm64.efi";

impl BootFolder {
    /// A folder that need not exist yet.
    pub fn new(path: PathBuf) -> BootFolder {
        BootFolder { path, cache: Mutex::default() }
    }

    /// Opens a regular file. Symbolic links are followed within the folder, never out of it, not even while somebody
    /// moves folders about (openat2 with RESOLVE_BENEATH).
    pub(super) fn open(&self, path: &BootPath) -> io::Result<(File, fs::Metadata)> {
        let file = File::from(beneath(&self.root()?, path.as_str())?);
        let metadata = file.metadata()?;
        if metadata.is_file() { Ok((file, metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Whether a file is there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root().and_then(|root| beneath(&root, path)).is_ok()
    }

    /// Folder of the kernel and initramfs in force, with a slash at its end; nothing where they lie in the boot folder
    /// itself. `rootstock media boot` makes it, and a link to it.
    pub(super) fn pair(&self) -> String {
        let link = fs::read_link(self.path.join("linux")).ok();
        let name = link.as_deref().and_then(Path::to_str);
        let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let complete =
            |name: &&str| [KERNEL, INITRAMFS].iter().all(|file| self.has(&format!("{name}/{file}")));
        name.filter(plain).filter(complete).map(|name| format!("{name}/")).unwrap_or_default()
    }

    fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::open(&self.path, flags, Mode::empty())?)
    }

    /// Sets and loaders. Reads the folder's entries; parses property lists only when one of the files changed.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        let marks = self.marks();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.marks != marks {
            let catalog = self.read(&marks);
            info!(folder = %self.path.display(), sets = catalog.sets.len(), "the boot folder has changed");
            *cache = Cache { marks, catalog: Arc::new(catalog) };
        }
        cache.catalog.clone()
    }

    /// Everything that the catalog depends on, in the order of names: loaders, and for each `.nbi` the folders that
    /// hold its boot files, its property list last.
    fn marks(&self) -> Vec<Mark> {
        let mut names: Vec<String> = [BIOS, IA32, X64, ARM64].map(String::from).into();
        for folder in entries(&self.path).into_iter().filter(|name| name.ends_with(".nbi")) {
            let path = self.path.join(&folder);
            names.extend(
                entries(&path)
                    .into_iter()
                    .filter(|name| name != PLIST)
                    .map(|name| format!("{folder}/{name}")),
            );
            names.push(format!("{folder}/{PLIST}"));
        }
        names.into_iter().map(|name| (name.clone(), mark(&self.path.join(&name)))).collect()
    }

    fn read(&self, marks: &[Mark]) -> Catalog {
        let loader = |name: &str| {
            let there = marks.iter().any(|(own, mark)| own == name && mark.is_some());
            there.then(|| FileName::try_from(name.to_owned()).ok()).flatten()
        };
        let mut catalog = Catalog {
            sets: Vec::new(),
            loaders: Loaders {
                bios: loader(BIOS),
                ia32: loader(IA32),
                x64: loader(X64),
                arm64: loader(ARM64),
            },
        };
        for (name, mark) in marks {
            let Some(folder) = name.strip_suffix(PLIST).and_then(|name| name.strip_suffix('/')) else {
                continue;
            };
            if mark.is_none() {
                warn!(folder, "{folder} is not offered: it has no {PLIST}");
                continue;
            }
            match self.read_set(folder) {
                Ok(set) => match catalog.sets.iter().find(|other| other.id == set.id) {
                    None => catalog.sets.push(set),
                    Some(other) => {
                        let (id, first) = (set.id, &other.folder);
                        warn!(
                            folder,
                            "{folder} is not offered: {first} has the same image id {id}; change its Index"
                        );
                    }
                },
                Err(reason) => warn!(folder, "{folder} is not offered: {reason}"),
            }
        }
        catalog
    }

    fn read_set(&self, folder: &str) -> Result<BootSet, NotOffered> {
        let file = File::from(beneath(&self.root()?, &format!("{folder}/{PLIST}"))?);
        let mut plist = Vec::new();
        file.take(LONGEST_PLIST as u64 + 1).read_to_end(&mut plist)?;
        let set = BootSet::read(folder, &plist)?;
        match set.boot_files.iter().find(|(_, file)| !self.has(file.as_str())) {
            Some((_, missing)) => Err(NotOffered::NoBootFile(missing.to_string())),
            None => Ok(set),
        }
    }
}

/// Why a `.nbi` folder is left out.
#[derive(Debug, thiserror::Error)]
enum NotOffered {
    #[error("{PLIST} cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("{0}")]
    Bad(#[from] BadSet),
    #[error("its boot file {0} is missing")]
    NoBootFile(String),
}

fn beneath(root: &impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    Ok(openat2(root, path, how)?)
}

/// Names in a folder, sorted; none when it cannot be read.
fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).take(MOST_ENTRIES).collect();
    names.sort();
    names
}

fn mark(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const INFO: &str = "<plist version=\"1.0\"><dict><key>Name</key><string>Rootstock</string><key>Index</key>
        <integer>1</integer><key>Kind</key><integer>1</integer><key>BootFile</key><string>booter</string>
        <key>Type</key><string>BootFileOnly</string><key>Architectures</key><array><string>i386</string></array>
        </dict></plist>";

    fn make_set(root: &Path, folder: &str, info: &str) {
        fs::create_dir_all(root.join(folder).join("i386")).unwrap();
        fs::write(root.join(folder).join("i386/booter"), "booter").unwrap();
        fs::write(root.join(folder).join(PLIST), info).unwrap();
    }

    fn names(folder: &BootFolder) -> Vec<String> {
        folder.catalog().sets.iter().map(|set| set.folder.clone()).collect()
    }

    #[test]
    fn a_set_appears_changes_and_goes_without_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let folder = BootFolder::new(root.path().join("boot"));
        assert!(names(&folder).is_empty(), "the folder is not there yet");
        make_set(&folder.path, "a.nbi", INFO);
        assert_eq!(names(&folder), ["a.nbi"]);
        assert!(Arc::ptr_eq(&folder.catalog(), &folder.catalog()), "read once");
        make_set(&folder.path, "a.nbi", &INFO.replace("Rootstock", "Renamed"));
        assert_eq!(folder.catalog().sets[0].name, "Renamed");
        fs::rename(folder.path.join("a.nbi/i386"), folder.path.join("a.nbi/gone")).unwrap();
        assert!(names(&folder).is_empty(), "its boot file is gone");
        fs::rename(folder.path.join("a.nbi/gone"), folder.path.join("a.nbi/i386")).unwrap();
        assert_eq!(names(&folder), ["a.nbi"], "and there again");
    }

    #[test]
    fn a_second_set_with_the_same_id_and_a_broken_one_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        make_set(root.path(), "b.nbi", INFO);
        make_set(root.path(), "a.nbi", INFO);
        make_set(root.path(), "c.nbi", "no plist");
        fs::create_dir(root.path().join("d.nbi")).unwrap();
        assert_eq!(names(&BootFolder::new(root.path().into())), ["a.nbi"]);
    }

    #[test]
    fn loaders_are_offered_when_they_are_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = BootFolder::new(root.path().into());
        assert_eq!(folder.catalog().loaders, Loaders::default());
        fs::create_dir(root.path().join("ipxe")).unwrap();
        fs::write(root.path().join(X64), "x").unwrap();
        assert_eq!(folder.catalog().loaders.x64.as_ref().unwrap().as_str(), X64);
    }

    #[test]
    fn links_lead_about_within_the_folder_and_never_out() {
        let root = tempfile::tempdir().unwrap();
        let boot = root.path().join("boot");
        fs::create_dir_all(boot.join("sub")).unwrap();
        fs::write(root.path().join("secret"), "secret").unwrap();
        fs::write(boot.join("file"), "file").unwrap();
        symlink("../file", boot.join("sub/inside")).unwrap();
        symlink("../secret", boot.join("outside")).unwrap();
        symlink(root.path().join("secret"), boot.join("absolute")).unwrap();
        symlink(root.path(), boot.join("up")).unwrap();
        let folder = BootFolder::new(boot);
        let open = |path: &str| folder.open(&BootPath::parse(path.as_bytes()).unwrap());
        assert_eq!(open("sub/inside").unwrap().1.len(), 4);
        for path in ["outside", "absolute", "up/secret", "sub", "nothing"] {
            assert!(open(path).is_err(), "{path}");
        }
    }
}
