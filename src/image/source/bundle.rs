//! Sparse bundles (`.sparsebundle`): a folder with a property list and a file for each band of the disk.
//!
//! | file | holds |
//! |---|---|
//! | `Info.plist` | `size` and `band-size` in bytes, `diskimage-bundle-type` |
//! | `bands/HEX` | the bytes of band HEX; one that is not there, and the rest of a short one, were never written |
//! | `token` | nothing, or the header of an encrypted image (`encrcdsa`), whose data the bands are |
//!
//! The blocks of an encrypted band are counted from 0 in each band. The format carries no checksums.
//! Owns: bounds on the list and on bands. Must not know: whether the bands lie in a folder or in an archive.

use std::io::Cursor;
use std::sync::Arc;

use serde::Deserialize;

use super::Input;
use super::codec::Codec;
use super::encrypted::Decrypted;
use super::error::SourceError;
use super::extent::{Extent, ExtentMap, Filling, NO_TABLE};
use super::reader::Reader;
use super::udif::depth;
use crate::value::Secret;

/// Bytes of a property list or token that are read; hdiutil writes some hundred, a header of keys a few thousand.
pub const MOST_FILE: u64 = 256 << 10;

/// Most stretches of bands: enough for 32 TiB in bands of 8 MiB.
pub(super) const MOST_PARTS: usize = 4 << 20;

/// Nesting of the property list, which has none.
const MOST_DEPTH: usize = 16;

/// Bytes of one band. They are written in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandPart {
    /// Number of the band, from 0.
    pub band: u64,
    /// First byte in the band.
    pub skip: u64,
    /// Where the bytes stand in the input.
    pub at: u64,
    /// How many.
    pub length: u64,
}

/// A sparse bundle, wherever it lies.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// Content of `Info.plist`, at most [`MOST_FILE`] bytes.
    pub info: Vec<u8>,
    /// Content of `token`, empty where there is none.
    pub token: Vec<u8>,
    /// The bands, in any order.
    pub parts: Vec<BandPart>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "band-size")]
    band: u64,
    size: u64,
}

/// The number in the name of a band.
pub fn band_number(name: &str) -> Option<u64> {
    let good = !name.is_empty() && name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(name, 16).ok().filter(|_| good)
}

/// The bytes of the disk in a bundle whose bands stand in `input`, and the map of the disk.
pub(super) fn open(
    bundle: Bundle,
    input: Box<dyn Input>,
    password: Option<&Secret>,
) -> Result<(Box<dyn Input>, ExtentMap, bool), SourceError> {
    let Bundle { info, token, parts } = bundle;
    let Info { band, size } = read_info(&info)?;
    let map = arrange(parts, band, size)?;
    if !token.starts_with(b"encrcdsa") {
        return Ok((input, map, false));
    }
    // What is free in the bands has no key stream over it: only what was written is decrypted, in its place.
    let written: Vec<Extent> = map.stored().map(|extent| extent.in_place()).collect();
    let sealed = Box::new(Reader::new(input, Arc::new(map)));
    let open = Decrypted::bands(&token, sealed, size, band, password)?;
    if let Some(odd) = written.iter().find(|extent| {
        let ends_inside = !extent.length.is_multiple_of(open.block()) && extent.start + extent.length < size;
        ends_inside || !extent.start.is_multiple_of(open.block())
    }) {
        return Err(malformed("the length of a band of the encrypted sparse bundle", odd.length));
    }
    Ok((Box::new(open), ExtentMap::arrange(written, size)?, true))
}

fn read_info(info: &[u8]) -> Result<Info, SourceError> {
    if depth(info) > MOST_DEPTH {
        return Err(malformed("the nesting of Info.plist of the sparse bundle", depth(info) as u64));
    }
    let bad = |source| SourceError::BundleInfo { source: Box::new(source) };
    let info: Info = plist::from_reader_xml(Cursor::new(info)).map_err(bad)?;
    if info.band == 0 || info.band > i64::MAX as u64 {
        return Err(malformed("the band size (band-size in Info.plist) of the sparse bundle", info.band));
    }
    if info.size > i64::MAX as u64 {
        return Err(malformed("the size (size in Info.plist) of the sparse bundle", info.size));
    }
    Ok(info)
}

fn arrange(parts: Vec<BandPart>, band: u64, size: u64) -> Result<ExtentMap, SourceError> {
    if parts.len() > MOST_PARTS {
        let (what, claimed, most) = ("a number of bands", parts.len() as u64, MOST_PARTS as u64);
        return Err(SourceError::TooLarge { what, claimed, most });
    }
    let mut extents = Vec::with_capacity(parts.len());
    for part in parts {
        if part.length == 0 {
            continue;
        }
        if part.skip.checked_add(part.length).is_none_or(|end| end > band) {
            return Err(malformed("the length of a band of the sparse bundle", part.length));
        }
        let start = part.band.checked_mul(band).and_then(|start| start.checked_add(part.skip));
        let Some(start) = start.filter(|start| *start < size) else {
            return Err(malformed("the number of a band of the sparse bundle", part.band));
        };
        // The last band of the disk may be longer than the disk.
        let length = part.length.min(size - start);
        let filling = Filling::Stored { codec: Codec::Raw, at: part.at, stored: length };
        extents.push(Extent { start, length, table: NO_TABLE, filling });
    }
    ExtentMap::arrange(extents, size)
}

fn malformed(what: &'static str, found: u64) -> SourceError {
    SourceError::Malformed { what, at: 0, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(band: u64, size: u64) -> Vec<u8> {
        format!(
            "<plist version=\"1.0\"><dict><key>band-size</key><integer>{band}</integer>\
             <key>bundle-backingstore-version</key><integer>1</integer><key>size</key><integer>{size}</integer></dict></plist>"
        )
        .into_bytes()
    }

    fn part(band: u64, length: u64) -> BandPart {
        BandPart { band, skip: 0, at: 0, length }
    }

    fn arranged(band: u64, size: u64, parts: Vec<BandPart>) -> Result<Vec<(u64, u64, bool)>, SourceError> {
        let read = read_info(&info(band, size))?;
        let map = arrange(parts, read.band, read.size)?;
        Ok(map
            .pieces()
            .map(|piece| (piece.start, piece.length, piece.filling == Filling::Unallocated))
            .collect())
    }

    #[test]
    fn bands_that_are_absent_and_the_rest_of_short_ones_are_free() {
        let pieces = arranged(1000, 3500, vec![part(3, 1000), part(1, 400), part(0, 0)]).unwrap();
        let want = [(0, 1000, true), (1000, 400, false), (1400, 1600, true), (3000, 500, false)];
        assert_eq!(pieces, want);
    }

    #[test]
    fn a_lying_list_or_band_is_refused() {
        for (band, size, parts) in [
            (0, 100, vec![]),
            (u64::MAX, 100, vec![]),
            (10, u64::MAX, vec![]),
            (10, 100, vec![part(10, 1)]),
            (10, 100, vec![part(u64::MAX, 1)]),
            (10, 100, vec![part(0, 11)]),
            (10, 100, vec![BandPart { skip: u64::MAX, ..part(0, 2) }]),
        ] {
            assert!(
                matches!(arranged(band, size, parts), Err(SourceError::Malformed { .. })),
                "{band} {size}"
            );
        }
        assert!(matches!(
            arranged(10, 100, vec![part(1, 5), part(1, 5)]),
            Err(SourceError::Overlap { offset: 10 })
        ));
        assert!(matches!(read_info(b"<plist><dict/></plist>"), Err(SourceError::BundleInfo { .. })));
        assert!(matches!(read_info(&b"<array>".repeat(100)), Err(SourceError::Malformed { .. })));
    }

    #[test]
    fn a_band_is_named_in_hexadecimal() {
        assert_eq!(
            (band_number("0"), band_number("1f"), band_number("ffffffffffffffff")),
            (Some(0), Some(31), Some(u64::MAX))
        );
        for name in ["", "._0", "+1", "0x1", "g", "11112222333344445"] {
            assert_eq!(band_number(name), None, "{name}");
        }
    }
}
