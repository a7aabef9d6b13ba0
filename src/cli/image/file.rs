//! Image files and the bytes in them, as the verbs of `rootstock image` use them.
//!
//! Owns: the progress bar, sparse output. Must not know: formats, what lies at a path.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use nix::fcntl::{RenameFlags, renameat2};

use super::password::Password;
use crate::image::source::{DecodeError, Decoded, Piece, Source};
use crate::input::{self, OpenError, Opened, Room};
use crate::value::Secret;

/// What is tested for zeros, and left out of a sparse file, in one step.
const HOLE: usize = 32 << 10;

/// Bytes that are left free where something is unpacked to be looked at.
const KEEP_FREE: u64 = 256 << 20;

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// An image file that was opened.
pub(super) struct Image {
    pub source: Source,
    /// Length of the file.
    pub length: u64,
    /// The files, where it was split.
    pub parts: Vec<PathBuf>,
    read: Arc<AtomicU64>,
}

impl Image {
    /// Opens the image at `path`. A person at the terminal is asked for the password of one that needs it.
    pub fn open(path: &Path, password: &Password) -> anyhow::Result<Image> {
        let given = password.given(path)?;
        let opened = match open(path, given.as_ref()) {
            Err(error) if given.is_none() && error.wants_password() && password.may_ask() => {
                open(path, Some(&password.ask(path)?))
            }
            opened => opened,
        }?;
        let read = opened.position();
        let Opened { source, length, parts, .. } = opened;
        Ok(Image { source, length, parts, read })
    }

    /// Decodes everything into `output`, with a progress bar on a terminal.
    pub fn decode_into(&mut self, output: &mut Output) -> Result<Decoded, DecodeError<io::Error>> {
        self.decode(&mut |piece| output.put(piece))
    }

    /// Decodes everything into nothing, to check it.
    pub fn check(&mut self) -> Result<Decoded, DecodeError<io::Error>> {
        self.decode(&mut |_| Ok(()))
    }

    fn decode(
        &mut self,
        sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>,
    ) -> Result<Decoded, DecodeError<io::Error>> {
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        // A stream does not say how much it will give, so its bar runs over the bytes of the file.
        let by_file = self.source.size().is_none();
        let bar = progress(self.source.size().unwrap_or(self.length));
        let read = Arc::clone(&self.read);
        let result = self.source.decode(workers, &mut |piece| {
            let end = match piece {
                Piece::Data { offset, bytes } => offset + bytes.len() as u64,
                Piece::Zero { offset, length } | Piece::Unallocated { offset, length } => offset + length,
            };
            bar.set_position(if by_file { read.load(Ordering::Relaxed) } else { end });
            sink(piece)
        });
        bar.finish_and_clear();
        result
    }
}

fn open(path: &Path, password: Option<&Secret>) -> Result<Opened, OpenError> {
    let folder = input::temporary();
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("unpacking {bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
    let go_on = |unpacked| {
        bar.set_position(unpacked);
        true
    };
    let opened =
        input::open(path, password, Some(Room { folder: &folder, keep_free: KEEP_FREE, go_on: &go_on }));
    bar.finish_and_clear();
    opened
}

pub(super) fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// Where decoded bytes go.
pub(super) enum Output {
    /// A new file: zeros become holes.
    Sparse(File),
    /// A device or pipe, from front to back: zeros are written, because other bytes may be there.
    Sequential(File),
}

impl Output {
    /// Takes the next piece.
    pub fn put(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match (self, piece) {
            (Output::Sparse(file), Piece::Data { offset, bytes }) => write_sparse(file, offset, bytes),
            (Output::Sparse(_), Piece::Zero { .. } | Piece::Unallocated { .. }) => Ok(()),
            (Output::Sequential(file), Piece::Data { bytes, .. }) => file.write_all(bytes),
            (Output::Sequential(file), Piece::Zero { length, .. } | Piece::Unallocated { length, .. }) => {
                let mut left = length;
                while left > 0 {
                    let step = left.min(ZEROS.len() as u64);
                    file.write_all(&ZEROS[..step as usize])?;
                    left -= step;
                }
                Ok(())
            }
        }
    }

    /// Makes a sparse file as long as the image, and everything durable.
    pub fn finish(self, size: u64) -> io::Result<File> {
        let file = match self {
            Output::Sparse(file) => {
                file.set_len(size)?;
                file
            }
            Output::Sequential(file) => file,
        };
        match file.sync_all() {
            // Pipes and terminals cannot be flushed.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(file),
            result => result.map(|()| file),
        }
    }
}

/// Writes what is not zero, in as few calls as that takes.
pub(super) fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut from = 0;
    let mut at = 0;
    for block in bytes.chunks(HOLE) {
        if *block == ZEROS[..block.len()] {
            file.write_all_at(&bytes[from..at], offset + from as u64)?;
            from = at + block.len();
        }
        at += block.len();
    }
    file.write_all_at(&bytes[from..], offset + from as u64)
}

/// A file without a name in `$TMPDIR`, else `/var/tmp`. It is gone when it is closed.
pub(super) fn nameless() -> anyhow::Result<File> {
    let folder = input::temporary();
    input::nameless(&folder).with_context(|| {
        format!("making a temporary file in {}; name another folder in TMPDIR", folder.display())
    })
}

/// `OUT.partial`: removed unless it is published, or kept for the next try.
pub(super) struct Partial {
    pub path: PathBuf,
    pub file: File,
    stays: bool,
}

impl Partial {
    pub fn create(out: &Path) -> anyhow::Result<Partial> {
        Partial::open(out, File::options().write(true).create(true).truncate(true))
    }

    /// With what an earlier try left in it.
    pub fn go_on(out: &Path) -> anyhow::Result<Partial> {
        Partial::open(out, File::options().read(true).write(true).create(true).truncate(false))
    }

    fn open(out: &Path, options: &fs::OpenOptions) -> anyhow::Result<Partial> {
        let mut name = OsString::from(out);
        name.push(".partial");
        let path = PathBuf::from(name);
        let file = options.open(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Partial { path, file, stays: false })
    }

    /// Leaves it for the next try.
    pub fn keep(mut self) {
        self.stays = true;
    }

    /// Gives the durable file its name, durably; in the place of another one only where that is wanted.
    pub fn publish(mut self, out: &Path, replace: bool) -> anyhow::Result<()> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::RENAME_NOREPLACE };
        let here = nix::fcntl::AT_FDCWD;
        renameat2(here, &self.path, here, out, flags).with_context(|| format!("naming {}", out.display()))?;
        self.stays = true;
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("flushing {}", folder.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.stays {
            // The error that led here is the one to report.
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_within_data_become_holes_and_the_bytes_stay_right() {
        let file = nameless().unwrap();
        let mut bytes = vec![0; 1 << 20];
        bytes[..10].fill(1);
        bytes[700_000] = 2;
        let mut output = Output::Sparse(file);
        output.put(Piece::Data { offset: 0, bytes: &bytes }).unwrap();
        output.put(Piece::Zero { offset: 1 << 20, length: 5 << 30 }).unwrap();
        let mut file = output.finish((5 << 30) + (1 << 20)).unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 < 300_000);
        assert_eq!(file.metadata().unwrap().len(), (5 << 30) + (1 << 20));
        let mut back = vec![9; 1 << 20];
        file.rewind().unwrap();
        file.read_exact(&mut back).unwrap();
        assert!(back == bytes);
    }
}
