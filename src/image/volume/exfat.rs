//! exFAT (Microsoft exFAT specification), little-endian.
//!
//! | at | boot sector | | at | entries of the root folder, 32 bytes |
//! |---|---|---|---|---|
//! | 3 | `EXFAT   ` | | 0 | 0x83 label: characters u8 at 1, UTF-16 at 2 |
//! | 72 | sectors u64 | | 0 | 0x81 bitmap: first cluster u32 at 20, length u64 at 24 |
//! | 80 | FAT at sector u32, length u32 | | 0 | 0 end |
//! | 88 | clusters at sector u32, count u32, root folder u32 | | | |
//! | 108 | log2 of sector bytes u8, of sectors a cluster u8 | | | |

use std::io;

use super::{Facts, Kind, clear_bits};
use crate::image::field::{Fields, Window, utf16};

/// Bytes of an allocation bitmap: 128 TiB in clusters of 128 KiB have this many.
const MOST_BITMAP: u64 = 128 << 20;

/// Clusters of the root folder that are looked at.
const MOST_ROOT: usize = 16;

struct Geometry {
    cluster: u64,
    fat_at: u64,
    heap_at: u64,
    clusters: u64,
}

impl Geometry {
    fn place(&self, cluster: u64) -> Option<u64> {
        let index = cluster.checked_sub(2).filter(|&index| index < self.clusters)?;
        Some(self.heap_at + index * self.cluster)
    }
}

pub(super) fn read(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let boot = volume.read(0, 512)?;
    let boot = Fields(&boot);
    let (sector_shift, cluster_shift) = (boot.u8(108), boot.u8(109));
    if !boot.has(3, b"EXFAT   ") || !(9..=12).contains(&sector_shift) || cluster_shift > 25 - sector_shift {
        return Ok(None);
    }
    let sector = 1_u64 << sector_shift;
    let geometry = Geometry {
        cluster: sector << cluster_shift,
        fat_at: u64::from(boot.le32(80)) * sector,
        heap_at: u64::from(boot.le32(88)) * sector,
        clusters: u64::from(boot.le32(92)),
    };
    let (mut label, mut used) = (None, None);
    let mut cluster = u64::from(boot.le32(96));
    'root: for _ in 0..MOST_ROOT {
        let Some(at) = geometry.place(cluster) else { break };
        for entry in volume.read(at, geometry.cluster.min(1 << 20) as usize)?.chunks_exact(32) {
            let fields = Fields(entry);
            match entry[0] {
                0 => break 'root,
                0x83 => {
                    let length = usize::from(entry[1]).min(11);
                    label = Some(utf16((0..length).map(|k| fields.le16(2 + 2 * k))));
                }
                0x81 => used = used.or(count_used(volume, &geometry, fields)?),
                _ => {}
            }
        }
        let next = volume.read(geometry.fat_at + 4 * cluster, 4)?;
        cluster = Fields(&next).le32(0).into();
    }
    Ok(Some(Facts {
        kind: Kind::ExFat,
        label: label.filter(|label: &String| !label.is_empty()),
        size: boot.le64(72).saturating_mul(sector),
        used,
        block_size: Some(geometry.cluster as u32),
        ..Facts::unknown(0)
    }))
}

/// Bytes in use by the allocation bitmap, which formatters lay out in one piece.
fn count_used(volume: &mut Window<'_>, geometry: &Geometry, entry: Fields<'_>) -> io::Result<Option<u64>> {
    let length = geometry.clusters.div_ceil(8);
    let Some(at) = geometry.place(entry.le32(20).into()) else { return Ok(None) };
    if length > MOST_BITMAP || entry.le64(24) < length {
        return Ok(None);
    }
    let map = volume.read(at, length as usize)?;
    let free = clear_bits(&map, geometry.clusters);
    let whole = map.len() as u64 == length;
    Ok(whole.then(|| (geometry.clusters - free) * geometry.cluster))
}
