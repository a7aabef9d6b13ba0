//! Pack files: many frames in one file that any HTTP cache or object store can keep.
//!
//! Owns: the format below, writing it, reading its table. Must not know: which chunks are wanted, other packs.
//!
//! All numbers little-endian.
//!
//! | field | size |
//! |---|---|
//! | `RSPACK01` | 8 |
//! | records: digest 32, raw length `u32`, frame length `u32`, zstd frame | 40 + frame each |
//! | table: digest 32, offset of the frame `u64`, frame length `u32`, raw length `u32` | 48 each |
//! | BLAKE3 of the table 32, entries `u32`, zero `u32`, offset of the table `u64`, `RSPKEND1` | 56 |

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::image::chunk::{CHUNK, MAX_FRAME};
use crate::store::{StoreError, files};
use crate::value::Digest;

const MAGIC: &[u8; 8] = b"RSPACK01";
const END: &[u8; 8] = b"RSPKEND1";
const RECORD: u64 = 40;
const ENTRY: u64 = 48;
const TRAILER: u64 = 56;
/// A pack is closed when it has grown to this: few files, and yet little to move when garbage is collected.
pub(super) const PACK_SIZE: u64 = 128 << 20;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub digest: Digest,
    pub offset: u64,
    pub length: u32,
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
    record: Vec<u8>,
}

/// A pack that was closed: flushed, in its place, never changed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClosedPack {
    pub digest: Digest,
    pub length: u64,
    pub entries: Vec<Entry>,
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
            record: MAGIC.to_vec(),
        };
        writer.write_record()?;
        Ok(writer)
    }

    /// Appends a frame.
    pub fn append(&mut self, digest: Digest, raw: u32, frame: &[u8]) -> Result<(), StoreError> {
        let length = frame.len() as u32;
        self.entries.push(Entry { digest, offset: self.length + RECORD, length, raw });
        self.record.extend_from_slice(digest.as_bytes());
        self.record.extend_from_slice(&raw.to_le_bytes());
        self.record.extend_from_slice(&length.to_le_bytes());
        self.record.extend_from_slice(frame);
        self.write_record()
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Writes the table, flushes, and moves the file into the folder `packs`.
    pub fn close(mut self, packs: &Path) -> Result<ClosedPack, StoreError> {
        let table_offset = self.length;
        for entry in &self.entries {
            self.record.extend_from_slice(entry.digest.as_bytes());
            self.record.extend_from_slice(&entry.offset.to_le_bytes());
            self.record.extend_from_slice(&entry.length.to_le_bytes());
            self.record.extend_from_slice(&entry.raw.to_le_bytes());
        }
        let table = Digest::of(&self.record);
        self.record.extend_from_slice(table.as_bytes());
        self.record.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        self.record.extend_from_slice(&[0; 4]);
        self.record.extend_from_slice(&table_offset.to_le_bytes());
        self.record.extend_from_slice(END);
        self.write_record()?;
        self.file.sync_all().map_err(StoreError::at("flushing", &self.path))?;
        let digest = Digest::from(self.hasher.finalize());
        files::publish(&self.path, &packs.join(format!("{digest}.pack")))?;
        Ok(ClosedPack { digest, length: self.length, entries: std::mem::take(&mut self.entries) })
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
    let count = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    let table_offset = word(&rest[8..16]);
    let table_length = u64::from(count) * ENTRY;
    if &rest[16..] != END || table_offset.checked_add(table_length) != Some(end) {
        return Err(BadPack::Trailer);
    }
    let mut table = vec![0; table_length as usize];
    file.read_exact_at(&mut table, table_offset)?;
    if Digest::of(&table).as_bytes() != table_digest {
        return Err(BadPack::Table);
    }
    let entries: Vec<Entry> = table.as_chunks::<{ ENTRY as usize }>().0.iter().map(entry).collect();
    let possible = |entry: &Entry| {
        (1..=MAX_FRAME).contains(&entry.length)
            && (1..=CHUNK as u32).contains(&entry.raw)
            && entry.offset.checked_add(entry.length.into()).is_some_and(|end| end <= table_offset)
    };
    if !entries.iter().all(possible) {
        return Err(BadPack::Table);
    }
    Ok(ClosedPack { digest, length, entries })
}

fn entry(bytes: &[u8; ENTRY as usize]) -> Entry {
    let mut digest = [0; 32];
    digest.copy_from_slice(&bytes[..32]);
    let lengths = word(&bytes[40..48]);
    Entry {
        digest: Digest::from_bytes(digest),
        offset: word(&bytes[32..40]),
        length: lengths as u32,
        raw: (lengths >> 32) as u32,
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(folder: &Path) -> ClosedPack {
        let mut writer = PackWriter::create(folder.join("incoming")).unwrap();
        writer.append(Digest::of(b"a"), 1, b"frame of a").unwrap();
        writer.append(Digest::of(b"b"), CHUNK as u32, &[7; 5000]).unwrap();
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
        let table = bytes.len() - (TRAILER + 2 * ENTRY) as usize;
        for place in
            (table..bytes.len()).filter(|place| !(bytes.len() - 20..bytes.len() - 16).contains(place))
        {
            let mut bad = bytes.clone();
            bad[place] ^= 4;
            fs::write(&path, &bad).unwrap();
            assert!(read_table(&path, closed.digest).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_pack_that_is_not_closed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::create(folder.path().join("x")).unwrap();
        writer.append(Digest::of(b"a"), 1, b"frame").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
