//! HFS+ and HFSX (Apple Technical Note TN1150), also inside an HFS wrapper, big-endian.
//!
//! | at | volume header, at byte 1024 | | at | node descriptor and B-tree header |
//! |---|---|---|---|---|
//! | 0 | `H+` or `HX` | | 8 | kind i8 (1 header, -1 leaf) |
//! | 4 | attributes u32 | | 24 | first leaf node u32 |
//! | 40 | block size, total blocks, free blocks u32 | | 32 | node size u16 |
//! | 272 | catalog file: size u64, clump and blocks u32, 8 extents (start, count u32) | | | |

use std::io;

use super::{Facts, Kind};
use crate::image::field::{Fields, Window, utf16};

const HEADER_AT: u64 = 1024;
const ROOT_PARENT: u32 = 1;

pub(super) fn read(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let header = volume.read(HEADER_AT, 512)?;
    let fields = Fields(&header);
    if fields.has(0, b"BD") && fields.has(124, b"H+") {
        // TN1150, HFS wrapper: the HFS+ volume is one extent of the HFS volume around it.
        let (block, first) = (u64::from(fields.be32(20)), u64::from(fields.be16(28)) * 512);
        let (start, count) = (u64::from(fields.be16(126)), u64::from(fields.be16(128)));
        return plain(&mut volume.part(first + start * block, count * block));
    }
    plain(volume)
}

fn plain(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let header = volume.read(HEADER_AT, 512)?;
    let fields = Fields(&header);
    let kind = match &fields.array(0) {
        b"H+" => Kind::HfsPlus,
        b"HX" => Kind::Hfsx,
        _ => return Ok(None),
    };
    let (block, total, free) = (fields.be32(40), fields.be32(44), fields.be32(48));
    if block < 512 || !block.is_power_of_two() {
        return Ok(None);
    }
    let bytes = |blocks: u32| u64::from(blocks) * u64::from(block);
    Ok(Some(Facts {
        kind,
        label: Catalog { fields, block: block.into() }.root_name(volume)?,
        size: bytes(total),
        used: total.checked_sub(free).map(bytes),
        block_size: Some(block),
        encrypted: Vec::new(),
    }))
}

/// The catalog file, as far as its first eight extents reach.
struct Catalog<'a> {
    fields: Fields<'a>,
    block: u64,
}

impl Catalog<'_> {
    /// The name of the root folder, which is that of the volume: the first record of the first leaf, because its key
    /// (parent 1) is the smallest.
    fn root_name(&self, volume: &mut Window<'_>) -> io::Result<Option<String>> {
        let header = self.read(volume, 0, 512)?;
        let tree = Fields(&header);
        let node = u64::from(tree.be16(32));
        if tree.u8(8) != 1 || !(512..=32768).contains(&node) {
            return Ok(None);
        }
        let leaf = self.read(volume, u64::from(tree.be32(24)) * node, node as usize)?;
        let leaf = Fields(&leaf);
        let record = usize::from(leaf.be16(node as usize - 2));
        let length = usize::from(leaf.be16(record + 6)).min(255);
        if leaf.u8(8) != 0xff || leaf.be32(record + 2) != ROOT_PARENT || length == 0 {
            return Ok(None);
        }
        // TN1150: a colon on disk is a slash to people.
        let name = utf16((0..length).map(|k| leaf.be16(record + 8 + 2 * k)));
        Ok(Some(name.replace(':', "/")))
    }

    fn read(&self, volume: &mut Window<'_>, mut at: u64, length: usize) -> io::Result<Vec<u8>> {
        for extent in 0..8 {
            let place = 272 + 16 + 8 * extent;
            let start = u64::from(self.fields.be32(place)) * self.block;
            let size = u64::from(self.fields.be32(place + 4)) * self.block;
            if at < size {
                return volume.read(start + at, length);
            }
            at -= size;
        }
        Ok(Vec::new())
    }
}
