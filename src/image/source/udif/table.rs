//! Block tables (`mish`): one per partition, inside the XML resource list or resource fork.
//!
//! | at | field | | at | a run, 40 bytes |
//! |---|---|---|---|---|
//! | 0 | `mish` | | 0 | type u32, comment u32 |
//! | 8 | first sector u64, sectors u64 | | 8 | sector u64 (from the table's first), sectors u64 |
//! | 24 | data offset u64, added to that of every run | | 24 | offset u64, length u64 in the data fork |
//! | 64 | checksum: type u32, bits u32, 128 bytes | | | |
//! | 200 | runs u32, then the runs | | | |
//!
//! Run types: 0 zeros, 1 stored, 2 ignore (free), 0x80000004 to 0x80000008 packed, 0x7ffffffe comment, 0xffffffff end.

use serde::Deserialize;

use super::super::codec::Codec;
use super::super::error::SourceError;
use super::super::extent::{Extent, Filling, MOST_RUN};
use super::trailer::{Stretch, Sum, Trailer};
use crate::image::field::Fields;

const SECTOR: u64 = 512;
const HEADER: usize = 204;
const RUN: usize = 40;

/// Tables of one image: a table a partition, and macOS makes at most 128 partitions.
const MOST_TABLES: usize = 1024;

/// Nesting of the XML list: plist, resource-fork, blkx, one table, plus what other writers add.
const MOST_DEPTH: usize = 32;

const ZERO: u32 = 0;
const IGNORE: u32 = 2;
const COMMENT: u32 = 0x7fff_fffe;
const END: u32 = 0xffff_ffff;

/// Largest image: sectors that still make a positive 64-bit byte offset.
const MOST_SECTORS: u64 = i64::MAX as u64 / SECTOR;

#[derive(Deserialize)]
struct ResourceList {
    #[serde(rename = "resource-fork")]
    fork: ResourceFork,
}

#[derive(Deserialize)]
struct ResourceFork {
    #[serde(default)]
    blkx: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "Data")]
    data: plist::Data,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "CFName", default)]
    cf_name: String,
}

/// One partition's table, without its runs.
#[derive(Debug)]
pub(super) struct Table {
    pub name: String,
    pub sum: Sum,
    /// Byte behind the last sector of the partition.
    pub end: u64,
}

/// All tables and the extents of their runs, in the order of the file.
pub(super) struct Tables {
    pub tables: Vec<Table>,
    pub extents: Vec<Extent>,
}

/// Reads the resources that `trailer` names; run offsets count from its data fork.
pub(super) fn parse(resources: &[u8], trailer: &Trailer, file: u64) -> Result<Tables, SourceError> {
    let (place, data_fork) = (trailer.resources, trailer.data_fork);
    let bytes: Vec<(String, Vec<u8>)> = if trailer.is_fork {
        let found = super::fork::tables(resources).ok_or(SourceError::Malformed {
            what: "the map of its resource fork",
            at: place.at,
            found: Fields(resources).be32(4).into(),
        })?;
        found.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect()
    } else {
        xml(resources, place)?
    };
    if bytes.len() > MOST_TABLES {
        return Err(SourceError::TooLarge {
            what: "a number of block tables",
            claimed: bytes.len() as u64,
            most: MOST_TABLES as u64,
        });
    }
    if bytes.is_empty() {
        return Err(SourceError::Malformed { what: "the number of block tables", at: place.at, found: 0 });
    }
    let mut all = Tables { tables: Vec::new(), extents: Vec::new() };
    for (name, bytes) in bytes {
        let reading = Reading { fields: Fields(&bytes), place, data_fork, file };
        // It comes into errors, and so into logs and terminals.
        let name = name.trim().chars().take(128).map(|c| if c.is_control() { '?' } else { c });
        reading.table(name.collect(), &mut all)?;
    }
    Ok(all)
}

/// Names and bytes of the tables in an XML list.
fn xml(xml: &[u8], place: Stretch) -> Result<Vec<(String, Vec<u8>)>, SourceError> {
    let bad =
        |source| SourceError::Resources { at: place.at, length: place.length, source: Box::new(source) };
    if depth(xml) > MOST_DEPTH {
        return Err(SourceError::TooLarge {
            what: "a nesting of its resource list",
            claimed: depth(xml) as u64,
            most: MOST_DEPTH as u64,
        });
    }
    let list: ResourceList = plist::from_reader_xml(xml).map_err(bad)?;
    let named = |resource: Resource| {
        let name = if resource.name.trim().is_empty() { resource.cf_name } else { resource.name };
        (name, resource.data.into())
    };
    Ok(list.fork.blkx.into_iter().map(named).collect())
}

/// How deep the elements of an XML text are nested; the parser behind it recurses.
pub(in super::super) fn depth(xml: &[u8]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let mut rest = xml;
    while let Some(at) = rest.iter().position(|&byte| byte == b'<') {
        rest = &rest[at..];
        let close: &[u8] = match rest {
            [b'<', b'!', b'-', b'-', ..] => b"-->",
            [b'<', b'!', b'[', ..] => b"]]>",
            _ => b">",
        };
        let Some(length) = rest.windows(close.len()).position(|window| window == close) else { break };
        match rest {
            [b'<', b'!' | b'?', ..] => {}
            [b'<', b'/', ..] => now = now.saturating_sub(1),
            _ if rest[length - 1] == b'/' => {}
            _ => {
                now += 1;
                most = most.max(now);
            }
        }
        rest = &rest[length + close.len()..];
    }
    most
}

/// One table while it is read.
struct Reading<'a> {
    fields: Fields<'a>,
    place: Stretch,
    data_fork: Stretch,
    file: u64,
}

impl Reading<'_> {
    fn malformed(&self, what: &'static str, found: u64) -> SourceError {
        SourceError::Malformed { what, at: self.place.at, found }
    }

    fn table(&self, name: String, all: &mut Tables) -> Result<(), SourceError> {
        let fields = self.fields;
        if !fields.has(0, b"mish") {
            return Err(self.malformed(
                "the magic of a block table (6d697368) in the resource list",
                fields.be32(0).into(),
            ));
        }
        let (first, sectors) = (fields.be64(8), fields.be64(16));
        let last = first.checked_add(sectors).filter(|&last| last <= MOST_SECTORS);
        let last = last.ok_or_else(|| {
            self.malformed("the sector count of a block table in the resource list", sectors)
        })?;
        let runs = fields.be32(200) as usize;
        let held = fields.0.len().saturating_sub(HEADER) / RUN;
        if runs > held {
            return Err(self.malformed("the run count of a block table in the resource list", runs as u64));
        }
        let table = all.tables.len() as u32;
        for run in fields.0[HEADER.min(fields.0.len())..].chunks_exact(RUN).take(runs) {
            match self.run(Fields(run), first, sectors, table)? {
                Run::Extent(extent) => all.extents.push(extent),
                Run::Comment => {}
                Run::End => break,
            }
        }
        all.tables.push(Table { name, sum: Sum::parse(fields, 64), end: last * SECTOR });
        Ok(())
    }

    fn run(&self, run: Fields<'_>, first: u64, sectors: u64, table: u32) -> Result<Run, SourceError> {
        let kind = run.be32(0);
        let (from, count, offset, stored) = (run.be64(8), run.be64(16), run.be64(24), run.be64(32));
        match kind {
            END => return Ok(Run::End),
            COMMENT => return Ok(Run::Comment),
            _ => {}
        }
        if from.checked_add(count).is_none_or(|last| last > sectors) {
            return Err(self.malformed("the sector count of a run (it leaves its partition)", count));
        }
        let (start, length) = ((first + from) * SECTOR, count * SECTOR);
        let filling = match kind {
            ZERO => Filling::Zero,
            IGNORE => Filling::Unallocated,
            _ => {
                let codec = Codec::from_run_type(kind)
                    .ok_or_else(|| self.malformed("the type of a run in the resource list", kind.into()))?;
                self.stored(codec, offset, stored, length)?
            }
        };
        Ok(Run::Extent(Extent { start, length, table, filling }))
    }

    /// Checks a run that has bytes in the file. What it claims to expand to bounds what is allocated for it, so
    /// that is limited; stored runs are read in pieces and may have any length.
    fn stored(&self, codec: Codec, offset: u64, stored: u64, length: u64) -> Result<Filling, SourceError> {
        let base = self.data_fork.at.saturating_add(self.fields.be64(24));
        let at = base.saturating_add(offset);
        let end = self.file.saturating_sub(super::trailer::LENGTH);
        Stretch::within(at, stored, end, "the data of a run")?;
        if codec == Codec::Raw && stored != length {
            return Err(self.malformed("the length of a stored run, against its sectors,", stored));
        }
        if codec != Codec::Raw && (length > MOST_RUN || stored > MOST_RUN + MOST_RUN / 8) {
            return Err(SourceError::TooLarge {
                what: "a packed run",
                claimed: length.max(stored),
                most: MOST_RUN,
            });
        }
        Ok(Filling::Stored { codec, at, stored })
    }
}

enum Run {
    Extent(Extent),
    Comment,
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_through_comments_and_empty_elements() {
        assert_eq!(depth(b"<?xml?><!DOCTYPE plist><plist><dict><key>a</key><array/></dict></plist>"), 3);
        assert_eq!(depth(b"<a><!-- </a> --><a><![CDATA[</a>]]><a>"), 3);
        assert_eq!(depth(&b"<array>".repeat(1000)), 1000);
        assert_eq!(depth(b"<a <!-- "), 0);
    }
}
