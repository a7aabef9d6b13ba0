//! The sockets of the API: bound before anything is served, so that a taken port is told with its remedy and nothing
//! half-starts. Also which names and addresses this machine answers to.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use super::config::{Config, host_name};
use crate::host::{Holders, Transport};
use crate::netboot::lease::{Network as SubnetNetwork, Plan, Subnet};

/// Connections that wait to be accepted: a lab that is switched on at once.
const BACKLOG: i32 = 1024;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A TCP port cannot be had.
    #[error("{service} cannot listen on TCP port {port}: {}", remedy(.source, .key, .holders))]
    Port {
        /// `https`.
        service: &'static str,
        /// Which.
        port: u16,
        /// Setting that names it.
        key: &'static str,
        /// Who has it; nobody where that is not why.
        holders: Holders,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("the admin's socket {} cannot be made; create its folder for this account, or set `socket`", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process answers on the Unix socket.
    #[error("another process answers on the admin's socket {}; stop it, or set `socket`", .0.display())]
    SocketInUse(PathBuf),
    /// A named interface does not exist.
    #[error("there is no network interface `{name}`; there are {have}: correct `{key}`")]
    Interface {
        /// As written.
        name: String,
        /// Those that exist.
        have: String,
        /// Setting that names it.
        key: &'static str,
    },
    /// Clients that get their addresses here could not reach us.
    #[error(
        "`{interface}` has no address in the subnet {network}: give it one (`ip address add`), or correct `dhcp.subnet.interface`"
    )]
    NotInSubnet {
        /// Which interface.
        interface: String,
        /// Which subnet.
        network: SubnetNetwork,
    },
    /// Our own address would be given to a client.
    #[error(
        "{address}, which is this machine's own on `{interface}`, would be handed out in {network}: leave it out of `pools`"
    )]
    OwnAddress {
        /// Our address.
        address: Ipv4Addr,
        /// Which interface.
        interface: String,
        /// Which subnet.
        network: SubnetNetwork,
    },
}

fn remedy(error: &io::Error, key: &str, holders: &Holders) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{holders} has it; stop that one, or set `{key}`")
        }
        io::ErrorKind::PermissionDenied => {
            format!("this account may not; start as root, give it CAP_NET_BIND_SERVICE, or set `{key}`")
        }
        _ => format!("see below, or set `{key}`"),
    }
}

/// The HTTPS socket, for IPv6 and IPv4 together where the machine has both.
pub fn https(port: u16) -> Result<TcpListener, ListenError> {
    let both = tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    let listener = match both {
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        }
        other => other,
    };
    listener.map_err(|source| {
        let holders = match source.kind() {
            io::ErrorKind::AddrInUse => Holders::of(Transport::Tcp, port),
            _ => Holders::default(),
        };
        ListenError::Port { service: "https", port, key: "ports.https", holders, source }
    })
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for connections of the last process in TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The admin's socket: for root, the daemon's account and its group. A socket that nobody answers on is left over.
pub fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Socket { path: path.to_owned(), source };
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::SocketInUse(path.to_owned()));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Made under another name and renamed: nobody connects between bind and the change of its mode.
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(failed)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o660)).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Names and addresses that the server certificate holds: what is configured, and what the machine has now.
pub fn names(config: &Config) -> Vec<String> {
    let mut names: BTreeSet<String> = config.network.names.iter().cloned().collect();
    names.extend(config.network.address.map(|address| address.to_string()));
    names.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
    names.extend(interfaces().into_iter().filter_map(|(_, address)| Some(address?.to_string())));
    names.extend(host_name());
    names.into_iter().collect()
}

/// An address of this machine that Macs can be told when none is configured: the first that is not its own loop.
pub fn address() -> Option<Ipv4Addr> {
    interfaces().into_iter().find_map(|(_, address)| match address {
        Some(IpAddr::V4(address)) if !address.is_loopback() => Some(address),
        _ => None,
    })
}

/// Every configured interface must exist.
pub fn check_interfaces(config: &Config) -> Result<(), ListenError> {
    let interfaces = interfaces();
    let have: BTreeSet<&str> = interfaces.iter().map(|(name, _)| name.as_str()).collect();
    let absent = |name: &str, key| {
        let have: Vec<_> = have.iter().copied().collect();
        Err(ListenError::Interface { name: name.to_owned(), have: have.join(", "), key })
    };
    if let Some(name) = config.network.interfaces.iter().find(|name| !have.contains(name.as_str())) {
        return absent(name, "network.interfaces");
    }
    for subnet in config.dhcp.plan.iter().flat_map(Plan::subnets) {
        let Some(interface) = &subnet.interface else { continue };
        if !have.contains(interface.as_str()) {
            return absent(interface, "dhcp.subnet.interface");
        }
        check_own_address(subnet, interface, &interfaces)?;
    }
    Ok(())
}

/// Clients must reach us, and nobody may be given our address.
fn check_own_address(
    subnet: &Subnet,
    interface: &str,
    interfaces: &[(String, Option<IpAddr>)],
) -> Result<(), ListenError> {
    let own: Vec<Ipv4Addr> = interfaces
        .iter()
        .filter(|(name, _)| name == interface)
        .filter_map(|(_, address)| match address {
            Some(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })
        .collect();
    let (interface, network) = (interface.to_owned(), subnet.network);
    if !own.iter().any(|address| network.contains(*address)) {
        return Err(ListenError::NotInSubnet { interface, network });
    }
    match own.into_iter().find(|own| subnet.is_in_pool(*own) || subnet.reserved(*own).is_some()) {
        Some(address) => Err(ListenError::OwnAddress { address, interface, network }),
        None => Ok(()),
    }
}

/// Interfaces with their addresses; an IPv6 address that is good on its own link only is left out.
fn interfaces() -> Vec<(String, Option<IpAddr>)> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.map(|interface| {
        let address = interface.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let v6 = address.as_sockaddr_in6().map(|address| address.ip());
            v4.or(v6.filter(|ip| !ip.is_unicast_link_local()).map(IpAddr::V6))
        });
        (interface.interface_name, address)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Fragment;

    #[test]
    fn a_taken_port_is_told_with_its_holder_and_the_setting_that_names_it() {
        let first = https(0).unwrap();
        let port = first.local_addr().unwrap().port();
        let error = https(port).unwrap_err().to_string();
        assert!(error.contains(&format!("TCP port {port}")) && error.contains("`ports.https`"), "{error}");
        assert!(error.contains(&format!("(process {}) has it", std::process::id())), "{error}");
    }

    #[test]
    fn a_left_over_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/rootstock.sock");
        let first = unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(unix(&path), Err(ListenError::SocketInUse(_))));
        drop(first);
        unix(&path).unwrap();
    }

    #[test]
    fn an_interface_that_does_not_exist_is_named_beside_those_that_do() {
        let text = "[network]\ninterfaces = ['lo', 'no-such-if']";
        let config = toml::from_str::<Fragment>(text).unwrap().validate().unwrap();
        let error = check_interfaces(&config).unwrap_err().to_string();
        assert!(error.contains("`no-such-if`; there are") && error.contains("lo"), "{error}");
    }

    #[test]
    fn the_certificate_is_for_the_configured_address_and_for_this_machine() {
        let config =
            toml::from_str::<Fragment>("[network]\naddress = '192.0.2.9'").unwrap().validate().unwrap();
        let names = names(&config);
        assert!(
            names.contains(&"192.0.2.9".to_owned()) && names.contains(&"127.0.0.1".to_owned()),
            "{names:?}"
        );
    }
}
