//! What a run would do on a certain Mac: every step with run or skip and why, resolved properties, what is asked, what is
//! erased, bytes to move, a guess at the time, and findings, red where the run would not do what it should.

use std::collections::BTreeMap;

use serde::Serialize;

use super::finding::{PlanCode, PlanFinding, Severity};
use super::{Asked, CannotRehearse, Mishaps, as_in_fields, rehearse, seconds_for};
use crate::sequence::capture::saved_as;
use crate::sequence::check::{self, Surroundings};
use crate::sequence::macos::CommandLine;
use crate::sequence::model::{Kind, Sequence, Step};
use crate::sequence::name::VariableName;
use crate::sequence::program::{Others, Program};
use crate::sequence::quantity::PartitionSize;
use crate::sequence::run::act::{Act, MacosAct, Target};
use crate::sequence::run::event::{Event, PinnedImage, Start};
use crate::sequence::run::{Outcome, Run, StepState, images_wanted};
use crate::sequence::uses;
use crate::sequence::variable::{BootMethod, Facts, MASK, Scope};
use crate::value::{Digest, Pick, Rings};

/// What is planned, for whom.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Sequences that it may run.
    pub others: Others,
    /// The Mac.
    pub facts: Facts,
    /// Variables of its collections.
    pub collection: Scope,
    /// Of those, the ones that collections of the same priority give different values: the collection whose value is in force, and
    /// the others.
    pub ties: Vec<(VariableName, String, Vec<String>)>,
    /// Its variables.
    pub device: Scope,
    /// Images of the library by name; none: not known here.
    pub library: Option<BTreeMap<String, KnownImage>>,
}

/// An image as the plan needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownImage {
    /// Bytes of each version.
    pub versions: BTreeMap<u32, u64>,
    /// Where its rings point.
    pub rings: Rings,
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Name of the sequence.
    pub sequence: String,
    /// `os-deployment` or `non-os`: found by looking at the steps.
    pub kind: &'static str,
    /// Every step, those of sequences that it runs included.
    pub steps: Vec<PlannedStep>,
    /// Variables that a person is asked for, with the step before which, from 1.
    pub asks: Vec<(u32, String)>,
    /// Steps, from 1, for whose image a person is asked to select a partition: what is erased there is not known before.
    pub asks_destination: Vec<u32>,
    /// Numbers of the disks on which something is lost.
    pub erases: Vec<u32>,
    /// Bytes of images that are written; an image that is not known counts nothing.
    pub bytes: u64,
    /// Guessed seconds.
    pub seconds: u64,
    /// What is wrong.
    pub findings: Vec<PlanFinding>,
}

/// One step of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// From 1.
    pub step: u32,
    /// Where it stands.
    pub place: String,
    /// Its name.
    pub name: String,
    /// Groups around it, outermost first.
    pub groups: Vec<String>,
    /// Its type.
    pub kind: &'static str,
    /// Where: `runner`, `macos`, or `appliance`.
    pub phase: &'static str,
    /// Whether it is done: `run`, `skip`, `fails` (it cannot begin) or `not-reached`.
    pub does: &'static str,
    /// Why not.
    pub why: String,
    /// Its properties with variables filled in.
    pub properties: Vec<(String, String)>,
    /// Bytes that it writes.
    pub bytes: u64,
    /// Guessed seconds.
    pub seconds: u64,
}

impl Plan {
    /// Whether a red finding stands.
    pub fn is_red(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Red)
    }
}

/// Plans a run of `sequence`.
///
/// # Errors
/// When the run does not come to an end; what is wrong with sequence and Mac are findings.
pub fn plan(sequence: &Sequence, input: &Input) -> Result<Plan, CannotRehearse> {
    let mut findings = checked(sequence, input);
    let empty = |findings| Plan {
        sequence: sequence.name.clone(),
        kind: "",
        steps: Vec::new(),
        asks: Vec::new(),
        asks_destination: Vec::new(),
        erases: Vec::new(),
        bytes: 0,
        seconds: 0,
        findings,
    };
    let Ok(program) = Program::of(sequence, &input.others) else { return Ok(empty(findings)) };
    let pins = pins(&program, input, &mut findings);
    let sizes: BTreeMap<String, u64> =
        pins.iter().map(|(pin, bytes)| (format!("{} {}", pin.name, pin.version), *bytes)).collect();
    let start = Start {
        sequence: sequence.clone(),
        facts: input.facts.clone(),
        collection: input.collection.clone(),
        device: input.device.clone(),
        images: pins.into_iter().map(|(pin, _)| pin).collect(),
        others: input.others.clone(),
        by: None,
        unattended: false,
    };
    let bytes = |act: &Act| match act {
        Act::ApplyImage { image, .. } => sizes.get(image).copied().unwrap_or(0),
        // Read, not written; counted for the time.
        Act::VerifyImage(applied) => {
            applied.iter().map(|one| sizes.get(&one.image).copied().unwrap_or(0)).sum()
        }
        _ => 0,
    };
    let mut resolved: BTreeMap<u32, Vec<(String, String)>> = BTreeMap::new();
    let watch = |run: &Run, event: &Event| {
        if let Some(step) = event.step() {
            resolved.entry(step).or_insert_with(|| properties(run, run.program().step(step as usize - 1)));
        }
    };
    let everything_well = Mishaps { answer_anything: true, ..Mishaps::default() };
    let done = rehearse(start, &everything_well, watch, bytes)?;
    let acts: BTreeMap<u32, &Act> = done.acts.iter().map(|act| (act.step, &act.act)).collect();
    let mut steps = Vec::new();
    for (index, (step, record)) in done.run.steps().enumerate() {
        let number = index as u32 + 1;
        let act = acts.get(&number).copied();
        let moved = act.map_or(0, &bytes);
        let mut properties = resolved.remove(&number).unwrap_or_default();
        properties.extend(act.map(of_act).unwrap_or_default());
        properties.iter_mut().for_each(|(_, value)| *value = as_in_fields(value));
        let (does, why) = match record.state {
            StepState::Succeeded | StepState::Running => ("run", String::new()),
            StepState::Skipped => ("skip", record.why.clone().unwrap_or_default()),
            StepState::Failed => {
                ("fails", record.failure.as_ref().map(|failure| failure.cause.clone()).unwrap_or_default())
            }
            StepState::Pending => ("not-reached", String::new()),
        };
        steps.push(PlannedStep {
            step: number,
            place: program.step_item(index).place.as_ref().map(ToString::to_string).unwrap_or_default(),
            name: step.name.clone(),
            groups: program.groups_around(index).into_iter().map(str::to_owned).collect(),
            kind: step.kind.title(),
            phase: phase(&step.kind),
            does,
            why: as_in_fields(&done.run.masked(&why)),
            properties,
            bytes: if matches!(act, Some(Act::VerifyImage(_))) { 0 } else { moved },
            seconds: act.map_or(0, |act| seconds_for(act, moved)),
        });
    }
    // On a live macOS it fails for the reason that was found before.
    let elsewhere = findings.iter().any(|finding| finding.code == PlanCode::OnLiveMacos.as_str());
    if done.outcome() == Some(Outcome::Failed) && !elsewhere {
        let message = as_in_fields(&done.run.masked(done.run.message().unwrap_or_default()));
        findings.push(PlanFinding::of(Severity::Red, PlanCode::CannotRun, "", message));
    }
    let value = |(step, asked): &(u32, Asked)| match asked {
        Asked::Value(name) => Some((*step, name.as_str().to_owned())),
        Asked::Destination(_) => None,
    };
    let asks: Vec<(u32, String)> = done.asked.iter().filter_map(value).collect();
    if input.facts.boot == BootMethod::Macos && !asks.is_empty() && !elsewhere {
        let names: Vec<&str> = asks.iter().map(|(_, name)| name.as_str()).collect();
        let message = format!(
            "a Required deployment cannot ask on a live macOS, so its run would fail before the first step: give the Mac or its \
             collection values of {}",
            names.join(", ")
        );
        findings.push(PlanFinding::of(Severity::Yellow, PlanCode::CannotAsk, "", message));
    }
    let doing = (0..program.len()).filter(|index| acts.contains_key(&(*index as u32 + 1)));
    let erases = crate::sequence::tree::erased_by(doing.map(|index| &program.step(index).kind));
    let destination = |(_, asked): &(u32, Asked)| match asked {
        Asked::Value(_) => None,
        Asked::Destination(step) => Some(*step),
    };
    findings.sort_by_key(|finding| finding.severity);
    Ok(Plan {
        kind: if program.deploys_an_os() { "os-deployment" } else { "non-os" },
        asks,
        asks_destination: done.asked.iter().filter_map(destination).collect(),
        erases,
        bytes: steps.iter().map(|step| step.bytes).sum(),
        seconds: steps.iter().map(|step| step.seconds).sum(),
        steps,
        ..empty(findings)
    })
}

/// Where a step is done.
fn phase(kind: &Kind) -> &'static str {
    match kind {
        Kind::Notify(_) | Kind::SetVariables(_) | Kind::WaitForTechnician(_) | Kind::RunSequence(_) => {
            "appliance"
        }
        kind if kind.needs_macos() => "macos",
        _ => "runner",
    }
}

/// What the check finds, and what cannot be on this Mac.
fn checked(sequence: &Sequence, input: &Input) -> Vec<PlanFinding> {
    let names = || input.collection.iter().chain(&input.device);
    let library = input.library.as_ref().map(|library| {
        let known = |image: &KnownImage| check::KnownImage {
            versions: image.versions.keys().copied().collect(),
            rings: image.rings,
        };
        library.iter().map(|(name, image)| (name.clone(), known(image))).collect()
    });
    let around = Surroundings {
        images: library,
        variables: names().map(|(name, _)| name.clone()).collect(),
        secrets: names().filter(|(_, value)| value.secret).map(|(name, _)| name.clone()).collect(),
        others: Some(input.others.clone()),
    };
    let mut findings: Vec<PlanFinding> = check::check(sequence, &around)
        .into_iter()
        .map(|finding| PlanFinding {
            severity: Severity::Red,
            code: finding.code.to_string(),
            place: finding.path,
            message: finding.message,
        })
        .collect();
    if sequence.disabled {
        let message = "the sequence is disabled: it starts nowhere".to_owned();
        findings.push(PlanFinding::of(Severity::Red, PlanCode::Disabled, "", message));
    }
    // What the Mac itself or the sequence sets stands above every collection.
    for (name, winner, others) in input.ties.iter().filter(|(name, ..)| !input.device.contains_key(name)) {
        let message = format!(
            "{name} has different values in {winner} and {}, which have the same priority: that of {winner} is taken, by its name; \
             give one of them a higher priority",
            others.join(", ")
        );
        findings.push(PlanFinding::of(Severity::Yellow, PlanCode::VariableTie, "", message));
    }
    let Ok(program) = Program::of(sequence, &input.others) else { return findings };
    for index in 0..program.len() {
        let (item, step) = (program.step_item(index), program.step(index));
        let place = item.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let bound = step.kind.is_of_os_deployment() || step.kind.needs_boot_environment();
        if input.facts.boot == BootMethod::Macos && bound {
            let why = match step.kind.is_of_os_deployment() {
                true => "brings an operating system: it never starts on a live macOS",
                false => "needs the boot environment: it cannot be done on a live macOS",
            };
            let message = format!("`{}` {why}", step.name);
            findings.push(PlanFinding::of(Severity::Red, PlanCode::OnLiveMacos, &place, message));
        }
        let Kind::FormatDisk(format) = &step.kind else { continue };
        let fixed = format.partitions.iter().map(|partition| match partition.size {
            PartitionSize::Bytes(bytes) => bytes,
            PartitionSize::Percent(_) => 0,
        });
        let need = fixed.fold(200 << 20, u64::saturating_add);
        if let Some(has) =
            input.facts.disk0_size.filter(|has| format.disk == 0 && need > *has && !item.left_out)
        {
            let message = format!(
                "the partitions of disk 0 need {need} bytes with the EFI System Partition, the disk has {has}"
            );
            findings.push(PlanFinding::of(Severity::Red, PlanCode::DiskTooSmall, &place, message));
        }
    }
    findings
}

/// The images that the run would be pinned to, with their sizes.
fn pins(program: &Program, input: &Input, findings: &mut Vec<PlanFinding>) -> Vec<(PinnedImage, u64)> {
    let wanted = match images_wanted(program, &input.facts, &input.collection, &input.device) {
        Ok(wanted) => wanted,
        Err((step, why)) => {
            let message = format!("step `{step}` cannot be prepared: {why}");
            findings.push(PlanFinding::of(Severity::Red, PlanCode::UnknownImage, "", message));
            return Vec::new();
        }
    };
    let mut pins: Vec<(PinnedImage, u64)> = Vec::new();
    for image in wanted {
        let pin = |version: u32| PinnedImage {
            manifest: Digest::of(format!("{} {version}", image.name).as_bytes()),
            name: image.name.clone(),
            asked: image.pick.version(),
            ring: image.pick.ring(),
            version,
        };
        let Some(library) = &input.library else {
            pins.push((pin(image.pick.version().unwrap_or(0)), 0));
            continue;
        };
        let known = library.get(&image.name);
        let found = known.and_then(|known| {
            let version = image.pick.of(&known.rings, known.versions.keys().copied())?;
            Some((version, known.versions.get(&version).copied()?))
        });
        match found {
            Some((version, bytes)) => pins.push((pin(version), bytes)),
            None => {
                let asked = match image.pick {
                    Pick::Usual => String::new(),
                    pick => format!(" {pick}"),
                };
                let message = format!(
                    "step `{}` {} the image {}{asked}, which is not in the library: a run is refused before anything is erased",
                    image.step,
                    if image.certain { "applies" } else { "may apply" },
                    image.name
                );
                let finding = PlanFinding::of(Severity::Red, PlanCode::UnknownImage, "", message);
                // The check has found it where the name is written out.
                if !findings.iter().any(|known| {
                    known.code == PlanCode::UnknownImage.as_str() && known.severity == Severity::Red
                }) {
                    findings.push(finding);
                }
            }
        }
    }
    pins
}

/// Texts of a step with variables filled in, as people may see them.
fn properties(run: &Run, step: &Step) -> Vec<(String, String)> {
    let mut variables = run.variables().clone();
    let mut all = Vec::new();
    if let Kind::FormatDisk(format) = &step.kind {
        all.push(("disk".to_owned(), format.disk.to_string()));
        for partition in &format.partitions {
            let name = variables.expand(&partition.name).map(|value| value.shown().to_owned());
            let name = name.unwrap_or_else(|error| error.to_string());
            let format = serde_json::to_value(partition.format).ok();
            let format = format.as_ref().and_then(|format| format.as_str()).unwrap_or_default().to_owned();
            all.push(("partition".to_owned(), format!("{name}, {format}, {}", partition.size)));
        }
        return all;
    }
    for (index, (field, text)) in uses::texts(&step.kind).into_iter().enumerate() {
        let value = variables.expand(text);
        if let (Kind::SetVariables(set), Ok(value)) = (&step.kind, &value) {
            let mut value = value.clone();
            value.secret |= set[index].secret;
            all.push((set[index].name.as_str().to_owned(), value.shown().to_owned()));
            variables.set(set[index].name.clone(), value);
            continue;
        }
        let shown = match uses::is_secret_field(&field) {
            true => MASK.to_owned(),
            false => value.map_or_else(|error| error.to_string(), |value| value.shown().to_owned()),
        };
        all.push((field, shown));
    }
    if let Kind::ExecuteScript(script) = &step.kind {
        let interpreter = script.script.lines().next().unwrap_or_default();
        all.push(("script".to_owned(), format!("{} bytes, {interpreter}", script.script.len())));
    }
    all
}

fn of_act(act: &Act) -> Vec<(String, String)> {
    match act {
        Act::ApplyImage { image, target, .. } => {
            vec![("version".to_owned(), image.clone()), ("destination".to_owned(), place(target))]
        }
        Act::CaptureImage { source, .. } => vec![
            ("source".to_owned(), source.to_string()),
            ("destination".to_owned(), "the library of this appliance".to_owned()),
        ],
        Act::CaptureToShare { image, source, share } => {
            let need = "twice what is in use on the source and its Recovery".to_owned();
            vec![
                ("source".to_owned(), source.to_string()),
                ("file".to_owned(), saved_as(image, share)),
                ("as".to_owned(), share.account.to_string()),
                ("free space that the share needs".to_owned(), need),
            ]
        }
        Act::VerifyImage(applied) => {
            applied.iter().map(|one| (one.image.clone(), place(&one.target))).collect()
        }
        Act::CopyFiles { target, .. } | Act::SetStartupDisk { target, .. } => {
            vec![("volume".to_owned(), place(target))]
        }
        Act::OnMacos(act) => match &**act {
            MacosAct::Install { program, .. } => vec![("how".to_owned(), of_program(program))],
            MacosAct::JoinDomain { ou, .. } if !ou.is_empty() => vec![("ou".to_owned(), ou.clone())],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn place(target: &Target) -> String {
    match target {
        Target::Node(node) => node.clone(),
        Target::Partition { disk, partition } => format!("partition {partition} of disk {disk}"),
        Target::Chosen(chosen) => chosen.described.clone(),
    }
}

fn of_program(program: &CommandLine) -> String {
    match program {
        CommandLine::Command { line } => format!("runs {line}"),
        CommandLine::Copy { source, destination } => format!("copies {source} to {destination}"),
        CommandLine::Installer { package } => format!("installs {package}"),
    }
}
