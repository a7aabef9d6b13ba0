//! Copy Files: files and folders of the appliance onto a volume, without mounting it: fstool writes HFS+, exFAT and FAT32 on the
//! partition itself, so that the same code works on a disk and on a disk in a file. Everything is read back from the disk after
//! the volume was closed, and compared with what came over the network.
//!
//! | file system | |
//! |---|---|
//! | HFS+, journaled, case-sensitive | written; an open journal is played first |
//! | exFAT, FAT32 | written |
//! | APFS | refused before anything is written: no free program writes it well enough for a disk that somebody will use |
//!
//! Must not know: where the appliance keeps its files.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use fstool::block::BlockDevice;
use fstool::fs::exfat::Exfat;
use fstool::fs::fat::Fat32;
use fstool::fs::hfs_plus::HfsPlus;
use fstool::fs::{EntryKind, FileMeta, Filesystem};

use super::apply::clock;
use super::attend::Outage;
use super::failure::{self, chain, failure};
use super::format::VolumeDevice;
use super::identity::called;
use super::perform::{Failed, Work};
use super::place::{Place, Stretch, partition_of, partition_place};
use super::rates::{Counters, Rates};
use crate::api::runner::{Destination, Done, Failure, FileEntry, FileList};
use crate::client::{Client, Patience};
use crate::image::volume::{self, Kind};
use crate::value::{ByteSize, Digest};

/// Bytes of one request.
const PIECE: u64 = 1 << 20;
/// How often progress is told.
const PACE: Duration = Duration::from_millis(500);
/// A request that breaks off is made again at once.
const PATIENCE: Patience =
    Patience { tries: 3, first_pause: Duration::from_millis(250), longest_pause: Duration::from_secs(1) };
/// Before the next try, where the appliance does not answer. It is waited for as long as it takes, or the step has time.
const PAUSE: Duration = Duration::from_secs(2);

/// Copies.
///
/// # Errors
/// [`Failed`] says whether the action failed or the runner shall stop.
pub fn copy(work: &Work<'_>, from: &str, to: &str, destination: &Destination) -> Result<Done, Failed> {
    let (disk, number) =
        partition_of(destination, &work.machine.disks).map_err(|error| failure::of_place(&error))?;
    let place = partition_place(disk, number).map_err(|error| failure::of_place(&error))?;
    let files = format!("/runner/v1/runs/{}/files/{}", work.run.run, work.number);
    let client = work.client.with_patience(Patience::NONE);
    let list: FileList = work.link.persist("Asking what there is to copy", || client.get(&files)).map_err(
        |left| match left {
            super::link::Interrupted::Refused(error) => {
                failure::of_client(&format!("{from} cannot be copied"), &error).into()
            }
            left => Failed::Left(left),
        },
    )?;
    let what = format!("{from} to {to} on partition {number} of {}", called(disk));
    let bytes: u64 = list.entries.iter().filter_map(|entry| entry.size).sum();
    let count = list.entries.iter().filter(|entry| entry.size.is_some()).count();
    work.reporter.log(vec![format!("copying {what}: {count} files, {}", ByteSize(bytes))]);
    work.reporter.log(list.left_out.iter().map(|path| format!("left out, no plain file: {path}")).collect());
    let kind = kind_of(&place, bytes, to, &list.entries).map_err(|why| refused(&what, why))?;
    let copying = Copying { work, client: work.client.with_patience(PATIENCE), files, total: bytes };
    let digests =
        copying.write(&place, kind, to, &list.entries).map_err(|error| broken(work, &what, &error))?;
    copying
        .read_back(&place, kind, to, &list.entries, &digests)
        .map_err(|error| broken(work, &what, &error))?;
    work.reporter.log(vec![format!("{what}: {count} files, {} read back and equal", ByteSize(bytes))]);
    let warning = (!list.left_out.is_empty())
        .then(|| format!("{} links and special files were not copied", list.left_out.len()));
    Ok(Done { warning, ..Done::default() })
}

/// The file system, where it can be written and has room. What is going to be replaced gives its room: a step that is done again,
/// because nobody heard that it was done, needs none.
fn kind_of(place: &Place, bytes: u64, to: &str, entries: &[FileEntry]) -> Result<Kind, String> {
    let mut stretch = Stretch::open(place).map_err(|error| chain(&error))?;
    let size = stretch.size();
    let facts = volume::read(&mut stretch, 0, size).map_err(|error| chain(&error))?;
    match facts.kind {
        Kind::HfsPlus | Kind::Hfsx | Kind::ExFat | Kind::Fat32 => {}
        Kind::Apfs => {
            return Err(
                "it is an APFS volume, which only macOS writes: copy in a script with `phase: macos`".into(),
            );
        }
        Kind::Unknown => {
            return Err("there is no file system on it: format it, or apply an image first".into());
        }
        other => return Err(format!("its file system is {other}, which is not written here")),
    }
    let free = facts.used.map(|used| facts.size.saturating_sub(used));
    let Some(free) = free.filter(|free| *free < bytes) else { return Ok(facts.kind) };
    let replaced = replaced(place, facts.kind, to, entries).map_err(|error| error.to_string())?;
    match free.saturating_add(replaced) < bytes {
        true => Err(format!("it has {} free, and {} are to be copied", ByteSize(free), ByteSize(bytes))),
        false => Ok(facts.kind),
    }
}

/// Bytes of the files on the volume that bear the names of those to come.
fn replaced(place: &Place, kind: Kind, to: &str, entries: &[FileEntry]) -> fstool::Result<u64> {
    let mut device = VolumeDevice(Stretch::open(place)?);
    let mut volume = open(&mut device, kind)?;
    let fold = |name: &str| if kind == Kind::Hfsx { name.to_owned() } else { name.to_lowercase() };
    let mut known: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut bytes = 0;
    for entry in entries.iter().filter(|entry| entry.size.is_some()) {
        let path = join(to.trim_matches('/'), &entry.path);
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let sizes = known.entry(folder.to_owned()).or_insert_with(|| {
            let path = if folder.is_empty() { "/" } else { folder };
            // A folder that is not there has none of them.
            let listed = volume.list(&mut device, Path::new(path)).unwrap_or_default();
            let files = listed.into_iter().filter(|entry| entry.kind == EntryKind::Regular);
            files.map(|entry| (fold(&entry.name), entry.size)).collect()
        });
        bytes += sizes.remove(&fold(name)).unwrap_or(0);
    }
    Ok(bytes)
}

/// An open volume.
fn open(device: &mut dyn BlockDevice, kind: Kind) -> fstool::Result<Box<dyn Filesystem>> {
    Ok(match kind {
        Kind::ExFat => Box::new(Exfat::open(device)?),
        Kind::Fat32 => Box::new(Fat32::open(device)?),
        _ => Box::new(HfsPlus::open(device)?),
    })
}

struct Copying<'a> {
    work: &'a Work<'a>,
    client: Client,
    files: String,
    total: u64,
}

/// It did not come to an end.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("opening the partition failed")]
    Open(#[source] io::Error),
    #[error("{path}: {why}")]
    Volume { path: String, why: String },
    #[error("{path} is not as it was written")]
    Differs { path: String },
    #[error("{0} is a folder on one side and a file on the other")]
    Kind(String),
    #[error("stopped")]
    Stopped,
}

impl Copying<'_> {
    /// Writes everything and closes the volume. Digests of what was written, by path.
    fn write(
        &self,
        place: &Place,
        kind: Kind,
        to: &str,
        entries: &[FileEntry],
    ) -> Result<BTreeMap<String, Digest>, CopyError> {
        let mut device = VolumeDevice(Stretch::open(place).map_err(CopyError::Open)?);
        let failed = |path: &str| {
            let path = path.to_owned();
            move |error: fstool::Error| CopyError::Volume { path, why: error.to_string() }
        };
        let mut volume = open(&mut device, kind).map_err(failed("the volume"))?;
        let mut digests = BTreeMap::new();
        let mut told = Told::new(self.total, "copying");
        let folder = to.trim_matches('/');
        let mut names = Names { known: BTreeMap::new(), folds: kind != Kind::Hfsx };
        for (at, _) in folder.match_indices('/').chain([(folder.len(), "")]).filter(|_| !folder.is_empty()) {
            let path = format!("/{}", &folder[..at]);
            names
                .folder(volume.as_mut(), &mut device, &path, meta(0o755, 0))
                .map_err(|error| error.named(&path))?;
        }
        for (number, entry) in entries.iter().enumerate() {
            if self.work.stopped() {
                return Err(CopyError::Stopped);
            }
            let path = join(folder, &entry.path);
            let meta = meta(entry.mode, entry.modified);
            let Some(size) = entry.size else {
                names
                    .folder(volume.as_mut(), &mut device, &path, meta)
                    .map_err(|error| error.named(&path))?;
                continue;
            };
            names.make_way(volume.as_mut(), &mut device, &path).map_err(|error| error.named(&path))?;
            let mut body = Body {
                copying: self,
                path: format!("{}/{number}", self.files),
                size,
                position: 0,
                piece: Vec::new(),
                at: 0,
                hasher: blake3::Hasher::new(),
                told: &mut told,
            };
            let written = volume.create_file_streaming(&mut device, Path::new(&path), &mut body, size, meta);
            if self.work.stopped() {
                return Err(CopyError::Stopped);
            }
            let digest = Digest::from(body.hasher.finalize());
            written.map_err(failed(&path))?;
            digests.insert(path, digest);
        }
        volume.flush(&mut device).map_err(failed("the volume"))?;
        device.0.sync().map_err(CopyError::Open)?;
        Ok(digests)
    }

    /// Opens the volume again, and compares.
    fn read_back(
        &self,
        place: &Place,
        kind: Kind,
        to: &str,
        entries: &[FileEntry],
        digests: &BTreeMap<String, Digest>,
    ) -> Result<(), CopyError> {
        let mut device = VolumeDevice(Stretch::open(place).map_err(CopyError::Open)?);
        let failed = |path: &str| {
            let path = path.to_owned();
            move |error: fstool::Error| CopyError::Volume { path, why: error.to_string() }
        };
        let mut volume = open(&mut device, kind).map_err(failed("the volume"))?;
        let mut told = Told::new(self.total, "reading back");
        let mut piece = vec![0; PIECE as usize];
        for entry in entries.iter().filter(|entry| entry.size.is_some()) {
            let path = join(to.trim_matches('/'), &entry.path);
            let mut reader = volume.read_file(&mut device, Path::new(&path)).map_err(failed(&path))?;
            let mut hasher = blake3::Hasher::new();
            loop {
                if self.work.stopped() {
                    return Err(CopyError::Stopped);
                }
                let length = reader.read(&mut piece).map_err(CopyError::Open)?;
                if length == 0 {
                    break;
                }
                hasher.update(&piece[..length]);
                told.add(self.work, length as u64);
            }
            if digests.get(&path) != Some(&Digest::from(hasher.finalize())) {
                return Err(CopyError::Differs { path });
            }
        }
        Ok(())
    }
}

fn join(folder: &str, path: &str) -> String {
    if folder.is_empty() { format!("/{path}") } else { format!("/{folder}/{path}") }
}

fn meta(mode: u32, modified: u32) -> FileMeta {
    FileMeta {
        mode: (mode & 0o777) as u16,
        uid: 0,
        gid: 0,
        mtime: modified,
        atime: modified,
        ctime: modified,
    }
}

/// What lies in folders, read once each.
struct Names {
    known: BTreeMap<String, BTreeMap<String, EntryKind>>,
    /// Whether the file system takes names that differ in case for the same.
    folds: bool,
}

enum NameError {
    Volume(fstool::Error),
    Kind,
}

impl NameError {
    fn named(self, path: &str) -> CopyError {
        match self {
            NameError::Volume(error) => CopyError::Volume { path: path.to_owned(), why: error.to_string() },
            NameError::Kind => CopyError::Kind(path.to_owned()),
        }
    }
}

impl Names {
    fn key(&self, name: &str) -> String {
        if self.folds { name.to_lowercase() } else { name.to_owned() }
    }

    fn kind_of(
        &mut self,
        volume: &mut dyn Filesystem,
        device: &mut dyn BlockDevice,
        path: &str,
    ) -> Result<Option<EntryKind>, NameError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = if folder.is_empty() { "/" } else { folder };
        if !self.known.contains_key(folder) {
            let listed = volume.list(device, Path::new(folder)).map_err(NameError::Volume)?;
            let names = listed.into_iter().map(|entry| (self.key(&entry.name), entry.kind)).collect();
            self.known.insert(folder.to_owned(), names);
        }
        Ok(self.known[folder].get(&self.key(name)).copied())
    }

    fn note(&mut self, path: &str, kind: EntryKind) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (folder, name) = (if folder.is_empty() { "/" } else { folder }, self.key(name));
        self.known.entry(folder.to_owned()).or_default().insert(name, kind);
    }

    /// A folder that is there is left as it is.
    fn folder(
        &mut self,
        volume: &mut dyn Filesystem,
        device: &mut dyn BlockDevice,
        path: &str,
        meta: FileMeta,
    ) -> Result<(), NameError> {
        match self.kind_of(volume, device, path)? {
            Some(EntryKind::Dir) => return Ok(()),
            Some(_) => return Err(NameError::Kind),
            None => {}
        }
        volume
            .create_dir(device, Path::new(path), FileMeta { mode: meta.mode | 0o700, ..meta })
            .map_err(NameError::Volume)?;
        self.note(path, EntryKind::Dir);
        self.known.insert(path.to_owned(), BTreeMap::new());
        Ok(())
    }

    /// A file of the same name goes.
    fn make_way(
        &mut self,
        volume: &mut dyn Filesystem,
        device: &mut dyn BlockDevice,
        path: &str,
    ) -> Result<(), NameError> {
        match self.kind_of(volume, device, path)? {
            Some(EntryKind::Dir) => return Err(NameError::Kind),
            Some(_) => volume.remove(device, Path::new(path)).map_err(NameError::Volume)?,
            None => {}
        }
        self.note(path, EntryKind::Regular);
        Ok(())
    }
}

/// The content of a file, fetched by pieces.
struct Body<'a, 'w> {
    copying: &'a Copying<'w>,
    path: String,
    size: u64,
    position: u64,
    piece: Vec<u8>,
    at: usize,
    hasher: blake3::Hasher,
    told: &'a mut Told,
}

impl Read for Body<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            if self.position == self.size {
                return Ok(0);
            }
            if self.copying.work.stopped() {
                return Err(io::Error::other("stopped"));
            }
            let end = self.size.min(self.position + PIECE);
            self.piece = self.fetch(end)?;
            if self.piece.len() as u64 != end - self.position {
                return Err(io::Error::other("the file on the appliance changed while it was copied"));
            }
            (self.position, self.at) = (end, 0);
            self.told.add(self.copying.work, self.piece.len() as u64);
        }
        let length = into.len().min(self.piece.len() - self.at);
        into[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.hasher.update(&into[..length]);
        self.at += length;
        Ok(length)
    }
}

impl Body<'_, '_> {
    fn fetch(&self, end: u64) -> io::Result<Vec<u8>> {
        let (work, mut outage) = (self.copying.work, Outage::default());
        loop {
            let error = match self.copying.client.bytes(&self.path, self.position..end) {
                Ok(bytes) => {
                    outage.tell(work, None);
                    return Ok(bytes);
                }
                Err(error) => error,
            };
            if !error.may_pass() || work.stopped() {
                return Err(io::Error::other(chain(&error)));
            }
            outage.tell(work, Some(error.to_string()));
            thread::sleep(PAUSE);
        }
    }
}

/// Progress, not too often.
struct Told {
    total: u64,
    phase: &'static str,
    done: u64,
    began: Duration,
    last: Duration,
    rates: Rates,
}

impl Told {
    fn new(total: u64, phase: &'static str) -> Told {
        Told { total, phase, done: 0, began: clock(), last: Duration::ZERO, rates: Rates::default() }
    }

    fn add(&mut self, work: &Work<'_>, bytes: u64) {
        self.done += bytes;
        let now = clock().saturating_sub(self.began);
        if now.saturating_sub(self.last) < PACE {
            return;
        }
        self.last = now;
        let network = if self.phase == "copying" { self.done } else { 0 };
        let counters = Counters { done: self.done, total: self.total, network, disk: self.done, after: 0 };
        work.reporter.progress(self.rates.progress(now, self.phase, counters), None);
    }
}

fn refused(what: &str, why: String) -> Failure {
    failure(
        format!("{what} cannot be copied; nothing was written"),
        why,
        "Correct the step, or the volume that it names.",
    )
}

fn broken(work: &Work<'_>, what: &str, error: &CopyError) -> Failure {
    let next = match error {
        CopyError::Stopped if work.timed_out() => "Raise the step's limit.",
        CopyError::Stopped => "Start a new run.",
        CopyError::Differs { .. } => "Replace the disk, its cable or its controller.",
        CopyError::Kind(_) => "Give one of them another name.",
        CopyError::Volume { .. } => "Try again; if it stays, check the volume on macOS with Disk Utility.",
        CopyError::Open(_) => "Restart this Mac and try again; if it stays, check the disk.",
    };
    failure(format!("copying {what} failed"), chain(error), next)
}
