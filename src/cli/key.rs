//! `rootstock key …`: the keys that the appliance signs with.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, say, say_json, segment, stamp};
use super::watch;
use crate::api::admin::{Job, SigningKey};

/// Verbs of `rootstock key`.
#[derive(Subcommand)]
pub enum Command {
    /// Every key there was, newest first
    List(Online<List>),
    /// Sign with a new key from now on; what older keys signed stays believed
    #[command(after_help = "\
Boot files and sticks that were made before go on working: Macs are told the keys at every start, over TLS. Retire the old key when it \
may have been copied.")]
    Rotate(Online<Rotate>),
    /// Sign everything of an old key again with the newest, then do not believe the old one any more
    #[command(after_help = "Exit code: 0 the key is retired · 1 it is still believed, and why.")]
    Retire(Online<Retire>),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops the verb.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Rotate(verb) => verb.run(before, rotate),
            Command::Retire(verb) => verb.run(before, retire),
        }
    }
}

/// `rootstock key list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock key rotate`
#[derive(Args, Debug)]
pub struct Rotate {}

/// `rootstock key retire`
#[derive(Args, Debug)]
pub struct Retire {
    /// The public key, as `rootstock key list` shows it
    key: String,
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    show(&appliance.client.get::<Vec<SigningKey>>("/api/v1/keys")?, appliance)
}

fn rotate(_: Rotate, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    show(&appliance.client.post::<_, Vec<SigningKey>>("/api/v1/keys/rotate", &())?, appliance)
}

fn show(keys: &[SigningKey], appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(&keys)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["KEY", "SINCE", ""]);
    for key in keys {
        let how = match (key.signs, key.retired_ms) {
            (true, _) => "signs".to_owned(),
            (false, None) => "believed".to_owned(),
            (false, Some(at)) => format!("retired {}", stamp(at)),
        };
        table.row([key.key.clone(), stamp(key.since_ms), how]);
    }
    table.print("there are no keys")?;
    Ok(ExitCode::SUCCESS)
}

fn retire(verb: Retire, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let job: Job = appliance.client.post(&format!("/api/v1/keys/{}/retire", segment(&verb.key)), &())?;
    if !appliance.json {
        say(format!("job {}: {}", job.id, job.subject))?;
    }
    watch::job(job, appliance)
}
