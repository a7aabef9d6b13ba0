//! `[dhcp]`: addresses for a network that has no other DHCP server. Off unless written.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Deserialize;

use super::rule::{check, is_host, within};
use super::{ConfigError, Network as NetworkSection};
use crate::netboot::lease::{Network, Plan, PlanError, Range, Reservation, Subnet, Who};
use crate::value::{MacAddr, Serial};

/// `[dhcp]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DhcpFragment {
    /// Whether addresses are handed out.
    pub enabled: Option<bool>,
    /// Whether to start beside another DHCP server.
    pub force: Option<bool>,
    /// How long a new address is probed for before it is offered; 0: not at all.
    pub probe_ms: Option<u16>,
    /// Whether Macs that hold N are told the default image with their address.
    pub single_step: Option<bool>,
    /// `[[dhcp.subnet]]`
    pub subnet: Option<Vec<SubnetFragment>>,
}

/// `[[dhcp.subnet]]` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SubnetFragment {
    /// Interface of this machine that is in it; none: behind a relay.
    pub interface: Option<String>,
    /// Its addresses.
    pub network: Network,
    /// Addresses for anyone.
    #[serde(default)]
    pub pools: Vec<Range>,
    /// Option 3.
    #[serde(default)]
    pub routers: Vec<Ipv4Addr>,
    /// Option 6.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Option 42.
    #[serde(default)]
    pub ntp: Vec<Ipv4Addr>,
    /// Option 15.
    pub domain: Option<String>,
    /// Seconds.
    pub lease_time: Option<u32>,
    /// `[[dhcp.subnet.reservation]]`
    #[serde(default)]
    pub reservation: Vec<ReservationFragment>,
}

/// `[[dhcp.subnet.reservation]]` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReservationFragment {
    /// For this network interface.
    pub mac: Option<MacAddr>,
    /// Or for the Mac with this serial number.
    pub serial: Option<Serial>,
    /// The address.
    pub address: Ipv4Addr,
}

/// `[dhcp]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// What is handed out; none: nothing, DHCP is the site's.
    pub plan: Option<Plan>,
    /// Whether to start beside another DHCP server.
    pub force: bool,
    /// How long a new address is probed for.
    pub probe: Duration,
    /// Whether Macs that hold N are told the default image with their address.
    pub single_step: bool,
}

/// Most addresses in one option: clients take few, and the packet is short.
const MOST_SERVICES: usize = 8;

impl DhcpFragment {
    /// This section, and `earlier` where this one is silent. Subnets are replaced as a whole.
    pub(super) fn or(self, earlier: DhcpFragment) -> DhcpFragment {
        DhcpFragment {
            enabled: self.enabled.or(earlier.enabled),
            force: self.force.or(earlier.force),
            probe_ms: self.probe_ms.or(earlier.probe_ms),
            single_step: self.single_step.or(earlier.single_step),
            subnet: self.subnet.or(earlier.subnet),
        }
    }

    pub(super) fn validate(self, network: &NetworkSection) -> Result<Dhcp, ConfigError> {
        let enabled = self.enabled.unwrap_or(false);
        let rule = "needs `network.boot-services = true`, which opens the DHCP port";
        check("dhcp.enabled", &enabled, !enabled || network.boot_services, rule)?;
        let rule = "0 to 2000 milliseconds: clients wait a few seconds for an offer";
        let probe = within("dhcp.probe-ms", self.probe_ms.unwrap_or(400), 0, 2000, rule)?;
        // Also what is off is checked: a mistake shows before it is switched on.
        let subnets = self.subnet.unwrap_or_default();
        let subnets: Vec<Subnet> =
            subnets.into_iter().map(|subnet| subnet.validate(network)).collect::<Result<_, _>>()?;
        let plan = match Plan::new(subnets) {
            Err(PlanError::NoSubnet) if !enabled => None,
            checked => Some(checked?).filter(|_| enabled),
        };
        Ok(Dhcp {
            plan,
            force: self.force.unwrap_or(false),
            probe: Duration::from_millis(probe.into()),
            single_step: self.single_step.unwrap_or(true),
        })
    }
}

impl SubnetFragment {
    fn validate(self, network: &NetworkSection) -> Result<Subnet, ConfigError> {
        let key = "dhcp.subnet.interface";
        if let Some(interface) = &self.interface {
            let served = network.interfaces.is_empty() || network.interfaces.contains(interface);
            check(key, interface, served, "one of `network.interfaces`: only those are listened on")?;
        }
        for (key, list) in [
            ("dhcp.subnet.routers", &self.routers),
            ("dhcp.subnet.dns", &self.dns),
            ("dhcp.subnet.ntp", &self.ntp),
        ] {
            check(key, &list.len(), list.len() <= MOST_SERVICES, "at most 8 addresses")?;
            for address in list {
                let good = !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
                check(key, address, good, "addresses of machines")?;
            }
        }
        if let Some(domain) = &self.domain {
            check("dhcp.subnet.domain", domain, is_host(domain), "a DNS name, as in lab.example")?;
        }
        let rule = "120 seconds to 30 days (2592000)";
        let lease_secs =
            within("dhcp.subnet.lease-time", self.lease_time.unwrap_or(3600), 120, 30 * 86_400, rule)?;
        let reservations =
            self.reservation.into_iter().map(ReservationFragment::validate).collect::<Result<_, _>>()?;
        Ok(Subnet {
            interface: self.interface,
            network: self.network,
            pools: self.pools,
            reservations,
            routers: self.routers,
            dns: self.dns,
            ntp: self.ntp,
            domain: self.domain,
            lease_secs,
        })
    }
}

impl ReservationFragment {
    fn validate(self) -> Result<Reservation, ConfigError> {
        let address = self.address;
        let who = match (self.mac, self.serial) {
            (Some(mac), None) => Who::Mac(mac),
            (None, Some(serial)) => Who::Serial(serial),
            _ => {
                let rule = "needs either `mac` or `serial`";
                check("dhcp.subnet.reservation", &address, false, rule)?;
                unreachable!("a check that is false is an error");
            }
        };
        Ok(Reservation { who, address })
    }
}

impl fmt::Display for Dhcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dhcp { plan, force, probe, single_step } = self;
        writeln!(f, "[dhcp]\nenabled = {}\nforce = {force}", plan.is_some())?;
        writeln!(f, "probe-ms = {}\nsingle-step = {single_step}", probe.as_millis())?;
        plan.iter().flat_map(Plan::subnets).try_for_each(|subnet| write_subnet(f, subnet))
    }
}

fn write_subnet(f: &mut fmt::Formatter<'_>, subnet: &Subnet) -> fmt::Result {
    fn texts(list: &[impl ToString]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }
    writeln!(f, "\n[[dhcp.subnet]]")?;
    match &subnet.interface {
        Some(interface) => writeln!(f, "interface = {interface:?}")?,
        None => writeln!(f, "# interface: none, behind a relay")?,
    }
    writeln!(f, "network = \"{}\"\npools = {:?}", subnet.network, texts(&subnet.pools))?;
    writeln!(f, "routers = {:?}\ndns = {:?}", texts(&subnet.routers), texts(&subnet.dns))?;
    writeln!(f, "ntp = {:?}\nlease-time = {}", texts(&subnet.ntp), subnet.lease_secs)?;
    if let Some(domain) = &subnet.domain {
        writeln!(f, "domain = {domain:?}")?;
    }
    subnet.reservations.iter().try_for_each(|Reservation { who, address }| {
        let who = match who {
            Who::Mac(mac) => format!("mac = \"{mac}\""),
            Who::Serial(serial) => format!("serial = {:?}", serial.as_str()),
        };
        writeln!(f, "\n[[dhcp.subnet.reservation]]\n{who}\naddress = \"{address}\"")
    })
}

#[cfg(test)]
mod tests {
    use super::super::Fragment;
    use super::*;

    const LAB: &str = "[dhcp]\nenabled = true\n[[dhcp.subnet]]\ninterface = 'eth1'\nnetwork = '10.77.0.0/24'\n\
        pools = ['10.77.0.100-10.77.0.149', '10.77.0.160-10.77.0.199']\nrouters = ['10.77.0.1']\ndns = ['10.77.0.1']\n\
        ntp = ['10.77.0.1']\ndomain = 'lab.test'\nlease-time = 7200\n\
        [[dhcp.subnet.reservation]]\nserial = 'C02FEAS00001'\naddress = '10.77.0.20'\n\
        [[dhcp.subnet.reservation]]\nmac = '0a:1b:2c:3d:4e:5f'\naddress = '10.77.0.21'\n";

    fn told(text: &str) -> Result<Dhcp, String> {
        let fragment: Fragment = toml::from_str(text).map_err(|error| error.to_string())?;
        fragment.validate().map(|config| config.dhcp).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_handed_out_unless_it_is_written() {
        assert_eq!(told("").unwrap().plan, None);
        assert_eq!(told(&LAB.replace("enabled = true", "enabled = false")).unwrap().plan, None);
        assert!(told("[dhcp]\nenabled = true").unwrap_err().contains("no `[[dhcp.subnet]]`"));
    }

    #[test]
    fn what_is_printed_gives_the_same_settings_again() {
        let dhcp = told(LAB).unwrap();
        assert_eq!(dhcp.plan.as_ref().unwrap().subnets()[0].reservations.len(), 2);
        assert_eq!(told(&dhcp.to_string()).unwrap(), dhcp);
        let relayed = told(&LAB.replace("interface = 'eth1'\n", "")).unwrap();
        assert_eq!(told(&relayed.to_string()).unwrap(), relayed);
    }

    #[test]
    fn mistakes_are_named_before_anything_is_served() {
        for (from, to, want) in [
            ("10.77.0.0/24", "10.77.0.9/24", "the network is 10.77.0.0/24"),
            ("10.77.0.160-10.77.0.199", "10.77.0.140-10.77.0.199", "overlap"),
            ("10.77.0.160-10.77.0.199", "10.78.0.160-10.78.0.199", "reaches outside its subnet 10.77.0.0/24"),
            ("routers = ['10.77.0.1']", "routers = ['10.78.0.1']", "outside its subnet"),
            (
                "address = '10.77.0.21'",
                "address = '10.77.0.20'",
                "is reserved for serial number C02FEAS00001 and",
            ),
            ("mac = '0a:1b:2c:3d:4e:5f'\n", "", "needs either `mac` or `serial`"),
            ("lease-time = 7200", "lease-time = 5", "`dhcp.subnet.lease-time` is `5`"),
            ("domain = 'lab.test'", "domain = 'lab test'", "`dhcp.subnet.domain` is `lab test`"),
            ("dns = ['10.77.0.1']", "dns = ['0.0.0.0']", "`dhcp.subnet.dns` is `0.0.0.0`"),
            ("enabled = true", "enabled = true\nprobe-ms = 9000", "`dhcp.probe-ms` is `9000`"),
            ("[dhcp]", "[network]\ninterfaces = ['eth0']\n[dhcp]", "one of `network.interfaces`"),
            ("[dhcp]", "[network]\nboot-services = false\n[dhcp]", "needs `network.boot-services = true`"),
            (
                "enabled = true",
                "enabled = false\n[[dhcp.subnet]]\nnetwork = '10.77.0.0/16'",
                "neither a pool",
            ),
        ] {
            assert!(LAB.contains(from), "{from}");
            let error = told(&LAB.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(want), "{to}: {error}");
        }
    }
}
