//! A disk in memory that holds only what was written to it.
//!
//! Owns: blocks by number, reading and writing across them. Must not know: what is written.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use fstool::block::BlockDevice;

/// Bytes of a block. What is written to a medium is whole blocks, so that `O_DIRECT` reads them back without a copy.
pub const BLOCK: usize = 1 << 16;

/// A disk of a given size, of which only written blocks take memory; the rest reads as zeros.
#[derive(Clone, Debug)]
pub struct Pieces {
    blocks: BTreeMap<u64, Box<[u8]>>,
    size: u64,
    at: u64,
}

impl Pieces {
    /// An empty disk of `size` bytes.
    pub fn new(size: u64) -> Pieces {
        Pieces { blocks: BTreeMap::new(), size, at: 0 }
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Written blocks with their place on the disk, in its order. The last one may end at the disk's end.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.iter().map(|(number, block)| {
            let start = number * BLOCK as u64;
            let length = (self.size - start).min(BLOCK as u64) as usize;
            (start, &block[..length])
        })
    }

    /// Takes the written blocks of `other` over, at `offset`: whole blocks, so that none is shared.
    ///
    /// # Errors
    /// `offset` is in the middle of a block, or `other` reaches over the end.
    pub fn place(&mut self, offset: u64, other: Pieces) -> io::Result<()> {
        if !offset.is_multiple_of(BLOCK as u64) || offset + other.size > self.size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let first = offset / BLOCK as u64;
        self.blocks.extend(other.blocks.into_iter().map(|(number, block)| (first + number, block)));
        Ok(())
    }

    /// Number of the block at the current place, the place in it, and how much of `length` lies in it.
    fn here(&self, length: usize) -> (u64, usize, usize) {
        let within = (self.at % BLOCK as u64) as usize;
        let left = self.size.saturating_sub(self.at).min((BLOCK - within) as u64) as usize;
        (self.at / BLOCK as u64, within, length.min(left))
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (number, within, length) = self.here(into.len());
        match self.blocks.get(&number) {
            Some(block) => into[..length].copy_from_slice(&block[within..][..length]),
            None => into[..length].fill(0),
        }
        self.at += length as u64;
        Ok(length)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (number, within, length) = self.here(bytes.len());
        if length == 0 {
            return Ok(0);
        }
        let block = self.blocks.entry(number).or_insert_with(|| vec![0; BLOCK].into_boxed_slice());
        block[within..][..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Pieces {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl BlockDevice for Pieces {
    fn block_size(&self) -> u32 {
        512
    }

    fn total_size(&self) -> u64 {
        self.size
    }

    fn sync(&mut self) -> fstool::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_across_blocks_reads_back_and_the_rest_is_zero() {
        let mut disk = Pieces::new(4 * BLOCK as u64);
        let text = vec![7; BLOCK + 10];
        disk.seek(SeekFrom::Start(BLOCK as u64 - 5)).unwrap();
        disk.write_all(&text).unwrap();
        assert_eq!(disk.blocks().map(|(at, _)| at).collect::<Vec<_>>(), [0, 65_536, 131_072]);
        let mut back = vec![1; BLOCK + 20];
        disk.seek(SeekFrom::Start(BLOCK as u64 - 10)).unwrap();
        disk.read_exact(&mut back).unwrap();
        assert_eq!(
            (&back[..5], &back[5..BLOCK + 15], &back[BLOCK + 15..]),
            (&[0; 5][..], &text[..], &[0; 5][..])
        );
    }

    #[test]
    fn nothing_is_written_behind_the_end_and_the_last_block_is_cut() {
        let mut disk = Pieces::new(BLOCK as u64 + 512);
        disk.seek(SeekFrom::End(-512)).unwrap();
        assert!(disk.write_all(&[1; 513]).is_err());
        assert_eq!(disk.blocks().last().map(|(_, block)| block.len()), Some(512));
    }

    #[test]
    fn a_disk_is_placed_in_another_only_on_whole_blocks_and_within_it() {
        let mut disk = Pieces::new(4 * BLOCK as u64);
        let mut part = Pieces::new(2 * BLOCK as u64);
        part.write_all(b"boot").unwrap();
        assert!(disk.place(512, part.clone()).is_err());
        assert!(disk.place(3 * BLOCK as u64, part.clone()).is_err());
        disk.place(2 * BLOCK as u64, part).unwrap();
        assert_eq!(disk.blocks().next().map(|(at, block)| (at, &block[..4])), Some((131_072, &b"boot"[..])));
    }
}
