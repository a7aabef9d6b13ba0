//! A received packet: checked once, then read without a chance to fail.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::Message;
use dhcproto::v4::{HType, MessageType, Opcode};

use super::{COOKIE, HEADER, code};
use crate::value::MacAddr;

/// A DHCP packet whose every length was checked.
#[derive(Debug)]
pub struct Packet<'a> {
    /// Whether a client speaks (op 1).
    pub is_request: bool,
    /// Hardware type; 1 is Ethernet.
    pub htype: u8,
    /// Length of the hardware address, at most 16.
    pub hlen: u8,
    /// Transaction id.
    pub xid: u32,
    /// Relays that it went through.
    pub hops: u8,
    /// Seconds since the client began, as it says.
    pub secs: u16,
    /// Flags; the top bit asks for a broadcast reply.
    pub flags: u16,
    /// The address that the client has.
    pub ciaddr: Ipv4Addr,
    /// The address that a server gives.
    pub yiaddr: Ipv4Addr,
    /// Next server.
    pub siaddr: Ipv4Addr,
    /// The relay that passed the packet on.
    pub giaddr: Ipv4Addr,
    /// All sixteen bytes of the hardware address field.
    pub chaddr: [u8; 16],
    /// Server name up to its NUL; empty when the field carries options.
    pub sname: &'a [u8],
    /// Boot file up to its NUL; empty when the field carries options.
    pub file: &'a [u8],
    options: Vec<(u8, &'a [u8])>,
}

/// The bytes are no DHCP packet that can be read safely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than header and cookie.
    #[error("{0} bytes, a DHCP packet has at least {HEADER}")]
    Short(usize),
    /// Plain BOOTP or something else.
    #[error("magic cookie is {0:02x?}, not 63 82 53 63")]
    Cookie([u8; 4]),
    /// The hardware address would not fit its field.
    #[error("hardware address length {0}, the field has 16 bytes")]
    HardwareLength(u8),
    /// An option says that it is longer than what follows.
    #[error("option {code} claims {claimed} bytes, {left} are left")]
    Option {
        /// Option code.
        code: u8,
        /// Its length byte.
        claimed: usize,
        /// Bytes after the length byte.
        left: usize,
    },
    /// Option 52 with a value that RFC 2132 section 9.3 does not define.
    #[error("option 52 (overload) is {0:02x?}, only 1, 2 and 3 are defined")]
    Overload(Vec<u8>),
}

impl<'a> Packet<'a> {
    /// Reads a datagram. The only way to a `Packet`.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        // dhcproto trusts hlen (a packet with hlen 255 panics it) and skips options after a wrong cookie.
        let message = Message::new(bytes).map_err(|_| Malformed::Short(bytes.len()))?;
        let cookie = [bytes[236], bytes[237], bytes[238], bytes[239]];
        if cookie != COOKIE {
            return Err(Malformed::Cookie(cookie));
        }
        if message.hlen() > 16 {
            return Err(Malformed::HardwareLength(message.hlen()));
        }
        let mut options = read_options(&bytes[HEADER..])?;
        let (mut file, mut sname) = (message.fname(), message.sname());
        // RFC 2131 section 4.1: options go on in `file`, then in `sname`.
        match options.iter().find(|(code, _)| *code == code::OVERLOAD).map(|(_, value)| *value) {
            None => {}
            Some(value @ ([1] | [2] | [3])) => {
                if value[0] & 1 != 0 {
                    options.extend(read_options(&bytes[108..236])?);
                    file = &[];
                }
                if value[0] & 2 != 0 {
                    options.extend(read_options(&bytes[44..108])?);
                    sname = &[];
                }
            }
            Some(value) => return Err(Malformed::Overload(value.iter().copied().take(8).collect())),
        }
        let mut chaddr = [0; 16];
        chaddr.copy_from_slice(&bytes[28..44]);
        Ok(Packet {
            is_request: message.opcode() == Opcode::BootRequest,
            htype: bytes[1],
            hlen: message.hlen(),
            xid: message.xid(),
            hops: message.hops(),
            secs: message.secs(),
            flags: message.flags().into(),
            ciaddr: message.ciaddr(),
            yiaddr: message.yiaddr(),
            siaddr: message.siaddr(),
            giaddr: message.giaddr(),
            chaddr,
            sname,
            file,
            options,
        })
    }

    /// Option 53.
    pub fn message_type(&self) -> Option<MessageType> {
        match self.option(code::MESSAGE_TYPE)?.as_ref() {
            [kind] => Some(MessageType::from(*kind)),
            _ => None,
        }
    }

    /// The value of an option, its instances joined (RFC 3396).
    pub fn option(&self, code: u8) -> Option<Cow<'a, [u8]>> {
        let mut instances = self.instances(code);
        let first = instances.next()?;
        let mut joined = Cow::Borrowed(first);
        for more in instances {
            joined.to_mut().extend_from_slice(more);
        }
        Some(joined)
    }

    /// Each instance of an option by itself: BSDP's option 43 must not be joined.
    pub fn instances(&self, code: u8) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.options.iter().filter(move |(own, _)| *own == code).map(|(_, value)| *value)
    }

    /// An option that holds one address.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.option(code)?.as_ref()).ok().map(Ipv4Addr::from)
    }

    /// An option that holds one 16-bit number.
    pub fn number(&self, code: u8) -> Option<u16> {
        <[u8; 2]>::try_from(self.option(code)?.as_ref()).ok().map(u16::from_be_bytes)
    }

    /// The client's Ethernet address; none on other hardware.
    pub fn mac(&self) -> Option<MacAddr> {
        let [a, b, c, d, e, f, ..] = self.chaddr;
        (HType::from(self.htype) == HType::Eth && self.hlen == 6).then(|| MacAddr::new([a, b, c, d, e, f]))
    }

    /// The address that the client has, or says it wants to keep.
    pub fn client_address(&self) -> Option<Ipv4Addr> {
        Some(self.ciaddr)
            .filter(|address| !address.is_unspecified())
            .or_else(|| self.address(code::REQUESTED_ADDRESS))
            .filter(|address| !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast())
    }
}

/// Walks one option area. Own code and not dhcproto's iterator, which joins neighbours of one code: two option 43
/// of BSDP are two TLV sequences, and joining them loses the border.
fn read_options(mut area: &[u8]) -> Result<Vec<(u8, &[u8])>, Malformed> {
    let mut options = Vec::new();
    while let [code, rest @ ..] = area {
        match *code {
            code::END => break,
            code::PAD => area = rest,
            code => {
                let (claimed, value) = match rest {
                    [] => (0, None),
                    [claimed, value @ ..] => (usize::from(*claimed), Some(value)),
                };
                let left = value.map_or(0, <[u8]>::len);
                let (value, rest) = value
                    .and_then(|value| value.split_at_checked(claimed))
                    .ok_or(Malformed::Option { code, claimed, left })?;
                options.push((code, value));
                area = rest;
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 236];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[28..34].copy_from_slice(&[0x80, 0xe6, 0x50, 9, 0xed, 0xa2]);
        bytes.extend(COOKIE);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_truncated_packet_and_a_wrong_cookie_are_named() {
        assert_eq!(Packet::parse(&[1; 239]).unwrap_err(), Malformed::Short(239));
        let mut bytes = packet(&[]);
        bytes[239] = 0;
        assert_eq!(Packet::parse(&bytes).unwrap_err(), Malformed::Cookie([0x63, 0x82, 0x53, 0]));
    }

    #[test]
    fn a_hardware_length_beyond_its_field_is_refused() {
        let mut bytes = packet(&[]);
        bytes[2] = 255;
        assert_eq!(Packet::parse(&bytes).unwrap_err(), Malformed::HardwareLength(255));
    }

    #[test]
    fn a_lying_option_length_is_refused_with_its_numbers() {
        let bytes = packet(&[53, 1, 8, 60, 9, b'A']);
        let wrong = Packet::parse(&bytes).unwrap_err();
        assert_eq!(wrong, Malformed::Option { code: 60, claimed: 9, left: 1 });
        assert!(Packet::parse(&packet(&[60])).is_err());
    }

    #[test]
    fn long_options_are_joined_and_vendor_options_stay_apart() {
        let bytes = packet(&[60, 1, b'a', 43, 1, 1, 43, 1, 2, 60, 1, b'b', 255, 60, 1, b'c']);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.option(60).unwrap().as_ref(), b"ab");
        assert_eq!(packet.instances(43).collect::<Vec<_>>(), [[1], [2]]);
    }

    #[test]
    fn overload_continues_in_file_and_then_in_sname() {
        let mut bytes = packet(&[52, 1, 3, 60, 1, b'a', 255]);
        bytes[108..112].copy_from_slice(&[60, 1, b'b', 255]);
        bytes[44..48].copy_from_slice(&[60, 1, b'c', 255]);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.option(60).unwrap().as_ref(), b"abc");
        assert!(packet.file.is_empty() && packet.sname.is_empty());
    }

    #[test]
    fn an_undefined_overload_value_is_refused() {
        assert_eq!(Packet::parse(&packet(&[52, 1, 4])).unwrap_err(), Malformed::Overload(vec![4]));
    }

    #[test]
    fn only_ethernet_has_a_mac_address() {
        let mut bytes = packet(&[]);
        assert_eq!(Packet::parse(&bytes).unwrap().mac().unwrap().to_string(), "80:e6:50:09:ed:a2");
        bytes[1] = 32;
        assert_eq!(Packet::parse(&bytes).unwrap().mac(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_packet_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn any_options_area_is_read_within_its_bounds(
            hlen in any::<u8>(),
            options in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = packet(&options);
            bytes[2] = hlen;
            if let Ok(packet) = Packet::parse(&bytes) {
                let total: usize = (0..=255).flat_map(|code| packet.instances(code)).map(|value| value.len() + 2).sum();
                prop_assert!(total <= options.len() + 192);
                let _ = (packet.mac(), packet.message_type(), packet.client_address());
            }
        }
    }
}
