//! File systems of one test, in a mount namespace of its thread: gone with it.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// Gives this thread, and the programs that it starts, mounts of their own.
pub fn private() {
    assert!(nix::unistd::geteuid().is_root(), "the power tier needs root: run `./dev test power`");
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn must(program: &str, words: &[&str]) {
    let done = Command::new(program).args(words).output();
    let done = done.unwrap_or_else(|error| panic!("the power tier needs `{program}`: {error}"));
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An empty ext4 of `size` bytes.
pub fn ext4(size: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    File::create_new(&path).unwrap().set_len(size).unwrap();
    // All is written now, nothing by the kernel later on.
    let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    let words = ["-q", "-F", "-b", "4096", "-m", "0", "-J", "size=4", "-E", options, path.to_str().unwrap()];
    must("mkfs.ext4", &words);
    std::fs::read(path).unwrap()
}

/// A mounted file system.
pub struct Mounted(TempDir);

impl Mounted {
    /// Mounts the file system in a file, through a loop device that goes when it is unmounted.
    pub fn image(file: &Path) -> Mounted {
        Mounted::with(&["-o", "loop"], file)
    }

    /// Mounts the file system on a device.
    pub fn device(device: &Path) -> Mounted {
        Mounted::with(&[], device)
    }

    fn with(options: &[&str], what: &Path) -> Mounted {
        let at = tempfile::tempdir().unwrap();
        let places = [what.to_str().unwrap(), at.path().to_str().unwrap()];
        must("mount", &[&["-t", "ext4"], options, &places].concat());
        Mounted(at)
    }

    /// Where.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(Command::new("umount").arg("--lazy").arg(self.path()).output());
        } else {
            must("umount", &[self.path().to_str().unwrap()]);
        }
    }
}
