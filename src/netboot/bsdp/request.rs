//! Which packets are BSDP requests, and what they say.

use std::net::Ipv4Addr;

use super::{Attributes, CLASS, ImageId, MessageType, code};
use crate::netboot::dhcp::{self, Packet};
use crate::value::MacAddr;

/// A BSDP request. Strings are the client's own and may hold anything but NUL and line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's Ethernet address.
    pub mac: MacAddr,
    /// `i386` for every Intel Mac; empty for a bare `AAPLBSDPC`.
    pub arch: String,
    /// Model identifier, `iMac14,2`.
    pub system: String,
    /// LIST or SELECT; absent in DISCOVER.
    pub kind: Option<MessageType>,
    /// 1.0 clients do not understand the image list.
    pub understands_lists: bool,
    /// The server that a SELECT is meant for.
    pub server: Option<Ipv4Addr>,
    /// Where the answer is awaited instead of port 68.
    pub reply_port: Option<u16>,
    /// The image that a SELECT asks for.
    pub selected: Option<ImageId>,
    /// Only images with one of these attributes; empty means no filter.
    pub filter: Vec<Attributes>,
    /// Largest IP packet that the client takes, by BSDP's own option.
    pub max_size: Option<u16>,
}

/// Why a packet is no BSDP request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBsdp {
    /// Option 60 is not `AAPLBSDPC[/arch/system]` in one option.
    #[error("option 60 is `{0}`, not AAPLBSDPC/arch/model within 255 bytes")]
    Class(String),
    /// No option 43.
    #[error("it has no option 43")]
    NoVendorOption,
    /// A TLV inside option 43 overruns it.
    #[error("option {code} inside option 43 claims {claimed} bytes, {left} are left")]
    Truncated {
        /// BSDP option code.
        code: u8,
        /// Its length byte.
        claimed: usize,
        /// Bytes after it.
        left: usize,
    },
    /// A BSDP option has a length that its type does not allow.
    #[error("BSDP option {code} has {length} bytes")]
    Length {
        /// BSDP option code.
        code: u8,
        /// Its length.
        length: usize,
    },
    /// Option 2 is missing.
    #[error("it states no BSDP version")]
    NoVersion,
    /// Neither 0.0, 1.0 nor 1.1.
    #[error("BSDP version {0:#06x} is unknown")]
    Version(u16),
    /// A message type that clients do not send.
    #[error("BSDP message type {0} is no request")]
    Kind(u8),
    /// The original iMac and its time; they need addresses and AFP shares from the boot server.
    #[error("it is NetBoot 1.0 firmware, which is not supported")]
    NetBoot1,
    /// Not Ethernet.
    #[error("hardware type {htype} with address length {hlen} is not Ethernet")]
    Hardware {
        /// DHCP htype.
        htype: u8,
        /// DHCP hlen.
        hlen: u8,
    },
    /// A reply port outside the privileged ones would let anyone aim our replies.
    #[error("reply port {0} is not below 1024")]
    ReplyPort(u16),
}

impl Request {
    /// Whether option 60 claims to be BSDP at all.
    pub fn is_claimed_by(packet: &Packet<'_>) -> bool {
        packet.option(dhcp::code::CLASS_ID).is_some_and(|class| class.starts_with(CLASS))
    }

    /// Whether it is a SELECT, at a glance: for the order in which packets are answered, before they are judged.
    pub fn is_selection(packet: &Packet<'_>) -> bool {
        let mut is_selection = false;
        let is_inform = packet.message_type() == Some(dhcp::MessageType::Inform);
        if is_inform && Request::is_claimed_by(packet) {
            for body in packet.instances(dhcp::code::VENDOR) {
                let selects = |code, value: &[u8]| {
                    is_selection |= code == code::MESSAGE_TYPE && value == [MessageType::Select as u8];
                    Ok(())
                };
                // A broken one is nobody's urgency.
                if walk(body, selects).is_err() {
                    return false;
                }
            }
        }
        is_selection
    }

    /// Reads a request by the rules of Apple's server.
    pub fn read(packet: &Packet<'_>) -> Result<Request, NotBsdp> {
        let class = packet.option(dhcp::code::CLASS_ID).unwrap_or_default();
        let (arch, system) = read_class(&class).ok_or_else(|| {
            NotBsdp::Class(String::from_utf8_lossy(&class).escape_debug().take(255).collect())
        })?;
        let hardware = NotBsdp::Hardware { htype: packet.htype, hlen: packet.hlen };
        let mut request = Request {
            mac: packet.mac().ok_or(hardware)?,
            arch,
            system,
            kind: None,
            understands_lists: false,
            server: None,
            reply_port: None,
            selected: None,
            filter: Vec::new(),
            max_size: None,
        };
        let mut bodies = packet.instances(dhcp::code::VENDOR).peekable();
        bodies.peek().ok_or(NotBsdp::NoVendorOption)?;
        let mut version = None;
        // Each option 43 is a TLV sequence of its own: no option straddles two of them.
        for body in bodies {
            walk(body, |code, value| request.take(code, value, &mut version))?;
        }
        request.understands_lists = match version.ok_or(NotBsdp::NoVersion)? {
            0x0101 => true,
            0x0100 | 0x0000 => false,
            other => return Err(NotBsdp::Version(other)),
        };
        Ok(request)
    }

    fn take(&mut self, code: u8, value: &[u8], version: &mut Option<u16>) -> Result<(), NotBsdp> {
        let length = || NotBsdp::Length { code, length: value.len() };
        let word = || <[u8; 2]>::try_from(value).map(u16::from_be_bytes).map_err(|_| length());
        let quad = || <[u8; 4]>::try_from(value).map_err(|_| length());
        match code {
            code::MESSAGE_TYPE => {
                self.kind = match value {
                    [1] => Some(MessageType::List),
                    [2] => Some(MessageType::Select),
                    [other] => return Err(NotBsdp::Kind(*other)),
                    _ => return Err(length()),
                }
            }
            code::VERSION => *version = Some(word()?),
            code::SERVER_ID => self.server = Some(Ipv4Addr::from(quad()?)),
            code::REPLY_PORT => {
                let port = word()?;
                self.reply_port = Some(port).filter(|port| (1..1024).contains(port));
                self.reply_port.ok_or(NotBsdp::ReplyPort(port))?;
            }
            code::SELECTED_IMAGE => self.selected = Some(ImageId::from(u32::from_be_bytes(quad()?))),
            code::NETBOOT_1_0 => return Err(NotBsdp::NetBoot1),
            code::FILTER => {
                if !value.len().is_multiple_of(2) {
                    return Err(length());
                }
                let words = value.as_chunks::<2>().0.iter();
                self.filter.extend(words.map(|word| Attributes(u16::from_be_bytes(*word))));
            }
            // Of another length it counts as absent, as in Apple's server; option 57 holds then.
            code::MAX_MESSAGE_SIZE => self.max_size = word().ok(),
            _ => {}
        }
        Ok(())
    }
}

/// Arch and system of `AAPLBSDPC[/arch/system]`. Both may be empty; NUL or line feed is allowed in neither.
fn read_class(class: &[u8]) -> Option<(String, String)> {
    // Longer ones are several instances joined; no client does that, and the model is kept in the database.
    let rest = class.strip_prefix(CLASS).filter(|_| class.len() <= 255)?;
    if rest.is_empty() {
        return Some(Default::default());
    }
    let rest = rest.strip_prefix(b"/")?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    if rest.iter().any(|byte| matches!(byte, 0 | b'\n')) {
        return None;
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&rest[..slash]), text(&rest[slash + 1..])))
}

/// Calls `take` with every option of one option 43; pad and End bytes are tolerated.
pub(super) fn walk(
    mut body: &[u8],
    mut take: impl FnMut(u8, &[u8]) -> Result<(), NotBsdp>,
) -> Result<(), NotBsdp> {
    while let [code, rest @ ..] = body {
        match *code {
            code::END => break,
            code::PAD => body = rest,
            code => {
                let [claimed, rest @ ..] = rest else {
                    return Err(NotBsdp::Truncated { code, claimed: 0, left: 0 });
                };
                let claimed = usize::from(*claimed);
                let (value, rest) = rest.split_at_checked(claimed).ok_or(NotBsdp::Truncated {
                    code,
                    claimed,
                    left: rest.len(),
                })?;
                take(code, value)?;
                body = rest;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netboot::fixture;

    fn read(class: &[u8], bodies: &[&[u8]]) -> Result<Request, NotBsdp> {
        let bytes = fixture::request(8, class, bodies);
        Request::read(&Packet::parse(&bytes).unwrap())
    }

    const LIST: &[u8] = &[1, 1, 1, 2, 2, 1, 1];

    #[test]
    fn the_list_of_intel_firmware_is_read() {
        let body = fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt43-client-list-firmware.hex"));
        let class = fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt60-client-imac14_3.hex"));
        let request = read(&class, &[&body]).unwrap();
        assert_eq!((request.arch.as_str(), request.system.as_str()), ("i386", "iMac14,3"));
        assert_eq!(request.kind, Some(MessageType::List));
        assert!(request.understands_lists);
        assert_eq!((request.reply_port, request.server, request.selected), (None, None, None));
    }

    #[test]
    fn server_and_image_of_a_selection_are_read_in_either_order() {
        let body =
            fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt43-client-select-netsus-3then8.hex"));
        let request = read(b"AAPLBSDPC/i386/iMac14,2", &[&body]).unwrap();
        assert_eq!(request.kind, Some(MessageType::Select));
        let want = (Some(Ipv4Addr::new(10, 1, 0x18, 0x40)), Some(ImageId::from(0x0100_020e)));
        assert_eq!((request.server, request.selected), want);
        let (kind, rest) = body.split_at(7);
        let (server, image) = rest.split_at(6);
        assert_eq!(read(b"AAPLBSDPC/i386/iMac14,2", &[&[kind, image, server].concat()]).unwrap(), request);
    }

    #[test]
    fn a_selection_is_known_at_a_glance_and_a_broken_one_is_none() {
        let glance = |kind: u8, class: &[u8], bodies: &[&[u8]]| {
            Request::is_selection(&Packet::parse(&fixture::request(kind, class, bodies)).unwrap())
        };
        let select: &[u8] = &[2, 2, 1, 1, 1, 1, 2];
        assert!(glance(8, b"AAPLBSDPC/i386/x", &[select]));
        assert!(glance(8, b"AAPLBSDPC/i386/x", &[&[2, 2, 1, 1], &[1, 1, 2]]));
        assert!(!glance(8, b"AAPLBSDPC/i386/x", &[LIST]));
        assert!(!glance(1, b"AAPLBSDPC/i386/x", &[select]), "no INFORM");
        assert!(!glance(8, b"PXEClient", &[select]), "option 43 means something else there");
        assert!(!glance(8, b"AAPLBSDPC/i386/x", &[select, &[8, 4, 1]]));
    }

    #[test]
    fn class_ids_that_apples_tests_call_bad_are_no_bsdp() {
        for class in [
            fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt60-apple-bad-sysid1.hex")),
            fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt60-apple-bad-sysid4.hex")),
            b"AAPLBSDPC/i386".to_vec(),
            b"AAPLBSDPCi386/iMac14,2".to_vec(),
            b"AAPLBSDPC/i386/iMac\0".to_vec(),
            b"PXEClient".to_vec(),
        ] {
            assert!(matches!(read(&class, &[LIST]), Err(NotBsdp::Class(_))), "{class:?}");
        }
        assert_eq!(read(b"AAPLBSDPC", &[LIST]).unwrap().arch, "");
    }

    #[test]
    fn a_class_of_more_than_one_option_is_no_bsdp() {
        let class = |more: usize| {
            let options = [(60, b"AAPLBSDPC/i386/x".to_vec()), (60, vec![b'x'; more]), (43, LIST.to_vec())];
            Request::read(&Packet::parse(&fixture::packet([0; 4], &options)).unwrap())
        };
        assert_eq!(class(239).unwrap().system.len(), 240);
        assert!(matches!(class(240), Err(NotBsdp::Class(text)) if text.len() == 255));
    }

    #[test]
    fn a_packet_without_version_or_vendor_option_is_no_bsdp() {
        assert_eq!(read(b"AAPLBSDPC/i386/x", &[]), Err(NotBsdp::NoVendorOption));
        assert_eq!(read(b"AAPLBSDPC/i386/x", &[&[1, 1, 1]]), Err(NotBsdp::NoVersion));
        assert_eq!(read(b"AAPLBSDPC/i386/x", &[&[2, 2, 2, 0]]), Err(NotBsdp::Version(0x200)));
    }

    #[test]
    fn an_option_never_straddles_two_vendor_options() {
        let (front, back) = LIST.split_at(5);
        let wrong = read(b"AAPLBSDPC/i386/x", &[front, back]);
        assert_eq!(wrong, Err(NotBsdp::Truncated { code: 2, claimed: 2, left: 0 }));
        assert!(read(b"AAPLBSDPC/i386/x", &[&LIST[..3], &LIST[3..]]).is_ok());
    }

    #[test]
    fn every_privileged_reply_port_is_read_as_one_number() {
        for port in [0x0101_u16, 0x0300, 0x030a, 0x030f, 1023] {
            let body = [LIST, &[5, 2], &port.to_be_bytes()].concat();
            assert_eq!(read(b"AAPLBSDPC/i386/x", &[&body]).unwrap().reply_port, Some(port));
        }
        let body = [LIST, &[5, 2, 4, 0]].concat();
        assert_eq!(read(b"AAPLBSDPC/i386/x", &[&body]), Err(NotBsdp::ReplyPort(1024)));
    }

    #[test]
    fn wrong_lengths_are_refused_by_name() {
        for body in [&[1, 2, 1, 1, 2, 2, 1, 1][..], &[2, 1, 1], &[2, 2, 1, 1, 3, 0], &[2, 2, 1, 1, 11, 1, 1]]
        {
            assert!(matches!(read(b"AAPLBSDPC/i386/x", &[body]), Err(NotBsdp::Length { .. })), "{body:?}");
        }
    }

    #[test]
    fn netboot_1_0_firmware_is_left_alone() {
        assert_eq!(read(b"AAPLBSDPC/ppc/x", &[&[2, 2, 1, 1, 10, 0]]), Err(NotBsdp::NetBoot1));
    }

    proptest! {
        #[test]
        fn any_vendor_option_is_read_or_refused(
            class in prop::collection::vec(any::<u8>(), 0..40),
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..3),
        ) {
            let class = [CLASS, b"/", &class[..]].concat();
            let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
            let total: usize = bodies.iter().map(|body| body.len()).sum();
            if let Ok(request) = read(&class, &bodies) {
                prop_assert!(request.filter.len() * 2 <= total);
            }
        }
    }
}
