//! Steps, done: busybox's `ip`, `arping` and `udhcpc`, which the boot environment has anyway, and a few files.
//!
//! Must not know: why a step is there.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::facts::Seen;
use super::wire::{Step, Steps};

/// How long an adapter may take to find its link: Thunderbolt adapters and spanning tree are slow.
const LINK_TRIES: u32 = 50;
const LINK_PAUSE: Duration = Duration::from_millis(200);
/// How long a DHCP client may take to end.
const END_TRIES: u32 = 20;
const END_PAUSE: Duration = Duration::from_millis(50);

/// Where things are. Tests use places of their own.
#[derive(Clone, Debug)]
pub struct System {
    /// Folder that holds `sys` and `proc`.
    pub root: PathBuf,
    /// The program with all the commands.
    pub busybox: PathBuf,
    /// What `udhcpc` calls with an address.
    pub address_script: PathBuf,
    /// What brings an interface up and asks for an address.
    pub up_script: PathBuf,
    /// Folder for what the scripts and we tell each other.
    pub run: PathBuf,
    /// `resolv.conf`
    pub resolver: PathBuf,
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// No cable.
    #[error("{0} has no link: check the cable and the switch, or choose another interface")]
    NoLink(String),
    /// Somebody has the address.
    #[error("{address} is in use already, by {by}: take another address")]
    Taken {
        /// Which.
        address: Ipv4Addr,
        /// Hardware address of the other machine.
        by: String,
    },
    /// Nobody gives an address.
    #[error(
        "no DHCP server answered on {0}, it goes on asking: check cable and VLAN, or set a static address"
    )]
    NoLease(String),
    /// The router is silent.
    #[error(
        "{interface} has its address, but router {router} does not answer: check router, prefix and VLAN"
    )]
    NoRouter {
        /// Where it was asked.
        interface: String,
        /// Which.
        router: Ipv4Addr,
    },
    /// A command did not succeed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// A program or file cannot be used.
    #[error("{} cannot be used: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Settings did not come into force as they should.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// Everything is as it was.
    #[error("{0}; nothing was changed")]
    Unchanged(#[source] ActError),
    /// They are in force, and of no use.
    #[error("{0}")]
    Useless(#[source] ActError),
    /// It stopped in the middle.
    #[error("{0}; the interface is set up in part: apply again, or choose DHCP")]
    Partly(#[source] ActError),
}

impl ActError {
    /// Whether the settings are in force all the same.
    fn in_force(&self) -> bool {
        matches!(self, ActError::NoLease(_) | ActError::NoRouter { .. })
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ActError {
    let path = path.to_owned();
    move |source| ActError::File { path, source }
}

impl System {
    /// The boot environment.
    pub fn of_boot_environment() -> System {
        System {
            root: "/".into(),
            busybox: "/bin/busybox".into(),
            address_script: "/sbin/address".into(),
            up_script: "/sbin/wired-up".into(),
            run: "/run".into(),
            resolver: "/etc/resolv.conf".into(),
        }
    }

    /// Interfaces as they are.
    pub fn seen(&self) -> Seen {
        Seen::read(&self.root, &self.resolver)
    }

    /// Does the steps in order and tells what it is about. When one fails that changed nothing in use, what was made for it goes.
    ///
    /// # Errors
    /// See [`NotApplied`].
    pub fn apply(&self, steps: &Steps, doing: &dyn Fn(String)) -> Result<(), NotApplied> {
        let all = |steps: &[Step]| steps.iter().try_for_each(|step| self.step(step, doing));
        if let Err(error) = all(&steps.before) {
            if let Err(other) = all(&steps.undo) {
                tracing::warn!("taking back: {other}");
            }
            return Err(NotApplied::Unchanged(error));
        }
        all(&steps.then).map_err(|error| match error.in_force() {
            true => NotApplied::Useless(error),
            false => NotApplied::Partly(error),
        })
    }

    fn step(&self, step: &Step, doing: &dyn Fn(String)) -> Result<(), ActError> {
        match step {
            Step::Ip(words) => self.ip(words),
            Step::TryIp(words) => {
                if let Err(error) = self.ip(words) {
                    tracing::debug!("{error}");
                }
                Ok(())
            }
            Step::Claim(interface) => self.claim(interface),
            Step::Release(interface) => {
                // Not there: nothing to release.
                let _ = fs::remove_dir(self.claim_of(interface));
                Ok(())
            }
            Step::StopDhcp(interface) => self.stop_dhcp(interface),
            Step::AskAgain(interface) => self.ask_again(interface),
            Step::Link(interface) => {
                doing(format!("Waiting for a link on {interface}"));
                self.link(interface)
            }
            Step::Probe { interface, address } => {
                doing(format!("Asking whether {address} is free"));
                self.probe(interface, *address)
            }
            Step::Lease(interface) => {
                doing(format!("Asking DHCP servers on {interface} for an address"));
                self.lease(interface)
            }
            Step::Resolve(servers) => self.resolve(servers),
            Step::Router { interface, router } => {
                doing(format!("Looking for router {router}"));
                self.router(interface, *router)
            }
        }
    }

    /// Runs a command of busybox to its end; what it printed.
    fn busybox(&self, words: &[&str]) -> Result<(bool, String), ActError> {
        let mut command = Command::new(&self.busybox);
        let done = command.args(words).stdin(Stdio::null()).output().map_err(failed(&self.busybox))?;
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        Ok((done.status.success(), format!("{out}{err}").trim().to_owned()))
    }

    fn ip(&self, words: &str) -> Result<(), ActError> {
        let arguments: Vec<&str> = std::iter::once("ip").chain(words.split(' ')).collect();
        match self.busybox(&arguments)? {
            (true, _) => Ok(()),
            (false, said) => Err(ActError::Command { command: format!("ip {words}"), said }),
        }
    }

    /// `boot/wired-up` makes the same folder, and does nothing where it is there already.
    fn claim_of(&self, interface: &str) -> PathBuf {
        self.run.join(format!("wired-{interface}"))
    }

    fn claim(&self, interface: &str) -> Result<(), ActError> {
        let path = self.claim_of(interface);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&path).map_err(failed(&path))
    }

    fn pid_file(&self, interface: &str) -> PathBuf {
        self.run.join(format!("udhcpc-{interface}.pid"))
    }

    /// Ends the DHCP client and waits until it has: its last act could be to drop the address that is set next.
    fn stop_dhcp(&self, interface: &str) -> Result<(), ActError> {
        let path = self.pid_file(interface);
        let Some(pid) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<i32>().ok())
        else {
            return Ok(());
        };
        let name = PathBuf::from(format!("/proc/{pid}/cmdline"));
        // A number that somebody else got since is left alone.
        let lives = || fs::read(&name).is_ok_and(|line| line.windows(6).any(|part| part == b"udhcpc"));
        if pid > 1 && lives() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            for _ in 0..END_TRIES {
                if !lives() {
                    break;
                }
                thread::sleep(END_PAUSE);
            }
        }
        let _ = fs::remove_file(&path);
        Ok(())
    }

    fn ask_again(&self, interface: &str) -> Result<(), ActError> {
        let _ = fs::remove_dir(self.claim_of(interface));
        let mut command = Command::new(&self.up_script);
        let quiet = command.arg(interface).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().map(drop).map_err(failed(&self.up_script))
    }

    fn link(&self, interface: &str) -> Result<(), ActError> {
        let carrier = self.root.join("sys/class/net").join(interface).join("carrier");
        for _ in 0..LINK_TRIES {
            if fs::read_to_string(&carrier).is_ok_and(|text| text.trim() == "1") {
                return Ok(());
            }
            thread::sleep(LINK_PAUSE);
        }
        Err(ActError::NoLink(interface.to_owned()))
    }

    /// Three probes; any reply means that the address is somebody's.
    fn probe(&self, interface: &str, address: Ipv4Addr) -> Result<(), ActError> {
        let wanted = address.to_string();
        let words = ["arping", "-D", "-f", "-c", "3", "-w", "4", "-I", interface, &wanted];
        match self.busybox(&words)? {
            (_, said) if replied(&said).is_some() => {
                Err(ActError::Taken { address, by: replied(&said).unwrap_or_default() })
            }
            (true, _) => Ok(()),
            (false, said) => Err(ActError::Command { command: words.join(" "), said }),
        }
    }

    fn router(&self, interface: &str, router: Ipv4Addr) -> Result<(), ActError> {
        let wanted = router.to_string();
        let (_, said) = self.busybox(&["arping", "-f", "-c", "4", "-w", "5", "-I", interface, &wanted])?;
        match replied(&said) {
            Some(_) => Ok(()),
            None => Err(ActError::NoRouter { interface: interface.to_owned(), router }),
        }
    }

    /// Asks for ten seconds; without an answer the client stays and goes on asking in the background (`-b`).
    fn lease(&self, interface: &str) -> Result<(), ActError> {
        self.own_dns()?;
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut command = Command::new(&self.busybox);
        command
            .args(["udhcpc", "-b", "-t", "5", "-T", "2", "-A", "3", "-V", "Rootstock", "-i", interface])
            .args(["-x", &format!("hostname:{}", name.trim())])
            .arg("-s")
            .arg(&self.address_script)
            .arg("-p")
            .arg(self.pid_file(interface))
            .env("PREFERRED", "1")
            .env("RESOLVER", &self.resolver)
            // It lives on: a pipe to us would never end.
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().map_err(failed(&self.busybox))?;
        let seen = self.seen();
        let has_address =
            seen.interfaces.iter().any(|one| one.name == interface && !one.addresses.is_empty());
        if has_address { Ok(()) } else { Err(ActError::NoLease(interface.to_owned())) }
    }

    /// From now on `boot/address` writes DNS servers only for the interface that a person chose.
    fn own_dns(&self) -> Result<(), ActError> {
        let path = self.run.join("dns-chosen");
        fs::write(&path, "").map_err(failed(&path))
    }

    fn resolve(&self, servers: &[Ipv4Addr]) -> Result<(), ActError> {
        self.own_dns()?;
        let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        fs::write(&self.resolver, text).map_err(failed(&self.resolver))
    }
}

/// Whose reply `arping` printed: `Unicast reply from 10.0.0.5 [0a:…] 0.1ms`.
fn replied(said: &str) -> Option<String> {
    let rest = said.split_once("reply from ")?.1;
    let mac = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(mac, _)| mac);
    Some(mac.unwrap_or("another machine").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_names_its_sender() {
        let said =
            "ARPING 10.0.0.5 from 0.0.0.0 eth0\nUnicast reply from 10.0.0.5 [0a:1b:2c:3d:4e:5f] 0.085ms\n";
        assert_eq!(replied(said).as_deref(), Some("0a:1b:2c:3d:4e:5f"));
        assert_eq!(replied("Sent 3 probe(s) (3 broadcast(s))\nReceived 0 response(s)"), None);
    }
}
