//! The folder of a sparse bundle: its property list, its token, and which bands are there.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::joined::{Joined, Part};
use crate::image::source::{BandPart, Bundle, MOST_BUNDLE_FILE, band_number};

/// Bands of one bundle: 32 TiB in bands of 8 MiB.
const MOST_BANDS: usize = 4 << 20;

/// Reads the folder at `path`.
pub(super) fn read(path: &Path) -> Result<(Bundle, Joined), OpenError> {
    let found = bands(path)?;
    let info = small(&list(path)?)?.ok_or(OpenError::NoBundle)?;
    let token = small(&path.join("token"))?.unwrap_or_default();
    let mut at = 0;
    let (mut parts, mut files) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
    for (band, file) in found {
        parts.push(BandPart { band, skip: 0, at, length: file.length });
        at = at.saturating_add(file.length);
        files.push(file);
    }
    Ok((Bundle { info, token, parts }, Joined::open(files)?))
}

/// The files that the image in the folder at `path` is made of, by their names in it.
pub(super) fn files(path: &Path) -> Result<Vec<(String, PathBuf)>, OpenError> {
    let bands = bands(path)?;
    let mut files = vec![("Info.plist".to_owned(), list(path)?)];
    let token = path.join("token");
    if token.is_file() {
        files.push(("token".to_owned(), token));
    }
    files.extend(bands.into_iter().map(|(band, part)| (format!("bands/{band:x}"), part.path)));
    Ok(files)
}

/// The property list. It has a twin, for when a Mac is switched off while it writes.
fn list(path: &Path) -> Result<PathBuf, OpenError> {
    let has_bytes = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0);
    ["Info.plist", "Info.bckup"]
        .map(|name| path.join(name))
        .into_iter()
        .find(has_bytes)
        .ok_or(OpenError::NoBundle)
}

/// The bands that are there, in order.
fn bands(path: &Path) -> Result<Vec<(u64, Part)>, OpenError> {
    let folder = path.join("bands");
    if !folder.is_dir() {
        return Err(OpenError::NoBundle);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(OpenError::open(&folder))? {
        let entry = entry.map_err(OpenError::open(&folder))?;
        let Some(band) = entry.file_name().to_str().and_then(band_number) else { continue };
        let metadata = entry.metadata().map_err(OpenError::open(&entry.path()))?;
        if metadata.is_file() {
            found.push((band, Part { path: entry.path(), length: metadata.len() }));
        }
        if found.len() > MOST_BANDS {
            return Err(OpenError::TooMany { path: folder, most: MOST_BANDS });
        }
    }
    found.sort_by_key(|(band, _)| *band);
    Ok(found)
}

/// A small file; none where there is none.
fn small(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(OpenError::open(path))?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_BUNDLE_FILE).read_to_end(&mut bytes).map_err(OpenError::open(path))?;
    Ok(Some(bytes))
}
