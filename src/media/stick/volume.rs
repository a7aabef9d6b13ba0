//! A FAT32 file system with given files, in memory.
//!
//! Owns: size and label of the volume, folders above the files. Same files, same bytes: no clock, the volume's number
//! comes from its content. Must not know: what the files are for.
//!
//! FAT32 because firmware is bound to read it on removable media (UEFI 2.10 section 13.3); Macs' did before that.

use std::collections::BTreeSet;

use fstool::fs::fat::{Fat32, FatFormatOpts};

use super::pieces::Pieces;

/// The volume is at least so large: from 260 MiB on clusters have 4 KiB, and there are enough of them that no firmware
/// takes it for FAT16.
const LEAST: u64 = 512 << 20;
const MIB: u64 = 1 << 20;

/// The files do not make a volume.
#[derive(Debug, thiserror::Error)]
#[error("a FAT32 volume of {size} bytes cannot be made: {why}")]
pub struct VolumeError {
    size: u64,
    why: String,
}

/// A file of the volume: path with slashes, none before the first.
#[derive(Clone, Debug)]
pub struct StickFile {
    /// `EFI/BOOT/BOOTX64.EFI`
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Bytes of a volume that has room for `files`: a tenth more than they need, in whole MiB.
pub fn size_for(files: &[StickFile]) -> u64 {
    let content: u64 = files.iter().map(|file| file.bytes.len() as u64 + MIB / 8).sum();
    LEAST.max((content + content / 10).next_multiple_of(MIB))
}

/// Makes the volume. `label` has at most eleven capital letters; `number` is the volume's.
///
/// # Errors
/// [`VolumeError`] when the files have no room or their names are none.
pub fn make(files: &[StickFile], size: u64, label: &str, number: u32) -> Result<Pieces, VolumeError> {
    let refused = |error: fstool::Error| VolumeError { size, why: error.to_string() };
    let mut disk = Pieces::new(size);
    let mut options = FatFormatOpts::default();
    options.total_sectors =
        u32::try_from(size / 512).map_err(|_| VolumeError { size, why: "it is 2 TiB or larger".into() })?;
    options.volume_id = number;
    options.volume_label = padded(label);
    let mut volume = Fat32::format(&mut disk, &options).map_err(refused)?;
    let mut folders = BTreeSet::new();
    for file in files {
        for (at, _) in file.path.match_indices('/') {
            let folder = &file.path[..at];
            if folders.insert(folder) {
                volume.add_dir(&mut disk, &format!("/{folder}"), 0).map_err(refused)?;
            }
        }
        let (path, length) = (format!("/{}", file.path), file.bytes.len() as u64);
        volume
            .add_file_from_reader(&mut disk, &path, &mut file.bytes.as_slice(), length, 0)
            .map_err(refused)?;
    }
    volume.flush(&mut disk).map_err(refused)?;
    Ok(disk)
}

fn padded(label: &str) -> [u8; 11] {
    let mut padded = [b' '; 11];
    for (to, from) in padded.iter_mut().zip(label.bytes()) {
        *to = from;
    }
    padded
}
