//! Image versions between library and database: what is in which order, so that nothing half-made is ever seen.
//!
//! Import: manifest durable → version row. Delete: row gone → manifest gone → chunks reclaimed by a collection. A crash
//! between two steps leaves a manifest without a row, which nobody sees and the next sweep removes.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::{JoinError, spawn_blocking};

use super::app::App;
use super::captures::{CaptureError, Finished};
use super::clock::now_ms;
use super::diagnosis;
use super::http::error::{Refusal, chain};
use super::jobs::{Made, Work};
use super::library::{ImportError, Imported};
use super::upkeep;
use crate::api::admin::{Image, ImagePartition, ImageVersion, ImageVolume, ImportImage, Library};
use crate::api::capture::Capture;
use crate::api::runner::Problem;
use crate::db::{DbError, NewVersion, Removal, StoredVersion};
use crate::image::chunk::CHUNK;
use crate::image::ingest::Progress;
use crate::image::manifest::{Manifest, Region};
use crate::image::source::SourceError;
use crate::input::OpenError;
use crate::store::{Collected, StoreError};
use crate::value::{ByteSize, Digest};

/// Where the file of an import came from.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// Name of the file as its owner knows it.
    pub file: String,
    /// Who gave it; may be empty.
    pub uploader: String,
    /// What it was received as: becomes one version, however often the daemon is killed while it imports it. May be empty.
    pub received: String,
}

/// Takes a file in.
pub async fn import(app: &App, request: ImportImage, from: Provenance, work: &Work) -> Result<Made, Problem> {
    if let Some(version) = received(app, &request.name, &from.received).await? {
        let message = format!("{} {version}: was in the library already", request.name);
        return Ok(Made { message, version: Some(version) });
    }
    let result = import_alone(app, &request, from, work).await;
    if result.is_err() {
        sweep(app).await;
    }
    result
}

/// The version that was made from what was received under this name before the daemon was killed.
async fn received(app: &App, name: &str, received: &str) -> Result<Option<u32>, Problem> {
    if received.is_empty() {
        return Ok(None);
    }
    let image = app.db.image(name).await.map_err(|error| Refusal::from(error).problem().clone())?;
    let mut versions = image.into_iter().flat_map(|image| image.versions);
    Ok(versions.find(|version| version.received == received).map(|version| version.version))
}

async fn import_alone(
    app: &App,
    request: &ImportImage,
    from: Provenance,
    work: &Work,
) -> Result<Made, Problem> {
    let (library, path, blocking) = (app.library.clone(), PathBuf::from(&request.path), work.clone());
    let progress = Arc::new(Progress::default());
    let (counted, stopped) = (progress.clone(), progress.clone());
    let password = request.password.clone();
    let reading = spawn_blocking(move || {
        blocking.phase("unpacking", 0);
        let go_on = |unpacked| {
            blocking.set_done(unpacked);
            !blocking.is_stopped()
        };
        let source = library.source(&path, password.as_ref(), &go_on)?;
        blocking.phase("reading", source.size().unwrap_or(0));
        library.take(source, &path, &counted)
    });
    let imported = work.follow(reading, || progress.decoded(), || stopped.stop()).await;
    let imported = imported.map_err(panicked)?.map_err(|error| failed(&error))?;
    let mut facts = ImageVersion {
        uploader: from.uploader,
        note: request.note.clone().unwrap_or_default(),
        received: from.received,
        ..facts(&imported, from.file)
    };
    diagnosis::add(app, &imported, &mut facts).await;
    let (size, findings) = (facts.size, diagnosis::in_short(&facts.findings));
    let manifest = facts.manifest;
    let added = app.db.add_version(&NewVersion { image: request.name.clone(), facts }).await;
    app.library.store().recorded(&manifest);
    let version = added.map_err(|error| Refusal::from(error).problem().clone())?;
    let message = format!(
        "{} {version}: {} decoded, {} added to the library; {}{findings}",
        request.name,
        ByteSize(size),
        ByteSize(imported.new_bytes),
        if imported.checksums.present { "its checksums are right" } else { "it has no checksums of its own" }
    );
    tracing::info!(image = request.name, version, "imported {message}");
    upkeep::after_import(app, &request.name).await;
    Ok(Made { message, version: Some(version) })
}

/// A capture that is whole becomes a version. `finishing` makes its manifest; when that lacks chunks, their number comes back.
/// Else bytes added to the library, number of the version and its manifest.
pub async fn publish_capture(
    app: &App,
    capture: &Capture,
    finishing: impl Future<Output = Result<Finished, CaptureError>>,
) -> Result<Result<(u64, u32, Digest), u64>, Refusal> {
    let imported = match finishing.await? {
        Ok(imported) => imported,
        Err(lacking) => return Ok(Err(lacking)),
    };
    let (digest, added) = (imported.digest, imported.new_bytes);
    let version = record_capture(app, capture, &imported).await;
    app.library.store().recorded(&digest);
    let version = version?;
    upkeep::after_import(app, &capture.image).await;
    Ok(Ok((added, version, digest)))
}

async fn record_capture(app: &App, capture: &Capture, imported: &Imported) -> Result<u32, DbError> {
    Ok(match app.db.version_made(&capture.image, imported.digest, capture.started_ms).await? {
        // Made before the appliance was reset, and not written down with the capture any more.
        Some(version) => version,
        None => {
            let facts = facts(imported, capture.source.clone());
            let mut facts =
                ImageVersion { uploader: capture.by.clone(), note: capture.note.clone(), ..facts };
            diagnosis::add(app, imported, &mut facts).await;
            app.db.add_version(&NewVersion { image: capture.image.clone(), facts }).await?
        }
    })
}

/// An image with everything that needs its versions.
pub async fn image(app: &App, name: &str) -> Result<Option<Image>, DbError> {
    let mut image = app.db.image(name).await?;
    image.iter_mut().for_each(|image| app.holds.add_users(image));
    Ok(image)
}

/// Deletes a version that nothing needs, on a full disk too. Its manifest goes with the next sweep.
pub async fn remove(app: &App, name: &str, version: u32, by: &str, why: &str) -> Result<Removal, DbError> {
    let _going = match app.holds.go(name, version) {
        Ok(going) => going,
        Err(users) => return Ok(Removal::InUse(users)),
    };
    if let Some(found) = app.db.version(name, Some(version)).await?
        && app.library.store().is_held(&found.manifest)
    {
        return Ok(Removal::InUse(vec!["a restore or an export on this machine, which reads it".to_owned()]));
    }
    match app.db.remove_version(name, version, by, why, now_ms()).await {
        Err(error) if error.is_full() && release_reserve(app).await => {
            app.db.remove_version(name, version, by, why, now_ms()).await
        }
        done => done,
    }
}

/// Gives a full disk a little room, for what makes more.
async fn release_reserve(app: &App) -> bool {
    let library = app.library.clone();
    let released = spawn_blocking(move || library.store().release_reserve()).await;
    matches!(released, Ok(Ok(true)))
}

/// Reads every chunk of a version.
pub async fn verify(app: &App, version: StoredVersion, work: &Work) -> Result<Made, Problem> {
    let _hold = app.holds.hold(&version.image, version.version, "a verification").ok_or_else(|| Problem {
        error: format!("{} {} is being deleted", version.image, version.version),
        next_step: String::new(),
    })?;
    let (library, digest, done) = (app.library.clone(), version.manifest, Arc::new(AtomicU64::new(0)));
    work.phase("reading", 0);
    let (counted, blocking) = (done.clone(), work.clone());
    let reading = spawn_blocking(move || {
        let (_, manifest) = library.manifest(digest)?;
        blocking.set_total(distinct_chunks(&manifest) * CHUNK);
        library.verify(digest, &counted)
    });
    let verified = work.follow(reading, || done.load(Ordering::Relaxed), || {}).await;
    let name = format!("{} {}", version.image, version.version);
    let again = format!("check the disk of the library, then import {} again", version.image);
    let found = verified.map_err(panicked)?.map_err(|error| Problem {
        error: format!("{name} is damaged: {}", chain(&error)),
        next_step: again.clone(),
    })?;
    match found.damage.first() {
        None => {
            let message = format!(
                "{name} is whole: {} chunks, {} read and compared",
                found.chunks,
                ByteSize(found.bytes)
            );
            Ok(Made { message, version: Some(version.version) })
        }
        Some(first) => Err(Problem {
            error: format!(
                "{name} is damaged: {} of {} chunks, the first: {}",
                found.damage.len(),
                found.chunks,
                chain(&first.error)
            ),
            next_step: again,
        }),
    }
}

/// Removes manifests without a version row, then chunks that no manifest names.
pub async fn collect(app: &App) -> Result<Made, Problem> {
    sweep(app).await;
    let library = app.library.clone();
    let collected = spawn_blocking(move || library.store().collection()?.run()).await.map_err(panicked)?;
    let collected = collected.map_err(|error| {
        let next_step = match &error {
            StoreError::Busy(_) => "wait for its end",
            _ => "find the damage: rootstock store check",
        };
        Problem {
            error: format!("not everything was removed: {}", chain(&error)),
            next_step: next_step.to_owned(),
        }
    })?;
    told(collected)
}

/// What a collection did, in words; it failed where it found garbage and no room to move what lives beside it.
fn told(collected: Collected) -> Result<Made, Problem> {
    let Collected { packs, bytes, damaged, no_room } = collected;
    if packs == 0 && no_room > 0 {
        return Err(Problem {
            error: format!(
                "the disk has no room to move what is needed out of {no_room} packs that are mostly garbage"
            ),
            next_step: "free a little room, or delete another image; then collect again".to_owned(),
        });
    }
    let mut message = format!("{} given back, {packs} packs removed", ByteSize(bytes));
    if no_room > 0 {
        message += &format!(
            "; {no_room} packs that are mostly garbage wait for more room: collect again when there is some"
        );
    }
    if damaged > 0 {
        message +=
            &format!("; {damaged} packs are damaged and stay: find the damage with rootstock store check");
    }
    Ok(Made { message, version: None })
}

/// After a version was deleted: its manifest goes. Bytes that a collection would give back.
pub async fn forget(app: &App, orphan: Option<Digest>) -> Result<u64, Refusal> {
    if orphan.is_some() {
        sweep(app).await;
    }
    Ok(library(app).await?.reclaimable)
}

/// Removes manifests that no version row names. Those that an import made a moment ago, and whose row may not be there yet, stay,
/// and so do those that a restore or export reads. What goes wrong is logged: nobody sees those manifests, and the next
/// sweep tries again.
pub async fn sweep(app: &App) {
    let _one_at_a_time = app.settling.lock().await;
    app.library.store().begin_sweep();
    let wanted = match app.db.manifests().await {
        Ok(wanted) => wanted,
        Err(error) => return tracing::error!("manifests were not swept: {}", chain(&error)),
    };
    let library = app.library.clone();
    let swept = spawn_blocking(move || {
        let kept = library.store().manifests()?;
        let mut removed = 0;
        for digest in kept.iter().filter(|digest| !wanted.contains(digest)) {
            match library.store().remove_stale_manifest(*digest) {
                Err(StoreError::Held(_)) => {}
                done => removed += usize::from(done?),
            }
        }
        // A version that was added meanwhile may be wanted and not listed.
        let there = |digest: &Digest| kept.contains(digest) || library.store().manifest_path(digest).exists();
        let lost: Vec<Digest> = wanted.into_iter().filter(|digest| !there(digest)).collect();
        Ok::<_, StoreError>((removed, lost))
    });
    match swept.await {
        Ok(Ok((stray, lost))) => {
            if stray > 0 {
                tracing::info!("removed {stray} manifests that no image version names");
            }
            for digest in lost {
                tracing::error!("manifest {digest} of an image version is lost: import that image again");
            }
        }
        Ok(Err(error)) => tracing::error!("manifests were not swept: {}", chain(&error)),
        Err(panic) => tracing::error!("manifests were not swept: {panic}"),
    }
}

/// Where the library lies and how full it is.
pub async fn library(app: &App) -> Result<Library, Refusal> {
    let library = app.library.clone();
    let read = spawn_blocking(move || {
        let store = library.store();
        let reclaimable = match store.garbage() {
            Ok(plan) => plan.reclaimable,
            // A damaged manifest is no reason not to tell the rest; `store check` names it.
            Err(StoreError::Roots(_)) => 0,
            Err(error) => return Err(error),
        };
        Ok((store.usage(), reclaimable, library.key().to_string(), library.keys().believed()))
    });
    let (usage, reclaimable, manifest_key, believed) =
        read.await.map_err(|error| Refusal::fault(&error))?.map_err(|error| Refusal::fault(&error))?;
    Ok(Library {
        store: Some(app.data.join("store").display().to_string()),
        manifest_key,
        manifest_keys: believed.iter().map(ToString::to_string).collect(),
        chunks: usage.chunks,
        bytes: usage.bytes,
        reclaimable,
    })
}

fn facts(imported: &Imported, source: String) -> ImageVersion {
    let manifest = &imported.manifest;
    let main = manifest.main().map(|region| region.start);
    let shown = |region: &&Region| region.partition.is_some() || region.volume.is_some();
    ImageVersion {
        version: 0,
        manifest: imported.digest,
        size: manifest.size(),
        sha256: manifest.source().to_string(),
        source,
        format: imported.format.map_or("capture".to_owned(), |format| format.to_string()),
        had_checksums: imported.format.map(|_| imported.checksums.present),
        imported_ms: now_ms(),
        chunks: distinct_chunks(manifest),
        added: imported.new_bytes,
        partition_scheme: format!("{:?}", manifest.scheme()).to_lowercase(),
        partitions: manifest.regions().iter().filter(shown).map(|region| partition(region, main)).collect(),
        system: None,
        findings: Vec::new(),
        uploader: String::new(),
        note: String::new(),
        received: String::new(),
        rings: Vec::new(),
        damage: String::new(),
        used_by: Vec::new(),
    }
}

fn distinct_chunks(manifest: &Manifest) -> u64 {
    let mut digests: Vec<&Digest> = manifest.digests().collect();
    digests.sort_unstable();
    digests.dedup();
    digests.len() as u64
}

fn partition(region: &Region, main: Option<u64>) -> ImagePartition {
    let facts = region.partition.as_ref();
    ImagePartition {
        number: facts.map(|facts| facts.number),
        r#type: facts.map(|facts| facts.kind.clone()).unwrap_or_default(),
        name: facts.map(|facts| facts.name.clone()).unwrap_or_default(),
        start: region.start,
        size: region.size,
        volume: region.volume.as_ref().map(|volume| ImageVolume {
            kind: volume.kind.clone(),
            label: Some(volume.label.clone()).filter(|label| !label.is_empty()),
            size: volume.size,
            used: volume.used,
            block_size: volume.block_size,
        }),
        main: main == Some(region.start),
    }
}

fn failed(error: &ImportError) -> Problem {
    let next_step = match error {
        ImportError::Open(OpenError::Open { .. }) => {
            "check the path, and that rootstockd's account may read it"
        }
        ImportError::Open(error) if error.wants_password() => {
            "nothing was added; import it again with its password: --password-file FILE, or --ask-password"
        }
        ImportError::Open(OpenError::Source(SourceError::WrongPassword)) => {
            "nothing was added; import it again with the right password"
        }
        ImportError::Open(OpenError::Room { .. } | OpenError::Spool { .. }) => {
            "nothing was added to the library"
        }
        ImportError::Open(_) | ImportError::Source(_) | ImportError::Partition(_) => {
            "nothing was added; look into the file: rootstock image inspect FILE"
        }
        _ => "nothing was added to the library",
    };
    Problem { error: chain(error), next_step: next_step.to_owned() }
}

pub(super) fn panicked(error: JoinError) -> Problem {
    Problem {
        error: format!("the appliance failed: {error}"),
        next_step: "report it with the log of rootstockd".into(),
    }
}
