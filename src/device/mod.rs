//! Block devices and files as targets of a restore, and as sources of a capture ([`Source`]).
//!
//! Owns: opening without disturbing others, sizes, zeroing, discarding, flushing, reading past the page cache,
//! making the kernel read a partition table again. Must not know: the network, images.
//!
//! | | file | block device |
//! |---|---|---|
//! | opened | made when it is not there | `O_EXCL`: refused while mounted, in a RAID, in use as swap |
//! | zeros | hole | hardware (write zeroes, or a discard that promises zeros), else written by the kernel |
//! | free space | hole | hardware, else discard without promise |
//! | flush | fsync | fsync, which flushes the disk's cache, then the kernel's buffers are dropped |
//! | read back | `O_DIRECT`, else the page cache is dropped first | the same |

mod direct;
mod disk;
mod error;
mod health;
mod ioctl;
mod mounts;
mod source;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use crate::image::chunk::Span;
use crate::image::restore::Target;

pub use disk::Disk;
pub use error::DeviceError;
pub use health::health;
pub use source::Source;

use direct::Direct;

/// A file or block device, opened for a restore; nobody else may write it meanwhile.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    file: File,
    direct: Option<Direct>,
    size: u64,
    block: Option<u32>,
}

const ZEROS: &[u8] = &[0; 1 << 20];

impl Device {
    /// Opens `path`. A block device or a file that has content is taken with the size that it has; a file that is
    /// empty or not there gets `size` bytes.
    ///
    /// # Errors
    /// See [`DeviceError`]: in use, read-only, not there, not a file or block device.
    pub fn open(path: &Path, size: u64) -> Result<Device, DeviceError> {
        match std::fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() => Device::open_block(path),
            Ok(found) if found.is_file() => Device::open_file(path, size),
            Ok(_) => Err(DeviceError::Kind(path.to_owned())),
            // A misspelt device must not become a file in memory that fills up.
            Err(error) if error.kind() == io::ErrorKind::NotFound && among_devices(path) => {
                Err(DeviceError::open(path, error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Device::open_file(path, size),
            Err(error) => Err(DeviceError::open(path, error)),
        }
    }

    /// Opens `path` for reading only, whoever uses it.
    ///
    /// # Errors
    /// See [`DeviceError`]: not there, not readable, not a file or block device.
    pub fn open_to_read(path: &Path) -> Result<Device, DeviceError> {
        let failed = |error| DeviceError::open(path, error);
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err(DeviceError::Kind(path.to_owned()));
        }
        let file = File::open(path).map_err(failed)?;
        let (size, block) = if kind.is_block_device() {
            let ask = |error: Errno| failed(error.into());
            let block = ioctl::logical_block(file.as_fd()).map_err(ask)?;
            (ioctl::size(file.as_fd()).map_err(ask)?, Some(block))
        } else {
            (file.metadata().map_err(failed)?.len(), None)
        };
        let direct = Direct::open(path, block.unwrap_or(512));
        Ok(Device { path: path.to_owned(), file, direct, size, block })
    }

    /// Opens a block device.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn open_block(path: &Path) -> Result<Device, DeviceError> {
        // O_EXCL without O_CREAT: the kernel refuses while a file system, RAID, swap or another such opener has
        // the device or a part of it (open(2)).
        let file = options().custom_flags(OFlag::O_EXCL.bits()).open(path);
        let file = file.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EBUSY) => DeviceError::InUse { path: path.to_owned(), by: mounts::users(path) },
            Some(Errno::EROFS | Errno::EACCES | Errno::EPERM) if mounts::read_only(path) => {
                DeviceError::ReadOnly(path.to_owned())
            }
            _ => DeviceError::open(path, error),
        })?;
        let ask = |error: Errno| DeviceError::open(path, error.into());
        let size = ioctl::size(file.as_fd()).map_err(ask)?;
        let block = ioctl::logical_block(file.as_fd()).map_err(ask)?;
        let direct = Direct::open(path, block);
        Ok(Device { path: path.to_owned(), file, direct, size, block: Some(block) })
    }

    fn open_file(path: &Path, size: u64) -> Result<Device, DeviceError> {
        let by = mounts::users_of_file(path);
        if !by.is_empty() {
            return Err(DeviceError::InUse { path: path.to_owned(), by });
        }
        let open = || {
            let file = options().create(true).truncate(false).open(path)?;
            let has = file.metadata()?.len();
            if has == 0 {
                file.set_len(size)?;
            }
            Ok((file, if has == 0 { size } else { has }))
        };
        let (file, size) = open().map_err(|error| DeviceError::open(path, error))?;
        let direct = Direct::open(path, 512);
        Ok(Device { path: path.to_owned(), file, direct, size, block: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Logical block in bytes; none for a file.
    pub fn block_size(&self) -> Option<u32> {
        self.block
    }

    /// Makes the kernel read the partition table again. Nothing to do for a file.
    ///
    /// # Errors
    /// [`DeviceError::InUse`] when a partition is in use; its users are named.
    pub fn reread_partitions(&self) -> Result<(), DeviceError> {
        if self.block.is_none() {
            return Ok(());
        }
        match ioctl::reread_partitions(self.file.as_fd()) {
            Ok(()) => Ok(()),
            // The kernel says so for what cannot have partitions: a partition itself, a loop device without -P.
            Err(Errno::EINVAL) => Ok(()),
            Err(Errno::EBUSY) => {
                Err(DeviceError::InUse { path: self.path.clone(), by: mounts::users(&self.path) })
            }
            Err(error) => Err(DeviceError::Partitions { path: self.path.clone(), source: error.into() }),
        }
    }

    /// Tells the medium that nothing on it is needed any more. False when it does not know discards.
    ///
    /// # Errors
    /// When the medium fails.
    pub fn discard(&self, span: Span) -> io::Result<bool> {
        let Some(inner) = self.whole_blocks(span) else { return Ok(false) };
        if self.block.is_none() {
            return self.punch(inner);
        }
        match ioctl::discard(self.file.as_fd(), inner.offset, inner.length) {
            Ok(()) => Ok(true),
            Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOTTY) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Zeros without writing them. False when file system or disk cannot.
    ///
    /// fallocate(2) on a block device: `PUNCH_HOLE` zeroes by hardware or fails (the kernel's
    /// `BLKDEV_ZERO_NOFALLBACK`). It drops the page cache of the range too, which the BLKZEROOUT ioctl did not
    /// always do.
    fn punch(&self, span: Span) -> io::Result<bool> {
        self.fallocate(FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, span)
    }

    fn fallocate(&self, mode: FallocateFlags, span: Span) -> io::Result<bool> {
        loop {
            match fallocate(&self.file, mode, span.offset as i64, span.length as i64) {
                Ok(()) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write_zeros(&self, span: Span) -> io::Result<()> {
        let mut at = span.offset;
        while at < span.end() {
            let step = (span.end() - at).min(ZEROS.len() as u64);
            self.file.write_all_at(&ZEROS[..step as usize], at)?;
            at += step;
        }
        Ok(())
    }

    /// The whole logical blocks within `span`.
    fn whole_blocks(&self, span: Span) -> Option<Span> {
        let block = u64::from(self.block.unwrap_or(1));
        let (from, to) = (span.offset.next_multiple_of(block), span.end() / block * block);
        (from < to).then_some(Span { offset: from, length: to - from })
    }
}

/// Takes the protection from a file that the kernel made immutable; one that is absent or cannot have it is left alone.
///
/// # Errors
/// As the kernel says.
pub fn clear_immutable(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match ioctl::clear_immutable(file.as_fd()) {
        Ok(()) | Err(Errno::ENOTTY | Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

/// Whether `path` would lie in the file system of the device nodes. `/dev/shm` is one of its own, and may have files.
fn among_devices(path: &Path) -> bool {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file_system = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
    let devices = file_system(Path::new("/dev"));
    path.starts_with("/dev") && devices.is_some() && file_system(folder) == devices
}

impl Target for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn zero(&self, span: Span) -> io::Result<()> {
        let Some(inner) = self.whole_blocks(span) else { return self.write_zeros(span) };
        self.write_zeros(Span { offset: span.offset, length: inner.offset - span.offset })?;
        self.write_zeros(Span { offset: inner.end(), length: span.end() - inner.end() })?;
        let done = self.punch(inner)? || self.fallocate(FallocateFlags::FALLOC_FL_ZERO_RANGE, inner)?;
        if done { Ok(()) } else { self.write_zeros(inner) }
    }

    fn release(&self, span: Span) -> io::Result<bool> {
        let Some(inner) = self.whole_blocks(span) else { return Ok(false) };
        if self.punch(inner)? {
            return Ok(inner == span);
        }
        self.discard(inner)?;
        Ok(false)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.block.is_some() {
            // What cannot be dropped from the page cache (no CAP_SYS_ADMIN) is passed by when reading back.
            let _cannot = ioctl::drop_buffers(self.file.as_fd());
        }
        Ok(())
    }

    fn read_back(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        direct::read(self.direct.as_ref(), &self.file, offset, into)
    }
}
