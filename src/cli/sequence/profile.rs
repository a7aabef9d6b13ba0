//! `rootstock sequence profile …`: configuration profiles in sequences, in and out as files, and shown.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::rehearse::file_or_sequence;
use super::step::{Place, edit};
use crate::api::admin::{PutProfile, SequenceEdit};
use crate::cli::connection::{Appliance, Connection, Online};
use crate::cli::output::{printable, say, say_json};
use crate::sequence::model::{Kind, Node, Sequence, Step};
use crate::sequence::profile::{LONGEST, Profile};

/// Verbs of `rootstock sequence profile`.
#[derive(Subcommand)]
pub enum Command {
    /// Put a .mobileconfig into a step of a saved sequence, or make a new step of it
    #[command(after_help = "\
Refused when it is no configuration profile. A signed one keeps its signature: its bytes are kept as they are.")]
    Import(Online<Import>),
    /// Write the profile of a step to a file, byte by byte as it came
    Export(Online<Export>),
    /// Show what is in a profile: a .mobileconfig, or that of a step; passwords are not shown
    Preview(Online<Preview>),
}

/// `rootstock sequence profile import`
#[derive(Args, Debug)]
pub struct Import {
    /// Name of the sequence
    sequence: String,
    /// The .mobileconfig
    file: PathBuf,
    /// The step whose profile it replaces: its path or name; left out, a new step is made
    #[arg(long, value_name = "ENTRY", conflicts_with_all = ["name", "where"])]
    step: Option<String>,
    /// Name of the new step
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// `rootstock sequence profile export`
#[derive(Args, Debug)]
pub struct Export {
    /// YAML file, or name of a sequence of the appliance
    sequence: String,
    /// The step: its path or name; needed where several have a profile
    step: Option<String>,
    /// Where to; a file that is there already is not overwritten
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// `rootstock sequence profile preview`
#[derive(Args, Debug)]
pub struct Preview {
    /// .mobileconfig, YAML file, or name of a sequence of the appliance
    what: String,
    /// The step: its path or name; needed where several have a profile
    step: Option<String>,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Import(verb) => verb.run(before, import),
            Command::Export(verb) => verb.run(before, export),
            Command::Preview(verb) => verb.run(before, preview),
        }
    }
}

fn import(verb: Import, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let profile = of_file(&verb.file)?;
    let put = PutProfile { profile: profile.0, entry: verb.step, name: verb.name, to: verb.place.put() };
    edit(appliance, &verb.sequence, SequenceEdit::Profile(put))
}

fn export(verb: Export, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let profile = of_step(&file_or_sequence(appliance, &verb.sequence)?, verb.step.as_deref())?;
    let (bytes, facts) = (profile.to_bytes()?, profile.facts()?);
    let shown = verb.output.display();
    let mut file = fs::File::create_new(&verb.output).with_context(|| format!("making {shown}"))?;
    std::io::Write::write_all(&mut file, &bytes).with_context(|| format!("writing {shown}"))?;
    match appliance.json {
        true => say_json(
            &serde_json::json!({"file": verb.output, "bytes": bytes.len(), "identifier": facts.identifier, "signed": facts.signed}),
        )?,
        false => say(format!("{} is in {shown}, {} bytes", printable(&facts.identifier), bytes.len()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn preview(verb: Preview, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let path = Path::new(&verb.what);
    let is_profile = verb.step.is_none() && path.is_file() && !is_yaml(path);
    let profile = match is_profile {
        true => of_file(path)?,
        false => of_step(&file_or_sequence(appliance, &verb.what)?, verb.step.as_deref())?,
    };
    let lines = profile.preview()?;
    match appliance.json {
        true => {
            let facts = profile.facts()?;
            say_json(
                &serde_json::json!({"identifier": facts.identifier, "name": facts.name, "payloads": facts.payloads, "signed": facts.signed, "lines": lines}),
            )?;
        }
        false => lines.iter().try_for_each(|line| say(printable(line)))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"))
}

fn of_file(path: &Path) -> anyhow::Result<Profile> {
    let shown = path.display();
    let file = fs::File::open(path).with_context(|| format!("opening {shown}"))?;
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("reading {shown}"))?;
    Profile::from_bytes(&bytes).with_context(|| format!("{shown} is no configuration profile"))
}

fn of_step(sequence: &Sequence, which: Option<&str>) -> anyhow::Result<Profile> {
    let profile = |node: &Node| match node {
        Node::Step(Step { kind: Kind::ApplyProfile(apply), .. }) => Some(apply.profile.clone()),
        _ => None,
    };
    if let Some(which) = which {
        let spot = sequence.find(which)?;
        let found = sequence.entry(&spot).and_then(profile);
        return found.with_context(|| format!("{which} is no Apply Configuration Profile step"));
    }
    let nodes = sequence.nodes();
    let found = nodes.iter().filter_map(|one| Some((one.place.to_string(), profile(one.node)?)));
    let found: Vec<_> = found.collect();
    match found.as_slice() {
        [(_, one)] => Ok(one.clone()),
        [] => bail!("{} has no Apply Configuration Profile step", sequence.name),
        several => {
            let places: Vec<&str> = several.iter().map(|(place, _)| place.as_str()).collect();
            bail!("{} has several profiles, at {}: say which", sequence.name, places.join(", "))
        }
    }
}
