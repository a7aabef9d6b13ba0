//! Partition tables: what is on a disk, and where.
//!
//! | scheme | found by | file |
//! |---|---|---|
//! | GPT | `EFI PART` in block 1 or the last block, of 512 or 4096 bytes | `gpt` |
//! | APM | `PM` in block 1, of 512 or 2048 bytes | `apm` |
//! | MBR | `55 aa` at 510, no boot sector of a volume | `mbr` |
//! | none | anything else: a bare volume | |
//!
//! Owns: bounds on hostile tables, order, overlaps. Must not know: what a volume holds, chunks, restores.

mod apm;
mod gpt;
mod kind;
mod mbr;

use std::fmt;
use std::io::{self, Read, Seek};

pub use self::kind::PartitionType;
use crate::image::field::Window;

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table.
    Gpt,
    /// Apple partition map.
    Apm,
    /// Master boot record.
    Mbr,
    /// Not at all: one volume from byte 0.
    None,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Gpt => "gpt",
            Scheme::Apm => "apm",
            Scheme::Mbr => "mbr",
            Scheme::None => "none",
        })
    }
}

/// One partition. Lies within the disk and overlaps no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number as macOS and Linux have it: the slot in the table, from 1; logical MBR partitions from 5.
    pub number: u32,
    /// What it is for.
    pub kind: PartitionType,
    /// Its name in the table; empty in an MBR.
    pub name: String,
    /// Offset in bytes.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

/// What a partition table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How the disk is divided.
    pub scheme: Scheme,
    /// Bytes of a block of the table; 512 where there is none.
    pub block_size: u32,
    /// In the order in which they lie on the disk.
    pub partitions: Vec<Partition>,
    /// What is odd and stops nobody.
    pub warnings: Vec<Oddity>,
}

/// What is odd about a partition table that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The table at the front is damaged.
    BackupUsed,
    /// The table at the end is missing or damaged.
    BackupMissing,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Oddity::BackupUsed => {
                "the partition table at the front is damaged; its backup at the end was used"
            }
            Oddity::BackupMissing => "the backup partition table at the end is missing or damaged",
        })
    }
}

/// Why a partition table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The disk cannot be read.
    #[error("reading the partition table at byte {at}")]
    Read {
        /// Offset.
        at: u64,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// The table is there and unusable.
    #[error(
        "the {scheme} partition table at byte {at} is damaged: {what}; make the image \
         again, or repair its table with gdisk"
    )]
    Damaged {
        /// Its kind.
        scheme: Scheme,
        /// Offset.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A partition ends behind the end of the disk.
    #[error(
        "the {scheme} partition {number} ends at byte {end}, the image at byte {size}: it is cut off; \
         copy or download it again"
    )]
    Beyond {
        /// Kind of the table.
        scheme: Scheme,
        /// The partition.
        number: u32,
        /// Where it ends.
        end: u64,
        /// Where the disk ends.
        size: u64,
    },
    /// Two partitions share bytes.
    #[error("the {scheme} partitions {first} and {second} overlap at byte {at}; repair the table with gdisk")]
    Overlap {
        /// Kind of the table.
        scheme: Scheme,
        /// The one in front.
        first: u32,
        /// The other.
        second: u32,
        /// Where the second begins.
        at: u64,
    },
}

/// Reads the partition table of a disk of `size` bytes.
///
/// # Errors
/// It cannot be read, or what it says cannot be. A disk without a table is no error: [`Scheme::None`].
pub fn read(reader: &mut (impl Read + Seek), size: u64) -> Result<Layout, PartitionError> {
    let mut disk = Disk { window: Window::new(reader, 0, size) };
    let mut layout = match gpt::read(&mut disk)? {
        Some(layout) => layout,
        None => match apm::read(&mut disk)? {
            Some(layout) => layout,
            None => match mbr::read(&mut disk)? {
                Some(layout) => layout,
                None => {
                    return Ok(Layout {
                        scheme: Scheme::None,
                        block_size: 512,
                        partitions: Vec::new(),
                        warnings: Vec::new(),
                    });
                }
            },
        },
    };
    layout.partitions.sort_by_key(|partition| (partition.start, partition.number));
    check(&layout, size)?;
    Ok(layout)
}

fn check(layout: &Layout, size: u64) -> Result<(), PartitionError> {
    let scheme = layout.scheme;
    for partition in &layout.partitions {
        let end = partition.start.saturating_add(partition.size);
        if end > size {
            return Err(PartitionError::Beyond { scheme, number: partition.number, end, size });
        }
    }
    for pair in layout.partitions.windows(2) {
        if pair[0].start + pair[0].size > pair[1].start {
            let (first, second, at) = (pair[0].number, pair[1].number, pair[1].start);
            return Err(PartitionError::Overlap { scheme, first, second, at });
        }
    }
    Ok(())
}

/// The disk under the tables.
struct Disk<'a> {
    window: Window<'a>,
}

impl Disk<'_> {
    fn size(&self) -> u64 {
        self.window.size()
    }

    /// Up to `length` bytes at `at`; fewer at the end.
    fn read(&mut self, at: u64, length: usize) -> Result<Vec<u8>, PartitionError> {
        self.window.read(at, length).map_err(|source| PartitionError::Read { at, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
        disk[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A GPT disk with an EFI and a macOS partition, in blocks of `block` bytes.
    pub(super) fn gpt_disk(block: usize) -> Vec<u8> {
        let blocks = 200;
        let mut disk = vec![0; blocks * block];
        put(&mut disk, 446 + 4, &[0xee]);
        put(&mut disk, 446 + 8, &1_u32.to_le_bytes());
        put(&mut disk, 446 + 12, &(blocks as u32 - 1).to_le_bytes());
        put(&mut disk, 510, &[0x55, 0xaa]);
        let mut entries = vec![0; 128 * 128];
        for (slot, (guid, first, last, name)) in [
            ("28732ac11ff8d211ba4b00a0c93ec93b", 50_u64, 59_u64, "EFI System"),
            ("005346480000aa11aa1100306543ecac", 60, 150, "Macintosh HD"),
        ]
        .into_iter()
        .enumerate()
        {
            let at = slot * 128;
            let guid: Vec<u8> =
                (0..16).map(|k| u8::from_str_radix(&guid[2 * k..2 * k + 2], 16).unwrap()).collect();
            put(&mut entries, at, &guid);
            put(&mut entries, at + 16, &[slot as u8 + 1; 16]);
            put(&mut entries, at + 32, &first.to_le_bytes());
            put(&mut entries, at + 40, &last.to_le_bytes());
            let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            put(&mut entries, at + 56, &name);
        }
        let table = entries.len().div_ceil(block);
        let mut header = |own: usize, other: usize, first: usize| {
            let mut header = [0; 92];
            put(&mut header, 0, b"EFI PART\0\0\x01\0\x5c\0\0\0");
            put(&mut header, 24, &(own as u64).to_le_bytes());
            put(&mut header, 32, &(other as u64).to_le_bytes());
            put(&mut header, 72, &(first as u64).to_le_bytes());
            put(&mut header, 80, &128_u32.to_le_bytes());
            put(&mut header, 84, &128_u32.to_le_bytes());
            put(&mut header, 88, &crc32fast::hash(&entries).to_le_bytes());
            let crc = crc32fast::hash(&header);
            put(&mut header, 16, &crc.to_le_bytes());
            put(&mut disk, own * block, &header);
            put(&mut disk, first * block, &entries);
        };
        header(1, blocks - 1, 2);
        header(blocks - 1, 1, blocks - 1 - table);
        disk
    }

    pub(super) fn apm_disk() -> Vec<u8> {
        let mut disk = vec![0; 100 * 512];
        put(&mut disk, 0, b"ER\x02\0");
        for (slot, (kind, name, start, length)) in [
            ("Apple_partition_map", "Apple", 1_u32, 63_u32),
            ("Apple_HFS", "disk image", 64, 30),
            ("Apple_Free", "", 94, 6),
        ]
        .into_iter()
        .enumerate()
        {
            let at = 512 * (slot + 1);
            put(&mut disk, at, b"PM");
            put(&mut disk, at + 4, &3_u32.to_be_bytes());
            put(&mut disk, at + 8, &start.to_be_bytes());
            put(&mut disk, at + 12, &length.to_be_bytes());
            put(&mut disk, at + 16, name.as_bytes());
            put(&mut disk, at + 48, kind.as_bytes());
        }
        disk
    }

    pub(super) fn mbr_disk() -> Vec<u8> {
        let mut disk = vec![0; 100 * 512];
        let mut entry = |sector: usize, slot: usize, kind: u8, start: u32, length: u32| {
            let at = sector * 512 + 446 + 16 * slot;
            put(&mut disk, at + 4, &[kind]);
            put(&mut disk, at + 8, &start.to_le_bytes());
            put(&mut disk, at + 12, &length.to_le_bytes());
            put(&mut disk, sector * 512 + 510, &[0x55, 0xaa]);
        };
        entry(0, 0, 0xaf, 8, 12);
        entry(0, 1, 0x0f, 20, 60);
        entry(20, 0, 0x0b, 2, 10);
        entry(20, 1, 0x05, 20, 20);
        entry(40, 0, 0x83, 2, 10);
        disk
    }

    fn layout(disk: &[u8]) -> Result<Layout, PartitionError> {
        read(&mut Cursor::new(disk), disk.len() as u64)
    }

    fn places(layout: &Layout) -> Vec<(u32, &str, &str, u64, u64)> {
        layout
            .partitions
            .iter()
            .map(|p| (p.number, p.kind.as_str(), p.name.as_str(), p.start / 512, p.size / 512))
            .collect()
    }

    #[test]
    fn a_gpt_is_read_in_blocks_of_512_and_4096_bytes() {
        for (block, scale) in [(512, 1), (4096, 8)] {
            let layout = layout(&gpt_disk(block)).unwrap();
            assert_eq!((layout.scheme, layout.block_size as usize), (Scheme::Gpt, block));
            let want = [
                (1, "EFI", "EFI System", 50 * scale, 10 * scale),
                (2, "Apple_HFS", "Macintosh HD", 60 * scale, 91 * scale),
            ];
            assert_eq!(places(&layout), want);
            assert!(layout.warnings.is_empty(), "{:?}", layout.warnings);
        }
    }

    #[test]
    fn a_damaged_primary_gpt_is_replaced_by_its_backup_with_a_warning() {
        for at in [512 + 60, 1024 + 40, 512] {
            let mut disk = gpt_disk(512);
            disk[at] ^= 1;
            let layout = layout(&disk).unwrap();
            assert_eq!(layout.partitions.len(), 2);
            assert!(layout.warnings == [Oddity::BackupUsed], "{:?}", layout.warnings);
        }
    }

    #[test]
    fn a_gpt_without_its_backup_is_read_with_a_warning_and_one_without_both_is_an_error() {
        let mut disk = gpt_disk(512);
        let end = disk.len();
        disk[end - 500] ^= 1;
        assert!(layout(&disk).unwrap().warnings == [Oddity::BackupMissing]);
        disk[600] ^= 1;
        assert!(matches!(layout(&disk), Err(PartitionError::Damaged { scheme: Scheme::Gpt, .. })));
    }

    #[test]
    fn an_apm_keeps_its_slot_numbers_and_leaves_out_free_space() {
        let layout = layout(&apm_disk()).unwrap();
        let want = [(1, "Apple_partition_map", "Apple", 1, 63), (2, "Apple_HFS", "disk image", 64, 30)];
        assert_eq!((layout.scheme, places(&layout)), (Scheme::Apm, want.to_vec()));
    }

    #[test]
    fn logical_partitions_are_numbered_from_five() {
        let layout = layout(&mbr_disk()).unwrap();
        let want = [(1, "Apple_HFS", "", 8, 12), (5, "DOS_FAT_32", "", 22, 10), (6, "Linux", "", 42, 10)];
        assert_eq!((layout.scheme, places(&layout)), (Scheme::Mbr, want.to_vec()));
    }

    #[test]
    fn an_extended_partition_that_points_back_to_itself_comes_to_an_end() {
        let mut disk = mbr_disk();
        put(&mut disk, 20 * 512 + 446 + 16 + 8, &0_u32.to_le_bytes());
        assert!(matches!(layout(&disk), Err(PartitionError::Damaged { scheme: Scheme::Mbr, .. })));
    }

    #[test]
    fn a_partition_beyond_the_end_names_both_ends() {
        let disk = mbr_disk();
        let error = read(&mut Cursor::new(&disk[..15 * 512]), 15 * 512).unwrap_err();
        assert!(matches!(error, PartitionError::Beyond { number: 2, end: 40960, size: 7680, .. }), "{error}");
    }

    #[test]
    fn overlapping_partitions_are_refused() {
        let mut disk = mbr_disk();
        put(&mut disk, 446 + 12, &17_u32.to_le_bytes());
        assert!(matches!(layout(&disk), Err(PartitionError::Overlap { first: 1, second: 5, .. })));
    }

    #[test]
    fn a_volume_with_a_boot_sector_is_no_mbr_disk() {
        let mut disk = vec![0; 512 * 64];
        put(&mut disk, 0, b"\xeb\x58\x90BSD  4.4\0\x02\x01\x20\0");
        put(&mut disk, 82, b"FAT32   ");
        put(&mut disk, 446, b"any boot code may stand here");
        put(&mut disk, 510, &[0x55, 0xaa]);
        assert_eq!(layout(&disk).unwrap().scheme, Scheme::None);
    }

    proptest! {
        #[test]
        fn a_mutated_table_never_panics_and_what_it_gives_lies_within_the_disk(
            which in 0..4_usize,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            near in any::<bool>(),
        ) {
            let mut disk = vec![gpt_disk(512), gpt_disk(4096), apm_disk(), mbr_disk()].swap_remove(which);
            for (at, byte) in &flips {
                let at = at.index(if near { 2048 } else { disk.len() });
                disk[at] = *byte;
            }
            if let Ok(layout) = layout(&disk) {
                let mut end = 0;
                for partition in &layout.partitions {
                    prop_assert!(partition.start >= end && partition.size > 0);
                    end = partition.start + partition.size;
                }
                prop_assert!(end <= disk.len() as u64);
            }
        }
    }
}
