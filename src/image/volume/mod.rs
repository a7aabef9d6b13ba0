//! What file system a volume holds, its name, and how full it is.
//!
//! | kind | found by | file |
//! |---|---|---|
//! | HFS+, HFSX, HFS+ in an HFS wrapper | `H+`, `HX`, `BD` at 1024 | `hfs` |
//! | APFS container | `NXSB` at 32 | `apfs` |
//! | FAT16, FAT32, exFAT | boot sector | `fat`, `exfat` |
//!
//! Owns: facts for people and checks, and which bytes are in use (`allocation`). Facts are hints: a damaged file system
//! gives fewer facts, not an error. What is called free is not: where anything is odd, all bytes count as used.
//! Must not know: files in the volume, partitions, restores. Needs no password: encrypted APFS still says its size.

mod allocation;
mod apfs;
mod decmpfs;
mod exfat;
mod fat;
mod files;
mod hfs;

use std::fmt;
use std::io::{self, Read, Seek};

pub use self::allocation::{Allocation, AllocationRun, Distrust};
pub use self::files::System;
use crate::image::chunk::Span;
use crate::image::field::Window;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// HFS Plus, journaled or not.
    HfsPlus,
    /// HFS Plus with case-sensitive names.
    Hfsx,
    /// An APFS container.
    Apfs,
    /// FAT16.
    Fat16,
    /// FAT32.
    Fat32,
    /// exFAT.
    ExFat,
    /// None of these.
    Unknown,
}

impl Kind {
    /// Whether macOS starts from it.
    pub fn is_mac(self) -> bool {
        matches!(self, Kind::HfsPlus | Kind::Hfsx | Kind::Apfs)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::HfsPlus => "hfs+",
            Kind::Hfsx => "hfsx",
            Kind::Apfs => "apfs",
            Kind::Fat16 => "fat16",
            Kind::Fat32 => "fat32",
            Kind::ExFat => "exfat",
            Kind::Unknown => "unknown",
        })
    }
}

/// What a volume says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its file system.
    pub kind: Kind,
    /// Its name; the names of all volumes of an APFS container, separated by commas.
    pub label: Option<String>,
    /// Bytes that the file system manages; may be less than its partition, and more where an image was cut off.
    pub size: u64,
    /// Bytes in use.
    pub used: Option<u64>,
    /// Bytes of an allocation block.
    pub block_size: Option<u32>,
    /// Names of the encrypted volumes in it (FileVault).
    pub encrypted: Vec<String>,
    /// Whether names differ by case alone; of an APFS container, in the volume with the system.
    pub case_sensitive: Option<bool>,
    /// Why it is not in its last state: not unmounted cleanly, journal not empty. APFS is always in one.
    pub unclean: Option<Distrust>,
    /// The macOS on it, where it can be read.
    pub system: Option<System>,
    /// Whether a Mac starts from it.
    pub startup: Startup,
    /// Names in the root folder, of an APFS container in the volume with the system or else the first readable one.
    pub top: Vec<String>,
    /// Files and folders, where the file system counts them.
    pub files: Option<u64>,
    /// Volumes of an APFS container.
    pub volumes: Vec<ApfsVolume>,
    /// Whether it is one half of a Fusion Drive, useless without the other.
    pub is_fusion: bool,
}

impl Facts {
    fn unknown(size: u64) -> Facts {
        Facts::of(Kind::Unknown, size)
    }

    /// The facts of a volume of which nothing else is known.
    pub fn of(kind: Kind, size: u64) -> Facts {
        Facts {
            kind,
            label: None,
            size,
            used: None,
            block_size: None,
            encrypted: Vec::new(),
            case_sensitive: None,
            unclean: None,
            system: None,
            startup: Startup::Unknown,
            top: Vec::new(),
            files: None,
            volumes: Vec::new(),
            is_fusion: false,
        }
    }
}

/// Whether a Mac can start from a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup {
    /// Not for the file system to say, or it cannot be read.
    Unknown,
    /// HFS+: no blessed folder with a loader. APFS: no Preboot volume, or one without loader.
    Absent,
    /// There is a loader where firmware looks for it.
    Present,
}

/// A volume of an APFS container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApfsVolume {
    /// Its name.
    pub name: String,
    /// `system`, `data`, `preboot`, `recovery`, `vm` …; none where it has none.
    pub role: Option<&'static str>,
    /// Bytes in use, its snapshots included.
    pub used: u64,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
    /// Whether macOS sealed it (11 and later): it is valid as it is, byte by byte, or not at all.
    pub is_sealed: bool,
    /// Whether names differ by case alone.
    pub is_case_sensitive: bool,
    /// Snapshots.
    pub snapshots: u64,
    /// Files and folders.
    pub files: u64,
}

/// Reads the facts of the volume in the `size` bytes from `start` on.
///
/// # Errors
/// The bytes cannot be read. What they say is never an error.
pub fn read(reader: &mut (impl Read + Seek), start: u64, size: u64) -> io::Result<Facts> {
    let mut window = Window::new(reader, start, size);
    for probe in [hfs::read, apfs::read, exfat::read, fat::read] {
        if let Some(facts) = probe(&mut window)? {
            return Ok(facts);
        }
    }
    Ok(Facts::unknown(size))
}

/// Which of the `length` bytes from `start` on are in use by the file system in them, in runs that cover all of them in
/// order; offsets are those of `reader`. None where that is not known, or not to be believed: then all of them are.
///
/// # Errors
/// The bytes cannot be read.
pub fn allocation(
    reader: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> io::Result<Option<Allocation>> {
    Ok(judged_allocation(reader, start, length)?.ok())
}

/// The same, with the reason where there is no answer.
///
/// # Errors
/// The bytes cannot be read.
pub fn judged_allocation(
    reader: &mut (impl Read + Seek),
    start: u64,
    length: u64,
) -> io::Result<Result<Allocation, Distrust>> {
    let region = Span { offset: start, length: length.min(u64::MAX / 2 - start.min(u64::MAX / 2)) };
    let mut window = Window::new(reader, start, region.length);
    for probe in [hfs::allocation, apfs::allocation] {
        if let Some(known) = probe(&mut window, region)? {
            return Ok(known);
        }
    }
    Ok(Err(Distrust::Unknown))
}

/// A name for people: no control characters, which a terminal would obey.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Clear bits among the first `count` of a map, low bit first. Bits that are not there count as set.
fn clear_bits(map: &[u8], count: u64) -> u64 {
    let whole = usize::try_from(count / 8).unwrap_or(usize::MAX).min(map.len());
    let mut clear: u64 = map[..whole].iter().map(|byte| u64::from(byte.count_zeros())).sum();
    if let Some(byte) = map.get(whole) {
        let rest = count.saturating_sub(whole as u64 * 8).min(8);
        clear += (0..rest).filter(|bit| byte >> bit & 1 == 0).count() as u64;
    }
    clear
}

/// How many damaged volumes a test tries: more on demand.
#[cfg(test)]
fn cases() -> u32 {
    std::env::var("ROOTSTOCK_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_bits_are_counted_up_to_the_last_one_that_counts() {
        assert_eq!(clear_bits(&[0b1111_0000, 0b0000_0001], 16), 11);
        assert_eq!(clear_bits(&[0b1111_0000, 0b0000_0001], 10), 5);
        assert_eq!(clear_bits(&[0], 1000), 8);
    }

    #[test]
    fn zeros_are_an_unknown_volume() {
        let facts = read(&mut io::Cursor::new(vec![0; 4096]), 1024, 2048).unwrap();
        assert_eq!(facts, Facts::unknown(2048));
    }
}
