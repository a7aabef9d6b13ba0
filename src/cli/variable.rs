//! `rootstock variable …`: variables of Macs and collections, for the sequences that run there.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::device::find;
use super::output::{Table, printable, say, say_json, segment};
use crate::api::admin::{Variable, VariableValue};

/// Verbs of `rootstock variable`.
#[derive(Subcommand)]
pub enum Command {
    /// Variables of a Mac or a collection; values of secrets are never shown
    List(Online<List>),
    /// Set a variable
    #[command(after_help = "\
A variable of a Mac stands above one of its collections; what a sequence sets stands above both. One with an empty value is asked \
of a person when a step needs it.\n\
A secret is best given on standard input, where no list of processes shows it: rootstock variable set Key - --secret --device C02… < file")]
    Set(Online<Set>),
    /// Take a variable away
    Unset(Online<Unset>),
}

/// Whose variables.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Owner {
    /// A Mac: its serial number, or its number
    #[arg(long, value_name = "SERIAL")]
    device: Option<String>,
    /// A collection: "All Macs", "Unknown Macs"
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
}

/// `rootstock variable list`
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    owner: Owner,
}

/// `rootstock variable set`
#[derive(Args, Debug)]
pub struct Set {
    /// Name of the variable
    name: String,
    /// Its value; `-` reads it from standard input, without the line end at its end
    value: String,
    /// Never shown again, masked in logs, kept encrypted
    #[arg(long)]
    secret: bool,
    #[command(flatten)]
    owner: Owner,
}

/// `rootstock variable unset`
#[derive(Args, Debug)]
pub struct Unset {
    /// Name of the variable
    name: String,
    #[command(flatten)]
    owner: Owner,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Set(verb) => verb.run(before, set),
            Command::Unset(verb) => verb.run(before, unset),
        }
    }
}

impl Owner {
    fn path(&self, appliance: &Appliance) -> anyhow::Result<String> {
        match (&self.device, &self.collection) {
            (Some(device), _) => {
                Ok(format!("/api/v1/devices/{}/variables", find(appliance, device)?.summary.id))
            }
            (None, Some(name)) => Ok(format!("/api/v1/collections/{}/variables", segment(name))),
            (None, None) => bail!("say whose: --device SERIAL or --collection NAME"),
        }
    }
}

fn list(verb: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let variables: Vec<Variable> = appliance.client.get(&verb.owner.path(appliance)?)?;
    if appliance.json {
        say_json(&variables)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["NAME", "VALUE"]);
    for variable in variables {
        let value = match (variable.empty, variable.value) {
            (true, _) => "(asked during the run)".to_owned(),
            (false, None) => "••••••••".to_owned(),
            (false, Some(value)) => printable(&value),
        };
        table.row([variable.name, value]);
    }
    table.print("no variables: rootstock variable set NAME VALUE")?;
    Ok(ExitCode::SUCCESS)
}

fn set(verb: Set, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let mut value = verb.value;
    if value == "-" {
        value = String::new();
        std::io::stdin().lock().take(1 << 20).read_to_string(&mut value).context("reading standard input")?;
        value.truncate(value.strip_suffix('\n').unwrap_or(&value).len());
    }
    let path = format!("{}/{}", verb.owner.path(appliance)?, segment(&verb.name));
    let set: Variable = appliance.client.put(&path, &VariableValue { value, secret: verb.secret })?;
    if appliance.json {
        say_json(&set)?;
    } else {
        say(format!("{} is set", set.name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unset(verb: Unset, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    appliance.client.delete(&format!("{}/{}", verb.owner.path(appliance)?, segment(&verb.name)))?;
    if appliance.json {
        say_json(&serde_json::json!({ "unset": verb.name }))?;
    } else {
        say(format!("{} is unset", verb.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
