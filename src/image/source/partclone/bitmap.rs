//! Which blocks of a partclone image are used.

use super::collect;
use super::header::{Header, Layout};
use crate::image::field::Fields;
use crate::image::source::error::SourceError;

/// What stands behind the bitmap of version 0001.
const WORD: &[u8] = b"BiTmAgIc";

/// Used blocks, neighbours of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub start: u64,
    pub length: u64,
}

/// A bit a block, the lowest of each byte first. It grows as the file delivers it, never by what the header claims.
#[derive(Debug, Default)]
pub(super) struct Bitmap {
    bits: Vec<u8>,
    blocks: u64,
    /// Entries that were taken: bytes or bits of the file, in its own layout.
    got: u64,
    want: u64,
    is_bytes: bool,
    has_sum: bool,
    crc: crc32fast::Hasher,
    tail: Vec<u8>,
}

impl Bitmap {
    /// The bitmap that this header announces, nothing of it taken.
    pub fn of(header: &Header) -> Bitmap {
        let blocks = header.blocks;
        let want = match header.layout {
            Layout::None => 0,
            Layout::Bits => blocks.div_ceil(8),
            Layout::Bytes => blocks,
        };
        let mut bitmap = Bitmap {
            blocks,
            want,
            is_bytes: header.layout == Layout::Bytes,
            has_sum: header.bitmap_has_sum,
            ..Bitmap::default()
        };
        if header.layout == Layout::None {
            bitmap.bits = vec![0xff; blocks.div_ceil(8) as usize];
            bitmap.clear_end();
        }
        bitmap
    }

    fn tail_length(&self) -> usize {
        match (self.has_sum, self.want) {
            (true, 0) => 0,
            (true, _) => 4,
            (false, _) => WORD.len(),
        }
    }

    /// Bytes that are still missing.
    pub fn wanted(&self) -> usize {
        (self.want - self.got) as usize + self.tail_length() - self.tail.len()
    }

    /// Takes what is its own of `bytes`; says whether it is complete, and checked.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<bool, SourceError> {
        let (now, later) = bytes.split_at(bytes.len().min((self.want - self.got) as usize));
        self.crc.update(now);
        if self.is_bytes {
            for (block, used) in (self.got..).zip(now) {
                if block % 8 == 0 {
                    self.bits.push(0);
                }
                if let (1, Some(last)) = (*used, self.bits.last_mut()) {
                    *last |= 1 << (block % 8);
                }
            }
        } else {
            self.bits.extend_from_slice(now);
        }
        self.got += now.len() as u64;
        *bytes = later;
        if self.got < self.want {
            return Ok(false);
        }
        let tail = self.tail_length();
        collect(&mut self.tail, bytes, tail);
        if self.tail.len() < tail {
            return Ok(false);
        }
        self.check()?;
        self.clear_end();
        Ok(true)
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.tail.is_empty() {
            return Ok(());
        }
        let tail = Fields(&self.tail);
        if !self.has_sum {
            let right = self.tail == WORD;
            let (what, at, found) =
                ("the word after the bitmap of a partclone image", 4160 + self.want, tail.be64(0));
            return if right { Ok(()) } else { Err(SourceError::Malformed { what, at, found }) };
        }
        let (want, got) = (tail.le32(0), !self.crc.clone().finalize());
        let what = "the bitmap of the partclone image".to_owned();
        if want == got { Ok(()) } else { Err(SourceError::Checksum { what, want, got }) }
    }

    /// Bits beyond the last block mean nothing.
    fn clear_end(&mut self) {
        if let (1.., Some(last)) = (self.blocks % 8, self.bits.last_mut()) {
            *last &= (1 << (self.blocks % 8)) - 1;
        }
    }

    /// Number of used blocks.
    pub fn used(&self) -> u64 {
        self.bits.iter().map(|byte| u64::from(byte.count_ones())).sum()
    }

    /// The first used blocks from `block` on.
    pub fn run_from(&self, block: u64) -> Option<Run> {
        let start = self.first(block, false)?;
        let end = self.first(start, true).unwrap_or(self.blocks);
        Some(Run { start, length: end - start })
    }

    /// The first block from `block` on that is used, or that is free.
    fn first(&self, block: u64, free: bool) -> Option<u64> {
        let flip = |byte: u8| if free { !byte } else { byte };
        let (mut at, mut skip) = ((block / 8) as usize, block % 8);
        while let Some(byte) = self.bits.get(at) {
            let byte = flip(*byte) & (0xff << skip);
            if byte != 0 {
                return Some(at as u64 * 8 + u64::from(byte.trailing_zeros()))
                    .filter(|block| *block < self.blocks);
            }
            (at, skip) = (at + 1, 0);
        }
        None
    }
}
