//! Files into the boot folder: all of a set, while Macs fetch from it.
//!
//! Owns: the order in which a new set takes the old one's place. Must not know: what the files are.
//!
//! Kernel and boot environment belong together: a Mac that got the old kernel and the new modules would find no disk. So
//! the pair lies in a folder named by its content, `linux` is a link to the folder in force, and who names the pair to
//! a Mac names the folder. The pair before stays for the Macs that are fetching it. Everything is written and flushed
//! beside the old files before the first of them goes.
//!
//! | in the boot folder | what |
//! |---|---|
//! | `linux-DIGEST/` | kernel and boot environment of one making |
//! | `linux` | link to the folder in force |
//! | `vmlinuz`, `initramfs.cpio.zst` | links through `linux`, for people and other boot loaders |

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The boot folder cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read or written", path.display())]
pub struct FolderError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The link to the kernel in force.
pub const CURRENT: &str = "linux";
const PAIR: &str = "linux-";

/// A file and its path below the boot folder.
pub type File = (String, Vec<u8>);

/// Name of the folder that a pair of kernel and boot environment lies in.
pub fn pair_name(pair: &[File]) -> String {
    let mut hasher = Sha256::new();
    for (name, bytes) in pair {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    let digest: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{PAIR}{digest}")
}

/// Puts a set into the folder: first `pair`, under its own name in a folder of its own, then `files` in their order.
///
/// # Errors
/// [`FolderError`]; what was not yet exchanged is as before.
pub fn publish(boot: &Path, pair: &[File], files: &[File]) -> Result<(), FolderError> {
    let before = fs::read_link(boot.join(CURRENT)).ok().and_then(|link| Some(link.to_str()?.to_owned()));
    let name = pair_name(pair);
    put_pair(boot, &name, pair)?;
    for (path, bytes) in files {
        prepare(&boot.join(path), bytes)?;
    }
    link(boot, CURRENT, &name)?;
    for (file, _) in pair {
        link(boot, file, &format!("{CURRENT}/{file}"))?;
    }
    for (path, _) in files {
        exchange(&boot.join(path))?;
    }
    sync(boot)?;
    let kept = [Some(name.as_str()), before.as_deref()];
    forget(boot, |entry| !kept.contains(&Some(entry)))
}

/// Writes one file so that a reader sees the old one or the new one, also after a power cut.
///
/// # Errors
/// [`FolderError`]
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    prepare(path, bytes)?;
    exchange(path)
}

fn put_pair(boot: &Path, name: &str, pair: &[File]) -> Result<(), FolderError> {
    let folder = boot.join(name);
    let same = |(file, bytes): &File| fs::read(folder.join(file)).is_ok_and(|found| found == *bytes);
    if pair.iter().all(same) {
        return Ok(());
    }
    let partial = boot.join(format!(".{name}.partial"));
    for old in [&partial, &folder] {
        remove(old)?;
    }
    for (file, bytes) in pair {
        write(&partial.join(file), bytes)?;
    }
    sync(&partial)?;
    fs::rename(&partial, &folder).map_err(|source| FolderError { path: folder, source })?;
    sync(boot)
}

/// A link that takes the place of whatever stands there.
fn link(boot: &Path, name: &str, target: &str) -> Result<(), FolderError> {
    let (path, partial) = (boot.join(name), boot.join(format!(".{name}.partial")));
    if fs::read_link(&path).is_ok_and(|found| found == Path::new(target)) {
        return Ok(());
    }
    remove(&partial)?;
    symlink(target, &partial)
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(|source| FolderError { path, source })?;
    sync(boot)
}

/// Removes folders of pairs that nobody fetches any more.
fn forget(boot: &Path, old: impl Fn(&str) -> bool) -> Result<(), FolderError> {
    let failed = |source| FolderError { path: boot.to_owned(), source };
    for entry in fs::read_dir(boot).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(PAIR) && old(name) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), FolderError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(|source| FolderError { path: path.to_owned(), source })
}

fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

fn prepare(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    write(&partial(path), bytes)
}

fn exchange(path: &Path) -> Result<(), FolderError> {
    fs::rename(partial(path), path).map_err(|source| FolderError { path: path.to_owned(), source })?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| FolderError { path: path.to_owned(), source })
}

fn sync(folder: &Path) -> Result<(), FolderError> {
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| FolderError { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(version: &str) -> Vec<File> {
        ["vmlinuz", "initramfs.cpio.zst"].map(|name| (name.to_owned(), version.as_bytes().to_vec())).into()
    }

    fn menu(version: &str) -> Vec<File> {
        vec![("grub/ia32.cfg".to_owned(), version.as_bytes().to_vec())]
    }

    fn folders(boot: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(boot)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(PAIR) || name.contains("partial"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_pair_before_stays_and_the_one_before_that_goes() {
        let boot = tempfile::tempdir().unwrap();
        for version in ["1", "2", "3"] {
            publish(boot.path(), &pair(version), &menu(version)).unwrap();
            assert_eq!(fs::read_to_string(boot.path().join("vmlinuz")).unwrap(), version);
        }
        let mut kept = [pair_name(&pair("2")), pair_name(&pair("3"))];
        kept.sort();
        assert_eq!(folders(boot.path()), kept);
        assert_eq!(fs::read_link(boot.path().join(CURRENT)).unwrap(), Path::new(&pair_name(&pair("3"))));
    }

    #[test]
    fn the_same_set_again_changes_nothing_and_a_damaged_pair_is_made_whole() {
        let boot = tempfile::tempdir().unwrap();
        publish(boot.path(), &pair("1"), &menu("1")).unwrap();
        let kernel = boot.path().join(pair_name(&pair("1"))).join("vmlinuz");
        fs::write(&kernel, "damaged").unwrap();
        publish(boot.path(), &pair("1"), &menu("1")).unwrap();
        assert_eq!(fs::read_to_string(&kernel).unwrap(), "1");
        assert_eq!(folders(boot.path()), [pair_name(&pair("1"))]);
    }

    #[test]
    fn files_of_an_earlier_version_that_were_no_links_are_taken_over() {
        let boot = tempfile::tempdir().unwrap();
        fs::write(boot.path().join("vmlinuz"), "old").unwrap();
        publish(boot.path(), &pair("1"), &[]).unwrap();
        assert_eq!(fs::read_to_string(boot.path().join("vmlinuz")).unwrap(), "1");
    }

    #[test]
    fn a_set_that_cannot_be_written_leaves_the_old_one_in_force() {
        let boot = tempfile::tempdir().unwrap();
        publish(boot.path(), &pair("1"), &menu("1")).unwrap();
        // A folder where a partial file would be written.
        fs::create_dir_all(boot.path().join("ipxe/.loader.partial")).unwrap();
        let mut files = menu("2");
        files.push(("ipxe/loader".to_owned(), Vec::new()));
        assert!(publish(boot.path(), &pair("2"), &files).is_err());
        assert_eq!(fs::read_to_string(boot.path().join("vmlinuz")).unwrap(), "1");
        assert_eq!(fs::read_to_string(boot.path().join("grub/ia32.cfg")).unwrap(), "1");
    }
}
