//! A little room that is kept for the day on which the disk is full: also what makes room needs some.
//!
//! Owns: the file `reserve`. Must not know: what the room is needed for.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::posix_fallocate;

use crate::store::{StoreError, files};

/// More than a collection needs at once where little lives in each pack, and than a row of the database.
const SIZE: u64 = 4 << 20;
const NAME: &str = "reserve";

/// Takes the room, unless it is taken already. Where the disk does not have it now, a later time may do.
pub(super) fn keep(folder: &Path) {
    let path = folder.join(NAME);
    if fs::metadata(&path).is_ok_and(|file| file.len() == SIZE) {
        return;
    }
    let make = || {
        let file = File::create(&path)?;
        posix_fallocate(&file, 0, SIZE as i64)?;
        file.sync_all()
    };
    if let Err(error) = make() {
        tracing::debug!("no room is kept for a full disk now: {error}");
        drop(fs::remove_file(&path));
    }
}

/// Gives the room back to the disk. False when none was kept.
pub(super) fn release(folder: &Path) -> Result<bool, StoreError> {
    let path = folder.join(NAME);
    match fs::remove_file(&path) {
        // Until that is durable the file system may not hand the room out again.
        Ok(()) => files::sync_folder(folder).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::at("removing", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_room_is_really_taken_given_back_once_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        keep(folder.path());
        assert!(fs::metadata(folder.path().join(NAME)).unwrap().blocks() * 512 >= SIZE);
        assert!(release(folder.path()).unwrap() && !release(folder.path()).unwrap());
        keep(folder.path());
        assert!(folder.path().join(NAME).exists());
    }
}
