//! Interfaces as they are: read from the kernel's files and its list of addresses.
//!
//! Must not know: what they shall be.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

/// Longest list that is shown: a machine has a handful.
const MOST: usize = 32;

/// A wired interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name.
    pub name: String,
    /// Its hardware address, as the kernel writes it.
    pub mac: String,
    /// Its driver; none for an interface without hardware.
    pub driver: Option<String>,
    /// The adapter below, for a VLAN.
    pub below: Option<String>,
    /// Whether there is a link; none while the interface is down.
    pub link: Option<bool>,
    /// Megabits a second, when the link is up.
    pub speed: Option<u32>,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// The router that its routes go through.
    pub router: Option<Ipv4Addr>,
}

/// Everything that the page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Wired interfaces by name.
    pub interfaces: Vec<Interface>,
    /// DNS servers of the machine.
    pub dns: Vec<Ipv4Addr>,
}

impl Seen {
    /// Reads everything. `root` holds `sys` and `proc`.
    pub fn read(root: &Path, resolver: &Path) -> Seen {
        let net = root.join("sys/class/net");
        // The routes of this thread's network, which is the process's except in tests.
        let routes = text(&root.join("proc/thread-self/net/route")).unwrap_or_default();
        let addresses = addresses();
        let mut names: Vec<String> = fs::read_dir(&net)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        let mut interfaces: Vec<Interface> = names
            .into_iter()
            .filter_map(|name| interface(&net.join(&name), name, &routes))
            .take(MOST)
            .collect();
        for interface in &mut interfaces {
            let own = addresses.iter().filter(|(name, ..)| *name == interface.name);
            interface.addresses = own.map(|(_, address, prefix)| (*address, *prefix)).collect();
        }
        Seen { interfaces, dns: dns(&text(resolver).unwrap_or_default()) }
    }

    /// What `name` has, in a sentence.
    pub fn spoken(&self, name: &str) -> String {
        let addresses: Vec<String> = self
            .interfaces
            .iter()
            .filter(|interface| interface.name == name)
            .flat_map(|interface| &interface.addresses)
            .map(|(address, prefix)| format!("{address}/{prefix}"))
            .collect();
        match addresses.is_empty() {
            true => format!("{name} has no address."),
            false => format!("{name} has {}.", addresses.join(", ")),
        }
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Ethernet (ARPHRD_ETHER is 1) without radio.
fn interface(folder: &Path, name: String, routes: &str) -> Option<Interface> {
    let wired = text(&folder.join("type")).as_deref() == Some("1")
        && !folder.join("phy80211").exists()
        && !folder.join("wireless").exists();
    let driver = fs::read_link(folder.join("device/driver")).ok();
    // `lower_eth0`: a link to what lies below.
    let below = fs::read_dir(folder).into_iter().flatten().flatten().find_map(|entry| {
        entry.file_name().to_str().and_then(|name| name.strip_prefix("lower_")).map(str::to_owned)
    });
    wired.then(|| Interface {
        mac: text(&folder.join("address")).unwrap_or_default(),
        driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
        below,
        // Reading `carrier` fails while the interface is down; `speed` is -1 where there is none.
        link: text(&folder.join("carrier")).map(|carrier| carrier == "1"),
        speed: text(&folder.join("speed")).and_then(|speed| speed.parse().ok()).filter(|speed| *speed > 0),
        router: router(routes, &name),
        addresses: Vec::new(),
        name,
    })
}

fn addresses() -> Vec<(String, Ipv4Addr, u8)> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.filter_map(|interface| {
        let address = interface.address?.as_sockaddr_in()?.ip();
        let mask = interface.netmask?.as_sockaddr_in()?.ip();
        Some((interface.interface_name, address, u32::from(mask).count_ones() as u8))
    })
    .collect()
}

/// The gateway of the default route with the smallest metric (proc(5): hexadecimal in the processor's order).
fn router(routes: &str, name: &str) -> Option<Ipv4Addr> {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [interface, "00000000", gateway, _, _, _, metric, ..] = words[..] else { return None };
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        (interface == name).then_some((metric.parse::<u32>().ok()?, Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    routes.lines().filter_map(of_line).min().map(|(_, gateway)| gateway)
}

fn dns(resolver: &str) -> Vec<Ipv4Addr> {
    resolver.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok()).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn an_adapter_is_shown_with_its_driver_link_speed_and_router_and_a_radio_is_not() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let net = "sys/class/net";
        for (name, kind) in [("en0", "1"), ("lo", "772"), ("wlan0", "1"), ("vlan5", "1")] {
            put(root, &format!("{net}/{name}/type"), &format!("{kind}\n"));
            put(root, &format!("{net}/{name}/address"), "0a:00:00:00:00:01\n");
            put(root, &format!("{net}/{name}/carrier"), "1\n");
            put(root, &format!("{net}/{name}/speed"), "1000\n");
        }
        put(root, &format!("{net}/wlan0/phy80211/index"), "0");
        put(root, &format!("{net}/en0/device/vendor"), "0x14e4");
        symlink("../../bus/drivers/tg3", root.join(format!("{net}/en0/device/driver"))).unwrap();
        symlink("../en0", root.join(format!("{net}/vlan5/lower_en0"))).unwrap();
        fs::write(root.join(format!("{net}/vlan5/speed")), "-1").unwrap();
        put(
            root,
            "proc/thread-self/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
             en0\t00000000\t0200000A\t0003\t0\t0\t101\t00000000\t0\t0\t0\n\
             en0\t00000000\t0100000A\t0003\t0\t0\t50\t00000000\t0\t0\t0\n\
             en0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
        );
        put(root, "resolv.conf", "search x\nnameserver 10.0.0.1\nnameserver fe80::1\n");
        let seen = Seen::read(root, &root.join("resolv.conf"));
        assert_eq!(seen.dns, [Ipv4Addr::new(10, 0, 0, 1)]);
        let [en0, vlan5] = &seen.interfaces[..] else { panic!("{seen:?}") };
        assert_eq!((en0.driver.as_deref(), en0.link, en0.speed), (Some("tg3"), Some(true), Some(1000)));
        assert_eq!(en0.router, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!((vlan5.below.as_deref(), vlan5.speed), (Some("en0"), None));
    }

    #[test]
    fn a_folder_without_anything_has_no_interfaces() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Seen::read(root.path(), &root.path().join("none")), Seen::default());
        assert_eq!(Seen::default().spoken("eth0"), "eth0 has no address.");
    }
}
