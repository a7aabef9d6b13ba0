//! `rootstock device conflicts`, `merge`, `distinct`: Macs that cannot both be right.

use std::process::ExitCode;

use clap::Args;

use super::{find, name};
use crate::api::admin::{Device, DeviceConflict, MergeDevice};
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, printable, say, say_json, stamp};

/// `rootstock device conflicts`
#[derive(Args, Debug)]
pub struct Conflicts {}

/// `rootstock device merge`
#[derive(Args, Debug)]
pub struct Merge {
    /// The Mac as it came now, with another logic board: by its number, as the serial number is that of both
    device: String,
    /// The Mac that it was before: keeps its number, name, variables and collections
    #[arg(long, value_name = "DEVICE")]
    into: String,
}

/// `rootstock device distinct`
#[derive(Args, Debug)]
pub struct Distinct {
    /// One Mac, by its number
    device: String,
    /// The other one
    other: String,
}

pub(super) fn conflicts(_: Conflicts, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let conflicts: Vec<DeviceConflict> = appliance.client.get("/api/v1/devices/conflicts")?;
    if appliance.json {
        say_json(&conflicts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["DEVICE", "WAS HERE BEFORE", "SAME", "VALUE", "SINCE"]);
    for conflict in &conflicts {
        table.row([
            format!("#{}", conflict.device),
            format!("#{}", conflict.other),
            conflict.shared.in_words().to_owned(),
            printable(&conflict.value),
            stamp(conflict.found_ms),
        ]);
    }
    table.print("no two Macs share a serial number or UUID")?;
    if let Some(first) = conflicts.first() {
        say(format!(
            "the same Mac with another logic board: rootstock device merge '#{0}' --into '#{1}'; two Macs: rootstock device distinct '#{0}' '#{1}'",
            first.device, first.other
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn merge(verb: Merge, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (newer, older) = (find(appliance, &verb.device)?, find(appliance, &verb.into)?);
    let path = format!("/api/v1/devices/{}/merge", newer.summary.id);
    let device: Device = appliance.client.post(&path, &MergeDevice { other: older.summary.id })?;
    if appliance.json {
        say_json(&device)?;
    } else {
        say(format!("#{} is {} (#{}) now", newer.summary.id, name(&device.summary), device.summary.id))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn distinct(verb: Distinct, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let (one, other) = (find(appliance, &verb.device)?, find(appliance, &verb.other)?);
    let path = format!("/api/v1/devices/{}/distinct", one.summary.id);
    let _: Device = appliance.client.post(&path, &MergeDevice { other: other.summary.id })?;
    if appliance.json {
        say_json(&serde_json::json!({ "distinct": [one.summary.id, other.summary.id] }))?;
    } else {
        say(format!("#{} and #{} are two Macs", one.summary.id, other.summary.id))?;
    }
    Ok(ExitCode::SUCCESS)
}
