//! `rootstock client …`: Macs as the network heard them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::binding;
use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json, stamp};
use crate::api::admin::{Client, ClientSummary};
use crate::api::timeline::{ClientEvent, Stage};
use crate::value::MacAddr;

/// Verbs of `rootstock client`.
#[derive(Subcommand)]
pub enum Clients {
    /// Network addresses that asked for something, last heard first
    List(Online<List>),
    /// One address: every stage from power-on to the run, with the reason for every silence
    Show(Online<ShowClient>),
    /// Macs that took a boot image, and which: it is offered to them first until they choose another
    Bindings(Online<binding::Bindings>),
    /// Forget which boot image a Mac took: it is offered the default again
    Forget(Online<binding::Forget>),
}

/// `list`
#[derive(Args, Debug)]
pub struct List {}

/// `rootstock client show`
#[derive(Args, Debug)]
pub struct ShowClient {
    /// Hardware address: 0a:1b:2c:3d:4e:5f
    mac: MacAddr,
}

impl Clients {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Clients::List(verb) => verb.run(before, list_clients),
            Clients::Show(verb) => verb.run(before, show_client),
            Clients::Bindings(verb) => verb.run(before, binding::list),
            Clients::Forget(verb) => verb.run(before, binding::forget),
        }
    }
}

fn text(value: &Option<impl ToString>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn list_clients(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let clients: Vec<ClientSummary> = appliance.client.get("/api/v1/clients")?;
    if appliance.json {
        say_json(&clients)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["ADDRESS", "SERIAL", "LAST HEARD", "EVENTS", "STATE", "WHAT"]);
    for client in &clients {
        let last = &client.last;
        table.row([
            last.mac.to_string(),
            text(&client.serial),
            stamp(last.at_ms),
            client.events.to_string(),
            client.conclusion.as_ref().map_or("-", |conclusion| conclusion.state.in_words()).to_owned(),
            in_words(last),
        ]);
    }
    table.print("nobody has asked for anything yet: is the appliance in the Macs' network segment?")?;
    Ok(ExitCode::SUCCESS)
}

fn show_client(verb: ShowClient, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let client: Client = appliance.client.get(&format!("/api/v1/clients/{}", verb.mac))?;
    if appliance.json {
        say_json(&client)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !client.devices.is_empty() {
        let devices: Vec<String> = client.devices.iter().map(i64::to_string).collect();
        say(format!("{} was seen with device {}", client.mac, devices.join(", ")))?;
    }
    for event in &client.events {
        say(format!("{}  {}", stamp(event.at_ms), in_words(event)))?;
    }
    if let Some(conclusion) = &client.conclusion {
        say(format!("\n{}: {}", conclusion.state.in_words(), printable(&conclusion.text)))?;
        if !conclusion.next_step.is_empty() {
            say(format!("next: {}", printable(&conclusion.next_step)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn in_words(event: &ClientEvent) -> String {
    let stage = match event.stage {
        Stage::Discover => "DISCOVER",
        Stage::List => "LIST",
        Stage::Select => "SELECT",
        Stage::Pxe => "PXE",
        Stage::Lease => "lease",
        Stage::Tftp => "TFTP",
        Stage::Http => "HTTP",
        Stage::Runner => "runner",
        Stage::Unknown => "?",
    };
    let answered = if event.answered { "" } else { "not answered: " };
    format!("{stage:<8}  {answered}{}", printable(&event.detail))
}
