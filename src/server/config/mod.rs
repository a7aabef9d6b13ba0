//! Settings: as written ([`Fragment`]), merged, then as meant ([`Config`]). One file a section.
//!
//! Every key is optional; the embedded defaults are the settings of an appliance that was just unpacked. Later files
//! win, key by key. Must not know: sockets, the data folder's content.

mod boot;
mod bsdp;
mod library;
mod nbi;
mod network;
mod ports;
mod rule;
mod runner;
mod tftp;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::boot::{Boot, BootFragment};
pub use self::bsdp::{Bsdp, BsdpFragment};
pub use self::library::{Library, LibraryFragment};
pub use self::nbi::{Nbi, NbiFragment};
pub use self::network::{Network, NetworkFragment};
pub use self::ports::{Ports, PortsFragment};
use self::rule::{check, printable};
pub use self::rule::{host_name, is_host};
pub use self::runner::{Runner, RunnerFragment};
pub use self::tftp::{Tftp, TftpFragment};

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
    /// `[boot]`
    pub boot: BootFragment,
    /// `[bsdp]`
    pub bsdp: BsdpFragment,
    /// `[tftp]`
    pub tftp: TftpFragment,
    /// `[runner]`
    pub runner: RunnerFragment,
    /// `[library]`
    pub library: LibraryFragment,
    /// `[nbi]`
    pub nbi: NbiFragment,
}

/// The settings in force. Existing means valid; nothing re-checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the appliance.
    pub name: String,
    /// Path of the Unix socket; none: `rootstock.sock` in the data folder.
    pub socket: Option<PathBuf>,
    /// Addresses, interfaces, names.
    pub network: Network,
    /// Ports; 0 lets the system choose.
    pub ports: Ports,
    /// How Macs that hold N are answered.
    pub bsdp: Bsdp,
    /// Which Macs are started.
    pub boot: Boot,
    /// TFTP limits.
    pub tftp: Tftp,
    /// How Macs that boot are taken in.
    pub runner: Runner,
    /// What imports may use.
    pub library: Library,
    /// Boot sets.
    pub nbi: Nbi,
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
            network: self.network.or(earlier.network),
            ports: self.ports.or(earlier.ports),
            boot: self.boot.or(earlier.boot),
            bsdp: self.bsdp.or(earlier.bsdp),
            tftp: self.tftp.or(earlier.tftp),
            runner: self.runner.or(earlier.runner),
            library: self.library.or(earlier.library),
            nbi: self.nbi.or(earlier.nbi),
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
        Ok(Config {
            name,
            socket,
            network: self.network.validate()?,
            ports: self.ports.validate()?,
            boot: self.boot.validate()?,
            bsdp: self.bsdp.validate()?,
            tftp: self.tftp.validate()?,
            runner: self.runner.validate()?,
            library: self.library.validate()?,
            nbi: self.nbi.validate()?,
        })
    }
}

impl std::fmt::Display for Config {
    /// The settings in force as a file that would give the same: what `--check` prints.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Config { name, socket, network, ports, boot, bsdp, tftp, runner, library, nbi } = self;
        writeln!(f, "name = {name:?}")?;
        match socket {
            Some(path) => writeln!(f, "socket = {:?}", path.display().to_string())?,
            None => writeln!(f, "# socket: rootstock.sock in the data folder")?,
        }
        write!(f, "\n{network}\n{ports}\n{boot}\n{bsdp}\n{tftp}\n{runner}\n{library}\n{nbi}")
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
            ("[boot]\nwithout-deployment = 'no'", "`boot.without-deployment` is `no`"),
            ("[bsdp]\nbinding-days = 4000", "`bsdp.binding-days` is `4000`: 0 (for ever) to 3650 days"),
            ("[bsdp]\nshadow-mount = 'nfs:10.0.0.5:/s'", "`bsdp.shadow-file` is ``"),
            ("[bsdp]\nshadow-file = 'x'", "`bsdp.shadow-mount` is ``"),
            ("[runner]\ncountdown = 4000", "`runner.countdown` is `4000`"),
        ] {
            let error = parse(text).validate().unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn what_check_prints_gives_the_same_settings_again() {
        let text = "name = 'Lab \"1\"'\nsocket = '/run/r.sock'\n[network]\naddress = '10.0.0.1'\ninterfaces = ['eth0']\n\
                    [bsdp]\nanswer-discover = false\nbinding-days = 0\n\
                    shadow-mount = 'afp://u:p@10.0.0.5/S'\nshadow-file = '{name}/Shadow'\n[library]\nworkers = 3\nkeep-free = '2 GB'";
        let config = parse(text).validate().unwrap();
        assert_eq!(parse(&config.to_string()).validate().unwrap(), config);
        let defaults = Fragment::default().validate().unwrap();
        assert_eq!(parse(&defaults.to_string()).validate().unwrap(), defaults);
    }
}
