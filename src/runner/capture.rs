//! Capture Image: which disk, its proof of rest, what is sent, what people are told meanwhile.
//!
//! Owns: what surrounds the capture engine. Must not know: the order in which the engine reads, how chunks are sent.

use std::cell::Cell;
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::attend::{Outage, attended};
use super::failure::{self, chain, failure};
use super::identity::{called, partition_node};
use super::link::Interrupted;
use super::perform::{Failed, Work};
use super::place::disk_numbered;
use super::rates::{Counters, Rates};
use crate::api::capture::{Capture, Made, StartCapture};
use crate::api::runner::{CaptureSource, DiskFacts, Done, Failure};
use crate::client::{HttpLibrary, Patience, SendError, Watch};
use crate::device::{DeviceError, Source};
use crate::image::capture::{
    self, CaptureError, Captured, Changed, Phase, Progress, Selection, Shape, ShapeError, Snapshot,
};
use crate::value::ByteSize;

/// A disk that was chosen.
pub(super) struct Chosen<'a> {
    pub disk: &'a DiskFacts,
    pub source: Source,
    pub shape: Shape,
}

impl Chosen<'_> {
    /// Node of the partition that was chosen, or of the disk.
    pub fn node(&self) -> String {
        let of = |number| partition_node(&self.disk.node, number);
        self.shape.partition().map_or_else(|| self.disk.node.clone(), of)
    }
}

/// Captures an image.
///
/// # Errors
/// [`Failed`] says whether the action failed or the runner shall stop.
pub fn capture(work: &Work<'_>, image: &str, source: CaptureSource) -> Result<Done, Failed> {
    let (base, client) = (
        format!("/runner/v1/runs/{}/captures/{}", work.run.run, work.number),
        work.client.with_patience(Patience::NONE),
    );
    let chosen = choose(&work.machine.disks, source)?;
    let Chosen { disk, source, shape } = &chosen;
    let serial = work.machine.serial.as_ref().map(ToString::to_string).unwrap_or_default();
    let start = StartCapture {
        source: format!("{serial} {}", called(disk)).trim().to_owned(),
        size: shape.size(),
        used: shape.used(),
    };
    let begun = work.link.persist("Beginning the capture", || client.post::<_, Capture>(&base, &start));
    let begun = begun.map_err(|interrupted| match interrupted {
        Interrupted::Refused(error) => {
            failure::of_client(&format!("the appliance does not take the capture of {image}"), &error).into()
        }
        left => Failed::Left(left),
    })?;
    // The appliance finished it, and the word of that was lost with a reset.
    if let Some(made) = begun.made {
        work.reporter.log(vec![format!("{} {} was captured before", made.image, made.version)]);
        return Ok(Done { nodes: vec![chosen.node()], ..Done::default() });
    }
    let mut lines = vec![format!(
        "capturing {} of {} in use from {} as {image}",
        ByteSize(shape.used()),
        ByteSize(shape.size()),
        called(disk)
    )];
    lines.extend(shape.warnings().iter().map(|warning| format!("warning: {warning}")));
    work.reporter.log(lines);
    let left = Cell::new(false);
    let result = HttpLibrary::with(&client, base, &Watch::default(), |library| {
        watched(work, library, source, shape, &left)
    });
    match result {
        _ if left.get() => Err(Failed::Left(Interrupted::Moved)),
        Err(error) => Err(of_capture(work, image, &error)),
        Ok(captured) => {
            work.reporter.log(vec![told(&captured)]);
            Ok(Done { nodes: vec![chosen.node()], ..Done::default() })
        }
    }
}

fn told(captured: &Captured<Made>) -> String {
    format!(
        "captured as {} {}: {} read, {} chunks sent ({}), {} added to the library; the disk did not change meanwhile",
        captured.made.image,
        captured.made.version,
        ByteSize(captured.read),
        captured.sent_chunks,
        ByteSize(captured.sent),
        ByteSize(captured.made.added)
    )
}

pub(super) fn choose(disks: &[DiskFacts], source: CaptureSource) -> Result<Chosen<'_>, Failure> {
    let (number, selection) = match source {
        CaptureSource::Macos => return choose_macos(disks),
        CaptureSource::Disk { disk } => (disk, Selection::Whole),
        CaptureSource::Partition { disk, partition } => (disk, Selection::Partition(partition)),
    };
    let disk = disk_numbered(disks, number).map_err(|error| failure::of_place(&error))?;
    let source = Source::open(Path::new(&disk.node)).map_err(|error| of_open(disk, &error))?;
    let shape = Shape::of(&source, selection).map_err(|error| of_shape(disk, &error))?;
    Ok(Chosen { disk, source, shape })
}

/// The one disk that has macOS.
fn choose_macos(disks: &[DiskFacts]) -> Result<Chosen<'_>, Failure> {
    let (mut found, mut without) = (Vec::new(), Vec::new());
    for disk in disks.iter().filter(|disk| disk.number.is_some()) {
        let source = Source::open(Path::new(&disk.node)).map_err(|error| of_open(disk, &error))?;
        match Shape::of(&source, Selection::Macos) {
            Ok(shape) => found.push(Chosen { disk, source, shape }),
            Err(error) => without.push(format!("{}: {}", called(disk), chain(&error))),
        }
    }
    let next = "Name disk and partition in the step.";
    match found.len() {
        1 => found.pop().ok_or_else(|| failure("no disk", "", next)),
        0 if without.is_empty() => {
            Err(failure("this Mac has no disk that may be captured", "", "Connect one."))
        }
        0 => Err(failure("macOS was not found on any disk of this Mac", without.join("; "), next)),
        _ => {
            let all: Vec<_> = found.iter().map(|chosen| called(chosen.disk)).collect();
            Err(failure("several disks of this Mac have macOS", all.join(", "), next))
        }
    }
}

fn of_open(disk: &DiskFacts, error: &DeviceError) -> Failure {
    let next = match error {
        DeviceError::InUse { .. } => "Restart this Mac: nothing may use the disk while it is captured.",
        _ => "Check the disk's cable and power.",
    };
    failure(format!("{} cannot be read", called(disk)), chain(error), next)
}

fn of_shape(disk: &DiskFacts, error: &ShapeError) -> Failure {
    let next = match error {
        ShapeError::NoPartition { .. } | ShapeError::NotOne { .. } | ShapeError::Scheme(_) => {
            "Correct the source in the step."
        }
        ShapeError::Table(_) => "Repair the partition table, or start macOS once so that it does.",
        ShapeError::Read(_) | ShapeError::Empty => "Check the disk; replace it if it stays.",
    };
    failure(format!("there is nothing to capture on {}", called(disk)), chain(error), next)
}

fn of_capture(work: &Work<'_>, image: &str, error: &CaptureError<SendError>) -> Failed {
    if let CaptureError::Library(SendError::Client(error)) = error {
        return failure::of_client(&format!("the capture of {image} did not come to its end"), error).into();
    }
    let cause = match error {
        _ if work.timed_out() => format!("capturing {image} took longer than the step's limit"),
        _ => format!("capturing {image} failed; no version was made"),
    };
    let next = match error {
        _ if work.timed_out() => "Raise the step's limit, or find what makes it slow.",
        CaptureError::Read { .. } | CaptureError::Changed(Changed::Read { .. }) => {
            "Check the disk; replace it if it stays."
        }
        CaptureError::Changed(Changed::Different { .. }) => {
            "Start a new run; if it stays, the disk or this Mac's memory does not keep what it holds."
        }
        CaptureError::Incomplete => "Look into the appliance's log, then start a new run.",
        CaptureError::Stopped | CaptureError::Library(SendError::Stopped) => "Start a new run.",
        _ => "Start a new run; what the library has already is not sent again.",
    };
    failure(cause, chain(error), next).into()
}

/// The capture, attended. `left`: a person named another appliance.
fn watched(
    work: &Work<'_>,
    library: &HttpLibrary<'_>,
    source: &Source,
    shape: &Shape,
    left: &Cell<bool>,
) -> Result<Captured<Made>, CaptureError<SendError>> {
    // More than processors: some wait for answers.
    let workers = thread::available_parallelism().map_or(4, usize::from).clamp(4, 8);
    let progress = Progress::default();
    let mut teller = Teller::new(work, shape.used());
    attended(
        work,
        library.watch(),
        &|| progress.stop(),
        left,
        &mut |outage| teller.tell(progress.snapshot(), outage),
        || capture::capture(source, shape, library, workers, &progress),
    )
}

/// Turns looks at the engine into news.
struct Teller<'a> {
    work: &'a Work<'a>,
    began: Instant,
    rates: Rates,
    used: u64,
    last: Option<Snapshot>,
    outage: Outage,
}

#[expect(clippy::disallowed_methods, reason = "the edge: rates need a clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

impl<'a> Teller<'a> {
    fn new(work: &'a Work<'a>, used: u64) -> Teller<'a> {
        Teller { work, began: now(), rates: Rates::default(), used, last: None, outage: Outage::default() }
    }

    fn tell(&mut self, seen: Snapshot, outage: Option<String>) {
        let at = now().duration_since(self.began);
        self.outage.tell(self.work, outage);
        let (done, total) = match seen.phase {
            Phase::Reading => (seen.read.min(self.used), self.used),
            Phase::Completing => seen.compared,
            Phase::Proving | Phase::Finishing => (0, 0),
        };
        let counters = Counters { done, total, network: seen.sent, disk: seen.read, after: 0 };
        let progress = self.rates.progress(at, seen.phase.text(), counters);
        let limit =
            self.last.replace(seen).and_then(|before| seen.limit(&before)).filter(|_| !self.outage.is_on());
        self.work.reporter.progress(progress, limit.map(str::to_owned));
    }
}
