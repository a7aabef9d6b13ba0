//! `rootstock device show`: one Mac with everything that is known of it.

use std::process::ExitCode;

use clap::Args;

use super::list::addresses;
use super::{find, text};
use crate::api::admin::Device;
use crate::api::runner::{BatteryFacts, DiskHealth, MemoryModule, NicFacts};
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, printable, say, say_json, stamp};
use crate::cli::run::state;
use crate::value::ByteSize;

/// `rootstock device show`
#[derive(Args, Debug)]
pub struct Show {
    /// A Mac: its serial number, UUID, name or number
    device: String,
}

pub(super) fn show(verb: Show, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?;
    if appliance.json {
        say_json(&device)?;
        return Ok(ExitCode::SUCCESS);
    }
    let summary = &device.summary;
    let inventory = &device.inventory;
    let seen = match summary.seen_ms {
        0 => format!("never; registered {}", stamp(device.first_seen_ms)),
        at => {
            format!("{} from {}, first {}", stamp(at), dashed(&device.address), stamp(device.first_seen_ms))
        }
    };
    let cores = match (inventory.cores, inventory.threads) {
        (Some(cores), Some(threads)) => format!(", {cores} cores, {threads} threads"),
        _ => String::new(),
    };
    let date = inventory.firmware_date.as_ref().map(|date| format!(" of {date}")).unwrap_or_default();
    for (name, value) in [
        ("device", format!("#{}{}", summary.id, if summary.known { "" } else { ", unknown" })),
        ("serial", text(&summary.serial)),
        ("model", format!("{} ({})", text(&summary.model), text(&device.manufacturer))),
        ("UUID", text(&device.uuid)),
        ("board", text(&inventory.board)),
        ("name", dashed(&summary.hostname)),
        ("owner", dashed(&device.owner)),
        ("tags", dashed(&summary.tags.join(" "))),
        ("note", dashed(&device.note)),
        ("in", dashed(&device.collections.join(", "))),
        ("addresses", addresses(&summary.macs)),
        ("memory", format!("{}{}", ByteSize(device.memory), modules(&inventory.memory_modules))),
        ("processor", format!("{}{cores}", text(&device.cpu))),
        ("firmware", format!("{}{date}", text(&device.firmware))),
        ("battery", inventory.battery.as_ref().map_or("none".to_owned(), battery)),
        ("seen", seen),
    ] {
        say(format!("{name:<10} {}", printable(&value)))?;
    }
    for conflict in &device.conflicts {
        let other = if conflict.device == summary.id { conflict.other } else { conflict.device };
        say(format!(
            "conflict   #{other} has the same {} {}: rootstock device merge, or rootstock device distinct",
            conflict.shared.in_words(),
            printable(&conflict.value)
        ))?;
    }
    let mut disks = Table::new(["DISK", "NODE", "SIZE", "MODEL", "HEALTH", "ON IT NOW"]);
    for disk in &device.disks {
        disks.row([
            text(&disk.number),
            disk.node.clone(),
            ByteSize(disk.size).to_string(),
            disk.model.clone(),
            disk.health.as_ref().map_or("-".to_owned(), health),
            disk.contents.join("; "),
        ]);
    }
    disks.print("no disks")?;
    if !inventory.nics.is_empty() {
        nics(&inventory.nics).print("")?;
    }
    for change in &device.changes {
        say(format!("{}  {}", stamp(change.at_ms), printable(&change.what.join("; "))))?;
    }
    runs(&device).print("no runs yet")?;
    Ok(ExitCode::SUCCESS)
}

fn dashed(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn modules(modules: &[MemoryModule]) -> String {
    let one = |module: &MemoryModule| {
        let speed = module.speed.map(|speed| format!("-{speed}")).unwrap_or_default();
        format!("{} {}{speed}", ByteSize(module.size), module.kind)
    };
    if modules.is_empty() {
        String::new()
    } else {
        format!(" ({})", modules.iter().map(one).collect::<Vec<_>>().join(" + "))
    }
}

fn battery(battery: &BatteryFacts) -> String {
    let parts = [
        battery.health().map(|health| format!("holds {health} % of its first capacity")),
        battery.cycles.map(|cycles| format!("{cycles} cycles")),
        battery.charge.map(|charge| format!("{charge} % charged")),
        battery.state.clone(),
        battery.model.clone(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn health(health: &DiskHealth) -> String {
    let mut parts = vec![health.verdict.as_str().to_owned()];
    parts.extend(health.why.iter().cloned());
    parts.extend(health.wear.map(|wear| format!("{wear} % worn")));
    parts.extend(health.hours.map(|hours| format!("{hours} h")));
    parts.extend(health.temperature.map(|degrees| format!("{degrees} °C")));
    parts.join(", ")
}

fn nics(nics: &[NicFacts]) -> Table {
    let mut table = Table::new(["INTERFACE", "ADDRESS", "DRIVER", "LINK", "IP ADDRESSES"]);
    for nic in nics {
        let link = match (nic.link, nic.speed) {
            (false, _) => "no".to_owned(),
            (true, Some(speed)) => format!("{speed} Mbit/s"),
            (true, None) => "yes".to_owned(),
        };
        table.row([
            if nic.wifi { format!("{} (Wi-Fi)", nic.name) } else { nic.name.clone() },
            nic.mac.to_string(),
            text(&nic.driver),
            link,
            nic.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}

fn runs(device: &Device) -> Table {
    let mut table = Table::new(["RUN", "SEQUENCE", "STARTED", "STATE"]);
    for run in &device.runs {
        table.row([
            run.id.to_string(),
            run.sequence.clone(),
            stamp(run.started_ms),
            state(run.outcome).to_owned(),
        ]);
    }
    table
}
