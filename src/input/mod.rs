//! Image files by their path: what lies in one file, in parts, in a folder or in a compressed archive becomes one input.
//!
//! | path | input |
//! |---|---|
//! | a file | itself |
//! | a part (`.aa`, `.000`, `.001`) of a file that was split | all its parts, one behind the other |
//! | the folder of a sparse bundle | its bands, one behind the other |
//! | a compressed tar archive of one | the archive, unpacked into a file without a name |
//!
//! Reading order: `error` · `parts` · `joined` · `folder` · `spool` · `whole` (what lies at a path as bytes to be sent).
//! Owns: finding files, opening them, room for what is unpacked. Must not know: formats, which `image::source` tells.

mod error;
mod folder;
mod joined;
mod parts;
mod spool;
mod whole;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::error::OpenError;
pub use self::parts::sets;
pub use self::spool::{Room, nameless, temporary};
pub use self::whole::Whole;

use self::joined::Joined;
use crate::image::source::{DecodeError, Foreign, Source, SourceError};
use crate::value::Secret;

/// An image that was opened.
pub struct Opened {
    /// The image.
    pub source: Source,
    /// Bytes of its file or files.
    pub length: u64,
    /// The files, where there are several; the first and the last of them tell which.
    pub parts: Vec<PathBuf>,
    read: Arc<AtomicU64>,
}

impl Opened {
    /// A counter of how far its file was read.
    pub fn position(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }
}

/// Opens the image at `path`. What must be unpacked to be read goes where `room` is; without room it is not read.
///
/// # Errors
/// See [`OpenError`].
pub fn open(path: &Path, password: Option<&Secret>, room: Option<Room<'_>>) -> Result<Opened, OpenError> {
    let metadata = fs::metadata(path).map_err(OpenError::open(path))?;
    let read = Arc::new(AtomicU64::new(0));
    let watched = |input: Box<dyn Both>| Watched { input, position: 0, read: Arc::clone(&read) };
    if metadata.is_dir() {
        let (bundle, bands) = folder::read(path)?;
        let length = bands.length();
        let source = Source::open_bundle(bundle, watched(Box::new(bands)), password)?;
        return Ok(Opened { source, length, parts: Vec::new(), read });
    }
    let parts = parts::of(path)?;
    let (input, length) = match parts.as_slice() {
        [] | [_] => one(path)?,
        parts => {
            let joined = Joined::open(parts.to_vec())?;
            let length = joined.length();
            (Box::new(joined) as Box<dyn Both>, length)
        }
    };
    let parts = if parts.len() > 1 { parts.into_iter().map(|part| part.path).collect() } else { Vec::new() };
    let error = match Source::open_with(watched(input), password) {
        Ok(source) => return Ok(Opened { source, length, parts, read }),
        Err(error) => error,
    };
    let (SourceError::Inside(Foreign::Tar), Some(room)) = (&error, room) else {
        return Err(in_parts(error, &parts));
    };
    // The source has taken the file with it.
    let mut again = reopen(path, &parts)?;
    let unpacked = spool::unpack(&mut again, room).map_err(|error| match error {
        DecodeError::Source(error) => in_parts(error, &parts),
        DecodeError::Sink(error) => error,
    })?;
    let source = Source::open_with(watched(Box::new(unpacked)), password).map_err(|error| match error {
        SourceError::Unsupported(Foreign::Tar) => SourceError::Inside(Foreign::Tar),
        error => error,
    })?;
    Ok(Opened { source, length, parts, read })
}

/// Whether the file at `path` is one of several parts of a file. Parts of which one is missing, or has a wrong length, are parts.
pub fn is_part(path: &Path) -> bool {
    parts::of(path).map_or_else(|_| true, |parts| parts.len() > 1)
}

/// Name of the file that a part with this name belongs to.
pub fn whole_name(part: &str) -> String {
    parts::stem(part)
}

/// Of an image in parts, an error that a missing part would explain says which parts were found.
fn in_parts(source: SourceError, parts: &[PathBuf]) -> OpenError {
    let [first, .., last] = parts else { return source.into() };
    let (count, first, last) = (parts.len(), first.clone(), last.clone());
    match source {
        SourceError::Truncated { .. } | SourceError::Shortened { .. } => {
            OpenError::LastPart { count, first, last, source: Box::new(source) }
        }
        SourceError::Unknown { .. } => OpenError::FirstPart { count, first, last, source: Box::new(source) },
        _ => source.into(),
    }
}

fn one(path: &Path) -> Result<(Box<dyn Both>, u64), OpenError> {
    let mut file = File::open(path).map_err(OpenError::open(path))?;
    let length = file.seek(SeekFrom::End(0)).map_err(|source| OpenError::NoSeek { source })?;
    Ok((Box::new(file), length))
}

fn reopen(path: &Path, parts: &[PathBuf]) -> Result<Box<dyn Both>, OpenError> {
    if parts.is_empty() {
        return Ok(one(path)?.0);
    }
    let parts = parts.iter().map(|path| parts::measured(path)).collect::<Result<_, _>>()?;
    Ok(Box::new(Joined::open(parts)?))
}

/// A file, or several as one.
trait Both: Read + Seek + Send {}

impl<T: Read + Seek + Send> Both for T {}

/// Tells how far its input was read.
struct Watched {
    input: Box<dyn Both>,
    position: u64,
    read: Arc<AtomicU64>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buffer)?;
        self.position += got as u64;
        self.read.store(self.position, Ordering::Relaxed);
        Ok(got)
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.input.seek(to)?;
        Ok(self.position)
    }
}
