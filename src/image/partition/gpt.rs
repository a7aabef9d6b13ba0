//! GUID partition table (UEFI 2.10 section 5.3), primary and backup, in blocks of 512 or 4096 bytes.
//!
//! | at | field | | at | an entry |
//! |---|---|---|---|---|
//! | 0 | `EFI PART` | | 0 | type GUID, zero in an unused slot |
//! | 12 | header size u32 | | 16 | own GUID |
//! | 16 | CRC-32 of the header with this field zero | | 32 | first block u64 |
//! | 24 | own block u64, other header's u64 | | 40 | last block u64 |
//! | 72 | block of the entries u64 | | 56 | name, UTF-16 |
//! | 80 | entries u32, entry size u32, CRC-32 of all | | | |

use super::{Disk, Layout, Oddity, Partition, PartitionError, PartitionType, Scheme};
use crate::image::field::{Fields, utf16};

/// Entries together: 128 of 128 bytes is what everybody writes.
const MOST_TABLE: u64 = 1 << 20;

const BLOCKS: [u64; 2] = [512, 4096];

/// Reads the table, if the disk has one.
pub(super) fn read(disk: &mut Disk<'_>) -> Result<Option<Layout>, PartitionError> {
    let mut damage = None;
    for block in BLOCKS {
        match read_table(disk, block, block)? {
            Table::Good { partitions, other } => {
                let mut warnings = Vec::new();
                let place = other.checked_mul(block).filter(|&at| at < disk.size());
                let backup = match place {
                    Some(at) => read_table(disk, at, block)?,
                    None => Table::Absent,
                };
                if !matches!(backup, Table::Good { .. }) {
                    warnings.push(Oddity::BackupMissing);
                }
                return Ok(Some(layout(block, partitions, warnings)));
            }
            Table::Damaged(what) => damage = Some((block, what)),
            Table::Absent => {}
        }
    }
    for block in BLOCKS {
        let Some(at) = disk.size().checked_sub(block).map(|last| last / block * block) else { continue };
        if let Table::Good { partitions, .. } = read_table(disk, at, block)? {
            return Ok(Some(layout(block, partitions, vec![Oddity::BackupUsed])));
        }
    }
    if let Some((at, what)) = damage {
        return Err(PartitionError::Damaged { scheme: Scheme::Gpt, at, what });
    }
    if is_protected(&disk.read(0, 512)?) {
        let what = "the MBR says that there is a GPT, and neither it nor its backup is there";
        return Err(PartitionError::Damaged { scheme: Scheme::Gpt, at: 512, what });
    }
    Ok(None)
}

/// Whether the MBR holds nothing but the entry that keeps other tools away from a GPT disk (section 5.2.3).
fn is_protected(sector: &[u8]) -> bool {
    let sector = Fields(sector);
    sector.has(510, b"\x55\xaa")
        && sector.u8(446 + 4) == 0xee
        && (1..4).all(|slot| sector.u8(446 + 16 * slot + 4) == 0)
}

fn layout(block: u64, partitions: Vec<Partition>, warnings: Vec<Oddity>) -> Layout {
    Layout { scheme: Scheme::Gpt, block_size: block as u32, partitions, warnings }
}

enum Table {
    Absent,
    Damaged(&'static str),
    Good {
        partitions: Vec<Partition>,
        /// Block of the other header.
        other: u64,
    },
}

fn read_table(disk: &mut Disk<'_>, at: u64, block: u64) -> Result<Table, PartitionError> {
    let bytes = disk.read(at, block as usize)?;
    let header = Fields(&bytes);
    if !header.has(0, b"EFI PART") {
        return Ok(Table::Absent);
    }
    let size = header.le32(12) as usize;
    if !(92..=bytes.len()).contains(&size) {
        return Ok(Table::Damaged("the header has an impossible length"));
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..16]);
    crc.update(&[0; 4]);
    crc.update(&bytes[20..size]);
    if crc.finalize() != header.le32(16) {
        return Ok(Table::Damaged("the CRC-32 of its header is wrong"));
    }
    if header.le64(24).checked_mul(block) != Some(at) {
        return Ok(Table::Damaged("the header belongs to another block"));
    }
    let (count, entry) = (u64::from(header.le32(80)), u64::from(header.le32(84)));
    if !(128..=4096).contains(&entry) || entry % 8 != 0 || count * entry > MOST_TABLE {
        return Ok(Table::Damaged("the table has an impossible size"));
    }
    let length = (count * entry) as usize;
    let Some(place) = header.le64(72).checked_mul(block) else {
        return Ok(Table::Damaged("its entries lie beyond every disk"));
    };
    let entries = disk.read(place, length)?;
    if entries.len() != length || crc32fast::hash(&entries) != header.le32(88) {
        return Ok(Table::Damaged("the CRC-32 of its entries is wrong"));
    }
    let mut partitions = Vec::new();
    for (slot, bytes) in entries.chunks_exact(entry as usize).enumerate() {
        match partition(slot as u32 + 1, Fields(bytes), block) {
            Ok(found) => partitions.extend(found),
            Err(what) => return Ok(Table::Damaged(what)),
        }
    }
    Ok(Table::Good { partitions, other: header.le64(32) })
}

fn partition(number: u32, entry: Fields<'_>, block: u64) -> Result<Option<Partition>, &'static str> {
    let guid = entry.array(0);
    if guid == [0; 16] {
        return Ok(None);
    }
    let (first, last) = (entry.le64(32), entry.le64(40));
    let place = last
        .checked_sub(first)
        .and_then(|blocks| blocks.checked_add(1))
        .and_then(|blocks| Some((first.checked_mul(block)?, blocks.checked_mul(block)?)));
    let (start, size) = place.ok_or("a partition has an impossible place")?;
    let name = utf16((0..36).map(|k| entry.le16(56 + 2 * k)));
    Ok(Some(Partition { number, kind: PartitionType::from_guid(guid), name, start, size }))
}
