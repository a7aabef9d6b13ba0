//! UDP sockets that know by which interface and to which address a packet came, and answer the same way.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket};

use super::Settings;
use super::Transfers;
use crate::host::{Holders, Transport};
use crate::netboot::dhcp::{CLIENT_PORT, Destination};

/// Bytes that wait in the system for each UDP port.
const RECEIVE_BUFFER: usize = 2 << 20;

/// The bound sockets of the boot services.
#[derive(Debug)]
pub struct Sockets {
    pub(super) dhcp: Datagrams,
    pub(super) proxy: Datagrams,
    pub(super) tftp: Datagrams,
    pub(super) http: TcpListener,
    /// What runs behind the TFTP port.
    pub(super) transfers: Transfers,
}

/// A port could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has it.
    #[error(
        "{service} port {port} is in use by {holders}; stop it, or give Rootstock another port in `[ports]`"
    )]
    Taken {
        /// `DHCP`, `TFTP`, …
        service: &'static str,
        /// The port.
        port: u16,
        /// Who has it.
        holders: Holders,
    },
    /// Ports below 1024 need a privilege.
    #[error("{service} port {port} may not be opened: start Rootstock as root or with CAP_NET_BIND_SERVICE")]
    Forbidden {
        /// `DHCP`, `TFTP`, …
        service: &'static str,
        /// The port.
        port: u16,
    },
    /// A configured interface is not there.
    #[error("there is no interface `{name}` to serve; this machine has {there}")]
    NoInterface {
        /// As configured.
        name: String,
        /// Those that there are.
        there: String,
    },
    /// Anything else.
    #[error("{service} cannot listen on {address}")]
    Failed {
        /// `DHCP`, `TFTP`, …
        service: &'static str,
        /// Address and port.
        address: SocketAddrV4,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Sockets {
    /// Binds all ports, or none. Must be called within a tokio runtime.
    pub fn bind(settings: &Settings) -> Result<Sockets, BindError> {
        settings.interfaces.iter().try_for_each(|name| is_there(name))?;
        let at = |port| SocketAddrV4::new(settings.listen, port);
        let named = |service, transport, address: SocketAddrV4| {
            move |source: io::Error| {
                let port = address.port();
                match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        BindError::Taken { service, port, holders: Holders::of(transport, port) }
                    }
                    io::ErrorKind::PermissionDenied => BindError::Forbidden { service, port },
                    _ => BindError::Failed { service, address, source },
                }
            }
        };
        let ports = settings.ports;
        let udp = |service, port, shared| {
            Datagrams::bind(at(port), shared).map_err(named(service, Transport::Udp, at(port)))
        };
        let http = listen(at(ports.http)).map_err(named("HTTP", Transport::Tcp, at(ports.http)))?;
        Ok(Sockets {
            // Shared: a DHCP server on the same machine keeps its port; both get every broadcast.
            dhcp: udp("DHCP", ports.dhcp, true)?,
            proxy: udp("proxyDHCP", ports.proxy, false)?,
            tftp: udp("TFTP", ports.tftp, false)?,
            http,
            transfers: Transfers::default(),
        })
    }

    /// The TFTP transfers that will run.
    pub fn transfers(&self) -> Transfers {
        self.transfers.clone()
    }

    /// Where DHCP is served.
    pub fn dhcp_address(&self) -> io::Result<SocketAddr> {
        self.dhcp.socket.local_addr()
    }

    /// Where proxyDHCP is served.
    pub fn proxy_address(&self) -> io::Result<SocketAddr> {
        self.proxy.socket.local_addr()
    }

    /// Where TFTP is served.
    pub fn tftp_address(&self) -> io::Result<SocketAddr> {
        self.tftp.socket.local_addr()
    }

    /// Where boot files are served over HTTP.
    pub fn http_address(&self) -> io::Result<SocketAddr> {
        self.http.local_addr()
    }
}

fn is_there(name: &str) -> Result<(), BindError> {
    if nix::net::if_::if_nametoindex(name).is_ok() {
        return Ok(());
    }
    let all = nix::net::if_::if_nameindex().ok();
    let there = all.iter().flatten().map(|interface| interface.name().to_string_lossy().into_owned());
    Err(BindError::NoInterface { name: name.to_owned(), there: there.collect::<Vec<_>>().join(", ") })
}

fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(address).into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// A UDP socket with IP_PKTINFO.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
}

/// Where a datagram came from, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub length: usize,
    pub from: SocketAddrV4,
    /// Our address: the one it was sent to, or for a broadcast the interface's own.
    pub local: Ipv4Addr,
    /// The address that it was sent to, which may be a broadcast or multicast address.
    pub destination: Ipv4Addr,
    /// Index of the interface.
    pub interface: u32,
}

impl Arrived {
    /// Whether it came by one of the interfaces that are served; an empty list means all.
    pub(super) fn is_by(&self, served: &[String]) -> bool {
        served.is_empty()
            || nix::net::if_::if_indextoname(self.interface)
                .is_ok_and(|name| served.iter().any(|own| own.as_bytes() == name.as_bytes()))
    }
}

impl Datagrams {
    fn bind(address: SocketAddrV4, shared: bool) -> io::Result<Datagrams> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(shared)?;
        socket.set_broadcast(true)?;
        // A classroom that is switched on at once, or a flood, fits in until it is read. Beyond the system's limit only
        // with a privilege; what it grants without has to do.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        socket.bind(&SocketAddr::from(address).into())?;
        Ok(Datagrams { socket: UdpSocket::from_std(socket.into())? })
    }

    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        self.socket.async_io(Interest::READABLE, || self.receive_now(buffer)).await
    }

    /// Waits until there may be something to receive.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// What is there already; [`io::ErrorKind::WouldBlock`] when nothing is.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        self.socket.try_io(Interest::READABLE, || self.receive_now(buffer))
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        let mut control = nix::cmsg_space!(libc::in_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let got = recvmsg::<SockaddrIn>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let from = got.address.ok_or_else(|| io::Error::other("a datagram without source address"))?;
        let info = got.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
            _ => None,
        });
        let info = info.ok_or_else(|| io::Error::other("the system gave no IP_PKTINFO"))?;
        Ok(Arrived {
            length: got.bytes,
            from: SocketAddrV4::from(from),
            local: Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)),
            destination: Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)),
            interface: u32::try_from(info.ipi_ifindex).unwrap_or_default(),
        })
    }

    /// Sends from the address that `arrived` came to. A broadcast leaves by the interface that `arrived` came by;
    /// anything else goes where the routing table says.
    pub(super) async fn send(&self, bytes: &[u8], to: Destination, arrived: &Arrived) -> io::Result<()> {
        let (to, interface) = match to {
            Destination::Unicast(to) => (to, 0),
            Destination::Broadcast => {
                (SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT), arrived.interface)
            }
        };
        let info = libc::in_pktinfo {
            ipi_ifindex: interface.try_into().unwrap_or_default(),
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(arrived.local).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let send = || {
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            let to = SockaddrIn::from(to);
            let slices = [IoSlice::new(bytes)];
            Ok(sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::empty(), Some(&to))?)
        };
        self.socket.async_io(Interest::WRITABLE, send).await.map(drop)
    }
}
