//! `rootstock image restore`: the restore engine of the runner, on this machine.
//!
//! Owns: reading the library's folder directly, the progress bar, words about what was done. The daemon is asked for
//! names only. Must not know: how bytes are fetched, verified and written (`image::restore`, `store`, `device`).

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::version::ImageName;
use crate::api::admin::{ImageVersion, Library};
use crate::api::runner::Progress as Shown;
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json};
use crate::cli::progress::Meter;
use crate::device::Device;
use crate::image::manifest::{Manifest, ManifestKey};
use crate::image::plan::{Plan, Selection};
use crate::image::restore::{self, FetchError, Options, Progress, RestoreError, Restored, Snapshot};
use crate::store::{Hold, Store};
use crate::value::{ByteSize, FreeSpace};

/// `rootstock image restore`
#[derive(Args, Debug)]
pub struct Restore {
    /// Name of the image, name@version or name@ring [default: what production points to, else the newest version]
    image: ImageName,
    /// File or block device to write. A block device, or a file that has content, is overwritten from its first
    /// byte on; a file that is not there is made
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// Only this partition, to the start of PATH [default: the whole image, partition table included]
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,
    /// What happens to space that the image says nothing about: discard, leave (old content stays), zero (and read back)
    #[arg(long, value_name = "POLICY", default_value_t)]
    free: FreeSpace,
    /// Say what would be done to a disk that holds nothing of the image, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// How often chunks may move to other packs during one restore.
const MOVES: u32 = 20;

/// How often the meter moves.
const TICK: Duration = Duration::from_millis(200);

/// Restores.
pub fn run(verb: Restore, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let stored = Stored::open("restore", &verb.image, appliance)?;
    let selection = verb.partition.map_or(Selection::Whole, Selection::Partition);
    let mut plan = stored.plan(selection)?;
    if verb.dry_run {
        if verb.free == FreeSpace::Zero {
            plan.zero_free();
        }
        tell_plan(&plan, &verb.to, appliance.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut meter = Meter::new(appliance.json);
    let label = format!("{} to {}", stored.label, verb.to.display());
    let device = Device::open(&verb.to, plan.size)?;
    let start = now();
    let mut moves = 0;
    let result = loop {
        let result = watch(
            |progress| restore::restore(plan, &stored.store, &device, options(verb.free), progress),
            &mut |shown| meter.show(&label, Some(shown)),
        );
        match &result {
            // A collection of garbage moved chunks; what is written stays.
            Err(RestoreError::Fetch(FetchError::Gone(_))) if moves < MOVES => {
                moves += 1;
                stored.store.catch_up()?;
                plan = stored.plan(selection)?;
            }
            _ => break result,
        }
    };
    meter.clear();
    let restored = result.with_context(|| verb.to.display().to_string())?;
    device.reread_partitions().with_context(|| verb.to.display().to_string())?;
    tell(&label, &restored, verb.free, start.elapsed(), appliance.json)?;
    Ok(ExitCode::SUCCESS)
}

/// The keys whose manifests the appliance believes.
pub(super) fn believed(library: &Library) -> anyhow::Result<Vec<ManifestKey>> {
    let keys = std::iter::once(&library.manifest_key).chain(&library.manifest_keys);
    keys.map(|key| key.parse().context("the appliance's manifest key")).collect()
}

/// An image of the local library, opened for reading; its version is not deleted meanwhile.
pub struct Stored {
    /// Image and version, for people.
    pub label: String,
    /// The library.
    pub store: Store,
    manifest: Manifest,
    _hold: Hold,
}

impl Stored {
    /// Asks the appliance which version that is and where its library lies, and opens it; `verb` is what for.
    ///
    /// # Errors
    /// The appliance is another machine, the library may not be read, the image is not there or not signed by this appliance.
    pub fn open(verb: &str, image: &ImageName, appliance: &Appliance) -> anyhow::Result<Stored> {
        if !appliance.local {
            bail!("image {verb} reads the library's own disk: run it on the appliance");
        }
        let (name, version) = image.find(appliance)?;
        Stored::of(&name, &version, appliance)
    }

    /// The same for a version that is known; the appliance must be this machine.
    ///
    /// # Errors
    /// As for [`Stored::open`].
    pub fn of(name: &str, version: &ImageVersion, appliance: &Appliance) -> anyhow::Result<Stored> {
        let library: Library = appliance.client.get("/api/v1/library")?;
        let keys = believed(&library)?;
        let folder = library
            .store
            .context("the appliance does not say where its library lies; ask it through its Unix socket")?;
        let store = Store::open_to_read(Path::new(&folder)).with_context(|| {
            format!("reading the library in {folder}; run this as root or as rootstock's user")
        })?;
        let hold = store.hold(version.manifest)?;
        let manifest = store.manifest(version.manifest)?.verify(version.manifest, &keys)?;
        let label = format!("{name}@{}", version.version);
        Ok(Stored { label, store, manifest, _hold: hold })
    }

    /// The image, its signature checked.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What putting a part of the image onto a target takes.
    ///
    /// # Errors
    /// A chunk of it is missing, the image has no such part.
    pub fn plan(&self, selection: Selection) -> anyhow::Result<Plan<'_>> {
        Ok(Plan::new(&self.manifest, self.store.locations(&self.manifest)?, selection)?)
    }
}

/// How this machine restores and compares.
pub fn options(free: FreeSpace) -> Options {
    let workers = thread::available_parallelism().map_or(2, NonZero::get);
    Options { free, ..Options::new(workers, clock) }
}

fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(now).elapsed()
}

/// Runs `work` in a thread of its own; `show` is called a few times a second.
pub fn watch<T: Send, E: Send>(
    work: impl FnOnce(&Progress) -> Result<T, E> + Send,
    show: &mut dyn FnMut(&Shown),
) -> Result<T, E> {
    let progress = Progress::default();
    thread::scope(|scope| {
        let (ended, end) = sync_channel::<()>(0);
        let work = scope.spawn({
            let progress = &progress;
            move || {
                let result = work(progress);
                drop(ended);
                result
            }
        });
        let mut phase = (progress.snapshot().phase, now());
        while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let (snapshot, now) = (progress.snapshot(), now());
            if snapshot.phase != phase.0 {
                phase = (snapshot.phase, now);
            }
            show(&shown(&snapshot, now - phase.1));
        }
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[expect(clippy::disallowed_methods, reason = "rates on the progress bar")]
fn now() -> Instant {
    Instant::now()
}

/// A snapshot as the meter shows it; `elapsed` since the phase began.
fn shown(snapshot: &Snapshot, elapsed: Duration) -> Shown {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.5 { (snapshot.done as f64 / seconds) as u64 } else { 0 };
    let left = snapshot.total.saturating_sub(snapshot.done);
    Shown {
        phase: snapshot.phase.text().to_owned(),
        done: snapshot.done,
        total: snapshot.total,
        disk_rate: rate,
        seconds_left: left.checked_div(rate).and_then(|seconds| seconds.try_into().ok()),
        ..Shown::default()
    }
}

fn tell_plan(plan: &Plan<'_>, to: &Path, json: bool) -> anyhow::Result<()> {
    let sum = |spans: &mut dyn Iterator<Item = u64>| spans.sum::<u64>();
    let zero = sum(&mut plan.zero.iter().map(|run| run.span.length));
    let free = sum(&mut plan.free.iter().map(|span| span.length));
    if json {
        return say_json(&serde_json::json!({
            "target": to, "minimum_target_size": plan.size, "to_fetch": plan.to_fetch(),
            "to_write": plan.to_write(), "zero": zero, "unallocated": free, "to_read_back": plan.to_check(),
        }));
    }
    say(format!("would write {} to {}", ByteSize(plan.to_write()), to.display()))?;
    say(format!("{} of it zeros; {} unallocated and not read back", ByteSize(zero), ByteSize(free)))?;
    say(format!("from {} of packs; the target must have {} bytes", ByteSize(plan.to_fetch()), plan.size))
}

fn tell(label: &str, restored: &Restored, free: FreeSpace, took: Duration, json: bool) -> anyhow::Result<()> {
    let decision = restored.decision.map(|decision| decision.to_string()).unwrap_or_default();
    if json {
        return say_json(&serde_json::json!({
            "bytes": restored.bytes, "equal": restored.equal, "decision": decision,
            "fetched": restored.fetched, "chunks_present": restored.present, "present": restored.present_bytes,
            "copied": restored.copied, "cells_read_back": restored.read_back, "rewritten": restored.rewritten,
            "free": free, "unallocated": restored.unallocated, "left_unallocated": restored.left,
            "seconds": took.as_secs_f64(),
        }));
    }
    if restored.equal {
        let (all, seconds) = (ByteSize(restored.bytes), took.as_secs_f64());
        return say(format!("{label}: already equal, nothing was written; {all} compared in {seconds:.1} s"));
    }
    let rate = restored.bytes as f64 / 1e6 / took.as_secs_f64().max(0.001);
    say(format!(
        "{label}: {} in {:.1} s ({rate:.0} MB/s), {}",
        ByteSize(restored.bytes),
        took.as_secs_f64(),
        proof(restored)
    ))?;
    say(decision)?;
    if restored.present_bytes + restored.copied > 0 {
        say(format!(
            "{} lay there already, {} were copied from elsewhere on it, {} of packs were fetched",
            ByteSize(restored.present_bytes),
            ByteSize(restored.copied),
            ByteSize(restored.fetched)
        ))?;
    }
    if restored.rewritten > 0 {
        say(format!(
            "warning: {} cells had to be written again: the disk may be failing",
            restored.rewritten
        ))?;
    }
    Ok(())
}

/// What is known of the target now, and of what nothing is.
fn proof(restored: &Restored) -> String {
    let zeroed = restored.unallocated.saturating_sub(restored.left);
    let free = match (zeroed, restored.left) {
        (0, 0) => return "every cell read back and compared".to_owned(),
        (zeroed, 0) => format!("{} unallocated in the image: zeroed, not read back", ByteSize(zeroed)),
        (0, left) => format!("{} unallocated in the image: old content left there", ByteSize(left)),
        (zeroed, left) => format!(
            "{} unallocated in the image: {} zeroed and not read back, old content left in {}",
            ByteSize(restored.unallocated),
            ByteSize(zeroed),
            ByteSize(left)
        ),
    };
    format!("{} allocated cells read back and compared; {free}", restored.read_back)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::restore::Phase;

    #[test]
    fn what_was_not_read_back_is_said() {
        let of = |unallocated, left| {
            proof(&Restored { bytes: 9 << 20, read_back: 5, unallocated, left, ..Restored::default() })
        };
        assert_eq!(of(0, 0), "every cell read back and compared");
        let some = "5 allocated cells read back and compared; 4.0 MiB unallocated in the image: ";
        assert_eq!(of(4 << 20, 0), format!("{some}zeroed, not read back"));
        assert_eq!(of(4 << 20, 4 << 20), format!("{some}old content left there"));
        let both = "1.0 MiB zeroed and not read back, old content left in 3.0 MiB";
        assert_eq!(of(4 << 20, 3 << 20), format!("{some}{both}"));
    }

    #[test]
    fn the_time_left_follows_from_the_rate_and_is_not_guessed_at_the_start() {
        let snapshot = Snapshot {
            phase: Phase::Writing,
            done: 200,
            total: 1000,
            fetched: 0,
            written: 200,
            present: 0,
            copied: 0,
            decision: None,
        };
        let after = |seconds| shown(&snapshot, Duration::from_secs(seconds));
        assert_eq!((after(2).disk_rate, after(2).seconds_left), (100, Some(8)));
        assert_eq!((after(0).disk_rate, after(0).seconds_left), (0, None));
    }
}
