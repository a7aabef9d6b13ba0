//! Settings: as written ([`Fragment`]), merged, then as meant ([`Config`]).
//!
//! Every key is optional; the embedded defaults are the settings of an appliance that was just unpacked. Later files
//! win, key by key. Must not know: sockets, the data folder's content.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::db::Newcomers;
use crate::value::ByteSize;

/// Settings as they stand in one file. An unknown key is an error that names it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Fragment {
    /// Name of the appliance, shown to technicians; that of the machine when nobody names it.
    pub name: Option<String>,
    /// Path of the Unix socket for the admin's command line.
    pub socket: Option<PathBuf>,
    /// `[network]`
    pub network: NetworkFragment,
    /// `[ports]`
    pub ports: PortsFragment,
    /// `[tftp]`
    pub tftp: TftpFragment,
    /// `[runner]`
    pub runner: RunnerFragment,
    /// `[library]`
    pub library: LibraryFragment,
}

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

/// `[tftp]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TftpFragment {
    /// Largest block that is agreed to.
    pub max_block_size: Option<u16>,
    /// Largest window that is agreed to.
    pub max_window: Option<u16>,
    /// Transfers at the same time.
    pub max_transfers: Option<u32>,
}

/// `[runner]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RunnerFragment {
    /// Seconds that a person has to cancel a Required run.
    pub countdown: Option<u32>,
    /// Macs that nobody knows, heard for the first time, that are taken in within a minute.
    pub new_macs_a_minute: Option<u32>,
    /// Macs that nobody knows that are taken in altogether.
    pub unknown_macs: Option<u32>,
}

/// `[library]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LibraryFragment {
    /// Threads that an import uses.
    pub workers: Option<u32>,
    /// Free space that an import leaves on the disk of the library.
    pub keep_free: Option<String>,
}

/// The settings in force. Existing means valid; nothing re-checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the appliance.
    pub name: String,
    /// Path of the Unix socket; none: `rootstock.sock` in the data folder.
    pub socket: Option<PathBuf>,
    /// Address that Macs are told; none: the address of the interface they are heard on.
    pub address: Option<Ipv4Addr>,
    /// Interfaces to serve; empty: all that have an IPv4 address, save loopback.
    pub interfaces: Vec<String>,
    /// Further names and addresses of the server certificate.
    pub names: Vec<String>,
    /// Whether BSDP, PXE and TFTP are answered.
    pub boot_services: bool,
    /// Ports; 0 lets the system choose.
    pub ports: Ports,
    /// TFTP limits.
    pub tftp: Tftp,
    /// Seconds that a person has to cancel a Required run.
    pub countdown: u32,
    /// How many Macs that nobody knows are taken in.
    pub newcomers: Newcomers,
    /// Threads that an import uses; none: one a core.
    pub import_workers: Option<usize>,
    /// Bytes that an import leaves free on the library's disk.
    pub keep_free: u64,
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

/// TFTP limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tftp {
    /// Largest block that is agreed to.
    pub max_block_size: u16,
    /// Largest window that is agreed to.
    pub max_window: u16,
    /// Transfers at the same time.
    pub max_transfers: u32,
}

/// Why settings are not in force.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the settings file {} cannot be read; check the path and who may read it", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML, has an unknown key, or a value of the wrong kind.
    #[error("the settings file {} is wrong", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A value is out of range.
    #[error("setting `{key}` is {value}: {rule}")]
    Value {
        /// Key with its section.
        key: &'static str,
        /// As written.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// Two services want one port.
    #[error("settings `ports.{one}` and `ports.{other}` are both {port}: give each its own port")]
    SamePort {
        /// First.
        one: &'static str,
        /// Second.
        other: &'static str,
        /// The port.
        port: u16,
    },
}

/// Folders whose `*.toml` are read in this order when no file is named.
pub const FOLDERS: [&str; 3] =
    ["/usr/lib/rootstock/config.d", "/run/rootstock/config.d", "/etc/rootstock/config.d"];

impl Fragment {
    /// Reads one file.
    pub fn read(path: &Path) -> Result<Fragment, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
    }

    /// Reads the files of [`FOLDERS`], each folder in the order of names; a folder that is absent is skipped.
    pub fn read_folders(folders: &[&str]) -> Result<Fragment, ConfigError> {
        let mut merged = Fragment::default();
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut files: Vec<PathBuf> = entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .collect();
            files.sort();
            for file in files {
                merged = Fragment::read(&file)?.or(merged);
            }
        }
        Ok(merged)
    }

    /// This fragment, and `earlier` where this one is silent.
    pub fn or(self, earlier: Fragment) -> Fragment {
        Fragment {
            name: self.name.or(earlier.name),
            socket: self.socket.or(earlier.socket),
            network: NetworkFragment {
                address: self.network.address.or(earlier.network.address),
                interfaces: self.network.interfaces.or(earlier.network.interfaces),
                names: self.network.names.or(earlier.network.names),
                boot_services: self.network.boot_services.or(earlier.network.boot_services),
            },
            ports: PortsFragment {
                http: self.ports.http.or(earlier.ports.http),
                https: self.ports.https.or(earlier.ports.https),
                dhcp: self.ports.dhcp.or(earlier.ports.dhcp),
                proxy_dhcp: self.ports.proxy_dhcp.or(earlier.ports.proxy_dhcp),
                tftp: self.ports.tftp.or(earlier.ports.tftp),
            },
            tftp: TftpFragment {
                max_block_size: self.tftp.max_block_size.or(earlier.tftp.max_block_size),
                max_window: self.tftp.max_window.or(earlier.tftp.max_window),
                max_transfers: self.tftp.max_transfers.or(earlier.tftp.max_transfers),
            },
            runner: RunnerFragment {
                countdown: self.runner.countdown.or(earlier.runner.countdown),
                new_macs_a_minute: self.runner.new_macs_a_minute.or(earlier.runner.new_macs_a_minute),
                unknown_macs: self.runner.unknown_macs.or(earlier.runner.unknown_macs),
            },
            library: LibraryFragment {
                workers: self.library.workers.or(earlier.library.workers),
                keep_free: self.library.keep_free.or(earlier.library.keep_free),
            },
        }
    }

    /// Checks every value. The only way to a [`Config`].
    pub fn validate(self) -> Result<Config, ConfigError> {
        let name = self.name.or_else(host_name).unwrap_or_else(|| "Rootstock".to_owned());
        check("name", &name, printable(&name, 64), "1 to 64 printable characters")?;
        let socket = self.socket;
        if let Some(path) = &socket {
            check("socket", &path.display(), path.is_absolute(), "must be an absolute path")?;
        }
        let interfaces = self.network.interfaces.unwrap_or_default();
        for interface in &interfaces {
            let good = printable(interface, 15) && !interface.contains(['/', ' ']);
            check(
                "network.interfaces",
                interface,
                good,
                "names of network interfaces, 1 to 15 characters each",
            )?;
        }
        let names = self.network.names.unwrap_or_default();
        for name in &names {
            check("network.names", name, is_host(name), "DNS names or IP addresses")?;
        }
        if let Some(address) = self.network.address {
            let good = !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
            check("network.address", &address, good, "one IPv4 address that Macs can reach")?;
        }
        let keep_free = match self.library.keep_free {
            None => 1 << 30,
            Some(text) => text.parse::<ByteSize>().map(|size| size.0).map_err(|_| ConfigError::Value {
                key: "library.keep-free",
                value: format!("`{text}`"),
                rule: "a size, as in \"5 GiB\"",
            })?,
        };
        Ok(Config {
            name,
            socket,
            address: self.network.address,
            interfaces,
            names,
            boot_services: self.network.boot_services.unwrap_or(true),
            ports: self.ports.validate()?,
            tftp: self.tftp.validate()?,
            countdown: within(
                "runner.countdown",
                self.runner.countdown.unwrap_or(30),
                0,
                3600,
                "0 to 3600 seconds",
            )?,
            newcomers: self.runner.newcomers()?,
            import_workers: self
                .library
                .workers
                .map(|n| within("library.workers", n, 1, 256, "1 to 256 threads"))
                .transpose()?
                .map(|n| n as usize),
            keep_free,
        })
    }
}

impl PortsFragment {
    fn validate(self) -> Result<Ports, ConfigError> {
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

impl RunnerFragment {
    fn newcomers(&self) -> Result<Newcomers, ConfigError> {
        let (minute, unknown) = (self.new_macs_a_minute.unwrap_or(600), self.unknown_macs.unwrap_or(10_000));
        Ok(Newcomers {
            a_minute: within("runner.new-macs-a-minute", minute, 1, 100_000, "1 to 100000 Macs")?,
            unknown: within("runner.unknown-macs", unknown, 1, 1_000_000, "1 to 1000000 Macs")?,
        })
    }
}

impl TftpFragment {
    fn validate(self) -> Result<Tftp, ConfigError> {
        // RFC 2348 allows 8 to 65464; below 512 no boot loader asks. 1428 fits a 1500 byte frame with IP options and a tunnel's header.
        let max_block_size = self.max_block_size.unwrap_or(1428);
        let max_window = self.max_window.unwrap_or(64);
        let max_transfers = self.max_transfers.unwrap_or(384);
        Ok(Tftp {
            max_block_size: within("tftp.max-block-size", max_block_size, 512, 65464, "512 to 65464 bytes")?,
            max_window: within("tftp.max-window", max_window, 1, 256, "1 to 256 blocks")?,
            max_transfers: within("tftp.max-transfers", max_transfers, 1, 10_000, "1 to 10000 transfers")?,
        })
    }
}

fn printable(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && text.chars().all(|c| !c.is_control())
}

/// What this machine is called.
pub fn host_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(text.trim().to_owned()).filter(|name| is_host(name) && printable(name, 64))
}

/// Whether a text is an IP address or a DNS name (RFC 1123 section 2.1).
pub fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (1..=253).contains(&text.len())
            && text.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            })
}

fn check(
    key: &'static str,
    value: &impl ToString,
    good: bool,
    rule: &'static str,
) -> Result<(), ConfigError> {
    if good {
        Ok(())
    } else {
        Err(ConfigError::Value { key, value: format!("`{}`", value.to_string()), rule })
    }
}

fn within<T: PartialOrd + ToString + Copy>(
    key: &'static str,
    value: T,
    least: T,
    most: T,
    rule: &'static str,
) -> Result<T, ConfigError> {
    check(key, &value, value >= least && value <= most, rule)?;
    Ok(value)
}

impl std::fmt::Display for Config {
    /// The settings in force as a file that would give the same: what `--check` prints.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        writeln!(text, "name = {:?}", self.name)?;
        match &self.socket {
            Some(path) => writeln!(text, "socket = {:?}", path.display().to_string())?,
            None => writeln!(text, "# socket: rootstock.sock in the data folder")?,
        }
        writeln!(text, "\n[network]")?;
        match self.address {
            Some(address) => writeln!(text, "address = \"{address}\"")?,
            None => writeln!(text, "# address: that of the interface a Mac is heard on")?,
        }
        if self.interfaces.is_empty() {
            writeln!(text, "# interfaces: all that have an IPv4 address")?;
        } else {
            writeln!(text, "interfaces = {:?}", self.interfaces)?;
        }
        writeln!(text, "names = {:?}\nboot-services = {}", self.names, self.boot_services)?;
        let Ports { http, https, dhcp, proxy_dhcp, tftp } = self.ports;
        writeln!(text, "\n[ports]\nhttp = {http}\nhttps = {https}\ndhcp = {dhcp}")?;
        writeln!(text, "proxy-dhcp = {proxy_dhcp}\ntftp = {tftp}")?;
        let Tftp { max_block_size, max_window, max_transfers } = self.tftp;
        writeln!(text, "\n[tftp]\nmax-block-size = {max_block_size}\nmax-window = {max_window}")?;
        writeln!(text, "max-transfers = {max_transfers}")?;
        writeln!(text, "\n[runner]\ncountdown = {}", self.countdown)?;
        let Newcomers { a_minute, unknown } = self.newcomers;
        writeln!(text, "new-macs-a-minute = {a_minute}\nunknown-macs = {unknown}")?;
        writeln!(text, "\n[library]")?;
        match self.import_workers {
            Some(workers) => writeln!(text, "workers = {workers}")?,
            None => writeln!(text, "# workers: one a core")?,
        }
        write!(text, "keep-free = \"{}B\"", self.keep_free)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Fragment {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn nothing_written_gives_the_embedded_defaults() {
        let config = Fragment::default().validate().unwrap();
        assert_eq!(config.ports, Ports { http: 80, https: 443, dhcp: 67, proxy_dhcp: 4011, tftp: 69 });
        assert_eq!(config.tftp.max_block_size, 1428);
        assert_eq!(config.name, host_name().unwrap_or_else(|| "Rootstock".to_owned()));
    }

    #[test]
    fn the_later_file_wins_key_by_key() {
        let earlier = parse("name = 'a'\n[ports]\nhttp = 8080\nhttps = 8443");
        let config = parse("[ports]\nhttps = 9443").or(earlier).validate().unwrap();
        assert_eq!((config.name.as_str(), config.ports.http, config.ports.https), ("a", 8080, 9443));
    }

    #[test]
    fn an_unknown_key_is_named() {
        for (text, key) in
            [("nmae = 'a'", "nmae"), ("[ports]\nhtpps = 1", "htpps"), ("[prots]\nhttp = 1", "prots")]
        {
            let error = toml::from_str::<Fragment>(text).unwrap_err().to_string();
            assert!(error.contains(&format!("unknown field `{key}`")), "{error}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_key_value_and_rule() {
        for (text, want) in [
            ("[tftp]\nmax-block-size = 100", "`tftp.max-block-size` is `100`: 512 to 65464 bytes"),
            ("socket = 'relative.sock'", "`socket` is `relative.sock`: must be an absolute path"),
            ("[network]\nnames = ['a b']", "`network.names` is `a b`"),
            ("[network]\naddress = '0.0.0.0'", "`network.address` is `0.0.0.0`"),
            ("[library]\nkeep-free = 'much'", "`library.keep-free` is `much`"),
            ("[ports]\nhttp = 443", "`ports.http` and `ports.https` are both 443"),
            ("[runner]\ncountdown = 4000", "`runner.countdown` is `4000`"),
        ] {
            let error = parse(text).validate().unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn what_check_prints_gives_the_same_settings_again() {
        let text = "name = 'Lab \"1\"'\nsocket = '/run/r.sock'\n[network]\naddress = '10.0.0.1'\ninterfaces = ['eth0']\n\
                    [library]\nworkers = 3\nkeep-free = '2 GB'";
        let config = parse(text).validate().unwrap();
        assert_eq!(parse(&config.to_string()).validate().unwrap(), config);
        let defaults = Fragment::default().validate().unwrap();
        assert_eq!(parse(&defaults.to_string()).validate().unwrap(), defaults);
    }
}
