//! One assignment: which action, done how, reported as what.
//!
//! Must not know: where assignments come from.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::apply::{Image, apply};
use super::capture::capture;
use super::clock::now_ms;
use super::copy::copy;
use super::failure::{self, chain, failure};
use super::format::{erase_and_write, make_volume, plan};
use super::identity::{boot_id, called, partition_node};
use super::link::{Interrupted, Link};
use super::place::{disk_numbered, open_writable, partition_of, partition_place};
use super::receipt::ReceiptKey;
use super::report::Reporter;
use super::restart;
use super::script::{self, Ended, Script};
use super::share::save;
use super::startup::{self, BootPartition};
use super::variables::Folder;
use super::verify::verify;
use crate::api::runner::{
    Action, Destination, DeviceFacts, DiskFacts, Done, Failure, PartitionRequest, ReportEvent, RunTicket,
};
use crate::client::Client;
use crate::device::Device;

/// Everything that an action may need.
pub struct Work<'a> {
    /// Bears the run's token.
    pub client: &'a Client,
    /// News and orders.
    pub link: &'a Link,
    /// Reports on this assignment.
    pub reporter: &'a Reporter,
    /// This Mac.
    pub machine: &'a DeviceFacts,
    /// The run.
    pub run: &'a RunTicket,
    /// Number of the assignment.
    pub number: u32,
    /// Keys whose signature a manifest must bear.
    pub manifest_keys: &'a [String],
    /// Signs receipts.
    pub key: &'a ReceiptKey,
    /// Folder for scripts.
    pub state: &'a Path,
    /// Root of the file system that hardware is looked at in.
    pub root: &'a Path,
    /// When the step's limit is reached.
    pub deadline: Option<Instant>,
    /// The step's limit in seconds.
    pub limit: Option<u32>,
    /// What the action before this one came to, in this program's memory.
    pub finished: &'a RefCell<Option<Finished>>,
}

/// An action that has ended, and what is to be reported of it, in order. One that is handed out again, because the report did not
/// arrive or the appliance forgot it, is not done again: it is reported on again.
#[derive(Clone)]
pub struct Finished {
    run: i64,
    number: u32,
    reports: Vec<ReportEvent>,
}

/// Variables in one report: the appliance takes requests of up to 1 MiB.
const MOST_VALUES: usize = 8;

/// An action did not end well.
#[derive(Debug)]
pub enum Failed {
    /// Report this.
    Failure(Box<Failure>),
    /// A person wants something else than to wait.
    Left(Interrupted),
}

impl From<Interrupted> for Failed {
    fn from(interrupted: Interrupted) -> Failed {
        Failed::Left(interrupted)
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        Failed::Failure(Box::new(failure))
    }
}

/// What an assignment came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Ask for the next one.
    Next,
    /// Restart the machine now.
    Restart,
}

#[expect(clippy::disallowed_methods, reason = "the edge: steps have a time limit")]
fn now() -> Instant {
    Instant::now()
}

/// When a limit that begins now is reached.
pub fn deadline(limit: Option<u32>) -> Option<Instant> {
    now().checked_add(Duration::from_secs(limit?.into()))
}

impl Work<'_> {
    /// Whether the action shall end: the run was cancelled, or its limit is reached.
    pub fn stopped(&self) -> bool {
        self.reporter.stopped() || self.timed_out()
    }

    /// Whether the step's limit is reached.
    pub fn timed_out(&self) -> bool {
        self.deadline.is_some_and(|deadline| now() >= deadline)
    }
}

/// Does the action and reports its end.
///
/// # Errors
/// When the appliance does not take the report.
pub fn perform(work: &Work<'_>, action: &Action) -> Result<Outcome, Interrupted> {
    let before = work.finished.borrow().clone();
    match before.filter(|before| (before.run, before.number) == (work.run.run, work.number)) {
        Some(before) => {
            tracing::info!("action {} was done before; it is reported on again", work.number);
            tell_end(work, action, before.reports)
        }
        None => do_and_tell(work, action),
    }
}

fn do_and_tell(work: &Work<'_>, action: &Action) -> Result<Outcome, Interrupted> {
    let mut values = Vec::new();
    let result = match action {
        Action::FormatDisk { disk, partitions } => format_disk(work, *disk, partitions),
        Action::ApplyImage { manifest, image, source_partition, destination, chosen, free } => {
            let (manifest, partition, free) = (*manifest, *source_partition, *free);
            let chosen = chosen.as_ref();
            let image = Image { manifest, name: image, partition, destination, chosen, free };
            apply(work, image)
        }
        Action::CaptureImage { image, source, note: _ } => capture(work, image, *source),
        Action::CaptureToShare { image, source, share } => save(work, image, *source, share),
        Action::ExecuteScript { script, environment, success_codes, secrets, secret_names } => {
            let script = Script {
                text: script,
                environment,
                tool: &[],
                secrets,
                secret_names,
                set: None,
                limit: work.limit.map(|seconds| Duration::from_secs(seconds.into())),
            };
            execute(work, script, success_codes, &mut values)
        }
        Action::Restart => Ok(Done::default()),
        Action::VerifyImage { images } => verify(work, images),
        Action::CopyFiles { from, to, destination } => copy(work, from, to, destination),
        Action::SetStartupDisk { destination, required } => set_startup_disk(work, destination, *required),
        Action::OnMacos { act } => {
            let next = "Start the Mac from its disk; the agent on macOS does it.";
            let cause = "this step is done on macOS, and this is the boot environment";
            Err(failure(cause, act.title(), next).into())
        }
        Action::Unknown => {
            let next = "Build the boot files again with the version that the appliance runs.";
            Err(failure("this runner does not know the step's action", env!("CARGO_PKG_VERSION"), next)
                .into())
        }
    };
    let end = match result {
        Ok(done) => ReportEvent::Done(Box::new(done)),
        Err(Failed::Failure(failure)) => {
            work.link.tell(super::wizard::Told::StepFailed((*failure).clone()));
            ReportEvent::Failed(*failure)
        }
        Err(Failed::Left(interrupted)) => return Err(interrupted),
    };
    let set = values.chunks(MOST_VALUES).map(|values| ReportEvent::Variables { values: values.to_vec() });
    let reports: Vec<ReportEvent> = set.chain([end]).collect();
    let finished = Finished { run: work.run.run, number: work.number, reports: reports.clone() };
    work.finished.replace(Some(finished));
    tell_end(work, action, reports)
}

fn tell_end(work: &Work<'_>, action: &Action, reports: Vec<ReportEvent>) -> Result<Outcome, Interrupted> {
    let done = matches!(reports.last(), Some(ReportEvent::Done(_)));
    if !done || !matches!(action, Action::Restart) {
        return tell(work, reports).map(|()| Outcome::Next);
    }
    // From the report on, the appliance takes it for done.
    restart::promise(work.state, &boot_id(work.root));
    match tell(work, reports) {
        Ok(()) => Ok(Outcome::Restart),
        Err(interrupted) => {
            restart::forget_promise(work.state);
            Err(interrupted)
        }
    }
}

fn tell(work: &Work<'_>, reports: Vec<ReportEvent>) -> Result<(), Interrupted> {
    for report in reports {
        match report {
            ReportEvent::Variables { .. } => work.reporter.must_send(work.link, report)?,
            end => work.reporter.finish(work.link, end)?,
        }
    }
    Ok(())
}

fn format_disk(work: &Work<'_>, number: u32, partitions: &[PartitionRequest]) -> Result<Done, Failed> {
    let disk = disk_numbered(&work.machine.disks, number).map_err(|error| failure::of_place(&error))?;
    let path = Path::new(&disk.node);
    let of_open = |error: std::io::Error| failure::of_open(&disk.node, &error);
    let mut file = open_writable(path).map_err(of_open)?;
    let size = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(of_open)?;
    let plan =
        plan(size, disk.block_size, partitions).map_err(|error| failure::of_plan(&disk.node, &error))?;
    let mut lines = vec![format!("partitioning {}", called(disk))];
    lines.extend(plan.lines());
    work.reporter.log(lines);
    erase_and_write(&mut file, &plan, Uuid::new_v4).map_err(|error| failure::of_table(&disk.node, &error))?;
    drop(file);
    reread(disk)?;
    for slot in &plan.slots {
        check_time(work)?;
        let place = partition_place(disk, slot.number).map_err(|error| failure::of_place(&error))?;
        let now = u64::try_from(now_ms() / 1000).unwrap_or(0);
        make_volume(&place, slot.kind, &slot.name, now)
            .map_err(|error| failure::of_volume(&slot.name, &error))?;
        work.reporter.log(vec![format!("partition {} `{}` is ready", slot.number, slot.name)]);
    }
    let nodes = plan.slots.iter().skip(1).map(|slot| partition_node(&disk.node, slot.number)).collect();
    Ok(Done { nodes, ..Done::default() })
}

/// Best effort: what does not work is a warning, unless the step says otherwise.
fn set_startup_disk(work: &Work<'_>, destination: &Destination, required: bool) -> Result<Done, Failed> {
    let (disk, number) =
        partition_of(destination, &work.machine.disks).map_err(|error| failure::of_place(&error))?;
    let told = boot_partition(disk, number)
        .map_err(|error| chain(&error))
        .and_then(|partition| startup::set(work.root, &partition).map_err(|error| chain(&error)));
    let what = format!("partition {number} of {}", called(disk));
    match told {
        Ok(()) => {
            work.reporter.log(vec![format!(
                "{what} is the startup disk in NVRAM; whether the firmware follows it shows at the next start"
            )]);
            Ok(Done::default())
        }
        Err(why) if required => {
            let next = "Choose the startup disk on the Mac (hold Option at its start), or leave `required` out of the step.";
            Err(failure(format!("the firmware was not told to start {what}"), why, next).into())
        }
        Err(why) => {
            let warning = format!("the firmware was not told to start {what}: {why}");
            work.reporter.log(vec![format!("warning: {warning}")]);
            Ok(Done { warning: Some(warning), ..Done::default() })
        }
    }
}

fn boot_partition(disk: &DiskFacts, number: u32) -> std::io::Result<BootPartition> {
    let mut file = std::fs::File::open(&disk.node)?;
    let table =
        gptman::GPT::read_from(&mut file, u64::from(disk.block_size)).map_err(std::io::Error::other)?;
    let known = (1..=table.header.number_of_partition_entries).contains(&number) && table[number].is_used();
    if !known {
        return Err(std::io::Error::other(format!("the partition table has no partition {number}")));
    }
    let entry = &table[number];
    Ok(BootPartition {
        number,
        first_block: entry.starting_lba,
        blocks: entry.size().map_err(std::io::Error::other)?,
        guid: Uuid::from_bytes_le(entry.unique_partition_guid),
    })
}

fn reread(disk: &DiskFacts) -> Result<(), Failure> {
    let device = Device::open(Path::new(&disk.node), 0);
    device.and_then(|device| device.reread_partitions()).map_err(|error| {
        let cause = format!("the kernel did not take the new partition table of {}", disk.node);
        failure(cause, chain(&error), "Restart this Mac and try again.")
    })
}

fn check_time(work: &Work<'_>) -> Result<(), Failure> {
    if work.timed_out() {
        let evidence = format!("the limit is {} seconds", work.limit.unwrap_or_default());
        return Err(failure(
            "formatting took longer than the step's limit",
            evidence,
            "Raise the step's limit.",
        ));
    }
    if work.reporter.stopped() {
        return Err(failure("formatting was stopped because the run was cancelled", "", "Start a new run."));
    }
    Ok(())
}

/// What the script set is put into `values`, whatever its end.
fn execute(
    work: &Work<'_>,
    script: Script<'_>,
    success_codes: &[i32],
    values: &mut Vec<(String, String)>,
) -> Result<Done, Failed> {
    let of_variables = |error: std::io::Error| {
        failure("the script's variables could not be kept", chain(&error), "Restart this Mac and try again.")
    };
    let variables = Folder::make(work.state, script.environment).map_err(of_variables)?;
    let set = variables.of_set();
    let script = Script { tool: &variables.environment(), set: Some(&set), ..script };
    // Its time limit does not wait for an appliance that does not answer, nor a word to stop for what it says.
    let (folder, reporter) = (work.state, work.reporter);
    let ended = reporter
        .beside(|| script::run(script, folder, |lines| reporter.keep(lines), || reporter.stopped()))
        .map_err(|error| failure::of_script(&error));
    values.extend(variables.set().map_err(of_variables)?);
    let ended = ended?;
    let codes = if success_codes.is_empty() { &[0] } else { success_codes };
    match ended {
        Ended::Exit(code) if codes.contains(&code) => Ok(Done { exit_code: Some(code), ..Done::default() }),
        other => Err(failure::of_ended(other, codes, work.limit).into()),
    }
}
