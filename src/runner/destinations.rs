//! The partitions of this Mac that an image may go to, with what lies on them: what the technician selects from.
//!
//! Looked at when it is asked for, read only. A partition that cannot be read is shown all the same. Must not know: how much
//! room an image needs, who selects.

use std::fs::File;
use std::os::unix::fs::FileExt;

use gptman::{GPT, GPTPartitionEntry};
use uuid::Uuid;

use crate::api::runner::{DestinationDisk, DestinationPartition, DiskFacts};
use crate::image::volume::{self, Kind};

/// EFI System Partition (UEFI 2.10 section 5.3.3).
const EFI: Uuid = uuid::uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Where an APFS disk of a Mac keeps what its firmware starts (Macs with Apple silicon): its iBoot system and recovery.
const FIRMWARE: [Uuid; 2] = [
    uuid::uuid!("69646961-6700-11aa-aa11-00306543ecac"),
    uuid::uuid!("52637672-7900-11aa-aa11-00306543ecac"),
];
/// Letters of what lies on a partition that are shown.
const LONGEST: usize = 80;
/// Bytes that the label of a file system is looked for in.
const HEAD: usize = 2048;

/// Every disk with its partitions, in the order of their numbers; those that must not be touched last.
pub fn destinations(disks: &[DiskFacts]) -> Vec<DestinationDisk> {
    disks.iter().map(destination).collect()
}

fn destination(disk: &DiskFacts) -> DestinationDisk {
    let mut all = DestinationDisk {
        number: disk.number,
        node: disk.node.clone(),
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        size: disk.size,
        external: disk.external,
        why_not: String::new(),
        partitions: Vec::new(),
    };
    if disk.number.is_none() {
        "this Mac was started from it, or it cannot be written".clone_into(&mut all.why_not);
        return all;
    }
    let table = File::open(&disk.node).map_err(|error| error.to_string()).and_then(|mut file| {
        match GPT::read_from(&mut file, u64::from(disk.block_size)) {
            Ok(table) => Ok((file, table)),
            Err(_) => Err("it has no partition table that an image can go by; format it first".to_owned()),
        }
    });
    let (file, table) = match table {
        Ok(read) => read,
        Err(why) => return DestinationDisk { why_not: why, ..all },
    };
    for (number, entry) in table.iter().filter(|(_, entry)| entry.is_used()) {
        all.partitions.push(partition(&file, u64::from(disk.block_size), number, entry));
    }
    if all.partitions.is_empty() {
        "it has no partitions; format it first".clone_into(&mut all.why_not);
    }
    all
}

fn partition(file: &File, block: u64, number: u32, entry: &GPTPartitionEntry) -> DestinationPartition {
    let kind = Uuid::from_bytes_le(entry.partition_type_guid);
    let size = entry.size().unwrap_or(0).saturating_mul(block);
    let start = entry.starting_lba.saturating_mul(block);
    let why_not = match kind {
        EFI => "the EFI System Partition: the firmware's own",
        kind if FIRMWARE.contains(&kind) => "a partition that the Mac's firmware needs",
        _ => "",
    };
    DestinationPartition {
        number,
        contents: contents(file, start, size, entry.partition_name.as_str()),
        size,
        why_not: why_not.to_owned(),
    }
}

/// The volume's own label and its file system; where it says nothing, the name in the partition table.
fn contents(mut file: &File, start: u64, size: u64, name: &str) -> String {
    let facts = volume::read(&mut file, start, size).ok();
    let kind = facts.as_ref().map_or(Kind::Unknown, |facts| facts.kind);
    let label = facts.and_then(|facts| facts.label).filter(|label| !label.trim().is_empty());
    let shown = label.unwrap_or_else(|| name.to_owned());
    let kind = match kind {
        Kind::Unknown if is_clear(file, start, size) => "empty".to_owned(),
        Kind::Unknown => "unknown content".to_owned(),
        kind => kind.to_string(),
    };
    let shown: String = shown.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    match shown.trim() {
        "" => kind,
        label => format!("{label} ({kind})"),
    }
}

fn is_clear(file: &File, start: u64, size: u64) -> bool {
    let mut head = vec![0; usize::try_from(size).map_or(HEAD, |size| size.min(HEAD))];
    file.read_exact_at(&mut head, start).is_ok() && head.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(node: &str, number: Option<u32>) -> DiskFacts {
        DiskFacts {
            number,
            node: node.to_owned(),
            model: "Model".to_owned(),
            serial: "S1".to_owned(),
            size: 64 << 20,
            block_size: 512,
            external: false,
            contents: Vec::new(),
            health: None,
        }
    }

    fn entry(kind: Uuid, name: &str, first: u64, mib: u64) -> GPTPartitionEntry {
        GPTPartitionEntry {
            partition_type_guid: kind.to_bytes_le(),
            unique_partition_guid: [(first >> 11) as u8; 16],
            starting_lba: first,
            ending_lba: first + mib * 2048 - 1,
            attribute_bits: 0,
            partition_name: name.into(),
        }
    }

    #[test]
    fn section_7_partitions_are_shown_with_what_lies_on_them_and_why_one_is_no_place_for_an_image() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let mut disk_file = file.reopen().unwrap();
        let mut table = GPT::new_from(&mut disk_file, 512, [7; 16]).unwrap();
        let hfs = uuid::uuid!("48465300-0000-11aa-aa11-00306543ecac");
        table[1] = entry(EFI, "EFI System Partition", 2048, 2);
        table[2] = entry(hfs, "Macintosh HD", 8192, 30);
        table[3] = entry(hfs, "Data\u{7}", 71_680, 4);
        table.write_into(&mut disk_file).unwrap();
        disk_file.write_all_at(&[7; 4096], 71_680 * 512).unwrap();
        let node = file.path().display().to_string();
        let shown = destinations(&[disk(&node, Some(0)), disk(&node, None), disk("/nowhere", Some(1))]);
        let lines: Vec<String> = shown[0].partitions.iter().map(DestinationPartition::named).collect();
        assert_eq!(
            lines,
            ["1 EFI System Partition (empty)", "2 Macintosh HD (empty)", "3 Data (unknown content)"]
        );
        assert!(
            shown[0].partitions[0].why_not.contains("firmware") && shown[0].partitions[1].why_not.is_empty()
        );
        assert_eq!(shown[0].partitions[1].size, 30 << 20);
        assert!(shown[1].why_not.contains("started from it") && shown[1].partitions.is_empty());
        assert!(!shown[2].why_not.is_empty());
        disk_file.write_all_at(&[0; 34 * 512], 0).unwrap();
        let end = (64 << 20) - 34 * 512;
        disk_file.write_all_at(&[0; 34 * 512], end).unwrap();
        assert!(destinations(&[disk(&node, Some(0))])[0].why_not.contains("format it first"));
    }
}
