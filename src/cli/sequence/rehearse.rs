//! `rootstock sequence plan` and `simulate`: what a run would do, without a Mac.
//!
//! With a file and `--facts` nothing is asked of an appliance; else sequence, device, variables and images are its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

use super::{read, segment};
use crate::api::admin;
use crate::api::runner::BootMethod;
use crate::cli::connection::Appliance;
use crate::cli::device::find;
use crate::cli::output::{Table, printable, say, say_json, span};
use crate::sequence::model::{Kind, Sequence};
use crate::sequence::name::VariableName;
use crate::sequence::program::{Others, Program};
use crate::sequence::rehearsal::{Input, KnownImage, Mishaps, Plan, Severity, Which, plan, rehearse};
use crate::sequence::run::event::{PinnedImage, Start};
use crate::sequence::run::{Outcome, Question, images_wanted};
use crate::sequence::variable::{self, Facts, MASK, Value};
use crate::value::{ByteSize, Digest};

/// What is rehearsed, and for which Mac.
#[derive(Args, Debug)]
pub struct What {
    /// YAML file, or name of a sequence of the appliance
    sequence: String,
    /// A Mac that the appliance knows: its serial number, or its number
    #[arg(long, value_name = "SERIAL", required_unless_present = "facts", conflicts_with = "facts")]
    device: Option<String>,
    /// JSON file that describes a Mac, as `rootstock device show --json` prints it, or
    /// {"serial", "model", "uuid", "mac", "memory", "disk0_size", "boot"}
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// YAML or JSON file with variables of the Mac: NAME: VALUE, or NAME: {value: …, secret: true}; above the device's own
    #[arg(long, value_name = "FILE")]
    vars: Option<PathBuf>,
    /// YAML file of a sequence that this one runs
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
}

/// `rootstock sequence plan`
#[derive(Args, Debug)]
pub struct PlanRun {
    #[command(flatten)]
    what: What,
}

/// `rootstock sequence simulate`
#[derive(Args, Debug)]
pub struct Simulate {
    #[command(flatten)]
    what: What,
    /// A step that fails, by name or number: `Step`, or `Step=exit 3`
    #[arg(long, value_name = "STEP")]
    fail: Vec<String>,
    /// What a person answers when the run asks for a variable
    #[arg(long, value_name = "VAR=VALUE")]
    answer: Vec<String>,
    /// Where an image goes when the run asks, in the order of asking: `0:2` is partition 2 of disk 0
    #[arg(long, value_name = "DISK:PARTITION")]
    destination: Vec<String>,
    /// A step during which the Mac is started anew
    #[arg(long, value_name = "STEP")]
    reboot_at: Vec<String>,
    /// A step at which the appliance is started anew
    #[arg(long, value_name = "STEP")]
    server_restart_at: Vec<String>,
}

/// A variable in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Plain(String),
    Whole {
        value: String,
        #[serde(default)]
        secret: bool,
    },
}

/// Plans. Exit code 2 when a red finding stands.
pub fn plan_run(verb: PlanRun, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (sequence, input) = verb.what.gather(appliance)?;
    let plan = plan(&sequence, &input)?;
    if appliance.json {
        say_json(&plan)?;
    } else {
        print(&plan)?;
    }
    Ok(if plan.is_red() { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// Simulates. Exit code 1 when the run would fail or wait for ever.
pub fn simulate(verb: Simulate, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mishaps = verb.mishaps()?;
    let (sequence, input) = verb.what.gather(appliance)?;
    let program = Program::of(&sequence, &input.others)?;
    let wanted = images_wanted(&program, &input.facts, &input.collection, &input.device)
        .map_err(|(step, why)| anyhow::anyhow!("step `{step}` cannot be prepared: {why}"))?;
    // Which version is meant makes no difference to how a run goes.
    let images = wanted.into_iter().map(|image| PinnedImage {
        manifest: Digest::of(image.name.as_bytes()),
        name: image.name,
        asked: image.pick.version(),
        ring: image.pick.ring(),
        version: image.pick.version().unwrap_or(1),
    });
    let start = Start {
        sequence,
        facts: input.facts,
        collection: input.collection,
        device: input.device,
        images: images.collect(),
        others: input.others,
        by: None,
        unattended: false,
    };
    let done = rehearse(start, &mishaps, |_, _| {}, |_| 0)?;
    let ended = done.outcome();
    if appliance.json {
        let line = |(at_ms, subject, kind, detail)| serde_json::json!({"at_ms": at_ms, "kind": kind, "step": subject as Option<String>, "detail": detail as String});
        let events: Vec<_> = done.lines().into_iter().map(line).collect();
        let outcome = ended.map(|outcome| format!("{outcome:?}").to_lowercase());
        let waits_for = done.waits_for.as_ref().map(Question::line);
        say_json(
            &serde_json::json!({"events": events, "outcome": outcome, "waits_for": waits_for, "server_restarts": done.server_restarts}),
        )?;
    } else {
        for (at_ms, subject, kind, detail) in done.lines() {
            let seconds = u64::try_from(at_ms / 1000).unwrap_or(0);
            let subject = subject.map(|subject| format!(" [{}]", printable(&subject))).unwrap_or_default();
            say(format!("{:>4}:{:02}{subject} {kind}: {}", seconds / 60, seconds % 60, printable(&detail)))?;
        }
        for _ in 0..done.server_restarts {
            say("the appliance was started anew: the run that was read from its record is the same")?;
        }
        match (&done.waits_for, done.run.message()) {
            (Some(question @ Question::Destination { .. }), _) => {
                say(format!("{}: select it with --destination DISK:PARTITION", question.line()))?
            }
            (Some(question), _) => say(format!("{}: give it with --answer VAR=VALUE", question.line()))?,
            (None, message) => {
                say(format!("{}: {}", word(ended), printable(&done.run.masked(message.unwrap_or_default()))))?
            }
        }
    }
    Ok(if ended == Some(Outcome::Succeeded) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn word(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Succeeded) => "succeeded",
        Some(Outcome::Failed) => "failed",
        Some(Outcome::Cancelled) => "cancelled",
        None => "waits",
    }
}

impl Simulate {
    fn mishaps(&self) -> anyhow::Result<Mishaps> {
        let failure = |text: &String| -> anyhow::Result<(Which, Option<i32>)> {
            let Some((step, how)) = text.rsplit_once('=') else { return Ok((Which::new(text), None)) };
            let code = how.trim().strip_prefix("exit").map(str::trim);
            let code = code.and_then(|code| code.parse().ok());
            let code = code.with_context(|| format!("--fail {text:?}: say \"STEP\", or \"STEP=exit 3\""))?;
            Ok((Which::new(step), Some(code)))
        };
        let answer = |text: &String| -> anyhow::Result<(VariableName, String)> {
            let (name, value) =
                text.split_once('=').with_context(|| format!("--answer {text:?}: say VAR=VALUE"))?;
            Ok((name.parse()?, value.to_owned()))
        };
        Ok(Mishaps {
            failures: self.fail.iter().map(failure).collect::<Result<_, _>>()?,
            reboots: self.reboot_at.iter().map(|step| Which::new(step)).collect(),
            server_restarts: self.server_restart_at.iter().map(|step| Which::new(step)).collect(),
            answers: self.answer.iter().map(answer).collect::<Result<_, _>>()?,
            destinations: self.destination.iter().map(|text| partition(text)).collect::<Result<_, _>>()?,
            answer_anything: false,
        })
    }
}

/// `0:2`
pub(in crate::cli) fn partition(text: &str) -> anyhow::Result<(u32, u32)> {
    let numbers = text.split_once(':').and_then(|(disk, partition)| {
        Some((disk.trim().parse().ok()?, partition.trim().parse().ok().filter(|partition| *partition > 0)?))
    });
    numbers.with_context(|| format!("{text:?}: say DISK:PARTITION, `0:2` is partition 2 of disk 0"))
}

impl What {
    fn gather(&self, appliance: &Appliance) -> anyhow::Result<(Sequence, Input)> {
        let is_file = Path::new(&self.sequence).exists() || self.sequence == "-";
        let offline = is_file && self.facts.is_some();
        let text = match is_file {
            true => read(Path::new(&self.sequence))?,
            false => of_appliance(appliance, &self.sequence)?,
        };
        let sequence = Sequence::from_yaml(&text).with_context(|| self.sequence.clone())?;
        let mut input = Input::default();
        for path in &self.with {
            let other = Sequence::from_yaml(&read(path)?).with_context(|| path.display().to_string())?;
            input.others.insert(other.name.clone(), other);
        }
        match (&self.device, &self.facts) {
            (Some(device), _) => {
                let device = find(appliance, device)?;
                input.facts = facts_of(&device);
                let scope: admin::DeviceScope =
                    appliance.client.get(&format!("/api/v1/devices/{}/scope", device.summary.id))?;
                for inherited in scope.collection_variables {
                    let (name, value) = value_of(inherited.variable)?;
                    if !inherited.tied_with.is_empty() {
                        input.ties.push((name.clone(), inherited.collection, inherited.tied_with));
                    }
                    input.collection.insert(name, value);
                }
                input.device = scope.device_variables.into_iter().map(value_of).collect::<Result<_, _>>()?;
            }
            (None, Some(path)) => input.facts = facts_in(path)?,
            (None, None) => bail!("say for which Mac: --device SERIAL or --facts FILE"),
        }
        if !offline {
            more_others(appliance, &sequence, &mut input.others)?;
            input.library = Some(library(appliance, &sequence, &input.others)?);
        }
        if let Some(path) = &self.vars {
            let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let given: BTreeMap<VariableName, Given> = serde_saphyr::from_str(&text)
                .with_context(|| format!("{} is no list of variables", path.display()))?;
            for (name, given) in given {
                let value = match given {
                    Given::Plain(text) => Value::plain(text),
                    Given::Whole { value, secret } => Value { text: value, secret },
                };
                input.device.remove(&name);
                input.device.insert(name, value);
            }
        }
        Ok((sequence, input))
    }
}

pub(super) fn of_appliance(appliance: &Appliance, name: &str) -> anyhow::Result<String> {
    let (name, query) = match name.rsplit_once('@') {
        Some((name, revision)) if revision.parse::<u32>().is_ok() => (name, format!("?revision={revision}")),
        _ => (name, String::new()),
    };
    let sequence: admin::Sequence =
        appliance.client.get(&format!("/api/v1/sequences/{}{query}", segment(name)))?;
    Ok(sequence.yaml)
}

/// A file's text when there is one of this name, else that of `NAME` or `NAME@REVISION` of the appliance.
pub fn file_or_sequence(appliance: &Appliance, name: &str) -> anyhow::Result<Sequence> {
    let text = match Path::new(name).exists() || name == "-" {
        true => read(Path::new(name))?,
        false => of_appliance(appliance, name)?,
    };
    Sequence::from_yaml(&text).with_context(|| name.to_owned())
}

fn more_others(appliance: &Appliance, sequence: &Sequence, others: &mut Others) -> anyhow::Result<()> {
    let mut asked = BTreeSet::new();
    let mut wanted: Vec<String> = sequence.nested().map(|(_, name)| name.to_owned()).collect();
    wanted.extend(
        others.values().flat_map(|other| other.nested().map(|(_, name)| name.to_owned()).collect::<Vec<_>>()),
    );
    while let Some(name) = wanted.pop() {
        if others.contains_key(&name) || !asked.insert(name.clone()) {
            continue;
        }
        // One that is not there is a finding of the plan.
        let Ok(text) = of_appliance(appliance, &name) else { continue };
        let other = Sequence::from_yaml(&text).with_context(|| name.clone())?;
        wanted.extend(other.nested().map(|(_, name)| name.to_owned()));
        others.insert(name, other);
    }
    Ok(())
}

fn library(
    appliance: &Appliance,
    sequence: &Sequence,
    others: &Others,
) -> anyhow::Result<BTreeMap<String, KnownImage>> {
    let steps = std::iter::once(sequence).chain(others.values()).flat_map(Sequence::enabled);
    let names_one = |kind: &Kind| match kind {
        Kind::ApplyImage(_) => true,
        Kind::VerifyImage(verify) => verify.image.is_some(),
        _ => false,
    };
    let needs = steps.into_iter().any(|(_, step)| names_one(&step.kind));
    let mut library = BTreeMap::new();
    if !needs {
        return Ok(library);
    }
    let summaries: Vec<admin::ImageSummary> = appliance.client.get("/api/v1/images")?;
    for summary in summaries {
        let image: admin::Image =
            appliance.client.get(&format!("/api/v1/images/{}", segment(&summary.name)))?;
        let versions = image.versions.iter().map(|version| (version.version, version.size)).collect();
        library.insert(summary.name, KnownImage { versions, rings: image.rings });
    }
    Ok(library)
}

fn value_of(variable: admin::Variable) -> anyhow::Result<(VariableName, Value)> {
    // The value of a secret is not given away; whether it has one is enough here.
    let text = variable.value.unwrap_or_else(|| if variable.empty { String::new() } else { MASK.to_owned() });
    Ok((variable.name.parse()?, Value { text, secret: variable.secret }))
}

fn facts_of(device: &admin::Device) -> Facts {
    Facts {
        serial: device.summary.serial.clone(),
        model: device.summary.model.clone(),
        uuid: device.uuid,
        mac: device.summary.macs.first().copied(),
        memory: device.memory,
        disk0_size: device.disks.iter().find(|disk| disk.number == Some(0)).map(|disk| disk.size),
        boot: match device.boot {
            BootMethod::Netboot => variable::BootMethod::Netboot,
            BootMethod::Usb => variable::BootMethod::Usb,
            BootMethod::Macos => variable::BootMethod::Macos,
            BootMethod::Unknown => variable::BootMethod::Unknown,
        },
    }
}

fn facts_in(path: &Path) -> anyhow::Result<Facts> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    if let Ok(device) = serde_json::from_str::<admin::Device>(&text) {
        return Ok(facts_of(&device));
    }
    serde_json::from_str(&text).with_context(|| format!("{} describes no Mac", path.display()))
}

fn print(plan: &Plan) -> anyhow::Result<()> {
    let kind = if plan.kind == "os-deployment" {
        "brings an operating system"
    } else {
        "brings no operating system"
    };
    say(format!("{} ({kind})", plan.sequence))?;
    let mut table = Table::new(["STEP", "NAME", "TYPE", "DOES", "DETAILS"]);
    for step in &plan.steps {
        let mut details: Vec<String> =
            step.properties.iter().map(|(name, value)| format!("{name}: {}", first_line(value))).collect();
        if !step.why.is_empty() {
            details.insert(0, step.why.clone());
        }
        let name = step.groups.iter().chain([&step.name]).cloned().collect::<Vec<_>>().join(" / ");
        table.row([
            step.step.to_string(),
            name,
            step.kind.to_owned(),
            step.does.to_owned(),
            details.join(" · "),
        ]);
    }
    table.print("the sequence has no steps")?;
    for (step, name) in &plan.asks {
        say(format!("asks for {name}, before step {step}"))?;
    }
    for step in &plan.asks_destination {
        say(format!(
            "asks for the partition that receives the image of step {step}; what lies there is erased"
        ))?;
    }
    for disk in &plan.erases {
        say(format!("erases on disk {disk}"))?;
    }
    say(format!("writes {}, takes about {}", ByteSize(plan.bytes), span(plan.seconds)))?;
    for finding in &plan.findings {
        let severity = if finding.severity == Severity::Red { "red" } else { "yellow" };
        let place = if finding.place.is_empty() { String::new() } else { format!(" {}:", finding.place) };
        say(format!("{severity}:{place} {} [{}]", printable(&finding.message), finding.code))?;
    }
    Ok(())
}

fn first_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { format!("{first} …") } else { first }
}
