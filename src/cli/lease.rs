//! `rootstock lease …`: addresses that the appliance's own DHCP server gave.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json, stamp};
use crate::api::admin::{Lease, LeaseState};

/// Verbs of `rootstock lease`.
#[derive(Subcommand)]
pub enum Command {
    /// Every address that was given: who has it, until when
    List(Online<List>),
    /// Free an address whose machine is gone
    #[command(after_help = "\
A machine that is still there goes on using the address until it asks again. Before the address is offered to another
client it is looked for on the network, and set aside when somebody uses it.")]
    Release(Online<Release>),
}

/// `rootstock lease list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock lease release`
#[derive(Args, Debug)]
pub struct Release {
    /// The address: 10.77.0.101
    address: Ipv4Addr,
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Command::List(verb) => verb.run(before, list),
            Command::Release(verb) => verb.run(before, release),
        }
    }
}

fn list(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let leases: Vec<Lease> = appliance.client.get("/api/v1/leases")?;
    if appliance.json {
        say_json(&leases)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["ADDRESS", "MAC", "NAME", "STATE", "SINCE", "UNTIL"]);
    for lease in &leases {
        table.row([
            lease.address.to_string(),
            lease.mac.to_string(),
            lease.host_name.clone().unwrap_or_else(|| "-".to_owned()),
            in_words(lease.state).to_owned(),
            stamp(lease.since_ms),
            stamp(lease.until_ms),
        ]);
    }
    table.print("no address was given: the DHCP server is off unless `dhcp.enabled` is set")?;
    Ok(ExitCode::SUCCESS)
}

fn in_words(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Offered => "offered",
        LeaseState::Bound => "leased",
        LeaseState::Free => "free",
        LeaseState::SetAside => "set aside",
        LeaseState::Unknown => "?",
    }
}

fn release(verb: Release, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let lease: Lease = appliance.client.remove(&format!("/api/v1/leases/{}", verb.address))?;
    if appliance.json {
        say_json(&lease)?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = lease.host_name.as_deref().map(printable).unwrap_or_default();
    say(format!("{} is free; {} {name} had it", lease.address, lease.mac))?;
    Ok(ExitCode::SUCCESS)
}
