//! `rootstock netboot …`: the way of a Mac through the network, walked from here.
//!
//! Owns: arguments, what is printed. `walk` asks, `read` judges what came. Needs no appliance on this machine, so it also
//! tells from another machine what a Mac would see there.

mod read;
mod walk;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use self::walk::{Probe, walk};
use super::finding::{Finding, Verdict};
use super::interfaces;
use super::output::{say, say_json};
use crate::value::{MacAddr, Model};

/// Verbs of `rootstock netboot`.
#[derive(Subcommand)]
pub enum Command {
    /// Walk the way of a Mac: DISCOVER, LIST, SELECT, TFTP, HTTP; tell where it ends, and why
    #[command(after_help = "\
Needs root: a Mac asks from UDP port 68. No address is leased: the interface's own is used. Nothing is written anywhere but \
into the appliance's timeline of the MAC address (rootstock client show).")]
    Probe(ProbeArguments),
}

/// `rootstock netboot probe`
#[derive(Args, Debug)]
pub struct ProbeArguments {
    /// Model identifier of the simulated Mac
    #[arg(long, value_name = "MODEL", default_value = "Macmini7,1")]
    model: Model,
    /// Its Ethernet address [default: that of the interface]
    #[arg(long, value_name = "ADDRESS")]
    mac: Option<MacAddr>,
    /// Network interface to ask through [default: the only one with an IPv4 address]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Ask only this server [default: whoever answers; the highest priority wins, as for a Mac]
    #[arg(long, value_name = "IP")]
    server: Option<Ipv4Addr>,
    /// Architecture as Macs spell it; every Intel Mac says i386
    #[arg(long, default_value = "i386")]
    arch: String,
    /// Port of the server's plain HTTP listener
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    http_port: u16,
    /// How long to wait for answers to a broadcast
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    wait: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The whole walk, for programs.
#[derive(Serialize)]
struct Walked<'a> {
    reached_the_end: bool,
    stopped_at: Option<&'a str>,
    steps: &'a [Finding],
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// Arguments that fit no network of this machine.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Probe(arguments) => probe(arguments),
        }
    }
}

fn probe(arguments: ProbeArguments) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    let probe = plan(arguments)?;
    let mut steps: Vec<Finding> = Vec::new();
    let mut unread = Ok(());
    walk(&probe, &mut |finding| {
        if !json && unread.is_ok() {
            unread = finding.print();
        }
        steps.push(finding);
    });
    unread?;
    let stopped = steps.iter().find(|step| step.verdict == Verdict::Fails).map(|step| step.topic.as_str());
    if json {
        say_json(&Walked { reached_the_end: stopped.is_none(), stopped_at: stopped, steps: &steps })?;
    } else {
        match stopped {
            None => say("A Mac comes through to the boot environment, as far as can be seen from here.")?,
            Some(topic) => say(format!("A Mac stops at {topic}."))?,
        }
    }
    Ok(if stopped.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(arguments: ProbeArguments) -> anyhow::Result<Probe> {
    let interface = interfaces::chosen(arguments.interface.as_deref())?;
    let Some(&address) = interface.addresses.first() else {
        bail!("`{}` has no IPv4 address; give it one: the probe leases none", interface.name);
    };
    let mac = arguments.mac.or(interface.mac);
    let mac =
        mac.with_context(|| format!("`{}` has no Ethernet address; name one with --mac", interface.name))?;
    if arguments.arch.is_empty() || !arguments.arch.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        bail!("`{}` is no architecture as Macs spell it: i386, ppc", arguments.arch);
    }
    let own: Vec<Ipv4Addr> = interfaces::all().into_iter().flat_map(|one| one.addresses).collect();
    Ok(Probe {
        interface: interface.name,
        address,
        own,
        mac,
        model: arguments.model,
        arch: arguments.arch,
        server: arguments.server,
        http_port: arguments.http_port,
        wait: Duration::from_secs(arguments.wait),
    })
}
