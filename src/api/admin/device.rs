//! Macs as the runner described them, and network clients as the boot services heard them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunSummary;
use crate::api::conclusion::Conclusion;
use crate::api::runner::{BootMethod, DiskFacts, Inventory};
use crate::api::timeline::ClientEvent;
use crate::sequence::target::identity::Shared;
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
    /// When it spoke last, milliseconds since 1970 UTC; 0: it was registered and has not come yet.
    pub seen_ms: i64,
    /// Name that an administrator gave it.
    #[serde(default)]
    pub hostname: String,
    /// Its tags, by name.
    #[serde(default)]
    pub tags: Vec<String>,
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
    /// Its other parts, as its runner read them when it was seen last.
    #[serde(default)]
    pub inventory: Inventory,
    /// How its inventory changed, newest first; the newest few changes are kept.
    #[serde(default)]
    pub changes: Vec<InventoryChange>,
    /// IP address from which it spoke last.
    #[serde(default)]
    pub address: String,
    /// An administrator's note.
    #[serde(default)]
    pub note: String,
    /// To whom it belongs: `organisation`, `personal`, `shared`; empty when nobody said.
    #[serde(default)]
    pub owner: String,
    /// Collections that it belongs to.
    #[serde(default)]
    pub collections: Vec<String>,
    /// Macs that cannot be right beside this one.
    #[serde(default)]
    pub conflicts: Vec<DeviceConflict>,
    /// When it was seen first, milliseconds since 1970 UTC.
    pub first_seen_ms: i64,
    /// Its runs, newest first.
    pub runs: Vec<RunSummary>,
}

/// How an inventory changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct InventoryChange {
    /// When the new one was seen first, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What, `memory: 8.0 GiB → 16.0 GiB`.
    pub what: Vec<String>,
}

/// Two Macs that cannot both be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DeviceConflict {
    /// The one that came later: nothing starts by itself on it.
    pub device: i64,
    /// The one that was here before.
    pub other: i64,
    /// What they have in common.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub shared: Shared,
    /// The serial number or UUID.
    pub value: String,
    /// When it was found, milliseconds since 1970 UTC.
    pub found_ms: i64,
}

/// A Mac that has not come yet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CreateDevice {
    /// Its serial number; this or the UUID is needed.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub serial: Option<Serial>,
    /// Its UUID.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub uuid: Option<Uuid>,
    /// What is known of it.
    pub about: EditDevice,
}

/// What administrators say of a Mac; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EditDevice {
    /// Whether it is known.
    pub known: Option<bool>,
    /// Its name; empty: none. Where no variable OSDComputerName is set for it, runs on it take this.
    pub hostname: Option<String>,
    /// A note; empty: none.
    pub note: Option<String>,
    /// To whom it belongs: `organisation`, `personal`, `shared`; empty: nobody says.
    pub owner: Option<String>,
    /// Tags to add.
    pub tag: Vec<String>,
    /// Tags to take away.
    pub untag: Vec<String>,
}

/// Another Mac.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MergeDevice {
    /// Number of the other one.
    pub other: i64,
}

/// What a list of Macs changed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RosterReport {
    /// Lines that are Macs.
    pub lines: u32,
    /// Macs that were not known by serial number or UUID.
    pub created: u32,
    /// Macs that something changed of.
    pub changed: u32,
    /// Macs of which everything was so already.
    pub unchanged: u32,
    /// What is wrong, by line; then nothing was changed. At most 100.
    pub faults: Vec<RosterFault>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RosterFault {
    /// The line in the file, from 1; the head is line 1.
    pub line: u64,
    /// Name of the column; empty for the line as a whole.
    pub column: String,
    /// What is wrong.
    pub message: String,
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
