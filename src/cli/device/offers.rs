//! `rootstock device offers`: every deployment judged for one Mac.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::find;
use crate::api::admin::ExplainedOffer;
use crate::api::runner::Purpose;
use crate::cli::connection::Appliance;
use crate::cli::output::{Table, say_json, stamp};

/// How a Mac is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Boot {
    /// Over the network
    Netboot,
    /// From a stick
    Usb,
    /// The macOS that is installed
    Macos,
}

/// `rootstock device offers`
#[derive(Args, Debug)]
pub struct Offers {
    /// A Mac: its serial number, UUID, name or number
    device: String,
    /// How it is started; as it was started last when left out
    #[arg(long, value_enum)]
    boot: Option<Boot>,
}

pub(super) fn offers(verb: Offers, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?;
    let boot = match verb.boot {
        None => "",
        Some(Boot::Netboot) => "?boot=netboot",
        Some(Boot::Usb) => "?boot=usb",
        Some(Boot::Macos) => "?boot=macos",
    };
    let path = format!("/api/v1/devices/{}/offers{boot}", device.summary.id);
    let lines: Vec<ExplainedOffer> = appliance.client.get(&path)?;
    if appliance.json {
        say_json(&lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["PLACE", "SEQUENCE", "COLLECTION", "DEPLOYMENT", "OFFERED", "WHY"]);
    for line in lines {
        let offered = match (line.place, line.starts) {
            (None, _) => "no",
            (Some(_), true) => "starts by itself",
            (Some(_), false) => "can be chosen",
        };
        let purpose = if line.purpose == Purpose::Required { "required" } else { "available" };
        let until = line.until_ms.map(|at| format!(" ({})", stamp(at))).unwrap_or_default();
        table.row([
            line.place.map_or("-".to_owned(), |place| place.to_string()),
            line.sequence,
            line.collection,
            format!("{} {purpose}", line.deployment),
            offered.to_owned(),
            format!("{}{until}", line.reason),
        ]);
    }
    table
        .print("nothing is deployed: rootstock deploy SEQUENCE --to \"Unknown Macs\" --purpose available")?;
    Ok(ExitCode::SUCCESS)
}
