//! `rootstock run …`: what Macs are doing and have done.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json, stamp, took};
use super::sequence::rehearse::partition;
use super::{history, watch};
use crate::api::admin::{
    AskedDestination, ChooseDestination, CloseRun, Run, RunAnswers, RunEvent, RunSummary, StepState,
};
use crate::api::runner::Outcome;
use crate::value::ByteSize;

/// Verbs of `rootstock run`.
#[derive(Subcommand)]
pub enum Command {
    /// Runs, newest first
    List(Online<List>),
    /// One run: its steps, how it ended, why it failed
    Show(Online<Show>),
    /// Follow a run until it ends
    #[command(after_help = "\
Exit code: 0 the run succeeded · 1 it failed, was cancelled, or cannot be followed.\n\
Ctrl-C stops watching; the run goes on. With --json, one line of JSON a change.")]
    Watch(Online<Watch>),
    /// Steps of a run with times, tries and exit codes
    Steps(Online<history::Steps>),
    /// How long a step took in other runs: median, spread, each one
    Compare(Online<history::Compare>),
    /// Write a run as one HTML file that needs nothing else, for mail, archive or paper
    Report(Online<history::Report>),
    /// End a run that waits for the Mac's agent on macOS
    #[command(after_help = "\
With --done the run has succeeded: what was left was done by hand, or is not needed. Without, it has failed, and \
`rootstock run resume` lets it wait for macOS again.")]
    Close(Online<Close>),
    /// What was recorded of a run: actions, reports, output of scripts
    #[command(after_help = "\
With --follow it goes on with what comes until the run has ended, with --json one line of JSON an event.")]
    Log(Online<Log>),
    /// Start the deployment of a run anew on the same Mac, which must be at its wizard
    Retry(Online<Retry>),
    /// Let a failed run go on with the step that failed; what was done before it stays
    Resume(Online<Resume>),
    /// Give values to the empty variables that a run asks for; the first answer wins
    Answer(Online<Answer>),
    /// Say where an image goes when a run asks; what lies there is ERASED, and there is no way back
    #[command(after_help = "\
`rootstock run show` prints which partitions the Mac has and which of them can take the image; the first answer wins.")]
    Destination(Online<Destination>),
    /// Let a run go on that waits for a technician
    Confirm(Online<Confirm>),
    /// Stop a run; the Mac stops what it does when it reports next
    Cancel(Online<Cancel>),
}

/// `rootstock run list`
#[derive(Args, Debug)]
pub struct List {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// `rootstock run show`
#[derive(Args, Debug)]
pub struct Show {
    /// Number of the run
    run: i64,
}

/// `rootstock run watch`
#[derive(Args, Debug)]
pub struct Watch {
    /// Number of the run [default: the newest that has not ended]
    run: Option<i64>,
    /// When there is none, wait until a Mac starts one
    #[arg(long, conflicts_with = "run")]
    wait: bool,
}

/// `rootstock run log`
#[derive(Args, Debug)]
pub struct Log {
    /// Number of the run
    run: i64,
    /// Go on with what comes, until the run has ended
    #[arg(long, short)]
    follow: bool,
}

/// `rootstock run retry`
#[derive(Args, Debug)]
pub struct Retry {
    /// Number of the run that has ended
    run: i64,
}

/// `rootstock run cancel`
#[derive(Args, Debug)]
pub struct Cancel {
    /// Number of the run
    run: i64,
}

/// `rootstock run resume`
#[derive(Args, Debug)]
pub struct Resume {
    /// Number of the run
    run: i64,
}

/// `rootstock run close`
#[derive(Args, Debug)]
pub struct Close {
    /// Number of the run
    run: i64,
    /// What was left was done, or is not needed
    #[arg(long)]
    done: bool,
}

/// `rootstock run answer`
#[derive(Args, Debug)]
pub struct Answer {
    /// Number of the run
    run: i64,
    /// Values; `NAME=-` reads one from standard input, without the line end at its end
    #[arg(required = true, value_name = "NAME=VALUE")]
    values: Vec<String>,
}

/// `rootstock run destination`
#[derive(Args, Debug)]
pub struct Destination {
    /// Number of the run
    run: i64,
    /// Where: `0:2` is partition 2 of disk 0
    #[arg(value_name = "DISK:PARTITION")]
    place: String,
}

/// `rootstock run confirm`
#[derive(Args, Debug)]
pub struct Confirm {
    /// Number of the run
    run: i64,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Show(verb) => verb.run(before, show),
            Command::Watch(verb) => {
                verb.run(before, |verb, appliance| watch::run(verb.run, verb.wait, appliance))
            }
            Command::Steps(verb) => verb.run(before, history::steps),
            Command::Compare(verb) => verb.run(before, history::compare),
            Command::Report(verb) => verb.run(before, history::report),
            Command::Close(verb) => verb.run(before, |verb, appliance| {
                post(appliance, verb.run, "close", &CloseRun { done: verb.done }, "is closed")
            }),
            Command::Log(verb) => verb.run(before, log),
            Command::Resume(verb) => verb.run(before, |verb, appliance| {
                post(
                    appliance,
                    verb.run,
                    "resume",
                    &serde_json::json!({}),
                    "goes on with the step that failed",
                )
            }),
            Command::Retry(verb) => verb.run(before, |verb, appliance| {
                post(appliance, verb.run, "retry", &serde_json::json!({}), "is started")
            }),
            Command::Answer(verb) => verb.run(before, answer),
            Command::Destination(verb) => verb.run(before, destination),
            Command::Confirm(verb) => verb.run(before, |verb, appliance| {
                post(appliance, verb.run, "confirm", &serde_json::json!({}), "goes on")
            }),
            Command::Cancel(verb) => verb.run(before, cancel),
        }
    }
}

fn list(verb: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let runs: Vec<RunSummary> = appliance.client.get(&format!("/api/v1/runs?limit={}", verb.limit))?;
    if appliance.json {
        say_json(&runs)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["RUN", "SEQUENCE", "MAC", "STARTED", "STEP", "STATE", "TOOK"]);
    for run in &runs {
        table.row([
            run.id.to_string(),
            format!("{} r{}", run.sequence, run.revision),
            run.device_name.clone(),
            stamp(run.started_ms),
            format!("{}/{}", run.step, run.steps),
            state(run.outcome).to_owned(),
            took(run.started_ms, run.ended_ms),
        ]);
    }
    table.print("no runs yet: deploy a sequence (rootstock deploy --help) and boot a Mac")?;
    Ok(ExitCode::SUCCESS)
}

fn show(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let run: Run = appliance.client.get(&format!("/api/v1/runs/{}", verb.run))?;
    if appliance.json {
        say_json(&run)?
    } else {
        print(&run)?
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole run for people.
pub(super) fn print(run: &Run) -> anyhow::Result<()> {
    let summary = &run.summary;
    say(format!(
        "run {}: {} revision {} on {}",
        summary.id, summary.sequence, summary.revision, summary.device_name
    ))?;
    say(format!("started {}, {}", stamp(summary.started_ms), ended(summary)))?;
    if !run.images.is_empty() {
        say(format!("images: {}", run.images.join(", ")))?;
    }
    if let Some(question) = &run.question {
        let id = summary.id;
        for asked in &question.variables {
            let (name, label) = (printable(&asked.name), printable(&asked.label));
            let called = if label.is_empty() { name.clone() } else { format!("{name} ({label})") };
            let choices = match asked.choices.as_slice() {
                [] => String::new(),
                choices => format!(", one of {}", printable(&choices.join(", "))),
            };
            let value = if asked.secret { "-" } else { "VALUE" };
            say(format!("asks for {called}{choices}: rootstock run answer {id} {name}={value}"))?;
        }
        if let Some(asked) = &question.destination {
            print_destination(id, asked)?;
        }
        say(format!("asks since {}", stamp(question.since_ms)))?;
        if let Some(message) = &question.message {
            say(format!("waits: {} (rootstock run confirm {id})", printable(message)))?;
        }
    }
    if let Some(waits) = &run.waits {
        let close =
            if waits.for_macos { format!(" (rootstock run close {})", summary.id) } else { String::new() };
        say(format!("{}{close}", printable(&waits.why)))?;
    }
    let mut steps = Table::new(["STEP", "NAME", "STATE", "TOOK", "WHY"]);
    for (place, step) in (1..).zip(&run.step_list) {
        let time = step.started_ms.map(|started| took(started, step.ended_ms)).unwrap_or_default();
        let place: u32 = place;
        let name = step.groups.iter().chain([&step.name]).cloned().collect::<Vec<_>>().join(" / ");
        let why = step.why.clone().unwrap_or_default();
        steps.row([place.to_string(), name, step_state(step.state).to_owned(), time, why]);
    }
    steps.print("the sequence has no steps")?;
    if let Some(message) = &run.message {
        say(format!("{}: {}", state(summary.outcome), printable(message)))?;
    }
    if let Some(step) = &run.failed_step {
        let code = run.failure.as_ref().and_then(|failure| failure.exit_code);
        let code = code.map(|code| format!(", exit code {code}")).unwrap_or_default();
        say(format!("  failed at {} ({}){code}", printable(&step.named()), step.place))?;
    }
    if run.can_resume {
        say(format!("it can go on with the step that failed: rootstock run resume {}", summary.id))?;
    }
    if let Some(failure) = &run.failure {
        let parts =
            [("cause", &failure.cause), ("evidence", &failure.evidence), ("next step", &failure.next_step)];
        for (name, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
            say(format!("  {name:<9} {}", printable(text)))?;
        }
    }
    Ok(())
}

fn print_destination(run: i64, asked: &AskedDestination) -> anyhow::Result<()> {
    let needs = match asked.needs {
        0 => String::new(),
        needs => format!(", which needs {}", ByteSize(needs)),
    };
    say(format!(
        "asks where {}{needs} goes; what lies there is ERASED: rootstock run destination {run} DISK:PARTITION",
        printable(&asked.image)
    ))?;
    if asked.disks.is_empty() {
        say("  the Mac has not said yet which disks it has")?;
    }
    let because = |why: &str| if why.is_empty() { String::new() } else { format!(" - {}", printable(why)) };
    for disk in &asked.disks {
        let number = disk.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let (model, size) = (printable(&disk.model), ByteSize(disk.size));
        say(format!("  disk {number}: {model}, {size}{}", because(&disk.why_not)))?;
        for partition in &disk.partitions {
            let (contents, size) = (printable(&partition.contents), ByteSize(partition.size));
            say(format!(
                "    {number}:{} {contents}, {size}{}",
                partition.number,
                because(&partition.why_not)
            ))?;
        }
    }
    Ok(())
}

/// The step that it is asked for is what the run says now: whoever answers has seen that.
fn destination(verb: Destination, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (disk, partition) = partition(&verb.place)?;
    let run: Run = appliance.client.get(&format!("/api/v1/runs/{}", verb.run))?;
    let asked = run.question.and_then(|question| question.destination);
    let asked = asked.with_context(|| format!("run {} does not ask where an image goes", verb.run))?;
    let body = ChooseDestination { step: asked.step, disk, partition };
    post(appliance, verb.run, "destination", &body, "has its destination")
}

fn ended(summary: &RunSummary) -> String {
    match summary.ended_ms {
        Some(ended) => format!("ended {} after {}", stamp(ended), took(summary.started_ms, Some(ended))),
        None => "still going".to_owned(),
    }
}

/// Reads all events there are; with `--follow`, waits for more until the run has ended.
fn log(verb: Log, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut after = 0;
    let mut all: Vec<RunEvent> = Vec::new();
    loop {
        // Asked before the events: what was recorded up to its end is read after it.
        let ended = verb.follow
            && appliance.client.get::<Run>(&format!("/api/v1/runs/{}", verb.run))?.summary.outcome.is_some();
        let wait = if verb.follow && !ended { "&wait=15" } else { "" };
        let path = format!("/api/v1/runs/{}/events?after={after}{wait}", verb.run);
        let events: Vec<RunEvent> = appliance.client.get(&path)?;
        let last = events.last().map(|event| event.number).filter(|last| *last > after);
        match last {
            Some(last) => after = last,
            None if verb.follow && !ended => continue,
            None => break,
        }
        match (appliance.json, verb.follow) {
            (true, false) => all.extend(events),
            (true, true) => events.iter().try_for_each(|event| say(serde_json::to_string(event)?))?,
            (false, _) => print_events(&events)?,
        }
    }
    if appliance.json && !verb.follow {
        say_json(&all)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_events(events: &[RunEvent]) -> anyhow::Result<()> {
    for event in events {
        let step = event.step.as_deref().map(|step| format!(" [{}]", printable(step))).unwrap_or_default();
        for line in event.detail.lines() {
            say(format!("{}{step} {}: {}", stamp(event.at_ms), event.kind, printable(line)))?;
        }
    }
    Ok(())
}

fn cancel(verb: Cancel, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let run: Run =
        appliance.client.post(&format!("/api/v1/runs/{}/cancel", verb.run), &serde_json::json!({}))?;
    if appliance.json {
        say_json(&run)?
    } else {
        say(format!("run {} is cancelled", run.summary.id))?
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(verb: Answer, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut values = std::collections::BTreeMap::new();
    for setting in &verb.values {
        let (name, value) =
            setting.split_once('=').with_context(|| format!("{setting:?}: say NAME=VALUE"))?;
        let mut value = value.to_owned();
        if value == "-" {
            value = String::new();
            std::io::stdin()
                .lock()
                .take(1 << 20)
                .read_to_string(&mut value)
                .context("reading standard input")?;
            value.truncate(value.strip_suffix('\n').unwrap_or(&value).len());
        }
        values.insert(name.to_owned(), value);
    }
    post(appliance, verb.run, "answers", &RunAnswers { values }, "has its answers")
}

fn post(
    appliance: &Appliance,
    run: i64,
    what: &str,
    body: &impl serde::Serialize,
    said: &str,
) -> anyhow::Result<ExitCode> {
    let run: Run = appliance.client.post(&format!("/api/v1/runs/{run}/{what}"), body)?;
    if appliance.json {
        say_json(&run)?
    } else {
        say(format!("run {} {said}", run.summary.id))?
    }
    Ok(ExitCode::SUCCESS)
}

/// How a run stands, in a word.
pub(super) fn state(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        None => "running",
        Some(Outcome::Succeeded) => "succeeded",
        Some(Outcome::Failed) => "failed",
        Some(Outcome::Cancelled) => "cancelled",
    }
}

pub(super) fn step_state(state: StepState) -> &'static str {
    match state {
        StepState::Pending => "pending",
        StepState::Running => "running",
        StepState::Succeeded => "succeeded",
        StepState::Failed => "failed",
        StepState::Skipped => "left out",
        StepState::Unknown => "?",
    }
}
