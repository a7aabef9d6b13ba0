//! The boot folder: files opened without a way out of it, boot sets and loaders as they are now.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use tracing::{info, warn};

use crate::api::admin::NbiState;
use crate::netboot::dhcp::FileName;
use crate::netboot::ipxe::{INITRAMFS, KERNEL};
use crate::netboot::nbi::BootSet;
use crate::netboot::pxe::Loaders;
use crate::netboot::tftp::BootPath;
use crate::server::clock::now_ms;
use crate::server::nbi::scan::{Listing, Look, Rules, Shelved, beneath};

/// A folder with boot files, looked at anew for each client: `rootstock media boot` takes effect at once.
pub struct BootFolder {
    path: PathBuf,
    rules: Rules,
    cache: Mutex<Cache>,
}

/// What the folder offers.
#[derive(Debug, Default)]
pub(in crate::server) struct Catalog {
    /// Sets that are offered or switched off, no two with one id.
    pub sets: Vec<BootSet>,
    pub loaders: Loaders,
    /// Every `.nbi` folder, in the order of names.
    pub shelf: Vec<Shelved>,
}

/// The catalog and what it was made from.
#[derive(Default)]
struct Cache {
    seen: Seen,
    /// When a set that is waited for may be quiet, milliseconds since 1970 UTC.
    due_ms: Option<i64>,
    catalog: Arc<Catalog>,
}

/// Everything that the catalog depends on.
#[derive(Default, PartialEq, Eq)]
struct Seen {
    /// BIOS, 32-bit UEFI, 64-bit UEFI, ARM.
    loaders: [bool; 4],
    sets: Vec<(String, Listing)>,
    /// Folders that were meant to be sets, and what is wrong with where they are.
    strays: Vec<(String, &'static str)>,
}

/// Most entries of one folder that are looked at.
const MOST_ENTRIES: usize = 1000;

const BIOS: &str = "ipxe/undionly.kpxe";
const IA32: &str = "ipxe/snponly-ia32.efi";
const X64: &str = "ipxe/snponly.efi";
const ARM64: &str = "ipxe/snponly-arm64.efi";

impl BootFolder {
    /// A folder that need not exist yet; sets in it are offered as soon as they are whole.
    pub fn new(path: PathBuf) -> BootFolder {
        BootFolder::with_rules(path, Rules::default())
    }

    /// The same, with what the settings say about sets.
    pub fn with_rules(path: PathBuf, rules: Rules) -> BootFolder {
        BootFolder { path, rules, cache: Mutex::default() }
    }

    /// The folder.
    pub(in crate::server) fn path(&self) -> &Path {
        &self.path
    }

    /// What the settings say about sets.
    pub(in crate::server) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Opens a regular file; see [`beneath`].
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

    /// The folder itself, open.
    pub(in crate::server) fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok(nix::fcntl::open(&self.path, flags, Mode::empty())?)
    }

    /// Sets and loaders. Reads the folder's entries; looks into files only when one of them changed.
    pub(in crate::server) fn catalog(&self) -> Arc<Catalog> {
        let seen = self.look();
        let now = now_ms();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.seen != seen || cache.due_ms.is_some_and(|due| due <= now) {
            let catalog = self.read(&seen, now);
            self.log(&cache.catalog.shelf, &catalog);
            let due_ms = catalog.shelf.iter().filter_map(|set| set.due_ms).min();
            *cache = Cache { seen, due_ms, catalog: Arc::new(catalog) };
        }
        cache.catalog.clone()
    }

    fn look(&self) -> Seen {
        let mut seen = Seen {
            loaders: [BIOS, IA32, X64, ARM64].map(|name| self.path.join(name).is_file()),
            ..Seen::default()
        };
        for name in entries(&self.path) {
            let Ok(name) = name.into_string() else {
                seen.strays
                    .push((String::from("(a name that is no UTF-8)"), "its name is not UTF-8; rename it"));
                continue;
            };
            let path = self.path.join(&name);
            if !name.starts_with('.') && path.is_dir() {
                if name.ends_with(".nbi") {
                    seen.sets.push((name, Listing::of(&path)));
                } else {
                    let inside = entries(&path).into_iter().filter_map(|inner| inner.into_string().ok());
                    let sets = inside.filter(|inner| inner.ends_with(".nbi"));
                    let deep =
                        "it lies in a folder of the boot folder; move it up into the boot folder itself";
                    seen.strays.extend(sets.map(|inner| (format!("{name}/{inner}"), deep)));
                }
            }
        }
        seen
    }

    fn read(&self, seen: &Seen, now_ms: i64) -> Catalog {
        let loader = |index: usize, name: &str| {
            let name = seen.loaders[index].then(|| FileName::try_from(name.to_owned()).ok());
            name.flatten()
        };
        let mut catalog = Catalog {
            loaders: Loaders {
                bios: loader(0, BIOS),
                ia32: loader(1, IA32),
                x64: loader(2, X64),
                arm64: loader(3, ARM64),
            },
            ..Catalog::default()
        };
        let Ok(root) = self.root() else { return catalog };
        for (folder, listing) in &seen.sets {
            let look = Look { root: &root, folder, rules: &self.rules, now_ms };
            let mut shelved = look.shelve(listing.clone());
            if let (NbiState::Offered | NbiState::Disabled, Some(set)) = (&shelved.state, &shelved.set) {
                match catalog.sets.iter().find(|other| other.id == set.id) {
                    None => catalog.sets.push(set.clone()),
                    Some(other) => {
                        let (id, first) = (set.id, &other.folder);
                        let reason = format!("{first} has the same image id {id}; change its Index");
                        shelved.state = NbiState::Refused { reason };
                    }
                }
            }
            catalog.shelf.push(shelved);
        }
        let stray = |(folder, reason): &(String, &'static str)| Shelved {
            folder: folder.clone(),
            state: NbiState::Refused { reason: (*reason).to_owned() },
            set: None,
            due_ms: None,
            listing: Listing::default(),
        };
        catalog.shelf.extend(seen.strays.iter().map(stray));
        catalog
    }

    /// Says what became different, and not again what was said before.
    fn log(&self, before: &[Shelved], catalog: &Catalog) {
        info!(folder = %self.path.display(), sets = catalog.sets.len(), "the boot folder has changed");
        for Shelved { folder, state, .. } in &catalog.shelf {
            if before.iter().any(|old| old.folder == *folder && old.state == *state) {
                continue;
            }
            match state {
                NbiState::Refused { reason } => warn!(folder, "{folder} is not offered: {reason}"),
                NbiState::Waiting { reason } => info!(folder, "{folder} is not offered yet: {reason}"),
                NbiState::Offered => info!(folder, "{folder} is offered"),
                NbiState::Disabled | NbiState::Unknown => info!(folder, "{folder} is switched off"),
            }
        }
    }
}

/// Names in a folder, sorted; none when it cannot be read.
fn entries(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).take(MOST_ENTRIES).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::netboot::nbi::INFO as PLIST;

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

    fn states(folder: &BootFolder) -> Vec<NbiState> {
        folder.catalog().shelf.iter().map(|set| set.state.clone()).collect()
    }

    fn with_settle(root: &Path, settle: std::time::Duration) -> BootFolder {
        BootFolder::with_rules(root.into(), Rules { settle, nfs: None })
    }

    #[test]
    fn a_set_whose_files_have_just_changed_is_waited_for_unless_an_import_put_it_there() {
        let root = tempfile::tempdir().unwrap();
        make_set(root.path(), "a.nbi", INFO);
        let folder = with_settle(root.path(), std::time::Duration::from_secs(3600));
        assert!(matches!(states(&folder)[..], [NbiState::Waiting { .. }]), "{:?}", states(&folder));
        assert!(names(&folder).is_empty());
        fs::write(root.path().join("a.nbi/rootstock.toml"), "imported = true").unwrap();
        assert_eq!(states(&folder), [NbiState::Offered]);
        // Somebody copies over it.
        let later = || fs::write(root.path().join("a.nbi/i386/booter"), "another booter");
        let clock = crate::server::netboot::clients::now();
        while states(&folder) == [NbiState::Offered] {
            assert!(clock.elapsed().as_secs() < 60, "the change is not seen");
            later().unwrap();
        }
        assert!(matches!(states(&folder)[..], [NbiState::Waiting { .. }]), "{:?}", states(&folder));
    }

    #[test]
    fn a_set_that_has_become_quiet_is_offered_though_nothing_changed_since() {
        let root = tempfile::tempdir().unwrap();
        make_set(root.path(), "a.nbi", INFO);
        let folder = with_settle(root.path(), std::time::Duration::from_millis(300));
        let clock = crate::server::netboot::clients::now();
        while names(&folder).is_empty() {
            assert!(clock.elapsed().as_secs() < 60, "{:?}", states(&folder));
            std::thread::yield_now();
        }
        assert_eq!(states(&folder), [NbiState::Offered]);
    }

    #[test]
    fn a_booter_that_is_growing_is_not_offered_before_its_end_is_there() {
        let root = tempfile::tempdir().unwrap();
        make_set(root.path(), "a.nbi", INFO);
        let booter = root.path().join("a.nbi/i386/booter");
        // Apple's fat EFI head: one program of 64 bytes at 28.
        let mut bytes = vec![0xb9, 0xfa, 0xf1, 0x0e];
        for word in [1_u32, 0x0100_0007, 3, 28, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        let folder = BootFolder::new(root.path().into());
        for length in [28, 60, 91, 92] {
            bytes.resize(length, 1);
            fs::write(&booter, &bytes).unwrap();
            assert_eq!(names(&folder).len(), usize::from(length == 92), "{length}: {:?}", states(&folder));
        }
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
