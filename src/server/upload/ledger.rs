//! How much of an upload is safe: one number on disk that survives a power cut at any point.
//!
//! The file has two slots of 48 bytes, written in turn; each is valid by itself, and the newer valid one holds. So a slot
//! that was half written leaves the number before it, which is the last one that anybody was told.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | how often the number was written, little-endian |
//! | 8 | 8 | bytes that are safe, little-endian |
//! | 16 | 32 | BLAKE3 of the 16 bytes before |
//!
//! Must not know: where the bytes are.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const SLOT: usize = 48;
/// Each slot has a sector of its own.
const APART: u64 = 4096;

/// The number of one upload.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    turn: u64,
    safe: u64,
}

impl Ledger {
    /// Makes the file; the number is 0.
    pub fn create(path: &Path) -> io::Result<Ledger> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        // Written, not only as long: what arrived can be acknowledged also when the disk is full by then.
        file.write_all_at(&[0; 2 * APART as usize], 0)?;
        file.sync_all()?;
        Ok(Ledger { file, turn: 0, safe: 0 })
    }

    /// Opens it; a file without a valid slot says 0.
    pub fn open(path: &Path) -> io::Result<Ledger> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let (mut turn, mut safe) = (0, 0);
        for slot in 0..2 {
            let mut bytes = [0; SLOT];
            match file.read_exact_at(&mut bytes, slot * APART) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(error),
            }
            if let Some((written, number)) = read(&bytes).filter(|(written, _)| *written > turn) {
                (turn, safe) = (written, number);
            }
        }
        Ok(Ledger { file, turn, safe })
    }

    /// Bytes that are safe.
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// Says that the first `safe` bytes are on the disk. When this returns, that outlives a power cut.
    pub fn commit(&mut self, safe: u64) -> io::Result<()> {
        let turn = self.turn + 1;
        self.file.write_all_at(&slot(turn, safe), turn % 2 * APART)?;
        self.file.sync_data()?;
        (self.turn, self.safe) = (turn, safe);
        Ok(())
    }
}

fn slot(turn: u64, safe: u64) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(&turn.to_le_bytes());
    bytes[8..16].copy_from_slice(&safe.to_le_bytes());
    let digest = blake3::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(digest.as_bytes());
    bytes
}

fn read(bytes: &[u8; SLOT]) -> Option<(u64, u64)> {
    let (numbers, digest) = bytes.split_at(16);
    if blake3::hash(numbers).as_bytes().as_slice() != digest {
        return None;
    }
    let (turn, safe) = numbers.split_at(8);
    Some((u64::from_le_bytes(turn.try_into().ok()?), u64::from_le_bytes(safe.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_byte_of_the_last_write_is_torn_the_number_is_the_new_one_or_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offset");
        let mut ledger = Ledger::create(&path).unwrap();
        for safe in [5, 6 << 32, 9 << 32] {
            let before = (std::fs::read(&path).unwrap(), ledger.safe());
            ledger.commit(safe).unwrap();
            let after = std::fs::read(&path).unwrap();
            for place in (0..after.len()).filter(|place| before.0[*place] != after[*place]) {
                let mut torn = after.clone();
                torn[place] ^= 0x5a;
                std::fs::write(&path, &torn).unwrap();
                assert_eq!(Ledger::open(&path).unwrap().safe(), before.1, "byte {place}");
            }
            std::fs::write(&path, &after).unwrap();
            assert_eq!(Ledger::open(&path).unwrap().safe(), safe);
        }
    }

    #[test]
    fn a_file_that_is_cut_off_or_empty_says_nothing_is_safe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offset");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Ledger::open(&path).unwrap().safe(), 0);
        std::fs::write(&path, [0; 100]).unwrap();
        assert_eq!(Ledger::open(&path).unwrap().safe(), 0);
    }
}
