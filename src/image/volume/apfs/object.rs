//! Objects of an APFS container, each held to its Fletcher-64 checksum, and the newest checkpoint.
//!
//! | at | every object | | at | container superblock |
//! |---|---|---|---|---|
//! | 0 | checksum u64 | | 32 | `NXSB`, block size u32, blocks u64 |
//! | 8 | object u64, transaction u64 | | 64 | features that must be known u64: 256 Fusion |
//! | 24 | type u32, subtype u32 | | 104 | descriptor blocks u32, data blocks u32, their bases i64 |
//! | | | | 136 | first used: descriptor index u32 and length u32 |
//! | | | | 152 | space manager u64, object map u64 |
//! | | | | 180 | most volumes u32, then their ids u64 |
//!
//! Owns: where an object is found by its address, or in a checkpoint by its id. Must not know: what objects are for.

use std::io;

use crate::image::field::{Fields, Window};

/// Blocks of a descriptor area; macOS makes some hundreds.
const MOST_DESCRIPTORS: u64 = 4096;

/// Bytes of an object in the checkpoint: the space manager grows with the container.
const MOST_EPHEMERAL: u32 = 1 << 20;

const TYPE_SUPERBLOCK: u16 = 1;
const TYPE_CHECKPOINT_MAP: u16 = 12;

/// Features of a container of two devices.
const FUSION: u64 = 0x100;

/// A container, with its newest superblock.
pub(super) struct Container<'a, 'b> {
    pub volume: &'a mut Window<'b>,
    /// Bytes of a block.
    pub block: usize,
    superblock: Vec<u8>,
    /// Whether the superblock is that of a checkpoint, not the copy in block 0.
    is_checkpoint: bool,
}

impl<'a, 'b> Container<'a, 'b> {
    /// The container in a volume; none where there is none.
    pub fn open(volume: &'a mut Window<'b>) -> io::Result<Option<Container<'a, 'b>>> {
        let first = volume.read(0, 4096)?;
        let fields = Fields(&first);
        let block = fields.le32(36);
        if !fields.has(32, b"NXSB") || !(4096..=65536).contains(&block) || !block.is_power_of_two() {
            return Ok(None);
        }
        let mut container =
            Container { volume, block: block as usize, superblock: first, is_checkpoint: false };
        // Block 0 is a copy that is written at unmount; it serves where no checkpoint is whole.
        if let Some(newest) = container.newest()? {
            (container.superblock, container.is_checkpoint) = (newest, true);
        }
        Ok(Some(container))
    }

    /// The superblock.
    pub fn superblock(&self) -> Fields<'_> {
        Fields(&self.superblock)
    }

    /// Whether a whole checkpoint was found.
    pub fn is_checkpoint(&self) -> bool {
        self.is_checkpoint
    }

    /// Whether another device belongs to it.
    pub fn is_fusion(&self) -> bool {
        let superblock = self.superblock();
        superblock.le64(64) & FUSION != 0 || superblock.array::<16>(1280) != [0; 16]
    }

    /// The transaction of the superblock.
    pub fn transaction(&self) -> u64 {
        self.superblock().le64(16)
    }

    /// Blocks of the container.
    pub fn blocks(&self) -> u64 {
        self.superblock().le64(40)
    }

    /// The blocks at an address: fewer bytes at the end of the volume.
    pub fn bytes(&mut self, address: u64, length: usize) -> io::Result<Vec<u8>> {
        match address.checked_mul(self.block as u64) {
            Some(at) => self.volume.read(at, length),
            None => Ok(Vec::new()),
        }
    }

    /// The object in a block, if it is whole and of a wanted type.
    pub fn object(&mut self, address: u64, types: &[u16]) -> io::Result<Option<Vec<u8>>> {
        self.long_object(address, self.block, types)
    }

    fn long_object(&mut self, address: u64, length: usize, types: &[u16]) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.bytes(address, length)?;
        let whole = bytes.len() == length && is_whole(&bytes);
        Ok((whole && types.contains(&Fields(&bytes).le16(24))).then_some(bytes))
    }

    /// Length and base of the descriptor area, where it is contiguous (the top bit of its length says when not).
    fn descriptors(&self) -> (u64, u64) {
        let (count, base) = (self.superblock().le32(104), self.superblock().le64(112));
        let usable = count >> 31 == 0 && u64::from(count) <= MOST_DESCRIPTORS;
        (if usable { count.into() } else { 0 }, base)
    }

    /// The superblock of the latest transaction.
    fn newest(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (count, base) = self.descriptors();
        let mut newest: Option<Vec<u8>> = None;
        for address in (0..count).filter_map(|index| base.checked_add(index)) {
            if let Some(found) = self.object(address, &[TYPE_SUPERBLOCK])? {
                let transaction = |bytes: &[u8]| Fields(bytes).le64(16);
                let fits = Fields(&found).has(32, b"NXSB") && Fields(&found).le32(36) as usize == self.block;
                if fits && newest.as_ref().is_none_or(|old| transaction(old) < transaction(&found)) {
                    newest = Some(found);
                }
            }
        }
        Ok(newest)
    }

    /// An object that the checkpoint holds, by its id.
    pub fn ephemeral(&mut self, wanted: u64, types: &[u16]) -> io::Result<Option<Vec<u8>>> {
        let (count, base) = self.descriptors();
        let (index, length) = (self.superblock().le32(136), self.superblock().le32(140));
        for k in 0..u64::from(length).min(count) {
            let Some(address) = base.checked_add((u64::from(index) + k) % count) else { continue };
            let Some(map) = self.object(address, &[TYPE_CHECKPOINT_MAP])? else { continue };
            let map = Fields(&map);
            if map.le64(16) != self.transaction() {
                continue;
            }
            // checkpoint_map_phys_t: flags u32 at 32, count u32 at 36, mappings of 40 bytes from 40 on.
            let held = (self.block - 40) / 40;
            for entry in 0..(map.le32(36) as usize).min(held) {
                let at = 40 + 40 * entry;
                if map.le64(at + 24) == wanted {
                    let length = map.le32(at + 8);
                    if !(self.block as u32..=MOST_EPHEMERAL).contains(&length) || length % 4 != 0 {
                        return Ok(None);
                    }
                    return self.long_object(map.le64(at + 32), length as usize, types);
                }
            }
        }
        Ok(None)
    }
}

fn is_whole(object: &[u8]) -> bool {
    Fields(object).le64(0) == checksum(object)
}

/// Fletcher-64 over everything behind the checksum (Reference, "Object checksum").
pub(super) fn checksum(object: &[u8]) -> u64 {
    let modulus = u64::from(u32::MAX);
    let (mut low, mut high) = (0_u64, 0_u64);
    // 1024 words: the sums stay far below 64 bits until they are reduced.
    for words in object[8..].chunks(4096) {
        for word in words.chunks_exact(4) {
            low += u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            high += low;
        }
        (low, high) = (low % modulus, high % modulus);
    }
    let first = modulus - (low + high) % modulus;
    let second = modulus - (low + first) % modulus;
    second << 32 | first
}
