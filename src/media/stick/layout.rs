//! A whole stick: one EFI system partition between two copies of a GUID partition table (UEFI 2.10 section 5.3).
//!
//! Owns: where what lies. Must not know: what is in the volume, how it is written.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | protective MBR, partition table |
//! | 1 MiB | the volume |
//! | last 33 sectors | the table's copy |

use gptman::{GPT, GPTPartitionEntry};
use uuid::{Uuid, uuid};

use super::pieces::Pieces;

/// Sectors of all sticks that firmware starts from.
pub const SECTOR: u64 = 512;
/// The volume begins here: erase blocks of flash memory are aligned to it.
pub const START: u64 = 1 << 20;
/// What is kept free at each end, with the tables in it.
pub const MARGIN: u64 = 1 << 20;
/// By this name the boot environment knows the stick that it was started from, and never erases it.
pub const PARTITION: &str = "ROOTSTOCK-EFI";

const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");

/// A stick cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The volume does not fit.
    #[error("{has} bytes are too few: the stick needs {needs}")]
    TooSmall {
        /// What there is.
        has: u64,
        /// What there must be.
        needs: u64,
    },
    /// gptman refused.
    #[error("the partition table cannot be made: {0}")]
    Table(String),
}

/// The stick in two parts, because the second makes it bootable.
#[derive(Debug)]
pub struct Layout {
    /// The volume, in its place on the stick.
    pub volume: Pieces,
    /// Both partition tables and the protective MBR.
    pub tables: Pieces,
}

/// Bytes of the smallest stick for a volume of `volume` bytes.
pub fn least(volume: u64) -> u64 {
    START + volume + MARGIN
}

/// Lays a volume out on a medium of `size` bytes; `identity` gives the numbers of disk and partition.
///
/// # Errors
/// [`LayoutError`]
pub fn lay_out(volume: Pieces, size: u64, identity: [Uuid; 2]) -> Result<Layout, LayoutError> {
    let (length, needs) = (volume.size(), least(volume.size()));
    if size < needs {
        return Err(LayoutError::TooSmall { has: size, needs });
    }
    let refused = |error: gptman::Error| LayoutError::Table(error.to_string());
    // A last sector that is none would be behind the end for the table's copy.
    let mut tables = Pieces::new(size / SECTOR * SECTOR);
    let mut table = GPT::new_from(&mut tables, SECTOR, identity[0].to_bytes_le()).map_err(refused)?;
    table[1] = GPTPartitionEntry {
        partition_type_guid: EFI_SYSTEM.to_bytes_le(),
        unique_partition_guid: identity[1].to_bytes_le(),
        starting_lba: START / SECTOR,
        ending_lba: (START + length) / SECTOR - 1,
        attribute_bits: 0,
        partition_name: PARTITION.into(),
    };
    GPT::write_protective_mbr_into(&mut tables, SECTOR).map_err(refused)?;
    table.write_into(&mut tables).map_err(refused)?;
    let mut placed = Pieces::new(size);
    placed.place(START, volume).map_err(|error| LayoutError::Table(error.to_string()))?;
    Ok(Layout { volume: placed, tables })
}
