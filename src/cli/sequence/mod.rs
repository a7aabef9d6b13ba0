//! `rootstock sequence …`: task sequences, as files and on the appliance.

mod copy;
mod diff;
mod profile;
pub(super) mod rehearse;
mod step;

use std::fs;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json, segment, stamp};
use crate::api::admin;
use crate::sequence::check::{Finding, Surroundings, check};
use crate::sequence::model::Sequence;
use crate::sequence::schema;
use crate::sequence::yaml::LONGEST_FILE;
use crate::value::ByteSize;

/// Verbs of `rootstock sequence`.
#[derive(Subcommand)]
pub enum Command {
    /// Save a sequence on the appliance, as a new revision if it differs from the newest
    #[command(after_help = "\
Runs that are going on keep the revision that they started with.\n\
Exit code: 0 saved, or the same text was saved before · 1 the file is wrong: every finding is printed.")]
    Apply(Online<Apply>),
    /// Check files without an appliance: everything that is wrong, at once
    #[command(after_help = "\
Whether images exist is known to the appliance only: `rootstock sequence apply` checks that too, and saves nothing \
when something is wrong.\n\
Exit code: 0 nothing is wrong · 1 something is.")]
    Check(CheckFiles),
    /// Check every sequence of the appliance as things are now: images, variables and sequences that were there when it was saved
    #[command(after_help = "Exit code: 0 nothing is wrong · 1 something is.")]
    CheckAll(Online<copy::CheckAll>),
    /// Save a sequence of the appliance under another name, too: `rootstock sequence copy "Lab Mac@3" "Lab Mac 2"`
    Copy(Online<copy::Copy>),
    /// What a run would do on a certain Mac: steps, questions, what is erased, bytes, time
    #[command(after_help = "\
With a file and --facts no appliance is needed; images are not known then.\n\
Exit code: 0 nothing stands against it · 2 a red finding stands.")]
    Plan(Online<rehearse::PlanRun>),
    /// Work through a run without a Mac, with failures, restarts and answers, and print everything that is recorded
    #[command(after_help = "\
The machine is the one that the appliance runs. --fail \"Step=exit 3\" lets a step fail whenever it is tried; --reboot-at STEP starts \
the Mac anew in the middle of it; --server-restart-at STEP reads the run from its record again.\n\
Exit code: 0 the run would succeed · 1 it would fail, or wait for an answer.")]
    Simulate(Online<rehearse::Simulate>),
    /// What differs between two files or revisions: `rootstock sequence diff "Lab Mac@3" lab-mac.yaml`
    #[command(after_help = "\
+ came · - went · > moved · ~ changed. Exit code: 0 they are the same · 1 they differ.")]
    Diff(Online<diff::Diff>),
    /// Entries of a saved sequence: list, copy (also out of another sequence), move, remove
    #[command(
        subcommand,
        after_help = "\
An entry is a step, or a group with everything in it. It is named by its path, as `step list` prints it, or by its name where one \
alone has it; it keeps its name and its properties. What comes of it is checked, then saved as the next revision; comments of the \
file are not kept."
    )]
    Step(step::Command),
    /// Configuration profiles in a sequence: import, export, preview
    #[command(subcommand)]
    Profile(profile::Command),
    /// Print the JSON Schema of a sequence's file, for editors
    Schema,
    /// Print a sequence of the appliance as YAML
    Show(Online<Show>),
    /// Sequences of the appliance
    List(Online<List>),
    /// Remove a sequence and all its revisions; not while it is deployed or running
    Delete(Online<Delete>),
}

/// `rootstock sequence apply`
#[derive(Args, Debug)]
pub struct Apply {
    /// YAML file; `-` is standard input
    file: PathBuf,
}

/// `rootstock sequence check`
#[derive(Args, Debug)]
pub struct CheckFiles {
    /// YAML files; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// `rootstock sequence show`
#[derive(Args, Debug)]
pub struct Show {
    /// Name of the sequence
    name: String,
    /// A certain revision [default: the newest]
    #[arg(long, value_name = "N")]
    revision: Option<u32>,
}

/// `rootstock sequence list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock sequence delete`
#[derive(Args, Debug)]
pub struct Delete {
    /// Name of the sequence
    name: String,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Apply(verb) => verb.run(before, apply),
            Command::Check(verb) => check_files(&verb),
            Command::CheckAll(verb) => verb.run(before, copy::check_all),
            Command::Copy(verb) => verb.run(before, copy::copy),
            Command::Plan(verb) => verb.run(before, rehearse::plan_run),
            Command::Simulate(verb) => verb.run(before, rehearse::simulate),
            Command::Diff(verb) => verb.run(before, diff::diff),
            Command::Step(verb) => verb.run(before),
            Command::Profile(verb) => verb.run(before),
            Command::Schema => say_json(&schema::schema()).map(|()| ExitCode::SUCCESS),
            Command::Show(verb) => verb.run(before, show),
            Command::List(verb) => verb.run(before, list),
            Command::Delete(verb) => verb.run(before, delete),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let limit = LONGEST_FILE as u64 + 1;
    if path == Path::new("-") {
        stdin().lock().take(limit).read_to_string(&mut text).context("reading standard input")?;
    } else {
        let name = || format!("reading {}", path.display());
        fs::File::open(path).with_context(name)?.take(limit).read_to_string(&mut text).with_context(name)?;
    }
    Ok(text)
}

fn apply(verb: Apply, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let file = verb.file.display().to_string();
    let yaml = read(&verb.file)?;
    Sequence::from_yaml(&yaml).with_context(|| file.clone())?;
    let text = admin::SequenceText { yaml };
    let findings: Vec<admin::Finding> = appliance.client.post("/api/v1/sequence-checks", &text)?;
    if !findings.is_empty() {
        for finding in &findings {
            eprintln!("{}", line(&file, &finding.path, &finding.code, &finding.message));
        }
        bail!("{file} was not saved: {}", count(findings.len()));
    }
    let saved: admin::SavedSequence = appliance.client.post("/api/v1/sequences", &text)?;
    if appliance.json {
        say_json(&saved)?;
    } else if saved.unchanged {
        say(format!("{} is as it was: revision {}", saved.name, saved.revision))?;
    } else {
        say(format!("{} is saved as revision {}", saved.name, saved.revision))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the check of one file gave.
#[derive(serde::Serialize)]
struct Checked {
    file: String,
    /// The file is no sequence; there are no findings then.
    error: Option<String>,
    findings: Vec<Finding>,
}

fn check_files(verb: &CheckFiles) -> anyhow::Result<ExitCode> {
    let checked: Vec<Checked> = verb.files.iter().map(|file| check_file(file)).collect();
    let wrong = checked.iter().any(|one| one.error.is_some() || !one.findings.is_empty());
    if verb.json {
        say_json(&checked)?;
    } else {
        for one in &checked {
            match &one.error {
                Some(error) => eprintln!("error: {}: {error}", one.file),
                None if one.findings.is_empty() => say(format!("{}: nothing is wrong", one.file))?,
                None => {}
            }
            for finding in &one.findings {
                eprintln!("{}", line(&one.file, &finding.path, &finding.code.to_string(), &finding.message));
            }
            if !one.findings.is_empty() {
                eprintln!("error: {}: {}", one.file, count(one.findings.len()));
            }
        }
    }
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn check_file(path: &Path) -> Checked {
    let parsed = read(path).and_then(|text| Ok(Sequence::from_yaml(&text)?));
    let (error, findings) = match parsed {
        Ok(sequence) => (None, check(&sequence, &Surroundings::default())),
        Err(error) => (Some(format!("{error:#}")), Vec::new()),
    };
    Checked { file: path.display().to_string(), error, findings }
}

fn line(file: &str, path: &str, code: &str, message: &str) -> String {
    let place = if path.is_empty() { String::new() } else { format!(" {}:", printable(path)) };
    format!("{file}:{place} {} [{code}]", printable(message))
}

fn count(findings: usize) -> String {
    format!("{findings} finding{}", if findings == 1 { "" } else { "s" })
}

fn show(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let query = verb.revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
    let path = format!("/api/v1/sequences/{}{query}", segment(&verb.name));
    let sequence: admin::Sequence = appliance.client.get(&path)?;
    if appliance.json {
        say_json(&sequence)?
    } else {
        say(&sequence.yaml)?
    }
    Ok(ExitCode::SUCCESS)
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let sequences: Vec<admin::SequenceSummary> = appliance.client.get("/api/v1/sequences")?;
    if appliance.json {
        say_json(&sequences)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["NAME", "REVISION", "CATEGORY", "STEPS", "FETCHES", "SAVED", "DESCRIPTION"]);
    for sequence in &sequences {
        let disabled = if sequence.disabled { "(disabled) " } else { "" };
        table.row([
            sequence.name.clone(),
            sequence.revision.to_string(),
            sequence.category.clone(),
            sequence.steps.to_string(),
            sequence.download_size.map(|bytes| ByteSize(bytes).to_string()).unwrap_or_default(),
            stamp(sequence.saved_ms),
            format!("{disabled}{}", sequence.description),
        ]);
    }
    table.print("no sequences yet: save one with rootstock sequence apply FILE")?;
    Ok(ExitCode::SUCCESS)
}

fn delete(verb: Delete, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    appliance.client.delete(&format!("/api/v1/sequences/{}", segment(&verb.name)))?;
    if appliance.json {
        say_json(&serde_json::json!({ "deleted": verb.name }))?;
    } else {
        say(format!("{} is deleted", verb.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
