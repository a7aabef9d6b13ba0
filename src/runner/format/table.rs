//! The plan as a GUID partition table on the disk (UEFI 2.10 section 5), old signatures wiped before.
//!
//! Order, so that a power cut leaves either nothing or the new table: the disk's ends, the ends of every new
//! partition, flush, then the table, flush.
//!
//! Must not know: file systems.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use gptman::{GPT, GPTPartitionEntry};
use uuid::{Uuid, uuid};

use super::plan::{Kind, Plan};
use crate::api::runner::VolumeFormat;

const MIB: usize = 1 << 20;

const EFI: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const APPLE_HFS: Uuid = uuid!("48465300-0000-11aa-aa11-00306543ecac");
const APPLE_APFS: Uuid = uuid!("7c3457ef-0000-11aa-aa11-00306543ecac");
const BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");

/// The table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Reading or writing the disk failed.
    #[error("{doing} failed")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The table itself is refused.
    #[error("the partition table is not usable: {0}")]
    Table(String),
}

fn disk(doing: &'static str) -> impl Fn(io::Error) -> TableError {
    move |source| TableError::Disk { doing, source }
}

fn table(error: gptman::Error) -> TableError {
    TableError::Table(error.to_string())
}

/// GPT type of what a partition holds. Raw partitions are Basic Data until an image says what they are.
fn type_of(kind: Kind) -> Uuid {
    match kind {
        Kind::Efi => EFI,
        Kind::Volume(VolumeFormat::Apfs) => APPLE_APFS,
        Kind::Volume(VolumeFormat::Hfs | VolumeFormat::HfsJournaled | VolumeFormat::HfsCaseSensitive) => {
            APPLE_HFS
        }
        Kind::Volume(VolumeFormat::ExFat | VolumeFormat::Fat32 | VolumeFormat::Raw) => BASIC_DATA,
    }
}

/// Wipes what was on the disk and writes the plan's table. `unique` gives fresh GUIDs.
///
/// # Errors
/// See [`TableError`].
pub fn erase_and_write(
    file: &mut File,
    plan: &Plan,
    mut unique: impl FnMut() -> Uuid,
) -> Result<(), TableError> {
    wipe(file, plan).map_err(disk("wiping old signatures"))?;
    let sector = u64::from(plan.block_size);
    let mut gpt = GPT::new_from(file, sector, unique().to_bytes_le()).map_err(table)?;
    for slot in &plan.slots {
        gpt[slot.number] = GPTPartitionEntry {
            partition_type_guid: type_of(slot.kind).to_bytes_le(),
            unique_partition_guid: unique().to_bytes_le(),
            starting_lba: slot.start / sector,
            ending_lba: (slot.start + slot.size) / sector - 1,
            attribute_bits: 0,
            partition_name: gpt_name(&slot.name).as_str().into(),
        };
    }
    GPT::write_protective_mbr_into(file, sector).map_err(table)?;
    gpt.write_into(file).map_err(table)?;
    file.sync_all().map_err(disk("flushing the partition table"))
}

/// Both ends of the disk and of each new partition: tables, boot sectors, volume headers and their copies at the end
/// (HFS+ keeps one 1024 bytes before the end, TN1150 "Volume Header").
fn wipe(file: &mut File, plan: &Plan) -> io::Result<()> {
    let zeros = vec![0; MIB];
    let ends =
        std::iter::once((0, plan.disk_size)).chain(plan.slots.iter().map(|slot| (slot.start, slot.size)));
    for (start, size) in ends {
        let length = size.min(MIB as u64);
        for at in [start, start + size - length] {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&zeros[..length as usize])?;
        }
    }
    file.sync_all()
}

/// At most 36 UTF-16 units (UEFI 2.10 table 5.6), no character cut in two.
fn gpt_name(name: &str) -> String {
    let mut units = 0;
    name.chars()
        .take_while(|c| {
            units += c.len_utf16();
            units <= 36
        })
        .collect()
}

/// Gives partition `number` the type that its new content has; true when the table was changed. A volume whose partition
/// says something else is not mounted by macOS.
///
/// # Errors
/// See [`TableError`].
pub fn set_partition_type(
    file: &mut File,
    block_size: u32,
    number: u32,
    kind: Uuid,
) -> Result<bool, TableError> {
    let mut gpt = GPT::read_from(file, u64::from(block_size)).map_err(table)?;
    let wanted = kind.to_bytes_le();
    if !(1..=gpt.header.number_of_partition_entries).contains(&number) || gpt[number].is_unused() {
        return Err(TableError::Table(format!("it has no partition {number}")));
    }
    if gpt[number].partition_type_guid == wanted {
        return Ok(false);
    }
    gpt[number].partition_type_guid = wanted;
    gpt.write_into(file).map_err(table)?;
    file.sync_all().map_err(disk("flushing the partition table"))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::*;
    use crate::api::runner::{PartitionRequest, PartitionSize};

    fn sparse(size: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file
    }

    fn two_volumes(size: u64, block: u32) -> Plan {
        let request = |name: &str, format| PartitionRequest {
            name: name.into(),
            format,
            size: PartitionSize::Percent(50),
        };
        plan(size, block, &[request("One", VolumeFormat::HfsJournaled), request("Two", VolumeFormat::Apfs)])
            .unwrap()
    }

    #[test]
    fn the_table_reads_back_as_planned_with_either_block_size() {
        for block in [512, 4096] {
            let plan = two_volumes(4 << 30, block);
            let mut file = sparse(plan.disk_size);
            let mut next = 0;
            erase_and_write(&mut file, &plan, || {
                next += 1;
                Uuid::from_u128(next)
            })
            .unwrap();
            let gpt = GPT::read_from(&mut file, u64::from(block)).unwrap();
            let seen: Vec<_> = gpt.iter().filter(|(_, entry)| entry.is_used()).collect();
            assert_eq!(seen.len(), 3);
            for ((number, entry), slot) in seen.iter().zip(&plan.slots) {
                assert_eq!(*number, slot.number);
                assert_eq!(entry.partition_name.as_str(), slot.name);
                assert_eq!(entry.starting_lba * u64::from(block), slot.start);
                assert_eq!(entry.size().unwrap() * u64::from(block), slot.size);
            }
            assert_eq!(Uuid::from_bytes_le(seen[1].1.partition_type_guid), APPLE_HFS);
        }
    }

    #[test]
    fn signatures_at_both_ends_of_disk_and_partitions_are_gone() {
        let plan = two_volumes(4 << 30, 512);
        let mut file = sparse(plan.disk_size);
        let slot = &plan.slots[2];
        let old = [3 << 10, slot.start + 1024, slot.start + slot.size - 1024];
        for at in old {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(b"NXSB").unwrap();
        }
        erase_and_write(&mut file, &plan, Uuid::new_v4).unwrap();
        for at in &old[1..] {
            let mut bytes = [1; 4];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, *at).unwrap();
            assert_eq!(bytes, [0; 4], "at {at}");
        }
    }

    #[test]
    fn a_partitions_type_follows_its_content() {
        let plan = two_volumes(4 << 30, 512);
        let mut file = sparse(plan.disk_size);
        erase_and_write(&mut file, &plan, Uuid::new_v4).unwrap();
        assert!(set_partition_type(&mut file, 512, 2, APPLE_APFS).unwrap());
        assert!(!set_partition_type(&mut file, 512, 2, APPLE_APFS).unwrap());
        let gpt = GPT::read_from(&mut file, 512).unwrap();
        assert_eq!(Uuid::from_bytes_le(gpt[2].partition_type_guid), APPLE_APFS);
        for number in [0, 4, 129] {
            assert!(matches!(set_partition_type(&mut file, 512, number, EFI), Err(TableError::Table(_))));
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(gpt_name(&"ä".repeat(50)).chars().count(), 36);
        assert_eq!(gpt_name(&"😀".repeat(50)).chars().count(), 18);
    }
}
