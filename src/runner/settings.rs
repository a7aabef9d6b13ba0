//! What the runner was told: kernel command line, files baked into the boot environment, flags.
//!
//! Later wins: baked file < kernel command line < flag. Where none names the appliance, or the winner is empty (the kernel command line
//! of a stick for any network), it is looked for (`find`); what a technician
//! enters on the network page wins over all (`network::Kept`). Pure parsing here; [`Settings::read`] is the edge.
//!
//! | source | what |
//! |---|---|
//! | `/etc/rootstock/server`, `ca.pem`, `ntp-servers` | baked in by `rootstock media boot` |
//! | `rootstock.server=…`, `rootstock.boot=netboot\|usb`, `rootstock.keyboard=de`, `rootstock.log-size=500KB`, `rootstock.log-files=5`, `BOOTIF=01-…`, `console=…` | kernel command line |
//! | `/root/.ssh/authorized_keys` | baked in with `--ssh-authkeys`: who may come by SSH may have a shell here too |
//! | `--server --ca --state --sysfs --console --unattended --keep-running` | flags |

use std::fs;
use std::path::{Path, PathBuf};

use crate::api::runner::BootMethod;
use crate::host::Limits;
use crate::value::{ByteSize, MacAddr};

/// Printed for `--help` and for a wrong command line.
pub const USAGE: &str = "\
rootstock-runner: images this Mac as its appliance says

usage: rootstock-runner [options]

  --server URL      address of the appliance (default: kernel command line, /etc/rootstock/server, else it is
                    looked for by DNS-SD)
  --ca FILE         its certificate authority (default: /etc/rootstock/ca.pem)
  --state DIR       folder for scripts and the log (default: /run/rootstock)
  --sysfs ROOT      folder that holds sys, proc and dev (default: /)
  --console TTY     terminal of the wizard, or `none` for plain lines on standard output
  --unattended      never wait for a person: plain lines, Required deployments start at once
  --keep-running    do not restart the machine; end instead
  --version, --help

within a script of a task sequence, where PMM_TS_VARIABLE_UTIL is the path of this program:

  --get NAME        prints the value; of several names, assignments for eval
  --set NAME=VALUE… sets variables of the run
";

/// Flags as they were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--server`
    pub server: Option<String>,
    /// `--ca`
    pub ca: Option<PathBuf>,
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--sysfs`
    pub root: Option<PathBuf>,
    /// `--console`
    pub console: Option<String>,
    /// `--unattended`
    pub unattended: bool,
    /// `--keep-running`
    pub keep_running: bool,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Run with these flags.
    Run(Flags),
    /// Print the usage.
    Help,
    /// Print the version.
    Version,
}

/// The runner cannot know what to do.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The command line is wrong.
    #[error("{0}; see rootstock-runner --help")]
    Usage(String),
    /// The authority's file cannot be read.
    #[error("the appliance's certificate authority {} cannot be read; build the boot files again", path.display())]
    NoAuthority {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Flags {
    /// Reads the words of a command line (without the program's name).
    ///
    /// # Errors
    /// [`SettingsError::Usage`] names the word that is wrong.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Asked, SettingsError> {
        let mut flags = Flags::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || {
                inline
                    .clone()
                    .or_else(|| words.next())
                    .ok_or_else(|| SettingsError::Usage(format!("{name} needs a value")))
            };
            match name.as_str() {
                "--server" => flags.server = Some(value()?),
                "--ca" => flags.ca = Some(value()?.into()),
                "--state" => flags.state = Some(value()?.into()),
                "--sysfs" => flags.root = Some(value()?.into()),
                "--console" => flags.console = Some(value()?),
                "--unattended" => flags.unattended = true,
                "--keep-running" => flags.keep_running = true,
                "--help" | "-h" => return Ok(Asked::Help),
                "--version" | "-V" => return Ok(Asked::Version),
                _ => return Err(SettingsError::Usage(format!("unknown option `{name}`"))),
            }
        }
        Ok(Asked::Run(flags))
    }
}

/// What matters on the kernel command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelLine {
    /// `rootstock.server=`
    pub server: Option<String>,
    /// `rootstock.boot=`
    pub boot: Option<BootMethod>,
    /// `rootstock.keyboard=`: the layout to begin with.
    pub keyboard: Option<String>,
    /// `rootstock.log-size=`: bytes of the newest log file.
    pub log_size: Option<u64>,
    /// `rootstock.log-files=`: log files that are kept.
    pub log_files: Option<u32>,
    /// `BOOTIF=01-aa-bb-…` as PXE loaders write it: the interface that booted.
    pub boot_interface: Option<MacAddr>,
    /// `console=ttyS0,115200` without the settings behind the comma, in order.
    pub consoles: Vec<String>,
}

impl KernelLine {
    /// Reads `/proc/cmdline`. Words that mean nothing to us are skipped: they are the kernel's.
    pub fn parse(text: &str) -> KernelLine {
        let mut line = KernelLine::default();
        for word in text.split_ascii_whitespace() {
            let Some((name, value)) = word.split_once('=') else { continue };
            match name {
                "rootstock.server" => line.server = Some(value.to_owned()),
                "rootstock.boot" => {
                    line.boot = match value {
                        "usb" => Some(BootMethod::Usb),
                        "netboot" => Some(BootMethod::Netboot),
                        _ => Some(BootMethod::Unknown),
                    }
                }
                "rootstock.keyboard" => line.keyboard = Some(value.to_owned()),
                "rootstock.log-size" => line.log_size = value.parse().ok().map(|size: ByteSize| size.0),
                "rootstock.log-files" => line.log_files = value.parse().ok(),
                "BOOTIF" => line.boot_interface = value.strip_prefix("01-").unwrap_or(value).parse().ok(),
                "console" => {
                    line.consoles.push(value.split(',').next().unwrap_or_default().to_owned());
                }
                _ => {}
            }
        }
        line
    }

    /// Serial consoles, `ttyS0`: they get plain lines beside the wizard.
    pub fn serial(&self) -> impl Iterator<Item = &str> {
        self.consoles.iter().map(String::as_str).filter(|name| {
            let digits = name.strip_prefix("ttyS").or_else(|| name.strip_prefix("ttyUSB"));
            digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        })
    }
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the appliance; none: it is looked for.
    pub server: Option<String>,
    /// Its authority, PEM.
    pub ca: Vec<u8>,
    /// Names or addresses of NTP servers; may be empty.
    pub ntp_servers: Vec<String>,
    /// How this machine was started.
    pub boot: BootMethod,
    /// Which interface booted.
    pub boot_interface: Option<MacAddr>,
    /// The keyboard layout to begin with.
    pub keyboard: Option<String>,
    /// How much of the log is kept; it lies in memory.
    pub log: Limits,
    /// Whether the boot environment has SSH keys.
    pub has_ssh_keys: bool,
    /// Folder for scripts and the log.
    pub state: PathBuf,
    /// Folder that holds `sys`, `proc`, `dev`.
    pub root: PathBuf,
    /// Terminal of the wizard; none: plain lines on standard output.
    pub console: Option<PathBuf>,
    /// Further consoles that get plain lines.
    pub serial: Vec<PathBuf>,
    /// Nobody is there.
    pub unattended: bool,
    /// Do not restart the machine.
    pub keep_running: bool,
}

impl Settings {
    /// Reads the baked files and the kernel command line, and lays the flags over them.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(flags: Flags) -> Result<Settings, SettingsError> {
        let root = flags.root.unwrap_or_else(|| "/".into());
        let baked = root.join("etc/rootstock");
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let kernel = KernelLine::parse(&text(&root.join("proc/cmdline")));
        let serial: Vec<PathBuf> = match (&flags.console, flags.unattended) {
            (None, false) => kernel.serial().map(|name| root.join("dev").join(name)).collect(),
            _ => Vec::new(),
        };

        let named = flags.server.or(kernel.server).unwrap_or_else(|| text(&baked.join("server")));
        let server = Some(named.trim().to_owned()).filter(|server| !server.is_empty());
        let ca_path = flags.ca.unwrap_or_else(|| baked.join("ca.pem"));
        let ca = fs::read(&ca_path).map_err(|source| SettingsError::NoAuthority { path: ca_path, source })?;
        let console = match flags.console.as_deref() {
            _ if flags.unattended => None,
            Some("none") => None,
            Some(path) => Some(PathBuf::from(path)),
            None => Some(root.join("dev/tty1")),
        };
        Ok(Settings {
            server,
            ca,
            ntp_servers: words(&text(&baked.join("ntp-servers"))),
            boot: kernel.boot.unwrap_or(BootMethod::Netboot),
            boot_interface: kernel.boot_interface,
            keyboard: kernel.keyboard,
            log: Limits::new(kernel.log_size, kernel.log_files),
            has_ssh_keys: !text(&root.join("root/.ssh/authorized_keys")).trim().is_empty(),
            state: flags.state.unwrap_or_else(|| "/run/rootstock".into()),
            root,
            console,
            serial,
            unattended: flags.unattended,
            keep_running: flags.keep_running,
        })
    }
}

/// Words separated by white space or commas, comments cut off.
fn words(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split([' ', '\t', ',']))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Asked, SettingsError> {
        Flags::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn flags_take_their_value_after_a_space_or_an_equals_sign() {
        let Asked::Run(flags) = parse(&["--server=https://a", "--ca", "x.pem", "--unattended"]).unwrap()
        else {
            panic!()
        };
        assert_eq!(flags.server.as_deref(), Some("https://a"));
        assert_eq!(flags.ca, Some("x.pem".into()));
        assert!(flags.unattended && !flags.keep_running);
    }

    #[test]
    fn a_wrong_word_is_named() {
        assert!(parse(&["--sever", "x"]).unwrap_err().to_string().contains("`--sever`"));
        assert!(parse(&["--ca"]).unwrap_err().to_string().contains("--ca needs a value"));
        assert_eq!(parse(&["--ca", "x", "--help"]).unwrap(), Asked::Help);
    }

    #[test]
    fn the_kernel_line_gives_server_boot_interface_and_serial_consoles() {
        let line = KernelLine::parse(
            "quiet rootstock.server=https://10.0.0.2 BOOTIF=01-0a-1b-2c-3d-4e-5f console=tty0 console=ttyS0,115200n8 rootstock.boot=usb\n",
        );
        assert_eq!(line.server.as_deref(), Some("https://10.0.0.2"));
        assert_eq!(line.boot, Some(BootMethod::Usb));
        assert_eq!(line.boot_interface, Some("0a:1b:2c:3d:4e:5f".parse().unwrap()));
        assert_eq!(line.serial().collect::<Vec<_>>(), ["ttyS0"]);
    }

    #[test]
    fn a_flag_wins_over_the_kernel_line_and_that_over_the_baked_file() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/rootstock/server", "https://baked\n");
        put("etc/rootstock/ca.pem", "pem");
        put("etc/rootstock/ntp-servers", "10.0.0.1, ntp.example # two\n");
        let flags = || Flags { root: Some(root.path().into()), ..Flags::default() };
        assert_eq!(Settings::read(flags()).unwrap().server.as_deref(), Some("https://baked"));
        put(
            "proc/cmdline",
            "rootstock.server=https://kernel console=ttyS1 rootstock.log-size=9MB rootstock.log-files=3",
        );
        let settings = Settings::read(flags()).unwrap();
        assert_eq!((settings.log.size(), settings.log.files()), (4_000_000, 3), "clamped");
        assert_eq!(settings.server.as_deref(), Some("https://kernel"));
        assert_eq!(settings.ntp_servers, ["10.0.0.1", "ntp.example"]);
        assert_eq!(settings.serial, [root.path().join("dev/ttyS1")]);
        assert_eq!(settings.console, Some(root.path().join("dev/tty1")));
        put("proc/cmdline", "rootstock.server= quiet");
        assert_eq!(Settings::read(flags()).unwrap().server, None, "looked for");
        let named = Flags { server: Some("https://flag".into()), ..flags() };
        assert_eq!(Settings::read(named).unwrap().server.as_deref(), Some("https://flag"));
    }

    #[test]
    fn an_appliance_that_nobody_named_is_looked_for_and_a_missing_authority_is_named_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        let flags = Flags { root: Some(root.path().into()), ..Flags::default() };
        assert!(Settings::read(flags.clone()).unwrap_err().to_string().contains("etc/rootstock/ca.pem"));
        fs::create_dir_all(root.path().join("etc/rootstock")).unwrap();
        fs::write(root.path().join("etc/rootstock/ca.pem"), "pem").unwrap();
        fs::write(root.path().join("etc/rootstock/server"), "\n").unwrap();
        assert_eq!(Settings::read(flags).unwrap().server, None);
    }
}
