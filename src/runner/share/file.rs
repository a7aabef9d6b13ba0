//! The file of a capture while it grows on a share: compared where it is there already, written where it is not, read back.
//!
//! | bytes of the file | |
//! |---|---|
//! | that an earlier try left | flushed, read and compared with what would be written: the same ones are kept, from the first other one on it is written anew |
//! | new | written in blocks, flushed every [`FLUSH`]; what was not flushed is held in memory, and written again when the share comes back |
//! | all that were written now | read back from the share at the end and compared by their digests |
//!
//! So the file itself is all that a later try needs, and nothing in it is believed. Owns: that order, waiting for a share that is gone.
//! Must not know: what the bytes mean, how a share is reached.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::client::Watch;
use crate::image::export::Out;
use crate::value::Digest;

/// Bytes that are written, compared and read back at a time.
const BLOCK: usize = 4 << 20;
/// Blocks that wait to be written.
const AHEAD: usize = 4;
/// Bytes after which the server is asked to put what it has on its disk.
pub const FLUSH: usize = 64 << 20;
/// Before a share that is gone is tried again.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5)];

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The server does not take it, and waiting does not help: full, read-only, not allowed.
    #[error("the share does not take more")]
    Refused(#[source] io::Error),
    /// The share cannot be used any more.
    #[error(transparent)]
    Gone(Box<dyn std::error::Error + Send + Sync>),
    /// Less is there than was flushed.
    #[error("the file on the share has {have} bytes, and {flushed} were flushed: somebody else changed it")]
    Lost {
        /// What is there.
        have: u64,
        /// What must be.
        flushed: u64,
    },
    /// The share gives other bytes than it was given.
    #[error("the share did not keep what was written: bytes {at} to {end} of the file are other ones")]
    Damaged {
        /// First byte of the block.
        at: u64,
        /// Behind its last.
        end: u64,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Opens the file, which is made where it is absent; called again when the share was lost, it connects anew first.
pub trait Reach: Send {
    /// The file, to be read and written.
    ///
    /// # Errors
    /// [`Lost`] says whether to try again.
    fn open(&mut self) -> Result<File, Lost>;
}

impl<F: FnMut() -> Result<File, Lost> + Send> Reach for F {
    fn open(&mut self) -> Result<File, Lost> {
        self()
    }
}

/// The file cannot be opened.
#[derive(Debug)]
pub enum Lost {
    /// The share is not there now.
    Now(String),
    /// It will not come by waiting.
    Forever(Box<dyn std::error::Error + Send + Sync>),
}

/// How far a file is; looked at by others.
#[derive(Debug, Default)]
pub struct Counters {
    written: AtomicU64,
    kept: AtomicU64,
    read_back: AtomicU64,
}

impl Counters {
    /// Bytes written now.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes that were there and right.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Bytes read back of those written now.
    pub fn read_back(&self) -> u64 {
        self.read_back.load(Ordering::Relaxed)
    }
}

/// Takes the bytes of the file, front to back.
pub struct Sink {
    to: SyncSender<Vec<u8>>,
    held: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let step = bytes.len().min(BLOCK - self.held.len());
        self.held.extend_from_slice(&bytes[..step]);
        if self.held.len() == BLOCK {
            self.flush()?;
        }
        Ok(step)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.held, Vec::with_capacity(BLOCK));
        // The writer says why it has ended.
        self.to.send(block).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Out for Sink {}

/// A file whose bytes are all there and flushed, not read back yet.
pub struct Whole<'a> {
    writer: Writer<'a>,
}

/// Lets `work` write the file through a [`Sink`]. Its own error comes first, unless the share was the reason.
///
/// # Errors
/// See [`FileError`]; what was written stays for another try.
pub fn write<'a, E: From<FileError>>(
    reach: &'a mut dyn Reach,
    watch: &'a Watch,
    counters: &'a Counters,
    work: impl FnOnce(&mut Sink) -> Result<(), E>,
) -> Result<Whole<'a>, E> {
    let mut writer = Writer::open(reach, watch, counters)?;
    let (worked, wrote) = thread::scope(|scope| {
        let (to, blocks) = sync_channel(AHEAD);
        let thread = scope.spawn(|| writer.take(blocks));
        let mut sink = Sink { to, held: Vec::with_capacity(BLOCK) };
        let worked = work(&mut sink);
        // Nobody hears of an error here: the writer has ended, and says why.
        let _ = sink.flush();
        drop(sink);
        (worked, thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    wrote?;
    worked?;
    Ok(Whole { writer })
}

impl Whole<'_> {
    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.writer.at
    }

    /// Bytes that [`Whole::read_back`] reads.
    pub fn to_read_back(&self) -> u64 {
        self.writer.at - self.writer.kept
    }

    /// Reads what was written now from the share and compares it.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read_back(mut self) -> Result<u64, FileError> {
        self.writer.read_back()?;
        Ok(self.writer.at)
    }
}

struct Writer<'a> {
    reach: &'a mut dyn Reach,
    watch: &'a Watch,
    counters: &'a Counters,
    file: File,
    /// Where the next block goes.
    at: u64,
    /// Everything before is on the server's disk, or was there.
    flushed: u64,
    /// What lies between the two.
    held: Vec<u8>,
    /// Bytes that an earlier try left, as long as all of them were right.
    kept: u64,
    comparing: bool,
    /// Digest and end of each block that was written.
    blocks: Vec<(u64, Digest)>,
}

impl<'a> Writer<'a> {
    fn open(
        reach: &'a mut dyn Reach,
        watch: &'a Watch,
        counters: &'a Counters,
    ) -> Result<Writer<'a>, FileError> {
        let file = patiently(reach, watch)?;
        let comparing = true;
        let (held, blocks) = (Vec::new(), Vec::new());
        let mut writer =
            Writer { reach, watch, counters, file, at: 0, flushed: 0, held, kept: 0, comparing, blocks };
        // What is found right from here on cannot be lost by a server that is started anew.
        writer.lasting(|writer| match writer.file.metadata()?.len() {
            0 => Ok(()),
            _ => writer.file.sync_all(),
        })?;
        Ok(writer)
    }

    fn take(&mut self, blocks: Receiver<Vec<u8>>) -> Result<(), FileError> {
        for block in blocks {
            if self.comparing && self.is_there(&block)? {
                self.at += block.len() as u64;
                (self.flushed, self.kept) = (self.at, self.at);
                self.counters.kept.store(self.kept, Ordering::Relaxed);
                continue;
            }
            self.comparing = false;
            self.append(&block)?;
        }
        self.flush()
    }

    /// Whether the file has these bytes next.
    fn is_there(&mut self, block: &[u8]) -> Result<bool, FileError> {
        let (at, mut found) = (self.at, vec![0; block.len()]);
        self.lasting(|writer| match writer.file.read_exact_at(&mut found, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| found == block),
        })
    }

    fn append(&mut self, block: &[u8]) -> Result<(), FileError> {
        self.held.extend_from_slice(block);
        let at = self.at;
        self.at += block.len() as u64;
        self.blocks.push((self.at, Digest::of(block)));
        let mut first = true;
        self.lasting(|writer| {
            if std::mem::take(&mut first) {
                return writer.file.write_all_at(block, at);
            }
            writer.file.write_all_at(&writer.held, writer.flushed)
        })?;
        self.counters.written.fetch_add(block.len() as u64, Ordering::Relaxed);
        if self.held.len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    /// Everything so far is on the server's disk, and nothing behind it.
    fn flush(&mut self) -> Result<(), FileError> {
        let mut first = true;
        self.lasting(|writer| {
            if !std::mem::take(&mut first) {
                writer.file.write_all_at(&writer.held, writer.flushed)?;
            }
            writer.file.set_len(writer.at)?;
            writer.file.sync_all()
        })?;
        self.flushed = self.at;
        self.held.clear();
        Ok(())
    }

    fn read_back(&mut self) -> Result<(), FileError> {
        // What the kernel remembers of the file is not what the server has.
        self.file = patiently(self.reach, self.watch)?;
        let (mut at, mut found) = (self.kept, Vec::with_capacity(BLOCK));
        for (end, digest) in std::mem::take(&mut self.blocks) {
            found.resize((end - at) as usize, 0);
            self.lasting(|writer| writer.file.read_exact_at(&mut found, at))?;
            if Digest::of(&found) != digest {
                return Err(FileError::Damaged { at, end });
            }
            self.counters.read_back.fetch_add(end - at, Ordering::Relaxed);
            at = end;
        }
        Ok(())
    }

    /// Does it until it is done, with the file opened anew after each time that the share was lost.
    fn lasting<T>(&mut self, mut act: impl FnMut(&mut Self) -> io::Result<T>) -> Result<T, FileError> {
        let mut tries = 0;
        loop {
            if self.watch.is_stopped() {
                return Err(FileError::Stopped);
            }
            let error = match act(self) {
                Ok(done) => {
                    self.watch.over();
                    return Ok(done);
                }
                Err(error) => error,
            };
            if is_final(&error) {
                return Err(FileError::Refused(error));
            }
            if !self.watch.pause(format!("the share: {error}"), pause(tries)) {
                return Err(FileError::Stopped);
            }
            tries += 1;
            self.file = patiently(self.reach, self.watch)?;
            let have = self.file.metadata().map_or(u64::MAX, |found| found.len());
            if have < self.flushed {
                return Err(FileError::Lost { have, flushed: self.flushed });
            }
        }
    }
}

/// Opens it as soon as the share is there.
fn patiently(reach: &mut dyn Reach, watch: &Watch) -> Result<File, FileError> {
    let mut tries = 0;
    loop {
        match reach.open() {
            Ok(file) => return Ok(file),
            Err(Lost::Forever(error)) => return Err(FileError::Gone(error)),
            Err(Lost::Now(why)) => match watch.pause(why, pause(tries)) {
                true => tries += 1,
                false => return Err(FileError::Stopped),
            },
        }
    }
}

fn pause(tries: usize) -> Duration {
    PAUSES[tries.min(PAUSES.len() - 1)]
}

/// Whether the server said no, as against not being there.
pub fn is_final(error: &io::Error) -> bool {
    let no = [Errno::ENOSPC, Errno::EDQUOT, Errno::EFBIG, Errno::EROFS, Errno::EACCES, Errno::EPERM];
    error.raw_os_error().map(Errno::from_raw).is_some_and(|number| no.contains(&number))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Odd {
        #[error(transparent)]
        File(#[from] FileError),
        #[error("cut")]
        Cut,
    }

    fn open(path: &Path) -> Result<File, Lost> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        file.map_err(|error| Lost::Now(error.to_string()))
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// Kept, written and read back.
    fn save(bytes: &[u8], reach: &mut dyn Reach, cut: bool) -> Result<(u64, u64, u64), Odd> {
        let (watch, counters) = (Watch::default(), Counters::default());
        let whole = write(reach, &watch, &counters, |sink| {
            sink.write_all(bytes).map_err(|_| Odd::Cut)?;
            if cut { Err(Odd::Cut) } else { Ok(()) }
        })?;
        assert_eq!(whole.length(), bytes.len() as u64);
        assert_eq!(whole.read_back()?, bytes.len() as u64);
        Ok((counters.kept(), counters.written(), counters.read_back()))
    }

    #[test]
    fn section_2_a_file_that_was_cut_off_is_gone_on_with_and_what_is_wrong_in_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let bytes = content(2 * BLOCK + 1000);
        let (all, one) = (bytes.len() as u64, BLOCK as u64);
        let mut reach = || open(&path);
        assert!(matches!(save(&bytes[..BLOCK + 5], &mut reach, true), Err(Odd::Cut)));
        assert_eq!(save(&bytes, &mut reach, false).unwrap(), (one, all - one, all - one));
        assert_eq!(save(&bytes, &mut reach, false).unwrap(), (all, 0, 0));
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"XY", 2 * one + 7).unwrap();
        assert_eq!(save(&bytes, &mut reach, false).unwrap(), (2 * one, 1000, 1000));
        let longer = [bytes.as_slice(), b"more"].concat();
        std::fs::write(&path, &longer).unwrap();
        assert_eq!(save(&bytes, &mut reach, false).unwrap(), (all, 0, 0));
        assert!(std::fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn section_2_a_share_that_is_lost_and_comes_back_gets_again_what_was_not_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let bytes = content(3 * BLOCK);
        // Opened: as if writing failed; then not there; then there.
        let mut opened = 0;
        let mut reach = || {
            opened += 1;
            match opened {
                1 => open(&path).and_then(|_| File::open(&path).map_err(|_| Lost::Now("no".into()))),
                2 => Err(Lost::Now("no route to host".into())),
                _ => open(&path),
            }
        };
        assert_eq!(save(&bytes, &mut reach, false).unwrap().1, bytes.len() as u64);
        assert!(opened >= 3 && std::fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn a_share_that_is_full_or_was_changed_by_somebody_else_ends_it() {
        let mut full = || {
            let file = OpenOptions::new().read(true).write(true).open("/dev/full");
            file.map_err(|error| Lost::Now(error.to_string()))
        };
        let error = save(&content(BLOCK), &mut full, false).unwrap_err();
        assert!(matches!(error, Odd::File(FileError::Refused(_))), "{error:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let mut opened = 0;
        let mut changing = || {
            opened += 1;
            if opened == 2 {
                // Before it is read back.
                OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"XY", 9).unwrap();
            }
            open(&path)
        };
        let error = save(&content(BLOCK + 1), &mut changing, false).unwrap_err();
        assert!(matches!(error, Odd::File(FileError::Damaged { at: 0, .. })), "{error:?}");
        let mut gone = || Err(Lost::Forever("no such share".into()));
        assert!(matches!(save(b"x", &mut gone, false), Err(Odd::File(FileError::Gone(_)))));
    }
}
