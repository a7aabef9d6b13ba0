//! `rootstock device …` and `rootstock client …`: Macs as they described themselves, and as the network heard them.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::binding;
use super::connection::{Appliance, Connection, Online};
use super::output::{Table, printable, say, say_json, stamp};
use super::run::state;
use super::screen;
use crate::api::admin::{Client, ClientSummary, Device, DeviceSummary};
use crate::api::timeline::{ClientEvent, Stage};
use crate::value::{ByteSize, MacAddr};

/// Verbs of `rootstock device`.
#[derive(Subcommand)]
pub enum Devices {
    /// Macs that have booted from the appliance, last seen first
    List(Online<List>),
    /// One Mac: model, memory, disks, runs
    Show(Online<ShowDevice>),
    /// What a Mac shows now: its wizard's page, what it waits for, what can be started
    Screen(Online<screen::Show>),
    /// Start a deployed sequence on a Mac that is at its wizard, as if somebody there had chosen and confirmed it
    #[command(after_help = "\
It starts at once and asks nothing: what the sequence erases is erased. See before: rootstock sequence plan NAME --device SERIAL")]
    Start(Online<screen::Start>),
    /// Show a message to whoever stands in front of a Mac, until it is acknowledged there
    Message(Online<screen::Message>),
    /// Messages to a Mac, and whether they were read
    Messages(Online<screen::One>),
    /// Restart a Mac that is at its wizard
    Restart(Online<screen::One>),
    /// Shut down a Mac that is at its wizard
    Shutdown(Online<screen::One>),
}

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

/// `rootstock device show`
#[derive(Args, Debug)]
pub struct ShowDevice {
    /// Number of the device
    device: i64,
}

/// `rootstock client show`
#[derive(Args, Debug)]
pub struct ShowClient {
    /// Hardware address: 0a:1b:2c:3d:4e:5f
    mac: MacAddr,
}

impl Devices {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Devices::List(verb) => verb.run(before, list_devices),
            Devices::Show(verb) => verb.run(before, show_device),
            Devices::Screen(verb) => verb.run(before, screen::show),
            Devices::Start(verb) => verb.run(before, screen::start),
            Devices::Message(verb) => verb.run(before, screen::message),
            Devices::Messages(verb) => verb.run(before, screen::messages),
            Devices::Restart(verb) => {
                verb.run(before, |verb, appliance| screen::down(&verb, "restart", "restarts", appliance))
            }
            Devices::Shutdown(verb) => {
                verb.run(before, |verb, appliance| screen::down(&verb, "shutdown", "shuts down", appliance))
            }
        }
    }
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

fn addresses(macs: &[MacAddr]) -> String {
    macs.iter().map(MacAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn list_devices(_: List, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let devices: Vec<DeviceSummary> = appliance.client.get("/api/v1/devices")?;
    if appliance.json {
        say_json(&devices)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["DEVICE", "SERIAL", "MODEL", "KNOWN", "LAST SEEN", "ADDRESSES"]);
    for device in &devices {
        table.row([
            device.id.to_string(),
            text(&device.serial),
            text(&device.model),
            if device.known { "yes" } else { "no" }.to_owned(),
            stamp(device.seen_ms),
            addresses(&device.macs),
        ]);
    }
    table.print(
        "no Mac has booted from this appliance yet; rootstock client list shows who asked on the network",
    )?;
    Ok(ExitCode::SUCCESS)
}

fn show_device(verb: ShowDevice, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device: Device = appliance.client.get(&format!("/api/v1/devices/{}", verb.device))?;
    if appliance.json {
        say_json(&device)?;
        return Ok(ExitCode::SUCCESS);
    }
    let summary = &device.summary;
    for (name, value) in [
        ("serial", text(&summary.serial)),
        ("model", format!("{} ({})", text(&summary.model), text(&device.manufacturer))),
        ("UUID", text(&device.uuid)),
        ("addresses", addresses(&summary.macs)),
        ("memory", ByteSize(device.memory).to_string()),
        ("processor", text(&device.cpu)),
        ("firmware", text(&device.firmware)),
        ("seen", format!("{}, first {}", stamp(summary.seen_ms), stamp(device.first_seen_ms))),
    ] {
        say(format!("{name:<10} {}", printable(&value)))?;
    }
    let mut disks = Table::new(["DISK", "NODE", "SIZE", "MODEL", "ON IT NOW"]);
    for disk in &device.disks {
        disks.row([
            text(&disk.number),
            disk.node.clone(),
            ByteSize(disk.size).to_string(),
            disk.model.clone(),
            disk.contents.join("; "),
        ]);
    }
    disks.print("no disks")?;
    let mut runs = Table::new(["RUN", "SEQUENCE", "STARTED", "STATE"]);
    for run in &device.runs {
        runs.row([
            run.id.to_string(),
            run.sequence.clone(),
            stamp(run.started_ms),
            state(run.outcome).to_owned(),
        ]);
    }
    runs.print("no runs yet")?;
    Ok(ExitCode::SUCCESS)
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
