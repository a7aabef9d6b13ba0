//! UDIF, Apple's disk image format (`.dmg`): from the trailer through the resources to the map of the image. Licences and
//! what else stands beside the block tables is passed over.
//!
//! Owns: `trailer` (koly) · `fork` (resources without XML) · `table` (mish, runs) · `check` (checksums). Must not know: threads, who takes the bytes.

mod check;
mod fork;
mod table;
mod trailer;

use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) use self::check::Check;
pub(super) use self::table::depth;
use self::table::{Table, Tables};
use self::trailer::{Sum, Trailer};
use super::codec::Codec;
use super::detect::TAIL;
use super::error::SourceError;
use super::extent::{ExtentMap, Filling};
use super::{Input, read_exact_at};

/// An opened UDIF image.
#[derive(Debug)]
pub(super) struct Udif {
    pub map: Arc<ExtentMap>,
    pub codecs: Vec<Codec>,
    pub warnings: Vec<String>,
    tables: Vec<Table>,
    trailer: Trailer,
}

impl Udif {
    /// Reads trailer and tables of a file of `file` bytes.
    pub fn open(input: &mut dyn Input, file: u64) -> Result<Udif, SourceError> {
        let start = file.saturating_sub(trailer::LENGTH);
        let trailer = Trailer::parse(&read_exact_at(input, start, TAIL)?, file)?;
        let resources = read_exact_at(input, trailer.resources.at, trailer.resources.length as usize)?;
        let Tables { tables, extents } = table::parse(&resources, &trailer, file)?;
        drop(resources);

        let described = tables.iter().map(|table| table.end).max().unwrap_or_default();
        let mut warnings = Vec::new();
        let size = match trailer.sectors.checked_mul(512) {
            // Some writers leave the field empty; the tables then say it.
            Some(0) => {
                warnings
                    .push(format!("the trailer names no size; the block tables end at {described} bytes"));
                described
            }
            Some(size) if size >= described => size,
            _ => {
                return Err(SourceError::Malformed {
                    what: "the sector count of the trailer, less than its block tables describe,",
                    at: start + 492,
                    found: trailer.sectors,
                });
            }
        };
        let codecs: BTreeSet<Codec> = extents
            .iter()
            .filter_map(|extent| match extent.filling {
                Filling::Stored { codec, .. } => Some(codec),
                _ => None,
            })
            .collect();
        let map = ExtentMap::arrange(extents, size)?;
        if map.undescribed() > 0 {
            warnings.push(format!("{} bytes that no block table describes read as zeros", map.undescribed()));
        }
        let map = Arc::new(map);
        let mut udif = Udif { map, codecs: codecs.into_iter().collect(), warnings, tables, trailer };
        udif.warn_of_unknown_sums();
        Ok(udif)
    }

    fn warn_of_unknown_sums(&mut self) {
        let sums = self.tables.iter().map(|table| table.sum);
        let all: BTreeSet<u32> = sums
            .chain([self.trailer.data_sum, self.trailer.master_sum])
            .filter_map(|sum| if let Sum::Other(kind) = sum { Some(kind) } else { None })
            .collect();
        self.warnings.extend(
            all.iter().map(|kind| format!("checksums of type {kind} are not known and were not checked")),
        );
    }
}
