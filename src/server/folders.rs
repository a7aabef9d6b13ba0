//! Folders of the appliance's own disk that files are imported from: which may be named by whom, and what lies in them.
//!
//! The Unix socket may name any path; over the network only what is below `library.import-folders`, after all links
//! are followed. Must not know: HTTP, the library.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::app::Origin;
use super::http::error::chain;
use crate::api::admin::{FolderEntry, FolderListing};
use crate::input;

/// Entries of one listing.
const MOST: usize = 1000;

/// Why a path is not used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It does not begin at `/`.
    #[error("`{0}` is no absolute path")]
    Relative(String),
    /// It is none of the allowed ones.
    #[error("`{0}` is in no folder that may be imported from over the network")]
    Outside(String),
    /// It is below one of them, and a link in it leads out.
    #[error("`{0}` leads out of the folders that may be imported from over the network")]
    LeadsOut(String),
    /// It is not there, or may not be read.
    #[error("{path} cannot be read")]
    Read {
        /// The path.
        path: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// The path, all links followed, if `origin` may name it.
pub fn permitted(folders: &[PathBuf], origin: Origin, path: &str) -> Result<PathBuf, FolderError> {
    let named = Path::new(path);
    if !named.is_absolute() {
        return Err(FolderError::Relative(path.to_owned()));
    }
    if origin == Origin::Network {
        // Said before the disk is asked: a stranger to the disk does not learn what is elsewhere on it.
        let upwards = named.components().any(|part| part == Component::ParentDir);
        if upwards || !folders.iter().any(|folder| named.starts_with(folder)) {
            return Err(FolderError::Outside(path.to_owned()));
        }
    }
    let real = named.canonicalize().map_err(|source| FolderError::Read { path: path.to_owned(), source })?;
    let inside = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| real.starts_with(folder));
    if origin == Origin::Network && !folders.iter().any(inside) {
        return Err(FolderError::LeadsOut(path.to_owned()));
    }
    Ok(real)
}

/// What lies in a folder, or, without a path, which folders there are. Blocks on the disk.
pub fn list(folders: &[PathBuf], origin: Origin, path: Option<&str>) -> Result<FolderListing, FolderError> {
    let Some(path) = path else {
        let entries = folders.iter().map(|folder| entry(folder, folder)).collect();
        return Ok(FolderListing { path: None, entries, cut_off: false });
    };
    let real = permitted(folders, origin, path)?;
    let failed = |source| FolderError::Read { path: path.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(&real).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            names.push(entry.path());
        }
    }
    names.sort();
    let cut_off = names.len() > MOST;
    names.truncate(MOST);
    let shown = names.iter().filter_map(|found| {
        let named = Path::new(path).join(found.file_name()?);
        permitted(folders, origin, named.to_str()?).ok().map(|real| entry(&named, &real))
    });
    Ok(FolderListing { path: Some(path.to_owned()), entries: shown.collect(), cut_off })
}

fn entry(named: &Path, real: &Path) -> FolderEntry {
    let facts = fs::metadata(real).ok();
    let modified = facts.as_ref().and_then(|facts| facts.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    // Opening what is no plain file may wait for ever.
    let file = facts.as_ref().is_some_and(fs::Metadata::is_file);
    let bundle = real.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("sparsebundle"));
    let (format, problem) = match (file || bundle).then(|| input::open(real, None, None)) {
        None => (None, None),
        Some(Err(error)) => (None, Some(chain(&error))),
        Some(Ok(opened)) => (Some(opened.source.format().to_string()), None),
    };
    FolderEntry {
        path: named.display().to_string(),
        folder: facts.as_ref().is_some_and(fs::Metadata::is_dir),
        size: facts.filter(|_| file).map_or(0, |facts| facts.len()),
        modified_ms: modified.and_then(|at| i64::try_from(at.as_millis()).ok()).unwrap_or(0),
        format,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn over_the_network_only_what_is_really_below_the_folders_may_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let (open, closed) = (folder.path().join("open"), folder.path().join("closed"));
        for path in [&open, &closed] {
            fs::create_dir_all(path.join("sub")).unwrap();
            fs::write(path.join("a.img"), b"x").unwrap();
        }
        symlink(closed.join("a.img"), open.join("out.img")).unwrap();
        symlink(&closed, open.join("outdir")).unwrap();
        symlink(open.join("a.img"), open.join("in.img")).unwrap();
        let text = |path: PathBuf| path.display().to_string();
        let folders = [open.clone()];
        let ask = |path: PathBuf| permitted(&folders, Origin::Network, &text(path));
        assert_eq!(ask(open.join("a.img")).unwrap(), open.join("a.img").canonicalize().unwrap());
        assert!(ask(open.join("in.img")).is_ok());
        assert!(matches!(ask(open.join("out.img")), Err(FolderError::LeadsOut(_))));
        assert!(matches!(ask(open.join("outdir/a.img")), Err(FolderError::LeadsOut(_))));
        assert!(matches!(ask(closed.join("a.img")), Err(FolderError::Outside(_))));
        assert!(matches!(ask(open.join("../closed/a.img")), Err(FolderError::Outside(_))));
        assert!(matches!(ask(folder.path().join("openly")), Err(FolderError::Outside(_))));
        assert!(matches!(ask(PathBuf::from("a.img")), Err(FolderError::Relative(_))));
        assert!(permitted(&folders, Origin::Socket, &text(closed.join("a.img"))).is_ok());
        let listing = list(&folders, Origin::Network, Some(&text(open.clone()))).unwrap();
        let names: Vec<_> =
            listing.entries.iter().map(|entry| entry.path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.img", "in.img", "sub"], "what leads out is not even listed");
    }
}
