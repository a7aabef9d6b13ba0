//! A device or file that is only read: for captures.
//!
//! Owns: opening it so that nobody can mount it meanwhile, reading ahead without filling memory, reading past the page cache.
//! Must not know: what is in it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use super::direct::{self, Direct};
use super::{DeviceError, ioctl, mounts};
use crate::image::capture::Origin;

/// Reads from this length on are of content, which nobody needs in memory a second time.
const LONG: usize = 256 << 10;

/// A device or file, opened to be read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    direct: Option<Direct>,
    size: u64,
    /// Whether nobody can mount it as long as it is open here.
    held: bool,
    /// Length, and time of the last change in nanoseconds, of a file.
    stamp: Option<(u64, i128)>,
}

impl Source {
    /// Opens `path`.
    ///
    /// # Errors
    /// See [`DeviceError`]: mounted or in use as swap or in a RAID, also by way of a loop device over the file; not there; no
    /// file or block device.
    pub fn open(path: &Path) -> Result<Source, DeviceError> {
        let failed = |error| DeviceError::open(path, error);
        let found = std::fs::metadata(path).map_err(failed)?;
        let source = match found.file_type() {
            kind if kind.is_block_device() => Source::open_block(path)?,
            kind if kind.is_file() => Source::open_file(path)?,
            _ => return Err(DeviceError::Kind(path.to_owned())),
        };
        // Advice; where it is not taken, reading is slower.
        let _ = posix_fadvise(&source.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        Ok(source)
    }

    fn open_block(path: &Path) -> Result<Source, DeviceError> {
        // O_EXCL without O_CREAT (open(2)): refused while a file system, swap or RAID has the device or a part of it; and as
        // long as it is held here nobody can mount it.
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(OFlag::O_EXCL.bits()).open(path);
        let file = file.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EBUSY) => DeviceError::InUse { path: path.to_owned(), by: mounts::users(path) },
            _ => DeviceError::open(path, error),
        })?;
        let ask = |error: Errno| DeviceError::open(path, error.into());
        let size = ioctl::size(file.as_fd()).map_err(ask)?;
        let block = ioctl::logical_block(file.as_fd()).map_err(ask)?;
        let direct = Direct::open(path, block);
        Ok(Source { path: path.to_owned(), file, direct, size, held: true, stamp: None })
    }

    fn open_file(path: &Path) -> Result<Source, DeviceError> {
        let by = mounts::users_of_file(path);
        if !by.is_empty() {
            return Err(DeviceError::InUse { path: path.to_owned(), by });
        }
        let file = File::open(path).map_err(|error| DeviceError::open(path, error))?;
        let stamp = stamp(&file).map_err(|error| DeviceError::open(path, error))?;
        let direct = Direct::open(path, 512);
        Ok(Source { path: path.to_owned(), file, direct, size: stamp.0, held: false, stamp: Some(stamp) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nobody could mount it since it was opened.
    pub fn is_held(&self) -> bool {
        self.held
    }
}

fn stamp(file: &File) -> io::Result<(u64, i128)> {
    let found = file.metadata()?;
    Ok((found.len(), i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec())))
}

impl Origin for Source {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)?;
        if self.held && into.len() >= LONG {
            // A disk is larger than memory; where this is not taken, the kernel decides what it drops.
            let _ = direct::forget(&self.file, offset, into.len() as u64);
        }
        Ok(())
    }

    fn read_again(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        direct::read(self.direct.as_ref(), &self.file, offset, into)
    }

    /// By the times of a file; a device has none.
    fn was_touched(&self) -> io::Result<bool> {
        Ok(self.stamp.is_some() && self.stamp != Some(stamp(&self.file)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_read_both_ways_and_a_write_to_it_is_seen() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..70_000_u32).map(|number| (number >> 3) as u8).collect();
        file.write_all(&bytes).unwrap();
        let source = Source::open(file.path()).unwrap();
        assert_eq!((source.size(), source.is_held()), (70_000, false));
        let (mut one, mut two) = (vec![0; 999], vec![0; 999]);
        source.read_at(69_001, &mut one).unwrap();
        source.read_again(69_001, &mut two).unwrap();
        assert!(one == bytes[69_001..] && two == one);
        assert!(source.read_at(69_002, &mut one).is_err());
        assert!(!source.was_touched().unwrap());
        file.write_all(b"x").unwrap();
        file.flush().unwrap();
        assert!(source.was_touched().unwrap());
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_kind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Source::open(folder.path()), Err(DeviceError::Kind(_))));
        assert!(matches!(Source::open(&folder.path().join("x")), Err(DeviceError::Open { .. })));
    }
}
