//! `rootstock sequence copy` and `check-all`: sequences that are on the appliance already.

use std::process::ExitCode;

use clap::Args;

use super::{count, line};
use crate::api::admin::{CopySequence, SavedSequence, SequenceFindings};
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json, segment};

/// `rootstock sequence copy`
#[derive(Args, Debug)]
pub struct Copy {
    /// Name of the sequence, or NAME@REVISION
    from: String,
    /// The other name
    to: String,
    /// A sequence that has the name already gets the copy as its newest revision
    #[arg(long)]
    replace: bool,
}

/// `rootstock sequence check-all`
#[derive(Args, Debug)]
pub struct CheckAll {}

/// Copies.
pub fn copy(verb: Copy, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (name, revision) = match verb.from.rsplit_once('@') {
        Some((name, revision)) if revision.parse::<u32>().is_ok() => (name, revision.parse().ok()),
        _ => (verb.from.as_str(), None),
    };
    let body = CopySequence { to: verb.to, revision, replace: verb.replace };
    let saved: SavedSequence =
        appliance.client.post(&format!("/api/v1/sequences/{}/copy", segment(name)), &body)?;
    if appliance.json {
        say_json(&saved)?;
    } else {
        say(format!("{} is saved as {} revision {}", verb.from, saved.name, saved.revision))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks everything.
pub fn check_all(_: CheckAll, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let all: Vec<SequenceFindings> = appliance.client.get("/api/v1/sequence-checks")?;
    let wrong = all.iter().any(|one| !one.findings.is_empty());
    if appliance.json {
        say_json(&all)?;
        return Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    for one in &all {
        for finding in &one.findings {
            say(line(&one.name, &finding.path, &finding.code, &finding.message))?;
        }
        let deployed = match one.deployed_to.is_empty() {
            true => "not deployed".to_owned(),
            false => format!("deployed to {}", one.deployed_to.join(", ")),
        };
        say(format!("{} revision {}, {deployed}: {}", one.name, one.revision, count(one.findings.len())))?;
    }
    if all.is_empty() {
        say("no sequences yet: save one with rootstock sequence apply FILE")?;
    }
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
