//! A file system in a partition: HFS+ by fstool in this process, the others by their own makers as child processes.
//!
//! | format | by |
//! |---|---|
//! | HFS+, journaled, case-sensitive | `fstool` |
//! | FAT32 | `mkfs.fat` (dosfstools) |
//! | exFAT | `mkfs.exfat` (exfatprogs) |
//! | APFS | `mkapfs` (apfsprogs) |
//!
//! Must not know: partition tables.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fstool::block::BlockDevice;
use fstool::fs::hfs_plus::HfsPlus;
use fstool::fs::hfs_plus::writer::FormatOpts;
use nix::unistd::Whence;

use super::plan::Kind;
use crate::api::runner::VolumeFormat;
use crate::runner::place::{Place, Stretch};

/// Seconds from HFS+'s epoch, 1904-01-01, to 1970-01-01 (TN1150 "HFS Plus Dates").
const HFS_EPOCH: u64 = 2_082_844_800;

/// Where the makers lie; init may have set no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file system could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The partition cannot be opened or written.
    #[error("writing {} failed", path.display())]
    Disk {
        /// What was written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The maker is not on board.
    #[error("{program} could not be started")]
    NotStarted {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The maker failed.
    #[error("{program} ended with {status}: {said}")]
    Maker {
        /// Which.
        program: &'static str,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// fstool refused.
    #[error("making HFS+ on {} failed: {why}", path.display())]
    Hfs {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Makes the file system of `kind` named `label` at `place`; `now` is in seconds since 1970.
///
/// # Errors
/// See [`VolumeError`].
pub fn make_volume(place: &Place, kind: Kind, label: &str, now: u64) -> Result<(), VolumeError> {
    match kind {
        Kind::Efi => make("mkfs.fat", &["-F", "32", "-n", "EFI"], place),
        Kind::Volume(VolumeFormat::Fat32) => make("mkfs.fat", &["-F", "32", "-n", &fat_label(label)], place),
        Kind::Volume(VolumeFormat::ExFat) => make("mkfs.exfat", &["-L", &exfat_label(label)], place),
        Kind::Volume(VolumeFormat::Apfs) => make("mkapfs", &["-L", label], place),
        Kind::Volume(VolumeFormat::Raw) => Ok(()), // its ends were wiped with the table
        Kind::Volume(
            format @ (VolumeFormat::Hfs | VolumeFormat::HfsJournaled | VolumeFormat::HfsCaseSensitive),
        ) => make_hfs(place, format, label, now),
    }
}

/// Upper case, 11 characters, none of those that FAT forbids (Microsoft FAT specification, section 6.1).
fn fat_label(label: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || " !#$%&'()-@^_`{}~".contains(c) {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let text: String = label.trim().chars().map(fit).take(11).collect();
    if text.is_empty() { "UNTITLED".into() } else { text }
}

/// At most 11 UTF-16 units (exFAT specification, section 7.3.2).
fn exfat_label(label: &str) -> String {
    let mut units = 0;
    label
        .trim()
        .chars()
        .take_while(|c| {
            units += c.len_utf16();
            units <= 11
        })
        .collect()
}

fn make_hfs(place: &Place, format: VolumeFormat, label: &str, now: u64) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Disk { path: place.path.clone(), source };
    let refused =
        |error: fstool::Error| VolumeError::Hfs { path: place.path.clone(), why: error.to_string() };
    let mut device = VolumeDevice(Stretch::open(place).map_err(failed)?);
    let mut options = FormatOpts::default();
    options.volume_name = label.to_owned();
    options.create_date = u32::try_from(now.saturating_add(HFS_EPOCH)).unwrap_or(u32::MAX);
    options.journaled = format != VolumeFormat::Hfs;
    options.case_sensitive = format == VolumeFormat::HfsCaseSensitive;
    let mut volume = HfsPlus::format(&mut device, &options).map_err(refused)?;
    volume.flush(&mut device).map_err(refused)?;
    device.0.sync().map_err(failed)
}

/// fstool's view of a place.
pub struct VolumeDevice(pub Stretch);

impl Read for VolumeDevice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for VolumeDevice {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for VolumeDevice {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl BlockDevice for VolumeDevice {
    fn block_size(&self) -> u32 {
        512
    }

    fn total_size(&self) -> u64 {
        self.0.size()
    }

    fn sync(&mut self) -> fstool::Result<()> {
        Ok(self.0.sync()?)
    }
}

/// Runs a maker on a device, or on a scratch file when the partition is a stretch of a disk in a file.
fn make(program: &'static str, arguments: &[&str], place: &Place) -> Result<(), VolumeError> {
    if place.offset == 0 {
        return run(program, arguments, &place.path);
    }
    let failed = |source| VolumeError::Disk { path: place.path.clone(), source };
    let scratch = Scratch::new(place).map_err(failed)?;
    run(program, arguments, &scratch.path)?;
    scratch.copy_into(place).map_err(failed)
}

fn run(program: &'static str, arguments: &[&str], target: &Path) -> Result<(), VolumeError> {
    let output = Command::new(program)
        .args(arguments)
        .arg(target)
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| VolumeError::NotStarted { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let words = [text(&output.stderr), text(&output.stdout)].into_iter().find(|text| !text.is_empty());
    let said = words.unwrap_or_else(|| "it said nothing".into());
    let tail = said.char_indices().rev().nth(1999).map_or(0, |(at, _)| at);
    Err(VolumeError::Maker { program, status: output.status.to_string(), said: said[tail..].to_owned() })
}

/// A sparse file of the partition's size, beside the disk's file; gone when dropped.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(place: &Place) -> io::Result<Scratch> {
        let mut name = place.path.clone().into_os_string();
        name.push(format!(".volume-at-{}", place.offset));
        let scratch = Scratch { path: name.into() };
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&scratch.path)?;
        file.set_len(place.size)?;
        Ok(scratch)
    }

    /// Copies what the maker wrote (also written zeros, they are tables), not the holes.
    fn copy_into(&self, place: &Place) -> io::Result<()> {
        let from = File::open(&self.path)?;
        let to = OpenOptions::new().write(true).open(&place.path)?;
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while let Some(start) = seek(&from, at, Whence::SeekData)? {
            let end = seek(&from, start, Whence::SeekHole)?.unwrap_or(place.size);
            at = start;
            while at < end {
                let length = (end - at).min(buffer.len() as u64) as usize;
                from.read_exact_at(&mut buffer[..length], at)?;
                to.write_all_at(&buffer[..length], place.offset + at)?;
                at += length as u64;
            }
        }
        to.sync_all()
    }
}

/// lseek(2): none when there is no further data.
fn seek(file: &File, from: u64, whence: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(from).map_err(io::Error::other)?;
    match nix::unistd::lseek64(file, from, whence) {
        Ok(at) => Ok(u64::try_from(at).ok()),
        Err(nix::errno::Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The worst that a left-over costs is room; the next format of this partition takes the same name.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(size: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        file
    }

    fn bytes_at(file: &tempfile::NamedTempFile, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        file.as_file().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    #[test]
    fn section_2_labels_fit_what_each_file_system_allows() {
        assert_eq!(fat_label("Macintosh HD 2"), "MACINTOSH H");
        assert_eq!(fat_label("a/b:ü"), "A_B__");
        assert_eq!(fat_label("  "), "UNTITLED");
        assert_eq!(exfat_label("😀😀😀😀😀😀😀"), "😀😀😀😀😀");
    }

    #[test]
    fn hfs_volumes_carry_the_signature_of_their_kind_at_both_ends() {
        for (format, signature) in [
            (VolumeFormat::Hfs, b"H+"),
            (VolumeFormat::HfsJournaled, b"H+"),
            (VolumeFormat::HfsCaseSensitive, b"HX"),
        ] {
            let file = disk(80 << 20);
            let place = Place { path: file.path().into(), offset: 8 << 20, size: 64 << 20 };
            make_volume(&place, Kind::Volume(format), "Macintosh HD", 1_700_000_000).unwrap();
            assert_eq!(bytes_at(&file, (8 << 20) + 1024, 2), signature, "{format:?}");
            assert_eq!(bytes_at(&file, (72 << 20) - 1024, 2), signature, "{format:?}");
            // Attributes, bit 13: journaled (TN1150 "Volume Attributes").
            let attributes = u32::from_be_bytes(bytes_at(&file, (8 << 20) + 1028, 4).try_into().unwrap());
            assert_eq!(attributes & (1 << 13) != 0, format != VolumeFormat::Hfs, "{format:?}");
            assert_eq!(bytes_at(&file, 0, 8 << 20), vec![0; 8 << 20]);
        }
    }

    #[test]
    fn a_maker_that_is_missing_or_fails_is_named_with_its_words() {
        let file = disk(1 << 20);
        let error = run("mkfs.nothing", &[], file.path()).unwrap_err();
        assert!(matches!(error, VolumeError::NotStarted { program: "mkfs.nothing", .. }), "{error}");
        let error = run("sh", &["-c", "echo no room >&2; exit 3"], file.path()).unwrap_err();
        assert_eq!(error.to_string(), "sh ended with exit status: 3: no room");
    }

    #[test]
    fn no_scratch_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        File::create(&path).unwrap().set_len(4 << 20).unwrap();
        let place = Place { path, offset: 1 << 20, size: 1 << 20 };
        let arguments = ["-c", "printf HELLO | dd of=$0 conv=notrunc bs=1 seek=700000 2>/dev/null"];
        make("sh", &arguments, &place).unwrap();
        assert!(make("sh", &["-c", "exit 1"], &place).is_err());
        let mut bytes = [0; 5];
        File::open(&place.path).unwrap().read_exact_at(&mut bytes, (1 << 20) + 700_000).unwrap();
        assert_eq!(&bytes, b"HELLO");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
