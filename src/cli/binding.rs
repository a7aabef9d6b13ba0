//! `rootstock client bindings` and `rootstock client forget`: which Mac took which boot image.

use std::process::ExitCode;

use clap::Args;

use super::connection::Appliance;
use super::output::{Table, printable, say, say_json, segment, stamp};
use crate::api::admin::Binding;
use crate::value::MacAddr;

/// `rootstock client bindings`
#[derive(Args, Debug)]
pub struct Bindings {}

/// `rootstock client forget`
#[derive(Args, Debug)]
pub struct Forget {
    /// Hardware address: 0a:1b:2c:3d:4e:5f
    mac: MacAddr,
    /// Only the Mac of this model, where several share a dongle: MacBook10,1
    #[arg(long, value_name = "MODEL")]
    system: Option<String>,
}

pub(super) fn list(_: Bindings, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let bindings: Vec<Binding> = appliance.client.get("/api/v1/bindings")?;
    if appliance.json {
        say_json(&bindings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["ADDRESS", "MODEL", "IMAGE", "CHOSEN", "LAST HEARD", "IP ADDRESS", "NAME"]);
    for binding in bindings {
        table.row([
            binding.mac.to_string(),
            binding.system,
            binding.image,
            stamp(binding.bound_ms),
            stamp(binding.seen_ms),
            binding.address.to_string(),
            binding.name,
        ]);
    }
    table.print("no Mac has taken a boot image from this appliance yet")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn forget(verb: Forget, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let Forget { mac, system } = verb;
    let which = system.map_or_else(String::new, |system| format!("?system={}", segment(&system)));
    let gone: Vec<Binding> = appliance.client.remove(&format!("/api/v1/bindings/{mac}{which}"))?;
    if appliance.json {
        say_json(&gone)?;
        return Ok(ExitCode::SUCCESS);
    }
    for binding in gone {
        let system = printable(&binding.system);
        say(format!(
            "{mac} ({system}) is no longer bound to {}: it is offered the default again",
            binding.image
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
