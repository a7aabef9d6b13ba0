//! Reading what the medium holds, past the page cache.
//!
//! Owns: `O_DIRECT` and its alignment, the fallback. Must not know: what is read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

/// Memory is aligned to this whatever the medium asks for: no medium asks for more.
const PAGE: usize = 4096;

/// A second opening of the same medium that reads past the cache.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    block: u64,
}

impl Direct {
    /// None where the file system does not know it.
    pub fn open(path: &Path, block: u32) -> Option<Direct> {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path).ok()?;
        Some(Direct { file, block: block.into() })
    }

    /// Fills `into`. False when the medium wants another alignment than is known here: read it another way.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<bool> {
        let block = self.block as usize;
        if offset.is_multiple_of(self.block)
            && into.len().is_multiple_of(block)
            && into.as_ptr().align_offset(PAGE) == 0
        {
            return self.fill(offset, into, into.len());
        }
        let from = offset / self.block * self.block;
        let skip = (offset - from) as usize;
        let length = (skip + into.len()).next_multiple_of(block);
        let mut memory = vec![0; length + PAGE];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        let aligned = &mut memory[start..][..length];
        let read = self.fill(from, aligned, skip + into.len())?;
        into.copy_from_slice(&aligned[skip..][..into.len()]);
        Ok(read)
    }

    /// Reads until `needed` bytes are there: the end of a file may lie within the last block.
    fn fill(&self, offset: u64, into: &mut [u8], needed: usize) -> io::Result<bool> {
        let mut done = 0;
        while done < needed {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Fills `into` with what the medium holds: by its second opening, or past what is dropped of the cache where that cannot be.
pub(super) fn read(direct: Option<&Direct>, file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    if let Some(direct) = direct
        && direct.read(offset, into)?
    {
        return Ok(());
    }
    forget(file, offset, into.len() as u64)?;
    file.read_exact_at(into, offset)
}

/// Drops a range from the page cache. Only clean pages go, so this is for after a flush.
pub(super) fn forget(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    Ok(posix_fadvise(file, offset as i64, length as i64, advice)?)
}
