//! What a Mac has beyond who it is: the runner reads it, hello carries it, rules ask for it.
//!
//! Everything is optional: a runner of another version, a firmware or a virtual machine may give nothing of it. Every text
//! and list is bounded where it comes in (`server/http/bounds`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::runner::DeviceFacts;
use crate::sequence::target::fact::{Fact, Subject};
use crate::value::{MacAddr, Model, Serial};

/// Parts of a Mac.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Inventory {
    /// SMBIOS board name: `Mac-27ADBB7B4CEE8E61`.
    pub board: Option<String>,
    /// Date of the firmware, as it writes it.
    pub firmware_date: Option<String>,
    /// Processor cores.
    pub cores: Option<u32>,
    /// Processor threads.
    pub threads: Option<u32>,
    /// Memory modules that are plugged in or soldered on (SMBIOS type 17).
    pub memory_modules: Vec<MemoryModule>,
    /// Network interfaces of real hardware, by name.
    pub nics: Vec<NicFacts>,
    /// The battery, if it has one.
    pub battery: Option<BatteryFacts>,
}

/// One memory module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct MemoryModule {
    /// Where it sits, as the board calls it.
    pub slot: String,
    /// Bytes.
    pub size: u64,
    /// `DDR3`, `LPDDR4`; empty when the firmware does not say.
    pub kind: String,
    /// Million transfers a second.
    pub speed: Option<u32>,
    /// The maker's part number.
    pub part: String,
}

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct NicFacts {
    /// The kernel's name.
    pub name: String,
    /// Hardware address.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub mac: MacAddr,
    /// The kernel's driver.
    #[serde(default)]
    pub driver: Option<String>,
    /// Bus that it sits on: `pci`, `usb`.
    #[serde(default)]
    pub bus: Option<String>,
    /// Mbit/s, when something is connected.
    #[serde(default)]
    pub speed: Option<u32>,
    /// Whether something is connected.
    #[serde(default)]
    pub link: bool,
    /// Whether it is wireless.
    #[serde(default)]
    pub wifi: bool,
    /// Addresses that it has, those of the link alone left out.
    #[serde(default)]
    #[cfg_attr(feature = "server", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
}

/// The battery. Capacities in the unit that the firmware uses (mWh or mAh), the same for all three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct BatteryFacts {
    /// Charge cycles.
    pub cycles: Option<u32>,
    /// Capacity when it was new.
    pub design: Option<u64>,
    /// Capacity when it is full today.
    pub full: Option<u64>,
    /// Percent that it is charged.
    pub charge: Option<u32>,
    /// `charging`, `discharging`, `full`.
    pub state: Option<String>,
    /// Its name and maker.
    pub model: Option<String>,
}

impl BatteryFacts {
    /// Percent of the first capacity that it still holds; more than 100 is possible.
    pub fn health(&self) -> Option<u64> {
        let (full, design) = (self.full?, self.design.filter(|design| *design > 0)?);
        full.checked_mul(100)?.checked_div(design)
    }
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DiskFacts {
    /// Number in sequences: 0 is the first internal disk. None for a disk that sequences must not touch
    /// (the medium that the runner was started from, read-only disks).
    pub number: Option<u32>,
    /// Device node, `/dev/nvme0n1`.
    pub node: String,
    /// Model text of the disk.
    pub model: String,
    /// Serial number of the disk.
    pub serial: String,
    /// Bytes.
    pub size: u64,
    /// Logical block in bytes: 512 or 4096.
    pub block_size: u32,
    /// Whether it sits on a removable bus (USB, Thunderbolt).
    pub external: bool,
    /// What is on it now, one line a partition (`1 EFI System 200 MiB`): shown before it is erased.
    pub contents: Vec<String>,
    /// How it is, by its own record; none when it was not asked or keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<DiskHealth>,
}

/// How a disk is, by its own record (SMART).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct DiskHealth {
    /// In one word.
    pub verdict: HealthVerdict,
    /// Why it is not good: `5 sectors were replaced`; empty when it is.
    pub why: Vec<String>,
    /// Hours that it ran.
    pub hours: Option<u64>,
    /// Times that it was switched on.
    pub starts: Option<u64>,
    /// Degrees Celsius.
    pub temperature: Option<i32>,
    /// Percent of its life that an SSD has used; may be more than 100.
    pub wear: Option<u32>,
    /// Bytes written in its life.
    pub written: Option<u64>,
}

/// Health in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HealthVerdict {
    /// Nothing speaks against it.
    Good,
    /// Its life is used up, or parts of it had to be replaced: it works, plan its replacement.
    Worn,
    /// The disk itself says that it is failing, or it has lost data.
    Failing,
    /// It does not say, or this version does not know the word.
    #[default]
    #[serde(other)]
    Unknown,
}

impl HealthVerdict {
    /// The word of the wire and of rules.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthVerdict::Good => "good",
            HealthVerdict::Worn => "worn",
            HealthVerdict::Failing => "failing",
            HealthVerdict::Unknown => "unknown",
        }
    }
}

/// A Mac as rules see it, as far as it described itself.
pub fn subject(facts: &DeviceFacts) -> Subject {
    let mut subject = Subject::default();
    let DeviceFacts { inventory, .. } = facts;
    let texts = [
        (Fact::Serial, facts.serial.as_ref().map(Serial::as_str)),
        (Fact::Model, facts.model.as_ref().map(Model::as_str)),
        (Fact::Manufacturer, facts.manufacturer.as_deref()),
        (Fact::Cpu, facts.cpu.as_deref()),
        (Fact::Firmware, facts.firmware.as_deref()),
        (Fact::Board, inventory.board.as_deref()),
    ];
    for (fact, text) in texts {
        subject.text(fact, text.unwrap_or_default());
    }
    if let Some(uuid) = facts.uuid {
        subject.text(Fact::Uuid, uuid.to_string());
    }
    for mac in &facts.macs {
        subject.text(Fact::Mac, mac.to_string());
    }
    if facts.memory > 0 {
        subject.number(Fact::Memory, facts.memory);
    }
    if let Some(cores) = inventory.cores {
        subject.number(Fact::Cores, cores);
    }
    let internal = || facts.disks.iter().filter(|disk| !disk.external && disk.number.is_some());
    subject.number(Fact::Disks, internal().count() as u64);
    for disk in internal() {
        subject.number(Fact::DiskSize, disk.size).text(Fact::DiskModel, disk.model.as_str());
        subject.text(Fact::DiskSerial, disk.serial.as_str());
        let health = disk.health.clone().unwrap_or_default();
        subject.text(Fact::DiskHealth, health.verdict.as_str());
        if let Some(wear) = health.wear {
            subject.number(Fact::DiskWear, wear);
        }
        if let Some(hours) = health.hours {
            subject.number(Fact::DiskHours, hours);
        }
    }
    subject.flag(Fact::Wifi, inventory.nics.iter().any(|nic| nic.wifi));
    for nic in &inventory.nics {
        subject.text(Fact::NicDriver, nic.driver.clone().unwrap_or_default());
        if let Some(speed) = nic.speed.filter(|_| nic.link) {
            subject.number(Fact::NicSpeed, speed);
        }
        for address in &nic.addresses {
            subject.ip(Fact::Ip, *address);
        }
    }
    subject.flag(Fact::Battery, inventory.battery.is_some());
    if let Some(battery) = &inventory.battery {
        if let Some(cycles) = battery.cycles {
            subject.number(Fact::BatteryCycles, cycles);
        }
        if let Some(health) = battery.health() {
            subject.number(Fact::BatteryHealth, health);
        }
    }
    subject
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::target::rule::Rule;

    #[test]
    fn a_runner_that_knows_no_inventory_is_read_and_what_a_newer_one_adds_is_left_out() {
        let old = r#"{"serial":"C02A","uuid":null,"model":null,"manufacturer":null,"macs":[],"memory":1,"cpu":null,
            "firmware":null,"disks":[]}"#;
        let facts: DeviceFacts = serde_json::from_str(old).unwrap();
        assert_eq!(facts.inventory, Inventory::default());
        let new = r#"{"board":"Mac-1","cameras":2,"battery":{"cycles":7,"smell":"none"}}"#;
        let inventory: Inventory = serde_json::from_str(new).unwrap();
        assert_eq!(inventory.battery.unwrap().cycles, Some(7));
        let health: DiskHealth = serde_json::from_str(r#"{"verdict":"splendid"}"#).unwrap();
        assert_eq!(health.verdict, HealthVerdict::Unknown);
    }

    #[test]
    fn section_6_rules_see_every_part_of_the_inventory() {
        let facts: DeviceFacts = serde_json::from_str(
            r#"{"serial":"C02A","uuid":"00000000-0000-0000-0000-000000000001","model":"MacBookPro11,1","manufacturer":"Apple Inc.",
            "macs":["0a:1b:2c:3d:4e:5f"],"memory":8589934592,"cpu":"i5","firmware":"1.2","disks":[
              {"number":0,"node":"/dev/sda","model":"APPLE SSD","serial":"S1","size":500000000000,"block_size":512,"external":false,
               "contents":[],"health":{"verdict":"worn","wear":101,"hours":9000}},
              {"number":1,"node":"/dev/sdb","model":"USB","serial":"S2","size":1,"block_size":512,"external":true,"contents":[]}],
            "inventory":{"board":"Mac-189A3D4F975D5FFC","cores":2,
              "nics":[{"name":"eth0","mac":"0a:1b:2c:3d:4e:5f","driver":"tg3","link":true,"speed":1000,"addresses":["10.1.2.3"]}],
              "battery":{"cycles":801,"design":6330,"full":4000}}}"#,
        )
        .unwrap();
        let mac = subject(&facts);
        for rule in [
            "board like 'Mac-189*' and cores = 2 and disks = 1",
            "disk.health = worn and disk.wear > 100 and disk.hours >= 9000 and disk.size = 500 GB",
            "nic.driver = tg3 and nic.speed = 1000 and ip in 10.1.0.0/16 and not wifi",
            "battery and battery.cycles > 800 and battery.health between 60 and 65",
            "not disk.model = USB and uuid exists and mac = 0a:1b:2c:3d:4e:5f",
        ] {
            assert!(Rule::read(rule).unwrap().holds(&mac), "{rule}");
        }
    }
}
