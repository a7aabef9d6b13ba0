//! The ioctls of block devices: the only unsafe code of the project.
//!
//! Owns: request numbers and their argument types (linux/fs.h, linux/nvme_ioctl.h, scsi/sg.h). Must not know: what the answers are for.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc::{c_int, c_long, c_ulong};

use super::health::PAGE;

/// How long a disk may take to answer: a dying one takes its time.
const PATIENCE_MS: u32 = 5_000;

mod raw {
    //! Made by nix's macros; the numbers are those of linux/fs.h.

    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_none!(blkflsbuf, 0x12, 97);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), nix::libc::c_int);
    // The number says size_t, the kernel fills a u64: the same on the 64-bit machines that this is built for.
    nix::ioctl_read!(blkgetsize64, 0x12, 114, nix::libc::c_ulong);
    nix::ioctl_readwrite!(nvme_admin, b'N', 0x41, super::NvmeCommand);
    nix::ioctl_readwrite_bad!(sg_io, 0x2285, super::SgIo);
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

/// `struct nvme_passthru_cmd` (linux/nvme_ioctl.h).
#[repr(C)]
#[derive(Default)]
pub(super) struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

const _: () = assert!(size_of::<NvmeCommand>() == 72);

/// Reads log page 02h, SMART / health, of the controller.
pub(super) fn nvme_health(disk: BorrowedFd<'_>, page: &mut [u8; PAGE]) -> nix::Result<()> {
    let mut command = NvmeCommand {
        opcode: 0x02,
        namespace: u32::MAX,
        address: page.as_mut_ptr() as u64,
        data_length: PAGE as u32,
        // The page's number, and how many double words less one.
        cdw10: 0x02 | (PAGE as u32 / 4 - 1) << 16,
        timeout_ms: PATIENCE_MS,
        ..NvmeCommand::default()
    };
    #[expect(
        unsafe_code,
        reason = "the kernel writes 512 bytes to `page`, which has them and lives until the call returns"
    )]
    let status = unsafe { raw::nvme_admin(disk.as_raw_fd(), &mut command) }?;
    // A status of the controller that is not 0 means that there is no page.
    if status == 0 { Ok(()) } else { Err(nix::errno::Errno::EOPNOTSUPP) }
}

/// `struct sg_io_hdr` (scsi/sg.h).
#[repr(C)]
pub(super) struct SgIo {
    interface: c_int,
    direction: c_int,
    command_length: u8,
    sense_room: u8,
    vectors: u16,
    data_length: u32,
    data: *mut u8,
    command: *const u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    pack: c_int,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_length: u8,
    host_status: u16,
    driver_status: u16,
    residue: c_int,
    duration: u32,
    info: u32,
}

const _: () = assert!(size_of::<SgIo>() == 88);

/// A page of ATA SMART, by the value of the features register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Smart {
    Data = 0xd0,
    Thresholds = 0xd1,
}

/// Reads a SMART page. Answers of a device that is no ATA disk are errors.
pub(super) fn ata_smart(disk: BorrowedFd<'_>, which: Smart, page: &mut [u8; PAGE]) -> nix::Result<()> {
    // Protocol PIO data-in; one block, its number in the sector count (SAT-3 section 12.2).
    let command = ata_pass_through(4 << 1, 0x0e, which as u8, 1);
    let mut sense = [0; 32];
    let (status, residue) = scsi(disk, &command, Some(page), &mut sense)?;
    if status == 0 && residue == 0 { Ok(()) } else { Err(nix::errno::Errno::EOPNOTSUPP) }
}

/// Whether the disk says that it is failing (ACS-3 section 7.48.8).
pub(super) fn ata_says_it_fails(disk: BorrowedFd<'_>) -> nix::Result<bool> {
    // No data; the registers come back as sense data.
    let command = ata_pass_through(3 << 1, 0x20, 0xda, 0);
    let mut sense = [0; 32];
    scsi(disk, &command, None, &mut sense)?;
    // Descriptor format (72h) with the ATA status return descriptor (09h); LBA bytes 1 and 2 say it.
    match (sense[0] & 0x7f, sense[8], sense[17], sense[19]) {
        (0x72, 0x09, 0xf4, 0x2c) => Ok(true),
        (0x72, 0x09, 0x4f, 0xc2) => Ok(false),
        _ => Err(nix::errno::Errno::EOPNOTSUPP),
    }
}

/// ATA PASS-THROUGH (16) of the command SMART, which wants C24Fh in the middle of the address.
fn ata_pass_through(protocol: u8, flags: u8, feature: u8, count: u8) -> [u8; 16] {
    [0x85, protocol, flags, 0, feature, 0, count, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0]
}

/// Status of the command, and bytes that did not come.
fn scsi(
    disk: BorrowedFd<'_>,
    command: &[u8; 16],
    page: Option<&mut [u8; PAGE]>,
    sense: &mut [u8; 32],
) -> nix::Result<(u8, c_int)> {
    const FROM_DEVICE: c_int = -3;
    const NOTHING: c_int = -1;
    let (direction, data, data_length) = match page {
        Some(page) => (FROM_DEVICE, page.as_mut_ptr(), PAGE as u32),
        None => (NOTHING, std::ptr::null_mut(), 0),
    };
    let mut request = SgIo {
        interface: c_int::from(b'S'),
        direction,
        command_length: command.len() as u8,
        sense_room: sense.len() as u8,
        vectors: 0,
        data_length,
        data,
        command: command.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms: PATIENCE_MS,
        flags: 0,
        pack: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_length: 0,
        host_status: 0,
        driver_status: 0,
        residue: 0,
        duration: 0,
        info: 0,
    };
    #[expect(
        unsafe_code,
        reason = "all buffers are as long as is said and live until the call returns; the kernel writes to `page` and `sense` only"
    )]
    unsafe { raw::sg_io(disk.as_raw_fd(), &mut request) }?;
    if request.host_status != 0 {
        return Err(nix::errno::Errno::EIO);
    }
    Ok((request.status, request.residue))
}
