//! A sparse bundle in a tar archive: where each band stands in it. The archive is not unpacked.
//!
//! | at | a header, 512 bytes | | type | |
//! |---|---|---|---|---|
//! | 0 | name (100) | | `0` NUL `7` | a file |
//! | 124 | length, octal or base 256 (12) | | `L` `K` | the long name, or link, of the entry that follows |
//! | 148 | sum of the header, octal (8) | | `x` `g` | records of the entry that follows, of all |
//! | 156 | type (1) | | `S` | a file with holes (GNU): its map from 386 on |
//! | 257 | `ustar` | | | |
//! | 345 | front of the name (155) | | | |
//!
//! Files with holes are also had as `GNU.sparse` 1.0: records say so, and the map stands in front of the bytes as decimal
//! numbers. (POSIX pax; GNU tar manual, "Storing Sparse Files"; both are what tar on macOS and Linux writes of bands.)
//! Owns: bounds on names, records and maps.

use std::collections::BTreeMap;

use super::bundle::{BandPart, Bundle, MOST_FILE, MOST_PARTS, band_number};
use super::error::SourceError;
use super::{Input, read_exact_at};
use crate::image::field::Fields;

const BLOCK: u64 = 512;

/// Bytes of a long name or of records.
const MOST_RECORDS: u64 = 1 << 20;

/// Bundles, or folders that look like one, in one archive.
const MOST_FOLDERS: usize = 64;

/// Bytes of the map of a file with holes.
const MOST_MAP: u64 = 1 << 20;

/// The bundle in an archive of `file` bytes; none where it holds none.
pub(super) fn find(input: &mut dyn Input, file: u64) -> Result<Option<Bundle>, SourceError> {
    let mut walk = Walk { input, file, folders: BTreeMap::new(), parts: 0 };
    walk.all()?;
    let mut found = walk.folders.into_values().filter(|bundle| !bundle.info.is_empty());
    let first = found.next();
    if found.next().is_some() { Err(SourceError::SeveralBundles) } else { Ok(first) }
}

/// What headers before an entry say of it.
#[derive(Default)]
struct Ahead {
    name: Option<String>,
    length: Option<u64>,
    /// Bytes of the file with its holes, where it has any.
    whole: Option<u64>,
    /// Its map stands in front of its bytes.
    mapped: bool,
    /// Another way of holes.
    odd: bool,
}

struct Walk<'a> {
    input: &'a mut dyn Input,
    file: u64,
    folders: BTreeMap<String, Bundle>,
    parts: usize,
}

impl Walk<'_> {
    fn all(&mut self) -> Result<(), SourceError> {
        let (mut at, mut ahead) = (0, Ahead::default());
        // An archive may end without its two blocks of zeros.
        while at + BLOCK <= self.file {
            let header = read_exact_at(self.input, at, BLOCK as usize)?;
            if header.iter().all(|&byte| byte == 0) {
                return Ok(());
            }
            let fields = Fields(&header);
            if !sum_is_right(&header) {
                return Err(malformed("the sum of a tar header", at + 148, fields.be64(148)));
            }
            let length = number(fields.bytes(124, 12));
            let kind = fields.u8(156);
            // Records of a file with a length beyond octal say it.
            let length = ahead.length.filter(|_| is_file(kind)).or(length);
            let length =
                length.ok_or_else(|| malformed("the length in a tar header", at + 124, fields.be64(124)))?;
            let (mut data, mut map) = (at + BLOCK, Vec::new());
            if kind == b'S' {
                map = self.gnu_map(fields, &mut data)?;
            }
            let need = data.saturating_add(length);
            if need > self.file {
                return Err(SourceError::Truncated {
                    what: "the tar archive".to_owned(),
                    need,
                    have: self.file,
                });
            }
            match kind {
                b'L' => ahead.name = Some(text(&self.short(data, length, MOST_RECORDS)?)),
                b'x' => records(&self.short(data, length, MOST_RECORDS)?, &mut ahead),
                b'g' | b'K' => {}
                kind if is_file(kind) => {
                    let said = std::mem::take(&mut ahead);
                    let name = said.name.clone().unwrap_or_else(|| name(fields));
                    let whole = if kind == b'S' { number(fields.bytes(483, 12)) } else { said.whole };
                    self.entry(&name, Stored { data, length, whole, map, said })?;
                }
                _ => ahead = Ahead::default(),
            }
            // Cannot overflow: `need` is within the file, and one behind the end of the last byte there is nothing.
            at = need.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        }
        Ok(())
    }

    /// Keeps what belongs to a bundle.
    fn entry(&mut self, name: &str, stored: Stored) -> Result<(), SourceError> {
        let name = name.trim_start_matches("./").trim_start_matches('/');
        let (folder, own) = name.rsplit_once('/').unwrap_or(("", name));
        if let ("Info.plist" | "token", false) = (own, folder.is_empty()) {
            let content = self.short(stored.data, stored.length.min(MOST_FILE), MOST_FILE)?;
            let is_list = contains(&content, b"band-size");
            if own == "Info.plist" && is_list {
                self.folder(folder)?.info = content;
            } else if own == "token" && content.starts_with(b"encrcdsa") {
                self.folder(folder)?.token = content;
            }
            return Ok(());
        }
        let Some(folder) = folder.strip_suffix("/bands") else { return Ok(()) };
        let Some(band) = band_number(own) else { return Ok(()) };
        let parts = self.pieces(band, stored)?;
        self.parts += parts.len();
        if self.parts > MOST_PARTS {
            let (what, most) = ("a number of bands", MOST_PARTS as u64);
            return Err(SourceError::TooLarge { what, claimed: self.parts as u64, most });
        }
        self.folder(folder)?.parts.extend(parts);
        Ok(())
    }

    fn folder(&mut self, name: &str) -> Result<&mut Bundle, SourceError> {
        if !self.folders.contains_key(name) && self.folders.len() == MOST_FOLDERS {
            return Err(SourceError::SeveralBundles);
        }
        Ok(self.folders.entry(name.to_owned()).or_default())
    }

    /// The bytes of a band that are in the archive.
    fn pieces(&mut self, band: u64, stored: Stored) -> Result<Vec<BandPart>, SourceError> {
        let Stored { mut data, mut length, whole, mut map, said } = stored;
        if said.odd {
            return Err(SourceError::OddHoles { band });
        }
        if whole.is_none() {
            return Ok(vec![BandPart { band, skip: 0, at: data, length }]);
        }
        if said.mapped {
            let in_front = self.pax_map(data, length)?;
            map = in_front.map;
            data += in_front.bytes;
            length -= in_front.bytes;
        }
        let mut parts = Vec::with_capacity(map.len());
        let mut used = 0_u64;
        for (skip, count) in map {
            used = used.saturating_add(count);
            if used > length {
                return Err(malformed("the map of a band with holes in the tar archive", data, used));
            }
            let at = data + used - count;
            // Holes first, or last, have a stretch of no bytes.
            parts.extend((count > 0).then_some(BandPart { band, skip, at, length: count }));
        }
        Ok(parts)
    }

    /// Old GNU: four stretches in the header, 21 in each block that follows while there are more.
    fn gnu_map(&mut self, header: Fields<'_>, data: &mut u64) -> Result<Vec<(u64, u64)>, SourceError> {
        let mut map = Vec::new();
        let mut take = |fields: Fields<'_>, from: usize, count: usize| {
            for entry in 0..count {
                let at = from + 24 * entry;
                let stretch = number(fields.bytes(at, 12)).zip(number(fields.bytes(at + 12, 12)));
                map.extend(stretch.filter(|_| fields.u8(at) != 0));
            }
        };
        take(header, 386, 4);
        let (mut more, first) = (header.u8(482) != 0, *data);
        while more {
            if *data - first > MOST_MAP || *data + BLOCK > self.file {
                return Err(malformed(
                    "the map of a band with holes in the tar archive",
                    first,
                    *data - first,
                ));
            }
            let block = read_exact_at(self.input, *data, BLOCK as usize)?;
            *data += BLOCK;
            take(Fields(&block), 0, 21);
            more = Fields(&block).u8(504) != 0;
        }
        Ok(map)
    }

    /// GNU.sparse 1.0: decimal numbers, each with a newline: how many stretches, then start and length of each; filled
    /// up to a block.
    fn pax_map(&mut self, data: u64, length: u64) -> Result<InFront, SourceError> {
        let text = read_exact_at(self.input, data, length.min(MOST_MAP) as usize)?;
        let bad = || malformed("the map of a band with holes in the tar archive", data, length);
        let mut at = 0;
        let mut next = || {
            let line = text.get(at..)?.split(|&byte| byte == b'\n').next()?;
            at += line.len() + 1;
            (at <= text.len()).then(|| std::str::from_utf8(line).ok()?.parse::<u64>().ok())?
        };
        let count = next().filter(|count| *count <= MOST_MAP / 4).ok_or_else(bad)?;
        let mut map = Vec::new();
        for _ in 0..count {
            map.push((next().ok_or_else(bad)?, next().ok_or_else(bad)?));
        }
        let bytes = (at as u64).next_multiple_of(BLOCK);
        if bytes > length { Err(bad()) } else { Ok(InFront { map, bytes }) }
    }

    fn short(&mut self, at: u64, length: u64, most: u64) -> Result<Vec<u8>, SourceError> {
        if length > most {
            return Err(SourceError::TooLarge {
                what: "a name or record in the tar archive",
                claimed: length,
                most,
            });
        }
        read_exact_at(self.input, at, length as usize)
    }
}

/// A file in the archive.
struct Stored {
    data: u64,
    length: u64,
    /// With holes: bytes of the whole, and the stretches that are there where the header says them.
    whole: Option<u64>,
    map: Vec<(u64, u64)>,
    said: Ahead,
}

/// A map in front of the bytes of a file.
struct InFront {
    map: Vec<(u64, u64)>,
    bytes: u64,
}

fn is_file(kind: u8) -> bool {
    matches!(kind, b'0' | 0 | b'7' | b'S')
}

/// The sum counts its own field as spaces.
fn sum_is_right(header: &[u8]) -> bool {
    let blank = (148..156).len() as u64 * u64::from(b' ');
    let sum = header.iter().map(|&byte| u64::from(byte)).sum::<u64>()
        - header[148..156].iter().map(|&byte| u64::from(byte)).sum::<u64>()
        + blank;
    number(&header[148..156]) == Some(sum)
}

/// A number in a header: octal, or big-endian behind a set top bit.
fn number(field: &[u8]) -> Option<u64> {
    if field.first().is_some_and(|&first| first & 0x80 != 0) {
        let low = field.split_last_chunk::<8>()?;
        let zero = low.0.iter().enumerate().all(|(at, &byte)| byte == if at == 0 { 0x80 } else { 0 });
        return zero.then_some(u64::from_be_bytes(*low.1));
    }
    let digits = text(field);
    let digits = digits.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// Bytes up to the first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn name(header: Fields<'_>) -> String {
    let (own, front) = (text(header.bytes(0, 100)), text(header.bytes(345, 155)));
    // Old GNU keeps times in the place of the front.
    let posix = header.has(257, b"ustar\0");
    if posix && !front.is_empty() { format!("{front}/{own}") } else { own }
}

/// Takes records, each `LENGTH KEY=VALUE\n`, until one is none.
fn records(bytes: &[u8], ahead: &mut Ahead) {
    let mut rest = bytes;
    while let Some(space) = rest.iter().position(|&byte| byte == b' ') {
        let length = std::str::from_utf8(&rest[..space]).ok().and_then(|text| text.parse::<usize>().ok());
        let Some(record) = length.and_then(|length| rest.get(space + 1..length)) else { return };
        rest = &rest[space + 1 + record.len()..];
        let record = String::from_utf8_lossy(record);
        let Some((key, value)) = record.trim_end_matches('\n').split_once('=') else { return };
        match key {
            // The true name of a file with holes comes with another record.
            "path" if ahead.whole.is_none() && !ahead.mapped => ahead.name = Some(value.to_owned()),
            "size" => ahead.length = value.parse().ok(),
            "GNU.sparse.name" => {
                ahead.name = Some(value.to_owned());
                ahead.mapped = true;
            }
            "GNU.sparse.realsize" => ahead.whole = value.parse().ok(),
            "GNU.sparse.major" if value == "1" => ahead.mapped = true,
            "GNU.sparse.major" | "GNU.sparse.map" | "GNU.sparse.offset" => ahead.odd = true,
            _ => {}
        }
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn malformed(what: &'static str, at: u64, found: u64) -> SourceError {
    SourceError::Malformed { what, at, found }
}
