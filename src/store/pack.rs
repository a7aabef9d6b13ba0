//! Pack files: many frames in one file that any HTTP cache or object store can keep.
//!
//! Owns: the format below, writing it, reading its table. Must not know: which chunks are wanted, other packs.
//!
//! All numbers little-endian.
//!
//! | field | size |
//! |---|---|
//! | `RSPACK02` | 8 |
//! | records: frame length `u32`, raw length `u32`, digests of the chunks 32 each, zstd frame | 8 + 32 a chunk + frame |
//! | table, a frame: offset of the frame `u64`, frame length `u32`, raw length `u32`, digests of the chunks 32 each | 16 + 32 a chunk |
//! | BLAKE3 of the table 32, frames `u32`, chunk size `u32`, offset of the table `u64`, `RSPKEND2` | 56 |
//!
//! The raw length says how many chunks a frame has: all but its last have the chunk size.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::image::chunk::{CHUNK, FRAME, MAX_FRAME, Packed, chunk_count};
use crate::store::{StoreError, files};
use crate::value::Digest;

pub(super) const MAGIC: &[u8; 8] = b"RSPACK02";
const END: &[u8; 8] = b"RSPKEND2";
/// How packs of the first version end: one chunk of 1 MiB a frame.
const OLD_END: &[u8; 8] = b"RSPKEND1";
const TRAILER: u64 = 56;
/// A pack is closed when it has grown to this: few files, and yet little to move when garbage is collected.
pub(super) const PACK_SIZE: u64 = 128 << 20;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// First byte of the frame.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
    /// Bytes of its chunks.
    pub raw: u32,
}

/// A pack being written.
#[derive(Debug)]
pub(super) struct PackWriter {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    length: u64,
    entries: Vec<Entry>,
    chunks: Vec<Digest>,
    record: Vec<u8>,
}

/// A pack that was closed: flushed, in its place, never changed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClosedPack {
    pub digest: Digest,
    pub length: u64,
    /// Its frames.
    pub entries: Vec<Entry>,
    /// The chunks of all frames, one frame after the other.
    pub chunks: Vec<Digest>,
}

impl PackWriter {
    /// Starts a pack in the file `path`.
    pub fn create(path: PathBuf) -> Result<PackWriter, StoreError> {
        let file = File::create_new(&path).map_err(StoreError::at("making", &path))?;
        let mut writer = PackWriter {
            path,
            file,
            hasher: blake3::Hasher::new(),
            length: 0,
            entries: Vec::new(),
            chunks: Vec::new(),
            record: MAGIC.to_vec(),
        };
        writer.write_record()?;
        Ok(writer)
    }

    /// Appends a frame.
    pub fn append(&mut self, packed: &Packed) -> Result<(), StoreError> {
        let length = packed.frame.len() as u32;
        self.record.extend_from_slice(&length.to_le_bytes());
        self.record.extend_from_slice(&packed.raw.to_le_bytes());
        packed.chunks.iter().for_each(|chunk| self.record.extend_from_slice(chunk.as_bytes()));
        let offset = self.length + self.record.len() as u64;
        self.record.extend_from_slice(&packed.frame);
        self.entries.push(Entry { offset, length, raw: packed.raw });
        self.chunks.extend_from_slice(&packed.chunks);
        self.write_record()
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Writes the table, flushes, and moves the file into the folder `packs`.
    pub fn close(mut self, packs: &Path) -> Result<ClosedPack, StoreError> {
        let table_offset = self.length;
        let mut chunks = self.chunks.iter();
        for entry in &self.entries {
            self.record.extend_from_slice(&entry.offset.to_le_bytes());
            self.record.extend_from_slice(&entry.length.to_le_bytes());
            self.record.extend_from_slice(&entry.raw.to_le_bytes());
            for chunk in chunks.by_ref().take(chunk_count(entry.raw) as usize) {
                self.record.extend_from_slice(chunk.as_bytes());
            }
        }
        let table = Digest::of(&self.record);
        self.record.extend_from_slice(table.as_bytes());
        self.record.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        self.record.extend_from_slice(&(CHUNK as u32).to_le_bytes());
        self.record.extend_from_slice(&table_offset.to_le_bytes());
        self.record.extend_from_slice(END);
        self.write_record()?;
        self.file.sync_all().map_err(StoreError::at("flushing", &self.path))?;
        let digest = Digest::from(self.hasher.finalize());
        files::publish(&self.path, &packs.join(format!("{digest}.pack")))?;
        let (entries, chunks) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.chunks));
        Ok(ClosedPack { digest, length: self.length, entries, chunks })
    }

    fn write_record(&mut self) -> Result<(), StoreError> {
        self.file.write_all(&self.record).map_err(StoreError::at("writing", &self.path))?;
        self.hasher.update(&self.record);
        self.length += self.record.len() as u64;
        self.record.clear();
        Ok(())
    }
}

impl Drop for PackWriter {
    /// Takes an unfinished pack back; after `close` there is no such file any more. What cannot be removed now is
    /// removed at the next start.
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// Why a file is no pack.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPack {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it was written by an older version of Rootstock")]
    Older,
    #[error("its end is missing or damaged")]
    Trailer,
    #[error("its table is damaged")]
    Table,
}

/// Reads the table of the pack at `path`. Memory is bounded by the length of the file.
pub(super) fn read_table(path: &Path, digest: Digest) -> Result<ClosedPack, BadPack> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let end = length.checked_sub(TRAILER).ok_or(BadPack::Trailer)?;
    let mut trailer = [0; TRAILER as usize];
    file.read_exact_at(&mut trailer, end)?;
    let (table_digest, rest) = trailer.split_at(32);
    let (count, table_offset) = (word(&rest[..4]), word(&rest[8..16]));
    let table_length = end.checked_sub(table_offset);
    match (&rest[16..], table_length) {
        (end, _) if end == OLD_END => return Err(BadPack::Older),
        (end, Some(_)) if end == END && word(&rest[4..8]) == CHUNK => {}
        _ => return Err(BadPack::Trailer),
    }
    let mut table = vec![0; table_length.unwrap_or(0) as usize];
    file.read_exact_at(&mut table, table_offset)?;
    if Digest::of(&table).as_bytes() != table_digest {
        return Err(BadPack::Table);
    }
    let (mut entries, mut chunks, mut rest) = (Vec::new(), Vec::new(), &table[..]);
    while let Some((line, more)) = rest.split_first_chunk::<16>() {
        let entry = entry(line);
        let possible = (1..=MAX_FRAME).contains(&entry.length)
            && (1..=FRAME).contains(&entry.raw)
            && entry.offset.checked_add(entry.length.into()).is_some_and(|end| end <= table_offset);
        let names = more.split_at_checked(32 * chunk_count(entry.raw) as usize).filter(|_| possible);
        let (names, more) = names.ok_or(BadPack::Table)?;
        chunks.extend(names.as_chunks::<32>().0.iter().map(|name| Digest::from_bytes(*name)));
        entries.push(entry);
        rest = more;
    }
    if !rest.is_empty() || entries.len() as u64 != count {
        return Err(BadPack::Table);
    }
    Ok(ClosedPack { digest, length, entries, chunks })
}

fn entry(line: &[u8; 16]) -> Entry {
    Entry { offset: word(&line[..8]), length: word(&line[8..12]) as u32, raw: word(&line[12..]) as u32 }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of 10 and of 5000 bytes with one and with three chunks.
    fn pack(folder: &Path) -> ClosedPack {
        let mut writer = PackWriter::create(folder.join("incoming")).unwrap();
        let packed = |chunks: &[&[u8]], raw, frame: &[u8]| Packed {
            chunks: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
            raw,
            frame: frame.to_vec(),
        };
        writer.append(&packed(&[b"a"], 1, b"frame of a")).unwrap();
        writer.append(&packed(&[b"b", b"c", b"d"], 2 * CHUNK as u32 + 1, &[7; 5000])).unwrap();
        writer.close(folder).unwrap()
    }

    #[test]
    fn a_closed_pack_is_named_by_its_bytes_and_its_table_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let closed = pack(folder.path());
        let path = folder.path().join(format!("{}.pack", closed.digest));
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Digest::of(&bytes), closed.digest);
        assert_eq!(&bytes[closed.entries[0].offset as usize..][..10], b"frame of a");
        assert_eq!(&bytes[closed.entries[1].offset as usize..][..5000], [7; 5000]);
        assert_eq!(closed.chunks.len(), 4);
        assert_eq!(read_table(&path, closed.digest).unwrap(), closed);
        assert!(!folder.path().join("incoming").exists());
    }

    #[test]
    fn every_cut_and_every_flip_in_the_table_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let closed = pack(folder.path());
        let bytes = fs::read(folder.path().join(format!("{}.pack", closed.digest))).unwrap();
        let path = folder.path().join("bad");
        for cut in (0..bytes.len()).step_by(97) {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert!(read_table(&path, closed.digest).is_err(), "cut at {cut}");
        }
        let table = bytes.len() - TRAILER as usize - (2 * 16 + 4 * 32);
        for place in table..bytes.len() {
            let mut bad = bytes.clone();
            bad[place] ^= 4;
            fs::write(&path, &bad).unwrap();
            assert!(read_table(&path, closed.digest).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_pack_of_the_first_version_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old");
        fs::write(&path, [b"RSPACK01".as_slice(), &[0; 90], OLD_END].concat()).unwrap();
        assert!(matches!(read_table(&path, Digest::of(b"")), Err(BadPack::Older)));
    }

    #[test]
    fn a_pack_that_is_not_closed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::create(folder.path().join("x")).unwrap();
        let packed = Packed { chunks: vec![Digest::of(b"a")], raw: 1, frame: b"frame".to_vec() };
        writer.append(&packed).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
