//! Asks a wire whether a machine has an address, before that is offered to another (RFC 2131 section 3.1, step 2): by an
//! ARP probe (RFC 5227 section 2.1.1) where the wire is ours, by an ICMP echo where it is behind a relay.
//!
//! One socket a probe, open as long as the probe lasts. Must not know: leases.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{MsgFlags, bind, send};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::value::MacAddr;

/// Stands for a machine that answered from beyond a relay: its Ethernet address is not seen here.
pub(super) const UNSEEN: MacAddr = MacAddr::new([0; 6]);

const ETHERTYPE_ARP: u16 = 0x0806;
/// A frame may get lost: each question is asked so often.
const TRIES: u32 = 2;

/// Who has an address; none when nobody answered within `wait`. The asking client itself does not count: it may still
/// hold the address from before.
pub(super) async fn holder(
    address: Ipv4Addr,
    interface: Option<&str>,
    asker: MacAddr,
    wait: Duration,
) -> io::Result<Option<MacAddr>> {
    let (socket, question) = match interface {
        Some(interface) => {
            let (socket, own) = on_wire(interface)?;
            (socket, arp_probe(own, address).to_vec())
        }
        None => (beyond(address)?, echo_request().to_vec()),
    };
    socket.set_nonblocking(true)?;
    let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
    for _ in 0..TRIES {
        match send(socket.get_ref().as_raw_fd(), &question, MsgFlags::empty()) {
            // No route, or a neighbour that does not resolve: nobody there.
            Err(nix::Error::EHOSTUNREACH | nix::Error::ENETUNREACH) => return Ok(None),
            sent => drop(sent?),
        }
        let answer = answered(&socket, |bytes| match interface {
            Some(_) => arp_sender(bytes, address).filter(|sender| *sender != asker),
            None => is_echo_reply(bytes, address).then_some(UNSEEN),
        });
        if let Ok(found) = timeout(wait / TRIES, answer).await {
            return found.map(Some);
        }
    }
    Ok(None)
}

/// Whether this process may probe the wire of an interface.
pub(super) fn may_probe(interface: &str) -> io::Result<()> {
    on_wire(interface).map(drop)
}

async fn answered(
    socket: &AsyncFd<Socket>,
    read: impl Fn(&[u8]) -> Option<MacAddr>,
) -> io::Result<MacAddr> {
    let mut buffer = [0; 1600];
    loop {
        let length = socket.async_io(Interest::READABLE, |mut socket| (&mut socket).read(&mut buffer)).await;
        match length {
            Ok(length) => {
                if let Some(mac) = read(&buffer[..length]) {
                    return Ok(mac);
                }
            }
            // ICMP says that nobody is there; a later try may be answered.
            Err(error) if error.kind() == io::ErrorKind::HostUnreachable => {}
            Err(error) => return Err(error),
        }
    }
}

/// A socket that sends and receives ARP frames on one interface, and that interface's address.
fn on_wire(interface: &str) -> io::Result<(Socket, MacAddr)> {
    let found = getifaddrs()?.filter(|one| one.interface_name == interface).find_map(|one| {
        let link = *one.address?.as_link_addr()?;
        Some((MacAddr::new(link.addr()?), link))
    });
    let (mac, link) = found.ok_or_else(|| io::Error::other(format!("no Ethernet interface `{interface}`")))?;
    let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    bind(socket.as_raw_fd(), &link)?;
    Ok((socket, mac))
}

/// A socket that sends ICMP to one machine and hears only it.
fn beyond(address: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.connect(&SocketAddr::from((address, 0)).into())?;
    Ok(socket)
}

/// "Who has it?", from nobody's address, so that no table is changed by it.
fn arp_probe(own: MacAddr, address: Ipv4Addr) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(own.as_bytes());
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    // Ethernet, IPv4, lengths 6 and 4, request.
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(own.as_bytes());
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

/// Who uses `address` as its own in an ARP frame: whoever answers, announces, or asks from it.
fn arp_sender(frame: &[u8], address: Ipv4Addr) -> Option<MacAddr> {
    let arp = frame.get(12..42)?;
    let is_arp = arp[..8] == [8, 6, 0, 1, 8, 0, 6, 4];
    let sender = <[u8; 6]>::try_from(&arp[10..16]).ok()?;
    (is_arp && arp[16..20] == address.octets()).then(|| MacAddr::new(sender))
}

/// ICMP echo request; identifier and sequence 0: the socket hears one machine only.
fn echo_request() -> [u8; 8] {
    // The checksum is the complement of the sum of the 16-bit words, here of 0x0800 alone (RFC 792).
    let [high, low] = (!0x0800_u16).to_be_bytes();
    [8, 0, high, low, 0, 0, 0, 0]
}

/// An echo reply behind its IP header.
fn is_echo_reply(packet: &[u8], address: Ipv4Addr) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    packet.get(12..16) == Some(&address.octets()[..]) && header >= 20 && packet.get(header) == Some(&0)
}

/// What an error of the system means to an admin.
pub(super) fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn an_arp_frame_tells_who_uses_an_address() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        let mut frame = arp_probe(mac, ADDRESS);
        assert_eq!(arp_sender(&frame, ADDRESS), None, "a probe uses no address");
        frame[28..32].copy_from_slice(&ADDRESS.octets());
        assert_eq!(arp_sender(&frame, ADDRESS), Some(mac));
        assert_eq!(arp_sender(&frame, Ipv4Addr::new(10, 0, 0, 8)), None);
        assert_eq!(arp_sender(&frame[..41], ADDRESS), None, "cut");
        frame[13] = 0;
        assert_eq!(arp_sender(&frame, ADDRESS), None, "no ARP");
    }

    #[test]
    fn an_echo_reply_is_known_by_its_type_and_sender() {
        let mut packet = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1][..], &[0; 8]].concat();
        assert!(is_echo_reply(&packet, ADDRESS));
        assert!(!is_echo_reply(&packet, Ipv4Addr::new(10, 0, 0, 8)));
        packet[20] = 8;
        assert!(!is_echo_reply(&packet, ADDRESS), "a request");
        assert!(!is_echo_reply(&packet[..20], ADDRESS) && !is_echo_reply(&[], ADDRESS));
    }

    #[test]
    fn an_echo_request_carries_a_right_checksum() {
        let words: u32 = echo_request().chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
        assert_eq!(words, 0xffff);
    }
}
