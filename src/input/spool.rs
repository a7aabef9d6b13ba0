//! What has to be unpacked before it can be read: a file without a name, sparse, that is gone when it is closed.
//!
//! Owns: how much room it may take.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::OFlag;

use super::error::OpenError;
use crate::image::source::{DecodeError, unpack as unpack_source};

/// Longest file that is unpacked: ext4 has none that is longer.
const MOST: u64 = 16 << 40;

/// After how many bytes the room is looked at again.
const STEP: u64 = 64 << 20;

/// What is tested for zeros, and left out, in one step.
const HOLE: usize = 32 << 10;

/// Where something may be unpacked.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Bytes that must stay free on its disk.
    pub keep_free: u64,
    /// Is told how many bytes were unpacked, and says whether to go on.
    pub go_on: &'a dyn Fn(u64) -> bool,
}

/// Unpacks a compressed file into one without a name.
pub(super) fn unpack(
    input: &mut (impl Read + Seek + Send),
    room: Room<'_>,
) -> Result<File, DecodeError<OpenError>> {
    let failed = |source| OpenError::Spool { folder: room.folder.to_owned(), source };
    let file = nameless(room.folder).map_err(|error| DecodeError::Sink(failed(error)))?;
    let (mut unpacked, mut looked) = (0_u64, None);
    unpack_source(input, &mut |bytes| {
        if looked.is_none_or(|before| unpacked - before >= STEP) {
            looked = Some(unpacked);
            enough(room, unpacked)?;
        }
        for block in bytes.chunks(HOLE) {
            if block.iter().any(|&byte| byte != 0) {
                file.write_all_at(block, unpacked).map_err(failed)?;
            }
            unpacked += block.len() as u64;
        }
        Ok(())
    })?;
    file.set_len(unpacked).map_err(|error| DecodeError::Sink(failed(error)))?;
    Ok(file)
}

/// Whether there is room for another step.
fn enough(room: Room<'_>, unpacked: u64) -> Result<(), OpenError> {
    if !(room.go_on)(unpacked) {
        return Err(OpenError::Stopped);
    }
    let free = nix::sys::statvfs::statvfs(room.folder)
        .map_or(u64::MAX, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()));
    if free < room.keep_free.saturating_add(STEP) || unpacked > MOST {
        return Err(OpenError::Room { folder: room.folder.to_owned(), free, unpacked, keep: room.keep_free });
    }
    Ok(())
}

/// `$TMPDIR`, else `/var/tmp`, which holds more than `/tmp` where that is memory.
pub fn temporary() -> PathBuf {
    std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty()).unwrap_or_else(|| "/var/tmp".into()).into()
}

/// A file without a name in `folder`. It is gone when it is closed.
///
/// # Errors
/// What the operating system says.
pub fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(OFlag::O_TMPFILE.bits()).open(folder) {
        // File systems of servers know no such files.
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EOPNOTSUPP | nix::libc::EISDIR)) => {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".rootstock-{}-{number}", std::process::id()));
            let file = options.create_new(true).open(&path)?;
            fs::remove_file(&path)?;
            Ok(file)
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use std::os::unix::fs::MetadataExt;

    fn packed(bytes: &[u8]) -> Cursor<Vec<u8>> {
        Cursor::new(zstd::encode_all(bytes, 1).unwrap())
    }

    #[test]
    fn what_is_unpacked_takes_no_room_for_zeros() {
        let mut bytes = vec![0; 3 << 20];
        bytes[2 << 20..][..5].copy_from_slice(b"bytes");
        let folder = tempfile::tempdir().unwrap();
        let room = Room { folder: folder.path(), keep_free: 0, go_on: &|_| true };
        let mut file = unpack(&mut packed(&bytes), room).unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 < 200_000);
        let mut back = Vec::new();
        file.read_to_end(&mut back).unwrap();
        assert!(back == bytes);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_and_a_wish_to_stop_end_it() {
        let folder = tempfile::tempdir().unwrap();
        let full = Room { folder: folder.path(), keep_free: u64::MAX / 2, go_on: &|_| true };
        let error = unpack(&mut packed(b"bytes"), full).unwrap_err();
        assert!(matches!(error, DecodeError::Sink(OpenError::Room { .. })), "{error:?}");
        let stopped = Room { keep_free: 0, go_on: &|_| false, ..full };
        let error = unpack(&mut packed(b"bytes"), stopped).unwrap_err();
        assert!(matches!(error, DecodeError::Sink(OpenError::Stopped)), "{error:?}");
    }
}
