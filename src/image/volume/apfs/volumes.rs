//! The volumes of a container, by their superblocks.
//!
//! | at | volume superblock | | at | |
//! |---|---|---|---|---|
//! | 32 | `APSB` | | 128, 136 | object map, root of the files u64 |
//! | 56 | features that must be known u64: 1 and 8 names are hashed, 32 sealed | | 184, 192 | files, folders u64 |
//! | 88 | blocks in use u64 | | 216 | snapshots u64 |
//! | 116 | type of the tree of files u32 | | 264 | flags u64: 1 not encrypted |
//! | 1032, 1040 | tree of extents of a sealed volume u64, its type u32 | | 704, 964 | name, role u16 |
//!
//! Owns: what a superblock says. Must not know: files.

use std::io;

use super::object::Container;
use super::tree::{self, Storage, Tree};
use crate::image::field::{Fields, text};
use crate::image::volume::{ApfsVolume, printable};

/// Volumes of a container (NX_MAX_FILE_SYSTEMS).
const MOST_VOLUMES: usize = 100;

const TYPE_OBJECT_MAP: u16 = 11;
const TYPE_VOLUME: u16 = 13;

/// APFS_FS_UNENCRYPTED.
const UNENCRYPTED: u64 = 1;

const CASE_INSENSITIVE: u64 = 1;
const NORMALIZATION_INSENSITIVE: u64 = 8;
const SEALED: u64 = 32;

/// Objects of this type are found by their address.
const PHYSICAL: u32 = 0x4000_0000;

/// A volume.
pub(super) struct Volume {
    pub facts: ApfsVolume,
    /// Whether keys of folder entries hold a hash of the name.
    pub hashes_names: bool,
    superblock: Vec<u8>,
}

impl Volume {
    /// The tree of its files.
    pub fn files(&self, container: &mut Container<'_, '_>) -> io::Result<Option<Tree>> {
        let superblock = Fields(&self.superblock);
        let root = superblock.le64(136);
        if superblock.le32(116) & PHYSICAL != 0 {
            return Ok(Some(Tree { root, storage: Storage::Physical }));
        }
        let Some(map) = container.object(superblock.le64(128), &[TYPE_OBJECT_MAP])? else { return Ok(None) };
        let (map, transaction) = (Fields(&map).le64(48), container.transaction());
        Ok(Some(Tree { root, storage: Storage::Virtual { map, transaction } }))
    }

    /// The tree of the extents of all files, which a sealed volume has.
    pub fn extents(&self) -> Option<Tree> {
        let superblock = Fields(&self.superblock);
        let known = self.facts.is_sealed && superblock.le32(1040) & PHYSICAL != 0;
        known.then(|| Tree { root: superblock.le64(1032), storage: Storage::Physical })
    }
}

/// The volumes in the order of the container.
pub(super) fn volumes(container: &mut Container<'_, '_>) -> io::Result<Vec<Volume>> {
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
        let Some(superblock) = container.object(address, &[TYPE_VOLUME])? else { continue };
        let fields = Fields(&superblock);
        if !fields.has(32, b"APSB") {
            continue;
        }
        let features = fields.le64(56);
        let counts = [184, 192, 200, 208].map(|at| fields.le64(at));
        let facts = ApfsVolume {
            name: printable(&text(fields.bytes(704, 256))),
            role: role(fields.le16(964)),
            used: fields.le64(88).saturating_mul(container.block as u64),
            is_encrypted: fields.le64(264) & UNENCRYPTED == 0,
            is_sealed: features & SEALED != 0,
            is_case_sensitive: features & CASE_INSENSITIVE == 0,
            snapshots: fields.le64(216),
            files: counts.into_iter().fold(0, u64::saturating_add),
        };
        let hashes_names = features & (CASE_INSENSITIVE | NORMALIZATION_INSENSITIVE) != 0;
        volumes.push(Volume { facts, hashes_names, superblock });
    }
    Ok(volumes)
}

/// Reference, "Volume Roles".
fn role(role: u16) -> Option<&'static str> {
    Some(match role {
        0x0001 => "system",
        0x0002 => "user",
        0x0004 => "recovery",
        0x0008 => "vm",
        0x0010 => "preboot",
        0x0020 => "installer",
        0x0040 => "data",
        0x0080 => "baseband",
        0x00c0 => "update",
        0x0100 => "xart",
        0x0140 => "hardware",
        0x0180 => "backup",
        0x0240 => "enterprise",
        0x02c0 => "prelogin",
        _ => return None,
    })
}
