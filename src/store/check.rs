//! Reads everything that is stored and names every damage.
//!
//! Owns: what is compared with what. Changes nothing. Must not know: images and versions; which manifests somebody needs is
//! told.
//!
//! Runs beside imports and collections: what goes or comes meanwhile is no flaw.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::image::chunk::{Frame, Opener, chunk_count};
use crate::image::manifest::{Manifest, ManifestKey};
use crate::image::restore::in_parallel;
use crate::store::flaw::Flaw;
use crate::store::pack::{ClosedPack, read_table};
use crate::store::{ManifestError, Store, StoreError, files};
use crate::value::Digest;

/// Entries of the store's folder that belong there. `use.lock` was made by earlier versions.
const KNOWN: [&str; 8] =
    ["packs", "manifests", "incoming", "quarantine", "superseded", "owner.lock", "use.lock", "reserve"];

/// What a check goes by.
#[derive(Clone, Copy, Debug)]
pub struct Checking<'a> {
    /// Keys whose signatures are believed.
    pub keys: &'a [ManifestKey],
    /// Manifests that somebody needs; none: not known, every one may be needed and none must be there.
    pub wanted: Option<&'a [Digest]>,
    /// Threads.
    pub workers: usize,
    /// How far it is; looked at by others.
    pub progress: &'a CheckProgress,
}

/// How far a check is.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Bytes of packs read.
    pub done: AtomicU64,
    /// Bytes of packs to read.
    pub total: AtomicU64,
    /// Set to end it early.
    pub stop: AtomicBool,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Packs read.
    pub packs: u64,
    /// Chunks read and compared.
    pub chunks: u64,
    /// Bytes of packs read.
    pub bytes: u64,
    /// Manifests read.
    pub manifests: u64,
    /// Everything that is wrong.
    pub flaws: Vec<Flaw>,
    /// It was ended early.
    pub stopped: bool,
}

/// What is known of one pack after it was read.
#[derive(Default)]
struct PackReport {
    chunks: u64,
    bytes: u64,
    damaged: HashSet<Digest>,
    flaw: Option<Flaw>,
}

impl Store {
    /// Reads and compares everything.
    ///
    /// # Errors
    /// When folders cannot be listed; whatever is wrong inside them is a result.
    pub fn check(&self, how: &Checking<'_>) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        self.check_folder(&mut checked)?;
        let damaged = self.check_packs(how, &mut checked)?;
        self.check_manifests(how, &damaged, &mut checked)?;
        checked.stopped = how.progress.stop.load(Ordering::Relaxed);
        Ok(checked)
    }

    /// Names and permissions.
    fn check_folder(&self, checked: &mut Checked) -> Result<(), StoreError> {
        let at = StoreError::at("reading", &self.folder);
        let owner = fs::metadata(&self.folder).map_err(at)?;
        for name in files::names(&self.folder)? {
            let path = self.folder.join(&name);
            if KNOWN.contains(&name.as_str()) {
                permissions(&path, &owner, checked);
            } else {
                checked.flaws.push(stray(&path));
            }
        }
        for (folder, ending) in [("packs", ".pack"), ("manifests", "")] {
            let mut names = files::names(&self.folder.join(folder))?;
            names.sort();
            for name in names {
                let path = self.folder.join(folder).join(&name);
                let known = name.strip_suffix(ending).is_some_and(|stem| stem.parse::<Digest>().is_ok());
                if known && !path.is_dir() {
                    permissions(&path, &owner, checked);
                } else {
                    checked.flaws.push(stray(&path));
                }
            }
        }
        Ok(())
    }

    /// Reads all packs; gives the damaged chunks of each.
    fn check_packs(
        &self,
        how: &Checking<'_>,
        checked: &mut Checked,
    ) -> Result<HashMap<Digest, HashSet<Digest>>, StoreError> {
        let folder = self.folder.join("packs");
        let listed = files::names(&folder)?;
        let mut packs: Vec<Digest> =
            listed.iter().filter_map(|name| name.strip_suffix(".pack")?.parse().ok()).collect();
        let known: HashMap<Digest, u64> =
            self.index().living_packs().map(|pack| (pack.digest, pack.chunks() as u64)).collect();
        // What an import closes from here on is not looked at.
        packs.sort();
        let length = |pack: &Digest| fs::metadata(self.pack_path(pack)).map_or(0, |file| file.len());
        how.progress.total.store(packs.iter().map(length).sum(), Ordering::Relaxed);
        let reports = Mutex::new(Vec::new());
        let read = |opener: &mut Opener, number: usize| {
            if !how.progress.stop.load(Ordering::Relaxed) {
                let pack = packs[number];
                let report = self.check_pack(pack, opener, &how.progress.done);
                reports.lock().unwrap_or_else(PoisonError::into_inner).push((pack, report));
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = in_parallel(how.workers, packs.len(), Opener::default, read);
        let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
        reports.sort_by_key(|(pack, _)| *pack);
        let mut damaged = HashMap::new();
        for (pack, report) in reports {
            let Some(report) = report else { continue };
            checked.packs += 1;
            checked.chunks += report.chunks;
            checked.bytes += report.bytes;
            checked.flaws.extend(report.flaw);
            damaged.insert(pack, report.damaged);
        }
        let mut lost: Vec<(Digest, u64)> =
            known.into_iter().filter(|(pack, _)| packs.binary_search(pack).is_err()).collect();
        lost.sort();
        for (pack, chunks) in lost {
            // A collection takes it out of the index before its file goes.
            if self.index().number(&pack).is_some() && !self.pack_path(&pack).exists() {
                checked.flaws.push(Flaw::PackMissing { pack, chunks });
            }
        }
        Ok(damaged)
    }

    /// Reads one pack. None: a collection removed it meanwhile.
    fn check_pack(&self, pack: Digest, opener: &mut Opener, done: &AtomicU64) -> Option<PackReport> {
        let path = self.pack_path(&pack);
        let unreadable = |why: String| {
            // Was it removed, or is it broken?
            let flaw = path.exists().then_some(Flaw::PackUnreadable { pack, why })?;
            Some(PackReport { flaw: Some(flaw), ..PackReport::default() })
        };
        let (table, got) = match read_table(&path, pack).map(|table| (table, digest_of(&path, done))) {
            Ok((table, Ok(got))) => (table, got),
            Ok((_, Err(error))) => return unreadable(format!("it cannot be read: {error}")),
            Err(error) => return unreadable(error.to_string()),
        };
        let file = File::open(&path).ok()?;
        let mut report = PackReport { bytes: table.length, ..PackReport::default() };
        let (mut first, mut frame) = (None, Vec::new());
        each_chunk(&table, |entry, chunks| {
            frame.resize(entry.length as usize, 0);
            let opened = file.read_exact_at(&mut frame, entry.offset).ok();
            let mut contents = opened.and_then(|()| opener.open(Frame(&frame)).ok());
            for (number, chunk) in (0..).zip(chunks) {
                report.chunks += 1;
                let good = contents.as_mut().is_some_and(|contents| contents.chunk(number, *chunk).is_ok());
                if !good {
                    first.get_or_insert(entry.offset);
                    report.damaged.insert(*chunk);
                }
            }
        });
        report.flaw = match first {
            Some(first) => {
                let chunks = report.damaged.len() as u64;
                Some(Flaw::ChunksDamaged { pack, chunks, of: report.chunks, first })
            }
            None => (got != pack).then_some(Flaw::PackChanged { pack, got }),
        };
        Some(report)
    }

    fn check_manifests(
        &self,
        how: &Checking<'_>,
        damaged: &HashMap<Digest, HashSet<Digest>>,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        let lost: HashSet<Digest> = checked.flaws.iter().filter_map(lost_pack).collect();
        for digest in &self.manifests()? {
            let manifest = match self.trusted(*digest, how.keys) {
                Ok(Some(manifest)) => manifest,
                Ok(None) => continue,
                Err(flaw) => {
                    checked.flaws.push(flaw);
                    continue;
                }
            };
            checked.manifests += 1;
            let chunks: HashSet<&Digest> = manifest.digests().collect();
            let (mut bad, mut missing) = (0, 0);
            let index = self.index();
            for chunk in &chunks {
                match index.find(chunk) {
                    None => missing += 1,
                    Some(found) if damaged.get(&found.pack).is_some_and(|all| all.contains(chunk)) => {
                        bad += 1
                    }
                    Some(found) if lost.contains(&found.pack) => missing += 1,
                    Some(_) => {}
                }
            }
            drop(index);
            if bad + missing > 0 {
                let of = chunks.len() as u64;
                checked.flaws.push(Flaw::Incomplete { manifest: *digest, damaged: bad, missing, of });
            }
            if how.wanted.is_some_and(|wanted| !wanted.contains(digest))
                && !self.fresh.lock().contains_key(digest)
            {
                checked.flaws.push(Flaw::ManifestUnused { manifest: *digest });
            }
        }
        let lost =
            how.wanted.unwrap_or_default().iter().filter(|digest| !self.manifest_path(digest).exists());
        checked.flaws.extend(lost.map(|digest| Flaw::ManifestMissing { manifest: *digest }));
        Ok(())
    }

    /// A manifest whose signature was checked. None: it was removed meanwhile.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn trusted(&self, digest: Digest, keys: &[ManifestKey]) -> Result<Option<Manifest>, Flaw> {
        let damaged = |why: String| Flaw::ManifestDamaged { manifest: digest, why };
        let signed = match self.manifest(digest) {
            Ok(signed) => signed,
            Err(ManifestError::Missing(_)) => return Ok(None),
            Err(ManifestError::Damaged { source, .. }) => return Err(damaged(source.to_string())),
            Err(ManifestError::Changed { got, .. }) => {
                return Err(damaged(format!("its bytes hash to {got}")));
            }
            Err(ManifestError::Read { source, .. }) => {
                return Err(damaged(format!("it cannot be read: {source}")));
            }
        };
        match signed.verify(digest, keys) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(_) if signed.contents().is_ok() => Err(Flaw::ManifestForeign { manifest: digest }),
            Err(error) => Err(damaged(error.to_string())),
        }
    }
}

/// The pack of which nothing can be read.
fn lost_pack(flaw: &Flaw) -> Option<Digest> {
    match flaw {
        Flaw::PackMissing { pack, .. } | Flaw::PackUnreadable { pack, .. } => Some(*pack),
        _ => None,
    }
}

/// Calls `tell` for each frame of a pack with its chunks.
pub(super) fn each_chunk(table: &ClosedPack, mut tell: impl FnMut(&super::pack::Entry, &[Digest])) {
    let mut rest = &table.chunks[..];
    for entry in &table.entries {
        let count = (chunk_count(entry.raw) as usize).min(rest.len());
        let (chunks, more) = rest.split_at(count);
        tell(entry, chunks);
        rest = more;
    }
}

fn digest_of(path: &Path, done: &AtomicU64) -> io::Result<Digest> {
    let (mut file, mut hasher, mut piece) = (File::open(path)?, blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(Digest::from(hasher.finalize()));
        }
        hasher.update(&piece[..length]);
        done.fetch_add(length as u64, Ordering::Relaxed);
    }
}

fn stray(path: &Path) -> Flaw {
    let bytes = fs::symlink_metadata(path).map_or(0, |file| file.len());
    Flaw::Stray { path: path.to_owned(), bytes }
}

/// The daemon must be able to read it, and not everybody may change it.
fn permissions(path: &Path, store: &Metadata, checked: &mut Checked) {
    let Ok(file) = fs::symlink_metadata(path) else { return };
    let mode = file.mode() & 0o7777;
    let why = if file.is_symlink() {
        return;
    } else if mode & 0o400 == 0 {
        format!("its owner may not read it (mode {mode:04o})")
    } else if mode & 0o002 != 0 {
        format!("everybody may change it (mode {mode:04o})")
    } else if file.uid() != store.uid() {
        format!("it belongs to user {}, the library to user {}", file.uid(), store.uid())
    } else {
        return;
    };
    checked.flaws.push(Flaw::Permissions { path: path.to_owned(), why });
}
