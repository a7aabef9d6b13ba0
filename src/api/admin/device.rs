//! Macs as the runner described them, and network clients as the boot services heard them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunSummary;
use crate::api::conclusion::Conclusion;
use crate::api::runner::{BootMethod, DiskFacts};
use crate::api::timeline::ClientEvent;
use crate::value::{MacAddr, Model, Serial};

/// One Mac in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DeviceSummary {
    /// Number of the device.
    pub id: i64,
    /// Serial number, when the firmware gives one.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub serial: Option<Serial>,
    /// Model identifier.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub model: Option<Model>,
    /// Addresses it was seen with: hints, a dongle serves many Macs.
    #[cfg_attr(feature = "server", schema(value_type = Vec<String>))]
    pub macs: Vec<MacAddr>,
    /// Whether an administrator or a finished run made it known; an unknown one belongs to *Unknown Macs*.
    pub known: bool,
    /// When it spoke last, milliseconds since 1970 UTC.
    pub seen_ms: i64,
}

/// One Mac with its inventory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Device {
    /// What lists show.
    #[serde(flatten)]
    pub summary: DeviceSummary,
    /// SMBIOS system UUID.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub uuid: Option<Uuid>,
    /// SMBIOS manufacturer.
    pub manufacturer: Option<String>,
    /// Main memory in bytes.
    pub memory: u64,
    /// Processor name.
    pub cpu: Option<String>,
    /// Firmware version.
    pub firmware: Option<String>,
    /// How it was started last.
    pub boot: BootMethod,
    /// Disks as the runner saw them last.
    pub disks: Vec<DiskFacts>,
    /// When it was seen first, milliseconds since 1970 UTC.
    pub first_seen_ms: i64,
    /// Its runs, newest first.
    pub runs: Vec<RunSummary>,
}

/// One network client in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ClientSummary {
    /// What happened last; its `mac` and `at_ms` are the client's.
    pub last: ClientEvent,
    /// Number of events kept.
    pub events: u32,
    /// Serial number of the device that was seen with this address last.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub serial: Option<Serial>,
    /// What its last events say about its way.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
}

/// One network client with its timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Client {
    /// Hardware address.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub mac: MacAddr,
    /// Devices that were seen with this address, by number.
    pub devices: Vec<i64>,
    /// Oldest first; the appliance keeps the newest 500 of a client.
    pub events: Vec<ClientEvent>,
    /// What they say about its way: how far it came, where it stopped, what to look at.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
}
