//! What may be handed out: subnets with their pools and reservations, checked against each other once.
//!
//! Must not know: which leases there are; which interfaces this machine has.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::Deserialize;

use crate::value::{MacAddr, Serial};

/// Most addresses of all pools and reservations: bounds the table of leases.
const MOST_ADDRESSES: u64 = 65_536;

/// A network and the length of its prefix: `10.77.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    base: u32,
    prefix: u8,
}

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.mask()) == self.base
    }

    /// Whether an address can be a machine's: neither the network's own nor its broadcast address.
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.contains(address) && u32::from(address) != self.base && address != self.broadcast()
    }

    /// `255.255.255.0`
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0))
    }

    /// Its last address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | !u32::from(self.mask()))
    }

    fn overlaps(&self, other: &Network) -> bool {
        self.contains(Ipv4Addr::from(other.base)) || other.contains(Ipv4Addr::from(self.base))
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong =
            || format!("`{text}` is no network: an address and a prefix of 8 to 30, as in 10.77.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().ok().filter(|prefix| (8..=30).contains(prefix)).ok_or_else(wrong)?;
        let network = Network { base: u32::from(address), prefix };
        let base = Ipv4Addr::from(network.base & u32::from(network.mask()));
        if base != address {
            return Err(format!("`{text}` is an address inside a network; the network is {base}/{prefix}"));
        }
        Ok(network)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

/// Addresses from the first to the last, both included: `10.77.0.100-10.77.0.199`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Range {
    /// The lowest.
    pub first: Ipv4Addr,
    /// The highest.
    pub last: Ipv4Addr,
}

impl Range {
    /// Whether an address is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        u64::from(u32::from(self.last)) + 1 - u64::from(u32::from(self.first))
    }

    /// Whether there are none: never, a range has its first.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let wrong = || format!("`{text}` is no pool: two addresses, as in 10.77.0.100-10.77.0.199");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: Ipv4Addr = first.trim().parse().map_err(|_| wrong())?;
        let last = last.trim().parse().map_err(|_| wrong())?;
        if first > last {
            return Err(format!("the pool `{text}` ends before it begins; write the lower address first"));
        }
        Ok(Range { first, last })
    }
}

impl TryFrom<String> for Range {
    type Error = String;

    fn try_from(text: String) -> Result<Range, String> {
        text.parse()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// For whom an address is reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A network interface.
    Mac(MacAddr),
    /// A Mac that said its serial number once.
    Serial(Serial),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Mac(mac) => mac.fmt(f),
            Who::Serial(serial) => write!(f, "serial number {serial}"),
        }
    }
}

/// An address that only one machine gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// For whom.
    pub who: Who,
    /// Which.
    pub address: Ipv4Addr,
}

/// A network whose machines get their addresses here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Interface of this machine that is in it; none: its machines are reached through a relay only.
    pub interface: Option<String>,
    /// Its addresses.
    pub network: Network,
    /// Those that anyone may get.
    pub pools: Vec<Range>,
    /// Those that only one gets.
    pub reservations: Vec<Reservation>,
    /// Option 3.
    pub routers: Vec<Ipv4Addr>,
    /// Option 6.
    pub dns: Vec<Ipv4Addr>,
    /// Option 42.
    pub ntp: Vec<Ipv4Addr>,
    /// Option 15.
    pub domain: Option<String>,
    /// How long a lease is good, in seconds.
    pub lease_secs: u32,
}

impl Subnet {
    /// Whether anyone may get this address.
    pub fn is_in_pool(&self, address: Ipv4Addr) -> bool {
        self.pools.iter().any(|pool| pool.contains(address)) && self.reserved(address).is_none()
    }

    /// Who alone gets this address.
    pub fn reserved(&self, address: Ipv4Addr) -> Option<&Reservation> {
        self.reservations.iter().find(|reservation| reservation.address == address)
    }

    /// How many addresses the pools have.
    pub fn size(&self) -> u64 {
        self.pools.iter().map(Range::len).sum()
    }

    /// The pool address with this number, counted through all pools.
    pub fn nth(&self, mut number: u64) -> Option<Ipv4Addr> {
        for pool in &self.pools {
            if number < pool.len() {
                let address = u64::from(u32::from(pool.first)) + number;
                return u32::try_from(address).ok().map(Ipv4Addr::from);
            }
            number -= pool.len();
        }
        None
    }
}

/// Why subnets do not fit together. Every message names both sides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No subnet.
    #[error("DHCP is enabled and there is no `[[dhcp.subnet]]`: write one, or set `dhcp.enabled = false`")]
    NoSubnet,
    /// Two subnets share addresses.
    #[error("the subnets {one} and {other} overlap: correct one of them")]
    SubnetsOverlap {
        /// First.
        one: Network,
        /// Second.
        other: Network,
    },
    /// Two subnets on one interface.
    #[error(
        "the subnets {one} and {other} both name the interface `{interface}`: an interface has one subnet; those behind a relay name none"
    )]
    SameInterface {
        /// First.
        one: Network,
        /// Second.
        other: Network,
        /// The interface.
        interface: String,
    },
    /// Nothing to give.
    #[error("the subnet {0} has neither a pool nor a reservation: add `pools`")]
    Nothing(Network),
    /// A pool reaches beyond its subnet.
    #[error("the pool {pool} reaches outside its subnet {subnet}, whose machines are at {first} to {last}")]
    PoolOutside {
        /// The pool.
        pool: Range,
        /// Its subnet.
        subnet: Network,
        /// Lowest possible.
        first: Ipv4Addr,
        /// Highest possible.
        last: Ipv4Addr,
    },
    /// Two pools share addresses.
    #[error("the pools {one} and {other} overlap: an address would be in both")]
    PoolsOverlap {
        /// First.
        one: Range,
        /// Second.
        other: Range,
    },
    /// A service's address would be handed out.
    #[error(
        "the {what} {address} lies in the pool {pool}, and would be given to a client: leave it out of the pool"
    )]
    PoolHolds {
        /// `router`, `DNS server`, …
        what: &'static str,
        /// Its address.
        address: Ipv4Addr,
        /// The pool.
        pool: Range,
    },
    /// A router that no client of the subnet reaches.
    #[error("the router {router} is outside its subnet {subnet}: clients cannot reach it")]
    RouterOutside {
        /// The router.
        router: Ipv4Addr,
        /// The subnet.
        subnet: Network,
    },
    /// A reserved address that is none of the subnet's.
    #[error("{address}, reserved for {who}, is no machine's address in the subnet {subnet}")]
    ReservationOutside {
        /// The address.
        address: Ipv4Addr,
        /// For whom.
        who: String,
        /// The subnet.
        subnet: Network,
    },
    /// One address for two.
    #[error("{address} is reserved for {one} and for {other}: give each its own")]
    ReservationsClash {
        /// The address.
        address: Ipv4Addr,
        /// First.
        one: String,
        /// Second.
        other: String,
    },
    /// Two addresses for one.
    #[error("{who} has two reservations in the subnet {subnet}, {one} and {other}: keep one")]
    ReservedTwice {
        /// For whom.
        who: String,
        /// The subnet.
        subnet: Network,
        /// First.
        one: Ipv4Addr,
        /// Second.
        other: Ipv4Addr,
    },
    /// A reserved address is a router's.
    #[error("{address}, reserved for {who}, is the address of the {what}")]
    ReservationIs {
        /// The address.
        address: Ipv4Addr,
        /// For whom.
        who: String,
        /// `router`, `DNS server`, …
        what: &'static str,
    },
    /// More than the table may hold.
    #[error(
        "the pools have {0} addresses in all; at most {MOST_ADDRESSES} can be kept account of: make them smaller"
    )]
    TooMany(u64),
}

/// Subnets that fit together. Existing means checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    subnets: Vec<Subnet>,
}

impl Plan {
    /// Checks the subnets, each by itself and against the others. The only way to a plan.
    pub fn new(subnets: Vec<Subnet>) -> Result<Plan, PlanError> {
        if subnets.is_empty() {
            return Err(PlanError::NoSubnet);
        }
        for (at, subnet) in subnets.iter().enumerate() {
            check_pools(subnet)?;
            check_services(subnet)?;
            check_reservations(subnet)?;
            for earlier in &subnets[..at] {
                check_apart(earlier, subnet)?;
            }
        }
        let total = subnets.iter().map(|subnet| subnet.size() + subnet.reservations.len() as u64).sum();
        if total > MOST_ADDRESSES { Err(PlanError::TooMany(total)) } else { Ok(Plan { subnets }) }
    }

    /// The subnets.
    pub fn subnets(&self) -> &[Subnet] {
        &self.subnets
    }

    /// The subnet that an address lies in.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.network.contains(address))
    }

    /// The subnet on an interface of this machine.
    pub fn subnet_on(&self, interface: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.interface.as_deref() == Some(interface))
    }

    /// Whether an address is one that is handed out here, to anyone or to one.
    pub fn hands_out(&self, address: Ipv4Addr) -> bool {
        self.subnet_of(address)
            .is_some_and(|subnet| subnet.is_in_pool(address) || subnet.reserved(address).is_some())
    }

    /// Whether serial numbers matter.
    pub fn knows_serials(&self) -> bool {
        let mut all = self.subnets.iter().flat_map(|subnet| &subnet.reservations);
        all.any(|reservation| matches!(reservation.who, Who::Serial(_)))
    }
}

fn check_pools(subnet: &Subnet) -> Result<(), PlanError> {
    let network = subnet.network;
    if subnet.pools.is_empty() && subnet.reservations.is_empty() {
        return Err(PlanError::Nothing(network));
    }
    for (at, pool) in subnet.pools.iter().enumerate() {
        if !network.is_host(pool.first) || !network.is_host(pool.last) {
            let (first, last) = (network.base + 1, u32::from(network.broadcast()) - 1);
            let (first, last) = (Ipv4Addr::from(first), Ipv4Addr::from(last));
            return Err(PlanError::PoolOutside { pool: *pool, subnet: network, first, last });
        }
        if let Some(one) = subnet.pools[..at].iter().find(|earlier| earlier.overlaps(pool)) {
            return Err(PlanError::PoolsOverlap { one: *one, other: *pool });
        }
    }
    Ok(())
}

/// Addresses of services, which no client may get.
fn services(subnet: &Subnet) -> impl Iterator<Item = (&'static str, Ipv4Addr)> {
    let all = [("router", &subnet.routers), ("DNS server", &subnet.dns), ("time server", &subnet.ntp)];
    all.into_iter().flat_map(|(what, addresses)| addresses.iter().map(move |address| (what, *address)))
}

fn check_services(subnet: &Subnet) -> Result<(), PlanError> {
    if let Some(router) = subnet.routers.iter().find(|router| !subnet.network.is_host(**router)) {
        return Err(PlanError::RouterOutside { router: *router, subnet: subnet.network });
    }
    for (what, address) in services(subnet) {
        if let Some(pool) = subnet.pools.iter().find(|pool| pool.contains(address)) {
            return Err(PlanError::PoolHolds { what, address, pool: *pool });
        }
    }
    Ok(())
}

fn check_reservations(subnet: &Subnet) -> Result<(), PlanError> {
    for (at, Reservation { who, address }) in subnet.reservations.iter().enumerate() {
        let address = *address;
        if !subnet.network.is_host(address) {
            let (who, subnet) = (who.to_string(), subnet.network);
            return Err(PlanError::ReservationOutside { address, who, subnet });
        }
        if let Some((what, _)) = services(subnet).find(|(_, service)| *service == address) {
            return Err(PlanError::ReservationIs { address, who: who.to_string(), what });
        }
        for earlier in &subnet.reservations[..at] {
            if earlier.address == address {
                let (one, other) = (earlier.who.to_string(), who.to_string());
                return Err(PlanError::ReservationsClash { address, one, other });
            }
            if earlier.who == *who {
                let (one, other) = (earlier.address, address);
                let (who, subnet) = (who.to_string(), subnet.network);
                return Err(PlanError::ReservedTwice { who, subnet, one, other });
            }
        }
    }
    Ok(())
}

fn check_apart(one: &Subnet, other: &Subnet) -> Result<(), PlanError> {
    if one.network.overlaps(&other.network) {
        return Err(PlanError::SubnetsOverlap { one: one.network, other: other.network });
    }
    match &one.interface {
        Some(interface) if other.interface.as_ref() == Some(interface) => {
            let interface = interface.clone();
            Err(PlanError::SameInterface { one: one.network, other: other.network, interface })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(network: &str, pools: &[&str]) -> Subnet {
        Subnet {
            interface: None,
            network: network.parse().unwrap(),
            pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
            reservations: Vec::new(),
            routers: Vec::new(),
            dns: Vec::new(),
            ntp: Vec::new(),
            domain: None,
            lease_secs: 600,
        }
    }

    fn reserve(subnet: &mut Subnet, mac: u8, address: [u8; 4]) {
        let who = Who::Mac(MacAddr::new([2, 0, 0, 0, 0, mac]));
        subnet.reservations.push(Reservation { who, address: address.into() });
    }

    fn refusal(subnets: &[Subnet]) -> String {
        Plan::new(subnets.to_vec()).unwrap_err().to_string()
    }

    #[test]
    fn networks_and_pools_are_read_and_printed_alike() {
        for text in ["10.77.0.0/24", "10.0.0.0/8", "192.168.1.4/30"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        let within: String = "10.77.0.5/24".parse::<Network>().unwrap_err();
        assert!(within.contains("the network is 10.77.0.0/24"), "{within}");
        for wrong in ["10.0.0.0", "10.0.0.0/31", "10.0.0.0/7", "x/24", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert_eq!("10.0.0.9 - 10.0.0.12".parse::<Range>().unwrap().len(), 4);
        assert_eq!("10.0.0.9".parse::<Range>().unwrap().to_string(), "10.0.0.9-10.0.0.9");
        assert!("10.0.0.12-10.0.0.9".parse::<Range>().unwrap_err().contains("ends before it begins"));
    }

    #[test]
    fn the_addresses_of_several_pools_are_counted_through() {
        let subnet = subnet("10.0.0.0/24", &["10.0.0.10-10.0.0.11", "10.0.0.20-10.0.0.20"]);
        let all: Vec<_> = (0..).map_while(|n| subnet.nth(n)).map(|ip| ip.octets()[3]).collect();
        assert_eq!((all, subnet.size()), (vec![10, 11, 20], 3));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_both_names() {
        let good = subnet("10.0.0.0/24", &["10.0.0.10-10.0.0.99"]);
        assert!(Plan::new(vec![good.clone()]).is_ok());
        assert!(refusal(&[]).contains("no `[[dhcp.subnet]]`"));
        assert!(refusal(&[subnet("10.0.0.0/24", &[])]).contains("10.0.0.0/24 has neither"));
        let told = refusal(&[good.clone(), subnet("10.0.0.0/16", &["10.0.9.1"])]);
        assert!(told.contains("10.0.0.0/24 and 10.0.0.0/16 overlap"), "{told}");
        let told = refusal(&[subnet("10.0.0.0/24", &["10.0.0.250-10.0.0.255"])]);
        assert!(told.contains("10.0.0.250-10.0.0.255") && told.contains("10.0.0.1 to 10.0.0.254"), "{told}");
        let told = refusal(&[subnet("10.0.0.0/24", &["10.0.0.10-10.0.0.20", "10.0.0.20-10.0.0.30"])]);
        assert!(told.contains("10.0.0.10-10.0.0.20 and 10.0.0.20-10.0.0.30 overlap"), "{told}");
        let told = refusal(&[subnet("10.0.0.0/8", &["10.0.0.1-10.255.0.0"])]);
        assert!(told.contains("at most 65536"), "{told}");
    }

    #[test]
    fn routers_and_other_services_must_be_reachable_and_not_for_clients() {
        let with = |change: &dyn Fn(&mut Subnet)| {
            let mut subnet = subnet("10.0.0.0/24", &["10.0.0.10-10.0.0.99"]);
            change(&mut subnet);
            Plan::new(vec![subnet]).err().map(|error| error.to_string())
        };
        assert_eq!(with(&|subnet| subnet.routers.push([10, 0, 0, 1].into())), None);
        assert_eq!(with(&|subnet| subnet.dns.push([9, 9, 9, 9].into())), None);
        let told = with(&|subnet| subnet.routers.push([10, 0, 1, 1].into())).unwrap();
        assert!(told.contains("router 10.0.1.1 is outside its subnet 10.0.0.0/24"), "{told}");
        let told = with(&|subnet| subnet.routers.push([10, 0, 0, 10].into())).unwrap();
        assert!(told.contains("router 10.0.0.10 lies in the pool 10.0.0.10-10.0.0.99"), "{told}");
        let told = with(&|subnet| subnet.ntp.push([10, 0, 0, 99].into())).unwrap();
        assert!(told.contains("time server 10.0.0.99 lies in the pool"), "{told}");
        let told = with(&|subnet| subnet.routers.push([10, 0, 0, 255].into())).unwrap();
        assert!(told.contains("outside"), "{told}");
    }

    #[test]
    fn reservations_that_clash_are_refused() {
        let with = |reserved: &[(u8, [u8; 4])]| {
            let mut subnet = subnet("10.0.0.0/24", &["10.0.0.10-10.0.0.99"]);
            subnet.routers.push([10, 0, 0, 1].into());
            reserved.iter().for_each(|(mac, address)| reserve(&mut subnet, *mac, *address));
            Plan::new(vec![subnet]).err().map(|error| error.to_string())
        };
        assert_eq!(with(&[(1, [10, 0, 0, 5]), (2, [10, 0, 0, 20])]), None, "outside and inside a pool");
        let told = with(&[(1, [10, 0, 0, 5]), (2, [10, 0, 0, 5])]).unwrap();
        assert!(told.contains("reserved for 02:00:00:00:00:01 and for 02:00:00:00:00:02"), "{told}");
        let told = with(&[(1, [10, 0, 0, 5]), (1, [10, 0, 0, 6])]).unwrap();
        assert!(told.contains("two reservations in the subnet 10.0.0.0/24"), "{told}");
        assert!(with(&[(1, [10, 0, 1, 5])]).unwrap().contains("no machine's address in the subnet"));
        assert!(with(&[(1, [10, 0, 0, 1])]).unwrap().contains("is the address of the router"));
    }

    #[test]
    fn one_interface_has_one_subnet() {
        let mut subnets = [subnet("10.0.0.0/24", &["10.0.0.9"]), subnet("10.0.1.0/24", &["10.0.1.9"])];
        assert!(Plan::new(subnets.to_vec()).is_ok(), "two behind relays");
        subnets.iter_mut().for_each(|subnet| subnet.interface = Some("eth0".into()));
        assert!(refusal(&subnets).contains("both name the interface `eth0`"));
    }
}
