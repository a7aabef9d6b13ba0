//! A reply: built from the request's header, its options written in the order given.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::MessageType;

use super::{CLIENT_PORT, COOKIE, HEADER, Packet, SERVER_PORT, code};

/// Shortest reply: RFC 1542 section 2.1, the size of a BOOTP packet. Shorter ones are dropped by old relays and ROMs.
const SHORTEST: usize = 300;

/// Where a reply goes. Decided here, done by the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Ordinary IP, through the routing table.
    Unicast(SocketAddrV4),
    /// 255.255.255.255 port 68, out of the interface that the request came in by.
    Broadcast,
}

impl Destination {
    /// For a client that may have no address yet (RFC 2131 section 4.1). A client that clears the broadcast flag could
    /// be sent a frame to its hardware address; broadcast reaches it as well and needs no raw socket.
    ///
    /// A relay or client that claims a group's address is none: one forged packet would be answered to many hosts.
    pub fn for_discovery(packet: &Packet<'_>) -> Destination {
        let is_host = |ip: Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast();
        if is_host(packet.giaddr) {
            Destination::Unicast(SocketAddrV4::new(packet.giaddr, SERVER_PORT))
        } else if is_host(packet.ciaddr) {
            Destination::Unicast(SocketAddrV4::new(packet.ciaddr, CLIENT_PORT))
        } else {
            Destination::Broadcast
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Unicast(to) => write!(f, "{to}"),
            Destination::Broadcast => write!(f, "255.255.255.255:{CLIENT_PORT}"),
        }
    }
}

/// A boot file that fits the header's `file` field with its NUL: at most 127 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

/// Clients would be sent a cut path, or as Apple's server does it, none at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "boot file `{0}` is longer than the 127 bytes that a DHCP reply can carry; shorten the folder's name"
)]
pub struct FileNameTooLong(String);

impl FileName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FileName {
    type Error = FileNameTooLong;

    fn try_from(name: String) -> Result<FileName, FileNameTooLong> {
        let too_long = |name: &str| FileNameTooLong(name.escape_debug().take(200).collect());
        if name.len() > 127 { Err(too_long(&name)) } else { Ok(FileName(name)) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reply in the making. `hops` and `secs` are always 0.
#[derive(Clone, Debug)]
pub struct Reply {
    header: [u8; 236],
    options: Vec<(u8, Vec<u8>)>,
}

impl Reply {
    /// A reply to `packet` from the server known as `server`, with options 53 and 54 in front. Hardware address,
    /// transaction, flags and relay are the request's.
    pub fn to(packet: &Packet<'_>, kind: MessageType, server: Ipv4Addr) -> Reply {
        let mut header = [0; 236];
        header[..3].copy_from_slice(&[2, packet.htype, packet.hlen]);
        header[4..8].copy_from_slice(&packet.xid.to_be_bytes());
        header[10..12].copy_from_slice(&packet.flags.to_be_bytes());
        header[24..28].copy_from_slice(&packet.giaddr.octets());
        header[28..44].copy_from_slice(&packet.chaddr);
        Reply { header, options: Vec::with_capacity(8) }
            .option(code::MESSAGE_TYPE, [u8::from(kind)])
            .option(code::SERVER_ID, server.octets())
    }

    /// Asks a relay to broadcast: it would otherwise send to yiaddr (RFC 2131 section 4.1), which is 0 here.
    pub fn broadcast(mut self) -> Reply {
        self.header[10] |= 0x80;
        self
    }

    /// Repeats the address that the client has.
    pub fn ciaddr(mut self, address: Ipv4Addr) -> Reply {
        self.header[12..16].copy_from_slice(&address.octets());
        self
    }

    /// Gives an address. Only `netboot::lease` may (ARCHITECTURE.md, invariant 6).
    pub(in crate::netboot) fn yiaddr(mut self, address: Ipv4Addr) -> Reply {
        self.header[16..20].copy_from_slice(&address.octets());
        self
    }

    /// Names this server as the one that has the boot file, in `siaddr` and as text in `sname`: some clients read one,
    /// some the other, and firmware resolves no names.
    pub fn next_server(self, address: Ipv4Addr) -> Reply {
        let mut reply = self.other_server(address);
        let name = address.to_string();
        reply.header[44..44 + name.len()].copy_from_slice(name.as_bytes());
        reply
    }

    /// Names another server as the one that has the boot file: `sname`, which is the answering server's, stays empty.
    pub fn other_server(mut self, address: Ipv4Addr) -> Reply {
        self.header[20..24].copy_from_slice(&address.octets());
        self
    }

    /// Names the boot file.
    pub fn file(mut self, file: &FileName) -> Reply {
        self.header[108..108 + file.0.len()].copy_from_slice(file.0.as_bytes());
        self
    }

    /// Adds an option; one longer than 255 bytes is written in several instances (RFC 3396).
    pub fn option(mut self, code: u8, value: impl Into<Vec<u8>>) -> Reply {
        self.options.push((code, value.into()));
        self
    }

    /// Bytes that the options take so far, without End.
    pub fn options_length(&self) -> usize {
        options_length(&self.options)
    }

    /// The datagram: padded with zeros to 300 bytes when shorter, never further.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.header, &self.options)
    }
}

/// Bytes that options take, without End.
pub(super) fn options_length(options: &[(u8, Vec<u8>)]) -> usize {
    options.iter().map(|(_, value)| value.len() + 2 * value.len().div_ceil(255).max(1)).sum()
}

/// Header, cookie, options, End, padding.
pub(super) fn encode(header: &[u8; 236], options: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SHORTEST.max(HEADER + options_length(options) + 1));
    bytes.extend(header);
    bytes.extend(COOKIE);
    for (code, value) in options {
        if value.is_empty() {
            bytes.extend([*code, 0]);
        }
        for piece in value.chunks(255) {
            bytes.extend([*code, u8::try_from(piece.len()).unwrap_or(u8::MAX)]);
            bytes.extend(piece);
        }
    }
    bytes.push(code::END);
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[8..12].copy_from_slice(&[0, 9, 0x80, 0]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes
    }

    #[test]
    fn no_group_is_answered_whatever_address_a_packet_claims_for_client_and_relay() {
        for group in [[224, 0, 0, 1], [255, 255, 255, 255]] {
            for field in [12, 24] {
                let mut bytes = request();
                bytes[field..field + 4].copy_from_slice(&group);
                let to = Destination::for_discovery(&Packet::parse(&bytes).unwrap());
                assert_eq!(to, Destination::Broadcast, "{group:?} at {field}");
            }
        }
    }

    #[test]
    fn a_short_reply_is_padded_to_a_bootp_packet() {
        let bytes = request();
        let reply =
            Reply::to(&Packet::parse(&bytes).unwrap(), MessageType::Ack, Ipv4Addr::new(10, 0, 0, 1)).encode();
        assert_eq!(reply.len(), 300);
        assert_eq!(reply[..12], [2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(reply[240..250], [53, 1, 5, 54, 4, 10, 0, 0, 1, 255]);
    }

    #[test]
    fn the_next_server_is_named_as_number_and_as_text() {
        let bytes = request();
        let server = Ipv4Addr::new(192, 168, 100, 200);
        let reply = Reply::to(&Packet::parse(&bytes).unwrap(), MessageType::Offer, server)
            .next_server(server)
            .file(&FileName::try_from("x".repeat(127)).unwrap())
            .encode();
        let read = Packet::parse(&reply).unwrap();
        assert_eq!(read.siaddr, server);
        assert_eq!(read.sname, b"192.168.100.200");
        assert_eq!(read.file, [b'x'; 127]);
        assert!(!read.is_request);
    }

    #[test]
    fn a_boot_file_that_leaves_no_room_for_its_nul_is_refused() {
        assert!(FileName::try_from("x".repeat(128)).is_err());
    }

    #[test]
    fn discovery_is_answered_through_the_relay_or_by_broadcast() {
        let mut bytes = request();
        assert_eq!(Destination::for_discovery(&Packet::parse(&bytes).unwrap()), Destination::Broadcast);
        bytes[24..28].copy_from_slice(&[10, 9, 8, 7]);
        let to = Destination::for_discovery(&Packet::parse(&bytes).unwrap());
        assert_eq!(to, Destination::Unicast("10.9.8.7:67".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            options in prop::collection::vec((1..=254u8, prop::collection::vec(any::<u8>(), 1..600)), 0..6),
        ) {
            prop_assume!(options.iter().all(|(code, _)| ![52, 53, 54].contains(code)));
            let bytes = request();
            let packet = Packet::parse(&bytes).unwrap();
            let mut reply = Reply::to(&packet, MessageType::Ack, Ipv4Addr::LOCALHOST);
            for (code, value) in &options {
                reply = reply.option(*code, value.clone());
            }
            let bytes = reply.encode();
            prop_assert_eq!(bytes.len(), 300.max(HEADER + reply.options_length() + 1));
            let read = Packet::parse(&bytes).unwrap();
            for (code, _) in &options {
                let want: Vec<u8> =
                    options.iter().filter(|(own, _)| own == code).flat_map(|(_, value)| value.clone()).collect();
                let got = read.option(*code).unwrap();
                prop_assert_eq!(got.as_ref(), &want[..]);
            }
        }
    }
}
