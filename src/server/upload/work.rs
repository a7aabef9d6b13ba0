//! From a complete upload to a version of an image: whole-file digests, the import, what is written down about its end.
//!
//! Must not know: how bytes arrived.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::record::{End, Record};
use super::write::Running;
use super::{Entry, UploadError};
use crate::api::admin::{ImportImage, ImportUpload, Job, JobKind};
use crate::api::runner::Problem;
use crate::server::ServerError;
use crate::server::app::App;
use crate::server::clock::now_ms;
use crate::server::http::error::chain;
use crate::server::images::{self, Provenance};
use crate::server::jobs::{Full, Made, Work};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// An import was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The upload is not complete, is being imported, or is in the library already.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Too many jobs.
    #[error(transparent)]
    Full(#[from] Full),
}

/// How often uploads are looked at.
const TEND: Duration = Duration::from_secs(30);

/// From the start of the daemon on: imports what is complete, removes what expired.
pub async fn tend(app: App, stop: CancellationToken) -> Result<(), ServerError> {
    loop {
        start_waiting(&app);
        let sweeper = app.clone();
        if let Err(panic) = spawn_blocking(move || sweeper.uploads.sweep(now_ms())).await {
            tracing::error!("uploads were not swept: {panic}");
        }
        if stop.run_until_cancelled(tokio::time::sleep(TEND)).await.is_none() {
            return Ok(());
        }
    }
}

/// Starts the import of everything that is complete and waits for it: after a start of the daemon, and when there was no
/// place among the jobs.
pub fn start_waiting(app: &App) {
    for entry in app.uploads.list() {
        if entry.is_waiting() && entry.job_number().is_none() {
            match import(app, &entry, ImportUpload::default()) {
                Ok(_) | Err(StartError::Full(_)) => {}
                Err(error) => {
                    tracing::error!(upload = entry.id, "an upload is not imported: {}", chain(&error))
                }
            }
        }
    }
}

/// Starts the import if the upload is complete and nobody has to ask for it.
pub fn when_complete(app: &App, entry: &Arc<Entry>) -> Option<Job> {
    if !entry.is_waiting() {
        return None;
    }
    // Where there is no place among the jobs, the next sweep tries again.
    import(app, entry, ImportUpload::default()).ok()
}

/// Starts the import of a complete upload: the first, or again after one that failed.
pub fn import(app: &App, entry: &Arc<Entry>, request: ImportUpload) -> Result<Job, StartError> {
    let state = |text: String| StartError::Upload(UploadError::State(text));
    let mut job = entry.job();
    if let Some(job) = *job {
        return Err(state(format!("job {job} imports it now")));
    }
    let record = entry.record().clone();
    if let End::Done { version } = record.end {
        return Err(state(format!("it is in the library already, as {}@{version}", record.name)));
    }
    if entry.offset() < record.size {
        let missing = record.size - entry.offset();
        return Err(state(format!("{missing} of its {} bytes are missing", record.size)));
    }
    if let Some(name) = &request.name
        && *name != record.name
    {
        entry.change(|record| record.name.clone_from(name))?;
    }
    if record.end != End::None {
        entry.change(|record| record.end = End::None)?;
    }
    let (worker, entry_of_job) = (app.clone(), entry.clone());
    let subject = format!("{} from {} (upload)", request.name.as_ref().unwrap_or(&record.name), record.file);
    let started = app.jobs.start(JobKind::Import, subject, |work| async move {
        let done = run(&worker, &entry_of_job, request, &work).await;
        conclude(&worker, &entry_of_job, &done, &work);
        done
    })?;
    *job = Some(started.id);
    Ok(started)
}

async fn run(app: &App, entry: &Arc<Entry>, request: ImportUpload, work: &Work) -> Result<Made, Problem> {
    let record = entry.record().clone();
    let (checked, blocking) = (entry.clone(), work.clone());
    let checking = spawn_blocking(move || check(&checked, &blocking));
    checking.await.map_err(|error| Problem { error: error.to_string(), next_step: String::new() })??;
    let from =
        Provenance { file: record.file, uploader: record.uploader, received: format!("upload {}", entry.id) };
    let order = ImportImage {
        name: record.name,
        path: entry.data().display().to_string(),
        note: record.note,
        password: request.password,
    };
    images::import(app, order, from, work).await
}

/// Writes down how the import ended; after a version was made, the bytes go.
fn conclude(app: &App, entry: &Entry, done: &Result<Made, Problem>, work: &Work) {
    let end = match done {
        Ok(Made { version: Some(version), .. }) => End::Done { version: *version },
        // The daemon stops: the next one begins again.
        Err(_) if app.stopping.is_cancelled() => End::None,
        Ok(_) => End::None,
        Err(_) if work.is_stopped() => End::Failed {
            error: "the import was stopped".to_owned(),
            next_step: format!("import it: rootstock upload import {}", entry.id),
        },
        Err(problem) => End::Failed { error: problem.error.clone(), next_step: advice(problem, entry) },
    };
    let done = matches!(end, End::Done { .. });
    entry.touch();
    let written = entry.change(|record| record.end = end.clone());
    if let Err(error) = &written {
        tracing::error!(upload = entry.id, "how an import ended is not written down: {}", chain(error));
        // It is told as long as the daemon lives; after its next start it is tried again.
        entry.record().end = end;
    }
    if done && written.is_ok() {
        let path = entry.data();
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!("{} remains until the next start: {error}", path.display());
        }
    }
    *entry.job() = None;
}

fn advice(problem: &Problem, entry: &Entry) -> String {
    let again = format!("the file is kept until it expires: rootstock upload import {}", entry.id);
    match problem.next_step.as_str() {
        "" => again,
        first => format!("{first}; {again}"),
    }
}

/// Compares the whole file with the digests that its uploader named. They ran along while it came; after a restart of the
/// daemon in between it is read again.
fn check(entry: &Entry, work: &Work) -> Result<(), Problem> {
    let record = entry.record().clone();
    if record.digest.is_none() && record.sha256.is_none() {
        return Ok(());
    }
    let ran = entry.writer.try_lock().map(|writer| writer.running.clone()).unwrap_or_default();
    let (blake3, sha256) = ran.digests();
    let counted = ran.at() == record.size
        && (record.digest.is_none() || blake3.is_some())
        && (record.sha256.is_none() || sha256.is_some());
    let running = if counted {
        ran
    } else {
        read(entry, &record, work).map_err(|error| Problem {
            error: format!("reading what was uploaded: {error}"),
            next_step: "check the disk of the appliance".to_owned(),
        })?
    };
    let (blake3, sha256) = running.digests();
    for (kind, want, got) in [
        ("BLAKE3", record.digest.map(|digest| digest.to_string()), blake3),
        ("SHA-256", record.sha256.clone(), sha256),
    ] {
        if want.is_some() && want != got {
            let (want, got) = (want.unwrap_or_default(), got.unwrap_or_default());
            return Err(Problem {
                error: format!("what arrived is not the file that was sent: its {kind} is {got}, not {want}"),
                next_step: format!(
                    "it was changed while it was sent, or the digest belongs to another file: rootstock upload cancel {}, then \
                     upload it again",
                    entry.id
                ),
            });
        }
    }
    Ok(())
}

fn read(entry: &Entry, record: &Record, work: &Work) -> io::Result<Running> {
    work.phase("checking", record.size);
    let mut running = Running::new(record.digest.is_some(), record.sha256.is_some());
    let mut file = File::open(entry.data())?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 || work.is_stopped() {
            return Ok(running);
        }
        running.update(&piece[..count]);
        work.set_done(running.at());
    }
}
