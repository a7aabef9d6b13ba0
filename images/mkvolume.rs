//! Writes a disk image with a journaled HFS+ volume, about two thirds full: input for tests, benchmarks and the lab.
//!
//! Owns: a GPT with an EFI partition (FAT16, empty) and an `Apple_HFS` partition; folders and files whose names, sizes
//! and content follow from the seed alone, so that the same arguments give the same bytes. A third of the files is
//! random, a third text, the rest text with zeros between. Knows nothing of the readers in `src/image`.
//!
//! `cargo run --release --example mkvolume -- 2147483648 disk.img [SEED]`; `mkdmg` makes a .dmg of it.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use fstool::block::{BlockDevice, FileBackend, SlicedBackend};
use fstool::fs::hfs_plus::HfsPlus;
use fstool::fs::hfs_plus::writer::FormatOpts;
use fstool::part::gpt::Gpt;
use fstool::part::{Partition, PartitionKind, PartitionTable};
use uuid::Uuid;

#[path = "words.rs"]
mod words;

use words::Random;

const SECTOR: u64 = 512;

/// Partitions begin at multiples of this, as Disk Utility has it.
const FIRST: u64 = 40 * SECTOR;

/// 2020-01-01 in the seconds of Unix and of HFS+ (since 1904).
const DATE: u32 = 1_577_836_800;
const HFS_DATE: u32 = DATE + 2_082_844_800;

const WORDS: [&str; 16] = [
    "kernel ",
    "library ",
    "Macintosh ",
    "volume ",
    "font ",
    "preference ",
    "\n",
    "the ",
    "of ",
    "0x7fff5fbff8a0 ",
    "<key>CFBundleIdentifier</key>\n",
    "<string>",
    "</string>\n",
    "localized ",
    "resource ",
    "framework ",
];

/// The content of one file, made while it is read.
struct Content {
    random: Random,
    kind: u64,
    ready: Vec<u8>,
    taken: usize,
}

impl Content {
    fn new(seed: u64) -> Content {
        let mut random = Random(seed);
        let kind = random.below(3);
        Content { random, kind, ready: Vec::new(), taken: 0 }
    }

    fn refill(&mut self) {
        self.ready.clear();
        self.taken = 0;
        let zeros = self.kind == 2 && self.random.below(3) == 0;
        while self.ready.len() < 16 << 10 {
            match self.kind {
                0 => self.ready.extend(self.random.next().to_le_bytes()),
                _ if zeros => self.ready.extend([0; 4096]),
                _ => {
                    let word = WORDS[self.random.below(16) as usize];
                    self.ready.extend(word.as_bytes());
                }
            }
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() {
            self.refill();
        }
        let length = buffer.len().min(self.ready.len() - self.taken);
        buffer[..length].copy_from_slice(&self.ready[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

/// Writes an image of `size` bytes, at least 8 MiB, to `out`.
pub fn write(out: &Path, size: u64, seed: u64) -> anyhow::Result<()> {
    ensure!(
        size >= 8 << 20 && size.is_multiple_of(4096),
        "the size must be 8 MiB or more, in whole blocks of 4096 bytes"
    );
    let mut disk = FileBackend::create(out, size)?;
    let efi = if size >= 512 << 20 { 64 << 20 } else { 3 << 20 };
    // The backup table takes 33 sectors; the volume ends on a block of 4096 bytes before it.
    let volume = (size - 34 * SECTOR - FIRST - efi) / 4096 * 4096;
    let mut partitions = [
        Partition::new(FIRST / SECTOR, efi / SECTOR, PartitionKind::EfiSystem),
        Partition::new(
            (FIRST + efi) / SECTOR,
            volume / SECTOR,
            PartitionKind::Gpt(Uuid::from_u128(0x48465300_0000_11AA_AA11_00306543ECAC)),
        ),
    ];
    partitions[0].name = Some("EFI System Partition".to_owned());
    partitions[1].name = Some("Macintosh HD".to_owned());
    let mut random = Random(seed);
    let mut guid = move || Uuid::from_u64_pair(random.next(), random.next());
    Gpt::build_with_guids(partitions.to_vec(), guid(), guid)?.write(&mut disk)?;
    write_fat(&mut SlicedBackend::new(&mut disk, FIRST, efi)?, efi)?;
    write_volume(&mut SlicedBackend::new(&mut disk, FIRST + efi, volume)?, volume, seed)?;
    disk.sync()?;
    Ok(())
}

/// An empty FAT16 volume called EFI (Microsoft FAT specification, section 3).
fn write_fat(partition: &mut (impl Write + Seek), size: u64) -> anyhow::Result<()> {
    let sectors = size / SECTOR;
    let each = (sectors / 32_768).next_power_of_two();
    let fat = (sectors / each * 2).div_ceil(SECTOR);
    let mut boot = [0; 512];
    boot[..11].copy_from_slice(b"\xeb\x3c\x90BSD  4.4");
    boot[11..13].copy_from_slice(&512_u16.to_le_bytes());
    boot[13..17].copy_from_slice(&[each as u8, 1, 0, 2]);
    boot[17..19].copy_from_slice(&512_u16.to_le_bytes());
    boot[21..24].copy_from_slice(&[0xf8, fat as u8, (fat >> 8) as u8]);
    boot[32..36].copy_from_slice(&(sectors as u32).to_le_bytes());
    boot[38] = 0x29;
    boot[43..62].copy_from_slice(b"EFI        FAT16   ");
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    partition.write_all(&boot)?;
    for copy in 0..2 {
        partition.seek(SeekFrom::Start((1 + copy * fat) * SECTOR))?;
        partition.write_all(&[0xf8, 0xff, 0xff, 0xff])?;
    }
    partition.seek(SeekFrom::Start((1 + 2 * fat) * SECTOR))?;
    partition.write_all(b"EFI        \x08")?;
    Ok(())
}

fn write_volume(partition: &mut dyn BlockDevice, size: u64, seed: u64) -> anyhow::Result<()> {
    let mut options = FormatOpts::default();
    options.volume_name = "Macintosh HD".to_owned();
    options.journaled = true;
    options.create_date = HFS_DATE;
    options.catalog_nodes = (size >> 20).clamp(16, 8192) as u32;
    let mut volume = HfsPlus::format(partition, &options)?;
    let mut random = Random(seed ^ size);
    let (mut written, mut number, mut folder) = (0, 0_u64, String::new());
    // A large file now and then, mostly small ones, as on a system volume.
    let largest = size / 32;
    while written < size / 3 * 2 {
        if number.is_multiple_of(50) {
            folder = format!("/Folder {:03}", number / 50);
            volume.create_dir(partition, &folder, 0o755, 0, 0, DATE)?;
        }
        let limit = match random.below(10) {
            0 => largest,
            1..=3 => largest.min(1 << 20),
            _ => 64 << 10,
        };
        let length = random.below(limit);
        let mut content = Content::new(random.next());
        let name = format!("{folder}/file {number:05}.dat");
        volume.create_file(partition, &name, &mut content, length, 0o644, 0, 0, DATE)?;
        written += length.next_multiple_of(4096);
        number += 1;
    }
    volume.flush(partition)?;
    Ok(())
}

#[allow(dead_code, reason = "tests take this file in as a module")]
fn main() -> anyhow::Result<ExitCode> {
    let words = words::words(2, 1, "mkvolume BYTES OUT [SEED]")?;
    let (size, seed) = (words::number(&words, 0, 0)?, words::number(&words, 2, 1)?);
    let out = &words[1];
    write(Path::new(out), size, seed).with_context(|| format!("writing {out}"))?;
    Ok(ExitCode::SUCCESS)
}
