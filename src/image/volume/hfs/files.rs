//! Files of an HFS+ volume: catalog and attributes (TN1150, "Catalog File", "Attributes File").
//!
//! | at | catalog key | | at | record |
//! |---|---|---|---|---|
//! | 2 | folder u32 | | 0 | type i16: 1 folder, 2 file, 3 and 4 threads |
//! | 6 | name: length u16, UTF-16 | | 8 | folder or file u32 |
//! | | attribute key | | 88, 168 | data fork, resource fork (80 bytes) of a file |
//! | 4 | file u32 | | | attribute: type u32 = 16 inline, length u32 at 12, bytes at 16 |
//! | 12 | name: length u16, UTF-16 | | | |

use std::io;
use std::ops::ControlFlow;

use super::fork::{Fork, Which};
use super::tree::Tree;
use super::{ATTRIBUTES, CATALOG, Hfs, key_name};
use crate::image::field::{Fields, Window, utf16};
use crate::image::volume::files::{self, Entry, Files, MOST_CONTENT};

const FOLDER: u16 = 1;
const FILE: u16 = 2;
const INLINE: u32 = 16;

/// Names are compared byte by byte.
const BINARY: u8 = 0xbc;

/// The root folder.
const ROOT: u32 = 2;

/// The files of a volume.
pub(super) struct Catalog<'a, 'b> {
    volume: &'a mut Window<'b>,
    block: u64,
    overflow: Option<Tree>,
    catalog: Tree,
    attributes: Option<Tree>,
}

impl<'a, 'b> Catalog<'a, 'b> {
    pub fn open(hfs: &Hfs, volume: &'a mut Window<'b>) -> io::Result<Option<Catalog<'a, 'b>>> {
        let overflow = hfs.overflow(volume)?;
        let Some(catalog) = hfs.tree(volume, overflow.as_ref(), CATALOG)? else { return Ok(None) };
        let attributes = hfs.tree(volume, overflow.as_ref(), ATTRIBUTES)?;
        Ok(Some(Catalog { volume, block: hfs.block.into(), overflow, catalog, attributes }))
    }

    /// The name of the root folder, which is that of the volume.
    pub fn label(&mut self) -> io::Result<Option<String>> {
        let mut label = None;
        self.catalog.scan(self.volume, &|_| false, &mut |key, _| {
            label = (key.be32(2) == 1).then(|| key_name(key)).filter(|name| !name.is_empty());
            ControlFlow::Break(())
        })?;
        Ok(label)
    }

    /// Whether names differ by case alone; only HFSX may.
    pub fn is_case_sensitive(&self) -> bool {
        self.catalog.order == BINARY
    }

    /// Whether there is a file or folder with this number: whether it has a thread.
    pub fn exists(&mut self, id: u32) -> io::Result<bool> {
        let mut found = false;
        self.catalog.scan(self.volume, &|key| key.be32(2) < id, &mut |key, _| {
            found = key.be32(2) == id && key.be16(6) == 0;
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Whether a Mac starts from it: a blessed folder with boot.efi in it, or a blessed file (bless(8)).
    pub fn is_blessed(&mut self, hfs: &Hfs) -> io::Result<bool> {
        let (folder, file, system) = (hfs.field(80), hfs.field(84), hfs.field(80 + 20));
        for folder in [folder, system].into_iter().filter(|folder| *folder != 0) {
            let loader = files::find(self, folder.into(), "boot.efi")?;
            if loader.is_some() || (file != 0 && self.exists(file)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fork(&mut self, file: &Entry, at: usize, which: Which) -> io::Result<Option<Vec<u8>>> {
        let fork = Fork::new(Fields(Fields(&file.record).bytes(at, 80)), self.block);
        if fork.size > MOST_CONTENT {
            return Ok(None);
        }
        let fork = fork.complete(self.volume, self.overflow.as_ref(), file.id as u32, which)?;
        let bytes = fork.read(self.volume, 0, fork.size as usize)?;
        Ok((bytes.len() as u64 == fork.size).then_some(bytes))
    }
}

impl Files for Catalog<'_, '_> {
    fn root(&self) -> u64 {
        ROOT.into()
    }

    fn list(&mut self, folder: u64, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> io::Result<()> {
        let parent = |key: Fields<'_>| u64::from(key.be32(2));
        self.catalog.scan(self.volume, &|key| parent(key) < folder, &mut |key, record| {
            if parent(key) != folder {
                return ControlFlow::Break(());
            }
            match record.be16(0) {
                kind @ (FOLDER | FILE) => visit(Entry {
                    name: key_name(key),
                    id: record.be32(8).into(),
                    is_folder: kind == FOLDER,
                    record: record.bytes(0, 248).to_vec(),
                }),
                _ => ControlFlow::Continue(()),
            }
        })
    }

    fn data(&mut self, file: &Entry) -> io::Result<Option<Vec<u8>>> {
        self.fork(file, 88, Which::Data)
    }

    fn resource(&mut self, file: &Entry) -> io::Result<Option<Vec<u8>>> {
        self.fork(file, 168, Which::Resource)
    }

    fn attribute(&mut self, file: &Entry, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(attributes) = &self.attributes else { return Ok(None) };
        let (owner, mut value) = (file.id as u32, None);
        attributes.scan(self.volume, &|key| key.be32(4) < owner, &mut |key, record| {
            let length = usize::from(key.be16(12)).min(128);
            let found = utf16((0..length).map(|k| key.be16(14 + 2 * k)));
            if key.be32(4) == owner && found == name && record.be32(0) == INLINE {
                value = Some(record.bytes(16, record.be32(12) as usize).to_vec());
            }
            let more = key.be32(4) == owner && value.is_none();
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(value)
    }
}
