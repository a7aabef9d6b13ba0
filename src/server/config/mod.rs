//! Settings: as written ([`Fragment`]), merged, then as meant ([`Config`]). One file a section.
//!
//! Every key is optional; the embedded defaults are the settings of an appliance that was just unpacked. Later files
//! win, key by key. Must not know: sockets, the data folder's content.

mod accounts;
mod announce;
mod boot;
mod bsdp;
mod dhcp;
mod history;
mod ldap;
mod library;
mod log;
mod nbi;
mod network;
mod notify;
mod ports;
mod pxe;
mod rule;
mod runner;
mod tftp;
mod upstream;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::accounts::{AccountSettings, AccountsFragment};
pub use self::announce::{Announce, AnnounceFragment};
pub use self::boot::{Boot, BootFragment};
pub use self::bsdp::{Bsdp, BsdpFragment};
pub use self::dhcp::{Dhcp, DhcpFragment};
pub use self::history::{History, HistoryFragment};
pub use self::ldap::{Ldap, LdapFragment};
pub use self::library::{DropAfter, DropFolder, Library, LibraryFragment};
pub use self::log::{Log, LogFragment};
pub use self::nbi::{Nbi, NbiFragment};
pub use self::network::{Network, NetworkFragment};
pub use self::notify::{Mail, Notify, NotifyFragment, Security};
pub use self::ports::{Ports, PortsFragment};
pub use self::pxe::{Pxe, PxeFragment};
use self::rule::{check, printable};
pub use self::rule::{host_name, is_host};
pub use self::runner::{Runner, RunnerFragment, SignInRule};
pub use self::tftp::{CapFragment, Tftp, TftpFragment};
pub use self::upstream::Upstream;
use crate::netboot::lease::PlanError;

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
    /// `[dhcp]`
    pub dhcp: DhcpFragment,
    /// `[pxe]`
    pub pxe: PxeFragment,
    /// `[tftp]`
    pub tftp: TftpFragment,
    /// `[runner]`
    pub runner: RunnerFragment,
    /// `[library]`
    pub library: LibraryFragment,
    /// `[nbi]`
    pub nbi: NbiFragment,
    /// `[announce]`
    pub announce: AnnounceFragment,
    /// `[notify]`
    pub notify: NotifyFragment,
    /// `[history]`
    pub history: HistoryFragment,
    /// `[log]`
    pub log: LogFragment,
    /// `[accounts]`
    pub accounts: AccountsFragment,
    /// `[ldap]`
    pub ldap: LdapFragment,
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
    /// Addresses that are handed out.
    pub dhcp: Dhcp,
    /// Who is answered by PXE and HTTP boot.
    pub pxe: Pxe,
    /// TFTP limits.
    pub tftp: Tftp,
    /// How Macs that boot are taken in.
    pub runner: Runner,
    /// What imports may use.
    pub library: Library,
    /// Boot sets.
    pub nbi: Nbi,
    /// Whether the appliance tells that it is there.
    pub announce: Announce,
    /// How Notify steps reach people and programs.
    pub notify: Notify,
    /// How long the details of runs are kept.
    pub history: History,
    /// How much of the log is kept in files.
    pub log: Log,
    /// How long somebody stays signed in.
    pub accounts: AccountSettings,
    /// A directory that people sign in with.
    pub ldap: Option<Ldap>,
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
    /// `[[dhcp.subnet]]`s do not fit together.
    #[error("`[dhcp]`: {0}")]
    Dhcp(#[from] PlanError),
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
            dhcp: self.dhcp.or(earlier.dhcp),
            pxe: self.pxe.or(earlier.pxe),
            tftp: self.tftp.or(earlier.tftp),
            runner: self.runner.or(earlier.runner),
            library: self.library.or(earlier.library),
            nbi: self.nbi.or(earlier.nbi),
            announce: self.announce.or(earlier.announce),
            notify: self.notify.or(earlier.notify),
            history: self.history.or(earlier.history),
            log: self.log.or(earlier.log),
            accounts: self.accounts.or(earlier.accounts),
            ldap: self.ldap.or(earlier.ldap),
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
        let network = self.network.validate()?;
        Ok(Config {
            name,
            socket,
            dhcp: self.dhcp.validate(&network)?,
            network,
            ports: self.ports.validate()?,
            boot: self.boot.validate()?,
            bsdp: self.bsdp.validate()?,
            pxe: self.pxe.validate()?,
            tftp: self.tftp.validate()?,
            runner: self.runner.validate()?,
            library: self.library.validate()?,
            nbi: self.nbi.validate()?,
            announce: self.announce.validate(),
            notify: self.notify.validate()?,
            history: self.history.validate()?,
            log: self.log.validate()?,
            accounts: self.accounts.validate()?,
            ldap: self.ldap.validate()?,
        })
    }
}

impl std::fmt::Display for Config {
    /// The settings in force as a file that would give the same: what `--check` prints.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Config {
            name,
            socket,
            network,
            ports,
            boot,
            bsdp,
            dhcp,
            pxe,
            tftp,
            runner,
            library,
            nbi,
            announce,
            notify,
            history,
            log,
            accounts,
            ldap,
        } = self;
        writeln!(f, "name = {name:?}")?;
        match socket {
            Some(path) => writeln!(f, "socket = {:?}", path.display().to_string())?,
            None => writeln!(f, "# socket: rootstock.sock in the data folder")?,
        }
        write!(f, "\n{network}\n{ports}\n{boot}\n{bsdp}\n{dhcp}\n{pxe}\n{tftp}\n{runner}\n")?;
        write!(
            f,
            "{library}\n{nbi}\n{announce}\n{notify}\n{history}\n{log}\n{accounts}\n{}",
            ldap::Shown(ldap)
        )
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
    fn kernel_arguments_are_the_usual_ones_the_written_ones_or_none() {
        for (text, want) in [
            ("", crate::netboot::arguments::USUAL),
            ("[boot]\nkernel-arguments = ' nomodeset  console=tty0 '", "nomodeset console=tty0"),
            ("[boot]\nkernel-arguments = ''", ""),
        ] {
            assert_eq!(parse(text).validate().unwrap().boot.kernel_arguments.to_string(), want);
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
            ("[library]\nupload-expires = 0", "`library.upload-expires` is `0`: 1 to 8760 hours"),
            (
                "[library]\nimport-folders = ['a']",
                "`library.import-folders` is `a`: must be an absolute path",
            ),
            ("[library]\ndrop-folder = 'd'", "`library.drop-folder` is `d`: must be an absolute path"),
            ("[library]\ndrop-name = '/{stem}'", "`library.drop-name` is `/{stem}`"),
            ("[ports]\nhttp = 443", "`ports.http` and `ports.https` are both 443"),
            ("[boot]\nwithout-deployment = 'no'", "`boot.without-deployment` is `no`"),
            ("[boot]\nkernel-arguments = 'a\"b'", "`boot.kernel-arguments` is `a\\\"b`: words of letters"),
            ("[boot]\nkernel-arguments = 'quiet ; sleep 9'", "`boot.kernel-arguments` is `quiet ; sleep 9`"),
            ("[boot]\nkernel-arguments = \"\"\"a\n${net0/mac}\"\"\"", "`a\\n${net0/mac}`"),
            ("[bsdp]\nbinding-days = 4000", "`bsdp.binding-days` is `4000`: 0 (for ever) to 3650 days"),
            ("[bsdp]\nshadow-mount = 'nfs:10.0.0.5:/s'", "`bsdp.shadow-file` is ``"),
            ("[bsdp]\nshadow-file = 'x'", "`bsdp.shadow-mount` is ``"),
            ("[log]\nsize = 'much'", "`log.size` is `much`: a size"),
            ("[runner]\ncountdown = 4000", "`runner.countdown` is `4000`"),
            ("[notify]\nca-file = 'a'", "`notify.ca-file` is `a`: must be an absolute path"),
            ("[notify]\nsmtp-server = 'm'", "`notify.mail-from` is ``"),
            (
                "[notify]\nsmtp-server = 'm'\nmail-from = 'a@b'\nsmtp-security = 'x'",
                "`notify.smtp-security` is `x`",
            ),
            (
                "[notify]\nsmtp-server = 'm'\nmail-from = 'a@b'\nsmtp-user = 'x'",
                "`notify.smtp-password-file` is absent",
            ),
        ] {
            let error = parse(text).validate().unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn section_8_sizes_and_counts_of_log_files_are_clamped() {
        for (text, want) in [
            ("", (1_000_000, 10)),
            ("[log]\nsize = '1 KB'\nfiles = 0", (200_000, 1)),
            ("[log]\nsize = '4 MiB'\nfiles = 99", (4_000_000, 20)),
        ] {
            let limits = parse(text).validate().unwrap().log.0;
            assert_eq!((limits.size(), limits.files()), want, "{text}");
        }
    }

    #[test]
    fn what_check_prints_gives_the_same_settings_again() {
        let text = "name = 'Lab \"1\"'\nsocket = '/run/r.sock'\n[network]\naddress = '10.0.0.1'\ninterfaces = ['eth0']\n\
                    [bsdp]\nanswer-discover = false\nbinding-days = 0\n\
                    shadow-mount = 'afp://u:p@10.0.0.5/S'\nshadow-file = '{name}/Shadow'\n[library]\nworkers = 3\nkeep-free = '2 GB'\nkeep-versions = 5\nkeep-days = 90\n\
                    upload-max = '1 TiB'\nimport-folders = ['/srv/a b', '/i']\ndrop-folder = '/srv/in'\ndrop-name = '{series}'\ndrop-after = 'remove'\ncollect = 10\n[log]\nsize = '300 KB'\nfiles = 3\n\
                    [notify]\nwebhook-secret-file = '/etc/hook'\nca-file = '/etc/ca.pem'\nsmtp-server = 'mail.example'\nsmtp-user = 'a'\nsmtp-password-file = '/etc/pw'\nmail-from = 'a@b'\n\
                    [library.upstream]\nurl = 'https://10.0.0.9'\nca = '/etc/ca.pem'\ntoken-file = '/etc/token'";
        let config = parse(text).validate().unwrap();
        assert_eq!(parse(&config.to_string()).validate().unwrap(), config);
        let defaults = Fragment::default().validate().unwrap();
        assert_eq!(parse(&defaults.to_string()).validate().unwrap(), defaults);
    }
}
