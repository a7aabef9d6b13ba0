//! `[network]`: addresses, interfaces, names.

use std::fmt;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::ConfigError;
use super::rule::{check, is_host, printable};

/// `[network]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NetworkFragment {
    /// Address that Macs are told.
    pub address: Option<Ipv4Addr>,
    /// Interfaces to serve.
    pub interfaces: Option<Vec<String>>,
    /// Further names and addresses that the server certificate shall hold.
    pub names: Option<Vec<String>>,
    /// Whether to answer BSDP, PXE and TFTP at all.
    pub boot_services: Option<bool>,
}

/// `[network]` in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Address that Macs are told; none: the address of the interface they are heard on.
    pub address: Option<Ipv4Addr>,
    /// Interfaces to serve; empty: all that have an IPv4 address, save loopback.
    pub interfaces: Vec<String>,
    /// Further names and addresses of the server certificate.
    pub names: Vec<String>,
    /// Whether BSDP, PXE and TFTP are answered.
    pub boot_services: bool,
}

impl NetworkFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: NetworkFragment) -> NetworkFragment {
        NetworkFragment {
            address: self.address.or(earlier.address),
            interfaces: self.interfaces.or(earlier.interfaces),
            names: self.names.or(earlier.names),
            boot_services: self.boot_services.or(earlier.boot_services),
        }
    }

    pub(super) fn validate(self) -> Result<Network, ConfigError> {
        let interfaces = self.interfaces.unwrap_or_default();
        for interface in &interfaces {
            let good = printable(interface, 15) && !interface.contains(['/', ' ']);
            check(
                "network.interfaces",
                interface,
                good,
                "names of network interfaces, 1 to 15 characters each",
            )?;
        }
        let names = self.names.unwrap_or_default();
        for name in &names {
            check("network.names", name, is_host(name), "DNS names or IP addresses")?;
        }
        if let Some(address) = self.address {
            let good = !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
            check("network.address", &address, good, "one IPv4 address that Macs can reach")?;
        }
        Ok(Network {
            address: self.address,
            interfaces,
            names,
            boot_services: self.boot_services.unwrap_or(true),
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[network]")?;
        match self.address {
            Some(address) => writeln!(f, "address = \"{address}\"")?,
            None => writeln!(f, "# address: that of the interface a Mac is heard on")?,
        }
        if self.interfaces.is_empty() {
            writeln!(f, "# interfaces: all that have an IPv4 address")?;
        } else {
            writeln!(f, "interfaces = {:?}", self.interfaces)?;
        }
        writeln!(f, "names = {:?}\nboot-services = {}", self.names, self.boot_services)
    }
}
