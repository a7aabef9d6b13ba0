//! Several files as one. Only one of them is open at a time: a bundle may have a hundred thousand.
//!
//! A file that has another length than before is an error: its neighbours would move.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::error::OpenError;

/// A file of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub path: PathBuf,
    pub length: u64,
}

/// Files one behind the other.
pub(super) struct Joined {
    parts: Vec<Part>,
    /// First byte of each.
    starts: Vec<u64>,
    length: u64,
    position: u64,
    open: Option<(usize, File)>,
}

impl Joined {
    /// Joins `parts`; the first of them is opened.
    pub fn open(parts: Vec<Part>) -> Result<Joined, OpenError> {
        let mut length = 0_u64;
        let starts = parts
            .iter()
            .map(|part| {
                let start = length;
                length = length.saturating_add(part.length);
                start
            })
            .collect();
        let mut joined = Joined { parts, starts, length, position: 0, open: None };
        if let Some(first) = joined.parts.first() {
            let path = first.path.clone();
            joined.file(0).map_err(OpenError::open(&path))?;
        }
        Ok(joined)
    }

    /// Bytes of all.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn file(&mut self, index: usize) -> io::Result<&mut File> {
        let file = match self.open.take() {
            Some((open, file)) if open == index => file,
            _ => {
                let Part { path, length } = &self.parts[index];
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let file = File::open(path).map_err(named)?;
                let found = file.metadata().map_err(named)?.len();
                if found != *length {
                    let changed = format!("{} has changed: {length} bytes were {found}", path.display());
                    return Err(io::Error::other(changed));
                }
                file
            }
        };
        Ok(&mut self.open.insert((index, file)).1)
    }
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.length || buffer.is_empty() {
            return Ok(0);
        }
        // Parts without bytes have the start of the next: the last that begins here has the byte.
        let index = self.starts.partition_point(|start| *start <= self.position) - 1;
        let skip = self.position - self.starts[index];
        let most = (self.parts[index].length - skip).min(buffer.len() as u64) as usize;
        let file = self.file(index)?;
        file.seek(SeekFrom::Start(skip))?;
        let got = file.read(&mut buffer[..most])?;
        if got == 0 {
            let path = self.parts[index].path.display();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{path} became shorter")));
        }
        self.position += got as u64;
        Ok(got)
    }
}

impl Seek for Joined {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parts(folder: &std::path::Path, lengths: &[usize]) -> (Vec<Part>, Vec<u8>) {
        let mut whole = Vec::new();
        let parts = lengths.iter().enumerate().map(|(number, length)| {
            let bytes: Vec<u8> = (0..*length).map(|at| (at * 7 + number) as u8).collect();
            let path = folder.join(number.to_string());
            fs::write(&path, &bytes).unwrap();
            whole.extend(bytes);
            Part { path, length: *length as u64 }
        });
        (parts.collect(), whole)
    }

    #[test]
    fn parts_read_as_one_file_wherever_one_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (parts, whole) = parts(folder.path(), &[10, 0, 3, 7]);
        let mut joined = Joined::open(parts).unwrap();
        for from in [0, 9, 10, 12, 13, 19, 20, 25] {
            let mut rest = Vec::new();
            joined.seek(SeekFrom::Start(from)).unwrap();
            joined.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, whole[whole.len().min(from as usize)..], "from {from}");
        }
        assert_eq!(joined.seek(SeekFrom::End(-1)).unwrap(), 19);
    }

    #[test]
    fn a_part_that_changed_or_is_gone_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (parts, _) = parts(folder.path(), &[4, 4, 4]);
        let mut joined = Joined::open(parts).unwrap();
        fs::write(folder.path().join("1"), "longer").unwrap();
        fs::remove_file(folder.path().join("2")).unwrap();
        for (at, name) in [(4, "/1 has changed"), (8, "/2: ")] {
            joined.seek(SeekFrom::Start(at)).unwrap();
            let error = joined.read(&mut [0; 4]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
