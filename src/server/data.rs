//! The data folder: made on first start, used by one daemon at a time, readable by nobody else.
//!
//! | path | what |
//! |---|---|
//! | `db.sqlite3` | database |
//! | `keys/` | CA, admin token, manifest key, key of secrets |
//! | `store/` | packs, manifests, what is being imported |
//! | `uploads/` | files on their way in |
//! | `files/` | what Copy Files steps take; an administrator puts it there |
//! | `boot/` | what Macs are given to boot |
//! | `boot.incoming/` | boot sets on their way in or out, swept at each start |
//! | `rootstock.sock` | admin's socket, unless the settings name another |
//! | `lock` | held while a daemon runs |

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// A data folder that this process holds.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It cannot be made or written to.
    #[error("the data folder {} cannot be written; create it for this account, or name another with --data", path.display())]
    Unwritable {
        /// Which path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("the data folder {} is in use by another rootstockd{by}; stop that one, or name another folder with --data", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// ` (process 17)`, when that is known.
        by: String,
    },
}

impl DataFolder {
    /// Makes what is absent and takes the lock.
    pub fn open(path: &Path) -> Result<DataFolder, DataError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataError::Unwritable { path, source }
        };
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
        }
        let path = fs::canonicalize(path).map_err(failed(path))?;
        let lock = take_lock(&path)?;
        for name in ["keys", "store", "boot", "files"] {
            let folder = path.join(name);
            if !folder.exists() {
                DirBuilder::new().mode(0o700).create(&folder).map_err(failed(&folder))?;
            }
        }
        let keys = path.join("keys");
        fs::set_permissions(&keys, Permissions::from_mode(0o700)).map_err(failed(&keys))?;
        let pid = path.join("lock.pid");
        match write_durably(&pid, format!("{}\n", std::process::id()).as_bytes(), 0o600) {
            // Only a hint for whoever starts a second one. An appliance whose disk is full still boots Macs, and is
            // needed to make room.
            Err(error) if is_full(&error) => drop(fs::remove_file(&pid)),
            written => written.map_err(failed(&path))?,
        }
        Ok(DataFolder { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.path.join("db.sqlite3")
    }

    /// Keys.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// The library's store.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Files on their way in.
    pub fn uploads(&self) -> PathBuf {
        self.path.join("uploads")
    }

    /// What Macs are given to boot.
    pub fn boot(&self) -> PathBuf {
        self.path.join("boot")
    }

    /// The admin's socket, unless the settings name another.
    pub fn socket(&self) -> PathBuf {
        self.path.join("rootstock.sock")
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn take_lock(folder: &Path) -> Result<Flock<File>, DataError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| DataError::Unwritable { path, source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let by = fs::read_to_string(folder.join("lock.pid")).ok();
        let by = by.map(|pid| format!(" (process {})", pid.trim())).unwrap_or_default();
        DataError::InUse { path: folder.to_owned(), by }
    })
}

/// Writes a file so that after a power cut there is the old content or the new one, whole.
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

/// Reads a small file; none when it is absent.
pub fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(1 << 20).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_a_folder_that_nobody_else_reads_and_a_second_daemon_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("new/data");
        let data = DataFolder::open(&path).unwrap();
        for folder in [data.path(), &data.keys(), &data.store()] {
            assert_eq!(
                fs::metadata(folder).unwrap().permissions().mode() & 0o777,
                0o700,
                "{}",
                folder.display()
            );
        }
        let error = DataFolder::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("in use by another rootstockd (process {})", std::process::id())),
            "{error}"
        );
        drop(data);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_a_folder_is_named_with_the_remedy() {
        let outside = tempfile::tempdir().unwrap();
        let file = outside.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataFolder::open(&file.join("data")).unwrap_err().to_string();
        assert!(error.contains("file/data cannot be written") && error.contains("--data"), "{error}");
    }
}
