//! Uploads: files that come over the network in pieces, by any number of requests, and outlive restarts of both sides.
//!
//! | in `uploads/ID/` | what |
//! |---|---|
//! | `upload.json` | what it is (`record`); a folder without one is removed at the next start |
//! | `offset` | how many bytes are safe (`ledger`) |
//! | `data` | the bytes; those beyond the offset do not count |
//!
//! A byte is acknowledged only when it is on the disk, and the ledger says so. Reading order: `ledger` · `record` ·
//! `error` · `write` · `work` (the import of what is complete). Must not know: HTTP, the library.

mod error;
mod ledger;
mod record;
pub mod work;
mod write;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::error::UploadError;
use self::ledger::Ledger;
use self::record::{End, Record};
pub use self::write::Sent;
use self::write::{Running, Target};
use super::clock::now_ms;
use super::token;
use crate::api::admin::{Upload, UploadState};
use crate::api::tus::Checksum;
use crate::value::Digest;

/// Uploads that may be unfinished.
const MOST_OPEN: usize = 64;
/// Uploads that are remembered after their end.
const MOST_DONE: usize = 200;
/// A sender that was silent for so long gives way to another one: its connection hangs.
const SILENT: Duration = Duration::from_secs(5);
/// How long it may take to end its request.
const GIVING_WAY: Duration = Duration::from_secs(5);

/// What holds for every upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Bytes that must stay free on the disk.
    pub keep_free: u64,
    /// Largest upload.
    pub most: u64,
    /// How long nothing may arrive.
    pub expires: Duration,
}

/// All uploads of the appliance.
#[derive(Debug)]
pub struct Uploads {
    folder: PathBuf,
    rules: Rules,
    list: Mutex<BTreeMap<String, Arc<Entry>>>,
}

/// One upload.
#[derive(Debug)]
pub struct Entry {
    /// The last part of its address.
    pub id: String,
    folder: PathBuf,
    record: Mutex<Record>,
    safe: AtomicU64,
    touched_ms: AtomicI64,
    writer: Arc<Turn<Writer>>,
    active: AtomicBool,
    /// Ends the request at work.
    give_way: Mutex<CancellationToken>,
    /// The job that imports it.
    job: Mutex<Option<i64>>,
}

/// What only the one who writes has.
struct Writer {
    ledger: Ledger,
    running: Running,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// An upload as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Name of the image.
    pub name: String,
    /// Name of the file.
    pub file: String,
    /// Note of the version.
    pub note: Option<String>,
    /// Bytes of the whole file.
    pub size: u64,
    /// SHA-256 that the whole file must have, hexadecimal.
    pub sha256: Option<String>,
    /// What the uploader tells the same file by.
    pub fingerprint: Option<String>,
    /// `Upload-Metadata` as it was sent.
    pub metadata: String,
    /// Whether the import waits until it is asked for.
    pub on_request: bool,
    /// Who sends it.
    pub uploader: String,
}

/// The right to write to one upload.
pub struct Place {
    entry: Arc<Entry>,
    writer: OwnedMutexGuard<Writer>,
    /// Cancelled when another sender wants the place, and this one is silent.
    pub give_way: CancellationToken,
}

impl Uploads {
    /// Opens the folder, and makes it when absent. What is not an upload, or was half removed, goes.
    pub fn open(folder: &Path, rules: Rules) -> Result<Uploads, UploadError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(UploadError::at("making the folder", folder))?;
        let mut list = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(UploadError::at("reading", folder))? {
            let path = entry.map_err(UploadError::at("reading", folder))?.path();
            match Entry::open(&path)? {
                Some(entry) => drop(list.insert(entry.id.clone(), Arc::new(entry))),
                None => {
                    fs::remove_dir_all(&path).map_err(UploadError::at("removing", &path))?;
                }
            }
        }
        Ok(Uploads { folder: folder.to_owned(), rules, list: Mutex::new(list) })
    }

    /// What holds for every upload.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// All, newest first.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        let mut entries: Vec<_> = self.entries().values().cloned().collect();
        entries.sort_by_key(|entry| (std::cmp::Reverse(entry.record().created_ms), entry.id.clone()));
        entries
    }

    /// One.
    pub fn get(&self, id: &str) -> Result<Arc<Entry>, UploadError> {
        self.entries().get(id).cloned().ok_or_else(|| UploadError::Absent(id.chars().take(64).collect()))
    }

    /// Begins one. Blocks on the disk.
    pub fn create(&self, wanted: Wanted) -> Result<Arc<Entry>, UploadError> {
        if wanted.size > self.rules.most {
            return Err(UploadError::TooLarge { size: wanted.size, most: self.rules.most });
        }
        let open: Vec<_> = self.list().into_iter().filter(|entry| entry.is_unfinished()).collect();
        if open.len() >= MOST_OPEN {
            return Err(UploadError::TooMany(open.len()));
        }
        // What others are sending now has its room already.
        let promised: u64 = open.iter().filter(|entry| entry.is_active()).map(|entry| entry.missing()).sum();
        write::room(&self.folder, wanted.size.saturating_add(promised), self.rules.keep_free)?;
        let id = token::random().map_err(|error| UploadError::State(error.to_string()))?;
        let entry = Arc::new(Entry::create(&self.folder, &id.expose()[..32], wanted)?);
        self.entries().insert(entry.id.clone(), entry.clone());
        Ok(entry)
    }

    /// The right to send to an upload, for one at a time. `offset`: where the request begins; `length`: its bytes, where
    /// that is known.
    pub async fn place(&self, id: &str, offset: u64, length: Option<u64>) -> Result<Place, UploadError> {
        let entry = self.get(id)?;
        let writer = match entry.writer.clone().try_lock_owned() {
            Ok(writer) => writer,
            Err(_) if !entry.is_silent(now_ms()) => return Err(UploadError::Locked),
            Err(_) => {
                entry.give_way().cancel();
                let freed = tokio::time::timeout(GIVING_WAY, entry.writer.clone().lock_owned());
                freed.await.map_err(|_| UploadError::Locked)?
            }
        };
        let (have, record) = (entry.offset(), entry.record().clone());
        if offset != have || record.end != End::None && length != Some(0) {
            return Err(UploadError::Offset { sent: offset, have });
        }
        let missing = record.size - have;
        match length {
            Some(length) if length > missing => {
                return Err(UploadError::TooLong { over: length - missing });
            }
            // What is to come must fit before the first byte of it is asked for.
            _ => write::room(&self.folder, missing, self.rules.keep_free)?,
        }
        let give_way = CancellationToken::new();
        *entry.give_way() = give_way.clone();
        entry.touch();
        entry.active.store(true, Ordering::Relaxed);
        Ok(Place { entry, writer, give_way })
    }

    /// Removes an upload and its bytes; one that is being imported is not.
    pub async fn remove(&self, id: &str) -> Result<(), UploadError> {
        let entry = self.get(id)?;
        if entry.job().is_some() {
            return Err(UploadError::State("it is being imported now".to_owned()));
        }
        entry.give_way().cancel();
        let freed = tokio::time::timeout(GIVING_WAY, entry.writer.clone().lock_owned());
        let _writer = freed.await.map_err(|_| UploadError::Locked)?;
        self.entries().remove(id);
        entry.erase()
    }

    /// Removes what expired, and the oldest of too many that are only remembered. Blocks on the disk.
    pub fn sweep(&self, now_ms: i64) -> usize {
        let mut gone = Vec::new();
        let mut done = 0;
        for entry in self.list() {
            if matches!(entry.record().end, End::Done { .. }) {
                done += 1;
            }
            let expired = self.expires_ms(&entry).is_some_and(|at| at <= now_ms);
            if (expired || done > MOST_DONE && matches!(entry.record().end, End::Done { .. }))
                && !entry.is_active()
            {
                gone.push(entry);
            }
        }
        for entry in &gone {
            // Nobody begins to write to it between this and its end: the place is held.
            let Ok(_writer) = entry.writer.clone().try_lock_owned() else { continue };
            self.entries().remove(&entry.id);
            if let Err(error) = entry.erase() {
                tracing::warn!("an expired upload is not removed: {}", super::http::error::chain(&error));
            } else if entry.is_unfinished() {
                let record = entry.record();
                tracing::info!(upload = entry.id, "the upload of {} expired and was removed", record.file);
            }
        }
        gone.len()
    }

    /// When an upload is removed unless something arrives.
    pub fn expires_ms(&self, entry: &Entry) -> Option<i64> {
        let expires = i64::try_from(self.rules.expires.as_millis()).unwrap_or(i64::MAX);
        let waits = entry.job().is_none() && !entry.is_waiting();
        waits.then(|| entry.touched_ms.load(Ordering::Relaxed).saturating_add(expires))
    }

    /// As it is told.
    pub fn view(&self, entry: &Entry) -> Upload {
        let (record, offset) = (entry.record().clone(), entry.offset());
        let state = match (record.end, *entry.job()) {
            (_, Some(job)) => UploadState::Importing { job },
            (End::Failed { error, next_step }, None) => UploadState::Failed { error, next_step },
            (End::Done { version }, None) => UploadState::Done { version },
            (End::None, None) if offset == record.size => UploadState::Received,
            (End::None, None) => UploadState::Receiving { active: entry.is_active() },
        };
        Upload {
            id: entry.id.clone(),
            name: record.name,
            file: record.file,
            note: record.note,
            size: record.size,
            offset,
            fingerprint: record.fingerprint,
            uploader: record.uploader,
            created_ms: record.created_ms,
            touched_ms: entry.touched_ms.load(Ordering::Relaxed),
            expires_ms: self.expires_ms(entry),
            state,
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn create(uploads: &Path, id: &str, wanted: Wanted) -> Result<Entry, UploadError> {
        let folder = uploads.join(id);
        let mut record = Record::new(wanted.name, wanted.file, wanted.size, wanted.uploader, now_ms());
        (record.note, record.sha256, record.fingerprint) = (wanted.note, wanted.sha256, wanted.fingerprint);
        (record.metadata, record.on_request) = (wanted.metadata, wanted.on_request);
        let make = || {
            DirBuilder::new().mode(0o700).create(&folder)?;
            let ledger = Ledger::create(&folder.join("offset"))?;
            File::create_new(folder.join("data"))?.sync_all()?;
            record.write(&folder.join("upload.json"))?;
            File::open(uploads)?.sync_all()?;
            Ok::<_, io::Error>(ledger)
        };
        let ledger = make().map_err(|source| {
            let _ = fs::remove_dir_all(&folder);
            UploadError::at("making", &folder)(source)
        })?;
        let running = Running::new(record.fingerprint.is_some(), record.sha256.is_some());
        Ok(Entry::new(id, folder, record, Writer { ledger, running }, now_ms()))
    }

    /// None where there is no whole record.
    fn open(folder: &Path) -> Result<Option<Entry>, UploadError> {
        let failed = |source| UploadError::at("opening the upload", folder)(source);
        let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(record) = Record::read(&folder.join("upload.json")).map_err(failed)? else {
            return Ok(None);
        };
        let (offset, data) = (folder.join("offset"), folder.join("data"));
        let done = matches!(record.end, End::Done { .. });
        let ledger = match Ledger::open(&offset) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            ledger => Some(ledger.map_err(failed)?),
        };
        let length = match fs::metadata(&data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            facts => Some(facts.map_err(failed)?.len()),
        };
        // Somebody removed it by hand, perhaps to make room: no reason not to start.
        let is_whole = |ledger: &Ledger| done || length.is_some_and(|length| length >= ledger.safe());
        let Some(ledger) = ledger.filter(is_whole) else {
            tracing::error!("what was written to {} is not all there: the upload is removed", data.display());
            return Ok(None);
        };
        if done {
            let _ = fs::remove_file(&data);
        }
        let changed = fs::metadata(&offset).and_then(|file| file.modified()).ok();
        let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let touched = changed.and_then(|at| i64::try_from(at.as_millis()).ok()).unwrap_or(record.created_ms);
        Ok(Some(Entry::new(
            id,
            folder.to_owned(),
            record,
            Writer { ledger, running: Running::default() },
            touched,
        )))
    }

    fn new(id: &str, folder: PathBuf, record: Record, writer: Writer, touched_ms: i64) -> Entry {
        Entry {
            id: id.to_owned(),
            folder,
            record: Mutex::new(record),
            safe: AtomicU64::new(writer.ledger.safe()),
            touched_ms: AtomicI64::new(touched_ms),
            writer: Arc::new(Turn::new(writer)),
            active: AtomicBool::new(false),
            give_way: Mutex::default(),
            job: Mutex::new(None),
        }
    }

    /// Bytes that are safe.
    pub fn offset(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.record().size
    }

    /// `Upload-Metadata` as it was sent.
    pub fn metadata(&self) -> String {
        self.record().metadata.clone()
    }

    /// The job that imports it.
    pub fn job_number(&self) -> Option<i64> {
        *self.job()
    }

    /// Something of it arrived.
    pub fn touch(&self) {
        self.touched_ms.store(now_ms(), Ordering::Relaxed);
    }

    fn missing(&self) -> u64 {
        self.size() - self.offset()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    fn is_silent(&self, now_ms: i64) -> bool {
        let silent = now_ms.saturating_sub(self.touched_ms.load(Ordering::Relaxed));
        u128::try_from(silent).is_ok_and(|silent| silent >= SILENT.as_millis())
    }

    fn is_unfinished(&self) -> bool {
        !matches!(self.record().end, End::Done { .. })
    }

    /// Whether it is complete, and its import begins by itself as soon as there is a place.
    fn is_waiting(&self) -> bool {
        let record = self.record();
        record.end == End::None && !record.on_request && self.offset() == record.size
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job(&self) -> MutexGuard<'_, Option<i64>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_way(&self) -> MutexGuard<'_, CancellationToken> {
        self.give_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is written down. When this returns, the change outlives a power cut.
    fn change(&self, with: impl FnOnce(&mut Record)) -> Result<(), UploadError> {
        let mut record = self.record();
        let mut changed = record.clone();
        with(&mut changed);
        let path = self.folder.join("upload.json");
        changed.write(&path).map_err(UploadError::at("writing", &path))?;
        *record = changed;
        Ok(())
    }

    /// The record first: a folder without one is no upload any more.
    fn erase(&self) -> Result<(), UploadError> {
        let failed = |source| UploadError::at("removing", &self.folder)(source);
        fs::remove_file(self.folder.join("upload.json")).map_err(failed)?;
        fs::remove_dir_all(&self.folder).map_err(failed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entry.active.store(false, Ordering::Relaxed);
    }
}

impl Place {
    /// The upload.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Takes what comes through the queue. Blocks its thread; goes on when nobody waits for the answer any more. Returns
    /// the bytes that are safe then.
    pub fn take(
        mut self,
        pieces: mpsc::Receiver<Sent>,
        checksum: Option<Checksum>,
        digest: Option<Digest>,
        keep_free: u64,
    ) -> Result<u64, UploadError> {
        let entry = self.entry.clone();
        if let Some(digest) = digest {
            entry.change(|record| record.digest = Some(digest))?;
        }
        let writer = &mut *self.writer;
        let path = entry.data();
        let taken = write::take(
            pieces,
            checksum,
            Target {
                path: &path,
                ledger: &mut writer.ledger,
                size: entry.size(),
                keep_free,
                running: &mut writer.running,
                safe: &entry.safe,
            },
        );
        entry.touch();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { keep_free: 0, most: 1 << 40, expires: Duration::from_secs(3600) };

    fn wanted(size: u64) -> Wanted {
        Wanted {
            name: "lab".into(),
            file: "lab.dmg".into(),
            size,
            uploader: "ana".into(),
            ..Wanted::default()
        }
    }

    fn sent(bytes: &[u8]) -> mpsc::Receiver<Sent> {
        let (queue, receiver) = mpsc::channel(2);
        queue.try_send(Sent::Bytes(bytes::Bytes::copy_from_slice(bytes))).unwrap();
        queue.try_send(Sent::End).unwrap();
        receiver
    }

    async fn send(uploads: &Uploads, id: &str, offset: u64, bytes: &[u8]) -> Result<u64, UploadError> {
        let place = uploads.place(id, offset, Some(bytes.len() as u64)).await?;
        let pieces = sent(bytes);
        tokio::task::spawn_blocking(move || place.take(pieces, None, None, 0)).await.unwrap()
    }

    #[tokio::test]
    async fn an_upload_goes_on_after_a_restart_at_the_byte_that_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uploads");
        let uploads = Uploads::open(&path, RULES).unwrap();
        let id = uploads.create(wanted(10)).unwrap().id.clone();
        assert_eq!(send(&uploads, &id, 0, b"hello").await.unwrap(), 5);
        drop(uploads);
        // What a killed daemon wrote and acknowledged to nobody, and what it had begun to make.
        std::fs::write(path.join(&id).join("data"), b"helloGARBAGE").unwrap();
        std::fs::create_dir(path.join("half")).unwrap();
        let uploads = Uploads::open(&path, RULES).unwrap();
        assert!(!path.join("half").exists());
        let view = uploads.view(&uploads.get(&id).unwrap());
        assert_eq!((view.offset, view.state), (5, UploadState::Receiving { active: false }));
        assert!(matches!(send(&uploads, &id, 4, b"x").await, Err(UploadError::Offset { sent: 4, have: 5 })));
        assert!(matches!(send(&uploads, &id, 5, b"worlds").await, Err(UploadError::TooLong { over: 1 })));
        assert_eq!(send(&uploads, &id, 5, b"world").await.unwrap(), 10);
        assert_eq!(std::fs::read(path.join(&id).join("data")).unwrap(), b"helloworld");
        assert_eq!(uploads.view(&uploads.get(&id).unwrap()).state, UploadState::Received);
    }

    #[tokio::test]
    async fn an_upload_whose_bytes_were_removed_by_hand_goes_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), RULES).unwrap();
        let ids = ["data", "offset", "kept"].map(|_| uploads.create(wanted(10)).unwrap().id.clone());
        for id in &ids {
            send(&uploads, id, 0, b"hello").await.unwrap();
        }
        drop(uploads);
        std::fs::remove_file(folder.path().join(&ids[0]).join("data")).unwrap();
        std::fs::remove_file(folder.path().join(&ids[1]).join("offset")).unwrap();
        let uploads = Uploads::open(folder.path(), RULES).unwrap();
        assert_eq!(uploads.list().len(), 1);
        assert_eq!(uploads.get(&ids[2]).unwrap().offset(), 5);
    }

    #[tokio::test]
    async fn offsets_beyond_four_gib_are_kept_and_cost_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let far = 5_u64 << 30;
        // As if five GiB of zeros had arrived: a hole. Not through `create`, which would want the room for them.
        let entry = Entry::create(folder.path(), &"f".repeat(32), wanted(far + 3)).unwrap();
        File::options().write(true).open(entry.data()).unwrap().set_len(far).unwrap();
        entry.writer.lock().await.ledger.commit(far).unwrap();
        let uploads = Uploads::open(folder.path(), RULES).unwrap();
        assert_eq!(uploads.get(&entry.id).unwrap().offset(), far);
        assert_eq!(send(&uploads, &entry.id, far, b"end").await.unwrap(), far + 3);
        assert_eq!(std::fs::metadata(entry.data()).unwrap().len(), far + 3);
    }

    #[tokio::test]
    async fn one_sends_at_a_time_and_one_that_is_silent_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), RULES).unwrap();
        let id = uploads.create(wanted(4)).unwrap().id.clone();
        let first = uploads.place(&id, 0, Some(4)).await.unwrap();
        assert!(matches!(uploads.place(&id, 0, Some(4)).await, Err(UploadError::Locked)));
        first.entry().touched_ms.store(now_ms() - 60_000, Ordering::Relaxed);
        let give_way = first.give_way.clone();
        let leaving = tokio::spawn(async move {
            give_way.cancelled().await;
            drop(first);
        });
        assert!(uploads.place(&id, 0, Some(4)).await.is_ok());
        leaving.await.unwrap();
    }

    #[tokio::test]
    async fn what_nothing_arrived_for_expires_and_what_is_sent_now_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), RULES).unwrap();
        let (old, sending) = (uploads.create(wanted(4)).unwrap(), uploads.create(wanted(4)).unwrap());
        let place = uploads.place(&sending.id, 0, Some(4)).await.unwrap();
        let expires = uploads.expires_ms(&old).unwrap();
        assert_eq!(uploads.sweep(expires - 1), 0);
        assert_eq!(uploads.sweep(expires + 60_000), 1);
        assert!(matches!(uploads.get(&old.id), Err(UploadError::Absent(_))));
        assert!(!old.folder.exists() && uploads.get(&sending.id).is_ok());
        drop(place);
    }

    #[tokio::test]
    async fn what_has_no_room_or_is_too_large_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), Rules { most: 1 << 60, ..RULES }).unwrap();
        let error = uploads.create(wanted(1 << 59)).unwrap_err();
        assert!(error.to_string().contains("there is no room for it: 524288.0 TiB"), "{error}");
        assert!(matches!(uploads.create(wanted(1 << 61)), Err(UploadError::TooLarge { .. })));
        assert_eq!(uploads.list().len(), 0);
    }
}
