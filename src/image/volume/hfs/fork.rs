//! Where the bytes of a file lie: the eight extents of its record, and more of them in the extents overflow file.
//!
//! | at | fork data (80 bytes) | | at | overflow key, then 8 extents |
//! |---|---|---|---|---|
//! | 0 | logical size u64 | | 0 | key length u16 = 10 |
//! | 12 | blocks u32 | | 2 | fork u8: 0 data, 255 resource |
//! | 16 | 8 extents: first block u32, blocks u32 | | 4, 8 | file u32, first block of the fork u32 |
//!
//! Owns: the order of extents, the bound on their number. Must not know: what the file holds.

use std::io;
use std::ops::ControlFlow;

use super::tree::Tree;
use crate::image::field::{Fields, Window};

/// Extents of one file that are followed.
const MOST_EXTENTS: usize = 1 << 16;

/// Which of a file's two forks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Data = 0,
    Resource = 255,
}

/// A file's bytes.
#[derive(Clone)]
pub(super) struct Fork {
    /// Bytes of the file.
    pub size: u64,
    block: u64,
    blocks: u64,
    /// First block and number of blocks.
    extents: Vec<(u32, u32)>,
}

impl Fork {
    /// The fork that fork data describe, as far as its first eight extents reach.
    pub fn new(data: Fields<'_>, block: u64) -> Fork {
        let mut fork = Fork { size: data.be64(0), block, blocks: data.be32(12).into(), extents: Vec::new() };
        fork.add(Fields(data.bytes(16, 64)));
        fork
    }

    /// The same with the extents that the overflow file has for it.
    pub fn complete(
        mut self,
        volume: &mut Window<'_>,
        overflow: Option<&Tree>,
        file: u32,
        which: Which,
    ) -> io::Result<Fork> {
        let Some(overflow) = overflow.filter(|_| !self.is_whole()) else { return Ok(self) };
        let order = |key: Fields<'_>| (key.be32(4), key.u8(2), key.be32(8));
        let wanted = (file, which as u8, 0);
        overflow.scan(volume, &|key| order(key) < wanted, &mut |key, record| {
            let (found, fork, first) = order(key);
            let follows = (found, fork) == (file, which as u8) && u64::from(first) == self.reach();
            if follows && !self.is_whole() && self.extents.len() < MOST_EXTENTS {
                self.add(record);
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(self)
    }

    fn add(&mut self, extents: Fields<'_>) {
        let all = (0..8).map(|k| (extents.be32(8 * k), extents.be32(8 * k + 4)));
        self.extents.extend(all.take_while(|(_, count)| *count > 0));
    }

    /// Blocks that the extents have.
    fn reach(&self) -> u64 {
        self.extents.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Whether the extents are all there and hold the file.
    pub fn is_whole(&self) -> bool {
        self.reach() == self.blocks && self.blocks * self.block >= self.size
    }

    /// Its extents: first block and number of blocks.
    pub fn extents(&self) -> &[(u32, u32)] {
        &self.extents
    }

    /// Up to `length` bytes at `at`; fewer where the extents or the volume end.
    pub fn read(&self, volume: &mut Window<'_>, mut at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for &(start, count) in &self.extents {
            let size = u64::from(count) * self.block;
            if at >= size {
                at -= size;
                continue;
            }
            let wanted = (length - bytes.len()).min(usize::try_from(size - at).unwrap_or(usize::MAX));
            let got = volume.read(u64::from(start) * self.block + at, wanted)?;
            let short = got.len() < wanted;
            bytes.extend_from_slice(&got);
            at = 0;
            if short || bytes.len() == length {
                break;
            }
        }
        Ok(bytes)
    }
}
