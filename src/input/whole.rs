//! What lies at a path as one row of bytes that can be sent: a file, the parts of one behind each other, a sparse bundle as a tar
//! archive of it, which is made while it is read.
//!
//! The same path gives the same bytes as long as nothing in it changes, so that whoever was cut off can go on anywhere.
//! Must not know: where the bytes go, formats of images.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tar::{EntryType, Header};

use super::error::OpenError;
use super::{folder, parts};
use crate::value::Digest;

/// A header of a tar archive, and what the content of a file is filled up to (POSIX pax, "ustar Interchange Format").
const BLOCK: u64 = 512;
/// Zeros at the end of an archive.
const END: u64 = 2 * BLOCK;
/// Longest name of a bundle that is kept in its archive: a header has room for 100 bytes.
const LONGEST: usize = 60;

/// Files as one.
#[derive(Debug)]
pub struct Whole {
    name: String,
    entries: Vec<Entry>,
    length: u64,
    open: Mutex<Option<(usize, File)>>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// Bytes of the file.
    length: u64,
    /// When it was changed last, seconds and nanoseconds since 1970 UTC.
    changed: (i64, i64),
    /// Its name in the archive, where there is one.
    packed: Option<String>,
    /// Where it begins in the whole.
    start: u64,
}

impl Whole {
    /// Looks at what lies at `path`.
    ///
    /// # Errors
    /// [`OpenError::Open`], [`OpenError::NoBundle`] of another folder, what is wrong with parts.
    pub fn at(path: &Path) -> Result<Whole, OpenError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let facts = fs::metadata(path).map_err(OpenError::open(path))?;
        if facts.is_dir() {
            return bundle(path, &name);
        }
        let found = parts::of(path)?;
        let (name, paths) = match found.len() {
            0 | 1 => (name, vec![path.to_owned()]),
            _ => (parts::stem(&name), found.into_iter().map(|part| part.path).collect()),
        };
        Whole::of(name, paths.into_iter().map(|path| (path, None)).collect())
    }

    fn of(name: String, files: Vec<(PathBuf, Option<String>)>) -> Result<Whole, OpenError> {
        let (mut entries, mut start) = (Vec::with_capacity(files.len()), 0_u64);
        let packed = files.iter().any(|(_, packed)| packed.is_some());
        for (path, packed) in files {
            let facts = fs::metadata(&path).map_err(OpenError::open(&path))?;
            let changed = (facts.mtime(), facts.mtime_nsec());
            let entry = Entry { path, length: facts.len(), changed, packed, start };
            start = start.saturating_add(entry.spans());
            entries.push(entry);
        }
        let length = if packed { start.saturating_add(END) } else { start };
        Ok(Whole { name, entries, length, open: Mutex::default() })
    }

    /// Name of the file that it would be.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of all.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What tells it again, as long as nobody changes it: names, lengths and times of change.
    pub fn sign(&self) -> Digest {
        let mut told = format!("{}\n{}\n", self.name, self.length);
        for Entry { path, length, changed, .. } in &self.entries {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            told += &format!("{name}\n{length} {} {}\n", changed.0, changed.1);
        }
        Digest::of(told.as_bytes())
    }

    /// Whether every file is as it was when it was looked at.
    pub fn is_unchanged(&self) -> bool {
        self.entries.iter().all(|entry| {
            fs::metadata(&entry.path).is_ok_and(|now| {
                (now.len(), (now.mtime(), now.mtime_nsec())) == (entry.length, entry.changed)
            })
        })
    }

    /// Fills `buffer` with the bytes from `at` on.
    ///
    /// # Errors
    /// What the operating system says, by the file; `UnexpectedEof` behind the end, or when a file became shorter.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            // Files without bytes begin where the next does: the last that begins here has the byte.
            let index = self.entries.partition_point(|entry| entry.start <= at).wrapping_sub(1);
            let step = match self.entries.get(index) {
                Some(entry) if at < entry.start + entry.spans() => {
                    self.read_entry(index, entry, at - entry.start, buffer)?
                }
                _ if at < self.length => zeros(buffer, self.length - at),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            buffer = &mut buffer[step..];
            at += step as u64;
        }
        Ok(())
    }

    /// Reads what of an entry is in one piece from its byte `skip` on.
    fn read_entry(&self, index: usize, entry: &Entry, skip: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", entry.path.display()));
        let skip = match &entry.packed {
            Some(name) if skip < BLOCK => {
                let header = entry.header(name).map_err(named)?;
                let rest = &header.as_bytes()[skip as usize..];
                let step = rest.len().min(buffer.len());
                buffer[..step].copy_from_slice(&rest[..step]);
                return Ok(step);
            }
            Some(_) => skip - BLOCK,
            None => skip,
        };
        let Some(left) = entry.length.checked_sub(skip).filter(|left| *left > 0) else {
            return Ok(zeros(buffer, entry.length.next_multiple_of(BLOCK) - skip));
        };
        let step = (buffer.len() as u64).min(left) as usize;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match open.take() {
            Some((number, file)) if number == index => file,
            _ => File::open(&entry.path).map_err(named)?,
        };
        file.read_exact_at(&mut buffer[..step], skip).map_err(named)?;
        *open = Some((index, file));
        Ok(step)
    }
}

impl Entry {
    /// Bytes that it takes in the whole.
    fn spans(&self) -> u64 {
        match self.packed {
            None => self.length,
            Some(_) => self.length.saturating_add(BLOCK - 1) / BLOCK * BLOCK + BLOCK,
        }
    }

    fn header(&self, name: &str) -> io::Result<Header> {
        let mut header = Header::new_gnu();
        header.set_path(name)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(self.length);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.changed.0).unwrap_or(0));
        header.set_cksum();
        Ok(header)
    }
}

/// The tar archive of the sparse bundle at `path`: what its image is made of, and nothing else that lies there.
fn bundle(path: &Path, name: &str) -> Result<Whole, OpenError> {
    let folder = match name.is_ascii() && (1..=LONGEST).contains(&name.len()) {
        true => name,
        false => "image.sparsebundle",
    };
    let files = folder::files(path)?;
    let files = files.into_iter().map(|(own, path)| (path, Some(format!("{folder}/{own}"))));
    Whole::of(format!("{name}.tar"), files.collect())
}

fn zeros(buffer: &mut [u8], most: u64) -> usize {
    let step = (buffer.len() as u64).min(most) as usize;
    buffer[..step].fill(0);
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn all(whole: &Whole, piece: usize) -> Vec<u8> {
        let mut bytes = vec![0; whole.length() as usize];
        for (at, piece) in (0..).step_by(piece).zip(bytes.chunks_mut(piece)) {
            whole.read_exact_at(piece, at).unwrap();
        }
        assert_eq!(
            whole.read_exact_at(&mut [0], whole.length()).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        bytes
    }

    #[test]
    fn parts_are_one_file_with_the_name_that_it_had() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("lab.img.000", "head"), ("lab.img.001", "mid."), ("lab.img.002", "end")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let whole = Whole::at(&folder.path().join("lab.img.001")).unwrap();
        assert_eq!((whole.name(), all(&whole, 3)), ("lab.img", b"headmid.end".to_vec()));
        let sign = whole.sign();
        assert!(
            whole.is_unchanged() && Whole::at(&folder.path().join("lab.img.000")).unwrap().sign() == sign
        );
        fs::write(folder.path().join("lab.img.002"), "END").unwrap();
        assert!(!whole.is_unchanged());
        assert_ne!(Whole::at(&folder.path().join("lab.img.000")).unwrap().sign(), sign);
    }

    #[test]
    fn tar_unpacks_what_a_bundle_is_sent_as_wherever_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lab.sparsebundle");
        fs::create_dir_all(path.join("bands")).unwrap();
        for (name, length) in
            [("Info.plist", 30), ("token", 0), ("bands/0", 512), ("bands/1f", 1025), ("bands/._0", 4)]
        {
            fs::write(path.join(name), vec![length as u8; length]).unwrap();
        }
        let whole = Whole::at(&path).unwrap();
        let bytes = all(&whole, 1000);
        assert!(bytes == all(&whole, 77) && bytes.len().is_multiple_of(512));
        fs::write(folder.path().join(whole.name()), &bytes).unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let tar = folder.path().join("lab.sparsebundle.tar");
        let done = Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(&out).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        for name in ["Info.plist", "bands/0", "bands/1f"] {
            let back = fs::read(out.join("lab.sparsebundle").join(name)).unwrap();
            assert!(back == fs::read(path.join(name)).unwrap(), "{name}");
        }
        assert!(!out.join("lab.sparsebundle/bands/._0").exists());
        assert!(matches!(Whole::at(&out), Err(OpenError::NoBundle)));
    }
}
