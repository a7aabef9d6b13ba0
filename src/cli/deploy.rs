//! `rootstock deploy`, `rootstock deployment …`, `rootstock collection …`: which Macs may run which sequence.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, say, say_json, stamp};
use crate::api::admin::{Collection, CreateDeployment, Deployment};
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

/// Deploys a sequence.
///
/// # Errors
/// Whatever stops it.
pub fn deploy(verb: Online<Deploy>, before: &Connection) -> anyhow::Result<ExitCode> {
    verb.run(before, |verb, appliance| {
        let Deploy { sequence, to, purpose } = verb;
        let body = CreateDeployment { sequence, collection: to, purpose: purpose.into() };
        let deployment: Deployment = appliance.client.post("/api/v1/deployments", &body)?;
        if appliance.json {
            say_json(&deployment)?;
        } else {
            say(format!("deployment {}: {}", deployment.id, in_words(&deployment)))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn in_words(deployment: &Deployment) -> String {
    let starts = match deployment.purpose {
        runner::Purpose::Required => "starts by itself",
        runner::Purpose::Available => "can be chosen",
    };
    format!("`{}` {starts} on the Macs of `{}`", deployment.sequence, deployment.collection)
}

/// Verbs of `rootstock deployment`.
#[derive(Subcommand)]
pub enum Command {
    /// What is deployed to whom
    List(Online<List>),
    /// Take a deployment back; runs that were started go on
    Delete(Online<Delete>),
}

/// `rootstock deployment list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock deployment delete`
#[derive(Args, Debug)]
pub struct Delete {
    /// Number of the deployment
    deployment: i64,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Delete(verb) => verb.run(before, delete),
        }
    }
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let deployments: Vec<Deployment> = appliance.client.get("/api/v1/deployments")?;
    if appliance.json {
        say_json(&deployments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["DEPLOYMENT", "SEQUENCE", "COLLECTION", "PURPOSE", "SINCE"]);
    for deployment in deployments {
        let purpose = match deployment.purpose {
            runner::Purpose::Required => "required",
            runner::Purpose::Available => "available",
        };
        table.row([
            deployment.id.to_string(),
            deployment.sequence,
            deployment.collection,
            purpose.to_owned(),
            stamp(deployment.created_ms),
        ]);
    }
    table
        .print("nothing is deployed: rootstock deploy SEQUENCE --to \"Unknown Macs\" --purpose available")?;
    Ok(ExitCode::SUCCESS)
}

fn delete(verb: Delete, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    appliance.client.delete(&format!("/api/v1/deployments/{}", verb.deployment))?;
    if appliance.json {
        say_json(&serde_json::json!({ "deleted": verb.deployment }))?;
    } else {
        say(format!("deployment {} is taken back", verb.deployment))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Verbs of `rootstock collection`.
#[derive(Subcommand)]
pub enum Collections {
    /// Collections and how many Macs belong to each
    List(Online<List>),
}

impl Collections {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        let Collections::List(verb) = self;
        verb.run(before, |_, appliance| {
            let collections: Vec<Collection> = appliance.client.get("/api/v1/collections")?;
            if appliance.json {
                say_json(&collections)?;
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(["NAME", "MACS", "WHO BELONGS TO IT"]);
            for collection in collections {
                table.row([collection.name, collection.members.to_string(), collection.description]);
            }
            table.print("no collections")?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
