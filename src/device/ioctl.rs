//! The ioctls of block devices: the only unsafe code of the project.
//!
//! Owns: request numbers and their argument types (linux/fs.h). Must not know: what the answers are for.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc::{c_int, c_long, c_ulong};

mod raw {
    //! Made by nix's macros; the numbers are those of linux/fs.h.

    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_none!(blkflsbuf, 0x12, 97);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), nix::libc::c_int);
    // The number says size_t, the kernel fills a u64: the same on the 64-bit machines that this is built for.
    nix::ioctl_read!(blkgetsize64, 0x12, 114, nix::libc::c_ulong);
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
    // The numbers say long, the kernel reads and writes an int (ioctl_iflags(2)).
    nix::ioctl_read!(fs_getflags, b'f', 1, nix::libc::c_long);
    nix::ioctl_write_ptr!(fs_setflags, b'f', 2, nix::libc::c_long);
}

const _: () = assert!(size_of::<c_ulong>() == 8, "BLKGETSIZE64 fills eight bytes");

/// Bytes of the device.
pub(super) fn size(device: BorrowedFd<'_>) -> nix::Result<u64> {
    let mut size: c_ulong = 0;
    #[expect(
        unsafe_code,
        reason = "the kernel writes eight bytes to `size`, which lives until the call returns"
    )]
    unsafe { raw::blkgetsize64(device.as_raw_fd(), &mut size) }?;
    Ok(size)
}

/// Bytes of a logical block.
pub(super) fn logical_block(device: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut block: c_int = 0;
    #[expect(
        unsafe_code,
        reason = "the kernel writes an int to `block`, which lives until the call returns"
    )]
    unsafe { raw::blksszget(device.as_raw_fd(), &mut block) }?;
    u32::try_from(block).ok().filter(|block| block.is_power_of_two()).ok_or(nix::errno::Errno::EINVAL)
}

/// Reads the partition table again.
pub(super) fn reread_partitions(device: BorrowedFd<'_>) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "takes no argument and touches no memory of ours")]
    unsafe { raw::blkrrpart(device.as_raw_fd()) }.map(drop)
}

/// Writes back and drops the page cache of the device.
pub(super) fn drop_buffers(device: BorrowedFd<'_>) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "takes no argument and touches no memory of ours")]
    unsafe { raw::blkflsbuf(device.as_raw_fd()) }.map(drop)
}

/// `FS_IMMUTABLE_FL` (ioctl_iflags(2)).
const IMMUTABLE: c_long = 0x10;

/// Takes the immutable flag from a file that has it.
pub(super) fn clear_immutable(file: BorrowedFd<'_>) -> nix::Result<()> {
    let mut flags: c_long = 0;
    #[expect(
        unsafe_code,
        reason = "the kernel writes an int to `flags`, which is larger and lives until the call returns"
    )]
    unsafe { raw::fs_getflags(file.as_raw_fd(), &mut flags) }?;
    if flags & IMMUTABLE == 0 {
        return Ok(());
    }
    let flags = flags & !IMMUTABLE;
    #[expect(
        unsafe_code,
        reason = "the kernel reads an int from `flags`, which is larger and lives until the call returns"
    )]
    unsafe { raw::fs_setflags(file.as_raw_fd(), &flags) }.map(drop)
}

/// Discards whole logical blocks.
pub(super) fn discard(device: BorrowedFd<'_>, offset: u64, length: u64) -> nix::Result<()> {
    #[expect(unsafe_code, reason = "the kernel reads two u64, which live until the call returns")]
    unsafe { raw::blkdiscard(device.as_raw_fd(), &[offset, length]) }.map(drop)
}
