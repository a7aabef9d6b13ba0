//! `rootstock device …`: Macs as they described themselves, and what administrators say of them.

mod about;
mod conflict;
mod list;
mod offers;
mod roster;
mod show;

use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

use super::connection::{Appliance, Connection, Online};
use super::output::segment;
use super::screen;
use crate::api::admin::{Device, DeviceSummary};

/// Verbs of `rootstock device`.
#[derive(Subcommand)]
pub enum Devices {
    /// Macs that have booted from the appliance or were registered, last seen first
    List(Online<list::List>),
    /// One Mac: model, memory, disks and their health, battery, collections, runs
    Show(Online<show::Show>),
    /// What a Mac is offered now, in which order, and why not the rest
    Offers(Online<offers::Offers>),
    /// Register a Mac before it comes
    Add(Online<about::Add>),
    /// Change the name of a Mac, its note, owner, tags, or whether it is known
    Edit(Online<about::Edit>),
    /// Forget a Mac that never ran anything
    Delete(Online<about::Delete>),
    /// Macs that cannot both be right: two with one serial number, a logic board that was changed
    Conflicts(Online<conflict::Conflicts>),
    /// A Mac that came with another logic board is the one that was here before
    Merge(Online<conflict::Merge>),
    /// Two Macs share a serial number or UUID, and are two all the same
    Distinct(Online<conflict::Distinct>),
    /// Register and change many Macs from a CSV file
    #[command(after_help = roster::HELP)]
    Import(Online<roster::Import>),
    /// All Macs as a CSV file that `import` takes back
    Export(Online<roster::Export>),
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
    /// Stop the countdown of a Mac: what is Required does not start by itself there
    Hold(Online<screen::One>),
    /// Restart a Mac that is at its wizard
    Restart(Online<screen::One>),
    /// Shut down a Mac that is at its wizard
    Shutdown(Online<screen::One>),
}

impl Devices {
    /// Runs the verb.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(self, before: &Connection) -> anyhow::Result<ExitCode> {
        match self {
            Devices::List(verb) => verb.run(before, list::list),
            Devices::Show(verb) => verb.run(before, show::show),
            Devices::Offers(verb) => verb.run(before, offers::offers),
            Devices::Add(verb) => verb.run(before, about::add),
            Devices::Edit(verb) => verb.run(before, about::edit),
            Devices::Delete(verb) => verb.run(before, about::delete),
            Devices::Conflicts(verb) => verb.run(before, conflict::conflicts),
            Devices::Merge(verb) => verb.run(before, conflict::merge),
            Devices::Distinct(verb) => verb.run(before, conflict::distinct),
            Devices::Import(verb) => verb.run(before, roster::import),
            Devices::Export(verb) => verb.run(before, roster::export),
            Devices::Screen(verb) => verb.run(before, screen::show),
            Devices::Start(verb) => verb.run(before, screen::start),
            Devices::Message(verb) => verb.run(before, screen::message),
            Devices::Messages(verb) => verb.run(before, screen::messages),
            Devices::Hold(verb) => verb.run(before, |verb, appliance| {
                screen::order(&verb, "hold", "starts nothing by itself any more", appliance)
            }),
            Devices::Restart(verb) => {
                verb.run(before, |verb, appliance| screen::order(&verb, "restart", "restarts", appliance))
            }
            Devices::Shutdown(verb) => {
                verb.run(before, |verb, appliance| screen::order(&verb, "shutdown", "shuts down", appliance))
            }
        }
    }
}

/// The Mac of this serial number, UUID or name, or with this number (`12` or `#12`).
///
/// # Errors
/// When there is none, or several bear the name: then by their numbers.
pub fn find(appliance: &Appliance, wanted: &str) -> anyhow::Result<Device> {
    let found: Vec<DeviceSummary> =
        appliance.client.get(&format!("/api/v1/devices?limit=10&name={}", segment(wanted)))?;
    let number = wanted.strip_prefix('#').unwrap_or(wanted).parse::<i64>().ok();
    let id = match (found.as_slice(), number) {
        ([one], _) => one.id,
        ([], Some(number)) => number,
        ([], None) => bail!("there is no Mac {wanted}: list them with rootstock device list"),
        (several, _) => {
            let numbers: Vec<String> = several.iter().map(|device| format!("#{}", device.id)).collect();
            bail!("several Macs are called {wanted}: {}; say which by its number", numbers.join(", "));
        }
    };
    Ok(appliance.client.get(&format!("/api/v1/devices/{id}"))?)
}

/// A value, or a dash.
fn text(value: &Option<impl ToString>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// What people call a Mac.
fn name(device: &DeviceSummary) -> String {
    device.serial.as_ref().map_or_else(|| format!("#{}", device.id), ToString::to_string)
}
