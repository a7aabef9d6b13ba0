//! A request as a client writes it: for whoever asks on a wire instead of answering there, and for tests.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;

use super::code;
use super::reply::encode;
use crate::value::MacAddr;

/// A request in the making. Options are written in the order in which they were added, option 53 first.
#[derive(Clone, Debug)]
pub struct Request {
    header: [u8; 236],
    options: Vec<(u8, Vec<u8>)>,
}

impl Request {
    /// A request of an Ethernet client that has no address.
    pub fn new(kind: MessageType, mac: MacAddr, xid: u32) -> Request {
        let mut header = [0; 236];
        header[..3].copy_from_slice(&[1, 1, 6]);
        header[4..8].copy_from_slice(&xid.to_be_bytes());
        header[28..34].copy_from_slice(mac.as_bytes());
        Request { header, options: vec![(code::MESSAGE_TYPE, vec![u8::from(kind)])] }
    }

    /// Transaction id: replies repeat it.
    pub fn xid(&self) -> u32 {
        let [.., a, b, c, d] = *self.header.first_chunk::<8>().unwrap_or(&[0; 8]);
        u32::from_be_bytes([a, b, c, d])
    }

    /// Asks for replies by broadcast: who has no address cannot receive others through an ordinary socket.
    pub fn broadcast(mut self) -> Request {
        self.header[10] |= 0x80;
        self
    }

    /// Seconds since the client began.
    pub fn secs(mut self, secs: u16) -> Request {
        self.header[8..10].copy_from_slice(&secs.to_be_bytes());
        self
    }

    /// The address that the client has: INFORM, renewing, rebinding.
    pub fn ciaddr(mut self, address: Ipv4Addr) -> Request {
        self.header[12..16].copy_from_slice(&address.octets());
        self
    }

    /// The relay that passes the request on.
    pub fn giaddr(mut self, relay: Ipv4Addr) -> Request {
        self.header[24..28].copy_from_slice(&relay.octets());
        self
    }

    /// Adds an option; one longer than 255 bytes is written in several instances (RFC 3396).
    pub fn option(mut self, code: u8, value: impl Into<Vec<u8>>) -> Request {
        self.options.push((code, value.into()));
        self
    }

    /// Option 55: what the client would like to be told.
    pub fn wants(self, codes: &[u8]) -> Request {
        self.option(code::PARAMETER_LIST, codes)
    }

    /// Option 57: the longest packet that the client takes.
    pub fn max_size(self, bytes: u16) -> Request {
        self.option(code::MAX_MESSAGE_SIZE, bytes.to_be_bytes())
    }

    /// Option 60: `AAPLBSDPC/i386/iMac14,2`, `PXEClient:Arch:00007:UNDI:003000`, …
    pub fn class(self, class: &str) -> Request {
        self.option(code::CLASS_ID, class)
    }

    /// Option 43.
    pub fn vendor(self, body: &[u8]) -> Request {
        self.option(code::VENDOR, body)
    }

    /// Options 93 and 94 (RFC 4578): the architectures of a PXE or HTTP client, and UNDI 3.0.
    pub fn architectures(self, codes: &[u16]) -> Request {
        let words: Vec<u8> = codes.iter().flat_map(|code| code.to_be_bytes()).collect();
        self.option(code::CLIENT_ARCHITECTURE, words).option(code::CLIENT_INTERFACE, [1, 3, 0])
    }

    /// Option 97 (RFC 4578): the machine's UUID as its firmware spells it, after the type byte 0.
    pub fn uuid(self, uuid: [u8; 16]) -> Request {
        self.option(code::CLIENT_UUID, [&[0][..], &uuid].concat())
    }

    /// The datagram, padded to 300 bytes as RFC 1542 section 2.1 wants.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.header, &self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netboot::dhcp::Packet;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let request = Request::new(MessageType::Inform, mac, 0x0102_0304)
            .broadcast()
            .secs(7)
            .ciaddr(Ipv4Addr::new(10, 0, 1, 93))
            .giaddr(Ipv4Addr::new(10, 0, 1, 1))
            .wants(&[60, 43])
            .max_size(1500)
            .class("AAPLBSDPC/i386/iMac14,2")
            .architectures(&[7, 9])
            .uuid([5; 16])
            .vendor(&[1, 1, 1]);
        assert_eq!(request.xid(), 0x0102_0304);
        let bytes = request.encode();
        let packet = Packet::parse(&bytes).unwrap();
        assert!(packet.is_request);
        assert_eq!(Request::new(MessageType::Discover, mac, 1).encode().len(), 300);
        assert_eq!((packet.xid, packet.secs, packet.flags), (0x0102_0304, 7, 0x8000));
        assert_eq!((packet.mac(), packet.message_type()), (Some(mac), Some(MessageType::Inform)));
        assert_eq!((packet.ciaddr, packet.giaddr), ([10, 0, 1, 93].into(), [10, 0, 1, 1].into()));
        let option = |code| packet.option(code).unwrap().into_owned();
        assert_eq!((option(55), option(43), option(93)), (vec![60, 43], vec![1, 1, 1], vec![0, 7, 0, 9]));
        assert_eq!((packet.number(57), option(94), option(97).len()), (Some(1500), vec![1, 3, 0], 17));
    }
}
