//! `rootstock doctor`: everything that keeps a Mac from starting and that can be seen from this machine, each with its remedy.
//!
//! * `sockets`: who has our ports · `machine`: interfaces, clock, disk · `wire`: other servers on the network
//! * `firewall`: rules in the way · `files`: what Macs are given · `service`: the same files through the real address
//!
//! Owns: the order of checks, what is printed. Changes nothing; asks on the network as a client does.

mod files;
mod firewall;
mod machine;
mod service;
mod sockets;
mod wire;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;

use super::connection::{Appliance, Connection, Online};
use super::finding::{Finding, Verdict};
use super::interfaces::{self, Interface};
use super::output::{say, say_json};
use crate::api::admin::{Listener, NbiSummary, Status};
use crate::host::Processes;

/// Where a packaged appliance keeps its data.
const DATA: &str = "/var/lib/rootstock";

/// `rootstock doctor`
#[derive(Args, Debug)]
pub struct Doctor {
    /// Data folder of rootstockd [default: what the daemon says, else /var/lib/rootstock]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Look for other servers through this interface only [default: all that have an address]
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// How long to wait for other servers' answers
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    wait: u64,
}

/// What the checks share.
struct Ward {
    /// The daemon, when it answers.
    status: Option<Status>,
    /// Its boot sets, as it judges them.
    sets: Option<Vec<NbiSummary>>,
    data: PathBuf,
    interfaces: Vec<Interface>,
    /// The interface that was named.
    only: Option<String>,
    wait: Duration,
    /// Since 1970 UTC.
    now: Duration,
}

impl Ward {
    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.interfaces.iter().filter(|one| !one.is_loop).flat_map(|one| one.addresses.iter().copied())
    }

    /// The address by which Macs are served: what the daemon says, else the first one.
    fn address(&self) -> Option<Ipv4Addr> {
        let told = self.status.as_ref().and_then(|status| status.address.as_deref()?.parse().ok());
        told.or_else(|| self.addresses().next())
    }

    /// Where the daemon listens; without daemon, where it would by default.
    fn listeners(&self) -> Vec<Listener> {
        let default = |(service, port): (&str, u16)| Listener {
            service: service.to_owned(),
            address: format!("0.0.0.0:{port}"),
        };
        match &self.status {
            Some(status) => status.listeners.clone(),
            None => [("dhcp", 67), ("proxy-dhcp", 4011), ("tftp", 69), ("http", 80), ("https", 443)]
                .map(default)
                .into(),
        }
    }

    /// The port of a service.
    fn port(&self, service: &str) -> Option<u16> {
        let listener = self.listeners().into_iter().find(|listener| listener.service == service)?;
        listener.address.rsplit_once(':')?.1.parse().ok()
    }
}

#[derive(Serialize)]
struct Examined<'a> {
    well: bool,
    findings: &'a [Finding],
}

/// Runs every check.
///
/// # Errors
/// When an interface is named that does not exist, or nobody reads the result.
pub fn doctor(verb: Online<Doctor>, before: &Connection) -> anyhow::Result<ExitCode> {
    verb.run(before, examine)
}

fn examine(verb: Doctor, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    if let Some(name) = &verb.interface {
        interfaces::chosen(Some(name))?;
    }
    let mut findings = Vec::new();
    let mut unread = Ok(());
    let mut tell = |more: Vec<Finding>| {
        for finding in more {
            if !appliance.json && unread.is_ok() {
                unread = finding.print();
            }
            findings.push(finding);
        }
    };
    let (daemon, status) = service::daemon(appliance);
    tell(vec![daemon]);
    let told = status.as_ref().map(|status| PathBuf::from(&status.data));
    let ward = Ward {
        data: verb.data.or(told).unwrap_or_else(|| DATA.into()),
        sets: status.as_ref().and_then(|_| appliance.client.get("/api/v1/nbi").ok()),
        status,
        interfaces: interfaces::all(),
        only: verb.interface,
        wait: Duration::from_secs(verb.wait),
        now: now(),
    };
    let processes = Processes::running();
    tell(sockets::check(&ward, &processes));
    tell(machine::interfaces(&ward));
    tell(firewall::check(&ward));
    tell(wire::check(&ward));
    let (made, booter) = files::check(&ward);
    tell(made);
    tell(service::check(&ward, booter.as_ref()));
    tell(machine::clock(&ward, &processes));
    tell(service::certificates(&ward));
    tell(machine::disk(&ward));
    unread?;
    let failed = findings.iter().filter(|one| one.verdict == Verdict::Fails).count();
    let warned = findings.iter().filter(|one| one.verdict == Verdict::Warning).count();
    if appliance.json {
        say_json(&Examined { well: failed == 0, findings: &findings })?;
    } else {
        say(format!("{} checks: {failed} failed, {warned} warnings", findings.len()))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::disallowed_methods, reason = "a program reads the clock at its edge")]
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
