//! Parts of the machine: board, cores, memory modules, network interfaces, battery.
//!
//! Must not know: who the Mac is, what disks are. Files of the kernel and tables of the firmware are other people's bytes: every
//! count is bounded, what makes no sense is left out.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::{line, names};
use crate::api::inventory::{BatteryFacts, Inventory, MemoryModule, NicFacts};

/// Most interfaces and memory modules that are told.
const MOST: usize = 32;
/// Longest text that is told of one part.
const LONGEST: usize = 120;

pub(super) fn inventory(root: &Path) -> Inventory {
    let dmi = |name: &str| line(&root.join("sys/class/dmi/id").join(name)).map(short);
    let (cores, threads) = processors(&line(&root.join("proc/cpuinfo")).unwrap_or_default());
    Inventory {
        board: dmi("board_name"),
        firmware_date: dmi("bios_date"),
        cores,
        threads,
        memory_modules: memory_modules(&root.join("sys/firmware/dmi/entries")),
        nics: nics(root),
        battery: battery(&root.join("sys/class/power_supply")),
    }
}

fn short(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// Cores and threads of all packages together (proc(5)).
fn processors(cpuinfo: &str) -> (Option<u32>, Option<u32>) {
    let mut cores = std::collections::BTreeSet::new();
    let (mut threads, mut package) = (0_u32, String::new());
    for line in cpuinfo.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim() {
            "processor" => threads += 1,
            "physical id" => package = value.trim().to_owned(),
            "core id" => {
                cores.insert((package.clone(), value.trim().to_owned()));
            }
            _ => {}
        }
    }
    let cores = u32::try_from(cores.len()).ok().filter(|cores| *cores > 0);
    (cores, Some(threads).filter(|threads| *threads > 0))
}

fn memory_modules(entries: &Path) -> Vec<MemoryModule> {
    let raw = |name: &String| fs::read(entries.join(name).join("raw")).ok().filter(|raw| raw.len() <= 4096);
    let modules = names(entries).into_iter().filter(|name| name.starts_with("17-"));
    modules.filter_map(|name| module(&raw(&name)?)).take(MOST).collect()
}

/// SMBIOS 3.4 section 7.18, "Memory Device (Type 17)". None for an empty slot.
fn module(raw: &[u8]) -> Option<MemoryModule> {
    let length = usize::from(*raw.get(1)?);
    let (fixed, strings) = (raw.get(..length)?, raw.get(length..)?);
    let word = |at: usize| Some(u16::from_le_bytes([*fixed.get(at)?, *fixed.get(at + 1)?]));
    let text = |at: usize| {
        let number = usize::from(*fixed.get(at)?).checked_sub(1)?;
        let text = strings.split(|byte| *byte == 0).nth(number)?;
        Some(short(String::from_utf8_lossy(text).trim().to_owned()))
    };
    let size = match word(0x0c)? {
        0 | 0xffff => return None,
        // Larger than the field: MiB in the extended one.
        0x7fff => {
            let bytes = fixed.get(0x1c..0x20)?;
            u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0x7fff_ffff) << 20
        }
        kib if kib & 0x8000 != 0 => u64::from(kib & 0x7fff) << 10,
        mib => u64::from(mib) << 20,
    };
    let kind = match fixed.get(0x12) {
        Some(0x12) => "DDR",
        Some(0x13 | 0x14) => "DDR2",
        Some(0x18) => "DDR3",
        Some(0x1a) => "DDR4",
        Some(0x1d) => "LPDDR3",
        Some(0x1e) => "LPDDR4",
        Some(0x22) => "DDR5",
        Some(0x23) => "LPDDR5",
        _ => "",
    };
    Some(MemoryModule {
        slot: text(0x10).unwrap_or_default(),
        size,
        kind: kind.to_owned(),
        speed: word(0x15).map(u32::from).filter(|speed| *speed != 0 && *speed != 0xffff),
        part: text(0x1a).unwrap_or_default(),
    })
}

/// Interfaces of real hardware. Addresses are the kernel's, so only of the machine itself, never of a made folder.
fn nics(root: &Path) -> Vec<NicFacts> {
    let addresses = if root == Path::new("/") { addresses() } else { Vec::new() };
    let net = root.join("sys/class/net");
    let target = |path: &Path| Some(fs::read_link(path).ok()?.file_name()?.to_str()?.to_owned());
    let nic = |name: String| {
        let folder = net.join(&name);
        if line(&folder.join("type")).as_deref() != Some("1") || !folder.join("device").exists() {
            return None;
        }
        let mac = line(&folder.join("address"))?.parse().ok()?;
        // Reading `carrier` of an interface that is down fails; `speed` is -1 where nothing is connected.
        let link = line(&folder.join("carrier")).as_deref() == Some("1");
        Some(NicFacts {
            mac,
            driver: target(&folder.join("device/driver")).map(short),
            bus: target(&folder.join("device/subsystem")).map(short),
            speed: line(&folder.join("speed")).and_then(|speed| speed.parse().ok()).filter(|_| link),
            link,
            wifi: folder.join("phy80211").exists() || folder.join("wireless").exists(),
            addresses: addresses
                .iter()
                .filter(|(interface, _)| *interface == name)
                .map(|(_, address)| *address)
                .take(16)
                .collect(),
            name,
        })
    };
    names(&net).into_iter().filter_map(nic).take(MOST).collect()
}

/// Addresses that reach further than the link.
fn addresses() -> Vec<(String, IpAddr)> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let address = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))?;
        let of_the_link = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        (!of_the_link && !address.is_loopback()).then_some((interface.interface_name, address))
    })
    .collect()
}

/// The first battery of the machine itself; those of mice and keyboards have the scope `Device`.
fn battery(supplies: &Path) -> Option<BatteryFacts> {
    let name = names(supplies).into_iter().find(|name| {
        let of = |file: &str| line(&supplies.join(name).join(file));
        of("type").as_deref() == Some("Battery")
            && of("scope").as_deref() != Some("Device")
            && of("present").as_deref() != Some("0")
    })?;
    let folder = supplies.join(name);
    let number = |file: &str| line(&folder.join(file))?.parse::<u64>().ok();
    // Micro in the kernel, milli for people: energy where the battery measures it, else charge.
    let milli = |what: &str| {
        let of = |prefix: &str| number(&format!("{prefix}_{what}"));
        of("energy").or_else(|| of("charge")).map(|micro| micro / 1000)
    };
    let model: Vec<String> =
        ["manufacturer", "model_name"].iter().filter_map(|file| line(&folder.join(file))).collect();
    Some(BatteryFacts {
        cycles: number("cycle_count")
            .and_then(|cycles| u32::try_from(cycles).ok())
            .filter(|cycles| *cycles > 0),
        design: milli("full_design"),
        full: milli("full"),
        charge: number("capacity")
            .and_then(|percent| u32::try_from(percent).ok())
            .filter(|percent| *percent <= 100),
        state: line(&folder.join("status")).map(|state| short(state.to_lowercase())),
        model: (!model.is_empty()).then(|| short(model.join(" "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A DIMM as dmidecode's page shows it, byte by byte.
    fn dimm(size: u16) -> Vec<u8> {
        let mut raw = vec![0_u8; 0x22];
        raw[0] = 17;
        raw[1] = 0x22;
        raw[0x0c..0x0e].copy_from_slice(&size.to_le_bytes());
        raw[0x10] = 1;
        raw[0x12] = 0x18;
        raw[0x15..0x17].copy_from_slice(&1600_u16.to_le_bytes());
        raw[0x1a] = 2;
        raw[0x1c..0x20].copy_from_slice(&65_536_u32.to_le_bytes());
        raw.extend_from_slice(b"DIMM0\0M471B1G73DB0\0\0");
        raw
    }

    #[test]
    fn section_6_a_macs_parts_are_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "sys/class/dmi/id/board_name", "Mac-189A3D4F975D5FFC\n");
        put(root, "sys/class/dmi/id/bios_date", "06/13/2018\n");
        let core = |n: u32| format!("processor\t: {n}\nphysical id\t: 0\ncore id\t\t: {}\n\n", n % 2);
        put(root, "proc/cpuinfo", (0..4).map(core).collect::<String>());
        put(root, "sys/firmware/dmi/entries/17-0/raw", dimm(8192));
        put(root, "sys/firmware/dmi/entries/17-1/raw", dimm(0));
        put(root, "sys/firmware/dmi/entries/17-2/raw", dimm(0x7fff));
        put(root, "sys/firmware/dmi/entries/16-0/raw", dimm(8192));
        put(root, "sys/class/net/eth0/type", "1\n");
        put(root, "sys/class/net/eth0/address", "0a:1b:2c:3d:4e:5f\n");
        put(root, "sys/class/net/eth0/carrier", "1\n");
        put(root, "sys/class/net/eth0/speed", "1000\n");
        put(root, "sys/class/net/eth0/device/vendor", "0x14e4\n");
        symlink("../../bus/pci/drivers/tg3", root.join("sys/class/net/eth0/device/driver")).unwrap();
        symlink("../../bus/pci", root.join("sys/class/net/eth0/device/subsystem")).unwrap();
        put(root, "sys/class/net/wlan0/type", "1\n");
        put(root, "sys/class/net/wlan0/address", "0a:1b:2c:3d:4e:60\n");
        put(root, "sys/class/net/wlan0/phy80211/index", "0");
        put(root, "sys/class/net/wlan0/device/vendor", "0x14e4\n");
        put(root, "sys/class/net/wlan0/speed", "-1\n");
        let power = "sys/class/power_supply";
        put(root, &format!("{power}/hid-mouse/type"), "Battery\n");
        put(root, &format!("{power}/hid-mouse/scope"), "Device\n");
        for (file, text) in [
            ("type", "Battery"),
            ("cycle_count", "801"),
            ("charge_full_design", "6330000"),
            ("charge_full", "4000000"),
            ("capacity", "73"),
            ("status", "Discharging"),
            ("manufacturer", "DP"),
            ("model_name", "bq20z451"),
        ] {
            put(root, &format!("{power}/BAT0/{file}"), format!("{text}\n"));
        }
        let inventory = inventory(root);
        assert_eq!(inventory.board.as_deref(), Some("Mac-189A3D4F975D5FFC"));
        assert_eq!((inventory.cores, inventory.threads), (Some(2), Some(4)));
        let modules: Vec<_> =
            inventory.memory_modules.iter().map(|module| (module.size >> 30, module.speed)).collect();
        assert_eq!(modules, [(8, Some(1600)), (64, Some(1600))]);
        assert_eq!(
            (inventory.memory_modules[0].slot.as_str(), inventory.memory_modules[0].part.as_str()),
            ("DIMM0", "M471B1G73DB0")
        );
        let nics: Vec<_> =
            inventory.nics.iter().map(|nic| (nic.name.as_str(), nic.link, nic.speed, nic.wifi)).collect();
        assert_eq!(nics, [("eth0", true, Some(1000), false), ("wlan0", false, None, true)]);
        assert_eq!(
            (inventory.nics[0].driver.as_deref(), inventory.nics[0].bus.as_deref()),
            (Some("tg3"), Some("pci"))
        );
        let battery = inventory.battery.unwrap();
        assert_eq!((battery.cycles, battery.health(), battery.charge), (Some(801), Some(63), Some(73)));
        assert_eq!(
            (battery.state.as_deref(), battery.model.as_deref()),
            (Some("discharging"), Some("DP bq20z451"))
        );
    }

    #[test]
    fn a_table_that_is_cut_or_changed_anywhere_never_panics() {
        let whole = dimm(0x7fff);
        for cut in 0..whole.len() {
            let _ = module(&whole[..cut]);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = module(&changed);
            }
        }
        assert_eq!(inventory(Path::new("/nonexistent")), Inventory::default());
    }
}
