//! The appliance's folder of files: what Copy Files steps take. `files/` in the data folder; an administrator puts things there.
//!
//! What a step names stays below that folder: by its words, and after all links are followed. Links and special files in a tree
//! are named and not copied. Must not know: HTTP, runs.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::api::runner::{FileEntry, FileList};
use crate::sequence::place::{SOURCE_RULE, is_inner_path};

/// Files and folders of one step.
const MOST_ENTRIES: usize = 20_000;
/// How deep folders lie in each other.
const DEEPEST: usize = 64;

/// Nothing can be taken.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The path leads out.
    #[error("`{0}` is not {SOURCE_RULE}")]
    Outside(String),
    /// Not there, or not readable.
    #[error("`{path}` cannot be read in {}", folder.display())]
    Read {
        /// As named.
        path: String,
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than a step copies.
    #[error(
        "`{0}` has more than {MOST_ENTRIES} files and folders, or lies {DEEPEST} folders deep: pack it into one file"
    )]
    TooMany(String),
    /// A number without a file.
    #[error("`{0}` has no file of this number, or not any more")]
    Gone(String),
}

/// What `from` is, in order; and where its entries lie, with the same numbers.
pub fn list(folder: &Path, from: &str) -> Result<(FileList, Vec<PathBuf>), FilesError> {
    if !is_inner_path(from) {
        return Err(FilesError::Outside(from.chars().take(200).collect()));
    }
    let failed = |source| FilesError::Read { path: from.to_owned(), folder: folder.to_owned(), source };
    let root = folder.canonicalize().map_err(failed)?;
    let real = root.join(from).canonicalize().map_err(failed)?;
    if !real.starts_with(&root) || real == root {
        return Err(FilesError::Outside(from.to_owned()));
    }
    let name = real.file_name().and_then(|name| name.to_str());
    let name = from.rsplit('/').next().filter(|name| !name.is_empty()).or(name).unwrap_or("file").to_owned();
    let mut found = Found { list: FileList::default(), paths: Vec::new(), from };
    found.add(&real, name, 0).map_err(|error| match error {
        Stop::Io(source) => failed(source),
        Stop::TooMany => FilesError::TooMany(from.to_owned()),
    })?;
    Ok((found.list, found.paths))
}

/// The file of a number, as it was listed.
pub fn file(folder: &Path, from: &str, number: usize) -> Result<PathBuf, FilesError> {
    let (list, paths) = list(folder, from)?;
    match (list.entries.get(number), paths.get(number)) {
        (Some(FileEntry { size: Some(_), .. }), Some(path)) => Ok(path.clone()),
        _ => Err(FilesError::Gone(from.to_owned())),
    }
}

enum Stop {
    Io(io::Error),
    TooMany,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

struct Found<'a> {
    list: FileList,
    paths: Vec<PathBuf>,
    from: &'a str,
}

impl Found<'_> {
    /// A file, or a folder and everything in it. The top is the only entry that may be a link: it was followed.
    fn add(&mut self, path: &Path, shown: String, depth: usize) -> Result<(), Stop> {
        if self.list.entries.len() >= MOST_ENTRIES || depth > DEEPEST {
            return Err(Stop::TooMany);
        }
        let facts = fs::symlink_metadata(path)?;
        let kind = facts.file_type();
        if !kind.is_file() && !kind.is_dir() {
            self.list.left_out.push(shown);
            return Ok(());
        }
        self.list.entries.push(FileEntry {
            path: shown.clone(),
            size: kind.is_file().then_some(facts.len()),
            mode: facts.permissions().mode() & 0o777,
            modified: u32::try_from(facts.mtime()).unwrap_or(0),
        });
        self.paths.push(path.to_owned());
        if !kind.is_dir() {
            return Ok(());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name());
            if names.len() > MOST_ENTRIES {
                return Err(Stop::TooMany);
            }
        }
        names.sort();
        for name in names {
            match name.to_str() {
                Some(text) if is_inner_path(text) => {
                    self.add(&path.join(text), format!("{shown}/{text}"), depth + 1)?;
                }
                _ => self.list.left_out.push(format!("{shown}/{}", name.to_string_lossy())),
            }
        }
        let _ = self.from;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn section_2_a_tree_is_listed_in_order_and_links_are_named_and_left() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("files");
        fs::create_dir_all(folder.join("labs/sub")).unwrap();
        fs::write(folder.join("labs/b.txt"), "bb").unwrap();
        fs::write(folder.join("labs/sub/a.txt"), "a").unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path().join("secret"), folder.join("labs/link")).unwrap();
        symlink(outside.path(), folder.join("out")).unwrap();
        symlink(folder.join("labs"), folder.join("in")).unwrap();
        let (found, paths) = list(&folder, "labs").unwrap();
        let lines: Vec<_> = found.entries.iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
        assert_eq!(
            lines,
            [("labs", None), ("labs/b.txt", Some(2)), ("labs/sub", None), ("labs/sub/a.txt", Some(1))]
        );
        assert_eq!(found.left_out, ["labs/link"]);
        assert_eq!(paths.len(), 4);
        assert_eq!(file(&folder, "labs", 3).unwrap(), folder.canonicalize().unwrap().join("labs/sub/a.txt"));
        assert!(matches!(file(&folder, "labs", 2), Err(FilesError::Gone(_))));
        assert_eq!(list(&folder, "in").unwrap().0.entries[0].path, "in", "a link within is followed");
        for path in ["out", "out/secret", "labs/link", "..", "../secret", "/etc", "labs/../../secret"] {
            assert!(matches!(list(&folder, path), Err(FilesError::Outside(_))), "{path}");
        }
        assert!(matches!(list(&folder, "gone"), Err(FilesError::Read { .. })));
    }
}
