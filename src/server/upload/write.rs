//! The bytes of one request on their way to the disk: one thread writes, another flushes what was written and then says
//! that it is safe, so that neither waits for the other.
//!
//! What has a checksum is said to be safe only when all of it came and fits. Blocking; bytes come through a queue.
//! Must not know: HTTP, what is uploaded.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use tokio::sync::mpsc;

use super::error::{UploadError, is_full};
use super::ledger::Ledger;
use crate::api::tus::{Algorithm, Checksum};

/// Written since the last flush was begun, before the next is: what a kill costs at most, beside what one flush takes.
const WINDOW: u64 = 16 << 20;
/// Written between two looks at the disk's free space.
const LOOK: u64 = 8 << 20;

/// What comes through the queue. A queue that ends without [`Sent::End`] is a request that broke off.
#[derive(Debug)]
pub enum Sent {
    /// The next bytes.
    Bytes(Bytes),
    /// Those were all.
    End,
}

/// Where the bytes of one request go.
pub struct Target<'a> {
    /// The file.
    pub path: &'a Path,
    /// Where it stands.
    pub ledger: &'a mut Ledger,
    /// Bytes of the whole file.
    pub size: u64,
    /// Bytes that must stay free on the disk.
    pub keep_free: u64,
    /// Digests that run along.
    pub running: &'a mut Running,
    /// Told what is safe.
    pub safe: &'a AtomicU64,
}

/// Digests of the whole file, counted while it comes. Only those that somebody will ask for.
#[derive(Clone, Default)]
pub struct Running {
    at: u64,
    blake3: Option<blake3::Hasher>,
    sha256: Option<Context>,
}

impl Running {
    /// From the first byte on.
    pub fn new(blake3: bool, sha256: bool) -> Running {
        Running {
            at: 0,
            blake3: blake3.then(blake3::Hasher::new),
            sha256: sha256.then(|| Context::new(&SHA256)),
        }
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u64;
        if let Some(hasher) = &mut self.blake3 {
            hasher.update(bytes);
        }
        if let Some(context) = &mut self.sha256 {
            context.update(bytes);
        }
    }

    /// How many bytes were counted.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// BLAKE3 and SHA-256 of what was counted, hexadecimal.
    pub fn digests(&self) -> (Option<String>, Option<String>) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let blake3 = self.blake3.as_ref().map(|hasher| hasher.finalize().to_hex().to_string());
        (blake3, self.sha256.clone().map(|context| hex(context.finish().as_ref())))
    }
}

enum Check {
    None,
    Ring(Box<Context>, Vec<u8>),
    Crc32(crc32fast::Hasher, Vec<u8>),
}

impl Check {
    fn new(checksum: Option<Checksum>) -> Check {
        match checksum {
            None => Check::None,
            Some(Checksum { algorithm: Algorithm::Crc32, digest }) => {
                Check::Crc32(crc32fast::Hasher::new(), digest)
            }
            Some(Checksum { algorithm: Algorithm::Sha1, digest }) => {
                Check::Ring(Box::new(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)), digest)
            }
            Some(Checksum { algorithm: Algorithm::Sha256, digest }) => {
                Check::Ring(Box::new(Context::new(&SHA256)), digest)
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Check::None => {}
            Check::Ring(context, _) => context.update(bytes),
            Check::Crc32(hasher, _) => hasher.update(bytes),
        }
    }

    fn fits(self) -> bool {
        match self {
            Check::None => true,
            Check::Ring(context, want) => context.finish().as_ref() == want,
            Check::Crc32(hasher, want) => hasher.finalize().to_be_bytes().as_slice() == want,
        }
    }
}

/// Takes the bytes of one request. Returns what is safe then.
///
/// # Errors
/// What arrived whole before the error is safe, unless the request had a checksum.
pub fn take(
    mut pieces: mpsc::Receiver<Sent>,
    checksum: Option<Checksum>,
    target: Target<'_>,
) -> Result<u64, UploadError> {
    let path = target.path;
    let file = File::options().write(true).open(path).map_err(UploadError::at("opening", path))?;
    let begin = target.ledger.safe();
    // What was written after the last number that anybody was told.
    file.set_len(begin).map_err(UploadError::at("cutting", path))?;
    if target.running.at() != begin {
        *target.running = Running { at: u64::MAX, ..Running::default() };
    }
    let whole = checksum.is_some();
    let mut check = Check::new(checksum);
    let mut running = target.running.clone();
    let flush = Flush::default();
    let (written, flushed) = thread::scope(|scope| {
        let (flush, file, safe) = (&flush, &file, target.safe);
        let ledger = &mut *target.ledger;
        let flusher = scope.spawn(move || flush.work(file, ledger, (!whole).then_some(safe), begin));
        let over = Over(flush);
        let written = Writing { file, path, at: begin, size: target.size, keep_free: target.keep_free };
        let written = written.take(&mut pieces, &mut check, &mut running, flush);
        drop(over);
        let flushed =
            flusher.join().unwrap_or_else(|_| Err(io::Error::other("the flushing thread panicked")));
        (written, flushed)
    });
    // Whoever is still sending is told at once.
    drop(pieces);
    let (at, error) = written;
    let known = target.ledger.safe();
    let discard = |error| {
        let _ = file.set_len(known);
        Err(error)
    };
    if let Err(source) = flushed {
        // What the disk did not take may be gone from memory too: only what is in the ledger counts.
        target.running.at = u64::MAX;
        return match is_full(&source) {
            true => discard(full(path, target.size - known)),
            false => discard(UploadError::Disk { what: "flushing", path: path.to_owned(), source }),
        };
    }
    if whole {
        if let Some(error) = error {
            return discard(if let UploadError::Broken { .. } = error {
                UploadError::Broken { have: begin }
            } else {
                error
            });
        }
        if !check.fits() {
            return discard(UploadError::Checksum);
        }
        target.ledger.commit(at).map_err(UploadError::at("writing down the length of", path))?;
        target.safe.store(at, Ordering::Release);
    }
    if running.at() == at {
        *target.running = running;
    }
    error.map_or(Ok(at), Err)
}

struct Writing<'a> {
    file: &'a File,
    path: &'a Path,
    at: u64,
    size: u64,
    keep_free: u64,
}

impl Writing<'_> {
    /// How far it came, and why no farther.
    fn take(
        mut self,
        pieces: &mut mpsc::Receiver<Sent>,
        check: &mut Check,
        running: &mut Running,
        flush: &Flush,
    ) -> (u64, Option<UploadError>) {
        let (mut looked, mut handed) = (self.at, self.at);
        loop {
            let bytes = match pieces.blocking_recv() {
                Some(Sent::Bytes(bytes)) => bytes,
                Some(Sent::End) => {
                    flush.reached(self.at);
                    return (self.at, None);
                }
                None => {
                    flush.reached(self.at);
                    return (self.at, Some(UploadError::Broken { have: self.at }));
                }
            };
            let error = match self.put(&bytes, &mut looked) {
                Ok(()) => {
                    check.update(&bytes);
                    if running.at != u64::MAX {
                        running.update(&bytes);
                    }
                    if self.at - handed >= WINDOW {
                        flush.reached(self.at);
                        handed = self.at;
                    }
                    continue;
                }
                Err(error) => error,
            };
            flush.reached(self.at);
            return (self.at, Some(error));
        }
    }

    fn put(&mut self, bytes: &[u8], looked: &mut u64) -> Result<(), UploadError> {
        let end = self.at + bytes.len() as u64;
        if end > self.size {
            return Err(UploadError::TooLong { over: end - self.size });
        }
        if self.at >= *looked {
            room(self.path, bytes.len() as u64, self.keep_free)?;
            *looked = self.at + LOOK;
        }
        match self.file.write_all_at(bytes, self.at) {
            Ok(()) => {
                self.at = end;
                Ok(())
            }
            Err(error) if is_full(&error) => Err(full(self.path, self.size - self.at)),
            Err(source) => Err(UploadError::Disk { what: "writing", path: self.path.to_owned(), source }),
        }
    }
}

/// The disk itself said that there is no room.
fn full(path: &Path, need: u64) -> UploadError {
    UploadError::Room { need, free: free(path).unwrap_or(0), keep: 0 }
}

fn free(path: &Path) -> Option<u64> {
    let disk = nix::sys::statvfs::statvfs(path).ok()?;
    Some(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// Whether `need` bytes go onto the disk of `path` so that `keep` stay free.
pub fn room(path: &Path, need: u64, keep: u64) -> Result<(), UploadError> {
    match free(path) {
        Some(free) if free < need.saturating_add(keep) => Err(UploadError::Room { need, free, keep }),
        // Where this cannot be asked, the write says whether there is room.
        _ => Ok(()),
    }
}

/// What is written and not yet flushed.
#[derive(Default)]
struct Flush {
    state: Mutex<(u64, bool)>,
    news: Condvar,
}

/// Ends the flushing when it is dropped: also when the writing thread panics.
struct Over<'a>(&'a Flush);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.0.news.notify_one();
    }
}

impl Flush {
    fn reached(&self, at: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = at;
        self.news.notify_one();
    }

    /// Flushes the file again and again; with `safe`, each time says that what it flushed is safe.
    fn work(&self, file: &File, ledger: &mut Ledger, safe: Option<&AtomicU64>, begin: u64) -> io::Result<()> {
        let mut flushed = begin;
        loop {
            let (reached, over) = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let waiting = |state: &mut (u64, bool)| state.0 <= flushed && !state.1;
                *self.news.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner)
            };
            if reached > flushed {
                file.sync_data()?;
                if let Some(safe) = safe {
                    ledger.commit(reached)?;
                    safe.store(reached, Ordering::Release);
                }
                flushed = reached;
            } else if over {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pieces: &[&[u8]], end: bool) -> mpsc::Receiver<Sent> {
        let (queue, receiver) = mpsc::channel(pieces.len() + 1);
        for piece in pieces {
            queue.try_send(Sent::Bytes(Bytes::copy_from_slice(piece))).unwrap();
        }
        if end {
            queue.try_send(Sent::End).unwrap();
        }
        receiver
    }

    struct Bed {
        folder: tempfile::TempDir,
        ledger: Ledger,
        running: Running,
        safe: AtomicU64,
    }

    impl Bed {
        fn new() -> Bed {
            let folder = tempfile::tempdir().unwrap();
            File::create(folder.path().join("data")).unwrap();
            let ledger = Ledger::create(&folder.path().join("offset")).unwrap();
            Bed { folder, ledger, running: Running::new(true, true), safe: AtomicU64::new(0) }
        }

        fn take(
            &mut self,
            pieces: &[&[u8]],
            end: bool,
            check: Option<&str>,
            keep: u64,
        ) -> Result<u64, UploadError> {
            let path = self.folder.path().join("data");
            let target = Target {
                path: &path,
                ledger: &mut self.ledger,
                size: 20,
                keep_free: keep,
                running: &mut self.running,
                safe: &self.safe,
            };
            take(sent(pieces, end), check.map(|text| text.parse().unwrap()), target)
        }

        fn stands(&self) -> (u64, Vec<u8>) {
            let bytes = std::fs::read(self.folder.path().join("data")).unwrap();
            assert_eq!(
                Ledger::open(&self.folder.path().join("offset")).unwrap().safe(),
                self.safe.load(Ordering::Relaxed)
            );
            (self.safe.load(Ordering::Relaxed), bytes)
        }
    }

    #[test]
    fn what_came_before_a_request_broke_off_is_safe_and_the_next_one_goes_on_there() {
        let mut bed = Bed::new();
        assert!(matches!(bed.take(&[b"hello ", b"w"], false, None, 0), Err(UploadError::Broken { have: 7 })));
        assert_eq!(bed.stands(), (7, b"hello w".to_vec()));
        assert_eq!(bed.take(&[b"orld"], true, None, 0).unwrap(), 11);
        assert_eq!(bed.stands(), (11, b"hello world".to_vec()));
        let want = blake3::hash(b"hello world").to_hex().to_string();
        assert_eq!((bed.running.at(), bed.running.digests().0), (11, Some(want)));
    }

    #[test]
    fn what_does_not_have_its_checksum_leaves_no_byte_and_what_has_it_stays() {
        let mut bed = Bed::new();
        bed.take(&[b"a"], true, None, 0).unwrap();
        // sha1 of "hello", for other bytes, and for half of them.
        let sum = "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=";
        assert!(matches!(bed.take(&[b"hellx"], true, Some(sum), 0), Err(UploadError::Checksum)));
        assert!(matches!(bed.take(&[b"hel"], false, Some(sum), 0), Err(UploadError::Broken { have: 1 })));
        assert_eq!(bed.stands(), (1, b"a".to_vec()));
        assert_eq!(bed.take(&[b"hel", b"lo"], true, Some(sum), 0).unwrap(), 6);
        let crc = "crc32 NhCmhg==";
        assert_eq!(bed.take(&[b"hello"], true, Some(crc), 0).unwrap(), 11);
        assert_eq!(bed.stands(), (11, b"ahellohello".to_vec()));
        let want = blake3::hash(b"ahellohello").to_hex().to_string();
        assert_eq!(bed.running.digests().0, Some(want), "discarded bytes are not counted");
    }

    #[test]
    fn more_than_the_file_has_is_refused_and_so_is_what_would_fill_the_disk() {
        let mut bed = Bed::new();
        assert!(matches!(
            bed.take(&[&[7; 19], &[7; 3]], true, None, 0),
            Err(UploadError::TooLong { over: 2 })
        ));
        assert_eq!(bed.stands().0, 19);
        assert!(matches!(bed.take(&[b"x"], true, None, 1 << 60), Err(UploadError::Room { .. })));
        assert_eq!(bed.stands().0, 19);
        assert_eq!(bed.take(&[b"x"], true, None, 0).unwrap(), 20, "there is room again");
    }

    #[test]
    fn bytes_beyond_what_is_safe_are_cut_off_before_the_next_are_taken() {
        let mut bed = Bed::new();
        bed.take(&[b"abc"], true, None, 0).unwrap();
        std::fs::write(bed.folder.path().join("data"), b"abcGARBAGE").unwrap();
        bed.take(&[b"d"], true, None, 0).unwrap();
        assert_eq!(bed.stands(), (4, b"abcd".to_vec()));
    }
}
