//! A disk that remembers the order of everything that reached it, and its state after a power cut.
//!
//! Owns: a file system in user space with one file, which a loop device makes a block device of; the rule for what a cut
//! leaves. Must not know: which file system lies on the disk, who writes.
//!
//! What was written before the last flush that ended is there. Of what was written since, a real disk has kept any part, in any
//! order, and perhaps half a write: sectors of 512 bytes are whole, nothing else is.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};
use tempfile::TempDir;

use crate::random::Random;

const NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);
const SECTOR: usize = 512;
/// How long the kernel may remember a name or a size: neither ever changes.
const TTL: Duration = Duration::from_secs(3600);

/// What reached the disk.
#[derive(Clone, Debug)]
pub enum Event {
    Write { offset: usize, bytes: Vec<u8> },
    Flush,
}

#[derive(Debug)]
struct State {
    now: Vec<u8>,
    events: Vec<Event>,
}

#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut state = self.lock();
        let offset = offset as usize;
        let place = state.now.get_mut(offset..offset + bytes.len()).ok_or(Errno::ENOSPC)?;
        place.copy_from_slice(bytes);
        state.events.push(Event::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }
}

/// The disk in use.
pub struct Disk {
    shared: Shared,
    session: Option<BackgroundSession>,
    folder: TempDir,
}

impl Disk {
    /// A disk with this content, in the mount namespace of this thread.
    pub fn new(content: Vec<u8>) -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let shared = Shared(Arc::new(Mutex::new(State { now: content, events: Vec::new() })));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("rootstock-power".to_owned())];
        let session = fuser::spawn_mount(shared.clone(), folder.path(), &config);
        Disk { shared, session: Some(session.expect("a FUSE file system needs root and /dev/fuse")), folder }
    }

    /// The file that is the disk.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(NAME)
    }

    /// How many events there were.
    pub fn position(&self) -> usize {
        self.shared.lock().events.len()
    }

    /// All that reached it.
    pub fn events(&self) -> Vec<Event> {
        self.shared.lock().events.clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.umount_and_join().unwrap();
        }
    }
}

/// `content` with the first `position` events of a disk, as the power went then.
pub fn cut(mut content: Vec<u8>, events: &[Event], position: usize, random: &mut Random) -> Vec<u8> {
    let events = &events[..position];
    let flushed = events.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
    // Nothing later is kept, any part of it, or all but the end of the last write.
    let way = random.below(4);
    for (number, event) in events.iter().enumerate() {
        let Event::Write { offset, bytes } = event else { continue };
        let (kept, whole) = match (number < flushed, way) {
            (true, _) | (false, 0) => (true, true),
            (false, 1) => (false, true),
            (false, 2) => (random.below(2) == 0, true),
            (false, _) => (random.below(3) > 0, random.below(2) == 0),
        };
        if kept {
            let sectors = bytes.len() / SECTOR;
            let length = if whole { bytes.len() } else { random.below(sectors as u64 + 1) as usize * SECTOR };
            content[*offset..offset + length].copy_from_slice(&bytes[..length]);
        }
    }
    content
}

impl Shared {
    fn attributes(&self, number: INodeNo) -> FileAttr {
        let size = self.lock().now.len() as u64;
        let (kind, perm, size) = if number == FILE {
            (FileType::RegularFile, 0o600, size)
        } else {
            (FileType::Directory, 0o700, 0)
        };
        FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&TTL, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(number));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: what the loop device was told to write is here before it says that it is written.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.lock();
        let from = (offset as usize).min(state.now.len());
        reply.data(&state.now[from..(from + size as usize).min(state.now.len())]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write(offset, bytes) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    /// Holes and ranges of zeros, as the kernel asks for them where it wants zeros.
    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        match self.write(offset, &vec![0; length as usize]) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.lock().events.push(Event::Flush);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}

#[test]
fn what_was_flushed_outlives_every_cut_and_what_was_not_may_be_there_in_part() {
    let write = |offset, byte| Event::Write { offset, bytes: vec![byte; 1024] };
    let events = [write(0, 1), Event::Flush, write(0, 2), write(1024, 3)];
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = cut(vec![0; 2048], &events, 4, &mut Random(seed));
        let sectors: Vec<u8> = disk.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert!(disk.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(sectors[..2].iter().all(|byte| [1, 2].contains(byte)), "{sectors:?}");
        assert!(sectors[2..].iter().all(|byte| [0, 3].contains(byte)), "{sectors:?}");
        seen.insert(sectors);
    }
    assert!(seen.len() > 6, "{seen:?}");
    assert_eq!(cut(vec![0; 2048], &events, 2, &mut Random(1))[..1024], [1; 1024]);
}
