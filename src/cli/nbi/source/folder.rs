//! A set that lies in a folder of this machine.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, bail};

use super::{Visit, checked};
use crate::netboot::nbi::{Entry, is_clutter};

/// Goes through the folder in the order of names.
pub fn each(root: &Path, visit: Visit<'_>) -> anyhow::Result<()> {
    walk(root, "", visit)
}

fn walk(root: &Path, at: &str, visit: Visit<'_>) -> anyhow::Result<()> {
    let folder = root.join(at);
    let read = || format!("reading {}", folder.display());
    let mut entries =
        fs::read_dir(&folder).with_context(read)?.collect::<io::Result<Vec<_>>>().with_context(read)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            bail!("the name of {} is not UTF-8; rename it", path.display());
        };
        let name = if at.is_empty() { name } else { format!("{at}/{name}") };
        // macOS leaves links and sockets in its own folders.
        if is_clutter(&name) {
            continue;
        }
        let name = checked(&name)?;
        let metadata = entry.metadata().with_context(|| format!("reading {}", path.display()))?;
        if metadata.is_dir() {
            visit(Entry { path: name.clone(), size: 0, is_folder: true }, &mut io::empty())?;
            walk(root, &name, visit)?;
        } else if metadata.is_file() {
            let mut file = File::open(&path).with_context(|| format!("reading {}", path.display()))?;
            visit(Entry { path: name, size: metadata.len(), is_folder: false }, &mut file)?;
        } else if metadata.is_symlink() {
            bail!("{} is a symbolic link; put the file itself there", path.display());
        } else {
            bail!("{} is neither a file nor a folder", path.display());
        }
    }
    Ok(())
}
