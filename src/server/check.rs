//! The check of the library as a job: what the store finds, told by images and versions; repair; marks on damaged versions.
//!
//! Must not know: how packs are read (`store`), how another appliance is asked (`upstream`).

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

use super::app::App;
use super::clock::now_ms;
use super::http::error::{Refusal, chain};
use super::images;
use super::jobs::{Made, Work};
use super::library::Library;
use super::upstream::{Upstream, UpstreamError};
use crate::api::admin::{CheckFinding, CheckReport, DamagedVersion};
use crate::api::runner::Problem;
use crate::db::DbError;
use crate::image::chunk::Packer;
use crate::image::ingest::Keeper;
use crate::image::manifest::Manifest;
use crate::store::{CheckProgress, Checked, Checking, Flaw, Repaired, StoreError};
use crate::value::{ByteSize, Digest};

/// The report of the last check. Kept in memory: after a restart, check again.
#[derive(Debug, Default)]
pub struct LastCheck(Mutex<Option<CheckReport>>);

impl LastCheck {
    /// The report.
    pub fn get(&self) -> Option<CheckReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, report: CheckReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }
}

/// Versions by their manifest.
type Names = BTreeMap<Digest, Vec<(String, u32)>>;

/// Checks, repairs when asked, and keeps the report. Fails when something is damaged at the end.
pub async fn check(app: &App, job: i64, repair: bool, work: &Work) -> Result<Made, Problem> {
    let names = names_of(app).await?;
    let wanted: Vec<Digest> = names.keys().copied().collect();
    let progress = Arc::new(CheckProgress::default());
    work.phase("reading", 0);
    let (library, seen) = (app.library.clone(), progress.clone());
    let reading = spawn_blocking(move || {
        let (keys, workers) = (library.keys().believed(), library.workers());
        library.store().check(&Checking { keys: &keys, wanted: Some(&wanted), workers, progress: &seen })
    });
    let done = || {
        work.set_total(progress.total.load(Ordering::Relaxed));
        progress.done.load(Ordering::Relaxed)
    };
    let checked = work.follow(reading, done, || progress.stop.store(true, Ordering::Relaxed)).await;
    let checked = checked.map_err(images::panicked)?.map_err(|error| not_done(&error))?;
    if checked.stopped {
        return Err(Problem { error: "the check was stopped".to_owned(), next_step: String::new() });
    }
    // A version that was added meanwhile needs a manifest that was no version's when the check began.
    let now = names_of(app).await?;
    let mut checked = checked;
    checked.flaws.retain(|flaw| match flaw {
        Flaw::ManifestUnused { manifest } => !now.contains_key(manifest),
        _ => true,
    });
    let mut report = told(&checked, &names, job, repair);
    if repair {
        work.phase("repairing", 0);
        let (library, config, wanted) = (
            app.library.clone(),
            app.config.library.upstream.clone(),
            names.keys().copied().collect::<Vec<_>>(),
        );
        let repairing = spawn_blocking(move || {
            let upstream = config.map(|config| Upstream::open(&config));
            mend(&library, &checked.flaws, &wanted, upstream)
        });
        report.done = repairing.await.map_err(images::panicked)?.map_err(|error| not_done(&error))?;
        images::sweep(app).await;
    }
    report.damaged = mark(app, &names, &report, repair).await?;
    report.ended_ms = now_ms();
    let message = summary(&report);
    let sound = report.damaged.is_empty() && (repair || report.findings.is_empty());
    app.last_check.set(report);
    if sound {
        return Ok(Made { message, version: None });
    }
    let next_step = match repair {
        false => "mend it: rootstock store check --repair",
        true => {
            "import the damaged images again, then check again; they are listed by rootstock store check --last"
        }
    };
    Err(Problem { error: message, next_step: next_step.to_owned() })
}

async fn names_of(app: &App) -> Result<Names, Problem> {
    names(app).await.map_err(|error| Refusal::from(error).problem().clone())
}

async fn names(app: &App) -> Result<Names, DbError> {
    let mut names = Names::new();
    for (manifest, image, version) in app.db.manifest_versions().await? {
        names.entry(manifest).or_default().push((image, version));
    }
    Ok(names)
}

fn told(checked: &Checked, names: &Names, job: i64, repair: bool) -> CheckReport {
    let versions = |flaw: &Flaw| {
        let hit = flaw.manifest().and_then(|manifest| names.get(&manifest));
        hit.into_iter().flatten().map(|(image, version)| format!("{image} {version}")).collect()
    };
    let finding = |flaw: &Flaw| CheckFinding {
        code: flaw.code().to_owned(),
        message: flaw.to_string(),
        versions: versions(flaw),
    };
    CheckReport {
        job,
        repair,
        packs: checked.packs,
        chunks: checked.chunks,
        bytes: checked.bytes,
        manifests: checked.manifests,
        findings: checked.flaws.iter().map(finding).collect(),
        ..CheckReport::default()
    }
}

fn summary(report: &CheckReport) -> String {
    let read = format!(
        "{} packs with {} chunks ({}) and {} manifests read",
        report.packs,
        report.chunks,
        ByteSize(report.bytes),
        report.manifests
    );
    let (findings, damaged) = (report.findings.len(), report.damaged.len());
    match (findings, report.repair) {
        (0, _) => format!("the library is whole: {read}"),
        (_, false) => format!("{findings} findings; {read}"),
        (_, true) if damaged == 0 => format!("{findings} findings, all mended; {read}"),
        (_, true) => format!("{findings} findings, {damaged} versions stay damaged; {read}"),
    }
}

/// Repairs; gives what was done, one line each.
fn mend(
    library: &Library,
    flaws: &[Flaw],
    wanted: &[Digest],
    upstream: Option<Result<Upstream, UpstreamError>>,
) -> Result<Vec<String>, StoreError> {
    let Repaired { quarantined, saved, permissions, failed } = library.store().repair(flaws)?;
    let mut done: Vec<String> =
        quarantined.iter().map(|path| format!("moved to {}", path.display())).collect();
    if saved > 0 {
        done.push(format!("{saved} good chunks were saved from bad packs"));
    }
    if permissions > 0 {
        done.push(format!("the permissions of {permissions} files were put right"));
    }
    for flaw in flaws {
        // Its content is what its digest says, and a version names that digest.
        if let Flaw::ManifestForeign { manifest } = flaw
            && wanted.contains(manifest)
            && let Some(content) =
                library.store().manifest(*manifest).ok().and_then(|signed| signed.contents().ok())
        {
            library.store().replace_manifest(&library.sign(&content))?;
            done.push(format!("manifest {manifest} is signed again"));
        }
    }
    done.extend(failed.into_iter().map(|line| format!("not done: {line}")));
    match upstream {
        None => {}
        Some(Err(error)) => done.push(format!("not done: the upstream appliance: {}", chain(&error))),
        Some(Ok(upstream)) => {
            for digest in wanted {
                match refetch(library, &upstream, *digest) {
                    Ok(0) => {}
                    Ok(count) => done.push(format!(
                        "{count} chunks of manifest {digest} were fetched from {}",
                        upstream.address()
                    )),
                    Err(error) => done.push(format!(
                        "not done: manifest {digest} from {}: {}",
                        upstream.address(),
                        chain(&error)
                    )),
                }
            }
        }
    }
    Ok(done)
}

/// Fetches a manifest that is not here, and the chunks that are not; gives the number of chunks, and one for the manifest.
fn refetch(library: &Library, upstream: &Upstream, digest: Digest) -> Result<u64, UpstreamError> {
    let store = library.store();
    let here = library.manifest(digest).ok().map(|(_, manifest)| manifest);
    let lost = here.is_none();
    let manifest: Manifest = here.map_or_else(|| upstream.manifest(digest), Ok)?;
    let import = store.import()?;
    let mut missing: HashSet<Digest> = store.missing(&manifest);
    let before = missing.len();
    if before > 0 {
        let packing = StoreError::packing(store.folder());
        let mut packer = Packer::new().map_err(&packing)?;
        upstream.chunks(digest, &manifest, &mut missing, |chunk| {
            packer.add(chunk).map_err(&packing)?.map_or(Ok(()), |packed| import.keep(&packed))
        })?;
        if let Some(packed) = packer.finish().map_err(&packing)? {
            import.keep(&packed)?;
        }
        import.settle()?;
    }
    if lost {
        // Its content is what its digest says; it is ours, so we sign it.
        import.finish(&manifest, &library.sign(&manifest))?;
        store.recorded(&digest);
    }
    Ok((before - missing.len()) as u64 + u64::from(lost))
}

/// Why an image cannot be restored, as far as that is known without reading its chunks.
fn why_broken(library: &Library, digest: Digest) -> Option<String> {
    match library.manifest(digest) {
        Err(error) => Some(chain(&error)),
        Ok((_, manifest)) => match library.store().missing(&manifest).len() {
            0 => None,
            count => Some(format!("{count} of its chunks are lost")),
        },
    }
}

/// Looks again which versions are whole now. Marks those that are not when they were to be repaired, and takes marks away.
async fn mark(
    app: &App,
    names: &Names,
    report: &CheckReport,
    repair: bool,
) -> Result<Vec<DamagedVersion>, Problem> {
    let (library, wanted) = (app.library.clone(), names.keys().copied().collect::<Vec<_>>());
    let looking = spawn_blocking(move || {
        wanted.into_iter().map(|digest| (digest, why_broken(&library, digest))).collect::<Vec<_>>()
    });
    let mut damaged = Vec::new();
    for (digest, mut why) in looking.await.map_err(images::panicked)? {
        // Without a repair, damaged chunks are still found by their name.
        if !repair && why.is_none() {
            let hit = |finding: &&CheckFinding| finding.message.contains(&digest.to_string());
            let found = report.findings.iter().filter(|finding| finding.code != "manifest-unused").find(hit);
            why = found.map(|finding| finding.message.clone());
        }
        if repair || why.is_none() {
            let news = app.db.set_damage(digest, why.as_deref()).await;
            news.map_err(|error| Refusal::from(error).problem().clone())?;
        }
        let Some(why) = why else { continue };
        for (image, version) in names.get(&digest).into_iter().flatten() {
            tracing::error!("{image} {version} is damaged: {why}");
            damaged.push(DamagedVersion { image: image.clone(), version: *version, damage: why.clone() });
        }
    }
    Ok(damaged)
}

fn not_done(error: &StoreError) -> Problem {
    Problem {
        error: format!("the library could not be checked to the end: {}", chain(error)),
        next_step: "check the disk of the library, its free room and its permissions".to_owned(),
    }
}
