//! `rootstock image upload`: an image of this machine goes to an appliance and becomes a version there: a file, all parts of one that
//! was split, or the folder of a sparse bundle.
//!
//! One thread reads and digests, the other sends. What breaks off is sent on from the byte that the appliance has safe; the
//! file is told again by its fingerprint, so that nothing need be remembered here.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::password::Password;
use crate::api::admin::{ImportUpload, Job, Upload as Seen, UploadState};
use crate::api::runner::Progress;
use crate::api::tus::{Metadata, keys};
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json};
use crate::cli::progress::Meter;
use crate::client::{Client, ClientError};
use crate::input::Whole;
use crate::value::{Digest, Secret};

/// Bytes of one request: at its end both sides wait for the disk once.
const REQUEST: u64 = 1 << 30;
/// Bytes of the last request at most: it is in memory whole, because the digest of the whole file goes before it.
const LAST: u64 = 4 << 20;
/// Bytes that are read at once, and how many such pieces are read ahead.
const PIECE: usize = 1 << 20;
const AHEAD: usize = 8;
/// Bytes at the front that go into the fingerprint.
const HEAD: u64 = 1 << 20;
/// Between two tries, and between two questions how the import goes.
const PAUSE: Duration = Duration::from_secs(1);
/// Rates are smoothed over about this time.
const RATE: Duration = Duration::from_millis(500);

/// `rootstock image upload`
#[derive(Args, Debug)]
pub struct Upload {
    /// Image on this machine: a file, any part of one that was split (.aa, .000, .001), or a .sparsebundle folder
    file: PathBuf,
    /// Name of the image; one that exists gets a new version
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What people shall read about the version
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    password: Password,
    /// Send the file although it was uploaded before and is in the library
    #[arg(long)]
    again: bool,
}

/// Uploads, and waits for the import.
pub fn run(verb: Upload, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let password = verb.password.given(&verb.file)?;
    let mut sending = Sending::open(&verb.file)?;
    let meter = Meter::new(appliance.json);
    let seen = find(&verb, &sending, appliance)?;
    let path = match &seen {
        Some(Seen { state: UploadState::Done { version }, name, .. }) => {
            say(format!(
                "{} was uploaded before and is {name}@{version}; --again sends it once more",
                verb.file.display()
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(seen) => address(&seen.id),
        None => begin(&verb, &sending, password.is_some(), appliance)?,
    };
    let mut meter = Metered::new(meter, format!("sending {}", sending.label), sending.size);
    let sent = sending.send(&path, &appliance.client, &mut meter);
    meter.meter.clear();
    sent.with_context(|| format!("uploading {}", verb.file.display()))?;
    ask_for_import(&path, password, appliance)?;
    follow(&path, appliance)
}

fn address(id: &str) -> String {
    format!("/api/v1/uploads/{id}")
}

/// The upload of the same file under the same name, if the appliance has one.
fn find(verb: &Upload, sending: &Sending, appliance: &Appliance) -> anyhow::Result<Option<Seen>> {
    let uploads: Vec<Seen> = appliance.client.get("/api/v1/uploads")?;
    let same = |seen: &Seen| {
        seen.fingerprint.as_ref() == Some(&sending.fingerprint)
            && seen.size == sending.size
            && seen.name == verb.name
            && !(verb.again && matches!(seen.state, UploadState::Done { .. }))
    };
    Ok(uploads.into_iter().find(same))
}

fn begin(
    verb: &Upload,
    sending: &Sending,
    on_request: bool,
    appliance: &Appliance,
) -> anyhow::Result<String> {
    let mut metadata = Metadata::default()
        .with(keys::FILE, &sending.label)
        .with(keys::NAME, &verb.name)
        .with(keys::FINGERPRINT, &sending.fingerprint);
    if let Some(note) = &verb.note {
        metadata = metadata.with(keys::NOTE, note);
    }
    if on_request {
        metadata = metadata.with(keys::IMPORT, "request");
    }
    Ok(appliance.client.begin_upload("/api/v1/uploads", sending.size, &metadata)?)
}

/// An import that does not begin by itself, because it needs a password or failed before.
fn ask_for_import(path: &str, password: Option<Secret>, appliance: &Appliance) -> anyhow::Result<()> {
    let seen: Seen = appliance.client.get(path)?;
    if !matches!(seen.state, UploadState::Received | UploadState::Failed { .. }) {
        return Ok(());
    }
    let body = ImportUpload { name: None, password };
    match appliance.client.post::<_, Job>(&format!("{path}/import"), &body) {
        // It began by itself meanwhile, or will when there is a place.
        Err(error) if matches!(error.status(), Some(409 | 503)) => Ok(()),
        done => Ok(done.map(drop)?),
    }
}

/// Follows the import of an upload to its end; survives a restart of the appliance.
pub fn follow(path: &str, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (mut meter, mut lost) = (Meter::new(appliance.json), false);
    loop {
        let seen: Seen = match appliance.client.get(path) {
            Ok(seen) => seen,
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut lost, true) {
                    meter.note(&format!("{error}; waiting for it"));
                }
                thread::sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let ended = matches!(seen.state, UploadState::Done { .. } | UploadState::Failed { .. });
        if ended {
            meter.clear();
            if appliance.json {
                say_json(&seen)?;
            }
        }
        match seen.state {
            UploadState::Done { version } => {
                if !appliance.json {
                    say(format!("{}@{version} is in the library", seen.name))?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            UploadState::Failed { error, next_step } => bail!("{error}; {next_step}"),
            UploadState::Importing { job } => {
                let job = appliance.client.get::<Job>(&format!("/api/v1/jobs/{job}")).ok();
                meter.show(&format!("importing {}", seen.name), job.and_then(|job| job.progress).as_ref());
            }
            _ => meter.show(&format!("{} waits for its import", seen.file), None),
        }
        thread::sleep(PAUSE / 2);
    }
}

/// What is sent and how far it is digested.
struct Sending {
    whole: Whole,
    label: String,
    size: u64,
    fingerprint: String,
    hashing: Hashing,
}

#[derive(Default)]
struct Hashing {
    at: u64,
    hasher: blake3::Hasher,
}

impl Hashing {
    /// Bytes of the file from `offset` on; what was digested before is skipped.
    fn update(&mut self, offset: u64, bytes: &[u8]) {
        let skip = usize::try_from(self.at.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(new) = bytes.get(skip..) {
            self.hasher.update(new);
            self.at += new.len() as u64;
        }
    }
}

impl Sending {
    fn open(path: &Path) -> anyhow::Result<Sending> {
        let facts = std::fs::metadata(path).with_context(|| format!("opening {}", path.display()))?;
        if !facts.is_file() && !facts.is_dir() {
            bail!("{} is no file: only files and sparse bundles can be uploaded", path.display());
        }
        let whole = Whole::at(path).with_context(|| path.display().to_string())?;
        let (label, size) = (whole.name().to_owned(), whole.length());
        let mut head = vec![0; usize::try_from(HEAD.min(size))?];
        whole.read_exact_at(&mut head, 0).with_context(|| format!("reading {}", path.display()))?;
        let told = format!("{}\n{}", whole.sign(), Digest::of(&head));
        let fingerprint = Digest::of(told.as_bytes()).to_string();
        Ok(Sending { whole, label, size, fingerprint, hashing: Hashing::default() })
    }

    /// Sends until the appliance has all.
    fn send(&mut self, path: &str, client: &Client, meter: &mut Metered) -> anyhow::Result<()> {
        let mut offset = self.ask(path, client, meter)?;
        // An upload that is complete has its digest already.
        while offset < self.size {
            self.digest_to(offset, meter)?;
            meter.at(offset);
            match self.send_some(path, offset, client, meter) {
                Ok(now) => offset = now,
                Err(error) => {
                    match error.downcast_ref::<ClientError>() {
                        Some(error) if may_go_on(error) => meter.lost(error),
                        _ => return Err(error),
                    }
                    thread::sleep(PAUSE);
                    offset = self.ask(path, client, meter)?;
                }
            }
        }
        if !self.whole.is_unchanged() {
            meter.meter.note(&format!("{} was changed while it was sent: what the appliance has may be a mixture of both; send it again", self.label));
        }
        Ok(())
    }

    /// Where to go on; an appliance that does not answer is waited for.
    fn ask(&self, path: &str, client: &Client, meter: &mut Metered) -> anyhow::Result<u64> {
        loop {
            match client.upload_offset(path) {
                Ok(offset) if offset <= self.size => return Ok(offset),
                Ok(offset) => {
                    bail!("the appliance has {offset} bytes of {}, which has {}", self.label, self.size)
                }
                Err(error) if error.may_pass() => meter.lost(&error),
                Err(error) if error.status() == Some(404) => {
                    return Err(anyhow::Error::from(error)
                        .context("the upload expired or was cancelled: run the command again"));
                }
                Err(error) => return Err(error.into()),
            }
            thread::sleep(PAUSE);
        }
    }

    /// Digests what was sent by an earlier command.
    fn digest_to(&mut self, offset: u64, meter: &mut Metered) -> anyhow::Result<()> {
        let mut piece = vec![0; PIECE];
        while self.hashing.at < offset {
            let most = piece.len().min(usize::try_from(offset - self.hashing.at).unwrap_or(usize::MAX));
            self.whole
                .read_exact_at(&mut piece[..most], self.hashing.at)
                .context("reading what was sent before")?;
            self.hashing.update(self.hashing.at, &piece[..most]);
            meter.show("digesting what was sent before", self.hashing.at, offset);
        }
        Ok(())
    }

    fn send_some(
        &mut self,
        path: &str,
        offset: u64,
        client: &Client,
        meter: &mut Metered,
    ) -> anyhow::Result<u64> {
        let left = self.size - offset;
        if left <= LAST {
            let mut last = vec![0; usize::try_from(left)?];
            self.whole.read_exact_at(&mut last, offset).context("reading the end")?;
            self.hashing.update(offset, &last);
            let whole = Digest::from(self.hashing.hasher.finalize());
            let taken = client.send_upload(path, offset, left, Some(whole), &mut last.as_slice())?;
            meter.at(taken.offset);
            return Ok(taken.offset);
        }
        let length = REQUEST.min(left - LAST);
        let (whole, hashing) = (&self.whole, &mut self.hashing);
        let (sent, read) = thread::scope(|scope| {
            let (queue, pieces) = sync_channel(AHEAD);
            let reading = scope.spawn(move || read_ahead(whole, offset, length, hashing, &queue));
            let mut body = Pieces { pieces, piece: Vec::new(), at: 0, meter };
            let sent = client.send_upload(path, offset, length, None, &mut body);
            drop(body);
            (sent, reading.join())
        });
        match read {
            Ok(Ok(())) => Ok(sent?.offset),
            Ok(Err(error)) => Err(error).context("reading the file"),
            Err(_) => bail!("the thread that reads the file panicked"),
        }
    }
}

/// Whether to ask where the upload stands and send on from there.
fn may_go_on(error: &ClientError) -> bool {
    error.may_pass() || matches!(error.status(), Some(409 | 423 | 460))
}

/// Reads ahead of what is sent; nobody who takes the pieces any more is no error.
fn read_ahead(
    whole: &Whole,
    begin: u64,
    length: u64,
    hashing: &mut Hashing,
    queue: &SyncSender<Vec<u8>>,
) -> io::Result<()> {
    let mut at = begin;
    while at < begin + length {
        let mut piece = vec![0; PIECE.min(usize::try_from(begin + length - at).unwrap_or(PIECE))];
        whole.read_exact_at(&mut piece, at)?;
        hashing.update(at, &piece);
        at += piece.len() as u64;
        if queue.send(piece).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What is sent, with a bar that follows it.
struct Pieces<'a> {
    pieces: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    meter: &'a mut Metered,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let Ok(piece) = self.pieces.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
            self.meter.more(self.piece.len() as u64);
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// A bar with rate and time left.
struct Metered {
    meter: Meter,
    label: String,
    size: u64,
    done: u64,
    /// When and where the rate was last taken.
    marked: (Instant, u64),
    rate: u64,
    is_lost: bool,
}

impl Metered {
    fn new(meter: Meter, label: String, size: u64) -> Metered {
        Metered { meter, label, size, done: 0, marked: (now(), 0), rate: 0, is_lost: false }
    }

    /// The appliance has so many bytes.
    fn at(&mut self, done: u64) {
        self.done = done;
        self.marked = (now(), done);
    }

    fn more(&mut self, bytes: u64) {
        self.done += bytes;
        let (then, before) = self.marked;
        let passed = now().duration_since(then);
        if passed >= RATE {
            let fresh = u128::from(self.done - before) * 1000 / passed.as_millis().max(1);
            let fresh = u64::try_from(fresh).unwrap_or(u64::MAX);
            self.rate = if self.rate == 0 { fresh } else { (3 * self.rate + fresh) / 4 };
            self.marked = (now(), self.done);
        }
        if std::mem::take(&mut self.is_lost) {
            self.meter.note("the appliance answers again");
        }
        self.show("sending", self.done, self.size);
    }

    fn show(&mut self, phase: &str, done: u64, total: u64) {
        let left =
            (self.rate > 0).then(|| u32::try_from((total - done) / self.rate.max(1)).unwrap_or(u32::MAX));
        let progress = Progress {
            phase: phase.to_owned(),
            done,
            total,
            network: done,
            network_rate: self.rate,
            seconds_left: left,
            ..Progress::default()
        };
        self.meter.show(&self.label, Some(&progress));
    }

    fn lost(&mut self, error: &ClientError) {
        if !std::mem::replace(&mut self.is_lost, true) {
            self.meter.note(&format!("{error}; sending on when it answers"));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line's edge: rates are for people")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_is_digested_once() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut hashing = Hashing::default();
        for (from, to) in [(0, 100), (50, 120), (10, 20), (120, 256)] {
            hashing.update(from as u64, &bytes[from..to]);
        }
        assert_eq!((hashing.at, hashing.hasher.finalize()), (256, blake3::hash(&bytes)));
    }

    #[test]
    fn a_file_is_told_again_by_its_fingerprint_until_it_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lab.img");
        std::fs::write(&path, b"one").unwrap();
        let fingerprint = || Sending::open(&path).unwrap().fingerprint;
        let first = fingerprint();
        assert_eq!(first, fingerprint());
        std::fs::write(&path, b"two").unwrap();
        assert_ne!(first, fingerprint());
        let error = Sending::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}
