//! bmap 2.0: which blocks of an image have to be written, each range with its SHA-256.
//!
//! A block that holds a byte which is not unallocated is mapped. (Facts: the block map format of bmap-tools, version 2.0.)

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::shape::{Kind, Shape};

const BLOCK: u64 = 4096;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A block map that is told the bytes of the image in order.
pub(super) struct Bmap {
    size: u64,
    /// First block and the one behind the last.
    ranges: Vec<(u64, u64)>,
    sums: Vec<Sha256>,
    at: u64,
    /// The first range that does not end before `at`.
    now: usize,
}

impl Bmap {
    pub fn new(shape: &Shape) -> Bmap {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for stretch in shape.areas.iter().flat_map(|area| &area.stretches) {
            if stretch.kind == Kind::Free {
                continue;
            }
            let (first, end) = (stretch.offset / BLOCK, stretch.end().div_ceil(BLOCK));
            match ranges.last_mut() {
                Some(last) if first <= last.1 => last.1 = end,
                _ => ranges.push((first, end)),
            }
        }
        let sums = vec![Sha256::new(); ranges.len()];
        Bmap { size: shape.size, ranges, sums, at: 0, now: 0 }
    }

    /// The next bytes of the image.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (step, mapped) = self.step(bytes.len() as u64);
            let (now, later) = bytes.split_at(step as usize);
            if mapped && let Some(sum) = self.sums.get_mut(self.now) {
                sum.update(now);
            }
            (bytes, self.at) = (later, self.at + step);
        }
    }

    /// The next bytes are zeros.
    pub fn zeros(&mut self, length: u64) {
        let mut left = length;
        while left > 0 {
            let (step, mapped) = self.step(left);
            if mapped && let Some(sum) = self.sums.get_mut(self.now) {
                let mut unsummed = step;
                while unsummed > 0 {
                    let some = unsummed.min(ZEROS.len() as u64);
                    sum.update(&ZEROS[..some as usize]);
                    unsummed -= some;
                }
            }
            (left, self.at) = (left - step, self.at + step);
        }
    }

    /// How many of the next bytes are all in a range, or all in none.
    fn step(&mut self, most: u64) -> (u64, bool) {
        while self.ranges.get(self.now).is_some_and(|range| range.1 * BLOCK <= self.at) {
            self.now += 1;
        }
        match self.ranges.get(self.now) {
            None => (most, false),
            Some((first, _)) if self.at < first * BLOCK => (most.min(first * BLOCK - self.at), false),
            Some((_, end)) => (most.min(end * BLOCK - self.at), true),
        }
    }

    /// The file. Its own checksum is that of the file with zeros in its place.
    pub fn finish(self) -> String {
        let mapped: u64 = self.ranges.iter().map(|(first, end)| end - first).sum();
        let mut map = String::new();
        for ((first, end), sum) in self.ranges.iter().zip(self.sums) {
            let blocks = if first + 1 == *end { first.to_string() } else { format!("{first}-{}", end - 1) };
            // Writing to a string cannot fail.
            let _ = writeln!(map, "        <Range chksum=\"{}\"> {blocks} </Range>", hex(sum));
        }
        let text = |own: &str| {
            format!(
                "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {} </ImageSize>\n    <BlockSize> {BLOCK} \
                 </BlockSize>\n    <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
                 <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {own} </BmapFileChecksum>\n    \
                 <BlockMap>\n{map}    </BlockMap>\n</bmap>\n",
                self.size,
                self.size.div_ceil(BLOCK)
            )
        };
        let own = hex(Sha256::new_with_prefix(text(&"0".repeat(64))));
        text(&own)
    }
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
