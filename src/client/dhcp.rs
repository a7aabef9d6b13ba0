//! Asks on a wire as a DHCP client does, and collects whoever answers.
//!
//! Owns: the socket, the waiting, what keeps a question from being asked. Must not know: what answers mean; who asks why.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use socket2::{Domain, Protocol, Socket, Type};

use crate::netboot::dhcp::{CLIENT_PORT, Malformed, Packet, Request, SERVER_PORT, code};
use crate::value::MacAddr;

/// Most answers that are kept: a wire has a few servers; more is a flood.
const MOST: usize = 256;
/// Larger than any DHCP packet of an Ethernet server, fragments included.
const LONGEST: usize = 9000;

/// The two ends of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Port that is asked from, and answered to: 68, or a BSDP reply port.
    pub own: u16,
    /// Whom the question goes to.
    pub to: SocketAddrV4,
}

impl Ports {
    /// From port 68 to every server on the wire.
    pub const BROADCAST: Ports =
        Ports { own: CLIENT_PORT, to: SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT) };
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// How long after the question.
    pub after: Duration,
    /// The datagram.
    pub bytes: Vec<u8>,
}

impl Heard {
    /// The answer, checked: `yiaddr`, `siaddr`, `file` and the options are in it.
    pub fn packet(&self) -> Result<Packet<'_>, Malformed> {
        Packet::parse(&self.bytes)
    }

    /// Whom the answer names as its server (option 54), else who sent it.
    pub fn server(&self) -> Ipv4Addr {
        let named = self.packet().ok().and_then(|packet| packet.address(code::SERVER_ID));
        named.unwrap_or(*self.from.ip())
    }
}

/// Why a question could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No interface of this name.
    #[error("there is no network interface `{name}`; this machine has {there}")]
    NoInterface {
        /// As asked for.
        name: String,
        /// Those that there are.
        there: String,
    },
    /// Its hardware address is not Ethernet's.
    #[error("the network interface `{0}` has no Ethernet address")]
    NotEthernet(String),
    /// Privileged port or interface.
    #[error("asking from UDP port {0} on one interface needs root or CAP_NET_BIND_SERVICE and CAP_NET_RAW")]
    Forbidden(u16),
    /// A DHCP client of this machine holds the port for itself.
    #[error(
        "UDP port {0} is held by another program of this machine (`ss -lunp` shows which); stop it for the question"
    )]
    Taken(u16),
    /// The interface is down, has no route, or the system refused.
    #[error(
        "nothing could be asked through `{interface}`; is it up (`ip link set {interface} up`) and plugged in?"
    )]
    Failed {
        /// Which interface.
        interface: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The Ethernet address of an interface.
pub fn hardware_address(interface: &str) -> Result<MacAddr, AskError> {
    let all: Vec<_> = getifaddrs().into_iter().flatten().collect();
    let own = || all.iter().filter(|one| one.interface_name == interface);
    if own().next().is_none() {
        let mut there: Vec<_> = all.iter().map(|one| one.interface_name.as_str()).collect();
        there.sort_unstable();
        there.dedup();
        return Err(AskError::NoInterface { name: interface.to_owned(), there: there.join(", ") });
    }
    own()
        .find_map(|one| one.address?.as_link_addr()?.addr())
        .filter(|bytes| *bytes != [0; 6])
        .map(MacAddr::new)
        .ok_or_else(|| AskError::NotEthernet(interface.to_owned()))
}

/// Sends `request` once and collects every answer to it until `wait` is over, in the order of arrival. Blocks.
///
/// An answer is a reply with the request's transaction id; other traffic is passed over. Whether it is well-formed is
/// for the caller to see ([`Heard::packet`]). A client without address must set the broadcast flag.
pub fn ask(interface: &str, request: &Request, ports: Ports, wait: Duration) -> Result<Vec<Heard>, AskError> {
    let socket = bind(interface, ports.own)?;
    let failed = |source| AskError::Failed { interface: interface.to_owned(), source };
    socket.send_to(&request.encode(), ports.to).map_err(failed)?;
    collect(&socket, request.xid(), wait).map_err(failed)
}

fn bind(interface: &str, port: u16) -> Result<UdpSocket, AskError> {
    if nix::net::if_::if_nametoindex(interface).is_err() {
        // Says which there are.
        hardware_address(interface)?;
    }
    let bound = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        Ok(socket.into())
    };
    bound().map_err(|source| match source.kind() {
        ErrorKind::PermissionDenied => AskError::Forbidden(port),
        ErrorKind::AddrInUse => AskError::Taken(port),
        _ => AskError::Failed { interface: interface.to_owned(), source },
    })
}

fn collect(socket: &UdpSocket, xid: u32, wait: Duration) -> io::Result<Vec<Heard>> {
    let asked = now();
    let mut heard = Vec::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let Some(left) = wait.checked_sub(asked.elapsed()).filter(|left| *left >= Duration::from_millis(1))
        else {
            return Ok(heard);
        };
        socket.set_read_timeout(Some(left))?;
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(got) => got,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => continue,
                // An ICMP error to an earlier datagram; the socket stays good.
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable => continue,
                _ => return Err(error),
            },
        };
        let bytes = &buffer[..length];
        let is_answer = bytes.first() == Some(&2) && bytes.get(4..8) == Some(&xid.to_be_bytes()[..]);
        if let (true, SocketAddr::V4(from)) = (is_answer && heard.len() < MOST, from) {
            heard.push(Heard { from, after: asked.elapsed(), bytes: bytes.to_vec() });
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge waits by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netboot::dhcp::{MessageType, Reply};

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 9]);

    #[test]
    fn answers_are_collected_until_the_time_is_over_and_other_traffic_is_passed_over() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = server.local_addr().unwrap() else { unreachable!() };
        let answering = std::thread::spawn(move || {
            let mut buffer = [0; 600];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            let packet = Packet::parse(&buffer[..length]).unwrap();
            let reply = Reply::to(&packet, MessageType::Offer, Ipv4Addr::new(10, 0, 0, 1)).encode();
            let mut foreign = reply.clone();
            foreign[4] ^= 1;
            for bytes in [&buffer[..length], b"noise", &foreign, &reply, &reply[..200]] {
                server.send_to(bytes, from).unwrap();
            }
        });
        let request = Request::new(MessageType::Discover, MAC, 77);
        let heard = ask("lo", &request, Ports { own: 0, to }, Duration::from_millis(400)).unwrap();
        answering.join().unwrap();
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!((heard[0].from, heard[0].server()), (to, Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(heard[0].packet().unwrap().message_type(), Some(MessageType::Offer));
        assert!(heard[1].packet().is_err(), "a broken answer is an answer");
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_with_those_that_are() {
        let request = Request::new(MessageType::Discover, MAC, 77);
        let error = ask("no-such-if", &request, Ports::BROADCAST, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("`no-such-if`") && error.contains("lo"), "{error}");
        assert!(matches!(hardware_address("lo"), Err(AskError::NotEthernet(_))));
    }
}
