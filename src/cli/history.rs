//! `rootstock run steps`, `compare`, `report` and `rootstock problem-report`: what was, and what goes to whoever helps.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, duration, printable, say, say_json, segment, stamp};
use super::run::step_state;
use crate::api::admin::{Run, StepTimes};

/// Longest bundle that is taken.
const LONGEST_BUNDLE: u64 = 256 << 20;

/// `rootstock run steps`
#[derive(Args, Debug)]
pub struct Steps {
    /// Number of the run
    run: i64,
}

/// `rootstock run compare`
#[derive(Args, Debug)]
pub struct Compare {
    /// Names of steps
    #[arg(required = true, value_name = "STEP")]
    steps: Vec<String>,
    /// Only in runs of this sequence
    #[arg(long, value_name = "NAME")]
    sequence: Option<String>,
    /// The newest this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

/// `rootstock run report`
#[derive(Args, Debug)]
pub struct Report {
    /// Number of the run
    run: i64,
    /// File to write; `-` is standard output [default: run-NUMBER.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `rootstock problem-report`
#[derive(Args, Debug)]
pub struct Problem {
    /// A run that it is about
    #[arg(long, value_name = "RUN")]
    run: Option<i64>,
    /// File to write [default: rootstock-problem.tar.zst]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Steps of a run with their times.
///
/// # Errors
/// Whatever stops it.
pub fn steps(verb: Steps, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let run: Run = appliance.client.get(&format!("/api/v1/runs/{}", verb.run))?;
    if appliance.json {
        say_json(&run.step_list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["STEP", "NAME", "TYPE", "STATE", "BEGAN", "TOOK", "TRIES", "EXIT", "NOTE"]);
    for (place, step) in (1_u32..).zip(&run.step_list) {
        let time = step.started_ms.zip(step.ended_ms).map(|(began, ended)| duration(ended - began));
        table.row([
            place.to_string(),
            step.groups.iter().chain([&step.name]).cloned().collect::<Vec<_>>().join(" / "),
            step.kind.clone(),
            step_state(step.state).to_owned(),
            step.started_ms.map(stamp).unwrap_or_default(),
            time.unwrap_or_default(),
            if step.tries > 0 { step.tries.to_string() } else { String::new() },
            step.exit_code.map(|code| code.to_string()).unwrap_or_default(),
            step.why.clone().unwrap_or_default(),
        ]);
    }
    table.print("the sequence has no steps")?;
    Ok(ExitCode::SUCCESS)
}

/// A step across runs.
///
/// # Errors
/// Whatever stops it.
pub fn compare(verb: Compare, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let of_sequence =
        verb.sequence.as_ref().map(|name| format!("&sequence={}", segment(name))).unwrap_or_default();
    let mut all: Vec<StepTimes> = Vec::new();
    for step in &verb.steps {
        let path = format!("/api/v1/step-times?step={}&limit={}{of_sequence}", segment(step), verb.limit);
        all.push(appliance.client.get(&path)?);
    }
    if appliance.json {
        say_json(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    for times in &all {
        let shown = |milliseconds: Option<i64>| milliseconds.map(duration).unwrap_or_default();
        let mut table = Table::new(["RUN", "SEQUENCE", "MAC", "BEGAN", "STATE", "TOOK", "TRIES", "EXIT"]);
        for one in &times.runs {
            table.row([
                one.run.to_string(),
                format!("{} r{}", one.sequence, one.revision),
                one.device_name.clone(),
                stamp(one.started_ms),
                step_state(one.state).to_owned(),
                shown(one.milliseconds),
                one.tries.to_string(),
                one.exit_code.map(|code| code.to_string()).unwrap_or_default(),
            ]);
        }
        say(format!(
            "{}: {} times done, {} times failed",
            printable(&times.step),
            times.succeeded,
            times.failed
        ))?;
        if let Some(spread) = &times.times {
            say(format!(
                "median {}, half of them {} to {}, all {} to {}",
                duration(spread.median),
                duration(spread.quarter),
                duration(spread.three_quarters),
                duration(spread.least),
                duration(spread.most)
            ))?;
        }
        table.print("no run that has ended has a step of this name: see rootstock run steps")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a run's report.
///
/// # Errors
/// Whatever stops it.
pub fn report(verb: Report, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let page = appliance.client.text(&format!("/api/v1/runs/{}/report", verb.run))?;
    let path = verb.output.unwrap_or_else(|| format!("run-{}.html", verb.run).into());
    if path == Path::new("-") {
        say(page)?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&path, page.as_bytes())?;
    written(appliance, &path)
}

/// Writes a problem report.
///
/// # Errors
/// Whatever stops it.
pub fn problem(verb: Online<Problem>, before: &Connection) -> anyhow::Result<ExitCode> {
    verb.run(before, |verb, appliance| {
        let about = verb.run.map(|run| format!("?run={run}")).unwrap_or_default();
        let bundle = appliance.client.download(&format!("/api/v1/problem-report{about}"), LONGEST_BUNDLE)?;
        let path = verb.output.unwrap_or_else(|| "rootstock-problem.tar.zst".into());
        write(&path, &bundle)?;
        if !appliance.json {
            say("look through it before you send it on: tar --zstd -tf FILE, tar --zstd -xf FILE")?;
        }
        written(appliance, &path)
    })
}

/// Readable for nobody else: a report names Macs and people.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("writing {}", path.display());
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(path).with_context(failed)?;
    file.write_all(bytes).with_context(failed)
}

fn written(appliance: &Appliance, path: &Path) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(&serde_json::json!({ "file": path }))?;
    } else {
        say(format!("{} is written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
