//! Which blocks of an APFS container are in use: the space manager, its chunks, a bit a block, low bit first.
//!
//! | at | space manager | | at | chunk-info block (objects of type 7) |
//! |---|---|---|---|---|
//! | 36 | blocks a chunk, chunks a chunk-info block, those an address block u32 | | 32 | its number u32, chunks u32 |
//! | 48 | main device: blocks u64, chunks u64 | | 40 | each chunk, 32 bytes: transaction u64, first block u64, |
//! | 64 | chunk-info blocks u32, address blocks u32 | | | blocks u32 (20 bits), free u32 (20 bits), |
//! | 72 | free blocks u64, offset of addresses u32 | | | block of its map u64, 0 when all are free |
//! | 152 | internal pool: blocks u64 | | | address block (type 6): the same head, |
//! | 164 | internal pool's maps: blocks u32, first u64 | | | then addresses u64 |
//! | 176 | internal pool: first u64 | | | |
//!
//! Believed only if every part is whole and all counts agree. Used whatever it says: block 0, the checkpoint areas, the
//! internal pool, and what the space manager does not cover.

use std::io;

use super::object::Container;
use crate::image::chunk::Span;
use crate::image::field::{Fields, Window};
use crate::image::volume::allocation::{Allocation, BitOrder, Distrust, Mapper};

const TYPE_SPACEMAN: u16 = 5;
const TYPE_ADDRESSES: u16 = 6;
const TYPE_CHUNK_INFO: u16 = 7;

/// Counts of a chunk have flags above them.
const COUNT: u32 = 0x000f_ffff;

/// The used bytes of `region`, which `volume` reads; none where there is no container.
pub(in super::super) fn allocation(
    volume: &mut Window<'_>,
    region: Span,
) -> io::Result<Option<Result<Allocation, Distrust>>> {
    let size = volume.size();
    let Some(mut container) = Container::open(volume)? else { return Ok(None) };
    if container.is_fusion() {
        return Ok(Some(Err(Distrust::Elsewhere("it is one half of a Fusion Drive"))));
    }
    let block = container.block as u64;
    if !container.is_checkpoint() {
        return Ok(Some(Err(Distrust::Damaged("no checkpoint of the container is whole"))));
    }
    if container.blocks().checked_mul(block).is_none_or(|bytes| bytes > size) {
        return Ok(Some(Err(Distrust::Damaged("the container is larger than its partition"))));
    }
    let mut map = Mapper::new(region, container.block as u32);
    let manager = match manager(&mut container)? {
        Some(manager) => manager,
        None => return Ok(Some(Err(Distrust::Damaged("the space manager is not whole")))),
    };
    let manager = Fields(&manager);
    if let Err(reason) = chunks(&mut container, manager, &mut map)? {
        return Ok(Some(Err(Distrust::Damaged(reason))));
    }
    let superblock = container.superblock();
    let areas = [
        (0, 1),
        (superblock.le64(112), superblock.le32(104).into()),
        (superblock.le64(120), superblock.le32(108).into()),
        (manager.le64(168), manager.le32(164).into()),
        (manager.le64(176), manager.le64(152)),
    ];
    let last = container.blocks();
    let mut reserved = Vec::new();
    for (first, count) in areas {
        if first.checked_add(count).is_none_or(|end| end > last) {
            return Ok(Some(Err(Distrust::Damaged("an area of the container reaches beyond its end"))));
        }
        reserved.push(Span { offset: region.offset + first * block, length: count * block });
    }
    Ok(Some(Ok(map.finish(&reserved))))
}

/// The space manager of the newest checkpoint.
pub(super) fn manager(container: &mut Container<'_, '_>) -> io::Result<Option<Vec<u8>>> {
    let wanted = container.superblock().le64(152);
    container.ephemeral(wanted, &[TYPE_SPACEMAN])
}

/// Blocks of the main device that are free, as the space manager says.
pub(super) fn free_blocks(manager: Fields<'_>) -> u64 {
    manager.le64(72)
}

/// Reads every chunk into `map`; what is wrong, if something is.
fn chunks(
    container: &mut Container<'_, '_>,
    manager: Fields<'_>,
    map: &mut Mapper,
) -> io::Result<Result<(), &'static str>> {
    let (blocks, chunk) = (manager.le64(48), u64::from(manager.le32(36)));
    if blocks > container.blocks() || chunk == 0 || chunk > 8 * container.block as u64 {
        return Ok(Err("the space manager is of another container"));
    }
    let (infos, addresses) = (manager.le32(64), manager.le32(68));
    let start = manager.le32(80) as usize;
    let listed = if addresses > 0 { addresses } else { infos } as usize;
    if (manager.0.len().saturating_sub(start)) / 8 < listed {
        return Ok(Err("addresses of chunks are missing"));
    }
    let mut reader = Chunks { blocks, chunk, done: 0, free: 0, infos: 0 };
    for address in (0..listed).map(|k| manager.le64(start + 8 * k)) {
        let outcome = match addresses {
            0 => reader.info(container, address, map)?,
            _ => reader.addresses(container, address, map)?,
        };
        if outcome.is_err() {
            return Ok(outcome);
        }
    }
    if reader.done != blocks || reader.infos != infos || reader.free != free_blocks(manager) {
        return Ok(Err("the chunks do not add up to what the space manager says"));
    }
    Ok(Ok(()))
}

/// A walk over the chunks in their order.
struct Chunks {
    /// Blocks of the device and of a chunk.
    blocks: u64,
    chunk: u64,
    /// Blocks so far, free ones, chunk-info blocks.
    done: u64,
    free: u64,
    infos: u32,
}

impl Chunks {
    fn addresses(
        &mut self,
        container: &mut Container<'_, '_>,
        address: u64,
        map: &mut Mapper,
    ) -> io::Result<Result<(), &'static str>> {
        let Some(list) = container.object(address, &[TYPE_ADDRESSES])? else {
            return Ok(Err("a block of addresses of chunks is not whole"));
        };
        let list = Fields(&list);
        let count = list.le32(36) as usize;
        if count > (container.block - 40) / 8 {
            return Ok(Err("a block of addresses of chunks is not whole"));
        }
        for address in (0..count).map(|k| list.le64(40 + 8 * k)) {
            let outcome = self.info(container, address, map)?;
            if outcome.is_err() {
                return Ok(outcome);
            }
        }
        Ok(Ok(()))
    }

    fn info(
        &mut self,
        container: &mut Container<'_, '_>,
        address: u64,
        map: &mut Mapper,
    ) -> io::Result<Result<(), &'static str>> {
        let Some(info) = container.object(address, &[TYPE_CHUNK_INFO])? else {
            return Ok(Err("the description of a chunk is not whole"));
        };
        let info = Fields(&info);
        let count = info.le32(36) as usize;
        if info.le32(32) != self.infos || count > (container.block - 40) / 32 {
            return Ok(Err("descriptions of chunks are in disorder"));
        }
        self.infos += 1;
        for at in (0..count).map(|k| 40 + 32 * k) {
            let blocks = u64::from(info.le32(at + 16) & COUNT);
            let free = u64::from(info.le32(at + 20) & COUNT);
            let wanted = self.chunk.min(self.blocks - self.done);
            if info.le64(at + 8) != self.done || blocks != wanted || blocks == 0 {
                return Ok(Err("chunks do not follow each other"));
            }
            let clear = match info.le64(at + 24) {
                0 => {
                    map.push(blocks * container.block as u64, false);
                    blocks
                }
                address => {
                    let bits = container.bytes(address, container.block)?;
                    map.push_bits(&bits, blocks, BitOrder::LowFirst)
                }
            };
            if clear != free {
                return Ok(Err("the map of a chunk has another number of free blocks than its description"));
            }
            self.done += blocks;
            self.free += free;
        }
        Ok(Ok(()))
    }
}
