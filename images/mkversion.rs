//! Writes version K of an HFS+ volume that lives: input for measuring what a library of versions costs.
//!
//! Owns: which files a volume has and what becomes of them from one version to the next, so that the same arguments give
//! the same bytes. Knows nothing of the readers in `src/image`, nor of how the library cuts.
//!
//! The volume is half full, or FULL percent. Sizes of files are log-normal (median 10 KiB, a few of hundreds of MiB); of sixteen, six are text,
//! seven like machine code and tables, three packed already (photos, archives): zstd -3 makes less than half of it. One
//! file in 16 has the content of another. Free blocks are zeros (never written), also where something lay before.
//!
//! From version to version PERCENT of the files change, each with the same chance, but none that is larger than that
//! part of all content:
//!
//! | of those | what happens | as is done by |
//! |---|---|---|
//! | 6 of 16 | 1-8 places of 4-64 KiB are overwritten where they lie | databases, logs, caches |
//! | 3 of 16 | written anew elsewhere, half of its places changed | an application's update |
//! | 2 of 16 | written anew elsewhere, nothing stays | an application's update |
//! | 3 of 16 | grows by up to half, and moves | documents, saved anew |
//! | 2 of 16 | its content goes, an empty file stays | logs that are turned over, caches |
//!
//! and as many files are added as were emptied, half as much again, in folders of their own.
//!
//! `cargo run --release --example mkversion -- 1073741824 3 volume-3.img [SEED [PERCENT [FULL]]]`

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use fstool::block::{BlockDevice, FileBackend};
use fstool::fs::hfs_plus::HfsPlus;
use fstool::fs::hfs_plus::writer::{FormatOpts, format_reserved_head_blocks};

#[path = "words.rs"]
mod words;

use words::{Random, number, words};

const BLOCK: u64 = 4096;
/// Content is made and written in pieces of this.
const PIECE: usize = 256 << 10;
/// 2020-01-01 in the seconds of Unix and of HFS+ (since 1904); versions are a week apart.
const DATE: u32 = 1_577_836_800;
const HFS_DATE: u32 = DATE + 2_082_844_800;
const WEEK: u32 = 7 * 86_400;

impl Random {
    /// Bytes of a file: 2 to the power of a normal deviate, in whole numbers so that no library of mathematics counts.
    fn size(&mut self, largest: u64) -> u64 {
        // Twelve uniform ones of 16 bits: their sum less the mean has a standard deviation of 1 << 16.
        let sum: i64 = (0..12).map(|_| (self.next() & 0xffff) as i64).sum::<i64>() - 6 * 0xffff;
        let power = ((13 << 16) + (5 << 14) + sum * 13 / 4).clamp(5 << 16, 29 << 16) as u64;
        let (whole, part) = (power >> 16, power & 0xffff);
        (((1 << 16) + part) << whole >> 16).min(largest)
    }
}

/// What is the same in all content: words, instructions. From a fixed seed.
struct Tables {
    words: Vec<Vec<u8>>,
    codes: Vec<[u8; 4]>,
}

impl Tables {
    fn new() -> Tables {
        let mut random = Random(42);
        let words = (0..4096).map(|_| {
            let length = 2 + random.below(4) + random.below(6);
            let mut word: Vec<u8> =
                (0..length).map(|_| b"etaoinsrhldcumfpgwybvk"[random.below(22) as usize]).collect();
            word.push(if random.below(9) == 0 { b'\n' } else { b' ' });
            word
        });
        let words = words.collect();
        let codes = (0..512).map(|_| (random.next() as u32).to_le_bytes()).collect();
        Tables { words, codes }
    }
}

/// The content of a file as an endless stream; a file of any length is its beginning.
struct Content {
    random: Random,
    kind: u64,
}

impl Content {
    fn new(seed: u64) -> Content {
        let mut random = Random(seed);
        let kind = random.below(16);
        Content { random, kind }
    }

    /// Fills the next `PIECE` of the stream.
    fn fill(&mut self, tables: &Tables, piece: &mut Vec<u8>) {
        piece.clear();
        while piece.len() < PIECE {
            let chance = self.random.next();
            match self.kind {
                0..=5 => self.text(chance, tables, piece),
                6..=12 => self.code(chance, tables, piece),
                _ => piece.extend(chance.to_le_bytes()),
            }
        }
        piece.truncate(PIECE);
    }

    /// Words, the first ones more often; now and then a passage that was there before.
    fn text(&mut self, chance: u64, tables: &Tables, piece: &mut Vec<u8>) {
        if chance & 63 == 0 && piece.len() > 4096 {
            return self.again(piece, 300, 1);
        }
        let number = (((chance >> 8) & 4095) * ((chance >> 20) & 4095)) >> 12;
        piece.extend(&tables.words[number as usize]);
    }

    /// Instructions with operands, tables, holes.
    fn code(&mut self, chance: u64, tables: &Tables, piece: &mut Vec<u8>) {
        match chance & 63 {
            0 => piece.resize(piece.len() + 16 + (chance >> 8 & 127) as usize, 0),
            1..=2 if piece.len() > 4096 => self.again(piece, 200, 4),
            _ => {
                let number = (((chance >> 8) & 511) * ((chance >> 17) & 511)) >> 9;
                piece.extend(tables.codes[number as usize]);
                let operand =
                    (chance >> 32) as u32 & [0xff, 0xfff, 0xffff, 0xffff_ffff][(chance >> 26 & 3) as usize];
                piece.extend(&operand.to_le_bytes()[..3]);
                piece.push((chance >> 28 & 1) as u8);
            }
        }
    }

    fn again(&mut self, piece: &mut Vec<u8>, longest: u64, align: usize) {
        let length = 24 + self.random.below(longest) as usize / align * align;
        let from = self.random.below((piece.len() - length) as u64) as usize / align * align;
        piece.extend_from_within(from..from + length);
    }
}

/// A part of a file that was overwritten or appended.
#[derive(Clone, Debug)]
struct Patch {
    offset: u64,
    length: u64,
    seed: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    folder: u32,
    length: u64,
    /// The content is the beginning of this stream, and on it, in order, the patches.
    seed: u64,
    patches: Vec<Patch>,
    start: u32,
    version: u32,
}

impl Entry {
    fn blocks(&self) -> u32 {
        self.length.div_ceil(BLOCK) as u32
    }
}

/// Free blocks: start and count, none beside another.
#[derive(Debug)]
struct Free {
    runs: BTreeMap<u32, u32>,
    next: u32,
}

impl Free {
    /// The first room behind what was taken last, else from the beginning: as HFS+ does it.
    fn take(&mut self, count: u32) -> anyhow::Result<u32> {
        if count == 0 {
            return Ok(0);
        }
        let fits = |(start, length): (&u32, &u32)| (*length >= count).then_some((*start, *length));
        let found = self.runs.range(self.next..).find_map(fits).or_else(|| self.runs.iter().find_map(fits));
        let (start, length) = found.context("the volume is too full for its next version")?;
        self.runs.remove(&start);
        if length > count {
            self.runs.insert(start + count, length - count);
        }
        self.next = start + count;
        Ok(start)
    }

    fn give(&mut self, mut start: u32, mut count: u32) {
        if count == 0 {
            return;
        }
        if let Some(behind) = self.runs.remove(&(start + count)) {
            count += behind;
        }
        if let Some((&before, &length)) = self.runs.range(..start).next_back()
            && before + length == start
        {
            (start, count) = (before, count + length);
        }
        self.runs.insert(start, count);
    }
}

/// All files of one version, by their number.
struct Volume {
    files: Vec<Entry>,
    folders: u32,
    free: Free,
    random: Random,
    largest: u64,
}

impl Volume {
    fn first(size: u64, full: u64, options: &FormatOpts, seed: u64) -> anyhow::Result<Volume> {
        let blocks = (size / BLOCK) as u32;
        let head = format_reserved_head_blocks(options, blocks)?;
        let free = Free { runs: BTreeMap::from([(head, blocks - 1 - head)]), next: 0 };
        let mut volume =
            Volume { files: Vec::new(), folders: 0, free, random: Random(seed), largest: size / 64 };
        // A tenth too many, a tenth of which goes: the free room of a volume is not all at its end.
        let mut used = u64::from(head) * BLOCK;
        let wanted = size / 100 * full;
        while used < wanted / 10 * 11 {
            used += volume.add(0)?;
        }
        let (mut gone, number) = (used - wanted, volume.files.len());
        while gone > 0 {
            let file = volume.random.below(number as u64) as usize;
            gone = gone.saturating_sub(u64::from(volume.files[file].blocks()) * BLOCK);
            volume.empty(file);
        }
        Ok(volume)
    }

    /// Adds a file. Gives its bytes on the disk.
    fn add(&mut self, version: u32) -> anyhow::Result<u64> {
        let (length, mut seed) = (self.random.size(self.largest), self.random.next());
        let mut entry = Entry { folder: self.folders, length, seed, patches: Vec::new(), start: 0, version };
        if self.random.below(16) == 0 && !self.files.is_empty() {
            let twin = &self.files[self.random.below(self.files.len() as u64) as usize];
            (entry.length, entry.patches) = (twin.length, twin.patches.clone());
            seed = twin.seed;
        }
        entry.seed = seed;
        entry.start = self.free.take(entry.blocks())?;
        let bytes = u64::from(entry.blocks()) * BLOCK;
        self.files.push(entry);
        if self.random.below(40) == 0 {
            self.folders += 1;
        }
        Ok(bytes)
    }

    fn empty(&mut self, number: usize) {
        let file = &mut self.files[number];
        self.free.give(file.start, file.blocks());
        (file.length, file.start) = (0, 0);
        file.patches.clear();
    }

    /// Gives the file new room for `length` bytes.
    fn move_to(&mut self, number: usize, length: u64) -> anyhow::Result<()> {
        let start = self.free.take(length.div_ceil(BLOCK) as u32)?;
        let file = &mut self.files[number];
        self.free.give(file.start, file.blocks());
        (file.start, file.length) = (start, length);
        Ok(())
    }

    fn overwrite(&mut self, number: usize, places: u64, longest: u64) {
        let length = self.files[number].length;
        for _ in 0..places {
            let offset = self.random.below(length) / BLOCK * BLOCK;
            let reach = (BLOCK + self.random.below(longest)).min(length - offset);
            let patch = Patch { offset, length: reach, seed: self.random.next() };
            self.files[number].patches.push(patch);
        }
    }

    fn next(&mut self, version: u32, percent: f64) -> anyhow::Result<()> {
        self.folders += 1;
        let count = self.files.len();
        let wanted = (count as f64 * percent / 100.0).round() as usize;
        let content: u64 = self.files.iter().map(|file| file.length).sum();
        let limit = (content as f64 * percent / 100.0) as u64;
        let (mut changed, mut added) = (0, 0);
        while changed < wanted {
            let number = self.random.below(count as u64) as usize;
            let Entry { length, version: last, .. } = self.files[number];
            if length == 0 || length > limit || last == version {
                continue;
            }
            self.files[number].version = version;
            changed += 1;
            match self.random.below(16) {
                0..=5 => {
                    let places = 1 + self.random.below(8);
                    self.overwrite(number, places, 60 << 10);
                }
                6..=8 => {
                    self.move_to(number, length)?;
                    // Pieces of 32 KiB on average: about half of the file is another one.
                    self.overwrite(number, (length / (48 << 10)).max(1), 56 << 10);
                }
                9..=10 => {
                    self.move_to(number, length)?;
                    self.files[number].seed = self.random.next();
                    self.files[number].patches.clear();
                }
                11..=13 => {
                    let more = 1 + self.random.below(length / 2);
                    self.move_to(number, length + more)?;
                    let patch = Patch { offset: length, length: more, seed: self.random.next() };
                    self.files[number].patches.push(patch);
                }
                _ => {
                    self.empty(number);
                    added += 1;
                }
            }
        }
        for _ in 0..added + added / 2 {
            self.add(version)?;
        }
        Ok(())
    }
}

fn write_content(file: &File, entry: &Entry, tables: &Tables, piece: &mut Vec<u8>) -> io::Result<()> {
    let whole = Patch { offset: 0, length: entry.length, seed: entry.seed };
    for Patch { offset, length, seed } in std::iter::once(&whole).chain(&entry.patches) {
        let (mut content, mut done) = (Content::new(*seed), 0);
        while done < *length {
            content.fill(tables, piece);
            let step = (length - done).min(PIECE as u64);
            file.write_all_at(&piece[..step as usize], u64::from(entry.start) * BLOCK + offset + done)?;
            done += step;
        }
    }
    Ok(())
}

/// Writes version `version` (the first is 0) of the volume of `size` bytes, at least 64 MiB, to `out`.
pub fn write(out: &Path, size: u64, full: u64, version: u32, seed: u64, percent: f64) -> anyhow::Result<()> {
    ensure!(
        size >= 64 << 20 && size.is_multiple_of(BLOCK) && size <= 1 << 40,
        "the size must be 64 MiB to 1 TiB, in whole blocks of 4096 bytes"
    );
    ensure!((5..=80).contains(&full), "a volume can be 5 to 80 % full");
    ensure!((0.0..=20.0).contains(&percent), "at most 20 % of the files can change from version to version");
    let mut options = FormatOpts::default();
    options.volume_name = "Macintosh HD".to_owned();
    options.journaled = true;
    options.create_date = HFS_DATE;
    options.catalog_nodes = (size >> 21).max(128) as u32;
    let mut volume = Volume::first(size, full, &options, seed)?;
    for number in 1..=version {
        // Each step has chances of its own, so that another PERCENT for one leaves those before as they are.
        volume.random = Random(seed ^ u64::from(number) << 32);
        volume.next(number, percent)?;
    }
    let mut disk = FileBackend::create(out, size)?;
    let mut system = HfsPlus::format(&mut disk, &options)?;
    let mut made = None;
    for (number, entry) in volume.files.iter().enumerate() {
        let folder = format!("/Folder {:05}", entry.folder);
        let date = DATE + entry.version * WEEK;
        if made != Some(entry.folder) {
            system.create_dir(&mut disk, &folder, 0o755, 0, 0, date)?;
            made = Some(entry.folder);
        }
        let name = format!("{folder}/file {number:06}.dat");
        let (start, blocks) = (entry.start, entry.blocks());
        system.create_file_placed(&name, start, blocks, entry.length, 0o644, 0, 0, date)?;
    }
    system.flush(&mut disk)?;
    disk.sync()?;
    drop(disk);
    let file = File::options().write(true).open(out)?;
    let (tables, next) = (Tables::new(), AtomicUsize::new(0));
    let work = || {
        let mut piece = Vec::with_capacity(2 * PIECE);
        while let Some(entry) = volume.files.get(next.fetch_add(1, Ordering::Relaxed)) {
            write_content(&file, entry, &tables, &mut piece)?;
        }
        io::Result::Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others
            .into_iter()
            .try_for_each(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))?;
        mine
    })?;
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    let words = words(3, 3, "mkversion BYTES VERSION OUT [SEED [PERCENT [FULL]]]")?;
    let (size, version) = (number(&words, 0, 0)?, number(&words, 1, 0)?);
    let (seed, percent, full) = (number(&words, 3, 1)?, number(&words, 4, 5.0)?, number(&words, 5, 50)?);
    let out = &words[2];
    write(Path::new(out), size, full, version, seed, percent).with_context(|| format!("writing {out}"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use fstool::fs::hfs_plus::verify::verify;
    use fstool::fs::verify::VerifyOpts;

    const SIZE: u64 = 64 << 20;

    fn bytes(version: u32) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("volume");
        write(&out, SIZE, 50, version, 7, 5.0).unwrap();
        let report = verify(&mut FileBackend::open(&out).unwrap(), &VerifyOpts::default()).unwrap();
        assert!(report.is_clean() && report.is_complete(), "{report:?}");
        std::fs::read(out).unwrap()
    }

    #[test]
    fn the_same_arguments_give_the_same_bytes_and_the_next_version_shares_most_of_them() {
        let first = bytes(0);
        assert!(first == bytes(0));
        let used = first.chunks(4096).filter(|block| block.iter().any(|byte| *byte != 0)).count();
        assert!(
            (SIZE as usize / 4096 * 4 / 10..SIZE as usize / 4096 * 6 / 10).contains(&used),
            "{used} blocks"
        );
        let second = bytes(1);
        let other = first.chunks(4096).zip(second.chunks(4096)).filter(|(one, two)| one != two).count();
        assert!((used / 100..used / 6).contains(&other), "{other} of {used} blocks");
    }
}
