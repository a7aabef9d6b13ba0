//! A set in a disk image: the files of its HFS+ volume.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{anyhow, bail, ensure};
use fstool::block::BlockDevice;
use fstool::fs::EntryKind;
use fstool::fs::hfs_plus::HfsPlus;

use super::{MOST_ENTRIES, Visit, checked, no_set};
use crate::image::partition;
use crate::image::source::{Reader, Source};
use crate::image::volume::{self, Kind};
use crate::netboot::nbi::{Entry, is_clutter};

/// Goes through the files of the image's HFS+ volume.
pub fn each(path: &Path, visit: Visit<'_>) -> anyhow::Result<()> {
    let source = Source::open(File::open(path)?)?;
    let mut reader = source.into_reader()?;
    let (start, size) = volume_of(&mut reader)?;
    let mut device = Volume { reader, start, size, at: 0 };
    let volume =
        HfsPlus::open(&mut device).map_err(|error| anyhow!("its HFS+ volume cannot be read: {error}"))?;
    let mut seen = 0;
    walk(&volume, &mut device, "", &mut seen, visit)
}

/// Where the HFS+ volume is in the image.
fn volume_of(reader: &mut Reader) -> anyhow::Result<(u64, u64)> {
    let size = reader.size();
    let layout = partition::read(reader, size)?;
    let mut places: Vec<(u64, u64)> = layout.partitions.iter().map(|part| (part.start, part.size)).collect();
    if places.is_empty() {
        places.push((0, size));
    }
    let mut apfs = false;
    for (start, size) in places {
        match volume::read(reader, start, size)?.kind {
            Kind::HfsPlus | Kind::Hfsx => return Ok((start, size)),
            Kind::Apfs => apfs = true,
            _ => {}
        }
    }
    if apfs {
        bail!("its volume is APFS, which is not read here: mount it on a Mac and import the .nbi folder");
    }
    bail!(no_set("the image holds no HFS+ volume"))
}

fn walk(
    volume: &HfsPlus,
    device: &mut Volume,
    at: &str,
    seen: &mut usize,
    visit: Visit<'_>,
) -> anyhow::Result<()> {
    let failed = |error: fstool::Error| anyhow!("its HFS+ volume is damaged at /{at}: {error}");
    let mut entries = volume.list_path(device, &format!("/{at}")).map_err(failed)?;
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    for entry in entries {
        // Damaged folders may contain each other.
        *seen += 1;
        ensure!(*seen <= MOST_ENTRIES * 4, "its HFS+ volume has too many files; a set has a few dozen");
        let name = if at.is_empty() { entry.name } else { format!("{at}/{}", entry.name) };
        if is_clutter(&name) {
            continue;
        }
        let name = checked(&name)?;
        match entry.kind {
            EntryKind::Dir => {
                visit(Entry { path: name.clone(), size: 0, is_folder: true }, &mut io::empty())?;
                walk(volume, device, &name, seen, visit)?;
            }
            EntryKind::Regular => {
                let inner = format!("/{name}");
                let size = volume.file_size(device, &inner).map_err(failed)?;
                let mut content = volume.open_file_reader(device, &inner).map_err(failed)?;
                visit(Entry { path: name, size, is_folder: false }, &mut content)?;
            }
            EntryKind::Symlink => bail!("`{name}` in the image is a symbolic link, which a set cannot have"),
            _ => bail!("`{name}` in the image is neither a file nor a folder"),
        }
    }
    Ok(())
}

/// The volume as fstool wants it; nothing is ever written.
struct Volume {
    reader: Reader<'static>,
    start: u64,
    size: u64,
    at: u64,
}

impl Read for Volume {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.at);
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.reader.seek(SeekFrom::Start(self.start + self.at))?;
        let count = self.reader.read(&mut buffer[..most])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Volume {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Write for Volume {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        let why =
            "the volume was not unmounted cleanly: mount and eject it on a Mac, or import the .nbi folder";
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, why))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlockDevice for Volume {
    fn block_size(&self) -> u32 {
        512
    }

    fn total_size(&self) -> u64 {
        self.size
    }

    fn sync(&mut self) -> fstool::Result<()> {
        Ok(())
    }
}
