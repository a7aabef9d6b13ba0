//! One interface's settings as a value that is checked, and the steps that bring it into force. Pure.
//!
//! Must not know: programs, files, the page.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The route of the interface that a person chose comes before all that DHCP brought (`boot/address` counts from 100).
const METRIC: u32 = 50;
/// resolv.conf(5): more are not asked.
const MOST_DNS: usize = 3;

/// What one interface shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// The kernel's name of the adapter.
    pub interface: String,
    /// Number of the VLAN when frames are tagged (IEEE 802.1Q).
    pub vlan: Option<u16>,
    /// Where the address comes from.
    pub addressing: Addressing,
}

/// Where an address comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// From a DHCP server.
    Dhcp,
    /// From a person.
    Static {
        /// The address.
        address: Ipv4Addr,
        /// Length of the network's prefix.
        prefix: u8,
        /// Router to all else, if there is one.
        router: Option<Ipv4Addr>,
        /// DNS servers.
        dns: Vec<Ipv4Addr>,
    },
}

/// The part of a [`Wire`] that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Number of the VLAN.
    Vlan,
    /// Address with prefix.
    Address,
    /// Router.
    Router,
    /// DNS servers.
    Dns,
}

/// Settings that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadWire {
    /// Where.
    pub part: Part,
    /// What is wrong, and what is right.
    pub why: String,
}

fn bad(part: Part, why: impl Into<String>) -> BadWire {
    BadWire { part, why: why.into() }
}

/// Reads the number of a VLAN; nothing typed means no tags. 0 and 4095 are reserved (IEEE 802.1Q section 9.6).
///
/// # Errors
/// When it is none.
pub fn vlan(text: &str) -> Result<Option<u16>, BadWire> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(id @ 1..=4094) => Ok(Some(id)),
            _ => Err(bad(Part::Vlan, format!("`{text}` is no VLAN: a number from 1 to 4094, or nothing"))),
        },
    }
}

/// Reads a static address: `10.0.0.5/24`, a router or nothing, DNS servers or nothing.
///
/// # Errors
/// [`BadWire`] says what is wrong.
pub fn fixed(address: &str, router: &str, dns: &str) -> Result<Addressing, BadWire> {
    let (address, prefix) = with_prefix(address.trim())?;
    let router = match router.trim() {
        "" => None,
        text => Some(router_of(text, address, prefix)?),
    };
    let dns: Vec<Ipv4Addr> = dns
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().map_err(|_| bad(Part::Dns, format!("`{word}` is no IPv4 address"))))
        .collect::<Result<_, _>>()?;
    match dns.len() > MOST_DNS {
        true => Err(bad(Part::Dns, format!("at most {MOST_DNS} DNS servers are asked"))),
        false => Ok(Addressing::Static { address, prefix, router, dns }),
    }
}

fn with_prefix(text: &str) -> Result<(Ipv4Addr, u8), BadWire> {
    let form =
        || bad(Part::Address, format!("`{text}` is no address with its prefix: write it like 10.0.0.5/24"));
    let (address, prefix) = text.split_once('/').ok_or_else(form)?;
    let address: Ipv4Addr = address.parse().map_err(|_| form())?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix)).ok_or_else(form)?;
    let not_for_hosts = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.octets()[0] >= 240
        || address.octets()[0] == 0;
    if not_for_hosts {
        return Err(bad(Part::Address, format!("{address} is no address that a machine can have")));
    }
    // A prefix of 31 has two addresses and both are for hosts (RFC 3021).
    let host = u32::from(address) & !mask(prefix);
    if prefix < 31 && (host == 0 || host == !mask(prefix)) {
        let what = if host == 0 { "names the network itself" } else { "is the network's broadcast address" };
        return Err(bad(Part::Address, format!("{address}/{prefix} {what}: take another one")));
    }
    Ok((address, prefix))
}

fn router_of(text: &str, address: Ipv4Addr, prefix: u8) -> Result<Ipv4Addr, BadWire> {
    let router: Ipv4Addr =
        text.parse().map_err(|_| bad(Part::Router, format!("`{text}` is no IPv4 address")))?;
    if router == address {
        return Err(bad(Part::Router, format!("{router} is this Mac's own address")));
    }
    match (u32::from(router) ^ u32::from(address)) & mask(prefix) {
        0 => Ok(router),
        _ => Err(bad(Part::Router, format!("router {router} is not in the network of {address}/{prefix}"))),
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl Wire {
    /// The interface that gets the address: the adapter, or the VLAN on it.
    pub fn name(&self) -> String {
        match self.vlan {
            None => self.interface.clone(),
            // Not `adapter.5`: a name has at most 15 characters, and adapters have names that long.
            Some(id) => format!("vlan{id}"),
        }
    }

    fn is_static(&self) -> bool {
        matches!(self.addressing, Addressing::Static { .. })
    }
}

/// One thing to do. The words of an `ip` command are separated by single blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An `ip` command that must succeed.
    Ip(String),
    /// An `ip` command that may fail: it undoes what may not be there.
    TryIp(String),
    /// Nobody but us asks for an address here: hot plug passes the interface by.
    Claim(String),
    /// The opposite.
    Release(String),
    /// The DHCP client of this interface ends.
    StopDhcp(String),
    /// The boot environment's own DHCP client starts again here.
    AskAgain(String),
    /// Waits for a link.
    Link(String),
    /// Asks whether somebody has the address (RFC 5227 section 2.1).
    Probe {
        /// Where.
        interface: String,
        /// Which.
        address: Ipv4Addr,
    },
    /// Asks DHCP servers for an address; its route and DNS servers come before those of others.
    Lease(String),
    /// These DNS servers, and no others that DHCP brings later.
    Resolve(Vec<Ipv4Addr>),
    /// Asks whether the router is there.
    Router {
        /// Where.
        interface: String,
        /// Which.
        router: Ipv4Addr,
    },
}

/// The way from old settings to new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// What can fail and changes nothing that is in use.
    pub before: Vec<Step>,
    /// What takes `before` back when it failed.
    pub undo: Vec<Step>,
    /// What brings the settings into force.
    pub then: Vec<Step>,
}

impl Steps {
    /// From `old`, when this page set something before, to `new`.
    pub fn new(old: Option<&Wire>, new: &Wire) -> Steps {
        let (adapter, name) = (&new.interface, new.name());
        let mut before = vec![Step::TryIp(format!("link set {adapter} up")), Step::Link(adapter.clone())];
        let mut undo = Vec::new();
        let mut then = Vec::new();
        let old = old.filter(|old| old.name() != name);
        then.extend(old.into_iter().flat_map(leave));
        if let Some(id) = new.vlan {
            undo = remove(&name);
            before.extend([
                // First: the kernel tells hot plug of the new interface, and that asks DHCP where nobody has claimed it.
                Step::Claim(name.clone()),
                Step::StopDhcp(name.clone()),
                Step::TryIp(format!("link delete {name}")),
                Step::Ip(format!("link add link {adapter} name {name} type vlan id {id}")),
                Step::Ip(format!("link set {name} up")),
            ]);
        }
        if let Addressing::Static { address, .. } = new.addressing {
            before.push(Step::Probe { interface: name.clone(), address });
        }
        then.extend([
            Step::StopDhcp(name.clone()),
            Step::Claim(name.clone()),
            Step::TryIp(format!("-4 address flush dev {name}")),
        ]);
        match &new.addressing {
            Addressing::Dhcp => then.push(Step::Lease(name)),
            Addressing::Static { address, prefix, router, dns } => {
                then.push(Step::Ip(format!("address add {address}/{prefix} broadcast + dev {name}")));
                if !dns.is_empty() {
                    then.push(Step::Resolve(dns.clone()));
                }
                if let Some(router) = *router {
                    then.push(Step::Ip(format!(
                        "route replace default via {router} dev {name} metric {METRIC}"
                    )));
                    then.push(Step::Router { interface: name, router });
                }
            }
        }
        Steps { before, undo, then }
    }
}

/// The old interface becomes what it was before the page.
fn leave(old: &Wire) -> Vec<Step> {
    match old.vlan {
        Some(_) => remove(&old.name()),
        None if old.is_static() => vec![
            Step::TryIp(format!("-4 address flush dev {}", old.interface)),
            Step::AskAgain(old.interface.clone()),
        ],
        None => Vec::new(),
    }
}

fn remove(vlan: &str) -> Vec<Step> {
    vec![
        Step::StopDhcp(vlan.to_owned()),
        Step::TryIp(format!("link delete {vlan}")),
        Step::Release(vlan.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(interface: &str, vlan: Option<u16>, addressing: Addressing) -> Wire {
        Wire { interface: interface.into(), vlan, addressing }
    }

    #[test]
    fn an_address_is_read_with_prefix_router_and_dns() {
        let read = fixed(" 10.0.0.5/24 ", "10.0.0.1", "10.0.0.1, 9.9.9.9").unwrap();
        let want = Addressing::Static {
            address: Ipv4Addr::new(10, 0, 0, 5),
            prefix: 24,
            router: Some(Ipv4Addr::new(10, 0, 0, 1)),
            dns: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(9, 9, 9, 9)],
        };
        assert_eq!(read, want);
        assert!(fixed("10.0.0.0/31", "10.0.0.1", "").is_ok());
        assert!(fixed("10.0.0.7/32", "", "").is_ok());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_its_place_with_the_reason() {
        for (address, router, dns, part, why) in [
            ("10.0.0.5", "", "", Part::Address, "like 10.0.0.5/24"),
            ("10.0.0.5/33", "", "", Part::Address, "like 10.0.0.5/24"),
            ("10.0.0.5/0", "", "", Part::Address, "like 10.0.0.5/24"),
            ("10.0.0/24", "", "", Part::Address, "like 10.0.0.5/24"),
            ("", "", "", Part::Address, "like 10.0.0.5/24"),
            ("10.0.0.0/24", "", "", Part::Address, "names the network"),
            ("10.0.0.255/24", "", "", Part::Address, "broadcast"),
            ("127.0.0.1/8", "", "", Part::Address, "no address that a machine"),
            ("0.0.0.5/8", "", "", Part::Address, "no address that a machine"),
            ("224.0.0.5/8", "", "", Part::Address, "no address that a machine"),
            ("10.0.0.5/24", "10.0.1.1", "", Part::Router, "not in the network of 10.0.0.5/24"),
            ("10.0.0.5/24", "10.0.0.5", "", Part::Router, "own address"),
            ("10.0.0.5/24", "router", "", Part::Router, "`router`"),
            ("10.0.0.5/24", "", "9.9.9", Part::Dns, "`9.9.9`"),
            ("10.0.0.5/24", "", "1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4", Part::Dns, "at most 3"),
        ] {
            let error = fixed(address, router, dns).unwrap_err();
            assert_eq!(error.part, part, "{address} {router} {dns}");
            assert!(error.why.contains(why), "{error}");
        }
        assert_eq!(vlan(" 4094 "), Ok(Some(4094)));
        assert_eq!(vlan(""), Ok(None));
        for text in ["0", "4095", "-1", "x", "99999"] {
            assert_eq!(vlan(text).unwrap_err().part, Part::Vlan);
        }
    }

    #[test]
    fn nothing_in_use_changes_before_the_address_is_known_to_be_free() {
        let steps =
            Steps::new(None, &at("eth0", None, fixed("10.0.0.5/24", "10.0.0.1", "10.0.0.1").unwrap()));
        let eth0 = || "eth0".to_owned();
        let probe = Step::Probe { interface: eth0(), address: Ipv4Addr::new(10, 0, 0, 5) };
        assert_eq!(steps.before, [Step::TryIp("link set eth0 up".into()), Step::Link(eth0()), probe]);
        assert_eq!(steps.undo, []);
        assert_eq!(
            steps.then,
            [
                Step::StopDhcp(eth0()),
                Step::Claim(eth0()),
                Step::TryIp("-4 address flush dev eth0".into()),
                Step::Ip("address add 10.0.0.5/24 broadcast + dev eth0".into()),
                Step::Resolve(vec![Ipv4Addr::new(10, 0, 0, 1)]),
                Step::Ip("route replace default via 10.0.0.1 dev eth0 metric 50".into()),
                Step::Router { interface: eth0(), router: Ipv4Addr::new(10, 0, 0, 1) },
            ]
        );
    }

    #[test]
    fn a_vlan_is_claimed_before_it_is_made_and_taken_away_when_that_fails() {
        let steps = Steps::new(None, &at("eth0", Some(5), Addressing::Dhcp));
        let place = |wanted: &Step| steps.before.iter().position(|step| step == wanted).unwrap();
        let made = Step::Ip("link add link eth0 name vlan5 type vlan id 5".into());
        assert!(place(&Step::Claim("vlan5".into())) < place(&made));
        assert!(steps.undo.contains(&Step::TryIp("link delete vlan5".into())));
        assert_eq!(steps.then.last(), Some(&Step::Lease("vlan5".into())));
    }

    #[test]
    fn what_was_set_before_elsewhere_is_put_back() {
        let fixed = || fixed("10.0.0.5/24", "", "").unwrap();
        let then = |old: Wire, new: Wire| Steps::new(Some(&old), &new).then;
        let from_static = then(at("eth0", None, fixed()), at("eth1", None, Addressing::Dhcp));
        assert_eq!(from_static[1], Step::AskAgain("eth0".into()));
        let from_vlan = then(at("eth0", Some(7), fixed()), at("eth0", None, fixed()));
        assert_eq!(from_vlan[1], Step::TryIp("link delete vlan7".into()));
        let same = then(at("eth0", None, fixed()), at("eth0", None, Addressing::Dhcp));
        assert!(!same.contains(&Step::AskAgain("eth0".into())));
    }
}
