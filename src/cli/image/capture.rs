//! `rootstock image capture`: the capture engine of the runner, on this machine.
//!
//! Owns: which disk and what of it, the meter, words about what was done. Must not know: what is read and sent in which order
//! (`image::capture`), how it is sent (`client`).

use std::collections::VecDeque;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::api::capture::{Capture as Begun, CreateCapture, Made};
use crate::api::runner::Progress as Shown;
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json};
use crate::cli::progress::Meter;
use crate::client::{HttpLibrary, SendError, Watch};
use crate::device::{Disk, Source};
use crate::image::capture::{self, CaptureError, Captured, Phase, Progress, Selection, Shape, Snapshot};
use crate::value::{ByteSize, Digest};

/// `rootstock image capture`
#[derive(Args, Debug)]
pub struct Capture {
    /// Disk, partition or raw file to read; nothing is written to it. Nothing may have it mounted
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    /// Name of the image; one that exists gets a new version
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Only this partition: the image is a bare volume
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["whole", "macos"])]
    partition: Option<u32>,
    /// The whole disk, partition table and all partitions included; this is the default
    #[arg(long, conflicts_with = "macos")]
    whole: bool,
    /// Only the volume with macOS on it and its Recovery partition, in a disk of their own
    #[arg(long)]
    macos: bool,
    /// A note for the version
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

/// How often the meter moves.
const TICK: Duration = Duration::from_millis(200);
/// Rates are taken over this long.
const WINDOW: Duration = Duration::from_secs(2);

/// Captures.
pub fn run(verb: Capture, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let from = verb.from.display();
    let path = verb.from.canonicalize().with_context(|| format!("opening {from}"))?;
    let source = Source::open(&path)?;
    let selection = match (verb.partition, verb.macos) {
        (Some(number), _) => Selection::Partition(number),
        (None, true) => Selection::Macos,
        (None, false) => Selection::Whole,
    };
    let shape = Shape::of(&source, selection).with_context(|| from.to_string())?;
    let mut meter = Meter::new(appliance.json);
    for warning in shape.warnings() {
        meter.note(&format!("warning: {warning}"));
    }
    let request = CreateCapture {
        name: verb.name.clone(),
        note: verb.note,
        source: describe(&path),
        size: shape.size(),
        used: shape.used(),
        resume: resume(&path, &verb.name, selection, shape.size()),
    };
    let begun: Begun = appliance.client.post("/api/v1/captures", &request)?;
    let label = format!("{from} to {}", verb.name);
    let base = format!("/api/v1/captures/{}", begun.id);
    let start = now();
    let result = HttpLibrary::with(&appliance.client, base, &Watch::default(), |library| {
        watched(library, &source, &shape, &mut |shown| meter.show(&label, Some(shown)))
    });
    meter.clear();
    let captured = result.map_err(|error| explain(error, &from.to_string()))?;
    tell(&captured, &source, &shape, start.elapsed(), appliance.json)?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::disallowed_methods, reason = "rates on the progress bar")]
fn now() -> Instant {
    Instant::now()
}

/// This machine and the disk, for people.
fn describe(path: &Path) -> String {
    let disk = Disk::at(path).map(|disk| format!("{} {}", disk.model, disk.serial)).unwrap_or_default();
    let text = format!("{}: {} {disk}", host(), path.display());
    text.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The same for the same disk, name and choice on this machine.
fn resume(path: &Path, name: &str, selection: Selection, size: u64) -> String {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_else(|_| host());
    let text = format!("{}\n{}\n{name}\n{selection}\n{size}", machine.trim(), path.display());
    Digest::of(text.as_bytes()).to_string()
}

fn explain(error: CaptureError<SendError>, from: &str) -> anyhow::Error {
    let next = match &error {
        CaptureError::Changed(_) => {
            "no version was made; unmount the disk, see that nothing writes to it, and capture again"
        }
        CaptureError::Read { .. } => "no version was made; check the disk",
        _ => "no version was made; run it again: what the library has already is not sent again",
    };
    anyhow::Error::from(error).context(format!("capturing {from}: {next}"))
}

fn watched(
    library: &HttpLibrary<'_>,
    source: &Source,
    shape: &Shape,
    show: &mut dyn FnMut(&Shown),
) -> Result<Captured<Made>, CaptureError<SendError>> {
    // More than processors: some wait for answers.
    let workers = thread::available_parallelism().map_or(4, NonZero::get).clamp(4, 16);
    let progress = Progress::default();
    thread::scope(|scope| {
        let (ended, end) = sync_channel::<()>(0);
        let engine = scope.spawn({
            let progress = &progress;
            move || {
                let result = capture::capture(source, shape, library, workers, progress);
                drop(ended);
                result
            }
        });
        let mut rates = Rates::default();
        while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            show(&rates.shown(progress.snapshot(), shape.used(), library.watch().outage(), now()));
        }
        engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Looks at the engine of the last two seconds.
#[derive(Default)]
struct Rates(VecDeque<(Instant, Snapshot)>);

impl Rates {
    fn shown(&mut self, seen: Snapshot, used: u64, outage: Option<String>, at: Instant) -> Shown {
        self.0.push_back((at, seen));
        while self.0.len() > 2 && at.duration_since(self.0[1].0) >= WINDOW {
            self.0.pop_front();
        }
        let (then, before) = self.0[0];
        let seconds = at.duration_since(then).as_secs_f64();
        let rate = |now: u64, then: u64| match seconds > 0.2 {
            true => (now.saturating_sub(then) as f64 / seconds) as u64,
            false => 0,
        };
        let (done, total) = match seen.phase {
            Phase::Reading => (seen.read.min(used), used),
            Phase::Completing => seen.compared,
            Phase::Proving | Phase::Finishing => (0, 0),
        };
        let disk_rate = rate(seen.read, before.read);
        let left = total.saturating_sub(done).checked_div(disk_rate).filter(|_| seen.phase == Phase::Reading);
        let phase = match (outage, seen.limit(&before)) {
            (Some(_), _) => format!("{}, waiting for the appliance", seen.phase.text()),
            (None, Some(limit)) => {
                let limit = limit.trim_end_matches('.');
                format!("{} ({})", seen.phase.text(), limit.replacen("The", "the", 1))
            }
            (None, None) => seen.phase.text().to_owned(),
        };
        Shown {
            phase,
            done,
            total,
            network: seen.sent,
            network_rate: rate(seen.sent, before.sent),
            disk_rate,
            seconds_left: left.and_then(|seconds| seconds.try_into().ok()),
            delta: None,
            limit: None,
        }
    }
}

fn tell(
    captured: &Captured<Made>,
    source: &Source,
    shape: &Shape,
    took: Duration,
    json: bool,
) -> anyhow::Result<()> {
    let Captured { made, sent_chunks, sent, read, .. } = captured;
    let proof = match source.is_held() {
        true => "nothing could mount the disk meanwhile, and it did not change",
        false => "the file did not change meanwhile",
    };
    if json {
        return say_json(&serde_json::json!({
            "image": made.image, "version": made.version, "manifest": made.manifest.to_string(),
            "size": shape.size(), "used": shape.used(), "read": read, "sent_chunks": sent_chunks, "sent": sent,
            "added": made.added, "sha256": captured.manifest.source().to_string(), "unchanged": true,
            "held": source.is_held(), "seconds": took.as_secs_f64(),
        }));
    }
    say(format!(
        "{} {}: {} with {} in use, {} sent in {:.1} s ({} chunks that the library lacked)",
        made.image,
        made.version,
        ByteSize(shape.size()),
        ByteSize(shape.used()),
        ByteSize(*sent),
        took.as_secs_f64(),
        sent_chunks
    ))?;
    say(proof)
}
