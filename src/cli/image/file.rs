//! Image files and the bytes in them, as the verbs of `rootstock image` use them.
//!
//! Owns: opening by path, the progress bar, sparse output. Must not know: formats.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::image::source::{DecodeError, Decoded, Foreign, Piece, Source, SourceError};
use crate::value::Secret;

/// What is tested for zeros, and left out of a sparse file, in one step.
const HOLE: usize = 32 << 10;

/// Bytes of a password file.
const MOST_PASSWORD: u64 = 4096;

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// An image file that was opened.
pub(super) struct Image {
    pub source: Source,
    /// Length of the file.
    pub length: u64,
    read: Arc<AtomicU64>,
}

impl Image {
    /// Opens the image at `path`, with the password in another file if there is one.
    pub fn open(path: &Path, password_file: Option<&Path>) -> anyhow::Result<Image> {
        let password = password_file.map(read_password).transpose()?;
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() && path.join("Info.plist").is_file() {
            return Err(SourceError::Unsupported(Foreign::SparseBundle).into());
        }
        if metadata.is_dir() {
            bail!("this is a folder; give an image file");
        }
        let mut file = File::open(path)?;
        let length = file
            .seek(SeekFrom::End(0))
            .context("an image must be a file or disk that can be read anywhere")?;
        let read = Arc::new(AtomicU64::new(0));
        let watched = Watched { file, position: 0, read: Arc::clone(&read) };
        let source = Source::open_with(watched, password.as_ref())?;
        Ok(Image { source, length, read })
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

/// The password in a file, without the newline that editors put at its end.
fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let of_file = || format!("the password file {}", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST_PASSWORD + 1).read_to_string(&mut text))
        .with_context(of_file)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    ensure!(!password.is_empty(), "{}: it is empty", of_file());
    ensure!(text.len() as u64 <= MOST_PASSWORD, "{}: it is longer than any password", of_file());
    Ok(Secret::new(password))
}

fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// A file that tells how far it was read.
struct Watched {
    file: File,
    position: u64,
    read: Arc<AtomicU64>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buffer)?;
        self.position += got as u64;
        self.read.store(self.position, Ordering::Relaxed);
        Ok(got)
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.file.seek(to)?;
        Ok(self.position)
    }
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
fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
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

/// A file without a name in `$TMPDIR`, else `/var/tmp`, which holds more than `/tmp` where that is memory. It is gone
/// when it is closed.
pub(super) fn nameless() -> anyhow::Result<File> {
    let folder = std::env::var_os("TMPDIR").unwrap_or_else(|| "/var/tmp".into());
    let flags = nix::fcntl::OFlag::O_TMPFILE.bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    options.open(&folder).with_context(|| {
        format!("making a temporary file in {}; name another folder in TMPDIR", Path::new(&folder).display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_password_is_what_the_file_holds_without_its_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, password) in [("a b", "a b"), (" x \n", " x "), ("é\r\n", "é"), ("two\n\n", "two\n")] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_password(&path).unwrap().expose(), password);
        }
        for text in ["", "\n", &"a".repeat(5000)] {
            fs::write(&path, text).unwrap();
            assert!(read_password(&path).unwrap_err().to_string().contains("password file"));
        }
    }

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
