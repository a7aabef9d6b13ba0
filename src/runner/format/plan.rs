//! Where every partition goes, as data. Pure.
//!
//! | rule | why |
//! |---|---|
//! | EFI System Partition first, FAT32: 200 MiB, 300 MiB on disks with 4096-byte blocks | as Apple lays it; FAT32 needs 65,525 clusters of at least one block (Microsoft FAT specification, section 3.5), which do not fit into 200 MiB of 4096-byte blocks |
//! | starts at multiples of 1 MiB | whole erase blocks and 4096-byte sectors |
//! | 128 MiB free after each HFS+ partition | Apple TN2166, "Recommendations": room for what may be inserted later |
//! | percent counts from what is left after the partitions before | task-sequences section 2 |
//!
//! Must not know: how a table or a file system is written.

use crate::api::runner::{PartitionRequest, PartitionSize, VolumeFormat};
use crate::value::ByteSize;

const MIB: u64 = 1 << 20;

/// Bytes kept for the backup table at the end: 33 blocks, rounded up to whole MiB.
const TAIL: u64 = MIB;

/// Free room after an HFS+ partition.
const HFS_GAP: u64 = 128 * MIB;

/// Most partitions of one disk: a GPT has 128 entries, the first is the EFI System Partition.
const MOST: usize = 127;

/// What a partition holds, as its GPT type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// EFI System Partition, FAT32.
    Efi,
    /// A volume that was asked for.
    Volume(VolumeFormat),
}

/// One partition of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Number in the table, from 1.
    pub number: u32,
    /// GPT name and volume label.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// A disk's new layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the disk.
    pub disk_size: u64,
    /// Logical block of the disk.
    pub block_size: u32,
    /// The partitions in order; the first is the EFI System Partition.
    pub slots: Vec<Slot>,
}

/// The request does not fit the disk, or makes no sense. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No partition was asked for.
    #[error("the step asks for no partition")]
    NoPartitions,
    /// More than a GPT holds.
    #[error("the step asks for {0} partitions; a GPT has room for {MOST} beside the EFI System Partition")]
    TooMany(usize),
    /// 0 or more than 100 percent.
    #[error("partition `{name}` asks for {percent} percent; 1 to 100 is possible")]
    Percent {
        /// Which partition.
        name: String,
        /// As asked.
        percent: u8,
    },
    /// Smaller than its file system can be.
    #[error("partition `{name}` is to have {}; its file system needs {} or more", ByteSize(*asked), ByteSize(*least))]
    Tiny {
        /// Which partition.
        name: String,
        /// Bytes that it would have.
        asked: u64,
        /// Fewest bytes.
        least: u64,
    },
    /// Too little room. Both sizes are told.
    #[error(
        "partition `{name}` needs {} and {} are left of a disk of {}",
        ByteSize(*needs), ByteSize(*left), ByteSize(*disk)
    )]
    TooSmall {
        /// Which partition.
        name: String,
        /// Bytes that it needs, gap included.
        needs: u64,
        /// Bytes that are left.
        left: u64,
        /// Bytes of the disk.
        disk: u64,
    },
}

/// Plans `requests` on a disk of `disk_size` bytes with blocks of `block_size`.
///
/// # Errors
/// See [`PlanError`].
pub fn plan(disk_size: u64, block_size: u32, requests: &[PartitionRequest]) -> Result<Plan, PlanError> {
    match requests.len() {
        0 => return Err(PlanError::NoPartitions),
        many if many > MOST => return Err(PlanError::TooMany(many)),
        _ => {}
    }
    let end = disk_size.saturating_sub(TAIL) / MIB * MIB;
    let efi_size = if block_size > 512 { 300 * MIB } else { 200 * MIB };
    let too_small = |name: &str, needs: u64, left: u64| PlanError::TooSmall {
        name: name.to_owned(),
        needs,
        left,
        disk: disk_size,
    };
    let efi_name = "EFI System Partition";
    if end < MIB + efi_size {
        return Err(too_small(efi_name, efi_size, end.saturating_sub(MIB)));
    }
    let mut slots =
        vec![Slot { number: 1, name: efi_name.to_owned(), kind: Kind::Efi, start: MIB, size: efi_size }];
    let mut cursor = MIB + efi_size;
    for (number, request) in (2..).zip(requests) {
        let left = end - cursor;
        let gap = gap_after(request.format);
        let room = left.saturating_sub(gap);
        let size = match request.size {
            PartitionSize::Bytes(bytes) if bytes / MIB * MIB > room => {
                return Err(too_small(&request.name, (bytes / MIB * MIB).saturating_add(gap), left));
            }
            PartitionSize::Bytes(bytes) => bytes / MIB * MIB,
            PartitionSize::Percent(percent @ 1..=100) => {
                let share = (u128::from(left) * u128::from(percent) / 100) as u64;
                share.min(room) / MIB * MIB
            }
            PartitionSize::Percent(percent) => {
                return Err(PlanError::Percent { name: request.name.clone(), percent });
            }
        };
        let least = smallest(request.format, block_size);
        if room < least {
            return Err(too_small(&request.name, least + gap, left));
        }
        if size < least {
            return Err(PlanError::Tiny { name: request.name.clone(), asked: size, least });
        }
        slots.push(Slot {
            number,
            name: request.name.clone(),
            kind: Kind::Volume(request.format),
            start: cursor,
            size,
        });
        cursor += size + gap;
    }
    Ok(Plan { disk_size, block_size, slots })
}

fn gap_after(format: VolumeFormat) -> u64 {
    match format {
        VolumeFormat::Hfs | VolumeFormat::HfsJournaled | VolumeFormat::HfsCaseSensitive => HFS_GAP,
        _ => 0,
    }
}

/// The smallest partition in which the file system can be made and is of use.
fn smallest(format: VolumeFormat, block_size: u32) -> u64 {
    match format {
        VolumeFormat::Raw => MIB,
        VolumeFormat::ExFat => 8 * MIB,
        // 65,525 clusters of one block, two tables of four bytes a cluster, 32 reserved blocks.
        VolumeFormat::Fat32 => {
            (65_525 * (u64::from(block_size) + 8) + 32 * u64::from(block_size)).div_ceil(MIB) * MIB
        }
        // A journal alone takes 8 MiB (Apple TN1150, "Journal").
        VolumeFormat::Hfs | VolumeFormat::HfsJournaled | VolumeFormat::HfsCaseSensitive => 32 * MIB,
        VolumeFormat::Apfs => 32 * MIB,
    }
}

impl Plan {
    /// The plan as people read it, one line a partition.
    pub fn lines(&self) -> Vec<String> {
        let line = |slot: &Slot| {
            let format = match slot.kind {
                Kind::Efi => "fat32 (EFI)".to_owned(),
                Kind::Volume(format) => format_name(format).to_owned(),
            };
            let start = slot.start / MIB;
            let size = slot.size / MIB;
            format!("{:>3}  {start:>9} MiB  {size:>9} MiB  {format:<20}  {}", slot.number, slot.name)
        };
        self.slots.iter().map(line).collect()
    }
}

/// The name that sequences use for a format.
pub fn format_name(format: VolumeFormat) -> &'static str {
    match format {
        VolumeFormat::Apfs => "apfs",
        VolumeFormat::Hfs => "hfs+",
        VolumeFormat::HfsJournaled => "hfs+ journaled",
        VolumeFormat::HfsCaseSensitive => "hfs+ case-sensitive",
        VolumeFormat::ExFat => "exfat",
        VolumeFormat::Fat32 => "fat32",
        VolumeFormat::Raw => "raw",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn request(name: &str, format: VolumeFormat, size: PartitionSize) -> PartitionRequest {
        PartitionRequest { name: name.into(), format, size }
    }

    #[test]
    fn section_2_a_mac_with_two_volumes_and_a_share_is_laid_out_as_apple_does() {
        let requests = [
            request("Macintosh HD", VolumeFormat::HfsJournaled, PartitionSize::Percent(50)),
            request("Data", VolumeFormat::Apfs, PartitionSize::Bytes(40 * 1_000_000_000)),
            request("Share", VolumeFormat::ExFat, PartitionSize::Percent(100)),
        ];
        let plan = plan(500_107_862_016, 512, &requests).unwrap();
        insta::assert_snapshot!(plan.lines().join("\n"));
    }

    #[test]
    fn section_2_all_of_the_disk_leaves_the_gap_after_hfs_and_nothing_after_apfs() {
        for (format, gap) in [(VolumeFormat::Hfs, 128), (VolumeFormat::Apfs, 0)] {
            let plan = plan(64 * GIB, 512, &[request("A", format, PartitionSize::Percent(100))]).unwrap();
            let slot = &plan.slots[1];
            assert_eq!(slot.start + slot.size, 64 * GIB - (1 + gap) * MIB);
        }
    }

    #[test]
    fn section_2_percent_counts_from_what_is_left_and_every_kind_of_hfs_has_its_gap() {
        use VolumeFormat::{Apfs, ExFat, Fat32, Hfs, HfsCaseSensitive, HfsJournaled, Raw};
        let left = |plan: &Plan, number: usize| {
            let before = &plan.slots[number - 2];
            let gap =
                if matches!(before.kind, Kind::Volume(format) if gap_after(format) > 0) { 128 } else { 0 };
            assert_eq!(plan.slots[number - 1].start, before.start + before.size + gap * MIB, "{number}");
            64 * GIB - MIB - plan.slots[number - 1].start
        };
        for format in [Apfs, Hfs, HfsJournaled, HfsCaseSensitive, ExFat, Fat32, Raw] {
            let wanted = [
                request("A", format, PartitionSize::Percent(25)),
                request("B", format, PartitionSize::Percent(50)),
                request("C", format, PartitionSize::Bytes(3 * GIB)),
                request("D", Apfs, PartitionSize::Percent(100)),
            ];
            let plan = plan(64 * GIB, 512, &wanted).unwrap();
            assert_eq!(plan.slots[0].size, 200 * MIB);
            for (number, percent) in [(2, 25), (3, 50), (5, 100)] {
                let share = left(&plan, number) * percent / 100 / MIB * MIB;
                assert_eq!(plan.slots[number - 1].size, share, "{format:?} {number}");
            }
            left(&plan, 4);
            let gap = if matches!(format, Hfs | HfsJournaled | HfsCaseSensitive) { 128 * MIB } else { 0 };
            assert_eq!(gap_after(format), gap, "{format:?}");
        }
    }

    #[test]
    fn a_disk_with_large_blocks_gets_an_efi_partition_that_fat32_fits_in() {
        let plan =
            plan(64 * GIB, 4096, &[request("A", VolumeFormat::Apfs, PartitionSize::Percent(100))]).unwrap();
        assert_eq!(plan.slots[0].size, 300 * MIB);
    }

    #[test]
    fn section_2_too_small_a_disk_is_refused_with_both_sizes() {
        let error = plan(100 * MIB, 512, &[request("A", VolumeFormat::Apfs, PartitionSize::Percent(100))])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "partition `EFI System Partition` needs 200.0 MiB and 98.0 MiB are left of a disk of 100.0 MiB"
        );
        let wanted = [request("Big", VolumeFormat::HfsJournaled, PartitionSize::Bytes(2 * GIB))];
        let error = plan(2 * GIB, 512, &wanted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "partition `Big` needs 2.1 GiB and 1.8 GiB are left of a disk of 2.0 GiB"
        );
    }

    #[test]
    fn section_2_a_partition_that_is_too_small_for_its_file_system_is_told_from_a_disk_that_is() {
        for (size, asked) in [(PartitionSize::Bytes(24 * MIB), 24), (PartitionSize::Percent(1), 5)] {
            let error = plan(800 * MIB, 512, &[request("S", VolumeFormat::Hfs, size)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("partition `S` is to have {asked}.0 MiB; its file system needs 32.0 MiB or more")
            );
        }
    }

    #[test]
    fn section_2_nothing_left_for_a_later_partition_is_refused_by_its_name() {
        let wanted = [
            request("A", VolumeFormat::Apfs, PartitionSize::Percent(100)),
            request("B", VolumeFormat::Raw, PartitionSize::Percent(100)),
        ];
        assert!(
            plan(10 * GIB, 512, &wanted).unwrap_err().to_string().starts_with("partition `B` needs 1.0 MiB")
        );
    }

    #[test]
    fn senseless_requests_are_refused() {
        assert_eq!(plan(GIB, 512, &[]), Err(PlanError::NoPartitions));
        for percent in [0, 101] {
            let wanted = [request("A", VolumeFormat::Raw, PartitionSize::Percent(percent))];
            assert!(matches!(plan(GIB, 512, &wanted), Err(PlanError::Percent { .. })));
        }
        let many = vec![request("A", VolumeFormat::Raw, PartitionSize::Bytes(MIB)); 128];
        assert_eq!(plan(GIB, 512, &many), Err(PlanError::TooMany(128)));
    }

    fn any_request() -> impl Strategy<Value = PartitionRequest> {
        let format = prop_oneof![
            Just(VolumeFormat::Apfs),
            Just(VolumeFormat::HfsJournaled),
            Just(VolumeFormat::ExFat),
            Just(VolumeFormat::Fat32),
            Just(VolumeFormat::Raw)
        ];
        let size = prop_oneof![
            any::<u8>().prop_map(PartitionSize::Percent),
            any::<u64>().prop_map(PartitionSize::Bytes)
        ];
        (format, size).prop_map(|(format, size)| PartitionRequest { name: "x".into(), format, size })
    }

    proptest! {
        #[test]
        fn a_plan_never_overlaps_leaves_the_disk_or_loses_alignment(
            disk in any::<u64>(),
            block in prop_oneof![Just(512_u32), Just(4096)],
            requests in proptest::collection::vec(any_request(), 0..6),
        ) {
            if let Ok(plan) = plan(disk, block, &requests) {
                prop_assert_eq!(plan.slots.len(), requests.len() + 1);
                let mut free_from = MIB;
                for slot in &plan.slots {
                    prop_assert!(slot.start >= free_from && slot.size >= MIB);
                    prop_assert_eq!((slot.start % MIB, slot.size % MIB), (0, 0));
                    free_from = slot.start + slot.size;
                }
                prop_assert!(free_from <= disk - MIB);
            }
        }
    }
}
