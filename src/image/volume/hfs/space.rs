//! Which blocks of an HFS+ volume are in use: the allocation file, a bit a block, high bit first.
//!
//! Believed only if the volume was unmounted cleanly, its journal is empty, and the file says what the header says:
//! as many free blocks, none of them in the volume's own files. Used whatever the file says: both volume headers and
//! what is reserved around them, a wrapper, and bytes behind the last whole block.
//!
//! | at | journal info block | | at | journal header, in the byte order of the Mac that made it |
//! |---|---|---|---|---|
//! | 0 | flags u32: 1 on this volume, 2 on another device, 4 not yet made | | 0 | `JNLx`, 12345678 hex u32 |
//! | 36 | offset u64, size u64 | | 8 | first byte of transactions u64, byte after them u64 |

use std::io;

use super::fork::Fork;
use super::{ALLOCATION, ATTRIBUTES, CATALOG, Hfs, STARTUP, embedded};
use crate::image::chunk::Span;
use crate::image::field::{Fields, Window};
use crate::image::volume::allocation::{Allocation, BitOrder, Distrust, Mapper};

const UNMOUNTED: u32 = 1 << 8;
const INCONSISTENT: u32 = 1 << 11;
const JOURNALED: u32 = 1 << 13;

/// Bytes of the allocation file that are read at a time.
const PIECE: usize = 1 << 20;

/// The used bytes of `region`, which `volume` reads; none where there is no HFS+ volume.
pub(in super::super) fn allocation(
    volume: &mut Window<'_>,
    region: Span,
) -> io::Result<Option<Result<Allocation, Distrust>>> {
    let (start, size) = embedded(volume)?.unwrap_or((0, volume.size()));
    let mut inner = volume.part(start, size);
    let Some(hfs) = Hfs::open(&mut inner)? else { return Ok(None) };
    if let Some(reason) = hfs.unclean(&mut inner)? {
        return Ok(Some(Err(reason)));
    }
    let mut map = Mapper::new(region, hfs.block);
    map.push(start, true);
    match hfs.map(&mut inner, &mut map)? {
        Err(reason) => Ok(Some(Err(Distrust::Damaged(reason)))),
        Ok(specials) => {
            let at = |offset: u64, length: u64| Span { offset: region.offset + start + offset, length };
            let end = hfs.bytes(hfs.total);
            let mut reserved = vec![at(0, 1536)];
            // The alternate header: at the end of the blocks, and at the end of the partition.
            reserved.extend([end, inner.size()].map(|end| at(end.saturating_sub(1024), 1024)));
            let own = specials.iter().flat_map(|fork| fork.extents());
            let own = own.map(|&(first, count)| at(hfs.bytes(first), hfs.bytes(count)));
            let allocation = map.finish(&reserved);
            let mut own = own.filter(|span| span.length > 0);
            let impossible = own.any(|span| allocation.within(span).any(|part| !part.used));
            Ok(Some(if impossible {
                Err(Distrust::Damaged("it calls blocks free that its own files use"))
            } else {
                Ok(allocation)
            }))
        }
    }
}

impl Hfs {
    /// Why what is on the disk is not the last state of the volume, if it is not.
    pub(super) fn unclean(&self, volume: &mut Window<'_>) -> io::Result<Option<Distrust>> {
        let attributes = self.field(4);
        if attributes & UNMOUNTED == 0 || attributes & INCONSISTENT != 0 {
            return Ok(Some(Distrust::Mounted));
        }
        if attributes & JOURNALED == 0 {
            return Ok(None);
        }
        let info = volume.read(self.bytes(self.field(12)), 52)?;
        let info = Fields(&info);
        let flags = info.be32(0);
        if flags & 2 != 0 {
            return Ok(Some(Distrust::Elsewhere("its journal")));
        }
        if flags & 4 != 0 {
            return Ok(None);
        }
        let header = volume.read(info.be64(36), 44)?;
        let header = Fields(&header);
        let (first, after) = if header.has(0, b"JNLx\x12\x34\x56\x78") {
            (header.be64(8), header.be64(16))
        } else if header.has(0, b"xLNJ\x78\x56\x34\x12") {
            (header.le64(8), header.le64(16))
        } else {
            return Ok(Some(Distrust::Damaged("there is no journal where the volume says it is")));
        };
        Ok((first != after).then_some(Distrust::Journal))
    }

    /// Reads the allocation file into `map`; the volume's own files, or what is wrong.
    fn map(&self, volume: &mut Window<'_>, map: &mut Mapper) -> io::Result<Result<Vec<Fork>, &'static str>> {
        if self.bytes(self.total) > volume.size() {
            return Ok(Err("the volume is larger than its partition"));
        }
        let overflow = self.overflow(volume)?;
        let mut specials = Vec::new();
        for special in [ALLOCATION, CATALOG, ATTRIBUTES, STARTUP] {
            specials.push(self.special(volume, overflow.as_ref(), special)?);
        }
        specials.extend(overflow.map(|tree| tree.fork().clone()));
        if !specials.iter().all(Fork::is_whole) {
            return Ok(Err("extents of the volume's own files are missing"));
        }
        let mut extents = specials.iter().flat_map(|fork| fork.extents());
        if extents.any(|&(first, count)| u64::from(first) + u64::from(count) > u64::from(self.total)) {
            return Ok(Err("the volume's own files reach beyond its end"));
        }
        let file = &specials[0];
        let count = u64::from(self.total);
        if file.size < count.div_ceil(8) {
            return Ok(Err("it is too short"));
        }
        let (mut done, mut clear) = (0, 0);
        while done < count {
            let step = (count - done).min(8 * PIECE as u64);
            let length = step.div_ceil(8) as usize;
            let bytes = file.read(volume, done / 8, length)?;
            if bytes.len() < length {
                return Ok(Err("it is cut off"));
            }
            clear += map.push_bits(&bytes, step, BitOrder::HighFirst);
            done += step;
        }
        if clear != u64::from(self.free) {
            return Ok(Err("it has another number of free blocks than the volume header"));
        }
        Ok(Ok(specials))
    }
}
