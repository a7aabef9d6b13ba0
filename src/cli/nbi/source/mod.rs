//! A NetBoot set as people have it: a folder, a tar, a zip, a disk image. All are read as the same list of files.
//!
//! | recognised by | read by |
//! |---|---|
//! | a folder | `folder` |
//! | `PK` at its front | `zip` |
//! | `ustar` at 257, or gzip, xz, zstd, bzip2 in front of one | `tarball` |
//! | anything that `image::source` knows | `dmg` |
//!
//! Must not know: the appliance.

mod dmg;
mod folder;
mod tarball;
mod zip;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::netboot::nbi::{Entry, INFO, Place, archive_length, entry_path, head, is_clutter, locate};

/// Most entries of a source; Apple's sets have a few dozen.
const MOST_ENTRIES: usize = 2000;
/// Size of a tar block.
const BLOCK: u64 = 512;

/// What is done with each file or folder of a source.
type Visit<'v> = &'v mut dyn FnMut(Entry, &mut dyn Read) -> anyhow::Result<()>;

/// A NetBoot set in a source.
pub struct Set {
    /// Name of its folder, `NetInstall.nbi`.
    pub folder: String,
    source: Source,
    prefix: String,
    entries: Vec<Entry>,
}

enum Source {
    Folder(PathBuf),
    Tarball(PathBuf),
    Zip(PathBuf),
    Dmg(PathBuf),
}

impl Set {
    /// Finds the set in a source.
    pub fn open(path: &Path) -> anyhow::Result<Set> {
        let source = Source::of(path).with_context(|| format!("reading {}", path.display()))?;
        let mut entries: Vec<Entry> = Vec::new();
        source
            .each(&mut |entry, _| {
                ensure!(
                    entries.len() < MOST_ENTRIES,
                    "it has more than {MOST_ENTRIES} files; a set has a few dozen"
                );
                entries.push(entry);
                Ok(())
            })
            .with_context(|| format!("reading {}", path.display()))?;
        // An archive holds the folder of the set or what is in it; a folder is the set.
        let depth = if matches!(source, Source::Folder(_)) { 0 } else { 1 };
        let Place { prefix, folder } = locate(entries.iter().map(|entry| entry.path.as_str()), depth)
            .with_context(|| path.display().to_string())?;
        let entries = entries.into_iter().filter_map(|entry| inside(entry, &prefix)).collect();
        let folder = with_ending(folder.map_or_else(|| name_of(path), Ok)?);
        Ok(Set { folder, source, prefix, entries })
    }

    /// Bytes of the set as a tar.
    pub fn length(&self) -> u64 {
        archive_length(&self.entries)
    }

    /// Writes the set as a tar.
    pub fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut wanted = self.entries.iter();
        self.source.each(&mut |entry, content| {
            let Some(entry) = inside(entry, &self.prefix) else { return Ok(()) };
            ensure!(wanted.next() == Some(&entry), "{} was changed while it was read; try again", entry.path);
            out.write_all(&head(&entry)?)?;
            let copied = io::copy(&mut content.take(entry.size), out)
                .with_context(|| format!("reading {}", entry.path))?;
            ensure!(copied == entry.size, "{} ended after {copied} of {} bytes", entry.path, entry.size);
            let padding = entry.size.next_multiple_of(BLOCK) - entry.size;
            out.write_all(&[0; BLOCK as usize][..padding as usize])?;
            Ok(())
        })?;
        ensure!(wanted.next().is_none(), "files disappeared while they were read; try again");
        Ok(out.write_all(&[0; 2 * BLOCK as usize])?)
    }
}

/// The entry with its path in the set; none for the set's own folder and what lies beside it.
fn inside(entry: Entry, prefix: &str) -> Option<Entry> {
    let path = entry.path.strip_prefix(prefix)?.to_owned();
    (!path.is_empty()).then_some(Entry { path, ..entry })
}

/// `NetInstall` of `NetInstall.nbi.tar.gz`.
fn name_of(path: &Path) -> anyhow::Result<String> {
    let path = path.canonicalize()?;
    let name = path.file_name().and_then(|name| name.to_str()).context("its name is not UTF-8")?;
    let ending = name.find(".nbi").map(|at| at + 4).or_else(|| name.find(".tar"));
    let stem = ending.or_else(|| name.rfind('.').filter(|at| *at > 0)).unwrap_or(name.len());
    Ok(name[..stem].to_owned())
}

fn with_ending(name: String) -> String {
    if name.ends_with(".nbi") { name } else { format!("{name}.nbi") }
}

impl Source {
    fn of(path: &Path) -> anyhow::Result<Source> {
        if fs::metadata(path)?.is_dir() {
            return Ok(Source::Folder(path.to_owned()));
        }
        let mut start = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut start)?;
        Ok(match start.as_slice() {
            [b'P', b'K', 3, 4] | [b'P', b'K', 5, 6] => Source::Zip(path.to_owned()),
            _ if tarball::is_tar(path)? => Source::Tarball(path.to_owned()),
            _ => Source::Dmg(path.to_owned()),
        })
    }

    /// Goes through files and folders, twice in the same order if nobody changes them. Clutter is passed over.
    fn each(&self, visit: Visit<'_>) -> anyhow::Result<()> {
        let mut plain = |entry: Entry, content: &mut dyn Read| match is_clutter(&entry.path) {
            true => Ok(()),
            false => visit(entry, content),
        };
        match self {
            Source::Folder(path) => folder::each(path, &mut plain),
            Source::Tarball(path) => tarball::each(path, &mut plain),
            Source::Zip(path) => zip::each(path, &mut plain),
            Source::Dmg(path) => dmg::each(path, &mut plain),
        }
    }
}

/// The path of an entry, or an error that names it.
fn checked(path: &str) -> anyhow::Result<String> {
    match entry_path(path) {
        Some(path) => Ok(path),
        None => bail!("`{}` is a path that a set cannot have", path.escape_debug()),
    }
}

/// What is said of a source without a set in it.
fn no_set(what: &str) -> String {
    format!("{what}; a NetBoot set is a folder that ends in .nbi with {INFO} in it")
}
