//! A tar stream becomes files in a new folder, each flushed to the disk before the next.
//!
//! Owns: that nothing is written outside the folder, and not more than was told. Must not know: what the files mean.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{NbiError, disk, flush};
use crate::netboot::nbi::{BadArchive, Tar, is_clutter};

/// Bytes moved at once.
const PIECE: usize = 256 * 1024;
/// Bytes between two flushes: the last one shall not take longer than a client waits.
const FLUSH: u64 = 64 << 20;

/// Unpacks everything but clutter into `folder`, which is new and empty; gives the paths of its files.
pub fn unpack(input: impl Read, folder: &Path) -> Result<Vec<String>, NbiError> {
    let mut tar = Tar::new(input);
    let mut buffer = vec![0; PIECE];
    let (mut files, mut folders) = (Vec::new(), BTreeSet::new());
    while let Some(entry) = tar.advance()? {
        if entry.path.is_empty() || is_clutter(&entry.path) {
            continue;
        }
        // Paths are relative and without `..`, and nothing here makes a link: they stay in the folder.
        let path = folder.join(&entry.path);
        let parent = if entry.is_folder { path.as_path() } else { path.parent().unwrap_or(folder) };
        fs::create_dir_all(parent).map_err(disk(parent))?;
        folders.extend(parent.ancestors().take_while(|at| at.starts_with(folder)).map(Path::to_owned));
        if !entry.is_folder {
            write(&mut tar, &path, &mut buffer)?;
            files.push(entry.path);
        }
    }
    folders.iter().try_for_each(|folder| flush(folder))?;
    Ok(files)
}

/// Writes one file; a second entry of the same name is an error.
fn write(tar: &mut Tar<impl Read>, path: &Path, buffer: &mut [u8]) -> Result<(), NbiError> {
    let failed = disk(path);
    let options = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    let mut file: File = options.map_err(&failed)?;
    let mut unflushed = 0;
    loop {
        match tar.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                file.write_all(&buffer[..count]).map_err(&failed)?;
                unflushed += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BadArchive::Read(error).into()),
        }
        if unflushed >= FLUSH {
            file.sync_data().map_err(&failed)?;
            unflushed = 0;
        }
    }
    file.sync_all().map_err(failed)
}
