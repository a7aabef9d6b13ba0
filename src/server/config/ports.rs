//! `[ports]`: where the services listen.

use std::fmt;

use serde::Deserialize;

use super::ConfigError;

/// `[ports]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PortsFragment {
    /// Boot files.
    pub http: Option<u16>,
    /// API and runner protocol.
    pub https: Option<u16>,
    /// BSDP and proxyDHCP.
    pub dhcp: Option<u16>,
    /// proxyDHCP, second exchange.
    pub proxy_dhcp: Option<u16>,
    /// TFTP.
    pub tftp: Option<u16>,
}

/// Ports in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Boot files, without encryption.
    pub http: u16,
    /// API and runner protocol.
    pub https: u16,
    /// BSDP and proxyDHCP.
    pub dhcp: u16,
    /// proxyDHCP, second exchange.
    pub proxy_dhcp: u16,
    /// TFTP.
    pub tftp: u16,
}

impl PortsFragment {
    /// This section, and `earlier` where this one is silent.
    pub(super) fn or(self, earlier: PortsFragment) -> PortsFragment {
        PortsFragment {
            http: self.http.or(earlier.http),
            https: self.https.or(earlier.https),
            dhcp: self.dhcp.or(earlier.dhcp),
            proxy_dhcp: self.proxy_dhcp.or(earlier.proxy_dhcp),
            tftp: self.tftp.or(earlier.tftp),
        }
    }

    pub(super) fn validate(self) -> Result<Ports, ConfigError> {
        let ports = Ports {
            http: self.http.unwrap_or(80),
            https: self.https.unwrap_or(443),
            dhcp: self.dhcp.unwrap_or(67),
            proxy_dhcp: self.proxy_dhcp.unwrap_or(4011),
            tftp: self.tftp.unwrap_or(69),
        };
        let pairs = [
            ("http", ports.http, "https", ports.https),
            ("dhcp", ports.dhcp, "proxy-dhcp", ports.proxy_dhcp),
            ("dhcp", ports.dhcp, "tftp", ports.tftp),
            ("proxy-dhcp", ports.proxy_dhcp, "tftp", ports.tftp),
        ];
        for (one, first, other, second) in pairs {
            if first == second && first != 0 {
                return Err(ConfigError::SamePort { one, other, port: first });
            }
        }
        Ok(ports)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ports { http, https, dhcp, proxy_dhcp, tftp } = self;
        writeln!(f, "[ports]\nhttp = {http}\nhttps = {https}\ndhcp = {dhcp}")?;
        writeln!(f, "proxy-dhcp = {proxy_dhcp}\ntftp = {tftp}")
    }
}
