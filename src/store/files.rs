//! Files that are there whole or not at all.
//!
//! Owns: flush, rename, flush the folder. Must not know: what is in the files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::StoreError;

/// A lock that is held. Given back at once when dropped: closing alone would leave it to a child process that is
/// being started and has not closed its copy yet (flock(2)).
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// The lock in the file `path`, which is made when it is not there. None when somebody else holds it.
    pub fn alone(path: &Path) -> Result<Option<Lock>, StoreError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(StoreError::at("opening", path))?;
        Lock::held(file.try_lock().map(|()| file), path)
    }

    /// The lock in the file `path` together with others who share it; waits for whoever holds it alone.
    pub fn shared(path: &Path) -> io::Result<Lock> {
        let file = File::open(path)?;
        file.lock_shared()?;
        Ok(Lock(file))
    }

    /// Whether it is a lock of the file that is at `path` now.
    pub fn is_on(&self, path: &Path) -> bool {
        let number = |facts: fs::Metadata| (facts.dev(), facts.ino());
        match (self.0.metadata(), fs::metadata(path)) {
            (Ok(own), Ok(there)) => number(own) == number(there),
            _ => false,
        }
    }

    /// The lock in the file `path`. None when there is no file, `Some(None)` when somebody else holds its lock.
    pub fn alone_if_there(path: &Path) -> Result<Option<Option<Lock>>, StoreError> {
        match File::open(path) {
            Ok(file) => Lock::held(file.try_lock().map(|()| file), path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::at("opening", path)(error)),
        }
    }

    fn held(tried: Result<File, TryLockError>, path: &Path) -> Result<Option<Lock>, StoreError> {
        match tried {
            Ok(file) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(StoreError::at("locking", path)(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file gives the lock back too.
        drop(self.0.unlock());
    }
}

/// Makes renames and removals in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|opened| opened.sync_all()).map_err(StoreError::at("flushing folder", folder))
}

/// Moves a flushed file to its place, durably.
pub(super) fn publish(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::at("renaming to", to))?;
    to.parent().map_or(Ok(()), sync_folder)
}

/// Writes `bytes` to `to` by way of `temporary`, durably.
pub(super) fn write_whole(temporary: &Path, to: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = File::create_new(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let published =
        written.map_err(StoreError::at("writing", temporary)).and_then(|()| publish(temporary, to));
    if published.is_err() {
        // Left for the next start if this fails too; the error that counts is the one above.
        drop(fs::remove_file(temporary));
    }
    published
}

/// Names of the files in `folder` that are text.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    read().map_err(StoreError::at("listing", folder))
}

/// Removes all files in `folder`; gives their number.
pub(super) fn empty(folder: &Path) -> Result<usize, StoreError> {
    let names = names(folder)?;
    for name in &names {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(StoreError::at("removing", &path))?;
    }
    Ok(names.len())
}

/// Reads a file of at most `most` bytes.
pub(super) fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {most} bytes")));
    }
    Ok(bytes)
}
