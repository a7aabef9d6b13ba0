//! APFS containers (Apple File System Reference), little-endian.
//!
//! From block 0 to the newest checkpoint in the descriptor area, from there to the space manager (free blocks) through
//! the checkpoint's mapping blocks, and to the volumes through the container's object map. Every object is held to its
//! Fletcher-64 checksum. Walks are bounded; where one ends early, a fact is missing.
//!
//! | at | every object | | at | container superblock |
//! |---|---|---|---|---|
//! | 0 | checksum u64 | | 32 | `NXSB`, block size u32, blocks u64 |
//! | 8 | object u64, transaction u64 | | 104 | descriptor blocks u32, data blocks u32, their bases i64 |
//! | 24 | type u32, subtype u32 | | 136 | first used: descriptor index u32 and length u32 |
//! | | | | 152 | space manager u64, object map u64 |
//! | | | | 180 | most volumes u32, then their ids u64 |

use std::io;

use super::{Facts, Kind};
use crate::image::field::{Fields, Window, text};

/// Blocks of a descriptor area; macOS makes some hundreds.
const MOST_DESCRIPTORS: u64 = 4096;

/// Volumes of a container (NX_MAX_FILE_SYSTEMS).
const MOST_VOLUMES: usize = 100;

/// Levels of an object map.
const MOST_LEVELS: usize = 8;

const TYPE_SUPERBLOCK: u16 = 1;
const TYPE_BTREE: u16 = 2;
const TYPE_BTREE_NODE: u16 = 3;
const TYPE_SPACEMAN: u16 = 5;
const TYPE_OBJECT_MAP: u16 = 11;
const TYPE_CHECKPOINT_MAP: u16 = 12;
const TYPE_VOLUME: u16 = 13;

/// Bytes of a space manager, which grows with the container.
const MOST_MANAGER: u32 = 1 << 20;

/// APFS_FS_UNENCRYPTED.
const UNENCRYPTED: u64 = 1;

pub(super) fn read(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let first = volume.read(0, 4096)?;
    let fields = Fields(&first);
    let block = fields.le32(36);
    if !fields.has(32, b"NXSB") || !(4096..=65536).contains(&block) || !block.is_power_of_two() {
        return Ok(None);
    }
    let mut container = Container { volume, block: block as usize };
    let newest = container.newest(fields)?;
    // Block 0 is a copy that is written at unmount; it serves where no checkpoint is whole.
    let superblock = Fields(newest.as_deref().unwrap_or(&first));
    let blocks = superblock.le64(40);
    let free = container.free_blocks(superblock)?;
    let volumes = container.volumes(superblock)?;
    let names = |wanted: &dyn Fn(&Volume) -> bool| -> Vec<String> {
        volumes.iter().filter(|volume| wanted(volume)).map(|volume| volume.name.clone()).collect()
    };
    let label = names(&|_| true).join(", ");
    Ok(Some(Facts {
        kind: Kind::Apfs,
        label: (!label.is_empty()).then_some(label),
        size: blocks.saturating_mul(block.into()),
        used: free.and_then(|free| blocks.checked_sub(free)).and_then(|used| used.checked_mul(block.into())),
        block_size: Some(block),
        encrypted: names(&|volume| volume.encrypted),
    }))
}

struct Volume {
    name: String,
    encrypted: bool,
}

struct Container<'a, 'b> {
    volume: &'a mut Window<'b>,
    block: usize,
}

impl Container<'_, '_> {
    /// The object in a block, if it is whole and of a wanted type.
    fn object(&mut self, address: u64, types: &[u16]) -> io::Result<Option<Vec<u8>>> {
        self.long_object(address, self.block, types)
    }

    fn long_object(&mut self, address: u64, length: usize, types: &[u16]) -> io::Result<Option<Vec<u8>>> {
        let Some(at) = address.checked_mul(self.block as u64) else { return Ok(None) };
        let bytes = self.volume.read(at, length)?;
        let whole = bytes.len() == length && is_whole(&bytes);
        Ok((whole && types.contains(&Fields(&bytes).le16(24))).then_some(bytes))
    }

    /// Addresses of the descriptor area, where it is contiguous (the top bit of its length says when not).
    fn descriptors(first: Fields<'_>) -> impl Iterator<Item = u64> + use<> {
        let (count, base) = (first.le32(104), first.le64(112));
        let count = if count >> 31 == 1 { 0 } else { u64::from(count).min(MOST_DESCRIPTORS) };
        (0..count).filter_map(move |index| base.checked_add(index))
    }

    /// The superblock of the latest transaction.
    fn newest(&mut self, first: Fields<'_>) -> io::Result<Option<Vec<u8>>> {
        let mut newest: Option<Vec<u8>> = None;
        for address in Self::descriptors(first) {
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

    /// Free blocks of the main device: field at 48 + 24 of the space manager.
    fn free_blocks(&mut self, superblock: Fields<'_>) -> io::Result<Option<u64>> {
        let wanted = superblock.le64(152);
        let (count, base) = (u64::from(superblock.le32(104)), superblock.le64(112));
        let (index, length) = (u64::from(superblock.le32(136)), u64::from(superblock.le32(140)));
        if count == 0 || count > MOST_DESCRIPTORS {
            return Ok(None);
        }
        for k in 0..length.min(count) {
            let Some(address) = base.checked_add((index + k) % count) else { continue };
            let Some(map) = self.object(address, &[TYPE_CHECKPOINT_MAP])? else { continue };
            let map = Fields(&map);
            // checkpoint_map_phys_t: flags u32 at 32, count u32 at 36, mappings of 40 bytes from 40 on.
            let held = (self.block - 40) / 40;
            for entry in 0..(map.le32(36) as usize).min(held) {
                let at = 40 + 40 * entry;
                if map.le64(at + 24) == wanted {
                    let length = map.le32(at + 8).clamp(self.block as u32, MOST_MANAGER);
                    let manager = self.long_object(map.le64(at + 32), length as usize, &[TYPE_SPACEMAN])?;
                    return Ok(manager.map(|manager| Fields(&manager).le64(48 + 24)));
                }
            }
        }
        Ok(None)
    }

    fn volumes(&mut self, superblock: Fields<'_>) -> io::Result<Vec<Volume>> {
        let transaction = superblock.le64(16);
        let mut volumes = Vec::new();
        let Some(map) = self.object(superblock.le64(160), &[TYPE_OBJECT_MAP])? else { return Ok(volumes) };
        let root = Fields(&map).le64(48);
        let most = (superblock.le32(180) as usize).min(MOST_VOLUMES);
        for id in (0..most).map(|slot| superblock.le64(184 + 8 * slot)).filter(|&id| id != 0) {
            let Some(address) = self.look_up(root, id, transaction)? else { continue };
            let Some(found) = self.object(address, &[TYPE_VOLUME])? else { continue };
            let found = Fields(&found);
            // apfs_superblock_t: magic at 32, apfs_fs_flags at 264, apfs_volname at 704.
            if found.has(32, b"APSB") {
                volumes.push(Volume {
                    name: text(found.bytes(704, 256)),
                    encrypted: found.le64(264) & UNENCRYPTED == 0,
                });
            }
        }
        Ok(volumes)
    }

    /// Where the object map has an object, as of a transaction: the largest key (id, transaction) not above it.
    fn look_up(&mut self, root: u64, id: u64, transaction: u64) -> io::Result<Option<u64>> {
        let mut address = root;
        for _ in 0..MOST_LEVELS {
            let Some(bytes) = self.object(address, &[TYPE_BTREE, TYPE_BTREE_NODE])? else { return Ok(None) };
            let node = Node { fields: Fields(&bytes), block: self.block };
            let keys = (0..node.count()).map(|k| (k, node.key(k)));
            let Some((index, key)) = keys.take_while(|(_, key)| *key <= (id, transaction)).last() else {
                return Ok(None);
            };
            if node.is_leaf() {
                return Ok((key.0 == id).then(|| node.value(index, 8)));
            }
            address = node.value(index, 0);
        }
        Ok(None)
    }
}

/// A node of an object map: keys and values of fixed size (btree_node_phys_t).
///
/// Flags u16 at 32 (1 root, 2 leaf, 4 fixed size), keys u32 at 36, table of contents: offset and length u16 at 40.
/// Entries of the table: key offset u16 from the table's end, value offset u16 back from the end of the node, or from
/// the 40 bytes of tree facts that end a root. A value is flags u32, size u32, address u64; in inner nodes the child.
struct Node<'a> {
    fields: Fields<'a>,
    block: usize,
}

impl Node<'_> {
    fn flags(&self) -> u16 {
        self.fields.le16(32)
    }

    fn is_leaf(&self) -> bool {
        self.flags() & 2 != 0
    }

    fn count(&self) -> usize {
        if self.flags() & 4 == 0 { 0 } else { (self.fields.le32(36) as usize).min(self.block / 4) }
    }

    fn contents(&self) -> usize {
        56 + usize::from(self.fields.le16(40))
    }

    fn key(&self, index: usize) -> (u64, u64) {
        let keys = self.contents() + usize::from(self.fields.le16(42));
        let at = keys + usize::from(self.fields.le16(self.contents() + 4 * index));
        (self.fields.le64(at), self.fields.le64(at + 8))
    }

    fn value(&self, index: usize, field: usize) -> u64 {
        let end = self.block - if self.flags() & 1 != 0 { 40 } else { 0 };
        let back = usize::from(self.fields.le16(self.contents() + 4 * index + 2));
        end.checked_sub(back).map_or(0, |at| self.fields.le64(at + field))
    }
}

/// Fletcher-64 over everything behind the checksum (Reference, "Object checksum").
fn is_whole(object: &[u8]) -> bool {
    let modulus = u64::from(u32::MAX);
    let (mut low, mut high) = (0_u64, 0_u64);
    for word in object[8..].chunks_exact(4) {
        low = (low + u64::from(Fields(word).le32(0))) % modulus;
        high = (high + low) % modulus;
    }
    let first = modulus - (low + high) % modulus;
    let second = modulus - (low + first) % modulus;
    Fields(object).le64(0) == (second << 32 | first)
}
