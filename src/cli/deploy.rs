//! `rootstock deploy`, `rootstock deployment …`: which Macs may run which sequence, and when.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json, stamp};
use crate::api::admin::{CreateDeployment, Deployment, DeploymentTerms, EditDeployment};
use crate::api::runner;

/// `rootstock deploy`
#[derive(Args, Debug)]
pub struct Deploy {
    /// Name of the sequence
    sequence: String,
    /// Name of the collection: "Unknown Macs" are those that the appliance has not met, "All Macs" is every Mac
    #[arg(long, value_name = "COLLECTION")]
    to: String,
    /// Who starts it
    #[arg(long, value_enum)]
    purpose: Purpose,
    #[command(flatten)]
    terms: Terms,
    /// The number of Macs, where a rule makes every one a member and the deployment is required: without it that is refused
    #[arg(long, value_name = "COUNT")]
    confirm: Option<u32>,
}

/// Who starts a deployed sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Starts by itself on every Mac of the collection that boots from the appliance: erases without being asked
    Required,
    /// Chosen by a technician at the Mac
    Available,
}

impl From<Purpose> for runner::Purpose {
    fn from(purpose: Purpose) -> runner::Purpose {
        match purpose {
            Purpose::Required => runner::Purpose::Required,
            Purpose::Available => runner::Purpose::Available,
        }
    }
}

/// When a required sequence starts by itself on a Mac on which it ran before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rerun {
    /// Never: once is enough, however it ended
    Never,
    /// Until it has ended well
    IfFailed,
    /// When the sequence has a newer revision than the one that ran last, or would apply another version of an image
    IfChanged,
    /// At every start of the Mac from the appliance
    Always,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    /// Yes
    Yes,
    /// No
    No,
}

/// When and how often.
#[derive(Args, Debug)]
pub struct Terms {
    /// Not before this local time: "2026-12-01 18:00"
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Not from this local time on
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Zone of all times, Europe/Berlin; UTC when left out
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Times of the week at which runs may begin: "mon-fri 18:00-06:00, sat,sun 00:00-24:00"
    #[arg(long, value_name = "TIMES")]
    window: Option<String>,
    /// When a required one starts by itself again; if-failed when left out
    #[arg(long, value_enum)]
    rerun: Option<Rerun>,
    /// Whether a person may choose a required one that does not start by itself; yes when left out
    #[arg(long, value_enum)]
    independent: Option<YesNo>,
    /// Seconds that a person has to cancel a required one; the appliance's when left out
    #[arg(long, value_name = "SECONDS")]
    countdown: Option<u32>,
}

impl Terms {
    fn read(self, paused: Option<bool>) -> DeploymentTerms {
        let rerun = self.rerun.map(|rerun| match rerun {
            Rerun::Never => "never",
            Rerun::IfFailed => "if-failed",
            Rerun::IfChanged => "if-changed",
            Rerun::Always => "always",
        });
        DeploymentTerms {
            from: self.from,
            expires: self.expires,
            zone: self.zone,
            window: self.window,
            rerun: rerun.map(str::to_owned),
            independent: self.independent.map(|independent| independent == YesNo::Yes),
            countdown: self.countdown,
            paused,
        }
    }
}

/// Deploys a sequence.
///
/// # Errors
/// Whatever stops it.
pub fn deploy(verb: Online<Deploy>, before: &Connection) -> anyhow::Result<ExitCode> {
    verb.run(before, |verb, appliance| {
        let Deploy { sequence, to, purpose, terms, confirm } = verb;
        let body = CreateDeployment {
            sequence,
            collection: to,
            purpose: purpose.into(),
            terms: terms.read(None),
            confirm,
        };
        let deployment: Deployment = appliance.client.post("/api/v1/deployments", &body)?;
        said(&deployment, appliance)
    })
}

fn said(deployment: &Deployment, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(deployment)?;
    } else {
        say(format!("deployment {}: {}", deployment.id, in_words(deployment)))?;
        if let Some(closed) = &deployment.closed {
            say(format!("not now: {}", printable(closed)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn in_words(deployment: &Deployment) -> String {
    let starts = match deployment.purpose {
        runner::Purpose::Required => "starts by itself",
        runner::Purpose::Available => "can be chosen",
    };
    let terms = terms_in_words(&deployment.terms);
    let terms = if terms.is_empty() { String::new() } else { format!(": {terms}") };
    format!("`{}` {starts} on the Macs of `{}`{terms}", deployment.sequence, deployment.collection)
}

fn terms_in_words(terms: &DeploymentTerms) -> String {
    let zone = terms.zone.as_deref().unwrap_or("UTC");
    let mut parts = Vec::new();
    parts.extend(terms.from.as_ref().map(|from| format!("from {from}")));
    parts.extend(terms.expires.as_ref().map(|expires| format!("until {expires}")));
    parts.extend(terms.window.as_ref().map(|window| format!("window {window}")));
    if !parts.is_empty() {
        parts.push(zone.to_owned());
    }
    parts.extend(terms.rerun.as_ref().map(|rerun| format!("rerun {rerun}")));
    parts.extend(terms.countdown.map(|seconds| format!("countdown {seconds} s")));
    if terms.independent == Some(false) {
        parts.push("only by itself".to_owned());
    }
    if terms.paused == Some(true) {
        parts.push("paused".to_owned());
    }
    parts.join(", ")
}

/// Verbs of `rootstock deployment`.
#[derive(Subcommand)]
pub enum Command {
    /// What is deployed to whom, and when it holds
    List(Online<List>),
    /// One deployment
    Show(Online<One>),
    /// Change the terms of a deployment; "" takes a time, zone or window away
    Edit(Online<Edit>),
    /// Nothing of a deployment begins until it is resumed; runs that were started go on
    Pause(Online<One>),
    /// A paused deployment holds again
    Resume(Online<One>),
    /// Take a deployment back; runs that were started go on
    Delete(Online<One>),
}

/// `rootstock deployment list`
#[derive(Args, Debug)]
pub struct List {}

/// One deployment.
#[derive(Args, Debug)]
pub struct One {
    /// Number of the deployment
    deployment: i64,
}

/// `rootstock deployment edit`
#[derive(Args, Debug)]
pub struct Edit {
    /// Number of the deployment
    deployment: i64,
    #[command(flatten)]
    terms: Terms,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Show(verb) => verb.run(before, |verb, appliance| {
                said(&appliance.client.get(&path(verb.deployment))?, appliance)
            }),
            Command::Edit(verb) => {
                verb.run(before, |verb, appliance| change(verb.deployment, verb.terms.read(None), appliance))
            }
            Command::Pause(verb) => {
                verb.run(before, |verb, appliance| pause(verb.deployment, true, appliance))
            }
            Command::Resume(verb) => {
                verb.run(before, |verb, appliance| pause(verb.deployment, false, appliance))
            }
            Command::Delete(verb) => verb.run(before, delete),
        }
    }
}

fn path(deployment: i64) -> String {
    format!("/api/v1/deployments/{deployment}")
}

fn pause(deployment: i64, paused: bool, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    change(deployment, DeploymentTerms { paused: Some(paused), ..DeploymentTerms::default() }, appliance)
}

fn change(deployment: i64, terms: DeploymentTerms, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    said(&appliance.client.patch(&path(deployment), &EditDeployment { terms })?, appliance)
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let deployments: Vec<Deployment> = appliance.client.get("/api/v1/deployments")?;
    if appliance.json {
        say_json(&deployments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["DEPLOYMENT", "SEQUENCE", "COLLECTION", "PURPOSE", "SINCE", "NOW", "TERMS"]);
    for deployment in deployments {
        let purpose = match deployment.purpose {
            runner::Purpose::Required => "required",
            runner::Purpose::Available => "available",
        };
        let terms = terms_in_words(&deployment.terms);
        table.row([
            deployment.id.to_string(),
            deployment.sequence,
            deployment.collection,
            purpose.to_owned(),
            stamp(deployment.created_ms),
            if deployment.closed.is_some() { "closed" } else { "open" }.to_owned(),
            terms,
        ]);
    }
    table
        .print("nothing is deployed: rootstock deploy SEQUENCE --to \"Unknown Macs\" --purpose available")?;
    Ok(ExitCode::SUCCESS)
}

fn delete(verb: One, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    appliance.client.delete(&path(verb.deployment))?;
    if appliance.json {
        say_json(&serde_json::json!({ "deleted": verb.deployment }))?;
    } else {
        say(format!("deployment {} is taken back", verb.deployment))?;
    }
    Ok(ExitCode::SUCCESS)
}
