//! `rootstock device add`, `edit`, `delete`: what administrators say of a Mac.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use uuid::Uuid;

use super::{find, name};
use crate::api::admin::{CreateDevice, Device, EditDevice};
use crate::cli::connection::Appliance;
use crate::cli::output::{say, say_json};
use crate::value::Serial;

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    /// Yes
    Yes,
    /// No
    No,
}

/// What is said of a Mac.
#[derive(Args, Debug)]
pub struct About {
    /// Its name: runs on it take it for OSDComputerName where no variable gives another; "" takes it away
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// A note; "" takes it away
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// To whom it belongs: organisation, personal or shared; "" takes it away
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Whether it is known; what is deployed to "Unknown Macs" is not for known ones
    #[arg(long, value_enum)]
    known: Option<YesNo>,
    /// A tag to add; may be given several times
    #[arg(long)]
    tag: Vec<String>,
}

impl About {
    fn edit(self, untag: Vec<String>) -> EditDevice {
        EditDevice {
            known: self.known.map(|known| known == YesNo::Yes),
            hostname: self.hostname,
            note: self.note,
            owner: self.owner,
            tag: self.tag,
            untag,
        }
    }
}

/// `rootstock device add`
#[derive(Args, Debug)]
pub struct Add {
    /// Its serial number, as the firmware reports it
    #[arg(required_unless_present = "uuid")]
    serial: Option<Serial>,
    /// Its system UUID
    #[arg(long)]
    uuid: Option<Uuid>,
    #[command(flatten)]
    about: About,
}

/// `rootstock device edit`
#[derive(Args, Debug)]
pub struct Edit {
    /// A Mac: its serial number, UUID, name or number
    device: String,
    #[command(flatten)]
    about: About,
    /// A tag to take away; may be given several times
    #[arg(long)]
    untag: Vec<String>,
}

/// `rootstock device delete`
#[derive(Args, Debug)]
pub struct Delete {
    /// A Mac: its serial number, UUID, name or number
    device: String,
}

pub(super) fn add(verb: Add, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let body = CreateDevice { serial: verb.serial, uuid: verb.uuid, about: verb.about.edit(Vec::new()) };
    let device: Device = appliance.client.post("/api/v1/devices", &body)?;
    said(appliance, &device, "is registered")
}

pub(super) fn edit(verb: Edit, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?;
    let path = format!("/api/v1/devices/{}", device.summary.id);
    let device: Device = appliance.client.patch(&path, &verb.about.edit(verb.untag))?;
    said(appliance, &device, "is changed")
}

fn said(appliance: &Appliance, device: &Device, what: &str) -> anyhow::Result<ExitCode> {
    if appliance.json {
        say_json(device)?;
    } else {
        let summary = &device.summary;
        let tags = if summary.tags.is_empty() {
            String::new()
        } else {
            format!(", tags: {}", summary.tags.join(" "))
        };
        let within = match device.collections.is_empty() {
            true => String::new(),
            false => format!(", in {}", device.collections.join(", ")),
        };
        say(format!("{} (#{}) {what}{tags}{within}", name(summary), summary.id))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn delete(verb: Delete, appliance: &Appliance) -> anyhow::Result<ExitCode> {
    let device = find(appliance, &verb.device)?;
    appliance.client.delete(&format!("/api/v1/devices/{}", device.summary.id))?;
    if appliance.json {
        say_json(&serde_json::json!({ "deleted": device.summary.id }))?;
    } else {
        say(format!("{} (#{}) is forgotten", name(&device.summary), device.summary.id))?;
    }
    Ok(ExitCode::SUCCESS)
}
