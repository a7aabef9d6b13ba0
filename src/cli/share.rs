//! `rootstock share …`: SMB shares that captures are written to.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::image::password;
use super::output::{say, say_json};
use crate::api::admin::{ShareVerdict, VerifyShare};
use crate::value::{ByteSize, Secret};

/// Verbs of `rootstock share`.
#[derive(Subcommand)]
pub enum Command {
    /// Try whether an account could capture to a folder of an SMB share
    #[command(after_help = "\
The appliance tries it: a file of a few bytes is written, renamed and deleted. Of the Macs' network it knows nothing.\n\
Exit code: 0 green · 1 red, and why.")]
    Verify(Online<Verify>),
}

/// `rootstock share verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// \\server\share\folder (in quotes), //server/share/folder or smb://server[:port]/share/folder
    share: String,
    /// DOMAIN\user, user@domain or user
    #[arg(long, value_name = "NAME")]
    account: String,
    /// File with the password; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// The account has no password
    #[arg(long)]
    no_password: bool,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::Verify(verb) => verb.run(before, verify),
        }
    }
}

fn verify(verb: Verify, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let password = match &verb.password_file {
        Some(file) => password::read(file)?,
        None if verb.no_password => Secret::new(""),
        None => password::ask(&format!("Password of {}", verb.account))?,
    };
    let request = VerifyShare { share: verb.share, account: verb.account, password };
    let verdict: ShareVerdict = appliance.client.post("/api/v1/shares/verify", &request)?;
    if appliance.json {
        say_json(&verdict)?;
    } else {
        let word = if verdict.good { "green" } else { "red" };
        say(format!("{word}: {}", verdict.message))?;
        match verdict.free_bytes {
            Some(free) => say(format!("{} are free there", ByteSize(free)))?,
            None if !verdict.evidence.is_empty() => say(format!("it says: {}", verdict.evidence))?,
            None => {}
        }
        if !verdict.next_step.is_empty() {
            say(format!("next: {}", verdict.next_step))?;
        }
    }
    Ok(if verdict.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
