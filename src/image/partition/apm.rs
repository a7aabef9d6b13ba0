//! Apple partition map (Inside Macintosh: Devices, chapter 3), big-endian.
//!
//! | at | driver descriptor, block 0 | | at | an entry, blocks 1 to n |
//! |---|---|---|---|---|
//! | 0 | `ER` | | 0 | `PM` |
//! | 2 | block size u16 | | 4 | entries of the map u32 |
//! | | | | 8 | first block u32, blocks u32 |
//! | | | | 16 | name, 32 bytes; type, 32 bytes |

use super::{Disk, Layout, Partition, PartitionError, PartitionType, Scheme};
use crate::image::field::{Fields, text};

/// Entries of one map: 62 is what macOS leaves room for.
const MOST_ENTRIES: u32 = 1024;

/// Reads the map, if the disk has one. Discs describe themselves in blocks of 2048 bytes, some with a second map in
/// blocks of 512, which goes first.
pub(super) fn read(disk: &mut Disk<'_>) -> Result<Option<Layout>, PartitionError> {
    for block in [512_u64, 2048] {
        let first = disk.read(block, 512)?;
        let first = Fields(&first);
        let count = first.be32(4);
        if !first.has(0, b"PM") || count == 0 {
            continue;
        }
        let damaged = |at, what| PartitionError::Damaged { scheme: Scheme::Apm, at, what };
        if count > MOST_ENTRIES {
            return Err(damaged(block + 4, "the map claims more than 1024 entries"));
        }
        let mut partitions = Vec::new();
        for number in 1..=count {
            let at = u64::from(number) * block;
            let bytes = disk.read(at, 512)?;
            let entry = Fields(&bytes);
            if !entry.has(0, b"PM") {
                return Err(damaged(at, "an entry of the map has lost its signature"));
            }
            let kind = text(entry.bytes(48, 32));
            let (start, blocks) = (u64::from(entry.be32(8)), u64::from(entry.be32(12)));
            // Space that belongs to nobody has entries of its own.
            if blocks > 0 && !matches!(kind.as_str(), "Apple_Free" | "Apple_Void" | "Apple_Scratch") {
                partitions.push(Partition {
                    number,
                    kind: PartitionType::from_name(&kind),
                    name: text(entry.bytes(16, 32)),
                    start: start * block,
                    size: blocks * block,
                });
            }
        }
        return Ok(Some(Layout {
            scheme: Scheme::Apm,
            block_size: block as u32,
            partitions,
            warnings: Vec::new(),
        }));
    }
    Ok(None)
}
