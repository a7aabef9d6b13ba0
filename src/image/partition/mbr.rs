//! Master boot record: four primary entries at 446, an extended partition as a chain of further ones.
//!
//! An entry has 16 bytes: status at 0, type at 4, first sector u32 at 8, sectors u32 at 12, little-endian. Sectors of
//! logical partitions count from their own record, those of the next record from the extended partition.

use super::{Disk, Layout, Partition, PartitionError, PartitionType, Scheme};
use crate::image::field::Fields;

const SECTOR: u64 = 512;

/// Logical partitions of one disk; a chain that is longer runs in a circle.
const MOST_LOGICAL: u32 = 128;

#[derive(Clone, Copy)]
struct Entry {
    status: u8,
    kind: u8,
    first: u64,
    sectors: u64,
}

impl Entry {
    fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    fn is_used(self) -> bool {
        self.kind != 0 && self.sectors > 0
    }

    fn partition(self, number: u32, base: u64) -> Partition {
        Partition {
            number,
            kind: PartitionType::from_mbr(self.kind),
            name: String::new(),
            start: (base + self.first) * SECTOR,
            size: self.sectors * SECTOR,
        }
    }
}

/// Reads the record, if the disk has one.
pub(super) fn read(disk: &mut Disk<'_>) -> Result<Option<Layout>, PartitionError> {
    let sector = disk.read(0, 512)?;
    let Some(primary) = entries(&sector).filter(|_| !is_boot_sector(&sector)) else { return Ok(None) };
    // Boot code of a volume may end in the same signature: a table has sane entries, and at least one.
    let sane = |entry: &Entry| entry.status & 0x7f == 0 && (!entry.is_used() || entry.first > 0);
    if !primary.iter().all(sane) || !primary.iter().any(|entry| entry.is_used()) {
        return Ok(None);
    }
    let mut partitions = Vec::new();
    for (slot, entry) in primary.iter().enumerate().filter(|(_, entry)| entry.is_used()) {
        let partition = entry.partition(slot as u32 + 1, 0);
        if !entry.is_extended() {
            partitions.push(partition);
        } else if partition.start >= disk.size() {
            let (number, end, size) = (partition.number, partition.start + partition.size, disk.size());
            return Err(PartitionError::Beyond { scheme: Scheme::Mbr, number, end, size });
        } else {
            logical(disk, entry.first, &mut partitions)?;
        }
    }
    Ok(Some(Layout { scheme: Scheme::Mbr, block_size: SECTOR as u32, partitions, warnings: Vec::new() }))
}

fn logical(
    disk: &mut Disk<'_>,
    extended: u64,
    partitions: &mut Vec<Partition>,
) -> Result<(), PartitionError> {
    let mut record = extended;
    for number in 5..5 + MOST_LOGICAL {
        let at = record * SECTOR;
        let damaged = |what| PartitionError::Damaged { scheme: Scheme::Mbr, at, what };
        let sector = disk.read(at, 512)?;
        let [own, next, ..] =
            entries(&sector).ok_or_else(|| damaged("a link of its extended partition is lost"))?;
        if own.is_used() && !own.is_extended() {
            partitions.push(own.partition(number, record));
        }
        if !next.is_used() {
            return Ok(());
        }
        record = extended + next.first;
    }
    let at = extended * SECTOR;
    let what = "its extended partition runs in a circle";
    Err(PartitionError::Damaged { scheme: Scheme::Mbr, at, what })
}

fn entries(sector: &[u8]) -> Option<[Entry; 4]> {
    let sector = Fields(sector);
    sector.has(510, b"\x55\xaa").then(|| {
        [446, 462, 478, 494].map(|at| Entry {
            status: sector.u8(at),
            kind: sector.u8(at + 4),
            first: sector.le32(at + 8).into(),
            sectors: sector.le32(at + 12).into(),
        })
    })
}

/// Whether this is the first sector of a FAT, exFAT or NTFS volume, which ends in the same two bytes.
fn is_boot_sector(sector: &[u8]) -> bool {
    let sector = Fields(sector);
    [(54, &b"FAT"[..]), (82, b"FAT32"), (3, b"EXFAT   "), (3, b"NTFS    ")]
        .into_iter()
        .any(|(at, name)| sector.has(at, name))
}
