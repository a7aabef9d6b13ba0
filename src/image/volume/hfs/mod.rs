//! HFS+ and HFSX (Apple Technical Note TN1150), also inside an HFS wrapper, big-endian.
//!
//! | at | volume header, at byte 1024 | | at | |
//! |---|---|---|---|---|
//! | 0 | `H+` or `HX` | | 80, 84, 100 | blessed folder, blessed file, folder of the system u32 |
//! | 4 | attributes u32 | | 112 | allocation file (80 bytes) |
//! | 12 | journal info block u32 | | 192 | extents overflow file |
//! | 40 | block size, total blocks, free blocks u32 | | 272 | catalog file, attributes file, startup file |
//!
//! Reading order: `tree` · `fork` · `space` · `files`. Owns: header, wrapper, facts.

mod files;
mod fork;
mod space;
mod tree;

use std::io;

use self::files::Catalog;
use super::files as lookup;
use super::{Facts, Kind, Startup, printable};
use crate::image::field::{Fields, Window, utf16};
use fork::{Fork, Which};
use tree::Tree;

pub(super) use space::allocation;

const HEADER_AT: u64 = 1024;

/// Bytes of an allocation block; macOS makes 4096 to 65536.
const MOST_BLOCK: u32 = 1 << 24;

/// Files that have no name: their numbers, and where the header describes them.
const EXTENTS: (u32, usize) = (3, 192);
const CATALOG: (u32, usize) = (4, 272);
const ALLOCATION: (u32, usize) = (6, 112);
const STARTUP: (u32, usize) = (7, 432);
const ATTRIBUTES: (u32, usize) = (8, 352);

pub(super) fn read(volume: &mut Window<'_>) -> io::Result<Option<Facts>> {
    let (start, size) = embedded(volume)?.unwrap_or((0, volume.size()));
    let mut inner = volume.part(start, size);
    let Some(hfs) = Hfs::open(&mut inner)? else { return Ok(None) };
    Ok(Some(hfs.facts(&mut inner)?))
}

/// Place and length of the HFS+ volume inside an HFS wrapper (TN1150, "HFS Wrapper").
fn embedded(volume: &mut Window<'_>) -> io::Result<Option<(u64, u64)>> {
    let header = volume.read(HEADER_AT, 512)?;
    let fields = Fields(&header);
    let is_wrapper = fields.has(0, b"BD") && fields.has(124, b"H+");
    Ok(is_wrapper.then(|| {
        let (block, first) = (u64::from(fields.be32(20)), u64::from(fields.be16(28)) * 512);
        let (start, count) = (u64::from(fields.be16(126)), u64::from(fields.be16(128)));
        (first + start * block, count * block)
    }))
}

/// A volume by its header.
struct Hfs {
    kind: Kind,
    header: Vec<u8>,
    block: u32,
    total: u32,
    free: u32,
}

impl Hfs {
    fn open(volume: &mut Window<'_>) -> io::Result<Option<Hfs>> {
        let header = volume.read(HEADER_AT, 512)?;
        let fields = Fields(&header);
        let kind = match &fields.array(0) {
            b"H+" => Kind::HfsPlus,
            b"HX" => Kind::Hfsx,
            _ => return Ok(None),
        };
        let (block, total, free) = (fields.be32(40), fields.be32(44), fields.be32(48));
        let plausible = (512..=MOST_BLOCK).contains(&block) && block.is_power_of_two();
        Ok(plausible.then_some(Hfs { kind, block, total, free, header }))
    }

    fn field(&self, at: usize) -> u32 {
        Fields(&self.header).be32(at)
    }

    fn bytes(&self, blocks: u32) -> u64 {
        u64::from(blocks) * u64::from(self.block)
    }

    /// A file that the header describes, with the extents that the overflow file has for it.
    fn special(
        &self,
        volume: &mut Window<'_>,
        overflow: Option<&Tree>,
        (file, at): (u32, usize),
    ) -> io::Result<Fork> {
        let data = Fields(Fields(&self.header).bytes(at, 80));
        Fork::new(data, self.block.into()).complete(volume, overflow, file, Which::Data)
    }

    fn overflow(&self, volume: &mut Window<'_>) -> io::Result<Option<Tree>> {
        let fork = self.special(volume, None, EXTENTS)?;
        Tree::open(volume, fork)
    }

    fn tree(
        &self,
        volume: &mut Window<'_>,
        overflow: Option<&Tree>,
        special: (u32, usize),
    ) -> io::Result<Option<Tree>> {
        let fork = self.special(volume, overflow, special)?;
        Tree::open(volume, fork)
    }

    fn facts(&self, volume: &mut Window<'_>) -> io::Result<Facts> {
        let mut facts = Facts {
            kind: self.kind,
            size: self.bytes(self.total),
            used: self.total.checked_sub(self.free).map(|used| self.bytes(used)),
            block_size: Some(self.block),
            unclean: self.unclean(volume)?,
            // The root folder is not counted.
            files: Some(u64::from(self.field(32)) + u64::from(self.field(36))),
            ..Facts::unknown(0)
        };
        if let Some(mut catalog) = Catalog::open(self, volume)? {
            facts.label = catalog.label()?.map(|label| printable(&label));
            facts.case_sensitive = Some(self.kind == Kind::Hfsx && catalog.is_case_sensitive());
            facts.system = lookup::system(&mut catalog)?;
            facts.top = lookup::top(&mut catalog)?;
            facts.startup = match catalog.is_blessed(self)? {
                true => Startup::Present,
                false => Startup::Absent,
            };
        }
        Ok(facts)
    }
}

/// The name in a key of the catalog. A colon on disk is a slash to people.
fn key_name(key: Fields<'_>) -> String {
    let length = usize::from(key.be16(6)).min(255);
    utf16((0..length).map(|k| key.be16(8 + 2 * k))).replace(':', "/")
}

#[cfg(test)]
pub(super) mod make;
#[cfg(test)]
mod tests;
