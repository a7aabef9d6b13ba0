//! The words of OFFER, ACK and NAK (RFC 2131 section 4.3.1, table 3).
//!
//! Must not know: who gets which address.

use std::net::Ipv4Addr;

use super::plan::Subnet;
use crate::netboot::dhcp::{CLIENT_PORT, Destination, FileName, HEADER, MessageType, Packet, Reply, code};

/// Shortest packet that every client takes (RFC 2131 section 2), without IP and UDP headers.
const ROOM: usize = 576 - 28;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: Destination,
}

/// What a boot client is told in the same packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Whom to fetch from.
    pub next_server: Ipv4Addr,
    /// What to fetch.
    pub file: FileName,
    /// Options 60, 43, 17.
    pub options: Vec<(u8, Vec<u8>)>,
}

/// The address of a lease and its time in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub address: Ipv4Addr,
    pub secs: u32,
}

/// OFFER, or ACK to a REQUEST.
pub(super) fn grant(
    packet: &Packet<'_>,
    kind: MessageType,
    server: Ipv4Addr,
    subnet: &Subnet,
    grant: Grant,
    boot: Option<&Boot>,
) -> Answer {
    let Grant { address, secs } = grant;
    // RFC 2131 section 4.4.5: T1 is half, T2 seven eighths of the lease.
    let reply = Reply::to(packet, kind, server)
        .yiaddr(address)
        .option(code::LEASE_TIME, secs.to_be_bytes())
        .option(code::RENEWAL_TIME, (secs / 2).to_be_bytes())
        .option(code::REBINDING_TIME, (secs - secs / 8).to_be_bytes());
    // Table 3: ciaddr is repeated in an ACK, 0 in an OFFER.
    let reply = if kind == MessageType::Ack { reply.ciaddr(packet.ciaddr) } else { reply };
    let to = Destination::for_discovery(packet);
    finish(packet, tell_boot(reply, boot), subnet, to)
}

/// ACK to an INFORM: options, no address, no lease time (RFC 2131 section 4.3.5).
pub(super) fn inform(
    packet: &Packet<'_>,
    server: Ipv4Addr,
    subnet: &Subnet,
    client: Ipv4Addr,
    boot: Option<&Boot>,
) -> Answer {
    let reply = Reply::to(packet, MessageType::Ack, server).ciaddr(packet.ciaddr);
    let to = Destination::Unicast(std::net::SocketAddrV4::new(client, CLIENT_PORT));
    finish(packet, tell_boot(reply, boot), subnet, to)
}

/// NAK: by broadcast, for the client's address is wrong (RFC 2131 sections 4.1 and 4.3.2).
pub(super) fn refuse(packet: &Packet<'_>, server: Ipv4Addr, why: &str) -> Answer {
    let reply = Reply::to(packet, MessageType::Nak, server).option(code::MESSAGE, why);
    let (reply, to) = if packet.giaddr.is_unspecified() {
        (reply, Destination::Broadcast)
    } else {
        // The relay must broadcast it on the client's network.
        (reply.broadcast(), Destination::for_discovery(packet))
    };
    Answer { bytes: echo(packet, reply).encode(), to }
}

fn tell_boot(reply: Reply, boot: Option<&Boot>) -> Reply {
    let Some(boot) = boot else { return reply };
    let reply = reply.next_server(boot.next_server).file(&boot.file);
    boot.options.iter().fold(reply, |reply, (code, value)| reply.option(*code, value.clone()))
}

/// Adds what the subnet's clients are told. What everyone needs comes first; the rest when it was asked for and fits.
fn finish(packet: &Packet<'_>, reply: Reply, subnet: &Subnet, to: Destination) -> Answer {
    let list = |addresses: &[Ipv4Addr]| addresses.iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>();
    let mut reply = reply.option(code::SUBNET_MASK, subnet.network.mask().octets());
    for (code, value) in [(code::ROUTER, list(&subnet.routers)), (code::DNS_SERVER, list(&subnet.dns))] {
        if !value.is_empty() {
            reply = reply.option(code, value);
        }
    }
    let wanted = packet.option(code::PARAMETER_LIST);
    let is_wanted = |code: u8| wanted.as_ref().is_none_or(|list| list.contains(&code));
    let echoed = echo(packet, reply.clone()).options_length() - reply.options_length();
    let room = packet.number(code::MAX_MESSAGE_SIZE).map_or(ROOM, |size| usize::from(size).max(576) - 28);
    for (code, value) in [
        (code::BROADCAST_ADDRESS, subnet.network.broadcast().octets().to_vec()),
        (code::DOMAIN_NAME, subnet.domain.clone().unwrap_or_default().into_bytes()),
        (code::NTP_SERVER, list(&subnet.ntp)),
    ] {
        let fits = HEADER + reply.options_length() + 2 + value.len() + echoed < room;
        if !value.is_empty() && is_wanted(code) && fits {
            reply = reply.option(code, value);
        }
    }
    Answer { bytes: echo(packet, reply).encode(), to }
}

/// Gives back option 61 (RFC 6842), and last of all what a relay added (RFC 3046 section 2.2).
fn echo(packet: &Packet<'_>, mut reply: Reply) -> Reply {
    if let Some(id) = packet.option(code::CLIENT_ID).filter(|id| id.len() <= 255) {
        reply = reply.option(code::CLIENT_ID, id.into_owned());
    }
    match packet.option(code::RELAY_AGENT) {
        Some(relay) if !packet.giaddr.is_unspecified() => reply.option(code::RELAY_AGENT, relay.into_owned()),
        _ => reply,
    }
}
