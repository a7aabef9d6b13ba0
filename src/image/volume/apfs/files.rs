//! Files of an APFS volume (Reference, "File-System Objects"): records of a tree, by object and type.
//!
//! | type | key behind object and type (u64, type in the upper 4 bits) | value |
//! |---|---|---|
//! | 3 inode | | private id u64 at 8, extended fields from 92 |
//! | 4 attribute | name: length u16, text | flags u16 (1 in a stream, 2 here), length u16, bytes or stream u64, size u64 |
//! | 8 extent | offset u64 | length u64 (56 bits), block u64 |
//! | 9 entry of a folder | name: length u16, or length and hash u32; text | object u64, date u64, kind u16 (4 folder) |
//!
//! Extended fields: count u16, bytes u16; type u8, flags u8, length u16 each; then values at multiples of 8. Type 8 is
//! the stream of the file: size u64.

use std::io;
use std::ops::ControlFlow;

use super::object::Container;
use super::tree::Tree;
use super::volumes::Volume;
use crate::image::field::{Fields, text};
use crate::image::volume::files::{Entry, Files, MOST_CONTENT};

const INODE: u64 = 3;
const ATTRIBUTE: u64 = 4;
const EXTENT: u64 = 8;
const ENTRY: u64 = 9;

/// The root folder.
const ROOT: u64 = 2;

const FOLDER: u16 = 4;
const STREAM_FIELD: u8 = 8;

/// The files of a volume that is not encrypted.
pub(super) struct Records<'c, 'a, 'b> {
    container: &'c mut Container<'a, 'b>,
    tree: Tree,
    extents: Option<Tree>,
    is_sealed: bool,
    hashes_names: bool,
}

/// Object and type of a key.
fn order(key: Fields<'_>) -> (u64, u64) {
    let both = key.le64(0);
    (both & (u64::MAX >> 4), both >> 60)
}

impl<'c, 'a, 'b> Records<'c, 'a, 'b> {
    pub fn open(
        container: &'c mut Container<'a, 'b>,
        volume: &Volume,
    ) -> io::Result<Option<Records<'c, 'a, 'b>>> {
        if volume.facts.is_encrypted {
            return Ok(None);
        }
        let Some(tree) = volume.files(container)? else { return Ok(None) };
        let (extents, is_sealed) = (volume.extents(), volume.facts.is_sealed);
        Ok(Some(Records { container, tree, extents, is_sealed, hashes_names: volume.hashes_names }))
    }

    /// The records of an object of a type.
    fn records(
        &mut self,
        object: u64,
        kind: u64,
        visit: &mut dyn FnMut(Fields<'_>, Fields<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let wanted = (object, kind);
        self.tree.scan(self.container, &|key| order(key) < wanted, &mut |key, value| {
            if order(key) == wanted { visit(key, value) } else { ControlFlow::Break(()) }
        })
    }

    /// Blocks of a stream: offset, length, first block (0: zeros).
    fn places(&mut self, stream: u64) -> io::Result<Vec<(u64, u64, u64)>> {
        let mut places = Vec::new();
        let place = |offset: u64, value: Fields<'_>| (offset, value.le64(0) & (u64::MAX >> 8), value.le64(8));
        let more = |places: &Vec<_>| match places.len() < 256 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        match (self.is_sealed, self.extents) {
            (false, _) => self.records(stream, EXTENT, &mut |key, value| {
                places.push(place(key.le64(8), value));
                more(&places)
            })?,
            (true, Some(tree)) => {
                tree.scan(self.container, &|key| key.le64(0) < stream, &mut |key, value| {
                    if key.le64(0) != stream {
                        return ControlFlow::Break(());
                    }
                    places.push(place(key.le64(8), value));
                    more(&places)
                })?;
            }
            (true, None) => {}
        }
        Ok(places)
    }

    fn stream(&mut self, stream: u64, size: u64) -> io::Result<Option<Vec<u8>>> {
        if size > MOST_CONTENT {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        let mut covered = 0;
        for (offset, length, block) in self.places(stream)? {
            if offset != covered || covered >= size {
                break;
            }
            let wanted = length.min(size - offset) as usize;
            if block != 0 {
                let got = self.container.bytes(block, wanted)?;
                if got.len() < wanted {
                    return Ok(None);
                }
                bytes[offset as usize..][..wanted].copy_from_slice(&got);
            }
            covered += wanted as u64;
        }
        Ok((covered == size).then_some(bytes))
    }
}

impl Files for Records<'_, '_, '_> {
    fn root(&self) -> u64 {
        ROOT
    }

    fn list(&mut self, folder: u64, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> io::Result<()> {
        let name_at = if self.hashes_names { 12 } else { 10 };
        self.records(folder, ENTRY, &mut |key, value| {
            visit(Entry {
                name: text(key.bytes(name_at, 1024)),
                id: value.le64(0),
                is_folder: value.le16(16) & 15 == FOLDER,
                record: Vec::new(),
            })
        })
    }

    fn data(&mut self, file: &Entry) -> io::Result<Option<Vec<u8>>> {
        let mut found = None;
        self.records(file.id, INODE, &mut |_, inode| {
            found = Some((inode.le64(8), stream_size(inode)));
            ControlFlow::Break(())
        })?;
        match found {
            Some((stream, Some(size))) => self.stream(stream, size),
            Some((_, None)) => Ok(Some(Vec::new())),
            None => Ok(None),
        }
    }

    fn resource(&mut self, file: &Entry) -> io::Result<Option<Vec<u8>>> {
        self.attribute(file, "com.apple.ResourceFork")
    }

    fn attribute(&mut self, file: &Entry, name: &str) -> io::Result<Option<Vec<u8>>> {
        enum Value {
            Here(Vec<u8>),
            Stream(u64, u64),
        }
        let mut found = None;
        self.records(file.id, ATTRIBUTE, &mut |key, value| {
            if text(key.bytes(10, 1024)) != name {
                return ControlFlow::Continue(());
            }
            found = Some(match value.le16(0) & 1 {
                0 => Value::Here(value.bytes(4, value.le16(2).into()).to_vec()),
                _ => Value::Stream(value.le64(4), value.le64(12)),
            });
            ControlFlow::Break(())
        })?;
        match found {
            Some(Value::Here(bytes)) => Ok(Some(bytes)),
            Some(Value::Stream(stream, size)) => self.stream(stream, size),
            None => Ok(None),
        }
    }
}

/// The size of the stream that an inode has, from its extended fields.
fn stream_size(inode: Fields<'_>) -> Option<u64> {
    let count = usize::from(inode.le16(92));
    let mut at = 96 + 4 * count;
    for field in 0..count {
        let head = 96 + 4 * field;
        if inode.u8(head) == STREAM_FIELD {
            return Some(inode.le64(at));
        }
        at += usize::from(inode.le16(head + 2)).next_multiple_of(8);
    }
    None
}
