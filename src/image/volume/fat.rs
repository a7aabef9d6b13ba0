//! FAT16 and FAT32 (Microsoft FAT specification 1.03), little-endian.
//!
//! | at | boot sector | | at | FAT32 only |
//! |---|---|---|---|---|
//! | 11 | bytes a sector u16 | | 36 | sectors a FAT u32 |
//! | 13 | sectors a cluster u8 | | 44 | first cluster of the root folder u32 |
//! | 14 | reserved sectors u16 | | 48 | sector of FSInfo u16 |
//! | 16 | FATs u8 | | | |
//! | 17 | root entries u16, sectors u16 (0: u32 at 32) | | | |
//! | 22 | sectors a FAT u16 (0: FAT32) | | | |

use std::io;

use super::{Facts, Kind};
use crate::image::field::{Fields, Window, text};

/// Bytes of a FAT that are counted when FSInfo does not say how much is free; a FAT of 2 TiB has 256 MiB.
const MOST_FAT: u64 = 64 << 20;

/// Clusters of the root folder in which the label is looked for.
const MOST_ROOT: usize = 64;

const VOLUME_LABEL: u8 = 0x08;
const LONG_NAME: u8 = 0x0f;

struct Geometry {
    sector: u64,
    cluster: u64,
    fat_at: u64,
    fat_bytes: u64,
    root_at: u64,
    root_bytes: u64,
    data_at: u64,
    clusters: u64,
    total: u64,
    wide: bool,
}

pub(super) fn read(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let boot = volume.read(0, 512)?;
    let boot = Fields(&boot);
    let Some(geometry) = geometry(boot) else { return Ok(None) };
    let free = match free_by_info(volume, boot, &geometry)? {
        Some(free) => Some(free),
        None => count_free(volume, &geometry)?,
    };
    let label = match root_label(volume, boot, &geometry)? {
        Some(label) => Some(label),
        None => Some(text(boot.bytes(if geometry.wide { 71 } else { 43 }, 11))),
    };
    Ok(Some(Facts {
        kind: if geometry.wide { Kind::Fat32 } else { Kind::Fat16 },
        label: label.filter(|label| !label.is_empty() && label != "NO NAME"),
        size: geometry.total * geometry.sector,
        used: free.and_then(|free| geometry.clusters.checked_sub(free)).map(|used| used * geometry.cluster),
        block_size: Some(geometry.cluster as u32),
        ..Facts::unknown(0)
    }))
}

/// Sizes and places, if they make sense. The count of clusters decides between FAT12 and 16 (section 3.5). That it
/// decides on FAT32 too is not what formatters keep to on small volumes, EFI partitions among them: as Linux and macOS
/// have it, FAT32 is what has no 16-bit length of its FATs.
fn geometry(boot: Fields<'_>) -> Option<Geometry> {
    let jump = boot.u8(0) == 0xe9 || boot.u8(0) == 0xeb && boot.u8(2) == 0x90;
    let (sector, each) = (u64::from(boot.le16(11)), u64::from(boot.u8(13)));
    if !jump
        || !boot.has(510, b"\x55\xaa")
        || !matches!(sector, 512 | 1024 | 2048 | 4096)
        || !each.is_power_of_two()
        || boot.le16(14) == 0
        || !matches!(boot.u8(16), 1 | 2)
    {
        return None;
    }
    let or = |short: u16, long: u32| if short == 0 { u64::from(long) } else { u64::from(short) };
    let wide = boot.le16(22) == 0;
    let fat_bytes = or(boot.le16(22), boot.le32(36)) * sector;
    let total = or(boot.le16(19), boot.le32(32));
    let fat_at = u64::from(boot.le16(14)) * sector;
    let root_at = fat_at + u64::from(boot.u8(16)) * fat_bytes;
    let root_bytes = (u64::from(boot.le16(17)) * 32).next_multiple_of(sector);
    let data_at = root_at + root_bytes;
    let clusters = (total * sector).checked_sub(data_at)? / (sector * each);
    let fits = if wide { clusters > 0 && fat_bytes > 0 } else { (4085..65525).contains(&clusters) };
    fits.then_some(Geometry {
        sector,
        cluster: sector * each,
        fat_at,
        fat_bytes,
        root_at,
        root_bytes,
        data_at,
        clusters,
        total,
        wide,
    })
}

/// What FSInfo says is free (section 5): a hint that may be absent or stale.
fn free_by_info(volume: &mut Window<'_>, boot: Fields<'_>, geometry: &Geometry) -> io::Result<Option<u64>> {
    if !geometry.wide {
        return Ok(None);
    }
    let info = volume.read(u64::from(boot.le16(48)) * geometry.sector, 512)?;
    let info = Fields(&info);
    let free = u64::from(info.le32(488));
    Ok((info.has(0, b"RRaA") && info.has(484, b"rrAa") && free <= geometry.clusters).then_some(free))
}

/// Free clusters by their entries in the first FAT.
fn count_free(volume: &mut Window<'_>, geometry: &Geometry) -> io::Result<Option<u64>> {
    let entry = if geometry.wide { 4 } else { 2 };
    let (first, length) = (2 * entry, geometry.clusters * entry);
    if length > MOST_FAT || first + length > geometry.fat_bytes {
        return Ok(None);
    }
    let fat = volume.read(geometry.fat_at + first, length as usize)?;
    let is_free = |bytes: &&[u8]| {
        let value = Fields(bytes).le32(0);
        if geometry.wide { value & 0x0fff_ffff == 0 } else { value == 0 }
    };
    let whole = fat.len() as u64 == length;
    Ok(whole.then(|| fat.chunks_exact(entry as usize).filter(is_free).count() as u64))
}

/// The label in the root folder, which is newer than the one in the boot sector.
fn root_label(volume: &mut Window<'_>, boot: Fields<'_>, geometry: &Geometry) -> io::Result<Option<String>> {
    if !geometry.wide {
        let root = volume.read(geometry.root_at, geometry.root_bytes as usize)?;
        return Ok(label_in(&root));
    }
    let mut cluster = u64::from(boot.le32(44));
    for _ in 0..MOST_ROOT {
        if cluster < 2 || cluster >= geometry.clusters + 2 {
            break;
        }
        let at = geometry.data_at + (cluster - 2) * geometry.cluster;
        if let Some(label) = label_in(&volume.read(at, geometry.cluster as usize)?) {
            return Ok(Some(label));
        }
        let entry = volume.read(geometry.fat_at + 4 * cluster, 4)?;
        cluster = u64::from(Fields(&entry).le32(0) & 0x0fff_ffff);
    }
    Ok(None)
}

fn label_in(folder: &[u8]) -> Option<String> {
    folder
        .chunks_exact(32)
        .take_while(|entry| entry[0] != 0)
        .find(|entry| entry[0] != 0xe5 && entry[11] & VOLUME_LABEL != 0 && entry[11] & LONG_NAME != LONG_NAME)
        .map(|entry| text(&entry[..11]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A volume of `sectors`, one a cluster, whose one FAT has entries of 4 bytes where `wide`, else of 2.
    fn volume(sectors: u16, wide: bool) -> Vec<u8> {
        let fat = (u32::from(sectors) * if wide { 4 } else { 2 }).div_ceil(512) as u16;
        let mut bytes = vec![0; usize::from(sectors) * 512];
        bytes[..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(11, &512_u16.to_le_bytes());
        put(13, &[1, 1, 0, 1]);
        put(19, &sectors.to_le_bytes());
        put(if wide { 36 } else { 22 }, &fat.to_le_bytes());
        put(if wide { 71 } else { 43 }, b"EFI        ");
        put(510, b"\x55\xaa");
        // The media entry, the end mark, and one cluster in use.
        put(512, &[0xff; 12]);
        bytes
    }

    #[test]
    fn a_small_volume_with_a_long_fat_is_fat32_as_its_formatter_meant_it() {
        for (sectors, wide, kind) in
            [(4000, true, Some(Kind::Fat32)), (5000, false, Some(Kind::Fat16)), (4000, false, None)]
        {
            let bytes = volume(sectors, wide);
            let facts = read(&mut Window::new(&mut Cursor::new(&bytes), 0, bytes.len() as u64)).unwrap();
            assert_eq!(facts.as_ref().map(|facts| facts.kind), kind, "{sectors} sectors");
            if wide {
                let facts = facts.unwrap();
                assert_eq!((facts.label.as_deref(), facts.used), (Some("EFI"), Some(512)));
            }
        }
    }
}
