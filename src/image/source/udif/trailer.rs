//! The `koly` trailer: the last 512 bytes of a UDIF image, big-endian.
//!
//! | at | field | | at | field |
//! |---|---|---|---|---|
//! | 0 | `koly` | | 56 | segment number u32, count u32 |
//! | 4 | version u32 = 4, size u32 = 512 | | 80 | data fork checksum: type u32, bits u32, 128 bytes |
//! | 24 | data fork offset u64, length u64 | | 216 | XML offset u64, length u64 |
//! | 40 | resource fork offset u64, length u64 | | 352 | master checksum |
//! | | | | 492 | sector count u64 |

use super::super::detect::Foreign;
use super::super::error::SourceError;
use crate::image::field::Fields;

/// Length of the trailer.
pub(super) const LENGTH: u64 = 512;

/// The XML list grows by 54 bytes a run: this is enough for an image of 1 TiB in runs of 1 MiB.
const MOST_RESOURCES: u64 = 64 << 20;

/// A stretch of the file.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Stretch {
    pub at: u64,
    pub length: u64,
}

impl Stretch {
    pub fn end(self) -> u64 {
        self.at + self.length
    }

    /// Takes an offset and a length from a header, if the file reaches that far.
    pub fn within(at: u64, length: u64, have: u64, what: &str) -> Result<Stretch, SourceError> {
        let need = at.saturating_add(length);
        if need > have {
            return Err(SourceError::Truncated { what: what.to_owned(), need, have });
        }
        Ok(Stretch { at, length })
    }
}

/// A checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    Absent,
    Crc32(u32),
    /// A kind that is not checked; its type number.
    Other(u32),
}

impl Sum {
    /// Type 2 with 32 bits is CRC-32, type 0 none.
    pub fn parse(fields: Fields<'_>, at: usize) -> Sum {
        match (fields.be32(at), fields.be32(at + 4)) {
            (0, _) | (_, 0) => Sum::Absent,
            (2, 32) => Sum::Crc32(fields.be32(at + 8)),
            (kind, _) => Sum::Other(kind),
        }
    }
}

/// What the trailer says.
#[derive(Debug)]
pub(super) struct Trailer {
    pub data_fork: Stretch,
    /// The XML list, or the resource fork of an image that has none.
    pub resources: Stretch,
    pub is_fork: bool,
    pub data_sum: Sum,
    pub master_sum: Sum,
    /// Sectors of the decoded image; 0 in the images of some writers.
    pub sectors: u64,
}

impl Trailer {
    /// Reads the trailer of a file of `file` bytes.
    pub fn parse(bytes: &[u8], file: u64) -> Result<Trailer, SourceError> {
        let fields = Fields(bytes);
        let start = file.saturating_sub(LENGTH);
        let malformed =
            |what, at: usize, found| SourceError::Malformed { what, at: start + at as u64, found };
        if fields.be32(4) != 4 {
            return Err(malformed("the trailer's version (4)", 4, fields.be32(4).into()));
        }
        if fields.be32(8) != 512 {
            return Err(malformed("the trailer's length (512)", 8, fields.be32(8).into()));
        }
        if fields.be32(60) > 1 {
            return Err(SourceError::Unsupported(Foreign::SegmentedUdif));
        }
        let (xml_at, xml_length) = (fields.be64(216), fields.be64(224));
        let (fork_at, fork_length) = (fields.be64(40), fields.be64(48));
        let is_fork = xml_length == 0 && fork_length > 0;
        if xml_length == 0 && !is_fork {
            return Err(malformed("the length of its resource list", 224, 0));
        }
        let (at, length) = if is_fork { (fork_at, fork_length) } else { (xml_at, xml_length) };
        let resources = Stretch::within(at, length, start, "its resource list")?;
        if resources.length > MOST_RESOURCES {
            return Err(SourceError::TooLarge {
                what: "a resource list",
                claimed: resources.length,
                most: MOST_RESOURCES,
            });
        }
        let data_fork = Stretch::within(fields.be64(24), fields.be64(32), start, "its data fork")?;
        Ok(Trailer {
            data_fork,
            resources,
            is_fork,
            data_sum: Sum::parse(fields, 80),
            master_sum: Sum::parse(fields, 352),
            sectors: fields.be64(492),
        })
    }
}
