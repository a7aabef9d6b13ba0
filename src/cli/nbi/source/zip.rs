//! A set in a zip, as Finder and Windows make them.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use zip::ZipArchive;

use super::{MOST_ENTRIES, Visit, checked};
use crate::netboot::nbi::{Entry, is_clutter};

/// Goes through the zip.
pub fn each(path: &Path, visit: Visit<'_>) -> anyhow::Result<()> {
    let file = BufReader::new(File::open(path)?);
    let mut archive = ZipArchive::new(file).context("the zip is damaged or cut off; copy it again")?;
    ensure!(
        archive.len() <= MOST_ENTRIES * 2,
        "the zip has {} entries; a set has a few dozen",
        archive.len()
    );
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).context("the zip cannot be read")?;
        let raw = file.name()?.into_owned();
        if is_clutter(&raw) {
            continue;
        }
        let path = checked(&raw)?;
        if file.is_symlink() {
            bail!("`{path}` in the zip is a symbolic link, which a set cannot have");
        }
        let kind = file.unix_mode().unwrap_or(0) & 0o170_000;
        ensure!(
            matches!(kind, 0 | 0o100_000 | 0o040_000),
            "`{path}` in the zip is neither a file nor a folder"
        );
        if path.is_empty() {
            continue;
        }
        if file.is_dir() {
            visit(Entry { path, size: 0, is_folder: true }, &mut io::empty())?;
        } else {
            let size = file.size();
            visit(Entry { path, size, is_folder: false }, &mut file)?;
        }
    }
    Ok(())
}
