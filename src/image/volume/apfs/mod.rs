//! APFS containers (Apple File System Reference), little-endian.
//!
//! From block 0 to the newest checkpoint in the descriptor area, from there to the space manager (free blocks) through
//! the checkpoint's mapping blocks, and to the volumes through the container's object map. Every object is held to its
//! Fletcher-64 checksum. Walks are bounded; where one ends early, a fact is missing.
//!
//! Reading order: `object` · `space` · `tree`. Owns: what the volumes say of themselves.

mod object;
mod space;
#[allow(dead_code, reason = "look-ups of files follow")]
mod tree;

use std::io;

use super::{Facts, Kind};
use crate::image::field::{Fields, Window, text};
use object::Container;

pub(super) use space::allocation;

/// Volumes of a container (NX_MAX_FILE_SYSTEMS).
const MOST_VOLUMES: usize = 100;

const TYPE_OBJECT_MAP: u16 = 11;
const TYPE_VOLUME: u16 = 13;

/// APFS_FS_UNENCRYPTED.
const UNENCRYPTED: u64 = 1;

pub(super) fn read(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let Some(mut container) = Container::open(volume)? else { return Ok(None) };
    let (block, blocks) = (container.block as u64, container.blocks());
    let free = space::manager(&mut container)?.map(|manager| space::free_blocks(Fields(&manager)));
    let volumes = volumes(&mut container)?;
    let names = |wanted: &dyn Fn(&Volume) -> bool| -> Vec<String> {
        volumes.iter().filter(|volume| wanted(volume)).map(|volume| volume.name.clone()).collect()
    };
    let label = names(&|_| true).join(", ");
    Ok(Some(Facts {
        kind: Kind::Apfs,
        label: (!label.is_empty()).then_some(label),
        size: blocks.saturating_mul(block),
        used: free.and_then(|free| blocks.checked_sub(free)).and_then(|used| used.checked_mul(block)),
        block_size: Some(block as u32),
        encrypted: names(&|volume| volume.encrypted),
    }))
}

struct Volume {
    name: String,
    encrypted: bool,
}

fn volumes(container: &mut Container<'_, '_>) -> io::Result<Vec<Volume>> {
    let transaction = container.transaction();
    let mut volumes = Vec::new();
    let map = container.superblock().le64(160);
    let Some(map) = container.object(map, &[TYPE_OBJECT_MAP])? else { return Ok(volumes) };
    let root = Fields(&map).le64(48);
    let superblock = container.superblock();
    let most = (superblock.le32(180) as usize).min(MOST_VOLUMES);
    let ids: Vec<u64> = (0..most).map(|slot| superblock.le64(184 + 8 * slot)).filter(|&id| id != 0).collect();
    for id in ids {
        let Some(address) = tree::look_up(container, root, id, transaction)? else { continue };
        let Some(found) = container.object(address, &[TYPE_VOLUME])? else { continue };
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
