//! The machine: SMBIOS facts, processor, memory, Ethernet addresses.
//!
//! Must not know: what disks are.

use std::fs;
use std::path::Path;

use super::{line, names, parts};
use crate::api::runner::{DeviceFacts, DiskFacts};
use crate::value::MacAddr;

pub(super) fn machine(root: &Path, boot_interface: Option<MacAddr>, disks: Vec<DiskFacts>) -> DeviceFacts {
    let dmi = |name: &str| line(&root.join("sys/class/dmi/id").join(name)).filter(|text| !placeholder(text));
    DeviceFacts {
        serial: dmi("product_serial").and_then(|text| text.parse().ok()),
        uuid: dmi("product_uuid")
            .and_then(|text| text.parse().ok())
            .filter(|uuid: &uuid::Uuid| !uuid.is_nil()),
        model: dmi("product_name").and_then(|text| text.parse().ok()),
        manufacturer: dmi("sys_vendor"),
        macs: macs(root, boot_interface),
        memory: memory(&line(&root.join("proc/meminfo")).unwrap_or_default()),
        cpu: cpu(&line(&root.join("proc/cpuinfo")).unwrap_or_default()),
        firmware: dmi("bios_version"),
        disks,
        inventory: parts::inventory(root),
    }
}

/// What boards carry whose maker filled nothing in: taking it for an identity would make one Mac of many.
fn placeholder(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    matches!(
        text.as_str(),
        "none"
            | "not specified"
            | "default string"
            | "to be filled by o.e.m."
            | "system serial number"
            | "0"
            | "unknown"
    ) || text.chars().all(|c| c == '0' || c == '-')
}

fn memory(meminfo: &str) -> u64 {
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

fn cpu(cpuinfo: &str) -> Option<String> {
    let value = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1;
    let tidy = value.split_whitespace().collect::<Vec<_>>().join(" ");
    (!tidy.is_empty()).then_some(tidy)
}

/// Wired Ethernet interfaces of real hardware: the one that booted, those with a cable, the rest.
fn macs(root: &Path, boot_interface: Option<MacAddr>) -> Vec<MacAddr> {
    let net = root.join("sys/class/net");
    let mut found: Vec<(bool, bool, MacAddr)> = Vec::new();
    for name in names(&net) {
        let folder = net.join(&name);
        // ARPHRD_ETHER is 1; bridges and tunnels have no device, Wi-Fi has a phy.
        let wired = line(&folder.join("type")).as_deref() == Some("1")
            && folder.join("device").exists()
            && !folder.join("phy80211").exists()
            && !folder.join("wireless").exists();
        let address = line(&folder.join("address")).and_then(|text| text.parse::<MacAddr>().ok());
        let Some(address) = address.filter(|address| wired && address.as_bytes() != &[0; 6]) else {
            continue;
        };
        // Reading `carrier` of an interface that is down fails: no cable that we could use.
        let cable = fs::read_to_string(folder.join("carrier")).is_ok_and(|text| text.trim() == "1");
        if !found.iter().any(|(_, _, known)| *known == address) {
            found.push((Some(address) != boot_interface, !cable, address));
        }
    }
    found.sort_by_key(|(not_booted, no_cable, _)| (*not_booted, *no_cable));
    found.into_iter().map(|(_, _, address)| address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn interface(root: &Path, name: &str, address: &str, cable: bool) {
        put(root, &format!("sys/class/net/{name}/type"), "1\n");
        put(root, &format!("sys/class/net/{name}/device/vendor"), "0x14e4\n");
        put(root, &format!("sys/class/net/{name}/address"), &format!("{address}\n"));
        put(root, &format!("sys/class/net/{name}/carrier"), if cable { "1\n" } else { "0\n" });
    }

    #[test]
    fn a_mac_says_who_it_is() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "sys/class/dmi/id/product_serial", "C02FEAS00001\n");
        put(root, "sys/class/dmi/id/product_uuid", "4c4c4544-0050-4410-8057-b7c04f4e3132\n");
        put(root, "sys/class/dmi/id/product_name", "MacBookPro11,1\n");
        put(root, "sys/class/dmi/id/sys_vendor", "Apple Inc.\n");
        put(root, "proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
        put(root, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Intel(R) Core(TM)  i5-4258U   CPU\n");
        let facts = machine(root, None, Vec::new());
        assert_eq!(facts.serial.unwrap().as_str(), "C02FEAS00001");
        assert_eq!(facts.model.unwrap().as_str(), "MacBookPro11,1");
        assert_eq!(facts.uuid.unwrap().to_string(), "4c4c4544-0050-4410-8057-b7c04f4e3132");
        assert_eq!(facts.memory, 8 << 30);
        assert_eq!(facts.cpu.as_deref(), Some("Intel(R) Core(TM) i5-4258U CPU"));
        assert_eq!(facts.firmware, None);
    }

    #[test]
    fn a_placeholder_is_no_identity() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "sys/class/dmi/id/product_serial", "Not Specified\n");
        put(root.path(), "sys/class/dmi/id/product_uuid", "00000000-0000-0000-0000-000000000000\n");
        let facts = machine(root.path(), None, Vec::new());
        assert_eq!((facts.serial, facts.uuid), (None, None));
    }

    #[test]
    fn the_interface_that_booted_comes_first_then_those_with_a_cable() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        interface(root, "eth0", "00:00:00:00:00:01", false);
        interface(root, "eth1", "00:00:00:00:00:02", true);
        interface(root, "eth2", "00:00:00:00:00:03", false);
        interface(root, "wlan0", "00:00:00:00:00:04", true);
        put(root, "sys/class/net/wlan0/phy80211/index", "0");
        put(root, "sys/class/net/br0/type", "1\n");
        put(root, "sys/class/net/br0/address", "00:00:00:00:00:05\n");
        let last_byte = |macs: Vec<MacAddr>| macs.iter().map(|mac| mac.as_bytes()[5]).collect::<Vec<_>>();
        assert_eq!(last_byte(macs(root, None)), [2, 1, 3]);
        assert_eq!(last_byte(macs(root, Some("00:00:00:00:00:03".parse().unwrap()))), [3, 2, 1]);
    }

    #[test]
    fn an_empty_root_gives_an_empty_machine() {
        let root = tempfile::tempdir().unwrap();
        let facts = machine(root.path(), None, Vec::new());
        assert_eq!((facts.memory, facts.macs.len(), facts.model), (0, 0, None));
    }
}
