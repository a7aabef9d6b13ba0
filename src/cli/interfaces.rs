//! The network interfaces of this machine, as the checks need them.

use std::net::Ipv4Addr;

use anyhow::bail;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::value::MacAddr;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Ethernet address.
    pub mac: Option<MacAddr>,
    /// IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Switched on.
    pub is_up: bool,
    /// Something is plugged in at the other end.
    pub has_carrier: bool,
    /// The machine's own loop.
    pub is_loop: bool,
}

/// Every interface, in the system's order.
pub fn all() -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
    for one in getifaddrs().into_iter().flatten() {
        let at = match found.iter().position(|known| known.name == one.interface_name) {
            Some(at) => at,
            None => {
                found.push(Interface {
                    name: one.interface_name.clone(),
                    mac: None,
                    addresses: Vec::new(),
                    is_up: one.flags.contains(InterfaceFlags::IFF_UP),
                    has_carrier: one.flags.contains(InterfaceFlags::IFF_RUNNING),
                    is_loop: one.flags.contains(InterfaceFlags::IFF_LOOPBACK),
                });
                found.len() - 1
            }
        };
        let Some(address) = one.address else { continue };
        let mac = address.as_link_addr().and_then(|link| link.addr()).filter(|mac| *mac != [0; 6]);
        found[at].mac = mac.map(MacAddr::new).or(found[at].mac);
        found[at].addresses.extend(address.as_sockaddr_in().map(|address| address.ip()));
    }
    found
}

/// The interface of this name, or the only one through which others can be reached.
///
/// # Errors
/// When there is none, or several.
pub fn chosen(name: Option<&str>) -> anyhow::Result<Interface> {
    choose(all(), name)
}

fn choose(mut all: Vec<Interface>, name: Option<&str>) -> anyhow::Result<Interface> {
    let names = |all: &[Interface]| all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        return match all.iter().position(|one| one.name == name) {
            Some(at) => Ok(all.swap_remove(at)),
            None => bail!("there is no network interface `{name}`; this machine has {}", names(&all)),
        };
    }
    all.retain(|one| one.is_up && !one.is_loop && !one.addresses.is_empty());
    match all.len() {
        0 => bail!(
            "no network interface has an IPv4 address; give one an address, or name it with --interface"
        ),
        1 => Ok(all.swap_remove(0)),
        _ => bail!("there are several networks ({}); name one with --interface", names(&all)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[[u8; 4]]) -> Interface {
        Interface {
            name: name.to_owned(),
            mac: None,
            addresses: addresses.iter().map(|address| Ipv4Addr::from(*address)).collect(),
            is_up: true,
            has_carrier: true,
            is_loop: name == "lo",
        }
    }

    #[test]
    fn the_only_network_is_taken_and_among_several_one_must_be_named() {
        let lo = interface("lo", &[[127, 0, 0, 1]]);
        let (one, two) = (interface("eth0", &[[10, 0, 0, 1]]), interface("eth1", &[[10, 1, 0, 1]]));
        assert_eq!(choose(vec![lo.clone(), one.clone(), interface("eth2", &[])], None).unwrap(), one);
        let several = choose(vec![one.clone(), two.clone()], None).unwrap_err().to_string();
        assert!(several.contains("eth0, eth1") && several.contains("--interface"), "{several}");
        assert_eq!(choose(vec![one.clone(), two.clone()], Some("eth1")).unwrap(), two);
        assert!(choose(vec![lo], None).unwrap_err().to_string().contains("no network interface"));
        assert!(choose(vec![one], Some("x")).unwrap_err().to_string().contains("this machine has eth0"));
    }

    #[test]
    fn this_machine_has_its_own_loop() {
        assert!(all().iter().any(|one| one.is_loop && one.addresses.contains(&Ipv4Addr::LOCALHOST)));
    }
}
